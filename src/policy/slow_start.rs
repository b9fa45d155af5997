//! The share of a backend that came up a while ago: it grows from a tenth of its weight to all of
//! it, in steps of a tenth.
//!
//! Shares count beside each other: of backends that came up together none has less than the others.

use super::balance::Member;
use crate::mem::time::Millis;

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

/// Sets the weights of `members` to their parts, which stand in the same order.
pub fn apply(members: &mut [Member], parts: &[u32]) {
    let is_even = parts.windows(2).all(|pair| pair[0] == pair[1]);
    if is_even {
        return;
    }
    let total: u32 = members.iter().map(|member| member.weight).sum();
    for (member, parts) in members.iter_mut().zip(parts) {
        let share = member.weight * parts;
        member.weight = if total < FINE { share } else { share.div_ceil(PARTS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Millis = Millis(9000);

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
        let parts: Vec<u32> = given.iter().map(|(_, parts)| *parts).collect();
        apply(&mut members, &parts);
        members.iter().map(|member| member.weight).collect()
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
