//! The listeners, and new clients.

use std::net::SocketAddr;

use crate::config::Config;
use crate::proxy::preamble::Preamble;
use crate::proxy::{Proxy, Token};
use crate::sys::message::{self, Level};
use crate::sys::{IoError, Listener, Poller};

use super::{FIRST_LISTENER, WorkerError};

/// New clients that are taken from a listener before others have their turn.
const BUDGET: usize = 64;
/// Connections that may wait to be accepted; the kernel's net.core.somaxconn may allow fewer.
const BACKLOG: i32 = 4096;

/// Whether new clients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// All client slots are taken: until one is free, clients wait in the backlog.
    Full,
    /// The process has no descriptor left: tried again with each tick.
    Exhausted,
    /// The service is stopping.
    Closed,
}

/// All listeners of a process.
pub struct Door {
    listeners: Vec<Listener>,
    /// What the connections of each begin with, in the same order.
    preambles: Vec<Preamble>,
    gate: Gate,
    /// Whether the last try to take a client failed, which is told once.
    is_failing: bool,
}

impl Door {
    /// Listens on all configured addresses.
    pub fn open(config: &Config) -> Result<Door, WorkerError> {
        let mut listeners = Vec::with_capacity(config.listen.len());
        for listen in &config.listen {
            let listener = Listener::bind(listen.address, BACKLOG)
                .map_err(WorkerError::new(format!("listen {}", listen.address)))?;
            listeners.push(listener);
        }
        let preambles = config.listen.iter().map(|listen| match listen.proxy_protocol {
            true => Preamble::ProxyHeader,
            false => Preamble::None,
        });
        Ok(Door { listeners, preambles: preambles.collect(), gate: Gate::Open, is_failing: false })
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().map(Listener::address)
    }

    /// Asks for events.
    pub fn watch(&self, poller: &Poller) -> Result<(), IoError> {
        for (index, listener) in self.listeners.iter().enumerate() {
            let token = Token::Worker(FIRST_LISTENER + index as u64);
            poller.watch_listener(listener, token.pack())?;
        }
        Ok(())
    }

    /// Takes the clients that wait at a listener.
    pub fn accept(&mut self, proxy: &mut Proxy, index: usize) {
        for _ in 0..BUDGET {
            if self.gate != Gate::Open {
                return;
            }
            if !proxy.has_room() {
                return self.shut(proxy, Gate::Full);
            }
            let Some(listener) = self.listeners.get(index) else { return };
            match listener.accept() {
                Ok((socket, peer)) => {
                    self.is_failing = false;
                    proxy.admit(socket, peer, self.preambles[index]);
                }
                Err(IoError::WouldBlock) => return,
                Err(error) => {
                    if !self.is_failing {
                        message::log(
                            Level::Warning,
                            format_args!("accept: {error}; clients wait in the backlog"),
                        );
                    }
                    self.is_failing = true;
                    return self.shut(proxy, Gate::Exhausted);
                }
            }
        }
    }

    /// Takes no clients for now. Listeners that are not watched do not keep the loop spinning.
    fn shut(&mut self, proxy: &mut Proxy, gate: Gate) {
        for listener in &self.listeners {
            // One that cannot be unwatched is watched still: `accept` returns at once.
            let _ = proxy.poller().unwatch_listener(listener);
        }
        self.gate = gate;
    }

    /// Takes clients again when a slot is free.
    pub fn reopen_if_possible(&mut self, proxy: &mut Proxy) {
        if self.gate == Gate::Full && proxy.has_room() {
            self.reopen(proxy);
        }
    }

    /// Tries again after descriptors had run out. Whether that is to be repeated.
    pub fn retry(&mut self, proxy: &mut Proxy) -> bool {
        if self.gate == Gate::Exhausted {
            self.reopen(proxy);
        }
        self.gate == Gate::Exhausted
    }

    fn reopen(&mut self, proxy: &mut Proxy) {
        if self.watch(proxy.poller()).is_ok() {
            self.gate = Gate::Open;
        }
    }

    /// Takes those who wait in the backlog, for closing a listener resets them, and closes.
    pub fn close(&mut self, proxy: &mut Proxy) {
        for index in 0..self.listeners.len() {
            let mut before = usize::MAX;
            while proxy.clients() != before {
                before = proxy.clients();
                self.accept(proxy, index);
            }
        }
        self.listeners.clear();
        self.gate = Gate::Closed;
    }
}
