//! The rotations of the pools, in cells that all generations of the service share: while one takes the
//! place of another both pick, and they take turns with each other as their workers do.
//!
//! A pool is known by the hash of its name. Its place is claimed when a generation first has a pool of
//! that name, and never given up; whoever finds none keeps its rotation among its own cells.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::policy::balance::Tier;
use crate::policy::siphash::SipHasher;
use crate::sys::random;

use super::layout::LINE;

/// Names of pools that can have a place, over the life of the service.
const PLACES: usize = 2048;
/// What a place has: whose it is, and the turns of each tier.
const KEY: usize = 0;
const TURNS: usize = 1;
/// A pool begins at one of so many turns: more than any sequence is long.
const FIRST_TURNS: u64 = 1 << 32;

/// The cells. A handle: copies mean the same cells.
#[derive(Clone, Copy, Default)]
pub struct Rotations {
    cells: &'static [AtomicU64],
}

impl Rotations {
    /// How many cells they take: each place has a line of its own.
    pub const CELLS: usize = PLACES * LINE;

    /// In cells that were zero at first. If they are of another number, there are no places.
    pub fn over(cells: &'static [AtomicU64]) -> Rotations {
        Rotations { cells: if cells.len() == Rotations::CELLS { cells } else { &[] } }
    }

    /// The place of the pool of this name. A new one begins at a random turn. `None`: all are taken,
    /// or there are none. For the master and the control process.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        let key = key(name);
        let places = self.cells.len() / LINE;
        let first = (key % places.max(1) as u64) as usize;
        (first..places).chain(0..first).find(|place| {
            let cell = &self.cells[place * LINE + KEY];
            match cell.compare_exchange(0, key, SeqCst, SeqCst) {
                Ok(_) => {
                    self.begin(*place);
                    true
                }
                Err(taken) => taken == key,
            }
        })
    }

    fn begin(&self, place: usize) {
        let mut bytes = [0; 8];
        random::fill(&mut bytes);
        let first = u64::from_le_bytes(bytes) % FIRST_TURNS;
        for tier in [Tier::Primaries, Tier::Backups] {
            if let Some(turns) = self.turns(place, tier) {
                turns.fetch_add(first, SeqCst);
            }
        }
    }

    /// The turns that were taken at a place, if there is such a place.
    pub(super) fn turns(&self, place: usize, tier: Tier) -> Option<&'static AtomicU64> {
        self.cells.get(place.checked_mul(LINE)? + TURNS + tier as usize)
    }
}

/// Of a name; never 0. There is no secret in it: whoever names pools may name all of them.
fn key(name: &str) -> u64 {
    let mut hasher = SipHasher::new_64(&[0; 16]);
    hasher.write(name.as_bytes());
    hasher.finish_64().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory;
    use crate::sys::world::{self, Faults};

    fn some() -> Rotations {
        world::reset(1, Faults::default());
        Rotations::over(memory::share(Rotations::CELLS).unwrap().cells())
    }

    fn turns(rotations: Rotations, place: usize, tier: Tier) -> u64 {
        rotations.turns(place, tier).unwrap().load(SeqCst)
    }

    #[test]
    fn a_name_has_one_place_and_another_name_another() {
        let rotations = some();
        let places = ["api", "web", "api"].map(|name| rotations.place(name).unwrap());
        assert!(places[0] == places[2] && places[0] != places[1]);
    }

    #[test]
    fn a_name_begins_at_a_random_turn_once() {
        let rotations = some();
        let places: Vec<usize> =
            (0..50).map(|pool| rotations.place(&format!("p{pool}")).unwrap()).collect();
        let firsts = |tier| places.iter().map(move |place| turns(rotations, *place, tier) % 3);
        for tier in [Tier::Primaries, Tier::Backups] {
            assert!((0..3).all(|turn| firsts(tier).any(|first| first == turn)));
        }
        let before = turns(rotations, places[0], Tier::Primaries);
        assert_eq!(rotations.place("p0"), Some(places[0]));
        assert_eq!(turns(rotations, places[0], Tier::Primaries), before);
    }

    #[test]
    fn when_all_places_are_taken_there_is_none_for_a_new_name() {
        let rotations = some();
        for pool in 0..PLACES {
            assert!(rotations.place(&format!("p{pool}")).is_some());
        }
        assert_eq!(rotations.place("one more"), None);
        assert!(rotations.place("p7").is_some());
        assert_eq!(Rotations::default().place("p7"), None);
        assert!(rotations.turns(PLACES, Tier::Primaries).is_none());
        assert!(rotations.turns(usize::MAX, Tier::Primaries).is_none());
    }
}
