//! Clients that come by a Unix socket.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Request, Traffic, Value, eventually, json,
    peers::Folder,
    program::{binary, plain},
    reload::another_version,
    servers,
    traffic::mirror,
    until,
};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
};

/// What the backend was told of the client.
fn told(request: &Request) -> Answer {
    let said = |name| request.field(name).unwrap_or_default().to_owned();
    Answer::text(format!(
        "for={} proto={} forwarded={} real={}",
        said("X-Forwarded-For"),
        said("X-Forwarded-Proto"),
        said("Forwarded"),
        said("X-Real-IP")
    ))
}

/// Listens at a port too, for whoever looks whether it is ready.
fn listening(entry: impl Into<Value>, backends: &[&Backend]) -> Value {
    json!({ "listen": ["127.0.0.1:0", entry.into()], "backend_servers": servers(backends) })
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn get(path: &Path) -> String {
    Client::at_unix(path).get("/").text()
}

fn at(folder: &Folder) -> PathBuf {
    folder.path().join("http.sock")
}

#[test]
fn clients_come_by_a_path_and_the_file_is_there_as_long_as_the_service_is() {
    let (folder, backend) = (Folder::new("listen"), Backend::named("a"));
    let path = at(&folder);
    // One that was left by somebody who was killed is replaced.
    drop(UnixListener::bind(&path).unwrap());
    let mut program = Program::with(listening(unix(&path), &[&backend]));
    let summary = format!("listening on {}, {},", program.address, unix(&path));
    assert!(program.stderr().contains(&summary), "{}", program.stderr());
    assert_eq!(mode(&path), 0o660);
    let mut client = Client::at_unix(&path);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "a");
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    client.expect_last("a");
    client.expect_end();
    assert_eq!(backend.last_request().body, b"hi");
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    assert!(!path.exists());
}

#[test]
fn a_path_may_be_named_by_an_option_and_an_abstract_name_by_the_file() {
    let (folder, backend) = (Folder::new("option"), Backend::named("a"));
    let path = at(&folder);
    let program = Program::by(json!({ "backend_servers": servers(&[&backend]) }), |_| {
        let mut command = plain(binary());
        command.args(["-l", "127.0.0.1:0", "-l", &unix(&path)]);
        command
    });
    assert_eq!((get(&path), program.get("/").text()), ("a".into(), "a".into()));
    let name = format!("@httplb-listen-{}", std::process::id());
    let program = Program::with(listening(format!("unix:{name}"), &[&backend]));
    assert_eq!(get(Path::new(&name)), "a");
    program.reload();
    assert_eq!(get(Path::new(&name)), "a");
}

#[test]
fn whose_the_file_is_is_said_in_the_file() {
    let (folder, backend) = (Folder::new("access"), Backend::named("a"));
    let path = at(&folder);
    let own = rustix::process::getegid().as_raw();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let name = |line: &str| Some(line.split(':').next()?.to_owned());
    let is_own = |line: &&str| line.split(':').nth(2) == Some(own.to_string().as_str());
    let group = groups.lines().find(is_own).and_then(name).expect("the group of who tests");
    let entry = json!({ "addr": unix(&path), "mode": "0606", "group": group });
    let mut program = Program::with(listening(entry, &[&backend]));
    assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o606, own));
    // It stays what it is until a restart, and that is told.
    program.configure(|config| config["listen"][1]["mode"] = json!("0660"));
    program.reload();
    program.wait_for_message("its mode and group stay what they are until a restart");
    assert_eq!(mode(&path), 0o606);
    let why = {
        program.configure(|config| {
            config["listen"][1] = json!({ "addr": unix(&path), "group": "no-such-group" });
        });
        program.fail_to_reload()
    };
    assert!(why.contains("group \"no-such-group\": there is no such group (name one"), "{why}");
    assert_eq!(get(&path), "a");
}

#[test]
fn where_somebody_listens_or_no_socket_can_be_nothing_is_changed() {
    let (folder, backend) = (Folder::new("taken"), Backend::named("a"));
    let path = at(&folder);
    let mut program = Program::with(listening(unix(&path), &[&backend]));
    for (other, reason) in [
        ("taken.sock", "the address is in use (stop the other program, or remove what is there"),
        ("missing/http.sock", "its directory is missing"),
        ("file", "the address is in use"),
    ] {
        let other = folder.path().join(other);
        let _listener = reason.contains("stop").then(|| UnixListener::bind(&other).unwrap());
        if reason == "the address is in use" {
            fs::write(&other, "precious").unwrap();
        }
        program.configure(|config| config["listen"][1] = json!(unix(&other)));
        let why = program.fail_to_reload();
        assert!(why.contains(&format!("listen {}", unix(&other))) && why.contains(reason), "{why}");
        assert_eq!(get(&path), "a");
    }
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"precious");
    let ended = plain(binary()).args(["-l", &unix(&path), "-b", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(get(&path), "a", "another service does not take it over");
}

#[test]
fn who_has_no_address_is_called_unix_and_nothing_is_made_up_for_it() {
    let (folder, backend) = (Folder::new("peer"), Backend::answering(told));
    let path = at(&folder);
    let mut config = listening(unix(&path), &[&backend]);
    config["forward"] = json!(["x-forwarded", "forwarded", "x-real-ip"]);
    config["trusted_proxies"] = json!(["0.0.0.0/0", "::/0"]);
    let mut program = Program::logging(config);
    let claims = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\
                  X-Forwarded-Proto: https\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
    let ask = || {
        let mut client = Client::at_unix(&path);
        client.send(claims);
        client.response().text()
    };
    assert_eq!(ask(), "for= proto=http forwarded=for=unknown;host=\"a\";proto=http real=");
    program.configure(|config| config["trusted_proxies"] = json!(["unix"]));
    program.reload();
    let kept = "for=203.0.113.9 proto=https forwarded=for=unknown;host=\"a\";proto=http \
                real=203.0.113.9";
    // Those that the reload replaced take clients for a moment yet.
    until("who is before it is believed", || ask() == kept);
    // Those that come by TCP are none of these.
    let mut client = program.client();
    client.send(claims);
    assert!(client.response().text().starts_with("for=127.0.0.1 proto=http "));
    let clients = eventually("the last is logged", || {
        let log = fs::read_to_string(program.log_path()).ok()?;
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let clients: Vec<String> =
            lines.map(|line| line["client"].as_str().unwrap().to_owned()).collect();
        clients.iter().any(|client| client != "unix").then_some(clients)
    });
    let (by_tcp, by_path) = clients.split_last().unwrap();
    assert!(by_tcp.starts_with("127.0.0.1:") && by_path.len() >= 2, "{clients:?}");
    assert!(by_path.iter().all(|client| client == "unix"), "{clients:?}");
}

#[test]
fn a_proxy_header_names_the_client_and_without_one_it_is_not_served() {
    let (folder, backend) = (Folder::new("proxy"), Backend::answering(told));
    let path = at(&folder);
    let entry = json!({ "addr": unix(&path), "proxy_protocol": true });
    let program = Program::logging(listening(entry, &[&backend]));
    let ask = |header: &[u8]| {
        let mut client = Client::at_unix(&path);
        client.send([header, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        client.response().text()
    };
    let by_line = ask(b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n");
    assert!(by_line.starts_with("for=203.0.113.9 proto=http"), "{by_line}");
    // Version 2, of a check of the proxy's own: nobody is named.
    let local = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 0]].concat();
    assert!(ask(&local).starts_with("for= proto=http"));
    let clients: Vec<Value> =
        program.log_lines(2).iter().map(|line| line["client"].clone()).collect();
    assert_eq!(clients, ["203.0.113.9:51234", "unix"]);
    let mut silent = Client::at_unix(&path);
    silent.ask("/");
    silent.expect_end();
    program.wait_for_message("a connection from unix did not begin with a valid PROXY header");
}

#[test]
fn a_client_that_is_gone_is_noticed_and_one_that_has_ended_its_side_is_answered() {
    let (folder, gate) = (Folder::new("gone"), Gate::new());
    let backend = Backend::gated(&gate, |request| Answer::text(&request.target));
    let path = at(&folder);
    let program = Program::logging(listening(unix(&path), &[&backend]));
    let mut ends = Client::at_unix(&path);
    ends.ask("/ends");
    ends.finish_sending();
    let mut leaves = Client::at_unix(&path);
    leaves.ask("/leaves");
    backend.wait_for_requests(2);
    drop(leaves);
    let gone = program.log_lines(1).remove(0);
    assert_eq!(
        (gone["status"].as_u64(), gone["reason"].as_str()),
        (Some(499), Some("client_abort"))
    );
    gate.open();
    assert_eq!(ends.response().text(), "/ends");
}

#[test]
fn all_workers_take_clients_from_the_one_socket() {
    let (folder, backend) = (Folder::new("workers"), Backend::named("a"));
    let path = at(&folder);
    let mut config = listening(unix(&path), &[&backend]);
    config["workers"] = json!(2);
    let program = Program::with(config);
    let mut clients: Vec<Client> = Vec::new();
    // Whoever is quick takes a client: in the end each has some.
    let counts = || {
        let count = |worker| crate::common::process::descriptor_count(worker);
        program.workers().into_iter().map(count).collect::<Vec<usize>>()
    };
    let before = counts();
    until("both workers have clients", || {
        clients.push(Client::at_unix(&path));
        let client = clients.last_mut().unwrap();
        assert_eq!(client.get("/").text(), "a");
        let now = counts();
        now.iter().zip(&before).all(|(now, before)| now > before)
    });
    // One of them dies: the other goes on, and so does its successor.
    let killed = program.worker(0);
    crate::common::process::kill(killed);
    for _ in 0..20 {
        assert_eq!(get(&path), "a");
    }
    until("another takes its place", || program.workers().len() == 2);
}

#[test]
fn reloads_and_upgrades_under_traffic_lose_nothing() {
    let (folder, backend) = (Folder::new("reloads"), mirror());
    let path = at(&folder);
    let mut config = listening(unix(&path), &[&backend]);
    config["workers"] = json!(2);
    let mut program = Program::replaceable(config);
    let inode = fs::metadata(&path).unwrap().ino();
    let own = fs::read(program.own_binary()).unwrap();
    let other = another_version(&own);
    let traffic = Traffic::at_unix(path.clone(), 4);
    for (round, workers) in [1, 2, 3, 2].into_iter().enumerate() {
        traffic.wait_for(50);
        program.replace_binary([&own, &other][round % 2]);
        program.configure(|config| config["workers"] = json!(workers));
        program.reload();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "it is the same socket");
    }
    traffic.wait_for(50);
    assert!(traffic.end() > 250);
}

#[test]
fn a_reload_closes_what_is_not_listed_any_more_and_makes_what_is_lost() {
    let (folder, backend) = (Folder::new("changes"), Backend::named("a"));
    let (first, second) = (at(&folder), folder.path().join("second.sock"));
    let mut program = Program::with(listening(unix(&first), &[&backend]));
    program.configure(|config| config["listen"][1] = json!(unix(&second)));
    program.reload();
    assert!(!first.exists());
    assert_eq!(get(&second), "a");
    // Somebody cleans up, and nobody finds it any more: until a reload.
    fs::remove_file(&second).unwrap();
    assert!(UnixStream::connect(&second).is_err());
    program.reload();
    assert!(fs::metadata(&second).unwrap().file_type().is_socket());
    assert_eq!(get(&second), "a");
    let master = program.pid();
    crate::common::process::kill(master);
    program.wait_for_exit();
    assert!(second.exists(), "who is killed leaves it");
    let program = Program::with(listening(unix(&second), &[&backend]));
    assert_eq!(get(&second), "a");
    drop(program);
}

#[test]
fn where_somebody_else_listens_by_now_a_reload_fails_and_the_file_stays() {
    let (folder, backend) = (Folder::new("taken"), Backend::named("a"));
    let path = at(&folder);
    let mut program = Program::with(listening(unix(&path), &[&backend]));
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let why = program.fail_to_reload();
    assert!(why.contains("in use"), "{why}");
    program.signal(Signal::TERM);
    program.wait_for_exit();
    assert!(path.exists(), "it is the other's");
    drop(other);
}

#[test]
fn a_refused_reload_leaves_no_socket_behind() {
    let (folder, backend) = (Folder::new("refused"), Backend::named("a"));
    let (first, second) = (at(&folder), folder.path().join("second.sock"));
    let mut program = Program::with(listening(unix(&first), &[&backend]));
    program.configure(|config| {
        config["listen"] = json!(["127.0.0.1:0", unix(&first), unix(&second), "192.0.2.10:80"]);
    });
    let why = program.fail_to_reload();
    assert!(why.contains("192.0.2.10:80"), "{why}");
    assert_eq!(get(&first), "a");
    assert!(!second.exists());
}

/// Like hitch or haproxy before it: what it says goes on, whatever comes before it.
#[test]
fn httplb_stands_behind_httplb_by_a_unix_socket() {
    let (folder, backend) = (Folder::new("chain"), Backend::answering(told));
    let path = at(&folder);
    let mut config = listening(json!({ "addr": unix(&path), "mode": "0666" }), &[&backend]);
    config["trusted_proxies"] = json!(["unix"]);
    let _behind = Program::with(config);
    let front = Program::with(json!({ "backend_servers": [{ "unix": path }] }));
    let mut client = front.client();
    for _ in 0..3 {
        let text = client.get("/").text();
        assert_eq!(text, "for=127.0.0.1 proto=http forwarded= real=");
    }
    let up =
        eventually("an answer", || Some(front.get("/").status).filter(|status| *status == 200));
    assert_eq!(up, 200);
}
