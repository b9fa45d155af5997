//! How many workers have died of late. One is replaced at once; when all there is to do is to
//! replace them, something is wrong that no replacement mends.

use std::collections::VecDeque;

use crate::mem::time::{Micros, Millis};

/// So many deaths are too many
const TOO_MANY: usize = 5;
/// within this time.
const WITHIN: Millis = Millis::from_secs(10);

/// The deaths of one generation's workers.
#[derive(Debug, Default)]
pub struct RestartLimit {
    times: VecDeque<Micros>,
}

impl RestartLimit {
    /// Notes a death. Whether that is one too many.
    pub fn note(&mut self, now: Micros) -> bool {
        self.times.retain(|time| now - *time <= Micros::from(WITHIN));
        self.times.push_back(now);
        self.times.len() >= TOO_MANY
    }
}

/// As the log has it.
pub fn too_many() -> String {
    format!("{TOO_MANY} workers died within {} s", WITHIN.0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note_all(seconds: &[u64]) -> Vec<bool> {
        let mut limit = RestartLimit::default();
        seconds.iter().map(|second| limit.note(Micros::from_secs(*second))).collect()
    }

    #[test]
    fn the_fifth_death_within_ten_seconds_is_one_too_many() {
        assert_eq!(note_all(&[0, 0, 0, 0, 0]), [false, false, false, false, true]);
        assert_eq!(note_all(&[0, 3, 6, 9, 10]), [false, false, false, false, true]);
    }

    #[test]
    fn deaths_that_are_longer_apart_are_forgotten() {
        let seconds: Vec<u64> = (0..100).map(|death| death * 3).collect();
        assert!(note_all(&seconds).iter().all(|too_many| !too_many));
        assert_eq!(note_all(&[0, 0, 0, 0, 11, 12]), [false; 6]);
    }

    #[test]
    fn the_log_names_the_limit() {
        assert_eq!(too_many(), "5 workers died within 10 s");
    }
}
