//! Readiness: epoll.
use super::{Channel, Listener, Signals, Socket, Terminal, Waker};
use crate::mem::time::Millis;
use crate::sys::IoError;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// At most so many events are taken at once; the rest come with the next `wait`.
const BATCH: usize = 512;

/// What became possible, or happened, at one descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What the descriptor was registered with.
    pub token: u64,
    /// There are bytes to read, or the end, or an error.
    pub readable: bool,
    /// There is room to write, or an error to hear of.
    pub writable: bool,
    /// The peer sends no more: what is there to read is all there will be.
    pub closed: bool,
    /// The connection is broken, was not made, or both sides have ended it: reading and writing
    /// tell which.
    pub failed: bool,
    /// It is broken: reset, or given up by the kernel. No call has told of that yet.
    pub reset: bool,
}

/// Waits for many descriptors at once. One that is closed is forgotten by itself, unless another
/// process, or a clone, has it open too: a listener is to be unwatched first.
pub struct Poller {
    epoll: OwnedFd,
    found: Vec<epoll::Event>,
    events: Vec<Event>,
}

impl Poller {
    /// Opens a poller that watches nothing yet.
    pub fn new() -> Result<Poller, IoError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (found, events) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Ok(Poller { epoll, found, events })
    }

    /// Watches a socket both ways for as long as it is open, edge-triggered: an event says what
    /// is possible now, and comes when something changes. So whoever has not read all, or was
    /// not told `WouldBlock`, must remember that there is more to do.
    pub fn watch_socket(&self, socket: &Socket, token: u64) -> Result<(), IoError> {
        use epoll::EventFlags as Flags;
        self.add(socket, token, Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET)
    }

    /// Watches a listener, level-triggered: events come for as long as connections wait.
    pub fn watch_listener(&self, listener: &Listener, token: u64) -> Result<(), IoError> {
        self.add(listener, token, epoll::EventFlags::IN)
    }

    /// Watches a listener no more. It must be watched.
    pub fn unwatch_listener(&self, listener: &Listener) -> Result<(), IoError> {
        Ok(epoll::delete(&self.epoll, listener)?)
    }

    /// Watches for signals, level-triggered: events come for as long as some are unread.
    pub fn watch_signals(&self, signals: &Signals, token: u64) -> Result<(), IoError> {
        self.add(signals, token, epoll::EventFlags::IN)
    }

    /// Watches a waker, level-triggered: events come until it is silenced.
    pub fn watch_waker(&self, waker: &Waker, token: u64) -> Result<(), IoError> {
        self.add(waker, token, epoll::EventFlags::IN)
    }

    /// Watches for keys, level-triggered: events come for as long as some are unread.
    pub fn watch_terminal(&self, terminal: &Terminal, token: u64) -> Result<(), IoError> {
        self.add(terminal, token, epoll::EventFlags::IN)
    }

    /// Watches for messages, level-triggered: events come for as long as some are unread.
    pub fn watch_channel(&self, channel: &Channel, token: u64) -> Result<(), IoError> {
        self.add(channel, token, epoll::EventFlags::IN)
    }

    /// Waits until something happens, at most for `timeout` (with `None`, for ever), and
    /// replaces the events. There are none if the time is over, or a signal interrupted.
    pub fn wait(&mut self, timeout: Option<Millis>) -> Result<(), IoError> {
        let timeout = timeout.map(timespec);
        self.events.clear();
        self.found.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.found), timeout.as_ref()) {
            Ok(_) => self.events.extend(self.found.iter().map(event)),
            Err(Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What the last `wait` found.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    fn add(&self, source: impl AsFd, token: u64, flags: epoll::EventFlags) -> Result<(), IoError> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), flags)?)
    }
}

fn timespec(timeout: Millis) -> Timespec {
    // The kernel counts milliseconds in 31 bits. Whoever wakes early (after 24 days) waits again.
    let millis = i64::from(i32::try_from(timeout.0).unwrap_or(i32::MAX));
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}

fn event(found: &epoll::Event) -> Event {
    use epoll::EventFlags as Flags;
    let flags = found.flags;
    Event {
        token: found.data.u64(),
        readable: flags.contains(Flags::IN),
        writable: flags.contains(Flags::OUT),
        closed: flags.contains(Flags::RDHUP),
        failed: flags.intersects(Flags::HUP | Flags::ERR),
        reset: flags.contains(Flags::ERR),
    }
}
