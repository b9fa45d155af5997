//! What was counted of the service, of a pool or of a backend, in one shape: so that each is sampled,
//! kept and shown in the same way.

use crate::mem::time::Micros;
use crate::policy::reason::Reason;

use super::counters::{BackendCounter, Class, Counter, PoolCounter};
use super::histogram::Histogram;
use super::layout::{BackendId, PoolId};
use super::segment::Segment;

const REQUESTS: usize = 0;
const RETRIES: usize = 1;
const FAILING: usize = 2;
const RESPONSES: usize = 3;
const ERRORS: usize = RESPONSES + Class::ALL.len();
const TIMES: usize = ERRORS + Reason::ALL.len();

/// Counts of one thing, since some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally(pub [u64; Tally::LEN]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; Tally::LEN])
    }
}

impl Tally {
    /// How many counts it has.
    pub const LEN: usize = TIMES + Histogram::BUCKETS;

    /// Requests that came, or were sent there.
    pub fn requests(&self) -> u64 {
        self.0[REQUESTS]
    }

    /// Requests that were sent to a further backend.
    pub fn retries(&self) -> u64 {
        self.0[RETRIES]
    }

    /// Responses by class: 1xx to 5xx.
    pub fn responses(&self) -> [u64; 5] {
        Class::ALL.map(|class| self.0[RESPONSES + class as usize])
    }

    /// What failed for one reason.
    pub fn errors(&self, reason: Reason) -> u64 {
        self.0[ERRORS + reason.index()]
    }

    /// The same for each reason.
    pub fn errors_by_reason(&self) -> Vec<(&'static str, u64)> {
        Reason::ALL.map(|reason| (reason.as_str(), self.errors(reason))).to_vec()
    }

    /// What failed for any reason but that the client went away: answers that httplb made itself, tries
    /// and responses that were cut short.
    pub fn errors_total(&self) -> u64 {
        let blamed = Reason::ALL.into_iter().filter(|reason| *reason != Reason::ClientAbort);
        blamed.fold(0, |sum, reason| sum.wrapping_add(self.errors(reason)))
    }

    /// The same, and responses of backends whose status is of the class 5xx.
    pub fn failures(&self) -> u64 {
        self.errors_total().wrapping_add(self.0[FAILING])
    }

    /// How long requests took.
    pub fn times(&self) -> Histogram {
        let mut times = Histogram { buckets: [0; Histogram::BUCKETS], sum: Micros(0) };
        times.buckets.copy_from_slice(&self.0[TIMES..]);
        times
    }
}

impl Segment {
    /// Of the service.
    pub fn tally(&self) -> Tally {
        let total = |counter| self.total(counter);
        let mut tally = Tally::default();
        tally.0[REQUESTS] = total(Counter::Requests);
        tally.0[FAILING] = total(Counter::FailingResponses);
        for class in Class::ALL {
            tally.0[RESPONSES + class as usize] = total(Counter::Responses(class));
        }
        for reason in Reason::ALL {
            tally.0[ERRORS + reason.index()] = total(Counter::Errors(reason));
        }
        tally.0[TIMES..].copy_from_slice(&self.request_duration().buckets);
        tally
    }

    /// Of a pool.
    pub fn pool_tally(&self, pool: PoolId) -> Tally {
        let total = |counter| self.pool_total(pool, counter);
        let mut tally = Tally::default();
        tally.0[REQUESTS] = total(PoolCounter::Requests);
        tally.0[RETRIES] = total(PoolCounter::Retries);
        tally.0[FAILING] = total(PoolCounter::FailingResponses);
        for class in Class::ALL {
            tally.0[RESPONSES + class as usize] = total(PoolCounter::Responses(class));
        }
        for reason in Reason::ALL {
            tally.0[ERRORS + reason.index()] = total(PoolCounter::Errors(reason));
        }
        tally.0[TIMES..].copy_from_slice(&self.pool_duration(pool).buckets);
        tally
    }

    /// Of a backend.
    pub fn backend_tally(&self, slot: BackendId) -> Tally {
        let total = |counter| self.backend_total(slot, counter);
        let mut tally = Tally::default();
        tally.0[REQUESTS] = total(BackendCounter::Requests);
        for class in Class::ALL {
            tally.0[RESPONSES + class as usize] = total(BackendCounter::Responses(class));
        }
        tally.0[FAILING] = total(BackendCounter::Responses(Class::ServerError));
        for reason in Reason::ALL {
            tally.0[ERRORS + reason.index()] = total(BackendCounter::Errors(reason));
        }
        tally.0[TIMES..].copy_from_slice(&self.response_time(slot).buckets);
        tally
    }
}
