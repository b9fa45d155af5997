use super::*;
use crate::config::{Backend, Config, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{
    AdminState, Availability, Change, CheckRules, Fault, HealthEvent, Rules,
};
use crate::policy::reason::Reason;
use crate::sys::memory;

use super::layout::{SPARE_BACKENDS, SPARE_POOLS};
use super::segment::LAYOUT_VERSION;
use std::sync::atomic::Ordering::SeqCst;

const RULES: Rules = Rules { max_fails: 2, fail_timeout: Millis(10_000) };

fn address(place: u8) -> Endpoint {
    ([10, 0, 1, place], 80).into()
}

/// Two pools, of three backends and of one.
fn config() -> Config {
    let mut config = Config::for_backends(&[0, 1, 2].map(|place| ([10, 0, 1, place], 80).into()));
    config.pools[0].backends[1] =
        Backend { weight: 3, max_connections: 2, backup: true, ..Backend::at(address(1)) };
    let mut other = crate::config::Pool::named("the-other");
    other.backends = vec![Backend::at("[fd00::7]:8080".parse::<Endpoint>().unwrap())];
    config.pools.push(other);
    config
}

fn segment(workers: usize) -> Segment {
    let layout = Layout::new(&config(), workers);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(&config());
    segment
}

/// Marks a backend by as many failures as that takes.
fn mark(segment: &Segment, slot: BackendId) -> Option<Change> {
    let fail = || segment.observe(slot, HealthEvent::Failed(Fault::Refused), Millis(1000), &RULES);
    fail().or_else(fail)
}

#[test]
fn what_the_file_says_is_read_back() {
    let segment = segment(2);
    let reopened = Segment::open(segment.cells).expect("the same version");
    for segment in [segment, reopened] {
        let names: Vec<String> =
            segment.pools().map(|pool| segment.pool(pool).name().to_string()).collect();
        assert_eq!(names, ["default", "the-other"]);
        assert_eq!(segment.find_pool("the-other"), Some(PoolId(1)));
        assert_eq!(segment.members(PoolId(0)).collect::<Vec<_>>(), [0, 1, 2].map(BackendId));
        assert_eq!(segment.members(PoolId(1)).collect::<Vec<_>>(), [BackendId(3)]);
        let backend = segment.backend(BackendId(1));
        assert_eq!((backend.address(), backend.pool()), (address(1), PoolId(0)));
        assert_eq!((backend.weight(), backend.cap(), backend.is_backup()), (3, 2, true));
        assert_eq!(backend.source(), Some(Source::File));
        assert_eq!(segment.backend(BackendId(3)).address().to_string(), "[fd00::7]:8080");
        assert!(
            [0, 1, 2, 3].iter().all(|slot| segment.may_pick(BackendId(*slot)) == Availability::Up)
        );
    }
}

#[test]
fn cells_of_another_version_are_not_opened() {
    let segment = segment(1);
    segment.cells[1].store(LAYOUT_VERSION + 1, SeqCst);
    assert!(Segment::open(segment.cells).is_none());
    assert!(Segment::open(&segment.cells[..3]).is_none());
    let zeros = memory::share(100).unwrap().cells();
    assert!(Segment::open(zeros).is_none());
}

#[test]
fn no_cell_is_used_twice() {
    let segment = segment(2);
    let layout = segment.layout();
    assert_eq!(layout.cells(), segment.cells.len());
    for cell in segment.cells {
        cell.store(0, SeqCst);
    }
    let mut written = 0;
    for worker in 0..2 {
        let row = segment.worker(worker);
        Counter::all().for_each(|counter| row.add(counter, 1));
        written += Counter::all().count();
        row.observe_duration(Micros(1));
        row.set_pid(1);
        row.set_clients(1);
        row.set_intent(1);
        written += 5;
        for pool in (0..layout.pools).map(PoolId) {
            PoolCounter::all().for_each(|counter| row.pool(pool).add(counter, 1));
            row.pool(pool).observe_duration(Micros(1));
            row.pool(pool).set(PoolGauge::Queue, 1);
            written += PoolCounter::all().count() + 3;
        }
        for slot in (0..layout.backends).map(BackendId) {
            let backend = row.backend(slot);
            BackendCounter::all().for_each(|counter| backend.add(counter, 1));
            BackendGauge::ALL.iter().for_each(|gauge| backend.set(*gauge, 1));
            backend.set_held(1);
            backend.observe_response(Micros(1));
            written += BackendCounter::all().count() + BackendGauge::ALL.len() + 3;
        }
    }
    let ones = segment.cells.iter().filter(|cell| cell.load(SeqCst) == 1).count();
    let zeros = segment.cells.iter().filter(|cell| cell.load(SeqCst) == 0).count();
    assert_eq!((ones, ones + zeros), (written, segment.cells.len()));
}

#[test]
fn a_place_below_the_cap_is_claimed_over_all_workers() {
    let segment = segment(2);
    let slot = BackendId(1);
    assert!(segment.claim(0, slot, 2) && segment.claim(1, slot, 2));
    assert!(!segment.claim(0, slot, 2) && !segment.claim(1, slot, 2));
    assert_eq!(segment.backend(slot).load(), 2);
    assert!(segment.claim(1, slot, 0), "0 is no cap");
    segment.release(1, slot);
    segment.release(0, slot);
    assert!(segment.claim(1, slot, 2));
    assert_eq!((segment.worker(0).backend(slot).held(), segment.backend(slot).load()), (0, 2));
}

#[test]
fn clients_are_limited_over_all_workers() {
    let segment = segment(3);
    assert!(segment.claim_client(0, 2) && segment.claim_client(2, 2));
    assert!(!segment.claim_client(1, 2));
    assert_eq!((segment.clients(), segment.worker(2).clients()), (2, 1));
    segment.release_client(2);
    assert!(segment.claim_client(1, 2));
}

#[test]
fn what_a_dead_worker_had_is_given_back_and_what_it_counted_stays() {
    let segment = segment(2);
    for worker in [0, 0, 1] {
        assert!(segment.claim(worker, BackendId(0), 0) && segment.claim_client(worker, 0));
    }
    segment.worker(0).add(Counter::Requests, 5);
    segment.worker(0).backend(BackendId(0)).set(BackendGauge::Idle, 3);
    segment.worker(0).pool(PoolId(0)).set(PoolGauge::Queue, 1);
    segment.wait(0, WaitFor::Pool(PoolId(0)));
    segment.wait(0, WaitFor::Client);
    segment.reap(0);
    assert_eq!((segment.backend(BackendId(0)).load(), segment.clients()), (1, 1));
    assert_eq!((segment.idle_connections(BackendId(0)), segment.worker(0).clients()), (0, 0));
    assert_eq!(segment.queue(PoolId(0)), 0);
    assert_eq!(segment.next_waiting(1, WaitFor::Pool(PoolId(0))), None);
    assert_eq!(segment.next_waiting(1, WaitFor::Client), None);
    assert_eq!(segment.total(Counter::Requests), 5);
    segment.reap(0);
    assert_eq!((segment.backend(BackendId(0)).load(), segment.clients()), (1, 1));
}

/// Wherever in a claim or a release a worker dies.
#[test]
fn a_worker_that_dies_between_the_two_cells_leaves_nothing_behind() {
    for (others, load, held) in [(1, 2, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (2, 3, 1), (2, 4, 1)] {
        let segment = segment(2);
        (0..others).for_each(|_| assert!(segment.claim(1, BackendId(0), 0)));
        segment.worker(0).set_intent(2);
        segment.worker(0).backend(BackendId(0)).set_held(held);
        segment.backend(BackendId(0)).live[backends::LOAD].store(load, SeqCst);
        segment.reap(0);
        assert_eq!(segment.backend(BackendId(0)).load(), others);
        assert_eq!(segment.worker(0).intent(), 0);
    }
}

#[test]
fn a_mark_is_told_to_the_one_who_made_it_and_seen_by_all() {
    let segment = segment(2);
    let epoch = segment.pool(PoolId(0)).epoch();
    assert_eq!(mark(&segment, BackendId(0)), Some(Change::Down));
    assert_eq!(mark(&segment, BackendId(0)), None);
    assert_eq!(segment.may_pick(BackendId(0)), Availability::Down);
    assert_eq!(segment.count_up(PoolId(0)), (2, 3));
    assert_ne!(segment.pool(PoolId(0)).epoch(), epoch);
    assert_eq!(segment.backend(BackendId(0)).state_since(), Some(Millis(1000)));
    let up = segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, Millis(3500), &RULES);
    assert_eq!(up, Some(Change::Up));
    assert_eq!(segment.backend(BackendId(0)).downtime(), Millis(2500));
    let again = segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, Millis(3501), &RULES);
    assert_eq!(again, None);
}

#[test]
fn the_last_backend_of_a_pool_is_never_marked() {
    let segment = segment(1);
    assert_eq!(mark(&segment, BackendId(0)), Some(Change::Down));
    assert_eq!(mark(&segment, BackendId(1)), Some(Change::Down));
    assert_eq!(mark(&segment, BackendId(2)), None);
    assert_eq!(mark(&segment, BackendId(3)), None, "the only one of its pool");
    segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, Millis(2000), &RULES);
    assert_eq!(mark(&segment, BackendId(2)), Some(Change::Down));
}

#[test]
fn answers_of_a_backend_that_fares_well_write_nothing() {
    let segment = segment(1);
    let before: Vec<u64> = segment.cells.iter().map(|cell| cell.load(SeqCst)).collect();
    assert_eq!(segment.observe(BackendId(0), HealthEvent::Answered, Millis(5), &RULES), None);
    assert!(segment.cells.iter().map(|cell| cell.load(SeqCst)).eq(before));
}

#[test]
fn checks_take_out_and_bring_back_beside_marks() {
    let segment = segment(1);
    let rules = CheckRules { rise: 1, fall: 2 };
    let check = |passed, at| {
        let (status, took) = (if passed { 200 } else { 503 }, Micros(1200));
        segment.note_check(BackendId(0), LastCheck { passed, status, took, at: Millis(at) }, &rules)
    };
    assert_eq!((check(false, 1), check(false, 2)), (None, Some(Change::Down)));
    let last = segment.backend(BackendId(0)).last_check().expect("a check was made");
    assert_eq!((last.passed, last.status, last.took), (false, 503, Micros(1200)));
    assert_eq!(segment.backend(BackendId(0)).check_failures(), 2);
    assert_eq!(mark(&segment, BackendId(0)), None, "it is down already");
    assert_eq!(check(true, 3), None, "the mark remains");
    assert_eq!(segment.may_pick(BackendId(0)), Availability::Down);
    let up = segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, Millis(4), &RULES);
    assert_eq!((up, segment.may_pick(BackendId(0))), (Some(Change::Up), Availability::Up));
}

#[test]
fn a_slot_is_free_again_when_nobody_has_anything_there() {
    let segment = segment(2);
    let (pool, now) = (PoolId(1), Millis(7));
    let entry =
        |place| Registration { lease: Some(Millis(99)), ..Registration::at(address(place)) };
    let slot = segment.register(pool, entry(50)).expect("a spare slot");
    let first = segment.backend(slot).standing();
    assert_eq!(segment.members(pool).collect::<Vec<_>>(), [BackendId(3), slot]);
    assert_eq!(segment.find(pool, address(50)), Some(slot));
    assert_eq!(segment.backend(slot).lease(), Some(Millis(99)));
    assert!(!segment.forget_if_unused(slot), "it is not leaving");
    assert!(segment.claim(1, slot, 0));
    segment.set_admin(slot, AdminState::Leaving, now);
    assert_eq!(segment.find(pool, address(50)), None);
    assert!(!segment.forget_if_unused(slot), "a request");
    segment.worker(1).backend(slot).set(BackendGauge::Idle, 1);
    segment.release(1, slot);
    assert!(!segment.forget_if_unused(slot), "an idle connection");
    segment.worker(1).backend(slot).set(BackendGauge::Idle, 0);
    assert!(segment.forget_if_unused(slot));
    assert_eq!(segment.members(pool).collect::<Vec<_>>(), [BackendId(3)]);
    assert_eq!(segment.register(pool, entry(51)), Some(slot));
    assert_ne!(segment.backend(slot).standing().generation(), first.generation());
}

#[test]
fn a_slot_has_room_for_any_endpoint_and_nothing_is_left_of_the_one_before() {
    let segment = segment(1);
    let longest = format!("unix:/{}", "x".repeat(106));
    for text in ["10.0.0.7:80", &longest, "unix:@app", "[fd00::7]:65535", "unix:/a", "10.0.0.8:1"] {
        let address: Endpoint = text.parse().unwrap();
        let entry = Registration::at(address);
        let slot = segment.register(PoolId(1), entry).expect("a spare slot");
        assert_eq!(slot, BackendId(4));
        assert_eq!(segment.backend(slot).address().to_string(), text);
        assert!(!segment.backend(slot).is_backup());
        assert_eq!(segment.find(PoolId(1), address), Some(slot));
        segment.set_admin(slot, AdminState::Leaving, Millis(1));
        assert!(segment.forget_if_unused(slot));
    }
}

#[test]
fn tables_that_are_full_say_so() {
    let segment = segment(1);
    let entry = |port| {
        let address = ([10, 0, 1, 9], port).into();
        Registration::at(address)
    };
    let add = |number| {
        let pool = segment.add_pool(&format!("p{number}"))?;
        segment.register(pool, entry(number))
    };
    assert_eq!((1..1000).map_while(add).count(), SPARE_POOLS);
    assert_eq!(segment.find_pool("p8"), Some(PoolId(9)));
    let added = (1..1000).map_while(|port| segment.register(PoolId(0), entry(port))).count();
    assert_eq!(added, SPARE_BACKENDS - SPARE_POOLS);
}

#[test]
fn a_slot_is_counted_anew_for_another_backend() {
    let segment = segment(1);
    let entry = Registration::at(address(9));
    let slot = segment.register(PoolId(0), entry).unwrap();
    segment.worker(0).backend(slot).add(BackendCounter::Requests, 7);
    segment.set_admin(slot, AdminState::Leaving, Millis(1));
    assert!(segment.forget_if_unused(slot));
    assert_eq!(segment.register(PoolId(0), entry), Some(slot));
    assert_eq!(segment.backend_total(slot, BackendCounter::Requests), 0);
}

#[test]
fn what_was_counted_is_handed_on_once_however_often_it_is_asked_for() {
    let (old, new, newest) = (segment(2), segment(3), segment(1));
    let count = |segment: &Segment, worker: usize| {
        segment.worker(worker).add(Counter::Requests, 1);
        segment.worker(worker).observe_duration(Micros(5));
        segment.worker(worker).pool(PoolId(1)).add(PoolCounter::Retries, 1);
        segment.worker(worker).backend(BackendId(3)).observe_response(Micros(5));
        segment.worker(worker).backend(BackendId(3)).add(BackendCounter::Connects, 1);
    };
    let totals = |segment: &Segment| {
        let counts = [
            segment.total(Counter::Requests),
            segment.request_duration().count(),
            segment.pool_total(PoolId(1), PoolCounter::Retries),
            segment.response_time(BackendId(3)).count(),
            segment.backend_total(BackendId(3), BackendCounter::Connects),
        ];
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        counts[0]
    };
    count(&old, 0);
    count(&old, 1);
    new.absorb(&old);
    new.absorb(&old);
    assert_eq!(totals(&new), 2);
    count(&old, 1);
    count(&new, 2);
    assert_eq!(totals(&new), 3);
    newest.absorb(&new);
    new.absorb(&old);
    newest.absorb(&new);
    assert_eq!((totals(&new), totals(&newest)), (4, 4));
}

#[test]
fn who_waits_is_named_in_turn() {
    let segment = segment(130);
    let awaited = WaitFor::Pool(PoolId(1));
    for worker in [3, 64, 129] {
        segment.wait(worker, awaited);
    }
    assert_eq!(segment.next_waiting(3, WaitFor::Client), None);
    let mut row = Vec::new();
    let mut worker = 5;
    for _ in 0..4 {
        worker = segment.next_waiting(worker, awaited).expect("three wait");
        row.push(worker);
    }
    assert_eq!(row, [64, 129, 3, 64]);
    segment.unwait(64, awaited);
    segment.unwait(129, awaited);
    assert_eq!(segment.next_waiting(3, awaited), Some(3), "itself, when nobody else does");
    assert!(segment.waits(3, awaited) && !segment.waits(64, awaited));
}

#[test]
fn totals_are_sums_over_the_workers() {
    let segment = segment(3);
    for worker in 0..3 {
        segment.worker(worker).add(Counter::Errors(Reason::ClientAbort), 2);
        segment
            .worker(worker)
            .backend(BackendId(0))
            .add(BackendCounter::Responses(Class::from_status(204)), 3);
        segment.worker(worker).pool(PoolId(0)).add(PoolCounter::Retries, 1);
    }
    assert_eq!(segment.total(Counter::Errors(Reason::ClientAbort)), 6);
    assert_eq!(segment.backend_total(BackendId(0), BackendCounter::Responses(Class::Success)), 9);
    assert_eq!(segment.pool_total(PoolId(0), PoolCounter::Retries), 3);
}

#[test]
fn what_operators_set_of_one_that_is_down_shortens_no_downtime() {
    let segment = segment(1);
    let (slot, backend) = (BackendId(0), segment.backend(BackendId(0)));
    let fail = || segment.observe(slot, HealthEvent::Failed(Fault::Refused), Millis(1000), &RULES);
    assert_eq!(fail().or_else(fail), Some(Change::Down));
    assert_eq!((backend.state_since(), backend.downtime()), (Some(Millis(1000)), Millis(0)));
    segment.set_admin(slot, AdminState::Drain, Millis(3000));
    assert_eq!(backend.availability(), Availability::Down);
    assert_eq!((backend.state_since(), backend.downtime()), (Some(Millis(1000)), Millis(0)));
    segment.set_admin(slot, AdminState::Maint, Millis(4000));
    assert_eq!((backend.state_since(), backend.downtime()), (Some(Millis(4000)), Millis(3000)));
    segment.set_admin(slot, AdminState::Ready, Millis(6000));
    assert_eq!((backend.state_since(), backend.downtime()), (Some(Millis(6000)), Millis(3000)));
    let probe = |now| segment.observe(slot, HealthEvent::ProbeSucceeded, now, &RULES);
    assert_eq!(probe(Millis(7000)), Some(Change::Up));
    assert_eq!((backend.state_since(), backend.downtime()), (Some(Millis(7000)), Millis(4000)));
}
