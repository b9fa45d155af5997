//! Request heads: RFC 9112 §3 and §5, read in one pass that validates every byte.

use std::net::Ipv6Addr;

use super::auth;
use super::fields::{Behind, ConnectionOptions, Fields, Line, Notes, list_members};
use super::framing::{BadFraming, FramingFields, decimal};
use super::message::{Framing, MAX_FIELDS, Single, Version};
use super::method::Method;
use super::names::Name;
use super::scan::{self, is_reg_name_byte};

/// A valid request head. Everything in it borrows from the bytes it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// What the method means.
    pub method: Method,
    /// The method as it came.
    pub method_name: &'a [u8],
    /// Begins with `/`, or is `*` (only with OPTIONS), or begins with `?` where an absolute-form
    /// target had no path, so that a `/` belongs before it. Of an absolute-form target only path and
    /// query are left.
    pub target: &'a [u8],
    /// The target has bytes from 0x80 on, as [`Refusal::RawTarget`] says. Only [`parse_any`] takes those.
    pub has_raw_target: bool,
    /// The host that is meant, with its port if that was given: of an absolute-form target, else
    /// of `Host`. Empty if `Host` was, and where HTTP/1.0 came without.
    pub authority: &'a [u8],
    /// As the client speaks it.
    pub version: Version,
    /// The request line and all field lines, as they came.
    pub bytes: &'a [u8],
    /// An empty line stood before it.
    pub follows_empty_line: bool,
    /// All field lines.
    pub fields: Fields<'a>,
    /// How long the body is.
    pub framing: Framing,
    /// Whether the client goes on after this request (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body. Never in HTTP/1.0
    /// (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether the client expects anything else, which nobody here can meet. Nor that in HTTP/1.0.
    pub expect_other: bool,
    /// Whether the client offers to switch protocols (RFC 9110 §7.8): in HTTP/1.1, with an `Upgrade`
    /// that `Connection` names. To which ones it may: [`offered`](super::upgrade::offered).
    pub upgrade: bool,
    /// Whether the client takes trailers: `TE: trailers`. Never in HTTP/1.0, which has none.
    pub te_trailers: bool,
    /// How many hops more the request may take, with TRACE and OPTIONS (RFC 9110 §7.6.2). With 0 it
    /// ends here. `None` without `Max-Forwards`, and with other methods, where it means nothing.
    pub max_forwards: Option<u64>,
    /// The client's `X-Request-ID`, if there is one only, of 1 to 128 allowed characters.
    pub request_id: Option<&'a [u8]>,
    /// Whether an `Idempotency-Key` allows to send the request again.
    pub idempotency_key: bool,
    /// Its credentials are for the connection that it goes over: see [`auth`].
    pub authorizes_connection: bool,
}

impl RequestHead<'_> {
    /// Whether the request may be sent again although it may have been acted on: by its method (RFC
    /// 9110 §9.2.2), or because it carries an `Idempotency-Key`.
    pub fn is_idempotent(&self) -> bool {
        self.method.is_idempotent() || self.idempotency_key
    }

    /// Bytes of the whole head: with its empty line, and one before it.
    pub fn whole_len(&self) -> usize {
        self.bytes.len() + b"\r\n".len() * (1 + usize::from(self.follows_empty_line))
    }

    /// How many bytes the request line has.
    pub(super) fn before_fields(&self) -> usize {
        self.bytes.len() - self.fields.lines().len()
    }

    /// Whether the request is answered here whatever it asks for: it may take no further hop.
    pub fn ends_here(&self) -> bool {
        self.max_forwards == Some(0)
    }
}

/// Why a request is answered by the proxy itself. Each variant is treated or reported differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head does not follow the grammar.
    Malformed,
    /// The target has bytes from 0x80 on, and all else is right. Found by whoever chose the pool, which
    /// may tolerate them.
    RawTarget,
    /// `Host` is missing in HTTP/1.1, there more than once, or no host; or the target's is none.
    Host,
    /// It is doubtful where the body ends.
    Framing,
    /// A transfer coding that exists, but is not served.
    Coding,
    /// CONNECT is not served.
    Connect,
    /// The request is of HTTP/2 or above.
    Version,
    /// The head has more fields than it may, or too many names in its `Connection`.
    TooManyFields,
    /// An expectation that nobody here can meet. The request is valid otherwise, so the connection
    /// may go on behind its body. Found by whoever takes the request in.
    Expectation,
    /// The request line alone is longer than a head may be. Found by whoever reads the head.
    TargetTooLong,
    /// The head is longer than allowed. Found by whoever reads the head.
    HeadTooLong,
    /// The body is larger than the pool allows. Found by whoever chose the pool.
    BodyTooLarge,
    /// The request has passed here too often. Found by whoever takes the request in.
    Loop,
    /// The client took too long to send its head or body. Found by whoever waited.
    TimedOut,
}

impl Refusal {
    /// The status code of the answer.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed | Refusal::RawTarget | Refusal::Host | Refusal::Framing => 400,
            Refusal::TimedOut => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::Loop => 502,
            Refusal::TargetTooLong => 414,
            Refusal::Expectation => 417,
            Refusal::TooManyFields | Refusal::HeadTooLong => 431,
            Refusal::Coding | Refusal::Connect => 501,
            Refusal::Version => 505,
        }
    }

    /// The `error=` of `Proxy-Status` (RFC 9209 §2.3).
    pub fn error(self) -> &'static str {
        match self {
            Refusal::BodyTooLarge => "http_request_denied",
            Refusal::Loop => "proxy_loop_detected",
            Refusal::Malformed
            | Refusal::RawTarget
            | Refusal::Host
            | Refusal::Framing
            | Refusal::Coding
            | Refusal::Connect
            | Refusal::Version
            | Refusal::TooManyFields
            | Refusal::Expectation
            | Refusal::TargetTooLong
            | Refusal::HeadTooLong
            | Refusal::TimedOut => "http_request_error",
        }
    }

    /// Whether nothing more may be read from the connection as HTTP.
    pub fn closes(self) -> bool {
        !matches!(self, Refusal::Expectation)
    }
}

impl From<BadFraming> for Refusal {
    fn from(bad: BadFraming) -> Refusal {
        match bad {
            BadFraming::UnknownCoding => Refusal::Coding,
            BadFraming::Length
            | BadFraming::Coding
            | BadFraming::RepeatedChunked
            | BadFraming::Both
            | BadFraming::CodingInHttp10 => Refusal::Framing,
        }
    }
}

/// Reads a request head of at most [`MAX_FIELDS`] fields: [`parse_within`].
pub fn parse(head: &[u8]) -> Result<RequestHead<'_>, Refusal> {
    parse_within(head, MAX_FIELDS)
}

/// Reads a request head that [`HeadScan`](scan::HeadScan) found whole: `head` ends with its empty
/// line. Any other bytes are refused, none do harm.
pub fn parse_within(head: &[u8], max_fields: usize) -> Result<RequestHead<'_>, Refusal> {
    parse_by(head, max_fields, scan::target_len)
}

/// Reads a request head at the front of `bytes` without a search for its end before. A refusal says no more
/// than that it is not whole or not valid; which, and why, is told once it was searched.
pub fn parse_front(bytes: &[u8], max_fields: usize) -> Result<RequestHead<'_>, Refusal> {
    read(bytes, max_fields, scan::target_len, Behind::Anything)
}

/// Reads a whole request head, where the target may have bytes from 0x80 on.
pub fn parse_any(head: &[u8], max_fields: usize) -> Result<RequestHead<'_>, Refusal> {
    match parse_within(head, max_fields) {
        Err(Refusal::Malformed) => match parse_by(head, max_fields, scan::raw_target_len) {
            Ok(head) => Ok(RequestHead { has_raw_target: true, ..head }),
            Err(_) => Err(Refusal::Malformed),
        },
        read => read,
    }
}

fn parse_by(
    bytes: &[u8],
    max_fields: usize,
    target_len: impl Fn(&[u8]) -> usize,
) -> Result<RequestHead<'_>, Refusal> {
    read(bytes, max_fields, target_len, Behind::Nothing)
}

/// Reads the head at the front of `bytes`.
fn read(
    bytes: &[u8],
    max_fields: usize,
    target_len: impl Fn(&[u8]) -> usize,
    behind: Behind,
) -> Result<RequestHead<'_>, Refusal> {
    let whole = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let (line, lines) = RequestLine::read(whole, target_len)?;
    if line.method == Method::Connect {
        return Err(Refusal::Connect);
    }
    let target = Target::parse(line.method, line.target)?;
    let mut facts = RequestFields::default();
    let before_lines = whole.len() - lines.len();
    let lines = facts.collect(lines, max_fields, behind)?;
    let bytes_len = before_lines + lines.len();
    let authority = facts.authority(line.version, &target)?;
    let framing = facts.framing.judge(line.version)?;
    let is_http11 = line.version == Version::Http11;
    let options = facts.connection;
    Ok(RequestHead {
        method: line.method,
        method_name: line.method_name,
        target: target.path_and_query,
        has_raw_target: false,
        authority,
        version: line.version,
        bytes: &whole[..bytes_len],
        follows_empty_line: whole.len() < bytes.len(),
        fields: Fields::new(lines, options.others > 0, facts.notes),
        framing,
        keep_alive: !options.close && (is_http11 || options.keep_alive),
        expect_continue: is_http11 && facts.expect == Expect::Continue,
        expect_other: is_http11 && facts.expect == Expect::Other,
        upgrade: is_http11 && facts.has_upgrade && options.upgrade,
        te_trailers: is_http11 && facts.te_trailers,
        max_forwards: facts.max_forwards(line.method),
        request_id: facts.request_id.only().filter(|id| is_request_id(id)),
        idempotency_key: facts.idempotency_key,
        authorizes_connection: facts.authorizes_connection,
    })
}

/// Why bytes that have no end of a head within `limit` of them are refused: what there is of it is
/// too long a request line, or too many fields.
pub fn too_long(bytes: &[u8], limit: usize) -> Refusal {
    // The line end of an empty line before the request does not count.
    let has_line = bytes.iter().take(limit).skip(2).any(|byte| *byte == b'\n');
    if has_line { Refusal::HeadTooLong } else { Refusal::TargetTooLong }
}

/// `method SP target SP version CRLF`, with exactly one space each (RFC 9112 §3).
struct RequestLine<'a> {
    method: Method,
    method_name: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    /// Reads the line, and returns what follows it.
    fn read(
        head: &'a [u8],
        target_len: impl Fn(&[u8]) -> usize,
    ) -> Result<(RequestLine<'a>, &'a [u8]), Refusal> {
        let (method, method_name, rest) = match head.strip_prefix(b"GET ") {
            Some(rest) => (Method::Get, &head[..3], rest), // as most are
            None => {
                let (name, rest) = split_word(head, scan::token_len(head))?;
                (Method::from_name(name), name, rest)
            }
        };
        let (target, rest) = split_word(rest, target_len(rest))?;
        let (version, lines) = read_version(rest)?;
        Ok((RequestLine { method, method_name, target, version }, lines))
    }
}

/// The first `len` bytes and what stands behind the space that follows them.
fn split_word(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), Refusal> {
    let (word, rest) = bytes.split_at_checked(len).ok_or(Refusal::Malformed)?;
    let rest = rest.strip_prefix(b" ").ok_or(Refusal::Malformed)?;
    if word.is_empty() { Err(Refusal::Malformed) } else { Ok((word, rest)) }
}

/// The version at the end of a request line, and what follows its CRLF (RFC 9112 §2.3). HTTP/0.9
/// had no such line, so whoever writes one means nothing good.
#[inline]
fn read_version(bytes: &[u8]) -> Result<(Version, &[u8]), Refusal> {
    match bytes.strip_prefix(b"HTTP/1.1\r\n") {
        Some(rest) => Ok((Version::Http11, rest)), // as nearly all say
        None => read_other_version(bytes),
    }
}

fn read_other_version(bytes: &[u8]) -> Result<(Version, &[u8]), Refusal> {
    match bytes {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r', b'\n', rest @ ..] => {
            match (major, minor) {
                (b'1', b'0') => Ok((Version::Http10, rest)),
                (b'1', b'1'..=b'9') => Ok((Version::Http11, rest)),
                (b'2'..=b'9', b'0'..=b'9') => Err(Refusal::Version),
                _ => Err(Refusal::Malformed),
            }
        }
        _ => Err(Refusal::Malformed),
    }
}

/// A request target, taken apart (RFC 9112 §3.2).
struct Target<'a> {
    /// Of the absolute form only.
    authority: Option<&'a [u8]>,
    path_and_query: &'a [u8],
}

impl<'a> Target<'a> {
    #[inline]
    fn parse(method: Method, target: &'a [u8]) -> Result<Target<'a>, Refusal> {
        match target {
            [b'/', ..] => Ok(Target { authority: None, path_and_query: target }),
            b"*" if method == Method::Options => {
                Ok(Target { authority: None, path_and_query: target })
            }
            _ => Target::absolute(method, target),
        }
    }

    /// `http://authority/path?query`. Without a path `/` is meant, or for OPTIONS the server as a
    /// whole (RFC 9112 §3.2.4). Of a query without a path the slash does not stand in the head:
    /// whoever writes it anew puts it before.
    #[inline(never)]
    fn absolute(method: Method, target: &'a [u8]) -> Result<Target<'a>, Refusal> {
        let rest = strip_scheme(target, b"http://")
            .or_else(|| strip_scheme(target, b"https://"))
            .ok_or(Refusal::Malformed)?;
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at_checked(end).ok_or(Refusal::Malformed)?;
        if !is_authority(authority) {
            return Err(Refusal::Host);
        }
        let path_and_query = match path_and_query {
            [] if method == Method::Options => b"*",
            [] => b"/",
            _ => path_and_query,
        };
        Ok(Target { authority: Some(authority), path_and_query })
    }
}

fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether `authority` is a host and perhaps a port: RFC 3986 §3.2 without user information, the
/// host not empty, the port at most five digits and at most 65535. An empty port is none.
fn is_authority(authority: &[u8]) -> bool {
    let host_end = match authority.strip_prefix(b"[") {
        Some(literal) => match memchr::memchr(b']', literal) {
            Some(end) if is_ip_literal(&literal[..end]) => end + 2,
            Some(_) | None => return false,
        },
        None => reg_name_len(authority),
    };
    let port_is_right = match authority.get(host_end..) {
        Some([]) | Some([b':']) => true,
        Some([b':', port @ ..]) => {
            port.len() <= 5 && decimal(port).is_some_and(|port| port <= 65535)
        }
        Some(_) | None => false,
    };
    host_end > 0 && port_is_right
}

/// Whether this may stand in brackets: an IPv6 address, or one of a later version, which begins with
/// `v`, that version in hex digits and a dot.
fn is_ip_literal(literal: &[u8]) -> bool {
    let [b'v' | b'V', future @ ..] = literal else {
        return std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    };
    let digits = future.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let Some((b".", address)) = future[digits..].split_at_checked(1) else { return false };
    let may_stand = |&byte: &u8| is_reg_name_byte(byte) || byte == b':';
    digits > 0 && !address.is_empty() && address.iter().all(may_stand)
}

/// How many bytes at the front are a registered name or an IPv4 address (RFC 3986 §3.2.2).
fn reg_name_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    loop {
        let rest = bytes.get(len..).unwrap_or_default();
        len += rest.iter().take_while(|byte| is_reg_name_byte(**byte)).count();
        match bytes.get(len..) {
            Some([b'%', high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                len += 3;
            }
            Some(_) | None => return len,
        }
    }
}

/// Whether `id` may be kept as the request's identity: 1 to 128 of `A-Za-z0-9._:/+=-`.
fn is_request_id(id: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(is_allowed)
}

/// What the `Expect` fields ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    Continue,
    Other,
}

/// What the fields of a request say, as far as it matters here.
#[derive(Default)]
struct RequestFields<'a> {
    host: Single<'a>,
    framing: FramingFields,
    connection: ConnectionOptions,
    expect: Expect,
    has_upgrade: bool,
    te_trailers: bool,
    max_forwards: Single<'a>,
    request_id: Single<'a>,
    idempotency_key: bool,
    authorizes_connection: bool,
    notes: Notes,
}

impl<'a> RequestFields<'a> {
    /// Validates the field lines at the front of `bytes` up to the empty one, and takes in what they
    /// say. Returns the lines without the empty one.
    fn collect(
        &mut self,
        bytes: &'a [u8],
        max_fields: usize,
        behind: Behind,
    ) -> Result<&'a [u8], Refusal> {
        let (mut rest, mut count) = (bytes, 0);
        while !rest.starts_with(b"\r\n") {
            let line = Line::read(rest).ok_or(Refusal::Malformed)?;
            if line.name != Name::Other {
                self.add(line.name, || line.value(rest));
                self.notes.add(bytes.len() - rest.len(), line);
            }
            rest = &rest[line.len..];
            count += 1;
            if count > max_fields {
                return Err(Refusal::TooManyFields);
            }
        }
        if behind == Behind::Nothing && rest.len() > b"\r\n".len() {
            return Err(Refusal::Malformed);
        }
        let are_too_many = self.connection.are_too_many();
        if are_too_many {
            Err(Refusal::TooManyFields)
        } else {
            Ok(&bytes[..bytes.len() - rest.len()])
        }
    }

    /// Takes in one field. Of many only the name is asked for.
    #[inline(always)]
    fn add(&mut self, name: Name, value: impl FnOnce() -> &'a [u8]) {
        match name {
            Name::Authorization => self.authorizes_connection |= auth::is_of_connection(value()),
            Name::Connection => self.connection.add(value()),
            Name::ContentLength => self.framing.add_length(value()),
            Name::Expect => self.add_expect(value()),
            Name::Host => self.host.add(value()),
            Name::IdempotencyKey => self.idempotency_key = true,
            Name::MaxForwards => self.max_forwards.add(value()),
            Name::Te => self.te_trailers |= lists(value(), b"trailers"),
            Name::TransferEncoding => self.framing.add_coding(value()),
            Name::Upgrade => self.has_upgrade = true,
            Name::XRequestId => self.request_id.add(value()),
            Name::Other
            | Name::CdnLoop
            | Name::Cookie
            | Name::Date
            | Name::Forwarded
            | Name::KeepAlive
            | Name::Proxy
            | Name::ProxyConnection
            | Name::Trailer
            | Name::UserAgent
            | Name::WwwAuthenticate
            | Name::XForwarded
            | Name::XRealIp
            | Name::Shadow => (),
        }
    }

    /// A list of nothing expects nothing (RFC 9110 §10.1.1).
    fn add_expect(&mut self, value: &[u8]) {
        if list_members(value).next().is_none() {
            return;
        }
        let known = value.eq_ignore_ascii_case(b"100-continue");
        self.expect = match self.expect {
            Expect::Nothing | Expect::Continue if known => Expect::Continue,
            Expect::Nothing | Expect::Continue | Expect::Other => Expect::Other,
        };
    }

    /// How many hops more a request of this method may take. Numbers beyond 2⁶⁴ are that (RFC 9110
    /// §7.6.2). What is no number says nothing, and passes as it is.
    #[inline]
    fn max_forwards(&self, method: Method) -> Option<u64> {
        match (method, self.max_forwards) {
            (Method::Trace | Method::Options, Single::Once(hops))
                if !hops.is_empty() && hops.iter().all(u8::is_ascii_digit) =>
            {
                Some(decimal(hops).unwrap_or(u64::MAX))
            }
            _ => None,
        }
    }

    /// The host that the request is for: RFC 9112 §3.2 and §3.3. An empty `Host` says that there
    /// is none, which an absolute target contradicts.
    fn authority(&self, version: Version, target: &Target<'a>) -> Result<&'a [u8], Refusal> {
        match (self.host, version, target.authority) {
            (Single::Once(b""), _, None) => Ok(b""),
            (Single::Once(host), _, authority) if is_authority(host) => {
                Ok(authority.unwrap_or(host))
            }
            (Single::Absent, Version::Http10, authority) => Ok(authority.unwrap_or_default()),
            (Single::Absent | Single::Once(_) | Single::Several, _, _) => Err(Refusal::Host),
        }
    }
}

/// Whether `wanted` is a member of the list, in any case.
fn lists(value: &[u8], wanted: &[u8]) -> bool {
    list_members(value).any(|member| member.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
