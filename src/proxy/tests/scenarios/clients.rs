//! What clients do: going away, half-closing, reading slowly, waiting for a 100; and draining.

use crate::config::Config;
use crate::mem::time::Millis;
use crate::proxy::Service;
use crate::proxy::tests::scene::Scene;
use crate::sys::world::{self, End};

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/0", "/1"]);
    scene.send(client, "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    scene.respond("/1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(scene.backend_conns(), 2);
    scene.leave(client);
    assert_eq!(scene.backend_conns(), 0);
    let proxy = &scene.service.proxy;
    assert_eq!((proxy.clients(), proxy.exchanges.len(), proxy.buffers.rings.taken()), (0, 0, 0));
}

#[test]
fn a_half_closed_client_still_gets_its_answers() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/0", "/1", "/2"]);
    scene.half_close(client);
    for path in ["/1", "/0", "/2"] {
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client), ["/0", "/1", "/2"]);
    assert_eq!(scene.end_of(client), End::Fin);
}

#[test]
fn a_client_that_half_closes_within_its_body_gets_400() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    scene.half_close(client);
    assert_eq!(scene.last_error(client), (400, "http_request_error".to_owned()));
    assert!(!scene.request("/").is_whole());
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn a_slow_client_holds_its_backend_back_and_no_memory_grows() {
    let mut scene = Scene::with_backends(1);
    world::change_faults(|faults| faults.buffer = 4096);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.get(client, &["/"]);
    let body = "x".repeat(200_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut sent = scene.respond("/", &answer);
    assert!(sent < 20_000, "{sent} bytes were taken");
    assert!(scene.service.proxy.buffers.rings.taken() <= 2);
    scene.set_reading(client, true);
    while sent < answer.len() {
        sent += scene.respond("/", &answer[sent..]);
    }
    assert_eq!(scene.bodies(client), [body]);
}

#[test]
fn a_100_passes_and_the_body_follows() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    let fields = "Content-Length: 2\r\nExpect: 100-continue";
    scene.send(client, format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    assert_eq!(scene.request("/").head.get("expect"), Some("100-continue"));
    scene.respond("/", "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(scene.messages(client)[0].head.status(), 100);
    scene.send(client, "hi");
    assert_eq!(scene.request("/").body, b"hi");
    scene.answer("/", "done");
    assert_eq!(scene.bodies(client), ["", "done"]);
    assert_eq!(scene.end_of(client), End::Open);
}

#[test]
fn a_final_answer_instead_of_a_100_closes_the_connection() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    let fields = "Content-Length: 2\r\nExpect: 100-continue";
    scene.send(client, format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    scene.answer("/", "no");
    assert_eq!(scene.bodies(client), ["no"]);
    assert!(scene.messages(client)[0].head.closes());
    assert_eq!(scene.end_of(client), End::Fin);
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn an_answer_during_the_upload_arrives_and_the_upload_goes_on() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    scene.send(client, [b'x'; 5000]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nearl");
    assert_eq!(scene.bodies(client), ["earl"]);
    scene.send(client, [b'x'; 15_000]);
    assert!(scene.request("/").is_whole());
    scene.respond("/", "iest");
    assert_eq!(scene.bodies(client), ["earliest"]);
    assert_eq!(scene.end_of(client), End::Open);
}

#[test]
fn the_last_answer_is_not_lost_to_a_client_that_is_still_sending() {
    let mut scene = Scene::with_backends(1);
    world::change_faults(|faults| faults.reset_erases = true);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nenough";
    scene.respond_and_hang_up("/", answer);
    scene.send(client, [b'x'; 10_000]);
    scene.advance(1000);
    scene.send(client, [b'x'; 10_000]);
    scene.set_reading(client, true);
    assert_eq!(scene.bodies(client), ["enough"]);
    assert_eq!(scene.end_of(client), End::Fin);
}

#[test]
fn a_process_that_is_replaced_closes_with_its_next_answer() {
    let mut scene = Scene::with_backends(1);
    let (busy, idle) = (scene.client(), scene.client());
    scene.warm_up(idle, "/warm");
    scene.get(busy, &["/0", "/1"]);
    scene.service.proxy.become_service(Service::Replaced);
    scene.settle();
    scene.answer("/0", "0");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(busy), ["0", "1"]);
    let closes: Vec<bool> = scene.messages(busy).iter().map(|m| m.head.closes()).collect();
    assert_eq!(closes, [false, true]);
    assert_eq!((scene.end_of(busy), scene.end_of(idle)), (End::Fin, End::Open));
    scene.warm_up(idle, "/last");
    assert!(scene.messages(idle)[1].head.closes());
    assert_eq!(scene.end_of(idle), End::Fin);
    scene.leave(busy);
    scene.leave(idle);
    assert!(scene.service.proxy.is_empty());
}

/// A login by NTLM takes three requests over one connection, and clients give it up where that ends.
#[test]
fn no_login_is_broken_off_by_a_reload_or_by_the_age_of_its_connection() {
    for replaced in [true, false] {
        let age = if replaced { 0 } else { 1000 };
        let configure = |config: &mut Config| config.timeouts.client_age = Millis(age);
        let mut scene = Scene::with(1, configure, |_| ());
        let client = scene.client();
        scene.warm_up(client, "/warm");
        if replaced {
            scene.service.proxy.become_service(Service::Replaced);
        }
        scene.advance(1500);
        let request = |place: usize| {
            format!("GET /{place} HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM x\r\n\r\n")
        };
        let challenge = "HTTP/1.1 401 Who\r\nWWW-Authenticate: NTLM x\r\nContent-Length: 0\r\n\r\n";
        scene.send(client, request(1));
        scene.respond("/1", challenge);
        scene.send(client, request(2));
        assert_eq!(scene.place_of("/2"), scene.place_of("/1"));
        scene.answer("/2", "alice");
        assert_eq!(scene.bodies(client)[1..], ["", "alice"]);
        assert!(scene.messages(client)[2].head.closes());
        assert_eq!(scene.end_of(client), End::Fin);
    }
}

#[test]
fn while_the_service_ends_who_is_answered_is_closed_at_once_and_who_is_idle_after_a_second() {
    let mut scene = Scene::with_backends(1);
    let [busy, idle, silent, begun] = [(); 4].map(|()| scene.client());
    scene.warm_up(idle, "/warm");
    scene.send(begun, "GET /begun HTTP/1.1\r\n");
    scene.get(busy, &["/long"]);
    // Its head went out before anybody knew that it is the last.
    scene.respond("/long", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    scene.service.proxy.become_service(Service::Draining);
    scene.settle();
    scene.respond("/long", "def");
    assert_eq!((scene.bodies(busy), scene.end_of(busy)), (vec!["abcdef".into()], End::Fin));
    scene.advance(900);
    assert_eq!((scene.end_of(idle), scene.end_of(silent)), (End::Open, End::Open));
    scene.advance(200);
    assert_eq!((scene.end_of(idle), scene.end_of(silent)), (End::Fin, End::Fin));
    scene.send(begun, "Host: a\r\n\r\n");
    scene.answer("/begun", "last");
    assert!(scene.messages(begun)[0].head.closes());
    scene.leave(begun);
    assert!(scene.service.proxy.is_empty());
}

#[test]
fn while_the_service_is_withdrawn_each_answer_closes_and_idle_clients_have_a_second() {
    let mut scene = Scene::with_backends(1);
    let [idle, long] = [(); 2].map(|()| scene.client());
    scene.warm_up(idle, "/warm");
    scene.get(long, &["/long"]);
    scene.respond("/long", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    scene.service.proxy.become_service(Service::Withdrawn);
    scene.settle();
    scene.advance(900);
    assert_eq!(scene.end_of(idle), End::Open);
    scene.advance(200);
    assert_eq!(scene.end_of(idle), End::Fin);
    scene.respond("/long", "def");
    scene.advance(900);
    assert_eq!((scene.bodies(long), scene.end_of(long)), (vec!["abcdef".into()], End::Open));
    scene.advance(200);
    assert_eq!(scene.end_of(long), End::Fin);
    let comes = scene.client();
    scene.get(comes, &["/new"]);
    scene.answer("/new", "new");
    assert!(scene.messages(comes)[0].head.closes());
    scene.leave(comes);
    scene.service.proxy.become_service(Service::Running);
    let stays = scene.client();
    scene.warm_up(stays, "/again");
    scene.advance(2000);
    assert_eq!(scene.end_of(stays), End::Open);
}

#[test]
fn the_last_answer_of_a_draining_process_is_not_lost_to_a_client_that_asks_on() {
    let mut scene = Scene::with_backends(1);
    world::change_faults(|faults| faults.reset_erases = true);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.get(client, &["/0"]);
    scene.service.proxy.become_service(Service::Draining);
    scene.answer("/0", "0");
    scene.get(client, &["/1"]);
    scene.set_reading(client, true);
    assert_eq!((scene.bodies(client), scene.end_of(client)), (vec!["0".into()], End::Fin));
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_both_sides_have_ended() {
    for backend_first in [true, false] {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        scene.send(client, format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\nearly"));
        scene.respond("/", format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\nhello"));
        assert!(scene.received(client).ends_with("\r\n\r\nhello"));
        if backend_first {
            scene.hang_up("/");
            assert_eq!(scene.end_of(client), End::Fin);
            scene.send_and_half_close(client, "bye");
            assert_eq!(scene.said("/"), "earlybye");
        } else {
            scene.half_close(client);
            scene.respond("/", "bye");
            scene.hang_up("/");
            assert!(scene.received(client).ends_with("hellobye"));
        }
        assert_eq!(scene.service.proxy.clients(), 0);
    }
}
