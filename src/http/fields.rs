//! Field lines: reading them, walking them, and what their names say to an intermediary.

use super::names::{self, Name, is_read_as};
use super::scan;

/// One field line (RFC 9112 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// As it came, in whatever case.
    pub name: &'a [u8],
    /// Without the blanks around it.
    pub value: &'a [u8],
    /// The whole line as it came, with its CRLF.
    pub line: &'a [u8],
}

impl<'a> Field<'a> {
    /// Reads and validates the line at the front of `bytes`.
    ///
    /// `None` where it is anything but `name: value CRLF` with a token for a name and a value
    /// without control bytes: a line that is folded, ended by LF alone, without a colon, with a
    /// blank before it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Field<'a>> {
        Line::read(bytes).map(|line| line.field(bytes))
    }

    /// Whether this is the field called `name`, which names it in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Where the parts of a valid field line are that stands at the front of some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// What its name means.
    pub name: Name,
    name_len: usize,
    /// With its CRLF.
    pub len: usize,
}

impl Line {
    /// Reads and validates the line at the front of `bytes`, as [`Field::read`].
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<Line> {
        let (name_len, name) = names::read(bytes)?;
        let behind = &bytes[name_len + 1..];
        let value_len = scan::value_len(behind);
        let len = name_len + 1 + value_len + 2;
        behind[value_len..].starts_with(b"\r\n").then_some(Line { name, name_len, len })
    }

    /// The field of the line, which stands at the front of `bytes`.
    pub fn field<'a>(&self, bytes: &'a [u8]) -> Field<'a> {
        let line = &bytes[..self.len];
        Field { name: &line[..self.name_len], value: self.value(line), line }
    }

    /// Its value alone.
    #[inline]
    pub fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        trim_blanks(&bytes[self.name_len + 1..self.len - 2])
    }
}

/// What may stand behind the empty line that ends a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    Anything,
}

/// The most names in the `Connection` fields of a head, and in any other list of names that is held
/// against the fields: each is compared with each of them.
pub const MAX_NAMES: usize = 64;

/// Names of fields that a head lists in one of its fields, in whatever case, collected once so that
/// each field is held against them alone and not against the whole head.
#[derive(Clone, Copy, Debug)]
pub struct NameSet<'a> {
    names: [&'a [u8]; MAX_NAMES],
    len: usize,
}

impl<'a> NameSet<'a> {
    /// The first [`MAX_NAMES`] of `names`. Whoever lets a head pass makes sure that it has no more.
    pub fn from_names(names: impl Iterator<Item = &'a [u8]>) -> NameSet<'a> {
        let mut set = NameSet { names: [&[]; MAX_NAMES], len: 0 };
        for (place, name) in set.names.iter_mut().zip(names) {
            *place = name;
            set.len += 1;
        }
        set
    }

    /// Whether `name`, in any case, is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.names.iter().take(self.len).any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Where in a head the lines stand that whoever writes it anew has to look at, for what their names
/// mean. The others go on as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    lines: [Note; Notes::MOST],
    /// How many there are. Above [`Notes::MOST`] not all are noted, perhaps none.
    count: u8,
}

/// Where such a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Note {
    start: u16,
    len: u16,
    name_len: u8,
    name: Name,
}

impl Notes {
    const MOST: usize = 12;

    /// Nothing is known: each line is to be looked at.
    fn unknown() -> Notes {
        Notes { count: u8::MAX, ..Notes::default() }
    }

    /// Notes a line that begins so many bytes behind the first.
    #[inline]
    pub fn add(&mut self, start: usize, line: Line) {
        let note = self.lines.get_mut(usize::from(self.count)).zip(Note::new(start, line));
        match note {
            Some((place, note)) => {
                *place = note;
                self.count += 1;
            }
            None => self.count = u8::MAX,
        }
    }

    fn are_all(&self) -> bool {
        usize::from(self.count) <= Notes::MOST
    }

    /// The note at this place, and where its line starts.
    fn get(&self, at: usize) -> Option<(usize, Line)> {
        let note = self.lines.get(at).filter(|_| at < usize::from(self.count))?;
        let (len, name_len) = (usize::from(note.len), usize::from(note.name_len));
        Some((usize::from(note.start), Line { name: note.name, name_len, len }))
    }
}

impl Note {
    #[inline]
    fn new(start: usize, Line { name, name_len, len }: Line) -> Option<Note> {
        let (start, len) = (u16::try_from(start).ok()?, u16::try_from(len).ok()?);
        Some(Note { start, len, name_len: u8::try_from(name_len).ok()?, name })
    }
}

/// The field lines of a head that was validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    lines: &'a [u8],
    /// Whether a `Connection` field names anything but close, keep-alive and upgrade.
    nominates: bool,
    notes: Notes,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields::stored(b"")
    }
}

impl<'a> Fields<'a> {
    /// `lines` were read by [`Field::read`] one by one, without the empty line at their end;
    /// `nominates` says whether `Connection` names fields.
    pub(super) fn new(lines: &'a [u8], nominates: bool, notes: Notes) -> Fields<'a> {
        Fields { lines, nominates, notes }
    }

    /// All lines, as they came.
    pub fn lines(&self) -> &'a [u8] {
        self.lines
    }

    /// Whether `Connection` names fields.
    pub fn nominates(&self) -> bool {
        self.nominates
    }

    /// Whether `Connection` names a field that could come in the trailer section.
    pub(super) fn nominates_trailers(&self) -> bool {
        let may_come = |name: &[u8]| !name.eq_ignore_ascii_case(b"close") && may_trail(name);
        self.nominates && self.values("connection").flat_map(list_members).any(may_come)
    }

    pub(super) fn notes(&self) -> Notes {
        self.notes
    }

    /// Lines that were taken from a valid head, and of which none is for one connection.
    pub fn stored(lines: &'a [u8]) -> Fields<'a> {
        Fields::again(lines, false)
    }

    /// The lines of a head that was valid before, and of which nothing else is known.
    pub(super) fn again(lines: &'a [u8], nominates: bool) -> Fields<'a> {
        Fields::new(lines, nominates, Notes::unknown())
    }

    /// The fields in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            let colon = memchr::memchr(b':', rest)?;
            let (name, behind) = rest.split_at_checked(colon)?;
            let end = colon + memchr::memchr(b'\n', behind)? + 1;
            let (line, following) = rest.split_at_checked(end)?;
            rest = following;
            let value = trim_blanks(line.get(colon + 1..)?.strip_suffix(b"\r\n")?);
            Some(Field { name, value, line })
        })
    }

    /// The lines that may not go on as they came, in their order, each with where it starts: those that
    /// were noted; and all if not all could be, or if `Connection` may name any.
    pub(super) fn in_question(&self) -> InQuestion<'a, '_> {
        InQuestion { fields: self, at: 0, is_each: self.nominates || !self.notes.are_all() }
    }

    /// The field of a line that starts there.
    #[inline]
    pub(super) fn field_at(&self, start: usize, line: Line) -> Field<'a> {
        line.field(&self.lines[start..])
    }

    /// The names in the `Connection` fields: what they name ends with this connection (RFC 9110
    /// §7.6.1). `None`, at no cost, where `Connection` says only close, keep-alive or upgrade.
    ///
    /// Whoever writes a message anew must not let this take away its framing or its Host.
    pub fn nominated(&self) -> Option<NameSet<'a>> {
        self.nominates
            .then(|| NameSet::from_names(self.values("connection").flat_map(list_members)))
    }

    /// The values of the fields that mean this, which is not [`Name::Other`].
    pub(super) fn values_of(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        let found = self.in_question().filter(move |(_, line)| line.name == name);
        found.map(|(at, line)| self.field_at(at, line).value)
    }

    /// The values of all fields called `name`, in any case.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.iter().filter(move |field| field.is(name)).map(|field| field.value)
    }
}

/// What [`Fields::in_question`] goes through.
pub(super) struct InQuestion<'a, 'f> {
    fields: &'f Fields<'a>,
    /// How many notes were looked at, or how many bytes.
    at: usize,
    is_each: bool,
}

impl Iterator for InQuestion<'_, '_> {
    type Item = (usize, Line);

    #[inline]
    fn next(&mut self) -> Option<(usize, Line)> {
        if self.is_each {
            return self.read_next();
        }
        self.at += 1;
        self.fields.notes.get(self.at - 1)
    }
}

impl InQuestion<'_, '_> {
    #[inline(never)] // so that the other way stays short
    fn read_next(&mut self) -> Option<(usize, Line)> {
        let start = self.at;
        let line = Line::read(self.fields.lines.get(start..)?)?;
        self.at += line.len;
        Some((start, line))
    }
}

/// The members of a comma-separated list without the blanks around them. Empty ones are skipped
/// (RFC 9110 §5.6.1.2). For lists of tokens: quoted strings are not known.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_blanks).filter(|member| !member.is_empty())
}

/// Whether `word` is a token: RFC 9110 §5.6.2.
pub fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && scan::token_len(word) == word.len()
}

/// `value` without the spaces and tabs around it (OWS, RFC 9110 §5.6.3).
#[inline]
pub fn trim_blanks(value: &[u8]) -> &[u8] {
    // Nearly always one space before it is all there is.
    match value.strip_prefix(b" ").unwrap_or(value) {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => trim_all_blanks(value),
        trimmed => trimmed,
    }
}

#[cold]
fn trim_all_blanks(value: &[u8]) -> &[u8] {
    let mut trimmed = value;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = trimmed {
        trimmed = rest;
    }
    trimmed
}

/// What all the `Connection` fields of a head say together (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// The sender closes after this message, or wants it closed. Wins over `keep_alive`.
    pub close: bool,
    /// The sender, of HTTP/1.0, would go on.
    pub keep_alive: bool,
    /// The `Upgrade` field is meant for the next hop.
    pub upgrade: bool,
    /// Further names: fields to be removed.
    pub others: u32,
    /// All names.
    pub count: u32,
}

impl ConnectionOptions {
    /// Whether there are so many names that holding each against each field would be work out of
    /// proportion to what it costs to send them.
    pub fn are_too_many(&self) -> bool {
        self.count as usize > MAX_NAMES
    }

    /// Takes in the value of one `Connection` field.
    pub(super) fn add(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.count += 1; // Most say this alone.
            self.keep_alive = true;
            return;
        }
        for option in list_members(value) {
            self.count += 1;
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.others += 1;
            }
        }
    }
}

/// Whether `name` is one of `names`, which are in lower case. The length and the first byte rule
/// nearly all of them out.
pub fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    let first = name.first().map(u8::to_ascii_lowercase);
    names.iter().any(|candidate| {
        candidate.len() == name.len()
            && candidate.as_bytes().first().copied() == first
            && name.eq_ignore_ascii_case(candidate.as_bytes())
    })
}

/// Whether the field concerns one connection only and never goes further (RFC 9110 §7.6.1).
/// `Trailer` is none of these, and `Proxy-Authorization` is for whoever asked for it. `Proxy` is no
/// field at all: CGI programs would find it in the variable by which operators set their proxy.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    is_one_of(name, &HOP_BY_HOP)
}

const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Whether `name` would be that of a framing field, were its underscores hyphens. Servers that
/// hand fields on as CGI variables cannot tell the two, so such a field never goes on.
pub fn is_shadow_of_framing(name: &[u8]) -> bool {
    let resembles = |framing: &[u8]| {
        let alike = |(&given, &wanted): (&u8, &u8)| match given {
            b'_' => wanted == b'-',
            _ => given.eq_ignore_ascii_case(&wanted),
        };
        name.len() == framing.len() && name.iter().zip(framing).all(alike)
    };
    matches!(name.len(), 14 | 17)
        && name.contains(&b'_')
        && (resembles(b"content-length") || resembles(b"transfer-encoding"))
}

/// Field names that mean nothing good in a trailer section, by what they would change there.
const NOT_IN_TRAILERS: [&[&str]; 6] = [
    // Framing and the connection. `content-…` is ruled out as a whole, but for sums.
    &["trailer"],
    // Routing, and what the next server believes about the client.
    &["host", "forwarded", "max-forwards", "via", "x-request-id", "x-real-ip"],
    // Modifiers and conditions of a request.
    &["expect", "range", "idempotency-key", "prefer", "priority"],
    &CREDENTIALS,
    // Caching.
    &[
        "age",
        "cache-control",
        "cdn-cache-control",
        "expires",
        "pragma",
        "surrogate-control",
        "vary",
        "warning",
    ],
    // Control of a response.
    &["date", "location", "refresh", "retry-after", "status"],
];

/// What proves who somebody is, or asks for that.
const CREDENTIALS: [&str; 10] = [
    "authorization",
    "authentication-info",
    "cookie",
    "cookie2",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
];

/// Whether a field of that name is only for the one that it was sent to.
pub fn is_credential(name: &[u8]) -> bool {
    is_one_of(name, &CREDENTIALS)
}

/// Sums over the body, which can only be known behind it (RFC 9530).
const SUMS: [&str; 2] = ["content-digest", "content-md5"];

/// Beginnings of names that mean nothing good in a trailer section.
const NO_PREFIX_IN_TRAILERS: [&[u8]; 3] = [b"content-", b"if-", b"x-forwarded-"];

/// Whether a trailer field of that name may be passed on (RFC 9110 §6.5.1): one that nobody needs
/// to know before the body, and that is harmless where a recipient merges trailers into the head, also
/// as CGI variables, in which underscores are hyphens.
pub fn may_trail(name: &[u8]) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|known| is_read_as(name, known.as_bytes()));
    let begins_badly =
        |prefix: &&[u8]| name.get(..prefix.len()).is_some_and(|start| is_read_as(start, prefix));
    !is_in(&HOP_BY_HOP)
        && !is_in(&["content-length", "transfer-encoding"])
        && (!NO_PREFIX_IN_TRAILERS.iter().any(begins_badly) || is_one_of(name, &SUMS))
        && !NOT_IN_TRAILERS.iter().any(|names| is_in(names))
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
