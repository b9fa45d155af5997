//! Where an exchange stands.
//!
//! ```text
//!  Waiting ──► Connecting ──► Sending ──► Awaiting ──► Answered ──► Responding ──► Done
//!     ▲  └───────(reused)───────▲ │           │          ▲  │ │           └► Uploading ─▲
//!     │                           │           │          │  │ └─────► Tunneling ───────▲
//!     └──────── retry, revoked ───┴───────────┴──────────┼──┘
//!     └──────────────── refused, nobody up, stored ──────┘
//! ```
//!
//! What each state may become:
//!
//! ```text
//! Waiting          -> Waiting Connecting Sending Answered Done
//! Connecting       -> Waiting Sending Answered Done
//! Sending          -> Waiting Awaiting Answered Done
//! Awaiting         -> Waiting Answered Done
//! Answered         -> Waiting Answered Responding Tunneling Done
//! Responding       -> Uploading Done
//! Uploading        -> Done
//! Tunneling        -> Done
//! Done             ->
//! ```
//!
//! What the cache has to do with the exchange meanwhile is a state of its own, in `caching/state.rs`; which
//! pairs of the two may be stands there.
//!
//! Until an exchange is *committed* (Responding, Uploading, Tunneling) everything can be done again; from then
//! on nothing can. Only the first exchange in a client's queue commits.

#[cfg(test)]
use std::fmt::Debug;

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The exchange waits for its turn, a backend or a connection.
    Waiting,
    /// A new connection to the backend is being opened.
    Connecting,
    /// The request is being sent.
    Sending,
    /// The request was sent whole; the head of the response has not come.
    Awaiting,
    /// There is a response. It is sent once the exchange is the client's first, and the head has room.
    Answered,
    /// Committed: the head was written, and the body of the response is being relayed.
    Responding,
    /// The response is complete, and the rest of the request's body goes on to the backend.
    Uploading,
    /// Committed: the protocol was switched, bytes flow both ways.
    Tunneling,
    /// The exchange is over, with a whole response or without.
    Done,
}

impl State {
    /// The table at the top of this file.
    pub(super) fn may_become(self, next: State) -> bool {
        use State::{
            Answered, Awaiting, Connecting, Done, Responding, Sending, Tunneling, Uploading,
            Waiting,
        };
        match self {
            // A connection may be refused at once.
            Waiting => matches!(next, Waiting | Connecting | Sending | Answered | Done),
            Connecting => matches!(next, Sending | Waiting | Answered | Done),
            Sending => matches!(next, Awaiting | Waiting | Answered | Done),
            Awaiting => matches!(next, Waiting | Answered | Done),
            Answered => matches!(next, Responding | Tunneling | Waiting | Answered | Done),
            Responding => matches!(next, Uploading | Done),
            Uploading | Tunneling => matches!(next, Done),
            Done => false,
        }
    }

    /// Whether the client may have seen a byte of the response.
    pub fn is_committed(self) -> bool {
        match self {
            State::Responding | State::Uploading | State::Tunneling | State::Done => true,
            State::Waiting
            | State::Connecting
            | State::Sending
            | State::Awaiting
            | State::Answered => false,
        }
    }
}

/// All states, for tables of them.
#[cfg(test)]
pub const ALL_STATES: [State; 9] = [
    State::Waiting,
    State::Connecting,
    State::Sending,
    State::Awaiting,
    State::Answered,
    State::Responding,
    State::Uploading,
    State::Tunneling,
    State::Done,
];

/// A table as it stands at the top of a file: of each row, the names for which `is_so`.
#[cfg(test)]
pub fn listed<Row: Debug, Column: Debug>(
    rows: &[Row],
    sign: &str,
    columns: &[Column],
    is_so: impl Fn(&Row, &Column) -> bool,
) -> String {
    let name = |debug: String| debug.split('(').next().unwrap_or_default().to_owned();
    let line = |row: &Row| {
        let such = columns.iter().filter(|column| is_so(row, column));
        let names: Vec<String> = such.map(|column| name(format!("{column:?}"))).collect();
        let start = name(format!("{row:?}"));
        format!("//! {start:16}{sign} {}", names.join(" ")).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    #[test]
    fn the_table_at_the_top_is_what_is_asserted() {
        let changes = listed(&ALL_STATES, " ->", &ALL_STATES, |from, to| from.may_become(*to));
        assert!(include_str!("state.rs").contains(&changes), "it should be\n{changes}");
    }

    #[test]
    fn nothing_leaves_done_and_nothing_returns_from_commit() {
        for next in ALL_STATES {
            assert!(!Done.may_become(next));
            assert_eq!(Responding.may_become(next), matches!(next, Uploading | Done));
            assert_eq!(Uploading.may_become(next), next == Done);
            assert_eq!(Tunneling.may_become(next), next == Done);
        }
    }
}
