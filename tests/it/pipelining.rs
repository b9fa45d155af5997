//! Many requests of one client at once: in work together, answered in order.

use crate::common::{
    Answer, Backend, Gate, Program, Value, assert_own_answer, assert_same_bytes, json, noise,
    servers, until,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn gets(count: usize) -> String {
    (0..count).map(|number| get(&format!("/{number}"))).collect()
}

/// Answers with the target.
fn parrot() -> Backend {
    Backend::answering(|request| Answer::text(&request.target))
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let backends = [parrot(), parrot(), parrot()];
    let program = Program::over(&[&backends[0], &backends[1], &backends[2]]);
    for count in [2, 8, 9, 30, 100] {
        let mut client = program.client();
        client.send(gets(count));
        for number in 0..count {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
    }
}

#[test]
fn a_thousand_requests_at_once_are_answered_in_order() {
    let backends = [parrot(), parrot(), parrot()];
    for pipeline in [1, 3, 32] {
        let servers = servers(&[&backends[0], &backends[1], &backends[2]]);
        let program = Program::with(json!({ "backend_servers": servers, "pipeline": pipeline }));
        let mut client = program.client();
        let mut sender = client.wire.stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            std::io::Write::write_all(&mut sender, gets(1000).as_bytes()).unwrap()
        });
        for number in 0..1000 {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
        sending.join().unwrap();
    }
}

#[test]
fn four_requests_run_on_four_backends_at_once() {
    let gate = Gate::new();
    let backends: [Backend; 4] =
        std::array::from_fn(|_| Backend::gated(&gate, |request| Answer::text(&request.target)));
    let program = Program::over(&[&backends[0], &backends[1], &backends[2], &backends[3]]);
    let mut client = program.client();
    client.send(gets(4));
    for backend in &backends {
        backend.wait_for_requests(1);
    }
    gate.open();
    for number in 0..4 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    assert!(backends.iter().all(|backend| backend.request_count() == 1));
}

#[test]
fn answers_that_come_in_the_wrong_order_are_put_right() {
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    let backends: [Backend; 4] = std::array::from_fn(|_| {
        let gates = gates.clone();
        Backend::answering(move |request| {
            let number: usize = request.target[1..].parse().unwrap();
            gates[number].wait();
            Answer::text(noise(100_000, number as u64))
        })
    });
    let program = Program::over(&[&backends[0], &backends[1], &backends[2], &backends[3]]);
    let mut client = program.client();
    client.send(gets(4));
    for backend in &backends {
        backend.wait_for_requests(1);
    }
    for gate in gates.iter().rev() {
        gate.open();
    }
    for number in 0..4 {
        assert_same_bytes(
            &client.response().body,
            &noise(100_000, number),
            "the answer in its turn",
        );
    }
}

#[test]
fn the_shares_of_pipelined_requests_are_exact() {
    let backends = [parrot(), parrot(), parrot()];
    let program = Program::over(&[&backends[0], &backends[1], &backends[2]]);
    let mut client = program.client();
    client.send(gets(30));
    for _ in 0..30 {
        assert_eq!(client.response().status, 200);
    }
    for backend in &backends {
        assert_eq!(backend.request_count(), 10);
    }
}

#[test]
fn methods_and_bodies_of_all_kinds_may_be_mixed() {
    let answer = |request: &crate::common::Request| {
        Answer::text(format!("{} {}", request.method, String::from_utf8_lossy(&request.body)))
    };
    let backends = [Backend::answering(answer), Backend::answering(answer)];
    let program = Program::over(&[&backends[0], &backends[1]]);
    let requests = [
        ("GET", "\r\n", "GET "),
        ("HEAD", "\r\n", ""),
        ("POST", "Content-Length: 5\r\n\r\nhello", "POST hello"),
        ("GET", "\r\n", "GET "),
        ("HEAD", "\r\n", ""),
        ("PUT", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "PUT hello"),
        ("DELETE", "\r\n", "DELETE "),
        ("GET", "Content-Length: 3\r\n\r\nabc", "GET abc"),
        ("OPTIONS", "\r\n", "OPTIONS "),
        ("PATCH", "Content-Length: 0\r\n\r\n", "PATCH "),
        ("GET", "\r\n", "GET "),
    ];
    let mut client = program.client();
    for _ in 0..3 {
        let all: String = requests
            .iter()
            .map(|(method, rest, _)| format!("{method} /x HTTP/1.1\r\nHost: a\r\n{rest}"))
            .collect();
        client.send(all);
        for (method, _, body) in requests {
            assert_eq!(client.response_to(method).text(), body, "{method}");
        }
    }
}

#[test]
fn a_post_waits_for_all_before_it_and_holds_back_all_behind_it() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let backend = Backend::talking(move |connection| {
        while let Some(request) = connection.request() {
            log.lock().unwrap().push(format!("asked {}", request.target));
            crate::common::backend::pause();
            log.lock().unwrap().push(format!("answers {}", request.target));
            connection.give(&Answer::text(&request.target), &request);
        }
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(
        get("/1") + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + &get("/3"),
    );
    for number in 1..=3 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    let order: Vec<String> = (1..=3)
        .flat_map(|number| [format!("asked /{number}"), format!("answers /{number}")])
        .collect();
    assert_eq!(*events.lock().unwrap(), order);
}

#[test]
fn a_failure_in_the_middle_answers_its_own_request_alone() {
    let backend = || {
        Backend::answering(|request| match request.target.as_str() {
            "/2" => Answer::nothing().then_close(),
            target => Answer::text(target),
        })
    };
    let backends = [backend(), backend()];
    let servers = servers(&[&backends[0], &backends[1]]);
    let program = Program::with(json!({ "backend_servers": servers, "retries": 0 }));
    for _ in 0..5 {
        let mut client = program.client();
        client.send(gets(5));
        for number in 0..5 {
            let response = client.response();
            match number {
                2 => assert_own_answer(&response, "502 Bad Gateway", "connection_terminated"),
                _ => assert_eq!(response.text(), format!("/{number}")),
            }
        }
    }
}

#[test]
fn a_backend_that_closes_after_each_answer_loses_no_pipelined_request() {
    let backend = || {
        Backend::answering(|request| {
            Answer::text(&request.target).with("Connection", "close").then_close()
        })
    };
    let backends = [backend(), backend()];
    let program = Program::over(&[&backends[0], &backends[1]]);
    let mut client = program.client();
    for _ in 0..5 {
        client.send(gets(16));
        for number in 0..16 {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
    }
}

#[test]
fn a_backend_that_takes_one_request_at_a_time_gets_them_one_after_another() {
    let backend = parrot();
    let capped = backend.server_with(json!({ "max_connections": 1 }));
    let program =
        Program::with(json!({ "backend_servers": [capped], "timeouts": { "queue": "30s" } }));
    let mut clients = [program.client(), program.client(), program.client()];
    for client in &mut clients {
        client.send(gets(20));
    }
    for client in &mut clients {
        for number in 0..20 {
            assert_eq!(client.response().text(), format!("/{number}"));
        }
    }
}

#[test]
fn large_answers_behind_a_slow_one_come_whole() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let backend = Backend::answering(move |request| {
        let number: u64 = request.target[1..].parse().unwrap();
        if number == 0 {
            waiting.wait();
        }
        Answer::chunked(&noise(1_000_000, number), 10_000)
    });
    let other = Backend::answering(|request| {
        Answer::text(noise(1_000_000, request.target[1..].parse().unwrap()))
    });
    let program = Program::over(&[&backend, &other]);
    let mut client = program.client();
    client.send(gets(6));
    until("requests came", || backend.request_count() + other.request_count() >= 2);
    gate.open();
    for number in 0..6 {
        assert_same_bytes(
            &client.response().body,
            &noise(1_000_000, number),
            "the answer in its turn",
        );
    }
}

#[test]
fn requests_behind_one_that_closes_are_not_sent() {
    let backend = parrot();
    let mut program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(get("/1") + "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + &get("/3"));
    assert_eq!(client.response().text(), "/1");
    assert!(client.response().closes());
    client.expect_end();
    program.kill();
    assert!(!String::from_utf8_lossy(&backend.received_in_all().concat()).contains("/3"));
}

#[test]
fn many_clients_that_pipeline_get_each_its_own_answers() {
    let backends = [parrot(), parrot(), parrot()];
    let program = Program::over(&[&backends[0], &backends[1], &backends[2]]);
    let has_failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..20 {
            let (program, has_failed) = (&program, &has_failed);
            scope.spawn(move || {
                let mut client = program.client();
                for round in 0..10 {
                    let target = |index: usize| format!("/{number}/{round}/{index}");
                    client.send((0..8).map(|index| get(&target(index))).collect::<String>());
                    let is_right = (0..8).all(|index| client.response().text() == target(index));
                    has_failed.fetch_or(!is_right, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(!has_failed.load(Ordering::Relaxed));
    let mut seen = HashMap::new();
    for backend in &backends {
        for request in backend.requests() {
            *seen.entry(request.target).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), 1600);
    let counts = backends.each_ref().map(Backend::request_count);
    assert!(counts.iter().all(|count| count.abs_diff(1600 / 3) <= 1), "{counts:?}");
}

/// Requests come alone until the backend is known to be fast, and then in pairs: each is answered,
/// in order.
fn ask_alone_and_in_pairs(program: &Program, pairs: usize) {
    let mut client = program.client();
    for number in 0..12 {
        assert_eq!(client.get(&format!("/{number}")).text(), format!("/{number}"));
    }
    for _ in 0..pairs {
        client.send(gets(2));
        assert_eq!(client.response().text(), "/0");
        assert_eq!(client.response().text(), "/1");
    }
}

/// How many requests came to a backend.
fn count(backend: &Backend, target: &str) -> usize {
    backend.requests().iter().filter(|request| request.target == target).count()
}

#[test]
fn a_backend_that_answers_only_the_first_of_two_requests_in_a_segment_gets_them_apart() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            connection.wire().buffer.clear();
            connection.give(&Answer::text(&request.target), &request);
        }
    });
    let timeouts = json!({ "timeouts": { "response": "10m" } });
    let config = with(&[&backend], timeouts);
    let program = Program::with(config);
    ask_alone_and_in_pairs(&program, 50);
    let asked = backend.request_count();
    assert_eq!(asked, 12 + 100, "each was seen once: a first pair, and none behind it");
}

#[test]
fn a_backend_that_answers_the_second_request_only_when_more_bytes_come_gets_them_apart() {
    let backend = Backend::talking(|connection| {
        loop {
            // What is in the buffer already is looked at when the socket has more.
            if connection.wire().more().is_err() {
                return;
            }
            let Some(request) = connection.request() else { return };
            connection.give(&Answer::text(&request.target), &request);
        }
    });
    let program = Program::with(with(&[&backend], json!({ "timeouts": { "response": "10m" } })));
    ask_alone_and_in_pairs(&program, 50);
    assert_eq!(backend.request_count(), 12 + 100);
}

#[test]
fn what_follows_head_is_answered_by_a_backend_that_sends_a_body_with_it() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            let (target, length) = (&request.target, request.target.len());
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}"));
        }
    });
    let program = Program::over(&[&backend]);
    ask_alone_and_in_pairs(&program, 20);
    let mut client = program.client();
    for _ in 0..20 {
        client.send("HEAD /0 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + &get("/1"));
        assert_eq!(client.response_to("HEAD").status, 200);
        assert_eq!(client.response().text(), "/1");
    }
}

#[test]
fn a_get_behind_a_response_that_is_longer_than_it_says_is_answered() {
    let backend = Backend::talking(|connection| {
        while let Some(request) = connection.request() {
            let is_followed = !connection.wire().buffer.is_empty();
            connection.give(&Answer::text(&request.target), &request);
            if is_followed {
                connection.send("<p>and more</p>\r\n\r\n");
            }
        }
    });
    let program = Program::with(with(&[&backend], json!({ "retries": 0 })));
    ask_alone_and_in_pairs(&program, 50);
    let asked = count(&backend, "/1") - 1;
    assert!((50..=51).contains(&asked), "one pair may fail, and none follows it: {asked}");
}

#[test]
fn a_backend_that_takes_requests_early_gets_them_so_after_ten_pairs() {
    let backend = Backend::answering(|request| Answer::text(&request.target));
    let program = Program::with(with(&[&backend], json!({ "workers": 1 })));
    ask_alone_and_in_pairs(&program, 10);
    let before = backend.connection_count();
    let mut client = program.client();
    client.send(gets(8));
    for number in 0..8 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    assert_eq!(backend.connection_count(), before);
}

fn with(backends: &[&Backend], mut more: Value) -> Value {
    more["backend_servers"] = servers(backends);
    more
}
