//! The file of an entry.
//!
//! ```text
//! fixed      24 words of 64 bits, the lowest byte first: see `WORDS`
//! key        the URL: scheme, host, target
//! selection  of an answer: of the request that it was for; of a vary marker: the names it is made by
//! head       status line and field lines, ready to be sent but for what differs each time
//! segments   of a part: what of the body there is
//! (unused)   where the length of the body was not known beforehand
//! body       decoded: without chunks
//! ```
//!
//! The body of a part lies where that of the whole would, with holes where nothing has come, up to the last
//! byte that has: so whoever serves a range of a whole serves one of a part. Its list of segments makes it
//! a file of [`VERSION_OF_PARTS`]; one that came together is of the version before, so that a program
//! that knows nothing of parts reads it.
//!
//! An entry is an answer, or a *vary marker*: it lies under the URL's own name where its answers vary, and
//! says by what. The answers have names that follow from the vary marker's and a request's selection;
//! and from a random number in the vary marker, so that who takes it away makes all of them unreachable.
//!
//! The file is right if its size is what the fixed part says, the checksum of all before the body
//! fits, the name follows from key and selection, and the checksum of the body fits.

use crate::mem::buffer::Span;
use crate::policy::conditional::Stored;
use crate::policy::freshness::{Freshness, WhenStale};
use crate::policy::segments::Segments;

use super::checksum::Checksum;
use super::layout::PIECE;
use super::shared_cells::{BLOCK, on_disk};

/// What every file begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"httplb\x1aC");
/// What it begins with as long as it grows: it is no entry yet.
const GROWING: [u8; 8] = *b"httplb\x1aG";
/// Of the format. Files of others are dropped.
const VERSION: u64 = 1;
/// Of the format of an answer of which not all came together.
const VERSION_OF_PARTS: u64 = 2;
/// Words of the fixed part.
const WORDS: usize = 24;
/// The word that says where the body begins; how long it is stands behind it.
const BODY_AT: usize = 19;
/// Bytes of the fixed part.
pub const FIXED: usize = WORDS * 8;
/// What the checksum covers begins here.
const CHECKED_FROM: usize = 24;
/// Stands for what there is not.
const NONE: u64 = u64::MAX;
/// The length of a body that grows, and has not said how long it will be: it reaches as far as can be.
pub const UNKNOWN_LENGTH: u64 = NONE;
const NONE_32: u32 = u32::MAX;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A response.
    Answer,
    /// Says by what the answers of its URL vary.
    VaryMarker,
}

/// What is known of an entry from what lies before its body. The spans are within the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// The status.
    pub status: u16,
    /// Whether requests with credentials may have it.
    pub for_authorized: bool,
    /// How long it is good.
    pub freshness: Freshness,
    /// `Date`, or when it came, in seconds since the epoch.
    pub date: u64,
    /// `Last-Modified`, in seconds since the epoch.
    pub last_modified: Option<u64>,
    /// The list of what of the body there is; empty if all came together.
    pub segments: Span,
    /// The vary marker's random number; 0 for an answer that lies under its URL's own name.
    pub nonce: u64,
    /// The URL.
    pub key: Span,
    /// The selection of an answer, the names of a vary marker.
    pub selection: Span,
    /// Status line and field lines, without the empty one.
    pub head: Span,
    /// The value of `ETag` in the head, as it came; empty without.
    pub etag: Span,
    /// The value of `Last-Modified` in the head; empty without.
    pub last_modified_text: Span,
    /// Where the body begins.
    pub body_at: u64,
    /// How long the body is, in bytes: the whole.
    pub body_len: u64,
    /// Where what there is of it ends.
    pub body_end: u64,
    /// The checksum of the body, if all of it came together.
    pub body_sum: u64,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// They were damaged or cut, or are of another version.
    Damaged,
    /// What lies before the body is longer than the bytes given.
    TooLong,
}

impl Entry {
    /// A vary marker under the key `FIXED..FIXED + key_len`, with names of `names_len` bytes behind it.
    pub fn vary_marker(key_len: usize, names_len: usize, nonce: u64) -> Entry {
        let key = Span::new(FIXED, FIXED + key_len);
        let selection = Span::new(FIXED + key_len, FIXED + key_len + names_len);
        let end = selection.range().end;
        Entry {
            kind: Kind::VaryMarker,
            status: 0,
            for_authorized: false,
            freshness: Freshness {
                received_at: 0,
                initial_age: 0,
                lifetime: 0,
                stale_while_revalidate: 0,
                stale_if_error: None,
                when_stale: WhenStale::Allowed,
            },
            date: 0,
            last_modified: None,
            segments: Span::default(),
            nonce,
            key,
            selection,
            head: Span::new(end, end),
            etag: Span::default(),
            last_modified_text: Span::default(),
            body_at: end as u64,
            body_len: 0,
            body_end: 0,
            body_sum: Checksum::of(b""),
        }
    }

    /// How long the whole file is.
    pub fn file_len(&self) -> u64 {
        self.body_at.saturating_add(self.body_end)
    }

    /// Where what the checksum covers ends.
    fn checked_end(&self) -> usize {
        self.head.range().end.max(self.segments.range().end)
    }

    /// What of the body there is, if not all came together. `front` is what lies before the body.
    pub fn segments<'a>(&self, front: &'a [u8]) -> Option<Segments<'a>> {
        Segments::read(front.get(self.segments.range())?, self.body_len)
    }

    /// How many bytes the file takes on the disk, in whole blocks.
    pub fn room(&self, front: &[u8]) -> u64 {
        match self.segments(front) {
            // A small one is written as it lies in memory.
            Some(segments) if self.file_len() > PIECE as u64 => {
                let mut end = self.body_at.div_ceil(BLOCK);
                let mut blocks = end;
                for part in segments.stretches() {
                    let first = (self.body_at.saturating_add(part.first) / BLOCK).max(end);
                    end = self.body_at.saturating_add(part.last) / BLOCK + 1;
                    blocks += end.saturating_sub(first);
                }
                blocks.saturating_mul(BLOCK)
            }
            Some(_) | None => on_disk(self.file_len()),
        }
    }

    /// Writes the fixed part to the front of `front`, which has all that lies before the body.
    pub fn write_fixed(&self, front: &mut [u8]) {
        let words = self.words();
        for (place, word) in front[..FIXED].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = Checksum::of(&front[CHECKED_FROM..self.checked_end()]);
        front[16..24].copy_from_slice(&sum.to_le_bytes());
    }

    fn words(&self) -> [u64; WORDS] {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let span = |span: Span| pair(span.start, span.end);
        let Freshness { initial_age, lifetime, stale_while_revalidate, stale_if_error, .. } =
            self.freshness;
        let kind = match self.kind {
            Kind::Answer => 0,
            Kind::VaryMarker => 1,
        };
        let when_stale = match self.freshness.when_stale {
            WhenStale::Allowed => 0,
            WhenStale::Never => 2,
            WhenStale::Validate => 4,
        };
        let (version, body_end) = match self.segments.is_empty() {
            true => (VERSION, 0),
            false => (VERSION_OF_PARTS, self.body_end),
        };
        [
            MAGIC,
            version,
            0, // the checksum, once the rest is written
            kind | when_stale | u64::from(self.for_authorized) << 3,
            u64::from(self.status),
            self.freshness.received_at,
            pair(initial_age, lifetime),
            pair(stale_while_revalidate, stale_if_error.unwrap_or(NONE_32)),
            self.date,
            self.last_modified.unwrap_or(NONE),
            span(self.segments),
            body_end,
            NONE,
            self.nonce,
            span(self.key),
            span(self.selection),
            span(self.head),
            span(self.etag),
            span(self.last_modified_text),
            self.body_at,
            self.body_len,
            self.body_sum,
            0,
            0,
        ]
    }

    /// Reads the entry at the front of a file of `file_len` bytes, whose first bytes are `front`. The
    /// checksum of the body is for the caller to compare.
    pub fn read(front: &[u8], file_len: u64) -> Result<Entry, NoEntry> {
        let fixed = front.get(..FIXED).ok_or(NoEntry::Damaged)?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(fixed.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let [magic, version, sum, ..] = words;
        if magic != MAGIC || !matches!(version, VERSION | VERSION_OF_PARTS) {
            return Err(NoEntry::Damaged);
        }
        let entry = Entry::of_words(&words).ok_or(NoEntry::Damaged)?;
        let end = entry.checked_end();
        if entry.file_len() != file_len || !entry.spans_are_in_order() {
            return Err(NoEntry::Damaged);
        }
        match front.get(CHECKED_FROM..end) {
            Some(checked) if Checksum::of(checked) == sum && entry.is_list_right(front) => {
                Ok(entry)
            }
            Some(_) => Err(NoEntry::Damaged),
            None if (front.len() as u64) < file_len => Err(NoEntry::TooLong),
            None => Err(NoEntry::Damaged),
        }
    }

    /// Writes the fixed part of a file that grows, of an answer that will be as long as this says, which
    /// may be [`UNKNOWN_LENGTH`]. Who follows it compares the `voided` count.
    pub fn write_growing(&self, voided: u64, front: &mut [u8]) {
        Entry { body_sum: voided, ..*self }.write_fixed(front);
        front[..8].copy_from_slice(&GROWING);
    }

    /// Reads what `write_growing` has written: the answer, as if all of it were there, and the count.
    pub fn read_growing(front: &mut [u8]) -> Result<(Entry, u64), NoEntry> {
        let len = |word: usize| {
            let bytes = front.get(word * 8..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let file_len = len(BODY_AT).zip(len(BODY_AT + 1)).map(|(at, len)| at.saturating_add(len));
        match (front.first_chunk_mut(), file_len) {
            (Some(magic), Some(file_len)) if *magic == GROWING => {
                *magic = MAGIC.to_le_bytes();
                let entry = Entry::read(front, file_len)?;
                Ok((entry, entry.body_sum))
            }
            _ => Err(NoEntry::Damaged),
        }
    }

    /// How long the body turned out to be of a file that grew without a word of that. `None`: its fixed part,
    /// of which these are the first bytes, was not written anew, as it is when all has come.
    pub fn read_grown(fixed: &[u8; FIXED], file_len: u64) -> Option<u64> {
        let word =
            |place: usize| fixed[place * 8..].first_chunk().map(|word| u64::from_le_bytes(*word));
        let (body_at, body_len) = (word(BODY_AT)?, word(BODY_AT + 1)?);
        let is_whole = word(0)? == MAGIC && body_at.checked_add(body_len) == Some(file_len);
        is_whole.then_some(body_len)
    }

    fn of_words(words: &[u64; WORDS]) -> Option<Entry> {
        let [_, version, _, flags, status, received_at, ages, stale, date, changed, rest @ ..] =
            *words;
        let [segments, end, NONE, nonce, key, selection, head, rest @ ..] = rest else {
            return None;
        };
        let is_part = version == VERSION_OF_PARTS;
        if !is_part && (segments, end) != (0, 0) {
            return None;
        }
        let [etag, changed_text, body_at, body_len, body_sum, 0, 0] = rest else { return None };
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        let span = |word: u64| {
            let (start, end) = halves(word);
            (start <= end).then_some(Span { start, end })
        };
        let (initial_age, lifetime) = halves(ages);
        let (stale_while_revalidate, stale_if_error) = halves(stale);
        Some(Entry {
            kind: if flags & 1 == 0 { Kind::Answer } else { Kind::VaryMarker },
            status: u16::try_from(status).ok()?,
            for_authorized: flags & 8 != 0,
            freshness: Freshness {
                received_at,
                initial_age,
                lifetime,
                stale_while_revalidate,
                stale_if_error: (stale_if_error != NONE_32).then_some(stale_if_error),
                when_stale: match flags & 6 {
                    0 => WhenStale::Allowed,
                    2 => WhenStale::Never,
                    _ => WhenStale::Validate,
                },
            },
            date,
            last_modified: (changed != NONE).then_some(changed),
            segments: span(segments).filter(|span| is_part != span.is_empty())?,
            nonce,
            key: span(key)?,
            selection: span(selection)?,
            head: span(head)?,
            etag: span(etag)?,
            last_modified_text: span(changed_text)?,
            body_at,
            body_len,
            body_end: if is_part { end } else { body_len },
            body_sum,
        })
    }

    /// Whether the list of segments, if there is one, is one, and ends where the file does.
    fn is_list_right(&self, front: &[u8]) -> bool {
        self.segments.is_empty()
            || self.kind == Kind::Answer
                && self.segments(front).is_some_and(|segments| segments.end() == self.body_end)
    }

    fn spans_are_in_order(&self) -> bool {
        let within_head = |span: Span| {
            span == Span::default() || self.head.start <= span.start && span.end <= self.head.end
        };
        self.key.start as usize == FIXED
            && self.key.end == self.selection.start
            && self.selection.end == self.head.start
            && (self.segments.is_empty() || self.segments.start == self.head.end)
            && self.checked_end() as u64 <= self.body_at
            && within_head(self.etag)
            && within_head(self.last_modified_text)
    }

    /// What conditions are judged by. `front` is what lies before the body.
    pub fn stored<'a>(&self, front: &'a [u8]) -> Stored<'a> {
        Stored {
            status: self.status,
            etag: &front[self.etag.range()],
            last_modified: self.last_modified,
            date: self.date,
            length: self.body_len,
            segments: self.segments(front),
        }
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
pub(super) mod tests;
