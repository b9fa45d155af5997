//! What operators are shown, as plain numbers: filled from the shared cells once, and then rendered
//! as JSON, as metrics or as a page, all from the same reading.

use crate::config::{Balance, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{AdminState, Availability};
use crate::policy::identity::Outcome;
use crate::shared::{Histogram, Source};

/// The whole service at one moment.
#[derive(Clone, Debug)]
pub struct Service {
    /// As `httplb --version` has it.
    pub version: &'static str,
    /// The master's process.
    pub pid: u32,
    /// When the service started, since the epoch. A reload is no start.
    pub started: Micros,
    /// How long ago that is.
    pub uptime: Millis,
    /// Worker processes that are meant to run.
    pub workers: u64,
    /// Workers that were started in the place of one that died.
    pub worker_restarts: u64,
    /// Reloads that took effect.
    pub reloads_done: u64,
    /// Reloads that were refused, and changed nothing.
    pub reloads_refused: u64,
    /// Bytes that the workers' connections can take at most.
    pub memory_bound: u64,
    /// Whether the service is stopping.
    pub is_draining: bool,
    /// Whether clients are to be sent elsewhere, though it serves.
    pub is_withdrawn: bool,
    /// Client connections now.
    pub clients: u64,
    /// Client connections allowed.
    pub clients_max: u64,
    /// For how long all of them were taken.
    pub clients_full: Micros,
    /// Bytes that stored answers may have; `None`: none are stored.
    pub cache_max: Option<u64>,
    /// What was counted since the start.
    pub totals: Totals,
    /// Requests a second of late; `None` until there is something to compare with.
    pub requests_per_second: Option<f64>,
    /// In the order of the configuration, then those that backends made by registering.
    pub pools: Vec<PoolStatus>,
}

/// What was counted over all workers since the service started.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Client connections that were accepted.
    pub clients: u64,
    /// Requests that came.
    pub requests: u64,
    /// Those of them that came before the answer to the one before.
    pub pipelined: u64,
    /// Answers by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Answers that httplb made itself, by reason, each reason once.
    pub request_errors: Vec<(&'static str, u64)>,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Bytes that went past the rings, by splice.
    pub spliced: u64,
    /// Bodies that were copied for want of splice or a pipe.
    pub splice_fallbacks: u64,
    /// From a request's head to the end of its response.
    pub durations: Histogram,
    /// Clients that were idle and closed for new ones.
    pub clients_recycled: u64,
    /// Log lines that found no room.
    pub dropped_log_lines: u64,
    /// Messages that found no room.
    pub dropped_messages: u64,
    /// Requests by what the cache did, each result once.
    pub cache_requests: Vec<(&'static str, u64)>,
    /// Bytes of all stored responses.
    pub cache_bytes: u64,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Requests that wait for a backend below its limit.
    pub queue: u64,
    /// Requests that were sent to a further backend.
    pub retries: u64,
    /// In the order of the configuration, then those that registered themselves.
    pub backends: Vec<BackendStatus>,
}

impl PoolStatus {
    /// Backends in this state.
    pub fn count(&self, state: Availability) -> usize {
        self.backends.iter().filter(|backend| backend.state == state).count()
    }
}

/// One backend of one pool.
#[derive(Clone, Debug)]
pub struct BackendStatus {
    /// Where it listens; also its name.
    pub address: Endpoint,
    /// What it may get now.
    pub state: Availability,
    /// How long it has been so.
    pub state_since: Millis,
    /// What the operator wants.
    pub wanted: AdminState,
    /// Who added it.
    pub source: Source,
    /// Its share, from 1.
    pub weight: u64,
    /// Whether it gets requests only while no primary is up.
    pub is_backup: bool,
    /// Requests that it works on.
    pub active: u64,
    /// How many of these it may have; 0 is no cap.
    pub max_connections: u64,
    /// Requests of its pool that wait, while it is at its cap; else none waits for it.
    pub queue: u64,
    /// The last check of its health.
    pub last_check: Option<CheckStatus>,
    /// The checks that failed since the start.
    pub check_failures: u64,
    /// How long it was down since the start.
    pub downtime: Millis,
    /// How long an unused connection to it is kept, as far as is known by now.
    pub idle_limit: Millis,
    /// Whether it returns `X-Request-ID`.
    pub echoes_id: bool,
    /// What is left of its lease; `None` if it has none.
    pub lease: Option<Millis>,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Its answers by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that failed there, by reason, each reason once.
    pub errors: Vec<(&'static str, u64)>,
    /// Connections that were opened.
    pub connects: u64,
    /// Requests over a connection that was there already.
    pub reuses: u64,
    /// Idle connections that turned out closed when they were used.
    pub stale_connections: u64,
    /// Answers that belonged to another request.
    pub identity_mismatches: u64,
    /// What became of answers that seemed to belong to another request, each outcome once.
    pub doubts: [(&'static str, u64); Outcome::ALL.len()],
    /// Idle connections.
    pub idle_connections: u64,
    /// From a request's dispatch to the end of its response.
    pub response_times: Histogram,
}

impl BackendStatus {
    /// The requests that failed, for any reason.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }
}

/// The last check of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckStatus {
    /// Whether it found the backend healthy.
    pub is_ok: bool,
    /// The status of the answer; `None` where there was none, or only a connect was tried.
    pub status: Option<u16>,
    /// How long it took.
    pub time: Micros,
    /// How long ago it ended.
    pub age: Millis,
}

/// Where a rate comes from: the counter at earlier moments.
#[derive(Debug)]
pub struct Rate {
    /// Moments and what the counter was, the newest last.
    samples: [(Micros, u64); Rate::SAMPLES],
    len: usize,
}

impl Rate {
    const SAMPLES: usize = 8;
    /// A shorter time is compared with nothing: it would jump.
    const SHORTEST: Micros = Micros::from_secs(1);

    /// Nothing to compare with.
    pub const fn new() -> Rate {
        Rate { samples: [(Micros(0), 0); Rate::SAMPLES], len: 0 }
    }

    /// Notes what the counter is `now`, and says how much a second it grew since the newest
    /// earlier moment that is a second ago or more.
    pub fn observe(&mut self, now: Micros, total: u64) -> Option<f64> {
        let known = &self.samples[..self.len];
        let earlier = known.iter().rev().find(|(time, _)| now - *time >= Rate::SHORTEST).copied();
        let newest = known.last().copied();
        // Moments close to each other would push out the ones that are old enough.
        if newest.is_none_or(|(time, _)| now - time >= Micros(Rate::SHORTEST.0 / 4)) {
            if self.len == Rate::SAMPLES {
                self.samples.rotate_left(1);
            } else {
                self.len += 1;
            }
            self.samples[self.len - 1] = (now, total);
        }
        let (time, before) = earlier?;
        let grown = total.saturating_sub(before) as f64;
        Some(grown * 1e6 / (now - time).0 as f64)
    }
}

impl Default for Rate {
    fn default() -> Rate {
        Rate::new()
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub mod tests;
