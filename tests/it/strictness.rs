//! What is refused of a client, what is cleaned and what passes. Nothing of a refused request
//! reaches a backend, nor anything that comes behind it.
//!
//! The answers of backends are in strictness_answers.rs; bodies, order and failures have files
//! of their own.

use crate::common::{Backend, Client, End, Gate, Program, Response, json, servers, shown, until};

const FOLLOWER: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// What is sent, and the statuses that may answer it.
type Case = (Vec<u8>, &'static [u16]);

fn refusal(client: &mut Client, case: &[u8], statuses: &[u16]) {
    let response = client.response();
    let status = response.status;
    assert!(statuses.contains(&status), "{status} instead of {statuses:?} for {}", shown(case));
    assert!(response.closes(), "no Connection: close for {}", shown(case));
    assert_eq!(
        response.field("Proxy-Status"),
        Some("httplb; error=http_request_error"),
        "{}",
        shown(case)
    );
    client.expect_end();
}

/// Sends each case alone and with a request behind it.
fn assert_refused(cases: impl IntoIterator<Item = Case>) {
    let backend = Backend::named("a");
    let mut program = Program::over(&[&backend]);
    for (bytes, statuses) in cases {
        for follower in ["", FOLLOWER] {
            let mut client = program.client();
            client.send([&bytes, follower.as_bytes()].concat());
            refusal(&mut client, &bytes, statuses);
        }
    }
    program.kill();
    for received in backend.received_in_all() {
        assert_eq!(shown(&received), "\"\"", "reached the backend");
    }
}

fn latin1_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn with_line(line: &str) -> Vec<u8> {
    latin1_bytes(&format!("{line}\r\nHost: a\r\n\r\n"))
}

fn with_field(field: &str) -> Vec<u8> {
    latin1_bytes(&format!("GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\nX-Last: z\r\n\r\n"))
}

fn with_framing(fields: &str) -> Vec<u8> {
    latin1_bytes(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
}

#[test]
fn a_request_line_that_can_be_read_in_two_ways_is_refused() {
    let lines = [
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET a HTTP/1.1",
        "G\0T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET",
        "GET /",
        "GET / HTTP/1.10",
        "GET / HTTP/0.9",
        "GET / HTTP/01.1",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/1.1x",
        "GET / http/1.1",
        "GET / HTTP 1.1",
        "GET / HTTP/1.\0",
        "GET http://u@b/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a b/ HTTP/1.1",
        "\x16\x03\x01\x02", // the start of a TLS handshake
    ];
    assert_refused(lines.map(|line| (with_line(line), &[400][..])));
}

#[test]
fn versions_of_other_protocols_get_505_and_connect_gets_501() {
    let wrong_version = ["GET / HTTP/2.0", "GET / HTTP/3.0", "PRI * HTTP/2.0"];
    assert_refused(wrong_version.map(|line| (with_line(line), &[505][..])));
    assert_refused([
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[505][..]),
        (with_line("CONNECT a:80 HTTP/1.1"), &[501][..]),
    ]);
}

#[test]
fn a_field_line_that_can_be_read_in_two_ways_is_refused() {
    let fields = [
        "X : a",
        "X\t: a",
        " X: a",
        "\tX: a",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\r\n ",
        ": a",
        "X a",
        "X",
        "X(: a",
        "X\u{80}: a",
        "X\0: a",
        "a b: c",
        "X: a\0b",
        "X: a\rb",
        "X: a\r\rb",
        "X: a\nY: b",
        "X: a\x01b",
        "X: a\x0bb",
        "X: a\x7fb",
        "X: a\r",
        "X: a\n",
        "\r",
    ];
    assert_refused(fields.map(|field| (with_field(field), &[400][..])));
}

#[test]
fn lines_that_end_in_lf_alone_are_refused_without_waiting_for_crlf() {
    assert_refused([
        (b"GET /x HTTP/1.1\nHost: a\n\n".to_vec(), &[400][..]),
        (b"GET /x HTTP/1.1\r\nHost: a\n\r\n".to_vec(), &[400]),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\n".to_vec(), &[400]),
        (b"GET /x HTTP/1.1\nHost: a\r\n\r\n".to_vec(), &[400]),
        (b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[400]),
        (b"GET /x HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n".to_vec(), &[400]),
    ]);
}

#[test]
fn a_host_that_is_missing_doubled_or_invalid_is_refused() {
    let hosts = [
        "X: a",
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host: a\r\nhost: b",
        "Host: a b",
        "Host: u@a",
        "Host: a/x",
        "Host: a?x",
        "Host: a#x",
        "Host: a\\x",
        "Host: a:80:90",
        "Host: a:8x",
        "Host: [::1",
        "Host: ::1]",
        "Host: \u{e9}",
    ];
    let head = |fields: &str| latin1_bytes(&format!("GET /x HTTP/1.1\r\n{fields}\r\n\r\n"));
    assert_refused(hosts.map(|fields| (head(fields), &[400][..])));
    assert_refused([(b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), &[400][..])]);
}

#[test]
fn a_doubtful_content_length_is_refused() {
    let lengths = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5_0",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: five",
        "Content-Length: 5.0",
        "Content-Length: 5;a",
        "Content-Length: 18446744073709551621",
        "Content-Length: 9223372036854775808",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length: 5, 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length : 5",
        "Content-Length: \"5\"",
    ];
    assert_refused(lengths.map(|fields| (with_framing(fields), &[400][..])));
}

#[test]
fn a_transfer_encoding_that_is_not_just_chunked_is_refused() {
    const EITHER: &[u16] = &[400, 501];
    let codings = [
        ("xchunked", &[400][..]),
        ("chunkedx", &[400]),
        ("\"chunked\"", &[400]),
        ("chunked\x0b", &[400]),
        ("\0chunked", &[400]),
        ("chunked chunked", &[400]),
        ("", &[400]),
        ("gzip", &[501]),
        ("deflate", &[501]),
        ("identity", EITHER),
        ("chunked, identity", EITHER),
        ("identity, chunked", EITHER),
        ("gzip, chunked", EITHER),
        ("chunked, chunked", EITHER),
        (", chunked", EITHER),
        ("chunked,", EITHER),
        ("chunked;a=b", EITHER),
        ("chunked\r\nTransfer-Encoding: chunked", EITHER),
        ("chunked\r\nTransfer-Encoding: identity", EITHER),
        ("gzip\r\nTransfer-Encoding: chunked", EITHER),
        ("chunked\r\n chunked", &[400]),
    ];
    assert_refused(
        codings.map(|(value, statuses)| {
            (with_framing(&format!("Transfer-Encoding: {value}")), statuses)
        }),
    );
    let old = b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_refused([(old.to_vec(), &[400][..])]);
}

#[test]
fn a_chunked_body_that_can_be_read_in_two_ways_is_broken_off() {
    let bodies: [&[u8]; 26] = [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5_\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"8000000000000000\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        b"5\r\nhello\r\n0\r\n X: a\r\n\r\n",
    ];
    let backend = Backend::named("a");
    let mut program = Program::over(&[&backend]);
    for body in bodies {
        let mut client = program.client();
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send([body, FOLLOWER.as_bytes()].concat());
        refusal(&mut client, body, &[400]);
    }
    program.kill();
    assert_nothing_whole_came(&backend);
}

#[test]
fn chunk_extensions_of_more_than_four_kibibytes_are_broken_off() {
    let backend = Backend::named("a");
    let mut program = Program::over(&[&backend]);
    let one = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    for body in
        [format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(20_000)), one.repeat(20) + "0\r\n\r\n"]
    {
        let mut client = program.client();
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(&body);
        refusal(&mut client, body.as_bytes(), &[400]);
    }
    program.kill();
    assert_nothing_whole_came(&backend);
}

fn assert_nothing_whole_came(backend: &Backend) {
    let received = backend.received_in_all();
    assert_eq!(backend.request_count(), 0, "{}", shown(&received.concat()));
    for stream in received {
        let text = shown(&stream);
        assert!(!text.contains("\\r\\n0\\r\\n\\r\\n") && !text.contains("smuggled"), "{text}");
    }
}

#[test]
fn a_request_cut_short_never_looks_whole_and_its_connection_is_not_used_again() {
    let lengths =
        ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"];
    for framing in lengths {
        for end in [End::Fin, End::Reset] {
            let backend = Backend::named("a");
            let program = Program::over(&[&backend]);
            let mut client = program.client();
            client.send(format!("POST /cut HTTP/1.1\r\nHost: a\r\n{framing}"));
            until("the beginning came", || {
                String::from_utf8_lossy(&backend.received().concat()).contains("hello")
            });
            match end {
                End::Fin => client.finish_sending(),
                _ => client.reset(),
            }
            until("the broken connection is closed", || backend.open_connection_count() == 0);
            assert_nothing_whole_came(&backend);
            assert_eq!(program.get("/next").text(), "a");
            assert_eq!(backend.requests().len(), 1);
            assert_eq!(backend.connection_count(), 2);
        }
    }
}

/// Sends `bytes` cut in two at every offset, each time over a new connection.
fn cut_everywhere(program: &Program, bytes: &[u8], mut check: impl FnMut(&mut Client)) {
    for offset in 1..bytes.len() {
        let mut client = program.client();
        let (first, second) = bytes.split_at(offset);
        client.wire.send_pieces([first, second]);
        check(&mut client);
    }
}

#[test]
fn a_request_cut_in_two_anywhere_is_the_same_request() {
    let backend = Backend::answering(|request| crate::common::Answer::text(&request.body));
    let program = Program::over(&[&backend]);
    let answered = |client: &mut Client, bodies: &[&str]| {
        for body in bodies {
            assert_eq!(client.response().text(), *body);
        }
    };
    cut_everywhere(&program, b"\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n", |client| {
        answered(client, &[""])
    });
    let chunked =
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=\"x\"\r\nhello\r\n\
        0a \r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
    cut_everywhere(&program, chunked, |client| answered(client, &["hello0123456789"]));
    let two = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\nHost: a\r\n\r\n";
    cut_everywhere(&program, two, |client| answered(client, &["abc", ""]));
}

#[test]
fn a_refused_request_cut_in_two_anywhere_is_refused_the_same() {
    let backend = Backend::named("a");
    let mut program = Program::over(&[&backend]);
    let cases: [&[u8]; 4] = [
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    ];
    for case in cases {
        cut_everywhere(&program, case, |client| refusal(client, case, &[400]));
    }
    program.kill();
    assert_eq!(backend.received_in_all().concat(), b"");
}

#[test]
fn requests_and_answers_work_byte_by_byte() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
            assert_eq!(request.body, b"hello");
            connection.wire().send_pieces(answer.chunks(1));
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    let request =
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for _ in 0..3 {
        client.wire.send_pieces(request.chunks(1));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "abc"));
        assert_eq!(response.trailers, [("X-Sum".to_string(), "1".to_string())]);
    }
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let backend = Backend::named("a");
    let program = Program::over(&[&backend]);
    for _ in 0..5 {
        let mut client = program.client();
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n");
        client.send(vec![b'x'; 200_000]);
        assert_eq!(client.response().status, 400);
        client.expect_end();
    }
}

#[test]
fn connection_close_in_any_form_ends_the_connection_after_the_answer() {
    for close in [
        "Connection: close",
        "connection: CLOSE",
        "Connection: a, Close ,b",
        "Connection: a\r\nConnection: close",
    ] {
        let backend = Backend::named("a");
        let mut program = Program::over(&[&backend]);
        let mut client = program.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\n{close}\r\n\r\n{FOLLOWER}"));
        let response = client.response();
        assert!(response.closes() && response.status == 200, "{close}");
        client.expect_end();
        program.kill();
        assert!(!shown(&backend.received_in_all().concat()).contains("smuggled"), "{close}");
    }
}

#[test]
fn a_connection_option_that_only_resembles_close_is_none() {
    let backend = Backend::named("a");
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    for option in ["x-close", "close2", "\"close\"", "clo se"] {
        client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: {option}\r\n\r\n"));
        assert!(!client.response().closes(), "{option}");
    }
}

#[test]
fn refusals_wait_for_the_answers_before_them() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |request| crate::common::Answer::text(&request.target));
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
    let mut client = program.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\n");
    backend.wait_for_requests(1);
    gate.open();
    assert_eq!(client.response().text(), "/1");
    assert_eq!(client.response().text(), "/2");
    let refused: Response = client.response();
    assert_eq!((refused.status, refused.closes()), (400, true));
    client.expect_end();
}
