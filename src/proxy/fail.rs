//! What becomes of an exchange that went wrong: carries out `policy/retry`'s verdict.

use crate::mem::time::{Micros, elapsed};
use crate::policy::health::{Fault, HealthEvent};
use crate::policy::reason::Reason;
use crate::policy::retry::{self, Failure, RetryContext, Verdict};
use crate::shared::{BackendCounter, BackendId, PoolCounter};

use super::Proxy;
use super::caching::Caching;
use super::exchange::{Attempt, DispatchMode, LocalReply, Response, State};
use crate::proxy::ids::ExchangeId;

impl Proxy {
    /// The attempt failed: another, an answer of our own, or a cut.
    pub(super) fn fail(&mut self, id: ExchangeId, failure: Failure) {
        self.dequeue_waiter(id);
        self.note_answer(id, failure);
        let held = self.fail_doubt(id);
        let exchange = &self.exchanges[id];
        let heard = exchange.conn.is_some_and(|conn| self.upstream[conn].heard);
        let stale = exchange.carrier.is_reused() && !heard && failure == Failure::Terminated;
        let backend = exchange.choice;
        // A backend that never got the body owes no answer: clients must not take it out so.
        let counts = failure != Failure::ResponseTimeout || !exchange.waits_for_leave();
        if let Some(conn) = exchange.conn.filter(|_| stale) {
            self.upstream.learn_of_stale(conn, exchange.carrier, &mut self.turn);
        }
        if self.leaves_conn(id, failure) {
            return;
        }
        let begun = self.exchanges[id].times.chosen;
        let was_reset = self.exchanges[id].conn.is_some_and(|conn| self.upstream[conn].was_reset());
        self.detach(id);
        if let Some(backend) = backend.filter(|_| counts && !stale) {
            self.count_failure(backend, failure, was_reset, begun);
        }
        if let Some(held) = held {
            return self.deliver_instead(id, held, failure);
        }
        self.release_choice(id);
        match self.verdict(id, backend, failure, stale) {
            Verdict::Retry { counts } => self.retry(id, backend, failure, counts),
            Verdict::Answer(failure) if self.serve_stale_instead(id, failure) => (),
            Verdict::Answer(failure) => self.answer_instead(id, LocalReply::from_failure(failure)),
            Verdict::Truncate => self.truncate(id, Reason::ResponseIncomplete),
        }
    }

    fn verdict(
        &mut self,
        id: ExchangeId,
        backend: Option<BackendId>,
        failure: Failure,
        stale: bool,
    ) -> Verdict {
        let pool = self.exchanges[id].pool;
        // A mark that another process has made since counts.
        self.upstream.refresh(pool, &mut self.turn);
        let mut context = self.retry_context(id, backend);
        context.reused_and_silent = stale;
        let verdict = retry::verdict(failure, context);
        if verdict == (Verdict::Retry { counts: true }) {
            self.upstream[pool].budget.try_retry(self.turn.now.millis());
            self.row.pool(pool).add(PoolCounter::Retries, 1);
        }
        verdict
    }

    /// What it depends on whether an exchange leaves this backend for another one.
    pub(super) fn retry_context(
        &mut self,
        id: ExchangeId,
        backend: Option<BackendId>,
    ) -> RetryContext {
        let exchange = &self.exchanges[id];
        let pool = &mut self.upstream[exchange.pool];
        let is_other = |slot: u32| Some(slot) != backend.map(|backend| backend.id());
        let mut others = pool.members.list().iter().filter(|member| is_other(member.id));
        let mut attempts = exchange.attempts.iter();
        RetryContext {
            committed: exchange.is_committed(),
            sent: exchange.sent,
            idempotent: exchange.request.idempotent,
            replayable: exchange.upload.is_replayable(),
            tries_left: pool.retries.saturating_sub(exchange.tries),
            reused_and_silent: false,
            other_is_up: others.any(|other| other.up && !exchange.tried.contains(other.id)),
            timed_out_before: attempts.any(|one| one.failure == Failure::ResponseTimeout),
            method: exchange.request.method,
            budget_left: pool.budget.allows(self.turn.now.millis()),
        }
    }

    /// Notes that an exchange was at this backend in vain.
    pub(super) fn note_attempt(&mut self, id: ExchangeId, backend: BackendId, failure: Failure) {
        let exchange = &mut self.exchanges[id];
        exchange.tried.add(backend.id());
        exchange.tries += 1;
        exchange.attempts.add(Attempt {
            backend,
            failure,
            took: elapsed(exchange.times.chosen, self.turn.now),
        });
    }

    /// Back to Waiting, for another backend if there is one.
    fn retry(
        &mut self,
        id: ExchangeId,
        backend: Option<BackendId>,
        failure: Failure,
        counts: bool,
    ) {
        if let Some(backend) = backend.filter(|_| counts) {
            self.note_attempt(id, backend, failure);
        }
        let exchange = &mut self.exchanges[id];
        exchange.wants_new |= !counts;
        exchange.dispatch_mode = match exchange.dispatch_mode {
            DispatchMode::Speculative | DispatchMode::Exclusive => DispatchMode::Exclusive,
            DispatchMode::InOrder => DispatchMode::InOrder,
        };
        exchange.answer = Response::Pending;
        exchange.hint = None;
        exchange.sent = false;
        exchange.upload.restart();
        exchange.enter(State::Waiting);
    }

    /// The exchange gets an answer of our own instead of a backend's.
    pub(super) fn answer_instead(&mut self, id: ExchangeId, answer: LocalReply) {
        if self.exchanges[id].is_committed() {
            return self.truncate(id, answer.reason);
        }
        self.dequeue_waiter(id);
        self.detach(id);
        self.release_choice(id);
        self.with_cache(id, Caching::on_local_reply);
        if answer.close {
            self.close_behind(id);
        }
        let exchange = &mut self.exchanges[id];
        exchange.answer = Response::Local(answer);
        exchange.enter(State::Answered);
    }

    /// The client has seen a part of the answer and will not see the rest: its connection closes
    /// short, so that what it has cannot look whole.
    pub(super) fn truncate(&mut self, id: ExchangeId, reason: Reason) {
        match self.exchanges[id].state() {
            State::Done => return,
            State::Uploading => return self.cut_upload(id, reason),
            State::Waiting
            | State::Connecting
            | State::Sending
            | State::Awaiting
            | State::Answered
            | State::Responding
            | State::Tunneling => (),
        }
        self.detach(id);
        self.with_cache(id, Caching::on_cut);
        self.cut_short(id, reason);
        let exchange = &mut self.exchanges[id];
        exchange.bytes_out += exchange.download.payload();
        exchange.enter(State::Done);
    }

    /// Takes the exchange off its backend connection, which closes: what it still carries is
    /// nobody's. Others that share it start anew.
    pub(super) fn detach(&mut self, id: ExchangeId) {
        self.exchanges[id].upload.release(&mut self.buffers);
        self.exchanges[id].download.release(&mut self.buffers);
        let Some(conn) = self.exchanges[id].conn.take() else { return };
        if self.leave_multiplexed(id, conn) {
            return;
        }
        self.upstream.take_off(conn, id);
        self.close_used_conn(conn, DispatchMode::Exclusive);
    }

    /// The backend does not give the rest of its answer.
    pub(super) fn cut_by_backend(&mut self, id: ExchangeId) {
        if let Some(slot) = self.exchanges[id].choice {
            let begun = self.exchanges[id].times.chosen;
            self.count_failure(slot, Failure::Incomplete, false, begun);
        }
        self.truncate(id, Reason::ResponseIncomplete);
    }

    /// Counts a failure of a backend, and notes it where it says something of the backend's health.
    /// As long as it is claimed: then its slot can be no other's.
    fn count_failure(
        &mut self,
        backend: BackendId,
        failure: Failure,
        was_reset: bool,
        begun: Micros,
    ) {
        self.row.backend(backend).add(BackendCounter::Errors(failure.reason()), 1);
        let fault = match failure {
            Failure::Refused => Fault::Refused,
            Failure::ConnectTimeout => Fault::ConnectTimedOut,
            Failure::ResponseTimeout => Fault::ResponseTimedOut,
            Failure::Terminated if was_reset => Fault::Reset,
            Failure::Terminated => Fault::Closed,
            Failure::Protocol => Fault::Malformed,
            Failure::HeadTooLarge => Fault::TooLong,
            Failure::Incomplete => Fault::Cut,
            Failure::IdentityMismatch => return self.tell_of_mismatch(backend),
            Failure::NoBackend | Failure::QueueTimeout => return,
        };
        self.upstream.observe(backend, HealthEvent::Failed(fault), begun, &mut self.turn);
    }
}
