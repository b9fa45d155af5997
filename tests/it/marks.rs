//! What requests find out about a backend: out after `max_fails` failures in a row, back when it is well,
//! and everybody is told why.

use crate::common::{Answer, Backend, Program, Value, json, servers, until};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// One that does this to each request while it is ill, and else answers with its name.
fn sometimes_ill(answer: Answer) -> (Backend, Arc<AtomicBool>) {
    let is_ill = Arc::new(AtomicBool::new(true));
    let ill = is_ill.clone();
    let backend = Backend::answering(move |_| {
        if ill.load(Ordering::SeqCst) { answer.clone() } else { Answer::text("ill no more") }
    });
    (backend, is_ill)
}

fn operated(backends: &[&Backend], mut more: Value) -> Program {
    more["backend_servers"] = servers(backends);
    more["workers"] = json!(2);
    Program::operated(more)
}

/// How a backend may fail, and how that is called.
fn failures() -> [(Answer, &'static str); 6] {
    let long = Answer::text("a").with("X", &"x".repeat(40_000));
    let short = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    [
        (Answer::nothing().then_reset(), "3 connections in a row were reset"),
        (Answer::nothing().then_close(), "3 connections in a row were closed without a response"),
        (Answer::raw("SSH-2.0-x\r\n\r\n"), "3 responses in a row were malformed"),
        (long, "3 responses in a row had a head above the limit"),
        (short.then_close(), "3 responses in a row were cut short"),
        (Answer::status("500 Oh", "no"), "3 responses in a row had a status of fail_status"),
    ]
}

#[test]
fn a_backend_that_fails_each_request_is_out_after_max_fails_and_back_when_it_is_well() {
    for (answer, why) in failures() {
        let ((bad, is_ill), good) = (sometimes_ill(answer), Backend::named("good"));
        let config = json!({"fail_timeout": "1s", "fail_status": ["5xx"]});
        let program = operated(&[&bad, &good], config);
        let address = bad.address;
        // What is cut short takes its client along.
        let ask = || {
            let mut client = program.client();
            client.ask("/");
            client.receive("GET").map(|response| response.text()).unwrap_or_default()
        };
        until("it is out", || {
            ask();
            program.state("default", address) == "down"
        });
        assert_eq!(bad.request_count(), 3, "{why}");
        let shown = program.backend("default", address).expect("it is there");
        assert_eq!(shown["why"], why);
        assert!((0..12).all(|_| ask() == "good"), "nobody notices");
        let explained = program.look("/v1/explain?url=http://a/");
        assert_eq!(explained["pool"]["backends"][0]["why"], why, "{explained}");
        is_ill.store(false, Ordering::SeqCst);
        until("it is asked again, and answers", || ask() == "ill no more");
        assert_eq!(program.backend("default", address).expect("it is there")["why"], Value::Null);
        for part in [
            format!(
                "backend {address} is down: {why}, and it is out for 1s at least; 1/2 backends up"
            ),
            format!("backend {address} is up: it takes connections, and is on trial"),
        ] {
            program.wait_for_message(&part);
        }
    }
}

#[test]
fn with_checks_that_pass_it_comes_back_on_trial_and_fails_there_for_twice_as_long() {
    let answer = Answer::nothing().then_reset();
    let bad = Backend::answering(move |request| match request.target.as_str() {
        "/up" => Answer::text("fine"),
        _ => answer.clone(),
    });
    let good = Backend::named("good");
    let program = operated(
        &[&bad, &good],
        json!({"fail_timeout": "1s", "health_check": {"path": "/up", "interval": "200ms"}}),
    );
    let mut client = program.client();
    let line = format!("backend {} is down:", bad.address);
    let times = ["out for 1s at least", "out for 2s at least", "out for 4s at least"];
    for (count, time) in times.iter().enumerate() {
        until("it is out once more", || {
            assert_eq!(client.get("/").text(), "good");
            program.count_messages(&line) > count
        });
        program.wait_for_message(time);
    }
    let asked = bad.requests().iter().filter(|request| request.target == "/").count();
    assert_eq!(asked, 5, "three at first, and then one each time");
    program.wait_for_message("a connection was reset as soon as it was back");
}

#[test]
fn one_that_is_out_for_twice_as_long_is_so_over_a_reload() {
    let answer = Answer::nothing().then_reset();
    let bad = Backend::answering(move |request| match request.target.as_str() {
        "/up" => Answer::text("fine"),
        _ => answer.clone(),
    });
    let good = Backend::named("good");
    let check = json!({"path": "/up", "interval": "200ms"});
    let config = json!({"fail_timeout": "250ms", "health_check": check});
    let program = operated(&[&bad, &good], config);
    let line = format!("backend {} is down:", bad.address);
    let fail = |count| {
        until("it is out once more", || {
            assert_eq!(program.get("/").text(), "good");
            program.count_messages(&line) > count
        });
    };
    fail(0);
    fail(1);
    program.wait_for_message("out for 500ms at least");
    program.reload();
    fail(2);
    program.wait_for_message("out for 1s at least");
    // On trial too it is the one that has failed before.
    program.wait_for_state("default", bad.address, "up");
    program.reload();
    fail(3);
    program.wait_for_message("out for 2s at least");
    let shown = program.backend("default", bad.address).expect("it is there");
    assert_eq!(shown["why"], "a connection was reset as soon as it was back");
}

#[test]
fn one_whose_check_fails_is_down_for_what_the_check_was_answered() {
    let (one, two) = (Backend::always(Answer::status("404 No", "")), Backend::named("two"));
    let check = json!({"path": "/up", "interval": "200ms", "fall": 1});
    let program = operated(&[&one, &two], json!({"health_check": check}));
    program.wait_for_state("default", one.address, "down");
    let shown = program.backend("default", one.address).expect("it is there");
    assert_eq!(shown["why"], "its check was answered 404");
    let page = crate::common::Client::connect(program.status_address()).get("/").text();
    assert!(page.contains("its check was answered 404"), "{page}");
    assert_eq!(program.backend("default", two.address).expect("there")["why"], Value::Null);
}

/// One that resets each request whose number divides by `every`.
fn resets_every(every: usize, name: &'static str) -> Backend {
    let count = AtomicUsize::new(0);
    Backend::answering(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if number % every == 0 { Answer::nothing().then_reset() } else { Answer::text(name) }
    })
}

/// Four clients make so many GETs each. All are answered.
fn ask_much(program: &Program, each: usize) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = program.client();
                for _ in 0..each {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
}

#[test]
fn one_that_fails_every_second_request_stays() {
    let count = AtomicUsize::new(0);
    // Each over a connection of its own, for only there a reset is a failure, and one after the other, so that
    // no two of them are in a row.
    let bad = Backend::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Answer::nothing().then_reset(),
        _ => Answer::text("bad").with("Connection", "close").then_close(),
    });
    let good = Backend::named("good");
    let program = operated(&[&bad, &good], json!({}));
    let mut client = program.client();
    // So many that the retries stay below their limit.
    (0..240).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(program.count_messages("is down"), 0, "{}", program.stderr());
    assert!(bad.request_count() > 100, "{}", bad.request_count());
}

#[test]
fn where_one_request_of_eleven_is_reset_at_all_backends_nobody_goes_out_and_no_get_fails() {
    let backends = ["a", "b", "c"].map(|name| resets_every(11, name));
    let program = operated(&backends.each_ref(), json!({}));
    ask_much(&program, 500);
    assert_eq!(program.count_messages("is down"), 0, "{}", program.stderr());
    let asked: usize = backends.iter().map(Backend::request_count).sum();
    assert!(asked > 2000 + 2000 / 11, "{asked}: those that were reset were repeated");
}
