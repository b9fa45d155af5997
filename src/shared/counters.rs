//! A worker's row: what it holds, and what it has counted.
//!
//! Only the worker writes it, by a load and a store without any lock, in cache lines that no other
//! worker writes.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::http::cache_status::CacheResult;
use crate::mem::time::Micros;
use crate::policy::identity::Outcome;
use crate::policy::reason::Reason;

use super::histogram::{Histogram, add, observe};
use super::layout::{BackendId, LINE, Layout, PoolId};
use super::place_times::PlaceTimes;

// The row's head.
const PID: usize = 0;
const CLIENTS: usize = 1;
const INTENT: usize = 2;
const COUNTERS: usize = LINE;
const DURATION: usize = COUNTERS + Counter::COUNT;
const HEAD: usize = (DURATION + Histogram::CELLS).next_multiple_of(LINE);

// A row's part for one pool.
const POOL_COUNTERS: usize = PoolGauge::ALL.len();
const POOL_DURATION: usize = POOL_COUNTERS + PoolCounter::COUNT;
const POOL: usize = POOL_DURATION + Histogram::CELLS;

// A row's part for one backend.
const HELD: usize = 0;
const PLACES: usize = 1;
const GAUGES: usize = PLACES + 3;
const BACKEND_COUNTERS: usize = GAUGES + BackendGauge::ALL.len();
const RESPONSE: usize = BACKEND_COUNTERS + BackendCounter::COUNT;
const BACKEND: usize = (RESPONSE + Histogram::CELLS).next_multiple_of(LINE);

/// Where in a row the part for backends begins.
pub(super) fn backends_at(layout: &Layout) -> usize {
    HEAD + (layout.pools * POOL).next_multiple_of(LINE)
}

/// How many cells a row has.
pub(super) fn row_cells(layout: &Layout) -> usize {
    backends_at(layout) + layout.backends * BACKEND
}

/// The first digit of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 1xx: of a whole answer only 101.
    Interim,
    /// 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    ClientError,
    /// 5xx, and what is none of these.
    ServerError,
}

impl Class {
    /// All there are, in the order of their numbers.
    pub const ALL: [Class; 5] =
        [Class::Interim, Class::Success, Class::Redirect, Class::ClientError, Class::ServerError];

    /// That of a status.
    pub const fn from_status(status: u16) -> Class {
        match status {
            100..=199 => Class::Interim,
            200..=299 => Class::Success,
            300..=399 => Class::Redirect,
            400..=499 => Class::ClientError,
            _ => Class::ServerError,
        }
    }

    /// The value of the label `code`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Interim => "1xx",
            Class::Success => "2xx",
            Class::Redirect => "3xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
        }
    }
}

/// What a worker counts for the whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `httplb_client_connections_total`: clients that were accepted.
    Connections,
    /// `httplb_requests_total`: requests that were taken in, refused ones too.
    Requests,
    /// `httplb_pipelined_requests_total`: those that came while another of their client was in work.
    Pipelined,
    /// `httplb_received_bytes_total`: from clients.
    Received,
    /// `httplb_sent_bytes_total`: to clients.
    Sent,
    /// `httplb_spliced_bytes_total`: of bodies, in both directions, that bypassed the program.
    Spliced,
    /// `httplb_splice_fallbacks_total`: bodies that were copied, as they could not be spliced.
    SpliceFallbacks,
    /// `httplb_dropped_log_lines_total`.
    DroppedLines,
    /// `httplb_clients_recycled_total`: idle clients that were closed for new ones.
    Recycled,
    /// `httplb_dropped_messages_total`: lines that standard error did not take.
    DroppedMessages,
    /// Responses of backends that were passed on and have a status of the class 5xx.
    FailingResponses,
    /// `httplb_cache_slow_disk_total`: what was not stored, or not looked for, as the disk was slow.
    SlowDisk,
    /// `httplb_responses_total{code}`: by the status that the client got.
    Responses(Class),
    /// `httplb_request_errors_total{reason}`: requests without a whole answer of a backend.
    Errors(Reason),
    /// `httplb_cache_requests_total{result}`: where there is a cache.
    Cache(CacheResult),
}

impl Counter {
    const COUNT: usize = Counter::Cache(CacheResult::ALL[0]).index() + CacheResult::ALL.len();

    /// All there are.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Counter> {
        let plain = [
            Counter::Connections,
            Counter::Requests,
            Counter::Pipelined,
            Counter::Received,
            Counter::Sent,
            Counter::Spliced,
            Counter::SpliceFallbacks,
            Counter::DroppedLines,
            Counter::Recycled,
            Counter::DroppedMessages,
            Counter::FailingResponses,
            Counter::SlowDisk,
        ];
        let responses = Class::ALL.map(Counter::Responses);
        let results = CacheResult::ALL.map(Counter::Cache);
        let plain = plain.into_iter().chain(responses);
        plain.chain(Reason::ALL.map(Counter::Errors)).chain(results)
    }

    const fn index(self) -> usize {
        match self {
            Counter::Connections => 0,
            Counter::Requests => 1,
            Counter::Pipelined => 2,
            Counter::Received => 3,
            Counter::Sent => 4,
            Counter::Spliced => 5,
            Counter::SpliceFallbacks => 6,
            Counter::DroppedLines => 7,
            Counter::Recycled => 8,
            Counter::DroppedMessages => 9,
            Counter::FailingResponses => 10,
            Counter::SlowDisk => 11,
            Counter::Responses(class) => 12 + class as usize,
            Counter::Errors(reason) => 12 + Class::ALL.len() + reason.index(),
            Counter::Cache(result) => 12 + Class::ALL.len() + Reason::ALL.len() + result as usize,
        }
    }
}

/// What a worker counts for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolCounter {
    /// `httplb_retries_total{pool}`.
    Retries,
    /// `httplb_pool_requests_total{pool}`: requests that were routed there.
    Requests,
    /// Responses of its backends that were passed on and have a status of the class 5xx.
    FailingResponses,
    /// `httplb_pool_responses_total{pool,code}`: by the status that the client got.
    Responses(Class),
    /// `httplb_pool_errors_total{pool,reason}`: requests without a whole answer of a backend.
    Errors(Reason),
    /// Requests that had to wait for a backend below its limit.
    Waits,
}

impl PoolCounter {
    const COUNT: usize = PoolCounter::Errors(Reason::ALL[0]).index() + Reason::ALL.len();

    /// All there are.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = PoolCounter> {
        let plain = [
            PoolCounter::Retries,
            PoolCounter::Requests,
            PoolCounter::FailingResponses,
            PoolCounter::Waits,
        ];
        let responses = Class::ALL.map(PoolCounter::Responses);
        plain.into_iter().chain(responses).chain(Reason::ALL.map(PoolCounter::Errors))
    }

    const fn index(self) -> usize {
        match self {
            PoolCounter::Retries => 0,
            PoolCounter::Requests => 1,
            PoolCounter::FailingResponses => 2,
            PoolCounter::Waits => 3,
            PoolCounter::Responses(class) => 4 + class as usize,
            PoolCounter::Errors(reason) => 4 + Class::ALL.len() + reason.index(),
        }
    }
}

/// What a worker has now of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolGauge {
    /// `httplb_pool_queue{pool}`: requests that wait for a backend below its limit.
    Queue,
}

impl PoolGauge {
    /// All there are.
    pub const ALL: [PoolGauge; 1] = [PoolGauge::Queue];
}

/// What a worker counts for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendCounter {
    /// `httplb_backend_requests_total`: how often it was chosen.
    Requests,
    /// `httplb_backend_connects_total`: connections that were begun.
    Connects,
    /// `httplb_backend_reuses_total`: requests over a connection that had been used before.
    Reuses,
    /// `httplb_backend_stale_connections_total`: reused ones that turned out to be closed.
    Stale,
    /// `httplb_backend_identity_mismatches_total`.
    Mismatches,
    /// `httplb_backend_shared_requests_total`: requests behind those of others on a connection.
    Shared,
    /// `httplb_backend_evacuated_requests_total`: requests that left it when it went down.
    Evacuated,
    /// `httplb_backend_doubts_total{outcome}`: responses that seemed to be another request's.
    Doubts(Outcome),
    /// `httplb_backend_responses_total{code}`: by the status that it gave.
    Responses(Class),
    /// `httplb_backend_errors_total{reason}`: tries that failed. Stale connections are none.
    Errors(Reason),
}

impl BackendCounter {
    const COUNT: usize = BackendCounter::Errors(Reason::ALL[0]).index() + Reason::ALL.len();

    /// All there are.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = BackendCounter> {
        let plain = [
            BackendCounter::Requests,
            BackendCounter::Connects,
            BackendCounter::Reuses,
            BackendCounter::Stale,
            BackendCounter::Mismatches,
            BackendCounter::Shared,
            BackendCounter::Evacuated,
            BackendCounter::Doubts(Outcome::Proved),
            BackendCounter::Doubts(Outcome::Unfounded),
        ];
        let responses = Class::ALL.map(BackendCounter::Responses);
        plain.into_iter().chain(responses).chain(Reason::ALL.map(BackendCounter::Errors))
    }

    const fn index(self) -> usize {
        match self {
            BackendCounter::Requests => 0,
            BackendCounter::Connects => 1,
            BackendCounter::Reuses => 2,
            BackendCounter::Stale => 3,
            BackendCounter::Mismatches => 4,
            BackendCounter::Shared => 5,
            BackendCounter::Evacuated => 6,
            BackendCounter::Doubts(outcome) => 7 + outcome as usize,
            BackendCounter::Responses(class) => 9 + class as usize,
            BackendCounter::Errors(reason) => 9 + Class::ALL.len() + reason.index(),
        }
    }
}

/// What a worker has now of a backend, or knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendGauge {
    /// `httplb_backend_idle_connections`.
    Idle,
    /// For how long connections may be unused, in milliseconds; 0: nothing is known yet.
    IdleLimit,
    /// 1 if it returns the request identifier.
    Echoes,
    /// Whether its connections are shared by clients, or why not: see `policy::multiplexing::to_cell`.
    Multiplexed,
    /// How long its responses take as a rule, in microseconds.
    UsualTime,
}

impl BackendGauge {
    /// All there are.
    pub const ALL: [BackendGauge; 5] = [
        BackendGauge::Idle,
        BackendGauge::IdleLimit,
        BackendGauge::Echoes,
        BackendGauge::Multiplexed,
        BackendGauge::UsualTime,
    ];
}

/// A worker's row. Only the worker adds and sets.
#[derive(Clone, Copy)]
pub struct WorkerCells {
    cells: &'static [AtomicU64],
    /// Where those for backends begin.
    backends: usize,
}

impl WorkerCells {
    pub(super) fn new(cells: &'static [AtomicU64], backends: usize) -> WorkerCells {
        WorkerCells { cells, backends }
    }

    /// Counts.
    #[inline]
    pub fn add(&self, counter: Counter, count: u64) {
        add(&self.cells[COUNTERS + counter.index()], count);
    }

    /// What it has counted.
    pub fn get(&self, counter: Counter) -> u64 {
        self.cells[COUNTERS + counter.index()].load(Relaxed)
    }

    /// Counts a request that took so long from its whole head to its end.
    #[inline]
    pub fn observe_duration(&self, took: Micros) {
        observe(self.duration(), took);
    }

    pub(super) fn duration(&self) -> &'static [AtomicU64] {
        &self.cells[DURATION..DURATION + Histogram::CELLS]
    }

    /// All that only grows, except for pools and backends.
    pub(super) fn counters(&self) -> &'static [AtomicU64] {
        &self.cells[COUNTERS..DURATION + Histogram::CELLS]
    }

    /// What it has of a pool.
    pub fn pool(&self, pool: PoolId) -> WorkerPoolCells {
        let start = HEAD + pool.0 * POOL;
        WorkerPoolCells { cells: &self.cells[start..start + POOL] }
    }

    /// What it has of a backend.
    #[inline]
    pub fn backend(&self, slot: BackendId) -> WorkerBackendCells {
        let start = self.backends + slot.0 * BACKEND;
        WorkerBackendCells { cells: &self.cells[start..start + BACKEND] }
    }

    /// Its process; 0 if there is none.
    pub fn pid(&self) -> i32 {
        self.cells[PID].load(Relaxed) as i32
    }

    /// Sets its process.
    pub fn set_pid(&self, pid: i32) {
        self.cells[PID].store(pid as u64, Relaxed);
    }

    /// Clients that it has now.
    pub fn clients(&self) -> u64 {
        self.cells[CLIENTS].load(Relaxed)
    }

    pub(super) fn set_clients(&self, count: u64) {
        self.cells[CLIENTS].store(count, Relaxed);
    }

    /// With what its writer stored before it.
    pub(super) fn intent(&self) -> u64 {
        self.cells[INTENT].load(Acquire)
    }

    /// What was stored before it is seen by whoever sees it.
    pub(super) fn set_intent(&self, intent: u64) {
        self.cells[INTENT].store(intent, Release);
    }
}

/// What a worker has of one pool.
#[derive(Clone, Copy)]
pub struct WorkerPoolCells {
    cells: &'static [AtomicU64],
}

impl WorkerPoolCells {
    /// Counts.
    pub fn add(&self, counter: PoolCounter, count: u64) {
        add(&self.cells[POOL_COUNTERS + counter.index()], count);
    }

    /// What it has counted.
    pub fn get(&self, counter: PoolCounter) -> u64 {
        self.cells[POOL_COUNTERS + counter.index()].load(Relaxed)
    }

    /// Counts a request that took so long from its whole head to its end.
    #[inline]
    pub fn observe_duration(&self, took: Micros) {
        observe(self.duration(), took);
    }

    pub(super) fn duration(&self) -> &'static [AtomicU64] {
        &self.cells[POOL_DURATION..POOL_DURATION + Histogram::CELLS]
    }

    /// All that only grows.
    pub(super) fn counters(&self) -> &'static [AtomicU64] {
        &self.cells[POOL_COUNTERS..]
    }

    /// For another pool that gets the place.
    pub(super) fn clear(&self) {
        self.counters().iter().for_each(|cell| cell.store(0, Relaxed));
    }

    /// Sets what there is now.
    pub fn set(&self, gauge: PoolGauge, value: u64) {
        self.cells[gauge as usize].store(value, Relaxed);
    }

    /// What there is now.
    pub fn gauge(&self, gauge: PoolGauge) -> u64 {
        self.cells[gauge as usize].load(Relaxed)
    }
}

/// What a worker has of one backend.
#[derive(Clone, Copy)]
pub struct WorkerBackendCells {
    cells: &'static [AtomicU64],
}

impl WorkerBackendCells {
    /// Counts.
    #[inline]
    pub fn add(&self, counter: BackendCounter, count: u64) {
        add(&self.cells[BACKEND_COUNTERS + counter.index()], count);
    }

    /// What it has counted.
    pub fn get(&self, counter: BackendCounter) -> u64 {
        self.cells[BACKEND_COUNTERS + counter.index()].load(Relaxed)
    }

    /// Counts a response that took so long from its request.
    #[inline]
    pub fn observe_response(&self, took: Micros) {
        observe(self.response(), took);
    }

    pub(super) fn response(&self) -> &'static [AtomicU64] {
        &self.cells[RESPONSE..RESPONSE + Histogram::CELLS]
    }

    /// All that only grows.
    pub(super) fn counters(&self) -> &'static [AtomicU64] {
        &self.cells[BACKEND_COUNTERS..RESPONSE + Histogram::CELLS]
    }

    /// Notes that a place at the backend was given back which was held for so long.
    #[inline]
    pub fn gave_place_back(&self, held: Micros) {
        let squares = (held.0 / PlaceTimes::UNIT).saturating_mul(held.0 / PlaceTimes::UNIT);
        for (cell, more) in self.cells[PLACES..].iter().zip([1, held.0, squares]) {
            add(cell, more);
        }
    }

    /// What was noted of that since the worker began, modulo 2 to the power of 64.
    pub fn place_times(&self) -> PlaceTimes {
        let [count, sum, squares] = std::array::from_fn(|at| self.cells[PLACES + at].load(Relaxed));
        PlaceTimes { count, sum, squares }
    }

    /// For another backend that gets the slot.
    pub(super) fn clear(&self) {
        self.cells.iter().for_each(|cell| cell.store(0, Relaxed));
    }

    /// Sets what there is now.
    pub fn set(&self, gauge: BackendGauge, value: u64) {
        self.cells[GAUGES + gauge as usize].store(value, Relaxed);
    }

    /// What there is now.
    pub fn gauge(&self, gauge: BackendGauge) -> u64 {
        self.cells[GAUGES + gauge as usize].load(Relaxed)
    }

    /// Requests that the worker has there now.
    pub fn held(&self) -> u64 {
        self.cells[HELD].load(Relaxed)
    }

    pub(super) fn set_held(&self, count: u64) {
        self.cells[HELD].store(count, Relaxed);
    }
}
