//! What is learned of a backend by what it does: whether it is up, how long it keeps its connections.

use crate::mem::time::{Micros, Millis};
use crate::policy::health::{Change, Fault, HealthEvent};
use crate::shared::{BackendCounter, BackendId, Class, WaitFor, report};
use crate::sys::log::{self, Level};
use crate::sys::{Event, IoError};

use super::{Turn, Upstream};
use crate::proxy::attempts::Carrier;
use crate::proxy::ids::BackendConnId;

/// What a final response tells of the backend that gave it.
#[derive(Clone, Copy, Debug)]
pub struct Responded {
    /// Its status.
    pub status: u16,
    /// It has no body.
    pub is_bare: bool,
    /// The backend lets the connection live on.
    pub keep_alive: bool,
    /// And says for how long.
    pub keep_alive_timeout_secs: Option<u32>,
    /// What the connection had been used for before.
    pub carrier: Carrier,
    /// When the request had chosen the backend.
    pub begun: Micros,
}

impl Upstream {
    /// The answer of the front exchange of a connection has begun. It had chosen the backend at `begun`.
    pub fn on_response(&mut self, id: BackendConnId, response: Responded, turn: &mut Turn) {
        let (conn, backend) = self.conn_and_backend(id);
        conn.responses += 1;
        conn.is_bare = response.is_bare;
        if let Some(seconds) = response.keep_alive_timeout_secs {
            backend.idle_limit.keep_alive(seconds);
        }
        let (slot, took) = (conn.backend, turn.now - conn.front_since);
        // What this process is late itself is not the backend's time.
        backend.pace.observe(took - turn.lag, response.keep_alive);
        backend.answered(response.carrier, turn.now.millis());
        let row = self.row.backend(slot);
        row.add(BackendCounter::Responses(Class::from_status(response.status)), 1);
        row.observe_response(took);
        let pool = &self.pools[self.backends[slot.0].pool.0];
        let event = match &pool.fail_status {
            Some(failing) if failing.contain(response.status) => HealthEvent::Failed(Fault::Status),
            // Nothing follows that could be cut short.
            _ if response.is_bare || response.status == 101 => HealthEvent::Answered,
            _ => HealthEvent::Responding,
        };
        self.observe(slot, event, response.begun, turn);
    }

    /// The answer of an exchange, which had chosen its backend at `begun`, has come to its end.
    pub fn on_response_end(
        &mut self,
        slot: BackendId,
        status: u16,
        begun: Micros,
        turn: &mut Turn,
    ) {
        let pool = &self.pools[self.backends[slot.0].pool.0];
        if !pool.fail_status.as_ref().is_some_and(|failing| failing.contain(status)) {
            self.observe(slot, HealthEvent::Answered, begun, turn);
        }
    }

    /// Notes what was seen of a backend at a request that had chosen it at `begun`, and acts on the change that makes. Other workers see it at
    /// their next pick; only this one tells of it.
    pub fn observe(&mut self, slot: BackendId, event: HealthEvent, begun: Micros, turn: &mut Turn) {
        let pool = self[slot].pool;
        let rules = &self.pools[pool.0].rules;
        let times = (begun, turn.now);
        let Some(change) = self.segment.observe_request(slot, event, times, rules) else {
            return;
        };
        let reason = report::why_marked(&self.segment, slot, rules);
        report::log_change(&self.segment, slot, change, &reason);
        self.refresh(pool, turn);
        match change {
            // It is checked from now on, and the first time at once. What waits there for any worker goes
            // elsewhere.
            Change::Down => {
                self.wakers.control.wake();
                self.wakers.wake_workers();
            }
            Change::Up => {
                self.wakers.wake_all(&self.segment, WaitFor::Pool(pool));
                self.give_turn(pool, turn);
            }
        }
    }

    /// An idle connection closes, or says something that nobody asked for.
    pub fn idle_conn_spoke(&mut self, id: BackendConnId, event: Event, turn: &mut Turn) {
        let (slot, responses) = (self[id].backend, self[id].responses);
        let Some(idled) = self.idle_for(id, turn) else { return };
        self.close_idle(id, turn);
        if event.closed || event.failed {
            self.learn_of_closing(slot, responses, idled.millis(), turn);
        } else if idled <= self[slot].pace.patience() {
            // It belongs to the last response. Behind another request it would have answered that.
            self[slot].sharing.failed(turn.now.millis());
        }
    }

    /// A reused connection turned out to be closed: its backend keeps them for less than it lay, or
    /// not at all.
    pub fn learn_of_stale(&mut self, id: BackendConnId, carrier: Carrier, turn: &mut Turn) {
        let (conn, backend) = self.conn_and_backend(id);
        if carrier == Carrier::Kept {
            backend.idle_limit.seen_closing(conn.idled.millis());
        }
        let slot = conn.backend;
        // One that was used again before was kept, and has ended for another reason.
        let keeps_none = conn.responses == 1 && backend.keeping.lost(turn.now.millis());
        self.row.backend(slot).add(BackendCounter::Stale, 1);
        if keeps_none {
            self.keep_none(slot, turn);
        }
    }

    /// A backend ended a connection, over which so many responses had come, and which was idle for
    /// so long, and had not said that it would.
    pub(super) fn learn_of_closing(
        &mut self,
        slot: BackendId,
        responses: u32,
        idled: Millis,
        turn: &mut Turn,
    ) {
        let backend = &mut self[slot];
        backend.idle_limit.seen_closing(idled);
        if responses == 1 && backend.keeping.seen_closing(idled, turn.now.millis()) {
            self.keep_none(slot, turn);
        }
    }

    /// Closes a backend's idle connections, and keeps none from now on.
    fn keep_none(&mut self, slot: BackendId, turn: &mut Turn) {
        log::write(
            Level::Warning,
            format_args!(
                "backend {} closes its connections after each response without saying so; none is \
                 kept for ten minutes",
                self[slot].name
            ),
        );
        self.close_all_idle(slot, turn);
    }

    /// A backend refused a connection at once. That this process may not connect to it says nothing of the
    /// backend, and is told until it may.
    pub(super) fn on_refused(&mut self, slot: BackendId, error: IoError) {
        let backend = &mut self[slot];
        if error == IoError::Denied && !std::mem::replace(&mut backend.is_denied, true) {
            report::log_denied(&self.segment, slot, &self.own_user);
        }
    }

    /// Idle limits are learned anew: a restart of a backend may have taught a short one.
    pub fn forget_idle_limits(&mut self) {
        self.backends.iter_mut().for_each(|backend| backend.idle_limit.forget());
    }
}
