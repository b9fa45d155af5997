use super::*;

#[test]
fn who_follows_is_told_of_news() {
    let fetches = fetches();
    let fetch = begun(fetches.begin(3, KEY, NOW));
    assert!(!fetches.is_awaited(fetch));
    let mut one = waiting(fetches.begin(1, KEY, NOW));
    let mut other = waiting(fetches.begin(2, KEY, NOW));
    assert!(fetches.leader(one).workers().eq([3]));
    assert!(fetches.is_awaited(fetch) && !fetches.has_news(one));
    assert!(fetches.tell(fetch).workers().eq([1, 2]));
    assert!(fetches.has_news(one) && fetches.has_news(other) && !fetches.is_awaited(fetch));
    // The one that has looked waits again, and takes nothing from the other.
    assert!(fetches.look(1, &mut one));
    assert!(!fetches.has_news(one) && fetches.has_news(other) && fetches.is_awaited(fetch));
    assert!(fetches.tell(fetch).workers().eq([1]));
    assert!(fetches.look(2, &mut other));
    assert!(fetches.end(fetch, Ending::Stored, NOW).workers().eq([2]));
    assert!(fetches.has_news(other) && !fetches.look(2, &mut other));
}

const KEY: EntryKey = EntryKey(0x1234_5678_9abc_def0_1357_9bdf_0246_8ace);
const NOW: Micros = Micros::from_secs(1000);

fn fetches() -> FetchTable {
    let cells: Vec<AtomicU64> = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
    FetchTable::over(cells.leak(), ProcessSlots::new(0, MOST_WAITING))
}

fn begun(turn: Collapse) -> FetchTicket {
    match turn {
        Collapse::Lead(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

fn waiting(turn: Collapse) -> FetchTicket {
    match turn {
        Collapse::Follow(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

/// docs/CACHE.md, rule 15.
#[test]
fn one_fetches_and_all_others_wait_for_it() {
    let fetches = fetches();
    let fetch = begun(fetches.begin(3, KEY, NOW));
    for worker in [0, 3, 64, 447, 64] {
        let awaited = waiting(fetches.begin(worker, KEY, NOW));
        assert!(fetches.is_going_on(worker, awaited));
    }
    begun(fetches.begin(1, EntryKey(KEY.0 + 1), NOW));
    let woken = fetches.end(fetch, Ending::Stored, NOW);
    assert_eq!(woken.workers().collect::<Vec<_>>(), [0, 3, 64, 447]);
    assert!(!fetches.is_going_on(0, fetch));
    let again = begun(fetches.begin(5, KEY, NOW));
    assert!(fetches.end(again, Ending::Abandoned, NOW).is_empty());
}

#[test]
fn who_waits_for_a_fetch_is_woken_by_the_one_that_took_its_place() {
    let fetches = fetches();
    let first = begun(fetches.begin(0, KEY, NOW));
    let awaited = waiting(fetches.begin(1, KEY, NOW));
    fetches.end(first, Ending::Abandoned, NOW);
    let second = begun(fetches.begin(0, KEY, NOW));
    // Worker 1 was woken, and finds the same one at it again.
    assert!(fetches.is_going_on(1, awaited));
    assert_eq!(fetches.end(second, Ending::Stored, NOW).workers().collect::<Vec<_>>(), [1]);
}

#[test]
fn what_is_for_nobody_else_is_known_for_a_while() {
    let fetches = fetches();
    let fetch = begun(fetches.begin(0, KEY, NOW));
    waiting(fetches.begin(1, KEY, NOW));
    let woken = fetches.end(fetch, Ending::Unshareable, NOW);
    assert_eq!(woken.workers().collect::<Vec<_>>(), [1]);
    for seconds in [0, 10, 29] {
        assert_eq!(fetches.begin(1, KEY, NOW + Micros::from_secs(seconds)), Collapse::Alone);
    }
    assert!(!fetches.is_unshareable(EntryKey(KEY.0 ^ 1 << 100), NOW));
    begun(fetches.begin(1, KEY, NOW + Micros::from_secs(31)));
}

#[test]
fn a_failure_is_known_for_a_moment() {
    let fetches = fetches();
    let fetch = begun(fetches.begin(0, KEY, NOW));
    fetches.end(fetch, Ending::Failed, NOW);
    assert_eq!(fetches.begin(1, KEY, NOW), Collapse::Alone);
    begun(fetches.begin(1, KEY, NOW + Micros::from_secs(2)));
}

#[test]
fn what_was_stored_after_all_is_waited_for_again() {
    let fetches = fetches();
    fetches.remember(KEY, NOW + UNSHAREABLE_FOR);
    let other = FetchTicket {
        hash: EntryKey(KEY.0 ^ 1 << 127),
        ..begun(fetches.begin(0, EntryKey(5), NOW))
    };
    fetches.end(other, Ending::Stored, NOW);
    assert!(fetches.is_unshareable(KEY, NOW));
    fetches.forget(KEY);
    begun(fetches.begin(0, KEY, NOW));
}

#[test]
fn the_fetches_of_the_dead_are_over() {
    let fetches = fetches();
    let first = begun(fetches.begin(7, KEY, NOW));
    let second = begun(fetches.begin(7, EntryKey(KEY.0 + 1), NOW));
    let others = begun(fetches.begin(8, EntryKey(KEY.0 + 2), NOW));
    waiting(fetches.begin(1, KEY, NOW));
    waiting(fetches.begin(200, EntryKey(KEY.0 + 1), NOW));
    waiting(fetches.begin(2, EntryKey(KEY.0 + 2), NOW));
    assert_eq!(fetches.reap(7).workers().collect::<Vec<_>>(), [1, 200]);
    assert!(!fetches.is_going_on(1, first) && !fetches.is_going_on(1, second));
    assert!(fetches.is_going_on(2, others));
}

#[test]
fn worker_0_fetches_as_well_as_any_other() {
    let fetches = fetches();
    begun(fetches.begin(0, EntryKey(0), NOW));
    waiting(fetches.begin(0, EntryKey(0), NOW));
    assert!(fetches.reap(0).workers().eq([0]));
    begun(fetches.begin(0, EntryKey(0), NOW));
}

#[test]
fn keys_that_have_one_place_do_not_wait_for_each_other() {
    let fetches = fetches();
    let keys = [KEY, EntryKey(KEY.0 ^ 1 << 70), EntryKey(KEY.0 ^ 1 << 71)];
    begun(fetches.begin(0, keys[0], NOW));
    begun(fetches.begin(1, keys[1], NOW));
    assert_eq!(fetches.begin(2, keys[2], NOW), Collapse::Alone);
    waiting(fetches.begin(3, keys[1], NOW));
}
