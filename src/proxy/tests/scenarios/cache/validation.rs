//! Stored answers that a backend is asked about, and what makes them void.

use super::*;

const BOTH: &str = "Cache-Control: max-age=60 | ETag: \"e\" | \
                    Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT | X-A: old";
const CONFIRMED: &str = "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n";

/// A scene where `/a` is stored, and stale.
fn stale(fields: &str, body: &str) -> (Scene, usize) {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", fields, body);
    scene.advance(61_000);
    let client = scene.client();
    (scene, client)
}

#[test]
fn what_is_stale_is_asked_about_and_answers_when_it_was_confirmed() {
    for body in [String::from("hello"), long_body(200_000)] {
        let (mut scene, client) = stale(BOTH, &body);
        ask(&mut scene, client, "/a", "Range: bytes=0-1 | If-Range: \"e\" | X-Own: 1");
        let head = &scene.request("/a").head;
        assert_eq!(head.get("if-none-match"), Some("\"e\""));
        assert_eq!(head.get("if-modified-since"), Some("Thu, 01 Jan 2015 00:00:00 GMT"));
        assert_eq!((head.get("range"), head.get("if-range")), (None, None));
        assert_eq!(head.get("x-own"), Some("1"));
        scene.respond(
            "/a",
            CONFIRMED.replace("\r\n\r\n", "\r\nX-A: new\r\nContent-Length: 7\r\n\r\n"),
        );
        let (status, cache, got) = last(&mut scene, client);
        assert_eq!((status, cache.as_str()), (206, "fwd=stale; fwd-status=304; stored"));
        assert_eq!(got, body[..2]);
        scene.settle();
        scene.get(client, &["/a"]);
        let (status, cache, got) = last(&mut scene, client);
        assert_eq!((status, cache.as_str()), (200, "hit; ttl=60"));
        assert!(got == body);
        assert_eq!(last_field(&mut scene, client, "x-a").as_deref(), Some("new"));
        assert_eq!(scene.times_asked("/a"), 2);
        assert_eq!(counted(&scene), [1, 1, 0, 1, 0, 0]);
        // The connection is free for others.
        scene.warm_up(client, "/b");
        assert_eq!(scene.place_of("/b"), scene.place_of("/a"));
    }
}

#[test]
fn the_clients_own_condition_is_judged_by_what_was_confirmed() {
    let (mut scene, client) = stale(BOTH, "hello");
    ask(&mut scene, client, "/a", "If-None-Match: \"e\"");
    assert_eq!(scene.request("/a").head.get("if-none-match"), Some("\"e\""));
    scene.respond("/a", CONFIRMED);
    assert_eq!(last(&mut scene, client), is(304, "fwd=stale; fwd-status=304; stored", ""));
}

#[test]
fn another_answer_takes_the_place_of_what_was_asked_about() {
    let (mut scene, client) = stale(BOTH, "hello");
    scene.get(client, &["/a"]);
    scene.respond("/a", answer("Cache-Control: max-age=60 | ETag: \"f\"", "new"));
    assert_eq!(last(&mut scene, client), is(200, "fwd=stale; stored", "new"));
    scene.get(client, &["/a"]);
    assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", "new"));
}

/// RFC 9111 §4.3.4.
#[test]
fn a_304_that_speaks_of_another_answer_is_none() {
    let (mut scene, client) = stale(BOTH, "hello");
    scene.get(client, &["/a"]);
    scene.respond("/a", "HTTP/1.1 304 Not Modified\r\nETag: \"f\"\r\n\r\n");
    assert_eq!(scene.times_asked("/a"), 3);
    assert_eq!(scene.request("/a").head.get("if-none-match"), None);
    scene.respond("/a", answer("Cache-Control: max-age=60 | ETag: \"f\"", "new"));
    assert_eq!(last(&mut scene, client), is(200, "fwd=stale; stored", "new"));
}

/// docs/CACHE.md, rule 9.
#[test]
fn no_cache_is_asked_about_each_time() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", "Cache-Control: no-cache | ETag: \"e\"", "hello");
    for _ in 0..3 {
        scene.get(client, &["/a"]);
        scene.respond("/a", CONFIRMED);
        assert_eq!(last(&mut scene, client).1, "fwd=stale; fwd-status=304; stored");
        assert_eq!(last(&mut scene, client).2, "hello");
    }
    // Nobody waits for what is of no use to him.
    let others = [scene.client(), scene.client()];
    for other in others {
        scene.get(other, &["/a"]);
    }
    assert_eq!(scene.times_asked("/a"), 6);
    scene.respond("/a", CONFIRMED);
}

/// docs/CACHE.md, rule 14.
#[test]
fn a_client_may_want_it_new() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", BOTH, "hello");
    scene.advance(10_000);
    for wish in ["no-cache", "max-age=5", "min-fresh=55"] {
        ask(&mut scene, client, "/a", &format!("Cache-Control: {wish}"));
        scene.respond("/a", answer(BOTH, "hello"));
        assert_eq!(last(&mut scene, client), is(200, "fwd=request; stored", "hello"), "{wish}");
        scene.advance(10_000);
    }
    ask(&mut scene, client, "/a", "Cache-Control: max-stale, max-age=70");
    assert_eq!(last(&mut scene, client).1, "hit; ttl=50");
    scene.advance(55_000);
    let late = scene.client();
    ask(&mut scene, late, "/a", "Cache-Control: max-stale=30");
    assert_eq!(last(&mut scene, late), is(200, "hit; ttl=-5", "hello"));
    assert_eq!(counted(&scene), [1, 4, 1, 0, 0, 0]);
}

#[test]
fn without_a_validator_it_is_asked_for_anew() {
    let (mut scene, client) = stale(FRESH, "hello");
    ask(&mut scene, client, "/a", "If-None-Match: \"x\"");
    assert_eq!(scene.request("/a").head.get("if-none-match"), Some("\"x\""));
    scene.respond("/a", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    assert_eq!(last(&mut scene, client), is(304, "fwd=stale", ""));
}

#[test]
fn a_request_that_is_not_first_may_ask_about_what_is_stored() {
    let mut scene = Scene::with(2, with_cache, |_| ());
    let client = scene.client();
    store(&mut scene, client, "/a", BOTH, "hello");
    scene.advance(61_000);
    let client = scene.client();
    scene.get(client, &["/first", "/a", "/last"]);
    scene.respond("/a", CONFIRMED);
    scene.answer("/last", "last");
    scene.answer("/first", "first");
    assert_eq!(scene.bodies(client), ["first", "hello", "last"]);
}

#[test]
fn a_question_is_repeated_as_it_was() {
    let (mut scene, client) = stale(BOTH, "hello");
    scene.get(client, &["/a"]);
    scene.reset("/a");
    assert_eq!(scene.times_asked("/a"), 3);
    assert_eq!(scene.request("/a").head.get("if-none-match"), Some("\"e\""));
    scene.respond("/a", CONFIRMED);
    assert_eq!(last(&mut scene, client).2, "hello");
}

/// docs/CACHE.md, rule 10.
#[test]
fn what_changes_something_makes_void_what_is_stored() {
    for (method, status, fields, gone) in [
        ("POST", "200 OK", "", &["/a"][..]),
        (
            "DELETE",
            "302 Found",
            "Location: /b\r\nContent-Location: http://a/c\r\n",
            &["/a", "/b", "/c"],
        ),
        ("PUT", "201 Created", "Location: http://other/b\r\n", &["/a"]),
        ("M-SEARCH", "204 None", "", &["/a"]),
        ("POST", "500 No", "", &[]),
        ("POST", "404 No", "Location: /b\r\n", &[]),
        ("OPTIONS", "200 OK", "", &[]),
    ] {
        let mut scene = workers(2);
        let client = scene.client_of(1);
        for path in ["/a", "/b", "/c"] {
            store(&mut scene, client, path, FRESH, "hello");
        }
        let other = scene.client_of(0);
        scene.send(
            other,
            format!("{method} /a HTTP/1.1\r\nHost: A:80\r\nContent-Length: 0\r\n\r\n"),
        );
        let length = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        scene.respond("/a", format!("HTTP/1.1 {status}\r\n{fields}{length}\r\n"));
        let before = scene.asked().len();
        for path in ["/a", "/b", "/c"] {
            let client = scene.client_of(1);
            scene.get(client, &[path]);
        }
        assert_eq!(scene.asked()[before..], *gone, "{method} {status}");
    }
}

#[test]
fn what_was_asked_for_before_a_change_is_not_stored_after_it() {
    let mut scene = workers(2);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/a"]);
    let read = scene.place_of("/a");
    scene.send(other, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_ne!(scene.place_of("/a"), read);
    scene.answer("/a", "");
    scene.respond_at(read, answer(FRESH, "old"));
    assert_eq!(last(&mut scene, one).2, "old");
    scene.get(other, &["/a"]);
    assert_eq!(scene.times_asked("/a"), 3);
    scene.answer("/a", "new");
}

/// A client asks for the head of `/a` past what is stored, and gets one with these fields.
fn ask_for_head(scene: &mut Scene, client: usize, fields: &str) {
    scene.send(client, "HEAD /a HTTP/1.1\r\nHost: a\r\nCache-Control: no-cache\r\n\r\n");
    let lines = fields.replace(" | ", "\r\n");
    scene.respond("/a", format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"));
}

/// RFC 9111 §4.3.5.
#[test]
fn a_head_that_confirms_what_is_stored_renews_it() {
    for body in [String::from("hello"), long_body(200_000)] {
        let (mut scene, client) = stale(BOTH, &body);
        let length = body.len();
        ask_for_head(
            &mut scene,
            client,
            &format!(
                "ETag: \"e\" | X-A: new | Cache-Control: max-age=99 | Content-Length: {length}"
            ),
        );
        scene.settle();
        let other = scene.client();
        scene.get(other, &["/a"]);
        let (status, cache, got) = last(&mut scene, other);
        assert_eq!((status, cache.as_str(), got == body), (200, "hit; ttl=99", true));
        assert_eq!(last_field(&mut scene, other, "x-a").as_deref(), Some("new"));
        assert_eq!(scene.times_asked("/a"), 2);
    }
}

/// RFC 9111 §4.3.5.
#[test]
fn a_head_that_tells_of_another_answer_makes_what_is_stored_stale() {
    for (body, why) in [(String::from("hello"), "stale"), (long_body(200_000), "uri-miss")] {
        for head in ["ETag: \"f\"", "ETag: \"e\" | Content-Length: 7"] {
            let mut scene = scene();
            let client = scene.client();
            store(
                &mut scene,
                client,
                "/a",
                "Cache-Control: max-age=60, stale-while-revalidate=60 | ETag: \"e\"",
                &body,
            );
            let client = scene.client();
            ask_for_head(&mut scene, client, &format!("{head} | Cache-Control: max-age=60"));
            let other = scene.client();
            scene.get(other, &["/a"]);
            assert_eq!(scene.times_asked("/a"), 3, "{head}");
            scene.respond("/a", answer("Cache-Control: max-age=60 | ETag: \"f\"", "new"));
            assert_eq!(last(&mut scene, other), is(200, &format!("fwd={why}; stored"), "new"));
        }
    }
}

#[test]
fn a_head_that_tells_nothing_or_for_one_user_changes_nothing() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", &format!("{BOTH} | Cache-Control: public"), "hello");
    scene.advance(10_000);
    let client = scene.client();
    ask_for_head(&mut scene, client, "X-A: new | Content-Length: 5");
    scene.send(
        client,
        "HEAD /a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\n\
         Cache-Control: no-cache\r\n\r\n",
    );
    scene.respond("/a", "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nX-A: own\r\n\r\n");
    let other = scene.client();
    scene.get(other, &["/a"]);
    assert_eq!(last(&mut scene, other), is(200, "hit; ttl=50", "hello"));
    assert_eq!(last_field(&mut scene, other, "x-a").as_deref(), Some("old"));
}
