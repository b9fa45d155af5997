//! Many instances and one registry: backends that all of them know, with a real etcd, and what becomes of them
//! when that is gone, replaced or emptied.

use crate::common::etcd::Etcd;
use crate::common::program::{binary, plain};
use crate::common::{Backend, Client, Program, Value, eventually, json, process, until};
use rustix::process::{Signal, kill_process};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A state directory, gone with the test.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> State {
        let name = format!("httplb-registry-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        State(path)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // only a temporary folder
    }
}

fn config(members: &[String], instance: &str) -> Value {
    json!({"registry": {"etcd": members, "instance": instance}})
}

fn instance(etcd: &Etcd, name: &str) -> Program {
    let program = Program::operated(config(&etcd.addresses(), name));
    wait_for(&program, "watching");
    program
}

fn with_state(config: Value, state: &State) -> Program {
    let mut command = plain(binary());
    command.env("STATE_DIRECTORY", &state.0);
    Program::operated_by(config, command)
}

fn wait_for(program: &Program, state: &str) {
    until(&format!("the registry is {state}"), || program.look("/v1/registry")["state"] == state);
}

fn key(pool: &str, kind: &str, address: SocketAddr) -> String {
    format!("/httplb/v1/pools/{pool}/{kind}/{address}")
}

fn ask(program: &Program, method: &str, address: SocketAddr, query: &str, body: &str) -> u16 {
    let path = format!("/v1/pools/default/backends/{address}{query}");
    program.ask(&format!("{method} {path}"), body).status
}

/// Clients that ask without end, and what they were answered beside 200.
struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(program: &Program) -> Load {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = program.address;
        let client = |_| {
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || {
                let mut lost = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    // A reload ends connections behind their next response.
                    let response = Client::connect(address).get("/");
                    count.fetch_add(1, Ordering::SeqCst);
                    if response.status != 200 {
                        lost.push(format!(
                            "{} {:?}",
                            response.status,
                            response.field("Proxy-Status")
                        ));
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                lost
            })
        };
        Load { clients: (0..2).map(client).collect(), stop, count }
    }

    /// No request was lost.
    fn end(self) {
        let before = self.count.load(Ordering::SeqCst);
        until("more requests", || self.count.load(Ordering::SeqCst) > before + 20);
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            assert_eq!(client.join().unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn what_registers_at_one_instance_is_known_to_all() {
    let etcd = Etcd::one();
    let (one, other) = (instance(&etcd, "lb1"), instance(&etcd, "lb2"));
    let backend = Backend::named("shared");
    let query = "?lease=60s&weight=5&max_connections=9";
    assert_eq!(ask(&one, "PUT", backend.address, query, ""), 201);
    let shown = one.backend("default", backend.address).expect("who is answered finds it");
    assert_eq!((&shown["source"], &shown["weight"]), (&json!("registry"), &json!(5)));
    let lease = shown["lease_s"].as_u64().expect("a lease, at the instance that was asked");
    assert!((30..=60).contains(&lease), "{lease}");
    other.wait_for_state("default", backend.address, "up");
    let shown = other.backend("default", backend.address).unwrap();
    assert_eq!((&shown["max_connections"], &shown["lease_s"]), (&json!(9), &Value::Null));
    assert_eq!(other.get("/").text(), "shared");
    let value = etcd.get(&key("default", "backends", backend.address)).unwrap();
    assert_eq!(value, json!({"weight": 5, "max_connections": 9, "backup": false}));
    // A renewal, at any of them, changes what it names and nothing else.
    assert_eq!(ask(&other, "PUT", backend.address, "?lease=60s", ""), 200);
    assert_eq!(ask(&other, "PUT", backend.address, "?weight=7", ""), 200);
    let value = etcd.get(&key("default", "backends", backend.address)).unwrap();
    assert_eq!(value, json!({"weight": 7, "max_connections": 9, "backup": false}));
    until("the first knows", || one.backend("default", backend.address).unwrap()["weight"] == 7);
    until("they know each other", || {
        one.look("/v1/registry")["instances"] == json!(["lb1", "lb2"])
    });
    assert_eq!(ask(&other, "DELETE", backend.address, "", ""), 202);
    one.wait_for_state("default", backend.address, "gone");
    other.wait_for_state("default", backend.address, "gone");
    assert_eq!(etcd.get(&key("default", "backends", backend.address)), None);
    assert_eq!(ask(&one, "DELETE", backend.address, "", ""), 404);
}

#[test]
fn changes_are_known_everywhere_soon() {
    let etcd = Etcd::one();
    let all: Vec<Program> = ["lb1", "lb2", "lb3"].map(|name| instance(&etcd, name)).into();
    let mut slowest = Duration::ZERO;
    for port in 1..=20 {
        let address = SocketAddr::from(([127, 0, 0, 9], port));
        let begun = Instant::now();
        etcd.put(&key("api", "backends", address), &json!({"weight": 2}));
        for program in &all {
            until("it is known", || program.backend("api", address).is_some());
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!("the slowest of 20 changes was known to 3 instances after {slowest:?}");
    let text = all[0].ask("GET /metrics", "").body;
    let events = text.lines().find_map(|line| line.strip_prefix("httplb_registry_events_total "));
    assert!(events.unwrap().parse::<u64>().unwrap() >= 20, "{text}");
    assert!(text.contains("\nhttplb_registry_up 1\n"));
    assert!(text.contains("\nhttplb_registry_age_seconds "));
}

#[test]
fn a_backend_goes_with_its_lease_and_checks_never_remove_it() {
    let etcd = Etcd::one();
    let mut config = config(&etcd.addresses(), "lb1");
    config["health_check"] = json!({"path": "/", "interval": "200ms", "fall": 1, "rise": 1});
    let program = Program::operated(config);
    wait_for(&program, "watching");
    let (stays, mut dies) = (Backend::named("stays"), Backend::named("dies"));
    etcd.put(&key("default", "backends", stays.address), &json!({}));
    etcd.put(&key("default", "backends", dies.address), &json!({}));
    let leased = SocketAddr::from(([127, 0, 0, 9], 9));
    etcd.put_leased(&key("default", "backends", leased), &json!({}), 2);
    program.wait_for_state("default", leased, "down");
    dies.stop();
    program.wait_for_state("default", dies.address, "down");
    program.wait_for_state("default", leased, "gone");
    dies.start_again();
    program.wait_for_state("default", dies.address, "up");
    assert_eq!(program.state("default", stays.address), "up");
}

#[test]
fn what_an_operator_wants_comes_with_its_backend_and_outlives_it() {
    let etcd = Etcd::one();
    let (of_file, comes) = (Backend::named("file"), Backend::named("comes"));
    let mut with_backend = config(&etcd.addresses(), "lb1");
    with_backend["backend_servers"] = crate::common::servers(&[&of_file]);
    let one = Program::operated(with_backend);
    wait_for(&one, "watching");
    let other = instance(&etcd, "lb2");
    etcd.put(&key("default", "set", comes.address), &json!({"state": "drain", "weight": 9}));
    etcd.put(&key("default", "backends", comes.address), &json!({"weight": 2}));
    other.wait_for_state("default", comes.address, "drain");
    one.wait_for_state("default", comes.address, "drain");
    assert_eq!(one.backend("default", comes.address).unwrap()["weight"], 9);
    let count = one.count_messages("has come by the registry, and is in drain");
    assert_eq!(count, 1, "no moment shows it ready");
    // By any instance, for backends of any source.
    assert_eq!(ask(&other, "PATCH", comes.address, "", "{\"state\": \"ready\"}"), 200);
    one.wait_for_state("default", comes.address, "up");
    assert_eq!(
        ask(&one, "PATCH", of_file.address, "", "{\"state\": \"maint\", \"weight\": 4}"),
        200
    );
    let shown = one.backend("default", of_file.address).unwrap();
    assert_eq!((&shown["state"], &shown["weight"]), (&json!("maint"), &json!(4)));
    let wanted = etcd.get(&key("default", "set", of_file.address)).unwrap();
    assert_eq!(wanted, json!({"state": "maint", "weight": 4}));
    etcd.delete(&key("default", "set", of_file.address));
    one.wait_for_state("default", of_file.address, "up");
    assert_eq!(one.backend("default", of_file.address).unwrap()["weight"], 1);
    assert_eq!(ask(&one, "PATCH", comes.address, "", "{\"state\": \"maint\"}"), 200);
    assert_eq!(ask(&one, "DELETE", comes.address, "", ""), 202);
    other.wait_for_state("default", comes.address, "gone");
    assert_eq!(ask(&other, "PUT", comes.address, "?state=ready&backup=true", ""), 201);
    assert_eq!(other.state("default", comes.address), "maint");
    // The file's are the file's.
    assert_eq!(ask(&one, "DELETE", of_file.address, "", ""), 409);
    assert_eq!(ask(&one, "PUT", of_file.address, "", ""), 409);
}

#[test]
fn without_the_engine_everything_stays_and_changes_hold_here_until_it_is_back() {
    let mut etcd = Etcd::one();
    let program = instance(&etcd, "lb1");
    let (stays, late) = (Backend::named("stays"), Backend::named("late"));
    assert_eq!(ask(&program, "PUT", stays.address, "?lease=2s", ""), 201);
    let load = Load::on(&program);
    etcd.kill(0);
    wait_for(&program, "lost");
    let address = &etcd.addresses()[0];
    program.wait_for_message(&format!("registry: lost etcd {address} ("));
    program.wait_for_message("): 1 backend stays");
    assert!(program.look("/v1/registry")["error"].is_string());
    // Its lease is over by now, which nobody could renew.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(program.state("default", stays.address), "up");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask(&program, "PUT", stays.address, "?lease=60s", ""), 202);
    assert_eq!(ask(&program, "PUT", late.address, "?lease=60s&weight=3", ""), 202);
    assert_eq!(program.state("default", late.address), "up");
    assert_eq!(ask(&program, "PATCH", late.address, "", "{\"state\": \"drain\"}"), 202);
    assert_eq!(program.state("default", late.address), "drain");
    // Also over a reload: another process holds it then.
    assert_eq!(program.ask("POST /v1/reload", "").status, 200);
    assert_eq!(program.state("default", late.address), "drain");
    etcd.start(0);
    wait_for(&program, "watching");
    until("it is written", || {
        let written = etcd.get(&key("default", "backends", late.address));
        written.is_some_and(|value| value["weight"] == 3)
    });
    until("the other too", || etcd.get(&key("default", "backends", stays.address)).is_some());
    assert_eq!(program.state("default", late.address), "drain");
    assert_eq!(program.state("default", stays.address), "up");
    load.end();
}

#[test]
fn a_start_without_the_engine_serves_the_last_set() {
    let mut etcd = Etcd::one();
    let state = State::new("start");
    let mut program = with_state(config(&etcd.addresses(), "lb1"), &state);
    wait_for(&program, "watching");
    let (plain_one, drained) = (Backend::named("plain"), Backend::named("drained"));
    assert_eq!(ask(&program, "PUT", plain_one.address, "?lease=60s&weight=6", ""), 201);
    assert_eq!(ask(&program, "PUT", drained.address, "", ""), 201);
    assert_eq!(ask(&program, "PATCH", drained.address, "", "{\"state\": \"drain\"}"), 200);
    etcd.kill(0);
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    let program = with_state(config(&etcd.addresses(), "lb1"), &state);
    assert_eq!(program.get("/").text(), "plain");
    let shown = program.backend("default", plain_one.address).unwrap();
    assert_eq!((&shown["source"], &shown["weight"]), (&json!("registry"), &json!(6)));
    assert_eq!(program.state("default", drained.address), "drain");
    program.wait_for_message("registry: no etcd yet, ");
    program.wait_for_message("): 2 backends stay");
    assert_eq!(program.look("/v1/registry")["state"], "never");
    etcd.start(0);
    wait_for(&program, "watching");
    assert_eq!(program.get("/").text(), "plain");
    // What happened meanwhile is told: the lease of one has gone on all the time.
    etcd.delete(&key("default", "backends", plain_one.address));
    program.wait_for_state("default", plain_one.address, "gone");
    etcd.delete(&key("default", "set", drained.address));
    program.wait_for_state("default", drained.address, "up");
}

#[test]
fn what_another_engine_does_not_know_stays_unconfirmed() {
    let mut etcd = Etcd::one();
    let program = instance(&etcd, "lb1");
    let (one, other) = (Backend::named("one"), Backend::named("other"));
    for backend in [&one, &other] {
        assert_eq!(ask(&program, "PUT", backend.address, "", ""), 201);
    }
    let load = Load::on(&program);
    etcd.kill(0);
    wait_for(&program, "lost");
    etcd.wipe(0);
    etcd.start(0);
    wait_for(&program, "watching");
    program.wait_for_message("it is another cluster: 2 backends that it lacks stay for 60 s");
    assert_eq!(program.state("default", one.address), "up");
    // Who says that it is there is there, and who is said to be gone is gone.
    assert_eq!(ask(&program, "PUT", one.address, "?lease=60s", ""), 200);
    assert!(etcd.get(&key("default", "backends", one.address)).is_some());
    assert_eq!(ask(&program, "DELETE", other.address, "", ""), 202);
    program.wait_for_state("default", other.address, "gone");
    load.end();
    // The last of all may go.
    etcd.delete(&key("default", "backends", one.address));
    program.wait_for_state("default", one.address, "gone");
    assert_eq!(program.get("/").status, 503);
}

#[test]
fn reloads_and_dead_processes_lose_nothing() {
    let etcd = Etcd::one();
    let program = instance(&etcd, "lb1");
    let backend = Backend::named("here");
    assert_eq!(ask(&program, "PUT", backend.address, "?lease=60s", ""), 201);
    let load = Load::on(&program);
    for _ in 0..3 {
        assert_eq!(program.ask("POST /v1/reload", "").status, 200);
        assert_eq!(program.state("default", backend.address), "up");
    }
    wait_for(&program, "watching");
    for name in ["httplb-registry", "httplb-control"] {
        let named = || {
            let all = process::children(program.pid()).into_iter();
            all.filter(|pid| process::name(*pid).as_deref() == Some(name)).collect::<Vec<_>>()
        };
        until("there is one of each", || named().len() == 1);
        let before = named()[0];
        process::kill(before);
        until("another takes its place", || named().iter().any(|pid| *pid != before));
        // The admin socket is there again with the control process.
        until("it watches", || program.look("/v1/registry")["state"] == "watching");
        let late = Backend::named("here");
        assert_eq!(ask(&program, "PUT", late.address, "", ""), 201);
        assert_eq!(program.state("default", backend.address), "up");
    }
    load.end();
}

/// The one whose connections are in use is ended, or stopped so that its connections stay.
#[test]
fn another_member_is_asked_when_one_is_gone_or_silent() {
    let mut etcd = Etcd::of(3);
    let program = instance(&etcd, "lb1");
    let backend = Backend::named("here");
    assert_eq!(ask(&program, "PUT", backend.address, "?lease=60s", ""), 201);
    let load = Load::on(&program);
    let endpoint =
        || program.look("/v1/registry")["endpoint"].as_str().unwrap_or_default().to_owned();
    let knows = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 9], port));
        program.backend("api", address).is_some()
    };
    let put = |etcd: &Etcd, port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 9], port));
        etcd.put(&key("api", "backends", address), &json!({}));
    };
    let first = endpoint();
    let member = etcd.member_at(&first);
    let begun = Instant::now();
    etcd.stop(member);
    until("a silent member is noticed", || {
        program.count_messages(&format!("registry: lost etcd {first} (it does not answer)")) > 0
    });
    println!("silence was noticed after {:?}", begun.elapsed());
    wait_for(&program, "watching");
    assert_ne!(endpoint(), first);
    println!("another member was watched after {:?}", begun.elapsed());
    etcd.go_on(member);
    put(&etcd, 1);
    until("what is written then is known", || knows(1));
    // The leader, whether it is the one that is asked or not.
    let leader = etcd.leader();
    etcd.kill(leader);
    put(&etcd, 2);
    until("what is written then is known", || knows(2));
    etcd.start(leader);
    assert_eq!(program.state("default", backend.address), "up");
    load.end();
}

/// Two of three are gone, so nobody can say what is so: all that was known stays.
#[test]
fn a_member_without_the_others_is_not_believed() {
    let mut etcd = Etcd::of(3);
    let program = instance(&etcd, "lb1");
    let backend = Backend::named("here");
    assert_eq!(ask(&program, "PUT", backend.address, "?lease=3s", ""), 201);
    let load = Load::on(&program);
    let endpoint = program.look("/v1/registry")["endpoint"].as_str().unwrap().to_owned();
    let kept = etcd.member_at(&endpoint);
    let others: Vec<usize> = (0..3).filter(|member| *member != kept).collect();
    others.iter().for_each(|member| etcd.kill(*member));
    wait_for(&program, "lost");
    program.wait_for_message("): 1 backend stays");
    assert_eq!(ask(&program, "PUT", backend.address, "?lease=60s", ""), 202);
    assert_eq!(program.state("default", backend.address), "up");
    others.iter().for_each(|member| etcd.start(*member));
    wait_for(&program, "watching");
    until("it is written", || etcd.get(&key("default", "backends", backend.address)).is_some());
    assert_eq!(program.state("default", backend.address), "up");
    load.end();
}

#[test]
fn a_user_of_the_engine_has_a_password() {
    let etcd = Etcd::one();
    etcd.call("auth/user/add", &json!({"name": "root", "password": "secret"}));
    etcd.call("auth/role/add", &json!({"name": "root"}));
    etcd.call("auth/user/grant", &json!({"user": "root", "role": "root"}));
    etcd.call("auth/enable", &json!({}));
    let state = State::new("auth");
    let file = state.0.join("password");
    let with_password = |password: &str| {
        fs::write(&file, format!("{password}\n")).unwrap();
        let mut config = config(&etcd.addresses(), "lb1");
        config["registry"]["user"] = json!("root");
        config["registry"]["password_file"] = json!(file);
        Program::operated(config)
    };
    let program = with_password("wrong");
    program.wait_for_message("authentication failed");
    assert_eq!(program.look("/v1/registry")["state"], "never");
    drop(program);
    let program = with_password("secret");
    wait_for(&program, "watching");
    let backend = Backend::named("here");
    assert_eq!(ask(&program, "PUT", backend.address, "?lease=60s", ""), 201);
    assert_eq!(program.get("/").text(), "here");
}

/// An engine that says what a test wants, for what a real one does seldom.
#[test]
fn a_watch_that_is_compacted_begins_anew_with_all_that_there_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let snapshots = Arc::new(AtomicUsize::new(0));
    let seen = snapshots.clone();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let seen = seen.clone();
            thread::spawn(move || fake_engine(socket, &seen));
        }
    });
    let program = Program::operated(config(&[address.to_string()], "lb1"));
    program.wait_for_message("the changes since are not known any more; all is read anew");
    let kept = SocketAddr::from(([127, 0, 0, 9], 1));
    program.wait_for_state("default", SocketAddr::from(([127, 0, 0, 9], 2)), "gone");
    assert_eq!(program.state("default", kept), "up");
    assert_eq!(program.count_messages(&format!("backend {kept} is removed")), 0);
    assert_eq!(program.count_messages("registry: lost"), 0);
    wait_for(&program, "watching");
    assert!(snapshots.load(Ordering::SeqCst) >= 2);
}

/// Two backends in the first snapshot, whose watch is compacted, and one of them in those after it.
fn fake_engine(mut socket: std::net::TcpStream, snapshots: &AtomicUsize) {
    use crate::common::etcd::base64;
    let (mut buffer, mut text) = ([0; 4096], String::new());
    loop {
        let Ok(count @ 1..) = socket.read(&mut buffer) else { return };
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() < length.unwrap().parse().unwrap() {
            continue;
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let is_count = body.contains("count_only");
        text.clear();
        let header = json!({"cluster_id": "7", "revision": "9"});
        let entry = |port: u16| {
            let key = key("default", "backends", SocketAddr::from(([127, 0, 0, 9], port)));
            json!({"key": base64(key.as_bytes()), "value": base64(b"{}")})
        };
        let answer = match path.as_str() {
            "/v3/kv/range" if is_count => json!({"header": header}),
            "/v3/kv/range" => match snapshots.fetch_add(1, Ordering::SeqCst) {
                0 => json!({"header": header, "kvs": [entry(1), entry(2)]}),
                _ => json!({"header": header, "kvs": [entry(1)]}),
            },
            "/v3/lease/grant" => json!({"header": header, "ID": "5", "TTL": "10"}),
            "/v3/watch" => {
                let created = json!({"result": {"header": header, "created": true}});
                let mut lines = format!("{created}\n");
                if snapshots.load(Ordering::SeqCst) == 1 {
                    let ended =
                        json!({"canceled": true, "compact_revision": "9", "header": header});
                    lines.push_str(&format!("{}\n", json!({"result": ended})));
                }
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = write!(socket, "{head}{:x}\r\n{lines}\r\n", lines.len());
                continue;
            }
            _ => json!({"header": header, "result": {"ID": "5", "TTL": "10"}}),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        let _ = socket.write_all((head + &answer).as_bytes());
    }
}

#[test]
fn without_a_registry_there_is_none() {
    let program = Program::operated(json!({}));
    let reply = program.ask("GET /v1/registry", "");
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("set \\\"registry\\\" in servers.conf"), "{}", reply.body);
    assert!(!program.ask("GET /metrics", "").body.contains("httplb_registry"));
}

#[test]
fn a_process_that_hangs_is_replaced() {
    let etcd = Etcd::one();
    let program = instance(&etcd, "lb1");
    let helper = || {
        let mut all = process::children(program.pid()).into_iter();
        all.find(|pid| process::name(*pid).as_deref() == Some("httplb-registry"))
    };
    let before = eventually("it is there", helper);
    kill_process(before, Signal::STOP).unwrap();
    until("another takes its place", || helper().is_some_and(|pid| pid != before));
    let address = SocketAddr::from(([127, 0, 0, 9], 1));
    etcd.put(&key("api", "backends", address), &json!({}));
    until("it is known", || program.backend("api", address).is_some());
}
