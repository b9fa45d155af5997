//! Idle connections: a stack for each backend, last used first out.

use crate::mem::slab::Slab;
use crate::mem::time::{Micros, Millis};
use crate::shared::{BackendGauge, BackendId};

use super::connection::{BackendConn, Owner};
use super::{Turn, Upstream};
use crate::proxy::ids::{BackendConnId, BackendConnTag};

/// The idle connections of one backend: a stack, linked through the slab.
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
    /// How many idle connections there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The connection that was used last.
    pub fn newest(&self) -> Option<BackendConnId> {
        self.newest
    }

    /// The connection that was used last, if not in this turn of the event loop. Events of the turns behind it
    /// have told by then whether bytes followed its last response at once.
    pub fn newest_rested(&self, turn: u64) -> Option<BackendConnId> {
        if self.turn == turn { self.rested } else { self.newest }
    }

    /// The connection that has been idle for longest.
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

impl Upstream {
    /// Puts a connection that nobody has any more on its backend's stack. Counted while its exchange
    /// still holds a place there, so that no moment shows neither.
    pub(super) fn keep_idle(&mut self, id: BackendConnId, turn: &mut Turn) {
        let slot = self.conns[id].backend;
        let idle = &mut self.backends[slot.0].idle;
        idle.push(&mut self.conns, id, turn.now, turn.number);
        self.show_idle(slot);
        self.backlog_may_have_room(slot, turn);
    }

    /// Takes one off it again, wherever it lies. How long it has lain there.
    pub(super) fn take_idle(&mut self, id: BackendConnId, turn: &Turn) -> Micros {
        let slot = self.conns[id].backend;
        let idled = self.idle_for(id, turn).unwrap_or_default();
        self.backends[slot.0].idle.remove(&mut self.conns, id);
        self.show_idle(slot);
        idled
    }

    /// How long a connection has been idle, if it is.
    pub(super) fn idle_for(&self, id: BackendConnId, turn: &Turn) -> Option<Micros> {
        match self.conns[id].owner {
            Owner::Idle { since, .. } => Some(Micros(turn.now.0.saturating_sub(since.0))),
            Owner::Client(_) | Owner::Bound(..) | Owner::Held(_) | Owner::Multiplexed => None,
        }
    }

    fn show_idle(&self, slot: BackendId) {
        self.row.backend(slot).set(BackendGauge::Idle, self[slot].idle.len() as u64);
    }

    /// Closes an idle connection, which holds no ring.
    pub(super) fn close_idle(&mut self, id: BackendConnId, turn: &mut Turn) {
        self.take_idle(id, turn);
        self.conns.remove(id);
        self.conn_was_freed(turn);
    }

    /// Closes all idle connections to a backend.
    pub(super) fn close_all_idle(&mut self, slot: BackendId, turn: &mut Turn) {
        while let Some(idle) = self[slot].idle.newest() {
            self.close_idle(idle, turn);
        }
    }

    /// Closes the oldest idle connection of some backend, for the room that it takes. Whether there was
    /// one.
    pub fn close_any_idle(&mut self, turn: &mut Turn) -> bool {
        let oldest = self.backends.iter().find_map(|backend| backend.idle.oldest());
        if let Some(id) = oldest {
            self.close_idle(id, turn);
        }
        oldest.is_some()
    }

    /// Closes idle connections that are past their backend's limit, all if no requests are to be
    /// expected.
    pub fn close_old_idle(&mut self, goes_on: bool, turn: &mut Turn) {
        for slot in (0..self.backends.len()).map(BackendId) {
            while let Some(oldest) = self[slot].idle.oldest() {
                let idled = self.idle_for(oldest, turn).map_or(Millis(0), Micros::millis);
                if idled < self[slot].idle_limit.limit() && goes_on {
                    break;
                }
                self.close_idle(oldest, turn);
            }
        }
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
