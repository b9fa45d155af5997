//! Exchanges whose answers are stored and not in memory: they look again soon, and others go on meanwhile.
//!
//! The disk reads ahead for the first of them; behind these, who comes waits for its turn. One for which it
//! takes too long waits for the disk with the whole process. If that brings the bytes at once, the disk does not
//! read ahead at all: then nobody waits in vain for a while.

use crate::cache::in_memory::DiskRead;
use crate::cache::store::Store;
use crate::mem::queue::Queue;
use crate::mem::slab::reusing::ReusingSlab;
use crate::mem::time::{Micros, Millis, elapsed};
use crate::sys::clock;

use super::Caching;
use super::context::CacheContext;
use crate::proxy::exchange::Exchange;
use crate::proxy::ids::{ExchangeId, ExchangeTag};

/// How long before the next look.
const PAUSE: Millis = Millis(1);
/// The disk reads ahead for so many exchanges at once.
const MOST_READING: usize = 64;
/// So long an exchange waits for bytes to be read ahead.
const PATIENCE: Micros = Micros::from_secs(1);
/// Who waits for the disk itself after that is expected to wait for longer than this,
const AT_ONCE: Micros = Micros(20_000);
/// else the disk is not asked to read ahead for so long.
const IMPATIENCE: Micros = Micros::from_secs(10);

impl Caching {
    /// Reads for an exchange what was asked of the store. `None`: not now, for others are ahead of it.
    pub(super) fn read_for<T>(
        &mut self,
        context: &CacheContext,
        read: impl FnOnce(&mut Store, DiskRead) -> T,
    ) -> Option<T> {
        match self.cold.reading(context.id, context.now)? {
            DiskRead::Ahead => Some(read(&mut self.store, DiskRead::Ahead)),
            DiskRead::Waits => {
                let begun = clock::now();
                let done = read(&mut self.store, DiskRead::Waits);
                self.cold.waited(begun, clock::now());
                Some(done)
            }
        }
    }
}

/// Who waits for the disk.
pub struct ColdReads {
    waiting: Queue<ColdRead>,
    /// When the first of them look again; while nobody waits, never.
    next_look: Option<Millis>,
    /// The disk is not asked to read ahead until then.
    impatient_until: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ColdRead {
    of: ExchangeId,
    /// When the disk was asked first, if it was.
    since: Option<Micros>,
}

impl ColdReads {
    /// Nobody waits. With room for so many.
    pub fn new(exchanges: usize) -> ColdReads {
        ColdReads {
            waiting: Queue::with_capacity(exchanges),
            next_look: None,
            impatient_until: Micros(0),
        }
    }

    /// How an exchange may read; `None`: not now, for others are ahead of it.
    pub fn reading(&self, id: ExchangeId, now: Micros) -> Option<DiskRead> {
        if self.is_impatient(now) {
            return Some(DiskRead::Waits);
        }
        let place = self.place(id);
        if place.unwrap_or(self.waiting.len()) >= MOST_READING {
            return None;
        }
        let since = place.and_then(|place| self.waiting.get(place)).and_then(|read| read.since);
        let is_late = since.is_some_and(|since| elapsed(since, now) >= PATIENCE);
        Some(if is_late { DiskRead::Waits } else { DiskRead::Ahead })
    }

    fn place(&self, id: ExchangeId) -> Option<usize> {
        self.waiting.iter().position(|read| read.of == id)
    }

    /// Whether the disk is not asked to read ahead.
    pub fn is_impatient(&self, now: Micros) -> bool {
        self.impatient_until > now
    }

    /// An exchange has waited with the process.
    fn waited(&mut self, from: Micros, to: Micros) {
        if !self.is_impatient(from) && elapsed(from, to) < AT_ONCE {
            self.impatient_until = to + IMPATIENCE;
        }
    }

    /// An exchange looks again soon.
    pub fn wait(&mut self, id: ExchangeId, now: Micros) {
        if self.place(id).is_none() {
            let since = (self.waiting.len() < MOST_READING).then_some(now);
            let read = ColdRead { of: id, since };
            self.waiting.push_back(read).expect("a queue has room for all exchanges");
        }
        self.next_look.get_or_insert(now.millis() + PAUSE);
    }

    /// It has what it wanted, or wants it no more.
    pub fn leave(&mut self, id: ExchangeId) {
        if let Some(place) = self.place(id) {
            self.waiting.remove_at(place);
        }
    }

    /// Whether an exchange waits for the disk.
    pub fn has(&self, id: ExchangeId) -> bool {
        self.place(id).is_some()
    }

    /// When [`ColdReads::look_again`] is to be called next.
    pub fn next_look(&self) -> Option<Millis> {
        self.next_look
    }

    /// Hands over those that are to look again, if it is time.
    pub fn look_again(
        &mut self,
        now: Micros,
        exchanges: &ReusingSlab<Exchange, ExchangeTag>,
        mut each: impl FnMut(&Exchange),
    ) {
        if self.next_look.is_none_or(|time| time > now.millis()) {
            return;
        }
        self.next_look = (!self.waiting.is_empty()).then_some(now.millis() + PAUSE);
        for read in self.waiting.iter_mut().take(MOST_READING) {
            read.since.get_or_insert(now);
            exchanges.get(read.of).into_iter().for_each(&mut each);
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
