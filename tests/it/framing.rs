//! Where messages end: framing written anew in both directions, old and new versions on either
//! side, answers without bodies, interim and early answers, and bodies cut short.

use crate::common::{
    Answer, Backend, Client, End, Gate, Program, Response, Value, assert_same_bytes,
    backend::pause, json, noise, servers, until,
};

fn over(backend: &Backend) -> Program {
    Program::over(&[backend])
}

fn over_both(one: &Backend, other: &Backend) -> Program {
    Program::with(json!({ "backend_servers": servers(&[one, other]), "max_fails": 100 }))
}

fn old_get(program: &Program, fields: &str) -> (Client, Response) {
    let mut client = program.client();
    client.send(format!("GET /x HTTP/1.0\r\n{fields}\r\n"));
    let response = client.response();
    (client, response)
}

#[test]
fn a_chunked_answer_is_framed_anew() {
    let body = noise(10_000, 1);
    for size in [1, 7, 100, 4096, 10_000] {
        let backend = Backend::always(Answer::chunked(&body, size));
        let program = over(&backend);
        let mut client = program.client();
        for _ in 0..2 {
            let response = client.get("/");
            assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
            assert_same_bytes(&response.body, &body, "the body");
        }
        assert_eq!(backend.connection_count(), 1);
    }
}

#[test]
fn odd_chunks_of_an_answer_become_canonical_ones() {
    // the client reads canonical chunks only
    let chunks = "005;a=\"b;c\"\r\nhello\r\nA \t\r\n0123456789\r\n1;x=y;z\r\n!\r\n00;last\r\nX-Sum: 1\r\n\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: \tChunked\t\r\n\r\n{chunks}");
    let backend = Backend::always(Answer::raw(answer));
    let program = over(&backend);
    let response = program.client().get("/");
    assert_eq!(response.text(), "hello0123456789!");
    assert_eq!(response.trailers.len(), 1);
}

#[test]
fn a_1_0_client_gets_no_chunks() {
    let body = noise(100_000, 2);
    let backend = Backend::always(Answer::chunked(&body, 999));
    let program = over(&backend);
    for fields in ["", "Connection: keep-alive\r\n"] {
        let (mut client, response) = old_get(&program, fields);
        assert!(!response.head.has("Transfer-Encoding"));
        assert_same_bytes(&response.body, &body, "the body");
        assert_eq!(client.expect_end(), End::Fin);
    }
}

#[test]
fn a_1_0_client_keeps_its_connection_only_if_it_asks_so() {
    let backend = Backend::named("a");
    let program = over(&backend);
    let (mut client, response) = old_get(&program, "");
    assert_eq!((response.status, response.text().as_str()), (200, "a"));
    client.expect_end();

    let (mut client, response) = old_get(&program, "Connection: Keep-Alive\r\n");
    let connection = response.field("Connection").map(str::to_ascii_lowercase);
    assert_eq!(connection.as_deref(), Some("keep-alive"));
    client.send("GET /next HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    client.expect_end();
    assert!(backend.requests().iter().all(|request| request.version == "HTTP/1.1"));
}

/// Servers refuse an empty `Host`; nginx gives them their own name as well.
#[test]
fn a_1_0_client_that_names_no_host_asks_each_backend_for_itself() {
    let (bad, good) = (Backend::always(Answer::nothing().then_close()), Backend::named("good"));
    let program = over_both(&bad, &good);
    for fields in ["", "Host:\r\n", "Host: \t\r\nX-A: b\r\n"] {
        while bad.request_count() == 0 {
            assert_eq!(old_get(&program, fields).1.text(), "good");
        }
        for backend in [&bad, &good] {
            let address = backend.address.to_string();
            for request in backend.requests() {
                assert_eq!(request.head.all("Host"), [address.as_str()], "{fields:?}");
                assert!(!request.head.has("X-Forwarded-Host"));
                assert_eq!(request.line(), "GET /x HTTP/1.1");
            }
        }
    }
    let (_, response) = old_get(&program, "Host: a.test\r\n");
    assert_eq!(response.text(), "good");
    assert_eq!(good.last_request().field("Host"), Some("a.test"));
    assert_eq!(good.last_request().field("X-Forwarded-Host"), Some("a.test"));
}

#[test]
fn a_1_0_backend_is_answered_for_as_1_1() {
    for head in ["Content-Length: 5\r\n", ""] {
        let backend = Backend::always(
            Answer::raw(format!("HTTP/1.0 200 OK\r\n{head}\r\nhello")).then_close(),
        );
        let program = over(&backend);
        for round in 1..=3 {
            let response = program.client().get("/");
            assert_eq!(
                (response.version.as_str(), response.text().as_str()),
                ("HTTP/1.1", "hello")
            );
            assert_eq!(backend.connection_count(), round);
        }
    }
}

#[test]
fn a_1_0_backend_that_stays_open_is_not_asked_again_there() {
    let backend = Backend::always(Answer::raw("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
    let program = over(&backend);
    let mut client = program.client();
    for round in 1..=3 {
        assert_eq!(client.get("/").text(), "hello");
        assert_eq!(backend.connection_count(), round);
    }
}

#[test]
fn an_answer_that_says_close_is_the_last_on_its_connection() {
    let backend = Backend::always(Answer::text("a").with("Connection", "foo, Close"));
    let program = over(&backend);
    let mut client = program.client();
    for round in 1..=3 {
        let response = client.get("/");
        assert!(!response.closes(), "the client's connection is another one");
        assert_eq!(backend.connection_count(), round);
    }
}

#[test]
fn a_body_until_close_comes_whole() {
    for len in [0, 1, 5000, 300_000] {
        let body = noise(len, 3);
        let answer = [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat();
        let backend = Backend::always(Answer::raw(answer).then_close());
        let program = over(&backend);
        let response = program.client().get("/");
        assert_same_bytes(&response.body, &body, "for a 1.1 client");
        let (_, response) = old_get(&program, "");
        assert_same_bytes(&response.body, &body, "for a 1.0 client");
    }
}

#[test]
fn answers_without_bodies_have_none_whatever_their_length_says() {
    for (method, status) in
        [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
    {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 1000\r\n\r\n");
        let backend = Backend::answering(move |request| {
            if request.target == "/empty" { Answer::raw(&answer) } else { Answer::text("next") }
        });
        let program = over(&backend);
        let mut client = program.client();
        for _ in 0..3 {
            client.send(format!("{method} /empty HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.response_to(method);
            if status != "204 No Content" {
                assert_eq!(response.field("Content-Length"), Some("1000"));
            }
            assert_eq!(client.get("/next").text(), "next");
        }
        assert_eq!(backend.connection_count(), 1);
    }
}

#[test]
fn a_chunked_answer_to_head_has_no_body() {
    let backend = Backend::answering(|request| match request.method.as_str() {
        "HEAD" => Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => Answer::text("next"),
    });
    let program = over(&backend);
    let mut client = program.client();
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status, 200);
        assert_eq!(client.get("/").text(), "next");
    }
}

#[test]
fn interim_answers_reach_1_1_clients_and_no_1_0_clients() {
    let interim =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let backend = Backend::always(Answer::raw(format!(
        "{interim}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    )));
    let program = over(&backend);
    let mut client = program.client();
    for _ in 0..2 {
        let hints = client.get("/");
        assert_eq!((hints.status, hints.field("Link")), (103, Some("</a.css>")));
        assert_eq!(client.response().status, 102);
        assert_eq!(client.response().text(), "hello");
    }
    let (_, response) = old_get(&program, "");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
}

#[test]
fn interim_answers_without_end_leave_others_their_turn() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            if request.target == "/flood" {
                while connection.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)) {}
                return;
            }
            connection.give(&Answer::text("hello"), &request);
        }
    });
    let program = Program::over(&[&backend]);
    let mut old = program.client();
    old.send("GET /flood HTTP/1.0\r\n\r\n");
    backend.wait_for_requests(1);
    for _ in 0..10 {
        assert_eq!(program.get("/").text(), "hello");
    }
}

#[test]
fn an_interim_answer_comes_before_the_final_one_is_there() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let backend = Backend::talking(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        waiting.wait();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let program = over(&backend);
    let mut client = program.client();
    assert_eq!(client.get("/").status, 103);
    gate.open();
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_waits_for_100_gets_it_and_then_sends() {
    let backend = Backend::talking(|connection| {
        while let Some(mut request) = connection.head() {
            assert_eq!(request.field("Expect"), Some("100-continue"));
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.read_body(&mut request);
            connection.give(&Answer::text(&request.body), &request);
        }
    });
    let program = over(&backend);
    let mut client = program.client();
    for framing in ["Content-Length: 5\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}"));
        assert_eq!(client.response().status, 100);
        client.send(if framing.starts_with('C') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" });
        assert_eq!(client.response().text(), "hello");
    }
}

#[test]
fn a_final_answer_comes_in_place_of_100() {
    let backend = Backend::talking(|connection| {
        if let Some(request) = connection.head() {
            connection.give(&Answer::status("403 Forbidden", "no"), &request);
            connection.wait_for_end();
        }
    });
    let program = over(&backend);
    let mut client = program.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

/// Answers as soon as it has the head, and then does with the upload what `then` says.
fn hasty(then: fn(&mut crate::common::Connection, &mut crate::common::Request)) -> Backend {
    Backend::talking(move |connection| {
        while let Some(mut request) = connection.head() {
            connection.give(&Answer::status("413 Content Too Large", "too much"), &request);
            then(connection, &mut request);
        }
    })
}

#[test]
fn an_early_answer_comes_while_the_upload_still_runs() {
    let reading = hasty(|connection, request| {
        let _ = connection.read_body(request); // its end is the connection's
    });
    let program = over(&reading);
    let mut client = program.client();
    let body = noise(500_000, 4);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body[..100_000]);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "too much"));
    client.send(&body[100_000..]);
    if !response.closes() {
        assert_eq!(client.get("/next").status, 413);
    }
}

#[test]
fn an_early_answer_comes_from_a_backend_that_reads_no_further() {
    let stubborn = hasty(|connection, _| {
        while connection.wire().has_ended().is_none() && connection.wire().buffer.len() < 50_000 {
            pause();
        }
    });
    let program = over(&stubborn);
    for _ in 0..3 {
        let mut client = program.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        client.send(noise(50_000, 5));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (413, "too much"));
    }
}

/// What a client of `version` gets of an answer that is cut short in this way.
fn cut_short(answer: Answer, version: &str) {
    let backend = Backend::always(answer);
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]), "retries": 0 }));
    let mut client = program.client();
    client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
    let cut = client.receive("GET").expect_err("it looks whole");
    assert_ne!(cut.end, End::Silence);
    assert_eq!(backend.request_count(), 1);
}

#[test]
fn an_answer_cut_short_never_looks_whole() {
    let head = "HTTP/1.1 200 OK\r\n";
    let lengths = "Content-Length: 100\r\n\r\nhello";
    let chunks = [
        "5\r\nhello\r\n",
        "5\r\nhello",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n",
        "64\r\nhello",
        "6",
    ];
    for version in ["1.1", "1.0"] {
        for ending in [Answer::then_close as fn(Answer) -> Answer, Answer::then_reset] {
            cut_short(ending(Answer::raw(format!("{head}{lengths}"))), version);
            for chunk in chunks {
                cut_short(
                    ending(Answer::raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"))),
                    version,
                );
            }
        }
        let until_close = Answer::raw(format!("{head}\r\nhello"));
        cut_short(until_close.then_reset(), version);
    }
}

#[test]
fn a_length_of_nothing_is_forwarded() {
    let backend = Backend::named("a");
    let program = over(&backend);
    let mut client = program.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    assert_eq!(backend.last_request().field("Content-Length"), Some("0"));
}

#[test]
fn a_backend_connection_serves_many_clients_one_after_another() {
    let backend = Backend::named("a");
    let program = over(&backend);
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "a");
    }
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn a_client_that_goes_away_takes_its_backend_connection_along() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            match request.target.as_str() {
                "/long" => drop(connection.wait_for_end()),
                _ => drop(connection.give(&Answer::text("good"), &request)),
            }
        }
    });
    let config: Value = json!({ "backend_servers": servers(&[&backend]) });
    let program = Program::with(config);
    let mut client = program.client();
    client.ask("/long");
    backend.wait_for_requests(1);
    client.reset();
    until("the backend's connection ends", || backend.open_connection_count() == 0);
    assert_eq!(program.get("/").text(), "good");
}
