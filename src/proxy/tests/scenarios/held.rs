//! A response in doubt that is held while its request is asked again over a fresh connection.

use crate::config::AccessLog;
use crate::policy::identity::Outcome;
use crate::policy::reason::Reason;
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendCounter, BackendId};
use crate::sys::world;

use super::identity::{echo, let_it_echo, response, with_one_that_echoes};

/// A client whose request for `/1` was answered with another identifier, and is asked again.
fn asked_again(path: &str, body: &str, refuses: bool) -> (Scene, usize) {
    let (mut scene, client) = with_one_that_echoes();
    scene.refuse(0, refuses);
    scene.get(client, &[path]);
    scene.respond(path, response("another", body));
    scene.refuse(0, false);
    (scene, client)
}

fn doubts(scene: &Scene) -> [u64; 2] {
    let segment = scene.seats.segment;
    Outcome::ALL.map(|outcome| segment.backend_total(BackendId(0), BackendCounter::Doubts(outcome)))
}

#[test]
fn it_is_delivered_where_the_fresh_connection_is_refused() {
    let (mut scene, client) = asked_again("/1", "first", true);
    assert_eq!(scene.bodies(client), ["a", "first"]);
    let refused = BackendCounter::Errors(Reason::ConnectionRefused);
    let segment = scene.seats.segment;
    assert_eq!(segment.backend_total(BackendId(0), refused), 1);
    assert_eq!(segment.backend(BackendId(0)).load(), 0);
    assert_eq!(doubts(&scene), [0, 1]);
    scene.get(client, &["/2"]);
    assert_ne!(scene.place_of("/2"), scene.place_of("/1"), "it was told that no more comes");
    scene.respond("/2", response("another", "second"));
    assert_eq!(scene.bodies(client), ["a", "first", "second"]);
}

#[test]
fn it_is_delivered_where_the_fresh_connection_does_not_open() {
    let (mut scene, client) = with_one_that_echoes();
    scene.ignore(0);
    scene.get(client, &["/1"]);
    scene.respond("/1", response("another", "first"));
    scene.advance(1900);
    assert_eq!(scene.bodies(client), ["a"]);
    scene.advance(200);
    assert_eq!(scene.bodies(client), ["a", "first"]);
}

#[test]
fn it_is_delivered_where_the_fresh_connection_breaks_says_nonsense_or_nothing() {
    for what in ["break", "nonsense", "nothing"] {
        let (mut scene, client) = asked_again("/1", "first", false);
        assert_eq!(scene.times_asked("/1"), 2);
        match what {
            "break" => scene.reset("/1"),
            "nonsense" => assert_eq!(scene.respond("/1", "SSH-2.0\r\n\r\n"), 11),
            _ => scene.advance(60_100),
        }
        assert_eq!(scene.bodies(client), ["a", "first"], "{what}");
        assert_eq!((doubts(&scene), scene.times_asked("/1")), ([0, 1], 2));
    }
}

#[test]
fn it_is_thrown_away_where_the_fresh_connection_answers() {
    let (mut scene, client) = asked_again("/1", &"x".repeat(20_000), false);
    assert_eq!(scene.backend_conns(), 2 + 1, "that of the other client, this, and the fresh one");
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client), ["a", "right"]);
    assert_eq!(doubts(&scene), [1, 0]);
    assert_eq!(scene.backend_conns(), 2);
}

#[test]
fn one_that_is_longer_than_a_ring_is_delivered_whole_and_its_connection_kept() {
    let (mut scene, client) = with_one_that_echoes();
    scene.refuse(0, true);
    scene.get(client, &["/1"]);
    let long = "x".repeat(9000);
    let text = response("another", &long);
    scene.respond("/1", &text[..5000]);
    scene.respond("/1", &text[5000..]);
    assert_eq!(scene.bodies(client), ["a", &long]);
    scene.get(client, &["/2"]);
    assert_eq!(scene.place_of("/2"), scene.place_of("/1"));
    scene.respond("/2", response("another", "second"));
    scene.refuse(0, false);
}

#[test]
fn one_that_is_not_whole_gives_way_where_the_fresh_connection_gives_nothing() {
    let (mut scene, client) = with_one_that_echoes();
    scene.get(client, &["/1"]);
    scene.respond("/1", &response("another", "a whole body")[..70]);
    assert_eq!((scene.times_asked("/1"), scene.backend_conns()), (2, 3));
    scene.advance(1000);
    assert_eq!(scene.backend_conns(), 2, "the backend goes on to the fresh one");
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client), ["a", "right"]);
}

#[test]
fn one_that_broke_off_meanwhile_is_no_answer() {
    let (mut scene, client) = with_one_that_echoes();
    scene.get(client, &["/1"]);
    let place = scene.place_of("/1");
    scene.respond("/1", &response("another", "a whole body")[..70]);
    scene.reset_at(place);
    assert_eq!(scene.bodies(client), ["a"]);
    scene.refuse(0, true);
    scene.reset("/1");
    assert_eq!(scene.last_error(client).0, 502);
    scene.refuse(0, false);
}

#[test]
fn the_body_of_a_put_goes_with_it() {
    let (mut scene, client) = with_one_that_echoes();
    scene.refuse(0, true);
    let put = |path: &str, body: &str| {
        format!("PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    scene.send(client, put("/1", "2\r\nhi\r\n0\r\n\r\n"));
    let long = "x".repeat(9000);
    scene.respond("/1", response("another", &long));
    scene.refuse(0, false);
    assert_eq!((scene.said("/1"), scene.times_asked("/1")), (String::new(), 1), "sent twice");
    scene.send(client, put("/2", "3\r\nyou\r\n0\r\n\r\n"));
    assert_eq!(scene.request("/2").body, b"you");
    scene.respond("/2", response("another", "second"));
    assert_eq!(scene.bodies(client), ["a", &long, "second"]);
}

#[test]
fn it_goes_with_the_place_at_the_backend() {
    let mut scene =
        Scene::with(1, |config| config.pools[0].backends[0].max_connections = 2, |_| ());
    let (client, other) = (scene.client(), scene.client());
    let_it_echo(&mut scene, client);
    scene.get(client, &["/x", "/y"]);
    echo(&mut scene, "/x", "x");
    echo(&mut scene, "/y", "y");
    scene.get(client, &["/slow", "/1"]);
    scene.respond("/1", response("another", &"x".repeat(20_000)));
    assert_eq!((scene.times_asked("/1"), scene.backend_conns()), (2, 3));
    scene.get(other, &["/first"]);
    assert_eq!(scene.backend_conns(), 2, "one for each place");
    echo(&mut scene, "/first", "first");
    echo(&mut scene, "/slow", "slow");
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client)[4..], ["slow", "right"]);
    assert_eq!(scene.bodies(other), ["first"]);
}

#[test]
fn a_client_that_leaves_lets_both_connections_go() {
    let (mut scene, client) = asked_again("/1", &"x".repeat(20_000), false);
    scene.leave(client);
    assert_eq!(scene.backend_conns(), 1);
    assert_eq!(doubts(&scene), [0, 0]);
    assert_eq!(scene.seats.segment.backend(BackendId(0)).load(), 0);
}

#[test]
fn the_connection_gives_way_where_there_is_no_other() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.backend_conns = 1);
    let client = scene.client();
    let_it_echo(&mut scene, client);
    scene.get(client, &["/1"]);
    let first = scene.place_of("/1");
    scene.respond("/1", response("another", &"x".repeat(20_000)));
    assert_ne!(scene.place_of("/1"), first);
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client).last().map(String::as_str), Some("right"));
}

#[test]
fn the_connection_gives_way_to_others_who_wait_for_one() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.backend_conns = 1);
    let (client, other) = (scene.client(), scene.client());
    let_it_echo(&mut scene, client);
    scene.get(client, &["/1"]);
    scene.get(other, &["/2"]);
    scene.respond("/1", response("another", "first"));
    echo(&mut scene, "/2", "second");
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(other), ["second"]);
    assert_eq!(scene.bodies(client).last().map(String::as_str), Some("right"));
}

#[test]
fn a_request_that_is_asked_again_takes_one_place_at_its_backend() {
    let mut scene =
        Scene::with(1, |config| config.pools[0].backends[0].max_connections = 1, |_| ());
    let client = scene.client();
    let_it_echo(&mut scene, client);
    scene.get(client, &["/1"]);
    scene.respond("/1", response("another", "first"));
    assert_eq!(scene.times_asked("/1"), 2);
    assert_eq!(scene.seats.segment.backend(BackendId(0)).load(), 1);
    assert_eq!(scene.backend_conns(), 1, "the first was told that no more comes");
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client).last().map(String::as_str), Some("right"));
}

#[test]
fn those_behind_it_on_its_connection_start_anew() {
    let (mut scene, client) = with_one_that_echoes();
    scene.worker(0).proxy.upstream[crate::shared::BackendId(0)].be_trusted();
    scene.get(client, &["/1", "/2"]);
    assert_eq!(scene.place_of("/1"), scene.place_of("/2"));
    scene.refuse(0, true);
    scene.respond("/1", response("another", "first"));
    scene.refuse(0, false);
    assert_eq!(scene.bodies(client)[..2], ["a", "first"]);
}

#[test]
fn it_is_logged_once_with_the_try_that_failed() {
    const LOG: &str = "/log";
    let mut scene =
        Scene::with(1, |config| config.access_log = AccessLog::Path(LOG.into()), |_| ());
    let client = scene.client();
    let_it_echo(&mut scene, client);
    scene.refuse(0, true);
    scene.get(client, &["/1"]);
    scene.respond("/1", response("another", "first"));
    scene.refuse(0, false);
    scene.worker(0).proxy.flush_log();
    let log = String::from_utf8(world::take_log(LOG)).expect("text");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"/1\"")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("\"status\":200"), "{}", lines[0]);
    assert_eq!(lines[0].matches("connection_refused").count(), 1, "{}", lines[0]);
}
