//! Which addresses of a name are backends, after each look-up of it.
//!
//! ```text
//! a look-up says       an address that it names     one that it does not name, but an earlier did
//! found                comes, or stays              goes: it serves on for `hold`, unless a check fails
//! nothing              ─                            goes, too
//! unknown              ─                            stays as it is, however long; who goes, stays on
//! ```
//!
//! Each family of addresses is judged for itself: a name server that fails for one of them says nothing of
//! the other. An address that goes and is named again stays as if nothing had been.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::mem::time::Millis;

/// How an address that a name brings is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameShare {
    /// 1 to 256.
    pub weight: u32,
    /// It gets requests only while no primary is up.
    pub backup: bool,
}

/// What a look-up says of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, at least one.
    Found(BTreeMap<SocketAddr, NameShare>),
    /// There are none: no such name, or no address of it.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// The answers for both families, in the order of [`SCOPES`].
pub type Answers = [Answer; 2];

/// What an answer speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Addresses of IPv4.
    Ipv4,
    /// Addresses of IPv6.
    Ipv6,
}

/// Both families.
pub const SCOPES: [Scope; 2] = [Scope::Ipv4, Scope::Ipv6];

impl Scope {
    /// The family of an address.
    pub fn of(address: &SocketAddr) -> Scope {
        match address.ip() {
            IpAddr::V4(_) => Scope::Ipv4,
            IpAddr::V6(_) => Scope::Ipv6,
        }
    }
}

/// How a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStatus {
    /// It was never looked up.
    Never,
    /// It has addresses.
    Found,
    /// It has none.
    Nothing,
    /// Nobody knows.
    Unknown,
}

impl NameStatus {
    /// All there are, but for the one that no look-up ends with.
    pub const RESULTS: [NameStatus; 3] =
        [NameStatus::Found, NameStatus::Nothing, NameStatus::Unknown];

    /// The status after a look-up: a name server that has found addresses of one family need not know of the
    /// other.
    pub fn of(answers: &Answers) -> NameStatus {
        let any = |is_it: fn(&Answer) -> bool| answers.iter().any(is_it);
        if any(|answer| matches!(answer, Answer::Found(_))) {
            NameStatus::Found
        } else if any(|answer| *answer == Answer::Unknown) {
            NameStatus::Unknown
        } else {
            NameStatus::Nothing
        }
    }

    /// As operators read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            NameStatus::Never => "never",
            NameStatus::Found => "ok",
            NameStatus::Nothing => "nothing",
            NameStatus::Unknown => "unknown",
        }
    }
}

/// What becomes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is a backend from now on.
    Comes,
    /// It is to be used otherwise.
    IsUsedOtherwise,
    /// It is named no more, and goes when the hold is over.
    Goes,
    /// It is named again before it has gone.
    Stays,
    /// The hold is over, or there was no room for another one that goes.
    HasGone,
}

/// The rules of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Addresses that are used at once; as many more may be going.
    pub max: usize,
    /// How long one that is named no more serves on.
    pub hold: Millis,
}

/// An address that a name has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedAddress {
    /// How it is to be used.
    pub share: NameShare,
    /// When it has gone, if it is named no more.
    pub goes_at: Option<Millis>,
}

/// All addresses of a name.
#[derive(Clone, Debug)]
pub struct NameAddresses {
    rules: NameRules,
    known: BTreeMap<SocketAddr, NamedAddress>,
    /// Whether nobody knows of either family.
    unknown: [bool; 2],
    /// Addresses beyond `max` that the last look-up has named.
    surplus: usize,
}

impl NameAddresses {
    /// No addresses yet.
    pub fn new(rules: NameRules) -> NameAddresses {
        NameAddresses { rules, known: BTreeMap::new(), unknown: [false; 2], surplus: 0 }
    }

    /// All addresses, in their order.
    pub fn known(&self) -> impl Iterator<Item = (SocketAddr, NamedAddress)> {
        self.known.iter().map(|(address, known)| (*address, *known))
    }

    /// What is known of an address.
    pub fn find(&self, address: &SocketAddr) -> Option<NamedAddress> {
        self.known.get(address).copied()
    }

    /// Addresses that the last look-up has named and that are left out, as there are too many.
    pub fn surplus(&self) -> usize {
        self.surplus
    }

    /// Takes an address over from before.
    pub fn assume(&mut self, address: SocketAddr, known: NamedAddress) {
        self.known.insert(address, known);
    }

    /// Forgets an address that is no backend any more, for another reason than that it is named no more.
    pub fn forget(&mut self, address: &SocketAddr) {
        self.known.remove(address);
    }

    /// A look-up is over. What becomes of each address that is not what it was.
    pub fn apply(&mut self, answers: &Answers, now: Millis) -> Vec<(SocketAddr, Change)> {
        let mut named: BTreeMap<SocketAddr, NameShare> = BTreeMap::new();
        for ((answer, scope), unknown) in answers.iter().zip(SCOPES).zip(&mut self.unknown) {
            *unknown = *answer == Answer::Unknown;
            match answer {
                Answer::Found(found) => named.extend(found),
                Answer::Nothing => (),
                Answer::Unknown => {
                    let stays = self.known.iter().filter(|(address, known)| {
                        Scope::of(address) == scope && known.goes_at.is_none()
                    });
                    named.extend(stays.map(|(address, known)| (*address, known.share)));
                }
            }
        }
        self.surplus = named.len().saturating_sub(self.rules.max);
        let named: BTreeMap<_, _> = named.into_iter().take(self.rules.max).collect();
        let mut changes = Vec::new();
        for (address, share) in &named {
            changes.extend(self.name(*address, *share).map(|change| (*address, change)));
        }
        let goes_at = now + self.rules.hold;
        for (address, known) in &mut self.known {
            if !named.contains_key(address) && known.goes_at.is_none() {
                known.goes_at = Some(goes_at);
                changes.push((*address, Change::Goes));
            }
        }
        changes.extend(self.make_room());
        changes.extend(self.expire(now));
        changes
    }

    /// An address is named.
    fn name(&mut self, address: SocketAddr, share: NameShare) -> Option<Change> {
        let before = self.known.insert(address, NamedAddress { share, goes_at: None });
        match before {
            None => Some(Change::Comes),
            Some(NamedAddress { goes_at: Some(_), .. }) => Some(Change::Stays),
            Some(NamedAddress { share: before, .. }) if before != share => {
                Some(Change::IsUsedOtherwise)
            }
            Some(_) => None,
        }
    }

    /// No more may be going than may be named: those go at once that have been going for longest.
    fn make_room(&mut self) -> Vec<(SocketAddr, Change)> {
        let going =
            self.known.iter().filter_map(|(address, known)| Some((known.goes_at?, *address)));
        let mut going: Vec<(Millis, SocketAddr)> = going.collect();
        going.sort_unstable();
        let surplus = going.len().saturating_sub(self.rules.max);
        let gone = going.into_iter().take(surplus);
        gone.map(|(_, address)| self.has_gone(address)).collect()
    }

    fn has_gone(&mut self, address: SocketAddr) -> (SocketAddr, Change) {
        self.known.remove(&address);
        (address, Change::HasGone)
    }

    /// Removes the addresses whose hold is over. While nobody knows of a family, none of its addresses goes:
    /// that they are named no more may have been said by a name server on its way down.
    pub fn expire(&mut self, now: Millis) -> Vec<(SocketAddr, Change)> {
        let over: Vec<SocketAddr> = self
            .going()
            .filter(|(_, goes_at)| *goes_at <= now)
            .map(|(address, _)| address)
            .collect();
        over.into_iter().map(|address| self.has_gone(address)).collect()
    }

    /// When `expire` is to be called next.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.going().map(|(_, goes_at)| goes_at).min()
    }

    /// The addresses that go when their time has come.
    fn going(&self) -> impl Iterator<Item = (SocketAddr, Millis)> {
        let going =
            self.known.iter().filter_map(|(address, known)| Some((*address, known.goes_at?)));
        going.filter(|(address, _)| !self.unknown[Scope::of(address) as usize])
    }
}

/// When a name is looked up again: after `interval`, or the records' lifetime if that is shorter; where
/// nobody knows, after 1, 2, 4… seconds, up to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repetition {
    /// Look-ups in a row that told nothing.
    failures: u32,
}

impl Repetition {
    /// The least pause, but for an interval that is shorter.
    const LEAST: Millis = Millis(1000);

    /// A look-up is over: the time until the next.
    pub fn pause(
        &mut self,
        status: NameStatus,
        lifetime: Option<Millis>,
        interval: Millis,
    ) -> Millis {
        match status {
            NameStatus::Unknown | NameStatus::Never => {
                let doubled = Repetition::LEAST.0 << self.failures.min(16);
                self.failures = self.failures.saturating_add(1);
                Millis(doubled).min(interval)
            }
            NameStatus::Found | NameStatus::Nothing => {
                self.failures = 0;
                lifetime.map_or(interval, |lifetime| lifetime.max(Repetition::LEAST).min(interval))
            }
        }
    }
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
