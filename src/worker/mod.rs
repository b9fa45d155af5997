//! One proxying process: its event loop.
//!
//! wait (until the next timer; not at all if clients are ready) → mark, wake → turn → expire timers
//! → the log and other rare things. A timer ends only once a wait that began after its time has
//! brought nothing: what came in time is seen first, also by a process that was held up.

mod accept;
#[cfg(feature = "internals")]
mod alone;
pub mod sticky_key;

use crate::cache::store::Store;
use crate::config::Config;
use crate::mem::time::{Micros, Millis, sooner};
use crate::policy::sticky::Key;
use crate::proxy::access_log::AccessLogWriter;
use crate::proxy::{Proxy, Service, Token};
use crate::shared::diary::Diary;
use crate::shared::ipc::ControlMessage;
use crate::shared::wakers::Wakers;
use crate::shared::{Segment, ServiceCell};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid};
use crate::sys::{
    Channel, Event, IoError, KeepAlive, LogFile, Signal, Signals, StartError, Tried, clock,
};

pub use accept::ListenSocket;
use accept::{Acceptor, FIRST_LISTENER};

/// Rare things are done so often: old connections closed, memory given back, the log written.
const TICK: Millis = Millis(500);

/// What the numbers of `Token::Worker` mean.
const SIGNALS: u64 = 0;

/// How far the process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerState {
    Serving,
    /// Others take the new clients. Those who are connected here are served to the end, and idle
    /// ones are kept until their next request.
    Replaced {
        /// Whatever is left is given up then.
        until: Micros,
    },
    /// The service stops gracefully: who is answered or idle is closed.
    Stopping {
        /// Whatever is left is given up then.
        until: Micros,
    },
    Over,
}

/// What a worker is given of what all share.
pub struct WorkerInit {
    /// Its number, from 0.
    pub index: usize,
    /// The shared cells, with the configuration in them.
    pub segment: Segment,
    /// A waker for each worker.
    pub wakers: Wakers,
    /// Its listening sockets.
    pub listeners: Vec<ListenSocket>,
    /// What the sticky cookies are made with: [`sticky_key::load`].
    pub sticky_key: Key,
    /// The access log.
    pub log: AccessLogWriter,
    /// Where failures and slow requests are kept.
    pub diary: Diary,
    /// The signals.
    pub signals: Signals,
    /// The line to the master, if there is one.
    pub channel: Option<Channel>,
    /// The master's process, if there is one.
    pub master: Option<Pid>,
    /// The stored answers, where there is a cache.
    pub store: Option<Store>,
}

/// The process's state.
pub struct Worker {
    proxy: Proxy,
    acceptor: Acceptor,
    signals: Signals,
    channel: Option<Channel>,
    life: WorkerState,
    master: Option<Pid>,
    /// Whether a stop begins with a time in which the service is withdrawn.
    withdraws: bool,
    drain: Millis,
    retire: Millis,
    next_tick: Option<Micros>,
    ticks: u64,
}

impl Worker {
    /// Reserves and opens all that it needs.
    pub fn open(config: &Config, worker: WorkerInit) -> Result<Worker, StartError> {
        let WorkerInit { index, segment, wakers, listeners, sticky_key, log, .. } = worker;
        let WorkerInit { signals, channel, master, store, diary, .. } = worker;
        let keepalive = KeepAlive::after(config.timeouts.keepalive);
        for entrance in &listeners {
            let failed = StartError::at("keep-alive of the listening sockets", Tried::Descriptor);
            entrance.listener.keep_alive(keepalive).map_err(failed)?;
        }
        let proxy = Proxy::new(config, sticky_key, segment, index, wakers, log, store);
        let mut worker = Worker {
            proxy: proxy.map_err(StartError::at(
                "the memory of max_connections and buffer_size cannot be reserved",
                Tried::Memory,
            ))?,
            acceptor: Acceptor::new(listeners),
            signals,
            channel,
            life: WorkerState::Serving,
            master,
            withdraws: config.timeouts.withdraw > Millis(0),
            drain: config.timeouts.drain,
            retire: config.timeouts.retire,
            next_tick: None,
            ticks: 0,
        };
        worker.proxy.keep_diary(diary);
        worker.watch_all().map_err(StartError::at("epoll", Tried::Descriptor))?;
        worker.choose_service();
        Ok(worker)
    }

    /// Proxies until a signal says to stop.
    pub fn serve(mut self) -> Result<(), StartError> {
        while self.life != WorkerState::Over {
            self.turn().map_err(StartError::at("epoll", Tried::Descriptor))?;
        }
        self.proxy.cut_off_clients();
        self.proxy.flush_log();
        Ok(())
    }

    fn watch_all(&mut self) -> Result<(), IoError> {
        let poller = self.proxy.poller();
        poller.watch_signals(&self.signals, Token::Worker(SIGNALS).pack())?;
        self.acceptor.watch(poller)
    }

    /// A turn of the event loop.
    fn turn(&mut self) -> Result<(), IoError> {
        let begun = clock::now();
        let timeout = self.timeout(begun);
        self.proxy.poller().wait(timeout)?;
        self.proxy.begin_turn(clock::now());
        let count = self.proxy.poller().events().len();
        for index in 0..count {
            let event = self.proxy.poller().events()[index];
            self.event(event);
        }
        self.proxy.drive_ready();
        self.proxy.expire(begun);
        self.acceptor.reopen_if_possible(&mut self.proxy);
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
            Token::Waker => {
                self.proxy.woken();
                self.choose_service();
            }
            Token::Worker(SIGNALS) => {
                while let Some(signal) = self.signals.next() {
                    self.signal(signal);
                }
            }
            Token::Worker(listener) => {
                self.acceptor.accept(&mut self.proxy, (listener - FIRST_LISTENER) as usize);
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Usr1 => self.reopen_log(),
            Signal::Usr2 => self.be_replaced(),
            Signal::Int => self.life = WorkerState::Over,
            Signal::Term | Signal::Quit => match self.life {
                // The master, who was told too, withdraws the service first, and then says so.
                WorkerState::Serving if self.is_withdrawn_first() => (),
                WorkerState::Serving | WorkerState::Replaced { .. } => self.stop(),
                // Whoever stops all processes at once, as `timeout` does and a terminal, stops this
                // one, and then the master does. If it is to end at once, the master says INT.
                WorkerState::Stopping { .. } | WorkerState::Over => (),
            },
            // The master's.
            Signal::Hup | Signal::Chld => (),
        }
    }

    /// Goes on with the log file that the master has opened, or else opens it.
    fn reopen_log(&mut self) {
        let mut newest = None;
        while let Some(message) = self.channel.as_ref().and_then(Channel::receive) {
            if let (Some((ControlMessage::Log, _)), Some(file)) =
                (ControlMessage::parse(&message.text), message.descriptor)
            {
                newest = Some(LogFile::from_fd(file));
            }
        }
        self.proxy.reopen_log(newest);
    }

    /// Others have taken this worker's place.
    fn be_replaced(&mut self) {
        if self.life == WorkerState::Serving {
            self.acceptor.close(&mut self.proxy);
            self.life = WorkerState::Replaced { until: self.now() + Micros::from(self.retire) };
            self.choose_service();
        }
    }

    fn stop(&mut self) {
        self.acceptor.close(&mut self.proxy);
        self.life = WorkerState::Stopping { until: self.now() + Micros::from(self.drain) };
        self.choose_service();
    }

    /// Whether a signal to stop is not for this process yet. One whose master is gone has nobody who
    /// would say it again.
    fn is_withdrawn_first(&self) -> bool {
        let is_draining = self.proxy.segment().service(ServiceCell::Draining) != 0;
        self.withdraws && !is_draining && self.master.is_some_and(process::is_child_of)
    }

    /// Lets clients know what has become of the service.
    fn choose_service(&mut self) {
        let service = match self.life {
            WorkerState::Stopping { .. } | WorkerState::Over => Service::Draining,
            WorkerState::Serving | WorkerState::Replaced { .. }
                if self.proxy.segment().is_withdrawn() =>
            {
                Service::Withdrawn
            }
            WorkerState::Replaced { .. } => Service::Replaced,
            WorkerState::Serving => Service::Running,
        };
        self.proxy.become_service(service);
    }

    fn check_end(&mut self) {
        let (until, limit) = match self.life {
            WorkerState::Serving | WorkerState::Over => return,
            WorkerState::Replaced { until } => (until, "retire"),
            WorkerState::Stopping { until } => (until, "drain"),
        };
        if until <= self.now() {
            self.proxy.close_idle_clients();
            if !self.proxy.is_empty() {
                log::write(
                    Level::Warning,
                    format_args!(
                        "{} clients were not done within timeouts.{limit} and are cut off",
                        self.proxy.clients()
                    ),
                );
            }
            self.life = WorkerState::Over;
        } else if self.proxy.is_empty() {
            self.life = WorkerState::Over;
        }
    }

    /// Rare things. Ticks end when there is nothing that they could do, until the next event.
    fn tick(&mut self) {
        self.ticks += 1;
        self.proxy.flush_log();
        let swept = self.proxy.sweep(self.ticks);
        let closed = self.acceptor.retry(&mut self.proxy);
        let is_to_tell = log::tick(self.now()).is_some();
        let again = swept || closed || is_to_tell;
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
        let end = match self.life {
            WorkerState::Serving | WorkerState::Over => None,
            WorkerState::Replaced { until } | WorkerState::Stopping { until } => {
                Some(until.millis())
            }
        };
        let next = sooner(self.next_tick.map(Micros::millis), sooner(deadline, end));
        // A millisecond more, so that what is due is past when the wait is over.
        next.map(|time| Millis(time.0.saturating_sub(now.millis().0) + 1))
    }
}
