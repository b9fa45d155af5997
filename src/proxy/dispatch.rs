//! Waiting: its turn, a stored answer, a backend, a connection.

use crate::mem::time::Micros;
use crate::net::Conn;
use crate::policy::order;
use crate::policy::retry::Failure;
use crate::policy::reuse;
use crate::shared::BackendCounter;
use crate::sys::{IoError, Socket};

use super::Proxy;
use super::Token;
use super::backend::{BackendConn, Owner};
use super::bound::Bound;
use super::exchange::{Carrier, DispatchMode, State, WaitQueue};
use crate::proxy::ids::{BackendConnId, ExchangeId};
use crate::proxy::step::Progress;

/// What there is of idle connections to the backend of an exchange.
enum Idle {
    /// This one may be used.
    Ready(BackendConnId),
    /// This one is the client's own.
    Bound(BackendConnId),
    /// One may be used in the next turn of the event loop.
    NextTurn,
    /// A new one is needed.
    None,
}

impl Proxy {
    /// Starts an exchange whose turn has come, if there is a backend and a connection for it.
    pub(super) fn dispatch(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let exchange = &self.exchanges[id];
        let patient = exchange.dispatch_mode == DispatchMode::Patient;
        if !order::may_start(true, exchange.request.pipelinable, self.is_first(id), patient) {
            return Ok(Progress::None);
        }
        let bound = self.clients[self.exchanges[id].client].bound;
        if bound != Bound::Never && !self.is_first(id) {
            return Ok(Progress::None); // Its turn on the connection that is the client's own.
        }
        if let Some(moved) = self.consult(id) {
            return Ok(moved);
        }
        if self.exchanges[id].choice.is_none() && !self.choose(id)? {
            return Ok(Progress::None);
        }
        if self.share(id) {
            self.dequeue_waiter(id);
            return Ok(Progress::Made);
        }
        match self.find_idle(id) {
            Idle::Ready(conn) => self.reuse(id, conn),
            Idle::Bound(conn) => self.use_bound(id, conn),
            Idle::NextTurn => {
                self.exchanges[id].waited_in_turn = Some(self.turn);
                self.wake(self.exchanges[id].client);
                return Ok(Progress::None);
            }
            Idle::None => return self.open(id),
        }
        self.dequeue_waiter(id);
        Ok(Progress::Made)
    }

    /// The backend's connection that was used last, if it is fresh enough. One whose turn has not
    /// come takes nothing from those who stand in line.
    ///
    /// A connection whose last response ended in this turn of the event loop is left alone until the
    /// next one, which first sees what the backend sent behind that response, and closes it.
    fn find_idle(&self, id: ExchangeId) -> Idle {
        let is_polite = self.line.is_empty() || self.is_first(id);
        let exchange = &self.exchanges[id];
        let Some(slot) = exchange.choice.filter(|_| is_polite && !exchange.wants_new) else {
            return Idle::None;
        };
        if let Some(conn) = self.bound_conn(exchange.client, |conn| conn.backend == slot) {
            return Idle::Bound(conn);
        }
        let backend = &self.backends[slot.0];
        let Some(conn) = backend.idle.newest_rested(self.turn) else {
            let may_wait = exchange.waited_in_turn.is_none_or(|turn| turn == self.turn);
            let waits = may_wait && !backend.idle.is_empty();
            return if waits { Idle::NextTurn } else { Idle::None };
        };
        let limit = backend.idle_limit.limit();
        let idempotent = exchange.request.idempotent;
        match self.idle_for(conn) {
            Some(time) if reuse::may_reuse(time.millis(), limit, idempotent) => Idle::Ready(conn),
            Some(_) | None => Idle::None,
        }
    }

    fn idle_for(&self, conn: BackendConnId) -> Option<Micros> {
        match self.conns[conn].owner {
            Owner::Idle { since, .. } => Some(Micros(self.now.0.saturating_sub(since.0))),
            Owner::Client(_) | Owner::Bound(..) | Owner::Held(_) => None,
        }
    }

    /// Sends the request over an idle connection.
    fn reuse(&mut self, id: ExchangeId, conn_id: BackendConnId) {
        let idled = self.idle_for(conn_id).unwrap_or_default();
        let slot = self.conns[conn_id].backend;
        self.take_idle(slot, conn_id);
        self.send_over(id, conn_id, idled);
    }

    /// Sends the request over a connection that carries nothing and was used before.
    pub(super) fn send_over(&mut self, id: ExchangeId, conn_id: BackendConnId, idled: Micros) {
        let slot = self.conns[conn_id].backend;
        let exchange = &mut self.exchanges[id];
        let conn = &mut self.conns[conn_id];
        conn.owner = Owner::Client(exchange.client);
        conn.idled = idled;
        conn.front = Some(id);
        conn.back = Some(id);
        exchange.conn = Some(conn_id);
        exchange.carrier = Carrier::Kept;
        self.row.backend(slot).add(BackendCounter::Reuses, 1);
        self.begin_sending(id);
    }

    /// Opens a connection, or waits in line until there may be one more.
    fn open(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let is_next = self.line.front().is_none_or(|front| *front == id);
        if !is_next || !self.make_room_for_conn(id) {
            self.enqueue_waiter(id, WaitQueue::Connection);
            return Ok(Progress::None);
        }
        let exchange = &self.exchanges[id];
        let slot = exchange.choice.ok_or(Failure::NoBackend)?;
        let address = self.backends[slot.0].address;
        let socket = match Socket::connect(address) {
            Ok(socket) => socket,
            Err(IoError::Exhausted) => return Ok(self.without_descriptor(id)),
            Err(_) => return Err(Failure::Refused),
        };
        if let Some(keepalive) = self.settings.keepalive() {
            // Without it the connection serves as well.
            let _ = socket.keep_alive(keepalive);
        }
        let conn = BackendConn::new(Conn::new(socket, false, false), slot, exchange.client);
        let conn_id = self.conns.insert(conn).expect("room was made for it");
        self.row.backend(slot).add(BackendCounter::Connects, 1);
        let conn = &mut self.conns[conn_id];
        conn.front = Some(id);
        conn.back = Some(id);
        let token = Token::Backend(conn_id).pack();
        let watched = conn.conn.watch(&self.poller, token);
        self.dequeue_waiter(id);
        let exchange = &mut self.exchanges[id];
        exchange.conn = Some(conn_id);
        exchange.carrier = Carrier::New;
        exchange.enter(State::Connecting);
        match watched {
            Ok(()) => Ok(Progress::Made),
            Err(_) => Err(Failure::Refused),
        }
    }

    /// Makes sure that a connection may be opened: if all are taken, closes the one that has been
    /// idle for longest; for a first exchange, takes that of a speculative one.
    fn make_room_for_conn(&mut self, id: ExchangeId) -> bool {
        if !self.conns.is_full() || self.close_an_idle_conn() {
            return true;
        }
        self.is_first(id) && self.revoke_conn()
    }

    /// The process has no descriptor left: an idle connection gives its own up for the next try, in
    /// the end a client's, lest idle clients keep those with a request from being served.
    fn without_descriptor(&mut self, id: ExchangeId) -> Progress {
        self.enqueue_waiter(id, WaitQueue::Connection);
        let freed = self.close_an_idle_conn()
            || self.is_first(id) && (self.revoke_conn() || self.close_an_idle_client());
        if freed { Progress::Made } else { Progress::None }
    }

    /// Closes some backend's oldest idle connection; if there is none, one that is only kept for what may
    /// come.
    fn close_an_idle_conn(&mut self) -> bool {
        let oldest = self.backends.iter().find_map(|backend| backend.idle.oldest());
        if let Some(conn) = oldest {
            self.close_idle_conn(conn);
            return true;
        }
        self.close_any_bound_conn() || self.close_any_held_conn()
    }

    /// Takes a connection from an exchange that was dispatched before its turn, so that nobody
    /// waits for connections parked behind each other. Its exchanges then wait to be first.
    fn revoke_conn(&mut self) -> bool {
        if self.exchanges.len() == self.busy_clients {
            return false; // Each client has one exchange, so all are first.
        }
        let victim = self.conns.ids().find(|conn| {
            let front = self.conns[*conn].front;
            front.is_some_and(|front| !self.is_first(front))
        });
        if let Some(conn) = victim {
            self.close_used_conn(conn, DispatchMode::Patient);
        }
        victim.is_some()
    }

    /// A connection may be opened again.
    pub(super) fn wake_line(&mut self) {
        if let Some(next) = self.line.front() {
            self.wake(self.exchanges[*next].client);
        }
    }
}
