//! Done: connections kept or closed, slots freed, the queue moves up.

use crate::policy::reason::Reason;
use crate::shared::{Counter, WaitFor};

use super::Proxy;
use super::Service;
use super::client::{Client, ClientPhase, Watch};
use super::exchange::{DispatchMode, Response, State};
use super::timeouts::{client_owner, exchange_owner};
use super::upstream::connection::Released;
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId};

/// Sweeps between two looks for memory that has cooled down.
const COOLING: u64 = 3;
/// Sweeps after which idle limits are learned anew: a restart of a backend may have taught a
/// short one.
const FORGETTING: u64 = 120;
/// How much a lingering client may send in one turn before others have theirs.
const LINGER_READS: usize = 4;
/// Idle clients that make room at a time for those of a later generation.
const RECYCLED: usize = 64;

impl Proxy {
    /// Takes a first exchange that is done out of its client's queue.
    pub(super) fn finish(&mut self, client_id: ClientId, id: ExchangeId) {
        self.release_conn(id);
        // The connection is idle now, or with one whose turn has not come: both may be closed.
        self.upstream.conn_was_freed(&mut self.turn);
        let exchange = &mut self.exchanges[id];
        let client = &mut self.clients[client_id];
        exchange.upload.let_go(&mut client.conn);
        if exchange.broken.is_some() {
            let looks_whole = exchange.ends_by_close && !exchange.download.is_done();
            client.phase = if looks_whole { ClientPhase::Breaking } else { ClientPhase::Closing };
        } else if exchange.closes {
            client.phase = ClientPhase::Closing;
        }
        let closes = exchange.closes || exchange.broken.is_some();
        let has_left = exchange.broken == Some(Reason::ClientAbort);
        self.remove_exchange(id);
        if closes {
            // The answer told the client that what it sent behind is not processed (RFC 9112 §9.6).
            let is_dismissed = Reason::ConnectionTerminated;
            self.drop_queue(client_id, if has_left { Reason::ClientAbort } else { is_dismissed });
        }
    }

    /// Gives up all exchanges of a client, which will not get their answers, or not whole ones: for
    /// `reason`, except that an answer of which a part was sent is incomplete, unless it is the client
    /// that has left.
    fn drop_queue(&mut self, id: ClientId, reason: Reason) {
        while let Some(first) = self.clients[id].first {
            self.dequeue_waiter(first);
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
        if !self.clients[self.exchanges[id].client].is_background() {
            self.count_end(id);
            self.write_log(id);
        }
        self.leave_cache(id);
        let exchange = self.exchanges.remove(id);
        let client = &mut self.clients[exchange.client];
        client.first = exchange.behind;
        client.in_work -= 1;
        if client.first.is_none() {
            client.last = None;
            self.busy_clients -= 1;
        }
        self.return_head(exchange.head);
    }

    /// Passes the backend connection on: to the exchange behind, to the idle ones, or away.
    pub(super) fn release_conn(&mut self, id: ExchangeId) {
        let Proxy { exchanges, clients, upstream, buffers, turn, .. } = self;
        let exchange = &mut exchanges[id];
        // A pipe may still hold a part of the upload: the request is not whole then.
        let uploaded = exchange.upload.is_done();
        exchange.upload.release(buffers);
        exchange.download.release(buffers);
        let Some(conn) = exchange.conn.take() else { return };
        let lives_on = match exchange.answer {
            Response::Backend(facts) => facts.keep_alive && uploaded && exchange.broken.is_none(),
            Response::Pending | Response::Local(_) | Response::Final(_) | Response::Stored(_) => {
                false
            }
        };
        upstream.take_off(conn, id);
        let whose = (exchange.client, &mut clients[exchange.client].bound);
        if !lives_on
            || upstream.release_conn(conn, whose, &mut buffers.rings, turn) == Released::ToBeClosed
        {
            self.close_used_conn(conn, DispatchMode::Alone);
        }
    }

    /// Closes a connection that is in use. The exchanges on it go back to Waiting.
    pub(super) fn close_used_conn(&mut self, id: BackendConnId, mode: DispatchMode) {
        self.clear_conn(id, mode);
        self.upstream.remove_conn(id, &mut self.buffers.rings, &mut self.turn);
    }

    /// Sends the exchanges on a connection back to Waiting.
    pub(super) fn clear_conn(&mut self, id: BackendConnId, mode: DispatchMode) {
        while let Some(exchange_id) = self.upstream.pop(id) {
            let exchange = &mut self.exchanges[exchange_id];
            exchange.conn = None;
            exchange.sent = false;
            exchange.dispatch_mode = mode;
            exchange.answer = Response::Pending;
            exchange.upload.release(&mut self.buffers);
            exchange.upload.restart();
            exchange.enter(State::Waiting);
            // What it ran for is over. It may be due in this very turn.
            self.timers.stop(exchange_owner(exchange_id));
        }
    }

    /// Closes idle backend connections that are past their backend's limit, or whose backend is
    /// out, and gives back the pages of memory that was not used of late. Called about twice a
    /// second; `count` counts the calls. Whether there is anything left that another call could
    /// find.
    pub fn sweep(&mut self, count: u64) -> bool {
        self.buffers.pipes.resume();
        self.upstream.refresh_all(&mut self.turn);
        self.upstream.give_turns(&mut self.turn);
        self.wake_fetch_queue();
        self.release_from_what_hangs();
        self.upstream.close_old_idle(self.service.goes_on(), &mut self.turn);
        self.upstream.show_backends();
        if count % FORGETTING == 0 {
            self.upstream.forget_idle_limits();
        }
        if count % COOLING != 0 {
            return true;
        }
        let mut any = !self.clients.is_empty() || !self.upstream.conns().is_empty();
        for piece in self.buffers.rings.cold().chain(self.heads.cold()) {
            crate::sys::memory::give_back(piece);
        }
        // What was used since the last look is cold at the next one, also if nobody comes until then.
        any |= self.buffers.rings.is_warm() || self.heads.is_warm();
        any
    }

    /// The client is gone: its exchanges end without an answer.
    pub(super) fn abandon(&mut self, id: ClientId) {
        self.drop_queue(id, Reason::ClientAbort);
        self.close(id);
    }

    /// Cuts off all clients, for the process ends. An answer that only the end delimits is ended by
    /// a reset, so that it cannot look whole.
    pub fn cut_off_clients(&mut self) {
        for index in 0..self.clients.capacity() {
            let Some(id) = self.clients.id_at(index) else { continue };
            let client = &self.clients[id];
            let is_cut = client.phase == ClientPhase::Breaking
                || !client.conn.output.is_empty()
                || client.first.is_some_and(|first| self.exchanges[first].ends_by_close);
            self.drop_queue(id, Reason::ConnectionTerminated);
            if is_cut { self.reset(id) } else { self.close(id) }
        }
    }

    /// Closes a client whose last answer is on its way. One that may still be sending is read for a
    /// while, or its system would take a reset for a reason to throw the answer away.
    pub(super) fn close_gently(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
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
    pub(super) fn linger(&mut self, id: ClientId) {
        if !self.read_to_nobody(id) {
            return self.close(id);
        }
        let client = &self.clients[id];
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
    fn stop_lingering(&mut self, id: ClientId) {
        self.clients[id].conn.readable = true;
        self.read_to_nobody(id);
        self.close(id);
    }

    /// Reads some of what a lingering client sends. Whether there may be more.
    fn read_to_nobody(&mut self, id: ClientId) -> bool {
        let client = &mut self.clients[id];
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
    pub(super) fn close(&mut self, id: ClientId) {
        self.drop_queue(id, Reason::ClientAbort);
        let client = self.take_client(id);
        drop(client);
    }

    /// Closes a client so that it sees a reset: an answer that only the end delimits was cut.
    pub(super) fn reset(&mut self, id: ClientId) {
        let client = self.take_client(id);
        client.conn.reset();
    }

    fn take_client(&mut self, id: ClientId) -> Client {
        self.timers.stop(client_owner(id));
        let Proxy { upstream, clients, buffers, turn, .. } = self;
        upstream.close_all_bound(&mut clients[id].bound, &mut buffers.rings, turn);
        self.count_traffic_of(id);
        let mut client = self.clients.remove(id);
        self.turn.forget(id);
        client.conn.release(&mut self.buffers.rings);
        if client.is_background() {
            self.background -= 1;
        } else {
            self.give_room_back();
        }
        self.upstream.conn_was_freed(&mut self.turn);
        client
    }

    /// Clients are to come back, or not, from now on. Those that are idle may have less time,
    /// and while the service ends, nobody waits for what is nobody's.
    pub fn become_service(&mut self, service: Service) {
        if self.service == service {
            return;
        }
        self.service = service;
        if !service.goes_on() {
            self.buffers.pipes.retire();
        }
        self.upstream.close_old_idle(self.service.goes_on(), &mut self.turn);
        for index in 0..self.clients.capacity() {
            let Some(id) = self.clients.id_at(index) else { continue };
            if self.clients[id].is_background() && service == Service::Draining {
                self.close(id);
            } else if self.clients[id].is_idle() {
                self.arm(id);
            }
        }
    }

    /// Closes the clients that have nothing in work, nor sent a part of a head; and those that are
    /// nobody.
    pub fn close_idle_clients(&mut self) {
        for index in 0..self.clients.capacity() {
            if let Some(id) = self.clients.id_at(index)
                && (self.clients[id].is_idle() || self.clients[id].is_background())
            {
                self.close(id);
            }
        }
    }

    /// Closes a client that has nothing in work, for the descriptor that it holds.
    pub(super) fn close_an_idle_client(&mut self) -> bool {
        for index in 0..self.clients.capacity() {
            if let Some(id) = self.clients.id_at(index)
                && self.clients[id].is_idle()
                && !self.has_just_asked(id)
            {
                self.close(id);
                return true;
            }
        }
        false
    }

    /// Closes a client for the room of the next one: one that lingers behind its last answer, else the
    /// one that has been idle for longest, if any is.
    pub fn recycle(&mut self) -> bool {
        if let Some(id) = self.longest_lingering() {
            self.stop_lingering(id);
            return true;
        }
        for id in self.longest_idle().into_iter().flatten() {
            if !self.has_just_asked(id) {
                self.close(id);
                self.row.add(Counter::Recycled, 1);
                return true;
            }
        }
        false
    }

    /// The same for a client that waits to be accepted, here or by another worker.
    pub fn make_room_for_who_waits(&mut self) {
        let is_awaited = self.segment.next_waiting(self.worker, WaitFor::Client).is_some();
        if is_awaited && !self.has_room() {
            self.recycle();
        }
    }

    /// The same for clients of the generation that has replaced this worker's, when the service is full.
    /// Those that are idle here have one more request at most, so they go before any that are idle
    /// there; how many others wait is not known, so some go at a time.
    pub(super) fn make_room_elsewhere(&mut self) {
        if self.segment.is_room_wanted() {
            let _ = (0..RECYCLED).take_while(|_| self.recycle()).count();
        }
    }

    /// Whether an idle client has sent something of which no event has told yet.
    fn has_just_asked(&mut self, id: ClientId) -> bool {
        let conn = &mut self.clients[id].conn;
        conn.readable = true;
        let asks = matches!(conn.fill(&mut self.buffers.rings), Ok(1..));
        if asks {
            self.turn.wake(id);
        }
        asks
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}
