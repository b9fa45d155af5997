//! Backends at Unix sockets whose queue is full: as many connections wait to be accepted as may.
//!
//! The kernel says so at once, and no event tells when it is fewer. That is no failure, and closes no
//! other connection: who comes waits here, in the order in which all came, until `timeouts.connect` is
//! over. The first for each backend tries again every few milliseconds, and behind it the next for as
//! long as there is room. A connection to that backend that falls idle is the first one's too.

use crate::mem::queue::Queue;
use crate::mem::time::Millis;
use crate::shared::BackendId;

use super::waiting::Waiter;
use super::{Turn, Upstream};
use crate::proxy::ids::ExchangeId;

/// How long before the next try.
const PAUSE: Millis = Millis(5);

/// The exchanges that wait for room in the queues of backends.
pub struct Backlog {
    queue: Queue<(BackendId, Waiter)>,
    /// When the first exchange for each backend tries again; `None` while no exchange waits.
    next_try: Option<Millis>,
}

impl Backlog {
    /// An empty queue, with room for so many exchanges.
    pub fn new(exchanges: usize) -> Backlog {
        Backlog { queue: Queue::with_capacity(exchanges), next_try: None }
    }

    /// The exchanges that wait, each with its backend.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &(BackendId, Waiter)> {
        self.queue.iter()
    }

    fn first(&self, slot: BackendId) -> Option<Waiter> {
        let mut of_backend = self.queue.iter().filter(|(backend, _)| *backend == slot);
        of_backend.next().map(|(_, waiter)| *waiter)
    }
}

impl Upstream {
    /// Puts a waiter at the end of those that wait for room in a backend's queue.
    pub fn enqueue_for_backlog(&mut self, slot: BackendId, waiter: Waiter, turn: &Turn) {
        let backlog = &mut self.backlog;
        backlog.queue.push_back((slot, waiter)).expect("a queue has room for all exchanges");
        backlog.next_try.get_or_insert(turn.now.millis() + PAUSE);
    }

    /// Takes a waiter out of those that wait for room; the next one for that backend has another try.
    pub fn dequeue_for_backlog(&mut self, slot: BackendId, waiter: Waiter, turn: &mut Turn) {
        self.backlog.queue.remove(&(slot, waiter));
        self.backlog_may_have_room(slot, turn);
    }

    /// The first that waits for room in a backend's queue has another try.
    pub fn backlog_may_have_room(&self, slot: BackendId, turn: &mut Turn) {
        if let Some(waiter) = self.backlog.first(slot) {
            turn.wake(waiter.client);
        }
    }

    /// Whether nobody waits ahead of this one for room in a backend's queue.
    pub fn is_next_for_backlog(&self, slot: BackendId, exchange: ExchangeId) -> bool {
        self.backlog.first(slot).is_none_or(|first| first.exchange == exchange)
    }

    /// When [`Upstream::retry_backlog`] is to be called next.
    pub fn next_backlog_try(&self) -> Option<Millis> {
        self.backlog.next_try
    }

    /// The first for each backend has another try, if it is time.
    pub fn retry_backlog(&mut self, turn: &mut Turn) {
        let now = turn.now.millis();
        let backlog = &mut self.backlog;
        if backlog.next_try.is_none_or(|time| time > now) {
            return;
        }
        backlog.next_try = (!backlog.queue.is_empty()).then_some(now + PAUSE);
        for (slot, waiter) in backlog.queue.iter() {
            let backend = &mut self.backends[slot.0];
            if backend.tried_in_turn != turn.number {
                backend.tried_in_turn = turn.number;
                turn.wake(waiter.client);
            }
        }
    }

    /// The exchanges that wait for room in the queues of backends.
    #[cfg(test)]
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }
}
