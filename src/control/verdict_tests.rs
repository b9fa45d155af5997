use super::super::view::tests::{backend, view};
use super::*;
use crate::shared::tally::Tally;
use crate::shared::{Class, Histogram};

/// So many responses of each class in ten seconds, so many errors of a reason, half of them this slow.
fn growth(fine: u64, failing: u64, reason: Option<(Reason, u64)>, bucket: usize) -> Growth {
    let mut counts = Tally::default();
    counts.0[3 + Class::Success as usize] = fine;
    counts.0[3 + Class::ServerError as usize] = failing + reason.map_or(0, |(_, count)| count);
    counts.0[2] = failing;
    if let Some((reason, count)) = reason {
        counts.0[8 + reason.index()] = count;
    }
    counts.0[Tally::LEN - Histogram::BUCKETS + bucket] = fine;
    Growth { span: Micros::from_secs(10), counts }
}

fn pool(states: &[Availability], growth: Growth) -> PoolStatus {
    let mut pool = view().pools[0].clone();
    pool.queue = 0;
    pool.backends = states
        .iter()
        .map(|state| super::super::view::BackendStatus { state: *state, ..backend() })
        .collect();
    pool.lately = Lately::always(growth);
    pool
}

fn found(states: &[Availability], growth: Growth) -> Vec<(Severity, String)> {
    let found = of_pool(&pool(states, growth)).into_iter();
    found.map(|finding| (finding.severity, finding.text)).collect()
}

#[test]
fn a_pool_is_told_by_what_is_worst_for_those_who_ask() {
    use Availability::{Down, Maint, Up};
    let fine = growth(100, 0, None, 5);
    let unserved = growth(0, 0, Some((Reason::DestinationUnavailable, 410)), 0);
    let refused = |count| growth(100, 0, Some((Reason::ConnectionRefused, count)), 5);
    let one = |severity, text: &str| vec![(severity, format!("default: {text}"))];
    let cases = [
        (vec![Up, Up], fine, vec![]),
        (vec![], fine, vec![]),
        (vec![Down, Maint], fine, one(Severity::Bad, "no backend is up")),
        (vec![], unserved, one(Severity::Bad, "no backend is up, 41 requests a second get 503")),
        (vec![Up, Down], fine, one(Severity::Doubtful, "1 of 2 backends is down")),
        (
            vec![Up],
            refused(25),
            one(Severity::Doubtful, "20 % of requests fail: connections refused"),
        ),
        (vec![Up], refused(300), one(Severity::Bad, "75 % of requests fail: connections refused")),
        (
            vec![Up],
            growth(100, 100, None, 5),
            one(Severity::Bad, "50 % of requests fail: responses with a status of 500 or above"),
        ),
        (vec![Up], growth(1000, 1, None, 5), vec![]),
    ];
    for (states, growth, expected) in cases {
        assert_eq!(found(&states, growth), expected);
    }
    let mut waiting = pool(&[Up], fine);
    waiting.queue = 7;
    let text = &of_pool(&waiting)[0].text;
    assert_eq!(text, "default: 7 requests wait for a backend below its limit");
}

#[test]
fn requests_that_take_much_longer_than_before_are_told() {
    let place = |bound: u64| Histogram::BOUNDS.iter().position(|found| found.0 == bound).unwrap();
    let (fast, slow) = (place(1_000), place(1_000_000));
    let five = growth(9_000, 0, None, fast);
    let ten = growth(50, 0, None, slow);
    let lately = |ten, five| Lately::of_each([ten, five, five]);
    let text = slowness(&lately(ten, five)).unwrap();
    assert_eq!(text, "half of the requests take 900 ms or longer, 0.9 ms before");
    assert_eq!(slowness(&lately(ten, ten)), None, "they always do");
    assert_eq!(slowness(&lately(growth(9, 0, None, slow), five)), None, "they are too few");
    assert_eq!(slowness(&lately(five, five)), None);
}

#[test]
fn a_backend_that_is_much_slower_than_the_others_is_named() {
    use Availability::Up;
    let place = |bound: u64| Histogram::BOUNDS.iter().position(|found| found.0 == bound).unwrap();
    let (fast, slow) = (growth(50, 0, None, place(1_000)), growth(50, 0, None, place(1_000_000)));
    let with = |growths: &[Growth]| {
        let mut pool = pool(&vec![Up; growths.len()], fast);
        for (place, growth) in growths.iter().enumerate() {
            let backend = &mut pool.backends[place];
            backend.address = format!("10.0.0.{place}:80").parse().unwrap();
            backend.totals.lately = Lately::always(*growth);
        }
        pool
    };
    let said = |growths: &[Growth]| of_pool(&with(growths)).pop().map(|found| found.text);
    let text =
        "default: half of the responses of 10.0.0.1:80 take 900 ms or longer, 0.9 ms elsewhere";
    assert_eq!(said(&[fast, slow]).unwrap(), text, "though half of all requests are slow");
    assert_eq!(said(&[fast, slow, fast]).unwrap(), text, "though most of all requests are fast");
    let two = said(&[fast, slow, fast, slow]).unwrap();
    assert!(
        two.starts_with("default: 2 backends are slow: half of the responses of 10.0.0."),
        "{two}"
    );
    assert_eq!(said(&[slow, slow]), None, "that is no matter of one of them");
    assert_eq!(said(&[slow]), None);
    let few = growth(9, 0, None, place(1_000_000));
    assert_eq!(said(&[fast, few]), None, "they are too few");
    let pool = with(&[fast, slow]);
    let pace = UsualPace::of(&pool).unwrap();
    assert_eq!(
        pool.backends.iter().map(|one| pace.is_slow(one)).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn of_all_that_is_wrong_the_worst_comes_first() {
    use Availability::{Down, Up};
    let mut service = view().service;
    service.snapshot.last_reload_failed = true;
    let fine = growth(100, 0, None, 5);
    let found = of_all(&service, &[pool(&[Up, Down], fine), pool(&[Down], fine)]);
    let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
    let expected = [
        "default: no backend is up",
        "the last reload was refused",
        "default: 1 of 2 backends is down",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn the_service_is_told_by_its_limits_its_reloads_and_its_end() {
    let mut service = view().service;
    assert!(of_service(&service).is_empty());
    service.snapshot.clients = service.clients_max;
    service.snapshot.last_reload_failed = true;
    service.snapshot.is_withdrawn = true;
    let found = of_service(&service);
    assert_eq!(found[0].text, "all 8192 connections are taken (raise max_connections)");
    assert_eq!(worst(found.iter()), Some(&found[0]));
    assert_eq!(found[1].text, "the last reload was refused");
    assert_eq!(worst(found[1..].iter()), Some(&found[1]));
    service.snapshot.is_draining = true;
    assert!(of_service(&service).iter().any(|finding| finding.text == "stopping"));
    assert_eq!(worst([].iter()), None);
}
