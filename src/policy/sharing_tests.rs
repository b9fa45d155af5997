use super::*;

const START: Millis = Millis(5_000);

fn fast() -> LatencyEstimate {
    let mut pace = LatencyEstimate::default();
    (0..12).for_each(|_| pace.observe(Micros(1000), true));
    pace
}

fn answered(times: u32) -> Sharing {
    let mut sharing = Sharing::default();
    (0..times).for_each(|_| sharing.answered(START));
    sharing
}

#[test]
fn a_backend_is_slow_until_it_has_shown_otherwise() {
    let mut pace = LatencyEstimate::default();
    let sharing = answered(PROOF);
    assert_eq!(sharing.leave(&pace, START), Leave::None);
    let responses = (1..).take_while(|_| {
        pace.observe(Micros(1000), true);
        sharing.leave(&pace, START) == Leave::None
    });
    assert_eq!(responses.count(), 6);
}

#[test]
fn a_backend_that_says_that_it_closes_shares_nothing() {
    let mut pace = fast();
    assert_eq!(answered(PROOF).leave(&pace, START), Leave::Many);
    pace.observe(Micros(1000), false);
    assert_eq!(answered(PROOF).leave(&pace, START), Leave::None);
}

#[test]
fn one_pair_at_a_time_until_ten_were_answered_well() {
    for (count, wanted) in [
        (0, Leave::Pair),
        (1, Leave::Pair),
        (9, Leave::Pair),
        (10, Leave::Many),
        (11, Leave::Many),
        (5000, Leave::Many),
    ] {
        assert_eq!(answered(count).leave(&fast(), START), wanted, "after {count}");
    }
}

#[test]
fn a_failure_bars_sharing_for_a_minute_and_each_further_one_for_twice_as_long() {
    for count in [0, 9, 10, 999] {
        let mut sharing = answered(count);
        let mut now = START;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            sharing.failed(now);
            let end = now + Millis::from_secs(60 * minutes);
            assert_eq!(sharing.leave(&fast(), now), Leave::None, "{minutes}");
            assert_eq!(sharing.leave(&fast(), end - Millis(1)), Leave::None, "{minutes}");
            assert_eq!(sharing.leave(&fast(), end), Leave::Pair, "and is learned anew");
            now = end;
        }
    }
}

#[test]
fn what_was_shared_before_a_bar_neither_lengthens_nor_ends_it() {
    let mut sharing = answered(PROOF);
    sharing.failed(START);
    for _ in 0..20 {
        sharing.failed(START + Millis(10));
        sharing.answered(START + Millis(10));
    }
    let end = START + FIRST_BAR;
    assert_eq!(sharing.leave(&fast(), end - Millis(1)), Leave::None);
    assert_eq!(sharing.leave(&fast(), end), Leave::Pair);
    sharing.failed(end);
    assert_eq!(sharing.leave(&fast(), end + Millis(119_999)), Leave::None);
    assert_eq!(sharing.leave(&fast(), end + Millis(120_000)), Leave::Pair);
}

#[test]
fn ten_pairs_prove_it_again_after_a_bar_and_a_thousand_make_it_forgotten() {
    let mut sharing = answered(PROOF);
    sharing.failed(START);
    let end = START + FIRST_BAR;
    for wanted in [Leave::Pair; 9] {
        sharing.answered(end);
        assert_eq!(sharing.leave(&fast(), end), wanted);
    }
    sharing.answered(end);
    assert_eq!(sharing.leave(&fast(), end), Leave::Many);
    for (more, minutes) in [(980, 2), (1000, 1)] {
        let mut later = sharing;
        (0..more).for_each(|_| later.answered(end));
        later.failed(end);
        let bar = Millis::from_secs(60 * minutes);
        assert_eq!(later.leave(&fast(), end + bar - Millis(1)), Leave::None, "{more}");
        assert_eq!(later.leave(&fast(), end + bar), Leave::Pair, "{more}");
    }
}

#[test]
fn patience_is_ten_times_the_pace_and_at_least_50_ms() {
    assert_eq!(fast().patience(), Micros(50_000));
    let mut pace = fast();
    (0..100).for_each(|_| pace.observe(Micros(30_000), true));
    assert!((290_000..=300_000).contains(&pace.patience().0), "{:?}", pace.patience());
}
