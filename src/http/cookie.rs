//! Cookies: finding one in a request, taking it out, and setting one: RFC 6265.
//!
//! The pairs of a `Cookie` field are what stands between semicolons, as browsers write them and
//! servers read them. A value in double quotes is no exception: no semicolon may stand in it.

use crate::mem::{Append, append_decimal};

/// The values of the cookie `name`, which is compared as it is written, in the value of a
/// `Cookie` field.
pub fn values<'a>(field: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(field).filter_map(move |pair| value_of(pair, name))
}

/// Whether the value of a `Cookie` field has the cookie `name`, whatever its value.
pub fn contains(field: &[u8], name: &[u8]) -> bool {
    values(field, name).next().is_some()
}

/// Whether the value of a `Cookie` field has any other cookie.
pub fn contains_others(field: &[u8], name: &[u8]) -> bool {
    let is_other = |pair: &[u8]| value_of(pair, name).is_none() && !pair.trim_ascii().is_empty();
    pairs(field).any(is_other)
}

/// Gives the value of a `Cookie` field piece by piece, without the cookie `name`. All others go on
/// byte for byte, with what stands between them.
pub fn put_others(field: &[u8], name: &[u8], mut put: impl FnMut(&[u8])) {
    let mut is_first = true;
    for pair in pairs(field).filter(|pair| value_of(pair, name).is_none()) {
        if is_first {
            // One that has become the first loses the space that stood before it.
            put(pair.trim_ascii_start());
        } else {
            put(b";");
            put(pair);
        }
        is_first = false;
    }
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// The value of a pair called `name`.
fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = memchr::memchr(b'=', pair)?;
    let (given, value) = pair.split_at_checked(equals)?;
    (given.trim_ascii() == name).then(|| value[1..].trim_ascii())
}

/// A cookie that a client is to keep and to send with every request, and that no script sees.
#[derive(Clone, Copy, Debug)]
pub struct SetCookie<'a> {
    /// A token of at most 64 bytes.
    pub name: &'a str,
    /// At most 16 bytes of those that may stand in a value.
    pub value: &'a [u8],
    /// How long it is kept; without that, as long as the browser's session.
    pub max_age_secs: Option<u64>,
    /// Whether it is sent over TLS only.
    pub secure: bool,
}

/// Writes the `Set-Cookie` line.
pub fn put_set_cookie(cookie: &SetCookie, out: &mut impl Append) {
    out.append(b"Set-Cookie: ");
    out.append(cookie.name.as_bytes());
    out.append(b"=");
    out.append(cookie.value);
    out.append(b"; Path=/; HttpOnly; SameSite=Lax");
    if let Some(seconds) = cookie.max_age_secs {
        out.append(b"; Max-Age=");
        append_decimal(seconds, out);
    }
    if cookie.secure {
        out.append(b"; Secure");
    }
    out.append(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(field: &str) -> Option<String> {
        let mut out = Vec::new();
        put_others(field.as_bytes(), b"s", |bytes| out.extend_from_slice(bytes));
        let others = contains_others(field.as_bytes(), b"s");
        others.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_cookie_is_taken_out_and_all_others_stay_as_they_are() {
        for (field, expected) in [
            ("s=1", None),
            ("s=1; s=2;s=", None),
            ("s=1;", None),
            (" s = 1 ; ", None),
            ("s=1; a=b", Some("a=b")),
            ("a=b; s=1", Some("a=b")),
            ("a=b; s=1; c=d", Some("a=b; c=d")),
            ("a=b;s=1;c=d", Some("a=b;c=d")),
            ("s=1; a=b; s=2; c=d; s=3", Some("a=b; c=d")),
            ("a=b;  c = \"d\" ;e;; =f; s=1", Some("a=b;  c = \"d\" ;e;; =f")),
            ("a=b; c=d", Some("a=b; c=d")),
            ("ss=1; S=2; s", Some("ss=1; S=2; s")),
            ("a=\u{e9}\u{fc}; s=1; b==", Some("a=\u{e9}\u{fc}; b==")),
            ("a=x s=1; b=2", Some("a=x s=1; b=2")),
            ("", None),
        ] {
            assert_eq!(without(field).as_deref(), expected, "{field}");
            let has = field
                .split(';')
                .any(|pair| pair.trim().starts_with("s=") || pair.trim().starts_with("s ="));
            assert_eq!(contains(field.as_bytes(), b"s"), has, "{field}");
        }
    }

    #[test]
    fn the_values_of_a_cookie_are_found_wherever_they_stand() {
        let found =
            |field: &'static str| -> Vec<&[u8]> { values(field.as_bytes(), b"s").collect() };
        assert_eq!(found("a=b; s=1; s= 2 ;s==3"), [&b"1"[..], b"2", b"=3"]);
        assert!(found("a=s=1; sa=1; =s; s").is_empty());
    }

    #[test]
    fn a_line_sets_a_cookie_with_all_that_is_wanted() {
        let line = |max_age_secs, secure| {
            let mut out = Vec::new();
            put_set_cookie(&SetCookie { name: "s", value: b"0a", max_age_secs, secure }, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(None, false), "Set-Cookie: s=0a; Path=/; HttpOnly; SameSite=Lax\r\n");
        let all = "Set-Cookie: s=0a; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure\r\n";
        assert_eq!(line(Some(3600), true), all);
    }
}
