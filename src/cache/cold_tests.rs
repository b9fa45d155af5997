use super::super::store::Found;
use super::super::testing::*;
use super::*;
use crate::sys::sim::world::{self, Faults};

/// A store with `/a`, of which nothing is in memory.
fn cold(len: usize) -> Store {
    world::reset(1, Faults { disk_delay: Micros(5000), ..Faults::default() });
    let mut store = worker(known_cells(64 << 20), 0);
    let fresh = "Cache-Control: max-age=60";
    put(&mut store, ("/a", ""), fresh, &body(len, 7), true).expect("stored");
    world::disk(|disk| disk.chill());
    store
}

fn find_now(store: &mut Store) -> Found {
    with("/a", "", |query| store.find(query, now(), DiskRead::Ahead)).0
}

fn pass(millis: u64) {
    world::advance(crate::mem::time::Millis(millis));
}

/// The entry, once its front was read.
fn opened_entry(store: &mut Store) -> EntryId {
    assert_eq!(find_now(store), Found::Cold);
    pass(4);
    assert_eq!(find_now(store), Found::Cold);
    pass(2);
    let Found::Answer(id) = find_now(store) else { panic!("it was read") };
    id
}

#[test]
fn an_entry_is_found_once_it_was_read() {
    let mut store = cold(3000);
    let id = opened_entry(&mut store);
    assert_eq!(read(&mut store, id), Some(body(3000, 7)));
    assert_eq!(world::calls().disk_wait, 0);
}

#[test]
fn a_body_is_verified_as_it_is_read_and_the_disk_is_ahead() {
    let mut store = cold(800_000);
    let id = opened_entry(&mut store);
    let mut cold = 0;
    loop {
        match store.verify(id, 100_000, now(), DiskRead::Ahead) {
            Verdict::Right => break,
            Verdict::Pending => (),
            Verdict::Cold => {
                cold += 1;
                pass(2);
            }
            Verdict::Damaged => panic!("it is right"),
        }
    }
    assert!((3..15).contains(&cold), "{cold}");
    assert_eq!(world::calls().disk_wait, 0);
}

#[test]
fn what_is_hot_is_looked_at_once_a_second() {
    let mut store = cold(800_000);
    let id = opened_entry(&mut store);
    assert_eq!(store.verify(id, 1 << 20, now(), DiskRead::Waits), Verdict::Right);
    let before = world::calls().disk;
    for at in [0, 100_000, 799_999] {
        assert_eq!(store.at_once(id, at, 800_000 - at, now()), Some(800_000 - at));
    }
    assert_eq!(world::calls().disk, before);
    pass(1000);
    assert_eq!(store.at_once(id, 0, 800_000, now()), Some(800_000));
    assert_eq!(store.at_once(id, 500, 799_000, now()), Some(799_000));
    assert_eq!(world::calls().disk - before, 2);
}

#[test]
fn what_is_only_partly_there_is_sent_as_far_as_it_is() {
    let mut store = cold(800_000);
    let id = opened_entry(&mut store);
    assert_eq!(store.verify(id, 1 << 20, now(), DiskRead::Waits), Verdict::Right);
    world::disk(|disk| disk.chill());
    pass(1000);
    assert_eq!(store.read_in(id, 0, 800_000), WINDOW);
    assert_eq!(store.at_once(id, 0, 800_000, now()), Some(WINDOW));
    assert_eq!(store.at_once(id, WINDOW + 5000, 500_000, now()), None);
    pass(6);
    assert_eq!(store.at_once(id, WINDOW + 5000, 500_000, now()), Some(WINDOW));
    pass(6);
    let left = 500_000 - WINDOW;
    assert_eq!(store.at_once(id, 2 * WINDOW + 5000, left, now()), Some(left));
}

#[test]
fn damage_is_seen_where_it_was_not_in_memory() {
    for cut in [100, 17_000, 700_000] {
        let mut store = cold(800_000);
        let path = entry_files().remove(0);
        world::disk(|disk| disk.change(&path, |bytes| bytes.truncate(cut)));
        let found = (0..100).find_map(|_| {
            pass(2);
            let found = find_now(&mut store);
            (found != Found::Cold).then_some(found)
        });
        assert!(matches!(found, Some(Found::Nothing(_))), "{cut}: {found:?}");
    }
}
