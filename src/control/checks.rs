//! Active health checks, and probes of backends that clients' requests have taken out: once for the
//! whole service.
//!
//! Each backend has a time at which something is due: its next check, or the end of the time that
//! the present one may take. Checks of a pool are spread over its interval. While a backend's state
//! is changing its checks follow each other more closely.

use crate::config::{self, Config};
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{AdminState, Change, CheckRules, HealthEvent as Seen, Rules};
use crate::shared::wakers::Wakers;
use crate::shared::{BackendCells, BackendId, LastCheck, Segment, Source, WaitFor, report};
use crate::sys::log::{self, Level};
use crate::sys::{Event, IoError, Poller, process};

use super::probe::{Probe, ProbeBuffer, ProbeOutcome, ProbeRequest};

/// Without checks, a backend that is out is probed so often, and a probe may take as long.
const PROBE_INTERVAL: Millis = Millis(1000);
/// While a state changes the next check follows after this time at the latest.
const SOON: Millis = Millis(500);
/// Where the queue of a backend is full, a check is tried again so soon.
const QUEUE_PAUSE: Micros = Micros(20_000);
/// So many checks are begun before others have their turn.
const BUDGET: usize = 64;
/// Nothing is due.
const NEVER: Micros = Micros(u64::MAX);

/// How the backends of a pool are checked.
struct Plan {
    /// What is asked; `None`: that it connects is enough.
    question: Option<ProbeRequest>,
    /// Whether those that are up are checked too.
    is_active: bool,
    interval: Millis,
    timeout: Millis,
    rules: CheckRules,
    passive: Rules,
}

impl Plan {
    fn new(pool: &config::Pool) -> Plan {
        let passive = Rules { max_fails: pool.max_fails, fail_timeout: pool.fail_timeout };
        let Some(check) = &pool.health_check else {
            return Plan {
                question: None,
                is_active: false,
                interval: PROBE_INTERVAL,
                timeout: PROBE_INTERVAL,
                rules: CheckRules { rise: 1, fall: 1 },
                passive,
            };
        };
        let question = check.path.as_ref().map(|path| ProbeRequest {
            path: path.clone(),
            host: check.host.clone(),
            healthy: check.status.clone(),
            tolerate: pool.tolerate,
        });
        Plan {
            question,
            is_active: true,
            interval: check.interval,
            timeout: check.timeout,
            rules: CheckRules { rise: check.rise, fall: check.fall },
            passive,
        }
    }
}

/// What is known of one slot.
#[derive(Default)]
struct Schedule {
    /// Which backend has it; 0: nobody.
    generation: u64,
    /// Whether clients' requests had taken it out when it was last looked at.
    is_marked: bool,
    /// The check under way, and when it was begun.
    probe: Option<(Probe, Micros)>,
    /// The last check, whose response has not ended. It is over when the next one begins.
    rest: Option<Probe>,
    /// A check was begun then, and the backend's own queue is full, in which it would wait.
    waits_since: Option<Micros>,
    /// It was told of that this process may not connect to it.
    is_denied: bool,
}

/// The checks of all backends.
pub struct Checks {
    segment: Segment,
    /// By pool; those beyond have the first one's.
    plans: Vec<Plan>,
    entries: Vec<Schedule>,
    /// The names that bring backends, in the configuration's order.
    names: Vec<String>,
    /// When something is due for each slot: apart from the rest, for it is gone through each time.
    due: Vec<Micros>,
    scratch: ProbeBuffer,
    /// A backend went up, down or away since that was asked for.
    has_changed: bool,
    /// With whose rights this process connects.
    own_user: String,
}

impl Checks {
    /// For all backends that `segment` has and will have.
    pub fn new(segment: Segment, config: &Config) -> Checks {
        let slots = segment.layout().backends;
        Checks {
            segment,
            plans: config.pools.iter().map(Plan::new).collect(),
            entries: (0..slots).map(|_| Schedule::default()).collect(),
            names: config.named().map(|(_, named)| named.lookup.name().to_string()).collect(),
            due: vec![NEVER; slots],
            scratch: ProbeBuffer::default(),
            has_changed: false,
            own_user: process::own_user(),
        }
    }

    /// Whether a backend went up, down or away by its checks since that was last asked.
    pub fn take_changes(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Looks who has come, gone, or was taken out by clients' requests. To be called before `run`
    /// whenever that may be, and now and then.
    pub fn look_around(&mut self, now: Micros) {
        for slot in 0..self.entries.len() {
            let cells = self.segment.backend(BackendId(slot));
            let standing = cells.standing();
            let generation = if standing.source().is_some() { standing.generation() } else { 0 };
            let entry = &mut self.entries[slot];
            if entry.generation != generation {
                *entry = Schedule { generation, ..Schedule::default() };
                self.due[slot] = NEVER;
            }
            if generation == 0 {
                continue;
            }
            let is_marked = !cells.passive().is_up();
            let is_active = plan_of(&self.plans, &cells).is_active;
            let is_watched = match standing.admin() {
                AdminState::Ready | AdminState::Drain => is_active || is_marked,
                // Whatever it does, it gets nothing, so nobody is to be told of it.
                AdminState::Maint | AdminState::Leaving => false,
            };
            let newly_marked = is_marked && !entry.is_marked;
            entry.is_marked = is_marked;
            if !is_watched {
                entry.probe = None;
                self.due[slot] = NEVER;
            // Who is watched has a next check in any case, whatever happened since the last look.
            } else if entry.probe.is_none() && (newly_marked || self.due[slot] == NEVER) {
                self.due[slot] = match cells.last_check() {
                    // It was checked before the configuration was read anew.
                    Some(last) if !newly_marked => {
                        let interval = plan_of(&self.plans, &cells).interval;
                        now.max(Micros::from(last.at) + self.pause(slot, false, interval, now))
                    }
                    Some(_) | None => now,
                };
            }
        }
    }

    /// When `run` is to be called next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.due.iter().copied().min().filter(|due| *due != NEVER)
    }

    /// Begins the checks that are due, and ends those that took too long.
    pub fn run(&mut self, poller: &Poller, first_token: u64, wakers: &Wakers, now: Micros) {
        let mut begun = 0;
        for slot in 0..self.due.len() {
            if self.due[slot] > now {
                continue;
            }
            if self.entries[slot].probe.is_some() {
                self.conclude(slot, ProbeOutcome::TimedOut, wakers, now);
                // What is late already is begun below.
                if self.due[slot] > now {
                    continue;
                }
            }
            if begun == BUDGET {
                return;
            }
            begun += 1;
            self.begin(slot, poller, first_token, wakers, now);
        }
    }

    fn begin(
        &mut self,
        slot: usize,
        poller: &Poller,
        first_token: u64,
        wakers: &Wakers,
        now: Micros,
    ) {
        let cells = self.segment.backend(BackendId(slot));
        self.entries[slot].rest = None;
        let begun = self.entries[slot].waits_since.unwrap_or(now);
        let until = begun + Micros::from(plan_of(&self.plans, &cells).timeout);
        let name = cells.name().and_then(|id| self.names.get(id.0)).map(String::as_str);
        match Probe::begin(cells.address(), name, poller, first_token + slot as u64) {
            Ok(probe) => {
                let entry = &mut self.entries[slot];
                (entry.waits_since, entry.is_denied) = (None, false);
                entry.probe = Some((probe, begun));
                self.due[slot] = until;
            }
            // It is tried again; the backend is what it was.
            Err(IoError::Exhausted) => self.due[slot] = now + Micros::from(SOON),
            // Nor does a full queue say that it does not work, unless it stays full for too long.
            Err(IoError::WouldBlock) if now < until => {
                self.entries[slot].waits_since = Some(begun);
                self.due[slot] = until.min(now + QUEUE_PAUSE);
            }
            Err(IoError::WouldBlock) => self.conclude(slot, ProbeOutcome::TimedOut, wakers, now),
            Err(error) => {
                self.report_denial(slot, error);
                self.conclude(slot, ProbeOutcome::NoConnection, wakers, now);
            }
        }
    }

    /// That this process may not connect says nothing of the backend, and is told until it may.
    fn report_denial(&mut self, slot: usize, error: IoError) {
        let is_denied = &mut self.entries[slot].is_denied;
        if error == IoError::Denied && !std::mem::replace(is_denied, true) {
            report::log_denied(&self.segment, BackendId(slot), &self.own_user);
        }
    }

    /// Takes in an event of the check of the backend whose slot was added to `first_token`.
    pub fn event(&mut self, slot: u64, event: Event, wakers: &Wakers, now: Micros) {
        let slot = slot as usize;
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let Some((probe, _)) = entry.probe.as_mut() else {
            if let Some(probe) = &mut entry.rest {
                probe.drain(&mut self.scratch);
            }
            entry.rest = entry.rest.take().filter(Probe::has_more);
            return;
        };
        let plan = plan_of(&self.plans, &self.segment.backend(BackendId(slot)));
        if let Some(outcome) = probe.event(event, plan.question.as_ref(), &mut self.scratch) {
            self.conclude(slot, outcome, wakers, now);
        }
    }

    /// A check is over.
    fn conclude(&mut self, slot: usize, outcome: ProbeOutcome, wakers: &Wakers, now: Micros) {
        let entry = &mut self.entries[slot];
        let (probe, begun) = entry.probe.take().unzip();
        let begun = begun.or(entry.waits_since.take()).unwrap_or(now);
        entry.rest = probe.filter(Probe::has_more);
        let cells = self.segment.backend(BackendId(slot));
        if cells.standing().generation() != self.entries[slot].generation {
            self.due[slot] = NEVER; // Somebody else's.
            self.entries[slot].rest = None;
            return;
        }
        let is_first = cells.last_check().is_none();
        let plan = plan_of(&self.plans, &cells);
        let (passive, interval) = (plan.passive, plan.interval);
        let checked = plan.is_active.then(|| {
            let result = LastCheck {
                passed: outcome.passed(),
                status: outcome.status(),
                took: now - begun,
                at: now.millis().max(Millis(1)),
            };
            if let Some(fault) = outcome.fault() {
                self.segment.set_check_fault(BackendId(slot), Some(fault));
            }
            self.segment.note_check(BackendId(slot), result, &plan.rules)
        });
        let seen = if outcome.passed() { Seen::ProbeSucceeded } else { Seen::ProbeFailed };
        let unmarked = self.segment.observe(BackendId(slot), seen, now.millis(), &passive);
        // Requests may mark it again before the next look around, which is news then.
        self.entries[slot].is_marked = !cells.passive().is_up();
        if let Some(change) = checked.flatten().or(unmarked) {
            self.report(BackendId(slot), change, outcome, wakers);
            self.has_changed = true;
        }
        self.due[slot] = match checked {
            Some(_) => begun + self.pause(slot, is_first, interval, now),
            None if !self.entries[slot].is_marked => NEVER,
            None => begun + Micros::from(PROBE_INTERVAL),
        };
        let is_gone = match cells.source() {
            Some(Source::Api) => checked.is_some() && !cells.check().is_up(),
            // One that is named no more: its first failure is the last.
            Some(Source::Name) => cells.lease().is_some() && !outcome.passed(),
            Some(Source::File | Source::Registry) | None => false,
        };
        if is_gone {
            self.remove(BackendId(slot), outcome, now);
        }
    }

    /// From the beginning of a check to that of the next.
    fn pause(&self, slot: usize, is_first: bool, interval: Millis, now: Micros) -> Micros {
        let cells = self.segment.backend(BackendId(slot));
        if cells.check().is_changing() {
            return Micros::from(interval.min(SOON));
        }
        // Checks pass, and requests have marked it: the one that may end the mark comes in time.
        let until = cells.passive().not_before(&plan_of(&self.plans, &cells).passive);
        if let Some(until) = until.filter(|_| cells.check().is_up()) {
            return Micros::from(interval.min(SOON.max(until - now.millis() + Millis(1))));
        }
        let interval = Micros::from(interval);
        if !is_first || cells.source() == Some(Source::Api) {
            return interval; // Those who register come spread already.
        }
        // All of the file began together. From here on each has its own place in the interval.
        let members = self.segment.members(cells.pool());
        let (mut place, mut count) = (0, 0);
        for member in members {
            count += 1;
            if member.0 <= slot {
                place = count;
            }
        }
        Micros(interval.0 * place / count.max(1))
    }

    fn report(&self, slot: BackendId, change: Change, outcome: ProbeOutcome, wakers: &Wakers) {
        let cells = self.segment.backend(slot);
        let others_are_up = self.segment.count_up(cells.pool()).0 > 1;
        let reason = match change {
            Change::Up if cells.passive().is_on_trial() && others_are_up => {
                format!("{outcome}, and is on trial with a tenth of its share")
            }
            Change::Up if cells.passive().is_on_trial() => {
                format!("{outcome}, and is on trial")
            }
            Change::Up | Change::Down => outcome.to_string(),
        };
        report::log_change(&self.segment, slot, change, &reason);
        match change {
            // What waits there goes elsewhere.
            Change::Down => wakers.wake_workers(),
            Change::Up => wakers.wake_all(&self.segment, WaitFor::Pool(cells.pool())),
        }
    }

    /// A backend that registered itself has failed its checks, or one its name no more has failed one: it
    /// is taken for gone.
    fn remove(&mut self, slot: BackendId, outcome: ProbeOutcome, now: Micros) {
        let cells = self.segment.backend(slot);
        log::write(
            Level::Notice,
            format_args!(
                "pool {}: backend {} is removed: {outcome}",
                self.segment.pool(cells.pool()).name(),
                cells.address(),
            ),
        );
        self.segment.set_admin(slot, AdminState::Leaving, now.millis());
        // If it registers again before it was forgotten, it is checked anew.
        self.due[slot.0] = NEVER;
        self.has_changed = true;
    }
}

/// How the backend is checked.
fn plan_of<'a>(plans: &'a [Plan], cells: &BackendCells) -> &'a Plan {
    plans.get(cells.pool().0).unwrap_or(&plans[0])
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
