use super::*;
use crate::cache::cells::Cells;
use crate::cache::testing::{get, known_cells, opened, put_plain, worker};
use crate::mem::time::Millis;
use crate::sys::clock;
use crate::sys::sim::world::{self, Faults};

fn larder(cells: Cells) -> Larder {
    Larder::new(Sweeper::new(opened(), cells, 3), worker(cells, 3), PathBuf::from("/cache"))
}

fn now() -> Now {
    Now { clock: clock::now(), wall: clock::wall() }
}

#[test]
fn purges_go_on_one_after_the_other_and_tell_their_counts() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    for target in ["/a/1", "/a/2", "/b"] {
        put_plain(&mut store, target, "x").expect("stored");
    }
    let mut larder = larder(cells);
    assert!(!larder.is_purging() && larder.bytes() == 3 * 4096);
    let Begun::Under(first) = larder.begin_purge(&Wanted::Prefix("http://a/a/".into())) else {
        panic!()
    };
    let Begun::Under(second) = larder.begin_purge(&Wanted::Url("http://a/b".into())) else {
        panic!()
    };
    // Not before its turn, nor after it is asked for.
    assert_eq!(larder.begin_purge(&Wanted::Url("/b".into())), Begun::NoUrl);
    let mut done = Vec::new();
    while larder.is_purging() {
        done.extend(larder.step_purges());
    }
    assert_eq!(done, [(first, 2), (second, 1)]);
    assert!(get(&mut store, "/b", "").is_none() && larder.bytes() == 0);
}

#[test]
fn no_more_purges_are_under_way_than_there_is_room_for() {
    world::reset(1, Faults::default());
    let mut larder = larder(known_cells(1 << 20));
    let begun = (0..MOST_PURGES + 1).map(|_| larder.begin_purge(&Wanted::Url("http://a/".into())));
    let begun: Vec<Begun> = begun.collect();
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::TooMany).count(), 1);
}

#[test]
fn a_disk_that_takes_nothing_is_noticed_and_that_it_does_again() {
    world::reset(1, Faults::default());
    let mut larder = larder(known_cells(1 << 20));
    larder.work(now(), 0);
    assert_eq!(larder.trial.1, Ok(()));
    world::change_faults(|faults| faults.disk_is_read_only = true);
    larder.work(now(), 0);
    assert_eq!(larder.trial.1, Ok(()), "not at each turn");
    world::advance(Millis::from_secs(11));
    larder.work(now(), 0);
    assert!(larder.trial.1.is_err());
    world::change_faults(|faults| faults.disk_is_read_only = false);
    world::advance(Millis::from_secs(11));
    larder.work(now(), 0);
    assert_eq!(larder.trial.1, Ok(()));
    assert!(larder.next_deadline() > clock::now());
}
