//! Counts what happens, in this worker's row of the shared cells. What concerns a backend is counted
//! as long as a place there is claimed: then its slot can be no other's.

use crate::mem::time::elapsed;
use crate::shared::{BackendGauge, BackendId, Class, Counter, PoolGauge, PoolId};

use super::Proxy;
use crate::proxy::ids::{ClientId, ExchangeId};

impl Proxy {
    /// Counts an exchange that is over.
    pub(super) fn count_end(&self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        // 499 stands in the log alone: nobody got it.
        if exchange.status != 0 {
            self.row.add(Counter::Responses(Class::from_status(exchange.status)), 1);
        }
        if let Some(result) = exchange.cached {
            self.row.add(Counter::Cache(result), 1);
        }
        if let Some(reason) = exchange.reason() {
            self.row.add(Counter::Errors(reason), 1);
        }
        self.row.observe_duration(elapsed(exchange.times.taken_in, self.now));
    }

    /// Counts what a client has sent and was sent since the last time.
    pub(super) fn count_traffic_of(&mut self, id: ClientId) {
        let conn = &mut self.clients[id].conn;
        let traffic = conn.take_traffic();
        self.row.add(Counter::Received, traffic.received);
        self.row.add(Counter::Sent, traffic.sent);
        if self.buffers.spliced > 0 {
            self.row.add(Counter::Spliced, std::mem::take(&mut self.buffers.spliced));
        }
        if self.buffers.splice_fallbacks > 0 {
            let fallbacks = std::mem::take(&mut self.buffers.splice_fallbacks);
            self.row.add(Counter::SpliceFallbacks, fallbacks);
        }
    }

    /// Shows how many exchanges stand in a pool's line.
    pub(super) fn show_line(&self, pool: PoolId) {
        let waiting = self.pools[pool.0].line.len() as u64;
        self.row.pool(pool).set(PoolGauge::Queue, waiting);
    }

    /// Shows what was learned of the backends, for operators.
    pub(super) fn show_backends(&self) {
        for (slot, backend) in self.backends.iter().enumerate() {
            if backend.standing.source().is_some() {
                let row = self.row.backend(BackendId(slot));
                row.set(BackendGauge::IdleLimit, backend.idle_limit.limit().0);
                row.set(BackendGauge::Echoes, u64::from(backend.echo.echoes()));
            }
        }
    }
}
