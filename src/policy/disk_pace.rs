//! How long a process may wait for a slow disk: not for more than about a tenth of its time.
//!
//! A worker that waits for the disk serves nobody. What it would store or look for there can be had from a
//! backend, so it does without the disk for a while once that has cost too much. A call is long too when others
//! have the processor: what the process waited for that meanwhile is no time of the disk.

use crate::mem::time::Micros;

/// A call that takes less is no matter of the disk.
const SLOW: Micros = Micros(5_000);
/// Time that a process may lose in slow calls within [`PERIOD`]; then it does without the disk.
const MOST: Micros = Micros(100_000);
/// The time within which lost time is added up.
const PERIOD: Micros = Micros::from_secs(1);
/// The process does without the disk for so many times as long as it has waited.
const SHARE: u64 = 10;
/// The longest time for which the process does without the disk.
const LONGEST: Micros = Micros::from_secs(32);

/// What one process knows of the pace of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskPace {
    /// When the present period began.
    begun: Micros,
    /// The time that was lost in this period.
    lost: Micros,
    /// How long the process had waited for a processor when the period began.
    queued: Micros,
    /// How long it had waited when that was last asked.
    told: Micros,
    /// Until when the process does without the disk.
    until: Micros,
    is_slow: bool,
}

impl DiskPace {
    /// Whether the disk may be used.
    pub fn may_use(&self, now: Micros) -> bool {
        self.until <= now
    }

    /// Whether it was too slow when it was used last.
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Something was done with it, from then to then. `queued` tells how long the process has waited for a
    /// processor since it began; it is asked about once in a period, and when the disk seems slow.
    pub fn took(&mut self, from: Micros, to: Micros, queued: impl FnOnce() -> Micros) {
        let is_new = from.0.saturating_sub(self.begun.0) >= PERIOD.0;
        let is_long = to - from >= SLOW;
        if !is_new && !is_long {
            return;
        }
        let before = std::mem::replace(&mut self.told, queued());
        if is_new {
            // One that was left alone in between has not been used for all of the time.
            self.is_slow &= self.begun < self.until;
            (self.begun, self.lost) = (from, Micros(0));
            // Nobody has asked just before a long call: what was told last may count too much.
            self.queued = if is_long { before } else { self.told };
        }
        if !is_long {
            return;
        }
        self.lost = self.lost + (to - from);
        let elsewhere = self.told.0.saturating_sub(self.queued.0);
        let lost = self.lost.0.saturating_sub(elsewhere);
        if lost >= MOST.0 {
            self.until = to + Micros(lost.saturating_mul(SHARE)).min(LONGEST);
            self.is_slow = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses the disk as often as it may for so many seconds, a call taking `time`. Returns the share of the
    /// time, in thousandths, that was lost.
    fn share(pace: &mut DiskPace, start: u64, seconds: u64, time: u64) -> u64 {
        let (mut now, end, mut lost) = (start, start + seconds * 1_000_000, 0);
        while now < end {
            if pace.may_use(Micros(now)) {
                pace.took(Micros(now), Micros(now + time), || Micros(0));
                lost += time;
                now += time;
            }
            now += 100;
        }
        lost * 1000 / (now - start)
    }

    #[test]
    fn a_fast_disk_is_used_all_the_time() {
        let mut pace = DiskPace::default();
        assert!(share(&mut pace, 1, 10, 4_900) > 950);
        assert!(!pace.is_slow());
    }

    #[test]
    fn a_slow_one_costs_a_tenth_of_the_time_however_slow() {
        for time in [5_000, 10_000, 99_000, 100_000, 1_000_000, 3_000_000] {
            let mut pace = DiskPace::default();
            let share = share(&mut pace, 1, 200, time);
            assert!((40..130).contains(&share), "{time}: {share}");
            assert!(pace.is_slow());
        }
    }

    #[test]
    fn one_that_hangs_now_and_then_is_forgiven() {
        let mut pace = DiskPace::default();
        for second in 1..20 {
            let now = Micros::from_secs(second);
            pace.took(now, now + Micros(90_000), || Micros(0));
            assert!(pace.may_use(now + Micros(90_000)) && !pace.is_slow());
        }
    }

    /// Calls of `time`, of which `queued` is spent in the queue for a processor.
    fn is_slow(time: u64, queued: u64) -> bool {
        let (mut pace, mut waited) = (DiskPace::default(), 1_000_000_000);
        // An hour of a busy machine without any use of the disk.
        pace.took(Micros(1), Micros(2), || Micros(waited));
        waited += 3_000_000_000;
        let mut now = 3_600_000_000;
        for _ in 0..500 {
            waited += queued;
            pace.took(Micros(now), Micros(now + time), || Micros(waited));
            now += time;
        }
        pace.is_slow()
    }

    #[test]
    fn who_waits_for_a_processor_does_not_wait_for_the_disk() {
        for time in [6_000, 30_000, 300_000, 3_000_000] {
            assert!(!is_slow(time, time - 500), "{time}");
            assert!(!is_slow(time, time * 98 / 100), "{time}");
            assert!(is_slow(time, 0) && is_slow(time, time / 2), "{time}");
        }
    }

    #[test]
    fn it_is_used_again_and_known_to_be_fast_after_a_second() {
        let mut pace = DiskPace::default();
        share(&mut pace, 1, 5, 10_000);
        assert!(pace.is_slow());
        let later = 10_000_000;
        share(&mut pace, later, 1, 100);
        assert!(pace.may_use(Micros(later + 1_000_000)) && pace.is_slow());
        share(&mut pace, later + 1_000_000, 1, 100);
        assert!(!pace.is_slow());
    }
}
