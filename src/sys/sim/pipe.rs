//! Pipes. See `linux::Pipe`.
use super::Socket;
use super::descriptor::Descriptor;
use super::kernel;
use crate::sys::IoError;

/// A pipe, and what is in it.
pub struct Pipe {
    bytes: Vec<u8>,
    capacity: usize,
    /// A pipe may outlive its world, and must not count in the next.
    epoch: u64,
    _descriptors: [Descriptor; 2],
}

#[expect(missing_docs, reason = "as in linux::Pipe")]
impl Pipe {
    pub fn open(capacity: usize) -> Result<Pipe, IoError> {
        let descriptors = [Descriptor::take()?, Descriptor::take()?];
        let (capacity, epoch) = kernel::with(|kernel| {
            if kernel.pipes >= kernel.faults.pipes {
                return Err(IoError::Exhausted);
            }
            kernel.pipes += 1;
            Ok((capacity.min(kernel.faults.pipe_capacity), kernel.epoch))
        })?;
        Ok(Pipe { bytes: Vec::new(), capacity, epoch, _descriptors: descriptors })
    }

    pub fn fill(&mut self, socket: &Socket, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0 && self.is_empty());
        self.bytes = kernel::with(|kernel| {
            kernel.calls.splice += 1;
            let mut limit = limit.min(self.capacity);
            if kernel.faults.fragments {
                // A pipe is full by pieces: it may take less than there is.
                limit = kernel.dice.part(limit);
            }
            kernel.read(socket.id(), limit)
        })?;
        Ok(self.bytes.len())
    }

    pub fn drain(&mut self, socket: &Socket) -> Result<usize, IoError> {
        assert!(!self.is_empty(), "an empty pipe would look like a full socket");
        let moved = kernel::with(|kernel| {
            kernel.calls.splice += 1;
            kernel.write(socket.id(), &self.bytes)
        })?;
        self.bytes.drain(..moved);
        Ok(moved)
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn room(&self) -> usize {
        if self.is_empty() { self.capacity } else { 0 }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            if kernel.epoch == self.epoch {
                kernel.pipes -= 1;
            }
        });
    }
}
