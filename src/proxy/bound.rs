//! Backend connections over which a client has logged in, or may have: NTLM and Negotiate log in a
//! connection, not a request.
//!
//! Such a connection is bound to its client: the client's next requests to that pool go over it, nobody
//! else's ever do, and it closes with the client. Between two requests it is in the client's list. From
//! then on the client's requests go one by one, as they would over one connection to the server itself.

use crate::mem::time::Micros;
use crate::policy::sticky::StickyTarget;

use super::Proxy;
use super::backend::{BackendConn, Owner};
use super::client::Client;
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId};

/// The connections that are bound to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// None ever was.
    Never,
    /// There was one. This one is the first in the list of those that carry nothing now.
    List(Option<BackendConnId>),
}

/// Binds the connection that a request of this client is on.
pub(super) fn bind(conn: &mut BackendConn, client: &mut Client) {
    conn.is_bound = true;
    if client.bound == Bound::Never {
        client.bound = Bound::List(None);
    }
}

impl Proxy {
    /// The one of a client's bound connections that carry nothing which is `wanted`.
    pub(super) fn bound_conn(
        &self,
        client: ClientId,
        wanted: impl Fn(&BackendConn) -> bool,
    ) -> Option<BackendConnId> {
        let mut next = match self.clients[client].bound {
            Bound::Never => None,
            Bound::List(first) => first,
        };
        while let Some(id) = next {
            if wanted(&self.conns[id]) {
                return Some(id);
            }
            next = self.behind(id);
        }
        None
    }

    /// The one behind it in the list that it is in.
    fn behind(&self, id: BackendConnId) -> Option<BackendConnId> {
        match self.conns[id].owner {
            Owner::Bound(_, behind) => behind,
            Owner::Idle { .. } | Owner::Client(_) | Owner::Held(_) => None,
        }
    }

    /// A client that has a connection of its own goes to the backend that it leads to, as one whose cookie
    /// names that: elsewhere if it has as many requests as it may. A connection to one that is out is
    /// closed.
    pub(super) fn prefer_bound(&mut self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        let (client, pool) = (exchange.client, exchange.pool);
        if self.clients[client].bound == Bound::Never {
            return;
        }
        let of_pool = |conn: &BackendConn| self.backends[conn.backend.0].pool == pool;
        let Some(conn) = self.bound_conn(client, of_pool) else { return };
        let backend = &self.backends[self.conns[conn].backend.0];
        if backend.is_out {
            self.close_bound_conn(client, conn);
        } else {
            self.exchanges[id].sticky_target = StickyTarget::To(backend.mark);
        }
    }

    /// Sends the request over its client's own connection, however long that was idle.
    pub(super) fn use_bound(&mut self, id: ExchangeId, conn: BackendConnId) {
        self.unlist(self.exchanges[id].client, conn);
        self.send_over(id, conn, Micros(0));
    }

    /// Keeps a connection that carries nothing for its client. An older one to the same pool closes:
    /// the client has logged in over the newer one last.
    pub(super) fn keep_bound(&mut self, client: ClientId, id: BackendConnId) {
        let pool = self.backends[self.conns[id].backend.0].pool;
        let of_pool = |conn: &BackendConn| self.backends[conn.backend.0].pool == pool;
        if let Some(older) = self.bound_conn(client, of_pool) {
            self.close_bound_conn(client, older);
        }
        let first = match self.clients[client].bound {
            Bound::Never => None,
            Bound::List(first) => first,
        };
        self.conns[id].owner = Owner::Bound(client, first);
        self.clients[client].bound = Bound::List(Some(id));
    }

    /// Closes a connection in a client's list: it ended, or said something unasked, or is in the way.
    pub(super) fn close_bound_conn(&mut self, client: ClientId, id: BackendConnId) {
        self.unlist(client, id);
        self.remove_conn(id);
    }

    /// Closes all that are in a client's list: it goes away.
    pub(super) fn close_bound_conns(&mut self, client: ClientId) {
        while let Bound::List(Some(first)) = self.clients[client].bound {
            self.close_bound_conn(client, first);
        }
    }

    /// Closes some client's, for the room that it takes. That client has to log in anew.
    pub(super) fn close_any_bound_conn(&mut self) -> bool {
        let found = self.conns.ids().find_map(|id| match self.conns[id].owner {
            Owner::Bound(client, _) => Some((client, id)),
            Owner::Idle { .. } | Owner::Client(_) | Owner::Held(_) => None,
        });
        if let Some((client, id)) = found {
            self.close_bound_conn(client, id);
        }
        found.is_some()
    }

    /// Takes a connection out of its client's list.
    fn unlist(&mut self, client: ClientId, id: BackendConnId) {
        let behind = self.behind(id);
        let before = self.bound_conn(
            client,
            |conn| matches!(conn.owner, Owner::Bound(_, Some(next)) if next == id),
        );
        match before {
            Some(before) => self.conns[before].owner = Owner::Bound(client, behind),
            None => self.clients[client].bound = Bound::List(behind),
        }
    }
}
