//! The start of the service, and of each generation: the very first, and those that replace another
//! in the new image of the program.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::cache::layout::MOST_WAITING;
use crate::cache::store::{HELD, RECORDINGS};
use crate::config::{Config, ConfigFile};
use crate::mem::time::{Micros, Millis};
use crate::proxy::buffers::doubt_splicing;
use crate::proxy::settings::{BACKGROUND, memory_bound_line};
use crate::shared::{Rotations, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid};
use crate::sys::{StartError, Tried, Waker, clock, memory};
use crate::worker::sticky_key;

use super::admin_sockets::AdminSockets;
use super::generation::{Generation, GenerationResources};
use super::handover::FdNumber;
use super::image::ImageIdentity;
use super::listeners::Listeners;
use super::record::ServiceRecord;
use super::saved::SavedBackends;
use super::state::{Master, ReloadRequest};
use super::supervisor::InheritedCells;
use super::takeover::summary;
use super::{backend_state, cpus, handover, helpers, inherited, log_files, warnings};

/// All processes of a generation must serve after this time.
const READY_TIMEOUT: Millis = Millis::from_secs(30);
/// A worker's descriptors beside connections: epoll, signals, standard streams, log, listeners.
const OTHER_DESCRIPTORS: u64 = 256;
/// Descriptors for stored responses: open entries, recordings, wakers of other generations, connections of
/// background revalidations.
const CACHE_DESCRIPTORS: u64 = (HELD + RECORDINGS + MOST_WAITING + BACKGROUND) as u64;

/// Serves, with the sockets that this process was given. In the children it returns too.
pub fn start(
    file: ConfigFile,
    is_standard_input: bool,
    passed: Vec<(String, OwnedFd)>,
) -> ExitCode {
    inherited::close_unnamed(Some(&file.config));
    run(Master::start(file, is_standard_input, passed))
}

/// Goes on with the service that the image before this one has handed over. `file` has the configuration
/// for a new generation; or it is the message with every error.
pub fn resume(
    file: Result<ConfigFile, String>,
    is_standard_input: bool,
    record: ServiceRecord,
) -> ExitCode {
    run(Master::resume(file, is_standard_input, record))
}

fn run(master: Result<Master, StartError>) -> ExitCode {
    match master {
        Ok(master) => master.run(),
        Err(error) => {
            log::write(Level::Error, format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

impl Master {
    fn start(
        file: ConfigFile,
        is_standard_input: bool,
        passed: Vec<(String, OwnedFd)>,
    ) -> Result<Master, StartError> {
        let waker = Waker::new().map_err(StartError::at("a waker", Tried::Descriptor))?;
        let mut master = Master::new(
            ImageIdentity::new(is_standard_input, None),
            waker,
            InheritedCells::default(),
        )?;
        master.listeners.take_passed(&file.config.listen, passed);
        let workers = cpus::workers(file.config.workers);
        let bound = memory_bound_line(&file.config, workers);
        let listen = file.config.clone();
        master.begin_generation(file)?;
        master.restore_saved();
        let summary = summary(workers, &master.listeners, &listen);
        log::line(Level::Info, format_args!("httplb {}: {summary}", env!("CARGO_PKG_VERSION")));
        log::write(Level::Info, format_args!("{bound}"));
        if let Some(sockets) = master.admin_sockets.summary() {
            log::write(Level::Info, format_args!("{sockets}"));
        }
        Ok(master)
    }

    /// Fails only where the image before was told wrong, for it has seen to all the rest.
    fn resume(
        file: Result<ConfigFile, String>,
        is_standard_input: bool,
        record: ServiceRecord,
    ) -> Result<Master, StartError> {
        let waker = Waker::from_fd(record.waker.take().map_err(handover::broken)?);
        let identity = ImageIdentity::new(is_standard_input, record.binary.clone());
        // Without them the next generation begins where the last one is, at this moment.
        let cells = |number: Option<FdNumber>| memory::from_fd(number?.take().ok()?).ok();
        let inherited = InheritedCells {
            rotations: cells(record.rotations),
            history: cells(record.history),
            diary: cells(record.diary),
        };
        let mut master = Master::new(identity, waker, inherited)?;
        master.listeners = Listeners::import(&record.listeners)?;
        master.admin_sockets = AdminSockets::import(&record.admin_sockets);
        let rotations = Rotations::over(master.rotations.cells());
        for generation in &record.generations {
            let note = |error: String| {
                log::write(
                    Level::Warning,
                    format_args!(
                        "generation {} cannot be gone on with, only ended: {error}",
                        generation.number
                    ),
                );
            };
            master.generations.push(Generation::import(generation, rotations, note));
        }
        master.notifier.import(&record.pending);
        inherited::close_unnamed(file.as_ref().ok().map(|file| &file.config));
        master.started = record.started;
        master.reloads = record.reloads;
        master.restarts = record.restarts;
        let by = record.again_by.and_then(Pid::new);
        master.next_reload = record.reload_again.then_some(ReloadRequest { by });
        master.asked_by = record.asked_by.and_then(Pid::new);
        let begun = match file {
            Ok(file) => master.begin_generation(file).map_err(|error| error.to_string()),
            Err(message) => Err(message),
        };
        match begun {
            Ok(()) => master.restore(&record),
            // The file has changed since it was tried, or names what cannot be tried.
            Err(why) => {
                master.rollback();
                master.refuse(&why);
            }
        }
        Ok(master)
    }

    /// Prepares a generation, whose processes the loop then forks.
    fn begin_generation(&mut self, file: ConfigFile) -> Result<(), StartError> {
        warnings::tell(&file);
        let config = file.config;
        let workers = cpus::workers(config.workers);
        raise_descriptor_limit(&config, self.own_descriptors(&config, workers));
        self.listeners.open(&config.listen, workers, self.user.as_ref())?;
        self.admin_sockets.open(&config, self.user.as_ref())?;
        log_files::prepare(&config, self.user.as_ref())?;
        doubt_splicing(workers);
        helpers::registry_password(&config)?;
        let before = self.generations.last().and_then(|last| last.resources.as_ref());
        let sticky_key = sticky_key::load(&config, before.map(|resources| resources.sticky_key));
        let rotations = Rotations::over(self.rotations.cells());
        let resources =
            GenerationResources::new(config, workers, sticky_key, rotations, &self.generations);
        let resources = resources.map_err(StartError::at("shared memory", Tried::Memory))?;
        let number = self.generations.last().map_or(1, |last| last.number + 1);
        let until = clock::now() + Micros::from(READY_TIMEOUT);
        self.generations.push(Generation::new(number, resources, workers, until));
        self.publish();
        self.spread_holdings();
        Ok(())
    }

    /// Tells the newest generation what is known of the backends, and what operators want.
    fn restore(&self, record: &ServiceRecord) {
        if let Some(GenerationResources { segment, config, .. }) =
            self.generations.last().and_then(|newest| newest.resources.as_ref())
        {
            let now = self.now.millis();
            backend_state::restore(*segment, config, &record.backends, now);
            record.left.iter().for_each(|one| segment.restore_left(one, now));
            segment.restore_names(config, &record.names);
            segment.set_registry_progress(record.registry);
            segment.set_withdrawn(Withdrawal::ByOperator, record.withdrawn);
        }
    }

    /// Tells the first generation who had registered before the service was started.
    fn restore_saved(&mut self) {
        let now = self.now.millis();
        let first = self.generations.last().and_then(|first| first.resources.as_ref());
        let Some(GenerationResources { segment, config, .. }) = first else { return };
        let is_shared = |file: &&SavedBackends| file.is_shared() && config.registry.is_none();
        for file in self.saved.iter().filter(|file| !is_shared(file)) {
            let saved = file.read(now, clock::wall());
            backend_state::take_over(*segment, config, &saved.backends, now);
            saved.left.iter().for_each(|one| segment.restore_left(one, now));
            if file.is_shared() {
                segment.set_registry_progress(saved.registry);
            }
            let count = saved.backends.iter().filter(|one| one.registered.is_some()).count();
            if count > 0 {
                let noun = if count == 1 { "backend" } else { "backends" };
                let place =
                    if file.is_shared() { "were in the registry" } else { "had registered" };
                log::write(Level::Notice, format_args!("{count} {noun} {place} before"));
            }
        }
    }

    /// Descriptors that this process has with a new generation: a socket for each address and worker, a waker
    /// and a line for each worker, with a cache the wakers of all generations in each; and a copy of each, for
    /// the next image.
    fn own_descriptors(&self, config: &Config, workers: usize) -> u64 {
        let of_groups = self.listeners.groups().iter().map(|group| group.sockets.len());
        let sockets = of_groups.sum::<usize>() + config.listen.len() * workers;
        let others = self.generations.iter().map(|generation| generation.workers);
        let processes = others.sum::<usize>() + workers;
        let cache =
            if config.cache.is_some() { MOST_WAITING * (self.generations.len() + 1) } else { 0 };
        2 * (sockets + 2 * processes + cache) as u64 + OTHER_DESCRIPTORS
    }
}

/// Allows the processes that are forked from now on the descriptors that so many clients take, and
/// this one its own. If those cannot be had, what fails for the lack of them says so.
fn raise_descriptor_limit(config: &Config, own: u64) {
    let max_connections = config.max_connections;
    let cache = if config.cache.is_some() { CACHE_DESCRIPTORS } else { 0 };
    let wanted = 2 * max_connections as u64 + cache + OTHER_DESCRIPTORS;
    let allowed = process::raise_descriptor_limit(wanted.max(own));
    if allowed < wanted {
        log::write(
            Level::Warning,
            format_args!(
                "{allowed} file descriptors are allowed, and max_connections {max_connections} may \
                 need {wanted} (raise LimitNOFILE; until then clients wait in the backlog when they \
                 run out)"
            ),
        );
    }
}
