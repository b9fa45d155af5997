//! Whether a stored answer is fresh, and what it is good for if it is not: RFC 9111 §4.2, RFC 5861.
//!
//! Times are whole seconds, points in time those since the epoch by the wall clock. That clock may be
//! set; a difference that would be negative is 0 then, but for the age of what was stored.

use crate::http::cache_control::{
    MAX_SECONDS, MaxStale, RequestDirectives, ResponseDirectives, Seconds, delta_seconds,
};
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::date;
use crate::http::fields::list_members;
use crate::http::message::Single;

/// When and how late a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseTiming {
    /// When its head came.
    pub at: u64,
    /// How long after the request that was, by the clock that is never set.
    pub delay: u32,
}

/// Whether an answer may be used when it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// Where the client or the trouble with the backend allows it.
    Allowed,
    /// Never: `must-revalidate`, `proxy-revalidate` or `s-maxage` (RFC 9111 §4.2.4, §5.2.2.10).
    Never,
    /// Not even while it is fresh, without asking the backend: `no-cache`.
    Validate,
}

/// What is kept of an answer's times. It says all that is to be known of how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When it came.
    pub received_at: u64,
    /// How old it was then: `corrected_initial_age`.
    pub initial_age: u32,
    /// Up to what age it is fresh.
    pub lifetime: u32,
    /// How long it may be stale and still answer while it is asked for anew; 0: not at all.
    pub stale_while_revalidate: u32,
    /// How long it may be stale and still answer where a backend fails.
    pub stale_if_error: Option<u32>,
    /// What is allowed once it is stale.
    pub when_stale: WhenStale,
}

/// Where an answer's lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// It says so.
    Explicit,
    /// A tenth of the time that it had not changed before: RFC 9111 §4.2.2.
    Heuristic,
    /// The operator says so, for those that say nothing.
    Configured,
    /// Nothing says anything: it is stale at once.
    None,
}

impl Freshness {
    /// Of a response that just came. `default_ttl` is for 200 alone.
    pub fn of(
        status: u16,
        response_fields: &ResponseCacheFields,
        timing: ResponseTiming,
        default_ttl: u32,
    ) -> (Freshness, Basis) {
        let directives = &response_fields.directives;
        let (lifetime, basis) = match explicit_lifetime(response_fields, timing.at) {
            Some(seconds) => (seconds, Basis::Explicit),
            None => match heuristic_lifetime(status, response_fields, timing.at) {
                Some(seconds) => (seconds, Basis::Heuristic),
                // A stream of events is made anew for each who listens.
                None if status == 200 && default_ttl > 0 && !response_fields.streams => {
                    (default_ttl, Basis::Configured)
                }
                None => (0, Basis::None),
            },
        };
        let freshness = Freshness {
            received_at: timing.at,
            initial_age: initial_age(response_fields, timing),
            lifetime,
            stale_while_revalidate: directives.stale_while_revalidate.given().unwrap_or(0),
            stale_if_error: directives.stale_if_error.given(),
            when_stale: when_stale(directives),
        };
        (freshness, basis)
    }

    /// How old it is: RFC 9111 §4.2.3. What was received in the future came while the clock was wrong:
    /// how long ago that was nobody knows, so it is as old as can be.
    pub fn age(&self, now: u64) -> u32 {
        match now.checked_sub(self.received_at) {
            Some(resident) => (self.initial_age + capped(resident)).min(MAX_SECONDS),
            None => MAX_SECONDS,
        }
    }

    /// For how much longer it is fresh; 0 or below: for how long it has been stale.
    pub fn time_left(&self, now: u64) -> i64 {
        i64::from(self.lifetime) - i64::from(self.age(now))
    }

    /// What may be done with it for a request that fits it.
    pub fn judge(&self, wanted: &RequestDirectives, now: u64) -> ServeDecision {
        let left = self.time_left(now);
        // Who says 0 wants it new, also within the second that it came in: §5.2.1.1.
        let too_old = wanted.max_age.is_some_and(|limit| limit == 0 || self.age(now) > limit);
        let too_short = wanted.min_fresh.is_some_and(|demand| left < i64::from(demand)); // §5.2.1.3
        match self.when_stale {
            WhenStale::Validate => return ServeDecision::Validate,
            WhenStale::Allowed | WhenStale::Never if wanted.no_cache => {
                return ServeDecision::Validate;
            } // §5.2.1.4
            WhenStale::Allowed | WhenStale::Never if too_old || too_short => {
                return ServeDecision::Validate;
            }
            WhenStale::Allowed | WhenStale::Never if left > 0 => return ServeDecision::Fresh,
            WhenStale::Never => return ServeDecision::Validate,
            WhenStale::Allowed => (),
        }
        let is_allowed =
            -left <= i64::from(self.stale_while_revalidate) && self.stale_while_revalidate > 0;
        match wanted.max_stale {
            MaxStale::By(seconds) if -left > i64::from(seconds) => ServeDecision::Validate, // §5.2.1.2
            // Who says how old it may be takes nothing that is stale: §5.2.1.1.
            MaxStale::Unsaid if wanted.max_age.is_some() => ServeDecision::Validate,
            MaxStale::Unsaid | MaxStale::By(_) | MaxStale::Any if is_allowed => {
                ServeDecision::WhileRevalidating
            }
            MaxStale::By(_) | MaxStale::Any => ServeDecision::Stale,
            MaxStale::Unsaid => ServeDecision::Validate,
        }
    }

    /// Whether it may answer after all, for the backend that was to validate it failed.
    ///
    /// A cache that cannot reach the origin may serve what is stale (RFC 9111 §4.2.4), unless the
    /// answer says for how long it may and that is over. In other trouble it must be allowed
    /// (RFC 5861 §4).
    pub fn may_replace(
        &self,
        trouble: OriginFailure,
        wanted: &RequestDirectives,
        now: u64,
    ) -> bool {
        match self.when_stale {
            WhenStale::Validate | WhenStale::Never => return false,
            WhenStale::Allowed if wanted.no_cache => return false,
            WhenStale::Allowed => (),
        }
        match (self.stale_if_error.max(wanted.stale_if_error), trouble) {
            (_, OriginFailure::Status(status)) if !matches!(status, 500 | 502 | 503 | 504) => false,
            (Some(window), _) => -self.time_left(now) <= i64::from(window),
            (None, OriginFailure::Disconnected) => true,
            (None, OriginFailure::Late | OriginFailure::Status(_)) => false,
        }
    }
}

/// What may be done with a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeDecision {
    /// It answers.
    Fresh,
    /// It answers, stale as it is: the client takes that.
    Stale,
    /// It answers at once, and is asked for anew behind that: RFC 5861 §3.
    WhileRevalidating,
    /// The backend is asked first.
    Validate,
}

/// Why a backend gave no answer that is better than a stale one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// It could not be reached, or broke the connection; or none is up.
    Disconnected,
    /// It did not answer in time.
    Late,
    /// It answered with this status.
    Status(u16),
}

/// `s-maxage`, then `max-age`, then `Expires`: RFC 9111 §4.2.1. What cannot be read is over.
fn explicit_lifetime(response_fields: &ResponseCacheFields, received_at: u64) -> Option<u32> {
    for directive in [response_fields.directives.s_maxage, response_fields.directives.max_age] {
        match directive {
            Seconds::Given(seconds) => return Some(seconds),
            Seconds::Invalid => return Some(0),
            Seconds::Absent => (),
        }
    }
    let expires = match response_fields.expires {
        Single::Absent => return None,
        _ if response_fields.targeted => return None, // RFC 9213 §2.2
        Single::Once(value) => date::parse(value, received_at),
        Single::Several => None,
    };
    let Some(expires) = expires else { return Some(0) }; // §5.3
    Some(capped(expires.saturating_sub(date_of(response_fields, received_at))))
}

/// A tenth of the time between the last change and the answer: RFC 9111 §4.2.2.
fn heuristic_lifetime(
    status: u16,
    response_fields: &ResponseCacheFields,
    received_at: u64,
) -> Option<u32> {
    if !is_heuristically_cacheable(status) && !response_fields.directives.public {
        return None;
    }
    let changed = date::parse(response_fields.last_modified.only()?, received_at)?;
    Some(capped(date_of(response_fields, received_at).checked_sub(changed)? / 10))
}

/// Statuses whose answers may be stored though they do not say for how long: RFC 9110 §15.1.
pub fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// `Date`, or when the response came if that is missing or unreadable: RFC 9110 §6.6.1.
pub fn date_of(response_fields: &ResponseCacheFields, received_at: u64) -> u64 {
    let date = response_fields.date.only().and_then(|value| date::parse(value, received_at));
    date.unwrap_or(received_at)
}

/// `corrected_initial_age` of RFC 9111 §4.2.3.
fn initial_age(response_fields: &ResponseCacheFields, timing: ResponseTiming) -> u32 {
    // The first member only, and none at all if that is no number: §5.1.
    let age =
        response_fields.age.and_then(|value| list_members(value).next()).and_then(delta_seconds);
    let apparent = capped(timing.at.saturating_sub(date_of(response_fields, timing.at)));
    let corrected = age.unwrap_or(0) + timing.delay.min(MAX_SECONDS);
    apparent.max(corrected).min(MAX_SECONDS)
}

fn when_stale(directives: &ResponseDirectives) -> WhenStale {
    if directives.no_cache {
        WhenStale::Validate
    } else if directives.must_revalidate
        || directives.proxy_revalidate
        || directives.s_maxage.is_present()
    {
        WhenStale::Never
    } else {
        WhenStale::Allowed
    }
}

fn capped(seconds: u64) -> u32 {
    seconds.min(u64::from(MAX_SECONDS)) as u32
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
