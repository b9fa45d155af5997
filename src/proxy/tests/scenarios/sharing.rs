//! Requests behind each other on one connection: who gets them, and what becomes of those that a
//! backend does not take so.

use crate::proxy::tests::scene::Scene;
use crate::sys::world;

/// Answers so many requests at once that the backend is known to be fast.
fn show_speed(scene: &mut Scene, client: usize) {
    for round in 0..12 {
        scene.warm_up(client, &format!("/warm{round}"));
    }
}

/// Answers so many pairs that the backend is known to take requests that stand behind each other.
fn show_sharing(scene: &mut Scene, client: usize) {
    show_speed(scene, client);
    for round in 0..10 {
        let paths = [format!("/pair{round}"), format!("/pair{round}b")];
        scene.get(client, &paths.each_ref().map(String::as_str));
        assert_eq!(scene.place_of(&paths[0]), scene.place_of(&paths[1]), "pair {round}");
        paths.iter().for_each(|path| scene.answer(path, ""));
    }
}

/// The answers that `show_sharing` gives.
const SHOWN: usize = 12 + 20;

fn conns_of<const N: usize>(scene: &Scene, paths: [&str; N]) -> [usize; N] {
    paths.map(|path| scene.place_of(path).1)
}

#[test]
fn a_batch_to_a_fast_backend_shares_a_connection_and_a_send() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_sharing(&mut scene, client);
    let before = world::calls();
    scene.get(client, &["/0", "/1", "/2"]);
    let after = world::calls();
    assert_eq!((after.send - before.send, after.connect - before.connect), (1, 0));
    assert_eq!(scene.place_of("/0"), scene.place_of("/2"));
    for path in ["/0", "/1", "/2"] {
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client)[SHOWN..], ["/0", "/1", "/2"]);
}

#[test]
fn a_batch_to_a_slow_backend_gets_a_connection_each() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    for round in 0..12 {
        scene.get(client, &[&format!("/warm{round}")]);
        scene.advance(20);
        scene.answer(&format!("/warm{round}"), "");
    }
    scene.get(client, &["/0", "/1", "/2"]);
    let conns = ["/0", "/1", "/2"].map(|path| scene.place_of(path).1);
    assert_eq!(conns, [0, 1, 2]);
    for path in ["/0", "/1", "/2"] {
        scene.answer(path, path);
    }
}

#[test]
fn what_a_closing_shared_connection_leaves_unanswered_starts_anew() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_sharing(&mut scene, client);
    scene.get(client, &["/0", "/1", "/2"]);
    let shared = scene.place_of("/0");
    scene.respond("/0", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n0");
    assert_eq!(scene.bodies(client)[SHOWN..], ["0"]);
    assert_ne!(scene.place_of("/1"), shared);
    assert_ne!(scene.place_of("/1"), scene.place_of("/2"), "they are on their own now");
    scene.answer("/2", "2");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(client)[SHOWN..], ["0", "1", "2"]);
}

#[test]
fn a_failing_shared_connection_starts_all_of_it_anew() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_sharing(&mut scene, client);
    scene.get(client, &["/0", "/1"]);
    scene.reset("/0");
    scene.answer("/0", "0");
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(client)[SHOWN..], ["0", "1"]);
    assert_eq!((scene.times_asked("/0"), scene.times_asked("/1")), (2, 2));
}

#[test]
fn the_second_of_a_shared_connection_has_no_timer_while_a_slow_client_reads_the_first() {
    let mut scene = Scene::with(1, |config| config.timeouts.client.0 = 300_000, |_| ());
    let client = scene.client();
    show_sharing(&mut scene, client);
    world::change_faults(|faults| faults.buffer = 4096);
    scene.set_reading(client, false);
    scene.get(client, &["/0", "/1"]);
    let body = "x".repeat(50_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let sent = scene.respond("/0", &answer);
    assert!(sent < answer.len());
    scene.advance(100_000); // The response timeout is 60 s.
    scene.set_reading(client, true);
    scene.respond("/0", &answer[sent..]);
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(client)[SHOWN..], [body, "1".to_owned()]);
}

#[test]
fn a_backend_shows_with_one_pair_at_a_time_that_it_takes_a_second_request_early() {
    let mut scene = Scene::with_backends(1);
    let (client, other) = (scene.client(), scene.client());
    scene.get(client, &["/a", "/b"]);
    let [one, another] = conns_of(&scene, ["/a", "/b"]);
    assert_ne!(one, another, "nothing is known of its speed");
    scene.answer("/a", "");
    scene.answer("/b", "");
    show_speed(&mut scene, client);
    for round in 0..10 {
        let paths = ["0", "1", "2", "3"].map(|name| format!("/{round}.{name}"));
        let others = ["5", "6"].map(|name| format!("/{round}.{name}"));
        let paths = paths.each_ref().map(String::as_str);
        let others = others.each_ref().map(String::as_str);
        scene.get(client, &paths);
        scene.get(other, &others);
        let conns = conns_of(&scene, paths);
        let mut different = conns.to_vec();
        different.extend(conns_of(&scene, others));
        different.sort_unstable();
        different.dedup();
        assert_eq!(conns[0], conns[1], "round {round}");
        assert_eq!(different.len(), 5, "round {round}: one pair, and four by themselves");
        paths.into_iter().chain(others).for_each(|path| scene.answer(path, ""));
    }
    scene.get(client, &["/0", "/1", "/2", "/3"]);
    let conns = conns_of(&scene, ["/0", "/1", "/2", "/3"]);
    assert_eq!(conns, [conns[0]; 4]);
    ["/0", "/1", "/2", "/3"].into_iter().for_each(|path| scene.answer(path, ""));
}

#[test]
fn a_pair_needs_a_connection_that_was_used_before() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_speed(&mut scene, client);
    scene.advance(6000);
    assert_eq!(scene.backend_conns(), 0);
    scene.get(client, &["/0", "/1"]);
    let [one, other] = conns_of(&scene, ["/0", "/1"]);
    assert_ne!(one, other);
    scene.answer("/0", "");
    scene.answer("/1", "");
}

#[test]
fn what_stands_behind_another_and_hears_nothing_moves_to_a_connection_of_its_own() {
    let mut scene = Scene::with(1, |config| config.timeouts.idle.0 = 1_000_000, |_| ());
    let client = scene.client();
    show_speed(&mut scene, client);
    let mut minutes = 1;
    for round in 0..3 {
        let [first, second] = ["a", "b"].map(|name| format!("/{round}{name}"));
        scene.get(client, &[&first, &second]);
        assert_eq!(scene.place_of(&first), scene.place_of(&second), "round {round}");
        scene.advance(10);
        assert_eq!(scene.times_asked(&second), 1, "the first is not answered yet");
        scene.answer(&first, "first");
        scene.advance(40);
        assert_eq!(scene.times_asked(&second), 1, "it may still come");
        scene.advance(20);
        assert_eq!(scene.times_asked(&second), 2, "round {round}");
        assert_ne!(scene.place_of(&first), scene.place_of(&second));
        assert!(!scene.place_is_open(&first), "what comes over it is nobody's");
        scene.answer(&second, "second");
        assert_eq!(scene.bodies(client).last().map(String::as_str), Some("second"));
        // It is fast, and gets no pair for one, two, four minutes.
        for wait in [1, minutes * 60_000 - 2000] {
            scene.advance(wait);
            let paths = ["x", "y"].map(|name| format!("/{round}{wait}{name}"));
            show_speed_anew(&mut scene, client, &format!("{round}.{wait}"));
            scene.get(client, &paths.each_ref().map(String::as_str));
            assert_ne!(scene.place_of(&paths[0]), scene.place_of(&paths[1]), "{wait}");
            paths.iter().for_each(|path| scene.answer(path, ""));
        }
        scene.advance(3000);
        show_speed_anew(&mut scene, client, &format!("{round}"));
        minutes *= 2;
    }
}

fn show_speed_anew(scene: &mut Scene, client: usize, name: &str) {
    (0..12).for_each(|round| scene.warm_up(client, &format!("/again{name}.{round}")));
}

#[test]
fn one_whose_response_has_begun_waits_as_long_as_any_other() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_speed(&mut scene, client);
    scene.get(client, &["/0", "/1"]);
    scene.answer("/0", "0");
    scene.respond("/1", "HTTP/1.1 200 OK\r\n");
    scene.advance(5000);
    scene.respond("/1", "Content-Length: 1\r\n\r\n1");
    assert_eq!(scene.bodies(client)[12..], ["0", "1"]);
    assert_eq!(scene.times_asked("/1"), 1);
}

#[test]
fn a_get_behind_a_response_that_is_malformed_moves_to_a_connection_of_its_own() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0";
    for nonsense in ["<p>more than was announced</p>\r\n\r\n", "\0\0\0", &"x".repeat(4096)] {
        let mut scene = Scene::with(1, |config| config.pools[0].retries = 0, |_| ());
        let client = scene.client();
        show_speed(&mut scene, client);
        scene.get(client, &["/0", "/1"]);
        scene.respond("/0", format!("{answer}{nonsense}"));
        assert_ne!(scene.place_of("/0"), scene.place_of("/1"));
        scene.answer("/1", "1");
        assert_eq!(scene.bodies(client)[12..], ["0", "1"]);
        scene.get(client, &["/2", "/3"]);
        assert_ne!(scene.place_of("/2"), scene.place_of("/3"), "it shares nothing for a while");
        scene.answer("/2", "");
        scene.answer("/3", "");
    }
}

/// Behind another request, what a backend sends too much is taken for the response to that.
#[test]
fn a_backend_that_sends_more_than_it_was_asked_for_shares_nothing_for_a_while() {
    let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0";
    for (paths, pause) in [(&["/0"][..], None), (&["/0", "/1"][..], None), (&["/0"][..], Some(20))]
    {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        show_sharing(&mut scene, client);
        scene.get(client, paths);
        let place = scene.place_of("/0");
        match pause {
            None => drop(scene.respond_at(place, format!("{answer}{surplus}"))),
            Some(pause) => {
                scene.respond_at(place, answer);
                scene.advance(pause);
                scene.respond_at(place, surplus);
            }
        }
        if paths.len() == 2 {
            scene.respond_at(place, answer); // The one to /1, of which nobody can know any more.
        }
        assert!(!scene.place_is_open("/0"));
        scene.warm_up(client, "/again");
        scene.get(client, &["/2", "/3"]);
        assert_ne!(scene.place_of("/2"), scene.place_of("/3"), "{paths:?} {pause:?}");
        scene.answer("/2", "2");
        scene.answer("/3", "3");
        assert_eq!(scene.bodies(client)[SHOWN + paths.len() + 1..], ["2", "3"]);
    }
}

/// Some servers say 408 over a connection that was idle for long before they close it.
#[test]
fn what_comes_over_a_connection_that_was_idle_for_long_says_nothing_of_sharing() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_sharing(&mut scene, client);
    let place = scene.place_of("/pair9");
    scene.advance(2_000);
    scene.respond_at(place, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert!(!scene.place_is_open("/pair9"));
    scene.warm_up(client, "/again");
    scene.get(client, &["/0", "/1"]);
    assert_eq!(scene.place_of("/0"), scene.place_of("/1"));
    scene.answer("/0", "");
    scene.answer("/1", "");
}

#[test]
fn a_response_that_is_malformed_itself_is_an_error_and_what_stands_behind_it_moves() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_speed(&mut scene, client);
    scene.get(client, &["/0", "/1"]);
    scene.respond("/0", "nonsense\r\n\r\n");
    assert_ne!(scene.place_of("/0"), scene.place_of("/1"));
    scene.answer("/1", "1");
    assert_eq!(scene.messages(client)[12].head.status(), 502);
    assert_eq!(scene.bodies(client)[13..], ["1"]);
    scene.get(client, &["/2", "/3"]);
    assert_ne!(scene.place_of("/2"), scene.place_of("/3"), "it shares nothing for a while");
    scene.answer("/2", "");
    scene.answer("/3", "");
}

#[test]
fn what_an_unsaid_close_leaves_unanswered_costs_no_try() {
    let mut scene = Scene::with(1, |config| config.pools[0].retries = 0, |_| ());
    let client = scene.client();
    show_speed(&mut scene, client);
    scene.get(client, &["/0", "/1"]);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0";
    scene.respond_and_hang_up("/0", &format!("{answer}HTTP/1.1 2"));
    assert_ne!(scene.place_of("/0"), scene.place_of("/1"));
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(client)[12..], ["0", "1"]);
}

#[test]
fn head_neither_stands_behind_another_nor_has_one_behind_it() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_sharing(&mut scene, client);
    let head = |path: &str| format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.send(client, get("/1") + &head("/0") + &get("/3") + &head("/2") + &head("/4"));
    let [zero, one, two, three, four] = conns_of(&scene, ["/0", "/1", "/2", "/3", "/4"]);
    assert_eq!(one, three);
    assert!(zero != one && two != one && zero != two && two != four);
    for path in ["/0", "/2", "/4"] {
        scene.respond(path, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    }
    scene.answer("/1", "1");
    scene.answer("/3", "3");
    let statuses = scene.received(client).matches("HTTP/1.1 200 OK").count();
    assert_eq!(statuses, SHOWN + 5);
    scene.send(client, head("/5") + &get("/6"));
    let [five, six] = conns_of(&scene, ["/5", "/6"]);
    assert_ne!(five, six);
    scene.respond("/5", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    scene.answer("/6", "6");
}

#[test]
fn a_get_after_head_is_answered_by_a_backend_that_sends_a_body_with_that() {
    let mut scene = Scene::with(1, |config| config.pools[0].retries = 0, |_| ());
    let client = scene.client();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    for (method, status) in [("GET", 200), ("POST", 502)] {
        scene.send(client, "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
        scene.respond("/head", head);
        let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
        scene.send(client, format!("{method} /next HTTP/1.1\r\nHost: a\r\n{length}\r\n"));
        assert_eq!(scene.place_of("/next"), scene.place_of("/head"));
        scene.respond("/head", "<body>\r\n\r\n");
        if status == 200 {
            assert_ne!(scene.place_of("/next"), scene.place_of("/head"));
            scene.answer("/next", "next");
        }
        let told = format!("HTTP/1.1 {status} ");
        assert!(scene.received(client).contains(&told), "{method}: {}", scene.received(client));
    }
}

#[test]
fn nonsense_after_head_that_comes_again_is_an_error() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.respond("/head", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    scene.get(client, &["/next"]);
    for times in 1..=2 {
        assert_eq!(scene.times_asked("/next"), times);
        scene.respond("/next", "nonsense\r\n\r\n");
    }
    assert_eq!(scene.times_asked("/next"), 2);
    assert!(scene.received(client).contains("HTTP/1.1 502 "));
}

#[test]
fn behind_another_a_backend_has_ten_times_what_it_takes_as_a_rule() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    show_speed(&mut scene, client);
    scene.get(client, &["/0", "/1"]);
    scene.advance(160); // A pace of 20 ms and a bit from then on.
    scene.answer("/0", "");
    scene.advance(190);
    assert_eq!(scene.times_asked("/1"), 1);
    scene.advance(70);
    assert_eq!(scene.times_asked("/1"), 2);
    scene.answer("/1", "");
}
