//! What operators are shown: a snapshot of the shared cells, and what this process alone knows. It is
//! then rendered as JSON, as metrics or as a page, all from the same reading.

use crate::config::Config;
use crate::mem::time::Micros;
use crate::proxy::settings;
use crate::shared::snapshot::{
    BackendSnapshot, BackendTotals, Clocks, PoolSnapshot, ServiceSnapshot, Totals,
};
use crate::shared::{BackendId, PoolId, Segment, SnapshotReader};

use super::client_limit::ClientLimit;
use super::rate::Rate;

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
    /// Requests a second of late; `None` until there is something to compare with.
    pub requests_per_second: Option<f64>,
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
    rate: Rate,
    client_limit: ClientLimit,
}

impl Viewer {
    /// For the service that `config` describes, whose master is the process `master`.
    pub fn new(segment: Segment, config: &Config, master: u32) -> Viewer {
        let memory_bound =
            settings::without_key(config, segment.layout().workers).memory_bound() as u64;
        let client_limit = ClientLimit::new(segment, config.max_connections);
        Viewer {
            segment,
            config: config.clone(),
            master,
            memory_bound,
            rate: Rate::new(),
            client_limit,
        }
    }

    /// Looks whether all client connections are taken, about once a second.
    pub fn watch_client_limit(&mut self, now: Clocks) {
        self.client_limit.check(now.clock);
    }

    /// Whether responses are meant to be stored.
    pub fn has_cache(&self) -> bool {
        self.config.cache.is_some()
    }

    /// What reads the cells.
    pub fn reader(&self, now: Clocks) -> SnapshotReader<'_> {
        SnapshotReader::new(self.segment, &self.config, now)
    }

    /// All there is, where so many bytes are stored.
    pub fn view(&mut self, cache_bytes: u64, now: Clocks) -> View {
        View { pools: self.pools(now), service: self.service(cache_bytes, now) }
    }

    /// The service as a whole, which takes much less time than all of it.
    pub fn service(&mut self, cache_bytes: u64, now: Clocks) -> ServiceStatus {
        let reader = self.reader(now);
        let (snapshot, totals) = (reader.service(), reader.totals());
        ServiceStatus {
            version: env!("CARGO_PKG_VERSION"),
            pid: self.master,
            snapshot,
            memory_bound: self.memory_bound,
            clients_max: self.config.max_connections as u64,
            clients_full: self.client_limit.full(),
            requests_per_second: self.rate.observe(now.clock, totals.requests),
            totals,
            cache_max: self.config.cache.as_ref().map(|cache| cache.max_size),
            cache_bytes,
        }
    }

    /// All pools.
    pub fn pools(&self, now: Clocks) -> Vec<PoolStatus> {
        self.reader(now).pools()
    }

    /// One pool.
    pub fn pool(&self, pool: PoolId, now: Clocks) -> PoolStatus {
        self.reader(now).pool(pool)
    }

    /// One backend.
    pub fn backend(&self, slot: BackendId, now: Clocks) -> BackendStatus {
        self.reader(now).backend(slot)
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub mod tests;
