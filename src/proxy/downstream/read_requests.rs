//! Bytes of a client to exchanges: heads taken in, or refused with a reply of our own.

use crate::config::Tolerance;
use crate::http::message::{Framing, Version};
use crate::http::method::Method;
use crate::http::request::{self, Refusal};
use crate::http::rewrite::RequestSpans;
use crate::http::scan::{HeadScan, Scan};
use crate::mem::Append;
use crate::mem::buffer::{Buffer, Span};
use crate::shared::{Counter, PoolCounter, PoolId};

use super::accept_head::Accepted;
use super::arrival::ProxyProtocol;
use crate::proxy::Proxy;
use crate::proxy::exchange::{Exchange, LocalReply, Request, Response, State};
use crate::proxy::ids::{ClientId, ExchangeId};
use crate::proxy::relay::Relay;
use crate::proxy::step::{Frame, Progress};

impl Proxy {
    /// Takes in the heads that the client has sent, as many as may be in work at once.
    pub(in crate::proxy) fn read_requests(&mut self, id: ClientId) -> Progress {
        let client = &mut self.downstream[id];
        client.batch = client.batch.wrapping_add(1);
        let mut moved = match client.arrival.preamble {
            ProxyProtocol::None => Progress::None,
            ProxyProtocol::ProxyHeader => self.read_preamble(id),
        };
        while self.downstream[id].may_have_sent() && self.may_take_in(id) {
            let client = &mut self.downstream[id];
            let Some(conn) = client.sink.conn_mut() else { break };
            let input = &mut conn.input;
            let scan = match input.is_empty() {
                true => Some(Scan::Partial),
                false => client.scan.look(input.flatten()),
            };
            let Some(scan) = scan else {
                if self.enqueue_request(id, None).is_ok() {
                    moved = Progress::Made;
                }
                continue;
            };
            if scan == Scan::Partial && input.len() < self.settings.head_limit {
                // A failed read shows as an end; what is in work may still be answered.
                match conn.fill(&mut self.buffers.rings) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => moved = Progress::Made,
                }
                continue;
            }
            self.accept_head(id, scan);
            moved = Progress::Made;
        }
        moved
    }

    /// Whether the next request of a client may be read now. None is read behind a request that is not
    /// pipelinable, for what follows may be its body, or no HTTP at all.
    fn may_take_in(&self, id: ClientId) -> bool {
        let client = &self.downstream[id];
        if !client.ending.takes_requests() || client.arrival.preamble != ProxyProtocol::None {
            return false;
        }
        let Some(last) = client.last else { return true };
        let last = &self.exchanges[last];
        // Requests to fast backends share connections and sends if they are taken in together:
        // there, batches are worth more than a queue that is always full.
        let half_empty = 2 * client.in_work as usize <= self.settings.pipeline;
        if client.queue_was_full
            && !half_empty
            && self.upstream.shares(last.pool, self.turn.now.millis())
        {
            return false;
        }
        let spare_taken = self.exchanges.len() - self.downstream.busy();
        last.request.pipelinable
            && !last.closing.closes()
            && (client.in_work as usize) < self.settings.pipeline
            && spare_taken < self.settings.spare_exchanges
    }

    /// Takes in the head, or the fault, that `scan` found at the front of the client's ring.
    fn accept_head(&mut self, id: ClientId, scan: Scan) {
        let limit = self.settings.head_limit;
        let taken = match scan {
            Scan::Whole(end) | Scan::Malformed(end) if end <= limit => {
                self.enqueue_request(id, Some(end))
            }
            Scan::Whole(_) | Scan::Malformed(_) | Scan::Partial => {
                let conn = self.downstream[id].conn_mut();
                Err(request::too_long(conn.map_or(&[], |conn| conn.input.flatten()), limit))
            }
        };
        match taken {
            Ok(()) => (),
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    /// Rewrites the head of `end` bytes into a new exchange. Without `end` it reads what is there as one that is
    /// whole and valid, and a refusal says nothing but that it is not.
    fn enqueue_request(&mut self, id: ClientId, end: Option<usize>) -> Result<(), Refusal> {
        let mut buffer = self.take_head();
        let taken = match self.read_request(id, end, &mut buffer) {
            Ok(taken) => taken,
            Err(refusal) => {
                self.return_head(buffer);
                return Err(refusal);
            }
        };
        let Accepted { len, request, pool, route, sticky_target, body, answer } = taken;
        let client = &mut self.downstream[id];
        if let Some(conn) = client.conn_mut() {
            conn.input.consume(len);
        }
        client.scan = HeadScan::request();
        client.requests += 1;
        let new = self.renew_exchange(id, pool, buffer, request);
        let exchange = &mut self.exchanges[new];
        exchange.route = route;
        exchange.sticky_target = sticky_target;
        exchange.naming = self.upstream[exchange.pool].naming;
        exchange.times.taken_in = self.turn.now;
        exchange.bytes_in = len as u64;
        let frame = match request.framing {
            Framing::None | Framing::Length(_) => Frame::Raw,
            Framing::Chunked => Frame::Chunked,
        };
        exchange.upload = Relay::keeping(body, frame);
        match answer {
            Some(answer) => {
                exchange.answer = answer;
                exchange.enter(State::Answered);
            }
            None => {
                self.upstream[exchange.pool].budget.request(self.turn.now.millis());
                if self.buffers.caching.is_some() {
                    let state = self.first_cache_state(&request);
                    self.exchanges[new].enter_cache(state);
                }
            }
        }
        self.enqueue(id, new);
        self.close_behind_last(new);
        Ok(())
    }

    /// An exchange for a request that was just taken in, which stands in no queue yet. Most are made of one
    /// that is over, where it lies: they are large.
    fn renew_exchange(
        &mut self,
        id: ClientId,
        pool: Option<PoolId>,
        head: Buffer,
        request: Request,
    ) -> ExchangeId {
        match self.exchanges.reuse() {
            Some((new, exchange)) => {
                exchange.renew(id, pool, head, request);
                new
            }
            None => self.insert_exchange(Exchange::new(id, pool, head, request)),
        }
    }

    fn insert_exchange(&mut self, exchange: Exchange) -> ExchangeId {
        self.exchanges.insert(exchange).expect("each client is sure of one exchange")
    }

    /// Puts an answer of our own into the queue. Nothing that follows can be trusted: the
    /// connection closes.
    fn refuse(&mut self, id: ClientId, refusal: Refusal) {
        let mut exchange = self.own_exchange(id, refusal);
        exchange.bytes_in = self.downstream[id].conn().map_or(0, |conn| conn.input.len() as u64);
        self.stop_reading(id);
        let new = self.insert_exchange(exchange);
        self.enqueue(id, new);
        self.close_behind(new);
        if refusal == Refusal::RawTarget {
            self.hint(new, Tolerance::RawTarget);
        }
    }

    fn own_exchange(&mut self, id: ClientId, refusal: Refusal) -> Exchange {
        let mut head = self.take_head();
        head.append(&self.ids.make());
        let spans = RequestSpans { id: Span::new(0, head.len()), ..RequestSpans::default() };
        let request = Request {
            spans,
            method: Method::Other,
            version: Version::Http11,
            framing: Framing::None,
            keep_alive: !refusal.closes(),
            expects_continue: false,
            authorizes_connection: false,
            id_made_here: true,
            idempotent: false,
            pipelinable: false,
            is_https: false,
            batch: self.downstream[id].batch,
        };
        let mut exchange = Exchange::new(id, None, head, request);
        exchange.times.taken_in = self.turn.now;
        exchange.answer = Response::Local(LocalReply::refusing(refusal));
        exchange.enter(State::Answered);
        exchange
    }

    /// Counts an exchange, and puts it at the end of its client's queue.
    #[inline]
    fn enqueue(&mut self, id: ClientId, new: ExchangeId) {
        self.row.add(Counter::Requests, 1);
        let exchange = &self.exchanges[new];
        if exchange.is_routed {
            self.row.pool(exchange.pool).add(PoolCounter::Requests, 1);
        }
        if self.downstream[id].first.is_some() {
            self.row.add(Counter::Pipelined, 1);
            self.downstream[id].ending.expect_more();
        }
        self.downstream.push(id, new);
    }

    /// Puts an exchange of our own making into its client's queue.
    pub(in crate::proxy) fn push_exchange(
        &mut self,
        id: ClientId,
        exchange: Exchange,
    ) -> ExchangeId {
        let new = self.insert_exchange(exchange);
        self.downstream.push(id, new);
        new
    }

    /// Answers 408 to a client that was too slow with its head; says nothing to a silent one.
    pub(in crate::proxy) fn head_timeout(&mut self, id: ClientId) {
        let client = &mut self.downstream[id];
        match client.arrival.preamble {
            _ if !client.has_input() => self.close_silent(id),
            ProxyProtocol::None => self.refuse(id, Refusal::TimedOut),
            ProxyProtocol::ProxyHeader => self.reject(id),
        }
        self.turn.wake(id);
    }

    /// An empty buffer for a head.
    pub(in crate::proxy) fn take_head(&mut self) -> Buffer {
        Buffer::new(self.heads.take().expect("there is a head for each exchange"))
    }

    /// Takes a head's buffer back.
    pub(in crate::proxy) fn return_head(&mut self, mut head: Buffer) {
        self.heads.put(head.take_bytes());
    }
}
