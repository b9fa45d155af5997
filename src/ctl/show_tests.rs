use super::*;
use serde_json::json;

fn a_backend() -> Value {
    json!({
        "backend": "10.0.0.1:80", "state": "down", "admin": "ready", "source": "file", "weight": 5,
        "connections": 3, "max_connections": 50, "queue": 0, "requests_total": 40010,
        "errors_total": 3, "last_check": {"ok": false, "status": 404, "ms": 1.2, "age_s": 3},
        "state_since_s": 86, "why": "its check was answered 404\u{1b}[2J",
        "now": {"10s": {"requests_per_s": 12.5, "errors_per_s": 1.0, "p50_ms": 1.0, "p99_ms": 7.5}}
    })
}

#[test]
fn a_service_is_shown_with_its_rates() {
    let window =
        json!({"requests_per_s": 41.0, "errors_per_s": 2.5, "p50_ms": 0.5, "p99_ms": 900.0});
    let text = status(
        &json!({"version": "0.2.0", "pid": 7, "uptime_s": 90061, "workers": 2, "draining": false,
            "withdrawn": true, "connections": {"current": 17, "max": 8192}, "requests_total": 50,
            "errors_total": 32, "errors": {"connection_refused": 7, "destination_unavailable": 25},
            "memory_bound_bytes": 1_107_296_256_u64, "now": {"10s": window}}),
        false,
    );
    let expected = "httplb 0.2.0, withdrawn
process       7, up 1d 1h, 2 workers
connections   17 of 8192
requests      50 since the start
errors        32 since the start: destination_unavailable 25, connection_refused 7
memory bound  1056 MiB

LAST  REQ/S  ERR/S  P50 MS  P99 MS
10s      41    2.5     0.5     900
1m        -      -       -       -
5m        -      -       -       -
";
    assert_eq!(text, expected);
}

#[test]
fn what_is_wrong_stands_at_the_top_and_nobody_is_said_to_serve_who_fails() {
    let troubles = json!([
        {"severity": "bad", "text": "api: no backend is up, 41 requests a second get 503"},
        {"severity": "doubtful", "text": "the last reload was refused\u{1b}[2J"},
    ]);
    let text = status(&json!({"version": "0.2.0", "troubles": troubles}), false);
    let expected = "httplb 0.2.0, in trouble
  api: no backend is up, 41 requests a second get 503
  the last reload was refused\\u001b[2J
process ";
    assert!(text.starts_with(expected), "{text}");
    let some = json!([{"severity": "doubtful", "text": "api: 1 of 2 backends is down"}]);
    let text = status(&json!({"version": "0.2.0", "troubles": some}), false);
    assert!(text.starts_with("httplb 0.2.0, serving\n  api: 1 of 2 backends is down\n"), "{text}");
}

#[test]
fn an_older_service_is_said_to_be_one() {
    let text = status(&json!({"version": "0.1.0"}), false);
    assert!(text.contains("rates         not told: the service runs a version older"), "{text}");
}

#[test]
fn pools_are_shown_with_the_reasons_and_nothing_steers_the_terminal() {
    let pool = json!({"name": "api", "balance": "round_robin", "backends": [a_backend()],
        "now": {"10s": {"requests_per_s": 12.5, "errors_per_s": 1.0}}});
    let expected = "api: 0 of 1 up, round robin, 12.5 requests/s, 1 errors/s
BACKEND      STATE   SINCE  WEIGHT  CONNS  QUEUE  REQ/S  ERR/S  P99 MS  REQUESTS  ERRORS  CHECK               NOTES
10.0.0.1:80  down   1m 26s       5   3/50      0   12.5      1     7.5     40010       3  failed 404, 3s ago  its check was answered 404\\u001b[2J
";
    assert_eq!(pools(&json!({"pools": [pool]}), false), expected);
    assert_eq!(pools(&pool, false), expected);
    let coloured = pools(&pool, true);
    assert!(coloured.contains("\u{1b}[31;1mdown\u{1b}[m"), "{coloured}");
}

#[test]
fn what_is_not_usual_of_a_backend_is_noted() {
    let mut backend = json!({"source": "name", "name": "app.internal", "max_connections": "auto",
        "cap": 37, "connections": 3, "lease_s": 9});
    assert_eq!(notes(&backend), "by name app.internal; lease 9s");
    backend["errors"] = json!({"connection_refused": 3});
    assert_eq!(notes(&backend), "connection_refused 3; by name app.internal; lease 9s");
    backend["errors"] = json!({});
    assert_eq!(connections(&backend), "3/37 auto");
    (backend["state"], backend["admin"]) = (json!("down"), json!("drain"));
    assert!(notes(&backend).starts_with("set to drain; by name"), "{}", notes(&backend));
    backend["state"] = json!("drain");
    backend["source"] = json!("registry");
    assert_eq!(notes(&backend), "by registry; lease 9s");
}

#[test]
fn names_and_the_registry_are_shown() {
    let name = json!({"name": "app", "port": 80, "pool": "default", "state": "unknown", "since_s": 7,
        "last_ok_age_s": 9, "addresses": ["10.0.0.1:80", "10.0.0.2:80"], "going": [],
        "last_error": "no answer"});
    let text = names(&json!({"names": [name]}), false);
    assert!(
        text.contains(
            "default  app:80  unknown     7s  9s ago  10.0.0.1:80, 10.0.0.2:80  -      no answer\n"
        ),
        "{text}"
    );
    assert!(names(&json!({"names": []}), false).starts_with("no backend is named"));
    let text = registry(
        &json!({"state": "lost", "endpoint": "10.0.0.1:2379", "revision": 5, "age_s": 3,
            "instances": ["a", {"name": "b", "version": "1"}], "error": "no leader"}),
        false,
    );
    let lines = "lost 10.0.0.1:2379, revision 5: no leader, heard of 3s ago
  instance a
  instance name b, version 1
";
    assert_eq!(text, lines);
    let never = json!({"state": "never", "endpoint": null, "age_s": 3, "instances": []});
    assert_eq!(registry(&never, false), "never, asked for 3s\n");
}

#[test]
fn an_explanation_is_a_tree_of_lines() {
    let text = tree(
        &json!({"request": "GET /\u{9b}", "answer": null, "route": {"passed_over": []},
        "pool": {"name": "a", "backends": [{"backend": "b", "state": "up", "why": null, "because": ""}]},
        "limits": ["x", {"of": "y", "is": "7"}]}),
    );
    let expected = "request: GET /\\u009b
route:
pool:
  name: a
  backends:
    - backend b, state up
limits:
  - x
  - y: 7
";
    assert_eq!(text, expected);
    // Whoever answers may be anybody.
    let mut deep = json!(1);
    (0..100).for_each(|_| deep = json!({ "a": deep }));
    assert!(tree(&deep).lines().count() < 20);
}
