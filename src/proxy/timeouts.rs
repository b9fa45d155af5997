//! Timers: one for each client and one for each exchange, and which of them runs when.
//!
//! What an exchange waits for decides its timer: nothing runs against a backend while the client
//! is the slow side, and nothing against a client while the backend is. A client that has ended its
//! side looks the same whether it reads on or has left: what it waits for may take `timeouts.fin`, if
//! that is less.

use crate::mem::time::{Micros, Millis, sooner};
use crate::net::End;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;

use super::Proxy;
use super::caching::follow::Leader;
use super::downstream::client::Watch;
use super::downstream::ending::ClientPhase;
use super::exchange::{Carrier, Exchange, LocalReply, Response, State};
use super::upstream::connection::BackendConn;
use super::upstream::waiting::WaitQueue;
use crate::proxy::ids::{ClientId, ExchangeId};

/// The timers' numbers: their places in `Settings::durations`.
pub(super) const HEADER: usize = 0;
pub(super) const IDLE: usize = 1;
const FLUSH: usize = 2;
pub(super) const LINGER: usize = 3;
const UNWATCHED: usize = 4;
const QUEUE: usize = 5;
const CONNECT: usize = 6;
const RESPONSE: usize = 7;
const TUNNEL: usize = 8;
const CLIENT: usize = 9;
const COLLAPSED: usize = 10;
const FIN: usize = 11;
const BRIEF: usize = 12;
const DOUBT: usize = 13;
const BEHIND: usize = 14;
/// Others wait behind it on a connection that clients share.
pub(super) const HOLDS_UP: usize = 15;

impl Proxy {
    /// When the next timer ends, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<Millis> {
        let cold = self.buffers.caching.as_ref().and_then(|caching| caching.cold().next_look());
        sooner(self.timers.soonest(), sooner(self.upstream.next_backlog_try(), cold))
    }

    /// Acts on all timers that ended by `until`. All that came before then was seen.
    pub fn expire(&mut self, until: Micros) {
        self.upstream.retry_backlog(&mut self.turn);
        self.look_again_at_disk();
        while let Some((owner, timer)) = self.timers.expire(until.millis()) {
            let index = owner as usize / 2;
            if owner % 2 == 0 {
                if let Some(id) = self.downstream.clients().id_at(index) {
                    self.client_timeout(id, timer);
                }
            } else if let Some(id) = self.exchanges.id_at(index) {
                self.exchange_timeout(id, timer);
            }
        }
    }

    fn client_timeout(&mut self, id: ClientId, timer: usize) {
        match timer {
            HEADER => self.head_timeout(id),
            UNWATCHED => self.watch_now(id),
            // A part of the answer was not taken: the end alone would make it look whole.
            FLUSH => self.reset(id),
            LINGER => self.close(id),
            _ => self.close_gently(id),
        }
    }

    fn exchange_timeout(&mut self, id: ExchangeId, timer: usize) {
        let client = self.exchanges[id].client;
        match timer {
            QUEUE => self.fail(id, Failure::QueueTimeout),
            CONNECT => self.fail(id, Failure::ConnectTimeout),
            RESPONSE if self.exchanges[id].state() == State::Uploading => {
                self.cut_upload(id, Reason::ResponseTimeout);
            }
            // Who has left before is the one who cut it, whichever time is less.
            RESPONSE if self.exchanges[id].is_committed() && self.has_ended(id) => self.give_up(id),
            RESPONSE if self.exchanges[id].is_committed() => self.cut_by_backend(id),
            RESPONSE => self.fail(id, Failure::ResponseTimeout),
            TUNNEL => self.finish_tunnel(id),
            COLLAPSED => self.stop_waiting_for_fetch(id),
            FIN if self.exchanges[id].state() == State::Tunneling => self.finish_tunnel(id),
            FIN => self.give_up(id),
            // One that is held where it is: it looks again, and whether the time is over.
            DOUBT => self.clear_the_way(id),
            BEHIND => self.waited_behind_another(id),
            HOLDS_UP if self.waits_for_nobody(id) => self.waited_for_nobody(id),
            HOLDS_UP if self.holds_others_up(id) => self.held_others_up(id),
            HOLDS_UP => self.exchanges[id].progress = true,
            _ if self.exchanges[id].is_committed() => self.truncate(id, Reason::ClientTimeout),
            _ => self.client_too_slow(id),
        }
        self.turn.wake(client);
    }

    /// A client that stopped in the middle of its body gets 408. One that does not take the answers
    /// it has would not take that either.
    fn client_too_slow(&mut self, id: ExchangeId) {
        if self.exchanges[id].state() == State::Answered {
            return self.truncate(id, Reason::ClientTimeout);
        }
        self.answer_instead(
            id,
            LocalReply {
                status: 408,
                error: "http_request_error",
                reason: Reason::ClientTimeout,
                close: true,
            },
        );
    }

    /// The client has ended its side, and what it waits for has not come in `timeouts.fin`. The answer,
    /// or the rest of it, is given up for a client that has left, and with it those behind it.
    fn give_up(&mut self, id: ExchangeId) {
        self.let_fetch_go_on(id, Leader::Leaves);
        self.leave_cache(id);
        if self.exchanges[id].is_committed() {
            return self.truncate(id, Reason::ClientAbort);
        }
        self.answer_instead(
            id,
            LocalReply {
                status: 499,
                error: "http_request_error",
                reason: Reason::ClientAbort,
                close: true,
            },
        );
    }

    /// Sets the timers of a client and of its exchanges by what they wait for now.
    pub(super) fn arm(&mut self, id: ClientId) {
        let mut next = self.downstream[id].first;
        while let Some(exchange) = next {
            next = self.downstream.behind(exchange);
            self.arm_exchange(exchange);
        }
        let client = &self.downstream[id];
        let wanted = match client.ending.phase() {
            ClientPhase::Lingering => Some(LINGER),
            _ if client.first.is_some() => (client.watch == Watch::Not).then_some(UNWATCHED),
            _ if !client.is_flushed() => Some(FLUSH),
            _ if client.has_input() => Some(HEADER),
            _ if self.service.is_left() => Some(BRIEF),
            _ if client.requests == 0 => Some(HEADER),
            _ => Some(IDLE),
        };
        let owner = client_owner(id);
        match wanted {
            Some(timer) if self.timers.running(owner) != Some(timer) => {
                self.start_client_timer(id, timer);
            }
            Some(_) => (),
            None => self.timers.stop(owner),
        }
    }

    /// Whether a client without work has had some until now. Its timer says so: none is set anew
    /// before the client has settled.
    pub(super) fn has_just_been_answered(&self, id: ClientId) -> bool {
        let waits = matches!(self.timers.running(client_owner(id)), Some(IDLE | BRIEF));
        self.downstream[id].requests > 0 && !waits
    }

    /// Starts, or starts anew, a client's timer.
    pub(super) fn start_client_timer(&mut self, id: ClientId, timer: usize) {
        self.timers.start(client_owner(id), timer, self.turn.now.millis());
    }

    fn arm_exchange(&mut self, id: ExchangeId) {
        let wanted = self.waits_for(id).map(|timer| match timer {
            CLIENT => CLIENT,
            _ if self.has_ended(id) && self.is_sooner(FIN, timer) => FIN,
            _ => timer,
        });
        let owner = exchange_owner(id);
        let progress = std::mem::take(&mut self.exchanges[id].progress);
        match wanted {
            // Those behind wait from the beginning, whatever moves.
            Some(timer @ (HOLDS_UP | BEHIND)) if self.timers.running(owner) == Some(timer) => (),
            Some(timer) if progress || self.timers.running(owner) != Some(timer) => {
                self.timers.start(owner, timer, self.turn.now.millis());
            }
            Some(_) => (),
            None => self.timers.stop(owner),
        }
    }

    /// Whether the client has ended its side, or of a tunnel the backend its own. What they sent
    /// before may still be on its way.
    #[inline]
    fn has_ended(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let backend = || exchange.conn.map(|conn| self.upstream[conn].conn.end);
        self.downstream[exchange.client].has_ended()
            || exchange.state() == State::Tunneling && backend() != Some(End::Open)
    }

    fn is_sooner(&self, timer: usize, other: usize) -> bool {
        self.timers.duration(timer) < self.timers.duration(other)
    }

    /// The timer of what the exchange waits for.
    fn waits_for(&self, id: ExchangeId) -> Option<usize> {
        let exchange = &self.exchanges[id];
        let conn = exchange.conn.map(|conn| &self.upstream[conn]);
        let is_shared = conn.is_some_and(BackendConn::demands_id);
        match exchange.state() {
            _ if is_shared && (self.holds_others_up(id) || self.waits_for_nobody(id)) => {
                Some(HOLDS_UP)
            }
            State::Waiting => match exchange.wait_queue {
                WaitQueue::Nowhere => None,
                WaitQueue::Pool | WaitQueue::Connection => Some(QUEUE),
                WaitQueue::Backlog(_) => Some(CONNECT),
                WaitQueue::Fetch => Some(COLLAPSED),
            },
            State::Connecting => Some(CONNECT),
            State::Sending | State::Awaiting if exchange.doubted.is_held() => Some(DOUBT),
            State::Sending | State::Awaiting if exchange.doubted.is_in_the_way() => Some(DOUBT),
            State::Sending if self.waits_for_upload(id) => Some(CLIENT),
            State::Sending | State::Awaiting => match conn.filter(|conn| conn.front == Some(id)) {
                None => None, // Others are ahead of it: the backend cannot answer it yet.
                Some(conn) if self.is_held_up(id, conn) => self.is_first(id).then_some(CLIENT),
                Some(conn) if stood_behind(exchange, conn) => Some(BEHIND),
                Some(_) => Some(RESPONSE),
            },
            State::Responding if self.waits_for_disk(id) => None,
            State::Responding if self.client_is_slow(id) => Some(CLIENT),
            State::Responding => Some(RESPONSE),
            State::Uploading if self.waits_for_upload(id) => Some(CLIENT),
            State::Uploading => Some(RESPONSE),
            State::Tunneling => Some(TUNNEL),
            State::Answered if self.waits_for_disk(id) => None,
            // There is no room for its head: the client does not take the answers before it.
            State::Answered => self.is_first(id).then_some(CLIENT),
            State::Done => None,
        }
    }

    /// Whether the backend has begun to answer, and there may be a 1xx that waits for its turn, or
    /// for room at the client.
    fn is_held_up(&self, id: ExchangeId, conn: &BackendConn) -> bool {
        let has_begun = !conn.conn.input.is_empty();
        has_begun && (!self.is_first(id) || self.client_is_slow(id))
    }

    /// Whether it is the client's body that is missing, and not the backend's leave to send it.
    fn waits_for_upload(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let backend_is_slow = exchange.upload.is_stuck_in_pipe()
            || exchange.conn.is_some_and(|conn| !self.upstream[conn].conn.output.is_empty());
        !exchange.upload.is_done() && !backend_is_slow && !exchange.waits_for_leave()
    }

    /// Whether what is stored for it is to be read from the disk first.
    fn waits_for_disk(&self, id: ExchangeId) -> bool {
        matches!(self.exchanges[id].answer, Response::Stored(_))
            && self.buffers.caching.as_ref().is_some_and(|caching| caching.cold().has(id))
    }

    fn client_is_slow(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let client = &self.downstream[exchange.client];
        if matches!(exchange.answer, Response::Stored(stored) if stored.delivery.follows()) {
            return !client.takes_all_at_once();
        }
        // What is stored is there, as an error page is: only the client can be slow.
        matches!(exchange.answer, Response::Stored(_) | Response::Page(..))
            || exchange.cache().has_part_left()
            || exchange.download.is_stuck_in_pipe()
            || !client.is_flushed()
    }
}

/// Whether an exchange stood behind another on its connection, and the backend has said nothing since.
fn stood_behind(exchange: &Exchange, conn: &BackendConn) -> bool {
    exchange.carrier == Carrier::Shared && !conn.heard
}

/// The number under which a client has its timer: the even ones, so that both kinds lie densely.
pub(super) fn client_owner(id: ClientId) -> u32 {
    2 * id.index() as u32
}

/// The number under which an exchange has its timer: the odd ones.
pub(super) fn exchange_owner(id: ExchangeId) -> u32 {
    2 * id.index() as u32 + 1
}
