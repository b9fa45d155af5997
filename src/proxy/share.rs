//! Requests behind each other on one connection, and how they leave it when its backend does not take
//! them so.

use crate::policy::order;
use crate::policy::retry::Failure;
use crate::policy::sharing::Leave;
use crate::shared::BackendId;

use super::Proxy;
use super::exchange::{Carrier, DispatchMode, State};
use crate::proxy::ids::{BackendConnId, ExchangeId};

impl Proxy {
    /// Joins the connection of an exchange ahead of it that was taken in with it and goes to the
    /// same backend, if that takes it: one send carries their heads.
    pub(super) fn share(&mut self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        let (Some(slot), DispatchMode::Speculative) = (exchange.choice, exchange.dispatch_mode)
        else {
            return false;
        };
        if !order::may_share(exchange.request.method, exchange.request.pipelinable) {
            return false;
        }
        let leave = self.upstream[slot].leave_to_share(self.turn.now.millis());
        let is_allowed = match leave {
            Leave::None => false,
            Leave::Pair => !self.is_on_trial(slot),
            Leave::Many => true,
        };
        if !is_allowed {
            return false;
        }
        let Some(conn_id) = self.conn_to_share(id, slot, leave) else { return false };
        let backend = &self.upstream[conn_id];
        if backend.conn.output_room(self.buffers.ring_size) < self.wire_len(id) {
            return false;
        }
        self.upstream.share(conn_id, id);
        let exchange = &mut self.exchanges[id];
        exchange.conn = Some(conn_id);
        exchange.carrier = Carrier::Shared;
        self.begin_sending(id);
        true
    }

    /// Whether the last request that was put behind another there still waits for its response.
    pub(super) fn is_on_trial(&self, slot: BackendId) -> bool {
        let last = self.upstream[slot].on_trial.and_then(|id| self.exchanges.get(id));
        last.is_some_and(|exchange| {
            let waits = matches!(exchange.state(), State::Sending | State::Awaiting);
            waits && exchange.carrier == Carrier::Shared
        })
    }

    /// The connection that the exchanges ahead of `id` share.
    fn conn_to_share(
        &self,
        id: ExchangeId,
        slot: BackendId,
        leave: Leave,
    ) -> Option<BackendConnId> {
        let exchange = &self.exchanges[id];
        let mut found = None;
        let mut next = self.downstream[exchange.client].first;
        while let Some(ahead_id) = next {
            if ahead_id == id {
                break;
            }
            let ahead = &self.exchanges[ahead_id];
            next = self.downstream.behind(ahead_id);
            let fits = ahead.request.batch == exchange.request.batch
                && ahead.choice == Some(slot)
                && ahead.state() == State::Sending
                && ahead.dispatch_mode == DispatchMode::Speculative
                && order::may_share(ahead.request.method, ahead.request.pipelinable);
            if let (true, Some(conn)) = (fits, ahead.conn)
                && self.upstream[conn].back == Some(ahead_id)
                && !self.upstream.is_multiplexed(conn)
                && (leave == Leave::Many || self.fits_for_trial(conn))
            {
                found = Some(conn);
            }
        }
        found
    }

    /// Whether a connection carries one request, and is known to carry another after a response.
    fn fits_for_trial(&self, conn: BackendConnId) -> bool {
        let backend = &self.upstream[conn];
        backend.front == backend.back && backend.responses > 0
    }

    /// A request that stood behind another has heard nothing since that was answered. In the end
    /// it leaves, with all behind it.
    pub(super) fn waited_behind_another(&mut self, id: ExchangeId) {
        let conn = self.backend_conn(id);
        let backend = &self.upstream[conn];
        let pace = &self.upstream[backend.backend].pace;
        // Timers count in whole milliseconds.
        if (self.turn.now - backend.front_since).millis().0 + 1 >= pace.patience().millis().0 {
            self.end_sharing(conn);
        }
    }

    /// What a failure says of requests behind each other. Whether `id` leaves for a connection of its
    /// own, which is no try: it stood behind another or, if only just, came after a response without a
    /// body, and would not have failed elsewhere.
    pub(super) fn leaves_conn(&mut self, id: ExchangeId, failure: Failure) -> bool {
        let exchange = &self.exchanges[id];
        let Some(conn) = exchange.conn.filter(|_| !exchange.is_committed()) else { return false };
        if self.leaves_multiplexed(id, conn, failure) {
            return true;
        }
        let exchange = &self.exchanges[id];
        let is_nonsense = matches!(failure, Failure::Protocol | Failure::HeadTooLarge);
        let was_behind = exchange.carrier == Carrier::Shared;
        if was_behind && (is_nonsense || failure == Failure::Terminated) {
            self.end_sharing(conn);
            return true;
        }
        // Some servers send a body with a response that has none.
        let is_surplus = exchange.carrier == Carrier::Kept && self.upstream[conn].is_bare;
        if is_nonsense && is_surplus && exchange.request.pipelinable {
            self.exchanges[id].wants_new = true;
            self.close_used_conn(conn, DispatchMode::Exclusive);
            return true;
        }
        if is_nonsense && self.upstream.behind(id).is_some() {
            let slot = self.upstream[conn].backend;
            self.upstream[slot].sharing.failed(self.turn.now.millis());
        }
        false
    }

    /// Closes a connection whose backend does not take requests behind each other. Those on it get
    /// one each.
    fn end_sharing(&mut self, conn: BackendConnId) {
        let slot = self.upstream[conn].backend;
        self.upstream[slot].sharing.failed(self.turn.now.millis());
        self.close_used_conn(conn, DispatchMode::Exclusive);
    }
}
