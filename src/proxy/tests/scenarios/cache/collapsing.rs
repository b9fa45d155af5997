//! Equal misses become one request.

use super::*;
use crate::sys::world::End;

/// Clients of these workers, each of which asks for `/a`.
fn crowd(scene: &mut Scene, workers: usize, count: usize) -> Vec<usize> {
    let clients: Vec<usize> = (0..count).map(|place| scene.client_of(place % workers)).collect();
    for client in &clients {
        scene.get(*client, &["/a"]);
    }
    clients
}

/// docs/CACHE.md, rule 15.
#[test]
fn one_asks_for_all_who_want_the_same_over_all_workers() {
    for body in [String::from("hello"), long_body(100_000)] {
        let mut scene = workers(3);
        let clients = crowd(&mut scene, 3, 12);
        assert_eq!(scene.times_asked("/a"), 1);
        scene.respond("/a", answer(FRESH, &body));
        for (place, client) in clients.iter().enumerate() {
            let (status, cache, got) = last(&mut scene, *client);
            let expected = if place == 0 { "stored" } else { "collapsed" };
            assert_eq!((status, cache), (200, format!("fwd=uri-miss; {expected}")));
            assert!(got == body, "{place}");
        }
        assert_eq!(scene.times_asked("/a"), 1);
        assert_eq!(counted(&scene), [11, 1, 0, 0, 0, 0]);
    }
}

#[test]
fn an_answer_for_nobody_else_releases_all_at_its_head() {
    let mut scene = workers(3);
    let clients = crowd(&mut scene, 3, 9);
    let head = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 5\r\n\r\n";
    scene.respond("/a", format!("{head}he"));
    assert_eq!(scene.times_asked("/a"), 9, "at once, and before the body is there");
    // And for a while nobody waits at all.
    let late = [0, 1, 2].map(|worker| scene.client_of(worker));
    for client in late {
        scene.get(client, &["/a"]);
    }
    assert_eq!(scene.times_asked("/a"), 12);
    drop(clients);
}

#[test]
fn where_the_one_who_asks_leaves_another_takes_its_place() {
    // Only `default_ttl` makes the second one fresh, whose length is not known: nobody follows it.
    for sent in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n"] {
        let mut scene = with_default_ttl();
        let clients = crowd(&mut scene, 2, 6);
        scene.respond("/a", sent);
        scene.leave(clients[0]);
        assert_eq!(scene.times_asked("/a"), 2, "one more, and no more than that");
        scene.respond("/a", answer(FRESH, "hello"));
        for client in &clients[1..] {
            assert_eq!(last(&mut scene, *client).2, "hello");
        }
        assert_eq!(scene.times_asked("/a"), 2);
    }
}

/// The head of an answer with so many bytes, and the first of them.
fn begun(length: usize, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The body that a client has so far, which is still to come to its end.
fn so_far(scene: &mut Scene, client: usize) -> String {
    let received = scene.received(client);
    received.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

/// docs/CACHE.md, rule 15.
#[test]
fn what_another_fetches_comes_as_it_is_written() {
    for length in [8, 400_000] {
        let body = long_body(length);
        let (first, rest) = body.split_at(length / 2);
        let (second, third) = rest.split_at(length / 4);
        let mut scene = workers(3);
        let clients = crowd(&mut scene, 3, 6);
        let place = scene.place_of("/a");
        scene.respond("/a", begun(length, first));
        for client in &clients {
            assert!(so_far(&mut scene, *client) == first, "{length}");
        }
        // Who comes now has what there is at once, also while the backend pauses.
        let late = scene.client_of(1);
        scene.get(late, &["/a"]);
        assert!(so_far(&mut scene, late) == first);
        scene.respond_at(place, second);
        assert!(so_far(&mut scene, late) == body[..length / 2 + length / 4]);
        scene.respond_at(place, third);
        for client in clients[1..].iter().chain([&late]) {
            let (status, cache, got) = last(&mut scene, *client);
            assert_eq!((status, cache.as_str()), (200, "fwd=uri-miss; collapsed"));
            assert!(got == body);
        }
        assert_eq!(scene.times_asked("/a"), 1);
        let after = scene.client_of(2);
        scene.get(after, &["/a"]);
        let (_, cache, got) = last(&mut scene, after);
        assert!(cache.starts_with("hit") && got == body, "{cache}");
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn one_who_comes_while_a_backend_pauses_is_shown_what_there_is() {
    for worker in [0, 1] {
        let mut scene = workers(2);
        let leads = scene.client_of(0);
        scene.get(leads, &["/a"]);
        let place = scene.place_of("/a");
        scene.respond("/a", begun(5, "he"));
        let late = scene.client_of(worker);
        scene.get(late, &["/a"]);
        assert_eq!(so_far(&mut scene, late), "he");
        scene.respond_at(place, "llo");
        assert_eq!(last(&mut scene, late).2, "hello");
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn a_fetch_that_others_follow_goes_on_without_the_one_who_asked() {
    for length in [8, 400_000] {
        let body = long_body(length);
        let (first, rest) = body.split_at(length / 2);
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 2, 4);
        let place = scene.place_of("/a");
        scene.respond("/a", begun(length, first));
        scene.leave(clients[0]);
        scene.respond_at(place, rest);
        for client in &clients[1..] {
            assert!(last(&mut scene, *client).2 == body);
        }
        let after = scene.client_of(1);
        scene.get(after, &["/a"]);
        assert!(last(&mut scene, after).2 == body);
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn where_nobody_follows_a_fetch_ends_with_the_one_who_asked() {
    let mut scene = workers(2);
    let client = scene.client_of(0);
    scene.get(client, &["/a"]);
    scene.respond("/a", begun(8, "hell"));
    scene.leave(client);
    let other = scene.client_of(1);
    scene.get(other, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", answer(FRESH, "hello"));
    assert_eq!(last(&mut scene, other).2, "hello");
}

#[test]
fn what_breaks_off_is_cut_for_those_who_have_a_part_and_asked_for_anew_by_those_who_have_none() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 2);
    let other = scene.client_of(1);
    // This one wants it fresher than it comes: it waits for what is stored.
    ask(&mut scene, other, "/a", "Cache-Control: min-fresh=3600");
    assert_eq!(scene.times_asked("/a"), 1);
    scene.respond("/a", begun(9, "hal"));
    assert_eq!(so_far(&mut scene, clients[1]), "hal");
    scene.reset("/a");
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", answer(FRESH, "hello"));
    assert_eq!(last(&mut scene, other).2, "hello");
    assert_eq!(so_far(&mut scene, clients[1]), "hal");
    assert_ne!(scene.end_of(clients[1]), End::Open, "what it has must not look whole");
}

/// docs/CACHE.md, rule 15.
#[test]
fn who_cannot_have_what_is_fetched_as_it_varies_waits_only_for_its_own() {
    for comes_early in [true, false] {
        let mut scene = workers(2);
        let first = crowd(&mut scene, 2, 2);
        let first_place = scene.place_of("/a");
        let plain = begun(9, "hal").replace("max-age=60", "max-age=60\r\nVary: X-A");
        let mut others = Vec::new();
        if !comes_early {
            scene.respond("/a", &plain);
        }
        for number in 0..6 {
            others.push(scene.client_of(number % 2));
            ask(&mut scene, others[number], "/a", &format!("X-A: {}", number / 3));
        }
        if comes_early {
            assert_eq!(scene.times_asked("/a"), 1);
            scene.respond_at(first_place, &plain);
        }
        // One for each selection, while the first goes on.
        assert_eq!((scene.times_asked("/a"), so_far(&mut scene, first[1])), (3, "hal".into()));
        for (value, body) in [("0", "zero"), ("1", "one")] {
            let place = scene.place_with("/a", ("x-a", value));
            scene.respond_at(place, answer(&format!("{FRESH} | Vary: X-A"), body));
        }
        for (number, other) in others.iter().enumerate() {
            let (status, cache, body) = last(&mut scene, *other);
            assert_eq!((status, &body[..]), (200, ["zero", "one"][number / 3]), "{cache}");
        }
        scene.respond_at(first_place, "fway!!");
        assert_eq!(last(&mut scene, first[1]).2, "halfway!!");
        assert_eq!(scene.times_asked("/a"), 3);
    }
}

#[test]
fn a_follower_goes_at_its_own_pace() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 3);
    scene.set_reading(clients[1], false);
    let body = long_body(900_000);
    scene.respond("/a", answer(FRESH, &body));
    assert!(last(&mut scene, clients[0]).2 == body && last(&mut scene, clients[2]).2 == body);
    scene.set_reading(clients[1], true);
    scene.settle();
    assert!(last(&mut scene, clients[1]).2 == body);
    assert_eq!(scene.times_asked("/a"), 1);
}

#[test]
fn those_who_wait_and_leave_leave_nothing_behind() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 4);
    scene.leave(clients[1]);
    scene.leave(clients[2]);
    scene.respond("/a", answer(FRESH, "hello"));
    assert_eq!(last(&mut scene, clients[3]).2, "hello");
    assert_eq!(scene.times_asked("/a"), 1);
}

#[test]
fn who_has_waited_for_long_enough_goes_alone() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 4);
    scene.advance(4000);
    assert_eq!(scene.times_asked("/a"), 1);
    scene.advance(1200);
    assert_eq!(scene.times_asked("/a"), 4);
    scene.respond("/a", answer(FRESH, "late"));
    assert!(clients.iter().any(|client| scene.bodies(*client) == ["late"]));
}

#[test]
fn a_slow_reader_holds_nobody_up_for_longer() {
    let mut scene = workers(2);
    let slow = scene.client_of(0);
    scene.set_reading(slow, false);
    scene.get(slow, &["/a"]);
    let other = scene.client_of(1);
    scene.get(other, &["/a"]);
    let body = long_body(900_000);
    let text = answer(FRESH, &body);
    let place = scene.place_of("/a");
    let mut sent = scene.respond("/a", &text);
    assert_eq!(scene.times_asked("/a"), 1);
    assert!(sent < text.len(), "the backend is held up");
    scene.advance(1700);
    while sent < text.len() {
        let count = scene.respond_at(place, &text[sent..]);
        assert!(count > 0, "the backend is held up still");
        sent += count;
    }
    assert!(last(&mut scene, other).2 == body);
    assert_eq!(scene.times_asked("/a"), 1);
    // The slow one goes on where it was.
    scene.set_reading(slow, true);
    scene.settle();
    let (status, cache, got) = last(&mut scene, slow);
    assert_eq!((status, cache.as_str()), (200, "fwd=uri-miss; stored"));
    assert!(got == body);
}

#[test]
fn a_slow_reader_holds_nobody_up_where_what_it_began_is_void_or_stale_by_then() {
    for (fresh, unsafe_method) in [("Cache-Control: max-age=1", false), (FRESH, true)] {
        let mut scene = workers(2);
        let slow = scene.client_of(0);
        scene.set_reading(slow, false);
        scene.get(slow, &["/a"]);
        let other = scene.client_of(1);
        scene.get(other, &["/a"]);
        let body = long_body(900_000);
        let text = answer(fresh, &body);
        let place = scene.place_of("/a");
        let mut sent = scene.respond("/a", &text);
        if unsafe_method {
            let third = scene.client_of(1);
            scene.send(third, "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n");
            scene.respond("/a", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        scene.advance(2700);
        while sent < text.len() {
            let count = scene.respond_at(place, &text[sent..]);
            assert!(count > 0, "the backend is held up still");
            sent += count;
        }
        assert!(last(&mut scene, other).2 == body);
        scene.set_reading(slow, true);
        scene.settle();
        assert!(last(&mut scene, slow).2 == body);
    }
}

/// One that may be a stream is not shown as it comes: there another has its turn.
#[test]
fn a_slow_reader_of_what_cannot_be_followed_is_waited_for_no_longer() {
    let mut scene = with_default_ttl();
    let slow = scene.client_of(0);
    scene.set_reading(slow, false);
    scene.get(slow, &["/a"]);
    let other = scene.client_of(1);
    scene.get(other, &["/a"]);
    let body = long_body(900_000);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    scene.respond("/a", format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    assert_eq!(scene.times_asked("/a"), 1);
    scene.advance(1700);
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", answer(FRESH, "short"));
    assert_eq!(last(&mut scene, other).2, "short");
    scene.leave(slow);
}

#[test]
fn a_failure_releases_all() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 4);
    scene.refuse(0, true);
    scene.refuse(1, true);
    scene.reset("/a");
    for client in &clients {
        assert_eq!(last(&mut scene, *client).0, 502);
    }
}

#[test]
fn a_body_that_breaks_off_and_was_not_followed_releases_all() {
    let mut scene = with_default_ttl();
    let clients = crowd(&mut scene, 2, 3);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    scene.respond("/a", format!("{head}9\r\nhal"));
    scene.reset("/a");
    assert_eq!(scene.times_asked("/a"), 3);
    scene.respond("/a", answer(FRESH, "hello"));
    assert!(clients[1..].iter().any(|client| scene.bodies(*client) == ["hello"]));
}

#[test]
fn what_a_dead_worker_was_to_fetch_is_fetched_by_another() {
    let mut scene = workers(2);
    let (dies, lives) = (scene.client_of(1), scene.client_of(0));
    scene.get(dies, &["/a"]);
    scene.get(lives, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 1);
    scene.others.clear();
    scene.seats.segment.reap(1);
    let cache = scene.service.proxy.buffers.caching.as_ref().expect("a cache");
    let waiting = cache.store().directory().cells.reap(1);
    waiting.workers().for_each(|worker| scene.seats.wakers.wake(worker));
    scene.settle();
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", answer(FRESH, "hello"));
    assert_eq!(last(&mut scene, lives).2, "hello");
    scene.forget(dies);
}

#[test]
fn who_wants_something_else_or_for_itself_does_not_wait() {
    let mut scene = workers(2);
    let client = scene.client_of(0);
    scene.get(client, &["/a"]);
    for fields in [
        "Authorization: Basic eA==",
        "If-None-Match: \"e\"",
        "Range: bytes=0-1",
        "Cache-Control: no-store",
        "Cache-Control: no-cache",
    ] {
        let other = scene.client_of(1);
        let before = scene.times_asked("/a");
        ask(&mut scene, other, "/a", fields);
        assert_eq!(scene.times_asked("/a"), before + 1, "{fields}");
    }
    let other = scene.client_of(1);
    scene.get(other, &["/b"]);
    assert_eq!(scene.times_asked("/b"), 1);
}

#[test]
fn what_is_stale_is_asked_for_once() {
    let mut scene = workers(2);
    let client = scene.client_of(0);
    store(&mut scene, client, "/a", "Cache-Control: max-age=60 | ETag: \"e\"", "hello");
    scene.advance(61_000);
    let clients = crowd(&mut scene, 2, 6);
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n");
    assert_eq!(last(&mut scene, clients[0]).1, "fwd=stale; fwd-status=304; stored");
    for client in &clients[1..] {
        assert_eq!(last(&mut scene, *client), is(200, "fwd=stale; collapsed", "hello"));
    }
    assert_eq!(scene.times_asked("/a"), 2);
}

/// Those who wait for a fetch hold no place at a backend that the one who fetches may wait for: nobody
/// waits in a circle.
#[test]
fn behind_one_that_waits_nothing_is_sent_to_backends() {
    let mut scene = workers(2);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/a"]);
    scene.get(other, &["/a", "/b"]);
    assert_eq!(scene.asked(), ["/a"]);
    scene.respond("/a", answer(FRESH, "hello"));
    scene.answer("/b", "b");
    assert_eq!(scene.bodies(other), ["hello", "b"]);
}

#[test]
fn one_that_is_not_first_asks_for_itself_alone() {
    let mut scene = workers(2);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/slow", "/a"]);
    scene.get(other, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 2, "else the other would wait for the slow one");
    scene.respond("/a", answer(FRESH, "hello"));
    assert_eq!(last(&mut scene, other).2, "hello");
}

#[test]
fn what_comes_stale_already_is_waited_for_once() {
    let mut scene = workers(2);
    let clients = crowd(&mut scene, 2, 5);
    let old = "Cache-Control: max-age=60 | Age: 100 | ETag: \"e\"";
    scene.respond("/a", answer(old, "hello"));
    assert_eq!(scene.times_asked("/a"), 5, "all others at once");
    drop(clients);
}

/// Two workers where answers that say nothing are fresh for a minute.
fn with_default_ttl() -> Scene {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.cache.as_mut().expect("a cache").default_ttl = Millis(60_000);
        config.max_connections = 40;
    };
    Scene::of_workers(2, 2, configure, |_| ())
}

#[test]
fn a_stream_of_events_releases_all_at_its_head() {
    for fields in [
        "Content-Type: text/event-stream",
        "Content-Type: text/event-stream | Cache-Control: max-age=60",
        "Content-Type: multipart/x-mixed-replace; boundary=b",
        "Content-Type: application/x-ndjson",
        "Content-Type: application/GRPC-web",
        "Content-Type: application/json-seq | Expires: Fri, 01 Jan 2100 00:00:00 GMT",
    ] {
        let mut scene = with_default_ttl();
        let clients = crowd(&mut scene, 2, 4);
        let lines = fields.replace(" | ", "\r\n");
        scene.respond(
            "/a",
            format!("HTTP/1.1 200 OK\r\n{lines}\r\nTransfer-Encoding: chunked\r\n\r\n"),
        );
        assert_eq!(scene.times_asked("/a"), 4, "{fields}");
        let late = scene.client_of(1);
        scene.get(late, &["/a"]);
        assert_eq!(scene.times_asked("/a"), 5, "{fields}");
        drop(clients);
    }
}

#[test]
fn what_has_no_end_in_sight_releases_all() {
    let mut scene = with_default_ttl();
    let clients = crowd(&mut scene, 2, 4);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    scene.respond("/a", format!("{head}5\r\nhello\r\n"));
    assert_eq!(scene.times_asked("/a"), 1, "it may end at any moment");
    scene.advance(1700);
    assert_eq!(scene.times_asked("/a"), 4);
    let late = scene.client_of(1);
    scene.get(late, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 5);
    drop(clients);
}

/// A page without a length that only `default_ttl` stores is waited for as long as pages take.
#[test]
fn what_only_the_operator_calls_fresh_has_shown_soon_whether_it_ends() {
    let endless = |fields: &str| {
        let mut scene = with_default_ttl();
        let clients = crowd(&mut scene, 2, 4);
        let place = scene.place_of("/a");
        scene.respond(
            "/a",
            format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"),
        );
        let mut asked = Vec::new();
        for _ in 0..40 {
            scene.respond_at(place, "5\r\nhello\r\n");
            scene.advance(25);
            asked.push(scene.times_asked("/a"));
        }
        drop(clients);
        asked
    };
    let asked = endless("");
    assert_eq!((asked[7], asked[32]), (1, 4), "after 200 and after 800 ms: {asked:?}");
    assert_eq!(endless("Cache-Control: max-age=60\r\n")[39], 1);

    let mut scene = with_default_ttl();
    let clients = crowd(&mut scene, 2, 4);
    let place = scene.place_of("/a");
    scene.respond("/a", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    scene.advance(100);
    scene.respond_at(place, "0\r\n\r\n");
    for client in &clients[1..] {
        assert_eq!(last(&mut scene, *client).2, "hello");
    }
    assert_eq!(scene.times_asked("/a"), 1);
}

#[test]
fn what_goes_on_and_on_is_waited_for_by_nobody_who_comes_later() {
    let mut scene = with_default_ttl();
    let clients = crowd(&mut scene, 2, 2);
    let place = scene.place_of("/a");
    scene.respond("/a", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..30 {
        scene.respond_at(place, "5\r\nhello\r\n");
        scene.advance(200);
    }
    let asked = scene.times_asked("/a");
    let late = scene.client_of(1);
    scene.get(late, &["/a"]);
    assert_eq!(scene.times_asked("/a"), asked + 1, "at once");
    // But once it has come to an end after all, it is stored.
    scene.respond_at(place, "0\r\n\r\n");
    let after = scene.client_of(0);
    scene.get(after, &["/a"]);
    assert_eq!(last(&mut scene, after).2, "hello".repeat(30));
    drop(clients);
}
