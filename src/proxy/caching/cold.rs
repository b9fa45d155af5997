//! Exchanges whose responses are stored on the disk and not in memory: each looks again soon whether its bytes
//! have come, and others go on meanwhile.
//!
//! The disk reads ahead for the first [`MOST_READING`] exchanges; those behind wait for their turn. An exchange
//! whose bytes have not come after [`PATIENCE`] reads them all the same, and the whole process waits for the
//! disk. If that read is fast, the disk does not seem to read ahead at all: for a while it is not asked to, so
//! that no exchange waits in vain.

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

/// How long until the exchanges that wait look again.
const PAUSE: Millis = Millis(1);
/// Exchanges for which the disk reads ahead at once.
const MOST_READING: usize = 64;
/// How long an exchange waits for bytes to be read ahead, before it reads them with the process waiting.
const PATIENCE: Micros = Micros::from_secs(1);
/// Such a read that takes less than this shows that the disk was not busy with reading ahead.
const FAST_READ: Micros = Micros(20_000);
/// How long after a fast read the disk is not asked to read ahead.
const READ_AHEAD_OFF_FOR: Micros = Micros::from_secs(10);

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

/// The exchanges that wait for the disk.
pub struct ColdReads {
    waiting: Queue<ColdRead>,
    /// When the first exchanges look again; `None` while no exchange waits.
    next_look: Option<Millis>,
    /// Until when the disk is not asked to read ahead.
    read_ahead_off_until: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ColdRead {
    of: ExchangeId,
    /// When the disk was asked first, if it was.
    since: Option<Micros>,
}

impl ColdReads {
    /// An empty queue, with room for `exchanges`.
    pub fn new(exchanges: usize) -> ColdReads {
        ColdReads {
            waiting: Queue::with_capacity(exchanges),
            next_look: None,
            read_ahead_off_until: Micros(0),
        }
    }

    /// How an exchange may read; `None`: not now, for others are ahead of it.
    pub fn reading(&self, id: ExchangeId, now: Micros) -> Option<DiskRead> {
        if self.is_read_ahead_off(now) {
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
    pub fn is_read_ahead_off(&self, now: Micros) -> bool {
        self.read_ahead_off_until > now
    }

    /// Notes a read for which the process waited.
    fn waited(&mut self, from: Micros, to: Micros) {
        if !self.is_read_ahead_off(from) && elapsed(from, to) < FAST_READ {
            self.read_ahead_off_until = to + READ_AHEAD_OFF_FOR;
        }
    }

    /// Has an exchange look again soon.
    pub fn wait(&mut self, id: ExchangeId, now: Micros) {
        if self.place(id).is_none() {
            let since = (self.waiting.len() < MOST_READING).then_some(now);
            let read = ColdRead { of: id, since };
            self.waiting.push_back(read).expect("a queue has room for all exchanges");
        }
        self.next_look.get_or_insert(now.millis() + PAUSE);
    }

    /// Notes that an exchange has what it wanted, or wants it no more.
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

    /// Calls `each` for the exchanges that are to look again, if it is time.
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

    /// How many exchanges wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
