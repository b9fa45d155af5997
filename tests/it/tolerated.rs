//! What a pool tolerates of its backends and clients, what goes on then, and the hints where it does
//! not.

use crate::common::{
    Answer, Backend, Program, Value, assert_same_bytes, backend::pause, json, noise, servers,
};

fn program(backends: &[&Backend], tolerate: &[&str]) -> Program {
    Program::logging(json!({ "backend_servers": servers(backends), "tolerate": tolerate }))
}

/// The last line of the log of so many, without what differs from run to run.
fn line(program: &Program, number: usize) -> Value {
    program.log_lines(number).pop().unwrap()
}

/// As CGI scripts behind `http.server`, busybox and mini_httpd write it.
const SCRIPT: &str = "HTTP/1.0 200 Script output follows\r\nServer: x\r\nContent-Type: text/plain\n\
                      X-Odd:as it is\nSet-Cookie: a=b\r\n\n";

#[test]
fn lines_that_end_by_lf_alone_go_on_as_they_should() {
    for head in [SCRIPT, &SCRIPT.replace("\r\n", "\n"), &SCRIPT.replace("\r\n\n", "\r\n\r\n")] {
        for body in ["".to_owned(), "hello\n\nworld\r\n\r\n\n".to_owned(), "x\n".repeat(50_000)] {
            let backend = Backend::always(Answer::raw(format!("{head}{body}")).then_close());
            let program = program(&[&backend], &["bare_lf"]);
            // The client refuses whatever is not canonical.
            let response = program.client().get("/");
            assert_eq!((response.status, response.reason.as_str()), (200, "Script output follows"));
            assert_eq!(response.field("Content-Type"), Some("text/plain"));
            assert_eq!(response.field("X-Odd"), Some("as it is"));
            assert_eq!(response.head.all("Set-Cookie"), ["a=b"]);
            assert_same_bytes(&response.body, body.as_bytes(), "the body");
        }
    }
}

#[test]
fn they_do_so_however_they_arrive_and_on_a_kept_connection() {
    let head = "HTTP/1.1 200 OK\nContent-Length: 5\nX-A: b\r\n\nhello";
    let interim = "HTTP/1.1 103 Early\nLink: x\n\n";
    let whole = format!("{interim}{head}").into_bytes();
    let cuts = whole.len();
    let backend = Backend::talking(move |connection| {
        while let Some(request) = connection.request() {
            let cut: usize = request.target.trim_start_matches('/').parse().unwrap();
            let pieces: Vec<&[u8]> = match cut {
                0 => whole.chunks(1).collect(),
                cut => vec![&whole[..cut], &whole[cut..]],
            };
            for piece in pieces {
                connection.send(piece);
                if cut > 0 || piece == b"\n" || piece == b"\r" {
                    pause();
                }
            }
        }
    });
    let program = program(&[&backend], &["bare_lf"]);
    let mut client = program.client();
    for cut in 0..cuts {
        assert_eq!(client.get(&format!("/{cut}")).status, 103);
        let response = client.response();
        assert_eq!((response.text().as_str(), response.field("X-A")), ("hello", Some("b")));
    }
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn a_large_body_right_behind_the_head_is_whole() {
    let body = noise(3 << 20, 5);
    let head = format!("HTTP/1.1 200 OK\nContent-Length: {}\n\n", body.len());
    let answer = [head.as_bytes(), &body].concat();
    for buffer_size in ["4KiB", "32KiB"] {
        let backend = Backend::always(Answer::raw(&answer));
        let program = Program::with(json!({
            "backend_servers": servers(&[&backend]),
            "buffer_size": buffer_size,
            "tolerate": ["bare_lf"],
        }));
        let mut client = program.client();
        for _ in 0..5 {
            assert_same_bytes(&client.get("/").body, &body, "the body");
        }
        assert_eq!(backend.connection_count(), 1);
    }
}

#[test]
fn nothing_else_of_a_response_is_tolerated() {
    let answers = [
        "HTTP/1.1 200 OK\nX : a\n\nhello",
        "HTTP/1.1 200 OK\nX: a\n folded\n\nhello",
        "HTTP/1.1 200 OK\nX: a\rb\n\nhello",
        "HTTP/1.1 200 OK\nX: a\0\n\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked\n\n5\r\nhello\r\n0\r\n\r\n",
        "\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    let backend = Backend::answering(move |request| {
        let number: usize = request.target.trim_start_matches('/').parse().unwrap();
        Answer::raw(answers[number]).then_close()
    });
    for tolerate in [&["bare_lf", "repeated_chunked", "raw_target"][..], &[]] {
        let program = program(&[&backend], tolerate);
        for number in 0..answers.len() {
            assert_eq!(program.client().get(&format!("/{number}")).status, 502, "{number}");
        }
        for line in program.log_lines(answers.len()) {
            assert!(line["hint"].is_null(), "{line}");
        }
    }
}

#[test]
fn chunked_said_twice_goes_on_said_once() {
    let chunks = "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
    ] {
        let answer = Answer::raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\n{chunks}"));
        let backend = Backend::always(answer);
        let program = program(&[&backend], &["repeated_chunked"]);
        let mut client = program.client();
        for _ in 0..2 {
            let response = client.get("/");
            assert_eq!(response.head.all("Transfer-Encoding"), ["chunked"]);
            assert_eq!(response.text(), "hello");
        }
        assert_eq!(backend.connection_count(), 1);
        // Of requests nothing of the kind is tolerated.
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{chunks}"));
        assert_eq!(client.response().status, 400);
        client.expect_end();
    }
}

#[test]
fn a_raw_target_goes_on_as_it_came() {
    let backend = Backend::named("a");
    let program = program(&[&backend], &["raw_target"]);
    let mut client = program.client();
    for target in ["/stra\u{df}e?\u{fc}=\u{4e2d}", "http://a/\u{e9}"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().text(), "a");
        let received = backend.last_request();
        let path = target.strip_prefix("http://a").unwrap_or(target);
        assert_eq!(received.head.raw.split(|byte| *byte == b' ').nth(1), Some(path.as_bytes()));
    }
    client.send(b"GET /\xff\x80 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    assert_eq!(line(&program, 3)["target"], "/\u{ff}\u{80}");
    for line in
        ["GET /\u{e9}#x HTTP/1.1", "GET /\u{e9}\x7f HTTP/1.1", "GET /\u{e9} \u{e9} HTTP/1.1"]
    {
        let mut client = program.client();
        client.send(format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status, 400, "{line}");
    }
    assert_eq!(backend.request_count(), 3);
}

#[test]
fn a_pool_tolerates_for_itself_alone() {
    let (strict, lax) = (Backend::named("strict"), Backend::named("lax"));
    let program = Program::logging(json!({
        "backend_servers": servers(&[&strict]),
        "pools": { "lax": { "backend_servers": servers(&[&lax]), "tolerate": ["raw_target"] } },
        "routes": [{ "path": "/lax", "pool": "lax" }],
    }));
    let ask = |target: &str| {
        let mut client = program.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response().status
    };
    assert_eq!((ask("/lax/\u{e9}"), ask("/x/\u{e9}"), ask("/\u{e9}")), (200, 400, 400));
    assert_eq!((strict.request_count(), lax.request_count()), (0, 1));
}

#[test]
fn what_would_have_helped_stands_in_the_log_and_once_in_the_journal() {
    let backend = Backend::answering(|request| match &request.target[..] {
        "/lf" => Answer::raw(SCRIPT).then_close(),
        "/part" => Answer::raw("HTTP/1.1 200 OK\nA: b").then_hang(),
        _ => Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    });
    let program = program(&[&backend], &[]);
    let address = backend.address;
    let cases = [
        ("/lf", 502, "tolerate bare_lf"),
        ("/part", 502, "tolerate bare_lf"),
        ("/twice", 502, "tolerate repeated_chunked"),
        ("/\u{e9}", 400, "tolerate raw_target"),
    ];
    for (target, status, _) in cases.repeat(2) {
        let mut client = program.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status, status);
    }
    for ((target, _, hint), line) in cases.repeat(2).into_iter().zip(program.log_lines(8)) {
        assert_eq!(line["hint"], hint, "{target}");
    }
    for (who, what, word) in [
        (format!("backend {address}"), "ends lines of a response head by LF alone", "bare_lf"),
        (
            format!("backend {address}"),
            "says \"Transfer-Encoding: chunked\" more than once",
            "repeated_chunked",
        ),
        ("client 127.0.0.1:".to_owned(), "sends a target with bytes from 0x80 on", "raw_target"),
    ] {
        program.wait_for_message(&format!("\"tolerate\": [\"{word}\"]"));
        let messages = program.stderr();
        let lines: Vec<&str> = messages.lines().filter(|line| line.contains(word)).collect();
        assert!(
            matches!(lines[..], [line] if line.contains(&who) && line.contains(what)),
            "{messages}"
        );
    }
}

#[test]
fn a_hint_is_not_given_where_something_else_is_wrong_too() {
    let backend = Backend::always(Answer::raw("HTTP/1.1 200 OK\nX : a").then_close());
    let program = program(&[&backend], &[]);
    assert_eq!(program.client().get("/").status, 502);
    assert_eq!(line(&program, 1)["hint"], "tolerate bare_lf"); // more of it never came
    let whole = Backend::always(Answer::raw("HTTP/1.1 200 OK\nX : a\n\n").then_close());
    let program = self::program(&[&whole], &[]);
    assert_eq!(program.client().get("/").status, 502);
    assert!(line(&program, 1)["hint"].is_null());
}

#[test]
fn checks_tolerate_what_requests_are_answered_by() {
    for (tolerate, up) in [(&["bare_lf", "repeated_chunked"][..], true), (&[], false)] {
        for answer in [
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\n\nup\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ] {
            let backend = Backend::always(Answer::raw(answer).then_close());
            let program = Program::operated(json!({
                "backend_servers": servers(&[&backend]),
                "tolerate": tolerate,
                "health_check": { "path": "/up", "interval": "100ms", "rise": 1, "fall": 1 },
            }));
            backend.wait_for_requests(3);
            let state = if up { "went down" } else { "is down" };
            if up {
                assert_eq!(program.count_messages(state), 0, "{}", program.stderr());
                assert_eq!(program.get("/").status, 200);
            } else {
                program.wait_for_message("was not answered by valid HTTP");
            }
        }
    }
}
