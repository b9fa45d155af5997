use super::*;
use crate::sys::sim::world::{self, Faults};

/// Locks are real: each test has directories of its own.
fn own(dir: &str) -> String {
    let (process, test) = (std::process::id(), std::thread::current().id());
    format!("httplb-stored-{process}-{test:?}-{dir}")
}

fn cache(dir: &str) -> Cache {
    let dir = std::env::temp_dir().join(dir);
    Cache { dir, max_size: 1 << 20, max_object: 1 << 20, default_ttl: Millis(0) }
}

#[test]
fn a_generation_goes_on_with_the_cells_under_numbers_of_its_own() {
    world::reset(1, Faults::default());
    let first = SharedCache::new(&cache(&own("a")), 2, &[]).expect("memory");
    first.cells.add(5000);
    let mut all = vec![first];
    let next = |all: &[SharedCache]| {
        let before: Vec<&SharedCache> = all.iter().collect();
        SharedCache::new(&cache(&own("a")), 2, &before).expect("memory")
    };
    for group in 1..groups(2) {
        let next = next(&all);
        assert_eq!((next.group, next.cells.used()), (group, 5000));
        all.push(next);
    }
    // There are no more numbers; when the first has ended there are.
    let alone = next(&all);
    assert_eq!((alone.group, alone.cells.used()), (0, 0));
    all.remove(1);
    let next = next(&all);
    assert_eq!((next.group, next.cells.used()), (1, 5000));
}

#[test]
fn other_directories_sizes_and_workers_have_other_cells() {
    world::reset(1, Faults::default());
    let first = SharedCache::new(&cache(&own("a")), 2, &[]).expect("memory");
    first.cells.add(5000);
    let larger = Cache { max_size: 1 << 30, ..cache(&own("a")) };
    for (config, workers, used) in [
        (cache(&own("a")), 2, 5000),
        (cache(&own("b")), 2, 0),
        (cache(&own("a")), 3, 0),
        (larger, 2, 0),
    ] {
        let next = SharedCache::new(&config, workers, &[&first]).expect("memory");
        assert_eq!(next.cells.used(), used, "{config:?} {workers}");
    }
}

#[test]
fn who_waits_for_another_generation_is_rung() {
    world::reset(1, Faults::default());
    let first = SharedCache::new(&cache(&own("a")), 2, &[]).expect("memory");
    let next = SharedCache::new(&cache(&own("a")), 2, &[&first]).expect("memory");
    let wakers = first.wakers().expect("descriptors");
    assert_eq!((wakers.wakers.len(), wakers.neighbours.len()), (2, 27));
    let now = Micros(0);
    use crate::cache::collapse::Collapse;
    use crate::cache::keys::EntryKey;
    assert!(matches!(first.cells.fetches.begin(1, EntryKey(7), now), Collapse::Lead(_)));
    assert!(matches!(next.cells.fetches.begin(0, EntryKey(7), now), Collapse::Follow(_)));
    let mut poller = crate::sys::Poller::new().expect("a poller");
    let own = next.wakers().expect("descriptors");
    poller.watch_waker(&own.wakers[0], 5).expect("watched");
    first.reap(1, &wakers);
    poller.wait(Some(Millis(0))).expect("a look");
    assert_eq!(poller.events().iter().map(|event| event.token).collect::<Vec<_>>(), [5]);
}

#[test]
fn what_will_not_work_is_told_beforehand() {
    world::reset(1, Faults::default());
    let doubt = |dir: &str| {
        let config = Config { cache: Some(cache(dir)), ..Config::default() };
        let last = warnings(&config).pop();
        last.map_or_else(String::new, |one| format!("{:?} {}", one.subject, one.wrong))
    };
    assert_eq!(doubt("httplb-to-be-made"), "");
    assert!(
        doubt("httplb-missing/cache")
            .contains("to make it in; responses would not be stored (make that)")
    );
    let file = std::env::current_exe().expect("a file");
    assert!(doubt(file.to_str().expect("UTF-8")).contains("it is no directory"));
    world::change_faults(|faults| faults.disk_room = 1 << 19);
    let doubt = doubt("httplb-to-be-made");
    assert!(doubt.contains("cache.max_size\") 1MiB is more than the 512KiB"), "{doubt}");
}
