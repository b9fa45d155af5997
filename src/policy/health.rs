//! Results to up or down.
//!
//! [`Passive`] is what clients' requests tell of one backend: failures in a row, within a time, mark
//! it as down. Then no client's request is the guinea pig: the mark ends by a probe. [`Check`] is
//! what active checks tell, [`AdminState`] what the operator wants. [`availability`] makes one word of
//! the three.
//!
//! Each has a form in bits, for a cell that several processes change. All bits 0 is a backend that
//! nothing is known of: it may be asked.

use serde::{Deserialize, Serialize};

use crate::mem::time::Millis;

/// When a backend is marked.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many failures in a row mark it. At least 1.
    pub max_fails: u32,
    /// Within this time; and so long a mark lasts at least that is owed to responses timed out.
    pub fail_timeout: Millis,
}

/// What was seen of a backend. Single resets and answers of 5xx are none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// A connection was refused, or did not open in time.
    ConnectFailed,
    /// A request was not answered in time.
    ResponseTimedOut,
    /// A request was answered, whatever the status.
    Answered,
    /// The control process could connect.
    ProbeSucceeded,
    /// It could not.
    ProbeFailed,
}

/// What an [`HealthEvent`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The backend is to be passed over from now on.
    Down,
    /// It may be asked again.
    Up,
}

/// Why a backend is marked, which decides what ends the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nobody listens. A connection that opens refutes that.
    Unreachable,
    /// It takes connections and then says nothing. A connection that opens says nothing either.
    Hanging,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HealthState {
    Fine,
    Failing {
        in_a_row: u32,
        /// The time of the first of them.
        since: Millis,
        /// Hanging if any of them was.
        cause: Cause,
    },
    Marked {
        cause: Cause,
        since: Millis,
    },
}

/// What clients' requests and probes told of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Passive {
    state: HealthState,
}

// Where the parts of a `Passive` and of a `Check` lie in their bits.
const TAG: u64 = 0b11;
const FAILING: u64 = 1;
const MARKED: u64 = 2;
const DOWN: u64 = 1;
const HANGING: u64 = 0b100;
const COUNT_AT: u32 = 8;
/// The most that is counted in a row; more than any rule asks for.
const COUNT_MAX: u32 = 0xff;
const SINCE_AT: u32 = 16;

impl Passive {
    /// A backend that nothing speaks against.
    pub const fn new() -> Passive {
        Passive { state: HealthState::Fine }
    }

    /// A backend that is marked, until a connection to it opens.
    pub const fn unreachable(since: Millis) -> Passive {
        Passive { state: HealthState::Marked { cause: Cause::Unreachable, since } }
    }

    /// Whether the backend is not marked as down.
    pub const fn is_up(&self) -> bool {
        match self.state {
            HealthState::Fine | HealthState::Failing { .. } => true,
            HealthState::Marked { .. } => false,
        }
    }

    /// All of it in a number. Times from 2^48 ms (8,900 years) on are cut.
    pub const fn to_bits(self) -> u64 {
        match self.state {
            HealthState::Fine => 0,
            HealthState::Failing { in_a_row, since, cause } => {
                FAILING | cause.bits() | (in_a_row as u64) << COUNT_AT | since.0 << SINCE_AT
            }
            HealthState::Marked { cause, since } => MARKED | cause.bits() | since.0 << SINCE_AT,
        }
    }

    /// What `to_bits` made the number of.
    pub const fn from_bits(bits: u64) -> Passive {
        let cause = if bits & HANGING == 0 { Cause::Unreachable } else { Cause::Hanging };
        let since = Millis(bits >> SINCE_AT);
        let state = match bits & TAG {
            0 => HealthState::Fine,
            FAILING => HealthState::Failing { in_a_row: count(bits), since, cause },
            _ => HealthState::Marked { cause, since },
        };
        Passive { state }
    }
}

impl From<Passive> for u64 {
    fn from(passive: Passive) -> u64 {
        passive.to_bits()
    }
}

impl From<u64> for Passive {
    fn from(bits: u64) -> Passive {
        Passive::from_bits(bits)
    }
}

impl Cause {
    const fn bits(self) -> u64 {
        match self {
            Cause::Unreachable => 0,
            Cause::Hanging => HANGING,
        }
    }
}

const fn count(bits: u64) -> u32 {
    (bits >> COUNT_AT) as u32 & COUNT_MAX
}

impl Default for Passive {
    fn default() -> Passive {
        Passive::new()
    }
}

/// Takes in what was seen of a backend, and says what that changes.
///
/// `last_up` says that this is the only backend that is up. It is never marked: a bad backend is
/// better than none. Its failures go on being counted, for the time when it is not the last.
pub fn observe(
    passive: &mut Passive,
    event: HealthEvent,
    now: Millis,
    rules: &Rules,
    last_up: bool,
) -> Option<Change> {
    let (next, change) = match (passive.state, event) {
        (HealthState::Fine | HealthState::Failing { .. }, HealthEvent::ConnectFailed) => {
            failed(passive.state, Cause::Unreachable, now, rules, last_up)
        }
        (HealthState::Fine | HealthState::Failing { .. }, HealthEvent::ResponseTimedOut) => {
            failed(passive.state, Cause::Hanging, now, rules, last_up)
        }
        (HealthState::Fine | HealthState::Failing { .. }, HealthEvent::Answered) => {
            (HealthState::Fine, None)
        }
        (HealthState::Marked { cause, since }, HealthEvent::ProbeSucceeded) => match cause {
            Cause::Hanging if now - since < rules.fail_timeout => (passive.state, None),
            Cause::Unreachable | Cause::Hanging => (HealthState::Fine, Some(Change::Up)),
        },
        // What was under way when the mark was made ends as it may. And a connection that opens, or
        // does not, for the control process alone is no failure of a request.
        (
            HealthState::Marked { .. },
            HealthEvent::ConnectFailed
            | HealthEvent::ResponseTimedOut
            | HealthEvent::Answered
            | HealthEvent::ProbeFailed,
        )
        | (
            HealthState::Fine | HealthState::Failing { .. },
            HealthEvent::ProbeSucceeded | HealthEvent::ProbeFailed,
        ) => (passive.state, None),
    };
    passive.state = next;
    change
}

/// One more failure. They count together within `fail_timeout` of the first.
fn failed(
    state: HealthState,
    cause: Cause,
    now: Millis,
    rules: &Rules,
    last_up: bool,
) -> (HealthState, Option<Change>) {
    let (in_a_row, since, cause) = match state {
        HealthState::Failing { in_a_row, since, cause: before }
            if now - since <= rules.fail_timeout =>
        {
            let cause = if before == Cause::Hanging { before } else { cause };
            ((in_a_row + 1).min(COUNT_MAX), since, cause)
        }
        HealthState::Fine | HealthState::Failing { .. } | HealthState::Marked { .. } => {
            (1, now, cause)
        }
    };
    if in_a_row >= rules.max_fails && !last_up {
        (HealthState::Marked { cause, since: now }, Some(Change::Down))
    } else {
        (HealthState::Failing { in_a_row, since, cause }, None)
    }
}

/// What active checks told of one backend. New ones are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub enum Check {
    /// It may be asked.
    Up {
        /// Checks that failed since the last one that passed.
        failed: u32,
    },
    /// It is to be passed over.
    Down {
        /// Checks that passed since the last one that failed.
        passed: u32,
    },
}

/// When checks change a backend's state. Both 1 to 100.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// So many that pass in a row bring it back.
    pub rise: u32,
    /// So many that fail in a row take it out.
    pub fall: u32,
}

impl Check {
    /// A backend that nothing speaks against.
    pub const fn new() -> Check {
        Check::Up { failed: 0 }
    }

    /// Takes in whether a check passed, and says what that changes.
    pub fn observe(&mut self, passed: bool, rules: &CheckRules) -> Option<Change> {
        let (next, change) = match (*self, passed) {
            (Check::Up { .. }, true) => (Check::Up { failed: 0 }, None),
            (Check::Down { .. }, false) => (Check::Down { passed: 0 }, None),
            (Check::Up { failed }, false) if failed + 1 >= rules.fall => {
                (Check::Down { passed: 0 }, Some(Change::Down))
            }
            (Check::Down { passed }, true) if passed + 1 >= rules.rise => {
                (Check::Up { failed: 0 }, Some(Change::Up))
            }
            (Check::Up { failed }, false) => (Check::Up { failed: failed + 1 }, None),
            (Check::Down { passed }, true) => (Check::Down { passed: passed + 1 }, None),
        };
        *self = next;
        change
    }

    /// Whether checks do not speak against asking it.
    pub const fn is_up(self) -> bool {
        matches!(self, Check::Up { .. })
    }

    /// Whether the last check spoke against the state, so that the next should follow soon.
    pub const fn is_changing(self) -> bool {
        let (Check::Up { failed: count } | Check::Down { passed: count }) = self;
        count > 0
    }

    /// All of it in a number.
    pub const fn to_bits(self) -> u64 {
        match self {
            Check::Up { failed } => (failed as u64) << COUNT_AT,
            Check::Down { passed } => DOWN | (passed as u64) << COUNT_AT,
        }
    }

    /// What `to_bits` made the number of.
    pub const fn from_bits(bits: u64) -> Check {
        if bits & DOWN == 0 {
            Check::Up { failed: count(bits) }
        } else {
            Check::Down { passed: count(bits) }
        }
    }
}

impl From<Check> for u64 {
    fn from(check: Check) -> u64 {
        check.to_bits()
    }
}

impl From<u64> for Check {
    fn from(bits: u64) -> Check {
        Check::from_bits(bits)
    }
}

impl Default for Check {
    fn default() -> Check {
        Check::new()
    }
}

/// What the operator wants of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// It serves.
    Ready,
    /// It gets no new request but those of its sticky clients.
    Drain,
    /// It gets none at all.
    Maint,
    /// It gets none at all and is forgotten once it has none left.
    Leaving,
}

impl AdminState {
    /// In a number of two bits.
    pub const fn to_bits(self) -> u64 {
        match self {
            AdminState::Ready => 0,
            AdminState::Drain => 1,
            AdminState::Maint => 2,
            AdminState::Leaving => 3,
        }
    }

    /// What `to_bits` made the two lowest bits of.
    pub const fn from_bits(bits: u64) -> AdminState {
        match bits & 3 {
            0 => AdminState::Ready,
            1 => AdminState::Drain,
            2 => AdminState::Maint,
            _ => AdminState::Leaving,
        }
    }
}

/// Whether a backend may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// By everybody.
    Up,
    /// Not: it does not work.
    Down,
    /// By its sticky clients at most: the operator wants it to become idle.
    Drain,
    /// Not: the operator does not want it.
    Maint,
}

impl Availability {
    /// All there are.
    pub const ALL: [Availability; 4] =
        [Availability::Up, Availability::Down, Availability::Drain, Availability::Maint];

    /// As operators read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Availability::Up => "up",
            Availability::Down => "down",
            Availability::Drain => "drain",
            Availability::Maint => "maint",
        }
    }
}

/// Whether a backend may be asked, after all that is known of it.
pub const fn availability(check: Check, passive: Passive, admin: AdminState) -> Availability {
    match admin {
        AdminState::Maint => Availability::Maint,
        AdminState::Ready | AdminState::Drain | AdminState::Leaving
            if !check.is_up() || !passive.is_up() =>
        {
            Availability::Down
        }
        AdminState::Drain | AdminState::Leaving => Availability::Drain,
        AdminState::Ready => Availability::Up,
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
