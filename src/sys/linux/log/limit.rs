//! No message is written more than once a minute: repeats are counted, and told when the minute is
//! over.
//!
//! What was said is remembered in cells, by a hash of the text. Workers share theirs, so that what
//! all of them notice is told once; the master and the control process have cells of their own, as a
//! worker that was taken over must not be able to silence them. Nothing that stands in cells is
//! believed further than that a message is left out, or comes twice.
use crate::mem::time::Micros;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A message comes so often at most.
pub const PAUSE: Micros = Micros::from_secs(60);
/// So many messages are remembered.
const ENTRIES: usize = 64;
/// A hash, when it was written last, and how often it was left out since.
const ENTRY: usize = 3;
/// Cells of a [`Limit`].
pub const CELLS: usize = ENTRIES * ENTRY;

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitVerdict {
    /// It is written; it was left out so often before.
    Write { repeats: u64 },
    /// It was written less than a minute ago.
    LeaveOut,
}

/// What was said in the last minute, in [`CELLS`] cells.
#[derive(Clone, Copy)]
pub struct Limit<'a>(pub &'a [AtomicU64]);

/// What stands for a text in the cells: FNV-1a, never 0.
pub fn hash(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, mix) | 1
}

impl Limit<'_> {
    fn entries(&self) -> impl Iterator<Item = [&AtomicU64; ENTRY]> {
        self.0.chunks_exact(ENTRY).take(ENTRIES).map(|cells| [&cells[0], &cells[1], &cells[2]])
    }

    fn find(&self, key: u64) -> Option<[&AtomicU64; ENTRY]> {
        self.entries().find(|[found, ..]| found.load(Relaxed) == key)
    }

    /// A message is about to be written. Where all entries are taken, the oldest is forgotten.
    pub fn judge(&self, key: u64, now: Micros) -> LimitVerdict {
        if let Some([_, since, left_out]) = self.find(key) {
            if is_recent(since, now) {
                left_out.fetch_add(1, Relaxed);
                return LimitVerdict::LeaveOut;
            }
            since.store(now.0, Relaxed);
            return LimitVerdict::Write { repeats: left_out.swap(0, Relaxed) };
        }
        let oldest = self.entries().min_by_key(|[_, since, _]| since.load(Relaxed));
        if let Some([found, since, left_out]) = oldest {
            found.store(key, Relaxed);
            since.store(now.0, Relaxed);
            left_out.store(0, Relaxed);
        }
        LimitVerdict::Write { repeats: 0 }
    }

    /// How often a message was left out, if its minute is over; that begins anew then. `None`:
    /// nothing is to be told of it any more.
    pub fn overdue(&self, key: u64, now: Micros) -> Option<u64> {
        let [_, since, left_out] = self.find(key)?;
        if is_recent(since, now) {
            return Some(0);
        }
        let repeats = left_out.swap(0, Relaxed);
        if repeats > 0 {
            since.store(now.0, Relaxed);
        }
        (repeats > 0).then_some(repeats)
    }
}

/// A time in the future is none that was written by us, and is over.
fn is_recent(since: &AtomicU64, now: Micros) -> bool {
    let since = since.load(Relaxed);
    now.0.checked_sub(since).is_some_and(|age| age < PAUSE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Vec<AtomicU64> {
        (0..CELLS).map(|_| AtomicU64::new(0)).collect()
    }

    const START: Micros = Micros::from_secs(1000);

    #[test]
    fn a_message_is_written_once_a_minute_and_its_repeats_are_counted() {
        let cells = cells();
        let limit = Limit(&cells);
        let (one, other) = (hash("one"), hash("other"));
        assert_eq!(limit.judge(one, START), LimitVerdict::Write { repeats: 0 });
        for _ in 0..417 {
            assert_eq!(limit.judge(one, START), LimitVerdict::LeaveOut);
        }
        assert_eq!(limit.judge(other, START), LimitVerdict::Write { repeats: 0 });
        let later = START + PAUSE;
        assert_eq!(limit.judge(one, later), LimitVerdict::Write { repeats: 417 });
        assert_eq!(limit.judge(one, later), LimitVerdict::LeaveOut);
    }

    #[test]
    fn what_was_left_out_is_told_when_its_minute_is_over_though_it_does_not_come_again() {
        let cells = cells();
        let limit = Limit(&cells);
        let key = hash("one");
        limit.judge(key, START);
        limit.judge(key, START);
        assert_eq!(limit.overdue(key, START), Some(0));
        assert_eq!(limit.overdue(key, START + PAUSE), Some(1));
        assert_eq!(limit.judge(key, START + PAUSE), LimitVerdict::LeaveOut);
        assert_eq!(limit.overdue(key, START + PAUSE + PAUSE), Some(1));
        assert_eq!(limit.overdue(key, START + PAUSE + PAUSE + PAUSE), None);
    }

    #[test]
    fn there_may_be_more_messages_than_entries_and_any_cells() {
        let cells = cells();
        let limit = Limit(&cells);
        for number in 0..3 * ENTRIES as u64 {
            let now = START + Micros(number);
            assert_eq!(limit.judge(2 * number + 1, now), LimitVerdict::Write { repeats: 0 });
        }
        cells.iter().for_each(|cell| cell.store(u64::MAX, Relaxed));
        let key = hash("one");
        assert!(matches!(limit.judge(key, START), LimitVerdict::Write { .. }));
        assert_eq!(limit.judge(key, START), LimitVerdict::LeaveOut);
        assert_eq!(limit.judge(u64::MAX, START), LimitVerdict::Write { repeats: u64::MAX });
    }
}
