//! The kernel: the only layer that makes system calls, and the only one with `unsafe` code.
//!
//! The layers above see the real kernel, or, in unit tests, a simulated one under the same
//! names, whose whole behaviour (what comes when, what fails, how the time passes) follows from
//! a seed.

mod binding;
#[cfg(test)]
mod conformance_tests;
mod error;
mod keepalive;
#[cfg_attr(test, allow(dead_code))]
pub mod linux;
#[cfg(test)]
pub mod sim;
mod state_folder;

pub use binding::{Binding, SocketFile};
pub use error::{IoError, StartError, Tried};
pub use keepalive::KeepAlive;
#[cfg(not(test))]
pub use linux::*;
#[cfg(test)]
pub use sim::*;
pub use state_folder::state_folder;
