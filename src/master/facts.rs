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
        since: backend.state_since().map(|since| since.0),
        downtime: backend.downtime().0,
        check_failures: backend.check_failures(),
        registered,
    })
}

/// Writes what is known into new cells. What the configuration does not name any more is forgotten,
/// except who registered itself and still has time.
pub fn restore(segment: Segment, known: &[Backend], now: Millis) {
    for slot in segment.pools().flat_map(|pool| segment.members(pool)) {
        segment.set_history(slot, Some(now), Millis(0), 0); // unless it is known, it is new
    }
    for backend in known {
        let Some(slot) = slot(segment, backend) else { continue };
        segment.set_admin(slot, admin(backend), now);
        let (check, passive) =
            (Check::from_bits(backend.check), Passive::from_bits(backend.passive));
        segment.set_health(slot, check, passive);
        let (since, downtime) = (backend.since.map(Millis), Millis(backend.downtime));
        segment.set_history(slot, since, downtime, backend.check_failures);
    }
}

/// Writes into newer cells what operators have changed, and who has registered itself or left, since
/// all was as it was `before`.
pub fn carry(segment: Segment, before: &[Backend], after: &[Backend], now: Millis) {
    let find = |all: &[Backend], wanted: &Backend| {
        let same = |one: &&Backend| one.pool == wanted.pool && one.address == wanted.address;
        all.iter().find(same).cloned()
    };
    for backend in after {
        let known = find(before, backend);
        let told = |one: &Backend| (one.admin.clone(), one.registered);
        if known.as_ref().map(told) == Some(told(backend)) {
            continue;
        }
        let Some(slot) = slot(segment, backend) else { continue };
        segment.set_admin(slot, admin(backend), now);
        if let (Some(told), Some(Source::Api)) =
            (backend.registered, segment.backend(slot).source())
        {
            segment.set_lease(slot, told.lease.map(Millis));
            segment.set_weight(slot, told.weight);
            segment.set_cap(slot, told.max_connections);
        }
    }
    for gone in before.iter().filter(|backend| find(after, backend).is_none()) {
        let slot = segment.find_pool(&gone.pool).and_then(|pool| segment.find(pool, gone.address));
        let registered = |slot: &Slot| segment.backend(*slot).source() == Some(Source::Api);
        if let Some(slot) = slot.filter(registered) {
            segment.set_admin(slot, Admin::Leaving, now);
        }
    }
}

/// Where it has its cells, which it is given if it has registered itself. None if it has none.
fn slot(segment: Segment, backend: &Backend) -> Option<Slot> {
    let pool = match (segment.find_pool(&backend.pool), backend.registered) {
        (Some(pool), _) => pool,
        (None, Some(_)) => segment.add_pool(&backend.pool)?,
        (None, None) => return None,
    };
    match (segment.find(pool, backend.address), backend.registered) {
        (Some(slot), _) => Some(slot),
        (None, Some(told)) => segment.register(pool, registration(backend, told)),
        (None, None) => None,
    }
}

fn admin(backend: &Backend) -> Admin {
    match backend.admin.as_str() {
        "drain" => Admin::Drain,
        "maint" => Admin::Maint,
        _ => Admin::Ready,
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
