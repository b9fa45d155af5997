//! Caps, lines and revocation: sections 3.3 and 3.2, and what is done when something runs out.

use crate::config::Config;
use crate::proxy::tests::scene::Scene;
use crate::sys::world;

/// A cap of one request at each backend.
fn capped(config: &mut Config) {
    config.pools[0].backends.iter_mut().for_each(|backend| backend.max_connections = 1);
}

#[test]
fn whoever_waits_for_a_backend_below_its_cap_is_next_when_there_is_one() {
    let mut scene = Scene::with(1, capped, |_| ());
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/0"]);
    scene.get(other, &["/1"]);
    assert_eq!(scene.asked(), ["/0"]);
    scene.answer("/0", "0");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["1"]);
}

#[test]
fn who_waits_for_longer_than_the_queue_timeout_gets_503() {
    let mut scene = Scene::with(1, capped, |_| ());
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/0"]);
    scene.get(other, &["/1"]);
    scene.advance(1100);
    assert_eq!(scene.last_error(other), (503, "connection_limit_reached".to_owned()));
    assert!(scene.received(other).contains("Retry-After: 1\r\n"));
    scene.answer("/0", "0");
    assert_eq!(scene.bodies(one), ["0"]);
    assert_eq!(scene.times_asked("/1"), 0);
}

#[test]
fn a_first_exchange_takes_the_place_below_a_cap_from_a_speculative_one() {
    let mut scene = Scene::with(2, capped, |_| ());
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/first", "/speculative"]);
    let taken = scene.place_of("/speculative").0;
    scene.get(other, &["/urgent"]);
    assert_eq!(scene.place_of("/urgent").0, taken, "at once, not after the queue timeout");
    scene.answer("/urgent", "urgent");
    assert_eq!(scene.bodies(other), ["urgent"]);
    scene.answer("/first", "first");
    scene.answer("/speculative", "speculative");
    assert_eq!(scene.bodies(one), ["first", "speculative"]);
    assert_eq!(scene.times_asked("/speculative"), 2);
}

#[test]
fn a_first_exchange_takes_the_connection_of_a_speculative_one() {
    let mut scene = Scene::with(2, |_| (), |settings| settings.backend_conns = 2);
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/first", "/speculative"]);
    scene.answer("/speculative", "too early");
    scene.get(other, &["/urgent"]);
    scene.answer("/urgent", "urgent");
    assert_eq!(scene.bodies(other), ["urgent"]);
    scene.answer("/first", "first");
    scene.answer("/speculative", "again");
    assert_eq!(scene.bodies(one), ["first", "again"]);
}

#[test]
fn who_waits_for_a_connection_gets_the_place_of_one_that_becomes_idle() {
    let mut scene = Scene::with(2, |_| (), |settings| settings.backend_conns = 1);
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/0"]);
    scene.get(other, &["/1"]);
    assert_eq!(scene.asked(), ["/0"]);
    scene.answer("/0", "0");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["1"]);
}

#[test]
fn clients_with_one_connection_for_all_of_them_do_not_wait_in_a_circle() {
    let mut scene = Scene::with(2, |_| (), |settings| settings.backend_conns = 1);
    let clients = [scene.client(), scene.client(), scene.client()];
    let path = |client: usize, place: usize| format!("/{client}.{place}");
    for client in clients {
        let paths = [0, 1, 2].map(|place| path(client, place));
        scene.get(client, &paths.each_ref().map(String::as_str));
    }
    let mut answered = 0;
    while let Some(open) = scene.asked().get(answered).cloned() {
        if scene.place_is_open(&open) {
            scene.answer(&open, "");
        }
        answered += 1;
    }
    for client in clients {
        let messages = scene.messages(client);
        assert!(messages.len() == 3 && messages.iter().all(|m| m.head.status() == 200));
    }
}

#[test]
fn without_a_descriptor_a_request_waits_until_there_is_one() {
    let mut scene = Scene::with_backends(1);
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/0"]);
    let open = world::open_descriptors();
    world::change_faults(|faults| faults.descriptors = open);
    scene.get(other, &["/1"]);
    assert_eq!(scene.asked(), ["/0"]);
    scene.answer("/0", "0");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["1"]);
}

#[test]
fn without_a_descriptor_an_idle_connection_gives_its_own_up() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.warm_up(client, "/0");
    let open = world::open_descriptors();
    world::change_faults(|faults| faults.descriptors = open);
    scene.warm_up(client, "/1");
    assert_ne!(scene.place_of("/0").0, scene.place_of("/1").0);
    assert_eq!(scene.messages(client).len(), 2);
}

#[test]
fn clients_beyond_the_limit_wait_in_the_backlog() {
    let mut scene = Scene::with(1, |config| config.max_connections = 1, |_| ());
    let (one, other) = (scene.client(), scene.client());
    scene.get(other, &["/1"]);
    scene.get(one, &["/0"]);
    assert_eq!(scene.asked(), ["/0"]);
    scene.answer("/0", "");
    scene.leave(one);
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["1"]);
}

#[test]
fn a_client_is_sure_of_one_exchange_where_pipelining_has_no_more() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.spare_exchanges = 1);
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/0", "/1", "/2"]);
    scene.get(other, &["/3", "/4"]);
    assert_eq!(scene.asked(), ["/0", "/1", "/3"]);
    for path in ["/0", "/1", "/2", "/3", "/4"] {
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(one), ["/0", "/1", "/2"]);
    assert_eq!(scene.bodies(other), ["/3", "/4"]);
}

#[test]
fn more_of_a_body_than_max_body_is_refused_with_413() {
    let mut scene = Scene::with(1, |config| config.pools[0].max_body = 10, |_| ());
    let by_length = scene.client();
    scene.send(by_length, "POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(scene.last_error(by_length), (413, "http_request_denied".to_owned()));
    assert_eq!(scene.asked(), [""; 0]);
    let chunked = scene.client();
    scene.send(chunked, "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    scene.send(chunked, "6\r\nabcdef\r\n");
    scene.send(chunked, "6\r\nabcdef\r\n");
    assert_eq!(scene.last_error(chunked), (413, "http_request_denied".to_owned()));
}

#[test]
fn the_memory_of_those_who_left_is_given_back_also_if_nobody_comes_after_them() {
    let mut scene = Scene::with_backends(1);
    let clients: Vec<usize> = (0..20).map(|_| scene.client()).collect();
    for client in clients {
        scene.send(client, "GET / HTTP/1.1\r\n\r\n");
        scene.leave(client);
    }
    let proxy = &mut scene.service.proxy;
    assert!(proxy.is_empty() && proxy.buffers.rings.is_warm() && proxy.heads.is_warm());
    let sweeps = (1..100).find(|count| !proxy.sweep(*count));
    assert!(sweeps.is_some(), "an idle process sleeps");
    assert!(!proxy.buffers.rings.is_warm() && !proxy.heads.is_warm());
}
