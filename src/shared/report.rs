//! Messages about backends: written once, by the process that made the change.

use crate::config::{Endpoint, UnixPath, units};
use crate::policy::health::{Change, Rules};
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Listener, SocketFile};

use super::layout::BackendId;
use super::segment::Segment;

/// Why a backend is marked by what requests have found, and for how long at least.
pub fn why_marked(segment: &Segment, slot: BackendId, rules: &Rules) -> String {
    let passive = segment.backend(slot).passive();
    // Another process may have ended the mark since.
    let why = passive.why().map_or(String::from("requests failed"), |why| why.to_string());
    match passive.least_time(rules) {
        Some(time) => format!("{why}, and it is out for {} at least", units::write_duration(time)),
        None => why,
    }
}

/// Tells the operator that this process, which acts for `user`, may not connect to a backend.
pub fn log_denied(segment: &Segment, slot: BackendId, user: &str) {
    let backend = segment.backend(slot);
    let (pool, address) = (segment.pool(backend.pool()).name(), backend.address());
    let why = match address {
        Endpoint::Unix(path) => why_denied(&path, user),
        Endpoint::Tcp(_) => String::from("a security module or a filter forbids it"),
    };
    log::write(
        Level::Warning,
        format_args!("pool {pool}: backend {address}: {user} may not connect: {why}"),
    );
}

fn why_denied(path: &UnixPath, user: &str) -> String {
    let SocketFile { mode, owner, group } = match Listener::file(path) {
        Ok(file) => file,
        Err(IoError::Exists) => {
            return String::from("it is no socket (name the one at which the application listens)");
        }
        Err(_) => return format!("a directory above the socket is closed to {user} (chmod +x it)"),
    };
    let (owner, group) = (owner.unwrap_or_default(), group.unwrap_or_default());
    format!(
        "its mode is {mode:04o}, its owner user {owner} and group {group} (who connects must be \
         allowed to write: have the application make it with mode 0660 and a group that {user} is in)"
    )
}

/// Tells the operator that a backend is up or down from now on.
pub fn log_change(segment: &Segment, slot: BackendId, change: Change, reason: &str) {
    let backend = segment.backend(slot);
    let (up, count) = segment.count_up(backend.pool());
    let (level, change) = match change {
        Change::Down if up == 0 => (Level::Error, "down"), // Nobody is left to answer.
        Change::Down => (Level::Warning, "down"),
        Change::Up => (Level::Notice, "up"),
    };
    log::write(
        level,
        format_args!(
            "pool {}: backend {} is {change}: {reason}; {up}/{count} backends up",
            segment.pool(backend.pool()).name(),
            backend.address(),
        ),
    );
}
