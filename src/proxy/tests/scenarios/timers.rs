//! Timers: the keys of `timeouts`.

use crate::config::Config;
use crate::proxy::tests::scene::Scene;
use crate::shared::PoolId;
use crate::sys::clock;
use crate::sys::world::{self, End};

/// Timeouts that differ, so that each is known by its time.
fn timed(config: &mut Config) {
    config.timeouts.client.0 = 3000;
    config.timeouts.response.0 = 5000;
    config.timeouts.header.0 = 7000;
    config.timeouts.idle.0 = 9000;
}

/// Sends a request of which no backend says anything. So many were asked, and so long it takes to a 504.
fn time_out(backends: usize, retries: u32, request: &str) -> (usize, u64) {
    let configure = |config: &mut Config| {
        timed(config);
        config.pools[0].retries = retries;
    };
    let mut scene = Scene::with(backends, configure, |_| ());
    let client = scene.client();
    scene.send(client, request);
    let begun = clock::now();
    while scene.received(client).is_empty() {
        scene.advance(100);
    }
    assert_eq!(scene.last_error(client), (504, "http_response_timeout".to_owned()));
    assert_eq!(scene.backend_conns(), 0, "a late response comes to nobody");
    let asked = scene.asked();
    (asked.len(), (clock::now() - begun).millis().0 / 1000)
}

#[test]
fn what_asks_for_nothing_but_a_response_is_repeated_once_when_it_does_not_come() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            time_out(3, 2, &request),
            (2, 10),
            "{method}: on another backend, and then no more"
        );
        assert_eq!(time_out(1, 2, &request), (1, 5), "{method}: there is no other");
        assert_eq!(time_out(3, 0, &request), (1, 5), "{method}: it may not be repeated");
    }
    for request in ["TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(time_out(3, 2, request), (1, 5), "{request}");
    }
    let request = "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(time_out(3, 2, request), (1, 5));
}

#[test]
fn a_repeat_after_silence_needs_the_budget() {
    let mut scene = Scene::with(2, timed, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    let pool = &mut scene.service.proxy.upstream[PoolId(0)];
    while pool.budget.try_retry(clock::now().millis()) {}
    scene.advance(5100);
    assert_eq!(scene.last_error(client), (504, "http_response_timeout".to_owned()));
    assert_eq!(scene.times_asked("/"), 1);
}

#[test]
fn a_connection_that_does_not_open_costs_504_after_all_backends() {
    let mut scene = Scene::with_backends(2);
    scene.ignore(0);
    scene.ignore(1);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.advance(5900);
    assert_eq!(scene.received(client), "");
    scene.advance(200);
    assert_eq!(scene.last_error(client), (504, "connection_timeout".to_owned()));
}

#[test]
fn a_backend_that_stops_within_its_answer_cuts_it_after_the_response_timeout() {
    let mut scene = Scene::with(1, timed, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nha");
    scene.advance(4000);
    scene.respond("/", "lf");
    scene.advance(4000);
    assert_eq!(scene.end_of(client), End::Open);
    scene.advance(1100);
    assert_eq!((scene.bodies(client), scene.end_of(client)), (vec!["half".into()], End::Fin));
}

#[test]
fn a_client_that_stops_within_its_body_gets_408() {
    let mut scene = Scene::with(1, timed, |_| ());
    let client = scene.client();
    scene.send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nha");
    scene.advance(2000);
    scene.send(client, "lf");
    scene.advance(2900);
    assert_eq!(scene.received(client), "");
    scene.advance(200);
    assert_eq!(scene.last_error(client), (408, "http_request_error".to_owned()));
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn a_client_that_does_not_send_its_whole_head_gets_408_and_a_silent_one_nothing() {
    let mut scene = Scene::with(1, timed, |_| ());
    let (slow, silent) = (scene.client(), scene.client());
    scene.send(slow, "GET / HTTP/1.1\r\n");
    scene.advance(6000);
    scene.send(slow, "Host: a\r\n");
    scene.advance(1100);
    assert_eq!(scene.last_error(slow), (408, "http_request_error".to_owned()));
    assert_eq!((scene.received(silent).as_str(), scene.end_of(silent)), ("", End::Fin));
}

#[test]
fn an_idle_client_is_closed_after_the_idle_timeout() {
    let mut scene = Scene::with(1, timed, |_| ());
    let client = scene.client();
    scene.warm_up(client, "/");
    scene.advance(8900);
    assert_eq!(scene.end_of(client), End::Open);
    scene.advance(200);
    assert_eq!(scene.end_of(client), End::Fin);
}

#[test]
fn nothing_runs_against_a_backend_while_the_client_does_not_read() {
    let patient = |config: &mut Config| {
        timed(config);
        config.timeouts.client.0 = 60_000;
    };
    let mut scene = Scene::with(1, patient, |_| ());
    world::change_faults(|faults| faults.buffer = 4096);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.get(client, &["/"]);
    let body = "x".repeat(50_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sent = scene.respond("/", &answer);
    scene.advance(50_000);
    scene.set_reading(client, true);
    while sent < answer.len() {
        sent += scene.respond("/", &answer[sent..]);
    }
    assert_eq!(scene.bodies(client), [body]);
}

#[test]
fn nothing_runs_against_a_client_while_the_backend_does_not_take_its_body() {
    let mut scene = Scene::with(1, timed, |_| ());
    world::change_faults(|faults| faults.buffer = 4096);
    let client = scene.client();
    scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n");
    scene.stop_backends_reading(true);
    while scene.send(client, [b'x'; 4000]) > 0 {}
    scene.advance(4500);
    assert_eq!(scene.received(client), "");
    scene.advance(600);
    assert_eq!(scene.last_error(client), (504, "http_response_timeout".to_owned()));
    scene.stop_backends_reading(false);
}

#[test]
fn a_client_that_does_not_read_the_rest_of_its_answer_sees_that_it_was_cut() {
    let mut scene = Scene::with(1, timed, |_| ());
    world::change_faults(|faults| faults.buffer = 4096);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.send(client, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    scene.respond("/", format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(6000)));
    scene.hang_up("/");
    scene.advance(3500);
    scene.set_reading(client, true);
    assert_eq!(scene.end_of(client), End::Reset);
}

#[test]
fn a_tunnel_may_be_silent_for_its_own_time() {
    let mut scene = Scene::with(1, |config| config.timeouts.tunnel.0 = 100_000, |_| ());
    let client = scene.client();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    scene.send(client, format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"));
    scene.respond("/", format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n"));
    scene.advance(99_000);
    assert_eq!(scene.end_of(client), End::Open);
    scene.send(client, "x");
    scene.advance(99_000);
    assert_eq!(scene.end_of(client), End::Open);
    scene.advance(1100);
    assert_eq!((scene.end_of(client), scene.backend_conns()), (End::Fin, 0));
}
