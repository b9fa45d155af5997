//! What the master knows of the service. What it does with that stands in the other files, as methods of
//! [`Master`].

use crate::mem::time::Micros;
use crate::sys::process::{Pid, User};
use crate::sys::{Listener, Poller, Signals, Waker, memory};

use super::admin_sockets::AdminSockets;
use super::generation::Generation;
use super::image::ImageIdentity;
use super::listeners::Listeners;
use super::notify::Notifier;
use super::preflight::Trial;
use super::record::Reloads;
use super::saved::SavedBackends;

/// The service, as the process sees it that starts, watches and replaces the others.
pub struct Master {
    pub(super) identity: ImageIdentity,
    pub(super) poller: Poller,
    pub(super) signals: Signals,
    /// Woken by children that have said something.
    pub(super) waker: Waker,
    pub(super) notifier: Notifier,
    pub(super) listeners: Listeners<Listener>,
    /// Where operators come in.
    pub(super) admin_sockets: AdminSockets,
    /// The rotations of all generations.
    pub(super) rotations: memory::Shared,
    /// What was counted of late, over all generations.
    pub(super) history: memory::Shared,
    /// What went wrong, and what the operator was told.
    pub(super) diary: memory::Shared,
    /// By number. At most one is starting, and at most one is serving.
    pub(super) generations: Vec<Generation>,
    /// Whom children become, if this is root.
    pub(super) user: Option<User>,
    pub(super) shutdown: ShutdownState,
    pub(super) trial: Option<Trial>,
    /// The control process that waits for the outcome of the reload under way.
    pub(super) asked_by: Option<Pid>,
    /// Until when to wait for the control process of the generation before, if that still has its way.
    pub(super) takeover_until: Option<Micros>,
    /// Another reload was asked for meanwhile.
    pub(super) next_reload: Option<ReloadRequest>,
    pub(super) reloads: Reloads,
    /// Why the last reload changed nothing, if it did not.
    pub(super) refused: Option<String>,
    pub(super) restarts: u64,
    /// Microseconds since the epoch.
    pub(super) started: u64,
    pub(super) fork_pause: Micros,
    /// The backends that have registered, in files: here alone, and in the registry that many instances share.
    pub(super) saved: [SavedBackends; 2],
    /// When `saved` is to be looked at again because it may not be written yet.
    pub(super) save_due: Option<Micros>,
    /// When messages that were left out may be told again.
    pub(super) messages_due: Option<Micros>,
    /// When the work was done last that takes longer.
    pub(super) merged: Micros,
    pub(super) now: Micros,
}

/// A reload that is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReloadRequest {
    /// The control process that waits for the outcome.
    pub by: Option<Pid>,
}

/// How far the service is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownState {
    /// The service runs.
    Running,
    /// The service runs, and says that it is about to stop.
    Withdrawing {
        /// Then it stops.
        until: Micros,
    },
    /// The service ends when all processes have ended.
    Stopping {
        /// What they were told.
        mode: StopMode,
        /// When they are told more plainly.
        until: Micros,
        /// What the master exits with.
        status: u8,
    },
}

/// How processes are told to end, one more plainly than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// The processes end when they are done.
    Gracefully,
    /// The processes end at once.
    AtOnce,
    /// The processes are killed.
    Killed,
}

impl ShutdownState {
    /// Whether all processes were told to end.
    pub fn is_stopping(self) -> bool {
        match self {
            ShutdownState::Running | ShutdownState::Withdrawing { .. } => false,
            ShutdownState::Stopping { .. } => true,
        }
    }
}
