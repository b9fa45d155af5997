//! Random bytes, from the seed of the world.
use super::kernel;

/// See `linux::random`.
pub fn fill(bytes: &mut [u8]) {
    kernel::with(|kernel| {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&kernel.dice.roll().to_ne_bytes()[..chunk.len()]);
        }
    });
}

/// See `linux::random`.
pub fn prepare() {}
