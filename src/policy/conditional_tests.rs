use super::*;
use crate::http::date::imf_fixdate;
use crate::http::{request, response};

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

/// Puts dates for `{-60}`, and line ends for ` | `.
fn lines(fields: &str) -> String {
    let mut text = String::new();
    for line in fields.split(" | ").filter(|line| !line.is_empty()) {
        match line.split_once('{').and_then(|(name, rest)| Some((name, rest.split_once('}')?))) {
            Some((name, (offset, _))) => {
                let offset: i64 = offset.parse().expect("a number");
                let date = imf_fixdate(NOW.saturating_add_signed(offset));
                text += &format!("{name}{}\r\n", String::from_utf8_lossy(&date));
            }
            None => text += &format!("{line}\r\n"),
        }
    }
    text
}

fn replied(
    method: Method,
    request: &str,
    status: u16,
    stored: &str,
    length: u64,
) -> ConditionalOutcome {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(request));
    let request = request::parse(head.as_bytes()).expect("valid");
    let head = format!("HTTP/1.1 {status} \r\n{}\r\n", lines(stored));
    let response = response::parse(head.as_bytes()).expect("valid");
    let response_fields = ResponseCacheFields::new(response.fields);
    let stored = Stored::of(status, &response_fields, length, NOW);
    reply(method, &RequestCacheFields::new(request.fields, b"a"), &stored, NOW)
}

fn to_get(request: &str, stored: &str) -> ConditionalOutcome {
    replied(Method::Get, request, 200, stored, 100)
}

/// docs/CACHE.md, rule 8.
#[test]
fn a_client_that_has_the_answer_is_told_so() {
    for (request, stored, expected) in [
        ("", "ETag: \"a\"", false),
        ("If-None-Match: \"a\"", "ETag: \"a\"", true),
        ("If-None-Match: \"b\"", "ETag: \"a\"", false),
        ("If-None-Match: \"A\"", "ETag: \"a\"", false),
        ("If-None-Match: W/\"a\"", "ETag: \"a\"", true),
        ("If-None-Match: \"a\"", "ETag: W/\"a\"", true),
        ("If-None-Match: W/\"a\"", "ETag: W/\"a\"", true),
        ("If-None-Match: w/\"a\"", "ETag: W/\"a\"", false),
        ("If-None-Match: \"x\", \"a\"", "ETag: \"a\"", true),
        ("If-None-Match: \"a\", \"x\"", "ETag: \"a\"", true),
        ("If-None-Match: \"x\",W/\"a\"  ,\"y\"", "ETag: \"a\"", true),
        ("If-None-Match: \"x\" | If-None-Match: \"a\"", "ETag: \"a\"", true),
        ("If-None-Match: \"x,\"a\"", "ETag: \"a\"", false),
        ("If-None-Match: \"x, \\\"a\\\"\"", "ETag: \"a\"", false),
        ("If-None-Match: \"a,b\"", "ETag: \"a,b\"", true),
        ("If-None-Match: \"\u{e9}\"", "ETag: \"\u{e9}\"", true),
        ("If-None-Match: \"\"", "ETag: \"\"", true),
        ("If-None-Match: \"\"", "ETag:", false),
        ("If-None-Match:", "ETag: \"a\"", false),
        ("If-None-Match: *", "ETag: \"a\"", true),
        ("If-None-Match: *", "", true),
        ("If-None-Match: \"*\"", "ETag: \"a\"", false),
        ("If-None-Match: a", "ETag: a", true),
        ("If-None-Match: x, a", "ETag: a", true),
        ("If-None-Match: a", "ETag: \"a\"", false),
        ("If-None-Match: \"a\"", "ETag: a", false),
        ("If-None-Match: \"a\"", "", false),
        ("If-None-Match: \"a\"", "ETag: \"a\" | ETag: \"b\"", false),
        ("If-Modified-Since: {-10}", "Last-Modified: {-10}", true),
        ("If-Modified-Since: {-9}", "Last-Modified: {-10}", true),
        ("If-Modified-Since: {-11}", "Last-Modified: {-10}", false),
        ("If-Modified-Since: {-5}", "Date: {-10}", true),
        ("If-Modified-Since: {-15}", "Date: {-10}", false),
        ("If-Modified-Since: {0}", "", true),
        ("If-Modified-Since: {-1}", "", false),
        ("If-Modified-Since: never", "Last-Modified: {-10}", false),
        ("If-Modified-Since: {0} | If-Modified-Since: {0}", "Last-Modified: {-10}", false),
        // The tag wins, whatever the date says.
        (
            "If-None-Match: \"b\" | If-Modified-Since: {0}",
            "ETag: \"a\" | Last-Modified: {-10}",
            false,
        ),
        (
            "If-None-Match: \"a\" | If-Modified-Since: {-99}",
            "ETag: \"a\" | Last-Modified: {-10}",
            true,
        ),
        ("If-None-Match: \"a\" | If-Modified-Since: {0}", "Last-Modified: {-10}", false),
    ] {
        let expected =
            if expected { ConditionalOutcome::NotModified } else { ConditionalOutcome::Whole };
        for method in [Method::Get, Method::Head] {
            let found = replied(method, request, 200, stored, 100);
            assert_eq!(found, expected, "{request} to {stored}");
        }
    }
}

#[test]
fn conditions_are_for_what_was_found() {
    for status in [404, 301, 500, 204] {
        let found = replied(Method::Get, "If-None-Match: *", status, "ETag: \"a\"", 10);
        assert_eq!(found, ConditionalOutcome::Whole, "{status}");
        let found = replied(Method::Get, "Range: bytes=0-1", status, "ETag: \"a\"", 10);
        assert_eq!(found, ConditionalOutcome::Whole, "{status}");
    }
}

#[test]
fn preconditions_for_the_origin_are_left_to_it() {
    for request in ["If-Match: \"a\"", "If-Match: *", "If-Unmodified-Since: {0}"] {
        assert_eq!(
            to_get(request, "ETag: \"a\" | Last-Modified: {-10}"),
            ConditionalOutcome::Forward,
            "{request}"
        );
    }
}

/// docs/CACHE.md, rule 11.
#[test]
fn parts_of_a_stored_whole_are_served() {
    let part = |first, last| ConditionalOutcome::Part(Part { first, last });
    for (request, expected) in [
        ("Range: bytes=0-9", part(0, 9)),
        ("Range: bytes=90-", part(90, 99)),
        ("Range: bytes=-5", part(95, 99)),
        ("Range: bytes=100-", ConditionalOutcome::NoSuchPart),
        ("Range: lines=1-2", ConditionalOutcome::Whole),
        ("Range: bytes=0-1,90-95", ConditionalOutcome::Whole),
        ("Range: bytes=0-1 | Range: bytes=2-3", ConditionalOutcome::Whole),
        ("Range: bytes=0-9 | If-None-Match: \"a\"", ConditionalOutcome::NotModified),
        ("Range: bytes=0-9 | If-None-Match: \"b\"", part(0, 9)),
    ] {
        assert_eq!(to_get(request, "ETag: \"a\""), expected, "{request}");
        let to_head = replied(Method::Head, request, 200, "ETag: \"a\"", 100);
        let head_expected = match expected {
            ConditionalOutcome::NotModified => ConditionalOutcome::NotModified,
            _ => ConditionalOutcome::Whole,
        };
        assert_eq!(to_head, head_expected, "{request}");
    }
}

#[test]
fn if_range_is_obeyed() {
    let part = ConditionalOutcome::Part(Part { first: 0, last: 9 });
    let strong = "ETag: \"a\" | Last-Modified: {-10} | Date: {-5}";
    for (condition, stored, expected) in [
        ("\"a\"", strong, part),
        ("\"b\"", strong, ConditionalOutcome::Whole),
        ("W/\"a\"", strong, ConditionalOutcome::Whole),
        ("W/\"a\"", "ETag: W/\"a\"", ConditionalOutcome::Whole),
        ("\"a\"", "ETag: W/\"a\"", ConditionalOutcome::Whole),
        ("\"a\"", "", ConditionalOutcome::Whole),
        ("a", "ETag: a", ConditionalOutcome::Whole),
        ("{-10}", strong, part),
        ("{-9}", strong, ConditionalOutcome::Whole),
        ("{-11}", strong, ConditionalOutcome::Whole),
        ("{-10}", "Last-Modified: {-10} | Date: {-10}", ConditionalOutcome::Whole),
        ("{-10}", "Last-Modified: {-10} | Date: {-9}", part),
        ("{-10}", "Date: {-10}", ConditionalOutcome::Whole),
        ("", strong, ConditionalOutcome::Whole),
        ("\"a\", \"b\"", strong, ConditionalOutcome::Whole),
    ] {
        let request = format!("Range: bytes=0-9 | If-Range: {condition}");
        assert_eq!(to_get(&request, stored), expected, "{condition} of {stored}");
    }
    let twice = "Range: bytes=0-9 | If-Range: \"a\" | If-Range: \"a\"";
    assert_eq!(to_get(twice, strong), ConditionalOutcome::Whole);
    let beyond = "Range: bytes=200- | If-Range: \"b\"";
    assert_eq!(to_get(beyond, strong), ConditionalOutcome::Whole);
}

#[test]
fn a_stored_part_answers_only_what_lies_within_it() {
    let stored = "ETag: \"a\" | Content-Range: bytes 10-19/100";
    let of = |request: &str| replied(Method::Get, request, 206, stored, 10);
    assert_eq!(of("Range: bytes=12-13"), ConditionalOutcome::Part(Part { first: 12, last: 13 }));
    assert_eq!(of("Range: bytes=5-13"), ConditionalOutcome::Forward);
    assert_eq!(of(""), ConditionalOutcome::Forward);
    assert_eq!(of("Range: bytes=12-13 | If-Range: \"b\""), ConditionalOutcome::Forward);
    assert_eq!(of("Range: bytes=500-"), ConditionalOutcome::Forward);
    assert_eq!(replied(Method::Head, "", 206, stored, 10), ConditionalOutcome::Forward);
    assert_eq!(of("If-None-Match: \"a\""), ConditionalOutcome::NotModified);
}

/// docs/CACHE.md, rule 8.
#[test]
fn both_validators_are_sent_and_no_condition_of_the_client() {
    let head = b"GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\nAccept: */*\r\n\
        if-modified-since: y\r\nRange: bytes=0-1\r\nIf-Range: \"x\"\r\nIf-Match: *\r\n\
        If-Unmodified-Since: z\r\nX-Request-ID: 1\r\n\r\n";
    let fields = crate::http::rewrite::written_fields(head);
    let mut out = Vec::new();
    write_validation(head, &fields, b"W/\"e\"", b"Thu", &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "GET /a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-Request-ID: 1\r\n\
         If-None-Match: W/\"e\"\r\nIf-Modified-Since: Thu\r\n\r\n"
    );
    let plain = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let fields = crate::http::rewrite::written_fields(plain);
    for (etag, changed) in
        [(&b"\"e\""[..], &b""[..]), (b"", b"Thu"), (b"", b""), (b"\"e\"", b"Thu")]
    {
        let mut out = Vec::new();
        write_validation(plain, &fields, etag, changed, &mut out);
        assert!(out.len() <= plain.len() + etag.len() + changed.len() + VALIDATION_GROWTH);
        assert_eq!(out.windows(2).filter(|two| two == b"\r\n").count(), {
            3 + usize::from(!etag.is_empty()) + usize::from(!changed.is_empty())
        });
    }
}

#[test]
fn a_304_that_names_another_answer_confirms_nothing() {
    for (stored, fresh, expected) in [
        ("ETag: \"a\"", "ETag: \"a\"", true),
        ("ETag: \"a\"", "ETag: \"b\"", false),
        ("ETag: W/\"a\"", "ETag: W/\"a\"", true),
        ("ETag: W/\"a\"", "ETag: \"a\"", true),
        ("ETag: \"a\"", "", true),
        ("ETag: \"a\" | Last-Modified: {-10}", "Last-Modified: {-10}", true),
        ("ETag: \"a\" | Last-Modified: {-10}", "Last-Modified: {-9}", false),
        ("ETag: \"a\" | Last-Modified: {-10}", "ETag: \"a\" | Last-Modified: {-9}", true),
        ("Last-Modified: {-10}", "ETag: \"new\" | Last-Modified: {-10}", true),
        ("Last-Modified: {-10}", "ETag: \"new\"", true),
        ("Last-Modified: {-10}", "Last-Modified: {-20}", false),
        ("Last-Modified: {-10}", "", true),
    ] {
        let stored_head = format!("HTTP/1.1 200 \r\n{}\r\n", lines(stored));
        let stored_head = response::parse(stored_head.as_bytes()).expect("valid");
        let kept = ResponseCacheFields::new(stored_head.fields);
        let fresh_head = format!("HTTP/1.1 304 \r\n{}\r\n", lines(fresh));
        let fresh_head = response::parse(fresh_head.as_bytes()).expect("valid");
        let found = confirms(
            &ResponseCacheFields::new(fresh_head.fields),
            &Stored::of(200, &kept, 1, NOW),
            NOW,
        );
        assert_eq!(found, expected, "{stored}; {fresh}");
    }
}

/// docs/CACHE.md, rule 8.
#[test]
fn a_304_updates_all_but_what_describes_the_body() {
    let stored = b"HTTP/1.1 200 OK\r\nDate: 1\r\nX-Old: 1\r\nX-Same: 1\r\nX-Same: 2\r\n\
        Content-Type: text/a\r\nContent-Encoding: gzip\r\nETag: W/\"a\"\r\nCache-Control: a\r\n\r\n";
    let stored = response::parse(stored).expect("valid");
    let fresh = b"HTTP/1.1 304 Not Modified\r\ndate: 2\r\nX-SAME: 3\r\nX-New: 4\r\n\
        Content-Type: text/b\r\nContent-Encoding: br\r\nContent-Length: 7\r\nContent-Range: x\r\n\
        ETag: \"a\"\r\nSet-Cookie: s=1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nAge: 9\r\n\
        Cache-Control: private=\"x-mine\"\r\nX-Mine: 1\r\nX-Request-ID: 1\r\nX-New: 5\r\n\r\n";
    let fresh = response::parse(fresh).expect("valid");
    let mut out = Vec::new();
    write_updated(&stored.fields, &ResponseCacheFields::new(fresh.fields), 0, &mut out)
        .expect("few fields");
    assert_eq!(
        String::from_utf8_lossy(&out),
        "X-Old: 1\r\nContent-Type: text/a\r\nContent-Encoding: gzip\r\nETag: W/\"a\"\r\n\
         date: 2\r\nX-SAME: 3\r\nX-New: 4\r\nCache-Control: private=\"x-mine\"\r\nX-New: 5\r\n"
    );
}

#[test]
fn no_list_of_tags_does_harm() {
    use crate::mem::xorshift::Xorshift;
    let mut random = Xorshift::new(3);
    for _ in 0..50_000 {
        let list: Vec<u8> =
            (0..random.below(12)).map(|_| b"\"W/a, \\\t\xe9"[random.below(9)]).collect();
        lists(&list, b"\"a\"");
        lists(&list, b"");
    }
}
