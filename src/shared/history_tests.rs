use super::*;
use crate::policy::reason::Reason;

const KEY: HistoryKey = HistoryKey::SERVICE;

fn history() -> History {
    History::small(12, 4)
}

fn at(seconds: u64) -> Micros {
    Micros::from_secs(1000 + seconds)
}

/// So many requests, each of which took 2 s, a tenth of which failed.
fn counts(requests: u64) -> Tally {
    let mut tally = Tally::default();
    tally.0[0] = requests;
    let reason = Reason::ALL.iter().position(|reason| *reason == Reason::ConnectionRefused);
    tally.0[8 + reason.unwrap()] = requests / 10;
    let bucket = crate::shared::Histogram::BOUNDS.iter().position(|bound| bound.0 == 2_000_000);
    tally.0[Tally::LEN - crate::shared::Histogram::BUCKETS + bucket.unwrap()] = requests;
    tally
}

fn rates(track: &Track, now: Micros) -> [f64; 3] {
    track.lately(now).0.map(|growth| growth.per_second(growth.counts.requests()).round())
}

#[test]
fn rates_are_right_at_once_and_in_each_window_and_after_an_idle_time() {
    let track = history().add_track(KEY, &Tally::default(), at(0)).unwrap();
    track.add(&counts(100), at(1));
    assert_eq!(rates(&track, at(1)), [100.0; 3]);
    for second in 2..=400 {
        track.add(&counts(100 * second), at(second));
        assert_eq!(rates(&track, at(second)), [100.0; 3], "{second}");
    }
    // Nothing comes any more.
    for second in 401..=411 {
        track.add(&counts(40_000), at(second));
    }
    assert_eq!(rates(&track, at(411))[0], 0.0);
    let growth = track.growth(Window::Minute, at(411));
    assert!((60..=66).contains(&(growth.span.0 / 1_000_000)));
    assert!((4800..=5100).contains(&growth.counts.requests()), "{}", growth.counts.requests());
    assert_eq!(growth.counts.failures(), growth.counts.requests() / 10);
    let p99 = growth.counts.times().quantile(0.99).unwrap();
    assert!((1_600_000..=2_000_000).contains(&p99.0));
    assert_eq!(track.growth(Window::TenSeconds, at(411)).counts.times().quantile(0.5), None);
}

#[test]
fn a_burst_is_in_the_windows_for_as_long_as_they_are() {
    let track = history().add_track(KEY, &Tally::default(), at(0)).unwrap();
    let mut seen = [0; 3];
    for second in 1..=700 {
        track.add(&counts(if second < 320 { 0 } else { 300 }), at(second));
        for (place, growth) in track.lately(at(second)).0.into_iter().enumerate() {
            seen[place] += u64::from(growth.counts.requests() == 300);
        }
    }
    assert!((10..=11).contains(&seen[0]), "{seen:?}");
    assert!((60..=65).contains(&seen[1]) && (300..=330).contains(&seen[2]), "{seen:?}");
}

#[test]
fn what_goes_back_or_leaps_is_no_growth() {
    let track = history().add_track(KEY, &Tally::default(), at(0)).unwrap();
    track.add(&counts(1000), at(1));
    // As after a reload, until what the older processes have counted comes in.
    track.add(&counts(990), at(2));
    assert_eq!(track.growth(Window::TenSeconds, at(2)).counts.requests(), 1000);
    track.add(&counts(1020), at(3));
    assert_eq!(track.growth(Window::TenSeconds, at(3)).counts.requests(), 1020);
    // A worker was taken over.
    for (second, forged) in [(4, u64::MAX), (5, u64::MAX / 2 + 1), (6, 1 << 40)] {
        track.add(&counts(forged), at(second));
        let found = track.growth(Window::TenSeconds, at(second)).counts;
        assert!(found.requests() == 1020 && found.failures() <= 102, "{found:?}");
    }
    // It was ended: the numbers are less than they were and stay so, and are believed in the end.
    for second in 7..=30 {
        track.add(&counts(1020 + 10 * second), at(second));
    }
    assert_eq!(rates(&track, at(30))[0], 10.0);
    let found = track.growth(Window::FiveMinutes, at(30)).counts.requests();
    assert!((1150..=1300).contains(&found), "{found}");
}

#[test]
fn no_cells_make_numbers_that_cannot_be() {
    let history = history();
    let track = history.add_track(KEY, &Tally::default(), at(0)).unwrap();
    let line = history.add_line(KEY, &track, at(0)).unwrap();
    let mut random = crate::mem::xorshift::Xorshift::new(7);
    for second in 1..=2000 {
        let mut forged = Tally::default();
        forged
            .0
            .iter_mut()
            .for_each(|count| *count = random.below(usize::MAX) as u64 >> random.below(64));
        track.add(&forged, at(second));
        line.add(&track, at(second));
        for growth in track.lately(at(second)).0 {
            let rate = growth.per_second(growth.counts.requests());
            assert!((0.0..=1e9).contains(&rate), "{rate}");
        }
    }
}

#[test]
fn who_comes_later_goes_on_and_other_cells_are_begun_anew() {
    let history = history();
    assert!(history.is_new());
    let track = history.add_track(KEY, &Tally::default(), at(0)).unwrap();
    history.add_line(KEY, &track, at(0)).unwrap();
    track.add(&counts(50), at(1));
    let again = History::of(history.cells, 12, 4);
    assert!(!again.is_new());
    let (key, track) = again.tracks().next().unwrap();
    assert_eq!((key, again.lines().count()), (KEY, 1));
    assert_eq!(track.growth(Window::TenSeconds, at(2)).counts.requests(), 50);
    history.cells[0].store(7, Relaxed);
    assert!(History::of(history.cells, 12, 4).is_new());
    assert!(History::over(history.cells).add_track(KEY, &Tally::default(), at(0)).is_none());
}

#[test]
fn a_track_that_is_free_is_used_again_and_there_are_no_more_than_there_are() {
    let history = history();
    let add = |key| history.add_track(HistoryKey(key), &Tally::default(), at(0));
    let first = add(5).unwrap();
    first.add(&counts(9), at(1));
    first.free();
    assert_eq!(history.tracks().count(), 0);
    let again = add(6).unwrap();
    assert_eq!(again.growth(Window::TenSeconds, at(1)).counts, Tally::default());
    for key in 7..7 + 12 - 1 {
        assert!(add(key).is_some());
    }
    assert!(add(1 << 40).is_none());
}

#[test]
fn names_of_pools_and_backends_do_not_meet() {
    let keys = [
        HistoryKey::of_pool("a"),
        HistoryKey::of_pool("b"),
        HistoryKey::of_backend("a", "1.1.1.1:80"),
        HistoryKey::of_backend("b", "1.1.1.1:80"),
        HistoryKey::SERVICE,
    ];
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key));
    }
}
