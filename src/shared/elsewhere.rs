//! What the workers of other generations have. After a reload those that were replaced have something in
//! work for as long as it takes, at the same backends and for clients of the same service, and limits
//! and gauges are about all of it.
//!
//! Each generation counts its own. Several times a second the master reads what the workers of each
//! have, and writes among the settings of each what all the others have together: there it is added
//! to what is claimed. So a claim costs a look at one more cell that is seldom written, and a limit may
//! be exceeded for that moment only in which two generations have not seen each other's claims.
//!
//! It is read from the workers' rows, which the master clears when one has died, so nothing is held by the
//! dead. A row that says more than a worker can have is not believed at all.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::config::Endpoint;

use super::backends::{IDLE_ELSEWHERE, LOAD_ELSEWHERE};
use super::claims::WaitFor;
use super::counters::{BackendGauge, PoolGauge, WorkerCells};
use super::layout::{BackendId, PoolId};
use super::pools::{PoolName, QUEUE_ELSEWHERE};
use super::segment::{CLIENTS_ELSEWHERE, ROOM_WANTED, Segment};

/// What a worker can have at most.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Clients; and as many connections to backends.
    pub clients: u64,
    /// Requests in work.
    pub requests: u64,
}

/// What the workers of a generation have, or those of several.
#[derive(Default)]
pub struct Holdings {
    clients: u64,
    /// Those of which there is anything.
    pools: BTreeMap<PoolName, OfPool>,
}

#[derive(Default)]
struct OfPool {
    queue: u64,
    /// By their canonical addresses: those of which there is anything.
    backends: BTreeMap<Endpoint, OfBackend>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct OfBackend {
    load: u64,
    idle: u64,
}

impl Holdings {
    /// Adds those of another generation.
    pub fn add(&mut self, more: &Holdings) {
        self.clients += more.clients;
        for (name, more) in &more.pools {
            let pool = self.pools.entry(*name).or_default();
            pool.queue += more.queue;
            for (address, more) in &more.backends {
                let backend = pool.backends.entry(*address).or_default();
                backend.load += more.load;
                backend.idle += more.idle;
            }
        }
    }
}

impl OfPool {
    fn backend(&self, address: Endpoint) -> OfBackend {
        self.backends.get(&address).copied().unwrap_or_default()
    }
}

impl Segment {
    /// What the workers have now. For the master.
    pub fn holdings(&self, most: Most) -> Holdings {
        let pools = self.pools().map(|pool| (self.pool(pool).name(), self.of_pool(pool, most)));
        let is_any = |of: &OfPool| of.queue > 0 || !of.backends.is_empty();
        Holdings {
            clients: self.sum(most.clients, WorkerCells::clients).min(most.clients),
            pools: pools.filter(|(_, of)| is_any(of)).collect(),
        }
    }

    fn of_pool(&self, pool: PoolId, most: Most) -> OfPool {
        let backend = |slot| (self.backend(slot).server(), self.of_backend(slot, most));
        let backends = self.members(pool).map(backend);
        OfPool {
            queue: self.sum(most.requests, |row| row.pool(pool).gauge(PoolGauge::Queue)),
            backends: backends.filter(|(_, of)| *of != OfBackend::default()).collect(),
        }
    }

    fn of_backend(&self, slot: BackendId, most: Most) -> OfBackend {
        OfBackend {
            load: self.sum(most.requests, |row| row.backend(slot).held()),
            idle: self.sum(most.clients, |row| row.backend(slot).gauge(BackendGauge::Idle)),
        }
    }

    /// Over the rows of the workers, of which each can say so much.
    fn sum(&self, most: u64, number: impl Fn(&WorkerCells) -> u64) -> u64 {
        let numbers = (0..self.layout.workers).map(|worker| number(&self.worker(worker)));
        numbers.filter(|number| *number <= most).sum()
    }

    /// Notes what others have: what there is in all, less what is this generation's own. Tells `freed`
    /// of each limit below which there may be more room than before: who waits is to be rung then. For
    /// the master.
    pub fn set_elsewhere(&self, all: &Holdings, own: &Holdings, mut freed: impl FnMut(WaitFor)) {
        let clients = all.clients.saturating_sub(own.clients);
        if set(&self.cells[CLIENTS_ELSEWHERE], clients) {
            freed(WaitFor::Client);
        }
        let none = OfPool::default();
        for pool in self.pools() {
            let name = self.pool(pool).name();
            let all = all.pools.get(&name).unwrap_or(&none);
            let own = own.pools.get(&name).unwrap_or(&none);
            let queue = all.queue.saturating_sub(own.queue);
            set(&self.pool(pool).settings[QUEUE_ELSEWHERE], queue);
            let mut has_room = false;
            for slot in self.members(pool) {
                let backend = self.backend(slot);
                let (cells, address) = (backend.settings, backend.server());
                let (all, own) = (all.backend(address), own.backend(address));
                has_room |= set(&cells[LOAD_ELSEWHERE], all.load.saturating_sub(own.load));
                set(&cells[IDLE_ELSEWHERE], all.idle.saturating_sub(own.idle));
            }
            if has_room {
                freed(WaitFor::Pool(pool));
            }
        }
    }

    pub(super) fn queue_elsewhere(&self, pool: PoolId) -> u64 {
        self.pool(pool).settings[QUEUE_ELSEWHERE].load(Relaxed)
    }

    pub(super) fn idle_elsewhere(&self, slot: BackendId) -> u64 {
        self.backend(slot).settings[IDLE_ELSEWHERE].load(Relaxed)
    }

    /// Notes whether the generation that has replaced this one may have no more clients. The caller then
    /// rings the workers: they may have idle ones, which make room. For the master.
    pub fn set_room_wanted(&self, is_wanted: bool) {
        set(&self.cells[ROOM_WANTED], u64::from(is_wanted));
    }

    /// Whether that is so.
    pub fn is_room_wanted(&self) -> bool {
        self.cells[ROOM_WANTED].load(Relaxed) != 0
    }
}

/// Writes a cell if it changes: others read the line it lies in. Whether it fell.
fn set(cell: &AtomicU64, number: u64) -> bool {
    let before = cell.load(Relaxed);
    if number != before {
        cell.store(number, SeqCst);
    }
    number < before
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Backend, Config, Pool};
    use crate::shared::Layout;
    use crate::sys::memory;

    const MOST: Most = Most { clients: 10, requests: 20 };

    /// A generation of two workers, with a pool of these backends and an empty one.
    fn generation(hosts: &[u8]) -> Segment {
        let addresses: Vec<SocketAddr> =
            hosts.iter().map(|host| ([10, 0, 0, *host], 80).into()).collect();
        let mut config = Config::for_backends(&addresses);
        config
            .pools
            .push(Pool { backends: vec![Backend::at(([10, 0, 0, 1], 80))], ..Pool::named("b") });
        let layout = Layout::new(&config, 2);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        segment
    }

    /// As the master does. What has become free is told by generation.
    fn spread(all: &[Segment]) -> Vec<(usize, WaitFor)> {
        let own: Vec<Holdings> = all.iter().map(|segment| segment.holdings(MOST)).collect();
        let mut sum = Holdings::default();
        own.iter().for_each(|own| sum.add(own));
        let mut freed = Vec::new();
        for (number, (segment, own)) in all.iter().zip(&own).enumerate() {
            segment.set_elsewhere(&sum, own, |awaited| freed.push((number, awaited)));
        }
        freed
    }

    #[test]
    fn a_limit_is_about_what_all_generations_have() {
        let all = [generation(&[1, 2]), generation(&[2, 3, 1])];
        let [old, new] = all;
        assert!(old.claim(0, BackendId(0), 2) && old.claim_client(0, 3) && old.claim_client(1, 3));
        assert!(spread(&all).is_empty(), "there is less room than before");
        assert_eq!((new.clients(), new.own_clients()), (2, 0));
        assert_eq!([0, 1, 2].map(|slot| new.backend(BackendId(slot)).load()), [0, 0, 1]);
        assert_eq!(new.backend(BackendId(3)).load(), 0, "the other pool has that of this address");
        assert!(
            new.claim(1, BackendId(2), 2)
                && !new.claim(0, BackendId(2), 2)
                && new.claim(0, BackendId(2), 0)
        );
        assert!(new.claim_client(0, 3) && !new.claim_client(0, 3));
        // The one that was replaced sees those of the new one.
        spread(&all);
        assert_eq!((old.clients(), old.backend(BackendId(0)).load()), (3, 3));
        assert!(!old.claim(1, BackendId(0), 3) && old.claim(1, BackendId(0), 4));
    }

    #[test]
    fn what_others_give_back_is_told_once_to_those_who_wait_for_it() {
        let all = [generation(&[1, 2]), generation(&[2, 1])];
        let [old, new] = all;
        assert!(
            old.claim(0, BackendId(0), 0)
                && old.claim(1, BackendId(0), 0)
                && old.claim_client(0, 0)
        );
        assert!(spread(&all).is_empty());
        old.release(0, BackendId(0));
        assert_eq!(spread(&all), [(1, WaitFor::Pool(PoolId(0)))]);
        assert!(spread(&all).is_empty());
        // It dies, and the master has buried it.
        old.reap(1);
        old.reap(0);
        assert_eq!(spread(&all), [(1, WaitFor::Client), (1, WaitFor::Pool(PoolId(0)))]);
        assert_eq!((new.clients(), new.backend(BackendId(1)).load()), (0, 0));
    }

    #[test]
    fn gauges_are_sums_over_the_generations() {
        let all = [generation(&[1]), generation(&[2, 1]), generation(&[1])];
        for (number, segment) in all.iter().enumerate() {
            let slot = segment.find(PoolId(0), ([10, 0, 0, 1], 80).into()).unwrap();
            segment.worker(1).backend(slot).set(BackendGauge::Idle, 1 << number);
            segment.worker(0).pool(PoolId(0)).set(PoolGauge::Queue, 1 << number);
        }
        spread(&all);
        for segment in all {
            let slot = segment.find(PoolId(0), ([10, 0, 0, 1], 80).into()).unwrap();
            assert_eq!((segment.idle_connections(slot), segment.queue(PoolId(0))), (7, 7));
            assert_eq!(segment.queue(PoolId(1)), 0);
        }
    }

    #[test]
    fn a_row_that_says_more_than_a_worker_can_have_is_not_believed() {
        let all = [generation(&[1]), generation(&[1])];
        let [old, new] = all;
        for (clients, believed) in [(10, 10), (11, 0), (u64::MAX, 0), (1 << 32, 0)] {
            old.worker(0).set_clients(clients);
            old.worker(0).backend(BackendId(0)).set_held(2 * clients.min(1 << 40));
            spread(&all);
            let load = new.backend(BackendId(0)).load();
            assert_eq!((new.clients(), load), (believed, 2 * believed), "{clients}");
        }
        (0..2).for_each(|worker| old.worker(worker).set_clients(9));
        spread(&all);
        assert_eq!(new.clients(), 10, "as many as all together can have");
    }
}
