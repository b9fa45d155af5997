//! Doorbells. See `linux::Doorbell`.
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Kernel};
use crate::sys::IoError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const NO_DESCRIPTOR: &str = "a simulated doorbell cannot be handed over";

/// What the kernel knows of a doorbell.
pub struct Bell {
    /// It was rung, and not silenced since.
    rings: bool,
    /// How many descriptors it has.
    holders: usize,
}

/// One of the descriptors of a doorbell. The processes that have it are parts of one test.
pub struct Doorbell {
    id: Id,
    _descriptor: Descriptor,
}

impl Kernel {
    fn bell(&mut self, id: Id) -> &mut Bell {
        self.bells.get_mut(&id).expect("no doorbell of this world")
    }

    /// A doorbell was rung, and not silenced since.
    pub fn rings(&mut self, id: Id) -> bool {
        self.bell(id).rings
    }
}

#[expect(missing_docs, reason = "as in linux::Doorbell")]
impl Doorbell {
    pub fn new() -> Result<Doorbell, IoError> {
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| {
            let id = kernel.name();
            kernel.bells.insert(id, Bell { rings: false, holders: 1 });
            id
        });
        Ok(Doorbell { id, _descriptor: descriptor })
    }

    pub fn adopt(_: OwnedFd) -> Doorbell {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn ring(&self) {
        kernel::with(|kernel| {
            kernel.bell(self.id).rings = true;
            kernel.changed(self.id);
        });
    }

    pub fn silence(&self) {
        kernel::with(|kernel| kernel.bell(self.id).rings = false);
    }

    pub fn try_clone(&self) -> Result<Doorbell, IoError> {
        let descriptor = Descriptor::take()?;
        kernel::with(|kernel| kernel.bell(self.id).holders += 1);
        Ok(Doorbell { id: self.id, _descriptor: descriptor })
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            let Some(bell) = kernel.bells.get_mut(&self.id) else { return };
            bell.holders -= 1;
            if bell.holders == 0 {
                kernel.bells.remove(&self.id);
                kernel.forget(self.id);
            }
        });
    }
}
