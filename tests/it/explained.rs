//! What `/v1/explain` says of a request is what then becomes of it.

use crate::common::{
    Answer, Backend, Program, Value, json, servers,
    stored::{Shelf, ask_by, status},
};

const NAMES: [&str; 4] = ["a", "b", "c", "spare"];

/// For a target of the API.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Asks what would become of a request, then sends it, and compares.
fn compare(program: &Program, backends: &[Backend], method: &str, url: &str, fields: &[&str]) {
    let mut query = format!("/v1/explain?method={method}&url={}", encoded(url));
    fields.iter().for_each(|field| query.push_str(&format!("&h={}", encoded(field))));
    let said = program.look(&query);
    let next = said["pool"]["backends"].as_array().into_iter().flatten();
    let next = next.filter(|backend| backend["verdict"] == "next").map(|one| &one["backend"]);
    let next: Vec<&Value> = next.collect();
    let status = said["answer"]["status"].as_u64().unwrap_or(200);

    let before: Vec<usize> = backends.iter().map(Backend::request_count).collect();
    let mut client = program.client();
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let host = host.map_or(String::new(), |host| format!("Host: {host}\r\n"));
    client.send(format!("{method} {url} HTTP/1.1\r\n{host}{lines}\r\n"));
    let response = client.response_to(method);

    let what = format!("{method} {url} {fields:?}: {said}");
    assert_eq!(u64::from(response.status), status, "{what}");
    let asked = backends.iter().zip(&before).filter(|(one, before)| one.request_count() > **before);
    let asked: Vec<Value> = asked.map(|(one, _)| json!(one.address.to_string())).collect();
    let expected = if status == 200 { next } else { Vec::new() };
    assert_eq!(asked.iter().collect::<Vec<_>>(), expected, "{what}");
    if status == 200 {
        let added = said["added_to_response"].as_array().unwrap();
        for line in added {
            let (name, _) = line.as_str().unwrap().split_once(':').unwrap();
            assert!(response.field(name).is_some(), "{name}: {what}");
        }
        assert_eq!(added.contains(&json!("Connection: close")), response.closes(), "{what}");
    }
}

fn program([a, b, c, spare]: &[Backend; 4]) -> Program {
    Program::operated(json!({
        "backend_servers": servers(&[a, b]),
        "max_body": 100,
        "via": "lb",
        "pool_header": "X-Pool",
        "pools": {
            "sticky": {"backend_servers": servers(&[b, c]), "sticky": true},
            "backup": {"backend_servers": [
                {"ip": "127.0.0.1", "port": c.address.port()},
                {"ip": "127.0.0.1", "port": spare.address.port(), "backup": true},
            ]},
            "empty": {"backend_servers": []},
        },
        "routes": [
            {"host": "s.example", "pool": "sticky"},
            {"path": "/b", "pool": "backup"},
            {"header": {"X-Key": "v"}, "pool": "empty"},
        ],
    }))
}

#[test]
fn what_is_explained_is_what_happens() {
    let backends = NAMES.map(Backend::named);
    let [a, b, c, _] = &backends;
    let program = program(&backends);
    let compare = |method, url, fields: &[&str]| compare(&program, &backends, method, url, fields);
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: s.example\r\n\r\n");
    let response = client.response();
    let cookie = response.field("Set-Cookie").unwrap().split(';').next().unwrap().to_owned();
    let cookie = format!("Cookie: {cookie}; other=1");
    let home = if response.text() == "b" { b } else { c };
    for _ in 0..3 {
        compare("GET", "http://x/", &[]);
        compare("GET", "http://s.example/", &[]);
        compare("GET", "http://S.EXAMPLE.:80/", &[&cookie]);
    }
    for (method, url, fields) in [
        ("GET", "/", &[][..]),
        ("GET", "/", &["Host: x"]),
        ("GET", "http://x/b/1?q", &[]),
        ("GET", "http://x/bb", &[]),
        ("GET", "http://x/", &["X-Key: v"]),
        ("GET", "http://x/", &["X-Key: w"]),
        ("GET", "http://x/", &["X-Pool: backup"]),
        ("GET", "http://x/", &["X-Pool: nobody"]),
        ("GET", "http://x/", &["X-Pool: a", "X-Pool: a"]),
        ("GET", "http://s.example/", &["Cookie: sticky_backend=0123456789abcdef"]),
        ("POST", "http://x/", &["Content-Length: 101"]),
        ("POST", "http://x/", &["Content-Length: 0"]),
        ("POST", "http://x/", &["Content-Length: 1", "Transfer-Encoding: chunked"]),
        ("PUT", "http://x/", &["Expect: miracles"]),
        ("CONNECT", "x:443", &["Host: x:443"]),
        ("OPTIONS", "*", &["Host: x"]),
        ("DELETE", "http://x/", &["Connection: close, X-A", "X-A: 1"]),
        ("GET", "http://x/", &["Bad Name: 1"]),
        ("GET", "http://x/#f", &[]),
        ("HEAD", "http://x/", &["X-Request-ID: mine"]),
    ] {
        compare(method, url, fields);
    }
    for (pool, backend, state) in [
        ("backup", c, "maint"),
        ("sticky", home, "drain"),
        ("sticky", home, "maint"),
        ("default", a, "drain"),
        ("default", b, "maint"),
    ] {
        let place = format!("/v1/pools/{pool}/backends/{}", backend.address);
        let body = json!({ "state": state }).to_string();
        assert_eq!(program.ask(&format!("PATCH {place}"), &body).status, 200);
        compare("GET", "http://x/b", &[]);
        compare("GET", "http://s.example/", &[&cookie]);
        compare("GET", "http://s.example/", &[]);
        compare("GET", "http://x/", &[]);
    }
}

/// What is said of the cache without our name, up to what only the answer tells.
fn token(line: &str) -> String {
    line.split([';', ':']).next().unwrap_or_default().trim().to_owned()
}

const ONLY: &str = "Cache-Control: only-if-cached";

/// What is stored, the method and fields of a request, and what the cache has to do with it.
const CASES: [(&str, &str, &str, &str); 36] = [
    ("none", "GET", "", "fwd=uri-miss"),
    ("none", "HEAD", "", "fwd=uri-miss"),
    ("none", "GET", ONLY, "detail=only-if-cached"),
    ("none", "HEAD", ONLY, "detail=only-if-cached"),
    ("none", "POST", "Content-Length: 0", "fwd=method"),
    ("none", "OPTIONS", "", "fwd=method"),
    ("none", "GET", "Content-Length: 0", "fwd=bypass"),
    ("fresh", "GET", "", "hit"),
    ("fresh", "HEAD", "", "hit"),
    ("fresh", "GET", ONLY, "hit"),
    ("fresh", "GET", "Cache-Control: no-cache", "fwd=request"),
    ("fresh", "HEAD", "Cache-Control: no-cache", "fwd=request"),
    ("fresh", "GET", "Cache-Control: max-age=0, only-if-cached", "detail=only-if-cached"),
    ("fresh", "GET", "Cache-Control: min-fresh=100", "fwd=request"),
    ("fresh", "GET", "Cache-Control: no-store", "hit"),
    ("fresh", "GET", "If-None-Match: \"e\"", "hit"),
    ("fresh", "GET", "If-Match: \"e\"", "fwd=bypass"),
    ("fresh", "GET", "If-Match: \"e\" | Cache-Control: only-if-cached", "detail=only-if-cached"),
    ("fresh", "GET", "Range: bytes=2-3", "hit"),
    ("fresh", "GET", "Range: bytes=20-", "hit"),
    ("fresh", "GET", "Authorization: Basic eA==", "fwd=vary-miss"),
    ("no-cache", "GET", "", "fwd=stale"),
    ("no-cache", "HEAD", "", "fwd=stale"),
    ("no-cache", "GET", ONLY, "detail=only-if-cached"),
    ("stale", "GET", "", "fwd=stale"),
    ("stale", "HEAD", "", "fwd=stale"),
    ("stale", "GET", "Cache-Control: max-stale", "hit"),
    ("stale", "GET", "Cache-Control: max-stale=10", "fwd=stale"),
    ("stale", "GET", ONLY, "detail=only-if-cached"),
    ("must", "GET", "Cache-Control: max-stale", "fwd=stale"),
    ("behind", "HEAD", "", "hit"),
    ("behind", "GET", "", "hit"),
    ("varies", "GET", "X-Kind: b", "fwd=vary-miss"),
    ("varies", "GET", "X-Kind: b | Cache-Control: only-if-cached", "detail=only-if-cached"),
    ("encoded", "GET", "Accept-Encoding: gzip", "fwd=vary-miss"),
    ("encoded", "GET", "", "hit"),
];

/// A backend whose answers may be stored as the last segment of the path says, where they may.
fn backend_of_cases() -> Backend {
    Backend::answering(|request| {
        let case = request.target.rsplit_once('/').map_or("", |(_, case)| case);
        let answer = Answer::text("0123456789");
        match (case, request.field("If-None-Match")) {
            (_, Some("\"e\"")) => Answer::status("304 Not Modified", "").with("ETag", "\"e\""),
            ("fresh", _) => answer.with("Cache-Control", "max-age=60").with("ETag", "\"e\""),
            ("no-cache", _) => {
                answer.with("Cache-Control", "no-cache, max-age=60").with("ETag", "\"e\"")
            }
            ("stale", _) => {
                let answer = answer.with("Cache-Control", "max-age=60").with("Age", "100");
                answer.with("ETag", "\"e\"")
            }
            ("must", _) => answer
                .with("Cache-Control", "max-age=60, must-revalidate")
                .with("Age", "100")
                .with("ETag", "\"e\""),
            ("behind", _) => answer
                .with("Cache-Control", "max-age=60, stale-while-revalidate=1000")
                .with("Age", "100"),
            ("varies", _) => answer.with("Cache-Control", "max-age=60").with("Vary", "X-Kind"),
            ("encoded", _) => {
                answer.with("Cache-Control", "max-age=60").with("Content-Encoding", "gzip")
            }
            _ => answer.with("Cache-Control", "no-store"),
        }
    })
}

/// One decision: what is explained of the cache is what `Cache-Status` then tells, and the status too.
#[test]
fn what_is_explained_of_the_cache_is_what_cache_status_tells() {
    let backend = backend_of_cases();
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for (number, (case, method, fields, expected)) in CASES.into_iter().enumerate() {
        let target = format!("/{number}/{case}");
        if case != "none" {
            ask_by(&program, "GET", &target, "");
        }
        let url = encoded(&format!("http://TEST:80{target}"));
        let mut query = format!("/v1/explain?method={method}&url={url}");
        for field in fields.split(" | ").filter(|field| !field.is_empty()) {
            query.push_str(&format!("&h={}", encoded(field)));
        }
        let said = program.look(&query);
        let response = ask_by(&program, method, &target, fields);
        let what = format!("{method} {case} {fields}: {said}");
        assert_eq!(token(said["cache"].as_str().unwrap()), expected, "{what}");
        assert_eq!(token(&status(&response)), expected, "{what}");
        let at_once = said["answer"]["status"].as_u64();
        assert_eq!(at_once == Some(504), response.status == 504, "{what}");
        assert!(at_once.is_none_or(|status| status == 504), "{what}");
    }
}

#[test]
fn what_is_stored_answers_also_where_no_backend_is_up() {
    let backend = Backend::answering(|_| {
        Answer::text("x").with("Cache-Control", "max-age=60").with("ETag", "\"e\"")
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    program.get("/a");
    let place = format!("/v1/pools/default/backends/{}", backend.address);
    let body = json!({ "state": "maint" }).to_string();
    assert_eq!(program.ask(&format!("PATCH {place}"), &body).status, 200);
    for (target, status) in [("/a", 200), ("/b", 503)] {
        let url = encoded(&format!("http://test{target}"));
        let said = program.look(&format!("/v1/explain?method=GET&url={url}"));
        assert_eq!(said["answer"]["status"].as_u64().unwrap_or(200), status, "{said}");
        assert_eq!(u64::from(program.get(target).status), status);
    }
}
