//! How much a second a counter has grown of late.

use crate::mem::time::Micros;

/// Where a rate comes from: the counter at earlier moments.
#[derive(Debug)]
pub struct Rate {
    /// Moments and what the counter was, the newest last.
    samples: [(Micros, u64); Rate::SAMPLES],
    len: usize,
}

impl Rate {
    const SAMPLES: usize = 8;
    /// A shorter time is compared with nothing: it would jump.
    const SHORTEST: Micros = Micros::from_secs(1);

    /// Nothing to compare with.
    pub const fn new() -> Rate {
        Rate { samples: [(Micros(0), 0); Rate::SAMPLES], len: 0 }
    }

    /// Notes what the counter is `now`, and says how much a second it grew since the newest
    /// earlier moment that is a second ago or more.
    pub fn observe(&mut self, now: Micros, total: u64) -> Option<f64> {
        let known = &self.samples[..self.len];
        let earlier = known.iter().rev().find(|(time, _)| now - *time >= Rate::SHORTEST).copied();
        let newest = known.last().copied();
        // Moments close to each other would push out the ones that are old enough.
        if newest.is_none_or(|(time, _)| now - time >= Micros(Rate::SHORTEST.0 / 4)) {
            if self.len == Rate::SAMPLES {
                self.samples.rotate_left(1);
            } else {
                self.len += 1;
            }
            self.samples[self.len - 1] = (now, total);
        }
        let (time, before) = earlier?;
        let grown = total.saturating_sub(before) as f64;
        Some(grown * 1e6 / (now - time).0 as f64)
    }
}

impl Default for Rate {
    fn default() -> Rate {
        Rate::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_a_second_to_compare_with() {
        let mut rate = Rate::new();
        assert_eq!(rate.observe(Micros(0), 100), None);
        assert_eq!(rate.observe(Micros(999_999), 200), None);
        assert_eq!(rate.observe(Micros(1_999_999), 300), Some(100.0));
    }

    #[test]
    fn a_rate_is_that_of_the_last_second_or_so_however_often_it_is_asked_for() {
        let mut rate = Rate::new();
        let mut last = None;
        for step in 0..400 {
            let total = if step < 300 { 0 } else { (step - 300) * 5 };
            last = rate.observe(Micros(step * 50_000), total);
        }
        assert_eq!(last.map(f64::round), Some(100.0));
    }

    #[test]
    fn a_counter_that_went_back_is_no_negative_rate() {
        let mut rate = Rate::new();
        rate.observe(Micros(0), 100);
        assert_eq!(rate.observe(Micros::from_secs(2), 50), Some(0.0));
    }
}
