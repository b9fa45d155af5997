//! One proxying process: its event loop.
//!
//! wait (until the next timer; not at all if clients are ready) → mark, wake → turn → expire timers
//! → the log and other rare things. A timer ends only once a wait that began after its time has
//! brought nothing: what came in time is seen first, also by a process that was held up.

mod accept;
mod probes;

use crate::config::{self, Config};
use crate::mem::time::{Micros, Millis};
use crate::proxy::access_log::AccessLog;
use crate::proxy::settings::memory_bound_line;
use crate::proxy::{Proxy, Token};
use crate::sys::message::{self, Level};
use crate::sys::{Event, IoError, Signal, Signals, clock, process};

use accept::Door;
use probes::Probes;

/// Rare things are done so often: old connections closed, memory given back, the log written.
const TICK: Millis = Millis(500);
/// A graceful stop closes idle clients after this time.
const IDLE_AT_STOP: Millis = Millis(1000);
/// Descriptors beside connections: epoll, signals, standard streams, log, listeners, probes.
const OTHER_DESCRIPTORS: u64 = 256;

/// What the numbers of `Token::Worker` mean.
const SIGNALS: u64 = 0;
const FIRST_LISTENER: u64 = 1;
const FIRST_PROBE: u64 = 1 << 16;

/// Why the service could not start, or not go on.
#[derive(Debug)]
pub struct WorkerError {
    /// What was tried.
    pub what: String,
    /// What the kernel said.
    pub error: IoError,
}

impl WorkerError {
    fn new(what: impl Into<String>) -> impl FnOnce(IoError) -> WorkerError {
        // Not before it is wanted: this stands in the event loop too.
        move |error| WorkerError { what: what.into(), error }
    }
}

impl std::fmt::Display for WorkerError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.what, self.error)
    }
}

/// How far the process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving,
    /// Stopping gracefully.
    Draining {
        /// Idle clients are closed then; `None` once they are.
        idle_until: Option<Micros>,
        /// Whatever is left is given up then.
        until: Micros,
    },
    Over,
}

/// The process's state.
struct Worker {
    proxy: Proxy,
    door: Door,
    signals: Signals,
    probes: Probes,
    life: Life,
    drain: Millis,
    next_tick: Option<Micros>,
    ticks: u64,
}

/// Proxies until a signal says to stop.
pub fn run(config: &Config) -> Result<(), WorkerError> {
    let signals = Signals::block_and_open().map_err(WorkerError::new("signals"))?;
    let wanted = 2 * config.max_connections as u64 + OTHER_DESCRIPTORS;
    let allowed = process::raise_descriptor_limit(wanted);
    let log = AccessLog::open(&config.access_log).map_err(|error| WorkerError {
        what: match &config.access_log {
            config::AccessLog::Path(path) => format!("access_log {}", path.display()),
            config::AccessLog::Off | config::AccessLog::Stdout => String::from("access_log"),
        },
        error,
    })?;
    let door = Door::open(config)?;
    let proxy = Proxy::new(config, log).map_err(WorkerError::new(
        "the memory of max_connections and buffer_size cannot be reserved (lower them)",
    ))?;
    let mut worker = Worker {
        probes: Probes::new(&proxy),
        proxy,
        door,
        signals,
        life: Life::Serving,
        drain: config.timeouts.drain,
        next_tick: None,
        ticks: 0,
    };
    worker.watch_all().map_err(WorkerError::new("epoll"))?;
    worker.announce(config);
    if allowed < wanted {
        message::log(
            Level::Warning,
            format_args!(
                "{allowed} file descriptors are allowed, and max_connections {} may need {wanted} \
                 (raise LimitNOFILE; until then clients wait in the backlog when they run out)",
                config.max_connections
            ),
        );
    }
    message::log(Level::Info, format_args!("ready"));
    while worker.life != Life::Over {
        worker.turn().map_err(WorkerError::new("epoll"))?;
    }
    worker.proxy.flush_log();
    Ok(())
}

impl Worker {
    fn watch_all(&mut self) -> Result<(), IoError> {
        let poller = self.proxy.poller();
        poller.watch_signals(&self.signals, Token::Worker(SIGNALS).pack())?;
        self.door.watch(poller)
    }

    /// The first lines on standard error.
    fn announce(&self, config: &Config) {
        let mut line = format!("httplb {}: 1 worker, listening on", env!("CARGO_PKG_VERSION"));
        let mut separator = " ";
        for address in self.door.addresses() {
            line.push_str(&format!("{separator}{address}"));
            separator = ", ";
        }
        for pool in self.proxy.pools() {
            let count = pool.members.len();
            let noun = if count == 1 { "backend" } else { "backends" };
            line.push_str(&format!(", pool {}: {count} {noun}", pool.name));
        }
        message::line(Level::Info, format_args!("{line}"));
        message::log(Level::Info, format_args!("{}", memory_bound_line(config)));
    }

    /// A turn of the event loop.
    fn turn(&mut self) -> Result<(), IoError> {
        let begun = clock::now();
        let timeout = self.timeout(begun);
        self.proxy.poller().wait(timeout)?;
        self.proxy.set_now(clock::now());
        let count = self.proxy.poller().events().len();
        for index in 0..count {
            let event = self.proxy.poller().events()[index];
            self.event(event);
        }
        self.proxy.turn();
        self.proxy.expire(begun);
        self.door.reopen_if_possible(&mut self.proxy);
        if count > 0 && self.next_tick.is_none() {
            self.next_tick = Some(self.now() + Micros::from(TICK));
        }
        if self.next_tick.is_some_and(|tick| tick <= self.now()) {
            self.tick();
        }
        self.check_end();
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match Token::unpack(event.token) {
            Token::Client(id) => self.proxy.client_event(id, event),
            Token::Backend(id) => self.proxy.backend_event(id, event),
            Token::Worker(SIGNALS) => {
                while let Some(signal) = self.signals.next() {
                    self.signal(signal);
                }
            }
            Token::Worker(probe) if probe >= FIRST_PROBE => {
                self.probes.event(&mut self.proxy, probe - FIRST_PROBE, event);
            }
            Token::Worker(listener) => {
                self.door.accept(&mut self.proxy, (listener - FIRST_LISTENER) as usize);
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Usr1 => self.proxy.reopen_log(),
            // It has no children, and nobody replaces it.
            Signal::Usr2 | Signal::Chld => (),
            Signal::Hup => message::log(
                Level::Warning,
                format_args!("HUP: reload is not in this version (restart to read the file anew)"),
            ),
            Signal::Int => self.life = Life::Over,
            Signal::Term | Signal::Quit => match self.life {
                Life::Serving => self.begin_drain(),
                Life::Draining { .. } | Life::Over => self.life = Life::Over,
            },
        }
    }

    /// Those who are connected are served to the end, nobody else is.
    fn begin_drain(&mut self) {
        message::log(
            Level::Notice,
            format_args!("stopping: {} clients are connected", self.proxy.clients()),
        );
        self.door.close(&mut self.proxy);
        self.proxy.drain();
        self.life = Life::Draining {
            idle_until: Some(self.now() + Micros::from(IDLE_AT_STOP)),
            until: self.now() + Micros::from(self.drain),
        };
    }

    fn check_end(&mut self) {
        let Life::Draining { idle_until, until } = self.life else { return };
        if idle_until.is_some_and(|time| time <= self.now()) {
            self.proxy.close_idle_clients();
            self.life = Life::Draining { idle_until: None, until };
        }
        if self.proxy.is_empty() {
            self.life = Life::Over;
        } else if until <= self.now() {
            message::log(
                Level::Warning,
                format_args!(
                    "{} clients were not done within timeouts.drain and are cut off",
                    self.proxy.clients()
                ),
            );
            self.life = Life::Over;
        }
    }

    /// Rare things. Ticks end when there is nothing that they could do, until the next event.
    fn tick(&mut self) {
        self.ticks += 1;
        self.proxy.flush_log();
        let swept = self.proxy.sweep(self.ticks);
        let probing = self.probes.tick(&mut self.proxy);
        let closed = self.door.retry(&mut self.proxy);
        let again = swept || probing || closed;
        self.next_tick = again.then(|| self.now() + Micros::from(TICK));
    }

    fn now(&self) -> Micros {
        self.proxy.now()
    }

    /// Ends a turn: how long to wait for events.
    fn timeout(&mut self, now: Micros) -> Option<Millis> {
        self.proxy.end_turn(now);
        let deadline = self.proxy.next_deadline();
        if self.proxy.is_ready() || deadline.is_some_and(|deadline| deadline <= now.millis()) {
            return Some(Millis(0));
        }
        let mut next = self.next_tick.map(Micros::millis);
        let mut consider = |time: Option<Millis>| {
            next = match (next, time) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        };
        consider(deadline);
        if let Life::Draining { idle_until, until } = self.life {
            consider(idle_until.map(Micros::millis));
            consider(Some(until.millis()));
        }
        // A millisecond more, so that what is due is past when the wait is over.
        next.map(|time| Millis(time.0.saturating_sub(now.millis().0) + 1))
    }
}
