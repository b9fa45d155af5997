use super::*;
use crate::http::testing::Dice;
use crate::policy::ranges::Part;
use crate::policy::segments::{Segment, SegmentList};

/// The front of an answer, and the answer.
pub fn example() -> (Vec<u8>, Entry) {
    let mut front = vec![0; FIXED];
    let mut add = |text: &str| {
        let start = front.len();
        front.extend_from_slice(text.as_bytes());
        Span::new(start, front.len())
    };
    let key = add("http://a/b");
    let selection = add("accept:x\n");
    let head = add("HTTP/1.1 200 OK\r\nETag: \"e\"\r\n");
    let segments = add(&String::from_utf8_lossy(&list()));
    let start = head.start as usize;
    let entry = Entry {
        kind: Kind::Answer,
        status: 200,
        for_authorized: true,
        freshness: Freshness {
            received_at: 1_767_225_600,
            initial_age: 3,
            lifetime: 60,
            stale_while_revalidate: 5,
            stale_if_error: Some(7),
            when_stale: WhenStale::Never,
        },
        date: 1_767_225_599,
        last_modified: Some(5),
        segments,
        nonce: 77,
        key,
        selection,
        head,
        etag: Span::new(start + 23, start + 26),
        last_modified_text: Span::default(),
        body_at: front.len() as u64 + 3,
        body_len: 10,
        body_end: 6,
        body_sum: 0,
    };
    entry.write_fixed(&mut front);
    (front, entry)
}

/// Bytes 1 to 5, with a checksum that can be read as text.
fn list() -> Vec<u8> {
    let segment = Segment { part: Part { first: 1, last: 5 }, sum: 0x1234 };
    let mut bytes = Vec::new();
    SegmentList::new(segment).write(&mut bytes);
    bytes
}

#[test]
fn what_was_written_is_read_again() {
    let (front, entry) = example();
    assert_eq!(Entry::read(&front, entry.file_len()), Ok(entry));
    assert_eq!(entry.stored(&front).etag, b"\"e\"");
    let plain = Entry {
        freshness: Freshness {
            stale_if_error: None,
            when_stale: WhenStale::Validate,
            ..entry.freshness
        },
        last_modified: None,
        segments: Span::default(),
        body_end: 10,
        body_sum: 5,
        for_authorized: false,
        ..entry
    };
    let mut front = front;
    plain.write_fixed(&mut front);
    assert_eq!(Entry::read(&front, plain.file_len()), Ok(plain));
    let mut front = vec![0; FIXED];
    front.extend_from_slice(b"http://a/bx,y");
    let vary_marker = Entry::vary_marker(10, 3, 9);
    vary_marker.write_fixed(&mut front);
    assert_eq!(Entry::read(&front, front.len() as u64), Ok(vary_marker));
    assert_eq!(&front[vary_marker.selection.range()], b"x,y");
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_grows_is_no_entry() {
    let (mut front, part) = example();
    let entry = Entry { segments: Span::default(), body_end: part.body_len, ..part };
    entry.write_growing(12, &mut front);
    assert_eq!(Entry::read(&front, entry.file_len()), Err(NoEntry::Damaged));
    let (grows, voided) = Entry::read_growing(&mut front.clone()).expect("it is one");
    assert_eq!((Entry { body_sum: entry.body_sum, ..grows }, voided), (entry, 12));
    for at in 0..entry.head.range().end {
        let mut damaged = front.clone();
        damaged[at] ^= 1;
        assert!(Entry::read_growing(&mut damaged).is_err(), "{at}");
        assert!(Entry::read_growing(&mut front[..at].to_vec()).is_err(), "{at}");
    }
    let (mut front, _) = example();
    assert_eq!(Entry::read_growing(&mut front), Err(NoEntry::Damaged));
}

/// docs/CACHE.md, rule 17.
#[test]
fn a_flipped_bit_is_seen() {
    let (front, entry) = example();
    for at in 0..front.len() * 8 {
        let mut flipped = front.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(Entry::read(&flipped, entry.file_len()).is_err(), "bit {at}");
    }
}

#[test]
fn a_file_of_another_size_is_damaged() {
    let (front, entry) = example();
    for len in [0, entry.file_len() - 1, entry.file_len() + 1, u64::MAX] {
        assert_eq!(Entry::read(&front, len), Err(NoEntry::Damaged), "{len}");
    }
    for cut in 0..front.len() {
        assert_eq!(Entry::read(&front[..cut], cut as u64), Err(NoEntry::Damaged), "{cut}");
    }
    let most = &front[..front.len() - 1];
    assert_eq!(Entry::read(most, entry.file_len()), Err(NoEntry::TooLong));
}

#[test]
fn no_bytes_do_harm() {
    let (front, entry) = example();
    let mut dice = Dice::new(11);
    for _ in 0..50_000 {
        let mut bytes = front.clone();
        for _ in 0..=dice.below(4) {
            let word = dice.below(WORDS - 3) * 8 + 24;
            let value = [0, u64::MAX, dice.below(1 << 20) as u64, 1 << 63][dice.below(4)];
            bytes[word..word + 8].copy_from_slice(&value.to_le_bytes());
        }
        // With a right checksum: what a wrong program may have written.
        let end = front.len();
        let sum = Checksum::of(&bytes[CHECKED_FROM..end]);
        bytes[16..24].copy_from_slice(&sum.to_le_bytes());
        if let Ok(read) = Entry::read(&bytes, entry.file_len()) {
            assert!(read.head.end as usize <= bytes.len());
            assert!(read.file_len() == entry.file_len());
            read.stored(&bytes);
        }
    }
}
