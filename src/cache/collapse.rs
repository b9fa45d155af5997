//! Request collapsing: concurrent misses for one cache key cause one request to a backend.
//!
//! The first worker to miss becomes the leader and fetches; the others register as waiters. When the
//! fetch ends, successfully or not, the leader wakes every waiter, and each looks the key up again.
//! When the answer turns out to be for nobody else, all who wait go to a backend at once, and the key
//! is known for a while as one that nobody needs to wait for.
//!
//! A fetch's first cell says which key it is for, and which worker fetches it; the other cells have a bit for
//! each worker that waits. A waiter sets its bit and then looks whether the fetch is still going on; the leader
//! ends the fetch and then takes the bits. If both do so at the same time, one of them sees the other, so no
//! worker waits for a fetch that is over. A table that is full, or a key that has another's place, only means
//! that no request waits.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::mem::time::Micros;

use super::keys::EntryKey;
use super::layout::{LINE, MASKS, MOST_WAITING};
use super::process_slots::ProcessSlots;

/// Fetches at once. A power of two.
const PLACES: usize = 4096;
/// Keys that are remembered as unshareable. A power of two.
const MEMORIES: usize = 4096;
/// Cells of all of it.
pub(super) const CELLS: usize = PLACES * LINE + MEMORIES + PLACES;

/// Bits of a key in a fetch's first cell; the worker stands below.
const TAG_BITS: u32 = 52;

/// In a count of news: what the fetch brings is shown ([`super::recorder::Recorder::show`]).
const SHOWN: u64 = 1;
/// Each piece of news counts so much: the bit below is [`SHOWN`].
const NEWS: u64 = 2;

/// How long a key is known to be one that nobody needs to wait for.
const UNSHAREABLE_FOR: Micros = Micros::from_secs(30);
/// How long, if its response is longer than what is stored: exchanges that follow such a fetch may be cut.
const TOO_LONG_FOR: Micros = Micros::from_secs(600);
/// How long after a failure, which may be over soon.
const FAILED_FOR: Micros = Micros::from_secs(1);

/// Whether a request for a key goes to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapse {
    /// The request goes to a backend, and others wait for its response. [`FetchTable::end`] is due then.
    Lead(FetchTicket),
    /// Another request has gone already: this worker is woken when that fetch is over.
    Follow(FetchTicket),
    /// The request goes to a backend, and no other waits for it.
    Alone,
}

/// A fetch that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct FetchTicket {
    place: u32,
    word: u64,
    hash: EntryKey,
    /// The count of news when its holder last looked.
    seen: u64,
}

impl FetchTicket {
    /// What is fetched.
    pub fn hash(&self) -> EntryKey {
        self.hash
    }
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer is stored.
    Stored,
    /// The answer is for nobody else.
    Unshareable,
    /// The response turned out to be longer than what is stored.
    TooLong,
    /// No answer came that could be stored.
    Failed,
    /// Nobody wanted it any more.
    Abandoned,
}

/// The workers that wait, a bit for each number as this process knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting([u64; MASKS]);

impl Waiting {
    /// The numbers of the workers that wait.
    pub fn workers(self) -> impl Iterator<Item = usize> {
        (0..MOST_WAITING).filter(move |worker| self.0[worker / 64] >> (worker % 64) & 1 == 1)
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub fn is_empty(self) -> bool {
        self.0 == [0; MASKS]
    }

    fn add(&mut self, worker: usize) {
        self.0[worker / 64] |= 1 << (worker % 64);
    }

    /// Adds those of `other`.
    pub fn join(&mut self, other: Waiting) {
        for (bits, more) in self.0.iter_mut().zip(other.0) {
            *bits |= more;
        }
    }
}

/// The tables. A handle, to be copied.
#[derive(Clone, Copy)]
pub struct FetchTable {
    places: &'static [AtomicU64],
    memories: &'static [AtomicU64],
    /// How often there were news of the fetches that have had a place, and whether the present one is shown.
    news: &'static [AtomicU64],
    slots: ProcessSlots,
}

impl FetchTable {
    pub(super) fn over(cells: &'static [AtomicU64], slots: ProcessSlots) -> FetchTable {
        let (places, rest) = cells.split_at(PLACES * LINE);
        let (memories, news) = rest.split_at(MEMORIES);
        FetchTable { places, memories, news, slots }
    }

    /// This table, for processes that have other numbers in the cells.
    pub(super) fn with(self, slots: ProcessSlots) -> FetchTable {
        FetchTable { slots, ..self }
    }

    #[cfg(test)]
    pub(super) fn cells(&self) -> [&'static [AtomicU64]; 3] {
        [self.places, self.memories, self.news]
    }

    fn word(&self, place: usize) -> &'static AtomicU64 {
        &self.places[place * LINE]
    }

    /// The two places that a key may have: mostly it has the first.
    fn places_of(hash: EntryKey) -> [usize; 2] {
        [hash.0 as usize % PLACES, (hash.0 >> 20) as usize % PLACES]
    }

    fn tag(hash: EntryKey) -> u64 {
        // Never 0, which is what a free place says.
        ((hash.0 >> 64) as u64 | 1) << (64 - TAG_BITS)
    }

    /// Joins the fetch of a key, or begins one.
    pub fn begin(&self, worker: usize, hash: EntryKey, now: Micros) -> Collapse {
        if self.is_unshareable(hash, now) {
            return Collapse::Alone;
        }
        let (tag, places) = (FetchTable::tag(hash), FetchTable::places_of(hash));
        let ticket = |place, word, seen| FetchTicket { place: place as u32, word, hash, seen };
        for place in places {
            let seen = self.seen(place);
            let word = self.word(place).load(SeqCst);
            if word & tag_mask() == tag && self.wait(worker, place, word) {
                return Collapse::Follow(ticket(place, word, seen));
            }
        }
        let mine = tag | self.slots.in_cells(worker) as u64;
        for place in places {
            let seen = self.seen(place);
            match self.word(place).compare_exchange(0, mine, SeqCst, SeqCst) {
                Ok(_) => return Collapse::Lead(ticket(place, mine, seen)),
                Err(word) if word & tag_mask() == tag && self.wait(worker, place, word) => {
                    return Collapse::Follow(ticket(place, word, seen));
                }
                Err(_) => (),
            }
        }
        Collapse::Alone
    }

    /// The count of news, for a worker that is about to wait. It reads the count before it sets its bit. If it
    /// read it after, news in between might have taken the bit already: the worker would take that news as
    /// seen, and not be woken again.
    fn seen(&self, place: usize) -> u64 {
        self.news[place].load(SeqCst)
    }

    /// Sets the worker's bit among those that wait. `false`: the fetch is over, and there is nothing to wait for.
    fn wait(&self, worker: usize, place: usize, word: u64) -> bool {
        let number = self.slots.in_cells(worker);
        let mask = &self.places[place * LINE + 1 + number / 64];
        mask.fetch_or(1 << (number % 64), SeqCst);
        self.word(place).load(SeqCst) == word
    }

    /// Whether a fetch that a worker waits for is still going on. If so the worker's bit is set anew: the fetch
    /// that it joined may have ended and taken the bit, and the same leader may have begun another one since,
    /// which looks the same.
    pub fn is_going_on(&self, worker: usize, fetch: FetchTicket) -> bool {
        let place = fetch.place as usize;
        self.word(place).load(SeqCst) == fetch.word && self.wait(worker, place, fetch.word)
    }

    /// As [`FetchTable::is_going_on`], for a worker that is about to read what the fetch has brought: only
    /// what comes from here on is news to it.
    pub fn look(&self, worker: usize, fetch: &mut FetchTicket) -> bool {
        fetch.seen = self.seen(fetch.place as usize);
        self.is_going_on(worker, *fetch)
    }

    /// Whether there is news of a fetch, or it has ended, since the holder of the ticket looked last.
    pub fn has_news(&self, fetch: FetchTicket) -> bool {
        let place = fetch.place as usize;
        self.news[place].load(SeqCst) != fetch.seen || self.word(place).load(SeqCst) != fetch.word
    }

    /// Notes that other workers find what a fetch has brought so far, under the name of its key.
    pub(super) fn mark_shown(&self, fetch: FetchTicket) {
        self.news[fetch.place as usize].fetch_or(SHOWN, SeqCst);
    }

    /// Whether the file under the name of the key is this fetch's, and not one that an earlier fetch has left.
    pub(super) fn is_shown(&self, fetch: FetchTicket) -> bool {
        let place = fetch.place as usize;
        self.news[place].load(SeqCst) & SHOWN != 0 && self.word(place).load(SeqCst) == fetch.word
    }

    /// Whether a fetch that goes on has something to show under this name.
    pub(super) fn shows(&self, hash: EntryKey) -> bool {
        let tag = FetchTable::tag(hash);
        FetchTable::places_of(hash).into_iter().any(|place| {
            self.word(place).load(SeqCst) & tag_mask() == tag
                && self.news[place].load(SeqCst) & SHOWN != 0
        })
    }

    /// Whether somebody waits for news of a fetch.
    pub fn is_awaited(&self, fetch: FetchTicket) -> bool {
        let masks = &self.places[fetch.place as usize * LINE + 1..][..MASKS];
        masks.iter().any(|mask| mask.load(SeqCst) != 0)
    }

    /// Notes news of a fetch that goes on, after others can see it. Returns the workers to wake.
    pub fn tell(&self, fetch: FetchTicket) -> Waiting {
        self.take_waiting(fetch.place as usize)
    }

    /// The worker that fetches.
    pub fn leader(&self, fetch: FetchTicket) -> Waiting {
        let mut leader = Waiting::default();
        let worker = self.slots.here((fetch.word & !tag_mask()) as usize);
        if worker < MOST_WAITING {
            leader.add(worker);
        }
        leader
    }

    /// Ends a fetch that `begin` gave to this worker. Returns the workers to wake.
    pub fn end(&self, fetch: FetchTicket, ending: Ending, now: Micros) -> Waiting {
        match ending {
            Ending::Stored => self.forget(fetch.hash),
            Ending::Unshareable => self.remember(fetch.hash, now + UNSHAREABLE_FOR),
            Ending::TooLong => self.remember(fetch.hash, now + TOO_LONG_FOR),
            Ending::Failed => self.remember(fetch.hash, now + FAILED_FOR),
            Ending::Abandoned => (),
        }
        self.close(fetch.place as usize)
    }

    /// Ends a fetch and frees its place. Returns the workers to wake.
    fn close(&self, place: usize) -> Waiting {
        self.news[place].fetch_and(!SHOWN, SeqCst);
        self.word(place).store(0, SeqCst);
        self.take_waiting(place)
    }

    /// Takes the bits of the workers that wait, once there is something for them to see; a worker that waits
    /// on sets its bit again. The end of a fetch counts as news, too: the next fetch may be the same worker's,
    /// and look the same.
    ///
    /// The count rises after the bits are taken. So a worker that waits with the count from before either has
    /// its bit still, or is woken and finds another count.
    fn take_waiting(&self, place: usize) -> Waiting {
        let masks = &self.places[place * LINE + 1..][..MASKS];
        let mut waiting = Waiting::default();
        for (place, mask) in masks.iter().enumerate() {
            let mut bits = mask.swap(0, SeqCst);
            while bits != 0 {
                let number = place * 64 + bits.trailing_zeros() as usize;
                waiting.add(self.slots.here(number));
                bits &= bits - 1;
            }
        }
        self.news[place].fetch_add(NEWS, SeqCst);
        waiting
    }

    /// How many fetches go on.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        (0..PLACES).filter(|place| self.word(*place).load(Relaxed) != 0).count()
    }

    /// Ends all fetches of a dead process. Returns the workers to wake.
    pub(super) fn reap(&self, worker: usize) -> Waiting {
        let (mut waiting, number) = (Waiting::default(), self.slots.in_cells(worker));
        for place in 0..PLACES {
            let word = self.word(place).load(SeqCst);
            if word != 0 && (word & !tag_mask()) as usize == number {
                waiting.join(self.close(place));
            }
        }
        waiting
    }

    fn memory(&self, hash: EntryKey) -> &'static AtomicU64 {
        &self.memories[(hash.0 >> 40) as usize % MEMORIES]
    }

    /// In a memory: the upper bits of the key, and until when, in steps of a quarter of a second.
    fn memory_tag(hash: EntryKey) -> u64 {
        ((hash.0 >> 96) as u64) << 32
    }

    fn remember(&self, hash: EntryKey, until: Micros) {
        let quarters = (until.0 >> 18).min(u64::from(u32::MAX));
        self.memory(hash).store(FetchTable::memory_tag(hash) | quarters, Relaxed);
    }

    /// Forgets that responses of a key are for nobody else: one of them was stored after all.
    pub fn forget(&self, hash: EntryKey) {
        let memory = self.memory(hash);
        if memory.load(Relaxed) >> 32 == FetchTable::memory_tag(hash) >> 32 {
            memory.store(0, Relaxed);
        }
    }

    /// Whether a key is known as one whose answers are for nobody else.
    pub fn is_unshareable(&self, hash: EntryKey, now: Micros) -> bool {
        let memory = self.memory(hash).load(Relaxed);
        let until = memory & u64::from(u32::MAX);
        memory >> 32 == FetchTable::memory_tag(hash) >> 32 && now.0 >> 18 < until
    }
}

const fn tag_mask() -> u64 {
    u64::MAX << (64 - TAG_BITS)
}

#[cfg(test)]
#[path = "collapse_tests.rs"]
mod tests;
