//! The cells of a backend: where it is, how it is to be used, how it fares.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::config::{self, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{AdminState, Availability, Check, Passive, availability};

use super::layout::{LINE, PoolId};

/// Cells of a backend's settings.
pub(super) const SETTINGS: usize = 4 * LINE;
/// Live cells of a backend: a line that is mostly read, one that each request writes.
pub(super) const LIVE: usize = 2 * LINE;

const STANDING: usize = 0;
const POOL: usize = 1;
const IS_BACKUP: usize = 2;
pub(super) const WEIGHT: usize = 5;
pub(super) const CAP: usize = 6;
pub(super) const CHECK: usize = 7;
pub(super) const LEASE: usize = 8;
const CHECKED_AT: usize = 9;
const CHECKED: usize = 10;
pub(super) const CHECK_FAILURES: usize = 11;
pub(super) const LOAD_ELSEWHERE: usize = 12;
pub(super) const IDLE_ELSEWHERE: usize = 13;
const ADDRESS: usize = 2 * LINE;

// The live cells.
pub(super) const PASSIVE: usize = 0;
pub(super) const SINCE: usize = 1;
pub(super) const DOWNTIME: usize = 2;
pub(super) const LOAD: usize = LINE;

// The parts of the cell STANDING.
const ADMIN_BITS: u64 = 0b11;
const SOURCE_AT: u32 = 2;
const SOURCE_BITS: u64 = 0b11;
const GENERATION_AT: u32 = 8;
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
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Api => "api",
        }
    }
}

/// Which backend has a slot, and what the operator wants of it: what a worker compares to know
/// whether it is still the one it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotState(u64);

impl SlotState {
    /// Who named it. `None`: nobody has the slot.
    pub fn source(self) -> Option<Source> {
        Source::from_bits(self.0 >> SOURCE_AT & SOURCE_BITS)
    }

    /// What the operator wants of it.
    pub fn admin(self) -> AdminState {
        AdminState::from_bits(self.0 & ADMIN_BITS)
    }

    /// Differs for each backend that had the slot.
    pub fn generation(self) -> u64 {
        self.0 >> GENERATION_AT
    }

    fn new(generation: u64, source: Option<Source>, admin: AdminState) -> SlotState {
        let source = source.map_or(0, Source::to_bits);
        SlotState(generation << GENERATION_AT | source << SOURCE_AT | admin.to_bits())
    }
}

/// A backend that is added while the service runs.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Where it listens.
    pub address: Endpoint,
    /// Its share, 1 to 256.
    pub weight: u32,
    /// Requests at once over all workers; 0 is no cap.
    pub max_connections: u32,
    /// When it is forgotten, on the monotonic clock, if it has not said that it is still there.
    pub lease: Option<Millis>,
}

/// How the last active check went. The next image of the program reads it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub(super) settings: &'static [AtomicU64],
    pub(super) live: &'static [AtomicU64],
}

impl BackendCells {
    fn get(&self, place: usize) -> u64 {
        self.settings[place].load(SeqCst)
    }

    pub(super) fn set(&self, place: usize, value: u64) {
        self.settings[place].store(value, SeqCst);
    }

    pub(super) fn get_live(&self, place: usize) -> u64 {
        self.live[place].load(SeqCst)
    }

    pub(super) fn set_live(&self, place: usize, value: u64) {
        self.live[place].store(value, SeqCst);
    }

    /// Which backend has the slot, and what the operator wants of it.
    pub fn standing(&self) -> SlotState {
        SlotState(self.get(STANDING))
    }

    /// Who named it. `None`: nobody has the slot.
    pub fn source(&self) -> Option<Source> {
        self.standing().source()
    }

    /// What the operator wants of it.
    pub fn admin(&self) -> AdminState {
        self.standing().admin()
    }

    /// Its pool.
    pub fn pool(&self) -> PoolId {
        PoolId(self.get(POOL) as usize)
    }

    /// Where it listens.
    pub fn address(&self) -> Endpoint {
        Endpoint::from_words(&std::array::from_fn(|place| self.get(ADDRESS + place)))
    }

    /// The same, by which it is known: see [`Endpoint::canonical`].
    pub(super) fn server(&self) -> Endpoint {
        self.address().canonical()
    }

    /// Whether it stands in only for primaries that are out.
    pub fn is_backup(&self) -> bool {
        self.get(IS_BACKUP) != 0
    }

    /// Its share of the requests, 1 to 256.
    pub fn weight(&self) -> u32 {
        self.get(WEIGHT) as u32
    }

    /// Requests that it may have at once over all workers; 0 is no cap.
    pub fn cap(&self) -> u32 {
        self.get(CAP) as u32
    }

    /// Requests that it has now, over all workers, those of other generations too.
    pub fn load(&self) -> u32 {
        (self.get_live(LOAD) as u32).saturating_add(self.load_elsewhere())
    }

    /// Those of other generations.
    pub(super) fn load_elsewhere(&self) -> u32 {
        self.get(LOAD_ELSEWHERE) as u32
    }

    /// What active checks tell.
    pub fn check(&self) -> Check {
        Check::from_bits(self.get(CHECK))
    }

    /// What requests and probes tell.
    pub fn passive(&self) -> Passive {
        Passive::from_bits(self.get_live(PASSIVE))
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
        let since = self.get_live(SINCE);
        (since > 0).then_some(Millis(since))
    }

    /// How long ago it came up, if it did and is.
    pub fn up_for(&self, now: Millis) -> Option<Millis> {
        let since = self.state_since().filter(|_| self.is_up())?;
        Some(now - since)
    }

    /// For how long it did not work in all, up to the last time when it came back.
    pub fn downtime(&self) -> Millis {
        Millis(self.get_live(DOWNTIME))
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

    pub(super) fn write_check(&self, result: LastCheck) {
        let passed = if result.passed { PASSED } else { 0 };
        let status = u64::from(result.status) & STATUS_BITS;
        self.set(CHECKED, passed | status << STATUS_AT | result.took.0 << TOOK_AT);
        self.set(CHECKED_AT, result.at.0);
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

    pub(super) fn write(
        &self,
        pool: PoolId,
        entry: Registration,
        is_backup: bool,
        (source, since): (Source, Option<Millis>),
    ) {
        self.set(POOL, pool.0 as u64);
        for (place, word) in entry.address.to_words().into_iter().enumerate() {
            self.set(ADDRESS + place, word);
        }
        self.set(IS_BACKUP, u64::from(is_backup));
        self.set(WEIGHT, u64::from(entry.weight));
        self.set(CAP, u64::from(entry.max_connections));
        self.set(LEASE, entry.lease.map_or(0, |lease| lease.0));
        for place in [CHECK, CHECKED_AT, CHECKED, CHECK_FAILURES] {
            self.set(place, 0);
        }
        for place in [PASSIVE, DOWNTIME] {
            self.set_live(place, 0);
        }
        self.set_live(SINCE, since.map_or(0, |since| since.0));
        // Last: with it the slot is somebody's.
        let generation = self.standing().generation() + 1;
        self.set(STANDING, SlotState::new(generation, Some(source), AdminState::Ready).0);
    }

    /// What the operator wants changes, and nobody is told yet.
    #[cfg(test)]
    pub fn set_standing_quietly(&self, admin: AdminState) {
        self.set_standing(self.source(), admin);
    }

    pub(super) fn set_standing(&self, source: Option<Source>, admin: AdminState) {
        self.set(STANDING, SlotState::new(self.standing().generation(), source, admin).0);
    }

    /// It registers again before it was forgotten, and nothing speaks against it any more.
    pub(super) fn begin_again(&self, entry: Registration, now: Millis) {
        let before = self.availability();
        self.set(WEIGHT, u64::from(entry.weight));
        self.set(CAP, u64::from(entry.max_connections));
        self.set(LEASE, entry.lease.map_or(0, |lease| lease.0));
        for place in [CHECK, CHECKED_AT, CHECKED] {
            self.set(place, 0);
        }
        self.set_live(PASSIVE, 0);
        self.set_standing(Some(Source::Api), AdminState::Ready);
        self.note_change(before, now);
    }

    /// Notes the time, if it is in another state than before, and for how long it had not worked.
    pub(super) fn note_change(&self, before: Availability, now: Millis) {
        if self.availability() == before {
            return;
        }
        if before == Availability::Down {
            let down = self.state_since().map_or(Millis(0), |since| now - since);
            self.set_live(DOWNTIME, self.get_live(DOWNTIME).saturating_add(down.0));
        }
        self.set_live(SINCE, now.0);
    }
}
