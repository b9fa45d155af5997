//! What is wrong with the service now, the worst first, in words: for the header of the page and the
//! order of the pools on it.

use crate::mem::time::Micros;
use crate::policy::health::Availability;
use crate::policy::reason::Reason;
use crate::shared::history::{Growth, Lately, Window};

use super::view::{BackendStatus, PoolStatus, ServiceStatus};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Fine,
    /// It is meant to be so, and not for long.
    Intended,
    /// Somebody should look at it.
    Doubtful,
    /// Requests fail, or nobody is left who could answer them.
    Bad,
}

impl Severity {
    /// The class of what is shown in its colour, which is that of a state.
    pub const fn class(self) -> &'static str {
        match self {
            Severity::Fine => "up",
            Severity::Intended => "maint",
            Severity::Doubtful => "drain",
            Severity::Bad => "down",
        }
    }

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Fine => "fine",
            Severity::Intended => "intended",
            Severity::Doubtful => "doubtful",
            Severity::Bad => "bad",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

/// From this share of failed requests on, of a hundred, they are the trouble, and not a few of them.
const MANY_FAIL: u64 = 50;
/// Fewer than so many of a hundred are told on the line of the pool alone.
const SOME_FAIL: u64 = 1;
/// So many requests are needed to call them slow.
const LEAST: u64 = 10;
/// They are slow if half of them take longer than this,
const SLOW: Micros = Micros(200_000);
/// and so many times as long as in the five minutes.
const TIMES: u64 = 4;

/// What is wrong with the service as a whole.
pub fn of_service(service: &ServiceStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |severity, text: String| findings.push(Finding { severity, text });
    if service.snapshot.clients >= service.clients_max {
        let most = service.clients_max;
        find(Severity::Bad, format!("all {most} connections are taken (raise max_connections)"));
    }
    if service.snapshot.last_reload_failed {
        find(Severity::Doubtful, String::from("the last reload was refused"));
    }
    if service.snapshot.is_draining {
        find(Severity::Intended, String::from("stopping"));
    }
    if service.snapshot.is_withdrawn && !service.snapshot.is_draining {
        find(Severity::Intended, String::from("withdrawn: clients are to be sent elsewhere"));
    }
    findings
}

/// What is wrong with a pool.
pub fn of_pool(pool: &PoolStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &pool.name;
    let mut find = |severity, text: String| {
        findings.push(Finding { severity, text: format!("{name}: {text}") });
    };
    let lately = pool.lately.of(Window::TenSeconds);
    let up = pool.count(Availability::Up);
    let unserved = lately.counts.errors(Reason::DestinationUnavailable);
    match (up, unserved, pool.backends.len()) {
        (0, 0, 0) => (), // Nobody has registered yet, and nobody asks.
        (0, 0, _) => find(Severity::Bad, String::from("no backend is up")),
        (0, ..) => {
            let rate = rate(lately.per_second(unserved));
            find(Severity::Bad, format!("no backend is up, {rate} requests a second get 503"));
        }
        (_, _, all) => {
            let out = pool.count(Availability::Down);
            let are = if out == 1 { "is" } else { "are" };
            if out > 0 {
                let text = format!("{out} of {all} backends {are} down");
                find(Severity::Doubtful, text);
            }
        }
    }
    if up > 0 {
        failures(lately, &mut find);
    }
    if pool.queue > 0 {
        let text = format!("{} requests wait for a backend below its limit", pool.queue);
        find(Severity::Doubtful, text);
    }
    if let Some(text) = slow_backends(pool).or_else(|| slowness(&pool.lately)) {
        find(Severity::Doubtful, text);
    }
    findings
}

/// All that is wrong, the worst first: with the service, and then with its pools in their order.
pub fn of_all(service: &ServiceStatus, pools: &[PoolStatus]) -> Vec<Finding> {
    let mut findings = of_service(service);
    findings.extend(pools.iter().flat_map(of_pool));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn failures(lately: &Growth, find: &mut impl FnMut(Severity, String)) {
    let counts = &lately.counts;
    let ended = counts.responses().iter().sum::<u64>().max(1);
    let failed = counts.failures().min(ended);
    let share = failed * 100 / ended;
    if failed == 0 || share < SOME_FAIL {
        return;
    }
    let reasons = Reason::ALL.into_iter().filter(|reason| *reason != Reason::ClientAbort);
    let most = reasons.max_by_key(|reason| counts.errors(*reason));
    let why = match most.map(|reason| (reason, counts.errors(reason))) {
        Some((reason, count)) if 2 * count >= failed => reason.in_words(),
        Some(_) | None => "responses with a status of 500 or above",
    };
    let severity = if share >= MANY_FAIL { Severity::Bad } else { Severity::Doubtful };
    find(severity, format!("{share} % of requests fail: {why}"));
}

fn slowness(lately: &Lately) -> Option<String> {
    let of = |window| lately.of(window).counts.times();
    let now = of(Window::TenSeconds);
    let before = of(Window::FiveMinutes).quantile(0.5)?;
    let half = now.quantile(0.5).filter(|half| now.count() >= LEAST && *half >= SLOW)?;
    let is_slow = half.0 >= before.0.saturating_mul(TIMES);
    is_slow.then(|| {
        let (half, before) = (millis(half), millis(before));
        format!("half of the requests take {half} or longer, {before} before")
    })
}

fn slow_backends(pool: &PoolStatus) -> Option<String> {
    let pace = UsualPace::of(pool)?;
    let slow = pool.backends.iter().filter(|backend| pace.is_slow(backend));
    let slow: Vec<(&BackendStatus, Micros)> =
        slow.filter_map(|backend| Some((backend, half_time(backend)?))).collect();
    let (slowest, half) = slow.iter().max_by_key(|(_, half)| *half)?;
    let others = match slow.len() {
        1 => String::new(),
        count => format!("{count} backends are slow: "),
    };
    let (slowest, half, usual) = (slowest.server(), millis(*half), millis(pace.usual));
    Some(format!(
        "{others}half of the responses of {slowest} take {half} or longer, {usual} elsewhere"
    ))
}

/// How fast the backends of a pool answer, by which one of them is slow: those that few asked of late have
/// no say.
#[derive(Clone, Copy, Debug)]
pub struct UsualPace {
    /// Half of the backends take no longer than this for half of their responses.
    usual: Micros,
}

impl UsualPace {
    /// `None`: there are not two to compare.
    pub fn of(pool: &PoolStatus) -> Option<UsualPace> {
        let mut times: Vec<Micros> = pool.backends.iter().filter_map(half_time).collect();
        times.sort_unstable();
        let usual = times.get(times.len().checked_sub(1)? / 2)?;
        (times.len() > 1).then_some(UsualPace { usual: *usual })
    }

    /// Whether this one takes much longer than the others.
    pub fn is_slow(self, backend: &BackendStatus) -> bool {
        let bound = SLOW.max(Micros(self.usual.0.saturating_mul(TIMES)));
        half_time(backend).is_some_and(|half| half >= bound)
    }
}

/// Half of its responses took longer than this of late.
fn half_time(backend: &BackendStatus) -> Option<Micros> {
    let times = backend.totals.lately.of(Window::TenSeconds).counts.times();
    times.quantile(0.5).filter(|_| times.count() >= LEAST)
}

fn millis(time: Micros) -> String {
    match time.0 {
        micros if micros < 10_000 => format!("{:.1} ms", micros as f64 / 1000.0),
        micros => format!("{} ms", micros / 1000),
    }
}

/// The worst of all; the first of those that are equally bad.
pub fn worst<'a>(findings: impl Iterator<Item = &'a Finding>) -> Option<&'a Finding> {
    let mut worst: Option<&Finding> = None;
    for finding in findings {
        if worst.is_none_or(|worst| finding.severity > worst.severity) {
            worst = Some(finding);
        }
    }
    worst
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
