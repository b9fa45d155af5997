//! Heads put together and damaged at random, read and written anew beside `naive.rs`.

use super::fields::Fields;
use super::forwarded::Forward;
use super::message::MAX_FIELDS;
use super::naive::{lines_of_request, read_any_request, read_response, response_anew};
use super::request::{self, RequestHead};
use super::response::{self, Reading, ResponseHead};
use super::rewrite::{self, Answering, ResponseFraming};
use super::testing::{Dice, mutant};
use crate::config::ForwardFields;
use crate::mem::buffer::Buffer;
use std::net::{IpAddr, Ipv4Addr};

/// Lines, each of which some rule or other is about, and some that none is about.
const LINES: [&str; 64] = [
    "Host: a",
    "host:b.example:8080 ",
    "Host: [2001:db8::1]:80",
    "HOST: a%2fb",
    "Host: a/b",
    "Host:",
    "Accept: */*",
    "DNT: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "user-agent: \t",
    "Accept-Language: en-US,en;q=0.5",
    "Upgrade-Insecure-Requests: 1",
    "Sec-CH-UA: \"a\";v=\"1\"",
    "X-B3-TraceId: 1",
    "X.Y!z~: 1",
    "a: b",
    "Connection: keep-alive",
    "connection: Close",
    "Connection: Upgrade, X-Some",
    "Connection: ,close , Date, Host,Content-Length,Cookie, X-Request-ID",
    "X-Some: 1",
    "Keep-Alive: timeout=5, max=100",
    "keep-alive: Timeout=x",
    "Proxy: evil",
    "Proxy-Connection: keep-alive",
    "TE: gzip, trailers",
    "te:",
    "Trailer: X-Sum",
    "Upgrade: websocket",
    "Upgrade: h2c, WebSocket",
    "Content-Length: 5",
    "content-length:\t0",
    "Content-Length: x",
    "Content_Length: 6",
    "content-length_: 6",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked, chunked",
    "transfer-encoding: gzip",
    "Transfer_Encoding: chunked",
    "Transfer-Encodinh: chunked",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Expect: ,",
    "Cookie: a=b; own=1; c=d",
    "cookie: own=1",
    "Cookie: a=b",
    "Cookie2: $Version=1",
    "Forwarded: for=192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "X_Forwarded_For: 192.0.2.1",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: c",
    "X-Forwarded-Port: 1",
    "X-Forwarded-: 1",
    "X-Forwarded: 1",
    "X-Real-IP: 192.0.2.1",
    "X_Real-IP: 192.0.2.1",
    "X-Request-ID: abc",
    "X-Request_ID: abc",
    "Max-Forwards: 3",
    "Idempotency-Key: k",
    "Authorization: Negotiate x",
    "WWW-Authenticate: NTLM",
    "Date: Sun, 06 Nov 1994 08:49:37 GMT",
];

/// A head of a few of these lines behind one of these first lines, every other one damaged.
fn head(first: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut head = format!("{}\r\n", dice.pick(first));
    if dice.below(4) > 0 {
        head.push_str("Host: a\r\n");
    }
    let most = [4, 8, 30][dice.below(3)];
    for _ in 0..dice.below(most) {
        head.push_str(dice.pick(&LINES));
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    if dice.below(2) == 0 { head.into_bytes() } else { mutant(head.as_bytes(), dice) }
}

/// In words, all but how the lines that may not go on were noted.
fn facts_of_request(head: &RequestHead) -> String {
    let fields = Fields::again(head.fields.lines(), head.fields.nominates());
    format!("{:?}", RequestHead { fields, ..*head })
}

fn facts_of_response(head: &ResponseHead) -> String {
    let fields = Fields::again(head.fields.lines(), head.fields.nominates());
    format!("{:?}", ResponseHead { fields, ..*head })
}

const ROUNDS: usize = if cfg!(debug_assertions) { 60_000 } else { 600_000 };

#[test]
fn requests_are_read_and_written_as_byte_by_byte_and_line_by_line() {
    const FIRST: [&str; 10] = [
        "GET / HTTP/1.1",
        "GET /x?y=1 HTTP/1.1",
        "POST /x HTTP/1.0",
        "PUT http://b.test HTTP/1.1",
        "GET http://b.test?x HTTP/1.2",
        "OPTIONS * HTTP/1.1",
        "OPTIONS http://b.test:81 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "GET /caf\u{e9} HTTP/1.1",
        "\r\nM-SEARCH /long/enough/for/several/words HTTP/1.1",
    ];
    let mut dice = Dice::new(20);
    let mut out = Buffer::new(vec![0; 64 << 10].leak());
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let bytes = head(&FIRST, &mut dice);
        let place = bytes.escape_ascii();
        let most = [MAX_FIELDS, 5][dice.below(2)];
        let (read, wanted) = (request::parse_any(&bytes, most), read_any_request(&bytes, most));
        let (head, wanted) = match (read, wanted) {
            (Ok(head), Ok(wanted)) => (head, wanted),
            (read, wanted) => {
                assert_eq!(read.map(|_| ()), wanted.map(|_| ()), "{place}");
                continue;
            }
        };
        accepted += 1;
        assert_eq!(facts_of_request(&head), facts_of_request(&wanted), "{place}");
        let client = match dice.below(2) {
            0 => IpAddr::from(Ipv4Addr::new(192, 0, 2, 107)),
            _ => IpAddr::from(Ipv4Addr::new(1, 20, 0, 255).to_ipv6_mapped()),
        };
        let mut coin = || dice.below(2) == 0;
        let forward = Forward {
            trusted: coin(),
            fields: ForwardFields {
                x_forwarded: coin(),
                x_real_ip: coin(),
                ..ForwardFields::USUAL
            },
            own_cookie: coin().then_some("own"),
            ..Forward::new(client, b"an-id")
        };
        // How a head was noted changes nothing of what is written.
        out.clear();
        let spans = rewrite::request(&head, &forward, &mut out);
        let written = out.as_slice().to_vec();
        out.clear();
        assert_eq!(rewrite::request(&wanted, &forward, &mut out), spans, "{place}");
        assert_eq!(out.as_slice(), written, "{place}");
        let spans = spans.expect("it fits");
        let slash: &[u8] = if head.target.starts_with(b"?") { b"/" } else { b"" };
        let line = [head.method_name, b" ", slash, head.target, b" HTTP/1.1\r\n"].concat();
        let host = [b"Host: ", head.authority, b"\r\n"].concat();
        let lines = [line, host, lines_of_request(&head, &forward)].concat();
        assert!(written.starts_with(&lines), "{} of {place}", written.escape_ascii());
        let behind = &written[lines.len()..];
        let ours = [&b"Content-Length"[..], b"Transfer-E", b"X-F", b"X-Req", b"X-Real", b"Max-F"];
        assert!(ours.iter().any(|name| behind.starts_with(name)), "{place}");
        let agent = head.fields.values("user-agent").find(|agent| !agent.is_empty());
        assert_eq!(&written[spans.user_agent.range()], agent.unwrap_or_default(), "{place}");
        assert_eq!(&written[spans.host.range()], head.authority, "{place}");
    }
    assert!(accepted > ROUNDS / 20, "only {accepted} were accepted");
}

#[test]
fn responses_are_read_and_written_as_byte_by_byte_and_line_by_line() {
    const FIRST: [&str; 8] = [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.2 404",
        "HTTP/1.1 204 ",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 426 Upgrade Required",
        "HTTP/1.1 999 \t caf\u{e9}",
        "HTTP/1.1 103 Early Hints",
    ];
    let mut dice = Dice::new(21);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let bytes = head(&FIRST, &mut dice);
        let place = bytes.escape_ascii();
        let most = [response::MAX_FIELDS, 5][dice.below(2)];
        let repeats = dice.below(2) == 0;
        let read = match repeats {
            true => response::parse_repeats(&bytes, most),
            false => response::parse_within(&bytes, most),
        };
        let (head, wanted) = match (read, read_response(&bytes, most, repeats)) {
            (Ok(head), Ok(wanted)) => (head, wanted),
            (read, wanted) => {
                assert_eq!(read.map(|_| ()), wanted.map(|_| ()), "{place}");
                continue;
            }
        };
        accepted += 1;
        assert_eq!(facts_of_response(&head), facts_of_response(&wanted), "{place}");
        let framing = [ResponseFraming::AsIs, ResponseFraming::Chunked, ResponseFraming::Close]
            [dice.below(3)];
        let mut coin = || dice.below(2) == 0;
        let id: &[u8] = if coin() { b"an-id" } else { b"" };
        let answering = Answering {
            close: coin(),
            keep_alive_10: coin(),
            date: coin().then_some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
            ..Answering::new(id, framing)
        };
        let anew = response_anew(&wanted, &answering);
        let again = Reading::new(&head).open(&bytes);
        for head in [&head, &wanted, &again] {
            let mut out = Vec::new();
            rewrite::response(head, &answering, &mut out);
            assert_eq!(out.escape_ascii().to_string(), anew.escape_ascii().to_string(), "{place}");
        }
    }
    assert!(accepted > ROUNDS / 20, "only {accepted} were accepted");
}
