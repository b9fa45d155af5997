//! Answered and Responding, where an entry of the cache answers: its head, and the body behind it.

use crate::cache::open_entries::{Body, EntryId};
use crate::cache::serve::{self, Serving};
use crate::cache::store::Verdict;
use crate::http::message::Version;
use crate::http::method::Method;
use crate::http::rewrite::{Answering, ResponseFraming};
use crate::policy::ranges::Part;
use crate::policy::reason::Reason;

use super::context::CacheContext;
use super::state::{CacheState, CollapseWait, StoredAnswer};
use super::{Caching, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::downstream::write::SendFileError;
use crate::proxy::exchange::{Exchange, Response, State};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;

/// So many bytes of an entry are verified in a turn, before it answers for the first time: then
/// others have theirs.
const VERIFIED_AT_ONCE: usize = 512 * 1024;

/// Whether a stored answer can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitStep {
    /// Its head can be written now.
    Ready,
    /// More of it is verified in the next turn.
    Pending,
    /// The client's ring has no room for its head.
    #[default]
    NoRoom,
    /// It was damaged, and is gone.
    Damaged,
}

/// What came of sending a part of a stored body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitSent {
    /// Some of it went.
    Some,
    /// The client takes none now.
    #[default]
    Nothing,
    /// All of it has gone.
    All,
    /// The rest cannot be read.
    Cut,
}

impl Caching {
    /// Makes sure that the entry which answers an exchange is right, and that its head has room.
    pub fn verify_hit(
        &mut self,
        exchange: &mut Exchange,
        context: &CacheContext,
        entry: EntryId,
    ) -> HitStep {
        match self.store.verify(entry, VERIFIED_AT_ONCE) {
            Verdict::Right => (),
            Verdict::Pending => return HitStep::Pending,
            Verdict::Damaged => {
                self.store.release(entry);
                exchange.answer = Response::Pending;
                exchange.enter_cache(CacheState::NotLookedUp(CollapseWait::Fresh));
                return HitStep::Damaged;
            }
        }
        let room = context.client.room(context.ring_size);
        if room < serve::head_len_bound(self.store.entry(entry)) {
            return HitStep::NoRoom;
        }
        HitStep::Ready
    }

    /// Writes the head of a stored answer, for which the client's ring has room.
    pub fn write_hit_head(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        stored: StoredAnswer,
        close: bool,
    ) {
        let open_entry = self.store.entry(stored.entry);
        let serving = Serving {
            reply: stored.reply,
            status: stored.status,
            answering: Answering {
                close,
                keep_alive_10: exchange.request.version == Version::Http10 && !close,
                via: context.via,
                ..Answering::new(exchange.id(), ResponseFraming::AsIs)
            },
            now: wall_seconds(),
        };
        let (written, body) = context.client.write_stored_head(open_entry, &serving, context.rings);
        exchange.bytes_out = written;
        exchange.status = serve::status_of(open_entry, stored.reply);
        exchange.cached = Some(stored.result);
        let left = body.filter(|_| exchange.request.method != Method::Head);
        exchange.answer = Response::Stored(StoredAnswer { left, ..stored });
        exchange.enter(State::Responding);
    }

    /// Sends what the client takes of a stored body.
    pub fn send_hit_body(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        stored: StoredAnswer,
    ) -> HitSent {
        let Some(left) = stored.left else { return HitSent::All };
        let client = &mut *context.client;
        let sent = match self.store.entry(stored.entry).body() {
            Body::Memory(bytes) => {
                let (first, end) = (left.first as usize, left.last as usize + 1);
                client.write_part(&bytes[first..end], context.ring_size, context.rings)
            }
            Body::File(file, at) => {
                match client.send_file(file, at + left.first, left.len(), context.rings) {
                    Ok(sent) => sent,
                    Err(SendFileError::Client) => {
                        client.break_off();
                        return HitSent::Some;
                    }
                    Err(SendFileError::File) => return HitSent::Cut,
                }
            }
        };
        if sent == 0 {
            return HitSent::Nothing;
        }
        exchange.bytes_out += sent;
        let first = left.first + sent;
        let left = (first <= left.last).then_some(Part { first, ..left });
        exchange.answer = Response::Stored(StoredAnswer { left, ..stored });
        if left.is_none() { HitSent::All } else { HitSent::Some }
    }
}

impl Proxy {
    /// Commits a stored answer, if it is right and the client's ring has room for its head.
    pub(in crate::proxy) fn commit_stored(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
    ) -> Progress {
        let step = self.with_cache(id, |caching, exchange, context| {
            caching.verify_hit(exchange, context, stored.entry)
        });
        match step {
            HitStep::Ready => (),
            HitStep::NoRoom => return Progress::None,
            HitStep::Pending => {
                self.turn.wake(self.exchanges[id].client);
                return Progress::None;
            }
            HitStep::Damaged => {
                self.exchanges[id].enter(State::Waiting);
                return Progress::Made;
            }
        }
        let close = self.decide_close(id);
        self.with_cache(id, |caching, exchange, context| {
            caching.write_hit_head(exchange, context, stored, close);
        });
        if let Response::Stored(stored) = self.exchanges[id].answer {
            self.send_stored(id, stored);
        }
        Progress::Made
    }

    /// Sends what the client takes of a stored body.
    pub(in crate::proxy) fn send_stored(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
    ) -> Progress {
        let sent = self.with_cache(id, |caching, exchange, context| {
            caching.send_hit_body(exchange, context, stored)
        });
        match sent {
            HitSent::Nothing => return Progress::None,
            HitSent::Some => (),
            HitSent::All => self.exchanges[id].enter(State::Done),
            HitSent::Cut => self.truncate(id, Reason::ResponseIncomplete),
        }
        Progress::Made
    }
}
