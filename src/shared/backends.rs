//! The cells of a backend: where it is, how it is to be used, how it fares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::config;
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{
    self, Admin, Availability, Change, Check, CheckRules, Event, Passive, Rules, availability,
};
use crate::sys::clock;

use super::{LINE, PoolId, Segment, Slot};

/// Cells of a backend: two lines that are mostly read, one that each request writes.
pub(super) const CELLS: usize = 3 * LINE;

const STANDING: usize = 0;
const POOL: usize = 1;
const IP: usize = 2;
const PORT: usize = 4;
const WEIGHT: usize = 5;
const CAP: usize = 6;
const SINCE: usize = 7;
const CHECK: usize = 8;
const PASSIVE: usize = 9;
const LEASE: usize = 10;
const CHECKED_AT: usize = 11;
const CHECKED: usize = 12;
const CHECK_FAILURES: usize = 13;
const DOWNTIME: usize = 14;
pub(super) const LOAD: usize = 2 * LINE;

// The parts of the cell STANDING.
const ADMIN_BITS: u64 = 0b11;
const SOURCE_AT: u32 = 2;
const SOURCE_BITS: u64 = 0b11;
const GENERATION_AT: u32 = 8;
// The parts of the cell PORT.
const PORT_BITS: u64 = 0xffff;
const IS_V4: u64 = 1 << 16;
const IS_BACKUP: u64 = 1 << 17;
// The parts of the cell CHECKED.
const PASSED: u64 = 1;
const STATUS_AT: u32 = 1;
const STATUS_BITS: u64 = 0x3ff;
const TOOK_AT: u32 = 16;

/// Who named a pool or a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration.
    File,
    /// It registered itself, or an operator did.
    Api,
}

impl Source {
    pub(super) const fn to_bits(self) -> u64 {
        match self {
            Source::File => 1,
            Source::Api => 2,
        }
    }

    /// `None` for zero: nobody.
    pub(super) const fn from_bits(bits: u64) -> Option<Source> {
        match bits {
            0 => None,
            1 => Some(Source::File),
            _ => Some(Source::Api),
        }
    }

    /// As operators read it.
    pub const fn word(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Api => "api",
        }
    }
}

/// Which backend has a slot, and what the operator wants of it: what a worker compares to know
/// whether it is still the one it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing(u64);

impl Standing {
    /// Who named it. `None`: nobody has the slot.
    pub fn source(self) -> Option<Source> {
        Source::from_bits(self.0 >> SOURCE_AT & SOURCE_BITS)
    }

    /// What the operator wants of it.
    pub fn admin(self) -> Admin {
        Admin::from_bits(self.0 & ADMIN_BITS)
    }

    /// Differs for each backend that had the slot.
    pub fn generation(self) -> u64 {
        self.0 >> GENERATION_AT
    }

    fn new(generation: u64, source: Option<Source>, admin: Admin) -> Standing {
        let source = source.map_or(0, Source::to_bits);
        Standing(generation << GENERATION_AT | source << SOURCE_AT | admin.to_bits())
    }
}

/// A backend that is added while the service runs.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share, 1 to 256.
    pub weight: u32,
    /// Requests at once over all workers; 0 is no cap.
    pub max_connections: u32,
    /// When it is forgotten, on the monotonic clock, if it has not said that it is still there.
    pub lease: Option<Millis>,
}

/// How the last active check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// Whether it passed.
    pub passed: bool,
    /// The status of the answer; 0 if there was none, or no request.
    pub status: u16,
    /// How long it took.
    pub took: Micros,
    /// When it ended, on the monotonic clock.
    pub at: Millis,
}

/// The cells of one backend.
#[derive(Clone, Copy)]
pub struct BackendCells {
    pub(super) cells: &'static [AtomicU64],
}

impl BackendCells {
    pub(super) fn new(cells: &'static [AtomicU64]) -> BackendCells {
        BackendCells { cells }
    }

    fn get(&self, place: usize) -> u64 {
        self.cells[place].load(SeqCst)
    }

    fn set(&self, place: usize, value: u64) {
        self.cells[place].store(value, SeqCst);
    }

    /// Which backend has the slot, and what the operator wants of it.
    pub fn standing(&self) -> Standing {
        Standing(self.get(STANDING))
    }

    /// Who named it. `None`: nobody has the slot.
    pub fn source(&self) -> Option<Source> {
        self.standing().source()
    }

    /// What the operator wants of it.
    pub fn admin(&self) -> Admin {
        self.standing().admin()
    }

    /// Its pool.
    pub fn pool(&self) -> PoolId {
        PoolId(self.get(POOL) as usize)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let port = self.get(PORT);
        let bits = u128::from(self.get(IP)) << 64 | u128::from(self.get(IP + 1));
        let ip = if port & IS_V4 == 0 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        };
        SocketAddr::new(ip, (port & PORT_BITS) as u16)
    }

    /// Whether it stands in only for primaries that are out.
    pub fn is_backup(&self) -> bool {
        self.get(PORT) & IS_BACKUP != 0
    }

    /// Its share of the requests, 1 to 256.
    pub fn weight(&self) -> u32 {
        self.get(WEIGHT) as u32
    }

    /// Requests that it may have at once over all workers; 0 is no cap.
    pub fn cap(&self) -> u32 {
        self.get(CAP) as u32
    }

    /// Requests that it has now, over all workers.
    pub fn load(&self) -> u32 {
        self.get(LOAD) as u32
    }

    /// What active checks tell.
    pub fn check(&self) -> Check {
        Check::from_bits(self.get(CHECK))
    }

    /// What requests and probes tell.
    pub fn passive(&self) -> Passive {
        Passive::from_bits(self.get(PASSIVE))
    }

    /// Whether it may be asked.
    pub fn availability(&self) -> Availability {
        availability(self.check(), self.passive(), self.admin())
    }

    /// Whether everybody may ask it.
    pub fn is_up(&self) -> bool {
        self.availability() == Availability::Up
    }

    /// Since when it works, or does not, or is drained: on the monotonic clock. `None` if it has
    /// worked since the service started.
    pub fn state_since(&self) -> Option<Millis> {
        let since = self.get(SINCE);
        (since > 0).then_some(Millis(since))
    }

    /// How long ago it came up, if it did and is.
    pub fn up_for(&self, now: Millis) -> Option<Millis> {
        let since = self.state_since().filter(|_| self.is_up())?;
        Some(now - since)
    }

    /// For how long it did not work in all, up to the last time when it came back.
    pub fn downtime(&self) -> Millis {
        Millis(self.get(DOWNTIME))
    }

    /// When it is forgotten, if it has to say that it is there.
    pub fn lease(&self) -> Option<Millis> {
        let end = self.get(LEASE);
        (end > 0).then_some(Millis(end))
    }

    /// How the last active check went, if there was one.
    pub fn last_check(&self) -> Option<LastCheck> {
        let (at, bits) = (self.get(CHECKED_AT), self.get(CHECKED));
        (at > 0).then_some(LastCheck {
            passed: bits & PASSED != 0,
            status: (bits >> STATUS_AT & STATUS_BITS) as u16,
            took: Micros(bits >> TOOK_AT),
            at: Millis(at),
        })
    }

    /// Active checks that failed.
    pub fn check_failures(&self) -> u64 {
        self.get(CHECK_FAILURES)
    }

    pub(super) fn load_config(&self, pool: PoolId, backend: &config::Backend) {
        self.write(
            pool,
            Registration {
                address: backend.address,
                weight: backend.weight,
                max_connections: backend.max_connections,
                lease: None,
            },
            backend.backup,
            (Source::File, None),
        );
    }

    fn write(
        &self,
        pool: PoolId,
        entry: Registration,
        is_backup: bool,
        (source, since): (Source, Option<Millis>),
    ) {
        self.set(POOL, pool.0 as u64);
        let port = u64::from(entry.address.port());
        let (bits, family) = match entry.address.ip() {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()), IS_V4),
            IpAddr::V6(ip) => (ip.to_bits(), 0),
        };
        self.set(IP, (bits >> 64) as u64);
        self.set(IP + 1, bits as u64);
        self.set(PORT, port | family | if is_backup { IS_BACKUP } else { 0 });
        self.set(WEIGHT, u64::from(entry.weight));
        self.set(CAP, u64::from(entry.max_connections));
        self.set(LEASE, entry.lease.map_or(0, |lease| lease.0));
        for place in [CHECK, PASSIVE, CHECKED_AT, CHECKED, CHECK_FAILURES, DOWNTIME] {
            self.set(place, 0);
        }
        self.set(SINCE, since.map_or(0, |since| since.0));
        // Last: with it the slot is somebody's.
        let generation = self.standing().generation() + 1;
        self.set(STANDING, Standing::new(generation, Some(source), Admin::Ready).0);
    }

    /// What the operator wants changes, and nobody is told yet.
    #[cfg(test)]
    pub fn set_standing_quietly(&self, admin: Admin) {
        self.set_standing(self.source(), admin);
    }

    fn set_standing(&self, source: Option<Source>, admin: Admin) {
        self.set(STANDING, Standing::new(self.standing().generation(), source, admin).0);
    }

    /// It registers again before it was forgotten, and nothing speaks against it any more.
    fn begin_again(&self, entry: Registration, now: Millis) {
        let before = self.availability();
        self.set(WEIGHT, u64::from(entry.weight));
        self.set(CAP, u64::from(entry.max_connections));
        self.set(LEASE, entry.lease.map_or(0, |lease| lease.0));
        for place in [CHECK, PASSIVE, CHECKED_AT, CHECKED] {
            self.set(place, 0);
        }
        self.set_standing(Some(Source::Api), Admin::Ready);
        self.note_change(before, now);
    }

    /// Notes the time, if it is in another state than before, and for how long it had not worked.
    fn note_change(&self, before: Availability, now: Millis) {
        if self.availability() == before {
            return;
        }
        if before == Availability::Down {
            let down = self.state_since().map_or(Millis(0), |since| now - since);
            self.set(DOWNTIME, self.get(DOWNTIME) + down.0);
        }
        self.set(SINCE, now.0);
    }
}

/// What the control process alone does.
impl Segment {
    /// The backend of a pool that listens at `address`, unless it is leaving.
    pub fn find(&self, pool: PoolId, address: SocketAddr) -> Option<Slot> {
        self.find_any(pool, address).filter(|slot| self.backend(*slot).admin() != Admin::Leaving)
    }

    /// There is never more than one of an address.
    fn find_any(&self, pool: PoolId, address: SocketAddr) -> Option<Slot> {
        let server = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        self.members(pool).find(|slot| server(self.backend(*slot).address()) == server(address))
    }

    /// Adds a primary that is not there, or only leaving, to a pool. `None` if no slot is free.
    pub fn register(&self, pool: PoolId, entry: Registration) -> Option<Slot> {
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
    pub fn free_slot(&self) -> Option<Slot> {
        self.spares().find(|slot| self.backend(*slot).source().is_none())
    }

    /// Sets its share.
    pub fn set_weight(&self, slot: Slot, weight: u32) {
        self.backend(slot).set(WEIGHT, u64::from(weight));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets how many requests it may have at once. Who waits is to be rung.
    pub fn set_cap(&self, slot: Slot, cap: u32) {
        self.backend(slot).set(CAP, u64::from(cap));
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets when it is forgotten.
    pub fn set_lease(&self, slot: Slot, lease: Option<Millis>) {
        self.backend(slot).set(LEASE, lease.map_or(0, |lease| lease.0));
    }

    /// Sets what the operator wants of it. Who waits is to be rung.
    pub fn set_admin(&self, slot: Slot, admin: Admin, now: Millis) {
        let backend = self.backend(slot);
        if backend.admin() != admin {
            let before = backend.availability();
            backend.set_standing(backend.source(), admin);
            backend.note_change(before, now);
            self.pool(backend.pool()).bump();
        }
    }

    /// Sets what is known of how it fares from before this segment was made.
    pub fn set_health(&self, slot: Slot, check: Check, passive: Passive) {
        self.backend(slot).set(CHECK, check.to_bits());
        self.backend(slot).set(PASSIVE, passive.to_bits());
        self.pool(self.backend(slot).pool()).bump();
    }

    /// Sets since when that is so, and how it fared before.
    pub fn set_history(
        &self,
        slot: Slot,
        since: Option<Millis>,
        downtime: Millis,
        check_failures: u64,
    ) {
        let backend = self.backend(slot);
        backend.set(SINCE, since.map_or(0, |since| since.0));
        backend.set(DOWNTIME, downtime.0);
        backend.set(CHECK_FAILURES, check_failures);
    }

    /// Sets how the last active check went.
    pub fn set_last_check(&self, slot: Slot, result: LastCheck) {
        let backend = self.backend(slot);
        let passed = if result.passed { PASSED } else { 0 };
        let status = u64::from(result.status) & STATUS_BITS;
        backend.set(CHECKED, passed | status << STATUS_AT | result.took.0 << TOOK_AT);
        backend.set(CHECKED_AT, result.at.0);
    }

    /// Frees the slot of a backend that is leaving, if nobody has a request or a connection there.
    /// Whether it did. See the head of this module.
    pub fn forget_if_unused(&self, slot: Slot) -> bool {
        let backend = self.backend(slot);
        if backend.admin() != Admin::Leaving || backend.load() > 0 || self.has_idle(slot) {
            return false;
        }
        backend.set_standing(None, Admin::Ready);
        self.pool(backend.pool()).bump();
        true
    }

    /// Takes in how an active check went. A change is the caller's to tell of, and so are those
    /// who wait to ring.
    pub fn note_check(&self, slot: Slot, result: LastCheck, rules: &CheckRules) -> Option<Change> {
        let backend = self.backend(slot);
        self.set_last_check(slot, result);
        if !result.passed {
            backend.set(CHECK_FAILURES, backend.check_failures() + 1);
        }
        let mut check = backend.check();
        let change = check.observe(result.passed, rules);
        backend.set(CHECK, check.to_bits());
        self.settle_change(slot, change, backend.passive().is_up(), result.at)
    }
}

/// What any process may do.
impl Segment {
    /// Whether a backend may be asked.
    pub fn may_pick(&self, slot: Slot) -> Availability {
        self.backend(slot).availability()
    }

    /// Takes in what was seen of a backend at a request or a probe. Who is told of a change has
    /// made it, and nobody else is: it is the caller's to log, and those who wait are to be rung.
    ///
    /// The last backend of its pool that is up is never marked, also if several processes mark the
    /// last few at once.
    pub fn observe(&self, slot: Slot, event: Event, now: Millis, rules: &Rules) -> Option<Change> {
        let backend = self.backend(slot);
        let mut before = backend.get(PASSIVE);
        let (after, change) = loop {
            let (after, change) = self.after(slot, before, event, now, rules);
            if after == before {
                return None; // Nearly always: an answer of one that fares well.
            }
            match backend.cells[PASSIVE].compare_exchange(before, after, SeqCst, SeqCst) {
                Ok(_) => break (after, change),
                Err(actual) => before = actual,
            }
        };
        if change == Some(Change::Down) && self.is_unmarked_if_last(slot, before, after) {
            return None;
        }
        self.settle_change(slot, change, backend.check().is_up(), now)
    }

    /// The mark's bits after an event.
    fn after(
        &self,
        slot: Slot,
        before: u64,
        event: Event,
        now: Millis,
        rules: &Rules,
    ) -> (u64, Option<Change>) {
        let mut passive = Passive::from_bits(before);
        let mut change = health::observe(&mut passive, event, now, rules, false);
        if change == Some(Change::Down) && self.is_last_up(slot) {
            passive = Passive::from_bits(before);
            change = health::observe(&mut passive, event, now, rules, true);
        }
        (passive.to_bits(), change)
    }

    fn is_last_up(&self, slot: Slot) -> bool {
        let pool = self.backend(slot).pool();
        let mut others = self.members(pool).filter(|other| *other != slot);
        self.backend(slot).is_up() && !others.any(|other| self.backend(other).is_up())
    }

    /// Takes a mark back that has left no backend of the pool up: another process has marked
    /// another one at the same time. Both may take theirs back, which is no harm.
    fn is_unmarked_if_last(&self, slot: Slot, before: u64, after: u64) -> bool {
        let backend = self.backend(slot);
        let would_be = availability(backend.check(), Passive::from_bits(before), backend.admin());
        would_be == Availability::Up
            && self.count_up(backend.pool()).0 == 0
            && backend.cells[PASSIVE].compare_exchange(after, before, SeqCst, SeqCst).is_ok()
    }

    /// After checks or requests have changed their mind: it counts only if the others (`is_up`) do
    /// not speak against the backend anyway.
    fn settle_change(
        &self,
        slot: Slot,
        change: Option<Change>,
        is_up: bool,
        now: Millis,
    ) -> Option<Change> {
        let backend = self.backend(slot);
        let change = change.filter(|_| is_up)?;
        // What the operator has taken out is in the same state whatever is found.
        if backend.admin() != Admin::Maint {
            let before = match change {
                Change::Up => Availability::Down,
                Change::Down => Availability::Up,
            };
            backend.note_change(before, now);
        }
        self.pool(backend.pool()).bump();
        Some(change)
    }
}
