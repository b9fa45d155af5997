//! Checks of backends that requests have marked as down: a TCP connect each second, the first one at
//! once. No client's request is the guinea pig.

use crate::config::Config;
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{self, Change, Rules};
use crate::shared::{Awaited, PoolId, Segment, Slot, report};
use crate::sys::{Event, Poller, Socket};

use super::{Desk, FIRST_CHECK};

/// A backend that is out is checked so often.
const INTERVAL: Millis = Millis(1000);

/// One backend's check.
#[derive(Default)]
struct Check {
    /// A connection that is being opened.
    socket: Option<Socket>,
    /// When the next one is due; none if the backend is not out.
    due: Option<Micros>,
}

/// The checks of all backends.
pub struct Checks {
    /// By slot.
    list: Vec<Check>,
    /// By pool. Pools that were added later have the keys of the first.
    rules: Vec<Rules>,
}

impl Checks {
    /// For so many backends, none checked yet.
    pub fn new(config: &Config, backends: usize) -> Checks {
        let rules = config
            .pools
            .iter()
            .map(|pool| Rules { max_fails: pool.max_fails, fail_timeout: pool.fail_timeout });
        let list = (0..backends).map(|_| Check::default()).collect();
        Checks { list, rules: rules.collect() }
    }

    /// How long there is nothing to do.
    pub fn timeout(&self, now: Micros) -> Option<Millis> {
        let next = self.list.iter().filter_map(|check| check.due).min()?;
        // A millisecond more, so that what is due is past when the wait is over.
        Some(Millis((next - now).millis().0 + 1))
    }

    /// Begins the checks that are due.
    pub fn begin_due(&mut self, desk: &Desk, poller: &Poller, now: Micros) {
        for (slot, check) in self.list.iter_mut().enumerate() {
            let backend = desk.segment.backend(Slot(slot));
            if backend.source().is_none() || backend.passive().is_up() {
                *check = Check::default();
                continue;
            }
            if check.due.is_some_and(|due| due > now) {
                continue;
            }
            check.due = Some(now + Micros::from(INTERVAL));
            // One that is still under way after a second has failed; the new one takes its place.
            check.socket = Socket::connect(backend.address()).ok();
            let token = FIRST_CHECK + slot as u64;
            let watched = check
                .socket
                .as_ref()
                .is_some_and(|socket| poller.watch_socket(socket, token).is_ok());
            if !watched {
                check.socket = None;
            }
        }
    }

    /// A check's connection is open, or has failed.
    pub fn event(&mut self, desk: &Desk, token: u64, event: Event, now: Micros) {
        let slot = Slot((token - FIRST_CHECK) as usize);
        let Some(check) = self.list.get_mut(slot.0) else { return };
        if check.socket.is_none() || !event.writable && !event.failed {
            return;
        }
        check.socket = None;
        let outcome =
            if event.failed { health::Event::ProbeFailed } else { health::Event::ProbeSucceeded };
        let rules = self.rules(desk.segment, slot);
        if let Some(change) = desk.segment.observe(slot, outcome, now.millis(), &rules) {
            tell(desk, slot, change, report::reason(outcome));
        }
    }

    fn rules(&self, segment: Segment, slot: Slot) -> Rules {
        let PoolId(pool) = segment.backend(slot).pool();
        *self.rules.get(pool).unwrap_or(&self.rules[0])
    }
}

/// Tells of a change: the operator, who waits for a backend, and the master.
fn tell(desk: &Desk, slot: Slot, change: Change, reason: &str) {
    report::log_change(&desk.segment, slot, change, reason);
    let pool = desk.segment.backend(slot).pool();
    desk.doorbells.ring_all(&desk.segment, Awaited::Pool(pool));
    desk.master.ring();
}
