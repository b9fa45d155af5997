//! Preallocated containers.
pub mod buffer;
pub mod queue;
pub mod ring;
pub mod slab;
pub mod stock;
pub mod time;
pub mod timers;
