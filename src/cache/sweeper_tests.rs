use super::super::testing::*;
use super::*;
use crate::cache::store::Store;
use crate::sys::clock;
use crate::sys::sim::world::{self, Faults};

fn sweeper(cells: SharedCells) -> Sweeper {
    Sweeper::new(opened(), cells, 3)
}

/// Steps until nothing is urgent; says how many it took.
fn settle(sweeper: &mut Sweeper) -> usize {
    (1..100_000)
        .find(|_| sweeper.step(clock::now(), clock::wall()) != Next::Soon)
        .expect("it comes to an end")
}

fn fill(store: &mut Store, count: usize, len: usize) {
    for number in 0..count {
        let fresh = "Cache-Control: max-age=60";
        put(store, (&format!("/{number}"), ""), fresh, &body(len, number), true).expect("stored");
    }
}

#[test]
fn what_a_program_before_stored_is_counted_step_by_step() {
    world::reset(1, Faults::default());
    fill(&mut worker(known_cells(64 << 20), 0), 300, 5000);
    let cells = cells(64 << 20);
    let mut store = worker(cells, 0);
    assert!(put_plain(&mut store, "/new", "x").is_err(), "nobody knows yet what is there");
    assert!(get(&mut store, "/5", "").is_some(), "what is there is served at once");
    let mut sweeper = sweeper(cells);
    let steps = settle(&mut sweeper);
    assert!(steps >= FOLDERS / FOLDERS_IN_A_STEP, "{steps}");
    assert_eq!((cells.used(), cells.unscanned()), (300 * 8192, 0));
    assert!(put_plain(&mut store, "/new", "x").is_ok());
    // Round and round: nothing is counted twice.
    for _ in 0..2 * FOLDERS {
        sweeper.step(clock::now(), clock::wall());
    }
    assert_eq!(cells.used(), 300 * 8192 + 4096);
}

#[test]
fn an_empty_directory_is_known_at_once() {
    world::reset(1, Faults::default());
    let cells = cells(64 << 20);
    assert!(settle(&mut sweeper(cells)) <= FOLDERS / FOLDERS_IN_A_STEP);
    assert!(put_plain(&mut worker(cells, 0), "/a", "x").is_ok());
}

#[test]
fn a_smaller_limit_is_reached_by_and_by_and_the_oldest_go_first() {
    world::reset(1, Faults::default());
    let before = known_cells(64 << 20);
    let mut store = worker(before, 0);
    fill(&mut store, 100, 30_000);
    later(1000);
    for number in 100..150 {
        let fresh = "Cache-Control: max-age=60";
        put(&mut store, (&format!("/{number}"), ""), fresh, &body(30_000, 1), true)
            .expect("stored");
    }
    let cells = cells(2 << 20);
    let mut sweeper = sweeper(cells);
    settle(&mut sweeper);
    let limit = (2 << 20) - (2 << 20) / SPARE_SHARE;
    assert!(cells.used() <= limit && cells.used() > limit - 40_000, "{}", cells.used());
    assert!(world::disk(|disk| disk.used()) <= 2 << 20);
    let mut fresh = worker(cells, 1);
    let found = |store: &mut Store, number| get(store, &format!("/{number}"), "").is_some();
    let young = (100..150).filter(|number| found(&mut fresh, *number)).count();
    let old = (0..100).filter(|number| found(&mut fresh, *number)).count();
    assert!(young >= 45 && old <= 20, "{young} young and {old} old ones are left");
}

#[test]
fn a_url_is_purged_in_all_its_variants() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    let varies = "Cache-Control: max-age=60 | Vary: A";
    for value in ["A: 1", "A: 2", "A: 3"] {
        put(&mut store, ("/a", value), varies, b"x", true).expect("stored");
        assert!(get(&mut store, "/a", value).is_some());
    }
    put_plain(&mut store, "/ab", "kept").expect("stored");
    let sweeper = sweeper(cells);
    let mut purge = sweeper.begin_purge(PurgeOf::Url(b"http://A:80/a#x")).expect("a URL");
    assert!(!sweeper.step_purge(&mut purge));
    // From the first step on nobody finds any of it.
    assert_eq!(get(&mut store, "/a", "A: 1"), None);
    while !sweeper.step_purge(&mut purge) {}
    assert_eq!((purge.purged(), entry_files().len(), cells.used()), (3, 1, 4096));
    assert_eq!(get_text(&mut store, "/ab", "").as_deref(), Some("kept"));
}

/// What is stored beside a URL makes its purge no dearer, wherever it lies.
#[test]
fn the_purge_of_a_url_costs_the_same_however_much_is_stored() {
    let calls = |others: usize| {
        world::reset(1, Faults::default());
        let cells = known_cells(16 << 20);
        let mut store = worker(cells, 0);
        fill(&mut store, others, 10);
        let varies = "Cache-Control: max-age=60 | Vary: A";
        for value in ["A: 1", "A: 2", "A: 3"] {
            put(&mut store, ("/a", value), varies, b"x", true).expect("stored");
        }
        let sweeper = sweeper(cells);
        let before = world::calls().disk;
        let mut purge = sweeper.begin_purge(PurgeOf::Url(b"http://a/a")).expect("a URL");
        let steps = (1..100).find(|_| sweeper.step_purge(&mut purge)).expect("it ends");
        assert_eq!(purge.purged(), 3);
        (steps, world::calls().disk - before)
    };
    assert_eq!(calls(10), calls(2000));
    assert!(calls(10) < (4, 30), "{:?}", calls(10));
}

/// Whoever asks for one URL in very many ways has all of them lie in one folder.
#[test]
fn a_folder_with_very_many_entries_is_looked_through_in_many_steps() {
    world::reset(1, Faults::default());
    let mut store = worker(known_cells(64 << 20), 0);
    let varies = "Cache-Control: max-age=60 | Vary: A";
    for value in 0..2000 {
        put(&mut store, ("/a", &format!("A: {value}")), varies, b"x", true).expect("stored");
    }
    let cells = cells(64 << 20);
    let mut sweeper = sweeper(cells);
    let most = || {
        let before = world::calls().disk;
        move || world::calls().disk - before
    };
    loop {
        let so_many = most();
        let next = sweeper.step(clock::now(), clock::wall());
        assert!(so_many() < 2000, "{}", so_many());
        if next != Next::Soon {
            break;
        }
    }
    assert_eq!(cells.used(), 2001 * 4096);
    let mut purge = sweeper.begin_purge(PurgeOf::Url(b"http://a/a")).expect("a URL");
    loop {
        let so_many = most();
        let is_over = sweeper.step_purge(&mut purge);
        assert!(so_many() < 2000, "{}", so_many());
        if is_over {
            break;
        }
    }
    assert_eq!((purge.purged(), entry_files().len()), (2000, 0));
}

#[test]
fn a_prefix_is_purged_with_what_is_being_recorded() {
    world::reset(1, Faults::default());
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    for target in ["/img/1", "/img/2", "/imgs", "/other"] {
        put_plain(&mut store, target, "x").expect("stored");
        assert!(get(&mut store, target, "").is_some());
    }
    let fresh = "Cache-Control: max-age=60";
    let mut recorder = begin(&mut store, ("/img/3", ""), fresh, Some(1)).expect("begun");
    let sweeper = sweeper(cells);
    let mut purge = sweeper.begin_purge(PurgeOf::Prefix(b"http://a/img/")).expect("a URL");
    while !sweeper.step_purge(&mut purge) {}
    recorder.take(&mut store, b"x").expect("taken");
    assert!(recorder.finish(&mut store, now()).is_err());
    assert_eq!(purge.purged(), 2);
    let left: Vec<_> = ["/img/1", "/img/2", "/img/3", "/imgs", "/other"]
        .into_iter()
        .filter(|target| get(&mut store, target, "").is_some())
        .collect();
    assert_eq!(left, ["/imgs", "/other"]);
    for nonsense in ["", "/img", "ftp://a/", "http://"] {
        assert!(sweeper.begin_purge(PurgeOf::Prefix(nonsense.as_bytes())).is_none(), "{nonsense}");
    }
}

#[test]
fn what_was_left_unfinished_is_removed() {
    world::reset(1, Faults { disk_wants_names: true, ..Faults::default() });
    let cells = known_cells(1 << 20);
    let mut store = worker(cells, 0);
    let fresh = "Cache-Control: max-age=60";
    let mut recorder = begin(&mut store, ("/a", ""), fresh, Some(50_000)).expect("begun");
    recorder.take(&mut store, &body(50_000, 1)).expect("taken");
    assert_eq!(world::disk(|disk| disk.files().len()), 2);
    // The worker is killed.
    std::mem::forget(recorder);
    cells.reap(0);
    sweeper(cells).sweep_new();
    assert_eq!((world::disk(|disk| disk.files().len()), cells.used()), (1, 0));
}
