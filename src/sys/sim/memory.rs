//! Memory. What is reserved is never freed, so tests do with little.
use crate::sys::IoError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

// What many tests reserve costs only the pages that they write: the allocator's memory would be written
// to be zeroed, once others have used it before.
pub use crate::sys::linux::memory::{keep, recall, reserve, scratch};

/// See `linux::memory`. All bytes change, for nobody may count on what they were.
pub fn give_back(bytes: &mut [u8]) {
    bytes.fill(0xdd);
}

/// See `linux::memory`. Its processes are parts of one test.
pub struct Shared {
    cells: &'static [AtomicU64],
}

/// See `linux::memory`.
pub fn share(cells: usize) -> Result<Shared, IoError> {
    assert!(cells > 0);
    let cells: Vec<AtomicU64> = (0..cells).map(|_| AtomicU64::new(0)).collect();
    Ok(Shared { cells: cells.leak() })
}

#[expect(missing_docs, reason = "as in linux::memory")]
impl Shared {
    pub fn cells(&self) -> &'static [AtomicU64] {
        self.cells
    }

    pub fn protect(&self, count: usize) -> Result<(), IoError> {
        assert!(count <= self.cells.len());
        Ok(())
    }

    pub fn try_clone(&self) -> Result<Shared, IoError> {
        Ok(Shared { cells: self.cells })
    }

    pub fn is_same(&self, other: &Shared) -> bool {
        std::ptr::eq(self.cells, other.cells)
    }
}

impl Drop for Shared {
    /// The cells stay, as what is mapped does.
    fn drop(&mut self) {}
}

/// Cells are handed over by the real kernel alone.
pub fn from_fd(_: OwnedFd) -> Result<Shared, IoError> {
    panic!("simulated cells cannot be handed over")
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("simulated cells cannot be handed over")
    }
}
