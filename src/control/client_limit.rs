//! Watches whether all client connections are taken: counts for how long, and says so, at most once a
//! minute.

use crate::mem::time::Micros;
use crate::shared::{Counter, Segment, WaitFor};
use crate::sys::log::{self, Level};

/// Nothing is said for so long after something was.
const REPORT_INTERVAL: Micros = Micros::from_secs(60);

/// What is known of it.
pub struct ClientLimit {
    segment: Segment,
    /// `max_connections`.
    most: usize,
    /// When it was looked at last, and whether all were taken.
    last: (Micros, bool),
    full: Micros,
    /// How many clients had been closed for others when that was said last.
    reported: u64,
    /// When something may be said again.
    silent_until: Micros,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitReport {
    /// So many idle clients were closed for new ones.
    Recycled(u64),
    /// None is idle, and more clients wait.
    Waiting,
}

impl ClientLimit {
    /// For a service that may have `most` clients.
    pub fn new(segment: Segment, most: usize) -> ClientLimit {
        let reported = segment.total(Counter::Recycled);
        let (last, full) = ((Micros(0), false), Micros(0));
        ClientLimit { segment, most, last, full, reported, silent_until: Micros(0) }
    }

    /// Looks, about once a second.
    pub fn check(&mut self, now: Micros) {
        let Some(report) = self.report(now) else { return };
        let all = format!("max_connections {}: all are taken", self.most);
        match report {
            LimitReport::Recycled(count) => log::write(
                Level::Warning,
                format_args!(
                    "{all}, and clients that were idle were closed for new ones: {count} (raise it, \
                     or lower timeouts.idle)"
                ),
            ),
            LimitReport::Waiting => log::write(
                Level::Warning,
                format_args!("{all} and none is idle; more clients wait in the backlog (raise it)"),
            ),
        }
    }

    fn report(&mut self, now: Micros) -> Option<LimitReport> {
        let is_full = self.segment.clients() as usize >= self.most;
        let (at, was_full) = std::mem::replace(&mut self.last, (now, is_full));
        if was_full && is_full {
            self.full = self.full + (now - at);
        }
        if now < self.silent_until {
            return None;
        }
        let recycled = self.segment.total(Counter::Recycled).saturating_sub(self.reported);
        let waits = is_full && self.segment.next_waiting(0, WaitFor::Client).is_some();
        let report = match recycled {
            0 => waits.then_some(LimitReport::Waiting)?,
            count => LimitReport::Recycled(count),
        };
        self.reported += recycled;
        self.silent_until = now + REPORT_INTERVAL;
        Some(report)
    }

    /// For how long all were taken, as far as that was looked at.
    pub fn full(&self) -> Micros {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shared::Layout;
    use crate::sys::memory;

    fn at(seconds: u64) -> Micros {
        Micros::from_secs(100 + seconds)
    }

    #[test]
    fn what_is_full_is_counted_and_said_once_a_minute() {
        let config = Config::for_backends(&[([10, 0, 0, 1], 80).into()]);
        let layout = Layout::new(&config, 2);
        let memory = memory::share(layout.cells()).unwrap();
        let segment = Segment::create(memory.cells(), layout);
        let mut client_limit = ClientLimit::new(segment, 2);
        assert!(segment.claim_client(0, 2) && client_limit.report(at(0)).is_none());
        assert!(segment.claim_client(1, 2) && client_limit.report(at(1)).is_none());
        assert_eq!(client_limit.full(), Micros(0));
        // All are taken, but nobody waits.
        assert_eq!((client_limit.report(at(3)), client_limit.full()), (None, Micros::from_secs(2)));
        segment.wait(1, WaitFor::Client);
        assert_eq!(client_limit.report(at(4)), Some(LimitReport::Waiting));
        segment.worker(0).add(Counter::Recycled, 3);
        for second in 5..64 {
            assert_eq!(client_limit.report(at(second)), None);
        }
        assert_eq!(client_limit.report(at(64)), Some(LimitReport::Recycled(3)));
        segment.release_client(0);
        assert_eq!(client_limit.report(at(125)), None);
        assert_eq!(
            (client_limit.report(at(126)), client_limit.full()),
            (None, Micros::from_secs(63))
        );
    }
}
