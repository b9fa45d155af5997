//! How a client's connection ends.

use crate::policy::reason::Reason;

use super::client::{Client, ClientPhase, Watch};
use crate::proxy::Proxy;
use crate::proxy::ids::{ClientId, ExchangeId};
use crate::proxy::service::Service;
use crate::proxy::timeouts::client_owner;

/// How much a lingering client may send in one turn before others have theirs.
const LINGER_READS: usize = 4;

impl Proxy {
    /// Whether the client's connection must close behind this answer.
    pub(in crate::proxy) fn decide_close(&mut self, id: ExchangeId) -> bool {
        let is_old = self.is_past_its_age(self.exchanges[id].client);
        let is_followed = self.downstream.behind(id).is_some();
        let exchange = &mut self.exchanges[id];
        let client = &mut self.downstream[exchange.client];
        let is_to_leave = self.service != Service::Running || is_old;
        // Clients take the end of the connection that they log in by several requests for a refusal.
        let logs_in = exchange.request.authorizes_connection && exchange.answer.is_challenge();
        let is_last = is_to_leave && !is_followed && !logs_in;
        let is_cut = !exchange.upload.is_done() && !exchange.may_upload_on();
        exchange.closes |= is_last || is_cut;
        // It may be about to send its next request: only the answer tells it that this is the last.
        let unaware = exchange.request.keep_alive || !exchange.upload.is_done();
        client.may_be_sending |= exchange.closes && unaware;
        if exchange.closes {
            client.phase = ClientPhase::Closing;
        }
        exchange.closes
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
            let is_cut = client.phase == ClientPhase::Breaking
                || !client.conn.output.is_empty()
                || client.first.is_some_and(|first| self.exchanges[first].ends_by_close);
            self.drop_queue(id, Reason::ConnectionTerminated);
            if is_cut { self.reset(id) } else { self.close(id) }
        }
    }

    /// Closes a client whose last answer is on its way. One that may still be sending is read for a
    /// while, or its system would take a reset for a reason to throw the answer away.
    pub(in crate::proxy) fn close_gently(&mut self, id: ClientId) {
        let client = &mut self.downstream[id];
        if client.phase == ClientPhase::Breaking {
            return self.reset(id);
        }
        let pending =
            client.may_be_sending || !client.conn.input.is_empty() || client.conn.readable;
        if !pending || client.conn.is_ended() || client.conn.shutdown_write().is_err() {
            return self.close(id);
        }
        client.phase = ClientPhase::Lingering;
        client.conn.discard_input(&mut self.buffers.rings);
        self.linger(id);
    }

    /// Throws away what a client sends after our end, until its own.
    pub(in crate::proxy) fn linger(&mut self, id: ClientId) {
        if !self.read_to_nobody(id) {
            return self.close(id);
        }
        let client = &self.downstream[id];
        let (readable, watch) = (client.conn.readable, client.watch);
        if readable {
            self.turn.wake(id);
        }
        if watch == Watch::Not {
            self.watch_now(id);
        }
        self.arm(id);
    }

    /// Closes a lingering client before its time: others need its room. What it has sent so far is read,
    /// or its system would hear a reset before it has read the answer.
    pub(super) fn stop_lingering(&mut self, id: ClientId) {
        self.downstream[id].conn.readable = true;
        self.read_to_nobody(id);
        self.close(id);
    }

    /// Reads some of what a lingering client sends. Whether there may be more.
    fn read_to_nobody(&mut self, id: ClientId) -> bool {
        let client = &mut self.downstream[id];
        for _ in 0..LINGER_READS {
            match client.conn.fill(&mut self.buffers.rings) {
                Ok(0) => break,
                Ok(_) => client.conn.discard_input(&mut self.buffers.rings),
                Err(_) => return false,
            }
        }
        !client.conn.is_ended()
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
        client.conn.reset();
    }

    fn take_client(&mut self, id: ClientId) -> Client {
        self.timers.stop(client_owner(id));
        let Proxy { upstream, downstream, buffers, turn, .. } = self;
        upstream.close_all_bound(&mut downstream[id].bound, &mut buffers.rings, turn);
        self.count_traffic_of(id);
        let mut client = self.downstream.remove(id);
        self.turn.forget(id);
        client.conn.release(&mut self.buffers.rings);
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
