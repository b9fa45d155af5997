//! What is known of the backends beyond the configuration, from the cells of one generation to
//! those of the next, whatever these look like: what operators set, who registered itself, and
//! who is out.

use serde::{Deserialize, Serialize};

use crate::config::{AUTO_CAP, Backend, Config, Endpoint, Lookup, NamedServer};
use crate::mem::time::Millis;
use crate::policy::concurrency::FoundCap;
use crate::policy::health::{AdminState, Check, CheckFault, Passive, WholePassive};
use crate::shared::{
    BackendId, Held, LastCheck, NameId, PoolId, Registration, Segment, Source, Wish,
};

/// What is known of a backend beyond the configuration, in terms that each version understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// The name of its pool.
    pub pool: String,
    /// Where it listens.
    pub address: Endpoint,
    /// What operators set it to: ready, drain or maint.
    pub admin: String,
    /// What active checks have found.
    #[serde(default)]
    pub check: Check,
    /// What requests have found, in terms that each version understands.
    #[serde(default)]
    pub passive: Passive,
    /// All of that, if it is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_passive: Option<WholePassive>,
    /// When it gave the good response that ended a trial, on the monotonic clock: its share grows since
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Millis>,
    /// Since when it is up, or down, or drained, on the monotonic clock. None: it is up since the
    /// service started.
    #[serde(default)]
    pub since: Option<Millis>,
    /// For how long it was down before.
    #[serde(default)]
    pub downtime: Millis,
    /// Active checks that failed.
    #[serde(default)]
    pub check_failures: u64,
    /// How the last active check went.
    #[serde(default)]
    pub checked: Option<LastCheck>,
    /// Why the last failed check failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_fault: Option<CheckFault>,
    /// The number of requests that it was found to bear, where that is looked for; and whether it had enough
    /// requests then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_cap: Option<(u32, bool)>,
    /// What a backend that registered itself has said.
    #[serde(default)]
    pub registered: Option<Registered>,
    /// What is known of a backend that a name has brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<Named>,
    /// What operators have set of it, which stays when it registers anew.
    #[serde(default, skip_serializing_if = "Wish::is_none")]
    pub wish: Wish,
    /// What the file says of a backend that it names, before operators have set anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_file: Option<SaidByFile>,
    /// What the registry does not know of it yet.
    #[serde(default, skip_serializing_if = "Held::is_none")]
    pub held: Held,
}

impl BackendRecord {
    /// A backend of which nothing is known: it is up since the service started.
    pub fn new(pool: String, address: Endpoint) -> BackendRecord {
        BackendRecord {
            pool,
            address,
            admin: String::from("ready"),
            check: Check::new(),
            passive: Passive::new(),
            whole_passive: None,
            proven: None,
            since: None,
            downtime: Millis(0),
            check_failures: 0,
            checked: None,
            check_fault: None,
            found_cap: None,
            registered: None,
            named: None,
            wish: Wish::default(),
            of_file: None,
            held: Held::default(),
        }
    }

    /// All that requests have found.
    fn known_passive(&self) -> Passive {
        self.whole_passive.map_or(self.passive, |WholePassive(passive)| passive)
    }
}

/// What the configuration says of a backend, and operators may have set otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidByFile {
    /// Its share.
    pub weight: u32,
    /// Requests at once.
    pub max_connections: u32,
}

impl SaidByFile {
    fn of(config: &Config, pool: PoolId, address: Endpoint) -> Option<SaidByFile> {
        let mut backends = config.pools.get(pool.0)?.backends.iter();
        let is_it = |one: &&Backend| one.address.canonical() == address.canonical();
        let Backend { weight, max_connections, .. } = *backends.find(is_it)?;
        Some(SaidByFile { weight, max_connections })
    }
}

/// A backend that registered itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its share.
    pub weight: u32,
    /// Requests at once; 0 is no limit.
    pub max_connections: u32,
    /// When it leaves unless it renews its lease, on the monotonic clock.
    pub lease: Option<Millis>,
    /// Whether it stands in only for primaries that are out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// The registry that many instances share brings it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A backend that a name has brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What was looked up: the line of a [`Lookup`].
    pub by: String,
    /// Its share.
    pub weight: u32,
    /// It stands in for primaries.
    pub backup: bool,
    /// When it goes, on the monotonic clock, if it is named no more.
    pub goes_at: Option<Millis>,
}

/// What is known of all backends of a segment into which `config` was loaded.
pub fn collect(segment: Segment, config: &Config) -> Vec<BackendRecord> {
    all(segment).filter_map(|(pool, slot)| of(segment, config, pool, slot)).collect()
}

fn all(segment: Segment) -> impl Iterator<Item = (PoolId, BackendId)> {
    segment.pools().flat_map(move |pool| segment.members(pool).map(move |slot| (pool, slot)))
}

fn of(segment: Segment, config: &Config, pool: PoolId, slot: BackendId) -> Option<BackendRecord> {
    let backend = segment.backend(slot);
    let admin = match backend.admin() {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
        AdminState::Leaving => return None,
    };
    let (mut registered, mut named) = (None, None);
    match backend.source()? {
        Source::File => (),
        source @ (Source::Api | Source::Registry) => {
            registered = Some(Registered {
                max_connections: backend.max_connections(),
                lease: backend.lease(),
                weight: backend.weight(),
                backup: backend.is_backup(),
                shared: source == Source::Registry,
            });
        }
        Source::Name => {
            named = Some(Named {
                by: config.named().nth(backend.name()?.0)?.1.lookup.to_string(),
                weight: backend.weight(),
                backup: backend.is_backup(),
                goes_at: backend.lease(),
            });
        }
    }
    Some(BackendRecord {
        pool: segment.pool(pool).name().as_str().to_owned(),
        address: backend.address(),
        admin: admin.to_owned(),
        check: backend.check(),
        passive: backend.passive(),
        whole_passive: WholePassive::of(backend.passive()),
        proven: backend.proven(),
        since: backend.state_since(),
        downtime: backend.downtime(),
        check_failures: backend.check_failures(),
        checked: backend.last_check(),
        check_fault: backend.check_fault(),
        found_cap: (backend.max_connections() == AUTO_CAP).then(|| {
            let found = backend.found_cap();
            (found.cap, found.is_saturated)
        }),
        registered,
        named,
        wish: segment.wish(slot),
        of_file: SaidByFile::of(config, pool, backend.address()),
        held: segment.held_change(slot),
    })
}

/// Writes what is known into the cells of `config`. What that does not name any more is forgotten,
/// except who registered itself and still has time, and who was brought by a name that it has too.
pub fn restore(segment: Segment, config: &Config, known: &[BackendRecord], now: Millis) {
    for (_, slot) in all(segment) {
        segment.set_history(slot, Some(now), Millis(0), 0); // unless it is known, it is new
    }
    take_over(segment, config, known, now);
}

/// Writes what is known into the cells of `config`, beside what is there.
pub fn take_over(segment: Segment, config: &Config, known: &[BackendRecord], now: Millis) {
    for backend in known {
        let registered = backend.registered;
        // Without a registry nobody would ever say that it is gone.
        if registered.is_some_and(|one| one.shared) && config.registry.is_none() {
            continue;
        }
        let pool = match (segment.find_pool(&backend.pool), registered) {
            (Some(pool), _) => Some(pool),
            (None, Some(_)) => segment.add_pool(&backend.pool),
            (None, None) => None,
        };
        let Some(pool) = pool else { continue };
        let Some(slot) = slot_of(segment, config, pool, backend) else { continue };
        segment.set_admin(slot, admin_state(&backend.admin), now);
        set_wish(segment, config, pool, slot, backend);
        if let Some((cap, is_saturated)) = backend.found_cap {
            segment.backend(slot).set_found_cap(FoundCap { cap, is_saturated });
        }
        segment.note_held(slot, backend.held);
        let keys = pool.keys(config);
        let (check, passive) = health(backend, keys.health_check.is_some(), now);
        segment.set_health(slot, check, passive);
        segment.set_proven(slot, backend.proven);
        segment.set_history(slot, backend.since, backend.downtime, backend.check_failures);
        segment.set_check_fault(slot, backend.check_fault);
        // So that the next check comes when its time has come.
        if let Some(checked) = backend.checked.filter(|_| keys.health_check.is_some()) {
            segment.set_last_check(slot, checked);
        }
    }
}

/// Has what operators have set hold in the cells. Of a backend of the file, what that says by now and did not
/// say before counts more; but what all instances of a registry know holds until operators say otherwise.
fn set_wish(
    segment: Segment,
    config: &Config,
    pool: PoolId,
    slot: BackendId,
    backend: &BackendRecord,
) {
    let mut wish = backend.wish;
    if segment.backend(slot).source() == Some(Source::File) && config.registry.is_none() {
        let (before, now) = (backend.of_file, SaidByFile::of(config, pool, backend.address));
        let has_changed = |said: fn(SaidByFile) -> u32| before.map(said) != now.map(said);
        wish.weight = wish.weight.filter(|_| !has_changed(|said| said.weight));
        wish.max_connections =
            wish.max_connections.filter(|_| !has_changed(|said| said.max_connections));
    }
    segment.set_wish(slot, wish);
    if let Some(weight) = wish.weight {
        segment.set_weight(slot, weight);
    }
    if let Some(most) = wish.max_connections {
        segment.set_cap(slot, most);
    }
}

/// Where a backend is, or where it is now that it was added. `None`: it is none any more.
fn slot_of(
    segment: Segment,
    config: &Config,
    pool: PoolId,
    backend: &BackendRecord,
) -> Option<BackendId> {
    let found = segment.find(pool, backend.address);
    match (found, backend.registered, &backend.named) {
        (Some(slot), Some(registered), _) => {
            renew(segment, slot, registered);
            Some(slot)
        }
        (Some(slot), None, _) => Some(slot),
        (None, Some(registered), _) => segment.register(pool, registration(backend, registered)),
        (None, None, Some(named)) => {
            let registration = of_name(config, pool, backend, named)?;
            segment.register_since(pool, registration, backend.since)
        }
        (None, None, None) => None,
    }
}

/// How a backend is added that a name has brought, if its pool still has that name: as the configuration
/// says now, but for what only the name server knows.
fn of_name(
    config: &Config,
    pool: PoolId,
    backend: &BackendRecord,
    named: &Named,
) -> Option<Registration> {
    let is_it = |(_, (place, entry)): &(usize, (usize, &NamedServer))| {
        *place == pool.0 && entry.lookup.to_string() == named.by
    };
    let (id, (_, entry)) = config.named().enumerate().find(is_it)?;
    let (weight, backup) = match entry.lookup {
        Lookup::Host { .. } => (entry.weight, entry.backup),
        Lookup::Service(_) => (named.weight.clamp(1, 256), named.backup || entry.backup),
    };
    Some(Registration {
        name: Some(NameId(id)),
        address: backend.address,
        state: admin_state(&backend.admin),
        weight,
        max_connections: entry.max_connections,
        backup,
        lease: named.goes_at,
        is_shared: false,
    })
}

/// Once more, for cells that have taken over what was known a while ago: takes over what has changed
/// since, and lets those leave who have left.
pub fn catch_up(segment: Segment, config: &Config, known: &[BackendRecord], now: Millis) {
    take_over(segment, config, known, now);
    for (pool, slot) in all(segment) {
        let backend = segment.backend(slot);
        let name = segment.pool(pool).name();
        let is_known = |known: &BackendRecord| {
            known.pool == name.as_str()
                && known.address.canonical() == backend.address().canonical()
        };
        let comes_and_goes = matches!(backend.source(), Some(Source::Api | Source::Registry));
        if comes_and_goes && !known.iter().any(is_known) {
            segment.set_admin(slot, AdminState::Leaving, now);
        }
    }
}

/// What checks and requests have found. Where nothing is checked any more, nobody would ever take
/// back what checks have found: who failed them is probed instead, like one that requests took out.
fn health(backend: &BackendRecord, is_checked: bool, now: Millis) -> (Check, Passive) {
    let (check, passive) = (backend.check, backend.known_passive());
    match (is_checked, check.is_up(), passive.is_up()) {
        (true, _, _) => (check, passive),
        (false, false, true) => (Check::new(), Passive::unreachable(now)),
        (false, _, _) => (Check::new(), passive),
    }
}

/// Sets what a backend has said when it registered, unless the file names it by now.
fn renew(segment: Segment, slot: BackendId, registered: Registered) {
    let backend = segment.backend(slot);
    if matches!(backend.source(), Some(Source::Api | Source::Registry)) {
        let source = if registered.shared { Source::Registry } else { Source::Api };
        segment.set_source(slot, source);
        segment.set_lease(slot, registered.lease);
        segment.set_weight(slot, registered.weight);
        segment.set_cap(slot, registered.max_connections);
        segment.set_backup(slot, registered.backup);
    }
}

fn admin_state(word: &str) -> AdminState {
    AdminState::parse(word).unwrap_or(AdminState::Ready)
}

fn registration(backend: &BackendRecord, registered: Registered) -> Registration {
    Registration {
        name: None,
        address: backend.address,
        weight: registered.weight,
        max_connections: registered.max_connections,
        lease: registered.lease,
        backup: registered.backup,
        state: admin_state(&backend.admin),
        is_shared: registered.shared,
    }
}

#[cfg(test)]
#[path = "backend_state_tests.rs"]
mod tests;
