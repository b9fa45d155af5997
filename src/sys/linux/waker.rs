//! A way to wake another process: eventfd(2).
use crate::sys::IoError;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Wakes whoever waits for it in a poller, in this process or in one that was forked after it was
/// made. It rings until it is silenced, however often it was rung. Dropping it closes it.
pub struct Waker {
    descriptor: OwnedFd,
}

impl Waker {
    /// Opens a silent one.
    pub fn new() -> Result<Waker, IoError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Waker { descriptor: eventfd(0, flags)? })
    }

    /// Takes one that was handed over.
    pub fn from_fd(descriptor: OwnedFd) -> Waker {
        Waker { descriptor }
    }

    /// Rings. Never blocks.
    pub fn wake(&self) {
        // It fails only if it was rung 2^64 times already, and then it rings.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    /// Makes it silent. To be called before looking at what it was rung for, or a ring in between
    /// is lost.
    pub fn clear(&self) {
        // It fails only if it is silent.
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }

    /// The same waker once more.
    pub fn try_clone(&self) -> Result<Waker, IoError> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 0)?;
        Ok(Waker { descriptor })
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::Waker;
    use crate::mem::time::Millis;
    use crate::sys::linux::{Event, Poller};

    fn look(poller: &mut Poller) -> Vec<Event> {
        poller.wait(Some(Millis(0))).unwrap();
        poller.events().to_vec()
    }

    #[test]
    fn it_rings_until_it_is_silenced() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.watch_waker(&waker, 7).unwrap();
        waker.clear();
        assert_eq!(look(&mut poller), []);
        waker.wake();
        waker.wake();
        let event = Event { token: 7, readable: true, ..Event::default() };
        assert_eq!(look(&mut poller), [event]);
        assert_eq!(look(&mut poller), [event]);
        waker.clear();
        assert_eq!(look(&mut poller), []);
    }

    #[test]
    fn a_clone_is_the_same_doorbell() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.watch_waker(&waker, 7).unwrap();
        waker.try_clone().unwrap().wake();
        assert_eq!(look(&mut poller).len(), 1);
        waker.clear();
        assert_eq!(look(&mut poller), []);
    }

    #[test]
    fn one_that_was_rung_as_often_as_can_be_rings_and_does_not_block() {
        let waker = Waker::new().unwrap();
        let most = u64::MAX - 1;
        assert_eq!(rustix::io::write(&waker, &most.to_ne_bytes()), Ok(8));
        waker.wake();
        let mut poller = Poller::new().unwrap();
        poller.watch_waker(&waker, 7).unwrap();
        assert_eq!(look(&mut poller).len(), 1);
    }
}
