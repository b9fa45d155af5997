//! Responses that are recorded while they pass.

use crate::cache::collapse::Ending;
use crate::cache::recorder::{NotRecorded, Recorder, Response};
use crate::cache::store::{RECORDINGS, Store};
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::mem::slab::{Id, Slab};
use crate::mem::time::Micros;
use crate::policy::freshness::{Basis, ResponseTiming};
use crate::policy::reason::Reason;
use crate::policy::storable::{self, Unstorable};

use super::state::{self, CacheFetch, CacheState};
use crate::proxy::Proxy;
use crate::proxy::buffers::Tools;
use crate::proxy::client::since;
use crate::proxy::exchange::{ExchangeId, ResponseFacts, State};
use crate::proxy::settings::UNANNOUNCED;

/// Names a recording.
pub type RecorderId = Id<Recorder>;

/// Whether the end of a response that is recorded can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InSight,
    /// Not for long: nothing but the operator's word says that others may have it.
    Unannounced,
    /// It goes on for as long as somebody listens.
    NotInSight,
}

/// The cache, as the data plane has it.
pub struct Cache {
    /// What is stored.
    pub store: Store,
    recorders: Slab<Recorder>,
}

impl Cache {
    /// With nothing being recorded.
    pub fn new(store: Store) -> Cache {
        Cache { store, recorders: Slab::with_capacity(RECORDINGS) }
    }

    /// Whether there is something to be done now and then.
    pub fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// How many responses are being recorded.
    pub fn recordings(&self) -> usize {
        self.recorders.len()
    }

    fn abandon(&mut self, id: RecorderId) {
        self.recorders.remove(id).abandon(&mut self.store);
    }
}

impl Tools {
    /// Records the first `count` bytes of these parts. If that fails, the body passes unrecorded.
    pub(in crate::proxy) fn record(
        &mut self,
        recorder: &mut Option<RecorderId>,
        parts: [&[u8]; 2],
        count: usize,
    ) {
        let (Some(id), Some(cache)) = (*recorder, &mut self.cache) else { return };
        let mut left = count;
        for part in parts {
            let part = &part[..left.min(part.len())];
            left -= part.len();
            if part.is_empty() {
                continue;
            }
            if cache.recorders[id].take(&mut cache.store, part).is_err() {
                *recorder = None;
                return cache.abandon(id);
            }
        }
    }
}

impl Proxy {
    /// A backend's answer is committed: it is recorded from here on, if it may be. What the client is
    /// told of that.
    pub(in crate::proxy) fn begin_recording(
        &mut self,
        id: ExchangeId,
        facts: ResponseFacts,
    ) -> Option<CacheStatus> {
        let is_bound = self.conns[self.conn_of(id)].is_bound;
        let exchange = &mut self.exchanges[id];
        let forwarded =
            |why, stored| CacheStatus::Forwarded { why, status: None, stored, collapsed: false };
        match exchange.caching {
            _ if facts.head.status() == 101 => None,
            // It may be for the user whose connection it is.
            CacheState::Fetching(fetch) if is_bound => {
                exchange.cached = Some(CacheResult::Bypass);
                self.give_stale_back(id);
                self.end_fetch(id, Ending::Failed);
                Some(forwarded(fetch.why, false))
            }
            CacheState::Disabled
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => None,
            CacheState::Bypass(why) => {
                exchange.cached = Some(CacheResult::Bypass);
                Some(forwarded(why, false))
            }
            CacheState::Fetching(fetch) => {
                exchange.cached = Some(CacheResult::Miss);
                self.give_stale_back(id);
                match self.try_to_record(id, facts) {
                    Ok(End::InSight) => Some(forwarded(fetch.why, true)),
                    Ok(End::Unannounced) => {
                        self.fetch(id).into_iter().for_each(|fetch| fetch.patience = UNANNOUNCED);
                        Some(forwarded(fetch.why, true))
                    }
                    Ok(End::NotInSight) => {
                        self.end_fetch(id, Ending::Unshareable);
                        if self.clients[self.exchanges[id].client].is_nobody {
                            self.stop_recording(id);
                        }
                        Some(forwarded(fetch.why, true))
                    }
                    Err(lost) => {
                        self.end_fetch(id, ending_of(lost, facts.head.status()));
                        Some(forwarded(fetch.why, false))
                    }
                }
            }
        }
    }

    fn try_to_record(&mut self, id: ExchangeId, facts: ResponseFacts) -> Result<End, NotRecorded> {
        let conn = self.conn_of(id);
        let Proxy { exchanges, conns, pools, settings, tools, now, .. } = self;
        let exchange = &mut exchanges[id];
        let (Some(cache), CacheState::Fetching(fetch)) = (&mut tools.cache, exchange.caching)
        else {
            return Err(NotRecorded::NoRoom);
        };
        let head = facts.head.open(conns[conn].conn.input.flatten());
        let response_fields = ResponseCacheFields::of(head.fields);
        // Before the request is read once more.
        storable::response_allows(&response_fields).map_err(NotRecorded::Unstorable)?;
        let request_fields = exchange.cache_fields();
        let pool = if settings.pool_by_fields { &pools[exchange.pool.0].name } else { "" };
        let query = state::query(exchange, &request_fields, pool.as_bytes());
        let timing = timing_of(exchange.times.sent, exchange.times.answered, *now);
        let request = (exchange.request.method, false);
        let plan = cache.store.judge(&query, request, (head.status, &response_fields), timing);
        let plan = plan.map_err(NotRecorded::Unstorable)?;
        let length = exchange.download.length();
        let end = match plan.basis {
            _ if response_fields.streams => End::NotInSight,
            Basis::Configured => End::Unannounced,
            Basis::Explicit | Basis::Heuristic | Basis::None => End::InSight,
        };
        let response = Response { head: &head, response_fields: &response_fields, length, plan };
        let recorder = cache.store.record(&query, fetch.token, &response, *now)?;
        match cache.recorders.insert(recorder) {
            Some(recorder) => {
                exchange.download.be_recorded(recorder);
                Ok(end)
            }
            None => unreachable!("the store records no more at once than there are places"),
        }
    }

    /// The body has passed, whole: what was recorded is published.
    pub(in crate::proxy) fn finish_recording(&mut self, id: ExchangeId) {
        let recorder = self.exchanges[id].download.take_recorder();
        let (Some(recorder), Some(cache)) = (recorder, &mut self.tools.cache) else {
            return self.end_fetch(id, Ending::Failed);
        };
        let recorder = cache.recorders.remove(recorder);
        let hash = recorder.hash();
        let finished = recorder.finish(&mut cache.store, self.now);
        if finished.is_ok() {
            // Also where those who waited for it had been sent away already.
            cache.store.directory().cells.fetches.forget(hash);
        }
        let status = self.exchanges[id].status;
        let ending = finished.map_or_else(|lost| ending_of(lost, status), |()| Ending::Stored);
        self.end_fetch(id, ending);
    }

    /// If what passes is recorded no more, those who wait for it need not; and if there is nobody else
    /// who gets it, it ends.
    pub(in crate::proxy) fn check_recording(&mut self, id: ExchangeId) {
        if self.is_recorded(id) {
            return;
        }
        if self.fetch(id).is_some_and(|fetch| fetch.ticket.is_some()) {
            self.end_fetch(id, Ending::Unshareable);
        }
        if self.clients[self.exchanges[id].client].is_nobody {
            self.truncate(id, Reason::ClientAbort);
        }
    }

    /// Those who wait for what does not come to its end need not either. If a client takes it too
    /// slowly, another has its turn. If the backend pauses, or goes on and on, and has not said how long
    /// it is, all go. Called about twice a second.
    pub(in crate::proxy) fn release_from_what_hangs(&mut self) {
        if self.tools.cache.as_ref().is_none_or(|cache| cache.recordings() == 0) {
            return;
        }
        for index in 0..self.exchanges.capacity() {
            let Some(id) = self.exchanges.id_at(index) else { continue };
            let exchange = &mut self.exchanges[id];
            if exchange.state() != State::Responding {
                continue;
            }
            let (payload, length) = (exchange.download.payload(), exchange.download.length());
            let took = since(exchange.times.answered, self.now);
            let (is_stuck, is_late) = match &mut exchange.caching {
                CacheState::Fetching(CacheFetch { ticket: Some(_), patience, passed, .. }) => {
                    (passed.replace(payload) == Some(payload), took > Micros::from(*patience))
                }
                CacheState::Disabled
                | CacheState::Bypass(_)
                | CacheState::NotLookedUp(_)
                | CacheState::HitPending
                | CacheState::WaitingForFetch(..)
                | CacheState::Fetching(_)
                | CacheState::Hit => (false, false),
            };
            if is_stuck && !self.clients[self.exchanges[id].client].conn.output.is_empty() {
                self.end_fetch(id, Ending::Abandoned);
            } else if (is_stuck || is_late) && length.is_none() {
                self.end_fetch(id, Ending::Unshareable);
            }
        }
    }

    /// The body did not pass to its end.
    pub(in crate::proxy) fn stop_recording(&mut self, id: ExchangeId) {
        let recorder = self.exchanges[id].download.take_recorder();
        if let (Some(recorder), Some(cache)) = (recorder, &mut self.tools.cache) {
            cache.abandon(recorder);
        }
    }

    /// Whether what passes is being recorded.
    pub(in crate::proxy) fn is_recorded(&self, id: ExchangeId) -> bool {
        self.exchanges[id].download.recorder().is_some()
    }
}

/// When a response came whose request was `sent`, and how late.
pub(in crate::proxy) fn timing_of(sent: Micros, answered: Micros, now: Micros) -> ResponseTiming {
    let since = since(answered, now).0 / 1_000_000;
    let delay = answered.0.saturating_sub(sent.0) / 1_000_000;
    ResponseTiming {
        at: state::wall_seconds().saturating_sub(since),
        delay: u32::try_from(delay).unwrap_or(u32::MAX),
    }
}

/// What those who wait are told of an answer that is not stored.
fn ending_of(lost: NotRecorded, status: u16) -> Ending {
    match lost {
        NotRecorded::Unstorable(_) if status >= 500 => Ending::Failed, // It may be over soon.
        // That is because of this request, and tells nothing of others.
        NotRecorded::Unstorable(
            Unstorable::Method
            | Unstorable::RequestBody
            | Unstorable::RequestNoStore
            | Unstorable::Authorization,
        ) => Ending::Abandoned,
        NotRecorded::Unstorable(_) | NotRecorded::TooLong => Ending::Unshareable,
        NotRecorded::NoRoom | NotRecorded::Disk | NotRecorded::Incomplete | NotRecorded::Void => {
            Ending::Failed
        }
    }
}
