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
    let file_len = word(&file, 19).saturating_add(body_end(&file));
    let is_right = are_words_right(&file) && file_len >= file.len() as u64;
    let entry = match Entry::read(&file, file_len) {
        Ok(entry) => entry,
        Err(NoEntry::Damaged) => return assert!(!is_right, "right, but damaged: {place}"),
        Err(NoEntry::TooLong) => {
            let ends = checked_end(&file) as usize;
            return assert!(file.len() < ends, "not too long: {place}");
        }
    };
    assert!(is_right || file_len < file.len() as u64, "wrong, but read: {place}");
    check_entry(&entry, &file, &place);
    for len in [file_len.wrapping_sub(1), file_len.wrapping_add(1), 0] {
        assert_eq!(Entry::read(&file, len), Err(NoEntry::Damaged), "{len} bytes: {place}");
    }
    let end = checked_end(&file) as usize;
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
    let version = if word(&file, 1) == 2 { 2 } else { 1_u64 };
    file[8..16].copy_from_slice(&version.to_le_bytes());
    let end = checked_end(&file);
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
        && word(bytes, 19).checked_add(body_end(bytes)) == Some(bytes.len() as u64)
}

fn is_part(file: &[u8]) -> bool {
    word(file, 1) == 2
}

/// Where what there is of the body ends.
fn body_end(file: &[u8]) -> u64 {
    word(file, if is_part(file) { 11 } else { 20 })
}

/// Where what the checksum covers ends: with the list of segments, if there is one.
fn checked_end(file: &[u8]) -> u64 {
    let (_, head) = span(file, 16);
    let (_, list) = span(file, 10);
    if is_part(file) { head.max(list) } else { head }
}

/// Whether the list is one, and ends where the body does: each segment begins and ends behind the one
/// before.
fn is_list_right(file: &[u8]) -> bool {
    let (start, end) = span(file, 10);
    let Some(list) = file.get(start as usize..end as usize) else { return false };
    let number = |at: usize| {
        let bytes = list[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let parts: Vec<(u64, u64)> =
        (0..list.len() / 24).map(|at| (number(at * 24), number(at * 24 + 8))).collect();
    let are_in_order = parts.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1);
    list.len() % 24 == 0
        && (1..=64).contains(&parts.len())
        && are_in_order
        && parts.iter().all(|(first, last)| first <= last && *last < word(file, 20))
        && parts.last().is_some_and(|(_, last)| last + 1 == word(file, 11))
        && word(file, 3) % 2 == 0
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
        && (word(file, 12), word(file, 22), word(file, 23)) == (u64::MAX, 0, 0)
        && match is_part(file) {
            false => (word(file, 10), word(file, 11)) == (0, 0),
            true => {
                let (start, end) = span(file, 10);
                start == head.1 && end <= word(file, 19) && is_list_right(file)
            }
        }
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
    assert_eq!(entry.segments(file).is_some(), is_part(file), "{place}");
    assert_eq!(entry.body_end, body_end(file), "{place}");
    assert!(entry.room(file) >= 4096, "{place}");
    let words = [entry.nonce, entry.body_at, entry.body_len, entry.body_sum];
    assert_eq!(words, [13, 19, 20, 21].map(|at| word(file, at)), "{place}");
    let spans = [entry.key, entry.selection, entry.head, entry.etag, entry.last_modified_text];
    for (span, at) in spans.into_iter().zip(14..).chain([(entry.segments, 10)]) {
        assert_eq!(span, Span::new(low(at) as usize, high(at) as usize), "{place}");
    }
    assert_eq!(entry.stored(file).etag, &file[entry.etag.range()], "{place}");

    let mut again = file.to_vec();
    again[..FIXED].fill(0xaa);
    entry.write_fixed(&mut again);
    assert_eq!(Entry::read(&again, entry.file_len()), Ok(*entry), "another when written: {place}");
}
