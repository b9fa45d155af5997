//! Confinement, which is not simulated: the program of a test may do what it likes.
use crate::sys::IoError;

pub use crate::sys::linux::seccomp::{Peers, Role};

/// See `linux::seccomp`.
pub fn confine(_: Role, _: Peers) -> Result<(), IoError> {
    Ok(())
}
