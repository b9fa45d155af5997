//! Which entries there are, how large they are and when they were used last: an order near LRU.
//!
//! A table of places in groups of eight; an entry has its place in the group that its hash names. A
//! hit notes the time there, in steps of a quarter of a second, and takes no lock. The oldest of some
//! sixteen neighbours, which have nothing in common but chance, goes when room is needed.
//!
//! The place's first cell says what it is; it changes by compare and exchange alone. Whoever takes a
//! place, to fill or to empty it, marks it as theirs meanwhile. Who looks for an entry just then does
//! not find it, or finds another, and notes a use of that: which harms nobody. Two who put in the same
//! entry at once may give it two places: who has filled one looks for the other *afterwards*, so one of
//! them at least sees both, and takes the second out.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use crate::mem::time::Micros;

use super::keys::EntryKey;

/// Cells of a place: what it is, and the two halves of the hash.
pub(super) const CELLS: usize = 3;
/// Places of a group. Its first cells fill one cache line.
const GROUP: usize = 8;
/// Entries that are compared to find an old one.
const COMPARED: usize = 16;
/// Places that are looked at, at most, to find these entries.
const LOOKED_AT: usize = 8192;

/// When something was used, in steps of about a quarter of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used(u32);

impl Used {
    /// Now, by the clock that is never set.
    pub fn at(now: Micros) -> Used {
        // What was used before the machine started is older: eight years of it.
        Used((1 << 30) + (now.0 >> 18).min(1 << 30) as u32)
    }

    /// The time so many seconds before.
    pub fn before(self, seconds: u64) -> Used {
        Used(self.0.saturating_sub((seconds.min(1 << 28) * 4) as u32))
    }
}

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    /// Somebody fills or empties it.
    Taken {
        worker: u32,
        blocks: u32,
    },
    Filled {
        used: Used,
        blocks: u32,
    },
}

const BLOCK_BITS: u32 = 24;
const TAKEN: u64 = 1 << 62;
const FILLED: u64 = 2 << 62;

impl Place {
    fn from_cell(cell: u64) -> Place {
        let blocks = (cell & ((1 << BLOCK_BITS) - 1)) as u32;
        let number = (cell >> BLOCK_BITS) as u32;
        match cell & (3 << 62) {
            FILLED => Place::Filled { used: Used(number), blocks },
            TAKEN => Place::Taken { worker: number, blocks },
            _ => Place::Free,
        }
    }

    fn cell(self) -> u64 {
        let with = |state: u64, number: u32, blocks: u32| {
            state | u64::from(number) << BLOCK_BITS | u64::from(blocks.min((1 << BLOCK_BITS) - 1))
        };
        match self {
            Place::Free => 0,
            Place::Taken { worker, blocks } => with(TAKEN, worker, blocks),
            Place::Filled { used, blocks } => with(FILLED, used.0, blocks),
        }
    }
}

/// An entry that was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub hash: EntryKey,
    /// The blocks that it has on the disk.
    pub blocks: u32,
}

/// What became of an entry that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The entry is in.
    New,
    /// The entry was in already, with so many blocks.
    Again(u32),
    /// The entry is in, and this one is out in its place; its file is to be removed.
    Instead(Removed),
    /// There is no place, for all are just being taken.
    Nowhere,
}

/// An old entry whose place is taken, to be freed once its file is gone.
#[derive(Debug)]
pub struct Victim {
    /// The entry.
    pub entry: Removed,
    place: usize,
}

/// The table. A handle, to be copied.
#[derive(Clone, Copy)]
pub struct Index {
    /// By groups: eight first cells, eight lower and eight upper halves.
    cells: &'static [AtomicU64],
    hand: &'static AtomicU64,
}

impl Index {
    pub(super) fn over(cells: &'static [AtomicU64], hand: &'static AtomicU64) -> Index {
        assert!(cells.len() % (GROUP * CELLS) == 0);
        Index { cells, hand }
    }

    #[cfg(test)]
    pub(super) fn cells(&self) -> &'static [AtomicU64] {
        self.cells
    }

    fn places(&self) -> usize {
        self.cells.len() / CELLS
    }

    fn state(&self, place: usize) -> &'static AtomicU64 {
        &self.cells[place / GROUP * GROUP * CELLS + place % GROUP]
    }

    fn hash_of(&self, place: usize) -> EntryKey {
        let at = place / GROUP * GROUP * CELLS + GROUP + place % GROUP;
        let half = |at: usize| u128::from(self.cells[at].load(Relaxed));
        EntryKey(half(at + GROUP) << 64 | half(at))
    }

    fn set_hash(&self, place: usize, hash: EntryKey) {
        let at = place / GROUP * GROUP * CELLS + GROUP + place % GROUP;
        self.cells[at].store(hash.0 as u64, Relaxed);
        self.cells[at + GROUP].store((hash.0 >> 64) as u64, Relaxed);
    }

    /// The places of the group that `hash` names.
    fn group(&self, hash: EntryKey) -> std::ops::Range<usize> {
        let group = (hash.0 >> 64) as usize % (self.places() / GROUP);
        group * GROUP..(group + 1) * GROUP
    }

    /// The place of an entry, and what its first cell says.
    fn find(&self, hash: EntryKey) -> Option<(usize, u64)> {
        self.group(hash).find_map(|place| {
            let cell = self.state(place).load(SeqCst);
            let is_filled = matches!(Place::from_cell(cell), Place::Filled { .. });
            (is_filled && self.hash_of(place) == hash).then_some((place, cell))
        })
    }

    /// Whether an entry is in. In one order with the counts of what was made void: who counts and then
    /// does not find an entry here is seen by whoever puts it in and then looks at the count.
    pub fn contains(&self, hash: EntryKey) -> bool {
        self.find(hash).is_some()
    }

    /// Notes that an entry was used. False if it is not in.
    pub fn touch(&self, hash: EntryKey, now: Used) -> bool {
        let Some((place, cell)) = self.find(hash) else { return false };
        if let Place::Filled { used, blocks } = Place::from_cell(cell)
            && used < now
        {
            let touched = Place::Filled { used: now, blocks }.cell();
            // Whoever is faster notes about the same.
            let _ = self.state(place).compare_exchange(cell, touched, AcqRel, Relaxed);
        }
        true
    }

    /// Puts an entry in, for `worker`.
    pub fn put(&self, worker: usize, hash: EntryKey, blocks: u32, now: Used) -> Put {
        let filled = Place::Filled { used: now, blocks }.cell();
        if let Some((place, cell)) = self.find(hash)
            && self.state(place).compare_exchange(cell, filled, AcqRel, Relaxed).is_ok()
        {
            return match Place::from_cell(cell) {
                Place::Filled { blocks, .. } => Put::Again(blocks),
                Place::Free | Place::Taken { .. } => Put::New,
            };
        }
        let free = |place: &usize| self.take(*place, Place::Free.cell(), worker, 0);
        if let Some(place) = self.group(hash).find(free) {
            self.fill(place, hash, filled);
            return self.take_second_out(hash).map_or(Put::New, Put::Again);
        }
        let ages = self.group(hash).filter_map(|place| self.age(place));
        let oldest = ages.min_by_key(|(used, ..)| *used);
        match oldest {
            Some((_, place, cell, blocks)) if self.take(place, cell, worker, blocks) => {
                let removed = Removed { hash: self.hash_of(place), blocks };
                self.fill(place, hash, filled);
                Put::Instead(removed)
            }
            Some(_) | None => Put::Nowhere,
        }
    }

    fn fill(&self, place: usize, hash: EntryKey, filled: u64) {
        self.set_hash(place, hash);
        self.state(place).store(filled, SeqCst);
    }

    /// If an entry has two places, frees the second, and says how many blocks stood there.
    fn take_second_out(&self, hash: EntryKey) -> Option<u32> {
        let is_it = |place: &usize| {
            let cell = self.state(*place).load(SeqCst);
            matches!(Place::from_cell(cell), Place::Filled { .. }) && self.hash_of(*place) == hash
        };
        let second = self.group(hash).filter(is_it).nth(1)?;
        loop {
            let cell = self.state(second).load(SeqCst);
            let Place::Filled { blocks, .. } = Place::from_cell(cell) else { return None };
            let free = Place::Free.cell();
            // A use may have been noted there meanwhile. If the other one was faster, it counts.
            if self.state(second).compare_exchange(cell, free, SeqCst, Relaxed).is_ok() {
                return Some(blocks);
            }
        }
    }

    fn take(&self, place: usize, expected: u64, worker: usize, blocks: u32) -> bool {
        let taken = Place::Taken { worker: worker as u32, blocks }.cell();
        self.state(place).compare_exchange(expected, taken, AcqRel, Relaxed).is_ok()
    }

    /// When what is in a place was used, the place, its first cell, and the blocks.
    fn age(&self, place: usize) -> Option<(Used, usize, u64, u32)> {
        let cell = self.state(place).load(Acquire);
        match Place::from_cell(cell) {
            Place::Filled { used, blocks } => Some((used, place, cell, blocks)),
            Place::Free | Place::Taken { .. } => None,
        }
    }

    /// Takes an entry out, and says how many blocks it had.
    pub fn remove(&self, hash: EntryKey) -> Option<u32> {
        loop {
            let (place, cell) = self.find(hash)?;
            let free = Place::Free.cell();
            if self.state(place).compare_exchange(cell, free, AcqRel, Relaxed).is_ok() {
                return match Place::from_cell(cell) {
                    Place::Filled { blocks, .. } => Some(blocks),
                    Place::Free | Place::Taken { .. } => None,
                };
            }
        }
    }

    /// Takes the place of an entry that was used long ago, for `worker`. `None` if there is hardly
    /// any entry at all: the search goes on from there the next time.
    pub fn take_old(&self, worker: usize) -> Option<Victim> {
        let start = self.hand.load(Relaxed) as usize % self.places();
        let mut found = 0;
        let mut looked_at = 0;
        let mut oldest: Option<(Used, usize, u64, u32)> = None;
        while found < COMPARED && looked_at < LOOKED_AT.min(self.places()) {
            let place = (start + looked_at) % self.places();
            looked_at += 1;
            if let Some(one) = self.age(place) {
                found += 1;
                if oldest.is_none_or(|other| one.0 < other.0) {
                    oldest = Some(one);
                }
            }
        }
        self.hand.store(((start + looked_at) % self.places()) as u64, Relaxed);
        let (_, place, cell, blocks) = oldest?;
        // Whoever is faster has used it, or taken it: then another one is old.
        let taken = self.take(place, cell, worker, blocks);
        taken.then(|| Victim { entry: Removed { hash: self.hash_of(place), blocks }, place })
    }

    /// Frees the place of one whose file is gone.
    pub fn free(&self, victim: &Victim) {
        self.state(victim.place).store(Place::Free.cell(), Release);
    }

    /// Frees the places that a dead process had taken, and says how many blocks they had.
    pub(super) fn reap(&self, worker: usize) -> u64 {
        let mut freed = 0;
        for place in 0..self.places() {
            let cell = self.state(place).load(Relaxed);
            if let Place::Taken { worker: owner, blocks } = Place::from_cell(cell)
                && owner as usize == worker
            {
                self.state(place).store(Place::Free.cell(), Release);
                freed += u64::from(blocks);
            }
        }
        freed
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
