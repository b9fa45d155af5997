use super::super::testing::*;
use super::*;
use crate::cache::store::{Found, Store};
use crate::http::rewrite::ResponseFraming;
use crate::sys::sim::world::{self, Faults};

fn stored(fields: &str) -> Store {
    world::reset(1, Faults::default());
    let mut store = worker(known_cells(1 << 20), 0);
    put(&mut store, ("/a", ""), fields, b"0123456789", true).expect("stored");
    later(5);
    store
}

fn written(
    store: &mut Store,
    reply: ConditionalOutcome,
    answering: Answering,
) -> (String, Option<Part>) {
    let (Found::Answer(id), _) = find(store, "/a", "") else { panic!("it is stored") };
    let serving = Serving { reply, status: CacheStatus::Hit { ttl: 55 }, answering, now: wall() };
    let mut out = Vec::new();
    let open_entry = store.entry(id);
    let body = write_head(open_entry, &serving, &mut out);
    assert!(out.len() <= head_len_bound(open_entry));
    let status = status_of(open_entry, reply);
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\n\r\n"));
    crate::http::response::parse(text.as_bytes()).expect("valid");
    store.release(id);
    (text, body)
}

const PLAIN: Answering<'static> = Answering::new(b"id-1", ResponseFraming::AsIs);

#[test]
fn a_hit_is_the_stored_head_and_a_few_lines() {
    let mut store = stored("Cache-Control: max-age=60 | Date: D | X-Request-ID: old | Age: 3");
    let (head, body) = written(&mut store, ConditionalOutcome::Whole, PLAIN);
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nDate: D\r\nContent-Length: 10\r\n\
         Age: 8\r\nCache-Status: httplb; hit; ttl=55\r\nX-Request-ID: id-1\r\n\r\n"
    );
    assert_eq!(body, Some(Part { first: 0, last: 9 }));
    let answering = Answering { close: true, via: Some("lb"), ..PLAIN };
    let (head, _) = written(&mut store, ConditionalOutcome::Whole, answering);
    assert!(head.ends_with("X-Request-ID: id-1\r\nVia: 1.1 lb\r\nConnection: close\r\n\r\n"));
}

#[test]
fn a_304_has_what_a_200_says_of_caching_and_no_more() {
    let mut store = stored(
        "Cache-Control: max-age=60 | Date: D | ETag: \"e\" | Vary: | Expires: E | \
         Last-Modified: L | Content-Type: text/plain | Content-Location: /b | X-A: 1",
    );
    let (head, body) = written(&mut store, ConditionalOutcome::NotModified, PLAIN);
    assert_eq!(
        head,
        "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nDate: D\r\nETag: \"e\"\r\n\
         Vary:\r\nExpires: E\r\nLast-Modified: L\r\nContent-Location: /b\r\nAge: 5\r\n\
         Cache-Status: httplb; hit; ttl=55\r\nX-Request-ID: id-1\r\n\r\n"
    );
    assert_eq!(body, None);
}

/// docs/CACHE.md, rule 11.
#[test]
fn a_part_says_where_it_belongs() {
    let mut store = stored("Cache-Control: max-age=60 | ETag: \"e\" | Content-Range: bytes 1-2/3");
    let part = Part { first: 2, last: 4 };
    let (head, body) = written(&mut store, ConditionalOutcome::Part(part), PLAIN);
    assert_eq!(
        head,
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"e\"\r\n\
         Date: Thu, 01 Jan 2026 00:16:40 GMT\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\nAge: 5\r\n\
         Cache-Status: httplb; hit; ttl=55\r\nX-Request-ID: id-1\r\n\r\n"
    );
    assert_eq!(body, Some(part));
    let (head, body) = written(&mut store, ConditionalOutcome::NoSuchPart, PLAIN);
    assert_eq!(
        head,
        "HTTP/1.1 416 Range Not Satisfiable\r\nDate: Thu, 01 Jan 2026 00:16:45 GMT\r\n\
         Content-Range: bytes */10\r\nContent-Length: 0\r\n\
         Cache-Status: httplb; hit; ttl=55\r\nX-Request-ID: id-1\r\n\r\n"
    );
    assert_eq!(body, None);
}

#[test]
fn an_empty_body_is_no_body() {
    world::reset(1, Faults::default());
    let mut store = worker(known_cells(1 << 20), 0);
    put(&mut store, ("/a", ""), "Cache-Control: max-age=60", b"", true).expect("stored");
    let (head, body) = written(&mut store, ConditionalOutcome::Whole, PLAIN);
    assert!(head.contains("Content-Length: 0\r\n") && body.is_none());
}
