//! Pieces of the program, each with input as it comes in life.

use httplb::config::Balance;
use httplb::http::chunked::Chunks;
use httplb::http::forwarded::Forward;
use httplb::http::rewrite::{self, Answering, ResponseFraming};
use httplb::http::{HeadScan, Scan, request, response};
use httplb::mem::buffer::Buffer;
use httplb::policy::balance::{Member, Members, Pick, PoolView, Tier, TriedBackends, pick};
use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

type Work = fn(u64);

const PIECES: [(&str, Work); 14] = [
    ("scan the head of curl", |times| scan_request(CURL, times)),
    ("scan the head of a browser", |times| scan_request(BROWSER, times)),
    ("parse the request of curl", |times| parse_request(CURL, times)),
    ("parse the request of a browser", |times| parse_request(BROWSER, times)),
    ("rewrite the request of curl", |times| rewrite_request(CURL, times)),
    ("rewrite the request of a browser", |times| rewrite_request(BROWSER, times)),
    ("scan and parse the response of nginx", |times| parse_response(NGINX, times)),
    ("rewrite the response of nginx", |times| rewrite_response(NGINX, times)),
    ("pick one of 3 backends", |times| pick_often(Balance::RoundRobin, &[1; 3], times)),
    ("pick one of 3 by weight", |times| pick_often(Balance::RoundRobin, &[5, 1, 1], times)),
    ("pick one of 100 backends", |times| pick_often(Balance::RoundRobin, &[1; 100], times)),
    ("pick the least busy of 3", |times| pick_often(Balance::LeastConnections, &[1; 3], times)),
    ("pass 16 KiB in chunks of 1 KiB", pass_chunks),
    ("read 16 chunks with extensions", read_chunks),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    PIECES.iter().map(|(name, _)| *name)
}

pub fn run(name: &str, times: u64) {
    let (_, work) = PIECES.iter().find(|piece| piece.0 == name).expect("a piece of that name");
    work(times);
}

const CURL: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: localhost:9000\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /shop/items?category=12&page=3 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/shop/items?category=12&page=2\r\nDNT: 1\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=6f1c2a7e9b3d4f50a1b2c3d4e5f60718; theme=dark; consent=1.2.3; cart=9a8b7c\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n";

const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\nContent-Length: 615\r\n\
    Last-Modified: Tue, 04 Dec 2018 14:44:49 GMT\r\nConnection: keep-alive\r\n\
    ETag: \"5c0692e1-267\"\r\nAccept-Ranges: bytes\r\n\r\n";

const ID: &[u8] = b"0f0e0d0c-0b0a-4908-8706-050403020100";

fn scan_request(head: &[u8], times: u64) {
    for _ in 0..times {
        assert_eq!(HeadScan::request().advance(black_box(head)), Scan::Whole(head.len()));
    }
}

fn parse_request(head: &[u8], times: u64) {
    for _ in 0..times {
        black_box(request::parse(black_box(head)).expect("a valid head"));
    }
}

fn rewrite_request(head: &[u8], times: u64) {
    let head = request::parse(head).expect("a valid head");
    let client = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
    let forward = Forward::new(client, ID);
    let mut out = Buffer::new(vec![0; 64 << 10].leak());
    for _ in 0..times {
        out.clear();
        black_box(rewrite::request(black_box(&head), &forward, &mut out).expect("it fits"));
    }
}

fn parse_response(head: &[u8], times: u64) {
    for _ in 0..times {
        let head = black_box(head);
        assert_eq!(HeadScan::response().advance(head), Scan::Whole(head.len()));
        black_box(response::parse(head).expect("a valid head"));
    }
}

fn rewrite_response(head: &[u8], times: u64) {
    let head = response::parse(head).expect("a valid head");
    let framing = ResponseFraming::AsIs;
    let answering = Answering::new(ID, framing);
    let mut out = Buffer::new(vec![0; 64 << 10].leak());
    for _ in 0..times {
        out.clear();
        rewrite::response(black_box(&head), &answering, &mut out);
        black_box(out.as_slice());
    }
}

/// What workers share of a pool, without the others.
struct Alone {
    rotation: Cell<u64>,
    loads: Vec<Cell<u32>>,
}

impl PoolView for Alone {
    fn rotation(&self, _: Tier) -> u64 {
        self.rotation.get()
    }

    fn load(&self, id: u32) -> u32 {
        self.loads[id as usize].get()
    }
}

fn pick_often(balance: Balance, weights: &[u32], times: u64) {
    let list: Vec<Member> =
        (0..).zip(weights).map(|(id, weight)| Member::new(id, *weight, false, 0)).collect();
    let mut members = Members::default();
    members.refresh(&list);
    let loads = weights.iter().map(|_| Cell::new(0)).collect();
    let view = Alone { rotation: Cell::new(0), loads };
    for _ in 0..times {
        match pick(balance, black_box(&members), &TriedBackends::default(), &view) {
            Pick::Backend(turn) => view.rotation.set(turn.next),
            Pick::Full | Pick::NoneUp => panic!("all are up and idle"),
        }
    }
}

fn chunks(line: &str) -> Vec<u8> {
    format!("{line}\r\n{}\r\n", "x".repeat(1024)).repeat(16).into_bytes()
}

fn pass_chunks(times: u64) {
    let bytes = chunks("400");
    let mut state = Chunks::new();
    for _ in 0..times {
        assert_eq!(state.pass(black_box(&bytes), usize::MAX), bytes.len());
    }
}

fn read_chunks(times: u64) {
    let bytes = chunks("400;a=b");
    for _ in 0..times {
        // Anew each time, for extensions are limited in a message.
        let mut state = Chunks::new();
        let mut rest = black_box(&bytes[..]);
        while !rest.is_empty() {
            let data = state.data_left() as usize;
            state.advance(data as u64);
            rest = &rest[data..];
            let (count, chunk) = state.read(rest).expect("valid chunks");
            black_box(chunk);
            rest = &rest[count..];
        }
    }
}
