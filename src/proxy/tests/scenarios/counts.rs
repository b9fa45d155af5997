//! What a worker counts.

use crate::mem::time::Micros;
use crate::policy::identity::Outcome;
use crate::policy::reason::Reason;
use crate::proxy::tests::scene::Scene;
use crate::shared::{
    BackendCounter, BackendGauge, BackendId, Class, Counter, PoolCounter, PoolId, Segment,
};
use crate::sys::clock;

fn of_backends(segment: &Segment, counter: BackendCounter) -> u64 {
    (0..segment.layout().backends).map(|slot| segment.backend_total(BackendId(slot), counter)).sum()
}

/// All that is not zero.
fn counted(segment: &Segment) -> Vec<(Counter, u64)> {
    let all = Counter::all().map(|counter| (counter, segment.total(counter)));
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_request_is_counted_with_its_bytes_and_its_time() {
    let mut scene = Scene::with_backends(1);
    let segment = scene.seats.segment;
    let client = scene.client();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    scene.send(client, request);
    let begun = clock::now();
    scene.advance(30);
    scene.answer("/", "hello");
    let took = clock::now() - begun;
    let sent = scene.received(client).len() as u64;
    assert_eq!(
        counted(&segment),
        [
            (Counter::Connections, 1),
            (Counter::Requests, 1),
            (Counter::Received, request.len() as u64),
            (Counter::Sent, sent),
            (Counter::Responses(Class::Success), 1),
        ]
    );
    let duration = segment.request_duration();
    assert_eq!(
        (duration.count(), duration.within(Micros(25_000)), duration.within(Micros(50_000))),
        (1, 0, 1)
    );
    assert!(duration.sum >= Micros(30_000) && duration.sum <= took + Micros(1000));
    assert_eq!(segment.response_time(BackendId(0)).count(), 1);
    for (counter, count) in [
        (BackendCounter::Requests, 1),
        (BackendCounter::Connects, 1),
        (BackendCounter::Reuses, 0),
        (BackendCounter::Responses(Class::Success), 1),
    ] {
        assert_eq!(segment.backend_total(BackendId(0), counter), count, "{counter:?}");
    }
    assert_eq!(segment.idle_connections(BackendId(0)), 1);
    scene.warm_up(client, "/again");
    assert_eq!(segment.backend_total(BackendId(0), BackendCounter::Reuses), 1);
    assert_eq!(segment.backend_total(BackendId(0), BackendCounter::Connects), 1);
}

#[test]
fn clients_are_counted_while_they_are_there() {
    let mut scene = Scene::with_backends(1);
    let segment = scene.seats.segment;
    let (one, _other) = (scene.client(), scene.client());
    assert_eq!((segment.clients(), segment.total(Counter::Connections)), (2, 2));
    scene.leave(one);
    assert_eq!((segment.clients(), segment.total(Counter::Connections)), (1, 2));
}

#[test]
fn requests_that_come_behind_others_are_pipelined_ones() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/0", "/1", "/2"]);
    for path in ["/0", "/1", "/2"] {
        scene.answer(path, "");
    }
    scene.warm_up(client, "/3");
    assert_eq!(scene.seats.segment.total(Counter::Pipelined), 2);
    assert_eq!(scene.seats.segment.total(Counter::Requests), 4);
}

#[test]
fn bodies_are_counted_whichever_way_they_go() {
    let mut scene = Scene::with_backends(1);
    let segment = scene.seats.segment;
    let client = scene.client();
    let body = "x".repeat(100_000);
    scene.get(client, &["/long"]);
    scene.answer("/long", &body);
    let sent = scene.received(client).len() as u64;
    assert_eq!(segment.total(Counter::Sent), sent);
    assert!(segment.total(Counter::Spliced) > 50_000);
    let before = segment.total(Counter::Received);
    let head = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    scene.send(client, head.to_owned() + &body);
    scene.answer("/up", "");
    assert_eq!(segment.total(Counter::Received) - before, (head.len() + body.len()) as u64);
}

#[test]
fn errors_are_counted_by_their_reasons() {
    let mut scene = Scene::with(2, |config| config.pools[0].max_fails = 100, |_| ());
    let segment = scene.seats.segment;
    let refused = scene.client();
    scene.send(refused, "NONSENSE\r\n\r\n");
    let gone = scene.client();
    scene.get(gone, &["/gone"]);
    scene.leave(gone);
    (0..2).for_each(|host| scene.refuse(host, true));
    let client = scene.client();
    scene.get(client, &["/refused"]);
    for (reason, count) in [
        (Reason::RequestError, 1),
        (Reason::ClientAbort, 1),
        (Reason::ConnectionRefused, 1),
        (Reason::ResponseTimeout, 0),
    ] {
        assert_eq!(segment.total(Counter::Errors(reason)), count, "{reason:?}");
    }
    assert_eq!(segment.total(Counter::Responses(Class::ClientError)), 1, "499 is no answer");
    assert_eq!(segment.total(Counter::Responses(Class::ServerError)), 1);
    assert_eq!(segment.request_duration().count(), 3);
    let failed = BackendCounter::Errors(Reason::ConnectionRefused);
    assert_eq!(of_backends(&segment, failed), 3, "two repeats, and the first");
    assert_eq!(segment.pool_total(PoolId(0), PoolCounter::Retries), 2);
}

#[test]
fn an_answer_that_is_cut_short_is_its_backends_error() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/cut"]);
    scene.respond_and_hang_up("/cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
    let segment = scene.seats.segment;
    let reason = Reason::ResponseIncomplete;
    assert_eq!(segment.total(Counter::Errors(reason)), 1);
    assert_eq!(segment.backend_total(BackendId(0), BackendCounter::Errors(reason)), 1);
    assert_eq!(segment.total(Counter::Responses(Class::Success)), 1);
}

#[test]
fn a_stale_connection_is_counted_as_one_and_as_no_error() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.warm_up(client, "/0");
    scene.get(client, &["/1"]);
    scene.hang_up("/1");
    scene.answer("/1", "");
    let segment = scene.seats.segment;
    let count = |counter| segment.backend_total(BackendId(0), counter);
    assert_eq!((count(BackendCounter::Stale), count(BackendCounter::Connects)), (1, 2));
    assert_eq!(count(BackendCounter::Errors(Reason::ConnectionTerminated)), 0);
    assert_eq!(segment.pool_total(PoolId(0), PoolCounter::Retries), 0);
}

#[test]
fn an_answer_to_another_request_is_a_mismatch() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/0"]);
    let id = scene.request("/0").head.get("x-request-id").expect("an id").to_owned();
    let answer =
        |id: &str| format!("HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Length: 0\r\n\r\n");
    scene.respond("/0", answer(&id));
    scene.advance(600);
    let segment = scene.seats.segment;
    assert_eq!(segment.worker(0).backend(BackendId(0)).gauge(BackendGauge::Echoes), 0);
    assert_eq!(segment.worker(0).backend(BackendId(0)).gauge(BackendGauge::IdleLimit), 4000);
    scene.get(client, &["/1"]);
    scene.respond("/1", answer(&id));
    let second = scene.request("/1").head.get("x-request-id").expect("an id").to_owned();
    scene.respond("/1", answer(&second));
    let count = |counter| segment.backend_total(BackendId(0), counter);
    assert_eq!(count(BackendCounter::Mismatches), 1);
    assert_eq!(count(BackendCounter::Doubts(Outcome::Proved)), 1);
    assert_eq!(count(BackendCounter::Doubts(Outcome::Unfounded)), 0);
    assert_eq!(count(BackendCounter::Errors(Reason::IdentityMismatch)), 0);
}

#[test]
fn who_waits_in_a_line_is_shown() {
    let cap = |config: &mut crate::config::Config| {
        config.pools[0].backends[0].max_connections = 1;
    };
    let mut scene = Scene::with(1, cap, |_| ());
    let clients = [(); 3].map(|()| scene.client());
    let segment = scene.seats.segment;
    for (client, (path, waiting)) in clients.into_iter().zip([("/0", 0), ("/1", 1), ("/2", 2)]) {
        scene.get(client, &[path]);
        assert_eq!(segment.queue(PoolId(0)), waiting);
    }
    for (path, waiting) in [("/0", 1), ("/1", 0), ("/2", 0)] {
        scene.answer(path, "");
        assert_eq!(segment.queue(PoolId(0)), waiting);
    }
}
