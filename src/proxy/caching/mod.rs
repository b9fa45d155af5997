//! The cache's part in a worker's exchanges.
//!
//! [`Caching`] owns what is stored and what is being recorded. What happens to an exchange is told to
//! it by `Proxy::with_cache`, the only way there. It changes the exchange's [`CacheState`](state::CacheState),
//! and its [`CacheStep`](context::CacheStep) says what becomes of the exchange, which `Proxy::carry_out` then
//! does:
//!
//! ```text
//! on_request         lookup      its turn has come: is there a stored answer, does another fetch it?
//! on_response_head   revalidate  the head of a backend's answer is there: 304, an error, an unsafe method
//! cold               cold        what is stored is not in memory: it looks again soon
//! on_failure         revalidate  a backend failed: may a stale answer take its place?
//! on_rest            rest        the rest of a stored part is there, or something else
//! on_commit          record      a backend's answer goes on to the client: is it recorded?
//! on_body            record      a part of its body has passed
//! show               follow      others wait for it: they get what has come
//! follow             follow      it waits for what is shown so: that answers it
//! on_body_end        record      the body has passed, whole
//! on_tick            record      twice a second: is its end worth to wait for?
//! on_cut, on_local_reply, abandon            context: it ends otherwise
//! verify_hit, write_hit_head, send_hit_body  hit, in_chunks: a stored answer on its way to the client
//! ```

pub mod background;
mod carry_out;
pub mod cold;
pub mod context;
pub mod follow;
pub mod hit;
mod in_chunks;
pub mod lookup;
pub mod record;
pub mod rest;
pub mod revalidate;
pub mod state;

use crate::cache::collapse::{Ending, FetchTicket, Waiting};
use crate::cache::recorder::Recorder;
use crate::cache::store::{RECORDINGS, Store};
use crate::mem::queue::Queue;
use crate::mem::slab::Slab;
use crate::mem::time::Micros;
use crate::sys::clock;

use super::ids::{ExchangeId, RecorderTag};
use cold::ColdReads;

/// The cache, as the data plane of a worker has it.
pub struct Caching {
    store: Store,
    recorders: Slab<Recording, RecorderTag>,
    /// Exchanges of this worker that wait for what others fetch.
    waiters: Queue<ExchangeId>,
    /// Exchanges that are answered by what another one fetches, as it comes.
    followers: Queue<ExchangeId>,
    /// Exchanges that wait for the disk.
    cold: ColdReads,
    /// The workers that wait for fetches which have ended.
    woken: Option<Waiting>,
    worker: usize,
    /// Whether the operator was told that the disk is slow.
    told_slow: bool,
}

/// A response that is recorded as it passes.
struct Recording {
    recorder: Recorder,
    /// The exchange whose response it is.
    of: ExchangeId,
    /// The fetch that others may wait for.
    ticket: Option<FetchTicket>,
}

/// Now, in seconds since the epoch.
fn wall_seconds() -> u64 {
    clock::wall().0 / 1_000_000
}

impl Caching {
    /// The cache of a worker with this number and so many exchanges at most, for which `store` was made.
    /// Nothing is being recorded.
    pub fn new(store: Store, worker: usize, exchanges: usize) -> Caching {
        Caching {
            store,
            recorders: Slab::with_capacity(RECORDINGS),
            waiters: Queue::with_capacity(exchanges),
            followers: Queue::with_capacity(exchanges),
            cold: ColdReads::new(exchanges),
            woken: None,
            worker,
            told_slow: false,
        }
    }

    /// The stored responses.
    #[cfg(test)]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many responses are being recorded.
    pub fn recordings(&self) -> usize {
        self.recorders.len()
    }

    /// Puts an exchange at the end of those that wait for what others fetch.
    fn enqueue(&mut self, id: ExchangeId) {
        self.waiters.push_back(id).expect("a queue has room for all exchanges");
    }

    /// Takes an exchange out of those that wait for what others fetch.
    fn dequeue(&mut self, id: ExchangeId) {
        self.waiters.remove(&id);
    }

    /// The exchange at this position among those that wait for what others fetch.
    fn waiter(&self, position: usize) -> Option<ExchangeId> {
        self.waiters.get(position).copied()
    }

    /// The exchange at this position among those that are answered by what another one fetches.
    fn follower(&self, position: usize) -> Option<ExchangeId> {
        self.followers.get(position).copied()
    }

    /// All exchanges that are answered by what another one fetches.
    #[cfg(test)]
    pub fn followers(&self) -> &Queue<ExchangeId> {
        &self.followers
    }

    /// Exchanges that wait for the disk.
    pub fn cold(&self) -> &ColdReads {
        &self.cold
    }

    /// All that wait.
    #[cfg(test)]
    pub fn waiters(&self) -> &Queue<ExchangeId> {
        &self.waiters
    }

    /// Whether there is something to be done now and then.
    pub fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// Does some of that.
    pub fn work(&mut self, now: Micros) {
        self.store.work(now);
    }

    /// A fetch has ended: those who wait for it are to be woken, here and in other workers.
    fn end(&mut self, ticket: FetchTicket, ending: Ending, now: Micros) {
        let waiting = self.store.directory().cells.fetches.end(ticket, ending, now);
        self.wake(waiting);
    }

    /// Whether a fetch goes on that is about to be looked at; its news from here on wake the worker.
    fn look_at_fetch(&self, ticket: &mut FetchTicket) -> bool {
        self.store.directory().cells.fetches.look(self.worker, ticket)
    }

    /// These are to be woken.
    fn wake(&mut self, workers: Waiting) {
        self.woken.get_or_insert_default().join(workers);
    }
}
