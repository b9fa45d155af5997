//! The backends' side of a worker as one owner: pools, backends, connections, and the queues of those
//! who wait for a place at a backend or for a connection.
//!
//! ```text
//! pools        what the shared cells say of pools and backends, read anew when it has changed
//! pick         which backend a request goes to, and a place there
//! waiting      the queues, over all workers; whose turn it is
//! backlog      those who wait for room in the queue of a Unix socket
//! connection   opened, used again, shared, released, closed
//! idle         those that are kept, last used first out
//! multiplexed  those that carry requests of several clients
//! bound        those over which a client has logged in, which are its own
//! health       what is learned of a backend by what it does
//! ```
//!
//! It knows clients and exchanges by their ids alone, and says one thing upward: *wake this client*
//! ([`Turn::wake`]). What lies in its tables is changed here and nowhere else; to those above it lends
//! a pool, a backend or a connection at a time.

pub mod backlog;
pub mod bound;
pub mod connection;
pub mod health;
pub mod idle;
pub mod multiplexed;
pub mod pick;
pub mod pools;
pub mod waiting;

#[cfg(test)]
mod tests;

use std::ops::{Index, IndexMut};

use crate::config::{Config, Multiplex};
use crate::mem::queue::Queue;
use crate::mem::slab::Slab;
use crate::mem::time::Millis;
use crate::policy::balance::Member;
use crate::policy::multiplexing;
use crate::policy::retry::Budget;
use crate::policy::sticky::Key;
use crate::shared::wakers::Wakers;
use crate::shared::{BackendGauge, BackendId, PoolId, Segment, WorkerCells};
use crate::sys::process;

use super::ids::{BackendConnId, BackendConnTag, ExchangeId};
use super::turn::Turn;
use backlog::Backlog;
use connection::BackendConn;
use pools::{Backend, Pool};
use waiting::Waiter;

/// The backends' side of a worker.
pub struct Upstream {
    /// What all workers share.
    segment: Segment,
    /// This worker's number.
    worker: usize,
    /// This worker's row of cells.
    row: WorkerCells,
    /// The wakers of all workers.
    wakers: Wakers,
    /// What sticky cookies are made with.
    sticky_key: Key,
    /// With whose rights this process connects.
    own_user: String,
    /// All pools, by `PoolId`.
    pools: Vec<Pool>,
    /// All backends, by `BackendId`.
    backends: Vec<Backend>,
    conns: Slab<BackendConn, BackendConnTag>,
    /// By the slots of exchanges: which one is behind on the same connection.
    behind: Vec<Option<ExchangeId>>,
    /// The exchanges that wait for a connection to be free.
    queue: Queue<Waiter>,
    /// Connections that are flushed at the end of the turn.
    to_be_flushed: Vec<BackendConnId>,
    /// The exchanges that wait for room in a backend's own queue.
    backlog: Backlog,
    /// Which names the pools had when they were read.
    known_namings: u64,
    /// Backends that were found to be down, or were taken out, since that was last asked.
    failed: Vec<BackendId>,
    /// Room for the members of a pool, while they are read anew.
    scratch: Vec<Member>,
}

/// The limits of one process towards backends.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections.
    pub conns: usize,
    /// Exchanges that there can be.
    pub exchanges: usize,
    /// How long one waits for a backend below its limit.
    pub queue: Millis,
}

impl Upstream {
    /// The backends' side with no connections; the cells were not read yet.
    pub fn new(
        config: &Config,
        limits: Limits,
        sticky_key: Key,
        segment: Segment,
        worker: usize,
        wakers: Wakers,
    ) -> Upstream {
        let layout = segment.layout();
        let budget = Budget::share(worker, layout.workers);
        // Pools that are added later have the keys of the first, "default".
        let keys = config.pools.iter().chain(std::iter::repeat(&config.pools[0]));
        let pools = keys.take(layout.pools).map(|keys| Pool::new(keys, limits, budget));
        let backend = |_| Backend::unknown(config.timeouts.backend_idle);
        Upstream {
            segment,
            worker,
            row: segment.worker(worker),
            wakers,
            sticky_key,
            own_user: process::own_user(),
            pools: pools.collect(),
            backends: (0..layout.backends).map(backend).collect(),
            conns: Slab::with_capacity(limits.conns),
            behind: vec![None; limits.exchanges],
            queue: Queue::with_capacity(limits.exchanges),
            to_be_flushed: Vec::new(),
            backlog: Backlog::new(limits.exchanges),
            known_namings: 0,
            failed: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// All pools, by their ids.
    #[cfg(test)]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// All backends, by their ids.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// All backends, to be changed.
    #[cfg(test)]
    pub fn backends_mut(&mut self) -> &mut [Backend] {
        &mut self.backends
    }

    /// All connections.
    pub fn conns(&self) -> &Slab<BackendConn, BackendConnTag> {
        &self.conns
    }

    /// A connection, and the backend to which it leads.
    pub fn conn_and_backend(&mut self, id: BackendConnId) -> (&mut BackendConn, &mut Backend) {
        let conn = &mut self.conns[id];
        let backend = &mut self.backends[conn.backend.0];
        (conn, backend)
    }

    /// A connection, and the pool of what it carries.
    pub fn conn_and_pool(&mut self, id: BackendConnId, pool: PoolId) -> (&mut BackendConn, &Pool) {
        (&mut self.conns[id], &self.pools[pool.0])
    }

    /// Whether there are backends that were found to be down.
    pub fn has_failed_backends(&self) -> bool {
        !self.failed.is_empty()
    }

    /// A backend that was found to be down, each only once: what waits there is to go elsewhere.
    pub fn next_failed_backend(&mut self) -> Option<BackendId> {
        self.failed.pop()
    }

    /// Shows what was learned of the backends, for operators.
    pub fn show_backends(&self, now: Millis) {
        for (slot, backend) in self.backends.iter().enumerate() {
            if backend.slot_state.source().is_some() {
                let row = self.row.backend(BackendId(slot));
                row.set(BackendGauge::IdleLimit, backend.idle_limit.limit().0);
                row.set(BackendGauge::Echoes, u64::from(backend.echo.echoes()));
                row.set(BackendGauge::UsualTime, backend.pace.usual().0);
                let multiplexed = match self[backend.pool].multiplex {
                    Multiplex::Off => None,
                    Multiplex::Verified => Some(backend.multiplex_limit(now).map(|_| ())),
                };
                row.set(BackendGauge::Multiplexed, multiplexing::to_cell(multiplexed));
            }
        }
    }

    /// Wakes the worker of that number, or another process: see [`Wakers::wake`].
    pub fn wake_worker(&self, worker: usize) {
        self.wakers.wake(worker);
    }

    /// Makes this worker's own waker silent, before it looks what it was woken for.
    pub fn clear_waker(&self) {
        self.wakers.clear(self.worker);
    }
}

impl Index<PoolId> for Upstream {
    type Output = Pool;
    #[inline]
    fn index(&self, id: PoolId) -> &Pool {
        &self.pools[id.0]
    }
}

impl IndexMut<PoolId> for Upstream {
    #[inline]
    fn index_mut(&mut self, id: PoolId) -> &mut Pool {
        &mut self.pools[id.0]
    }
}

impl Index<BackendId> for Upstream {
    type Output = Backend;
    #[inline]
    fn index(&self, id: BackendId) -> &Backend {
        &self.backends[id.0]
    }
}

impl IndexMut<BackendId> for Upstream {
    #[inline]
    fn index_mut(&mut self, id: BackendId) -> &mut Backend {
        &mut self.backends[id.0]
    }
}

impl Index<BackendConnId> for Upstream {
    type Output = BackendConn;
    #[inline]
    fn index(&self, id: BackendConnId) -> &BackendConn {
        &self.conns[id]
    }
}

impl IndexMut<BackendConnId> for Upstream {
    #[inline]
    fn index_mut(&mut self, id: BackendConnId) -> &mut BackendConn {
        &mut self.conns[id]
    }
}
