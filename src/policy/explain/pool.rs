//! What a pool would do with a request.

use serde::Serialize;

use super::{AnswerAtOnce, BackendNow, PoolNow};
use crate::config::{Multiplex, ShownCap};
use crate::http::cookie::SetCookie;
use crate::http::forwarded::Forward;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::http::rewrite::{self, Answering, ResponseFraming};
use crate::http::upgrade;
use crate::policy::balance::{self, Member, Members, Pick, PoolView, Tier, TriedBackends};
use crate::policy::health::Availability;
use crate::policy::multiplexing::{self, Candidate};
use crate::policy::order;
use crate::policy::retry::{self, Failure, RetryContext, Verdict};
use crate::policy::slow_start::{self, TrafficShare};
use crate::policy::sticky::{self, BackendTag, Key, StickyCookie, StickyTarget};

/// A pool, and what it would do with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolPlan {
    /// Its name.
    pub name: String,
    /// `round_robin` or `least_connections`.
    pub balance: &'static str,
    /// Its backends.
    pub backends: Vec<BackendPlan>,
    /// The names of which it has no backends, or perhaps not all, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The cookie that keeps clients at their backends, if there is one.
    pub sticky: Option<StickyPlan>,
    /// What becomes of the request if a backend fails it.
    pub repeats: RepeatPlan,
    /// Whether it may run while others of its connection do.
    pub is_pipelined: bool,
    /// Whether it may share its connection with requests of other clients, and why not; `None` where
    /// none do.
    pub shares: Option<String>,
    /// `picked`, `waits` if all are at their cap, or `none up`.
    pub outcome: &'static str,
}

/// A backend as a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendPlan {
    /// Its address.
    pub backend: String,
    /// `up`, `down`, `drain` or `maint`; `unknown` where the service is not asked.
    pub state: &'static str,
    /// Why it is down, in words.
    pub why: Option<String>,
    /// Its share.
    pub weight: u32,
    /// How many tenths of that count, while it starts slowly.
    pub tenths: u32,
    /// Whether it stands in for others.
    pub backup: bool,
    /// Requests that it has.
    pub connections: u32,
    /// Requests that it may have; 0 is no limit, "auto" one that finds itself.
    pub max_connections: ShownCap,
    /// Requests that it may have now; `None` if any number, or if it is not known.
    pub cap: Option<u32>,
    /// `next`, `candidate` or `out`.
    pub verdict: &'static str,
    /// Why it is out, or next; empty for the others.
    pub because: &'static str,
    /// Whether clients share its connections, and why not; `None` where they are not to.
    pub shares: Option<String>,
}

/// What becomes of a sticky cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StickyPlan {
    /// Its name.
    pub cookie: String,
    /// As the log will call it: `hit`, `new` or `moved`; `unknown` without the key.
    pub verdict: &'static str,
    /// Why, for people.
    pub because: &'static str,
    /// The backend that the cookie names.
    pub backend: Option<String>,
    /// Whether the answer sets it.
    pub is_set: bool,
}

/// What becomes of a request that a backend fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepeatPlan {
    /// Further backends that are tried.
    pub retries: u32,
    /// Whether what may have been acted on may be sent again.
    pub is_idempotent: bool,
    /// The failures after which it is retried, by their reasons.
    pub repeated_after: Vec<&'static str>,
    /// The failures after which the client gets an error.
    pub answered_after: Vec<&'static str>,
    /// Whether it leaves a backend that goes down while it waits there.
    pub is_evacuated: bool,
}

/// The pool as balancing looks at it: when the turn with this number has come.
struct At<'a> {
    turn: [u64; 2],
    backends: &'a [BackendNow],
}

impl PoolView for At<'_> {
    fn rotation(&self, tier: Tier) -> u64 {
        self.turn[tier as usize]
    }

    fn load(&self, id: u32) -> u32 {
        self.backends[id as usize].load
    }
}

impl PoolPlan {
    pub(super) fn new(pool: &PoolNow, head: &RequestHead, key: Option<&Key>) -> PoolPlan {
        let (mut backends, mut outcome) = choices(pool);
        let is_pipelined =
            order::runs_beside_others(head, upgrade::is_offered(head, &pool.keys.upgrades));
        let sticky = pool
            .keys
            .sticky
            .as_ref()
            .map(|keys| StickyPlan::of(pool, &keys.cookie, head, key, &mut backends));
        if sticky.as_ref().is_some_and(|sticky| sticky.verdict == StickyCookie::Hit.as_str()) {
            outcome = PICKED;
        }
        PoolPlan {
            name: pool.name.clone(),
            balance: pool.keys.balance.as_str(),
            outcome,
            backends,
            names: pool.names.clone(),
            sticky,
            repeats: RepeatPlan::new(pool, head),
            is_pipelined,
            shares: (pool.keys.multiplex == Multiplex::Verified).then(|| {
                let candidate = Candidate {
                    method: head.method,
                    is_pipelinable: is_pipelined,
                    id_made_here: head.request_id.is_none(),
                    authorizes_connection: head.authorizes_connection,
                };
                let alone = multiplexing::alone_because(candidate);
                alone.map_or(String::from("yes"), |why| format!("no: {why}"))
            }),
        }
    }

    /// The answer, if nobody can be asked.
    pub(super) fn answer(&self) -> Option<AnswerAtOnce> {
        let because = "no backend of the pool is up";
        (self.outcome == NONE_UP).then(|| AnswerAtOnce::new(Failure::NoBackend, because))
    }

    /// A stored response answers, which bears no cookie.
    pub(super) fn set_no_cookie(&mut self) {
        if let Some(sticky) = &mut self.sticky {
            sticky.is_set = false;
        }
    }

    /// The lines that a client gets with the answer, beside the backend's.
    pub(super) fn added_to_response(
        &self,
        pool: &PoolNow,
        forward: &Forward,
        head: &RequestHead,
    ) -> Vec<String> {
        let given = pool.keys.sticky.as_ref().zip(self.sticky.as_ref());
        let cookie = given.filter(|(_, plan)| plan.is_set).map(|(keys, _)| SetCookie {
            name: &keys.cookie,
            value: b"(16 digits)",
            max_age_secs: keys.max_age_secs(),
            secure: forward.is_https(head),
        });
        let framing = ResponseFraming::AsIs;
        let close = !head.keep_alive;
        let answering =
            Answering { close, via: forward.via, cookie, ..Answering::new(forward.id, framing) };
        let mut written = Vec::new();
        if let Ok(head) = response::parse(b"HTTP/1.1 200 OK\r\n\r\n") {
            rewrite::response(&head, &answering, &mut written);
        }
        let text = String::from_utf8_lossy(&written).into_owned();
        text.split("\r\n").skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// The state of a backend of which nothing is known.
pub(super) const UNKNOWN: &str = "unknown";

const PICKED: &str = "picked";
const WAITS: &str = "waits";
const NONE_UP: &str = "none up";

/// The backends as choices for a request that nothing binds, and what comes of it. One could be
/// picked if it is when its own turn has come.
fn choices(pool: &PoolNow) -> (Vec<BackendPlan>, &'static str) {
    let member = |(place, backend): (usize, &BackendNow)| Member {
        id: place as u32,
        weight: backend.keys.weight,
        backup: backend.keys.backup,
        cap: backend.cap,
        up: matches!(backend.availability, None | Some(Availability::Up)),
    };
    let mut list: Vec<Member> = pool.backends.iter().enumerate().map(member).collect();
    let shares: Vec<TrafficShare> = pool.backends.iter().map(|backend| backend.share).collect();
    slow_start::apply(&mut list, &shares);
    let mut members = Members::default();
    members.refresh(&list);
    let pick = |turn| {
        let view = At { turn, backends: &pool.backends };
        balance::pick(pool.keys.balance, &members, &TriedBackends::default(), &view)
    };
    let place_of = |pick| match pick {
        Pick::Backend(turn) => Some(turn.place),
        Pick::Full | Pick::NoneUp => None,
    };
    let next = pool.turns.and_then(|turns| place_of(pick(turns)));
    let plan = |(place, backend): (usize, &BackendNow)| {
        let own_turn = members.first_turn(place).unwrap_or_default();
        let could_be = place_of(pick([own_turn; 2])) == Some(place);
        let (verdict, because) = match (next, could_be) {
            (Some(next), _) if next == place => ("next", "it is its turn"),
            (_, true) => ("candidate", ""),
            (_, false) => ("out", why_out(backend, &list[place])),
        };
        BackendPlan {
            backend: backend.keys.address.to_string(),
            state: backend.availability.map_or(UNKNOWN, Availability::as_str),
            why: backend.why.clone(),
            weight: backend.keys.weight,
            tenths: backend.share.parts,
            backup: backend.keys.backup,
            connections: backend.load,
            max_connections: backend.keys.max_connections.into(),
            cap: (backend.cap > 0).then_some(backend.cap),
            verdict,
            because,
            shares: backend.shares.map(multiplexing::described),
        }
    };
    let plans = pool.backends.iter().enumerate().map(plan).collect();
    let outcome = match pick(pool.turns.unwrap_or_default()) {
        Pick::Backend(_) => PICKED,
        Pick::Full => WAITS,
        Pick::NoneUp => NONE_UP,
    };
    (plans, outcome)
}

/// Why a backend could not be picked.
fn why_out(backend: &BackendNow, member: &Member) -> &'static str {
    let Some(availability) = backend.availability else {
        return match member.backup {
            true => "it stands in for others, if none of those is up",
            false => "",
        };
    };
    match availability {
        Availability::Down => "it does not work",
        Availability::Maint => "the operator has taken it out",
        Availability::Drain if sticky::may_keep(availability, backend.admin) => {
            "it is drained: only its sticky clients may ask it"
        }
        Availability::Drain => "it is to be forgotten",
        Availability::Up if !balance::has_room(member.cap, backend.load) => {
            "it has as many requests as it may"
        }
        Availability::Up if member.backup => "it stands in for others, and one of those is up",
        Availability::Up => "others have fewer requests for their weight",
    }
}

impl StickyPlan {
    /// What becomes of the cookie `name`. If it leads to its backend, `backends` are told.
    fn of(
        pool: &PoolNow,
        name: &str,
        head: &RequestHead,
        key: Option<&Key>,
        backends: &mut [BackendPlan],
    ) -> StickyPlan {
        let mut plan = StickyPlan {
            cookie: name.to_owned(),
            verdict: StickyCookie::New.as_str(),
            because: "none came",
            backend: None,
            is_set: true,
        };
        let any = sticky::brought(head, name, |_| Some(BackendTag::default()));
        let Some(key) = key else {
            if any != StickyTarget::None {
                plan.verdict = "unknown";
                plan.because =
                    "the key is not known here (set STATE_DIRECTORY as the service has it)";
            }
            return plan;
        };
        let tags: Vec<BackendTag> =
            pool.backends.iter().map(|backend| key.tag(&pool.name, backend.keys.address)).collect();
        let known = |value: &[u8]| tags.iter().copied().find(|tag| tag.digits() == value);
        let mut target = sticky::brought(head, name, known);
        if any != StickyTarget::None && target == StickyTarget::None {
            plan.because = "what came names no backend of the pool";
        }
        let sticky_backend = tags.iter().position(|tag| Some(*tag) == target.tag());
        let Some(sticky_backend) = sticky_backend else { return plan };
        let backend = &pool.backends[sticky_backend];
        let cap = backend.cap;
        let (works, has_room) = (
            backend.availability.is_none_or(|known| sticky::may_keep(known, backend.admin)),
            balance::has_room(cap, backend.load),
        );
        if works && !has_room {
            target = StickyTarget::Lent(tags[sticky_backend]);
        }
        let chosen = if works && has_room { tags[sticky_backend] } else { BackendTag::default() };
        let verdict = sticky::verdict(target, chosen);
        plan.verdict = verdict.as_str();
        plan.is_set = verdict.sets_cookie();
        plan.backend = Some(backends[sticky_backend].backend.clone());
        plan.because = match verdict {
            StickyCookie::Hit => "it leads to its backend",
            StickyCookie::Lent => {
                "its backend has as many requests as it may, so another has this one"
            }
            StickyCookie::Moved => "its backend may not be asked, so it is balanced again",
            StickyCookie::New => plan.because,
        };
        if verdict == StickyCookie::Hit {
            for plan in backends.iter_mut().filter(|plan| plan.verdict != "out") {
                (plan.verdict, plan.because) = ("out", "the cookie names another one");
            }
            (backends[sticky_backend].verdict, backends[sticky_backend].because) =
                ("next", "the cookie names it");
        }
        plan
    }
}

impl RepeatPlan {
    fn new(pool: &PoolNow, head: &RequestHead) -> RepeatPlan {
        let mut plan = RepeatPlan {
            retries: pool.keys.retries,
            is_idempotent: head.is_idempotent(),
            repeated_after: Vec::new(),
            answered_after: Vec::new(),
            is_evacuated: false,
        };
        for failure in Failure::ALL {
            let sent = match failure {
                Failure::Refused | Failure::ConnectTimeout => false,
                Failure::Terminated
                | Failure::Protocol
                | Failure::HeadTooLarge
                | Failure::IdentityMismatch
                | Failure::ResponseTimeout => true,
                // Of nobody, or when an answer is on its way already.
                Failure::NoBackend | Failure::QueueTimeout | Failure::Incomplete => continue,
            };
            let context = RetryContext {
                committed: false,
                sent,
                idempotent: plan.is_idempotent,
                replayable: true,
                tries_left: plan.retries,
                reused_and_silent: false,
                budget_left: true,
                method: head.method,
                timed_out_before: false,
                other_is_up: true,
            };
            plan.is_evacuated |= sent && retry::evacuates(&context);
            match retry::verdict(failure, context) {
                Verdict::Retry { .. } => plan.repeated_after.push(failure.reason().as_str()),
                Verdict::Answer(_) | Verdict::Truncate => {
                    plan.answered_after.push(failure.reason().as_str())
                }
            }
        }
        plan
    }
}
