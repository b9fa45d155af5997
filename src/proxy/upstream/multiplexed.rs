//! Connections that carry requests of several clients ("multiplex": "verified").
//!
//! Requests that come in one turn of the event loop and fall to one backend are put behind each other on
//! one connection, which is flushed once, at the end of the turn. Responses come in their order, and each
//! is delivered only under the identifier of its request. As long as it is kept, such a connection is in
//! the list of its backend; when nothing stands on it, it is idle like any other.

use crate::policy::multiplexing;
use crate::shared::{BackendCounter, BackendId};

use super::connection::Owner;
use super::waiting::Waiter;
use super::{Turn, Upstream};
use crate::proxy::ids::{BackendConnId, ExchangeId};

/// Room in the output ring of a connection that is to be joined.
#[derive(Clone, Copy)]
pub struct Room {
    /// Bytes in a ring.
    pub ring_size: usize,
    /// Bytes that the request needs of it.
    pub wanted: usize,
}

impl Upstream {
    /// Whether a connection carries requests of several clients, or may.
    pub fn is_multiplexed(&self, id: BackendConnId) -> bool {
        self[id].owner == Owner::Multiplexed
    }

    /// A multiplexed connection to a backend on which fewer than `limit` stand, none of which is slow
    /// already.
    pub fn find_multiplexed(
        &self,
        slot: BackendId,
        limit: usize,
        room: Room,
        turn: &Turn,
    ) -> Option<BackendConnId> {
        let patience = multiplexing::patience(&self[slot].pace);
        self[slot].multiplexed.iter().copied().find(|id| {
            let conn = &self[*id];
            let waited = turn.now - conn.front_since;
            conn.load < limit
                && conn.conn.output_room(room.ring_size) >= room.wanted
                && waited.0 <= patience.0 / 2
        })
    }

    /// Makes an idle connection one that several clients share, an exchange the first of them.
    pub fn multiplex_idle(&mut self, id: BackendConnId, by: Waiter, turn: &Turn) {
        self.reuse_idle(id, by, turn);
        let (conn, backend) = self.conn_and_backend(id);
        conn.owner = Owner::Multiplexed;
        backend.multiplexed.push(id);
    }

    /// Puts an exchange behind those of others.
    pub fn join(&mut self, id: BackendConnId, by: ExchangeId) {
        self.share(id, by);
        self.row.backend(self[id].backend).add(BackendCounter::Shared, 1);
    }

    /// A connection on which nothing stands any more is one exchange's alone. If it is spent, it is closed
    /// behind that.
    pub fn leave_to(&mut self, id: BackendConnId, front: Waiter, is_spent: bool) {
        self.unlist_multiplexed(id);
        self.attach(id, front);
        self[id].is_spent = is_spent;
    }

    /// An exchange on a multiplexed connection is given up: what comes for it is dropped. `false`: it
    /// cannot be, for nobody else is on that connection, or too many were given up there.
    pub fn abandon(&mut self, id: BackendConnId, exchange: ExchangeId, request_id: &[u8]) -> bool {
        let conn = &mut self[id];
        if conn.load < 2 || !conn.abandoned.add(request_id) {
            return false;
        }
        self.take_off(id, exchange);
        true
    }

    /// A connection is no multiplexed one any more, if it was.
    pub(super) fn unlist_multiplexed(&mut self, id: BackendConnId) {
        if self.is_multiplexed(id) {
            let (_, backend) = self.conn_and_backend(id);
            backend.multiplexed.retain(|other| *other != id);
        }
    }

    /// Has a connection flushed at the end of the turn.
    pub fn flush_later(&mut self, id: BackendConnId) {
        if !std::mem::replace(&mut self[id].is_to_be_flushed, true) {
            self.to_be_flushed.push(id);
        }
    }

    /// The next one that is to be flushed now.
    pub fn next_to_flush(&mut self) -> Option<BackendConnId> {
        loop {
            let id = self.to_be_flushed.pop()?;
            if let Some(conn) = self.conns.get_mut(id) {
                conn.is_to_be_flushed = false;
                return Some(id);
            }
        }
    }
}
