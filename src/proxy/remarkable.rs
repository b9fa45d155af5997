//! Keeps the requests that failed, and the slowest, where the control process finds them: see
//! `shared/diary.rs`. One that was served as usual costs a comparison.

use crate::mem::time::elapsed;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;
use crate::shared::diary::Diary;

use super::Proxy;
use super::access_log::{self, Extract};
use super::diary::DiaryWriter;
use super::exchange::Exchange;
use crate::proxy::ids::ExchangeId;

/// Bytes that are kept of each value that a client sent: fewer where a line would be too long.
const MOST: [usize; 2] = [200, 20];

/// What is wrong with an exchange that is over.
fn is_failure(exchange: &Exchange) -> bool {
    match exchange.reason() {
        Some(reason) => reason != Reason::ClientAbort,
        None => exchange.status >= 500 || !exchange.attempts.is_empty(),
    }
}

impl Proxy {
    /// Sets where failures and slow requests are kept; before, they are not.
    pub fn keep_diary(&mut self, diary: Diary) {
        self.diary = DiaryWriter::new(diary);
    }

    /// Looks how long a request must take to be one of the slowest.
    pub(super) fn refresh_diary(&mut self) {
        self.diary.slow_from = self.diary.diary.slow_from(self.turn.now);
    }

    /// Notes what a backend has sent that is no response for this exchange.
    pub(super) fn note_answer(&mut self, id: ExchangeId, failure: Failure) {
        let is_malformed = match failure {
            Failure::Protocol | Failure::HeadTooLarge | Failure::IdentityMismatch => true,
            Failure::NoBackend
            | Failure::QueueTimeout
            | Failure::Refused
            | Failure::ConnectTimeout
            | Failure::Terminated
            | Failure::ResponseTimeout
            | Failure::Incomplete => false,
        };
        let Some(conn) = self.exchanges[id].conn.filter(|_| is_malformed) else { return };
        let slices = self.upstream[conn].conn.input.slices();
        self.diary.note_answer(id, slices.into_iter().flatten());
    }

    /// Keeps an exchange that is over, if it failed or took long.
    pub(super) fn keep_if_remarkable(&mut self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        let now = self.turn.now;
        let took = elapsed(exchange.times.taken_in, now);
        // A tunnel is as long as its user wants.
        let is_slow = took > self.diary.slow_from && exchange.status != 101;
        let is_failure = is_failure(exchange);
        if !is_slow && !is_failure {
            return;
        }
        if is_failure && self.diary.may_keep(now) && self.write_entry(id, true) {
            self.diary.diary.add_failure(&self.diary.line);
        }
        if is_slow && self.write_entry(id, false) {
            self.diary.slow_from = self.diary.diary.add_slow(took, now, &self.diary.line);
        }
    }

    /// Writes what is known of an exchange into the line, if there is room for it.
    fn write_entry(&mut self, id: ExchangeId, as_failure: bool) -> bool {
        let exchange = &self.exchanges[id];
        let client = &self.downstream[exchange.client];
        let around = (&self.upstream[exchange.pool], self.upstream.backends());
        let passed = exchange.reason().is_none() && exchange.status >= 500;
        let succeeded = exchange.reason().is_none() && !passed;
        let attempt = exchange.attempts.iter().last().filter(|_| as_failure && succeeded).copied();
        let mut line = std::mem::take(&mut self.diary.line);
        let capacity = self.diary.diary.capacity();
        let mut fits = false;
        for most in MOST {
            line.clear();
            let extract = Extract::of(attempt, most);
            access_log::write_members(&mut line, exchange, client, around, self.turn.now, extract);
            if passed {
                access_log::text(&mut line, "reason", b"response_5xx");
            }
            access_log::text(&mut line, "answer", self.diary.answer(id));
            line.push(b'}');
            fits = line.len() <= capacity;
            if fits {
                break;
            }
        }
        self.diary.line = line;
        fits
    }
}
