//! Backends that register themselves: pools that fill and empty while the service runs.

use crate::common::program::{binary, plain};
use crate::common::{Answer, Backend, Client, Program, Value, eventually, json, noise, until};
use rustix::process::Signal;
use std::{
    collections::{BTreeSet, HashMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    net::SocketAddr,
    path::{Path, PathBuf},
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

/// A state directory, gone with the test.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> State {
        let path = std::env::temp_dir().join(format!("httplb-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        State(path)
    }

    fn saved(&self) -> String {
        fs::read_to_string(self.0.join("registered.json")).unwrap_or_default()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // only a temporary folder
    }
}

fn with_state(config: Value, state: &Path) -> Program {
    let mut command = plain(binary());
    command.env("STATE_DIRECTORY", state);
    Program::operated_by(config, command)
}

#[test]
fn registered_backends_survive_a_restart_with_what_is_left_of_their_leases() {
    let state = State::new("restart");
    let (long, short, gone) =
        (Backend::named("long"), Backend::named("short"), Backend::named("gone"));
    let config = json!({"pool_header": "X-Pool"});
    let mut program = with_state(config.clone(), &state.0);
    assert_eq!(register(&program, "api", &long, "?lease=60s&weight=5&max_connections=9"), 201);
    assert_eq!(register(&program, "api", &short, "?lease=1s&state=drain&backup=true"), 201);
    assert_eq!(register(&program, "api", &gone, ""), 201);
    program.ask(&format!("DELETE {}", path("api", gone.address)), "");
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    let program = with_state(config.clone(), &state.0);
    let shown = program.backend("api", long.address).expect("it is there from the first moment on");
    assert_eq!((&shown["weight"], &shown["max_connections"]), (&json!(5), &json!(9)));
    let left = shown["lease_s"].as_u64().unwrap();
    assert!((30..60).contains(&left), "{left}");
    let shown = program.backend("api", short.address).expect("it has ten seconds at least");
    let left = shown["lease_s"].as_u64().unwrap();
    assert!(shown["state"] == "drain" && (5..10).contains(&left), "{shown}");
    assert_eq!(program.state("api", gone.address), "gone");
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Pool: api\r\n\r\n");
    assert_eq!(client.response().text(), "long");
    // Who does not come back has no more than that.
    program.wait_for_state("api", short.address, "gone");
    assert_eq!(program.state("api", long.address), "up");
    program.wait_for_message("2 backends had registered before");
}

/// Nobody has a last word then: what was told to be done is in the file soon after.
#[test]
fn registered_backends_survive_that_all_processes_are_killed() {
    let state = State::new("killed");
    let (one, other) = (Backend::named("one"), Backend::named("other"));
    let mut program = with_state(json!({}), &state.0);
    register(&program, "default", &one, "");
    register(&program, "default", &other, "?weight=7");
    program.ask(&format!("PATCH {}", path("default", one.address)), "{\"state\": \"maint\"}");
    until("all is written", || {
        let saved = state.saved();
        saved.contains(&other.address.to_string()) && saved.contains("maint")
    });
    for process in program.processes() {
        crate::common::process::kill(process);
    }
    program.wait_for_exit();
    let program = with_state(json!({}), &state.0);
    assert_eq!(program.state("default", one.address), "maint");
    assert_eq!(program.get("/").text(), "other");
    // And a reload in between is none that forgets.
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    program.ask(&format!("DELETE {}", path("default", one.address)), "");
    until("what was set of it is kept", || state.saved().contains("left_ms"));
}

#[test]
fn what_an_operator_has_set_stays_over_a_new_registration_a_reload_and_a_restart() {
    let state = State::new("wishes");
    let backend = Backend::named("here");
    let place = path("api", backend.address);
    let mut program = with_state(json!({}), &state.0);
    register(&program, "api", &backend, "");
    program.ask(&format!("PATCH {place}"), "{\"state\": \"drain\", \"weight\": 9}");
    let again = |program: &Program| {
        program.ask(&format!("DELETE {place}"), "");
        program.wait_for_state("api", backend.address, "gone");
        assert_eq!(program.ask("POST /v1/reload", "").status, 200);
        assert_eq!(register(program, "api", &backend, "?state=ready&weight=2"), 201);
        let shown = program.backend("api", backend.address).unwrap();
        assert_eq!((&shown["state"], &shown["weight"]), (&json!("drain"), &json!(9)));
    };
    again(&program);
    program.ask(&format!("DELETE {place}"), "");
    program.wait_for_state("api", backend.address, "gone");
    program.signal(Signal::TERM);
    program.wait_for_exit();
    let program = with_state(json!({}), &state.0);
    assert_eq!(register(&program, "api", &backend, "?state=ready"), 201);
    assert_eq!(program.state("api", backend.address), "drain");
    again(&program);
    // The operator has the last word, and says what a registration alone cannot.
    program.ask(&format!("PATCH {place}"), "{\"state\": \"ready\"}");
    assert_eq!(program.state("api", backend.address), "up");
}

#[test]
fn a_registered_backup_stands_in_for_primaries_alone() {
    let (mut primary, backup) = (Backend::named("primary"), Backend::named("backup"));
    let program = Program::operated(json!({}));
    register(&program, "default", &backup, "?backup=true");
    register(&program, "default", &primary, "");
    for _ in 0..6 {
        assert_eq!(program.get("/").text(), "primary");
    }
    primary.stop();
    until("the backup stands in", || program.get("/").text() == "backup");
    register(&program, "default", &backup, "?backup=false&state=drain");
    assert_eq!(program.state("default", backup.address), "drain");
    until("nobody is left", || program.get("/").status >= 502);
}
