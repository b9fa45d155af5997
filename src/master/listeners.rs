//! The sockets that clients connect to: for each address one for each worker, in one SO_REUSEPORT
//! group, so that the kernel spreads new connections and no worker can take them all.
//!
//! The master holds all of them, and closes none while its address is configured: who waits in
//! the queue of a socket whose last descriptor is closed is reset. With fewer workers than
//! sockets new connections are steered to the first ones, and the workers share the rest, where
//! somebody may still wait. A socket that was passed without SO_REUSEPORT, as systemd's socket
//! activation does, is shared by all workers; and so is a Unix socket. Its file is removed when it is
//! closed for good, unless the service manager has made it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::config::text::quote;
use crate::config::{Endpoint, Listen, UnixPath};
use crate::sys::log::{self, Level};
use crate::sys::process::{self, User};
use crate::sys::{Binding, IoError, Listener, SocketFile, StartError, Tried};

use super::handover::{self, ExportedFds, FdNumber};

/// Connections that may wait to be accepted at one socket; the kernel's net.core.somaxconn may
/// allow fewer.
const BACKLOG: i32 = 4096;

/// An address and its sockets, in the order of their binding, which is the kernel's order too.
pub struct Group<S> {
    /// As `listen` has it: its port may be 0.
    pub configured: Endpoint,
    /// With the port that the kernel chose, if it was to choose.
    pub address: Endpoint,
    /// The sockets, at least one.
    pub sockets: Vec<S>,
    /// The file of a Unix socket was made by httplb, which removes it.
    pub made_file: bool,
    /// Which file that was, if that is known.
    file: Option<(u64, u64)>,
}

/// An address and its sockets, as they are handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRecord {
    /// As `listen` has it: its port may be 0.
    pub configured: Endpoint,
    /// The sockets in the order of their binding.
    pub sockets: Vec<FdNumber>,
    /// The file of a Unix socket is httplb's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_file: bool,
    /// Its device, and its number there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<(u64, u64)>,
}

/// All sockets. In tests they are numbers.
pub struct Listeners<S> {
    groups: Vec<Group<S>>,
}

impl<S> Group<S> {
    /// Removes the file of a Unix socket that httplb has made. Somebody else may have done so, or put another
    /// there, which stays.
    fn remove_file(&self) {
        if let Endpoint::Unix(path) = self.configured
            && self.made_file
            && self.is_own(&path)
        {
            let _ = Listener::remove_file(&path);
        }
    }

    /// Whether the file at the path is the one that was made, as far as that is known: not where there is none,
    /// or this process may not look.
    fn is_own(&self, path: &UnixPath) -> bool {
        let found = Listener::file_identity(path);
        self.file.is_none() || found.is_none() || found == self.file
    }
}

impl<S> Default for Listeners<S> {
    fn default() -> Listeners<S> {
        Listeners { groups: Vec::new() }
    }
}

impl<S> Listeners<S> {
    /// Adds the sockets of an address, which `listen` may have with port 0.
    pub fn add(&mut self, configured: Endpoint, address: Endpoint, sockets: Vec<S>) {
        let (made_file, file) = (false, None);
        self.groups.push(Group { configured, address, sockets, made_file, file });
    }

    /// The file of its Unix socket is httplb's, and which it is, of the group that was added last.
    pub fn own_file(&mut self, made_file: bool, file: Option<(u64, u64)>) {
        if let Some(last) = self.groups.last_mut() {
            (last.made_file, last.file) = (made_file, file);
        }
    }

    /// All groups.
    pub fn groups(&self) -> &[Group<S>] {
        &self.groups
    }

    /// Every address that is listened on, as it is configured and as it is.
    pub fn held(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.groups.iter().flat_map(|group| [group.configured, group.address])
    }

    /// The group for an entry of `listen`.
    pub fn group(&self, listen: &[Listen], entry: usize) -> Option<&Group<S>> {
        self.place(listen, entry).map(|place| &self.groups[place])
    }

    /// An address of port 0 may stand in `listen` several times, and each time is another. One whose
    /// port the kernel has chosen may be named with it later.
    fn place(&self, listen: &[Listen], entry: usize) -> Option<usize> {
        let address = listen[entry].address;
        let earlier = listen[..entry].iter().filter(|other| other.address == address).count();
        let of = |of: fn(&Group<S>) -> Endpoint| {
            let same = self.groups.iter().enumerate().filter(move |(_, it)| of(it) == address);
            same.map(|(place, _)| place)
        };
        of(|group| group.configured).nth(earlier).or_else(|| of(|group| group.address).next())
    }

    /// The groups for an entry: its own, and those of before that lie within it. As long as
    /// `10.0.0.1:80` has a socket, what comes there does not come to that of `[::]:80`; and were it
    /// closed while clients come, some of them would be lost.
    fn places(&self, listen: &[Listen], entry: usize) -> impl Iterator<Item = usize> {
        let own = self.place(listen, entry);
        let others: Vec<Option<usize>> =
            (0..listen.len()).map(|other| self.place(listen, other)).collect();
        let address = listen[entry].address;
        let within = (0..self.groups.len()).filter(move |place| {
            !others.contains(&Some(*place)) && address.covers(self.groups[*place].address)
        });
        own.into_iter().chain(within)
    }

    /// Takes out the groups that no entry of `listen` wants. Dropping them closes them.
    pub fn remove_unwanted(&mut self, listen: &[Listen]) -> Vec<Group<S>> {
        let wanted: Vec<usize> =
            (0..listen.len()).flat_map(|entry| self.places(listen, entry)).collect();
        let mut removed = Vec::new();
        for place in (0..self.groups.len()).rev() {
            if !wanted.contains(&place) {
                self.groups[place].remove_file();
                removed.push(self.groups.remove(place));
            }
        }
        removed
    }

    /// The sockets that a worker accepts from, each with its entry of `listen`.
    pub fn of_worker(
        &self,
        listen: &[Listen],
        worker: usize,
        workers: usize,
    ) -> impl Iterator<Item = (usize, &S)> {
        let groups = (0..listen.len())
            .flat_map(move |entry| self.places(listen, entry).map(move |place| (entry, place)));
        groups.flat_map(move |(entry, place)| {
            let sockets = &self.groups[place].sockets;
            let mine = move |socket: &usize| is_mine(*socket, worker, workers, sockets.len());
            (0..sockets.len()).filter(mine).map(move |socket| (entry, &sockets[socket]))
        })
    }
}

/// Whether a worker accepts from a socket: from its own, and from its part of those beyond the
/// number of workers. A group of fewer sockets than workers is one that all share.
fn is_mine(socket: usize, worker: usize, workers: usize, sockets: usize) -> bool {
    sockets < workers || socket % workers == worker
}

/// Whether it may be we ourselves who listen where `address` is, for one of those that are `held`
/// has the same port: `[::]:80` takes what comes to `10.0.0.1:80` too. Else nobody may listen there
/// already: SO_REUSEPORT would share it with another service without a word.
fn is_ours(address: SocketAddr, held: impl IntoIterator<Item = Endpoint>) -> bool {
    held.into_iter().any(|held| held.port() == Some(address.port()))
}

/// What a socket is called in systemd's descriptor store. A colon must not stand there.
pub fn stored_name(configured: Endpoint, worker: usize) -> String {
    format!("{}.{worker}", configured.to_string().replace(':', "_"))
}

/// The place of a passed socket among those of its address, if its name says so.
fn worker_of(name: &str) -> Option<usize> {
    name.rsplit_once('.')?.1.parse().ok()
}

/// Whether a socket that listens at `passed` is the one that `configured` asks for.
fn fits(passed: Endpoint, configured: Endpoint) -> bool {
    let (Endpoint::Tcp(passed), Endpoint::Tcp(configured)) = (passed, configured) else {
        return passed == configured;
    };
    // Where there is no IPv6, "all addresses" are all of IPv4.
    let all = |address: SocketAddr| address.ip().is_unspecified();
    passed == configured || all(passed) && all(configured) && passed.port() == configured.port()
}

impl Listeners<Listener> {
    /// Takes those of the passed sockets that `listen` has, and closes the others.
    pub fn take_passed(&mut self, listen: &[Listen], passed: Vec<(String, OwnedFd)>) {
        let mut found: Vec<(usize, Option<usize>, Listener)> = Vec::new();
        for (name, descriptor) in passed {
            let fitting = Listener::from_fd(descriptor).map(|listener| {
                let fit = |wanted: &Listen| fits(listener.address(), wanted.address);
                (listen.iter().position(fit), listener)
            });
            match fitting {
                Ok((Some(entry), listener)) => found.push((entry, worker_of(&name), listener)),
                Ok((None, listener)) => log::write(
                    Level::Notice,
                    format_args!(
                        "the passed socket {} is closed, for it is not in \"listen\"",
                        listener.address()
                    ),
                ),
                Err(error) => log::write(
                    Level::Warning,
                    format_args!("the passed descriptor \"{name}\" is closed: {error}"),
                ),
            }
        }
        // Those without a place come last, in the order in which they were passed.
        found.sort_by_key(|(entry, worker, _)| (*entry, worker.unwrap_or(usize::MAX)));
        for (entry, _, listener) in found {
            let configured = listen[entry].address;
            match self.groups.iter_mut().find(|group| group.configured == configured) {
                Some(group) => group.sockets.push(listener),
                None => self.add(configured, listener.address(), vec![listener]),
            }
        }
    }

    /// What is handed over to the next image.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<Vec<ListenerRecord>, IoError> {
        let record = |group: &Group<Listener>| {
            let sockets = group.sockets.iter().map(|socket| exported.keep(socket));
            let sockets = sockets.collect::<Result<_, _>>()?;
            let Group { configured, made_file, file, .. } = *group;
            Ok(ListenerRecord { configured, sockets, made_file, file })
        };
        self.groups.iter().map(record).collect()
    }

    /// Takes what the image before has handed over.
    pub fn import(records: &[ListenerRecord]) -> Result<Listeners<Listener>, StartError> {
        let mut listeners = Listeners::default();
        for ListenerRecord { configured, sockets: numbers, made_file, file } in records {
            let mut sockets = Vec::new();
            for number in numbers {
                let socket = Listener::from_fd(number.take().map_err(handover::broken)?);
                let what = format!("listen {configured}");
                sockets.push(socket.map_err(StartError::at(what, Tried::Descriptor))?);
            }
            let own = sockets.first().map_or(*configured, Listener::address);
            listeners.add(*configured, own, sockets);
            listeners.own_file(*made_file, *file);
        }
        Ok(listeners)
    }

    /// Listens wherever `listen` says and it does not yet, for so many workers, who act for `user`. Fails
    /// where an address cannot be had, and then some of the others are open.
    pub fn open(
        &mut self,
        listen: &[Listen],
        workers: usize,
        user: Option<&User>,
    ) -> Result<(), StartError> {
        for (entry, wanted) in listen.iter().enumerate() {
            let address = wanted.address;
            let place = match self.place(listen, entry) {
                Some(place) if self.groups[place].is_found(wanted, user)? => place,
                found => {
                    let first = first(wanted, self.held(), user)?;
                    if let Some(place) = found {
                        self.groups.remove(place); // Who waits there is taken by those who leave.
                    }
                    self.add(address, first.address(), vec![first]);
                    let file = match address {
                        Endpoint::Unix(path) => Listener::file_identity(&path),
                        Endpoint::Tcp(_) => None,
                    };
                    self.own_file(true, file);
                    self.groups.len() - 1
                }
            };
            let group = &mut self.groups[place];
            while group.sockets.len() < workers && group.sockets[0].is_shared() {
                let binding = binding(wanted, group.address, user)?;
                let another = Listener::bind_shared(binding, BACKLOG)
                    .map_err(|error| failed(address, error))?;
                group.sockets.push(another);
            }
        }
        Ok(())
    }

    /// Removes the files of all Unix sockets that httplb has made, at the end of the service.
    pub fn remove_files(&self) {
        self.groups.iter().for_each(Group::remove_file);
    }

    /// Steers new connections to the sockets that are the workers' own.
    pub fn spread(&self, workers: usize) {
        for group in self.groups.iter().filter(|group| group.sockets[0].is_shared()) {
            if let Err(error) = group.sockets[0].spread_over(workers as u32) {
                log::write(
                    Level::Warning,
                    format_args!(
                        "listen {}: {error}; some workers may get more clients than others",
                        group.configured
                    ),
                );
            }
        }
    }
}

impl Group<Listener> {
    /// Whether clients find it: the file of a Unix socket may have been removed. Tells where the file is not as
    /// it is wanted by now.
    fn is_found(&self, wanted: &Listen, user: Option<&User>) -> Result<bool, StartError> {
        let (Endpoint::Unix(path), true) = (self.configured, self.made_file) else {
            return Ok(true);
        };
        if path.abstract_name().is_some() {
            return Ok(true); // It has no file to be lost.
        }
        if !self.is_own(&path) {
            return Ok(false); // It was removed, and perhaps somebody else listens there now.
        }
        let SocketFile { mode, group, .. } = binding(wanted, self.configured, user)?.file;
        match Listener::file(&path) {
            Ok(found)
                if found.mode != mode || group.is_some_and(|group| found.group != Some(group)) =>
            {
                log::write(
                    Level::Warning,
                    format_args!(
                        "listen {}: its mode and group stay what they are until a restart",
                        self.configured
                    ),
                );
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) => Ok(error != IoError::NotFound),
        }
    }
}

/// Listens at an address where nobody does, unless we do so ourselves, at those that are `held`.
pub fn first(
    wanted: &Listen,
    held: impl IntoIterator<Item = Endpoint>,
    user: Option<&User>,
) -> Result<Listener, StartError> {
    let binding = binding(wanted, wanted.address, user)?;
    let bound = match wanted.address {
        Endpoint::Tcp(address) if address.port() != 0 && is_ours(address, held) => {
            Listener::bind_shared(binding, BACKLOG)
        }
        Endpoint::Tcp(_) | Endpoint::Unix(_) => Listener::bind(binding, BACKLOG),
    };
    bound.map_err(|error| failed(wanted.address, error))
}

/// How the listeners of an entry are bound at `endpoint`: its own, or that with the port that the kernel
/// chose. The file of a Unix socket is `user`'s.
fn binding(
    wanted: &Listen,
    endpoint: Endpoint,
    user: Option<&User>,
) -> Result<Binding, StartError> {
    let group = match &wanted.access.group {
        Some(name) => Some(process::group_named(name).ok_or_else(|| {
            let what = format!("listen {endpoint}: group {}", quote(name));
            StartError::at(what, Tried::Group)(IoError::NotFound)
        })?),
        None => user.map(|user| user.gid),
    };
    let owner = user.map(|user| user.uid);
    let file = SocketFile { mode: wanted.access.mode, owner, group };
    Ok(Binding { endpoint, freebind: wanted.freebind, file })
}

/// Why an entry of `listen` cannot be had.
fn failed(address: Endpoint, error: IoError) -> StartError {
    let tried = address.port().map_or(Tried::ListenUnix, Tried::Listen);
    StartError::at(format!("listen {address}"), tried)(error)
}

#[cfg(test)]
#[path = "listeners_tests.rs"]
mod tests;
