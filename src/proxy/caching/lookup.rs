//! Waiting: is there a stored answer, does another request fetch it already, or whose turn is it?

use crate::cache::collapse::{Collapse, Ending, FetchTicket};
use crate::cache::open_entries::EntryId;
use crate::cache::serve;
use crate::cache::store::{Found, LookupToken, Store};
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::mem::time::Micros;
use crate::policy::caching::{self, Asking, Decision, Meanwhile, Serving, Sharing};
use crate::policy::reason::Reason;

use super::state::{self, CacheFetch, CacheState, CollapseWait, StoredAnswer};
use crate::proxy::Proxy;
use crate::proxy::client::since;
use crate::proxy::exchange::{Answer, ExchangeId, Line, OwnAnswer, Request, State};
use crate::proxy::relay::Moved;
use crate::proxy::settings::COLLAPSED;

/// What was found for a request.
enum Finding {
    /// This answers it.
    Answer(StoredAnswer, Behind),
    /// A backend is to be asked.
    Forward(CacheFetch, Sharing),
}

/// What is due behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// It is stale, and asked for anew.
    Refresh(LookupToken),
}

impl Proxy {
    /// What the cache has to do with a request that was just taken in.
    pub(in crate::proxy) fn caching_of(&self, request: &Request) -> CacheState {
        if self.tools.cache.is_none() {
            return CacheState::Disabled;
        }
        match caching::concerns(request.method, request.framing, request.may_switch()) {
            Ok(()) => CacheState::NotLookedUp(CollapseWait::Fresh),
            Err(why) => CacheState::Bypass(why),
        }
    }

    /// Looks for a stored answer. `None`: the exchange goes to a backend.
    pub(in crate::proxy) fn consult(&mut self, id: ExchangeId) -> Option<Moved> {
        let is_first = self.is_first(id);
        let patience = match self.exchanges[id].caching {
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::Fetching(_)
            | CacheState::Hit => {
                return None;
            }
            CacheState::HitPending if !is_first => return Some(Moved::Nothing),
            CacheState::HitPending => CollapseWait::Fresh,
            CacheState::WaitingForFetch(ticket, _) if self.is_going_on(ticket) => {
                return Some(Moved::Nothing);
            }
            CacheState::WaitingForFetch(_, why) => {
                self.leave_line(id);
                CollapseWait::Waited(why)
            }
            CacheState::NotLookedUp(patience) => patience,
        };
        match self.look(id)? {
            Finding::Answer(stored, behind) => Some(self.found(id, stored, behind, patience)),
            Finding::Forward(fetch, sharing) => self.not_found(id, fetch, sharing, patience),
        }
    }

    /// Looks in the store. What is found is pinned.
    fn look(&mut self, id: ExchangeId) -> Option<Finding> {
        let Proxy { exchanges, pools, settings, tools, now, .. } = self;
        let cache = tools.cache.as_mut()?;
        let exchange = &exchanges[id];
        let request_fields = exchange.cache_fields();
        let pool = if settings.pool_by_fields { &pools[exchange.pool.0].name } else { "" };
        let query = state::query(exchange, &request_fields, pool.as_bytes());
        let (found, token) = cache.store.find(&query, *now);
        let method = exchange.request.method;
        let entry = match found {
            Found::Answer(entry) => entry,
            Found::Nothing(why) => {
                let asking = Asking::without(method, &request_fields, why);
                return Some(Finding::Forward(CacheFetch::new(why, token), asking.sharing));
            }
        };
        let candidate = serve::candidate(cache.store.entry(entry), tools.ring_size);
        let decision = caching::decide(method, &request_fields, &candidate, state::wall_seconds());
        Some(finding(&mut cache.store, (entry, token), &decision))
    }

    /// There is an answer.
    fn found(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
        behind: Behind,
        patience: CollapseWait,
    ) -> Moved {
        if !self.is_first(id) {
            if let Some(cache) = &mut self.tools.cache {
                cache.store.release(stored.entry);
            }
            self.exchanges[id].caching = CacheState::HitPending;
            return Moved::Nothing;
        }
        if let Behind::Refresh(token) = behind {
            self.refresh_behind(id, stored.entry, token);
        }
        let status = match (patience, stored.status) {
            (CollapseWait::Waited(why), CacheStatus::Hit { .. }) => {
                CacheStatus::Forwarded { why, status: None, stored: false, collapsed: true }
            }
            (CollapseWait::Fresh | CollapseWait::Waited(_) | CollapseWait::Over, status) => status,
        };
        self.answer_from(id, StoredAnswer { status, ..stored });
        Moved::Some
    }

    /// From now on an entry, which is pinned, answers the exchange.
    pub(in crate::proxy) fn answer_from(&mut self, id: ExchangeId, stored: StoredAnswer) {
        let exchange = &mut self.exchanges[id];
        exchange.caching = CacheState::Hit;
        exchange.answer = Answer::Stored(stored);
        exchange.enter(State::Answered);
    }

    /// A backend is to be asked, unless the client forbids it or somebody does so already.
    fn not_found(
        &mut self,
        id: ExchangeId,
        fetch: CacheFetch,
        sharing: Sharing,
        patience: CollapseWait,
    ) -> Option<Moved> {
        let is_first = self.is_first(id);
        let exchange = &mut self.exchanges[id];
        // Whoever has waited for one after the other has waited as well.
        let is_late = since(exchange.times.taken_in, self.now) > Micros::from(COLLAPSED);
        exchange.caching = CacheState::Fetching(fetch);
        let cache = self.tools.cache.as_ref()?;
        match (sharing, patience) {
            (Sharing::Forbidden, _) => {
                let (status, reason) = (504, Reason::DestinationUnavailable);
                self.answer_instead(id, OwnAnswer { status, error: "", reason, close: false });
                return Some(Moved::Some);
            }
            (Sharing::Own, _) | (Sharing::Common, CollapseWait::Over) => return None,
            (Sharing::Common, CollapseWait::Fresh | CollapseWait::Waited(_)) if !is_first => {
                return None;
            }
            (Sharing::Common, CollapseWait::Waited(_)) if is_late => return None,
            (Sharing::Common, CollapseWait::Fresh | CollapseWait::Waited(_)) => (),
        }
        let fetches = cache.store.directory().cells.fetches;
        match fetches.begin(self.worker, fetch.token.fetch_key, self.now) {
            Collapse::Alone => None,
            Collapse::Lead(ticket) => self.lead(id, fetch, ticket),
            Collapse::Follow(ticket) => {
                self.give_stale_back(id);
                self.exchanges[id].caching = CacheState::WaitingForFetch(ticket, fetch.why);
                self.stand_in_line(id, Line::Fetch);
                Some(Moved::Nothing)
            }
        }
    }

    /// It is this exchange's turn to fetch. Another may have done so since it has looked: it looks
    /// again, lest two equal requests go to backends one right behind the other.
    fn lead(&mut self, id: ExchangeId, fetch: CacheFetch, ticket: FetchTicket) -> Option<Moved> {
        let again = if fetch.stale.is_none() { self.look(id) } else { None };
        let fetch = match again {
            Some(Finding::Answer(stored, _)) => {
                self.end(ticket, Ending::Stored);
                self.answer_from(id, stored);
                return Some(Moved::Some);
            }
            Some(Finding::Forward(fetch, _)) => fetch,
            None => fetch,
        };
        self.exchanges[id].caching =
            CacheState::Fetching(CacheFetch { ticket: Some(ticket), ..fetch });
        None
    }

    /// What another fetches takes too long: the exchange goes to a backend itself.
    pub(in crate::proxy) fn stop_waiting_for_fetch(&mut self, id: ExchangeId) {
        self.leave_line(id);
        self.exchanges[id].caching = CacheState::NotLookedUp(CollapseWait::Over);
    }
}

/// What a decision about an entry, that was found and is pinned, comes to.
fn finding(
    store: &mut Store,
    (entry, token): (EntryId, LookupToken),
    decision: &Decision,
) -> Finding {
    match *decision {
        Decision::Serve { reply, serving, .. } => {
            let (result, behind) = match serving {
                Serving::Fresh => (CacheResult::Hit, Behind::Nothing),
                Serving::Stale => (CacheResult::Stale, Behind::Nothing),
                Serving::WhileRevalidating => (CacheResult::Stale, Behind::Refresh(token)),
            };
            let status = decision.status();
            Finding::Answer(StoredAnswer { entry, reply, status, result, left: None }, behind)
        }
        Decision::Ask(Asking { why, sharing, stored }) => {
            let fetch = CacheFetch::new(why, token);
            match stored {
                Meanwhile::Kept { validates, .. } => {
                    let fetch = CacheFetch { stale: Some(entry), validates, ..fetch };
                    Finding::Forward(fetch, sharing)
                }
                Meanwhile::Nothing => {
                    store.release(entry);
                    Finding::Forward(fetch, sharing)
                }
            }
        }
    }
}
