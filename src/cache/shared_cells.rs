//! What the processes share about the stored answers, in one array of atomic cells: which entries there
//! are and when they were used, how many bytes they have, and who fetches what.
//!
//! ```text
//! header    what lies where; the budget
//! reserved  a line for each worker: the bytes that its recordings have reserved
//! stamps    counts of changes, by key: who keeps an entry at hand sees here that it is another by now
//! voids     counts of invalidations, by key: who records an answer sees here that it is void by now
//! fetches   see `collapse`
//! index     see `index`
//! ```
//!
//! There are no locks. Nothing here decides what is true: that is what lies on the disk, and is
//! verified there. An error of these cells costs a request to a backend, or some room.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use super::collapse::{self, FetchTable};
use super::index::{self, Index};
use super::keys::{EntryKey, UrlKey};
use super::layout::{LINE, MOST_WAITING, Sizes};
use super::process_slots::ProcessSlots;

/// Which cell means what; another number for every other meaning.
const LAYOUT_VERSION: u64 = u64::from_be_bytes(*b"cache\0\0\x02");
/// Counts of changes. A power of two.
const STAMPS: usize = 4096;
/// Counts of invalidations. A power of two.
const VOIDS: usize = 1024;
/// Disks give room by so many bytes, as a rule.
pub(super) const BLOCK: u64 = 4096;

// The header's cells.
const VERSION: usize = 0;
const WORKERS: usize = 1;
const SLOTS: usize = 2;
const MAX_SIZE: usize = 3;
const USED: usize = LINE;
const UNSCANNED: usize = LINE + 1;
const HAND: usize = 2 * LINE;
const VOIDED: usize = 3 * LINE;
const HEADER: usize = 4 * LINE;

impl Sizes {
    /// How many cells that takes.
    pub fn cells(&self) -> usize {
        self.index_at() + self.slots() * index::CELLS
    }

    /// How many bytes of memory they take at most.
    pub fn bytes(&self) -> usize {
        self.cells() * size_of::<AtomicU64>()
    }

    /// Places in the index: one for each block that all answers may have, within limits.
    fn slots(&self) -> usize {
        let blocks = (self.max_size / BLOCK).clamp(1024, 1 << 21);
        usize::try_from(blocks).unwrap_or(1 << 21).next_power_of_two()
    }

    fn stamps_at(&self) -> usize {
        HEADER + self.workers * LINE
    }

    fn voids_at(&self) -> usize {
        self.stamps_at() + STAMPS
    }

    fn fetches_at(&self) -> usize {
        self.voids_at() + VOIDS
    }

    fn index_at(&self) -> usize {
        self.fetches_at() + collapse::CELLS
    }
}

/// The cells, with their meaning. A handle, to be copied.
#[derive(Clone, Copy)]
pub struct SharedCells {
    header: &'static [AtomicU64],
    reserved: &'static [AtomicU64],
    stamps: &'static [AtomicU64],
    voids: &'static [AtomicU64],
    /// How the numbers of this process are those in the cells.
    slots: ProcessSlots,
    /// Which fetches go on, and which workers wait for them.
    pub fetches: FetchTable,
    /// Which entries there are.
    pub index: Index,
}

impl SharedCells {
    /// Gives a meaning to cells that are all zero, at least [`Sizes::cells`] of them. All of the
    /// budget counts as used until the directory was scanned.
    pub fn create(cells: &'static [AtomicU64], sizes: Sizes) -> SharedCells {
        assert!(cells.len() >= sizes.cells());
        assert!((1..=MOST_WAITING).contains(&sizes.workers));
        cells[WORKERS].store(sizes.workers as u64, Relaxed);
        cells[SLOTS].store(sizes.slots() as u64, Relaxed);
        cells[MAX_SIZE].store(sizes.max_size, Relaxed);
        cells[UNSCANNED].store(sizes.max_size, Relaxed);
        cells[VERSION].store(LAYOUT_VERSION, Release);
        SharedCells::over(cells, sizes)
    }

    /// Finds the meaning of cells that `create` gave it, in this program or one before. `None` if they
    /// mean something else, or were made for other sizes.
    pub fn open(cells: &'static [AtomicU64], sizes: Sizes) -> Option<SharedCells> {
        let is = |cell: usize, value: u64| cells[cell].load(Acquire) == value;
        let fits = cells.len() >= sizes.cells()
            && is(VERSION, LAYOUT_VERSION)
            && is(WORKERS, sizes.workers as u64)
            && is(SLOTS, sizes.slots() as u64);
        if !fits {
            return None;
        }
        cells[MAX_SIZE].store(sizes.max_size, Relaxed);
        Some(SharedCells::over(cells, sizes))
    }

    fn over(cells: &'static [AtomicU64], sizes: Sizes) -> SharedCells {
        let header = &cells[..HEADER];
        let slots = ProcessSlots::new(0, sizes.workers);
        SharedCells {
            header,
            slots,
            reserved: &cells[HEADER..sizes.stamps_at()],
            stamps: &cells[sizes.stamps_at()..sizes.voids_at()],
            voids: &cells[sizes.voids_at()..sizes.fetches_at()],
            fetches: FetchTable::over(&cells[sizes.fetches_at()..sizes.index_at()], slots),
            index: Index::over(&cells[sizes.index_at()..sizes.cells()], &header[HAND]),
        }
    }

    /// These cells, for processes whose number 0 is `first` to others: see [`super::process_slots`].
    pub fn numbered_from(self, first: usize) -> SharedCells {
        let slots = self.slots.from(first);
        SharedCells { slots, fetches: self.fetches.with(slots), ..self }
    }

    /// Writes into each cell, as a worker does that was taken over.
    #[cfg(test)]
    pub fn forge(&self, mut number: impl FnMut() -> u64) {
        let all = [self.header, self.reserved, self.stamps, self.voids];
        let all = all.into_iter().chain(self.fetches.cells());
        all.chain([self.index.cells()]).flatten().for_each(|cell| cell.store(number(), SeqCst));
    }

    /// The number of a process in the cells.
    pub(super) fn number_of(&self, worker: usize) -> usize {
        self.slots.in_cells(worker)
    }

    /// The most bytes that all entries may have.
    pub fn max_size(&self) -> u64 {
        self.header[MAX_SIZE].load(Relaxed)
    }

    /// The bytes of all entries that are known, and of those that are being recorded.
    pub fn used(&self) -> u64 {
        self.header[USED].load(Relaxed)
    }

    /// The bytes that may lie in directories which were not looked into yet.
    pub fn unscanned(&self) -> u64 {
        self.header[UNSCANNED].load(Relaxed)
    }

    /// Notes how many bytes may still lie where nobody has looked.
    pub fn set_unscanned(&self, bytes: u64) {
        self.header[UNSCANNED].store(bytes, Relaxed);
    }

    /// Reserves room for a recording of `worker`. False if there is none.
    pub fn reserve(&self, worker: usize, bytes: u64) -> bool {
        let limit = self.max_size().saturating_sub(self.unscanned());
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let reserved = self.header[USED].fetch_update(AcqRel, Relaxed, add).is_ok();
        if reserved {
            self.reserved_by(worker).fetch_add(bytes, Relaxed);
        }
        reserved
    }

    /// A recording of `worker` is over, and of its `reserved` bytes so many stay in use.
    pub fn settle(&self, worker: usize, reserved: u64, kept: u64) {
        self.reserved_by(worker).fetch_sub(reserved, Relaxed);
        if kept <= reserved {
            self.release(reserved - kept);
        } else {
            self.add(kept - reserved);
        }
    }

    /// Notes bytes that are in use, whether there is room for them or not.
    pub fn add(&self, bytes: u64) {
        self.header[USED].fetch_add(bytes, AcqRel);
    }

    /// Notes that bytes are free again.
    pub fn release(&self, bytes: u64) {
        let subtract = |used: u64| Some(used.saturating_sub(bytes));
        let released = self.header[USED].fetch_update(AcqRel, Relaxed, subtract);
        released.expect("it always gives a number");
    }

    /// Makes up for a process that died with this number: what it had reserved is free, what it
    /// fetched nobody does. Returns whom to wake, by their numbers.
    pub fn reap(&self, worker: usize) -> collapse::Waiting {
        let reserved = self.reserved_by(worker).swap(0, Relaxed);
        let recorded = self.index.reap(self.number_of(worker)).saturating_mul(BLOCK);
        self.release(reserved.saturating_add(recorded));
        self.fetches.reap(worker)
    }

    fn reserved_by(&self, worker: usize) -> &'static AtomicU64 {
        &self.reserved[self.number_of(worker) * LINE]
    }

    /// The count of changes to what has this hash, among others.
    pub fn stamp(&self, hash: EntryKey) -> u64 {
        self.stamp_cell(hash).load(SeqCst)
    }

    /// Counts a change, after it was made. Returns the count.
    pub fn bump_stamp(&self, hash: EntryKey) -> u64 {
        self.stamp_cell(hash).fetch_add(1, SeqCst).wrapping_add(1)
    }

    fn stamp_cell(&self, hash: EntryKey) -> &'static AtomicU64 {
        &self.stamps[hash.0 as usize & (STAMPS - 1)]
    }

    /// How often answers of a URL, among others, were made void. A recording that sees another number at
    /// its end than at its beginning may be of what was void by then.
    pub fn voided(&self, primary: UrlKey) -> u64 {
        let all = self.header[VOIDED].load(SeqCst);
        self.void_cell(primary).load(SeqCst).wrapping_add(all)
    }

    /// Makes recordings of a URL void, before what is stored of it is removed.
    pub fn void(&self, primary: UrlKey) {
        self.void_cell(primary).fetch_add(1, SeqCst);
    }

    /// Makes all recordings void.
    pub fn void_all(&self) {
        self.header[VOIDED].fetch_add(1, SeqCst);
    }

    fn void_cell(&self, primary: UrlKey) -> &'static AtomicU64 {
        &self.voids[primary.0 as usize & (VOIDS - 1)]
    }
}

/// What a file of `len` bytes takes of a disk.
pub fn on_disk(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::collapse::Collapse;
    use crate::mem::time::Micros;

    fn sizes() -> Sizes {
        Sizes { workers: 4, max_size: 1 << 20 }
    }

    fn cells() -> SharedCells {
        let cells: Vec<AtomicU64> = (0..sizes().cells()).map(|_| AtomicU64::new(0)).collect();
        let cells = SharedCells::create(cells.leak(), sizes());
        cells.set_unscanned(0);
        cells
    }

    #[test]
    fn no_more_is_reserved_than_there_is() {
        let cells = cells();
        assert!(cells.reserve(0, 600_000) && cells.reserve(1, 448_576));
        assert!(!cells.reserve(2, 1) && cells.reserve(2, 0));
        cells.settle(0, 600_000, 4096);
        assert_eq!(cells.used(), 448_576 + 4096);
        assert!(!cells.reserve(0, u64::MAX) && cells.reserve(0, 100_000));
        cells.release(u64::MAX);
        assert_eq!(cells.used(), 0);
    }

    #[test]
    fn what_was_not_looked_at_counts_as_used() {
        let cells = cells();
        cells.set_unscanned(1 << 20);
        assert!(!cells.reserve(0, 1));
        cells.set_unscanned((1 << 20) - 4096);
        assert!(cells.reserve(0, 4096) && !cells.reserve(0, 4096));
    }

    #[test]
    fn what_the_dead_had_reserved_is_free() {
        let cells = cells();
        assert!(cells.reserve(0, 1000) && cells.reserve(3, 2000) && cells.reserve(3, 5000));
        cells.reap(3);
        assert_eq!(cells.used(), 1000);
        cells.reap(3);
        assert_eq!(cells.used(), 1000);
    }

    #[test]
    fn the_next_program_finds_the_cells_as_they_are_if_they_fit() {
        let memory: Vec<AtomicU64> = (0..sizes().cells()).map(|_| AtomicU64::new(0)).collect();
        let memory: &'static [AtomicU64] = memory.leak();
        assert!(SharedCells::open(memory, sizes()).is_none());
        SharedCells::create(memory, sizes()).add(5000);
        let less = Sizes { max_size: (1 << 20) - 1, ..sizes() };
        let cells = SharedCells::open(memory, less).expect("they fit");
        assert_eq!((cells.used(), cells.max_size()), (5000, (1 << 20) - 1));
        assert!(SharedCells::open(memory, Sizes { workers: 5, ..sizes() }).is_none());
        assert!(SharedCells::open(memory, Sizes { max_size: 1 << 30, ..sizes() }).is_none());
    }

    #[test]
    fn processes_of_two_generations_are_told_apart() {
        let one = cells();
        let other = one.numbered_from(2);
        assert!(one.reserve(0, 1000) && other.reserve(0, 2000));
        let Collapse::Lead(fetch) = other.fetches.begin(0, EntryKey(5), Micros(0)) else {
            panic!()
        };
        assert!(matches!(one.fetches.begin(1, EntryKey(5), Micros(0)), Collapse::Follow(_)));
        let woken = other.fetches.end(fetch, collapse::Ending::Stored, Micros(0));
        assert_eq!(woken.workers().collect::<Vec<_>>(), [3]);
        one.reap(0);
        assert_eq!(one.used(), 2000);
        other.reap(0);
        assert_eq!(one.used(), 0);
    }

    #[test]
    fn stamps_tell_of_changes() {
        let cells = cells();
        let before = (cells.stamp(EntryKey(1)), cells.stamp(EntryKey(2)));
        cells.bump_stamp(EntryKey(1));
        assert!(cells.stamp(EntryKey(1)) != before.0 && cells.stamp(EntryKey(2)) == before.1);
        let before = (cells.voided(UrlKey(1)), cells.voided(UrlKey(2)));
        cells.void(UrlKey(1));
        assert!(cells.voided(UrlKey(1)) != before.0 && cells.voided(UrlKey(2)) == before.1);
        cells.void_all();
        assert!(cells.voided(UrlKey(2)) != before.1);
    }
}
