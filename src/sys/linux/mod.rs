//! The real kernel: a thin wrapper around each system call that httplb makes.
//!
//! A wrapper says who owns the descriptor, which errors its caller must tell apart, and where
//! the trap is. It decides nothing.
#![allow(unsafe_code)]

mod channel;
pub mod clock;
mod cpu_queue;
mod disk;
mod file;
pub mod landlock;
mod listener;
pub mod log;
pub mod memory;
mod notify;
mod pipe;
mod place;
mod poller;
pub mod process;
pub mod random;
pub mod resolver;
pub mod seccomp;
mod signals;
mod socket;
mod spawn;
mod terminal;
#[cfg(test)]
mod testing;
mod unix;
mod waker;

pub use channel::Channel;
#[cfg(test)]
pub use channel::Message;
pub use cpu_queue::CpuQueue;
#[cfg(test)]
pub use disk::FileMetadata;
pub use disk::{Directory, DirectoryLock, File, disk_size};
pub use file::LogFile;
pub use listener::Listener;
pub use notify::NotifySocket;
pub use pipe::{Pipe, PipeQuota};
pub use poller::{Event, Poller};
pub use signals::{Signal, Signals, ignore_file_size_signal, reset_signals};
pub use socket::Socket;
pub use spawn::{kill_group, spawn};
pub use terminal::Terminal;
pub use waker::Waker;

use super::IoError;
use rustix::io::Errno;

impl From<Errno> for IoError {
    fn from(error: Errno) -> IoError {
        match error {
            Errno::AGAIN => IoError::WouldBlock,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NETRESET => IoError::Reset,
            // A socket that was connected once is not any more.
            Errno::NOTCONN | Errno::SHUTDOWN => IoError::Reset,
            Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH => IoError::Refused,
            Errno::HOSTDOWN | Errno::NETDOWN | Errno::NONET => IoError::Refused,
            Errno::TIMEDOUT => IoError::TimedOut,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => IoError::Exhausted,
            Errno::ADDRINUSE => IoError::InUse,
            Errno::ACCESS | Errno::PERM => IoError::Denied,
            Errno::NOENT | Errno::NOTDIR => IoError::NotFound,
            Errno::EXIST => IoError::Exists,
            Errno::NOSPC | Errno::DQUOT => IoError::Full,
            Errno::FBIG => IoError::TooLarge,
            Errno::LOOP => IoError::Linked,
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV => IoError::Unsupported,
            other => IoError::Other(other.raw_os_error()),
        }
    }
}

/// Why a call of the standard library failed.
pub(super) fn translate(error: &std::io::Error) -> IoError {
    Errno::from_io_error(error).map_or(IoError::Other(0), IoError::from)
}

/// Why the last call of libc in this thread failed.
fn last_error() -> IoError {
    translate(&std::io::Error::last_os_error())
}

/// An instruction of a classic BPF program that does not jump.
fn statement(code: u32, operand: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: operand }
}
