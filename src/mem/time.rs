//! Durations and points in time, as numbers that know their unit.
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Milliseconds: a duration, or a point on the monotonic clock. Sums and differences saturate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Millis(pub u64);

/// Microseconds: a duration, or a point on the monotonic clock. Sums and differences saturate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Micros(pub u64);

/// What time it is, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Monotonic.
    pub clock: Micros,
    /// Since the epoch.
    pub wall: Micros,
}

impl Millis {
    /// So many whole seconds.
    pub const fn from_secs(seconds: u64) -> Millis {
        Millis(seconds.saturating_mul(1_000))
    }
}

impl Micros {
    /// So many whole seconds.
    pub const fn from_secs(seconds: u64) -> Micros {
        Micros(seconds.saturating_mul(1_000_000))
    }

    /// The same time in milliseconds, rounded down.
    pub const fn millis(self) -> Millis {
        Millis(self.0 / 1_000)
    }
}

impl From<Millis> for Micros {
    fn from(time: Millis) -> Micros {
        Micros(time.0.saturating_mul(1_000))
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Millis;
    fn sub(self, other: Millis) -> Millis {
        Millis(self.0.saturating_sub(other.0))
    }
}

impl Add for Micros {
    type Output = Micros;
    fn add(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }
}

impl Sub for Micros {
    type Output = Micros;
    fn sub(self, other: Micros) -> Micros {
        Micros(self.0.saturating_sub(other.0))
    }
}

/// The time since `start`, nothing if it never was.
pub fn elapsed(start: Micros, now: Micros) -> Micros {
    if start == Micros(0) { Micros(0) } else { Micros(now.0.saturating_sub(start.0)) }
}

/// The one of two times that comes first, as far as there are any.
#[inline]
pub fn sooner(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_stop_at_the_ends() {
        assert_eq!(Millis(3) - Millis(5), Millis(0));
        assert_eq!(Millis(u64::MAX) + Millis(5), Millis(u64::MAX));
        assert_eq!(Micros(3) - Micros(5), Micros(0));
        assert_eq!(Micros(u64::MAX) + Micros(5), Micros(u64::MAX));
        assert_eq!(Millis::from_secs(u64::MAX), Millis(u64::MAX));
    }

    #[test]
    fn units_are_converted_downwards() {
        assert_eq!(Millis::from_secs(2), Millis(2_000));
        assert_eq!(Micros::from_secs(2).millis(), Millis(2_000));
        assert_eq!(Micros(1_999).millis(), Millis(1));
    }
}
