//! Responses that may be another request's, by what `policy/identity` says of them.
//!
//! A request that may be repeated is asked again at the same backend over a fresh connection, where
//! nothing can be mixed up; until that answers, what is not proved to be another's is held (see `held`).
//! For any other, the response in doubt is held where it is, at the front of the
//! connection's ring, and the connection is read on for a while. A response that was proved to be
//! another's is stepped over; where it was for the same, from the same client, it is held likewise.

use crate::http::body::Body;
use crate::http::following::{self, Following};
use crate::http::scan::HeadScan;
use crate::mem::time::elapsed;
use crate::policy::identity::{self, Doubt, Identity, Observed, Outcome, RequestDigest};
use crate::policy::retry::Failure;
use crate::policy::siphash::SipHasher;
use crate::policy::sticky::Key;
use crate::shared::{BackendCounter, BackendId};
use crate::sys::log::{self, Level};

use super::Proxy;
use super::doubted::{Doubted, FinalHead, HeldResponse, Verified};
use super::exchange::{Attempt, DispatchMode, Exchange, Request, Response, State};
use crate::proxy::ids::{BackendConnId, ExchangeId};
use crate::proxy::step::Progress;

/// A keyed hash of the client and what it asks for, in a request that may not be asked again.
pub(super) fn digest_of(exchange: &Exchange, key: &Key) -> RequestDigest {
    let Request { spans, pipelinable, .. } = exchange.request;
    if pipelinable {
        return RequestDigest::UNKNOWN;
    }
    let mut hash = SipHasher::new_64(key.bytes());
    hash.write(&exchange.client.pack().to_be_bytes());
    for span in [spans.method, spans.target, spans.host] {
        hash.write(&exchange.head[span]);
        hash.write(b" ");
    }
    RequestDigest(hash.finish_64())
}

impl Proxy {
    /// Whether the final response whose head was read is the one to this request. Fails where the right
    /// identifier is required and the response has it not.
    pub(super) fn verify(
        &mut self,
        id: ExchangeId,
        observed: Observed,
        last: &FinalHead,
    ) -> Result<Verified, Failure> {
        let slot = self.upstream[self.backend_conn(id)].backend;
        match self.exchanges[id].doubted {
            Doubted::Unfounded => return Ok(Verified::Deliverable),
            Doubted::AskedAgain { doubt, slot: asked, .. } if asked == slot && observed.fresh => {
                let outcome = self.upstream[slot].echo.resolve(doubt, observed);
                self.resolve_doubt(id, outcome);
                return Ok(Verified::Deliverable);
            }
            Doubted::AskedAgain { .. } => self.give_up_doubt(id),
            Doubted::Not | Doubted::Held { .. } => (),
        }
        match self.upstream[slot].echo.judge(self.settings.request_id, observed) {
            Identity::Match => Ok(Verified::Deliverable),
            Identity::Mismatch => Err(Failure::IdentityMismatch),
            Identity::Doubt(doubt) if self.may_ask_again(id, doubt) => {
                self.ask_again(id, doubt, last);
                Ok(Verified::AskedAgain)
            }
            Identity::Doubt(Doubt::Proof) if !self.may_be_own(id, last) => {
                self.drop_response(id, last)
            }
            Identity::Doubt(Doubt::Proof) => Ok(self.hold_response(id, last)),
            Identity::Doubt(Doubt::Suspect) => Ok(self.hold_response(id, last)),
        }
    }

    /// Whether the request may be sent again: it is idempotent, and all that was sent of it is still there.
    /// A connection that is bound to its client has a user who is logged in, and a fresh one has none. There
    /// the request is sent again only on proof, when the right response will hardly come any more: the client
    /// then logs in anew, as after the end of a connection.
    fn may_ask_again(&self, id: ExchangeId, doubt: Doubt) -> bool {
        let exchange = &self.exchanges[id];
        let is_bound = self.upstream[self.backend_conn(id)].is_bound;
        let may_change = !is_bound || doubt == Doubt::Proof;
        may_change && exchange.request.idempotent && exchange.upload.is_replayable()
    }

    /// Asks the same backend once more, over a fresh connection.
    fn ask_again(&mut self, id: ExchangeId, doubt: Doubt, last: &FinalHead) {
        let slot = self.upstream[self.backend_conn(id)].backend;
        let held = match doubt {
            Doubt::Suspect => self.set_aside(id, last),
            Doubt::Proof => None,
        };
        self.detach(id);
        let exchange = &mut self.exchanges[id];
        let took = elapsed(exchange.times.chosen, self.turn.now);
        exchange.doubted = Doubted::AskedAgain { doubt, slot, took, held };
        exchange.wants_new = true;
        exchange.dispatch_mode = match exchange.dispatch_mode {
            DispatchMode::Speculative | DispatchMode::Exclusive => DispatchMode::Exclusive,
            DispatchMode::InOrder => DispatchMode::InOrder,
        };
        exchange.answer = Response::Pending;
        exchange.sent = false;
        exchange.upload.restart();
        exchange.enter(State::Waiting);
    }

    /// Whether a response with the identifier of an earlier request may be the response to this one all the
    /// same: if the earlier request came from the same client and asked for the same.
    ///
    /// A server may store a response and send it again with the identifier of the first time. If that response
    /// were dropped, a request that was carried out would end in an error. So the response is held, as one in
    /// doubt is, for as long as the right one would be expected to take, and then delivered: the client sees
    /// nothing but what it was given before for the same request. A response to another client, or to another
    /// request, is never delivered, whatever follows. Only the right response can help then, and it may take as
    /// long as any other.
    fn may_be_own(&self, id: ExchangeId, last: &FinalHead) -> bool {
        let own = digest_of(&self.exchanges[id], &self.settings.sticky_key);
        own.is_that_of(last.digest_by_id)
    }

    /// Steps over another request's response; the right one is awaited like any other.
    fn drop_response(&mut self, id: ExchangeId, last: &FinalHead) -> Result<Verified, Failure> {
        let body = last.body_by_id;
        if matches!(body, Body::UntilClose) {
            return Err(Failure::IdentityMismatch); // Nothing can follow it.
        }
        let conn = self.backend_conn(id);
        let backend = &mut self.upstream[conn];
        backend.conn.input.consume(last.head.len());
        backend.dropped = body;
        backend.responses += 1;
        backend.scan = HeadScan::response();
        let slot = backend.backend;
        self.count_doubt(slot, Outcome::Proved);
        Ok(Verified::Dropped)
    }

    /// Steps over what has come of the body of a dropped response.
    pub(super) fn step_over_dropped(&mut self, conn: BackendConnId) -> Result<(), Failure> {
        let backend = &mut self.upstream[conn];
        let input = &mut backend.conn.input;
        if backend.dropped.is_done() || input.is_empty() {
            return Ok(());
        }
        let used = backend.dropped.step_over(input.flatten()).map_err(|_| Failure::Protocol)?;
        input.consume(used);
        if backend.dropped.is_done() && backend.demands_id() {
            backend.expect_response(self.turn.now); // What was heard so far was not for the front.
        }
        Ok(())
    }

    /// Leaves a response in doubt at the front of its connection's ring, for as long as the right one may
    /// follow it. A response that ends with its connection can have none behind it, and is delivered at once.
    fn hold_response(&mut self, id: ExchangeId, last: &FinalHead) -> Verified {
        let slot = self.upstream[self.backend_conn(id)].backend;
        let usual = self.upstream[slot].pace.usual();
        let until = self.turn.now + identity::read_on_for(usual);
        let held = Doubted::Held { head: last.head.len(), body: last.body, until };
        self.exchanges[id].doubted = held;
        if matches!(last.body, Body::UntilClose) {
            self.deliver_held(id);
            return Verified::Deliverable;
        }
        Verified::Held
    }

    /// Looks for the right response behind one that is held. Progress is that one of the two is found to be
    /// the response to the request.
    pub(super) fn read_on(&mut self, id: ExchangeId) -> Progress {
        let conn = self.backend_conn(id);
        let Doubted::Held { head, body, until } = self.exchanges[id].doubted else {
            return Progress::None;
        };
        let exchange = &self.exchanges[id];
        let backend = &mut self.upstream[conn];
        while matches!(backend.conn.fill(&mut self.buffers.rings), Ok(1..)) {}
        let max_fields = self.settings.max_response_fields();
        let bytes = &backend.conn.input.flatten()[head..];
        let (method, own) = (exchange.request.method, exchange.id());
        let found =
            following::find(bytes, body, method, max_fields, |head| head.request_id == Some(own));
        let no_more = backend.conn.is_ended() || backend.conn.input.is_full();
        match found {
            Following::Right(at) => {
                backend.conn.input.consume(head + at);
                backend.responses += 1;
                backend.scan = HeadScan::response();
                let slot = backend.backend;
                self.exchanges[id].doubted = Doubted::Not;
                self.count_doubt(slot, Outcome::Proved);
                Progress::Made
            }
            Following::NotYet if self.turn.now < until && !no_more => Progress::None,
            Following::NotYet | Following::Nothing => {
                backend.scan = HeadScan::response();
                self.deliver_held(id);
                Progress::Made
            }
        }
    }

    /// Delivers the response that is held, as no better one came: the backend does not echo identifiers always.
    fn deliver_held(&mut self, id: ExchangeId) {
        let slot = self.upstream[self.backend_conn(id)].backend;
        self.exchanges[id].doubted = Doubted::Unfounded;
        self.upstream[slot].echo.unfounded();
        self.count_doubt(slot, Outcome::Unfounded);
    }

    /// Ends a doubt: the second response has come, or there will be none. A response that was dropped on proof
    /// stays dropped.
    fn resolve_doubt(&mut self, id: ExchangeId, outcome: Outcome) {
        self.let_held_go(id);
        let exchange = &mut self.exchanges[id];
        let Doubted::AskedAgain { slot, took, .. } = exchange.doubted else { return };
        exchange.doubted = Doubted::Not;
        if outcome == Outcome::Proved {
            let failure = Failure::IdentityMismatch;
            exchange.attempts.add(Attempt { backend: slot, failure, took });
        }
        self.count_doubt(slot, outcome);
    }

    /// An attempt failed. If it was to give the second answer, a doubt without proof counts as unfounded,
    /// and what is held is the answer: a backend may take no new connections while it serves those it has.
    pub(super) fn fail_doubt(&mut self, id: ExchangeId) -> Option<HeldResponse> {
        let exchange = &self.exchanges[id];
        if let Doubted::AskedAgain { doubt: Doubt::Suspect, slot, .. } = exchange.doubted
            && exchange.choice == Some(slot)
        {
            let held = self.take_answer_held(id);
            self.upstream[slot].echo.unfounded();
            self.resolve_doubt(id, Outcome::Unfounded);
            return held;
        }
        self.give_up_doubt(id);
        None
    }

    /// Ends a doubt for which no second response will come over a fresh connection to the same backend.
    pub(super) fn give_up_doubt(&mut self, id: ExchangeId) {
        match self.exchanges[id].doubted {
            Doubted::AskedAgain { doubt: Doubt::Proof, .. } => {
                self.resolve_doubt(id, Outcome::Proved);
            }
            Doubted::AskedAgain { doubt: Doubt::Suspect, .. } => {
                self.let_held_go(id);
                self.exchanges[id].doubted = Doubted::Not;
            }
            Doubted::Not | Doubted::Held { .. } | Doubted::Unfounded => (),
        }
    }

    fn count_doubt(&mut self, slot: BackendId, outcome: Outcome) {
        self.row.backend(slot).add(BackendCounter::Doubts(outcome), 1);
        match outcome {
            Outcome::Proved => self.tell_of_mismatch(slot),
            Outcome::Unfounded => (),
        }
    }

    /// Counts a response that was another request's, and tells the operator, not too often.
    pub(super) fn tell_of_mismatch(&mut self, slot: BackendId) {
        self.row.backend(slot).add(BackendCounter::Mismatches, 1);
        let backend = &mut self.upstream[slot];
        let Some(count) = backend.telling.add(self.turn.now.millis()) else { return };
        let name = &backend.name;
        let text = "answered another request than the one it was asked (X-Request-ID differs); the response \
                    was discarded";
        match count {
            1 => log::write(Level::Warning, format_args!("backend {name} {text}")),
            _ => log::write(
                Level::Warning,
                format_args!("backend {name} {text} ({count} times since the last such message)"),
            ),
        }
    }
}
