//! Requests of several clients on one connection of a backend: who shares, and how nobody waits for a
//! stranger.
//!
//! A response that has not the identifier of its request ends the sharing: the connection is closed,
//! nothing of the response is delivered, and all exchanges on it go to connections of their own. So do
//! the exchanges behind a response that is larger than a ring, that stops, that does not come in time or that
//! its client does not take. Requests that are sent twice by that are safe (RFC 9110 §9.2.1). An exchange
//! leaves a connection so once, and does not share again.

use crate::config::{Multiplex, RequestId};
use crate::http::body::Body;
use crate::http::response::Reading;
use crate::policy::multiplexing::{self, Candidate};
use crate::policy::retry::Failure;
use crate::policy::sharing::Leave;
use crate::shared::BackendId;

use super::Proxy;
use super::exchange::{Carrier, DispatchMode, Exchange, Response, State};
use super::ids::{BackendConnId, ExchangeId};
use super::timeouts::exchange_owner;
use super::timer::Timer;
use super::upstream::bound::Bound;
use super::upstream::connection::Reusable;
use super::upstream::multiplexed::Room;

impl Proxy {
    /// Sends a request over a connection that others share, or may share from now on, if both the request
    /// and its backend allow that.
    pub(super) fn multiplex(&mut self, id: ExchangeId) -> bool {
        let Some(slot) = self.exchanges[id].choice.filter(|_| self.may_multiplex(id)) else {
            return false;
        };
        let now = self.turn.now.millis();
        let Ok(limit) = self.upstream[slot].multiplex_limit(now) else { return false };
        let room = Room { ring_size: self.buffers.ring_size, wanted: self.wire_len(id) };
        let may_join =
            self.upstream[slot].leave_to_share(now) == Leave::Many || !self.is_on_trial(slot);
        let joined = may_join
            .then(|| self.upstream.find_multiplexed(slot, limit, room, &self.turn))
            .flatten();
        if let Some(conn) = joined {
            self.upstream.join(conn, id);
            self.hurry_front(conn);
            self.send_multiplexed(id, conn, Carrier::Shared);
            return true;
        }
        let exchange = &self.exchanges[id];
        match self.upstream.find_reusable(slot, exchange.request.idempotent, &self.turn) {
            Reusable::Ready(conn) => {
                let waiter = exchange.waiter(id);
                self.upstream.multiplex_idle(conn, waiter, &self.turn);
                self.send_multiplexed(id, conn, Carrier::Kept);
                true
            }
            Reusable::NextTurn | Reusable::None => false,
        }
    }

    fn send_multiplexed(&mut self, id: ExchangeId, conn: BackendConnId, carrier: Carrier) {
        let exchange = &mut self.exchanges[id];
        exchange.conn = Some(conn);
        exchange.carrier = carrier;
        exchange.is_multiplexed = true;
        self.begin_sending(id);
    }

    /// Whether requests of other clients may stand behind this one. Of a client's own requests only the first
    /// ones may share connections, so that none of these waits for an exchange on another connection.
    fn may_multiplex(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        if self.upstream[exchange.pool].multiplex != Multiplex::Verified {
            return false;
        }
        let request = &exchange.request;
        let client = &self.downstream[exchange.client];
        let candidate = Candidate {
            method: request.method,
            is_pipelinable: request.pipelinable,
            id_made_here: request.id_made_here,
            authorizes_connection: request.authorizes_connection,
        };
        self.settings.request_id != RequestId::Off
            && exchange.dispatch_mode == DispatchMode::Speculative
            && !exchange.wants_new
            && multiplexing::alone_because(candidate).is_none()
            && client.bound == Bound::Never
            && !client.is_slow
            && !client.is_background()
            && self.all_ahead_are_multiplexed(id)
    }

    fn all_ahead_are_multiplexed(&self, id: ExchangeId) -> bool {
        let mut next = self.downstream[self.exchanges[id].client].first;
        while let Some(ahead) = next.filter(|ahead| *ahead != id) {
            if !self.exchanges[ahead].is_multiplexed {
                return false;
            }
            next = self.downstream.behind(ahead);
        }
        true
    }

    /// Starts the timer [`Timer::HoldsUp`] of a front exchange behind which another has come to stand.
    fn hurry_front(&mut self, conn: BackendConnId) {
        if let Some(front) = self.upstream[conn].front
            && self.timers.running(exchange_owner(front)) != Some(Timer::HoldsUp as usize)
        {
            self.timers.start(
                exchange_owner(front),
                Timer::HoldsUp as usize,
                self.turn.now.millis(),
            );
        }
    }

    /// Whether others wait behind a front exchange for its response to pass.
    pub(super) fn holds_others_up(&self, id: ExchangeId) -> bool {
        let Some(conn) = self.exchanges[id].conn else { return false };
        self.upstream.is_multiplexed(conn)
            && self.upstream[conn].front == Some(id)
            && self.upstream.behind(id).is_some()
    }

    /// Whether a front exchange waits for a response ahead of its own that nobody wants any more.
    pub(super) fn waits_for_nobody(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let Some(conn) = exchange.conn.map(|conn| &self.upstream[conn]) else { return false };
        matches!(exchange.state(), State::Sending | State::Awaiting)
            && conn.demands_id()
            && conn.front == Some(id)
            && conn.owes
    }

    /// A front exchange has waited for a response that nobody wants any more. In the end it leaves, with
    /// all behind it.
    pub(super) fn waited_for_nobody(&mut self, id: ExchangeId) {
        let conn = self.backend_conn(id);
        if self.has_patience(conn) {
            return;
        }
        let (_, backend) = self.upstream.conn_and_backend(conn);
        backend.multiplexing.held_up();
        self.close_used_conn(conn, DispatchMode::Exclusive);
    }

    /// Whether the exchanges that wait behind the front one of a connection still have patience.
    fn has_patience(&self, conn: BackendConnId) -> bool {
        let conn = &self.upstream[conn];
        let patience = multiplexing::patience(&self.upstream[conn.backend].pace);
        // What this process is late itself is not the backend's time. Timers count in whole milliseconds.
        let waited = self.turn.now - conn.front_since - self.turn.lag;
        waited.millis().0 < patience.millis().0
    }

    /// Others have waited behind a front exchange. Once their patience is over, they leave.
    pub(super) fn held_others_up(&mut self, id: ExchangeId) {
        let conn = self.backend_conn(id);
        self.exchanges[id].progress = true;
        if self.has_patience(conn) {
            return;
        }
        let (_, backend) = self.upstream.conn_and_backend(conn);
        let exchange = &self.exchanges[id];
        let client = &mut self.downstream[exchange.client];
        let waits_for_client = exchange.cache().has_part_left()
            || !client.conn().is_none_or(|conn| conn.output.is_empty());
        if exchange.is_committed() && waits_for_client {
            client.is_slow = true;
        } else {
            backend.multiplexing.held_up();
        }
        self.move_those_behind(conn);
    }

    /// Moves the exchanges behind the front one to connections of their own; this connection is the front
    /// exchange's alone then. If responses to the others, or to requests that were given up, are still due on
    /// it, it closes behind the front exchange.
    pub(super) fn move_those_behind(&mut self, conn: BackendConnId) {
        let Some(front) = self.upstream.pop(conn) else { return };
        let is_spent = self.upstream[conn].load > 0 || !self.upstream[conn].abandoned.is_empty();
        self.clear_conn(conn, DispatchMode::Exclusive);
        self.upstream.leave_to(conn, self.exchanges[front].waiter(front), is_spent);
    }

    /// Has an exchange that is not committed leave its multiplexed connection. If it is the front exchange, all
    /// leave and the connection closes. Else all behind the front exchange leave: that may be committed, and
    /// stays.
    pub(super) fn vacate(&mut self, conn: BackendConnId, id: ExchangeId) {
        if self.upstream[conn].front == Some(id) {
            self.close_used_conn(conn, DispatchMode::Exclusive);
        } else {
            self.move_those_behind(conn);
        }
    }

    /// Called when the head of the front exchange's response has come. If that response may take long to pass,
    /// or is the last one of the connection, or the connection belongs to the client from now on, the exchanges
    /// behind it leave.
    pub(super) fn check_multiplexed(&mut self, id: ExchangeId, head: &Reading, body: &Body) {
        let conn = self.backend_conn(id);
        if !self.upstream.is_multiplexed(conn) {
            return;
        }
        let ring_size = self.buffers.ring_size as u64;
        let is_larger = match body {
            Body::Empty | Body::Chunked(_) => false,
            Body::Length(length) => head.len() as u64 + length > ring_size,
            Body::UntilClose => true,
        };
        let is_last = !matches!(self.exchanges[id].answer, Response::Backend(received) if received.keep_alive);
        if is_larger && self.holds_others_up(id) {
            // Those behind it are sent twice: where that happens often, fewer are to stand together.
            let (_, backend) = self.upstream.conn_and_backend(conn);
            backend.multiplexing.held_up();
        }
        if is_larger || is_last || self.upstream[conn].is_bound {
            self.move_those_behind(conn);
        }
    }

    /// Called when an exchange fails on a multiplexed connection. A failure that others may have caused does not
    /// count as a try: all exchanges there go to connections of their own. `false`: the exchange would have
    /// failed on a connection of its own as well.
    pub(super) fn leaves_multiplexed(
        &mut self,
        id: ExchangeId,
        conn: BackendConnId,
        failure: Failure,
    ) -> bool {
        if !self.upstream[conn].demands_id() {
            return false;
        }
        let slot = self.upstream[conn].backend;
        match failure {
            Failure::IdentityMismatch => self.mistook(slot),
            Failure::Protocol | Failure::HeadTooLarge => {
                self.upstream[slot].multiplexing.mistook(self.turn.now.millis());
            }
            Failure::Terminated if self.upstream[conn].load > 1 || self.upstream[conn].heard => {
                self.upstream[slot].multiplexing.held_up();
            }
            // One that was kept and is stale is known as such.
            Failure::Terminated
            | Failure::NoBackend
            | Failure::QueueTimeout
            | Failure::Refused
            | Failure::ConnectTimeout
            | Failure::ResponseTimeout
            | Failure::Incomplete => return false,
        }
        debug_assert!(!self.exchanges[id].is_committed());
        self.close_used_conn(conn, DispatchMode::Exclusive);
        true
    }

    /// Notes that on a shared connection a response came with the wrong identifier.
    fn mistook(&mut self, slot: BackendId) {
        self.upstream[slot].multiplexing.mistook(self.turn.now.millis());
        self.tell_of_mismatch(slot);
    }

    /// Gives up an exchange whose request went over a multiplexed connection, while the others go on there.
    /// `false`: that is not possible, and the connection has to close.
    pub(super) fn leave_multiplexed(&mut self, id: ExchangeId, conn: BackendConnId) -> bool {
        let exchange = &self.exchanges[id];
        let is_asked = matches!(exchange.state(), State::Sending | State::Awaiting);
        if !is_asked || !self.upstream.is_multiplexed(conn) {
            return false;
        }
        let was_front = self.upstream[conn].front == Some(id);
        if !self.upstream.abandon(conn, id, exchange.id()) {
            if was_front {
                return false;
            }
            // Too many exchanges were given up there. The front one may be committed, and goes on.
            self.upstream.take_off(conn, id);
            self.move_those_behind(conn);
            return true;
        }
        if was_front {
            self.upstream[conn].expect_response(self.turn.now);
            self.wake_front(conn);
        }
        true
    }

    /// Has the client of the front exchange driven next: its response may be there already.
    pub(super) fn wake_front(&mut self, conn: BackendConnId) {
        if let Some(front) = self.upstream[conn].front {
            self.turn.wake_next(self.exchanges[front].client);
        }
    }

    /// Sends the requests that were written to multiplexed connections in this turn.
    pub(super) fn flush_multiplexed(&mut self) {
        while let Some(conn) = self.upstream.next_to_flush() {
            let backend = &mut self.upstream[conn].conn;
            let (flushed, all) = match backend.flush(&mut self.buffers.rings) {
                Ok(count) => (count > 0, backend.output.is_empty()),
                Err(_) => {
                    backend.send_failed();
                    self.wake_front(conn);
                    continue;
                }
            };
            backend.release_idle_buffers(&mut self.buffers.rings);
            let mut next = self.upstream[conn].front;
            while let Some(id) = next {
                next = self.upstream.behind(id);
                note_sent(&mut self.exchanges[id], flushed, all);
            }
        }
    }
}

/// Notes for an exchange, whose body is empty, that its connection was flushed, and whether `all` was sent.
fn note_sent(exchange: &mut Exchange, flushed: bool, all: bool) {
    if exchange.state() == State::Sending {
        exchange.sent |= flushed || all;
        exchange.progress |= flushed;
        if all {
            exchange.enter(State::Awaiting);
        }
    }
}
