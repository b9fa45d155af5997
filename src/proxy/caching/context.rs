//! What the cache is told of an exchange, what it says becomes of that, and how an exchange leaves it.

use crate::cache::collapse::Ending;
use crate::cache::store::{CacheQuery, LookupToken};
use crate::http::cache_fields::RequestCacheFields;
use crate::http::cache_status::CacheStatus;
use crate::mem::free_list::FreeList;
use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::vary::Chosen;

use super::Caching;
use super::state::{Asks, CacheState, StoredAnswer};
use crate::proxy::downstream::client::Client;
use crate::proxy::exchange::{Exchange, Response};
use crate::proxy::ids::ExchangeId;
use crate::proxy::upstream::connection::BackendConn;

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub enum CacheStep {
    /// The exchange goes on as it would without a cache.
    #[default]
    Proceed,
    /// The exchange waits, until its turn has come or a fetch has ended.
    Wait,
    /// The exchange waits for the response that another one fetches.
    WaitForFetch,
    /// This stored response answers the exchange. With a token, the entry is revalidated in the background.
    Serve(StoredAnswer, Option<LookupToken>),
    /// The exchange would need a backend, which its client forbids (`only-if-cached`).
    GatewayTimeout,
    /// The request goes to a backend once more.
    AskAgain,
    /// The exchange ends: it was for the cache alone.
    End,
}

/// What an exchange has around it.
pub struct CacheContext<'a> {
    /// The time of this turn.
    pub now: Micros,
    /// The exchange.
    pub id: ExchangeId,
    /// Whether it is the first of its client.
    pub is_first: bool,
    /// The client of the exchange.
    pub client: &'a mut Client,
    /// The connection to the backend of the exchange.
    pub backend: Option<&'a mut BackendConn>,
    /// The name of the pool, if that is chosen by fields.
    pub pool: &'a [u8],
    /// The name that `Via` is given.
    pub via: Option<&'a str>,
    /// Rings for connections.
    pub rings: &'a mut FreeList,
    /// Bytes in a ring.
    pub ring_size: usize,
}

impl CacheContext<'_> {
    /// What `exchange` wants of the cache.
    pub(super) fn query<'a>(
        &'a self,
        exchange: &'a Exchange,
        request_fields: &'a RequestCacheFields<'a>,
    ) -> CacheQuery<'a> {
        let chosen = Chosen { request_fields, pool: self.pool };
        CacheQuery { url: url_of(exchange, request_fields), chosen }
    }
}

/// The URL of a request.
pub(super) fn url_of<'a>(exchange: &'a Exchange, request_fields: &RequestCacheFields) -> Url<'a> {
    let spans = &exchange.request.spans;
    Url {
        https: request_fields.https,
        host: &exchange.head[spans.host],
        target: &exchange.head[spans.target],
    }
}

impl Caching {
    /// The exchange gets a local reply.
    pub fn on_local_reply(&mut self, exchange: &mut Exchange, context: &mut CacheContext) {
        match *exchange.cache() {
            CacheState::NotLookedUp(_) | CacheState::HitPending => {
                exchange.enter_cache(CacheState::Disabled);
            }
            CacheState::WaitingForFetch(_, why) => exchange.enter_cache(CacheState::Bypass(why)),
            CacheState::Fetching(_) => {
                self.end_fetch(exchange, Ending::Failed, context.now);
                self.release_stale(exchange);
            }
            CacheState::Disabled | CacheState::Bypass(_) | CacheState::Hit => (),
        }
    }

    /// The body does not pass to its end.
    pub fn on_cut(&mut self, exchange: &mut Exchange, context: &mut CacheContext) {
        self.keep_part(exchange, context.now);
        self.end_fetch(exchange, Ending::Failed, context.now);
    }

    /// The exchange has nothing to do with the cache any more: what it has of it goes back.
    pub fn abandon(&mut self, exchange: &mut Exchange, context: &mut CacheContext) {
        self.cold.leave(context.id);
        // In this order: the next who fetches it may show it under the same name.
        self.keep_part(exchange, context.now);
        self.end_fetch(exchange, Ending::Abandoned, context.now);
        self.release_stale(exchange);
        exchange.enter_cache(CacheState::Disabled);
        if let Response::Stored(stored) = exchange.answer {
            exchange.answer = Response::Pending;
            self.let_go(context.id, stored);
        }
    }

    /// What there was will not answer the exchange any more.
    pub fn release_stale(&mut self, exchange: &mut Exchange) {
        let Some(fetch) = exchange.fetch() else { return };
        fetch.asks = Asks::AsIs;
        if let Some(entry) = fetch.stale.take() {
            self.store.release(entry);
        }
    }

    /// What the exchange fetches for others has ended so.
    pub(super) fn end_fetch(&mut self, exchange: &mut Exchange, ending: Ending, now: Micros) {
        if let Some(ticket) = exchange.fetch().and_then(|fetch| fetch.ticket.take()) {
            self.end(ticket, ending, now);
        }
    }

    /// An answer out of an entry is over, or will not be given.
    pub(super) fn let_go(&mut self, id: ExchangeId, stored: StoredAnswer) {
        if stored.delivery.follows() {
            self.followers.remove(&id);
        }
        self.store.release(stored.entry);
    }
}

/// What is told of the cache with a local reply, if the request came as far as to it.
pub fn cache_status_of_local_reply(exchange: &Exchange) -> Option<CacheStatus> {
    let why = match exchange.cache() {
        CacheState::Bypass(why) => *why,
        CacheState::Fetching(_) if exchange.cache_fields().directives.only_if_cached => {
            return Some(CacheStatus::OnlyIfCached);
        }
        CacheState::Fetching(fetch) => fetch.why,
        CacheState::Disabled
        | CacheState::NotLookedUp(_)
        | CacheState::HitPending
        | CacheState::WaitingForFetch(..)
        | CacheState::Hit => return None,
    };
    Some(CacheStatus::Forwarded { why, status: None, stored: false, collapsed: false })
}
