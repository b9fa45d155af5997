//! What is made of a request's head: its pool, what its cookie says, and the head as it goes on.

use crate::config::Tolerance;
use crate::http::body::{self, Body};
use crate::http::forwarded::{self, Forward};
use crate::http::method::Method;
use crate::http::reply;
use crate::http::request::{self, Refusal, RequestHead};
use crate::http::rewrite::{self, RequestSpans};
use crate::mem::buffer::Buffer;
use crate::policy::retry::Failure;
use crate::policy::sticky::{self, StickyTarget};
use crate::policy::{admit, order};
use crate::shared::PoolId;

use crate::proxy::Proxy;
use crate::proxy::exchange::{Final, LocalReply, Request, Response};
use crate::proxy::ids::ClientId;
use crate::proxy::upstream::pools::Pool;

/// Passes of one request through a service that is its own backend: once more is meant now and then,
/// by whoever routes in two steps.
const MAX_PASSES: usize = 2;

/// A valid head that was written as it goes on.
pub(super) struct Accepted {
    pub request: Request,
    /// Its pool; none if it names one that there is not.
    pub pool: Option<PoolId>,
    /// The route that leads there.
    pub route: Option<usize>,
    /// The backend that its cookie names.
    pub sticky_target: StickyTarget,
    pub body: Body,
    /// The answer, if no backend is asked for one.
    pub answer: Option<Response>,
}

/// Why a head was not taken.
enum Obstacle {
    /// It is not valid.
    Refused(Refusal),
    /// The members of this pool have changed, and its cookie may name a new one.
    Stale(PoolId),
}

impl Proxy {
    /// Reads the head of `end` bytes at the front of a client's ring, where it stays, and writes it
    /// to `buffer`.
    pub(super) fn read_request(
        &mut self,
        id: ClientId,
        end: usize,
        buffer: &mut Buffer,
    ) -> Result<Accepted, Refusal> {
        if self.settings.routing.pool_header().is_some() {
            self.upstream.refresh_names(&mut self.turn); // It may name a pool that was added just now.
        }
        loop {
            match self.try_to_read(id, end, buffer) {
                Ok(taken) => return Ok(taken),
                Err(Obstacle::Refused(refusal)) => return Err(refusal),
                Err(Obstacle::Stale(pool)) => self.upstream.refresh(pool, &mut self.turn),
            }
        }
    }

    fn try_to_read(
        &mut self,
        id: ClientId,
        end: usize,
        buffer: &mut Buffer,
    ) -> Result<Accepted, Obstacle> {
        let has_cache = self.has_cache();
        let client = &mut self.downstream[id];
        let Some(conn) = client.sink.conn_mut() else {
            return Err(Obstacle::Refused(Refusal::Malformed));
        };
        let bytes = &conn.input.flatten()[..end];
        let max_fields = self.settings.max_fields;
        let (head, is_raw) = request::parse_any(bytes, max_fields).map_err(Obstacle::Refused)?;
        let goes_round = self.settings.counts_passes && forwarded::passes(&head) >= MAX_PASSES;
        let choice = self
            .settings
            .routing
            .choose(&head, |name| self.upstream.find_pool(name).map(|pool| pool.0));
        let pool = choice.pool().map(PoolId);
        let of_pool = pool.map(|pool| &self.upstream[pool]);
        let tolerates_raw = |pool: &Pool| pool.tolerate.has(Tolerance::RawTarget);
        if is_raw && !of_pool.is_some_and(tolerates_raw) {
            return Err(Obstacle::Refused(Refusal::RawTarget));
        }
        let keeps = of_pool.and_then(|pool| pool.sticky.as_ref());
        let mut sticky_target = StickyTarget::None;
        if let (Some(id), Some(pool), Some(sticky)) = (pool, of_pool, keeps) {
            if self.upstream.is_stale(id) {
                return Err(Obstacle::Stale(id));
            }
            let known = |value: &[u8]| self.upstream.find_tag(pool, value);
            sticky_target = sticky::brought(&head, &sticky.cookie, known);
        }
        let own_id = if head.request_id.is_none() { self.ids.make() } else { [0; 36] };
        let forward = Forward {
            client: client.peer.ip(),
            id: head.request_id.unwrap_or(&own_id),
            trusted: self.settings.is_trusted(client.peer.ip()),
            tls: client.arrival.https,
            fields: self.settings.forward,
            port: client.arrival.port,
            counts_passes: self.settings.counts_passes,
            via: self.settings.via.as_deref(),
            own_cookie: keeps.map(|sticky| sticky.cookie.as_str()),
            upgrades: of_pool.map_or(&[], |pool| &pool.upgrades),
            normal_host: has_cache,
        };
        let answer = match goes_round {
            true => Some(Response::Local(LocalReply::refusing(Refusal::Loop))),
            false => answer_at_once(&head, of_pool),
        };
        let spans = match answer {
            Some(Response::Final(_)) => rewrite::reflection(bytes, &head, forward.id, buffer)
                .filter(|_| buffer.len() + reply::MAX_LEN <= self.settings.ring_size),
            _ => rewrite::request(&head, &forward, buffer),
        };
        let spans = spans.ok_or(Obstacle::Refused(Refusal::HeadTooLong))?;
        let request = Request {
            is_https: forward.is_https(&head),
            batch: client.batch,
            ..known_of(&head, spans)
        };
        let (route, body) = (choice.route(), body::of_request(&head));
        Ok(Accepted { request, pool, route, sticky_target, body, answer })
    }
}

/// The answer to a request for which no backend is asked.
fn answer_at_once(head: &RequestHead, pool: Option<&Pool>) -> Option<Response> {
    let max_body = pool.map_or(0, |pool| pool.max_body);
    if let Some(refusal) = admit::refusal(head, max_body) {
        return Some(Response::Local(LocalReply::refusing(refusal)));
    }
    if head.ends_here() {
        let is_trace = head.method == Method::Trace;
        return Some(Response::Final(if is_trace { Final::Reflection } else { Final::Methods }));
    }
    pool.is_none().then(|| Response::Local(LocalReply::from_failure(Failure::NoBackend)))
}

/// What is known of a request by its head alone.
fn known_of(head: &RequestHead<'_>, spans: RequestSpans) -> Request {
    Request {
        spans,
        method: head.method,
        version: head.version,
        framing: head.framing,
        keep_alive: head.keep_alive,
        expects_continue: head.expect_continue,
        authorizes_connection: head.authorizes_connection,
        id_made_here: head.request_id.is_none(),
        idempotent: head.is_idempotent(),
        pipelinable: order::runs_beside_others(head, !spans.upgrade.is_empty()),
        is_https: false,
        batch: 0,
    }
}
