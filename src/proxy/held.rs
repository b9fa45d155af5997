//! A response in doubt that is held while its request is asked again over a fresh connection.
//!
//! It stays in the ring of its connection, which nobody reads meanwhile, for as long as the other attempt
//! lasts: the timers of that bound it. If that attempt gives a response, this one is thrown away. If it
//! fails, nothing has borne the doubt out, and this one is the answer: a backend that has closed its
//! listener serves the connections it has, and a right answer is not to become an error.
//!
//! The request counts once at its backend. A connection that is held carries no request any more, as one
//! that is idle, and gives way like that where connections are scarce.

use crate::http::scan::HeadScan;
use crate::mem::time::elapsed;
use crate::policy::retry::Failure;

use super::Proxy;
use super::doubted::{Doubted, FinalHead, HeldResponse};
use super::exchange::{Attempt, Carrier, DispatchMode, State, Times};
use super::upstream::connection::Owner;
use crate::proxy::ids::ExchangeId;

impl Proxy {
    /// Takes an exchange off its connection, where its response stays. Others that share it start anew.
    ///
    /// Not where a part of the request is yet to be sent: it could not go on where it was once the body has
    /// begun anew for another connection. Nor where the connection would become a tunnel.
    pub(super) fn set_aside(&mut self, id: ExchangeId, last: &FinalHead) -> Option<HeldResponse> {
        let exchange = &mut self.exchanges[id];
        if exchange.state() != State::Awaiting || last.head.status() == 101 {
            return None;
        }
        let conn = exchange.conn.take()?;
        let times = Times { answered: self.turn.now, ..exchange.times };
        let upload = (exchange.upload.kept(), exchange.upload.payload());
        self.upstream.take_off(conn, id);
        self.clear_conn(conn, DispatchMode::Exclusive);
        let backend = &mut self.upstream[conn];
        backend.owner = Owner::Held(id);
        let head = last.head.len();
        let body = last.body;
        let mut held = HeldResponse { conn, head, body, times, upload, is_dismissed: false };
        held.dismiss_if_whole(backend, &mut self.buffers.rings);
        self.upstream.conn_was_freed(&mut self.turn); // Whoever waits for a connection may have this one closed.
        Some(held)
    }

    /// The fresh connection has opened and gives nothing: its backend may serve one connection at a time.
    /// What is held and is not whole would keep it for as long as nobody reads it, so it is thrown away.
    pub(super) fn clear_the_way(&mut self, id: ExchangeId) {
        let Some(mut held) = self.take_held(id) else { return };
        if !held.dismiss_if_whole(&mut self.upstream[held.conn], &mut self.buffers.rings) {
            return self.upstream.remove_conn(held.conn, &mut self.buffers.rings, &mut self.turn);
        }
        if let Doubted::AskedAgain { held: place, .. } = &mut self.exchanges[id].doubted {
            *place = Some(held);
        }
    }

    /// What an exchange holds, if that can be its answer: one whose connection ended meanwhile may lack
    /// its end, and would be another failure.
    pub(super) fn take_answer_held(&mut self, id: ExchangeId) -> Option<HeldResponse> {
        let held = self.take_held(id)?;
        let backend = &mut self.upstream[held.conn];
        let is_whole = held.is_whole(backend, &mut self.buffers.rings);
        let goes_on = !backend.conn.was_reset && !backend.conn.is_ended();
        if (is_whole || goes_on) && self.exchanges[id].upload.is_replayable() {
            return Some(held);
        }
        self.upstream.remove_conn(held.conn, &mut self.buffers.rings, &mut self.turn);
        None
    }

    /// The attempt that was to give a better response has failed: what is held is the answer.
    pub(super) fn deliver_instead(&mut self, id: ExchangeId, held: HeldResponse, failure: Failure) {
        let HeldResponse { conn, times, upload: (kept, payload), .. } = held;
        let exchange = &mut self.exchanges[id];
        if exchange.state() != State::Waiting {
            exchange.enter(State::Waiting);
        }
        let waiter = exchange.waiter(id);
        self.upstream.attach(conn, waiter);
        let backend = &mut self.upstream[conn];
        let took = elapsed(times.answered, self.turn.now);
        exchange.attempts.add(Attempt { backend: backend.backend, failure, took });
        exchange.upload.restart();
        exchange.upload.had_gone(kept, payload);
        exchange.sent = true;
        exchange.conn = Some(conn);
        exchange.carrier = Carrier::Kept;
        exchange.times = times;
        exchange.doubted = Doubted::Unfounded;
        backend.scan = HeadScan::response();
        // The backend had answered then.
        backend.front_since = backend.front_since + took;
        exchange.enter(State::Sending);
        exchange.enter(State::Awaiting);
    }

    /// What an exchange holds is its own no more.
    pub(super) fn take_held(&mut self, id: ExchangeId) -> Option<HeldResponse> {
        match &mut self.exchanges[id].doubted {
            Doubted::AskedAgain { held, .. } => held.take(),
            Doubted::Not | Doubted::Held { .. } | Doubted::Unfounded => None,
        }
    }

    /// Throws away what an exchange holds.
    pub(super) fn let_held_go(&mut self, id: ExchangeId) {
        if let Some(held) = self.take_held(id) {
            self.upstream.remove_conn(held.conn, &mut self.buffers.rings, &mut self.turn);
        }
    }

    /// Closes some connection that is held, for the room that it takes. Its exchange is asked again all
    /// the same.
    pub(super) fn close_any_held_conn(&mut self) -> bool {
        let found = self.upstream.conns().ids().find_map(|id| match self.upstream[id].owner {
            Owner::Held(exchange) => Some(exchange),
            Owner::Idle { .. } | Owner::Client(_) | Owner::Bound(..) | Owner::Multiplexed => None,
        });
        if let Some(exchange) = found {
            self.let_held_go(exchange);
        }
        found.is_some()
    }
}
