use super::super::testing::*;
use super::*;
use crate::cache::store::Found;
use crate::http::cache_status::FwdReason;
use crate::http::response;
use crate::policy::freshness::ServeDecision;
use crate::sys::sim::world::{self, Faults};

const OLD: &str = "Cache-Control: max-age=60 | ETag: \"e\" | X-Old: 1";

/// The entry of `/a` after a 304 with these fields.
fn freshen(store: &mut Store, fields: &str) -> Option<EntryId> {
    let (Found::Answer(id), token) = find(store, "/a", "") else { panic!("it is stored") };
    let text = format!("HTTP/1.1 304 Not Modified\r\n{}\r\n", lines(fields));
    let head = response::parse(text.as_bytes()).expect("valid");
    let fresh = ResponseCacheFields::new(head.fields);
    let freshened = store.freshen(id, token, (&fresh, timing()), now());
    if freshened.is_none() {
        store.release(id);
    }
    freshened.map(|(entry, _)| entry)
}

fn time_left(store: &Store, id: EntryId) -> i64 {
    store.entry(id).entry.freshness.time_left(wall())
}

fn head(store: &Store, id: EntryId) -> String {
    String::from_utf8_lossy(store.entry(id).head()).into_owned()
}

/// docs/CACHE.md, rule 8.
#[test]
fn a_confirmed_entry_is_fresh_again_for_all_workers() {
    for len in [10, 15_000, 60_000, 1 << 20] {
        world::reset(1, Faults::default());
        let cells = known_cells(8 << 20);
        let (mut one, mut other) = (worker(cells, 0), worker(cells, 1));
        let bytes = body(len, 3);
        put(&mut one, ("/a", ""), OLD, &bytes, true).expect("stored");
        assert!(get(&mut other, "/a", "").is_some());
        let used = cells.used();
        later(100);
        let new = "Cache-Control: max-age=90 | X-New: 2 | Content-Length: 1 | Date: x";
        let id = freshen(&mut one, new).expect("renewed");
        assert_eq!(time_left(&one, id), 90);
        assert_eq!(
            head(&one, id),
            format!(
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nX-Old: 1\r\nContent-Length: {len}\r\n\
                 Cache-Control: max-age=90\r\nX-New: 2\r\nDate: x\r\n"
            )
        );
        assert!(read(&mut one, id).is_some_and(|read| read == bytes), "{len}");
        one.release(id);
        while one.has_work() {
            one.work(now());
        }
        for store in [&mut one, &mut other, &mut worker(cells, 2)] {
            let (Found::Answer(id), _) = find(store, "/a", "") else { panic!("it is stored") };
            assert_eq!(time_left(store, id), 90, "{len}");
            assert!(read(store, id).is_some_and(|read| read == bytes), "{len}");
            store.release(id);
            let (open_entry, taken) = store.in_use();
            assert_eq!(open_entry, taken);
        }
        assert_eq!((entry_files().len(), cells.used()), (1, used));
    }
}

#[test]
fn one_that_may_not_be_stored_any_more_answers_once_and_is_gone() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    put(&mut store, ("/a", ""), OLD, b"hello", true).expect("stored");
    let id = freshen(&mut store, "Cache-Control: no-store").expect("renewed");
    assert_eq!(read(&mut store, id).as_deref(), Some(&b"hello"[..]));
    assert_eq!(get(&mut store, "/a", ""), None);
    store.release(id);
    assert_eq!((entry_files().len(), cells.used(), store.in_use()), (0, 0, (0, 0)));
}

#[test]
fn one_that_is_asked_about_each_time_is_not_written_each_time() {
    world::reset(1, Faults::default());
    let mut store = worker(known_cells(1 << 20), 0);
    put(&mut store, ("/a", ""), "Cache-Control: no-cache | ETag: \"e\"", b"x", true)
        .expect("stored");
    assert!(get(&mut store, "/a", "").is_some());
    let before = world::calls().disk;
    for _ in 0..5 {
        let id = freshen(&mut store, "X-New: 1").expect("renewed");
        let use_ = store.entry(id).entry.freshness.judge(&Default::default(), wall());
        assert_eq!(use_, ServeDecision::Validate);
        store.release(id);
    }
    assert_eq!(world::calls().disk, before);
}

#[test]
fn one_that_was_made_void_meanwhile_stays_away() {
    for len in [10, 60_000] {
        world::reset(1, Faults::default());
        let cells = known_cells(1 << 20);
        let mut store = worker(cells, 0);
        put(&mut store, ("/a", ""), OLD, &body(len, 1), true).expect("stored");
        let (Found::Answer(id), token) = find(&mut store, "/a", "") else { panic!("stored") };
        store.directory().invalidate(token.primary);
        let text = b"HTTP/1.1 304 Not Modified\r\nX: 1\r\n\r\n";
        let head = response::parse(text).expect("valid");
        let fresh = ResponseCacheFields::new(head.fields);
        match store.freshen(id, token, (&fresh, timing()), now()) {
            Some((freshened, _)) => store.release(freshened),
            None => store.release(id),
        }
        while store.has_work() {
            store.work(now());
        }
        assert_eq!(get(&mut store, "/a", ""), None, "{len}");
        assert_eq!((entry_files().len(), cells.used()), (0, 0), "{len}");
    }
}

#[test]
fn one_that_grows_beyond_its_piece_is_fetched_anew() {
    world::reset(1, Faults::default());
    let mut store = worker(known_cells(1 << 20), 0);
    let full = PIECE - 192 - 100;
    put(&mut store, ("/a", ""), "Cache-Control: max-age=60", &body(full - 60, 1), true)
        .expect("stored");
    assert!(get(&mut store, "/a", "").is_some());
    assert_eq!(freshen(&mut store, &format!("X: {}", "y".repeat(300))), None);
    assert_eq!((get(&mut store, "/a", ""), store.in_use()), (None, (0, 0)));
}

#[test]
fn a_copy_that_fails_leaves_the_entry_as_it_was() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    let bytes = body(60_000, 1);
    put(&mut store, ("/a", ""), OLD, &bytes, true).expect("stored");
    let used = cells.used();
    later(30);
    let id = freshen(&mut store, "Cache-Control: max-age=90").expect("renewed");
    store.release(id);
    world::change_faults(|faults| faults.disk_room = 10);
    while store.has_work() {
        store.work(now());
    }
    let mut other = worker(cells, 1);
    let (Found::Answer(id), _) = find(&mut other, "/a", "") else { panic!("it is stored") };
    assert_eq!(time_left(&other, id), 30);
    assert!(read(&mut other, id).is_some_and(|read| read == bytes));
    assert_eq!((entry_files().len(), cells.used()), (1, used));
}

#[test]
fn what_varies_is_renewed_below_its_vary_marker() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    put(&mut store, ("/a", ""), &format!("{OLD} | Vary: A"), b"x", true).expect("stored");
    later(30);
    let id = freshen(&mut store, "Cache-Control: max-age=90").expect("renewed");
    store.release(id);
    let mut other = worker(cells, 1);
    let (Found::Answer(id), _) = find(&mut other, "/a", "") else { panic!("it is stored") };
    assert_eq!(time_left(&other, id), 90);
}

/// RFC 9111 §4.1: the variant that was confirmed is not for those whom its new `Vary` excludes.
#[test]
fn one_that_varies_by_more_than_before_answers_once_and_is_gone() {
    for (before, after, stays) in [
        ("", "Vary: A", false),
        (" | Vary: A", "Vary: a", true),
        (" | Vary: A", "Vary: A, B", false),
        (" | Vary: A, B", "Vary: B", true),
        (" | Vary: AB", "Vary: A", false),
    ] {
        world::reset(1, Faults::default());
        let mut store = worker(known_cells(1 << 20), 0);
        put(&mut store, ("/a", ""), &format!("{OLD}{before}"), b"x", true).expect("stored");
        let id = freshen(&mut store, after).expect("renewed");
        store.release(id);
        assert_eq!(get(&mut store, "/a", "").is_some(), stays, "{before} {after}");
    }
}

/// docs/CACHE.md, rule 3; RFC 9110 §6.6.1.
#[test]
fn how_old_one_is_tells_the_304_that_confirmed_it() {
    for (fields, left) in [
        ("Age: 20", 40),
        ("Age: 20 | X: 1", 40),
        ("Date: Thu, 01 Jan 1970 00:00:00 GMT", i64::from(60 - i32::MAX)),
        ("X: 1", 60),
    ] {
        world::reset(1, Faults::default());
        let mut store = worker(known_cells(1 << 20), 0);
        let old = format!("{OLD} | Date: Sat, 20 Sep 1997 00:00:00 GMT");
        put(&mut store, ("/a", ""), &old, b"x", true).expect("stored");
        let id = freshen(&mut store, fields).expect("renewed");
        let expected = left.max(60 - wall() as i64);
        assert_eq!(time_left(&store, id), expected, "{fields}");
        assert!(!head(&store, id).contains("1997"), "{fields}");
        store.release(id);
    }
}

/// One that a client wanted new, and that is not for anybody else any more without being asked about.
#[test]
fn what_others_have_is_not_good_any_more_when_a_304_says_so() {
    for len in [10, 60_000] {
        for fields in ["Cache-Control: no-cache", "Cache-Control: max-age=0", "Age: 60"] {
            world::reset(1, Faults::default());
            let cells = known_cells(1 << 20);
            let (mut one, mut other) = (worker(cells, 0), worker(cells, 1));
            put(&mut one, ("/a", ""), OLD, &body(len, 1), true).expect("stored");
            assert!(get(&mut other, "/a", "").is_some());
            let id = freshen(&mut one, fields).expect("renewed");
            one.release(id);
            for store in [&mut one, &mut other] {
                let (found, _) = find(store, "/a", "");
                assert_eq!(found, Found::Nothing(FwdReason::UriMiss), "{len} {fields}");
            }
        }
    }
}
