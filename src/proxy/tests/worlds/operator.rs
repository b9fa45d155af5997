//! An operator of a world, and the checks of another process: backends go down and come back while they
//! have something in work.

use crate::mem::time::{Micros, Millis};
use crate::policy::health::{AdminState, Fault, HealthEvent, Rules};
use crate::proxy::tests::service::Team;
use crate::shared::{BackendCounter, BackendId, PoolId, Segment};
use crate::sys::clock;

use super::plan::{Book, Dice};

const POOL: PoolId = PoolId(0);
const RULES: Rules = Rules { max_fails: 1, fail_timeout: Millis(0) };
/// From one change to the next at most, in milliseconds: short enough that requests are caught in work.
const PAUSE: usize = 15;
/// Then it is enough: who waits waits anew for as long as may be when its backend goes down.
const CHANGES: u32 = 100;

/// Who takes backends out, if anybody does.
pub struct Operator {
    /// When the next change is due.
    next: Option<Micros>,
    /// How many are left.
    left: u32,
}

impl Operator {
    pub fn new(book: &mut Book) -> Operator {
        let next = book.weather.evacuates.then(|| clock::now() + book.dice.millis(PAUSE));
        Operator { next, left: CHANGES }
    }

    /// Makes the change that is due, if one is. When the next one is.
    pub fn act(&mut self, team: &Team, book: &mut Book) -> Option<Micros> {
        let due = self.next.filter(|time| *time <= clock::now());
        if due.is_some() {
            change(team.segment, book);
            // Whoever finds it wakes all.
            let workers = 0..team.workers.len();
            workers.for_each(|worker| team.workers[0].proxy.upstream.wake_worker(worker));
            self.left -= 1;
            let later = clock::now() + Micros(1000) + book.dice.millis(PAUSE);
            self.next = (self.left > 0).then_some(later);
        }
        self.next
    }
}

/// Takes a backend out, as long as another one is up; or brings one back.
fn change(segment: Segment, book: &mut Book) {
    let slots: Vec<BackendId> = segment.members(POOL).collect();
    let slot = *book.dice.choose(&slots);
    let cells = segment.backend(slot);
    let now = clock::now().millis();
    let is_last = segment.count_up(POOL).0 < 2;
    if !cells.passive().is_up() {
        segment.observe(slot, HealthEvent::ProbeSucceeded, now, &RULES);
    } else if cells.admin() != AdminState::Ready {
        segment.set_admin(slot, AdminState::Ready, now);
    } else if is_last {
        return;
    } else {
        take_out(segment, slot, now, &mut book.dice);
    }
    book.trace.note(|| format!("backend {} is {:?}", slot.0, cells.availability()));
}

fn take_out(segment: Segment, slot: BackendId, now: Millis, dice: &mut Dice) {
    match dice.below(5) {
        0 => segment.set_admin(slot, AdminState::Drain, now),
        1 | 2 => segment.set_admin(slot, AdminState::Maint, now),
        _ => drop(segment.observe(slot, HealthEvent::Failed(Fault::ResponseTimedOut), now, &RULES)),
    }
}

/// Requests that left a backend that went down.
pub fn evacuated(segment: Segment) -> u64 {
    segment.members(POOL).map(|slot| segment.backend_total(slot, BackendCounter::Evacuated)).sum()
}
