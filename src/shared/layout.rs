//! What pools and backends are named by, and how many of each there may be.

use crate::config::{self, Config};

/// Cells in a cache line: what different processes write lies in different lines.
pub(super) const LINE: usize = 8;
/// Pools that may be added while the service runs.
pub(super) const SPARE_POOLS: usize = 16;
/// Backends that may be added while the service runs.
pub(super) const SPARE_BACKENDS: usize = 256;

/// Names a pool: its place in the table, those of the file first, in the file's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub usize);

impl PoolId {
    /// The rules of the pool. One that was made by registering has those of "default".
    pub fn keys(self, config: &Config) -> &config::Pool {
        config.pools.get(self.0).unwrap_or(&config.pools[0])
    }
}

/// Names a backend: its place in the table of all pools. Those that the file gives one pool lie
/// next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub usize);

impl BackendId {
    /// As `policy::balance` names it.
    pub fn id(self) -> u32 {
        self.0 as u32
    }

    /// The slot of that name.
    pub fn of_id(id: u32) -> BackendId {
        BackendId(id as usize)
    }
}

/// How many of each there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Worker processes, 1 to 256.
    pub workers: usize,
    /// Pools.
    pub pools: usize,
    /// Backends of all pools.
    pub backends: usize,
    /// Names that bring backends.
    pub names: usize,
}

impl Layout {
    /// For what `config` names, and some that may be added later.
    pub fn new(config: &Config, workers: usize) -> Layout {
        let written: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
        // As many as a name may bring may be going while it brings others.
        let named: usize = config.named().map(|(_, named)| 2 * named.max).sum();
        Layout {
            workers,
            pools: config.pools.len() + SPARE_POOLS,
            backends: written + named + SPARE_BACKENDS,
            names: config.named().count(),
        }
    }
}
