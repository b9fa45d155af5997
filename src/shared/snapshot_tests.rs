use super::*;
use crate::config::{self, Backend, Endpoint};
use crate::policy::health::{AdminState, CheckRules};
use crate::policy::slow_start;
use crate::shared::{LastCheck, Layout, PoolGauge, Registration};
use crate::sys::memory;

/// Two workers; 127.0.0.1:8001, and a backup of one request.
fn segment() -> (Segment, Config) {
    let mut config = Config::for_backends(&["127.0.0.1:8001".parse().unwrap()]);
    config.pools[0].backends.push(Backend {
        max_connections: 1,
        backup: true,
        ..Backend::at("[fd00::7]:80".parse::<Endpoint>().unwrap())
    });
    let layout = Layout::new(&config, 2);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(&config);
    (segment, config)
}

fn at(millis: u64) -> Clocks {
    Clocks { clock: Micros(millis * 1000), wall: Micros(millis * 1000) }
}

fn register(segment: Segment, pool: PoolId, lease: Option<Millis>) -> BackendId {
    let address = "[::ffff:10.0.0.7]:80".parse().unwrap();
    let entry = Registration { weight: 3, lease, ..Registration::at(address) };
    segment.register(pool, entry).unwrap()
}

#[test]
fn totals_are_sums_over_the_workers() {
    let (segment, config) = segment();
    for worker in 0..2 {
        let row = segment.worker(worker);
        row.add(Counter::Requests, 10);
        row.pool(PoolId(0)).set(PoolGauge::Queue, 2);
        row.backend(BackendId(0)).add(BackendCounter::Responses(Class::Success), 3);
        row.backend(BackendId(0)).set(BackendGauge::IdleLimit, 3000 - worker as u64);
        row.backend(BackendId(0)).set(BackendGauge::Echoes, worker as u64);
        assert!(segment.claim_client(worker, 0));
    }
    assert!(segment.claim(0, BackendId(1), 1));
    let now = Clocks { clock: Micros::from_secs(100), wall: Micros::from_secs(1000) };
    segment.set_service(ServiceCell::StartTime, 990_000_000);
    let reader = SnapshotReader::new(segment, &config, now);
    let Snapshot { service, pools } = reader.snapshot::<BackendTotals>();
    assert_eq!((service.uptime, service.clients), (Millis(10_000), 2));
    assert_eq!(reader.totals().requests, 20);
    let [first, second] = &pools[0].backends[..] else { panic!() };
    let totals = &first.totals;
    assert_eq!((totals.responses[1], totals.idle_limit, totals.echoes_id), (6, Millis(2999), true));
    assert_eq!((pools[0].queue, first.queue), (4, 0));
    assert_eq!((second.queue, second.active, second.is_backup), (4, 1, true));
    assert_eq!((second.totals.idle_limit, second.totals.echoes_id), (Millis(4000), false));
}

#[test]
fn a_registered_backend_shows_its_lease_and_how_it_fares() {
    let (segment, config) = segment();
    let pool = segment.add_pool("api").unwrap();
    let slot = register(segment, pool, Some(Millis(5_000)));
    let failed = LastCheck { passed: false, status: 0, took: Micros(700), at: Millis(2_000) };
    segment.note_check(slot, failed, &CheckRules { rise: 2, fall: 1 });
    let reader = SnapshotReader::new(segment, &config, at(3_000));
    let backend = reader.backend::<()>(slot);
    assert_eq!(backend.server(), "10.0.0.7:80".parse().unwrap());
    assert_eq!((backend.source, backend.admin), (Source::Api, AdminState::Ready));
    assert_eq!((backend.state, backend.downtime), (Availability::Down, Millis(1_000)));
    assert_eq!((backend.lease, backend.check_failures), (Some(Millis(2_000)), 1));
    let check = backend.last_check.unwrap();
    assert_eq!((check.status, check.age, check.time), (None, Millis(1_000), Micros(700)));
    let pool = reader.pool::<()>(pool);
    assert_eq!((pool.backends.len(), pool.balance), (1, config.pools[0].balance));
}

#[test]
fn an_explanation_has_all_that_is_in_the_cells() {
    let (segment, mut config) = segment();
    config.pools[0].slow_start = Millis(10_000);
    let late = segment.add_pool("late").unwrap();
    let slot = register(segment, late, None);
    segment.set_admin(slot, AdminState::Drain, Millis(0));
    assert!(segment.claim(0, BackendId(1), 1));
    assert!(segment.pool(PoolId(0)).try_turn(Tier::Primaries, 0, 3));
    for slot in [BackendId(0), slot] {
        segment.set_history(slot, Some(Millis(1_000)), Millis(0), 0);
    }
    let snapshot = SnapshotReader::new(segment, &config, at(6_000)).snapshot::<()>();
    let pools: Vec<_> = snapshot.pools.iter().map(|pool| pool.to_explain(&config)).collect();
    let [first, late] = &pools[..] else { panic!("two pools") };
    assert_eq!((&*first.name, first.turns), ("default", Some([3, 0])));
    let backup =
        config::Backend { max_connections: 1, backup: true, ..config.pools[0].backends[1] };
    assert_eq!((first.backends[1].load, first.backends[1].keys), (1, backup));
    let half = slow_start::parts(Millis(5_000), Millis(10_000));
    assert_eq!(
        (first.backends[0].share.parts, first.backends[1].share.parts),
        (half, slow_start::PARTS)
    );
    assert!(half < slow_start::PARTS);
    assert_eq!((&*late.name, late.backends.len()), ("late", 1));
    let backend = &late.backends[0];
    assert_eq!(backend.share.parts, slow_start::PARTS, "one that is drained does not start");
    // As it was registered: that is what its sticky cookie is made of.
    assert_eq!((backend.keys.weight, backend.keys.address), (3, segment.backend(slot).address()));
    assert_eq!(
        (backend.availability, backend.admin),
        (Some(Availability::Drain), AdminState::Drain)
    );
}
