//! May a response be stored: RFC 9111 §3. And which of its fields: §3.1.

use crate::http::cache_fields::{RequestCacheFields, ResponseCacheFields, is_strong};
use crate::http::fields::{Fields, NameSet, is_hop_by_hop, is_one_of};
use crate::http::message::Single;
use crate::http::method::Method;

use super::freshness::{Basis, Freshness, ResponseTiming, WhenStale, is_heuristically_cacheable};
use super::ranges::ContentRange;

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct StorabilityInput<'a> {
    /// The request's method.
    pub method: Method,
    /// Whether the request has a body.
    pub has_body: bool,
    /// What the request asks.
    pub request_fields: &'a RequestCacheFields<'a>,
    /// The response's status.
    pub status: u16,
    /// What the response offers.
    pub response_fields: &'a ResponseCacheFields<'a>,
    /// When it came.
    pub timing: ResponseTiming,
    /// Seconds for which a 200 is fresh that says nothing of it.
    pub default_ttl: u32,
}

/// How a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// How long it is good.
    pub freshness: Freshness,
    /// Where that comes from.
    pub basis: Basis,
    /// Whether requests with credentials may have it as well.
    pub for_authorized: bool,
    /// Where the body belongs, if it is not the whole.
    pub part: Option<ContentRange>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// Only answers to GET are stored.
    Method,
    /// The request has a body, on which the answer may depend.
    RequestBody,
    /// `no-store` in the request.
    RequestNoStore,
    /// The answer depends on the request's conditions or range.
    Conditional,
    /// A status that is not final, or whose caching is not understood where it must be.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// The request had credentials, and nothing says that others may have the answer.
    Authorization,
    /// It sets a cookie, which is for one client alone.
    SetsCookie,
    /// `Vary` says that no other request fits it.
    VariesByAnything,
    /// Nothing says that it may be used again, or it could never be.
    NotReusable,
}

impl Unstorable {}

/// Whether the response allows it, whatever the request was: what tells most soon.
pub fn response_allows(response_fields: &ResponseCacheFields) -> Result<(), Unstorable> {
    let directives = &response_fields.directives;
    // What must be understood is, here, and needs no `no-store` for those who do not: §5.2.2.3.
    if directives.no_store && !directives.must_understand {
        return Err(Unstorable::NoStore); // §5.2.2.5
    }
    if directives.private {
        return Err(Unstorable::Private); // §5.2.2.7
    }
    Ok(())
}

/// Whether, and how, a response is stored.
pub fn judge(input: &StorabilityInput) -> Result<StorePlan, Unstorable> {
    let StorabilityInput { request_fields, response_fields, status, .. } = input;
    let directives = &response_fields.directives;
    request_allows(input)?;
    status_allows(input)?;
    response_allows(response_fields)?;
    let for_authorized =
        directives.public || directives.must_revalidate || directives.s_maxage.is_present();
    if request_fields.authorization && !for_authorized {
        return Err(Unstorable::Authorization); // §3.5
    }
    if response_fields.sets_cookie {
        return Err(Unstorable::SetsCookie); // §7.3 leaves it to us
    }
    if response_fields.varies_by_anything {
        return Err(Unstorable::VariesByAnything); // §4.1
    }
    let (freshness, basis) =
        Freshness::of(*status, response_fields, input.timing, input.default_ttl);
    if !is_reusable(*status, response_fields, &freshness, basis) {
        return Err(Unstorable::NotReusable);
    }
    let part = match status {
        206 => Some(whole_part(input)?),
        _ => None,
    };
    Ok(StorePlan { freshness, basis, for_authorized, part })
}

/// Whether, and how, a stored response may stay stored that was confirmed and has new fields by now: whatever
/// the request was that asked about it.
pub fn judge_again(
    status: u16,
    response_fields: &ResponseCacheFields,
    timing: ResponseTiming,
    default_ttl: u32,
) -> Result<StorePlan, Unstorable> {
    let request_fields = &RequestCacheFields::new(Fields::default(), b"");
    let (method, has_body) = (Method::Get, false);
    judge(&StorabilityInput {
        method,
        has_body,
        request_fields,
        status,
        response_fields,
        timing,
        default_ttl,
    })
}

/// Whether others who want the same may wait for what this request gets: it asks for all of it, for
/// nobody in particular, and nothing forbids to keep it.
pub fn is_for_all(request_fields: &RequestCacheFields) -> bool {
    !request_fields.authorization
        && !request_fields.is_conditional()
        && request_fields.range == Single::Absent
        && !request_fields.directives.no_store
}

fn request_allows(input: &StorabilityInput) -> Result<(), Unstorable> {
    if input.method != Method::Get {
        return Err(Unstorable::Method); // a stored GET answers HEAD, but not the other way
    }
    if input.has_body {
        return Err(Unstorable::RequestBody); // RFC 9110 §9.3.1: it means nothing, or something else
    }
    if input.request_fields.directives.no_store {
        return Err(Unstorable::RequestNoStore); // §5.2.1.5
    }
    Ok(())
}

fn status_allows(input: &StorabilityInput) -> Result<(), Unstorable> {
    let is_partial = input.request_fields.range != Single::Absent;
    match input.status {
        100..=199 => Err(Unstorable::Status), // §3: not final
        426 => Err(Unstorable::Status), // it lives by its `Upgrade`, which is for one connection
        304 | 412 => Err(Unstorable::Conditional),
        206 if !is_partial => Err(Unstorable::Status), // nobody asked for it
        200 | 206 => Ok(()),
        _ if is_partial => Err(Unstorable::Conditional), // 416, or an error because of the range
        status if input.response_fields.directives.must_understand && !is_understood(status) => {
            Err(Unstorable::Status) // §5.2.2.3
        }
        _ => Ok(()),
    }
}

/// Final statuses whose meaning for a cache is known: those of RFC 9110 §15, RFC 6585, RFC 7725.
fn is_understood(status: u16) -> bool {
    matches!(status, 200..=206 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422)
        || matches!(status, 428 | 429 | 431 | 451 | 500..=505 | 511)
}

/// Whether it can ever answer again (§3, the last condition): fresh, or after it was validated, or
/// stale where that is wanted. One that says nothing of all that is not kept on the chance that it
/// has a validator: those are the answers made anew for each request.
fn is_reusable(
    status: u16,
    response_fields: &ResponseCacheFields,
    freshness: &Freshness,
    basis: Basis,
) -> bool {
    let directives = &response_fields.directives;
    let says_so = match basis {
        Basis::Explicit => true,
        Basis::Heuristic | Basis::Configured | Basis::None => {
            directives.no_cache
                || directives.public
                || directives.must_revalidate
                || directives.proxy_revalidate
        }
    };
    let may_be_stored = says_so || is_heuristically_cacheable(status);
    let has_validator =
        response_fields.etag.only().is_some() || response_fields.last_modified.only().is_some();
    let is_fresh = freshness.lifetime > freshness.initial_age && basis != Basis::None;
    let stale_is_wanted = freshness.when_stale == WhenStale::Allowed
        && (freshness.stale_while_revalidate > 0
            || freshness.stale_if_error.is_some_and(|window| window > 0));
    let is_fresh = is_fresh && freshness.when_stale != WhenStale::Validate;
    may_be_stored && (is_fresh || says_so && (has_validator || stale_is_wanted))
}

/// The part of a 206, if it is one part, it is known where it belongs, and by a strong validator to what: §3.3,
/// §3.4. A server may leave out what a client that asks by `If-Range` has already (RFC 9110 §15.3.7); one that
/// says the type all the same has left nothing out.
fn whole_part(input: &StorabilityInput) -> Result<ContentRange, Unstorable> {
    let StorabilityInput { request_fields, response_fields, .. } = input;
    let range = response_fields.content_range.only().and_then(ContentRange::parse);
    let kind = response_fields.fields.values("content-type").next();
    let prefix = kind.and_then(|kind| kind.get(..MULTIPART.len()));
    let is_one = prefix.is_none_or(|prefix| !prefix.eq_ignore_ascii_case(MULTIPART));
    let has_all = request_fields.if_range == Single::Absent || kind.is_some();
    let is_strong = response_fields.etag.only().is_some_and(is_strong);
    range.filter(|_| is_one && has_all && is_strong).ok_or(Unstorable::Conditional)
}

/// What bodies of several parts are called: RFC 9110 §14.6.
const MULTIPART: &[u8] = b"multipart/byteranges";

/// Fields that a cache does not keep: RFC 9111 §3.1. What is written anew for each answer, what is
/// for one connection, one recipient or one proxy.
const NOT_STORED: [&str; 9] = [
    "age",
    "content-length",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "set-cookie",
    "set-cookie2",
    "trailer",
    "x-request-id",
];

/// Whether a field tells of the bytes that came with it, so that it is another for a part than for the whole:
/// RFC 9110 §14.4, RFC 9530 §2.
pub fn is_of_content(name: &[u8]) -> bool {
    is_one_of(name, &["content-digest", "content-length", "content-md5", "content-range"])
}

/// Which fields of a response are stored with it.
pub struct KeptFields<'a> {
    /// What `Connection` names, and what is for one recipient alone.
    excluded: [Option<NameSet<'a>>; 2],
}

impl<'a> KeptFields<'a> {
    /// The fields of this response that are stored.
    pub fn new(response_fields: &ResponseCacheFields<'a>) -> KeptFields<'a> {
        KeptFields { excluded: [response_fields.fields.nominated(), response_fields.withheld()] }
    }

    /// Whether the field `name` is stored.
    pub fn keeps(&self, name: &[u8]) -> bool {
        !is_one_of(name, &NOT_STORED)
            && !is_hop_by_hop(name)
            && !self.excluded.iter().flatten().any(|names| names.contains(name))
    }
}

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
