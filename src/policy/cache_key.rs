//! What stored answers are found by: the URL as it was asked for, and nothing decoded in it.
//!
//! Two requests have one key only if every backend would read one URL in them. So the host counts in
//! any case and without the port that its scheme implies (RFC 9110 §4.2.3); of the target every byte
//! counts, for it is sent on as it came.

use crate::http::forwarded::without_implied_port;
use crate::mem::Append;

/// A URL, in the parts that a request has it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// Whether its scheme is https, else http.
    pub https: bool,
    /// The value of `Host`, perhaps empty.
    pub host: &'a [u8],
    /// Path and query, as they are sent on.
    pub target: &'a [u8],
}

/// The most segments that the path of a relative reference may come to.
const MAX_SEGMENTS: usize = 128;

impl<'a> Url<'a> {
    /// Writes the key: `http://shop.example/a?b`.
    pub fn write(&self, out: &mut impl Append) {
        self.write_origin(out);
        if !self.target.starts_with(b"/") && self.target != b"*" {
            out.append(b"/"); // as `http://host?query` is sent on
        }
        out.append(self.target);
    }

    fn write_origin(&self, out: &mut impl Append) {
        out.append(if self.https { b"https://" } else { b"http://" });
        let mut lower = [0; 64];
        for part in self.host_without_port().chunks(lower.len()) {
            let lower = &mut lower[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            out.append(lower);
        }
    }

    fn host_without_port(&self) -> &'a [u8] {
        without_implied_port(self.host, self.https)
    }

    /// Reads `http://host/path`, as an operator writes it. `None` for anything else.
    pub fn parse(text: &'a [u8]) -> Option<Url<'a>> {
        let (https, rest) = match strip_prefix_in_any_case(text, b"http://") {
            Some(rest) => (false, rest),
            None => (true, strip_prefix_in_any_case(text, b"https://")?),
        };
        let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
        let (host, target) = rest.split_at_checked(end)?;
        let without_fragment = memchr::memchr(b'#', target).unwrap_or(target.len());
        let target = target.get(..without_fragment)?;
        let is_plain = !host.is_empty() && !host.contains(&b'@');
        is_plain.then_some(Url { https, host, target })
    }

    /// Writes the key of what `reference`, in a response for this URL, refers to (RFC 3986 §5.2).
    ///
    /// `None` if that has another origin, of which this one may say nothing (RFC 9111 §4.4); also if
    /// it is no reference, or too long to be taken apart. Something may have been written then.
    pub fn write_reference(&self, reference: &[u8], out: &mut impl Append) -> Option<()> {
        let end = memchr::memchr(b'#', reference).unwrap_or(reference.len());
        let reference = reference.get(..end)?;
        let has_scheme = memchr::memchr3(b':', b'/', b'?', reference)
            .is_some_and(|at| reference.get(at) == Some(&b':'));
        let path_and_query = if has_scheme {
            let url = Url::parse(reference)?;
            self.has_origin_of(&url).then_some(url.target)?
        } else if let Some(rest) = reference.strip_prefix(b"//") {
            let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
            let (host, target) = rest.split_at_checked(end)?;
            self.has_origin_of(&Url { host, ..*self }).then_some(target)?
        } else {
            reference
        };
        let is_absolute = has_scheme || reference.starts_with(b"/");
        self.write_origin(out);
        self.write_merged(path_and_query, is_absolute, out)
    }

    fn has_origin_of(&self, other: &Url) -> bool {
        self.https == other.https
            && self.host_without_port().eq_ignore_ascii_case(other.host_without_port())
    }

    /// Writes path and query without the segments `.` and `..`: RFC 3986 §5.2.3, §5.2.4.
    fn write_merged(
        &self,
        path_and_query: &[u8],
        is_absolute: bool,
        out: &mut impl Append,
    ) -> Option<()> {
        let (path, query) = split_query(path_and_query);
        let (own_path, own_query) = split_query(self.target);
        if path.is_empty() {
            out.append(if is_absolute { b"/" } else { own_path });
            out.append(if query.is_empty() && !is_absolute { own_query } else { query });
            return Some(());
        }
        let before = match is_absolute {
            true => &[],
            false => own_path.get(..=memchr::memrchr(b'/', own_path)?)?,
        };
        let base = before.strip_prefix(b"/").unwrap_or(before);
        let base = base.strip_suffix(b"/").map(|base| base.split(slash));
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let mut kept: [&[u8]; MAX_SEGMENTS] = [&[]; MAX_SEGMENTS];
        let mut len = 0;
        let mut is_folder = false;
        for segment in base.into_iter().flatten().chain(path.split(slash)) {
            is_folder = matches!(segment, b"." | b"..");
            match segment {
                b"." => (),
                b".." => len = len.max(1) - 1,
                _ => {
                    *kept.get_mut(len)? = segment;
                    len += 1;
                }
            }
        }
        for segment in &kept[..len] {
            out.append(b"/");
            out.append(segment);
        }
        if is_folder || len == 0 {
            out.append(b"/");
        }
        out.append(query);
        Some(())
    }
}

fn slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// The query keeps its question mark.
fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    target.split_at(memchr::memchr(b'?', target).unwrap_or(target.len()))
}

fn strip_prefix_in_any_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(https: bool, host: &str, target: &str) -> String {
        let mut out = Vec::new();
        Url { https, host: host.as_bytes(), target: target.as_bytes() }.write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    /// docs/CACHE.md, rule 16.
    #[test]
    fn a_key_is_scheme_host_and_raw_target() {
        for (https, host, target, expected) in [
            (false, "a", "/", "http://a/"),
            (true, "a", "/", "https://a/"),
            (false, "Shop.EXAMPLE", "/Path", "http://shop.example/Path"),
            (false, "a:80", "/", "http://a/"),
            (false, "a:", "/", "http://a/"),
            (true, "a:443", "/", "https://a/"),
            (false, "a:443", "/", "http://a:443/"),
            (true, "a:80", "/", "https://a:80/"),
            (false, "a:8080", "/", "http://a:8080/"),
            (false, "[::80]", "/", "http://[::80]/"),
            (false, "[FE80::1]:80", "/", "http://[fe80::1]/"),
            (false, "", "/", "http:///"),
            (false, "a", "/%41%2e/../b//c?x=%20&", "http://a/%41%2e/../b//c?x=%20&"),
            (false, "a", "*", "http://a*"),
            (false, "a", "?q", "http://a/?q"),
        ] {
            assert_eq!(key(https, host, target), expected);
        }
        let long = "A".repeat(200);
        assert_eq!(key(false, &long, "/"), format!("http://{}/", long.to_lowercase()));
    }

    #[test]
    fn a_url_is_read_as_operators_write_it() {
        for (text, expected) in [
            ("http://A:80/b?c", Some("http://a/b?c")),
            ("HTTPS://a:443", Some("https://a/")),
            ("http://a?b", Some("http://a/?b")),
            ("http://a/b#c", Some("http://a/b")),
            ("http://u@a/", None),
            ("http:///a", None),
            ("ftp://a/", None),
            ("/a", None),
            ("", None),
        ] {
            let read = Url::parse(text.as_bytes()).map(|url| {
                let mut out = Vec::new();
                url.write(&mut out);
                String::from_utf8(out).expect("UTF-8")
            });
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    fn reference(reference: &str) -> Option<String> {
        let base = Url { https: false, host: b"A:80", target: b"/b/c/d;p?q" };
        let mut out = Vec::new();
        base.write_reference(reference.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn references_are_resolved_as_rfc_3986_shows() {
        for (text, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//a", "http://a/"),
            ("//A:80/g", "http://a/g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g//h", "http://a/b/c/g//h"),
            ("/", "http://a/"),
            ("/?q", "http://a/?q"),
            ("HTTP://a", "http://a/"),
            ("http://A:80/g?y", "http://a/g?y"),
            ("http://a?y", "http://a/?y"),
        ] {
            assert_eq!(reference(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn of_another_origin_nothing_is_said() {
        for text in [
            "http://b/g",
            "https://a/g",
            "http://a:81/g",
            "http://a@b/g",
            "http://u@a/g",
            "//b/g",
            "g:h",
            "mailto:a",
            "http:g",
            "http:///g",
        ] {
            assert_eq!(reference(text), None, "{text}");
        }
        assert_eq!(reference(&"a/".repeat(MAX_SEGMENTS)), None);
    }
}
