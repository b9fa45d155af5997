//! What is recorded while it passes.

use super::*;
use crate::sys::world;

/// Asks for `/a` twice, has a backend answer with `sent` in pieces, and hang up if it `ends`. Both
/// bodies, and how often a backend was asked.
fn twice(version: &str, sent: &str, ends: bool) -> (String, String, usize) {
    let mut scene = scene();
    let client = scene.client();
    scene.send(client, format!("GET /a {version}\r\nHost: a\r\n\r\n"));
    let mut at = 0;
    while at < sent.len() {
        at += scene.respond("/a", &sent[at..sent.len().min(at + 3001)]);
    }
    if ends {
        scene.hang_up("/a");
    }
    let first = scene.messages(client).remove(0);
    let second = scene.client();
    scene.get(second, &["/a"]);
    let times = scene.times_asked("/a");
    if times > 1 {
        scene.answer("/a", "another");
    }
    (String::from_utf8_lossy(&first.body).into_owned(), last(&mut scene, second).2, times)
}

fn in_chunks(body: &str, size: usize) -> String {
    let chunk =
        |chunk: &[u8]| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk));
    body.as_bytes().chunks(size).map(chunk).collect()
}

#[test]
fn a_body_is_stored_whole_however_it_is_framed() {
    for len in [0, 10, 5000, 70_000, 600_000] {
        let body = long_body(len);
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let head = format!("HTTP/1.1 200 OK\r\n{FRESH}\r\n");
            for (fields, sent, ends) in [
                (format!("Content-Length: {len}\r\n"), body.clone(), false),
                (
                    String::from("Transfer-Encoding: chunked\r\n"),
                    in_chunks(&body, 7001) + "0\r\nX-T: 1\r\n\r\n",
                    false,
                ),
                (
                    String::from("Transfer-Encoding: chunked\r\n"),
                    in_chunks(&body, 100) + "0\r\n\r\n",
                    false,
                ),
                (String::new(), body.clone(), true),
            ] {
                let (first, second, times) =
                    twice(version, &format!("{head}{fields}\r\n{sent}"), ends);
                assert!(first == body, "{version} {fields:?} {len}");
                assert!(second == body && times == 1, "{version} {fields:?} {len}");
            }
        }
    }
}

#[test]
fn what_is_recorded_is_not_spliced_and_what_is_not_is() {
    let body = long_body(400_000);
    for (fields, is_recorded) in [(FRESH, true), ("Cache-Control: no-store", false)] {
        let mut scene = scene();
        let client = scene.client();
        scene.get(client, &["/a"]);
        scene.respond(
            "/a",
            answer(fields, "").replace("Content-Length: 0", "Content-Length: 400000"),
        );
        scene.respond("/a", &body);
        assert!(last(&mut scene, client).2 == body);
        assert_eq!(scene.service.spliced() == 0, is_recorded, "{fields}");
    }
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_does_not_come_to_its_end_is_not_stored() {
    let head = format!("HTTP/1.1 200 OK\r\n{FRESH}\r\n");
    for (fields, sent) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nnonsense"),
        ("", "hello"),
    ] {
        for by_reset in [false, true] {
            let is_end = fields.is_empty() && !by_reset;
            let mut scene = scene();
            let client = scene.client();
            scene.get(client, &["/a"]);
            scene.respond("/a", format!("{head}{fields}\r\n{sent}"));
            if by_reset {
                scene.reset("/a")
            } else {
                scene.hang_up("/a")
            }
            let other = scene.client();
            scene.get(other, &["/a"]);
            assert_eq!(scene.times_asked("/a"), if is_end { 1 } else { 2 }, "{fields} {by_reset}");
            if !is_end {
                scene.respond("/a", answer(FRESH, "whole"));
            }
            assert_eq!(last(&mut scene, other).2, if is_end { "hello" } else { "whole" });
        }
    }
}

#[test]
fn what_may_not_be_stored_is_asked_for_each_time() {
    for fields in [
        "Cache-Control: no-store",
        "Cache-Control: private, max-age=60",
        "Cache-Control: max-age=60 | Set-Cookie: a=b",
        "Cache-Control: max-age=60 | Vary: *",
        "X-A: b",
    ] {
        let mut scene = scene();
        let client = scene.client();
        for _ in 0..2 {
            store(&mut scene, client, "/a", fields, "hello");
            assert_eq!(last(&mut scene, client), is(200, "fwd=uri-miss", "hello"), "{fields}");
        }
        assert_eq!(scene.times_asked("/a"), 2);
        assert_eq!(counted(&scene), [0, 2, 0, 0, 0, 0]);
    }
}

#[test]
fn a_request_with_credentials_gets_what_is_for_all_and_no_more() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/a", FRESH, "for nobody in particular");
    ask(&mut scene, client, "/a", "Authorization: Basic eA==");
    scene.respond("/a", answer(FRESH, "for x"));
    assert_eq!(last(&mut scene, client), is(200, "fwd=vary-miss", "for x"));
    scene.get(client, &["/a"]);
    assert_eq!(last(&mut scene, client).2, "for nobody in particular");
    store(&mut scene, client, "/b", "Cache-Control: public, max-age=60", "for all");
    ask(&mut scene, client, "/b", "Authorization: Basic eA==");
    assert_eq!(last(&mut scene, client).2, "for all");
}

#[test]
fn answers_that_vary_go_to_those_they_fit() {
    let mut scene = scene();
    let client = scene.client();
    let fields = "Cache-Control: max-age=60 | Vary: Accept-Language";
    for (language, body) in [("de", "hallo"), ("en", "hello")] {
        ask(&mut scene, client, "/a", &format!("Accept-Language: {language}"));
        scene.respond("/a", answer(fields, body));
        assert!(last(&mut scene, client).1.ends_with("stored"));
    }
    for (language, body) in [("de", "hallo"), ("en", "hello")] {
        ask(&mut scene, client, "/a", &format!("Accept-Language: {language}"));
        assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", body));
    }
    assert_eq!(scene.times_asked("/a"), 2);
}

#[test]
fn where_a_field_chooses_the_pool_each_pool_has_its_own_answers() {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.pool_header = Some(String::from("x-pool"));
        let mut other = config.pools[0].clone();
        other.name = String::from("b");
        other.backends.remove(0);
        config.pools[0].backends.truncate(1);
        config.pools.push(other);
    };
    let mut scene = Scene::with(2, configure, |_| ());
    let client = scene.client();
    for (pool, body) in [("default", "one"), ("b", "two")] {
        ask(&mut scene, client, "/a", &format!("X-Pool: {pool}"));
        scene.respond("/a", answer(FRESH, body));
    }
    for (pool, body) in [("default", "one"), ("b", "two")] {
        ask(&mut scene, client, "/a", &format!("X-Pool: {pool}"));
        assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", body));
    }
}

#[test]
fn no_failure_of_the_disk_harms_an_answer() {
    let faults = [
        |faults: &mut world::Faults| faults.disk_room = 0,
        |faults: &mut world::Faults| faults.disk_room = 100_000,
        |faults: &mut world::Faults| faults.disk_is_read_only = true,
        |faults: &mut world::Faults| faults.disk_errors = 1,
        |faults: &mut world::Faults| faults.disk_errors = 3,
    ];
    for (place, fault) in faults.into_iter().enumerate() {
        // A large one that is found may break off where the disk fails beneath it.
        for len in [100, 10_000, if place == 4 { 0 } else { 300_000 }] {
            let mut scene = scene();
            world::change_faults(fault);
            let client = scene.client();
            let body = long_body(len);
            for round in 0..9 {
                let path = format!("/{}", round % 3);
                let before = scene.asked().len();
                scene.get(client, &[&path]);
                if scene.asked().len() > before {
                    scene.respond(&path, answer(FRESH, &body));
                }
                let (status, _, got) = last(&mut scene, client);
                assert!(status == 200 && got == body, "{place}, {len}, {round}");
                assert_eq!(scene.messages(client).len(), round + 1);
            }
        }
    }
}

#[test]
fn an_answer_that_is_too_large_passes_unstored() {
    let body = long_body((1 << 20) + 1);
    for sent in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", in_chunks(&body, 100_000)),
    ] {
        let (first, second, times) =
            twice("HTTP/1.1", &format!("HTTP/1.1 200 OK\r\n{FRESH}\r\n{sent}"), false);
        assert!(first == body && second == "another" && times == 2);
    }
}

#[test]
fn a_client_that_leaves_leaves_no_recording_behind() {
    let mut scene = scene();
    let client = scene.client();
    scene.get(client, &["/a"]);
    scene.respond(
        "/a",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nhal",
    );
    scene.leave(client);
    let cache = scene.service.proxy.buffers.caching.as_ref().expect("a cache");
    assert_eq!((cache.recordings(), cache.store().in_use()), (0, (0, 0)));
    let other = scene.client();
    store(&mut scene, other, "/a", FRESH, "hello");
    assert_eq!(last(&mut scene, other), is(200, "fwd=uri-miss; stored", "hello"));
}

/// docs/CACHE.md, rule 12.
#[test]
fn interim_answers_pass_and_are_not_stored() {
    let mut scene = scene();
    let client = scene.client();
    scene.get(client, &["/a"]);
    scene.respond("/a", "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n");
    scene.respond("/a", answer(FRESH, "hello"));
    assert!(scene.received(client).contains("X-Early"));
    let other = scene.client();
    scene.get(other, &["/a"]);
    assert!(!scene.received(other).contains("X-Early"));
    assert_eq!(last(&mut scene, other).2, "hello");
}

/// RFC 9211 §2.5.
#[test]
fn where_the_disk_has_no_room_nothing_is_said_to_be_stored() {
    for body in [String::from("short"), long_body(100_000)] {
        let mut scene = scene();
        let client = scene.client();
        world::change_faults(|faults| faults.disk_room = 300);
        scene.get(client, &["/a"]);
        scene.respond("/a", answer(FRESH, &body));
        assert_eq!(last(&mut scene, client), is(200, "fwd=uri-miss", &body));
        world::change_faults(|faults| faults.disk_room = u64::MAX);
        store(&mut scene, client, "/a", FRESH, &body);
        assert_eq!(last(&mut scene, client), is(200, "fwd=uri-miss; stored", &body));
    }
}

/// docs/CACHE.md, rule 11: its place is the backend's word alone.
#[test]
fn a_part_that_lies_where_no_file_reaches_passes_unstored() {
    let mut scene = scene();
    let client = scene.client();
    for (first, whole) in [
        (u64::MAX - 10, "18446744073709551615"),
        (u64::MAX - 20, "99999999999999999999999"),
        (1 << 62, "9223372036854775807"),
        (1 << 44, "17592186044426000"),
        (1000, "99999999999999999999999"),
    ] {
        let range = format!("{first}-{}", first + 4);
        for _ in 0..2 {
            ask(&mut scene, client, "/a", &format!("Range: bytes={range}"));
            let fields = format!("{FRESH}\r\nETag: \"1\"\r\nContent-Range: bytes {range}/{whole}");
            let head = format!("HTTP/1.1 206 Partial Content\r\n{fields}\r\n");
            scene.respond("/a", format!("{head}Content-Length: 5\r\n\r\nhello"));
            assert_eq!(last(&mut scene, client), is(206, "fwd=uri-miss", "hello"), "{range}");
        }
    }
}
