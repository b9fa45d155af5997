//! WebSocket: after 101, bytes flow both ways until both sides ended. Without it, all is HTTP.

use crate::common::{
    Answer, Backend, Client, Connection, End, Gate, Program, Value, assert_same_bytes, json, noise,
    servers, until,
};
use std::{io::Write, thread};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches protocols at each request, then does `then`.
fn switching(then: impl Fn(&mut Connection) + Send + Sync + 'static) -> Backend {
    Backend::talking(move |connection| {
        if connection.request().is_some() {
            connection.send(SWITCH);
            then(connection);
        }
    })
}

/// Returns all bytes until the client's side ends.
fn echo(connection: &mut Connection) {
    loop {
        let bytes = std::mem::take(&mut connection.wire().buffer);
        if !connection.send(bytes) || connection.wire().more().is_err() {
            return;
        }
    }
}

fn upgraded(program: &Program) -> Client {
    let mut client = program.client();
    client.send(UPGRADE);
    assert_eq!(client.response().status, 101);
    client
}

#[test]
fn an_upgrade_is_passed_on_and_bytes_flow_both_ways() {
    let backend = switching(echo);
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(UPGRADE);
    let response = client.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(
        response.field("Connection").map(str::to_ascii_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let request = backend.last_request();
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    assert_eq!(
        request.field("Connection").map(str::to_ascii_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    for message in ["hello", "\0\x01\x02", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        client.send(message);
        assert_eq!(client.read_exactly(message.len()), message.as_bytes());
    }
}

#[test]
fn bytes_right_behind_the_request_and_the_answer_arrive() {
    let backend = Backend::talking(|connection| {
        connection.request();
        connection.send([SWITCH.as_bytes(), b"first"].concat());
        echo(connection);
    });
    let program = Program::over(&[&backend]);
    for behind in ["x", "early bytes", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = program.client();
        client.send([UPGRADE.as_bytes(), behind.as_bytes()].concat());
        assert_eq!(client.response().status, 101);
        let wanted = format!("first{behind}");
        assert_eq!(client.read_exactly(wanted.len()), wanted.as_bytes());
    }
}

#[test]
fn the_client_may_close_its_side_first() {
    let backend = switching(|connection| {
        let end = connection.wait_for_end();
        let got = std::mem::take(&mut connection.wire().buffer);
        connection.send(format!("{end:?} after {}", String::from_utf8_lossy(&got)));
    });
    let program = Program::over(&[&backend]);
    let mut client = upgraded(&program);
    client.send("bye");
    client.finish_sending();
    assert_eq!(client.wire.read_to_end(), End::Fin);
    assert_eq!(client.wire.buffer, b"Fin after bye");
}

#[test]
fn the_backend_may_close_its_side_first() {
    let backend = switching(|connection| {
        connection.send("bye");
        connection.wire().finish_sending();
        connection.wait_for_end();
    });
    let program = Program::over(&[&backend]);
    let mut client = upgraded(&program);
    assert_eq!(client.wire.read_to_end(), End::Fin);
    assert_eq!(client.wire.buffer, b"bye");
    client.send("more");
    until("the client's bytes arrive after it", || backend.received().concat().ends_with(b"more"));
    client.finish_sending();
    until("the tunnel is closed", || backend.open_connection_count() == 0);
}

#[test]
fn all_that_a_client_sends_after_the_backend_has_ended_arrives() {
    // The backend reads slowly at first, so that the client's end comes before its bytes are through.
    let gate = std::sync::Arc::new(Gate::new());
    let opened = gate.clone();
    let backend = switching(move |connection| {
        connection.wire().finish_sending();
        opened.wait();
        connection.wait_for_end();
    });
    let program = Program::over(&[&backend]);
    let mut client = upgraded(&program);
    assert_eq!(client.wire.read_to_end(), End::Fin);
    let much = noise(3_000_000, 5);
    client.send(&much);
    client.finish_sending();
    gate.open();
    until("the client's bytes arrive", || backend.received().concat().len() >= much.len());
    assert!(backend.received().concat().ends_with(&much));
}

#[test]
fn a_reset_on_one_side_ends_the_other() {
    let backend = switching(|connection| {
        connection.wait_for_end();
    });
    let program = Program::over(&[&backend]);
    upgraded(&program).reset();
    until("the backend's side ends", || backend.open_connection_count() == 0);

    let backend = switching(Connection::reset);
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(UPGRADE);
    let _ = client.receive("GET"); // a reset may overtake the 101
    client.expect_end();
}

#[test]
fn a_tunnel_whose_client_was_reset_ends_though_its_backend_does_not_read() {
    for backend_ends in [false, true] {
        let gate = Gate::new();
        let opened = gate.clone();
        let backend = switching(move |connection| {
            if backend_ends {
                connection.wire().finish_sending();
            }
            opened.wait();
        });
        let program = Program::logging(json!({ "backend_servers": servers(&[&backend]) }));
        let mut client = upgraded(&program);
        if backend_ends {
            assert_eq!(client.wire.read_to_end(), End::Fin);
        }
        client.wire.stream.set_nonblocking(true).unwrap();
        let mut tries = 0;
        while tries < 20 {
            match client.wire.stream.write(&[0; 65536]) {
                Ok(1..) => tries = 0,
                Ok(0) | Err(_) => {
                    tries += 1;
                    crate::common::backend::pause();
                }
            }
        }
        client.reset();
        let line = &program.log_lines(1)[0];
        assert_eq!((&line["status"], &line["reason"]), (&json!(101), &json!("client_abort")));
        gate.open();
    }
}

#[test]
fn a_tunnel_whose_backend_has_ended_does_not_wait_long_for_a_silent_client() {
    let backend = switching(|connection| {
        connection.wire().finish_sending();
        connection.wait_for_end();
    });
    let config: Value =
        json!({ "backend_servers": servers(&[&backend]), "timeouts": { "fin": "500ms" } });
    let program = Program::with(config);
    let mut client = upgraded(&program);
    assert_eq!(client.wire.read_to_end(), End::Fin);
    until("the tunnel is closed", || backend.open_connection_count() == 0);
}

#[test]
fn much_flows_both_ways_at_once() {
    let backend = switching(echo);
    let program = Program::over(&[&backend]);
    let mut client = upgraded(&program);
    let data = noise(20_000_000, 7);
    let (mut sender, sent) = (client.wire.stream.try_clone().unwrap(), data.clone());
    let sending = thread::spawn(move || sender.write_all(&sent).unwrap());
    let got = client.read_exactly(data.len());
    sending.join().unwrap();
    assert_same_bytes(&got, &data, "what was echoed");
    client.send("and on");
    assert_eq!(client.read_exactly(6), b"and on");
}

#[test]
fn without_101_what_follows_is_read_as_http() {
    let backend = Backend::answering(|request| {
        if request.target == "/chat" {
            Answer::status("426 Upgrade Required", "no")
        } else {
            Answer::text("next")
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(UPGRADE.to_string() + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.response().text(), "next");
    assert_eq!(backend.last_request().target, "/next");
    client.send(UPGRADE.to_string() + "GET /bad HTTP/1.1\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.response().status, 400);
    client.expect_end();
}

#[test]
fn what_follows_an_upgrade_is_not_sent_as_a_request_before_its_answer() {
    let backend = Backend::talking(|connection| {
        connection.request();
        crate::common::backend::pause();
        connection.send(SWITCH);
        echo(connection);
    });
    let other = Backend::named("other");
    // The request behind would go to the other one; the start of the rotation is not to be counted on.
    let program = Program::with(json!({
        "backend_servers": [backend.server_with(json!({ "max_connections": 1 })), other.server_with(json!({ "backup": true }))],
    }));
    let mut client = program.client();
    client.send(UPGRADE.to_string() + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 101);
    assert_eq!(client.read_exactly(4), b"GET ");
    assert_eq!(other.request_count(), 0);
}

#[test]
fn an_upgrade_waits_for_the_answers_before_it() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            if request.target == "/chat" {
                connection.send(SWITCH);
                echo(connection);
                return;
            }
            connection.give(&Answer::text("first"), &request);
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_string() + UPGRADE + "hello");
    assert_eq!(client.response().text(), "first");
    assert_eq!(client.response().status, 101);
    assert_eq!(client.read_exactly(5), b"hello");
}

#[test]
fn an_upgrade_that_is_no_websocket_is_no_upgrade() {
    let backend = Backend::named("plain");
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
    ] {
        client.send(request);
        assert_eq!(client.response().text(), "plain", "{request}");
        assert!(!backend.last_request().head.has("Upgrade"), "{request}");
    }
}

/// Switches to the first protocol that is offered, says how it was asked, and returns all bytes.
fn switching_to_what_is_offered() -> Backend {
    Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            let offered = request.field("Upgrade").unwrap_or_default().to_owned();
            let Some(first) = offered.split(',').next().filter(|first| !first.is_empty()) else {
                connection.give(&Answer::text("no upgrade"), &request);
                continue;
            };
            connection.send(format!(
                "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: {first}\r\n\r\n\
                 {offered}|{}|",
                String::from_utf8_lossy(&request.body),
            ));
            return echo(connection);
        }
    })
}

#[test]
fn a_connection_may_switch_to_the_protocols_that_its_pool_names() {
    let backend = switching_to_what_is_offered();
    let config = json!({ "backend_servers": servers(&[&backend]), "upgrades": ["tcp", "spdy"] });
    let program = Program::with(config);
    // As `docker exec` asks with a body, and `kubectl exec` without.
    for (more, body, offers, wanted) in [
        ("Content-Length: 12\r\n", "{\"Tty\":true}", "tcp", "tcp"),
        ("Content-Length: 0\r\n", "", "SPDY/3.1", "SPDY/3.1"),
        ("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n", "h2c, TCP", "TCP"),
    ] {
        let mut client = program.client();
        let head = "POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n";
        client.send(format!("{head}Upgrade: {offers}\r\n{more}\r\n{body}early"));
        let response = client.response();
        assert_eq!((response.status, response.field("Upgrade")), (101, Some(wanted)), "{offers}");
        let body = if body.contains("hi") { "hi" } else { body };
        let wanted = format!("{wanted}|{body}|early");
        assert_eq!(client.read_exactly(wanted.len()), wanted.as_bytes());
        client.send("and on");
        assert_eq!(client.read_exactly(6), b"and on");
    }
    let mut client = program.client();
    client.send(UPGRADE);
    assert_eq!(client.response().text(), "no upgrade", "websocket is not in the list");
}

#[test]
fn a_backend_may_switch_to_nothing_that_it_was_not_offered() {
    for upgrade in ["h2c", "tcp", "websocket, tcp", "websocket/2"] {
        let switch =
            format!("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        let backend = Backend::always(Answer::raw(switch).then_hang());
        let config = json!({ "backend_servers": servers(&[&backend]), "upgrades": ["websocket"] });
        let program = Program::with(config);
        let mut client = program.client();
        client.send(UPGRADE.replace("Upgrade: websocket", "Upgrade: websocket, tcp, h2c"));
        assert_eq!(client.response().status, 502, "{upgrade}");
    }
}

#[test]
fn a_connection_is_not_switched_before_its_request_is_whole() {
    let backend = Backend::talking(|connection| {
        connection.head();
        connection.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        connection.wait_for_end();
    });
    let config = json!({ "backend_servers": servers(&[&backend]), "upgrades": ["tcp"] });
    let program = Program::with(config);
    let mut client = program.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\nhalf",
    );
    until("the backend has that", || backend.received().concat().ends_with(b"half"));
    assert!(client.wire.has_ended().is_none() && client.wire.buffer.is_empty());
    client.send("-allx");
    assert_eq!(client.response().status, 101);
    client.send("more");
    until("what follows arrives", || backend.received().concat().ends_with(b"half-allxmore"));
}

#[test]
fn a_silent_tunnel_is_closed_in_the_end() {
    let backend = switching(|connection| {
        connection.wait_for_end();
    });
    let config: Value =
        json!({ "backend_servers": servers(&[&backend]), "timeouts": { "tunnel": "500ms" } });
    let program = Program::with(config);
    let mut client = upgraded(&program);
    client.expect_end();
    until("the backend's side ends", || backend.open_connection_count() == 0);
}

#[test]
fn a_tunnel_outlives_the_timeouts_of_requests() {
    let backend = switching(echo);
    let timeouts = json!({ "client": "200ms", "response": "200ms", "idle": "200ms", "header": "200ms", "backend_idle": "200ms" });
    let program =
        Program::with(json!({ "backend_servers": servers(&[&backend]), "timeouts": timeouts }));
    let mut client = upgraded(&program);
    for _ in 0..3 {
        thread::sleep(std::time::Duration::from_millis(700));
        client.send("still here");
        assert_eq!(client.read_exactly(10), b"still here");
    }
}
