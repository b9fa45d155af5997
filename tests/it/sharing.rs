//! What several workers share: one rotation, one set of loads and limits, one opinion of each
//! backend. Clients are spread over the workers by the kernel, so each test has many.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Value, eventually, json, servers, until,
};
use std::{thread, time::Duration};

fn over(workers: u32, servers: Value, mut more: Value) -> Value {
    more["workers"] = json!(workers);
    more["backend_servers"] = servers;
    more
}

/// `count` requests over 64 connections at once.
fn ask_at_once(program: &Program, count: usize) {
    const CLIENTS: usize = 64;
    thread::scope(|scope| {
        for index in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = program.client();
                for _ in 0..(count + index) / CLIENTS {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
}

fn one_rotation_over(workers: u32) {
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let program =
        Program::with(over(workers, servers(&backends.each_ref()), json!({ "pipeline": 1 })));
    ask_at_once(&program, 12_000);
    assert_eq!(backends.each_ref().map(Backend::request_count), [4000, 4000, 4000]);
}

#[test]
fn requests_to_one_worker_fall_equally() {
    one_rotation_over(1);
}

#[test]
fn requests_to_two_workers_fall_equally() {
    one_rotation_over(2);
}

#[test]
fn requests_to_four_workers_fall_equally() {
    one_rotation_over(4);
}

#[test]
fn requests_fall_equally_also_over_reloads() {
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let config = over(2, servers(&backends.each_ref()), json!({ "pipeline": 1 }));
    let program = Program::with(config);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut client = program.client();
            for _ in 0..3000 {
                let response = client.get("/");
                assert_eq!(response.status, 200);
                if response.closes() {
                    client = program.client();
                }
            }
        });
        while !asking.is_finished() {
            program.reload();
        }
    });
    assert!(program.count_messages("reloaded: generation ") > 1);
    assert_eq!(backends.each_ref().map(Backend::request_count), [1000, 1000, 1000]);
}

#[test]
fn a_start_begins_at_a_random_backend() {
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let first = |_| Program::over(&backends.each_ref()).get("/").text();
    let firsts: Vec<String> = (0..12).map(first).collect();
    assert!(firsts.iter().any(|other| *other != firsts[0]), "{firsts:?}");
}

#[test]
fn requests_to_four_workers_fall_by_weight() {
    let backends = [Backend::named("five"), Backend::named("one"), Backend::named("more")];
    let [five, one, more] = &backends;
    let servers = json!([five.server_with(json!({ "weight": 5 })), one.server(), more.server()]);
    let program = Program::with(over(4, servers, json!({})));
    ask_at_once(&program, 2800);
    assert_eq!(backends.each_ref().map(Backend::request_count), [2000, 400, 400]);
}

#[test]
fn the_least_busy_backend_is_asked_whichever_worker_it_is_busy_with() {
    let gate = Gate::new();
    let slow = Backend::gated(&gate, |_| Answer::text("slow"));
    let fast = Backend::named("fast");
    let balance = json!({ "balance": "least_connections" });
    let program = Program::with(over(4, servers(&[&slow, &fast]), balance));
    let mut first: Vec<Client> = Vec::new();
    while slow.request_count() == 0 {
        let mut client = program.client();
        client.ask("/");
        first.push(client);
        let asked = first.len();
        until("it is asked", || slow.request_count() + fast.request_count() == asked);
    }
    for _ in 0..30 {
        assert_eq!(program.get("/").text(), "fast");
    }
    assert_eq!(slow.request_count(), 1);
    gate.open();
    for mut client in first {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn no_backend_has_more_requests_than_its_limit_over_all_workers_and_nobody_waits_in_vain() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |_| Answer::text("done"));
    let servers = json!([backend.server_with(json!({ "max_connections": 2 }))]);
    let queue = json!({ "timeouts": { "queue": "15s" } });
    let program = Program::with(over(4, servers, queue));
    let mut clients: Vec<Client> = (0..16).map(|_| program.client()).collect();
    for client in &mut clients {
        client.ask("/");
    }
    backend.wait_for_requests(2);
    // Were there no limit, the others would come within this time.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(backend.request_count(), 2);
    gate.open();
    // One whose worker is not told of a free place gets 503 after 15 s.
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_client_beyond_the_limit_of_all_workers_waits_while_all_others_are_busy() {
    let gate = Gate::new();
    let backend = Backend::holding("one", &gate);
    let limit = json!({ "max_connections": 4 });
    let program = Program::with(over(4, servers(&[&backend]), limit));
    let mut inside: Vec<Client> = (0..4).map(|_| program.client()).collect();
    for client in &mut inside {
        client.ask("/hold");
    }
    backend.wait_for_requests(4);
    let mut outside: Vec<Client> = (0..8).map(|_| program.client()).collect();
    for client in &mut outside {
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    }
    thread::sleep(Duration::from_millis(300));
    assert_eq!(backend.request_count(), 4, "the others wait in the backlog");
    gate.open();
    for client in inside.iter_mut().chain(&mut outside) {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn all_workers_know_of_a_mark_by_one() {
    let (absent, present) = (Backend::absent(), Backend::named("present"));
    let program = Program::logging(over(4, servers(&[&absent, &present]), json!({})));
    for _ in 0..60 {
        assert_eq!(program.get("/").text(), "present");
    }
    let lines = program.log_lines(60);
    let tried = lines.iter().filter(|line| line.get("tries").is_some()).count();
    assert_eq!(tried, 3, "max_fails is 3, over all workers");
    program.wait_for_message("is down");
    assert_eq!(program.stderr().matches("is down").count(), 1, "told once");
}

#[test]
fn all_workers_know_when_a_backend_is_back() {
    let mut backends = [Backend::named("one"), Backend::named("two")];
    backends[0].stop();
    let program = Program::with(over(4, servers(&backends.each_ref()), json!({})));
    while !program.stderr().contains("is down") {
        assert_eq!(program.get("/").text(), "two");
    }
    backends[0].start_again();
    program.wait_for_message("is up");
    eventually("the first answers again", || (program.get("/").text() == "one").then_some(()));
    let before = backends.each_ref().map(Backend::request_count);
    ask_at_once(&program, 640);
    let after = backends.each_ref().map(Backend::request_count);
    assert_eq!([after[0] - before[0], after[1] - before[1]], [320, 320]);
}

/// Logs in a connection, as NTLM does: whoever has, is the user of all later requests on it.
fn with_users() -> Backend {
    Backend::talking(|connection| {
        let mut user = None;
        while let Some(request) = connection.request() {
            let said = request.field("Authorization").unwrap_or_default();
            let answer = match (said.strip_prefix("NTLM user-"), &user) {
                (Some(name), _) => {
                    user = Some(name.to_owned());
                    Answer::text(name)
                }
                (None, Some(name)) => Answer::text(name),
                (None, None) => Answer::status("401 Unauthorized", "nobody")
                    .with("WWW-Authenticate", "Basic realm=\"a, b\", NTLM"),
            };
            if !connection.give(&answer, &request) {
                break;
            }
        }
    })
}

fn log_in(client: &mut Client, name: &str) {
    assert_eq!(client.get("/").status, 401);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM 1\r\n\r\n");
    assert_eq!(client.response().status, 401);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM user-{name}\r\n\r\n"));
    assert_eq!(client.response().text(), name);
}

#[test]
fn a_connection_that_a_client_has_logged_in_is_its_own() {
    let backend = with_users();
    let program = Program::over(&[&backend]);
    let mut clients = ["alice", "bob"].map(|name| (name, program.client()));
    for (name, client) in &mut clients {
        log_in(client, name);
    }
    let mut nobody = program.client();
    for _ in 0..5 {
        for (name, client) in &mut clients {
            assert_eq!(client.get("/").text(), *name);
            client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4));
            for _ in 0..4 {
                assert_eq!(client.response().text(), *name);
            }
            client.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.response().text(), *name);
        }
        assert_eq!(nobody.get("/").status, 401);
        assert_eq!(program.get("/").status, 401);
    }
    let ports = |backend: &Backend| backend.open_connection_count();
    until("whoever is there has one", || ports(&backend) == 3);
    drop(clients);
    drop(nobody);
    until("the connections close with their clients", || ports(&backend) == 0);
}
