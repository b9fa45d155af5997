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

use crate::sys::{IoError, Waker};

use super::claims::WaitFor;
use super::segment::Segment;

/// A waker for each worker, the same in all processes.
pub struct Wakers {
    /// By the workers' numbers.
    pub wakers: Vec<Waker>,
    /// That of the control process.
    pub control: Waker,
    /// Those of other generations: whose numbers follow that of the control process. None where nothing
    /// is shared with them.
    pub neighbours: Vec<Waker>,
}

impl Wakers {
    /// Opens one for each of so many workers. Before the processes are forked.
    pub fn new(workers: usize) -> Result<Wakers, IoError> {
        let wakers = (0..workers).map(|_| Waker::new()).collect::<Result<_, _>>()?;
        Ok(Wakers { wakers, control: Waker::new()?, neighbours: Vec::new() })
    }

    /// The same wakers once more, for another part of this process.
    pub fn try_clone(&self) -> Result<Wakers, IoError> {
        let wakers = self.wakers.iter().map(Waker::try_clone).collect::<Result<_, _>>()?;
        let neighbours = self.neighbours.iter().map(Waker::try_clone);
        Ok(Wakers {
            wakers,
            control: self.control.try_clone()?,
            neighbours: neighbours.collect::<Result<_, _>>()?,
        })
    }

    /// Rings all that wait: after a change that may concern any of them.
    pub fn wake_all(&self, segment: &Segment, awaited: WaitFor) {
        for (worker, waker) in self.wakers.iter().enumerate() {
            if segment.waits(worker, awaited) {
                waker.wake();
            }
        }
    }

    /// Rings all that wait for anything.
    pub fn wake_waiting(&self, segment: &Segment) {
        self.wake_all(segment, WaitFor::Client);
        for pool in segment.pools() {
            self.wake_all(segment, WaitFor::Pool(pool));
        }
    }

    /// Rings all workers, whether they wait or not: what concerns the service has changed.
    pub fn wake_workers(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Makes a worker's own waker silent, before it looks what it was rung for.
    pub fn clear(&self, worker: usize) {
        if let Some(waker) = self.wakers.get(worker) {
            waker.clear();
        }
    }

    /// Rings one worker; numbers behind those of the workers are the control process's, and others'.
    pub fn wake(&self, worker: usize) {
        let waker = match worker.checked_sub(self.wakers.len()) {
            None => self.wakers.get(worker),
            Some(0) => Some(&self.control),
            Some(behind) => self.neighbours.get(behind - 1),
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
