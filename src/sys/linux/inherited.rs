//! Descriptors that the program has from whoever started it, named by their numbers.
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::fd::BorrowedFd;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers below are the standard streams.
const FIRST: i32 = 3;

/// The right to take inherited descriptors, which there is once in a process.
pub struct Inherited {
    taken: BTreeSet<i32>,
}

impl Inherited {
    /// To be called at the start, before the program has opened anything: else the descriptor of
    /// a number might be one that has an owner. Panics if it was called before.
    pub fn at_start() -> Inherited {
        static CALLED: AtomicBool = AtomicBool::new(false);
        assert!(!CALLED.swap(true, Ordering::Relaxed), "a process starts once");
        Inherited { taken: BTreeSet::new() }
    }

    /// The open descriptor of this number, which is not passed on to programs any more. None if
    /// there is none, if it was taken before, or if it is a standard stream.
    pub fn take(&mut self, number: i32) -> Option<OwnedFd> {
        if number < FIRST || self.taken.contains(&number) {
            return None;
        }
        // SAFETY: the number is not -1. If no descriptor has it, the call below says so.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(borrowed).ok()?;
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC).ok()?;
        self.taken.insert(number);
        // SAFETY: the descriptor is open. It was so when the program began, for `self` was made
        // then and what the program has opened since has no number that is told to it; so nobody
        // owns it, and it is taken once.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::Inherited;
    use rustix::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn what_is_open_is_taken_once_and_standard_streams_never() {
        let mut inherited = Inherited::at_start();
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let taken = inherited.take(number).expect("an open descriptor");
        assert_eq!(taken.as_raw_fd(), number);
        assert!(inherited.take(number).is_none());
        for number in [-1, 0, 1, 2, 1_000_000] {
            assert!(inherited.take(number).is_none(), "{number}");
        }
    }
}
