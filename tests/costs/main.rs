//! What the program costs, in things that can be counted: allocations, system calls, memory.
//! Nothing here is timed.
#![allow(unsafe_code)] // an allocator is unsafe by its nature: costs/counter.rs

mod cache_store;
#[path = "../it/common/mod.rs"]
mod common;
mod counter;
mod watched;

use common::{Answer, Backend, Client, Program, Value, json, noise, until};
use httplb::config::{AUTO_CAP, AccessLog, Config, Endpoint, Listen, Pool, Route, Sticky};
use httplb::mem::time::Millis;
use httplb::worker::{Worker, WorkerInit};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::{env, fs, process, thread};
use watched::{Tool, Watched};

/// What the data plane, on a thread of its own until the process ends, has allocated.
struct Plane {
    address: SocketAddr,
    allocations: &'static AtomicU64,
}

impl Plane {
    fn over(backends: &[&Backend]) -> Plane {
        Plane::with(backends, |_| ())
    }

    fn with(backends: &[&Backend], change: impl FnOnce(&mut Config)) -> Plane {
        let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
        let mut config = Config::for_backends(&addresses);
        config.listen = vec![Listen::on(SocketAddr::from(([127, 0, 0, 1], 0)))];
        change(&mut config);
        let allocations: &AtomicU64 = Box::leak(Box::default());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            counter::count_in(allocations);
            let served = WorkerInit::alone(&config).and_then(|init| {
                let Endpoint::Tcp(address) = init.listeners[0].listener.address() else {
                    unreachable!("it was told to listen at an address of TCP")
                };
                sender.send(address).expect("somebody waits for it");
                Worker::open(&config, init)?.serve()
            });
            served.unwrap_or_else(|error| panic!("{error}"));
        });
        let address = receiver.recv().expect("the worker listens");
        // It listens before its start is over. An answer of its own shows that it is.
        let mut client = Client::connect(address);
        client.send("?\r\n\r\n");
        assert_eq!(client.response().status, 400);
        Plane { address, allocations }
    }

    fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::SeqCst)
    }

    /// Does the work so many times, then once more as often: nothing may be allocated for it.
    fn assert_allocates_nothing(&self, times: usize, mut work: impl FnMut(usize)) {
        let at_start = self.allocations();
        assert!(at_start > 0, "the worker's start was not counted, so nothing is");
        let counts = [1, 2].map(|_| {
            (0..times).for_each(&mut work);
            self.allocations() - at_start
        });
        println!(
            "{at_start} allocations at the start; after {times} rounds, and twice: {counts:?}"
        );
        assert_eq!(counts, [0, 0], "allocations after {times} rounds, and after twice as many");
    }

    fn clients<const COUNT: usize>(&self) -> [Client; COUNT] {
        [(); COUNT].map(|()| Client::connect(self.address))
    }
}

#[test]
fn a_kept_alive_request_allocates_nothing() {
    let backends = [Backend::named("one"), Backend::named("two")];
    let worker = Plane::over(&backends.each_ref());
    let mut clients = worker.clients::<4>();
    worker.assert_allocates_nothing(1000, |round| {
        assert_eq!(clients[round % 4].get("/").status, 200);
    });
}

#[test]
fn one_to_backends_whose_limits_find_themselves_allocates_nothing() {
    let backends = [Backend::named("one"), Backend::named("two")];
    let worker = Plane::with(&backends.each_ref(), |config| {
        let backends = &mut config.pools[0].backends;
        backends.iter_mut().for_each(|backend| backend.max_connections = AUTO_CAP);
    });
    let mut clients = worker.clients::<4>();
    worker.assert_allocates_nothing(500, |round| {
        assert_eq!(clients[round % 4].get("/").status, 200);
    });
}

#[test]
fn a_logged_request_allocates_nothing() {
    let backend = Backend::named("one");
    let path = env::temp_dir().join(format!("httplb-costs-{}.log", process::id()));
    let worker = Plane::with(&[&backend], |config| {
        config.access_log = AccessLog::Path(path.clone());
    });
    let lines = || fs::read_to_string(&path).unwrap_or_default().matches("/a?b=c").count();
    let at_start = worker.allocations();
    let mut clients = worker.clients::<4>();
    worker.assert_allocates_nothing(1000, |round| {
        assert_eq!(clients[round % 4].get("/a?b=c").status, 200);
    });
    until("all lines are in the log", || lines() == 2000);
    assert_eq!(worker.allocations(), at_start);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_request_to_a_sticky_pool_by_a_route_allocates_nothing() {
    let backends = [Backend::named("one"), Backend::named("two")];
    let worker = Plane::with(&backends.each_ref(), |config| {
        let cookie = Sticky { max_age: Some(Millis::from_secs(60)), ..Sticky::named("home") };
        let pool = Pool { name: "api".into(), sticky: Some(cookie), ..config.pools[0].clone() };
        config.pools.push(pool);
        config.pool_header = Some("X-Pool".into());
        config.routes.push(Route {
            host: Some("*.example".into()),
            path: Some("/api".into()),
            headers: vec![("X-Policy".into(), "2".into())],
            target: httplb::config::RouteTarget::Pool(1),
        });
        config.via = Some("lb".into());
    });
    let request = |cookie: &str| {
        format!(
            "GET /api HTTP/1.1\r\nHost: a.example:80\r\nX-Policy: 2\r\nCookie: a=b; home={cookie}\r\n\r\n"
        )
    };
    let mut clients = worker.clients::<2>();
    clients[0].send(request("forged"));
    let answer = clients[0].response();
    let value = answer.field("Set-Cookie").expect("a cookie")[5..21].to_owned();
    worker.assert_allocates_nothing(500, |round| {
        let client = &mut clients[round % 2];
        for (cookie, sets) in [(&value[..], false), ("forged", true)] {
            client.send(request(cookie));
            let response = client.response();
            assert_eq!((response.status, response.head.has("Set-Cookie")), (200, sets));
        }
    });
}

#[test]
fn pipelined_requests_allocate_nothing() {
    let backends = [Backend::named("one"), Backend::named("two")];
    let worker = Plane::over(&backends.each_ref());
    let batch = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(20);
    let mut clients = worker.clients::<2>();
    worker.assert_allocates_nothing(50, |round| {
        let client = &mut clients[round % 2];
        client.send(&batch);
        for _ in 0..20 {
            assert_eq!(client.response().status, 200);
        }
    });
}

#[test]
fn a_body_of_64_kib_allocates_nothing_whichever_way_it_goes() {
    let body = noise(64 << 10, 1);
    let down = Answer::text(&body);
    let backend = Backend::answering(move |request| match &request.target[..] {
        "/down" => down.clone(),
        _ => Answer::text(request.body.len().to_string()),
    });
    let worker = Plane::over(&[&backend]);
    let mut upload = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 65536\r\n\r\n".to_vec();
    upload.extend_from_slice(&body);
    let mut clients = worker.clients::<2>();
    worker.assert_allocates_nothing(200, |round| {
        let client = &mut clients[round % 2];
        assert_eq!(client.get("/down").body, body);
        client.send(&upload);
        assert_eq!(client.response_to("POST").text(), "65536");
    });
}

#[test]
fn a_chunked_body_allocates_nothing_whichever_way_it_goes() {
    let body = noise(64 << 10, 2);
    let sizes = [100, 5000, 40_000];
    let answers = sizes.map(|size| Answer::chunked(&body, size));
    let backend = Backend::answering(move |request| match &request.target[..] {
        "/" => Answer::text(request.body.len().to_string()),
        size => answers[size[1..].parse::<usize>().expect("a number")].clone(),
    });
    let worker = Plane::over(&[&backend]);
    let mut upload =
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(1000) {
        upload.extend_from_slice(format!("0{:X};a=b\r\n", piece.len()).as_bytes());
        upload.extend_from_slice(piece);
        upload.extend_from_slice(b"\r\n");
    }
    upload.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\n");
    let mut clients = worker.clients::<2>();
    worker.assert_allocates_nothing(50, |round| {
        let client = &mut clients[round % 2];
        for target in ["/0", "/1", "/2"] {
            assert_eq!(client.get(target).body, body);
        }
        client.send(&upload);
        assert_eq!(client.response_to("POST").text(), "65536");
    });
}

#[test]
fn neither_a_new_client_nor_one_that_is_refused_allocates() {
    let backend = Backend::named("one");
    let worker = Plane::over(&[&backend]);
    worker.assert_allocates_nothing(200, |_| {
        let [mut polite, mut rude] = worker.clients();
        polite.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(polite.response().status, 200);
        polite.expect_end();
        rude.send("GET / HTTP/1.1\r\nHost: te st\r\n\r\n");
        assert_eq!(rude.response().status, 400);
        rude.expect_end();
    });
}

#[test]
fn a_request_that_nobody_can_answer_allocates_nothing() {
    let backend = Backend::absent();
    let worker = Plane::over(&[&backend]);
    let [mut client] = worker.clients();
    worker.assert_allocates_nothing(200, |_| {
        assert!([502, 503].contains(&client.get("/").status));
    });
}

const STRACE: Tool = Tool {
    name: "strace",
    package: "strace",
    report_option: "--output=",
    options: &["-D", "-f", "--summary-only", "--summary-columns=calls,name"],
};

const CLIENTS: usize = 16;

/// The system calls of a whole life of the program, in which each of 16 clients makes so many
/// requests over one connection.
fn system_calls(requests_each: usize, config: &Value) -> BTreeMap<String, u64> {
    let backends = [Backend::named("one"), Backend::named("two")];
    let mut program = Watched::start(&STRACE, &backends.each_ref(), config.clone());
    let address = program.address;
    let clients = (0..CLIENTS).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            for _ in 0..requests_each {
                assert_eq!(client.get("/").status, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    counts_of(program.report("total"))
}

fn counts_of(report: String) -> BTreeMap<String, u64> {
    let counts = report.lines().filter_map(|line| {
        let [calls, name] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        Some((name.to_string(), calls.parse().ok()?))
    });
    counts.filter(|(name, _)| name != "total").collect()
}

#[test]
fn a_kept_alive_request_takes_two_receives_two_sends_and_a_share_of_a_wait() {
    expect_few_system_calls(&json!({}));
}

#[test]
fn nor_does_one_to_backends_whose_limits_find_themselves_take_more() {
    expect_few_system_calls(&json!({"each_backend": {"max_connections": "auto"}}));
}

fn expect_few_system_calls(config: &Value) {
    // Connections to backends are as many as requests happen to meet, with some ten calls each: many
    // requests, so that these do not count.
    const EACH: usize = 500;
    let few = system_calls(EACH, config);
    let many = system_calls(2 * EACH, config);
    let mut of_one_request: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, calls) in &many {
        let kind = match &name[..] {
            "recvfrom" | "recvmsg" | "read" | "readv" => "receive",
            "sendto" | "sendmsg" | "write" | "writev" => "send",
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => "wait",
            other => other,
        };
        let more = *calls as f64 - few.get(name).copied().unwrap_or(0) as f64;
        *of_one_request.entry(kind).or_default() += more / (EACH * CLIENTS) as f64;
    }
    println!("system calls a request: {of_one_request:.3?}");
    for (kind, calls) in of_one_request {
        let (least, most) = match kind {
            "receive" | "send" => (1.98, 2.02),
            // The busier the machine, the more each wait brings: it may be fewer for more requests.
            "wait" => (-1.0, 1.02),
            _ => (-0.02, 0.02),
        };
        assert!((least..=most).contains(&calls), "{calls} of {kind}: {few:?} and {many:?}");
    }
}

#[test]
fn long_bodies_bypass_the_program_in_both_directions() {
    const LONG: usize = 8 << 20;
    let body = noise(LONG, 3);
    let (text, chunks) = (Answer::text(&body), Answer::chunked(&body, 16_384));
    let backend = Backend::answering(move |request| match &request.target[..] {
        "/chunked" => chunks.clone(),
        _ => text.clone(),
    });
    for work in ["download", "chunked", "upload"] {
        let mut program = Watched::start(&STRACE, &[&backend], json!({}));
        let mut client = Client::connect(program.address);
        if work == "upload" {
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
            client.send(&body);
        } else {
            client.ask(&format!("/{work}"));
        }
        assert_eq!(client.response().body.len(), LONG);
        drop(client);
        let counts = counts_of(program.report("total"));
        let copied = counts.get("sendto").copied().unwrap_or(0);
        let spliced = counts.get("splice").copied().unwrap_or(0);
        // By rings of 32 KiB there would be 256 sends and more each way.
        let ways = if work == "upload" { 2 } else { 1 };
        assert!(spliced >= 2 * (ways * LONG / (1 << 20)) as u64, "{work}: {counts:?}");
        assert!(copied <= 32, "{work}: {counts:?}");
    }
}

#[test]
fn before_the_first_client_the_process_takes_less_than_4_mib() {
    let backend = Backend::named("one");
    let program = Program::over(&[&backend]);
    let file = format!("/proc/{}/smaps_rollup", program.worker(0).as_raw_nonzero());
    let rollup = fs::read_to_string(file).expect("smaps_rollup");
    let kib_of = |name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    let (share, resident) = (kib_of("Pss:"), program.memory() / 1024);
    println!("Pss {share} KiB, VmRSS {resident} KiB");
    assert!(share < 4096, "Pss is {share} KiB, VmRSS {resident} KiB:\n{rollup}");
}
