//! Results to up or down.
//!
//! [`Passive`] is what clients' requests tell of one backend: failures in a row, within a time, mark
//! it as down. Then no client's request is the guinea pig: the mark ends by a probe.

use crate::mem::time::Millis;

/// When a backend is marked.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many failures in a row mark it. At least 1.
    pub max_fails: u32,
    /// Within this time; and so long a mark lasts at least that is owed to responses timed out.
    pub fail_timeout: Millis,
}

/// What was seen of a backend. Single resets and answers of 5xx are none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was refused, or did not open in time.
    ConnectFailed,
    /// A request was not answered in time.
    ResponseTimedOut,
    /// A request was answered, whatever the status.
    Answered,
    /// The control process could connect.
    ProbeSucceeded,
    /// It could not.
    ProbeFailed,
}

/// What an [`Event`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The backend is to be passed over from now on.
    Down,
    /// It may be asked again.
    Up,
}

/// Why a backend is marked, which decides what ends the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nobody listens. A connection that opens refutes that.
    Unreachable,
    /// It takes connections and then says nothing. A connection that opens says nothing either.
    Hanging,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    Failing {
        in_a_row: u32,
        /// The time of the first of them.
        since: Millis,
        /// Hanging if any of them was.
        cause: Cause,
    },
    Marked {
        cause: Cause,
        since: Millis,
    },
}

/// What clients' requests and probes told of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    state: State,
}

impl Passive {
    /// A backend that nothing speaks against.
    pub const fn new() -> Passive {
        Passive { state: State::Fine }
    }

    /// Whether the backend is not marked as down.
    pub const fn is_up(&self) -> bool {
        match self.state {
            State::Fine | State::Failing { .. } => true,
            State::Marked { .. } => false,
        }
    }
}

impl Default for Passive {
    fn default() -> Passive {
        Passive::new()
    }
}

/// Takes in what was seen of a backend, and says what that changes.
///
/// `last_up` says that this is the only backend that is up. It is never marked: a bad backend is
/// better than none. Its failures go on being counted, for the time when it is not the last.
pub fn observe(
    passive: &mut Passive,
    event: Event,
    now: Millis,
    rules: &Rules,
    last_up: bool,
) -> Option<Change> {
    let (next, change) = match (passive.state, event) {
        (State::Fine | State::Failing { .. }, Event::ConnectFailed) => {
            failed(passive.state, Cause::Unreachable, now, rules, last_up)
        }
        (State::Fine | State::Failing { .. }, Event::ResponseTimedOut) => {
            failed(passive.state, Cause::Hanging, now, rules, last_up)
        }
        (State::Fine | State::Failing { .. }, Event::Answered) => (State::Fine, None),
        (State::Marked { cause, since }, Event::ProbeSucceeded) => match cause {
            Cause::Hanging if now - since < rules.fail_timeout => (passive.state, None),
            Cause::Unreachable | Cause::Hanging => (State::Fine, Some(Change::Up)),
        },
        // What was under way when the mark was made ends as it may. And a connection that opens, or
        // does not, for the control process alone is no failure of a request.
        (
            State::Marked { .. },
            Event::ConnectFailed | Event::ResponseTimedOut | Event::Answered | Event::ProbeFailed,
        )
        | (State::Fine | State::Failing { .. }, Event::ProbeSucceeded | Event::ProbeFailed) => {
            (passive.state, None)
        }
    };
    passive.state = next;
    change
}

/// One more failure. They count together within `fail_timeout` of the first.
fn failed(
    state: State,
    cause: Cause,
    now: Millis,
    rules: &Rules,
    last_up: bool,
) -> (State, Option<Change>) {
    let (in_a_row, since, cause) = match state {
        State::Failing { in_a_row, since, cause: before } if now - since <= rules.fail_timeout => {
            let cause = if before == Cause::Hanging { before } else { cause };
            (in_a_row.saturating_add(1), since, cause)
        }
        State::Fine | State::Failing { .. } | State::Marked { .. } => (1, now, cause),
    };
    if in_a_row >= rules.max_fails && !last_up {
        (State::Marked { cause, since: now }, Some(Change::Down))
    } else {
        (State::Failing { in_a_row, since, cause }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { max_fails: 3, fail_timeout: Millis(10_000) };

    /// Plays events, each with its time in milliseconds, and gives the last one's change.
    fn play(passive: &mut Passive, events: &[(u64, Event)]) -> Option<Change> {
        let mut last = None;
        for &(now, event) in events {
            assert_eq!(last, None, "an earlier event changed something");
            last = observe(passive, event, Millis(now), &RULES, false);
        }
        last
    }

    fn marked_by(event: Event) -> Passive {
        let mut passive = Passive::new();
        let events = [(1000, event), (1000, event), (1000, event)];
        assert_eq!(play(&mut passive, &events), Some(Change::Down));
        assert!(!passive.is_up());
        passive
    }

    #[test]
    fn three_failures_in_a_row_mark_a_backend() {
        for failure in [Event::ConnectFailed, Event::ResponseTimedOut] {
            marked_by(failure);
        }
        let mixed =
            [(1, Event::ConnectFailed), (2, Event::ResponseTimedOut), (3, Event::ConnectFailed)];
        assert_eq!(play(&mut Passive::new(), &mixed), Some(Change::Down));
    }

    #[test]
    fn one_failure_marks_where_one_is_allowed() {
        let rules = Rules { max_fails: 1, ..RULES };
        let mut passive = Passive::new();
        let change = observe(&mut passive, Event::ConnectFailed, Millis(5), &rules, false);
        assert_eq!(change, Some(Change::Down));
    }

    #[test]
    fn an_answer_between_them_breaks_the_row() {
        let mut passive = Passive::new();
        let failure = Event::ConnectFailed;
        let events = [(1, failure), (2, failure), (3, Event::Answered), (4, failure), (5, failure)];
        assert_eq!(play(&mut passive, &events), None);
        assert_eq!(play(&mut passive, &[(6, failure)]), Some(Change::Down));
    }

    #[test]
    fn a_probe_between_them_does_not_break_the_row() {
        let failure = Event::ResponseTimedOut;
        let events = [(1, failure), (2, failure), (3, Event::ProbeSucceeded), (4, failure)];
        assert_eq!(play(&mut Passive::new(), &events), Some(Change::Down));
    }

    #[test]
    fn failures_count_together_only_within_the_time() {
        let failure = Event::ConnectFailed;
        let just = [(0, failure), (5000, failure), (10_000, failure)];
        assert_eq!(play(&mut Passive::new(), &just), Some(Change::Down));
        let late = [(0, failure), (5000, failure), (10_001, failure), (10_002, failure)];
        let mut passive = Passive::new();
        assert_eq!(play(&mut passive, &late), None);
        assert_eq!(play(&mut passive, &[(10_003, failure)]), Some(Change::Down));
    }

    #[test]
    fn the_last_backend_that_is_up_is_never_marked_but_at_once_when_it_is_not_the_last() {
        let mut passive = Passive::new();
        for now in 0..20 {
            let change = observe(&mut passive, Event::ConnectFailed, Millis(now), &RULES, true);
            assert_eq!(change, None);
            assert!(passive.is_up());
        }
        let change = observe(&mut passive, Event::ConnectFailed, Millis(20), &RULES, false);
        assert_eq!(change, Some(Change::Down));
    }

    #[test]
    fn the_first_connection_that_opens_ends_a_mark_by_refused_ones() {
        let mut passive = marked_by(Event::ConnectFailed);
        assert_eq!(play(&mut passive, &[(2000, Event::ProbeFailed)]), None);
        assert_eq!(play(&mut passive, &[(2001, Event::ProbeSucceeded)]), Some(Change::Up));
        assert_eq!(passive, Passive::new());
    }

    #[test]
    fn a_mark_by_timeouts_lasts_for_the_time_and_then_to_the_first_connection_that_opens() {
        let mut passive = marked_by(Event::ResponseTimedOut);
        let events = [
            (2000, Event::ProbeSucceeded),
            (10_999, Event::ProbeSucceeded),
            (11_000, Event::ProbeFailed),
        ];
        assert_eq!(play(&mut passive, &events), None);
        assert_eq!(play(&mut passive, &[(11_000, Event::ProbeSucceeded)]), Some(Change::Up));
    }

    #[test]
    fn one_timeout_among_them_makes_it_a_mark_by_timeouts() {
        let mut passive = Passive::new();
        let mixed =
            [(1, Event::ConnectFailed), (2, Event::ResponseTimedOut), (3, Event::ConnectFailed)];
        play(&mut passive, &mixed);
        assert_eq!(play(&mut passive, &[(2000, Event::ProbeSucceeded)]), None);
    }

    #[test]
    fn what_was_under_way_does_not_touch_a_mark() {
        let mut passive = marked_by(Event::ConnectFailed);
        let before = passive;
        let events =
            [(2, Event::Answered), (3, Event::ConnectFailed), (4, Event::ResponseTimedOut)];
        assert_eq!(play(&mut passive, &events), None);
        assert_eq!(passive, before);
    }
}
