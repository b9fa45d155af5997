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
use crate::policy::route::Choice;
use crate::policy::sticky::{self, StickyTarget};
use crate::policy::{admit, order};
use crate::shared::PoolId;

use crate::proxy::Proxy;
use crate::proxy::exchange::{Final, LocalReply, Request, Response};
use crate::proxy::ids::ClientId;
use crate::proxy::settings::Settings;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::pools::Pool;

/// Passes of one request through a service that is its own backend: once more is meant now and then,
/// by whoever routes in two steps.
const MAX_PASSES: usize = 2;

/// A valid head that was written as it goes on.
pub(super) struct Accepted {
    /// Bytes of it as it came.
    pub len: usize,
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
    /// to `buffer`. Without `end` a head is taken only if it is whole and valid.
    pub(super) fn read_request(
        &mut self,
        id: ClientId,
        end: Option<usize>,
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
        end: Option<usize>,
        buffer: &mut Buffer,
    ) -> Result<Accepted, Obstacle> {
        let has_cache = self.has_cache();
        let client = &mut self.downstream[id];
        let Some(conn) = client.sink.conn_mut() else {
            return Err(Obstacle::Refused(Refusal::Malformed));
        };
        let (bytes, max_fields) = (conn.input.flatten(), self.settings.max_fields);
        let read = read_head(bytes, end, self.settings.head_limit, max_fields);
        let head = read.as_ref().map_err(|refusal| Obstacle::Refused(*refusal))?;
        let bytes = &bytes[..head.whole_len()];
        let goes_round = self.settings.counts_passes && forwarded::passes(head) >= MAX_PASSES;
        let trusted = self.settings.is_trusted(client.peer.ip());
        let choice = self.settings.routing.choose(
            head,
            || forwarded::is_https(head, trusted, client.arrival.https),
            |name| self.upstream.find_pool(name).map(|pool| pool.0),
        );
        let pool = choice.pool().map(PoolId);
        let of_pool = pool.map(|pool| &self.upstream[pool]);
        let rules = match choice {
            Choice::Redirected { .. } => Some(&self.upstream[PoolId(0)]), // Those of the top level.
            Choice::Named(_) | Choice::Unknown | Choice::Routed { .. } | Choice::Default => of_pool,
        };
        if head.has_raw_target && !rules.is_some_and(|pool| pool.tolerate.has(Tolerance::RawTarget))
        {
            return Err(Obstacle::Refused(Refusal::RawTarget));
        }
        let sticky_target = brought(head, pool, &self.upstream)?;
        let own_id = if head.request_id.is_none() { self.ids.make() } else { [0; 36] };
        let forward = Forward {
            client: client.peer.ip(),
            id: head.request_id.unwrap_or(&own_id),
            trusted,
            tls: client.arrival.https,
            port: client.arrival.port,
            normal_host: has_cache,
            ..forward_to(of_pool, &self.settings)
        };
        let answer = match goes_round {
            true => Some(Response::Local(LocalReply::refusing(Refusal::Loop))),
            false => answer_at_once(head, choice, of_pool),
        };
        let ring_size = self.settings.ring_size;
        let spans = write_head(answer, (bytes, head), &forward, ring_size, buffer)
            .ok_or(Obstacle::Refused(Refusal::HeadTooLong))?;
        let request = Request {
            is_https: forward.is_https(head),
            batch: client.batch,
            ..known_of(head, spans)
        };
        let body = body::of_request(head).with_trailers(self.settings.max_fields, &head.fields);
        let route = choice.route();
        Ok(Accepted { len: head.whole_len(), request, pool, route, sticky_target, body, answer })
    }
}

/// The backend of the pool that a request's cookie names.
fn brought(
    head: &RequestHead,
    pool: Option<PoolId>,
    upstream: &Upstream,
) -> Result<StickyTarget, Obstacle> {
    let Some((id, pool)) = pool.map(|id| (id, &upstream[id])) else {
        return Ok(StickyTarget::None);
    };
    let Some(sticky) = &pool.sticky else { return Ok(StickyTarget::None) };
    if upstream.is_stale(id) {
        return Err(Obstacle::Stale(id));
    }
    let known = |value: &[u8]| upstream.find_tag(pool, value);
    Ok(sticky::brought(head, &sticky.cookie, known))
}

/// What heads are given on their way to a pool, without what their clients are.
fn forward_to<'a>(pool: Option<&'a Pool>, settings: &'a Settings) -> Forward<'a> {
    Forward {
        client: None,
        id: b"",
        trusted: false,
        tls: false,
        fields: settings.forward,
        port: None,
        counts_passes: settings.counts_passes,
        via: settings.via.as_deref(),
        own_cookie: pool.and_then(|pool| pool.sticky.as_ref()).map(|sticky| sticky.cookie.as_str()),
        upgrades: pool.map_or(&[], |pool| &pool.upgrades),
        normal_host: false,
    }
}

/// Writes what is kept of a head: as it goes on, or what the answer that is given at once needs of it, which
/// must fit a ring.
fn write_head(
    answer: Option<Response>,
    (bytes, head): (&[u8], &RequestHead),
    forward: &Forward,
    ring_size: usize,
    buffer: &mut Buffer,
) -> Option<RequestSpans> {
    match answer {
        Some(Response::Final(Final::Methods | Final::Reflection)) => {
            rewrite::reflection(bytes, head, forward.id, buffer)
                .filter(|_| buffer.len() + reply::MAX_LEN <= ring_size)
        }
        Some(Response::Final(Final::Redirect { .. })) => {
            let bound = reply::redirect_len_bound(head.authority, head.target);
            rewrite::request(head, forward, buffer).filter(|_| bound < ring_size)
        }
        _ => rewrite::request(head, forward, buffer),
    }
}

/// Reads the head of `end` bytes at the front of `bytes`, or without `end` one that is whole, valid and
/// within `limit`.
#[inline] // so that it is not moved, for it is large
fn read_head(
    bytes: &[u8],
    end: Option<usize>,
    limit: usize,
    max_fields: usize,
) -> Result<RequestHead<'_>, Refusal> {
    match end {
        Some(end) => request::parse_any(&bytes[..end], max_fields),
        None => request::parse_front(&bytes[..bytes.len().min(limit)], max_fields),
    }
}

/// The answer to a request for which no backend is asked.
fn answer_at_once(head: &RequestHead, choice: Choice, pool: Option<&Pool>) -> Option<Response> {
    let max_body = pool.map_or(0, |pool| pool.max_body);
    if let Some(refusal) = admit::refusal(head, max_body) {
        return Some(Response::Local(LocalReply::refusing(refusal)));
    }
    if let Choice::Redirected { status, .. } = choice {
        return Some(match head.authority {
            // A client of HTTP/1.0 need not say what host it means, and nobody else knows.
            [] => Response::Local(LocalReply::refusing(Refusal::Host)),
            _ => Response::Final(Final::Redirect { status }),
        });
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
