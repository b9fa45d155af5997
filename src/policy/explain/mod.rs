//! How one request would be handled, found by the functions that handle it.
//!
//! Nothing is sent. What depends on the moment (who is up, how loaded) is the caller's to give.

mod cache;
mod pool;
mod text;

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::admit;
use super::caching::{Decision, Meanwhile, Sharing};
use super::health::{AdminState, Availability};
use super::reason::Reason;
use super::retry::Failure;
use super::route::{self, Choice, Condition, Routing};
use super::slow_start::TrafficShare;
use super::sticky::Key;
use crate::config::units::{write_duration, write_size};
use crate::config::{self, AUTO_CAP, Config, Tolerance, address};
use crate::http::forwarded::{self, Forward};
use crate::http::request::{self, Refusal, RequestHead};
use crate::http::{HeadScan, Scan};
use crate::http::{rewrite, upgrade};
use crate::mem::buffer::Buffer;
use crate::mem::time::Micros;
use crate::policy::multiplexing::Unshared;

#[cfg(test)]
pub(crate) use cache::words;
pub use cache::{CachePlan, Lookup};
pub use pool::PoolPlan;

/// A client that is not known: an address for examples (RFC 5737).
pub const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// In place of the identifier that would be made.
const SOME_ID: &[u8] = b"(a new UUID)";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: String,
    /// `http://host/path`, or a path if a field says the `Host`.
    pub url: String,
    /// `Name: value` each.
    pub fields: Vec<String>,
    /// Who would send it.
    pub client: IpAddr,
}

/// A pool at the moment.
#[derive(Clone, Debug)]
pub struct PoolNow<'a> {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub keys: &'a config::Pool,
    /// In the order in which they take turns.
    pub backends: Vec<BackendNow>,
    /// What is to be known of the names that bring further backends, in a sentence each.
    pub names: Vec<String>,
    /// How many turns primaries and backups have taken; `None` where none are taken now.
    pub turns: Option<[u64; 2]>,
}

/// A backend at the moment.
#[derive(Clone, Debug)]
pub struct BackendNow {
    /// Where it listens, its share, its cap, whether it stands in for others.
    pub keys: config::Backend,
    /// Whether it may be asked; `None` where that is not known.
    pub availability: Option<Availability>,
    /// Why it is down, in words.
    pub why: Option<String>,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// Requests that it has now.
    pub load: u32,
    /// How many it may have now; 0 is any number.
    pub cap: u32,
    /// How much of its weight counts, while it starts slowly.
    pub share: TrafficShare,
    /// Whether clients share its connections, with its usual time, or why not; `None` where that is not
    /// known, or they are not to.
    pub shares: Option<Result<Micros, Unshared>>,
}

impl Question {
    /// Whether it is asked for a client that comes by https: the URL says so.
    fn is_https(&self) -> bool {
        self.url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }
}

impl<'a> PoolNow<'a> {
    /// The pools of a configuration, of whose backends nothing is known.
    pub fn at_rest(config: &'a Config) -> Vec<PoolNow<'a>> {
        let known_cap = |cap| if cap == AUTO_CAP { 0 } else { cap };
        let backend = |keys: &config::Backend| BackendNow {
            keys: *keys,
            cap: known_cap(keys.max_connections),
            availability: None,
            why: None,
            admin: AdminState::Ready,
            load: 0,
            share: TrafficShare::WHOLE,
            shares: None,
        };
        let name = |named: &config::NamedServer| {
            let name = named.lookup.name();
            format!("{name} is looked up by the service: its backends are not known here")
        };
        let pool = |keys: &'a config::Pool| PoolNow {
            name: keys.name.clone(),
            keys,
            backends: keys.backends.iter().map(backend).collect(),
            names: keys.names.iter().map(name).collect(),
            turns: None,
        };
        config.pools.iter().map(pool).collect()
    }
}

/// How a request would be handled. `Display` is for a terminal, `Serialize` for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Method and URL, as they were asked.
    pub request: String,
    /// Whom it would come from.
    pub client: String,
    /// The answer, if no backend is asked for one.
    pub answer: Option<AnswerAtOnce>,
    /// How its pool is found; not if its head is refused.
    pub route: Option<RoutePlan>,
    /// Its pool, if there is one.
    pub pool: Option<PoolPlan>,
    /// The fields that the backend gets beside those that came, or in place of others.
    pub added_to_request: Vec<String>,
    /// The fields that came and do not go on.
    pub removed_from_request: Vec<String>,
    /// The fields that the client gets beside the backend's.
    pub added_to_response: Vec<String>,
    /// What its answers are stored by, if the cache has a part in it.
    pub cache_key: Option<String>,
    /// What `Cache-Status` would say, and why; `off` without a cache.
    pub cache: String,
    /// What it is bounded by.
    pub limits: Vec<LimitPlan>,
}

/// What a stored response has to do with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredPlan {
    /// It is the answer.
    Answers,
    /// It would be if no backend can be reached.
    StandsIn,
    /// It would have to be, and there is none that may.
    MustAnswer,
    /// Nothing, as far as is known.
    DoesNot,
}

impl StoredPlan {
    fn new(decision: Option<Decision>) -> StoredPlan {
        match decision {
            Some(Decision::Serve { .. }) => StoredPlan::Answers,
            Some(Decision::Ask(asking)) => match (asking.sharing, asking.stored) {
                (Sharing::Forbidden, _) => StoredPlan::MustAnswer,
                (_, Meanwhile::Kept { stands_in: true, .. }) => StoredPlan::StandsIn,
                (
                    _,
                    Meanwhile::Kept { stands_in: false, .. }
                    | Meanwhile::Part(_)
                    | Meanwhile::Nothing,
                ) => StoredPlan::DoesNot,
            },
            None => StoredPlan::DoesNot,
        }
    }

    /// The answer to a request that is admitted, if neither a backend nor what is stored gives it.
    fn answer_at_once(self, head: &RequestHead, plan: &PoolPlan) -> Option<AnswerAtOnce> {
        if head.ends_here() {
            let because = "Max-Forwards is 0: it ends here";
            return Some(AnswerAtOnce { status: 200, reason: "max_forwards", because });
        }
        match self {
            StoredPlan::Answers | StoredPlan::StandsIn => None,
            StoredPlan::MustAnswer => Some(AnswerAtOnce {
                status: 504,
                reason: Reason::DestinationUnavailable.as_str(),
                because: "only-if-cached, and nothing that is stored may answer",
            }),
            StoredPlan::DoesNot => plan.answer(),
        }
    }
}

/// An answer that is given without asking a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerAtOnce {
    /// Its status.
    pub status: u16,
    /// As `Proxy-Status` and the log call it.
    pub reason: &'static str,
    /// The same, for people.
    pub because: &'static str,
}

/// How the pool of a request is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoutePlan {
    /// What leads to the pool: the header, a route, or that there is none.
    pub by: String,
    /// The routes before it and what of them does not fit.
    pub passed_over: Vec<PassedOver>,
}

/// A route that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// `routes[0]`, as in the configuration.
    pub route: String,
    /// The first condition that does not hold.
    pub because: String,
}

/// Something that a request is bounded by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitPlan {
    /// What.
    pub of: &'static str,
    /// How much or how long, and what is the answer then.
    pub is: String,
}

/// Says how `question` would be handled in `pools`, which are those of `config` and perhaps more.
///
/// Sticky cookies are read with `key`; without it they cannot be. `scratch` is overwritten; it should
/// be as large as a head that goes on may be.
pub fn explain(
    question: &Question,
    config: &Config,
    pools: &[PoolNow],
    key: Option<&Key>,
    scratch: &mut Buffer,
) -> Explanation {
    explain_with(question, config, pools, key, scratch, &mut |_, _, _| None)
}

/// As [`explain`], where `lookup` can say what is stored.
pub fn explain_with(
    question: &Question,
    config: &Config,
    pools: &[PoolNow],
    key: Option<&Key>,
    scratch: &mut Buffer,
    lookup: &mut Lookup,
) -> Explanation {
    let text = head_of(question);
    let mut explanation = Explanation {
        request: format!("{} {}", question.method, question.url),
        client: question.client.to_string(),
        answer: None,
        route: None,
        pool: None,
        added_to_request: Vec::new(),
        removed_from_request: Vec::new(),
        added_to_response: Vec::new(),
        cache_key: None,
        cache: String::from("off"),
        limits: Vec::new(),
    };
    match read(&text, config) {
        Ok(head) => explanation.find(&head, question, config, pools, key, (scratch, lookup)),
        Err(refusal) => explanation.answer = Some(AnswerAtOnce::to(refusal)),
    }
    explanation
}

/// The request as a client would send it. An absolute URL names the host, if no field does.
fn head_of(question: &Question) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", question.method, question.url);
    let is_host = |field: &String| field.get(..5).is_some_and(|f| f.eq_ignore_ascii_case("host:"));
    if let Some((_, rest)) = question.url.split_once("://")
        && !question.fields.iter().any(is_host)
    {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        text.push_str(&format!("Host: {}\r\n", &rest[..end]));
    }
    for field in &question.fields {
        text.push_str(&format!("{field}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn read<'a>(text: &'a [u8], config: &Config) -> Result<RequestHead<'a>, Refusal> {
    let limit = config.head_limit();
    match HeadScan::request().advance(text) {
        Scan::Whole(end) if end > limit => Err(request::too_long(text, limit)),
        Scan::Whole(end) if end < text.len() => Err(Refusal::Malformed),
        Scan::Whole(_) | Scan::Malformed(_) | Scan::Partial => {
            request::parse_any(text, config.max_fields)
        }
    }
}

impl Explanation {
    fn find(
        &mut self,
        head: &RequestHead,
        question: &Question,
        config: &Config,
        pools: &[PoolNow],
        key: Option<&Key>,
        (scratch, lookup): (&mut Buffer, &mut Lookup),
    ) {
        let routing = Routing::new(config);
        let trusted = address::is_trusted(&config.trusted_proxies, Some(question.client));
        let tls = question.is_https();
        let is_https = forwarded::is_https(head, trusted, tls);
        let choice = routing.choose(
            head,
            || is_https,
            |name| pools.iter().position(|pool| !name.is_empty() && pool.name.as_bytes() == name),
        );
        self.route = Some(RoutePlan::new(choice, &routing, head, is_https));
        let pool = match choice {
            Choice::Redirected { .. } => pools.first(), // What it tolerates counts here too.
            _ => choice.pool().and_then(|pool| pools.get(pool)),
        };
        let tolerates_raw = |pool: &PoolNow| pool.keys.tolerate.has(Tolerance::RawTarget);
        if head.has_raw_target && !pool.is_some_and(tolerates_raw) {
            self.answer = Some(AnswerAtOnce::to(Refusal::RawTarget));
            return;
        }
        let forward = Forward {
            trusted,
            tls,
            fields: config.forward,
            via: config.via.as_deref(),
            normal_host: config.cache.is_some(),
            own_cookie: pool.and_then(|pool| pool.keys.sticky.as_ref()).map(|own| &own.cookie[..]),
            upgrades: pool.map_or(&[], |pool| &pool.keys.upgrades),
            ..Forward::new(question.client, head.request_id.unwrap_or(SOME_ID))
        };
        scratch.clear();
        let Some(spans) = rewrite::request(head, &forward, scratch) else {
            self.answer = Some(AnswerAtOnce::to(Refusal::HeadTooLong));
            return;
        };
        if let Choice::Redirected { status, .. } = choice {
            self.answer = Some(AnswerAtOnce::redirect(head, status));
            return;
        }
        let Some(pool) = pool else {
            self.answer =
                Some(AnswerAtOnce::new(Failure::NoBackend, "no pool has the name that is given"));
            return;
        };
        self.compare_fields(head, scratch.as_slice());
        let written = (&*scratch, &spans);
        let plan = CachePlan::of(head, config, &pool.name, written, lookup);
        (self.cache_key, self.cache) = (plan.key, plan.verdict);
        let stored = StoredPlan::new(plan.decision);
        self.answer = admit::refusal(head, pool.keys.max_body).map(AnswerAtOnce::to);
        let mut plan = PoolPlan::new(pool, head, key);
        if self.answer.is_none() {
            self.answer = stored.answer_at_once(head, &plan);
        }
        if stored == StoredPlan::Answers {
            plan.set_no_cookie(); // It is for one client alone.
        }
        self.added_to_response = plan.added_to_response(pool, &forward, head);
        self.pool = Some(plan);
        self.limits = limits(head, config, pool.keys);
    }

    /// Notes which lines of the head as it goes on did not come, and the other way round.
    fn compare_fields(&mut self, head: &RequestHead, written: &[u8]) {
        let lines = |bytes: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let came = lines(head.fields.lines());
        let mut goes: Vec<String> = lines(written).into_iter().skip(1).collect();
        for line in came {
            match goes.iter().position(|other| *other == line) {
                Some(place) => drop(goes.remove(place)),
                None => self.removed_from_request.push(line),
            }
        }
        self.added_to_request = goes;
    }
}

impl RoutePlan {
    fn new(choice: Choice, routing: &Routing, head: &RequestHead, is_https: bool) -> RoutePlan {
        let header = routing.pool_header().unwrap_or_default();
        let (by, before) = match choice {
            Choice::Named(_) => (format!("the header {header}"), 0),
            Choice::Unknown => (format!("the header {header}, which names no pool"), 0),
            Choice::Routed { route, .. } => (format!("routes[{route}]"), route),
            Choice::Redirected { route, .. } => (format!("routes[{route}], to https"), route),
            Choice::Default => (String::from("no route matches"), routing.routes().len()),
        };
        let passed_over = routing.routes()[..before].iter().enumerate().map(|(place, route)| {
            let because = match route::mismatch(route, head, || is_https) {
                Some(Condition::Host) => {
                    format!("its host is {:?}", route.host.as_deref().unwrap_or_default())
                }
                Some(Condition::Path) => {
                    format!("its path is {:?}", route.path.as_deref().unwrap_or_default())
                }
                Some(Condition::Header(header)) => {
                    let (name, value) = &route.headers[header];
                    format!("its header {name} is {value:?}")
                }
                Some(Condition::Plain) => {
                    String::from("it leads to https, by which the request comes")
                }
                None => String::new(), // one that matches is not passed over
            };
            PassedOver { route: format!("routes[{place}]"), because }
        });
        RoutePlan { by, passed_over: passed_over.collect() }
    }
}

impl AnswerAtOnce {
    fn to(refusal: Refusal) -> AnswerAtOnce {
        let because = match refusal {
            Refusal::Malformed => "the head does not follow the grammar",
            Refusal::RawTarget => {
                "the target has bytes from 0x80 on, and its pool does not tolerate it"
            }
            Refusal::Host => "the host is missing, not valid, or there twice",
            Refusal::Framing => "it is doubtful where the body ends",
            Refusal::Coding => "the transfer coding is not served",
            Refusal::Connect => "CONNECT is not served",
            Refusal::Version => "the version is not served",
            Refusal::TooManyFields => "the head has too many fields",
            Refusal::Expectation => "nobody can meet the expectation",
            Refusal::TargetTooLong => "the request line is too long",
            Refusal::HeadTooLong => "the head is too long",
            Refusal::Loop => "the request has passed here too often",
            Refusal::BodyTooLarge => "the body is larger than max_body",
            Refusal::TimedOut => "the client is too slow",
        };
        AnswerAtOnce { status: refusal.status(), reason: Reason::from(refusal).as_str(), because }
    }

    fn redirect(head: &RequestHead, status: u16) -> AnswerAtOnce {
        let without_host = head.authority.is_empty().then_some(Refusal::Host);
        if let Some(refusal) = admit::refusal(head, 0).or(without_host) {
            return AnswerAtOnce::to(refusal);
        }
        let because = "it does not come by https, and is sent to the same URL with https";
        AnswerAtOnce { status, reason: "redirect", because }
    }

    fn new(failure: Failure, because: &'static str) -> AnswerAtOnce {
        AnswerAtOnce { status: failure.status(), reason: failure.reason().as_str(), because }
    }
}

/// What bounds a request to a pool with these keys.
fn limits(head: &RequestHead, config: &Config, keys: &config::Pool) -> Vec<LimitPlan> {
    let timeouts = &config.timeouts;
    let within = |time, then: &str| format!("{}, then {then}", write_duration(time));
    let mut limits = vec![
        LimitPlan {
            of: "head",
            is: format!("{}, then 431 or 414", write_size(config.head_limit() as u64)),
        },
        LimitPlan { of: "fields", is: format!("{}, then 431", config.max_fields) },
        LimitPlan {
            of: "body",
            is: match keys.max_body {
                0 => String::from("none"),
                most => format!("{}, then 413", write_size(most)),
            },
        },
        LimitPlan { of: "time to send the head", is: within(timeouts.header, "408") },
        LimitPlan { of: "pause within a body", is: within(timeouts.client, "408, or close") },
        LimitPlan { of: "wait for a backend below its limit", is: within(timeouts.queue, "503") },
        LimitPlan {
            of: "time to connect",
            is: within(timeouts.connect, "another backend, or 504"),
        },
        LimitPlan {
            of: "wait for the response, and pause within it",
            is: within(timeouts.response, "504, or close"),
        },
    ];
    let budget = "20 % of the requests of the last 10 s, and 10 a second besides; evacuation is none of these";
    limits.push(LimitPlan { of: "retries in the pool", is: String::from(budget) });
    if upgrade::is_offered(head, &keys.upgrades) {
        limits.push(LimitPlan {
            of: "silence after the switch",
            is: within(timeouts.tunnel, "close"),
        });
    }
    limits
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
