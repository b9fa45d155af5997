//! Waiting: is there a stored answer, does another request fetch it already, or whose turn is it?

use crate::cache::collapse::{Collapse, Ending, FetchTicket};
use crate::cache::follow::Shown;
use crate::cache::keys::EntryKey;
use crate::cache::open_entries::EntryId;
use crate::cache::serve;
use crate::cache::store::{Found, LookupToken, Store};
use crate::http::cache_status::{CacheResult, CacheStatus};
use crate::mem::time::{Micros, elapsed};
use crate::policy::caching::{self, Asking, Decision, Meanwhile, Serving, Sharing};

use super::context::{CacheContext, CacheStep};
use super::state::{Asks, COLLAPSED, CacheFetch, CacheState, CollapseWait, Delivery, StoredAnswer};
use super::{Caching, wall_seconds};
use crate::proxy::Proxy;
use crate::proxy::exchange::{Exchange, Request};
use crate::proxy::ids::ExchangeId;
use crate::proxy::step::Progress;
use crate::proxy::upstream::bound::Bound;
use crate::proxy::upstream::waiting::WaitQueue;

/// What was found for a request.
enum Finding {
    /// This stored response answers the request. With a token, it is stale, and revalidated in the background.
    Response(StoredAnswer, Option<LookupToken>),
    /// A backend is to be asked.
    Fetch(CacheFetch, Sharing),
    /// Not known before the disk has read something.
    Later,
}

impl Caching {
    /// Looks for a stored answer for an exchange that would go to a backend now.
    pub fn on_request(&mut self, exchange: &mut Exchange, context: &mut CacheContext) -> CacheStep {
        let wait = match *exchange.cache() {
            CacheState::Disabled
            | CacheState::Bypass(_)
            | CacheState::Fetching(_)
            | CacheState::Hit => return CacheStep::Proceed,
            _ if context.client.bound != Bound::Never => {
                // What it is answered may be for its client alone.
                exchange.enter_cache(CacheState::Disabled);
                return CacheStep::Proceed;
            }
            CacheState::HitPending if !context.is_first => return CacheStep::Wait,
            CacheState::HitPending => CollapseWait::Fresh,
            CacheState::WaitingForFetch(mut ticket, why) => {
                if self.look_at_fetch(&mut ticket) {
                    exchange.enter_cache(CacheState::WaitingForFetch(ticket, why));
                    match self.find_shown(exchange, context, ticket) {
                        Shown::Answer(entry) => {
                            return self.follow(exchange, context, (entry, why));
                        }
                        Shown::Nothing => return CacheStep::Wait,
                        Shown::ForOthers(_) => (), // Another is waited for, or none.
                    }
                }
                CollapseWait::Waited(why)
            }
            CacheState::NotLookedUp(wait) => wait,
        };
        let finding = self.look(exchange, context);
        if !matches!(finding, Finding::Later) {
            self.cold.leave(context.id);
        }
        match finding {
            Finding::Response(stored, revalidation) if context.is_first => {
                let status = match (wait, stored.status) {
                    (CollapseWait::Waited(why), CacheStatus::Hit { .. }) => {
                        CacheStatus::Forwarded { why, status: None, stored: false, collapsed: true }
                    }
                    (
                        CollapseWait::Fresh | CollapseWait::Waited(_) | CollapseWait::Over,
                        status,
                    ) => status,
                };
                serve_by(exchange, StoredAnswer { status, ..stored }, revalidation)
            }
            Finding::Response(stored, _) => {
                self.store.release(stored.entry);
                exchange.enter_cache(CacheState::HitPending);
                CacheStep::Wait
            }
            Finding::Later if context.is_first => {
                self.cold.wait(context.id, context.now);
                CacheStep::Wait
            }
            Finding::Later => {
                exchange.enter_cache(CacheState::HitPending);
                CacheStep::Wait
            }
            Finding::Fetch(fetch, sharing) => {
                if may_collapse(exchange, context, sharing, wait) {
                    return self.collapse(exchange, context, fetch, fetch.token.fetch_key);
                }
                exchange.enter_cache(CacheState::Fetching(fetch));
                match sharing {
                    Sharing::Forbidden => CacheStep::GatewayTimeout,
                    Sharing::Own | Sharing::Common => CacheStep::Proceed,
                }
            }
        }
    }

    /// Looks in the store. What is found is pinned.
    fn look(&mut self, exchange: &Exchange, context: &CacheContext) -> Finding {
        let request_fields = exchange.cache_fields();
        let query = context.query(exchange, &request_fields);
        let find = |store: &mut Store, reading| store.find(&query, context.now, reading);
        let Some((found, token)) = self.read_for(context, find) else { return Finding::Later };
        let method = exchange.request.method;
        let entry = match found {
            Found::Answer(entry) => entry,
            Found::Cold => return Finding::Later,
            Found::Nothing(why) => {
                let asking = Asking::without(method, &request_fields, why);
                return Finding::Fetch(CacheFetch::new(why, token), asking.sharing);
            }
        };
        let candidate = serve::candidate(self.store.entry(entry), context.ring_size);
        let decision = caching::decide(method, &request_fields, &candidate, wall_seconds());
        self.finding((entry, token), &decision)
    }

    /// What a decision about an entry, that was found and is pinned, comes to.
    fn finding(&mut self, (entry, token): (EntryId, LookupToken), decision: &Decision) -> Finding {
        match *decision {
            Decision::Serve { reply, serving, .. } => {
                let (result, revalidation) = match serving {
                    Serving::Fresh => (CacheResult::Hit, None),
                    Serving::Stale => (CacheResult::Stale, None),
                    Serving::WhileRevalidating => (CacheResult::Stale, Some(token)),
                };
                let status = decision.status();
                let (left, delivery) = (None, Delivery::Stored);
                let stored = StoredAnswer { entry, reply, status, result, left, delivery };
                Finding::Response(stored, revalidation)
            }
            Decision::Ask(Asking { why, sharing, stored }) => {
                let fetch = CacheFetch::new(why, token);
                match stored {
                    Meanwhile::Kept { validates, .. } => {
                        let asks = if validates { Asks::IfChanged } else { Asks::AsIs };
                        let fetch = CacheFetch { stale: Some(entry), asks, ..fetch };
                        Finding::Fetch(fetch, sharing)
                    }
                    Meanwhile::Part(rest) => {
                        let asks = Asks::ForRest(rest);
                        Finding::Fetch(CacheFetch { stale: Some(entry), asks, ..fetch }, sharing)
                    }
                    Meanwhile::Nothing => {
                        self.store.release(entry);
                        Finding::Fetch(fetch, sharing)
                    }
                }
            }
        }
    }

    /// Leads the fetch of this key that a request needs, or waits for one that goes on.
    fn collapse(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        fetch: CacheFetch,
        key: EntryKey,
    ) -> CacheStep {
        let fetches = self.store.directory().cells.fetches;
        let ticket = match fetches.begin(self.worker, key, context.now) {
            Collapse::Lead(ticket) => return self.lead(exchange, context, fetch, ticket),
            Collapse::Follow(ticket) => ticket,
            Collapse::Alone => {
                exchange.enter_cache(CacheState::Fetching(fetch));
                return CacheStep::Proceed;
            }
        };
        match self.find_shown(exchange, context, ticket) {
            Shown::Answer(entry) => {
                self.give_up(fetch);
                self.follow(exchange, context, (entry, fetch.why))
            }
            Shown::ForOthers(other) if key == fetch.token.fetch_key && other != key => {
                self.collapse(exchange, context, fetch, other)
            }
            // Whatever it waits for turns out to be for others still.
            Shown::ForOthers(_) => {
                exchange.enter_cache(CacheState::Fetching(fetch));
                CacheStep::Proceed
            }
            Shown::Nothing => {
                self.give_up(fetch);
                exchange.enter_cache(CacheState::WaitingForFetch(ticket, fetch.why));
                // Who fetches shows only what somebody waits for.
                self.wake(fetches.leader(ticket));
                CacheStep::WaitForFetch
            }
        }
    }

    /// Gives back what was found for a fetch that is not to be made.
    fn give_up(&mut self, fetch: CacheFetch) {
        if let Some(entry) = fetch.stale {
            self.store.release(entry);
        }
    }

    /// Begins a fetch for others to wait for. Another exchange may have ended one since this one has looked: it
    /// looks again, lest two equal requests go to backends one right behind the other.
    fn lead(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        fetch: CacheFetch,
        ticket: FetchTicket,
    ) -> CacheStep {
        let looks_again = fetch.stale.is_none() || matches!(fetch.asks, Asks::ForRest(_));
        let again = looks_again.then(|| self.look(exchange, context));
        let fetch = match again {
            Some(Finding::Response(stored, _)) => {
                self.give_up(fetch);
                self.end(ticket, Ending::Stored, context.now);
                return serve_by(exchange, stored, None);
            }
            Some(Finding::Fetch(found, _)) => {
                self.give_up(fetch);
                found
            }
            // What was found before still holds, as far as is known.
            Some(Finding::Later) | None => fetch,
        };
        let fetch = CacheFetch { ticket: Some(ticket), ..fetch };
        exchange.enter_cache(CacheState::Fetching(fetch));
        CacheStep::Proceed
    }
}

/// From now on an entry, which is pinned, answers the exchange.
pub(super) fn serve_by(
    exchange: &mut Exchange,
    stored: StoredAnswer,
    revalidation: Option<LookupToken>,
) -> CacheStep {
    exchange.enter_cache(CacheState::Hit);
    CacheStep::Serve(stored, revalidation)
}

/// Whether a request may wait for what another one fetches, or others for what it does.
fn may_collapse(
    exchange: &Exchange,
    context: &CacheContext,
    sharing: Sharing,
    wait: CollapseWait,
) -> bool {
    // Whoever has waited for one after the other has waited as well.
    let is_late = || elapsed(exchange.times.taken_in, context.now) > Micros::from(COLLAPSED);
    let has_patience = match wait {
        CollapseWait::Fresh => true,
        CollapseWait::Waited(_) => !is_late(),
        CollapseWait::Over => false,
    };
    sharing == Sharing::Common && context.is_first && has_patience
}

impl Proxy {
    /// Whether there is a cache.
    pub(in crate::proxy) fn has_cache(&self) -> bool {
        self.buffers.caching.is_some()
    }

    /// Where a request that was just taken in stands with the cache, if there is one.
    pub(in crate::proxy) fn first_cache_state(&self, request: &Request) -> CacheState {
        match caching::concerns(request.method, request.framing, request.may_switch()) {
            Ok(()) => CacheState::NotLookedUp(CollapseWait::Fresh),
            Err(why) => CacheState::Bypass(why),
        }
    }

    /// Looks for a stored answer. `None`: the exchange goes to a backend.
    pub(in crate::proxy) fn consult(&mut self, id: ExchangeId) -> Option<Progress> {
        let step = self.with_cache(id, Caching::on_request);
        let still_waits = matches!(step, CacheStep::Wait);
        if !still_waits && self.exchanges[id].wait_queue == WaitQueue::Fetch {
            self.dequeue_waiter(id);
        }
        self.carry_out(id, step)
    }

    /// What another fetches takes too long: the exchange goes to a backend itself.
    pub(in crate::proxy) fn stop_waiting_for_fetch(&mut self, id: ExchangeId) {
        self.dequeue_waiter(id);
        self.exchanges[id].enter_cache(CacheState::NotLookedUp(CollapseWait::Over));
    }
}
