//! Which pools there are, who is in them, and how it is to be used: the control process alone changes
//! that.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use crate::config::Endpoint;
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Check, Passive};
use crate::sys::clock;

use super::backends::{
    CAP, CHECK, CHECK_FAILURES, DOWNTIME, LEASE, LastCheck, PASSIVE, Registration, SINCE, Source,
    WEIGHT,
};
use super::layout::{BackendId, PoolId};
use super::segment::{NAMINGS, Segment};

impl Segment {
    /// Makes a pool without members, in a free place or in that of an added one that has lost all of
    /// its own. `None` if the table is full. For the control process alone.
    pub fn add_pool(&self, name: &str) -> Option<PoolId> {
        let all = || (0..self.layout.pools).map(PoolId);
        let is_free = |pool: &PoolId| self.pool(*pool).source().is_none();
        let is_empty = |pool: &PoolId| {
            self.pool(*pool).source() == Some(Source::Api) && self.members(*pool).next().is_none()
        };
        let place = all().find(is_free).or_else(|| all().find(is_empty))?;
        self.clear_pool_counters(place);
        self.pool(place).write(name, Source::Api);
        self.cells[NAMINGS].fetch_add(1, SeqCst);
        Some(place)
    }

    /// The backend of a pool that listens at `address`, unless it is leaving.
    pub fn find(&self, pool: PoolId, address: Endpoint) -> Option<BackendId> {
        self.find_any(pool, address)
            .filter(|slot| self.backend(*slot).admin() != AdminState::Leaving)
    }

    /// All that `find` finds in a pool, by their servers: for whoever looks for many.
    pub(super) fn servers(&self, pool: PoolId) -> BTreeMap<Endpoint, BackendId> {
        let members = self.members(pool);
        let stays = members.filter(|slot| self.backend(*slot).admin() != AdminState::Leaving);
        stays.map(|slot| (self.backend(slot).server(), slot)).collect()
    }

    /// There is never more than one of an address.
    fn find_any(&self, pool: PoolId, address: Endpoint) -> Option<BackendId> {
        self.members(pool).find(|slot| self.backend(*slot).server() == address.canonical())
    }

    /// Adds a primary that is not there, or only leaving, to a pool. `None` if no slot is free.
    pub fn register(&self, pool: PoolId, entry: Registration) -> Option<BackendId> {
        let now = clock::now().millis();
        let known = self.find_any(pool, entry.address);
        let slot = known.or_else(|| self.free_slot())?;
        if known.is_some() {
            self.backend(slot).begin_again(entry, now);
        } else {
            self.clear_counters(slot);
            self.backend(slot).write(pool, entry, false, (Source::Api, Some(now)));
        }
        self.pool(pool).bump();
        Some(slot)
    }

    /// A slot for another backend.
    pub fn free_slot(&self) -> Option<BackendId> {
        self.spares().find(|slot| self.backend(*slot).source().is_none())
    }

    /// Sets its share.
    pub fn set_weight(&self, slot: BackendId, weight: u32) {
        self.backend(slot).set(WEIGHT, u64::from(weight));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets how many requests it may have at once. Who waits is to be rung.
    pub fn set_cap(&self, slot: BackendId, cap: u32) {
        self.backend(slot).set(CAP, u64::from(cap));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets when it is forgotten.
    pub fn set_lease(&self, slot: BackendId, lease: Option<Millis>) {
        self.backend(slot).set(LEASE, lease.map_or(0, |lease| lease.0));
    }

    /// Sets what the operator wants of it. Who waits is to be rung.
    pub fn set_admin(&self, slot: BackendId, admin: AdminState, now: Millis) {
        let backend = self.backend(slot);
        if backend.admin() != admin {
            let before = backend.availability();
            backend.set_standing(backend.source(), admin);
            backend.note_change(before, now);
            self.pool(backend.pool()).bump();
        }
    }

    /// Sets what is known of how it fares from before this segment was made.
    pub fn set_health(&self, slot: BackendId, check: Check, passive: Passive) {
        self.backend(slot).set(CHECK, check.to_bits());
        self.backend(slot).set_live(PASSIVE, passive.to_bits());
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets since when that is so, and how it fared before.
    pub fn set_history(
        &self,
        slot: BackendId,
        since: Option<Millis>,
        downtime: Millis,
        check_failures: u64,
    ) {
        let backend = self.backend(slot);
        backend.set_live(SINCE, since.map_or(0, |since| since.0));
        backend.set_live(DOWNTIME, downtime.0);
        backend.set(CHECK_FAILURES, check_failures);
    }

    /// Sets how the last active check went.
    pub fn set_last_check(&self, slot: BackendId, result: LastCheck) {
        self.backend(slot).write_check(result);
    }

    /// Frees the slot of a backend that is leaving, if nobody has a request or a connection there.
    /// Whether it did. See `mod.rs`.
    pub fn forget_if_unused(&self, slot: BackendId) -> bool {
        let backend = self.backend(slot);
        if backend.admin() != AdminState::Leaving || backend.load() > 0 || self.has_idle(slot) {
            return false;
        }
        backend.set_standing(None, AdminState::Ready);
        self.pool(backend.pool()).bump();
        true
    }
}
