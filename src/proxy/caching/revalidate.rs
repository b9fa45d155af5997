//! What a backend's answer, or its failure, means for what is stored.

use crate::cache::collapse::Ending;
use crate::cache::open_entries::EntryId;
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::http::rewrite;
use crate::mem::Append;
use crate::policy::conditional::{self, Reply, VALIDATION_GROWTH};
use crate::policy::freshness::OriginFailure;
use crate::policy::invalidation;
use crate::policy::retry::Failure;
use crate::policy::siphash::SipHasher;

use super::record::timing_of;
use super::state::{self, CacheFetch, CacheState, StoredAnswer};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Answer, ExchangeId, ResponseFacts, State};

/// What a 304 says of the entry that was asked about.
enum Confirmed {
    /// It is right; this is it now, and whether it is stored still.
    Yes(EntryId, bool),
    /// It speaks of another.
    No,
}

impl Proxy {
    /// How many bytes the request takes as it is sent to the backend.
    pub(in crate::proxy) fn wire_len(&self, id: ExchangeId) -> usize {
        let exchange = &self.exchanges[id];
        let host = exchange.choice.filter(|_| exchange.lacks_host());
        let host_len = host.map_or(0, |slot| self.backends[slot.0].name.len());
        let len = exchange.head.len() + host_len;
        match self.validators(id) {
            Some((etag, last_modified)) => {
                len + VALIDATION_GROWTH + etag.len() + last_modified.len()
            }
            None => len,
        }
    }

    /// The validators that the request is sent with, if it asks about an entry.
    fn validators(&self, id: ExchangeId) -> Option<(&[u8], &[u8])> {
        let cache = self.tools.cache.as_ref()?;
        let CacheState::Fetching(CacheFetch { stale: Some(entry), validates: true, .. }) =
            self.exchanges[id].caching
        else {
            return None;
        };
        let open_entry = cache.store.entry(entry);
        let (etag, changed) = (open_entry.entry.etag, open_entry.entry.last_modified_text);
        Some((&open_entry.front()[etag.range()], &open_entry.front()[changed.range()]))
    }

    /// Writes the request into the ring of its connection, which has room for it.
    pub(in crate::proxy) fn write_request(&mut self, id: ExchangeId) {
        // Validators that would not fit into a ring are none.
        if self.wire_len(id) > self.tools.ring_size {
            self.give_stale_back(id);
        }
        let from = self.put_own_host(id);
        let conn = self.conn_of(id);
        let output = self.conns[conn].conn.prepare_output(&mut self.tools.rings);
        let exchange = &self.exchanges[id];
        let head = &exchange.head.as_slice()[from..];
        match (&self.tools.cache, exchange.caching) {
            (
                Some(cache),
                CacheState::Fetching(CacheFetch { stale: Some(entry), validates: true, .. }),
            ) => {
                let open_entry = cache.store.entry(entry);
                let (etag, changed) = (open_entry.entry.etag, open_entry.entry.last_modified_text);
                let (etag, changed) =
                    (&open_entry.front()[etag.range()], &open_entry.front()[changed.range()]);
                let fields = rewrite::written_fields(head);
                conditional::write_validation(head, &fields, etag, changed, output);
            }
            (Some(_) | None, _) => output.append(head),
        }
    }

    /// The final head of a backend's answer is there: what it means for what is stored.
    pub(in crate::proxy) fn cache_hears(&mut self, id: ExchangeId) {
        let exchange = &self.exchanges[id];
        let Answer::Backend(facts) = exchange.answer else { return };
        let status = facts.head.status();
        match exchange.caching {
            CacheState::Bypass(_) => {
                if invalidation::invalidates(exchange.request.method, status) {
                    self.invalidate(id, facts);
                }
            }
            CacheState::Fetching(fetch) => match fetch.stale {
                Some(_) if fetch.validates && status == 304 => self.not_modified(id, facts),
                Some(entry) if self.may_replace(id, entry, OriginFailure::Status(status)) => {
                    self.end_fetch(id, Ending::Failed);
                    self.detach(id);
                    self.release_choice(id);
                    self.answer_stale(id, fetch, entry, Some(status));
                }
                Some(_) => self.give_stale_back(id),
                None => (),
            },
            CacheState::Disabled
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => (),
        }
    }

    /// A backend has failed: a stored answer takes its place, if there is one that may.
    pub(in crate::proxy) fn serve_stale_instead(
        &mut self,
        id: ExchangeId,
        failure: Failure,
    ) -> bool {
        let CacheState::Fetching(fetch) = self.exchanges[id].caching else { return false };
        let Some(entry) = fetch.stale else { return false };
        if !self.may_replace(id, entry, trouble(failure)) {
            return false;
        }
        self.end_fetch(id, Ending::Failed);
        self.answer_stale(id, fetch, entry, None);
        true
    }

    fn may_replace(&self, id: ExchangeId, entry: EntryId, trouble: OriginFailure) -> bool {
        let Some(cache) = &self.tools.cache else { return false };
        let exchange = &self.exchanges[id];
        let directives = exchange.cache_fields().directives;
        let freshness = cache.store.entry(entry).entry.freshness;
        // One that nobody waits for is there for the entry alone.
        !self.clients[exchange.client].is_nobody
            && freshness.may_replace(trouble, &directives, state::wall_seconds())
    }

    fn answer_stale(
        &mut self,
        id: ExchangeId,
        fetch: CacheFetch,
        entry: EntryId,
        status: Option<u16>,
    ) {
        let (why, result) = (fetch.why, CacheResult::Stale);
        let status = CacheStatus::Forwarded { why, status, stored: false, collapsed: false };
        self.answer_by(id, entry, status, result);
    }

    /// An entry, which is pinned, answers instead of a backend: as the client's own conditions have it.
    fn answer_by(
        &mut self,
        id: ExchangeId,
        entry: EntryId,
        status: CacheStatus,
        result: CacheResult,
    ) {
        let Some(cache) = &self.tools.cache else { return };
        let exchange = &self.exchanges[id];
        let open_entry = cache.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        let now = state::wall_seconds();
        let reply =
            conditional::reply(exchange.request.method, &exchange.cache_fields(), &stored, now);
        let reply = if reply == Reply::Forward { Reply::Whole } else { reply };
        self.answer_from(id, StoredAnswer { entry, reply, status, result, left: None });
    }

    /// A 304 to our own question: the entry answers, if that is what it says.
    fn not_modified(&mut self, id: ExchangeId, facts: ResponseFacts) {
        let CacheState::Fetching(fetch) = self.exchanges[id].caching else { return };
        let confirmed = self.confirm(id, fetch, facts);
        self.drop_backends_head(id, facts);
        match confirmed {
            Confirmed::Yes(entry, stored) => {
                self.end_fetch(id, Ending::Stored);
                if let Some(fetch) = self.fetch(id) {
                    fetch.stale = None;
                }
                if self.clients[self.exchanges[id].client].is_nobody {
                    if let Some(cache) = &mut self.tools.cache {
                        cache.store.release(entry);
                    }
                    return self.exchanges[id].enter(State::Done);
                }
                let status = CacheStatus::Forwarded {
                    why: fetch.why,
                    status: Some(304),
                    stored,
                    collapsed: false,
                };
                self.answer_by(id, entry, status, CacheResult::Revalidated);
            }
            Confirmed::No => {
                self.give_stale_back(id);
                let exchange = &mut self.exchanges[id];
                exchange.answer = Answer::Pending;
                exchange.sent = false;
                exchange.upload.restart();
                exchange.enter(State::Waiting);
            }
        }
    }

    fn confirm(&mut self, id: ExchangeId, fetch: CacheFetch, facts: ResponseFacts) -> Confirmed {
        let conn = self.conn_of(id);
        let Proxy { exchanges, conns, tools, now, .. } = self;
        let (Some(cache), Some(entry)) = (&mut tools.cache, fetch.stale) else {
            return Confirmed::No;
        };
        let head = facts.head.open(conns[conn].conn.input.flatten());
        let fresh = ResponseCacheFields::of(head.fields);
        let open_entry = cache.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        if !conditional::confirms(&fresh, &stored, state::wall_seconds()) {
            return Confirmed::No;
        }
        let times = &exchanges[id].times;
        let timing = timing_of(times.sent, times.answered, *now);
        let freshened = cache.store.freshen(entry, fetch.token, (&fresh, timing), *now);
        let (entry, stored) = freshened.unwrap_or((entry, false));
        Confirmed::Yes(entry, stored)
    }

    /// Takes the head of a backend's answer, which has no body, off its connection; that is free
    /// then, or the next one's.
    fn drop_backends_head(&mut self, id: ExchangeId, facts: ResponseFacts) {
        let conn = self.conn_of(id);
        self.conns[conn].conn.input.consume(facts.head.len());
        self.release_conn(id);
        self.wake_line();
        self.release_choice(id);
    }

    /// What is stored for the URL of a request that has changed something is void, and for those
    /// that the answer names beside it.
    fn invalidate(&mut self, id: ExchangeId, facts: ResponseFacts) {
        let conn = self.conn_of(id);
        let Proxy { exchanges, conns, tools, .. } = self;
        let Some(cache) = &tools.cache else { return };
        let directory = cache.store.directory();
        let head = facts.head.open(conns[conn].conn.input.flatten());
        let exchange = &exchanges[id];
        let request_fields = exchange.cache_fields();
        let url = state::url_of(exchange, &request_fields);
        directory.invalidate(directory.primary(&url));
        let start = || directory.primary_hasher();
        let each = |key: SipHasher| directory.invalidate(key.finish_128());
        invalidation::also_invalidated(&url, &head.fields, start, each);
    }
}

/// What a failure means to those who have a stale answer.
fn trouble(failure: Failure) -> OriginFailure {
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
