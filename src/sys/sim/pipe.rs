//! Pipes. See `linux::Pipe`.
use super::Socket;
use super::descriptor::Descriptor;
use super::kernel;
use crate::sys::IoError;

/// See `linux::PipeQuota`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in linux::PipeQuota")]
pub struct PipeQuota {
    pub all: usize,
    pub one: usize,
}

#[expect(missing_docs, reason = "as in linux::PipeQuota")]
impl PipeQuota {
    pub fn read() -> PipeQuota {
        PipeQuota { all: kernel::with(|kernel| kernel.faults.pipe_quota), one: 1 << 20 }
    }
}

/// Whether one of so many calls is refused, and this is one.
fn is_refused(kernel: &mut kernel::Kernel, one_in: usize) -> bool {
    one_in > 0 && kernel.dice.one_in(one_in)
}

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

    pub fn try_out() -> Result<(), IoError> {
        let faults = kernel::with(|kernel| kernel.faults);
        let is_never_done = faults.refuses_fill == 1 || faults.refuses_drain == 1;
        if is_never_done { Err(IoError::Unsupported) } else { Ok(()) }
    }

    pub fn fill(&mut self, socket: &Socket, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0 && self.is_empty());
        self.bytes = kernel::with(|kernel| {
            kernel.calls.splice += 1;
            if is_refused(kernel, kernel.faults.refuses_fill) {
                return Err(IoError::Unsupported);
            }
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
            if is_refused(kernel, kernel.faults.refuses_drain) {
                return Err(IoError::Unsupported);
            }
            kernel.write(socket.id(), &self.bytes)
        })?;
        self.bytes.drain(..moved);
        Ok(moved)
    }

    pub fn read(&mut self, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
        assert!(!self.is_empty() && room[0].len() + room[1].len() > 0);
        let mut count = 0;
        for slice in room {
            let part = slice.len().min(self.bytes.len());
            slice[..part].copy_from_slice(&self.bytes[..part]);
            self.bytes.drain(..part);
            count += part;
        }
        Ok(count)
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
