//! Whatever a worker that was taken over writes into the cells it can write, the master and the
//! control process go on, and believe nothing of it that only they may say.

use crate::cache::sweeper::Sweeper;
use crate::cache::testing::{known_cells, opened, worker};
use crate::config::{Config, Endpoint};
use crate::control::checks::Checks;
use crate::control::page::{PageContent, PageWindow};
use crate::control::view::{View, Viewer};
use crate::control::{json, metrics, page, verdict};
use crate::mem::time::{Clocks, Micros, Millis};
use crate::mem::xorshift::Xorshift;
use crate::policy::health::{AdminState, Fault, HealthEvent, Rules};
use crate::shared::history::History;
use crate::shared::wakers::Wakers;
use crate::shared::{BackendId, LastCheck, Layout, Most, Registration, Segment};
use crate::sys::world::{self, Faults};
use crate::sys::{Poller, memory};

use super::backend_state;

const WORKERS: usize = 3;
const SEEDS: u64 = 60;
const RULES: Rules = Rules { max_fails: 3, fail_timeout: Millis(1000) };

fn config() -> Config {
    Config::for_backends(&[1, 2, 3].map(|host| ([10, 0, 1, host], 80).into()))
}

fn cells_of(config: &Config) -> Segment {
    let layout = Layout::new(config, WORKERS);
    let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
    segment.load_config(config);
    segment
}

fn page_of(view: &View) -> String {
    page::render(&PageContent {
        view,
        window: PageWindow::ALL[0],
        line: Vec::new(),
        pool_lines: Vec::new(),
        events: Vec::new(),
        refusal: None,
    })
}

/// A number as somebody means harm by it.
fn harmful(dice: &mut Xorshift) -> u64 {
    let any = (dice.below(1 << 31) as u64) << 33 | (dice.below(1 << 31) as u64) << 2;
    match dice.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => u64::MAX >> dice.below(64),
        4 | 5 => dice.below(600) as u64,
        _ => any,
    }
}

/// What is said of each backend by those alone who may say it.
fn settings(segment: Segment) -> Vec<(String, Endpoint, u32, u32, AdminState)> {
    let members =
        segment.pools().flat_map(move |pool| segment.members(pool).map(move |slot| (pool, slot)));
    let said = |(pool, slot)| {
        let backend = segment.backend(slot);
        let name = segment.pool(pool).name().to_string();
        (name, backend.address(), backend.weight(), backend.cap(), backend.admin())
    };
    members.map(said).collect()
}

fn register(segment: Segment) {
    let pool = segment.add_pool("api").expect("a free place");
    let entry = Registration {
        weight: 5,
        max_connections: 7,
        lease: Some(Millis(90_000)),
        ..Registration::at(([10, 0, 2, 1], 80).into())
    };
    segment.register(pool, entry).expect("a free slot");
}

#[test]
fn forged_cells_end_nobody_and_change_no_setting() {
    for seed in 0..SEEDS {
        world::reset(seed, Faults::default());
        let mut dice = Xorshift::new(seed);
        let config = config();
        let segment = cells_of(&config);
        register(segment);
        let said = settings(segment);
        let mut viewer = Viewer::new(segment, History::small(32, 8), &config, 7);
        let mut checks = Checks::new(segment, &config);
        let (wakers, poller) = (Wakers::new(WORKERS).unwrap(), Poller::new().unwrap());
        for round in 0..4 {
            segment.forge(|| harmful(&mut dice));
            let now =
                Clocks { clock: Micros::from_secs(100 + round), wall: Micros::from_secs(1 << 30) };
            let view = viewer.view(0, now);
            let troubles = verdict::of_all(&view.service, &view.pools);
            let status = json::status(&view.service, &troubles);
            for text in [metrics::render(&view), page_of(&view), status] {
                assert!(!text.is_empty());
            }
            assert!(json::pools(&view.pools).contains("10.0.2.1:80"));
            checks.look_around(now.clock);
            checks.run(&poller, 0, &wakers, now.clock);
            for slot in (0..4).map(BackendId) {
                segment.observe(
                    slot,
                    HealthEvent::Failed(Fault::Refused),
                    now.clock.millis(),
                    &RULES,
                );
                let (took, at) = (Micros(1), now.clock.millis());
                let result = LastCheck { passed: round % 2 == 0, status: 200, took, at };
                segment.note_check(
                    slot,
                    result,
                    &crate::policy::health::CheckRules { rise: 1, fall: 1 },
                );
                segment.forget_if_unused(slot);
            }
            wakers.wake_waiting(&segment);
            (0..WORKERS).for_each(|worker| segment.reap(worker));
            assert_eq!(settings(segment), said, "seed {seed}");
        }
        segment.forge(|| harmful(&mut dice));
        let next = cells_of(&config);
        backend_state::restore(
            next,
            &config,
            &backend_state::collect(segment, &config),
            Millis(200_000),
        );
        next.absorb(&segment);
        backend_state::catch_up(
            next,
            &config,
            &backend_state::collect(segment, &config),
            Millis(200_001),
        );
        assert_eq!(settings(next), said, "seed {seed}");
        let most = Most { clients: 100, requests: 200 };
        let (forged, own) = (segment.holdings(most), next.holdings(most));
        next.set_elsewhere(&forged, &own, |_| ());
        assert!(next.clients() <= 100 && next.backend(BackendId(0)).load() <= 200 * WORKERS as u32);
        assert_eq!(settings(next), said, "seed {seed}");
        let now = Clocks { clock: Micros::from_secs(300), wall: Micros::from_secs(1 << 30) };
        let _ = metrics::render(&Viewer::new(next, History::small(32, 8), &config, 7).view(0, now));
    }
}

#[test]
fn forged_cells_of_the_cache_end_nobody() {
    for seed in 0..SEEDS {
        world::reset(seed, Faults::default());
        let mut dice = Xorshift::new(seed);
        let cells = known_cells(1 << 20);
        let _store = worker(cells, 0);
        let mut sweeper = Sweeper::new(opened(), cells, 1);
        for round in 0..4 {
            cells.forge(|| harmful(&mut dice));
            for _ in 0..50 {
                sweeper.step(Micros::from_secs(100 + round), Micros::from_secs(1 << 30));
            }
            for number in 0..2 {
                assert!(cells.reap(number).workers().count() <= 512);
            }
            let _ = (cells.used(), cells.unscanned(), cells.numbered_from(1));
        }
    }
}
