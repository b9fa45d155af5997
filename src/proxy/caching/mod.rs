//! The cache's part in a worker's exchanges.
//!
//! [`Caching`] owns what is stored and what is being recorded. What happens to an exchange is told to
//! it by [`Proxy::with_cache`], the only way there. It changes the exchange's [`CacheState`], and its
//! [`CacheStep`] says what becomes of the exchange, which [`Proxy::carry_out`] then does:
//!
//! ```text
//! on_request         lookup      its turn has come: is there a stored answer, does another fetch it?
//! on_response_head   revalidate  the head of a backend's answer is there: 304, an error, an unsafe method
//! on_failure         revalidate  a backend failed: may a stale answer take its place?
//! on_commit          record      a backend's answer goes on to the client: is it recorded?
//! on_body            record      a part of its body has passed
//! on_body_end        record      the body has passed, whole
//! on_tick            record      twice a second: is its end worth to wait for?
//! on_cut, on_local_reply, abandon            it ends otherwise
//! verify_hit, write_hit_head, send_hit_body  hit: a stored answer on its way to the client
//! ```

pub mod background;
pub mod hit;
pub mod lookup;
pub mod record;
pub mod revalidate;
pub mod state;

use crate::cache::collapse::{Ending, FetchTicket, Waiting};
use crate::cache::recorder::Recorder;
use crate::cache::store::{CacheQuery, LookupToken, RECORDINGS, Store};
use crate::http::cache_fields::RequestCacheFields;
use crate::mem::free_list::FreeList;
use crate::mem::slab::Slab;
use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::reason::Reason;
use crate::policy::vary::Chosen;
use crate::sys::clock;

use super::Proxy;
use super::buffers::RelayBuffers;
use super::downstream::client::Client;
use super::exchange::{Exchange, LocalReply, Response, State};
use super::upstream::connection::BackendConn;
use super::upstream::waiting::WaitQueue;
use crate::proxy::ids::{ExchangeId, RecorderTag};
use crate::proxy::step::Progress;
use hit::StoredAnswer;
use state::CacheState;

/// The cache, as the data plane of a worker has it.
pub struct Caching {
    store: Store,
    recorders: Slab<Recorder, RecorderTag>,
    /// Who waits for fetches that have ended.
    woken: Option<Waiting>,
    worker: usize,
}

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub enum CacheStep {
    /// It goes on as it would without a cache.
    #[default]
    Proceed,
    /// Nothing, until its turn has come, or a fetch has ended.
    Wait,
    /// It waits for what another one fetches.
    WaitForFetch,
    /// A stored answer is its own. With a token, the entry is revalidated behind it.
    Serve(StoredAnswer, Option<LookupToken>),
    /// It would need a backend, which its client forbids.
    GatewayTimeout,
    /// A backend is asked once more.
    AskAgain,
    /// It is over: it was for the cache alone.
    End,
}

/// What an exchange has around it.
pub struct CacheContext<'a> {
    /// The time of this turn.
    pub now: Micros,
    /// Whether it is the first of its client.
    pub is_first: bool,
    /// Its client.
    pub client: &'a mut Client,
    /// The connection to its backend.
    pub backend: Option<&'a mut BackendConn>,
    /// The name of its pool, if that is chosen by fields.
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
    fn query<'a>(
        &'a self,
        exchange: &'a Exchange,
        request_fields: &'a RequestCacheFields<'a>,
    ) -> CacheQuery<'a> {
        let chosen = Chosen { request_fields, pool: self.pool };
        CacheQuery { url: url_of(exchange, request_fields), chosen }
    }
}

/// The URL of a request.
fn url_of<'a>(exchange: &'a Exchange, request_fields: &RequestCacheFields) -> Url<'a> {
    let spans = &exchange.request.spans;
    Url {
        https: request_fields.https,
        host: &exchange.head[spans.host],
        target: &exchange.head[spans.target],
    }
}

/// Now, in seconds since the epoch.
fn wall_seconds() -> u64 {
    clock::wall().0 / 1_000_000
}

impl Caching {
    /// For a worker of that number, for which `store` was made. Nothing is being recorded.
    pub fn new(store: Store, worker: usize) -> Caching {
        Caching { store, recorders: Slab::with_capacity(RECORDINGS), woken: None, worker }
    }

    /// What is stored.
    #[cfg(test)]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many responses are being recorded.
    pub fn recordings(&self) -> usize {
        self.recorders.len()
    }

    /// Whether there is something to be done now and then.
    pub fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// Does some of that.
    pub fn work(&mut self, now: Micros) {
        self.store.work(now);
    }

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
        self.stop_recording(exchange);
        self.end_fetch(exchange, Ending::Failed, context.now);
    }

    /// The exchange has nothing to do with the cache any more: what it has of it goes back.
    pub fn abandon(&mut self, exchange: &mut Exchange, context: &mut CacheContext) {
        self.end_fetch(exchange, Ending::Abandoned, context.now);
        self.stop_recording(exchange);
        self.release_stale(exchange);
        exchange.enter_cache(CacheState::Disabled);
        if let Response::Stored(stored) = exchange.answer {
            exchange.answer = Response::Pending;
            self.store.release(stored.entry);
        }
    }

    /// What there was will not answer the exchange any more.
    pub fn release_stale(&mut self, exchange: &mut Exchange) {
        let Some(fetch) = exchange.fetch() else { return };
        fetch.validates = false;
        if let Some(entry) = fetch.stale.take() {
            self.store.release(entry);
        }
    }

    /// What the exchange fetches for others has ended so.
    fn end_fetch(&mut self, exchange: &mut Exchange, ending: Ending, now: Micros) {
        if let Some(ticket) = exchange.fetch().and_then(|fetch| fetch.ticket.take()) {
            self.end(ticket, ending, now);
        }
    }

    /// A fetch has ended: those who wait for it are to be woken, here and in other workers.
    fn end(&mut self, ticket: FetchTicket, ending: Ending, now: Micros) {
        let waiting = self.store.directory().cells.fetches.end(ticket, ending, now);
        self.woken.get_or_insert_default().join(waiting);
    }

    fn is_going_on(&self, ticket: FetchTicket) -> bool {
        self.store.directory().cells.fetches.is_going_on(self.worker, ticket)
    }

    /// Whether what an exchange waits for is over.
    fn is_over(&mut self, exchange: &mut Exchange, _: &mut CacheContext) -> bool {
        match *exchange.cache() {
            CacheState::WaitingForFetch(ticket, _) => !self.is_going_on(ticket),
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::Fetching(_)
            | CacheState::Hit => true,
        }
    }
}

impl Proxy {
    /// Tells the cache of an exchange, if there is one, and wakes those whose wait that has ended.
    pub(in crate::proxy) fn with_cache<T: Default>(
        &mut self,
        id: ExchangeId,
        tell: impl FnOnce(&mut Caching, &mut Exchange, &mut CacheContext) -> T,
    ) -> T {
        let Proxy { exchanges, downstream, upstream, settings, buffers, turn, .. } = self;
        let RelayBuffers { caching, rings, ring_size, .. } = buffers;
        let Some(caching) = caching else { return T::default() };
        let exchange = &mut exchanges[id];
        let client = &mut downstream[exchange.client];
        let (backend, pool) = match exchange.conn {
            None => (None, &upstream[exchange.pool]),
            Some(conn) => {
                let (conn, pool) = upstream.conn_and_pool(conn, exchange.pool);
                (Some(conn), pool)
            }
        };
        let pool: &[u8] = if settings.pool_by_fields { pool.name.as_bytes() } else { b"" };
        let mut context = CacheContext {
            now: turn.now,
            is_first: client.first == Some(id),
            client,
            backend,
            pool,
            via: settings.via.as_deref(),
            rings,
            ring_size: *ring_size,
        };
        let told = tell(caching, exchange, &mut context);
        if let Some(woken) = caching.woken.take() {
            self.wake_waiting(woken);
        }
        told
    }

    /// Does what the cache says becomes of an exchange. `None`: it goes on.
    fn carry_out(&mut self, id: ExchangeId, step: CacheStep) -> Option<Progress> {
        match step {
            CacheStep::Proceed => return None,
            CacheStep::Wait => return Some(Progress::None),
            CacheStep::WaitForFetch => {
                self.enqueue_waiter(id, WaitQueue::Fetch);
                return Some(Progress::None);
            }
            CacheStep::GatewayTimeout => {
                let (status, reason) = (504, Reason::DestinationUnavailable);
                self.answer_instead(id, LocalReply { status, error: "", reason, close: false });
            }
            CacheStep::Serve(stored, revalidation) => {
                if let Some(token) = revalidation {
                    self.revalidate_behind(id, stored.entry, token);
                }
                let exchange = &mut self.exchanges[id];
                exchange.answer = Response::Stored(stored);
                exchange.enter(State::Answered);
            }
            CacheStep::AskAgain => {
                let exchange = &mut self.exchanges[id];
                exchange.answer = Response::Pending;
                exchange.sent = false;
                exchange.upload.restart();
                exchange.enter(State::Waiting);
            }
            CacheStep::End => self.exchanges[id].enter(State::Done),
        }
        Some(Progress::Made)
    }

    fn wake_waiting(&mut self, waiting: Waiting) {
        for worker in waiting.workers() {
            if worker == self.worker {
                self.wake_fetch_queue();
            } else {
                self.upstream.wake_worker(worker);
            }
        }
    }

    /// Those who wait for what is over have another look.
    pub(in crate::proxy) fn wake_fetch_queue(&mut self) {
        for position in 0..self.fetch_queue.len() {
            let Some(id) = self.fetch_queue.get(position).copied() else { return };
            if self.with_cache(id, Caching::is_over) {
                self.turn.wake(self.exchanges[id].client);
            }
        }
    }

    /// The exchange has nothing to do with the cache any more.
    pub(in crate::proxy) fn leave_cache(&mut self, id: ExchangeId) {
        self.with_cache(id, Caching::abandon);
    }
}
