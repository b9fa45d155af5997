//! What there is of a body of which not all is there: segments, each with a checksum of its own.
//!
//! They stand in a list by their first bytes. Two may touch or overlap, for they came under one strong
//! validator, but none lies within another. So a segment that is joined to others never has to be read again.

use crate::mem::Append;

use super::ranges::Part;

/// A list has no more; so many times [`SEGMENT_LEN`] bytes have room before a body.
pub const MAX_SEGMENTS: usize = 64;
/// Bytes that one takes as it is written.
pub const SEGMENT_LEN: usize = 24;

/// Bytes of a body that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where they belong.
    pub part: Part,
    /// Their checksum.
    pub sum: u64,
}

/// A list, as it is written: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    /// Reads the list of a body that is `whole` bytes long. `None` if it is none.
    pub fn read(bytes: &'a [u8], whole: u64) -> Option<Segments<'a>> {
        let segments = Segments(bytes);
        let count = bytes.len() / SEGMENT_LEN;
        let mut before: Option<Part> = None;
        for Segment { part, .. } in segments.iter() {
            let is_behind =
                before.is_none_or(|before| before.first < part.first && before.last < part.last);
            if part.last < part.first || part.last >= whole || !is_behind {
                return None;
            }
            before = Some(part);
        }
        let is_list = bytes.len() % SEGMENT_LEN == 0 && (1..=MAX_SEGMENTS).contains(&count);
        is_list.then_some(segments)
    }

    /// They, one after the other.
    pub fn iter(self) -> impl Iterator<Item = Segment> + 'a {
        self.0.chunks_exact(SEGMENT_LEN).map(|bytes| {
            let mut words = bytes
                .chunks_exact(8)
                .map(|word| word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
            let mut next = || words.next().unwrap_or(0);
            Segment { part: Part { first: next(), last: next() }, sum: next() }
        })
    }

    /// What is there without a gap from `at` on, or from the first byte behind it that is there.
    pub fn next_from(self, at: u64) -> Option<Part> {
        let mut found: Option<Part> = None;
        for Segment { part, .. } in self.iter().filter(|segment| segment.part.last >= at) {
            found = match found {
                None => Some(Part { first: part.first.max(at), last: part.last }),
                Some(there) if part.first <= there.last.saturating_add(1) => {
                    Some(Part { last: part.last.max(there.last), ..there })
                }
                Some(there) => return Some(there),
            };
        }
        found
    }

    /// The stretches without gaps, one after the other.
    pub fn stretches(self) -> impl Iterator<Item = Part> + 'a {
        let mut at = Some(0);
        std::iter::from_fn(move || {
            let part = self.next_from(at?)?;
            at = part.last.checked_add(1);
            Some(part)
        })
    }

    /// Whether all of `part` is there.
    pub fn cover(self, part: Part) -> bool {
        let there = self.next_from(part.first);
        there.is_some_and(|there| there.first == part.first && there.last >= part.last)
    }

    /// Whether all of a body of so many bytes is there.
    pub fn are_all(self, whole: u64) -> bool {
        whole.checked_sub(1).is_none_or(|last| self.cover(Part { first: 0, last }))
    }

    /// How many bytes are there.
    pub fn held(self) -> u64 {
        self.stretches().map(Part::len).sum()
    }

    /// Where the last of them ends.
    pub fn end(self) -> u64 {
        self.iter().last().map_or(0, |segment| segment.part.last + 1)
    }
}

/// A list that is being made.
#[derive(Clone, Debug)]
pub struct SegmentList {
    segments: [Segment; MAX_SEGMENTS],
    len: usize,
}

impl SegmentList {
    /// A list of this segment alone.
    pub fn new(segment: Segment) -> SegmentList {
        SegmentList { segments: [segment; MAX_SEGMENTS], len: 1 }
    }

    /// Adds a segment, unless it lies within another. False if there is no room for it.
    pub fn add(&mut self, segment: Segment) -> bool {
        let lies_within =
            |one: Part, other: Part| other.first <= one.first && one.last <= other.last;
        let known = &self.segments[..self.len];
        if known.iter().any(|other| lies_within(segment.part, other.part)) {
            return true;
        }
        let mut kept = 0;
        for at in 0..self.len {
            if !lies_within(self.segments[at].part, segment.part) {
                self.segments[kept] = self.segments[at];
                kept += 1;
            }
        }
        self.len = kept;
        if kept == MAX_SEGMENTS {
            return false;
        }
        let is_before = |other: &Segment| other.part.first < segment.part.first;
        let place = self.segments[..kept].partition_point(is_before);
        self.segments.copy_within(place..kept, place + 1);
        self.segments[place] = segment;
        self.len += 1;
        true
    }

    /// The only one, if there is no other.
    pub fn only(&self) -> Option<Segment> {
        (self.len == 1).then_some(self.segments[0])
    }

    /// Writes it, for [`Segments::read`].
    pub fn write(&self, out: &mut impl Append) {
        for Segment { part, sum } in &self.segments[..self.len] {
            for word in [part.first, part.last, *sum] {
                out.append(&word.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
