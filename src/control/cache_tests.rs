use super::*;
use crate::cache::shared_cells::SharedCells;
use crate::cache::testing::{get, known_cells, opened, put_plain, with, worker};
use crate::mem::time::Millis;
use crate::policy::explain;
use crate::sys::clock;
use crate::sys::sim::world::{self, Faults};

fn cache(cells: SharedCells) -> CacheAdmin {
    let sweeper = Sweeper::new(opened(), cells, 3);
    CacheAdmin::new(sweeper, worker(cells, 3), 64 << 10, PathBuf::from("/cache"))
}

fn now() -> Clocks {
    Clocks { clock: clock::now(), wall: clock::wall() }
}

#[test]
fn purges_go_on_one_after_the_other_and_tell_their_counts() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    for target in ["/a/1", "/a/2", "/b"] {
        put_plain(&mut store, target, "x").expect("stored");
    }
    let mut cache = cache(cells);
    assert!(cache.next_purge_step().is_none() && cache.bytes() == 3 * 4096);
    let Begun::Under(first) = cache.begin_purge(&PurgeTarget::Prefix("http://a/a/".into())) else {
        panic!()
    };
    let Begun::Under(second) = cache.begin_purge(&PurgeTarget::Url("http://a/b".into())) else {
        panic!()
    };
    // Not before its turn, nor after it is asked for.
    assert_eq!(cache.begin_purge(&PurgeTarget::Url("/b".into())), Begun::NoUrl);
    let mut done = Vec::new();
    while cache.next_purge_step().is_some() {
        done.extend(cache.step_purges());
    }
    assert_eq!(done, [(second, 1), (first, 2)], "a URL takes no time");
    assert!(get(&mut store, "/b", "").is_none() && cache.bytes() == 0);
}

#[test]
fn no_more_purges_are_under_way_than_there_is_room_for() {
    world::reset(1, Faults::default());
    let mut cache = cache(known_cells(1 << 20));
    let begun =
        (0..MOST_PURGES + 1).map(|_| cache.begin_purge(&PurgeTarget::Url("http://a/".into())));
    let begun: Vec<Begun> = begun.collect();
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::TooMany).count(), 1);
}

#[test]
fn a_disk_that_takes_nothing_is_noticed_and_that_it_does_again() {
    world::reset(1, Faults::default());
    let mut cache = cache(known_cells(1 << 20));
    cache.work(now(), 0);
    assert_eq!(cache.trial.1, Ok(()));
    world::change_faults(|faults| faults.disk_is_read_only = true);
    cache.work(now(), 0);
    assert_eq!(cache.trial.1, Ok(()), "not at each turn");
    world::advance(Millis::from_secs(11));
    cache.work(now(), 0);
    assert!(cache.trial.1.is_err());
    world::change_faults(|faults| faults.disk_is_read_only = false);
    world::advance(Millis::from_secs(11));
    cache.work(now(), 0);
    assert_eq!(cache.trial.1, Ok(()));
    assert!(cache.next_deadline() > clock::now());
}

#[test]
fn what_would_be_found_is_told() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    put_plain(&mut worker(cells, 0), "/a", "x").expect("stored");
    let mut cache = cache(cells);
    let mut explained = |target: &str, fields: &str| {
        with(target, fields, |query| {
            let decision = cache.decision(&query.url, &query.chosen, Method::Get);
            explain::words(&decision, query.chosen.request_fields)
        })
    };
    assert_eq!(explained("/b", ""), "fwd=uri-miss: nothing is stored");
    assert_eq!(explained("/a", ""), "hit; ttl=60: the response is stored");
    assert_eq!(explained("/a", "Range: bytes=0-0"), "hit; ttl=60: 206, a part of what is stored");
    let confirm = "fwd=request: what is stored is to be fetched again";
    assert_eq!(explained("/a", "Cache-Control: no-cache"), confirm);
    world::advance(Millis::from_secs(100));
    let anew =
        "fwd=stale: what is stored is to be fetched again; it answers if no backend can be reached";
    assert_eq!(explained("/a", ""), anew);
    let accepted =
        "hit; ttl=-40: the response is stored; stale, as the client or the response allows";
    assert_eq!(explained("/a", "Cache-Control: max-stale"), accepted);
    assert_eq!(cache.store.in_use().1, 1, "nothing stays pinned");
}
