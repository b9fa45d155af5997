//! What a worker knows of its pools and their backends: what all share lies in the segment, and is
//! read anew when it has changed.

use std::net::Ipv4Addr;

use crate::config::{self, AUTO_CAP, Endpoint, Statuses, Tolerances, UnixPath};
use crate::mem::queue::Queue;
use crate::mem::time::{Micros, Millis};
use crate::policy::balance::{Member, Members, PoolView, Tier};
use crate::policy::health::{Availability, Rules};
use crate::policy::identity::{EchoSupport, Telling};
use crate::policy::multiplexing::{Multiplexing, Unshared};
use crate::policy::queueing::QueuePace;
use crate::policy::retry::Budget;
use crate::policy::reuse::{IdleLimit, Keeping};
use crate::policy::sharing::{LatencyEstimate, Leave, Sharing};
use crate::policy::slow_start::{self, TrafficShare};
use crate::policy::sticky::{self, BackendTag};
use crate::shared::backends::SlotState;
use crate::shared::{BackendId, PoolId, Segment};

use super::idle::IdleStack;
use super::waiting::{PoolWaiter, Waiter};
use super::{Limits, Turn, Upstream};
use crate::proxy::attempts::Carrier;
use crate::proxy::ids::{BackendConnId, ExchangeId};

/// A set of backends with its rules.
pub struct Pool {
    /// The pool's name; empty while its place is free.
    pub name: String,
    /// How many names the place has had: a request that was taken in under another one is none of
    /// this pool's.
    pub naming: u32,
    /// How a backend is picked.
    pub balance: config::Balance,
    /// Further backends tried for one request.
    pub retries: u32,
    /// Deviations of its backends and their clients that are put up with.
    pub tolerate: Tolerances,
    /// The largest request body, 0 for any.
    pub max_body: u64,
    /// When a backend is taken out.
    pub rules: Rules,
    /// Statuses that count as failures.
    pub fail_status: Option<Statuses>,
    /// The cookie that keeps clients at their backends.
    pub sticky: Option<config::Sticky>,
    /// The protocols to which a connection may be switched.
    pub upgrades: Vec<String>,
    /// Whether requests of several clients share connections to its backends.
    pub multiplex: config::Multiplex,
    /// What balancing looks at, in the order of the slots.
    pub members: Members,
    /// The epoch at which `members` were read.
    pub epoch: u64,
    /// How long the share of a backend that came up grows.
    pub slow_start: Millis,
    /// When the share of one of `members` grows next.
    pub next_step: Option<Millis>,
    /// Exchanges of this worker that wait for a backend below its limit.
    pub queue: Queue<PoolWaiter>,
    /// Whether the cap of one of `members` finds itself.
    pub is_adaptive: bool,
    /// How fast `queue` is served; followed where caps find themselves.
    pub pace: QueuePace,
    /// Whether the first in `queue` was told of a place, and need not care for other workers that wait.
    pub has_turn: bool,
    /// Limits the retries.
    pub budget: Budget,
}

/// What a worker knows of one backend.
pub struct Backend {
    /// Which backend has the slot, and what the operator wants of it, as far as this worker knows.
    pub slot_state: SlotState,
    /// Its pool.
    pub pool: PoolId,
    /// Whether it is not to be asked, so that none of its connections is kept.
    pub is_out: bool,
    /// Whether it does not work, or the operator wants it to do nothing: what waits there goes elsewhere. Not
    /// while it is drained.
    pub has_failed: bool,
    /// Where it listens.
    pub address: Endpoint,
    /// Its address, as the log writes it.
    pub name: String,
    /// Its address and its pool, as the sticky cookie has them.
    pub tag: BackendTag,
    /// Its idle connections.
    pub idle: IdleStack,
    /// How long its idle connections are good for.
    pub idle_limit: IdleLimit,
    /// Whether it returns the request identifier.
    pub echo: EchoSupport,
    /// When the operator was last told that it answered another request.
    pub telling: Telling,
    /// How fast it answers.
    pub pace: LatencyEstimate,
    /// Whether it takes requests that stand behind each other.
    pub sharing: Sharing,
    /// While it is still being learned whether it takes requests behind each other: the last one that was put
    /// behind another.
    pub on_trial: Option<ExchangeId>,
    /// Whether it keeps its connections at all.
    pub keeping: Keeping,
    /// How its responses go together on one connection.
    pub multiplexing: Multiplexing,
    /// Connections that carry requests of several clients.
    pub multiplexed: Vec<BackendConnId>,
    /// The turn of the event loop in which somebody was last told to try its full queue again.
    pub tried_in_turn: u64,
    /// It was told of that this process may not connect to it.
    pub is_denied: bool,
}

impl Pool {
    /// A pool with the keys of `config` and no members yet, with room for all exchanges in its queue.
    pub fn new(config: &config::Pool, limits: Limits, budget: Budget) -> Pool {
        Pool {
            name: String::new(),
            naming: 0,
            balance: config.balance,
            retries: config.retries,
            tolerate: config.tolerate,
            max_body: config.max_body,
            rules: Rules { max_fails: config.max_fails, fail_timeout: config.fail_timeout },
            fail_status: config.fail_status.clone(),
            sticky: config.sticky.clone(),
            upgrades: config.upgrades.clone(),
            multiplex: config.multiplex,
            members: Members::default(),
            epoch: 0,
            slow_start: config.slow_start,
            next_step: None,
            queue: Queue::with_capacity(limits.exchanges),
            is_adaptive: false,
            pace: QueuePace::new(limits.queue.into()),
            has_turn: false,
            budget,
        }
    }
}

impl Pool {
    /// Has the exchange try again that has the next place.
    pub(super) fn wake_next_waiter(&self, turn: &mut Turn) {
        if let Some(next) = self.next_waiter(turn.now) {
            turn.wake(next.client);
        }
    }

    /// The exchange in the queue that has the next place: the first, unless the queue is too long for a backend
    /// whose limit finds itself.
    pub fn next_waiter(&self, now: Micros) -> Option<Waiter> {
        let first = self.queue.front()?;
        let is_newest =
            self.is_adaptive && self.pace.newest_first(first.since, self.queue.len(), now);
        let next = if is_newest { self.queue.back() } else { Some(first) };
        next.map(|next| next.waiter)
    }
}

impl Backend {
    /// A backend in a slot that no backend has.
    pub fn unknown(backend_idle: Millis) -> Backend {
        Backend {
            slot_state: SlotState::default(),
            pool: PoolId(0),
            is_out: false,
            has_failed: false,
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            name: String::new(),
            tag: BackendTag::default(),
            idle: IdleStack::default(),
            idle_limit: IdleLimit::new(backend_idle),
            echo: EchoSupport::default(),
            telling: Telling::default(),
            pace: LatencyEstimate::default(),
            sharing: Sharing::default(),
            on_trial: None,
            keeping: Keeping::new(backend_idle),
            multiplexing: Multiplexing::default(),
            multiplexed: Vec::new(),
            tried_in_turn: 0,
            is_denied: false,
        }
    }
}

impl Backend {
    /// What it is called in `Host` where the client named nothing.
    pub fn host(&self) -> &str {
        match self.address {
            Endpoint::Tcp(_) => &self.name,
            Endpoint::Unix(_) => UnixPath::HOST,
        }
    }

    /// Whether a connection that became idle is kept.
    pub fn keeps(&self, now: Millis) -> bool {
        !self.is_out && self.keeping.may_keep(now) && self.idle_limit.limit() > Millis(0)
    }

    /// Notes that a request was answered which had come over a connection of this kind.
    pub fn answered(&mut self, carrier: Carrier, now: Millis) {
        if carrier.is_reused() {
            self.keeping.used_again();
        }
        if carrier == Carrier::Shared {
            self.sharing.answered(now);
        }
    }

    /// How many requests may share one of its connections now. One that carries a single request
    /// carries no two.
    pub fn leave_to_share(&self, now: Millis) -> Leave {
        match self.keeping.may_keep(now) {
            true => self.sharing.leave(&self.pace, now),
            false => Leave::None,
        }
    }
}

impl Backend {
    /// How many requests of whichever clients may stand on one of its connections now.
    pub fn multiplex_limit(&self, now: Millis) -> Result<usize, Unshared> {
        let leave = self.leave_to_share(now);
        self.multiplexing.limit(self.echo.echoes(), leave, &self.pace, now)
    }
}

#[cfg(test)]
impl Backend {
    /// Makes a backend one that has shown that it answers fast, and takes requests that stand behind each
    /// other.
    pub fn be_trusted(&mut self) {
        (0..12).for_each(|_| self.pace.observe(Micros(100), true));
        (0..10).for_each(|_| self.sharing.answered(Millis(0)));
    }
}

/// A pool's cells, as balancing looks at them.
pub(super) struct SharedPoolView<'a> {
    pub segment: &'a Segment,
    pub pool: PoolId,
}

impl PoolView for SharedPoolView<'_> {
    fn rotation(&self, tier: Tier) -> u64 {
        self.segment.pool(self.pool).rotation(tier)
    }

    fn load(&self, id: u32) -> u32 {
        self.segment.backend(BackendId::of_id(id)).load()
    }

    fn found_cap(&self, id: u32) -> u32 {
        self.segment.backend(BackendId::of_id(id)).found_cap().cap
    }
}

impl Upstream {
    /// Reads a pool's members anew if they have changed since, or one's share has grown: before a
    /// pick, and at each tick.
    pub fn refresh(&mut self, id: PoolId, turn: &mut Turn) {
        // Before the members: what changes meanwhile changes it once more.
        let epoch = self.segment.pool(id).epoch();
        let pool = &self[id];
        let grows = pool.next_step.is_some_and(|time| time <= turn.now.millis());
        if epoch != pool.epoch || grows {
            self.read_members(id, epoch, turn);
        }
    }

    /// Whether a pool's members have changed since they were read.
    pub fn is_stale(&self, id: PoolId) -> bool {
        self[id].epoch != self.segment.pool(id).epoch()
    }

    /// Makes the names of pools known that were added since, and forgets those that are free again.
    pub fn refresh_names(&mut self, turn: &mut Turn) {
        let namings = self.segment.namings();
        if namings != self.known_namings {
            self.known_namings = namings;
            self.refresh_all(turn);
        }
    }

    /// Reads the members of all pools that have changed.
    pub fn refresh_all(&mut self, turn: &mut Turn) {
        (0..self.pools.len()).for_each(|pool| self.refresh(PoolId(pool), turn));
    }

    #[cold]
    pub(super) fn read_members(&mut self, id: PoolId, epoch: u64, turn: &mut Turn) {
        let segment = self.segment;
        let pool = &mut self[id];
        pool.epoch = epoch;
        let name = segment.pool(id).name();
        if pool.name != name.as_str() {
            pool.name = name.to_string();
            pool.naming += 1;
        }
        let (slow_start, now) = (pool.slow_start, turn.now.millis());
        let mut next_step: Option<Millis> = None;
        let mut shares = Vec::new();
        let mut members = std::mem::take(&mut self.scratch);
        members.clear();
        for slot in segment.in_order(id) {
            self.read_backend(id, slot, turn);
            let cells = segment.backend(slot);
            let growth = cells.growth(now, slow_start);
            shares.push(growth.map_or(TrafficShare::WHOLE, |growth| TrafficShare {
                parts: growth.parts(),
                is_on_trial: growth.waits,
            }));
            let step = growth.and_then(|growth| Some(now + growth.next_in()?));
            next_step = next_step.into_iter().chain(step).min();
            members.push(Member {
                id: slot.id(),
                weight: cells.weight(),
                backup: cells.is_backup(),
                cap: cells.max_connections(),
                up: cells.is_up(),
            });
        }
        slow_start::apply(&mut members, &shares);
        let pool = &mut self[id];
        pool.next_step = next_step;
        pool.is_adaptive = members.iter().any(|member| member.cap == AUTO_CAP);
        pool.members.refresh(&members);
        self.scratch = members;
    }

    /// Notes how a backend stands now. Nobody is to be asked over the idle connections of one that
    /// is out; what was learned of one that was out, or of another one in this slot, is void.
    fn read_backend(&mut self, pool: PoolId, slot: BackendId, turn: &mut Turn) {
        let cells = self.segment.backend(slot);
        let slot_state = cells.standing();
        let availability = cells.availability();
        let is_out = !sticky::may_keep(availability, slot_state.admin());
        let has_failed = matches!(availability, Availability::Down | Availability::Maint);
        if has_failed && !self[slot].has_failed {
            self.failed.push(slot);
        }
        let backend = &mut self.backends[slot.0];
        let is_other = backend.slot_state.generation() != slot_state.generation();
        let came_back = backend.is_out && !is_out;
        backend.slot_state = slot_state;
        backend.pool = pool;
        backend.is_out = is_out;
        backend.has_failed = has_failed;
        if is_other {
            backend.address = cells.address();
            backend.name = backend.address.to_string();
            backend.tag = self.sticky_key.tag(&self.pools[pool.0].name, backend.address);
            backend.echo = EchoSupport::default();
            backend.pace = LatencyEstimate::default();
            backend.sharing = Sharing::default();
            backend.multiplexing = Multiplexing::default();
            backend.is_denied = false;
        }
        if came_back || is_other {
            backend.idle_limit.forget();
            backend.keeping.forget();
        }
        if is_out || is_other {
            self.close_all_idle(slot, turn);
        }
    }

    /// Whether all backends of a pool that are up share their connections, or learn to, so that
    /// requests are best taken in together.
    pub fn shares(&self, pool: PoolId, now: Millis) -> bool {
        let up = self[pool].members.list().iter().filter(|member| member.up);
        up.map(|member| &self[BackendId::of_id(member.id)])
            .all(|backend| backend.leave_to_share(now) != Leave::None)
    }

    /// The pool of this name.
    pub fn find_pool(&self, name: &[u8]) -> Option<PoolId> {
        // Those that nobody has named yet have no name.
        let is_it = |pool: &Pool| !name.is_empty() && pool.name.as_bytes() == name;
        self.pools.iter().position(is_it).map(PoolId)
    }

    /// The tag with these digits, if it is that of a member of `pool`.
    pub fn find_tag(&self, pool: &Pool, digits: &[u8]) -> Option<BackendTag> {
        let mut tags =
            pool.members.list().iter().map(|member| self[BackendId::of_id(member.id)].tag);
        tags.find(|tag| tag.digits() == digits)
    }
}
