//! What the cache has to do with an exchange.
//!
//! ```text
//! Unasked ──► Served                 an entry answers it
//!    │  ▲ └──► Promised              one would, but its turn has not come: then it is looked for again
//!    ▼  │
//! Waiting        Forwarded ──► Served     a backend is asked; its 304, or its trouble
//! ```
//!
//! Only a first exchange has an entry for its answer, waits for a fetch or makes one: it waits for
//! nobody, and all that others wait for goes on by itself.

use crate::cache::fetches::{Ending, Fetch, Waiting};
use crate::cache::shelf::EntryId;
use crate::cache::store::{Sight, Wanted};
use crate::http::cache_status::{CacheResult, CacheStatus, Forward};
use crate::http::caching::Asked;
use crate::mem::time::Millis;
use crate::policy::cache_key::Url;
use crate::policy::conditional::Reply;
use crate::policy::ranges::Part;
use crate::policy::vary::Chosen;
use crate::sys::clock;

use super::Proxy;
use super::exchange::{Answer, Exchange, ExchangeId};
use super::settings::COLLAPSED;

/// What the cache has to do with an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Caching {
    /// Nothing: there is none, or the exchange was never to be answered by anybody else.
    Absent,
    /// It passes by the cache, for this reason.
    Aside(Forward),
    /// Nothing was looked for yet, or all that was found is over.
    Unasked(Patience),
    /// There is something that answers it, once it is first.
    Promised,
    /// Another request fetches what it wants; the reason is its own.
    Waiting(Fetch, Forward),
    /// It goes to a backend.
    Forwarded(Errand),
    /// An entry answers it.
    Served,
}

/// Whether an exchange may wait for what another one fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It has not waited yet.
    Fresh,
    /// It has; for this reason it would have gone to a backend itself.
    Waited(Forward),
    /// It has waited for long enough.
    Over,
}

/// What a request is sent to a backend for.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// Why no entry answered it.
    pub why: Forward,
    /// What was seen then.
    pub sight: Sight,
    /// Others wait for what comes of it.
    pub fetch: Option<Fetch>,
    /// What there is, and cannot answer as it is; pinned.
    pub stale: Option<EntryId>,
    /// Whether the backend is asked if that is still right.
    pub validates: bool,
    /// They wait so long for the end of a body of unknown length.
    pub patience: Millis,
    /// Bytes of the body that had passed when it was last looked at, if it ever was.
    pub passed: Option<u64>,
}

impl Errand {
    /// To fetch what is not there.
    pub fn new(why: Forward, sight: Sight) -> Errand {
        Errand {
            why,
            sight,
            fetch: None,
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
pub(super) fn wanted<'a>(
    exchange: &'a Exchange,
    asked: &'a Asked<'a>,
    pool: &'a [u8],
) -> Wanted<'a> {
    Wanted { url: url_of(exchange, asked), chosen: Chosen { asked, pool } }
}

/// The URL of a request.
pub(super) fn url_of<'a>(exchange: &'a Exchange, asked: &Asked) -> Url<'a> {
    let spans = &exchange.request.spans;
    Url {
        https: asked.https,
        host: &exchange.head[spans.host],
        target: &exchange.head[spans.target],
    }
}

/// Now, in seconds since the epoch.
pub(super) fn wall_seconds() -> u64 {
    clock::wall().0 / 1_000_000
}

/// What is told of the cache with an answer of our own, if the request came as far as to it.
pub(super) fn told_with_own(exchange: &Exchange) -> Option<CacheStatus> {
    let why = match exchange.caching {
        Caching::Aside(why) | Caching::Waiting(_, why) => why,
        Caching::Forwarded(_) if exchange.asked().directives.only_if_cached => {
            return Some(CacheStatus::OnlyIfCached);
        }
        Caching::Forwarded(errand) => errand.why,
        Caching::Absent | Caching::Unasked(_) | Caching::Promised | Caching::Served => return None,
    };
    Some(CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false })
}

impl Proxy {
    /// The errand of an exchange that goes to a backend for the cache as well.
    pub(super) fn errand(&mut self, id: ExchangeId) -> Option<&mut Errand> {
        match &mut self.exchanges[id].caching {
            Caching::Forwarded(errand) => Some(errand),
            Caching::Absent
            | Caching::Aside(_)
            | Caching::Unasked(_)
            | Caching::Promised
            | Caching::Waiting(..)
            | Caching::Served => None,
        }
    }

    /// What the exchange fetches for others has ended so.
    pub(super) fn end_fetch(&mut self, id: ExchangeId, ending: Ending) {
        if let Some(fetch) = self.errand(id).and_then(|errand| errand.fetch.take()) {
            self.end(fetch, ending);
        }
    }

    /// A fetch has ended: those who wait for it are woken, here and in other workers.
    pub(super) fn end(&mut self, fetch: Fetch, ending: Ending) {
        let Some(cache) = &self.tools.cache else { return };
        let waiting = cache.store.keeper().cells.fetches.end(fetch, ending, self.now);
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
    pub(super) fn wake_fetch_line(&mut self) {
        for position in 0..self.fetch_line.len() {
            let Some(id) = self.fetch_line.get(position).copied() else { return };
            let exchange = &self.exchanges[id];
            let client = exchange.client;
            let is_over = match exchange.caching {
                Caching::Waiting(fetch, _) => !self.is_going_on(fetch),
                Caching::Absent
                | Caching::Aside(_)
                | Caching::Unasked(_)
                | Caching::Promised
                | Caching::Forwarded(_)
                | Caching::Served => true,
            };
            if is_over {
                self.wake(client);
            }
        }
    }

    pub(super) fn is_going_on(&self, fetch: Fetch) -> bool {
        let cache = self.tools.cache.as_ref();
        cache
            .is_some_and(|cache| cache.store.keeper().cells.fetches.is_going_on(self.worker, fetch))
    }

    /// The exchange has nothing to do with the cache any more: what it has of it goes back.
    pub(super) fn leave_cache(&mut self, id: ExchangeId) {
        if self.tools.cache.is_none() {
            return;
        }
        self.end_fetch(id, Ending::Abandoned);
        self.stop_recording(id);
        self.give_stale_back(id);
        let exchange = &mut self.exchanges[id];
        exchange.caching = Caching::Absent;
        if let (Answer::Stored(stored), Some(cache)) = (exchange.answer, &mut self.tools.cache) {
            exchange.answer = Answer::Pending;
            cache.store.release(stored.entry);
        }
    }

    /// What there was will not answer the exchange any more.
    pub(super) fn give_stale_back(&mut self, id: ExchangeId) {
        let stale = self.errand(id).and_then(|errand| {
            errand.validates = false;
            errand.stale.take()
        });
        if let (Some(entry), Some(cache)) = (stale, &mut self.tools.cache) {
            cache.store.release(entry);
        }
    }
}
