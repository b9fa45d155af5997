use super::*;
use crate::http::date::imf_fixdate;
use crate::http::{request, response};

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

fn lines(fields: &str) -> String {
    let changed = imf_fixdate(NOW - 1000);
    let fields = fields.replace("{old}", &String::from_utf8_lossy(&changed));
    fields.split(" | ").filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect()
}

fn judged(
    method: Method,
    request: &str,
    status: u16,
    response: &str,
) -> Result<StorePlan, Unstorable> {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(request));
    let request = request::parse(head.as_bytes()).expect("valid");
    let head = format!("HTTP/1.1 {status} \r\n{}\r\n", lines(response));
    let response = response::parse(head.as_bytes()).expect("valid");
    judge(&StorabilityInput {
        method,
        has_body: request.framing != crate::http::message::Framing::None,
        request_fields: &RequestCacheFields::new(request.fields, b"a"),
        status,
        response_fields: &ResponseCacheFields::new(response.fields),
        timing: ResponseTiming { at: NOW, delay: 0 },
        default_ttl: 0,
    })
}

/// Why the answer to that GET is not stored, if it is not.
fn obstacle(request: &str, status: u16, response: &str) -> Option<Unstorable> {
    judged(Method::Get, request, status, response).err()
}

/// docs/CACHE.md, rule 5.
#[test]
fn what_forbids_storing_and_what_allows_it() {
    use Unstorable::*;
    for (request, response, expected) in [
        ("", "Cache-Control: max-age=60", None),
        ("", "Expires: Thu, 31 Dec 2099 00:00:00 GMT", None),
        ("", "Cache-Control: s-maxage=60", None),
        ("", "Cache-Control: max-age=60, no-store", Some(NoStore)),
        ("", "Cache-Control: max-age=60, NO-STORE", Some(NoStore)),
        ("", "Cache-Control: max-age=60 | Cache-Control: no-store", Some(NoStore)),
        ("", "Cache-Control: max-age=60, no-store, must-understand", None),
        ("", "Cache-Control: max-age=60, private", Some(Private)),
        ("", "Cache-Control: max-age=60, private=\"x\"", None),
        ("", "Cache-Control: max-age=60, ext=\"private, no-store\"", None),
        ("", "Cache-Control: no-store | CDN-Cache-Control: max-age=60", None),
        ("", "Cache-Control: max-age=60 | CDN-Cache-Control: no-store", Some(NoStore)),
        ("", "Cache-Control: max-age=60 | CDN-Cache-Control: private", Some(Private)),
        ("", "Cache-Control: no-store | CDN-Cache-Control: max-age=\"60\"", Some(NoStore)),
        ("", "Cache-Control: max-age=60 | Vary: *", Some(VariesByAnything)),
        ("", "Cache-Control: max-age=60 | Vary: a, *, b", Some(VariesByAnything)),
        ("", "Cache-Control: max-age=60 | Vary: a | Vary: *", Some(VariesByAnything)),
        ("", "Cache-Control: max-age=60 | Vary: a", None),
        ("Cache-Control: no-store", "Cache-Control: max-age=60", Some(RequestNoStore)),
        ("Cache-Control: no-cache", "Cache-Control: max-age=60", None),
        ("Cookie: a=b", "Cache-Control: max-age=60", None),
        ("Content-Length: 0", "Cache-Control: max-age=60", Some(RequestBody)),
    ] {
        assert_eq!(obstacle(request, 200, response), expected, "{request} -> {response}");
    }
}

#[test]
fn credentials_need_an_answer_that_is_for_others_too() {
    use Unstorable::Authorization;
    for (directives, expected) in [
        ("max-age=60", Some(Authorization)),
        ("max-age=60, public", None),
        ("max-age=60, must-revalidate", None),
        ("max-age=60, s-maxage=30", None),
        ("max-age=60, proxy-revalidate", Some(Authorization)),
        ("max-age=60, no-cache=\"x\"", Some(Authorization)),
        ("max-age=60, public=\"x\"", Some(Authorization)),
    ] {
        let response = format!("Cache-Control: {directives}");
        assert_eq!(obstacle("Authorization: Basic eA==", 200, &response), expected, "{directives}");
        let plan = judged(Method::Get, "", 200, &response).expect("storable");
        assert_eq!(plan.for_authorized, expected.is_none(), "{directives}");
    }
}

#[test]
fn an_answer_that_sets_a_cookie_is_not_stored() {
    for directives in ["max-age=60", "max-age=60, public", "s-maxage=60, public"] {
        let response = format!("Set-Cookie: a=b | Cache-Control: {directives}");
        assert_eq!(obstacle("", 200, &response), Some(Unstorable::SetsCookie), "{directives}");
    }
    let withheld = "Set-Cookie: a=b | Cache-Control: max-age=60, no-cache=\"Set-Cookie\"";
    assert_eq!(obstacle("", 200, withheld), None);
}

#[test]
fn any_final_status_may_be_stored_that_says_for_how_long() {
    for status in 200..=599 {
        let expected = match status {
            304 | 412 => Some(Unstorable::Conditional),
            206 | 426 => Some(Unstorable::Status),
            _ => None,
        };
        assert_eq!(obstacle("", status, "Cache-Control: max-age=60"), expected, "{status}");
        assert_eq!(obstacle("", status, "Expires: Thu, 31 Dec 2099 00:00:00 GMT"), expected);
    }
}

/// docs/CACHE.md, rule 12.
#[test]
fn interim_answers_and_those_to_other_methods_are_not_stored() {
    for status in [100, 102, 103, 199] {
        let found = obstacle("", status, "Cache-Control: max-age=60");
        assert_eq!(found, Some(Unstorable::Status), "{status}");
    }
    for method in [Method::Head, Method::Post, Method::Put, Method::Options, Method::Other] {
        let found = judged(method, "", 200, "Cache-Control: max-age=60, public");
        assert_eq!(found, Err(Unstorable::Method), "{method:?}");
    }
}

#[test]
fn without_a_lifetime_only_some_statuses_are_stored() {
    for status in 200..=599 {
        let listed = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status);
        if matches!(status, 206 | 304 | 412 | 426) {
            continue;
        }
        let expected = if listed { None } else { Some(Unstorable::NotReusable) };
        assert_eq!(obstacle("", status, "Last-Modified: {old}"), expected, "{status}");
        let public = obstacle("", status, "Last-Modified: {old} | Cache-Control: public");
        assert_eq!(public, None, "{status}");
    }
}

#[test]
fn what_must_be_understood_is_stored_only_if_it_is() {
    for (status, directives, expected) in [
        (200, "max-age=60, must-understand", None),
        (599, "max-age=60, must-understand", Some(Unstorable::Status)),
        (299, "max-age=60, must-understand, no-store", Some(Unstorable::Status)),
        (404, "max-age=60, must-understand, no-store", None),
        (599, "max-age=60", None),
        (200, "max-age=60, must-understand, private", Some(Unstorable::Private)),
    ] {
        let found = obstacle("", status, &format!("Cache-Control: {directives}"));
        assert_eq!(found, expected, "{status} {directives}");
    }
}

/// docs/CACHE.md, rule 9, and what is of no use.
#[test]
fn what_could_never_answer_again_is_not_stored() {
    use Unstorable::NotReusable;
    for (response, expected) in [
        ("", Some(NotReusable)),
        ("ETag: \"a\"", Some(NotReusable)),
        ("Cache-Control: no-cache", Some(NotReusable)),
        ("Cache-Control: no-cache | ETag: \"a\"", None),
        ("Cache-Control: no-cache | Last-Modified: {old}", None),
        ("Cache-Control: no-cache, max-age=60", Some(NotReusable)),
        ("Cache-Control: max-age=0", Some(NotReusable)),
        ("Cache-Control: max-age=x | ETag: \"a\"", None),
        ("Cache-Control: max-age=0 | ETag: \"a\"", None),
        ("Cache-Control: must-revalidate | ETag: \"a\"", None),
        ("Cache-Control: max-age=0, stale-while-revalidate=5", None),
        ("Cache-Control: max-age=0, stale-if-error=5", None),
        ("Cache-Control: max-age=0, stale-if-error=0", Some(NotReusable)),
        ("Cache-Control: max-age=0, stale-if-error=5, must-revalidate", Some(NotReusable)),
        ("Cache-Control: max-age=60 | Age: 60", Some(NotReusable)),
        ("Cache-Control: max-age=60 | Age: 60 | ETag: \"a\"", None),
        ("Cache-Control: max-age=60 | Age: 59", None),
        ("Expires: 0", Some(NotReusable)),
        ("Expires: 0 | ETag: \"a\"", None),
        ("Pragma: no-cache | Last-Modified: {old}", None),
    ] {
        assert_eq!(obstacle("", 200, response), expected, "{response}");
    }
}

/// docs/CACHE.md, rule 11.
#[test]
fn a_part_is_stored_where_it_belongs_and_nothing_else_to_a_range() {
    let ranged = "Range: bytes=0-4";
    let fresh = "Cache-Control: max-age=60";
    let bare = format!("{fresh} | Content-Range: bytes 0-4/10");
    let part = format!("{bare} | ETag: \"a\"");
    let plan = judged(Method::Get, ranged, 206, &part).expect("storable");
    assert_eq!(plan.part.map(|range| (range.part.len(), range.whole)), Some((5, 10)));
    assert_eq!(obstacle("", 206, &part), Some(Unstorable::Status));
    assert_eq!(obstacle(ranged, 206, fresh), Some(Unstorable::Conditional));
    let changed = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT";
    for response in [
        format!("{fresh} | ETag: \"a\" | Content-Range: bytes 0-4/*"),
        format!("{bare} | {changed}"),
        format!("{bare} | ETag: W/\"a\""),
        format!("{bare} | ETag: a"),
        format!("{part} | Content-Type: Multipart/byteranges; boundary=x"),
    ] {
        let why = obstacle(ranged, 206, &response);
        assert_eq!(why, Some(Unstorable::Conditional), "{response}");
    }
    // What a client has already may be left out: RFC 9110 §15.3.7.
    let if_range = format!("{ranged} | If-Range: \"a\"");
    assert_eq!(obstacle(&if_range, 206, &part), Some(Unstorable::Conditional));
    assert_eq!(obstacle(&if_range, 206, &format!("{part} | Content-Type: a/b")), None);
    let twice = format!("{part} | Content-Range: bytes 0-4/10");
    assert_eq!(obstacle(ranged, 206, &twice), Some(Unstorable::Conditional));
    assert_eq!(judged(Method::Get, ranged, 200, fresh).map(|plan| plan.part), Ok(None));
    for status in [416, 404, 503] {
        assert_eq!(obstacle(ranged, status, fresh), Some(Unstorable::Conditional), "{status}");
    }
    assert_eq!(obstacle("", 416, fresh), None);
}

#[test]
fn nobody_waits_for_what_is_for_one_alone() {
    for (fields, expected) in [
        ("Accept: a | Cookie: b | Cache-Control: no-cache", true),
        ("Authorization: Basic eA==", false),
        ("Range: bytes=0-1", false),
        ("If-None-Match: \"a\"", false),
        ("If-Modified-Since: x", false),
        ("If-Match: *", false),
        ("Cache-Control: no-store", false),
    ] {
        let lines = lines(fields);
        let request_fields =
            RequestCacheFields::new(crate::http::Fields::stored(lines.as_bytes()), b"a");
        assert_eq!(is_for_all(&request_fields), expected, "{fields}");
    }
}

/// docs/CACHE.md, rule 6.
#[test]
fn fields_of_one_connection_or_one_recipient_are_not_kept() {
    let head = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\n\
        Cache-Control: no-cache=\"x-secret\", private=\"x-other\"\r\n\r\n";
    let head = response::parse(head).expect("valid");
    let response_fields = ResponseCacheFields::new(head.fields);
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Transfer-Encoding",
        "Upgrade",
        "x-hop",
        "X-SECRET",
        "x-other",
        "Set-Cookie",
        "Age",
        "Content-Length",
        "Trailer",
        "X-Request-ID",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Authentication-Info",
    ] {
        assert!(!KeptFields::new(&response_fields).keeps(name.as_bytes()), "{name}");
    }
    for name in [
        "Cache-Control",
        "Date",
        "ETag",
        "Vary",
        "Content-Type",
        "Content-Encoding",
        "Location",
        "Cache-Status",
        "X-Anything",
        "Expires",
        "Last-Modified",
        "Content-Range",
        "Warning",
    ] {
        assert!(KeptFields::new(&response_fields).keeps(name.as_bytes()), "{name}");
    }
    let none = ResponseCacheFields::new(crate::http::Fields::default());
    assert!(KeptFields::new(&none).keeps(b"x-hop") && KeptFields::new(&none).keeps(b"x-secret"));
}
