//! Active health checks, as backends and clients see them. What happens exactly when is proved on
//! the simulated kernel, in `src/control/checks_tests.rs`.

use crate::common::{Answer, Backend, Program, Value, eventually, json, servers, until, wire::End};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A backend whose checks are answered with a status that the test changes, and whose other
/// requests with its name.
fn checked(name: &'static str) -> (Backend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let current = status.clone();
    let backend = Backend::answering(move |request| {
        if request.target != "/up" {
            return Answer::text(name);
        }
        match current.load(Ordering::SeqCst) {
            0 => Answer::nothing().then_hang(),
            1 => Answer::raw("SSH-2.0\r\n"),
            status => Answer::status(&format!("{status} x"), ""),
        }
    });
    (backend, status)
}

fn program(backends: &[&Backend], check: Value) -> Program {
    Program::operated(json!({
        "workers": 2,
        "backend_servers": servers(backends),
        "health_check": check,
    }))
}

fn check() -> Value {
    json!({"path": "/up", "interval": "300ms", "timeout": "200ms"})
}

/// The checks that came to a backend.
fn checks(backend: &Backend) -> Vec<crate::common::Request> {
    let all = backend.requests().into_iter();
    all.filter(|request| request.field("User-Agent") == Some("httplb-check")).collect()
}

#[test]
fn a_backend_is_out_however_it_fails_and_back_by_itself() {
    let ((first, _first), (second, status)) = (checked("first"), checked("second"));
    let program = program(&[&first, &second], check());
    for failure in [500, 404, 0, 1] {
        status.store(failure, Ordering::SeqCst);
        program.wait_for_state("default", second.address, "down");
        for _ in 0..6 {
            assert_eq!(program.get("/").text(), "first");
        }
        status.store(200, Ordering::SeqCst);
        program.wait_for_state("default", second.address, "up");
        let names: Vec<String> = (0..4).map(|_| program.get("/").text()).collect();
        assert_eq!(names.iter().filter(|name| *name == "second").count(), 2);
    }
    let stderr = program.stderr();
    let address = second.address;
    for part in [
        format!(
            "pool default: backend {address} is down: its check was answered 500; 1/2 backends up"
        ),
        format!("backend {address} is down: its check was answered 404;"),
        format!("backend {address} is down: its check was not answered in time;"),
        format!("backend {address} is down: its check was not answered by valid HTTP;"),
        format!("backend {address} is up: its check was answered 200; 2/2 backends up"),
    ] {
        assert!(stderr.contains(&part), "{part}\n{stderr}");
    }
}

#[test]
fn a_backend_that_is_killed_and_started_again_costs_no_request() {
    let (first, _) = checked("first");
    let (mut second, _) = checked("second");
    let program = program(&[&first, &second], check());
    for _ in 0..3 {
        second.stop();
        until("the backend is out", || {
            assert_eq!(program.get("/").status, 200);
            program.state("default", second.address) == "down"
        });
        second.start_again();
        until("the backend is back", || {
            assert_eq!(program.get("/").status, 200);
            program.state("default", second.address) == "up"
        });
    }
}

#[test]
fn a_rolling_restart_under_load_fails_no_get() {
    let mut backends = ["a", "b", "c"].map(|name| checked(name).0);
    let program = program(&backends.each_ref(), check());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut client = program.client();
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").status, 200);
                }
            })
        });
        for backend in &mut backends {
            backend.stop();
            program.wait_for_state("default", backend.address, "down");
            backend.start_again();
            program.wait_for_state("default", backend.address, "up");
        }
        over.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("no failed request"));
    });
}

#[test]
fn each_backend_is_checked_once_an_interval_whatever_the_number_of_workers() {
    let ((first, _), (second, _)) = (checked("first"), checked("second"));
    let start = Instant::now();
    let program = program(&[&first, &second], check());
    eventually("20 checks", || (checks(&second).len() >= 20).then_some(()));
    // One at the start, and one that finds its place in the interval.
    let most = start.elapsed().as_millis() as usize / 300 + 3;
    for backend in [&first, &second] {
        let checks = checks(backend);
        assert!(checks.len() <= most, "{} checks, not more than {most}", checks.len());
        let mut connections: Vec<usize> = checks.iter().map(|check| check.connection).collect();
        connections.dedup();
        assert_eq!(connections.len(), checks.len(), "each on a new connection");
        let check = &checks[0];
        assert_eq!(
            (check.line(), check.field("Host")),
            ("GET /up HTTP/1.1", Some(backend.address.to_string().as_str()))
        );
    }
    let last = program.backend("default", first.address).unwrap()["last_check"].clone();
    assert_eq!((&last["ok"], &last["status"]), (&json!(true), &json!(200)));
}

#[test]
fn with_all_down_clients_hear_it_at_once_and_are_served_soon_after() {
    let (mut only, _) = checked("only");
    let program = program(&[&only], check());
    program.wait_for_state("default", only.address, "up");
    only.stop();
    program.wait_for_state("default", only.address, "down");
    let start = Instant::now();
    let response = program.get("/");
    assert!(start.elapsed() < Duration::from_millis(500));
    crate::common::assert_own_answer(
        &response,
        "503 Service Unavailable",
        "destination_unavailable",
    );
    only.start_again();
    until("the backend serves", || program.get("/").status == 200);
}

#[test]
fn a_connection_is_enough_where_no_path_is_asked_for() {
    let mut backend = Backend::talking(|connection| {
        let _ = connection.request();
    });
    let check = json!({"path": null, "interval": "200ms", "timeout": "200ms"});
    let program = program(&[&backend], check);
    until("some checks", || backend.connection_count() >= 5);
    assert_eq!(backend.request_count(), 0);
    assert_eq!(program.state("default", backend.address), "up");
    backend.stop();
    program.wait_for_state("default", backend.address, "down");
    program.wait_for_message("is down: it cannot be connected to");
}

#[test]
fn the_status_and_the_host_are_those_of_the_configuration() {
    let (backend, status) = checked("a");
    status.store(204, Ordering::SeqCst);
    let check = json!({
        "path": "/up", "interval": "200ms", "timeout": "200ms", "status": 204, "host": "shop.example"
    });
    let program = program(&[&backend], check);
    until("some checks", || checks(&backend).len() >= 5);
    assert_eq!(program.state("default", backend.address), "up");
    assert_eq!(checks(&backend)[0].field("Host"), Some("shop.example"));
    status.store(200, Ordering::SeqCst);
    program.wait_for_state("default", backend.address, "down");
}

#[test]
fn several_statuses_and_classes_may_be_healthy() {
    let (backend, status) = checked("a");
    let mut check = check();
    check["status"] = json!([204, "3xx"]);
    let program = program(&[&backend], check);
    for (current, state) in [(500, "down"), (204, "up"), (200, "down"), (302, "up")] {
        status.store(current, Ordering::SeqCst);
        program.wait_for_state("default", backend.address, state);
    }
}

/// What is left unread in a socket that is closed becomes a reset, which servers log as an error.
#[test]
fn a_check_reads_the_body_and_ends_without_a_reset() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let seen = ends.clone();
    let bodies = ["Content-Length: 60000\r\n\r\n", "Connection: close\r\n\r\n"];
    let count = AtomicUsize::new(0);
    let backend = Backend::talking(move |connection| {
        let Some(request) = connection.head() else { return };
        if request.field("User-Agent") != Some("httplb-check") {
            return;
        }
        let framing = bodies[count.fetch_add(1, Ordering::SeqCst) % 2];
        connection.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        let is_taken = (0..60).all(|_| {
            thread::sleep(Duration::from_millis(1));
            connection.send("x".repeat(1000))
        });
        let by_length = framing.starts_with("Content-Length");
        let ends_well = is_taken && (!by_length || connection.wait_for_end() == End::Fin);
        seen.lock().unwrap().push(ends_well);
    });
    let check = json!({"path": "/up", "interval": "300ms", "timeout": "5s"});
    let program = program(&[&backend], check);
    until("some checks have ended", || ends.lock().unwrap().len() >= 3);
    assert!(ends.lock().unwrap().iter().all(|ends_well| *ends_well));
    assert_eq!(program.state("default", backend.address), "up");
}

#[test]
fn one_failure_now_and_then_is_no_flapping() {
    let (backend, status) = checked("a");
    let program = program(&[&backend], check());
    for _ in 0..5 {
        let before = checks(&backend).len();
        status.store(500, Ordering::SeqCst);
        until("a failed check", || checks(&backend).len() > before);
        status.store(200, Ordering::SeqCst);
        until("two good ones", || checks(&backend).len() > before + 3);
    }
    assert_eq!(program.state("default", backend.address), "up");
    assert!(!program.stderr().contains("is down"), "{}", program.stderr());
    let failures = program.look("/v1/pools/default");
    assert_eq!(failures["backends"][0]["last_check"]["ok"], json!(true));
}

#[test]
fn a_mark_by_requests_is_refuted_or_confirmed_by_a_check_at_once() {
    let (first, _) = checked("first");
    // It answers its checks, but resets whoever asks for anything else while it connects.
    let (mut second, _) = checked("second");
    let program = Program::operated(json!({
        "backend_servers": servers(&[&first, &second]),
        "health_check": {"path": "/up", "interval": "1h", "timeout": "200ms"},
        "max_fails": 1,
    }));
    until("the first checks", || checks(&second).len() == 1);
    second.stop();
    until("requests find out", || {
        assert_eq!(program.get("/").status, 200);
        program.state("default", second.address) == "down"
    });
    second.start_again();
    // Though the next regular check is an hour away.
    program.wait_for_state("default", second.address, "up");
}

#[test]
fn workers_close_what_they_keep_to_a_backend_that_went_down() {
    let ((first, _), (second, status)) = (checked("first"), checked("second"));
    let program = program(&[&first, &second], check());
    for _ in 0..8 {
        program.get("/");
    }
    until("a kept connection", || {
        let backend = program.backend("default", second.address);
        backend.is_some() && second.open_connection_count() > 0
    });
    status.store(500, Ordering::SeqCst);
    program.wait_for_state("default", second.address, "down");
    // Checks come and go, so at some moment there is none.
    until("none is kept", || second.open_connection_count() == 0);
    thread::sleep(Duration::from_millis(1));
}

#[test]
fn a_reload_is_no_reason_to_check() {
    let ((first, _), (second, _)) = (checked("first"), checked("second"));
    let program = program(&[&first], json!({"path": "/up", "interval": "1h"}));
    // The second check of one that is in the file finds its place in the interval.
    let before = eventually("it is checked", || {
        let shown = program.backend("default", first.address)?["last_check"].clone();
        shown.is_object().then_some(checks(&first).len())
    });
    program.reload();
    // Whoever is new is checked at once, and the other one would have been before.
    let place = format!("/v1/pools/default/backends/{}", second.address);
    assert_eq!(program.ask(&format!("PUT {place}"), "").status, 201);
    until("who is new is checked", || !checks(&second).is_empty());
    assert_eq!(checks(&first).len(), before);
    let shown = program.backend("default", first.address).unwrap()["last_check"].clone();
    assert_eq!((&shown["ok"], &shown["status"]), (&json!(true), &json!(200)));
}

#[test]
fn who_failed_checks_comes_back_when_nobody_makes_them_any_more() {
    let ((first, _), (second, status)) = (checked("first"), checked("second"));
    let mut program = program(&[&first, &second], check());
    status.store(500, Ordering::SeqCst);
    program.wait_for_state("default", second.address, "down");
    program.configure(|config| config["health_check"] = json!(false));
    program.reload();
    program.wait_for_state("default", second.address, "up");
}
