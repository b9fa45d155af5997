//! An answer is delivered only to the request it belongs to, as the echoed X-Request-ID tells.

mod common;

use common::{Answer, Backend, Client, Program, Request, assert_own_answer, json, servers};
use std::sync::atomic::{AtomicBool, Ordering};

fn wrong() -> Answer {
    Answer::text("WRONG").with("X-Request-ID", "somebody-elses")
}

/// Echoes, but at `/wrong` returns another id, at `/without` none, and at `/error` none with 500.
fn echoing() -> Backend {
    Backend::answering(|request| match request.target.as_str() {
        "/wrong" => wrong(),
        "/without" => Answer::text("without"),
        "/error" => Answer::status("500 Internal Server Error", "error"),
        _ => Answer::text("good").echoing(request),
    })
}

fn program(mode: &str, backends: &[&Backend]) -> Program {
    Program::with(json!({ "backend_servers": servers(backends), "request_id": mode }))
}

fn asked(backend: &Backend, target: &str) -> usize {
    backend.requests().iter().filter(|request: &&Request| request.target == target).count()
}

fn post(client: &mut Client, target: &str) -> common::Response {
    client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
    client.response()
}

#[test]
fn the_answer_to_another_request_is_not_delivered_but_asked_for_again() {
    let was_wrong = AtomicBool::new(false);
    let backend = Backend::answering(move |request| {
        if request.target == "/once" && !was_wrong.swap(true, Ordering::Relaxed) {
            return wrong();
        }
        Answer::text("good").echoing(request)
    });
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "good");
    assert_eq!(client.get("/once").text(), "good");
    assert_eq!(asked(&backend, "/once"), 2);
    assert_eq!(backend.connection_count(), 2);
}

#[test]
fn an_answer_that_is_always_anothers_becomes_502() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "good");
    assert_own_answer(&client.get("/wrong"), "502 Bad Gateway", "http_protocol_error");
    assert_eq!(client.get("/").text(), "good");
}

#[test]
fn a_post_whose_answer_is_anothers_becomes_502_and_is_not_repeated() {
    let backends = [echoing(), echoing()];
    let program = program("auto", &[&backends[0], &backends[1]]);
    let mut client = program.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_own_answer(&post(&mut client, "/wrong"), "502 Bad Gateway", "http_protocol_error");
    assert_eq!(asked(&backends[0], "/wrong") + asked(&backends[1], "/wrong"), 1);
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
    for _ in 0..110 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(client.get("/error").text(), "error");
    assert_eq!(asked(&backend, "/error"), 1, "an error page may lack it");
    for _ in 0..110 {
        assert_eq!(client.get("/").text(), "good");
    }
    // the first answer of the fresh connection has none either, which ends the echoing
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(asked(&backend, "/without"), 2);
    assert_eq!(client.get("/without").text(), "without");
    assert_eq!(asked(&backend, "/without"), 3);
}

#[test]
fn after_a_hundred_echoes_a_post_without_the_id_becomes_502() {
    let backend = echoing();
    let program = program("auto", &[&backend]);
    let mut client = program.client();
    for _ in 0..110 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_own_answer(&post(&mut client, "/without"), "502 Bad Gateway", "http_protocol_error");
    assert_eq!(asked(&backend, "/without"), 1);
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
