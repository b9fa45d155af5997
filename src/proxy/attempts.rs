//! The attempts at an exchange: how the present one goes about it, and how those before it failed.

use crate::config::MOST_RETRIES;
use crate::mem::time::Micros;
use crate::policy::retry::Failure;
use crate::shared::BackendId;

/// An attempt that failed and was followed by another.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// The backend that was asked.
    pub backend: BackendId,
    /// What went wrong.
    pub failure: Failure,
    /// How long it took.
    pub took: Micros,
}

/// The attempts before the present one; as many as `retries` allows and one for a stale connection.
#[derive(Clone, Copy, Default)]
pub struct Attempts {
    list: [Option<Attempt>; Attempts::KEPT],
    len: u8,
}

impl Attempts {
    const KEPT: usize = MOST_RETRIES as usize + 1;

    /// Notes one more. Those beyond what is kept are not: they are only for the log.
    pub fn add(&mut self, attempt: Attempt) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = Some(attempt);
            self.len += 1;
        }
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.list.iter().take(usize::from(self.len)).flatten()
    }
}

/// When things happened; zero where they did not.
#[derive(Clone, Copy, Default)]
pub struct Times {
    /// The whole head was there.
    pub taken_in: Micros,
    /// The present attempt chose its backend.
    pub chosen: Micros,
    /// A new connection was open.
    pub connected: Micros,
    /// The head was put on its way.
    pub sent: Micros,
    /// The head of the response was there.
    pub answered: Micros,
}

/// How far an exchange may go beyond its turn, after what has befallen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchMode {
    /// The exchange may start before it is its client's first, and share a connection.
    Speculative,
    /// The exchange has lost a shared connection, and takes one of its own.
    Exclusive,
    /// The exchange has lost its connection to another, and waits to be its client's first.
    InOrder,
}

/// What the connection of an attempt had been used for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing: the connection was opened for this attempt.
    New,
    /// Other requests, all of which were answered.
    Kept,
    /// Other requests, and the one ahead is not answered yet.
    Shared,
}

impl Carrier {
    /// Whether others went over it before.
    pub fn is_reused(self) -> bool {
        match self {
            Carrier::New => false,
            Carrier::Kept | Carrier::Shared => true,
        }
    }
}
