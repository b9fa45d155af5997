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
use super::timer::Timer;
use super::upstream::connection::BackendConn;
use super::upstream::waiting::WaitQueue;
use crate::proxy::ids::{ClientId, ExchangeId};

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
            let timer = Timer::ALL[timer];
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

    fn client_timeout(&mut self, id: ClientId, timer: Timer) {
        match timer {
            Timer::Header => self.head_timeout(id),
            Timer::Unwatched => self.watch_now(id),
            // A part of the answer was not taken: the end alone would make it look whole.
            Timer::Flush => self.reset(id),
            Timer::Linger => self.close(id),
            Timer::Idle | Timer::Brief => self.close_gently(id),
            // Those of exchanges.
            Timer::Queue
            | Timer::Connect
            | Timer::Response
            | Timer::Tunnel
            | Timer::Client
            | Timer::Collapsed
            | Timer::Fin
            | Timer::Doubt
            | Timer::Behind
            | Timer::HoldsUp => self.close_gently(id),
        }
    }

    fn exchange_timeout(&mut self, id: ExchangeId, timer: Timer) {
        let client = self.exchanges[id].client;
        match timer {
            Timer::Queue => self.fail(id, Failure::QueueTimeout),
            Timer::Connect => self.fail(id, Failure::ConnectTimeout),
            Timer::Response if self.exchanges[id].state() == State::Uploading => {
                self.cut_upload(id, Reason::ResponseTimeout);
            }
            // Who has left before is the one who cut it, whichever time is less.
            Timer::Response if self.exchanges[id].is_committed() && self.has_ended(id) => {
                self.give_up(id)
            }
            Timer::Response if self.exchanges[id].is_committed() => self.cut_by_backend(id),
            Timer::Response => self.fail(id, Failure::ResponseTimeout),
            Timer::Tunnel => self.finish_tunnel(id),
            Timer::Collapsed => self.stop_waiting_for_fetch(id),
            Timer::Fin if self.exchanges[id].state() == State::Tunneling => self.finish_tunnel(id),
            Timer::Fin => self.give_up(id),
            // One that is held where it is: it looks again, and whether the time is over.
            Timer::Doubt => self.clear_the_way(id),
            Timer::Behind => self.waited_behind_another(id),
            Timer::HoldsUp if self.waits_for_nobody(id) => self.waited_for_nobody(id),
            Timer::HoldsUp if self.holds_others_up(id) => self.held_others_up(id),
            Timer::HoldsUp => self.exchanges[id].progress = true,
            Timer::Client if self.exchanges[id].is_committed() => {
                self.truncate(id, Reason::ClientTimeout);
            }
            Timer::Client => self.client_too_slow(id),
            // Those of clients.
            Timer::Header
            | Timer::Idle
            | Timer::Flush
            | Timer::Linger
            | Timer::Unwatched
            | Timer::Brief => self.client_too_slow(id),
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
            ClientPhase::Lingering => Some(Timer::Linger),
            _ if client.first.is_some() => (client.watch == Watch::Not).then_some(Timer::Unwatched),
            _ if !client.is_flushed() => Some(Timer::Flush),
            _ if client.has_input() => Some(Timer::Header),
            _ if self.service.is_left() => Some(Timer::Brief),
            _ if client.requests == 0 => Some(Timer::Header),
            _ => Some(Timer::Idle),
        };
        let owner = client_owner(id);
        match wanted {
            Some(timer) if self.timers.running(owner) != Some(timer as usize) => {
                self.start_client_timer(id, timer);
            }
            Some(_) => (),
            None => self.timers.stop(owner),
        }
    }

    /// Whether a client without work has had some until now. Its timer says so: none is set anew
    /// before the client has settled.
    pub(super) fn has_just_been_answered(&self, id: ClientId) -> bool {
        let running = self.timers.running(client_owner(id));
        let waits =
            [Timer::Idle, Timer::Brief].iter().any(|timer| running == Some(*timer as usize));
        self.downstream[id].requests > 0 && !waits
    }

    /// Starts, or starts anew, a client's timer.
    pub(super) fn start_client_timer(&mut self, id: ClientId, timer: Timer) {
        self.timers.start(client_owner(id), timer as usize, self.turn.now.millis());
    }

    fn arm_exchange(&mut self, id: ExchangeId) {
        let wanted = self.waits_for(id).map(|timer| match timer {
            Timer::Client => Timer::Client,
            _ if self.has_ended(id) && self.is_sooner(Timer::Fin, timer) => Timer::Fin,
            _ => timer,
        });
        let owner = exchange_owner(id);
        let progress = std::mem::take(&mut self.exchanges[id].progress);
        match wanted {
            // Those behind wait from the beginning, whatever moves.
            Some(timer @ (Timer::HoldsUp | Timer::Behind))
                if self.timers.running(owner) == Some(timer as usize) => {}
            Some(timer) if progress || self.timers.running(owner) != Some(timer as usize) => {
                self.timers.start(owner, timer as usize, self.turn.now.millis());
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

    fn is_sooner(&self, timer: Timer, other: Timer) -> bool {
        self.timers.duration(timer as usize) < self.timers.duration(other as usize)
    }

    /// The timer of what the exchange waits for.
    fn waits_for(&self, id: ExchangeId) -> Option<Timer> {
        let exchange = &self.exchanges[id];
        let conn = exchange.conn.map(|conn| &self.upstream[conn]);
        let is_shared = conn.is_some_and(BackendConn::demands_id);
        match exchange.state() {
            _ if is_shared && (self.holds_others_up(id) || self.waits_for_nobody(id)) => {
                Some(Timer::HoldsUp)
            }
            State::Waiting => match exchange.wait_queue {
                WaitQueue::Nowhere => None,
                WaitQueue::Pool | WaitQueue::Connection => Some(Timer::Queue),
                WaitQueue::Backlog(_) => Some(Timer::Connect),
                WaitQueue::Fetch => Some(Timer::Collapsed),
            },
            State::Connecting => Some(Timer::Connect),
            State::Sending | State::Awaiting if exchange.doubted.is_held() => Some(Timer::Doubt),
            State::Sending | State::Awaiting if exchange.doubted.is_in_the_way() => {
                Some(Timer::Doubt)
            }
            State::Sending if self.waits_for_upload(id) => Some(Timer::Client),
            State::Sending | State::Awaiting => match conn.filter(|conn| conn.front == Some(id)) {
                None => None, // Others are ahead of it: the backend cannot answer it yet.
                Some(conn) if self.is_held_up(id, conn) => {
                    self.is_first(id).then_some(Timer::Client)
                }
                Some(conn) if stood_behind(exchange, conn) => Some(Timer::Behind),
                Some(_) => Some(Timer::Response),
            },
            State::Responding if self.waits_for_disk(id) => None,
            State::Responding if self.client_is_slow(id) => Some(Timer::Client),
            State::Responding => Some(Timer::Response),
            State::Uploading if self.waits_for_upload(id) => Some(Timer::Client),
            State::Uploading => Some(Timer::Response),
            State::Tunneling => Some(Timer::Tunnel),
            State::Answered if self.waits_for_disk(id) => None,
            // There is no room for its head: the client does not take the answers before it.
            State::Answered => self.is_first(id).then_some(Timer::Client),
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
