//! The listeners, and new clients.

use crate::proxy::downstream::arrival::Arrival;
use crate::proxy::{Proxy, Token};
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Listener, Poller, Tried};

/// What the tokens of the worker's listeners begin with; below it are those of other things.
pub const FIRST_LISTENER: u64 = 1;
/// New clients that are taken from a listener before others have their turn.
const BUDGET: usize = 64;
/// Clients that are taken from a listener at most when it is closed: as many as may wait there.
const LAST: usize = 4096;

/// Whether new clients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptState {
    Open,
    /// The service has as many clients as it may and none is idle: until one leaves, or falls idle,
    /// in whatever process, others wait in the backlog.
    Full,
    /// The process has no descriptor left: tried again with each tick.
    Exhausted,
    /// The service is stopping.
    Closed,
}

/// A socket that clients connect to.
pub struct ListenSocket {
    /// The socket.
    pub listener: Listener,
    /// What the connections have in common.
    pub arrival: Arrival,
}

/// All listeners of a process.
pub struct Acceptor {
    listeners: Vec<ListenSocket>,
    gate: AcceptState,
    /// Whether the last try to take a client failed, which is told once.
    is_failing: bool,
}

impl Acceptor {
    /// Opens these.
    pub fn new(listeners: Vec<ListenSocket>) -> Acceptor {
        Acceptor { listeners, gate: AcceptState::Open, is_failing: false }
    }

    /// Asks for events.
    pub fn watch(&self, poller: &Poller) -> Result<(), IoError> {
        for (index, entrance) in self.listeners.iter().enumerate() {
            let token = Token::Worker(FIRST_LISTENER + index as u64);
            poller.watch_listener(&entrance.listener, token.pack())?;
        }
        Ok(())
    }

    /// Takes the clients that wait at a listener, of which an event has told.
    pub fn accept(&mut self, proxy: &mut Proxy, index: usize) {
        self.take(proxy, index, true);
    }

    /// Takes the clients that wait at a listener. `is_told`: at least one does. If there is no room for
    /// that one, the client that has been idle for longest makes it.
    fn take(&mut self, proxy: &mut Proxy, index: usize, mut is_told: bool) {
        for _ in 0..BUDGET {
            if self.gate != AcceptState::Open {
                return;
            }
            let Some(entrance) = self.listeners.get(index) else { return };
            let has_room = proxy.claim_room() || is_told && proxy.recycle() && proxy.claim_room();
            if !has_room && !is_told {
                return; // Whether anybody waits, the next event tells.
            }
            if !has_room {
                proxy.wait_for_room();
                return self.shut(proxy, AcceptState::Full);
            }
            is_told = false;
            match entrance.listener.accept() {
                Ok((socket, peer)) => {
                    self.is_failing = false;
                    proxy.admit(socket, peer, entrance.arrival);
                }
                Err(IoError::WouldBlock) => return proxy.give_room_back(),
                Err(error) => {
                    proxy.give_room_back();
                    if !self.is_failing {
                        log::write(
                            Level::Warning,
                            format_args!(
                                "accept: {}; clients wait in the backlog",
                                error.when(Tried::Accept)
                            ),
                        );
                    }
                    self.is_failing = true;
                    return self.shut(proxy, AcceptState::Exhausted);
                }
            }
        }
    }

    /// Takes no clients for now. Listeners that are not watched do not keep the loop spinning.
    fn shut(&mut self, proxy: &mut Proxy, gate: AcceptState) {
        for entrance in &self.listeners {
            // One that cannot be unwatched is watched still: `accept` returns at once.
            let _ = proxy.poller().unwatch_listener(&entrance.listener);
        }
        self.gate = gate;
    }

    /// Takes clients again when there is room. At the end of each turn.
    pub fn reopen_if_possible(&mut self, proxy: &mut Proxy) {
        proxy.make_room_for_who_waits();
        if self.gate != AcceptState::Full || !proxy.has_room() {
            return;
        }
        self.reopen(proxy);
        // At once: if nobody waits here, others may take the room.
        (0..self.listeners.len()).for_each(|listener| self.take(proxy, listener, false));
        if self.gate != AcceptState::Full {
            proxy.stop_waiting_for_room();
        }
    }

    /// Tries again after descriptors had run out. Whether that is to be repeated.
    pub fn retry(&mut self, proxy: &mut Proxy) -> bool {
        if self.gate == AcceptState::Exhausted {
            self.reopen(proxy);
        }
        self.gate == AcceptState::Exhausted
    }

    fn reopen(&mut self, proxy: &mut Proxy) {
        if self.watch(proxy.poller()).is_ok() {
            self.gate = AcceptState::Open;
        }
    }

    /// Takes those who wait in the backlog, for closing the last copy of a listener resets them, and
    /// closes. Where others go on listening more may come all the time, and are left to them.
    pub fn close(&mut self, proxy: &mut Proxy) {
        for index in 0..self.listeners.len() {
            let first = proxy.clients();
            let mut before = usize::MAX;
            while proxy.clients() != before && proxy.clients() < first + LAST {
                before = proxy.clients();
                self.take(proxy, index, false);
            }
        }
        self.listeners.clear();
        self.gate = AcceptState::Closed;
        proxy.stop_waiting_for_room();
    }
}
