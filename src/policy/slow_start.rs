//! The share of a backend that came up a while ago: it grows from a tenth of its weight to all of
//! it, in steps of a tenth.
//!
//! Shares count beside each other: of backends that came up together none has less than the others.

use super::balance::Member;
use crate::mem::time::Millis;

/// How long the share of a backend grows at least that was on trial.
pub const TRIAL: Millis = Millis(5000);

/// How the share of a backend grows that came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// How long it has been up, or proven.
    pub up_for: Millis,
    /// How long it takes to have all.
    pub over: Millis,
    /// It has not begun: the backend is on trial.
    pub waits: bool,
}

impl Growth {
    /// How many tenths of its weight it has.
    pub fn parts(&self) -> u32 {
        parts(self.up_for, self.over)
    }

    /// In how long it gets one more. `None`: not by time alone.
    pub fn next_in(&self) -> Option<Millis> {
        let next = next_step(self.up_for, self.over).filter(|_| !self.waits)?;
        Some(next - self.up_for)
    }
}

/// All parts of a weight.
pub const PARTS: u32 = 10;

/// Where the weights of a pool add up to less than this, they are given in tenths, so that small
/// ones can grow too. Large ones are rounded: the turns that they add up to stay as few as they are.
const FINE: u32 = 400;

/// How many tenths of its weight a backend has that came up before this time, in a pool where it
/// takes `slow_start` to have all.
pub fn parts(up_for: Millis, slow_start: Millis) -> u32 {
    if up_for >= slow_start {
        return PARTS;
    }
    // Less than PARTS, for up_for is less than slow_start.
    1 + (u64::from(PARTS - 1) * up_for.0 / slow_start.0) as u32
}

/// How long a backend has been up when it gets one more tenth than it has after `up_for`. `None` if
/// it has all.
pub fn next_step(up_for: Millis, slow_start: Millis) -> Option<Millis> {
    let parts = parts(up_for, slow_start);
    (parts < PARTS)
        .then(|| Millis((u64::from(parts) * slow_start.0).div_ceil(u64::from(PARTS - 1))))
}

/// The share of a backend that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficShare {
    /// How many tenths of its weight count.
    pub parts: u32,
    /// It is on trial.
    pub is_on_trial: bool,
}

impl TrafficShare {
    /// All of it.
    pub const WHOLE: TrafficShare = TrafficShare { parts: PARTS, is_on_trial: false };
}

/// Sets the weights of `members` to their parts; the shares stand in the same order.
///
/// Where no primary is up but on trial, they take turns with the backups that are up, so that these go
/// on with nearly all of it until a good response ends a trial.
pub fn apply(members: &mut [Member], shares: &[TrafficShare]) {
    let serves = |is_backup: bool| {
        let mut all = members.iter().zip(shares);
        all.any(|(member, share)| member.up && !share.is_on_trial && member.backup == is_backup)
    };
    if !serves(false) && serves(true) {
        for (member, share) in members.iter_mut().zip(shares) {
            member.backup |= member.up && share.is_on_trial;
        }
    }
    let is_even = shares.windows(2).all(|pair| pair[0].parts == pair[1].parts);
    if is_even {
        return;
    }
    let total: u32 = members.iter().map(|member| member.weight).sum();
    for (member, share) in members.iter_mut().zip(shares) {
        let share = member.weight * share.parts;
        member.weight = if total < FINE { share } else { share.div_ceil(PARTS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Millis = Millis(9000);

    #[test]
    fn who_is_on_trial_waits_with_the_least_and_then_grows() {
        let waits = Growth { up_for: Millis(0), over: TIME, waits: true };
        assert_eq!((waits.parts(), waits.next_in()), (1, None));
        let grows = Growth { up_for: Millis(1200), over: TIME, waits: false };
        assert_eq!((grows.parts(), grows.next_in()), (2, Some(Millis(800))));
        let last = Growth { up_for: Millis(8500), over: TIME, waits: false };
        assert_eq!((last.parts(), last.next_in()), (9, Some(Millis(500))));
    }

    #[test]
    fn the_share_grows_from_a_tenth_to_all_in_equal_steps() {
        let after = |millis| parts(Millis(millis), TIME);
        assert_eq!([0, 999, 1000, 1999, 2000, 4500].map(after), [1, 1, 2, 2, 3, 5]);
        assert_eq!([7999, 8000, 8999, 9000, 9001, u64::MAX].map(after), [8, 9, 9, 10, 10, 10]);
    }

    #[test]
    fn without_slow_start_all_is_there_at_once() {
        assert_eq!(parts(Millis(0), Millis(0)), PARTS);
        assert_eq!(next_step(Millis(0), Millis(0)), None);
    }

    #[test]
    fn the_next_step_is_the_first_moment_with_one_part_more() {
        for slow_start in [1, 5, 9, 10, 1000, 9000, 600_000].map(Millis) {
            let mut up_for = Millis(0);
            let mut steps = 0;
            while let Some(next) = next_step(up_for, slow_start) {
                assert!(next > up_for && next <= slow_start, "{up_for:?} {next:?} {slow_start:?}");
                let before = parts(next - Millis(1), slow_start);
                assert_eq!(before, parts(up_for, slow_start));
                assert!(parts(next, slow_start) > before);
                up_for = next;
                steps += 1;
            }
            assert_eq!(parts(up_for, slow_start), PARTS);
            assert!(steps <= 9 && (steps == 9 || slow_start.0 < 9), "{steps} {slow_start:?}");
        }
    }

    fn weights(given: &[(u32, u32)]) -> Vec<u32> {
        let mut members: Vec<Member> =
            given.iter().map(|(weight, _)| Member::new(0, *weight, false, 0)).collect();
        let share = |(_, parts): &(u32, u32)| TrafficShare { parts: *parts, is_on_trial: false };
        let shares: Vec<TrafficShare> = given.iter().map(share).collect();
        apply(&mut members, &shares);
        members.iter().map(|member| member.weight).collect()
    }

    #[test]
    fn primaries_on_trial_share_with_backups_where_no_other_primary_serves() {
        let trial = TrafficShare { parts: 1, is_on_trial: true };
        let tiers = |given: &[(bool, bool, TrafficShare)]| -> Vec<bool> {
            let member = |(is_backup, up, _): &(bool, bool, TrafficShare)| Member {
                up: *up,
                ..Member::new(0, 1, *is_backup, 0)
            };
            let mut members: Vec<Member> = given.iter().map(member).collect();
            let shares: Vec<TrafficShare> = given.iter().map(|(_, _, share)| *share).collect();
            apply(&mut members, &shares);
            members.iter().map(|member| member.backup).collect()
        };
        let (primary, backup) =
            ((false, true, TrafficShare::WHOLE), (true, true, TrafficShare::WHOLE));
        let (tried, down) = ((false, true, trial), (false, false, TrafficShare::WHOLE));
        assert_eq!(tiers(&[tried, backup, down]), [true, true, false]);
        assert_eq!(tiers(&[tried, primary, backup]), [false, false, true], "one serves");
        assert_eq!(tiers(&[tried, down]), [false, false], "there is no backup");
        assert_eq!(
            tiers(&[tried, (true, false, TrafficShare::WHOLE)]),
            [false, true],
            "it is down"
        );
        assert_eq!(tiers(&[tried, (true, true, trial)]), [false, true], "it is on trial too");
    }

    #[test]
    fn weights_are_taken_by_their_parts_beside_each_other() {
        assert_eq!(weights(&[(1, 1), (1, 10), (3, 10)]), [1, 10, 30]);
        assert_eq!(weights(&[(2, 5), (1, 10)]), [10, 10]);
        assert_eq!(weights(&[(1, 3), (2, 3)]), [1, 2], "none has less than the others");
        assert_eq!(weights(&[(200, 1), (256, 10), (5, 1), (7, 5)]), [20, 256, 1, 4]);
        assert_eq!(weights(&[(4, 1)]), [4]);
        assert!(weights(&[]).is_empty());
    }
}
