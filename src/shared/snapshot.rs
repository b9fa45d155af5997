//! The pools at the moment, as an explanation wants them.

use crate::config::{self, Config};
use crate::mem::time::Millis;
use crate::policy::balance::Tier;
use crate::policy::explain::{BackendNow, PoolNow};
use crate::policy::slow_start;
use crate::sys::clock;

use super::{BackendId, PoolId, Segment};

impl Segment {
    /// All pools, those of `config` first. Pools that were added have the keys of "default".
    pub fn pools_now<'a>(&self, config: &'a Config) -> Vec<PoolNow<'a>> {
        let now = clock::now().millis();
        let pool = |id: PoolId| {
            let index = id.0;
            let keys = config.pools.get(index).unwrap_or(&config.pools[0]);
            let backend = |slot| self.backend_now(slot, keys.slow_start, now);
            let cells = self.pool(id);
            let turns = [Tier::Primaries, Tier::Backups].map(|tier| cells.rotation(tier));
            PoolNow {
                name: cells.name().to_string(),
                keys,
                backends: self.members(id).map(backend).collect(),
                turns: Some(turns),
            }
        };
        self.pools().map(pool).collect()
    }

    fn backend_now(&self, slot: BackendId, slow_start: Millis, now: Millis) -> BackendNow {
        let cells = self.backend(slot);
        let up_for = cells.up_for(now);
        BackendNow {
            keys: config::Backend {
                address: cells.address(),
                weight: cells.weight(),
                max_connections: cells.cap(),
                backup: cells.is_backup(),
            },
            availability: Some(cells.availability()),
            admin: cells.admin(),
            load: cells.load(),
            parts: up_for.map_or(slow_start::PARTS, |up_for| slow_start::parts(up_for, slow_start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::health::{AdminState, Availability};
    use crate::shared::{Layout, Registration};
    use crate::sys::memory;

    #[test]
    fn all_that_is_in_the_cells_is_there() {
        let mut config = Config::for_backends(&[([10, 0, 0, 1], 80).into()]);
        config.pools[0].backends[0].max_connections = 5;
        let layout = Layout::new(&config, 1);
        let cells = memory::share(layout.cells()).unwrap();
        let mut segment = Segment::create(cells.cells(), layout);
        segment.load_config(&config);
        let added = segment.add_pool("late").unwrap();
        let address = ([10, 0, 0, 2], 80).into();
        let entry = Registration { address, weight: 7, max_connections: 0, lease: None };
        let slot = segment.register(added, entry).unwrap();
        segment.set_admin(slot, AdminState::Drain, clock::now().millis());
        assert!(segment.claim(0, BackendId(0), 5));
        assert!(segment.pool(PoolId(0)).try_turn(Tier::Primaries, 0, 3));
        let [first, late] = &segment.pools_now(&config)[..] else { panic!("two pools") };
        assert_eq!((&*first.name, first.turns), ("default", Some([3, 0])));
        let backend = &first.backends[0];
        assert_eq!((backend.load, backend.keys.max_connections), (1, 5));
        assert_eq!((&*late.name, late.backends.len()), ("late", 1));
        let backend = &late.backends[0];
        assert_eq!((backend.keys.weight, backend.keys.address), (7, address));
        assert_eq!(
            (backend.availability, backend.admin),
            (Some(Availability::Drain), AdminState::Drain)
        );
    }
}
