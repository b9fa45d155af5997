//! The PROXY header before a client's first request.

use crate::proxy::tests::scene::Scene;
use crate::sys::world::End;

fn scene() -> Scene {
    Scene::with(1, |config| config.listen[0].proxy_protocol = true, |_| ())
}

const HEADER: &str = "PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\r\n";

fn of(scene: &Scene, path: &str, name: &str) -> String {
    scene.request(path).head.get(name).unwrap_or_default().to_owned()
}

#[test]
fn the_client_is_who_the_header_names_for_all_its_requests() {
    let mut scene = scene();
    let client = scene.client();
    scene.send(client, HEADER);
    scene.get(client, &["/0", "/1"]);
    for path in ["/0", "/1"] {
        assert_eq!(of(&scene, path, "x-forwarded-for"), "203.0.113.9");
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client), ["/0", "/1"]);
}

#[test]
fn a_header_may_come_with_the_request_or_byte_by_byte() {
    let mut scene = scene();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = format!("{HEADER}{request}");
    for size in [1, 7, all.len()] {
        let client = scene.client();
        for piece in all.as_bytes().chunks(size) {
            scene.send(client, piece);
        }
        assert_eq!(of(&scene, "/", "x-forwarded-for"), "203.0.113.9");
        scene.answer("/", "yes");
        assert_eq!(scene.bodies(client), ["yes"]);
    }
}

#[test]
fn without_a_header_the_connection_is_closed_and_nothing_is_said() {
    let mut scene = scene();
    for start in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY UDP4 \r\n", "PROXY \r\n", "x"] {
        let client = scene.client();
        scene.send(client, start);
        assert_ne!(scene.end_of(client), End::Open, "{start}");
        assert_eq!(scene.received(client), "");
    }
    assert!(scene.asked().is_empty());
    assert_eq!(scene.service.proxy.clients(), 0);
}

#[test]
fn the_header_must_come_within_its_time_and_so_must_the_first_request() {
    for sent in ["", "PROXY TCP4", HEADER] {
        let mut scene = scene();
        let client = scene.client();
        scene.send(client, sent);
        scene.advance(9_990);
        assert_eq!(scene.end_of(client), End::Open, "{sent}");
        scene.advance(20);
        assert_ne!(scene.end_of(client), End::Open, "{sent}");
        assert_eq!(scene.received(client), "", "{sent}");
    }
}

#[test]
fn who_ends_within_the_header_leaves_nothing_behind() {
    for sent in ["", "P", "PROXY TCP4 203.0.113.9", HEADER] {
        let mut scene = scene();
        let client = scene.client();
        scene.send(client, sent);
        scene.half_close(client);
        assert_ne!(scene.end_of(client), End::Open, "{sent}");
        let client = scene.client();
        scene.send(client, sent);
        scene.leave(client);
        assert_eq!(scene.service.proxy.clients(), 0, "{sent}");
    }
}

#[test]
fn a_second_header_is_no_request() {
    let mut scene = scene();
    let client = scene.client();
    scene.send(client, HEADER);
    scene.send(client, HEADER);
    assert_eq!(scene.last_error(client).0, 400);
}

#[test]
fn without_the_listeners_demand_a_header_is_no_request() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, HEADER);
    assert_eq!(scene.last_error(client).0, 400);
}
