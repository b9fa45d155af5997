//! What becomes of a request whose backend fails: repeated elsewhere where that is harmless and
//! useful, else answered with the right status, and never sent twice when it may have run.

use crate::common::{
    Answer, Backend, Program, Request, Response, Value, assert_own_answer, json, servers, until,
};
use std::{
    thread,
    time::{Duration, Instant},
};

fn over(backends: &[&Backend], mut more: Value) -> Program {
    more["backend_servers"] = servers(backends);
    Program::with(more)
}

fn request(method: &str, fields: &str, body: &str) -> String {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} /x HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n{body}")
}

fn answer_to(program: &Program, bytes: &str) -> Response {
    let mut client = program.client();
    client.send(bytes);
    client.response()
}

fn total(backends: &[&Backend]) -> usize {
    backends.iter().map(|backend| backend.request_count()).sum()
}

/// The ways in which a backend may fail after it has read the request.
fn breaking() -> [Answer; 4] {
    let head = "HTTP/1.1 200 OK\r\nContent-Le";
    [
        Answer::nothing().then_close(),
        Answer::nothing().then_reset(),
        Answer::raw(head).then_close(),
        Answer::raw(head).then_reset(),
    ]
}

#[test]
fn a_backend_that_refuses_is_not_noticed_by_any_client() {
    let (absent, good) = (Backend::absent(), Backend::named("good"));
    let program = Program::over(&[&absent, &good]);
    let mut client = program.client();
    for _ in 0..15 {
        assert_eq!(client.get("/").text(), "good");
        client.send(request("POST", "", "hello"));
        assert_eq!(client.response().text(), "good");
    }
    assert_eq!(good.request_count(), 30);
}

#[test]
fn a_backend_that_cannot_even_be_tried_is_one_that_refuses() {
    let good = Backend::named("good");
    // The kernel connects to no broadcast address, and says so at once.
    let mut all = servers(&[&good]);
    all.as_array_mut().unwrap().push(json!({"ip": "127.255.255.255", "port": 80}));
    let program = Program::with(json!({"backend_servers": all, "workers": 1}));
    let mut client = program.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "good", "over one connection, by one worker");
    }
    assert!(!program.stderr().contains("exited"), "{}", program.stderr());
}

#[test]
fn when_all_refuse_the_answer_is_502_at_once() {
    let (one, two) = (Backend::absent(), Backend::absent());
    let program = Program::over(&[&one, &two]);
    let mut client = program.client();
    for _ in 0..10 {
        assert_own_answer(&client.get("/"), "502 Bad Gateway", "connection_refused");
        client.send(request("POST", "", "hello"));
        assert_own_answer(&client.response(), "502 Bad Gateway", "connection_refused");
    }
}

#[test]
fn a_pool_without_backends_answers_503_at_once() {
    let program = over(&[], json!({}));
    let mut client = program.client();
    for _ in 0..3 {
        assert_own_answer(&client.get("/"), "503 Service Unavailable", "destination_unavailable");
    }
}

#[test]
fn an_own_answer_to_head_has_no_body_and_the_same_fields() {
    let program = over(&[], json!({}));
    let mut client = program.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD");
    let full = client.get("/");
    assert_eq!((head.status, head.text()), (503, String::new()));
    assert_eq!(head.field("Content-Length"), full.field("Content-Length"));
}

#[test]
fn an_own_answer_carries_the_clients_request_id() {
    let program = over(&[], json!({}));
    let response = answer_to(&program, &request("GET", "X-Request-ID: mine\r\n", ""));
    assert_eq!(response.field("X-Request-ID"), Some("mine"));
}

#[test]
fn a_connection_that_ends_before_a_whole_head_becomes_502() {
    for answer in breaking() {
        let backend = Backend::always(answer);
        let program = over(&[&backend], json!({ "retries": 0 }));
        let mut client = program.client();
        for method in ["GET", "POST"] {
            client.send(request(method, "", ""));
            assert_own_answer(&client.response(), "502 Bad Gateway", "connection_terminated");
        }
        assert_eq!(backend.request_count(), 2);
    }
}

#[test]
fn a_safe_or_idempotent_request_is_repeated_on_another_backend() {
    for answer in breaking() {
        let (bad, good) = (Backend::always(answer), Backend::named("good"));
        let program = Program::over(&[&bad, &good]);
        let mut client = program.client();
        for method in ["GET", "OPTIONS", "DELETE", "PUT"] {
            for _ in 0..2 {
                client.send(request(method, "", if method == "PUT" { "hello" } else { "" }));
                assert_eq!(client.response().text(), "good");
            }
        }
        assert!(bad.request_count() > 0 && good.request_count() == 8);
        let put = |request: &Request| request.method != "PUT" || request.body == b"hello";
        assert!(good.requests().iter().all(put));
    }
}

#[test]
fn a_post_that_may_have_run_is_never_sent_twice_and_always_answered() {
    for method in ["POST", "PATCH", "FROB"] {
        for answer in breaking() {
            let bad = [Backend::always(answer.clone()), Backend::always(answer)];
            let program = Program::over(&[&bad[0], &bad[1]]);
            let response = answer_to(&program, &request(method, "", "hello"));
            assert_own_answer(&response, "502 Bad Gateway", "connection_terminated");
            assert_eq!(total(&[&bad[0], &bad[1]]), 1, "{method}");
        }
    }
}

#[test]
fn a_post_with_an_idempotency_key_is_repeated() {
    let (bad, good) = (Backend::always(Answer::nothing().then_close()), Backend::named("good"));
    let program = Program::over(&[&bad, &good]);
    for _ in 0..4 {
        let response = answer_to(&program, &request("POST", "Idempotency-Key: \"k\"\r\n", "hello"));
        assert_eq!(response.text(), "good");
    }
    assert_eq!(good.request_count(), 4);
    assert!(good.requests().iter().all(|request| request.body == b"hello"));
}

#[test]
fn a_chunked_put_is_repeated_whole() {
    let (bad, good) = (Backend::always(Answer::nothing().then_close()), Backend::named("good"));
    let program = Program::over(&[&bad, &good]);
    for _ in 0..4 {
        let chunks =
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\nyou\r\n0\r\nX-Sum: 1\r\n\r\n";
        let response = answer_to(&program, &format!("PUT /x HTTP/1.1\r\nHost: a\r\n{chunks}"));
        assert_eq!(response.text(), "good");
    }
    assert!(bad.request_count() > 0);
    assert!(good.requests().iter().all(|request| request.body == b"helloyou"));
}

#[test]
fn an_answer_of_the_backends_own_passes_whatever_its_status() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let backends = [
            Backend::always(Answer::status(status, "mine")),
            Backend::always(Answer::status(status, "mine")),
        ];
        let program = Program::over(&[&backends[0], &backends[1]]);
        let response = program.client().get("/");
        assert_eq!(format!("{} {}", response.status, response.reason), status);
        assert_eq!(response.text(), "mine");
        assert!(!response.head.has("Proxy-Status"));
        assert_eq!(total(&[&backends[0], &backends[1]]), 1);
    }
}

#[test]
fn a_request_is_tried_once_and_then_as_often_as_retries_says() {
    for retries in [0, 1, 2, 3] {
        let bad: Vec<Backend> =
            (0..5).map(|_| Backend::always(Answer::nothing().then_close())).collect();
        let all: Vec<&Backend> = bad.iter().collect();
        let program = over(&all, json!({ "retries": retries }));
        assert_own_answer(&program.client().get("/"), "502 Bad Gateway", "connection_terminated");
        assert_eq!(total(&all), 1 + retries);
        assert!(bad.iter().all(|backend| backend.request_count() <= 1), "each another one");
    }
}

#[test]
fn repeats_are_a_fraction_of_the_requests() {
    let (bad, good) = (Backend::always(Answer::nothing().then_close()), Backend::named("good"));
    // It stays in rotation for a while.
    let program = over(&[&bad, &good], json!({ "max_fails": 100 }));
    let (mut client, start, mut failed) = (program.client(), Instant::now(), 0);
    const REQUESTS: usize = 1000;
    for _ in 0..REQUESTS {
        let response = client.get("/");
        failed += usize::from(response.status == 502);
    }
    let repeats = total(&[&bad, &good]) - REQUESTS;
    let seconds = start.elapsed().as_secs() as usize + 2;
    assert!(repeats <= REQUESTS / 5 + 100 + 10 * seconds, "{repeats} repeats in {seconds} s");
    assert!(repeats >= 10, "{repeats} repeats");
    assert_eq!(bad.request_count(), repeats + failed);
}

#[test]
fn what_is_not_answered_in_time_is_repeated_once_if_it_asks_for_nothing_else() {
    let hanging = [(); 3].map(|()| Backend::always(Answer::nothing().then_hang()));
    let all = hanging.each_ref();
    let program = over(&all, json!({ "timeouts": { "response": "300ms" } }));
    assert_own_answer(&program.client().get("/"), "504 Gateway Timeout", "http_response_timeout");
    assert_eq!(total(&all), 2, "on another backend, and then no more");
    let counts = hanging.each_ref().map(Backend::request_count);
    assert_eq!(counts.iter().max(), Some(&1));
    for method in ["POST", "PATCH", "PUT", "DELETE"] {
        let before = total(&all);
        let response = answer_to(&program, &request(method, "", "hello"));
        assert_own_answer(&response, "504 Gateway Timeout", "http_response_timeout");
        assert_eq!(total(&all), before + 1, "{method}");
    }
    until("the hanging connections are closed", || {
        all.iter().all(|backend| backend.open_connection_count() == 0)
    });
    let alone = Backend::always(Answer::nothing().then_hang());
    let program = over(&[&alone], json!({ "timeouts": { "response": "300ms" } }));
    assert_eq!((program.client().get("/").status, alone.request_count()), (504, 1));
}

#[test]
fn a_request_that_hangs_at_one_backend_is_answered_by_another() {
    let (hanging, good) = (Backend::always(Answer::nothing().then_hang()), Backend::named("good"));
    let program = over(&[&hanging, &good], json!({ "timeouts": { "response": "300ms" } }));
    let mut client = program.client();
    for _ in 0..12 {
        assert_eq!(client.get("/").text(), "good");
    }
    // By then it is out: three requests in a row were not answered in time.
    assert_eq!(hanging.request_count(), 3);
}

#[test]
fn a_handshake_that_does_not_end_becomes_504() {
    let full = Backend::full();
    let program = over(&[&full], json!({ "timeouts": { "connect": "300ms" } }));
    let mut client = program.client();
    assert_own_answer(&client.get("/"), "504 Gateway Timeout", "connection_timeout");
    client.send(request("POST", "", "hello"));
    assert_own_answer(&client.response(), "504 Gateway Timeout", "connection_timeout");
}

#[test]
fn a_handshake_that_does_not_end_is_given_up_for_another_backend() {
    let (full, good) = (Backend::full(), Backend::named("good"));
    let program = over(&[&full, &good], json!({ "timeouts": { "connect": "200ms" } }));
    let mut client = program.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "good");
        client.send(request("POST", "", "hello"));
        assert_eq!(client.response().text(), "good");
    }
}

#[test]
fn nothing_is_repeated_once_the_client_has_seen_a_byte() {
    let part = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    for answer in [part.clone().then_close(), part.then_reset()] {
        let backends = [Backend::always(answer.clone()), Backend::always(answer)];
        let program = Program::over(&[&backends[0], &backends[1]]);
        let mut client = program.client();
        client.ask("/");
        assert!(client.receive("GET").is_err());
        assert_eq!(total(&[&backends[0], &backends[1]]), 1);
    }
}

/// Answers the first request of each connection, and closes at the second one.
fn forgetful() -> Backend {
    Backend::talking(|connection| {
        if let Some(request) = connection.request() {
            connection.give(&Answer::text("good"), &request);
            connection.request();
        }
    })
}

#[test]
fn a_kept_connection_that_turns_out_stale_is_not_noticed() {
    let backend = forgetful();
    let program = over(&[&backend], json!({ "retries": 0, "timeouts": { "backend_idle": "60s" } }));
    let mut client = program.client();
    for _ in 0..12 {
        assert_eq!(client.get("/").text(), "good");
    }
}

#[test]
fn a_backend_that_closes_after_each_answer_without_saying_so_loses_eight_posts_and_no_more() {
    let backend = forgetful();
    let program = over(&[&backend], json!({ "workers": 1 }));
    let mut client = program.client();
    let mut lost = Vec::new();
    for number in 0..60 {
        client.send(request("POST", "", "hello"));
        if client.response().status != 200 {
            lost.push(number);
        }
    }
    assert!(lost.len() <= 8, "{lost:?}");
    program.wait_for_message("closes its connections after each response without saying so");
    assert!(lost.iter().all(|number| *number < 20), "{lost:?}");
}

#[test]
fn a_post_on_a_stale_connection_is_answered_and_not_repeated() {
    for _ in 0..5 {
        let backend = forgetful();
        let program = Program::over(&[&backend]);
        let mut client = program.client();
        assert_eq!(client.get("/").text(), "good");
        client.send(request("POST", "", "hello"));
        assert!([200, 502].contains(&client.response().status));
        let posts = backend.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(posts, 1);
    }
}

#[test]
fn a_post_takes_no_connection_that_was_unused_for_more_than_a_second() {
    let backend = Backend::named("good");
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "good");
    thread::sleep(Duration::from_millis(1300));
    client.send(request("POST", "", "hello"));
    assert_eq!(client.response().text(), "good");
    assert_eq!(backend.last_request().connection, 1);
}

#[test]
fn connections_that_the_backend_closed_while_unused_are_forgotten() {
    let backend = Backend::named("good");
    let program = over(&[&backend], json!({ "retries": 0 }));
    let mut client = program.client();
    for round in 0..5 {
        assert_eq!(client.get("/").text(), "good");
        assert_eq!(backend.connection_count(), round + 1);
        backend.close_connections();
    }
}

#[test]
fn a_backend_that_was_killed_is_taken_out_and_returns() {
    let (mut one, two) = (Backend::named("one"), Backend::named("two"));
    let program = Program::over(&[&one, &two]);
    let mut client = program.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(one.request_count(), 3);
    let address = one.address;
    one.stop();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "two");
    }
    let line = |word: &str| {
        let stderr = program.stderr();
        stderr.lines().any(|line| line.contains(&address.to_string()) && line.contains(word))
    };
    until("a message that it is down", || line("down"));
    one.start_again();
    until("it is asked again", || {
        assert_eq!(client.get("/").status, 200);
        thread::sleep(Duration::from_millis(10));
        one.request_count() > 3
    });
    until("a message that it is up", || line("up"));
}

/// Hangs at `/hang`.
fn sometimes_hanging() -> Backend {
    Backend::answering(|request| {
        if request.target == "/hang" { Answer::nothing().then_hang() } else { Answer::text("good") }
    })
}

#[test]
fn a_backend_whose_answers_time_out_is_taken_out() {
    let (one, two) = (sometimes_hanging(), Backend::named("two"));
    let config =
        json!({ "max_fails": 1, "fail_timeout": "60s", "timeouts": { "response": "300ms" } });
    let program = over(&[&one, &two], config);
    let mut client = program.client();
    while one.request_count() == 0 {
        assert_eq!(client.get("/hang").text(), "two");
    }
    let before = one.request_count();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "two");
    }
    assert_eq!(one.request_count(), before);
}

#[test]
fn a_backend_whose_answers_timed_out_returns() {
    let (one, two) = (sometimes_hanging(), Backend::named("two"));
    let config =
        json!({ "max_fails": 1, "fail_timeout": "1s", "timeouts": { "response": "300ms" } });
    let program = over(&[&one, &two], config);
    let mut client = program.client();
    while one.request_count() == 0 {
        assert_eq!(client.get("/hang").text(), "two");
    }
    let before = one.request_count();
    until("it is asked again", || {
        thread::sleep(Duration::from_millis(10));
        client.get("/").status == 200 && one.request_count() > before
    });
}

#[test]
fn a_client_that_never_sends_its_body_takes_no_backend_out() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let config =
        json!({ "max_fails": 1, "fail_timeout": "60s", "timeouts": { "response": "300ms" } });
    let program = over(&[&one, &two], config);
    for _ in 0..2 {
        let mut client = program.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(client.response().status, 504);
    }
    let mut client = program.client();
    let answers: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    assert!(["one", "two"].iter().all(|name| answers.iter().any(|answer| answer == name)));
}

#[test]
fn answers_of_500_take_no_backend_out_unless_fail_status_says_so() {
    let answer = Answer::status("500 Internal Server Error", "");
    let (bad, good) = (Backend::always(answer), Backend::named("good"));
    let program = over(&[&bad, &good], json!({ "max_fails": 1, "fail_timeout": "60s" }));
    let mut client = program.client();
    for _ in 0..16 {
        client.get("/");
    }
    assert_eq!(bad.request_count(), 8);
}

#[test]
fn the_last_backend_that_is_up_is_never_taken_out() {
    let hanging = sometimes_hanging();
    let config =
        json!({ "max_fails": 1, "fail_timeout": "60s", "timeouts": { "response": "200ms" } });
    let program = over(&[&hanging], config);
    let mut client = program.client();
    for _ in 0..3 {
        assert_eq!(client.get("/hang").status, 504);
    }
    assert_eq!(client.get("/").text(), "good");

    let mut absent = Backend::absent();
    let program = over(&[&absent], json!({ "max_fails": 1, "fail_timeout": "60s" }));
    let mut client = program.client();
    for _ in 0..3 {
        assert_own_answer(&client.get("/"), "502 Bad Gateway", "connection_refused");
    }
    absent.start_again();
    assert_eq!(client.get("/").text(), "absent");
}

#[test]
fn a_body_that_is_still_coming_is_not_repeated_but_answered() {
    let backends: [Backend; 2] = std::array::from_fn(|_| {
        Backend::talking(|connection| {
            connection.head(); // and closes without reading the body
        })
    });
    let program = Program::over(&[&backends[0], &backends[1]]);
    let mut client = program.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello");
    let response = client.response();
    assert_own_answer(&response, "502 Bad Gateway", "connection_terminated");
    assert_eq!(total(&[&backends[0], &backends[1]]), 1);
}
