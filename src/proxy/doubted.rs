//! What is known of responses that may be another request's: what `doubt.rs` and `held.rs` do with them.

use crate::http::body::Body;
use crate::http::response::Reading;
use crate::mem::free_list::FreeList;
use crate::mem::time::Micros;
use crate::net::End;
use crate::policy::identity::{Doubt, RequestDigest};
use crate::shared::BackendId;

use super::attempts::Times;
use super::ids::BackendConnId;
use super::upstream::connection::BackendConn;

/// A final response whose head was read and that was not taken yet.
pub struct FinalHead {
    /// The head, at the front of the ring.
    pub head: Reading,
    /// What follows it.
    pub body: Body,
    /// What follows it if it is the response to the request whose identifier it bears: one that its
    /// connection carried before may have been a HEAD where this is none, or the other way round.
    pub body_by_id: Body,
    /// What that request was for.
    pub digest_by_id: RequestDigest,
    /// Whether the response asks for credentials that are for its connection.
    pub authenticates_connection: bool,
    /// Whether the backend lets its connection live on.
    pub keep_alive: bool,
    /// Seconds for which the backend says that it keeps the connection.
    pub keep_alive_timeout_secs: Option<u32>,
}

/// Whether a response of an exchange was doubted to be its own.
#[derive(Clone, Copy)]
pub enum Doubted {
    /// No response was.
    Not,
    /// The request is asked again.
    AskedAgain {
        /// What spoke against the response.
        doubt: Doubt,
        /// The backend that gave it.
        slot: BackendId,
        /// How long the backend took to give it.
        took: Micros,
        /// The first response, delivered if there is no other.
        held: Option<HeldResponse>,
    },
    /// The response is held.
    Held {
        /// Bytes of its head.
        head: usize,
        /// Its body.
        body: Body,
        /// When it is delivered, if the right one has not come.
        until: Micros,
    },
    /// The response was held, and is delivered.
    Unfounded,
}

impl Doubted {
    /// Whether a response is held.
    pub fn is_held(&self) -> bool {
        matches!(self, Doubted::Held { .. })
    }

    /// Whether a response is held that may keep the backend from giving another.
    pub fn is_in_the_way(&self) -> bool {
        matches!(self, Doubted::AskedAgain { held: Some(held), .. } if held.is_in_the_way())
    }

    /// What is left of a doubt when the exchange goes back to Waiting: the response is gone.
    pub fn when_starting_over(self) -> Doubted {
        match self {
            Doubted::Not | Doubted::Held { .. } | Doubted::Unfounded => Doubted::Not,
            Doubted::AskedAgain { .. } => self,
        }
    }
}

/// What becomes of a final response.
pub enum Verified {
    /// The response answers the request.
    Deliverable,
    /// The response stays where it is, at the front of the ring.
    Held,
    /// The response is another request's, and is stepped over.
    Dropped,
    /// The request is sent again: the connection was detached, and the exchange is Waiting.
    AskedAgain,
}

/// A response that is held while its request is asked again.
#[derive(Clone, Copy)]
pub struct HeldResponse {
    /// The connection that it came over.
    pub conn: BackendConnId,
    /// Bytes of its head.
    pub head: usize,
    /// Its body.
    pub body: Body,
    /// When the request was sent, was answered and so on; it was answered when the doubt rose.
    pub times: Times,
    /// Bytes of the request's body in the client's ring, and those that were payload.
    pub upload: (usize, u64),
    /// Whether all of it was there when it was last looked at, and its backend was told that no more comes.
    pub is_dismissed: bool,
}

impl HeldResponse {
    /// Whether its connection may still be what keeps the backend from another.
    pub fn is_in_the_way(&self) -> bool {
        !self.is_dismissed
    }

    /// A backend that serves one connection at a time goes on to the fresh one. Whether all of it has come.
    pub fn dismiss_if_whole(&mut self, backend: &mut BackendConn, rings: &mut FreeList) -> bool {
        self.is_dismissed = self.is_dismissed || self.is_whole(backend, rings);
        if self.is_dismissed {
            let _ = backend.conn.shutdown_write(); // If it is broken already, so much the better.
        }
        self.is_dismissed
    }

    /// Whether all of it has come: nothing more is read than its connection's ring takes.
    pub fn is_whole(&self, backend: &mut BackendConn, rings: &mut FreeList) -> bool {
        while matches!(backend.conn.fill(rings), Ok(1..)) {}
        let mut body = self.body;
        let is_good = body.step_over(&backend.conn.input.flatten()[self.head..]).is_ok();
        let is_at_end = matches!(body, Body::UntilClose) && backend.conn.end == End::Reached;
        is_good && (body.is_done() || is_at_end)
    }
}
