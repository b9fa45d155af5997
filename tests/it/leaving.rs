//! How long who has ended its side, or is not heard of any more, is served, and when a client
//! connection ends by its age or by the number of its requests.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Value, eventually, json, servers, until,
};
use std::{fs, net::SocketAddr};

fn over(backend: Value, timeouts: Value) -> Program {
    Program::logging(json!({ "backend_servers": [backend], "timeouts": timeouts }))
}

fn told(line: &Value) -> (Value, Value, Value) {
    (line["target"].clone(), line["status"].clone(), line["reason"].clone())
}

fn left(target: &str) -> (Value, Value, Value) {
    (json!(target), json!(499), json!("client_abort"))
}

#[test]
fn clients_that_have_left_hold_no_place_at_a_silent_backend() {
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/silent" => Answer::nothing().then_hang(),
        _ => Answer::text("served"),
    });
    let capped = backend.server_with(json!({ "max_connections": 2 }));
    let program = over(capped, json!({ "fin": "1s", "queue": "20s" }));
    for count in 1..=2 {
        let mut client = program.client();
        client.ask("/silent");
        backend.wait_for_requests(count);
    }
    assert_eq!(program.get("/next").text(), "served");
    let mut lines = program.log_lines(3);
    lines.sort_by_key(|line| line["target"].to_string());
    assert_eq!(told(&lines[0]), (json!("/next"), json!(200), json!(null)));
    assert!(lines[0]["ms"].as_f64().unwrap() > 300.0, "it has waited for a place");
    assert_eq!([told(&lines[1]), told(&lines[2])], [left("/silent"), left("/silent")]);
}

#[test]
fn an_event_stream_whose_client_has_left_is_given_up_though_its_backend_is_silent() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    let backend = Backend::always(Answer::raw(stream).then_hang());
    let program = over(backend.server(), json!({ "fin": "500ms" }));
    let mut client = program.client();
    client.ask("/events");
    client.wire.read_until_len(stream.len()).unwrap();
    drop(client);
    until("the backend is told", || backend.open_connection_count() == 0);
    assert_eq!(told(&program.log_lines(1)[0]), left("/events"));
}

#[test]
fn who_has_only_ended_its_side_gets_a_response_that_comes_in_time_and_one_that_goes_on() {
    let gate = Gate::new();
    let backend = Backend::holding("done", &gate);
    let program = over(backend.server(), json!({ "fin": "20s", "response": "30s" }));
    let mut client = program.client();
    client.ask("/hold");
    client.finish_sending();
    backend.wait_for_requests(1);
    gate.open();
    assert_eq!(client.response().text(), "done");

    let slow = Backend::talking(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        for _ in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(600));
            connection.send("x");
        }
    });
    let program = over(slow.server(), json!({ "fin": "2s" }));
    let mut client = program.client();
    client.ask("/slow");
    client.finish_sending();
    assert_eq!(client.response().text(), "xxxx");
}

#[test]
fn a_client_that_has_ended_its_side_and_waits_in_vain_is_closed() {
    let backend = Backend::always(Answer::nothing().then_hang());
    let program = over(backend.server(), json!({ "fin": "500ms" }));
    let mut client = program.client();
    client.ask("/never");
    client.finish_sending();
    client.expect_end();
    assert_eq!(told(&program.log_lines(1)[0]), left("/never"));
}

#[test]
fn a_client_connection_closes_with_the_last_of_its_requests() {
    let backend = Backend::named("a");
    let program =
        Program::with(json!({ "backend_servers": servers(&[&backend]), "client_requests": 3 }));
    let closes = |client: &mut Client| client.response().closes();
    let mut client = program.client();
    let pipelined: String =
        (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(&pipelined);
    assert_eq!([(); 3].map(|()| closes(&mut client)), [false, false, true]);
    client.expect_end();
    assert_eq!(backend.request_count(), 3, "the others are not processed");
}

#[test]
fn an_old_client_connection_closes_with_its_next_response() {
    let backend = Backend::named("a");
    let timeouts = json!({ "client_age": "1s" });
    let program = over(backend.server(), timeouts);
    let mut client = program.client();
    assert!(!client.get("/young").closes());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(client.wire.has_ended().is_none(), "it waits for the next response");
    assert!(client.get("/old").closes());
    client.expect_end();
}

/// The timer of the connection from `local` to `remote` as /proc/net/tcp6 or /proc/net/tcp has it:
/// what kind, and in how many hundredths of a second it ends.
fn timer(local: u16, remote: u16) -> Option<(u32, u32)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap());
    let port = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
    tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(words[1]) == Some(local) && port(words[2]) == Some(remote);
        let (kind, rest) = words[5].split_once(':').filter(|_| is_it)?;
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        Some((hex(kind)?, hex(rest)?))
    })
}

const NO_TIMER: u32 = 0;
const KEEPALIVE: u32 = 2;

#[test]
fn the_kernel_looks_for_silent_peers_on_both_sides() {
    for (config, wanted) in [
        (json!({}), Some(60)),
        (json!({ "keepalive": "90s" }), Some(90)),
        (json!({ "keepalive": "0s" }), None),
    ] {
        let backend = Backend::named("a");
        let program = over(backend.server(), config);
        let mut client = program.client();
        client.get("/");
        let (own, peer) = (program.address.port(), client.address());
        // The kept connection, as the program has it: its other end is the backend's port.
        let to_backend = || connection_to(backend_address(&backend));
        let sides: [&dyn Fn() -> Option<(u32, u32)>; 2] = [&|| timer(own, peer.port()), &|| {
            timer(to_backend()?, backend_address(&backend).port())
        }];
        for side in sides {
            match wanted {
                None => assert_eq!(eventually("the connection", side).0, NO_TIMER),
                Some(seconds) => {
                    let is_idle = || side().filter(|(kind, _)| *kind == KEEPALIVE);
                    let (_, rest) = eventually("the timer of keep-alive", is_idle);
                    assert!(rest > (seconds - 20) * 100 && rest <= seconds * 100, "{rest}");
                }
            }
        }
    }
}

fn backend_address(backend: &Backend) -> SocketAddr {
    let server = backend.server();
    let port = server["port"].as_u64().unwrap() as u16;
    SocketAddr::new(server["ip"].as_str().unwrap().parse().unwrap(), port)
}

/// The local port of a connection to `remote`.
fn connection_to(remote: SocketAddr) -> Option<u16> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it =
            words[2].ends_with(&format!(":{:04X}", remote.port())) && words[3] == ESTABLISHED;
        u16::from_str_radix(words[1].rsplit(':').next()?, 16).ok().filter(|_| is_it)
    })
}
