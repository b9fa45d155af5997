//! Waiting: its turn, a stored answer, a backend, a connection.

use crate::mem::time::{Micros, elapsed};
use crate::policy::order;
use crate::policy::retry::Failure;
use crate::policy::sticky::StickyTarget;
use crate::shared::{BackendCounter, BackendId, PoolId};
use crate::sys::IoError;

use super::Proxy;
use super::exchange::{Carrier, DispatchMode, State};
use super::ids::{BackendConnId, ExchangeId};
use super::step::Progress;
use super::upstream::bound::Bound;
use super::upstream::connection::Reusable;
use super::upstream::pick::{Need, Pick};
use super::upstream::waiting::WaitQueue;

/// Waiting exchanges, at most, that are told they wait in vain when one more begins to wait.
const MOST_TOLD: usize = 4;

impl Proxy {
    /// Starts an exchange whose turn has come, if there is a backend and a connection for it.
    pub(super) fn dispatch(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let exchange = &self.exchanges[id];
        let client = &self.downstream[exchange.client];
        let is_first = client.first == Some(id);
        let in_order = exchange.dispatch_mode == DispatchMode::InOrder;
        if !order::may_start(true, exchange.request.pipelinable, is_first, in_order) {
            return Ok(Progress::None);
        }
        let has_bound = client.bound != Bound::Never;
        if has_bound && !is_first {
            return Ok(Progress::None); // Its turn on the connection that is the client's own.
        }
        if let Some(progress) = self.consult(id) {
            return Ok(progress);
        }
        if self.exchanges[id].choice.is_none() {
            if has_bound {
                self.prefer_bound(id);
            }
            if !self.choose(id)? {
                return Ok(Progress::None);
            }
        }
        let is_behind = !is_first;
        if self.multiplex(id) || is_behind && self.share(id) || has_bound && self.use_bound(id) {
            self.dequeue_waiter(id);
            return Ok(Progress::Made);
        }
        match self.find_reusable(id) {
            Reusable::Ready(conn) => {
                self.upstream.reuse_idle(conn, self.exchanges[id].waiter(id), &self.turn);
                self.send_over(id, conn);
                self.dequeue_waiter(id);
                Ok(Progress::Made)
            }
            Reusable::NextTurn => {
                self.exchanges[id].waited_in_turn = Some(self.turn.number);
                self.turn.wake(self.exchanges[id].client);
                Ok(Progress::None)
            }
            Reusable::None => self.open(id),
        }
    }

    /// Picks a backend. `false`: there is no place at any, and a first exchange stands in the pool's
    /// queue.
    fn choose(&mut self, id: ExchangeId) -> Result<bool, Failure> {
        let waits = |queue: WaitQueue| matches!(queue, WaitQueue::Pool | WaitQueue::Fetch);
        let first = self.downstream[self.exchanges[id].client].first;
        if first.is_some_and(|first| first != id && waits(self.exchanges[first].wait_queue)) {
            return Ok(false); // See `upstream/pick.rs`: nobody waits in a circle.
        }
        loop {
            let Proxy { exchanges, upstream, turn, .. } = self;
            let exchange = &mut exchanges[id];
            let pool = exchange.pool;
            let mut need = Need {
                exchange: id,
                pool,
                naming: exchange.naming,
                tried: &exchange.tried,
                sticky: &mut exchange.sticky_target,
            };
            match upstream.pick(&mut need, turn) {
                Pick::Claimed(slot) => {
                    self.take(id, slot);
                    return Ok(true);
                }
                Pick::NoneUp => return Err(Failure::NoBackend),
                Pick::Wait => {
                    self.wait_in_pool_queue(id)?;
                    if !self.is_next_for_pool(id) {
                        self.upstream.hand_turn_on(pool, &mut self.turn);
                        return Ok(false);
                    }
                }
                Pick::WaitForWorkers => {
                    // Listed first: if the others have left by now, it is this one's turn.
                    self.wait_in_pool_queue(id)?;
                    self.upstream.wake_next(pool, &mut self.turn);
                    return Ok(false);
                }
                Pick::Full if self.is_first(id) && self.revoke_choice(pool) => (),
                Pick::Full
                    if self.is_first(id) && self.exchanges[id].wait_queue != WaitQueue::Pool =>
                {
                    // Listed first, then another look: whoever frees a place after that look will
                    // see that this worker waits.
                    self.wait_in_pool_queue(id)?;
                }
                Pick::Full => return Ok(false),
            }
        }
    }

    /// A first exchange stands in the pool's queue from now on, if it does not yet. Fails if it would not
    /// be served in time; those that have been waiting for longest are told so in its place, if the newest
    /// come first.
    fn wait_in_pool_queue(&mut self, id: ExchangeId) -> Result<(), Failure> {
        if self.exchanges[id].wait_queue == WaitQueue::Pool || !self.is_first(id) {
            return Ok(());
        }
        let pool = self.exchanges[id].pool;
        if !self.upstream.admits(pool, &self.turn) {
            return Err(Failure::QueueTimeout);
        }
        self.enqueue_waiter(id, WaitQueue::Pool);
        for _ in 0..MOST_TOLD {
            let in_vain = self.upstream.waits_in_vain(pool, &self.turn);
            let Some(waiter) = in_vain.filter(|waiter| waiter.exchange != id) else { break };
            self.fail(waiter.exchange, Failure::QueueTimeout);
            self.turn.wake(waiter.client);
        }
        Ok(())
    }

    /// Whether it stands in its pool's queue, and the next place is its own.
    fn is_next_for_pool(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let next = self.upstream[exchange.pool].next_waiter(self.turn.now);
        exchange.wait_queue == WaitQueue::Pool && next.is_some_and(|next| next.exchange == id)
    }

    /// The exchange goes to this backend, where a place is claimed.
    fn take(&mut self, id: ExchangeId, slot: BackendId) {
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.choice = Some(slot);
        exchange.last_backend = Some(slot);
        exchange.times.chosen = self.turn.now;
        self.row.backend(slot).add(BackendCounter::Requests, 1);
    }

    /// A client that has a connection of its own goes to the backend that it leads to, as one whose cookie
    /// names that: elsewhere if it has as many requests as it may. A connection to one that is out is
    /// closed.
    fn prefer_bound(&mut self, id: ExchangeId) {
        let Proxy { exchanges, downstream, upstream, buffers, turn, .. } = self;
        let exchange = &mut exchanges[id];
        let bound = &mut downstream[exchange.client].bound;
        let of_pool =
            upstream.find_bound(*bound, |conn| upstream[conn.backend].pool == exchange.pool);
        let Some(conn) = of_pool else { return };
        let backend = &upstream[upstream[conn].backend];
        if backend.is_out {
            upstream.close_bound(bound, conn, &mut buffers.rings, turn);
        } else {
            exchange.sticky_target = StickyTarget::To(backend.tag);
        }
    }

    /// Sends the request over its client's own connection to the backend, if there is one, however long
    /// that was idle.
    fn use_bound(&mut self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let Some(slot) = exchange.choice.filter(|_| self.may_reuse(id)) else { return false };
        let bound = &mut self.downstream[exchange.client].bound;
        let Some(conn) = self.upstream.find_bound(*bound, |conn| conn.backend == slot) else {
            return false;
        };
        self.upstream.unlist(bound, conn);
        self.upstream.reuse(conn, exchange.waiter(id), Micros(0));
        self.send_over(id, conn);
        true
    }

    /// Whether it may go over a connection that was used before. One whose turn has not come takes
    /// nothing from those who wait for a connection, and nobody from those who wait for one to the same
    /// backend.
    fn may_reuse(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let is_polite = self.upstream.nobody_waits_for_conn() || self.is_first(id);
        let is_next = |slot| self.upstream.is_next_for_backlog(slot, id);
        is_polite && !exchange.wants_new && exchange.choice.is_none_or(is_next)
    }

    /// What there is of idle connections to its backend.
    fn find_reusable(&self, id: ExchangeId) -> Reusable {
        let exchange = &self.exchanges[id];
        let Some(slot) = exchange.choice.filter(|_| self.may_reuse(id)) else {
            return Reusable::None;
        };
        let may_wait = exchange.waited_in_turn.is_none_or(|turn| turn == self.turn.number);
        match self.upstream.find_reusable(slot, exchange.request.idempotent, &self.turn) {
            Reusable::NextTurn if !may_wait => Reusable::None,
            found => found,
        }
    }

    /// Sends the request over a connection that was given to it and was used before.
    fn send_over(&mut self, id: ExchangeId, conn: BackendConnId) {
        let exchange = &mut self.exchanges[id];
        exchange.conn = Some(conn);
        exchange.carrier = Carrier::Kept;
        self.begin_sending(id);
    }

    /// Opens a connection, or waits in the queue until there may be one more.
    fn open(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let exchange = &self.exchanges[id];
        let (slot, waiter) = (exchange.choice.ok_or(Failure::NoBackend)?, exchange.waiter(id));
        let waits_for_backlog = exchange.wait_queue == WaitQueue::Backlog(slot);
        if waits_for_backlog && !self.upstream.is_next_for_backlog(slot, id) {
            return Ok(Progress::None);
        }
        if !self.upstream.is_next_for_conn(id) || !self.make_room_for_conn(id) {
            // As long as there is room it stays in the backlog: else it would change places with those who
            // wait for a connection to the same backend, who come to stand there, and so on without end.
            if !waits_for_backlog || !self.upstream.has_room_for_conn() {
                self.enqueue_waiter(id, WaitQueue::Connection);
            }
            return Ok(Progress::None);
        }
        if !self.upstream.is_next_for_backlog(slot, id) {
            self.enqueue_waiter(id, WaitQueue::Backlog(slot));
            return Ok(Progress::None);
        }
        let keepalive = self.settings.keepalive();
        let conn = match self.upstream.open(slot, waiter, keepalive, &self.poller) {
            Ok(conn) => conn,
            Err(IoError::Exhausted) => return Ok(self.without_descriptor(id)),
            Err(IoError::WouldBlock) => {
                self.enqueue_waiter(id, WaitQueue::Backlog(slot));
                return Ok(Progress::None);
            }
            Err(_) => return Err(Failure::Refused),
        };
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.conn = Some(conn);
        exchange.carrier = Carrier::New;
        exchange.enter(State::Connecting);
        Ok(Progress::Made)
    }

    /// Makes sure that a connection may be opened: if all are taken, closes the one that has been
    /// idle for longest; for a first exchange, takes that of a speculative one.
    fn make_room_for_conn(&mut self, id: ExchangeId) -> bool {
        if self.upstream.has_room_for_conn() || self.close_a_spare_conn() {
            return true;
        }
        self.is_first(id) && self.revoke_conn()
    }

    /// The process has no descriptor left: an idle connection gives its own up for the next try, in
    /// the end a client's, lest idle clients keep those with a request from being served.
    fn without_descriptor(&mut self, id: ExchangeId) -> Progress {
        self.enqueue_waiter(id, WaitQueue::Connection);
        let freed = self.close_a_spare_conn()
            || self.is_first(id) && (self.revoke_conn() || self.close_an_idle_client());
        if freed { Progress::Made } else { Progress::None }
    }

    /// Closes some backend's oldest idle connection; if there is none, one that is only kept for what may
    /// come.
    fn close_a_spare_conn(&mut self) -> bool {
        self.upstream.close_any_idle(&mut self.turn)
            || self.close_any_bound()
            || self.close_any_held_conn()
    }

    fn close_any_bound(&mut self) -> bool {
        let Proxy { upstream, downstream, buffers, turn, .. } = self;
        let found = upstream.any_bound();
        if let Some((client, conn)) = found {
            upstream.close_bound(&mut downstream[client].bound, conn, &mut buffers.rings, turn);
        }
        found.is_some()
    }

    /// Takes a connection from an exchange that was dispatched before its turn, so that nobody
    /// waits for connections parked behind each other. Its exchanges then wait to be first.
    fn revoke_conn(&mut self) -> bool {
        if self.exchanges.len() == self.downstream.busy() {
            return false; // Each client has one exchange, so all are first.
        }
        let victim = self.upstream.conns().ids().find(|conn| {
            let front = self.upstream[*conn].front;
            front.is_some_and(|front| !self.is_first(front))
        });
        if let Some(conn) = victim {
            self.close_used_conn(conn, DispatchMode::InOrder);
        }
        victim.is_some()
    }

    /// Takes a place below a backend's limit from an exchange that was dispatched before its turn. It
    /// then waits to be first. One behind a first exchange on its connection keeps it: to take it
    /// would break that answer.
    fn revoke_choice(&mut self, pool: PoolId) -> bool {
        if self.exchanges.len() == self.downstream.busy() {
            return false; // Each client has one exchange, so all are first.
        }
        let victim = self.exchanges.ids().find(|id| {
            let exchange = &self.exchanges[*id];
            let leader = exchange.conn.and_then(|conn| self.upstream[conn].front).unwrap_or(*id);
            exchange.choice.is_some() && exchange.pool == pool && !self.is_first(leader)
        });
        if let Some(id) = victim {
            self.revoke(id);
        }
        victim.is_some()
    }

    fn revoke(&mut self, id: ExchangeId) {
        match self.exchanges[id].conn {
            Some(conn) if self.upstream.is_multiplexed(conn) => self.vacate(conn, id),
            Some(conn) => self.close_used_conn(conn, DispatchMode::InOrder),
            None => (),
        }
        self.exchanges[id].dispatch_mode = DispatchMode::InOrder;
        self.release_choice(id);
    }

    /// Gives back the place that an exchange has at its backend, and with it what is held from there.
    pub(super) fn release_choice(&mut self, id: ExchangeId) {
        self.let_held_go(id);
        let exchange = &mut self.exchanges[id];
        if let Some(slot) = exchange.choice.take() {
            let held = elapsed(exchange.times.chosen, self.turn.now);
            self.upstream.give_back(exchange.pool, slot, held, &mut self.turn);
        }
    }

    /// Puts a first exchange at the end of a queue, where it stands until `dequeue_waiter`. Others try
    /// again whenever their client is driven: in the queue they would hold up those who may revoke.
    pub(super) fn enqueue_waiter(&mut self, id: ExchangeId, queue: WaitQueue) {
        if self.exchanges[id].wait_queue == queue || !self.is_first(id) {
            return;
        }
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.wait_queue = queue;
        exchange.progress = true;
        let (pool, waiter) = (exchange.pool, exchange.waiter(id));
        match queue {
            WaitQueue::Nowhere => (),
            WaitQueue::Connection => self.upstream.enqueue_for_conn(waiter),
            WaitQueue::Pool => {
                self.upstream.enqueue_for_pool(pool, waiter, &self.turn);
                self.give_up_behind(id, |_| true);
            }
            WaitQueue::Backlog(slot) => {
                self.upstream.enqueue_for_backlog(slot, waiter, &self.turn);
                // What it works on for these, it may finish only once this one was answered.
                self.give_up_behind(id, |other| other == slot);
            }
            WaitQueue::Fetch => {
                self.enqueue_for_fetch(id);
                self.give_up_behind(id, |_| true);
            }
        }
    }

    /// Takes the places, at such backends, of those behind a first exchange that waits for one.
    fn give_up_behind(&mut self, id: ExchangeId, at: impl Fn(BackendId) -> bool) {
        let mut next = self.downstream.behind(id);
        while let Some(behind) = next {
            next = self.downstream.behind(behind);
            if self.exchanges[behind].choice.is_some_and(&at) {
                self.revoke(behind);
            }
        }
    }

    /// Takes an exchange out of its queue; the one that is now first in it has another try.
    #[inline(always)] // for most never wait
    pub(super) fn dequeue_waiter(&mut self, id: ExchangeId) {
        if self.exchanges[id].wait_queue != WaitQueue::Nowhere {
            self.leave_queue(id);
        }
    }

    #[inline(never)]
    fn leave_queue(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        let queue = std::mem::replace(&mut exchange.wait_queue, WaitQueue::Nowhere);
        let (pool, waiter) = (exchange.pool, exchange.waiter(id));
        match queue {
            WaitQueue::Nowhere => (),
            WaitQueue::Pool => self.upstream.dequeue_for_pool(pool, waiter, &mut self.turn),
            WaitQueue::Connection => self.upstream.dequeue_for_conn(waiter, &mut self.turn),
            WaitQueue::Backlog(slot) => {
                self.upstream.dequeue_for_backlog(slot, waiter, &mut self.turn);
            }
            WaitQueue::Fetch => self.dequeue_for_fetch(id),
        }
    }
}
