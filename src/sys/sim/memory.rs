//! Memory. What is reserved is never freed, so tests do with little.
use crate::sys::IoError;

/// See `linux::memory`.
pub fn reserve(size: usize) -> Result<&'static mut [u8], IoError> {
    assert!(size > 0);
    Ok(vec![0; size].leak())
}

/// See `linux::memory`. All bytes change, for nobody may count on what they were.
pub fn give_back(bytes: &mut [u8]) {
    bytes.fill(0xdd);
}
