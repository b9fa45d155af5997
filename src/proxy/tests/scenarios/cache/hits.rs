//! Answers out of the store.

use super::*;
use crate::policy::reason::Reason;
use crate::sys::world;

#[test]
fn what_was_stored_is_answered_without_a_backend() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "hello");
    assert_eq!(last(&mut scene, client), is(200, "fwd=uri-miss; stored", "hello"));
    scene.advance(3000);
    let other = scene.client();
    ask(&mut scene, other, "/a", "X-Request-ID: own-7");
    assert_eq!(last(&mut scene, other), is(200, "hit; ttl=57", "hello"));
    assert_eq!(last_field(&mut scene, other, "age").as_deref(), Some("3"));
    assert_eq!(last_field(&mut scene, other, "x-request-id").as_deref(), Some("own-7"));
    assert_eq!(last_field(&mut scene, other, "cache-control").as_deref(), Some("max-age=60"));
    assert_eq!(scene.times_asked("/a"), 1);
    assert_eq!(counted(&scene), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn a_hit_costs_one_call_to_receive_and_one_to_send() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "hello");
    scene.get(client, &["/a"]);
    let before = world::calls();
    scene.get(client, &["/a"]);
    let after = world::calls();
    assert_eq!(after.receive - before.receive, 1);
    assert_eq!(after.send - before.send, 1);
    assert_eq!(after.disk - before.disk, 0);
    assert_eq!(scene.bodies(client).len(), 3);
}

#[test]
fn a_large_body_goes_from_the_file_past_the_rings() {
    for len in [3000, 5000, 16_000, 17_000, 100_000, 900_000] {
        let mut scene = scene();
        let client = scene.client();
        let body = long_body(len);
        store(&mut scene, client, "/a", FRESH, &body);
        for _ in 0..2 {
            scene.get(client, &["/a"]);
            let (status, cache, got) = last(&mut scene, client);
            assert_eq!((status, cache.as_str()), (200, "hit; ttl=60"), "{len}");
            assert!(got == body, "{len}");
        }
        assert_eq!(scene.times_asked("/a"), 1);
        assert_eq!(world::calls().sendfile > 0, len > 16_384, "{len}");
    }
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it_also_where_sendfile_is_refused() {
    for (len, refuses_sendfile) in [(15_000, 0), (300_000, 0), (300_000, 1), (300_000, 3)] {
        let mut scene = scene();
        world::change_faults(|faults| faults.refuses_sendfile = refuses_sendfile);
        let client = scene.client();
        let body = long_body(len);
        store(&mut scene, client, "/a", FRESH, &body);
        let slow = scene.client();
        scene.set_reading(slow, false);
        world::change_faults(|faults| faults.short_writes = true);
        scene.get(slow, &["/a", "/a"]);
        scene.advance(500);
        scene.set_reading(slow, true);
        scene.settle();
        assert!(scene.bodies(slow) == [body.clone(), body], "{len}");
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn one_that_stops_reading_is_cut_off_after_a_while() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, &long_body(900_000));
    let stuck = scene.client();
    scene.set_reading(stuck, false);
    scene.get(stuck, &["/a"]);
    scene.advance(120_000);
    assert_eq!(scene.seats.segment.clients(), 0, "the other was idle for too long");
    scene.set_reading(stuck, true);
    assert!(last(&mut scene, stuck).2.len() < 900_000);
}

#[test]
fn head_is_answered_by_a_stored_get_and_never_stored() {
    let mut scene = scene();
    let client = scene.client();
    scene.send(client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.respond("/a", format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nContent-Length: 5\r\n\r\n"));
    assert!(scene.received(client).contains("Cache-Status: httplb; fwd=uri-miss\r\n"));
    store(&mut scene, client, "/a", FRESH, "hello");
    assert_eq!(scene.times_asked("/a"), 2);
    let other = scene.client();
    scene.send(other, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let received = scene.received(other);
    assert!(received.contains("Content-Length: 5\r\n") && received.contains("hit; ttl=60"));
    assert!(received.ends_with("\r\n\r\n"), "{received}");
    scene.get(other, &["/a"]);
    assert!(scene.received(other).ends_with("\r\n\r\nhello"));
}

#[test]
fn conditions_are_judged_by_what_is_stored() {
    let mut scene = scene();
    let client = scene.client();
    let fields = "Cache-Control: max-age=60 | ETag: \"e\" | Content-Type: text/plain";
    store(&mut scene, client, "/a", fields, "hello");
    ask(&mut scene, client, "/a", "If-None-Match: \"x\", W/\"e\"");
    assert_eq!(last(&mut scene, client), is(304, "hit; ttl=60", ""));
    assert_eq!(last_field(&mut scene, client, "content-type"), None);
    ask(&mut scene, client, "/a", "If-None-Match: \"x\"");
    assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", "hello"));
    assert_eq!(scene.times_asked("/a"), 1);
    // Only the origin may judge this one.
    ask(&mut scene, client, "/a", "If-Match: \"e\"");
    assert_eq!(scene.times_asked("/a"), 2);
    scene.respond("/a", answer(fields, "hello"));
    assert_eq!(last(&mut scene, client).1, "fwd=bypass; stored");
}

#[test]
fn parts_are_cut_out_of_a_stored_whole() {
    for len in [1000, 200_000] {
        let mut scene = scene();
        let client = scene.client();
        let body = long_body(len);
        store(&mut scene, client, "/a", "Cache-Control: max-age=60 | ETag: \"e\"", &body);
        for (range, expected) in
            [("0-99", &body[..100]), ("-7", &body[len - 7..]), ("500-", &body[500..])]
        {
            ask(&mut scene, client, "/a", &format!("Range: bytes={range}"));
            let (status, _, got) = last(&mut scene, client);
            assert!(status == 206 && got == expected, "{range} of {len}");
        }
        ask(&mut scene, client, "/a", &format!("Range: bytes={len}-"));
        assert_eq!(last(&mut scene, client).0, 416);
        ask(&mut scene, client, "/a", "Range: bytes=0-9 | If-Range: \"other\"");
        assert!(last(&mut scene, client).2 == body);
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn pipelined_answers_keep_their_order_whoever_gives_them() {
    let mut scene = Scene::with(
        2,
        |config| {
            with_cache(config);
            config.pipeline = 8;
        },
        |_| (),
    );
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "stored");
    scene.get(client, &["/a", "/b", "/a", "/c", "/a"]);
    let mut asked = scene.asked();
    asked.sort();
    assert_eq!(asked, ["/a", "/b", "/c"], "the misses run beside each other");
    scene.answer("/c", "c");
    assert_eq!(scene.bodies(client), ["stored", "stored"]);
    scene.answer("/b", "b");
    assert_eq!(scene.bodies(client)[1..], ["stored", "b", "stored", "c", "stored"]);
}

#[test]
fn the_log_tells_where_an_answer_came_from() {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.access_log = crate::config::AccessLog::Path("/log".into());
    };
    let mut scene = Scene::with(1, configure, |_| ());
    let client = scene.client();
    store(&mut scene, client, "/a", "Cache-Control: max-age=60, stale-while-revalidate=9", "hello");
    scene.get(client, &["/a"]);
    scene.advance(65_000);
    let client = scene.client();
    scene.get(client, &["/a"]);
    scene.respond("/a", answer("Cache-Control: no-cache | ETag: \"e\"", "hello"));
    scene.get(client, &["/a"]);
    scene.respond("/a", "HTTP/1.1 304 Not Modified\r\n\r\n");
    scene.send(client, "OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.respond("/a", answer(FRESH, "hello"));
    scene.service.proxy.flush_log();
    let log = String::from_utf8(world::take_log("/log")).expect("UTF-8");
    let words: Vec<_> = log
        .lines()
        .map(|line| line.split("\"cache\":\"").nth(1).map(|rest| rest.split('"').next()))
        .collect();
    let expected = ["miss", "hit", "stale", "revalidated"].map(|word| Some(Some(word)));
    assert_eq!(words, [&expected[..], &[None]].concat(), "and nothing of what nobody asked for");
    assert!(log.lines().nth(1).is_some_and(|line| line.contains("\"bytes_out\":")));
    assert!(!log.lines().nth(1).is_some_and(|line| line.contains("\"backend\":")));
}

#[test]
fn what_is_asked_for_again_and_again_costs_no_look_at_the_disk() {
    let mut scene = scene();
    let client = scene.client();
    let before = world::calls().disk;
    for _ in 0..3 {
        store(&mut scene, client, "/a", "Cache-Control: private", "hello");
    }
    assert_eq!(world::calls().disk, before);
}

#[test]
fn other_requests_pass_by_the_cache() {
    let mut scene = scene();
    let client = scene.client();
    for (method, fields, status) in [
        ("POST", "Content-Length: 0\r\n", "fwd=method"),
        ("OPTIONS", "", "fwd=method"),
        ("GET", "Content-Length: 1\r\n", "fwd=bypass"),
    ] {
        let body = if status == "fwd=bypass" { "x" } else { "" };
        scene.send(client, format!("{method} /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"));
        scene.respond("/a", answer(FRESH, "hello"));
        assert_eq!(last(&mut scene, client), is(200, status, "hello"));
    }
    assert_eq!(scene.times_asked("/a"), 3);
    assert_eq!(counted(&scene), [0, 0, 0, 0, 3, 0]);
}

#[test]
fn only_if_cached_asks_no_backend() {
    let mut scene = scene();
    let client = scene.client();
    ask(&mut scene, client, "/a", "Cache-Control: only-if-cached");
    let (status, cache, _) = last(&mut scene, client);
    assert_eq!((status, cache.as_str()), (504, "detail=only-if-cached"));
    let total = |reason| scene.seats.segment.total(Counter::Errors(reason));
    let (asked, failed) = (total(Reason::RequestError), total(Reason::DestinationUnavailable));
    assert_eq!((asked, failed), (1, 0), "no backend has failed");
    store(&mut scene, client, "/a", FRESH, "hello");
    ask(&mut scene, client, "/a", "Cache-Control: only-if-cached");
    assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", "hello"));
    scene.advance(61_000);
    let other = scene.client();
    ask(&mut scene, other, "/a", "Cache-Control: only-if-cached");
    assert_eq!(last(&mut scene, other).0, 504);
    assert_eq!(scene.times_asked("/a"), 1);
}

#[test]
fn a_stored_answer_carries_no_sticky_cookie() {
    let mut scene = Scene::with(
        1,
        |config| {
            with_cache(config);
            let cookie = String::from("home");
            config.pools[0].sticky = Some(crate::config::Sticky { cookie, max_age: None });
        },
        |_| (),
    );
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "hello");
    assert!(last_field(&mut scene, client, "set-cookie").is_some(), "a backend was chosen");
    scene.get(client, &["/a"]);
    assert_eq!(last(&mut scene, client).1, "hit; ttl=60");
    assert_eq!(last_field(&mut scene, client, "set-cookie"), None);
}

#[test]
fn a_client_of_http_1_0_is_told_how_its_connection_goes_on() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "hello");
    let old = scene.client();
    scene.send(old, "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(last_field(&mut scene, old, "connection").as_deref(), Some("keep-alive"));
    scene.send(old, "GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(last_field(&mut scene, old, "connection").as_deref(), Some("close"));
    assert_eq!(scene.end_of(old), world::End::Fin);
}

#[test]
fn a_damaged_file_is_a_miss() {
    for len in [100, 100_000] {
        let mut scene = workers(2);
        let (one, other) = (scene.client_of(0), scene.client_of(1));
        let body = long_body(len);
        store(&mut scene, one, "/a", FRESH, &body);
        let path = crate::cache::testing::entry_files().remove(0);
        world::disk(|disk| disk.change(&path, |bytes| *bytes.last_mut().expect("bytes") ^= 1));
        scene.get(other, &["/a"]);
        assert_eq!(scene.times_asked("/a"), 2, "{len}");
        scene.respond("/a", answer(FRESH, "new"));
        assert_eq!(last(&mut scene, other), is(200, "fwd=uri-miss; stored", "new"));
    }
}
