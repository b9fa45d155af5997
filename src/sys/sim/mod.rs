//! A simulated kernel, for the unit tests of the layers above: sockets, pipes, time and faults,
//! all from one seed, so that a test sees the same on every run.
//!
//! It has the names of `linux`, for the program under test, and `world`, for the test, which
//! plays everybody else: clients, servers, the operator, the clock. Each thread, and so each
//! test, has a world of its own. `../conformance_tests.rs` holds it against the real kernel.

pub mod clock;
mod cpu_queue;
mod descriptor;
mod dice;
mod disk;
mod file;
mod kernel;
pub mod landlock;
mod listener;
pub mod log;
pub mod memory;
mod pipe;
mod poller;
pub mod process;
pub mod random;
pub mod resolver;
pub mod seccomp;
mod signals;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod waker;
pub mod world;

pub use super::linux::DirectoryLock;
/// The service manager is not simulated: it hears nothing unless the environment names it.
pub use super::linux::NotifySocket;
/// Nobody sits before a simulated terminal.
pub use super::linux::Terminal;
pub use super::linux::{Channel, Event, Message, Signal, kill_group, spawn};
pub use super::linux::{ignore_file_size_signal, reset_signals};
pub use cpu_queue::CpuQueue;
pub use disk::{Directory, File, FileMetadata, disk_size};
pub use file::LogFile;
pub use listener::Listener;
pub use pipe::{Pipe, PipeQuota};
pub use poller::Poller;
pub use signals::Signals;
pub use socket::Socket;
pub use waker::Waker;
