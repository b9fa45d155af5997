//! The way to the cache, and what comes of what it says: the exchange goes on, waits, or is answered.

use crate::cache::collapse::Waiting;
use crate::policy::reason::Reason;
use crate::shared::Counter;
use crate::sys::log::{self, Level};

use super::Caching;
use super::context::{CacheContext, CacheStep};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Exchange, LocalReply, Response, State};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;
use crate::proxy::upstream::waiting::WaitQueue;

impl Proxy {
    /// Tells the cache of an exchange, if there is one, and wakes those whose wait that has ended.
    #[inline(always)] // for most have no cache
    pub(in crate::proxy) fn with_cache<T: Default>(
        &mut self,
        id: ExchangeId,
        tell: impl FnOnce(&mut Caching, &mut Exchange, &mut CacheContext) -> T,
    ) -> T {
        if self.buffers.caching.is_none() {
            return T::default();
        }
        self.with_some_cache(id, tell)
    }

    #[inline(never)]
    fn with_some_cache<T: Default>(
        &mut self,
        id: ExchangeId,
        tell: impl FnOnce(&mut Caching, &mut Exchange, &mut CacheContext) -> T,
    ) -> T {
        let Proxy { exchanges, downstream, upstream, settings, buffers, turn, .. } = self;
        let Some(caching) = &mut buffers.caching else { return T::default() };
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
            id,
            is_first: client.first == Some(id),
            client,
            backend,
            pool,
            via: settings.via.as_deref(),
            rings: &mut buffers.rings,
            ring_size: buffers.ring_size,
        };
        let told = tell(caching, exchange, &mut context);
        if let Some(woken) = caching.woken.take() {
            self.wake_waiting(woken);
        }
        told
    }

    /// Does what the cache says becomes of an exchange. `None`: it goes on.
    pub(super) fn carry_out(&mut self, id: ExchangeId, step: CacheStep) -> Option<Progress> {
        match step {
            CacheStep::Proceed => return None,
            CacheStep::Wait => return Some(Progress::None),
            CacheStep::WaitForFetch => {
                self.enqueue_waiter(id, WaitQueue::Fetch);
                return Some(Progress::None);
            }
            CacheStep::GatewayTimeout => {
                // It asks for what is not here: no backend has failed.
                let (status, reason) = (504, Reason::RequestError);
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
                self.wake_fetch_waiters();
            } else {
                self.upstream.wake_worker(worker);
            }
        }
    }

    /// Has exchanges look again that wait for, or follow, a fetch which is over or has news; and exchanges that
    /// lead a fetch for which others wait and which has not been shown.
    pub(in crate::proxy) fn wake_fetch_waiters(&mut self) {
        let Proxy { exchanges, buffers, turn, .. } = self;
        let Some(caching) = &buffers.caching else { return };
        caching.each_with_news(exchanges, |exchange| turn.wake(exchange.client));
    }

    /// Has the exchanges look again that wait for the disk, if it is time.
    pub(in crate::proxy) fn look_again_at_disk(&mut self) {
        let Proxy { exchanges, buffers, turn, .. } = self;
        let Some(caching) = &mut buffers.caching else { return };
        caching.cold.look_again(turn.now, exchanges, |exchange| turn.wake(exchange.client));
    }

    /// Says it when the disk is left alone for a while, as it is slow, and when it is fast again.
    pub(in crate::proxy) fn tell_of_slow_disk(&mut self) {
        let Some(caching) = &mut self.buffers.caching else { return };
        self.row.add(Counter::SlowDisk, caching.store.take_left_out());
        let is_slow = caching.store.is_disk_slow();
        if is_slow == caching.told_slow {
            return;
        }
        caching.told_slow = is_slow;
        match is_slow {
            true => log::write(
                Level::Warning,
                format_args!(
                    "cache.dir is slow: this worker leaves it alone for most of the time, and asks backends \
                     instead (httplb_cache_slow_disk_total counts that)"
                ),
            ),
            false => log::write(Level::Notice, format_args!("cache.dir is fast enough again")),
        }
    }

    /// Puts a client's first exchange with those that wait for a fetch of another exchange.
    pub(in crate::proxy) fn enqueue_for_fetch(&mut self, id: ExchangeId) {
        if let Some(caching) = &mut self.buffers.caching {
            caching.enqueue(id);
        }
    }

    /// Takes an exchange out of those that wait for a fetch.
    pub(in crate::proxy) fn dequeue_for_fetch(&mut self, id: ExchangeId) {
        if let Some(caching) = &mut self.buffers.caching {
            caching.dequeue(id);
        }
    }

    /// The exchange has nothing to do with the cache any more.
    #[inline(always)]
    pub(in crate::proxy) fn leave_cache(&mut self, id: ExchangeId) {
        self.with_cache(id, Caching::abandon);
    }
}
