//! What relays borrow: rings for connections, and pipes for splicing.

use crate::mem::stock::Stock;
use crate::sys::Pipe;

/// Bytes a pipe is asked to hold: more brings nothing, less costs calls.
const PIPE_BYTES: usize = 256 * 1024;

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
}

/// A small stock of pipes: an unprivileged user has 64 MiB of them in all.
pub struct Pipes {
    spare: Vec<Pipe>,
    open: usize,
    limit: usize,
}

impl Pipes {
    /// At most `limit` pipes, each opened when it is first needed.
    pub fn new(limit: usize) -> Pipes {
        Pipes { spare: Vec::with_capacity(limit), open: 0, limit }
    }

    /// An empty pipe, if there is one to be had: without one, rings do the work.
    pub(super) fn lend(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.open >= self.limit {
            return None;
        }
        match Pipe::open(PIPE_BYTES) {
            Ok(pipe) => {
                self.open += 1;
                Some(pipe)
            }
            Err(_) => None,
        }
    }

    /// Whether a pipe may be had.
    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty() || self.open < self.limit
    }

    /// Takes a pipe back; one that still holds bytes is closed.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        if pipe.is_empty() {
            self.spare.push(pipe);
        } else {
            self.open -= 1;
        }
    }

    /// Pipes that are lent now.
    pub fn lent(&self) -> usize {
        self.open - self.spare.len()
    }
}
