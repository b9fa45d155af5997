//! What all workers have counted, and what is handed on to those of a later generation.
//!
//! Behind the rows of the workers lie two more, which the master writes: what the workers of earlier
//! generations have counted, and what of all this a later generation has taken over.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::counters::{BackendCounter, BackendGauge, Counter, PoolCounter, PoolGauge, WorkerCells};
use super::histogram::{Histogram, add};
use super::layout::{BackendId, PoolId};
use super::place_times::PlaceTimes;
use super::segment::{PAST_ROWS, Segment};

impl Segment {
    /// All rows that count: the workers', and that of earlier generations.
    fn counting_rows(&self) -> impl Iterator<Item = WorkerCells> + use<> {
        let segment = *self;
        (0..=segment.layout.workers).map(move |row| segment.row(row))
    }

    /// What all workers have counted, those of earlier generations too.
    pub fn total(&self, counter: Counter) -> u64 {
        self.counting_rows().map(|row| row.get(counter)).fold(0, u64::wrapping_add)
    }

    /// Counts what no worker has to do with. For the master.
    pub fn count_past(&self, counter: Counter, count: u64) {
        self.row(self.layout.workers).add(counter, count);
    }

    /// The same for a pool.
    pub fn pool_total(&self, pool: PoolId, counter: PoolCounter) -> u64 {
        self.counting_rows().map(|row| row.pool(pool).get(counter)).fold(0, u64::wrapping_add)
    }

    /// The same for a backend.
    pub fn backend_total(&self, slot: BackendId, counter: BackendCounter) -> u64 {
        self.counting_rows().map(|row| row.backend(slot).get(counter)).fold(0, u64::wrapping_add)
    }

    /// Requests of all workers that wait for a backend of a pool, those of other generations too.
    pub fn queue(&self, pool: PoolId) -> u64 {
        self.counting_rows()
            .map(|row| row.pool(pool).gauge(PoolGauge::Queue))
            .fold(self.queue_elsewhere(pool), u64::wrapping_add)
    }

    /// Places at a backend that the workers of this generation have given back.
    pub fn place_times(&self, slot: BackendId) -> PlaceTimes {
        let rows = (0..self.layout.workers).map(|worker| self.worker(worker));
        rows.map(|row| row.backend(slot).place_times()).fold(PlaceTimes::default(), PlaceTimes::and)
    }

    /// Requests of these that had to wait for a backend of a pool.
    pub fn waits_total(&self, pool: PoolId) -> u64 {
        let rows = (0..self.layout.workers).map(|worker| self.worker(worker));
        rows.map(|row| row.pool(pool).get(PoolCounter::Waits)).fold(0, u64::wrapping_add)
    }

    /// Idle connections that all workers have to a backend, those of other generations too.
    pub fn idle_connections(&self, slot: BackendId) -> u64 {
        self.counting_rows()
            .map(|row| row.backend(slot).gauge(BackendGauge::Idle))
            .fold(self.idle_elsewhere(slot), u64::wrapping_add)
    }

    /// How long requests took from their whole head to their end.
    pub fn request_duration(&self) -> Histogram {
        let mut all = Histogram::default();
        self.counting_rows().for_each(|row| all.add_cells(row.duration()));
        all
    }

    /// The same of a pool's requests.
    pub fn pool_duration(&self, pool: PoolId) -> Histogram {
        let mut all = Histogram::default();
        self.counting_rows().for_each(|row| all.add_cells(row.pool(pool).duration()));
        all
    }

    /// How long a backend took from request to response.
    pub fn response_time(&self, slot: BackendId) -> Histogram {
        let mut all = Histogram::default();
        self.counting_rows().for_each(|row| all.add_cells(row.backend(slot).response()));
        all
    }

    /// Takes over what the workers of an earlier generation have counted since they were last asked,
    /// of pools and backends that are here too. So it may be called as often as is wanted, while
    /// they go on, and once more when they have ended. For the master.
    pub fn absorb(&self, older: &Segment) {
        let past = self.row(self.layout.workers);
        older.hand_on(|row| row.counters(), past.counters());
        for older_pool in older.pools() {
            let name = older.pool(older_pool).name();
            let Some(pool) = self.find_pool(name.as_str()) else { continue };
            older.hand_on(|row| row.pool(older_pool).counters(), past.pool(pool).counters());
            let servers = self.servers(pool);
            for older_slot in older.members(older_pool) {
                let server = older.backend(older_slot).server();
                let Some(slot) = servers.get(&server) else { continue };
                let counters = past.backend(*slot).counters();
                older.hand_on(|row| row.backend(older_slot).counters(), counters);
            }
        }
    }

    /// Adds what `counters` of the rows have in all to those of a later generation, less what was
    /// added before.
    fn hand_on(&self, counters: impl Fn(WorkerCells) -> &'static [AtomicU64], into: &[AtomicU64]) {
        let taken = counters(self.row(self.layout.workers + 1));
        for (place, (taken, into)) in taken.iter().zip(into).enumerate() {
            let rows = self.counting_rows();
            let counts = rows.map(|row| counters(row)[place].load(Relaxed));
            let all = counts.fold(0, u64::wrapping_add);
            let more = all.wrapping_sub(taken.load(Relaxed));
            add(taken, more);
            add(into, more);
        }
    }

    /// Goes on with the rotations of another generation, before anybody picks in this one.
    pub fn continue_rotations(&self, older: Segment) {
        for pool in self.pools() {
            let cells = self.pool(pool);
            if let Some(before) = older.find_pool(cells.name().as_str()) {
                cells.continue_rotation(&older.pool(before));
            }
        }
    }

    /// Forgets what was counted of the pool that had this place.
    pub(super) fn clear_pool_counters(&self, pool: PoolId) {
        for row in 0..self.layout.workers + PAST_ROWS {
            self.row(row).pool(pool).clear();
        }
    }

    /// Nobody counts anything of a backend whose slot was free: begins at zero.
    pub(super) fn clear_counters(&self, slot: BackendId) {
        for row in 0..self.layout.workers + PAST_ROWS {
            self.row(row).backend(slot).clear();
        }
    }
}
