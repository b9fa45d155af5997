//! What becomes of a request whose backend failed it.

use crate::http::method::Method;
use crate::mem::time::Millis;

use super::reason::Reason;

/// Why a backend did not give a whole, valid response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody may be asked: no backend is up, or the pool is empty or unknown.
    NoBackend,
    /// No backend was below its cap in time.
    QueueTimeout,
    /// The connection was refused, or the address could not be reached. Nothing was sent.
    Refused,
    /// The connection did not open in time. Nothing was sent.
    ConnectTimeout,
    /// The connection was closed or reset before a whole response head.
    Terminated,
    /// What came is not HTTP, or framed doubtfully.
    Protocol,
    /// The response head is above the limit.
    HeadTooLarge,
    /// The response is another request's (`policy::identity`).
    IdentityMismatch,
    /// No response head in time.
    ResponseTimeout,
    /// After a whole head: the body was cut short, or took too long.
    Incomplete,
}

impl Failure {
    /// All there are.
    pub const ALL: [Failure; 10] = [
        Failure::NoBackend,
        Failure::QueueTimeout,
        Failure::Refused,
        Failure::ConnectTimeout,
        Failure::Terminated,
        Failure::Protocol,
        Failure::HeadTooLarge,
        Failure::IdentityMismatch,
        Failure::ResponseTimeout,
        Failure::Incomplete,
    ];

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Failure::NoBackend | Failure::QueueTimeout => 503,
            Failure::Refused
            | Failure::Terminated
            | Failure::Protocol
            | Failure::HeadTooLarge
            | Failure::IdentityMismatch
            | Failure::Incomplete => 502,
            Failure::ConnectTimeout | Failure::ResponseTimeout => 504,
        }
    }

    /// The error type in `Proxy-Status`: RFC 9209 §2.3.
    pub const fn error(self) -> &'static str {
        match self {
            Failure::NoBackend => "destination_unavailable",
            Failure::QueueTimeout => "connection_limit_reached",
            Failure::Refused => "connection_refused",
            Failure::ConnectTimeout => "connection_timeout",
            Failure::Terminated => "connection_terminated",
            Failure::Protocol | Failure::IdentityMismatch => "http_protocol_error",
            Failure::HeadTooLarge => "http_response_header_section_size",
            Failure::ResponseTimeout => "http_response_timeout",
            Failure::Incomplete => "http_response_incomplete",
        }
    }

    /// The reason in the log and in the metrics.
    pub const fn reason(self) -> Reason {
        match self {
            Failure::NoBackend => Reason::DestinationUnavailable,
            Failure::QueueTimeout => Reason::ConnectionLimit,
            Failure::Refused => Reason::ConnectionRefused,
            Failure::ConnectTimeout => Reason::ConnectionTimeout,
            Failure::Terminated => Reason::ConnectionTerminated,
            Failure::Protocol => Reason::ProtocolError,
            Failure::HeadTooLarge => Reason::ResponseHeaderTooLarge,
            Failure::IdentityMismatch => Reason::IdentityMismatch,
            Failure::ResponseTimeout => Reason::ResponseTimeout,
            Failure::Incomplete => Reason::ResponseIncomplete,
        }
    }

    /// Whether another backend, or another connection, may do better. Not where a backend answered, if
    /// only nonsense.
    ///
    /// One that took too long goes to another backend once, if it is safe: the backend may hang. It may
    /// also be the request that takes so long, wherever it goes, so each would only load the next backend
    /// as well.
    const fn may_pass(self, context: &RetryContext) -> bool {
        match self {
            Failure::Refused
            | Failure::ConnectTimeout
            | Failure::Terminated
            | Failure::IdentityMismatch => true,
            Failure::ResponseTimeout => {
                is_asked_twice(context.method) && !context.timed_out_before && context.other_is_up
            }
            Failure::NoBackend
            | Failure::QueueTimeout
            | Failure::Protocol
            | Failure::HeadTooLarge
            | Failure::Incomplete => false,
        }
    }

    /// Whether there never was a connection.
    const fn at_connect(self) -> bool {
        matches!(self, Failure::Refused | Failure::ConnectTimeout)
    }
}

/// What the verdict on a failed try depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryContext {
    /// A byte of a response went to the client.
    pub committed: bool,
    /// A byte of the request left for the backend that failed.
    pub sent: bool,
    /// The method is idempotent (RFC 9110 §9.2.2), or the request bears `Idempotency-Key`.
    pub idempotent: bool,
    /// All that was sent to any backend is still held. True while nothing was sent.
    pub replayable: bool,
    /// How many more backends may be tried.
    pub tries_left: u32,
    /// The connection had served before, and no byte of a response came: it was stale.
    pub reused_and_silent: bool,
    /// The [`Budget`] allows one more retry.
    pub budget_left: bool,
    /// Its method: see [`is_asked_twice`].
    pub method: Method,
    /// A try before this one took too long.
    pub timed_out_before: bool,
    /// A backend of the pool is up that was not tried.
    pub other_is_up: bool,
}

impl RetryContext {
    /// Whether it may be sent once more: nothing can have been acted on, or to do so twice is no harm.
    const fn is_harmless(&self) -> bool {
        self.replayable && (self.idempotent || !self.sent)
    }
}

/// What becomes of a request after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent again.
    Retry {
        /// Whether that is a try of the request's, and a retry of the [`Budget`]'s, and the failure
        /// one of the backend's.
        counts: bool,
    },
    /// The client is told so.
    Answer(Failure),
    /// The client has seen a part of the response: its connection closes short.
    Truncate,
}

/// What becomes of a request whose try failed.
///
/// A request that may have been acted on is sent again only if its method is idempotent, and never once the
/// client has seen a byte of the response. A backend may close a connection that it had kept at the very moment
/// when it is used again: that was no try.
pub fn verdict(failure: Failure, context: RetryContext) -> Verdict {
    if context.committed {
        return Verdict::Truncate;
    }
    let harmless = context.is_harmless() || failure.at_connect() && context.replayable;
    let stale = failure == Failure::Terminated && context.reused_and_silent;
    let allowed = stale || (context.tries_left > 0 && context.budget_left);
    if failure.may_pass(&context) && harmless && allowed {
        Verdict::Retry { counts: !stale }
    } else {
        Verdict::Answer(failure)
    }
}

/// Whether a request is sent to another backend after one that took too long: if it asks for nothing but a
/// response.
pub const fn is_asked_twice(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}

/// Whether a request leaves a backend that has gone down, from which no byte of a response came, for
/// another one: *evacuation*.
///
/// That is one of its tries. It is none of the [`Budget`]'s: so many there are at most as the backend had
/// in work, and to leave them there would be to let them fail.
pub const fn evacuates(context: &RetryContext) -> bool {
    !context.committed && context.is_harmless() && context.tries_left > 0
}

/// Over how many seconds requests and retries are weighed against each other.
const WINDOW: usize = 10;

/// Retries a second that are free, over all workers.
const FREE_A_SECOND: u64 = 10;

/// Requests for which there may be one retry more: 20 %.
const REQUESTS_A_RETRY: u64 = 5;

/// Keeps retries from doubling the load of backends that fail because of it: within the last 10 s, at
/// most one for five requests, and ten a second.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    seconds: [Second; WINDOW],
    /// The second that is counted now; it lies at this index modulo [`WINDOW`].
    newest: u64,
    /// Retries that are free within the window.
    free: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    requests: u32,
    retries: u32,
}

impl Budget {
    /// With nothing counted: the budget of one of so many workers. Their free retries add up to
    /// those of one.
    pub fn share(worker: usize, workers: usize) -> Budget {
        assert!(worker < workers);
        let (worker, workers) = (worker as u64, workers as u64);
        let all = FREE_A_SECOND * WINDOW as u64;
        let free = all / workers + u64::from(worker < all % workers);
        Budget { seconds: [Second::default(); WINDOW], newest: 0, free }
    }

    /// A client's request came.
    pub fn request(&mut self, now: Millis) {
        let second = self.second(now);
        second.requests = second.requests.saturating_add(1);
    }

    /// Whether one more retry is allowed.
    pub fn allows(&mut self, now: Millis) -> bool {
        self.second(now);
        let requests: u64 = self.seconds.iter().map(|second| u64::from(second.requests)).sum();
        let retries: u64 = self.seconds.iter().map(|second| u64::from(second.retries)).sum();
        retries < requests / REQUESTS_A_RETRY + self.free
    }

    /// Counts one more retry, if it is allowed.
    pub fn try_retry(&mut self, now: Millis) -> bool {
        let allowed = self.allows(now);
        if allowed {
            self.second(now).retries += 1;
        }
        allowed
    }

    /// The second of `now`, after those that have fallen out of the window were emptied. A clock that
    /// stepped back goes on with the newest.
    fn second(&mut self, now: Millis) -> &mut Second {
        let Millis(millis) = now;
        let current = (millis / 1000).max(self.newest);
        let passed = current - self.newest;
        for later in 1..=passed.min(WINDOW as u64) {
            self.seconds[((self.newest + later) % WINDOW as u64) as usize] = Second::default();
        }
        self.newest = current;
        &mut self.seconds[(current % WINDOW as u64) as usize]
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
