//! What the cache has to do with a request, as far as the request tells.

use crate::config::Config;
use crate::http::caching::Asked;
use crate::http::request::{Framing, RequestHead};
use crate::http::rewrite::{self, RequestSpans};
use crate::http::{Method, cache_status};
use crate::mem::buffer::Buffer;
use crate::policy::cache_key::Url;
use crate::policy::route::Routing;
use crate::policy::storable;
use crate::policy::vary::Chosen;

/// Says what is stored for a request; `None` where nobody looks.
pub type Lookup<'a> = dyn FnMut(&Url<'_>, &Chosen<'_>, Method) -> Option<String> + 'a;

/// What the cache would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// What answers are stored by, if the cache has a part in it.
    pub key: Option<String>,
    /// What it would do, and why.
    pub verdict: String,
}

impl CachePlan {
    fn without_key(verdict: impl Into<String>) -> CachePlan {
        CachePlan { key: None, verdict: verdict.into() }
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
        if !matches!(head.method, Method::Get | Method::Head) {
            let aside = said(cache_status::Forward::Method);
            return CachePlan::without_key(match head.method.is_safe() {
                true => format!("{aside}: only GET and HEAD are answered from the cache"),
                false => {
                    format!("{aside}: an answer below 400 makes void what is stored for the URL")
                }
            });
        }
        if head.framing != Framing::None || head.websocket {
            let aside = said(cache_status::Forward::Bypass);
            let why = if head.websocket { "may switch protocols" } else { "has a body" };
            return CachePlan::without_key(format!("{aside}: the request {why}"));
        }
        let host = &written[spans.host];
        let asked = Asked::of(rewrite::written_fields(written.as_slice()), host);
        let url = Url { https: asked.https, host, target: &written[spans.target] };
        let pool = if Routing::new(config).looks_at_fields() { pool } else { "" };
        let chosen = Chosen { asked: &asked, pool: pool.as_bytes() };
        let mut key = Vec::new();
        url.write(&mut key);
        let verdict = lookup(&url, &chosen, head.method)
            .unwrap_or_else(|| String::from("looked up (what is stored is not known here)"));
        let restrictions = restrictions(head.method, &asked);
        CachePlan {
            key: Some(String::from_utf8_lossy(&key).into_owned()),
            verdict: format!("{verdict}{restrictions}"),
        }
    }
}

/// What is different from a plain GET.
fn restrictions(method: Method, asked: &Asked) -> String {
    let mut text = String::new();
    let mut add = |is_so: bool, what: &str| {
        if is_so {
            text.push_str("; ");
            text.push_str(what);
        }
    };
    add(asked.directives.only_if_cached, "504 if nothing is stored: only-if-cached");
    add(asked.directives.no_store, "a backend's answer is not stored: no-store");
    add(asked.authorization, "only answers that are for all are shared: Authorization");
    add(method == Method::Head, "a backend's answer is not stored: HEAD");
    add(asked.for_origin, "only a backend can judge its condition");
    add(method == Method::Get && !storable::is_for_all(asked), "it waits for no other's answer");
    text
}

/// As `Cache-Status` has it.
fn said(why: cache_status::Forward) -> String {
    let status =
        cache_status::CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false };
    line_of(status)
}

/// The value of `Cache-Status`, without our name.
pub fn line_of(status: cache_status::CacheStatus) -> String {
    let mut line = Vec::new();
    cache_status::write(status, &mut line);
    let line = String::from_utf8_lossy(&line);
    line.trim_end().trim_start_matches("Cache-Status: httplb; ").to_owned()
}
