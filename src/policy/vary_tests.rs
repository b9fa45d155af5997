use super::*;
use crate::http::{request, response, rewrite};
use crate::mem::buffer::Buffer;
use std::net::Ipv4Addr;

/// The selection of a request with these fields, parted by ` | `, for these names.
fn selection(names: &str, fields: &str) -> String {
    selection_of(names, fields, "", true)
}

fn selection_of(names: &str, fields: &str, pool: &str, trusted: bool) -> String {
    with_asked(fields, trusted, |request_fields| {
        let mut out = Vec::new();
        let chosen = Chosen { request_fields, pool: pool.as_bytes() };
        write_selection(Names(names.as_bytes()), &chosen, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    })
}

fn with_asked<T>(fields: &str, trusted: bool, test: impl FnOnce(&RequestCacheFields) -> T) -> T {
    let lines: String = fields
        .split(" | ")
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\r\n"))
        .collect();
    let text = format!("GET / HTTP/1.1\r\nHost: shop\r\n{lines}\r\n");
    let head = request::parse(text.as_bytes()).expect("valid");
    let mut written = Buffer::new(vec![0; 4096].leak());
    let client = Ipv4Addr::LOCALHOST.into();
    let forward = crate::http::forwarded::Forward {
        trusted,
        ..crate::http::forwarded::Forward::new(client, b"1")
    };
    rewrite::request(&head, &forward, &mut written).expect("fits");
    test(&RequestCacheFields::new(rewrite::written_fields(written.as_slice()), b"shop"))
}

/// What an answer with that `Vary` to a request with these fields varies by beyond `before`.
fn names(before: &str, vary: &str, request: &str, pool: &str) -> String {
    let lines: String = vary
        .split(" | ")
        .filter(|line| !line.is_empty())
        .map(|line| format!("Vary: {line}\r\n"))
        .collect();
    let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let head = response::parse(text.as_bytes()).expect("valid");
    let response_fields = ResponseCacheFields::new(head.fields);
    with_asked(request, true, |request_fields| {
        let chosen = Chosen { request_fields, pool: pool.as_bytes() };
        let mut out = Vec::new();
        write_names(Names(before.as_bytes()), &response_fields, &chosen, &mut out);
        let written = Names(&out);
        assert!(written.cover(&response_fields, &chosen));
        assert_eq!(
            Names(before.as_bytes()).cover(&response_fields, &chosen),
            out == before.as_bytes()
        );
        String::from_utf8_lossy(&out).into_owned()
    })
}

fn same(names: &str, one: &str, other: &str) -> bool {
    selection(names, one) == selection(names, other)
}

/// docs/CACHE.md, rule 7, and `Vary` of rule 1.
#[test]
fn blanks_around_commas_do_not_count() {
    for other in ["A: 1, 2, 3", "A: 1,2,3", "a:  1 ,\t2  , 3", "A: 1 | A: 2,3", "A: 1,2 | A:3"] {
        assert!(same("a", "A: 1, 2, 3", other), "{other}");
    }
    for other in ["A: 1, 3, 2", "A: 1, 2", "A: 1 2, 3", "A: 1, 2, 3,", "A: 1,, 2, 3", "A: 1, 2, x"]
    {
        assert!(!same("a", "A: 1, 2, 3", other), "{other}");
    }
    assert!(!same("a", "A: \"1, 2\"", "A: \"1,2\""));
    assert!(!same("a", "A: \"\\\"1, 2\"", "A: \"\\\"1,2\""));
    assert!(same("a", "A: \"1, 2\" , 3", "A: \"1, 2\",3"));
    assert!(!same("a", "A: x", "A: X"));
}

#[test]
fn a_field_that_is_absent_differs_from_an_empty_one() {
    for name in ["a", "accept-encoding", "accept-language"] {
        assert!(!same(name, "", &format!("{name}:")), "{name}");
        assert!(same(name, "", "B: 1"), "{name}");
        assert!(!same(name, &format!("{name}:"), &format!("{name}: b")), "{name}");
    }
}

#[test]
fn languages_and_encodings_are_sets_with_weights() {
    for name in ["accept-language", "accept-encoding"] {
        let value = |value: &str| selection(name, &format!("{name}: {value}"));
        for other in [
            "br,GZIP ;q=0.5",
            "gzip;q=0.5, br",
            "gzip; q=0.50 , br;q=1",
            "gzip;Q=0.500,br;q=1.000",
            "br, , gzip;q=0.5,",
            "br, gzip;q=0.5, BR",
        ] {
            assert_eq!(value(other), value("br, gzip;q=0.5"), "{other}");
        }
        for other in [
            "br, gzip",
            "br, gzip;q=0.51",
            "br;q=0.5, gzip",
            "br",
            "br, gzip;q=0.5, x",
            "br, gzip;q=0.5, br;q=0.5",
        ] {
            assert_ne!(value(other), value("br, gzip;q=0.5"), "{other}");
        }
        // Several lines are one list.
        let lines = format!("{name}: gzip;q=0.5 | {name}: br");
        assert_eq!(selection(name, &lines), value("br, gzip;q=0.5"));
        // What cannot be read is compared as any other field is.
        assert_ne!(value("a;x=1, b"), value("b, a;x=1"));
        assert_eq!(value("a;x=1 , b"), value("a;x=1,b"));
        for unreadable in ["a;q=2", "a;q=1.001", "a;q=0.1234", "a;q=", "a;q=x", "a;b"] {
            assert!(!value(unreadable).contains("1000"), "{unreadable}");
        }
        let many: String = (0..30).map(|number| format!("l{number},")).collect();
        let backwards: String = (0..30).rev().map(|number| format!("l{number},")).collect();
        assert_ne!(value(&many), value(&backwards));
    }
}

#[test]
fn selections_of_different_requests_never_meet() {
    let different = [
        selection("a,b", "A: 1 | B: 2"),
        selection("a,b", "A: 1"),
        selection("a,b", "B: 1"),
        selection("a,b", "B: 2"),
        selection("a,b", "A: 1,b:2"),
        selection("a,b", "A: 1 | B: "),
        selection("a,b", ""),
        selection("a", ""),
        selection("b", ""),
        selection("", ""),
    ];
    for (index, one) in different.iter().enumerate() {
        assert!(different[index + 1..].iter().all(|other| one != other), "{one:?}");
    }
}

#[test]
fn names_are_gathered_in_lower_case_and_once() {
    assert_eq!(
        names("", "Accept-Encoding, Accept | ACCEPT ,x", "", ""),
        "accept-encoding,accept,x"
    );
    assert_eq!(names("accept,y", "X, Accept", "", ""), "accept,y,x");
    assert_eq!(names("accept,y", "", "", ""), "accept,y");
    assert_eq!(names("", "", "", ""), "");
}

#[test]
fn a_selection_tells_its_names() {
    for (names, fields, pool) in [
        ("", "", ""),
        ("accept", "Accept: a:b=c", ""),
        (":overrides,accept,:pool,x", "X-Forwarded-Host: a", "canary"),
        (":pool,:overrides", "", ""),
        ("a,b,c", "B: 1", ""),
    ] {
        let selection = selection_of(names, fields, pool, true);
        let mut out = Vec::new();
        write_names_of(selection.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), names);
    }
}

/// docs/CACHE.md, rule 16: nothing that a backend may read as another URL is left out.
#[test]
fn what_a_trusted_proxy_changes_is_selected_by() {
    let poisoned = "X-Forwarded-Host: evil";
    assert_eq!(names("", "Accept", poisoned, ""), ":overrides,accept");
    assert_eq!(names("", "", "X-Forwarded-Host: shop", ""), "");
    assert_eq!(names(":overrides", "", poisoned, ""), ":overrides");
    assert!(!same(":overrides", "", poisoned));
    assert!(!same(":overrides", "X-Forwarded-Host: other", poisoned));
    assert!(same(":overrides", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"));
    // Who is not trusted cannot say so at all.
    let untrusted = selection_of(":overrides", poisoned, "", false);
    assert_eq!(untrusted, selection_of(":overrides", "", "", false));
    // But not all that means so is dropped.
    assert_eq!(names("", "", "X-Original-URL: /admin", ""), ":overrides");
    assert!(!same(":overrides", "X-Original-URL: /a", "X-Original-URL: /b"));
}

#[test]
fn a_pool_that_a_field_chose_is_selected_by() {
    assert_eq!(names("", "", "", "canary"), ":pool");
    let of_pool = |pool| selection_of(":pool", "", pool, true);
    assert_ne!(of_pool("canary"), of_pool("default"));
    assert_ne!(of_pool("canary"), of_pool(""));
    with_asked("", true, |request_fields| {
        assert!(is_plain(&Chosen { request_fields, pool: b"" }));
        assert!(!is_plain(&Chosen { request_fields, pool: b"canary" }));
    });
}

/// docs/CACHE.md, rule 20.
#[test]
fn what_is_encoded_varies_by_what_clients_can_decode() {
    let names_of = |lines: &str| {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let head = response::parse(text.as_bytes()).expect("valid");
        let response_fields = ResponseCacheFields::new(head.fields);
        with_asked("", true, |request_fields| {
            let chosen = Chosen { request_fields, pool: b"" };
            let mut out = Vec::new();
            write_names(Names(b""), &response_fields, &chosen, &mut out);
            let mut selection = Vec::new();
            write_selection(Names(&out), &chosen, &mut selection);
            assert!(covers(&selection, &response_fields), "{lines}");
            assert_eq!(covers(b"", &response_fields), out.is_empty(), "{lines}");
            String::from_utf8_lossy(&out).into_owned()
        })
    };
    assert_eq!(names_of("Content-Encoding: gzip\r\n"), "accept-encoding");
    assert_eq!(names_of("Content-Encoding: gzip\r\nVary: X\r\n"), "x,accept-encoding");
    assert_eq!(
        names_of("Vary: Accept-Encoding\r\nContent-Encoding: br\r\n"),
        "accept-encoding",
        "once"
    );
    assert_eq!(names_of("Content-Encoding: identity\r\n"), "");
}
