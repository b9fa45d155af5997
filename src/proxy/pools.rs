//! What a worker knows of its pools and their backends.

use std::net::SocketAddr;

use crate::config;
use crate::mem::queue::Queue;
use crate::mem::time::{Micros, Millis};
use crate::policy::balance::Member;
use crate::policy::health::{Passive, Rules};
use crate::policy::identity::Echo;
use crate::policy::retry::Budget;
use crate::policy::reuse::IdleLimit;

use super::backend::IdleStack;
use super::exchange::ExchangeId;

/// A backend that answers within this time as a rule shares its connections: requests that were
/// taken in together wait behind each other. A slower one gets a connection for each.
const FAST: Micros = Micros(4_000);

/// A set of backends with its rules.
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How one is picked.
    pub balance: config::Balance,
    /// Further backends tried for one request.
    pub retries: u32,
    /// The largest request body, 0 for any.
    pub max_body: u64,
    /// When a backend is taken out.
    pub rules: Rules,
    /// What balancing looks at, a member for each backend.
    pub members: Vec<Member>,
    /// The rest, in the same order.
    pub backends: Vec<Backend>,
    /// Exchanges that wait for a backend below its cap.
    pub line: Queue<ExchangeId>,
    /// Limits the repeats.
    pub budget: Budget,
}

/// What is known of one backend.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same, as the log writes it.
    pub name: String,
    /// Its unused connections.
    pub idle: IdleStack,
    /// How long these are good for.
    pub idle_limit: IdleLimit,
    /// Whether it returns the request identifier.
    pub echo: Echo,
    /// Its failures of late.
    pub passive: Passive,
    /// How fast it answers.
    pub pace: Pace,
}

impl Pool {
    /// The pool that `config` describes, with room for `exchanges` in its line.
    pub fn new(config: &config::Pool, backend_idle: Millis, exchanges: usize) -> Pool {
        let members = config
            .backends
            .iter()
            .map(|backend| Member::new(backend.weight, backend.backup, backend.max_connections))
            .collect();
        let backends = config
            .backends
            .iter()
            .map(|backend| Backend {
                address: backend.address,
                name: backend.address.to_string(),
                idle: IdleStack::default(),
                idle_limit: IdleLimit::new(backend_idle),
                echo: Echo::default(),
                passive: Passive::default(),
                pace: Pace::default(),
            })
            .collect();
        Pool {
            name: config.name.clone(),
            balance: config.balance,
            retries: config.retries,
            max_body: config.max_body,
            rules: Rules { max_fails: config.max_fails, fail_timeout: config.fail_timeout },
            members,
            backends,
            line: Queue::with_capacity(exchanges),
            budget: Budget::default(),
        }
    }

    /// Whether all backends that are up answer fast, so that requests are best taken in together.
    pub fn is_fast(&self) -> bool {
        let pairs = self.members.iter().zip(&self.backends);
        pairs.filter(|(member, _)| member.up).all(|(_, backend)| backend.pace.allows_sharing())
    }

    /// How many backends are up.
    pub fn up(&self) -> usize {
        self.members.iter().filter(|member| member.up).count()
    }
}

/// The pool of this name.
pub fn find(pools: &[Pool], name: &[u8]) -> Option<usize> {
    pools.iter().position(|pool| pool.name.as_bytes() == name)
}

/// How fast a backend answers as a rule, and whether it keeps its connections.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A moving average over about eight responses.
    typical: Micros,
    keeps_connections: bool,
}

impl Default for Pace {
    /// Slow until it has shown otherwise.
    fn default() -> Pace {
        Pace { typical: Micros(2 * FAST.0), keeps_connections: false }
    }
}

impl Pace {
    /// Notes a response that took `time` from its request, or from the response before it.
    pub fn observe(&mut self, time: Micros, keeps_connection: bool) {
        self.typical = Micros((7 * self.typical.0 + time.0) / 8);
        self.keeps_connections = keeps_connection;
    }

    /// Whether requests may wait behind each other on one of its connections.
    pub fn allows_sharing(&self) -> bool {
        self.keeps_connections && self.typical.0 < FAST.0
    }
}
