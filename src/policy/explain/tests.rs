use super::*;
use crate::config::Overrides;
use crate::policy::caching::Serving;
use crate::policy::conditional::ConditionalOutcome;

const KEY: Key = Key::new(*b"0123456789abcdef");

const FILE: &str = r#"{
    "backend_servers": [
        {"ip": "10.0.0.1", "port": 80},
        {"ip": "10.0.0.2", "port": 80, "max_connections": 5},
        {"ip": "10.0.0.3", "port": 80, "backup": true}
    ],
    "sticky": true,
    "via": "lb-1",
    "pools": {
        "api": {"max_body": "1KiB", "retries": 0, "sticky": false, "balance": "least_connections"},
        "empty": {"backend_servers": []}
    },
    "routes": [
        {"host": "a.example", "pool": "empty"},
        {"path": "/api", "header": {"X-Policy": "2"}, "pool": "empty"},
        {"path": "/api", "pool": "api"}
    ],
    "pool_header": "X-Pool"
}"#;

fn config() -> Config {
    config::load(FILE, &Overrides::default()).unwrap()
}

fn scratch() -> Buffer {
    Buffer::new(vec![0; 64 << 10].leak())
}

fn ask_of(pools: &[PoolNow], key: Option<&Key>, request: &str, fields: &[&str]) -> Explanation {
    let (method, url) = request.split_once(' ').expect("method and URL");
    let question = Question {
        method: method.into(),
        url: url.into(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        client: SOMEBODY,
    };
    explain(&question, &config(), pools, key, &mut scratch())
}

fn ask(request: &str, fields: &[&str]) -> Explanation {
    ask_of(&PoolNow::at_rest(&config()), Some(&KEY), request, fields)
}

/// Verdict and reason for each backend.
fn verdicts(explanation: &Explanation) -> Vec<(&'static str, &'static str)> {
    let pool = explanation.pool.as_ref().expect("a pool");
    pool.backends.iter().map(|backend| (backend.verdict, backend.because)).collect()
}

#[test]
fn the_whole_of_it_reads_like_this() {
    let text = ask("GET http://shop.example/api/x?y", &["User-Agent: me", "Connection: close"]);
    let expected = "\
request:     GET http://shop.example/api/x?y from 192.0.2.1
route:       routes[2]
             not routes[0]: its host is \"a.example\"
             not routes[1]: its header X-Policy is \"2\"
pool:        api, least_connections; it runs beside other requests of its connection
backends:    10.0.0.1:80 state unknown, weight 1: candidate
             10.0.0.2:80 state unknown, weight 1: candidate
             10.0.0.3:80 state unknown, weight 1, backup: out: it stands in for others, if none of those is up
retried:     on no other backend; it is idempotent
             not after connection_refused, connection_timeout, connection_terminated, http_protocol_error, http_response_header_section_size, identity_mismatch, http_response_timeout
             if its backend goes down, it waits there for its response
cache:       off
added:       X-Forwarded-For: 192.0.2.1
             X-Forwarded-Proto: http
             X-Forwarded-Host: shop.example
             Via: 1.1 lb-1
             X-Request-ID: (a new UUID)
removed:     Connection: close
response:    X-Request-ID: (a new UUID)
             Via: 1.1 lb-1
             Connection: close
limits:      head: 31KiB, then 431 or 414
             fields: 100, then 431
             body: 1KiB, then 413
             time to send the head: 10s, then 408
             pause within a body: 30s, then 408, or close
             wait for a backend below its limit: 1s, then 503
             time to connect: 2s, then another backend, or 504
             wait for the response, and pause within it: 1m, then 504, or close
             retries in the pool: 20 % of the requests of the last 10 s, and 10 a second besides; evacuation is none of these
";
    assert_eq!(text.to_string(), expected);
}

#[test]
fn it_can_be_read_by_programs() {
    let json = serde_json::to_value(ask("GET http://a/", &[])).unwrap();
    assert_eq!(json["route"]["by"], "no route matches");
    assert_eq!(json["route"]["passed_over"][2]["because"], "its path is \"/api\"");
    assert_eq!(json["pool"]["name"], "default");
    assert_eq!(json["pool"]["backends"][0]["verdict"], "candidate");
    assert_eq!(json["pool"]["sticky"]["verdict"], "new");
    assert_eq!(json["answer"], serde_json::Value::Null);
    assert_eq!(json["cache"], "off");
}

#[test]
fn the_pool_is_found_as_the_routes_say() {
    for (request, fields, by, pool) in [
        ("GET http://b/", &[][..], "no route matches", Some("default")),
        ("GET http://a.example/api", &[], "routes[0]", Some("empty")),
        ("GET http://b/api", &["X-Policy: 2"], "routes[1]", Some("empty")),
        ("GET /api", &["Host: b"], "routes[2]", Some("api")),
        ("GET http://b/api", &["X-Pool: default"], "the header X-Pool", Some("default")),
        ("GET http://b/", &["X-Pool: x"], "the header X-Pool, which names no pool", None),
    ] {
        let explanation = ask(request, fields);
        let pool_found = explanation.pool.as_ref().map(|pool| pool.name.as_str());
        let route = explanation.route.as_ref().expect("a route");
        assert_eq!((&*route.by, pool_found), (by, pool), "{request} {fields:?}");
    }
}

#[test]
fn what_is_answered_at_once_is_said_with_its_reason() {
    for (request, fields, status, reason) in [
        ("GET /", &[][..], 400, "http_request_error"),
        ("GET http://b/", &["Host: a b"], 400, "http_request_error"),
        ("GET http://b/ x", &[], 400, "http_request_error"),
        ("GET http://b/", &["X: a\r\n\r\nGET / HTTP/1.1"], 400, "http_request_error"),
        ("CONNECT b:80", &["Host: b"], 501, "http_request_error"),
        ("POST http://b/api", &["Content-Length: 1025"], 413, "body_too_large"),
        ("POST http://b/", &["Expect: wonders"], 417, "http_request_error"),
        ("GET http://b/", &["X-Pool: nope"], 503, "destination_unavailable"),
        ("GET http://b/", &["X-Pool: empty"], 503, "destination_unavailable"),
    ] {
        let answer = ask(request, fields).answer.expect(request);
        assert_eq!((answer.status, answer.reason), (status, reason), "{request} {fields:?}");
    }
    let long = "x".repeat(40_000);
    assert_eq!(ask("GET http://b/", &[&format!("X: {long}")]).answer.unwrap().status, 431);
    assert_eq!(ask(&format!("GET http://b/{long}"), &[]).answer.unwrap().status, 414);
    assert_eq!(ask("POST http://b/api", &["Content-Length: 1024"]).answer, None);
}

/// The pools, the first with these states and loads.
fn pools_with<'a>(config: &'a Config, now: &[(Availability, AdminState, u32)]) -> Vec<PoolNow<'a>> {
    let mut pools = PoolNow::at_rest(config);
    for (backend, (availability, admin, load)) in pools[0].backends.iter_mut().zip(now) {
        backend.availability = Some(*availability);
        (backend.admin, backend.load) = (*admin, *load);
    }
    pools[0].turns = Some([1, 0]);
    pools
}

const UP: (Availability, AdminState, u32) = (Availability::Up, AdminState::Ready, 0);
const DOWN: (Availability, AdminState, u32) = (Availability::Down, AdminState::Ready, 0);
const FULL: (Availability, AdminState, u32) = (Availability::Up, AdminState::Ready, 5);
const DRAINED: (Availability, AdminState, u32) = (Availability::Drain, AdminState::Drain, 1);
const LEAVING: (Availability, AdminState, u32) = (Availability::Drain, AdminState::Leaving, 1);
const TAKEN_OUT: (Availability, AdminState, u32) = (Availability::Maint, AdminState::Maint, 0);

#[test]
fn each_backend_is_said_to_be_next_possible_or_out_and_why() {
    let config = config();
    let next = ("next", "it is its turn");
    let candidate = ("candidate", "");
    let standby = ("out", "it stands in for others, and one of those is up");
    let full = ("out", "it has as many requests as it may");
    for (now, expected, outcome) in [
        ([UP, UP, UP], [candidate, next, standby], "picked"),
        ([UP, FULL, UP], [next, full, standby], "picked"),
        ([DOWN, UP, UP], [("out", "it does not work"), next, standby], "picked"),
        ([DOWN, FULL, UP], [("out", "it does not work"), full, standby], "waits"),
        (
            [DOWN, TAKEN_OUT, UP],
            [("out", "it does not work"), ("out", "the operator has taken it out"), next],
            "picked",
        ),
        (
            [DRAINED, LEAVING, DOWN],
            [
                ("out", "it is drained: only its sticky clients may ask it"),
                ("out", "it is to be forgotten"),
                ("out", "it does not work"),
            ],
            "none up",
        ),
    ] {
        let pools = pools_with(&config, &now);
        let explanation = ask_of(&pools, None, "GET http://b/", &[]);
        assert_eq!(verdicts(&explanation), expected, "{now:?}");
        assert_eq!(explanation.pool.as_ref().unwrap().outcome, outcome, "{now:?}");
        let status = explanation.answer.map(|answer| answer.status);
        assert_eq!(status, (outcome == "none up").then_some(503), "{now:?}");
    }
}

#[test]
fn why_a_backend_is_down_is_said_in_words() {
    let config = config();
    let mut pools = pools_with(&config, &[DOWN, UP, UP]);
    pools[0].backends[0].why = Some(String::from("3 connections in a row were reset"));
    let explanation = ask_of(&pools, None, "GET http://b/", &[]);
    let text = explanation.to_string();
    let line = "10.0.0.1:80 down (3 connections in a row were reset), weight";
    assert!(text.contains(line), "{text}");
}

#[test]
fn of_least_connections_those_with_the_fewest_could_be_next() {
    let config = config();
    let mut pools = PoolNow::at_rest(&config);
    for backend in &mut pools[1].backends {
        backend.availability = Some(Availability::Up);
    }
    pools[1].backends[0].load = 3;
    let explanation = ask_of(&pools, None, "GET http://b/api", &[]);
    let busier = ("out", "others have fewer requests for their weight");
    assert_eq!(verdicts(&explanation)[..2], [busier, ("candidate", "")]);
}

#[test]
fn the_cookie_is_read_as_it_will_be() {
    let config = config();
    let tag = |address: &str| {
        let tag = KEY.tag("default", address.parse().unwrap());
        format!("Cookie: a=b; sticky_backend={}", std::str::from_utf8(tag.digits()).unwrap())
    };
    let own = tag("10.0.0.2:80");
    for (now, cookie, verdict, is_set, place_next) in [
        ([UP, UP, UP], "Cookie: a=b", "new", true, Some(1)),
        ([UP, UP, UP], "Cookie: sticky_backend=forged", "new", true, Some(1)),
        ([UP, UP, UP], &own, "hit", false, Some(1)),
        ([UP, DRAINED, UP], &own, "hit", false, Some(1)),
        ([UP, FULL, UP], &own, "moved", false, Some(0)),
        ([UP, DOWN, UP], &own, "moved", true, Some(0)),
        ([UP, LEAVING, UP], &own, "moved", true, Some(0)),
        ([DOWN, DRAINED, DOWN], &own, "hit", false, Some(1)),
        ([DOWN, DOWN, DOWN], &own, "moved", true, None),
    ] {
        let pools = pools_with(&config, &now);
        let explanation = ask_of(&pools, Some(&KEY), "GET http://b/", &[cookie]);
        let plan = explanation.pool.as_ref().unwrap().sticky.clone().expect("a sticky pool");
        assert_eq!((plan.verdict, plan.is_set), (verdict, is_set), "{now:?} {cookie}");
        let next = verdicts(&explanation).iter().position(|(verdict, _)| *verdict == "next");
        assert_eq!(next, place_next, "{now:?} {cookie}");
        let set = explanation.added_to_response.iter().any(|line| line.starts_with("Set-Cookie: "));
        assert_eq!(set, is_set);
        assert_eq!(explanation.answer.is_some(), place_next.is_none());
    }
    let pools = PoolNow::at_rest(&config);
    let without_key = ask_of(&pools, None, "GET http://b/", &[&own]);
    assert_eq!(without_key.pool.unwrap().sticky.unwrap().verdict, "unknown");
    assert_eq!(without_key.removed_from_request, [own]);
    assert!(without_key.added_to_request.contains(&String::from("Cookie: a=b")));
}

#[test]
fn what_is_repeated_follows_from_the_method_and_the_retries() {
    let plan = |request: &str, fields: &[&str]| ask(request, fields).pool.unwrap().repeats;
    let get = plan("GET http://b/", &[]);
    let harmless = ["connection_refused", "connection_timeout"];
    let all =
        ["connection_refused", "connection_terminated", "identity_mismatch", "connection_timeout"];
    let late = "http_response_timeout";
    let sorted = |mut reasons: Vec<&'static str>| {
        reasons.sort_unstable();
        reasons
    };
    assert_eq!(sorted(get.repeated_after), sorted([&all[..], &[late]].concat()));
    assert!(get.answered_after.contains(&"http_protocol_error") && get.is_evacuated);
    let post = plan("POST http://b/", &[]);
    assert_eq!(sorted(post.repeated_after), harmless);
    assert!(!post.is_idempotent && post.retries == 2 && !post.is_evacuated);
    let keyed = plan("POST http://b/", &["Idempotency-Key: 1"]);
    assert_eq!(sorted(keyed.repeated_after), sorted(all.to_vec()));
    assert!(keyed.answered_after.contains(&late) && keyed.is_evacuated);
    let text = ask("GET http://b/", &[]).to_string();
    assert!(text.contains("http_response_timeout (once)"), "{text}");
    assert!(text.contains("it leaves for another"), "{text}");
    assert!(plan("GET http://b/api", &[]).repeated_after.is_empty());
}

/// What is said of the cache, and the key.
fn cached(request: &str, fields: &[&str]) -> (String, Option<String>) {
    let mut config = config();
    let cache = r#"{"cache": {"dir": "/c"}}"#;
    config.cache = config::load(cache, &Overrides::default()).unwrap().cache;
    let (method, url) = request.split_once(' ').expect("method and URL");
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    let question = Question { method: method.into(), url: url.into(), fields, client: SOMEBODY };
    let pools = PoolNow::at_rest(&config);
    let said = explain_with(&question, &config, &pools, None, &mut scratch(), &mut |_, _, _| {
        Some(Decision::Serve { reply: ConditionalOutcome::Whole, ttl: 5, serving: Serving::Fresh })
    });
    (said.cache, said.cache_key)
}

#[test]
fn the_cache_has_a_part_in_plain_requests() {
    let key = Some(String::from("http://a/x?y"));
    assert_eq!(
        cached("GET http://A:80/x?y", &[]),
        (String::from("hit; ttl=5: the response is stored"), key)
    );
    for (request, fields, expected) in [
        ("POST http://a/", &[][..], "fwd=method: a response below 400 invalidates"),
        ("OPTIONS http://a/", &[], "fwd=method: only GET and HEAD"),
        ("GET http://a/", &["Content-Length: 1"], "fwd=bypass: the request has a body"),
        (
            "GET http://a/",
            &["Cache-Control: no-store"],
            "hit; ttl=5: the response is stored; a backend's",
        ),
        ("GET http://a/", &["Cache-Control: only-if-cached"], "hit; ttl=5: the response is stored"),
        ("HEAD http://a/", &[], "hit; ttl=5: the response is stored; a backend's response is not"),
        (
            "GET http://a/",
            &["Authorization: x"],
            "hit; ttl=5: the response is stored; only responses",
        ),
    ] {
        let (said, key) = cached(request, fields);
        assert!(said.starts_with(expected), "{request} {fields:?}: {said}");
        assert_eq!(key.is_some(), said.starts_with("hit"), "{request}");
    }
}
