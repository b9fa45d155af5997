//! What a backend's answer, or its failure, means for what is stored.

use crate::cache::collapse::Ending;
use crate::cache::keys::UrlKey;
use crate::cache::open_entries::EntryId;
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::http::framing;
use crate::http::method::Method;
use crate::http::rewrite;
use crate::mem::Append;
use crate::policy::conditional::{
    self, ConditionalOutcome, HeadVerdict, MissingRange, REST_GROWTH, VALIDATION_GROWTH,
};
use crate::policy::freshness::OriginFailure;
use crate::policy::invalidation;
use crate::policy::ranges::Part;
use crate::policy::retry::Failure;
use crate::policy::siphash::SipHasher;

use super::context::{CacheContext, CacheStep, url_of};
use super::lookup::serve_by;
use super::record::timing_of;
use super::state::{Asks, CacheFetch, CacheState, Delivery, StoredAnswer};
use super::{Caching, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Exchange, ReceivedHead, Response};
use crate::proxy::ids::ExchangeId;

/// What a request asks about an entry by.
enum Validators<'a> {
    /// Whether it is still right.
    IfChanged { etag: &'a [u8], last_modified: &'a [u8] },
    /// For what is missing of it.
    ForRest { etag: &'a [u8], missing: Part },
}

impl Caching {
    /// The validators that a request is sent with, if it asks about an entry.
    fn validators(&self, exchange: &Exchange) -> Option<Validators<'_>> {
        let CacheState::Fetching(CacheFetch { stale: Some(entry), asks, .. }) = *exchange.cache()
        else {
            return None;
        };
        let open_entry = self.store.entry(entry);
        let (front, entry) = (open_entry.front(), &open_entry.entry);
        let etag = &front[entry.etag.range()];
        let last_modified = &front[entry.last_modified_text.range()];
        match asks {
            Asks::IfChanged => Some(Validators::IfChanged { etag, last_modified }),
            Asks::ForRest(MissingRange { missing, .. }) => {
                Some(Validators::ForRest { etag, missing })
            }
            Asks::AsIs | Asks::Joins(..) => None,
        }
    }

    /// How many bytes they add to a request.
    fn validators_len(&mut self, exchange: &mut Exchange, _: &mut CacheContext) -> usize {
        let added = self.validators(exchange);
        added.map_or(0, |added| match added {
            Validators::IfChanged { etag, last_modified } => {
                VALIDATION_GROWTH + etag.len() + last_modified.len()
            }
            Validators::ForRest { etag, .. } => REST_GROWTH + etag.len(),
        })
    }

    /// Writes what of a request lies behind its first `from` bytes to its connection, which has room
    /// for it, with the validators that it is sent with.
    fn write_request(&self, exchange: &Exchange, context: &mut CacheContext, from: usize) {
        let Some(backend) = &mut context.backend else { return };
        let output = backend.conn.prepare_output(context.rings);
        let head = &exchange.head.as_slice()[from..];
        let fields = || rewrite::written_fields(head);
        match self.validators(exchange) {
            Some(Validators::IfChanged { etag, last_modified }) => {
                conditional::write_validation(head, &fields(), etag, last_modified, output);
            }
            Some(Validators::ForRest { etag, missing }) => {
                conditional::write_for_rest(head, &fields(), etag, missing, output);
            }
            None => output.append(head),
        }
    }

    /// The final head of a backend's answer is there. If it is not to be the answer, the exchange
    /// still has its connection.
    pub fn on_response_head(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
    ) -> CacheStep {
        let Response::Backend(received) = exchange.answer else { return CacheStep::Proceed };
        let status = received.head.status();
        let (fetch, entry) = match *exchange.cache() {
            CacheState::Bypass(_) => {
                if invalidation::invalidates(exchange.request.method, status) {
                    self.invalidate(exchange, context, received);
                }
                return CacheStep::Proceed;
            }
            CacheState::Fetching(CacheFetch { stale: None, .. })
            | CacheState::Disabled
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => return CacheStep::Proceed,
            CacheState::Fetching(fetch @ CacheFetch { stale: Some(entry), .. }) => (fetch, entry),
        };
        if fetch.asks == Asks::IfChanged && status == 304 {
            return self.not_modified(exchange, context, (fetch, entry), received);
        }
        if let Asks::ForRest(rest) = fetch.asks {
            return self.on_rest(exchange, context, (entry, rest), received);
        }
        if self.may_replace(exchange, context, entry, OriginFailure::Status(status)) {
            return self.serve_stale(exchange, context, (fetch, entry), Some(status));
        }
        if exchange.request.method == Method::Head && status == 200 {
            self.on_head(exchange, context, (fetch, entry), received);
        }
        self.release_stale(exchange);
        CacheStep::Proceed
    }

    /// The answer to a HEAD tells whether what is stored for GET is still right.
    fn on_head(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (fetch, entry): (CacheFetch, EntryId),
        received: ReceivedHead,
    ) {
        let Some(backend) = context.backend.as_mut().filter(|backend| !backend.is_bound) else {
            return;
        };
        let head = received.head.open(backend.conn.input.flatten());
        let fresh = ResponseCacheFields::new(head.fields);
        let open_entry = self.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        let length = head.fields.values("content-length").next().and_then(framing::decimal);
        match conditional::judge_head(&fresh, length, &stored, wall_seconds()) {
            HeadVerdict::Outdated => self.store.outdate(entry, fetch.token, context.now),
            // What was said to one user is not for others.
            HeadVerdict::Confirmed if exchange.cache_fields().authorization => (),
            HeadVerdict::Confirmed => {
                let times = &exchange.times;
                let timing = timing_of(times.sent, times.answered, context.now);
                let fresh = (&fresh, timing);
                let freshened = self.store.freshen(entry, fetch.token, fresh, context.now);
                if let (Some((entry, _)), Some(fetch)) = (freshened, exchange.fetch()) {
                    fetch.stale = Some(entry);
                }
            }
            HeadVerdict::Unknown => (),
        }
    }

    /// A backend has failed: a stored answer takes its place, if there is one that may.
    pub fn on_failure(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        failure: Failure,
    ) -> CacheStep {
        match *exchange.cache() {
            CacheState::Fetching(fetch @ CacheFetch { stale: Some(entry), .. })
                if self.may_replace(exchange, context, entry, meaning(failure)) =>
            {
                self.serve_stale(exchange, context, (fetch, entry), None)
            }
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Fetching(_)
            | CacheState::Hit => CacheStep::Proceed,
        }
    }

    fn may_replace(
        &self,
        exchange: &Exchange,
        context: &CacheContext,
        entry: EntryId,
        failure: OriginFailure,
    ) -> bool {
        let request_fields = exchange.cache_fields();
        let directives = request_fields.directives;
        let open_entry = self.store.entry(entry);
        let freshness = open_entry.entry.freshness;
        let stored = open_entry.entry.stored(open_entry.front());
        let method = exchange.request.method;
        // One that nobody waits for is there for the entry alone.
        !context.client.is_background()
            && conditional::reply(method, &request_fields, &stored, wall_seconds())
                != ConditionalOutcome::Forward
            && freshness.may_replace(failure, &directives, wall_seconds())
    }

    /// What there is answers instead of a backend that failed.
    fn serve_stale(
        &mut self,
        exchange: &mut Exchange,
        context: &CacheContext,
        (fetch, entry): (CacheFetch, EntryId),
        status: Option<u16>,
    ) -> CacheStep {
        self.end_fetch(exchange, Ending::Failed, context.now);
        let status =
            CacheStatus::Forwarded { why: fetch.why, status, stored: false, collapsed: false };
        self.serve_entry(exchange, entry, status, CacheResult::Stale)
    }

    /// An entry, which is pinned, answers instead of a backend: as the client's own conditions have it.
    fn serve_entry(
        &mut self,
        exchange: &mut Exchange,
        entry: EntryId,
        status: CacheStatus,
        result: CacheResult,
    ) -> CacheStep {
        let open_entry = self.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        let method = exchange.request.method;
        let is_part = stored.segments.is_some();
        let reply =
            match conditional::reply(method, &exchange.cache_fields(), &stored, wall_seconds()) {
                ConditionalOutcome::Forward if is_part => {
                    // What has changed with it is what the client's range depends on.
                    self.store.release(entry);
                    return CacheStep::AskAgain;
                }
                ConditionalOutcome::Forward => ConditionalOutcome::Whole,
                reply => reply,
            };
        let (left, delivery) = (None, Delivery::Stored);
        let stored = StoredAnswer { entry, reply, status, result, left, delivery };
        serve_by(exchange, stored, None)
    }

    /// A 304 to our own question: the entry answers, if that is what it says.
    fn not_modified(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (fetch, entry): (CacheFetch, EntryId),
        received: ReceivedHead,
    ) -> CacheStep {
        let Some((entry, stored)) = self.confirm(exchange, context, (fetch, entry), received)
        else {
            self.release_stale(exchange);
            return CacheStep::AskAgain;
        };
        self.end_fetch(exchange, Ending::Stored, context.now);
        if let Some(fetch) = exchange.fetch() {
            fetch.stale = None;
        }
        if context.client.is_background() {
            self.store.release(entry);
            return CacheStep::End;
        }
        let why = fetch.why;
        let status = CacheStatus::Forwarded { why, status: Some(304), stored, collapsed: false };
        self.serve_entry(exchange, entry, status, CacheResult::Revalidated)
    }

    /// What the entry is now that a 304 confirms it, and whether it is stored still. `None`: it speaks
    /// of another.
    fn confirm(
        &mut self,
        exchange: &Exchange,
        context: &mut CacheContext,
        (fetch, entry): (CacheFetch, EntryId),
        received: ReceivedHead,
    ) -> Option<(EntryId, bool)> {
        let backend = context.backend.as_mut()?;
        let head = received.head.open(backend.conn.input.flatten());
        let fresh = ResponseCacheFields::new(head.fields);
        let open_entry = self.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        if !conditional::confirms(&fresh, &stored, wall_seconds()) {
            return None;
        }
        let timing = timing_of(exchange.times.sent, exchange.times.answered, context.now);
        let freshened = self.store.freshen(entry, fetch.token, (&fresh, timing), context.now);
        Some(freshened.unwrap_or((entry, false)))
    }

    /// What is stored for the URL of a request that has changed something is void, and for those
    /// that the answer names beside it.
    fn invalidate(&self, exchange: &Exchange, context: &mut CacheContext, received: ReceivedHead) {
        let Some(backend) = &mut context.backend else { return };
        let head = received.head.open(backend.conn.input.flatten());
        let directory = self.store.directory();
        let url = url_of(exchange, &exchange.cache_fields());
        directory.invalidate(directory.primary(&url));
        let start = || directory.primary_hasher();
        let each = |key: SipHasher| directory.invalidate(UrlKey(key.finish_128()));
        invalidation::also_invalidated(&url, &head.fields, start, each);
    }
}

impl Proxy {
    /// How many bytes the request takes as it is sent to the backend.
    pub(in crate::proxy) fn wire_len(&mut self, id: ExchangeId) -> usize {
        let validators = self.with_cache(id, Caching::validators_len);
        let exchange = &self.exchanges[id];
        let host = exchange.choice.filter(|_| exchange.lacks_host());
        let host_len = host.map_or(0, |slot| self.upstream[slot].name.len());
        exchange.head.len() + host_len + validators
    }

    /// Writes the request into the ring of its connection, which has room for it.
    pub(in crate::proxy) fn write_request(&mut self, id: ExchangeId) {
        // Validators that would not fit into a ring are none.
        if self.has_cache() && self.wire_len(id) > self.buffers.ring_size {
            self.with_cache(id, |caching, exchange, _| caching.release_stale(exchange));
        }
        let from = self.put_own_host(id);
        if self.has_cache() {
            return self.with_cache(id, |caching, exchange, context| {
                caching.write_request(exchange, context, from);
            });
        }
        let conn = self.backend_conn(id);
        let output = self.upstream[conn].conn.prepare_output(&mut self.buffers.rings);
        output.append(&self.exchanges[id].head.as_slice()[from..]);
    }

    /// The final head of a backend's answer is there.
    pub(in crate::proxy) fn tell_cache_of_response(&mut self, id: ExchangeId) {
        let step = self.with_cache(id, Caching::on_response_head);
        if let CacheStep::Proceed = step {
            return;
        }
        match self.exchanges[id].answer {
            // It has no body: its connection is free then, or the next one's.
            Response::Backend(received) if received.head.status() == 304 => {
                let conn = self.backend_conn(id);
                self.upstream[conn].conn.input.consume(received.head.len());
                self.release_conn(id);
                self.upstream.conn_was_freed(&mut self.turn);
            }
            Response::Pending
            | Response::Backend(_)
            | Response::Local(_)
            | Response::Page(..)
            | Response::Final(_)
            | Response::Stored(_) => self.detach(id),
        }
        self.release_choice(id);
        self.carry_out(id, step);
    }

    /// A backend has failed: a stored answer takes its place, if there is one that may.
    pub(in crate::proxy) fn serve_stale_instead(
        &mut self,
        id: ExchangeId,
        failure: Failure,
    ) -> bool {
        let step = self.with_cache(id, |caching, exchange, context| {
            caching.on_failure(exchange, context, failure)
        });
        self.carry_out(id, step).is_some()
    }
}

/// What a failure means to those who have a stale answer.
fn meaning(failure: Failure) -> OriginFailure {
    match failure {
        Failure::NoBackend | Failure::Refused | Failure::ConnectTimeout | Failure::Terminated => {
            OriginFailure::Disconnected
        }
        Failure::QueueTimeout | Failure::ResponseTimeout => OriginFailure::Late,
        Failure::Protocol
        | Failure::HeadTooLarge
        | Failure::IdentityMismatch
        | Failure::Incomplete => OriginFailure::Status(502),
    }
}
