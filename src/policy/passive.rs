//! What clients' requests tell of a backend: failures in a row, within a time, mark it as down.
//!
//! ```text
//! Fine ──► Failing ──► Marked ──► Trial ──► Fine
//!   ▲         │          ▲          │
//!   └─ good ──┘          └─ failed ─┘   it is out for twice as long
//! ```
//!
//! No client's request is the guinea pig where a connection tells that the backend is back: a mark by
//! connections that were refused ends by one that opens. What only requests show (resets, malformed
//! responses, statuses of `fail_status`, silence) a connection cannot refute. Such a mark lasts for
//! `fail_timeout`, then until a check passes, and then the backend is on trial: it has a small share, the
//! first failure takes it out again, for twice as long, and the first good response ends the trial.
//!
//! In bits all of it stands in one cell, which several processes change. All bits 0 is a backend that
//! nothing is known of: it may be asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mem::time::Millis;

/// When a backend is marked.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Failures in a row that mark a backend. At least 1.
    pub max_fails: u32,
    /// The time within which these failures count; and the shortest that a mark lasts which requests have
    /// caused.
    pub fail_timeout: Millis,
}

/// A mark is doubled up to this time, or `fail_timeout` if that is more.
const LONGEST: Millis = Millis(300_000);

/// How a request failed at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection was refused.
    Refused,
    /// The connection did not open in time.
    ConnectTimedOut,
    /// No response came in time.
    ResponseTimedOut,
    /// The connection was closed before a whole response head.
    Closed,
    /// The connection was reset, or broke.
    Reset,
    /// What came is not HTTP, or framed doubtfully.
    Malformed,
    /// The response head is above the limit.
    TooLong,
    /// The body was cut short.
    Cut,
    /// The status is one of `fail_status`.
    Status,
    /// Several of these.
    Various,
}

impl Fault {
    /// All there are, in the order of their numbers.
    pub const ALL: [Fault; 10] = [
        Fault::Refused,
        Fault::ConnectTimedOut,
        Fault::ResponseTimedOut,
        Fault::Closed,
        Fault::Reset,
        Fault::Malformed,
        Fault::TooLong,
        Fault::Cut,
        Fault::Status,
        Fault::Various,
    ];

    /// Whether only requests show it, and a connection that opens says nothing.
    const fn is_shown_by_requests(self) -> bool {
        !matches!(self, Fault::Refused | Fault::ConnectTimedOut)
    }

    /// Whether it takes no time, so that many that are under way together show it at once. They are one
    /// failure: of a backend that fails every second request, the responses to the others are still to
    /// come.
    const fn is_quick(self) -> bool {
        match self {
            Fault::Closed
            | Fault::Reset
            | Fault::Malformed
            | Fault::TooLong
            | Fault::Cut
            | Fault::Status => true,
            Fault::Refused | Fault::ConnectTimedOut | Fault::ResponseTimedOut | Fault::Various => {
                false
            }
        }
    }

    /// 0 are the two that a version before this one had, which `BY_REQUESTS` tells apart.
    const fn to_bits(self) -> u64 {
        match self {
            Fault::Refused | Fault::ResponseTimedOut => 0,
            Fault::ConnectTimedOut
            | Fault::Closed
            | Fault::Reset
            | Fault::Malformed
            | Fault::TooLong
            | Fault::Cut
            | Fault::Status
            | Fault::Various => self as u64,
        }
    }
}

/// What was seen of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// A request failed. A stale connection is no failure.
    Failed(Fault),
    /// The head of a good response came: its status is none of `fail_status`.
    Responding,
    /// A whole good response came.
    Answered,
    /// The control process could connect, or its check passed.
    ProbeSucceeded,
    /// The control process could not connect, or its check failed.
    ProbeFailed,
}

/// What an [`HealthEvent`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The backend is to be passed over from now on.
    Down,
    /// The backend may be asked again.
    Up,
}

/// When something was seen.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Millis,
    /// When the request chose the backend.
    pub begun: Millis,
    /// Whether the request was under way when the last failure that counts was seen, a moment ago.
    pub together: bool,
}

impl Moment {
    /// The moment of something that took no time.
    pub fn at(now: Millis) -> Moment {
        Moment { now, begun: now, together: false }
    }
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    count: u32,
    /// What the failures were.
    fault: Fault,
    /// Whether one of the failures was shown by requests alone.
    by_requests: bool,
    /// Whether one of the responses was cut short, so that the head of a response says nothing yet.
    was_cut: bool,
}

impl Row {
    const fn of(fault: Fault) -> Row {
        let (by_requests, was_cut) = (fault.is_shown_by_requests(), matches!(fault, Fault::Cut));
        Row { count: 1, fault, by_requests, was_cut }
    }

    fn and(self, fault: Fault) -> Row {
        Row {
            count: (self.count + 1).min(COUNT_MAX),
            fault: if self.fault == fault { fault } else { Fault::Various },
            by_requests: self.by_requests || fault.is_shown_by_requests(),
            was_cut: self.was_cut || fault == Fault::Cut,
        }
    }

    const fn to_bits(self) -> u64 {
        let by_requests = if self.by_requests { BY_REQUESTS } else { 0 };
        let was_cut = if self.was_cut { WAS_CUT } else { 0 };
        by_requests | was_cut | self.fault.to_bits() << FAULT_AT | (self.count as u64) << COUNT_AT
    }

    const fn from_bits(bits: u64) -> Row {
        let by_requests = bits & BY_REQUESTS != 0;
        let fault = match (bits >> FAULT_AT & FAULT_BITS) as usize {
            number @ (1 | 3..=9) => Fault::ALL[number],
            _ if by_requests => Fault::ResponseTimedOut,
            _ => Fault::Refused,
        };
        let count = (bits >> COUNT_AT) as u32 & COUNT_MAX;
        Row { count, fault, by_requests, was_cut: bits & WAS_CUT != 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassiveState {
    Fine,
    Failing {
        row: Row,
        /// The time of the first of them.
        since: Millis,
    },
    Marked {
        row: Row,
        since: Millis,
        /// How often it failed again at once.
        relapses: u32,
    },
    Trial {
        row: Row,
        since: Millis,
        relapses: u32,
    },
}

/// What clients' requests and probes told of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Passive {
    state: PassiveState,
}

// Where the parts lie in the bits.
const TAG: u64 = 0b11;
const FAILING: u64 = 1;
const MARKED: u64 = 2;
const TRIAL: u64 = 3;
const BY_REQUESTS: u64 = 0b100;
const FAULT_AT: u32 = 3;
const FAULT_BITS: u64 = 0xf;
const WAS_CUT: u64 = 0x80;
const COUNT_AT: u32 = 8;
/// The most that is counted in a row; more than any rule asks for.
const COUNT_MAX: u32 = 0xff;
const SINCE_AT: u32 = 16;
/// 34 years.
const SINCE_BITS: u64 = (1 << 40) - 1;
const RELAPSES_AT: u32 = 56;
const RELAPSES_MAX: u32 = 0xff;

impl Passive {
    /// A backend that nothing speaks against.
    pub const fn new() -> Passive {
        Passive { state: PassiveState::Fine }
    }

    /// A backend that is marked, until a connection to it opens.
    pub const fn unreachable(since: Millis) -> Passive {
        let row = Row { count: 0, ..Row::of(Fault::Refused) };
        Passive { state: PassiveState::Marked { row, since, relapses: 0 } }
    }

    /// Whether the backend is not marked as down.
    pub const fn is_up(&self) -> bool {
        match self.state {
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Trial { .. } => true,
            PassiveState::Marked { .. } => false,
        }
    }

    /// Whether it has come back from a mark by what requests show, and has given no good response yet.
    pub const fn is_on_trial(&self) -> bool {
        matches!(self.state, PassiveState::Trial { .. })
    }

    /// Why it is marked.
    pub const fn why(&self) -> Option<WhyMarked> {
        match self.state {
            PassiveState::Marked { row, relapses, .. } => {
                Some(WhyMarked { count: row.count, fault: row.fault, again: relapses > 0 })
            }
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Trial { .. } => None,
        }
    }

    /// How long the mark lasts at least, whatever connects. `None`: a connection that opens ends it, or
    /// there is none.
    pub fn least_time(&self, rules: &Rules) -> Option<Millis> {
        match self.state {
            PassiveState::Marked { row, relapses, .. } if row.by_requests => {
                Some(doubled(rules.fail_timeout, relapses))
            }
            PassiveState::Fine
            | PassiveState::Failing { .. }
            | PassiveState::Marked { .. }
            | PassiveState::Trial { .. } => None,
        }
    }

    /// Before when no probe ends the mark; a time that is past where one may.
    pub fn not_before(&self, rules: &Rules) -> Option<Millis> {
        match self.state {
            PassiveState::Marked { since, .. } => {
                Some(self.least_time(rules).map_or(since, |time| since + time))
            }
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Trial { .. } => None,
        }
    }

    /// All of it in a number. Times from 2^40 ms on are cut.
    pub const fn to_bits(self) -> u64 {
        let (tag, row, since, relapses) = match self.state {
            PassiveState::Fine => return 0,
            PassiveState::Failing { row, since } => (FAILING, row, since, 0),
            PassiveState::Marked { row, since, relapses } => (MARKED, row, since, relapses),
            PassiveState::Trial { row, since, relapses } => (TRIAL, row, since, relapses),
        };
        let since = (since.0 & SINCE_BITS) << SINCE_AT;
        tag | row.to_bits() | since | (relapses as u64) << RELAPSES_AT
    }

    /// What `to_bits` made the number of.
    pub const fn from_bits(bits: u64) -> Passive {
        let (row, since) = (Row::from_bits(bits), Millis(bits >> SINCE_AT & SINCE_BITS));
        let relapses = (bits >> RELAPSES_AT) as u32;
        let state = match bits & TAG {
            0 => PassiveState::Fine,
            FAILING => PassiveState::Failing { row, since },
            MARKED => PassiveState::Marked { row, since, relapses },
            _ => PassiveState::Trial { row, since, relapses },
        };
        Passive { state }
    }
}

/// The state as it is handed to another image of the program, which may be an older one: in terms that it
/// understands. A backend on trial counts as up there, and a mark is not doubled. An image that understands
/// more gets that by `WholePassive`.
impl From<Passive> for u64 {
    fn from(passive: Passive) -> u64 {
        match passive.state {
            PassiveState::Trial { .. } => 0,
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Marked { .. } => {
                passive.to_bits() & !(u64::MAX << RELAPSES_AT)
            }
        }
    }
}

impl From<u64> for Passive {
    fn from(bits: u64) -> Passive {
        Passive::from_bits(bits)
    }
}

/// What a [`Passive`] does not tell another image of the program in terms of the one before this: that it is
/// on trial, and how often it failed again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct WholePassive(pub Passive);

impl WholePassive {
    /// All of it, if there is more to tell.
    pub fn of(passive: Passive) -> Option<WholePassive> {
        (u64::from(passive) != passive.to_bits()).then_some(WholePassive(passive))
    }
}

impl From<WholePassive> for u64 {
    fn from(WholePassive(passive): WholePassive) -> u64 {
        passive.to_bits()
    }
}

impl From<u64> for WholePassive {
    fn from(bits: u64) -> WholePassive {
        WholePassive(Passive::from_bits(bits))
    }
}

impl Default for Passive {
    fn default() -> Passive {
        Passive::new()
    }
}

/// Why a backend is marked, as operators read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhyMarked {
    count: u32,
    fault: Fault,
    again: bool,
}

impl fmt::Display for WhyMarked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, was, were, done) = match self.fault {
            Fault::Refused => ("connection", "was", "were", "refused"),
            Fault::ConnectTimedOut => ("connection", "was", "were", "not opened in time"),
            Fault::ResponseTimedOut => ("request", "was", "were", "not answered in time"),
            Fault::Closed => ("connection", "was", "were", "closed without a response"),
            Fault::Reset => ("connection", "was", "were", "reset"),
            Fault::Malformed => ("response", "was", "were", "malformed"),
            Fault::TooLong => ("response", "had", "had", "a head above the limit"),
            Fault::Cut => ("response", "was", "were", "cut short"),
            Fault::Status => ("response", "had", "had", "a status of fail_status"),
            Fault::Various => ("request", "failed", "failed", "in several ways"),
        };
        match self.count {
            0 | 1 => write!(out, "a {what} {was} {done}")?,
            count => write!(out, "{count} {what}s in a row {were} {done}")?,
        }
        out.write_str(if self.again { " as soon as it was back" } else { "" })
    }
}

/// Takes in what was seen of a backend, and says what that changes.
///
/// `last_up` says that this is the only backend that is up. It is never marked: a bad backend is
/// better than none. Its failures go on being counted, for the time when it is not the last.
pub fn observe(
    passive: &mut Passive,
    event: HealthEvent,
    moment: Moment,
    rules: &Rules,
    last_up: bool,
) -> Option<Change> {
    let now = moment.now;
    let (next, change) = match (passive.state, event) {
        (
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Trial { .. },
            HealthEvent::Failed(fault),
        ) => failed(passive.state, fault, moment, rules, last_up),
        (PassiveState::Failing { .. }, HealthEvent::Answered) => (PassiveState::Fine, None),
        (PassiveState::Failing { row, .. }, HealthEvent::Responding) if !row.was_cut => {
            (PassiveState::Fine, None)
        }
        (PassiveState::Trial { since, .. }, HealthEvent::Answered) if moment.begun >= since => {
            (PassiveState::Fine, None)
        }
        (PassiveState::Trial { row, since, .. }, HealthEvent::Responding)
            if moment.begun >= since && !row.was_cut =>
        {
            (PassiveState::Fine, None)
        }
        (PassiveState::Marked { row, since, relapses }, HealthEvent::ProbeSucceeded) => {
            // A time that is still to come is none that anybody has written who is to be trusted.
            let is_over = now < since || now - since >= doubled(rules.fail_timeout, relapses);
            match row.by_requests {
                true if !is_over => (passive.state, None),
                true => (PassiveState::Trial { row, since: now, relapses }, Some(Change::Up)),
                false if relapses > 0 => {
                    (PassiveState::Trial { row, since: now, relapses }, Some(Change::Up))
                }
                false => (PassiveState::Fine, Some(Change::Up)),
            }
        }
        // What was under way when the mark was made, or when the trial began, ends as it may. And a
        // connection that opens, or does not, for the control process alone is no failure of a request.
        (
            PassiveState::Marked { .. },
            HealthEvent::Failed(_)
            | HealthEvent::Responding
            | HealthEvent::Answered
            | HealthEvent::ProbeFailed,
        )
        | (PassiveState::Fine, HealthEvent::Responding | HealthEvent::Answered)
        | (PassiveState::Failing { .. }, HealthEvent::Responding)
        | (PassiveState::Trial { .. }, HealthEvent::Responding | HealthEvent::Answered)
        | (
            PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Trial { .. },
            HealthEvent::ProbeSucceeded | HealthEvent::ProbeFailed,
        ) => (passive.state, None),
    };
    passive.state = next;
    change
}

/// The state after one more failure. Failures count together within `fail_timeout` of the first; on trial, one
/// is enough.
fn failed(
    state: PassiveState,
    fault: Fault,
    moment: Moment,
    rules: &Rules,
    last_up: bool,
) -> (PassiveState, Option<Change>) {
    let now = moment.now;
    let (row, since) = match state {
        PassiveState::Trial { since, relapses, .. } => {
            if last_up || moment.begun < since {
                return (state, None);
            }
            // One that nobody listens at is back as soon as somebody does.
            let relapses = relapses + u32::from(fault.is_shown_by_requests());
            let relapses = relapses.min(RELAPSES_MAX);
            let marked = PassiveState::Marked { row: Row::of(fault), since: now, relapses };
            return (marked, Some(Change::Down));
        }
        PassiveState::Failing { .. } if moment.together && fault.is_quick() => {
            return (state, None);
        }
        PassiveState::Failing { row, since } if now - since <= rules.fail_timeout => {
            (row.and(fault), since)
        }
        PassiveState::Fine | PassiveState::Failing { .. } | PassiveState::Marked { .. } => {
            (Row::of(fault), now)
        }
    };
    if row.count >= rules.max_fails && !last_up {
        (PassiveState::Marked { row, since: now, relapses: 0 }, Some(Change::Down))
    } else {
        (PassiveState::Failing { row, since }, None)
    }
}

/// How long a mark lasts after so many relapses.
fn doubled(fail_timeout: Millis, relapses: u32) -> Millis {
    let longest = LONGEST.max(fail_timeout);
    let doubled = fail_timeout.0.checked_mul(1 << relapses.min(40));
    Millis(doubled.unwrap_or(u64::MAX)).min(longest)
}

#[cfg(test)]
#[path = "passive_tests.rs"]
mod tests;
