//! Who waits for what another request fetches gets it as it comes, and it goes on without the client that
//! has asked for it first.
//!
//! A first exchange that waits for a fetch is answered by what that has brought so far, once it is shown
//! ([`Caching::show`]): from then on it is committed, and goes at the pace of its own client, woken
//! where there is more; where no length was said, in chunks, or up to the end of its connection. Once others
//! follow, the client that leads holds nobody up: where it leaves or takes its time, an exchange without a
//! client takes its place, and one that only takes its time follows like the others.

use std::mem::replace;

use crate::cache::collapse::FetchTicket;
use crate::cache::entry::UNKNOWN_LENGTH;
use crate::cache::follow::Shown;
use crate::cache::open_entries::{EntryId, Growth};
use crate::cache::serve;
use crate::cache::store::RECORDINGS;
use crate::http::cache_status::{CacheResult, CacheStatus, FwdReason};
use crate::mem::Append;
use crate::mem::slab::reusing::ReusingSlab;
use crate::policy::caching::{self, Decision, Serving};
use crate::policy::conditional::ConditionalOutcome;
use crate::policy::ranges::Part;

use super::context::{CacheContext, CacheStep};
use super::lookup::serve_by;
use super::state::{CacheState, Delivery, StoredAnswer};
use super::{Caching, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::downstream::client::Client;
use crate::proxy::exchange::{Exchange, Response, State};
use crate::proxy::ids::{BackendConnId, ClientId, ExchangeId, ExchangeTag};
use crate::proxy::relay::Relay;
use crate::proxy::step::Frame;

/// What becomes of the client whose request began a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// The client is gone, or given up.
    Leaves,
    /// The client takes what there is in its own time.
    Stays,
}

/// What comes next of a stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextBytes {
    /// The number of bytes (second) that can be sent from this byte (first) on.
    Bytes(u64, u64),
    /// More will come, and is not there yet.
    Later,
    /// Nothing: all has been sent.
    End,
    /// Nothing will come any more, though this is not the end.
    Broken,
}

impl Caching {
    /// An exchange that waited for a fetch is answered by what has come of it: by an entry that is pinned.
    pub(super) fn follow(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (entry, why): (EntryId, FwdReason),
    ) -> CacheStep {
        let status = CacheStatus::Forwarded { why, status: None, stored: false, collapsed: true };
        let (reply, result) = (ConditionalOutcome::Whole, CacheResult::Hit);
        let has_length = !matches!(self.store.entry(entry).growth, Growth::Open(..));
        let delivery = Delivery::of_fetched(has_length, exchange.request.version);
        let stored = StoredAnswer { entry, reply, status, result, left: None, delivery };
        self.enlist(context.id);
        serve_by(exchange, stored, None)
    }

    fn enlist(&mut self, id: ExchangeId) {
        self.followers.push_back(id).expect("a queue has room for all exchanges");
    }

    /// What is shown of a fetch: an answer if the exchange may have all of it as it is.
    pub(super) fn find_shown(
        &mut self,
        exchange: &Exchange,
        context: &CacheContext,
        ticket: FetchTicket,
    ) -> Shown {
        let request_fields = exchange.cache_fields();
        let query = context.query(exchange, &request_fields);
        let entry = match self.store.follow(ticket, &query) {
            Shown::Answer(entry) => entry,
            other => return other,
        };
        let candidate = serve::candidate(self.store.entry(entry), context.ring_size);
        let method = exchange.request.method;
        match caching::decide(method, &request_fields, &candidate, wall_seconds()) {
            Decision::Serve {
                reply: ConditionalOutcome::Whole, serving: Serving::Fresh, ..
            } => Shown::Answer(entry),
            Decision::Serve { .. } | Decision::Ask(_) => {
                self.store.release(entry);
                Shown::Nothing
            }
        }
    }

    /// Lets exchanges that wait for a fetch have what has come of it so far.
    pub(super) fn show(&mut self, exchange: &mut Exchange) {
        let ticket = exchange.fetch().and_then(|fetch| fetch.ticket);
        let (Some(id), Some(ticket)) = (exchange.download.recorder(), ticket) else { return };
        let fetches = self.store.directory().cells.fetches;
        // Once it is shown, all of it is: who has just looked says only then that it waits again.
        if !self.recorders[id].recorder.is_shown() && !fetches.is_awaited(ticket) {
            return;
        }
        match self.recorders[id].recorder.show(&self.store, ticket) {
            Ok(true) => self.wake(fetches.tell(ticket)),
            Ok(false) => (),
            Err(_) => self.stop_recording(exchange),
        }
    }

    /// Whether others get what an exchange fetches as it comes.
    pub(super) fn is_followed(&self, exchange: &mut Exchange) -> bool {
        let is_led = exchange.fetch().is_some_and(|fetch| fetch.ticket.is_some());
        let recorder = exchange.download.recorder();
        is_led && recorder.is_some_and(|id| self.recorders[id].recorder.is_shown())
    }

    /// What comes next of a stored body.
    pub(super) fn next_of(&mut self, stored: StoredAnswer) -> NextBytes {
        let Some(left) = stored.left else { return NextBytes::End };
        let known = match self.store.entry(stored.entry).growth {
            Growth::Whole => Some(left.last + 1),
            Growth::UpTo(known, _) | Growth::Open(known, _) if known > left.first => Some(known),
            Growth::UpTo(..) | Growth::Open(..) => self.store.grown(stored.entry),
        };
        let Some(known) = known else { return NextBytes::Broken };
        // Where the end was not known, it may be now.
        let end = self.store.entry(stored.entry).entry.body_len.min(left.last + 1);
        match known.min(end).saturating_sub(left.first) {
            _ if left.first >= end => NextBytes::End,
            0 => NextBytes::Later,
            count => NextBytes::Bytes(left.first, count),
        }
    }

    /// Hands over each exchange that may go on: it waits for or follows what has come further, or it
    /// fetches what others wait for and were not shown.
    pub(super) fn each_with_news(
        &self,
        exchanges: &ReusingSlab<Exchange, ExchangeTag>,
        mut each: impl FnMut(&Exchange),
    ) {
        let fetches = self.store.directory().cells.fetches;
        let mut position = 0;
        while let Some(id) = self.waiter(position) {
            position += 1;
            match *exchanges[id].cache() {
                CacheState::WaitingForFetch(ticket, _) if !fetches.has_news(ticket) => (),
                _ => each(&exchanges[id]),
            }
        }
        position = 0;
        while let Some(id) = self.follower(position) {
            position += 1;
            if let Response::Stored(stored) = exchanges[id].answer
                && self.store.may_have_grown(stored.entry)
            {
                each(&exchanges[id]);
            }
        }
        let most = if self.recorders.is_empty() { 0 } else { RECORDINGS };
        for index in 0..most {
            let Some(id) = self.recorders.id_at(index) else { continue };
            let recording = &self.recorders[id];
            let is_awaited = recording.ticket.is_some_and(|ticket| fetches.is_awaited(ticket));
            if is_awaited && !recording.recorder.is_shown() {
                exchanges.get(recording.of).into_iter().for_each(&mut each);
            }
        }
    }

    /// The client of a fetch that others follow becomes one of them: it has so many bytes of the body.
    fn follow_own(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> bool {
        let ticket = exchange.fetch().and_then(|fetch| fetch.ticket);
        let Some(ticket) = ticket else { return false };
        let (first, length) = (exchange.download.payload(), exchange.download.length());
        let delivery = match (length, exchange.download.frame()) {
            (Some(length), _) if first >= length => return false,
            (Some(_), _) => Delivery::AsItComes,
            (None, Frame::Chunked) => Delivery::InChunks(exchange.download.chunk_place()),
            (None, Frame::Raw) => Delivery::UntilClose,
        };
        // Whether that is fresh or void by now is nothing to it: it has its head, and wants all of it.
        let request_fields = exchange.cache_fields();
        let query = context.query(exchange, &request_fields);
        let Some(entry) = self.store.follow_own(ticket, &query) else { return false };
        let status = CacheStatus::Hit { ttl: 0 }; // Its head has gone.
        let left = Some(Part { first, last: length.unwrap_or(UNKNOWN_LENGTH) - 1 });
        let (reply, result) = (ConditionalOutcome::Whole, CacheResult::Miss);
        let stored = StoredAnswer { entry, reply, status, result, left, delivery };
        exchange.answer = Response::Stored(stored);
        self.enlist(context.id);
        true
    }
}

impl Proxy {
    /// Whether what stands for no client fetches what others follow.
    pub(in crate::proxy) fn is_followed_by_clients(&mut self, id: ClientId) -> bool {
        self.downstream[id].first.is_some_and(|first| {
            self.with_cache(first, |caching, exchange, _| caching.is_followed(exchange))
        })
    }

    /// The client of a fetch leaves, or holds others up: if they follow it, the fetch goes on without
    /// the client. If that stays, it follows like the others.
    pub(in crate::proxy) fn let_fetch_go_on(&mut self, id: ExchangeId, leader: Leader) {
        let exchange = &self.exchanges[id];
        let is_backends = matches!(exchange.answer, Response::Backend(_));
        if exchange.state() != State::Responding || !is_backends || !exchange.upload.is_done() {
            return;
        }
        let Some(conn) = exchange.conn else { return };
        let is_alone = self.upstream[conn].load == 1 && !self.upstream.is_multiplexed(conn);
        let is_followed = self.with_cache(id, |caching, exchange, _| caching.is_followed(exchange));
        let has_room = self.downstream.has_room_in_background();
        let is_nobodys = self.downstream[self.exchanges[id].client].is_background();
        if !is_alone || !is_followed || !has_room || is_nobodys {
            return;
        }
        let answer = self.exchanges[id].answer;
        let goes_on = match leader {
            Leader::Leaves => true,
            Leader::Stays => self
                .with_cache(id, |caching, exchange, context| caching.follow_own(exchange, context)),
        };
        if goes_on {
            self.fetch_for_nobody(id, conn, answer);
        }
    }

    /// An exchange without a client takes over what another one fetches.
    fn fetch_for_nobody(&mut self, id: ExchangeId, conn: BackendConnId, answer: Response) {
        let peer = self.downstream[self.exchanges[id].client].peer;
        let client = self.downstream.insert(Client::background(peer));
        let mut head = self.take_head();
        let exchange = &mut self.exchanges[id];
        head.append(exchange.head.as_slice());
        let CacheState::Fetching(fetch) = *exchange.cache() else {
            unreachable!("what is followed is fetched")
        };
        exchange.bytes_out += exchange.download.payload();
        let mut fetching = Exchange::new(client, Some(exchange.pool), head, exchange.request);
        fetching.naming = exchange.naming;
        fetching.choice = exchange.choice.take();
        fetching.last_backend = exchange.last_backend;
        fetching.conn = exchange.conn.take();
        fetching.download = replace(&mut exchange.download, Relay::nothing());
        fetching.answer = answer;
        fetching.cached = exchange.cached;
        fetching.sent = exchange.sent;
        fetching.carrier = exchange.carrier;
        fetching.status = exchange.status;
        fetching.times = exchange.times;
        fetching.request.keep_alive = false;
        if let Some(fetch) = exchange.fetch() {
            fetch.ticket = None;
        }
        if let Response::Stored(_) = exchange.answer {
            exchange.enter_cache(CacheState::Hit);
        }
        fetching.enter_cache(CacheState::Fetching(fetch));
        fetching.enter(State::Answered);
        fetching.enter(State::Responding);
        let recorder = fetching.download.recorder();
        let new = self.push_exchange(client, fetching);
        self.close_behind(new);
        self.upstream.hand_over(conn, id, self.exchanges[new].waiter(new));
        self.with_cache(new, |caching, _, _| {
            if let Some(recorder) = recorder {
                caching.recorders[recorder].of = new;
            }
        });
        self.turn.wake(client);
        self.turn.wake(self.exchanges[id].client);
    }
}
