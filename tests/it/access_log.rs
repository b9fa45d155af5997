//! The access log: what a line says, in which order, and that nobody can break one.

use crate::common::{Answer, Backend, Gate, Program, Value, json, servers, until};

const KEYS: [&str; 25] = [
    "ts",
    "id",
    "client",
    "method",
    "host",
    "target",
    "version",
    "status",
    "bytes_in",
    "bytes_out",
    "ms",
    "queue_ms",
    "connect_ms",
    "first_byte_ms",
    "pool",
    "backend",
    "reused",
    "tries",
    "sticky",
    "cache",
    "reason",
    "headers",
    "hint",
    "route",
    "ua",
];

fn over(backends: &[&Backend], mut more: Value) -> Program {
    more["backend_servers"] = servers(backends);
    Program::logging(more)
}

/// The keys of a line as they stand in it. The line must be valid JSON.
fn keys(line: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(line).expect(line);
    let mut keys: Vec<(usize, String)> = value
        .as_object()
        .unwrap()
        .keys()
        .map(|key| (line.find(&format!("\"{key}\":")).expect("the key"), key.clone()))
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

fn assert_keys_in_order(log: &str) {
    for line in log.lines() {
        let keys = keys(line);
        let known: Vec<&str> =
            KEYS.into_iter().filter(|key| keys.iter().any(|found| found == key)).collect();
        assert_eq!(keys, known, "{line}");
    }
}

fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn a_line_tells_all_of_a_request() {
    let backend = Backend::named("hello");
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    client.send(
        "POST /api/x?y=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\nX-Request-ID: my-id\r\n\
         Content-Length: 100\r\n\r\n",
    );
    client.send([b'x'; 100]);
    assert_eq!(client.response().text(), "hello");
    let log = program.raw_log(1);
    let line: Value = serde_json::from_str(&log).unwrap();
    assert!(is_timestamp(line["ts"].as_str().unwrap()), "{log}");
    let expected = json!({
        "id": "my-id", "client": client.address().to_string(), "method": "POST", "host": "shop.example",
        "target": "/api/x?y=1", "version": "1.1", "status": 200, "pool": "default",
        "backend": backend.address.to_string(), "reused": false, "ua": "curl/8.5.0",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} in {log}");
    }
    assert!(line["bytes_in"].as_u64().unwrap() >= 100, "{log}");
    assert!(line["bytes_out"].as_u64().unwrap() >= 5, "{log}");
    for key in ["ms", "queue_ms", "connect_ms", "first_byte_ms"] {
        assert!(
            line[key].as_f64().is_some_and(|ms| (0.0..60_000.0).contains(&ms)),
            "{key} in {log}"
        );
    }
    for key in ["tries", "sticky", "cache", "reason"] {
        assert!(line.get(key).is_none(), "{key} in {log}");
    }
    assert_keys_in_order(&log);
}

#[test]
fn the_route_that_led_to_the_pool_is_told_by_its_number() {
    let backend = Backend::always(Answer::raw("HTTP/1.1 200 OK\n\n").then_close());
    let config = json!({
        "pools": { "api": {} },
        "pool_header": "X-Pool",
        "routes": [{ "path": "/a", "pool": "default" }, { "path": "/b", "pool": "api" }],
    });
    let program = over(&[&backend], config);
    let cases = [
        ("/a", "", json!(0)),
        ("/b", "", json!(1)),
        ("/c", "", Value::Null),
        ("/b", "X-Pool: api\r\n", Value::Null),
    ];
    for (target, field, _) in &cases {
        let mut client = program.client();
        let fields = format!("Host: a\r\nUser-Agent: x\r\n{field}");
        client.send(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(client.response().status, 502);
    }
    for ((target, _, route), line) in cases.iter().zip(program.log_lines(4)) {
        assert_eq!(
            (&line["route"], &line["hint"]),
            (route, &json!("tolerate bare_lf")),
            "{target}"
        );
    }
    assert_keys_in_order(&program.raw_log(4));
}

#[test]
fn a_kept_backend_connection_is_told() {
    let backend = Backend::named("a");
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    client.get("/1");
    client.get("/2");
    let lines = program.log_lines(2);
    assert_eq!([&lines[0]["reused"], &lines[1]["reused"]], [&json!(false), &json!(true)]);
}

#[test]
fn absent_values_are_left_out() {
    let backend = Backend::named("a");
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.response();
    let line = &program.log_lines(1)[0];
    assert_eq!(line["version"], "1.0");
    assert!(line.get("ua").is_none() && line.get("host").is_none(), "{line}");
}

#[test]
fn attempts_before_the_last_are_listed() {
    let (absent, good) = (Backend::absent(), Backend::named("good"));
    let program = over(&[&absent, &good], json!({}));
    let mut client = program.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "good");
    }
    let log = program.raw_log(2);
    assert_keys_in_order(&log);
    let lines = program.log_lines(2);
    let tried: Vec<&Value> = lines.iter().filter(|line| line.get("tries").is_some()).collect();
    assert!(!tried.is_empty(), "{log}");
    for line in tried {
        assert_eq!(line["tries"].as_array().unwrap().len(), 1);
        assert_eq!(line["tries"][0]["backend"], absent.address.to_string());
        assert_eq!(line["tries"][0]["reason"], "connection_refused");
        assert!(line["tries"][0]["ms"].as_f64().is_some(), "{log}");
        assert_eq!(line["backend"], good.address.to_string());
        assert!(line.get("reason").is_none(), "{log}");
    }
}

#[test]
fn an_attempt_that_failed_slowly_is_not_told_as_waiting() {
    let (full, good) = (Backend::full(), Backend::named("good"));
    let program = over(&[&full, &good], json!({ "timeouts": { "connect": "300ms" } }));
    let mut client = program.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "good");
    }
    let lines = program.log_lines(2);
    let tried = lines.iter().find(|line| line.get("tries").is_some()).expect("one that was tried");
    assert!(tried["tries"][0]["ms"].as_f64() >= Some(290.0), "{tried}");
    assert!(tried["ms"].as_f64() >= Some(290.0), "{tried}");
    assert!(tried["queue_ms"].as_f64() < Some(290.0), "{tried}");
}

/// What the log says of one request that goes wrong: the status and the reason.
fn logged(backends: &[&Backend], config: Value, request: &str) -> (u64, String) {
    let program = over(backends, config);
    let mut client = program.client();
    client.send(request);
    let _ = client.receive("GET"); // whatever comes; some close without a word
    let log = program.raw_log(1);
    assert_keys_in_order(&log);
    let line = &program.log_lines(1)[0];
    (line["status"].as_u64().unwrap(), line["reason"].as_str().unwrap_or_default().to_string())
}

fn assert_logged(backends: &[&Backend], config: Value, request: &str, status: u64, reason: &str) {
    let got = logged(backends, config, request);
    assert_eq!(got, (status, reason.to_string()), "{}", &request[..request.len().min(200)]);
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_failure_of_a_backend_is_logged_with_its_reason() {
    let closing = Backend::always(Answer::nothing().then_close());
    let hanging = Backend::always(Answer::nothing().then_hang());
    let foreign = Backend::always(Answer::raw("SSH-2.0-x\r\n\r\n"));
    let long = Backend::always(Answer::text("a").with("X", &"x".repeat(40_000)));
    let short = Backend::always(
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").then_close(),
    );
    let once = |timeouts: Value| json!({ "retries": 0, "timeouts": timeouts });
    assert_logged(&[], once(json!({})), GET, 503, "destination_unavailable");
    assert_logged(&[&Backend::absent()], once(json!({})), GET, 502, "connection_refused");
    assert_logged(&[&closing], once(json!({})), GET, 502, "connection_terminated");
    assert_logged(&[&foreign], once(json!({})), GET, 502, "http_protocol_error");
    assert_logged(&[&long], once(json!({})), GET, 502, "http_response_header_section_size");
    assert_logged(
        &[&hanging],
        once(json!({ "response": "300ms" })),
        GET,
        504,
        "http_response_timeout",
    );
    assert_logged(
        &[&Backend::full()],
        once(json!({ "connect": "300ms" })),
        GET,
        504,
        "connection_timeout",
    );
    assert_logged(&[&short], once(json!({})), GET, 200, "http_response_incomplete");
}

#[test]
fn a_fault_of_the_client_is_logged_with_its_reason() {
    let backend = Backend::named("a");
    let refused = |request: &str, status, reason| {
        let config =
            json!({ "max_body": 10, "timeouts": { "client": "500ms", "header": "500ms" } });
        assert_logged(&[&backend], config, request, status, reason);
    };
    refused("GET / HTTP/1.1\r\n\r\n", 400, "http_request_error");
    refused("BAD\r\n\r\n", 400, "http_request_error");
    refused("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "http_request_error");
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http_request_error");
    refused("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "http_request_error");
    refused("GET / HTTP/1.1\r\nHost: a\r\n", 408, "client_timeout");
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello", 408, "client_timeout");
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, "body_too_large");
    refused(&format!("GET /{}", "x".repeat(70_000)), 414, "target_too_long");
    refused(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(70_000)), 431, "header_too_large");
}

#[test]
fn a_client_that_goes_away_is_logged_as_499() {
    let backend = Backend::always(Answer::nothing().then_hang());
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    client.ask("/gone");
    backend.wait_for_requests(1);
    client.reset();
    let line = &program.log_lines(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&json!(499), &json!("client_abort")));
    assert_eq!(line["target"], "/gone");
}

#[test]
fn a_request_behind_a_response_that_ends_the_connection_is_logged_too() {
    let gate = Gate::new();
    let opened = gate.clone();
    let backend = Backend::answering(move |request| match request.target.as_str() {
        "/first" => {
            gate.wait();
            Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").then_close()
        }
        _ => Answer::nothing().then_hang(),
    });
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(2);
    opened.open();
    assert!(client.receive("GET").is_err());
    let lines = program.log_lines(2);
    let told = |line: &Value| [&line["target"], &line["status"], &line["reason"]].map(Clone::clone);
    assert_eq!(told(&lines[0]), [json!("/first"), json!(200), json!("http_response_incomplete")]);
    assert_eq!(told(&lines[1]), [json!("/second"), json!(499), json!("connection_terminated")]);
}

#[test]
fn nothing_that_a_client_sends_can_break_a_line() {
    let backend = Backend::named("a");
    let program = over(&[&backend], json!({}));
    let hostile: [&[u8]; 12] = [
        b"GET /\"},{\"x\":\" HTTP/1.1\r\nHost: a\r\nUser-Agent: \"quoted\\\" \\ \\u0000\r\n\r\n",
        b"GET /\\ HTTP/1.1\r\nHost: a\r\nUser-Agent: \\\r\n\r\n",
        b"GET /%0a%00%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: a\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \x80\xff\xc3\x28\xe2\x82\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xed\xa0\x80\xf4\x90\x80\x80\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xe2\x80\xa8 \xc2\x85 \xef\xbb\xbf\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: {\"a\":\"b\"}\r\nX-Request-ID: \"\r\n\r\n",
        b"'\"!#$%&*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00\x1f\" HTTP/1.1\r\nHost: \"\r\n\r\n",
        b"\"\\\x00\n\x7f\xff\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ];
    for bytes in hostile {
        let mut client = program.client();
        client.send(bytes);
        let _ = client.receive("GET"); // some are refused
    }
    let mut client = program.client();
    client.send(format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\nUser-Agent: {}\r\n\r\n",
        "\\\"".repeat(5000),
        "\"\\".repeat(5000)
    ));
    assert_eq!(client.response().text(), "a");
    let log = program.raw_log(hostile.len() + 1);
    assert!(log.bytes().all(|byte| byte == b'\n' || (byte >= b' ' && byte != 0x7f)), "{log}");
    assert_keys_in_order(&log);
}

#[test]
fn a_request_with_the_longest_of_heads_has_its_line() {
    let backend = Backend::named("a");
    let program = over(&[&backend], json!({ "buffer_size": "128KiB" }));
    let mut client = program.client();
    let agent = vec![0xff; 65_000];
    for _ in 0..3 {
        client
            .send([b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: ", &agent[..], b"\r\n\r\n"].concat());
        assert_eq!(client.response().text(), "a");
    }
    let lines = program.log_lines(3);
    assert!(lines.iter().all(|line| line["ua"] == "\u{ff}".repeat(agent.len())));
}

#[test]
fn every_request_has_a_line_with_the_id_that_the_client_saw() {
    let backend = Backend::named("a");
    let program = over(&[&backend], json!({}));
    let mut client = program.client();
    let count = 200;
    client.send(
        (0..count)
            .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .collect::<String>(),
    );
    let ids: Vec<String> =
        (0..count).map(|_| client.response().field("X-Request-ID").unwrap().to_string()).collect();
    let lines = program.log_lines(count);
    for (number, id) in ids.iter().enumerate() {
        let line =
            lines.iter().find(|line| line["id"] == id.as_str()).expect("a line with this id");
        assert_eq!(line["target"], format!("/{number}"));
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_no_traffic() {
    let backend = Backend::named("a");
    let config = json!({ "backend_servers": servers(&[&backend]), "access_log": "/dev/full" });
    let program = Program::with(config);
    let mut client = program.client();
    for _ in 0..2000 {
        assert_eq!(client.get("/").text(), "a");
    }
    until("all were served", || backend.request_count() == 2000);
}

#[test]
fn the_headers_that_are_wanted_are_logged_as_they_came() {
    let backend = Backend::named("a");
    let names = ["Referer", "X-Twice", "x-long", "X-Absent", "X-Empty", "User-Agent"];
    let program = over(&[&backend], json!({ "access_log_headers": names }));
    let mut client = program.client();
    let (long, word) = ("l".repeat(300), "\u{20ac}".repeat(100));
    client.send(format!(
        "GET /1 HTTP/1.1\r\nHost: a\r\nrefeReR: \"q\\\r\nX-Twice: 1\r\nX-Long: {long}\r\nx-twice: 2\r\n\
         X-Empty:\r\nUser-Agent: me\r\n\r\n"
    ));
    assert_eq!(client.response().status, 200);
    client.send(format!("GET /2 HTTP/1.1\r\nHost: a\r\nX-Long: {word}\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    client.ask("/3");
    assert_eq!(client.response().status, 200);
    client.send("GET /4 HTTP/1.1\r\nHost: a\r\nReferer: \u{fc}\"},{\r\nX-Bad\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let log = program.raw_log(4);
    assert_keys_in_order(&log);
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(
        lines[0]["headers"],
        json!({ "referer": "\"q\\", "x-twice": "1, 2", "x-long": "l".repeat(256), "user-agent": "me" })
    );
    assert_eq!(lines[0]["ua"], "me");
    // No more than 256 bytes, and no half of a character.
    assert_eq!(lines[1]["headers"], json!({ "x-long": "\u{20ac}".repeat(85) }));
    assert_eq!((&lines[2]["headers"], &lines[3]["headers"]), (&Value::Null, &Value::Null));
    let first = log.lines().next().unwrap_or_default();
    assert!(first.find("\"headers\"") < first.find("\"ua\""), "{first}");
}

/// A line has room whatever the headers are, so nobody stays out of the log.
#[test]
fn headers_of_the_largest_head_leave_the_line_whole() {
    let backend = Backend::named("a");
    let names: Vec<String> = (0..16).map(|number| format!("x-{number}")).collect();
    let program = over(&[&backend], json!({ "access_log_headers": names, "buffer_size": "64KiB" }));
    let mut client = program.client();
    let fields: String =
        names.iter().map(|name| format!("{name}: {}\r\n", "\\".repeat(3900))).collect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(client.response().status, 200);
    let line = &program.log_lines(1)[0];
    assert_eq!(line["headers"].as_object().map(|headers| headers.len()), Some(16));
    assert_eq!(line["headers"]["x-15"], "\\".repeat(256));
}
