use super::super::segments::{Segment, SegmentList};
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

/// What is decided of a request where bytes 10 to 19, 20 to 39 and 90 to 99 of 100 are stored.
fn of_part(
    method: Method,
    request: &str,
    etag: &str,
) -> (ConditionalOutcome, Option<MissingRange>) {
    let mut list: Option<SegmentList> = None;
    for (first, last) in [(10, 19), (20, 39), (90, 99)] {
        let segment = Segment { part: Part { first, last }, sum: 0 };
        match &mut list {
            Some(list) => assert!(list.add(segment)),
            None => list = Some(SegmentList::new(segment)),
        }
    }
    let mut bytes = Vec::new();
    list.expect("three").write(&mut bytes);
    let stored = Stored {
        status: 200,
        etag: etag.as_bytes(),
        last_modified: Some(NOW - 10),
        date: NOW - 5,
        length: 100,
        segments: Segments::read(&bytes, 100),
    };
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(request));
    let head = request::parse(head.as_bytes()).expect("valid");
    let request_fields = RequestCacheFields::new(head.fields, b"a");
    let outcome = reply(method, &request_fields, &stored, NOW);
    (outcome, rest(method, &request_fields, &stored, NOW))
}

/// docs/CACHE.md, rule 11.
#[test]
fn a_stored_part_answers_only_what_lies_within_it() {
    let part = |first, last| ConditionalOutcome::Part(Part { first, last });
    for (request, expected) in [
        ("Range: bytes=12-13", part(12, 13)),
        ("Range: bytes=10-39", part(10, 39)),
        ("Range: bytes=15-25,24-30", part(15, 30)),
        ("Range: bytes=90-", part(90, 99)),
        ("Range: bytes=-5", part(95, 99)),
        ("Range: bytes=92-500", part(92, 99)),
        ("Range: bytes=12-13 | If-Range: \"a\"", part(12, 13)),
        ("Range: bytes=12-13 | If-Range: {-10}", part(12, 13)),
        ("Range: bytes=12-13 | If-Range: \"b\"", ConditionalOutcome::Forward),
        ("Range: bytes=9-13", ConditionalOutcome::Forward),
        ("Range: bytes=30-40", ConditionalOutcome::Forward),
        ("Range: bytes=40-89", ConditionalOutcome::Forward),
        ("Range: bytes=30-95", ConditionalOutcome::Forward),
        ("Range: bytes=-50", ConditionalOutcome::Forward),
        ("Range: bytes=10-11,90-91", ConditionalOutcome::Forward),
        ("Range: lines=1-2", ConditionalOutcome::Forward),
        ("Range: bytes=500-", ConditionalOutcome::NoSuchPart),
        ("Range: bytes=12-13 | If-Match: \"a\"", ConditionalOutcome::Forward),
        ("If-None-Match: \"a\"", ConditionalOutcome::NotModified),
        ("", ConditionalOutcome::Forward),
    ] {
        assert_eq!(of_part(Method::Get, request, "\"a\"").0, expected, "{request}");
    }
    assert_eq!(of_part(Method::Head, "", "\"a\"").0, ConditionalOutcome::Forward);
    let ranged = of_part(Method::Head, "Range: bytes=12-13", "\"a\"");
    assert_eq!(ranged, (ConditionalOutcome::Forward, None));
}

/// docs/CACHE.md, rule 11.
#[test]
fn what_begins_in_a_part_needs_only_the_rest() {
    let get = |request: &str| of_part(Method::Get, request, "\"a\"").1;
    let parts = |request: &str| {
        let rest = get(request)?;
        Some((rest.held.first, rest.missing.first, rest.missing.last))
    };
    for (request, expected) in [
        ("Range: bytes=30-50", Some((30, 40, 50))),
        ("Range: bytes=10-", Some((10, 40, 99))),
        ("Range: bytes=39-40", Some((39, 40, 40))),
        ("Range: bytes=39-40 | If-Range: \"a\"", Some((39, 40, 40))),
        ("Range: bytes=39-40 | Cache-Control: no-cache", Some((39, 40, 40))),
        ("Range: bytes=39-40 | If-Range: \"b\"", None),
        ("Range: bytes=39-40 | If-None-Match: \"b\"", None),
        ("Range: bytes=39-40 | If-Modified-Since: {-100}", None),
        ("Range: bytes=39-40 | If-Unmodified-Since: {-5}", None),
        ("Range: bytes=39-40 | Authorization: Basic eA==", None),
        ("Range: bytes=39-40 | Cache-Control: no-store", None),
        ("Range: bytes=39-40 | Range: bytes=39-40", None),
        ("Range: bytes=9-50", None),
        ("Range: bytes=12-13", None),
        ("Range: bytes=40-50", None),
        ("Range: bytes=20-21,60-61", Some((20, 40, 61))),
        ("Range: lines=1-2", None),
        ("", None),
    ] {
        assert_eq!(parts(request), expected, "{request}");
    }
    let rest = get("Range: bytes=30-50").expect("its beginning is there");
    assert_eq!(rest.reply, ConditionalOutcome::Part(Part { first: 30, last: 50 }));
    for etag in ["", "W/\"a\"", "a"] {
        assert_eq!(of_part(Method::Get, "Range: bytes=30-50", etag).1, None, "{etag}");
    }
}

/// docs/CACHE.md, rule 11.
#[test]
fn the_rest_is_asked_for_by_its_range_and_validator() {
    let head = b"GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=30-\r\nAccept: */*\r\n\
        If-Range: {-10}\r\nX-A: b\r\n\r\n";
    let fields = crate::http::rewrite::written_fields(head);
    let mut out = Vec::new();
    write_for_rest(head, &fields, b"\"a\"", Part { first: 40, last: u64::MAX }, &mut out);
    let expected = "GET /a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-A: b\r\n\
        Range: bytes=40-18446744073709551615\r\nIf-Range: \"a\"\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
    assert!(out.len() <= head.len() + REST_GROWTH + 3);
}

/// docs/CACHE.md, rule 11.
#[test]
fn only_the_rest_of_the_same_representation_is_one() {
    for (fields, expected) in [
        ("ETag: \"a\" | Content-Range: bytes 40-50/100", true),
        ("ETag: \"b\" | Content-Range: bytes 40-50/100", false),
        ("ETag: W/\"a\" | Content-Range: bytes 40-50/100", false),
        ("Content-Range: bytes 40-50/100", false),
        ("ETag: \"a\" | ETag: \"a\" | Content-Range: bytes 40-50/100", false),
        ("ETag: \"a\" | Content-Range: bytes 40-50/101", false),
        ("ETag: \"a\" | Content-Range: bytes 40-50/*", false),
        ("ETag: \"a\" | Content-Range: bytes 40-49/100", false),
        ("ETag: \"a\" | Content-Range: bytes 39-50/100", false),
        ("ETag: \"a\"", false),
    ] {
        let head = format!("HTTP/1.1 206 \r\n{}\r\n", lines(fields));
        let response = response::parse(head.as_bytes()).expect("valid");
        let fresh = ResponseCacheFields::new(response.fields);
        let stored = Stored {
            status: 200,
            etag: b"\"a\"",
            last_modified: None,
            date: NOW,
            length: 100,
            segments: None,
        };
        assert_eq!(is_rest(&fresh, &stored, Part { first: 40, last: 50 }), expected, "{fields}");
    }
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

/// RFC 9111 §4.3.5.
#[test]
fn a_head_confirms_or_outdates_what_is_stored_for_get() {
    use HeadVerdict::{Confirmed, Outdated, Unknown};
    for (status, stored, head, expected) in [
        (200, "ETag: \"a\"", "ETag: \"a\"", Confirmed),
        (200, "ETag: \"a\"", "ETag: W/\"a\"", Confirmed),
        (200, "ETag: \"a\"", "ETag: \"b\"", Outdated),
        (200, "", "ETag: \"a\"", Outdated),
        (200, "ETag: \"a\"", "ETag: \"a\" | Content-Length: 100", Confirmed),
        (200, "ETag: \"a\"", "ETag: \"a\" | Content-Length: 99", Outdated),
        (200, "ETag: \"a\"", "Content-Length: 100", Unknown),
        (200, "ETag: \"a\"", "Content-Length: 101", Outdated),
        (200, "ETag: \"a\"", "", Unknown),
        (200, "", "", Unknown),
        (200, "Last-Modified: {-10}", "Last-Modified: {-10}", Confirmed),
        (200, "Last-Modified: {-10}", "Last-Modified: {-9}", Outdated),
        (200, "Last-Modified: {-10}", "Last-Modified: x", Outdated),
        (200, "ETag: \"a\" | Last-Modified: {-10}", "ETag: \"a\"", Confirmed),
        (200, "ETag: \"a\" | Last-Modified: {-10}", "ETag: \"a\" | Last-Modified: {-9}", Outdated),
        (404, "ETag: \"a\"", "ETag: \"a\"", Outdated),
    ] {
        let text = format!("HTTP/1.1 {status} \r\n{}\r\n", lines(stored));
        let response = response::parse(text.as_bytes()).expect("valid");
        let kept = Stored::of(status, &ResponseCacheFields::new(response.fields), 100, NOW);
        let text = format!("HTTP/1.1 200 \r\n{}\r\n", lines(head));
        let response = response::parse(text.as_bytes()).expect("valid");
        let length = response.fields.values("content-length").next();
        let length = length.and_then(crate::http::framing::decimal);
        let fresh = ResponseCacheFields::new(response.fields);
        assert_eq!(judge_head(&fresh, length, &kept, NOW), expected, "{head} of {stored}");
    }
}
