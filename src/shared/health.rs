//! How backends fare: what checks (of the control process) and requests (of any) have found.

use std::sync::atomic::Ordering::SeqCst;

use crate::mem::time::{Micros, Millis};
use crate::policy::health::{
    self, AdminState, Availability, Change, CheckRules, HealthEvent, Moment, Passive, Rules,
    availability,
};

use super::backends::{CHECK, CHECK_FAILURES, LAST_FAILURE, LastCheck, PASSIVE, PROVEN};
use super::layout::{BackendId, PoolId};
use super::segment::Segment;

/// Quick failures of requests that were under way when one was seen count with that one for so long.
const TOGETHER: Micros = Micros(250_000);

impl Segment {
    /// How many members of a pool are up, and how many there are.
    pub fn count_up(&self, pool: PoolId) -> (usize, usize) {
        let mut counts = (0, 0);
        for slot in self.members(pool) {
            counts.0 += usize::from(self.backend(slot).is_up());
            counts.1 += 1;
        }
        counts
    }

    /// Takes in how an active check went. A change is the caller's to tell of, and so are those
    /// who wait to ring.
    pub fn note_check(
        &self,
        slot: BackendId,
        result: LastCheck,
        rules: &CheckRules,
    ) -> Option<Change> {
        let backend = self.backend(slot);
        self.set_last_check(slot, result);
        if !result.passed {
            backend.set(CHECK_FAILURES, backend.check_failures() + 1);
        }
        let mut check = backend.check();
        let change = check.observe(result.passed, rules);
        backend.set(CHECK, check.to_bits());
        self.settle_change(slot, change, backend.passive().is_up(), result.at)
    }

    /// Whether a backend may be asked.
    #[cfg(test)]
    pub fn may_pick(&self, slot: BackendId) -> Availability {
        self.backend(slot).availability()
    }

    /// Takes in what was seen of a backend at a probe: see `observe_request`.
    pub fn observe(
        &self,
        slot: BackendId,
        event: HealthEvent,
        now: Millis,
        rules: &Rules,
    ) -> Option<Change> {
        self.observe_at(slot, event, Moment::at(now), rules)
    }

    /// Takes in what was seen of a backend at a request that has chosen it at `begun`. Who is told of a change has
    /// made it, and nobody else is: it is the caller's to log, and those who wait are to be rung.
    ///
    /// The last backend of its pool that is up is never marked, also if several processes mark the
    /// last few at once.
    pub fn observe_request(
        &self,
        slot: BackendId,
        event: HealthEvent,
        (begun, now): (Micros, Micros),
        rules: &Rules,
    ) -> Option<Change> {
        let before = self.live(slot)[PASSIVE].load(SeqCst);
        if before == 0 && !matches!(event, HealthEvent::Failed(_)) {
            return None; // Nearly always: an answer of one that fares well.
        }
        let backend = self.backend(slot);
        let last = Micros(backend.get_live(LAST_FAILURE));
        let together = begun < last && now - last < TOGETHER;
        let moment = Moment { now: now.millis(), begun: begun.millis(), together };
        let change = self.observe_at(slot, event, moment, rules);
        if matches!(event, HealthEvent::Failed(_)) && backend.get_live(PASSIVE) != before {
            backend.set_live(LAST_FAILURE, now.0);
        }
        change
    }

    fn observe_at(
        &self,
        slot: BackendId,
        event: HealthEvent,
        moment: Moment,
        rules: &Rules,
    ) -> Option<Change> {
        let backend = self.backend(slot);
        let now = moment.now;
        let mut before = backend.get_live(PASSIVE);
        let (after, change) = loop {
            let (after, change) = self.after(slot, before, event, moment, rules);
            if after == before {
                return None;
            }
            match backend.live[PASSIVE].compare_exchange(before, after, SeqCst, SeqCst) {
                Ok(_) => break (after, change),
                Err(actual) => before = actual,
            }
        };
        if change == Some(Change::Down) && self.is_unmarked_if_last(slot, before, after) {
            return None;
        }
        let was_on_trial = Passive::from_bits(before).is_on_trial();
        if was_on_trial && change.is_none() && !Passive::from_bits(after).is_on_trial() {
            backend.set_live(PROVEN, now.0.max(1));
            self.pool(backend.pool()).bump(); // Its share grows from now on.
        }
        self.settle_change(slot, change, backend.check().is_up(), now)
    }

    /// The mark's bits after an event.
    fn after(
        &self,
        slot: BackendId,
        before: u64,
        event: HealthEvent,
        moment: Moment,
        rules: &Rules,
    ) -> (u64, Option<Change>) {
        let mut passive = Passive::from_bits(before);
        let mut change = health::observe(&mut passive, event, moment, rules, false);
        if change == Some(Change::Down) && self.is_last_up(slot) {
            passive = Passive::from_bits(before);
            change = health::observe(&mut passive, event, moment, rules, true);
        }
        (passive.to_bits(), change)
    }

    fn is_last_up(&self, slot: BackendId) -> bool {
        let pool = self.backend(slot).pool();
        let mut others = self.members(pool).filter(|other| *other != slot);
        self.backend(slot).is_up() && !others.any(|other| self.backend(other).is_up())
    }

    /// Takes a mark back that has left no backend of the pool up: another process has marked
    /// another one at the same time. Both may take theirs back, which is no harm.
    fn is_unmarked_if_last(&self, slot: BackendId, before: u64, after: u64) -> bool {
        let backend = self.backend(slot);
        let would_be = availability(backend.check(), Passive::from_bits(before), backend.admin());
        would_be == Availability::Up
            && self.count_up(backend.pool()).0 == 0
            && backend.live[PASSIVE].compare_exchange(after, before, SeqCst, SeqCst).is_ok()
    }

    /// After checks or requests have changed their mind: it counts only if the others (`is_up`) do
    /// not speak against the backend anyway.
    fn settle_change(
        &self,
        slot: BackendId,
        change: Option<Change>,
        is_up: bool,
        now: Millis,
    ) -> Option<Change> {
        let backend = self.backend(slot);
        let change = change.filter(|_| is_up)?;
        // What the operator has taken out is in the same state whatever is found.
        if backend.admin() != AdminState::Maint {
            let before = match change {
                Change::Up => Availability::Down,
                Change::Down => Availability::Up,
            };
            backend.note_change(before, now);
        }
        self.pool(backend.pool()).bump();
        Some(change)
    }
}
