//! The queues: those who wait for a place at a backend of their pool below its limit, and those who
//! wait for a connection, as many being open as may be.
//!
//! Turns and places are shared with other workers. The queue is this worker's own; as long as anybody
//! stands in it the worker is listed as waiting, and is woken when a place is free (see
//! `shared/wakers.rs`).

use crate::config::AUTO_CAP;
use crate::mem::queue::Queue;
use crate::mem::time::Micros;
use crate::shared::{BackendId, PoolCounter, PoolGauge, PoolId, WaitFor};

use super::{Turn, Upstream};
use crate::proxy::ids::{ClientId, ExchangeId};

/// Which queue an exchange waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitQueue {
    /// None.
    Nowhere,
    /// For a backend of its pool that is below its limit.
    Pool,
    /// For a connection, as many being open as may be.
    Connection,
    /// For room in this backend's own queue, in which its connections wait to be accepted.
    Backlog(BackendId),
    /// For what another request fetches that wants the same.
    Fetch,
}

/// A waiting exchange, the first of its client. The client is woken when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The exchange that is to go on.
    pub exchange: ExchangeId,
    /// Its client.
    pub client: ClientId,
}

/// An exchange in a pool's queue.
#[derive(Clone, Copy, Debug)]
pub struct PoolWaiter {
    /// The exchange.
    pub waiter: Waiter,
    /// Since when.
    pub since: Micros,
}

impl PartialEq for PoolWaiter {
    fn eq(&self, other: &PoolWaiter) -> bool {
        self.waiter == other.waiter
    }
}

impl Upstream {
    /// Puts a waiter at the end of a pool's queue.
    pub fn enqueue_for_pool(&mut self, pool: PoolId, waiter: Waiter, turn: &Turn) {
        self.row.pool(pool).add(PoolCounter::Waits, 1);
        let queue = &mut self[pool].queue;
        let waiter = PoolWaiter { waiter, since: turn.now };
        queue.push_back(waiter).expect("a queue has room for all exchanges");
        if queue.len() == 1 {
            self.segment.wait(self.worker, WaitFor::Pool(pool));
        }
        self.show_queue(pool);
    }

    /// Takes a waiter out of its pool's queue; the one that is now first in it has another try.
    pub fn dequeue_for_pool(&mut self, pool: PoolId, waiter: Waiter, turn: &mut Turn) {
        self[pool].queue.remove(&PoolWaiter { waiter, since: turn.now });
        self.show_queue(pool);
        if self[pool].queue.is_empty() {
            self[pool].has_turn = false;
            self[pool].pace.emptied();
            self.segment.unwait(self.worker, WaitFor::Pool(pool));
            self.wake_next(pool, turn);
        } else {
            self[pool].wake_next_waiter(turn);
        }
    }

    /// Whether one that comes now may wait in a pool's queue. Where caps find themselves it is told at once
    /// if it would not be served in time.
    pub fn admits(&mut self, pool: PoolId, turn: &Turn) -> bool {
        let is_known = self.is_known(pool);
        let pool = &mut self[pool];
        !pool.is_adaptive || pool.pace.admits(pool.queue.len(), is_known, turn.now)
    }

    /// The exchange that has waited for longest, if it will not be served in time.
    pub fn waits_in_vain(&self, pool: PoolId, turn: &Turn) -> Option<Waiter> {
        let is_known = self.is_known(pool);
        let pool = &self[pool];
        let oldest = pool.queue.front().filter(|_| pool.is_adaptive && pool.queue.len() > 1)?;
        let newer = pool.queue.len() - 1;
        let is_in_vain = pool.pace.is_in_vain(oldest.since, newer, is_known, turn.now);
        is_in_vain.then_some(oldest.waiter)
    }

    /// Whether it is known of all backends of a pool how many requests they bear. Looked at only where
    /// all are full.
    fn is_known(&self, pool: PoolId) -> bool {
        let mut up = self[pool].members.list().iter().filter(|member| member.up);
        up.all(|member| {
            let cells = self.segment.backend(BackendId::of_id(member.id));
            member.cap != AUTO_CAP || cells.found_cap().is_saturated
        })
    }

    /// Puts a waiter at the end of the queue for a connection.
    pub fn enqueue_for_conn(&mut self, waiter: Waiter) {
        self.queue.push_back(waiter).expect("a queue has room for all exchanges");
    }

    /// Takes a waiter out of the queue for a connection; the one that is now first has another try.
    pub fn dequeue_for_conn(&mut self, waiter: Waiter, turn: &mut Turn) {
        self.queue.remove(&waiter);
        self.conn_was_freed(turn);
    }

    /// A connection may be opened again.
    pub fn conn_was_freed(&self, turn: &mut Turn) {
        wake_first(&self.queue, turn);
    }

    /// The exchanges that wait for a connection.
    #[cfg(test)]
    pub fn queue_for_conn(&self) -> &Queue<Waiter> {
        &self.queue
    }

    /// Whether nobody waits for a connection.
    pub fn nobody_waits_for_conn(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nobody waits for a connection ahead of this one.
    pub fn is_next_for_conn(&self, exchange: ExchangeId) -> bool {
        self.queue.front().is_none_or(|first| first.exchange == exchange)
    }

    /// Called when a backend may be below its limit again: the first in this worker's queue has another try.
    pub fn give_turn(&mut self, pool: PoolId, turn: &mut Turn) {
        self[pool].has_turn = !self[pool].queue.is_empty();
        self[pool].wake_next_waiter(turn);
    }

    /// A turn that one was told of is another's, before which it came.
    pub fn hand_turn_on(&self, pool: PoolId, turn: &mut Turn) {
        if self[pool].has_turn {
            self[pool].wake_next_waiter(turn);
        }
    }

    /// Called when a backend may be below its limit again: wakes the next worker that waits, which may be this
    /// one.
    pub fn wake_next(&mut self, pool: PoolId, turn: &mut Turn) {
        match self.segment.next_waiting(self.worker, WaitFor::Pool(pool)) {
            None => (),
            Some(worker) if worker == self.worker => self.give_turn(pool, turn),
            Some(worker) => self.wakers.wake(worker),
        }
    }

    /// Has the first exchange in each pool's queue try again. Also at each tick: a backend that only exchanges
    /// may ask which have tried the others may have a place that nobody else could take.
    pub fn give_turns(&mut self, turn: &mut Turn) {
        (0..self.pools.len()).for_each(|pool| self.give_turn(PoolId(pool), turn));
    }

    /// Whether a place that is free is for another worker, which has waited.
    pub(super) fn others_are_first(&self, pool: PoolId) -> bool {
        let next = self.segment.next_waiting(self.worker, WaitFor::Pool(pool));
        !self[pool].has_turn && next.is_some_and(|next| next != self.worker)
    }

    /// Shows how many exchanges stand in a pool's queue.
    fn show_queue(&self, pool: PoolId) {
        self.row.pool(pool).set(PoolGauge::Queue, self[pool].queue.len() as u64);
    }
}

/// The first in a queue has another try.
fn wake_first(queue: &Queue<Waiter>, turn: &mut Turn) {
    if let Some(first) = queue.front() {
        turn.wake(first.client);
    }
}
