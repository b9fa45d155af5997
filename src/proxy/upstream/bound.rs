//! Backend connections over which a client has logged in, or may have: NTLM and Negotiate log in a
//! connection, not a request.
//!
//! Such a connection is bound to its client: the client's next requests to that pool go over it, nobody
//! else's ever do, and it closes with the client. Between two requests it is in the client's list. From
//! then on the client's requests go one by one, as they would over one connection to the server itself.

use crate::mem::free_list::FreeList;

use super::connection::{BackendConn, Owner};
use super::{Turn, Upstream};
use crate::proxy::ids::{BackendConnId, ClientId};

/// The connections that are bound to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The client never had a bound connection.
    Never,
    /// The client has, or had, bound connections. This one is the first in the list of those that carry nothing
    /// now.
    List(Option<BackendConnId>),
}

impl Bound {
    /// The first of the list.
    fn first(self) -> Option<BackendConnId> {
        match self {
            Bound::Never => None,
            Bound::List(first) => first,
        }
    }
}

/// Binds a connection to the client that has sent a request over it.
pub fn bind(conn: &mut BackendConn, bound: &mut Bound) {
    conn.is_bound = true;
    if *bound == Bound::Never {
        *bound = Bound::List(None);
    }
}

impl Upstream {
    /// Of a client's bound connections that carry nothing, the first that is `wanted`.
    pub fn find_bound(
        &self,
        bound: Bound,
        wanted: impl Fn(&BackendConn) -> bool,
    ) -> Option<BackendConnId> {
        let mut next = bound.first();
        while let Some(id) = next {
            if wanted(&self[id]) {
                return Some(id);
            }
            next = self.next_bound(id);
        }
        None
    }

    /// The connection behind this one in its list.
    fn next_bound(&self, id: BackendConnId) -> Option<BackendConnId> {
        match self[id].owner {
            Owner::Bound(_, behind) => behind,
            Owner::Idle { .. } | Owner::Client(_) | Owner::Held(_) | Owner::Multiplexed => None,
        }
    }

    /// Keeps a connection that carries nothing for its client. An older one to the same pool closes:
    /// the client has logged in over the newer one last.
    pub(super) fn keep_bound(
        &mut self,
        client: ClientId,
        bound: &mut Bound,
        id: BackendConnId,
        rings: &mut FreeList,
        turn: &mut Turn,
    ) {
        let pool = self[self[id].backend].pool;
        if let Some(older) = self.find_bound(*bound, |conn| self[conn.backend].pool == pool) {
            self.close_bound(bound, older, rings, turn);
        }
        self[id].owner = Owner::Bound(client, bound.first());
        *bound = Bound::List(Some(id));
    }

    /// Closes a connection in a client's list: it ended, or said something unasked, or is in the way.
    pub fn close_bound(
        &mut self,
        bound: &mut Bound,
        id: BackendConnId,
        rings: &mut FreeList,
        turn: &mut Turn,
    ) {
        self.unlist(bound, id);
        self.remove_conn(id, rings, turn);
    }

    /// Closes all that are in a client's list: it goes away.
    pub fn close_all_bound(&mut self, bound: &mut Bound, rings: &mut FreeList, turn: &mut Turn) {
        while let Some(first) = bound.first() {
            self.close_bound(bound, first, rings, turn);
        }
    }

    /// Some client's, whose room may be needed more. That client has to log in anew.
    pub fn any_bound(&self) -> Option<(ClientId, BackendConnId)> {
        self.conns.ids().find_map(|id| match self[id].owner {
            Owner::Bound(client, _) => Some((client, id)),
            Owner::Idle { .. } | Owner::Client(_) | Owner::Held(_) | Owner::Multiplexed => None,
        })
    }

    /// Takes a connection out of its client's list.
    pub fn unlist(&mut self, bound: &mut Bound, id: BackendConnId) {
        let behind = self.next_bound(id);
        let is_before =
            |conn: &BackendConn| matches!(conn.owner, Owner::Bound(_, Some(next)) if next == id);
        let before = self.find_bound(*bound, is_before);
        match before {
            None => *bound = Bound::List(behind),
            Some(before) => {
                if let Owner::Bound(_, next) = &mut self[before].owner {
                    *next = behind;
                }
            }
        }
    }
}
