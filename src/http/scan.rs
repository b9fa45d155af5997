//! Where a head ends, and where the tokens within it end.
//!
//! [`HeadScan`] looks only at line ends and at how a head begins, so that it may be asked again
//! each time some bytes arrive without looking at any of them twice. Whether the head means
//! anything is for [`request::parse`](super::request::parse) and
//! [`response::parse`](super::response::parse) to say, which use the byte classes below.

/// What the bytes at the front of a connection are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The head has not ended yet.
    Partial,
    /// The head is that many bytes long, counted from the first byte given (so with an empty
    /// line before it) to one past the CRLF CRLF that ends it.
    Whole(usize),
    /// The byte at this offset cannot stand there: no bytes that may follow would make a head
    /// that `parse` accepts. Reported at once, so that nobody waits for a timeout to learn it.
    Malformed(usize),
}

/// What kind of head is expected. They differ in how they may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum HeadKind {
    #[default]
    Request,
    Response,
}

/// How far the lines of the head have been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ScanProgress {
    /// Nothing has been seen that decides how the head begins.
    #[default]
    Start,
    FirstLine,
    Fields,
}

/// Searches for the end of a head while it arrives, each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// No line feed that has not been dealt with lies before this offset.
    searched: u32,
    kind: HeadKind,
    reached: ScanProgress,
    /// Whether somebody was told to read the head without a search for its end.
    was_tried: bool,
}

/// How a status line begins (RFC 9112 §4).
const RESPONSE_START: &[u8] = b"HTTP/1.";

impl HeadScan {
    /// A scan for a request, before which one empty line is allowed (RFC 9112 §2.2).
    pub const fn request() -> HeadScan {
        HeadScan::new(HeadKind::Request)
    }

    /// A scan for a response, which begins with its first byte.
    pub const fn response() -> HeadScan {
        HeadScan::new(HeadKind::Response)
    }

    const fn new(kind: HeadKind) -> HeadScan {
        HeadScan { searched: 0, kind, reached: ScanProgress::Start, was_tried: false }
    }

    /// Goes on with the search, but not at the first bytes of a head: nearly always they are all of it, and
    /// valid, and whoever reads it finds its end ([`request::parse_front`](super::request::parse_front)).
    /// `None` comes once for each head, so that one which arrives byte by byte is not read from its start at
    /// each of them.
    pub fn look(&mut self, bytes: &[u8]) -> Option<Scan> {
        std::mem::replace(&mut self.was_tried, true).then(|| self.advance(bytes))
    }

    /// Whether the end of the first line is still missing: a head that is too long already has
    /// a too long target then (414), else too many fields (431). An empty line before the
    /// request is no first line.
    pub fn in_first_line(&self) -> bool {
        self.reached != ScanProgress::Fields
    }

    /// Goes on with the search. `bytes` is everything from the first byte of the head on, so it
    /// begins with what was given before.
    ///
    /// The answer does not depend on how the bytes were cut. After `Whole` or `Malformed` the
    /// scan is used up; the next head wants a new one. But where a line feed lacks its CR, it may be
    /// put there, and the scan goes on.
    pub fn advance(&mut self, bytes: &[u8]) -> Scan {
        if self.reached == ScanProgress::Start {
            match self.begin(bytes) {
                Begin::Unknown => return Scan::Partial,
                Begin::Well => (),
                Begin::Badly(at) => return Scan::Malformed(at),
            }
        }
        let mut from = self.searched as usize;
        while let Some(feed) = find_line_feed(bytes, from) {
            let line = bytes.get(..feed).and_then(|before| before.strip_suffix(b"\r"));
            let Some(line) = line else {
                self.searched = u32::try_from(feed).unwrap_or(u32::MAX);
                return Scan::Malformed(feed);
            };
            match line.last() {
                Some(b'\n') => return Scan::Whole(feed + 1),
                Some(b'\r') => return Scan::Malformed(feed - 1), // The first CR lacks its LF.
                Some(_) | None => (),
            }
            if self.reached == ScanProgress::FirstLine {
                if self.kind == HeadKind::Request && !ends_in_version(line) {
                    return Scan::Malformed(feed);
                }
                self.reached = ScanProgress::Fields;
            }
            from = feed + 1;
        }
        self.searched = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Scan::Partial
    }

    /// Judges the first bytes, and steps over an empty line before a request.
    fn begin(&mut self, bytes: &[u8]) -> Begin {
        let begin = match self.kind {
            HeadKind::Request => self.begin_request(bytes),
            HeadKind::Response => begin_response(bytes),
        };
        if begin == Begin::Well {
            self.reached = ScanProgress::FirstLine;
        }
        begin
    }

    fn begin_request(&mut self, bytes: &[u8]) -> Begin {
        let start = match bytes {
            [] | [b'\r'] | [b'\r', b'\n'] => return Begin::Unknown,
            [b'\r', b'\n', ..] => 2,
            [b'\r', ..] => return Begin::Badly(1),
            [_, ..] => 0,
        };
        if !bytes.get(start).is_some_and(|&first| is_token_byte(first)) {
            return Begin::Badly(start);
        }
        self.searched = start as u32;
        Begin::Well
    }
}

/// What the first bytes of a head say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// More of them are needed.
    Unknown,
    Well,
    /// The byte at this offset is wrong.
    Badly(usize),
}

fn begin_response(bytes: &[u8]) -> Begin {
    match bytes.iter().zip(RESPONSE_START).position(|(given, wanted)| given != wanted) {
        Some(wrong) => Begin::Badly(wrong),
        None if bytes.len() < RESPONSE_START.len() => Begin::Unknown,
        None => Begin::Well,
    }
}

fn find_line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    Some(from + memchr::memchr(b'\n', bytes.get(from..)?)?)
}

/// Whether a request line ends in something like `HTTP/1.1`. Others (HTTP/0.9, foreign protocols)
/// are known by their first line, and those who speak them wait for an answer to it.
fn ends_in_version(line: &[u8]) -> bool {
    line.len().checked_sub(8).and_then(|at| line.get(at..at + 5)) == Some(b"HTTP/")
}

/// Letters, digits and these marks.
const fn class(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
}

/// The bytes of a token: RFC 9110 §5.6.2.
const TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");
/// Those of a registered name, without percent-encodings: RFC 3986 §3.2.2.
const REG_NAME: [bool; 256] = class(b"-._~!$&'()*+,;=");

/// Whether `byte` may stand in a method or a field name (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `byte` may stand in a registered name as it is (RFC 3986 §3.2.2).
#[inline]
pub(super) fn is_reg_name_byte(byte: u8) -> bool {
    REG_NAME[usize::from(byte)]
}

/// How many token bytes stand at the front. Nearly all are letters and hyphens.
#[inline]
pub(super) fn token_len(bytes: &[u8]) -> usize {
    let plain = run_len(bytes, not_in_plain_name, not_in_plain_name);
    plain + bytes[plain..].iter().take_while(|byte| is_token_byte(**byte)).count()
}

/// How many bytes at the front may stand in a field value (RFC 9110 §5.5): all but the controls,
/// of which HTAB is allowed. Bytes from 0x80 on (obs-text) are.
#[inline(always)]
pub(super) fn value_len(bytes: &[u8]) -> usize {
    let len = run_len(bytes, unusual, controls);
    if bytes.get(len) == Some(&b'\t') { len + tabbed_value_len(&bytes[len..]) } else { len }
}

#[cold]
fn tabbed_value_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while bytes.get(len) == Some(&b'\t') {
        len += 1;
        len += run_len(&bytes[len..], unusual, controls);
    }
    len
}

/// How many bytes at the front may stand in a request target: the visible ones of ASCII without
/// `#`, which begins a fragment and is never sent (RFC 9112 §3.2).
#[inline]
pub(super) fn target_len(bytes: &[u8]) -> usize {
    run_len(bytes, not_in_target, not_in_target)
}

/// The same with bytes from 0x80 on.
pub(super) fn raw_target_len(bytes: &[u8]) -> usize {
    run_len(bytes, not_in_raw_target, not_in_raw_target)
}

// Eight bytes at once, the first of them in the lowest bits. In the results the high bit of a byte is
// its mark. A subtraction may carry into the bytes above one that is marked, so only the lowest mark is
// sure, and it alone is used.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How many bytes stand before the first that `mark` marks. `suspect` may be quicker: it marks some byte
/// where `mark` does, and perhaps where it does not.
#[inline(always)]
fn run_len(bytes: &[u8], suspect: impl Fn(u64) -> u64, mark: impl Fn(u64) -> u64) -> usize {
    let mut rest = bytes;
    while let Some((sixteen, behind)) = rest.split_first_chunk::<16>() {
        let (first, second) = (word(sixteen), word(&sixteen[8..]));
        if suspect(first) | suspect(second) != 0 {
            let (first, second) = (mark(first), mark(second));
            let before = bytes.len() - rest.len();
            if first != 0 {
                return before + first_mark(first);
            } else if second != 0 {
                return before + 8 + first_mark(second);
            }
        }
        rest = behind;
    }
    if let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let marks = mark(word(eight));
        if marks != 0 {
            return bytes.len() - rest.len() + first_mark(marks);
        }
        rest = behind;
    }
    bytes.len() - rest.len() + first_mark(mark(word(rest))).min(rest.len())
}

/// The bytes at the front, with NULs behind them where they are fewer than eight.
#[inline(always)]
pub(super) fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => short_word(bytes),
    }
}

#[cold]
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// How many bytes stand below the lowest mark.
#[inline(always)]
pub(super) const fn first_mark(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The bytes below the lowest mark, all their bits.
#[inline(always)]
pub(super) const fn lowest(marks: u64) -> u64 {
    ((marks & marks.wrapping_neg()) >> 7) - 1
}

/// Marks the bytes below `limit`, which is at most 0x80.
const fn below(eight: u64, limit: u8) -> u64 {
    eight.wrapping_sub(ONES * limit as u64) & !eight & HIGH_BITS
}

const fn equal(eight: u64, byte: u8) -> u64 {
    below(eight ^ (ONES * byte as u64), 1)
}

const fn controls(eight: u64) -> u64 {
    below(eight, b' ') | equal(eight, 0x7f)
}

/// Some mark where there is a control byte, or one from 0x7f on.
const fn unusual(eight: u64) -> u64 {
    (eight.wrapping_sub(ONES * b' ' as u64) | eight.wrapping_add(ONES)) & HIGH_BITS
}

const fn not_in_target(eight: u64) -> u64 {
    not_in_raw_target(eight) | (eight & HIGH_BITS)
}

const fn not_in_raw_target(eight: u64) -> u64 {
    below(eight, b'!') | equal(eight, b'#') | equal(eight, 0x7f)
}

/// Marks what is neither a letter nor a hyphen. No byte carries into another here, so all marks are sure.
#[inline(always)]
pub(super) const fn not_in_plain_name(eight: u64) -> u64 {
    let low = lower(eight) & !HIGH_BITS;
    let from_a = (low | HIGH_BITS) - ONES * b'a' as u64;
    let above_z = low + ONES * (0x7f - b'z') as u64;
    let no_hyphen = ((eight ^ (ONES * b'-' as u64)) & !HIGH_BITS) + ONES * 0x7f;
    (((!from_a | above_z) & no_hyphen) | eight) & HIGH_BITS
}

/// Letters in lower case. Hyphens and digits stay, other bytes change.
#[inline(always)]
pub(super) const fn lower(eight: u64) -> u64 {
    eight | (ONES * 0x20)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
