//! Tests of the view, and a view that the tests of its renderings share.

use super::*;

/// Of times up to 1 ms, 10 ms, 100 ms and 60 s.
fn histogram(counts: [u64; 4]) -> Histogram {
    let mut buckets = [0; Histogram::BOUNDS.len() + 1];
    for (place, count) in [0, 3, 6, 14].into_iter().zip(counts) {
        buckets[place] = count;
    }
    Histogram { buckets, sum: Micros(123_456) }
}

/// A backend at 127.0.0.1:8001 with a different number in each place.
pub fn backend() -> BackendStatus {
    BackendStatus {
        address: "127.0.0.1:8001".parse().unwrap(),
        state: Availability::Up,
        state_since: Millis(86_400),
        wanted: AdminState::Ready,
        source: Source::File,
        weight: 5,
        is_backup: false,
        active: 3,
        max_connections: 50,
        queue: 0,
        last_check: Some(CheckStatus {
            is_ok: true,
            status: Some(200),
            time: Micros(1_234),
            age: Millis(3_400),
        }),
        check_failures: 7,
        downtime: Millis(12_500),
        idle_limit: Millis(4_000),
        echoes_id: true,
        lease: None,
        requests: 40_010,
        responses: [1, 39_000, 500, 400, 109],
        errors: vec![("connection_refused", 2), ("http_response_timeout", 1)],
        connects: 120,
        reuses: 39_890,
        stale_connections: 6,
        identity_mismatches: 0,
        doubts: Outcome::ALL.map(|outcome| (outcome.as_str(), 3)),
        idle_connections: 9,
        response_times: histogram([30_000, 9_000, 900, 10]),
    }
}

/// A service with one pool, "default", of one backend.
pub fn service() -> Service {
    Service {
        version: "0.2.0",
        pid: 4711,
        started: Micros(1_795_250_401_500_000),
        uptime: Millis(90_061_000),
        workers: 2,
        worker_restarts: 1,
        reloads_done: 3,
        reloads_refused: 2,
        memory_bound: 1_107_296_256,
        cache_max: None,
        is_draining: false,
        is_withdrawn: false,
        clients: 17,
        clients_max: 8192,
        clients_full: Micros::from_secs(18),
        totals: Totals {
            clients: 1_000,
            requests: 50_000,
            pipelined: 250,
            responses: [0, 48_000, 900, 600, 500],
            request_errors: vec![("http_request_error", 11), ("destination_unavailable", 12)],
            received: 1 << 30,
            sent: 5 << 30,
            spliced: 3 << 30,
            splice_fallbacks: 10,
            durations: histogram([40_000, 9_000, 990, 10]),
            dropped_log_lines: 13,
            clients_recycled: 17,
            dropped_messages: 9,
            cache_requests: vec![("hit", 14), ("miss", 15)],
            cache_bytes: 16,
        },
        requests_per_second: Some(123.4),
        pools: vec![PoolStatus {
            name: String::from("default"),
            balance: Balance::RoundRobin,
            queue: 2,
            retries: 21,
            backends: vec![backend()],
        }],
    }
}

#[test]
fn a_rate_needs_a_second_to_compare_with() {
    let mut rate = Rate::new();
    assert_eq!(rate.observe(Micros(0), 100), None);
    assert_eq!(rate.observe(Micros(999_999), 200), None);
    assert_eq!(rate.observe(Micros(1_999_999), 300), Some(100.0));
}

#[test]
fn a_rate_is_that_of_the_last_second_or_so_however_often_it_is_asked_for() {
    let mut rate = Rate::new();
    let mut last = None;
    for step in 0..400 {
        let total = if step < 300 { 0 } else { (step - 300) * 5 };
        last = rate.observe(Micros(step * 50_000), total);
    }
    assert_eq!(last.map(f64::round), Some(100.0));
}

#[test]
fn a_counter_that_went_back_is_no_negative_rate() {
    let mut rate = Rate::new();
    rate.observe(Micros(0), 100);
    assert_eq!(rate.observe(Micros::from_secs(2), 50), Some(0.0));
}
