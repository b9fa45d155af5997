//! Done: the exchange leaves its client's queue, its connection is kept or closed, its slot is free.

use crate::config::Multiplex;
use crate::mem::buffer::Buffer;
use crate::policy::reason::Reason;

use super::Proxy;
use super::caching::follow::Leader;
use super::exchange::{DispatchMode, Response, State};
use super::timeouts::exchange_owner;
use super::upstream::connection::Released;
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId};

impl Proxy {
    /// Takes a first exchange that is done out of its client's queue.
    pub(super) fn finish(&mut self, client_id: ClientId, id: ExchangeId) {
        self.release_conn(id);
        // The connection is idle now, or with one whose turn has not come: both may be closed.
        self.upstream.conn_was_freed(&mut self.turn);
        let exchange = &mut self.exchanges[id];
        let client = &mut self.downstream[client_id];
        if let Some(conn) = client.conn_mut() {
            exchange.upload.let_go(conn);
        }
        let closing = exchange.closing;
        let has_left = exchange.broken == Some(Reason::ClientAbort);
        self.close_as(client_id, closing);
        self.remove_exchange(id);
        if closing.closes() {
            // The answer told the client that what it sent behind is not processed (RFC 9112 §9.6).
            let is_dismissed = Reason::ConnectionTerminated;
            self.drop_queue(client_id, if has_left { Reason::ClientAbort } else { is_dismissed });
        }
    }

    /// Gives up all exchanges of a client, which will not get their answers, or not whole ones: for
    /// `reason`, except that an answer of which a part was sent is incomplete, unless it is the client
    /// that has left.
    pub(super) fn drop_queue(&mut self, id: ClientId, reason: Reason) {
        while let Some(first) = self.downstream[id].first {
            self.dequeue_waiter(first);
            self.let_fetch_go_on(first, Leader::Leaves);
            self.detach(first);
            let exchange = &mut self.exchanges[first];
            if exchange.state() == State::Uploading {
                exchange.broken.get_or_insert(reason);
            } else if exchange.state() != State::Done {
                exchange.bytes_out += exchange.download.payload();
                let is_left = reason == Reason::ClientAbort;
                let is_part = exchange.is_committed() && !is_left;
                exchange.broken.get_or_insert(if is_part {
                    Reason::ResponseIncomplete
                } else {
                    reason
                });
            }
            self.remove_exchange(first);
        }
    }

    /// Takes the first exchange of a client out of everything. The only place where one ends: here
    /// each that was taken in is counted and logged once.
    fn remove_exchange(&mut self, id: ExchangeId) {
        self.give_up_doubt(id);
        self.release_choice(id);
        self.timers.stop(exchange_owner(id));
        if !self.downstream[self.exchanges[id].client].is_background() {
            self.count_end(id);
            self.write_log(id);
            self.keep_if_remarkable(id);
        }
        self.leave_cache(id);
        let exchange = &mut self.exchanges[id];
        let head = std::mem::replace(&mut exchange.head, Buffer::detached());
        self.downstream.pop(exchange.client);
        self.exchanges.discard(id);
        self.return_head(head);
    }

    /// Passes the backend connection on: to the exchange behind, to the idle ones, or away.
    pub(super) fn release_conn(&mut self, id: ExchangeId) {
        let Proxy { exchanges, downstream, upstream, buffers, turn, .. } = self;
        let exchange = &mut exchanges[id];
        // A pipe may still hold a part of the upload: the request is not whole then.
        let uploaded = exchange.upload.is_done();
        exchange.upload.release(buffers);
        exchange.download.release(buffers);
        let Some(conn) = exchange.conn.take() else { return };
        let lives_on = match exchange.answer {
            Response::Backend(received) => {
                received.keep_alive && uploaded && exchange.broken.is_none()
            }
            Response::Pending
            | Response::Local(_)
            | Response::Page(..)
            | Response::Final(_)
            | Response::Stored(_) => false,
        };
        upstream.take_off(conn, id);
        if upstream[exchange.pool].multiplex == Multiplex::Verified {
            let slot = upstream[conn].backend;
            upstream[slot].multiplexing.passed(exchange.bytes_out, exchange.is_multiplexed);
        }
        let whose = (exchange.client, &mut downstream[exchange.client].bound);
        if !lives_on
            || upstream.pass_on(conn, whose, &mut buffers.rings, turn) == Released::ToBeClosed
        {
            self.close_used_conn(conn, DispatchMode::Exclusive);
        } else if self.upstream.is_multiplexed(conn) {
            self.wake_front(conn);
        }
    }

    /// Closes a connection that is in use. The exchanges on it go back to Waiting.
    pub(super) fn close_used_conn(&mut self, id: BackendConnId, mode: DispatchMode) {
        self.clear_conn(id, mode);
        self.upstream.remove_conn(id, &mut self.buffers.rings, &mut self.turn);
    }

    /// Sends the exchanges on a connection back to Waiting.
    pub(super) fn clear_conn(&mut self, id: BackendConnId, mode: DispatchMode) {
        let is_multiplexed = self.upstream.is_multiplexed(id);
        while let Some(exchange_id) = self.upstream.pop(id) {
            if is_multiplexed {
                self.turn.wake(self.exchanges[exchange_id].client);
            }
            let exchange = &mut self.exchanges[exchange_id];
            exchange.conn = None;
            exchange.sent = false;
            exchange.interims = 0; // Those that nobody was meant by are not to count where it goes.
            exchange.dispatch_mode = mode;
            exchange.answer = Response::Pending;
            exchange.upload.release(&mut self.buffers);
            exchange.upload.restart();
            exchange.enter(State::Waiting);
            // What it ran for is over. It may be due in this very turn.
            self.timers.stop(exchange_owner(exchange_id));
        }
    }
}
