//! One reading of the shared cells, as a view.

use crate::config::Config;
use crate::http::cache_status::CacheResult;
use crate::mem::time::{Micros, Millis};
use crate::policy::health::Availability;
use crate::policy::identity::Outcome;
use crate::policy::reason::Reason;
use crate::proxy::settings;
use crate::shared::{
    BackendCounter, BackendGauge, BackendId, Class, Counter, PoolCounter, PoolId, Segment,
    ServiceCell,
};
use crate::sys::log;

use super::crowd::Crowd;
use super::view::{BackendStatus, CheckStatus, PoolStatus, Rate, Service, Totals};

/// Why a request can fail at a backend; the other reasons concern the client alone.
const AT_BACKENDS: [Reason; 8] = [
    Reason::ConnectionRefused,
    Reason::ConnectionTimeout,
    Reason::ConnectionTerminated,
    Reason::ProtocolError,
    Reason::ResponseHeaderTooLarge,
    Reason::IdentityMismatch,
    Reason::ResponseTimeout,
    Reason::ResponseIncomplete,
];

/// Reads the cells.
pub struct SnapshotReader {
    segment: Segment,
    config: Config,
    master: u32,
    memory_bound: u64,
    rate: Rate,
    crowd: Crowd,
}

/// What time it is, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Monotonic.
    pub clock: Micros,
    /// Since the epoch.
    pub wall: Micros,
}

impl SnapshotReader {
    /// For the service that `config` describes, whose master is the process `master`.
    pub fn new(segment: Segment, config: &Config, master: u32) -> SnapshotReader {
        let memory_bound =
            settings::without_key(config, segment.layout().workers).memory_bound() as u64;
        let crowd = Crowd::new(segment, config.max_connections);
        SnapshotReader {
            segment,
            config: config.clone(),
            master,
            memory_bound,
            rate: Rate::new(),
            crowd,
        }
    }

    /// Looks whether all client connections are taken, about once a second.
    pub fn watch_crowd(&mut self, now: Clocks) {
        self.crowd.look(now.clock);
    }

    /// Whether answers are meant to be stored.
    pub fn has_cache(&self) -> bool {
        self.config.cache.is_some()
    }

    /// The service as it is now, without what is stored.
    pub fn service(&mut self, now: Clocks) -> Service {
        Service { pools: self.pools(now), ..self.summary(now) }
    }

    /// All pools as they are now.
    pub fn pools(&self, now: Clocks) -> Vec<PoolStatus> {
        self.segment.pools().map(|pool| self.pool(pool, now)).collect()
    }

    /// The same as `service` without the pools, which takes much less time.
    pub fn summary(&mut self, now: Clocks) -> Service {
        let segment = &self.segment;
        let totals = totals(segment);
        Service {
            version: env!("CARGO_PKG_VERSION"),
            pid: self.master,
            started: self.started(),
            uptime: self.uptime(now),
            workers: segment.service(ServiceCell::Workers),
            worker_restarts: segment.service(ServiceCell::WorkerRestarts),
            reloads_done: segment.service(ServiceCell::ReloadsDone),
            reloads_refused: segment.service(ServiceCell::ReloadsFailed),
            memory_bound: self.memory_bound,
            is_draining: segment.service(ServiceCell::Draining) != 0,
            is_withdrawn: segment.is_withdrawn(),
            clients: u64::from(segment.clients()),
            clients_max: self.config.max_connections as u64,
            clients_full: self.crowd.full(),
            requests_per_second: self.rate.observe(now.clock, totals.requests),
            totals,
            cache_max: self.config.cache.as_ref().map(|cache| cache.max_size),
            pools: Vec::new(),
        }
    }

    fn started(&self) -> Micros {
        Micros(self.segment.service(ServiceCell::StartTime))
    }

    fn uptime(&self, now: Clocks) -> Millis {
        (now.wall - self.started()).millis()
    }

    /// One backend as it is now.
    pub fn backend_at(&self, slot: BackendId, now: Clocks) -> BackendStatus {
        let queue = self.segment.queue(self.segment.backend(slot).pool());
        self.backend(slot, queue, now)
    }

    /// One pool as it is now.
    pub fn pool(&self, pool: PoolId, now: Clocks) -> PoolStatus {
        let segment = &self.segment;
        // Pools that were made by registering have the keys of the first.
        let configured = self.config.pools.get(pool.0).unwrap_or(&self.config.pools[0]);
        let queue = segment.queue(pool);
        let members = segment.members(pool);
        PoolStatus {
            name: segment.pool(pool).name().to_string(),
            balance: configured.balance,
            queue,
            retries: segment.pool_total(pool, PoolCounter::Retries),
            backends: members.map(|slot| self.backend(slot, queue, now)).collect(),
        }
    }

    fn backend(&self, slot: BackendId, queue: u64, now: Clocks) -> BackendStatus {
        let segment = &self.segment;
        let cells = segment.backend(slot);
        let total = |counter| segment.backend_total(slot, counter);
        let state = cells.availability();
        let state_since = match cells.state_since() {
            Some(since) => now.clock.millis() - since,
            None => self.uptime(now),
        };
        let is_full = cells.cap() > 0 && cells.load() >= cells.cap();
        BackendStatus {
            address: cells.address().canonical(),
            state,
            state_since,
            wanted: cells.admin(),
            source: cells.source().unwrap_or(crate::shared::Source::File),
            weight: u64::from(cells.weight()),
            is_backup: cells.is_backup(),
            active: u64::from(cells.load()),
            max_connections: u64::from(cells.cap()),
            queue: if is_full { queue } else { 0 },
            last_check: cells.last_check().map(|check| CheckStatus {
                is_ok: check.passed,
                status: (check.status > 0).then_some(check.status),
                time: check.took,
                age: now.clock.millis() - check.at,
            }),
            check_failures: cells.check_failures(),
            downtime: match state {
                Availability::Down => cells.downtime() + state_since,
                Availability::Up | Availability::Drain | Availability::Maint => cells.downtime(),
            },
            idle_limit: self.idle_limit(slot),
            echoes_id: self.any_worker(slot, BackendGauge::Echoes) == 1,
            lease: cells.lease().map(|end| end - now.clock.millis()),
            requests: total(BackendCounter::Requests),
            responses: Class::ALL.map(|class| total(BackendCounter::Responses(class))),
            errors: AT_BACKENDS
                .map(|reason| (reason.as_str(), total(BackendCounter::Errors(reason))))
                .to_vec(),
            connects: total(BackendCounter::Connects),
            reuses: total(BackendCounter::Reuses),
            stale_connections: total(BackendCounter::Stale),
            identity_mismatches: total(BackendCounter::Mismatches),
            doubts: Outcome::ALL
                .map(|outcome| (outcome.as_str(), total(BackendCounter::Doubts(outcome)))),
            idle_connections: segment.idle_connections(slot),
            response_times: segment.response_time(slot),
        }
    }

    /// The shortest that any worker knows; else what is configured.
    fn idle_limit(&self, slot: BackendId) -> Millis {
        let limit = self.any_worker(slot, BackendGauge::IdleLimit);
        if limit > 0 { Millis(limit) } else { self.config.timeouts.backend_idle }
    }

    /// The least value above 0 that a worker has; 0 if none has one.
    fn any_worker(&self, slot: BackendId, gauge: BackendGauge) -> u64 {
        let rows = (0..self.segment.layout().workers).map(|worker| self.segment.worker(worker));
        let values = rows.map(|row| row.backend(slot).gauge(gauge));
        values.filter(|value| *value > 0).min().unwrap_or(0)
    }
}

fn totals(segment: &Segment) -> Totals {
    let total = |counter| segment.total(counter);
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
        durations: segment.request_duration(),
        dropped_log_lines: total(Counter::DroppedLines),
        clients_recycled: total(Counter::Recycled),
        dropped_messages: total(Counter::DroppedMessages) + log::dropped(),
        cache_requests: CacheResult::ALL
            .map(|result| (result.as_str(), total(Counter::Cache(result))))
            .to_vec(),
        cache_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend as ConfigBackend, Endpoint};
    use crate::policy::health::{AdminState, CheckRules};
    use crate::shared::{self, Layout, PoolGauge, Registration, Source};
    use crate::sys::memory;

    fn segment() -> (Segment, Config) {
        let mut config = Config::for_backends(&["127.0.0.1:8001".parse().unwrap()]);
        config.pools[0].backends.push(ConfigBackend {
            max_connections: 1,
            backup: true,
            ..ConfigBackend::at("[fd00::7]:80".parse::<Endpoint>().unwrap())
        });
        let layout = Layout::new(&config, 2);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        (segment, config)
    }

    fn at(millis: u64) -> Clocks {
        Clocks { clock: Micros(millis * 1000), wall: Micros(millis * 1000) }
    }

    #[test]
    fn the_view_sums_over_the_workers() {
        let (segment, config) = segment();
        for worker in 0..2 {
            let row = segment.worker(worker);
            row.add(Counter::Requests, 10);
            row.pool(PoolId(0)).set(PoolGauge::Queue, 2);
            row.backend(BackendId(0)).add(BackendCounter::Responses(Class::Success), 3);
            row.backend(BackendId(0)).set(BackendGauge::IdleLimit, 3000 - worker as u64);
            row.backend(BackendId(0)).set(BackendGauge::Echoes, worker as u64);
            assert!(segment.claim_client(worker, 0));
        }
        assert!(segment.claim(0, BackendId(1), 1));
        let now = Clocks { clock: Micros::from_secs(100), wall: Micros::from_secs(1000) };
        segment.set_service(ServiceCell::StartTime, 990_000_000);
        let service = SnapshotReader::new(segment, &config, 7).service(now);
        assert_eq!((service.pid, service.uptime), (7, Millis(10_000)));
        assert_eq!((service.clients, service.totals.requests), (2, 20));
        let [first, second] = &service.pools[0].backends[..] else { panic!() };
        assert_eq!(
            (first.responses[1], first.idle_limit, first.echoes_id),
            (6, Millis(2999), true)
        );
        assert_eq!(first.queue, 0);
        assert_eq!((second.queue, second.active, second.is_backup), (4, 1, true));
        assert_eq!((second.idle_limit, second.echoes_id), (Millis(4000), false));
    }

    #[test]
    fn a_registered_backend_shows_its_lease_and_how_it_fares() {
        let (segment, config) = segment();
        let pool = segment.add_pool("api").unwrap();
        let entry = Registration {
            address: "10.0.0.7:80".parse().unwrap(),
            weight: 3,
            max_connections: 0,
            lease: Some(Millis(5_000)),
        };
        let slot = segment.register(pool, entry).unwrap();
        let failed =
            shared::LastCheck { passed: false, status: 0, took: Micros(700), at: Millis(2_000) };
        segment.note_check(slot, failed, &CheckRules { rise: 2, fall: 1 });
        let reader = SnapshotReader::new(segment, &config, 7);
        let backend = reader.backend_at(slot, at(3_000));
        assert_eq!((backend.source, backend.wanted), (Source::Api, AdminState::Ready));
        assert_eq!((backend.state, backend.downtime), (Availability::Down, Millis(1_000)));
        assert_eq!((backend.lease, backend.check_failures), (Some(Millis(2_000)), 1));
        let check = backend.last_check.unwrap();
        assert_eq!((check.status, check.age, check.time), (None, Millis(1_000), Micros(700)));
        let pool = reader.pool(pool, at(3_000));
        assert_eq!((pool.backends.len(), pool.balance), (1, config.pools[0].balance));
    }
}
