//! The program under test: a [`Proxy`] with a listener and an event loop like the worker's.

use std::net::SocketAddr;

use crate::config::Config;
use crate::mem::time::{Micros, Millis};
use crate::proxy::access_log::AccessLog;
use crate::proxy::preamble::Preamble;
use crate::proxy::settings::Settings;
use crate::proxy::{Proxy, Token};
use crate::sys::{IoError, Listener, clock};

use super::invariants;

/// As in the worker.
const TICK: Millis = Millis(500);
/// The listener's token.
const LISTENER: u64 = 1;

/// A proxy, its listener and its loop.
pub struct Service {
    pub proxy: Proxy,
    listener: Listener,
    next_tick: Option<Micros>,
    ticks: u64,
    gate: Gate,
    preamble: Preamble,
}

/// Whether new clients are taken, as in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Full,
    Exhausted,
}

impl Service {
    /// Starts it, with the limits of the configuration changed by `change`.
    pub fn start(config: &Config, change: impl FnOnce(&mut Settings)) -> Service {
        let listener = Listener::bind(([10, 0, 0, 100], 80).into(), 16).expect("no other listens");
        let log = AccessLog::open(&config.access_log).expect("a log");
        let mut settings = Settings::new(config);
        change(&mut settings);
        let mut proxy = Proxy::with_settings(config, settings, log).expect("memory");
        let token = Token::Worker(LISTENER).pack();
        proxy.poller().watch_listener(&listener, token).expect("a poller");
        let preamble = match config.listen[0].proxy_protocol {
            true => Preamble::ProxyHeader,
            false => Preamble::None,
        };
        Service { proxy, listener, next_tick: None, ticks: 0, gate: Gate::Open, preamble }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// A turn of the loop, which waits for `limit` at most. Whether there was an event.
    pub fn turn(&mut self, limit: Millis) -> bool {
        let timeout = self.timeout(limit);
        self.proxy.poller().wait(Some(timeout)).expect("a poller");
        self.proxy.set_now(clock::now());
        let events = self.proxy.poller().events().to_vec();
        for event in &events {
            match Token::unpack(event.token) {
                Token::Client(id) => self.proxy.client_event(id, *event),
                Token::Backend(id) => self.proxy.backend_event(id, *event),
                Token::Worker(_) => self.accept(),
            }
        }
        self.proxy.turn();
        self.proxy.expire(self.proxy.now());
        if self.gate == Gate::Full && self.proxy.has_room() {
            self.reopen();
        }
        self.tick(!events.is_empty());
        self.proxy.end_turn(clock::now());
        invariants::hold(&self.proxy);
        !events.is_empty()
    }

    fn accept(&mut self) {
        self.gate = loop {
            if !self.proxy.has_room() {
                break Gate::Full;
            }
            match self.listener.accept() {
                Ok((socket, peer)) => self.proxy.admit(socket, peer, self.preamble),
                Err(IoError::WouldBlock) => return,
                Err(_) => break Gate::Exhausted,
            }
        };
        self.proxy.poller().unwatch_listener(&self.listener).expect("it was watched");
    }

    fn reopen(&mut self) {
        let token = Token::Worker(LISTENER).pack();
        self.proxy.poller().watch_listener(&self.listener, token).expect("a poller");
        self.gate = Gate::Open;
    }

    fn tick(&mut self, any: bool) {
        let now = self.proxy.now();
        if any && self.next_tick.is_none() {
            self.next_tick = Some(now + Micros::from(TICK));
        }
        if self.next_tick.is_some_and(|tick| tick <= now) {
            self.ticks += 1;
            let again = self.proxy.sweep(self.ticks) || self.gate == Gate::Exhausted;
            if self.gate == Gate::Exhausted {
                self.reopen();
            }
            self.next_tick = again.then(|| now + Micros::from(TICK));
        }
    }

    fn timeout(&self, limit: Millis) -> Millis {
        if self.proxy.is_ready() {
            return Millis(0);
        }
        let now = clock::now().millis();
        let next = self.proxy.next_deadline().into_iter().chain(self.next_tick.map(Micros::millis));
        next.map(|time| time - now + Millis(1)).chain([limit]).min().unwrap_or(limit)
    }

    /// Turns until nothing is left to do without the time passing.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.turn(Millis(0)) && !self.proxy.is_ready() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets time pass, and whatever happens in it.
    pub fn advance(&mut self, time: Millis) {
        let until = clock::now() + Micros::from(time);
        while clock::now() < until {
            self.turn((until - clock::now()).millis().max(Millis(1)));
        }
        self.settle();
    }
}
