use super::*;

const BEGIN: Micros = Micros(50_000_000);

fn pace() -> QueuePace {
    QueuePace::new(Micros::from_secs(1))
}

fn after(millis: u64) -> Micros {
    BEGIN + Micros(1000 * millis)
}

/// A queue from which one is served every `each` milliseconds, and to which one comes every `other`: how
/// many wait after so many milliseconds, and who was turned away, and when.
fn queue_after(millis: u64, each: u64, other: u64, pace: &mut QueuePace) -> (usize, Vec<u64>) {
    let (mut waiting, mut turned_away) = (0, Vec::new());
    for now in 0..millis {
        if now % other == 0 {
            match pace.admits(waiting, true, after(now)) {
                true => waiting += 1,
                false => turned_away.push(now),
            }
        }
        if now % each == 0 && waiting > 0 {
            waiting -= 1;
            pace.served(after(now));
            if waiting == 0 {
                pace.emptied();
            }
        }
    }
    (waiting, turned_away)
}

#[test]
fn a_burst_waits_for_its_turn() {
    let mut pace = pace();
    assert!((0..400).all(|ahead| pace.admits(ahead, true, after(1))));
    for served in 0..300 {
        pace.served(after(2 + served));
    }
    assert!(pace.admits(100, true, after(302)));
}

#[test]
fn a_queue_that_only_grows_is_kept_short_once_one_would_wait_for_long() {
    let mut pace = pace();
    let (waiting, turned_away) = queue_after(5_000, 4, 2, &mut pace);
    let first = turned_away[0];
    assert!((300..=1100).contains(&first), "{first}");
    // 83 ms, at 4 ms each.
    assert!((17..=24).contains(&waiting), "{waiting}");
}

#[test]
fn one_who_was_turned_away_by_chance_makes_nobody_else_pay() {
    let mut pace = pace();
    let is_in = |pace: &mut QueuePace, ahead, now| pace.admits(ahead, true, after(now));
    is_in(&mut pace, 0, 0);
    (0..500).step_by(5).for_each(|now| pace.served(after(now)));
    // 200 a second: 190 take 950 ms.
    assert!(!is_in(&mut pace, 190, 500) && is_in(&mut pace, 150, 505));
    (505..1100).step_by(5).for_each(|now| pace.served(after(now)));
    assert!(is_in(&mut pace, 150, 1100), "one of a hundred");
    // One of two is no chance.
    for now in (1100..1400).step_by(5) {
        pace.served(after(now));
        assert!(!is_in(&mut pace, 190, now));
    }
    assert!(!is_in(&mut pace, 30, 1400) && is_in(&mut pace, 10, 1400));
}

#[test]
fn a_queue_that_grew_while_nothing_was_known_is_too_long_at_once() {
    let mut pace = pace();
    pace.admits(0, false, after(0));
    (0..500).step_by(5).for_each(|now| pace.served(after(now)));
    assert!(!pace.admits(310, true, after(500)));
    assert!(!pace.admits(30, true, after(501)));
}

#[test]
fn a_queue_that_stays_long_though_nobody_is_turned_away_is_kept_short() {
    let mut pace = pace();
    pace.admits(0, true, after(0));
    // 500 a second are served, and as many ask again who were: 250 wait all the time, for half of a second.
    let first = (0..3000).step_by(2).find(|now| {
        pace.served(after(*now));
        *now > 200 && !pace.admits(250, true, after(*now))
    });
    assert!(first.is_some_and(|first| (1200..=1210).contains(&first)), "{first:?}");
    assert!(!pace.admits(50, true, after(1220)));
}

#[test]
fn it_is_open_to_all_again_when_nobody_was_turned_away_for_half_the_time() {
    let mut pace = pace();
    queue_after(3_000, 4, 2, &mut pace);
    assert!(!pace.admits(50, true, after(3_000)));
    pace.emptied();
    assert!(pace.admits(0, true, after(3_300)));
    assert!(!pace.admits(50, true, after(3_499)), "as many as before");
    (3_500..4_000).step_by(4).for_each(|served| pace.served(after(served)));
    assert!(pace.admits(50, true, after(4_000)));
}

#[test]
fn a_moment_without_a_place_is_none_of_too_much_to_do() {
    let mut pace = pace();
    (0..300).for_each(|served| pace.served(after(5 * served)));
    // 200 requests a second, and for 200 ms nothing moves.
    for ahead in 0..40 {
        assert!(pace.admits(ahead, true, after(1500 + 5 * ahead as u64)), "{ahead}");
    }
}

#[test]
fn as_long_as_the_backends_may_bear_more_all_may_wait() {
    let mut pace = pace();
    for now in 0..900 {
        assert!(pace.admits(10 * now as usize, false, after(now)));
    }
    assert!(!pace.admits(9000, true, after(901)));
}

#[test]
fn whoever_comes_to_an_empty_queue_may_wait() {
    let mut pace = pace();
    for now in 0..3000 {
        pace.admits(now as usize, true, after(now));
    }
    assert!(!pace.admits(1, true, after(3001)));
    assert!(pace.admits(0, true, after(3002)));
}

#[test]
fn the_newest_come_first_once_the_oldest_has_waited_for_half_the_time() {
    let mut pace = pace();
    pace.admits(0, true, BEGIN);
    (1..=100).for_each(|served| pace.served(after(5 * served)));
    assert!(!pace.newest_first(BEGIN, 200, after(499)));
    assert!(pace.newest_first(BEGIN, 200, after(500)), "200 at 5 ms each");
    assert!(!pace.newest_first(BEGIN, 150, after(500)), "all are served in time");
}

#[test]
fn the_oldest_is_told_once_the_newer_ones_take_all_the_time_that_it_has_left() {
    let mut pace = pace();
    pace.admits(0, true, BEGIN);
    (1..=100).for_each(|served| pace.served(after(5 * served)));
    assert!(!pace.is_in_vain(BEGIN, 90, true, after(500)), "90 at 5 ms each, and 500 ms");
    assert!(!pace.is_in_vain(BEGIN, 110, true, after(500)), "first come first served yet");
    assert!(pace.is_in_vain(BEGIN, 180, true, after(500)));
    assert!(!pace.is_in_vain(BEGIN, 180, false, after(500)), "there may soon be more places");
    assert!(!pace.is_in_vain(after(10), 1000, true, after(500)), "first come first served yet");
}
