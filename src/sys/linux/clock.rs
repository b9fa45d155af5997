//! What time it is.
use crate::mem::time::{Micros, Millis};
use rustix::event::poll;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time since some fixed moment. It never goes back, whoever sets the clock.
pub fn now() -> Micros {
    micros(clock_gettime(ClockId::Monotonic))
}

/// The time since the epoch, 1970-01-01T00:00:00Z, for dates and logs. It may jump.
pub fn wall() -> Micros {
    micros(clock_gettime(ClockId::Realtime))
}

/// Lets time pass, before there is an event loop. A signal may end it sooner.
pub fn pause(time: Millis) {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    let rest = Timespec { tv_sec: seconds, tv_nsec: (time.0 % 1000 * 1_000_000) as _ };
    let _ = poll(&mut [], Some(&rest));
}

fn micros(time: Timespec) -> Micros {
    // A clock set to before 1970 is wrong anyway.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Micros(seconds * 1_000_000 + nanos / 1000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_does_not_go_back() {
        let before = super::now();
        assert!(super::now() >= before);
    }

    #[test]
    fn the_wall_clock_counts_from_the_epoch() {
        let expected = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(super::wall().0 / 1_000_000 - expected <= 1);
    }
}
