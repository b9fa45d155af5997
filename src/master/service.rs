//! The master's loop: wait, then signals, what children say, ended children, what is due; and
//! first of all fork whoever is missing. That is the one place where the master forks: the child
//! leaves the loop there, and takes from the master what it needs.

use std::process::ExitCode;

use crate::config::Config;
use crate::mem::time::{Micros, Millis};
use crate::shared::ServiceCell;
use crate::shared::words::Word;
use crate::sys::message::{self, Level};
use crate::sys::process::{self, Ended, Forked, Pid, User};
use crate::sys::{Channel, Doorbell, IoError, Listener, Poller, Signal, Signals, clock};

use super::birth::{self, Birth};
use super::generation::{Child, Generation, Standing};
use super::handover::{Reloads, Role};
use super::listeners::{Listeners, stored_name};
use super::notify::{self, Notifier};
use super::reload::Identity;
use super::trial::Trial;
use super::{StartError, files, ledger};

/// What is watched.
const SIGNALS: u64 = 0;
const BELL: u64 = 1;

/// A process that was told to end at once is killed after this time.
const AT_ONCE: Millis = Millis(1000);
/// What leaving generations count is added up so often.
const GATHERING: Micros = Micros::from_secs(1);
/// When there can be no more processes, the next try is made after this time.
const FORK_PAUSE: Millis = Millis(1000);

/// How far the service is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It serves.
    Running,
    /// It ends when all processes have ended.
    Stopping {
        /// What they were told.
        manner: Manner,
        /// When they are told more plainly.
        until: Micros,
        /// What the master exits with.
        status: u8,
    },
}

/// How processes are told to end, one more plainly than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// When they are done.
    Gracefully,
    /// At once.
    AtOnce,
    /// They are not asked.
    Killed,
}

/// What comes after a turn, if not another one.
pub enum Next {
    /// This is a new process.
    Born(Birth),
    /// The service has ended.
    Over(u8),
}

/// The service, as the process sees it that starts, watches and replaces the others.
pub struct Master {
    pub(super) identity: Identity,
    pub(super) poller: Poller,
    pub(super) signals: Signals,
    /// Rung by children that have said something.
    pub(super) bell: Doorbell,
    pub(super) notifier: Notifier,
    pub(super) listeners: Listeners<Listener>,
    /// By number. At most one is starting, and at most one is serving.
    pub(super) generations: Vec<Generation>,
    /// Whom children become, if this is root.
    pub(super) user: Option<User>,
    pub(super) life: Life,
    pub(super) trial: Option<Trial>,
    /// A reload was asked for while one was under way.
    pub(super) reload_again: bool,
    /// The control process that waits for the outcome of a reload.
    pub(super) asked_by: Option<Pid>,
    pub(super) reloads: Reloads,
    pub(super) restarts: u64,
    /// Microseconds since the epoch.
    pub(super) started: u64,
    fork_pause: Micros,
    pub(super) now: Micros,
}

impl Master {
    /// One without anything that it could serve.
    pub fn new(identity: Identity, bell: Doorbell) -> Result<Master, StartError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| StartError { what, error }
        };
        let signals = Signals::block_and_open().map_err(failed("signals"))?;
        let poller = Poller::new().map_err(failed("epoll"))?;
        poller.watch_signals(&signals, SIGNALS).map_err(failed("epoll"))?;
        poller.watch_doorbell(&bell, BELL).map_err(failed("epoll"))?;
        let now = clock::now();
        Ok(Master {
            identity,
            poller,
            signals,
            bell,
            notifier: Notifier::open(now),
            listeners: Listeners::default(),
            generations: Vec::new(),
            user: files::user_of_children(),
            life: Life::Running,
            trial: None,
            reload_again: false,
            asked_by: None,
            reloads: Reloads::default(),
            restarts: 0,
            started: clock::wall().0,
            fork_pause: Micros(0),
            now,
        })
    }

    /// Lives to the end of the service, or of the child that this process becomes.
    pub fn live(mut self) -> ExitCode {
        loop {
            match self.turn() {
                Ok(None) => (),
                Ok(Some(Next::Born(birth))) => return birth::live(self, birth),
                Ok(Some(Next::Over(status))) => return ExitCode::from(status),
                Err(error) => {
                    // The children hear of it, and end gracefully.
                    message::log(Level::Error, format_args!("epoll: {error}"));
                    return ExitCode::FAILURE;
                }
            }
        }
    }

    fn turn(&mut self) -> Result<Option<Next>, IoError> {
        if let Some(birth) = self.fill() {
            return Ok(Some(Next::Born(birth)));
        }
        self.poller.wait(self.timeout())?;
        self.now = clock::now();
        self.bell.silence();
        while let Some(signal) = self.signals.next() {
            self.signal(signal);
        }
        self.listen_to_children();
        while let Some((pid, ended)) = process::reap() {
            self.reaped(pid, ended);
        }
        self.look();
        let is_left = self.trial.is_some()
            || self.generations.iter().any(|generation| !generation.children.is_empty());
        Ok(match self.life {
            Life::Stopping { status, .. } if !is_left => Some(Next::Over(status)),
            Life::Stopping { .. } | Life::Running => None,
        })
    }

    /// Forks whoever is missing. In the new process there is a birth to go on with.
    fn fill(&mut self) -> Option<Birth> {
        if self.life != Life::Running || self.fork_pause > self.now {
            return None;
        }
        for place in 0..self.generations.len() {
            while let Some(role) = self.generations[place].missing(self.now) {
                match self.fork(place, role) {
                    Ok(None) => (),
                    Ok(birth) => return birth,
                    Err(error) => {
                        message::log(Level::Error, format_args!("another process: {error}"));
                        self.fork_pause = self.now + Micros::from(FORK_PAUSE);
                        return None;
                    }
                }
            }
        }
        None
    }

    fn fork(&mut self, place: usize, role: Role) -> Result<Option<Birth>, IoError> {
        let (channel, other_end) = Channel::pair()?;
        let parent = Pid::own();
        match process::fork()? {
            Forked::Child => Ok(Some(Birth { place, role, channel: other_end, parent })),
            Forked::Parent(pid) => {
                let child = Child { pid, role, channel, is_ready: false };
                self.generations[place].children.push(child);
                Ok(None)
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Term | Signal::Quit => match self.life {
                Life::Running => self.stop(Manner::Gracefully, 0),
                Life::Stopping { status, .. } => self.stop(Manner::AtOnce, status),
            },
            Signal::Int => self.stop(Manner::AtOnce, 0),
            Signal::Hup => self.reload(None),
            Signal::Usr1 => self.reopen_log(),
            // Who has ended is looked for after every wait.
            Signal::Chld => (),
            // It is the master's to children.
            Signal::Usr2 => (),
        }
    }

    /// Ends the service; also a second time, more plainly.
    pub(super) fn stop(&mut self, manner: Manner, status: u8) {
        if let Life::Stopping { manner: before, .. } = self.life
            && before >= manner
        {
            return;
        }
        if self.life == Life::Running {
            self.notifier.stopping();
            self.notifier.set_status(String::from("stopping"), self.now);
            let clients: u32 = self.generations.iter().map(Generation::clients).sum();
            message::log(Level::Notice, format_args!("stopping: {clients} clients are connected"));
            // The workers have the sockets, and take those who wait there.
            self.listeners = Listeners::default();
        }
        if let Some(trial) = &self.trial {
            trial.kill();
        }
        let mut until = self.now + Micros::from(AT_ONCE);
        for generation in &mut self.generations {
            if let Some(origin) = &generation.origin {
                origin.segment.set_service(ServiceCell::Draining, 1);
            }
            generation.leaves(self.now);
            if let (Manner::Gracefully, Standing::Leaving { until: latest }) =
                (manner, generation.standing)
            {
                until = until.max(latest);
            }
            for child in &generation.children {
                // It fails only if the process has just ended.
                let _ = match manner {
                    Manner::Gracefully => process::signal(child.pid, Signal::Term),
                    Manner::AtOnce => process::signal(child.pid, Signal::Int),
                    Manner::Killed => process::kill(child.pid),
                };
            }
        }
        self.life = Life::Stopping { manner, until, status };
    }

    fn listen_to_children(&mut self) {
        let asking = self.generations.iter_mut().filter_map(Generation::hear).last();
        if asking.is_some() {
            self.reload(asking);
        }
    }

    fn reaped(&mut self, pid: Pid, ended: Ended) {
        if let Some(trial) = self.trial.take_if(|trial| trial.pid == pid) {
            return self.tried(trial, ended);
        }
        for place in 0..self.generations.len() {
            if let Some(child) = self.generations[place].bury(pid, self.now) {
                return self.died(place, &child, ended);
            }
        }
    }

    /// A process has ended, perhaps as it should.
    fn died(&mut self, place: usize, child: &Child, ended: Ended) {
        let standing = self.generations[place].standing;
        if self.life != Life::Running || matches!(standing, Standing::Leaving { .. }) {
            return;
        }
        let name = child.name();
        if standing != Standing::Serving && !child.is_ready && matches!(ended, Ended::Exited(_)) {
            // It has said itself why it could not start, and the next could not either.
            return self.fail(place, &format!("{name} could not start"));
        }
        message::log(Level::Error, format_args!("{name} {ended}; another takes its place"));
        match child.role {
            Role::Control => (),
            Role::Worker(_) => {
                self.restarts += 1;
                self.publish();
                if self.generations[place].ledger.note(self.now) {
                    self.fail(place, &ledger::too_many());
                }
            }
        }
    }

    /// A generation cannot go on. If it was to replace another, that one goes on, and else the
    /// service is over.
    fn fail(&mut self, place: usize, why: &str) {
        let standing = self.generations[place].standing;
        let others = self.generations.iter().any(|other| other.standing == Standing::Serving);
        match standing {
            Standing::Starting { .. } if others => self.give_up(place, why),
            Standing::Starting { .. } | Standing::Serving => {
                message::log(Level::Error, format_args!("{why}; stopping"));
                self.stop(Manner::Gracefully, 1);
            }
            Standing::Leaving { .. } => (),
        }
    }

    /// What time, or all that came, has made due.
    fn look(&mut self) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.until <= self.now) {
            trial.give_up();
        }
        if let Life::Stopping { manner, until, status } = self.life {
            if until <= self.now {
                self.stop_more_plainly(manner, status);
            }
            self.notifier.tick(self.now);
            return;
        }
        for place in 0..self.generations.len() {
            match self.generations[place].standing {
                Standing::Starting { .. } if self.generations[place].is_ready() => {
                    self.all_ready(place);
                }
                Standing::Starting { until } if until <= self.now => {
                    self.fail(place, "its processes were not ready in time");
                }
                Standing::Leaving { until } if until <= self.now => {
                    self.generations[place].kill(self.now);
                }
                Standing::Starting { .. } | Standing::Serving | Standing::Leaving { .. } => (),
            }
        }
        self.gather();
        self.begin_remembered_reload();
        self.tell_status();
    }

    /// Adds what the generations before it have counted to the one that serves, and forgets those of
    /// which nothing is left.
    fn gather(&mut self) {
        let serving = self.generations.iter().find(|one| one.standing == Standing::Serving);
        if let Some(origin) = serving.and_then(|generation| generation.origin.as_ref()) {
            for other in &self.generations {
                if let (Standing::Leaving { .. }, Some(older)) = (other.standing, &other.origin) {
                    origin.segment.absorb(&older.segment);
                }
            }
        }
        self.generations.retain(|generation| {
            !matches!(generation.standing, Standing::Leaving { .. })
                || !generation.children.is_empty()
        });
    }

    fn stop_more_plainly(&mut self, manner: Manner, status: u8) {
        let next = match manner {
            Manner::Gracefully => Manner::AtOnce,
            Manner::AtOnce | Manner::Killed => Manner::Killed,
        };
        // Those who were killed already are killed again, until they are gone.
        if manner == Manner::Killed {
            self.life = Life::Stopping { manner: Manner::AtOnce, until: self.now, status };
        }
        self.stop(next, status);
    }

    /// All processes of a generation serve: from now on it is the one.
    fn all_ready(&mut self, place: usize) {
        let workers = self.generations[place].workers;
        let number = self.generations[place].number;
        let is_first = !self.generations.iter().any(|other| other.standing == Standing::Serving);
        self.generations[place].standing = Standing::Serving;
        let Some(origin) = &self.generations[place].origin else { return };
        let listen = &origin.config.listen;
        self.listeners.spread(workers);
        // Before those who leave are told: they empty the queues of what only they still have.
        for group in self.listeners.remove_unwanted(listen) {
            (0..group.sockets.len())
                .for_each(|seat| self.notifier.unstore(&stored_name(group.configured, seat)));
        }
        for group in self.listeners.groups() {
            // Port 0 means another port in another life, and a shared socket is kept by others.
            if group.configured.port() != 0 && group.sockets[0].is_shared() {
                for (seat, socket) in group.sockets.iter().enumerate() {
                    use std::os::fd::AsFd;
                    self.notifier.store(&stored_name(group.configured, seat), socket.as_fd());
                }
            }
        }
        if is_first {
            message::log(Level::Info, format_args!("ready"));
        } else {
            self.reloads.done += 1;
            let summary = summary(workers, &self.listeners, &origin.config);
            message::log(
                Level::Notice,
                format_args!(
                    "reloaded: generation {number}, httplb {}: {summary}",
                    env!("CARGO_PKG_VERSION")
                ),
            );
        }
        self.outcome(Word::Reloaded, "");
        self.retire_others(place);
        self.publish();
        self.notifier.ready();
    }

    /// Tells the generation that served so far that it is replaced.
    fn retire_others(&mut self, place: usize) {
        let now = self.now;
        let others = self.generations.iter_mut().enumerate().filter(|(other, generation)| {
            *other != place && generation.standing == Standing::Serving
        });
        for (_, generation) in others {
            generation.leaves(now);
            for child in &generation.children {
                // It fails only if the process has just ended.
                let _ = process::signal(child.pid, Signal::Usr2);
            }
        }
    }

    /// Writes what operators want to know of the master where the others find it.
    pub(super) fn publish(&self) {
        for generation in &self.generations {
            let Some(origin) = &generation.origin else { continue };
            let numbers = [
                (ServiceCell::StartTime, self.started),
                (ServiceCell::Workers, generation.workers as u64),
                (ServiceCell::WorkerRestarts, self.restarts),
                (ServiceCell::ReloadsDone, self.reloads.done),
                (ServiceCell::ReloadsFailed, self.reloads.refused),
            ];
            for (cell, number) in numbers {
                origin.segment.set_service(cell, number);
            }
        }
    }

    fn tell_status(&mut self) {
        let serving = |generation: &&Generation| generation.standing == Standing::Serving;
        if let Some(generation) = self.generations.iter().find(serving)
            && self.notifier.is_heard()
        {
            let status = notify::status(generation.workers, generation.backends());
            self.notifier.set_status(status, self.now);
        }
        self.notifier.tick(self.now);
    }

    /// How long there is nothing to do unless something happens.
    fn timeout(&self) -> Option<Millis> {
        let mut next = self.notifier.deadline();
        let mut consider = |time: Micros| next = Some(next.map_or(time, |next| next.min(time)));
        if let Some(trial) = &self.trial {
            consider(trial.until);
        }
        match self.life {
            Life::Stopping { until, .. } => consider(until),
            Life::Running => {
                for generation in &self.generations {
                    match generation.standing {
                        Standing::Starting { until } => consider(until),
                        Standing::Leaving { until } => consider(until.min(self.now + GATHERING)),
                        Standing::Serving => (),
                    }
                    if generation.lacks_control() {
                        consider(generation.control_pause);
                    }
                }
                if self.fork_pause > self.now {
                    consider(self.fork_pause);
                }
            }
        }
        // A millisecond more, so that what is due is past when the wait is over.
        let wait = |time: Micros| Millis((time - self.now).millis().0.saturating_add(1));
        next.map(wait)
    }
}

/// Workers, addresses and pools, in a line.
pub fn summary(workers: usize, listeners: &Listeners<Listener>, config: &Config) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    let mut line = format!("{workers} worker{plural}, listening on");
    let mut separator = " ";
    for entry in 0..config.listen.len() {
        if let Some(group) = listeners.group(&config.listen, entry) {
            line.push_str(&format!("{separator}{}", group.sockets[0].address()));
            separator = ", ";
        }
    }
    for pool in &config.pools {
        let count = pool.backends.len();
        let noun = if count == 1 { "backend" } else { "backends" };
        line.push_str(&format!(", pool {}: {count} {noun}", pool.name));
    }
    line
}
