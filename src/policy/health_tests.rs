use super::*;
use crate::mem::time::Millis;

#[test]
fn the_bits_tell_all() {
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
    for fault in [
        CheckFault::Status(404),
        CheckFault::NoConnection,
        CheckFault::TimedOut,
        CheckFault::Ended,
        CheckFault::Malformed,
    ] {
        assert_eq!(CheckFault::from_bits(fault.to_bits()), fault);
        assert!(fault.to_bits() > 0);
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
    let (fine, marked) = (Passive::new(), Passive::unreachable(Millis(1)));
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
