//! What the cache has to do with an exchange.
//!
//! ```text
//! NotLookedUp ──► Hit                an entry answers it
//!    │  ▲   └───► HitPending         one would, but its turn has not come: then it is looked for again
//!    ▼  │
//! WaitingForFetch   Fetching ──► Hit     a backend is asked; its 304, or its trouble
//! ```
//!
//! Only a first exchange has an entry for its answer, waits for a fetch or makes one: it waits for
//! nobody, and all that others wait for goes on by itself.

use crate::cache::collapse::{Ending, FetchTicket, Waiting};
use crate::cache::open_entries::EntryId;
use crate::cache::store::{CacheQuery, LookupToken};
use crate::http::cache_fields::RequestCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus, Forward};
use crate::mem::time::Millis;
use crate::policy::cache_key::Url;
use crate::policy::conditional::Reply;
use crate::policy::ranges::Part;
use crate::policy::vary::Chosen;
use crate::sys::clock;

use crate::proxy::Proxy;
use crate::proxy::exchange::{Answer, Exchange, ExchangeId};
use crate::proxy::settings::COLLAPSED;

/// What the cache has to do with an exchange.
#[derive(Clone, Copy, Debug)]
pub enum CacheState {
    /// Nothing: there is none, or the exchange was never to be answered by anybody else.
    Disabled,
    /// It passes by the cache, for this reason.
    Bypass(Forward),
    /// Nothing was looked for yet, or all that was found is over.
    NotLookedUp(CollapseWait),
    /// There is something that answers it, once it is first.
    HitPending,
    /// Another request fetches what it wants; the reason is its own.
    WaitingForFetch(FetchTicket, Forward),
    /// It goes to a backend.
    Fetching(CacheFetch),
    /// An entry answers it.
    Hit,
}

/// Whether an exchange may wait for what another one fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollapseWait {
    /// It has not waited yet.
    Fresh,
    /// It has; for this reason it would have gone to a backend itself.
    Waited(Forward),
    /// It has waited for long enough.
    Over,
}

/// What a request is sent to a backend for.
#[derive(Clone, Copy, Debug)]
pub struct CacheFetch {
    /// Why no entry answered it.
    pub why: Forward,
    /// What was seen then.
    pub token: LookupToken,
    /// Others wait for what comes of it.
    pub ticket: Option<FetchTicket>,
    /// What there is, and cannot answer as it is; pinned.
    pub stale: Option<EntryId>,
    /// Whether the backend is asked if that is still right.
    pub validates: bool,
    /// They wait so long for the end of a body of unknown length.
    pub patience: Millis,
    /// Bytes of the body that had passed when it was last looked at, if it ever was.
    pub passed: Option<u64>,
}

impl CacheFetch {
    /// To fetch what is not there.
    pub fn new(why: Forward, token: LookupToken) -> CacheFetch {
        CacheFetch {
            why,
            token,
            ticket: None,
            stale: None,
            validates: false,
            patience: COLLAPSED,
            passed: None,
        }
    }
}

/// An answer out of an entry, which is pinned.
#[derive(Clone, Copy, Debug)]
pub struct StoredAnswer {
    /// The entry.
    pub entry: EntryId,
    /// What of it.
    pub reply: Reply,
    /// What the client is told of the cache.
    pub status: CacheStatus,
    /// What the log and the metrics are told.
    pub result: CacheResult,
    /// Bytes of the body that are still to be sent, once the head was.
    pub left: Option<Part>,
}

/// What `exchange` wants of the cache. `pool` is the name of its pool, if that is chosen by fields.
pub(in crate::proxy) fn query<'a>(
    exchange: &'a Exchange,
    request_fields: &'a RequestCacheFields<'a>,
    pool: &'a [u8],
) -> CacheQuery<'a> {
    CacheQuery { url: url_of(exchange, request_fields), chosen: Chosen { request_fields, pool } }
}

/// The URL of a request.
pub(in crate::proxy) fn url_of<'a>(
    exchange: &'a Exchange,
    request_fields: &RequestCacheFields,
) -> Url<'a> {
    let spans = &exchange.request.spans;
    Url {
        https: request_fields.https,
        host: &exchange.head[spans.host],
        target: &exchange.head[spans.target],
    }
}

/// Now, in seconds since the epoch.
pub(in crate::proxy) fn wall_seconds() -> u64 {
    clock::wall().0 / 1_000_000
}

/// What is told of the cache with an answer of our own, if the request came as far as to it.
pub(in crate::proxy) fn told_with_own(exchange: &Exchange) -> Option<CacheStatus> {
    let why = match exchange.caching {
        CacheState::Bypass(why) | CacheState::WaitingForFetch(_, why) => why,
        CacheState::Fetching(_) if exchange.cache_fields().directives.only_if_cached => {
            return Some(CacheStatus::OnlyIfCached);
        }
        CacheState::Fetching(fetch) => fetch.why,
        CacheState::Disabled
        | CacheState::NotLookedUp(_)
        | CacheState::HitPending
        | CacheState::Hit => return None,
    };
    Some(CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false })
}

impl Proxy {
    /// The fetch of an exchange that goes to a backend for the cache as well.
    pub(in crate::proxy) fn fetch(&mut self, id: ExchangeId) -> Option<&mut CacheFetch> {
        match &mut self.exchanges[id].caching {
            CacheState::Fetching(fetch) => Some(fetch),
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => None,
        }
    }

    /// What the exchange fetches for others has ended so.
    pub(in crate::proxy) fn end_fetch(&mut self, id: ExchangeId, ending: Ending) {
        if let Some(ticket) = self.fetch(id).and_then(|fetch| fetch.ticket.take()) {
            self.end(ticket, ending);
        }
    }

    /// A fetch has ended: those who wait for it are woken, here and in other workers.
    pub(in crate::proxy) fn end(&mut self, ticket: FetchTicket, ending: Ending) {
        let Some(cache) = &self.tools.cache else { return };
        let waiting = cache.store.directory().cells.fetches.end(ticket, ending, self.now);
        self.ring_waiting(waiting);
    }

    fn ring_waiting(&mut self, waiting: Waiting) {
        for worker in waiting.workers() {
            if worker == self.worker {
                self.wake_fetch_line();
            } else {
                self.bells.ring(worker);
            }
        }
    }

    /// Those who wait for what is over have another look.
    pub(in crate::proxy) fn wake_fetch_line(&mut self) {
        for position in 0..self.fetch_line.len() {
            let Some(id) = self.fetch_line.get(position).copied() else { return };
            let exchange = &self.exchanges[id];
            let client = exchange.client;
            let is_over = match exchange.caching {
                CacheState::WaitingForFetch(ticket, _) => !self.is_going_on(ticket),
                CacheState::Disabled
                | CacheState::Bypass(_)
                | CacheState::NotLookedUp(_)
                | CacheState::HitPending
                | CacheState::Fetching(_)
                | CacheState::Hit => true,
            };
            if is_over {
                self.wake(client);
            }
        }
    }

    pub(in crate::proxy) fn is_going_on(&self, ticket: FetchTicket) -> bool {
        let cache = self.tools.cache.as_ref();
        cache.is_some_and(|cache| {
            cache.store.directory().cells.fetches.is_going_on(self.worker, ticket)
        })
    }

    /// The exchange has nothing to do with the cache any more: what it has of it goes back.
    pub(in crate::proxy) fn leave_cache(&mut self, id: ExchangeId) {
        if self.tools.cache.is_none() {
            return;
        }
        self.end_fetch(id, Ending::Abandoned);
        self.stop_recording(id);
        self.give_stale_back(id);
        let exchange = &mut self.exchanges[id];
        exchange.caching = CacheState::Disabled;
        if let (Answer::Stored(stored), Some(cache)) = (exchange.answer, &mut self.tools.cache) {
            exchange.answer = Answer::Pending;
            cache.store.release(stored.entry);
        }
    }

    /// What there was will not answer the exchange any more.
    pub(in crate::proxy) fn give_stale_back(&mut self, id: ExchangeId) {
        let stale = self.fetch(id).and_then(|fetch| {
            fetch.validates = false;
            fetch.stale.take()
        });
        if let (Some(entry), Some(cache)) = (stale, &mut self.tools.cache) {
            cache.store.release(entry);
        }
    }
}
