//! The last records of several processes, in cells that all of them see.
//!
//! Whoever writes takes the next place and says, before and after, whose turn of the ring is written
//! there; whoever reads sees by that whether a record was whole, and stayed so while it was read. A writer
//! that was stopped until the ring came round writes into another one's record: its sum tells. Nobody waits
//! for anybody. A process that may have been taken over writes too: whatever stands in the cells is
//! read as bytes of a stranger.
//!
//! ```text
//! next place | turn, sum, two numbers, length, bytes | turn, ...
//! ```

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

const TURN: usize = 0;
const SUM: usize = 1;
const NUMBERS: usize = 2;
const LEN: usize = 4;
const BYTES: usize = 5;
/// Bytes in a cell.
const CELL: usize = size_of::<u64>();

/// A ring of records. A handle: copies mean the same cells.
#[derive(Clone, Copy, Default)]
pub struct RecordRing {
    cells: &'static [AtomicU64],
    /// Cells of a record.
    size: usize,
}

/// A record, as somebody has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of two records, the one with the greater turn is newer.
    pub turn: u64,
    /// What its writer said in numbers.
    pub numbers: [u64; 2],
    /// And in bytes.
    pub bytes: Vec<u8>,
}

/// How many cells so many records of so many bytes take.
pub const fn cells(records: usize, bytes: usize) -> usize {
    1 + records * (BYTES + bytes.div_ceil(CELL))
}

impl RecordRing {
    /// Of records of so many bytes, in cells that were zero at first. With no cells nothing is kept.
    pub fn over(cells: &'static [AtomicU64], bytes: usize) -> RecordRing {
        RecordRing { cells, size: BYTES + bytes.div_ceil(CELL) }
    }

    fn records(&self) -> usize {
        self.cells.len().saturating_sub(1) / self.size.max(1)
    }

    fn record(&self, place: usize) -> &'static [AtomicU64] {
        &self.cells[1 + place * self.size..1 + (place + 1) * self.size]
    }

    /// How many bytes a record may have.
    pub fn capacity(&self) -> usize {
        self.size.saturating_sub(BYTES) * CELL
    }

    /// Writes a record in the place of the oldest. Bytes beyond its capacity are left out.
    pub fn write(&self, numbers: [u64; 2], bytes: &[u8]) {
        let records = self.records();
        if records == 0 {
            return;
        }
        let turn = self.cells[0].fetch_add(1, Relaxed);
        let cells = self.record((turn % records as u64) as usize);
        // Odd while it is written.
        cells[TURN].store(turn.wrapping_mul(2).wrapping_add(1), Relaxed);
        fence(Release);
        for (cell, number) in cells[NUMBERS..].iter().zip(numbers) {
            cell.store(number, Relaxed);
        }
        let bytes = &bytes[..bytes.len().min(self.capacity())];
        cells[LEN].store(bytes.len() as u64, Relaxed);
        store_bytes(&cells[BYTES..], bytes);
        let whole = turn.wrapping_mul(2).wrapping_add(2);
        cells[SUM].store(sum(whole, numbers, bytes), Relaxed);
        cells[TURN].store(whole, Release);
    }

    /// The newest records, the newest first, as many as are asked for.
    pub fn newest(&self, count: usize) -> Vec<Record> {
        let mut records: Vec<Record> =
            (0..self.records()).filter_map(|place| read(self.record(place))).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.turn));
        records.truncate(count);
        records
    }
}

/// The record in these cells, if it is whole.
fn read(cells: &[AtomicU64]) -> Option<Record> {
    let turn = cells[TURN].load(Acquire);
    if turn == 0 || turn % 2 == 1 {
        return None;
    }
    let numbers = [cells[NUMBERS].load(Relaxed), cells[NUMBERS + 1].load(Relaxed)];
    let len = usize::try_from(cells[LEN].load(Relaxed)).ok()?;
    let bytes = load_bytes(&cells[BYTES..], len)?;
    let said = cells[SUM].load(Relaxed);
    fence(Acquire);
    let is_whole = cells[TURN].load(Relaxed) == turn && said == sum(turn, numbers, &bytes);
    is_whole.then_some(Record { turn, numbers, bytes })
}

/// Two records that are mixed up have hardly ever the sum of one of them.
fn sum(turn: u64, numbers: [u64; 2], bytes: &[u8]) -> u64 {
    let words = bytes.chunks(CELL).map(|part| {
        let mut whole = [0; CELL];
        whole[..part.len()].copy_from_slice(part);
        u64::from_le_bytes(whole)
    });
    let all = [turn, numbers[0], numbers[1], bytes.len() as u64].into_iter().chain(words);
    all.fold(0, |sum: u64, word| (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Writes bytes into cells, which have room for them.
pub fn store_bytes(cells: &[AtomicU64], bytes: &[u8]) {
    for (cell, part) in cells.iter().zip(bytes.chunks(CELL)) {
        let mut whole = [0; CELL];
        whole[..part.len()].copy_from_slice(part);
        cell.store(u64::from_le_bytes(whole), Relaxed);
    }
}

/// The first `len` bytes in cells, if there are so many.
pub fn load_bytes(cells: &[AtomicU64], len: usize) -> Option<Vec<u8>> {
    let cells = cells.get(..len.div_ceil(CELL))?;
    let mut bytes: Vec<u8> =
        cells.iter().flat_map(|cell| cell.load(Relaxed).to_le_bytes()).collect();
    bytes.truncate(len);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::xorshift::Xorshift;

    fn ring(records: usize, bytes: usize) -> RecordRing {
        let all: Vec<AtomicU64> = (0..cells(records, bytes)).map(|_| AtomicU64::new(0)).collect();
        RecordRing::over(all.leak(), bytes)
    }

    fn texts(ring: RecordRing, count: usize) -> Vec<String> {
        let text = |record: Record| String::from_utf8(record.bytes).unwrap();
        ring.newest(count).into_iter().map(text).collect()
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_make_room() {
        let ring = ring(3, 20);
        assert!(texts(ring, 9).is_empty());
        for text in ["", "one", "two two two two two 2", "three"] {
            ring.write([7, text.len() as u64], text.as_bytes());
        }
        assert_eq!(texts(ring, 9), ["three", "two two two two two 2", "one"]);
        assert_eq!(texts(ring, 1), ["three"]);
        assert_eq!(ring.newest(1)[0].numbers, [7, 5]);
        ring.write([0; 2], &[b'x'; 100]);
        assert_eq!(texts(ring, 1), ["x".repeat(24)]);
        RecordRing::default().write([0; 2], b"nowhere");
        assert!(RecordRing::default().newest(5).is_empty());
    }

    #[test]
    fn one_who_died_while_writing_leaves_no_record_and_the_place_is_used_again() {
        let ring = ring(2, 8);
        ring.write([0; 2], b"a");
        ring.write([0; 2], b"b");
        ring.record(0)[TURN].store(5, Relaxed);
        assert_eq!(texts(ring, 9), ["b"]);
        ring.write([0; 2], b"c");
        assert_eq!(texts(ring, 9), ["c", "b"]);
    }

    #[test]
    fn a_writer_that_goes_on_when_the_ring_has_come_round_spoils_a_record_and_lends_it_no_bytes() {
        let ring = ring(2, 16);
        ring.write([1, 2], b"of the first one");
        ring.write([3, 4], b"of the neighbour");
        let stopped = ring.record(0)[TURN].load(Relaxed);
        ring.write([5, 6], b"of the third one");
        store_bytes(&ring.record(0)[BYTES..], b"of the first");
        assert_eq!(texts(ring, 9), ["of the neighbour"]);
        ring.record(0)[TURN].store(stopped, Relaxed);
        assert_eq!(texts(ring, 9), ["of the neighbour"]);
    }

    #[test]
    fn any_cells_are_read_and_written_without_harm() {
        let (ring, mut random) = (ring(4, 16), Xorshift::new(3));
        for _ in 0..2000 {
            let shift = random.below(64);
            let number = (random.below(usize::MAX) as u64) >> shift;
            ring.cells[random.below(ring.cells.len())].store(number, Relaxed);
            assert!(ring.newest(9).iter().all(|record| record.bytes.len() <= 16));
            ring.write([1, 2], b"text");
        }
    }

    #[test]
    fn whoever_reads_while_others_write_sees_whole_records_alone() {
        let ring = ring(4, 64);
        std::thread::scope(|scope| {
            for writer in 0..3_u8 {
                scope.spawn(move || {
                    (0..5000).for_each(|_| ring.write([0; 2], &[b'a' + writer; 64]))
                });
            }
            for _ in 0..2000 {
                for record in ring.newest(4) {
                    assert!(record.bytes.iter().all(|byte| *byte == record.bytes[0]));
                }
            }
        });
    }
}
