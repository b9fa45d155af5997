//! Counts what happens, in this worker's row of the shared cells. What concerns a backend is counted
//! as long as a place there is claimed: then its slot can be no other's.

use crate::mem::time::elapsed;
use crate::shared::{Class, Counter};

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
        self.row.observe_duration(elapsed(exchange.times.taken_in, self.turn.now));
    }

    /// Counts what a client has sent and was sent since the last time.
    pub(super) fn count_traffic_of(&mut self, id: ClientId) {
        let traffic = self.downstream[id].take_traffic();
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
}
