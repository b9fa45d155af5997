use super::*;
use crate::http::cache_control::Seconds;

fn request_fields(lines: &str) -> RequestCacheFields<'_> {
    RequestCacheFields::new(Fields::again(lines.as_bytes(), false), b"Shop.example")
}

fn response_fields(lines: &str) -> ResponseCacheFields<'_> {
    ResponseCacheFields::new(Fields::again(lines.as_bytes(), false))
}

#[test]
fn an_ordinary_request_asks_nothing() {
    let request_fields =
        request_fields("Host: shop.example\r\nAccept: */*\r\nX-Request-ID: 1\r\nX: 1\r\n");
    assert_eq!(request_fields.directives, RequestDirectives::default());
    assert!(
        !request_fields.authorization
            && !request_fields.is_conditional()
            && !request_fields.overrides
    );
    assert_eq!((request_fields.range, request_fields.if_range), (Single::Absent, Single::Absent));
}

#[test]
fn the_fields_that_matter_are_found_in_any_case() {
    let request_fields = request_fields(
        "RANGE: bytes=0-1\r\nIf-range: \"a\"\r\nCACHE-control: max-age=0\r\n\
         cache-control: no-store\r\nAuthorization: Basic eA==\r\nif-none-match: \"a\"\r\n\
         If-Modified-Since: x\r\n",
    );
    assert_eq!(request_fields.range, Single::Once(b"bytes=0-1"));
    assert_eq!(request_fields.if_range, Single::Once(b"\"a\""));
    assert!(request_fields.directives.no_store && request_fields.directives.max_age == Some(0));
    assert!(
        request_fields.authorization
            && request_fields.if_none_match
            && request_fields.is_conditional()
    );
    assert_eq!(request_fields.if_modified_since, Single::Once(b"x"));
    assert!(!request_fields.for_origin);
}

#[test]
fn conditions_for_the_origin_are_told_apart() {
    for line in ["If-Match: \"a\"\r\n", "If-Unmodified-Since: x\r\n"] {
        assert!(request_fields(line).for_origin && request_fields(line).is_conditional(), "{line}");
    }
}

/// docs/CACHE.md, rule 16.
#[test]
fn what_may_lead_to_another_resource_is_noticed() {
    for line in [
        "X-Forwarded-Host: evil.example\r\n",
        "X-Forwarded-Proto: ftp\r\n",
        "X-Forwarded-Port: 8080\r\n",
        "x_forwarded_prefix: /a\r\n",
        "X-Original-URL: /admin\r\n",
        "X_Rewrite_Url: /admin\r\n",
        "X-HTTP-Method-Override: DELETE\r\n",
        "Front-End-Https: on\r\n",
        "X_Forwarded: host=evil.example\r\n",
        "X-Scheme: https\r\n",
        "X-Url-Scheme: https\r\n",
        "X-Original-URI: /admin\r\n",
        "Forwarded: for=192.0.2.1;host=a, for=192.0.2.2\r\n",
        "X-Forwarded-Host: shop.example\r\n",
        "X-Forwarded-Host: Shop.example:80\r\n",
        "X-Forwarded-Proto: HTTPS\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
    ] {
        assert!(request_fields(line).overrides, "{line}");
    }
    for line in [
        "X-Forwarded-Host: Shop.example\r\n",
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Real: 1\r\n",
        "Forwarded-Host: a\r\n",
        "Forwarded: for=192.0.2.1;host=\"shop.example\"\r\n",
    ] {
        assert!(!request_fields(line).overrides, "{line}");
    }
    assert!(request_fields("X-Forwarded-Proto: https\r\n").https);
    assert!(!request_fields("X-Forwarded-Proto: http\r\n").https);
    assert!(request_fields("Forwarded: for=192.0.2.1;host=\"a\";proto=https\r\n").https);
    assert!(!request_fields("Forwarded: for=192.0.2.1;host=\"a\";proto=http\r\n").https);
}

#[test]
fn a_response_offers_what_its_fields_say() {
    let response_fields = response_fields(
        "date: D\r\nAGE: 5\r\nAge: 6\r\nExpires: E\r\nETAG: \"e\"\r\nLast-modified: L\r\n\
         Cache-Control: max-age=1\r\nCache-Control: public\r\nContent-Range: r\r\n",
    );
    assert_eq!((response_fields.date, response_fields.age), (Single::Once(b"D"), Some(&b"5"[..])));
    assert_eq!(
        (response_fields.expires, response_fields.etag),
        (Single::Once(b"E"), Single::Once(b"\"e\""))
    );
    assert_eq!(response_fields.last_modified, Single::Once(b"L"));
    assert_eq!(response_fields.content_range, Single::Once(b"r"));
    assert_eq!(response_fields.directives.max_age, Seconds::Given(1));
    assert!(
        response_fields.directives.public
            && !response_fields.varies
            && !response_fields.sets_cookie
    );
}

#[test]
fn a_star_anywhere_in_vary_counts() {
    for lines in [
        "Vary: *\r\n",
        "Vary: a, *\r\n",
        "Vary: *, a\r\n",
        "Vary: a\r\nvary: ,*\r\n",
        "Vary: a b\r\n",
        "Vary: :pool\r\n",
    ] {
        assert!(response_fields(lines).varies_by_anything, "{lines}");
    }
    assert!(
        response_fields("Vary: a\r\n").varies
            && !response_fields("Vary: a*\r\n").varies_by_anything
    );
    assert!(!response_fields("Vary: , ,\r\n").varies);
}

#[test]
fn encoded_bodies_and_streams_are_told_apart() {
    for (line, encoded, streams) in [
        ("Content-Encoding: gzip\r\n", true, false),
        ("content-encoding: identity, br\r\n", true, false),
        ("Content-Encoding: identity\r\n", false, false),
        ("Content-Encoding: ,\r\n", false, false),
        ("Content-Type: text/event-stream\r\n", false, true),
        ("content-type: Text/Event-Stream ;charset=utf-8\r\n", false, true),
        ("Content-Type: multipart/x-mixed-replace; boundary=b\r\n", false, true),
        ("Content-Type: application/x-ndjson\r\n", false, true),
        ("Content-Type: APPLICATION/JSON-SEQ;a=b\r\n", false, true),
        ("Content-Type: application/stream+json\r\n", false, true),
        ("Content-Type: application/gRPC-Web+proto\r\n", false, true),
        ("Content-Type: application/grpc\r\n", false, true),
        ("Content-Type: application/Connect+json ; a=b\r\n", false, true),
        ("Content-Type: application/json\r\n", false, false),
        ("Content-Type: application/connect\r\n", false, false),
        ("Content-Type: text/event-streams\r\n", false, false),
        ("Content-Type: text/event-stream\r\nContent-Length: 5\r\n", false, false),
        ("Content-Type: text/html\r\n", false, false),
    ] {
        let response_fields = response_fields(line);
        assert_eq!(
            (response_fields.encoded, response_fields.streams),
            (encoded, streams),
            "{line}"
        );
    }
}

#[test]
fn a_valid_targeted_field_replaces_cache_control() {
    let both = "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=9\r\n";
    assert!(response_fields(both).targeted && !response_fields(both).directives.no_store);
    let malformed = "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=\"9\"\r\n";
    assert!(!response_fields(malformed).targeted && response_fields(malformed).directives.no_store);
}

#[test]
fn a_cookie_for_one_recipient_alone_is_told_apart() {
    assert!(response_fields("Set-Cookie: a=b\r\n").sets_cookie);
    let withheld = "Set-Cookie: a=b\r\nCache-Control: private=\"x, set-cookie\"\r\n";
    let withholds = |lines: &str, name: &[u8]| {
        response_fields(lines).withheld().is_some_and(|names| names.contains(name))
    };
    assert!(!response_fields(withheld).sets_cookie && withholds(withheld, b"X"));
    let elsewhere = format!("{withheld}CDN-Cache-Control: private=\"x\"\r\n");
    assert!(response_fields(&elsewhere).sets_cookie && withholds(&elsewhere, b"X"));
}

/// Each name is held against each field, so that lists without end would be work without end.
#[test]
fn lists_of_more_than_64_names_stand_for_anything() {
    for (count, is_too_long) in [(64, false), (65, true)] {
        let names = vec!["a"; count].join(",");
        let vary = format!("Vary: {names}\r\n");
        assert_eq!(response_fields(&vary).varies_by_anything, is_too_long, "{count}");
        let lines = "Vary: a\r\n".repeat(count);
        assert_eq!(response_fields(&lines).varies_by_anything, is_too_long, "{count} lines");
        let private = format!("Cache-Control: private=\"{names}\"\r\n");
        assert_eq!(response_fields(&private).directives.private, is_too_long, "{count}");
    }
}
