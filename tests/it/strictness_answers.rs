//! Answers of backends that are malformed, of doubtful length, or followed by something else.

use crate::common::{Answer, Backend, Program, backend::pause, json, servers, shown, until};

/// One backend that answers `/N` with the N-th of these, and no repeats.
fn program_over(answers: Vec<Answer>) -> (Backend, Program) {
    let backend = Backend::answering(move |request| {
        let number = request.target.trim_start_matches('/').parse::<usize>();
        number
            .ok()
            .and_then(|number| answers.get(number).cloned())
            .unwrap_or_else(|| Answer::text("good"))
    });
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]), "retries": 0 }));
    (backend, program)
}

const MALFORMED: [&str; 36] = [
    "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 20 Short\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 2000 Long\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 2x0 Mixed\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 +200 Signed\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1  200 Blank\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1\t200\tTab\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "220 mail.test ESMTP\r\n\r\n",
    "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
    "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
];

#[test]
fn an_answer_that_is_malformed_or_of_doubtful_length_becomes_502() {
    let (backend, program) = program_over(MALFORMED.map(Answer::raw).to_vec());
    let mut client = program.client();
    for (number, answer) in MALFORMED.iter().enumerate() {
        let response = client.get(&format!("/{number}"));
        assert_eq!(response.status, 502, "{}", shown(answer.as_bytes()));
        let why = Some("httplb; error=http_protocol_error");
        assert_eq!(response.field("Proxy-Status"), why, "{}", shown(answer.as_bytes()));
        assert!(!response.closes());
    }
    assert_eq!(client.get("/good").text(), "good");
    assert_eq!(backend.connection_count(), MALFORMED.len() + 1);
}

#[test]
fn statuses_above_599_pass_as_they_are() {
    let answers = ["600", "999"].map(|status| Answer::status(&format!("{status} High"), "a"));
    let (backend, program) = program_over(answers.to_vec());
    let mut client = program.client();
    assert_eq!([client.get("/0").status, client.get("/1").status], [600, 999]);
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn a_response_head_above_the_limit_becomes_502() {
    let answers = [
        Answer::text("a").with("X-Long", &"x".repeat(40_000)),
        Answer::raw(format!("HTTP/1.1 200 {}", "x".repeat(40_000))).then_hang(),
        Answer::raw(format!("HTTP/1.1 200 OK\r\nConnection: x\r\n{}\r\n", "a:\r\n".repeat(7900))),
        Answer::text("a").with("Connection", &"x,".repeat(65)),
    ];
    let (_backend, program) = program_over(answers.to_vec());
    let mut client = program.client();
    for target in ["/0", "/1", "/2", "/3"] {
        let response = client.get(target);
        assert_eq!(response.status, 502, "{target}");
        let why = Some("httplb; error=http_response_header_section_size");
        assert_eq!(response.field("Proxy-Status"), why);
    }
}

#[test]
fn of_interim_responses_64_pass_and_no_more() {
    let answer = |count: usize| {
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
        Answer::raw(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    };
    let (_backend, program) = program_over(vec![answer(64), answer(65)]);
    for (target, last) in [("/0", 200), ("/1", 502)] {
        let mut client = program.client();
        client.ask(target);
        for _ in 0..64 {
            assert_eq!(client.response().status, 103);
        }
        assert_eq!(client.response().status, last, "{target}");
    }
}

#[test]
fn a_chunked_answer_that_is_broken_never_looks_whole() {
    let bodies = [
        "5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n5;a\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n5\r\nhel",
        "5\r\nhello\r\n",
    ];
    let answer = |body| {
        Answer::raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
            .then_close()
    };
    let (_backend, program) = program_over(bodies.map(answer).to_vec());
    for (number, body) in bodies.iter().enumerate() {
        for version in ["1.1", "1.0"] {
            let mut client = program.client();
            client.send(format!("GET /{number} HTTP/{version}\r\nHost: a\r\n\r\n"));
            match client.receive("GET") {
                Ok(response) => assert_eq!(response.status, 502, "{body} {version}"),
                Err(cut) => assert!(!shown(&cut.rest).contains("0\\r\\n\\r\\n")),
            }
        }
    }
}

#[test]
fn bytes_behind_an_answer_never_answer_anyone() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
    ] {
        let (backend, program) = program_over(vec![Answer::raw([first, poison].concat())]);
        let mut client = program.client();
        for round in 0..4 {
            assert!(client.get("/0").text() != "POISON", "{first}");
            assert_eq!(client.get("/good").text(), "good", "{first}");
            assert_eq!(backend.connection_count(), round + 2, "{first}");
        }
    }
}

#[test]
fn bytes_on_an_unused_backend_connection_close_it() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            if request.target == "/poison" {
                pause();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON");
            }
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/poison").text(), "good");
    until("the connection is closed", || backend.open_connection_count() == 0);
    assert_eq!(client.get("/next").text(), "good");
    assert_eq!(backend.connection_count(), 2);
}

#[test]
fn an_answer_that_comes_late_never_answers_the_next_request() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            let close = if request.target == "/last" { "Connection: close\r\n" } else { "" };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nX-Request-ID: {}\r\n{close}Content-Length: 4\r\n\r\ngood",
                request.id()
            ));
            if request.target == "/" {
                connection.send(
                    "HTTP/1.1 200 OK\r\nX-Request-ID: none\r\nContent-Length: 6\r\n\r\nPOISON",
                );
            }
        }
    });
    let program = Program::with(json!({"backend_servers": servers(&[&backend]), "workers": 1}));
    let mut client = program.client();
    // It shows over two connections that it returns what it is sent: from then on no moment is too
    // late to tell.
    for target in ["/last"].into_iter().chain(["/first"; 150]) {
        assert_eq!(client.get(target).text(), "good");
    }
    for _ in 0..200 {
        assert_ne!(client.get("/").text(), "POISON");
    }
}
