//! The master's loop: wait, then signals, what children say, ended children, what is due; and
//! first of all fork whoever is missing. That is the one place where the master forks: the child
//! leaves the loop there, and takes from the master what it needs.

use std::process::ExitCode;

use crate::mem::time::{Micros, Millis};
use crate::shared::Rotations;
use crate::sys::message::{self, Level};
use crate::sys::process::{self, Ended, Forked, Pid, User};
use crate::sys::{Channel, Doorbell, IoError, Listener, Poller, Signal, Signals, Tried};
use crate::sys::{clock, memory, random, reset_signals};

use super::birth::{self, Birth};
use super::doors::Doors;
use super::generation::{Child, Generation, Standing};
use super::handover::{Reloads, Role};
use super::listeners::Listeners;
use super::notify::{self, Notifier};
use super::reload::Identity;
use super::stop::{Life, Manner};
use super::trial::Trial;
use super::{StartError, files, ledger};

/// What is watched.
const SIGNALS: u64 = 0;
const BELL: u64 = 1;

/// What leaving generations count is added up so often.
const GATHERING: Micros = Micros::from_secs(1);
/// Where there are several generations, each is told so often what the others have in work.
const SPREADING: Micros = Micros(100_000);
/// When there can be no more processes, the next try is made after this time.
const FORK_PAUSE: Millis = Millis(1000);

/// That there is to be a reload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The control process that waits for the outcome.
    pub by: Option<Pid>,
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
    /// Where operators come in.
    pub(super) doors: Doors,
    /// The rotations of all generations.
    pub(super) rotations: memory::Shared,
    /// By number. At most one is starting, and at most one is serving.
    pub(super) generations: Vec<Generation>,
    /// Whom children become, if this is root.
    pub(super) user: Option<User>,
    pub(super) life: Life,
    pub(super) trial: Option<Trial>,
    /// The control process that waits for the outcome of the reload under way.
    pub(super) asked_by: Option<Pid>,
    /// Until when to wait for the control process of the generation before, if that still has its way.
    pub(super) handing_on: Option<Micros>,
    /// Another reload was asked for meanwhile.
    pub(super) wish: Option<Wish>,
    pub(super) reloads: Reloads,
    pub(super) restarts: u64,
    /// Microseconds since the epoch.
    pub(super) started: u64,
    fork_pause: Micros,
    /// When messages that were left out may be told again.
    untold_messages: Option<Micros>,
    /// When that was done last which takes longer.
    gathered: Micros,
    pub(super) now: Micros,
}

impl Master {
    /// One without anything that it could serve.
    pub fn new(
        identity: Identity,
        bell: Doorbell,
        rotations: Option<memory::Shared>,
    ) -> Result<Master, StartError> {
        // First, as what standard error leads to is opened anew: who is hidden may not do that.
        message::never_wait();
        process::hide_memory();
        random::prepare();
        reset_signals();
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let poller = Poller::new().map_err(StartError::at("epoll", Tried::Descriptor))?;
        poller
            .watch_signals(&signals, SIGNALS)
            .map_err(StartError::at("epoll", Tried::Descriptor))?;
        poller.watch_doorbell(&bell, BELL).map_err(StartError::at("epoll", Tried::Descriptor))?;
        let _ = process::no_new_privileges(); // Where a filter refuses it, the children say so.
        let now = clock::now();
        let rotations = match rotations {
            Some(rotations) => rotations,
            None => memory::share(Rotations::CELLS)
                .map_err(StartError::at("shared memory", Tried::Memory))?,
        };
        Ok(Master {
            identity,
            poller,
            signals,
            bell,
            notifier: Notifier::open(now),
            listeners: Listeners::default(),
            doors: Doors::default(),
            rotations,
            generations: Vec::new(),
            user: files::user_of_children(),
            life: Life::Running,
            trial: None,
            asked_by: None,
            handing_on: None,
            wish: None,
            reloads: Reloads::default(),
            restarts: 0,
            started: clock::wall().0,
            fork_pause: Micros(0),
            untold_messages: None,
            gathered: Micros(0),
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
            Life::Stopping { status, .. } if !is_left => {
                self.doors.remove_files();
                Some(Next::Over(status))
            }
            Life::Stopping { .. } | Life::Withdrawing { .. } | Life::Running => None,
        })
    }

    /// Forks whoever is missing. In the new process there is a birth to go on with.
    fn fill(&mut self) -> Option<Birth> {
        if self.life.is_stopping() || self.fork_pause > self.now {
            return None;
        }
        for place in 0..self.generations.len() {
            while let Some(role) = self.generations[place].missing(self.now) {
                match self.fork(place, role) {
                    Ok(None) => (),
                    Ok(birth) => return birth,
                    Err(error) => {
                        message::log(
                            Level::Error,
                            format_args!("another process: {}", error.when(Tried::Fork)),
                        );
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
                let child = Child { pid, role, channel, is_ready: false, is_closed: false };
                self.generations[place].children.push(child);
                Ok(None)
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Term | Signal::Quit => self.stop_when_it_may(),
            Signal::Int => match self.life {
                Life::Running | Life::Withdrawing { .. } => self.stop(Manner::AtOnce, 0),
                Life::Stopping { status, .. } => self.stop(Manner::AtOnce, status),
            },
            Signal::Hup => self.reload(Wish::default()),
            Signal::Usr1 => self.reopen_log(),
            // Who has ended is looked for after every wait.
            Signal::Chld => (),
            // It is the master's to children.
            Signal::Usr2 => (),
        }
    }

    fn listen_to_children(&mut self) {
        let mut by = None;
        for generation in &mut self.generations {
            let (wants_reload, has_more) = generation.hear();
            by = wants_reload.or(by);
            if has_more {
                self.bell.ring(); // The rest has its turn after everybody else's.
            }
        }
        if by.is_some() {
            self.reload(Wish { by });
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
        if self.life.is_stopping() || matches!(standing, Standing::Leaving { .. }) {
            return;
        }
        let name = child.name();
        if standing != Standing::Serving && !child.is_ready && matches!(ended, Ended::Exited(_)) {
            // It has said itself why it could not start, and the next could not either.
            return self.fail(place, &format!("{name} could not start"));
        }
        let generation = &mut self.generations[place];
        if generation.origin.is_none() {
            message::log(Level::Error, format_args!("{name} {ended}"));
            if !generation.has_workers() {
                self.fail(place, "no worker is left, and none can be made of another version's");
            }
            return;
        }
        message::log(Level::Error, format_args!("{name} {ended}; another takes its place"));
        match child.role {
            Role::Control => (),
            Role::Worker(_) => {
                self.restarts += 1;
                if generation.ledger.note(self.now) {
                    self.fail(place, &ledger::too_many());
                }
                self.publish();
            }
        }
    }

    /// A generation cannot go on. If it was to replace another, that one goes on, and else the
    /// service is over.
    fn fail(&mut self, place: usize, why: &str) {
        let standing = self.generations[place].standing;
        let is_served = self.generations.iter().any(|other| other.standing == Standing::Serving);
        match standing {
            Standing::Starting { .. } if is_served => self.give_up(place, why),
            // Another one is about to take its place.
            Standing::Serving if self.is_starting() => (),
            Standing::Starting { .. } | Standing::Serving => {
                message::log(Level::Error, format_args!("{why}; stopping"));
                self.stop(Manner::Gracefully, 1);
            }
            Standing::Leaving { .. } => (),
        }
    }

    /// Whether a generation is not ready yet.
    pub(super) fn is_starting(&self) -> bool {
        self.generations.iter().any(|one| matches!(one.standing, Standing::Starting { .. }))
    }

    /// What time, or all that came, has made due.
    fn look(&mut self) {
        self.untold_messages = message::tick(self.now);
        self.count_dropped_messages();
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.until <= self.now) {
            trial.give_up();
        }
        self.spread_holdings();
        if let Life::Stopping { manner, until, status } = self.life {
            if until <= self.now {
                self.stop_more_plainly(manner, status);
            }
            self.notifier.tick(self.now);
            return;
        }
        if let Life::Withdrawing { until } = self.life
            && until <= self.now
        {
            return self.stop(Manner::Gracefully, 0);
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
        self.try_to_hand_on();
        // What takes longer is not done each time that the generations are told of each other.
        if !self.poller.events().is_empty() || self.gathered + GATHERING <= self.now {
            self.gathered = self.now;
            self.spread_states();
            self.gather();
        }
        self.begin_remembered_reload();
        self.tell_status();
    }

    fn tell_status(&mut self) {
        let serving = |generation: &&Generation| generation.standing == Standing::Serving;
        let serving = self.generations.iter().find(serving);
        if let Some(generation) = serving.filter(|_| self.notifier.is_heard()) {
            let status = notify::status(generation.workers, generation.backends());
            let is_withdrawn = generation.is_withdrawn();
            let status = if is_withdrawn { format!("withdrawn, {status}") } else { status };
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
        for time in [self.handing_on, self.untold_messages].into_iter().flatten() {
            consider(time);
        }
        if let Life::Withdrawing { until } = self.life {
            consider(until);
        }
        match self.life {
            Life::Stopping { until, .. } => consider(until),
            Life::Running | Life::Withdrawing { .. } => {
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
        if self.generations.iter().filter(|generation| generation.has_workers()).count() > 1 {
            consider(self.now + SPREADING);
        }
        // A millisecond more, so that what is due is past when the wait is over.
        let wait = |time: Micros| Millis((time - self.now).millis().0.saturating_add(1));
        next.map(wait)
    }
}
