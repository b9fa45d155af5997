//! Bodies of every size, in every framing and in both directions; what a slow side does to the
//! other one, and that no memory is needed for it.

use crate::common::{
    Answer, Backend, Client, Connection, Program, Request, assert_same_bytes, json, noise, refusal,
    servers, until,
};
use std::{
    io::{Read, Write},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Around the borders of heads, rings, splicing and pipes.
const SIZES: [usize; 24] = [
    0, 1, 2, 1000, 4095, 4096, 4097, 16_383, 16_385, 31_743, 31_745, 32_767, 32_768, 32_769,
    65_535, 65_536, 65_537, 131_071, 131_073, 262_143, 262_144, 262_145, 1_000_003, 3_000_000,
];

/// Answers `/LENGTH/FRAMING`.
fn any_body() -> Backend {
    Backend::answering(|request| {
        let parts: Vec<&str> = request.target.split('/').collect();
        let len: usize = parts[1].parse().unwrap();
        let body = noise(len, len as u64);
        match parts[2] {
            "length" => Answer::text(body),
            "chunked" => Answer::chunked(&body, parts[3].parse().unwrap()),
            _ => Answer::raw([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat()).then_close(),
        }
    })
}

#[test]
fn downloads_of_every_size_and_framing_come_whole() {
    let backend = any_body();
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    for framing in [
        "length",
        "chunked/100",
        "chunked/1000",
        "chunked/16384",
        "chunked/40000",
        "chunked/10000000",
        "close",
    ] {
        for len in SIZES {
            let target = format!("/{len}/{framing}");
            let response = client.get(&target);
            assert_same_bytes(&response.body, &noise(len, len as u64), &target);
            if response.closes() {
                client = program.client();
            }
        }
    }
}

fn upload(client: &mut Client, body: &[u8], chunk: Option<usize>) {
    let Some(size) = chunk else {
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        return client.send(body);
    };
    upload_in_chunks(client, "/", body, size);
}

fn upload_in_chunks(client: &mut Client, target: &str, body: &[u8], size: usize) {
    client.send(format!("PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.send([in_chunks(body, size), b"0\r\n\r\n".to_vec()].concat());
}

/// Has bodies of all framings pass both ways, each of them large enough to be spliced. Returns how
/// many bodies were copied instead, as the metrics tell.
fn pass_large_bodies(command: Command) -> (Program, u64) {
    let backend = any_body();
    let config = json!({ "status_listen": "127.0.0.1:0", "backend_servers": servers(&[&backend]) });
    let program = Program::by(config, |_| command);
    let mut client = program.client();
    for framing in ["length", "chunked/16384", "chunked/10000000", "close"] {
        let target = format!("/1000003/{framing}");
        let response = client.get(&target);
        assert_same_bytes(&response.body, &noise(1_000_003, 1_000_003), &target);
    }
    for chunk in [None, Some(10_000)] {
        let body = noise(1_000_003, 7);
        let mut client = program.client();
        let request = "PUT /3/length HTTP/1.1\r\nHost: a\r\n";
        match chunk {
            None => client.send(
                [format!("{request}Content-Length: 1000003\r\n\r\n").as_bytes(), &body].concat(),
            ),
            Some(size) => upload_in_chunks(&mut client, "/3/length", &body, size),
        }
        assert_eq!(client.response().body.len(), 3);
        assert_same_bytes(&backend.last_request().body, &body, "upload");
    }
    let metrics = Client::connect(program.status_address()).get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("httplb_splice_fallbacks_total "));
    let fallbacks = line.expect("a metric").parse().unwrap();
    (program, fallbacks)
}

#[test]
fn where_splice_is_refused_bodies_are_copied_whole_and_it_is_told_once() {
    for error in ["EPERM", "ENOSYS", "EINVAL", "EACCES"] {
        for call in ["splice", "pipe2"] {
            let (program, fallbacks) = pass_large_bodies(refusal::refusing(&[(call, error)]));
            assert!(fallbacks >= 6, "{call} {error}: {fallbacks}");
            assert_eq!(program.count_messages("refuses splice"), 1, "{call} {error}");
        }
    }
}

#[test]
fn where_splice_is_refused_in_the_middle_of_a_body_the_rest_is_copied() {
    // What the start tries is a byte. A fill asks for all that a pipe takes, what drains it says how
    // much is there.
    for range in [2..200_000, 200_000..u32::MAX] {
        let command = refusal::refusing_some("splice", "EINVAL", 4, range.clone());
        let (program, fallbacks) = pass_large_bodies(command);
        assert!(fallbacks > 0, "{range:?}: {fallbacks}");
        assert_eq!(program.count_messages("refuses splice"), 1, "{range:?}");
    }
}

#[test]
fn pipes_that_may_not_grow_are_used_as_they_are() {
    const F_SETPIPE_SZ: u32 = 1031;
    let command = refusal::refusing_some("fcntl", "EPERM", 1, F_SETPIPE_SZ..F_SETPIPE_SZ + 1);
    let (program, fallbacks) = pass_large_bodies(command);
    assert_eq!((fallbacks, program.count_messages("splice")), (0, 0));
}

/// All chunks but the last.
fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, chunk) in body.chunks(size).enumerate() {
        // One in the middle is written as it must not go on.
        let zeros = if number == 1_000_000 / size { "00" } else { "" };
        write!(bytes, "{zeros}{:X}\r\n", chunk.len()).unwrap();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn uploads_of_every_size_and_framing_come_whole_and_return_whole() {
    let backend = Backend::answering(|request| Answer::text(&request.body));
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    for chunk in [None, Some(99), Some(999), Some(16_384), Some(50_000), Some(10_000_000)] {
        for len in SIZES {
            let body = noise(len, len as u64 + 1);
            upload(&mut client, &body, chunk);
            let response = client.response();
            assert_same_bytes(&response.body, &body, &format!("{len} in chunks of {chunk:?}"));
        }
    }
    let is_same = |request: &Request| {
        request.body == noise(request.body.len(), request.body.len() as u64 + 1)
    };
    assert!(backend.requests().iter().all(is_same));
}

#[test]
fn bodies_that_come_in_pieces_of_any_size_come_whole() {
    let sent = Arc::new(noise(2_000_000, 9));
    let body = sent.clone();
    let backend = Backend::talking(move |connection| {
        while connection.request().is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            let mut rest = &body[..];
            let mut step = 1;
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(step.min(rest.len()));
                connection.send(piece);
                (rest, step) = (more, step * 7 % 70_001 + 1);
            }
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    for _ in 0..3 {
        assert_same_bytes(&client.get("/").body, &sent, "the body");
    }
}

#[test]
fn long_chunked_bodies_go_both_ways_at_once_and_come_whole() {
    let backend = Backend::talking(|connection| {
        while let Some(mut request) = connection.head() {
            let size: usize = request.target[1..].parse().unwrap();
            connection.read_body(&mut request);
            connection.give(&Answer::chunked(&request.body, size), &request);
        }
    });
    let program = Program::over(&[&backend]);
    thread::scope(|scope| {
        for (number, size) in [64, 1000, 4096, 16_384, 70_000, 16_384].into_iter().enumerate() {
            let program = &program;
            scope.spawn(move || {
                let body = noise(5_000_000 + number, number as u64);
                let mut client = program.client();
                for _ in 0..2 {
                    upload_in_chunks(&mut client, &format!("/{size}"), &body, size);
                    let response = client.response();
                    assert_same_bytes(&response.body, &body, &format!("in chunks of {size}"));
                }
            });
        }
    });
}

#[test]
fn many_large_downloads_at_once_come_whole() {
    let backends = [any_body(), any_body()];
    let program = Program::over(&[&backends[0], &backends[1]]);
    thread::scope(|scope| {
        for number in 0..12 {
            let program = &program;
            scope.spawn(move || {
                let len = 5_000_000 + number;
                let framings =
                    ["length", "chunked/100000", "close", "chunked/16384", "chunked/500"];
                let framing = framings[number % framings.len()];
                let response = program.client().get(&format!("/{len}/{framing}"));
                assert_same_bytes(&response.body, &noise(len, len as u64), framing);
            });
        }
    });
}

const BLOCK: usize = 1 << 20;

/// Sends `blocks` times the same block of noise, and counts what it could send.
fn stream(connection: &mut Connection, blocks: u64, sent: &AtomicU64) {
    let block = noise(BLOCK, 11);
    connection
        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blocks * BLOCK as u64));
    for _ in 0..blocks {
        for piece in block.chunks(BLOCK / 16) {
            if !connection.send(piece) {
                return;
            }
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
}

fn streaming(blocks: u64) -> (Backend, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let backend = Backend::talking(move |connection| {
        while connection.request().is_some() {
            stream(connection, blocks, &count);
        }
    });
    (backend, sent)
}

/// Reads the head, and leaves the body on the wire.
fn ask_for_stream(client: &mut Client) {
    client.ask("/");
    let head = crate::common::message::read_head(&mut client.wire).expect("a head");
    assert!(head.first_line.contains("200"), "{}", head.first_line);
}

/// Reads the blocks, each of which must be right, and calls `after` with the number of each.
fn read_blocks(client: &mut Client, blocks: u64, mut after: impl FnMut(u64)) {
    let wanted = noise(BLOCK, 11);
    let mut got = vec![0; BLOCK];
    for number in 0..blocks {
        let held = client.wire.take(client.wire.buffer.len().min(BLOCK));
        got[..held.len()].copy_from_slice(&held);
        client.wire.stream.read_exact(&mut got[held.len()..]).expect("the rest of a block");
        assert_same_bytes(&got, &wanted, &format!("block {number}"));
        after(number);
    }
}

#[test]
fn a_gibibyte_through_a_slow_reader_needs_no_memory() {
    let (backend, _) = streaming(1024);
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    let before = program.memory();
    ask_for_stream(&mut client);
    let mut most = 0;
    read_blocks(&mut client, 1024, |number| {
        if number % 64 == 0 {
            thread::sleep(Duration::from_millis(50)); // the backend runs into a full proxy
        }
        most = program.memory().max(most);
    });
    assert!(most < before + (4 << 20), "{} KiB more", (most - before) >> 10);
}

/// Waits until the number no longer grows, and tells it.
fn settled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    until("it stands still", || {
        thread::sleep(Duration::from_millis(400));
        let now = count.load(Ordering::Relaxed);
        std::mem::replace(&mut last, now) == now
    });
    last
}

#[test]
fn a_client_that_does_not_read_holds_its_backend_and_no_timer_ends_it() {
    let (backend, sent) = streaming(300);
    let config =
        json!({ "backend_servers": servers(&[&backend]), "timeouts": { "response": "500ms" } });
    let program = Program::with(config);
    let before = program.memory();
    let mut client = program.client();
    ask_for_stream(&mut client);
    let held = settled(&sent);
    assert!(held < 100 * BLOCK as u64, "{held} bytes were taken from the backend");
    assert!(program.memory() < before + (4 << 20));
    thread::sleep(Duration::from_millis(1500)); // longer than the backend may be silent
    read_blocks(&mut client, 300, |_| ());
    assert_eq!(backend.request_count(), 1);
}

#[test]
fn a_backend_that_does_not_read_holds_its_client() {
    let gate = crate::common::Gate::new();
    let waiting = gate.clone();
    let backend = Backend::talking(move |connection| {
        while let Some(mut request) = connection.head() {
            waiting.wait();
            connection.read_body(&mut request);
            connection.give(&Answer::text(request.body.len().to_string()), &request);
        }
    });
    let program = Program::over(&[&backend]);
    let before = program.memory();
    let mut client = program.client();
    let blocks = 100_u64;
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        blocks * BLOCK as u64
    ));
    let sent = Arc::new(AtomicU64::new(0));
    let (mut stream, count) = (client.wire.stream.try_clone().unwrap(), sent.clone());
    let sending = thread::spawn(move || {
        for _ in 0..blocks {
            for piece in noise(BLOCK, 11).chunks(BLOCK / 16) {
                stream.write_all(piece).unwrap();
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    });
    let held = settled(&sent);
    assert!(held < blocks * BLOCK as u64, "the proxy took it all");
    assert!(program.memory() < before + (4 << 20));
    gate.open();
    assert_eq!(client.response().text(), (blocks * BLOCK as u64).to_string());
    sending.join().unwrap();
}

#[test]
fn a_large_answer_cut_short_never_looks_whole() {
    for ending in [Answer::then_close as fn(Answer) -> Answer, Answer::then_reset] {
        let body = noise(3_000_000, 12);
        let chunk = format!("{:x}\r\n", body.len() + 1);
        for (head, body) in [
            ("Content-Length: 3000001\r\n\r\n", &body),
            (&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"), &body),
            ("Transfer-Encoding: chunked\r\n\r\n", &in_chunks(&body, 16_384)),
        ] {
            let bytes = [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), body].concat();
            let backend = Backend::always(ending(Answer::raw(bytes)));
            let program = Program::over(&[&backend]);
            let mut client = program.client();
            client.ask("/");
            assert!(client.receive("GET").is_err(), "{head}");
        }
    }
}

#[test]
fn a_client_that_leaves_amid_a_large_answer_harms_nobody() {
    let (backend, _) = streaming(200);
    let program = Program::over(&[&backend]);
    let descriptors = program.descriptor_count();
    for round in 0..6 {
        let mut client = program.client();
        ask_for_stream(&mut client);
        read_blocks(&mut client, 3, |_| ());
        if round % 2 == 0 { client.reset() } else { drop(client) }
    }
    until("the backend's connections end", || backend.open_connection_count() == 0);
    let mut client = program.client();
    ask_for_stream(&mut client);
    read_blocks(&mut client, 200, |_| ());
    drop(client);
    until("no descriptor is left over", || program.descriptor_count() <= descriptors + 8);
}

#[test]
fn a_large_upload_cut_short_never_looks_whole() {
    let backend = Backend::named("a");
    let mut program = Program::over(&[&backend]);
    for framing in
        ["Content-Length: 5000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"]
    {
        let mut client = program.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}"));
        client.send(noise(4_000_000, 13));
        client.reset();
    }
    assert_eq!(program.get("/").text(), "a");
    program.kill();
    backend.received_in_all();
    assert_eq!(backend.request_count(), 1);
}

/// Answers each POST with 202 once it has the first 64 KiB of it, and reads on, or leaves.
fn hasty(reads_on: bool) -> Backend {
    Backend::talking(move |connection| {
        while let Some(mut request) = connection.head() {
            if request.method == "POST" {
                connection.wire().read_until_len(64 * 1024).unwrap();
            }
            connection.send("HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nearly");
            if !reads_on {
                return connection.reset();
            }
            let Some(()) = connection.read_body(&mut request) else { return };
            connection.log(request);
        }
    })
}

#[test]
fn an_upload_goes_on_to_its_end_behind_a_response_that_is_complete_already() {
    let backend = hasty(true);
    let program = Program::over(&[&backend]);
    let body = noise(5_000_000, 1);
    let mut client = program.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body[..100_000]);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (202, "early"));
    assert!(!response.closes());
    client.send(&body[100_000..]);
    let whole = || backend.requests().into_iter().find(|request| !request.body.is_empty());
    let request = crate::common::eventually("the rest comes", whole);
    assert_same_bytes(&request.body, &body, "the upload");
    assert_eq!(client.get("/next").status, 202);
    assert_eq!(backend.connection_count(), 1);
}

#[test]
fn an_upload_that_a_backend_takes_no_more_behind_its_response_is_logged_with_the_reason() {
    let backend = hasty(false);
    let program = Program::logging(json!({ "backend_servers": servers(&[&backend]) }));
    let mut client = program.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
    client.send(noise(100_000, 1));
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (202, "early"));
    let line = &program.log_lines(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&json!(202), &json!("connection_terminated")));
}
