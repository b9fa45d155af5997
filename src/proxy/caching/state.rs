//! Where an exchange stands with the cache.
//!
//! What each may become:
//!
//! ```text
//! Disabled         -> Disabled Bypass NotLookedUp Fetching
//! Bypass           -> Disabled
//! NotLookedUp      -> Disabled HitPending WaitingForFetch Fetching Hit
//! HitPending       -> Disabled WaitingForFetch Fetching Hit
//! WaitingForFetch  -> Disabled Bypass NotLookedUp WaitingForFetch Fetching Hit
//! Fetching         -> Disabled Hit
//! Hit              -> Disabled NotLookedUp
//! ```
//!
//! And in which of its states an exchange may stand so:
//!
//! ```text
//! Waiting          Disabled Bypass NotLookedUp HitPending WaitingForFetch Fetching
//! Connecting       Disabled Bypass Fetching
//! Sending          Disabled Bypass Fetching
//! Awaiting         Disabled Bypass Fetching
//! Answered         Disabled Bypass Fetching Hit
//! Responding       Disabled Bypass Fetching Hit
//! Uploading        Disabled Bypass Fetching
//! Tunneling        Disabled Bypass
//! Done             Disabled Bypass NotLookedUp HitPending WaitingForFetch Fetching Hit
//! ```
//!
//! Only a first exchange has an entry for its answer, waits for a fetch or leads one: it waits for
//! nobody, and all that others wait for goes on by itself.

use crate::cache::collapse::FetchTicket;
use crate::cache::open_entries::EntryId;
use crate::cache::store::LookupToken;
use crate::http::cache_status::{CacheResult, CacheStatus, FwdReason};
use crate::http::message::Version;
use crate::http::rewrite::ResponseFraming;
use crate::mem::time::Millis;
use crate::policy::conditional::{ConditionalOutcome, MissingRange};
use crate::policy::ranges::Part;
use crate::proxy::state::State;
use crate::proxy::step::ChunkPlace;

/// How long a request waits for the response that another one fetches. Then it goes to a backend itself.
pub const COLLAPSED: Millis = Millis(5_000);
/// How long it waits for the end of a response that only the operator calls fresh, and that has not said how
/// long it is: it may well be a stream.
pub const UNANNOUNCED: Millis = Millis(250);

/// Where an exchange stands with the cache. (With a tag of its own: else it is as wide as a key.)
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum CacheState {
    /// The cache has no part in the exchange: there is no cache, the request was never to be answered by
    /// anybody else, or the exchange is over.
    Disabled,
    /// The request passes by the cache, for this reason.
    Bypass(FwdReason),
    /// Nothing was looked for yet, or all that was found is over.
    NotLookedUp(CollapseWait),
    /// An entry answers the request, once the exchange is its client's first: then it is looked up again.
    HitPending,
    /// Another request fetches the response; the reason is why this one would go to a backend itself.
    WaitingForFetch(FetchTicket, FwdReason),
    /// The request goes to a backend, on the cache's behalf as well.
    Fetching(CacheFetch),
    /// An entry, which is pinned, answers the request.
    Hit,
}

/// Whether an exchange may wait for what another one fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollapseWait {
    /// The exchange has not waited yet.
    Fresh,
    /// The exchange has waited; for this reason it would have gone to a backend itself.
    Waited(FwdReason),
    /// The exchange has waited for long enough.
    Over,
}

/// What a request asks of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// What the client asks, unchanged.
    AsIs,
    /// Whether the stale entry is still right.
    IfChanged,
    /// For the rest of the entry, which has a part of the body.
    ForRest(MissingRange),
    /// The rest of the entry is coming, by this plan. The given part of what is stored goes before it, as far
    /// as it was not sent yet; the last field says whether the two together may be stored.
    Joins(MissingRange, Option<Part>, bool),
}

/// What a request is sent to a backend for.
#[derive(Clone, Copy, Debug)]
pub struct CacheFetch {
    /// Why no entry answered the request.
    pub why: FwdReason,
    /// What the look-up saw.
    pub token: LookupToken,
    /// The fetch, if others wait for its response.
    pub ticket: Option<FetchTicket>,
    /// The stored entry that cannot answer as it is; pinned.
    pub stale: Option<EntryId>,
    /// What the backend is asked about that entry.
    pub asks: Asks,
    /// How long others wait for the end of a body of unknown length.
    pub patience: Millis,
    /// Bytes of the body that had passed at the last tick, if there was one.
    pub passed: Option<u64>,
}

impl CacheFetch {
    /// To fetch what is not there.
    pub fn new(why: FwdReason, token: LookupToken) -> CacheFetch {
        CacheFetch {
            why,
            token,
            ticket: None,
            stale: None,
            asks: Asks::AsIs,
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
    pub reply: ConditionalOutcome,
    /// What the client is told of the cache.
    pub status: CacheStatus,
    /// What the log and the metrics are told.
    pub result: CacheResult,
    /// Bytes of the body that are still to be sent, once the head was.
    pub left: Option<Part>,
    /// How the body comes.
    pub delivery: Delivery,
}

/// How the body of a stored answer comes to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The whole body is stored.
    Stored,
    /// The body comes as another request fetches it: the head says how long it will be.
    AsItComes,
    /// The body comes as another request fetches it, of unknown length, in chunks; the client stands at this
    /// place in them.
    InChunks(ChunkPlace),
    /// The body comes as another request fetches it, of unknown length, and ends with the connection.
    UntilClose,
}

impl Delivery {
    /// The delivery of what another request fetches, with a known length or not, to a client of this version.
    pub fn of_fetched(has_length: bool, version: Version) -> Delivery {
        match version {
            _ if has_length => Delivery::AsItComes,
            Version::Http11 => Delivery::InChunks(ChunkPlace::Between),
            Version::Http10 => Delivery::UntilClose,
        }
    }

    /// Whether the body is what another request fetches, so that more may come later.
    pub fn follows(self) -> bool {
        match self {
            Delivery::Stored => false,
            Delivery::AsItComes | Delivery::InChunks(_) | Delivery::UntilClose => true,
        }
    }

    /// How the head tells where the body ends.
    pub fn framing(self) -> ResponseFraming {
        match self {
            Delivery::Stored | Delivery::AsItComes => ResponseFraming::AsIs,
            Delivery::InChunks(_) => ResponseFraming::Chunked,
            Delivery::UntilClose => ResponseFraming::Close,
        }
    }
}

impl CacheState {
    /// The only way in which it changes.
    pub fn enter(&mut self, next: CacheState) {
        assert!(self.may_become(&next), "{self:?} may not become {next:?}");
        *self = next;
    }

    /// The first table at the top of this file.
    fn may_become(&self, next: &CacheState) -> bool {
        use CacheState::{
            Bypass, Disabled, Fetching, Hit, HitPending, NotLookedUp, WaitingForFetch,
        };
        match self {
            Disabled => matches!(next, Disabled | Bypass(_) | NotLookedUp(_) | Fetching(_)),
            Bypass(_) => matches!(next, Disabled),
            NotLookedUp(_) => {
                matches!(next, Disabled | HitPending | WaitingForFetch(..) | Fetching(_) | Hit)
            }
            HitPending => matches!(next, Disabled | WaitingForFetch(..) | Fetching(_) | Hit),
            WaitingForFetch(..) => !matches!(next, HitPending),
            Fetching(_) => matches!(next, Disabled | Hit),
            Hit => matches!(next, Disabled | NotLookedUp(_)),
        }
    }

    /// The second table: whether an exchange in this state may stand so with the cache.
    pub fn fits(&self, state: State) -> bool {
        use CacheState::{Bypass, Disabled, Fetching, Hit};
        match state {
            State::Waiting => !matches!(self, Hit),
            State::Connecting | State::Sending | State::Awaiting | State::Uploading => {
                matches!(self, Disabled | Bypass(_) | Fetching(_))
            }
            State::Answered | State::Responding => {
                matches!(self, Disabled | Bypass(_) | Fetching(_) | Hit)
            }
            State::Tunneling => matches!(self, Disabled | Bypass(_)),
            State::Done => true,
        }
    }

    /// Whether a stored part and the rest, which is coming, are the answer.
    pub fn joins(&self) -> bool {
        matches!(self, CacheState::Fetching(CacheFetch { asks: Asks::Joins(..), .. }))
    }

    /// Whether there is something of a stored part that goes before what a backend sends.
    pub fn has_part_left(&self) -> bool {
        matches!(self, CacheState::Fetching(CacheFetch { asks: Asks::Joins(_, Some(_), _), .. }))
    }

    /// What an exchange is sent to a backend for, on the cache's behalf as well.
    pub fn fetch(&mut self) -> Option<&mut CacheFetch> {
        match self {
            CacheState::Fetching(fetch) => Some(fetch),
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::NotLookedUp(_)
            | CacheState::HitPending
            | CacheState::WaitingForFetch(..)
            | CacheState::Hit => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::state::{ALL_STATES, listed};

    fn all() -> [CacheState; 7] {
        let token = LookupToken::default();
        [
            CacheState::Disabled,
            CacheState::Bypass(FwdReason::Bypass),
            CacheState::NotLookedUp(CollapseWait::Fresh),
            CacheState::HitPending,
            CacheState::WaitingForFetch(FetchTicket::default(), FwdReason::UriMiss),
            CacheState::Fetching(CacheFetch::new(FwdReason::UriMiss, token)),
            CacheState::Hit,
        ]
    }

    #[test]
    fn the_tables_at_the_top_are_what_is_asserted() {
        let text = include_str!("state.rs");
        let changes = listed(&all(), " ->", &all(), |from, to| from.may_become(to));
        assert!(text.contains(&changes), "it should be\n{changes}");
        let pairs = listed(&ALL_STATES, "", &all(), |state, cache| cache.fits(*state));
        assert!(text.contains(&pairs), "it should be\n{pairs}");
    }

    #[test]
    #[should_panic(expected = "may not become")]
    fn what_the_table_does_not_have_is_refused() {
        CacheState::Hit.enter(CacheState::HitPending);
    }
}
