use super::*;
use crate::mem::xorshift::Xorshift;
use std::collections::HashMap;

fn index(places: usize) -> Index {
    let cells = |count: usize| -> &'static [AtomicU64] {
        (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak()
    };
    Index::over(cells(places * CELLS), &cells(1)[0])
}

fn at(seconds: u64) -> Used {
    Used::at(Micros::from_secs(seconds))
}

/// A hash, as a good one gives them.
fn hash(number: u64) -> EntryKey {
    let mut hasher = crate::policy::siphash::SipHasher::new_128(&[7; 16]);
    hasher.write(&number.to_le_bytes());
    EntryKey(hasher.finish_128())
}

#[test]
fn what_was_put_in_is_found_and_taken_out() {
    let index = index(64);
    assert_eq!(index.put(1, EntryKey(5), 3, at(1)), Put::New);
    assert!(index.contains(EntryKey(5)) && !index.contains(EntryKey(6)));
    assert!(!index.contains(EntryKey(5 + (1 << 64))));
    assert_eq!(index.put(1, EntryKey(5), 4, at(2)), Put::Again(3));
    assert_eq!(index.remove(EntryKey(5)), Some(4));
    assert_eq!((index.remove(EntryKey(5)), index.contains(EntryKey(5))), (None, false));
}

#[test]
fn a_full_group_gives_up_its_oldest() {
    let index = index(8);
    for number in 0..8 {
        assert_eq!(index.put(0, EntryKey(number), 1, at(10 + number as u64)), Put::New);
    }
    assert!(index.touch(EntryKey(0), at(100)));
    let out = Removed { hash: EntryKey(1), blocks: 1 };
    assert_eq!(index.put(0, EntryKey(50), 2, at(101)), Put::Instead(out));
    assert!(
        index.contains(EntryKey(0)) && index.contains(EntryKey(50)) && !index.contains(EntryKey(1))
    );
}

#[test]
fn a_use_is_never_noted_as_earlier() {
    let index = index(8);
    index.put(0, EntryKey(1), 1, at(50));
    index.put(0, EntryKey(2), 1, at(40));
    assert!(index.touch(EntryKey(1), at(10)) && !index.touch(EntryKey(3), at(10)));
    assert_eq!(index.take_old(0).expect("one").entry.hash, EntryKey(2));
}

#[test]
fn a_place_that_is_taken_is_free_only_after_its_file_is_gone() {
    let index = index(8);
    index.put(0, EntryKey(1), 7, at(1));
    let victim = index.take_old(3).expect("the only one");
    assert_eq!(victim.entry, Removed { hash: EntryKey(1), blocks: 7 });
    assert!(!index.contains(EntryKey(1)) && index.take_old(3).is_none());
    for number in 10..17 {
        assert_eq!(index.put(0, EntryKey(number), 1, at(2)), Put::New);
    }
    index.free(&victim);
    assert_eq!(index.put(0, EntryKey(17), 1, at(2)), Put::New);
}

#[test]
fn what_the_dead_had_taken_is_free() {
    let index = index(16);
    for number in 0..8 {
        index.put(0, EntryKey(number << 65), 5, at(1));
    }
    let victims: Vec<_> = (0..3).filter_map(|_| index.take_old(2)).collect();
    assert_eq!(victims.len(), 3);
    assert_eq!(index.reap(1), 0);
    assert_eq!(index.reap(2), 15);
    assert_eq!(index.reap(2), 0);
}

#[test]
fn what_is_used_stays_and_what_is_old_goes() {
    let index = index(4096);
    for number in 0..2000 {
        index.put(0, hash(number), 1, at(number));
    }
    // One in ten is used again and again, while the others go one by one.
    let mut gone = HashMap::new();
    for round in 0..1500 {
        for number in (0..2000).step_by(10) {
            index.touch(hash(number), at(3000 + round));
        }
        if let Some(victim) = index.take_old(0) {
            gone.insert(victim.entry.hash, round);
            index.free(&victim);
        }
    }
    assert!(gone.len() > 1450, "{}", gone.len());
    let used_gone = (0..2000).step_by(10).filter(|number| gone.contains_key(&hash(*number)));
    assert_eq!(used_gone.count(), 0, "one that was used went");
    // Of the others the older ones went earlier: the first third before the last, on average.
    let mean = |numbers: std::ops::Range<u64>| {
        let rounds: Vec<u64> =
            numbers.filter_map(|number| gone.get(&hash(number)).copied()).collect();
        rounds.iter().sum::<u64>() / rounds.len() as u64
    };
    assert!(mean(0..600) + 300 < mean(1400..2000), "{} {}", mean(0..600), mean(1400..2000));
}

#[test]
fn few_entries_in_a_large_table_are_found() {
    let index = index(1 << 17);
    index.put(0, hash(1), 1, at(1));
    let found = (0..20).find_map(|_| index.take_old(0));
    assert_eq!(found.expect("it is there").entry.hash, hash(1));
}

#[test]
fn times_before_the_machine_started_are_older() {
    let now = at(100);
    assert!(now.before(50) < now && now.before(1000) < now.before(50));
    assert!(now.before(u64::MAX) < now.before(1 << 27));
    assert!(Used::at(Micros(u64::MAX)) > at(1_000_000));
}

#[test]
fn a_table_does_as_a_map_does_as_long_as_no_group_is_full() {
    let (index, mut model) = (index(1 << 14), HashMap::new());
    let mut random = Xorshift::new(9);
    for step in 0..20_000 {
        let number = random.below(500) as u64;
        let blocks = random.below(1000) as u32;
        match random.below(3) {
            0 => {
                let expected = model.insert(number, blocks).map_or(Put::New, Put::Again);
                assert_eq!(index.put(0, hash(number), blocks, at(step)), expected);
            }
            1 => assert_eq!(index.remove(hash(number)), model.remove(&number)),
            _ => assert_eq!(index.touch(hash(number), at(step)), model.contains_key(&number)),
        }
    }
}

/// As a worker that opens an entry and the control process that finds it on the disk do.
#[test]
fn an_entry_that_two_put_in_at_once_counts_once() {
    let index = index(1 << 14);
    let counted = std::sync::atomic::AtomicI64::new(0);
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (counted, barrier) = (&counted, &barrier);
            scope.spawn(move || {
                for number in 0..2000 {
                    barrier.wait();
                    let change = match index.put(worker, hash(number), 3, at(1)) {
                        Put::New => 3,
                        Put::Again(blocks) => 3 - i64::from(blocks),
                        other => panic!("{other:?}"),
                    };
                    counted.fetch_add(change, Relaxed);
                }
            });
        }
    });
    assert_eq!(counted.load(Relaxed), 2000 * 3);
    for number in 0..2000 {
        assert_eq!(index.remove(hash(number)), Some(3));
        assert!(!index.contains(hash(number)), "{number} is there twice");
    }
}
