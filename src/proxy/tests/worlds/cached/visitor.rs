//! A client of a random world with a cache: asks for what others want as well, and judges what it gets.

use std::net::SocketAddr;

use super::super::plan::{Dice, pattern};
use super::Book;
use crate::mem::time::Micros;
use crate::proxy::tests::message::{Kind, Message, Reader};
use crate::sys::clock;
use crate::sys::world::{self, End, Peer};

pub struct Visitor {
    name: usize,
    address: SocketAddr,
    peer: Option<Peer>,
    is_connected: bool,
    reader: Reader,
    row: Vec<Wish>,
    answered: usize,
    sent: usize,
    /// Bytes that are still to be sent.
    pending: Vec<u8>,
    depth: usize,
    not_before: Micros,
    aborts_at: Option<Micros>,
}

const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"];
const DIRECTIVES: [&str; 8] =
    ["", "", "", "no-cache", "max-stale=3", "max-age=1", "only-if-cached", "no-store"];

/// One request.
#[derive(Clone, Debug)]
struct Wish {
    key: usize,
    method: &'static str,
    variant: usize,
    authorized: bool,
    range: Option<(usize, usize)>,
    known: Option<usize>,
    directive: &'static str,
    /// When it was sent.
    at: Micros,
    /// What was void by then.
    first_valid: usize,
}

impl Wish {
    fn roll(dice: &mut Dice) -> Wish {
        let start = dice.below(3000);
        Wish {
            key: if dice.one_in(2) { 0 } else { dice.below(4) },
            method: METHODS[dice.below(METHODS.len())],
            variant: dice.below(3),
            authorized: dice.one_in(10),
            range: dice.one_in(6).then(|| (start, start + dice.below(3000))),
            known: dice.one_in(6).then(|| dice.below(20)),
            directive: if dice.one_in(2) { "" } else { DIRECTIVES[dice.below(DIRECTIVES.len())] },
            at: Micros(0),
            first_valid: 0,
        }
    }

    fn wire(&self) -> String {
        let mut text = format!("{} /k{} HTTP/1.1\r\nHost: a\r\n", self.method, self.key);
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
        if self.method == "POST" {
            text += "Content-Length: 0\r\n";
        }
        text + "\r\n"
    }
}

impl Visitor {
    pub fn new(name: usize, address: SocketAddr, dice: &mut Dice) -> Visitor {
        let row = (0..dice.between(1, 8)).map(|_| Wish::roll(dice)).collect();
        Visitor {
            name,
            address,
            peer: None,
            is_connected: false,
            reader: Reader::default(),
            row,
            answered: 0,
            sent: 0,
            pending: Vec::new(),
            depth: *dice.choose(&[1, 1, 2, 100]),
            not_before: clock::now() + if dice.one_in(2) { Micros(0) } else { dice.millis(3000) },
            aborts_at: None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.is_connected && self.peer.is_none()
    }

    /// Does what can be done now. When it wants to do more.
    pub fn act(&mut self, book: &mut Book) -> Option<Micros> {
        if self.is_done() {
            return None;
        }
        if self.not_before > clock::now() {
            return Some(self.not_before);
        }
        if !self.is_connected {
            self.is_connected = true;
            self.peer = Some(world::connect(self.address));
            if book.weather.aborts && book.dice.one_in(2) {
                self.aborts_at = Some(clock::now() + book.dice.millis(2000));
            }
        }
        if self.aborts_at.is_some_and(|time| time <= clock::now()) {
            book.trace.note(|| format!("visitor {}: goes away", self.name));
            let peer = self.peer.take()?;
            if book.dice.one_in(2) {
                peer.reset();
            }
            return None;
        }
        let more = self.receive(book);
        self.send(book);
        self.leave_if_done(book);
        self.peer.as_ref()?;
        let waits = more || self.not_before > clock::now();
        waits.then_some(self.not_before).into_iter().chain(self.aborts_at).min()
    }

    fn send(&mut self, book: &mut Book) {
        let Some(peer) = &self.peer else { return };
        loop {
            if !self.pending.is_empty() {
                let sent = peer.send(&self.pending);
                self.pending.drain(..sent);
                if !self.pending.is_empty() {
                    return;
                }
            }
            if self.sent == self.row.len() || self.sent - self.answered >= self.depth {
                return;
            }
            if book.dice.one_in(3) {
                self.not_before = clock::now() + Micros(1) + book.dice.millis(1500);
                return;
            }
            let wish = &mut self.row[self.sent];
            wish.at = clock::now();
            wish.first_valid = book.first_valid[wish.key];
            let text = wish.wire();
            book.trace.note(|| format!("visitor {}: {text:?}", self.name));
            self.pending = text.into_bytes();
            self.sent += 1;
        }
    }

    /// Reads what there is. Whether there is more that it leaves for later.
    fn receive(&mut self, book: &mut Book) -> bool {
        let Some(peer) = &self.peer else { return false };
        let is_slow = book.weather.slow_readers && self.name % 2 == 0;
        let limit = if is_slow { 1 + book.dice.below(3000) } else { usize::MAX };
        self.reader.feed(&peer.receive_at_most(limit));
        let more = peer.unread() > 0;
        if more {
            self.not_before = clock::now() + Micros(1) + book.dice.millis(60);
        }
        while self.answered < self.sent {
            let wish = self.row[self.answered].clone();
            let kind = if wish.method == "HEAD" { Kind::HeadResponse } else { Kind::Response };
            let Some(message) = self.reader.next(kind) else { break };
            self.judge(&wish, &message, book);
            self.answered += 1;
        }
        more
    }

    fn leave_if_done(&mut self, book: &mut Book) {
        let Some(peer) = &self.peer else { return };
        if self.answered == self.row.len() {
            self.peer = None;
            return;
        }
        if peer.unread() == 0 && peer.seen_end() != End::Open {
            let end = peer.seen_end();
            let begun = self.reader.current().map(|message| message.head.line.clone());
            book.trace.note(|| format!("visitor {}: cut off, {begun:?} {end:?}", self.name));
            assert!(book.weather.is_bad(), "cut off in fair weather");
            self.peer = None;
        }
    }

    fn judge(&self, wish: &Wish, message: &Message, book: &mut Book) {
        let head = &message.head;
        let status = head.status();
        book.trace.note(|| format!("visitor {}: {:?} {:?}", self.name, head, message.body.len()));
        book.served += 1;
        let cache = head.get("cache-status").unwrap_or_default().to_owned();
        if wish.method == "POST" {
            if let (200, Some(first)) = (status, head.get("x-first-valid")) {
                let first: usize = first.parse().expect("a number");
                let known = &mut book.first_valid[wish.key];
                *known = first.max(*known);
            }
            return;
        }
        let tag = head.get("etag").map(|tag| tag.trim_matches('"').to_owned());
        let version = head.get("x-version").map(str::to_owned).or(tag);
        let Some(version) = version else {
            return self.judge_error(wish, message, book);
        };
        let version: usize = version.parse().expect("a number");
        let given = &book.given[version];
        assert_eq!(given.key, wish.key, "another resource");
        assert!(given.variant.is_none_or(|variant| variant == wish.variant), "another variant");
        check_body(wish, version, given.len, message);
        let is_stored = ["hit", "collapsed", "fwd-status"].iter().any(|word| cache.contains(word));
        if !is_stored {
            return;
        }
        book.hits += 1;
        assert!(given.is_storable, "{version} was for one alone");
        assert!(given.was_whole, "{version} was never given whole");
        assert!(!given.was_private || given.is_public, "{version} was for somebody else");
        assert!(!wish.authorized || given.is_public, "{version} is not for credentials");
        assert!(status != 304 || wish.known == Some(version) || !cache.contains("hit"));
        if !book.weather.spoils_disks() {
            assert!(version >= wish.first_valid, "{version} was void below {}", wish.first_valid);
        }
        check_age(wish, version, &cache, book);
    }

    fn judge_error(&self, wish: &Wish, message: &Message, book: &Book) {
        let status = message.head.status();
        match (status, message.head.get("proxy-status")) {
            (504, None) => assert_eq!(wish.directive, "only-if-cached"),
            (502..=504, Some(_)) => assert!(book.weather.is_bad(), "{:?}", message.head),
            (500 | 503 | 404, None) => {
                assert!(wish.method == "HEAD" || message.body == b"woe!");
            }
            (416, None) => assert!(wish.range.is_some()),
            (304, None) => assert!(wish.known.is_some()),
            other => panic!("{other:?}: {:?}", message.head),
        }
    }
}

fn check_body(wish: &Wish, version: usize, len: usize, message: &Message) {
    let whole = pattern(version, len);
    let expected = match (message.head.status(), message.head.get("content-range")) {
        (200, None) => &whole[..],
        (206, Some(range)) => {
            let (first, last) = wish.range.expect("a part that nobody wanted");
            let last = last.min(len - 1);
            assert_eq!(range, format!("bytes {first}-{last}/{len}"));
            &whole[first..=last]
        }
        (304, None) => &[],
        other => panic!("{other:?}: {:?}", message.head),
    };
    let expected = if wish.method == "HEAD" { &[] } else { expected };
    assert!(message.body == expected, "{version} came changed: {} bytes", message.body.len());
}

/// What comes out of the store is fresh, or stale within its limits. It is no younger than when the
/// request was sent.
fn check_age(wish: &Wish, version: usize, cache: &str, book: &Book) {
    let given = &book.given[version];
    let asked = wish.at.0.saturating_sub(given.at.0) / 1_000_000;
    let said = |word: &str| cache.contains(word);
    let slack = 2;
    if said("fwd-status=304") || said("collapsed") {
        return;
    }
    if said("fwd-status") {
        assert!(!given.must_validate, "{version} was given stale: {cache}");
        assert!(asked <= given.max_age + given.if_error + slack, "{version} is too old: {cache}");
        return;
    }
    assert!(!given.no_cache, "{version} was to be asked about: {cache}");
    let stale = said("ttl=-") || said("ttl=0");
    assert!(!stale || !given.must_validate, "{version} was given stale: {cache}");
    let more = match wish.directive {
        "max-stale=3" => given.while_revalidate.max(3),
        _ => given.while_revalidate,
    };
    let limit = given.max_age + if stale { more } else { 0 };
    assert!(asked <= limit + slack, "{version} is too old: {asked} s, {cache}");
}
