//! Conditions of requests, as far as a cache judges them, and its own: RFC 9110 §13, RFC 9111 §4.3.

use crate::http::cache_fields::{RequestCacheFields, ResponseCacheFields, is_condition, is_strong};
use crate::http::date;
use crate::http::fields::{Fields, MAX_NAMES, NameSet};
use crate::http::message::Single;
use crate::http::method::Method;
use crate::mem::{Append, append_decimal};

use super::freshness::date_of;
use super::ranges::{self, ContentRange, Part, RangeRequest};
use super::segments::Segments;
use super::storable::KeptFields;

/// What of a stored answer conditions are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its status.
    pub status: u16,
    /// `ETag`, as it came; empty without.
    pub etag: &'a [u8],
    /// `Last-Modified`, in seconds since the epoch.
    pub last_modified: Option<u64>,
    /// `Date`, or when it came.
    pub date: u64,
    /// How many bytes its body has.
    pub length: u64,
    /// Which of them there are, if not all came together.
    pub segments: Option<Segments<'a>>,
}

/// How a stored answer answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalOutcome {
    /// As it is.
    Whole,
    /// 304: the client has it already.
    NotModified,
    /// 206: this part of the whole.
    Part(Part),
    /// 416: the part that is asked for is not there.
    NoSuchPart,
    /// Not at all: only a backend can tell, or has what is missing.
    Forward,
}

/// How a stored part answers a request together with the rest, which a backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRange {
    /// With all of it, or a part.
    pub reply: ConditionalOutcome,
    /// The part of the body that is stored: its beginning.
    pub held: Part,
    /// The part of the body that is missing behind what is stored.
    pub missing: Part,
}

/// How a stored answer answers a request that it fits: RFC 9111 §4.3.2, in the order of RFC 9110
/// §13.2.2. `now` is in seconds since the epoch.
///
/// `If-Match` and `If-Unmodified-Since` are not for caches, which can never tell that a precondition
/// failed: their requests go to a backend, and so no 412 is made here.
pub fn reply(
    method: Method,
    request_fields: &RequestCacheFields,
    stored: &Stored,
    now: u64,
) -> ConditionalOutcome {
    if request_fields.for_origin {
        return ConditionalOutcome::Forward;
    }
    let is_success = matches!(stored.status, 200 | 206);
    if is_success && is_not_modified(request_fields, stored, now) {
        return ConditionalOutcome::NotModified;
    }
    // Ranges are for GET, and of what was found: RFC 9110 §14.2.
    let range = request_fields.range.only().filter(|_| method == Method::Get && is_success);
    let range = range.filter(|_| may_be_parted(request_fields, stored, now));
    let wanted = range.map_or(RangeRequest::Whole, |range| ranges::wanted(range, stored.length));
    let missing = stored.segments.filter(|segments| !segments.are_all(stored.length));
    match (wanted, missing) {
        (RangeRequest::Nothing, _) => ConditionalOutcome::NoSuchPart,
        (RangeRequest::Whole, None) => ConditionalOutcome::Whole,
        (RangeRequest::Part(part), None) => ConditionalOutcome::Part(part),
        (RangeRequest::Part(part), Some(there)) if there.cover(part) => {
            ConditionalOutcome::Part(part)
        }
        (RangeRequest::Whole | RangeRequest::Part(_), Some(_)) => ConditionalOutcome::Forward,
    }
}

/// How a stored part, which does not answer a request by itself, does so together with the rest:
/// RFC 9111 §3.4. `None` if its beginning is not there, or a backend must be asked as the client does.
///
/// Whether it is fresh makes no difference: a backend that gives the rest of it under a strong validator
/// has confirmed it.
pub fn rest(
    method: Method,
    request_fields: &RequestCacheFields,
    stored: &Stored,
    now: u64,
) -> Option<MissingRange> {
    let is_plain = method == Method::Get
        && !request_fields.is_conditional()
        && !request_fields.authorization
        && !request_fields.directives.no_store;
    let segments = stored.segments.filter(|_| is_plain && is_strong(stored.etag))?;
    let (wanted, reply) = match request_fields.range {
        Single::Absent => {
            let last = stored.length.checked_sub(1)?;
            (Part { first: 0, last }, ConditionalOutcome::Whole)
        }
        Single::Once(range) if may_be_parted(request_fields, stored, now) => {
            match ranges::wanted(range, stored.length) {
                RangeRequest::Part(part) => (part, ConditionalOutcome::Part(part)),
                RangeRequest::Whole | RangeRequest::Nothing => return None,
            }
        }
        Single::Once(_) | Single::Several => return None,
    };
    let held = segments.next_from(wanted.first).filter(|held| held.first == wanted.first)?;
    (held.last < wanted.last).then_some(MissingRange {
        reply,
        held,
        missing: Part { first: held.last + 1, last: wanted.last },
    })
}

/// `If-None-Match`, and only without it `If-Modified-Since`: RFC 9110 §13.1.2, §13.1.3.
fn is_not_modified(request_fields: &RequestCacheFields, stored: &Stored, now: u64) -> bool {
    if request_fields.if_none_match {
        let mut values = request_fields.fields.values("if-none-match");
        return values.any(|value| value == b"*" || lists(value, stored.etag));
    }
    let since = request_fields.if_modified_since.only().and_then(|value| date::parse(value, now));
    // Without a date of the change the answer's own will do: RFC 9111 §4.3.2.
    since.is_some_and(|since| stored.last_modified.unwrap_or(stored.date) <= since)
}

/// `If-Range`: RFC 9110 §13.1.5. Only strong validators make sure that the parts fit together.
fn may_be_parted(request_fields: &RequestCacheFields, stored: &Stored, now: u64) -> bool {
    match request_fields.if_range {
        Single::Absent => true,
        Single::Several => false,
        Single::Once(tag @ ([b'"', ..] | [b'W', b'/', ..])) => same_strong(tag, stored.etag),
        Single::Once(text) => match (date::parse(text, now), stored.last_modified) {
            // It may have changed twice within the second that it was sent in: §8.8.2.2.
            (Some(date), Some(changed)) => date == changed && changed < stored.date,
            _ => false,
        },
    }
}

/// Whether `tag` is in the list, by weak comparison: RFC 9110 §8.8.3.2. One without its quotes, as
/// some write it, is only equal to the same without.
fn lists(list: &[u8], tag: &[u8]) -> bool {
    let mut rest = list;
    while !tag.is_empty() {
        while let [b',' | b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return false;
        }
        let (member, behind) = rest.split_at(tag_len(rest));
        if same_weak(member, tag) {
            return true;
        }
        rest = behind;
    }
    false
}

/// How long the entity tag at the front is. A comma within its quotes belongs to it.
fn tag_len(bytes: &[u8]) -> usize {
    let opaque = bytes.strip_prefix(b"W/").unwrap_or(bytes);
    let before = bytes.len() - opaque.len();
    let quoted = opaque.strip_prefix(b"\"").and_then(|inner| memchr::memchr(b'"', inner));
    match quoted {
        Some(len) => before + len + 2,
        None => {
            let end = memchr::memchr3(b',', b' ', b'\t', bytes);
            end.unwrap_or(bytes.len()).max(1)
        }
    }
}

fn same_weak(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.len() - tag.strip_prefix(b"W/").unwrap_or(tag).len();
    one[opaque(one)..] == other[opaque(other)..]
}

fn same_strong(one: &[u8], other: &[u8]) -> bool {
    one == other && is_strong(one)
}

/// Writes a request that asks whether a stored answer is still right: RFC 9111 §4.3.1. `head` is the
/// request as it would be sent on; its own conditions and range are left out, for the answer is to
/// be one for all.
///
/// Both validators are sent, as they came. It is longer than `head` by [`VALIDATION_GROWTH`] and the
/// two of them at most.
pub fn write_validation(
    head: &[u8],
    fields: &Fields,
    etag: &[u8],
    last_modified: &[u8],
    out: &mut impl Append,
) {
    write_unconditional(head, fields, out);
    for (name, value) in
        [(&b"If-None-Match: "[..], etag), (&b"If-Modified-Since: "[..], last_modified)]
    {
        if !value.is_empty() {
            out.append(name);
            out.append(value);
            out.append(b"\r\n");
        }
    }
    out.append(b"\r\n");
}

/// Writes a request for what is missing of a stored part with this strong validator, or else for what
/// there is by now: RFC 9110 §13.1.5. It is longer than `head` by [`REST_GROWTH`] and the validator at
/// most.
pub fn write_for_rest(
    head: &[u8],
    fields: &Fields,
    etag: &[u8],
    missing: Part,
    out: &mut impl Append,
) {
    write_unconditional(head, fields, out);
    out.append(b"Range: bytes=");
    append_decimal(missing.first, out);
    out.append(b"-");
    append_decimal(missing.last, out);
    out.append(b"\r\nIf-Range: ");
    out.append(etag);
    out.append(b"\r\n\r\n");
}

/// What that takes beside the validator, in bytes.
pub const REST_GROWTH: usize = 80;

/// Whether a 206 is the rest that was asked for, of the same representation.
pub fn is_rest(fresh: &ResponseCacheFields, stored: &Stored, missing: Part) -> bool {
    let range = fresh.content_range.only().and_then(ContentRange::parse);
    fresh.etag.only().is_some_and(|tag| same_strong(tag, stored.etag))
        && range == Some(ContentRange { part: missing, whole: stored.length })
}

/// Writes a request without its own conditions and range, and without the empty line.
fn write_unconditional(head: &[u8], fields: &Fields, out: &mut impl Append) {
    let lines = fields.lines();
    let before = head.len() - lines.len() - b"\r\n".len();
    out.append(&head[..before]);
    let (mut run, mut at) = (0, 0);
    for field in fields.iter() {
        if is_condition(field.name) {
            out.append(&lines[run..at]);
            run = at + field.line.len();
        }
        at += field.line.len();
    }
    out.append(&lines[run..at]);
}

/// What the names and line ends of two validators take, in bytes.
pub const VALIDATION_GROWTH: usize = 48;

/// Whether a 304 to our validation speaks of the answer that is stored: RFC 9111 §4.3.4. One that
/// names another than we asked about tells nothing of ours.
pub fn confirms(fresh: &ResponseCacheFields, stored: &Stored, now: u64) -> bool {
    if let (Some(tag), false) = (fresh.etag.only(), stored.etag.is_empty()) {
        // A server that weakens the tags of what it compresses does not do so in a 304.
        return same_weak(tag, stored.etag);
    }
    match (fresh.last_modified.only().and_then(|text| date::parse(text, now)), stored.last_modified)
    {
        (Some(date), Some(changed)) => date == changed,
        (Some(_), None) | (None, _) => true,
    }
}

/// What the 200 to a HEAD tells of the answer to a GET that is stored: RFC 9111 §4.3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// It is still right, and has these fields by now.
    Confirmed,
    /// There is another by now.
    Outdated,
    /// Nothing: no validator says that it is the same.
    Unknown,
}

/// What the 200 to a HEAD, with this `Content-Length`, tells of what is stored. A length that is equal
/// proves nothing, one that differs does.
pub fn judge_head(
    fresh: &ResponseCacheFields,
    length: Option<u64>,
    stored: &Stored,
    now: u64,
) -> HeadVerdict {
    let tag = fresh.etag.only().map(|tag| same_weak(tag, stored.etag));
    let date = fresh.last_modified.only().map(|text| {
        let changed = date::parse(text, now);
        changed.is_some() && changed == stored.last_modified
    });
    let is_found = matches!(stored.status, 200 | 206);
    let has_length = length.is_none_or(|length| length == stored.length);
    match (tag, date) {
        _ if !is_found || !has_length => HeadVerdict::Outdated,
        (Some(false), _) | (_, Some(false)) => HeadVerdict::Outdated,
        (Some(true), _) | (_, Some(true)) => HeadVerdict::Confirmed,
        (None, None) => HeadVerdict::Unknown,
    }
}

/// Fields that a 304 does not change: they describe the body that is stored, or tell it apart.
const NOT_UPDATED: [&[u8]; 5] =
    [b"content-encoding", b"content-length", b"content-range", b"content-type", b"etag"];

/// Whether a 304 with these fields changes a stored one: RFC 9111 §3.2.
fn updates(fresh: &KeptFields, name: &[u8]) -> bool {
    !NOT_UPDATED.iter().any(|known| name.eq_ignore_ascii_case(known)) && fresh.keeps(name)
}

/// Writes the stored field lines as the 304 `fresh` changes them: its lines take the place of all
/// stored ones of their names. Without a `Date` it has that of `received_at`: the stored one would
/// make it old at once (RFC 9110 §6.6.1).
///
/// `None`, and nothing is written, if it changes more than [`MAX_NAMES`] lines: each is held against
/// each stored one.
pub fn write_updated(
    stored: &Fields,
    fresh: &ResponseCacheFields,
    received_at: u64,
    out: &mut impl Append,
) -> Option<()> {
    let kept = KeptFields::new(fresh);
    let updating = || fresh.fields.iter().filter(|field| updates(&kept, field.name));
    if updating().nth(MAX_NAMES).is_some() {
        return None;
    }
    let replaced = NameSet::from_names(updating().map(|field| field.name));
    let is_replaced = |name: &[u8]| {
        replaced.contains(name) || name.eq_ignore_ascii_case(b"date") && updates(&kept, name)
    };
    for field in stored.iter().filter(|field| !is_replaced(field.name)) {
        out.append(field.line);
    }
    for field in updating() {
        out.append(field.line);
    }
    if fresh.date == Single::Absent || !kept.keeps(b"date") {
        date::put_field(received_at, out);
    }
    Some(())
}

/// Fields of a 200 that its 304 has as well: RFC 9110 §15.4.5. Others are of no use to a client that
/// has them.
const IN_NOT_MODIFIED: [&str; 8] = [
    "cache-control",
    "cdn-cache-control",
    "content-location",
    "date",
    "etag",
    "expires",
    "last-modified",
    "vary",
];

/// Whether a stored field is sent with a 304.
pub fn is_in_not_modified(name: &[u8]) -> bool {
    crate::http::fields::is_one_of(name, &IN_NOT_MODIFIED)
}

impl<'a> Stored<'a> {
    /// What is kept of a response with a body of `length` bytes that came at `received_at`.
    pub fn of(
        status: u16,
        response_fields: &ResponseCacheFields<'a>,
        length: u64,
        received_at: u64,
    ) -> Stored<'a> {
        let changed = response_fields.last_modified.only();
        Stored {
            status,
            etag: response_fields.etag.only().unwrap_or_default(),
            last_modified: changed.and_then(|value| date::parse(value, received_at)),
            date: date_of(response_fields, received_at),
            length,
            segments: None,
        }
    }
}

#[cfg(test)]
#[path = "conditional_tests.rs"]
mod tests;
