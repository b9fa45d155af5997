//! What a backend gives of what is stored.

use super::super::plan::{Book, Spoiled, chunked, pattern};
use super::super::server::{After, Answer};
use super::{Given, Offer};
use crate::proxy::tests::message::Message;
use crate::sys::clock;

/// The answer to a request, in good weather.
pub fn make_answer(request: &Message, book: &mut Book) -> Answer {
    let key: usize = request.head.word()[2..].parse().expect("a number");
    let method = request.head.method().to_owned();
    let mut answer = Answer::new(0, book.later());
    if book.dice.one_in(5) {
        answer.at = answer.at + book.dice.millis(1500);
    }
    if method == "POST" {
        let changes = book.dice.one_in(2);
        if changes {
            book.shelf.current[key] = [None; 3];
        }
        let status = if changes { "200 OK" } else { "500 No" };
        let boundary = book.shelf.given.len();
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
    answer
}

/// A representation of the resource: the one that there is, or a new one.
fn represent(key: usize, method: &str, request: &Message, answer: &mut Answer, book: &mut Book) {
    let variant: usize =
        request.head.get("x-variant").map_or(0, |value| value.parse().expect("a number"));
    let authorized = request.head.get("authorization").is_some();
    let (offer, is_steady) = (book.shelf.offer, book.shelf.offer == Offer::Steady);
    let version = match book.shelf.current[key][variant] {
        Some(version) if book.dice.one_in(2) || is_steady && !book.dice.one_in(8) => version,
        Some(_) | None => {
            let given = new_version(key, variant, authorized, book);
            book.shelf.given.push(given);
            book.shelf.given.len() - 1
        }
    };
    book.shelf.current[key][variant] = Some(version);
    let given = &mut book.shelf.given[version];
    given.at = clock::now();
    given.was_private &= authorized;
    let knows =
        request.head.get("if-none-match").is_some_and(|tag| tag == format!("\"{version}\""));
    if knows && given.lines.contains("ETag") {
        answer.bytes = format!("HTTP/1.1 304 Not Modified\r\n{}\r\n", given.lines).into_bytes();
        return;
    }
    let (lines, len) = (given.lines.clone(), given.len);
    if let Some((first, end)) = wanted_part(request, version, &given.lines, len)
        && method == "GET"
        && (is_steady && !book.dice.one_in(8) || book.dice.below(3) > 0)
    {
        // One that is asked for the rest may give less, or what was not asked for.
        let gives_less = request.head.get("if-range").is_some() && book.dice.one_in(8);
        let end = if gives_less { end.max(first + 2) - 1 } else { end };
        return give_part(answer, version, &lines, (first, end, len), book);
    }
    let body = pattern(version, len);
    let mut head = format!("HTTP/1.1 200 OK\r\n{lines}");
    let way = match offer {
        Offer::Anything => book.dice.below(4),
        Offer::Steady => 0,
        Offer::Streamed => 3 - book.dice.below(8) / 3,
    };
    let wire = match way {
        0 | 1 => {
            head += &format!("Content-Length: {len}\r\n");
            answer.body = Some((head.len() + 2, 0));
            body
        }
        2 => {
            head += "Transfer-Encoding: chunked\r\n";
            chunked(&body, &mut book.dice, Spoiled::No)
        }
        _ => {
            answer.after = After::Close;
            answer.lasts_until_close = true;
            body
        }
    };
    answer.bytes = format!("{head}\r\n").into_bytes();
    if method == "HEAD" {
        answer.body = None;
        return;
    }
    answer.bytes.extend(wire);
    (answer.number, answer.is_whole) = (version, true);
}

/// Where the part begins and ends that a request asks for, if there is any, and what it is a part of is
/// still the same.
fn wanted_part(
    request: &Message,
    version: usize,
    lines: &str,
    len: usize,
) -> Option<(usize, usize)> {
    let (first, last) = request.head.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let is_same = |tag: &str| tag == format!("\"{version}\"") && lines.contains("ETag: \"");
    // Some do not look at the condition.
    let applies = version % 8 == 3 || request.head.get("if-range").is_none_or(is_same);
    (applies && first < len).then(|| (first, len.min(last + 1)))
}

/// A 206, now and then one that is no good for any cache.
fn give_part(
    answer: &mut Answer,
    version: usize,
    lines: &str,
    (first, end, len): (usize, usize, usize),
    book: &mut Book,
) {
    let range = format!("bytes {first}-{}/{len}", end - 1);
    let head =
        format!("HTTP/1.1 206 Partial\r\n{lines}Content-Type: a/b\r\nContent-Range: {range}\r\n");
    let body = &pattern(version, len)[first..end];
    let (head, wire) = match book.dice.one_in(6) {
        true => {
            (head + "Transfer-Encoding: chunked\r\n", chunked(body, &mut book.dice, Spoiled::No))
        }
        false => {
            let head = format!("{head}Content-Length: {}\r\n", end - first);
            answer.body = Some((head.len() + 2, first));
            (head, body.to_vec())
        }
    };
    answer.bytes = format!("{head}\r\n").into_bytes();
    answer.bytes.extend(wire);
    answer.number = version;
}

fn new_version(key: usize, variant: usize, authorized: bool, book: &mut Book) -> Given {
    let version = book.shelf.given.len();
    let (offer, is_steady) = (book.shelf.offer, book.shelf.offer == Offer::Steady);
    let dice = &mut book.dice;
    let len = match offer {
        Offer::Anything => dice.size(),
        Offer::Steady => *dice.choose(&[20_000, 30_000]),
        Offer::Streamed => *dice.choose(&[0, 5, 3000, 20_000, 50_000, 90_000]),
    };
    let varies = key == 3;
    let max_age = *dice.choose(if is_steady { &[10, 100][..] } else { &[0, 1, 2, 10, 100] });
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
    let word = if offer != Offer::Anything && !dice.one_in(4) { "" } else { word };
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
    if is_steady || dice.one_in(2) || word == "no-cache, " {
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
        sent: vec![false; len],
        at: clock::now(),
    }
}
