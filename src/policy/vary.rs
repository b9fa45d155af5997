//! Which requests a stored answer fits: `Vary`, RFC 9111 §4.1.
//!
//! What a URL's answers vary by is a list of names, and a request has a *selection* for it: the values
//! of these fields, normalised, as bytes that are equal where the requests may share an answer. Two
//! names that are none of fields stand for what else may lead to another resource under one URL.

use crate::http::cache_fields::{RequestCacheFields, ResponseCacheFields, is_override};
use crate::http::fields::{Fields, list_members, trim_blanks};
use crate::mem::Append;

/// Stands for the fields by which a trusted proxy may lead to another resource.
const OVERRIDES: &[u8] = b":overrides";

/// Stands for the pool, where a field of the request chooses it.
const POOL: &[u8] = b":pool";

/// What a request's answer depends on beyond its URL.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// What the request asks.
    pub request_fields: &'a RequestCacheFields<'a>,
    /// The name of its pool; empty where the pool follows from the URL.
    pub pool: &'a [u8],
}

/// Names parted by commas, in lower case, none twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a>(pub &'a [u8]);

impl<'a> Names<'a> {
    /// The names in their order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b',').filter(|name| !name.is_empty())
    }

    /// Whether `name`, in any case, is one of them.
    pub fn contains(self, name: &[u8]) -> bool {
        self.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether all that an answer to `chosen` varies by is there already.
    pub fn cover(self, response_fields: &ResponseCacheFields, chosen: &Chosen) -> bool {
        needed(response_fields, chosen).all(|name| self.contains(name))
    }
}

/// What an answer to `chosen` varies by, as it is written in `Vary`, some perhaps twice.
fn needed<'a>(
    response_fields: &ResponseCacheFields<'a>,
    chosen: &Chosen,
) -> impl Iterator<Item = &'a [u8]> {
    let overrides = chosen.request_fields.overrides.then_some(OVERRIDES);
    let pool = (!chosen.pool.is_empty()).then_some(POOL);
    overrides.into_iter().chain(pool).chain(said_or_meant(response_fields))
}

/// What `Vary` names. What is encoded varies by what clients can decode, also where the server forgets
/// to say so.
fn said_or_meant<'a>(
    response_fields: &ResponseCacheFields<'a>,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let meant = response_fields.encoded.then_some(&b"accept-encoding"[..]);
    response_fields.fields.values("vary").flat_map(list_members).chain(meant)
}

/// Whether the request may have an answer that varies by nothing.
pub fn is_plain(chosen: &Chosen) -> bool {
    !chosen.request_fields.overrides && chosen.pool.is_empty()
}

/// Whether selections by these names tell the request apart from those that mean another resource.
pub fn tells_apart(names: Names, chosen: &Chosen) -> bool {
    (!chosen.request_fields.overrides || names.contains(OVERRIDES))
        && (chosen.pool.is_empty() || names.contains(POOL))
}

/// Writes what `before` has and then what an answer to `chosen` varies by beyond that.
pub fn write_names(
    before: Names,
    response_fields: &ResponseCacheFields,
    chosen: &Chosen,
    out: &mut impl Append,
) {
    out.append(before.0);
    let mut is_first = before.0.is_empty();
    for (index, name) in needed(response_fields, chosen).enumerate() {
        let again = needed(response_fields, chosen).take(index);
        if before.contains(name) || again.into_iter().any(|same| same.eq_ignore_ascii_case(name)) {
            continue;
        }
        if !std::mem::replace(&mut is_first, false) {
            out.append(b",");
        }
        put_lower(name, out);
    }
}

/// Writes a request's selection: a line for each name.
pub fn write_selection(names: Names, chosen: &Chosen, out: &mut impl Append) {
    let fields = &chosen.request_fields.fields;
    for name in names.iter() {
        match name {
            OVERRIDES => {
                out.append(b":overrides=");
                put_overrides(fields, out);
            }
            POOL => {
                out.append(b":pool=");
                out.append(chosen.pool);
            }
            _ => {
                out.append(name);
                put_values(fields, name, out);
            }
        }
        out.append(b"\n");
    }
}

/// Writes the names that a selection was written for.
pub fn write_names_of(selection: &[u8], out: &mut impl Append) {
    for (index, line) in selection.split(|&byte| byte == b'\n').enumerate() {
        let end = match line.first() {
            None => continue,
            Some(b':') => memchr::memchr(b'=', line),
            Some(_) => memchr::memchr(b':', line),
        };
        if index > 0 {
            out.append(b",");
        }
        out.append(&line[..end.unwrap_or(line.len())]);
    }
}

/// Whether a selection tells requests apart by all that an answer with `response_fields` varies by.
pub fn covers(selection: &[u8], response_fields: &ResponseCacheFields) -> bool {
    let has_line = |name: &[u8]| {
        selection.split(|&byte| byte == b'\n').any(|line| {
            line.split_at_checked(name.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(name) && matches!(rest, [] | [b':', ..])
            })
        })
    };
    said_or_meant(response_fields).all(has_line)
}

/// The fields that make another resource of a URL, in the order of their lines.
fn put_overrides(fields: &Fields, out: &mut impl Append) {
    for field in fields.iter().filter(|field| is_override(field.name)) {
        put_lower(field.name, out);
        out.append(b":");
        out.append(field.value);
        out.append(b"\t");
    }
}

/// The values of the fields called `name`, each with a colon before it, so that a field which is not
/// there differs from an empty one.
fn put_values(fields: &Fields, name: &[u8], out: &mut impl Append) {
    let values = || fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    if matches!(name, b"accept-encoding" | b"accept-language") {
        let mut preferences = Preferences::default();
        if values().all(|field| preferences.add(field.value)) {
            if values().next().is_some() {
                out.append(b":");
                preferences.write(out);
            }
            return;
        }
    }
    for (index, field) in values().enumerate() {
        // Several lines are one list (RFC 9110 §5.3).
        out.append(if index == 0 { b":" } else { b"," });
        put_without_blanks(field.value, out);
    }
}

/// A value without the blanks around its commas, those within quotes left alone.
fn put_without_blanks(value: &[u8], out: &mut impl Append) {
    let (mut start, mut is_quoted) = (0, false);
    for (at, &byte) in value.iter().enumerate() {
        if byte == b',' && !is_quoted {
            out.append(trim_blanks(&value[start..at]));
            out.append(b",");
            start = at + 1;
        }
        let is_escaped = is_quoted && value[..at].ends_with(b"\\");
        is_quoted ^= byte == b'"' && !is_escaped;
    }
    out.append(trim_blanks(&value[start..]));
}

/// The most members of a list that is compared as a set.
const MAX_PREFERENCES: usize = 24;

/// What a client would like to have, and how much: RFC 9110 §12.4.2, §12.5.3, §12.5.4. In which
/// order it says so does not matter.
#[derive(Default)]
struct Preferences<'a> {
    members: [Preference<'a>; MAX_PREFERENCES],
    len: usize,
}

#[derive(Clone, Copy, Default)]
struct Preference<'a> {
    what: &'a [u8],
    /// In thousandths.
    weight: u16,
}

impl<'a> Preferences<'a> {
    /// Takes in one line. False if there are too many, or one that cannot be read.
    fn add(&mut self, value: &'a [u8]) -> bool {
        list_members(value).all(|member| {
            let Some(preference) = Preference::read(member) else { return false };
            let Some(place) = self.members.get_mut(self.len) else { return false };
            *place = preference;
            self.len += 1;
            true
        })
    }

    fn write(&mut self, out: &mut impl Append) {
        let members = &mut self.members[..self.len];
        let lower = |byte: &u8| byte.to_ascii_lowercase();
        members.sort_unstable_by(|one, other| {
            let names = one.what.iter().map(lower).cmp(other.what.iter().map(lower));
            names.then(one.weight.cmp(&other.weight))
        });
        // Who says it twice says no more than once.
        let same = |one: &Preference, other: &Preference| {
            one.weight == other.weight && one.what.eq_ignore_ascii_case(other.what)
        };
        let mut before = None;
        for member in members.iter() {
            if before.replace(member).is_some_and(|before| same(before, member)) {
                continue;
            }
            put_lower(member.what, out);
            let thousandths =
                [1000, 100, 10, 1].map(|place| b'0' + (member.weight / place % 10) as u8);
            out.append(b";");
            out.append(&thousandths);
            out.append(b",");
        }
    }
}

impl<'a> Preference<'a> {
    /// `gzip;q=0.5`; without a weight it is 1.
    fn read(member: &'a [u8]) -> Option<Preference<'a>> {
        let Some(semicolon) = memchr::memchr(b';', member) else {
            return Some(Preference { what: member, weight: 1000 });
        };
        let (what, parameter) = member.split_at_checked(semicolon)?;
        let parameter = trim_blanks(parameter.get(1..)?);
        let [b'q' | b'Q', b'=', weight @ ..] = parameter else { return None };
        let (whole, decimals) = match weight {
            [whole] | [whole, b'.'] => (whole, &[][..]),
            [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
            _ => return None,
        };
        let mut thousandths = match whole {
            b'0' => 0,
            b'1' => 1000,
            _ => return None,
        };
        for (digit, place) in decimals.iter().zip([100, 10, 1]) {
            let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
            thousandths += digit * place;
        }
        (thousandths <= 1000).then_some(Preference { what: trim_blanks(what), weight: thousandths })
    }
}

fn put_lower(text: &[u8], out: &mut impl Append) {
    let mut lower = [0; 32];
    for part in text.chunks(lower.len()) {
        let lower = &mut lower[..part.len()];
        lower.copy_from_slice(part);
        lower.make_ascii_lowercase();
        out.append(lower);
    }
}

#[cfg(test)]
#[path = "vary_tests.rs"]
mod tests;
