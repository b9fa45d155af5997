//! `Cache-Control`: RFC 9111 §5.2.
//!
//! Where a directive is doubtful, the answer is kept for a shorter time rather than a longer: what
//! forbids counts even with an argument that it should not have, what allows does not.

use super::fields::{is_token, list_members, trim_blanks};
use super::framing::decimal;
use super::structured::{self, Item, Malformed};

/// Longer times are taken for this one, of 68 years: RFC 9111 §1.2.2.
pub const MAX_SECONDS: u32 = i32::MAX as u32;

/// The argument of a directive that is a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seconds {
    /// The directive is not there.
    #[default]
    Absent,
    /// It is, with that number, at most [`MAX_SECONDS`].
    Given(u32),
    /// It is, without a number, or with several that differ (RFC 9111 §4.2.1).
    Invalid,
}

impl Seconds {
    /// The number, if there is a valid one.
    pub fn given(self) -> Option<u32> {
        match self {
            Seconds::Given(seconds) => Some(seconds),
            Seconds::Absent | Seconds::Invalid => None,
        }
    }

    /// Whether the directive is there, valid or not.
    pub fn is_present(self) -> bool {
        self != Seconds::Absent
    }

    fn add(&mut self, argument: Argument) {
        let other = argument.seconds().map_or(Seconds::Invalid, Seconds::Given);
        *self = match *self {
            Seconds::Absent => other,
            same if same == other => same,
            Seconds::Given(_) | Seconds::Invalid => Seconds::Invalid,
        };
    }
}

/// Digits and nothing else, saturating at [`MAX_SECONDS`]: RFC 9111 §1.2.2.
pub fn delta_seconds(digits: &[u8]) -> Option<u32> {
    let significant = digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len());
    match digits.get(significant..)? {
        [] if digits.is_empty() => None,
        [] => Some(0),
        rest if rest.len() > 10 => rest.iter().all(u8::is_ascii_digit).then_some(MAX_SECONDS),
        rest => decimal(rest).map(|seconds| seconds.min(u64::from(MAX_SECONDS)) as u32),
    }
}

/// What stands behind the name of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// What is between the quotes, with its backslashes.
    Quoted(&'a [u8]),
    /// An integer of a structured field.
    Number(i64),
    /// Something that the grammar does not allow.
    Malformed,
}

impl Argument<'_> {
    /// As a time. Recipients take numbers in quotes as well: RFC 9111 §5.2. What is negative is
    /// over, and has been for long.
    fn seconds(self) -> Option<u32> {
        match self {
            Argument::Token(digits) | Argument::Quoted(digits) => delta_seconds(digits),
            Argument::Number(number) => {
                let seconds = u32::try_from(number.max(0)).unwrap_or(MAX_SECONDS);
                Some(seconds.min(MAX_SECONDS))
            }
            Argument::None | Argument::Malformed => None,
        }
    }

    /// As a list of names of fields. One that is empty, or that cannot be read, restricts nothing
    /// to certain fields.
    fn names_fields(self) -> bool {
        match self {
            Argument::Token(names) | Argument::Quoted(names) => {
                list_members(names).next().is_some() && list_members(names).all(is_token)
            }
            Argument::None | Argument::Number(_) | Argument::Malformed => false,
        }
    }
}

/// The directives in one value, in any case. A quoted string is a unit, whatever it contains; a
/// quote that is never closed begins none.
fn directives(value: &[u8]) -> impl Iterator<Item = (&[u8], Argument<'_>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'=', b',', rest).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end)?;
        let trimmed = trim_blanks(name);
        let Some(argument) = behind.strip_prefix(b"=") else {
            rest = behind;
            return Some((trimmed, Argument::None));
        };
        let (argument, behind) = take_argument(argument);
        rest = behind;
        Some((trimmed, if trimmed.len() == name.len() { argument } else { Argument::Malformed }))
    })
}

/// The argument at the front of `bytes`, and what follows it from the comma on.
fn take_argument(bytes: &[u8]) -> (Argument<'_>, &[u8]) {
    let trimmed = trim_blanks(bytes);
    let blanks_before = !bytes.starts_with(trimmed.get(..1).unwrap_or_default());
    if let Some(opened) = trimmed.strip_prefix(b"\"")
        && let Some((content, behind)) = close_quote(opened)
    {
        let end = memchr::memchr(b',', behind).unwrap_or(behind.len());
        let (garbage, following) = behind.split_at(end);
        let is_clean = trim_blanks(garbage).is_empty() && !blanks_before;
        let argument = if is_clean { Argument::Quoted(content) } else { Argument::Malformed };
        return (argument, following);
    }
    let end = memchr::memchr(b',', bytes).unwrap_or(bytes.len());
    let (token, following) = bytes.split_at(end);
    let token = trim_blanks(token);
    let argument = if is_token(token) && !blanks_before {
        Argument::Token(token)
    } else {
        Argument::Malformed
    };
    (argument, following)
}

/// What stands before the quote that ends a string, and behind it: RFC 9110 §5.6.4.
fn close_quote(opened: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', opened.get(from..)?)?;
        if opened.get(at) == Some(&b'"') {
            return Some((&opened[..at], &opened[at + 1..]));
        }
        from = at + 2;
    }
}

/// The directives of responses that matter to a shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    NoStore,
    NoCache,
    Private,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    MaxAge,
    SMaxage,
    StaleWhileRevalidate,
    StaleIfError,
}

const DIRECTIVES: [(&str, Directive); 11] = [
    ("no-store", Directive::NoStore),
    ("no-cache", Directive::NoCache),
    ("private", Directive::Private),
    ("public", Directive::Public),
    ("must-revalidate", Directive::MustRevalidate),
    ("proxy-revalidate", Directive::ProxyRevalidate),
    ("must-understand", Directive::MustUnderstand),
    ("max-age", Directive::MaxAge),
    ("s-maxage", Directive::SMaxage),
    ("stale-while-revalidate", Directive::StaleWhileRevalidate),
    ("stale-if-error", Directive::StaleIfError),
];

impl Directive {
    fn from_name(name: &[u8]) -> Option<Directive> {
        let known =
            DIRECTIVES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|(_, directive)| *directive)
    }

    /// What a structured field gives it for an argument, if that is of its type: RFC 9213 §2.1.
    /// `Ok(None)`: it is denied, as if it were not there.
    fn argument(self, item: Item<'_>) -> Result<Option<Argument<'_>>, Malformed> {
        let (takes_seconds, takes_names) = match self {
            Directive::NoCache | Directive::Private => (false, true),
            Directive::MaxAge
            | Directive::SMaxage
            | Directive::StaleWhileRevalidate
            | Directive::StaleIfError => (true, false),
            Directive::NoStore
            | Directive::Public
            | Directive::MustRevalidate
            | Directive::ProxyRevalidate
            | Directive::MustUnderstand => (false, false),
        };
        match item {
            Item::Boolean(true) if !takes_seconds => Ok(Some(Argument::None)),
            Item::Boolean(false) if !takes_seconds => Ok(None),
            Item::String(names) if takes_names => Ok(Some(Argument::Quoted(names))),
            Item::Integer(number) if takes_seconds => Ok(Some(Argument::Number(number))),
            Item::Boolean(_)
            | Item::String(_)
            | Item::Integer(_)
            | Item::Decimal
            | Item::Token(_)
            | Item::Bytes
            | Item::Date
            | Item::DisplayString
            | Item::InnerList => Err(Malformed),
        }
    }
}

/// What a response allows caches to do with it: RFC 9111 §5.2.2, RFC 5861.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the directives")]
pub struct ResponseDirectives {
    pub no_store: bool,
    /// Without names of fields.
    pub no_cache: bool,
    /// Without names of fields.
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    /// `no-cache` or `private` names fields: `withholds` tells which.
    pub withholds: bool,
    pub max_age: Seconds,
    pub s_maxage: Seconds,
    pub stale_while_revalidate: Seconds,
    pub stale_if_error: Seconds,
}

impl ResponseDirectives {
    /// Takes in the value of one `Cache-Control` field. Several lines are one list.
    pub fn add(&mut self, value: &[u8]) {
        for (name, argument) in directives(value) {
            if let Some(directive) = Directive::from_name(name) {
                self.apply(directive, argument);
            }
        }
    }

    /// What a targeted field says, such as `CDN-Cache-Control`: RFC 9213 §2.1. It is a dictionary
    /// of structured fields and nothing else.
    ///
    /// `None` where it is to be ignored as a whole: it is empty or malformed, or a directive has an
    /// argument of another type than its own.
    pub fn targeted<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<ResponseDirectives> {
        let mut members: [Option<Item<'a>>; DIRECTIVES.len()] = [None; DIRECTIVES.len()];
        let mut is_empty = true;
        for line in lines {
            let mut member = |key: &'a [u8], item: Item<'a>| {
                if let Some(directive) = Directive::from_name(key) {
                    members[directive as usize] = Some(item); // The last of a name: RFC 9651 §4.2.2.
                }
            };
            // A line without members would leave a comma alone, were the lines joined.
            if line.is_empty() || structured::read_dictionary(line, &mut member).is_err() {
                return None;
            }
            is_empty = false;
        }
        let mut read = ResponseDirectives::default();
        for ((_, directive), item) in DIRECTIVES.into_iter().zip(members) {
            let Some(item) = item else { continue };
            if let Some(argument) = directive.argument(item).ok()? {
                read.apply(directive, argument);
            }
        }
        (!is_empty).then_some(read)
    }

    fn apply(&mut self, directive: Directive, argument: Argument) {
        let is_bare = argument == Argument::None;
        match directive {
            Directive::NoStore => self.no_store = true,
            Directive::NoCache if argument.names_fields() => self.withholds = true,
            Directive::NoCache => self.no_cache = true,
            Directive::Private if argument.names_fields() => self.withholds = true,
            Directive::Private => self.private = true,
            Directive::Public => self.public |= is_bare,
            Directive::MustRevalidate => self.must_revalidate = true,
            Directive::ProxyRevalidate => self.proxy_revalidate = true,
            Directive::MustUnderstand => self.must_understand |= is_bare,
            Directive::MaxAge => self.max_age.add(argument),
            Directive::SMaxage => self.s_maxage.add(argument),
            Directive::StaleWhileRevalidate => self.stale_while_revalidate.add(argument),
            Directive::StaleIfError => self.stale_if_error.add(argument),
        }
    }
}

/// The fields that a `no-cache` or `private` in `value`, that of `Cache-Control` or of a targeted
/// field, names: they are for one recipient only (RFC 9111 §5.2.2.4, §5.2.2.7).
pub fn withheld(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    directives(value).flat_map(|(directive, argument)| {
        let names = match (Directive::from_name(directive), argument) {
            (
                Some(Directive::NoCache | Directive::Private),
                Argument::Token(names) | Argument::Quoted(names),
            ) => names,
            _ => &[],
        };
        list_members(names)
    })
}

/// How stale an answer the client of a request would take: RFC 9111 §5.2.1.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaxStale {
    /// It does not say so.
    #[default]
    Unsaid,
    /// By so many seconds.
    By(u32),
    /// However stale.
    Any,
}

/// What a request demands of caches: RFC 9111 §5.2.1, RFC 5861 §4. Of a directive that is there
/// more than once, the strictest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the directives")]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    /// One without a number counts as 0.
    pub max_age: Option<u32>,
    /// One without a number counts as the largest.
    pub min_fresh: Option<u32>,
    pub max_stale: MaxStale,
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Takes in the value of one `Cache-Control` field. Several lines are one list.
    pub fn add(&mut self, value: &[u8]) {
        for (name, argument) in directives(value) {
            let is = |directive: &[u8]| name.eq_ignore_ascii_case(directive);
            match name.len() {
                7 if is(b"max-age") => {
                    let age = argument.seconds().unwrap_or(0);
                    self.max_age = Some(self.max_age.map_or(age, |other| other.min(age)));
                }
                8 if is(b"no-cache") => self.no_cache = true,
                8 if is(b"no-store") => self.no_store = true,
                9 if is(b"min-fresh") => {
                    let left = argument.seconds().unwrap_or(MAX_SECONDS);
                    self.min_fresh = Some(self.min_fresh.map_or(left, |other| other.max(left)));
                }
                9 if is(b"max-stale") => {
                    let stale = match (argument, argument.seconds()) {
                        (Argument::None, _) => MaxStale::Any,
                        (_, Some(seconds)) => MaxStale::By(seconds),
                        (_, None) => MaxStale::By(0),
                    };
                    self.max_stale = match self.max_stale {
                        MaxStale::Unsaid => stale,
                        other => other.min(stale),
                    };
                }
                14 if is(b"only-if-cached") => self.only_if_cached = true,
                14 if is(b"stale-if-error") => {
                    let window = argument.seconds().unwrap_or(0);
                    let least = self.stale_if_error.map_or(window, |other| other.min(window));
                    self.stale_if_error = Some(least);
                }
                _ => (),
            }
        }
    }
}

#[cfg(test)]
#[path = "cache_control_tests.rs"]
mod tests;
