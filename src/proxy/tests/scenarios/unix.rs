//! Backends at Unix sockets: their full queues, refusals at once, what they are called.

use crate::mem::time::Millis;
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendCounter, BackendId, PoolId};
use crate::sys::world;

const FULL: bool = true;

fn scene(count: usize) -> Scene {
    Scene::at_unix_sockets(count, |_| ())
}

fn up(scene: &Scene) -> usize {
    scene.service.proxy.segment().count_up(PoolId(0)).0
}

fn told_of(text: &str) -> Vec<String> {
    let messages = world::messages().into_iter().map(|(_, message)| message);
    messages.filter(|message| message.contains(text)).collect()
}

#[test]
fn a_request_is_answered_over_a_unix_socket_and_the_connection_is_kept() {
    let mut scene = scene(1);
    let client = scene.client();
    for path in ["/1", "/2"] {
        scene.get(client, &[path]);
        assert_eq!(scene.request(path).head.get("host"), Some("a"));
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client), ["/1", "/2"]);
    assert_eq!((scene.place_of("/1"), scene.place_of("/2")), ((0, 0), (0, 0)));
}

#[test]
fn a_server_that_has_no_name_is_called_localhost() {
    let mut scene = scene(1);
    let client = scene.client();
    scene.send(client, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(scene.request("/").head.get("host"), Some("localhost"));
}

#[test]
fn a_full_queue_is_no_failure_and_is_tried_again_until_there_is_room() {
    let mut scene = scene(1);
    scene.server(0).ignore(FULL);
    let clients = [scene.client(), scene.client(), scene.client()];
    for (client, path) in clients.into_iter().zip(["/1", "/2", "/3"]) {
        scene.get(client, &[path]);
    }
    let before = world::calls().connect;
    scene.advance(1000);
    assert!(scene.asked().is_empty());
    // One of them tries for all, each few milliseconds.
    let tries = world::calls().connect - before;
    assert!((150..=250).contains(&tries), "{tries}");
    scene.server(0).ignore(!FULL);
    scene.advance(20);
    assert_eq!(scene.asked(), ["/1", "/2", "/3"], "as they came");
    for (client, path) in clients.into_iter().zip(["/1", "/2", "/3"]) {
        scene.answer(path, path);
        assert_eq!(scene.bodies(client), [path]);
    }
    assert_eq!(up(&scene), 1);
    let row = scene.service.proxy.segment().worker(0);
    assert_eq!(row.backend(BackendId(0)).get(BackendCounter::Connects), 3);
}

#[test]
fn who_comes_later_does_not_go_first() {
    let mut scene = scene(1);
    let [early, late, owner] = [scene.client(), scene.client(), scene.client()];
    scene.get(owner, &["/owner"]);
    scene.server(0).ignore(FULL);
    scene.get(early, &["/early"]);
    scene.advance(3);
    scene.server(0).ignore(!FULL);
    // There is room by now, and who has waited does not know yet.
    scene.get(late, &["/late"]);
    assert_eq!(scene.times_asked("/late"), 0);
    scene.advance(10);
    assert_eq!(scene.asked(), ["/owner", "/early", "/late"]);
    scene.answer("/early", "");
    scene.answer("/late", "");
    scene.answer("/owner", "");
}

#[test]
fn a_connection_that_falls_idle_is_for_who_has_waited_longest() {
    let mut scene = scene(1);
    let [owner, early, late] = [scene.client(), scene.client(), scene.client()];
    scene.get(owner, &["/owner"]);
    scene.server(0).ignore(FULL);
    scene.get(early, &["/early"]);
    scene.get(late, &["/late"]);
    scene.answer("/owner", "");
    assert_eq!((scene.times_asked("/early"), scene.times_asked("/late")), (1, 0));
    scene.answer("/early", "");
    scene.answer("/late", "");
    assert_eq!(scene.place_of("/late"), (0, 0), "all over the one connection");
}

#[test]
fn a_queue_that_stays_full_is_a_connection_that_times_out() {
    let mut scene = Scene::at_unix_sockets(1, |config| config.pools[0].retries = 0);
    scene.server(0).ignore(FULL);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.advance(1990);
    assert!(scene.received(client).is_empty());
    assert_eq!(up(&scene), 1);
    scene.advance(20);
    assert_eq!(scene.last_error(client), (504, "connection_timeout".to_owned()));
}

#[test]
fn another_backend_is_asked_when_that_time_is_over() {
    let mut scene = Scene::at_unix_sockets(2, |config| config.timeouts.connect = Millis(300));
    scene.server(0).ignore(FULL);
    let client = scene.client();
    for round in 0..2 {
        let path = format!("/{round}");
        scene.get(client, &[&path]);
        scene.advance(320);
        assert_eq!(scene.place_of(&path).0, 1);
        scene.answer(&path, "");
    }
    assert_eq!(scene.bodies(client).len(), 2);
}

#[test]
fn nothing_else_is_closed_for_a_full_queue() {
    let mut scene = scene(2);
    let client = scene.client();
    scene.warm_up(client, "/1");
    scene.warm_up(client, "/2");
    // Those that have been idle for so long are for idempotent requests alone.
    scene.advance(1500);
    (0..2).for_each(|host| scene.server(host).ignore(FULL));
    let others = [scene.client(), scene.client(), scene.client(), scene.client()];
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for other in others {
        scene.send(other, post);
    }
    scene.advance(500);
    assert_eq!(scene.backend_conns(), 2);
    assert!(others.into_iter().all(|other| scene.received(other).is_empty()));
    (0..2).for_each(|host| scene.server(host).ignore(!FULL));
}

#[test]
fn who_leaves_waits_no_longer() {
    let mut scene = scene(1);
    scene.server(0).ignore(FULL);
    let [leaves, stays] = [scene.client(), scene.client()];
    scene.get(leaves, &["/leaves"]);
    scene.get(stays, &["/stays"]);
    scene.leave(leaves);
    scene.advance(10);
    scene.server(0).ignore(!FULL);
    scene.advance(10);
    assert_eq!(scene.asked(), ["/stays"]);
    scene.answer("/stays", "");
}

#[test]
fn what_waits_does_not_wait_for_what_its_client_asked_behind_it() {
    let mut scene = scene(1);
    let client = scene.client();
    scene.get(client, &["/first", "/second"]);
    assert!(scene.place_is_open("/second"));
    scene.server(0).ignore(FULL);
    scene.reset("/first");
    // A backend of one process may be busy with the second until the first was answered.
    assert!(!scene.place_is_open("/second"));
    scene.advance(100);
    scene.server(0).ignore(!FULL);
    scene.advance(10);
    scene.answer("/first", "1");
    scene.answer("/second", "2");
    assert_eq!(scene.bodies(client), ["1", "2"]);
}

#[test]
fn a_socket_that_is_not_there_or_has_no_listener_refuses_at_once() {
    let mut scene = scene(3);
    world::remove_file("/run/0.sock");
    scene.refuse(1, true);
    let client = scene.client();
    for round in 0..3 {
        let path = format!("/{round}");
        scene.get(client, &[&path]);
        assert_eq!(scene.place_of(&path).0, 2);
        scene.answer(&path, "");
    }
    world::remove_file("/run/2.sock");
    let other = scene.client();
    scene.send(other, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(scene.request("/").body, b"hi", "the connection that is there serves");
    scene.reset("/");
    scene.get(other, &["/gone"]);
    assert_eq!(scene.last_error(other), (502, "connection_refused".to_owned()));
    assert!(told_of("may not connect").is_empty());
}

#[test]
fn that_it_may_not_connect_is_told_once_with_the_user_and_the_mode() {
    let mut scene = scene(1);
    scene.server(0).deny(true);
    let client = scene.client();
    for _ in 0..3 {
        scene.get(client, &["/"]);
        assert_eq!(scene.last_error(client), (502, "connection_refused".to_owned()));
    }
    let [told] = &told_of("may not connect")[..] else { panic!("it is told once") };
    assert!(told.starts_with("pool default: backend unix:/run/0.sock: "), "{told}");
    assert!(told.contains("its mode is 0600, its owner user 1001 and group 1002"), "{told}");
    scene.server(0).deny(false);
    scene.warm_up(client, "/may");
    scene.reset("/may");
    scene.server(0).deny(true);
    scene.get(client, &["/"]);
    assert_eq!(told_of("may not connect").len(), 2, "it could in between");
}
