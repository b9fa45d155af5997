//! What is known of the backends beyond the configuration, from the cells of one generation to
//! those of the next, whatever these look like: what operators set, who registered itself, and
//! who is out.

use crate::mem::time::Millis;
use crate::policy::health::{Admin, Check, Passive};
use crate::shared::{PoolId, Registration, Segment, Slot, Source};

use super::handover::{Backend, Registered};

/// What is known of all backends.
pub fn collect(segment: Segment) -> Vec<Backend> {
    let all = segment.pools().flat_map(|pool| segment.members(pool).map(move |slot| (pool, slot)));
    all.filter_map(|(pool, slot)| of(segment, pool, slot)).collect()
}

fn of(segment: Segment, pool: PoolId, slot: Slot) -> Option<Backend> {
    let backend = segment.backend(slot);
    let admin = match backend.admin() {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
        Admin::Leaving => return None,
    };
    let health = (backend.check().to_bits(), backend.passive().to_bits());
    let registered = match backend.source()? {
        Source::File => None,
        Source::Api => Some(Registered {
            max_connections: backend.cap(),
            lease: backend.lease().map(|lease| lease.0),
            weight: backend.weight(),
        }),
    };
    Some(Backend {
        pool: segment.pool(pool).name().as_str().to_owned(),
        address: backend.address(),
        admin: admin.to_owned(),
        check: health.0,
        passive: health.1,
        since: backend.state_since().0,
        downtime: backend.downtime().0,
        check_failures: backend.check_failures(),
        registered,
    })
}

/// Writes what is known into new cells. What the configuration does not name any more is forgotten,
/// except who registered itself and still has time.
pub fn restore(segment: Segment, known: &[Backend], now: Millis) {
    for backend in known {
        let registered = backend.registered;
        let pool = match (segment.find_pool(&backend.pool), registered) {
            (Some(pool), _) => Some(pool),
            (None, Some(_)) => segment.add_pool(&backend.pool),
            (None, None) => None,
        };
        let Some(pool) = pool else { continue };
        let slot = match (segment.find(pool, backend.address), registered) {
            (Some(slot), _) => Some(slot),
            (None, Some(told)) => segment.register(pool, registration(backend, told)),
            (None, None) => None,
        };
        let Some(slot) = slot else { continue };
        let admin = match backend.admin.as_str() {
            "drain" => Admin::Drain,
            "maint" => Admin::Maint,
            _ => Admin::Ready,
        };
        segment.set_admin(slot, admin, now);
        let (check, passive) =
            (Check::from_bits(backend.check), Passive::from_bits(backend.passive));
        segment.set_health(slot, check, passive);
        let (since, downtime) = (Millis(backend.since), Millis(backend.downtime));
        segment.set_history(slot, since, downtime, backend.check_failures);
    }
}

fn registration(backend: &Backend, told: Registered) -> Registration {
    Registration {
        address: backend.address,
        weight: told.weight,
        max_connections: told.max_connections,
        lease: told.lease.map(Millis),
    }
}
