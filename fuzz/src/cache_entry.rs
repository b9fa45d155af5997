//! Files of stored answers: whatever is in one, it is read as its description says or not at all;
//! what was written comes back; and no bit of it can change unseen.
//!
//! The bytes are a file. Its checksum is put right, as a wrong program may have written it, or else
//! nothing would ever be read.

use crate::Dice;
use httplb::cache::checksum::Checksum;
use httplb::cache::entry::{Entry, FIXED, Kind, NoEntry};
use httplb::mem::buffer::Span;
use httplb::policy::freshness::WhenStale;

/// Where the checksum stands, behind what each file begins with. It covers all that follows.
const SUM: std::ops::Range<usize> = 16..24;

pub fn check(bytes: &[u8]) {
    let place = bytes.escape_ascii().to_string();
    let mut dice = Dice::of(bytes);
    assert_eq!(Entry::read(bytes, bytes.len() as u64).is_ok(), is_as_described(bytes), "{place}");

    let Some(file) = put_right(bytes) else { return };
    // What there is of the body on the disk is not looked at.
    let file_len = word(&file, 19).saturating_add(word(&file, 20));
    let is_right = are_words_right(&file) && file_len >= file.len() as u64;
    let entry = match Entry::read(&file, file_len) {
        Ok(entry) => entry,
        Err(NoEntry::Damaged) => return assert!(!is_right, "right, but damaged: {place}"),
        Err(NoEntry::TooLong) => {
            let ends = (word(&file, 16) >> 32) as usize;
            return assert!(file.len() < ends, "not too long: {place}");
        }
    };
    assert!(is_right || file_len < file.len() as u64, "wrong, but read: {place}");
    check_entry(&entry, &file, &place);
    for len in [file_len.wrapping_sub(1), file_len.wrapping_add(1), 0] {
        assert_eq!(Entry::read(&file, len), Err(NoEntry::Damaged), "{len} bytes: {place}");
    }
    let end = entry.head.range().end;
    for _ in 0..8 {
        let mut flipped = file.clone();
        let at = dice.up_to(end - 1);
        flipped[at] ^= 1 << dice.up_to(7);
        let again = Entry::read(&flipped, file_len);
        assert!(again.is_err(), "byte {at} changed unseen: {place}");
    }
    let cut = &file[..dice.up_to(end - 1)];
    assert!(Entry::read(cut, file_len).is_err(), "cut unseen: {place}");
}

/// The word at that place of the fixed part.
fn word(file: &[u8], place: usize) -> u64 {
    let bytes = &file[place * 8..place * 8 + 8];
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Where a span begins and ends.
fn span(file: &[u8], place: usize) -> (u64, u64) {
    (word(file, place) & 0xffff_ffff, word(file, place) >> 32)
}

/// The file with a right beginning and a right checksum, if there is room for them.
fn put_right(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = Some(bytes.to_vec()).filter(|file| file.len() >= FIXED)?;
    file[..8].copy_from_slice(b"httplb\x1aC");
    file[8..16].copy_from_slice(&1_u64.to_le_bytes());
    let (_, end) = span(&file, 16);
    if let Some(checked) = file.get(SUM.end..end as usize) {
        let sum = Checksum::of(checked);
        file[SUM].copy_from_slice(&sum.to_le_bytes());
    }
    Some(file)
}

/// Whether the bytes are a file in which all is right but, perhaps, the checksum of the body.
fn is_as_described(bytes: &[u8]) -> bool {
    put_right(bytes).is_some_and(|right| right == bytes)
        && are_words_right(bytes)
        && word(bytes, 19).checked_add(word(bytes, 20)) == Some(bytes.len() as u64)
}

fn are_words_right(file: &[u8]) -> bool {
    let [key, selection, head, etag, changed] = [14, 15, 16, 17, 18].map(|at| span(file, at));
    let in_head = |part: (u64, u64)| part == (0, 0) || head.0 <= part.0 && part.1 <= head.1;
    let spans = [key, selection, head, etag, changed];
    spans.iter().all(|(start, end)| start <= end)
        && (key.0, key.1, selection.1) == (FIXED as u64, selection.0, head.0)
        && head.1 <= word(file, 19).min(file.len() as u64)
        && in_head(etag)
        && in_head(changed)
        && word(file, 4) <= 0xffff
        && (word(file, 22), word(file, 23)) == (0, 0)
}

/// All that was read stands in the file, and comes back when it is written.
fn check_entry(entry: &Entry, file: &[u8], place: &str) {
    let low = |at: usize| word(file, at) as u32;
    let high = |at: usize| (word(file, at) >> 32) as u32;
    let flags = word(file, 3);
    assert_eq!(entry.kind == Kind::VaryMarker, flags % 2 == 1, "{place}");
    assert_eq!(entry.for_authorized, flags / 8 % 2 == 1, "{place}");
    let freshness = &entry.freshness;
    let when_stale = [WhenStale::Allowed, WhenStale::Never, WhenStale::Validate];
    assert_eq!(freshness.when_stale, when_stale[(flags / 2 % 4).min(2) as usize], "{place}");
    assert_eq!((freshness.initial_age, freshness.lifetime), (low(6), high(6)), "{place}");
    assert_eq!(freshness.stale_while_revalidate, low(7), "{place}");
    assert_eq!(freshness.stale_if_error.unwrap_or(u32::MAX), high(7), "{place}");
    let words = [u64::from(entry.status), freshness.received_at, entry.date];
    assert_eq!(words, [4, 5, 8].map(|at| word(file, at)), "{place}");
    assert_eq!(entry.last_modified.unwrap_or(u64::MAX), word(file, 9), "{place}");
    let range = [10, 11, 12].map(|at| word(file, at));
    let part = entry.part.map(|part| [part.part.first, part.part.last, part.whole]);
    let is_part = range[0] <= range[1] && range[1] < range[2] && range[2] < u64::MAX;
    assert_eq!(part, is_part.then_some(range), "{place}");
    let words = [entry.nonce, entry.body_at, entry.body_len, entry.body_sum];
    assert_eq!(words, [13, 19, 20, 21].map(|at| word(file, at)), "{place}");
    let spans = [entry.key, entry.selection, entry.head, entry.etag, entry.last_modified_text];
    for (span, at) in spans.into_iter().zip(14..) {
        assert_eq!(span, Span::new(low(at) as usize, high(at) as usize), "{place}");
    }
    assert_eq!(entry.stored(file).etag, &file[entry.etag.range()], "{place}");

    let mut again = file.to_vec();
    again[..FIXED].fill(0xaa);
    entry.write_fixed(&mut again);
    assert_eq!(Entry::read(&again, entry.file_len()), Ok(*entry), "another when written: {place}");
}
