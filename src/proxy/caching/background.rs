//! Background revalidation for stale-while-revalidate (RFC 5861 §3). After a stale response is served,
//! a second exchange revalidates the entry. It has no client; its output is discarded.
//!
//! In the place of its client stands [`Client::background`], whose sink is nobody: so the exchange goes the
//! way of all others, and what it fetches is recorded. Their number is bounded, with memory of their own:
//! they take nothing from clients. Each ends as soon as it is clear that nothing of it will be stored.

use crate::cache::collapse::Collapse;
use crate::cache::open_entries::EntryId;
use crate::cache::store::LookupToken;
use crate::http::cache_status::FwdReason;
use crate::http::rewrite;
use crate::mem::buffer::{Buffer, Span};
use crate::mem::time::Micros;
use crate::policy::conditional;

use super::Caching;
use super::state::{Asks, CacheFetch, CacheState};
use crate::proxy::downstream::client::Client;
use crate::proxy::exchange::Exchange;
use crate::proxy::ids::ExchangeId;
use crate::proxy::{Proxy, Service};

impl Caching {
    /// Leads the fetch that revalidates a stale entry, which it pins. `None`: somebody does so already.
    fn begin_revalidation(
        &mut self,
        entry: EntryId,
        token: LookupToken,
        now: Micros,
    ) -> Option<CacheFetch> {
        let fetches = self.store.directory().cells.fetches;
        let Collapse::Lead(ticket) = fetches.begin(self.worker, token.fetch_key, now) else {
            return None;
        };
        self.store.keep(entry);
        let stored = &self.store.entry(entry).entry;
        let has_validator = !(stored.etag.is_empty() && stored.last_modified_text.is_empty());
        let asks = if has_validator { Asks::IfChanged } else { Asks::AsIs };
        Some(CacheFetch {
            ticket: Some(ticket),
            stale: Some(entry),
            asks,
            ..CacheFetch::new(FwdReason::Stale, token)
        })
    }
}

impl Proxy {
    /// Revalidates an entry, which is pinned, behind the answer to an exchange; unless somebody does
    /// so already, or as many others are under way as may be.
    pub(super) fn revalidate_behind(&mut self, id: ExchangeId, entry: EntryId, token: LookupToken) {
        let is_ending = self.service == Service::Draining;
        if !self.downstream.has_room_in_background() || is_ending {
            return;
        }
        let begun = self.with_cache(id, |caching, _, context| {
            caching.begin_revalidation(entry, token, context.now)
        });
        let Some(fetch) = begun else { return };
        let peer = self.downstream[self.exchanges[id].client].peer;
        let nobody = Client::background(peer);
        let client = self.downstream.insert(nobody);
        let mut head = self.take_head();
        let exchange = &self.exchanges[id];
        let mut request = exchange.request;
        write_unconditional(exchange, &mut head);
        let removed = (exchange.head.len() - head.len()) as u32;
        let Span { start, end } = request.spans.id;
        request.spans.id = Span { start: start - removed, end: end - removed };
        request.spans.user_agent = Span::default();
        request.keep_alive = false;
        let mut revalidation = Exchange::new(client, Some(exchange.pool), head, request);
        revalidation.sticky_target = exchange.sticky_target;
        revalidation.naming = exchange.naming;
        revalidation.times.taken_in = self.turn.now;
        revalidation.enter_cache(CacheState::Fetching(fetch));
        let revalidation = self.push_exchange(client, revalidation);
        self.close_behind(revalidation);
        self.turn.wake(client);
    }
}

/// Writes the head of a request without the client's own conditions: the answer is to be one for all.
fn write_unconditional(exchange: &Exchange, out: &mut Buffer) {
    let head = exchange.head.as_slice();
    let fields = rewrite::written_fields(head);
    conditional::write_validation(head, &fields, b"", b"", out);
}
