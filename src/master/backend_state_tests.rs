use super::*;
use crate::config::model::HealthCheck;
use crate::policy::health::{Availability, Fault, HealthEvent, Rules};
use crate::shared::Layout;
use crate::sys::memory;

const NOW: Millis = Millis(5000);
const DOWN: Check = Check::Down { passed: 0 };

fn config() -> Config {
    let mut config = Config::for_backends(&["10.0.1.1:80".parse().unwrap()]);
    config.pools[0].health_check = Some(HealthCheck::default());
    config
}

fn cells_of(config: &Config) -> Segment {
    let layout = Layout::new(config, 1);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(config);
    segment
}

fn register(segment: Segment, host: u8, weight: u32) -> BackendId {
    let pool = segment.find_pool("api").or_else(|| segment.add_pool("api")).unwrap();
    let address = ([10, 0, 2, host], 80).into();
    let lease = Some(Millis(9000));
    let entry = Registration { weight, lease, ..Registration::at(address) };
    segment.register(pool, entry).unwrap()
}

fn api(segment: Segment) -> Vec<(String, u32, AdminState)> {
    let pool = segment.find_pool("api").unwrap();
    let shown = |slot| {
        let backend = segment.backend(slot);
        (backend.address().to_string(), backend.weight(), backend.admin())
    };
    segment.members(pool).map(shown).collect()
}

#[test]
fn what_checks_have_told_is_kept_where_they_go_on() {
    let (config, older) = (config(), cells_of(&config()));
    older.set_health(BackendId(0), DOWN, Passive::new());
    let segment = cells_of(&config);
    restore(segment, &config, &collect(older, &config), NOW);
    assert_eq!(
        (segment.backend(BackendId(0)).check(), segment.backend(BackendId(0)).is_up()),
        (DOWN, false)
    );
}

#[test]
fn who_failed_checks_that_nobody_makes_any_more_is_probed() {
    let mut config = config();
    let older = cells_of(&config);
    older.set_health(BackendId(0), DOWN, Passive::new());
    config.pools[0].health_check = None;
    let segment = cells_of(&config);
    restore(segment, &config, &collect(older, &config), NOW);
    let backend = segment.backend(BackendId(0));
    assert_eq!((backend.check(), backend.availability()), (Check::new(), Availability::Down));
    let rules = Rules { max_fails: 3, fail_timeout: Millis(10_000) };
    segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, NOW, &rules);
    assert!(backend.is_up());
}

/// As it is written, and read by another image of the program.
fn through(records: &[BackendRecord]) -> Vec<BackendRecord> {
    serde_json::from_str(&serde_json::to_string(records).unwrap()).unwrap()
}

#[test]
fn a_mark_is_doubled_and_a_trial_goes_on_whoever_comes_next() {
    let rules = Rules { max_fails: 1, fail_timeout: Millis(1000) };
    let reset = HealthEvent::Failed(Fault::Reset);
    let mut config = config();
    config.pools[0].backends.push(Backend::at(([10, 0, 1, 2], 80)));
    let (older, slot) = (cells_of(&config), BackendId(0));
    for (now, event) in [(0, reset), (1000, HealthEvent::ProbeSucceeded), (1001, reset)] {
        older.observe(slot, event, Millis(now), &rules);
    }
    let segment = cells_of(&config);
    restore(segment, &config, &through(&collect(older, &config)), NOW);
    let passive = |slot| segment.backend(slot).passive();
    assert_eq!(passive(slot).least_time(&rules), Some(Millis(2000)));
    segment.observe(slot, HealthEvent::ProbeSucceeded, Millis(3001), &rules);
    assert!(passive(slot).is_on_trial());
    segment.observe(slot, HealthEvent::Answered, Millis(3002), &rules);
    let (proven, third) = (segment.backend(slot).proven(), cells_of(&config));
    restore(third, &config, &through(&collect(segment, &config)), NOW);
    assert_eq!((third.backend(slot).proven(), proven), (proven, Some(Millis(3002))));
}

#[test]
fn what_operators_set_of_a_backend_of_the_file_holds_until_that_says_otherwise() {
    let (config, older) = (config(), cells_of(&config()));
    let wish = Wish { state: None, weight: Some(9), max_connections: Some(AUTO_CAP) };
    older.set_wish(BackendId(0), wish);
    let known = through(&collect(older, &config));
    let after = |config: &Config, known: &[BackendRecord]| {
        let segment = cells_of(config);
        restore(segment, config, known, NOW);
        let backend = segment.backend(BackendId(0));
        (segment.wish(BackendId(0)), backend.weight(), backend.max_connections())
    };
    assert_eq!(after(&config, &known), (wish, 9, AUTO_CAP));
    let mut changed = config.clone();
    changed.pools[0].backends[0].max_connections = 5;
    let without = Wish { max_connections: None, ..wish };
    assert_eq!(after(&changed, &known), (without, 9, 5));
    changed.pools[0].backends[0].weight = 2;
    assert_eq!(after(&changed, &known), (Wish::default(), 2, 5));
    // A version before this did not say what the file said.
    let older = known.into_iter().map(|record| BackendRecord { of_file: None, ..record });
    let older: Vec<BackendRecord> = older.collect();
    assert_eq!(after(&config, &older), (Wish::default(), 1, 0));
}

#[test]
fn what_has_changed_since_it_was_told_is_told_once_more() {
    let (config, older) = (config(), cells_of(&config()));
    let (_stays, leaves, drained) =
        (register(older, 1, 1), register(older, 2, 2), register(older, 3, 3));
    let segment = cells_of(&config);
    restore(segment, &config, &collect(older, &config), NOW);
    assert_eq!(api(segment).len(), 3);

    older.set_admin(leaves, AdminState::Leaving, NOW);
    older.set_admin(drained, AdminState::Drain, NOW);
    older.set_admin(BackendId(0), AdminState::Maint, NOW);
    older.set_weight(drained, 7);
    older.set_lease(drained, None);
    register(older, 4, 4);
    catch_up(segment, &config, &collect(older, &config), NOW);
    let expected = [
        ("10.0.2.1:80", 1, AdminState::Ready),
        ("10.0.2.2:80", 2, AdminState::Leaving),
        ("10.0.2.3:80", 7, AdminState::Drain),
        ("10.0.2.4:80", 4, AdminState::Ready),
    ];
    assert_eq!(api(segment), expected.map(|(name, weight, admin)| (name.into(), weight, admin)));
    assert_eq!(segment.backend(BackendId(0)).admin(), AdminState::Maint);
    let pool = segment.find_pool("api").unwrap();
    let leases = segment.members(pool).map(|slot| segment.backend(slot).lease());
    assert_eq!(leases.collect::<Vec<_>>()[2..], [None, Some(Millis(9000))]);
}
