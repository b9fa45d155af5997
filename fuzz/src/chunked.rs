//! Chunked bodies: decoded as a naive reader decodes them, written anew in canonical form, and
//! never made complete when they are not, however they are cut.

use crate::{Dice, naive};
use httplb::http::chunked::{
    BadChunk, Chunk, Chunks, MAX_PADDING, MAX_TRAILER_BYTES, MAX_TRAILERS,
};
use httplb::http::fields::may_trail;

pub fn check(bytes: &[u8]) {
    let place = bytes.escape_ascii().to_string();
    let naive = Whole::read(bytes);
    let mut dice = Dice::of(bytes);

    let at_once = relay(bytes, Way::Read, |_| usize::MAX);
    check_against(&at_once, naive.as_ref(), &place);
    let mut compare = |way, piece: &mut dyn FnMut(&mut Dice) -> usize| {
        let cut = relay(bytes, way, |_| piece(&mut dice));
        check_against(&cut, naive.as_ref(), &place);
        assert_eq!(cut.data, at_once.data, "{way:?}: {place}");
        assert_eq!(cut.end, at_once.end, "{way:?}: {place}");
        // Digits of a size that was passed on keep their case.
        let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
        assert_eq!(lower(&cut.out), lower(&at_once.out), "{way:?}: {place}");
    };
    compare(Way::Read, &mut |_| 1);
    compare(Way::Pass, &mut |_| usize::MAX);
    compare(Way::Pass, &mut |_| 1);
    for _ in 0..3 {
        compare(Way::Read, &mut |dice| 1 + dice.up_to(7));
        compare(Way::Pass, &mut |dice| 1 + dice.up_to(7));
        compare(Way::Pass, &mut |dice| 1 + dice.up_to(63));
    }
}

/// A complete message, as somebody reads it who has all of it before him.
#[derive(Debug, PartialEq)]
struct Whole {
    data: Vec<u8>,
    sizes: Vec<usize>,
    /// Without their CRLF.
    trailers: Vec<Vec<u8>>,
    /// Bytes of framing that say nothing.
    padding: usize,
    len: usize,
}

impl Whole {
    fn read(bytes: &[u8]) -> Option<Whole> {
        let mut whole = Whole { data: vec![], sizes: vec![], trailers: vec![], padding: 0, len: 0 };
        loop {
            let line = whole.line(bytes)?;
            let size = whole.size(&naive::latin1(&line))?;
            if size == 0 {
                break;
            }
            let end = whole.len.checked_add(size)?;
            whole.data.extend(bytes.get(whole.len..end)?);
            whole.sizes.push(size);
            whole.len = end + 2;
            if bytes.get(end..end + 2)? != b"\r\n" {
                return None;
            }
        }
        let start = whole.len;
        loop {
            let before = whole.len - start;
            let line = whole.line(bytes)?;
            if before + line.len() > MAX_TRAILER_BYTES as usize {
                return None;
            }
            if line.is_empty() {
                return Some(whole);
            }
            naive::field(&naive::latin1(&line))?;
            whole.trailers.push(line);
            if whole.trailers.len() > usize::from(MAX_TRAILERS) {
                return None;
            }
        }
    }

    /// The next line without its CRLF.
    fn line(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let rest = bytes.get(self.len..)?;
        let feed = rest.iter().position(|&byte| byte == b'\n')?;
        self.len += feed + 1;
        rest[..feed].strip_suffix(b"\r").map(<[u8]>::to_vec)
    }

    /// What a chunk's line says.
    fn size(&mut self, line: &str) -> Option<usize> {
        let end = line.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(line.len());
        let (digits, behind) = line.split_at(end);
        let significant = digits.trim_start_matches('0');
        let needed = significant.len().max(1);
        self.padding += digits.len().checked_sub(needed)? + behind.len();
        let extension = behind.trim_start_matches([' ', '\t']);
        let is_right = extension.is_empty() || extension.starts_with(';');
        if !is_right || !is_extension(extension) || self.padding > usize::from(MAX_PADDING) {
            return None;
        }
        let size = u128::from_str_radix(if significant.is_empty() { "0" } else { significant }, 16);
        size.ok().filter(|size| *size < 1 << 63).map(|size| size as usize)
    }
}

/// Visible text, blanks, and quoted strings that end.
fn is_extension(text: &str) -> bool {
    let mut letters = text.chars();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let escaped = if quoted && letter == '\\' { letters.next() } else { Some(' ') };
        let is_text = |c: char| c == '\t' || c >= ' ' && c != '\x7f';
        if !is_text(letter) || !escaped.is_some_and(is_text) {
            return false;
        }
        quoted ^= letter == '"';
    }
    !quoted
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Through `read` alone.
    Read,
    /// Through `pass` where it goes.
    Pass,
}

#[derive(Debug, PartialEq)]
enum End {
    Complete { used: usize },
    Partial,
    Bad(BadChunk),
}

#[derive(Debug)]
struct Relayed {
    data: Vec<u8>,
    /// What is sent on.
    out: Vec<u8>,
    end: End,
}

/// Sends a message on as the data plane does. `piece` says how many bytes more come when they are
/// needed, and how many go out at once.
fn relay(bytes: &[u8], way: Way, mut piece: impl FnMut(usize) -> usize) -> Relayed {
    let mut chunks = Chunks::new();
    let mut relayed = Relayed { data: vec![], out: vec![], end: End::Partial };
    let (mut used, mut here) = (0, 0);
    loop {
        let view = &bytes[used..here];
        let moved = match way {
            Way::Pass => {
                let before = chunks;
                let moved = chunks.pass(view, piece(view.len()));
                relayed.take_passed(before, &view[..moved]);
                moved
            }
            Way::Read => {
                let moved = view.len().min(chunks.data_left() as usize);
                chunks.advance(moved as u64);
                relayed.data.extend(&view[..moved]);
                relayed.out.extend(&view[..moved]);
                moved
            }
        };
        used += moved;
        if moved > 0 {
            continue;
        }
        if chunks.data_left() == 0 {
            let read = match chunks.read(view) {
                Ok((_, Chunk::End)) if chunks.is_done() && view.is_empty() => unreachable!(),
                Ok((count, chunk)) => {
                    relayed.write(chunk, view);
                    used += count;
                    if chunks.is_done() {
                        assert_eq!(chunks.data_total(), relayed.data.len() as u64);
                        relayed.end = End::Complete { used };
                        return relayed;
                    }
                    count
                }
                Err(bad) => {
                    relayed.end = End::Bad(bad);
                    return relayed;
                }
            };
            if read > 0 {
                continue;
            }
        }
        if here == bytes.len() {
            return relayed;
        }
        here += piece(bytes.len()).min(bytes.len() - here);
    }
}

impl Relayed {
    /// Finds the data in what was passed, by asking byte by byte.
    fn take_passed(&mut self, mut before: Chunks, passed: &[u8]) {
        self.out.extend(passed);
        let mut rest = passed;
        while !rest.is_empty() {
            let count = match before.data_left().min(rest.len() as u64) as usize {
                0 => before.read(rest).expect("what was passed is right").0,
                count => {
                    before.advance(count as u64);
                    self.data.extend(&rest[..count]);
                    count
                }
            };
            rest = &rest[count..];
        }
    }

    fn write(&mut self, chunk: Chunk, view: &[u8]) {
        match chunk {
            Chunk::More => (),
            Chunk::Size(size) => self.out.extend(Chunks::size_line(size, &mut [0; 20])),
            Chunk::DataEnd | Chunk::End => self.out.extend(b"\r\n"),
            Chunk::Last => self.out.extend(b"0\r\n"),
            Chunk::Trailer { start, end } => {
                let line = &view[start..end];
                let name = line.split(|byte| *byte == b':').next().expect("a name");
                if may_trail(name) {
                    self.out.extend(line);
                }
            }
        }
    }
}

fn check_against(relayed: &Relayed, naive: Option<&Whole>, place: &str) {
    let sent = Whole::read(&relayed.out);
    let End::Complete { used } = relayed.end else {
        assert_eq!(naive, None, "{:?}, but whole: {place}", relayed.end);
        assert_eq!(sent, None, "{:?}, but made complete: {place}", relayed.end);
        return;
    };
    let naive = naive.unwrap_or_else(|| panic!("complete, but not naively: {place}"));
    assert_eq!((used, &relayed.data), (naive.len, &naive.data), "{place}");
    let sent = sent.unwrap_or_else(|| panic!("sent on unreadable: {place}"));
    assert_eq!((sent.len, sent.padding), (relayed.out.len(), 0), "not canonical: {place}");
    assert_eq!((&sent.data, &sent.sizes), (&naive.data, &naive.sizes), "{place}");
    for line in &sent.trailers {
        let (name, _) = naive::field(&naive::latin1(line)).expect("a trailer");
        let means_something = naive::is_framing(&name) || naive::is_hop_by_hop(&name);
        let routes = ["host", "authorization", "cookie", "set-cookie"].contains(&&name[..]);
        assert!(!means_something && !routes, "{name} as a trailer: {place}");
    }
    let mut left = sent.trailers.iter().peekable();
    for line in &naive.trailers {
        left.next_if_eq(&line);
    }
    assert_eq!(left.next(), None, "a trailer that did not come so: {place}");
}
