//! What relays borrow: rings for connections, and pipes for splicing.

use crate::mem::stock::Stock;
use crate::sys::{Pipe, Socket};

use super::record::Cache;

/// Bytes that a wide pipe is asked to hold, the most that a user without privileges may have in one.
const WIDE_BYTES: usize = 1024 * 1024;
/// So many pipes are wide.
const WIDE: usize = 8;
/// Bytes that any other is asked to hold: less costs calls.
const NARROW_BYTES: usize = 256 * 1024;

/// What a relay needs of its process.
pub struct Tools {
    /// Rings for connections.
    pub rings: Stock,
    /// Bytes in a ring.
    pub ring_size: usize,
    /// Pipes for splicing.
    pub pipes: Pipes,
    /// Splicing pays from this many bytes on.
    pub splice_min: u64,
    /// Bytes that went by splice.
    pub spliced: u64,
    /// What records bodies that pass, where there is a cache.
    pub(super) cache: Option<Cache>,
}

/// A small stock of pipes: an unprivileged user has 64 MiB of them in all. The wide ones are lent
/// first, so that all are wide that few relays need.
pub struct Pipes {
    wide: Vec<Pipe>,
    narrow: Vec<Pipe>,
    wide_open: usize,
    open: usize,
    limit: usize,
    /// Where framing is looked at that goes by splice.
    pub(super) sight: Sight,
}

/// What a relay sees of bytes that stay in the kernel.
pub(super) struct Sight {
    /// Room for as many as a wide pipe takes.
    pub bytes: Vec<u8>,
    /// Whether the kernel lets us look at framing behind data that we do not look at.
    pub is_far: bool,
}

impl Pipes {
    /// At most `limit` pipes, each opened when it is first needed.
    pub fn new(limit: usize) -> Pipes {
        let (wide, narrow) = (Vec::with_capacity(WIDE), Vec::with_capacity(limit));
        let sight = Sight { bytes: vec![0; WIDE_BYTES], is_far: Socket::looks_ahead() };
        Pipes { wide, narrow, wide_open: 0, open: 0, limit, sight }
    }

    /// An empty pipe, if there is one to be had: without one, rings do the work.
    pub(super) fn lend(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.wide.pop().or_else(|| self.narrow.pop()) {
            return Some(pipe);
        }
        if self.open >= self.limit {
            return None;
        }
        let pipe =
            Pipe::open(if self.wide_open < WIDE { WIDE_BYTES } else { NARROW_BYTES }).ok()?;
        self.open += 1;
        self.wide_open += usize::from(is_wide(&pipe));
        Some(pipe)
    }

    /// Whether a pipe may be had.
    pub(super) fn has_spare(&self) -> bool {
        self.spare() > 0 || self.open < self.limit
    }

    /// Takes a pipe back; one that still holds bytes is closed.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        match (pipe.is_empty(), is_wide(&pipe)) {
            (true, true) => self.wide.push(pipe),
            (true, false) => self.narrow.push(pipe),
            (false, is_wide) => {
                self.open -= 1;
                self.wide_open -= usize::from(is_wide);
            }
        }
    }

    /// Pipes that are lent now.
    pub fn lent(&self) -> usize {
        self.open - self.spare()
    }

    fn spare(&self) -> usize {
        self.wide.len() + self.narrow.len()
    }
}

fn is_wide(pipe: &Pipe) -> bool {
    pipe.capacity() > NARROW_BYTES
}

#[cfg(test)]
mod tests {
    use super::{NARROW_BYTES, Pipes, WIDE, WIDE_BYTES};
    use crate::sys::world::{self, Faults};

    #[test]
    fn a_few_pipes_are_wide_and_lent_first() {
        world::reset(1, Faults::default());
        let mut pipes = Pipes::new(WIDE + 2);
        let lent: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        let capacities: Vec<_> = lent.iter().map(super::Pipe::capacity).collect();
        assert_eq!(capacities, [[WIDE_BYTES].repeat(WIDE), [NARROW_BYTES].repeat(2)].concat());
        assert!(!pipes.has_spare() && pipes.lent() == WIDE + 2);
        lent.into_iter().for_each(|pipe| pipes.give_back(pipe));
        assert_eq!(pipes.lend().expect("all are back").capacity(), WIDE_BYTES);
        assert_eq!(pipes.lent(), 1);
    }

    #[test]
    fn where_no_pipe_may_be_wide_there_are_as_many() {
        world::reset(1, Faults { pipe_capacity: 4096, ..Faults::default() });
        let mut pipes = Pipes::new(WIDE + 2);
        assert_eq!(std::iter::from_fn(|| pipes.lend()).count(), WIDE + 2);
    }
}
