//! The cells of a name: how it stands and what was counted of its look-ups, kept while control processes come
//! and go.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::mem::time::{Clocks, Micros};
use crate::policy::naming::NameStatus;

const RESULTS: usize = NameStatus::RESULTS.len();

// The cells of a name.
const STATUS: usize = 0;
const SINCE: usize = STATUS + 1;
const FOUND_AT: usize = SINCE + 1;
const FOUND_ON: usize = FOUND_AT + 1;
/// Look-ups of generations before, and of this one.
const BEFORE: usize = FOUND_ON + 1;
const OWN: usize = BEFORE + RESULTS;
pub(super) const CELLS: usize = OWN + RESULTS;

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub struct NameStanding {
    /// How it stands.
    pub status: NameStatus,
    /// Since when, on the monotonic clock.
    pub since: Micros,
    /// The end of the last look-up that found something.
    pub found: Option<Clocks>,
}

/// A name's cells.
#[derive(Clone, Copy)]
pub struct NameCells(pub(super) &'static [AtomicU64]);

impl NameCells {
    fn get(self, place: usize) -> u64 {
        self.0[place].load(SeqCst)
    }

    fn set(self, place: usize, value: u64) {
        self.0[place].store(value, SeqCst);
    }

    /// How the name stands; `None` if it was never looked up.
    pub fn standing(self) -> Option<NameStanding> {
        let place = usize::try_from(self.get(STATUS)).ok()?.checked_sub(1)?;
        let (clock, wall) = (Micros(self.get(FOUND_AT)), Micros(self.get(FOUND_ON)));
        Some(NameStanding {
            status: *NameStatus::RESULTS.get(place)?,
            since: Micros(self.get(SINCE)),
            found: (wall > Micros(0)).then_some(Clocks { clock, wall }),
        })
    }

    /// The name stands like that.
    pub(super) fn stand(self, standing: NameStanding) {
        let of = |result: &NameStatus| *result == standing.status;
        let place = NameStatus::RESULTS.iter().position(of);
        self.set(STATUS, place.map_or(0, |place| place as u64 + 1));
        self.set(SINCE, standing.since.0);
        self.set(FOUND_AT, standing.found.map_or(0, |found| found.clock.0));
        self.set(FOUND_ON, standing.found.map_or(0, |found| found.wall.0));
    }

    /// A look-up is over, after which the name stands like that.
    pub fn note_lookup(self, standing: NameStanding) {
        self.stand(standing);
        let of = |result: &NameStatus| *result == standing.status;
        if let Some(place) = NameStatus::RESULTS.iter().position(of) {
            self.set(OWN + place, self.get(OWN + place) + 1);
        }
    }

    /// Look-ups, by their results.
    pub fn lookups(self) -> [u64; RESULTS] {
        std::array::from_fn(|place| self.get(BEFORE + place).wrapping_add(self.get(OWN + place)))
    }

    /// Look-ups that generations before have counted.
    pub(super) fn set_before(self, lookups: [u64; RESULTS]) {
        lookups.iter().enumerate().for_each(|(place, count)| self.set(BEFORE + place, *count));
    }
}
