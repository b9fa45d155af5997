//! Wakes the workers that wait for a place.
//!
//! A place that becomes free is told to one worker, the next one that waits behind the one that
//! freed it, so that each has its turn. Nobody is forgotten by that:
//!
//! - Who is rung takes the place, or finds that it has nobody left who wants it. Then it clears its
//!   bit, and *afterwards* rings the next that waits. Had the ringer seen the bit, the place was
//!   free before that, so the next one finds it.
//! - Who begins to wait sets its bit, and *afterwards* looks once more. If it finds a place that it
//!   was not rung for while others wait, these come first: it rings the next of them, and waits.
//!   Else it takes it.
//! - Who dies is buried by the master, which rings all.

use crate::sys::{Doorbell, IoError};

use super::{Segment, WaitFor};

/// A doorbell for each worker, the same in all processes.
pub struct Doorbells {
    /// By the workers' numbers.
    pub bells: Vec<Doorbell>,
    /// That of the control process.
    pub control: Doorbell,
    /// Those of other generations: whose numbers follow that of the control process. None where nothing
    /// is shared with them.
    pub neighbours: Vec<Doorbell>,
}

impl Doorbells {
    /// Opens one for each of so many workers. Before the processes are forked.
    pub fn new(workers: usize) -> Result<Doorbells, IoError> {
        let bells = (0..workers).map(|_| Doorbell::new()).collect::<Result<_, _>>()?;
        Ok(Doorbells { bells, control: Doorbell::new()?, neighbours: Vec::new() })
    }

    /// The same doorbells once more, for another part of this process.
    pub fn try_clone(&self) -> Result<Doorbells, IoError> {
        let bells = self.bells.iter().map(Doorbell::try_clone).collect::<Result<_, _>>()?;
        let neighbours = self.neighbours.iter().map(Doorbell::try_clone);
        Ok(Doorbells {
            bells,
            control: self.control.try_clone()?,
            neighbours: neighbours.collect::<Result<_, _>>()?,
        })
    }

    /// Rings all that wait: after a change that may concern any of them.
    pub fn ring_all(&self, segment: &Segment, awaited: WaitFor) {
        for (worker, bell) in self.bells.iter().enumerate() {
            if segment.waits(worker, awaited) {
                bell.ring();
            }
        }
    }

    /// Rings all that wait for anything.
    pub fn ring_everybody(&self, segment: &Segment) {
        self.ring_all(segment, WaitFor::Client);
        for pool in segment.pools() {
            self.ring_all(segment, WaitFor::Pool(pool));
        }
    }

    /// Rings all workers, whether they wait or not: what concerns the service has changed.
    pub fn ring_workers(&self) {
        self.bells.iter().for_each(Doorbell::ring);
    }

    /// Makes a worker's own doorbell silent, before it looks what it was rung for.
    pub fn silence(&self, worker: usize) {
        if let Some(bell) = self.bells.get(worker) {
            bell.silence();
        }
    }

    /// Rings one worker; numbers behind those of the workers are the control process's, and others'.
    pub fn ring(&self, worker: usize) {
        let bell = match worker.checked_sub(self.bells.len()) {
            None => self.bells.get(worker),
            Some(0) => Some(&self.control),
            Some(behind) => self.neighbours.get(behind - 1),
        };
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}
