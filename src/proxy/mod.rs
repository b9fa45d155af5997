//! The data plane: moves requests to backends and responses back.
//!
//! The unit of work is the client. Whatever happens (bytes, room, a backend, a timeout) ends in
//! `wake(client)`; `drive(client)` then makes all the progress that is possible, and may be called
//! at any time without harm. The steps of an exchange are methods of [`Proxy`], a file a step.

pub mod access_log;
pub mod attempts;
pub mod buffers;
pub mod caching;
mod chunked_relay;
mod diary;
pub mod dispatch;
mod doubt;
pub mod doubted;
pub mod downstream;
mod evacuate;
pub mod exchange;
pub mod fail;
mod held;
mod housekeeping;
pub mod ids;
mod multiplex;
mod rate_limited_log;
pub mod receive;
pub mod relay;
mod remarkable;
pub mod request_ids;
pub mod respond;
pub mod send;
mod service;
pub mod settings;
mod share;
pub mod state;
mod stats;
pub mod step;
mod teardown;
pub mod timeouts;
pub mod timer;
mod tolerance;
pub mod tunnel;
pub mod turn;
pub mod upstream;

#[cfg(test)]
mod tests;

use crate::cache::store::Store;
use crate::config::{Config, Tolerance};
use crate::http::date::LastDate;
use crate::mem::free_list::FreeList;
use crate::mem::slab::reusing::ReusingSlab;
use crate::mem::time::Micros;
use crate::mem::timers::Timers;
use crate::net::Conn;
use crate::policy::sticky::Key;
use crate::shared::diary::Diary;
use crate::shared::wakers::Wakers;
use crate::shared::{Segment, WorkerCells};
use crate::sys::{Event, IoError, Poller, memory};

use access_log::AccessLogWriter;
use buffers::{Pipes, RelayBuffers};
use caching::Caching;
use diary::DiaryWriter;
use downstream::client::{Client, Watch};
use downstream::{ClientLimits, Downstream};
use exchange::{Exchange, State};
pub use ids::Token;
use ids::{BackendConnId, ClientId, ExchangeId, ExchangeTag};
use rate_limited_log::RateLimitedLog;
use request_ids::RequestIds;
pub use service::Service;
use settings::Settings;
use step::Progress;
use turn::Turn;
use upstream::Upstream;
use upstream::connection::Owner;

/// A client is left to the others after this many rounds without a pause.
const ROUNDS: usize = 16;
/// An exchange takes so many steps in a round, from the head of its response to its end.
const STEPS: usize = 3;

/// All that one process proxies.
pub struct Proxy {
    settings: Settings,
    /// What all workers share.
    segment: Segment,
    /// This worker's number.
    worker: usize,
    /// This worker's row of cells.
    row: WorkerCells,
    /// The backends' side.
    upstream: Upstream,
    /// The clients' side.
    downstream: Downstream,
    exchanges: ReusingSlab<Exchange, ExchangeTag>,
    buffers: RelayBuffers,
    heads: FreeList,
    timers: Timers,
    poller: Poller,
    turn: Turn,
    ids: RequestIds,
    last_date: LastDate,
    log: AccessLogWriter,
    diary: DiaryWriter,
    /// Lines dropped from `log` that are counted already.
    dropped_lines: u64,
    /// Messages about connections that began without the PROXY header that they were to begin with.
    bad_preambles: RateLimitedLog,
    /// Messages about requests that a tolerance would have helped, by tolerance.
    hints: [RateLimitedLog; Tolerance::ALL.len()],
    service: Service,
}

impl Proxy {
    /// Reserves all memory and opens epoll. Fails where the kernel has not enough of either.
    ///
    /// `segment` is where `config` was loaded. `worker` is this process's number, `wakers` has one waker
    /// for each worker. `sticky_key` signs sticky cookies and is the same in all workers. With `store`,
    /// made for the same worker number, responses are stored and answered from there.
    pub fn new(
        config: &Config,
        sticky_key: Key,
        segment: Segment,
        worker: usize,
        wakers: Wakers,
        log: AccessLogWriter,
        store: Option<Store>,
    ) -> Result<Proxy, IoError> {
        let settings = Settings::new(config, segment.layout().workers, sticky_key);
        Proxy::with_settings(config, settings, segment, worker, wakers, log, store)
    }

    /// As [`Proxy::new`], with `settings` in place of those that follow from `config`.
    fn with_settings(
        config: &Config,
        settings: Settings,
        segment: Segment,
        worker: usize,
        wakers: Wakers,
        log: AccessLogWriter,
        store: Option<Store>,
    ) -> Result<Proxy, IoError> {
        let exchanges = settings.exchanges();
        let rings = settings.connections() * 2 * settings.ring_size;
        let arena = memory::reserve(rings + exchanges * settings.head_size())?;
        let (rings, heads) = arena.split_at_mut(rings);
        let buffers = RelayBuffers {
            rings: FreeList::new(rings, settings.ring_size),
            ring_size: settings.ring_size,
            pipes: Pipes::new(segment.layout().workers),
            splice_min: settings.splice_min,
            spliced: 0,
            splice_fallbacks: 0,
            caching: store.map(|store| Caching::new(store, worker, exchanges)),
        };
        let timers = Timers::new(&settings.durations(), 2 * exchanges);
        let poller = Poller::new()?;
        poller.watch_waker(&wakers.wakers[worker], Token::Waker.pack())?;
        let conns = settings.backend_conns + settings.background;
        let limits = upstream::Limits { conns, exchanges, queue: config.timeouts.queue };
        let client_limits = ClientLimits {
            clients: settings.clients,
            background: settings.background,
            exchanges,
            pipeline: settings.pipeline,
        };
        let clients = settings.clients + settings.background;
        let mut proxy = Proxy {
            upstream: Upstream::new(config, limits, settings.sticky_key, segment, worker, wakers),
            row: segment.worker(worker),
            segment,
            worker,
            downstream: Downstream::new(client_limits, segment, worker),
            exchanges: ReusingSlab::with_capacity(exchanges),
            buffers,
            heads: FreeList::new(heads, settings.head_size()),
            timers,
            poller,
            turn: Turn::new(crate::sys::clock::now(), clients),
            ids: RequestIds::new(),
            last_date: LastDate::default(),
            log,
            diary: DiaryWriter::new(Diary::default()),
            dropped_lines: 0,
            bad_preambles: RateLimitedLog::default(),
            hints: Default::default(),
            service: Service::Running,
            settings,
        };
        proxy.upstream.refresh_names(&mut proxy.turn);
        Ok(proxy)
    }

    /// The poller, for the worker's own descriptors.
    pub fn poller(&mut self) -> &mut Poller {
        &mut self.poller
    }

    /// What all workers share.
    pub fn segment(&self) -> Segment {
        self.segment
    }

    /// Begins a turn of the event loop, at this time.
    pub fn begin_turn(&mut self, now: Micros) {
        self.turn.begin(now);
    }

    /// Notes the time at which a turn ended.
    pub fn end_turn(&mut self, now: Micros) {
        self.turn.end(now);
    }

    /// The time of this turn.
    pub fn now(&self) -> Micros {
        self.turn.now
    }

    /// Whether there is something to do without an event.
    pub fn is_ready(&self) -> bool {
        self.turn.ready() > 0
            || self.upstream.has_failed_backends()
            || self.buffers.caching.as_ref().is_some_and(Caching::has_work)
    }

    /// Notes an event on a client's connection.
    pub fn client_event(&mut self, id: ClientId, event: Event) {
        let Some(client) = self.downstream.get_mut(id) else { return };
        client.mark(event);
        self.turn.wake(id);
    }

    /// Notes an event on a backend connection: wakes the client that has it, or closes one that
    /// nobody has and that has something to say.
    pub fn backend_event(&mut self, id: BackendConnId, event: Event) {
        if !self.upstream.conns().contains(id) {
            return;
        }
        let Proxy { upstream, downstream, buffers, turn, .. } = self;
        let backend = &mut upstream[id];
        backend.conn.mark(event);
        match backend.owner {
            Owner::Client(client) => turn.wake(client),
            Owner::Idle { .. } if backend.conn.readable => {
                upstream.idle_conn_spoke(id, event, turn)
            }
            Owner::Bound(client, _) if backend.conn.readable => {
                upstream.close_bound(&mut downstream[client].bound, id, &mut buffers.rings, turn);
            }
            Owner::Multiplexed => {
                if backend.conn.writable && !backend.conn.output.is_empty() {
                    upstream.flush_later(id);
                }
                self.wake_front(id);
            }
            Owner::Idle { .. } | Owner::Bound(..) | Owner::Held(_) => (),
        }
    }

    /// Called when another process says that something became free which this one waits for, or that a backend
    /// went down.
    pub fn woken(&mut self) {
        // Before the look, so that no waking is lost.
        self.upstream.clear_waker();
        self.upstream.refresh_all(&mut self.turn);
        self.upstream.give_turns(&mut self.turn);
        self.wake_fetch_waiters();
        self.make_room_elsewhere();
    }

    /// Drives each client that is ready now once.
    pub fn drive_ready(&mut self) {
        self.evacuate();
        self.turn.begin_driving();
        while let Some(id) = self.turn.next_ready() {
            if self.downstream.clients().contains(id) {
                self.drive(id);
            }
        }
        self.flush_multiplexed();
        if let Some(caching) = self.buffers.caching.as_mut().filter(|caching| caching.has_work()) {
            caching.work(self.turn.now);
        }
    }

    /// Makes all the progress that is possible for a client.
    fn drive(&mut self, id: ClientId) {
        if self.downstream[id].is_broken() {
            return self.abandon(id);
        }
        for _ in 0..ROUNDS {
            let mut moved = self.read_requests(id);
            moved = moved.or(self.step_all(id));
            moved = moved.or(self.flush_all(id));
            let client = &self.downstream[id];
            if client.is_broken() {
                return self.abandon(id);
            }
            if moved == Progress::None || self.is_at_rest(client) {
                return self.settle(id);
            }
        }
        self.turn.wake(id);
        self.settle(id);
    }

    /// Whether another round would do nothing, as after most requests and most responses: there is
    /// nothing to read from the client or to send to it, and its one exchange, if it has any, has been
    /// sent and waits for a response of which nothing has come. Where this says no, the round says it.
    fn is_at_rest(&self, client: &Client) -> bool {
        if !client.conn().is_some_and(Conn::is_quiet) {
            return false;
        }
        let Some(first) = client.first else { return true };
        let exchange = &self.exchanges[first];
        client.last == Some(first)
            && exchange.state() == State::Awaiting
            && exchange.upload.is_done()
            && self.upstream[self.backend_conn(first)].conn.is_quiet()
    }

    /// Steps each exchange of a client, in their order. One that is done leaves at once, so that
    /// the next may commit: answers that came together are sent together.
    fn step_all(&mut self, id: ClientId) -> Progress {
        let mut moved = Progress::None;
        let mut next = self.downstream[id].first;
        while let Some(exchange) = next {
            for _ in 0..STEPS {
                let before = self.exchanges[exchange].state();
                if before == State::Done || self.step(exchange, before) == Progress::None {
                    break;
                }
                moved = Progress::Made;
                if before == State::Waiting && self.waits_to_be_flushed(exchange) {
                    break;
                }
            }
            next = self.downstream.behind(exchange);
            if self.exchanges[exchange].state() == State::Done
                && self.downstream.is_first(id, exchange)
            {
                self.finish(id, exchange);
                if self.downstream[id].first.is_none() {
                    break; // Also where an answer that closes has taken the others along.
                }
            }
        }
        moved
    }

    /// Whether an exchange that was dispatched just now has all it has to send in an output ring: the next
    /// step would do nothing before that has left.
    fn waits_to_be_flushed(&self, id: ExchangeId) -> bool {
        let exchange = &self.exchanges[id];
        exchange.state() == State::Sending && exchange.upload.is_done()
    }

    /// One step of one exchange, whatever its state, which the caller has at hand.
    fn step(&mut self, id: ExchangeId, state: State) -> Progress {
        let outcome = match state {
            State::Waiting => self.dispatch(id),
            State::Connecting => self.connecting(id),
            State::Sending => self.sending(id),
            State::Awaiting => self.awaiting(id),
            State::Answered => self.answered(id),
            State::Responding => self.responding(id),
            State::Uploading => Ok(self.uploading(id)),
            State::Tunneling => self.tunneling(id),
            State::Done => Ok(Progress::None),
        };
        match outcome {
            Ok(Progress::Made) => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    exchange.progress = true;
                }
                Progress::Made
            }
            Ok(Progress::None) => Progress::None,
            Err(failure) => {
                self.fail(id, failure);
                Progress::Made
            }
        }
    }

    /// Sends what the step has put into the output rings, the backends' and the client's.
    fn flush_all(&mut self, id: ClientId) -> Progress {
        let mut moved = Progress::None;
        let mut next = self.downstream[id].first;
        while let Some(exchange) = next {
            next = self.downstream.behind(exchange);
            moved = moved.or(self.flush_backend(exchange));
        }
        let client = &mut self.downstream[id];
        match client.flush(&mut self.buffers.rings) {
            Ok(0) => moved,
            Ok(_) => {
                if let Some(first) = client.first {
                    self.exchanges[first].progress = true;
                }
                Progress::Made
            }
            Err(_) => {
                client.break_off();
                Progress::Made
            }
        }
    }

    /// Whether the exchange is the one whose turn it is.
    fn is_first(&self, id: ExchangeId) -> bool {
        self.downstream.is_first(self.exchanges[id].client, id)
    }

    /// What a client that can go no further now leaves behind: rings returned, a timer set, events
    /// asked for, or the connection closed.
    fn settle(&mut self, id: ClientId) {
        let client = &mut self.downstream[id];
        client.release_idle_buffers(&mut self.buffers.rings);
        let traffic = client.take_traffic();
        self.count_traffic(traffic);
        if self.close_if_over(id) {
            return;
        }
        // In this order: one that is watched now needs no timer that would have it watched.
        self.watch(id);
        self.arm(id);
    }

    /// Asks for events, unless the connection will be closed as soon as its answer is there.
    fn watch(&mut self, id: ClientId) {
        let client = &self.downstream[id];
        if client.watch == Watch::Watched {
            return;
        }
        let answer_closes = client.first.is_some_and(|first| {
            let exchange = &self.exchanges[first];
            exchange.closing.closes()
                && exchange.upload.is_done()
                && self.downstream.behind(first).is_none()
        });
        if !(answer_closes && client.takes_all_at_once()) {
            self.watch_now(id);
        }
    }

    /// Asks for a client's events. Without them it cannot be served.
    fn watch_now(&mut self, id: ClientId) {
        let token = Token::Client(id).pack();
        if self.downstream[id].ask_for_events(&self.poller, token).is_err() {
            self.break_off(id);
        }
    }
}
