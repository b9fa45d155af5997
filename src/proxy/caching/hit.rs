//! Answered and Responding, where an entry of the cache answers: its head, and the body behind it.

use crate::cache::in_memory::DiskRead;
use crate::cache::open_entries::{Body, EntryId};
use crate::cache::serve::{self, Serving};
use crate::cache::store::{Store, Verdict};
use crate::http::cache_status::CacheStatus;
use crate::http::message::Version;
use crate::http::method::Method;
use crate::http::rewrite::{Answering, ResponseFraming};
use crate::policy::conditional::ConditionalOutcome;
use crate::policy::ranges::Part;
use crate::policy::reason::Reason;

use super::context::CacheContext;
use super::follow::NextBytes;
use super::state::{CacheState, CollapseWait, Delivery, StoredAnswer};
use super::{Caching, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::downstream::write::SendFileError;
use crate::proxy::exchange::{Exchange, Response, State};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;

/// Bytes of an entry that are verified in a turn, before it answers for the first time; after that, other
/// exchanges have their turn.
const VERIFIED_AT_ONCE: usize = 512 * 1024;

/// Whether a stored answer can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitStep {
    /// The head of the stored response can be written now.
    Ready,
    /// More of the entry is verified in the next turn.
    Pending,
    /// The disk has to read the entry first.
    Cold,
    /// The client's ring has no room for the head.
    #[default]
    NoRoom,
    /// The entry was damaged, or has broken off, and is gone.
    Damaged,
}

/// What came of sending a part of a stored body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitSent {
    /// A part of the body went.
    Some,
    /// The client takes no bytes now.
    #[default]
    Nothing,
    /// The whole body has gone.
    All,
    /// The rest of the body cannot be read.
    Cut,
}

impl Caching {
    /// Makes sure that the entry which answers an exchange is right, and that its head has room.
    pub fn verify_hit(
        &mut self,
        exchange: &mut Exchange,
        context: &CacheContext,
        stored: StoredAnswer,
    ) -> HitStep {
        let entry = stored.entry;
        match self.verify(context, entry) {
            Verdict::Right if stored.delivery.follows() && self.store.grown(entry).is_none() => {
                self.let_go(context.id, stored);
                exchange.answer = Response::Pending;
                exchange.enter_cache(CacheState::NotLookedUp(CollapseWait::Fresh));
                return HitStep::Damaged;
            }
            Verdict::Right => (),
            Verdict::Pending => return HitStep::Pending,
            Verdict::Cold => return HitStep::Cold,
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

    /// Verifies more of an entry that an exchange wants. It waits where the disk is to read first.
    pub(super) fn verify(&mut self, context: &CacheContext, entry: EntryId) -> Verdict {
        let verify = |store: &mut Store, reading| {
            store.verify(entry, VERIFIED_AT_ONCE, context.now, reading)
        };
        let verdict = self.read_for(context, verify).unwrap_or(Verdict::Cold);
        match verdict {
            Verdict::Cold => self.cold.wait(context.id, context.now),
            Verdict::Right | Verdict::Pending | Verdict::Damaged => self.cold.leave(context.id),
        }
        verdict
    }

    /// Writes the head of a stored answer, for which the client's ring has room.
    pub fn write_hit_head(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        stored: StoredAnswer,
        close: bool,
    ) {
        let how = (stored.reply, stored.status, stored.delivery.framing());
        let body = self.write_head(exchange, context, stored.entry, how, close);
        exchange.cached = Some(stored.result);
        let left = body.filter(|_| exchange.request.method != Method::Head);
        exchange.answer = Response::Stored(StoredAnswer { left, ..stored });
        exchange.enter(State::Responding);
    }

    /// Writes the head of an answer that an entry gives or begins, as this reply, with this status and
    /// framing. Returns what of the body belongs to it.
    pub(super) fn write_head(
        &self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        entry: EntryId,
        (reply, status, framing): (ConditionalOutcome, CacheStatus, ResponseFraming),
        close: bool,
    ) -> Option<Part> {
        let open_entry = self.store.entry(entry);
        let serving = Serving {
            reply,
            status,
            answering: Answering {
                close,
                keep_alive_10: exchange.request.version == Version::Http10 && !close,
                via: context.via,
                ..Answering::new(exchange.id(), framing)
            },
            now: wall_seconds(),
        };
        let (written, body) = context.client.write_stored_head(open_entry, &serving, context.rings);
        exchange.bytes_out = written;
        exchange.status = serve::status_of(open_entry, reply);
        body
    }

    /// Sends what the client takes of a stored body.
    pub fn send_hit_body(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        stored: StoredAnswer,
    ) -> HitSent {
        let next = self.next_of(stored);
        if let Delivery::InChunks(place) = stored.delivery {
            return self.send_in_chunks(exchange, context, (stored, place), next);
        }
        let (first, there) = match next {
            NextBytes::Bytes(first, count) => (first, count),
            NextBytes::Later => return HitSent::Nothing,
            NextBytes::End => return HitSent::All,
            NextBytes::Broken => return HitSent::Cut,
        };
        let there = match self.store.entry(stored.entry).body() {
            // Who follows is given what was written just now.
            Body::File(..) if !stored.delivery.follows() => {
                if !context.client.takes_all_at_once() {
                    return HitSent::Nothing;
                }
                let Some(there) = self.in_memory(stored.entry, first, there, context) else {
                    self.cold.wait(context.id, context.now);
                    return HitSent::Nothing;
                };
                self.cold.leave(context.id);
                there
            }
            Body::File(..) | Body::Memory(_) => there,
        };
        match self.send_bytes(context, stored.entry, (first, there)) {
            Ok(sent) => went(exchange, stored, sent),
            Err(other) => other,
        }
    }

    /// How many of the next `len` bytes of a body in a file are to be sent now; `None`: the disk reads them
    /// first.
    fn in_memory(
        &mut self,
        entry: EntryId,
        at: u64,
        len: u64,
        context: &CacheContext,
    ) -> Option<u64> {
        if self.cold.is_read_ahead_off(context.now) {
            return Some(len);
        }
        self.read_for(context, |store, reading| match reading {
            DiskRead::Ahead => store.at_once(entry, at, len, context.now),
            DiskRead::Waits => Some(store.read_in(entry, at, len)),
        })?
    }

    /// Sends so many bytes of a body from `first` on, as many as the client takes: how many, one at least.
    pub(super) fn send_bytes(
        &self,
        context: &mut CacheContext,
        entry: EntryId,
        (first, count): (u64, u64),
    ) -> Result<u64, HitSent> {
        let client = &mut *context.client;
        let sent = match self.store.entry(entry).body() {
            Body::Memory(bytes) => {
                let range = first as usize..(first + count) as usize;
                client.write_part(&bytes[range], context.ring_size, context.rings)
            }
            Body::File(file, at) => {
                match client.send_file(file, at + first, count, context.rings) {
                    Ok(sent) => sent,
                    Err(SendFileError::Client) => {
                        client.break_off();
                        return Err(HitSent::Some);
                    }
                    Err(SendFileError::File) => return Err(HitSent::Cut),
                }
            }
        };
        if sent == 0 { Err(HitSent::Nothing) } else { Ok(sent) }
    }
}

/// Notes that `sent` bytes of a stored body went to the client.
pub(super) fn went(exchange: &mut Exchange, stored: StoredAnswer, sent: u64) -> HitSent {
    exchange.bytes_out += sent;
    let Some(part) = stored.left else { return HitSent::All };
    let first = part.first + sent;
    let left = (first <= part.last).then_some(Part { first, ..part });
    exchange.answer = Response::Stored(StoredAnswer { left, ..stored });
    if left.is_none() { HitSent::All } else { HitSent::Some }
}

impl Proxy {
    /// Commits a stored answer, if it is right and the client's ring has room for its head.
    pub(in crate::proxy) fn commit_stored(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
    ) -> Progress {
        let step = self.with_cache(id, |caching, exchange, context| {
            caching.verify_hit(exchange, context, stored)
        });
        match step {
            HitStep::Ready => (),
            HitStep::NoRoom | HitStep::Cold => return Progress::None,
            HitStep::Pending => {
                self.turn.wake(self.exchanges[id].client);
                return Progress::None;
            }
            HitStep::Damaged => {
                self.exchanges[id].enter(State::Waiting);
                return Progress::Made;
            }
        }
        if stored.delivery.framing() == ResponseFraming::Close {
            self.end_by_close(id);
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
