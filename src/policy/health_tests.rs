use super::*;

const RULES: Rules = Rules { max_fails: 3, fail_timeout: Millis(10_000) };

/// Plays events, each with its time in milliseconds, and gives the last one's change.
fn play(passive: &mut Passive, events: &[(u64, HealthEvent)]) -> Option<Change> {
    let mut last = None;
    for &(now, event) in events {
        assert_eq!(last, None, "an earlier event changed something");
        last = observe(passive, event, Millis(now), &RULES, false);
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

#[test]
fn three_failures_in_a_row_mark_a_backend() {
    for failure in [HealthEvent::ConnectFailed, HealthEvent::ResponseTimedOut] {
        marked_by(failure);
    }
    let mixed = [
        (1, HealthEvent::ConnectFailed),
        (2, HealthEvent::ResponseTimedOut),
        (3, HealthEvent::ConnectFailed),
    ];
    assert_eq!(play(&mut Passive::new(), &mixed), Some(Change::Down));
}

#[test]
fn one_failure_marks_where_one_is_allowed() {
    let rules = Rules { max_fails: 1, ..RULES };
    let mut passive = Passive::new();
    let change = observe(&mut passive, HealthEvent::ConnectFailed, Millis(5), &rules, false);
    assert_eq!(change, Some(Change::Down));
}

#[test]
fn an_answer_between_them_breaks_the_row() {
    let mut passive = Passive::new();
    let failure = HealthEvent::ConnectFailed;
    let events =
        [(1, failure), (2, failure), (3, HealthEvent::Answered), (4, failure), (5, failure)];
    assert_eq!(play(&mut passive, &events), None);
    assert_eq!(play(&mut passive, &[(6, failure)]), Some(Change::Down));
}

#[test]
fn a_probe_between_them_does_not_break_the_row() {
    let failure = HealthEvent::ResponseTimedOut;
    let events = [(1, failure), (2, failure), (3, HealthEvent::ProbeSucceeded), (4, failure)];
    assert_eq!(play(&mut Passive::new(), &events), Some(Change::Down));
}

#[test]
fn failures_count_together_only_within_the_time() {
    let failure = HealthEvent::ConnectFailed;
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
        let change = observe(&mut passive, HealthEvent::ConnectFailed, Millis(now), &RULES, true);
        assert_eq!(change, None);
        assert!(passive.is_up());
    }
    let change = observe(&mut passive, HealthEvent::ConnectFailed, Millis(20), &RULES, false);
    assert_eq!(change, Some(Change::Down));
}

#[test]
fn the_first_connection_that_opens_ends_a_mark_by_refused_ones() {
    let mut passive = marked_by(HealthEvent::ConnectFailed);
    assert_eq!(play(&mut passive, &[(2000, HealthEvent::ProbeFailed)]), None);
    assert_eq!(play(&mut passive, &[(2001, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
    assert_eq!(passive, Passive::new());
}

#[test]
fn a_mark_by_timeouts_lasts_for_the_time_and_then_to_the_first_connection_that_opens() {
    let mut passive = marked_by(HealthEvent::ResponseTimedOut);
    let events = [
        (2000, HealthEvent::ProbeSucceeded),
        (10_999, HealthEvent::ProbeSucceeded),
        (11_000, HealthEvent::ProbeFailed),
    ];
    assert_eq!(play(&mut passive, &events), None);
    assert_eq!(play(&mut passive, &[(11_000, HealthEvent::ProbeSucceeded)]), Some(Change::Up));
}

#[test]
fn one_timeout_among_them_makes_it_a_mark_by_timeouts() {
    let mut passive = Passive::new();
    let mixed = [
        (1, HealthEvent::ConnectFailed),
        (2, HealthEvent::ResponseTimedOut),
        (3, HealthEvent::ConnectFailed),
    ];
    play(&mut passive, &mixed);
    assert_eq!(play(&mut passive, &[(2000, HealthEvent::ProbeSucceeded)]), None);
}

#[test]
fn what_was_under_way_does_not_touch_a_mark() {
    let mut passive = marked_by(HealthEvent::ConnectFailed);
    let before = passive;
    let events = [
        (2, HealthEvent::Answered),
        (3, HealthEvent::ConnectFailed),
        (4, HealthEvent::ResponseTimedOut),
    ];
    assert_eq!(play(&mut passive, &events), None);
    assert_eq!(passive, before);
}

#[test]
fn the_bits_tell_all() {
    let mut passive = Passive::new();
    assert_eq!(passive.to_bits(), 0, "cells begin as zeros");
    for (now, event) in (0..300).map(|now| (now, HealthEvent::ConnectFailed)).chain([
        (301, HealthEvent::ResponseTimedOut),
        ((1 << 48) - 1, HealthEvent::ConnectFailed),
        ((1 << 48) - 1, HealthEvent::ResponseTimedOut),
    ]) {
        observe(&mut passive, event, Millis(now), &RULES, true);
        assert_eq!(Passive::from_bits(passive.to_bits()), passive);
    }
    for failure in [HealthEvent::ConnectFailed, HealthEvent::ResponseTimedOut] {
        let marked = marked_by(failure);
        assert_eq!(Passive::from_bits(marked.to_bits()), marked);
    }
    assert_eq!(Check::new().to_bits(), 0);
    for count in 0..100 {
        for check in [Check::Up { failed: count }, Check::Down { passed: count }] {
            assert_eq!(Check::from_bits(check.to_bits()), check);
        }
    }
    for (bits, admin) in
        [AdminState::Ready, AdminState::Drain, AdminState::Maint, AdminState::Leaving]
            .into_iter()
            .enumerate()
    {
        assert_eq!((admin.to_bits(), AdminState::from_bits(bits as u64)), (bits as u64, admin));
    }
}

#[test]
fn checks_in_a_row_change_the_state_and_others_do_not() {
    let rules = CheckRules { rise: 2, fall: 3 };
    let mut check = Check::new();
    let mut play = |results: &[bool]| {
        let changes: Vec<_> =
            results.iter().filter_map(|passed| check.observe(*passed, &rules)).collect();
        (changes, check.is_up(), check.is_changing())
    };
    assert_eq!(play(&[true, false, false]), (vec![], true, true));
    assert_eq!(play(&[true, false, false, true]), (vec![], true, false));
    assert_eq!(play(&[false, false, false]), (vec![Change::Down], false, false));
    assert_eq!(play(&[false, true, false]), (vec![], false, false));
    assert_eq!(play(&[true]), (vec![], false, true));
    assert_eq!(play(&[true]), (vec![Change::Up], true, false));
}

#[test]
fn what_the_operator_wants_and_what_does_not_work_make_one_word() {
    let (fine, marked) = (Passive::new(), marked_by(HealthEvent::ConnectFailed));
    let (passing, failing) = (Check::new(), Check::Down { passed: 1 });
    for (admin, works) in [
        (AdminState::Ready, Availability::Up),
        (AdminState::Drain, Availability::Drain),
        (AdminState::Leaving, Availability::Drain),
    ] {
        assert_eq!(availability(passing, fine, admin), works);
        assert_eq!(availability(failing, fine, admin), Availability::Down);
        assert_eq!(availability(passing, marked, admin), Availability::Down);
        assert_eq!(availability(failing, marked, admin), Availability::Down);
    }
    assert_eq!(availability(passing, fine, AdminState::Maint), Availability::Maint);
    assert_eq!(availability(failing, marked, AdminState::Maint), Availability::Maint);
}
