//! The descriptors that the program under test has open.
use super::kernel;
use crate::sys::IoError;

/// An open descriptor of the program under test. Dropping it gives it back.
pub struct Descriptor {
    /// A descriptor may outlive its world, and must not count in the next.
    epoch: u64,
}

impl Descriptor {
    /// Takes a descriptor. `Exhausted` when the limit of the faults is reached.
    pub fn take() -> Result<Descriptor, IoError> {
        kernel::with(|kernel| {
            if kernel.descriptors >= kernel.faults.descriptors {
                return Err(IoError::Exhausted);
            }
            kernel.descriptors += 1;
            Ok(Descriptor { epoch: kernel.epoch })
        })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            if kernel.epoch == self.epoch {
                kernel.descriptors -= 1;
            }
        });
    }
}
