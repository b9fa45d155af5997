//! A stored part answers together with the rest, for which a backend is asked: RFC 9111 §3.4.
//!
//! The backend is asked for what is missing, and for all of it if that has changed (`If-Range`). If the
//! rest comes that was asked for, the stored part goes before it, and the two are joined in the cache when it
//! has passed. A response that is another one is passed on as any is. What fits neither way is asked again
//! as the client has it.

use crate::cache::collapse::Ending;
use crate::cache::open_entries::EntryId;
use crate::cache::recorder::NotRecorded;
use crate::cache::serve;
use crate::cache::store::Verdict;
use crate::http::cache_fields::ResponseCacheFields;
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::http::rewrite::ResponseFraming;
use crate::policy::conditional::{self, MissingRange};
use crate::policy::ranges::Part;
use crate::policy::reason::Reason;

use super::context::{CacheContext, CacheStep};
use super::hit::{HitSent, HitStep};
use super::record::{ending_of, timing_of};
use super::state::{Asks, CacheFetch, CacheState};
use super::{Caching, Recording};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Exchange, ReceivedHead, State};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;

impl Caching {
    /// What a backend answers who was asked for the rest of an entry.
    pub(super) fn on_rest(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (entry, rest): (EntryId, MissingRange),
        received: ReceivedHead,
    ) -> CacheStep {
        match received.head.status() {
            206 if self.take_rest(exchange, context, (entry, rest), received) => CacheStep::Proceed,
            // They answer what the client has not asked.
            206 | 304 | 412 | 416 => {
                self.release_stale(exchange);
                CacheStep::AskAgain
            }
            _ => {
                self.release_stale(exchange);
                CacheStep::Proceed
            }
        }
    }

    /// Whether a 206 is the rest of an entry; then the two are the answer.
    fn take_rest(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (entry, rest): (EntryId, MissingRange),
        received: ReceivedHead,
    ) -> bool {
        let Some(backend) = context.backend.as_mut().filter(|backend| !backend.is_bound) else {
            return false;
        };
        let head = received.head.open(backend.conn.input.flatten());
        let fresh = ResponseCacheFields::new(head.fields);
        let open_entry = self.store.entry(entry);
        let stored = open_entry.entry.stored(open_entry.front());
        // With a cookie for this client, it is to have it.
        let is_rest = conditional::is_rest(&fresh, &stored, rest.missing)
            && !fresh.sets_cookie
            && exchange.download.length() == Some(rest.missing.len());
        if !is_rest {
            return false;
        }
        let timing = timing_of(exchange.times.sent, exchange.times.answered, context.now);
        let renewed = self.store.renew(entry, &fresh, timing);
        let (entry, is_storable) = renewed.unwrap_or((entry, false));
        if let Some(fetch) = exchange.fetch() {
            fetch.stale = Some(entry);
            fetch.asks = Asks::Joins(rest, Some(rest.held), is_storable);
        }
        true
    }

    /// Makes sure that the part which goes before the rest is right, and that the head has room.
    fn verify_part(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> HitStep {
        let CacheState::Fetching(CacheFetch { stale: Some(entry), .. }) = *exchange.cache() else {
            return HitStep::NoRoom;
        };
        match self.verify(context, entry) {
            Verdict::Right => (),
            Verdict::Pending => return HitStep::Pending,
            Verdict::Cold => return HitStep::Cold,
            Verdict::Damaged => {
                self.release_stale(exchange);
                return HitStep::Damaged;
            }
        }
        let room = context.client.room(context.ring_size);
        let has_room = room >= serve::head_len_bound(self.store.entry(entry));
        if has_room { HitStep::Ready } else { HitStep::NoRoom }
    }

    /// Writes the head of the answer that a part and the rest of it make; the rest is recorded from here on.
    fn commit_part(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        received: ReceivedHead,
        close: bool,
    ) {
        let CacheState::Fetching(fetch) = *exchange.cache() else { return };
        let (Some(entry), Asks::Joins(rest, ..)) = (fetch.stale, fetch.asks) else { return };
        let stored = match self.record_rest(exchange, context, fetch) {
            Ok(()) => true,
            Err(lost) => {
                let ending = ending_of(lost, received.head.status());
                self.end_fetch(exchange, ending, context.now);
                false
            }
        };
        let (why, status) = (fetch.why, Some(received.head.status()));
        let status = CacheStatus::Forwarded { why, status, stored, collapsed: false };
        self.write_head(
            exchange,
            context,
            entry,
            (rest.reply, status, ResponseFraming::AsIs),
            close,
        );
        exchange.cached = Some(CacheResult::Part);
        if let Some(backend) = &mut context.backend {
            backend.conn.input.consume(received.head.len());
        }
        exchange.enter(State::Responding);
    }

    fn record_rest(
        &mut self,
        exchange: &mut Exchange,
        context: &CacheContext,
        fetch: CacheFetch,
    ) -> Result<(), NotRecorded> {
        let (Some(entry), Asks::Joins(rest, _, true)) = (fetch.stale, fetch.asks) else {
            return Err(NotRecorded::Incomplete);
        };
        let recorder = self.store.record_rest(entry, fetch.token, rest.missing)?;
        let recording = Recording { recorder, of: context.id, ticket: fetch.ticket };
        let recorder = self.recorders.insert(recording);
        let recorder = recorder.expect("the store records no more at once than there are places");
        exchange.download.be_recorded(recorder);
        Ok(())
    }

    /// Sends what the client takes of the part that goes before the rest.
    fn send_part(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> HitSent {
        let CacheState::Fetching(CacheFetch {
            stale: Some(entry),
            asks: Asks::Joins(rest, Some(left), is_storable),
            ..
        }) = *exchange.cache()
        else {
            return HitSent::Nothing;
        };
        let sent = match self.send_bytes(context, entry, (left.first, left.len())) {
            Ok(sent) => sent,
            Err(other) => return other,
        };
        exchange.bytes_out += sent;
        let first = left.first + sent;
        if first > left.last {
            self.release_stale(exchange);
            return HitSent::All;
        }
        if let Some(fetch) = exchange.fetch() {
            let left = Some(Part { first, ..left });
            fetch.asks = Asks::Joins(rest, left, is_storable);
        }
        HitSent::Some
    }

    /// The part that was to go before the rest turned out to be damaged: all is asked for.
    fn ask_for_all(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> CacheStep {
        self.end_fetch(exchange, Ending::Failed, context.now);
        CacheStep::AskAgain
    }
}

impl Proxy {
    /// Commits the answer that a stored part and the rest of it make, if the part is right and the client's
    /// ring has room for the head.
    pub(in crate::proxy) fn commit_with_rest(
        &mut self,
        id: ExchangeId,
        received: ReceivedHead,
    ) -> Progress {
        match self.with_cache(id, Caching::verify_part) {
            HitStep::Ready => (),
            HitStep::NoRoom | HitStep::Cold => return Progress::None,
            HitStep::Pending => {
                self.turn.wake(self.exchanges[id].client);
                return Progress::None;
            }
            HitStep::Damaged => {
                self.detach(id);
                self.release_choice(id);
                let step = self.with_cache(id, Caching::ask_for_all);
                return self.carry_out(id, step).unwrap_or(Progress::Made);
            }
        }
        let close = self.decide_close(id);
        self.with_cache(id, |caching, exchange, context| {
            caching.commit_part(exchange, context, received, close);
        });
        self.send_stored_part(id);
        Progress::Made
    }

    /// Sends what the client takes of the part that goes before the rest.
    pub(in crate::proxy) fn send_stored_part(&mut self, id: ExchangeId) -> Progress {
        match self.with_cache(id, Caching::send_part) {
            HitSent::Nothing => return Progress::None,
            HitSent::Some | HitSent::All => (),
            HitSent::Cut => self.truncate(id, Reason::ResponseIncomplete),
        }
        Progress::Made
    }
}
