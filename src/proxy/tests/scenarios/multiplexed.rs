//! Requests of several clients on one connection of a backend: nobody suffers from a stranger.

use crate::config::Multiplex;
use crate::mem::time::Micros;
use crate::policy::identity::EchoSupport;
use crate::proxy::tests::scene::Scene;

/// A backend that is known to echo and to be fast, so many clients, and two connections that
/// are idle.
fn crowd(clients: usize) -> Scene {
    crowd_at(clients, 0)
}

/// The same, where the backend has at most so many requests at once; 0 is no limit.
fn crowd_at(clients: usize, cap: u32) -> Scene {
    let mut scene = Scene::with(
        1,
        |config| {
            config.max_connections = clients;
            config.pools[0].multiplex = Multiplex::Verified;
            config.pools[0].backends[0].max_connections = cap;
        },
        |_| (),
    );
    (0..clients).for_each(|_| _ = scene.client());
    // At first each gets a connection: these are idle then.
    (0..2).for_each(|client| scene.get_unheard(client, &format!("/warm{client}")));
    scene.settle();
    (0..2).for_each(|client| echo(&mut scene, &format!("/warm{client}")));
    assert_eq!(scene.backend_conns(), 2);
    for backend in scene.service.proxy.upstream.backends_mut() {
        backend.echo = EchoSupport::known();
        backend.be_trusted();
        (0..100).for_each(|_| backend.pace.observe(Micros(10), true));
        (0..200).for_each(|_| backend.multiplexing.passed(300, true));
    }
    scene
}

/// All of these clients ask at once, each for the path of its number.
fn ask_at_once(scene: &mut Scene, clients: std::ops::Range<usize>) {
    clients.clone().for_each(|client| scene.get_unheard(client, &format!("/{client}")));
    scene.settle();
    let first = format!("/{}", clients.start);
    for client in clients {
        assert_eq!(scene.place_of(&format!("/{client}")), scene.place_of(&first), "{client}");
    }
}

/// A head under the identifier of the request for `path`.
fn head(scene: &Scene, path: &str, length: usize) -> String {
    let id = scene.request(path).head.get("x-request-id").expect("an identifier");
    format!("HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Length: {length}\r\n\r\n")
}

/// Whoever was asked for it last answers with the path.
fn echo(scene: &mut Scene, path: &str) {
    let text = head(scene, path, path.len()) + path;
    scene.respond(path, text);
}

#[test]
fn a_crowd_that_leaves_behind_a_response_that_has_begun_does_not_break_it() {
    let mut scene = crowd(24);
    ask_at_once(&mut scene, 0..24);
    let begun = head(&scene, "/0", 4) + "be";
    scene.respond_at(scene.place_of("/0"), begun);
    (1..22).for_each(|client| scene.leave(client));
    scene.respond("/0", "gn");
    assert_eq!(scene.bodies(0)[1..], ["begn"]);
    for client in 22..24 {
        let path = format!("/{client}");
        echo(&mut scene, &path);
        assert_eq!(scene.bodies(client).last(), Some(&path));
    }
}

#[test]
fn interim_responses_without_an_identifier_do_not_make_strangers_wait() {
    let mut scene = crowd(3);
    ask_at_once(&mut scene, 0..3);
    let place = scene.place_of("/0");
    for _ in 0..12 {
        scene.respond_at(place, "HTTP/1.1 102 Processing\r\n\r\n");
        scene.advance(2);
    }
    for client in 1..3 {
        let path = format!("/{client}");
        assert_ne!(scene.place_of(&path), place, "it went elsewhere");
        echo(&mut scene, &path);
        assert_eq!(scene.bodies(client).last(), Some(&path));
    }
    let text = head(&scene, "/0", 1) + "0";
    scene.respond_at(place, text);
    assert_eq!(scene.bodies(0)[1..], ["0"]);
}

#[test]
fn a_response_that_trickles_does_not_make_strangers_wait() {
    let mut scene = crowd(3);
    ask_at_once(&mut scene, 0..3);
    let place = scene.place_of("/0");
    let begun = head(&scene, "/0", 100);
    scene.respond_at(place, begun);
    for _ in 0..12 {
        scene.respond_at(place, "x");
        scene.advance(2);
    }
    for client in 1..3 {
        let path = format!("/{client}");
        assert_ne!(scene.place_of(&path), place, "it went elsewhere");
        echo(&mut scene, &path);
        assert_eq!(scene.bodies(client).last(), Some(&path));
    }
    scene.respond_at(place, "x".repeat(88));
    assert_eq!(scene.bodies(0)[1..], ["x".repeat(100)]);
}

#[test]
fn a_response_that_nobody_wants_any_more_and_trickles_does_not_make_the_next_wait() {
    for crowd_size in [2, 3] {
        let mut scene = crowd(crowd_size);
        ask_at_once(&mut scene, 0..crowd_size);
        let place = scene.place_of("/0");
        let begun = head(&scene, "/0", 1000);
        scene.leave(0);
        scene.respond_at(place, begun);
        for _ in 0..60 {
            if scene.place_of("/1") != place {
                break;
            }
            scene.respond_at(place, "x");
            scene.advance(2);
        }
        for client in 1..crowd_size {
            let path = format!("/{client}");
            assert_ne!(scene.place_of(&path), place, "{client} of {crowd_size} went elsewhere");
            echo(&mut scene, &path);
            assert_eq!(scene.bodies(client).last(), Some(&path));
        }
    }
}

#[test]
fn where_responses_are_larger_than_a_ring_again_and_again_nobody_stands_behind_one_any_more() {
    let mut scene = crowd(24);
    let mut pairs = 0;
    for client in (0..24).step_by(2) {
        let [path, behind] = [client, client + 1].map(|client| format!("/{client}"));
        scene.get_unheard(client, &path);
        scene.get_unheard(client + 1, &behind);
        scene.settle();
        pairs += usize::from(scene.place_of(&path) == scene.place_of(&behind));
        let large = head(&scene, &path, 8000) + &"x".repeat(8000);
        scene.respond(&path, large);
        echo(&mut scene, &behind);
        assert_eq!(scene.bodies(client).last(), Some(&"x".repeat(8000)));
        assert_eq!(scene.bodies(client + 1).last(), Some(&behind));
    }
    assert_eq!(pairs, 6, "64 stood together, 32, 16, 8, 4, 2, and then one");
}

#[test]
fn interim_responses_without_an_identifier_have_an_end() {
    let mut scene = crowd(2);
    ask_at_once(&mut scene, 0..2);
    let place = scene.place_of("/0");
    scene.respond_at(place, "HTTP/1.1 102 Processing\r\n\r\n".repeat(100));
    for client in 0..2 {
        let path = format!("/{client}");
        assert_ne!(scene.place_of(&path), place, "it went elsewhere");
        echo(&mut scene, &path);
        assert_eq!(scene.bodies(client).last(), Some(&path));
    }
}

#[test]
fn who_waits_for_a_place_takes_that_of_its_next_request_from_behind_a_response_that_has_begun() {
    let mut scene = crowd_at(4, 3);
    let [stranger, pipelining, waiting] = [0, 1, 2];
    scene.get(pipelining, &["/a"]);
    scene.advance(3); // Nobody comes to stand behind one that takes its time.
    scene.get(stranger, &["/s"]);
    scene.get(pipelining, &["/b"]);
    scene.get(waiting, &["/w"]);
    assert_eq!(scene.place_of("/b"), scene.place_of("/s"));
    assert_ne!(scene.place_of("/b"), scene.place_of("/a"));
    assert_eq!(scene.times_asked("/w"), 0);
    let begun = head(&scene, "/s", 4) + "be";
    scene.respond("/s", begun);
    scene.hang_up("/a"); // It was stale: "/a" is to go elsewhere, and behind "/w".
    scene.respond("/s", "gn");
    assert_eq!(scene.bodies(stranger)[1..], ["begn"]);
    for path in ["/w", "/a", "/b"] {
        echo(&mut scene, path);
    }
    assert_eq!(scene.bodies(pipelining)[1..], ["/a", "/b"]);
    assert_eq!(scene.bodies(waiting), ["/w"]);
}

#[test]
fn an_interim_response_to_one_who_left_tells_of_the_final_one() {
    let mut scene = crowd(3);
    ask_at_once(&mut scene, 0..3);
    let place = scene.place_of("/0");
    let early = head(&scene, "/0", 0).replace("200 OK", "103 Early Hints");
    let early = early.replace("Content-Length: 0\r\n", "");
    scene.leave(0);
    scene.respond_at(place, early);
    for path in ["/0", "/1", "/2"] {
        assert_eq!(scene.place_of(path), place, "nobody had to leave");
        echo(&mut scene, path);
    }
    assert_eq!(scene.bodies(1)[1..], ["/1"]);
    assert_eq!(scene.bodies(2), ["/2"]);
}
