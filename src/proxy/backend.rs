//! Connections to backends: opened, used by one client at a time, kept, closed.
//!
//! An idle connection belongs to its backend's stack, last used first out. One in use carries the
//! exchanges of one client, in the order of that client's queue: the front one reads, the next
//! follows it.

use crate::http::body::Body;
use crate::mem::slab::Slab;
use crate::mem::time::Micros;
use crate::net::Conn;
use crate::policy::identity::SentIds;
use crate::shared::{BackendGauge, BackendId};

use super::Proxy;
use crate::proxy::ids::{BackendConnId, BackendConnTag, ClientId, ExchangeId};

/// Who has a backend connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: it lies in its backend's stack, between these two.
    Idle {
        /// Used before it.
        older: Option<BackendConnId>,
        /// Used after it.
        newer: Option<BackendConnId>,
        /// Since when.
        since: Micros,
    },
    /// This client.
    Client(ClientId),
    /// The same, and it carries nothing: it is bound to the client, as is this one.
    Bound(ClientId, Option<BackendConnId>),
    /// Its response is this exchange's unless a better one comes: see `held`.
    Held(ExchangeId),
}

/// A connection to a backend.
pub struct BackendConn {
    /// Socket and rings.
    pub conn: Conn,
    /// Whose server it leads to.
    pub backend: BackendId,
    /// Who has it.
    pub owner: Owner,
    /// The exchange that reads now.
    pub front: Option<ExchangeId>,
    /// The last one whose request was put on it.
    pub back: Option<ExchangeId>,
    /// A user may have logged in over it: see `bound`.
    pub is_bound: bool,
    /// Responses that came over it.
    pub responses: u32,
    /// Requests whose identifiers httplb made, as far as they are remembered.
    pub sent_ids: SentIds,
    /// What is still to come of the body of another request's response, which nobody gets.
    pub dropped: Body,
    /// The last of them had no body, whatever it says: as those to HEAD.
    pub is_bare: bool,
    /// The bytes at the front of its input that were searched for the end of a head.
    pub scan: crate::http::scan::HeadScan,
    /// A response byte came since the front exchange became front.
    pub heard: bool,
    /// How long it had lain idle before it was taken.
    pub idled: Micros,
    /// When the front exchange could begin to wait for its answer.
    pub front_since: Micros,
}

impl BackendConn {
    /// A connection that is being opened for `client`.
    pub fn new(conn: Conn, backend: BackendId, client: ClientId) -> BackendConn {
        BackendConn {
            conn,
            backend,
            owner: Owner::Client(client),
            front: None,
            back: None,
            is_bound: false,
            responses: 0,
            sent_ids: SentIds::default(),
            dropped: Body::Empty,
            is_bare: false,
            scan: crate::http::scan::HeadScan::response(),
            heard: false,
            idled: Micros(0),
            front_since: Micros(0),
        }
    }
}

/// The unused connections of one backend: a stack, linked through the slab.
#[derive(Default)]
pub struct IdleStack {
    oldest: Option<BackendConnId>,
    newest: Option<BackendConnId>,
    /// The turn of the event loop in which one was last put here.
    turn: u64,
    /// The newest of those that were here before that turn.
    rested: Option<BackendConnId>,
    len: usize,
}

impl IdleStack {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one used last.
    pub fn newest(&self) -> Option<BackendConnId> {
        self.newest
    }

    /// The one used last, if not in this turn of the event loop. Events of the turns behind it have told
    /// by then whether bytes followed its last response at once.
    pub fn newest_rested(&self, turn: u64) -> Option<BackendConnId> {
        if self.turn == turn { self.rested } else { self.newest }
    }

    /// The one that has been idle for longest.
    pub fn oldest(&self) -> Option<BackendConnId> {
        self.oldest
    }

    /// Adds a connection that just became idle, in this turn of the event loop.
    pub fn push(
        &mut self,
        conns: &mut Slab<BackendConn, BackendConnTag>,
        id: BackendConnId,
        since: Micros,
        turn: u64,
    ) {
        if self.turn != turn {
            (self.turn, self.rested) = (turn, self.newest);
        }
        conns[id].owner = Owner::Idle { older: self.newest, newer: None, since };
        match self.newest {
            Some(below) => set_newer(conns, below, Some(id)),
            None => self.oldest = Some(id),
        }
        self.newest = Some(id);
        self.len += 1;
    }

    /// Takes a connection out, wherever it lies.
    pub fn remove(&mut self, conns: &mut Slab<BackendConn, BackendConnTag>, id: BackendConnId) {
        let Owner::Idle { older, newer, .. } = conns[id].owner else {
            panic!("only idle connections lie in the stack");
        };
        match older {
            Some(below) => set_newer(conns, below, newer),
            None => self.oldest = newer,
        }
        match newer {
            Some(above) => set_older(conns, above, older),
            None => self.newest = older,
        }
        if self.rested == Some(id) {
            self.rested = older;
        }
        self.len -= 1;
    }
}

impl Proxy {
    /// Puts a connection that nobody has any more on its backend's stack. Counted while its exchange
    /// still holds a place there, so that no moment shows neither.
    pub(super) fn keep_idle(&mut self, slot: BackendId, id: BackendConnId) {
        let idle = &mut self.backends[slot.0].idle;
        idle.push(&mut self.conns, id, self.now, self.turn);
        self.row.backend(slot).set(BackendGauge::Idle, idle.len() as u64);
    }

    /// Takes one off it again, wherever it lies.
    pub(super) fn take_idle(&mut self, slot: BackendId, id: BackendConnId) {
        let idle = &mut self.backends[slot.0].idle;
        idle.remove(&mut self.conns, id);
        self.row.backend(slot).set(BackendGauge::Idle, idle.len() as u64);
    }
}

fn set_newer(
    conns: &mut Slab<BackendConn, BackendConnTag>,
    id: BackendConnId,
    value: Option<BackendConnId>,
) {
    if let Owner::Idle { newer, .. } = &mut conns[id].owner {
        *newer = value;
    }
}

fn set_older(
    conns: &mut Slab<BackendConn, BackendConnTag>,
    id: BackendConnId,
    value: Option<BackendConnId>,
) {
    if let Owner::Idle { older, .. } = &mut conns[id].owner {
        *older = value;
    }
}
