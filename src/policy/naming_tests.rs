use super::*;

const HOLD: Millis = Millis(30_000);
const PLAIN: NameShare = NameShare { weight: 1, backup: false };

fn name(max: usize) -> NameAddresses {
    NameAddresses::new(NameRules { max, hold: HOLD })
}

fn address(text: &str) -> SocketAddr {
    match text.strip_prefix('v') {
        Some(six) => format!("[fd00::{six}]:80").parse().unwrap(),
        None => format!("10.0.0.{text}:80").parse().unwrap(),
    }
}

/// "1 2" are two addresses of IPv4, "v1" is one of IPv6; "" is nothing, "?" is unknown.
fn answer(text: &str) -> Answer {
    match text {
        "" => Answer::Nothing,
        "?" => Answer::Unknown,
        some => {
            let of = |text| (address(text), PLAIN);
            Answer::Found(some.split(' ').map(of).collect())
        }
    }
}

fn shown(changes: Vec<(SocketAddr, Change)>) -> String {
    let sign = |change| match change {
        Change::Comes => '+',
        Change::IsUsedOtherwise => '=',
        Change::Goes => '?',
        Change::Stays => '!',
        Change::HasGone => '-',
    };
    let host = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3].to_string(),
        IpAddr::V6(ip) => format!("v{:x}", ip.segments()[7]),
    };
    let words =
        changes.into_iter().map(|(address, change)| format!("{}{}", sign(change), host(address)));
    words.collect::<Vec<_>>().join(" ")
}

/// Each row: the second, what is said of IPv4 and IPv6 then (`-`: no look-up, only the time), and what
/// becomes of whom.
fn play(max: usize, rows: &[(u64, &str, &str, &str)]) -> NameAddresses {
    let mut name = name(max);
    for (second, four, six, expected) in rows {
        let now = Millis(second * 1000);
        let changes = match *four {
            "-" => name.expire(now),
            four => name.apply(&[answer(four), answer(six)], now),
        };
        assert_eq!(shown(changes), *expected, "at {second} s: {four:?} {six:?}");
    }
    name
}

#[test]
fn addresses_come_go_after_the_hold_and_stay_if_they_are_named_again() {
    play(
        64,
        &[
            (0, "1 2", "", "+1 +2"),
            (5, "1 2", "", ""),
            (10, "2 3", "", "+3 ?1"),
            (15, "2 3", "", ""),
            (39, "-", "", ""),
            (40, "-", "", "-1"),
            (50, "2", "", "?3"),
            (60, "2 3", "", "!3"),
            (100, "2 3", "", ""),
            (101, "1 2 3", "", "+1"),
        ],
    );
}

#[test]
fn nothing_is_held_too_so_that_a_name_server_may_begin_anew() {
    play(
        64,
        &[
            (0, "1 2", "", "+1 +2"),
            (5, "", "", "?1 ?2"),
            (7, "1 2", "", "!1 !2"),
            (10, "", "", "?1 ?2"),
            (39, "", "", ""),
            (40, "", "", "-1 -2"),
            (45, "", "", ""),
        ],
    );
}

#[test]
fn what_is_unknown_stays_for_ever() {
    play(
        64,
        &[
            (0, "1 2", "v1", "+1 +2 +v1"),
            (5, "?", "?", ""),
            (100_000, "?", "?", ""),
            (100_005, "1", "v1", "?2"),
            // It goes, but nobody knows any more whether it was right.
            (100_010, "?", "?", ""),
            (200_000, "-", "", ""),
            (200_001, "1", "v1", "-2"),
        ],
    );
}

#[test]
fn one_family_says_nothing_of_the_other() {
    play(
        64,
        &[
            (0, "1", "?", "+1"),
            (5, "1 2", "v1", "+2 +v1"),
            (10, "?", "v2", "+v2 ?v1"),
            (15, "?", "", "?v2"),
            (40, "-", "", "-v1"),
            (50, "3", "?", "+3 ?1 ?2"),
            (100, "3", "", "-1 -2 -v2"),
        ],
    );
}

#[test]
fn of_too_many_addresses_the_lowest_are_taken() {
    let name = play(
        2,
        &[
            (0, "3 2 1", "v1", "+1 +2"),
            (5, "2 3", "", "+3 ?1"),
            // As many as may be named may be going: who has been going for longest goes at once.
            (6, "4 5", "", "+4 +5 ?2 ?3 -1"),
            (7, "6 7", "", "+6 +7 ?4 ?5 -2 -3"),
        ],
    );
    assert_eq!((name.surplus(), name.known().count()), (0, 4));
    assert_eq!(play(2, &[(0, "1 2 3", "v1", "+1 +2")]).surplus(), 2);
}

#[test]
fn a_share_that_changes_is_told_also_of_who_was_going() {
    let mut name = name(64);
    let found = |weight, backup| {
        let share = NameShare { weight, backup };
        [Answer::Found([(address("1"), share)].into()), Answer::Nothing]
    };
    assert_eq!(shown(name.apply(&found(1, false), Millis(0))), "+1");
    assert_eq!(shown(name.apply(&found(7, false), Millis(1))), "=1");
    assert_eq!(shown(name.apply(&found(7, true), Millis(2))), "=1");
    assert_eq!(shown(name.apply(&[Answer::Nothing, Answer::Nothing], Millis(3))), "?1");
    assert_eq!(shown(name.apply(&found(9, false), Millis(4))), "!1");
    let known = name.find(&address("1")).unwrap();
    assert_eq!((known.share.weight, known.share.backup, known.goes_at), (9, false, None));
}

#[test]
fn who_failed_while_it_went_comes_anew_if_it_is_named_again() {
    let mut name = play(64, &[(0, "1 2", "", "+1 +2"), (5, "2", "", "?1")]);
    name.forget(&address("1"));
    assert_eq!(name.next_deadline(), None);
    assert_eq!(shown(name.apply(&[answer("1 2"), answer("")], Millis(6000))), "+1");
}

#[test]
fn what_was_known_before_is_judged_like_the_rest() {
    let mut name = name(64);
    name.assume(address("1"), NamedAddress { share: PLAIN, goes_at: None });
    name.assume(address("2"), NamedAddress { share: PLAIN, goes_at: Some(Millis(9000)) });
    assert_eq!(name.next_deadline(), Some(Millis(9000)));
    assert_eq!(shown(name.apply(&[answer("3"), answer("")], Millis(5000))), "+3 ?1");
    assert_eq!(shown(name.expire(Millis(9000))), "-2");
    assert_eq!(name.next_deadline(), Some(Millis(35_000)));
}

#[test]
fn a_hold_of_nothing_lets_go_at_once() {
    let mut name = NameAddresses::new(NameRules { max: 64, hold: Millis(0) });
    assert_eq!(shown(name.apply(&[answer("1 2"), answer("")], Millis(5))), "+1 +2");
    assert_eq!(shown(name.apply(&[answer("1"), answer("")], Millis(6))), "?2 -2");
}

#[test]
fn a_name_is_found_if_any_family_is_and_unknown_if_neither_is_and_one_is_unknown() {
    for (four, six, status) in [
        ("1", "v1", "ok"),
        ("1", "?", "ok"),
        ("", "v1", "ok"),
        ("", "?", "unknown"),
        ("?", "?", "unknown"),
        ("", "", "nothing"),
    ] {
        assert_eq!(NameStatus::of(&[answer(four), answer(six)]).as_str(), status, "{four} {six}");
    }
    assert_eq!(NameStatus::Never.as_str(), "never");
}

#[test]
fn who_is_not_answered_asks_again_after_one_two_and_four_seconds() {
    let mut repetition = Repetition::default();
    let mut pause = |status| repetition.pause(status, None, Millis(5000)).0;
    let pauses = [0; 5].map(|_| pause(NameStatus::Unknown));
    assert_eq!(pauses, [1000, 2000, 4000, 5000, 5000]);
    assert_eq!((pause(NameStatus::Found), pause(NameStatus::Unknown)), (5000, 1000));
    assert_eq!((pause(NameStatus::Nothing), pause(NameStatus::Unknown)), (5000, 1000));
    let mut repetition = Repetition::default();
    let pauses = [0; 40].map(|_| repetition.pause(NameStatus::Unknown, None, Millis(100)).0);
    assert_eq!(pauses, [100; 40]);
}

#[test]
fn records_are_asked_for_again_when_their_lifetime_is_over_but_not_each_moment() {
    let after = |lifetime, interval| {
        Repetition::default().pause(NameStatus::Found, Some(Millis(lifetime)), Millis(interval)).0
    };
    assert_eq!(after(3000, 5000), 3000);
    assert_eq!(after(600_000, 5000), 5000);
    assert_eq!((after(0, 5000), after(0, 200)), (1000, 200));
}
