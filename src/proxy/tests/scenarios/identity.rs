//! Whose response it is: what is doubted, what is proved, and that the right one is always delivered.

use crate::policy::identity::EchoSupport;
use crate::proxy::tests::scene::Scene;

const POST: &str = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// A response with this identifier and this body.
pub(super) fn response(id: &str, body: &str) -> String {
    let field = if id.is_empty() { String::new() } else { format!("X-Request-ID: {id}\r\n") };
    format!("HTTP/1.1 200 OK\r\n{field}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn id_of(scene: &Scene, path: &str) -> String {
    scene.request(path).head.get("x-request-id").expect("an identifier").to_owned()
}

pub(super) fn echo(scene: &mut Scene, path: &str, body: &str) {
    let id = id_of(scene, path);
    scene.respond(path, response(&id, body));
}

/// A client, and one backend that has shown in two responses that it echoes.
pub(super) fn with_one_that_echoes() -> (Scene, usize) {
    let mut scene = Scene::with_backends(1);
    let (client, other) = (scene.client(), scene.client());
    scene.worker(0).proxy.upstream.backends_mut()[0].echo = EchoSupport::quick(2);
    scene.get(client, &["/a"]);
    scene.get(other, &["/b"]);
    echo(&mut scene, "/a", "a");
    echo(&mut scene, "/b", "b");
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
    (scene, client)
}

/// The only backend shows in two responses to one client, over one connection after the other, that it
/// echoes.
pub(super) fn let_it_echo(scene: &mut Scene, client: usize) {
    scene.worker(0).proxy.upstream.backends_mut()[0].echo = EchoSupport::quick(2);
    scene.get(client, &["/a"]);
    echo(scene, "/a", "a");
    scene.hang_up("/a");
    scene.get(client, &["/b"]);
    echo(scene, "/b", "b");
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
}

#[test]
fn a_response_in_doubt_is_asked_for_again_over_a_fresh_connection_at_no_cost_of_tries() {
    let (mut scene, client) = with_one_that_echoes();
    scene.get(client, &["/1"]);
    let first = scene.place_of("/1");
    scene.respond("/1", response("another", "wrong"));
    assert_ne!(scene.place_of("/1"), first);
    assert_eq!(scene.bodies(client), ["a"]);
    echo(&mut scene, "/1", "right");
    assert_eq!(scene.bodies(client), ["a", "right"]);
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
}

#[test]
fn what_the_fresh_connection_gives_is_delivered_whatever_its_identifier() {
    for id in ["", "another"] {
        let (mut scene, client) = with_one_that_echoes();
        scene.get(client, &["/1"]);
        scene.respond("/1", response(id, "first"));
        scene.respond("/1", response(id, "second"));
        assert_eq!(scene.bodies(client), ["a", "second"]);
        assert!(!scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
        scene.get(client, &["/2"]);
        scene.respond("/2", response(id, "third"));
        assert_eq!(scene.bodies(client), ["a", "second", "third"]);
    }
}

#[test]
fn an_identifier_of_the_clients_own_is_not_verified() {
    let (mut scene, client) = with_one_that_echoes();
    let post = POST.replace("Host", "X-Request-ID: req-1.2.3\r\nHost");
    scene.send(client, post);
    scene.respond("/post", response("req-123", "done"));
    assert_eq!(scene.bodies(client), ["a", "done"]);
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
}

#[test]
fn a_post_in_doubt_is_delivered_after_a_moment_in_which_nothing_better_came() {
    let (mut scene, client) = with_one_that_echoes();
    scene.send(client, POST);
    scene.respond("/post", response("", "done"));
    scene.advance(50);
    assert_eq!(scene.bodies(client), ["a"]);
    scene.advance(100);
    assert_eq!(scene.bodies(client), ["a", "done"]);
    assert_eq!(scene.times_asked("/post"), 1);
    assert!(!scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
    scene.send(client, POST);
    scene.respond("/post", response("", "at once"));
    assert_eq!(scene.bodies(client), ["a", "done", "at once"]);
}

#[test]
fn a_post_in_doubt_gets_the_right_response_that_follows() {
    let (mut scene, client) = with_one_that_echoes();
    scene.send(client, POST);
    scene.respond("/post", response("another", "wrong"));
    scene.advance(50);
    echo(&mut scene, "/post", "right");
    assert_eq!(scene.bodies(client), ["a", "right"]);
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
    scene.get(client, &["/next"]);
    assert_eq!(scene.place_of("/next"), scene.place_of("/post"), "the connection is kept");
    echo(&mut scene, "/next", "next");
}

#[test]
fn a_response_in_doubt_that_its_connection_ends_is_delivered_at_once() {
    for text in [
        "HTTP/1.1 200 OK\r\nX-Request-ID: x\r\n\r\nto the end",
        "HTTP/1.1 200 OK\r\nX-Request-ID: x\r\nContent-Length: 10\r\n\r\nto the end",
    ] {
        let (mut scene, client) = with_one_that_echoes();
        scene.send(client, POST);
        scene.respond_and_hang_up("/post", text);
        assert_eq!(scene.bodies(client), ["a", "to the end"]);
    }
}

#[test]
fn a_response_in_doubt_that_fills_the_ring_is_delivered_at_once() {
    let (mut scene, client) = with_one_that_echoes();
    scene.send(client, POST);
    scene.respond("/post", response("x", &"x".repeat(9000)));
    assert_eq!(scene.bodies(client)[1].len(), 9000);
}

/// A client that was answered, and another, whose request goes over the same connection.
fn with_surplus(method: &str) -> (Scene, usize, String) {
    let mut scene = Scene::with_backends(1);
    let (client, other) = (scene.client(), scene.client());
    scene.get(client, &["/first"]);
    echo(&mut scene, "/first", "first");
    scene.send(other, POST.replace("POST", method));
    assert_eq!(scene.place_of("/post"), scene.place_of("/first"));
    let old = id_of(&scene, "/first");
    (scene, other, old)
}

#[test]
fn a_surplus_response_is_proof_from_the_first_request_on_and_a_post_gets_its_own() {
    for len in [0, 5, 9000] {
        let (mut scene, other, old) = with_surplus("POST");
        scene.respond("/post", response(&old, &"x".repeat(len)));
        scene.advance(2000);
        assert_eq!(scene.bodies(other), [""; 0]);
        echo(&mut scene, "/post", "its own");
        assert_eq!(scene.bodies(other), ["its own"]);
        assert_eq!(scene.times_asked("/post"), 1);
    }
}

/// A client whose POST was answered, and which posts to `path` over the same connection.
fn posts_again(path: &str, by_other: bool) -> (Scene, usize, String) {
    let mut scene = Scene::with_backends(1);
    let (client, other) = (scene.client(), scene.client());
    scene.send(client, POST);
    echo(&mut scene, "/post", "first");
    let old = id_of(&scene, "/post");
    let again = if by_other { other } else { client };
    scene.send(again, POST.replace("/post", path));
    assert_eq!((scene.asked().len(), scene.backend_conns()), (2, 1));
    (scene, again, old)
}

#[test]
fn a_post_answered_as_an_equal_one_of_its_client_gets_that_after_a_moment() {
    let (mut scene, client, old) = posts_again("/post", false);
    scene.respond("/post", response(&old, "remembered"));
    scene.advance(50);
    assert_eq!(scene.bodies(client), ["first"]);
    scene.advance(100);
    assert_eq!(scene.bodies(client), ["first", "remembered"]);
    // It is no less a proof where it meets another's request.
    let other = scene.client();
    scene.send(other, POST.replace("/post", "/other"));
    assert_eq!(scene.backend_conns(), 1);
    scene.respond("/other", response(&old, "surplus"));
    scene.advance(2000);
    echo(&mut scene, "/other", "its own");
    assert_eq!(scene.bodies(other), ["its own"]);
}

#[test]
fn a_post_answered_as_an_equal_one_of_its_client_gets_its_own_if_that_follows() {
    let (mut scene, client, old) = posts_again("/post", false);
    scene.respond("/post", response(&old, "surplus"));
    scene.advance(50);
    echo(&mut scene, "/post", "its own");
    assert_eq!(scene.bodies(client), ["first", "its own"]);
}

#[test]
fn what_answered_another_client_or_something_else_is_never_delivered_however_long_nothing_follows()
{
    for (path, by_other) in [("/post", true), ("/else", false)] {
        let (mut scene, client, old) = posts_again(path, by_other);
        scene.respond(path, response(&old, "surplus"));
        scene.advance(59_000);
        assert!(!scene.bodies(client).contains(&"surplus".to_owned()));
        scene.advance(2000);
        assert_eq!(scene.last_error(client).0, 504);
    }
}

#[test]
fn a_surplus_response_that_meets_a_head_is_stepped_over_with_its_body() {
    let mut scene = Scene::with_backends(1);
    let (client, other) = (scene.client(), scene.client());
    scene.get(client, &["/first"]);
    echo(&mut scene, "/first", "first");
    let old = id_of(&scene, "/first");
    // It cannot be asked again: not all of its body is held.
    let head = "HEAD /head HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n";
    scene.send(other, head.to_owned() + &"x".repeat(40000));
    assert_eq!(scene.place_of("/head"), scene.place_of("/first"));
    scene.respond("/head", response(&old, "surplus"));
    echo(&mut scene, "/head", "");
    assert_eq!(scene.bodies(other), [""]);
    assert_eq!(scene.times_asked("/head"), 1);
}

#[test]
fn a_backend_that_takes_no_new_connections_is_doubted_once() {
    let (mut scene, client) = with_one_that_echoes();
    scene.refuse(0, true);
    scene.get(client, &["/1"]);
    scene.respond("/1", response("another", "first"));
    assert_eq!(scene.bodies(client), ["a", "first"]);
    assert!(!scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
    scene.get(client, &["/2"]);
    scene.refuse(0, false);
    scene.respond("/2", response("another", "second"));
    assert_eq!(scene.bodies(client), ["a", "first", "second"]);
    assert_eq!((scene.times_asked("/1"), scene.times_asked("/2")), (1, 1));
}

#[test]
fn a_client_that_leaves_says_nothing_of_a_doubt() {
    let (mut scene, client) = with_one_that_echoes();
    scene.get(client, &["/1"]);
    scene.respond("/1", response("another", "first"));
    scene.leave(client);
    assert!(scene.worker(0).proxy.upstream.backends()[0].echo.echoes());
}

#[test]
fn a_put_that_met_a_surplus_response_is_asked_again() {
    let (mut scene, other, old) = with_surplus("PUT");
    scene.respond("/post", response(&old, "surplus"));
    assert_ne!(scene.place_of("/post"), scene.place_of("/first"));
    echo(&mut scene, "/post", "its own");
    assert_eq!(scene.bodies(other), ["its own"]);
}

#[test]
fn a_cache_that_returns_old_identifiers_is_asked_twice_once() {
    let (mut scene, other, old) = with_surplus("PUT");
    scene.respond("/post", response(&old, "stored"));
    scene.respond("/post", response(&old, "stored"));
    assert_eq!(scene.bodies(other), ["stored"]);
    for path in ["/1", "/2", "/3"] {
        scene.get(other, &[path]);
        scene.respond(path, response(&old, "stored"));
        assert_eq!(scene.times_asked(path), 1);
    }
    assert_eq!(scene.bodies(other), ["stored"; 4]);
}

#[test]
fn proof_stands_where_the_backend_cannot_be_asked_again() {
    let (mut scene, other, old) = with_surplus("PUT");
    scene.refuse(0, true);
    scene.respond("/post", response(&old, "surplus"));
    assert_eq!(scene.last_error(other).0, 502);
    scene.refuse(0, false);
}

/// Over the connection that its client has logged in nothing more comes; over another one the client is
/// asked to log in again.
#[test]
fn proof_on_a_connection_that_its_client_has_logged_in_is_asked_again_over_another() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "GET /login HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM x\r\n\r\n");
    echo(&mut scene, "/login", "alice");
    let old = id_of(&scene, "/login");
    scene.get(client, &["/1"]);
    assert_eq!(scene.place_of("/1"), scene.place_of("/login"));
    scene.respond("/1", response(&old, "alice"));
    assert_ne!(scene.place_of("/1"), scene.place_of("/login"));
    echo(&mut scene, "/1", "who?");
    assert_eq!(scene.bodies(client), ["alice", "who?"]);
}
