//! The registry that many instances share, as this process carries out what it says: backends that come and
//! go, and what operators want of them. What the engine does not know yet is held here until it does.
//!
//! A change that is asked for here goes to the engine, and is answered when the own watch has told of it. Where
//! that takes too long it is carried out here alone, for now, and written when the engine is back.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::mem::time::Micros;
use crate::policy::health::AdminState;
use crate::policy::registry::{self, EngineId, Unconfirmed};
use crate::shared::fleet::{
    self, BackendValue, FleetChange, FleetCommand, FleetReport, LinkState, Outbox, ServerKey,
};
use crate::shared::wakers::Wakers;
use crate::shared::{
    BackendId, Held, LeftBackend, PoolId, RegistryProgress, Segment, Source, Wish,
};
use crate::sys::log::{self, Level};
use crate::sys::{Channel, clock};

/// So long an answer waits for the watch.
const PATIENCE: Micros = Micros::from_secs(1);
/// A process that was not heard of at so many looks in a row, a second apart, hangs.
const MOST_SILENT_LOOKS: u32 = 5;
/// What finds no room in the line is sent after this time.
const LINE_PAUSE: Micros = Micros(10_000);

/// Names a change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeId(u64);

/// What a key of the registry names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FleetKey {
    /// A backend.
    Backend(ServerKey),
    /// What operators want of one.
    Set(ServerKey),
}

/// What the engine says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Backend(BackendValue),
    Gone,
    Set(Wish),
}

/// A change that was asked for, and is not written yet.
#[derive(Clone, Debug)]
struct Awaited {
    key: ServerKey,
    change: FleetChange,
    /// Whoever asked for it is answered by then.
    until: Option<Micros>,
    /// The backend was not there before.
    is_new: bool,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetOutcome {
    /// All instances know.
    Written,
    /// It holds here, and is written when the engine is back.
    Held,
    /// The engine does not take it.
    Refused(String),
}

/// A change of which something came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledChange {
    /// By which it is known.
    pub id: ChangeId,
    /// Of which backend.
    pub key: ServerKey,
    /// What was wanted.
    pub change: FleetChange,
    /// The backend was not there before.
    pub is_new: bool,
    /// What came of it.
    pub outcome: FleetOutcome,
}

/// The registry, as operators see it.
#[derive(Clone, Debug)]
pub struct FleetView {
    /// How it is with the engine.
    pub state: LinkState,
    /// Which member is meant.
    pub endpoint: Option<String>,
    /// Up to which change it is known.
    pub revision: u64,
    /// For how long nothing was heard of it.
    pub age: Micros,
    /// The instances that watch.
    pub instances: Vec<String>,
    /// What is wrong.
    pub error: Option<String>,
    /// Changes that were taken in.
    pub events: u64,
}

/// Room for what was left out is looked for so often.
const ROOM_PAUSE: Micros = Micros::from_secs(1);

/// The registry.
pub struct Fleet {
    pub(super) segment: Segment,
    line: Channel,
    outbox: Outbox,
    is_sent: bool,
    state: LinkState,
    endpoint: Option<String>,
    error: Option<String>,
    instances: Vec<String>,
    heard: Micros,
    /// What backends have said of themselves, and operators of them.
    pub(super) values: BTreeMap<ServerKey, BackendValue>,
    pub(super) wishes: BTreeMap<ServerKey, Wish>,
    /// The weights and limits of backends that the registry has not brought, before operators changed
    /// them.
    pub(super) own_shares: BTreeMap<ServerKey, (u32, u32)>,
    /// A snapshot that is being told: of which engine, and what was in it so far.
    snapshot: Option<(EngineId, BTreeSet<FleetKey>)>,
    unconfirmed: Unconfirmed<FleetKey>,
    awaited: BTreeMap<ChangeId, Awaited>,
    /// What was told of keys that are held otherwise here.
    deferred: BTreeMap<FleetKey, Told>,
    settled: Vec<SettledChange>,
    next_id: u64,
    silent_looks: u32,
    /// What the registry names and there was no room for, and when that is looked for again.
    pub(super) left_out: BTreeSet<ServerKey>,
    /// That was told.
    pub(super) is_told: bool,
    look_for_room: Micros,
    pub(super) has_changed: bool,
}

impl Fleet {
    /// Over a line to the process that holds the watch.
    pub fn new(segment: Segment, config: &Config, line: Channel) -> Fleet {
        let of_pool = |pool: &crate::config::Pool| {
            let name = pool.name.clone();
            let share = move |backend: &crate::config::Backend| {
                let key = ServerKey { pool: name.clone(), address: backend.address.canonical() };
                (key, (backend.weight, backend.max_connections))
            };
            pool.backends.iter().map(share).collect::<Vec<_>>()
        };
        Fleet {
            segment,
            line,
            outbox: Outbox::default(),
            is_sent: true,
            state: LinkState::Never,
            endpoint: None,
            error: None,
            instances: Vec::new(),
            heard: clock::now(),
            values: BTreeMap::new(),
            wishes: BTreeMap::new(),
            own_shares: config.pools.iter().flat_map(of_pool).collect(),
            snapshot: None,
            unconfirmed: Unconfirmed::default(),
            awaited: BTreeMap::new(),
            deferred: BTreeMap::new(),
            settled: Vec::new(),
            next_id: 1,
            silent_looks: 0,
            left_out: BTreeSet::new(),
            is_told: false,
            look_for_room: Micros(0),
            has_changed: false,
        }
    }

    /// From now on the cells are this process's to write: what stands there is what is known, and what is
    /// held there is to be written.
    pub fn adopt(&mut self) {
        self.send(&FleetCommand::Hello);
        for pool in self.segment.pools().collect::<Vec<_>>() {
            for slot in self.segment.members(pool).collect::<Vec<_>>() {
                self.adopt_backend(pool, slot);
            }
        }
        self.flush();
    }

    fn adopt_backend(&mut self, pool: PoolId, slot: BackendId) {
        let backend = self.segment.backend(slot);
        let name = self.segment.pool(pool).name().as_str().to_owned();
        let key = ServerKey { pool: name, address: backend.address().canonical() };
        let (wish, held) = (self.segment.wish(slot), self.segment.held_change(slot));
        if !wish.is_empty() {
            self.wishes.insert(key.clone(), wish);
        }
        if held.set {
            self.command(key.clone(), FleetChange::Set(wish), None);
        }
        if backend.source() != Some(Source::Registry) || backend.admin() == AdminState::Leaving {
            return;
        }
        let value = BackendValue {
            weight: backend.weight(),
            max_connections: backend.max_connections(),
            backup: backend.is_backup(),
            state: if wish.state.is_some() { AdminState::Ready } else { backend.admin() },
        };
        self.values.insert(key.clone(), value);
        if held.registered {
            let change = fleet::RegistrationChange {
                lease: held.lease,
                weight: Some(value.weight),
                max_connections: Some(value.max_connections),
                backup: Some(value.backup),
                state: Some(value.state),
            };
            self.command(key, FleetChange::Register(change), None);
        }
    }

    /// Whether what is asked for can be written soon.
    pub fn is_watching(&self) -> bool {
        self.state == LinkState::Watching
    }

    /// Has a change written. It is settled by `tend`, in a second at most.
    pub fn change(&mut self, key: ServerKey, change: FleetChange, now: Micros) -> ChangeId {
        let key = ServerKey { address: key.address.canonical(), ..key };
        let until = if self.is_watching() { now + PATIENCE } else { now };
        let id = self.command(key, change, Some(until));
        self.flush();
        id
    }

    fn command(&mut self, key: ServerKey, change: FleetChange, until: Option<Micros>) -> ChangeId {
        let id = ChangeId(self.next_id);
        self.next_id += 1;
        self.send(&FleetCommand::Write { id: id.0, key: key.clone(), change });
        let is_new = !self.values.contains_key(&key);
        self.awaited.insert(id, Awaited { key, change, until, is_new });
        id
    }

    fn send(&mut self, command: &FleetCommand) {
        self.outbox.push(command);
        self.is_sent = false;
    }

    fn flush(&mut self) {
        if !self.is_sent {
            self.is_sent = self.outbox.flush(&self.line);
        }
    }

    /// A second has passed. Whether the process that holds the watch was not heard of for too long.
    pub fn hangs(&mut self) -> bool {
        self.silent_looks += 1;
        let hangs = self.silent_looks > MOST_SILENT_LOOKS;
        if hangs {
            self.silent_looks = 0;
        }
        hangs
    }

    /// When `tend` is to be called next, if nobody rings.
    pub fn next_deadline(&self, now: Micros) -> Option<Micros> {
        let line = (!self.is_sent).then(|| now + LINE_PAUSE);
        let awaited = self.awaited.values().filter_map(|one| one.until).min();
        let room = (!self.left_out.is_empty()).then_some(self.look_for_room);
        [line, awaited, room, self.unconfirmed.next_deadline()].into_iter().flatten().min()
    }

    /// Whether anything has changed since that was last asked.
    pub fn take_changes(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Takes in what was told, and what time has brought. The changes of which something came.
    pub fn tend(&mut self, wakers: &Wakers, now: Micros) -> Vec<SettledChange> {
        while let Some(message) = self.line.receive() {
            self.silent_looks = 0;
            for report in fleet::read(&message.text) {
                self.take_in(report, wakers, now);
            }
        }
        self.hold_late(wakers, now);
        for key in self.unconfirmed.expire(now) {
            self.vanish(&key, "the registry has not named it for 60 s", wakers, now);
        }
        self.take_in_left_out(wakers, now);
        self.flush();
        std::mem::take(&mut self.settled)
    }

    /// Others have left by now, perhaps.
    fn take_in_left_out(&mut self, wakers: &Wakers, now: Micros) {
        if self.left_out.is_empty() || now < self.look_for_room {
            return;
        }
        self.look_for_room = now + ROOM_PAUSE;
        if self.segment.free_slot().is_none() {
            return;
        }
        for key in std::mem::take(&mut self.left_out) {
            if let Some(value) = self.values.get(&key).copied() {
                self.come(&key, value, wakers, now);
            }
        }
        self.is_told = !self.left_out.is_empty();
    }

    /// Carries out here what takes too long.
    fn hold_late(&mut self, wakers: &Wakers, now: Micros) {
        let is_late = |one: &Awaited| one.until.is_some_and(|until| until <= now);
        let late: Vec<ChangeId> =
            self.awaited.iter().filter(|(_, one)| is_late(one)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(one) = self.awaited.get_mut(&id) else { continue };
            one.until = None;
            let (key, change, is_new) = (one.key.clone(), one.change, one.is_new);
            self.apply_here(&key, change, wakers, now);
            let outcome = FleetOutcome::Held;
            self.settled.push(SettledChange { id, key, change, is_new, outcome });
        }
    }

    fn apply_here(&mut self, key: &ServerKey, change: FleetChange, wakers: &Wakers, now: Micros) {
        match change {
            FleetChange::Register(change) => {
                let before = self.values.get(key).copied().unwrap_or_default();
                self.come(key, change.over(before), wakers, now);
                self.hold(key, |held| Held { registered: true, lease: change.lease, ..held });
            }
            FleetChange::Remove => {
                self.go(key, "an operator, or itself, has asked for it", wakers, now);
            }
            FleetChange::Set(wish) => {
                let before = self.wishes.get(key).copied().unwrap_or_default();
                self.set(key, before.and(wish), wakers, now);
                self.hold(key, |held| Held { set: true, ..held });
            }
        }
    }

    /// Notes in the cells, which outlive this process, what the engine does not know yet.
    fn hold(&self, key: &ServerKey, change: impl Fn(Held) -> Held) {
        if let Some(slot) = self.slot(key) {
            self.segment.note_held(slot, change(self.segment.held_change(slot)));
        }
    }

    /// Whether a change of that key waits to be written, and holds here already.
    fn is_held(&self, key: &FleetKey) -> bool {
        self.awaited.values().filter(|one| one.until.is_none()).any(|one| match one.change {
            FleetChange::Register(_) | FleetChange::Remove => {
                *key == FleetKey::Backend(one.key.clone())
            }
            FleetChange::Set(_) => *key == FleetKey::Set(one.key.clone()),
        })
    }

    fn take_in(&mut self, report: FleetReport, wakers: &Wakers, now: Micros) {
        match report {
            FleetReport::Begin { cluster, revision } => {
                self.snapshot = Some((EngineId { cluster, revision }, BTreeSet::new()));
            }
            FleetReport::End => self.compare(wakers, now),
            FleetReport::Backend(key, value) => {
                self.told(FleetKey::Backend(key), Told::Backend(value), wakers, now);
            }
            FleetReport::Gone(key) => self.told(FleetKey::Backend(key), Told::Gone, wakers, now),
            FleetReport::Set(key, wish) => {
                self.told(FleetKey::Set(key), Told::Set(wish), wakers, now);
            }
            FleetReport::Instances(instances) => self.instances = instances,
            FleetReport::Revision { revision, events } => {
                if self.state == LinkState::Watching {
                    self.heard = now;
                    let before = self.segment.registry_progress();
                    let events = before.events + events;
                    self.segment.set_registry_progress(RegistryProgress {
                        revision,
                        events,
                        ..before
                    });
                }
            }
            FleetReport::Link { state, endpoint, error } => {
                self.linked(state, endpoint, error, now)
            }
            FleetReport::Done { id, refused } => self.done(ChangeId(id), refused, wakers, now),
        }
    }

    fn told(&mut self, key: FleetKey, told: Told, wakers: &Wakers, now: Micros) {
        if let Some((_, found)) = &mut self.snapshot {
            found.insert(key.clone());
        }
        self.unconfirmed.settle(&key);
        if self.is_held(&key) {
            self.deferred.insert(key, told);
        } else {
            self.carry_out(&key, told, wakers, now);
        }
    }

    fn carry_out(&mut self, key: &FleetKey, told: Told, wakers: &Wakers, now: Micros) {
        match (key, told) {
            (FleetKey::Backend(key), Told::Backend(value)) => self.come(key, value, wakers, now),
            (FleetKey::Backend(key), _) => {
                self.go(key, "the registry names it no more", wakers, now);
            }
            (FleetKey::Set(key), Told::Set(wish)) => self.set(key, wish, wakers, now),
            (FleetKey::Set(key), _) => self.set(key, Wish::default(), wakers, now),
        }
    }

    /// A snapshot is complete: what was known and is not in it is gone, unless that is doubted.
    fn compare(&mut self, wakers: &Wakers, now: Micros) {
        let Some((engine, found)) = self.snapshot.take() else { return };
        let known = self.values.keys().cloned().map(FleetKey::Backend);
        let known = known.chain(self.wishes.keys().cloned().map(FleetKey::Set));
        let known = known.filter(|key| !self.is_held(key)).collect();
        let missing = registry::missing(&known, &found);
        let is_backend = |key: &&FleetKey| matches!(key, FleetKey::Backend(_));
        let count = found.iter().filter(is_backend).count();
        let before = self.segment.registry_engine();
        let verdict = registry::judge(before, engine, count);
        if verdict.is_ok() {
            let is_found = |left: &LeftBackend| {
                found
                    .iter()
                    .any(|key| matches!(key, FleetKey::Set(key) if left.is(&key.pool, key.address)))
            };
            self.segment.retain_left(|left| left.until < LeftBackend::FOR_EVER || is_found(left));
        }
        match verdict {
            _ if missing.is_empty() => self.unconfirmed.forget(),
            Ok(()) => {
                self.unconfirmed.forget();
                for key in missing {
                    self.vanish(&key, "the registry names it no more", wakers, now);
                }
            }
            Err(doubt) => {
                let lacks = missing.iter().filter(is_backend).count();
                log::write(
                    Level::Warning,
                    format_args!(
                        "registry: revision {}: {doubt}: {} that it lacks stay for 60 s, unconfirmed",
                        engine.revision,
                        backends(lacks)
                    ),
                );
                self.unconfirmed.set(missing, now);
            }
        }
        let EngineId { cluster, revision } = engine;
        let before = self.segment.registry_progress();
        self.segment.set_registry_progress(RegistryProgress { cluster, revision, ..before });
    }

    /// What a key named is there no more.
    fn vanish(&mut self, key: &FleetKey, why: &str, wakers: &Wakers, now: Micros) {
        match key {
            FleetKey::Backend(key) => self.go(key, why, wakers, now),
            FleetKey::Set(key) => self.set(key, Wish::default(), wakers, now),
        }
    }

    fn linked(&mut self, state: LinkState, endpoint: String, error: Option<String>, now: Micros) {
        let is_news = state != self.state || self.error.is_none() != error.is_none();
        let is_elsewhere = self.endpoint.as_ref() != Some(&endpoint);
        let count = backends(self.values.len());
        let verb = if self.values.len() == 1 { "stays" } else { "stay" };
        let why = error.as_deref().unwrap_or("no reason is known");
        match state {
            LinkState::Watching if is_news || is_elsewhere => {
                let revision = self.segment.registry_engine().map_or(0, |engine| engine.revision);
                log::write(
                    Level::Notice,
                    format_args!("registry: watching etcd {endpoint}, revision {revision}"),
                );
            }
            LinkState::Lost if is_news => log::write(
                Level::Warning,
                format_args!("registry: lost etcd {endpoint} ({why}): {count} {verb}"),
            ),
            LinkState::Never if is_news && error.is_some() => log::write(
                Level::Warning,
                format_args!("registry: no etcd yet, {endpoint} ({why}): {count} {verb}"),
            ),
            LinkState::Watching | LinkState::Lost | LinkState::Never => (),
        }
        match state {
            LinkState::Watching => self.heard = now,
            // Nobody could come back there.
            LinkState::Lost | LinkState::Never => self.unconfirmed.forget(),
        }
        (self.state, self.endpoint, self.error) = (state, Some(endpoint), error);
        self.has_changed |= is_news;
    }

    fn done(&mut self, id: ChangeId, refused: Option<String>, wakers: &Wakers, now: Micros) {
        let Some(one) = self.awaited.remove(&id) else { return };
        let key = match one.change {
            FleetChange::Register(_) | FleetChange::Remove => FleetKey::Backend(one.key.clone()),
            FleetChange::Set(_) => FleetKey::Set(one.key.clone()),
        };
        if one.until.is_none() && !self.is_held(&key) {
            self.hold(&one.key, |held| match key {
                FleetKey::Backend(_) => Held { registered: false, lease: None, ..held },
                FleetKey::Set(_) => Held { set: false, ..held },
            });
            // What all instances know is what counts from now on.
            if let Some(told) = self.deferred.remove(&key) {
                self.carry_out(&key, told, wakers, now);
            }
        }
        // The engine does not have it, and that is what was wanted.
        if refused.is_none() && one.change == FleetChange::Remove && self.unconfirmed.has(&key) {
            self.unconfirmed.settle(&key);
            self.go(&one.key, "an operator, or itself, has asked for it", wakers, now);
        }
        if let Some(why) = &refused {
            log::write(Level::Warning, format_args!("registry: a change is refused: {why}"));
        }
        if one.until.is_some() {
            let outcome = refused.map_or(FleetOutcome::Written, FleetOutcome::Refused);
            let Awaited { key, change, is_new, .. } = one;
            self.settled.push(SettledChange { id, key, change, is_new, outcome });
        }
    }

    /// As operators see it.
    pub fn view(&self, now: Micros) -> FleetView {
        let RegistryProgress { revision, events, .. } = self.segment.registry_progress();
        FleetView {
            state: self.state,
            endpoint: self.endpoint.clone(),
            revision,
            age: now - self.heard,
            instances: self.instances.clone(),
            error: self.error.clone(),
            events,
        }
    }
}

fn backends(count: usize) -> String {
    let noun = if count == 1 { "backend" } else { "backends" };
    format!("{count} {noun}")
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
