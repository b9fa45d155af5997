//! Counts what happens, in this worker's row of the shared cells, and logs it. What concerns a backend is
//! counted as long as a place there is claimed: then its slot can be no other's.

use crate::mem::time::elapsed;
use crate::net::conn::Traffic;
use crate::shared::{Class, Counter, PoolCounter};
use crate::sys::LogFile;

use super::Proxy;
use crate::proxy::ids::ExchangeId;

impl Proxy {
    /// Counts an exchange that is over.
    pub(super) fn count_end(&self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        let took = elapsed(exchange.times.taken_in, self.turn.now);
        let pool = self.row.pool(exchange.pool);
        // 499 stands in the log alone: nobody got it.
        if exchange.status != 0 {
            let class = Class::from_status(exchange.status);
            self.row.add(Counter::Responses(class), 1);
            if exchange.is_routed {
                pool.add(PoolCounter::Responses(class), 1);
            }
        }
        if let Some(result) = exchange.cached {
            self.row.add(Counter::Cache(result), 1);
        }
        match exchange.reason() {
            Some(reason) => {
                self.row.add(Counter::Errors(reason), 1);
                if exchange.is_routed {
                    pool.add(PoolCounter::Errors(reason), 1);
                }
            }
            None if exchange.status >= 500 => {
                self.row.add(Counter::FailingResponses, 1);
                pool.add(PoolCounter::FailingResponses, 1);
            }
            None => (),
        }
        self.row.observe_duration(took);
        if exchange.is_routed {
            pool.observe_duration(took);
        }
    }

    /// Logs an exchange that is over.
    pub(super) fn write_log(&mut self, id: ExchangeId) {
        if !self.log.is_on() {
            return;
        }
        let exchange = &self.exchanges[id];
        let client = &self.downstream[exchange.client];
        let (pool, backends) = (&self.upstream[exchange.pool], self.upstream.backends());
        self.log.log(exchange, client, (pool, backends), self.turn.now);
    }

    /// Goes on in another log file: this one, or that under the path of the old one.
    pub fn reopen_log(&mut self, file: Option<LogFile>) {
        self.log.reopen(file);
    }

    /// Writes the lines that have gathered.
    pub fn flush_log(&mut self) {
        self.log.flush();
        let untold = self.log.dropped_in_all() - self.dropped_lines;
        if untold > 0 {
            self.dropped_lines += untold;
            self.row.add(Counter::DroppedLines, untold);
        }
    }

    /// Counts what a client has sent and was sent since the last time.
    pub(super) fn count_traffic(&mut self, traffic: Traffic) {
        if traffic != Traffic::default() {
            self.row.add(Counter::Received, traffic.received);
            self.row.add(Counter::Sent, traffic.sent);
        }
        if self.buffers.spliced > 0 {
            self.row.add(Counter::Spliced, std::mem::take(&mut self.buffers.spliced));
        }
        if self.buffers.splice_fallbacks > 0 {
            let fallbacks = std::mem::take(&mut self.buffers.splice_fallbacks);
            self.row.add(Counter::SpliceFallbacks, fallbacks);
        }
    }
}
