//! Which pools there are, who is in them, and how it is to be used: the control process alone changes
//! that.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use crate::config::Endpoint;
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Check, CheckFault, Passive};
use crate::sys::clock;

use super::backends::{
    CAP, CHECK, CHECK_FAILURES, DOWNTIME, IS_BACKUP, LEASE, LastCheck, NAMED, NameId, PASSIVE,
    PROVEN, Registration, SINCE, Source, WEIGHT, WISH,
};
use super::layout::{BackendId, PoolId};
use super::segment::{NAMINGS, Segment};
use super::wishes::{REMEMBERED, Wish};

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

    /// The same, also if it is leaving. There is never more than one of an address.
    pub fn find_any(&self, pool: PoolId, address: Endpoint) -> Option<BackendId> {
        self.members(pool).find(|slot| self.backend(*slot).server() == address.canonical())
    }

    /// Adds a backend that is not there, or only leaving, to a pool. What an operator has set of it, not
    /// long ago, goes before what it says itself. `None` if no slot is free.
    pub fn register(&self, pool: PoolId, entry: Registration) -> Option<BackendId> {
        self.register_since(pool, entry, Some(clock::now().millis()))
    }

    /// The same, where it is not new to the service: it is up since then, or since the start.
    pub fn register_since(
        &self,
        pool: PoolId,
        entry: Registration,
        since: Option<Millis>,
    ) -> Option<BackendId> {
        let now = clock::now().millis();
        let known = self.find_any(pool, entry.address);
        let left = || self.find_left(pool, entry.address, now);
        let (slot, wish) = match known.or_else(left) {
            Some(slot) => (slot, self.wish(slot)),
            None => (self.free_slot()?, Wish::default()),
        };
        let entry = wish.over(entry);
        if known.is_some() {
            self.backend(slot).begin_again(entry, since.unwrap_or(now));
        } else {
            self.clear_counters(slot);
            self.backend(slot).write(pool, entry, entry.source(), since);
        }
        self.set_wish(slot, wish);
        self.pool(pool).bump();
        Some(slot)
    }

    /// A slot for another backend: rather one of which nothing is to be remembered.
    pub fn free_slot(&self) -> Option<BackendId> {
        let free = || self.spares().filter(|slot| self.backend(*slot).source().is_none());
        let is_blank = |slot: &BackendId| self.backend(*slot).get(WISH) == 0;
        let oldest = || free().min_by_key(|slot| self.backend(*slot).get(LEASE));
        free().find(is_blank).or_else(oldest)
    }

    /// Sets its share.
    pub fn set_weight(&self, slot: BackendId, weight: u32) {
        self.backend(slot).set(WEIGHT, u64::from(weight));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets whether it stands in only for primaries that are out. Who waits is to be rung.
    pub fn set_backup(&self, slot: BackendId, is_backup: bool) {
        self.backend(slot).set(IS_BACKUP, u64::from(is_backup));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets how many requests it may have at once. Who waits is to be rung.
    pub fn set_cap(&self, slot: BackendId, cap: u32) {
        self.backend(slot).set(CAP, u64::from(cap));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets which name brings it.
    pub fn set_name(&self, slot: BackendId, name: NameId) {
        self.backend(slot).set(NAMED, name.0 as u64 + 1);
        self.pool(self.backend(slot).pool()).bump();
    }

    /// The backends of a pool in the order in which they are asked: those of the file as they stand
    /// there, then those that names have brought, by their addresses, so that all workers and hosts ask
    /// them in the same order whenever they came; then those that registered themselves.
    pub fn in_order(&self, pool: PoolId) -> Vec<BackendId> {
        let mut slots: Vec<BackendId> = self.members(pool).collect();
        let source = |slot: &BackendId| self.backend(*slot).source();
        if slots.iter().any(|slot| source(slot) == Some(Source::Name)) {
            slots.sort_by_cached_key(|slot| {
                let backend = self.backend(*slot);
                let (rank, address) = match (backend.source(), backend.name()) {
                    (Some(Source::Name), name) => (1, Some((name, backend.server()))),
                    (Some(Source::Api | Source::Registry), _) => (2, None),
                    (Some(Source::File) | None, _) => (0, None),
                };
                (rank, address, *slot)
            });
        }
        slots
    }

    /// Sets who brings it.
    pub fn set_source(&self, slot: BackendId, source: Source) {
        let backend = self.backend(slot);
        backend.set_standing(Some(source), backend.admin());
        self.pool(backend.pool()).bump();
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

    /// Sets when it gave the good response that ended its last trial, if there was one.
    pub fn set_proven(&self, slot: BackendId, proven: Option<Millis>) {
        self.backend(slot).set_live(PROVEN, proven.map_or(0, |proven| proven.0));
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

    /// Sets why the last one failed that did.
    pub fn set_check_fault(&self, slot: BackendId, fault: Option<CheckFault>) {
        self.backend(slot).set_check_fault(fault);
    }

    /// Frees the slot of a backend that is leaving, if nobody has a request or a connection there.
    /// Whether it did. See `mod.rs`. What an operator has set of it is remembered there for a while.
    pub fn forget_if_unused(&self, slot: BackendId) -> bool {
        let backend = self.backend(slot);
        if backend.admin() != AdminState::Leaving || backend.load() > 0 || self.has_idle(slot) {
            return false;
        }
        backend.set_standing(None, AdminState::Ready);
        self.remember(slot, clock::now().millis() + REMEMBERED);
        self.pool(backend.pool()).bump();
        true
    }
}
