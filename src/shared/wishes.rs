//! What operators have set of backends that come and go: it stays with the backend, and for an hour in the
//! slot that it has left, unless that is needed. So who registers anew is what an operator wants it to be.
//!
//! The slot of one that has left has its address, and the hash of its pool's name: a pool that backends have
//! made is gone with the last of them, and its place may be another's.

use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::config::Endpoint;
use crate::mem::time::Millis;
use crate::policy::health::AdminState;
use crate::policy::registry::EngineId;
use crate::sys::clock;

use super::backends::{HELD, LEASE, LEFT_POOL, Registration, WISH};
use super::layout::{BackendId, PoolId};
use super::segment::{REGISTRY_CLUSTER, REGISTRY_EVENTS, REGISTRY_REVISION, Segment};

/// What an operator has set of a backend that has left is remembered for so long.
pub(super) const REMEMBERED: Millis = Millis::from_secs(3600);

// The parts of the cell WISH.
const STATE_BITS: u64 = 0b11;
const HAS_LIMIT: u64 = 0b100;
const WEIGHT_AT: u32 = 8;
const LIMIT_AT: u32 = 32;
// The parts of the cell HELD.
const HELD_REGISTERED: u64 = 1;
const HELD_SET: u64 = 2;
const HELD_LEASE_AT: u32 = 2;
const WEIGHT_BITS: u64 = 0xffff;

/// What an operator has set of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Wish {
    /// Its state, if that was set. Never [`AdminState::Leaving`].
    pub state: Option<AdminState>,
    /// Its share, if that was set.
    pub weight: Option<u32>,
    /// Requests at once, if that was set: 0 is no limit, [`AUTO_CAP`](crate::config::AUTO_CAP) one that
    /// finds itself.
    pub max_connections: Option<u32>,
}

impl Wish {
    /// Whether nothing was set.
    pub fn is_empty(self) -> bool {
        self == Wish::default()
    }

    /// The same, as serde asks.
    pub fn is_none(wish: &Wish) -> bool {
        wish.is_empty()
    }

    /// All of both, of which the newer one counts where both say something.
    pub fn and(self, newer: Wish) -> Wish {
        Wish {
            state: newer.state.or(self.state),
            weight: newer.weight.or(self.weight),
            max_connections: newer.max_connections.or(self.max_connections),
        }
    }

    /// What registers, as the operator wants it.
    pub fn over(self, entry: Registration) -> Registration {
        Registration {
            state: self.state.unwrap_or(entry.state),
            weight: self.weight.unwrap_or(entry.weight),
            max_connections: self.max_connections.unwrap_or(entry.max_connections),
            ..entry
        }
    }
}

impl From<Wish> for u64 {
    fn from(wish: Wish) -> u64 {
        let state = match wish.state {
            None | Some(AdminState::Leaving) => 0,
            Some(AdminState::Ready) => 1,
            Some(AdminState::Drain) => 2,
            Some(AdminState::Maint) => 3,
        };
        let limit = wish.max_connections.map_or(0, |most| HAS_LIMIT | u64::from(most) << LIMIT_AT);
        state | u64::from(wish.weight.unwrap_or(0)) << WEIGHT_AT | limit
    }
}

impl From<u64> for Wish {
    fn from(bits: u64) -> Wish {
        let state = match bits & STATE_BITS {
            0 => None,
            1 => Some(AdminState::Ready),
            2 => Some(AdminState::Drain),
            _ => Some(AdminState::Maint),
        };
        let weight = (bits >> WEIGHT_AT & WEIGHT_BITS) as u32;
        let max_connections = (bits & HAS_LIMIT != 0).then_some((bits >> LIMIT_AT) as u32);
        Wish { state, weight: (weight > 0).then_some(weight), max_connections }
    }
}

/// What was changed of a backend here, and the registry that many instances share does not know yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// It has registered.
    pub registered: bool,
    /// The lease that it wants there.
    pub lease: Option<Millis>,
    /// Operators have set something of it.
    pub set: bool,
}

impl Held {
    /// Whether it knows all.
    pub fn is_none(held: &Held) -> bool {
        *held == Held::default()
    }
}

/// The cells of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryProgress {
    /// Which engine it was; 0: none yet.
    pub cluster: u64,
    /// Up to which change it is known.
    pub revision: u64,
    /// Changes that were taken in.
    pub events: u64,
}

impl RegistryProgress {
    /// Whether nothing is known.
    pub fn is_none(progress: &RegistryProgress) -> bool {
        *progress == RegistryProgress::default()
    }
}

/// A backend that is not there any more, and of which something is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBackend {
    /// The hash of its pool's name.
    pub pool: u64,
    /// Where it listened.
    pub address: Endpoint,
    /// What an operator has set of it.
    pub wish: Wish,
    /// When that is forgotten, on the monotonic clock.
    pub until: Millis,
}

impl LeftBackend {
    /// Operators want it until they say something else: so it is in the registry.
    pub const FOR_EVER: Millis = Millis(u64::MAX >> 1);

    /// Whether that is the backend.
    pub fn is(&self, pool: &str, address: Endpoint) -> bool {
        self.pool == hash(pool) && self.address.canonical() == address.canonical()
    }
}

impl Segment {
    /// What an operator has set of a backend.
    pub fn wish(&self, slot: BackendId) -> Wish {
        self.backend(slot).get(WISH).into()
    }

    /// Notes what an operator has set of it.
    pub fn set_wish(&self, slot: BackendId, wish: Wish) {
        self.backend(slot).set(WISH, wish.into());
    }

    /// What the registry does not know yet of a backend.
    pub fn held_change(&self, slot: BackendId) -> Held {
        let bits = self.backend(slot).get(HELD);
        let lease = Millis(bits >> HELD_LEASE_AT);
        Held {
            registered: bits & HELD_REGISTERED != 0,
            lease: (lease > Millis(0)).then_some(lease),
            set: bits & HELD_SET != 0,
        }
    }

    /// Notes what the registry does not know yet of it.
    pub fn note_held(&self, slot: BackendId, held: Held) {
        let registered = if held.registered { HELD_REGISTERED } else { 0 };
        let set = if held.set { HELD_SET } else { 0 };
        let lease = held.lease.map_or(0, |lease| lease.0) << HELD_LEASE_AT;
        self.backend(slot).set(HELD, registered | set | lease);
    }

    /// How far the registry is known.
    pub fn registry_progress(&self) -> RegistryProgress {
        let cell = |place: usize| self.cells[place].load(SeqCst);
        RegistryProgress {
            cluster: cell(REGISTRY_CLUSTER),
            revision: cell(REGISTRY_REVISION),
            events: cell(REGISTRY_EVENTS),
        }
    }

    /// Which engine it was, if any.
    pub fn registry_engine(&self) -> Option<EngineId> {
        let RegistryProgress { cluster, revision, .. } = self.registry_progress();
        (cluster > 0).then_some(EngineId { cluster, revision })
    }

    /// Notes how far the registry is known.
    pub fn set_registry_progress(&self, progress: RegistryProgress) {
        self.cells[REGISTRY_CLUSTER].store(progress.cluster, SeqCst);
        self.cells[REGISTRY_REVISION].store(progress.revision, SeqCst);
        self.cells[REGISTRY_EVENTS].store(progress.events, SeqCst);
    }

    /// Keeps in the slot of a backend that is nobody's from now on what is to be remembered of it.
    pub(super) fn remember(&self, slot: BackendId, until: Millis) {
        let backend = self.backend(slot);
        let name = self.pool(backend.pool()).name();
        backend.set(LEFT_POOL, hash(name.as_str()));
        backend.set(LEASE, until.0);
    }

    /// Where something is remembered of a backend that has left that pool.
    pub(super) fn find_left(
        &self,
        pool: PoolId,
        address: Endpoint,
        now: Millis,
    ) -> Option<BackendId> {
        let pool = hash(self.pool(pool).name().as_str());
        let is_it = |left: &LeftBackend| {
            left.pool == pool && left.address.canonical() == address.canonical()
        };
        self.spares().find(|slot| self.left(*slot, now).as_ref().is_some_and(is_it))
    }

    fn left(&self, slot: BackendId, now: Millis) -> Option<LeftBackend> {
        let (backend, wish) = (self.backend(slot), self.wish(slot));
        let until = Millis(backend.get(LEASE));
        let is_left = backend.source().is_none() && !wish.is_empty() && until > now;
        let pool = backend.get(LEFT_POOL);
        is_left.then(|| LeftBackend { pool, address: backend.address(), wish, until })
    }

    /// All that is remembered of backends that have left.
    pub fn all_left(&self, now: Millis) -> impl Iterator<Item = LeftBackend> {
        self.spares().filter_map(move |slot| self.left(slot, now))
    }

    /// Remembers what operators want of a backend that is not there.
    pub fn remember_left(&self, pool: &str, address: Endpoint, wish: Wish, until: Millis) {
        let left = LeftBackend { pool: hash(pool), address: address.canonical(), wish, until };
        self.restore_left(&left, clock::now().millis());
    }

    /// Forgets what is remembered of backends that are not there, but for those that are to be kept.
    pub fn retain_left(&self, keep: impl Fn(&LeftBackend) -> bool) {
        for slot in self.spares() {
            if self.left(slot, Millis(0)).is_some_and(|left| !keep(&left)) {
                self.set_wish(slot, Wish::default());
            }
        }
    }

    /// Remembers what another generation does, in a free slot. Where there is none nothing is remembered.
    pub fn restore_left(&self, left: &LeftBackend, now: Millis) {
        let known = self.spares().find(|slot| {
            let known = self.left(*slot, now);
            known.is_some_and(|known| known.pool == left.pool && known.address == left.address)
        });
        let Some(slot) = known.or_else(|| self.free_slot()) else { return };
        let backend = self.backend(slot);
        backend.set_address(left.address);
        backend.set(LEFT_POOL, left.pool);
        backend.set(LEASE, left.until.0);
        self.set_wish(slot, left.wish);
    }
}

/// FNV-1a, which is the same in each version of the program.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "wishes_tests.rs"]
mod tests;
