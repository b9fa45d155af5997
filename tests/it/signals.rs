//! Stopping gracefully and at once, and reopening the log.

use crate::common::{Answer, Backend, Client, End, Gate, Program, Value, json, servers, until};
use rustix::process::{Signal, kill_process};
use std::{
    fs,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// A backend that holds requests for `/hold` until the gate opens, and a program over it.
fn scene(mut config: Value) -> (Gate, Backend, Program) {
    let gate = Gate::new();
    let backend = Backend::holding("done", &gate);
    config["backend_servers"] = servers(&[&backend]);
    let program = Program::with(config);
    (gate, backend, program)
}

fn wait_until_it_drains(program: &Program) {
    until("it listens no longer", || TcpStream::connect(program.address).is_err());
}

fn assert_stopped(program: &mut Program) {
    let status = program.wait_for_exit();
    assert!(status.success(), "{status}");
}

#[test]
fn without_clients_it_stops_when_asked() {
    for signal in [Signal::TERM, Signal::QUIT, Signal::INT] {
        let (_gate, _backend, mut program) = scene(json!({}));
        program.signal(signal);
        assert_stopped(&mut program);
    }
}

#[test]
fn a_running_request_is_finished_before_it_stops() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let (gate, backend, mut program) = scene(json!({}));
        let mut client = program.client_at(&backend, "/hold");
        program.signal(signal);
        wait_until_it_drains(&program);
        assert!(program.is_running());
        gate.open();
        client.expect_last("done");
        client.expect_end();
        assert_stopped(&mut program);
    }
}

#[test]
fn a_response_that_was_on_its_way_ends_its_connection_and_with_the_last_one_the_stop() {
    let gate = Gate::new();
    let opened = gate.clone();
    let backend = Backend::talking(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            opened.wait();
            connection.send("world");
        }
    });
    let mut program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
    let mut clients = [program.client(), program.client()];
    for client in &mut clients {
        client.ask("/");
        let head_and = |client: &Client| client.wire.buffer.ends_with(b"hello");
        while !head_and(client) {
            client.wire.more().unwrap();
        }
    }
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    gate.open();
    for client in &mut clients {
        // Nothing in it said that it is the last, for nobody knew.
        let response = client.response();
        assert_eq!((response.text().as_str(), response.closes()), ("helloworld", false));
        client.expect_end();
    }
    // Long before timeouts.drain, and though the clients have not ended their side.
    assert_stopped(&mut program);
}

#[test]
fn a_running_upload_and_a_running_download_are_finished_before_it_stops() {
    let (gate, backend, mut program) = scene(json!({}));
    let mut client = program.client();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut other = program.client_at(&backend, "/hold");
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    client.send("hello");
    client.expect_last("done");
    assert_eq!(backend.last_request().body, b"hellohello");
    gate.open();
    assert_eq!(other.response().text(), "done");
    assert_stopped(&mut program);
}

#[test]
fn pipelined_requests_that_run_are_answered_before_it_stops() {
    let gate = Gate::new();
    let backends: [Backend; 2] =
        std::array::from_fn(|_| Backend::gated(&gate, |request| Answer::text(&request.target)));
    let mut program = Program::over(&[&backends[0], &backends[1]]);
    let mut client = program.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    for backend in &backends {
        backend.wait_for_requests(1);
    }
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    gate.open();
    assert_eq!(client.response().text(), "/1");
    client.expect_last("/2");
    client.expect_end();
    assert_stopped(&mut program);
}

#[test]
fn an_idle_client_is_closed_and_it_stops() {
    let (_gate, _backend, mut program) = scene(json!({}));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "done");
    program.signal(Signal::TERM);
    client.expect_end();
    assert_stopped(&mut program);
}

#[test]
fn an_idle_client_may_still_ask_once() {
    let (gate, backend, mut program) = scene(json!({}));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "done");
    let mut other = program.client_at(&backend, "/hold");
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    client.ask("/last");
    client.expect_last("done");
    client.expect_end();
    gate.open();
    assert_eq!(other.response().text(), "done");
    assert_stopped(&mut program);
}

#[test]
fn a_head_that_was_begun_before_the_stop_may_end_after_it() {
    let (_gate, _backend, mut program) = scene(json!({}));
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\n");
    program.get("/"); // By now the part has been read.
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    thread::sleep(Duration::from_millis(1500));
    client.send("Host: a\r\n\r\n");
    client.expect_last("done");
    assert_stopped(&mut program);
}

#[test]
fn all_who_waited_to_be_accepted_are_served_before_it_stops() {
    let (_gate, _backend, mut program) = scene(json!({}));
    let worker = program.worker(0);
    kill_process(worker, Signal::STOP).unwrap();
    let mut clients: Vec<_> = (0..200).map(|_| program.client()).collect();
    for client in &mut clients {
        client.ask("/");
    }
    program.signal(Signal::TERM);
    kill_process(worker, Signal::CONT).unwrap();
    for client in &mut clients {
        assert_eq!(client.response().text(), "done");
    }
    assert_stopped(&mut program);
}

#[test]
fn a_second_term_stops_at_once() {
    let (_gate, backend, mut program) = scene(json!({}));
    let mut client = program.client_at(&backend, "/hold");
    program.signal(Signal::TERM);
    wait_until_it_drains(&program);
    program.signal(Signal::TERM);
    assert_stopped(&mut program);
    assert!(client.receive("GET").is_err());
}

#[test]
fn who_stops_all_processes_at_once_stops_them_gracefully() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let (gate, backend, mut program) = scene(json!({ "workers": 8 }));
        let mut client = program.client_at(&backend, "/hold");
        for process in program.processes() {
            let _ = kill_process(process, signal); // one without clients may have ended
        }
        wait_until_it_drains(&program);
        gate.open();
        client.expect_last("done");
        client.expect_end();
        assert_stopped(&mut program);
    }
}

#[test]
fn int_stops_at_once() {
    let (_gate, backend, mut program) = scene(json!({}));
    let mut client = program.client_at(&backend, "/hold");
    program.signal(Signal::INT);
    assert_stopped(&mut program);
    assert!(client.receive("GET").is_err());
}

#[test]
fn what_runs_longer_than_the_drain_timeout_is_broken_off() {
    let (_gate, backend, mut program) = scene(json!({ "timeouts": { "drain": "500ms" } }));
    let mut client = program.client_at(&backend, "/hold");
    program.signal(Signal::TERM);
    assert_stopped(&mut program);
    assert!(client.receive("GET").is_err());
}

#[test]
fn what_is_cut_off_when_it_stops_is_logged_and_says_why() {
    const TUNNEL: &str =
        "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (signal, drain) in [(Signal::TERM, "500ms"), (Signal::INT, "30s")] {
        let backend = Backend::talking(|connection| {
            let Some(request) = connection.head() else { return };
            match request.target.as_str() {
                "/tunnel" => connection.send(
                    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                ),
                "/part" => connection.send("HTTP/1.0 200 OK\r\n\r\npart"),
                _ => true,
            };
            connection.wait_for_end();
        });
        let config =
            json!({ "backend_servers": servers(&[&backend]), "timeouts": { "drain": drain } });
        let mut program = Program::logging(config);
        let mut clients: Vec<Client> = (0..4).map(|_| program.client()).collect();
        clients[0].ask("/get");
        clients[1].send("PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel");
        clients[2].send("GET /part HTTP/1.0\r\n\r\n");
        clients[3].send(TUNNEL);
        assert_eq!(clients[3].response().status, 101);
        clients[2].wire.read_until_len("HTTP/1.1 200 OK\r\n".len()).unwrap();
        until("all were sent on", || backend.connection_count() == 4);
        program.signal(signal);
        assert_stopped(&mut program);
        let mut lines: Vec<(String, Value, Value)> = program
            .log_lines(4)
            .iter()
            .map(|line| {
                (line["target"].to_string(), line["status"].clone(), line["reason"].clone())
            })
            .collect();
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        let line = |target: &str, status: u16, reason: &str| {
            (format!("\"{target}\""), json!(status), json!(reason))
        };
        let wanted = [
            line("/get", 499, "connection_terminated"),
            line("/part", 200, "http_response_incomplete"),
            line("/put", 499, "connection_terminated"),
            line("/tunnel", 101, "http_response_incomplete"),
        ];
        assert_eq!(lines, wanted);
        assert_eq!(clients[2].wire.read_to_end(), End::Reset, "it must not look whole");
    }
}

#[test]
fn usr1_reopens_the_log() {
    let backend = Backend::named("a");
    let program = Program::logging(json!({ "backend_servers": servers(&[&backend]) }));
    assert_eq!(program.get("/before").text(), "a");
    program.raw_log(1);
    let old = program.folder.join("old.log");
    fs::rename(program.log_path(), &old).unwrap();
    assert_eq!(program.get("/between").text(), "a");
    until("the second line", || fs::read_to_string(&old).unwrap().lines().count() == 2);
    program.signal(Signal::USR1);
    until("the new log", || program.log_path().exists());
    assert_eq!(program.get("/after").text(), "a");
    assert_eq!(program.log_lines(1)[0]["target"], "/after");
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2);
}

#[test]
fn no_line_of_the_log_is_lost_when_it_stops() {
    let backend = Backend::named("a");
    let mut program = Program::logging(json!({ "backend_servers": servers(&[&backend]) }));
    let mut client = program.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "a");
    }
    drop(client);
    program.signal(Signal::TERM);
    assert_stopped(&mut program);
    program.log_lines(50);
}

#[test]
fn signals_amid_traffic_harm_no_request() {
    let (_gate, _backend, program) = scene(json!({}));
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut client = program.client();
            (0..2000).all(|_| client.get("/").text() == "done")
        });
        while !traffic.is_finished() {
            program.signal(Signal::USR1);
            thread::sleep(Duration::from_millis(1));
        }
        assert!(traffic.join().unwrap());
    });
}

/// What `/healthz` says.
fn health(program: &Program) -> String {
    let response = Client::connect(program.status_address()).get("/healthz");
    format!("{} {}", response.status, response.text().trim_end())
}

fn withdrawing(withdraw: &str) -> (Backend, Program) {
    let backend = Backend::named("a");
    let config = json!({
        "workers": 2,
        "backend_servers": servers(&[&backend]),
        "timeouts": { "withdraw": withdraw },
    });
    let program = Program::operated(config);
    (backend, program)
}

#[test]
fn before_it_stops_it_lets_the_world_know_and_serves_on() {
    let (_backend, mut program) = withdrawing("3s");
    let mut idle = program.client();
    assert!(!idle.get("/").closes());
    let told = Instant::now();
    program.signal(Signal::TERM);
    until("it is withdrawn", || health(&program) == "503 withdrawn");
    assert_eq!(program.look("/v1/status")["withdrawn"], json!(true));
    // Who was idle is closed, and who comes is served once.
    let mut client = program.client();
    client.ask("/");
    client.expect_last("a");
    client.expect_end();
    idle.expect_end();
    assert!(told.elapsed() < Duration::from_secs(3), "a machine that is too slow for this test");
    assert_stopped(&mut program);
    assert!(told.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_second_term_while_it_is_withdrawn_stops_at_once() {
    let (_backend, mut program) = withdrawing("1h");
    program.signal(Signal::TERM);
    program.wait_for_message("withdrawn: the service stops after 1h");
    assert_eq!(program.get("/").text(), "a");
    program.signal(Signal::TERM);
    assert_stopped(&mut program);
}

#[test]
fn who_stops_all_processes_at_once_withdraws_the_service_first() {
    let (_backend, mut program) = withdrawing("2s");
    let workers = program.workers();
    for process in program.processes() {
        kill_process(process, Signal::TERM).unwrap();
    }
    until("it is withdrawn", || health(&program) == "503 withdrawn");
    for _ in 0..8 {
        assert_eq!(program.get("/").text(), "a");
    }
    assert_eq!(program.workers(), workers);
    assert_stopped(&mut program);
}

#[test]
fn a_worker_that_dies_while_the_service_is_withdrawn_is_replaced_by_one_that_knows() {
    let (_backend, program) = withdrawing("1h");
    program.signal(Signal::TERM);
    program.wait_for_message("withdrawn: the service stops");
    let before = program.workers();
    for worker in &before {
        crate::common::process::kill(*worker);
    }
    until("others", || {
        let now = program.workers();
        now.len() == 2 && now.iter().all(|worker| !before.contains(worker))
    });
    let response = program.client().get("/");
    assert_eq!((response.text().as_str(), response.closes()), ("a", true));
}
