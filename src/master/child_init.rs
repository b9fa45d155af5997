//! The first moments of a child: what it has from the master and does not need is dropped, what
//! only root may open is opened, then it is root no more, opens the rest, gives up all rights that
//! it does not need, and says that it serves.

use std::process::ExitCode;

use crate::config::{Config, Endpoint};
use crate::control::{Control, ControlInit};
use crate::names::{NameStore, NamesInit, NamesProcess};
use crate::proxy::downstream::arrival::Arrival;
use crate::registry::{RegistryInit, RegistryProcess};
use crate::shared::diary::Diary;
use crate::shared::history::History;
use crate::shared::ipc::ControlMessage;
use crate::sys::landlock::{self, Elsewhere};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid, User};
use crate::sys::seccomp;
use crate::sys::{Channel, Directory, IoError, Listener, Signals, StartError, Tried, Waker};
use crate::worker::{ListenSocket, Worker, WorkerInit};

use super::admin_sockets::AdminSockets;
use super::cache_shm::{CacheDirHandle, SharedCache};
use super::generation::{ChildRole, Generation, GenerationResources, ResourceParts};
use super::helpers::{HelperRole, own_end, registry_password};
use super::listeners::Listeners;
use super::log_files;
use super::state::Master;

/// A child that was just forked.
pub struct NewChild {
    /// Which generation it belongs to.
    pub place: usize,
    /// What it is to do.
    pub role: ChildRole,
    /// Its end of the line to the master.
    pub channel: Channel,
    /// The master.
    pub parent: Pid,
}

/// Lives the child's life, to its end.
pub fn run(master: Master, new_child: NewChild) -> ExitCode {
    match begin(master, new_child) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::write(Level::Error, format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn begin(master: Master, new_child: NewChild) -> Result<(), StartError> {
    // Every field that holds descriptors is named here: what `..` left would stay open.
    let Master {
        waker,
        listeners,
        admin_sockets,
        mut generations,
        user,
        signals: of_master,
        poller,
        notifier,
        trial,
        rotations,
        history,
        diary,
        ..
    } = master;
    drop((of_master, poller, notifier, trial, rotations));
    let generation = generations.swap_remove(new_child.place);
    // Their cells stay mapped, and their settings are nobody's business here either.
    for other in generations.iter().filter_map(|other| other.resources.as_ref()) {
        other.protect_settings().map_err(StartError::at("shared memory", Tried::Memory))?;
    }
    drop(generations);
    let Generation { workers, resources, children, .. } = generation;
    drop(children);
    let diary_cells = Diary::over(diary.cells());
    let history_cells = History::over(history.cells());
    if !matches!(new_child.role, ChildRole::Control) {
        // Nor are those of what was counted.
        history
            .protect(history.cells().len())
            .map_err(StartError::at("shared memory", Tried::Memory))?;
    }
    drop((diary, history));
    let Some(resources) = resources else { return Ok(()) }; // Such a generation gets no new processes.
    if !process::die_with_parent(new_child.parent) {
        return Ok(());
    }
    let child = ChildInit { waker, user, parent: new_child.parent, channel: new_child.channel };
    match new_child.role {
        ChildRole::Worker(worker) => {
            drop(admin_sockets);
            child.work(resources, diary_cells, listeners, worker, workers)
        }
        ChildRole::Control => {
            drop(listeners);
            child.control(resources, (history_cells, diary_cells), admin_sockets)
        }
        ChildRole::Helper(HelperRole::Names) => {
            drop((listeners, admin_sockets));
            child.names(resources)
        }
        ChildRole::Helper(HelperRole::Registry) => {
            drop((listeners, admin_sockets));
            child.registry(resources)
        }
    }
}

/// What every child has.
struct ChildInit {
    /// The master's.
    waker: Waker,
    user: Option<User>,
    parent: Pid,
    channel: Channel,
}

impl ChildInit {
    fn work(
        self,
        resources: GenerationResources,
        diary: Diary,
        listeners: Listeners<Listener>,
        worker: usize,
        workers: usize,
    ) -> Result<(), StartError> {
        resources.protect_settings().map_err(StartError::at("shared memory", Tried::Memory))?;
        log::limit_with_workers();
        let ResourceParts { config, segment, wakers, sticky_key, stored, lines } =
            resources.into_parts();
        drop(lines);
        process::set_title(&format!("httplb-w{worker}"));
        process::set_command_line(&command_line(&format!("worker {worker}")));
        let cache_dir = self.cache_dir(stored, &config);
        let mine = listeners.of_worker(&config.listen, worker, workers).map(|(entry, socket)| {
            let arrival = Arrival::at(&config.listen[entry], socket.address().port());
            Ok(ListenSocket { listener: socket.try_clone()?, arrival })
        });
        let own_listeners = mine
            .collect::<Result<_, _>>()
            .map_err(StartError::at("the listening sockets", Tried::Descriptor))?;
        // Those that are not its own are closed, and of its own the copies are left.
        drop(listeners);
        let row = segment.worker(worker);
        row.set_pid(Pid::own().number());
        let log = log_files::open(&config, self.user.as_ref())?;
        self.become_user()?;
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let directory = cache_dir.as_ref().and_then(CacheDirHandle::directory);
        let store = cache_dir.and_then(|cache_dir| cache_dir.store(&config, worker));
        let worker = WorkerInit {
            index: worker,
            segment,
            wakers,
            listeners: own_listeners,
            sticky_key,
            log,
            diary,
            signals,
            channel: Some(
                self.channel
                    .try_clone()
                    .map_err(StartError::at("the line to the master", Tried::Descriptor))?,
            ),
            master: Some(self.parent),
            store,
        };
        let worker = Worker::open(&config, worker)?;
        confine(seccomp::Role::Worker, &config, directory);
        self.report_ready();
        worker.serve()
    }

    fn control(
        self,
        resources: GenerationResources,
        (history, diary): (History, Diary),
        admin_sockets: AdminSockets,
    ) -> Result<(), StartError> {
        process::set_title("httplb-control");
        process::set_command_line(&command_line("control"));
        let ResourceParts { config, segment, wakers, sticky_key, stored, lines } =
            resources.into_parts();
        let (mut names, mut registry) = (None, None);
        for line in lines {
            match line.role {
                HelperRole::Names => names = Some(line.of_control),
                HelperRole::Registry => registry = Some(line.of_control),
            }
        }
        let cache_dir = self.cache_dir(stored, &config);
        self.become_user()?;
        let workers = segment.layout().workers;
        let directory = cache_dir.as_ref().and_then(CacheDirHandle::directory);
        let cache = cache_dir.and_then(|cache_dir| cache_dir.cache_admin(&config, workers));
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let (admin_sockets, token) = admin_sockets.into_parts(&config);
        let init = ControlInit {
            history,
            diary,
            admin_sockets,
            token,
            sticky_key,
            master_pid: self.parent,
            segment,
            wakers,
            master: self
                .waker
                .try_clone()
                .map_err(StartError::at("the master's waker", Tried::Descriptor))?,
            channel: self
                .channel
                .try_clone()
                .map_err(StartError::at("the line to the master", Tried::Descriptor))?,
            signals,
            cache,
            names,
            registry,
        };
        let mut control = Control::open(&config, init)?;
        confine(seccomp::Role::Control, &config, directory);
        control.prepare()?;
        self.report_ready();
        control.serve()
    }

    fn names(self, resources: GenerationResources) -> Result<(), StartError> {
        resources.protect_settings().map_err(StartError::at("shared memory", Tried::Memory))?;
        process::set_title("httplb-names");
        process::set_command_line(&command_line("names"));
        let ResourceParts { config, wakers, lines, .. } = resources.into_parts();
        let line = own_end(lines, HelperRole::Names, |line| line.of_helper);
        let Some(line) = line else { return Ok(()) }; // There are no names.
        let store = NameStore::open().and_then(|opened| {
            opened.map_err(|why| log::write(Level::Warning, format_args!("{why}"))).ok()
        });
        self.become_user()?;
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let confine_child = || {
            // Where it cannot be done, it was told by the control process.
            let _ = seccomp::confine(seccomp::Role::Lookup, seccomp::Peers::TcpAndUnix);
        };
        let control = wakers.control;
        let init = NamesInit { signals, line, control, store, confine_child };
        let names = NamesProcess::open(&config, init)?;
        confine(seccomp::Role::Names, &config, None);
        self.report_ready();
        names.serve()
    }

    fn registry(self, resources: GenerationResources) -> Result<(), StartError> {
        resources.protect_settings().map_err(StartError::at("shared memory", Tried::Memory))?;
        process::set_title("httplb-registry");
        process::set_command_line(&command_line("registry"));
        let ResourceParts { config, wakers, lines, .. } = resources.into_parts();
        let line = own_end(lines, HelperRole::Registry, |line| line.of_helper);
        let (Some(line), Some(registry)) = (line, &config.registry) else { return Ok(()) };
        // The file may be root's alone. One that is gone by now is told of by the engine, too.
        let password = registry_password(&config)?;
        self.become_user()?;
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let control = wakers.control;
        let host = process::host_name();
        let init = RegistryInit { signals, line, control, password, host };
        let process = RegistryProcess::open(registry, init)?;
        confine(seccomp::Role::Registry, &config, None);
        self.report_ready();
        process.serve()
    }

    /// Opens the directory of stored answers, while there may be rights that the user has not.
    fn cache_dir(&self, stored: Option<SharedCache>, config: &Config) -> Option<CacheDirHandle> {
        let (common, cache) = stored.zip(config.cache.as_ref())?;
        Some(CacheDirHandle::open(common, cache, self.user.as_ref()))
    }

    /// Becomes the user that children are, if the master is root.
    fn become_user(&self) -> Result<(), StartError> {
        process::limit_capabilities();
        if let Some(user) = &self.user {
            process::drop_privileges(user)
                .map_err(StartError::at(format!("user {}", user.name), Tried::ChangeUser))?;
            // The change has undone it.
            if !process::die_with_parent(self.parent) {
                return Err(StartError::at("the master", Tried::Talk)(IoError::Reset));
            }
        }
        // The change has undone this too.
        process::hide_memory();
        // A container's filter may forbid it. Then one is left perhaps, for ports below 1024, and that is
        // of no use to who may not bind at all once it is confined.
        let _ = process::give_up_capabilities();
        let _ = process::no_new_privileges(); // The filter after it cannot be set either then.
        Ok(())
    }

    fn report_ready(self) {
        // A master that cannot be told is gone, and this process soon is too.
        let _ = self.channel.send(ControlMessage::Ready.text(), None);
        self.waker.wake();
    }
}

/// The last step before it serves. A kernel without such filters is not what keeps it from that.
fn confine(role: seccomp::Role, config: &Config, directory: Option<Directory>) {
    // The log is open, or comes by the line from the master. Operators' requests may want a name of
    // another host, and that takes a look at files of the system.
    let elsewhere = match role {
        seccomp::Role::Worker | seccomp::Role::Registry => Elsewhere::Nothing,
        // The resolver reads the host's files, and loads modules.
        seccomp::Role::Control | seccomp::Role::Names | seccomp::Role::Lookup => Elsewhere::Read,
    };
    // Kernels before 5.19 have no use of it, and a container's filter may forbid it. Other users' files
    // are out of reach all the same.
    let _ = landlock::confine(directory.as_ref(), elsewhere);
    let peers = match role {
        seccomp::Role::Registry => seccomp::Peers::Tcp,
        seccomp::Role::Worker
        | seccomp::Role::Control
        | seccomp::Role::Names
        | seccomp::Role::Lookup => peers(config),
    };
    match (seccomp::confine(role, peers), role) {
        (Ok(()), _) => (),
        (
            Err(_),
            seccomp::Role::Worker
            | seccomp::Role::Names
            | seccomp::Role::Lookup
            | seccomp::Role::Registry,
        ) => (),
        // Told once, by the process of which there is one.
        (Err(error), seccomp::Role::Control) => log::write(
            Level::Warning,
            format_args!(
                "seccomp: {}; processes are not confined to the calls they need",
                error.when(Tried::Confine)
            ),
        ),
    }
}

/// By what processes speak to backends. Whoever has access to the admin API may register one at a Unix
/// socket.
fn peers(config: &Config) -> seccomp::Peers {
    let mut backends = config.pools.iter().flat_map(|pool| &pool.backends);
    let is_unix = |address| matches!(address, Endpoint::Unix(_));
    let may_register = config.admin.socket.is_some() || config.admin.listen.is_some();
    match may_register || backends.any(|backend| is_unix(backend.address)) {
        true => seccomp::Peers::TcpAndUnix,
        false => seccomp::Peers::Tcp,
    }
}

/// What ps(1) shows of a process in this role: that, and which service it is of, by the arguments of the
/// master, as they have the file.
fn command_line(role: &str) -> String {
    let arguments = std::env::args_os().skip(1);
    arguments.fold(format!("httplb: {role}"), |text, argument| {
        format!("{text} {}", argument.to_string_lossy())
    })
}
