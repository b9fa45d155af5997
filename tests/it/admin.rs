//! The admin API against its contract: every row, every error, and clients that mean no good.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Reply, json, noise, operator::exchange, servers,
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    thread,
    time::{Duration, Instant},
};

fn program(backends: &[&Backend]) -> Program {
    Program::operated(json!({"workers": 2, "backend_servers": servers(backends)}))
}

#[test]
fn looking_shows_the_keys_of_the_contract() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    program.get("/");
    let status = program.look("/v1/status");
    assert_eq!(status["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(status["pid"], json!(program.pid().as_raw_nonzero().get()));
    assert_eq!((&status["workers"], &status["draining"]), (&json!(2), &json!(false)));
    assert_eq!(status["connections"]["max"], json!(8192));
    assert_eq!(status["requests_total"], json!(1));
    assert!(status["memory_bound_bytes"].as_u64().unwrap() > 0);
    assert!(status["uptime_s"].is_u64() && status["connections"]["current"].is_u64());

    let pools = program.look("/v1/pools");
    let pool = &pools["pools"][0];
    assert_eq!((&pool["name"], &pool["balance"]), (&json!("default"), &json!("round_robin")));
    assert_eq!(program.look("/v1/pools/default")["name"], json!("default"));
    let shown = pool["backends"][0].as_object().unwrap();
    for (key, value) in [
        ("backend", json!(backend.address.to_string())),
        ("state", json!("up")),
        ("admin", json!("ready")),
        ("source", json!("file")),
        ("weight", json!(1)),
        ("connections", json!(0)),
        ("max_connections", json!(0)),
        ("queue", json!(0)),
        ("requests_total", json!(1)),
        ("errors_total", json!(0)),
        ("last_check", json!(null)),
        ("idle_limit_ms", json!(4000)),
        ("lease_s", json!(null)),
    ] {
        assert_eq!(shown.get(key), Some(&value), "{key}");
    }
    assert!(shown["state_since_s"].is_u64() && shown["echoes_id"].is_boolean());
    assert_eq!(program.ask("GET /v1/pools/none", "").status, 404);
}

#[test]
fn every_refusal_says_what_is_wrong() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let place = format!("/v1/pools/default/backends/{}", backend.address);
    let cases = [
        (format!("PUT {place}"), "", 409, "configuration"),
        (format!("DELETE {place}"), "", 409, "configuration"),
        (String::from("DELETE /v1/pools/default/backends/10.0.0.7:80"), "", 404, "no backend"),
        (String::from("DELETE /v1/pools/x/backends/10.0.0.7:80"), "", 404, "no pool"),
        (String::from("PATCH /v1/pools/x/backends/10.0.0.7:80"), "{\"weight\": 1}", 404, "no pool"),
        (format!("PATCH {place}"), "{\"weight\": 300}", 400, "1 to 256"),
        (format!("PATCH {place}"), "{\"state\": \"gone\"}", 400, "not a state"),
        (format!("PATCH {place}"), "not json", 400, "no JSON object"),
        (String::from("PUT /v1/pools/x/backends/10.0.0.7:80?lease=5"), "", 400, "no unit"),
        (String::from("PUT /v1/pools/x/backends/here:80"), "", 400, "not looked up"),
        (String::from("GET /v1/nothing"), "", 404, "there is no"),
        (String::from("POST /v1/status"), "", 405, "cannot be done"),
        (String::from("GET /v1/reload"), "", 405, "cannot be done"),
        (String::from("POST /v1/cache/purge"), "{\"url\": \"/\"}", 404, "no cache"),
    ];
    for (line, body, status, part) in cases {
        let reply = program.ask(&line, body);
        assert_eq!(reply.status, status, "{line} {}", reply.body);
        assert_eq!(reply.field("Content-Type"), Some("application/json"));
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{line}: {error}");
    }
    let reply = program.ask(&format!("POST {place}"), "");
    assert_eq!(reply.field("Allow"), Some("PUT, DELETE, PATCH"));
}

#[test]
fn a_request_is_explained_with_the_backends_as_they_are() {
    let backend = Backend::named("a");
    let other = Backend::named("b");
    let program = program(&[&backend, &other]);
    let place = format!("/v1/pools/default/backends/{}", backend.address);
    assert_eq!(program.ask(&format!("PATCH {place}"), r#"{"state": "maint"}"#).status, 200);
    let explained = program.look("/v1/explain?url=http://a/x&h=X-A:%20b");
    assert_eq!(explained["pool"]["name"], json!("default"));
    let candidates: Vec<&crate::common::Value> =
        explained["pool"]["backends"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(candidates, [&json!("maint"), &json!("up")]);
    assert_eq!((backend.request_count(), other.request_count()), (0, 0), "nothing is sent");
}

#[test]
fn an_operator_drains_a_backend_and_takes_it_back() {
    let (first, second) = (Backend::named("first"), Backend::named("second"));
    let program = program(&[&first, &second]);
    let line = format!("PATCH /v1/pools/default/backends/{}", second.address);
    for state in ["drain", "maint"] {
        let reply = program.ask(&line, &json!({ "state": state }).to_string());
        assert_eq!((reply.status, &reply.json()["state"]), (200, &json!(state)));
        for _ in 0..4 {
            assert_eq!(program.get("/").text(), "first");
        }
    }
    let reply = program.ask(&line, "{\"state\": \"ready\", \"weight\": 3}");
    assert_eq!((&reply.json()["state"], &reply.json()["weight"]), (&json!("up"), &json!(3)));
    let second_ones = (0..8).filter(|_| program.get("/").text() == "second").count();
    assert_eq!(second_ones, 6);
}

#[test]
fn who_waits_for_a_capped_backend_is_seen_and_let_in_when_the_cap_is_lifted() {
    let gate = Gate::new();
    let backend = Backend::gated(&gate, |_| Answer::text("done"));
    let program = Program::operated(json!({"timeouts": {"queue": "15s"}}));
    let place = format!("/v1/pools/default/backends/{}", backend.address);
    assert_eq!(program.ask(&format!("PUT {place}?max_connections=1"), "").status, 201);
    let mut clients: Vec<Client> = (0..2).map(|_| program.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    crate::common::until("one waits", || {
        let shown = program.backend("default", backend.address).unwrap();
        (&shown["connections"], &shown["queue"]) == (&json!(1), &json!(1))
    });
    assert_eq!(program.ask(&format!("PUT {place}?max_connections=0"), "").status, 200);
    backend.wait_for_requests(2);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "done");
    }
}

#[test]
fn the_socket_is_for_its_owner_and_group_alone() {
    let program = program(&[]);
    let mode = fs::metadata(program.admin_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
}

#[test]
fn over_tcp_the_token_opens_the_door() {
    let folder = std::env::temp_dir().join(format!("httplb-token-{}", std::process::id()));
    fs::write(&folder, "s3cret\n").unwrap();
    let program = Program::operated(json!({
        "admin": {"listen": "127.0.0.1:0", "token_file": folder},
    }));
    let stderr = program.stderr();
    let address = stderr.split("admin API on ").nth(1).expect("where the API is");
    let address = address.split([',', '\n']).next().unwrap().parse().unwrap();
    let mut client = Client::connect(address);
    let response = client.get("/v1/status");
    assert_eq!(response.status, 401);
    assert_eq!(response.field("WWW-Authenticate"), Some("Bearer realm=\"httplb\""));
    for (token, status) in [("s3cret", 200), ("s3cre", 401), ("s3cretx", 401), ("", 401)] {
        client.send(format!(
            "GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.response().status, status, "{token}");
    }
    let _ = fs::remove_file(folder);
}

#[test]
fn a_reload_tells_its_outcome() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let reply = program.ask("POST /v1/reload", "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let file = program.folder.join("servers.conf");
    fs::write(&file, "{\"workers\": 0, \"retires\": 1}").unwrap();
    let reply = program.ask("POST /v1/reload", "");
    assert_eq!(reply.status, 422, "{}", reply.body);
    let json = reply.json();
    assert!(
        json["error"].as_str().unwrap().contains("has 2 errors; nothing was changed"),
        "{json}"
    );
    let errors = json["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{json}");
    assert!(
        errors[0].as_str().unwrap().starts_with("line 1: workers: 0 is out of range"),
        "{json}"
    );
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn bodies_of_any_kind_do_no_harm() {
    let program = program(&[]);
    for seed in 0..300 {
        let bytes = noise(1 + (seed as usize * 37) % 3000, seed);
        let body = String::from_utf8_lossy(&bytes);
        let reply = program.ask("PATCH /v1/pools/default/backends/10.0.0.7:80", &body);
        assert_eq!(reply.status, 400);
    }
    for (bytes, status) in [
        (b"GET / HTTP/1.1\n\n".to_vec(), "400"),
        (b"GET /v1/status HTTP/1.1\r\n\r\n".to_vec(), "400"),
        ([b"GET /".to_vec(), vec![b'a'; 70_000]].concat(), "414"),
        ([b"GET / HTTP/1.1\r\nHost: x\r\nA: ".to_vec(), vec![b'a'; 70_000]].concat(), "431"),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n".to_vec(), "413"),
    ] {
        let text = exchange(&program.admin_path(), &bytes);
        assert_eq!(text.get(9..12), Some(status), "{text}");
    }
    let chunked = b"POST /v1/cache/purge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\n{\"u\r\n4\r\nrl\":\r\n0\r\n\r\n";
    assert_eq!(Reply::parse(&exchange(&program.admin_path(), chunked)).status, 404);
}

#[test]
fn slow_and_silent_operators_hurt_nobody() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let connect = || UnixStream::connect(program.admin_path()).unwrap();
    let silent: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    let mut slow: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    let memory = program.memory();
    for _ in 0..20 {
        for stream in &mut slow {
            // Some were put out for others.
            let _ = stream.write_all(b"G");
        }
        let start = Instant::now();
        assert_eq!(program.get("/").text(), "a");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    thread::sleep(Duration::from_millis(20));
    drop(silent);
    crate::common::until("an operator is heard", || {
        let mut stream = connect();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut text = String::new();
        stream.write_all(request).is_ok()
            && stream.read_to_string(&mut text).is_ok()
            && text.ends_with("ok\n")
    });
    assert!(program.memory() < memory + (4 << 20));
}

#[test]
fn operators_who_come_at_once_and_stay_are_all_heard() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let mut agents: Vec<UnixStream> = (0..100)
        .map(|number| {
            let mut stream = UnixStream::connect(program.admin_path()).unwrap();
            let target = format!("/v1/pools/new/backends/127.1.0.{}:9?lease=60s", number + 1);
            let request = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    for stream in &mut agents {
        stream.set_read_timeout(Some(crate::common::DEADLINE)).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 201");
    }
}

/// The control process of a program.
fn control_process(program: &Program) -> Option<rustix::process::Pid> {
    let children = format!("/proc/{0}/task/{0}/children", program.pid().as_raw_nonzero());
    let children = fs::read_to_string(children).unwrap_or_default();
    let mut pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    let is_control = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.contains("control"))
    };
    pids.find(is_control).and_then(rustix::process::Pid::from_raw)
}

#[test]
fn a_control_process_that_dies_is_replaced_and_traffic_does_not_notice() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let guest = Backend::named("b");
    let place = format!("/v1/pools/default/backends/{}", guest.address);
    assert_eq!(program.ask(&format!("PUT {place}?lease=60s"), "").status, 201);
    let first = control_process(&program).expect("a control process");
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    assert_eq!(program.get("/").status, 200);
    crate::common::until("there is another one", || {
        control_process(&program).is_some_and(|pid| pid != first)
    });
    let shown = program.backend("default", guest.address).expect("who had registered");
    assert_eq!(shown["source"], json!("api"));
}

#[test]
fn doors_move_at_a_reload() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let file = program.folder.join("servers.conf");
    let mut config: crate::common::Value =
        serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let moved = program.folder.join("moved.sock");
    config["admin"]["socket"] = json!(moved);
    fs::write(&file, config.to_string()).unwrap();
    let status = program.status_address();
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    crate::common::until("the old door is gone", || !program.admin_path().exists());
    let request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(Reply::parse(&exchange(&moved, request)).status, 200);
    assert_eq!(Client::connect(status).get("/healthz").status, 200);
}

#[test]
fn the_file_of_the_socket_goes_with_the_service() {
    let mut program = program(&[]);
    let path = program.admin_path();
    assert!(path.exists());
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait_for_exit().success());
    assert!(!path.exists());
}

#[test]
fn an_operator_withdraws_the_service_until_it_is_restored_also_over_a_reload() {
    let backend = Backend::named("a");
    let program = program(&[&backend]);
    let withdraw = |word: &str| program.ask("PUT /v1/withdrawn", word);
    let health = || program.ask("GET /healthz", "").body;
    let is_last = || program.client().get("/").closes();
    let mut before = program.client();
    assert!(!before.get("/").closes());
    // The clients of workers that were replaced are to go too.
    program.reload();
    // Who connects right behind a reload may come to an old worker yet.
    let mut idle = crate::common::eventually("a new worker is there", || {
        let mut client = program.client();
        (!client.get("/").closes()).then_some(client)
    });
    let reply = withdraw("{\"withdrawn\": true}");
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"withdrawn\":true}\n"));
    assert_eq!(health(), "withdrawn\n");
    idle.expect_end();
    before.expect_end();
    assert!(is_last());
    assert_eq!(program.look("/v1/status")["withdrawn"], json!(true));
    let metrics = program.ask("GET /metrics", "").body;
    assert!(metrics.contains("\nhttplb_withdrawn 1\n"));
    let page = program.ask("GET /", "").body;
    assert!(page.contains("withdrawn: clients are to be sent elsewhere"), "{page}");

    program.reload();
    assert_eq!(health(), "withdrawn\n");
    assert!(is_last());
    assert_eq!(program.get("/").text(), "a");

    let reply = withdraw("{\"withdrawn\": false}");
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"withdrawn\":false}\n"));
    assert_eq!(health(), "ok\n");
    crate::common::until("connections are kept again", || !is_last());
    // Each is told, though less than a minute has passed: the last message says how it is.
    withdraw("{\"withdrawn\": true}");
    withdraw("{\"withdrawn\": false}");
    crate::common::until("it is told again", || {
        program.count_messages("restored: an operator has asked for it") == 2
    });
    for (line, body, status) in [
        ("GET /v1/withdrawn", "", 405),
        ("PUT /v1/withdrawn", "", 400),
        ("PUT /v1/withdrawn", "[true]", 400),
        ("PUT /v1/withdrawn", "{\"withdrawn\": 1}", 400),
        ("PUT /v1/withdrawn", "{}", 400),
    ] {
        assert_eq!(program.ask(line, body).status, status, "{line} {body}");
    }
}
