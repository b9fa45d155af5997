use super::Identity::{Match, Mismatch};
use super::*;

const SUSPECT: Identity = Identity::Doubt(Doubt::Suspect);
const PROOF: Identity = Identity::Doubt(Doubt::Proof);

fn later(id: Seen, status: u16) -> Observed {
    Observed { connection: 1, fresh: false, made_here: true, id, status }
}

fn fresh(id: Seen, status: u16) -> Observed {
    Observed { fresh: true, ..later(id, status) }
}

fn own(observed: Observed) -> Observed {
    Observed { made_here: false, ..observed }
}

fn auto(echo: &mut EchoSupport, observed: Observed) -> Identity {
    echo.judge(RequestId::Auto, observed)
}

fn echo(echo: &mut EchoSupport, count: u32) {
    for number in 0..count {
        let connection = u64::from(number % 2);
        let observed = Observed { connection, ..later(Seen::Same, 200) };
        assert_eq!(auto(echo, observed), Match);
    }
}

fn after(echoes: u32) -> EchoSupport {
    let mut support = EchoSupport::default();
    echo(&mut support, echoes);
    support
}

#[test]
fn a_hundred_in_a_row_over_two_connections_make_a_backend_one_that_echoes() {
    assert!(!after(99).echoes());
    assert!(after(100).echoes());
    let mut support = EchoSupport::default();
    for _ in 0..500 {
        assert_eq!(auto(&mut support, later(Seen::Same, 200)), Match);
    }
    assert!(!support.echoes(), "one connection alone says nothing");
    auto(&mut support, Observed { connection: 2, ..fresh(Seen::Same, 200) });
    assert!(support.echoes());
}

#[test]
fn the_row_starts_again_where_it_is_broken() {
    for broken in [later(Seen::Absent, 200), later(Seen::Other, 404), fresh(Seen::Absent, 503)] {
        let mut support = after(99);
        assert_eq!(auto(&mut support, broken), Match);
        echo(&mut support, 99);
        assert!(!support.echoes());
        echo(&mut support, 1);
        assert!(support.echoes());
    }
}

#[test]
fn another_value_and_none_below_400_are_doubted_of_a_backend_that_echoes() {
    for (id, status, wanted) in [
        (Seen::Other, 200, SUSPECT),
        (Seen::Other, 404, SUSPECT),
        (Seen::Other, 500, SUSPECT),
        (Seen::Absent, 200, SUSPECT),
        (Seen::Absent, 399, SUSPECT),
        (Seen::Absent, 400, Match),
        (Seen::Absent, 503, Match),
        (Seen::Same, 200, Match),
    ] {
        let mut support = after(100);
        assert_eq!(auto(&mut support, later(id, status)), wanted, "{id:?} {status}");
        assert!(support.echoes(), "{id:?} {status}");
        assert_eq!(auto(&mut after(99), later(id, status)), Match, "{id:?} {status}");
    }
}

#[test]
fn what_clients_send_is_neither_verified_nor_learned_from() {
    for id in [Seen::Same, Seen::Other, Seen::Absent] {
        for observed in [own(later(id, 200)), own(fresh(id, 200))] {
            let mut support = after(100);
            assert_eq!(auto(&mut support, observed), Match);
            assert!(support.echoes());
            let mut support = after(99);
            (0..200).for_each(|_| assert_eq!(auto(&mut support, observed), Match));
            assert!(!support.echoes());
            echo(&mut support, 1);
            assert!(support.echoes());
        }
    }
}

#[test]
fn the_first_response_of_a_fresh_connection_without_the_value_stops_it_at_once() {
    for observed in [fresh(Seen::Absent, 200), fresh(Seen::Absent, 503), fresh(Seen::Other, 404)] {
        let mut support = after(100);
        assert_eq!(auto(&mut support, observed), Match);
        assert!(!support.echoes());
        assert_eq!(auto(&mut support, later(Seen::Other, 200)), Match);
        echo(&mut support, 999);
        assert!(!support.echoes());
        echo(&mut support, 1);
        assert!(support.echoes());
    }
}

#[test]
fn each_unfounded_doubt_makes_the_next_ten_times_as_hard_up_to_100000() {
    let mut support = after(100);
    for needed in [1_000, 10_000, 100_000, 100_000] {
        assert_eq!(auto(&mut support, later(Seen::Absent, 200)), SUSPECT);
        let again = support.resolve(Doubt::Suspect, fresh(Seen::Absent, 200));
        assert_eq!(again, Outcome::Unfounded);
        echo(&mut support, needed - 1);
        assert!(!support.echoes(), "{needed}");
        echo(&mut support, 1);
        assert!(support.echoes(), "{needed}");
    }
}

#[test]
fn a_doubt_that_the_repeat_bears_out_makes_the_next_no_harder() {
    let mut support = after(100);
    assert_eq!(support.resolve(Doubt::Suspect, fresh(Seen::Same, 200)), Outcome::Proved);
    assert!(support.echoes());
}

#[test]
fn a_value_of_the_same_connection_is_proof_from_the_first_request_on() {
    for echoes in [0, 1, 99, 100, 5000] {
        for observed in [later(Seen::Earlier, 200), own(later(Seen::Earlier, 500))] {
            let mut support = after(echoes);
            let before = support;
            assert_eq!(auto(&mut support, observed), PROOF);
            assert_eq!(support, before);
        }
    }
}

#[test]
fn a_backend_that_returns_old_values_over_fresh_connections_too_is_believed() {
    for echoes in [0, 100] {
        let mut support = after(echoes);
        let again = support.resolve(Doubt::Proof, fresh(Seen::Other, 200));
        assert_eq!(again, Outcome::Unfounded);
        for _ in 0..50 {
            assert_eq!(auto(&mut support, later(Seen::Earlier, 200)), Match);
        }
        echo(&mut support, 1000);
        assert_eq!(auto(&mut support, later(Seen::Earlier, 200)), PROOF);
    }
}

#[test]
fn proof_stands_where_the_repeat_says_nothing() {
    for again in [fresh(Seen::Absent, 503), fresh(Seen::Same, 200), own(fresh(Seen::Other, 200))] {
        let mut support = after(100);
        assert_eq!(support.resolve(Doubt::Proof, again), Outcome::Proved);
        assert_eq!(auto(&mut support, later(Seen::Earlier, 200)), PROOF);
    }
}

#[test]
fn where_it_is_required_only_the_right_value_will_do() {
    for mut support in [EchoSupport::default(), after(3), after(100)] {
        for id in [Seen::Same, Seen::Other, Seen::Absent, Seen::Earlier] {
            let wanted = if id == Seen::Same { Match } else { Mismatch };
            for observed in [fresh(id, 200), later(id, 404), own(later(id, 200))] {
                assert_eq!(support.judge(RequestId::Require, observed), wanted);
            }
        }
    }
}

#[test]
fn where_it_is_off_all_pass() {
    for mut support in [EchoSupport::default(), after(3), after(100)] {
        for id in [Seen::Same, Seen::Other, Seen::Absent, Seen::Earlier] {
            assert_eq!(support.judge(RequestId::Off, later(id, 200)), Match);
        }
    }
}

#[test]
fn a_connection_is_read_on_for_three_usual_times_within_bounds() {
    for (usual, wanted) in
        [(0, 100), (1, 100), (33, 100), (50, 150), (300, 900), (400, 1000), (60_000, 1000)]
    {
        assert_eq!(read_on_for(Micros::from(Millis(usual))), Micros::from(Millis(wanted)));
    }
    assert_eq!(read_on_for(Micros(u64::MAX)), READ_ON_AT_MOST);
}

#[test]
fn the_last_sixteen_identifiers_are_known_and_nothing_else() {
    let uuid = |number: u32| format!("{number:08x}-0000-4000-8000-{:012x}", u64::from(number) << 4);
    let known = |number: u32| Sent {
        is_head: number % 3 == 0,
        digest: RequestDigest(u64::from(number) * 7),
    };
    let mut sent = SentIds::default();
    for number in 0..40 {
        assert_eq!(sent.find(uuid(number).as_bytes()), None);
        sent.add(uuid(number).as_bytes(), known(number));
    }
    for number in 0..80 {
        let wanted = (24..40).contains(&number).then(|| known(number));
        assert_eq!(sent.find(uuid(number).as_bytes()), wanted, "{number}");
    }
    for other in ["", "short", &"0".repeat(36), &"0".repeat(128)] {
        assert_eq!(sent.find(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn the_operator_is_told_at_once_and_then_once_a_minute() {
    let mut telling = Telling::default();
    assert_eq!(telling.add(Millis(5)), Some(1));
    for time in 6..100 {
        assert_eq!(telling.add(Millis(time)), None);
    }
    assert_eq!(telling.add(Millis(60_004)), None);
    assert_eq!(telling.add(Millis(60_005)), Some(96));
}
