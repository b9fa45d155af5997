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

/// Signals from here on are not told apart from each other by name: signal(7).
const FIRST_REAL_TIME: libc::c_int = 32;

/// Undoes what the process that started this one did to signals: what was ignored or caught is as
/// it is by default, but for SIGPIPE and SIGXFSZ, which are ignored so that calls fail instead; and
/// none is blocked but those of `Signal`, which were blocked for this process over an execution
/// and may be waiting, or soon will be.
///
/// A process that ignores SIGCHLD is never told of its children's ends.
pub fn reset_signals() {
    for number in 1..FIRST_REAL_TIME {
        let wanted = match number {
            libc::SIGKILL | libc::SIGSTOP => continue,
            libc::SIGPIPE | libc::SIGXFSZ => libc::SIG_IGN,
            _ => libc::SIG_DFL,
        };
        let mut found = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: null says that nothing is to be changed, and there is room for what is told.
        let asked = unsafe { libc::sigaction(number, ptr::null(), found.as_mut_ptr()) };
        if asked != 0 {
            continue; // A filter refuses it.
        }
        // SAFETY: the kernel has filled it in just now.
        let found = unsafe { found.assume_init() }.sa_sigaction;
        // To set what is set already would throw away a SIGCHLD that waits. Handlers are those of
        // this program: nobody inherits one.
        if (found == libc::SIG_IGN || found == libc::SIG_DFL) && found != wanted {
            // SAFETY: neither of the two is a function, and the number is that of a signal.
            unsafe { libc::signal(number, wanted) };
        }
    }
    // SAFETY: the set is initialized, and null says that the old one is not wanted.
    let set = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set(), ptr::null_mut()) };
    assert_eq!(set, 0, "sigprocmask fails only for an unknown operation");
}

/// Has a write beyond the limit of a file's size fail with `TooLarge`, instead of ending the
/// process by SIGXFSZ.
pub fn ignore_file_size_signal() {
    // SAFETY: to ignore a signal takes no function.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
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
