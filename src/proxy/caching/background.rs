//! A stale answer was given: the entry is asked for anew behind it (RFC 5861 §3), by an exchange
//! whose client is nobody.
//!
//! That client has a slot and a socket that leads nowhere; what is written to it is thrown away. So
//! its exchange goes the way of all others, and what it fetches is recorded. It ends as soon as it is
//! clear that nothing of it will be stored.

use crate::cache::collapse::{Collapse, Ending};
use crate::cache::open_entries::EntryId;
use crate::cache::store::LookupToken;
use crate::http::cache_status::Forward;
use crate::http::rewrite;
use crate::mem::buffer::{Buffer, Span};
use crate::net::Conn;
use crate::policy::conditional;
use crate::sys::Socket;

use super::state::{CacheFetch, CacheState};
use crate::proxy::client::{Client, ClientPhase, Watch};
use crate::proxy::exchange::{Exchange, ExchangeId};
use crate::proxy::proxy_protocol::Arrival;
use crate::proxy::{Proxy, Service};

impl Proxy {
    /// Asks for an entry anew, which is pinned, behind the answer to an exchange; unless somebody does
    /// so already, there is no room for it now, or as many others are under way as may be.
    pub(in crate::proxy) fn refresh_behind(
        &mut self,
        id: ExchangeId,
        entry: EntryId,
        token: LookupToken,
    ) {
        let Some(cache) = &self.tools.cache else { return };
        let is_ending = self.service == Service::Draining;
        if self.refreshes >= self.settings.refreshes || is_ending {
            return;
        }
        let fetches = cache.store.directory().cells.fetches;
        let Collapse::Lead(ticket) = fetches.begin(self.worker, token.fetch_key, self.now) else {
            return;
        };
        let fetch = CacheFetch { ticket: Some(ticket), ..CacheFetch::new(Forward::Stale, token) };
        if self.begin_refresh(id, entry, fetch).is_none() {
            self.end(ticket, Ending::Abandoned);
        }
    }

    fn begin_refresh(&mut self, id: ExchangeId, entry: EntryId, fetch: CacheFetch) -> Option<()> {
        if self.exchanges.len() >= self.settings.exchanges() || !self.claim_room() {
            return None;
        }
        let Ok(socket) = Socket::unconnected() else {
            self.give_room_back();
            return None;
        };
        let peer = self.clients[self.exchanges[id].client].peer;
        let mut client = Client::new(Conn::new(socket, false, false), peer, Arrival::plain(0));
        client.is_nobody = true;
        client.phase = ClientPhase::Closing;
        client.watch = Watch::Watched; // There will be no events.
        let client = self.clients.insert(client).expect("room was claimed for it");
        self.refreshes += 1;
        let mut head = self.lend_head();
        let exchange = &self.exchanges[id];
        let mut request = exchange.request;
        write_unconditional(exchange, &mut head);
        let removed = (exchange.head.len() - head.len()) as u32;
        let Span { start, end } = request.spans.id;
        request.spans.id = Span { start: start - removed, end: end - removed };
        request.spans.user_agent = Span::default();
        request.keep_alive = false;
        let (pool, bond, naming) = (exchange.pool, exchange.bond, exchange.naming);
        let cache = self.tools.cache.as_mut()?;
        cache.store.keep(entry);
        let has_validator = {
            let open_entry = &cache.store.entry(entry).entry;
            !(open_entry.etag.is_empty() && open_entry.last_modified_text.is_empty())
        };
        let mut refresh = Exchange::new(client, Some(pool), head, request);
        refresh.bond = bond;
        refresh.naming = naming;
        refresh.closes = true;
        refresh.times.taken_in = self.now;
        refresh.caching = CacheState::Fetching(CacheFetch {
            stale: Some(entry),
            validates: has_validator,
            ..fetch
        });
        self.join_queue(client, refresh);
        self.wake(client);
        Some(())
    }
}

/// Writes the head of a request without the client's own conditions: the answer is to be one for all.
fn write_unconditional(exchange: &Exchange, out: &mut Buffer) {
    let head = exchange.head.as_slice();
    let fields = rewrite::written_fields(head);
    conditional::write_validation(head, &fields, b"", b"", out);
}
