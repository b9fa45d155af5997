//! What is known of the backends beyond the configuration, from the cells of one generation to
//! those of the next, whatever these look like: what operators set, who registered itself, and
//! who is out.

use serde::{Deserialize, Serialize};

use crate::config::{Config, Endpoint};
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Check, Passive};
use crate::shared::{BackendId, LastCheck, PoolId, Registration, Segment, Source};

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
    /// What requests have found.
    #[serde(default)]
    pub passive: Passive,
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
    /// One that registered itself.
    #[serde(default)]
    pub registered: Option<Registered>,
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
}

/// What is known of all backends.
pub fn collect(segment: Segment) -> Vec<BackendRecord> {
    all(segment).filter_map(|(pool, slot)| of(segment, pool, slot)).collect()
}

fn all(segment: Segment) -> impl Iterator<Item = (PoolId, BackendId)> {
    segment.pools().flat_map(move |pool| segment.members(pool).map(move |slot| (pool, slot)))
}

fn of(segment: Segment, pool: PoolId, slot: BackendId) -> Option<BackendRecord> {
    let backend = segment.backend(slot);
    let admin = match backend.admin() {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
        AdminState::Leaving => return None,
    };
    let registered = match backend.source()? {
        Source::File => None,
        Source::Api => Some(Registered {
            max_connections: backend.cap(),
            lease: backend.lease(),
            weight: backend.weight(),
        }),
    };
    Some(BackendRecord {
        pool: segment.pool(pool).name().as_str().to_owned(),
        address: backend.address(),
        admin: admin.to_owned(),
        check: backend.check(),
        passive: backend.passive(),
        since: backend.state_since(),
        downtime: backend.downtime(),
        check_failures: backend.check_failures(),
        checked: backend.last_check(),
        registered,
    })
}

/// Writes what is known into the cells of `config`. What that does not name any more is forgotten,
/// except who registered itself and still has time.
pub fn restore(segment: Segment, config: &Config, known: &[BackendRecord], now: Millis) {
    for (_, slot) in all(segment) {
        segment.set_history(slot, Some(now), Millis(0), 0); // unless it is known, it is new
    }
    take_over(segment, config, known, now);
}

fn take_over(segment: Segment, config: &Config, known: &[BackendRecord], now: Millis) {
    for backend in known {
        let registered = backend.registered;
        let pool = match (segment.find_pool(&backend.pool), registered) {
            (Some(pool), _) => Some(pool),
            (None, Some(_)) => segment.add_pool(&backend.pool),
            (None, None) => None,
        };
        let Some(pool) = pool else { continue };
        let slot = match (segment.find(pool, backend.address), registered) {
            (Some(slot), Some(registered)) => {
                renew(segment, slot, registered);
                Some(slot)
            }
            (Some(slot), None) => Some(slot),
            (None, Some(registered)) => segment.register(pool, registration(backend, registered)),
            (None, None) => None,
        };
        let Some(slot) = slot else { continue };
        let admin = match backend.admin.as_str() {
            "drain" => AdminState::Drain,
            "maint" => AdminState::Maint,
            _ => AdminState::Ready,
        };
        segment.set_admin(slot, admin, now);
        let keys = pool.keys(config);
        let (check, passive) = health(backend, keys.health_check.is_some(), now);
        segment.set_health(slot, check, passive);
        segment.set_history(slot, backend.since, backend.downtime, backend.check_failures);
        // So that the next check comes when its time has come.
        if let Some(checked) = backend.checked.filter(|_| keys.health_check.is_some()) {
            segment.set_last_check(slot, checked);
        }
    }
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
        if backend.source() == Some(Source::Api) && !known.iter().any(is_known) {
            segment.set_admin(slot, AdminState::Leaving, now);
        }
    }
}

/// What checks and requests have found. Where nothing is checked any more, nobody would ever take
/// back what checks have found: who failed them is probed instead, like one that requests took out.
fn health(backend: &BackendRecord, is_checked: bool, now: Millis) -> (Check, Passive) {
    let (check, passive) = (backend.check, backend.passive);
    match (is_checked, check.is_up(), passive.is_up()) {
        (true, _, _) => (check, passive),
        (false, false, true) => (Check::new(), Passive::unreachable(now)),
        (false, _, _) => (Check::new(), passive),
    }
}

/// Sets what a backend has said when it registered, unless the file names it by now.
fn renew(segment: Segment, slot: BackendId, registered: Registered) {
    let backend = segment.backend(slot);
    if backend.source() == Some(Source::Api) {
        segment.set_lease(slot, registered.lease);
        segment.set_weight(slot, registered.weight);
        segment.set_cap(slot, registered.max_connections);
    }
}

fn registration(backend: &BackendRecord, registered: Registered) -> Registration {
    Registration {
        address: backend.address,
        weight: registered.weight,
        max_connections: registered.max_connections,
        lease: registered.lease,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::HealthCheck;
    use crate::policy::health::Availability;
    use crate::shared::Layout;
    use crate::sys::memory;

    const NOW: Millis = Millis(5000);
    const DOWN: Check = Check::Down { passed: 0 };

    fn config() -> Config {
        let mut config = Config::for_backends(&["10.0.1.1:80".parse().unwrap()]);
        config.pools[0].health_check = Some(HealthCheck::default());
        config
    }

    fn cells_of(config: &Config) -> Segment {
        let layout = Layout::new(config, 1);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(config);
        segment
    }

    fn register(segment: Segment, host: u8, weight: u32) -> BackendId {
        let pool = segment.find_pool("api").or_else(|| segment.add_pool("api")).unwrap();
        let address = ([10, 0, 2, host], 80).into();
        let entry = Registration { address, weight, max_connections: 0, lease: Some(Millis(9000)) };
        segment.register(pool, entry).unwrap()
    }

    fn api(segment: Segment) -> Vec<(String, u32, AdminState)> {
        let pool = segment.find_pool("api").unwrap();
        let shown = |slot| {
            let backend = segment.backend(slot);
            (backend.address().to_string(), backend.weight(), backend.admin())
        };
        segment.members(pool).map(shown).collect()
    }

    #[test]
    fn what_checks_have_told_is_kept_where_they_go_on() {
        let (config, older) = (config(), cells_of(&config()));
        older.set_health(BackendId(0), DOWN, Passive::new());
        let segment = cells_of(&config);
        restore(segment, &config, &collect(older), NOW);
        assert_eq!(
            (segment.backend(BackendId(0)).check(), segment.backend(BackendId(0)).is_up()),
            (DOWN, false)
        );
    }

    #[test]
    fn who_failed_checks_that_nobody_makes_any_more_is_probed() {
        let mut config = config();
        let older = cells_of(&config);
        older.set_health(BackendId(0), DOWN, Passive::new());
        config.pools[0].health_check = None;
        let segment = cells_of(&config);
        restore(segment, &config, &collect(older), NOW);
        let backend = segment.backend(BackendId(0));
        assert_eq!((backend.check(), backend.availability()), (Check::new(), Availability::Down));
        let rules = crate::policy::health::Rules { max_fails: 3, fail_timeout: Millis(10_000) };
        segment.observe(
            BackendId(0),
            crate::policy::health::HealthEvent::ProbeSucceeded,
            NOW,
            &rules,
        );
        assert!(backend.is_up());
    }

    #[test]
    fn what_has_changed_since_it_was_told_is_told_once_more() {
        let (config, older) = (config(), cells_of(&config()));
        let (_stays, leaves, drained) =
            (register(older, 1, 1), register(older, 2, 2), register(older, 3, 3));
        let segment = cells_of(&config);
        restore(segment, &config, &collect(older), NOW);
        assert_eq!(api(segment).len(), 3);

        older.set_admin(leaves, AdminState::Leaving, NOW);
        older.set_admin(drained, AdminState::Drain, NOW);
        older.set_admin(BackendId(0), AdminState::Maint, NOW);
        older.set_weight(drained, 7);
        older.set_lease(drained, None);
        register(older, 4, 4);
        catch_up(segment, &config, &collect(older), NOW);
        let expected = [
            ("10.0.2.1:80", 1, AdminState::Ready),
            ("10.0.2.2:80", 2, AdminState::Leaving),
            ("10.0.2.3:80", 7, AdminState::Drain),
            ("10.0.2.4:80", 4, AdminState::Ready),
        ];
        assert_eq!(
            api(segment),
            expected.map(|(name, weight, admin)| (name.into(), weight, admin))
        );
        assert_eq!(segment.backend(BackendId(0)).admin(), AdminState::Maint);
        let pool = segment.find_pool("api").unwrap();
        let leases = segment.members(pool).map(|slot| segment.backend(slot).lease());
        assert_eq!(leases.collect::<Vec<_>>()[2..], [None, Some(Millis(9000))]);
    }
}
