//! The process that does what must not be done by each worker, nor beside traffic: it checks the
//! health of backends, answers operators, and sees to backends that register themselves.
//!
//! It waits until its generation has taken over (the master sets a cell and rings). Then, in turns:
//! wait (until something is due) → signals, events of checks and of operators' connections → checks
//! that are due → commands → leases. Workers ring its waker when they have taken a backend out,
//! and the master when it has sent something; it rings the workers that wait for a backend, and the
//! master, which tells the service manager how many are up.

pub mod admin;
pub mod answer;
pub mod api;
pub mod cache;
mod caps;
pub mod checks;
mod client_limit;
pub mod commands;
mod connection;
pub mod diary;
pub mod explain;
pub mod fleet;
mod fleet_cells;
mod fleet_shown;
pub mod health;
mod held_pages;
pub mod json;
pub mod metrics;
pub mod names;
mod names_shown;
pub mod page;
mod page_line;
mod page_rows;
mod page_text;
mod page_window;
pub mod probe;
mod query;
pub mod recent;
pub mod request_parser;
pub mod sampler;
mod shared_commands;
mod troubles;
pub mod verdict;
pub mod view;

use crate::config::Config;
use crate::mem::time::{Clocks, Micros, Millis};
use crate::policy::sticky::Key;
use crate::shared::diary::Diary;
use crate::shared::history::History;
use crate::shared::wakers::Wakers;
use crate::shared::{Segment, ServiceCell};
use crate::sys::log;
use crate::sys::process::{self, Pid};
use crate::sys::{
    Channel, Event, IoError, Listener, Poller, Signal, Signals, StartError, Tried, Waker, clock,
};

use admin::{AdminServer, Pending};
use api::AccessLevel;
use cache::CacheAdmin;
use caps::Caps;
use checks::Checks;
use commands::Commands;
use explain::Explainer;
use fleet::Fleet;
use names::NamedBackends;
use view::Viewer;

/// What is watched: then come the admin sockets and their connections, and from `FIRST_CHECK` on checks.
const SIGNALS: u64 = 0;
const WAKER: u64 = 1;
const FIRST_ADMIN: u64 = 2;
const FIRST_CHECK: u64 = 1 << 16;

/// Descriptors beside these: epoll, signals, standard streams, wakers, the line to the master.
const OTHER_DESCRIPTORS: u64 = 512;
/// Whatever nobody rang for is noticed after this time.
const POLL_INTERVAL: Micros = Micros::from_secs(1);
/// Who is connected when this process is to be replaced is waited for so long: all others wait too.
const QUIET_TIMEOUT: Micros = Micros(200_000);
/// The first workers wait so long for the first look-up of names.
const FIRST_ANSWERS: Micros = Micros::from_secs(2);
/// While the service stops, the workers are looked at so often.
const STOP_POLL_INTERVAL: Micros = Micros(50_000);
/// Who is connected when this process is replaced may take so long.
const REPLACED_TIMEOUT: Millis = Millis::from_secs(60);
/// The same when the master has died: what they wait for may never come.
const ORPHANED_TIMEOUT: Millis = Millis::from_secs(1);

/// What the control process is given of what all share.
pub struct ControlInit {
    /// The shared cells, with the configuration in them.
    pub segment: Segment,
    /// A waker for each worker, and the control process's own.
    pub wakers: Wakers,
    /// The master's.
    pub master: Waker,
    /// The line to the master.
    pub channel: Channel,
    /// The signals.
    pub signals: Signals,
    /// What was counted of late, also by earlier generations.
    pub history: History,
    /// What went wrong, and what the operator was told.
    pub diary: Diary,
    /// Where operators come in.
    pub admin_sockets: Vec<(AccessLevel, Listener)>,
    /// What they must know over TCP.
    pub token: Option<Vec<u8>>,
    /// What sticky cookies are made with.
    pub sticky_key: Key,
    /// The master's process.
    pub master_pid: Pid,
    /// The stored answers, if there are any and their directory can be used.
    pub cache: Option<CacheAdmin>,
    /// The line to the process that looks up names, if there are names.
    pub names: Option<Channel>,
    /// The line to the process that holds the watch of the registry, if there is one.
    pub registry: Option<Channel>,
}

/// How far the process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ControlState {
    /// Names are looked up for the first time, and nobody waits for backends yet.
    Preparing {
        /// At the latest.
        until: Micros,
    },
    /// Another process still does this one's work.
    Waiting,
    Serving,
    /// The service stops: operators are told so, until no worker is left.
    Stopping {
        /// At the latest.
        until: Micros,
    },
    /// Another process is about to do this one's work: who is connected may ask for something yet.
    Closing {
        /// At the latest.
        until: Micros,
    },
    /// Another process does this one's work. Who is still connected is answered.
    Replaced {
        /// At the latest.
        until: Micros,
    },
    Over,
}

/// The control process.
pub struct Control {
    segment: Segment,
    wakers: Wakers,
    master: Waker,
    master_pid: Pid,
    signals: Signals,
    poller: Poller,
    checks: Checks,
    caps: Caps,
    admin: AdminServer,
    commands: Commands,
    state: ControlState,
    /// How long a stop may take.
    stop: Millis,
    /// When to look what nobody rang for.
    next_poll: Micros,
}

impl Control {
    /// Opens all that it needs.
    pub fn open(config: &Config, init: ControlInit) -> Result<Control, StartError> {
        let ControlInit {
            segment,
            wakers,
            master,
            channel,
            signals,
            history,
            diary,
            admin_sockets,
            token,
            master_pid,
            sticky_key,
            cache,
            names,
            registry,
        } = init;
        // Each backend may have a check under way.
        let wanted = (segment.layout().backends + admin::SLOTS * admin_sockets.len()) as u64;
        process::raise_descriptor_limit(wanted + OTHER_DESCRIPTORS);
        let viewer = Viewer::new(segment, history, config, master_pid.number().unsigned_abs());
        let explainer = Explainer::new(config, sticky_key);
        let open = || {
            let poller = Poller::new()?;
            poller.watch_signals(&signals, SIGNALS)?;
            poller.watch_waker(&wakers.control, WAKER)?;
            Ok(poller)
        };
        let poller = open().map_err(StartError::at("epoll", Tried::Descriptor))?;
        let clones = || Ok((wakers.try_clone()?, master.try_clone()?));
        let (own_wakers, own_master) =
            clones().map_err(StartError::at("wakers", Tried::Descriptor))?;
        let names = NamedBackends::new(segment, config, names, clock::now());
        let mut commands = Commands::new(
            segment,
            viewer,
            explainer,
            names,
            cache,
            own_wakers,
            (channel, own_master),
        );
        commands.show_diary(diary);
        if let Some(line) = registry {
            commands.share(Fleet::new(segment, config, line));
        }
        Ok(Control {
            checks: Checks::new(segment, config),
            caps: Caps::new(segment),
            segment,
            wakers,
            master,
            master_pid,
            signals,
            poller,
            admin: AdminServer::new(admin_sockets, token, FIRST_ADMIN),
            commands,
            state: ControlState::Waiting,
            stop: config.timeouts.withdraw + config.timeouts.drain,
            next_poll: Micros(0),
        })
    }

    /// Waits, not for long, until names were looked up for the first time: whoever is told that this
    /// process serves finds the backends that they bring.
    pub fn prepare(&mut self) -> Result<(), StartError> {
        // One that takes another's place finds them there.
        if self.segment.service(ServiceCell::InPlace) == 0 && !self.commands.are_names_known() {
            self.state = ControlState::Preparing { until: clock::now() + FIRST_ANSWERS };
        }
        while matches!(self.state, ControlState::Preparing { .. }) {
            self.turn().map_err(StartError::at("epoll", Tried::Descriptor))?;
        }
        Ok(())
    }

    /// Works until a signal says to stop.
    pub fn serve(mut self) -> Result<(), StartError> {
        while self.state != ControlState::Over {
            self.turn().map_err(StartError::at("epoll", Tried::Descriptor))?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), IoError> {
        if self.state == ControlState::Waiting && self.segment.service(ServiceCell::InPlace) != 0 {
            self.state = ControlState::Serving;
            self.next_poll = clock::now();
            self.commands.adopt_names();
            self.commands.adopt_fleet();
            self.admin.watch(&self.poller)?;
        }
        let timeout = self.timeout(clock::now());
        self.poller.wait(Some(timeout))?;
        let now = clock::now();
        self.commands.set_now(Clocks { clock: now, wall: clock::wall() });
        for index in 0..self.poller.events().len() {
            let event = self.poller.events()[index];
            self.event(event, now);
        }
        if self.next_poll <= now {
            self.look_around(now);
            if self.is_at_work() {
                self.commands.watch_helpers();
            }
        }
        // A purge goes on to its end, also where another process does the rest by now.
        if let Some((pending, answer)) = self.commands.step_purges() {
            self.admin.settle(pending, &answer, now);
        }
        if self.is_at_work() {
            self.checks.run(&self.poller, FIRST_CHECK, &self.wakers, now);
            if self.checks.take_changes() {
                self.commands.look_again();
                self.master.wake();
            }
            if self.commands.next_name_deadline().is_some_and(|due| due <= now) {
                self.commands.tend_names();
            }
            self.caps.run(&self.wakers, now);
            for (pending, answer) in self.commands.tend_fleet() {
                self.admin.settle(pending, &answer, now);
            }
            self.commands.expire_leases();
            self.commands.cache_housekeeping();
        }
        self.admin.turn(&self.poller, &mut self.commands, now);
        if self.commands.take_changes() {
            // What there is to be checked and tended is another: the next turn comes at once.
            self.look_around(now);
            self.master.wake();
        }
        self.admin.expire(now);
        self.check_end(now);
        Ok(())
    }

    fn event(&mut self, event: Event, now: Micros) {
        match event.token {
            SIGNALS => {
                while let Some(signal) = self.signals.next() {
                    self.signal(signal, now);
                }
            }
            WAKER => {
                self.wakers.control.clear();
                self.look_around(now);
            }
            admin if admin < FIRST_CHECK => self.admin.event(admin - FIRST_ADMIN, event),
            check => self.checks.event(check - FIRST_CHECK, event, &self.wakers, now),
        }
    }

    /// Whether the checks and leases are this process's to see to.
    fn is_at_work(&self) -> bool {
        match self.state {
            ControlState::Serving
            | ControlState::Stopping { .. }
            | ControlState::Closing { .. } => true,
            ControlState::Preparing { .. }
            | ControlState::Waiting
            | ControlState::Replaced { .. }
            | ControlState::Over => false,
        }
    }

    fn look_around(&mut self, now: Micros) {
        self.next_poll = now + POLL_INTERVAL;
        let _ = log::tick(now); // It is called so often in any case.
        // The master rings when it has sent one.
        if let Some(outcome) = self.commands.reload_outcome() {
            self.admin.settle(Pending::Reload, &outcome, now);
        }
        if self.is_at_work() || matches!(self.state, ControlState::Preparing { .. }) {
            self.commands.tend_names();
        }
        if self.is_at_work() {
            self.checks.look_around(now);
            self.caps.look_around();
            self.commands.look_again();
            self.commands.watch();
        }
    }

    fn signal(&mut self, signal: Signal, now: Micros) {
        // What ends one that waits ends one that prepares itself for that.
        let state = match self.state {
            ControlState::Preparing { .. } => ControlState::Waiting,
            state => state,
        };
        match (signal, state) {
            // The master has died. There will soon be another, which wants these addresses, and
            // nobody will tell when the last worker is done.
            (Signal::Term | Signal::Quit, ControlState::Waiting | ControlState::Serving)
                if !process::is_child_of(self.master_pid) =>
            {
                self.admin.close(&self.poller);
                self.state = ControlState::Replaced { until: now + Micros::from(ORPHANED_TIMEOUT) };
            }
            (Signal::Term | Signal::Quit, ControlState::Waiting | ControlState::Serving) => {
                self.state = ControlState::Stopping { until: now + Micros::from(self.stop) };
            }
            (Signal::Usr2, ControlState::Waiting | ControlState::Serving) => {
                self.admin.close(&self.poller);
                self.state = ControlState::Closing { until: now + QUIET_TIMEOUT };
            }
            // The master says so too if all processes were told at once.
            (Signal::Term | Signal::Quit, ControlState::Stopping { .. })
                if process::is_child_of(self.master_pid) => {}
            (Signal::Int | Signal::Term | Signal::Quit, _) => self.state = ControlState::Over,
            (Signal::Usr2 | Signal::Hup | Signal::Usr1 | Signal::Chld, _) => (),
        }
    }

    fn check_end(&mut self, now: Micros) {
        let (until, is_done) = match self.state {
            ControlState::Waiting | ControlState::Serving | ControlState::Over => return,
            ControlState::Preparing { until } => {
                if until <= now {
                    self.commands.use_stored_names();
                }
                if until <= now || self.commands.are_names_known() {
                    self.state = ControlState::Waiting;
                }
                return;
            }
            ControlState::Stopping { until } => (until, self.is_last()),
            ControlState::Closing { until } => {
                if self.admin.is_quiet() || until <= now {
                    self.commands.close();
                    self.state =
                        ControlState::Replaced { until: now + Micros::from(REPLACED_TIMEOUT) };
                    self.check_end(now);
                }
                return;
            }
            ControlState::Replaced { until } => (until, self.admin.is_empty()),
        };
        if is_done || until <= now {
            self.state = ControlState::Over;
        }
    }

    /// Whether no worker is left. The master clears the rows of those that have ended.
    fn is_last(&self) -> bool {
        let workers = self.segment.layout().workers;
        (0..workers).all(|worker| self.segment.worker(worker).pid() == 0)
    }

    /// How long to wait for events.
    fn timeout(&self, now: Micros) -> Millis {
        if self.admin.is_ready() {
            return Millis(0);
        }
        let end = match self.state {
            ControlState::Waiting | ControlState::Serving | ControlState::Over => None,
            ControlState::Stopping { until } => Some(until.min(now + STOP_POLL_INTERVAL)),
            ControlState::Preparing { until }
            | ControlState::Closing { until }
            | ControlState::Replaced { until } => Some(until),
        };
        let work = if self.is_at_work() {
            [
                self.checks.next_deadline(),
                self.caps.next_deadline(),
                self.commands.next_deadline(),
                self.commands.next_name_deadline(),
                self.commands.next_fleet_deadline(),
                self.commands.next_housework(),
                Some(self.next_poll),
            ]
        } else {
            [None; 7]
        };
        let others = [end, self.admin.next_deadline(), self.commands.next_purge_step()];
        let all = work.into_iter().chain(others).flatten();
        let next = all.min().unwrap_or(now + POLL_INTERVAL);
        // A millisecond more, so that what is due is past when the wait is over.
        if next <= now { Millis(0) } else { (next - now).millis() + Millis(1) }
    }
}
