//! Which backend a request goes to, while all of them work.

use crate::common::{
    Answer, Backend, Gate, Program, Value, assert_own_answer, json, servers, until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

fn three() -> [Backend; 3] {
    [Backend::named("one"), Backend::named("two"), Backend::named("three")]
}

fn counts<const N: usize>(backends: &[Backend; N]) -> [usize; N] {
    backends.each_ref().map(Backend::request_count)
}

fn over(backends: [Value; 2], mut more: Value) -> Program {
    more["backend_servers"] = json!(backends);
    Program::with(more)
}

#[test]
fn thirty_requests_over_one_connection_fall_ten_on_each() {
    let backends = three();
    let program = Program::over(&backends.each_ref());
    let mut client = program.client();
    let names: Vec<String> = (0..30).map(|_| client.get("/").text()).collect();
    assert_eq!(counts(&backends), [10, 10, 10]);
    for consecutive in names.windows(3) {
        let mut three = consecutive.to_vec();
        three.sort();
        assert_eq!(three, ["one", "three", "two"], "each once");
    }
}

#[test]
fn thirty_requests_over_thirty_connections_fall_ten_on_each() {
    let backends = three();
    let program = Program::over(&backends.each_ref());
    for _ in 0..30 {
        assert_eq!(program.get("/").status, 200);
    }
    assert_eq!(counts(&backends), [10, 10, 10]);
}

#[test]
fn requests_of_many_clients_at_once_fall_equally() {
    let backends = three();
    let program = Program::over(&backends.each_ref());
    thread::scope(|scope| {
        for _ in 0..15 {
            scope.spawn(|| {
                let mut client = program.client();
                for _ in 0..20 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    assert_eq!(counts(&backends), [100, 100, 100]);
}

#[test]
fn requests_with_bodies_count_in_the_rotation_as_others_do() {
    let backends = three();
    let program = Program::over(&backends.each_ref());
    let mut client = program.client();
    for _ in 0..15 {
        assert_eq!(client.get("/").status, 200);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(counts(&backends), [10, 10, 10]);
}

#[test]
fn weights_are_exact_and_smooth() {
    let backends = three();
    let list: Vec<Value> = backends
        .iter()
        .zip([5, 1, 1])
        .map(|(backend, weight)| backend.server_with(json!({ "weight": weight })))
        .collect();
    let program = Program::with(json!({ "backend_servers": list }));
    let mut client = program.client();
    let names: Vec<String> = (0..70).map(|_| client.get("/").text()).collect();
    assert_eq!(counts(&backends), [50, 10, 10]);
    for round in names.chunks(7) {
        assert_eq!(round.iter().filter(|name| *name == "one").count(), 5);
    }
    assert!(
        !names.windows(5).any(|run| run.iter().all(|name| name == "one")),
        "five in a row: {names:?}"
    );
}

#[test]
fn least_connections_passes_over_the_busy() {
    let gate = Gate::new();
    let (one, two) = (Backend::holding("one", &gate), Backend::holding("two", &gate));
    let program = Program::with(
        json!({ "backend_servers": servers(&[&one, &two]), "balance": "least_connections" }),
    );
    let mut holder = program.client();
    holder.ask("/hold");
    until("a backend is busy", || one.request_count() + two.request_count() == 1);
    let (busy, idle) = if one.request_count() == 1 { (&one, "two") } else { (&two, "one") };
    let mut client = program.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), idle);
    }
    assert_eq!(busy.request_count(), 1);
    gate.open();
    assert_eq!(holder.response().status, 200);
}

#[test]
fn least_connections_rotates_among_the_idle() {
    let backends = three();
    let config =
        json!({ "backend_servers": servers(&backends.each_ref()), "balance": "least_connections" });
    let program = Program::with(config);
    let mut client = program.client();
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(counts(&backends), [10, 10, 10]);
}

#[test]
fn a_backup_is_not_asked_while_a_primary_is_up() {
    let (primary, backup) = (Backend::named("primary"), Backend::named("backup"));
    let program =
        over([primary.server(), backup.server_with(json!({ "backup": true }))], json!({}));
    let mut client = program.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "primary");
    }
    assert_eq!(backup.request_count(), 0);
}

#[test]
fn a_backup_stands_in_for_a_primary_that_refuses_until_it_returns() {
    let (mut primary, backup) = (Backend::named("primary"), Backend::named("backup"));
    let program =
        over([primary.server(), backup.server_with(json!({ "backup": true }))], json!({}));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "primary");
    primary.stop();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "backup");
    }
    primary.start_again();
    until("the primary is asked again", || client.get("/").text() == "primary");
}

#[test]
fn a_backend_never_has_more_requests_at_once_than_its_cap() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, maximum) = (now.clone(), most.clone());
    let backend = Backend::answering(move |_| {
        let together = counter.fetch_add(1, Ordering::SeqCst) + 1;
        maximum.fetch_max(together, Ordering::SeqCst);
        crate::common::backend::pause();
        counter.fetch_sub(1, Ordering::SeqCst);
        Answer::text("a")
    });
    let capped = backend.server_with(json!({ "max_connections": 3 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "30s" } }));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = program.client();
                for _ in 0..5 {
                    assert_eq!(client.get("/").text(), "a");
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn who_waits_too_long_for_a_full_backend_gets_503() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let capped = backend.server_with(json!({ "max_connections": 1 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "300ms" } }));
    let mut holder = program.client_at(&backend, "/hold");
    let mut client = program.client();
    assert_own_answer(&client.get("/"), "503 Service Unavailable", "connection_limit_reached");
    gate.open();
    assert_eq!(holder.response().text(), "a");
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn who_waits_for_a_full_backend_is_served_when_it_is_free() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let capped = backend.server_with(json!({ "max_connections": 1 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "30s" } }));
    let mut holder = program.client_at(&backend, "/hold");
    let mut waiting: Vec<_> = (0..5).map(|_| program.client()).collect();
    for client in &mut waiting {
        client.ask("/");
    }
    gate.open();
    assert_eq!(holder.response().text(), "a");
    for client in &mut waiting {
        assert_eq!(client.response().text(), "a");
    }
}

#[test]
fn a_full_backend_is_passed_over_for_another() {
    let gate = Gate::new();
    let (one, two) = (Backend::holding("one", &gate), Backend::named("two"));
    let program = over([one.server_with(json!({ "max_connections": 1 })), two.server()], json!({}));
    let mut holder = program.client();
    until("the capped one is busy", || {
        let asked = || one.request_count() + two.request_count();
        if one.request_count() == 0 {
            let before = asked();
            holder.ask("/hold");
            until("a backend was asked", || asked() > before);
        }
        one.request_count() > 0 || holder.response().status != 200
    });
    let mut client = program.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "two");
    }
    gate.open();
}

#[test]
fn a_client_that_goes_away_while_waiting_frees_its_place() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let capped = backend.server_with(json!({ "max_connections": 1 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "30s" } }));
    let mut holder = program.client_at(&backend, "/hold");
    let mut gone = program.client();
    gone.ask("/gone");
    gone.reset();
    let mut client = program.client();
    client.ask("/");
    gate.open();
    assert_eq!(client.response().text(), "a");
    assert_eq!(holder.response().text(), "a");
}

#[test]
fn a_place_behind_an_answer_under_way_is_not_taken() {
    let gate = Gate::new();
    let open = gate.clone();
    let backend = Backend::talking(move |connection| {
        while let Some(request) = connection.request() {
            if request.target == "/long" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo");
                open.wait();
                connection.send("ng");
            } else {
                connection.give(&Answer::text("short"), &request);
            }
        }
    });
    let capped = backend.server_with(json!({ "max_connections": 2 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "300ms" } }));
    let mut client = program.client();
    for _ in 0..40 {
        assert_eq!(client.get("/").text(), "short"); // Fast enough to share connections.
    }
    let get = |target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(get("/long") + &get("/behind"));
    backend.wait_for_requests(41);
    crate::common::backend::pause();
    let other = program.client().get("/");
    assert_own_answer(&other, "503 Service Unavailable", "connection_limit_reached");
    gate.open();
    assert_eq!(client.response().text(), "long");
    assert_eq!(client.response().text(), "short");
}
