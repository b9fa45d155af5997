//! Which backend of a pool gets the next request.
//!
//! The members of a tier (primaries, backups) take turns in one fixed *sequence*, which follows from
//! their weights alone. All workers compute the same sequence, and share one *rotation*: the number
//! of turns that were taken. A pick looks for the first turn from there on whose member may be
//! asked, and takes all turns up to and including that one. So the rotation is exact over all
//! workers, and who misses a turn (full, tried, down) does not get it later.
use std::collections::VecDeque;

use crate::config::{AUTO_CAP, Balance};

/// Which members of a pool take turns with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The members that are asked first.
    Primaries,
    /// The members that stand in while no primary is up.
    Backups,
}

/// A backend, as one choice among those of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the caller names it by, whatever its place among the members.
    pub id: u32,
    /// Its share of the requests, beside the weights of the others; at least 1.
    pub weight: u32,
    /// Whether it is asked only while no primary is up.
    pub backup: bool,
    /// How many requests it may have at a time; 0: any number; [`AUTO_CAP`]: what the view says.
    pub cap: u32,
    /// Whether it may be asked at all: not marked, not draining.
    pub up: bool,
}

impl Member {
    /// A member that is up.
    #[cfg(any(test, feature = "internals"))]
    pub fn new(id: u32, weight: u32, backup: bool, cap: u32) -> Member {
        Member { id, weight, backup, cap, up: true }
    }

    fn tier(&self) -> Tier {
        if self.backup { Tier::Backups } else { Tier::Primaries }
    }

    /// What the sequences follow from.
    fn share(&self) -> (u32, u32, bool) {
        (self.id, self.weight, self.backup)
    }
}

/// Whether a backend with this cap, where 0 is none, may have one more request than `load`.
pub const fn has_room(cap: u32, load: u32) -> bool {
    cap == 0 || load < cap
}

/// The members of a pool, with the sequences in which they take turns.
#[derive(Debug, Default)]
pub struct Members {
    list: Vec<Member>,
    primaries: Turns,
    backups: Turns,
}

/// The turns of a tier.
#[derive(Debug, Default)]
struct Turns {
    /// Places in the list of members. It begins anew at its end.
    sequence: Vec<u16>,
    /// How many members are up.
    up: usize,
}

impl Members {
    /// Takes in how the members are now. Only if others came, or weights changed, are the sequences
    /// computed anew, and is memory allocated.
    ///
    /// Workers that are to share a rotation must give the same members in the same order.
    pub fn refresh(&mut self, fresh: &[Member]) {
        let is_same = fresh.iter().map(Member::share).eq(self.list.iter().map(Member::share));
        self.list.clear();
        self.list.extend_from_slice(fresh);
        if !is_same {
            self.primaries.sequence = sequence(&self.list, Tier::Primaries);
            self.backups.sequence = sequence(&self.list, Tier::Backups);
        }
        for tier in [Tier::Primaries, Tier::Backups] {
            let up = self.list.iter().filter(|member| member.up && member.tier() == tier).count();
            self.turns_mut(tier).up = up;
        }
    }

    /// All of them, in their order.
    pub fn list(&self) -> &[Member] {
        &self.list
    }

    /// The first turn of the member at `place`, in the sequence of its tier.
    pub fn first_turn(&self, place: usize) -> Option<u64> {
        let sequence = &self.turns(self.list.get(place)?.tier()).sequence;
        let turn = sequence.iter().position(|other| usize::from(*other) == place)?;
        Some(turn as u64)
    }

    fn turns(&self, tier: Tier) -> &Turns {
        match tier {
            Tier::Primaries => &self.primaries,
            Tier::Backups => &self.backups,
        }
    }

    fn turns_mut(&mut self, tier: Tier) -> &mut Turns {
        match tier {
            Tier::Primaries => &mut self.primaries,
            Tier::Backups => &mut self.backups,
        }
    }

    /// The tier to ask: backups only if no primary is up, or none that was not tried while a backup
    /// was not.
    fn tier(&self, tried: &TriedBackends) -> Tier {
        let hope = |tier| {
            let is_hope =
                |member: &Member| member.up && member.tier() == tier && !tried.contains(member.id);
            self.list.iter().any(is_hope)
        };
        if self.primaries.up == 0 {
            Tier::Backups
        } else if tried.is_empty() || hope(Tier::Primaries) || !hope(Tier::Backups) {
            Tier::Primaries
        } else {
            Tier::Backups
        }
    }

    /// The next turns of a tier and the members whose they are, each turn of the sequence once.
    fn turns_from(&self, tier: Tier, rotation: u64) -> impl Iterator<Item = (u64, usize, &Member)> {
        let sequence = &self.turns(tier).sequence;
        let first = (rotation % sequence.len().max(1) as u64) as usize;
        let places = sequence[first..].iter().chain(&sequence[..first]);
        (rotation..).zip(places).map(|(turn, place)| {
            let place = usize::from(*place);
            (turn, place, &self.list[place])
        })
    }
}

/// The order in which the members of a tier take turns: smooth weighted round robin, as nginx has
/// it. At each turn all gain their weight, the richest has the turn and pays what all gained; of
/// several the one whose last turn is longest ago. After as many turns as the weights add up to,
/// reduced by their common divisor, it begins anew.
///
/// Members of one weight take turns among themselves, so only one of each weight is looked at.
fn sequence(members: &[Member], tier: Tier) -> Vec<u16> {
    /// Members of one weight, the poorest last, each with its last turn.
    struct Equals {
        weight: i64,
        queue: VecDeque<(i64, u16)>,
        turns: i64,
    }
    assert!(members.len() <= usize::from(u16::MAX));
    let divisor = members.iter().filter(|m| m.tier() == tier).fold(0, |d, m| common(d, m.weight));
    let mut all: Vec<Equals> = Vec::new();
    let mut total = 0;
    for (place, member) in members.iter().enumerate().filter(|(_, m)| m.tier() == tier) {
        let weight = i64::from(member.weight / divisor.max(1));
        total += weight;
        match all.iter_mut().find(|equals| equals.weight == weight) {
            Some(equals) => equals.queue.push_back((0, place as u16)),
            None => {
                let queue = VecDeque::from([(0, place as u16)]);
                all.push(Equals { weight, queue, turns: 0 });
            }
        }
    }
    let mut sequence = Vec::with_capacity(total as usize);
    for turn in 1..=total {
        let richest = all.iter_mut().max_by_key(|equals| {
            let had = equals.turns / equals.queue.len() as i64;
            let (last, place) = equals.queue[0];
            (turn * equals.weight - had * total, -last, -i64::from(place))
        });
        let Some(equals) = richest else { break };
        if let Some((_, place)) = equals.queue.pop_front() {
            equals.queue.push_back((turn, place));
            equals.turns += 1;
            sequence.push(place);
        }
    }
    sequence
}

/// The greatest common divisor.
fn common(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common(other, one % other) }
}

/// The most backends that are tried for one request: the first and 10 retries.
const MOST_TRIED: usize = 11;

/// The backends that a request was sent to already, in that order, by their ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriedBackends {
    backends: [u32; MOST_TRIED],
    len: u8,
}

impl TriedBackends {
    /// Adds `backend`, unless it is there. Panics at a twelfth.
    pub fn add(&mut self, backend: u32) {
        if !self.contains(backend) {
            assert!(self.len() < MOST_TRIED);
            self.backends[self.len()] = backend;
            self.len += 1;
        }
    }

    /// Whether `backend` was tried.
    #[inline]
    pub fn contains(&self, backend: u32) -> bool {
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
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.backends[..self.len()].iter().copied()
    }
}

/// What all workers know of a pool. It may change between two looks.
pub trait PoolView {
    /// How many turns of a tier were taken.
    fn rotation(&self, tier: Tier) -> u64;
    /// How many requests a member has now, by its id.
    fn load(&self, id: u32) -> u32;
    /// How many it may have, by its id, where that finds itself. 0, any number, where that is not known.
    fn found_cap(&self, _id: u32) -> u32 {
        0
    }
}

/// Whether a member may have one more request than `load`.
fn member_has_room(member: &Member, load: u32, view: &impl PoolView) -> bool {
    let cap = if member.cap == AUTO_CAP { view.found_cap(member.id) } else { member.cap };
    has_room(cap, load)
}

/// A member's turn, to be taken by setting the tier's rotation from the one to the other number. If
/// it is another number by then, another worker was faster: pick again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickTurn {
    /// The member's place in the list.
    pub place: usize,
    /// The tier whose rotation it is.
    pub tier: Tier,
    /// The rotation as it was.
    pub rotation: u64,
    /// The rotation as it will be.
    pub next: u64,
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one's. Its load is the caller's to raise, once the turn is taken.
    Backend(PickTurn),
    /// All members that are up have as many requests as they may.
    Full,
    /// No member is up.
    NoneUp,
}

/// Picks a backend that is up and below its cap: a backup only if no primary is up, or none that
/// was not tried; one that was tried only if no other is left.
///
/// Round robin is exact. Of equal weights, as many picks in a row as there are members that may be
/// asked name each once, whatever happened before. Otherwise each has its exact share of as many
/// picks as their weights add up to, evenly spread. Least connections follows the same rotation
/// among those that are least loaded. Who misses picks in either (full, tried, down) does not get
/// them later.
pub fn pick(
    balance: Balance,
    members: &Members,
    tried: &TriedBackends,
    view: &impl PoolView,
) -> Pick {
    let tier = members.tier(tried);
    if members.turns(tier).up == 0 {
        return Pick::NoneUp;
    }
    let rotation = view.rotation(tier);
    let of = |allowed: &dyn Fn(&Member) -> bool| match balance {
        Balance::RoundRobin => next_in_turn(members, tier, rotation, allowed, view),
        Balance::LeastConnections => next_least_loaded(members, tier, rotation, allowed, view),
    };
    let mut found = of(&|member| !tried.contains(member.id));
    if found.is_none() && !tried.is_empty() {
        found = of(&|_| true);
    }
    match found {
        Some((turn, place)) => Pick::Backend(PickTurn { place, tier, rotation, next: turn + 1 }),
        None => Pick::Full,
    }
}

/// The first turn whose member is allowed, up and below its cap, and that member's place.
fn next_in_turn(
    members: &Members,
    tier: Tier,
    rotation: u64,
    allowed: &dyn Fn(&Member) -> bool,
    view: &impl PoolView,
) -> Option<(u64, usize)> {
    let mut turns = members.turns_from(tier, rotation);
    let found = turns.find(|(_, _, member)| {
        let has_room = || member_has_room(member, view.load(member.id), view);
        member.up && allowed(member) && (member.cap == 0 || has_room())
    });
    found.map(|(turn, place, _)| (turn, place))
}

/// The first turn whose member is allowed, up, below its cap, and has the fewest requests for its weight.
///
/// Loads change while they are read: the one that had the least is taken even if it has more by
/// the time when its turn is found.
fn next_least_loaded(
    members: &Members,
    tier: Tier,
    rotation: u64,
    allowed: &dyn Fn(&Member) -> bool,
    view: &impl PoolView,
) -> Option<(u64, usize)> {
    let able = |member: &Member| member.up && member.tier() == tier && allowed(member);
    let all = members.list.iter().enumerate().filter(|(_, member)| able(member));
    let with_load = all.map(|(place, member)| (place, member, view.load(member.id)));
    let open = with_load.filter(|(_, member, load)| member_has_room(member, *load, view));
    // Requests for each weight, compared without a division.
    let (least, weight, least_load) = open
        .map(|(place, member, load)| (place, u64::from(member.weight), u64::from(load)))
        .min_by(|(_, one, load), (_, other, others)| (load * other).cmp(&(others * one)))?;
    let mut turns = members.turns_from(tier, rotation);
    let found = turns.find(|(_, place, member)| {
        let is_idle = |load: u32| {
            member_has_room(member, load, view)
                && u64::from(load) * weight <= least_load * u64::from(member.weight)
        };
        *place == least || able(member) && is_idle(view.load(member.id))
    });
    found.map(|(turn, place, _)| (turn, place))
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
