//! What the API says of the last seconds and minutes: rates, errors and times of the service, of each
//! pool and of each backend.

use crate::common::{Answer, Backend, Program, Value, json, process, servers, until};
use std::{thread, time::Duration};

/// Two pools: "default", with this backend, and "api", with none.
fn program(backend: &Backend) -> Program {
    Program::operated(json!({
        "workers": 2,
        "backend_servers": servers(&[backend]),
        "pools": { "api": { "backend_servers": [] } },
        "routes": [{ "path": "/api", "pool": "api" }],
    }))
}

/// What is said of one window of the service, of a pool and of its first backend.
fn now(program: &Program, pool: &str, window: &str) -> [Value; 3] {
    let pool = program.look(&format!("/v1/pools/{pool}"));
    let backend = pool["backends"].get(0).map_or(Value::Null, |one| one["now"][window].clone());
    [program.look("/v1/status")["now"][window].clone(), pool["now"][window].clone(), backend]
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

#[test]
fn rates_and_times_are_those_of_the_service_of_pools_and_of_backends() {
    let backend = Backend::answering(|request| {
        if request.target == "/slow" {
            thread::sleep(Duration::from_millis(400));
        }
        Answer::text("a")
    });
    let program = program(&backend);
    for window in ["10s", "1m", "5m"] {
        for one in now(&program, "default", window) {
            assert_eq!(number(&one, "requests_per_s"), 0.0);
            assert!(one["p50_ms"].is_null() && one["p99_ms"].is_null(), "{one}");
        }
    }
    let mut client = program.client();
    for _ in 0..200 {
        client.get("/");
    }
    // At once, though the service has just started: they are not spread over the window.
    for one in now(&program, "default", "5m") {
        assert!(number(&one, "requests_per_s") >= 10.0, "{one}");
        assert!((0.0..100.0).contains(&number(&one, "p50_ms")), "{one}");
    }
    for _ in 0..8 {
        client.get("/slow");
    }
    for one in now(&program, "default", "1m") {
        assert!(number(&one, "p50_ms") < 100.0, "{one}");
        assert!((300.0..=900.0).contains(&number(&one, "p99_ms")), "{one}");
        assert_eq!(number(&one, "errors_per_s"), 0.0);
    }
    // Nine thousand fast requests hide nothing of the last ten seconds.
    until("the fast ones are over", || {
        client.get("/slow");
        now(&program, "default", "10s").iter().all(|one| number(one, "p50_ms") >= 300.0)
    });
    assert!(number(&now(&program, "default", "5m")[0], "p50_ms") < 100.0);
    until("nothing comes any more", || {
        let is_idle = |one: &Value| number(one, "requests_per_s") == 0.0 && one["p50_ms"].is_null();
        now(&program, "default", "10s").iter().all(is_idle)
    });
    assert!(number(&now(&program, "default", "1m")[2], "requests_per_s") > 0.0);
}

#[test]
fn answers_that_httplb_makes_itself_are_errors_of_the_pool_that_was_asked() {
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/broken" => Answer::status("500 Internal Server Error", "no"),
        _ => Answer::text("a"),
    });
    let program = program(&backend);
    for _ in 0..41 {
        assert_eq!(program.get("/api/x").status, 503);
    }
    program.get("/");
    let status = program.look("/v1/status");
    let api = program.look("/v1/pools/api");
    let expected = json!({ "destination_unavailable": 41 });
    for one in [&status, &api] {
        assert_eq!((&one["errors_total"], &one["errors"]), (&json!(41), &expected));
        assert!(number(&one["now"]["10s"], "errors_per_s") > 1.0, "{one}");
    }
    assert_eq!((&status["requests_total"], &api["requests_total"]), (&json!(42), &json!(41)));
    let default = program.look("/v1/pools/default");
    assert_eq!((&default["errors_total"], &default["errors"]), (&json!(0), &json!({})));
    assert_eq!(number(&default["now"]["10s"], "errors_per_s"), 0.0);
    // What a backend answers is no answer of httplb, but it counts of late.
    for _ in 0..30 {
        assert_eq!(program.get("/broken").status, 500);
    }
    let [_, pool, backend] = now(&program, "default", "1m");
    assert!(number(&pool, "errors_per_s") > 0.5 && number(&backend, "errors_per_s") > 0.5);
    assert_eq!(program.look("/v1/pools/default")["errors_total"], json!(0));
}

/// Requests of the last five minutes, while the service has not run for longer.
fn counted(program: &Program, place: usize) -> f64 {
    let rate = number(&now(program, "default", "5m")[place], "requests_per_s");
    rate * (program.look("/v1/status")["uptime_s"].as_f64().unwrap() + 0.5)
}

#[test]
fn a_reload_and_a_worker_that_dies_change_no_rate() {
    let backend = Backend::named("a");
    let mut program = program(&backend);
    for _ in 0..300 {
        program.get("/");
    }
    thread::sleep(Duration::from_secs(5));
    let close_to = |expected: f64, program: &Program| {
        (0..3).all(|place| (counted(program, place) / expected - 1.0).abs() < 0.25)
    };
    assert!(close_to(300.0, &program), "{:?}", now(&program, "default", "5m"));
    program.configure(|config| config["pools"]["later"] = json!({ "backend_servers": [] }));
    program.reload();
    assert!(close_to(300.0, &program), "{:?}", now(&program, "default", "5m"));
    for _ in 0..300 {
        program.get("/");
    }
    until("those count too", || close_to(600.0, &program));
    let worker = program.worker(1);
    process::kill(worker);
    until("there is another", || program.workers().len() == 2 && program.worker(1) != worker);
    for _ in 0..10 {
        program.get("/");
        assert!(close_to(610.0, &program), "{:?}", now(&program, "default", "5m"));
    }
}
