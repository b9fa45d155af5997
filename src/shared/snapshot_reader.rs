//! The one reader of the shared cells for all who look at the service from outside of the data plane: it
//! makes a [`Snapshot`] of them, or a part of one.

use crate::config::Config;
use crate::http::cache_status::CacheResult;
use crate::mem::time::{Clocks, Micros, Millis};
use crate::policy::balance::Tier;
use crate::policy::health::Availability;
use crate::policy::identity::Outcome;
use crate::policy::multiplexing::{self, Unshared};
use crate::policy::reason::Reason;
use crate::policy::slow_start;
use crate::sys::log;

use super::backends::Source;
use super::counters::{BackendCounter, BackendGauge, Class, Counter, PoolCounter};
use super::history::Lately;
use super::layout::{BackendId, PoolId};
use super::segment::{Segment, ServiceCell};
use super::snapshot::{
    BackendSnapshot, BackendTotals, CheckSnapshot, PoolSnapshot, ServiceSnapshot, Snapshot, Totals,
};
use super::tally::Tally;

/// Reads the cells of a service that `config` describes, at the time `now`.
#[derive(Clone, Copy)]
pub struct SnapshotReader<'a> {
    segment: Segment,
    config: &'a Config,
    now: Clocks,
}

/// What a snapshot has of what was counted of each backend: [`BackendTotals`], or nothing.
pub trait ReadTotals {
    /// Reads those of the backend in this slot.
    fn read(reader: &SnapshotReader<'_>, slot: BackendId) -> Self;
}

impl ReadTotals for () {
    fn read(_: &SnapshotReader<'_>, _: BackendId) {}
}

impl<'a> SnapshotReader<'a> {
    /// Reads `segment`, in which `config` was loaded.
    pub fn new(segment: Segment, config: &'a Config, now: Clocks) -> SnapshotReader<'a> {
        SnapshotReader { segment, config, now }
    }

    /// The whole service.
    pub fn snapshot<T: ReadTotals>(&self) -> Snapshot<T> {
        Snapshot { service: self.service(), pools: self.pools() }
    }

    /// The service as a whole.
    pub fn service(&self) -> ServiceSnapshot {
        let segment = &self.segment;
        ServiceSnapshot {
            started: self.started(),
            uptime: self.uptime(),
            workers: segment.service(ServiceCell::Workers),
            worker_restarts: segment.service(ServiceCell::WorkerRestarts),
            reloads_done: segment.service(ServiceCell::ReloadsDone),
            reloads_refused: segment.service(ServiceCell::ReloadsFailed),
            last_reload: match segment.service(ServiceCell::LastReload) {
                0 => None,
                at => Some(Micros(at)),
            },
            last_reload_failed: segment.service(ServiceCell::LastReloadFailed) != 0,
            is_draining: segment.service(ServiceCell::Draining) != 0,
            is_withdrawn: segment.is_withdrawn(),
            clients: u64::from(segment.clients()),
        }
    }

    fn started(&self) -> Micros {
        Micros(self.segment.service(ServiceCell::StartTime))
    }

    fn uptime(&self) -> Millis {
        (self.now.wall - self.started()).millis()
    }

    /// What was counted for the service as a whole.
    pub fn totals(&self) -> Totals {
        let total = |counter| self.segment.total(counter);
        Totals {
            clients: total(Counter::Connections),
            requests: total(Counter::Requests),
            pipelined: total(Counter::Pipelined),
            responses: Class::ALL.map(|class| total(Counter::Responses(class))),
            request_errors: Reason::ALL
                .map(|reason| (reason.as_str(), total(Counter::Errors(reason))))
                .to_vec(),
            received: total(Counter::Received),
            sent: total(Counter::Sent),
            spliced: total(Counter::Spliced),
            splice_fallbacks: total(Counter::SpliceFallbacks),
            durations: self.segment.request_duration(),
            dropped_log_lines: total(Counter::DroppedLines),
            clients_recycled: total(Counter::Recycled),
            dropped_messages: total(Counter::DroppedMessages).wrapping_add(log::dropped()),
            cache_slow_disk: total(Counter::SlowDisk),
            cache_requests: CacheResult::ALL
                .map(|result| (result.as_str(), total(Counter::Cache(result))))
                .to_vec(),
        }
    }

    /// All pools.
    pub fn pools<T: ReadTotals>(&self) -> Vec<PoolSnapshot<T>> {
        self.segment.pools().map(|pool| self.pool(pool)).collect()
    }

    /// One pool.
    pub fn pool<T: ReadTotals>(&self, id: PoolId) -> PoolSnapshot<T> {
        let segment = &self.segment;
        let cells = segment.pool(id);
        let queue = segment.queue(id);
        PoolSnapshot {
            id,
            name: cells.name().to_string(),
            balance: id.keys(self.config).balance,
            rotation: [Tier::Primaries, Tier::Backups].map(|tier| cells.rotation(tier)),
            queue,
            retries: segment.pool_total(id, PoolCounter::Retries),
            totals: Tally::default(),
            errors: Vec::new(),
            lately: Lately::default(),
            backends: segment
                .in_order(id)
                .into_iter()
                .map(|slot| self.member(slot, queue))
                .collect(),
        }
    }

    /// One backend.
    pub fn backend<T: ReadTotals>(&self, slot: BackendId) -> BackendSnapshot<T> {
        self.member(slot, self.segment.queue(self.segment.backend(slot).pool()))
    }

    /// A backend of a pool in which so many requests wait.
    fn member<T: ReadTotals>(&self, slot: BackendId, queue: u64) -> BackendSnapshot<T> {
        let cells = self.segment.backend(slot);
        let now = self.now.clock.millis();
        let state = cells.availability();
        let changed = cells.state_since().map(|since| now - since);
        let state_since = changed.unwrap_or_else(|| self.uptime());
        let (active, cap) = (cells.load(), cells.cap());
        let growth = cells.growth(now, cells.pool().keys(self.config).slow_start);
        let is_full = cap > 0 && active >= cap;
        BackendSnapshot {
            address: cells.address(),
            state,
            state_since,
            parts: growth.map_or(slow_start::PARTS, |growth| growth.parts()),
            is_on_trial: cells.is_up() && cells.passive().is_on_trial(),
            why: cells.why(),
            admin: cells.admin(),
            source: cells.source().unwrap_or(Source::File),
            name: cells.name().and_then(|id| {
                let (_, named) = self.config.named().nth(id.0)?;
                Some(named.lookup.name().to_string())
            }),
            weight: cells.weight(),
            is_backup: cells.is_backup(),
            active,
            max_connections: cells.max_connections(),
            cap,
            queue: if is_full { queue } else { 0 },
            last_check: cells.last_check().map(|check| CheckSnapshot {
                is_ok: check.passed,
                status: (check.status > 0).then_some(check.status),
                time: check.took,
                age: now - check.at,
            }),
            check_failures: cells.check_failures(),
            downtime: match state {
                Availability::Down => cells.downtime() + state_since,
                Availability::Up | Availability::Drain | Availability::Maint => cells.downtime(),
            },
            lease: cells.lease().filter(|end| *end > now).map(|end| end - now),
            shares: self.shares(slot),
            totals: T::read(self, slot),
        }
    }

    /// The shortest that any worker knows; else what is configured.
    fn idle_limit(&self, slot: BackendId) -> Millis {
        let limit = self.any_worker(slot, BackendGauge::IdleLimit);
        if limit > 0 { Millis(limit) } else { self.config.timeouts.backend_idle }
    }

    /// Whether clients share its connections, with its usual time, or why not; `None` where they are not
    /// to. Of several workers, the one that shares tells.
    fn shares(&self, slot: BackendId) -> Option<Result<Micros, Unshared>> {
        let rows = (0..self.segment.layout().workers).map(|worker| self.segment.worker(worker));
        let known = rows.filter_map(|row| {
            let row = row.backend(slot);
            let shares = multiplexing::from_cell(row.gauge(BackendGauge::Multiplexed))?;
            Some(shares.map(|()| Micros(row.gauge(BackendGauge::UsualTime))))
        });
        known.max_by_key(Result::is_ok)
    }

    /// The least value above 0 that a worker has; 0 if none has one.
    fn any_worker(&self, slot: BackendId, gauge: BackendGauge) -> u64 {
        let rows = (0..self.segment.layout().workers).map(|worker| self.segment.worker(worker));
        let values = rows.map(|row| row.backend(slot).gauge(gauge));
        values.filter(|value| *value > 0).min().unwrap_or(0)
    }
}

impl ReadTotals for BackendTotals {
    fn read(reader: &SnapshotReader<'_>, slot: BackendId) -> BackendTotals {
        let segment = &reader.segment;
        let total = |counter| segment.backend_total(slot, counter);
        BackendTotals {
            requests: total(BackendCounter::Requests),
            responses: Class::ALL.map(|class| total(BackendCounter::Responses(class))),
            errors: Reason::ALL
                .into_iter()
                .filter(|reason| reason.concerns_backends())
                .map(|reason| (reason.as_str(), total(BackendCounter::Errors(reason))))
                .collect(),
            connects: total(BackendCounter::Connects),
            reuses: total(BackendCounter::Reuses),
            stale_connections: total(BackendCounter::Stale),
            identity_mismatches: total(BackendCounter::Mismatches),
            doubts: Outcome::ALL
                .map(|outcome| (outcome.as_str(), total(BackendCounter::Doubts(outcome)))),
            idle_connections: segment.idle_connections(slot),
            idle_limit: reader.idle_limit(slot),
            echoes_id: reader.any_worker(slot, BackendGauge::Echoes) == 1,
            shared_requests: total(BackendCounter::Shared),
            evacuated_requests: total(BackendCounter::Evacuated),
            response_times: segment.response_time(slot),
            lately: Lately::default(),
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
