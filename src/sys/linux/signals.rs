//! Signals, read like bytes instead of interrupting.
use super::last_error;
use crate::sys::IoError;
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{mem::MaybeUninit, ptr};

/// What the operator, the terminal, the service manager or another process of the service tells
/// by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Term,
    /// SIGQUIT.
    Quit,
    /// SIGINT.
    Int,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGCHLD: a child has ended.
    Chld,
}

const ALL: [Signal; 7] = [
    Signal::Term,
    Signal::Quit,
    Signal::Int,
    Signal::Hup,
    Signal::Usr1,
    Signal::Usr2,
    Signal::Chld,
];

impl Signal {
    pub(super) fn number(self) -> libc::c_int {
        match self {
            Signal::Term => libc::SIGTERM,
            Signal::Quit => libc::SIGQUIT,
            Signal::Int => libc::SIGINT,
            Signal::Hup => libc::SIGHUP,
            Signal::Usr1 => libc::SIGUSR1,
            Signal::Usr2 => libc::SIGUSR2,
            Signal::Chld => libc::SIGCHLD,
        }
    }
}

/// The signals of `Signal`, as they come to this process.
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals, so that none interrupts or ends the process, and opens a descriptor
    /// that tells of each. To be called before any thread is started: a thread inherits what is
    /// blocked.
    pub fn block_and_open() -> Result<Signals, IoError> {
        let signals = set();
        // SAFETY: `signals` is an initialized set, and null says that the old one is not wanted.
        let blocked = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signals, ptr::null_mut()) };
        assert_eq!(blocked, 0, "sigprocmask fails only for an unknown operation");
        // SAFETY: -1 asks for a new descriptor, and `signals` is an initialized set.
        let opened =
            unsafe { libc::signalfd(-1, &signals, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if opened < 0 {
            return Err(last_error());
        }
        // SAFETY: the descriptor was opened just now, and nobody else owns it.
        Ok(Signals { descriptor: unsafe { OwnedFd::from_raw_fd(opened) } })
    }

    /// Lets the signals interrupt and end the process again.
    #[cfg(test)]
    pub(super) fn unblock() {
        // SAFETY: the set is initialized, and null says that the old one is not wanted.
        let unblocked = unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set(), ptr::null_mut()) };
        assert_eq!(unblocked, 0, "sigprocmask fails only for an unknown operation");
    }

    /// The next signal that has come, if any. Several of a kind that come together are one.
    pub fn next(&self) -> Option<Signal> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        let count = rustix::io::read(&self.descriptor, &mut record).ok()?;
        assert_eq!(count, record.len(), "the kernel gives whole records");
        // The record starts with the signal's number: signalfd(2).
        let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        ALL.into_iter().find(|signal| signal.number() == number)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn set() -> libc::sigset_t {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initializes the set that it is given, and cannot fail.
    let mut signals = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        signals.assume_init()
    };
    for signal in ALL {
        // SAFETY: the set is initialized, and the number is that of a signal.
        unsafe { libc::sigaddset(&mut signals, signal.number()) };
    }
    signals
}

#[cfg(test)]
mod tests {
    use super::{ALL, Signal, Signals};

    #[test]
    fn a_blocked_signal_is_read() {
        // The signals are blocked in this thread alone, so only this thread is sent one.
        let signals = Signals::block_and_open().unwrap();
        assert_eq!(signals.next(), None);
        // SAFETY: `pthread_self` is this thread, which runs, and blocks these signals.
        unsafe {
            libc::pthread_kill(libc::pthread_self(), libc::SIGHUP);
            libc::pthread_kill(libc::pthread_self(), libc::SIGTERM);
        }
        let mut seen = [signals.next(), signals.next()];
        seen.sort_by_key(|signal| *signal != Some(Signal::Hup));
        assert_eq!(seen, [Some(Signal::Hup), Some(Signal::Term)]);
        assert_eq!(signals.next(), None);
    }

    #[test]
    fn every_signal_is_told_by_its_name() {
        let signals = Signals::block_and_open().unwrap();
        for signal in ALL {
            // SAFETY: `pthread_self` is this thread, which runs, and blocks these signals.
            unsafe { libc::pthread_kill(libc::pthread_self(), signal.number()) };
            assert_eq!(signals.next(), Some(signal));
        }
    }
}
