//! Sending and Awaiting: the head of the response.

use crate::config::{Tolerance, Tolerances};
use crate::http::body::{self, Body};
use crate::http::message::Version;
use crate::http::method::Method;
use crate::http::response::{self, BadResponse, Reading, ResponseHead};
use crate::http::rewrite;
use crate::http::scan::{HeadScan, Scan};
use crate::http::upgrade;
use crate::mem::time::Micros;
use crate::net::Conn;
use crate::policy::identity::{AbandonedIds, Observed, RequestDigest, Seen, Sent};
use crate::policy::retry::Failure;
use crate::sys::IoError;

use super::Proxy;
use super::buffers::RelayBuffers;
use super::doubted::{FinalHead, Verified};
use super::exchange::{Exchange, ReceivedHead, Response, State};
use super::relay::Relay;
use super::settings::Settings;
use super::upstream::bound;
use super::upstream::connection::BackendConn;
use super::upstream::health::Responded;
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;

/// Interim responses that are taken in a step: those without end leave others their turn.
const INTERIMS: usize = 16;

/// Interim responses to one request: a backend that goes on and on answers nothing.
const MAX_INTERIMS: u8 = 64;

/// What a response head turned out to be.
enum Head {
    /// Not whole, or not valid, as far as can be told without a search for its end.
    Unread,
    /// A 1xx that was passed on, or dropped for a client that does not know it.
    Interim,
    /// A 1xx that must wait, for its turn or for room.
    InterimBlocked,
    /// The final one.
    Final,
    /// A final one that may be another request's, and is held.
    Held,
    /// Another request's, whose body is stepped over.
    Dropped,
    /// The exchange is asked again, over another connection.
    AskedAgain,
}

impl Proxy {
    /// Awaits the head; only the front exchange of a shared connection reads.
    pub(super) fn awaiting(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        if self.upstream[self.backend_conn(id)].front == Some(id) {
            self.receive(id)
        } else {
            Ok(Progress::None)
        }
    }

    /// Reads until there is a final head.
    pub(super) fn receive(&mut self, id: ExchangeId) -> Result<Progress, Failure> {
        let conn = self.backend_conn(id);
        let mut moved = Progress::None;
        let mut interims = 0;
        if self.exchanges[id].doubted.is_held() {
            moved = self.read_on(id);
            if self.exchanges[id].doubted.is_held() {
                return Ok(moved);
            }
        }
        while interims < INTERIMS {
            let mut backend = &mut self.upstream[conn];
            if !backend.dropped.is_done() {
                self.step_over_dropped(conn)?;
                backend = &mut self.upstream[conn];
            }
            let input = &mut backend.conn.input;
            let scan = if input.is_empty() || !backend.dropped.is_done() {
                Some(Scan::Partial)
            } else {
                backend.scan.look(input.flatten())
            };
            let end = match scan {
                None => None,
                Some(Scan::Whole(end)) if end <= self.settings.head_limit => Some(end),
                Some(Scan::Whole(_)) => return Err(Failure::HeadTooLarge),
                Some(Scan::Malformed(at)) => {
                    self.tolerate_line_end(id, at)?;
                    continue;
                }
                Some(Scan::Partial) if input.len() >= self.settings.head_limit => {
                    return Err(Failure::HeadTooLarge);
                }
                Some(Scan::Partial) => {
                    match fill(&mut backend.conn, &mut self.buffers, &self.settings) {
                        Ok(0) if backend.conn.is_ended() => return Err(Failure::Terminated),
                        Ok(0) => return Ok(moved),
                        Ok(_) => {
                            backend.heard |= backend.dropped.is_done() || !backend.demands_id();
                            moved = Progress::Made;
                            continue;
                        }
                        Err(_) => return Err(Failure::Terminated),
                    }
                }
            };
            match self.on_response_head(id, end)? {
                Head::Unread => (),
                Head::Final => {
                    self.tell_cache_of_response(id);
                    return Ok(Progress::Made);
                }
                Head::Interim | Head::Dropped => {
                    interims += 1;
                    moved = Progress::Made;
                }
                Head::InterimBlocked => return Ok(moved),
                Head::Held | Head::AskedAgain => return Ok(Progress::Made),
            }
        }
        Ok(moved)
    }

    /// Judges a whole head of `end` bytes at the front of the connection's ring; without `end` only one
    /// that is whole and valid.
    fn on_response_head(&mut self, id: ExchangeId, end: Option<usize>) -> Result<Head, Failure> {
        let conn = self.backend_conn(id);
        let exchange = &mut self.exchanges[id];
        let tolerate = self.upstream[exchange.pool].tolerate;
        let backend = &mut self.upstream[conn];
        let demands_id = backend.demands_id();
        let bytes = backend.conn.input.flatten();
        let read = read_head(bytes, end, &self.settings, tolerate);
        // Looked at where it lies, for it is large.
        let head = match &read {
            Ok(head) => head,
            Err(_) if end.is_none() => return Ok(Head::Unread),
            Err(bad) => return Err(self.bad_head(id, *bad)),
        };
        let is_interim = head.status < 200 && head.status != 101;
        let is_own = head.request_id == Some(exchange.id());
        if demands_id && !is_own {
            let body = unwanted_body(head, is_interim, &mut backend.abandoned)?;
            let end = head.whole_len();
            return drop_head(exchange, backend, end, body, self.turn.now);
        }
        if is_interim {
            let interim = Reading::new(head);
            return self.pass_interim(id, interim);
        }
        let offered = &exchange.head[exchange.request.spans.upgrade];
        let is_offered = |protocol| upgrade::is_listed(protocol, offered);
        if head.status == 101 && !head.switches_to.is_some_and(is_offered) {
            return Err(Failure::Protocol);
        }
        let earlier = head.request_id.and_then(|value| backend.sent_ids.find(value));
        let observed = Observed {
            connection: conn.pack(),
            fresh: backend.responses == 0,
            made_here: exchange.request.id_made_here,
            id: seen(head, exchange.id(), earlier.is_some()),
            status: head.status,
        };
        let body_for = |method| match head.status {
            101 => Body::UntilClose,
            _ => body::of_response(method, head)
                .with_trailers(self.settings.max_response_fields(), &head.fields),
        };
        let body = body_for(exchange.request.method);
        let body_by_id = match earlier {
            None => body,
            Some(Sent { is_head: true, .. }) => body_for(Method::Head),
            Some(_) => body_for(Method::Get), // Of all others the responses are framed alike.
        };
        let last = FinalHead {
            head: Reading::new(head),
            body,
            body_by_id,
            digest_by_id: earlier.map_or(RequestDigest::UNKNOWN, |sent| sent.digest),
            authenticates_connection: head.authenticates_connection,
            keep_alive: head.keep_alive && !matches!(body, Body::UntilClose),
            keep_alive_timeout_secs: head.keep_alive_timeout_secs,
        };
        Ok(match self.verify(id, observed, &last)? {
            Verified::Deliverable => {
                self.accept_response(id, &last);
                Head::Final
            }
            Verified::Held => Head::Held,
            Verified::Dropped => Head::Dropped,
            Verified::AskedAgain => Head::AskedAgain,
        })
    }

    /// Takes a final response as the answer.
    fn accept_response(&mut self, id: ExchangeId, last: &FinalHead) {
        let conn = self.backend_conn(id);
        let exchange = &mut self.exchanges[id];
        let (head, keep_alive) = (last.head, last.keep_alive);
        if last.authenticates_connection {
            bound::bind(&mut self.upstream[conn], &mut self.downstream[exchange.client].bound);
        }
        let client = &self.downstream[exchange.client];
        let frame = client.frame_for(&last.body, head.status(), exchange.request.version);
        exchange.answer = Response::Backend(ReceivedHead { head, keep_alive });
        exchange.download = Relay::new(last.body, frame);
        exchange.times.answered = self.turn.now;
        exchange.enter(State::Answered);
        let response = Responded {
            status: head.status(),
            is_bare: matches!(last.body, Body::Empty),
            keep_alive,
            keep_alive_timeout_secs: last.keep_alive_timeout_secs,
            carrier: exchange.carrier,
            begun: exchange.times.chosen,
        };
        self.upstream.on_response(conn, response, &mut self.turn);
        self.check_multiplexed(id, &last.head, &last.body);
    }

    /// Passes on an interim response, which lies at the front of the connection's ring, or drops it
    /// for a client of HTTP/1.0.
    fn pass_interim(&mut self, id: ExchangeId, interim: Reading) -> Result<Head, Failure> {
        let conn = self.backend_conn(id);
        let first = self.is_first(id);
        let exchange = &mut self.exchanges[id];
        let backend = &mut self.upstream[conn];
        if exchange.interims == MAX_INTERIMS {
            return Err(Failure::Protocol);
        }
        let client = &mut self.downstream[exchange.client];
        let passes = exchange.request.version == Version::Http11;
        let room = client.room(self.buffers.ring_size);
        if passes && (!first || room < rewrite::response_len_bound(interim.len())) {
            return Ok(Head::InterimBlocked);
        }
        if passes {
            let head = interim.open(backend.conn.input.flatten());
            let via = self.settings.via.as_deref();
            client.write_interim(&head, via, &mut self.buffers.rings);
        }
        // With the 100 it is the client's turn to say something.
        exchange.request.expects_continue &= interim.status() != 100;
        exchange.progress = true;
        exchange.interims += 1;
        backend.conn.input.consume(interim.len());
        backend.scan = HeadScan::response();
        Ok(Head::Interim)
    }
}

/// Reads the head of `end` bytes at the front of `bytes`; without `end` one that is whole, valid and within
/// the limit.
#[inline] // so that it is not moved
fn read_head<'a>(
    bytes: &'a [u8],
    end: Option<usize>,
    settings: &Settings,
    tolerate: Tolerances,
) -> Result<ResponseHead<'a>, BadResponse> {
    let max_fields = settings.max_response_fields();
    let Some(end) = end else {
        return response::parse_front(&bytes[..bytes.len().min(settings.head_limit)], max_fields);
    };
    match response::parse_within(&bytes[..end], max_fields) {
        Err(BadResponse::RepeatedChunked) if tolerate.has(Tolerance::RepeatedChunked) => {
            response::parse_repeats(&bytes[..end], max_fields)
        }
        read => read,
    }
}

/// What follows a head that is not for the front exchange of a multiplexed connection, if somebody has
/// given that response up. `None`: it is interim, for such a request or for nobody that it tells.
fn unwanted_body(
    head: &ResponseHead,
    is_interim: bool,
    abandoned: &mut AbandonedIds,
) -> Result<Option<Body>, Failure> {
    if is_interim && head.request_id.is_none_or(|id| abandoned.has(id)) {
        Ok(None)
    } else if !is_interim && head.request_id.is_some_and(|id| abandoned.remove(id)) {
        Ok(Some(body::of_response(Method::Get, head)))
    } else {
        Err(Failure::IdentityMismatch)
    }
}

/// Steps over such a head on a multiplexed connection, and over what follows it. By an interim one the
/// final one comes no sooner: whoever waits waits since when it did.
fn drop_head(
    exchange: &mut Exchange,
    backend: &mut BackendConn,
    end: usize,
    body: Option<Body>,
    now: Micros,
) -> Result<Head, Failure> {
    backend.conn.input.consume(end);
    match body {
        None if exchange.interims == MAX_INTERIMS => return Err(Failure::Protocol),
        None => {
            exchange.interims += 1;
            backend.scan = HeadScan::response();
        }
        Some(Body::UntilClose) => return Err(Failure::Terminated), // Nothing can follow it.
        Some(body) => {
            backend.dropped = body;
            backend.expect_response(now);
        }
    }
    Ok(Head::Dropped)
}

fn fill(
    conn: &mut Conn,
    buffers: &mut RelayBuffers,
    settings: &Settings,
) -> Result<usize, IoError> {
    match settings.head_spare {
        0 => conn.fill(&mut buffers.rings),
        spare => conn.fill_sparing(&mut buffers.rings, spare),
    }
}

fn seen(head: &ResponseHead<'_>, sent: &[u8], is_earlier: bool) -> Seen {
    match head.request_id {
        None => Seen::Absent,
        Some(value) if value == sent => Seen::Same,
        Some(_) if is_earlier => Seen::Earlier,
        Some(_) => Seen::Other,
    }
}
