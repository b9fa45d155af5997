//! The cache over all workers: equal misses are one request; and answers that are stale.

use crate::common::{
    Answer, Backend, Client, Gate, Program, assert_same_bytes, eventually, json, noise, process,
    stored::{Shelf, ask, fresh, is_hit, metric, status},
    until,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

const CLIENTS: usize = 100;

fn over_four_workers(shelf: &Shelf, backend: &Backend) -> Program {
    let mut config = shelf.config(&[backend]);
    config["workers"] = json!(4);
    Program::operated(config)
}

/// So many clients that have sent the same request.
fn ask_at_once(program: &Program, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| program.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("/a"));
    clients
}

/// Returns when so many requests were taken in, by all workers.
fn wait_for_all(program: &Program, count: usize) {
    until("all requests are taken in", || metric(program, "httplb_requests_total") >= count as u64);
}

#[test]
fn a_hundred_equal_misses_over_four_workers_are_one_request() {
    let gate = Gate::new();
    let body = noise(100_000, 1);
    let given = body.clone();
    let backend = Backend::gated(&gate, move |_| fresh(&given));
    let shelf = Shelf::new();
    let program = over_four_workers(&shelf, &backend);
    let mut clients = ask_at_once(&program, CLIENTS);
    backend.wait_for_requests(1);
    wait_for_all(&program, CLIENTS);
    assert_eq!(backend.request_count(), 1);
    gate.open();
    for client in &mut clients {
        assert_same_bytes(&client.response().body, &body, "a client that waited");
    }
    assert_eq!(backend.request_count(), 1);
    assert!(is_hit(&ask(&program, "/a", "")));
}

#[test]
fn an_answer_that_is_for_nobody_else_lets_all_go_at_once() {
    let (gate, second) = (Gate::new(), Gate::new());
    let count = Arc::<AtomicUsize>::default();
    let backend = {
        let (gate, second) = (gate.clone(), second.clone());
        Backend::answering(move |_| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            if first {
                gate.wait()
            } else {
                second.wait()
            }
            Answer::text("a").with("Cache-Control", "private, max-age=60")
        })
    };
    let shelf = Shelf::new();
    let program = over_four_workers(&shelf, &backend);
    let mut clients = ask_at_once(&program, CLIENTS);
    backend.wait_for_requests(1);
    gate.open();
    // None of them waits for another any more.
    backend.wait_for_requests(CLIENTS);
    second.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "a"));
    assert_eq!(backend.request_count(), CLIENTS);
    // The key is known for a while: whoever comes now goes at once.
    let before = backend.request_count();
    assert_eq!(program.get("/a").text(), "a");
    assert_eq!(backend.request_count(), before + 1);
}

#[test]
fn who_fetches_and_goes_away_harms_nobody() {
    let gate = Gate::new();
    let body = noise(400_000, 2);
    let given = body.clone();
    let backend = Backend::gated(&gate, move |_| fresh(&given));
    let shelf = Shelf::new();
    let program = over_four_workers(&shelf, &backend);
    let mut first = program.client();
    first.ask("/a");
    backend.wait_for_requests(1);
    let mut clients = ask_at_once(&program, 20);
    first.reset();
    gate.open();
    for client in &mut clients {
        assert_same_bytes(&client.response().body, &body, "a client that waited");
    }
    assert!(backend.request_count() <= 3, "{}", backend.request_count());
    until("it is stored", || is_hit(&ask(&program, "/a", "")));
}

#[test]
fn a_worker_that_is_killed_while_it_fetches_wakes_those_who_wait() {
    let gate = Gate::new();
    let count = Arc::<AtomicUsize>::default();
    let backend = {
        let gate = gate.clone();
        Backend::answering(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                gate.wait();
            }
            fresh("a")
        })
    };
    let shelf = Shelf::new();
    let mut config = shelf.config(&[&backend]);
    config["workers"] = json!(2);
    let program = Program::operated(config);
    let mut first = program.client();
    first.ask("/a");
    backend.wait_for_requests(1);
    let mut others = ask_at_once(&program, 20);
    wait_for_all(&program, 21);
    let workers = program.workers();
    let holder = |client: &Client| {
        process::holder(&workers, client.address(), program.address).expect("one of the workers")
    };
    let fetching = holder(&first);
    let lost: Vec<bool> = others.iter().map(|client| holder(client) == fetching).collect();
    assert_eq!(backend.request_count(), 1);
    process::kill(fetching);
    for (client, is_lost) in others.iter_mut().zip(lost) {
        match client.receive("GET") {
            Ok(response) => assert!(!is_lost && response.text() == "a"),
            Err(cut) => assert!(is_lost && cut.response.is_none() && cut.rest.is_empty()),
        }
    }
    gate.open();
    until("another worker serves", || is_hit(&ask(&program, "/a", "")));
}

#[test]
fn a_stale_answer_is_given_at_once_and_renewed_behind_it() {
    let count = Arc::<AtomicUsize>::default();
    let gate = Gate::new();
    let backend = {
        let (gate, count) = (gate.clone(), count.clone());
        Backend::answering(move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            if number > 0 {
                gate.wait();
            }
            let lifetime = if number == 0 { 1 } else { 60 };
            let directives = format!("max-age={lifetime}, stale-while-revalidate=60");
            Answer::text(number.to_string()).with("Cache-Control", &directives)
        })
    };
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    assert_eq!(program.get("/").text(), "0");
    let stale = eventually("the answer is stale", || {
        let response = program.get("/");
        status(&response).starts_with("hit; ttl=-").then_some(response)
    });
    // Nobody waits for the backend, which is held up.
    assert_eq!(stale.text(), "0");
    backend.wait_for_requests(2);
    assert_eq!(program.get("/").text(), "0");
    assert_eq!(backend.request_count(), 2, "one refresh at a time");
    gate.open();
    until("the new answer is there", || program.get("/").text() == "1");
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn a_stale_answer_stands_in_for_an_error_where_it_may() {
    let fails = Arc::<AtomicBool>::default();
    let mut backend = {
        let fails = fails.clone();
        Backend::answering(move |request| {
            if fails.load(Ordering::SeqCst) {
                return Answer::status("503 Service Unavailable", "busy");
            }
            let directives = match request.target.as_str() {
                "/may" => "max-age=0, stale-if-error=60",
                "/must" => "max-age=0, must-revalidate, stale-if-error=60",
                _ => "max-age=0",
            };
            let etag = format!("\"{}\"", request.target);
            Answer::text("good").with("Cache-Control", directives).with("ETag", &etag)
        })
    };
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    for target in ["/may", "/must", "/plain"] {
        assert_eq!(program.get(target).text(), "good");
    }
    fails.store(true, Ordering::SeqCst);
    let stale = program.get("/may");
    assert_eq!((stale.status, stale.text().as_str()), (200, "good"));
    assert_eq!(program.get("/must").status, 503);
    assert_eq!(program.get("/plain").status, 503, "it was not said that it may");
    backend.stop();
    assert_eq!(program.get("/may").text(), "good");
    // Nobody can be asked, and nothing forbids it.
    assert_eq!(program.get("/plain").text(), "good");
    assert!(program.get("/must").status >= 502);
}

#[test]
fn what_is_validated_is_not_sent_again() {
    let backend = Backend::answering(|request| match request.field("If-None-Match") {
        Some("\"one\"") => Answer::raw(
            "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nCache-Control: no-cache\r\n\r\n",
        ),
        _ => Answer::text(noise(100_000, 5))
            .with("ETag", "\"one\"")
            .with("Cache-Control", "no-cache"),
    });
    let shelf = Shelf::new();
    let program = shelf.program(&[&backend]);
    program.get("/");
    for count in 2..5 {
        let response = program.get("/");
        assert_same_bytes(&response.body, &noise(100_000, 5), "what was confirmed");
        assert!(status(&response).contains("fwd-status=304"), "{}", status(&response));
        let requests = backend.wait_for_requests(count);
        assert_eq!(requests.last().unwrap().field("If-None-Match"), Some("\"one\""));
    }
}

/// The head of an answer to all of `body`, its first half, and the second once the gate is open.
fn in_halves(gate: &Gate, body: &[u8]) -> Backend {
    let (gate, body) = (gate.clone(), body.to_vec());
    Backend::talking(move |connection| {
        while connection.request().is_some() {
            let (first, second) = body.split_at(body.len() / 2);
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if !connection.send(head) || !connection.send(first) {
                return;
            }
            gate.wait();
            if !connection.send(second) {
                return;
            }
        }
    })
}

/// Reads what there is of an answer, up to so many bytes of its body.
fn read_part(client: &mut Client, body: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_exactly(1));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_same_bytes(&client.read_exactly(body.len()), body, &head);
}

/// docs/CACHE.md, rule 15.
#[test]
fn who_waits_gets_what_there_is_and_the_fetch_goes_on_without_the_one_who_asked() {
    let gate = Gate::new();
    let body = noise(900_000, 3);
    let backend = in_halves(&gate, &body);
    let shelf = Shelf::new();
    let program = over_four_workers(&shelf, &backend);
    let mut first = program.client();
    first.ask("/a");
    let (half, rest) = body.split_at(body.len() / 2);
    read_part(&mut first, half);
    let mut clients = ask_at_once(&program, 20);
    for client in &mut clients {
        read_part(client, half);
    }
    first.reset();
    // Who comes after that follows as well.
    let mut late = ask_at_once(&program, 3);
    for client in &mut late {
        read_part(client, half);
    }
    gate.open();
    for client in clients.iter_mut().chain(&mut late) {
        assert_same_bytes(&client.read_exactly(rest.len()), rest, "the rest");
    }
    until("it is stored", || is_hit(&ask(&program, "/a", "")));
    assert_eq!(backend.request_count(), 1);
    shelf.assert_no_leftovers();
}

/// docs/CACHE.md, rule 17.
#[test]
fn who_follows_a_worker_that_is_killed_is_cut_and_nothing_is_left_over() {
    let gate = Gate::new();
    let body = noise(900_000, 4);
    let backend = in_halves(&gate, &body);
    let shelf = Shelf::new();
    let program = over_four_workers(&shelf, &backend);
    let mut first = program.client();
    first.ask("/a");
    let half = &body[..body.len() / 2];
    read_part(&mut first, half);
    let mut clients = ask_at_once(&program, 12);
    for client in &mut clients {
        read_part(client, half);
    }
    let workers = program.workers();
    let leader = process::holder(&workers, first.address(), program.address);
    process::kill(leader.expect("one of the workers"));
    for client in &mut clients {
        client.expect_end();
    }
    gate.open();
    until("it is fetched anew", || is_hit(&ask(&program, "/a", "")));
    assert_same_bytes(&ask(&program, "/a", "").body, &body, "what is stored");
    until("nothing is left over", || {
        let places = shelf.files().len();
        places == 1
    });
    shelf.assert_no_leftovers();
}

/// The same without its length: in chunks, or until it closes. What breaks off does so behind the first half.
fn in_halves_of_unknown_length(gate: &Gate, body: &[u8], in_chunks: bool, breaks: bool) -> Backend {
    let (gate, body) = (gate.clone(), body.to_vec());
    Backend::talking(move |connection| {
        while connection.request().is_some() {
            let coding = if in_chunks { "Transfer-Encoding: chunked\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{coding}\r\n");
            let part = |bytes: &[u8]| match in_chunks {
                false => bytes.to_vec(),
                true => {
                    let line = format!("{:x}\r\n", bytes.len()).into_bytes();
                    [&line, bytes, b"\r\n"].concat()
                }
            };
            let (first, second) = body.split_at(body.len() / 2);
            if !connection.send(head) || !connection.send(part(first)) {
                return;
            }
            gate.wait();
            if breaks {
                return connection.reset();
            }
            if !connection.send(part(second)) || !in_chunks || !connection.send("0\r\n\r\n") {
                return;
            }
        }
    })
}

/// Returns when a client has the head of an answer and so much of its body, all of which stays to be read.
fn wait_for_part(client: &mut Client, len: usize) {
    let wire = &mut client.wire;
    until("a part is there", || {
        wire.buffer.len() > len || wire.more().is_ok() && wire.buffer.len() > len
    });
}

/// docs/CACHE.md, rules 15 and 17.
#[test]
fn what_does_not_say_its_length_is_followed_over_a_reload_and_ends_as_it_should() {
    for (in_chunks, breaks) in [(true, false), (false, false), (true, true), (false, true)] {
        let gate = Gate::new();
        let body = noise(900_000, 6);
        let backend = in_halves_of_unknown_length(&gate, &body, in_chunks, breaks);
        let shelf = Shelf::new();
        let program = over_four_workers(&shelf, &backend);
        let half = body.len() / 2;
        let mut first = program.client();
        first.ask("/a");
        wait_for_part(&mut first, half);
        let mut clients = ask_at_once(&program, 12);
        let mut old = program.client();
        old.send("GET /a HTTP/1.0\r\nHost: test\r\n\r\n");
        clients.iter_mut().for_each(|client| wait_for_part(client, half));
        wait_for_part(&mut old, half);
        first.reset();
        // The workers of before go on with it; those of now show it to whoever comes.
        program.reload();
        clients.extend(ask_at_once(&program, 4));
        clients.iter_mut().for_each(|client| wait_for_part(client, half));
        assert_eq!(backend.request_count(), 1);
        gate.open();
        clients.push(old);
        for client in &mut clients {
            match client.receive("GET") {
                Ok(response) => {
                    assert!(!breaks, "what was cut looks whole");
                    assert_same_bytes(&response.body, &body, "a client that followed");
                }
                Err(cut) => {
                    assert!(breaks, "{:?}", cut.end);
                    let part = cut.response.expect("a part").body;
                    assert_same_bytes(&part, &body[..part.len()], "a part");
                }
            }
        }
        if !breaks {
            assert_eq!(backend.request_count(), 1);
            until("it is stored", || is_hit(&ask(&program, "/a", "")));
            assert_same_bytes(&ask(&program, "/a", "").body, &body, "what is stored");
        }
        until("nothing is left over", || shelf.files().len() == usize::from(!breaks));
        shelf.assert_no_leftovers();
    }
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_a_killed_worker_has_fetched_without_a_length_looks_whole_to_nobody() {
    for in_chunks in [true, false] {
        let gate = Gate::new();
        let body = noise(900_000, 7);
        let backend = in_halves_of_unknown_length(&gate, &body, in_chunks, false);
        let shelf = Shelf::new();
        let program = over_four_workers(&shelf, &backend);
        let half = &body[..body.len() / 2];
        let mut first = program.client();
        first.ask("/a");
        wait_for_part(&mut first, half.len());
        let mut clients = ask_at_once(&program, 12);
        for _ in 0..4 {
            let mut old = program.client();
            old.send("GET /a HTTP/1.0\r\nHost: test\r\n\r\n");
            clients.push(old);
        }
        clients.iter_mut().for_each(|client| wait_for_part(client, half.len()));
        let workers = program.workers();
        let holder = |client: &Client| process::holder(&workers, client.address(), program.address);
        let leader = holder(&first).expect("one of the workers");
        // The kernel ends the connections of one that was killed as if it had ended them itself.
        let is_lost: Vec<bool> =
            clients.iter().map(|client| holder(client) == Some(leader)).collect();
        process::kill(leader);
        for (client, is_lost) in clients.iter_mut().zip(is_lost) {
            match client.receive("GET") {
                Ok(response) => assert!(is_lost && !response.head.has("Transfer-Encoding")),
                Err(cut) => {
                    assert_same_bytes(&cut.response.expect("a part").body, half, "a part");
                }
            }
        }
        gate.open();
        until("it is fetched anew", || is_hit(&ask(&program, "/a", "")));
        assert_same_bytes(&ask(&program, "/a", "").body, &body, "what is stored");
        until("nothing is left over", || shelf.files().len() == 1);
    }
}
