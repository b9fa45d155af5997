//! Cookies: found where a naive reader finds them, taken out without a trace of the one and with
//! every byte of the others, and set so that they come back.
//!
//! The first line is the cookie's name, the rest is the value of a `Cookie` field.

use crate::{Dice, naive};
use httplb::http::cookie::{
    SetCookie, contains, contains_others, put_others, put_set_cookie, values,
};

/// The name of a pair, and its value.
type Pair = (String, String);

pub fn check(bytes: &[u8]) {
    let place = bytes.escape_ascii().to_string();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let name = naive::latin1(&bytes[..end]);
    let field = &bytes[bytes.len().min(end + 1)..];
    // As the configuration has it.
    if !naive::is_token(&name) || name.len() > 64 {
        return;
    }
    check_set(&name, field, &place);

    let pairs = pairs(field);
    let (its, others): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.0 == name);
    let found: Vec<String> = values(field, name.as_bytes()).map(naive::latin1).collect();
    let wanted: Vec<&String> = its.iter().map(|(_, value)| value).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{place}");
    assert_eq!(contains(field, name.as_bytes()), !its.is_empty(), "{place}");
    let text = naive::latin1(field);
    let mut pieces = text.split(';').filter(|piece| !trim(piece).is_empty());
    let has_others = pieces.any(|piece| pair(piece).is_none_or(|pair| pair.0 != name));
    assert_eq!(contains_others(field, name.as_bytes()), has_others, "{place}");

    let out = without(field, &name);
    assert!(out.len() <= field.len(), "longer: {place}");
    assert!(!contains(&out, name.as_bytes()), "still there: {place}");
    assert_eq!(without(&out, &name), out, "another when taken out again: {place}");
    assert_eq!(self::pairs(&out), others.into_iter().cloned().collect::<Vec<_>>(), "{place}");
    // All that is left stood there, in its order.
    let mut came = field.iter();
    assert!(out.iter().all(|byte| came.any(|one| one == byte)), "{place}");
    if its.is_empty() {
        assert_eq!(out, field.trim_ascii_start(), "{place}");
    }
}

fn without(field: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_others(field, name.as_bytes(), |bytes| out.extend_from_slice(bytes));
    out
}

/// All pairs of a field. What has no `=` is none.
fn pairs(field: &[u8]) -> Vec<Pair> {
    naive::latin1(field).split(';').filter_map(pair).collect()
}

fn pair(text: &str) -> Option<Pair> {
    text.split_once('=').map(|(name, value)| (trim(name), trim(value)))
}

fn trim(text: &str) -> String {
    text.trim_matches([' ', '\t', '\r', '\n', '\x0c']).to_owned()
}

/// What is set is one line with what is wanted, and found when it comes back.
fn check_set(name: &str, field: &[u8], place: &str) {
    let value: Vec<u8> = field.iter().copied().filter(u8::is_ascii_alphanumeric).take(16).collect();
    let mut dice = Dice::of(field);
    let max_age_secs = (dice.up_to(1) == 0).then(|| dice.up_to(usize::MAX - 1) as u64);
    let secure = dice.up_to(1) == 0;
    let mut line = Vec::new();
    let cookie = SetCookie { name, value: &value, max_age_secs, secure };
    put_set_cookie(&cookie, &mut line);

    let line = naive::latin1(&line);
    let (field, text) = line
        .strip_suffix("\r\n")
        .and_then(naive::field)
        .unwrap_or_else(|| panic!("{line:?}: {place}"));
    assert_eq!(field, "set-cookie");
    let mut parts = text.split("; ");
    let pair = parts.next().unwrap_or_default();
    let mut attributes: Vec<String> = parts.map(str::to_owned).collect();
    attributes.sort();
    let mut wanted = vec!["HttpOnly".to_owned(), "Path=/".to_owned(), "SameSite=Lax".to_owned()];
    wanted.extend(max_age_secs.map(|seconds| format!("Max-Age={seconds}")));
    wanted.extend(secure.then(|| "Secure".to_owned()));
    wanted.sort();
    assert_eq!(attributes, wanted, "{place}");

    let sent = format!("a=b; {pair}; c");
    let back: Vec<&[u8]> = values(sent.as_bytes(), name.as_bytes()).collect();
    let all: Vec<&[u8]> = if name == "a" { vec![b"b", &value] } else { vec![&value] };
    assert_eq!(back, all, "{place}");
}
