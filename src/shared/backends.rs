//! The cells of a backend: where it is, how it is to be used, how it fares.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::config::{self, AUTO_CAP, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::policy::concurrency::{self, FoundCap};
use crate::policy::health::{AdminState, Availability, Check, CheckFault, Passive, availability};
use crate::policy::slow_start::{self, Growth};

use super::layout::{LINE, PoolId};

/// Cells of a backend's settings.
pub(super) const SETTINGS: usize = 5 * LINE;
/// Live cells of a backend: a line that is mostly read, one that each request writes.
pub(super) const LIVE: usize = 2 * LINE;

const STANDING: usize = 0;
const POOL: usize = 1;
pub(super) const IS_BACKUP: usize = 2;
/// Why the last check failed that did; 0: none has.
const CHECK_FAULT: usize = 3;
const FOUND_CAP: usize = 4;
pub(super) const WEIGHT: usize = 5;
pub(super) const CAP: usize = 6;
pub(super) const CHECK: usize = 7;
pub(super) const LEASE: usize = 8;
const CHECKED_AT: usize = 9;
const CHECKED: usize = 10;
pub(super) const CHECK_FAILURES: usize = 11;
pub(super) const LOAD_ELSEWHERE: usize = 12;
pub(super) const IDLE_ELSEWHERE: usize = 13;
/// What an operator has set of it: see `wishes.rs`.
pub(super) const WISH: usize = 14;
/// Where it was, once the slot is nobody's: the pool, by the hash of its name.
pub(super) const LEFT_POOL: usize = 15;
/// Whether the registry does not know it yet: see `wishes.rs`.
pub(super) const HELD: usize = 32;
const ADDRESS: usize = 2 * LINE;
/// Which of the configuration's names brings it, and one.
pub(super) const NAMED: usize = ADDRESS + Endpoint::WORDS;
const _: () = assert!(NAMED < SETTINGS);

// The live cells.
pub(super) const PASSIVE: usize = 0;
pub(super) const SINCE: usize = 1;
pub(super) const DOWNTIME: usize = 2;
/// When it gave a good response that ended its trial.
pub(super) const PROVEN: usize = 3;
/// When the last failure that counts was seen, in microseconds.
pub(super) const LAST_FAILURE: usize = 4;
pub(super) const LOAD: usize = LINE;

// The parts of the cell STANDING.
const ADMIN_BITS: u64 = 0b11;
const SOURCE_AT: u32 = 2;
const SOURCE_BITS: u64 = 0b111;
const GENERATION_AT: u32 = 8;
// The parts of the cell FOUND_CAP: the cap is below.
const SATURATED: u64 = 1 << 32;
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
    /// It is an address of a name that the configuration has.
    Name,
    /// The registry that many instances share.
    Registry,
}

impl Source {
    pub(super) const fn to_bits(self) -> u64 {
        match self {
            Source::File => 1,
            Source::Api => 2,
            Source::Name => 3,
            Source::Registry => 4,
        }
    }

    /// `None` for zero: nobody.
    pub(super) const fn from_bits(bits: u64) -> Option<Source> {
        match bits {
            0 => None,
            1 => Some(Source::File),
            3 => Some(Source::Name),
            4 => Some(Source::Registry),
            _ => Some(Source::Api),
        }
    }

    /// As operators read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Api => "api",
            Source::Name => "name",
            Source::Registry => "registry",
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

/// Names one of the names that the configuration has: its place in [`Config::named`](config::Config::named).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameId(pub usize);

/// A backend that is added while the service runs.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// The name that brings it; else it is there because it, or an operator, has said so.
    pub name: Option<NameId>,
    /// Where it listens.
    pub address: Endpoint,
    /// Its share, 1 to 256.
    pub weight: u32,
    /// Requests at once over all workers; 0 is no cap, [`AUTO_CAP`] one that finds itself.
    pub max_connections: u32,
    /// When it is forgotten, on the monotonic clock, if it has not said that it is still there, or is not
    /// named again.
    pub lease: Option<Millis>,
    /// Whether it stands in only for primaries that are out.
    pub backup: bool,
    /// What is wanted of it from its first moment on.
    pub state: AdminState,
    /// The registry brings it.
    pub is_shared: bool,
}

impl Registration {
    /// A primary of weight 1, without a limit, that stays.
    pub const fn at(address: Endpoint) -> Registration {
        Registration {
            name: None,
            address,
            weight: 1,
            max_connections: 0,
            lease: None,
            backup: false,
            state: AdminState::Ready,
            is_shared: false,
        }
    }

    /// Who has added it.
    pub fn source(&self) -> Source {
        match self.name {
            Some(_) => Source::Name,
            None if self.is_shared => Source::Registry,
            None => Source::Api,
        }
    }
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
    pub(super) fn get(&self, place: usize) -> u64 {
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

    /// The name that brings it, if one does.
    pub fn name(&self) -> Option<NameId> {
        let is_named = self.source() == Some(Source::Name);
        let place = usize::try_from(self.get(NAMED)).ok()?.checked_sub(1)?;
        is_named.then_some(NameId(place))
    }

    /// Whether it stands in only for primaries that are out.
    pub fn is_backup(&self) -> bool {
        self.get(IS_BACKUP) != 0
    }

    /// Its share of the requests, 1 to 256.
    pub fn weight(&self) -> u32 {
        self.get(WEIGHT) as u32
    }

    /// Requests that it may have at once over all workers, as was said: 0 is no cap, [`AUTO_CAP`] one that
    /// finds itself.
    pub fn max_connections(&self) -> u32 {
        self.get(CAP) as u32
    }

    /// The same, as it is now.
    pub fn cap(&self) -> u32 {
        match self.max_connections() {
            AUTO_CAP => self.found_cap().cap,
            cap => cap,
        }
    }

    /// What was found of how many it bears; matters where its cap finds itself.
    pub fn found_cap(&self) -> FoundCap {
        match self.get(FOUND_CAP) {
            0 => FoundCap { cap: concurrency::START, is_saturated: false },
            bits => FoundCap { cap: bits as u32, is_saturated: bits & SATURATED != 0 },
        }
    }

    /// Notes what was found. Who waits is to be rung, if it is more than before.
    pub fn set_found_cap(&self, found: FoundCap) {
        let saturated = if found.is_saturated { SATURATED } else { 0 };
        self.set(FOUND_CAP, u64::from(found.cap) | saturated);
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

    /// How its share grows now, if it does, in a pool with this `slow_start`: after a trial in any.
    pub fn growth(&self, now: Millis, slow_start: Millis) -> Option<Growth> {
        let over = slow_start.max(slow_start::TRIAL);
        if !self.is_up() {
            return None;
        }
        if self.passive().is_on_trial() {
            return Some(Growth { up_for: Millis(0), over, waits: true });
        }
        let proven = self.proven().filter(|proven| *proven <= now && now - *proven < over);
        if let Some(proven) = proven {
            return Some(Growth { up_for: now - proven, over, waits: false });
        }
        let up_for = self.up_for(now).filter(|up_for| *up_for < slow_start)?;
        Some(Growth { up_for, over: slow_start, waits: false })
    }

    /// When it gave the good response that ended its last trial, if there was one.
    pub fn proven(&self) -> Option<Millis> {
        let proven = self.get_live(PROVEN);
        (proven > 0).then_some(Millis(proven))
    }

    /// Why it is down, in words: by its checks, else by what requests have found.
    pub fn why(&self) -> Option<String> {
        if self.availability() != Availability::Down {
            return None;
        }
        let by_check = self.check_fault().filter(|_| !self.check().is_up());
        let by_check = by_check.map(|fault| fault.to_string());
        by_check.or_else(|| Some(self.passive().why()?.to_string()))
    }

    /// Why the last check failed that did.
    pub fn check_fault(&self) -> Option<CheckFault> {
        let bits = self.get(CHECK_FAULT);
        (bits > 0).then(|| CheckFault::from_bits(bits))
    }

    pub(super) fn set_check_fault(&self, fault: Option<CheckFault>) {
        self.set(CHECK_FAULT, fault.map_or(0, CheckFault::to_bits));
    }

    /// For how long it did not work in all, up to the last time when it came back.
    pub fn downtime(&self) -> Millis {
        Millis(self.get_live(DOWNTIME))
    }

    /// When it is forgotten, if it has to say that it is there, or is named no more.
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

    pub(super) fn set_address(&self, address: Endpoint) {
        for (place, word) in address.to_words().into_iter().enumerate() {
            self.set(ADDRESS + place, word);
        }
    }

    pub(super) fn load_config(&self, pool: PoolId, backend: &config::Backend) {
        self.write(
            pool,
            Registration {
                weight: backend.weight,
                max_connections: backend.max_connections,
                backup: backend.backup,
                ..Registration::at(backend.address)
            },
            Source::File,
            None,
        );
    }

    pub(super) fn write(
        &self,
        pool: PoolId,
        entry: Registration,
        source: Source,
        since: Option<Millis>,
    ) {
        self.set(POOL, pool.0 as u64);
        self.set_address(entry.address);
        self.set(WISH, 0);
        self.set(HELD, 0);
        self.write_use(entry);
        for place in [CHECK, CHECKED_AT, CHECKED, CHECK_FAILURES, CHECK_FAULT, FOUND_CAP] {
            self.set(place, 0);
        }
        for place in [PASSIVE, DOWNTIME, PROVEN, LAST_FAILURE] {
            self.set_live(place, 0);
        }
        self.set_live(SINCE, since.map_or(0, |since| since.0));
        // Last: with it the slot is somebody's.
        let generation = self.standing().generation() + 1;
        self.set(STANDING, SlotState::new(generation, Some(source), entry.state).0);
    }

    /// How it is to be used, and on whose word.
    fn write_use(&self, entry: Registration) {
        self.set(NAMED, entry.name.map_or(0, |name| name.0 as u64 + 1));
        self.set(IS_BACKUP, u64::from(entry.backup));
        self.set(WEIGHT, u64::from(entry.weight));
        self.set(CAP, u64::from(entry.max_connections));
        self.set(LEASE, entry.lease.map_or(0, |lease| lease.0));
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
        self.write_use(entry);
        for place in [CHECK, CHECKED_AT, CHECKED, CHECK_FAULT] {
            self.set(place, 0);
        }
        self.set_live(PASSIVE, 0);
        self.set_standing(Some(entry.source()), entry.state);
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
