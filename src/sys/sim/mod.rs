//! The simulated kernel.
pub use super::linux::*;
