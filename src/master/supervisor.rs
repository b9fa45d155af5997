//! The master's loop: wait, then signals, what children say, ended children, what is due; and
//! first of all fork whoever is missing. That is the one place where the master forks: the child
//! leaves the loop there, and takes from the master what it needs.

use std::process::ExitCode;

use crate::mem::time::{Micros, Millis};
use crate::shared::Rotations;
use crate::shared::diary::Diary;
use crate::shared::history::History;
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Ended, Forked, Pid};
use crate::sys::{Channel, IoError, Poller, Signal, Signals, StartError, Tried, Waker};
use crate::sys::{clock, memory, random, reset_signals};

use super::admin_sockets::AdminSockets;
use super::child_init::{self, NewChild};
use super::generation::{Child, ChildRole, Generation, Phase};
use super::image::ImageIdentity;
use super::listeners::Listeners;
use super::notify::{self, Notifier};
use super::record::Reloads;
use super::saved::SavedBackends;
use super::state::{Master, ReloadRequest, ShutdownState, StopMode};
use super::{log_files, restart_limit};

/// What is watched.
const SIGNALS: u64 = 0;
const WAKER: u64 = 1;

/// What leaving generations count is added up so often.
const MERGE_INTERVAL: Micros = Micros::from_secs(1);
/// Cells that are protected together: pages, of 64 KiB where they are largest.
const PROTECTED: usize = 64 * 1024 / size_of::<u64>();

/// Where there are several generations, each is told so often what the others have in work.
const SPREAD_INTERVAL: Micros = Micros(100_000);
/// When there can be no more processes, the next try is made after this time.
const FORK_PAUSE: Millis = Millis(1000);

/// Cells that outlive generations, from the image before this one, as far as there was one and it had
/// them.
#[derive(Default)]
pub struct InheritedCells {
    /// See [`Rotations`].
    pub rotations: Option<memory::Shared>,
    /// See [`History`].
    pub history: Option<memory::Shared>,
    /// See [`Diary`].
    pub diary: Option<memory::Shared>,
}

/// The cells that were inherited, if there are so many, or new ones.
fn cells(inherited: Option<memory::Shared>, count: usize) -> Result<memory::Shared, StartError> {
    match inherited.filter(|inherited| inherited.cells().len() == count) {
        Some(inherited) => Ok(inherited),
        None => memory::share(count).map_err(StartError::at("shared memory", Tried::Memory)),
    }
}

/// What comes after a turn, if not another one.
pub enum NextStep {
    /// This is a new process.
    Child(NewChild),
    /// The service has ended.
    Exit(u8),
}

impl Master {
    /// A master with nothing to serve yet.
    pub fn new(
        identity: ImageIdentity,
        waker: Waker,
        inherited: InheritedCells,
    ) -> Result<Master, StartError> {
        // First, as what standard error leads to is opened anew: who is hidden may not do that.
        log::never_wait();
        process::hide_memory();
        random::prepare();
        reset_signals();
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let poller = Poller::new().map_err(StartError::at("epoll", Tried::Descriptor))?;
        poller
            .watch_signals(&signals, SIGNALS)
            .map_err(StartError::at("epoll", Tried::Descriptor))?;
        poller.watch_waker(&waker, WAKER).map_err(StartError::at("epoll", Tried::Descriptor))?;
        let _ = process::no_new_privileges(); // Where a filter refuses it, the children say so.
        let now = clock::now();
        let rotations = cells(inherited.rotations, Rotations::CELLS)?;
        let history = cells(inherited.history, History::CELLS.next_multiple_of(PROTECTED))?;
        let diary = cells(inherited.diary, Diary::CELLS)?;
        log::keep_in(Diary::over(diary.cells()).messages);
        Ok(Master {
            identity,
            poller,
            signals,
            waker,
            notifier: Notifier::open(now),
            listeners: Listeners::default(),
            admin_sockets: AdminSockets::default(),
            rotations,
            history,
            diary,
            generations: Vec::new(),
            user: log_files::user_of_children(),
            shutdown: ShutdownState::Running,
            trial: None,
            asked_by: None,
            takeover_until: None,
            next_reload: None,
            reloads: Reloads::default(),
            refused: None,
            restarts: 0,
            started: clock::wall().0,
            fork_pause: Micros(0),
            messages_due: None,
            saved: [SavedBackends::of_api(), SavedBackends::of_registry()],
            save_due: None,
            merged: Micros(0),
            now,
        })
    }

    /// Lives to the end of the service, or of the child that this process becomes.
    pub fn run(mut self) -> ExitCode {
        loop {
            match self.turn() {
                Ok(None) => (),
                Ok(Some(NextStep::Child(new_child))) => return child_init::run(self, new_child),
                Ok(Some(NextStep::Exit(status))) => return ExitCode::from(status),
                Err(error) => {
                    // The children learn of it, and end gracefully.
                    log::write(Level::Error, format_args!("epoll: {error}"));
                    return ExitCode::FAILURE;
                }
            }
        }
    }

    fn turn(&mut self) -> Result<Option<NextStep>, IoError> {
        if let Some(new_child) = self.spawn_missing() {
            return Ok(Some(NextStep::Child(new_child)));
        }
        self.poller.wait(self.timeout())?;
        self.now = clock::now();
        self.waker.clear();
        while let Some(signal) = self.signals.next() {
            self.signal(signal);
        }
        self.listen_to_children();
        while let Some((pid, ended)) = process::reap() {
            self.reaped(pid, ended);
        }
        self.check_deadlines();
        let is_left = self.trial.is_some()
            || self.generations.iter().any(|generation| !generation.children.is_empty());
        Ok(match self.shutdown {
            ShutdownState::Stopping { status, .. } if !is_left => {
                self.save_backends(true);
                self.admin_sockets.remove_files();
                Some(NextStep::Exit(status))
            }
            ShutdownState::Stopping { .. }
            | ShutdownState::Withdrawing { .. }
            | ShutdownState::Running => None,
        })
    }

    /// Forks whoever is missing. In the new process it returns what that one begins with.
    fn spawn_missing(&mut self) -> Option<NewChild> {
        if self.shutdown.is_stopping() || self.fork_pause > self.now {
            return None;
        }
        for place in 0..self.generations.len() {
            while let Some(role) = self.generations[place].missing(self.now) {
                match self.fork(place, role) {
                    Ok(None) => (),
                    Ok(new_child) => return new_child,
                    Err(error) => {
                        log::write(
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

    fn fork(&mut self, place: usize, role: ChildRole) -> Result<Option<NewChild>, IoError> {
        let (channel, other_end) = Channel::pair()?;
        let parent = Pid::own();
        match process::fork()? {
            Forked::Child => Ok(Some(NewChild { place, role, channel: other_end, parent })),
            Forked::Parent(pid) => {
                let child = Child { pid, role, channel, is_ready: false, is_closed: false };
                self.generations[place].children.push(child);
                Ok(None)
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Term | Signal::Quit => self.stop_gracefully(),
            Signal::Int => match self.shutdown {
                ShutdownState::Running | ShutdownState::Withdrawing { .. } => {
                    self.stop(StopMode::AtOnce, 0)
                }
                ShutdownState::Stopping { status, .. } => self.stop(StopMode::AtOnce, status),
            },
            Signal::Hup => self.reload(ReloadRequest::default()),
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
            let (wants_reload, has_more) = generation.read_messages();
            by = wants_reload.or(by);
            if has_more {
                self.waker.wake(); // The rest has its turn after everybody else's.
            }
        }
        if by.is_some() {
            self.reload(ReloadRequest { by });
        }
    }

    fn reaped(&mut self, pid: Pid, ended: Ended) {
        if let Some(trial) = self.trial.take_if(|trial| trial.pid == pid) {
            return self.on_trial_end(trial, ended);
        }
        for place in 0..self.generations.len() {
            if let Some(child) = self.generations[place].reap(pid, self.now) {
                return self.on_child_end(place, &child, ended);
            }
        }
    }

    /// A process has ended, perhaps as it should.
    fn on_child_end(&mut self, place: usize, child: &Child, ended: Ended) {
        let phase = self.generations[place].phase;
        if self.shutdown.is_stopping() || matches!(phase, Phase::Leaving { .. }) {
            return;
        }
        let name = child.name();
        let is_needed = !child.role.is_helper();
        if phase != Phase::Serving
            && !child.is_ready
            && is_needed
            && matches!(ended, Ended::Exited(_))
        {
            // It has said itself why it could not start, and the next could not either.
            return self.fail(place, &format!("{name} could not start"));
        }
        let generation = &mut self.generations[place];
        if generation.resources.is_none() {
            log::write(Level::Error, format_args!("{name} {ended}"));
            if !generation.has_workers() {
                self.fail(place, "no worker is left, and none can be made of another version's");
            }
            return;
        }
        log::write(Level::Error, format_args!("{name} {ended}; another takes its place"));
        match child.role {
            ChildRole::Control | ChildRole::Helper(_) => (),
            ChildRole::Worker(_) => {
                self.restarts += 1;
                if generation.restart_limit.note(self.now) {
                    self.fail(place, &restart_limit::too_many());
                }
                self.publish();
            }
        }
    }

    /// A generation cannot go on. If it was to replace another, that one goes on, and else the
    /// service is over.
    fn fail(&mut self, place: usize, why: &str) {
        let phase = self.generations[place].phase;
        let is_served = self.generations.iter().any(|other| other.phase == Phase::Serving);
        match phase {
            Phase::Starting { .. } if is_served => self.give_up(place, why),
            // Another one is about to take its place.
            Phase::Serving if self.is_starting() => (),
            Phase::Starting { .. } | Phase::Serving => {
                log::write(Level::Error, format_args!("{why}; stopping"));
                self.stop(StopMode::Gracefully, 1);
            }
            Phase::Leaving { .. } => (),
        }
    }

    /// Whether a generation is not ready yet.
    pub(super) fn is_starting(&self) -> bool {
        self.generations.iter().any(|one| matches!(one.phase, Phase::Starting { .. }))
    }

    /// What time, or all that came, has made due.
    fn check_deadlines(&mut self) {
        self.messages_due = log::tick(self.now);
        self.count_dropped_messages();
        self.save_backends(false);
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.until <= self.now) {
            trial.give_up();
        }
        self.spread_holdings();
        if let ShutdownState::Stopping { mode, until, status } = self.shutdown {
            if until <= self.now {
                self.escalate_stop(mode, status);
            }
            self.notifier.tick(self.now);
            return;
        }
        if let ShutdownState::Withdrawing { until } = self.shutdown
            && until <= self.now
        {
            return self.stop(StopMode::Gracefully, 0);
        }
        for place in 0..self.generations.len() {
            match self.generations[place].phase {
                Phase::Starting { .. } if self.generations[place].is_ready() => {
                    self.all_ready(place);
                }
                Phase::Starting { until } if until <= self.now => {
                    self.fail(place, "its processes were not ready in time");
                }
                Phase::Leaving { until } if until <= self.now => {
                    self.generations[place].kill(self.now);
                }
                Phase::Starting { .. } | Phase::Serving | Phase::Leaving { .. } => (),
            }
        }
        self.try_to_take_over();
        // What takes longer is not done each time that the generations are told of each other.
        if !self.poller.events().is_empty() || self.merged + MERGE_INTERVAL <= self.now {
            self.merged = self.now;
            self.spread_states();
            self.merge_counters();
        }
        self.begin_remembered_reload();
        self.update_status();
    }

    /// Has the file of those who have registered say who that is. While another generation takes the place of
    /// one, only the one before knows all of them.
    fn save_backends(&mut self, is_last: bool) {
        if self.takeover_until.is_some() && !is_last {
            return;
        }
        let serving = self.generations.iter().find(|one| one.phase == Phase::Serving);
        let stopping = self.generations.last().filter(|_| self.shutdown.is_stopping());
        let known = serving.or(stopping).and_then(|one| one.resources.as_ref());
        let Some(resources) = known else { return };
        let cells = (resources.segment, &resources.config);
        let mut has_more = false;
        for file in &mut self.saved {
            has_more |= file.write(cells, self.now, clock::wall(), is_last);
        }
        self.save_due = has_more.then(|| self.now + SavedBackends::PAUSE);
    }

    fn update_status(&mut self) {
        let serving = |generation: &&Generation| generation.phase == Phase::Serving;
        let serving = self.generations.iter().find(serving);
        if let Some(generation) = serving.filter(|_| self.notifier.has_manager()) {
            let status = notify::status(generation.workers, generation.backends());
            let is_withdrawn = generation.is_withdrawn();
            let status = if is_withdrawn { format!("withdrawn, {status}") } else { status };
            let status = match &self.refused {
                Some(why) => format!("{status}; not reloaded: {}", notify::in_a_status(why)),
                None => status,
            };
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
        let saved = self.saved.iter().map(SavedBackends::next_deadline).chain([self.save_due]);
        for time in [self.takeover_until, self.messages_due].into_iter().chain(saved).flatten() {
            consider(time);
        }
        if let ShutdownState::Withdrawing { until } = self.shutdown {
            consider(until);
        }
        match self.shutdown {
            ShutdownState::Stopping { until, .. } => consider(until),
            ShutdownState::Running | ShutdownState::Withdrawing { .. } => {
                for generation in &self.generations {
                    match generation.phase {
                        Phase::Starting { until } => consider(until),
                        Phase::Leaving { until } => consider(until.min(self.now + MERGE_INTERVAL)),
                        Phase::Serving => (),
                    }
                    if let Some(start) = generation.next_start() {
                        consider(start);
                    }
                }
                if self.fork_pause > self.now {
                    consider(self.fork_pause);
                }
            }
        }
        if self.generations.iter().filter(|generation| generation.has_workers()).count() > 1 {
            consider(self.now + SPREAD_INTERVAL);
        }
        // A millisecond more, so that what is due is past when the wait is over.
        let wait = |time: Micros| Millis((time - self.now).millis().0.saturating_add(1));
        next.map(wait)
    }
}
