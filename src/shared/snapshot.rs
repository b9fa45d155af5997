//! The service at a moment, as plain numbers: what the status page, the metrics, the JSON API, `/healthz`
//! and explanations are made of. `snapshot_reader.rs` reads it from the cells.
//!
//! What workers count lies in a row for each of them. The sums over all rows take long where there are
//! many backends and workers, so who shows none asks for none: a `Snapshot<()>` has what a backend's own
//! cells say, a `Snapshot<BackendTotals>` the sums as well.

use crate::config::{self, Balance, Config, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::policy::explain::{BackendNow, PoolNow};
use crate::policy::health::{AdminState, Availability};
use crate::policy::identity::Outcome;
use crate::policy::multiplexing::Unshared;
use crate::policy::slow_start::TrafficShare;

use super::backends::Source;
use super::histogram::Histogram;
use super::history::Lately;
use super::layout::PoolId;
use super::tally::Tally;

/// The service at a moment, with totals `T` of each backend.
#[derive(Clone, Debug)]
pub struct Snapshot<T> {
    /// The service as a whole.
    pub service: ServiceSnapshot,
    /// In the order of the configuration, then those that backends made by registering.
    pub pools: Vec<PoolSnapshot<T>>,
}

/// The service as a whole.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSnapshot {
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
    /// When the last reload was over, since the epoch, if there was one.
    pub last_reload: Option<Micros>,
    /// Whether that was refused.
    pub last_reload_failed: bool,
    /// Whether the service is stopping.
    pub is_draining: bool,
    /// Whether clients are to be sent elsewhere, though it serves.
    pub is_withdrawn: bool,
    /// Client connections now.
    pub clients: u64,
}

/// What was counted over all workers since the service started.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Client connections that were accepted.
    pub clients: u64,
    /// Requests that came.
    pub requests: u64,
    /// Those of them that came before the response to the one before.
    pub pipelined: u64,
    /// Responses by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Responses that httplb made itself, by reason, each reason once.
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
    /// What was not stored, or not looked for, as the disk was slow.
    pub cache_slow_disk: u64,
    /// Requests by what the cache did, each result once.
    pub cache_requests: Vec<(&'static str, u64)>,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolSnapshot<T> {
    /// Its place in the table.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub balance: Balance,
    /// How many turns of the rotation primaries and backups have taken.
    pub rotation: [u64; 2],
    /// Requests that wait for a backend below its limit.
    pub queue: u64,
    /// Requests that were sent to a further backend.
    pub retries: u64,
    /// What was counted of its requests since the start: for whoever shows it to fill in.
    pub totals: Tally,
    /// Requests without a whole answer of a backend, by reason: likewise.
    pub errors: Vec<(&'static str, u64)>,
    /// What was counted of late: likewise.
    pub lately: Lately,
    /// In the order of the configuration, then those that registered themselves.
    pub backends: Vec<BackendSnapshot<T>>,
}

/// One backend of one pool.
#[derive(Clone, Debug)]
pub struct BackendSnapshot<T> {
    /// Where it listens, as it was configured or registered.
    pub address: Endpoint,
    /// What it may get now.
    pub state: Availability,
    /// How long it has been so.
    pub state_since: Millis,
    /// How many tenths of its weight count, while it starts slowly.
    pub parts: u32,
    /// It has come back from a mark by what requests show, and is to give a good response first.
    pub is_on_trial: bool,
    /// Why it is down, in words.
    pub why: Option<String>,
    /// What the operator wants.
    pub admin: AdminState,
    /// Who added it.
    pub source: Source,
    /// The name that brings it, if one does.
    pub name: Option<String>,
    /// Its share, from 1.
    pub weight: u32,
    /// Whether it gets requests only while no primary is up.
    pub is_backup: bool,
    /// Requests that it works on.
    pub active: u32,
    /// How many of these it may have, as was said; 0 is no limit, [`config::AUTO_CAP`] one that finds itself.
    pub max_connections: u32,
    /// How many of these it may have now; 0 is no limit.
    pub cap: u32,
    /// Requests of its pool that wait, while it is at its limit; else none waits for it.
    pub queue: u64,
    /// The last check of its health.
    pub last_check: Option<CheckSnapshot>,
    /// The checks that failed since the start.
    pub check_failures: u64,
    /// How long it was down since the start.
    pub downtime: Millis,
    /// What is left of its lease; `None` if it has none.
    pub lease: Option<Millis>,
    /// Whether clients share its connections, with its usual time, or why not; `None` where they are not
    /// to.
    pub shares: Option<Result<Micros, Unshared>>,
    /// What was counted.
    pub totals: T,
}

/// The last check of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSnapshot {
    /// Whether it found the backend healthy.
    pub is_ok: bool,
    /// The status of the response; `None` where there was none, or only a connect was tried.
    pub status: Option<u16>,
    /// How long it took.
    pub time: Micros,
    /// How long ago it ended.
    pub age: Millis,
}

/// What was counted of one backend over all workers, and what they know of it.
#[derive(Clone, Debug)]
pub struct BackendTotals {
    /// Requests that were sent to it.
    pub requests: u64,
    /// Its responses by class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that failed there, by reason, each reason once.
    pub errors: Vec<(&'static str, u64)>,
    /// Connections that were opened.
    pub connects: u64,
    /// Requests over a connection that was there already.
    pub reuses: u64,
    /// Idle connections that turned out closed when they were used.
    pub stale_connections: u64,
    /// Responses that belonged to another request.
    pub identity_mismatches: u64,
    /// What became of responses that seemed to belong to another request, each outcome once.
    pub doubts: [(&'static str, u64); Outcome::ALL.len()],
    /// Idle connections.
    pub idle_connections: u64,
    /// How long an idle connection to it is kept, as far as is known by now.
    pub idle_limit: Millis,
    /// Whether it returns `X-Request-ID`.
    pub echoes_id: bool,
    /// Requests that were sent behind those of other clients.
    pub shared_requests: u64,
    /// Requests that left it for another one when it went down.
    pub evacuated_requests: u64,
    /// From a request's dispatch to the end of its response.
    pub response_times: Histogram,
    /// What was counted of late: for whoever samples it to fill in.
    pub lately: Lately,
}

impl BackendTotals {
    /// The requests that failed, for any reason.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }
}

impl<T> Snapshot<T> {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&PoolSnapshot<T>> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

impl<T> PoolSnapshot<T> {
    /// Backends in this state.
    pub fn count(&self, state: Availability) -> usize {
        self.backends.iter().filter(|backend| backend.state == state).count()
    }

    /// As an explanation wants it.
    pub fn to_explain<'a>(&self, config: &'a Config) -> PoolNow<'a> {
        let keys = self.id.keys(config);
        PoolNow {
            name: self.name.clone(),
            keys,
            backends: self.backends.iter().map(|one| one.to_explain()).collect(),
            names: Vec::new(),
            turns: Some(self.rotation),
        }
    }
}

impl<T> BackendSnapshot<T> {
    /// The server that it is, and its name for operators: see [`Endpoint::canonical`].
    pub fn server(&self) -> Endpoint {
        self.address.canonical()
    }

    fn to_explain(&self) -> BackendNow {
        BackendNow {
            keys: config::Backend {
                address: self.address,
                weight: self.weight,
                max_connections: self.max_connections,
                backup: self.is_backup,
            },
            availability: Some(self.state),
            why: self.why.clone(),
            admin: self.admin,
            load: self.active,
            cap: self.cap,
            share: TrafficShare { parts: self.parts, is_on_trial: self.is_on_trial },
            shares: self.shares,
        }
    }
}
