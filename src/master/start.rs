//! The start of the service, and of each generation: the very first, and those that replace another
//! in the new image of the program.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::cache::layout::MOST_WAITING;
use crate::cache::store::{HELD, RECORDINGS};
use crate::config::Config;
use crate::mem::time::{Micros, Millis};
use crate::net::{own, unix};
use crate::proxy::buffers::doubt_splicing;
use crate::proxy::settings::{BACKGROUND, memory_bound_line};
use crate::shared::{Rotations, Withdrawal};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid};
use crate::sys::{StartError, Tried, Waker, clock, memory};
use crate::worker::sticky_key;

use super::admin_sockets::AdminSockets;
use super::backend_state::BackendRecord;
use super::generation::{Generation, GenerationResources};
use super::image::ImageIdentity;
use super::listeners::Listeners;
use super::record::ServiceRecord;
use super::state::{Master, ReloadRequest};
use super::takeover::summary;
use super::{backend_state, cache_shm, cpus, handover, inherited, log_files};

/// All processes of a generation must serve after this time.
const READY_TIMEOUT: Millis = Millis::from_secs(30);
/// A worker's descriptors beside connections: epoll, signals, standard streams, log, listeners.
const OTHER_DESCRIPTORS: u64 = 256;
/// Those for stored answers: open entries, recordings, wakers of other generations, connections of
/// background revalidations.
const CACHE_DESCRIPTORS: u64 = (HELD + RECORDINGS + MOST_WAITING + BACKGROUND) as u64;

/// Serves, with the sockets that this process was given. In the children it returns too.
pub fn start(config: Config, is_standard_input: bool, passed: Vec<(String, OwnedFd)>) -> ExitCode {
    inherited::close_unnamed(Some(&config));
    run(Master::start(config, is_standard_input, passed))
}

/// Goes on with the service that the image before this one has handed over. `config` is that for a
/// new generation, or the message with every error.
pub fn resume(
    config: Result<Config, String>,
    is_standard_input: bool,
    record: ServiceRecord,
) -> ExitCode {
    run(Master::resume(config, is_standard_input, record))
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
        config: Config,
        is_standard_input: bool,
        passed: Vec<(String, OwnedFd)>,
    ) -> Result<Master, StartError> {
        let waker = Waker::new().map_err(StartError::at("a waker", Tried::Descriptor))?;
        let mut master = Master::new(ImageIdentity::new(is_standard_input, None), waker, None)?;
        master.listeners.take_passed(&config.listen, passed);
        let workers = cpus::workers(config.workers);
        let bound = memory_bound_line(&config, workers);
        let listen = config.clone();
        master.begin_generation(config)?;
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
        config: Result<Config, String>,
        is_standard_input: bool,
        record: ServiceRecord,
    ) -> Result<Master, StartError> {
        let waker = Waker::from_fd(record.waker.take().map_err(handover::broken)?);
        let identity = ImageIdentity::new(is_standard_input, record.binary);
        // Without them the next generation begins where the last one is, at this moment.
        let rotations = record.rotations.and_then(|number| number.take().ok());
        let rotations = rotations.and_then(|shared| memory::from_fd(shared).ok());
        let mut master = Master::new(identity, waker, rotations)?;
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
        inherited::close_unnamed(config.as_ref().ok());
        master.started = record.started;
        master.reloads = record.reloads;
        master.restarts = record.restarts;
        let by = record.again_by.and_then(Pid::new);
        master.next_reload = record.reload_again.then_some(ReloadRequest { by });
        master.asked_by = record.asked_by.and_then(Pid::new);
        let begun = match config {
            Ok(config) => master.begin_generation(config).map_err(|error| error.to_string()),
            Err(message) => Err(message),
        };
        match begun {
            Ok(()) => master.restore(&record.backends, record.withdrawn),
            // The file has changed since it was tried, or names what cannot be tried.
            Err(why) => {
                master.rollback();
                master.refuse(&why);
            }
        }
        Ok(master)
    }

    /// Prepares a generation, whose processes the loop then forks.
    fn begin_generation(&mut self, config: Config) -> Result<(), StartError> {
        let workers = cpus::workers(config.workers);
        raise_descriptor_limit(&config, self.own_descriptors(&config, workers));
        self.listeners.open(&config.listen, workers, self.user.as_ref())?;
        self.admin_sockets.open(&config, self.user.as_ref())?;
        log_files::prepare(&config, self.user.as_ref())?;
        doubt_splicing(workers);
        for doubt in own::doubts(&config).into_iter().chain(unix::doubts(&config)) {
            log::write(Level::Warning, format_args!("{doubt}"));
        }
        if let Some(doubt) = config.cache.as_ref().and_then(cache_shm::small_disk) {
            log::write(Level::Warning, format_args!("{doubt}"));
        }
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
    fn restore(&self, known: &[BackendRecord], withdrawn: bool) {
        if let Some(GenerationResources { segment, config, .. }) =
            self.generations.last().and_then(|newest| newest.resources.as_ref())
        {
            backend_state::restore(*segment, config, known, self.now.millis());
            segment.set_withdrawn(Withdrawal::ByOperator, withdrawn);
        }
    }

    /// So many descriptors this process has with a new generation: a socket for each address and
    /// worker, a waker and a line for each worker, with a cache the wakers of all generations
    /// in each; and a copy of each, for the next image.
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
