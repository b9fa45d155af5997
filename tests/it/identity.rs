//! An answer is delivered only to the request it belongs to, as the echoed X-Request-ID tells.

use crate::common::{Answer, Backend, Client, Program, Request, assert_own_answer, json, servers};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn wrong() -> Answer {
    Answer::text("WRONG").with("X-Request-ID", "somebody-elses")
}

/// Echoes, but at `/wrong` returns another id, at `/without` none, and at `/error` none with 500.
fn echoing() -> Backend {
    Backend::answering(|request| match request.target.as_str() {
        "/wrong" => wrong(),
        "/without" => Answer::text("without"),
        "/error" => Answer::status("500 Internal Server Error", "error"),
        "/close" => Answer::text("good").echoing(request).with("Connection", "close").then_close(),
        _ => Answer::text("good").echoing(request),
    })
}

fn program(mode: &str, backends: &[&Backend]) -> Program {
    Program::with(json!({ "backend_servers": servers(backends), "request_id": mode }))
}

fn asked(backend: &Backend, target: &str) -> usize {
    backend.requests().iter().filter(|request: &&Request| request.target == target).count()
}

fn post(client: &mut Client, target: &str) -> crate::common::Response {
    client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
    client.response()
}

/// A hundred echoes in a row, over two connections.
fn echo_often(client: &mut Client) {
    assert_eq!(client.get("/close").text(), "good");
    for _ in 0..110 {
        assert_eq!(client.get("/").text(), "good");
    }
}

#[test]
fn the_answer_to_another_request_is_not_delivered_but_asked_for_again() {
    let was_wrong = AtomicBool::new(false);
    let backend = Backend::answering(move |request| match request.target.as_str() {
        "/once" if !was_wrong.swap(true, Ordering::Relaxed) => wrong(),
        "/close" => Answer::text("good").echoing(request).with("Connection", "close").then_close(),
        _ => Answer::text("good").echoing(request),
    });
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    echo_often(&mut client);
    assert_eq!(client.get("/once").text(), "good");
    assert_eq!(asked(&backend, "/once"), 2);
    assert_eq!(backend.connection_count(), 3);
}

#[test]
fn an_answer_that_has_another_id_each_time_is_delivered_and_doubted_once() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    echo_often(&mut client);
    for round in 1..=20 {
        assert_eq!(client.get("/wrong").text(), "WRONG");
        assert_eq!(asked(&backend, "/wrong"), round + 1);
    }
}

#[test]
fn a_post_whose_answer_has_not_the_id_is_delivered_and_sent_once() {
    for target in ["/wrong", "/without"] {
        let backend = echoing();
        let program = program("auto", &[&backend]);
        let mut client = program.client();
        echo_often(&mut client);
        for round in 1..=5 {
            assert_eq!(post(&mut client, target).status, 200);
            assert_eq!(asked(&backend, target), round);
        }
    }
}

#[test]
fn an_id_of_the_clients_own_that_the_backend_cleans_costs_nothing() {
    let backend = Backend::answering(|request| {
        let keeps = |c: &char| c.is_ascii_alphanumeric() || "_@-".contains(*c);
        let answer = Answer::text("good").with(
            "X-Request-ID",
            &request
                .field("X-Request-ID")
                .unwrap_or_default()
                .chars()
                .filter(keeps)
                .collect::<String>(),
        );
        let closes = request.target == "/close";
        if closes { answer.with("Connection", "close").then_close() } else { answer }
    });
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    echo_often(&mut client);
    let before = backend.request_count();
    for round in 1..=20 {
        client.send("GET /x HTTP/1.1\r\nHost: a\r\nX-Request-ID: req-1.2.3\r\n\r\n");
        let response = client.response();
        assert_eq!(
            (response.text().as_str(), response.head.all("X-Request-ID").len()),
            ("good", 1)
        );
        assert_eq!(backend.request_count(), before + round);
    }
    assert_eq!(program.count_messages("another request"), 0);
}

#[test]
fn what_a_cache_before_an_echoing_server_has_stored_is_delivered() {
    let stored = std::sync::Mutex::new(std::collections::HashMap::new());
    let backend = Backend::answering(move |request| {
        let id = request.field("X-Request-ID").unwrap_or_default().to_owned();
        let id = match request.target.as_str() {
            "/close" => id,
            target => stored.lock().unwrap().entry(target.to_owned()).or_insert(id).clone(),
        };
        let answer = Answer::text("good").with("X-Request-ID", &id);
        let closes = request.target == "/close";
        if closes { answer.with("Connection", "close").then_close() } else { answer }
    });
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/close").text(), "good");
    for number in 0..110 {
        assert_eq!(client.get(&format!("/{number}")).text(), "good");
    }
    let before = backend.request_count();
    for number in 0..40 {
        assert_eq!(client.get(&format!("/{number}")).text(), "good");
        assert_eq!(client.get(&format!("/{number}")).text(), "good");
    }
    assert_eq!(backend.request_count(), before + 81, "one of them was asked twice");
}

#[test]
fn a_surplus_answer_on_a_used_connection_reaches_nobody() {
    // Whatever was asked before over the connection is answered once more, before the right answer.
    let backend = Backend::talking(|connection| {
        let mut surplus = None;
        while let Some(request) = connection.request() {
            let own = Answer::text(&request.target).echoing(&request);
            if let Some(surplus) = surplus.replace(own.clone()) {
                connection.give(&surplus, &request);
            }
            if !connection.give(&own, &request) {
                break;
            }
        }
    });
    let program = Program::operated(json!({ "backend_servers": servers(&[&backend]) }));
    let mut clients = [program.client(), program.client()];
    for round in 0..30 {
        for (number, client) in clients.iter_mut().enumerate() {
            let target = format!("/{round}-{number}");
            assert_eq!(client.get(&target).text(), target);
            let target = format!("/post-{round}-{number}");
            assert_eq!(post(client, &target).text(), target);
            assert_eq!(asked(&backend, &target), 1);
        }
    }
    assert_eq!(program.count_messages("answered another request"), 1, "at most once a minute");
    let series = format!(
        "httplb_backend_doubts_total{{pool=\"default\",backend=\"{}\",outcome=\"",
        backend.address
    );
    let metrics = Client::connect(program.status_address()).get("/metrics").text();
    let count = |outcome: &str| {
        let lines =
            metrics.lines().filter_map(|line| line.strip_prefix(&series)?.strip_prefix(outcome));
        let values =
            lines.map(|line| line.trim_start_matches("\"} ").parse::<u64>().expect("a number"));
        values.sum::<u64>()
    };
    assert!(count("proved") > 50, "{metrics}");
    assert_eq!(count("unfounded"), 0);
}

#[test]
fn a_backend_that_never_echoed_is_believed() {
    let backend = Backend::always(Answer::text("good").with("X-Request-ID", "its-own"));
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    for round in 1..=5 {
        assert_eq!(client.get("/").text(), "good");
        assert_eq!(backend.request_count(), round);
    }
}

#[test]
fn an_answer_without_the_id_passes_until_a_hundred_were_echoed_in_a_row() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(asked(&backend, "/without"), 1);
}

#[test]
fn after_a_hundred_echoes_an_answer_without_the_id_is_asked_for_again() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    echo_often(&mut client);
    assert_eq!(client.get("/error").text(), "error");
    assert_eq!(asked(&backend, "/error"), 1, "an error page may lack it");
    // The first answer of the fresh connection has none either, which ends the echoing.
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(asked(&backend, "/without"), 2);
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(asked(&backend, "/without"), 3);
}

#[test]
fn with_require_nothing_but_the_right_id_will_do() {
    let backend = echoing();
    let program = program("require", &[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "good");
    for target in ["/wrong", "/without", "/error"] {
        assert_own_answer(&client.get(target), "502 Bad Gateway", "http_protocol_error");
        assert_own_answer(&post(&mut client, target), "502 Bad Gateway", "http_protocol_error");
    }
    assert_eq!(client.get("/").text(), "good");
}

#[test]
fn with_off_every_answer_is_believed() {
    let backend = echoing();
    let program = program("off", &[&backend]);
    let mut client = program.client();
    for _ in 0..110 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(client.get("/wrong").text(), "WRONG");
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn the_client_sees_the_id_once_whatever_the_backend_returns() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    for target in ["/", "/without", "/error"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n"));
        assert_eq!(client.response().head.all("X-Request-ID"), ["mine"], "{target}");
    }
}

#[test]
fn a_mismatch_is_logged_with_its_backend() {
    let backend = echoing();
    let program = Program::logging(
        json!({ "backend_servers": servers(&[&backend]), "request_id": "require" }),
    );
    let mut client = program.client();
    assert_eq!(post(&mut client, "/wrong").status, 502);
    let line = &program.log_lines(1)[0];
    assert_eq!(line["reason"], "identity_mismatch");
    assert_eq!(line["backend"], backend.address.to_string());
}

/// Names what it answers, and sends each answer once more: in the same send, or a while later.
fn one_too_many(pause: Option<Duration>, echoes: bool) -> Backend {
    Backend::talking(move |connection| {
        while let Some(request) = connection.request() {
            let answer = Answer::text(&request.target);
            let answer = if echoes { answer.echoing(&request) } else { answer };
            let Some(pause) = pause else {
                connection.send([answer.bytes(), answer.bytes()].concat());
                continue;
            };
            connection.give(&answer, &request);
            thread::sleep(pause);
            connection.give(&answer, &request);
        }
    })
}

/// How many answers clients got in a second, and how many of them were another request's.
fn got_under_load(address: std::net::SocketAddr) -> (usize, usize) {
    let until = Instant::now() + Duration::from_secs(1);
    let client = |number: usize| {
        let mut client = Client::connect(address);
        let (mut all, mut wrong) = (0, 0);
        while Instant::now() < until {
            let target = format!("/{number}-{all}");
            let response = match all % 4 {
                0 => post(&mut client, &target),
                _ => client.get(&target),
            };
            assert_eq!(response.status, 200);
            all += 1;
            wrong += usize::from(response.text() != target);
        }
        (all, wrong)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || client(number))).collect();
        let counts = clients.into_iter().map(|client| client.join().expect("a count"));
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    })
}

#[test]
fn under_load_no_surplus_answer_that_bears_its_id_reaches_a_client_and_few_without_do() {
    let micros = |count| Some(Duration::from_micros(count));
    for (pause, echoes, most) in [
        (None, true, 0),
        (micros(0), true, 0),
        (micros(300), true, 0),
        (micros(2000), true, 0),
        // What lies behind an answer is seen with it; what comes later may meet the next request.
        (None, false, 0),
        (micros(0), false, 50),
    ] {
        let backend = one_too_many(pause, echoes);
        let program = program("auto", &[&backend]);
        let (all, wrong) = got_under_load(program.address);
        println!("surplus after {pause:?}, with ids {echoes}: {wrong} of {all} were another's");
        assert!(wrong * 100 <= most * all, "{wrong} of {all} after {pause:?}, with ids {echoes}");
        assert!(all > 50, "{all} answers");
    }
}
