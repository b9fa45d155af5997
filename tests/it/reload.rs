//! Reloads: another configuration, another binary, and all that can be wrong with them. The process
//! stays the same, and nobody who is connected notices.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Traffic, Value, assert_same_bytes, json, noise,
    process,
    reload::{DONE, REFUSED, another_version},
    servers,
    traffic::mirror,
    until,
};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
};

fn over(backends: &[&Backend]) -> Value {
    json!({ "workers": 2, "backend_servers": servers(backends) })
}

/// Returns when no process of an earlier generation is left: two workers and control are.
fn wait_for_the_old_to_end(program: &Program, workers: usize) {
    until("the old generation has ended", || process::children(program.pid()).len() == workers + 1);
}

#[test]
fn a_reload_takes_the_new_file_and_stays_the_same_process() {
    let backends = [Backend::named("old"), Backend::named("new")];
    let mut program = Program::with(over(&[&backends[0]]));
    let workers = program.workers();
    assert_eq!(program.get("/").text(), "old");
    program.configure(|config| config["backend_servers"] = servers(&[&backends[1]]));
    program.reload();
    assert!(program.is_running());
    wait_for_the_old_to_end(&program, 2);
    assert_eq!(program.get("/").text(), "new");
    assert!(program.workers().iter().all(|worker| !workers.contains(worker)));
    assert!(program.stderr().contains(&format!(
        "{DONE}2, httplb {}: 2 workers, listening on {}",
        env!("CARGO_PKG_VERSION"),
        program.address
    )));
}

#[test]
fn an_idle_client_is_kept_until_its_next_request() {
    let backend = Backend::named("a");
    let program = Program::with(over(&[&backend]));
    let mut client = program.client();
    assert!(!client.get("/").closes());
    program.reload();
    program.reload();
    client.ask("/");
    client.expect_last("a");
    client.expect_end();
    wait_for_the_old_to_end(&program, 2);
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_is_told() {
    let backend = Backend::named("a");
    let program = Program::with(over(&[&backend]));
    let processes = program.processes();
    program.write_config(r#"{ "timeouts": { "connect": "5" }, "nonsense": 1 }"#);
    let why = program.fail_to_reload();
    assert!(why.contains("servers.conf has 2 errors; nothing was changed\n  "), "{why}");
    // The reason comes first.
    assert!(why.starts_with("line 1: timeouts.connect: "), "{why}");
    assert!(why.contains(r#"timeouts.connect: "5" has no unit (write "5s" or "250ms")"#), "{why}");
    fs::remove_file(program.folder.join("servers.conf")).unwrap();
    let why = program.fail_to_reload();
    assert!(why.contains("No such file or directory"), "{why}");
    assert_eq!(program.processes(), processes);
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_new_address_that_others_have_changes_nothing() {
    let backend = Backend::named("a");
    let mut program = Program::with(over(&[&backend]));
    let processes = program.processes();
    let address = program.address.to_string();
    program.configure(|config| config["listen"] = json!([address, backend.address.to_string()]));
    let why = program.fail_to_reload();
    let expected = format!("listen {}: the address is in use", backend.address);
    assert!(why.contains(&expected), "{why}");
    assert_eq!(program.processes(), processes);
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn an_address_that_comes_later_is_listened_at_if_the_entry_says_so() {
    let backend = Backend::named("a");
    let mut program = Program::with(over(&[&backend]));
    let here = program.address.to_string();
    let port = Backend::absent().address.port();
    let later = format!("192.0.2.10:{port}");
    program.configure(|config| config["listen"] = json!([here, later]));
    let why = program.fail_to_reload();
    let remedy = "is not an address of this host (add \"freebind\": true if it may come later";
    assert!(why.contains(&format!("listen {later}: this {remedy}")), "{why}");
    assert_eq!(program.get("/").text(), "a");

    let freely = json!({ "addr": later, "freebind": true });
    program.configure(|config| config["listen"] = json!([here, freely]));
    program.reload();
    assert!(program.stderr().contains(&format!("listening on {here}, {later}")));
    program.configure(|config| config["workers"] = json!(3));
    program.reload();
    assert_eq!(program.get("/").text(), "a");
    // A start binds it too.
    let mut config = over(&[&backend]);
    config["listen"] = json!(["127.0.0.1:0", { "addr": "192.0.2.11:0", "freebind": true }]);
    assert_eq!(Program::with(config).get("/").text(), "a");
}

#[test]
fn binaries_that_are_no_httplb_change_nothing() {
    let backend = Backend::named("a");
    let program = Program::replaceable(over(&[&backend]));
    let processes = program.processes();
    let good = fs::read(program.own_binary()).unwrap();
    let refused = |what: &str| {
        let why = program.fail_to_reload();
        assert!(why.contains(what), "{why}");
        assert_eq!(program.processes(), processes);
        assert_eq!(program.get("/").text(), "a");
    };
    fs::remove_file(program.own_binary()).unwrap();
    refused("there is no such file or directory");
    program.replace_binary(fs::read("/bin/true").unwrap());
    refused("it is not an httplb that could take over");
    program.replace_binary(fs::read("/bin/false").unwrap());
    refused("it exited with status 1; it said nothing");
    program.replace_binary("#!/bin/sh\necho nothing here >&2\nexit 0\n");
    refused("it is not an httplb that could take over");
    program.replace_binary("#!/bin/sh\nkill -SEGV $$\n");
    refused("it was killed by signal 11");
    program.replace_binary(&good[..100_000]); // Its end is for the debugger.
    refused("");
    program.replace_binary("");
    refused("");
    program.replace_binary(&good);
    program.reload();
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_binary_that_hangs_is_ended_and_changes_nothing() {
    let backend = Backend::named("a");
    let program = Program::replaceable(over(&[&backend]));
    let processes = program.processes();
    let mark = program.folder.join("child");
    let script = format!("#!/bin/sh\nsleep 1000 &\necho $! >{}\nwait\n", mark.display());
    program.replace_binary(script);
    let why = program.fail_to_reload();
    assert!(why.contains("it has not answered within 10 s"), "{why}");
    let number: i32 = fs::read_to_string(mark).unwrap().trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(number).unwrap();
    until("what it has started is gone too", || !process::lives(child));
    assert_eq!(program.processes(), processes);
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn another_build_takes_over() {
    let backend = Backend::named("a");
    let program = Program::replaceable(over(&[&backend]));
    let good = fs::read(program.own_binary()).unwrap();
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "a");
    program.replace_binary(another_version(&good));
    program.reload();
    program.wait_for_message(&format!("{DONE}2, httplb 9.9.9: 2 workers"));
    assert_eq!(client.get("/").text(), "a");
    program.replace_binary(good);
    program.reload();
    program.wait_for_message(&format!("{DONE}3, httplb {}: ", env!("CARGO_PKG_VERSION")));
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_generation_that_cannot_start_is_given_up_and_the_one_before_goes_on_whole() {
    let backend = Backend::named("a");
    let mut program = Program::with(over(&[&backend]));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "a");
    let processes = program.processes();
    // Enough for the program itself, and not for so many clients.
    let room = Rlimit { current: Some(1 << 30), maximum: None };
    prlimit(Some(program.pid()), Resource::As, room).unwrap();
    program.configure(|config| config["max_connections"] = json!(100_000));
    let why = program.fail_to_reload();
    assert!(why.contains("could not start"), "{why}");
    assert!(program.stderr().contains("cannot be reserved: "));
    until("only the old ones are left", || program.processes() == processes);
    assert!(!client.get("/").closes());
    prlimit(Some(program.pid()), Resource::As, Rlimit { current: None, maximum: None }).unwrap();
    // Of its file and its cells the new image of the program makes another worker.
    let killed = program.worker(0);
    process::kill(killed);
    until("another worker", || program.workers().len() == 2 && program.worker(0) != killed);
    program.configure(|config| config["max_connections"] = json!(500));
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "a");
    }
    program.reload();
    assert_eq!(program.get("/").text(), "a");
}

#[test]
fn a_configuration_from_standard_input_cannot_be_reloaded() {
    use std::{io::Write, process::Stdio};
    let backend = Backend::named("a");
    let mut child = Command::new(crate::common::program::binary())
        .args(["-l", "127.0.0.1:0", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("JOURNAL_STREAM")
        .spawn()
        .unwrap();
    let config = json!({ "workers": 1, "backend_servers": servers(&[&backend]) }).to_string();
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut wait_for = |part: &str| {
        assert!(lines.any(|line| line.unwrap().contains(part)), "no message with {part:?}");
    };
    wait_for("ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    wait_for("a configuration from standard input cannot be read again");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn twenty_reloads_under_traffic_lose_nothing_and_leave_nothing_behind() {
    let backends = [mirror(), mirror(), mirror()];
    let program = Program::with(over(&backends.each_ref()));
    program.reload();
    wait_for_the_old_to_end(&program, 2);
    let count = || -> Vec<usize> {
        program.processes().into_iter().map(process::descriptor_count).collect()
    };
    let before = count();
    let traffic = Traffic::at(program.address, 6);
    traffic.wait_for(50);
    for _ in 0..20 {
        program.reload();
        traffic.wait_for(30);
    }
    assert!(traffic.end() >= 600);
    wait_for_the_old_to_end(&program, 2);
    // Workers have connections to backends, more or fewer.
    until("no descriptor is left over", || {
        let now = count();
        let is_as_before = now[0] <= before[0] && now[1] <= before[1];
        is_as_before && now[2..].iter().all(|worker| *worker <= before[2] + 32)
    });
    assert_eq!(program.count_messages(DONE), 21);
}

#[test]
fn upgrades_under_traffic_lose_nothing() {
    let backend = mirror();
    let program = Program::replaceable(over(&[&backend]));
    let own = fs::read(program.own_binary()).unwrap();
    let other = another_version(&own);
    let traffic = Traffic::at(program.address, 4);
    for round in 0..5 {
        program.replace_binary([&other, &own][round % 2]);
        program.reload();
        traffic.wait_for(50);
    }
    traffic.end();
    assert_eq!(program.count_messages(", httplb 9.9.9: "), 3);
}

#[test]
fn more_and_fewer_workers_under_traffic_lose_nothing() {
    let backend = mirror();
    let mut program =
        Program::with(json!({ "workers": 1, "backend_servers": servers(&[&backend]) }));
    let traffic = Traffic::at(program.address, 6);
    for workers in [4, 2, 4, 1, 3, 8, 1, 2, 6, 3] {
        program.configure(|config| config["workers"] = json!(workers));
        program.reload();
        traffic.wait_for(100);
        assert!(program.stderr().contains(&format!(": {workers} worker")));
    }
    traffic.end();
    wait_for_the_old_to_end(&program, 3);
    assert_eq!(program.workers().len(), 3);
}

#[test]
fn all_sockets_are_accepted_from_when_there_are_fewer_workers() {
    let backend = Backend::named("a");
    let mut program =
        Program::with(json!({ "workers": 8, "backend_servers": servers(&[&backend]) }));
    program.configure(|config| config["workers"] = json!(3));
    program.reload();
    for _ in 0..64 {
        assert_eq!(program.get("/").text(), "a");
    }
}

#[test]
fn addresses_come_and_go_and_those_that_stay_are_never_closed() {
    let backend = mirror();
    let mut program = Program::with(over(&[&backend]));
    let stays = program.address.to_string();
    let others = [Backend::absent().address, Backend::absent().address];
    // Its port was chosen by the kernel. Now it is named.
    let traffic = Traffic::at(program.address, 2);
    for round in 0..4 {
        let (comes, goes) = (others[round % 2], others[(round + 1) % 2]);
        program.configure(|config| config["listen"] = json!([stays, comes.to_string()]));
        program.reload();
        assert_eq!(Client::connect(comes).get("/").status, 200);
        until("nobody listens there", || TcpStream::connect(goes).is_err());
        traffic.wait_for(10);
    }
    traffic.end();
}

#[test]
fn who_waits_at_an_address_that_goes_is_still_served() {
    let backend = Backend::named("a");
    let extra: SocketAddr = Backend::absent().address;
    let mut program = Program::with(json!({
        "workers": 2,
        "listen": ["127.0.0.1:0", extra.to_string()],
        "backend_servers": servers(&[&backend]),
    }));
    // The workers do not take them, until they are told to go.
    let old = program.workers();
    for worker in &old {
        rustix::process::kill_process(*worker, Signal::STOP).unwrap();
    }
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(extra)).collect();
    for client in &mut clients {
        client.ask("/");
    }
    program.configure(|config| config["listen"] = json!(["127.0.0.1:0"]));
    program.reload();
    for worker in &old {
        rustix::process::kill_process(*worker, Signal::CONT).unwrap();
    }
    for client in &mut clients {
        client.expect_last("a");
    }
    drop(clients);
    until("nobody listens there", || TcpStream::connect(extra).is_err());
}

#[test]
fn from_one_address_to_all_addresses_nobody_is_lost() {
    let backend = mirror();
    let mut program = Program::with(over(&[&backend]));
    let port = program.address.port();
    let traffic = Traffic::at(program.address, 4);
    for listen in [format!("127.0.0.1:{port}"), format!(":{port}"), format!("127.0.0.1:{port}")] {
        program.configure(|config| config["listen"] = json!([listen]));
        program.reload();
        traffic.wait_for(50);
    }
    traffic.end();
}

#[test]
fn a_download_and_a_websocket_run_through_reloads() {
    const LONG: usize = 64 << 20;
    let body = noise(LONG, 7);
    let answer = body.clone();
    let backend = Backend::talking(move |connection| {
        let Some(request) = connection.request() else { return };
        if request.field("Upgrade").is_none() {
            connection.give(&Answer::text(&answer), &request);
            return;
        }
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        loop {
            let bytes = std::mem::take(&mut connection.wire().buffer);
            if !connection.send(bytes) || connection.wire().more().is_err() {
                return;
            }
        }
    });
    let program = Program::with(over(&[&backend]));
    let mut talker = program.client();
    talker.send(
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(talker.response().status, 101);
    let mut downloader = program.client();
    downloader.ask("/long");
    downloader.wire.read_until_len(1 << 20).unwrap();
    for round in 0..3 {
        program.reload();
        talker.send(format!("hello {round}"));
        assert_eq!(talker.read_exactly(7), format!("hello {round}").as_bytes());
        let len = downloader.wire.buffer.len();
        downloader.wire.read_until_len(len + (8 << 20)).unwrap();
    }
    let response = downloader.response();
    assert_same_bytes(&response.body, &body, "the download");
    talker.finish_sending();
    talker.expect_end();
    drop((talker, downloader));
    wait_for_the_old_to_end(&program, 2);
}

#[test]
fn what_is_in_work_goes_on_after_a_reload_beyond_the_drain_timeout() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let mut config = over(&[&backend]);
    config["timeouts"] = json!({ "drain": "100ms" });
    let program = Program::with(config);
    let mut held = program.client_at(&backend, "/hold");
    program.reload();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(program.get("/").text(), "a");
    gate.open();
    assert_eq!(held.response().text(), "a");
    wait_for_the_old_to_end(&program, 2);
}

#[test]
fn of_the_generations_that_were_replaced_eight_are_kept_and_the_oldest_drains() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let config = json!({
        "workers": 1,
        "backend_servers": servers(&[&backend]),
        "timeouts": { "drain": "500ms" },
    });
    let program = Program::with(config);
    let first = "generation 1: 8 newer ones are kept";
    let mut held: Vec<Client> = Vec::new();
    // Nine suffice where each generation gets its client; who connects right behind a reload may
    // come to the one before yet.
    while program.count_messages(first) == 0 {
        assert!(held.len() < 40, "{}", program.stderr());
        held.push(program.client_at(&backend, "/hold"));
        program.reload();
    }
    assert!(held.len() >= 9, "{}", program.stderr());
    // The message may come when the next reload has begun already.
    let count = program.count_messages("8 newer ones are kept");
    assert!((1..=2).contains(&count), "{}", program.stderr());
    assert!(held[0].receive("GET").is_err());
    gate.open();
    for client in &mut held[3..] {
        assert_eq!(client.response().text(), "a");
    }
    wait_for_the_old_to_end(&program, 1);
}

/// Their clients are kept until their next request, which goes nowhere that is taken out by then.
#[test]
fn the_workers_that_a_reload_replaced_follow_what_operators_want() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let program = Program::operated(over(&[&one, &two]));
    let mut clients: Vec<Client> = (0..40).map(|_| program.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    program.reload();
    let path = format!("PATCH /v1/pools/default/backends/{}", one.address);
    assert_eq!(program.ask(&path, "{\"state\": \"maint\"}").status, 200);
    let texts: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            crate::common::backend::pause();
            client.get("/").text()
        })
        .collect();
    assert!(texts[20..].iter().all(|text| text == "two"), "{texts:?}");
}

#[test]
fn what_takes_longer_than_the_retire_timeout_is_broken_off() {
    let gate = Gate::new();
    let backend = Backend::holding("a", &gate);
    let mut config = over(&[&backend]);
    config["timeouts"] = json!({ "retire": "1s" });
    let program = Program::with(config);
    let mut idle = program.client();
    assert_eq!(idle.get("/").text(), "a");
    let mut held = program.client_at(&backend, "/hold");
    program.reload();
    assert!(held.receive("GET").is_err());
    idle.expect_end();
    wait_for_the_old_to_end(&program, 2);
    gate.open();
}

#[test]
fn a_stop_at_any_moment_of_a_reload_ends_all_generations() {
    let backend = Backend::named("a");
    for round in 0..12 {
        let mut program = Program::with(over(&[&backend]));
        let mut client = program.client();
        assert_eq!(client.get("/").text(), "a");
        let mut processes = program.processes();
        program.signal(Signal::HUP);
        std::thread::sleep(std::time::Duration::from_millis(round * 8));
        processes.extend(process::children(program.pid()));
        program.signal(Signal::TERM);
        let status = program.wait_for_exit();
        assert!(status.success(), "{status}\n{}", program.stderr());
        until("all have ended", || !processes.iter().copied().any(process::lives));
        assert!(TcpStream::connect(program.address).is_err());
    }
}

#[test]
fn signals_for_a_reload_that_come_during_one_are_one_more() {
    let backend = Backend::named("a");
    let program = Program::with(over(&[&backend]));
    let before = program.count_messages(DONE);
    for _ in 0..20 {
        program.signal(Signal::HUP);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    until("at least two reloads", || program.count_messages(DONE) >= before + 2);
    assert_eq!(program.get("/").text(), "a");
    assert_eq!(program.count_messages(REFUSED), 0);
}

#[test]
fn a_master_that_is_killed_after_reloads_leaves_nothing_either() {
    let backend = Backend::named("a");
    let program = Program::with(over(&[&backend]));
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "a");
    program.reload();
    let processes = program.processes();
    assert!(processes.len() > 4, "the old generation has an idle client");
    process::kill(program.pid());
    until("all have ended", || !processes.iter().copied().any(process::lives));
    client.expect_end();
}
