//! Connections to backends: opened, used by one client, or by several (`multiplexed`), kept, closed.
//!
//! An idle connection belongs to its backend's stack (`idle`). One in use carries exchanges in the order
//! in which they were sent: the front one reads, the next follows it.

use crate::config::Endpoint;
use crate::http::body::Body;
use crate::http::scan::HeadScan;
use crate::mem::free_list::FreeList;
use crate::mem::time::{Micros, Millis};
use crate::net::{Conn, End};
use crate::policy::identity::{AbandonedIds, SentIds};
use crate::policy::reuse;
use crate::shared::{BackendCounter, BackendId};
use crate::sys::{IoError, KeepAlive, Poller, Socket};

use super::bound::Bound;
use super::waiting::Waiter;
use super::{Turn, Upstream};
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId, Token};

/// Who may use a backend connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: the connection is idle, and lies in its backend's stack between these two.
    Idle {
        /// The connection that was used before it.
        older: Option<BackendConnId>,
        /// The connection that was used after it.
        newer: Option<BackendConnId>,
        /// Since when.
        since: Micros,
    },
    /// This client has requests on it.
    Client(ClientId),
    /// This client, to which the connection is bound, and it carries nothing. The next one in the client's list
    /// of such connections.
    Bound(ClientId, Option<BackendConnId>),
    /// This exchange, whose response it holds unless a better one comes: see `held`.
    Held(ExchangeId),
    /// All exchanges that stand on it: see `multiplexed`.
    Multiplexed,
}

/// A connection to a backend.
pub struct BackendConn {
    /// Socket and rings.
    pub conn: Conn,
    /// Whose server it leads to.
    pub backend: BackendId,
    /// Who may use the connection now.
    pub owner: Owner,
    /// The exchange whose response is read now.
    pub front: Option<ExchangeId>,
    /// The last exchange whose request was put on the connection.
    pub back: Option<ExchangeId>,
    /// How many exchanges are on the connection.
    pub load: usize,
    /// Requests that were sent over the connection and whose responses nobody wants any more.
    pub abandoned: AbandonedIds,
    /// Whether the response to one of these requests may come ahead of the front exchange's, or has begun to.
    pub owes: bool,
    /// Whether more responses may come than for the exchanges on the connection: it is not kept then.
    pub is_spent: bool,
    /// Whether the connection stands in the list of those that are flushed at the end of the turn.
    pub is_to_be_flushed: bool,
    /// Whether a user may have logged in over the connection: see `bound`.
    pub is_bound: bool,
    /// Responses that came over the connection.
    pub responses: u32,
    /// Requests whose identifiers httplb made, as far as they are remembered.
    pub sent_ids: SentIds,
    /// What is still to come of the body of another request's response, which nobody gets.
    pub dropped: Body,
    /// Whether the last response had no body, whatever its head says: as responses to HEAD.
    pub is_bare: bool,
    /// How far the front of the input was searched for the end of a head.
    pub scan: HeadScan,
    /// Whether a byte of a response came since the front exchange became front.
    pub heard: bool,
    /// How long it had lain idle before it was taken.
    pub idled: Micros,
    /// When the front exchange could begin to wait for its answer.
    pub front_since: Micros,
}

impl BackendConn {
    /// A connection that is being opened for `client`.
    fn new(conn: Conn, backend: BackendId, client: ClientId) -> BackendConn {
        BackendConn {
            conn,
            backend,
            owner: Owner::Client(client),
            front: None,
            back: None,
            load: 0,
            abandoned: AbandonedIds::default(),
            owes: false,
            is_spent: false,
            is_to_be_flushed: false,
            is_bound: false,
            responses: 0,
            sent_ids: SentIds::default(),
            dropped: Body::Empty,
            is_bare: false,
            scan: HeadScan::response(),
            heard: false,
            idled: Micros(0),
            front_since: Micros(0),
        }
    }
}

impl BackendConn {
    /// Whether a response has to bear the identifier of the front exchange's request, for those to others'
    /// requests may come here too.
    pub fn demands_id(&self) -> bool {
        self.owner == Owner::Multiplexed || self.is_spent
    }

    /// Whether the connection broke, rather than that the backend ended it.
    pub fn was_reset(&self) -> bool {
        matches!(self.conn.end, End::Reset | End::Broken)
    }

    /// Notes that from now on the front exchange waits for its response.
    pub fn expect_response(&mut self, now: Micros) {
        self.scan = HeadScan::response();
        self.heard = !self.conn.input.is_empty();
        self.owes = !self.abandoned.is_empty() || !self.dropped.is_done();
        self.front_since = now;
    }
}

/// What there is of idle connections to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reusable {
    /// This one may be used.
    Ready(BackendConnId),
    /// A connection may be used in the next turn of the event loop.
    NextTurn,
    /// A new one is needed.
    None,
}

/// What becomes of a connection whose front exchange is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The exchange behind reads now, or it is idle.
    Kept,
    /// It is to be closed. What it still carries starts anew.
    ToBeClosed,
}

impl Upstream {
    /// The backend's connection that was used last, if it is fresh enough.
    ///
    /// A connection whose last response ended in this turn of the event loop is left alone until the
    /// next one, which first sees what the backend sent behind that response, and closes it.
    pub fn find_reusable(&self, slot: BackendId, is_idempotent: bool, turn: &Turn) -> Reusable {
        let backend = &self[slot];
        let Some(conn) = backend.idle.newest_rested(turn.number) else {
            return if backend.idle.is_empty() { Reusable::None } else { Reusable::NextTurn };
        };
        let limit = backend.idle_limit.limit();
        match self.idle_for(conn, turn) {
            Some(time) if reuse::may_reuse(time.millis(), limit, is_idempotent) => {
                Reusable::Ready(conn)
            }
            Some(_) | None => Reusable::None,
        }
    }

    /// Gives an idle connection to an exchange.
    pub fn reuse_idle(&mut self, id: BackendConnId, by: Waiter, turn: &Turn) {
        let idled = self.take_idle(id, turn);
        self.reuse(id, by, idled);
    }

    /// Gives a connection that carries nothing and was used before, and has lain idle for so long, to an
    /// exchange.
    pub fn reuse(&mut self, id: BackendConnId, by: Waiter, idled: Micros) {
        let conn = &mut self.conns[id];
        conn.idled = idled;
        conn.owner = Owner::Client(by.client);
        let slot = conn.backend;
        self.push(id, by.exchange);
        self.row.backend(slot).add(BackendCounter::Reuses, 1);
    }

    /// A connection that carries nothing is an exchange's from now on.
    pub fn attach(&mut self, id: BackendConnId, by: Waiter) {
        self[id].owner = Owner::Client(by.client);
        self.push(id, by.exchange);
    }

    /// An exchange that is alone on its connection leaves it to another, with all that comes over it.
    pub fn hand_over(&mut self, id: BackendConnId, from: ExchangeId, to: Waiter) {
        self.take_off(id, from);
        self.attach(id, to);
    }

    /// Puts an exchange behind the others on their connection.
    pub fn share(&mut self, id: BackendConnId, by: ExchangeId) {
        let (conn, backend) = self.conn_and_backend(id);
        debug_assert!(matches!(conn.owner, Owner::Client(_) | Owner::Multiplexed));
        backend.on_trial = Some(by);
        self.push(id, by);
        self.count_reuse(id);
    }

    fn count_reuse(&self, id: BackendConnId) {
        self.row.backend(self[id].backend).add(BackendCounter::Reuses, 1);
    }

    /// Opens a connection to a backend for an exchange, for which there is room. Fails where it is refused
    /// at once, or no descriptor is left ([`IoError::Exhausted`]), or the backend's own queue is full
    /// ([`IoError::WouldBlock`]).
    pub fn open(
        &mut self,
        slot: BackendId,
        by: Waiter,
        keepalive: Option<KeepAlive>,
        poller: &Poller,
    ) -> Result<BackendConnId, IoError> {
        let address = self[slot].address;
        let socket = Socket::connect(address).inspect_err(|error| self.on_refused(slot, *error))?;
        self[slot].is_denied = false;
        let is_connected = matches!(address, Endpoint::Unix(_));
        if let Some(keepalive) = keepalive.filter(|_| !is_connected) {
            // Without it the connection serves as well.
            let _ = socket.keep_alive(keepalive);
        }
        let conn = BackendConn::new(Conn::new(socket, false, is_connected), slot, by.client);
        let id = self.conns.insert(conn).expect("room was made for it");
        self.row.backend(slot).add(BackendCounter::Connects, 1);
        if let Err(error) = self.conns[id].conn.watch(poller, Token::Backend(id).pack()) {
            self.conns.remove(id);
            return Err(error);
        }
        self.push(id, by.exchange);
        Ok(id)
    }

    /// Whether another connection may be opened.
    pub fn has_room_for_conn(&self) -> bool {
        !self.conns.is_full()
    }

    /// Passes a connection on whose front exchange is done: to the exchange behind it, to the idle ones,
    /// or to those of its client.
    pub fn pass_on(
        &mut self,
        id: BackendConnId,
        (client, bound): (ClientId, &mut Bound),
        rings: &mut FreeList,
        turn: &mut Turn,
    ) -> Released {
        let conn = &mut self.conns[id];
        if conn.conn.has_said_end || conn.is_spent {
            return Released::ToBeClosed;
        }
        if conn.front.is_some() {
            conn.expect_response(turn.now);
            return Released::Kept;
        }
        if !conn.abandoned.is_empty() {
            return Released::ToBeClosed;
        }
        // Anything more from a backend that was asked nothing more cannot be an answer.
        let is_silent = conn.conn.input.is_empty()
            && matches!(conn.conn.fill(rings), Ok(0))
            && conn.conn.end == End::Open
            && conn.conn.output.is_empty();
        let says_more = !conn.conn.input.is_empty();
        let has_ended = conn.conn.end != End::Open && !says_more;
        conn.conn.release_idle_buffers(rings);
        let (slot, is_bound, responses) = (conn.backend, conn.is_bound, conn.responses);
        if says_more {
            self[slot].sharing.failed(turn.now.millis());
        }
        if has_ended {
            self.learn_of_closing(slot, responses, Millis(0), turn);
        }
        let keeps = match is_bound {
            true => !self[slot].is_out,
            false => self[slot].keeps(turn.now.millis()),
        };
        if !is_silent || !keeps {
            return Released::ToBeClosed;
        }
        self.unlist_multiplexed(id);
        if is_bound {
            self.keep_bound(client, bound, id, rings, turn);
        } else {
            self.keep_idle(id, turn);
        }
        Released::Kept
    }

    /// Closes a connection. Nothing is on it any more.
    pub fn remove_conn(&mut self, id: BackendConnId, rings: &mut FreeList, turn: &mut Turn) {
        self.unlist_multiplexed(id);
        let mut conn = self.conns.remove(id);
        conn.conn.release(rings);
        self.conn_was_freed(turn);
    }

    /// The exchange behind this one on the same connection.
    pub fn behind(&self, exchange: ExchangeId) -> Option<ExchangeId> {
        self.behind[exchange.index()]
    }

    /// Puts an exchange at the end of a connection.
    fn push(&mut self, id: BackendConnId, exchange: ExchangeId) {
        let conn = &mut self.conns[id];
        conn.load += 1;
        match conn.back.replace(exchange) {
            Some(last) => self.behind[last.index()] = Some(exchange),
            None => conn.front = Some(exchange),
        }
    }

    /// Takes the front exchange off its connection: the one behind it is the front now.
    pub fn pop(&mut self, id: BackendConnId) -> Option<ExchangeId> {
        let conn = &mut self.conns[id];
        let exchange = conn.front?;
        conn.front = self.behind[exchange.index()].take();
        conn.load -= 1;
        if conn.front.is_none() {
            conn.back = None;
        }
        Some(exchange)
    }

    /// Takes an exchange off its connection, wherever it stands there.
    pub fn take_off(&mut self, id: BackendConnId, exchange: ExchangeId) {
        if self.conns[id].front == Some(exchange) {
            self.pop(id);
            return;
        }
        let behind = self.behind[exchange.index()].take();
        let mut next = self.conns[id].front;
        while let Some(before) = next {
            next = self.behind[before.index()];
            if next == Some(exchange) {
                self.behind[before.index()] = behind;
                self.conns[id].load -= 1;
                if behind.is_none() {
                    self.conns[id].back = Some(before);
                }
                return;
            }
        }
    }
}
