//! Heads as they go on: RFC 9110 §7.6, RFC 9112 §3, §6.
//!
//! A head is written anew line by line. What concerns one connection only ends here, what says where
//! the message ends is written by us and once, and all other lines are copied as they came.

use super::cache_status::{self, CacheStatus};
use super::cookie::{self, SetCookie};
use super::date;
use super::fields::{Field, Fields, NameSet, is_credential, is_shadow_of_framing, list_members};
use super::forwarded::{self, Forward, KeptForwarded};
use super::message::{Framing, Version, status_digits};
use super::names::{Name, is_read_as, is_x_forwarded};
use super::request::RequestHead;
use super::response::ResponseHead;
use super::upgrade;
use crate::mem::buffer::{Buffer, Fitting, Span};
use crate::mem::{Append, append_decimal};

/// What a response's head may grow by: a longer status line, framing, the id, the connection, `Via`
/// and a cookie with names of at most 64 bytes each, `Cache-Status`.
const RESPONSE_GROWTH: usize = 512 + cache_status::MAX_LEN;

/// Room that is kept in a request's head for the `Host` that it is given when its backend is known,
/// in bytes: a name of 253, a port.
const HOST_ROOM: usize = 260;

/// Where parts of a request's head lie in the buffer that it was written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSpans {
    /// The method's name.
    pub method: Span,
    /// The target.
    pub target: Span,
    /// The value of `Host`. Empty where the client named none: there its place is.
    pub host: Span,
    /// The value of `X-Request-ID`.
    pub id: Span,
    /// The value of `User-Agent`; empty without one.
    pub user_agent: Span,
    /// The value of `Upgrade`; empty where the connection may not be switched.
    pub upgrade: Span,
}

/// Writes the head of a request as it goes to a backend, to `out`, which must be empty.
///
/// `None` when it does not fit; `out` is empty then.
pub fn request(head: &RequestHead, forward: &Forward, out: &mut Buffer) -> Option<RequestSpans> {
    assert!(out.is_empty());
    let written = write_request(head, forward, &mut Fitting::new(out));
    if written.is_none() {
        out.clear();
    }
    written
}

fn write_request(head: &RequestHead, forward: &Forward, out: &mut Fitting) -> Option<RequestSpans> {
    let mut kept = KeptForwarded::default();
    let nominated = head.fields.nominated();
    let before_fields = head.before_fields();
    let starts_as_it_came = starts_as_it_came(head, forward);
    let mut spans = match starts_as_it_came {
        true => start_as_it_came(head),
        false => put_start(head, forward, out),
    };
    // Neighbouring lines that go on are copied at once.
    let mut run = if starts_as_it_came { 0 } else { before_fields };
    for (at, line) in head.fields.in_question() {
        let name = line.name;
        if name == Name::Host && starts_as_it_came {
            continue;
        }
        let field = head.fields.field_at(at, line);
        let at = before_fields + at;
        if !goes_on(head, (&field, name), (&nominated, forward), &mut kept) {
            out.put(&head.bytes[run..at]);
            run = at + line.len;
        } else if name == Name::UserAgent && spans.user_agent.is_empty() {
            let start = out.len() + at - run;
            spans.user_agent = value_within(Span::new(start, start + line.len), &field);
        } else if name == Name::Cookie {
            if let Some(own) = forward.own_cookie.filter(|own| has_cookie(&field, own)) {
                out.put(&head.bytes[run..at]);
                run = at + line.len;
                put_other_cookies(&field, own, out);
            }
        }
    }
    out.put(&head.bytes[run..]);

    match head.framing {
        Framing::None => (),
        Framing::Length(length) => put_length(length, out),
        Framing::Chunked => out.append(CHUNKED),
    }
    if let Some(hops) = head.max_forwards {
        out.put(b"Max-Forwards: ");
        append_decimal(hops.saturating_sub(1), out);
        out.put(b"\r\n");
    }
    forwarded::put(head, forward, kept, out);
    put_via(head.version, forward.via, out);
    if forward.counts_passes {
        out.put(b"CDN-Loop: httplb\r\n");
    }
    out.put(b"X-Request-ID: ");
    spans.id = out.put(forward.id);
    spans.upgrade = put_hop_fields(head, forward, out);
    let is_whole = out.fits() && (!head.authority.is_empty() || out.room() >= HOST_ROOM);
    is_whole.then_some(spans)
}

/// Whether request line and `Host` stand there as [`put_start`] writes them.
fn starts_as_it_came(head: &RequestHead, forward: &Forward) -> bool {
    let (line, lines) = head.bytes.split_at(head.before_fields());
    // An absolute target was longer than what is left of it.
    line.len() == head.method_name.len() + b" ".len() + head.target.len() + LINE_END.len()
        && line.ends_with(LINE_END)
        && lines.starts_with(b"Host: ")
        && lines[b"Host: ".len()..]
            .get(head.authority.len()..)
            .is_some_and(|behind| behind.starts_with(b"\r\n"))
        && !forward.normal_host
}

const LINE_END: &[u8] = b" HTTP/1.1\r\n";

/// Where the parts of such a start are, if it is copied.
fn start_as_it_came(head: &RequestHead) -> RequestSpans {
    let span_from = |start: usize, part: &[u8]| Span::new(start, start + part.len());
    RequestSpans {
        method: span_from(0, head.method_name),
        target: span_from(head.method_name.len() + b" ".len(), head.target),
        host: span_from(head.before_fields() + b"Host: ".len(), head.authority),
        ..RequestSpans::default()
    }
}

/// Writes the request line and `Host`, and says where their parts are.
fn put_start(head: &RequestHead, forward: &Forward, out: &mut Fitting) -> RequestSpans {
    let mut spans = RequestSpans { method: out.put(head.method_name), ..RequestSpans::default() };
    out.put(b" ");
    let slash = if head.target.starts_with(b"?") { out.put(b"/") } else { Span::default() };
    spans.target = out.put(head.target);
    if !slash.is_empty() {
        spans.target.start = slash.start;
    }
    out.put(b" HTTP/1.1\r\nHost: ");
    spans.host = forwarded::put_host(head, forward, out);
    out.put(b"\r\n");
    spans
}

/// Writes what TRACE is answered by: the head of a request as it came, `bytes`, without what only the
/// server may see (RFC 9110 §9.3.8). Behind it, where its spans say, stand host and identifier.
///
/// `None` when it does not fit; `out`, which must be empty, is again then.
pub fn reflection(
    bytes: &[u8],
    head: &RequestHead,
    id: &[u8],
    out: &mut Buffer,
) -> Option<RequestSpans> {
    assert!(out.is_empty());
    let mut fitting = Fitting::new(out);
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let line_len = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let line = fitting.put(&bytes[..line_len]);
    for field in head.fields.iter().filter(|field| !is_credential(field.name)) {
        fitting.put(field.line);
    }
    fitting.put(b"\r\n");
    let id = fitting.put(id);
    let host = fitting.put(head.authority);
    if !fitting.fits() {
        out.clear();
        return None;
    }
    let part = |start: usize, len: usize| Span::new(start, start + len);
    let method = part(line.start as usize, head.method_name.len());
    let target_len = line.len() - method.len() - b"  HTTP/1.1\r\n".len();
    let target = part(method.end as usize + 1, target_len);
    Some(RequestSpans { method, target, host, id, ..RequestSpans::default() })
}

/// The fields of a head that [`request`] wrote.
pub fn written_fields(head: &[u8]) -> Fields<'_> {
    let lines = memchr::memchr(b'\n', head).and_then(|end| head.get(end + 1..)).unwrap_or_default();
    Fields::again(lines.strip_suffix(b"\r\n").unwrap_or_default(), false)
}

const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Ends the line before and the head, with what concerns the connection to the backend made anew:
/// `Upgrade` and `TE`. Returns where the value of `Upgrade` lies.
fn put_hop_fields(head: &RequestHead, forward: &Forward, out: &mut Fitting) -> Span {
    if !head.upgrade && !head.te_trailers {
        out.put(b"\r\n\r\n");
        return Span::default();
    }
    let mut protocols = upgrade::offered(head, forward.upgrades);
    let first = protocols.next();
    out.put(match (first, head.te_trailers) {
        (None, false) => b"\r\n\r\n",
        (Some(_), false) => b"\r\nConnection: upgrade\r\nUpgrade: ",
        (None, true) => b"\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
        (Some(_), true) => b"\r\nConnection: upgrade, TE\r\nUpgrade: ",
    });
    let Some(first) = first else { return Span::default() };
    let mut span = out.put(first);
    for protocol in protocols {
        out.put(b", ");
        span.end = out.put(protocol).end;
    }
    out.put(if head.te_trailers { b"\r\nTE: trailers\r\n\r\n" } else { b"\r\n\r\n" });
    span
}

/// Whether a request's field is copied.
///
/// A nomination takes away nothing that we write ourselves; nor `Expect`, for a client that waits
/// for its 100 must get it. One that says nothing would only be read in different ways.
fn goes_on(
    head: &RequestHead,
    (field, name): (&Field, Name),
    (nominated, forward): (&Option<NameSet>, &Forward),
    kept: &mut KeptForwarded,
) -> bool {
    match name {
        Name::Host | Name::Forwarded | Name::XRequestId => false,
        Name::ContentLength | Name::TransferEncoding => false,
        Name::Connection | Name::KeepAlive | Name::Proxy | Name::ProxyConnection => false,
        Name::Te | Name::Upgrade => false,
        Name::Expect => match head.version {
            Version::Http10 => false, // RFC 9110 §10.1.1: ignored, and here it would become valid
            Version::Http11 => list_members(field.value).next().is_some(),
        },
        Name::Trailer if head.framing != Framing::Chunked => false,
        Name::MaxForwards if head.max_forwards.is_some() => false,
        Name::XRealIp => kept.keeps_real_ip(field, forward),
        Name::XForwarded => kept.keeps_forwarded(field, forward),
        Name::Shadow if is_x_forwarded(field.name) => kept.keeps_forwarded(field, forward),
        Name::Shadow if is_read_as(field.name, b"x-real-ip") => kept.keeps_real_ip(field, forward),
        Name::Shadow => false,
        Name::Other
        | Name::Authorization
        | Name::CdnLoop
        | Name::Cookie
        | Name::Date
        | Name::IdempotencyKey
        | Name::MaxForwards
        | Name::Trailer
        | Name::UserAgent
        | Name::WwwAuthenticate => !is_nominated(nominated, field.name),
    }
}

fn is_nominated(nominated: &Option<NameSet>, name: &[u8]) -> bool {
    nominated.as_ref().is_some_and(|names| names.contains(name))
}

fn has_cookie(field: &Field, name: &str) -> bool {
    cookie::contains(field.value, name.as_bytes())
}

/// The line without the cookie `name`; no line if it has no other.
fn put_other_cookies(field: &Field, name: &str, out: &mut Fitting) {
    if cookie::contains_others(field.value, name.as_bytes()) {
        out.put(field.name);
        out.put(b": ");
        cookie::put_others(field.value, name.as_bytes(), |bytes| out.append(bytes));
        out.put(b"\r\n");
    }
}

/// Where the value of `field` lies when its line lies at `line`.
fn value_within(line: Span, field: &Field) -> Span {
    let behind_name = field.line.iter().skip(field.name.len() + 1);
    let blanks = behind_name.take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    let start = line.start as usize + field.name.len() + 1 + blanks;
    if line.is_empty() || field.value.is_empty() {
        return Span::default();
    }
    Span::new(start, start + field.value.len())
}

/// The line that `Via` is longer by: the version that the message came in, and who passes it on
/// (RFC 9110 §7.6.3).
fn put_via(version: Version, via: Option<&str>, out: &mut impl Append) {
    let Some(name) = via else { return };
    out.append(match version {
        Version::Http10 => b"Via: 1.0 ",
        Version::Http11 => b"Via: 1.1 ",
    });
    out.append(name.as_bytes());
    out.append(b"\r\n");
}

/// How the body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none, because of the method or the status: the length is shown as it came.
    AsIs,
    /// Chunks.
    Chunked,
    /// It ends with the connection.
    Close,
}

/// What a response's head is given on its way.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// When it came, in seconds since the epoch, for one without `Date`; without it none is added.
    pub date: Option<&'a [u8; 29]>,
    /// The request's `X-Request-ID`, at most 128 bytes; empty: none is added.
    pub id: &'a [u8],
    /// Whether the connection closes after it.
    pub close: bool,
    /// Whether it stays open for a client of HTTP/1.0, which must be told.
    pub keep_alive_10: bool,
    /// How the body goes on.
    pub framing: ResponseFraming,
    /// The name that `Via` is given, at most 64 bytes; without one none is added.
    pub via: Option<&'a str>,
    /// A cookie that the client is given.
    pub cookie: Option<SetCookie<'a>>,
    /// What the cache had to do with it, where there is one.
    pub cache: Option<CacheStatus>,
}

impl<'a> Answering<'a> {
    /// On a connection that stays open, for a client of HTTP/1.1, without `Via` and cookie.
    pub const fn new(id: &'a [u8], framing: ResponseFraming) -> Answering<'a> {
        Answering {
            date: None,
            id,
            close: false,
            keep_alive_10: false,
            framing,
            via: None,
            cookie: None,
            cache: None,
        }
    }
}

/// How much room [`response`] and [`interim`] need at most for a head of `head_len` bytes.
pub const fn response_len_bound(head_len: usize) -> usize {
    head_len + RESPONSE_GROWTH
}

/// Writes the head of a final response as it goes to the client; that of a 101 with what makes it
/// one. `out` must have room for [`response_len_bound`] bytes.
pub fn response(head: &ResponseHead, answering: &Answering, out: &mut impl Append) {
    let has_body = !is_never_framed(head.status);
    let framing = if has_body { answering.framing } else { ResponseFraming::AsIs };
    let offers_upgrade = put_response_lines(head, framing, out);
    match answering.framing {
        ResponseFraming::Chunked if has_body => out.append(CHUNKED),
        ResponseFraming::AsIs | ResponseFraming::Chunked | ResponseFraming::Close => (),
    }
    if let Some(text) = answering.date {
        date::put_text(text, out); // RFC 9110 §6.6.1
    }
    if head.request_id.is_none() {
        put_id(answering.id, out);
    }
    put_via(head.version, answering.via, out);
    if let Some(cookie) = &answering.cookie {
        cookie::put_set_cookie(cookie, out);
    }
    if let Some(status) = answering.cache {
        cache_status::write(status, out);
    }
    if let Some(protocol) = head.switches_to {
        out.append(b"Connection: upgrade\r\nUpgrade: ");
        out.append(upgrade::normal(protocol));
        out.append(b"\r\n\r\n");
    } else {
        put_connection(answering, offers_upgrade, out);
    }
}

/// Writes the end of a head whose lines were stored before, without a length if it has none: what each answer
/// is given on its way, and the empty line. At most [`response_len_bound`] of nothing.
pub fn end_of_stored(answering: &Answering, out: &mut impl Append) {
    if answering.framing == ResponseFraming::Chunked {
        out.append(CHUNKED);
    }
    put_id(answering.id, out);
    put_via(Version::Http11, answering.via, out);
    put_connection(answering, false, out);
}

#[inline]
fn put_id(id: &[u8], out: &mut impl Append) {
    if !id.is_empty() {
        out.append(b"X-Request-ID: ");
        out.append(id);
        out.append(b"\r\n");
    }
}

/// Writes what the client must know of its connection, and the empty line.
fn put_connection(answering: &Answering, offers_upgrade: bool, out: &mut impl Append) {
    let closes = answering.close || answering.framing == ResponseFraming::Close;
    out.append(match (closes, answering.keep_alive_10, offers_upgrade) {
        (false, false, false) => b"\r\n",
        (true, _, false) => b"Connection: close\r\n\r\n",
        (false, true, false) => b"Connection: keep-alive\r\n\r\n",
        (false, false, true) => b"Connection: upgrade\r\n\r\n",
        (true, _, true) => b"Connection: close, upgrade\r\n\r\n",
        (false, true, true) => b"Connection: keep-alive, upgrade\r\n\r\n",
    });
}

/// Writes the head of an interim response, any of 1xx but 101. `via` and the room are as for
/// [`response`].
pub fn interim(head: &ResponseHead, via: Option<&str>, out: &mut impl Append) {
    put_response_lines(head, ResponseFraming::AsIs, out);
    put_via(head.version, via, out);
    out.append(b"\r\n");
}

/// Whether a status forbids `Content-Length` and `Transfer-Encoding`: RFC 9110 §8.6, RFC 9112 §6.1.
const fn is_never_framed(status: u16) -> bool {
    matches!(status, 100..=199 | 204)
}

/// Writes the lines that go on. Says whether there is an `Upgrade` among them: that of a 426, which
/// must say to which protocol (RFC 9110 §15.5.22).
fn put_response_lines(
    head: &ResponseHead,
    framing: ResponseFraming,
    out: &mut impl Append,
) -> bool {
    let mut offers_upgrade = false;
    let before_fields = head.before_fields();
    // Neighbouring lines that go on are copied at once.
    let mut run = 0;
    if !is_status_line_as_written(head.bytes) {
        put_status_line(head.status, head.reason, out);
        run = before_fields;
    }
    let shows_length = framing == ResponseFraming::AsIs && !is_never_framed(head.status);
    let may_trail = matches!(framing, ResponseFraming::AsIs | ResponseFraming::Chunked);
    let nominated = head.fields.nominated();
    for (at, line) in head.fields.in_question() {
        let name = || head.fields.field_at(at, line).name;
        let copied = match line.name {
            Name::Connection | Name::KeepAlive | Name::Proxy | Name::ProxyConnection => false,
            Name::Te | Name::TransferEncoding => false,
            Name::ContentLength => shows_length,
            Name::Trailer if !may_trail => false,
            Name::Upgrade => head.status == 426,
            Name::XRequestId => true,
            Name::Shadow if is_shadow_of_framing(name()) => false,
            Name::Other
            | Name::Authorization
            | Name::CdnLoop
            | Name::Cookie
            | Name::Date
            | Name::Expect
            | Name::Forwarded
            | Name::Host
            | Name::IdempotencyKey
            | Name::MaxForwards
            | Name::Shadow
            | Name::Trailer
            | Name::UserAgent
            | Name::WwwAuthenticate
            | Name::XForwarded
            | Name::XRealIp => !is_nominated(&nominated, name()),
        };
        offers_upgrade |= copied && line.name == Name::Upgrade;
        if !copied {
            out.append(&head.bytes[run..before_fields + at]);
            run = before_fields + at + line.len;
        }
    }
    out.append(&head.bytes[run..]);
    offers_upgrade
}

/// Whether a valid status line is what [`put_status_line`] writes: some lack the space before an empty
/// reason, and HTTP/1.0 goes on as 1.1.
fn is_status_line_as_written(line: &[u8]) -> bool {
    line.starts_with(b"HTTP/1.1 ") && line.get(b"HTTP/1.1 200".len()) == Some(&b' ')
}

/// Writes the status line of a response.
pub fn put_status_line(status: u16, reason: &[u8], out: &mut impl Append) {
    out.append(b"HTTP/1.1 ");
    out.append(&status_digits(status));
    out.append(b" ");
    out.append(reason);
    out.append(b"\r\n");
}

fn put_length(length: u64, out: &mut impl Append) {
    out.append(b"Content-Length: ");
    append_decimal(length, out);
    out.append(b"\r\n");
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "rewrite_mutation_tests.rs"]
mod mutation_tests;

#[cfg(test)]
#[path = "rewrite_anew_tests.rs"]
mod anew_tests;
