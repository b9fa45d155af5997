//! What a client wants of what is stored, and whether it may get what it gets.

use std::ops::Range;

use super::super::plan::{Book, Dice, pattern};
use super::{Offer, Shelf};
use crate::mem::time::Micros;
use crate::proxy::tests::message::{Head, Message};
use crate::sys::clock;

const DIRECTIVES: [&str; 8] =
    ["", "", "", "no-cache", "max-stale=3", "max-age=1", "only-if-cached", "no-store"];

/// One request.
#[derive(Clone, Debug)]
pub struct Wish {
    key: usize,
    variant: usize,
    authorized: bool,
    range: Option<(usize, usize)>,
    known: Option<usize>,
    directive: &'static str,
    /// When it was sent.
    at: Option<Micros>,
    /// What was void by then.
    first_valid: usize,
}

/// Whether an answer of unknown length came as another request fetched it: what was stored says its length.
fn is_followed(head: &Head) -> bool {
    let is_collapsed = head.get("cache-status").is_some_and(|cache| cache.contains("collapsed"));
    is_collapsed && head.status() == 200 && head.get("content-length").is_none()
}

impl Wish {
    /// Of what is steady many want parts, some as they would to go on; of what is streamed most want all.
    pub fn roll(dice: &mut Dice, offer: Offer) -> Wish {
        let (reach, wants_part) = match offer {
            Offer::Steady => (*dice.choose(&[1, 20_000]), !dice.one_in(8)),
            Offer::Anything => (3000, dice.one_in(6)),
            Offer::Streamed => (3000, dice.one_in(16)),
        };
        let is_odd = offer != Offer::Streamed || dice.one_in(8);
        let start = dice.below(reach);
        Wish {
            key: if offer != Offer::Anything || dice.one_in(2) { 0 } else { dice.below(4) },
            variant: dice.below(3),
            authorized: dice.one_in(10),
            range: wants_part.then(|| (start, start + dice.below(8000))),
            known: (is_odd && dice.one_in(6)).then(|| dice.below(20)),
            directive: match is_odd && dice.one_in(2) {
                true => DIRECTIVES[dice.below(DIRECTIVES.len())],
                false => "",
            },
            at: None,
            first_valid: 0,
        }
    }

    pub fn note_sending(&mut self, shelf: &Shelf) {
        if self.at.is_none() {
            self.at = Some(clock::now());
            self.first_valid = shelf.first_valid[self.key];
        }
    }

    pub fn head(&self, method: &str, version: &str) -> String {
        let mut text = format!("{method} /k{} HTTP/{version}\r\nHost: a\r\n", self.key);
        text += &format!("X-Variant: {}\r\n", self.variant);
        if self.authorized {
            text += "Authorization: Basic eA==\r\n";
        }
        if let Some((first, last)) = self.range {
            text += &format!("Range: bytes={first}-{last}\r\n");
        }
        if let Some(known) = self.known {
            text += &format!("If-None-Match: \"{known}\"\r\n");
        }
        if !self.directive.is_empty() {
            text += &format!("Cache-Control: {}\r\n", self.directive);
        }
        if method == "POST" {
            text += "Content-Length: 0\r\n";
        }
        text + "\r\n"
    }

    /// An answer to the request must be one that it may have.
    pub fn judge(&self, method: &str, message: &Message, book: &mut Book) {
        let head = &message.head;
        let status = head.status();
        book.trace.note(|| format!("{head:?} {:?}", message.body.len()));
        book.shelf.served += 1;
        let cache = head.get("cache-status").unwrap_or_default().to_owned();
        if method == "POST" {
            if let (200, Some(first)) = (status, head.get("x-first-valid")) {
                let first: usize = first.parse().expect("a number");
                let known = &mut book.shelf.first_valid[self.key];
                *known = first.max(*known);
            }
            return;
        }
        let tag = head.get("etag").map(|tag| tag.trim_matches('"').to_owned());
        let version = head.get("x-version").map(str::to_owned).or(tag);
        let Some(version) = version else {
            return self.judge_error(method, message, book);
        };
        let version: usize = version.parse().expect("a number");
        let given = &book.shelf.given[version];
        assert_eq!(given.key, self.key, "another resource");
        assert!(given.variant.is_none_or(|variant| variant == self.variant), "another variant");
        let part = self.check_body(method, version, given.len, message);
        if is_followed(head) {
            book.shelf.followed += 1;
            book.shelf.followed_to_close += usize::from(head.get("transfer-encoding").is_none());
        }
        let is_stored = ["hit", "collapsed", "fwd-status"].iter().any(|word| cache.contains(word));
        if !is_stored {
            return;
        }
        book.shelf.hits += 1;
        book.shelf.joined += usize::from(cache.contains("fwd-status=206"));
        book.shelf.parts +=
            usize::from(cache.contains("hit") && !book.shelf.given[version].was_whole);
        let given = &book.shelf.given[version];
        assert!(given.is_storable, "{version} was for one alone");
        // What is told of it may be known without any of its body.
        let was_given = given.was_whole || given.sent[part].iter().all(|was_sent| *was_sent);
        assert!(was_given, "{version} was never given");
        assert!(!given.was_private || given.is_public, "{version} was for somebody else");
        assert!(!self.authorized || given.is_public, "{version} is not for credentials");
        assert!(status != 304 || self.known == Some(version) || !cache.contains("hit"));
        if !book.weather.spoils_disks() {
            assert!(version >= self.first_valid, "{version} was void below {}", self.first_valid);
        }
        self.check_age(version, &cache, book);
    }

    /// What came of an answer that was cut must be right. Whether it had to be cut though nothing goes wrong:
    /// it turned out to be longer than what there is room for, and was given as it was stored.
    pub fn judge_cut(&self, message: &Message, book: &mut Book) -> bool {
        let head = &message.head;
        let Some(version) = head.get("x-version") else { return false };
        let version: usize = version.parse().expect("a number");
        let len = book.shelf.given[version].len;
        let first = match head.get("content-range") {
            Some(_) => self.range.expect("a part that nobody wanted").0,
            None => 0,
        };
        let whole = pattern(version, len);
        assert!(whole[first..].starts_with(&message.body), "{version} came changed, and was cut");
        if is_followed(head) {
            book.shelf.followed_cut += 1;
            book.shelf.followed_to_close += usize::from(head.get("transfer-encoding").is_none());
        }
        let cache = head.get("cache-status").unwrap_or_default();
        let is_stored = cache.contains("stored") || cache.contains("collapsed");
        is_stored && head.get("content-length").is_none() && len > book.shelf.certain
    }

    fn judge_error(&self, method: &str, message: &Message, book: &Book) {
        let status = message.head.status();
        let weather = &book.weather;
        let is_bad = weather.cuts || weather.hangs || weather.refuses || weather.spoils_disks();
        match (status, message.head.get("proxy-status")) {
            (504, None) => assert_eq!(self.directive, "only-if-cached"),
            (502..=504, Some(_)) => assert!(is_bad, "{:?}", message.head),
            (500 | 503 | 404, None) => {
                assert!(method == "HEAD" || message.body == b"woe!");
            }
            (416, None) => assert!(self.range.is_some()),
            (304, None) => assert!(self.known.is_some()),
            other => panic!("{other:?}: {:?}", message.head),
        }
    }

    /// The body is the right one. Which bytes of the whole it has.
    fn check_body(
        &self,
        method: &str,
        version: usize,
        len: usize,
        message: &Message,
    ) -> Range<usize> {
        let whole = pattern(version, len);
        let expected = match (message.head.status(), message.head.get("content-range")) {
            (200, None) => 0..len,
            (206, Some(range)) => {
                let (first, last) = self.range.expect("a part that nobody wanted");
                let last = last.min(len - 1);
                assert_eq!(range, format!("bytes {first}-{last}/{len}"));
                first..last + 1
            }
            (304, None) => 0..0,
            other => panic!("{other:?}: {:?}", message.head),
        };
        let part = if method == "HEAD" { 0..0 } else { expected };
        let is_right = message.body == whole[part.clone()];
        assert!(is_right, "{version} came changed: {} bytes", message.body.len());
        part
    }

    /// What comes out of the store is fresh, or stale within its limits. It is no younger than when the
    /// request was sent.
    fn check_age(&self, version: usize, cache: &str, book: &Book) {
        let given = &book.shelf.given[version];
        let at = self.at.expect("a request that was sent");
        let asked = at.0.saturating_sub(given.at.0) / 1_000_000;
        let said = |word: &str| cache.contains(word);
        let slack = 2;
        if said("fwd-status=304") || said("fwd-status=206") || said("collapsed") {
            return;
        }
        if said("fwd-status") {
            assert!(!given.must_validate, "{version} was given stale: {cache}");
            assert!(
                asked <= given.max_age + given.if_error + slack,
                "{version} is too old: {cache}"
            );
            return;
        }
        assert!(!given.no_cache, "{version} was to be asked about: {cache}");
        let stale = said("ttl=-") || said("ttl=0");
        assert!(!stale || !given.must_validate, "{version} was given stale: {cache}");
        let more = match self.directive {
            "max-stale=3" => given.while_revalidate.max(3),
            _ => given.while_revalidate,
        };
        let limit = given.max_age + if stale { more } else { 0 };
        assert!(asked <= limit + slack, "{version} is too old: {asked} s, {cache}");
    }
}
