//! Waiting: is there a stored answer, does another request fetch it already, or whose turn is it?

use crate::cache::fetches::{Ending, Fetch, Turn};
use crate::cache::serve;
use crate::cache::shelf::EntryId;
use crate::cache::store::{Found, Sight, Store};
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::mem::time::Micros;
use crate::policy::caching::{self, Asking, Decision, Meanwhile, Serving, Sharing};
use crate::policy::reason::Reason;

use super::Proxy;
use super::client::since;
use super::errand::{self, Caching, Errand, Patience, StoredAnswer};
use super::exchange::{Answer, ExchangeId, Line, OwnAnswer, Request, State};
use super::relay::Moved;
use super::settings::COLLAPSED;

/// What was found for a request.
enum Finding {
    /// This answers it.
    Answer(StoredAnswer, Behind),
    /// A backend is to be asked.
    Forward(Errand, Sharing),
}

/// What is due behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// It is stale, and asked for anew.
    Refresh(Sight),
}

impl Proxy {
    /// What the cache has to do with a request that was just taken in.
    pub(super) fn caching_of(&self, request: &Request) -> Caching {
        if self.tools.cache.is_none() {
            return Caching::Absent;
        }
        match caching::concerns(request.method, request.framing, request.may_switch()) {
            Ok(()) => Caching::Unasked(Patience::Fresh),
            Err(why) => Caching::Aside(why),
        }
    }

    /// Looks for a stored answer. `None`: the exchange goes to a backend.
    pub(super) fn consult(&mut self, id: ExchangeId) -> Option<Moved> {
        let is_first = self.is_first(id);
        let patience = match self.exchanges[id].caching {
            Caching::Absent | Caching::Aside(_) | Caching::Forwarded(_) | Caching::Served => {
                return None;
            }
            Caching::Promised if !is_first => return Some(Moved::Nothing),
            Caching::Promised => Patience::Fresh,
            Caching::Waiting(fetch, _) if self.is_going_on(fetch) => return Some(Moved::Nothing),
            Caching::Waiting(_, why) => {
                self.leave_line(id);
                Patience::Waited(why)
            }
            Caching::Unasked(patience) => patience,
        };
        match self.look(id)? {
            Finding::Answer(stored, behind) => Some(self.found(id, stored, behind, patience)),
            Finding::Forward(errand, sharing) => self.not_found(id, errand, sharing, patience),
        }
    }

    /// Looks in the store. What is found is pinned.
    fn look(&mut self, id: ExchangeId) -> Option<Finding> {
        let Proxy { exchanges, pools, settings, tools, now, .. } = self;
        let cache = tools.cache.as_mut()?;
        let exchange = &exchanges[id];
        let asked = exchange.asked();
        let pool = if settings.pool_by_fields { &pools[exchange.pool.0].name } else { "" };
        let wanted = errand::wanted(exchange, &asked, pool.as_bytes());
        let (found, sight) = cache.store.find(&wanted, *now);
        let method = exchange.request.method;
        let entry = match found {
            Found::Answer(entry) => entry,
            Found::Nothing(why) => {
                let asking = Asking::without(method, &asked, why);
                return Some(Finding::Forward(Errand::new(why, sight), asking.sharing));
            }
        };
        let candidate = serve::candidate(cache.store.entry(entry), tools.ring_size);
        let decision = caching::decide(method, &asked, &candidate, errand::wall_seconds());
        Some(finding(&mut cache.store, (entry, sight), &decision))
    }

    /// There is an answer.
    fn found(
        &mut self,
        id: ExchangeId,
        stored: StoredAnswer,
        behind: Behind,
        patience: Patience,
    ) -> Moved {
        if !self.is_first(id) {
            if let Some(cache) = &mut self.tools.cache {
                cache.store.release(stored.entry);
            }
            self.exchanges[id].caching = Caching::Promised;
            return Moved::Nothing;
        }
        if let Behind::Refresh(sight) = behind {
            self.refresh_behind(id, stored.entry, sight);
        }
        let status = match (patience, stored.status) {
            (Patience::Waited(why), CacheStatus::Hit { .. }) => {
                CacheStatus::Forwarded { why, status: None, stored: false, collapsed: true }
            }
            (Patience::Fresh | Patience::Waited(_) | Patience::Over, status) => status,
        };
        self.answer_from(id, StoredAnswer { status, ..stored });
        Moved::Some
    }

    /// From now on an entry, which is pinned, answers the exchange.
    pub(super) fn answer_from(&mut self, id: ExchangeId, stored: StoredAnswer) {
        let exchange = &mut self.exchanges[id];
        exchange.caching = Caching::Served;
        exchange.answer = Answer::Stored(stored);
        exchange.enter(State::Answered);
    }

    /// A backend is to be asked, unless the client forbids it or somebody does so already.
    fn not_found(
        &mut self,
        id: ExchangeId,
        errand: Errand,
        sharing: Sharing,
        patience: Patience,
    ) -> Option<Moved> {
        let is_first = self.is_first(id);
        let exchange = &mut self.exchanges[id];
        // Whoever has waited for one after the other has waited as well.
        let is_late = since(exchange.times.taken_in, self.now) > Micros::from(COLLAPSED);
        exchange.caching = Caching::Forwarded(errand);
        let cache = self.tools.cache.as_ref()?;
        match (sharing, patience) {
            (Sharing::Forbidden, _) => {
                let (status, reason) = (504, Reason::DestinationUnavailable);
                self.answer_instead(id, OwnAnswer { status, error: "", reason, close: false });
                return Some(Moved::Some);
            }
            (Sharing::Own, _) | (Sharing::Common, Patience::Over) => return None,
            (Sharing::Common, Patience::Fresh | Patience::Waited(_)) if !is_first => return None,
            (Sharing::Common, Patience::Waited(_)) if is_late => return None,
            (Sharing::Common, Patience::Fresh | Patience::Waited(_)) => (),
        }
        let fetches = cache.store.keeper().cells.fetches;
        match fetches.begin(self.worker, errand.sight.fetch_key, self.now) {
            Turn::Alone => None,
            Turn::Fetch(fetch) => self.fetch(id, errand, fetch),
            Turn::Wait(fetch) => {
                self.give_stale_back(id);
                self.exchanges[id].caching = Caching::Waiting(fetch, errand.why);
                self.stand_in_line(id, Line::Fetch);
                Some(Moved::Nothing)
            }
        }
    }

    /// It is this exchange's turn to fetch. Another may have done so since it has looked: it looks
    /// again, lest two equal requests go to backends one right behind the other.
    fn fetch(&mut self, id: ExchangeId, errand: Errand, fetch: Fetch) -> Option<Moved> {
        let again = if errand.stale.is_none() { self.look(id) } else { None };
        let errand = match again {
            Some(Finding::Answer(stored, _)) => {
                self.end(fetch, Ending::Stored);
                self.answer_from(id, stored);
                return Some(Moved::Some);
            }
            Some(Finding::Forward(errand, _)) => errand,
            None => errand,
        };
        self.exchanges[id].caching = Caching::Forwarded(Errand { fetch: Some(fetch), ..errand });
        None
    }

    /// What another fetches takes too long: the exchange goes to a backend itself.
    pub(super) fn stop_waiting_for_fetch(&mut self, id: ExchangeId) {
        self.leave_line(id);
        self.exchanges[id].caching = Caching::Unasked(Patience::Over);
    }
}

/// What a decision about an entry, that was found and is pinned, comes to.
fn finding(store: &mut Store, (entry, sight): (EntryId, Sight), decision: &Decision) -> Finding {
    match *decision {
        Decision::Serve { reply, serving, .. } => {
            let (result, behind) = match serving {
                Serving::Fresh => (CacheResult::Hit, Behind::Nothing),
                Serving::Stale => (CacheResult::Stale, Behind::Nothing),
                Serving::WhileRevalidating => (CacheResult::Stale, Behind::Refresh(sight)),
            };
            let status = decision.status();
            Finding::Answer(StoredAnswer { entry, reply, status, result, left: None }, behind)
        }
        Decision::Ask(Asking { why, sharing, stored }) => {
            let errand = Errand::new(why, sight);
            match stored {
                Meanwhile::Kept { validates, .. } => {
                    let errand = Errand { stale: Some(entry), validates, ..errand };
                    Finding::Forward(errand, sharing)
                }
                Meanwhile::Nothing => {
                    store.release(entry);
                    Finding::Forward(errand, sharing)
                }
            }
        }
    }
}
