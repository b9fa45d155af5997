//! Stale answers: while they are asked for anew, and where backends fail. RFC 5861.

use super::*;
use crate::proxy::Service;
use crate::sys::world::End;

const REFRESHED: &str = "Cache-Control: max-age=60, stale-while-revalidate=30 | ETag: \"e\"";

/// A scene where `/a` is stored, and has been stale for five seconds; and two clients.
fn stale(fields: &str) -> (Scene, usize, usize) {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", fields, "old");
    scene.advance(65_000);
    let clients = (scene.client(), scene.client());
    (scene, clients.0, clients.1)
}

#[test]
fn a_stale_answer_is_given_at_once_and_asked_for_anew_behind_it() {
    let (mut scene, one, other) = stale(REFRESHED);
    ask(&mut scene, one, "/a", "If-None-Match: \"x\" | Range: bytes=0-1 | X-Own: 1");
    assert_eq!(last(&mut scene, one), is(206, "hit; ttl=-5", "ol"));
    let head = &scene.request("/a").head;
    assert_eq!((head.get("if-none-match"), head.get("range")), (Some("\"e\""), None));
    assert_eq!(head.get("x-own"), Some("1"));
    assert!(head.get("x-request-id").is_some());
    for client in [one, other, one] {
        scene.get(client, &["/a"]);
        assert_eq!(last(&mut scene, client), is(200, "hit; ttl=-5", "old"));
    }
    assert_eq!(scene.times_asked("/a"), 2, "one asks anew, and no more");
    scene.respond("/a", answer(FRESH, "new"));
    scene.get(other, &["/a"]);
    assert_eq!(last(&mut scene, other), is(200, "hit; ttl=60", "new"));
    assert_eq!(counted(&scene), [1, 1, 4, 0, 0, 0]);
    assert_eq!(scene.seats.segment.total(Counter::Requests), 6);
}

#[test]
fn what_is_confirmed_behind_an_answer_is_fresh_again() {
    let (mut scene, one, _) = stale(REFRESHED);
    scene.get(one, &["/a"]);
    scene.respond("/a", "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n");
    scene.get(one, &["/a"]);
    assert_eq!(last(&mut scene, one), is(200, "hit; ttl=60", "old"));
    assert_eq!(scene.seats.segment.clients(), 2, "nobody is gone");
    scene.warm_up(one, "/b");
    assert_eq!(scene.place_of("/b"), scene.place_of("/a"));
}

/// RFC 9111 §5.2.1.5, §5.2.1.7.
#[test]
fn nothing_is_asked_behind_the_answer_where_the_client_forbids_it() {
    for directive in ["only-if-cached", "no-store"] {
        let (mut scene, one, other) = stale(REFRESHED);
        ask(&mut scene, one, "/a", &format!("Cache-Control: {directive}"));
        assert_eq!(last(&mut scene, one), is(200, "hit; ttl=-5", "old"));
        assert_eq!(scene.times_asked("/a"), 1, "{directive}");
        scene.get(other, &["/a"]);
        assert_eq!(scene.times_asked("/a"), 2, "{directive}");
    }
}

#[test]
fn without_a_validator_it_is_asked_for_whole() {
    let body = long_body(300_000);
    let (mut scene, one, other) = stale("Cache-Control: max-age=60, stale-while-revalidate=30");
    ask(&mut scene, one, "/a", "Range: bytes=0-1 | If-None-Match: \"x\"");
    scene.leave(one);
    assert_eq!(scene.request("/a").head.get("if-none-match"), None);
    assert_eq!(scene.request("/a").head.get("range"), None);
    scene.respond("/a", answer(FRESH, &body));
    scene.get(other, &["/a"]);
    assert!(last(&mut scene, other).2 == body);
    assert_eq!(scene.times_asked("/a"), 2);
}

#[test]
fn what_cannot_be_stored_ends_behind_the_answer_as_soon_as_that_is_clear() {
    for head in [
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1000000\r\n\r\nx",
        "HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nx",
    ] {
        let (mut scene, one, _) = stale(REFRESHED);
        scene.get(one, &["/a"]);
        scene.respond("/a", head);
        assert!(!scene.place_is_open("/a"));
        assert_eq!(scene.seats.segment.clients(), 2);
        assert_eq!(scene.bodies(one), ["old"]);
    }
}

#[test]
fn a_failure_behind_an_answer_harms_nobody() {
    let (mut scene, one, other) = stale(REFRESHED);
    scene.refuse(0, true);
    for client in [one, other, one] {
        scene.get(client, &["/a"]);
        assert_eq!(last(&mut scene, client).2, "old");
    }
    assert_eq!(scene.seats.segment.clients(), 2);
    // Beyond the window it is asked for in front of the answer.
    scene.refuse(0, false);
    scene.advance(30_000);
    let late = scene.client();
    scene.get(late, &["/a"]);
    scene.respond("/a", answer(FRESH, "new"));
    assert_eq!(last(&mut scene, late), is(200, "fwd=stale; stored", "new"));
}

#[test]
fn what_grows_too_large_behind_an_answer_ends() {
    let (mut scene, one, _) = stale(REFRESHED);
    scene.get(one, &["/a"]);
    scene
        .respond("/a", format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, long_body(100_000));
    for _ in 0..12 {
        if scene.place_is_open("/a") {
            scene.respond("/a", &chunk);
        }
    }
    assert!(!scene.place_is_open("/a"));
    assert_eq!(scene.seats.segment.clients(), 2);
}

#[test]
fn one_that_hangs_behind_an_answer_comes_to_an_end() {
    let (mut scene, one, _) = stale(REFRESHED);
    scene.get(one, &["/a"]);
    assert_eq!(
        (scene.seats.segment.clients(), scene.service.proxy.downstream.background()),
        (2, 1)
    );
    scene.advance(70_000);
    assert_eq!(
        (scene.seats.segment.clients(), scene.service.proxy.downstream.background()),
        (0, 0)
    );
}

#[test]
fn a_service_that_stops_does_not_wait_for_what_nobody_wants() {
    let (mut scene, one, other) = stale(REFRESHED);
    scene.get(one, &["/a"]);
    scene.leave(one);
    scene.leave(other);
    assert_eq!(
        (scene.seats.segment.clients(), scene.service.proxy.downstream.background()),
        (0, 1)
    );
    scene.service.proxy.become_service(Service::Draining);
    assert!(scene.service.proxy.is_empty());
}

#[test]
fn what_is_revalidated_takes_no_room_from_clients() {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.max_connections = 1;
    };
    let mut scene = Scene::with(1, configure, |_| ());
    let client = scene.client();
    store(&mut scene, client, "/a", REFRESHED, "old");
    scene.leave(client);
    scene.advance(65_000);
    let client = scene.client();
    scene.get(client, &["/a"]);
    assert_eq!(last(&mut scene, client).2, "old");
    assert_eq!((scene.times_asked("/a"), scene.seats.segment.clients()), (2, 1));
    scene.respond("/a", answer(FRESH, "new"));
    scene.get(client, &["/a"]);
    assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", "new"));
    assert_eq!(scene.service.proxy.downstream.background(), 0);
}

/// docs/CACHE.md, rule 13.
#[test]
fn a_broken_connection_leaves_the_stale_answer_unless_it_forbids_that() {
    for (fields, serves) in [
        ("Cache-Control: max-age=60", true),
        ("Cache-Control: max-age=60 | ETag: \"e\"", true),
        ("Cache-Control: max-age=60, stale-if-error=10", true),
        ("Cache-Control: max-age=60, stale-if-error=3", false),
        ("Cache-Control: max-age=60, must-revalidate", false),
        ("Cache-Control: max-age=60, proxy-revalidate", false),
        ("Cache-Control: s-maxage=60", false),
        ("Cache-Control: no-cache, stale-if-error=100 | ETag: \"e\"", false),
    ] {
        let (mut scene, one, _) = stale(fields);
        scene.refuse(0, true);
        scene.hang_up("/a");
        scene.get(one, &["/a"]);
        let expected = if serves { is(200, "fwd=stale", "old") } else { is(502, "fwd=stale", "") };
        let got = last(&mut scene, one);
        assert_eq!((got.0, got.1), (expected.0, expected.1), "{fields}");
        assert!(!serves || got.2 == "old");
        assert_eq!(counted(&scene)[2], u64::from(serves), "{fields}");
    }
}

#[test]
fn a_backend_in_trouble_leaves_the_stale_answer_where_that_is_allowed() {
    for (fields, status, serves) in [
        ("Cache-Control: max-age=60, stale-if-error=10", 503, true),
        ("Cache-Control: max-age=60, stale-if-error=10 | ETag: \"e\"", 500, true),
        ("Cache-Control: max-age=60, stale-if-error=3", 503, false),
        ("Cache-Control: max-age=60, stale-if-error=10", 404, false),
        ("Cache-Control: max-age=60", 503, false),
        ("Cache-Control: max-age=60, stale-if-error=10, must-revalidate", 503, false),
    ] {
        let (mut scene, one, _) = stale(fields);
        scene.get(one, &["/a", "/b"]);
        scene.respond("/a", format!("HTTP/1.1 {status} No\r\nContent-Length: 5\r\n\r\nwoe!!"));
        scene.answer("/b", "b");
        let bodies = scene.bodies(one);
        assert_eq!(bodies, [if serves { "old" } else { "woe!!" }, "b"], "{fields} {status}");
        assert_eq!(scene.end_of(one), End::Open);
        if serves {
            let told = format!("fwd=stale; fwd-status={status}");
            assert!(scene.received(one).contains(&told), "{fields}");
        }
    }
}

#[test]
fn one_that_is_late_leaves_the_stale_answer_where_that_is_allowed() {
    for (fields, status) in
        [("Cache-Control: max-age=60, stale-if-error=90", 200), ("Cache-Control: max-age=60", 504)]
    {
        let (mut scene, one, _) = stale(fields);
        scene.get(one, &["/a"]);
        scene.advance(70_000);
        assert_eq!(last(&mut scene, one).0, status, "{fields}");
    }
}

/// docs/CACHE.md, rule 21.
#[test]
fn a_head_decides_nothing_about_what_is_stale() {
    let (mut scene, one, other) = stale(REFRESHED);
    scene.send(one, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(scene.times_asked("/a"), 1, "what answers HEAD could not be stored");
    scene.get(other, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 2, "and the next GET asks anew");
    scene.respond("/a", answer(FRESH, "new"));
    let late = scene.client();
    scene.get(late, &["/a"]);
    assert_eq!(last(&mut scene, late), is(200, "hit; ttl=60", "new"));
}

#[test]
fn one_with_credentials_keeps_nobody_from_asking_anew() {
    let (mut scene, one, other) =
        stale("Cache-Control: public, max-age=60, stale-while-revalidate=30");
    ask(&mut scene, one, "/a", "Authorization: Basic eA==");
    scene.respond("/a", answer(FRESH, "its own"));
    scene.get(other, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 3, "what was its own was not stored");
    assert_eq!(last(&mut scene, other).2, "old");
    scene.respond("/a", answer(FRESH, "new"));
    let late = scene.client();
    scene.get(late, &["/a"]);
    assert_eq!(last(&mut scene, late).2, "new");
}

#[test]
fn few_are_asked_for_anew_at_once_and_the_others_stay_stale() {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.max_connections = 64;
    };
    let mut scene = Scene::with(1, configure, |_| ());
    let client = scene.client();
    let paths: Vec<String> = (0..20).map(|number| format!("/{number}")).collect();
    for path in &paths {
        store(&mut scene, client, path, REFRESHED, path);
    }
    scene.advance(65_000);
    let client = scene.client();
    for path in &paths {
        scene.get(client, &[path]);
        assert_eq!(last(&mut scene, client).2, *path, "stale, at once");
    }
    let asked_anew =
        |scene: &Scene| paths.iter().filter(|path| scene.times_asked(path) == 2).count();
    assert_eq!(asked_anew(&scene), 4, "a sixteenth of max_connections");
    assert_eq!(
        (scene.seats.segment.clients(), scene.service.proxy.downstream.background()),
        (1, 4)
    );
    // When one has come to its end, another has its turn.
    scene.respond("/0", answer(FRESH, "new"));
    scene.get(client, &["/19"]);
    assert_eq!((asked_anew(&scene), scene.times_asked("/19")), (5, 2));
}
