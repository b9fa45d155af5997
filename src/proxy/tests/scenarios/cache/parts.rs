//! Parts: docs/CACHE.md, rule 11.

use super::*;
use crate::sys::world;

const TAGGED: &str = "Cache-Control: max-age=60 | Content-Type: a/b | ETag: \"1\"";

/// A 206 with these bytes of a body.
fn part(fields: &str, body: &str, (first, last): (usize, usize)) -> String {
    let lines: String = fields.split(" | ").map(|line| format!("{line}\r\n")).collect();
    let (length, whole) = (last - first + 1, body.len());
    format!(
        "HTTP/1.1 206 Partial Content\r\n{lines}Content-Range: bytes {first}-{last}/{whole}\r\n\
         Content-Length: {length}\r\n\r\n{}",
        &body[first..=last]
    )
}

/// A client asks for these bytes of `/a`.
fn ask_for(scene: &mut Scene, client: usize, range: &str) {
    ask(scene, client, "/a", &format!("Range: bytes={range}"));
}

/// What it gets, where no backend is asked: status, `Cache-Status` and `Content-Range`.
fn stored(scene: &mut Scene, client: usize, range: &str, body: &str) -> (u16, String, String) {
    let before = scene.times_asked("/a");
    ask_for(scene, client, range);
    assert_eq!(scene.times_asked("/a"), before, "{range}");
    let (status, cache, got) = last(scene, client);
    let told = last_field(scene, client, "content-range").unwrap_or_default();
    let whole = format!("/{}", body.len());
    let (first, last) = told
        .strip_prefix("bytes ")
        .and_then(|rest| rest.strip_suffix(&whole)?.split_once('-'))
        .unwrap_or_else(|| panic!("{told}"));
    let part = first.parse().unwrap()..=last.parse().unwrap();
    assert!(got == body[part], "{range}");
    (status, cache, told)
}

fn hit(range: &str) -> (u16, String, String) {
    (206, "hit; ttl=60".to_owned(), format!("bytes {range}"))
}

#[test]
fn a_part_answers_what_lies_within_it_and_no_more() {
    for (len, small) in [(1000, 10), (100_000, 1000)] {
        let (mut scene, body) = (scene(), long_body(len));
        let client = scene.client();
        ask_for(&mut scene, client, &format!("{}-{}", len / 2, len - 1));
        scene.respond("/a", part(TAGGED, &body, (len / 2, len - 1)));
        assert_eq!(last(&mut scene, client), is(206, "fwd=uri-miss; stored", &body[len / 2..]));
        for (range, first, last) in [
            (format!("{}-{}", len / 2, len / 2 + small), len / 2, len / 2 + small),
            (format!("{}-", len - small), len - small, len - 1),
            (format!("-{small}"), len - small, len - 1),
            (format!("{}-{}", len / 2, len * 9), len / 2, len - 1),
        ] {
            let expected = hit(&format!("{first}-{last}/{len}"));
            assert_eq!(stored(&mut scene, client, &range, &body), expected);
        }
        for (times, fields) in [
            (2, format!("Range: bytes=0-{}", len - 1)),
            (3, format!("Range: bytes=0-{}", len / 2)),
            (4, format!("Range: bytes={}-{} | If-Range: \"2\"", len / 2, len - 1)),
            (5, String::from("X-A: b")),
        ] {
            ask(&mut scene, client, "/a", &fields);
            assert_eq!(scene.times_asked("/a"), times, "{fields}");
            scene.respond("/a", answer("Cache-Control: no-store", &body));
            assert_eq!(last(&mut scene, client), is(200, "fwd=partial", &body), "{fields}");
        }
        scene.send(client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(scene.times_asked("/a"), 6);
        assert_eq!(counted(&scene)[..2], [4, 5]);
    }
}

#[test]
fn parts_are_joined_and_the_last_makes_the_whole() {
    let (mut scene, body) = (scene(), long_body(100_000));
    let client = scene.client();
    for range in [(0, 9_999), (50_000, 99_999), (10_000, 30_000), (30_001, 49_999)] {
        ask_for(&mut scene, client, &format!("{}-{}", range.0, range.1));
        scene.respond("/a", part(TAGGED, &body, range));
        assert_eq!(last(&mut scene, client).0, 206);
    }
    assert_eq!(scene.times_asked("/a"), 4);
    let expected = hit("0-99999/100000");
    assert_eq!(stored(&mut scene, client, "0-", &body), expected);
    ask(&mut scene, client, "/a", "X-A: b");
    assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", &body));
    assert_eq!(last_field(&mut scene, client, "content-type").as_deref(), Some("a/b"));
    assert_eq!(last_field(&mut scene, client, "content-range"), None);
    scene.send(client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(scene.times_asked("/a"), 4);
}

/// RFC 9530 §2: of what came with it.
#[test]
fn a_digest_of_a_part_is_not_that_of_the_whole() {
    let (mut scene, body) = (scene(), long_body(1000));
    let client = scene.client();
    let fields = format!("{TAGGED} | Content-Digest: x | Content-MD5: x | Repr-Digest: y");
    ask_for(&mut scene, client, "0-499");
    scene.respond("/a", part(&fields, &body, (0, 499)));
    assert_eq!(last_field(&mut scene, client, "content-digest").as_deref(), Some("x"));
    ask_for(&mut scene, client, "500-999");
    scene.respond("/a", part(&fields, &body, (500, 999)));
    for range in ["Range: bytes=1-2", "X-A: b"] {
        ask(&mut scene, client, "/a", range);
        assert_eq!(last_field(&mut scene, client, "content-digest"), None);
        assert_eq!(last_field(&mut scene, client, "content-md5"), None);
        assert_eq!(last_field(&mut scene, client, "repr-digest").as_deref(), Some("y"));
    }
    assert_eq!(scene.times_asked("/a"), 2);
}

#[test]
fn parts_under_another_validator_are_not_joined() {
    let (mut scene, body, other) = (scene(), long_body(10_000), "x".repeat(10_000));
    let client = scene.client();
    for (body, tag, range) in [(&body, "\"1\"", (0, 4_999)), (&other, "\"2\"", (5_000, 9_999))] {
        ask_for(&mut scene, client, &format!("{}-{}", range.0, range.1));
        let fields = TAGGED.replace("\"1\"", tag);
        scene.respond("/a", part(&fields, body, range));
    }
    assert_eq!(stored(&mut scene, client, "6000-7000", &other), hit("6000-7000/10000"));
    ask_for(&mut scene, client, "0-10");
    assert_eq!(scene.times_asked("/a"), 3);
    scene.respond("/a", part(TAGGED, &body, (0, 10)));
    assert_eq!(last(&mut scene, client), is(206, "fwd=partial; stored", &body[..11]));
    ask_for(&mut scene, client, "6000-7000");
    assert_eq!(scene.times_asked("/a"), 4, "the other one is gone");
}

#[test]
fn what_is_no_part_that_can_be_joined_is_not_stored() {
    let body = long_body(1000);
    let whole = part(TAGGED, &body, (10, 19));
    for response in [
        whole.replace("\"1\"", "W/\"1\""),
        whole.replace("ETag: \"1\"\r\n", "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n"),
        whole.replace("/1000", "/*"),
        whole.replace("bytes 10-19", "bytes 10-20"),
        whole.replace("a/b", "multipart/byteranges; boundary=x"),
        whole.replace("Content-Length: 10", "Transfer-Encoding: chunked").replace(
            &format!("\r\n\r\n{}", &body[10..20]),
            &format!("\r\n\r\na\r\n{}\r\n0\r\n\r\n", &body[10..20]),
        ),
        whole.replace("max-age=60", "no-store"),
    ] {
        let mut scene = scene();
        let client = scene.client();
        ask_for(&mut scene, client, "10-19");
        scene.respond("/a", &response);
        assert_eq!(last(&mut scene, client), is(206, "fwd=uri-miss", &body[10..20]), "{response}");
        ask_for(&mut scene, client, "10-19");
        assert_eq!(scene.times_asked("/a"), 2, "{response}");
    }
}

#[test]
fn a_stale_part_is_confirmed_or_gone() {
    for is_same in [true, false] {
        let (mut scene, body) = (scene(), long_body(100_000));
        let client = scene.client();
        ask_for(&mut scene, client, "1000-80000");
        scene.respond("/a", part(TAGGED, &body, (1000, 80_000)));
        scene.advance(61_000);
        let client = scene.client();
        ask_for(&mut scene, client, "2000-3000");
        let request = &scene.request("/a").head;
        assert_eq!(request.get("if-none-match"), Some("\"1\""));
        assert_eq!((request.get("range"), request.get("if-range")), (None, None));
        if is_same {
            scene.respond("/a", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n");
            let expected = is(206, "fwd=stale; fwd-status=304; stored", &body[2000..=3000]);
            assert_eq!(last(&mut scene, client), expected);
            assert_eq!(stored(&mut scene, client, "60000-80000", &body).0, 206);
        } else {
            let other = "x".repeat(10);
            scene.respond("/a", answer(&TAGGED.replace("\"1\"", "\"2\""), &other));
            assert_eq!(last(&mut scene, client), is(200, "fwd=stale; stored", &other));
            ask(&mut scene, client, "/a", "X-A: b");
            assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", &other));
        }
    }
}

#[test]
fn a_stale_part_stands_in_where_no_backend_answers_and_for_no_more_than_it_is() {
    let (mut scene, body) = (scene(), long_body(1000));
    let client = scene.client();
    ask_for(&mut scene, client, "100-199");
    let fields = format!("{TAGGED} | Cache-Control: stale-if-error=600");
    scene.respond("/a", part(&fields, &body, (100, 199)));
    scene.advance(61_000);
    let client = scene.client();
    ask_for(&mut scene, client, "100-149");
    scene.respond("/a", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let expected = is(206, "fwd=stale; fwd-status=503", &body[100..150]);
    assert_eq!(last(&mut scene, client), expected);
    for fields in ["Range: bytes=100-299", "X-A: b", "Range: bytes=100-149 | If-Range: \"2\""] {
        ask(&mut scene, client, "/a", fields);
        scene.respond("/a", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(last(&mut scene, client).0, 503, "{fields}");
    }
}

/// A scene where the first bytes of `/a`, so many, came before the response broke off.
fn cut_at(len: usize, body: &str, fields: &str) -> Scene {
    let mut scene = scene();
    let client = scene.client();
    scene.get(client, &["/a"]);
    let whole = answer(fields, body);
    let head = whole.len() - body.len();
    let mut sent = 0;
    while sent < head + len {
        sent += scene.respond("/a", &whole[sent..head + len]);
    }
    scene.hang_up("/a");
    scene
}

/// The range and the condition that a backend was asked for last.
fn asked_for(scene: &Scene) -> (Option<String>, Option<String>) {
    let head = &scene.request("/a").head;
    (head.get("range").map(str::to_owned), head.get("if-range").map(str::to_owned))
}

fn of_rest(range: &str) -> (Option<String>, Option<String>) {
    (Some(format!("bytes={range}")), Some("\"1\"".to_owned()))
}

/// A backend answers in as many pieces as it takes.
fn respond_all(scene: &mut Scene, text: &str) {
    let mut sent = 0;
    while sent < text.len() {
        sent += scene.respond("/a", &text[sent..]);
    }
}

#[test]
fn what_was_cut_is_completed_by_the_next_request() {
    for (len, cut) in [(1000, 1), (1000, 999), (100_000, 40_000), (900_000, 700_000)] {
        let body = long_body(len);
        let mut scene = cut_at(cut, &body, TAGGED);
        let client = scene.client();
        scene.get(client, &["/a"]);
        assert_eq!(asked_for(&scene), of_rest(&format!("{cut}-{}", len - 1)));
        // A 206 to such a request need not tell what is known already.
        let fields = "Cache-Control: max-age=90 | ETag: \"1\"";
        respond_all(&mut scene, &part(fields, &body, (cut, len - 1)));
        let expected = is(200, "fwd=partial; fwd-status=206; stored", &body);
        assert!(last(&mut scene, client) == expected, "{len} {cut}");
        assert_eq!(last_field(&mut scene, client, "content-type").as_deref(), Some("a/b"));
        assert_eq!(last_field(&mut scene, client, "age").as_deref(), Some("0"));
        let length = last_field(&mut scene, client, "content-length");
        assert_eq!(length, Some(len.to_string()));
        scene.get(client, &["/a"]);
        assert!(last(&mut scene, client) == is(200, "hit; ttl=90", &body), "{len} {cut}");
        assert_eq!(last_field(&mut scene, client, "content-type").as_deref(), Some("a/b"));
        assert_eq!(scene.times_asked("/a"), 2);
        assert_eq!(counted(&scene), [1, 1, 0, 0, 0, 1]);
    }
}

#[test]
fn a_range_whose_beginning_is_stored_needs_only_the_rest() {
    for (len, cut) in [(1000, 400), (100_000, 40_000)] {
        let body = long_body(len);
        let mut scene = cut_at(cut, &body, TAGGED);
        let client = scene.client();
        let (first, last_byte) = (cut / 2, len / 2 + len / 10);
        ask_for(&mut scene, client, &format!("{first}-{last_byte}"));
        assert_eq!(asked_for(&scene), of_rest(&format!("{cut}-{last_byte}")));
        respond_all(&mut scene, &part(TAGGED, &body, (cut, last_byte)));
        let expected = is(206, "fwd=partial; fwd-status=206; stored", &body[first..=last_byte]);
        assert_eq!(last(&mut scene, client), expected);
        let range = last_field(&mut scene, client, "content-range");
        assert_eq!(range, Some(format!("bytes {first}-{last_byte}/{len}")));
        let expected = hit(&format!("0-{last_byte}/{len}"));
        assert_eq!(stored(&mut scene, client, &format!("0-{last_byte}"), &body), expected);
        // The end, in two.
        ask_for(&mut scene, client, &format!("{last_byte}-"));
        assert_eq!(asked_for(&scene), of_rest(&format!("{}-{}", last_byte + 1, len - 1)));
        respond_all(&mut scene, &part(TAGGED, &body, (last_byte + 1, len - 1)));
        scene.get(client, &["/a"]);
        assert!(last(&mut scene, client) == is(200, "hit; ttl=60", &body));
    }
}

#[test]
fn one_that_has_changed_is_passed_on_as_any_other() {
    let body = long_body(100_000);
    for (response, expected, is_stored) in [
        (
            answer(&TAGGED.replace("\"1\"", "\"2\""), "new"),
            is(200, "fwd=partial; stored", "new"),
            true,
        ),
        (answer("Cache-Control: no-store", "new"), is(200, "fwd=partial", "new"), false),
        (
            String::from("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nwoe!"),
            is(404, "fwd=partial", "woe!"),
            false,
        ),
        (
            String::from("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nwoe!"),
            is(503, "fwd=partial", "woe!"),
            false,
        ),
    ] {
        let mut scene = cut_at(40_000, &body, TAGGED);
        let client = scene.client();
        scene.get(client, &["/a"]);
        scene.respond("/a", &response);
        assert_eq!(last(&mut scene, client), expected);
        assert_eq!(scene.times_asked("/a"), 2);
        scene.get(client, &["/a"]);
        assert_eq!(scene.times_asked("/a"), if is_stored { 2 } else { 3 });
    }
}

#[test]
fn what_does_not_fit_is_asked_again_as_the_client_has_it() {
    let body = long_body(100_000);
    let right = part(TAGGED, &body, (40_000, 99_999));
    for response in [
        right.replace("\"1\"", "\"2\""),
        right.replace("\"1\"", "W/\"1\""),
        right.replace("ETag: \"1\"\r\n", ""),
        right.replace("ETag: \"1\"\r\n", "ETag: \"1\"\r\nSet-Cookie: a=b\r\n"),
        right.replace("/100000", "/100001"),
        right.replace("/100000", "/*"),
        right.replace("Content-Range: bytes 40000-99999/100000\r\n", ""),
        part(TAGGED, &body, (40_001, 99_999)),
        part(TAGGED, &body, (40_000, 99_998)),
        part(TAGGED, &body, (0, 99_999)),
        right.replace("bytes 40000-99999", "bytes 40000-99998"),
        String::from("HTTP/1.1 416 No\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n"),
        String::from("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"),
    ] {
        let what = response.split("\r\n\r\n").next().unwrap_or_default();
        let mut scene = cut_at(40_000, &body, TAGGED);
        let client = scene.client();
        ask(&mut scene, client, "/a", "Range: bytes=10-");
        assert_eq!(asked_for(&scene), of_rest("40000-99999"));
        scene.respond("/a", &response);
        assert_eq!(scene.times_asked("/a"), 3, "{what}");
        assert_eq!(asked_for(&scene), (Some("bytes=10-".to_owned()), None), "{what}");
        respond_all(&mut scene, &part(TAGGED, &body, (10, 99_999)));
        let expected = is(206, "fwd=partial; stored", &body[10..]);
        assert!(last(&mut scene, client) == expected, "{what}");
    }
}

#[test]
fn a_client_that_reads_slowly_gets_the_part_and_the_rest() {
    for refuses_sendfile in [0, 1, 3] {
        let body = long_body(900_000);
        let mut scene = cut_at(500_000, &body, TAGGED);
        world::change_faults(|faults| {
            faults.refuses_sendfile = refuses_sendfile;
            faults.short_writes = true;
        });
        let client = scene.client();
        scene.set_reading(client, false);
        scene.get(client, &["/a"]);
        let rest = part(TAGGED, &body, (500_000, 899_999));
        let mut sent = scene.respond("/a", &rest);
        scene.advance(500);
        scene.set_reading(client, true);
        scene.settle();
        while sent < rest.len() {
            sent += scene.respond("/a", &rest[sent..]);
        }
        assert!(last(&mut scene, client).2 == body);
        scene.get(client, &["/a"]);
        assert!(last(&mut scene, client) == is(200, "hit; ttl=60", &body));
    }
}

#[test]
fn the_rest_may_break_off_as_well() {
    let body = long_body(100_000);
    let mut scene = cut_at(40_000, &body, TAGGED);
    for (from, to) in [(40_000, 60_000), (60_000, 60_001), (60_001, 99_999)] {
        let client = scene.client();
        scene.get(client, &["/a"]);
        assert_eq!(asked_for(&scene), of_rest(&format!("{from}-99999")));
        let rest = part(TAGGED, &body, (from, 99_999));
        let head = rest.len() - (100_000 - from);
        respond_all(&mut scene, &rest[..head + to - from]);
        scene.hang_up("/a");
        let got = scene.received(client);
        assert!(got.ends_with(&body[from - 10..to]) && got.starts_with("HTTP/1.1 200 OK"));
        assert!(scene.end_of(client) != world::End::Open, "it is cut");
    }
    let client = scene.client();
    scene.get(client, &["/a"]);
    respond_all(&mut scene, &part(TAGGED, &body, (99_999, 99_999)));
    assert!(last(&mut scene, client).2 == body);
}

#[test]
fn a_damaged_part_goes_before_nothing() {
    let body = long_body(100_000);
    let mut scene = cut_at(40_000, &body, TAGGED);
    let path = crate::cache::testing::entry_files().remove(0);
    world::disk(|disk| disk.change(&path, |bytes| bytes[30_000] ^= 1));
    let client = scene.client();
    scene.get(client, &["/a"]);
    assert_eq!(asked_for(&scene), of_rest("40000-99999"));
    respond_all(&mut scene, &part(TAGGED, &body, (40_000, 99_999)));
    assert_eq!((scene.times_asked("/a"), asked_for(&scene)), (3, (None, None)));
    respond_all(&mut scene, &answer(TAGGED, &body));
    assert!(last(&mut scene, client).2 == body);
}

#[test]
fn those_who_want_the_same_wait_for_the_rest() {
    let body = long_body(100_000);
    let mut scene = cut_at(40_000, &body, TAGGED);
    scene.advance(2000); // So long nobody waits for what has failed.
    let clients: Vec<usize> = (0..5).map(|_| scene.client()).collect();
    for client in &clients {
        scene.get(*client, &["/a"]);
    }
    assert_eq!(scene.times_asked("/a"), 2);
    respond_all(&mut scene, &part(TAGGED, &body, (40_000, 99_999)));
    for client in clients {
        assert!(last(&mut scene, client).2 == body);
    }
    assert_eq!(scene.times_asked("/a"), 2);
    assert_eq!(counted(&scene), [4, 1, 0, 0, 0, 1]);
}

#[test]
fn a_client_that_leaves_leaves_a_part() {
    let body = long_body(100_000);
    let mut scene = scene();
    let client = scene.client();
    scene.get(client, &["/a"]);
    let whole = answer(TAGGED, &body);
    let head = whole.len() - body.len();
    respond_all(&mut scene, &whole[..head + 30_000]);
    scene.leave(client);
    scene.settle();
    let client = scene.client();
    scene.get(client, &["/a"]);
    let (range, tag) = asked_for(&scene);
    let first = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let first: usize = first.expect("the rest").0.parse().expect("a number");
    assert!(first > 0 && first <= 30_000 && tag.as_deref() == Some("\"1\""));
    respond_all(&mut scene, &part(TAGGED, &body, (first, 99_999)));
    assert!(last(&mut scene, client).2 == body);
}
