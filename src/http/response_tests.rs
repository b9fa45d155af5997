use super::super::scan::{HeadScan, Scan};
use super::super::testing::{
    Dice, framing_naively, keep_alive_naively, mutant, read_naively, scan_however_cut, values_of,
};
use super::*;

/// A response with that status line and these field lines.
fn answer(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\n{fields}\r\n").into_bytes()
}

fn fault(line: &str, fields: &str) -> Option<BadResponse> {
    parse(&answer(line, fields)).err()
}

#[test]
fn a_thousand_fields_are_allowed_and_64_names_in_connection() {
    let too_many = Some(BadResponse::TooManyFields);
    let of_fields = |count| fault("HTTP/1.1 200 OK", &"a:\r\n".repeat(count));
    assert_eq!((of_fields(1000), of_fields(1001)), (None, too_many));
    let of_names = |count: usize| {
        let names = "x,".repeat(count - 1);
        fault("HTTP/1.1 200 OK", &format!("Connection: {names}\r\nA: b\r\nconnection: y\r\n"))
    };
    assert_eq!((of_names(64), of_names(65)), (None, too_many));
    let within =
        |count| parse_within(&answer("HTTP/1.1 200 OK", &"a:\r\n".repeat(count)), 20).err();
    assert_eq!((within(20), within(21)), (None, too_many));
}

#[test]
fn a_whole_response_is_understood() {
    let bytes = b"HTTP/1.1 200 Very OK\r\nContent-Length: 5\r\nKeep-Alive: max=9, Timeout=7\r\n\
        Set-Cookie: a\r\nX-Request-ID: id-1\r\nSet-Cookie: b\r\n\r\n";
    let head = parse(bytes).expect("the head is valid");
    assert_eq!((head.status, head.version, head.reason), (200, Version::Http11, &b"Very OK"[..]));
    assert_eq!(head.framing, Framing::Length(5));
    assert_eq!(head.keep_alive_timeout_secs, Some(7));
    assert_eq!(head.request_id, Some(&b"id-1"[..]));
    assert!(head.keep_alive && head.switches_to.is_none());
    assert_eq!(head.fields.values("set-cookie").collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn status_lines_that_are_accepted() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.0 100 a\tb  c", 100, "a\tb  c"),
        ("HTTP/1.9 599 é", 599, "é"),
        ("HTTP/1.1 600 X", 600, "X"),
        ("HTTP/1.1 999 X", 999, "X"),
    ] {
        let bytes = answer(line, "");
        let head = parse(&bytes).expect(line);
        assert_eq!((head.status, head.reason), (status, reason.as_bytes()), "{line}");
    }
}

#[test]
fn status_lines_that_are_not() {
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 X",
        "HTTP/1.1 000 X",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "HTTP/0.9 200 OK",
        "HTTP/1.10 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.x 200 OK",
        "HTTP/1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\nK",
        "HTTP/1.1 200OK",
        "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\x7f",
        "HTTP/1.1 200,OK",
    ] {
        assert_eq!(fault(line, ""), Some(BadResponse::StatusLine), "{line:?}");
    }
}

#[test]
fn a_line_that_is_no_field_spoils_the_response() {
    for fields in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n folded\r\n",
        "A: b\0\r\n",
        "A: b\rc\r\n",
        "A: b\n",
        "A\r\n",
        ": b\r\n",
        "\r\n",
    ] {
        assert_eq!(fault("HTTP/1.1 200 OK", fields), Some(BadResponse::Field), "{fields:?}");
    }
    assert_eq!(fault("HTTP/1.1 200 OK", "A: caf\u{e9}\r\n"), None);
}

#[test]
fn doubtful_framing_spoils_the_response() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        for line in ["HTTP/1.1 200 OK", "HTTP/1.1 304 X", "HTTP/1.0 200 OK"] {
            assert_eq!(fault(line, fields), Some(BadResponse::Framing), "{line} {fields:?}");
        }
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(fault("HTTP/1.0 200 OK", chunked), Some(BadResponse::Framing));
    assert_eq!(fault("HTTP/1.1 200 OK", chunked), None);
}

#[test]
fn chunked_said_twice_is_read_by_those_who_tolerate_it() {
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked\r\n";
    let bytes = answer("HTTP/1.1 200 OK", twice);
    assert_eq!(parse(&bytes).err(), Some(BadResponse::RepeatedChunked));
    assert_eq!(parse_repeats(&bytes, 2).map(|head| head.framing), Ok(Framing::Chunked));
    let too_many = parse_repeats(&bytes, 1).map(|head| head.framing);
    assert_eq!(too_many, Err(BadResponse::TooManyFields));
    for (line, more) in [("HTTP/1.0 200 OK", ""), ("HTTP/1.1 200 OK", "Content-Length: 5\r\n")] {
        let bytes = answer(line, &format!("{twice}{more}"));
        assert_eq!(parse_repeats(&bytes, 9).err(), Some(BadResponse::Framing), "{line} {more}");
    }
}

#[test]
fn a_backend_goes_on_unless_it_says_otherwise() {
    for (version, fields, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: x\r\nCONNECTION: a, Close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let bytes = answer(&format!("HTTP/{version} 200 OK"), fields);
        assert_eq!(parse(&bytes).map(|head| head.keep_alive), Ok(keep_alive), "{version} {fields}");
    }
}

#[test]
fn keep_alive_timeouts_are_read_if_they_are_plain_numbers() {
    for (value, seconds) in [
        ("timeout=5", Some(5)),
        ("max=100, TIMEOUT=15", Some(15)),
        ("timeout=", None),
        ("timeout=x", None),
        ("timeout=5s", None),
        ("max=5", None),
        ("", None),
        ("timeout=99999999999", None),
        ("é", None),
    ] {
        let bytes = answer("HTTP/1.1 200 OK", &format!("Keep-Alive: {value}\r\n"));
        let read = parse(&bytes).map(|head| head.keep_alive_timeout_secs);
        assert_eq!(read, Ok(seconds), "{value}");
    }
}

#[test]
fn several_request_ids_are_nobodys() {
    let bytes = answer("HTTP/1.1 200 OK", "X-Request-ID: a\r\nx-request-id: a\r\n");
    assert_eq!(parse(&bytes).map(|head| head.request_id), Ok(Some(&b""[..])));
    assert_eq!(parse(&answer("HTTP/1.1 200 OK", "")).map(|head| head.request_id), Ok(None));
}

#[test]
fn only_a_101_that_names_one_protocol_switches() {
    for (line, fields, switches_to) in [
        ("HTTP/1.1 101 X", "Connection: Upgrade\r\nUpgrade: WebSocket\r\n", Some("WebSocket")),
        ("HTTP/1.1 101 X", "Connection: Upgrade\r\nUpgrade: x, y\r\n", Some("x, y")),
        ("HTTP/1.1 200 X", "Connection: Upgrade\r\nUpgrade: websocket\r\n", None),
        ("HTTP/1.1 101 X", "Upgrade: websocket\r\n", None),
        ("HTTP/1.1 101 X", "Connection: Upgrade\r\n", None),
        ("HTTP/1.1 101 X", "Connection: Upgrade\r\nUpgrade: x\r\nUpgrade: y\r\n", None),
        ("HTTP/1.0 101 X", "Connection: Upgrade\r\nUpgrade: websocket\r\n", None),
    ] {
        let bytes = answer(line, fields);
        let head = parse(&bytes).unwrap();
        let switches_to = switches_to.map(str::as_bytes);
        assert_eq!(head.switches_to, switches_to, "{line} {fields}");
        let again = Reading::new(&head).open(&bytes).switches_to;
        assert_eq!(again, switches_to, "{line} {fields}");
    }
}

#[test]
fn a_head_cut_short_is_no_response() {
    let bytes = answer("HTTP/1.1 200 OK", "Content-Length: 5\r\nA: b\r\n");
    for cut in 0..bytes.len() {
        assert!(parse(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(parse(&[&bytes[..], b"x"].concat()).is_err());
}

const SEEDS: [&[u8]; 5] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\nX-Request-ID: 7\r\n\r\n",
    b"HTTP/1.0 302\r\nLocation: /x\r\nConnection: close\r\nKeep-Alive: timeout=5, max=2\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 204 \r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n\r\n",
];

/// Everything that was accepted, judged again in the plainest way.
fn check_naively(bytes: &[u8], head: &ResponseHead) {
    let (line, fields) = read_naively(bytes);
    let minor = line.strip_prefix("HTTP/1.").expect("the version is 1.x").chars().next();
    let is_http10 = minor == Some('0');
    assert!(minor.is_some_and(|minor| minor.is_ascii_digit()));
    assert_eq!(head.version == Version::Http10, is_http10);
    assert_eq!(&line[8..12], format!(" {:03}", head.status));
    assert!((100..=999).contains(&head.status));
    assert!(matches!(line[12..].chars().next(), None | Some(' ')));
    assert_eq!(format!("{:?}", head.framing), framing_naively(&fields, is_http10));
    assert_eq!(head.keep_alive, keep_alive_naively(&fields, is_http10));
    assert_eq!(head.request_id.is_some(), !values_of(&fields, "x-request-id").is_empty());
    assert_eq!(head.fields.iter().count(), fields.len());
}

#[test]
fn whatever_is_accepted_of_forty_thousand_mutants_is_sound() {
    let mut dice = Dice::new(0x5eed_0002);
    let mut accepted = 0;
    for round in 0..40_000 {
        let bytes = mutant(SEEDS[round % SEEDS.len()], &mut dice);
        let _ = parse(&bytes); // Must not panic, whether it is a whole head or not.
        let found = scan_however_cut(HeadScan::response(), &bytes, &mut dice);
        let whole = match found {
            Scan::Whole(end) => parse(&bytes[..end]).ok().map(|head| (format!("{head:?}"), end)),
            Scan::Partial | Scan::Malformed(_) => None,
        };
        let at_front = parse_front(&bytes, MAX_FIELDS);
        let at_front = at_front.ok().map(|head| (format!("{head:?}"), head.whole_len()));
        assert_eq!(at_front, whole, "{}", bytes.escape_ascii());
        match found {
            Scan::Partial => (),
            Scan::Whole(end) => {
                if let Ok(head) = parse(&bytes[..end]) {
                    accepted += 1;
                    check_naively(&bytes[..end], &head);
                }
            }
            Scan::Malformed(at) => {
                let finished = [&bytes[..=at], b"\r\n\r\n"].concat();
                assert!(parse(&finished).is_err(), "{}", bytes.escape_ascii());
                assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
            }
        }
    }
    assert!(accepted > 4_000, "only {accepted} were accepted, the mutants are too wild");
}

#[test]
fn a_head_that_was_read_can_be_had_again() {
    for text in [
        "HTTP/1.1 200 OK\r\nA: b\r\nX-Request-ID: 7\r\n\r\nbody",
        "HTTP/1.1 404 Not Found\r\nConnection: a, close\r\nA: 1\r\n\r\n",
        "HTTP/1.0 204\r\n\r\n",
        "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\nHTTP/1.1",
    ] {
        let end = text.find("\r\n\r\n").expect("a head") + 4;
        let head = parse(&text.as_bytes()[..end]).expect("valid");
        let again = Reading::new(&head).open(text.as_bytes());
        assert_eq!(again.request_id.is_some(), head.request_id.is_some());
        let head = ResponseHead { request_id: None, keep_alive_timeout_secs: None, ..head };
        let again = ResponseHead { request_id: None, ..again };
        assert_eq!(format!("{again:?}"), format!("{head:?}"));
    }
}
