//! Which backend an exchange goes to, and the pool's line where it waits for a place below the cap.
//!
//! Turns and places are shared with other workers. The line is this worker's own; as long as anybody
//! stands in it the worker is listed as waiting, and is rung when a place is free (see
//! `shared/wakers.rs`).
//!
//! **Nobody waits in a circle.** A first exchange takes places from those of this worker that were
//! dispatched before their turn; it cannot from those of other workers. So while one waits for a
//! place, or for what another fetches, those behind it in its client's queue, which wait for it, hold
//! none.

use crate::policy::balance::{self, Member, Pick, PickTurn};
use crate::policy::retry::Failure;
use crate::policy::sticky::StickyTarget;
use crate::shared::{BackendCounter, BackendId, PoolId, WaitFor};

use super::Proxy;
use super::exchange::{DispatchMode, WaitQueue};
use super::pools::PoolBoard;
use crate::proxy::ids::ExchangeId;

/// What came of a look for a backend.
enum Choice {
    /// A place at it is claimed.
    Taken(BackendId),
    /// There is a place, but others have been waiting for longer.
    OthersFirst,
    /// All are at their cap.
    Full,
}

impl Proxy {
    /// Picks a backend. `false`: all are at their cap, and a first exchange stands in the pool's
    /// line.
    pub(super) fn choose(&mut self, id: ExchangeId) -> Result<bool, Failure> {
        let pool = self.exchanges[id].pool;
        self.refresh(pool);
        if self.exchanges[id].naming != self.pools[pool.0].naming {
            return Err(Failure::NoBackend); // Its pool is gone, and another has the place.
        }
        let exchange = &self.exchanges[id];
        let first = self.clients[exchange.client].first;
        let waits = |line: WaitQueue| matches!(line, WaitQueue::Pool | WaitQueue::Fetch);
        if first.is_some_and(|first| first != id && waits(self.exchanges[first].line)) {
            return Ok(false);
        }
        self.prefer_bound(id);
        let is_next = self.pools[pool.0].line.front().is_none_or(|front| *front == id);
        if let Some(slot) = self.claim_sticky(id, is_next) {
            self.take(id, slot);
            return Ok(true);
        }
        if !is_next {
            self.enqueue_waiter(id, WaitQueue::Pool);
            return Ok(false);
        }
        loop {
            match self.claim_backend(id)? {
                Choice::Taken(slot) => {
                    self.pools[pool.0].has_turn = false;
                    self.take(id, slot);
                    return Ok(true);
                }
                Choice::OthersFirst => {
                    // Listed first: if the others have left by now, it is this one's turn.
                    self.enqueue_waiter(id, WaitQueue::Pool);
                    self.wake_next(pool);
                    return Ok(false);
                }
                Choice::Full if self.is_first(id) && self.revoke_choice(pool) => (),
                Choice::Full if self.is_first(id) && self.exchanges[id].line != WaitQueue::Pool => {
                    // Listed first, then another look: whoever frees a place after that look will
                    // see that this worker waits.
                    self.enqueue_waiter(id, WaitQueue::Pool);
                    if let Some(slot) = self.claim_sticky(id, true) {
                        self.take(id, slot);
                        return Ok(true);
                    }
                }
                Choice::Full => return Ok(false),
            }
        }
    }

    /// The exchange goes to this backend, where a place is claimed.
    fn take(&mut self, id: ExchangeId, slot: BackendId) {
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.choice = Some(slot);
        exchange.last_backend = Some(slot);
        exchange.times.chosen = self.now;
        self.row.backend(slot).add(BackendCounter::Requests, 1);
    }

    /// Takes a place at the backend that the request's cookie names, if there is one and it was not
    /// tried. No turn of the rotation is taken.
    ///
    /// Those who wait for any backend go first, but not for one that is drained: that is none of
    /// theirs.
    fn claim_sticky(&mut self, id: ExchangeId, is_next: bool) -> Option<BackendId> {
        let exchange = &self.exchanges[id];
        let (pool, mark) = (exchange.pool, exchange.sticky_target.mark()?);
        self.refresh(pool);
        let tried = &self.exchanges[id].tried;
        let mut members = self.pools[pool.0].members.list().iter();
        let home = members.find(|member| {
            let backend = &self.backends[BackendId::of_id(member.id).0];
            backend.mark == mark && !backend.is_out && !tried.contains(member.id)
        });
        let home = home.copied();
        self.exchanges[id].sticky_target =
            if home.is_some() { StickyTarget::Lent(mark) } else { StickyTarget::To(mark) };
        let home = home.filter(|home| !home.up || is_next && !self.others_are_first(pool))?;
        let slot = self.claim_place(pool, home)?;
        self.exchanges[id].sticky_target = StickyTarget::To(mark);
        Some(slot)
    }

    /// Takes the next turn in the pool's rotation, and a place at the backend whose turn it is.
    fn claim_backend(&mut self, id: ExchangeId) -> Result<Choice, Failure> {
        let pool = self.exchanges[id].pool;
        loop {
            self.refresh(pool);
            let facts = &self.pools[pool.0];
            let board = PoolBoard { segment: self.segment, pool };
            let tried = &self.exchanges[id].tried;
            match balance::pick(facts.balance, &facts.members, tried, &board) {
                Pick::NoneUp => return Err(Failure::NoBackend),
                Pick::Full => {
                    self.pools[pool.0].has_turn = false;
                    return Ok(Choice::Full);
                }
                Pick::Backend(_) if self.others_are_first(pool) => return Ok(Choice::OthersFirst),
                Pick::Backend(turn) => {
                    if let Some(slot) = self.try_to_claim(pool, turn) {
                        return Ok(Choice::Taken(slot));
                    }
                }
            }
        }
    }

    /// Whether a place that is free is for another worker, which has waited.
    fn others_are_first(&self, pool: PoolId) -> bool {
        let next = self.segment.next_waiting(self.worker, WaitFor::Pool(pool));
        !self.pools[pool.0].has_turn && next.is_some_and(|next| next != self.worker)
    }

    /// `None`: another worker was faster, with the turn or with the last place, or the backend is
    /// another one by now.
    fn try_to_claim(&mut self, pool: PoolId, turn: PickTurn) -> Option<BackendId> {
        let member = self.pools[pool.0].members.list()[turn.place];
        if !self.segment.pool(pool).try_turn(turn.tier, turn.ticket, turn.next) {
            return None;
        }
        self.claim_place(pool, member)
    }

    /// `None`: it has as many requests as it may, or is another one by now.
    fn claim_place(&mut self, pool: PoolId, member: Member) -> Option<BackendId> {
        let slot = BackendId::of_id(member.id);
        if !self.segment.claim(self.worker, slot, member.cap) {
            return None;
        }
        // After the claim: a backend whose slot was to be freed is found to be leaving here, or
        // whoever frees it has found the claim.
        if self.segment.backend(slot).standing() == self.backends[slot.0].standing {
            return Some(slot);
        }
        self.segment.release(self.worker, slot);
        self.wake_next(pool);
        self.read_members(pool, self.segment.pool(pool).epoch());
        None
    }

    /// Takes a place below a backend's cap from an exchange that was dispatched before its turn. It
    /// then waits to be first. One behind a first exchange on its connection keeps it: to take it
    /// would break that answer.
    fn revoke_choice(&mut self, pool: PoolId) -> bool {
        if self.exchanges.len() == self.busy_clients {
            return false; // Each client has one exchange, so all are first.
        }
        let victim = self.exchanges.ids().find(|id| {
            let exchange = &self.exchanges[*id];
            let leader = exchange.conn.and_then(|conn| self.conns[conn].front).unwrap_or(*id);
            exchange.choice.is_some() && exchange.pool == pool && !self.is_first(leader)
        });
        if let Some(id) = victim {
            self.revoke(id);
        }
        victim.is_some()
    }

    fn revoke(&mut self, id: ExchangeId) {
        match self.exchanges[id].conn {
            Some(conn) => self.close_used_conn(conn, DispatchMode::Patient),
            None => self.exchanges[id].dispatch_mode = DispatchMode::Patient,
        }
        self.release_choice(id);
    }

    /// Puts a first exchange at the end of a line, where it stands until `dequeue_waiter`. Others try
    /// again whenever their client is driven: in the line they would hold up those who may revoke.
    pub(super) fn enqueue_waiter(&mut self, id: ExchangeId, line: WaitQueue) {
        if self.exchanges[id].line == line || !self.is_first(id) {
            return;
        }
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.line = line;
        exchange.progress = true;
        let pool = exchange.pool;
        let queue = match line {
            WaitQueue::Pool => &mut self.pools[pool.0].line,
            WaitQueue::Connection => &mut self.line,
            WaitQueue::Fetch => &mut self.fetch_line,
            WaitQueue::Nowhere => return,
        };
        queue.push_back(id).expect("a line has room for all exchanges");
        let is_only_one = queue.len() == 1;
        match line {
            WaitQueue::Pool => {
                if is_only_one {
                    self.segment.wait(self.worker, WaitFor::Pool(pool));
                }
                self.show_line(pool);
                self.give_up_behind(id);
            }
            WaitQueue::Fetch => self.give_up_behind(id),
            WaitQueue::Connection | WaitQueue::Nowhere => (),
        }
    }

    /// Takes the places of those behind a first exchange that waits for one.
    fn give_up_behind(&mut self, id: ExchangeId) {
        let mut next = self.exchanges[id].behind;
        while let Some(behind) = next {
            next = self.exchanges[behind].behind;
            if self.exchanges[behind].choice.is_some() {
                self.revoke(behind);
            }
        }
    }

    /// Takes an exchange out of its line; the one that is now first in it has another try.
    pub(super) fn dequeue_waiter(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        let line = std::mem::replace(&mut exchange.line, WaitQueue::Nowhere);
        let pool = exchange.pool;
        match line {
            WaitQueue::Nowhere => (),
            WaitQueue::Pool => {
                self.pools[pool.0].line.remove(&id);
                self.show_line(pool);
                if self.pools[pool.0].line.is_empty() {
                    self.pools[pool.0].has_turn = false;
                    self.segment.unwait(self.worker, WaitFor::Pool(pool));
                    self.wake_next(pool);
                } else {
                    self.wake_pool_line(pool);
                }
            }
            WaitQueue::Connection => {
                self.line.remove(&id);
                self.wake_line();
            }
            WaitQueue::Fetch => {
                self.fetch_line.remove(&id);
            }
        }
    }

    /// The first in this worker's line has another try, unless others wait.
    fn wake_pool_line(&mut self, pool: PoolId) {
        if let Some(next) = self.pools[pool.0].line.front() {
            self.wake(self.exchanges[*next].client);
        }
    }

    /// A backend may be below its cap again: the first in this worker's line has another try.
    pub(super) fn give_turn(&mut self, pool: PoolId) {
        self.pools[pool.0].has_turn = !self.pools[pool.0].line.is_empty();
        self.wake_pool_line(pool);
    }

    /// The same for the next worker that waits, which may be this one.
    fn wake_next(&mut self, pool: PoolId) {
        match self.segment.next_waiting(self.worker, WaitFor::Pool(pool)) {
            None => (),
            Some(worker) if worker == self.worker => self.give_turn(pool),
            Some(worker) => self.wakers.wake(worker),
        }
    }

    /// Another process says that something became free which this one waits for.
    pub fn woken(&mut self) {
        // Before the look, so that no ring is lost.
        self.wakers.clear(self.worker);
        self.give_turns();
        self.wake_fetch_line();
        self.make_room_elsewhere();
    }

    /// Whoever is first in a pool's line has another try. Also at each tick: one that may only be
    /// asked by those who have tried the others may have a place that nobody else could take.
    pub(super) fn give_turns(&mut self) {
        (0..self.pools.len()).for_each(|pool| self.give_turn(PoolId(pool)));
    }

    /// Gives back the place that an exchange has at its backend, and with it what is held from there.
    pub(super) fn release_choice(&mut self, id: ExchangeId) {
        self.let_held_go(id);
        let exchange = &mut self.exchanges[id];
        if let Some(slot) = exchange.choice.take() {
            let pool = exchange.pool;
            self.segment.release(self.worker, slot);
            self.wake_next(pool);
        }
    }
}
