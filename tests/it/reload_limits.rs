//! Limits and gauges over a reload: what the workers that it replaced still have in work counts, as long as
//! they have it and no longer.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Value, eventually, json, process, servers,
    stored::metric, until,
};
use std::{net::SocketAddr, thread, time::Duration};

/// One that answers `/0`, `/1` … once the gate of that number is open, and all else at once.
fn holding(gates: &[Gate]) -> Backend {
    let gates = gates.to_vec();
    Backend::answering(move |request| {
        let number = request.target.strip_prefix('/').and_then(|number| number.parse().ok());
        if let Some(gate) = number.and_then(|number: usize| gates.get(number)) {
            gate.wait();
        }
        Answer::text(request.target.as_str())
    })
}

fn gates(count: usize) -> Vec<Gate> {
    (0..count).map(|_| Gate::new()).collect()
}

/// A client whose request is at the backend.
fn ask(program: &Program, backend: &Backend, target: &str) -> Client {
    let mut client = program.client();
    send(&mut client, backend, target);
    client
}

fn send(client: &mut Client, backend: &Backend, target: &str) {
    let before = backend.request_count();
    client.ask(target);
    backend.wait_for_requests(before + 1);
}

/// Reloads, and returns when the new control process answers and who connects comes to new workers.
fn reload(program: &Program) {
    let before = program.workers();
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    let port = program.address.port();
    until("no worker before accepts clients", || !process::any_listens(&before, port));
}

fn active(program: &Program, backend: &Backend) -> u64 {
    let series = format!("{{pool=\"default\",backend=\"{}\"}}", backend.address);
    metric(program, &format!("httplb_backend_requests_active{series}"))
}

fn wait_for(program: &Program, series: &str, value: u64) {
    eventually(&format!("{series} is {value}"), || {
        (metric(program, series) == value).then_some(())
    });
}

fn wait_for_active(program: &Program, backend: &Backend, count: u64) {
    until(&format!("{count} requests are active"), || active(program, backend) == count);
}

fn capped(backend: &Backend, cap: u32, timeouts: Value) -> Program {
    Program::operated(json!({
        "workers": 2,
        "backend_servers": [backend.server_with(json!({ "max_connections": cap }))],
        "timeouts": timeouts,
    }))
}

#[test]
fn a_cap_counts_the_requests_of_the_workers_that_were_replaced() {
    let gates = gates(2);
    let backend = holding(&gates);
    let program = capped(&backend, 2, json!({ "queue": "2s" }));
    let mut held = [ask(&program, &backend, "/0"), ask(&program, &backend, "/1")];
    reload(&program);
    assert_eq!(program.get("/third").status, 503);
    assert_eq!(backend.request_count(), 2);
    assert_eq!(active(&program, &backend), 2);
    gates[0].open();
    assert_eq!(held[0].response().text(), "/0");
    wait_for_active(&program, &backend, 1);
    let mut third = program.client();
    assert_eq!(third.get("/third").text(), "/third");
    gates[1].open();
    assert_eq!(held[1].response().text(), "/1");
}

#[test]
fn who_waits_for_a_place_is_woken_when_a_worker_that_was_replaced_gives_one_back() {
    let gates = gates(2);
    let backend = holding(&gates);
    let program = capped(&backend, 2, json!({ "queue": "10m" }));
    let mut held = [ask(&program, &backend, "/0"), ask(&program, &backend, "/1")];
    reload(&program);
    let mut waiting: Vec<Client> = (0..3).map(|_| program.client()).collect();
    waiting.iter_mut().for_each(|client| client.ask("/waiting"));
    wait_for(&program, "httplb_pool_queue{pool=\"default\"}", 3);
    assert_eq!(backend.request_count(), 2);
    gates[0].open();
    assert_eq!(held[0].response().text(), "/0");
    for client in &mut waiting {
        assert_eq!(client.response().text(), "/waiting");
    }
    gates[1].open();
    assert_eq!(held[1].response().text(), "/1");
}

/// An idle client of theirs has one more request, which waits as any other, also for a cap that was set
/// since.
#[test]
fn the_workers_that_were_replaced_count_the_requests_of_those_that_serve() {
    let gates = gates(1);
    let backend = holding(&gates);
    let program = Program::operated(json!({
        "workers": 2, "backend_servers": [], "timeouts": { "queue": "10m" },
    }));
    let path = format!("PUT /v1/pools/default/backends/{}", backend.address);
    assert_eq!(program.ask(&path, "").status, 201);
    let mut idle = program.client();
    assert_eq!(idle.get("/").text(), "/");
    reload(&program);
    assert_eq!(program.ask(&format!("{path}?max_connections=1"), "").status, 200);
    let mut held = ask(&program, &backend, "/0");
    thread::sleep(Duration::from_secs(2)); // A second is more than it may take until they know.
    idle.ask("/idle");
    wait_for(&program, "httplb_pool_queue{pool=\"default\"}", 1);
    assert_eq!(backend.request_count(), 2);
    gates[0].open();
    assert_eq!(held.response().text(), "/0");
    assert_eq!(idle.response().text(), "/idle");
}

#[test]
fn clients_of_the_workers_that_were_replaced_count_and_make_room_when_they_leave() {
    let gates = gates(2);
    let backend = holding(&gates);
    let program = Program::operated(json!({
        "workers": 2, "backend_servers": servers(&[&backend]), "max_connections": 2,
    }));
    let mut held = [ask(&program, &backend, "/0"), ask(&program, &backend, "/1")];
    reload(&program);
    let mut third = program.client();
    third.ask("/third");
    program.wait_for_message("all are taken and none is idle; more clients wait in the backlog");
    assert_eq!(backend.request_count(), 2);
    assert_eq!(metric(&program, "httplb_client_connections"), 2);
    assert_eq!(program.look("/v1/status")["connections"]["current"], 2);
    gates[0].open();
    assert_eq!(held[0].response().text(), "/0");
    assert_eq!(third.response().text(), "/third");
    gates[1].open();
    assert_eq!(held[1].response().text(), "/1");
}

#[test]
fn idle_clients_of_the_workers_that_were_replaced_make_room_for_new_ones() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({
        "workers": 2, "backend_servers": servers(&[&backend]), "max_connections": 4,
        "timeouts": { "idle": "10m" },
    }));
    let mut idle: Vec<Client> = (0..4).map(|_| program.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "a"));
    reload(&program);
    let mut next: Vec<Client> = (0..4).map(|_| program.client()).collect();
    next.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "a"));
    idle.iter_mut().for_each(|client| {
        client.expect_end();
    });
    until("the old generation has ended", || process::children(program.pid()).len() == 3);
}

#[test]
fn what_a_replaced_worker_had_that_is_killed_does_not_count() {
    let gates = gates(1);
    let backend = holding(&gates);
    let program = Program::operated(json!({
        "workers": 1,
        "backend_servers": [backend.server_with(json!({ "max_connections": 1 }))],
        "max_connections": 2,
        "timeouts": { "queue": "10m" },
    }));
    let old = program.worker(0);
    let mut held = ask(&program, &backend, "/0");
    reload(&program);
    let mut waiting = program.client();
    waiting.ask("/waiting");
    wait_for(&program, "httplb_pool_queue{pool=\"default\"}", 1);
    assert_eq!((active(&program, &backend), backend.request_count()), (1, 1));
    wait_for(&program, "httplb_client_connections", 2);
    process::kill(old);
    assert!(held.receive("GET").is_err());
    assert_eq!(waiting.response().text(), "/waiting");
    wait_for_active(&program, &backend, 0);
    wait_for(&program, "httplb_client_connections", 1);
    wait_for(&program, "httplb_pool_queue{pool=\"default\"}", 0);
    gates[0].open();
}

#[test]
fn through_ten_reloads_gauges_are_the_sockets_and_counters_never_fall() {
    let gates = gates(1);
    let backend = holding(&gates);
    let program = capped(&backend, 0, json!({ "drain": "10m" }));
    let mut held: Vec<Client> = Vec::new();
    let counters = ["httplb_requests_total", "httplb_client_connections_total"];
    let mut before = [0, 0];
    for round in 1..=10 {
        held.push(ask(&program, &backend, "/0"));
        assert_eq!(program.get("/").text(), "/");
        reload(&program);
        wait_for(&program, "httplb_client_connections", round);
        wait_for_active(&program, &backend, round);
        let now = counters.map(|series| metric(&program, series));
        assert!(now[0] >= before[0] && now[1] >= before[1], "{before:?} {now:?}");
        before = now;
    }
    let sockets = |own: Option<SocketAddr>, other: Option<SocketAddr>| {
        let ports = [own, other].map(|address| address.map(|address| address.port()));
        process::connection_count(&process::children(program.pid()), ports[0], ports[1]) as u64
    };
    assert_eq!(sockets(Some(program.address), None), 10);
    let idle = format!(
        "httplb_backend_idle_connections{{pool=\"default\",backend=\"{}\"}}",
        backend.address
    );
    until("all connections to the backend are counted", || {
        sockets(None, Some(backend.address)) == metric(&program, &idle) + active(&program, &backend)
    });
    assert_eq!(program.look("/v1/status")["connections"]["current"], 10);
    let shown = program.backend("default", backend.address).unwrap();
    assert_eq!(shown["connections"], 10, "{shown}");
    gates[0].open();
    held.iter_mut().for_each(|client| assert_eq!(client.response().text(), "/0"));
    drop(held);
    wait_for(&program, "httplb_client_connections", 0);
    wait_for_active(&program, &backend, 0);
    wait_for(&program, "httplb_requests_total", 20);
    until("the old generations have ended", || process::children(program.pid()).len() == 3);
    assert_eq!(sockets(Some(program.address), None), 0);
}

#[test]
fn a_backend_that_leaves_is_forgotten_when_the_workers_that_were_replaced_are_done_with_it_too() {
    let gates = gates(1);
    let backend = holding(&gates);
    let program = Program::operated(json!({ "workers": 2, "backend_servers": [] }));
    let path = format!("/v1/pools/default/backends/{}", backend.address);
    assert_eq!(program.ask(&format!("PUT {path}"), "").status, 201);
    let mut held = ask(&program, &backend, "/0");
    reload(&program);
    assert_eq!(program.ask(&format!("DELETE {path}"), "").status, 202);
    thread::sleep(Duration::from_secs(3)); // It would be forgotten within a second or so.
    let shown = program.backend("default", backend.address).expect("it is there");
    assert_eq!((&shown["admin"], &shown["connections"]), (&json!("leaving"), &json!(1)));
    gates[0].open();
    assert_eq!(held.response().text(), "/0");
    program.wait_for_state("default", backend.address, "gone");
}
