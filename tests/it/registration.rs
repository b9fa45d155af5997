//! Backends that register themselves: pools that fill and empty while the service runs.

use crate::common::{Answer, Backend, Client, Program, Value, eventually, json, noise, until};
use std::{
    collections::{BTreeSet, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

fn path(pool: &str, address: SocketAddr) -> String {
    format!("/v1/pools/{pool}/backends/{address}")
}

fn register(program: &Program, pool: &str, backend: &Backend, query: &str) -> u16 {
    program.ask(&format!("PUT {}{query}", path(pool, backend.address)), "").status
}

fn fingerprint(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Answers with its pool's name and the fingerprint of what it got; a check with 200.
fn member(pool: &'static str) -> Backend {
    Backend::answering(move |request| {
        Answer::text(format!("{pool} {}", fingerprint(&request.body)))
    })
}

fn ask_policy(client: &mut Client, policy: &str, body: &[u8]) -> (u16, String) {
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: x\r\nX-Policy: {policy}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(body);
    let response = client.response();
    (response.status, response.text())
}

/// Six backends in three groups, chosen by `X-Policy`, that come by themselves; bodies of at most
/// 1024 bytes; checks each second.
#[test]
fn policy_groups_fill_themselves_and_lose_who_dies() {
    let config = json!({
        "workers": 2,
        "pool_header": "X-Policy",
        "max_body": 1024,
        "health_check": {"path": "/up", "interval": "1s", "timeout": "500ms"},
    });
    let program = Program::operated(config);
    let names = ["one", "two", "three"];
    let mut groups: Vec<Vec<Backend>> =
        names.iter().map(|name| vec![member(name), member(name)]).collect();
    for (name, group) in names.iter().zip(&groups) {
        for backend in group {
            assert_eq!(register(&program, name, backend, "?lease=60s"), 201);
            assert_eq!(register(&program, name, backend, "?lease=60s"), 200);
        }
    }
    let mut client = program.client();
    for (index, name) in names.iter().enumerate() {
        for size in [0, 1, 1000, 1024] {
            let body = noise(size, index as u64);
            let expected = (200, format!("{name} {}", fingerprint(&body)));
            assert_eq!(ask_policy(&mut client, name, &body), expected);
        }
        let counts: Vec<usize> = groups[index]
            .iter()
            .map(|backend| backend.requests().iter().filter(|r| r.method == "PUT").count())
            .collect();
        assert_eq!(counts, [2, 2]);
    }
    let (status, _) = ask_policy(&mut program.client(), "one", &noise(1025, 1));
    assert_eq!(status, 413);
    let (status, _) = ask_policy(&mut program.client(), "nobody", b"x");
    assert_eq!(status, 503);

    let (mut last, mut first) = (groups[0].pop().unwrap(), groups[0].pop().unwrap());
    first.stop();
    program.wait_for_state("one", first.address, "gone");
    for _ in 0..10 {
        assert_eq!(ask_policy(&mut program.client(), "one", b"x").0, 200);
    }
    last.stop();
    program.wait_for_state("one", last.address, "gone");
    assert_eq!(ask_policy(&mut program.client(), "one", b"x").0, 503);
    assert_eq!(ask_policy(&mut program.client(), "two", b"x").0, 200);
    first.start_again();
    assert_eq!(register(&program, "one", &first, "?lease=60s"), 201);
    assert_eq!(ask_policy(&mut program.client(), "one", b"x").0, 200);
    program.wait_for_message(&format!("pool one: backend {} is removed: it cannot", last.address));
}

#[test]
fn a_lease_keeps_a_backend_for_as_long_as_it_is_renewed() {
    let program = Program::operated(json!({}));
    let (kept, lost) = (Backend::named("kept"), Backend::named("lost"));
    assert_eq!(program.get("/").status, 503);
    for backend in [&kept, &lost] {
        assert_eq!(register(&program, "default", backend, "?lease=400ms"), 201);
    }
    until("the other has gone", || {
        register(&program, "default", &kept, "?lease=400ms");
        thread::sleep(Duration::from_millis(50));
        program.state("default", lost.address) == "gone"
    });
    for _ in 0..4 {
        assert_eq!(program.get("/").text(), "kept");
    }
    program.wait_for_state("default", kept.address, "gone");
    assert_eq!(program.get("/").status, 503);
}

#[test]
fn weight_and_cap_are_those_of_the_registration() {
    let program = Program::operated(json!({"timeouts": {"queue": "50ms"}}));
    let (heavy, light) = (Backend::named("heavy"), Backend::named("light"));
    register(&program, "default", &heavy, "?weight=3");
    register(&program, "default", &light, "?weight=1&max_connections=7");
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..40 {
        *counts.entry(program.get("/").text()).or_default() += 1;
    }
    assert_eq!((counts["heavy"], counts["light"]), (30, 10));
    let shown = program.backend("default", light.address).unwrap();
    assert_eq!((&shown["max_connections"], &shown["source"]), (&json!(7), &json!("api")));
}

#[test]
fn who_is_removed_finishes_its_requests_first() {
    let gate = crate::common::Gate::new();
    let backend = Backend::gated(&gate, |_| Answer::text("late"));
    let program = Program::operated(json!({}));
    register(&program, "default", &backend, "");
    let mut client = program.client_at(&backend, "/");
    let reply = program.ask(&format!("DELETE {}", path("default", backend.address)), "");
    assert_eq!((reply.status, &reply.json()["admin"]), (202, &json!("leaving")));
    assert_eq!(program.get("/").status, 503);
    assert!(program.backend("default", backend.address).is_some());
    gate.open();
    assert_eq!(client.response().text(), "late");
    program.wait_for_state("default", backend.address, "gone");
}

/// Sends requests until it is told to stop, and counts those that did not get 200.
fn load(address: SocketAddr, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut client = Client::connect(address);
    let mut failures = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let response = client.get("/");
        count.fetch_add(1, Ordering::SeqCst);
        if response.status != 200 {
            failures.push(format!("{} {:?}", response.status, response.field("Proxy-Status")));
        }
    }
    failures
}

#[test]
fn a_thousand_comings_and_goings_under_load_lose_no_request() {
    let stays = Backend::named("stays");
    let guests: Vec<Backend> = (0..4).map(|_| Backend::named("guest")).collect();
    let program = Program::operated(json!({
        "workers": 2,
        "backend_servers": crate::common::servers(&[&stays]),
    }));
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = program.address;
    let loads: Vec<_> = (0..3)
        .map(|_| {
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || load(address, stop, count))
        })
        .collect();
    let mut done = 0;
    while done < 1000 {
        for guest in &guests {
            let place = path("default", guest.address);
            let status = program.ask(&format!("PUT {place}?lease=60s"), "").status;
            assert_eq!(status, 201);
            if done % 3 == 0 {
                let reply = program.ask(&format!("PATCH {place}"), "{\"state\": \"drain\"}");
                assert_eq!(reply.json()["state"], json!("drain"));
            }
            assert_eq!(program.ask(&format!("DELETE {place}"), "").status, 202);
            done += 3;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for load in loads {
        assert_eq!(load.join().unwrap(), Vec::<String>::new());
    }
    assert!(count.load(Ordering::SeqCst) > 100);
    for guest in &guests {
        program.wait_for_state("default", guest.address, "gone");
    }
}

#[test]
fn registered_backends_survive_a_reload() {
    let backend = Backend::named("here");
    let program = Program::operated(json!({"pool_header": "X-Pool"}));
    register(&program, "api", &backend, "?lease=60s&weight=5");
    let reply = program.ask("POST /v1/reload", "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let shown: Value =
        eventually("the backend is known", || program.backend("api", backend.address));
    assert_eq!((&shown["weight"], &shown["source"]), (&json!(5), &json!("api")));
    let left = shown["lease_s"].as_u64().unwrap();
    assert!((30..=60).contains(&left), "{left}");
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Pool: api\r\n\r\n");
    assert_eq!(client.response().text(), "here");
}

/// Whatever was answered with success holds, also if it came in the midst of a reload.
#[test]
fn who_comes_and_goes_during_reloads_is_not_forgotten() {
    let program = Program::operated(json!({"workers": 2}));
    let over = AtomicBool::new(false);
    let mut here = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..30 {
                assert_eq!(program.ask("POST /v1/reload", "").status, 200);
            }
            over.store(true, Ordering::SeqCst);
        });
        for host in 1.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            let address = SocketAddr::from(([10, 0, (host / 250) as u8, (host % 250) as u8], 80));
            assert_eq!(program.ask(&format!("PUT {}", path("api", address)), "").status, 201);
            here.insert(address.to_string());
            if here.len() > 50 {
                let first = here.pop_first().unwrap();
                let place = path("api", first.parse().unwrap());
                assert_eq!(program.ask(&format!("DELETE {place}"), "").status, 202);
            }
        }
    });
    until("all are known that are here, and nobody else", || {
        let shown = program.look("/v1/pools/api");
        let backends = shown["backends"].as_array().unwrap().iter();
        here == backends.map(|one| one["backend"].as_str().unwrap().to_owned()).collect()
    });
}
