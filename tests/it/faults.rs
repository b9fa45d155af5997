//! What an operator sees of a fault who has the admin API, the page, the metrics and the journal alone:
//! for each fault it is made here, and found there.

use crate::common::{
    Answer, Backend, Client, Program, Value, eventually, json, process, servers, until,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

fn program(backends: &[&Backend], more: Value) -> Program {
    let mut config = json!({
        "workers": 2,
        "retries": 0,
        "timeouts": { "connect": "500ms", "response": "500ms" },
        "backend_servers": servers(backends),
    });
    let more = more.as_object().expect("keys").clone();
    config.as_object_mut().expect("keys").extend(more);
    Program::operated(config)
}

fn entries(program: &Program, part: &str) -> Vec<Value> {
    let shown = program.look(&format!("/v1/{part}?n=256"));
    shown[part].as_array().expect("a list").clone()
}

/// The newest failure once there is one, of this reason.
fn failure(program: &Program, reason: &str) -> Value {
    eventually(&format!("a failure: {reason}"), || {
        entries(program, "errors").into_iter().find(|entry| entry["reason"] == reason)
    })
}

/// Asks until the journal tells of this.
fn ask_until_said(program: &Program, target: &str, said: &str) {
    until(&format!("it is said: {said}"), || {
        let mut client = program.client();
        client.ask(target);
        let _ = client.receive("GET");
        program.stderr().contains(said)
    });
}

fn events(program: &Program) -> Vec<String> {
    let texts = entries(program, "events").into_iter();
    texts.map(|event| event["text"].as_str().expect("a text").to_owned()).collect()
}

fn errors_per_s(program: &Program, pool: &str) -> f64 {
    let pool = program.look(&format!("/v1/pools/{pool}"));
    pool["now"]["10s"]["errors_per_s"].as_f64().expect("a number")
}

#[test]
fn a_backend_that_was_killed_is_told_in_the_journal_and_its_failures_are_listed() {
    let (mut backend, other) = (Backend::named("a"), Backend::named("b"));
    let program = program(&[&backend, &other], json!({}));
    program.get("/");
    backend.stop();
    let target = "/some/path?with=query";
    for _ in 0..4 {
        program.get(target);
    }
    let found = failure(&program, "connection_refused");
    assert_eq!(found["backend"], json!(backend.address.to_string()));
    assert_eq!((&found["method"], &found["target"]), (&json!("GET"), &json!(target)));
    assert_eq!((&found["status"], &found["pool"]), (&json!(502), &json!("default")));
    let client: SocketAddr = found["client"].as_str().unwrap().parse().unwrap();
    assert!(client.ip().is_loopback() && found["id"].as_str().unwrap().len() >= 16);
    assert!(found["ms"].is_f64() && found["host"].is_string() && found["ts"].is_string());
    ask_until_said(&program, "/", " is down: ");
    assert!(events(&program).iter().any(|event| event.contains(" is down: ")));
    assert_eq!(program.state("default", backend.address), "down");
    until("it is counted", || errors_per_s(&program, "default") > 0.0);
}

#[test]
fn a_backend_that_hangs_is_listed_with_the_time_it_took() {
    let backend = Backend::always(Answer::raw("").then_hang());
    let program = program(&[&backend], json!({}));
    program.get("/");
    let found = failure(&program, "http_response_timeout");
    assert!(found["ms"].as_f64().unwrap() >= 490.0 && found["status"] == 504, "{found}");
    let slow = entries(&program, "slow");
    assert_eq!((slow[0]["id"].clone(), slow.len()), (found["id"].clone(), 1));
}

#[test]
fn the_slowest_requests_are_told_first() {
    let backend = Backend::answering(|request| {
        let millis = request.target.trim_start_matches('/').parse().unwrap_or(0);
        thread::sleep(Duration::from_millis(millis));
        Answer::text("a")
    });
    let program = program(&[&backend], json!({}));
    for target in ["/100", "/400", "/0", "/200"] {
        program.get(target);
    }
    let targets = || -> Vec<Value> {
        entries(&program, "slow").iter().map(|entry| entry["target"].clone()).collect()
    };
    until("all are there", || targets().len() == 4);
    assert_eq!(targets(), ["/400", "/200", "/100", "/0"]);
    assert!(entries(&program, "errors").is_empty());
    let two = program.look("/v1/slow?n=2");
    assert_eq!(two["slow"].as_array().unwrap().len(), 2);
    assert!(two["slow"][0]["ms"].as_f64().unwrap() >= 400.0 && two["slow"][0]["status"] == 200);
}

#[test]
fn responses_500_are_listed_and_a_change_is_told_once() {
    let backend = Backend::always(Answer::status("500 Internal Server Error", "no"));
    let program = program(&[&backend], json!({}));
    let said = "requests failed: responses with a status of 500 or above";
    ask_until_said(&program, "/", said);
    let found = failure(&program, "response_5xx");
    assert_eq!((&found["status"], &found["pool"]), (&json!(500), &json!("default")));
    let line = events(&program).into_iter().find(|event| event.contains(said)).unwrap();
    let expected = format!("backend {} of pool default: ", backend.address);
    assert!(line.starts_with(&expected) && line.contains(" of its last "), "{line}");
    for _ in 0..50 {
        program.get("/");
    }
    thread::sleep(Duration::from_secs(2));
    assert_eq!(program.count_messages(&expected), 1);
}

#[test]
fn resets_are_told_and_so_is_their_end() {
    let is_well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_well);
    let backend = Backend::answering(move |_| match seen.load(Relaxed) {
        true => Answer::text("a"),
        false => Answer::raw("").then_reset(),
    });
    let program = program(&[&backend], json!({ "max_fails": 100 }));
    let said = "requests failed: connections closed or reset before the response";
    ask_until_said(&program, "/", said);
    failure(&program, "connection_terminated");
    is_well.store(true, Relaxed);
    ask_until_said(&program, "/", "its requests succeed again");
}

#[test]
fn garbage_is_shown_as_it_came() {
    let backend = Backend::always(Answer::raw("\u{1}SSH-2.0-OpenSSH_9.7 \"quoted\"\r\n\r\n"));
    let program = program(&[&backend], json!({}));
    program.get("/");
    let found = failure(&program, "http_protocol_error");
    let answer = found["answer"].as_str().unwrap();
    assert!(answer.starts_with("\u{1}SSH-2.0-OpenSSH_9.7 \"quoted\""), "{answer:?}");
    assert!(answer.len() <= 64);
    let long = Backend::always(Answer::raw([b'x'; 500]).then_close());
    let second = program_of(&long);
    second.get("/");
    let found = failure(&second, "http_protocol_error");
    assert_eq!(found["answer"], json!("x".repeat(64)));
}

fn program_of(backend: &Backend) -> Program {
    program(&[backend], json!({}))
}

#[test]
fn a_body_that_is_cut_is_listed() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort";
    let backend = Backend::always(Answer::raw(answer).then_close());
    let program = program(&[&backend], json!({}));
    let mut client = program.client();
    client.ask("/");
    assert!(client.receive("GET").is_err());
    let found = failure(&program, "http_response_incomplete");
    assert_eq!(found["backend"], json!(backend.address.to_string()));
    until("it is counted", || errors_per_s(&program, "default") > 0.0);
}

#[test]
fn a_request_that_succeeded_elsewhere_is_listed_with_the_backend_that_failed() {
    let (broken, good) = (Backend::always(Answer::raw("").then_reset()), Backend::named("good"));
    let program = program(&[&broken, &good], json!({ "retries": 2, "max_fails": 100 }));
    for _ in 0..4 {
        assert_eq!(program.get("/").text(), "good");
    }
    let found = failure(&program, "connection_terminated");
    assert_eq!(found["backend"], json!(broken.address.to_string()));
    assert_eq!(found["status"], json!(200));
    assert_eq!(found["tries"][0]["reason"], json!("connection_terminated"));
}

#[test]
fn a_pool_without_a_backend_is_told_with_its_reason() {
    let backend = Backend::named("a");
    let pools = json!({
        "pools": { "api": { "backend_servers": [] } },
        "routes": [{ "path": "/api", "pool": "api" }],
    });
    let program = program(&[&backend], pools);
    let said = "requests failed: no backend was up";
    ask_until_said(&program, "/api", said);
    let line = events(&program).into_iter().find(|event| event.contains(said)).unwrap();
    assert!(line.starts_with("pool api: "), "{line}");
    let found = failure(&program, "destination_unavailable");
    assert_eq!((&found["pool"], &found["status"]), (&json!("api"), &json!(503)));
    assert!(found.get("backend").is_none() && errors_per_s(&program, "api") > 0.0);
    assert_eq!(errors_per_s(&program, "default"), 0.0);
}

#[test]
fn full_connections_are_told_and_counted() {
    let backend = Backend::named("a");
    let program = program(&[&backend], json!({ "max_connections": 4 }));
    let clients: Vec<Client> = (0..8).map(|_| program.client()).collect();
    until("it is said", || {
        events(&program).iter().any(|event| event.contains("max_connections 4: all are taken"))
    });
    assert_eq!(program.look("/v1/status")["connections"]["current"], json!(4));
    drop(clients);
}

#[test]
fn a_reload_that_failed_is_an_event() {
    let backend = Backend::named("a");
    let program = program(&[&backend], json!({}));
    program.write_config("{ \"nonsense\": 1 }");
    program.fail_to_reload();
    let event = entries(&program, "events").into_iter().next().unwrap();
    assert_eq!(event["level"], json!("error"));
    let text = event["text"].as_str().unwrap();
    assert!(text.starts_with("not reloaded: ") && text.contains("nonsense"), "{text}");
    assert!(event["ts"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_worker_that_died_is_an_event_and_nothing_is_forgotten() {
    let mut backend = Backend::named("a");
    let mut program = program(&[&backend], json!({}));
    let last = |program: &Program| entries(program, "errors")[0]["target"].clone();
    backend.stop();
    program.get("/first");
    failure(&program, "connection_refused");
    let worker = program.worker(0);
    process::kill(worker);
    until("it is told", || {
        events(&program)
            .iter()
            .any(|event| event.contains(&format!("pid {}", worker.as_raw_nonzero())))
    });
    assert_eq!(last(&program), "/first");
    let before = events(&program);
    program.configure(|config| config["retries"] = json!(1));
    program.reload();
    program.get("/second");
    until("both are there", || last(&program) == "/second");
    assert_eq!(entries(&program, "errors").len(), 2);
    let after = events(&program);
    assert!(after.len() > before.len() && after.ends_with(&before), "{after:?}");
    assert!(after.iter().any(|event| event.starts_with("reloaded: ")), "{after:?}");
}

#[test]
fn a_storm_of_failures_keeps_the_last_and_costs_no_more() {
    let backend = Backend::absent();
    let program = program(&[&backend], json!({ "access_log": "off" }));
    for number in 0..300 {
        program.get(&format!("/{number}"));
    }
    until("the last is there", || entries(&program, "errors")[0]["target"] == "/299");
    let kept = entries(&program, "errors");
    assert_eq!((kept.len(), &kept[255]["target"]), (256, &json!("/44")));
    assert_eq!(program.look("/v1/errors")["errors"].as_array().unwrap().len(), 50);
    for (query, part) in [("n=0", "1 to 256"), ("n=257", "1 to 256"), ("m=1", "unknown parameter")]
    {
        let reply = program.ask(&format!("GET /v1/errors?{query}"), "");
        assert!(reply.status == 400 && reply.body.contains(part), "{query}: {}", reply.body);
    }
}

/// Whatever a client sends, an entry is one object, and as long as it may be.
#[test]
fn long_and_strange_requests_are_kept_in_part() {
    let program = program(&[&Backend::absent()], json!({}));
    let mut client = program.client();
    let (long, strange) = ("x".repeat(8000), "\u{fc}\"\\".repeat(800));
    client.send(format!(
        "GET /{long} HTTP/1.1\r\nHost: a\r\nUser-Agent: {strange}\r\nConnection: close\r\n\r\n"
    ));
    client.response();
    let found = eventually("an entry", || entries(&program, "errors").into_iter().next());
    assert_eq!(found["target"].as_str().unwrap().len(), 200);
    assert!(strange.starts_with(found["ua"].as_str().unwrap()), "{found}");
}
