//! A turn of the event loop: its time, and who is to be driven.

use crate::mem::queue::Queue;
use crate::mem::time::Micros;

use super::ids::ClientId;

/// What everybody may know of the present turn; whoever has found work for a client wakes it here.
pub struct Turn {
    /// The time, read once a turn.
    pub now: Micros,
    /// How many turns there were.
    pub number: u64,
    /// How late this process may be in noticing what happened: the length of its last turns.
    pub lag: Micros,
    /// Clients to be driven.
    ready: Queue<ClientId>,
    /// By the clients' slots: whether they stand in `ready`.
    is_ready: Vec<bool>,
    /// How many of the clients in `ready` are still to be driven in this turn.
    quota: usize,
}

impl Turn {
    /// Before the first turn, with room for so many clients.
    pub fn new(now: Micros, clients: usize) -> Turn {
        let (ready, is_ready) = (Queue::with_capacity(clients), vec![false; clients]);
        Turn { now, number: 0, lag: Micros(0), ready, is_ready, quota: 0 }
    }

    /// Begins the next turn, at this time.
    pub fn begin(&mut self, now: Micros) {
        self.now = now;
        self.number += 1;
    }

    /// Notes the time at which the turn ended: events that came during it were late by its length.
    pub fn end(&mut self, now: Micros) {
        let length = now - self.now;
        self.lag = length + Micros(self.lag.0 / 2);
    }

    /// Has a client driven, however often it is said.
    pub fn wake(&mut self, id: ClientId) {
        let is_ready = &mut self.is_ready[id.index()];
        if !*is_ready {
            *is_ready = true;
            self.ready.push_back(id).expect("each client stands in the queue once");
        }
    }

    /// Has a client driven in this turn, before any other: it waits for nothing but its turn.
    pub fn wake_next(&mut self, id: ClientId) {
        let is_ready = &mut self.is_ready[id.index()];
        if !*is_ready {
            *is_ready = true;
            self.quota += 1;
            self.ready.push_front(id).expect("each client stands in the queue once");
        }
    }

    /// Begins to drive the clients that are ready now. Clients that are woken meanwhile have to wait for the
    /// next turn, so that events are seen in between.
    pub fn begin_driving(&mut self) {
        self.quota = self.ready.len();
    }

    /// Takes the next client out that is to be driven in this turn.
    pub fn next_ready(&mut self) -> Option<ClientId> {
        self.quota = self.quota.checked_sub(1)?;
        let id = self.ready.pop_front()?;
        self.is_ready[id.index()] = false;
        Some(id)
    }

    /// A client is gone: the queue has room for those that there can be, and no more.
    pub fn forget(&mut self, id: ClientId) {
        if std::mem::take(&mut self.is_ready[id.index()]) {
            self.ready.remove(&id);
        }
    }

    /// How many clients are to be driven.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The clients that are to be driven.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &ClientId> {
        self.ready.iter()
    }
}
