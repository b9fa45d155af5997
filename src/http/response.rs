//! Response heads: RFC 9112 §4 and §5, read in one pass that validates every byte.

use super::auth;
use super::fields::{Behind, ConnectionOptions, Fields, Line, Notes, list_members};
use super::framing::{BadFraming, FramingFields, decimal};
use super::message::{self, Framing, Single, Version};
use super::names::Name;
use super::scan;

/// A valid response head. Everything in it borrows from the bytes it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// 100 to 999; what is above 599 is like a 5xx (RFC 9110 §15).
    pub status: u16,
    /// As the backend speaks it.
    pub version: Version,
    /// The reason phrase, perhaps empty.
    pub reason: &'a [u8],
    /// The status line and all field lines, as they came.
    pub bytes: &'a [u8],
    /// All field lines.
    pub fields: Fields<'a>,
    /// How long the body is, if the request and the status allow one:
    /// [`of_response`](super::body::of_response).
    pub framing: Framing,
    /// Whether the backend goes on after this response (RFC 9112 §9.3), as far as it says.
    pub keep_alive: bool,
    /// How long the backend keeps an unused connection: `Keep-Alive: timeout=SECONDS`.
    pub keep_alive_timeout_secs: Option<u32>,
    /// Whether there is a `Date` that goes on.
    pub has_date: bool,
    /// The value of `X-Request-ID`. Several lines count as an empty one, which is nobody's.
    pub request_id: Option<&'a [u8]>,
    /// The one protocol that a 101 switches to (RFC 9110 §7.8).
    pub switches_to: Option<&'a [u8]>,
    /// It asks for credentials that are for its connection: see [`auth`].
    pub authenticates_connection: bool,
}

impl ResponseHead<'_> {
    /// Bytes of the whole head, with its empty line.
    pub fn whole_len(&self) -> usize {
        self.bytes.len() + b"\r\n".len()
    }

    /// How many bytes the status line has.
    pub(super) fn before_fields(&self) -> usize {
        self.bytes.len() - self.fields.lines().len()
    }
}

/// A response head that was read, as little of it as is needed to have it again later without
/// validating its bytes once more: they lie unchanged until then.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    len: usize,
    reason_len: usize,
    lines_len: usize,
    status: u16,
    version: Version,
    framing: Framing,
    keep_alive: bool,
    nominates: bool,
    has_date: bool,
    has_request_id: bool,
    switches: bool,
    notes: Notes,
}

/// Bytes of `HTTP/1.x NNN` and the space behind it.
const BEFORE_REASON: usize = 13;

impl Reading {
    /// Notes what is known of `head`.
    pub fn new(head: &ResponseHead) -> Reading {
        Reading {
            len: head.whole_len(),
            reason_len: head.reason.len(),
            lines_len: head.fields.lines().len(),
            status: head.status,
            version: head.version,
            framing: head.framing,
            keep_alive: head.keep_alive,
            nominates: head.fields.nominates(),
            has_date: head.has_date,
            has_request_id: head.request_id.is_some(),
            switches: head.switches_to.is_some(),
            notes: head.fields.notes(),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether there is a `Date` that goes on.
    pub fn has_date(&self) -> bool {
        self.has_date
    }

    /// Bytes of the head.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The head at the front of `bytes`, which begin as they did when it was read. What is needed
    /// only then (the value of `X-Request-ID`, `Keep-Alive`, whether it authenticates) is not there again.
    #[inline]
    pub fn open<'a>(&self, bytes: &'a [u8]) -> ResponseHead<'a> {
        let end = self.len - b"\r\n".len();
        let lines = &bytes[end - self.lines_len..end];
        let fields = Fields::new(lines, self.nominates, self.notes);
        ResponseHead {
            status: self.status,
            version: self.version,
            reason: match self.reason_len {
                0 => b"",
                len => &bytes[BEFORE_REASON..BEFORE_REASON + len],
            },
            bytes: &bytes[..end],
            fields,
            framing: self.framing,
            keep_alive: self.keep_alive,
            keep_alive_timeout_secs: None,
            has_date: self.has_date,
            request_id: self.has_request_id.then_some(b""),
            switches_to: if self.switches { fields.values("upgrade").next() } else { None },
            authenticates_connection: false,
        }
    }
}

/// Why what a backend sent is no response. All are the same to the client (502) and to the
/// connection (dropped); they are told apart for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// No status line of HTTP/1, or a status below 100.
    StatusLine,
    /// A line that is no valid field.
    Field,
    /// It is doubtful where the response ends.
    Framing,
    /// It is, but only because chunked is said more than once: [`parse_repeats`] reads it.
    RepeatedChunked,
    /// More fields than a response may have, or too many names in its `Connection`.
    TooManyFields,
}

/// The field lines that the head of a response may have by default: ten times those of a request.
pub const MAX_FIELDS: usize = 10 * message::MAX_FIELDS;

impl From<BadFraming> for BadResponse {
    fn from(bad: BadFraming) -> BadResponse {
        match bad {
            BadFraming::RepeatedChunked => BadResponse::RepeatedChunked,
            BadFraming::Length
            | BadFraming::UnknownCoding
            | BadFraming::Coding
            | BadFraming::Both
            | BadFraming::CodingInHttp10 => BadResponse::Framing,
        }
    }
}

/// Reads a response head of at most [`MAX_FIELDS`] fields: [`parse_within`].
pub fn parse(head: &[u8]) -> Result<ResponseHead<'_>, BadResponse> {
    parse_within(head, MAX_FIELDS)
}

/// Reads a response head that [`HeadScan`](scan::HeadScan) found whole: `head` ends with its empty
/// line. Any other bytes are refused, none do harm.
pub fn parse_within(head: &[u8], max_fields: usize) -> Result<ResponseHead<'_>, BadResponse> {
    parse_by(head, max_fields, FramingFields::judge)
}

/// The same, where chunked may be said more than once.
pub fn parse_repeats(head: &[u8], max_fields: usize) -> Result<ResponseHead<'_>, BadResponse> {
    parse_by(head, max_fields, FramingFields::judge_repeats)
}

/// Reads a response head at the front of `bytes` without a search for its end before. An error says no more
/// than that it is not whole or not valid; which, and why, is told once it was searched.
pub fn parse_front(bytes: &[u8], max_fields: usize) -> Result<ResponseHead<'_>, BadResponse> {
    read(bytes, max_fields, FramingFields::judge, Behind::Anything)
}

fn parse_by(
    bytes: &[u8],
    max_fields: usize,
    judge: impl Fn(&FramingFields, Version) -> Result<Framing, BadFraming>,
) -> Result<ResponseHead<'_>, BadResponse> {
    read(bytes, max_fields, judge, Behind::Nothing)
}

/// Reads the head at the front of `bytes`.
fn read(
    bytes: &[u8],
    max_fields: usize,
    judge: impl Fn(&FramingFields, Version) -> Result<Framing, BadFraming>,
    behind: Behind,
) -> Result<ResponseHead<'_>, BadResponse> {
    let (line, lines) = StatusLine::read(bytes).ok_or(BadResponse::StatusLine)?;
    let before_lines = bytes.len() - lines.len();
    let mut facts = ResponseFields::default();
    let lines = facts.collect(lines, max_fields, behind)?;
    let bytes_len = before_lines + lines.len();
    let framing = judge(&facts.framing, line.version)?;
    let options = facts.connection;
    let fields = Fields::new(lines, options.others > 0, facts.notes);
    Ok(ResponseHead {
        status: line.status,
        version: line.version,
        reason: line.reason,
        bytes: &bytes[..bytes_len],
        fields,
        framing,
        keep_alive: !options.close && (line.version == Version::Http11 || options.keep_alive),
        keep_alive_timeout_secs: facts.keep_alive_timeout_secs,
        has_date: facts.has_date
            && !fields.nominated().is_some_and(|names| names.contains(b"date")),
        request_id: match facts.request_id {
            Single::Absent => None,
            Single::Once(id) => Some(id),
            Single::Several => Some(b""),
        },
        switches_to: facts
            .upgrade
            .only()
            .filter(|_| line.status == 101 && line.version == Version::Http11 && options.upgrade),
        authenticates_connection: facts.authenticates_connection,
    })
}

/// `HTTP/1.x SP status [SP reason] CRLF`: RFC 9112 §4, whose space before an empty reason is
/// often forgotten.
struct StatusLine<'a> {
    version: Version,
    status: u16,
    reason: &'a [u8],
}

impl<'a> StatusLine<'a> {
    /// Reads the line, and returns what follows it. Nearly all are the same.
    fn read(head: &'a [u8]) -> Option<(StatusLine<'a>, &'a [u8])> {
        match head.strip_prefix(b"HTTP/1.1 200 OK\r\n") {
            Some(lines) => {
                let version = Version::Http11;
                Some((StatusLine { version, status: 200, reason: b"OK" }, lines))
            }
            None => StatusLine::read_any(head),
        }
    }

    fn read_any(head: &'a [u8]) -> Option<(StatusLine<'a>, &'a [u8])> {
        let (minor, rest) = head.strip_prefix(b"HTTP/1.")?.split_first()?;
        let version = match minor {
            b'0' => Version::Http10,
            b'1'..=b'9' => Version::Http11,
            _ => return None,
        };
        let (digits, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let status = u16::try_from(decimal(digits)?).ok()?;
        let (reason, rest) = match rest.strip_prefix(b" ") {
            Some(rest) => rest.split_at_checked(scan::value_len(rest))?,
            None => (&[][..], rest),
        };
        let lines = rest.strip_prefix(b"\r\n")?;
        (100..=999).contains(&status).then_some((StatusLine { version, status, reason }, lines))
    }
}

/// What the fields of a response say, as far as it matters here.
#[derive(Default)]
struct ResponseFields<'a> {
    framing: FramingFields,
    connection: ConnectionOptions,
    keep_alive_timeout_secs: Option<u32>,
    upgrade: Single<'a>,
    has_date: bool,
    request_id: Single<'a>,
    authenticates_connection: bool,
    notes: Notes,
}

impl<'a> ResponseFields<'a> {
    /// Validates the field lines at the front of `bytes` up to the empty one, and takes in what they
    /// say. Returns the lines without the empty one.
    fn collect(
        &mut self,
        bytes: &'a [u8],
        max_fields: usize,
        behind: Behind,
    ) -> Result<&'a [u8], BadResponse> {
        let (mut rest, mut count) = (bytes, 0);
        while !rest.starts_with(b"\r\n") {
            let line = Line::read(rest).ok_or(BadResponse::Field)?;
            if line.name != Name::Other {
                self.add(line.name, || line.value(rest));
                self.notes.add(bytes.len() - rest.len(), line);
            }
            rest = &rest[line.len..];
            count += 1;
            if count > max_fields {
                return Err(BadResponse::TooManyFields);
            }
        }
        if behind == Behind::Nothing && rest.len() > b"\r\n".len() {
            return Err(BadResponse::Field);
        }
        let are_too_many = self.connection.are_too_many();
        if are_too_many {
            Err(BadResponse::TooManyFields)
        } else {
            Ok(&bytes[..bytes.len() - rest.len()])
        }
    }

    /// Takes in one field. Of many only the name is asked for.
    #[inline(always)]
    fn add(&mut self, name: Name, value: impl FnOnce() -> &'a [u8]) {
        match name {
            Name::Connection => self.connection.add(value()),
            Name::ContentLength => self.framing.add_length(value()),
            Name::Date => self.has_date = true,
            Name::KeepAlive => self.keep_alive_timeout_secs = keep_alive_timeout(value()),
            Name::TransferEncoding => self.framing.add_coding(value()),
            Name::Upgrade => self.upgrade.add(value()),
            Name::WwwAuthenticate => {
                self.authenticates_connection |= auth::is_of_connection(value());
            }
            Name::XRequestId => self.request_id.add(value()),
            Name::Other
            | Name::Authorization
            | Name::CdnLoop
            | Name::Cookie
            | Name::Expect
            | Name::Forwarded
            | Name::Host
            | Name::IdempotencyKey
            | Name::MaxForwards
            | Name::Proxy
            | Name::ProxyConnection
            | Name::Te
            | Name::Trailer
            | Name::UserAgent
            | Name::XForwarded
            | Name::XRealIp
            | Name::Shadow => (),
        }
    }
}

/// The seconds in `timeout=5, max=100` (RFC 2068 §19.7.1.1).
fn keep_alive_timeout(value: &[u8]) -> Option<u32> {
    let seconds = list_members(value).find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked("timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then_some(seconds)
    })?;
    u32::try_from(decimal(seconds)?).ok()
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
