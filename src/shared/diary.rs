//! What went wrong, what took long and what the operator was told, in cells that all processes of all
//! generations write and the control process shows.
//!
//! No place is anybody's: a worker that dies leaves what it wrote, and a reload keeps it. Workers can
//! write all of it, so it is read as bytes of a stranger: [`Diary::failures`] and [`Diary::slowest`] give
//! texts that are one JSON object each, or nothing.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::de::IgnoredAny;

use crate::mem::record_ring::{self, Record, RecordRing, load_bytes, store_bytes};
use crate::mem::time::Micros;

/// Another number for every other meaning of the cells.
const VERSION: u64 = u64::from_be_bytes(*b"diary\0\0\x01");
const HEADER: usize = 8;

/// A failure or slow request may have so many bytes.
const REQUEST: usize = 3072;
/// A message may have so many.
const MESSAGE: usize = 2048;
const MESSAGES: usize = record_ring::cells(Diary::KEPT, MESSAGE);
const REFUSAL: usize = record_ring::cells(1, MESSAGE);
const FAILURES: usize = record_ring::cells(Diary::KEPT, REQUEST);

// A slow request: whether it is written, when it ended, how long it took, its bytes.
const STATE: usize = 0;
const ENDED: usize = 1;
const TOOK: usize = 2;
const LEN: usize = 3;
const BYTES: usize = 4;
const SLOW: usize = BYTES + REQUEST / size_of::<u64>();

/// For so long a slow request is one of the slowest.
pub const LATELY: Micros = Micros::from_secs(600);

/// The cells. A handle: copies mean the same cells.
#[derive(Clone, Copy, Default)]
pub struct Diary {
    /// What the operator was told.
    pub messages: RecordRing,
    failures: RecordRing,
    slow: &'static [AtomicU64],
    /// Why the last reload was refused that was: one record.
    refusal: RecordRing,
}

impl Diary {
    /// Failures and messages that are kept.
    pub const KEPT: usize = 256;
    /// Slow requests that are kept.
    pub const SLOWEST: usize = 100;
    /// How many cells it takes.
    pub const CELLS: usize = HEADER + MESSAGES + FAILURES + REFUSAL + Diary::SLOWEST * SLOW;
    /// How many bytes.
    pub const BYTES: usize = Diary::CELLS * size_of::<AtomicU64>();

    /// In cells that were zero at first, or come from an earlier generation. If they are too few,
    /// nothing is kept. For the master, before there are others.
    pub fn over(cells: &'static [AtomicU64]) -> Diary {
        let Some(cells) = cells.get(..Diary::CELLS) else { return Diary::default() };
        let version = cells[0].load(Relaxed);
        if version != VERSION && version != 0 {
            cells.iter().for_each(|cell| cell.store(0, Relaxed));
        }
        cells[0].store(VERSION, Relaxed);
        let (messages, rest) = cells[HEADER..].split_at(MESSAGES);
        let (failures, rest) = rest.split_at(FAILURES);
        let (refusal, slow) = rest.split_at(REFUSAL);
        Diary {
            messages: RecordRing::over(messages, MESSAGE),
            failures: RecordRing::over(failures, REQUEST),
            refusal: RecordRing::over(refusal, MESSAGE),
            slow,
        }
    }

    /// How many bytes a request may have.
    pub fn capacity(&self) -> usize {
        self.failures.capacity()
    }

    /// Keeps a request that failed: one JSON object, no longer than that.
    pub fn add_failure(&self, text: &[u8]) {
        self.failures.write([0; 2], text);
    }

    /// Keeps a request that ended now, if it is one of the slowest, and tells how long one must have
    /// taken from now on.
    pub fn add_slow(&self, took: Micros, now: Micros, text: &[u8]) -> Micros {
        if let Some((place, _)) = self.least(now).filter(|(_, least)| *least < took) {
            let state = place[STATE].load(Relaxed);
            let taken = state | 1;
            // Who finds it taken by another leaves it to that one: there will be more.
            if place[STATE].compare_exchange(state, taken, Acquire, Relaxed).is_ok() {
                let text = &text[..text.len().min(REQUEST)];
                place[ENDED].store(now.0, Relaxed);
                place[TOOK].store(took.0, Relaxed);
                place[LEN].store(text.len() as u64, Relaxed);
                store_bytes(&place[BYTES..], text);
                place[STATE].store(taken.wrapping_add(1), Release);
            }
        }
        self.slow_from(now)
    }

    /// How long a request must have taken at least to be one of the slowest.
    pub fn slow_from(&self, now: Micros) -> Micros {
        self.least(now).map_or(Micros(u64::MAX), |(_, least)| least)
    }

    /// The place that is given up first, and how long its request took; nothing, if it is free.
    fn least(&self, now: Micros) -> Option<(&'static [AtomicU64], Micros)> {
        let took = |place: &[AtomicU64]| {
            let age = now.0.checked_sub(place[ENDED].load(Relaxed));
            let is_kept = age.is_some_and(|age| age < LATELY.0);
            // What was written since is no longer than it took, whoever says otherwise.
            if is_kept { Micros(place[TOOK].load(Relaxed)) } else { Micros(0) }
        };
        let places = self.slow.chunks_exact(SLOW).map(|place| (place, took(place)));
        places.min_by_key(|(_, took)| *took)
    }

    /// The last failures, the newest first.
    pub fn failures(&self, count: usize) -> Vec<String> {
        let records = self.failures.newest(Diary::KEPT).into_iter();
        records.filter_map(|record| json_object(record.bytes)).take(count).collect()
    }

    /// The slowest requests of late, the slowest first.
    pub fn slowest(&self, count: usize, now: Micros) -> Vec<String> {
        let mut found: Vec<(u64, String)> =
            self.slow.chunks_exact(SLOW).filter_map(|place| slow_request(place, now)).collect();
        found.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
        found.into_iter().take(count).map(|(_, text)| text).collect()
    }

    /// Keeps why a reload was refused.
    pub fn set_refusal(&self, why: &str) {
        self.refusal.write([0; 2], why.as_bytes());
    }

    /// Why a reload was refused, the last that was.
    pub fn refusal(&self) -> Option<String> {
        let record = self.refusal.newest(1).into_iter().next()?;
        Some(String::from_utf8_lossy(&record.bytes).into_owned())
    }

    /// The last messages to the operator, the newest first: their level and their moment in numbers.
    pub fn last_messages(&self, count: usize) -> Vec<Record> {
        self.messages.newest(count)
    }
}

fn slow_request(place: &[AtomicU64], now: Micros) -> Option<(u64, String)> {
    let state = place[STATE].load(Acquire);
    let age = now.0.checked_sub(place[ENDED].load(Relaxed))?;
    if state == 0 || state % 2 == 1 || age >= LATELY.0 {
        return None;
    }
    let took = place[TOOK].load(Relaxed);
    let len = usize::try_from(place[LEN].load(Relaxed)).ok()?;
    let text = load_bytes(&place[BYTES..], len)?;
    std::sync::atomic::fence(Acquire);
    let is_whole = place[STATE].load(Relaxed) == state;
    Some((took, json_object(text).filter(|_| is_whole)?))
}

/// The text, if it is one object of JSON in one line.
fn json_object(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let is_one = text.starts_with('{') && !text.contains('\n');
    (is_one && serde_json::from_str::<IgnoredAny>(&text).is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::xorshift::Xorshift;

    fn diary() -> Diary {
        let cells: Vec<AtomicU64> = (0..Diary::CELLS).map(|_| AtomicU64::new(0)).collect();
        Diary::over(cells.leak())
    }

    fn at(seconds: u64) -> Micros {
        Micros::from_secs(10_000 + seconds)
    }

    #[test]
    fn failures_are_objects_or_nothing_and_the_newest_come_first() {
        let diary = diary();
        for text in ["{\"a\":1}", "{\"a\":", "[1]", "{}\n{}", "{} {}", "{\"b\":[2]}"] {
            diary.add_failure(text.as_bytes());
        }
        diary.add_failure(b"{\"\xff\":1}");
        assert_eq!(diary.failures(9), ["{\"b\":[2]}", "{\"a\":1}"]);
        assert_eq!(diary.failures(1), ["{\"b\":[2]}"]);
        for number in 0..300 {
            diary.add_failure(format!("{{\"n\":{number}}}").as_bytes());
        }
        let kept = diary.failures(999);
        assert_eq!((kept.len(), kept[255].as_str()), (256, "{\"n\":44}"));
    }

    #[test]
    fn the_slowest_of_ten_minutes_are_kept() {
        let diary = diary();
        assert_eq!(diary.slow_from(at(0)), Micros(0));
        for number in 1..=306 {
            let took = Micros(number * 11 % 307);
            diary.add_slow(took, at(0), format!("{{\"took\":{}}}", took.0).as_bytes());
        }
        let texts = diary.slowest(999, at(1));
        let expected = (207..=306).rev().map(|took| format!("{{\"took\":{took}}}"));
        assert_eq!(texts, expected.collect::<Vec<_>>());
        assert_eq!((diary.slow_from(at(1)), diary.slowest(2, at(1)).len()), (Micros(207), 2));
        // Eleven minutes later they are forgotten, and faster ones are the slowest.
        assert_eq!((diary.slow_from(at(660)), diary.slowest(9, at(660)).len()), (Micros(0), 0));
        diary.add_slow(Micros(5), at(660), b"{}");
        assert_eq!(diary.slowest(9, at(661)), ["{}"]);
    }

    #[test]
    fn one_who_died_while_writing_takes_one_place_for_ten_minutes() {
        let diary = diary();
        diary.slow[STATE].store(1, Relaxed);
        diary.slow[ENDED].store(at(0).0, Relaxed);
        diary.slow[TOOK].store(77, Relaxed);
        assert!(diary.slowest(9, at(1)).is_empty());
        diary.add_slow(Micros(9), at(601), b"{}");
        assert_eq!(diary.slowest(9, at(602)), ["{}"]);
    }

    #[test]
    fn any_cells_are_read_and_written_without_harm() {
        let (diary, mut random) = (diary(), Xorshift::new(3));
        for _ in 0..300 {
            for _ in 0..100 {
                let place = random.below(diary.slow.len() / SLOW) * SLOW + random.below(BYTES);
                let shift = random.below(64);
                let number = (random.below(usize::MAX) as u64) >> shift;
                diary.slow[place].store(number, Relaxed);
            }
            let _ = diary.slowest(999, at(0));
            let _ = diary.add_slow(Micros(random.below(1 << 40) as u64), at(0), b"{}");
        }
    }

    #[test]
    fn who_comes_later_goes_on_and_other_cells_are_begun_anew() {
        let cells: Vec<AtomicU64> = (0..Diary::CELLS).map(|_| AtomicU64::new(0)).collect();
        let cells: &'static [AtomicU64] = cells.leak();
        Diary::over(cells).add_failure(b"{}");
        assert_eq!(Diary::over(cells).failures(9), ["{}"]);
        cells[0].store(1, Relaxed);
        assert!(Diary::over(cells).failures(9).is_empty());
        Diary::over(&cells[1..]).add_failure(b"{}");
    }
}
