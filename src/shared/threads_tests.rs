//! The shared cells under threads, which stand for processes: what no simulated kernel shows.

use super::backends::LOAD;
use super::*;
use crate::config::{Backend, Balance, Config};
use crate::mem::time::Millis;
use crate::policy::balance::{Member, Members, Pick, PoolView, Tier, TriedBackends, pick};
use crate::policy::health::{Change, Fault, HealthEvent, Rules};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const POOL: PoolId = PoolId(0);

fn segment(backends: u8) -> Segment {
    let addresses: Vec<_> = (0..backends).map(|place| ([10, 0, 1, place], 80).into()).collect();
    let config = Config::for_backends(&addresses);
    let layout = Layout { pools: 1, backends: backends.into(), workers: WORKERS, names: 0 };
    let cells: Vec<AtomicU64> = (0..layout.cells()).map(|_| AtomicU64::new(0)).collect();
    let mut segment = Segment::create(cells.leak(), layout);
    segment.load_config(&config);
    assert_eq!(config.pools[0].backends[0], Backend::at(addresses[0]));
    segment
}

/// Runs each worker's part on a thread of its own.
fn run(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let work = &work;
            scope.spawn(move || work(worker));
        }
    });
}

struct SharedPoolView(Segment);

impl PoolView for SharedPoolView {
    fn rotation(&self, tier: Tier) -> u64 {
        self.0.pool(POOL).rotation(tier)
    }

    fn load(&self, id: u32) -> u32 {
        self.0.backend(BackendId::of_id(id)).load()
    }
}

#[test]
fn any_number_of_threads_take_exact_turns() {
    let segment = segment(3);
    let counts = [(); 3].map(|()| AtomicUsize::new(0));
    run(|_| {
        let mut members = Members::default();
        members.refresh(&[0, 1, 2].map(|id| Member::new(id, 1, false, 0)));
        for _ in 0..30_000 {
            loop {
                let tried = TriedBackends::default();
                let view = SharedPoolView(segment);
                let Pick::Backend(turn) = pick(Balance::RoundRobin, &members, &tried, &view) else {
                    panic!("all are up");
                };
                if segment.pool(POOL).try_turn(turn.tier, turn.rotation, turn.next) {
                    counts[turn.place].fetch_add(1, SeqCst);
                    break;
                }
            }
        }
    });
    assert_eq!(counts.map(|count| count.load(SeqCst)), [WORKERS * 10_000; 3]);
}

/// Each worker claims a place and gives it back, waits when there is none, and is rung as the proxy
/// rings. A ring that is lost leaves somebody asleep.
#[test]
fn nobody_is_above_the_cap_and_no_ring_is_lost() {
    const CAP: u32 = 2;
    const EACH: usize = 20_000;
    let segment = segment(1);
    let (slot, awaited) = (BackendId(0), WaitFor::Pool(POOL));
    let wakers: Vec<AtomicUsize> = (0..WORKERS).map(|_| AtomicUsize::new(0)).collect();
    let inside = AtomicUsize::new(0);
    let ring_next = |worker| {
        if let Some(next) = segment.next_waiting(worker, awaited).filter(|next| *next != worker) {
            wakers[next].store(1, SeqCst);
        }
    };
    let sleep = |worker: usize| {
        let begun = Instant::now();
        while wakers[worker].swap(0, SeqCst) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "worker {worker} was forgotten");
            thread::yield_now();
        }
    };
    run(|worker| {
        for _ in 0..EACH {
            if !segment.claim(worker, slot, CAP) {
                segment.wait(worker, awaited);
                while !segment.claim(worker, slot, CAP) {
                    sleep(worker);
                }
                segment.unwait(worker, awaited);
                ring_next(worker);
            }
            assert!(inside.fetch_add(1, SeqCst) < CAP as usize, "above the cap");
            inside.fetch_sub(1, SeqCst);
            segment.release(worker, slot);
            ring_next(worker);
        }
    });
    assert_eq!(segment.backend(slot).load(), 0);
    assert_eq!(segment.next_waiting(0, awaited), None);
}

/// One dies in the middle of a claim or of a release, again and again, while others go on.
#[test]
fn what_the_dead_leave_is_set_right_while_others_go_on() {
    let segment = segment(1);
    let slot = BackendId(0);
    run(|worker| {
        for round in 0..5_000 {
            if worker > 0 {
                assert!(segment.claim(worker, slot, 0));
                segment.release(worker, slot);
                continue;
            }
            assert!(segment.claim(0, slot, 0) && segment.claim(0, slot, 0));
            segment.worker(0).set_intent(2);
            match round % 3 {
                0 => _ = segment.backend(slot).live[LOAD].fetch_add(1, SeqCst), // a claim
                1 => segment.worker(0).backend(slot).set_held(1),               // a release
                _ => (),                                                        // before either
            }
            segment.reap(0);
        }
    });
    assert_eq!(segment.backend(slot).load(), 0);
    assert_eq!(
        (0..WORKERS).map(|worker| segment.worker(worker).backend(slot).held()).sum::<u64>(),
        0
    );
}

#[test]
fn a_change_is_told_to_one_alone_and_one_backend_always_stays_up() {
    let segment = segment(2);
    let rules = Rules { max_fails: 1, fail_timeout: Millis(1) };
    let (downs, ups) = (AtomicUsize::new(0), AtomicUsize::new(0));
    run(|worker| {
        for round in 0..20_000 {
            let slot = BackendId((worker + round) % 2);
            let event =
                [HealthEvent::Failed(Fault::Refused), HealthEvent::ProbeSucceeded][round / 2 % 2];
            match segment.observe(slot, event, Millis(round as u64), &rules) {
                None => (),
                Some(Change::Down) => _ = downs.fetch_add(1, SeqCst),
                Some(Change::Up) => _ = ups.fetch_add(1, SeqCst),
            }
        }
    });
    let (up, _) = segment.count_up(POOL);
    assert!(up > 0);
    let (downs, ups) = (downs.load(SeqCst), ups.load(SeqCst));
    assert_eq!(downs - ups, 2 - up, "{downs} times down and {ups} times up");
    assert!(downs > 0);
}
