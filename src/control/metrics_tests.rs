use std::collections::{HashMap, HashSet};

use super::super::view::tests::{backend, view};
use super::*;

/// Every name that operators may have in their alerts.
const NAMES: [&str; 55] = [
    "httplb_build_info",
    "httplb_start_time_seconds",
    "httplb_workers",
    "httplb_worker_restarts_total",
    "httplb_reloads_total",
    "httplb_memory_bound_bytes",
    "httplb_draining",
    "httplb_last_reload_success",
    "httplb_last_reload_time_seconds",
    "httplb_withdrawn",
    "httplb_client_connections",
    "httplb_client_connections_max",
    "httplb_clients_recycled_total",
    "httplb_connections_full_seconds_total",
    "httplb_client_connections_total",
    "httplb_requests_total",
    "httplb_pipelined_requests_total",
    "httplb_responses_total",
    "httplb_request_errors_total",
    "httplb_received_bytes_total",
    "httplb_sent_bytes_total",
    "httplb_spliced_bytes_total",
    "httplb_splice_fallbacks_total",
    "httplb_request_duration_seconds",
    "httplb_dropped_log_lines_total",
    "httplb_dropped_messages_total",
    "httplb_pool_backends_up",
    "httplb_pool_queue",
    "httplb_retries_total",
    "httplb_pool_requests_total",
    "httplb_pool_responses_total",
    "httplb_pool_errors_total",
    "httplb_cache_requests_total",
    "httplb_cache_bytes",
    "httplb_cache_slow_disk_total",
    "httplb_backend_up",
    "httplb_backend_state",
    "httplb_backend_weight",
    "httplb_backend_requests_active",
    "httplb_backend_requests_total",
    "httplb_backend_responses_total",
    "httplb_backend_errors_total",
    "httplb_backend_doubts_total",
    "httplb_backend_connects_total",
    "httplb_backend_reuses_total",
    "httplb_backend_shared_requests_total",
    "httplb_backend_cap",
    "httplb_backend_evacuated_requests_total",
    "httplb_backend_multiplex",
    "httplb_backend_stale_connections_total",
    "httplb_backend_identity_mismatches_total",
    "httplb_backend_idle_connections",
    "httplb_backend_check_failures_total",
    "httplb_backend_downtime_seconds_total",
    "httplb_backend_response_seconds",
];

/// A strict reader of the format. Gives the samples by name and labels as they are written.
fn read(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(help.ends_with('.'), "{line}");
        assert!(families.insert(name.to_owned()), "{name} comes twice");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let own = series.split('{').next().unwrap();
            match kind {
                "histogram" => {
                    let part = own.strip_prefix(name).unwrap();
                    assert!(["_bucket", "_sum", "_count"].contains(&part), "{line}");
                }
                "counter" | "gauge" => assert_eq!(own, name),
                other => panic!("kind {other}"),
            }
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
    }
    samples
}

fn rendered() -> HashMap<String, f64> {
    read(&render(&view()))
}

#[test]
fn every_name_of_the_contract_is_there_and_no_other() {
    let text = render(&view());
    let found: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(found, NAMES.into_iter().collect());
}

#[test]
fn samples_have_the_labels_and_values_of_the_service() {
    let samples = rendered();
    let backend = "{pool=\"default\",backend=\"127.0.0.1:8001\"";
    let cases = [
        (String::from("httplb_build_info{version=\"0.2.0\"}"), 1.0),
        (String::from("httplb_start_time_seconds"), 1_795_250_401.5),
        (String::from("httplb_reloads_total{result=\"failed\"}"), 2.0),
        (String::from("httplb_draining"), 0.0),
        (String::from("httplb_responses_total{code=\"5xx\"}"), 500.0),
        (String::from("httplb_request_errors_total{reason=\"destination_unavailable\"}"), 12.0),
        (String::from("httplb_cache_requests_total{result=\"miss\"}"), 15.0),
        (String::from("httplb_pool_backends_up{pool=\"default\"}"), 1.0),
        (String::from("httplb_retries_total{pool=\"default\"}"), 21.0),
        (format!("httplb_backend_up{backend}}}"), 1.0),
        (format!("httplb_backend_state{backend},state=\"up\"}}"), 1.0),
        (format!("httplb_backend_state{backend},state=\"maint\"}}"), 0.0),
        (format!("httplb_backend_doubts_total{backend},outcome=\"unfounded\"}}"), 3.0),
        (format!("httplb_backend_responses_total{backend},code=\"2xx\"}}"), 39_000.0),
        (format!("httplb_backend_errors_total{backend},reason=\"connection_refused\"}}"), 2.0),
        (format!("httplb_backend_downtime_seconds_total{backend}}}"), 12.5),
        (format!("httplb_backend_response_seconds_bucket{backend},le=\"0.01\"}}"), 39_000.0),
        (format!("httplb_backend_response_seconds_bucket{backend},le=\"+Inf\"}}"), 39_910.0),
        (format!("httplb_backend_response_seconds_count{backend}}}"), 39_910.0),
        (format!("httplb_backend_response_seconds_sum{backend}}}"), 0.123_456),
    ];
    for (series, value) in cases {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
}

#[test]
fn a_label_cannot_break_its_line() {
    let mut view = view();
    view.pools[0].name = String::from("a\\b\"c\nd}");
    let text = render(&view);
    assert!(text.contains("httplb_pool_queue{pool=\"a\\\\b\\\"c\\nd}\"} 2\n"));
    read(&text);
}

#[test]
fn the_samples_of_all_pools_stand_under_one_heading() {
    let mut view = view();
    let mut second = view.pools[0].clone();
    second.name = String::from("api");
    second.backends.push(BackendStatus { address: "[fd00::7]:80".parse().unwrap(), ..backend() });
    view.pools.push(second);
    let samples = read(&render(&view));
    let weight = "httplb_backend_weight{pool=\"api\",backend=\"[fd00::7]:80\"}";
    assert_eq!(samples.get(weight), Some(&5.0));
}

#[test]
fn without_pools_the_headings_are_there_all_the_same() {
    let headings = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("# HELP ")).map(String::from).collect()
    };
    let mut view = view();
    let with_pools = headings(&render(&view));
    view.pools.clear();
    let text = render(&view);
    read(&text);
    assert_eq!(headings(&text), with_pools);
}
