//! Structured fields: the same members as by the grammar of RFC 9651, which is asked of whole pieces
//! of text, the longest that fit.

use crate::naive;
use httplb::http::structured::{Item, Malformed, read_dictionary};

pub fn check(bytes: &[u8]) {
    // The longest piece is looked for, time and again.
    let line = &bytes[..bytes.len().min(400)];
    let place = line.escape_ascii().to_string();
    let mut members = Vec::new();
    let read = read_dictionary(line, &mut |key, item| members.push((naive::latin1(key), item)));
    let text = naive::latin1(line);
    let wanted = if text.is_ascii() { dictionary(&text) } else { None };
    match (read, wanted) {
        (Ok(()), Some(wanted)) => assert_eq!(members, wanted, "{place}"),
        (Err(Malformed), None) => (),
        (read, wanted) => panic!("{read:?}, but {wanted:?}: {place}"),
    }
}

type Members<'a> = Vec<(String, Item<'a>)>;

fn dictionary(text: &str) -> Option<Members<'_>> {
    let mut rest = text.trim_start_matches(' ');
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (key, behind) = longest(rest, is_key)?;
        let (item, behind) = match behind.strip_prefix('=') {
            None => (Item::Boolean(true), behind),
            Some(value) if value.starts_with('(') => (Item::InnerList, inner_list(value)?),
            Some(value) => {
                let (text, behind) = longest(value, |text| item(text).is_some())?;
                (item(text)?, behind)
            }
        };
        members.push((key.to_owned(), item));
        rest = naive::trim(parameters(behind)?);
        if rest.is_empty() {
            break;
        }
        // No comma is the last.
        rest = Some(naive::trim(rest.strip_prefix(',')?)).filter(|rest| !rest.is_empty())?;
    }
    Some(members)
}

/// The longest piece at the front that is so, and what follows.
fn longest(text: &str, is_so: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let len = (1..=text.len()).rev().find(|len| is_so(&text[..*len]))?;
    Some(text.split_at(len))
}

/// What stands behind all parameters.
fn parameters(text: &str) -> Option<&str> {
    let Some(behind) = text.strip_prefix(';') else { return Some(text) };
    let (_, behind) = longest(behind.trim_start_matches(' '), is_key)?;
    match behind.strip_prefix('=') {
        None => parameters(behind),
        Some(value) => parameters(longest(value, |text| item(text).is_some())?.1),
    }
}

/// What stands behind a list in parentheses.
fn inner_list(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('(')?;
    loop {
        let next = rest.trim_start_matches(' ');
        if let Some(behind) = next.strip_prefix(')') {
            return Some(behind);
        }
        let is_parted = rest.len() == text.len() - 1 || next.len() < rest.len();
        let (_, behind) = longest(next, |text| item(text).is_some()).filter(|_| is_parted)?;
        rest = parameters(behind)?;
    }
}

fn is_key(text: &str) -> bool {
    let may_stand = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') && text.chars().all(may_stand)
}

/// A bare item as a whole.
fn item(text: &str) -> Option<Item<'_>> {
    if let Some(number) = integer(text) {
        return Some(Item::Integer(number));
    }
    if let Some(content) = between(text, "\"", "\"").filter(|content| is_escaped(content)) {
        return Some(Item::String(content.as_bytes()));
    }
    let is_date = |text: &str| text.strip_prefix('@').and_then(integer).is_some();
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    match text {
        "?0" => Some(Item::Boolean(false)),
        "?1" => Some(Item::Boolean(true)),
        text if is_decimal(text) => Some(Item::Decimal),
        text if is_date(text) => Some(Item::Date),
        text if between(text, ":", ":").is_some_and(|text| text.chars().all(is_base64)) => {
            Some(Item::Bytes)
        }
        text if between(text, "%\"", "\"").is_some_and(is_percent_encoded) => {
            Some(Item::DisplayString)
        }
        text if is_token(text) => Some(Item::Token(text.as_bytes())),
        _ => None,
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix(end)
}

fn are_digits(text: &str, counts: std::ops::RangeInclusive<usize>) -> bool {
    counts.contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit())
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if are_digits(digits, 1..=15) { text.parse().ok() } else { None }
}

fn is_decimal(text: &str) -> bool {
    let parts = text.strip_prefix('-').unwrap_or(text).split_once('.');
    parts.is_some_and(|(whole, part)| are_digits(whole, 1..=12) && are_digits(part, 1..=3))
}

fn is_visible(letter: char) -> bool {
    (' '..='~').contains(&letter)
}

/// Nothing is left of quotes and backslashes once all escapes are taken away.
fn is_escaped(text: &str) -> bool {
    let plain = text.replace("\\\\", "").replace("\\\"", "");
    plain.chars().all(|c| is_visible(c) && c != '"' && c != '\\')
}

fn is_percent_encoded(text: &str) -> bool {
    let mut pieces = text.split('%');
    let is_plain = |piece: &str| piece.chars().all(|c| is_visible(c) && c != '"');
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    pieces.next().is_some_and(is_plain)
        && pieces
            .all(|piece| piece.len() >= 2 && piece.chars().take(2).all(is_digit) && is_plain(piece))
}

fn is_token(text: &str) -> bool {
    let others = text.replace([':', '/'], "x");
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') && naive::is_token(&others)
}
