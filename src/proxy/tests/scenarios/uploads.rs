//! Uploads that are answered before they are whole.

use crate::policy::reason::Reason;
use crate::proxy::tests::scene::Scene;
use crate::shared::Counter;
use crate::sys::world::{self, End};

const HEAD: &str = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n";

/// A client that has sent 10,000 bytes of 50,000 and has its answer.
fn answered_early(scene: &mut Scene) -> usize {
    let client = scene.client();
    scene.send(client, HEAD);
    scene.send(client, [b'x'; 10_000]);
    scene.answer("/up", "early");
    assert_eq!(scene.bodies(client), ["early"]);
    client
}

/// How many requests ended for this reason.
fn count(scene: &Scene, reason: Reason) -> u64 {
    scene.seats.segment.total(Counter::Errors(reason))
}

#[test]
fn an_upload_goes_on_to_its_end_behind_a_complete_response() {
    let mut scene = Scene::with_backends(1);
    let client = answered_early(&mut scene);
    assert!(!scene.messages(client)[0].head.closes());
    scene.advance(20_000);
    scene.send(client, [b'x'; 20_000]);
    scene.advance(20_000);
    assert!(!scene.request("/up").is_whole());
    scene.send(client, [b'x'; 20_000]);
    assert!(scene.request("/up").is_whole());
    scene.warm_up(client, "/next");
    assert_eq!(scene.place_of("/next"), scene.place_of("/up"), "both connections go on");
    assert_eq!(scene.messages(client).len(), 2);
}

#[test]
fn an_upload_in_chunks_goes_on_behind_a_response_without_a_length() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene
        .send(client, "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc");
    let answer =
        "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n";
    scene.respond("/up", answer);
    assert_eq!(scene.bodies(client), ["early"]);
    scene.send(client, "\r\n3\r\ndef\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(scene.request("/up").body, b"abcdef");
    scene.answer("/next", "next");
    assert_eq!(scene.bodies(client), ["early", "next"]);
}

#[test]
fn an_upload_ends_where_its_backend_does_and_the_response_stays_whole() {
    for by_reset in [false, true] {
        let mut scene = Scene::with_backends(1);
        world::change_faults(|faults| faults.reset_erases = true);
        let client = answered_early(&mut scene);
        if by_reset {
            scene.reset("/up")
        } else {
            scene.hang_up("/up")
        }
        scene.send(client, [b'x'; 40_000]);
        assert_eq!(scene.bodies(client), ["early"]);
        assert_eq!(scene.end_of(client), End::Fin);
        assert_eq!(scene.backend_conns(), 0);
        assert_eq!(count(&scene, Reason::ConnectionTerminated), 1);
    }
}

#[test]
fn an_upload_behind_a_response_is_given_up_with_a_client_that_is_silent_or_leaves() {
    let mut scene = Scene::with_backends(1);
    let silent = answered_early(&mut scene);
    scene.advance(31_000);
    assert_eq!(scene.end_of(silent), End::Fin);
    assert_eq!(scene.backend_conns(), 0, "what it has is not whole");
    assert_eq!(count(&scene, Reason::ClientTimeout), 1);
    let leaving = answered_early(&mut scene);
    scene.leave(leaving);
    assert_eq!(scene.backend_conns(), 0);
    let ending = answered_early(&mut scene);
    scene.half_close(ending);
    assert_eq!(scene.backend_conns(), 0);
    assert_eq!(scene.end_of(ending), End::Fin);
    assert_eq!(count(&scene, Reason::ClientAbort), 2);
}

#[test]
fn an_upload_behind_a_response_is_given_up_with_a_backend_that_does_not_take_it() {
    let mut scene = Scene::with(1, |config| config.timeouts.response.0 = 5000, |_| ());
    world::change_faults(|faults| faults.buffer = 4096);
    let client = answered_early(&mut scene);
    scene.stop_backends_reading(true);
    scene.send(client, [b'x'; 40_000]);
    scene.advance(4000);
    assert_eq!(scene.end_of(client), End::Open);
    scene.advance(2000);
    scene.send(client, [b'x'; 40_000]);
    assert_eq!(scene.end_of(client), End::Fin);
    assert_eq!(scene.bodies(client), ["early"]);
    assert_eq!(count(&scene, Reason::ResponseTimeout), 1);
}

#[test]
fn a_client_that_was_not_asked_for_its_body_need_not_send_it() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, HEAD.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
    scene.answer("/up", "no");
    assert!(scene.messages(client)[0].head.closes());
    assert_eq!(scene.end_of(client), End::Fin);
    assert_eq!(scene.backend_conns(), 0);
}
