//! Retries, health and identity.

use crate::config::RequestId;
use crate::mem::time::Millis;
use crate::proxy::tests::scene::Scene;
use crate::shared::PoolId;

const POST: &str = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_refused_request_is_sent_to_another_backend_whatever_its_method() {
    let mut scene = Scene::with_backends(2);
    scene.refuse(0, true);
    let client = scene.client();
    for round in 0..4 {
        let path = format!("/{round}");
        scene.send(client, POST.replace("/post", &path));
        assert_eq!(scene.place_of(&path).0, 1);
        assert_eq!(scene.request(&path).body, b"hi");
        scene.answer(&path, "");
    }
    assert!(scene.messages(client).iter().all(|message| message.head.status() == 200));
}

#[test]
fn a_refusal_by_all_is_told_as_such() {
    let mut scene = Scene::with_backends(2);
    scene.refuse(0, true);
    scene.refuse(1, true);
    let client = scene.client();
    scene.get(client, &["/"]);
    assert_eq!(scene.last_error(client), (502, "connection_refused".to_owned()));
}

#[test]
fn three_refusals_in_a_row_take_a_backend_out_but_never_the_last() {
    let mut scene = Scene::with_backends(2);
    scene.refuse(0, true);
    let client = scene.client();
    for round in 0..6 {
        scene.warm_up(client, &format!("/{round}"));
    }
    let up = |scene: &Scene| scene.service.proxy.segment().count_up(PoolId(0)).0;
    assert_eq!(up(&scene), 1);
    scene.refuse(1, true);
    // The idle connection is used up, and then the last backend refuses as often as it likes.
    let (host, _) = scene.place_of("/5");
    assert_eq!(host, 1);
    for round in 0..6 {
        scene.send(client, format!("GET /x{round} HTTP/1.1\r\nHost: a\r\n\r\n"));
        if round == 0 {
            scene.reset("/x0");
        }
    }
    assert_eq!(up(&scene), 1);
    assert_eq!(scene.last_error(client), (502, "connection_refused".to_owned()));
}

#[test]
fn an_idempotent_request_is_repeated_after_a_reset_and_a_post_is_not() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/get"]);
    scene.reset("/get");
    scene.answer("/get", "again");
    assert_eq!(scene.bodies(client), ["again"]);
    scene.send(client, POST);
    scene.reset("/post");
    assert_eq!(scene.last_error(client), (502, "connection_terminated".to_owned()));
    assert_eq!(scene.times_asked("/post"), 1);
}

#[test]
fn a_post_with_an_idempotency_key_is_repeated_with_its_body() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.send(client, POST.replace("Host", "Idempotency-Key: 1\r\nHost"));
    let first = scene.place_of("/post");
    scene.reset("/post");
    assert_ne!(scene.place_of("/post").0, first.0);
    assert_eq!(scene.request("/post").body, b"hi");
    scene.answer("/post", "");
    assert_eq!(scene.last_error(client).0, 200);
}

#[test]
fn an_upload_that_is_not_held_any_more_is_not_repeated() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.send(client, "PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n");
    scene.send(client, [b'x'; 8000]);
    assert_eq!(scene.request("/put").body.len(), 8000);
    scene.reset("/put");
    assert_eq!(scene.last_error(client), (502, "connection_terminated".to_owned()));
    assert_eq!(scene.times_asked("/put"), 1);
}

#[test]
fn an_upload_whose_framing_alone_is_gone_is_not_repeated() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.send(client, "PUT /put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    scene.send(client, "0\r\n");
    for _ in 0..6 {
        scene.send(client, format!("X-Trailer: {}\r\n", "x".repeat(1000)));
    }
    scene.reset("/put");
    let (status, error) = scene.last_error(client);
    assert_eq!(
        (status, error.as_str(), scene.times_asked("/put")),
        (502, "connection_terminated", 1)
    );
}

#[test]
fn no_more_than_retries_further_backends_are_tried() {
    let mut scene = Scene::with(4, |config| config.pools[0].retries = 2, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    for _ in 0..3 {
        scene.reset("/");
    }
    assert_eq!(scene.last_error(client), (502, "connection_terminated".to_owned()));
    assert_eq!(scene.times_asked("/"), 3);
}

#[test]
fn repeats_are_limited_when_everything_fails() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    let mut repeats = 0;
    for round in 0..150 {
        let path = format!("/{round}");
        scene.get(client, &[&path]);
        while scene.messages(client).len() == round {
            scene.reset(&path);
        }
        repeats += scene.times_asked(&path) - 1;
    }
    // 10 a second over 10 s, and one for five requests.
    assert_eq!(repeats, 100 + 150 / 5);
}

#[test]
fn nothing_is_repeated_once_the_client_has_seen_a_byte() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    scene.reset("/");
    assert_eq!((scene.bodies(client), scene.times_asked("/")), (vec!["half".to_owned()], 1));
    assert_eq!(scene.end_of(client), crate::sys::world::End::Fin);
}

#[test]
fn a_backends_own_errors_pass() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    assert_eq!(scene.bodies(client), ["busy"]);
    assert_eq!(scene.times_asked("/"), 1);
}

#[test]
fn a_stale_connection_costs_no_try_and_no_failure() {
    let mut scene = Scene::with(1, |config| config.pools[0].retries = 0, |_| ());
    let client = scene.client();
    scene.warm_up(client, "/0");
    scene.get(client, &["/1"]);
    assert_eq!(scene.place_of("/0"), scene.place_of("/1"));
    scene.reset("/1");
    assert_ne!(scene.place_of("/0"), scene.place_of("/1"));
    scene.answer("/1", "again");
    assert_eq!(scene.bodies(client), ["", "again"]);
}

#[test]
fn a_post_takes_no_connection_that_was_idle_for_a_second() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.warm_up(client, "/0");
    scene.advance(900);
    scene.send(client, POST.replace("/post", "/1"));
    assert_eq!(scene.place_of("/0"), scene.place_of("/1"));
    scene.answer("/1", "");
    scene.advance(1100);
    scene.send(client, POST);
    assert_ne!(scene.place_of("/0"), scene.place_of("/post"));
    scene.answer("/post", "");
}

#[test]
fn the_connection_used_last_is_used_next_and_closes_after_backend_idle() {
    let mut scene = Scene::with_backends(1);
    let clients = [scene.client(), scene.client()];
    scene.get(clients[0], &["/0"]);
    scene.get(clients[1], &["/1"]);
    scene.answer("/0", "");
    scene.advance(500);
    scene.answer("/1", "");
    assert_eq!(scene.backend_conns(), 2);
    scene.warm_up(clients[0], "/2");
    assert_eq!(scene.place_of("/2"), scene.place_of("/1"));
    scene.advance(3900);
    assert_eq!(scene.backend_conns(), 1);
    scene.advance(1000);
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn bytes_that_nobody_asked_for_close_an_idle_connection() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.warm_up(client, "/0");
    scene.respond("/0", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(scene.backend_conns(), 0);
    scene.warm_up(client, "/1");
    assert_eq!(scene.last_error(client).0, 200);
}

#[test]
fn bytes_behind_an_answer_close_the_connection() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/0"]);
    scene.respond("/0", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0HTTP/1.1 200 OK\r\n");
    assert_eq!(scene.bodies(client), ["0"]);
    assert_eq!(scene.backend_conns(), 0);
}

/// A response and another client's request come in one turn of the event loop, which ends.
fn answered_and_asked_at_once(scene: &mut Scene) -> usize {
    let (client, other) = (scene.client(), scene.client());
    scene.warm_up(other, "/other");
    scene.get(client, &["/0"]);
    scene.respond_unheard("/0", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0");
    scene.get_unheard(other, "/1");
    scene.worker(0).turn(Millis(0));
    other
}

#[test]
fn what_follows_a_response_at_once_reaches_nobody_who_asks_in_the_same_turn() {
    let mut scene = Scene::with_backends(1);
    let other = answered_and_asked_at_once(&mut scene);
    scene.respond_unheard("/0", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsurplus");
    scene.settle();
    assert_ne!(scene.place_of("/1"), scene.place_of("/0"));
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["", "1"]);
}

#[test]
fn a_connection_is_used_again_in_the_turn_after_its_response() {
    let mut scene = Scene::with_backends(1);
    let other = answered_and_asked_at_once(&mut scene);
    scene.settle();
    assert_eq!(scene.place_of("/1"), scene.place_of("/0"));
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(other), ["", "1"]);
}

fn echo(scene: &mut Scene, path: &str, id: &str) {
    let id_sent = scene.request(path).head.get("x-request-id").unwrap_or_default().to_owned();
    let id = if id.is_empty() { &id_sent } else { id };
    scene.respond(
        path,
        format!("HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Length: 0\r\n\r\n"),
    );
}

#[test]
fn what_a_backend_returns_that_never_echoed_is_its_own_affair() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/0"]);
    echo(&mut scene, "/0", "mine");
    assert_eq!(scene.messages(client)[0].head.get("x-request-id"), Some("mine"));
}

#[test]
fn with_require_an_answer_without_the_identifier_is_none() {
    let require = |config: &mut crate::config::Config| config.request_id = RequestId::Require;
    let mut scene = Scene::with(1, require, |_| ());
    let client = scene.client();
    scene.send(client, POST);
    scene.answer("/post", "");
    assert_eq!(scene.last_error(client), (502, "http_protocol_error".to_owned()));
}

#[test]
fn nonsense_and_heads_that_are_too_long_are_told_as_such() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(3100));
    for (answer, error) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", "http_protocol_error"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "http_protocol_error"),
        (&long, "http_response_header_section_size"),
    ] {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        scene.get(client, &["/"]);
        scene.respond("/", answer);
        assert_eq!(scene.last_error(client), (502, error.to_owned()));
    }
}

#[test]
fn a_backend_that_closes_after_each_response_unsaid_is_sent_nothing_over_used_connections() {
    let configure = |config: &mut crate::config::Config| {
        config.pools[0].retries = 0;
        config.timeouts.idle = Millis(1_000_000);
    };
    let mut scene = Scene::with(1, configure, |_| ());
    let client = scene.client();
    scene.warm_up(client, "/first");
    for round in 0..8 {
        assert_eq!(scene.backend_conns(), 1, "round {round}");
        let path = format!("/{round}");
        scene.get(client, &[&path]);
        scene.hang_up(&path);
        assert_eq!(scene.times_asked(&path), 2, "it was sent again");
        scene.answer(&path, "");
    }
    assert_eq!(scene.backend_conns(), 0, "none is kept any more");
    scene.advance(599_000);
    scene.warm_up(client, "/later");
    assert_eq!(scene.backend_conns(), 0);
    scene.advance(2000);
    scene.warm_up(client, "/learned-anew");
    assert_eq!(scene.backend_conns(), 1);
}

#[test]
fn connections_that_close_right_behind_their_response_are_not_kept_either() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    for round in 0..8 {
        let path = format!("/{round}");
        scene.warm_up(client, &path);
        assert_eq!(scene.backend_conns(), 1);
        scene.hang_up(&path);
    }
    scene.warm_up(client, "/last");
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn one_connection_that_is_used_again_shows_that_they_are_kept() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    for round in 0..20 {
        let paths = [0, 1].map(|name| format!("/{round}.{name}"));
        paths.iter().for_each(|path| scene.warm_up(client, path));
        assert_eq!(scene.place_of(&paths[0]), scene.place_of(&paths[1]));
        scene.hang_up(&paths[1]);
    }
}

#[test]
fn with_backend_idle_of_nothing_each_connection_carries_one_request() {
    let mut scene = Scene::with(1, |config| config.timeouts.backend_idle = Millis(0), |_| ());
    let client = scene.client();
    for round in 0..30 {
        let paths = [0, 1].map(|name| format!("/{round}.{name}"));
        scene.get(client, &paths.each_ref().map(String::as_str));
        assert_ne!(scene.place_of(&paths[0]), scene.place_of(&paths[1]));
        paths.iter().for_each(|path| scene.answer(path, ""));
        assert_eq!(scene.backend_conns(), 0);
    }
}
