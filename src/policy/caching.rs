//! What the cache does with a request: one decision, which the data plane carries out and explanations
//! put into words.
//!
//! First [`concerns`], of the request alone. Then what is stored is looked for: [`Asking::without`] if
//! nothing fits, else [`decide`].

use crate::http::Method;
use crate::http::cache_control::RequestDirectives;
use crate::http::cache_fields::RequestCacheFields;
use crate::http::cache_status::{CacheStatus, FwdReason};
use crate::http::message::Framing;

use super::conditional::{self, ConditionalOutcome, MissingRange, Stored};
use super::freshness::{Freshness, OriginFailure, ServeDecision, WhenStale};
use super::storable;

/// A stored response that fits a request.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What the client's conditions are judged by.
    pub stored: Stored<'a>,
    /// How long it is good.
    pub freshness: Freshness,
    /// Whether a backend can be asked if it is still right: it has `ETag` or `Last-Modified`.
    pub has_validator: bool,
    /// Whether its head can be sent: one that is longer than a ring cannot.
    pub is_sendable: bool,
}

/// What becomes of a request that the cache has a part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The stored response answers the request, and no backend is asked for that.
    Serve {
        /// What of the response is sent.
        reply: ConditionalOutcome,
        /// Seconds for which it is still fresh; below 0: since when it is stale.
        ttl: i64,
        /// Whether the response is fresh.
        serving: Serving,
    },
    /// A backend is asked, if anybody may be.
    Ask(Asking),
}

/// Whether a stored response that answers a request is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The response is fresh.
    Fresh,
    /// The response is stale, and answers all the same.
    Stale,
    /// The response is stale, answers all the same, and is revalidated in the background: RFC 5861 §3.
    WhileRevalidating,
}

/// A request that no stored response answers as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Why.
    pub why: FwdReason,
    /// Which requests may have what a backend answers.
    pub sharing: Sharing,
    /// What becomes of the stored response that cannot answer as it is.
    pub stored: Meanwhile,
}

/// Which requests may have the response to one that goes to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The client says that no backend is to be asked: RFC 9111 §5.2.1.7. It gets a 504.
    Forbidden,
    /// This request alone, as far as is known.
    Own,
    /// All requests for the same key.
    Common,
}

/// What becomes of a stored response while a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// There is none, or it is of no use.
    Nothing,
    /// The stored response is the beginning of the answer: the backend is asked for what is missing.
    Part(MissingRange),
    /// The stored response is kept, for the backend may fail.
    Kept {
        /// The backend is asked if it is still right.
        validates: bool,
        /// The stored response answers if no backend can be reached.
        stands_in: bool,
    },
}

/// Whether the cache has a part in a request; if not, why.
pub fn concerns(method: Method, framing: Framing, may_switch: bool) -> Result<(), FwdReason> {
    if !matches!(method, Method::Get | Method::Head) {
        return Err(FwdReason::Method);
    }
    if framing != Framing::None || may_switch { Err(FwdReason::Bypass) } else { Ok(()) }
}

impl Asking {
    /// For a request that nothing fits which is stored; `why` says in what.
    pub fn without(method: Method, request_fields: &RequestCacheFields, why: FwdReason) -> Asking {
        Asking { why, sharing: sharing(method, request_fields), stored: Meanwhile::Nothing }
    }
}

impl Decision {
    /// What is told of it before a backend has answered.
    pub fn status(&self) -> CacheStatus {
        match *self {
            Decision::Serve { ttl, .. } => CacheStatus::Hit { ttl },
            Decision::Ask(Asking { sharing: Sharing::Forbidden, .. }) => CacheStatus::OnlyIfCached,
            Decision::Ask(Asking { why, sharing: Sharing::Own | Sharing::Common, .. }) => {
                CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false }
            }
        }
    }
}

/// What becomes of a request that a stored response fits: RFC 9111 §4. `now` is in seconds since the
/// epoch.
pub fn decide(
    method: Method,
    request_fields: &RequestCacheFields,
    candidate: &Candidate,
    now: u64,
) -> Decision {
    let Candidate { stored, freshness, has_validator, is_sendable } = candidate;
    let reply = conditional::reply(method, request_fields, stored, now);
    if reply == ConditionalOutcome::Forward || !is_sendable {
        return Decision::Ask(forwarding(method, request_fields, candidate, now));
    }
    let wanted = &request_fields.directives;
    let serve = |serving| Decision::Serve { reply, ttl: freshness.time_left(now), serving };
    match freshness.judge(wanted, now) {
        ServeDecision::Fresh => serve(Serving::Fresh),
        ServeDecision::WhileRevalidating if may_refresh(method, wanted) => {
            serve(Serving::WhileRevalidating)
        }
        ServeDecision::WhileRevalidating | ServeDecision::Stale => serve(Serving::Stale),
        ServeDecision::Validate => {
            let always = freshness.when_stale == WhenStale::Validate;
            let is_stale = freshness.time_left(now) <= 0 || always;
            let why = if is_stale { FwdReason::Stale } else { FwdReason::Request };
            // What is confirmed each time anew is of no use to those who wait.
            let is_of_use = freshness.lifetime > freshness.initial_age && !always;
            let sharing = match sharing(method, request_fields) {
                Sharing::Common if !is_of_use || why == FwdReason::Request => Sharing::Own,
                sharing => sharing,
            };
            let stored = Meanwhile::Kept {
                validates: method == Method::Get && *has_validator,
                stands_in: freshness.may_replace(OriginFailure::Disconnected, wanted, now),
            };
            Decision::Ask(Asking { why, sharing, stored })
        }
    }
}

/// What becomes of a request that a stored response fits and cannot answer.
fn forwarding(
    method: Method,
    request_fields: &RequestCacheFields,
    candidate: &Candidate,
    now: u64,
) -> Asking {
    if request_fields.for_origin || !candidate.is_sendable {
        let (sharing, stored) = (alone(request_fields), Meanwhile::Nothing);
        return Asking { why: FwdReason::Bypass, sharing, stored };
    }
    let rest = conditional::rest(method, request_fields, &candidate.stored, now);
    Asking {
        why: FwdReason::Partial,
        sharing: sharing(method, request_fields),
        stored: rest.map_or(Meanwhile::Nothing, Meanwhile::Part),
    }
}

/// Whether a request may be sent once more behind a stale answer to it. What answers HEAD cannot be
/// stored, nor what answers `no-store`; and `only-if-cached` would go along, so that a cache behind us
/// answered by a 504.
fn may_refresh(method: Method, wanted: &RequestDirectives) -> bool {
    method == Method::Get && !wanted.no_store && !wanted.only_if_cached
}

fn sharing(method: Method, request_fields: &RequestCacheFields) -> Sharing {
    // What was asked for before is not good enough for one who wants it new.
    let wants_new =
        request_fields.directives.no_cache || request_fields.directives.max_age == Some(0);
    let is_common = storable::is_for_all(request_fields) && !wants_new;
    match alone(request_fields) {
        Sharing::Own if method == Method::Get && is_common => Sharing::Common,
        sharing => sharing,
    }
}

fn alone(request_fields: &RequestCacheFields) -> Sharing {
    if request_fields.directives.only_if_cached { Sharing::Forbidden } else { Sharing::Own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cache_fields::ResponseCacheFields;
    use crate::http::{request, response};
    use crate::policy::freshness::ResponseTiming;

    const NOW: u64 = 1_700_000_000;

    fn decision(method: Method, stored: &str, request: &str) -> Decision {
        let (text, age) = stored.split_once(" @").unwrap_or((stored, "0"));
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(text));
        let head = response::parse(text.as_bytes()).expect("valid");
        let response_fields = ResponseCacheFields::new(head.fields);
        let (freshness, _) =
            Freshness::of(200, &response_fields, ResponseTiming { at: NOW, delay: 0 }, 0);
        let stored = Stored::of(200, &response_fields, 10, NOW);
        let has_validator = !stored.etag.is_empty();
        let candidate = Candidate { stored, freshness, has_validator, is_sendable: true };
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(request));
        let head = request::parse(text.as_bytes()).expect("valid");
        let request_fields = RequestCacheFields::new(head.fields, b"a");
        decide(method, &request_fields, &candidate, NOW + age.parse::<u64>().expect("seconds"))
    }

    fn lines(fields: &str) -> String {
        let lines = fields.split(" | ").filter(|line| !line.is_empty());
        lines.map(|line| format!("{line}\r\n")).collect()
    }

    fn asking(why: FwdReason, sharing: Sharing, validates: bool, stands_in: bool) -> Decision {
        Decision::Ask(Asking { why, sharing, stored: Meanwhile::Kept { validates, stands_in } })
    }

    #[test]
    fn each_case_has_its_decision() {
        let served =
            |ttl, serving| Decision::Serve { reply: ConditionalOutcome::Whole, ttl, serving };
        let (get, head) = (Method::Get, Method::Head);
        let fresh = "Cache-Control: max-age=60 | ETag: \"e\"";
        let behind = "Cache-Control: max-age=60, stale-while-revalidate=30 @70";
        for (method, stored, request, expected) in [
            (get, fresh, "", served(60, Serving::Fresh)),
            (head, fresh, "", served(60, Serving::Fresh)),
            (get, behind, "", served(-10, Serving::WhileRevalidating)),
            (head, behind, "", served(-10, Serving::Stale)),
            (get, behind, "Cache-Control: no-store", served(-10, Serving::Stale)),
            (get, behind, "Cache-Control: only-if-cached", served(-10, Serving::Stale)),
            (
                get,
                "Cache-Control: max-age=60 | ETag: \"e\" @70",
                "Cache-Control: max-stale",
                served(-10, Serving::Stale),
            ),
            (
                get,
                "Cache-Control: max-age=60 | ETag: \"e\" @70",
                "",
                asking(FwdReason::Stale, Sharing::Common, true, true),
            ),
            (
                head,
                "Cache-Control: max-age=60, must-revalidate | ETag: \"e\" @70",
                "",
                asking(FwdReason::Stale, Sharing::Own, false, false),
            ),
            (
                get,
                "Cache-Control: no-cache, max-age=60 | ETag: \"e\"",
                "",
                asking(FwdReason::Stale, Sharing::Own, true, false),
            ),
            (
                get,
                fresh,
                "Cache-Control: no-cache",
                asking(FwdReason::Request, Sharing::Own, true, false),
            ),
            (
                get,
                fresh,
                "Cache-Control: max-age=0, only-if-cached",
                asking(FwdReason::Request, Sharing::Forbidden, true, true),
            ),
        ] {
            assert_eq!(
                decision(method, stored, request),
                expected,
                "{method:?} {stored} {request}"
            );
        }
    }

    #[test]
    fn what_is_of_no_use_is_not_kept() {
        let fresh = "Cache-Control: max-age=60 | ETag: \"e\"";
        let Decision::Ask(asking) = decision(Method::Get, fresh, "If-Match: \"x\"") else {
            panic!()
        };
        let own =
            Asking { why: FwdReason::Bypass, sharing: Sharing::Own, stored: Meanwhile::Nothing };
        assert_eq!(asking, own);
        assert_eq!(
            Decision::Ask(Asking { sharing: Sharing::Forbidden, ..own }).status(),
            CacheStatus::OnlyIfCached
        );
    }
}
