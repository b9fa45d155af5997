//! A backend of a random world with a cache.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::super::plan::{Spoiled, chunked, pattern};
use super::{Book, Given};
use crate::mem::time::Micros;
use crate::proxy::tests::message::{Kind, Message, Reader};
use crate::sys::clock;
use crate::sys::world::{self, End, Peer};

pub struct Origin {
    door: world::Server,
    conns: Vec<Conn>,
    next_mood: Micros,
}

#[derive(Default)]
struct Conn {
    peer: Option<Peer>,
    reader: Reader,
    answers: VecDeque<Answer>,
    is_silent: bool,
}

struct Answer {
    bytes: Vec<u8>,
    sent: usize,
    at: Micros,
    after: After,
    /// The representation that is given whole with its last byte.
    gives: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Next,
    Close,
    Reset,
    Silence,
}

impl Origin {
    pub fn new(address: SocketAddr) -> Origin {
        Origin { door: world::listen(address), conns: Vec::new(), next_mood: clock::now() }
    }

    pub fn close(&mut self) {
        self.conns.clear();
    }

    /// Does what can be done now. When it wants to do more.
    pub fn act(&mut self, book: &mut Book) -> Option<Micros> {
        if book.weather.refuses && self.next_mood <= clock::now() {
            self.door.refuse(book.dice.one_in(3));
            self.next_mood = clock::now() + book.dice.millis(2000);
        }
        while let Some(peer) = self.door.accept() {
            self.conns.push(Conn { peer: Some(peer), ..Conn::default() });
        }
        let wishes: Vec<_> = self.conns.iter_mut().map(|conn| conn.act(book)).collect();
        let mood = book.weather.refuses.then_some(self.next_mood);
        wishes.into_iter().flatten().chain(mood).min()
    }
}

impl Conn {
    fn act(&mut self, book: &mut Book) -> Option<Micros> {
        self.reader.feed(&self.peer.as_ref()?.receive());
        while let Some(request) = self.reader.next(Kind::Request) {
            let answer = make_answer(&request, book);
            self.answers.push_back(answer);
        }
        let wish = self.write(book);
        if self.peer.as_ref().is_some_and(|peer| peer.seen_end() != End::Open) {
            self.peer = None;
        }
        wish
    }

    fn write(&mut self, book: &mut Book) -> Option<Micros> {
        while let Some(answer) = self.answers.front_mut() {
            let peer = self.peer.as_ref()?;
            if self.is_silent {
                return None;
            }
            if answer.at > clock::now() {
                return Some(answer.at);
            }
            let left = answer.bytes.len() - answer.sent;
            if left > 0 {
                let part = if book.dice.one_in(2) { left } else { 1 + book.dice.below(left) };
                let sent = peer.send(&answer.bytes[answer.sent..answer.sent + part]);
                answer.sent += sent;
                if answer.sent < answer.bytes.len() {
                    if sent == 0 {
                        return None;
                    }
                    answer.at = book.later();
                    continue;
                }
            }
            let answer = self.answers.pop_front()?;
            if let Some(version) = answer.gives {
                book.given[version].was_whole = true;
            }
            match answer.after {
                After::Next => (),
                After::Close => {
                    self.is_silent = true;
                    peer.shutdown_write();
                }
                After::Reset => self.peer.take().into_iter().for_each(Peer::reset),
                After::Silence => self.is_silent = true,
            }
        }
        None
    }
}

fn make_answer(request: &Message, book: &mut Book) -> Answer {
    let key: usize = request.head.word()[2..].parse().expect("a number");
    let method = request.head.method().to_owned();
    let mut answer =
        Answer { bytes: Vec::new(), sent: 0, at: book.later(), after: After::Next, gives: None };
    if book.dice.one_in(5) {
        answer.at = answer.at + book.dice.millis(1500);
    }
    if method == "POST" {
        let changes = book.dice.one_in(2);
        if changes {
            book.current[key] = [None; 3];
        }
        let status = if changes { "200 OK" } else { "500 No" };
        let boundary = book.given.len();
        let head = format!("HTTP/1.1 {status}\r\nX-First-Valid: {boundary}\r\n");
        answer.bytes = format!("{head}Content-Length: 0\r\n\r\n").into_bytes();
    } else if book.dice.one_in(10) {
        let status = *book.dice.choose(&["503 No", "500 No", "404 No"]);
        answer.bytes = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\n").into_bytes();
        if method != "HEAD" {
            answer.bytes.extend(b"woe!");
        }
    } else {
        represent(key, &method, request, &mut answer, book);
    }
    book.trace.note(|| {
        let head = String::from_utf8_lossy(&answer.bytes[..answer.bytes.len().min(200)]);
        format!("origin: {:?} → {:?}", request.head.line, head.split("\r\n\r\n").next())
    });
    spoil(&mut answer, book);
    answer
}

/// A representation of the resource: the one that there is, or a new one.
fn represent(key: usize, method: &str, request: &Message, answer: &mut Answer, book: &mut Book) {
    let variant: usize =
        request.head.get("x-variant").map_or(0, |value| value.parse().expect("a number"));
    let authorized = request.head.get("authorization").is_some();
    let version = match book.current[key][variant] {
        Some(version) if book.dice.one_in(2) => version,
        Some(_) | None => {
            let given = new_version(key, variant, authorized, book);
            book.given.push(given);
            book.given.len() - 1
        }
    };
    book.current[key][variant] = Some(version);
    let given = &mut book.given[version];
    given.at = clock::now();
    given.was_private &= authorized;
    let knows =
        request.head.get("if-none-match").is_some_and(|tag| tag == format!("\"{version}\""));
    if knows && given.lines.contains("ETag") {
        answer.bytes = format!("HTTP/1.1 304 Not Modified\r\n{}\r\n", given.lines).into_bytes();
        return;
    }
    let (lines, len) = (given.lines.clone(), given.len);
    let body = pattern(version, len);
    let mut head = format!("HTTP/1.1 200 OK\r\n{lines}");
    let wire = match book.dice.below(4) {
        0 | 1 => {
            head += &format!("Content-Length: {len}\r\n");
            body
        }
        2 => {
            head += "Transfer-Encoding: chunked\r\n";
            chunked(&body, &mut book.dice, Spoiled::No)
        }
        _ => {
            answer.after = After::Close;
            body
        }
    };
    answer.bytes = format!("{head}\r\n").into_bytes();
    if method == "HEAD" {
        return;
    }
    answer.bytes.extend(wire);
    answer.gives = Some(version);
}

fn new_version(key: usize, variant: usize, authorized: bool, book: &mut Book) -> Given {
    let version = book.given.len();
    let dice = &mut book.dice;
    let len = dice.size();
    let varies = key == 3;
    let max_age = *dice.choose(&[0, 1, 2, 10, 100]);
    let while_revalidate = if dice.one_in(3) { 3 } else { 0 };
    let if_error = if dice.one_in(3) { 5 } else { 0 };
    let word = *dice.choose(&[
        "",
        "",
        "",
        "",
        "no-store, ",
        "private, ",
        "no-cache, ",
        "must-revalidate, ",
        "public, ",
    ]);
    let mut lines = format!(
        "X-Key: {key}\r\nX-Version: {version}\r\nX-Length: {len}\r\nCache-Control: {word}max-age={max_age}"
    );
    if while_revalidate > 0 {
        lines += ", stale-while-revalidate=3";
    }
    if if_error > 0 {
        lines += ", stale-if-error=5";
    }
    lines += "\r\n";
    if varies {
        lines += &format!("Vary: X-Variant\r\nX-For: {variant}\r\n");
    }
    if dice.one_in(2) || word == "no-cache, " {
        lines += &format!("ETag: \"{version}\"\r\n");
    }
    Given {
        key,
        variant: varies.then_some(variant),
        len,
        lines,
        max_age,
        while_revalidate,
        if_error,
        is_storable: !matches!(word, "no-store, " | "private, "),
        must_validate: matches!(word, "no-cache, " | "must-revalidate, "),
        no_cache: word == "no-cache, ",
        is_public: matches!(word, "public, " | "must-revalidate, "),
        was_private: authorized,
        was_whole: false,
        at: clock::now(),
    }
}

fn spoil(answer: &mut Answer, book: &mut Book) {
    let dice = &mut book.dice;
    let cut = dice.below(answer.bytes.len() + 1);
    if book.weather.cuts && dice.one_in(4) {
        // An end that only the connection tells is none where it was reset, and looks like one else.
        let lasts = answer.after == After::Close;
        answer.after = if lasts || dice.one_in(3) { After::Reset } else { After::Close };
        if lasts || cut < answer.bytes.len() {
            answer.gives = None;
        }
        answer.bytes.truncate(cut);
    } else if book.weather.hangs && dice.one_in(6) {
        if answer.after == After::Close || cut < answer.bytes.len() {
            answer.gives = None;
        }
        answer.after = After::Silence;
        answer.bytes.truncate(cut);
    }
}
