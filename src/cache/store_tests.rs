use super::super::recorder::NotRecorded;
use super::super::shared_cells::on_disk;
use super::super::testing::*;
use super::*;
use crate::http::cache_status::FwdReason;
use crate::mem::xorshift::Xorshift;
use crate::sys::sim::world::{self, Faults};
use std::collections::HashMap;

const MIB: u64 = 1 << 20;

fn start() -> SharedCells {
    world::reset(1, Faults::default());
    known_cells(64 * MIB)
}

/// Nothing that a recording or an answer needed is left.
fn assert_idle(store: &Store) {
    let (open_entry, taken) = store.in_use();
    assert_eq!((open_entry, store.recordings, store.has_work()), (taken, 0, false));
}

#[test]
fn what_was_recorded_is_found_by_every_worker() {
    for wants_names in [false, true] {
        let cells = start();
        world::change_faults(|faults| faults.disk_wants_names = wants_names);
        let (mut one, mut other) = (worker(cells, 0), worker(cells, 1));
        let mut used = 0;
        for len in [0, 1, 100, 15_000, 16_000, 16_384, 40_000, 300_000, MAX_OBJECT as usize] {
            for is_length_known in [true, false] {
                let target = format!("/{len}/{is_length_known}");
                let bytes = body(len, 7);
                let fields = "Cache-Control: max-age=60 | X-A: b | Connection: X-C | X-C: 1";
                let put = put(&mut one, (&target, ""), fields, &bytes, is_length_known);
                assert_eq!(put, Ok(()), "{target}");
                for store in [&mut one, &mut other] {
                    let (Found::Answer(id), _) = find(store, &target, "") else {
                        panic!("{target} is not found")
                    };
                    assert!(read(store, id).is_some_and(|read| read == bytes), "{target}");
                    let head = String::from_utf8_lossy(store.entry(id).head()).into_owned();
                    assert_eq!(
                        head,
                        format!(
                            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-A: b\r\n\
                             Date: Thu, 01 Jan 2026 00:16:40 GMT\r\nContent-Length: {len}\r\n"
                        )
                    );
                    used += if store.directory.worker == 0 {
                        on_disk(store.entry(id).entry.file_len())
                    } else {
                        0
                    };
                    store.release(id);
                }
            }
        }
        assert_eq!(cells.used(), used);
        assert_idle(&one);
        assert_idle(&other);
        assert_eq!(entry_files().len(), 18);
        assert_eq!(world::disk(|disk| disk.files().len()), 19);
    }
}

#[test]
fn entries_outlive_the_program() {
    let cells = start();
    put_plain(&mut worker(cells, 0), "/a", "hello").expect("stored");
    let cells = known_cells(MIB);
    let mut store = worker(cells, 2);
    assert_eq!(get_text(&mut store, "/a", ""), None, "what is not in the index is not looked for");
    cells.set_unscanned(1);
    assert_eq!(get_text(&mut store, "/a", "").as_deref(), Some("hello"));
    assert_eq!(cells.used(), 4096);
    assert_eq!(get(&mut store, "/A", ""), None);
    assert_eq!(get(&mut store, "/a?", ""), None);
}

#[test]
fn what_is_made_void_is_looked_for_on_the_disk_only_where_it_may_be() {
    let cells = start();
    let mut store = worker(cells, 0);
    let (_, token) = find(&mut store, "/a", "");
    let before = world::calls().disk;
    store.directory().invalidate(token.primary);
    assert_eq!(world::calls().disk, before, "it is not in the index, which is whole");
    put_plain(&mut store, "/a", "hello").expect("stored");
    store.directory().invalidate(token.primary);
    assert!(entry_files().is_empty());
    assert_eq!(get_text(&mut store, "/a", ""), None);

    put_plain(&mut store, "/a", "hello").expect("stored");
    let cells = known_cells(MIB);
    cells.set_unscanned(1);
    worker(cells, 1).directory().invalidate(token.primary);
    assert!(entry_files().is_empty(), "the index does not have it, and is not whole yet");
}

/// docs/CACHE.md, rule 17.
#[test]
fn a_damaged_entry_is_noticed_and_dropped() {
    for len in [20, 40_000] {
        let cells = start();
        let bytes = body(len, 1);
        let fields = "Cache-Control: max-age=60 | Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT";
        put(&mut worker(cells, 0), ("/a", ""), fields, &bytes, false).expect("stored");
        let path = entry_files().remove(0);
        let original = world::disk(|disk| {
            let mut copy = Vec::new();
            disk.change(&path, |bytes| copy.clone_from(bytes));
            copy
        });
        let mut damage: Vec<Vec<u8>> = Vec::new();
        for cut in [0, 1, 100, 191, 192, original.len() / 2, original.len() - 1] {
            damage.push(original[..cut].to_vec());
        }
        damage.push([&original[..], b"x"].concat());
        damage.push(vec![0; original.len()]);
        let step = original.len() / 300 + 1;
        for at in (0..original.len()).step_by(step) {
            let mut flipped = original.clone();
            flipped[at] ^= 4;
            damage.push(flipped);
        }
        for damaged in damage {
            // What stands between the head and the body where the length was not known counts for
            // nothing, so nothing looks at it.
            let (gap, cells) = (gap_of(&original), known_cells(64 * MIB));
            let is_in_gap = damaged.len() == original.len()
                && (0..damaged.len()).all(|at| damaged[at] == original[at] || gap.contains(&at));
            let mut store = worker(cells, 1);
            put(&mut store, ("/a", ""), fields, &bytes, false).expect("stored");
            world::disk(|disk| disk.change(&path, |bytes| bytes.clone_from(&damaged)));
            let mut fresh = worker(cells, 2);
            let found = get(&mut fresh, "/a", "");
            if is_in_gap {
                assert_eq!(found.as_deref(), Some(&bytes[..]));
            } else {
                assert_eq!(found, None);
                assert_eq!((entry_files().len(), cells.used()), (0, 0));
            }
            assert_idle(&fresh);
        }
    }
}

fn gap_of(file: &[u8]) -> std::ops::Range<usize> {
    let entry = Entry::read(file, file.len() as u64).expect("right");
    entry.head.range().end..entry.body_at as usize
}

#[test]
fn an_entry_under_another_name_is_none() {
    let cells = start();
    let mut store = worker(cells, 0);
    put_plain(&mut store, "/a", "of a").expect("stored");
    let a = entry_files().remove(0);
    let mut bytes = Vec::new();
    world::disk(|disk| disk.change(&a, |content| bytes.clone_from(content)));
    put_plain(&mut store, "/b", "of b").expect("stored");
    let b = entry_files().into_iter().find(|path| *path != a).expect("two");
    world::disk(|disk| disk.change(&b, |content| content.clone_from(&bytes)));
    assert_eq!(get(&mut worker(cells, 1), "/b", ""), None);
    assert_eq!(entry_files(), [a]);
}

#[test]
fn what_changes_under_an_open_file_is_noticed() {
    let cells = start();
    let mut store = worker(cells, 0);
    put(&mut store, ("/a", ""), "Cache-Control: max-age=60", &body(50_000, 1), true)
        .expect("stored");
    assert!(get(&mut store, "/a", "").is_some());
    let path = entry_files().remove(0);
    world::disk(|disk| disk.change(&path, |bytes| bytes[30_000] ^= 1));
    assert_eq!(get(&mut store, "/a", ""), None);
    assert!(entry_files().is_empty());
    assert_idle(&store);
}

/// docs/CACHE.md, rule 7.
#[test]
fn answers_that_vary_lie_beside_each_other() {
    let cells = start();
    let mut store = worker(cells, 0);
    let varies = "Cache-Control: max-age=60 | Vary: Accept-Encoding";
    let (gzip, none) = ("Accept-Encoding: gzip, br;q=0.5", "");
    put(&mut store, ("/a", gzip), varies, b"gzip", true).expect("stored");
    assert_eq!(find(&mut store, "/a", none).0, Found::Nothing(FwdReason::VaryMiss));
    put(&mut store, ("/a", none), varies, b"plain", true).expect("stored");
    for mut store in [worker(cells, 1), store] {
        assert_eq!(get_text(&mut store, "/a", gzip).as_deref(), Some("gzip"));
        let other_order = "Accept-Encoding: br;q=0.5,gzip";
        assert_eq!(get_text(&mut store, "/a", other_order).as_deref(), Some("gzip"));
        assert_eq!(get_text(&mut store, "/a", none).as_deref(), Some("plain"));
        assert_eq!(get_text(&mut store, "/a", "Accept-Encoding: br"), None);
        assert_idle(&store);
    }
    assert_eq!(entry_files().len(), 3);
}

#[test]
fn names_are_gathered_as_answers_name_them() {
    let cells = start();
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    put(&mut store, ("/a", "A: 1 | B: 1"), fresh, b"any", true).expect("stored");
    assert_eq!(get_text(&mut store, "/a", "A: 9").as_deref(), Some("any"));
    put(&mut store, ("/a", "A: 1 | B: 1"), &format!("{fresh} | Vary: A"), b"a1", true)
        .expect("stored");
    assert_eq!(get_text(&mut store, "/a", "A: 1 | B: 2").as_deref(), Some("a1"));
    assert_eq!(get(&mut store, "/a", "A: 9"), None);
    put(&mut store, ("/a", "A: 2 | B: 1"), &format!("{fresh} | Vary: B"), b"b1", true)
        .expect("stored");
    // By A and by B now; what was stored by A alone is not found any more.
    assert_eq!(get_text(&mut store, "/a", "A: 2 | B: 1").as_deref(), Some("b1"));
    assert_eq!(get(&mut store, "/a", "A: 1 | B: 1"), None);
    // One that names nothing lies beside the others all the same.
    put(&mut store, ("/a", "A: 3 | B: 3"), fresh, b"none", true).expect("stored");
    assert_eq!(get_text(&mut store, "/a", "A: 3 | B: 3").as_deref(), Some("none"));
    assert_eq!(get(&mut store, "/a", "A: 3 | B: 4"), None);
    assert_eq!(get_text(&mut store, "/a", "A: 2 | B: 1").as_deref(), Some("b1"));
}

/// docs/CACHE.md, rule 16.
#[test]
fn what_a_trusted_proxy_changes_poisons_nothing() {
    let cells = start();
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    put(&mut store, ("/a", "X-Forwarded-Host: evil"), fresh, b"evil", true).expect("stored");
    assert_eq!(get(&mut store, "/a", ""), None);
    put_plain(&mut store, "/a", "good").expect("stored");
    assert_eq!(get_text(&mut store, "/a", "").as_deref(), Some("good"));
    assert_eq!(get_text(&mut store, "/a", "X-Forwarded-Host: evil").as_deref(), Some("evil"));
    put_plain(&mut store, "/b", "good").expect("stored");
    assert_eq!(get(&mut store, "/b", "X-Original-URL: /admin"), None);
    assert_eq!(get(&mut store, "/a", "X-Forwarded-Proto: https"), None);
}

#[test]
fn a_pool_that_a_field_chose_has_its_own_answers() {
    let cells = start();
    let mut store = worker(cells, 0);
    put_plain(&mut store, "/a", "of the url's pool").expect("stored");
    let found = with("/a", "", |query| {
        let chosen = Chosen { pool: b"canary", ..query.chosen };
        store.find(&CacheQuery { chosen, ..*query }, now(), DiskRead::Waits).0
    });
    assert_eq!(found, Found::Nothing(FwdReason::VaryMiss));
}

/// docs/CACHE.md, rule 5.
#[test]
fn credentials_get_only_what_is_for_all() {
    let cells = start();
    let mut store = worker(cells, 0);
    put_plain(&mut store, "/a", "x").expect("stored");
    put(&mut store, ("/p", ""), "Cache-Control: max-age=60, public", b"x", true).expect("stored");
    let credentials = "Authorization: Basic eA==";
    assert_eq!(get(&mut store, "/a", credentials), None);
    assert_eq!(get_text(&mut store, "/p", credentials).as_deref(), Some("x"));
    let put = put(&mut store, ("/s", credentials), "Cache-Control: max-age=60", b"x", true);
    assert_eq!(
        put,
        Err(NotRecorded::Unstorable(crate::policy::storable::Unstorable::Authorization))
    );
}

/// docs/CACHE.md, rule 10.
#[test]
fn what_is_invalidated_is_gone_for_all_workers() {
    let cells = start();
    let (mut one, mut other) = (worker(cells, 0), worker(cells, 1));
    let varies = "Cache-Control: max-age=60 | Vary: A";
    for value in ["A: 1", "A: 2"] {
        put(&mut one, ("/a", value), varies, value.as_bytes(), true).expect("stored");
        assert!(get(&mut other, "/a", value).is_some());
    }
    put_plain(&mut one, "/b", "kept").expect("stored");
    let (_, token) = find(&mut one, "/a", "");
    one.directory().invalidate(token.primary);
    for store in [&mut one, &mut other] {
        for value in ["A: 1", "A: 2"] {
            assert_eq!(find(store, "/a", value).0, Found::Nothing(FwdReason::UriMiss));
        }
        assert_eq!(get_text(store, "/b", "").as_deref(), Some("kept"));
    }
    // With a new vary marker, what lay below the old one is not found again.
    put(&mut one, ("/a", "A: 1"), varies, b"new", true).expect("stored");
    assert_eq!(get_text(&mut other, "/a", "A: 1").as_deref(), Some("new"));
    assert_eq!(get(&mut other, "/a", "A: 2"), None);
}

#[test]
fn an_answer_that_was_asked_for_before_it_was_made_void_is_not_stored() {
    let cells = start();
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    let (_, token) = find(&mut store, "/a", "");
    let early = begin_at(&mut store, token, ("/a", ""), fresh, Some(1)).expect("begun");
    store.directory().invalidate(token.primary);
    let late = begin_at(&mut store, token, ("/a", ""), fresh, Some(1)).expect("begun");
    for mut recorder in [early, late] {
        recorder.take(&mut store, b"x").expect("taken");
        assert_eq!(recorder.finish(&mut store, now()), Err(NotRecorded::Void));
    }
    assert!(entry_files().is_empty() && cells.used() == 0);
    assert_eq!(put_plain(&mut store, "/a", "y"), Ok(()));
    assert_idle(&store);
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_is_not_whole_is_not_stored() {
    let cells = start();
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    for len in [5, 50_000] {
        let mut short = begin(&mut store, ("/a", ""), fresh, Some(len + 1)).expect("begun");
        short.take(&mut store, &body(len as usize, 0)).expect("taken");
        assert_eq!(short.finish(&mut store, now()), Err(NotRecorded::Incomplete));
        let mut long = begin(&mut store, ("/a", ""), fresh, Some(len - 1)).expect("begun");
        let taken = long.take(&mut store, &body(len as usize, 0));
        assert_eq!(taken, Err(NotRecorded::Incomplete));
        long.abandon(&mut store);
        let mut left = begin(&mut store, ("/a", ""), fresh, None).expect("begun");
        left.take(&mut store, &body(len as usize, 0)).expect("taken");
        left.abandon(&mut store);
    }
    assert_eq!((entry_files().len(), cells.used()), (0, 0));
    assert_eq!(world::disk(|disk| disk.files().len()), 1);
    assert_idle(&store);
}

#[test]
fn what_is_too_long_is_not_stored() {
    let cells = start();
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    assert_eq!(
        begin(&mut store, ("/a", ""), fresh, Some(MAX_OBJECT + 1)).err(),
        Some(NotRecorded::TooLong)
    );
    let bytes = body(MAX_OBJECT as usize + 1, 0);
    assert_eq!(put(&mut store, ("/a", ""), fresh, &bytes, false), Err(NotRecorded::TooLong));
    let long_field = format!("{fresh} | X: {}", "x".repeat(PIECE));
    assert_eq!(put(&mut store, ("/a", ""), &long_field, b"", true), Err(NotRecorded::TooLong));
    let many_names = format!("{fresh} | Vary: {}", "x".repeat(2000));
    assert_eq!(put(&mut store, ("/a", ""), &many_names, b"", true), Err(NotRecorded::TooLong));
    assert_eq!((entry_files().len(), cells.used()), (0, 0));
    assert_idle(&store);
}

/// docs/CACHE.md, rule 18.
#[test]
fn a_flood_stays_below_the_limit_and_what_is_used_stays() {
    world::reset(1, Faults::default());
    let cells = known_cells(4 * MIB);
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=600";
    put(&mut store, ("/used", ""), fresh, b"still here", true).expect("stored");
    let mut random = Xorshift::new(5);
    let mut stored = 0;
    for number in 0..2000 {
        let len = random.below(60_000);
        let put =
            put(&mut store, (&format!("/{number}"), ""), fresh, &body(len, number), number % 3 > 0);
        stored += usize::from(put.is_ok());
        assert!(cells.used() <= 4 * MIB);
        assert!(world::disk(|disk| disk.used()) <= 4 * MIB);
        if number % 10 == 0 {
            later(1);
            assert!(get(&mut store, "/used", "").is_some(), "after {number}");
        }
    }
    assert!(stored > 1900, "{stored}");
    let last = (1950..2000).filter(|number| get(&mut store, &format!("/{number}"), "").is_some());
    assert!(last.count() > 35);
    let first = (0..1000).filter(|number| get(&mut store, &format!("/{number}"), "").is_some());
    assert!(first.count() < 5);
    assert_idle(&store);
}

#[test]
fn a_disk_that_is_full_or_broken_only_means_that_nothing_is_stored() {
    let cells = start();
    let mut store = worker(cells, 0);
    put_plain(&mut store, "/a", "x").expect("stored");
    world::change_faults(|faults| faults.disk_room = 1000);
    let fresh = "Cache-Control: max-age=60";
    assert_eq!(put(&mut store, ("/b", ""), fresh, &body(2000, 0), true), Err(NotRecorded::Disk));
    assert_eq!(put(&mut store, ("/b", ""), fresh, &body(90_000, 0), false), Err(NotRecorded::Disk));
    assert_eq!(get_text(&mut store, "/a", "").as_deref(), Some("x"));
    world::change_faults(|faults| {
        *faults = Faults { disk_is_read_only: true, ..Faults::default() }
    });
    assert_eq!(put_plain(&mut store, "/b", "x"), Err(NotRecorded::Disk));
    assert_eq!(get_text(&mut worker_again(cells), "/a", "").as_deref(), Some("x"));
    world::change_faults(|faults| *faults = Faults { disk_errors: 1, ..Faults::default() });
    assert_eq!(put_plain(&mut store, "/b", "x"), Err(NotRecorded::Disk));
    assert_eq!(find(&mut store, "/c", "").0, Found::Nothing(FwdReason::UriMiss));
    world::change_faults(|faults| *faults = Faults::default());
    world::disk(|disk| disk.remove("cache"));
    assert_eq!(put_plain(&mut store, "/b", "x"), Err(NotRecorded::Disk));
    assert_eq!(get_text(&mut store, "/a", "").as_deref(), Some("x"), "it is at hand");
    assert_eq!(cells.used(), 4096);
    assert_idle(&store);
}

fn worker_again(cells: SharedCells) -> Store {
    worker(cells, 3)
}

#[test]
fn with_every_place_at_hand_taken_nothing_is_found_and_nothing_breaks() {
    let cells = start();
    let mut store = worker(cells, 0);
    let mut pinned = Vec::new();
    for number in 0..HELD + 10 {
        let target = format!("/{number}");
        put_plain(&mut store, &target, "x").expect("stored");
        if let Found::Answer(id) = find(&mut store, &target, "").0 {
            pinned.push(id);
        }
    }
    assert!(pinned.len() > HELD - 2 && pinned.len() <= HELD);
    pinned.into_iter().for_each(|id| store.release(id));
    assert!(get(&mut store, &format!("/{}", HELD + 9), "").is_some());
    assert_idle(&store);
}

/// Which targets of the test below vary.
fn varies(target: &str) -> bool {
    target < "/2"
}

/// Every stored answer that is found equals, byte for byte, the last one or one before that was
/// recorded for that request, whatever the disk does.
#[test]
fn whatever_the_disk_does_no_answer_is_wrong() {
    for seed in 1..=60 {
        let mut random = Xorshift::new(seed);
        world::reset(seed, Faults::default());
        let cells = known_cells(2 * MIB);
        let mut stores = [worker(cells, 0), worker(cells, 1)];
        let errors = [0, 3, 10, 40][random.below(4)];
        world::change_faults(|faults| {
            faults.disk_errors = errors;
            faults.disk_wants_names = random.below(3) == 0;
            faults.disk_room = [u64::MAX, 1 << 20][random.below(2)];
        });
        let mut given: HashMap<(String, String), Vec<Vec<u8>>> = HashMap::new();
        for step in 0..150 {
            let store = &mut stores[random.below(2)];
            let target = format!("/{}", random.below(4));
            let request = ["", "A: 1", "A: 2"][random.below(3)];
            match random.below(10) {
                0..4 => {
                    let naming = if varies(&target) { "Vary: A" } else { "X: y" };
                    let len = [10, 3000, 20_000, 90_000][random.below(4)];
                    let bytes = body(len, step);
                    let fields = format!("Cache-Control: max-age=60 | {naming}");
                    let known = random.below(2) == 0;
                    // What could not be stored may be found all the same: one part of it was.
                    let _ = put(store, (&target, request), &fields, &bytes, known);
                    let selection = if varies(&target) { request } else { "" };
                    given.entry((target, selection.to_owned())).or_default().push(bytes);
                }
                4 => {
                    let (_, token) = find(store, &target, request);
                    // With a sick disk it may stay.
                    store.directory().invalidate(token.primary);
                }
                5 if !entry_files().is_empty() => {
                    let files = entry_files();
                    let at = random.below(1000);
                    world::disk(|disk| {
                        disk.change(&files[random.below(files.len())], |bytes| match at % 3 {
                            0 => bytes.truncate(bytes.len() * at / 1000),
                            _ if bytes.is_empty() => bytes.push(1),
                            _ => {
                                let at = bytes.len() * at / 1000;
                                bytes[at] ^= 1;
                            }
                        });
                    });
                }
                _ => {
                    let selection = if varies(&target) { request } else { "" };
                    if let Some(found) = get(store, &target, request) {
                        let key = (target, selection.to_owned());
                        let all = given.get(&key).map(Vec::as_slice).unwrap_or_default();
                        assert!(all.contains(&found), "seed {seed}, step {step}: {key:?}");
                    }
                }
            }
        }
        for store in &stores {
            assert_idle(store);
        }
    }
}
