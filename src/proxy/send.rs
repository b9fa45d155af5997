//! Connecting and Sending: the request on its way to the backend.

use crate::http::method::Method;
use crate::mem::Append;
use crate::net::End;
use crate::policy::admit;
use crate::policy::identity::Sent;
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;
use crate::sys::IoError;

use super::Proxy;
use super::doubt;
use super::downstream::sink::Sink;
use super::exchange::{LocalReply, State};
use super::upstream::bound;
use super::upstream::connection::Owner;
use crate::proxy::ids::{BackendConnId, ExchangeId};
use crate::proxy::step::{Progress, RelayError};

impl Proxy {
    /// The handshake is over, one way or the other, when the socket is writable: sending tells.
    pub(super) fn connecting(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let conn = self.backend_conn(id);
        if !self.upstream[conn].conn.writable {
            return Ok(Progress::None);
        }
        self.exchanges[id].times.connected = self.turn.now;
        self.begin_sending(id);
        Ok(Progress::Made)
    }

    /// Puts the head on its way. Its connection has room for it.
    pub(super) fn begin_sending(&mut self, id: ExchangeId) {
        let conn = self.backend_conn(id);
        self.write_request(id);
        let exchange = &mut self.exchanges[id];
        let backend = &mut self.upstream[conn];
        if exchange.request.id_made_here {
            let is_head = exchange.request.method == Method::Head;
            let digest = doubt::digest_of(exchange, &self.settings.sticky_key);
            backend.sent_ids.add(exchange.id(), Sent { is_head, digest });
        }
        if exchange.request.authorizes_connection {
            bound::bind(backend, &mut self.downstream[exchange.client].bound);
        }
        exchange.times.sent = self.turn.now;
        exchange.sent = false;
        exchange.enter(State::Sending);
        if backend.front == Some(id) {
            backend.expect_response(self.turn.now);
        }
    }

    /// Writes the head up to the value of `Host` and in its place the backend's own address, if its
    /// client named no host. Returns where the rest of the head begins.
    pub(super) fn put_own_host(&mut self, id: ExchangeId) -> usize {
        let exchange = &self.exchanges[id];
        if !exchange.lacks_host() {
            return 0;
        }
        let conn = exchange.conn.expect("its connection is open");
        let (backend, known) = self.upstream.conn_and_backend(conn);
        let output = backend.conn.prepare_output(&mut self.buffers.rings);
        let before = exchange.request.spans.host.start as usize;
        output.append(&exchange.head.as_slice()[..before]);
        output.append(known.host().as_bytes());
        before
    }

    /// Sends what there is of the body, and listens for an answer that comes early.
    pub(super) fn sending(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let moved = self.upload(id);
        let exchange = &self.exchanges[id];
        if exchange.state() != State::Sending {
            return Ok(moved);
        }
        let backend = &self.upstream[self.backend_conn(id)];
        // Before the request was sent nothing can be its answer; sending also tells best why a
        // connection did not come about.
        let was_tried = backend.conn.end != End::Open && backend.conn.output.is_empty();
        if !exchange.sent && !was_tried || backend.front != Some(id) {
            return Ok(moved);
        }
        match self.receive(id)? {
            Progress::Made => Ok(Progress::Made),
            Progress::None => Ok(moved),
        }
    }

    /// Moves the request's body towards the backend, whatever the state of the response.
    #[inline(always)] // for most requests have no body
    pub(super) fn upload(&mut self, id: ExchangeId) -> Progress {
        if self.exchanges[id].upload.is_done() {
            return Progress::None;
        }
        self.upload_on(id)
    }

    #[inline(never)]
    fn upload_on(&mut self, id: ExchangeId) -> Progress {
        let exchange = &mut self.exchanges[id];
        let Some(conn) = exchange.conn else { return Progress::None };
        let Some(source) = self.downstream[exchange.client].conn_mut() else {
            return Progress::None;
        };
        let (backend, pool) = self.upstream.conn_and_pool(conn, exchange.pool);
        let limit = pool.max_body;
        let sink = &mut Sink::Http1(&mut backend.conn);
        let outcome = exchange.upload.step(source, sink, &mut self.buffers);
        match outcome {
            Ok(_) if admit::is_too_large(exchange.upload.payload(), limit) => {
                self.refuse_body(id, 413, "http_request_denied", Reason::BodyTooLarge);
                Progress::Made
            }
            Ok(moved) => moved,
            Err(RelayError::SinkBroken) => {
                backend.conn.send_failed();
                self.close_over_upload(id);
                Progress::Made
            }
            Err(RelayError::Ended) if exchange.state() == State::Uploading => {
                self.cut_upload(id, Reason::ClientAbort);
                Progress::Made
            }
            Err(RelayError::Ended | RelayError::Malformed) => {
                self.refuse_body(id, 400, "http_request_error", Reason::RequestError);
                Progress::Made
            }
        }
    }

    /// Sends what is left of the body behind a complete response, as long as the backend takes it.
    pub(super) fn uploading(&mut self, id: ExchangeId) -> Progress {
        let moved = self.upload(id);
        let exchange = &mut self.exchanges[id];
        if exchange.state() != State::Uploading {
            return moved;
        }
        let backend = &self.upstream[exchange.conn.expect("this state has a connection")];
        let has_ended = backend.conn.end != End::Open;
        // Behind it the heads of others may wait to be sent.
        let is_sent = backend.conn.output.is_empty() || self.upstream.behind(id).is_some();
        if exchange.upload.is_done() && (is_sent || has_ended) {
            exchange.enter(State::Done);
            return Progress::Made;
        }
        if has_ended {
            self.cut_upload(id, Reason::ConnectionTerminated);
            return Progress::Made;
        }
        moved
    }

    /// The response is complete, and the rest of the request's body does not reach the backend. What
    /// comes of it is thrown away at the end.
    pub(super) fn cut_upload(&mut self, id: ExchangeId, reason: Reason) {
        self.detach(id);
        self.cut_short(id, reason);
        self.close_over_upload(id);
        self.exchanges[id].enter(State::Done);
    }

    /// The body is not to be had, or not to be sent on. The backend must not take what it has for
    /// a whole request, so its connection closes.
    fn refuse_body(&mut self, id: ExchangeId, status: u16, error: &'static str, reason: Reason) {
        if self.exchanges[id].is_committed() {
            self.truncate(id, reason);
        } else {
            self.answer_instead(id, LocalReply { status, error, reason, close: true });
        }
    }

    /// Flushes what an exchange has for its backend.
    pub(super) fn flush_backend(&mut self, id: ExchangeId) -> Progress {
        let exchange = &mut self.exchanges[id];
        let Some(conn) = exchange.conn else { return Progress::None };
        if exchange.state() == State::Connecting {
            return Progress::None;
        }
        let backend = &mut self.upstream[conn];
        if backend.owner == Owner::Multiplexed {
            if !backend.conn.output.is_empty() {
                self.upstream.flush_later(conn);
            }
            return Progress::None; // At the end of the turn.
        }
        let flushed = match backend.conn.flush(&mut self.buffers.rings) {
            Ok(count) => count,
            Err(error) => return self.flush_failed(id, error),
        };
        if exchange.state() == State::Sending {
            let all = backend.conn.output.is_empty();
            exchange.sent |= flushed > 0 || all;
            if all && exchange.upload.is_done() {
                exchange.enter(State::Awaiting);
                return Progress::Made;
            }
        }
        if flushed > 0 {
            exchange.progress = true;
            Progress::Made
        } else {
            Progress::None
        }
    }

    /// A handshake that failed is known by its first send. A connection that breaks later may have
    /// an answer in its ring or in the kernel, which is worth a look before the verdict.
    fn flush_failed(&mut self, id: ExchangeId, error: IoError) -> Progress {
        let exchange = &self.exchanges[id];
        let conn = self.backend_conn(id);
        let backend = &mut self.upstream[conn];
        let was_handshake = !exchange.carrier.is_reused() && !exchange.sent;
        match error {
            IoError::TimedOut if was_handshake => self.fail(id, Failure::ConnectTimeout),
            IoError::Refused if was_handshake => self.fail(id, Failure::Refused),
            _ if exchange.state() == State::Sending => {
                backend.conn.send_failed();
                // `sent` stays as it is: what was refused here was never sent.
                if !exchange.sent && backend.front == Some(id) {
                    self.fail(id, Failure::Terminated);
                }
            }
            _ => {
                backend.conn.send_failed();
                if !exchange.upload.is_done() {
                    self.close_over_upload(id);
                }
            }
        }
        Progress::Made
    }

    /// The connection of an exchange that has one.
    pub(super) fn backend_conn(&self, id: ExchangeId) -> BackendConnId {
        self.exchanges[id].conn.expect("this state has a connection")
    }
}
