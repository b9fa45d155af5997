//! Results to up or down.
//!
//! [`Passive`] is what clients' requests tell of one backend: see `passive`. [`Check`] is what active
//! checks tell, [`AdminState`] what the operator wants. [`availability`] makes one word of the three.
//!
//! Each has a form in bits, for a cell. All bits 0 is a backend that nothing is known of: it may be
//! asked.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::passive::{
    Change, Fault, HealthEvent, Moment, Passive, Rules, WholePassive, observe,
};

// Where the parts of a `Check` lie in its bits.
const DOWN: u64 = 1;
const COUNT_AT: u32 = 8;
const COUNT_MAX: u32 = 0xff;

const fn count(bits: u64) -> u32 {
    (bits >> COUNT_AT) as u32 & COUNT_MAX
}

impl AdminState {
    /// As operators write it; `leaving` cannot be written.
    pub const fn as_str(self) -> &'static str {
        match self {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maint => "maint",
            AdminState::Leaving => "leaving",
        }
    }

    /// What operators may write.
    pub fn parse(word: &str) -> Option<AdminState> {
        let all = [AdminState::Ready, AdminState::Drain, AdminState::Maint];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// What active checks told of one backend. New ones are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub enum Check {
    /// The backend may be asked.
    Up {
        /// Checks that failed since the last one that passed.
        failed: u32,
    },
    /// The backend is to be passed over.
    Down {
        /// Checks that passed since the last one that failed.
        passed: u32,
    },
}

/// When checks change a backend's state. Both 1 to 100.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// Checks that must pass in a row for the backend to come up.
    pub rise: u32,
    /// Checks that must fail in a row for the backend to go down.
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

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub enum CheckFault {
    /// The answer had this status, which is none of those that are healthy.
    Status(u16),
    /// The connection was refused, or broke while it was opened.
    NoConnection,
    /// It was not done in time.
    TimedOut,
    /// The connection ended before a whole response head.
    Ended,
    /// What came is no response head, or a longer one than is read.
    Malformed,
}

// Where the status lies in the bits of a `CheckFault`, behind the number of its kind.
const STATUS_AT: u32 = 8;

impl CheckFault {
    /// All of it in a number, never 0.
    pub const fn to_bits(self) -> u64 {
        match self {
            CheckFault::Status(status) => 1 | (status as u64) << STATUS_AT,
            CheckFault::NoConnection => 2,
            CheckFault::TimedOut => 3,
            CheckFault::Ended => 4,
            CheckFault::Malformed => 5,
        }
    }

    /// What `to_bits` made the number of.
    pub const fn from_bits(bits: u64) -> CheckFault {
        match bits & 0xff {
            1 => CheckFault::Status((bits >> STATUS_AT) as u16),
            2 => CheckFault::NoConnection,
            3 => CheckFault::TimedOut,
            4 => CheckFault::Ended,
            _ => CheckFault::Malformed,
        }
    }
}

impl From<CheckFault> for u64 {
    fn from(fault: CheckFault) -> u64 {
        fault.to_bits()
    }
}

impl From<u64> for CheckFault {
    fn from(bits: u64) -> CheckFault {
        CheckFault::from_bits(bits)
    }
}

impl fmt::Display for CheckFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckFault::Status(status) => write!(out, "its check was answered {status}"),
            CheckFault::NoConnection => out.write_str("it cannot be connected to"),
            CheckFault::TimedOut => out.write_str("its check was not answered in time"),
            CheckFault::Ended => out.write_str("its check was not answered"),
            CheckFault::Malformed => out.write_str("its check was not answered by valid HTTP"),
        }
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
