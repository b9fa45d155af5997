//! What the cache has to do with a request, as far as the request tells.

use crate::config::Config;
use crate::http::Method;
use crate::http::cache_fields::RequestCacheFields;
use crate::http::cache_status::{self, CacheStatus, FwdReason};
use crate::http::request::RequestHead;
use crate::http::rewrite::{self, RequestSpans};
use crate::mem::buffer::Buffer;
use crate::policy::cache_key::Url;
use crate::policy::caching::{self, Asking, Decision, Meanwhile, Serving, Sharing};
use crate::policy::conditional::ConditionalOutcome;
use crate::policy::route::Routing;
use crate::policy::storable;
use crate::policy::vary::Chosen;

/// Says what becomes of a request by what is stored; `None` where nobody looks.
pub type Lookup<'a> = dyn FnMut(&Url<'_>, &Chosen<'_>, Method) -> Option<Decision> + 'a;

/// What the cache would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// What answers are stored by, if the cache has a part in it.
    pub key: Option<String>,
    /// What it would do, and why.
    pub verdict: String,
    /// The same for programs, where that is known.
    pub decision: Option<Decision>,
}

impl CachePlan {
    fn without_key(verdict: impl Into<String>) -> CachePlan {
        CachePlan { key: None, verdict: verdict.into(), decision: None }
    }

    /// For a request that goes to the pool of that name, with the head as it would go on.
    pub fn of(
        head: &RequestHead,
        config: &Config,
        pool: &str,
        (written, spans): (&Buffer, &RequestSpans),
        lookup: &mut Lookup,
    ) -> CachePlan {
        if config.cache.is_none() {
            return CachePlan::without_key("off");
        }
        let may_switch = !spans.upgrade.is_empty();
        if let Err(why) = caching::concerns(head.method, head.framing, may_switch) {
            let because = match why {
                FwdReason::Method if head.method.is_safe() => {
                    "only GET and HEAD are answered from the cache"
                }
                FwdReason::Method => "a response below 400 invalidates what is stored for the URL",
                _ if may_switch => "the request may switch protocols",
                _ => "the request has a body",
            };
            let status =
                CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false };
            return CachePlan::without_key(format!("{}: {because}", line_of(status)));
        }
        let host = &written[spans.host];
        let request_fields =
            RequestCacheFields::new(rewrite::written_fields(written.as_slice()), host);
        let url = Url { https: request_fields.https, host, target: &written[spans.target] };
        let pool = if Routing::new(config).looks_at_fields() { pool } else { "" };
        let chosen = Chosen { request_fields: &request_fields, pool: pool.as_bytes() };
        let mut key = Vec::new();
        url.write(&mut key);
        let decision = lookup(&url, &chosen, head.method);
        let verdict = match &decision {
            Some(decision) => words(decision, &request_fields),
            None if request_fields.directives.only_if_cached => {
                String::from("looked up (what is stored is not known here); 504 if nothing is")
            }
            None => String::from("looked up (what is stored is not known here)"),
        };
        let restrictions = restrictions(head.method, &request_fields);
        CachePlan {
            key: Some(String::from_utf8_lossy(&key).into_owned()),
            verdict: format!("{verdict}{restrictions}"),
            decision,
        }
    }
}

/// What is different from a plain GET.
fn restrictions(method: Method, request_fields: &RequestCacheFields) -> String {
    let mut text = String::new();
    let mut add = |is_so: bool, what: &str| {
        if is_so {
            text.push_str("; ");
            text.push_str(what);
        }
    };
    add(request_fields.directives.no_store, "a backend's response is not stored: no-store");
    add(request_fields.authorization, "only responses that are for all are shared: Authorization");
    add(method == Method::Head, "a backend's response is not stored: HEAD");
    add(request_fields.for_origin, "only a backend can judge its condition");
    add(
        method == Method::Get && !storable::is_for_all(request_fields),
        "it waits for no other request's response",
    );
    text
}

/// A decision as `Cache-Status` has it, and what follows from it.
pub fn words(decision: &Decision, request_fields: &RequestCacheFields) -> String {
    let line = line_of(decision.status());
    match *decision {
        Decision::Serve { reply, serving, .. } => {
            let what = match reply {
                ConditionalOutcome::Whole | ConditionalOutcome::Forward => "the response is stored",
                ConditionalOutcome::NotModified => "304, the client has what is stored",
                ConditionalOutcome::Part(_) => "206, a part of what is stored",
                ConditionalOutcome::NoSuchPart => "416, what is stored is shorter",
            };
            let how = match serving {
                Serving::Fresh => "",
                Serving::Stale => "; stale, as the client or the response allows",
                Serving::WhileRevalidating => "; stale, and revalidated behind it",
            };
            format!("{line}: {what}{how}")
        }
        Decision::Ask(asking) if asking.sharing == Sharing::Forbidden => {
            format!("{line}: 504, for {}", why_not(&asking, request_fields))
        }
        Decision::Ask(asking) => {
            let stands_in = match asking.stored {
                Meanwhile::Kept { stands_in: true, .. } => {
                    "; it answers if no backend can be reached"
                }
                Meanwhile::Kept { .. } | Meanwhile::Part(_) | Meanwhile::Nothing => "",
            };
            format!("{line}: {}{stands_in}", why_not(&asking, request_fields))
        }
    }
}

/// Why no stored response answers as it is.
fn why_not(asking: &Asking, request_fields: &RequestCacheFields) -> &'static str {
    match (asking.why, asking.stored) {
        (FwdReason::UriMiss | FwdReason::Method, _) => "nothing is stored",
        (FwdReason::VaryMiss, _) => "what is stored for the URL is for other requests",
        (FwdReason::Bypass, _) if request_fields.for_origin => {
            "only a backend can judge the condition"
        }
        (FwdReason::Bypass, _) => "the head of what is stored is longer than buffer_size allows",
        (FwdReason::Partial, Meanwhile::Part(_)) => {
            "only a part is stored, and a backend is asked for the rest"
        }
        (FwdReason::Partial, _) => "only a part is stored",
        (FwdReason::Request | FwdReason::Stale, Meanwhile::Kept { validates: true, .. }) => {
            "what is stored must be confirmed by a backend first"
        }
        (FwdReason::Request | FwdReason::Stale, _) => "what is stored is to be fetched again",
    }
}

/// The value of `Cache-Status`, without our name.
pub fn line_of(status: CacheStatus) -> String {
    let mut line = Vec::new();
    cache_status::write(status, &mut line);
    let line = String::from_utf8_lossy(&line);
    line.trim_end().trim_start_matches("Cache-Status: httplb; ").to_owned()
}
