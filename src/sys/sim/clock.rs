//! The time, which moves when the test says so (`world::advance`), or when the program waits
//! and nothing happens.
use super::kernel;
use crate::mem::time::{Micros, Millis};

/// When the worlds begin: 2026-01-01T00:00:00Z, but for what `now` says then.
pub(super) const EPOCH: Micros = Micros::from_secs(1_767_225_600);

/// See `linux::clock`.
pub fn now() -> Micros {
    kernel::with(|kernel| kernel.now)
}

/// See `linux::clock`.
pub fn pause(time: Millis) {
    kernel::with(|kernel| kernel.now = kernel.now + Micros::from(time));
}

/// See `linux::clock`.
pub fn wall() -> Micros {
    EPOCH + now()
}
