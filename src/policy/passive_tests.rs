use super::*;

const RULES: Rules = Rules { max_fails: 3, fail_timeout: Millis(10_000) };
const REFUSED: HealthEvent = HealthEvent::Failed(Fault::Refused);
const TIMED_OUT: HealthEvent = HealthEvent::Failed(Fault::ResponseTimedOut);
const RESET: HealthEvent = HealthEvent::Failed(Fault::Reset);
const CUT: HealthEvent = HealthEvent::Failed(Fault::Cut);

/// All that clients' requests can show, one at a time.
fn faults() -> impl Iterator<Item = Fault> {
    Fault::ALL.into_iter().filter(|fault| *fault != Fault::Various)
}

/// Plays events, each with its time in milliseconds, and gives the last one's change.
fn play(passive: &mut Passive, events: &[(u64, HealthEvent)]) -> Option<Change> {
    let mut last = None;
    for &(now, event) in events {
        assert_eq!(last, None, "an earlier event changed something");
        last = observe(passive, event, Moment::at(Millis(now)), &RULES, false);
    }
    last
}

fn marked_by(event: HealthEvent) -> Passive {
    let mut passive = Passive::new();
    let events = [(1000, event), (1000, event), (1000, event)];
    assert_eq!(play(&mut passive, &events), Some(Change::Down));
    assert!(!passive.is_up());
    passive
}

/// Marked by resets at 1 s, and on trial since 11 s.
fn on_trial() -> Passive {
    let mut passive = marked_by(RESET);
    let back = [(11_000, HealthEvent::ProbeSucceeded)];
    assert_eq!(play(&mut passive, &back), Some(Change::Up));
    assert!(passive.is_up() && passive.is_on_trial());
    passive
}

fn why(passive: &Passive) -> String {
    passive.why().map(|why| why.to_string()).unwrap_or_default()
}

#[test]
fn three_failures_in_a_row_mark_a_backend_whatever_they_are() {
    for fault in faults() {
        let marked = marked_by(HealthEvent::Failed(fault));
        assert!(why(&marked).starts_with("3 "), "{}", why(&marked));
    }
    let mixed = [(1, REFUSED), (2, RESET), (3, TIMED_OUT)];
    assert_eq!(play(&mut Passive::new(), &mixed), Some(Change::Down));
}

#[test]
fn why_is_said_in_words() {
    let said = |event| why(&marked_by(event));
    assert_eq!(said(REFUSED), "3 connections in a row were refused");
    assert_eq!(said(RESET), "3 connections in a row were reset");
    assert_eq!(said(TIMED_OUT), "3 requests in a row were not answered in time");
    assert_eq!(said(CUT), "3 responses in a row were cut short");
    let status = HealthEvent::Failed(Fault::Status);
    assert_eq!(said(status), "3 responses in a row had a status of fail_status");
    let mut mixed = Passive::new();
    play(&mut mixed, &[(1, REFUSED), (2, RESET), (3, RESET)]);
    assert_eq!(why(&mixed), "3 requests in a row failed in several ways");
    let mut again = on_trial();
    play(&mut again, &[(12_000, RESET)]);
    assert_eq!(why(&again), "a connection was reset as soon as it was back");
    assert_eq!((why(&on_trial()), why(&Passive::new())), (String::new(), String::new()));
}

#[test]
fn one_failure_marks_where_one_is_allowed() {
    let rules = Rules { max_fails: 1, ..RULES };
    for fault in faults() {
        let mut passive = Passive::new();
        let event = HealthEvent::Failed(fault);
        let change = observe(&mut passive, event, Moment::at(Millis(5)), &rules, false);
        assert_eq!(change, Some(Change::Down));
    }
}

#[test]
fn a_good_response_between_them_breaks_the_row() {
    for fault in faults() {
        let (mut passive, failure) = (Passive::new(), HealthEvent::Failed(fault));
        let events =
            [(1, failure), (2, failure), (3, HealthEvent::Answered), (4, failure), (5, failure)];
        assert_eq!(play(&mut passive, &events), None);
        assert_eq!(play(&mut passive, &[(6, failure)]), Some(Change::Down));
    }
}

#[test]
fn the_head_of_one_does_so_unless_bodies_were_cut() {
    for fault in faults() {
        let (mut passive, failure) = (Passive::new(), HealthEvent::Failed(fault));
        let events = [(1, failure), (2, failure), (3, HealthEvent::Responding), (4, failure)];
        let change = play(&mut passive, &events);
        assert_eq!(change, (fault == Fault::Cut).then_some(Change::Down), "{fault:?}");
    }
    let mut passive = Passive::new();
    let events = [(1, CUT), (2, RESET), (3, HealthEvent::Responding), (4, RESET)];
    assert_eq!(play(&mut passive, &events), Some(Change::Down));
}

#[test]
fn a_probe_between_them_does_not_break_the_row() {
    let events = [(1, RESET), (2, RESET), (3, HealthEvent::ProbeSucceeded), (4, RESET)];
    assert_eq!(play(&mut Passive::new(), &events), Some(Change::Down));
}

#[test]
fn failures_count_together_only_within_the_time() {
    for fault in faults() {
        let failure = HealthEvent::Failed(fault);
        let just = [(0, failure), (5000, failure), (10_000, failure)];
        assert_eq!(play(&mut Passive::new(), &just), Some(Change::Down));
        let late = [(0, failure), (5000, failure), (10_001, failure), (10_002, failure)];
        let mut passive = Passive::new();
        assert_eq!(play(&mut passive, &late), None);
        assert_eq!(play(&mut passive, &[(10_003, failure)]), Some(Change::Down));
    }
}

#[test]
fn quick_failures_of_requests_that_were_under_way_together_count_once() {
    for fault in faults() {
        let mut passive = Passive::new();
        let event = HealthEvent::Failed(fault);
        assert_eq!(observe(&mut passive, event, Moment::at(Millis(10)), &RULES, false), None);
        let together = Moment { now: Millis(10), begun: Millis(9), together: true };
        let changes: Vec<_> =
            (0..10).filter_map(|_| observe(&mut passive, event, together, &RULES, false)).collect();
        let each_counts =
            matches!(fault, Fault::Refused | Fault::ConnectTimedOut | Fault::ResponseTimedOut);
        assert_eq!(changes.len(), usize::from(each_counts), "{fault:?}");
    }
}

#[test]
fn the_last_backend_that_is_up_is_never_marked_but_at_once_when_it_is_not_the_last() {
    for fault in faults() {
        let (mut passive, event) = (Passive::new(), HealthEvent::Failed(fault));
        for now in 0..20 {
            let change = observe(&mut passive, event, Moment::at(Millis(now)), &RULES, true);
            assert_eq!(change, None);
            assert!(passive.is_up());
        }
        let change = observe(&mut passive, event, Moment::at(Millis(20)), &RULES, false);
        assert_eq!(change, Some(Change::Down));
    }
    let mut passive = on_trial();
    let change = observe(&mut passive, RESET, Moment::at(Millis(12_000)), &RULES, true);
    assert!(change.is_none() && passive.is_on_trial());
}

#[test]
fn the_first_connection_that_opens_ends_a_mark_by_those_that_did_not() {
    for event in [REFUSED, HealthEvent::Failed(Fault::ConnectTimedOut)] {
        let mut passive = marked_by(event);
        assert_eq!(passive.least_time(&RULES), None);
        assert_eq!(play(&mut passive, &[(2000, HealthEvent::ProbeFailed)]), None);
        assert_eq!(play(&mut passive, &[(2001, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
        assert_eq!(passive, Passive::new(), "and nothing speaks against it any more");
    }
}

#[test]
fn a_mark_by_what_requests_show_lasts_for_the_time_and_then_to_a_probe_that_passes() {
    for fault in faults().filter(|fault| fault.is_shown_by_requests()) {
        let mut passive = marked_by(HealthEvent::Failed(fault));
        assert_eq!(passive.least_time(&RULES), Some(Millis(10_000)));
        let events = [
            (2000, HealthEvent::ProbeSucceeded),
            (10_999, HealthEvent::ProbeSucceeded),
            (11_000, HealthEvent::ProbeFailed),
        ];
        assert_eq!(play(&mut passive, &events), None);
        let back = [(11_000, HealthEvent::ProbeSucceeded)];
        assert_eq!(play(&mut passive, &back), Some(Change::Up));
        assert!(passive.is_on_trial());
    }
}

#[test]
fn one_of_those_among_them_makes_it_such_a_mark() {
    let mut passive = Passive::new();
    play(&mut passive, &[(1, REFUSED), (2, TIMED_OUT), (3, REFUSED)]);
    assert_eq!(play(&mut passive, &[(2000, HealthEvent::ProbeSucceeded)]), None);
}

#[test]
fn on_trial_one_failure_takes_it_out_for_twice_as_long_each_time_and_five_minutes_at_most() {
    let mut passive = on_trial();
    let mut now = 11_000;
    for seconds in [20, 40, 80, 160, 300, 300, 300] {
        now += 500;
        assert_eq!(play(&mut passive, &[(now, RESET)]), Some(Change::Down));
        assert_eq!(passive.least_time(&RULES), Some(Millis(seconds * 1000)));
        let just_before = [(now + seconds * 1000 - 1, HealthEvent::ProbeSucceeded)];
        assert_eq!(play(&mut passive, &just_before), None, "{seconds}");
        now += seconds * 1000;
        assert_eq!(play(&mut passive, &[(now, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
    }
    // A good response, and it begins anew.
    assert_eq!(play(&mut passive, &[(now, HealthEvent::Answered)]), None);
    assert_eq!(passive, Passive::new());
    assert_eq!(play(&mut passive, &[(now, RESET), (now, RESET)]), None);
    assert_eq!(play(&mut passive, &[(now, RESET)]), Some(Change::Down));
    assert_eq!(passive.least_time(&RULES), Some(Millis(10_000)));
}

#[test]
fn a_time_above_five_minutes_is_not_cut() {
    let week = Millis(7 * 24 * 3_600_000);
    assert_eq!([0, 1, 40, 200].map(|relapses| doubled(week, relapses)), [week; 4]);
    assert_eq!(doubled(Millis(1), 255), LONGEST);
}

#[test]
fn on_trial_the_head_of_a_good_response_is_enough_unless_bodies_were_cut() {
    let mut passive = on_trial();
    play(&mut passive, &[(12_000, HealthEvent::Responding)]);
    assert!(!passive.is_on_trial());
    let mut passive = marked_by(CUT);
    play(&mut passive, &[(11_000, HealthEvent::ProbeSucceeded)]);
    play(&mut passive, &[(12_000, HealthEvent::Responding)]);
    assert!(passive.is_on_trial());
    assert_eq!(play(&mut passive, &[(12_001, CUT)]), Some(Change::Down));
}

#[test]
fn what_was_begun_before_a_trial_says_nothing_in_it() {
    for event in [RESET, HealthEvent::Answered, HealthEvent::Responding] {
        let mut passive = on_trial();
        let before = passive;
        let late = Moment { now: Millis(12_000), begun: Millis(10_999), together: false };
        assert_eq!(observe(&mut passive, event, late, &RULES, false), None);
        assert_eq!(passive, before, "{event:?}");
    }
}

#[test]
fn on_trial_one_that_is_refused_is_back_with_the_next_that_opens_and_on_trial_again() {
    let mut passive = on_trial();
    assert_eq!(play(&mut passive, &[(12_000, REFUSED)]), Some(Change::Down));
    assert_eq!(play(&mut passive, &[(12_001, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
    assert!(!passive.is_on_trial(), "it had no relapse");
    let mut passive = on_trial();
    play(&mut passive, &[(12_000, RESET)]);
    play(&mut passive, &[(40_000, HealthEvent::ProbeSucceeded)]);
    assert_eq!(play(&mut passive, &[(40_001, REFUSED)]), Some(Change::Down));
    assert_eq!(play(&mut passive, &[(40_002, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
    assert!(passive.is_on_trial());
    assert_eq!(play(&mut passive, &[(40_003, RESET)]), Some(Change::Down));
    assert_eq!(passive.least_time(&RULES), Some(Millis(40_000)), "what it was before is known");
}

#[test]
fn what_was_under_way_does_not_touch_a_mark() {
    for event in [REFUSED, RESET] {
        let mut passive = marked_by(event);
        let before = passive;
        let events = [
            (2, HealthEvent::Answered),
            (2, HealthEvent::Responding),
            (3, REFUSED),
            (4, TIMED_OUT),
            (5, CUT),
        ];
        assert_eq!(play(&mut passive, &events), None);
        assert_eq!(passive, before);
    }
}

#[test]
fn a_mark_from_a_time_that_is_still_to_come_ends_by_the_next_probe() {
    let forged = Passive::from_bits(MARKED | BY_REQUESTS | SINCE_BITS << SINCE_AT);
    let mut passive = forged;
    assert_eq!(play(&mut passive, &[(5000, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
}

#[test]
fn any_bits_are_a_state_and_the_bits_tell_all() {
    assert_eq!(Passive::new().to_bits(), 0, "cells begin as zeros");
    let mut passive = Passive::new();
    let faults: Vec<Fault> = faults().collect();
    for now in 0..600 {
        let event = HealthEvent::Failed(faults[now as usize / 300 * 7 % faults.len()]);
        observe(&mut passive, event, Moment::at(Millis(now)), &RULES, true);
        assert_eq!(Passive::from_bits(passive.to_bits()), passive);
    }
    for fault in faults {
        let marked = marked_by(HealthEvent::Failed(fault));
        assert_eq!(Passive::from_bits(marked.to_bits()), marked);
    }
    let mut again = on_trial();
    assert_eq!(Passive::from_bits(again.to_bits()), again);
    play(&mut again, &[(12_000, RESET)]);
    assert_eq!(Passive::from_bits(again.to_bits()), again);
    for bits in (0..64).map(|bit| 1 << bit).chain((0..64).map(|bit| !(1 << bit))) {
        let mut passive = Passive::from_bits(bits);
        assert_eq!(Passive::from_bits(passive.to_bits()), passive, "{bits:x}");
        for event in [RESET, HealthEvent::Answered, HealthEvent::ProbeSucceeded] {
            observe(&mut passive, event, Moment::at(Millis(5)), &RULES, false);
            assert!(why(&passive).len() < 90);
        }
    }
}

#[test]
fn another_version_is_told_what_it_understands() {
    let through = |passive: Passive| Passive::from(u64::from(passive));
    assert_eq!(through(marked_by(RESET)), marked_by(RESET));
    assert!(through(on_trial()).is_up() && !through(on_trial()).is_on_trial());
    let mut again = on_trial();
    play(&mut again, &[(12_000, RESET)]);
    assert_eq!(through(again).least_time(&RULES), Some(Millis(10_000)));
    // This version is told the rest beside that, as far as there is any.
    for passive in [Passive::new(), marked_by(RESET), marked_by(REFUSED)] {
        assert_eq!(WholePassive::of(passive), None);
    }
    for passive in [on_trial(), again] {
        let whole = WholePassive::of(passive).map(|whole| WholePassive::from(u64::from(whole)));
        assert_eq!(whole, Some(WholePassive(passive)));
    }
    // As one before this wrote a backend that hangs: its count, and since when.
    let old = Passive::from(2 | 4 | 1000 << 16);
    assert_eq!((old.is_up(), old.least_time(&RULES)), (false, Some(Millis(10_000))));
    assert_eq!(Passive::from(2 | 1000 << 16), Passive::unreachable(Millis(1000)));
}
