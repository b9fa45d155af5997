//! Bodies, whole and cut, by copy and by splice.

use crate::proxy::tests::scene::Scene;
use crate::sys::world::{self, End, Faults};

/// A body whose bytes tell their place.
fn long_body(len: usize) -> String {
    (0..len).map(|at| char::from(b'a' + (at * 7 + at / 251) as u8 % 26)).collect()
}

/// Asks with `version`, answers with `answer`, piece by piece, and gives all that the client
/// receives, less the date, and how it ends.
fn relay(splice_min: u64, version: &str, answer: &str, faults: Faults) -> (String, End) {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = splice_min);
    let client = scene.client();
    scene.send(client, format!("GET / {version}\r\nHost: a\r\nX-Request-ID: 1\r\n\r\n"));
    world::change_faults(|known| *known = faults);
    let mut sent = 0;
    while sent < answer.len() {
        let end = answer.len().min(sent + 3001);
        let count = scene.respond("/", &answer[sent..end]);
        assert!(count > 0, "it is stuck after {sent} bytes: {faults:?}");
        sent += count;
    }
    scene.hang_up("/");
    (scene.received(client), scene.end_of(client))
}

#[test]
fn the_same_bytes_arrive_by_copy_and_by_splice() {
    let body = long_body(30_000);
    let chunks = in_chunks(&body, 7000);
    for head in ["Content-Length: 30000\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let sent = if head.starts_with('T') { format!("{chunks}0\r\n\r\n") } else { body.clone() };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n{sent}");
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let copied = relay(u64::MAX, version, &answer, Faults::default());
            let decoded = decode(&copied.0);
            assert!(decoded == body, "{head:?} for {version}");
            for faults in [Faults::default(), Faults { pipe_capacity: 700, ..Faults::harmless() }] {
                let (spliced, _) = relay(1, version, &answer, faults);
                assert!(decode(&spliced) == body, "{head:?} for {version} by splice");
            }
            let without = relay(1, version, &answer, Faults { pipes: 0, ..Faults::default() });
            assert!(decode(&without.0) == body, "{head:?} for {version} without pipes");
        }
    }
}

#[test]
fn the_same_bytes_arrive_where_splice_is_refused_in_the_middle_of_a_body() {
    let body = long_body(60_000);
    let chunks = in_chunks(&body, 7000);
    let mut refusals = Vec::new();
    for often in [1, 2, 5] {
        let faults = Faults { pipe_capacity: 20_000, ..Faults::default() };
        refusals.push(Faults { refuses_fill: often, ..faults });
        refusals.push(Faults { refuses_drain: often, ..faults });
        let harmless = Faults { pipe_capacity: 700, ..Faults::harmless() };
        refusals.push(Faults { refuses_fill: often, refuses_drain: often, ..harmless });
    }
    for head in ["Content-Length: 60000\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let sent = if head.starts_with('T') { format!("{chunks}0\r\n\r\n") } else { body.clone() };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n{sent}");
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            for faults in &refusals {
                let (got, _) = relay(1, version, &answer, *faults);
                assert!(decode(&got) == body, "{head:?} for {version}: {faults:?}");
            }
        }
    }
}

#[test]
fn bodies_that_splice_is_refused_for_are_counted_once_each_and_told_once() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 1000);
    let client = scene.client();
    for (path, faults) in [
        ("/1", Faults { refuses_drain: 1, ..Faults::default() }),
        ("/2", Faults { refuses_fill: 1, ..Faults::default() }),
        ("/3", Faults { pipes: 0, ..Faults::default() }),
        ("/4", Faults::default()),
    ] {
        // What was opened, or said, for one is not there for the next.
        world::change_faults(|known| *known = Faults::default());
        scene.service.proxy.buffers.pipes = crate::proxy::buffers::Pipes::new(1);
        world::change_faults(|known| *known = faults);
        scene.get(client, &[path]);
        scene.answer(path, &long_body(40_000));
    }
    assert!(scene.bodies(client) == [(); 4].map(|()| long_body(40_000)));
    assert_eq!(scene.service.splice_fallbacks(), 3);
    let told = world::messages().into_iter().filter(|(_, text)| text.contains("splice"));
    assert_eq!(told.count(), 3);
}

#[test]
fn an_upload_arrives_whole_where_splice_is_refused() {
    for faults in [
        Faults { refuses_drain: 1, pipe_capacity: 20_000, ..Faults::default() },
        Faults { refuses_drain: 3, ..Faults::harmless() },
        Faults { refuses_fill: 2, ..Faults::default() },
    ] {
        let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 1000);
        world::change_faults(|known| *known = faults);
        let client = scene.client();
        let body = long_body(60_000);
        scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
        let mut sent = 0;
        while sent < body.len() {
            let count = scene.send(client, &body.as_bytes()[sent..]);
            assert!(count > 0, "it is stuck after {sent} bytes: {faults:?}");
            sent += count;
        }
        assert!(scene.request("/").body == body.as_bytes(), "{faults:?}");
        scene.answer("/", "put");
        assert_eq!(scene.bodies(client), ["put"]);
    }
}

/// A body in chunks of `size`, without the last one.
fn in_chunks(body: &str, size: usize) -> String {
    let chunks = body.as_bytes().chunks(size);
    chunks
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A scene whose kernel lets the proxy look behind data or not, and a client that has asked for `/`
/// and has the head of a chunked answer.
fn chunks_in_flow(supports_peek_offset: bool) -> (Scene, usize) {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 2000);
    scene.service.proxy.buffers.pipes.sight.is_far = supports_peek_offset;
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", CHUNKED);
    (scene, client)
}

#[test]
fn chunks_of_any_size_go_by_splice_once_they_flow() {
    for supports_peek_offset in [true, false] {
        for size in [1, 10, 500, 1500, 9000] {
            let (mut scene, client) = chunks_in_flow(supports_peek_offset);
            let body = long_body(20_000);
            let chunks = in_chunks(&body, size);
            let before = scene.service.spliced();
            scene.respond("/", &chunks);
            let spliced = scene.service.spliced() - before;
            let few = chunks.len() as u64 / 2;
            assert!(spliced > few, "{spliced} bytes of {}", chunks.len());
            scene.respond("/", "0\r\n\r\n");
            assert!(scene.received(client).ends_with(&format!("\r\n\r\n{chunks}0\r\n\r\n")));
            assert_eq!(scene.service.proxy.buffers.pipes.taken(), 0);
        }
    }
}

#[test]
fn chunks_are_looked_at_no_further_than_a_pipe_reaches() {
    for supports_peek_offset in [true, false] {
        let harmless = Faults { buffer: 32 * 1024, ..Faults::harmless() };
        for (size, faults) in [(10, Faults::default()), (1500, harmless)] {
            let (mut scene, client) = chunks_in_flow(supports_peek_offset);
            scene.service.proxy.buffers.pipes.sight.bytes.truncate(3000);
            world::change_faults(|known| *known = faults);
            let chunks = in_chunks(&long_body(20_000), size);
            let mut sent = 0;
            while sent < chunks.len() {
                sent += scene.respond("/", &chunks[sent..]);
            }
            assert!(scene.service.spliced() > 0);
            assert!(scene.received(client).ends_with(&format!("\r\n\r\n{chunks}")));
        }
    }
}

#[test]
fn framing_that_is_not_as_we_write_it_is_written_anew_amid_what_is_spliced() {
    for supports_peek_offset in [true, false] {
        let (mut scene, client) = chunks_in_flow(supports_peek_offset);
        let body = long_body(30_000);
        let (first, last) = (in_chunks(&body[..20_000], 900), in_chunks(&body[20_003..], 900));
        let odd = format!("0003;a=\"b\"\r\n{}\r\n", &body[20_000..20_003]);
        scene.respond("/", format!("{first}{odd}{last}0;x\r\nX-Trailer: t\r\n\r\n"));
        let plain = format!("3\r\n{}\r\n", &body[20_000..20_003]);
        let end = "0\r\nX-Trailer: t\r\n\r\n";
        assert!(scene.received(client).ends_with(&format!("\r\n\r\n{first}{plain}{last}{end}")));
    }
}

#[test]
fn chunks_that_break_behind_those_that_were_spliced_cut_the_answer() {
    for supports_peek_offset in [true, false] {
        for broken in ["zz\r\n", "5\r\nabcdeX\r\n0\r\n\r\n", "-1\r\n\r\n0\r\n\r\n"] {
            let (mut scene, client) = chunks_in_flow(supports_peek_offset);
            let chunks = in_chunks(&long_body(20_000), 900);
            scene.respond("/", format!("{chunks}{broken}"));
            let message = scene.messages(client).pop().expect("a part of an answer");
            assert!(long_body(20_000).as_bytes() == &message.body[..20_000]);
            assert!(!message.is_whole());
            assert_eq!(scene.end_of(client), End::Fin);
            assert_eq!(scene.backend_conns(), 0);
        }
    }
}

#[test]
fn an_end_within_a_chunk_that_was_promised_cuts_the_answer() {
    for (supports_peek_offset, by_reset) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let (mut scene, client) = chunks_in_flow(supports_peek_offset);
        let chunks = in_chunks(&long_body(20_000), 5000);
        scene.respond("/", &chunks[..19_000]);
        if by_reset {
            scene.reset("/")
        } else {
            scene.hang_up("/")
        }
        let message = scene.messages(client).pop().expect("a part of an answer");
        assert!(!message.is_whole());
        assert!(scene.received(client).ends_with(&chunks[..19_000]));
    }
}

#[test]
fn an_upload_in_chunks_goes_by_splice_once_a_ring_is_full() {
    for supports_peek_offset in [true, false] {
        let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 2000);
        scene.service.proxy.buffers.pipes.sight.is_far = supports_peek_offset;
        let client = scene.client();
        let body = long_body(50_000);
        scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        scene.send(client, in_chunks(&body, 900));
        assert!(scene.service.spliced() > 30_000);
        scene.send(client, "0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(scene.request("/").body, body.as_bytes());
        scene.answer("/", "put");
        scene.answer("/next", "next");
        assert_eq!(scene.bodies(client), ["put", "next"]);
    }
}

/// The body of the one response in `text`, which may last until its end.
fn decode(text: &str) -> String {
    use crate::proxy::tests::message::{Kind, Reader};
    let mut reader = Reader::default();
    reader.feed(text.as_bytes());
    let message = reader.next(Kind::Response).or_else(|| reader.end()).expect("a whole response");
    String::from_utf8_lossy(&message.body).into_owned()
}

#[test]
fn a_body_goes_by_splice_once_it_is_worth_it() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 10_000);
    let client = scene.client();
    for (path, len, spliced) in [("/short", 9000, false), ("/long", 40_000, true)] {
        let before = world::calls().splice;
        scene.get(client, &[path]);
        scene.answer(path, &long_body(len));
        assert_eq!(world::calls().splice > before, spliced, "{path}");
    }
    assert_eq!(scene.service.proxy.buffers.pipes.taken(), 0);
}

#[test]
fn a_cut_answer_is_seen_to_be_cut() {
    for (head, part, http10) in [
        ("Content-Length: 10\r\n", "half", false),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n", false),
        ("Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n", true),
    ] {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        let version = if http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        scene.send(client, format!("GET / {version}\r\nHost: a\r\n\r\n"));
        scene.respond("/", format!("HTTP/1.1 200 OK\r\n{head}\r\n{part}"));
        scene.hang_up("/");
        let message = scene.messages(client).pop().expect("an answer");
        assert_eq!(message.body, b"half");
        assert!(!message.is_whole());
        assert_eq!(scene.end_of(client), if http10 { End::Reset } else { End::Fin }, "{head}");
    }
}

#[test]
fn an_answer_until_the_close_is_whole_by_an_end_and_cut_by_a_reset() {
    for whole in [true, false] {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        scene.get(client, &["/"]);
        scene.respond("/", "HTTP/1.1 200 OK\r\n\r\nbody");
        if whole {
            scene.hang_up("/")
        } else {
            scene.reset("/")
        }
        let message = scene.messages(client).pop().expect("an answer");
        assert_eq!((message.body.as_slice(), message.is_whole()), (&b"body"[..], whole));
        assert_eq!(scene.end_of(client), if whole { End::Open } else { End::Fin });
    }
}

#[test]
fn a_reset_that_an_upload_hears_of_cuts_the_answer_as_well() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n");
    scene.respond("/", "HTTP/1.1 200 OK\r\n\r\nhalf");
    // What the client sends meets a closed connection before anybody hears of that.
    world::change_faults(|faults| faults.spurious_events = false);
    scene.break_off_unheard("/", client, &[b'x'; 3000]);
    let message = scene.messages(client).pop().expect("an answer");
    assert_eq!((message.body.as_slice(), message.is_whole()), (&b"half"[..], false));
}

#[test]
fn an_end_that_splice_finds_ends_the_answer() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 1);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 200 OK\r\n\r\n");
    scene.respond_and_hang_up("/", &long_body(9000));
    assert_eq!(scene.bodies(client), [long_body(9000)]);
    assert!(scene.messages(client)[0].is_whole());
}

#[test]
fn a_client_of_http_1_0_gets_chunks_undone_and_a_close() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let chunks = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n";
    scene.respond("/", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert!(scene.received(client).ends_with("\r\n\r\nabcde"));
    assert_eq!(scene.end_of(client), End::Fin);
}

#[test]
fn trailers_pass_and_extensions_do_not() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.get(client, &["/"]);
    let chunks = "3;x=y\r\nabc\r\n0\r\nX-Trailer: t\r\nContent-Length: 1\r\n\r\n";
    scene.respond("/", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    let message = scene.messages(client).pop().expect("an answer");
    assert_eq!((message.body, message.trailers), (b"abc".to_vec(), vec!["X-Trailer: t".into()]));
}

/// RFC 9110 §7.6.1: what `Connection` names are header or trailer fields.
#[test]
fn trailers_that_connection_names_do_not_pass_and_te_names_none() {
    const CHUNKS: &str = "3\r\nabc\r\n0\r\nX-T: t\r\nX-V: v\r\n\r\n";
    for (connection, passing) in
        [("X-T", 0), ("close, x-u", 0), ("TE", 2), ("keep-alive, te, upgrade", 2)]
    {
        let mut scene = Scene::with_backends(1);
        let client = scene.client();
        let head = format!("Connection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n");
        scene.send(client, format!("POST / HTTP/1.1\r\nHost: a\r\n{head}{CHUNKS}"));
        assert_eq!(scene.request("/").trailers.len(), passing, "{connection}");
        assert_eq!(scene.request("/").body, b"abc");
        scene.respond("/", format!("HTTP/1.1 200 OK\r\n{head}{CHUNKS}"));
        let message = scene.messages(client).pop().expect("an answer");
        assert_eq!(
            (message.body, message.trailers.len()),
            (b"abc".to_vec(), passing),
            "{connection}"
        );
    }
}

/// As many as a head may have fields, and ten times that in a response.
#[test]
fn trailers_are_limited_like_a_head() {
    let chunks = |count: usize| format!("0\r\n{}\r\n", "X-T: t\r\n".repeat(count));
    for (most, sent, is_taken) in [(10, 10, true), (10, 11, false), (150, 150, true)] {
        let mut scene = Scene::with(1, |config| config.max_fields = most, |_| ());
        let client = scene.client();
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        scene.send(client, format!("{request}{}", chunks(sent)));
        if !is_taken {
            assert_eq!(scene.last_error(client).0, 400);
            continue;
        }
        assert_eq!(scene.request("/").trailers.len(), sent);
        scene.respond("/", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        scene.respond("/", chunks(10 * most));
        assert_eq!(scene.messages(client).pop().expect("an answer").trailers.len(), 10 * most);
    }
    let mut scene = Scene::with(1, |config| config.max_fields = 10, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    scene.respond("/", chunks(101));
    assert_ne!(scene.end_of(client), End::Open);
}

#[test]
fn a_body_that_does_not_fit_into_a_ring_goes_up_and_down_at_once() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    let body = long_body(50_000);
    scene.send(client, format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 50_000));
    scene.send(client, &body[..20_000]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
    scene.respond("/", &body[..30_000]);
    scene.send(client, &body[20_000..]);
    scene.respond("/", &body[30_000..]);
    assert_eq!(scene.request("/").body, body.as_bytes());
    assert_eq!(scene.bodies(client), [body]);
}

#[test]
fn chunks_that_are_none_are_refused_with_400_and_the_backend_sees_no_whole_request() {
    let mut scene = Scene::with_backends(1);
    let client = scene.client();
    scene.send(client, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    scene.send(client, "3\r\nabc\r\nzz\r\n");
    assert_eq!(scene.last_error(client), (400, "http_request_error".to_owned()));
    assert!(!scene.request("/").is_whole());
    assert_eq!(scene.backend_conns(), 0);
}

#[test]
fn what_is_stuck_in_a_pipe_arrives_before_its_connection_is_used_again() {
    let mut scene = Scene::with(1, |_| (), |settings| settings.splice_min = 1);
    world::change_faults(|faults| faults.buffer = 4096);
    let client = scene.client();
    scene.send(client, "PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 15000\r\n\r\n");
    // More than a ring, which is what a repeat would need: the rest goes by splice.
    scene.send(client, [b'x'; 9000]);
    scene.stop_backends_reading(true);
    scene.send(client, [b'x'; 6000]);
    scene.answer("/put", "enough");
    assert_eq!(scene.bodies(client), ["enough"]);
    assert!(!scene.request("/put").is_whole());
    scene.stop_backends_reading(false);
    assert!(scene.request("/put").is_whole());
    assert_eq!(scene.backend_conns(), 1);
}
