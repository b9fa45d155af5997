use super::*;

/// All that comes of `bytes`, given at once.
fn taken(bytes: &[u8]) -> Vec<Taken> {
    let mut parser = RequestParser::default();
    let mut all = Vec::new();
    let mut rest = bytes;
    loop {
        let (now, later) = rest.split_at(rest.len().min(parser.room()));
        parser.add(now);
        rest = later;
        let taken = parser.take();
        let is_last = match taken {
            Taken::More | Taken::Continue => rest.is_empty(),
            Taken::Refused(_) => true,
            Taken::Whole(_) => false,
        };
        all.push(taken);
        if is_last {
            return all;
        }
    }
}

fn request(method: Method, target: &str, body: &str) -> ApiRequest {
    ApiRequest {
        method,
        target: target.to_owned(),
        authorization: None,
        body: body.as_bytes().to_vec(),
        after: After::Keep,
    }
}

fn refusal(bytes: &[u8]) -> Refusal {
    match taken(bytes).pop() {
        Some(Taken::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_are_taken_one_after_the_other() {
    let bytes = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n\
        PATCH /v1/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        POST /v1/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\nGET /v1/c";
    let expected = [
        Taken::Whole(request(Method::Get, "/v1/status", "")),
        Taken::Whole(request(Method::Patch, "/v1/a", "hello")),
        Taken::Whole(request(Method::Post, "/v1/b", "abcde")),
        Taken::More,
    ];
    assert_eq!(taken(bytes), expected);
    // The same byte by byte.
    let mut parser = RequestParser::default();
    let mut all = Vec::new();
    for byte in bytes {
        parser.add(&[*byte]);
        match parser.take() {
            Taken::More => (),
            other => all.push(other),
        }
    }
    assert_eq!(all, expected[..3]);
    assert!(parser.has_begun());
}

#[test]
fn how_a_connection_goes_on_is_for_the_client_to_say() {
    let after = |bytes: &[u8]| match taken(bytes).remove(0) {
        Taken::Whole(request) => request.after,
        other => panic!("{other:?}"),
    };
    assert_eq!(after(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), After::Keep);
    assert_eq!(after(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), After::Close);
    assert_eq!(after(b"GET / HTTP/1.0\r\n\r\n"), After::Close);
    assert_eq!(after(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), After::KeepAndSay);
}

#[test]
fn only_one_authorization_counts() {
    let of = |lines: &str| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        match taken(bytes.as_bytes()).remove(0) {
            Taken::Whole(request) => request.authorization,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of(""), None);
    assert_eq!(of("authorization: Bearer a\r\n"), Some(b"Bearer a".to_vec()));
    assert_eq!(of("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n"), None);
}

#[test]
fn who_waits_before_sending_a_body_is_told_to_go_on_once() {
    let mut parser = RequestParser::default();
    parser.add(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(parser.take(), Taken::Continue);
    assert_eq!(parser.take(), Taken::More);
    parser.add(b"ab");
    assert_eq!(parser.take(), Taken::Whole(request(Method::Post, "/", "ab")));
    assert!(!parser.has_begun());
}

#[test]
fn what_is_not_strictly_http_is_refused() {
    let cases: [(&[u8], Refusal); 7] = [
        (b"GET / HTTP/1.1\nHost: x\n\n", Refusal::Malformed),
        (b"GET / HTTP/1.1\r\n\r\n", Refusal::Host),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", Refusal::Version),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::Framing,
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Refusal::Framing),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: a-lot\r\n\r\n", Refusal::Expectation),
        (b"\x16\x03\x01 TLS", Refusal::Malformed),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_request_has_a_largest_size() {
    let endless_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(LIMIT));
    assert_eq!(refusal(endless_target.as_bytes()), Refusal::TargetTooLong);
    let endless_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(LIMIT));
    assert_eq!(refusal(endless_head.as_bytes()), Refusal::HeadTooLong);
    let announced = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n";
    assert_eq!(refusal(announced), Refusal::BodyTooLarge);
    let chunked = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = [&chunked[..], &b"4\r\nabcd\r\n".repeat(LIMIT)].concat();
    assert_eq!(refusal(&chunks), Refusal::BodyTooLarge);
    let trailer = [&chunked[..], b"0\r\nA: ", &[b'a'; LIMIT]].concat();
    assert_eq!(refusal(&trailer), Refusal::BodyTooLarge);
}

#[test]
fn the_largest_request_is_taken_and_more_than_it_is_held() {
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 65400\r\n\r\n";
    let bytes = [head.as_bytes(), &[b'a'; 65_400]].concat();
    assert_eq!(taken(&bytes)[0], Taken::Whole(request(Method::Put, "/", &"a".repeat(65_400))));
    let mut parser = RequestParser::default();
    parser.add(&vec![b'a'; parser.room()]);
    assert_eq!(parser.room(), 0);
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let mut dice = crate::mem::xorshift::Xorshift::new(7);
    let seed = b"POST /v1/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n";
    for _ in 0..20_000 {
        let mut bytes = seed.repeat(2);
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.below(256) as u8;
        }
        taken(&bytes);
    }
}
