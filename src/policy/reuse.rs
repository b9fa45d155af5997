//! Which idle backend connection may be taken, and how long one is kept.
//!
//! A connection that its backend is about to close eats the request that is sent on it. So none is
//! used that has been idle for nearly as long as that backend is known to wait.

use crate::mem::time::Millis;

/// A request that cannot be repeated only takes a connection that was idle for less than this.
const FRESH_ENOUGH: Millis = Millis(1000);

/// Closing after less than this says nothing of how long a backend waits.
const TELLING: Millis = Millis(100);

/// Connections in a row, lost and none used again, after which no connection is kept.
const LOST_IN_A_ROW: u8 = 8;

/// How long no connection is kept then.
const NONE_KEPT: Millis = Millis::from_secs(600);

/// What is known of how long one backend keeps an idle connection.
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

    /// The backend closed a connection that was idle for `idle`. One that was used just before
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

    /// How long a connection to this backend may be idle: the least of our own limit, the
    /// announced time less a second, and 0.8 of the shortest time seen.
    pub fn limit(&self) -> Millis {
        let limit =
            self.announced.map_or(self.configured, |announced| announced.min(self.configured));
        self.closed_after.map_or(limit, |Millis(seen)| {
            let safe = Millis(seen / 5 * 4 + seen % 5 * 4 / 5); // 0.8, without overflow
            limit.min(safe)
        })
    }
}

/// Whether one backend's connections are kept at all.
///
/// There are servers that close after each response and do not say so. What is sent over such a
/// connection is lost, and what cannot be repeated fails with it.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    configured: Millis,
    /// Connections in a row that the backend closed before a response came over them once more.
    lost: u8,
    /// Until when no connection is kept.
    none_until: Millis,
}

impl Keeping {
    /// Of a backend nothing is known of; `configured`, our own limit, is 0 where none is to be kept.
    pub const fn new(configured: Millis) -> Keeping {
        Keeping { configured, lost: 0, none_until: Millis(0) }
    }

    /// A response came over a connection that had been used before.
    pub const fn used_again(&mut self) {
        self.lost = 0;
    }

    /// A request found its connection, which had been used before, closed. Whether this is the one
    /// that makes the backend one that keeps none.
    pub fn lost(&mut self, now: Millis) -> bool {
        if now < self.none_until {
            return false; // It is known, and what was kept before is lost as well.
        }
        self.lost += 1;
        let is_enough = self.lost >= LOST_IN_A_ROW;
        if is_enough {
            self.lost = 0;
            self.none_until = now + NONE_KEPT;
        }
        is_enough
    }

    /// The backend closed a connection that was idle for `idle`. Right behind its response this
    /// says the same as [`Keeping::lost`], and harms nobody yet; later it is the backend's limit.
    pub fn seen_closing(&mut self, idle: Millis, now: Millis) -> bool {
        idle < TELLING && self.lost(now)
    }

    /// Whether a connection may be kept, and another request follow over it.
    pub fn may_keep(&self, now: Millis) -> bool {
        self.configured > Millis(0) && now >= self.none_until
    }

    /// All that was learned is void: another process may answer at that address by now.
    pub const fn forget(&mut self) {
        *self = Keeping::new(self.configured);
    }
}

/// Whether a request may go over a connection that was idle for `idle_for`, with the backend's
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
    fn eight_lost_in_a_row_end_keeping_for_ten_minutes() {
        let start = Millis(1000);
        let mut keeping = Keeping::new(Millis(4000));
        for _ in 0..7 {
            assert!(!keeping.lost(start));
        }
        keeping.used_again();
        for _ in 0..7 {
            assert!(!keeping.seen_closing(Millis(0), start));
            assert!(keeping.may_keep(start));
        }
        assert!(keeping.lost(start));
        assert!(!keeping.may_keep(start));
        for _ in 0..20 {
            assert!(!keeping.lost(start + Millis(599_999)), "it is told once");
        }
        assert!(!keeping.may_keep(start + Millis(599_999)));
        let later = start + Millis(600_000);
        assert!(keeping.may_keep(later));
        assert!(!keeping.lost(later), "and it is learned anew");
        assert!(keeping.may_keep(later));
    }

    #[test]
    fn a_backend_that_closes_what_was_idle_for_a_while_keeps_connections() {
        let mut keeping = Keeping::new(Millis(4000));
        for _ in 0..100 {
            assert!(!keeping.seen_closing(TELLING, Millis(0)));
        }
        assert!(keeping.may_keep(Millis(0)));
    }

    #[test]
    fn where_nothing_is_to_be_kept_nothing_is() {
        let mut keeping = Keeping::new(Millis(0));
        assert!(!keeping.may_keep(Millis(1 << 40)));
        keeping.forget();
        assert!(!keeping.may_keep(Millis(1 << 40)));
    }

    #[test]
    fn what_was_learned_of_a_process_is_forgotten_with_it() {
        let mut keeping = Keeping::new(Millis(4000));
        for count in 1..=8 {
            assert_eq!(keeping.lost(Millis(0)), count == 8);
        }
        keeping.forget();
        assert!(keeping.may_keep(Millis(0)));
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
