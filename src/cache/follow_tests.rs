use super::super::collapse::{Collapse, Ending};
use super::super::recorder::Recorder;
use super::super::testing::*;
use super::*;
use crate::mem::time::Micros;
use crate::sys::IoError;
use crate::sys::sim::world::{self, Faults};

const FRESH: &str = "Cache-Control: max-age=60";

fn two_workers() -> (Store, Store) {
    world::reset(1, Faults::default());
    let cells = known_cells(64 << 20);
    (worker(cells, 0), worker(cells, 1))
}

fn turn(store: &mut Store, (target, fields): (&str, &str)) -> Collapse {
    let (_, token) = find(store, target, fields);
    let directory = store.directory();
    directory.cells.fetches.begin(directory.worker, token.fetch_key, Micros(1))
}

/// One fetches what the other waits for, and has got the head.
fn fetching(
    one: &mut Store,
    other: &mut Store,
    response: &str,
    length: Option<u64>,
) -> (Recorder, FetchTicket, FetchTicket) {
    let Collapse::Lead(led) = turn(one, ("/a", "")) else { panic!() };
    let Collapse::Follow(followed) = turn(other, ("/a", "")) else { panic!() };
    let recorder = begin(one, ("/a", ""), response, length).expect("it is recorded");
    (recorder, led, followed)
}

fn follow(store: &mut Store, ticket: FetchTicket, fields: &str) -> Option<EntryId> {
    match with("/a", fields, |query| store.follow(ticket, query)) {
        Shown::Answer(id) => Some(id),
        Shown::ForOthers(_) | Shown::Nothing => None,
    }
}

#[test]
fn who_wants_another_selection_is_told_what_to_wait_for() {
    let (mut one, mut other) = two_workers();
    let response = "Cache-Control: max-age=60 | Vary: X-A";
    let (mut recorder, led, followed) = fetching(&mut one, &mut other, response, Some(100_000));
    recorder.show(&one, led).expect("it is shown");
    let key = |store: &mut Store, fields: &str| match with("/a", fields, |query| {
        store.follow(followed, query)
    }) {
        Shown::ForOthers(key) => key,
        shown => panic!("{shown:?}"),
    };
    let [first, same, second] =
        ["X-A: 1", "X-B: 5 | X-A: 1", "X-A: 2"].map(|fields| key(&mut other, fields));
    assert!(first == same && first != second);
    assert_eq!(key(&mut one, "X-A: 1"), first, "over all workers");
    assert_ne!(followed.hash(), first);
    // One that may not share answers at all is told nothing.
    let shown = with("/a", "X-A: 1 | X-Original-URL: /b", |query| other.follow(followed, query));
    assert_eq!(shown, Shown::Nothing);
    recorder.abandon(&mut one);
}

/// What is there of a body.
fn seen(store: &mut Store, id: EntryId) -> Option<Vec<u8>> {
    let there = store.grown(id)?;
    let super::super::open_entries::Body::File(file, at) = store.entry(id).body() else { panic!() };
    let mut bytes = vec![0; there as usize];
    assert_eq!(file.read_at(&mut bytes, at), Ok(bytes.len()));
    Some(bytes)
}

#[test]
fn what_is_fetched_is_seen_as_it_comes() {
    for wants_names in [false, true] {
        let (mut one, mut other) = two_workers();
        world::change_faults(|faults| faults.disk_wants_names = wants_names);
        let bytes = body(200_000, 3);
        let (mut recorder, led, followed) =
            fetching(&mut one, &mut other, FRESH, Some(bytes.len() as u64));
        assert_eq!(follow(&mut other, followed, ""), None, "it is not shown yet");
        assert_eq!(recorder.show(&one, led), Ok(true));
        let id = follow(&mut other, followed, "").expect("it is shown");
        assert_eq!(seen(&mut other, id), Some(vec![]));
        let mut done = 0;
        for size in [1, 100, 9000, 16_384, 50_000] {
            recorder.take(&mut one, &bytes[done..done + size]).expect("it is taken");
            done += size;
            assert!(!other.may_have_grown(id));
            assert_eq!(recorder.show(&one, led), Ok(true));
            assert_eq!(recorder.show(&one, led), Ok(false), "nothing new");
            let woken = one.directory().cells.fetches.tell(led);
            assert!(woken.workers().eq([1]) && other.may_have_grown(id));
            assert!(seen(&mut other, id).as_deref() == Some(&bytes[..done]));
        }
        recorder.take(&mut one, &bytes[done..]).expect("it is taken");
        assert_eq!(recorder.finish(&mut one, Micros(1)), Ok(()));
        one.directory().cells.fetches.end(led, Ending::Stored, Micros(1));
        assert!(seen(&mut other, id).as_ref() == Some(&bytes));
        assert!(!other.may_have_grown(id), "all of it is there");
        other.release(id);
        assert!(get(&mut other, "/a", "") == Some(bytes));
        assert_eq!(follow(&mut other, followed, ""), None, "the name is gone");
        assert_eq!(world::disk(|disk| disk.files().len()), 2, "the entry, and the secret");
    }
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_breaks_off_is_cut_for_all_who_follow() {
    for dies in [false, true] {
        let (mut one, mut other) = two_workers();
        let (mut recorder, led, followed) = fetching(&mut one, &mut other, FRESH, Some(100_000));
        recorder.take(&mut one, &body(60_000, 1)).expect("it is taken");
        recorder.show(&one, led).expect("it is shown");
        let id = follow(&mut other, followed, "").expect("it is shown");
        assert_eq!(other.grown(id), Some(60_000));
        if dies {
            std::mem::forget(recorder);
            one.directory().cells.reap(0);
        } else {
            recorder.abandon(&mut one);
            one.directory().cells.fetches.end(led, Ending::Failed, Micros(1));
        }
        assert!(other.may_have_grown(id));
        assert_eq!(other.grown(id), None);
        other.release(id);
        assert_eq!(other.in_use(), (0, 0));
    }
}

#[test]
fn what_was_whole_and_is_not_stored_all_the_same_is_there_for_who_follows() {
    let (mut one, mut other) = two_workers();
    let (mut recorder, led, followed) = fetching(&mut one, &mut other, FRESH, Some(50_000));
    recorder.take(&mut one, &body(40_000, 1)).expect("it is taken");
    recorder.show(&one, led).expect("it is shown");
    let id = follow(&mut other, followed, "").expect("it is shown");
    let primary = with("/a", "", |query| one.directory().primary(&query.url));
    one.directory().invalidate(primary);
    assert_eq!(follow(&mut other, followed, ""), None, "who comes later wants it new");
    recorder.take(&mut one, &body(50_000, 1)[40_000..]).expect("it is taken");
    recorder.finish(&mut one, Micros(1)).expect_err("it is void");
    one.directory().cells.fetches.end(led, Ending::Failed, Micros(1));
    assert!(seen(&mut other, id) == Some(body(50_000, 1)));
    other.release(id);
}

#[test]
fn only_who_may_have_it_follows() {
    for (response, request, may) in [
        (FRESH, "", true),
        (FRESH, "Authorization: Basic eA==", false),
        ("Cache-Control: max-age=60, public", "Authorization: Basic eA==", true),
        (FRESH, "X-Original-URL: /b", false),
        ("Cache-Control: max-age=60 | Vary: X-A", "", true),
        ("Cache-Control: max-age=60 | Vary: X-A", "X-A: 1", false),
        ("Cache-Control: max-age=60 | Vary: X-A", "X-B: 1", true),
        ("Cache-Control: max-age=60 | Vary: X-A", "X-Original-URL: /b", false),
    ] {
        let (mut one, mut other) = two_workers();
        let (mut recorder, led, followed) = fetching(&mut one, &mut other, response, Some(100_000));
        recorder.show(&one, led).expect("it is shown");
        let id = follow(&mut other, followed, request);
        assert_eq!(id.is_some(), may, "{response} for {request}");
        if let Some(id) = id {
            other.release(id);
        }
        let elsewhere = with("/b", "", |query| other.follow(followed, query));
        assert_eq!(elsewhere, Shown::Nothing, "another URL");
        recorder.abandon(&mut one);
    }
}

#[test]
fn the_end_of_what_has_not_said_its_length_is_seen_when_all_of_it_is_there() {
    for (length, is_void) in [(0, false), (5, false), (100_000, false), (100_000, true)] {
        let (mut one, mut other) = two_workers();
        let bytes = body(length, 1);
        let (mut recorder, led, followed) = fetching(&mut one, &mut other, FRESH, None);
        recorder.take(&mut one, &bytes).expect("it is taken");
        assert_eq!(recorder.show(&one, led), Ok(true));
        let id = follow(&mut other, followed, "").expect("it is shown");
        assert!(seen(&mut other, id).as_ref() == Some(&bytes));
        let is_open = |store: &Store| matches!(store.entry(id).growth, Growth::Open(..));
        assert!(seen(&mut other, id).is_some() && is_open(&other), "there may be more");
        if is_void {
            let primary = with("/a", "", |query| one.directory().primary(&query.url));
            one.directory().invalidate(primary);
        }
        assert_eq!(recorder.finish(&mut one, Micros(1)).is_err(), is_void);
        // It is seen before the fetch is over, which may look like the next one that has begun.
        assert!(seen(&mut other, id) == Some(bytes) && !is_open(&other));
        one.directory().cells.fetches.end(led, Ending::Stored, Micros(1));
        assert!(!other.may_have_grown(id), "all of it is there");
        assert_eq!(other.entry(id).entry.body_len, length as u64);
        other.release(id);
    }
}

#[test]
fn what_breaks_off_without_a_length_is_never_taken_for_whole() {
    for dies in [false, true] {
        let (mut one, mut other) = two_workers();
        let (mut recorder, led, followed) = fetching(&mut one, &mut other, FRESH, None);
        recorder.take(&mut one, &body(60_000, 1)).expect("it is taken");
        recorder.show(&one, led).expect("it is shown");
        let id = follow(&mut other, followed, "").expect("it is shown");
        if dies {
            std::mem::forget(recorder);
            one.directory().cells.reap(0);
        } else {
            recorder.abandon(&mut one);
            one.directory().cells.fetches.end(led, Ending::Failed, Micros(1));
        }
        assert_eq!(other.grown(id), None);
        other.release(id);
    }
}

/// It may be a stream, for one alone.
#[test]
fn what_only_the_operator_calls_fresh_and_has_no_length_is_not_shown() {
    let (mut one, mut other) = two_workers();
    one.settings.default_ttl = 60;
    let (mut recorder, led, followed) = fetching(&mut one, &mut other, "X-A: 1", None);
    recorder.take(&mut one, &body(60_000, 1)).expect("it is taken");
    assert_eq!(recorder.show(&one, led), Ok(false));
    assert_eq!(follow(&mut other, followed, ""), None);
    recorder.abandon(&mut one);
}

#[test]
fn what_one_who_died_has_left_is_not_taken_for_what_the_next_one_fetches() {
    let (mut one, mut other) = two_workers();
    let mut third = worker(other.directory().cells, 2);
    let (mut recorder, led, _) = fetching(&mut one, &mut other, FRESH, Some(100_000));
    recorder.take(&mut one, &body(60_000, 1)).expect("it is taken");
    recorder.show(&one, led).expect("it is shown");
    std::mem::forget(recorder);
    one.directory().cells.reap(0);
    let (mut recorder, led, followed) = fetching(&mut other, &mut third, FRESH, Some(100_000));
    assert_eq!(follow(&mut third, followed, ""), None, "that will never be whole");
    recorder.show(&other, led).expect("it is shown");
    let id = follow(&mut third, followed, "").expect("it is shown");
    assert_eq!(seen(&mut third, id), Some(vec![]));
    third.release(id);
    recorder.abandon(&mut other);
}

#[test]
fn what_is_followed_stays_where_leftovers_are_removed() {
    let (mut one, mut other) = two_workers();
    let (mut recorder, led, followed) = fetching(&mut one, &mut other, FRESH, Some(5));
    recorder.show(&one, led).expect("it is shown");
    let cells = one.directory().cells;
    let sweep = || one.directory().files.sweep_new(|hash| cells.fetches.shows(hash));
    assert_eq!(sweep(), Ok(()));
    let id = follow(&mut other, followed, "").expect("it is there");
    other.release(id);
    cells.reap(0);
    assert_eq!(sweep(), Ok(()));
    assert_eq!(one.directory().files.shown(led.hash()).err(), Some(IoError::NotFound));
    recorder.abandon(&mut one);
}
