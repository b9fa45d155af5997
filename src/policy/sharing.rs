//! Whether requests may stand behind each other on one connection of a backend.
//!
//! Two requests in one send cost half of what two connections cost, but not every server takes a
//! second request before it has answered the first: some forget it, some see it only once more bytes
//! come, some send more than they announced. So a backend has to show that it can, a pair at a time,
//! and one that fails gets a connection for each request for a while.

use crate::mem::time::{Micros, Millis};

/// A backend that answers within this time as a rule shares its connections: requests that were
/// taken in together wait behind each other. A slower one gets a connection for each.
const FAST: Micros = Micros(4_000);

/// Pairs that were answered well before more than one is under way, or more than two share a
/// connection.
const PROOF: u32 = 10;

/// How long a request that stands behind another waits, at least, without a byte.
pub const LEAST_PATIENCE: Millis = Millis(50);

/// The same wait, in times of what the backend takes as a rule.
const PATIENCE_IN_PACES: u64 = 10;

/// How long a backend that failed for the first time shares nothing.
const FIRST_BAR: Millis = Millis::from_secs(60);

/// The longest time for which a backend shares nothing; it doubles each time.
const LONGEST_BAR: Millis = Millis::from_secs(3600);

/// Pairs, answered well in a row, after which earlier failures are forgotten.
const FORGIVEN: u32 = 1000;

/// How fast a backend answers as a rule, and whether it keeps its connections.
#[derive(Clone, Copy, Debug)]
pub struct LatencyEstimate {
    /// The usual time to a response: a moving average over about eight.
    typical: Micros,
    keeps_connections: bool,
}

impl Default for LatencyEstimate {
    /// Slow until it has shown otherwise.
    fn default() -> LatencyEstimate {
        LatencyEstimate { typical: Micros(2 * FAST.0), keeps_connections: false }
    }
}

impl LatencyEstimate {
    /// Notes a response that took `time` from its request, or from the response before it.
    pub fn observe(&mut self, time: Micros, keeps_connection: bool) {
        self.typical = Micros((7 * self.typical.0 + time.0) / 8);
        self.keeps_connections = keeps_connection;
    }

    /// Whether requests are better off behind each other than on connections of their own.
    const fn is_fast(&self) -> bool {
        self.keeps_connections && self.typical.0 < FAST.0
    }

    /// The backend's usual time from a request, or the response before, to a response.
    pub const fn usual(&self) -> Micros {
        self.typical
    }

    /// How long a request that stood behind another waits for the first byte of its response, from
    /// the moment when the one before it was answered.
    pub fn patience(&self) -> Micros {
        Micros::from(LEAST_PATIENCE).max(Micros(PATIENCE_IN_PACES * self.typical.0))
    }
}

/// How many requests may share a connection of a backend now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// No request stands behind another.
    None,
    /// Two, on a connection over which a response came before, and on no other at the same time.
    Pair,
    /// As many requests as came together.
    Many,
}

/// What is known of how one backend takes a request that comes early.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    stage: PairStage,
    /// How long the next bar is.
    bar: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PairStage {
    /// So many requests in a row were answered that stood behind another: at first one at a time, from
    /// [`PROOF`] on as many as come.
    Answered(u32),
    /// The backend failed: nothing is shared until then.
    Barred(Millis),
}

impl Default for Sharing {
    /// A backend of which nothing is known.
    fn default() -> Sharing {
        Sharing { stage: PairStage::Answered(0), bar: FIRST_BAR }
    }
}

impl Sharing {
    /// How many requests may share a connection of a backend of this pace.
    pub fn leave(&self, pace: &LatencyEstimate, now: Millis) -> Leave {
        if !pace.is_fast() {
            return Leave::None;
        }
        match self.stage {
            PairStage::Barred(until) if now < until => Leave::None,
            PairStage::Barred(_) | PairStage::Answered(..PROOF) => Leave::Pair,
            PairStage::Answered(PROOF..) => Leave::Many,
        }
    }

    /// A request that stood behind another was answered well.
    pub fn answered(&mut self, now: Millis) {
        let before = match self.stage {
            PairStage::Barred(until) if now < until => return, // It was sent before the one that failed.
            PairStage::Barred(_) => 0,
            PairStage::Answered(count) => count,
        };
        self.stage = PairStage::Answered(before.saturating_add(1));
        if before + 1 >= FORGIVEN {
            self.bar = FIRST_BAR;
        }
    }

    /// A shared connection failed, or was silent for longer than the [`LatencyEstimate::patience`].
    pub fn failed(&mut self, now: Millis) {
        if matches!(self.stage, PairStage::Barred(until) if now < until) {
            return; // What was shared before the bar: one cause, one bar.
        }
        self.stage = PairStage::Barred(now + self.bar);
        self.bar = Millis(self.bar.0 * 2).min(LONGEST_BAR);
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
