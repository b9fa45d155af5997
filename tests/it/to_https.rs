//! Routes that lead to https: `"redirect": "https"`.

use crate::common::{Answer, Backend, Program, Response, Value, json, servers};
use std::process::Command;

fn redirecting(backend: &Backend, mut more: Value) -> Program {
    more["backend_servers"] = servers(&[backend]);
    if more["routes"].is_null() {
        more["routes"] = json!([{ "path": "/", "redirect": "https" }]);
    }
    Program::logging(more)
}

fn ask(program: &Program, request: &str) -> Response {
    let mut client = program.client();
    client.send(request);
    let method = request.split(' ').next().unwrap_or_default();
    client.response_to(method)
}

fn location(response: &Response) -> Option<&str> {
    response.field("Location")
}

#[test]
fn what_comes_by_plain_http_is_sent_to_the_same_url_by_https() {
    let backend = Backend::named("never");
    let program = redirecting(&backend, json!({}));
    for (target, host, expected) in [
        ("/", "shop.example", "https://shop.example/"),
        ("/a/b?c=d&e", "shop.example:8080", "https://shop.example/a/b?c=d&e"),
        ("/%0d%0aX:%20y", "shop.example", "https://shop.example/%0d%0aX:%20y"),
        ("//evil.example/", "shop.example", "https://shop.example//evil.example/"),
        ("/", "[2001:db8::1]:80", "https://[2001:db8::1]/"),
        ("http://other.example:80/x", "shop.example", "https://other.example/x"),
        ("http://other.example?q", "shop.example", "https://other.example/?q"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let response = ask(&program, &request);
        assert_eq!(response.status, 308, "{request}");
        assert_eq!(location(&response), Some(expected), "{request}");
        assert_eq!(response.text(), "<html><body><h1>308 Permanent Redirect</h1></body></html>");
        assert!(!response.closes(), "{request}");
    }
    let head = ask(&program, "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, location(&head)), (308, Some("https://a/x")));
    assert_eq!(backend.request_count(), 0);
    let line = &program.log_lines(8)[0];
    assert_eq!((&line["status"], &line["route"]), (&json!(308), &json!(0)), "{line}");
    for key in ["pool", "backend", "reason"] {
        assert_eq!(line[key], Value::Null, "{line}");
    }
}

#[test]
fn the_status_is_the_one_that_is_configured() {
    let backend = Backend::named("plain");
    let redirect = |status: u16| json!({ "path": format!("/{status}"), "redirect": "https", "status": status });
    let routes: Vec<Value> = [301, 302, 307, 308].map(redirect).into();
    let program = redirecting(&backend, json!({ "routes": routes }));
    for (status, reason) in [
        (301, "Moved Permanently"),
        (302, "Found"),
        (307, "Temporary Redirect"),
        (308, "Permanent Redirect"),
    ] {
        let response = program.get(&format!("/{status}"));
        assert_eq!((response.status, response.reason.as_str()), (status, reason));
    }
    assert_eq!(program.get("/other").text(), "plain");
}

/// Such a route is passed over then, and the next one that matches counts.
#[test]
fn who_comes_by_https_is_not_sent_there_again() {
    let backend = Backend::named("served");
    let config = json!({
        "listen": [
            "127.0.0.1:0",
            { "addr": "127.0.0.1:0", "https": true },
            { "addr": "127.0.0.1:0", "proxy_protocol": true },
        ],
        "pools": { "api": {} },
        "routes": [
            { "host": "shop.example", "redirect": "https" },
            { "host": "shop.example", "path": "/api", "pool": "api" },
        ],
    });
    let program = redirecting(&backend, config);
    let stderr = program.stderr();
    let listening = stderr.split("listening on ").nth(1).expect("where it listens");
    let addresses: Vec<std::net::SocketAddr> =
        listening.split(", ").map_while(|address| address.parse().ok()).collect();
    let [plain, https, proxy] = addresses[..] else { panic!("{stderr}") };
    let request = |host: &str| format!("GET /api HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let status = |address, text: &[u8]| {
        let mut client = crate::common::Client::connect(address);
        client.send(text);
        client.response().status
    };
    assert_eq!(status(plain, request("shop.example").as_bytes()), 308);
    assert_eq!(status(plain, request("other.example").as_bytes()), 200);
    assert_eq!(status(https, request("shop.example").as_bytes()), 200);
    let version1 = format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{}", request("shop.example"));
    assert_eq!(status(proxy, version1.as_bytes()), 308);
    let tls = [0x20, 0, 5, 1, 0, 0, 0, 0]; // PP2_TYPE_SSL, PP2_CLIENT_SSL
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
    let mut version2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14".to_vec();
    version2.extend(addresses.iter().chain(&tls));
    version2.extend(request("shop.example").as_bytes());
    assert_eq!(status(proxy, &version2), 200);
    let log = program.log_lines(5);
    let routes: Vec<&Value> = log.iter().map(|line| &line["route"]).collect();
    let null = &Value::Null;
    assert_eq!(routes, [&json!(0), null, &json!(1), &json!(0), &json!(1)]);
}

#[test]
fn only_a_trusted_proxy_may_say_that_it_was_https() {
    let backend = Backend::named("served");
    let untrusted = redirecting(&backend, json!({}));
    let trusted = redirecting(&backend, json!({ "trusted_proxies": ["127.0.0.0/8"] }));
    for (proto, expected) in [
        ("X-Forwarded-Proto: https\r\n", 200),
        ("X-Forwarded-Proto: HTTPS\r\n", 200),
        ("X-Forwarded-Proto: http\r\n", 308),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", 308),
        ("", 308),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{proto}\r\n");
        assert_eq!(ask(&trusted, &request).status, expected, "{proto}");
        assert_eq!(ask(&untrusted, &request).status, 308, "{proto}");
    }
}

#[test]
fn without_a_host_nobody_can_be_sent_anywhere() {
    let backend = Backend::named("never");
    let program = redirecting(&backend, json!({}));
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost:\r\n\r\n"] {
        let response = ask(&program, request);
        assert_eq!((response.status, response.closes()), (400, true), "{request}");
    }
    let response = ask(&program, "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((response.status, location(&response)), (308, Some("https://a/x")));
    assert_eq!(response.field("Connection"), Some("keep-alive"));
    assert_eq!(backend.request_count(), 0);
}

/// The body is thrown away as that of any other request that httplb answers: the connection goes on where it
/// has come already, and closes where it has not.
#[test]
fn the_body_of_a_redirected_request_is_no_request() {
    let backend = Backend::named("never");
    let program = redirecting(&backend, json!({}));
    let mut client = program.client();
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = body.len();
    client.send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"));
    assert_eq!(location(&client.response()), Some("https://a/1"));
    client.ask("/2");
    assert_eq!(location(&client.response()), Some("https://test/2"));
    client.send("POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let response = client.response();
    assert_eq!((location(&response), response.closes()), (Some("https://a/3"), true));

    let mut client = program.client();
    client.send("POST /4 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.closes()), (308, true));
    assert_eq!(backend.request_count(), 0);
}

#[test]
fn the_longest_target_is_redirected_through_the_smallest_ring() {
    let backend = Backend::always(Answer::text("never"));
    let config = json!({ "buffer_size": "4KiB", "tolerate": ["raw_target"] });
    let program = redirecting(&backend, config);
    let path = "a".repeat(3072 - "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len());
    let response = ask(&program, &format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(response.status, 308);
    assert_eq!(location(&response), Some(format!("https://a/{path}").as_str()));
    // Bytes that are no URI are escaped, and then it may be too long.
    let raw = ask(&program, "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(location(&raw), Some("https://a/%C3%BC"));
    let path = "\u{fc}".repeat(1400);
    let response = ask(&program, &format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!((response.status, response.closes()), (431, true));
}

#[test]
fn explain_says_that_it_is_redirected_and_who_is_not() {
    let folder = std::env::temp_dir().join(format!("httplb-to-https-{}.conf", std::process::id()));
    let config = json!({
        "backend_servers": [{ "ip": "10.0.0.1", "port": 80 }],
        "routes": [{ "host": "shop.example", "redirect": "https", "status": 301 }],
    });
    std::fs::write(&folder, config.to_string()).unwrap();
    let explain = |request: &str| {
        let mut command = Command::new(crate::common::program::binary());
        let output = command.args(["--explain", request, "-c"]).arg(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = explain("GET http://shop.example/x");
    assert!(plain.contains("route:       routes[0], to https\n"), "{plain}");
    assert!(plain.contains("answered:    301 at once: it does not come by https"), "{plain}");
    assert!(!plain.contains("backends:"), "{plain}");
    let https = explain("GET https://shop.example/x");
    let passed = "not routes[0]: it leads to https, by which the request comes\n";
    assert!(https.contains(passed) && https.contains("backends:"), "{https}");
    let _ = std::fs::remove_file(folder);
}
