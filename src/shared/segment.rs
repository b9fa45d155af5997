//! The cells as a whole: what lies where, and the handle by which everybody has them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::config::Config;

use super::backends::{BackendCells, NameId};
use super::counters::WorkerCells;
use super::layout::{BackendId, LINE, Layout, PoolId};
use super::name_cells::{self, NameCells};
use super::pools::PoolCells;
use super::rotations::Rotations;
use super::{backends, counters, pools};

/// Which cell means what; another number for every other meaning.
pub(super) const LAYOUT_VERSION: u64 = 9;
/// That these are cells of ours at all.
const MAGIC: u64 = u64::from_be_bytes(*b"httplb\0\0");

// The header's cells.
const FIRST_SPARE: usize = 5;
pub(super) const NAMINGS: usize = 6;
const NAMES: usize = 7;
const HEADER: usize = 4 * LINE;
pub(super) const SERVICE: usize = LINE;
pub(super) const CLIENTS_ELSEWHERE: usize = 3 * LINE;
pub(super) const ROOM_WANTED: usize = CLIENTS_ELSEWHERE + 1;
pub(super) const REGISTRY_CLUSTER: usize = ROOM_WANTED + 1;
pub(super) const REGISTRY_REVISION: usize = REGISTRY_CLUSTER + 1;
pub(super) const REGISTRY_EVENTS: usize = REGISTRY_REVISION + 1;
// Those of the live cells' header.
pub(super) const CLIENTS: usize = 0;
pub(super) const CLIENTS_WAITING: usize = CLIENTS + 1;
const LIVE_HEADER: usize = LINE;
/// Workers for which one cell has bits.
pub(super) const WAITING_BITS: usize = 64;

/// Settings fill whole pages, of 64 KiB where they are largest: what is protected together.
const PAGE: usize = 64 * 1024 / size_of::<AtomicU64>();

/// Rows behind those of the workers: see `totals.rs`.
pub(super) const PAST_ROWS: usize = 2;

impl Layout {
    /// How many cells that takes.
    pub fn cells(&self) -> usize {
        Starts::of(self).row(self.workers + PAST_ROWS)
    }

    /// How many of them, from the first on, are settings.
    pub fn settings(&self) -> usize {
        Starts::of(self).live
    }
}

/// Where which cells begin: worked out once, for each request asks for them many times.
#[derive(Clone, Copy)]
struct Starts {
    backends: usize,
    names: usize,
    live: usize,
    live_pools: usize,
    live_backends: usize,
    rows: usize,
    row_cells: usize,
    /// Cells with the bits of those who wait.
    waiting: usize,
    /// The part of a row for backends, in the row.
    row_backends: usize,
}

impl Starts {
    fn of(layout: &Layout) -> Starts {
        let backends = HEADER + layout.pools * pools::SETTINGS;
        let names = backends + layout.backends * backends::SETTINGS;
        let live = (names + layout.names * name_cells::CELLS).next_multiple_of(PAGE);
        let live_pools = live + LIVE_HEADER;
        let live_backends = live_pools + layout.pools * pools::LIVE;
        let rows = live_backends + layout.backends * backends::LIVE;
        Starts {
            backends,
            names,
            live,
            live_pools,
            live_backends,
            rows,
            row_cells: counters::row_cells(layout),
            waiting: layout.workers.div_ceil(WAITING_BITS),
            row_backends: counters::backends_at(layout),
        }
    }

    fn row(&self, row: usize) -> usize {
        self.rows + row * self.row_cells
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
    /// Who has withdrawn the service: see [`Withdrawal`](super::Withdrawal). The control process changes it too.
    Withdrawn,
    /// When the last reload was over, in microseconds since 1970; 0 if there was none.
    LastReload,
    /// 1 if that one failed.
    LastReloadFailed,
}

/// The cells. A handle: copies mean the same cells.
#[derive(Clone, Copy)]
pub struct Segment {
    pub(super) cells: &'static [AtomicU64],
    pub(super) layout: Layout,
    starts: Starts,
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
        cells[NAMES].store(layout.names as u64, SeqCst);
        let (starts, rotations) = (Starts::of(&layout), Rotations::default());
        Segment { cells, layout, starts, first_spare: 0, rotations }
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
        let (workers, pools, backends) = (count(2)?, count(3)?, count(4)?);
        let layout = Layout { workers, pools, backends, names: count(NAMES)? };
        let first_spare = count(FIRST_SPARE)?;
        let (starts, rotations) = (Starts::of(&layout), Rotations::default());
        let segment = Segment { cells, layout, starts, first_spare, rotations };
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
    #[inline]
    pub fn pool(&self, pool: PoolId) -> PoolCells {
        assert!(pool.0 < self.layout.pools);
        PoolCells {
            settings: self.part(HEADER + pool.0 * pools::SETTINGS, pools::SETTINGS),
            live: self.part(self.starts.live_pools + pool.0 * pools::LIVE, pools::LIVE),
            rotations: self.rotations,
        }
    }

    /// A backend's cells.
    #[inline]
    pub fn backend(&self, slot: BackendId) -> BackendCells {
        assert!(slot.0 < self.layout.backends);
        BackendCells {
            settings: self
                .part(self.starts.backends + slot.0 * backends::SETTINGS, backends::SETTINGS),
            live: self.part(self.starts.live_backends + slot.0 * backends::LIVE, backends::LIVE),
        }
    }

    /// A name's cells.
    pub fn name(&self, name: NameId) -> NameCells {
        assert!(name.0 < self.layout.names);
        NameCells(self.part(self.starts.names + name.0 * name_cells::CELLS, name_cells::CELLS))
    }

    #[inline]
    fn part(&self, start: usize, count: usize) -> &'static [AtomicU64] {
        &self.cells[start..start + count]
    }

    /// Those of a backend that workers write.
    #[inline]
    pub(super) fn live(&self, slot: BackendId) -> &'static [AtomicU64] {
        assert!(slot.0 < self.layout.backends);
        self.part(self.starts.live_backends + slot.0 * backends::LIVE, backends::LIVE)
    }

    /// The bits of workers that wait, for all or for one of a pool.
    #[inline]
    pub(super) fn waiting_cells(&self, pool: Option<PoolId>) -> &'static [AtomicU64] {
        let start = match pool {
            None => self.starts.live + CLIENTS_WAITING,
            Some(pool) => self.starts.live_pools + pool.0 * pools::LIVE + pools::WAITING,
        };
        self.part(start, self.starts.waiting)
    }

    /// One of the live cells' header.
    pub(super) fn live_header(&self) -> &'static [AtomicU64] {
        self.part(self.starts.live, LIVE_HEADER)
    }

    /// A worker's row.
    pub fn worker(&self, worker: usize) -> WorkerCells {
        assert!(worker < self.layout.workers);
        self.row(worker)
    }

    pub(super) fn row(&self, row: usize) -> WorkerCells {
        let cells = self.part(self.starts.row(row), self.starts.row_cells);
        WorkerCells::new(cells, self.starts.row_backends)
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
    pub(super) fn spares(&self) -> impl Iterator<Item = BackendId> + use<> {
        (self.first_spare..self.layout.backends).map(BackendId)
    }
}
