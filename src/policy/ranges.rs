//! Parts of a stored answer: RFC 9110 §14, RFC 9111 §3.3.
//!
//! Ranges that are, or can be taken together as, one are answered by a 206 with that part. Others are
//! answered by the whole, as RFC 9110 §14.2 allows: clients must cope with that anyway, since most
//! servers do so under load. A body of many parts would cost a state of its own for a case that
//! hardly any client makes, and is what attacks by ranges are made of (§17.15).

use crate::http::cache_control::delta_seconds;
use crate::http::fields::list_members;

/// A range's members beyond these make it count for nothing: §14.2.
const MAX_SPECS: usize = 16;

/// Parts with fewer bytes between them are taken together: to send them costs less than the head of
/// another part.
const SMALL_GAP: u64 = 80;

/// Parts of a longer whole lie where no file reaches.
const LONGEST_WHOLE: u64 = 1 << 43;

/// Bytes of a representation, from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first, from 0.
    pub first: u64,
    /// The last, not below the first.
    pub last: u64,
}

impl Part {
    /// How many there are.
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a `Range` asks of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// All of it; or what it asks for is not served, or makes no sense.
    Whole,
    /// This part.
    Part(Part),
    /// Nothing that there is: 416.
    Nothing,
}

/// What the value of `Range` asks of a representation of `length` bytes.
pub fn wanted(range: &[u8], length: u64) -> RangeRequest {
    let Some((unit, specs)) = range.split_at_checked("bytes=".len()) else {
        return RangeRequest::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") || list_members(specs).count() > MAX_SPECS {
        return RangeRequest::Whole;
    }
    let mut parts: [Option<Part>; MAX_SPECS] = [None; MAX_SPECS];
    let mut has_specs = false;
    for (spec, place) in list_members(specs).zip(&mut parts) {
        let Some(spec) = Spec::read(spec) else { return RangeRequest::Whole };
        *place = spec.part_of(length);
        has_specs = true;
    }
    match (has_specs, join(&mut parts)) {
        (false, _) => RangeRequest::Whole,
        (true, Joined::None) => RangeRequest::Nothing,
        (true, Joined::One(part)) => RangeRequest::Part(part),
        (true, Joined::Several) => RangeRequest::Whole,
    }
}

/// One member of a range: §14.1.1.
enum Spec {
    From { first: u64, last: u64 },
    Suffix(u64),
}

impl Spec {
    fn read(spec: &[u8]) -> Option<Spec> {
        let (first, last) = spec.split_at_checked(memchr::memchr(b'-', spec)?)?;
        let last = last.get(1..)?;
        match (first, last) {
            ([], _) => Some(Spec::Suffix(position(last)?)),
            (_, []) => Some(Spec::From { first: position(first)?, last: u64::MAX }),
            _ => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Spec::From { first, last })
            }
        }
    }

    fn part_of(&self, length: u64) -> Option<Part> {
        let end = length.checked_sub(1)?;
        match *self {
            Spec::From { first, last } => {
                (first <= end).then_some(Part { first, last: last.min(end) })
            }
            Spec::Suffix(0) => None,
            Spec::Suffix(count) => Some(Part { first: length.saturating_sub(count), last: end }),
        }
    }
}

/// Digits; what is above all lengths saturates.
fn position(digits: &[u8]) -> Option<u64> {
    delta_seconds(digits)?; // only digits, and one at least
    let add =
        |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

enum Joined {
    None,
    One(Part),
    Several,
}

/// Takes together what overlaps or nearly touches.
fn join(parts: &mut [Option<Part>; MAX_SPECS]) -> Joined {
    parts.sort_unstable_by_key(|part| part.map_or(u64::MAX, |part| part.first));
    let mut joined: Option<Part> = None;
    for part in parts.iter().flatten() {
        joined = match joined {
            None => Some(*part),
            Some(before) if part.first <= before.last.saturating_add(SMALL_GAP) => {
                Some(Part { first: before.first, last: before.last.max(part.last) })
            }
            Some(_) => return Joined::Several,
        };
    }
    joined.map_or(Joined::None, Joined::One)
}

/// Where the body of a 206 belongs: `Content-Range`, §14.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that came.
    pub part: Part,
    /// How many the whole has.
    pub whole: u64,
}

impl ContentRange {
    /// `bytes 0-9/100`. `None` for anything else, also if the length of the whole is not said, or is beyond
    /// all that can be stored.
    pub fn parse(value: &[u8]) -> Option<ContentRange> {
        let (unit, rest) = value.split_at_checked("bytes ".len())?;
        let slash = memchr::memchr(b'/', rest)?;
        let (range, whole) = rest.split_at_checked(slash)?;
        let whole = position(whole.get(1..)?).filter(|whole| *whole <= LONGEST_WHOLE)?;
        let Spec::From { first, last } = Spec::read(range)? else { return None };
        let is_right = unit.eq_ignore_ascii_case(b"bytes ") && last < whole;
        is_right.then_some(ContentRange { part: Part { first, last }, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, length: u64) -> RangeRequest {
        wanted(range.as_bytes(), length)
    }

    fn part(first: u64, last: u64) -> RangeRequest {
        RangeRequest::Part(Part { first, last })
    }

    /// docs/CACHE.md, rule 11.
    #[test]
    fn one_range_is_one_part() {
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-499", part(0, 499)),
            ("Bytes=500-999", part(500, 999)),
            ("bytes=9500-", part(9500, 9999)),
            ("bytes=-500", part(9500, 9999)),
            ("bytes=-1", part(9999, 9999)),
            ("bytes=-20000", part(0, 9999)),
            ("bytes=0-", part(0, 9999)),
            ("bytes=9999-20000", part(9999, 9999)),
            ("bytes=00-007", part(0, 7)),
            ("bytes=0-99999999999999999999999", part(0, 9999)),
            ("bytes= 0-5", part(0, 5)),
            ("bytes=,0-5,,", part(0, 5)),
        ] {
            assert_eq!(of(range, 10_000), expected, "{range}");
        }
    }

    #[test]
    fn several_ranges_are_one_part_if_they_nearly_touch_and_the_whole_if_not() {
        for (range, expected) in [
            ("bytes=0-99,100-199", part(0, 199)),
            ("bytes=100-199, 0-150", part(0, 199)),
            ("bytes=0-99,179-199", part(0, 199)),
            ("bytes=0-99,180-199", RangeRequest::Whole),
            ("bytes=0-0,-1", RangeRequest::Whole),
            ("bytes=0-,-1", part(0, 9999)),
            ("bytes=0-5,20000-", part(0, 5)),
            ("bytes=0-9999,0-9999,0-9999,0-9999", part(0, 9999)),
        ] {
            assert_eq!(of(range, 10_000), expected, "{range}");
        }
        assert_eq!(of(&format!("bytes={}", "0-1,".repeat(16)), 10), part(0, 1));
        assert_eq!(of(&format!("bytes={}", "0-1,".repeat(17)), 10), RangeRequest::Whole);
    }

    #[test]
    fn what_is_beyond_the_end_is_nothing() {
        for (range, length) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=99999999999999999999-", 10),
            ("bytes=20-,-0", 10),
            ("bytes=0-", 0),
            ("bytes=-5", 0),
        ] {
            assert_eq!(of(range, length), RangeRequest::Nothing, "{range} of {length}");
        }
    }

    #[test]
    fn what_makes_no_sense_counts_for_nothing() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1,5-4",
            "bytes=0-1,x",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=-1-2",
            "bytes=1",
            "bytes 0-1",
            "bytes =0-1",
            "items=0-1",
            "bytes=0x1-2",
            "bytes=1 -2",
            "bytes=1- 2",
        ] {
            assert_eq!(of(range, 10), RangeRequest::Whole, "{range:?}");
        }
    }

    #[test]
    fn a_content_range_says_what_came() {
        let parse = |value: &str| ContentRange::parse(value.as_bytes());
        let range = ContentRange { part: Part { first: 5, last: 9 }, whole: 100 };
        assert_eq!(parse("bytes 5-9/100"), Some(range));
        assert_eq!(parse("BYTES 5-9/100"), Some(range));
        for value in [
            "",
            "bytes 5-9",
            "bytes 5-9/*",
            "bytes */100",
            "bytes 9-5/100",
            "bytes 5-100/100",
            "bytes -5/100",
            "bytes 5-/100",
            "bytes=5-9/100",
            "items 5-9/100",
            "bytes 5-9/x",
            "bytes  5-9/100",
            "bytes 5-9/8796093022209",
            "bytes 5-9/18446744073709551615",
            "bytes 5-9/99999999999999999999999",
            "bytes 18446744073709551610-18446744073709551614/18446744073709551615",
        ] {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }
}
