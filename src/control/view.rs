//! What operators are shown: a snapshot of the shared cells, and what this process alone knows. It is
//! then rendered as JSON, as metrics or as a page, all from the same reading.

use crate::config::Config;
use crate::mem::time::{Clocks, Micros};
use crate::proxy::settings;
use crate::shared::history::{History, Lately, Point};
use crate::shared::snapshot::{
    BackendSnapshot, BackendTotals, PoolSnapshot, ServiceSnapshot, Totals,
};
use crate::shared::{BackendId, PoolId, Segment, SnapshotReader};

use super::client_limit::ClientLimit;
use super::fleet::FleetView;
use super::names::NameView;
use super::sampler::Sampler;
use super::troubles::Troubles;

/// One pool, with what was counted.
pub type PoolStatus = PoolSnapshot<BackendTotals>;
/// One backend, with what was counted.
pub type BackendStatus = BackendSnapshot<BackendTotals>;

/// The service and its pools at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The service as a whole.
    pub service: ServiceStatus,
    /// In the order of the configuration, then those that backends made by registering.
    pub pools: Vec<PoolStatus>,
    /// The names that bring backends.
    pub names: Vec<NameView>,
    /// The registry, if there is one.
    pub registry: Option<FleetView>,
}

/// The service as a whole at one moment.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// As `httplb --version` has it.
    pub version: &'static str,
    /// The master's process.
    pub pid: u32,
    /// What the cells say.
    pub snapshot: ServiceSnapshot,
    /// What was counted since the start.
    pub totals: Totals,
    /// Bytes that the workers' connections can take at most.
    pub memory_bound: u64,
    /// Client connections allowed.
    pub clients_max: u64,
    /// For how long all of them were taken.
    pub clients_full: Micros,
    /// What was counted of late.
    pub lately: Lately,
    /// Bytes that stored responses may have; `None`: none are stored.
    pub cache_max: Option<u64>,
    /// Bytes of all stored responses.
    pub cache_bytes: u64,
}

/// Makes views.
pub struct Viewer {
    segment: Segment,
    config: Config,
    master: u32,
    memory_bound: u64,
    sampler: Sampler,
    troubles: Troubles,
    client_limit: ClientLimit,
}

impl Viewer {
    /// For the service that `config` describes, whose master is the process `master`.
    ///
    /// What was counted of late, also by earlier generations, is in `history`.
    pub fn new(segment: Segment, history: History, config: &Config, master: u32) -> Viewer {
        let memory_bound =
            settings::without_key(config, segment.layout().workers).memory_bound() as u64;
        let client_limit = ClientLimit::new(segment, config.max_connections);
        Viewer {
            segment,
            config: config.clone(),
            master,
            memory_bound,
            sampler: Sampler::new(segment, history),
            troubles: Troubles::default(),
            client_limit,
        }
    }

    /// Looks whether all client connections are taken, and takes in what was counted: about once a second.
    pub fn watch(&mut self, now: Clocks) {
        self.client_limit.check(now.clock);
        self.sampler.take(now);
        self.troubles.check(self.segment, &self.sampler, now.clock);
    }

    /// Another process does that from now on.
    pub fn end(&mut self) {
        self.sampler.end();
    }

    /// Whether responses are meant to be stored.
    pub fn has_cache(&self) -> bool {
        self.config.cache.is_some()
    }

    /// What reads the cells.
    pub fn reader(&self, now: Clocks) -> SnapshotReader<'_> {
        SnapshotReader::new(self.segment, &self.config, now)
    }

    /// All there is but names and registry, where so many bytes are stored.
    pub fn view(&mut self, cache_bytes: u64, now: Clocks) -> View {
        let (pools, service) = (self.pools(now), self.service(cache_bytes, now));
        View { pools, service, names: Vec::new(), registry: None }
    }

    /// The same without what was counted of late, which takes less time.
    pub fn totals(&mut self, cache_bytes: u64, now: Clocks) -> View {
        let mut pools = self.reader(now).pools();
        pools.iter_mut().for_each(|pool| self.add_totals(pool));
        let service = self.service(cache_bytes, now);
        View { pools, service, names: Vec::new(), registry: None }
    }

    /// The service as a whole, which takes much less time than all of it.
    pub fn service(&mut self, cache_bytes: u64, now: Clocks) -> ServiceStatus {
        self.sampler.take(now);
        let reader = self.reader(now);
        let (snapshot, totals) = (reader.service(), reader.totals());
        ServiceStatus {
            version: env!("CARGO_PKG_VERSION"),
            pid: self.master,
            snapshot,
            memory_bound: self.memory_bound,
            clients_max: self.config.max_connections as u64,
            clients_full: self.client_limit.full(),
            lately: self.sampler.service(now.clock),
            totals,
            cache_max: self.config.cache.as_ref().map(|cache| cache.max_size),
            cache_bytes,
        }
    }

    /// All pools.
    pub fn pools(&mut self, now: Clocks) -> Vec<PoolStatus> {
        self.sampler.take(now);
        let mut pools = self.reader(now).pools();
        pools.iter_mut().for_each(|pool| self.add_counts(pool, now));
        pools
    }

    /// One pool.
    pub fn pool(&mut self, pool: PoolId, now: Clocks) -> PoolStatus {
        self.sampler.take(now);
        let mut pool = self.reader(now).pool(pool);
        self.add_counts(&mut pool, now);
        pool
    }

    /// An hour of the service, and of each of these pools.
    pub fn lines(
        &self,
        pools: &[PoolStatus],
        now: Micros,
    ) -> (Vec<Option<Point>>, Vec<Vec<Option<Point>>>) {
        let of_pools = pools.iter().map(|pool| self.sampler.pool_line(&pool.name, now));
        (self.sampler.line(now), of_pools.collect())
    }

    fn add_totals(&self, pool: &mut PoolStatus) {
        pool.totals = self.segment.pool_tally(pool.id);
        pool.errors = pool.totals.errors_by_reason();
    }

    fn add_counts(&self, pool: &mut PoolStatus, now: Clocks) {
        let now = now.clock;
        self.add_totals(pool);
        pool.lately = self.sampler.pool(&pool.name, now);
        for backend in &mut pool.backends {
            let server = backend.server();
            backend.totals.lately = self.sampler.backend(&pool.name, server, now);
        }
    }

    /// One backend.
    pub fn backend(&mut self, slot: BackendId, now: Clocks) -> BackendStatus {
        self.sampler.take(now);
        let mut backend: BackendStatus = self.reader(now).backend(slot);
        let pool = self.segment.pool(self.segment.backend(slot).pool()).name();
        let server = backend.server();
        backend.totals.lately = self.sampler.backend(pool.as_str(), server, now.clock);
        backend
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub mod tests;
