//! Backends that come by names: what the process that looks them up has found, what becomes of it
//! (`policy/naming.rs`), and the cells that are changed by that.
//!
//! The cells are brought to what they should be each time, whatever they were: so a control process that
//! takes another's place goes on where that was, and an address that somebody else brings too is one
//! backend, by whoever has the older right: the file, who has registered, the first of the names.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::units::write_duration;
use crate::config::{Config, Endpoint, Lookup, NamedServer};
use crate::mem::time::{Clocks, Micros, Millis};
use crate::policy::health::AdminState;
use crate::policy::naming::{
    Answer, Change, NameAddresses, NameRules, NameShare, NameStatus, NamedAddress, SCOPES, Scope,
};
use crate::shared::name_report::{NameReport, NamesMessage};
use crate::shared::wakers::Wakers;
use crate::shared::{
    BackendId, NameId, NameStanding, PoolId, Registration, Segment, ServiceCell, Source, WaitFor,
};
use crate::sys::Channel;
use crate::sys::log::{self, Level};

/// A helper that was not heard of at so many looks in a row, a second apart, hangs.
const MOST_SILENT_LOOKS: u32 = 10;
/// Messages that are heard in a turn.
const MOST_MESSAGES: usize = 256;
/// A service that is so young has known no other backends before.
const YOUNG: Micros = Micros::from_secs(60);
/// How often it is told again that a name cannot be looked up.
const TELL_AGAIN: Micros = Micros::from_secs(3600);

/// A name, and what is known of it.
struct Entry {
    id: NameId,
    pool: PoolId,
    named: NamedServer,
    addresses: NameAddresses,
    /// How each address is used by the cells, as far as names have a say in it.
    written: BTreeMap<SocketAddr, NameShare>,
    standing: NameStanding,
    last_error: Option<String>,
    /// When that was told.
    told: Micros,
    /// What was known when the service ran last, until something is known now.
    stored: Option<NameReport>,
    /// Addresses that are left out, as was told.
    surplus: usize,
}

/// One name as operators see it.
#[derive(Clone, Debug)]
pub struct NameView {
    /// What is looked up.
    pub lookup: Lookup,
    /// The pool that it brings backends to.
    pub pool: String,
    /// How it stands.
    pub status: NameStatus,
    /// For how long.
    pub since: Millis,
    /// How long ago a look-up last found something, and when that was.
    pub last_found: Option<(Millis, Micros)>,
    /// What is named.
    pub addresses: Vec<SocketAddr>,
    /// What is named no more.
    pub going: Vec<SocketAddr>,
    /// Why it has no address, or nobody knows.
    pub last_error: Option<String>,
    /// Look-ups by their results.
    pub lookups: [u64; NameStatus::RESULTS.len()],
}

impl NameView {
    /// Why it has no backends, or perhaps not those that it should have; `None` if all is well.
    pub fn trouble(&self) -> Option<String> {
        let name = self.lookup.name();
        let reason = self.last_error.as_deref().unwrap_or_default();
        match self.status {
            NameStatus::Found => None,
            NameStatus::Never => Some(format!("{name} was never looked up: no answer yet")),
            NameStatus::Nothing => Some(format!("{name} has no address: {reason}")),
            NameStatus::Unknown if self.last_found.is_none() => {
                Some(format!("{name} was never looked up: {reason}"))
            }
            NameStatus::Unknown => Some(format!("{name} cannot be looked up: {reason}")),
        }
    }
}

/// All names.
pub struct NamedBackends {
    segment: Segment,
    line: Option<Channel>,
    entries: Vec<Entry>,
    /// Looks since the helper was last heard of.
    silent: u32,
    hold: Millis,
}

impl NamedBackends {
    /// Those of `config`, with the addresses that the cells of `segment` have by them; what is found comes
    /// by `line`.
    pub fn new(
        segment: Segment,
        config: &Config,
        line: Option<Channel>,
        now: Micros,
    ) -> NamedBackends {
        let hold = config.names.hold;
        let never = NameStanding { status: NameStatus::Never, since: now, found: None };
        let entry = |(id, (pool, named)): (usize, (usize, &NamedServer))| Entry {
            id: NameId(id),
            pool: PoolId(pool),
            named: named.clone(),
            addresses: NameAddresses::new(NameRules { max: named.max, hold }),
            written: BTreeMap::new(),
            standing: segment.name(NameId(id)).standing().unwrap_or(never),
            last_error: None,
            told: Micros(0),
            stored: None,
            surplus: 0,
        };
        let entries = config.named().enumerate().map(entry).collect();
        let mut names = NamedBackends { segment, line, entries, silent: 0, hold };
        names.adopt();
        names
    }

    /// Takes over the addresses that the cells have: of a control process before this one, or of the
    /// generation before.
    pub fn adopt(&mut self) {
        let segment = self.segment;
        for slot in (0..segment.layout().backends).map(BackendId) {
            let backend = segment.backend(slot);
            let id = backend.name().filter(|_| backend.admin() != AdminState::Leaving);
            let Some(entry) = id.and_then(|id| self.entries.get_mut(id.0)) else { continue };
            let Endpoint::Tcp(address) = backend.address() else { continue };
            if entry.addresses.find(&address).is_some() {
                continue;
            }
            let share = NameShare { weight: backend.weight(), backup: backend.is_backup() };
            entry.addresses.assume(address, NamedAddress { share, goes_at: backend.lease() });
            entry.written.insert(address, share);
        }
    }

    /// Whether each name was looked up, whatever came of it.
    pub fn are_known(&self) -> bool {
        self.entries.iter().all(|entry| entry.standing.status != NameStatus::Never)
    }

    /// Takes in what the helper has found, and brings the cells to what they should be. Whether these have
    /// changed.
    pub fn tend(&mut self, wakers: &Wakers, now: Clocks) -> bool {
        for _ in 0..MOST_MESSAGES {
            let Some(message) = self.line.as_ref().and_then(Channel::receive) else { break };
            self.silent = 0;
            match NamesMessage::parse(&message.text) {
                Some(NamesMessage::Answer(report)) => self.answered(&report, now),
                Some(NamesMessage::Stored(report)) => {
                    if let Some(entry) = self.entries.get_mut(report.name) {
                        entry.stored = Some(report);
                    }
                }
                Some(NamesMessage::Beat) | None => (),
            }
        }
        for entry in &mut self.entries {
            let gone = entry.addresses.expire(now.clock.millis());
            entry.tell(&self.segment, &gone, self.hold);
        }
        self.reconcile(wakers, now)
    }

    /// A second has passed. Whether the helper was not heard of for too long.
    pub fn hangs(&mut self) -> bool {
        if self.line.is_none() || self.entries.is_empty() {
            return false;
        }
        self.silent += 1;
        let hangs = self.silent >= MOST_SILENT_LOOKS;
        if hangs {
            self.silent = 0;
        }
        hangs
    }

    /// When `tend` is to be called next, if nothing is heard.
    pub fn next_deadline(&self) -> Option<Micros> {
        let deadlines = self.entries.iter().filter_map(|entry| entry.addresses.next_deadline());
        // A millisecond more, so that it is over then.
        deadlines.min().map(|deadline| Micros::from(deadline + Millis(1)))
    }

    /// The name that brings a backend.
    pub fn of(&self, slot: BackendId) -> Option<&Lookup> {
        let id = self.segment.backend(slot).name()?;
        self.entries.get(id.0).map(|entry| &entry.named.lookup)
    }

    /// Nobody has answered in time for names that have no address yet: those are used that they had when
    /// the service ran last.
    pub fn use_stored(&mut self, wakers: &Wakers, now: Clocks) {
        for entry in self.entries.iter_mut().filter(|one| one.standing.status == NameStatus::Never)
        {
            entry.use_stored(&self.segment, [true; 2]);
        }
        self.reconcile(wakers, now);
    }

    fn answered(&mut self, report: &NameReport, now: Clocks) {
        let Some(entry) = self.entries.get_mut(report.name) else { return };
        let answers = report.answers();
        let status = NameStatus::of(&answers);
        let changes = entry.addresses.apply(&answers, now.clock.millis());
        entry.last_error = report.reason();
        if status == NameStatus::Found {
            entry.standing.found = Some(now);
        }
        entry.tell(&self.segment, &changes, self.hold);
        let of = |answer: &Answer| *answer == Answer::Unknown;
        entry.use_stored(&self.segment, [of(&answers[0]), of(&answers[1])]);
        entry.stand(&self.segment, status, self.hold, now.clock);
        self.segment.name(entry.id).note_lookup(entry.standing);
    }

    /// Brings the cells to what the names say.
    fn reconcile(&mut self, wakers: &Wakers, now: Clocks) -> bool {
        let mut pools: Vec<PoolId> = self.entries.iter().map(|entry| entry.pool).collect();
        pools.dedup();
        let mut has_changed = false;
        for pool in pools {
            if self.reconcile_pool(pool, now) {
                has_changed = true;
                // Who waits may have another backend to go to, or none any more.
                wakers.wake_all(&self.segment, WaitFor::Pool(pool));
            }
        }
        has_changed
    }

    fn reconcile_pool(&mut self, pool: PoolId, now: Clocks) -> bool {
        let mut wanted = self.wanted(pool);
        let mut has_changed = false;
        let slots: Vec<BackendId> = self.segment.members(pool).collect();
        for slot in slots {
            let backend = self.segment.backend(slot);
            let Endpoint::Tcp(address) = backend.address().canonical() else { continue };
            if backend.source() != Some(Source::Name) {
                if backend.admin() != AdminState::Leaving {
                    wanted.remove(&address); // Another brings it.
                }
                continue;
            }
            let is_leaving = backend.admin() == AdminState::Leaving;
            match (wanted.get(&address).copied(), is_leaving) {
                (Some((_, known)), true) if known.goes_at.is_some() => {
                    // It has failed meanwhile, and so has gone.
                    wanted.remove(&address);
                    self.of_pool(pool).for_each(|entry| entry.addresses.forget(&address));
                }
                (Some(_), true) => (), // It comes again, below.
                (Some((id, known)), false) => {
                    wanted.remove(&address);
                    has_changed |= self.update(slot, address, id, known);
                }
                (None, true) => (),
                (None, false) => {
                    self.segment.set_admin(slot, AdminState::Leaving, now.clock.millis());
                    has_changed = true;
                }
            }
        }
        for (address, (id, known)) in wanted {
            has_changed |= self.add(pool, address, id, known, now);
        }
        has_changed
    }

    /// The addresses that names bring to a pool, each once: by the first name that has it, rather than by
    /// one that has it no more.
    fn wanted(&self, pool: PoolId) -> BTreeMap<SocketAddr, (NameId, NamedAddress)> {
        let mut wanted = BTreeMap::new();
        for (id, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.pool == pool) {
            for (address, known) in entry.addresses.known() {
                let found = wanted.entry(address).or_insert((NameId(id), known));
                if found.1.goes_at.is_some() && known.goes_at.is_none() {
                    *found = (NameId(id), known);
                }
            }
        }
        wanted
    }

    fn of_pool(&mut self, pool: PoolId) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().filter(move |entry| entry.pool == pool)
    }

    /// Writes what a name says of one of its backends. What an operator has set stays until the name says
    /// something else.
    fn update(
        &mut self,
        slot: BackendId,
        address: SocketAddr,
        id: NameId,
        known: NamedAddress,
    ) -> bool {
        let segment = self.segment;
        let backend = segment.backend(slot);
        if backend.lease() != known.goes_at {
            segment.set_lease(slot, known.goes_at);
        }
        let is_others = backend.name() != Some(id);
        if is_others {
            segment.set_name(slot, id);
        }
        let before = self.entries[id.0].written.insert(address, known.share);
        if before == Some(known.share) && !is_others {
            return false;
        }
        if segment.wish(slot).weight.is_none() {
            segment.set_weight(slot, known.share.weight);
        }
        segment.set_backup(slot, known.share.backup);
        true
    }

    fn add(
        &mut self,
        pool: PoolId,
        address: SocketAddr,
        id: NameId,
        known: NamedAddress,
        now: Clocks,
    ) -> bool {
        let entry = &mut self.entries[id.0];
        if known.goes_at.is_some() {
            entry.addresses.forget(&address); // It has gone by another way.
            return false;
        }
        let registration = Registration {
            name: Some(id),
            address: address.into(),
            weight: known.share.weight,
            max_connections: entry.named.max_connections,
            backup: known.share.backup,
            lease: None,
            state: AdminState::Ready,
            is_shared: false,
        };
        // Where nobody serves yet, there is nobody beside whom it would have to start slowly.
        let is_young = now.wall - Micros(self.segment.service(ServiceCell::StartTime)) < YOUNG
            && self.segment.service(ServiceCell::InPlace) == 0;
        let since = (!is_young).then(|| now.clock.millis());
        if self.segment.register_since(pool, registration, since).is_none() {
            entry.tell_full(&self.segment, address, now.clock);
            return false;
        }
        entry.written.insert(address, known.share);
        true
    }

    /// All names, for operators.
    pub fn view(&self, now: Clocks) -> Vec<NameView> {
        self.entries.iter().map(|entry| entry.view(&self.segment, now)).collect()
    }
}

impl Entry {
    fn log(&self, segment: &Segment, level: Level, what: std::fmt::Arguments<'_>) {
        let pool = segment.pool(self.pool).name();
        log::write(level, format_args!("pool {pool}: {}{what}", self.named.lookup.name()));
    }

    /// Tells what has become of addresses.
    fn tell(&mut self, segment: &Segment, changes: &[(SocketAddr, Change)], hold: Millis) {
        for (address, change) in changes {
            let what = match change {
                Change::Comes => String::from("has come"),
                Change::Goes => {
                    format!("is named no more and goes in {}", write_hold(hold))
                }
                Change::Stays => String::from("is named again and stays"),
                Change::HasGone => String::from("has gone"),
                Change::IsUsedOtherwise => match self.addresses.find(address) {
                    Some(NamedAddress { share: NameShare { weight, backup }, .. }) => {
                        let role = if backup { "a backup" } else { "a primary" };
                        format!("has weight {weight} now, as {role}")
                    }
                    None => continue,
                },
            };
            self.log(segment, Level::Notice, format_args!(": {address} {what}"));
            if *change == Change::HasGone {
                self.written.remove(address);
            }
        }
        let surplus = self.addresses.surplus();
        if surplus > 0 && self.surplus == 0 {
            let max = self.named.max;
            self.log(
                segment,
                Level::Warning,
                format_args!(" has more than {max} addresses: the lowest are used (raise \"max\")"),
            );
        }
        self.surplus = surplus;
    }

    fn tell_full(&mut self, segment: &Segment, address: SocketAddr, now: Micros) {
        if self.told + TELL_AGAIN <= now || self.told == Micros(0) {
            self.told = now;
            let why = "there is no room for more than 256 backends beside those of the file";
            self.log(segment, Level::Warning, format_args!(": {address} is left out: {why}"));
        }
    }

    /// How the name stands after a look-up, which is told when it changes, and where it is no good news
    /// every hour.
    fn stand(&mut self, segment: &Segment, status: NameStatus, hold: Millis, now: Micros) {
        let before = std::mem::replace(&mut self.standing.status, status);
        let is_news = before != status;
        if is_news {
            self.standing.since = now;
        }
        let count = self.addresses.known().count();
        let backends = if count == 1 { "backend" } else { "backends" };
        let reason = self.last_error.clone().unwrap_or_default();
        let is_due = is_news || self.told + TELL_AGAIN <= now;
        match status {
            NameStatus::Found if is_news && before != NameStatus::Never => {
                self.log(
                    segment,
                    Level::Notice,
                    format_args!(" is looked up again: {count} {backends}"),
                );
            }
            NameStatus::Found | NameStatus::Never => (),
            NameStatus::Nothing | NameStatus::Unknown if !is_due => (),
            NameStatus::Nothing => {
                self.told = now;
                let what = match count {
                    0 => String::from("no backend comes by it"),
                    1 => format!("its backend goes in {}", write_hold(hold)),
                    _ => format!("its {count} backends go in {}", write_hold(hold)),
                };
                self.log(
                    segment,
                    Level::Warning,
                    format_args!(" has no address ({reason}): {what}"),
                );
            }
            NameStatus::Unknown => {
                self.told = now;
                let what = match count {
                    0 => String::from("no backend comes by it"),
                    1 => String::from("its 1 backend stays"),
                    _ => format!("its {count} backends stay"),
                };
                self.log(
                    segment,
                    Level::Warning,
                    format_args!(" cannot be looked up ({reason}): {what}"),
                );
            }
        }
    }

    /// Uses what the name had when the service ran last, in families of which nothing is known, and none
    /// of whose addresses is known.
    fn use_stored(&mut self, segment: &Segment, is_unknown: [bool; 2]) {
        let Some(stored) = self.stored.take() else { return };
        let has_any =
            |scope| self.addresses.known().any(|(address, _)| Scope::of(&address) == scope);
        let wanted: Vec<Scope> = SCOPES
            .into_iter()
            .zip(is_unknown)
            .filter(|(scope, is_unknown)| *is_unknown && !has_any(*scope))
            .map(|(scope, _)| scope)
            .collect();
        let mut count = 0;
        for answer in stored.answers() {
            let Answer::Found(found) = answer else { continue };
            for (address, share) in found {
                if wanted.contains(&Scope::of(&address)) && count < self.named.max {
                    self.addresses.assume(address, NamedAddress { share, goes_at: None });
                    count += 1;
                }
            }
        }
        if count > 0 {
            let (backends, are) = if count == 1 { ("address", "is") } else { ("addresses", "are") };
            self.log(
                segment,
                Level::Warning,
                format_args!(" is not known yet: {count} {backends} of the last run {are} used"),
            );
        }
    }

    fn view(&self, segment: &Segment, now: Clocks) -> NameView {
        let (mut addresses, mut going) = (Vec::new(), Vec::new());
        for (address, known) in self.addresses.known() {
            let list = if known.goes_at.is_none() { &mut addresses } else { &mut going };
            list.push(address);
        }
        NameView {
            lookup: self.named.lookup.clone(),
            pool: segment.pool(self.pool).name().to_string(),
            status: self.standing.status,
            since: (now.clock - self.standing.since).millis(),
            last_found: self.standing.found.map(|at| ((now.clock - at.clock).millis(), at.wall)),
            addresses,
            going,
            last_error: self.last_error.clone(),
            lookups: segment.name(self.id).lookups(),
        }
    }
}

/// "30 s", as a sentence has it.
fn write_hold(hold: Millis) -> String {
    match hold.0 % 1000 {
        0 => format!("{} s", hold.0 / 1000),
        _ => write_duration(hold),
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
