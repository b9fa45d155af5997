use super::*;
use crate::mem::xorshift::Xorshift;

const SHORT: usize = 0;
const LONG: usize = 1;

fn timers() -> Timers {
    Timers::new(&[Millis(10), Millis(100)], 8)
}

#[test]
fn nodes_are_small_and_made_as_owners_are_used() {
    assert!(size_of::<TimerNode>() <= 24);
    let mut timers = timers();
    assert_eq!((timers.nodes.len(), timers.nodes.capacity()), (0, 8));
    timers.start(2, SHORT, Millis(0));
    timers.start(7, LONG, Millis(0));
    assert_eq!((timers.nodes.len(), timers.nodes.capacity()), (8, 8));
}

#[test]
fn timers_expire_in_the_order_of_their_deadlines() {
    let mut timers = timers();
    timers.start(0, LONG, Millis(0));
    timers.start(1, LONG, Millis(5));
    timers.start(2, SHORT, Millis(92));
    assert_eq!(timers.next_deadline(), Some(Millis(100)));
    assert_eq!(timers.expire(Millis(99)), None);
    assert_eq!(timers.expire(Millis(200)), Some((0, LONG)));
    assert_eq!(timers.expire(Millis(200)), Some((2, SHORT)));
    assert_eq!(timers.expire(Millis(200)), Some((1, LONG)));
    assert_eq!((timers.expire(Millis(200)), timers.next_deadline()), (None, None));
}

#[test]
fn a_timer_expires_at_its_deadline_and_not_before() {
    let mut timers = timers();
    timers.start(3, SHORT, Millis(7));
    assert_eq!(timers.expire(Millis(16)), None);
    assert_eq!(timers.running(3), Some(SHORT));
    assert_eq!(timers.expire(Millis(17)), Some((3, SHORT)));
    assert_eq!(timers.running(3), None);
}

#[test]
fn starting_a_running_timer_moves_it() {
    let mut timers = timers();
    timers.start(0, SHORT, Millis(0));
    timers.start(0, SHORT, Millis(1));
    assert_eq!(timers.next_deadline(), Some(Millis(11)));
    timers.start(1, SHORT, Millis(2));
    timers.start(0, SHORT, Millis(3));
    assert_eq!(timers.next_deadline(), Some(Millis(12)));
    timers.start(1, LONG, Millis(4));
    assert_eq!((timers.running(1), timers.next_deadline()), (Some(LONG), Some(Millis(13))));
}

#[test]
fn a_stopped_timer_does_not_expire() {
    let mut timers = timers();
    timers.start(0, SHORT, Millis(0));
    timers.stop(0);
    timers.stop(0);
    timers.stop(5);
    assert_eq!((timers.running(0), timers.running(5)), (None, None));
    assert_eq!((timers.next_deadline(), timers.expire(Millis(1000))), (None, None));
}

#[test]
fn without_durations_nothing_ever_expires() {
    let mut timers = Timers::new(&[], 0);
    assert_eq!((timers.next_deadline(), timers.expire(Millis(u64::MAX))), (None, None));
}

#[test]
#[should_panic(expected = "no timer for owner 8")]
fn an_owner_too_high_panics() {
    timers().start(8, SHORT, Millis(0));
}

#[test]
#[should_panic(expected = "the clock went back")]
fn a_clock_that_goes_back_panics() {
    let mut timers = timers();
    timers.start(0, SHORT, Millis(5));
    timers.start(1, SHORT, Millis(4));
}

/// Owner, queue and deadline of what runs, in the order of starting.
type Model = Vec<(u32, usize, Millis)>;

fn first(model: &Model) -> Option<(u32, usize, Millis)> {
    model.iter().copied().min_by_key(|(_, queue, deadline)| (*deadline, *queue))
}

fn check(timers: &Timers, model: &Model, owners: u32) {
    let deadline = first(model).map(|(.., deadline)| deadline);
    assert_eq!(timers.next_deadline(), deadline);
    assert!(
        deadline.is_none_or(|deadline| timers.soonest().is_some_and(|soonest| soonest <= deadline))
    );
    for owner in 0..owners {
        let queue = model.iter().find(|running| running.0 == owner).map(|running| running.1);
        assert_eq!(timers.running(owner), queue);
    }
}

#[test]
fn timers_do_as_a_list_that_is_searched() {
    let durations = [Millis(5), Millis(50), Millis(0), Millis(50), Millis(17)];
    for owners in [1, 2, 5, 30] {
        for seed in 1..=5 {
            println!("{owners} owners, seed {seed}");
            let mut random = Xorshift::new(seed);
            let mut timers = Timers::new(&durations, owners as usize);
            let mut model = Model::new();
            let mut now = Millis(0);
            for _ in 0..5_000 {
                let owner = random.below(owners as usize) as u32;
                match random.below(5) {
                    0 | 1 => {
                        let queue = random.below(durations.len());
                        timers.start(owner, queue, now);
                        model.retain(|running| running.0 != owner);
                        model.push((owner, queue, now + durations[queue]));
                    }
                    2 => {
                        timers.stop(owner);
                        model.retain(|running| running.0 != owner);
                    }
                    3 => now = now + Millis(random.below(8) as u64),
                    _ => {
                        let expected = first(&model).filter(|(.., deadline)| *deadline <= now);
                        let expired = timers.expire(now);
                        assert_eq!(expired, expected.map(|(owner, queue, _)| (owner, queue)));
                        model.retain(|running| Some(*running) != expected);
                    }
                }
                check(&timers, &model, owners);
            }
        }
    }
}
