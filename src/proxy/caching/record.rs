//! Responses that are recorded while they pass.

use crate::cache::collapse::Ending;
use crate::cache::recorder::{NotRecorded, Recorder, Response};
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::mem::time::{Micros, elapsed};
use crate::policy::freshness::{Basis, ResponseTiming};
use crate::policy::reason::Reason;
use crate::policy::storable::{self, Unstorable};

use super::context::{CacheContext, CacheStep};
use super::follow::Leader;
use super::state::{CacheFetch, CacheState, UNANNOUNCED};
use super::{Caching, Recording, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::buffers::RelayBuffers;
use crate::proxy::exchange::{Exchange, ReceivedHead, State};
use crate::proxy::ids::{ExchangeId, RecorderId};

/// Whether the end of a response that is recorded can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InSight,
    /// The end is waited for only briefly: nothing but the operator's word says that others may have the
    /// response.
    Unannounced,
    /// The response goes on for as long as somebody listens.
    NotInSight,
}

/// How a client takes what others wait for as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientSpeed {
    /// The client takes the response as fast as it comes, or no other has to wait for that.
    #[default]
    Right,
    /// Clients that follow the fetch would get the response faster than this one takes it.
    HoldsOthersUp,
}

impl Caching {
    /// Called when a backend's response is committed: it is recorded from here on, if it may be. Returns what
    /// the client is told of that.
    pub fn on_commit(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        received: ReceivedHead,
    ) -> Option<CacheStatus> {
        if received.head.status() == 101 {
            return None;
        }
        let (why, stored) = match *exchange.cache() {
            CacheState::Disabled
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => return None,
            CacheState::Bypass(why) => {
                exchange.cached = Some(CacheResult::Bypass);
                (why, false)
            }
            CacheState::Fetching(fetch) => {
                self.release_stale(exchange);
                // It may be for the user whose connection it is.
                if context.backend.as_ref().is_some_and(|backend| backend.is_bound) {
                    exchange.cached = Some(CacheResult::Bypass);
                    self.end_fetch(exchange, Ending::Failed, context.now);
                    (fetch.why, false)
                } else {
                    exchange.cached = Some(CacheResult::Miss);
                    (fetch.why, self.begin_recording(exchange, context, received, fetch))
                }
            }
        };
        Some(CacheStatus::Forwarded { why, status: None, stored, collapsed: false })
    }

    /// Whether the response is recorded, as far as the client is told.
    fn begin_recording(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        received: ReceivedHead,
        fetch: CacheFetch,
    ) -> bool {
        match self.try_to_record(exchange, context, received, fetch) {
            Ok(End::InSight) => true,
            Ok(End::Unannounced) => {
                if let Some(fetch) = exchange.fetch() {
                    fetch.patience = UNANNOUNCED;
                }
                true
            }
            Ok(End::NotInSight) => {
                self.end_fetch(exchange, Ending::Unshareable, context.now);
                if context.client.is_background() {
                    self.stop_recording(exchange);
                }
                true
            }
            Err(lost) => {
                let ending = ending_of(lost, received.head.status());
                self.end_fetch(exchange, ending, context.now);
                false
            }
        }
    }

    fn try_to_record(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        received: ReceivedHead,
        fetch: CacheFetch,
    ) -> Result<End, NotRecorded> {
        let now = context.now;
        let Some(backend) = context.backend.take() else { return Err(NotRecorded::Incomplete) };
        let head = received.head.open(backend.conn.input.flatten());
        let response_fields = ResponseCacheFields::new(head.fields);
        // Before the request is read once more.
        storable::response_allows(&response_fields).map_err(NotRecorded::Unstorable)?;
        let request_fields = exchange.cache_fields();
        let query = context.query(exchange, &request_fields);
        let timing = timing_of(exchange.times.sent, exchange.times.answered, now);
        let request = (exchange.request.method, false);
        let plan = self.store.judge(&query, request, (head.status, &response_fields), timing);
        let plan = plan.map_err(NotRecorded::Unstorable)?;
        let length = exchange.download.length();
        let end = match plan.basis {
            _ if response_fields.streams => End::NotInSight,
            Basis::Configured => End::Unannounced,
            Basis::Explicit | Basis::Heuristic | Basis::None => End::InSight,
        };
        let response = Response { head: &head, response_fields: &response_fields, length, plan };
        let recorder = self.store.record(&query, fetch.token, &response, now)?;
        let recording = Recording { recorder, of: context.id, ticket: fetch.ticket };
        match self.recorders.insert(recording) {
            Some(recorder) => {
                exchange.download.be_recorded(recorder);
                Ok(end)
            }
            None => unreachable!("the store records no more at once than there are places"),
        }
    }

    /// A part of the body has passed. If it is recorded no more, those who wait for it need not; and
    /// if there is nobody else who gets it, it ends.
    pub fn on_body(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> CacheStep {
        if exchange.download.recorder().is_some() {
            self.show(exchange);
            return CacheStep::Proceed;
        }
        let ending = self.ending_unrecorded(exchange, Ending::Unshareable);
        self.end_fetch(exchange, ending, context.now);
        if context.client.is_background() { CacheStep::End } else { CacheStep::Proceed }
    }

    /// The body has passed, whole: what was recorded is published.
    pub fn on_body_end(&mut self, exchange: &mut Exchange, context: &mut CacheContext) {
        let ending = match exchange.download.take_recorder() {
            Some(recorder) => self.publish(recorder, exchange.status, context.now),
            None => self.ending_unrecorded(exchange, Ending::Failed),
        };
        self.end_fetch(exchange, ending, context.now);
    }

    /// How a fetch ends whose recording was given up amid the body; `otherwise` if that is not because it is too
    /// long.
    fn ending_unrecorded(&self, exchange: &Exchange, otherwise: Ending) -> Ending {
        match self.store.is_too_long(exchange.download.payload()) {
            true => Ending::TooLong,
            false => otherwise,
        }
    }

    fn publish(&mut self, recorder: RecorderId, status: u16, now: Micros) -> Ending {
        let Recording { recorder, .. } = self.recorders.remove(recorder);
        let hash = recorder.hash();
        match recorder.finish(&mut self.store, now) {
            Ok(()) => {
                // Also where those who waited for it had been sent away already.
                self.store.directory().cells.fetches.forget(hash);
                Ending::Stored
            }
            Err(lost) => ending_of(lost, status),
        }
    }

    /// Called about twice a second for each exchange: releases the exchanges that wait for its fetch, if that
    /// does not come to its end. If a client takes the response too slowly, another exchange fetches; a fetch
    /// that others follow goes on without this client. If the backend pauses, or goes on and on, and the
    /// response cannot be followed, for it has not said how long it is, all who wait go to a backend.
    pub fn on_tick(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> ClientSpeed {
        let (payload, length) = (exchange.download.payload(), exchange.download.length());
        let took = elapsed(exchange.times.answered, context.now);
        let recorder = exchange.download.recorder().map(|id| &self.recorders[id].recorder);
        let may_be_shown = recorder.is_some_and(Recorder::may_be_shown);
        let is_followed = self.is_followed(exchange);
        let is_responding = exchange.state() == State::Responding;
        let fetch = exchange.fetch().filter(|fetch| is_responding && fetch.ticket.is_some());
        let Some(fetch) = fetch else { return ClientSpeed::Right };
        let is_stuck = fetch.passed.replace(payload) == Some(payload);
        let is_late = took > Micros::from(fetch.patience);
        match context.client.is_flushed() {
            false if is_followed => return ClientSpeed::HoldsOthersUp,
            false if is_stuck => self.end_fetch(exchange, Ending::Abandoned, context.now),
            _ if (is_stuck || is_late) && length.is_none() && !may_be_shown => {
                self.end_fetch(exchange, Ending::Unshareable, context.now);
            }
            _ => (),
        }
        ClientSpeed::Right
    }

    /// The body is not to be recorded any more.
    pub(super) fn stop_recording(&mut self, exchange: &mut Exchange) {
        if let Some(recorder) = exchange.download.take_recorder() {
            self.abandon_recording(recorder);
        }
    }

    /// The body does not pass to its end: what has passed of it is a part, if it may be one.
    pub(super) fn keep_part(&mut self, exchange: &mut Exchange, now: Micros) {
        if let Some(recorder) = exchange.download.take_recorder() {
            self.recorders.remove(recorder).recorder.cut(&mut self.store, now);
        }
    }

    fn abandon_recording(&mut self, id: RecorderId) {
        self.recorders.remove(id).recorder.abandon(&mut self.store);
    }

    /// Records the first `count` bytes of these parts. `false`: that fails, and is over.
    fn record(&mut self, id: RecorderId, parts: [&[u8]; 2], count: usize) -> bool {
        let mut left = count;
        for part in parts {
            let part = &part[..left.min(part.len())];
            left -= part.len();
            if part.is_empty() {
                continue;
            }
            if self.recorders[id].recorder.take(&mut self.store, part).is_err() {
                self.abandon_recording(id);
                return false;
            }
        }
        true
    }
}

impl RelayBuffers {
    /// Records the first `count` bytes of these parts. If that fails, the body passes unrecorded.
    pub(in crate::proxy) fn record(
        &mut self,
        recorder: &mut Option<RecorderId>,
        parts: [&[u8]; 2],
        count: usize,
    ) {
        if let (Some(id), Some(caching)) = (*recorder, &mut self.caching)
            && !caching.record(id, parts, count)
        {
            *recorder = None;
        }
    }
}

impl Proxy {
    /// A part of a response's body has passed: one that is for the cache alone ends with its recording.
    pub(in crate::proxy) fn check_recording(&mut self, id: ExchangeId) {
        if let CacheStep::End = self.with_cache(id, Caching::on_body) {
            self.truncate(id, Reason::ClientAbort);
        }
    }

    /// Releases the exchanges that wait for fetches which hang. Called about twice a second.
    pub(in crate::proxy) fn release_from_what_hangs(&mut self) {
        if self.buffers.caching.as_ref().is_none_or(|caching| caching.recordings() == 0) {
            return;
        }
        for index in 0..self.exchanges.capacity() {
            if let Some(id) = self.exchanges.id_at(index)
                && self.with_cache(id, Caching::on_tick) == ClientSpeed::HoldsOthersUp
            {
                self.let_fetch_go_on(id, Leader::Stays);
            }
        }
    }
}

/// When a response came whose request was `sent`, and how late.
pub(in crate::proxy) fn timing_of(sent: Micros, answered: Micros, now: Micros) -> ResponseTiming {
    let since = elapsed(answered, now).0 / 1_000_000;
    let delay = answered.0.saturating_sub(sent.0) / 1_000_000;
    ResponseTiming {
        at: wall_seconds().saturating_sub(since),
        delay: u32::try_from(delay).unwrap_or(u32::MAX),
    }
}

/// What those who wait are told of an answer that is not stored.
pub(super) fn ending_of(lost: NotRecorded, status: u16) -> Ending {
    match lost {
        NotRecorded::Unstorable(_) if status >= 500 => Ending::Failed, // It may be over soon.
        // That is because of this request, and tells nothing of others.
        NotRecorded::Unstorable(
            Unstorable::Method
            | Unstorable::RequestBody
            | Unstorable::RequestNoStore
            | Unstorable::Authorization,
        )
        | NotRecorded::Void => Ending::Abandoned,
        NotRecorded::TooLong => Ending::TooLong,
        NotRecorded::Unstorable(_) | NotRecorded::SlowDisk => Ending::Unshareable,
        NotRecorded::NoRoom | NotRecorded::Disk | NotRecorded::Incomplete => Ending::Failed,
    }
}
