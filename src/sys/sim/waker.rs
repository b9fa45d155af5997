//! Wakers. See `linux::Waker`.
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Kernel};
use crate::sys::IoError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const NO_DESCRIPTOR: &str = "a simulated waker cannot be handed over";

/// What the kernel knows of a waker.
pub struct Bell {
    /// It was rung, and not silenced since.
    rings: bool,
    /// How many descriptors it has.
    holders: usize,
}

/// One of the descriptors of a waker. The processes that have it are parts of one test.
pub struct Waker {
    id: Id,
    _descriptor: Descriptor,
}

impl Kernel {
    fn waker(&mut self, id: Id) -> &mut Bell {
        self.wakers.get_mut(&id).expect("no waker of this world")
    }

    /// A waker was rung, and not silenced since.
    pub fn rings(&mut self, id: Id) -> bool {
        self.waker(id).rings
    }
}

#[expect(missing_docs, reason = "as in linux::Waker")]
impl Waker {
    pub fn new() -> Result<Waker, IoError> {
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| {
            let id = kernel.name();
            kernel.wakers.insert(id, Bell { rings: false, holders: 1 });
            id
        });
        Ok(Waker { id, _descriptor: descriptor })
    }

    pub fn from_fd(_: OwnedFd) -> Waker {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn wake(&self) {
        kernel::with(|kernel| {
            kernel.waker(self.id).rings = true;
            kernel.changed(self.id);
        });
    }

    pub fn clear(&self) {
        kernel::with(|kernel| kernel.waker(self.id).rings = false);
    }

    pub fn try_clone(&self) -> Result<Waker, IoError> {
        let descriptor = Descriptor::take()?;
        kernel::with(|kernel| kernel.waker(self.id).holders += 1);
        Ok(Waker { id: self.id, _descriptor: descriptor })
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            let Some(waker) = kernel.wakers.get_mut(&self.id) else { return };
            waker.holders -= 1;
            if waker.holders == 0 {
                kernel.wakers.remove(&self.id);
                kernel.forget(self.id);
            }
        });
    }
}
