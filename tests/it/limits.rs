//! What a client may take: time, connections, the size of heads and bodies, descriptors, memory.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Value, assert_own_answer, backend::pause, json, noise,
    servers, shown, stored::metric, until,
};
use std::{
    io::{ErrorKind, Write},
    thread,
    time::Duration,
};

fn over(backend: &Backend, mut more: Value) -> Program {
    more["backend_servers"] = servers(&[backend]);
    Program::with(more)
}

fn timeouts(timeouts: Value) -> Value {
    json!({ "timeouts": timeouts })
}

/// Checks an answer of the program's own after which the connection closes.
fn assert_refused(client: &mut Client, status: &str, error: &str) {
    let response = client.response();
    assert_own_answer(&response, status, error);
    assert!(response.closes());
    client.expect_end();
}

#[test]
fn a_head_that_stays_unfinished_gets_408() {
    let backend = Backend::named("a");
    let mut program = over(&backend, timeouts(json!({ "header": "500ms" })));
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = program.client();
        client.send(part);
        assert_refused(&mut client, "408 Request Timeout", "http_request_error");
    }
    program.kill();
    assert_eq!(backend.received_in_all().concat(), b"");
}

#[test]
fn a_head_that_drips_in_gains_no_time() {
    let backend = Backend::named("a");
    let program = over(&backend, timeouts(json!({ "header": "1s" })));
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    until("the connection is ended all the same", || {
        client.send("x");
        pause();
        client.wire.has_ended().is_some()
    });
    let text = shown(&client.wire.buffer);
    assert!(text.is_empty() || text.starts_with("\"HTTP/1.1 408 ") || text == "\"\"", "{text}");
}

/// It would take all client connections for one request.
#[test]
fn a_service_that_is_its_own_backend_refuses_what_comes_round_again() {
    let address = Backend::absent().address;
    let program = Program::logging(json!({
        "listen": [address.to_string()],
        "backend_servers": [{ "ip": "127.0.0.1", "port": address.port() }],
        "workers": 2,
    }));
    program.wait_for_message("is a listen address of this service");
    for _ in 0..3 {
        let mut client = program.client();
        let response = client.get("/round?x");
        assert_own_answer(&response, "502 Bad Gateway", "proxy_loop_detected");
    }
    // Each comes by three times.
    let lines = program.log_lines(9);
    let last = lines.iter().find(|line| line["reason"] == "proxy_loop_detected").expect("a line");
    assert_eq!((&last["method"], &last["target"]), (&json!("GET"), &json!("/round?x")), "{last}");
    assert!(last["host"].is_string() && last["version"] == "1.1", "{last}");
}

#[test]
fn a_client_that_says_nothing_is_left_without_a_word() {
    let backend = Backend::named("a");
    let program = over(&backend, timeouts(json!({ "header": "500ms", "idle": "500ms" })));
    program.client().expect_end();
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "a");
    client.expect_end();
}

#[test]
fn a_request_body_that_stops_coming_gets_408() {
    for framing in
        ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let backend = Backend::named("a");
        let program = over(&backend, timeouts(json!({ "client": "500ms" })));
        let mut client = program.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
        assert_refused(&mut client, "408 Request Timeout", "http_request_error");
        until("the backend's connection ends", || backend.open_connection_count() == 0);
        assert_eq!(backend.request_count(), 0);
        assert_eq!(program.get("/").text(), "a");
    }
}

#[test]
fn a_body_that_does_not_come_after_its_100_gets_408() {
    let backend = Backend::talking(|connection| {
        if let Some(mut request) = connection.head() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.read_body(&mut request);
        }
    });
    let program = over(&backend, timeouts(json!({ "client": "500ms", "response": "60s" })));
    let mut client = program.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    assert_refused(&mut client, "408 Request Timeout", "http_request_error");
}

#[test]
fn a_client_that_stops_reading_is_ended_and_frees_its_backend() {
    let backend = Backend::always(Answer::text(noise(30_000_000, 1)));
    let program = over(&backend, timeouts(json!({ "client": "500ms" })));
    let mut client = program.client_at(&backend, "/");
    until("the backend's connection ends", || backend.open_connection_count() == 0);
    assert!(client.receive("GET").is_err(), "a part of it looks whole");
}

#[test]
fn a_client_that_asks_on_and_on_and_reads_nothing_is_ended() {
    let backend = Backend::always(Answer::text("").with("X-Long", &"a".repeat(2000)));
    let program = over(&backend, timeouts(json!({ "client": "500ms" })));
    let mut stream = &program.client().wire.stream;
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error.kind();
        }
    };
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn an_answer_that_stops_coming_is_cut_short() {
    let backend = Backend::always(
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").then_hang(),
    );
    let program = over(&backend, timeouts(json!({ "response": "500ms" })));
    let mut client = program.client();
    client.ask("/");
    let cut = client.receive("GET").expect_err("it looks whole");
    assert_eq!(cut.response.expect("its head").text(), "hello");
    until("the backend's connection ends", || backend.open_connection_count() == 0);
}

#[test]
fn a_slow_answer_over_a_kept_backend_connection_reaches_a_new_client() {
    let backend = Backend::answering(|request| {
        if request.target == "/slow" {
            thread::sleep(Duration::from_millis(700));
        }
        Answer::text("a")
    });
    let program = over(&backend, json!({}));
    for close in ["", "Connection: close\r\n"] {
        assert_eq!(program.get("/").text(), "a");
        let mut client = program.client();
        client.send(format!("GET /slow HTTP/1.1\r\nHost: a\r\n{close}\r\n"));
        assert_eq!(client.response().text(), "a");
    }
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn an_unused_backend_connection_is_closed_in_the_end() {
    let backend = Backend::named("a");
    let program = over(&backend, timeouts(json!({ "backend_idle": "500ms" })));
    assert_eq!(program.get("/").text(), "a");
    until("it is closed", || backend.open_connection_count() == 0);
}

#[test]
fn with_backend_idle_of_nothing_each_connection_carries_one_request() {
    let backend = Backend::named("a");
    let program = over(&backend, timeouts(json!({ "backend_idle": "0s" })));
    let mut client = program.client();
    for count in 1..=30 {
        assert_eq!(client.get("/").text(), "a");
        until("it is closed", || backend.open_connection_count() == 0);
        assert_eq!(backend.connection_count(), count);
    }
}

#[test]
fn the_keep_alive_timeout_of_a_backend_shortens_the_wait() {
    let backend = Backend::always(Answer::text("a").with("Keep-Alive", "timeout=2, max=100"));
    let program = over(&backend, timeouts(json!({ "backend_idle": "10m" })));
    assert_eq!(program.get("/").text(), "a");
    until("it is closed", || backend.open_connection_count() == 0);
}

#[test]
fn where_no_client_is_idle_more_wait_until_one_is() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]), "max_connections": 2, "workers": 1,
    }));
    let mut served = [program.client(), program.client()];
    served.iter_mut().for_each(|client| client.ask("/hold"));
    backend.wait_for_requests(2);
    let mut waiting: Vec<Client> = (0..3).map(|_| program.client()).collect();
    waiting.iter_mut().for_each(|client| client.ask("/waiting"));
    program.wait_for_message("all are taken and none is idle; more clients wait in the backlog");
    assert_eq!(backend.request_count(), 2, "who waits is not served");
    until("it is counted", || metric(&program, "httplb_connections_full_seconds_total") > 0);
    gate.open();
    served.iter_mut().for_each(|client| assert_eq!(client.response().text(), "a"));
    for mut client in waiting {
        assert_eq!(client.response().text(), "a");
    }
    // The last one may have found the place of one that has left.
    assert!((2..=3).contains(&metric(&program, "httplb_clients_recycled_total")));
}

#[test]
fn the_client_that_has_been_idle_for_longest_makes_room_for_the_next() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]), "max_connections": 3, "workers": 1,
    }));
    let mut idle: Vec<Client> = (0..3).map(|_| program.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "a"));
    assert_eq!(idle[0].get("/").text(), "a");
    let mut next = program.client();
    assert_eq!(next.get("/").text(), "a");
    idle[1].expect_end();
    assert_eq!(idle[0].get("/").text(), "a");
    assert_eq!(idle[2].get("/").text(), "a");
    program.wait_for_message("clients that were idle were closed for new ones: 1 (raise it");
    for _ in 0..5 {
        let mut another = program.client();
        assert_eq!(another.get("/").text(), "a");
        idle.push(another);
    }
    assert_eq!(metric(&program, "httplb_clients_recycled_total"), 6);
    assert_eq!(program.count_messages("all are taken"), 1, "once a minute");
}

#[test]
fn idle_clients_of_any_worker_make_room() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]), "max_connections": 4, "workers": 4,
    }));
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = program.client();
        assert_eq!(client.get("/").text(), "a");
        clients.push(client);
    }
    let recycled = metric(&program, "httplb_clients_recycled_total");
    assert!((36..=40).contains(&recycled), "{recycled}");
}

fn with_fields(count: usize) -> String {
    let fields: String = (1..count).map(|number| format!("X-{number}: {number}\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_hundred_fields_pass_and_one_more_gets_431() {
    let backend = Backend::named("a");
    let program = over(&backend, json!({}));
    let mut client = program.client();
    client.send(with_fields(100));
    assert_eq!(client.response().text(), "a");
    assert_eq!(backend.last_request().field("X-99"), Some("99"));
    client.send(with_fields(101));
    assert_refused(&mut client, "431 Request Header Fields Too Large", "http_request_error");
    assert_eq!(backend.request_count(), 1);
}

/// A head of exactly `len` bytes.
fn head_of(len: usize) -> String {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Long: \r\n\r\n";
    head.replace("Long: ", &format!("Long: {}", "x".repeat(len - head.len())))
}

#[test]
fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
    for (buffer, limit) in
        [("4KiB", 3 << 10), ("32KiB", 31 << 10), ("64KiB", 63 << 10), ("256KiB", 64 << 10)]
    {
        let backend = Backend::named("a");
        let program = over(&backend, json!({ "buffer_size": buffer }));
        let mut client = program.client();
        client.send(head_of(limit));
        assert_eq!(client.response().text(), "a", "{buffer}");
        client.send(head_of(limit + 1));
        assert_refused(&mut client, "431 Request Header Fields Too Large", "http_request_error");
        assert_eq!(backend.request_count(), 1);
    }
}

#[test]
fn a_head_that_never_ends_gets_431_and_a_line_that_never_ends_414() {
    let backend = Backend::named("a");
    let mut program = over(&backend, json!({}));
    let before = program.memory();
    for (start, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "431 Request Header Fields Too Large"),
        ("GET /", "414 URI Too Long"),
    ] {
        let mut client = program.client();
        client.send(start);
        client.send("x".repeat(100_000));
        assert_refused(&mut client, status, "http_request_error");
    }
    let mut client = program.client();
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64 << 10)));
    assert_refused(&mut client, "414 URI Too Long", "http_request_error");
    assert!(program.memory() < before + (2 << 20));
    program.kill();
    assert_eq!(backend.received_in_all().concat(), b"");
}

#[test]
fn a_body_above_the_maximum_gets_413() {
    let backend = Backend::answering(|request| Answer::text(request.body.len().to_string()));
    let mut program = over(&backend, json!({ "max_body": "100KiB" }));
    let too_large = "413 Content Too Large";
    let most = noise(100 << 10, 1);
    let mut client = program.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", most.len()));
    client.send(&most);
    assert_eq!(client.response().text(), most.len().to_string());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        most.len()
    ));
    client.send([&most[..], b"\r\n0\r\n\r\n"].concat());
    assert_eq!(client.response().text(), most.len().to_string());
    let received = backend.received().concat().len();

    client.send(format!(
        "POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        most.len() + 1
    ));
    assert_refused(&mut client, too_large, "http_request_denied");
    assert_eq!(backend.received().concat().len(), received, "nothing of it was sent");

    for chunk in [1000, 50_000] {
        let mut client = program.client();
        client.send("POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in noise(150 << 10, 2).chunks(chunk) {
            client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        assert_refused(&mut client, too_large, "http_request_denied");
    }
    program.kill();
    backend.received_in_all();
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn without_descriptors_it_waits_without_spinning_and_goes_on() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let program = over(&backend, json!({}));
    assert_eq!(program.get("/").text(), "a");
    program.limit_descriptors(program.descriptor_count() as u64 + 8);
    assert_eq!(program.get("/").text(), "a");
    let mut clients: Vec<Client> = (0..40).map(|_| program.client()).collect();
    for client in &mut clients {
        client.ask("/hold");
    }
    until("some requests came", || backend.request_count() > 0);
    thread::sleep(Duration::from_millis(500));
    let before = program.cpu_time();
    thread::sleep(Duration::from_secs(2));
    let used = program.cpu_time() - before;
    assert!(used < Duration::from_millis(400), "{used:?} of CPU while there was nothing to do");
    gate.open();
    let mut good = 0;
    for mut client in clients {
        client.finish_sending();
        if client.receive("GET").is_ok_and(|response| response.status == 200) {
            good += 1;
        }
    }
    assert!(good > 0, "nobody was served");
    until("it serves as before", || {
        let mut client = program.client();
        client.ask("/");
        client.receive("GET").is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn idle_clients_give_their_descriptors_to_those_that_ask() {
    let backend = Backend::always(Answer::text("a").with("Connection", "close").then_close());
    let program = over(&backend, json!({}));
    assert_eq!(program.get("/").text(), "a");
    // The master lives within it too, which has more descriptors than a worker.
    program.limit_descriptors(program.descriptor_count() as u64 + 10);
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = program.client();
        assert_eq!(client.get("/").status, 200);
        clients.push(client);
    }
}

#[test]
fn unused_connections_give_their_memory_back() {
    let backend = Backend::answering(|_| Answer::text(noise(60_000, 3)));
    let program = over(&backend, json!({}));
    let mut clients: Vec<Client> = (0..300).map(|_| program.client()).collect();
    let before = program.memory();
    for client in &mut clients {
        client.send(head_of(20_000));
    }
    for client in &mut clients {
        assert_eq!(client.response().body.len(), 60_000);
    }
    until("memory is back", || program.memory() < before + 300 * 8192);
    for client in &mut clients {
        assert_eq!(client.get("/").body.len(), 60_000);
    }
}

#[test]
fn it_is_idle_when_there_is_nothing_to_do() {
    let backend = Backend::named("a");
    let program = over(&backend, json!({}));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "a");
    let before = program.cpu_time();
    thread::sleep(Duration::from_secs(2));
    assert!(program.cpu_time() - before < Duration::from_millis(200));
}
