//! The limits of one process, as the configuration gives them, and the memory they come to.

use std::net::IpAddr;

use crate::cache::open_entries::PIECE;
use crate::cache::{process_slots, store};
use crate::config::{
    Cache, Config, ErrorPageFile, ForwardFields, MAX_HEAD_LIMIT, RequestId, Tolerance,
    TrustedProxy, address,
};
use crate::http::error_page::ErrorPage;
use crate::mem::time::{Micros, Millis};
use crate::net::own;
use crate::policy::route::Routing;
use crate::policy::sticky::{KEY_LEN, Key};
use crate::policy::{multiplexing, sharing};
use crate::shared::Layout;
use crate::shared::diary::Diary;
use crate::shared::history::History;
use crate::sys::KeepAlive;

use super::caching::state::COLLAPSED;
use super::downstream::client::Client;
use super::exchange::Exchange;
use super::timer::Timer;
use super::upstream::connection::BackendConn;

/// Splicing pays from this many bytes on; below, two copies cost less than two more calls.
const SPLICE_MIN: u64 = 32 * 1024;
/// Bytes that rewriting may add to a head.
pub const REWRITE_ROOM: usize = 1024;
/// Bytes of the buffer for a rewritten head, whatever is configured.
pub const MAX_HEAD_SIZE: usize = MAX_HEAD_LIMIT + REWRITE_ROOM;
/// How long a closed connection waits for the client's end, so that the last answer arrives.
const LINGER: Millis = Millis(2_000);
/// An idle client has this time yet while the service ends.
const BRIEF: Millis = Millis(1_000);
/// A client that is not watched, because its answer will close it, is watched after this time.
const UNWATCHED: Millis = Millis(100);

/// How often a connection whose response is doubted is looked at, though nothing comes.
const DOUBT: Millis = Millis(100);

/// Stale entries that are revalidated in the background at once, over all workers: backends are not to
/// be kept busy for the sake of those whom nobody waits for.
pub const BACKGROUND: usize = 64;
/// At most one background revalidation for so many client connections; but each worker may have one.
const BACKGROUND_SHARE: usize = 16;

/// The limits of one process.
pub struct Settings {
    /// Client connections.
    pub clients: usize,
    /// Connections to backends.
    pub backend_conns: usize,
    /// Exchanges beyond the one that each client is sure of: this process's part of them.
    pub spare_exchanges: usize,
    /// Stale entries that are revalidated in the background at once: this process's part of them.
    pub background: usize,
    /// Processes that share the service's clients.
    workers: usize,
    /// Requests of one client in work at once.
    pub pipeline: usize,
    /// Requests of one client connection, the last of which closes it; 0 is no limit.
    pub client_requests: u64,
    /// Bytes in a ring.
    pub ring_size: usize,
    /// Bytes in a head.
    pub head_limit: usize,
    /// Fields in a request's head.
    pub max_fields: usize,
    /// Bytes that stay free of a ring as long as a backend's head is received: for CRs, where a pool
    /// tolerates lines without.
    pub head_spare: usize,
    /// Bodies, or stretches of them, of so many bytes are spliced.
    pub splice_min: u64,
    /// How far response identity goes.
    pub request_id: RequestId,
    /// Which fields tell a backend of the client.
    pub forward: ForwardFields,
    /// Whether a backend is this service itself, so that requests count how often they pass.
    pub counts_passes: bool,
    /// The name that `Via` is given.
    pub via: Option<String>,
    /// What the sticky cookies are made with.
    pub sticky_key: Key,
    /// How requests find their pools.
    pub routing: Routing,
    /// Bodies of errors of our own.
    error_pages: Vec<ErrorPage>,
    /// Bytes that all processes keep of stored answers.
    cache: usize,
    /// Bytes of what was counted of late.
    history: usize,
    /// Whether the pool of a request may depend on more than its URL.
    pub pool_by_fields: bool,
    timeouts: crate::config::Timeouts,
    trusted_proxies: Vec<TrustedProxy>,
}

impl Settings {
    /// The limits that `config` gives one of so many workers, with this key for the sticky cookies.
    /// Each of them may have all the clients there are, but no two the same, so what belongs to a
    /// client is bounded over all of them. What does not is divided.
    pub fn new(config: &Config, workers: usize, sticky_key: Key) -> Settings {
        let clients = config.max_connections;
        let spare = spare_exchanges(clients, workers);
        Settings {
            clients,
            backend_conns: clients,
            spare_exchanges: if config.pipeline > 1 { spare / workers } else { 0 },
            background: config.cache.as_ref().map_or(0, |_| background(clients, workers)),
            workers,
            pipeline: config.pipeline,
            client_requests: config.client_requests as u64,
            ring_size: config.buffer_size,
            head_limit: config.head_limit(),
            max_fields: config.max_fields,
            head_spare: head_spare(config),
            splice_min: SPLICE_MIN,
            request_id: config.request_id,
            forward: config.forward,
            counts_passes: !own::warnings(config).is_empty(),
            via: config.via.clone(),
            sticky_key,
            routing: Routing::new(config),
            error_pages: error_pages(config),
            cache: config.cache.as_ref().map_or(0, |cache| cache_memory(cache, workers)),
            history: history_memory(config, workers),
            pool_by_fields: Routing::new(config).looks_at_fields(),
            timeouts: config.timeouts,
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// The body of errors of this status, if the operator wrote one.
    pub fn error_page(&self, status: u16) -> Option<&ErrorPage> {
        self.error_pages.iter().find(|page| page.status() == status)
    }

    /// Whether what a client says of those before it is believed.
    pub fn is_trusted(&self, client: Option<IpAddr>) -> bool {
        address::is_trusted(&self.trusted_proxies, client)
    }

    /// Fields in a response's head: servers send more than browsers.
    pub fn max_response_fields(&self) -> usize {
        10 * self.max_fields
    }

    /// Exchanges that there can be.
    pub fn exchanges(&self) -> usize {
        self.clients + self.spare_exchanges + self.background
    }

    /// Connections that there can be, of both kinds; an exchange in the background has none to a client.
    pub fn connections(&self) -> usize {
        self.clients + self.backend_conns + self.background
    }

    /// Bytes of the buffer for a rewritten head.
    pub fn head_size(&self) -> usize {
        self.head_limit + REWRITE_ROOM
    }

    /// How long a connection is silent before the kernel looks for its peer.
    pub fn keepalive(&self) -> Option<KeepAlive> {
        KeepAlive::after(self.timeouts.keepalive)
    }

    /// The age from which on a client's connection closes with its next answer, if there is one.
    pub fn client_age(&self) -> Option<Micros> {
        let age = self.timeouts.client_age;
        (age > Millis(0)).then(|| Micros::from(age))
    }

    /// The durations of the timers, each at its number.
    pub fn durations(&self) -> [Millis; Timer::ALL.len()] {
        Timer::ALL.map(|timer| self.duration(timer))
    }

    fn duration(&self, timer: Timer) -> Millis {
        let timeouts = &self.timeouts;
        match timer {
            Timer::Header => timeouts.header,
            Timer::Idle => timeouts.idle,
            Timer::Flush | Timer::Client => timeouts.client,
            Timer::Linger => LINGER,
            Timer::Unwatched => UNWATCHED,
            Timer::Queue => timeouts.queue,
            Timer::Connect => timeouts.connect,
            Timer::Response => timeouts.response,
            Timer::Tunnel => timeouts.tunnel,
            Timer::Collapsed => COLLAPSED,
            Timer::Fin => timeouts.fin,
            Timer::Brief => BRIEF,
            Timer::Doubt => DOUBT,
            Timer::Behind => sharing::LEAST_PATIENCE,
            Timer::HoldsUp => multiplexing::LEAST_PATIENCE,
        }
    }

    /// Bytes of memory that are never exceeded: connections, their buffers and what is kept of
    /// them, each at its limit.
    pub fn memory_bound(&self) -> usize {
        self.clients * self.bytes_per_client() + self.base()
    }

    /// Code, tables, log buffers and stored answers at hand: what all processes need without any
    /// connection.
    pub fn base(&self) -> usize {
        let background = self.workers * self.background * self.bytes_per_background();
        let pages: usize = self.error_pages.iter().map(ErrorPage::memory).sum();
        // Each process has the files as they were read, and a worker the pages besides.
        let pages = pages * (2 * self.workers + OTHER_PROCESSES);
        BASE * (self.workers + OTHER_PROCESSES) + self.cache + self.history + background + pages
    }

    /// Bytes of one exchange in the background: its connection, and its head.
    fn bytes_per_background(&self) -> usize {
        let slots = size_of::<Exchange>() + size_of::<Client>() + size_of::<BackendConn>();
        2 * self.ring_size + self.head_size() + slots
    }

    /// The share of one client connection: its own two rings and its head, a backend connection
    /// with two rings, and its part of the heads that pipelining may use.
    pub fn bytes_per_client(&self) -> usize {
        let rings = (self.clients + self.backend_conns) * 2 * self.ring_size;
        let exchanges = self.clients + self.workers * self.spare_exchanges;
        let heads = exchanges * (self.head_size() + size_of::<Exchange>());
        let slots =
            self.clients * size_of::<Client>() + self.backend_conns * size_of::<BackendConn>();
        (rings + heads + slots).div_ceil(self.clients)
    }
}

/// Stale entries that one of so many workers revalidates at once.
fn background(clients: usize, workers: usize) -> usize {
    (BACKGROUND.min(clients / BACKGROUND_SHARE) / workers).max(1)
}

fn error_pages(config: &Config) -> Vec<ErrorPage> {
    let page = |file: &ErrorPageFile| ErrorPage::new(file.status, file.html.clone());
    config.error_pages.iter().map(page).collect()
}

/// Code, tables and log buffers: what a process needs without any connection.
const BASE: usize = 2 << 20;
/// The master and the control process.
const OTHER_PROCESSES: usize = 2;

/// A head and that fit a ring.
fn head_spare(config: &Config) -> usize {
    let tolerates = config.pools.iter().any(|pool| pool.tolerate.has(Tolerance::BareLf));
    if tolerates { REWRITE_ROOM } else { 0 }
}

/// Bytes of stored answers at hand in each worker and in the control process, and of the cells that
/// they share.
fn cache_memory(cache: &Cache, workers: usize) -> usize {
    (workers + 1) * store::PIECES * PIECE + process_slots::sizes(cache, workers).bytes()
}

/// Bytes of what is kept of the service, its pools and backends, those too that may be added, and of the
/// diary.
fn history_memory(config: &Config, workers: usize) -> usize {
    let layout = Layout::new(config, workers);
    History::bytes(layout.pools, layout.backends) + Diary::BYTES
}

/// Exchanges beyond the one that each of so many clients is sure of, over all workers.
pub fn spare_exchanges(clients: usize, workers: usize) -> usize {
    (clients / 4).max(64).max(workers)
}

/// The settings of one of so many workers, with no key, for callers that only want to know what they come to.
pub fn without_key(config: &Config, workers: usize) -> Settings {
    Settings::new(config, workers, Key::new([0; KEY_LEN]))
}

/// The line that start and `-t` print.
pub fn memory_bound_line(config: &Config, workers: usize) -> String {
    let settings = without_key(config, workers);
    format!(
        "memory bound {} MiB = {} connections x {} KiB + {} MiB; idle connections give theirs back",
        settings.memory_bound().div_ceil(1 << 20),
        settings.clients,
        settings.bytes_per_client().div_ceil(1 << 10),
        settings.base() >> 20,
    )
}
