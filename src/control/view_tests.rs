//! A view that the tests of its renderings share.

use super::*;
use crate::config::Balance;
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Availability};
use crate::policy::identity::Outcome;
use crate::shared::history::{Growth, Lately};
use crate::shared::snapshot::CheckSnapshot;
use crate::shared::tally::Tally;
use crate::shared::{Histogram, Source};

/// Of times up to 1 ms, 10 ms, 100 ms and 60 s.
fn histogram(counts: [u64; 4]) -> Histogram {
    let mut buckets = [0; Histogram::BUCKETS];
    let ends = [1_000, 10_000, 100_000, 60_000_000].map(Micros);
    for (end, count) in ends.into_iter().zip(counts) {
        let place = Histogram::BOUNDS.iter().position(|bound| *bound == end).unwrap();
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
        parts: 10,
        is_on_trial: false,
        why: None,
        admin: AdminState::Ready,
        source: Source::File,
        name: None,
        weight: 5,
        is_backup: false,
        active: 3,
        max_connections: 50,
        cap: 50,
        queue: 0,
        last_check: Some(CheckSnapshot {
            is_ok: true,
            status: Some(200),
            time: Micros(1_234),
            age: Millis(3_400),
        }),
        check_failures: 7,
        downtime: Millis(12_500),
        lease: None,
        shares: None,
        totals: totals(),
    }
}

/// What was counted of that backend.
pub fn totals() -> BackendTotals {
    BackendTotals {
        requests: 40_010,
        responses: [1, 39_000, 500, 400, 109],
        errors: vec![("connection_refused", 2), ("http_response_timeout", 1)],
        connects: 120,
        reuses: 39_890,
        stale_connections: 6,
        identity_mismatches: 0,
        doubts: Outcome::ALL.map(|outcome| (outcome.as_str(), 3)),
        idle_connections: 9,
        idle_limit: Millis(4_000),
        echoes_id: true,
        shared_requests: 11,
        evacuated_requests: 5,
        response_times: histogram([30_000, 9_000, 900, 10]),
        lately: lately(),
    }
}

/// 123 requests a second for two seconds, of which two failed.
pub fn lately() -> Lately {
    Lately::always(Growth { span: Micros::from_secs(2), counts: tally() })
}

/// What was counted of a pool.
pub fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.0[0] = 246;
    tally.0[2] = 2;
    let times = Tally::LEN - Histogram::BUCKETS;
    tally.0[times..].copy_from_slice(&histogram([40, 9, 1, 0]).buckets);
    tally
}

/// A service with one pool, "default", of one backend.
pub fn view() -> View {
    View {
        names: Vec::new(),
        registry: None,
        service: ServiceStatus {
            version: "0.2.0",
            pid: 4711,
            snapshot: ServiceSnapshot {
                started: Micros(1_795_250_401_500_000),
                uptime: Millis(90_061_000),
                workers: 2,
                worker_restarts: 1,
                reloads_done: 3,
                reloads_refused: 2,
                last_reload: None,
                last_reload_failed: false,
                is_draining: false,
                is_withdrawn: false,
                clients: 17,
            },
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
                cache_slow_disk: 6,
                cache_requests: vec![("hit", 14), ("miss", 15)],
            },
            memory_bound: 1_107_296_256,
            clients_max: 8192,
            clients_full: Micros::from_secs(18),
            lately: lately(),
            cache_max: None,
            cache_bytes: 16,
        },
        pools: vec![PoolStatus {
            id: PoolId(0),
            name: String::from("default"),
            balance: Balance::RoundRobin,
            rotation: [0; 2],
            queue: 2,
            retries: 21,
            totals: tally(),
            errors: vec![("destination_unavailable", 12), ("client_abort", 4)],
            lately: lately(),
            backends: vec![backend()],
        }],
    }
}
