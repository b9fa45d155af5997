//! Messages that are written now and then, however often there is cause.

use crate::mem::time::Micros;

/// What is told of something that may happen very often: not more than a message now and then.
#[derive(Default)]
pub struct RateLimitedLog {
    last: Option<Micros>,
    /// How often it happened since the last message.
    untold: u64,
}

impl RateLimitedLog {
    /// Notes one more; how many there were since the last message, if `pause` has passed since.
    pub fn add(&mut self, now: Micros, pause: Micros) -> Option<u64> {
        self.untold += 1;
        if self.last.is_some_and(|last| now.0.saturating_sub(last.0) < pause.0) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_of_at_once_and_many_more_at_most_each_ten_seconds() {
        const PAUSE: Micros = Micros(10_000_000);
        let mut log = RateLimitedLog::default();
        assert_eq!(log.add(Micros(5), PAUSE), Some(1));
        for time in 6..100 {
            assert_eq!(log.add(Micros(time), PAUSE), None);
        }
        assert_eq!(log.add(Micros(PAUSE.0 + 4), PAUSE), None);
        assert_eq!(log.add(Micros(PAUSE.0 + 5), PAUSE), Some(96));
        assert_eq!(log.add(Micros(PAUSE.0 + 6), PAUSE), None);
    }
}
