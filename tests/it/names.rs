//! Backends by name.

use crate::common::{
    Client, Program, Traffic, Value,
    dns::{Fleet, Kind, NameServer, Resolver, Says},
    eventually, json,
    peers::tool,
    process,
    program::binary,
    reload::another_version,
    traffic, until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

/// Names are looked up often, and addresses that are named no more stay for so long.
fn config(fleet: &Fleet, hold: &str) -> Value {
    json!({
        "backend_servers": [{ "name": "app.test", "port": fleet.port }],
        "names": { "interval": "200ms", "hold": hold },
        "workers": 2,
    })
}

/// What is known of the only name.
fn name(program: &Program) -> Value {
    program.look("/v1/names")["names"][0].clone()
}

/// Look-ups of it that have found something, as they are counted.
fn lookups(program: &Program) -> u64 {
    let metrics = Client::connect(program.status_address()).get("/metrics").text();
    let sample = "httplb_name_lookups_total{name=\"app.test\",result=\"ok\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(sample));
    count.expect("it is counted").parse().unwrap()
}

/// The addresses of the only name: those that are named, and those that are going.
fn addresses(program: &Program) -> (Vec<String>, Vec<String>) {
    let name = name(program);
    let list = |key: &str| {
        let all = name[key].as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    (list("addresses"), list("going"))
}

fn wait_for(program: &Program, fleet: &Fleet, named: &[usize], going: &[usize]) {
    let of = |places: &[usize]| -> Vec<String> {
        fleet.at(places).iter().map(|ip| format!("{ip}:{}", fleet.port)).collect()
    };
    let wanted = (of(named), of(going));
    until(&format!("{wanted:?}, not {:?}", addresses(program)), || addresses(program) == wanted);
}

fn wait_for_status(program: &Program, state: &str) {
    until(&format!("the name is {state}: {}", name(program)), || name(program)["state"] == state);
}

/// How many of so many requests each backend answers.
fn shares(program: &Program, count: usize) -> BTreeMap<String, usize> {
    let mut client = program.client();
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(client.get("/").text()).or_default() += 1;
    }
    shares
}

/// What those at these places have, each as many.
fn even(fleet: &Fleet, places: &[usize], count: usize) -> BTreeMap<String, usize> {
    fleet.at(places).iter().map(|ip| (ip.to_string(), count)).collect()
}

fn backends(program: &Program) -> HashMap<String, Value> {
    let pool = program.look("/v1/pools/default");
    let all = pool["backends"].as_array().unwrap().iter();
    all.map(|one| (one["backend"].as_str().unwrap().to_owned(), one.clone())).collect()
}

fn helper(program: &Program) -> Pid {
    eventually("a process that looks up names", || {
        let mut all = program.processes().into_iter();
        all.find(|pid| process::name(*pid).as_deref() == Some("httplb-names"))
    })
}

#[test]
fn each_address_of_a_name_is_a_backend_that_comes_goes_and_may_come_back() {
    let (server, fleet) = (NameServer::start(), Fleet::of(4));
    server.says("app.test", fleet.says(&[2, 0]));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "3s"));
    // Whoever is told that it is ready finds them there.
    assert_eq!(shares(&program, 20), even(&fleet, &[0, 2], 10));
    let shown = &backends(&program)[&fleet.backends[0].address.to_string()];
    assert_eq!((&shown["source"], &shown["name"]), (&json!("name"), &json!("app.test")));
    let known = name(&program);
    assert_eq!((&known["name"], &known["port"]), (&json!("app.test"), &json!(fleet.port)));
    assert_eq!((&known["pool"], &known["state"]), (&json!("default"), &json!("ok")));
    assert!(known["last_ok_age_s"].as_u64() < Some(20) && known["last_error"].is_null());

    server.says("app.test", fleet.says(&[0, 1, 2, 3]));
    wait_for(&program, &fleet, &[0, 1, 2, 3], &[]);
    program.wait_for_message(&format!(
        "pool default: app.test: {} has come",
        fleet.backends[1].address
    ));
    // In the order of the addresses, however they came: any four requests in a row name each once.
    assert_eq!(shares(&program, 40), even(&fleet, &[0, 1, 2, 3], 10));

    server.says("app.test", fleet.says(&[1, 2, 3]));
    wait_for(&program, &fleet, &[1, 2, 3], &[0]);
    let gone = fleet.backends[0].address;
    program.wait_for_message(&format!(
        "pool default: app.test: {gone} is named no more and goes in 3 s"
    ));
    // It serves on at its full share, and stays as it was if it is named again in time.
    assert_eq!(shares(&program, 40), even(&fleet, &[0, 1, 2, 3], 10));
    server.says("app.test", fleet.says(&[0, 1, 2, 3]));
    wait_for(&program, &fleet, &[0, 1, 2, 3], &[]);
    let shown = &backends(&program)[&gone.to_string()];
    assert!(shown["requests_total"].as_u64() >= Some(20), "its counters are its own: {shown}");

    server.says("app.test", fleet.says(&[3]));
    wait_for(&program, &fleet, &[3], &[]);
    assert_eq!(shares(&program, 10), even(&fleet, &[3], 10));
    until("they are forgotten", || backends(&program).len() == 1);
}

#[test]
fn a_dead_name_server_takes_nobody_out_and_one_that_begins_anew_neither() {
    let (server, fleet) = (NameServer::start(), Fleet::of(2));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "2s"));
    let traffic = Traffic::at(program.address, 0);
    for says in [Says::Silence, Says::Failure, Says::Refused] {
        server.says("app.test", says.clone());
        wait_for_status(&program, "unknown");
        program.wait_for_message(
            "pool default: app.test cannot be looked up (Temporary failure in name resolution): its 2 \
             backends stay",
        );
        assert!(name(&program)["last_error"].as_str().unwrap().contains("Temporary failure"));
        // Longer than the hold.
        std::thread::sleep(Duration::from_millis(2500));
        wait_for(&program, &fleet, &[0, 1], &[]);
        server.says("app.test", fleet.says(&[0, 1]));
        wait_for_status(&program, "ok");
    }
    program.wait_for_message("pool default: app.test is looked up again: 2 backends");
    // At its start it knows no name yet, and answers all the same.
    server.says("app.test", Says::NoName);
    wait_for_status(&program, "nothing");
    wait_for(&program, &fleet, &[], &[0, 1]);
    program.wait_for_message("pool default: app.test has no address (Name or service not known)");
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
    // It fails right after it has said so: nobody knows whether it was right.
    server.says("app.test", Says::Failure);
    wait_for_status(&program, "unknown");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
    server.says("app.test", fleet.says(&[0, 1]));
    wait_for(&program, &fleet, &[0, 1], &[]);
    // It is right.
    server.says("app.test", Says::NoData);
    until("both have gone", || backends(&program).is_empty());
    assert_eq!(program.get("/").status, 503);
    traffic.end();
}

#[test]
fn a_family_that_fails_takes_nothing_from_the_other() {
    let (server, fleet) = (NameServer::start(), Fleet::of(2));
    server.says("app.test", fleet.says(&[0, 1]));
    server.says_of("app.test", Kind::Aaaa, Says::Addresses(vec!["::1".parse().unwrap()]));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "0s"));
    until("three addresses", || addresses(&program).0.len() == 3);
    let six = format!("[::1]:{}", fleet.port);
    server.says_of("app.test", Kind::Aaaa, Says::Failure);
    server.says_of("app.test", Kind::A, fleet.says(&[1]));
    until("IPv4 has changed", || {
        addresses(&program).0 == [fleet.backends[1].address.to_string(), six.clone()]
    });
    assert_eq!(name(&program)["state"], "ok");
    server.says_of("app.test", Kind::A, Says::Failure);
    server.says_of("app.test", Kind::Aaaa, Says::NoData);
    until("IPv6 has changed", || addresses(&program).0 == [fleet.backends[1].address.to_string()]);
    wait_for_status(&program, "unknown");
    assert_eq!(shares(&program, 5), even(&fleet, &[1], 5));
}

#[test]
fn what_name_servers_answer_oddly_harms_nobody() {
    let (server, fleet) = (NameServer::start(), Fleet::of(2));
    server.says("app.test", Says::OverTcp(Box::new(fleet.says(&[0, 1]))));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "1h"));
    wait_for(&program, &fleet, &[0, 1], &[]);
    assert!(server.was_asked_over_tcp());
    server.says("app.test", Says::Garbage);
    wait_for_status(&program, "unknown");
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
    server.says("app.test", Says::Late(Duration::from_millis(500), Box::new(fleet.says(&[1]))));
    wait_for(&program, &fleet, &[1], &[0]);
    let odd = ["0.0.0.0", "255.255.255.255", "224.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    server.says("app.test", Says::Addresses(odd.to_vec()));
    wait_for_status(&program, "nothing");
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
}

#[test]
fn a_name_that_appears_late_brings_its_backends_then() {
    let (server, fleet) = (NameServer::start(), Fleet::of(1));
    server.says("app.test", Says::Failure);
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "1h"));
    wait_for_status(&program, "unknown");
    assert_eq!(program.get("/").status, 503);
    program
        .wait_for_message("cannot be looked up (Temporary failure in name resolution): no backend");
    server.says("app.test", fleet.says(&[0]));
    wait_for(&program, &fleet, &[0], &[]);
    assert_eq!(program.get("/").text(), fleet.backends[0].address.ip().to_string());
}

#[test]
fn names_stand_on_the_command_line_and_in_the_hosts_file() {
    let fleet = Fleet::of(2);
    let lines: String = fleet.at(&[0, 1]).iter().map(|ip| format!("{ip} app.local\n")).collect();
    // Nobody answers there.
    let resolver = Resolver::asking(crate::common::dns::own_host(), &lines);
    let mut command = resolver.command(binary());
    command.args(["-b", &format!("app.local:{}", fleet.port)]);
    let program =
        Program::operated_by(json!({ "names": { "interval": "200ms", "hold": "0s" } }), command);
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
    resolver.write("hosts", &format!("{} app.local\n", fleet.at(&[1])[0]));
    wait_for(&program, &fleet, &[1], &[]);
}

#[test]
fn reloads_and_upgrades_keep_what_names_have_brought_and_lose_no_request() {
    let server = NameServer::start();
    let fleet = Fleet::answering(3, |_, request| traffic::mirrored(request));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let mut program = resolver.program(config(&fleet, "1h"));
    let traffic = Traffic::at(program.address, 4);
    traffic.wait_for(50);
    let first = fleet.backends[0].address;
    let drain = format!("PATCH /v1/pools/default/backends/{first}");
    assert_eq!(program.ask(&drain, r#"{"state":"drain"}"#).status, 200);
    // While no name server answers, which a reload need not wait for.
    server.says("app.test", Says::Silence);
    let before = lookups(&program);
    assert!(before > 0);
    program.reload();
    assert!(lookups(&program) >= before && name(&program)["last_ok_age_s"].is_number());
    traffic.wait_for(50);
    let shown = backends(&program);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(shown[&first.to_string()]["admin"], "drain");
    server.says("app.test", fleet.says(&[1, 2]));
    wait_for(&program, &fleet, &[1, 2], &[0]);
    program.reload();
    wait_for(&program, &fleet, &[1, 2], &[0]);
    traffic.wait_for(50);
    // Another name of the file: the first is forgotten with all that it has brought.
    server.says("other.test", fleet.says(&[2]));
    program.configure(|config| config["backend_servers"][0]["name"] = json!("other.test"));
    program.reload();
    wait_for(&program, &fleet, &[2], &[]);
    traffic.wait_for(50);
    until("the others are forgotten", || backends(&program).len() == 1);
    traffic.end();
    assert_eq!(program.count_messages("another takes its place"), 0);
}

#[test]
fn the_last_known_addresses_serve_a_start_without_a_name_server() {
    let (server, fleet) = (NameServer::start(), Fleet::of(2));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let start = || {
        let mut command = resolver.command(binary());
        command.env("STATE_DIRECTORY", resolver.folder.path());
        Program::operated_by(config(&fleet, "1s"), command)
    };
    let program = start();
    wait_for(&program, &fleet, &[0, 1], &[]);
    drop(program);
    server.says("app.test", Says::Silence);
    let program = start();
    assert_eq!(shares(&program, 10), even(&fleet, &[0, 1], 5));
    program.wait_for_message("app.test is not known yet: 2 addresses of the last run are used");
    server.says("app.test", fleet.says(&[1]));
    wait_for(&program, &fleet, &[1], &[]);
}

#[test]
fn a_helper_that_dies_or_hangs_is_replaced_and_traffic_goes_on() {
    let server = NameServer::start();
    let fleet = Fleet::answering(2, |_, request| traffic::mirrored(request));
    server.says("app.test", fleet.says(&[0]));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(config(&fleet, "0s"));
    let traffic = Traffic::at(program.address, 4);
    let first = helper(&program);
    process::kill(first);
    program.wait_for_message(&format!(
        "the names process (pid {first}) was killed by signal 9; another takes its place",
        first = first.as_raw_nonzero()
    ));
    until("another one", || helper(&program) != first);
    server.says("app.test", fleet.says(&[1]));
    wait_for(&program, &fleet, &[1], &[]);
    traffic.wait_for(50);
    let second = helper(&program);
    kill_process(second, Signal::STOP).unwrap();
    program.wait_for_message(&format!(
        "the names process (pid {second}) does not answer; it is ended",
        second = second.as_raw_nonzero()
    ));
    until("another one", || helper(&program) != second);
    server.says("app.test", fleet.says(&[0, 1]));
    wait_for(&program, &fleet, &[0, 1], &[]);
    traffic.wait_for(50);
    traffic.end();
}

#[test]
fn what_a_name_brings_is_neither_removed_nor_registered_by_others() {
    let (server, fleet) = (NameServer::start(), Fleet::of(3));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let mut config = config(&fleet, "0s");
    // One of them is in the file, too: it is one backend, and the file's.
    let literal = fleet.backends[1].server_with(json!({ "weight": 3 }));
    config["backend_servers"].as_array_mut().unwrap().push(literal);
    let program = resolver.program(config);
    let [named, written] = [0, 1].map(|place| fleet.backends[place].address.to_string());
    let shown = backends(&program);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(
        (&shown[&written]["source"], &shown[&written]["weight"]),
        (&json!("file"), &json!(3))
    );
    for method in ["DELETE", "PUT"] {
        let reply = program.ask(&format!("{method} /v1/pools/default/backends/{named}"), "");
        assert_eq!(reply.status, 409);
        assert!(reply.body.contains("the name app.test brings this backend"), "{}", reply.body);
    }
    assert_eq!(shares(&program, 40), {
        let mut shares = even(&fleet, &[0], 10);
        shares.extend(even(&fleet, &[1], 30));
        shares
    });
    // One that has registered first is its own.
    let third = fleet.backends[2].address.to_string();
    let put = format!("PUT /v1/pools/default/backends/{third}");
    assert_eq!(program.ask(&put, "").status, 201);
    server.says("app.test", fleet.says(&[0, 2]));
    wait_for(&program, &fleet, &[0, 2], &[]);
    assert_eq!(backends(&program)[&third]["source"], "api");
    assert_eq!(program.ask(&format!("DELETE /v1/pools/default/backends/{third}"), "").status, 202);
    until("the name brings it", || {
        backends(&program).get(&third).is_some_and(|shown| shown["source"] == "name")
    });
}

#[test]
fn a_check_asks_for_the_name_and_one_that_fails_ends_the_hold() {
    let (server, fleet) = (NameServer::start(), Fleet::of(2));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let mut config = config(&fleet, "1h");
    config["health_check"] = json!({ "interval": "200ms" });
    let mut fleet = fleet;
    let program = resolver.program(config);
    until("it is checked", || fleet.backends[0].request_count() > 0);
    assert_eq!(fleet.backends[0].requests()[0].field("Host"), Some("app.test"));
    server.says("app.test", fleet.says(&[1]));
    wait_for(&program, &fleet, &[1], &[0]);
    // One that is named is down when it fails, and there; one that is not is gone.
    fleet.backends[0].stop();
    wait_for(&program, &fleet, &[1], &[]);
    until("it is forgotten", || backends(&program).len() == 1);
    fleet.backends[1].stop();
    let address = fleet.backends[1].address;
    program.wait_for_state("default", address, "down");
    server.says("app.test", Says::Failure);
    wait_for_status(&program, "unknown");
    assert_eq!(program.state("default", address), "down");
}

#[test]
fn seventy_addresses_are_seventy_backends_and_of_too_many_the_lowest_are_taken() {
    let (server, fleet) = (NameServer::start(), Fleet::of(70));
    let all: Vec<usize> = (0..70).rev().collect();
    server.says("app.test", fleet.says(&all));
    let resolver = Resolver::asking(server.address, "");
    let mut config = config(&fleet, "0s");
    config["backend_servers"][0]["max"] = json!(70);
    let mut program = resolver.program(config);
    let all: Vec<usize> = (0..70).collect();
    assert_eq!(shares(&program, 140), even(&fleet, &all, 2));
    program.configure(|config| config["backend_servers"][0]["max"] = json!(69));
    program.reload();
    wait_for(&program, &fleet, &all[..69], &[]);
    program.wait_for_message("app.test has more than 69 addresses: the lowest are used");
    until("the last one is forgotten", || backends(&program).len() == 69);
    assert_eq!(shares(&program, 138), even(&fleet, &all[..69], 2));
}

#[test]
fn services_have_ports_weights_and_priorities_of_their_own() {
    let (server, fleet) = (NameServer::start(), Fleet::of(3));
    let services = |list: &[(u16, u16, &str)]| {
        let of = |(priority, weight, host): &(u16, u16, &str)| {
            (*priority, *weight, fleet.port, format!("{host}.test"))
        };
        Says::Services(list.iter().map(of).collect())
    };
    for (place, host) in ["a.test", "b.test", "c.test"].iter().enumerate() {
        server.says(host, fleet.says(&[place]));
    }
    server.says("_http._tcp.app.test", services(&[(10, 3, "a"), (10, 1, "b"), (20, 5, "c")]));
    let resolver = Resolver::asking(server.address, "");
    let program = resolver.program(json!({
        "backend_servers": [{ "srv": "_http._tcp.app.test" }],
        "names": { "interval": "200ms", "hold": "0s" },
    }));
    let expect = |shares: &[(usize, usize)]| -> BTreeMap<String, usize> {
        shares.iter().flat_map(|(place, count)| even(&fleet, &[*place], *count)).collect()
    };
    assert_eq!(shares(&program, 40), expect(&[(0, 30), (1, 10)]));
    assert!(name(&program)["port"].is_null());
    let [.., third] = [0, 1, 2].map(|place| fleet.backends[place].address.to_string());
    assert_eq!(backends(&program).len(), 3);
    assert_eq!(backends(&program)[&third]["name"], "_http._tcp.app.test");
    server.says(
        "_http._tcp.app.test",
        services(&[(20, 60_000, "a"), (10, 0, "b"), (10, 65_535, "c")]),
    );
    until("other weights", || {
        let shown = backends(&program);
        shown.get(&third).is_some_and(|shown| shown["weight"] == 256)
    });
    assert_eq!(shares(&program, 257), expect(&[(1, 1), (2, 256)]));
    // One host of it cannot be looked up: nobody of it goes.
    server.says("b.test", Says::Failure);
    wait_for_status(&program, "unknown");
    assert_eq!(backends(&program).len(), 3);
    server.says("_http._tcp.app.test", services(&[(0, 0, "")]));
    until("it is decidedly not available", || backends(&program).is_empty());
}

#[test]
fn an_upgrade_to_another_binary_keeps_them_and_has_a_helper_of_its_own() {
    let server = NameServer::start();
    let fleet = Fleet::answering(2, |_, request| traffic::mirrored(request));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let program = Program::by(config(&fleet, "1h"), |folder| {
        std::fs::copy(binary(), folder.join("httplb")).unwrap();
        resolver.command(folder.join("httplb"))
    });
    let traffic = Traffic::at(program.address, 4);
    traffic.wait_for(50);
    let before = helper(&program);
    server.says("app.test", Says::Failure);
    program.replace_binary(another_version(&std::fs::read(binary()).unwrap()));
    program.reload();
    traffic.wait_for(50);
    until("the first one has ended", || !process::lives(before));
    assert_ne!(helper(&program), before);
    traffic.end();
    assert!(!program.stderr().contains("cannot be gone on with"), "{}", program.stderr());
}

#[test]
fn who_comes_beside_others_that_serve_begins_slowly_and_who_is_there_at_the_start_does_not() {
    let (server, fleet) = (NameServer::start(), Fleet::of(3));
    server.says("app.test", fleet.says(&[0, 1]));
    let resolver = Resolver::asking(server.address, "");
    let mut config = config(&fleet, "0s");
    config["slow_start"] = json!("10m");
    let program = resolver.program(config);
    assert_eq!(shares(&program, 20), even(&fleet, &[0, 1], 10));
    server.says("app.test", fleet.says(&[0, 1, 2]));
    wait_for(&program, &fleet, &[0, 1, 2], &[]);
    let shares = shares(&program, 210);
    let new = shares.get(&fleet.at(&[2])[0].to_string()).copied().unwrap_or(0);
    assert!((5..=20).contains(&new), "about a tenth of a whole share: {shares:?}");
}

/// The name server of Debian's package, as hosts run it, with this hosts file for its records.
struct Dnsmasq(std::process::Child);

impl Dnsmasq {
    fn start(address: std::net::Ipv4Addr, hosts: &std::path::Path) -> Dnsmasq {
        let mut command = std::process::Command::new(tool("dnsmasq", "dnsmasq-base"));
        command.args(["-k", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"]);
        command.args(["--conf-file=/dev/null", "--pid-file", "--local=/test/", "--cache-size=0"]);
        command.arg(format!("--listen-address={address}"));
        command.arg(format!("--addn-hosts={}", hosts.display()));
        command.stderr(std::process::Stdio::null());
        Dnsmasq(command.spawn().expect("dnsmasq"))
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn with_dnsmasq_backends_come_and_go_and_outlive_it() {
    let fleet = Fleet::of(3);
    let address = crate::common::dns::own_host();
    let resolver = Resolver::asking(address, "");
    let hosts = resolver.folder.path().join("records");
    let write = |places: &[usize]| {
        let lines =
            fleet.at(places).iter().map(|ip| format!("{ip} app.test\n")).collect::<String>();
        std::fs::write(&hosts, lines).unwrap();
    };
    write(&[0, 1]);
    let server = Dnsmasq::start(address, &hosts);
    until("dnsmasq", || std::net::TcpStream::connect((address, 53)).is_ok());
    let program = resolver.program(config(&fleet, "2s"));
    assert_eq!(shares(&program, 20), even(&fleet, &[0, 1], 10));
    write(&[1, 2]);
    let pid = Pid::from_child(&server.0);
    kill_process(pid, Signal::HUP).unwrap();
    wait_for(&program, &fleet, &[1, 2], &[]);
    assert_eq!(shares(&program, 20), even(&fleet, &[1, 2], 10));
    drop(server);
    wait_for_status(&program, "unknown");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(shares(&program, 20), even(&fleet, &[1, 2], 10));
    // It begins anew, and knows nothing yet.
    std::fs::write(&hosts, "").unwrap();
    let server = Dnsmasq::start(address, &hosts);
    wait_for_status(&program, "nothing");
    write(&[1, 2]);
    kill_process(Pid::from_child(&server.0), Signal::HUP).unwrap();
    wait_for(&program, &fleet, &[1, 2], &[]);
    assert_eq!(shares(&program, 20), even(&fleet, &[1, 2], 10));
}
