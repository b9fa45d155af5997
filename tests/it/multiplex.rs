//! Requests of several clients over one connection of a backend that echoes.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Request, Value, eventually, json, servers,
};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Answers with the target and the identifier of the request.
fn own(request: &Request) -> Answer {
    let id = request.field("X-Request-ID").unwrap_or_default().to_owned();
    Answer::text(format!("{} {id}", request.target)).echoing(request)
}

/// One worker, so that all clients meet in it.
fn program(backends: &[&Backend]) -> Program {
    Program::operated_and_logging(json!({
        "backend_servers": servers(backends),
        "multiplex": "verified",
        "workers": 1,
        "timeouts": { "response": "20s" },
    }))
}

/// Asks for a target of its own, and demands the response to that and to nothing else.
fn ask(client: &mut Client, target: &str) {
    let response = client.get(target);
    let id = response.head.field("X-Request-ID").unwrap_or_default().to_owned();
    assert_eq!((response.status, response.text()), (200, format!("{target} {id}")));
}

/// Clients that ask all at once and again and again, until `enough`.
fn crowd(program: &Program, name: &str, clients: usize, enough: impl Fn() -> bool + Sync) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..clients {
            let (is_over, mut client) = (&is_over, program.client());
            scope.spawn(move || {
                for round in 0.. {
                    ask(&mut client, &format!("/{name}/{number}/{round}"));
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        eventually("enough was asked", || enough().then_some(()));
        is_over.store(true, Ordering::Relaxed);
    });
}

/// The access log, once it has been written.
fn log(program: &Program) -> Vec<Value> {
    let read = || std::fs::read_to_string(program.log_path()).unwrap_or_default();
    let text = eventually("a log of some length", || {
        Some(read()).filter(|text| text.ends_with('\n') && text.lines().count() > 100)
    });
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn shares(program: &Program) -> Value {
    program.look("/v1/pools/default")["backends"][0]["multiplex"].clone()
}

/// So many requests that the backend echoes, takes requests early, and is known for it.
fn acquainted(backends: &[&Backend]) -> Program {
    let program = program(backends);
    crowd(&program, "first", 16, || {
        shares(&program).as_str().is_some_and(|text| text.starts_with("yes: echoes, answers in "))
            && count(&program, "httplb_backend_shared_requests_total") > 100
    });
    program
}

/// The sum of a metric over all backends.
fn count(program: &Program, metric: &str) -> usize {
    let text = Client::connect(program.status_address()).get("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with(metric));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

#[test]
fn clients_share_connections_and_each_gets_its_own_responses() {
    let backend = Backend::answering(own);
    let program = acquainted(&[&backend]);
    let (connections, requests) = (backend.connection_count(), backend.request_count());
    assert!(connections < 64 && requests > 100, "{connections} connections, {requests} requests");
    let lines = log(&program);
    let shared = lines.iter().filter(|line| line["shared"] == true);
    assert!(shared.clone().count() > 0 && shared.clone().all(|line| line["reused"] == true));
    let explained = |method, field: &str| {
        let field = if field.is_empty() { String::new() } else { format!("&h={field}") };
        program.look(&format!("/v1/explain?method={method}&url=http://a/{field}"))["pool"].clone()
    };
    let pool = explained("GET", "");
    assert_eq!(pool["shares"], "yes");
    let of_backend = pool["backends"][0]["shares"].as_str().unwrap();
    assert!(of_backend.starts_with("yes: echoes, answers in "), "{of_backend}");
    for (method, field, why) in [("POST", "", "GET and OPTIONS"), ("GET", "X-Request-ID:a", "own")]
    {
        let shares = explained(method, field)["shares"].as_str().unwrap().to_owned();
        assert!(shares.starts_with("no: ") && shares.contains(why), "{shares}");
    }
}

#[test]
fn one_that_has_not_echoed_shares_nothing_and_says_why() {
    let backend = Backend::answering(|request| {
        let id = request.field("X-Request-ID").unwrap_or_default().to_owned();
        Answer::text(format!("{} {id}", request.target))
    });
    let program = program(&[&backend]);
    let done = AtomicUsize::new(0);
    crowd(&program, "a", 4, || done.fetch_add(1, Ordering::Relaxed) > 20);
    let no = "no: it has not echoed X-Request-ID 100 times in a row";
    eventually("the worker has told", || (shares(&program) == no).then_some(()));
    assert_eq!(count(&program, "httplb_backend_shared_requests_total"), 0);
}

#[test]
fn nobody_waits_for_a_strangers_slow_response() {
    let gate = Gate::new();
    let behind = gate.clone();
    let backend = Backend::answering(move |request| {
        if request.target == "/slow" {
            behind.wait();
        }
        own(request)
    });
    let program = acquainted(&[&backend]);
    let mut slow = program.client();
    slow.ask("/slow");
    // The gate is shut as long as these are asked.
    let asked = AtomicUsize::new(0);
    crowd(&program, "meanwhile", 8, || asked.fetch_add(1, Ordering::Relaxed) > 20);
    gate.open();
    assert!(slow.response().text().starts_with("/slow "));
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/large" => Answer::text("x".repeat(4 << 20)).echoing(request),
        _ => own(request),
    });
    let program = acquainted(&[&backend]);
    let mut greedy: Vec<Client> = (0..4).map(|_| program.client()).collect();
    greedy.iter_mut().for_each(|client| client.ask("/large"));
    let asked = AtomicUsize::new(0);
    crowd(&program, "meanwhile", 8, || asked.fetch_add(1, Ordering::Relaxed) > 20);
    for mut client in greedy {
        assert_eq!(client.response().text().len(), 4 << 20);
    }
}

#[test]
fn who_leaves_takes_nobodys_response_along() {
    let backend = Backend::answering(own);
    let program = acquainted(&[&backend]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = program.client();
                    client.ask("/left");
                    client.reset();
                }
            });
        }
        let asked = AtomicUsize::new(0);
        crowd(&program, "meanwhile", 8, || asked.fetch_add(1, Ordering::Relaxed) > 50);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(count(&program, "httplb_backend_identity_mismatches_total"), 0);
}

/// What a backend does that is known to echo, with each request that comes from then on.
fn hostile(
    change: impl Fn(&Request, &str) -> Answer + Send + Sync + 'static,
) -> (Backend, Program) {
    let is_hostile = std::sync::Arc::new(AtomicBool::new(false));
    let earlier = Mutex::new(String::new());
    let is_it = is_hostile.clone();
    let backend = Backend::answering(move |request| {
        let id = request.field("X-Request-ID").unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut *earlier.lock().unwrap(), id);
        match is_it.load(Ordering::Relaxed) {
            true => change(request, &before),
            false => own(request),
        }
    });
    let program = acquainted(&[&backend]);
    is_hostile.store(true, Ordering::Relaxed);
    (backend, program)
}

#[test]
fn a_response_under_anothers_identifier_ends_the_sharing_and_every_request_is_answered_rightly() {
    let (turn, misled) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
    let (_backend, program) = hostile(move |request, before| {
        // Now and then it says what was asked before, under that identifier. Never twice to the same request:
        // to that there is no better answer.
        let id = request.field("X-Request-ID").unwrap_or_default().to_owned();
        let is_turn = turn.fetch_add(1, Ordering::Relaxed) % 64 == 63;
        if is_turn && before != id && misled.lock().unwrap().insert(id) {
            return Answer::text("a stranger's").with("X-Request-ID", before);
        }
        own(request)
    });
    let no = "no: a response on a shared connection had not the right X-Request-ID";
    crowd(&program, "then", 8, || shares(&program) == no);
    program.wait_for_message("answered another request than the one it was asked");
}

#[test]
fn a_response_too_many_is_nobodys() {
    let turn = AtomicUsize::new(0);
    let (_backend, program) = hostile(move |request, _| {
        let answer = own(request);
        match turn.fetch_add(1, Ordering::Relaxed) % 50 {
            49 => Answer::raw([answer.bytes(), answer.bytes()].concat()),
            _ => answer,
        }
    });
    let no = "no: a response on a shared connection had not the right X-Request-ID";
    let asked = AtomicUsize::new(0);
    crowd(&program, "then", 8, || {
        shares(&program) == no || asked.fetch_add(1, Ordering::Relaxed) > 400
    });
}

#[test]
fn one_that_closes_in_the_middle_costs_no_request() {
    let turn = AtomicUsize::new(0);
    let (_backend, program) = hostile(move |request, _| {
        let answer = own(request);
        match turn.fetch_add(1, Ordering::Relaxed) % 20 {
            19 => answer.then_close(),
            _ => answer,
        }
    });
    let asked = AtomicUsize::new(0);
    crowd(&program, "then", 8, || asked.fetch_add(1, Ordering::Relaxed) > 100);
    let lines = log(&program);
    assert!(lines.iter().all(|line| line["status"] == 200), "{lines:?}");
}
