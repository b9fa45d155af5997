//! Answered and Responding: the commit, and the body behind it.

use crate::http::cookie::SetCookie;
use crate::http::date;
use crate::http::message::Version;
use crate::http::method::Method;
use crate::http::reply::{self, Reply};
use crate::http::response::Reading;
use crate::http::rewrite::{self, Answering, ResponseFraming};
use crate::policy::reason::Reason;
use crate::policy::retry::Failure;
use crate::policy::sticky::{self, BackendTag};
use crate::sys::clock;

use super::Proxy;
use super::caching::Caching;
use super::caching::context::cache_status_of_local_reply;
use super::caching::record::timing_of;
use super::downstream::write::OfRequest;
use super::exchange::{Final, LocalReply, Response, State, Times};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::{Progress, RelayError};

impl Proxy {
    /// Commits the answer when it is first and the client's ring has room for its head.
    pub(super) fn answered(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let uploaded = match self.exchanges[id].answer {
            Response::Backend(_) => self.upload(id),
            Response::Pending
            | Response::Local(_)
            | Response::Page(..)
            | Response::Final(_)
            | Response::Stored(_) => Progress::None,
        };
        if self.exchanges[id].state() != State::Answered || !self.is_first(id) {
            return Ok(uploaded);
        }
        let client = &self.downstream[self.exchanges[id].client];
        let room = client.room(self.buffers.ring_size);
        match self.exchanges[id].answer {
            Response::Local(LocalReply { reason: Reason::ClientAbort, .. }) => {
                self.truncate(id, Reason::ClientAbort); // Nobody is sent a 499.
                Ok(Progress::Made)
            }
            Response::Local(_) if room < reply::MAX_LEN => Ok(uploaded),
            Response::Local(answer) => {
                self.commit_local(id, answer);
                Ok(Progress::Made)
            }
            Response::Final(answer) if room < self.exchanges[id].final_len_bound(answer) => {
                Ok(uploaded)
            }
            Response::Final(answer) => {
                self.commit_reply(id, answer.status(), "", Some(answer));
                Ok(Progress::Made)
            }
            // The client's bytes are of the new protocol once the request is whole (RFC 9110 §7.8).
            Response::Backend(ref received)
                if received.head.status() == 101 && !self.exchanges[id].upload.is_done() =>
            {
                Ok(uploaded)
            }
            Response::Backend(received) if self.exchanges[id].cache().joins() => {
                Ok(self.commit_with_rest(id, received))
            }
            Response::Backend(ref received)
                if room < rewrite::response_len_bound(received.head.len()) =>
            {
                Ok(uploaded)
            }
            Response::Backend(_) => self.commit(id),
            Response::Stored(stored) => Ok(self.commit_stored(id, stored)),
            Response::Page(..) | Response::Pending => Ok(Progress::None), // The one is committed.
        }
    }

    /// Writes a reply of our own: whole, or with the body that the operator wrote for its status.
    fn commit_local(&mut self, id: ExchangeId, answer: LocalReply) {
        if answer.close {
            self.close_behind(id);
        }
        self.commit_reply(id, answer.status, answer.error, None);
        if self.exchanges[id].state() == State::Responding {
            self.exchanges[id].answer = Response::Page(answer, 0);
            self.send_page(id, answer, 0);
        }
    }

    /// Sends what the client takes of a page, behind the first `sent` bytes.
    fn send_page(&mut self, id: ExchangeId, answer: LocalReply, sent: u64) -> Progress {
        let exchange = &mut self.exchanges[id];
        let page = self.settings.error_page(answer.status);
        let is_head = exchange.request.method == Method::Head;
        let page = page.filter(|page| !is_head && sent < page.len(exchange.id()));
        let Some(page) = page else {
            exchange.enter(State::Done);
            return Progress::Made;
        };
        let client = &mut self.downstream[exchange.client];
        let ring_size = self.buffers.ring_size;
        let rings = &mut self.buffers.rings;
        let count = client.write_page(page, exchange.id(), sent, ring_size, rings);
        if count == 0 {
            return Progress::None;
        }
        exchange.bytes_out += count;
        exchange.answer = Response::Page(answer, sent + count);
        if sent + count == page.len(exchange.id()) {
            exchange.enter(State::Done);
        }
        Progress::Made
    }

    /// Writes the reply to a request that gets an error, or that ends here. If the operator wrote a body for
    /// its status, that is still to follow.
    fn commit_reply(
        &mut self,
        id: ExchangeId,
        status: u16,
        error: &'static str,
        to: Option<Final>,
    ) {
        let exchange = &mut self.exchanges[id];
        if let Some(source) = self.downstream[exchange.client].conn_mut() {
            exchange.upload.skip(source);
        }
        let close = self.decide_close(id);
        let exchange = &mut self.exchanges[id];
        let date = date::imf_fixdate(clock::wall().0 / 1_000_000);
        let reply = Reply {
            status,
            error,
            retry_after: status == 503,
            close,
            keep_alive_10: exchange.request.version == Version::Http10 && !close,
            id: &exchange.head[exchange.request.spans.id],
            head_only: exchange.request.method == Method::Head,
            cache: cache_status_of_local_reply(exchange),
            date: &date,
        };
        let page = self.settings.error_page(status).map(|page| page.len(exchange.id()));
        let spans = &exchange.request.spans;
        let of_request = OfRequest {
            before_id: &exchange.head.as_slice()[..spans.id.start as usize],
            host: &exchange.head[spans.host],
            target: &exchange.head[spans.target],
        };
        let client = &mut self.downstream[exchange.client];
        let rings = &mut self.buffers.rings;
        exchange.bytes_out = match page {
            None => client.write_reply(&reply, to, &of_request, rings),
            Some(length) => client.write_reply_head(&reply, length, rings),
        };
        exchange.status = status;
        exchange.enter(State::Responding);
        if page.is_none() {
            exchange.enter(State::Done);
        }
    }

    /// Passes the backend's head on: from here on nothing is repeated.
    fn commit(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let exchange = &self.exchanges[id];
        let status = received_head(&exchange.answer).status();
        let client = &self.downstream[exchange.client];
        let framing = client.framing(status, &exchange.download);
        if framing == ResponseFraming::Close {
            self.end_by_close(id);
        }
        let close = status != 101 && self.decide_close(id);
        let conn = self.backend_conn(id);
        let tag = self.judge_sticky(id);
        let cache = self.with_cache(id, |caching, exchange, context| {
            let Response::Backend(received) = exchange.answer else { return None };
            caching.on_commit(exchange, context, received)
        });
        let exchange = &mut self.exchanges[id];
        let received = received_head(&exchange.answer);
        let client = &mut self.downstream[exchange.client];
        let (backend, pool) = self.upstream.conn_and_pool(conn, exchange.pool);
        let keeps = pool.sticky.as_ref();
        let cookie = keeps.zip(tag.as_ref()).map(|(keeps, tag)| SetCookie {
            name: &keeps.cookie,
            value: tag.digits(),
            max_age_secs: keeps.max_age_secs(),
            secure: exchange.request.is_https,
        });
        let head = received.open(backend.conn.input.flatten());
        let Times { sent, answered, .. } = exchange.times;
        let date = match received.has_date() {
            true => None,
            false => Some(self.last_date.at(timing_of(sent, answered, self.turn.now).at)),
        };
        let answering = Answering {
            date,
            id: &exchange.head[exchange.request.spans.id],
            close,
            keep_alive_10: exchange.request.version == Version::Http10 && !close,
            framing,
            via: self.settings.via.as_deref(),
            cookie,
            cache,
        };
        exchange.bytes_out = client.write_head(&head, &answering, &mut self.buffers.rings);
        exchange.status = status;
        backend.conn.input.consume(received.len());
        exchange.enter(State::Answered);
        if let Some(source) = client.conn_mut() {
            exchange.upload.let_go(source);
        }
        if status == 101 {
            self.begin_tunnel(id);
            return Ok(Progress::Made);
        }
        exchange.enter(State::Responding);
        if client.is_background() && exchange.download.recorder().is_none() {
            self.truncate(id, Reason::ClientAbort); // Nobody wants it.
            return Ok(Progress::Made);
        }
        match self.responding(id) {
            Ok(_) => Ok(Progress::Made),
            Err(failure) => Err(failure),
        }
    }

    /// Notes how the exchange came to the backend that has answered it, where clients are kept at
    /// theirs. The tag that the client is given, if it is given one.
    fn judge_sticky(&mut self, id: ExchangeId) -> Option<BackendTag> {
        self.upstream[self.exchanges[id].pool].sticky.as_ref()?;
        let slot = self.upstream[self.backend_conn(id)].backend;
        let tag = self.upstream[slot].tag;
        let exchange = &mut self.exchanges[id];
        let sticky = sticky::verdict(exchange.sticky_target, tag);
        exchange.sticky = Some(sticky);
        sticky.sets_cookie().then_some(tag)
    }

    /// The response is complete. What is left of the request's body goes on if the client need not see
    /// the end of its connection for the end of the response.
    fn end_response(&mut self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        if let (Some(slot), Response::Backend(_)) = (exchange.choice, exchange.answer) {
            let (status, begun) = (exchange.status, exchange.times.chosen);
            self.upstream.on_response_end(slot, status, begun, &mut self.turn);
        }
        let exchange = &mut self.exchanges[id];
        exchange.bytes_out += exchange.download.payload();
        exchange.enter(State::Uploading);
        self.with_cache(id, Caching::on_body_end);
        let exchange = &mut self.exchanges[id];
        if exchange.waits_for_leave() {
            exchange.enter(State::Done); // The client has sent nothing of it, and will not.
        } else if exchange.closing.ends_by_close() && !exchange.upload.is_done() {
            self.cut_upload(id, Reason::ConnectionTerminated);
        } else {
            self.uploading(id);
        }
    }

    /// Relays the body, and what is left of the request's.
    pub(super) fn responding(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        if let Response::Page(answer, sent) = self.exchanges[id].answer {
            return Ok(self.send_page(id, answer, sent));
        }
        let uploaded = self.upload(id);
        let exchange = &mut self.exchanges[id];
        if exchange.state() != State::Responding {
            return Ok(uploaded);
        }
        if let Response::Stored(stored) = exchange.answer {
            return Ok(self.send_stored(id, stored));
        }
        if exchange.cache().has_part_left() {
            return Ok(self.send_stored_part(id));
        }
        let Some(conn) = exchange.conn else { return Ok(uploaded) };
        let client = &mut self.downstream[exchange.client];
        let backend = &mut self.upstream[conn];
        let outcome =
            exchange.download.step(&mut backend.conn, &mut client.sink(), &mut self.buffers);
        match outcome {
            Ok(moved) => {
                if exchange.download.is_done() {
                    self.end_response(id);
                    return Ok(Progress::Made);
                }
                self.check_recording(id);
                Ok(moved.or(uploaded))
            }
            Err(RelayError::SinkBroken) => {
                client.break_off();
                Ok(Progress::Made)
            }
            Err(RelayError::Ended | RelayError::Malformed) => {
                self.cut_by_backend(id);
                Ok(Progress::Made)
            }
        }
    }
}

/// The head of the backend's response that is about to be committed.
fn received_head(answer: &Response) -> &Reading {
    match answer {
        Response::Backend(received) => &received.head,
        Response::Pending
        | Response::Local(_)
        | Response::Page(..)
        | Response::Final(_)
        | Response::Stored(_) => unreachable!("a backend's response is committed"),
    }
}
