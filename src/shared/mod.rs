//! What the processes share: one array of atomic cells, mapped before they are forked.
//!
//! ```text
//! settings, which master and control alone write; workers cannot
//!   header   what lies where; the service's own numbers; clients of other generations
//!   pools    name, members of the file, who waits in other generations
//!   backends address, weight, cap, what the operator wants, lease, checks, load of other generations
//! live cells, which all write
//!   header   clients, and who waits to take one
//!   pools    rotation, epoch, and which workers wait for a backend below its limit
//!   backends marks, since when, load
//!   rows     one for each worker: what it holds, and its counters; two more for those before it
//! ```
//!
//! There are no locks. A row is written by its worker alone, with plain loads and stores, and lies
//! in cache lines of its own. Settings are written by one process at a time. Rotation, loads, marks
//! and waiting belong to all and change by compare and exchange.
//!
//! **A worker may have been taken over** by whom it serves. So settings are mapped read-only in workers
//! ([`Shared::protect`](crate::sys::memory::Shared::protect)), and what is in live cells is judged like
//! what comes by a network: whoever reads it copes with any number.
//!
//! **Epochs.** Whoever changes which backends of a pool may be asked, or how, bumps the pool's epoch
//! afterwards. A worker that sees another epoch than it knows, before a pick or at a tick, reads the
//! members anew. So each change is seen at the next pick.
//!
//! **Waiting.** Who finds no place (no client slot, no backend below its cap) sets its worker's bit
//! and looks once more before it sleeps; who frees a place does so before it looks for bits. Bits and
//! loads are changed and read sequentially consistent, so of two that do this at once at least one
//! sees the other, and no wake-up is lost. See [`waker`].
//!
//! **A slot is used again** only when nobody can mean the backend that was there. It is marked as
//! leaving first. A worker raises the load, and only then looks whether the backend is leaving, or
//! another one, and if so gives its place back; the control process marks first, and only then looks
//! whether the load is zero: again one of them sees the other. Connections count as long as
//! they are idle, in each worker's row, and are covered by the load while they are in use: a worker
//! counts one as idle before it lowers the load, and raises the load before it takes one. So a load
//! that is read as zero, and after it no idle connection in any row, means that none is left.

pub mod backends;
mod claims;
pub mod counters;
mod elsewhere;
pub mod ipc;
mod pools;
pub mod report;
mod rotations;
pub mod snapshot;
mod snapshot_reader;
mod states;
mod totals;
pub mod wakers;
mod withdrawal;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::config::{self, Config};

pub use backends::{BackendCells, LastCheck, Registration, Source};
pub use claims::WaitFor;
pub use counters::{
    BackendCounter, BackendGauge, Class, Counter, Histogram, PoolCounter, PoolGauge, WorkerCells,
};
pub use elsewhere::{Holdings, Most};
pub use pools::{PoolCells, PoolName};
pub use rotations::Rotations;
pub use snapshot_reader::SnapshotReader;
pub use withdrawal::Withdrawal;

/// Cells in a cache line: what different processes write lies in different lines.
const LINE: usize = 8;
/// Pools that may be added while the service runs.
const SPARE_POOLS: usize = 16;
/// Backends that may be added while the service runs.
const SPARE_BACKENDS: usize = 256;
/// Which cell means what; another number for every other meaning.
const LAYOUT_VERSION: u64 = 4;
/// That these are cells of ours at all.
const MAGIC: u64 = u64::from_be_bytes(*b"httplb\0\0");

// The header's cells.
const FIRST_SPARE: usize = 5;
const NAMINGS: usize = 6;
const HEADER: usize = 3 * LINE;
const SERVICE: usize = LINE;
const CLIENTS_ELSEWHERE: usize = 2 * LINE;
const ROOM_WANTED: usize = CLIENTS_ELSEWHERE + 1;
// Those of the live cells' header.
const CLIENTS: usize = 0;
const CLIENTS_WAITING: usize = CLIENTS + 1;
const LIVE_HEADER: usize = LINE;

/// Settings fill whole pages, of 64 KiB where they are largest: what is protected together.
const PAGE: usize = 64 * 1024 / size_of::<AtomicU64>();

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
}

impl Layout {
    /// For what `config` names, and some that may be added later.
    pub fn new(config: &Config, workers: usize) -> Layout {
        let named: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
        Layout {
            workers,
            pools: config.pools.len() + SPARE_POOLS,
            backends: named + SPARE_BACKENDS,
        }
    }

    /// How many cells that takes.
    pub fn cells(&self) -> usize {
        self.row_at(self.workers + totals::PAST_ROWS)
    }

    /// How many of them, from the first on, are settings.
    pub fn settings(&self) -> usize {
        self.backend_at(self.backends).next_multiple_of(PAGE)
    }

    fn pool_at(&self, pool: usize) -> usize {
        HEADER + pool * pools::SETTINGS
    }

    fn backend_at(&self, slot: usize) -> usize {
        self.pool_at(self.pools) + slot * backends::SETTINGS
    }

    fn live_pool_at(&self, pool: usize) -> usize {
        self.settings() + LIVE_HEADER + pool * pools::LIVE
    }

    fn live_backend_at(&self, slot: usize) -> usize {
        self.live_pool_at(self.pools) + slot * backends::LIVE
    }

    fn row_at(&self, row: usize) -> usize {
        self.live_backend_at(self.backends) + row * counters::row_cells(self)
    }
}

/// A number that concerns the whole service. The master writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceCell {
    /// When the service started, in microseconds since 1970.
    StartTime,
    /// Workers that run.
    Workers,
    /// Workers that were started anew after they had died.
    WorkerRestarts,
    /// Reloads that succeeded.
    ReloadsDone,
    /// Reloads that did not.
    ReloadsFailed,
    /// 1 while the service stops.
    Draining,
    /// 1 once this generation is the one that serves: what its cells say counts.
    InPlace,
    /// Who has withdrawn the service: see [`Withdrawal`]. The control process changes it too.
    Withdrawn,
}

/// The cells. A handle: copies mean the same cells.
#[derive(Clone, Copy)]
pub struct Segment {
    cells: &'static [AtomicU64],
    layout: Layout,
    /// The first slot that the file gives to no pool.
    first_spare: usize,
    rotations: Rotations,
}

impl Segment {
    /// Lays out cells that are all zero. Panics if there are too few.
    pub fn create(cells: &'static [AtomicU64], layout: Layout) -> Segment {
        assert!(cells.len() >= layout.cells() && (1..=256).contains(&layout.workers));
        let numbers = [
            MAGIC,
            LAYOUT_VERSION,
            layout.workers as u64,
            layout.pools as u64,
            layout.backends as u64,
        ];
        for (cell, number) in cells.iter().zip(numbers) {
            cell.store(number, SeqCst);
        }
        Segment { cells, layout, first_spare: 0, rotations: Rotations::default() }
    }

    /// With the rotations that generations share. Before a configuration is loaded.
    pub fn sharing(self, rotations: Rotations) -> Segment {
        Segment { rotations, ..self }
    }

    /// The segment that another process has laid out, and loaded a configuration into. `None` if
    /// these are no such cells, or have other meanings.
    pub fn open(cells: &'static [AtomicU64]) -> Option<Segment> {
        let number = |place: usize| Some(cells.get(place)?.load(SeqCst));
        if number(0)? != MAGIC || number(1)? != LAYOUT_VERSION {
            return None;
        }
        let count = |place: usize| usize::try_from(number(place)?).ok();
        let layout = Layout { workers: count(2)?, pools: count(3)?, backends: count(4)? };
        let first_spare = count(FIRST_SPARE)?;
        let rotations = Rotations::default();
        let segment = Segment { cells, layout, first_spare, rotations };
        (cells.len() >= layout.cells()).then_some(segment)
    }

    /// Writes into each cell that a worker can write, as one does that was taken over.
    #[cfg(test)]
    pub fn forge(&self, mut number: impl FnMut() -> u64) {
        let live = &self.cells[self.layout.settings()..self.layout.cells()];
        live.iter().for_each(|cell| cell.store(number(), SeqCst));
    }

    /// How many of each there may be.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes the pools and backends of `config`, all of them up since the service
    /// started. To be called once, before others
    /// know the segment.
    pub fn load_config(&mut self, config: &Config) {
        let mut slot = 0;
        for (index, pool) in config.pools.iter().enumerate() {
            self.pool(PoolId(index)).load(&pool.name, slot, pool.backends.len());
            for backend in &pool.backends {
                self.backend(BackendId(slot)).load_config(PoolId(index), backend);
                slot += 1;
            }
        }
        self.first_spare = slot;
        self.cells[FIRST_SPARE].store(slot as u64, SeqCst);
        self.cells[NAMINGS].store(1, SeqCst);
    }

    /// A number that concerns the whole service.
    pub fn service(&self, cell: ServiceCell) -> u64 {
        self.cells[SERVICE + cell as usize].load(Relaxed)
    }

    /// Sets it.
    pub fn set_service(&self, cell: ServiceCell, value: u64) {
        self.cells[SERVICE + cell as usize].store(value, Relaxed);
    }

    /// A pool's cells.
    pub fn pool(&self, pool: PoolId) -> PoolCells {
        assert!(pool.0 < self.layout.pools);
        PoolCells {
            settings: self.part(self.layout.pool_at(pool.0), pools::SETTINGS),
            live: self.part(self.layout.live_pool_at(pool.0), pools::LIVE),
            rotations: self.rotations,
        }
    }

    /// A backend's cells.
    pub fn backend(&self, slot: BackendId) -> BackendCells {
        assert!(slot.0 < self.layout.backends);
        BackendCells {
            settings: self.part(self.layout.backend_at(slot.0), backends::SETTINGS),
            live: self.part(self.layout.live_backend_at(slot.0), backends::LIVE),
        }
    }

    fn part(&self, start: usize, count: usize) -> &'static [AtomicU64] {
        &self.cells[start..start + count]
    }

    /// One of the live cells' header.
    fn live_header(&self) -> &'static [AtomicU64] {
        self.part(self.layout.settings(), LIVE_HEADER)
    }

    /// A worker's row.
    pub fn worker(&self, worker: usize) -> WorkerCells {
        assert!(worker < self.layout.workers);
        self.row(worker)
    }

    fn row(&self, row: usize) -> WorkerCells {
        let start = self.layout.row_at(row);
        WorkerCells::new(&self.cells[start..self.layout.row_at(row + 1)], self.layout)
    }

    /// Changes whenever a pool is named, or its name is free again. Never 0.
    pub fn namings(&self) -> u64 {
        self.cells[NAMINGS].load(SeqCst)
    }

    /// The pools there are.
    pub fn pools(self) -> impl Iterator<Item = PoolId> {
        let all = (0..self.layout.pools).map(PoolId);
        all.filter(move |pool| self.pool(*pool).source().is_some())
    }

    /// The pool of this name.
    pub fn find_pool(&self, name: &str) -> Option<PoolId> {
        self.pools().find(|pool| self.pool(*pool).name().as_str() == name)
    }

    /// The backends of a pool, in the order of their slots, which is that of the file first.
    pub fn members(self, pool: PoolId) -> impl Iterator<Item = BackendId> {
        let (first, count) = self.pool(pool).range();
        let spare = self.first_spare..self.layout.backends;
        (first..first + count).chain(spare).map(BackendId).filter(move |slot| {
            let backend = self.backend(*slot);
            backend.source().is_some() && backend.pool() == pool
        })
    }

    /// Slots that no pool of the file has: added backends lie there.
    fn spares(&self) -> impl Iterator<Item = BackendId> + use<> {
        (self.first_spare..self.layout.backends).map(BackendId)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod threads_tests;
