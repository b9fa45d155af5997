//! How a client's connection ends. Timers (`timeouts.rs`) and want of room (`room.rs`) say when; all of it is
//! carried out here.

use crate::net::End;
use crate::policy::reason::Reason;

use super::client::{Client, Watch};
use super::ending::{ClientPhase, Closing};
use crate::proxy::Proxy;
use crate::proxy::exchange::State;
use crate::proxy::ids::{ClientId, ExchangeId};
use crate::proxy::service::Service;
use crate::proxy::timeouts::client_owner;

/// How much a lingering client may send in one turn before others have theirs.
const LINGER_READS: usize = 4;

impl Client {
    /// Marks the client's connection as broken: it ends without a word once it is driven.
    pub fn break_off(&mut self) {
        self.ending.begin();
        if let Some(conn) = self.conn_mut() {
            conn.end = End::Broken;
        }
    }

    /// The other side of a tunnel has ended: the client is told so, once it has all that was written to it.
    /// Whether it was told now.
    pub fn end_output(&mut self) -> bool {
        let Some(conn) = self.conn_mut() else { return false };
        if !conn.output.is_empty() || conn.has_said_end {
            return false;
        }
        // One that is gone already shows at the next read.
        let _ = conn.shutdown_write();
        true
    }
}

/// Behind an exchange.
impl Proxy {
    /// What a request that was just taken in says of the connection: it is the last, as its client, the
    /// number of requests or the age of the connection has it.
    pub(super) fn close_behind_last(&mut self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        let client = &self.downstream[exchange.client];
        let is_last = client.requests == self.settings.client_requests;
        // Whether a login goes on behind its response is known once that is there.
        let is_old =
            !exchange.request.authorizes_connection && self.is_past_its_age(exchange.client);
        if !exchange.request.keep_alive || is_last || is_old {
            self.close_behind(id);
        }
    }

    /// The client's connection ends behind this exchange, whatever follows it.
    pub(in crate::proxy) fn close_behind(&mut self, id: ExchangeId) {
        self.exchanges[id].closing.after_this();
    }

    /// Only the end of the connection tells the client where its response ends.
    pub(in crate::proxy) fn end_by_close(&mut self, id: ExchangeId) {
        self.exchanges[id].closing.enter(Closing::ByEnd);
    }

    /// Whether the client's connection must close behind this response, which is committed now.
    pub(in crate::proxy) fn decide_close(&mut self, id: ExchangeId) -> bool {
        let is_old = self.is_past_its_age(self.exchanges[id].client);
        let is_followed = self.downstream.behind(id).is_some();
        let exchange = &mut self.exchanges[id];
        let ending = &mut self.downstream[exchange.client].ending;
        let is_to_leave = self.service != Service::Running || is_old;
        // Clients take the end of the connection that they log in by several requests for a refusal.
        let logs_in = exchange.request.authorizes_connection && exchange.answer.is_challenge();
        let is_last = is_to_leave && !is_followed && !logs_in;
        let is_cut = !exchange.upload.is_done() && !exchange.may_upload_on();
        if is_last || is_cut {
            exchange.closing.after_this();
        }
        if exchange.closing.closes() {
            // It may be about to send its next request: only the response tells it that this is the last.
            if exchange.request.keep_alive || !exchange.upload.is_done() {
                ending.expect_more();
            }
            ending.begin();
        }
        exchange.closing.closes()
    }

    /// Has the client's connection close behind an exchange whose upload is given up: no more of the request's
    /// body goes to the backend, and what comes of it is thrown away at the end.
    pub(in crate::proxy) fn close_over_upload(&mut self, id: ExchangeId) {
        let exchange = &mut self.exchanges[id];
        exchange.closing.after_this();
        self.downstream[exchange.client].ending.expect_more();
    }

    /// The response does not come to its end, for this reason. What the client has of it must not look whole.
    pub(in crate::proxy) fn cut_short(&mut self, id: ExchangeId, reason: Reason) {
        let exchange = &mut self.exchanges[id];
        exchange.broken = Some(reason);
        exchange.closing.after_this();
        if exchange.closing == Closing::ByEnd && exchange.state() == State::Responding {
            exchange.closing.enter(Closing::Hard);
        }
    }

    /// An exchange that closes its client's connection leaves its queue.
    pub(in crate::proxy) fn close_as(&mut self, id: ClientId, closing: Closing) {
        let ending = &mut self.downstream[id].ending;
        match closing {
            Closing::No => (),
            Closing::AfterThis | Closing::ByEnd => ending.begin(),
            Closing::Hard => ending.enter(ClientPhase::Breaking),
        }
    }

    /// Whether the client's connection is so old that it closes with its next response.
    fn is_past_its_age(&self, id: ClientId) -> bool {
        let age = || self.turn.now - self.downstream[id].since;
        self.settings.client_age().is_some_and(|limit| age() >= limit)
    }
}

/// Of a client, whatever it has in work.
impl Proxy {
    /// Reads no more requests from a client: what it sends cannot be trusted, or is not wanted.
    pub(super) fn stop_reading(&mut self, id: ClientId) {
        let client = &mut self.downstream[id];
        if let Some(conn) = client.conn_mut() {
            conn.discard_input(&mut self.buffers.rings);
        }
        client.ending.begin();
        client.ending.expect_more();
    }

    /// The client has been silent for too long.
    pub(super) fn close_silent(&mut self, id: ClientId) {
        self.downstream[id].ending.begin();
        self.turn.wake(id);
    }

    /// The connection is of no use any more, and ends without a word.
    pub(in crate::proxy) fn break_off(&mut self, id: ClientId) {
        self.downstream[id].break_off();
        self.turn.wake(id);
    }

    /// Closes the connection of a client that has nothing in work, if it has come to that. Whether it was, or
    /// is on its way.
    pub(in crate::proxy) fn close_if_over(&mut self, id: ClientId) -> bool {
        let client = &self.downstream[id];
        if client.first.is_some() || !client.is_flushed() {
            return false;
        }
        let is_done = !client.has_input()
            && self.service == Service::Draining
            && self.has_just_been_answered(id);
        match client.ending.phase() {
            ClientPhase::Open if !client.has_said_all() && !is_done => return false,
            ClientPhase::Open | ClientPhase::Closing | ClientPhase::Breaking => {
                self.close_gently(id);
            }
            ClientPhase::Lingering => self.linger(id),
        }
        true
    }

    /// The client is gone: its exchanges end without an answer.
    pub(in crate::proxy) fn abandon(&mut self, id: ClientId) {
        self.drop_queue(id, Reason::ClientAbort);
        self.close(id);
    }

    /// Cuts off all clients, for the process ends. An answer that only the end delimits is ended by
    /// a reset, so that it cannot look whole.
    pub fn cut_off_clients(&mut self) {
        for index in 0..self.downstream.clients().capacity() {
            let Some(id) = self.downstream.clients().id_at(index) else { continue };
            let client = &self.downstream[id];
            let is_cut = client.ending.phase() == ClientPhase::Breaking
                || !client.is_flushed()
                || client.first.is_some_and(|first| self.exchanges[first].closing.ends_by_close());
            self.drop_queue(id, Reason::ConnectionTerminated);
            if is_cut { self.reset(id) } else { self.close(id) }
        }
    }

    /// Closes a client whose last answer is on its way. One that may still be sending is read for a
    /// while, or its system would take a reset for a reason to throw the answer away.
    pub(in crate::proxy) fn close_gently(&mut self, id: ClientId) {
        let client = &mut self.downstream[id];
        if client.ending.phase() == ClientPhase::Breaking {
            return self.reset(id);
        }
        let may_be_sending = client.ending.may_be_sending();
        let Some(conn) = client.conn_mut() else { return self.close(id) };
        let pending = may_be_sending || !conn.input.is_empty() || conn.readable;
        if !pending || conn.is_ended() || conn.shutdown_write().is_err() {
            return self.close(id);
        }
        conn.discard_input(&mut self.buffers.rings);
        client.ending.enter(ClientPhase::Lingering);
        self.linger(id);
    }

    /// Throws away what a client sends after our end, until its own.
    fn linger(&mut self, id: ClientId) {
        if !self.read_to_nobody(id) {
            return self.close(id);
        }
        let client = &self.downstream[id];
        if client.conn().is_some_and(|conn| conn.readable) {
            self.turn.wake(id);
        }
        if client.watch == Watch::Not {
            self.watch_now(id);
        }
        self.arm(id);
    }

    /// Closes a lingering client before its time: others need its room. What it has sent so far is read,
    /// or its system would hear a reset before it has read the answer.
    pub(super) fn stop_lingering(&mut self, id: ClientId) {
        if let Some(conn) = self.downstream[id].conn_mut() {
            conn.readable = true;
        }
        self.read_to_nobody(id);
        self.close(id);
    }

    /// Reads some of what a lingering client sends. Whether there may be more.
    fn read_to_nobody(&mut self, id: ClientId) -> bool {
        let Some(conn) = self.downstream[id].conn_mut() else { return false };
        conn.discard_input(&mut self.buffers.rings); // Whoever looked whether it asks has filled it.
        for _ in 0..LINGER_READS {
            match conn.fill(&mut self.buffers.rings) {
                Ok(0) => break,
                Ok(_) => conn.discard_input(&mut self.buffers.rings),
                Err(_) => return false,
            }
        }
        !conn.is_ended()
    }

    /// Closes a client at once. What its queue holds is dropped.
    pub(in crate::proxy) fn close(&mut self, id: ClientId) {
        self.drop_queue(id, Reason::ClientAbort);
        let client = self.take_client(id);
        drop(client);
    }

    /// Closes a client so that it sees a reset: an answer that only the end delimits was cut.
    pub(in crate::proxy) fn reset(&mut self, id: ClientId) {
        let client = self.take_client(id);
        client.sink.reset();
    }

    fn take_client(&mut self, id: ClientId) -> Client {
        self.timers.stop(client_owner(id));
        let Proxy { upstream, downstream, buffers, turn, .. } = self;
        upstream.close_all_bound(&mut downstream[id].bound, &mut buffers.rings, turn);
        let mut client = self.downstream.remove(id);
        self.count_traffic(client.take_traffic());
        self.turn.forget(id);
        if let Some(conn) = client.conn_mut() {
            conn.release(&mut self.buffers.rings);
        }
        if !client.is_background() {
            self.give_room_back();
        }
        self.upstream.conn_was_freed(&mut self.turn);
        client
    }

    /// Closes the clients that have nothing in work, nor sent a part of a head; and those that are
    /// nobody.
    pub fn close_idle_clients(&mut self) {
        for index in 0..self.downstream.clients().capacity() {
            if let Some(id) = self.downstream.clients().id_at(index)
                && (self.downstream[id].is_idle() || self.downstream[id].is_background())
            {
                self.close(id);
            }
        }
    }
}
