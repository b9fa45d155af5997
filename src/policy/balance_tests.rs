use super::*;
use crate::mem::xorshift::Xorshift;
use std::cell::Cell;

const ROUND_ROBIN: Balance = Balance::RoundRobin;
const LEAST: Balance = Balance::LeastConnections;

/// A pool with what all workers would share of it.
struct Pool {
    members: Members,
    loads: Vec<Cell<u32>>,
    rotations: [Cell<u64>; 2],
}

impl PoolView for Pool {
    fn rotation(&self, tier: Tier) -> u64 {
        self.rotations[tier as usize].get()
    }

    fn load(&self, id: u32) -> u32 {
        self.loads[id as usize].get()
    }
}

impl Pool {
    fn of(list: impl IntoIterator<Item = Member>) -> Pool {
        let list: Vec<Member> = list.into_iter().collect();
        let mut members = Members::default();
        members.refresh(&list);
        let loads = list.iter().map(|_| Cell::new(0)).collect();
        Pool { members, loads, rotations: Default::default() }
    }

    /// Primaries of these weights.
    fn with(weights: &[u32]) -> Pool {
        let members = weights.iter().enumerate();
        Pool::of(members.map(|(id, weight)| Member::new(id as u32, *weight, false, 0)))
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut Member)) {
        let mut list = self.members.list().to_vec();
        change(&mut list[place]);
        self.members.refresh(&list);
    }

    fn set_up(&mut self, place: usize, up: bool) {
        self.change(place, |member| member.up = up);
    }

    fn is_up(&self, place: usize) -> bool {
        self.members.list()[place].up
    }

    fn set_loads(&self, loads: &[u32]) {
        self.loads.iter().zip(loads).for_each(|(cell, load)| cell.set(*load));
    }

    fn ask(&self, balance: Balance, tried: &TriedBackends) -> Pick {
        let pick = pick(balance, &self.members, tried, self);
        if let Pick::Backend(turn) = pick {
            assert!(self.take(turn), "nobody else picks");
        }
        pick
    }

    fn take(&self, turn: PickTurn) -> bool {
        let rotation = &self.rotations[turn.tier as usize];
        let is_free = rotation.get() == turn.rotation;
        if is_free {
            assert!(turn.next > turn.rotation);
            rotation.set(turn.next);
        }
        is_free
    }

    /// A pick that must succeed.
    fn next(&self, balance: Balance, tried: &TriedBackends) -> usize {
        match self.ask(balance, tried) {
            Pick::Backend(turn) => turn.place,
            other => panic!("{other:?}"),
        }
    }

    fn picks(&self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.next(ROUND_ROBIN, &TriedBackends::default())).collect()
    }
}

fn tried(backends: &[usize]) -> TriedBackends {
    let mut tried = TriedBackends::default();
    backends.iter().for_each(|backend| tried.add(*backend as u32));
    tried
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
    assert_eq!(Pool::with(&[1, 1, 1]).picks(7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(Pool::with(&[7, 7]).picks(4), [0, 1, 0, 1]);
    assert_eq!(Pool::with(&[3]).picks(2), [0, 0]);
}

#[test]
fn weights_are_spread_evenly() {
    assert_eq!(Pool::with(&[5, 1, 1]).picks(7), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(Pool::with(&[2, 1]).picks(6), [0, 1, 0, 0, 1, 0]);
    assert_eq!(longest_run(&Pool::with(&[5, 1, 1]).picks(700), 0), 4);
    assert_eq!(longest_run(&Pool::with(&[9, 8]).picks(700), 0), 2);
}

/// The definition, which is slower: all gain, the richest pays.
fn slow_sequence(weights: &[u32]) -> Vec<u16> {
    let total: u32 = weights.iter().sum();
    let mut current = vec![0; weights.len()];
    let mut last = vec![0; weights.len()];
    let turn = |turn: u32| {
        current.iter_mut().zip(weights).for_each(|(current, weight)| *current += *weight as i64);
        let places = (0..weights.len()).rev();
        let richest = places.max_by_key(|place| (current[*place], -last[*place])).unwrap();
        current[richest] -= i64::from(total);
        last[richest] = i64::from(turn);
        richest as u16
    };
    (1..=total).map(turn).collect()
}

#[test]
fn the_sequence_is_that_of_smooth_weighted_round_robin() {
    for seed in 1..=200 {
        let mut random = Xorshift::new(seed);
        let mut weights: Vec<u32> =
            (0..random.below(20)).map(|_| 1 + random.below(12) as u32).collect();
        weights.insert(0, 1); // so that there is no common divisor
        let pool = Pool::with(&weights);
        assert_eq!(pool.members.primaries.sequence, slow_sequence(&weights), "{weights:?}");
    }
}

#[test]
fn the_longest_sequence_is_computed_at_once() {
    let weights: Vec<u32> = (0..1024).map(|place| 256 - place % 256).collect();
    let pool = Pool::with(&weights);
    assert_eq!(pool.members.primaries.sequence.len(), 1024 * 257 / 2);
}

#[test]
fn any_cycle_of_picks_has_the_exact_shares() {
    for seed in 1..=200 {
        let mut random = Xorshift::new(seed);
        let weights: Vec<u32> =
            (0..1 + random.below(12)).map(|_| 1 + random.below(9) as u32).collect();
        let cycle = weights.iter().sum::<u32>() as usize;
        let mut all = Pool::with(&weights).picks(3 * cycle);
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
    let all = Pool::with(&[1; 1024]).picks(3 * 1024);
    assert!(all.windows(1024).step_by(97).all(|window| shares(window, 1024) == [1; 1024]));
}

/// Members come and go, get full and have room again, and requests avoid those they tried. As long as
/// the same N are eligible, any N picks in a row name each once: also the first after a change.
#[test]
fn equal_members_take_exact_turns_in_a_changing_world() {
    for seed in 1..=100 {
        let mut random = Xorshift::new(seed);
        let mut pool = Pool::with(&vec![1 + random.below(3) as u32; 2 + random.below(7)]);
        let count = pool.loads.len();
        (0..count).for_each(|place| pool.change(place, |member| member.cap = 5));
        for _ in 0..200 {
            let place = random.below(count);
            match random.below(3) {
                0 => pool.set_up(place, !pool.is_up(place)),
                1 => pool.loads[place].set(5 - pool.loads[place].get()),
                _ => (),
            }
            let excluded = tried(&[random.below(count), random.below(count)][..random.below(3)]);
            let able: Vec<usize> = (0..count)
                .filter(|i| pool.is_up(*i) && pool.loads[*i].get() < 5)
                .filter(|i| !excluded.contains(*i as u32))
                .collect();
            if able.is_empty() {
                continue;
            }
            let length = random.below(3 * able.len());
            let row: Vec<usize> = (0..length).map(|_| pool.next(ROUND_ROBIN, &excluded)).collect();
            for window in row.windows(able.len()) {
                let mut named = window.to_vec();
                named.sort_unstable();
                assert_eq!(named, able, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_weighted_rotation_is_exact_at_once_after_members_came_or_went() {
    for seed in 1..=100 {
        let mut random = Xorshift::new(seed);
        let mut weights: Vec<u32> =
            (0..3 + random.below(5)).map(|_| 1 + random.below(6) as u32).collect();
        weights[0] = 7; // so that they are not all equal
        let mut pool = Pool::with(&weights);
        for _ in 0..30 {
            let turned = 1 + random.below(weights.len() - 1);
            pool.set_up(turned, !pool.is_up(turned));
            let list = pool.members.list();
            let expected: Vec<u32> =
                list.iter().map(|member| if member.up { member.weight } else { 0 }).collect();
            let cycle = expected.iter().sum::<u32>() as usize;
            let row = pool.picks(random.below(3 * cycle));
            for window in row.windows(cycle) {
                assert_eq!(shares(window, weights.len()), expected, "seed {seed}");
            }
        }
    }
}

/// Several workers look at the rotation and take their turns in any order; some change what they know
/// of the members later than others. In the order of the turns taken, the rotation is exact.
#[test]
fn workers_that_share_a_ticket_share_an_exact_rotation() {
    for seed in 1..=200 {
        let mut random = Xorshift::new(seed);
        let weights: Vec<u32> =
            (0..2 + random.below(5)).map(|_| 1 + random.below(4) as u32).collect();
        let balance = [ROUND_ROBIN, LEAST][random.below(2)];
        let cycle = weights.iter().sum::<u32>() as usize;
        let pool = Pool::with(&weights);
        let mut workers: Vec<Option<PickTurn>> = vec![None; 1 + random.below(4)];
        let mut taken = Vec::new();
        while taken.len() < 5 * cycle {
            let worker = random.below(workers.len());
            match workers[worker].take() {
                None => match pick(balance, &pool.members, &TriedBackends::default(), &pool) {
                    Pick::Backend(turn) => workers[worker] = Some(turn),
                    other => panic!("{other:?}"),
                },
                Some(turn) if pool.take(turn) => taken.push(turn.place),
                Some(_) => (), // Another was faster.
            }
        }
        for window in taken.windows(cycle) {
            assert_eq!(shares(window, weights.len()), weights, "seed {seed}");
        }
    }
}

/// After the longest absence nobody is named more often in a row than its share is.
#[test]
fn who_was_left_out_saves_up_nothing() {
    for weights in [[1, 1, 1], [5, 1, 1], [1, 5, 1], [3, 2, 1]] {
        for absence in ["down", "full", "tried"] {
            let mut pool = Pool::with(&weights);
            pool.picks(4);
            pool.set_up(1, absence != "down");
            pool.change(1, |member| member.cap = 1);
            pool.loads[1].set(u32::from(absence == "full"));
            let tried = tried(&[1][..usize::from(absence == "tried")]);
            for _ in 0..1000 {
                assert_ne!(pool.next(ROUND_ROBIN, &tried), 1);
            }
            pool.set_up(1, true);
            pool.loads[1].set(0);
            let cycle = weights.iter().sum::<u32>() as usize;
            let message = format!("{weights:?} {absence}");
            assert_eq!(shares(&pool.picks(cycle), 3), weights, "{message}");
            assert_eq!(shares(&pool.picks(cycle), 3), weights, "{message}");
        }
    }
}

/// A member that fails every request, each of which then goes to another one.
#[test]
fn failing_again_and_again_saves_up_nothing() {
    let pool = Pool::with(&[5, 1, 1]);
    for _ in 0..1000 {
        if pool.next(ROUND_ROBIN, &TriedBackends::default()) == 0 {
            assert_ne!(pool.next(ROUND_ROBIN, &tried(&[0])), 0);
        }
    }
    assert!(longest_run(&pool.picks(70), 0) <= 4);
}

#[test]
fn a_new_weight_counts_from_the_next_pick_on() {
    let mut pool = Pool::with(&[1, 1]);
    pool.picks(3);
    pool.change(1, |member| member.weight = 3);
    assert_eq!(shares(&pool.picks(4), 2), [1, 3]);
    let before = pool.members.primaries.sequence.as_ptr();
    pool.set_up(0, false);
    assert_eq!(pool.members.primaries.sequence.as_ptr(), before, "it was not computed anew");
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
        (&[256, 255], &[u32::MAX, u32::MAX], 0),
    ];
    for (weights, loads, expected) in table {
        let pool = Pool::with(weights);
        pool.set_loads(loads);
        assert_eq!(pool.next(LEAST, &TriedBackends::default()), expected, "{weights:?} {loads:?}");
    }
}

#[test]
fn least_connections_takes_turns_among_the_idlest() {
    let pool = Pool::with(&[1, 1, 1, 1]);
    pool.loads[1].set(1);
    let row: Vec<_> = (0..6).map(|_| pool.next(LEAST, &TriedBackends::default())).collect();
    assert_eq!(row, [0, 2, 3, 0, 2, 3]);

    let pool = Pool::with(&[5, 1, 1]);
    let row: Vec<_> = (0..7).map(|_| pool.next(LEAST, &TriedBackends::default())).collect();
    assert_eq!(shares(&row, 3), [5, 1, 1], "an idle pool follows the weights");
}

#[test]
fn least_connections_fills_members_by_weight() {
    let pool = Pool::with(&[4, 2, 1]);
    for _ in 0..70 {
        let load = &pool.loads[pool.next(LEAST, &TriedBackends::default())];
        load.set(load.get() + 1);
    }
    assert_eq!(pool.loads.iter().map(Cell::get).collect::<Vec<_>>(), [40, 20, 10]);
}

/// A view in which a load rises whenever it is looked at.
struct Restless(Pool);

impl PoolView for Restless {
    fn rotation(&self, tier: Tier) -> u64 {
        self.0.rotation(tier)
    }

    fn load(&self, id: u32) -> u32 {
        let load = self.0.loads[id as usize].get();
        self.0.loads[id as usize].set(load + 1);
        load
    }
}

#[test]
fn loads_that_rise_while_they_are_read_do_not_keep_least_connections_from_choosing() {
    let view = Restless(Pool::with(&[1, 1, 1]));
    for _ in 0..20 {
        let pick = pick(LEAST, &view.0.members, &TriedBackends::default(), &view);
        assert!(matches!(pick, Pick::Backend(_)));
    }
}

fn with_backup(weights: &[u32]) -> Pool {
    let mut list = Pool::with(weights).members.list().to_vec();
    list.push(Member::new(list.len() as u32, 1, true, 0));
    Pool::of(list)
}

#[test]
fn a_backup_is_asked_only_while_no_primary_is_up_that_was_not_tried() {
    for balance in [ROUND_ROBIN, LEAST] {
        let mut pool = with_backup(&[1, 1]);
        pool.set_loads(&[9, 9]);
        assert_ne!(pool.next(balance, &TriedBackends::default()), 2);
        assert_eq!(pool.next(balance, &tried(&[0])), 1);
        assert_eq!(pool.next(balance, &tried(&[0, 1])), 2);
        assert_ne!(pool.next(balance, &tried(&[0, 1, 2])), 2);
        pool.set_up(0, false);
        assert_eq!(pool.next(balance, &tried(&[1])), 2);
        pool.set_up(1, false);
        assert_eq!(pool.next(balance, &TriedBackends::default()), 2);
        pool.set_up(0, true);
        pool.loads[2].set(1);
        let row = [0; 3].map(|_| pool.next(balance, &TriedBackends::default()));
        assert_eq!(row, [0; 3], "requests it still has are no reason to ask a backup");
    }
}

#[test]
fn a_backup_takes_no_turn_from_the_primaries() {
    let pool = with_backup(&[1, 1, 1]);
    let mut row = Vec::new();
    for _ in 0..30 {
        row.push(pool.next(ROUND_ROBIN, &TriedBackends::default()));
        assert_eq!(pool.next(ROUND_ROBIN, &tried(&[0, 1, 2])), 3);
    }
    assert!(row.windows(3).all(|window| shares(window, 4) == [1, 1, 1, 0]));
}

#[test]
fn who_was_tried_comes_again_when_no_other_is_left() {
    for balance in [ROUND_ROBIN, LEAST] {
        let mut pool = Pool::with(&[1, 1, 1]);
        assert_eq!(pool.next(balance, &tried(&[0, 2])), 1);
        pool.set_up(1, false);
        assert_eq!(pool.next(balance, &tried(&[0, 1])), 2);
        let both = [[0, 2], [2, 0]].map(|pair| pool.next(balance, &tried(&pair)));
        assert_eq!(both, [0, 2]);
    }
}

#[test]
fn full_is_told_from_none_up() {
    for balance in [ROUND_ROBIN, LEAST] {
        assert_eq!(Pool::with(&[]).ask(balance, &TriedBackends::default()), Pick::NoneUp);
        let mut pool = Pool::of([Member::new(0, 1, false, 2), Member::new(1, 1, true, 1)]);
        let next = |pool: &Pool| match pool.ask(balance, &TriedBackends::default()) {
            Pick::Backend(turn) => Ok(turn.place),
            other => Err(other),
        };
        pool.loads[0].set(1);
        assert_eq!(next(&pool), Ok(0));
        pool.loads[0].set(2);
        assert_eq!(next(&pool), Err(Pick::Full), "a full primary is no reason to ask a backup");
        pool.set_up(0, false);
        assert_eq!(next(&pool), Ok(1));
        pool.loads[1].set(1);
        assert_eq!(next(&pool), Err(Pick::Full));
        pool.set_up(1, false);
        assert_eq!(next(&pool), Err(Pick::NoneUp));
    }
}

#[test]
fn the_tried_are_kept_once_each_and_in_order() {
    let tried = tried(&[7, 65_536, 7, 0]);
    assert!(tried.iter().eq([7, 65_536, 0]));
    assert_eq!((tried.len(), tried.is_empty(), tried.contains(1)), (3, false, false));
    assert!(size_of::<TriedBackends>() <= 48);
}

#[test]
#[should_panic]
fn a_twelfth_try_panics() {
    tried(&Vec::from_iter(0..12));
}
