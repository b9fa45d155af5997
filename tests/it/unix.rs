//! Backends at Unix sockets.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Request, UnixPlace, assert_own_answer,
    assert_same_bytes, eventually, json, noise,
    peers::Folder,
    program::{binary, plain},
    servers, until,
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

fn place(folder: &Folder, name: &str) -> UnixPlace {
    UnixPlace::at(folder.path().join(name))
}

/// What is written in a path of the admin API for it.
fn escaped(place: &UnixPlace) -> String {
    place.name().replace('/', "%2F")
}

fn echo(request: &Request) -> Answer {
    let said = |name| request.field(name).unwrap_or("-").to_owned();
    let (host, client) = (said("Host"), said("X-Forwarded-For"));
    Answer::text(format!("{} {} {host} {client}", request.method, request.body.len()))
}

#[test]
fn a_backend_at_a_unix_socket_is_one_as_any_other_under_its_own_name() {
    let folder = Folder::new("plain");
    let at = place(&folder, "app.sock");
    let backend = Backend::answering_at(at.clone(), echo);
    let config = json!({ "backend_servers": [backend.server_with(json!({ "weight": 3 }))] });
    let mut config = config;
    config["access_log"] = json!(folder.path().join("log"));
    let program = Program::operated(config);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "GET 0 test 127.0.0.1");
    let body = noise(300_000, 1);
    client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.response().text(), "POST 300000 a 127.0.0.1");
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "GET 0 localhost 127.0.0.1");
    assert_eq!(backend.connection_count(), 1, "it is kept");

    let name = at.name();
    let shown = program.backend("default", &name).expect("it is listed");
    assert_eq!((&shown["state"], &shown["weight"]), (&json!("up"), &json!(3)));
    let mut page = Client::connect(program.status_address());
    assert!(page.get("/").text().contains(&format!("<td>{name}")));
    let metrics = page.get("/metrics").text();
    let sample = format!("httplb_backend_requests_total{{pool=\"default\",backend=\"{name}\"}} 3");
    assert!(metrics.contains(&sample), "{metrics}");
    let explained = program.look("/v1/explain?method=GET&url=http://a/");
    assert_eq!(explained["pool"]["backends"][0]["backend"], name.as_str());
    let log = eventually("three lines in the log", || {
        let text = fs::read_to_string(folder.path().join("log")).ok()?;
        (text.lines().count() == 3).then_some(text)
    });
    assert_eq!(log.matches(&format!("\"backend\":\"{name}\"")).count(), 3, "{log}");
}

#[test]
fn a_backend_may_have_an_abstract_name_and_stand_on_the_command_line() {
    let at = UnixPlace::at(format!("@httplb-test-{}", std::process::id()));
    let backend = Backend::answering_at(at.clone(), |_| Answer::text("abstract"));
    let program = Program::by(json!({}), |_| {
        let mut command = plain(binary());
        command.args(["-b", &at.name()]);
        command
    });
    assert_eq!(program.get("/").text(), "abstract");
    assert_eq!(backend.request_count(), 1);
    let dumped = plain(binary()).args(["-T", "-b", &at.name()]).output().unwrap();
    let dumped = String::from_utf8(dumped.stdout).unwrap();
    assert!(dumped.contains(&format!("\"unix\": \"{}\"", at.path.display())), "{dumped}");
}

/// An application server of two processes that serve a connection each, one request over it, and in
/// whose queue `backlog` more may wait.
fn small_server(at: &UnixPlace) {
    let listener = Arc::new(at.listen());
    for _ in 0..2 {
        let listener = listener.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                serve_once(&mut stream);
            }
        });
    }
}

fn serve_once(stream: &mut UnixStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    thread::sleep(Duration::from_millis(20));
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsmall";
    let _ = stream.write_all(answer.as_bytes()); // whoever asked may be gone
}

#[test]
fn no_request_fails_when_far_more_come_than_the_queue_of_the_backend_takes() {
    let folder = Folder::new("queue");
    let at = place(&folder, "app.sock").with_backlog(8);
    small_server(&at);
    let program = Program::operated(json!({
        "workers": 2,
        "backend_servers": [{ "unix": at.path }],
        "timeouts": { "connect": "60s" },
    }));
    let address = program.address;
    let clients = (0..40).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            for _ in 0..3 {
                let response = client.get("/");
                assert_eq!((response.status, response.text().as_str()), (200, "small"));
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().expect("three answers"));
    let shown = program.backend("default", at.name()).unwrap();
    assert_eq!((&shown["requests_total"], &shown["errors_total"]), (&json!(120), &json!(0)));
    assert_eq!((&shown["state"], program.count_messages(" is down")), (&json!("up"), 0));
}

#[test]
fn a_queue_that_stays_full_is_a_timeout_and_closes_no_other_connection() {
    let folder = Folder::new("full");
    let (full, other) = (place(&folder, "full.sock").with_backlog(0), Backend::named("other"));
    let listener = full.listen();
    let _waits = full.connect().unwrap();
    assert!(full.connect().is_err());
    let program = Program::with(json!({
        "backend_servers": [{ "unix": full.path }, other.server()],
        "timeouts": { "connect": "300ms", "backend_idle": "60s" },
        "retries": 1,
    }));
    let mut client = program.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "other");
    }
    assert_eq!(other.connection_count(), 1);
    drop(listener);

    let alone = place(&folder, "alone.sock").with_backlog(0);
    let _listener = alone.listen();
    let _waits = alone.connect().unwrap();
    let program = Program::with(json!({
        "backend_servers": [{ "unix": alone.path }],
        "timeouts": { "connect": "300ms" },
        "retries": 0,
    }));
    let begun = Instant::now();
    let response = program.client().get("/");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_own_answer(&response, "504 Gateway Timeout", "connection_timeout");
}

#[test]
fn a_socket_that_is_gone_refuses_and_one_made_anew_is_found_by_its_path() {
    let folder = Folder::new("restart");
    let at = place(&folder, "app.sock");
    let mut backend = Backend::answering_at(at.clone(), |_| Answer::text("app"));
    let program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "app");
    backend.stop();
    assert!(at.path.exists(), "its file is left, and nobody listens");
    assert_own_answer(&client.get("/"), "502 Bad Gateway", "connection_refused");
    fs::remove_file(&at.path).unwrap();
    assert_own_answer(&client.get("/"), "502 Bad Gateway", "connection_refused");
    backend.start_again();
    assert_eq!(client.get("/").text(), "app");
}

#[test]
fn nobody_notices_that_one_of_two_backends_is_restarted() {
    let folder = Folder::new("restarts");
    let mut backends = ["a", "b"]
        .map(|name| Backend::answering_at(place(&folder, name), move |_| Answer::text(name)));
    // None is taken out for what fails meanwhile: that lasts 10 s, and longer each time.
    let listed = servers(&backends.each_ref());
    let program = Program::with(json!({ "backend_servers": listed, "max_fails": 100 }));
    let mut client = program.client();
    for round in 0..6 {
        backends[round % 2].stop();
        if round % 3 == 0 {
            fs::remove_file(folder.path().join(["a", "b"][round % 2])).unwrap();
        }
        for _ in 0..4 {
            assert_eq!(client.get("/").status, 200);
        }
        backends[round % 2].start_again();
        let is_back = || client.get("/").text() == ["a", "b"][round % 2];
        until("it is asked again", is_back);
    }
}

#[test]
fn that_a_socket_may_not_be_written_to_is_told_with_user_and_mode() {
    let folder = Folder::new("rights");
    let at = place(&folder, "app.sock");
    let _backend = Backend::answering_at(at.clone(), |_| Answer::text("app"));
    // Started by root, its workers are another user.
    let mode = if rustix::process::geteuid().is_root() { 0o600 } else { 0o400 };
    fs::set_permissions(&at.path, fs::Permissions::from_mode(mode)).unwrap();
    let program = Program::with(json!({ "backend_servers": [{ "unix": at.path }] }));
    for _ in 0..3 {
        assert_own_answer(&program.get("/"), "502 Bad Gateway", "connection_refused");
    }
    let told = format!("backend {}: ", at.name());
    program.wait_for_message(&told);
    let stderr = program.stderr();
    let line = stderr.lines().find(|line| line.contains(&told)).unwrap();
    let (user, why) = line.split_once(&told).unwrap().1.split_once(" may not connect: ").unwrap();
    assert!(!user.is_empty() && !user.contains(' '), "{line}");
    assert!(why.starts_with(&format!("its mode is {mode:04o}, its owner user ")), "{line}");
    assert_eq!(program.count_messages("may not connect"), 1, "{stderr}");
    fs::set_permissions(&at.path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(program.get("/").text(), "app");
}

#[test]
fn operators_and_backends_name_it_with_its_slashes_escaped() {
    let folder = Folder::new("api");
    let at = place(&folder, "my app.sock");
    let backend = Backend::answering_at(at.clone(), |_| Answer::text("app"));
    let program = Program::operated(json!({ "backend_servers": [] }));
    let line = |method| {
        let path = escaped(&at).replace(' ', "%20");
        format!("{method} /v1/pools/default/backends/{path}")
    };
    let registered = program.ask(&format!("{}?weight=2", line("PUT")), "");
    assert_eq!(
        (registered.status, registered.json()["backend"].as_str()),
        (201, Some(&*at.name()))
    );
    assert_eq!(program.get("/").text(), "app");
    let drained = program.ask(&line("PATCH"), "{\"state\": \"drain\"}");
    assert_eq!((drained.status, drained.json()["state"].as_str()), (200, Some("drain")));
    assert_eq!(program.get("/").status, 503);
    // It is known over a reload, as an operator has set it.
    program.reload();
    assert_eq!(program.state("default", at.name()), "drain");
    assert_eq!(program.ask(&line("PUT"), "").status, 200);
    assert_eq!(program.ask(&line("PATCH"), "{\"state\": \"ready\"}").status, 200);
    assert_eq!(program.get("/").text(), "app");
    assert_eq!(program.ask(&line("DELETE"), "").status, 202);
    program.wait_for_state("default", at.name(), "gone");
    assert_eq!(program.ask(&line("DELETE"), "").status, 404);
    assert_eq!(backend.request_count(), 2);
    let unescaped = format!("PUT /v1/pools/default/backends/{}", at.name().replace(' ', "%20"));
    let told = program.ask(&unescaped, "");
    assert_eq!(told.status, 400);
    assert!(told.body.contains("must be percent-encoded (write"), "{}", told.body);
}

#[test]
fn checks_go_by_the_socket_too() {
    let folder = Folder::new("checks");
    let at = place(&folder, "app.sock");
    let mut backend = Backend::answering_at(at.clone(), |_| Answer::text("app"));
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]),
        "health_check": { "path": "/up", "interval": "100ms", "fall": 2, "rise": 1 },
    }));
    let check = backend.wait_for_requests(1).remove(0);
    assert_eq!((check.target.as_str(), check.field("Host")), ("/up", Some("localhost")));
    backend.stop();
    program.wait_for_state("default", at.name(), "down");
    assert_own_answer(&program.get("/"), "503 Service Unavailable", "destination_unavailable");
    backend.start_again();
    program.wait_for_state("default", at.name(), "up");
    assert_eq!(program.get("/").text(), "app");
}

/// Bytes of a large body: so many MiB. `HTTPLB_LARGE_MIB` makes it more.
fn large() -> usize {
    let wanted = std::env::var("HTTPLB_LARGE_MIB").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(96_usize) << 20
}

#[test]
fn large_bodies_pass_both_ways_by_splice_in_flat_memory() {
    let folder = Folder::new("large");
    let piece = noise(1 << 20, 7);
    let backend = {
        let piece = piece.clone();
        Backend::talking_at(place(&folder, "app.sock"), move |connection| {
            let Some(request) = connection.head() else { return };
            let length = request.field("Content-Length").and_then(|text| text.parse().ok());
            for _ in 0..length.unwrap_or(0) / piece.len() {
                if connection.wire().read_until_len(piece.len()).is_err() {
                    return;
                }
                let came = connection.wire().take(piece.len());
                assert_same_bytes(&came, &piece, "what came up");
            }
            let size = if length.is_some() { 0 } else { large() };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
            (0..size / piece.len()).all(|_| connection.send(&piece));
        })
    };
    let program = Program::operated(json!({ "backend_servers": servers(&[&backend]) }));
    let memory = program.memory();
    let most = |memory_now: u64| assert!(memory_now < memory + (8 << 20), "{memory_now} {memory}");
    let mut client = program.client();
    client.ask("/down");
    until("the head is here", || client.wire.line().unwrap() == b"\r\n");
    for round in 0..large() / piece.len() {
        assert_same_bytes(&client.read_exactly(piece.len()), &piece, "what came down");
        if round % 16 == 0 {
            most(program.memory());
        }
    }
    client.send(format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large()));
    for round in 0..large() / piece.len() {
        client.send(&piece);
        if round % 16 == 0 {
            most(program.memory());
        }
    }
    assert_eq!(client.response().status, 200);
    let metrics = Client::connect(program.status_address()).get("/metrics").text();
    let spliced = metrics.lines().find_map(|line| line.strip_prefix("httplb_spliced_bytes_total "));
    let spliced: usize = spliced.unwrap().parse().unwrap();
    assert!(spliced > large(), "{spliced} of {} went by splice", 2 * large());
}

#[test]
fn a_response_that_is_cut_short_is_cut_for_the_client_too() {
    let folder = Folder::new("cut");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    for close in [Answer::then_close, Answer::then_reset] {
        let answer = close(Answer::raw(format!("{head}short")));
        let backend = Backend::answering_at(place(&folder, "app.sock"), move |_| answer.clone());
        let program = Program::with(json!({ "backend_servers": servers(&[&backend]) }));
        let mut client = program.client();
        client.ask("/");
        let cut = client.receive("GET").expect_err("half a response");
        assert_eq!(cut.response.expect("its head").body, b"short");
    }
}

#[test]
fn a_thousand_requests_are_at_one_backend_at_once() {
    let (folder, gate) = (Folder::new("thousand"), Gate::new());
    let backend = {
        let gate = gate.clone();
        Backend::answering_at(place(&folder, "app.sock").with_backlog(16), move |request| {
            gate.wait();
            Answer::text(&request.target)
        })
    };
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]),
        "timeouts": { "connect": "60s" },
    }));
    let mut clients: Vec<Client> = (0..1000).map(|_| program.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask(&format!("/{number}"));
    }
    backend.wait_for_requests(1000);
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    assert_eq!(backend.connection_count(), 1000);
}

#[test]
fn what_cannot_be_listened_at_is_warned_of_beforehand() {
    let folder = Folder::new("beforehand");
    let config = folder.path().join("servers.conf");
    let missing = folder.path().join("missing");
    let socket = format!("unix:{}/http.sock", missing.display());
    let listen = json!([":9000", { "addr": socket, "group": "httplb-no-such-group" }]);
    let registry = json!({ "etcd": ["127.0.0.1:2379"], "user": "u", "password_file": missing });
    let text = json!({ "listen": listen, "status_listen": "127.0.0.1:9000", "registry": registry,
        "backend_servers": [{ "ip": "127.0.0.1", "port": 1 }] });
    fs::write(&config, text.to_string()).unwrap();
    let tested = plain(binary()).arg("-t").arg(&config).output().unwrap();
    let told = String::from_utf8(tested.stderr).unwrap();
    assert_eq!(tested.status.code(), Some(0), "{told}");
    let place = missing.display();
    for warning in [
        String::from("line 1: status_listen: 127.0.0.1:9000 is taken by \"[::]:9000\""),
        format!("line 1: listen[1]: there is no folder {place}"),
        String::from("line 1: listen[1]: there is no group \"httplb-no-such-group\""),
        format!("line 1: registry.password_file: there is no file {place}"),
    ] {
        assert!(told.contains(&format!("httplb: warning: {warning}")), "{warning}: {told}");
    }
}

#[test]
fn a_socket_that_is_not_there_is_warned_of_and_no_more() {
    let folder = Folder::new("missing");
    let config = folder.path().join("servers.conf");
    let missing = folder.path().join("missing.sock");
    let text = json!({ "pools": { "api": { "backend_servers": [{ "unix": missing }] } },
        "backend_servers": [{ "unix": "@no-file-at-all" }], "listen": ["127.0.0.1:0"] });
    fs::write(&config, text.to_string()).unwrap();
    let test = || {
        let tested = plain(binary()).arg("-t").arg(&config).output().unwrap();
        (tested.status.code(), String::from_utf8(tested.stderr).unwrap())
    };
    let warning = format!("pools.api.backend_servers[0]: there is no socket {}", missing.display());
    let (status, told) = test();
    let in_line = format!("warning: line 1: {warning}");
    assert!(status == Some(0) && told.contains(&in_line), "{told}");
    assert!(!told.contains("no-file-at-all"), "{told}");
    fs::write(&missing, "").unwrap();
    let told = test().1;
    assert!(
        told.contains(&format!("backend_servers[0]: {} is no socket", missing.display())),
        "{told}"
    );
    fs::remove_file(&missing).unwrap();
    let program = Program::with(text);
    program.wait_for_message(&warning);
    program.reload();
    assert_eq!(program.count_messages(&warning), 2);
    let told = program.stderr();
    let mut warnings = told.lines().filter(|line| line.contains(&warning));
    assert!(warnings.all(|line| line.starts_with("httplb: warning: line ")), "{told}");
    let _backend = Backend::answering_at(UnixPlace::at(missing), |_| Answer::text("app"));
    let (status, told) = test();
    assert!(status == Some(0) && !told.contains("there is no socket"), "{told}");
}
