//! The caps that find themselves: what the workers have counted goes into
//! [`AdaptiveCap`], ten times a second, and what comes of it into
//! the cells of the backends, where workers look whenever they want a place.

use crate::config::AUTO_CAP;
use crate::mem::time::Micros;
use crate::policy::concurrency::{AdaptiveCap, Sample};
use crate::shared::wakers::Wakers;
use crate::shared::{BackendId, PlaceTimes, Segment, WaitFor};

/// So often it is looked at what the backends do.
const INTERVAL: Micros = Micros(100_000);

/// The caps of all backends that have such.
pub struct Caps {
    segment: Segment,
    /// By the slots of the backends.
    backends: Vec<Option<FollowedBackend>>,
    /// By the numbers of the pools: requests that had to wait, at the last look.
    waits: Vec<u64>,
    /// Whether any backend has such a cap.
    any: bool,
    last: Micros,
}

/// A backend whose cap finds itself.
struct FollowedBackend {
    /// That of its slot: another one is another backend.
    generation: u64,
    cap: AdaptiveCap,
    /// What the workers had counted at the last look.
    counted: PlaceTimes,
}

impl Caps {
    /// Nothing was looked at yet.
    pub fn new(segment: Segment) -> Caps {
        let layout = segment.layout();
        Caps {
            segment,
            backends: (0..layout.backends).map(|_| None).collect(),
            waits: vec![0; layout.pools],
            any: false,
            last: Micros(0),
        }
    }

    /// Looks which backends have such a cap: now and then, and when one came or was changed.
    pub fn look_around(&mut self) {
        let segment = self.segment;
        self.any = segment
            .pools()
            .flat_map(|pool| segment.members(pool))
            .any(|slot| segment.backend(slot).max_connections() == AUTO_CAP);
    }

    /// When there is to be looked next, if ever.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.any.then_some(self.last + INTERVAL)
    }

    /// Looks what the backends have done, if it is time, and rings the workers that wait where more
    /// may be had at once.
    pub fn run(&mut self, wakers: &Wakers, now: Micros) {
        if self.next_deadline().is_none_or(|time| now < time) {
            return;
        }
        let elapsed = now - self.last;
        self.last = now;
        for pool in self.segment.pools() {
            let waits = self.segment.waits_total(pool);
            let has_waited = waits != std::mem::replace(&mut self.waits[pool.0], waits);
            let waits_now = self.segment.queue(pool) > 0;
            let mut has_more = false;
            for slot in self.segment.members(pool) {
                has_more |= self.look_at(slot, (has_waited || waits_now, waits_now), elapsed);
            }
            if has_more {
                wakers.wake_all(&self.segment, WaitFor::Pool(pool));
            }
        }
    }

    /// Takes in what a backend has done. Whether it may have more than before.
    fn look_at(&mut self, slot: BackendId, (waited, waits): (bool, bool), elapsed: Micros) -> bool {
        let cells = self.segment.backend(slot);
        let followed = &mut self.backends[slot.0];
        if cells.max_connections() != AUTO_CAP {
            *followed = None;
            return false;
        }
        let counted = self.segment.place_times(slot);
        let generation = cells.standing().generation();
        let Some(followed) = followed.as_mut().filter(|known| known.generation == generation)
        else {
            let cap = AdaptiveCap::resumed(cells.found_cap());
            *followed = Some(FollowedBackend { generation, cap, counted });
            return false;
        };
        let more = counted.since(std::mem::replace(&mut followed.counted, counted));
        let unit = PlaceTimes::UNIT as f64 / 1e6;
        followed.cap.observe(
            &Sample {
                released: more.count,
                held: Micros(more.sum),
                held_squares: more.squares as f64 * unit * unit,
                load: cells.load(),
                // One that is not asked gives nothing back for another reason.
                waited: waited && cells.is_up(),
                waits: waits && cells.is_up(),
            },
            elapsed,
        );
        let (before, found) = (cells.found_cap(), followed.cap.found());
        if found != before {
            cells.set_found_cap(found);
        }
        found.cap > before.cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::policy::concurrency::{FoundCap, START};
    use crate::shared::{Layout, PoolCounter, PoolGauge, PoolId};
    use crate::sys::memory;

    const SLOT: BackendId = BackendId(0);

    fn cells() -> Segment {
        let mut config = Config::for_backends(&["10.0.0.1:80".parse().unwrap()]);
        config.pools[0].backends[0].max_connections = AUTO_CAP;
        let layout = Layout::new(&config, 2);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        segment
    }

    /// A second of a backend that serves 4 at once, in 20 ms each, while all wait for it.
    fn overload(caps: &mut Caps, segment: Segment, wakers: &Wakers, now: &mut Micros) {
        for _ in 0..10 {
            *now = *now + INTERVAL;
            let cap = u64::from(segment.backend(SLOT).cap());
            for request in 0..20 {
                let row = segment.worker(request % 2);
                row.backend(SLOT).gave_place_back(Micros(20_000 * cap.max(4) / 4));
                row.pool(PoolId(0)).add(PoolCounter::Waits, 1);
                row.pool(PoolId(0)).set(PoolGauge::Queue, 5);
            }
            caps.run(wakers, *now);
        }
    }

    #[test]
    fn what_the_workers_count_lowers_the_cap_of_a_backend_that_has_too_much() {
        let (segment, wakers) = (cells(), Wakers::new(2).unwrap());
        let mut caps = Caps::new(segment);
        assert_eq!(caps.next_deadline(), None);
        caps.look_around();
        let mut now = Micros::from_secs(100);
        assert_eq!(segment.backend(SLOT).found_cap(), FoundCap { cap: START, is_saturated: false });
        (0..20).for_each(|_| overload(&mut caps, segment, &wakers, &mut now));
        let found = segment.backend(SLOT).found_cap();
        assert!(found.cap <= 6 && found.is_saturated, "{found:?}");
        // Another process goes on with that.
        let mut caps = Caps::new(segment);
        caps.look_around();
        overload(&mut caps, segment, &wakers, &mut now);
        assert!(segment.backend(SLOT).cap() <= 6);
    }

    #[test]
    fn a_backend_with_a_limit_of_its_own_is_left_alone() {
        let (segment, wakers) = (cells(), Wakers::new(2).unwrap());
        segment.set_cap(SLOT, 7);
        let mut caps = Caps::new(segment);
        caps.look_around();
        assert_eq!(caps.next_deadline(), None);
        overload(&mut caps, segment, &wakers, &mut Micros::from_secs(100));
        assert_eq!(segment.backend(SLOT).cap(), 7);
    }
}
