//! Which backend of a pool gets the next request.
use crate::config::Balance;
use std::cmp::Ordering;

/// A backend, as one choice among those of its pool.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its share of the requests, beside the weights of the others; at least 1.
    pub weight: u32,
    /// Whether it is asked only while no primary is up.
    pub backup: bool,
    /// How many requests it may have at a time; 0: any number.
    pub cap: u32,
    /// Whether it may be asked at all: not marked, not draining.
    pub up: bool,
    /// How many requests it has now.
    pub active: u32,
    /// When it was last picked, as a number that grows with every pick of the pool; 0: never.
    picked: u64,
    /// How far it is behind its share, in parts of a pick: `total` of them make one.
    current: i64,
    /// The weight of all that were in the weighted rotation with it; 0: it was not in it.
    total: u64,
}

impl Member {
    /// One that is up and idle.
    pub fn new(weight: u32, backup: bool, cap: u32) -> Member {
        assert!(weight > 0);
        Member { weight, backup, cap, up: true, active: 0, picked: 0, current: 0, total: 0 }
    }

    /// Whether it may have one more request.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.cap == 0 || self.active < self.cap
    }

    /// Compares requests per weight, without a division.
    fn cmp_load(&self, other: &Member) -> Ordering {
        let mine = u64::from(self.active) * u64::from(other.weight);
        mine.cmp(&(u64::from(other.active) * u64::from(self.weight)))
    }
}

/// The most backends that are tried for one request: the first and 10 retries.
const MOST_TRIED: usize = 11;

/// The backends that a request was sent to already, in that order, by their places in the pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    backends: [u16; MOST_TRIED],
    len: u8,
}

impl Tried {
    /// Adds `backend`, unless it is there. Panics at a twelfth.
    pub fn add(&mut self, backend: usize) {
        if !self.contains(backend) {
            assert!(backend <= usize::from(u16::MAX) && self.len() < MOST_TRIED);
            self.backends[self.len()] = backend as u16;
            self.len += 1;
        }
    }

    /// Whether `backend` was tried.
    #[inline]
    pub fn contains(&self, backend: usize) -> bool {
        self.iter().any(|tried| tried == backend)
    }

    /// How many backends were tried.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether none was tried.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The backends tried, the first one first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.backends[..self.len()].iter().map(|backend| usize::from(*backend))
    }
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The backend at this place of the pool. It counts as picked in the rotation; `active` is the
    /// caller's to raise.
    Backend(usize),
    /// All that are up have as many requests as they may.
    Full,
    /// None is up.
    NoneUp,
}

/// Picks a backend that is up and below its cap: a backup only if no primary is up, or none that
/// was not tried; one that was tried only if no other is left.
///
/// Round robin is exact. Of equal weights the one that was picked longest ago comes next, so that as
/// many picks in a row as there are members name each once, whatever happened before. Otherwise each
/// has its exact share of as many picks as the weights add up to, evenly spread; this begins anew
/// when a member comes or goes. Least connections follows the same rotation among those that are
/// least loaded. Who misses picks in either (full, tried, down) does not get them later.
pub fn pick(balance: Balance, members: &mut [Member], tried: &Tried) -> Pick {
    let backups = is_time_for_backups(members, tried);
    let in_turn = |member: &Member| member.up && member.backup == backups;
    if !members.iter().any(in_turn) {
        return Pick::NoneUp;
    }
    let open = |member: &Member| in_turn(member) && member.has_room();
    if !members.iter().any(open) {
        return Pick::Full;
    }
    let untried = |place: usize, member: &Member| open(member) && !tried.contains(place);
    let again = !members.iter().enumerate().any(|(place, member)| untried(place, member));
    let eligible =
        |place, member: &Member| if again { open(member) } else { untried(place, member) };
    let chosen = match balance {
        Balance::RoundRobin => rotate(members, in_turn, eligible),
        Balance::LeastConnections => {
            let all = members.iter().enumerate();
            let able = all.filter(|(place, member)| eligible(*place, member));
            let least = able.map(|(_, member)| member).min_by(|one, other| one.cmp_load(other));
            let least = *least.expect("one is eligible");
            let idlest = |member: &Member| member.cmp_load(&least) == Ordering::Equal;
            rotate(members, in_turn, |place, member| idlest(member) && eligible(place, member))
        }
    };
    Pick::Backend(chosen)
}

/// Whether the primaries are out: down, or tried without success while a backup was not.
fn is_time_for_backups(members: &[Member], tried: &Tried) -> bool {
    let up = || members.iter().enumerate().filter(|(_, member)| member.up);
    let hope = |(place, _): &(usize, &Member)| !tried.contains(*place);
    let no_primary = !up().any(|(_, member)| !member.backup);
    no_primary
        || up().filter(hope).any(|(_, member)| member.backup)
            && !up().filter(hope).any(|(_, member)| !member.backup)
}

/// The next of the `eligible` members, of which there is one at least.
fn rotate(
    members: &mut [Member],
    in_turn: impl Fn(&Member) -> bool,
    eligible: impl Fn(usize, &Member) -> bool,
) -> usize {
    let mut oldest: Option<(usize, &Member)> = None;
    let mut equal = true;
    let mut latest = 0;
    for (place, member) in members.iter().enumerate() {
        latest = latest.max(member.picked);
        if eligible(place, member) {
            equal &= oldest.is_none_or(|(_, other)| other.weight == member.weight);
            if oldest.is_none_or(|(_, other)| member.picked < other.picked) {
                oldest = Some((place, member));
            }
        }
    }
    let chosen = match oldest {
        Some((place, _)) if equal => place,
        Some(_) | None => rotate_by_weight(members, in_turn, eligible),
    };
    members[chosen].picked = latest + 1;
    chosen
}

/// Smooth weighted round robin, as nginx has it: all that could be picked gain their weight, the
/// richest is picked and pays what all gained.
///
/// Nobody gains while not eligible. What the others then gain without being picked is bounded, for
/// it is always the richest that pays.
fn rotate_by_weight(
    members: &mut [Member],
    in_turn: impl Fn(&Member) -> bool,
    eligible: impl Fn(usize, &Member) -> bool,
) -> usize {
    restart_if_changed(members, in_turn);
    let mut gained = 0;
    let mut richest: Option<(usize, i64, u64)> = None;
    for (place, member) in members.iter_mut().enumerate() {
        if eligible(place, member) {
            member.current += i64::from(member.weight);
            gained += i64::from(member.weight);
            if richest.is_none_or(|(_, current, picked)| {
                (current, member.picked) < (member.current, picked)
            }) {
                richest = Some((place, member.current, member.picked));
            }
        }
    }
    let (chosen, ..) = richest.expect("one is eligible");
    members[chosen].current -= gained;
    chosen
}

/// Sets the weighted rotation to its start if it has other members than at the last pick. What they
/// had gained was in parts of another size, and for a share of another size.
fn restart_if_changed(members: &mut [Member], in_turn: impl Fn(&Member) -> bool) {
    let weights = members.iter().filter(|member| in_turn(member)).map(|m| u64::from(m.weight));
    let total = weights.sum();
    let total_of = |member: &Member| if in_turn(member) { total } else { 0 };
    if members.iter().any(|member| member.total != total_of(member)) {
        for member in members {
            member.total = total_of(member);
            member.current = 0;
        }
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
