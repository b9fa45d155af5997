use super::*;
use crate::mem::xorshift::Xorshift;

const ROUND_ROBIN: Balance = Balance::RoundRobin;
const LEAST: Balance = Balance::LeastConnections;

fn pool(weights: &[u32]) -> Vec<Member> {
    weights.iter().map(|weight| Member::new(*weight, false, 0)).collect()
}

fn tried(backends: &[usize]) -> Tried {
    let mut tried = Tried::default();
    backends.iter().for_each(|backend| tried.add(*backend));
    tried
}

/// A pick that must succeed.
fn next(balance: Balance, members: &mut [Member], tried: &Tried) -> usize {
    match pick(balance, members, tried) {
        Pick::Backend(place) => place,
        other => panic!("{other:?}"),
    }
}

fn picks(members: &mut [Member], count: usize) -> Vec<usize> {
    (0..count).map(|_| next(ROUND_ROBIN, members, &Tried::default())).collect()
}

/// How often each place was picked.
fn shares(picks: &[usize], members: usize) -> Vec<u32> {
    let mut shares = vec![0; members];
    picks.iter().for_each(|place| shares[*place] += 1);
    shares
}

fn longest_run(picks: &[usize], place: usize) -> usize {
    picks.split(|other| *other != place).map(<[usize]>::len).max().unwrap_or(0)
}

#[test]
fn equal_members_take_turns() {
    assert_eq!(picks(&mut pool(&[1, 1, 1]), 7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picks(&mut pool(&[7, 7]), 4), [0, 1, 0, 1]);
    assert_eq!(picks(&mut pool(&[3]), 2), [0, 0]);
}

#[test]
fn weights_are_spread_evenly() {
    assert_eq!(picks(&mut pool(&[5, 1, 1]), 7), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(picks(&mut pool(&[2, 1]), 6), [0, 1, 0, 0, 1, 0]);
    assert_eq!(longest_run(&picks(&mut pool(&[5, 1, 1]), 700), 0), 4);
    assert_eq!(longest_run(&picks(&mut pool(&[9, 8]), 700), 0), 2);
}

#[test]
fn any_cycle_of_picks_has_the_exact_shares() {
    for seed in 1..=200 {
        let mut random = Xorshift::new(seed);
        let weights: Vec<u32> =
            (0..1 + random.below(12)).map(|_| 1 + random.below(9) as u32).collect();
        let cycle = weights.iter().sum::<u32>() as usize;
        let mut all = picks(&mut pool(&weights), 3 * cycle);
        let divisor = (1..=9).rev().find(|d| weights.iter().all(|w| w % d == 0)).unwrap_or(1);
        for window in all.windows(cycle) {
            assert_eq!(shares(window, weights.len()), weights, "seed {seed}");
        }
        all.truncate(cycle / divisor as usize);
        let reduced: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
        assert_eq!(shares(&all, weights.len()), reduced, "seed {seed}: weights may be reduced");
    }
}

#[test]
fn a_thousand_members_take_turns() {
    let mut members = pool(&[1; 1024]);
    let all = picks(&mut members, 3 * 1024);
    assert!(all.windows(1024).step_by(97).all(|window| shares(window, 1024) == [1; 1024]));
}

/// Members come and go, get full and have room again, and requests avoid those they tried. As long as
/// the same N are eligible, any N picks in a row name each once: also the first after a change.
#[test]
fn equal_members_take_exact_turns_in_a_changing_world() {
    for seed in 1..=100 {
        let mut random = Xorshift::new(seed);
        let mut members = pool(&vec![1 + random.below(3) as u32; 2 + random.below(7)]);
        members.iter_mut().for_each(|member| member.cap = 5);
        for _ in 0..200 {
            change(&mut random, &mut members);
            let count = members.len();
            let excluded = tried(&[random.below(count), random.below(count)][..random.below(3)]);
            let able: Vec<usize> = (0..count)
                .filter(|i| members[*i].up && members[*i].active < 5 && !excluded.contains(*i))
                .collect();
            if able.is_empty() {
                continue;
            }
            let length = random.below(3 * able.len());
            let row: Vec<usize> =
                (0..length).map(|_| next(ROUND_ROBIN, &mut members, &excluded)).collect();
            for window in row.windows(able.len()) {
                let mut named = window.to_vec();
                named.sort_unstable();
                assert_eq!(named, able, "seed {seed}");
            }
        }
    }
}

fn change(random: &mut Xorshift, members: &mut [Member]) {
    let member = random.below(members.len());
    match random.below(3) {
        0 => members[member].up = !members[member].up,
        1 => members[member].active = 5 - members[member].active,
        _ => (),
    }
}

#[test]
fn a_weighted_rotation_is_exact_at_once_after_members_came_or_went() {
    for seed in 1..=100 {
        let mut random = Xorshift::new(seed);
        let mut weights: Vec<u32> =
            (0..3 + random.below(5)).map(|_| 1 + random.below(6) as u32).collect();
        weights[0] = 7; // so that they are not all equal
        let mut members = pool(&weights);
        for _ in 0..30 {
            let turned = 1 + random.below(weights.len() - 1);
            members[turned].up = !members[turned].up;
            let expected: Vec<u32> =
                members.iter().map(|member| if member.up { member.weight } else { 0 }).collect();
            let cycle = expected.iter().sum::<u32>() as usize;
            let length = random.below(3 * cycle);
            let row = picks(&mut members, length);
            for window in row.windows(cycle) {
                assert_eq!(shares(window, weights.len()), expected, "seed {seed}");
            }
        }
    }
}

/// After the longest absence nobody is named more often in a row than its share is.
#[test]
fn who_was_left_out_saves_up_nothing() {
    for weights in [[1, 1, 1], [5, 1, 1], [1, 5, 1], [3, 2, 1]] {
        for absence in ["down", "full", "tried"] {
            let mut members = pool(&weights);
            picks(&mut members, 4);
            members[1].up = absence != "down";
            (members[1].cap, members[1].active) = (1, u32::from(absence == "full"));
            let tried = tried(&[1][..usize::from(absence == "tried")]);
            for _ in 0..1000 {
                assert_ne!(next(ROUND_ROBIN, &mut members, &tried), 1);
            }
            members[1] = Member { up: true, active: 0, cap: 0, ..members[1] };
            let cycle = weights.iter().sum::<u32>() as usize;
            let share = shares(&picks(&mut members, cycle), 3)[1];
            let message = format!("{weights:?} {absence} {share}");
            assert!(share.abs_diff(weights[1]) <= 1, "{message}");
            assert_eq!(shares(&picks(&mut members, cycle), 3), weights, "{message}");
        }
    }
}

/// A member that fails every request, each of which then goes to another one.
#[test]
fn failing_again_and_again_saves_up_nothing() {
    let mut members = pool(&[5, 1, 1]);
    for _ in 0..1000 {
        if next(ROUND_ROBIN, &mut members, &Tried::default()) == 0 {
            assert_ne!(next(ROUND_ROBIN, &mut members, &tried(&[0])), 0);
        }
    }
    assert!(longest_run(&picks(&mut members, 70), 0) <= 4);
}

#[test]
fn gains_stay_bounded_whoever_is_left_out() {
    for seed in 1..=20 {
        let mut random = Xorshift::new(seed);
        let mut members = pool(&[9, 5, 3, 1, 1, 1]);
        members.iter_mut().for_each(|member| member.cap = 1);
        for _ in 0..20_000 {
            for member in &mut members {
                member.active = u32::from(random.below(3) == 0);
            }
            pick(ROUND_ROBIN, &mut members, &tried(&[random.below(6)]));
            let most = members.iter().map(|member| member.current.abs()).max();
            assert!(most < Some(3 * 20), "seed {seed}: {most:?}");
        }
    }
}

#[test]
fn least_connections_weighs_them() {
    // weights, requests, and who comes next
    let table: [(&[u32], &[u32], usize); 6] = [
        (&[1, 1, 1], &[2, 1, 3], 1),
        (&[1, 1, 1], &[0, 0, 0], 0),
        (&[1, 4], &[1, 3], 1),
        (&[1, 4], &[1, 5], 0),
        (&[3, 2], &[2, 1], 1),
        (&[u32::MAX, u32::MAX - 1], &[u32::MAX - 1, u32::MAX - 1], 0),
    ];
    for (weights, active, expected) in table {
        let mut members = pool(weights);
        members.iter_mut().zip(active).for_each(|(member, active)| member.active = *active);
        let picked = next(LEAST, &mut members, &Tried::default());
        assert_eq!(picked, expected, "{weights:?} {active:?}");
    }
}

#[test]
fn least_connections_takes_turns_among_the_idlest() {
    let mut members = pool(&[1, 1, 1, 1]);
    members[1].active = 1;
    let row: Vec<_> = (0..6).map(|_| next(LEAST, &mut members, &Tried::default())).collect();
    assert_eq!(row, [0, 2, 3, 0, 2, 3]);

    let mut members = pool(&[5, 1, 1]);
    let row: Vec<_> = (0..7).map(|_| next(LEAST, &mut members, &Tried::default())).collect();
    assert_eq!(shares(&row, 3), [5, 1, 1], "an idle pool follows the weights");
}

#[test]
fn least_connections_fills_members_by_weight() {
    let mut members = pool(&[4, 2, 1]);
    for _ in 0..70 {
        let picked = next(LEAST, &mut members, &Tried::default());
        members[picked].active += 1;
    }
    assert_eq!(members.iter().map(|m| m.active).collect::<Vec<_>>(), [40, 20, 10]);
}

#[test]
fn a_backup_is_asked_only_while_no_primary_is_up_that_was_not_tried() {
    for balance in [ROUND_ROBIN, LEAST] {
        let mut members = pool(&[1, 1]);
        members.push(Member::new(1, true, 0));
        members[0].active = 9;
        members[1].active = 9;
        assert_ne!(next(balance, &mut members, &Tried::default()), 2);
        assert_eq!(next(balance, &mut members, &tried(&[0])), 1);
        assert_eq!(next(balance, &mut members, &tried(&[0, 1])), 2);
        assert_ne!(next(balance, &mut members, &tried(&[0, 1, 2])), 2);
        members[0].up = false;
        assert_eq!(next(balance, &mut members, &tried(&[1])), 2);
        members[1].up = false;
        assert_eq!(next(balance, &mut members, &Tried::default()), 2);
        members[0].up = true;
        members[2].active = 1;
        let row = [0; 3].map(|_| next(balance, &mut members, &Tried::default()));
        assert_eq!(row, [0; 3], "requests it still has are no reason to ask a backup");
    }
}

#[test]
fn who_was_tried_comes_again_when_no_other_is_left() {
    for balance in [ROUND_ROBIN, LEAST] {
        let mut members = pool(&[1, 1, 1]);
        assert_eq!(next(balance, &mut members, &tried(&[0, 2])), 1);
        members[1].up = false;
        assert_eq!(next(balance, &mut members, &tried(&[0, 1])), 2);
        let (one, other) = (
            next(balance, &mut members, &tried(&[0, 2])),
            next(balance, &mut members, &tried(&[2, 0])),
        );
        assert_eq!((one, other), (0, 2));
    }
}

#[test]
fn full_is_told_from_none_up() {
    for balance in [ROUND_ROBIN, LEAST] {
        let ask = |members: &mut [Member]| pick(balance, members, &Tried::default());
        assert_eq!(ask(&mut []), Pick::NoneUp);
        let mut members = [Member::new(1, false, 2), Member::new(1, true, 1)];
        members[0].active = 1;
        assert_eq!(ask(&mut members), Pick::Backend(0));
        members[0].active = 2;
        assert_eq!(ask(&mut members), Pick::Full, "a full primary is no reason to ask a backup");
        members[0].up = false;
        assert_eq!(ask(&mut members), Pick::Backend(1));
        members[1].active = 1;
        assert_eq!(ask(&mut members), Pick::Full);
        members[1].up = false;
        assert_eq!(ask(&mut members), Pick::NoneUp);
    }
}

#[test]
fn the_tried_are_kept_once_each_and_in_order() {
    let tried = tried(&[7, 65_535, 7, 0]);
    assert!(tried.iter().eq([7, 65_535, 0]));
    assert_eq!((tried.len(), tried.is_empty(), tried.contains(1)), (3, false, false));
    assert!(size_of::<Tried>() <= 24);
}

#[test]
#[should_panic]
fn a_twelfth_try_panics() {
    tried(&Vec::from_iter(0..12));
}
