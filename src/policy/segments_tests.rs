use super::*;
use crate::http::testing::Dice;

fn segment(first: u64, last: u64) -> Segment {
    Segment { part: Part { first, last }, sum: first * 1000 + last }
}

/// The list of these, as it is written.
fn written(parts: &[(u64, u64)]) -> Vec<u8> {
    let mut segments = parts.iter().map(|(first, last)| segment(*first, *last));
    let mut list = SegmentList::new(segments.next().expect("one at least"));
    assert!(segments.all(|segment| list.add(segment)));
    let mut bytes = Vec::new();
    list.write(&mut bytes);
    bytes
}

fn parts(bytes: &[u8]) -> Vec<(u64, u64)> {
    let list = Segments::read(bytes, 1000).expect("it is one");
    list.iter().map(|segment| (segment.part.first, segment.part.last)).collect()
}

#[test]
fn a_list_is_in_order_and_none_lies_within_another() {
    for (added, expected) in [
        (&[(5, 9)][..], &[(5, 9)][..]),
        (&[(5, 9), (0, 3)], &[(0, 3), (5, 9)]),
        (&[(5, 9), (0, 4)], &[(0, 4), (5, 9)]),
        (&[(5, 9), (0, 7)], &[(0, 7), (5, 9)]),
        (&[(5, 9), (6, 8)], &[(5, 9)]),
        (&[(5, 9), (5, 9)], &[(5, 9)]),
        (&[(5, 9), (20, 29), (40, 49), (4, 30)], &[(4, 30), (40, 49)]),
        (&[(5, 9), (20, 29), (0, 999)], &[(0, 999)]),
    ] {
        assert_eq!(parts(&written(added)), expected, "{added:?}");
    }
    let bytes = written(&[(5, 9), (0, 3)]);
    let sums: Vec<u64> =
        Segments::read(&bytes, 10).expect("a list").iter().map(|one| one.sum).collect();
    assert_eq!(sums, [3, 5009]);
}

#[test]
fn a_full_list_takes_only_what_makes_room() {
    let mut list = SegmentList::new(segment(0, 0));
    assert!((1..MAX_SEGMENTS as u64).all(|at| list.add(segment(at * 10, at * 10))));
    assert!(!list.add(segment(5, 5)) && list.add(segment(10, 10)) && list.add(segment(10, 20)));
    assert!(list.add(segment(5, 5)) && list.only().is_none());
}

#[test]
fn what_is_no_list_is_not_read() {
    let bytes = written(&[(0, 3), (5, 9)]);
    assert!(Segments::read(&bytes, 10).is_some());
    assert!(Segments::read(&bytes, 9).is_none(), "beyond the end");
    assert!(Segments::read(&bytes[..47], 10).is_none());
    assert!(Segments::read(b"", 10).is_none());
    assert!(Segments::read(&bytes[24..].repeat(2), 10).is_none(), "twice the same");
    let turned = [&bytes[24..], &bytes[..24]].concat();
    assert!(Segments::read(&turned, 10).is_none(), "out of order");
    let mut list = bytes.clone();
    list[0] = 4;
    assert!(Segments::read(&list, 10).is_none(), "the first behind the last");
    list[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Segments::read(&list, u64::MAX).is_none());
    let many: Vec<(u64, u64)> = (0..MAX_SEGMENTS as u64).map(|at| (at * 3, at * 3)).collect();
    let mut bytes = written(&many);
    assert!(Segments::read(&bytes, 1000).is_some());
    for word in [900_u64, 900, 0] {
        bytes.extend(word.to_le_bytes());
    }
    assert!(Segments::read(&bytes, 1000).is_none(), "too many");
}

/// docs/CACHE.md, rule 11.
#[test]
fn what_is_there_is_found_byte_by_byte() {
    let mut dice = Dice::new(3);
    for _ in 0..200 {
        let added: Vec<(u64, u64)> = (0..=dice.below(6))
            .map(|_| {
                let first = dice.below(40) as u64;
                (first, first + dice.below(12) as u64)
            })
            .collect();
        let bytes = written(&added);
        let list = Segments::read(&bytes, 60).expect("a list");
        let has = |at: u64| added.iter().any(|(first, last)| (*first..=*last).contains(&at));
        let there: Vec<u64> = (0..60).filter(|at| has(*at)).collect();
        assert_eq!(list.held(), there.len() as u64, "{added:?}");
        assert_eq!(list.end(), there.last().map_or(0, |last| last + 1));
        for at in 0..60 {
            let first = (at..60).find(|at| has(*at));
            let last = first.map(|first| (first..60).take_while(|at| has(*at)).last());
            let found = list.next_from(at).map(|part| (part.first, Some(part.last)));
            assert_eq!(found, first.zip(last), "{added:?} {at}");
            for last in at..60 {
                let part = Part { first: at, last };
                assert_eq!(list.cover(part), (at..=last).all(has), "{added:?} {part:?}");
            }
        }
        assert_eq!(list.are_all(60), (0..60).all(has));
    }
}
