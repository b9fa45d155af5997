//! Evacuation: what waits at a backend that has gone down, and of which no byte of a response came, goes
//! elsewhere at once.
//!
//! Whoever finds that a backend is down, or takes it out (checks, marks of any worker, the operator's
//! `maint`), wakes all workers: see `shared/wakers.rs`. Each reads the members of its pools, and gives up
//! the connections on which such requests wait: so the late response of the first backend never reaches
//! anyone. A drained backend finishes what it has.

use crate::policy::retry::{self, Failure};
use crate::shared::{BackendCounter, BackendId, PoolCounter};

use super::Proxy;
use super::doubted::Doubted;
use super::exchange::{DispatchMode, State};
use super::ids::{BackendConnId, ExchangeId};

impl Proxy {
    /// Sends elsewhere what waits at backends that have gone down since the last turn.
    pub(super) fn evacuate(&mut self) {
        while let Some(slot) = self.upstream.next_failed_backend() {
            if !self.upstream[slot].has_failed || !self.has_other_than(slot) {
                continue; // It is up again; or there is nowhere to go, and it may still answer.
            }
            let of_backend = |conn: &BackendConnId| {
                self.upstream.conns().get(*conn).is_some_and(|conn| conn.backend == slot)
            };
            let conns: Vec<_> = self.upstream.conns().ids().filter(of_backend).collect();
            conns.into_iter().for_each(|conn| self.evacuate_conn(slot, conn));
            self.take_back_places(slot);
        }
    }

    /// Whether a backend of the same pool is up.
    fn has_other_than(&self, slot: BackendId) -> bool {
        let mut members = self.upstream[self.upstream[slot].pool].members.list().iter();
        members.any(|member| member.up && member.id != slot.id())
    }

    /// If the response of the front exchange has not begun, none on this connection has: it is closed, and all
    /// on it leave. Else those behind the front one leave where they wait for a stranger. Those of one
    /// client come after the front one anyway.
    fn evacuate_conn(&mut self, slot: BackendId, conn: BackendConnId) {
        let Some(front) = self.upstream[conn].front else { return };
        let leaves = self.may_leave(front, slot) && !self.has_begun(conn);
        if !leaves && !self.upstream.is_multiplexed(conn) {
            return;
        }
        let mut leaving = Vec::new();
        let mut next = if leaves { Some(front) } else { self.upstream.behind(front) };
        while let Some(id) = next {
            next = self.upstream.behind(id);
            if self.may_leave(id, slot) {
                self.note_attempt(id, slot, Failure::NoBackend);
                self.row.backend(slot).add(BackendCounter::Evacuated, 1);
                self.row.pool(self.exchanges[id].pool).add(PoolCounter::Retries, 1);
            }
            leaving.push(id);
        }
        match leaves {
            true => self.close_used_conn(conn, DispatchMode::Exclusive),
            false if leaving.is_empty() => (),
            false => self.move_those_behind(conn),
        }
        leaving.into_iter().for_each(|id| self.start_elsewhere(id));
    }

    /// Whether a byte of a response came that is not passed on yet, or may be one.
    fn has_begun(&self, conn: BackendConnId) -> bool {
        let conn = &self.upstream[conn];
        !conn.conn.input.is_empty() || conn.heard
    }

    /// Whether an exchange waits for the first byte of a response from this backend, and may be sent to
    /// another one.
    fn may_leave(&mut self, id: ExchangeId, slot: BackendId) -> bool {
        let context = self.retry_context(id, Some(slot));
        let exchange = &self.exchanges[id];
        let waits =
            matches!(exchange.state(), State::Connecting | State::Sending | State::Awaiting);
        waits
            && exchange.interims == 0
            && matches!(exchange.doubted, Doubted::Not)
            && retry::evacuates(&context)
    }

    /// Lets the exchanges choose anew that have a place at a backend and no connection yet. Nothing was sent,
    /// so it is no try.
    fn take_back_places(&mut self, slot: BackendId) {
        let ids: Vec<_> = self.exchanges.ids().collect();
        for id in ids {
            let exchange = &self.exchanges[id];
            if exchange.state() == State::Waiting
                && exchange.choice == Some(slot)
                && matches!(exchange.doubted, Doubted::Not)
            {
                self.dequeue_waiter(id);
                self.start_elsewhere(id);
            }
        }
    }

    /// An exchange that waits chooses a backend anew.
    fn start_elsewhere(&mut self, id: ExchangeId) {
        self.release_choice(id);
        self.turn.wake(self.exchanges[id].client);
    }
}
