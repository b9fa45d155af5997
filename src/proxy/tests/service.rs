//! The program under test: a [`Proxy`] with a listener and an event loop like the worker's.

use std::net::SocketAddr;

use crate::cache::shared_cells::SharedCells;
use crate::cache::store::{self, Store};
use crate::cache::testing::{known_cells_of_world, opened};
use crate::config::Config;
use crate::mem::time::{Micros, Millis};
use crate::policy::sticky::Key;
use crate::proxy::access_log::AccessLogWriter;
use crate::proxy::downstream::arrival::Arrival;
use crate::proxy::settings::Settings;
use crate::proxy::{Proxy, Token};
use crate::shared::wakers::Wakers;
use crate::shared::{Counter, Layout, Segment};
use crate::sys::{Event, IoError, Listener, clock, memory};

use super::invariants;

/// As in the worker.
const TICK: Millis = Millis(500);
/// Of several workers each has a look at least so often.
const ALERT: Millis = Millis(50);
/// The listener's token.
const LISTENER: u64 = 1;

/// What the workers of a service share.
pub struct Seats {
    pub segment: Segment,
    pub wakers: Wakers,
    /// The cells of the cache, where there is one.
    cache: Option<(SharedCells, store::Settings)>,
}

/// One worker's part in it.
#[derive(Clone)]
pub struct WorkerInit<'a> {
    segment: Segment,
    wakers: &'a Wakers,
    cache: Option<(SharedCells, store::Settings)>,
    worker: usize,
}

impl Seats {
    pub fn new(config: &Config, workers: usize) -> Seats {
        let full = Layout::new(config, workers);
        // Fewer spares, for what a test maps is never freed.
        let layout = Layout { pools: full.pools - 14, backends: full.backends - 248, ..full };
        let cells = memory::share(layout.cells()).expect("memory");
        let mut segment = Segment::create(cells.cells(), layout);
        segment.load_config(config);
        let cache = config.cache.as_ref().map(|cache| {
            let settings = store::Settings {
                max_object: cache.max_object,
                default_ttl: (cache.default_ttl.0 / 1000) as u32,
            };
            (known_cells_of_world(cache.max_size, workers), settings)
        });
        Seats { segment, wakers: Wakers::new(workers).expect("descriptors"), cache }
    }

    pub fn seat(&self, worker: usize) -> WorkerInit<'_> {
        WorkerInit { segment: self.segment, wakers: &self.wakers, cache: self.cache, worker }
    }
}

/// A proxy, its listener and its loop.
pub struct Service {
    pub proxy: Proxy,
    listener: Listener,
    address: SocketAddr,
    next_tick: Option<Micros>,
    ticks: u64,
    gate: Gate,
    arrival: Arrival,
}

/// Whether new clients are taken, as in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Full,
    Exhausted,
}

impl Service {
    /// Bytes that were spliced so far.
    pub fn spliced(&self) -> u64 {
        self.proxy.row.get(Counter::Spliced) + self.proxy.buffers.spliced
    }

    /// Bodies that could not be spliced so far.
    pub fn splice_fallbacks(&self) -> u64 {
        self.proxy.row.get(Counter::SpliceFallbacks) + self.proxy.buffers.splice_fallbacks
    }

    /// Starts it as one of several workers, with the limits of the configuration changed by `change`.
    pub fn start_in(
        seat: &WorkerInit,
        config: &Config,
        change: impl FnOnce(&mut Settings),
    ) -> Service {
        let address = SocketAddr::from(([10, 0, 0, 100 + seat.worker as u8], 80));
        let listener = Listener::bind(address, 16).expect("no other listens");
        let log = AccessLogWriter::open(config, None).expect("a log");
        let key = Key::new(*b"0123456789abcdef");
        let mut settings = Settings::new(config, seat.segment.layout().workers, key);
        change(&mut settings);
        let (segment, wakers) = (seat.segment, seat.wakers.try_clone().expect("a descriptor"));
        let store = seat.cache.map(|(cells, settings)| {
            Store::new(opened(), cells, seat.worker, settings).expect("memory")
        });
        let proxy =
            Proxy::with_settings(config, settings, segment, seat.worker, wakers, log, store);
        let mut proxy = proxy.expect("memory");
        let token = Token::Worker(LISTENER).pack();
        proxy.poller().watch_listener(&listener, token).expect("a poller");
        let arrival = Arrival::at(&config.listen[0], Some(address.port()));
        Service { proxy, listener, address, next_tick: None, ticks: 0, gate: Gate::Open, arrival }
    }

    /// Takes no clients any more, and waits for none.
    pub fn close_door(&mut self) {
        self.gate = Gate::Exhausted;
        self.proxy.stop_waiting_for_room();
    }

    /// Cuts off all clients, as the worker does at its end.
    pub fn cut_off_clients(&mut self) {
        self.proxy.cut_off_clients();
        self.turn(Millis(0));
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A turn of the loop, which waits for `limit` at most. Whether there was an event.
    pub fn turn(&mut self, limit: Millis) -> bool {
        let timeout = self.timeout(limit);
        let events = self.poll(timeout);
        self.handle(&events);
        !events.is_empty()
    }

    /// The same without waiting, and nothing at all where a worker would go on waiting. Whether it
    /// would not.
    pub fn turn_if_due(&mut self) -> bool {
        let events = self.poll(Millis(0));
        let now = clock::now().millis();
        let mut times =
            self.proxy.next_deadline().into_iter().chain(self.next_tick.map(Micros::millis));
        let is_due = !events.is_empty() || self.proxy.is_ready() || times.any(|time| time < now);
        if is_due {
            self.handle(&events);
        }
        is_due
    }

    fn poll(&mut self, timeout: Millis) -> Vec<Event> {
        self.proxy.poller().wait(Some(timeout)).expect("a poller");
        self.proxy.begin_turn(clock::now());
        self.proxy.poller().events().to_vec()
    }

    fn handle(&mut self, events: &[Event]) {
        for event in events {
            match Token::unpack(event.token) {
                Token::Client(id) => self.proxy.client_event(id, *event),
                Token::Backend(id) => self.proxy.backend_event(id, *event),
                Token::Waker => self.proxy.woken(),
                Token::Worker(_) => self.accept(),
            }
        }
        self.proxy.drive_ready();
        self.proxy.expire(self.proxy.now());
        if self.gate == Gate::Full && self.proxy.has_room() {
            self.reopen();
            self.accept();
            if self.gate != Gate::Full {
                self.proxy.stop_waiting_for_room();
            }
        }
        self.tick(!events.is_empty());
        self.proxy.end_turn(clock::now());
        invariants::hold(&self.proxy);
    }

    /// Checks that no client waits here for room that is there. When nothing is left to do.
    fn waits_with_cause(&self) {
        assert!(self.gate != Gate::Full || !self.proxy.has_room(), "a door waits in vain");
    }

    fn accept(&mut self) {
        self.gate = loop {
            if !self.proxy.claim_room() {
                self.proxy.wait_for_room();
                break Gate::Full;
            }
            match self.listener.accept() {
                Ok((socket, peer)) => self.proxy.admit(socket, peer, self.arrival),
                Err(error) => {
                    self.proxy.give_room_back();
                    match error {
                        IoError::WouldBlock => return,
                        _ => break Gate::Exhausted,
                    }
                }
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

    /// Turns until nothing is left to do without the time passing. Whether there
    /// was nothing to begin with.
    pub fn is_settled(&mut self) -> bool {
        let is_idle = !self.turn(Millis(0)) && !self.proxy.is_ready();
        self.settle();
        is_idle
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

/// The workers of one service, which take turns.
pub struct Team {
    pub workers: Vec<Service>,
    pub segment: Segment,
    pub wakers: Wakers,
}

impl Team {
    /// Starts so many, each with its limits changed by `change`.
    pub fn start(count: usize, config: &Config, mut change: impl FnMut(&mut Settings)) -> Team {
        let all = Seats::new(config, count);
        let seats = (0..count).map(|worker| all.seat(worker));
        let workers = seats.map(|seat| Service::start_in(&seat, config, &mut change)).collect();
        Team { workers, segment: all.segment, wakers: all.wakers }
    }

    /// A turn of each that has something to do; if none has, time passes, at most `limit`.
    pub fn turn(&mut self, limit: Millis) {
        let mut any = false;
        for worker in &mut self.workers {
            any |= worker.turn_if_due();
        }
        if any {
            return;
        }
        self.workers.iter().for_each(Service::waits_with_cause);
        invariants::wait_with_cause(
            self.workers.iter_mut().map(|worker| &mut worker.proxy).collect(),
        );
        let mut step = limit;
        for worker in &self.workers {
            step = worker.timeout(step);
        }
        if self.workers.len() > 1 {
            step = step.min(ALERT); // One waits, and the others do not see what happens.
        }
        self.workers[0].turn(step);
    }

    /// Lets time pass, and whatever happens in it.
    pub fn advance(&mut self, time: Millis) {
        let until = clock::now() + Micros::from(time);
        while clock::now() < until {
            self.turn((until - clock::now()).millis().max(Millis(1)));
        }
    }

    /// Whether no worker has a client.
    pub fn is_empty(&self) -> bool {
        self.workers.iter().all(|worker| worker.proxy.is_empty())
    }

    /// Where everything stands.
    pub fn shown(&self) -> String {
        self.workers.iter().map(|worker| invariants::shown(&worker.proxy)).collect()
    }
}
