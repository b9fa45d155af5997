//! Which unused backend connection may be taken, and how long one is kept.
//!
//! A connection that its backend is about to close eats the request that is sent on it. So none is
//! used that has been idle for nearly as long as that backend is known to wait.

use crate::mem::time::Millis;

/// A request that cannot be repeated only takes a connection that was idle for less than this.
const FRESH_ENOUGH: Millis = Millis(1000);

/// Closing after less than this says nothing of how long a backend waits.
const TELLING: Millis = Millis(100);

/// What is known of how long one backend keeps an unused connection.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimit {
    configured: Millis,
    announced: Option<Millis>,
    /// The shortest idle time after which the backend was seen to close.
    closed_after: Option<Millis>,
}

impl IdleLimit {
    /// Of a backend nothing is known of but `configured`, our own limit.
    pub const fn new(configured: Millis) -> IdleLimit {
        IdleLimit { configured, announced: None, closed_after: None }
    }

    /// The backend sent `Keep-Alive: timeout=SECONDS`. What it said last counts.
    pub const fn keep_alive(&mut self, seconds: u32) {
        self.announced = Some(Millis::from_secs(seconds.saturating_sub(1) as u64));
    }

    /// The backend closed a connection that was unused for `idle`. One that was used just before
    /// says nothing: its backend stops, or counts requests.
    pub fn seen_closing(&mut self, idle: Millis) {
        if idle < TELLING {
            return;
        }
        self.closed_after = Some(self.closed_after.map_or(idle, |shortest| shortest.min(idle)));
    }

    /// All that was learned is void: another process may answer at that address by now.
    pub const fn forget(&mut self) {
        *self = IdleLimit::new(self.configured);
    }

    /// How long a connection to this backend may be unused: the least of our own limit, the
    /// announced time less a second, and 0.8 of the shortest time seen.
    pub fn limit(&self) -> Millis {
        let announced = self.announced.unwrap_or(self.configured);
        let Millis(seen) = self.closed_after.unwrap_or(Millis(u64::MAX));
        let safe = Millis(seen / 5 * 4 + seen % 5 * 4 / 5); // 0.8, without overflow
        self.configured.min(announced).min(safe)
    }
}

/// Whether a request may go over a connection that was unused for `idle_for`, with the backend's
/// [`IdleLimit::limit`].
pub fn may_reuse(idle_for: Millis, limit: Millis, idempotent: bool) -> bool {
    idle_for < limit && (idempotent || idle_for < FRESH_ENOUGH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_that_is_known_is_the_limit() {
        let mut known = IdleLimit::new(Millis(4000));
        assert_eq!(known.limit(), Millis(4000));
        known.keep_alive(75);
        assert_eq!(known.limit(), Millis(4000));
        known.keep_alive(3);
        assert_eq!(known.limit(), Millis(2000));
        known.seen_closing(Millis(1000));
        assert_eq!(known.limit(), Millis(800));
        known.seen_closing(Millis(5000));
        assert_eq!(known.limit(), Millis(800));
        known.seen_closing(Millis(999));
        assert_eq!(known.limit(), Millis(799));
        known.keep_alive(1);
        assert_eq!(known.limit(), Millis(0));
        known.keep_alive(0);
        assert_eq!(known.limit(), Millis(0));
        known.forget();
        assert_eq!(known.limit(), Millis(4000));
    }

    #[test]
    fn no_number_is_too_large() {
        let mut known = IdleLimit::new(Millis(u64::MAX));
        known.keep_alive(u32::MAX);
        known.seen_closing(Millis(u64::MAX));
        assert_eq!(known.limit(), Millis::from_secs(u64::from(u32::MAX) - 1));
    }

    #[test]
    fn eight_tenths_are_rounded_down() {
        for seen in TELLING.0..TELLING.0 + 100 {
            let mut known = IdleLimit::new(Millis(4000));
            known.seen_closing(Millis(seen));
            assert_eq!(known.limit(), Millis(seen * 8 / 10));
        }
    }

    #[test]
    fn a_connection_closed_right_after_use_teaches_nothing() {
        let mut known = IdleLimit::new(Millis(4000));
        known.seen_closing(Millis(TELLING.0 - 1));
        assert_eq!(known.limit(), Millis(4000));
    }

    #[test]
    fn what_cannot_be_repeated_takes_no_connection_idle_for_a_second() {
        let limit = Millis(4000);
        for (idle, for_any, for_idempotent) in
            [(0, true, true), (999, true, true), (1000, false, true), (3999, false, true)]
        {
            assert_eq!(may_reuse(Millis(idle), limit, false), for_any, "{idle}");
            assert_eq!(may_reuse(Millis(idle), limit, true), for_idempotent, "{idle}");
        }
    }

    #[test]
    fn nothing_is_reused_at_its_limit() {
        for idempotent in [false, true] {
            assert!(!may_reuse(Millis(4000), Millis(4000), idempotent));
            assert!(!may_reuse(Millis(500), Millis(500), idempotent));
            assert!(may_reuse(Millis(499), Millis(500), idempotent));
            assert!(!may_reuse(Millis(0), Millis(0), idempotent));
        }
    }
}
