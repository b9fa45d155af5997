//! The sockets where operators come in: a path, an address that wants a token, and that of the
//! status page. The master opens them, for it may be root, and keeps them over reloads; its control
//! process has them too.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Endpoint, UnixPath};
use crate::control::api::AccessLevel;
use crate::sys::process::User;
use crate::sys::{Binding, IoError, Listener, SocketFile, StartError, Tried};

use super::handover::{ExportedFds, FdNumber};

/// The mode of the Unix socket: its owner and its group may use it.
const MODE: u32 = 0o660;
/// Connections that may wait to be accepted: few, as only operators connect.
const BACKLOG: i32 = 128;

/// Where operators come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminEndpoint {
    /// A path, for whoever may open it.
    Socket(UnixPath),
    /// An address, for whoever has the token.
    Token(SocketAddr),
    /// The read-only address.
    Status(SocketAddr),
}

/// A socket that is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSocketRecord {
    /// As the configuration has it: its port may be 0.
    pub place: AdminEndpoint,
    /// The descriptor.
    pub socket: FdNumber,
}

impl AdminEndpoint {
    /// All that a configuration wants.
    pub fn wanted(config: &Config) -> impl Iterator<Item = AdminEndpoint> {
        let socket = config.admin.socket.map(AdminEndpoint::Socket);
        let token = config.admin.listen.map(AdminEndpoint::Token);
        let status = config.status_listen.map(AdminEndpoint::Status);
        [socket, token, status].into_iter().flatten()
    }

    /// Its address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            AdminEndpoint::Socket(_) => None,
            AdminEndpoint::Token(address) | AdminEndpoint::Status(address) => Some(*address),
        }
    }

    fn access(&self) -> AccessLevel {
        match self {
            AdminEndpoint::Socket(_) => AccessLevel::Socket,
            AdminEndpoint::Token(_) => AccessLevel::Token,
            AdminEndpoint::Status(_) => AccessLevel::Status,
        }
    }

    /// The key that names it.
    fn key(&self) -> String {
        match self {
            AdminEndpoint::Socket(path) => format!("admin.socket {path}"),
            AdminEndpoint::Token(address) => format!("admin.listen {address}"),
            AdminEndpoint::Status(address) => format!("status_listen {address}"),
        }
    }

    fn open(&self, user: Option<&User>) -> Result<Listener, StartError> {
        let (tried, binding) = match self {
            AdminEndpoint::Socket(path) => {
                let (owner, group) = (user.map(|user| user.uid), user.map(|user| user.gid));
                let file = SocketFile { mode: MODE, owner, group };
                (Tried::ListenUnix, Binding { file, ..Binding::from(*path) })
            }
            AdminEndpoint::Token(address) | AdminEndpoint::Status(address) => {
                (Tried::Listen(address.port()), Binding::from(*address))
            }
        };
        Listener::bind(binding, BACKLOG).map_err(StartError::at(self.key(), tried))
    }
}

/// All that are open.
#[derive(Default)]
pub struct AdminSockets {
    open: Vec<(AdminEndpoint, Listener)>,
    /// What those who come by an address must know.
    token: Option<Vec<u8>>,
}

impl AdminSockets {
    /// Opens what `config` wants and is not open yet, and reads the token. Fails where that cannot
    /// be, and then some of it may have been done.
    pub fn open(&mut self, config: &Config, user: Option<&User>) -> Result<(), StartError> {
        self.token = token(config)?;
        for place in AdminEndpoint::wanted(config) {
            if !self.open.iter().any(|(known, _)| *known == place) {
                let listener = place.open(user)?;
                self.open.push((place, listener));
            }
        }
        Ok(())
    }

    /// Closes what `config` does not want.
    pub fn close_unwanted(&mut self, config: &Config) {
        let wanted: Vec<AdminEndpoint> = AdminEndpoint::wanted(config).collect();
        self.open.retain(|(place, _)| {
            let keep = wanted.contains(place);
            if !keep {
                remove_file(place);
            }
            keep
        });
    }

    /// Goes on with `config` after another one was tried: closes what this does not want, and reads
    /// its token again. Without it nobody is let in who must have one.
    pub fn rollback(&mut self, config: &Config) {
        self.close_unwanted(config);
        self.token = token(config).unwrap_or(None);
    }

    /// Removes the files of sockets, at the end of the service.
    pub fn remove_files(&self) {
        self.open.iter().for_each(|(place, _)| remove_file(place));
    }

    /// The addresses that are open, as the configuration has them.
    pub fn addresses(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.open.iter().filter_map(|(place, _)| place.address().map(Endpoint::Tcp))
    }

    /// What `config` wants of them, and the token, for the control process.
    pub fn into_parts(self, config: &Config) -> (Vec<(AccessLevel, Listener)>, Option<Vec<u8>>) {
        let wanted: Vec<AdminEndpoint> = AdminEndpoint::wanted(config).collect();
        let mine = self.open.into_iter().filter(|(place, _)| wanted.contains(place));
        (mine.map(|(place, listener)| (place.access(), listener)).collect(), self.token)
    }

    /// What is handed over to the next image.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<Vec<AdminSocketRecord>, IoError> {
        let records = self.open.iter().map(|(place, listener)| {
            Ok(AdminSocketRecord { place: place.clone(), socket: exported.keep(listener)? })
        });
        records.collect()
    }

    /// Takes what the image before has handed over. What cannot be understood is opened anew.
    pub fn import(records: &[AdminSocketRecord]) -> AdminSockets {
        let mut open = Vec::new();
        for AdminSocketRecord { place, socket } in records {
            let Ok(descriptor) = socket.take() else { continue };
            if let Ok(listener) = Listener::from_fd(descriptor) {
                open.push((place.clone(), listener));
            }
        }
        AdminSockets { open, token: None }
    }

    /// Where operators come in, as the start tells them; `None`: nowhere.
    pub fn summary(&self) -> Option<String> {
        let texts = self.open.iter().map(|(place, listener)| match place {
            AdminEndpoint::Socket(path) => format!("admin socket {path}"),
            AdminEndpoint::Token(_) => format!("admin API on {}", listener.address()),
            AdminEndpoint::Status(_) => format!("status page on {}", listener.address()),
        });
        let texts: Vec<String> = texts.collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

/// Tries what [`AdminSockets::open`] will do, but for what is `held` already.
pub fn try_out(config: &Config, held: &[Endpoint]) -> Result<(), StartError> {
    token(config)?;
    for place in AdminEndpoint::wanted(config) {
        if place.address().is_some_and(|address| !held.contains(&address.into())) {
            place.open(None)?;
        }
    }
    Ok(())
}

/// The token of the configuration's file, if it names one.
fn token(config: &Config) -> Result<Option<Vec<u8>>, StartError> {
    let Some(path) = &config.admin.token_file else { return Ok(None) };
    let what = format!("admin.token_file {}", path.display());
    let text = std::fs::read(path)
        .map_err(|error| StartError::at(&*what, Tried::ReadFile)(error.into()))?;
    let token = text.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let what = format!("{what} has no token (write one line without blanks)");
        return Err(StartError::at(what, Tried::Talk)(IoError::Denied));
    }
    Ok(Some(token.to_vec()))
}

fn remove_file(place: &AdminEndpoint) {
    if let AdminEndpoint::Socket(path) = place {
        // Somebody else may have removed it, or put another there.
        let _ = Listener::remove_file(path);
    }
}
