//! `/metrics`: names, labels, sums over the workers.

use crate::common::{Answer, Backend, Client, Gate, Program, eventually, json, servers};
use std::{
    collections::HashMap,
    io::Write,
    process::{Command, Stdio},
};

fn read(program: &Program) -> String {
    let mut client = Client::connect(program.status_address());
    let response = client.get("/metrics");
    assert_eq!(response.status, 200);
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(response.field("Content-Type"), Some(media_type));
    response.text()
}

fn samples(text: &str) -> HashMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').expect("a name and a value"));
    let mut all = HashMap::new();
    for (name, value) in pairs {
        let before = all.insert(name.to_owned(), value.parse().expect("a number"));
        assert_eq!(before, None, "{name} is there twice");
    }
    all
}

fn wait_for(program: &Program, series: &str, value: f64) {
    eventually(&format!("{series} is {value}"), || {
        (samples(&read(program)).get(series) == Some(&value)).then_some(())
    });
}

#[test]
fn what_happens_is_counted_once_over_all_workers() {
    let good = Backend::answering(|request| match request.target.as_str() {
        "/404" => Answer::status("404 Not Found", ""),
        _ => Answer::text("12345"),
    });
    let absent = Backend::absent();
    let program = Program::operated(json!({
        "workers": 2,
        "backend_servers": servers(&[&good, &absent]),
        "max_fails": 100,
    }));
    for _ in 0..10 {
        assert_eq!(program.get("/").status, 200);
        assert_eq!(program.get("/404").status, 404);
    }
    let mut client = program.client();
    client.send("BAD\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let of_good = format!("{{pool=\"default\",backend=\"{}\"", good.address);
    let of_absent = format!("{{pool=\"default\",backend=\"{}\"", absent.address);
    wait_for(&program, &format!("httplb_backend_requests_total{of_good}}}"), 20.0);
    // Counted when an answer is over, which the client may know before.
    wait_for(&program, &format!("httplb_backend_response_seconds_count{of_good}}}"), 20.0);
    wait_for(&program, "httplb_responses_total{code=\"4xx\"}", 11.0);
    let found = samples(&read(&program));
    let cases = [
        (String::from("httplb_workers"), 2.0),
        (String::from("httplb_responses_total{code=\"2xx\"}"), 10.0),
        (String::from("httplb_responses_total{code=\"4xx\"}"), 11.0),
        (String::from("httplb_request_errors_total{reason=\"http_request_error\"}"), 1.0),
        (String::from("httplb_client_connections_total"), 21.0),
        (String::from("httplb_pool_backends_up{pool=\"default\"}"), 2.0),
        (format!("httplb_backend_up{of_good}}}"), 1.0),
        (format!("httplb_backend_state{of_good},state=\"up\"}}"), 1.0),
        (format!("httplb_backend_responses_total{of_good},code=\"2xx\"}}"), 10.0),
        (format!("httplb_backend_responses_total{of_good},code=\"4xx\"}}"), 10.0),
        (format!("httplb_backend_response_seconds_count{of_good}}}"), 20.0),
        (format!("httplb_backend_response_seconds_bucket{of_good},le=\"+Inf\"}}"), 20.0),
    ];
    for (series, value) in cases {
        assert_eq!(found.get(&series), Some(&value), "{series}");
    }
    let refused = format!("httplb_backend_errors_total{of_absent},reason=\"connection_refused\"}}");
    assert!(found[&refused] >= 10.0);
    assert_eq!(found["httplb_retries_total{pool=\"default\"}"], found[&refused]);
    assert!(found["httplb_sent_bytes_total"] > 0.0);
    assert!(found["httplb_received_bytes_total"] > 0.0);
    assert!(found["httplb_memory_bound_bytes"] > 0.0);
}

#[test]
fn prometheus_itself_finds_nothing_to_complain_of() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]),
        "pools": {"b": {"backend_servers": []}},
    }));
    program.get("/");
    let text = read(&program);
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut check) = check else {
        println!("promtool is not installed (Debian's package prometheus): not asked");
        return;
    };
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn counters_go_on_over_a_reload() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({"backend_servers": servers(&[&backend])}));
    let series = format!(
        "httplb_backend_requests_total{{pool=\"default\",backend=\"{}\"}}",
        backend.address
    );
    for _ in 0..5 {
        program.get("/");
    }
    wait_for(&program, &series, 5.0);
    let start = samples(&read(&program))["httplb_start_time_seconds"];
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    for _ in 0..5 {
        program.get("/");
    }
    wait_for(&program, &series, 10.0);
    let found = samples(&read(&program));
    assert_eq!(found["httplb_start_time_seconds"], start);
    assert_eq!(found["httplb_reloads_total{result=\"ok\"}"], 1.0);
}

#[test]
fn who_registers_again_while_it_is_leaving_is_counted_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::answering(move |request| {
        if request.target == "/held" {
            held.wait();
        }
        Answer::text("done")
    });
    let program = Program::operated(json!({}));
    let place = format!("/v1/pools/default/backends/{}", backend.address);
    assert_eq!(program.ask(&format!("PUT {place}"), "").status, 201);
    let mut client = program.client();
    client.ask("/held");
    backend.wait_for_requests(1);
    assert_eq!(program.ask(&format!("DELETE {place}"), "").status, 202);
    assert_eq!(program.get("/").status, 503);
    assert_eq!(program.ask(&format!("PUT {place}"), "").status, 201);
    assert_eq!(program.get("/").text(), "done");
    let series = format!("{{pool=\"default\",backend=\"{}\"}}", backend.address);
    wait_for(&program, &format!("httplb_backend_requests_total{series}"), 2.0);
    wait_for(&program, &format!("httplb_backend_requests_active{series}"), 1.0);
    gate.open();
    assert_eq!(client.response().text(), "done");
    wait_for(&program, &format!("httplb_backend_requests_active{series}"), 0.0);
}
