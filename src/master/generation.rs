//! A generation: the processes of one configuration, and what they have in common.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{self, Config, ErrorPageFile, Overrides, Timeouts};
use crate::mem::time::{Micros, Millis};
use crate::policy::sticky::Key;
use crate::shared::ipc::ControlMessage;
use crate::shared::wakers::Wakers;
use crate::shared::{Layout, Rotations, Segment};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid};
use crate::sys::{Channel, IoError, Waker, memory};
use crate::worker::sticky_key;

use super::cache_shm::{self, CacheRecord, SharedCache};
use super::handover::{ExportedFds, FdNumber};
use super::helpers::{HelperLine, HelperRole, LineRecord};
use super::restart_limit::RestartLimit;

/// A process that was asked to end gracefully may take so much longer than it was told.
const GRACE: Millis = Millis::from_secs(5);

/// Messages of a process that are heard in a turn: one that goes on and on keeps the master from
/// nothing else.
const MESSAGES: usize = 16;

/// How far a generation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all of its processes serve yet.
    Starting {
        /// By when they must serve.
        until: Micros,
    },
    /// Clients come to this generation.
    Serving,
    /// Its processes were asked to end.
    Leaving {
        /// When the processes that are left are killed.
        until: Micros,
    },
}

/// The processes of one configuration.
pub struct Generation {
    /// The first is 1.
    pub number: u64,
    /// How many workers it is to have.
    pub workers: usize,
    /// How far it has come.
    pub phase: Phase,
    /// What its processes are made of. None if it was handed over by a version of the program whose
    /// cells mean something else: then its processes cannot be replaced.
    pub resources: Option<GenerationResources>,
    /// Those of its processes that run.
    pub children: Vec<Child>,
    /// The deaths of its workers.
    pub restart_limit: RestartLimit,
    /// Processes other than workers that are not started before some time.
    pub pauses: Vec<(ChildRole, Micros)>,
}

/// A generation as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// The first is 1.
    pub number: u64,
    /// How many workers it is to have.
    pub workers: usize,
    /// The effective configuration, a whole file.
    pub config: String,
    /// The files that it names, as they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// When those of its processes that are left are killed, on the monotonic clock, if they were
    /// asked to end.
    #[serde(default)]
    pub leaves_until: Option<Micros>,
    /// The memory of its shared cells.
    pub segment: FdNumber,
    /// Its wakers: each worker's, then that of the control process.
    pub wakers: Vec<FdNumber>,
    /// What its sticky cookies are made with, in hexadecimal digits.
    pub sticky_key: String,
    /// What it shares with others about stored responses, if it stores any.
    #[serde(default)]
    pub stored: Option<CacheRecord>,
    /// Those of its processes that run.
    pub children: Vec<ChildRecord>,
    /// Its helpers that run. They stand apart, as an older version of the program knows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helpers: Vec<ChildRecord>,
    /// The lines between its helpers and the control process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineRecord>,
}

/// A file that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its path.
    pub path: PathBuf,
    /// What it said.
    pub text: String,
}

/// A process as it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRecord {
    /// Its number.
    pub pid: i32,
    /// What it does.
    pub role: ChildRole,
    /// The master's end of the channel to it.
    pub channel: FdNumber,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildRole {
    /// Carries traffic, in this worker.
    Worker(usize),
    /// Checks backends and answers operators.
    Control,
    /// Does something for the control process.
    Helper(HelperRole),
}

impl ChildRole {
    /// Whether it carries traffic.
    pub fn is_worker(self) -> bool {
        matches!(self, ChildRole::Worker(_))
    }

    /// Whether the service can do without it for a while.
    pub fn is_helper(self) -> bool {
        matches!(self, ChildRole::Helper(_))
    }
}

/// What the processes of a generation are made of.
pub struct GenerationResources {
    /// The configuration.
    pub config: Config,
    /// The shared cells.
    pub segment: Segment,
    /// The memory that they lie in.
    pub memory: memory::Shared,
    /// All wakers but the master's.
    pub wakers: Wakers,
    /// What its sticky cookies are made with.
    pub sticky_key: Key,
    /// What it shares with other generations about stored answers, if it stores any.
    pub stored: Option<SharedCache>,
    /// The lines between the control process and its helpers.
    pub lines: Vec<HelperLine>,
}

/// What a child takes of them.
pub struct ResourceParts {
    /// See there.
    pub config: Config,
    /// See there.
    pub segment: Segment,
    /// See there.
    pub wakers: Wakers,
    /// See there.
    pub sticky_key: Key,
    /// See there.
    pub stored: Option<SharedCache>,
    /// See there.
    pub lines: Vec<HelperLine>,
}

/// A process.
pub struct Child {
    /// Its number.
    pub pid: Pid,
    /// What it does.
    pub role: ChildRole,
    /// This end of the line to it.
    pub channel: Channel,
    /// Whether it has said that it serves.
    pub is_ready: bool,
    /// Whether it has said that it changes nothing any more.
    pub is_closed: bool,
}

impl FileRecord {
    fn of(page: &ErrorPageFile) -> FileRecord {
        FileRecord { path: page.path.clone(), text: page.html.clone() }
    }
}

impl GenerationResources {
    /// Makes the cells and wakers for `config`. Those about stored answers go on as they were
    /// `before`, if they can, and so do the rotations.
    pub fn new(
        mut config: Config,
        workers: usize,
        sticky_key: Key,
        rotations: Rotations,
        before: &[Generation],
    ) -> Result<GenerationResources, IoError> {
        let caches = before.iter().filter_map(|one| one.resources.as_ref()?.stored.as_ref());
        let caches: Vec<&SharedCache> = caches.collect();
        let lock = cache_shm::lock(&mut config, &caches, before.is_empty());
        let layout = Layout::new(&config, workers);
        let memory = memory::share(layout.cells())?;
        let mut segment = Segment::create(memory.cells(), layout).sharing(rotations);
        segment.load_config(&config);
        if let Some(older) = before.last().and_then(|last| last.resources.as_ref()) {
            segment.continue_rotations(older.segment);
        }
        let cache = config.cache.as_ref();
        let stored = cache.map(|cache| SharedCache::new(cache, workers, &caches)).transpose()?;
        let stored = stored.map(|common| common.locked_by(lock));
        let wakers = match &stored {
            Some(common) => common.wakers()?,
            None => Wakers::new(workers)?,
        };
        let lines = HelperLine::all(&config)?;
        Ok(GenerationResources { config, segment, memory, wakers, sticky_key, stored, lines })
    }

    /// For a worker: what it has no business to change it cannot change, whoever may have taken it
    /// over.
    pub fn protect_settings(&self) -> Result<(), IoError> {
        self.memory.protect(self.segment.layout().settings())
    }

    /// For a child: the cells stay mapped, and their memory needs no descriptor any more.
    pub fn into_parts(self) -> ResourceParts {
        let GenerationResources { config, segment, memory: _, wakers, sticky_key, stored, lines } =
            self;
        ResourceParts { config, segment, wakers, sticky_key, stored, lines }
    }

    /// Takes those of a generation that was handed over. Fails where the configuration or the cells
    /// are of a version that this one does not understand.
    fn import(
        record: &GenerationRecord,
        rotations: Rotations,
    ) -> Result<GenerationResources, String> {
        let memory = memory::from_fd(record.segment.take()?);
        let memory = memory.map_err(|error| error.to_string())?;
        let read_file = |path: &Path, _| {
            let file = record.files.iter().find(|file| file.path == path);
            Ok(file.map(|file| file.text.clone()).unwrap_or_default())
        };
        let config = config::load_with(&record.config, &Overrides::default(), &read_file);
        let config = config.map_err(|_| "its configuration is not understood")?.config;
        let segment = Segment::open(memory.cells()).ok_or("its cells are not understood")?;
        let segment = segment.sharing(rotations);
        let wakers = record.wakers.iter().map(|waker| waker.take().map(Waker::from_fd));
        let mut wakers = wakers.collect::<Result<Vec<_>, _>>()?;
        let control = wakers.pop().ok_or("it has no wakers")?;
        if wakers.len() != record.workers || segment.layout().workers != record.workers {
            return Err(String::from("its workers are not as many as was said"));
        }
        let sticky_key = sticky_key::from_text(&record.sticky_key).ok_or("it has no sticky key")?;
        let stored = record.stored.as_ref().zip(config.cache.as_ref());
        let stored =
            stored.and_then(|(record, cache)| SharedCache::import(record, cache, wakers.len()));
        let wakers = match &stored {
            // They are the same, and those of the others too.
            Some(common) => common.wakers().map_err(|error| error.to_string())?,
            None => Wakers { wakers, control, neighbours: Vec::new() },
        };
        let lines = match record.lines.is_empty() {
            true => HelperLine::all(&config).map_err(|error| error.to_string())?,
            false => record.lines.iter().map(HelperLine::import).collect::<Result<_, _>>()?,
        };
        Ok(GenerationResources { config, segment, memory, wakers, sticky_key, stored, lines })
    }

    /// What a process of that role had is free, and who waited for it does so no more.
    fn reap(&self, role: ChildRole) {
        let workers = self.segment.layout().workers;
        let number = match role {
            ChildRole::Worker(worker) => {
                self.segment.reap(worker);
                self.wakers.wake_waiting(&self.segment);
                worker
            }
            ChildRole::Control => workers,
            ChildRole::Helper(_) => return, // It had nothing of that.
        };
        if let Some(common) = &self.stored {
            common.reap(number, &self.wakers);
        }
    }
}

impl Generation {
    /// A generation whose processes are to be started, by `until`.
    pub fn new(
        number: u64,
        resources: GenerationResources,
        workers: usize,
        until: Micros,
    ) -> Generation {
        Generation {
            number,
            workers,
            phase: Phase::Starting { until },
            resources: Some(resources),
            children: Vec::new(),
            restart_limit: RestartLimit::default(),
            pauses: Vec::new(),
        }
    }

    /// Takes one that was handed over. What cannot be understood of it is told to `note`.
    pub fn import(
        record: &GenerationRecord,
        rotations: Rotations,
        note: impl FnOnce(String),
    ) -> Generation {
        let resources = GenerationResources::import(record, rotations);
        let mut children = Vec::new();
        for child in record.children.iter().chain(&record.helpers) {
            // Without its line a process still can be told to end.
            let channel = child.channel.take().map(Channel::from_fd);
            let channel = channel.or_else(|_| Channel::pair().map(|(one, _)| one));
            let Ok(channel) = channel else { continue };
            let Some(pid) = Pid::new(child.pid) else { continue };
            children.push(Child {
                pid,
                role: child.role,
                channel,
                is_ready: true,
                is_closed: false,
            });
        }
        let phase = match record.leaves_until {
            Some(until) => Phase::Leaving { until },
            None => Phase::Serving,
        };
        Generation {
            number: record.number,
            workers: record.workers,
            phase,
            resources: resources.map_err(note).ok(),
            children,
            restart_limit: RestartLimit::default(),
            pauses: Vec::new(),
        }
    }

    /// What is handed over of it.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<GenerationRecord, IoError> {
        let mut record = GenerationRecord {
            number: self.number,
            workers: self.workers,
            leaves_until: match self.phase {
                Phase::Leaving { until } => Some(until),
                Phase::Starting { .. } | Phase::Serving => None,
            },
            config: String::new(),
            files: Vec::new(),
            segment: FdNumber::NONE,
            wakers: Vec::new(),
            sticky_key: String::new(),
            stored: None,
            children: Vec::new(),
            helpers: Vec::new(),
            lines: Vec::new(),
        };
        if let Some(resources) = &self.resources {
            record.config = resources.config.dump();
            record.files = resources.config.error_pages.iter().map(FileRecord::of).collect();
            record.sticky_key = sticky_key::to_text(&resources.sticky_key);
            record.segment = exported.keep(&resources.memory)?;
            for waker in resources.wakers.wakers.iter().chain([&resources.wakers.control]) {
                record.wakers.push(exported.keep(waker)?);
            }
            record.stored =
                resources.stored.as_ref().map(|common| common.export(exported)).transpose()?;
            for line in &resources.lines {
                record.lines.push(line.export(exported)?);
            }
        }
        for child in &self.children {
            let channel = exported.keep(&child.channel)?;
            let (pid, role) = (child.pid.number(), child.role);
            let list = if role.is_helper() { &mut record.helpers } else { &mut record.children };
            list.push(ChildRecord { pid, role, channel });
        }
        Ok(record)
    }

    /// The processes that it should have and does not, the control process and its helpers first.
    ///
    /// Where backends come by what a helper finds out, the first workers wait until the control process
    /// has heard of it, or is tired of waiting: meanwhile clients stand in the queues of the listeners.
    pub fn missing(&self, now: Micros) -> Option<ChildRole> {
        let is_due = |role: &ChildRole| self.pause_of(*role) <= now;
        if let Some(role) = self.lacks().find(is_due) {
            return Some(role);
        }
        let resources = self.resources.as_ref().filter(|_| !self.is_leaving())?;
        let is_first = matches!(self.phase, Phase::Starting { .. });
        if is_first && !resources.lines.is_empty() && !self.is_control_ready() {
            return None;
        }
        (0..self.workers).map(ChildRole::Worker).find(|role| !self.has(*role))
    }

    /// Processes beside the workers that are to be started, now or later.
    fn lacks(&self) -> impl Iterator<Item = ChildRole> {
        let resources = self.resources.as_ref().filter(|_| !self.is_leaving());
        let lines = resources.into_iter().flat_map(|resources| &resources.lines);
        let control = resources.map(|_| ChildRole::Control);
        let all = control.into_iter().chain(lines.map(|line| ChildRole::Helper(line.role)));
        all.filter(|role| !self.has(*role))
    }

    /// When the next of these is to be started, if any is missing.
    pub fn next_start(&self) -> Option<Micros> {
        self.lacks().map(|role| self.pause_of(role)).min()
    }

    fn pause_of(&self, role: ChildRole) -> Micros {
        let pause = self.pauses.iter().find(|(paused, _)| *paused == role);
        pause.map_or(Micros(0), |(_, until)| *until)
    }

    fn has(&self, role: ChildRole) -> bool {
        self.children.iter().any(|child| child.role == role)
    }

    fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. })
    }

    fn is_control_ready(&self) -> bool {
        self.children.iter().any(|child| child.role == ChildRole::Control && child.is_ready)
    }

    /// Whether all of its processes serve that it cannot do without.
    pub fn is_ready(&self) -> bool {
        let mut needed = self.children.iter().filter(|child| !child.role.is_helper());
        needed.clone().count() == self.workers + 1 && needed.all(|child| child.is_ready)
    }

    /// Whether no operator can change anything there.
    pub fn is_closed(&self) -> bool {
        self.children.iter().all(|child| child.role != ChildRole::Control || child.is_closed)
    }

    /// Whether any of its workers lives.
    pub fn has_workers(&self) -> bool {
        self.children.iter().any(|child| child.role.is_worker())
    }

    /// Hears what its processes say, a few messages of each. Whether one of them wants the service to
    /// be reloaded, and whether more may be there.
    pub fn read_messages(&mut self) -> (Option<Pid>, bool) {
        let (mut wants_reload, mut has_more) = (None, false);
        let mut hung = Vec::new();
        for child in &mut self.children {
            for count in 1..=MESSAGES {
                let Some(message) = child.channel.receive() else { break };
                has_more |= count == MESSAGES;
                match ControlMessage::parse(&message.text) {
                    Some((ControlMessage::Ready, _)) => child.is_ready = true,
                    Some((ControlMessage::Closed, _)) => child.is_closed = true,
                    Some((ControlMessage::Reload, _)) if child.role == ChildRole::Control => {
                        wants_reload = Some(child.pid);
                    }
                    Some((ControlMessage::Hung, word)) if child.role == ChildRole::Control => {
                        hung.extend(HelperRole::of_word(word));
                    }
                    // None is of another version of the program.
                    Some((
                        ControlMessage::Reload
                        | ControlMessage::Hung
                        | ControlMessage::Log
                        | ControlMessage::Reloaded
                        | ControlMessage::Refused,
                        _,
                    ))
                    | None => {}
                }
            }
        }
        hung.into_iter().for_each(|role| self.end_hung(role));
        (wants_reload, has_more)
    }

    /// Ends a helper that the control process has not heard of for too long. Another takes its place.
    fn end_hung(&self, role: HelperRole) {
        for child in self.children.iter().filter(|child| child.role == ChildRole::Helper(role)) {
            log::write(Level::Error, format_args!("{} does not answer; it is ended", child.name()));
            // It fails only if the process has just ended.
            let _ = process::kill(child.pid);
        }
    }

    /// Takes out a process that has ended, and gives back what it had. None if it is not one of
    /// these.
    pub fn reap(&mut self, pid: Pid, now: Micros) -> Option<Child> {
        let place = self.children.iter().position(|child| child.pid == pid)?;
        let child = self.children.remove(place);
        if let Some(resources) = &self.resources {
            resources.reap(child.role);
        }
        match child.role {
            ChildRole::Control | ChildRole::Helper(_) => {
                self.pauses.retain(|(role, _)| *role != child.role);
                self.pauses.push((child.role, now + Micros::from_secs(1)));
            }
            ChildRole::Worker(_) => (),
        }
        Some(child)
    }

    /// From now on its processes are expected to end, within `limit` and a bit more. If they were
    /// expected to before, then by the earlier time.
    /// Whether that is news.
    pub fn begin_leaving(&mut self, limit: fn(&Timeouts) -> Millis, now: Micros) -> bool {
        let limit = self.resources.as_ref().map(|resources| limit(&resources.config.timeouts));
        // Of a generation that is not understood nobody knows how long it may take.
        let limit = limit.unwrap_or(Millis::from_secs(3600));
        let latest = now + Micros::from(limit + GRACE);
        let is_sooner = match self.phase {
            Phase::Leaving { until } => latest < until,
            Phase::Starting { .. } | Phase::Serving => true,
        };
        if is_sooner {
            self.phase = Phase::Leaving { until: latest };
        }
        is_sooner
    }

    /// Whether it was replaced, and some of its workers still have something in work.
    pub fn is_retired(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. }) && self.has_workers()
    }

    /// Kills those of its processes that are left.
    pub fn kill(&mut self, now: Micros) {
        for child in &self.children {
            // It fails only if the process has just ended.
            let _ = process::kill(child.pid);
        }
        self.phase = Phase::Leaving { until: now + Micros::from_secs(1) };
    }

    /// How many backends are up, and how many there are.
    pub fn backends(&self) -> (usize, usize) {
        let Some(resources) = &self.resources else { return (0, 0) };
        let counts = resources.segment.pools().map(|pool| resources.segment.count_up(pool));
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }

    /// Whether the service is withdrawn, as far as its processes know.
    pub fn is_withdrawn(&self) -> bool {
        self.resources.as_ref().is_some_and(|resources| resources.segment.is_withdrawn())
    }

    /// Clients that are connected.
    pub fn clients(&self) -> u32 {
        self.resources.as_ref().map_or(0, |resources| resources.segment.own_clients())
    }
}

impl Child {
    /// As the log calls it.
    pub fn name(&self) -> String {
        match self.role {
            ChildRole::Worker(worker) => format!("worker {worker} (pid {})", self.pid),
            ChildRole::Control => format!("the control process (pid {})", self.pid),
            ChildRole::Helper(role) => format!("{} (pid {})", role.title(), self.pid),
        }
    }
}
