//! Places that are limited over all workers: requests of a backend, clients of the service. Who
//! claims one, who waits for one, and what becomes of those that a dead worker had.
//!
//! A place is counted twice: in a cell of all, which is what the limit is about, and in the row of
//! the worker that has it, so that it can be given back if that dies. Between the two a worker
//! has its *intent* in its row: if it dies there, the cell of all is set right by the rows.
//!
//! What the workers of other generations have counts against the limit too: see `elsewhere.rs`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::backends::LOAD;
use super::counters::{BackendGauge, PoolGauge, WorkerCells};
use super::layout::{BackendId, PoolId};
use super::segment::{CLIENTS, CLIENTS_ELSEWHERE, Segment, WAITING_BITS};

/// The cell of all has the count in its lower half, and in the upper one the number of changes, so
/// that whoever compares two readings sees any change between them.
const CHANGE: u64 = 1 << 32;
/// So often a cell is tried to be set right by the rows, which takes a moment in which nobody
/// changes it.
const TRIES: usize = 10_000;

/// What workers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// That the service has room for another client.
    Client,
    /// That a backend of this pool is below its cap.
    Pool(PoolId),
}

/// A cell of all together with those of the rows.
#[derive(Clone, Copy)]
enum ClaimedPlace {
    Backend(BackendId),
    Client,
}

impl ClaimedPlace {
    /// As a row's intent has it. 0 is none.
    fn intent(self) -> u64 {
        match self {
            ClaimedPlace::Client => 1,
            ClaimedPlace::Backend(slot) => 2 + slot.0 as u64,
        }
    }

    /// `None` where there is none, or none that there can be among so many `backends`.
    fn of_intent(intent: u64, backends: usize) -> Option<ClaimedPlace> {
        match intent {
            0 => None,
            1 => Some(ClaimedPlace::Client),
            slot => {
                let slot = usize::try_from(slot - 2).ok().filter(|slot| *slot < backends)?;
                Some(ClaimedPlace::Backend(BackendId(slot)))
            }
        }
    }
}

impl Segment {
    /// Claims a place at a backend for a request of `worker`, if it has fewer than `cap` over all
    /// workers; 0 is no cap. The caller then looks whether it is still the backend that it means.
    pub fn claim(&self, worker: usize, slot: BackendId, cap: u32) -> bool {
        self.raise(worker, ClaimedPlace::Backend(slot), cap)
    }

    /// Gives it back. The caller then rings who waits.
    pub fn release(&self, worker: usize, slot: BackendId) {
        self.lower(worker, ClaimedPlace::Backend(slot));
    }

    /// Claims a place for a client of `worker`, if there are fewer than `max` over all workers.
    pub fn claim_client(&self, worker: usize, max: u32) -> bool {
        self.raise(worker, ClaimedPlace::Client, max)
    }

    /// Gives it back. The caller then rings who waits.
    pub fn release_client(&self, worker: usize) {
        self.lower(worker, ClaimedPlace::Client);
    }

    /// Clients of all workers, those of other generations too.
    pub fn clients(&self) -> u32 {
        self.own_clients().saturating_add(self.elsewhere(ClaimedPlace::Client))
    }

    /// Clients of the workers of this generation.
    pub fn own_clients(&self) -> u32 {
        self.live_header()[CLIENTS].load(SeqCst) as u32
    }

    fn raise(&self, worker: usize, place: ClaimedPlace, limit: u32) -> bool {
        let (row, cell) = (self.worker(worker), self.cell(place));
        let elsewhere = if limit == 0 { 0 } else { self.elsewhere(place) };
        row.set_intent(place.intent());
        let mut seen = cell.load(SeqCst);
        let claimed = loop {
            if limit != 0 && (seen as u32).saturating_add(elsewhere) >= limit {
                break false;
            }
            let next = seen.wrapping_add(CHANGE) + 1;
            match cell.compare_exchange_weak(seen, next, SeqCst, SeqCst) {
                Ok(_) => break true,
                Err(actual) => seen = actual,
            }
        };
        if claimed {
            hold(row, place, 1);
        }
        row.set_intent(0);
        claimed
    }

    fn lower(&self, worker: usize, place: ClaimedPlace) {
        let row = self.worker(worker);
        row.set_intent(place.intent());
        hold(row, place, -1);
        self.take_off(place, 1);
        row.set_intent(0);
    }

    fn take_off(&self, place: ClaimedPlace, count: u32) {
        let cell = self.cell(place);
        let mut seen = cell.load(SeqCst);
        loop {
            let fewer = (seen as u32).saturating_sub(count);
            let next = (seen.wrapping_add(CHANGE) & !(CHANGE - 1)) | u64::from(fewer);
            match cell.compare_exchange_weak(seen, next, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    #[inline]
    fn cell(&self, place: ClaimedPlace) -> &'static AtomicU64 {
        match place {
            ClaimedPlace::Backend(slot) => &self.live(slot)[LOAD],
            ClaimedPlace::Client => &self.live_header()[CLIENTS],
        }
    }

    /// What the workers of other generations have of it, as far as that is known.
    fn elsewhere(&self, place: ClaimedPlace) -> u32 {
        match place {
            ClaimedPlace::Backend(slot) => self.backend(slot).load_elsewhere(),
            ClaimedPlace::Client => self.cells[CLIENTS_ELSEWHERE].load(SeqCst) as u32,
        }
    }

    /// What a worker has of it, by its row.
    fn held(&self, worker: usize, place: ClaimedPlace) -> u64 {
        let row = self.worker(worker);
        match place {
            ClaimedPlace::Backend(slot) => row.backend(slot).held(),
            ClaimedPlace::Client => row.clients(),
        }
    }

    fn set_held(&self, worker: usize, place: ClaimedPlace, held: u64) {
        let row = self.worker(worker);
        match place {
            ClaimedPlace::Backend(slot) => row.backend(slot).set_held(held),
            ClaimedPlace::Client => row.set_clients(held),
        }
    }

    /// Gives back what a dead worker had, and makes its row that of a worker that has not started;
    /// what it has counted stays. For the master, which then rings all who wait, for places are
    /// free now.
    pub fn reap(&self, worker: usize) {
        let row = self.worker(worker);
        let places = (0..self.layout.backends).map(|slot| ClaimedPlace::Backend(BackendId(slot)));
        for place in places.chain([ClaimedPlace::Client]) {
            let held = self.held(worker, place);
            if held > 0 {
                self.set_held(worker, place, 0);
                self.take_off(place, u32::try_from(held).unwrap_or(u32::MAX));
            }
        }
        for slot in (0..self.layout.backends).map(BackendId) {
            BackendGauge::ALL.iter().for_each(|gauge| row.backend(slot).set(*gauge, 0));
        }
        for pool in (0..self.layout.pools).map(PoolId) {
            PoolGauge::ALL.iter().for_each(|gauge| row.pool(pool).set(*gauge, 0));
            self.unwait(worker, WaitFor::Pool(pool));
        }
        self.unwait(worker, WaitFor::Client);
        if let Some(place) = ClaimedPlace::of_intent(row.intent(), self.layout.backends) {
            self.set_right(worker, place);
        }
        row.set_intent(0);
        row.set_pid(0);
    }

    /// Sets a cell of all to what the rows add up to. It is right only if no worker is between the
    /// two, which its intent tells, and nothing changes meanwhile, which the cell tells.
    /// What a live worker says of itself that is not true cannot hold the master up for long.
    fn set_right(&self, dead: usize, place: ClaimedPlace) {
        let cell = self.cell(place);
        let workers = 0..self.layout.workers;
        for _ in 0..TRIES {
            let seen = cell.load(SeqCst);
            let mut others = workers.clone().filter(|worker| *worker != dead);
            if others.all(|worker| self.worker(worker).intent() != place.intent()) {
                let held = workers.clone().map(|worker| self.held(worker, place) as u32);
                let held = u64::from(held.fold(0, u32::saturating_add));
                let next = (seen.wrapping_add(CHANGE) & !(CHANGE - 1)) | held;
                if cell.compare_exchange(seen, next, SeqCst, SeqCst).is_ok() {
                    return;
                }
            }
            std::hint::spin_loop();
        }
    }

    /// Sets the bit of a worker that waits. It must look once more before it sleeps.
    pub fn wait(&self, worker: usize, awaited: WaitFor) {
        self.waiting(awaited)[worker / WAITING_BITS].fetch_or(1 << (worker % WAITING_BITS), SeqCst);
    }

    /// Clears the bit of one that does not wait any more. What became free for it may have been
    /// told to it alone: it rings the next.
    pub fn unwait(&self, worker: usize, awaited: WaitFor) {
        self.waiting(awaited)[worker / WAITING_BITS]
            .fetch_and(!(1 << (worker % WAITING_BITS)), SeqCst);
    }

    /// Whether a worker waits.
    pub fn waits(&self, worker: usize, awaited: WaitFor) -> bool {
        self.waiting(awaited)[worker / WAITING_BITS].load(SeqCst) >> (worker % WAITING_BITS) & 1
            == 1
    }

    /// The worker that waits and is next behind `worker`, which comes last itself.
    #[inline]
    pub fn next_waiting(&self, worker: usize, awaited: WaitFor) -> Option<usize> {
        let nobody_waits = self.waiting(awaited).iter().all(|cell| cell.load(SeqCst) == 0);
        if nobody_waits { None } else { self.find_waiting(worker, awaited) }
    }

    #[cold]
    fn find_waiting(&self, worker: usize, awaited: WaitFor) -> Option<usize> {
        let workers = self.layout.workers;
        (1..=workers)
            .map(|distance| (worker + distance) % workers)
            .find(|other| self.waits(*other, awaited))
    }

    #[inline]
    fn waiting(&self, awaited: WaitFor) -> &'static [AtomicU64] {
        match awaited {
            WaitFor::Client => self.waiting_cells(None),
            WaitFor::Pool(pool) => {
                assert!(pool.0 < self.layout.pools);
                self.waiting_cells(Some(pool))
            }
        }
    }

    /// Whether a worker has idle connections to a backend.
    pub(super) fn has_idle(&self, slot: BackendId) -> bool {
        (0..self.layout.workers).any(|worker| {
            let row = self.worker(worker).backend(slot);
            row.held() > 0 || row.gauge(BackendGauge::Idle) > 0
        })
    }
}

/// Notes in a worker's row that it has more of a place, or less.
fn hold(row: WorkerCells, place: ClaimedPlace, more: i64) {
    match place {
        ClaimedPlace::Backend(slot) => {
            let cells = row.backend(slot);
            cells.set_held(cells.held().saturating_add_signed(more));
        }
        ClaimedPlace::Client => row.set_clients(row.clients().saturating_add_signed(more)),
    }
}
