//! The first moments of a child: what it has from the master and does not need is dropped, what
//! only root may open is opened, then it is root no more, opens the rest, gives up all rights that
//! it does not need, and says that it serves.

use std::process::ExitCode;

use crate::config::{Config, Endpoint};
use crate::control::{Control, ControlInit};
use crate::proxy::downstream::arrival::Arrival;
use crate::shared::ipc::ControlMessage;
use crate::sys::landlock::{self, Elsewhere};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, Pid, User};
use crate::sys::seccomp;
use crate::sys::{Channel, Directory, IoError, Listener, Signals, StartError, Tried, Waker};
use crate::worker::{ListenSocket, Worker, WorkerInit};

use super::admin_sockets::AdminSockets;
use super::cache_shm::{CacheDirHandle, SharedCache};
use super::generation::{ChildRole, Generation, GenerationResources};
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
    let Some(resources) = resources else { return Ok(()) }; // Such a generation gets no new processes.
    if !process::die_with_parent(new_child.parent) {
        return Ok(());
    }
    let child = ChildInit { waker, user, parent: new_child.parent, channel: new_child.channel };
    match new_child.role {
        ChildRole::Worker(worker) => {
            drop(admin_sockets);
            child.work(resources, listeners, worker, workers)
        }
        ChildRole::Control => {
            drop(listeners);
            child.control(resources, admin_sockets)
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
        listeners: Listeners<Listener>,
        worker: usize,
        workers: usize,
    ) -> Result<(), StartError> {
        resources.protect_settings().map_err(StartError::at("shared memory", Tried::Memory))?;
        log::limit_with_workers();
        let (config, segment, wakers, sticky_key, stored) = resources.into_parts();
        process::set_title(&format!("httplb-w{worker}"));
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
        let log = log_files::open(&config.access_log, self.user.as_ref())?;
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
        admin_sockets: AdminSockets,
    ) -> Result<(), StartError> {
        process::set_title("httplb-control");
        let (config, segment, wakers, sticky_key, stored) = resources.into_parts();
        let cache_dir = self.cache_dir(stored, &config);
        self.become_user()?;
        let workers = segment.layout().workers;
        let directory = cache_dir.as_ref().and_then(CacheDirHandle::directory);
        let cache = cache_dir.and_then(|cache_dir| cache_dir.cache_admin(&config, workers));
        let signals =
            Signals::block_and_open().map_err(StartError::at("signals", Tried::Descriptor))?;
        let (admin_sockets, token) = admin_sockets.into_parts(&config);
        let init = ControlInit {
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
        };
        let control = Control::open(&config, init)?;
        confine(seccomp::Role::Control, &config, directory);
        self.report_ready();
        control.serve()
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
        seccomp::Role::Worker => Elsewhere::Nothing,
        seccomp::Role::Control => Elsewhere::Read,
    };
    // Kernels before 5.19 have no use of it, and a container's filter may forbid it. Other users' files
    // are out of reach all the same.
    let _ = landlock::confine(directory.as_ref(), elsewhere);
    match (seccomp::confine(role, peers(config)), role) {
        (Ok(()), _) | (Err(_), seccomp::Role::Worker) => (),
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
