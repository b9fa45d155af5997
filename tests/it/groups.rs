//! Pools, and the routes that lead to them.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Response, Value, assert_own_answer, json, servers,
};

/// A request for `target` at `host`, with further field lines.
fn ask(client: &mut Client, host: &str, target: &str, lines: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
    client.response()
}

fn pool(backends: &[&Backend]) -> Value {
    json!({ "backend_servers": servers(backends) })
}

#[test]
fn each_request_goes_to_the_pool_of_the_first_route_that_matches() {
    let backends = ["default", "api", "shop", "second"].map(Backend::named);
    let [default, api, shop, second] = &backends;
    let program = Program::with(json!({
        "backend_servers": servers(&[default]),
        "pools": {"api": pool(&[api]), "shop": pool(&[shop]), "second": pool(&[second])},
        "routes": [
            {"path": "/api", "header": {"X-Policy": "2"}, "pool": "second"},
            {"path": "/api", "pool": "api"},
            {"host": "shop.example", "pool": "shop"},
            {"host": "*.shop.example", "path": "/cart/", "pool": "shop"},
        ],
    }));
    let mut client = program.client();
    for (host, target, lines, name) in [
        ("any.example", "/", "", "default"),
        ("any.example", "/api", "", "api"),
        ("any.example", "/api/x?y", "", "api"),
        ("any.example", "/api?y", "", "api"),
        ("any.example", "/apis", "", "default"),
        ("any.example", "/API", "", "default"),
        ("any.example", "/%61pi", "", "default"),
        ("any.example", "/api", "X-Policy: 2\r\n", "second"),
        ("any.example", "/api", "x-policy:  2 \r\n", "second"),
        ("any.example", "/api", "X-Policy: 22\r\n", "api"),
        ("any.example", "/api", "X-Policy: 2\r\nX-Policy: 2\r\n", "api"),
        ("shop.example", "/", "", "shop"),
        ("SHOP.example.:8080", "/", "", "shop"),
        ("shop.example", "/api", "", "api"),
        ("a.b.shop.example", "/cart/1", "", "shop"),
        ("a.b.shop.example", "/cart", "", "default"),
        ("any.example", "http://shop.example/", "", "shop"),
        ("shop.example", "http://any.example/", "", "default"),
    ] {
        assert_eq!(ask(&mut client, host, target, lines).text(), name, "{host} {target} {lines}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: any\r\n\r\n");
    assert_eq!(client.response().text(), "default");
}

#[test]
fn a_header_names_the_pool_before_all_routes() {
    let backends = ["default", "one", "two"].map(Backend::named);
    let [default, one, two] = &backends;
    let program = Program::logging(json!({
        "backend_servers": servers(&[default]),
        "pools": {"1": pool(&[one]), "2": pool(&[two]), "empty": {"backend_servers": []}},
        "routes": [{"path": "/", "pool": "1"}],
        "pool_header": "X-Policy",
    }));
    let mut client = program.client();
    for (lines, name) in [
        ("", "one"),
        ("X-Policy: 2\r\n", "two"),
        ("x-policy: 1\r\n", "one"),
        ("X-Policy: default\r\n", "default"),
    ] {
        assert_eq!(ask(&mut client, "a", "/", lines).text(), name, "{lines}");
    }
    let unknown = ["X-Policy: 3\r\n", "X-Policy:\r\n", "X-Policy: 2\r\nX-Policy: 2\r\n"];
    for lines in unknown.into_iter().chain(["X-Policy: empty\r\n"]) {
        let response = ask(&mut client, "a", "/", lines);
        assert_own_answer(&response, "503 Service Unavailable", "destination_unavailable");
        assert!(!response.closes(), "{lines}");
    }
    // The backend gets the field as it came.
    assert_eq!(two.last_request().field("X-Policy"), Some("2"));
    let lines = program.log_lines(8);
    let pools: Vec<&Value> = lines.iter().map(|line| &line["pool"]).collect();
    let wanted = [json!("1"), json!("2"), json!("1"), json!("default")];
    assert_eq!(pools[..4], wanted.each_ref());
    assert_eq!(pools[4..], [&Value::Null, &Value::Null, &Value::Null, &json!("empty")]);
    for line in &lines[4..] {
        assert_eq!(line["reason"], "destination_unavailable");
    }
}

#[test]
fn a_body_behind_a_request_for_no_pool_is_not_taken_for_the_next_request() {
    let backend = Backend::named("default");
    let program = Program::with(json!({
        "backend_servers": servers(&[&backend]),
        "pool_header": "X-Policy",
    }));
    let mut client = program.client();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Policy: 3\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    ));
    assert_eq!(client.response().status, 503);
    client.ask("/next");
    if let Ok(response) = client.receive("GET") {
        assert_eq!(response.text(), "default");
    }
    assert!(backend.requests().iter().all(|request| request.target == "/next"));
}

#[test]
fn each_pool_has_its_own_rotation() {
    let backends = ["a1", "a2", "b1", "b2", "b3"].map(Backend::named);
    let [a1, a2, b1, b2, b3] = &backends;
    let program = Program::with(json!({
        "backend_servers": servers(&[a1, a2]),
        "pools": {"b": pool(&[b1, b2, b3])},
        "routes": [{"path": "/b", "pool": "b"}],
    }));
    let mut client = program.client();
    for _ in 0..6 {
        for target in ["/a", "/b"] {
            assert!(client.get(target).text().starts_with(&target[1..]));
        }
    }
    assert_eq!(backends.each_ref().map(Backend::request_count), [3, 3, 2, 2, 2]);
}

#[test]
fn pipelined_requests_go_each_to_its_own_pool_and_are_answered_in_order() {
    let backends = ["a", "b"].map(Backend::named);
    let program = Program::with(json!({
        "backend_servers": servers(&[&backends[0]]),
        "pools": {"b": pool(&[&backends[1]])},
        "routes": [{"path": "/b", "pool": "b"}],
    }));
    let mut client = program.client();
    for target in ["/a", "/b"].repeat(10) {
        client.get(target); // both are known to be fast, so that connections may be shared
    }
    let batch = ["/a", "/b", "/b", "/a", "/b", "/a", "/a", "/b"];
    let text: String =
        batch.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    for _ in 0..10 {
        client.send(&text);
        for target in batch {
            assert_eq!(client.response().text(), target[1..]);
        }
    }
    for backend in &backends {
        let name = if std::ptr::eq(backend, &backends[0]) { "/a" } else { "/b" };
        assert!(backend.requests().iter().all(|request| request.target == name), "{name}");
    }
}

#[test]
fn each_pool_has_its_own_limit_for_bodies() {
    let backend = Backend::always(Answer::text("taken"));
    let program = Program::with(json!({
        "backend_servers": servers(&[&backend]),
        "max_body": 1024,
        "pools": {"large": {"max_body": 2048}, "any": {"max_body": 0}},
        "routes": [{"path": "/large", "pool": "large"}, {"path": "/any", "pool": "any"}],
    }));
    for (target, length, status) in [
        ("/", 1024, 200),
        ("/", 1025, 413),
        ("/large", 1025, 200),
        ("/large", 2049, 413),
        ("/any", 10_000, 200),
    ] {
        let mut client = program.client();
        let body = "x".repeat(length);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.response_to("POST").status, status, "{target} {length} by length");
        let mut client = program.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n\
             {body}\r\n0\r\n\r\n"
        ));
        assert_eq!(client.response_to("POST").status, status, "{target} {length} in chunks");
    }
}

#[test]
fn each_pool_has_its_own_retries_and_loses_its_own_backends() {
    let (absent, present) = (Backend::absent(), Backend::named("present"));
    let program = Program::with(json!({
        "backend_servers": servers(&[&absent, &present]),
        "pools": {"none": {"retries": 0, "max_fails": 100}},
        "routes": [{"path": "/none", "pool": "none"}],
    }));
    let mut client = program.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "present");
    }
    let mut statuses: Vec<u16> = (0..4).map(|_| client.get("/none").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502], "its rotation has the absent one still");
    program.wait_for_message("pool default: backend");
    assert!(!program.stderr().contains("pool none: backend"));
}

#[test]
fn a_pool_that_is_full_holds_up_no_other() {
    let gate = Gate::new();
    let slow = Backend::gated(&gate, |_| Answer::text("slow"));
    let quick = Backend::named("quick");
    let program = Program::with(json!({
        "backend_servers": [slow.server_with(json!({"max_connections": 1}))],
        "pools": {"quick": pool(&[&quick])},
        "routes": [{"path": "/quick", "pool": "quick"}],
        "timeouts": {"queue": "60s"},
    }));
    let mut clients = [program.client(), program.client()];
    clients.iter_mut().for_each(|client| client.ask("/slow"));
    slow.wait_for_requests(1);
    let mut other = program.client();
    for _ in 0..10 {
        assert_eq!(other.get("/quick").text(), "quick");
    }
    assert_eq!(slow.request_count(), 1);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "slow");
    }
}

#[test]
fn the_start_names_each_pool() {
    let backends = ["a", "b"].map(Backend::named);
    let program = Program::with(json!({
        "backend_servers": servers(&backends.each_ref()),
        "pools": {"one": pool(&[&backends[0]]), "zero": {"backend_servers": []}},
    }));
    let line = ", pool default: 2 backends, pool one: 1 backend, pool zero: 0 backends\n";
    assert!(program.stderr().contains(line), "{}", program.stderr());
}
