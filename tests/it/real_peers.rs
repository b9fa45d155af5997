//! Real servers behind, real clients in front: nginx and Python's http.server; curl, ab and wrk.
//! No request may fail, and the backends' shares are equal.

use crate::common::{
    Backend, Program, assert_same_bytes, json, noise, ntlm,
    peers::{Folder, Nginx, PythonServer, output, tool, with_descriptors},
    until,
};
use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// One test at a time: each loads the machine by itself.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Scene {
    servers: [Nginx; 3],
    program: Program,
    files: Folder,
}

fn three_nginx(name: &str) -> Scene {
    let files = Folder::new(name);
    fs::write(files.path().join("large"), noise(1_000_000, 1)).unwrap();
    let servers = ["server-1", "server-2", "server-3"].map(|name| Nginx::start(name, files.path()));
    let list: Vec<_> = servers.iter().map(Nginx::server).collect();
    // Which of its failures takes a killed one out is chance: reset connections keep it out for so long.
    let program = Program::with(json!({ "backend_servers": list, "fail_timeout": "1s" }));
    Scene { servers, program, files }
}

impl Scene {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.program.address)
    }

    fn shares(&self) -> [usize; 3] {
        self.servers.each_ref().map(Nginx::requests)
    }

    fn assert_equal_shares(&self, total: usize) {
        let shares = self.shares();
        assert_eq!(shares.iter().sum::<usize>(), total, "{shares:?}");
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
    }
}

/// What `wrk` tells, which must be of no failure.
fn wrk(arguments: &[&str], url: &str) -> String {
    let mut command = with_descriptors(&tool("wrk", "wrk"));
    let text = output(command.args(["--timeout", "20s"]).args(arguments).arg(url));
    assert_no_failure(&text);
    text
}

fn assert_no_failure(text: &str) {
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    assert!(requests_told(text) > 100, "{text}");
}

fn requests_told(text: &str) -> usize {
    let line =
        text.lines().find(|line| line.contains(" requests in ")).expect("the number of requests");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn ab(arguments: &[&str], url: &str) -> String {
    let text = output(Command::new(tool("ab", "apache2-utils")).args(arguments).arg(url));
    let value = |key: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("{key} in {text}"));
        line[key.len()..].split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(value("Failed requests:"), 0, "{text}");
    assert!(!text.contains("Non-2xx"), "{text}");
    text
}

#[test]
fn ab_with_kept_connections_has_no_failure_and_equal_shares() {
    let _turn = alone();
    let scene = three_nginx("ab-kept");
    let text = ab(&["-n", "500", "-c", "10", "-k"], &scene.url("/"));
    assert!(text.contains("Keep-Alive requests:    500"), "{text}");
    scene.assert_equal_shares(500);
}

#[test]
fn ab_with_a_connection_for_each_request_has_no_failure_and_equal_shares() {
    let _turn = alone();
    let scene = three_nginx("ab-closed");
    ab(&["-n", "500", "-c", "10"], &scene.url("/"));
    scene.assert_equal_shares(500);
}

#[test]
fn ab_posting_has_no_failure_and_equal_shares() {
    let _turn = alone();
    let scene = three_nginx("ab-post");
    let body = scene.files.path().join("body");
    fs::write(&body, noise(5000, 2)).unwrap();
    let body = body.display().to_string();
    ab(&["-n", "300", "-c", "10", "-k", "-p", &body, "-T", "text/plain"], &scene.url("/"));
    scene.assert_equal_shares(300);
}

#[test]
fn curl_in_parallel_gets_every_file_whole() {
    let _turn = alone();
    let scene = three_nginx("curl");
    let out = Folder::new("curl-out");
    let mut command = Command::new(tool("curl", "curl"));
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--parallel",
        "--parallel-max",
        "20",
        "--http1.1",
    ]);
    command.arg("-o").arg(out.path().join("file#1")).arg(scene.url("/files/large?[1-60]"));
    output(&mut command);
    let wanted = noise(1_000_000, 1);
    for number in 1..=60 {
        let got = fs::read(out.path().join(format!("file{number}"))).expect("a file");
        assert_same_bytes(&got, &wanted, &format!("file {number}"));
    }
    scene.assert_equal_shares(60);
}

#[test]
fn curl_uploads_and_asks_for_ranges() {
    let _turn = alone();
    let scene = three_nginx("curl-more");
    let large = scene.files.path().join("large");
    let curl = || {
        let mut command = Command::new(tool("curl", "curl"));
        command.args(["--silent", "--show-error", "--fail"]);
        command
    };
    for encoding in
        [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]]
    {
        let answer = output(curl().args(encoding).arg("-T").arg(&large).arg(scene.url("/upload")));
        assert!(answer.starts_with("server-"), "{answer}");
    }
    let range = output(
        curl()
            .args(["-r", "0-9", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"])
            .arg(scene.url("/files/large")),
    );
    assert_eq!(range, "206 10");
    let head = output(curl().arg("-I").arg(scene.url("/files/large")));
    assert!(head.contains("Content-Length: 1000000\r\n"), "{head}");
}

#[test]
fn wrk_with_a_thousand_connections_has_no_failure() {
    let _turn = alone();
    let scene = three_nginx("wrk");
    wrk(&["-t2", "-c1000", "-d4s", "--latency"], &scene.url("/"));
    let shares = scene.shares();
    let total: usize = shares.iter().sum();
    // nginx closes each connection after 1000 requests; what was on its way then goes elsewhere
    assert!(shares.iter().all(|share| share.abs_diff(total / 3) <= 1 + total / 200), "{shares:?}");
}

#[test]
fn wrk_that_pipelines_has_no_failure() {
    let _turn = alone();
    let scene = three_nginx("wrk-pipeline");
    let script = scene.files.path().join("pipeline.lua");
    let lua = "init = function(args)\n  local all = {}\n  for i = 1, 16 do all[i] = wrk.format('GET', '/' .. i) end\n\
               requests = table.concat(all)\nend\nrequest = function() return requests end\n";
    fs::write(&script, lua).unwrap();
    wrk(&["-t2", "-c50", "-d3s", "-s", &script.display().to_string()], &scene.url("/"));
}

#[test]
fn wrk_with_large_files_has_no_failure() {
    let _turn = alone();
    let scene = three_nginx("wrk-large");
    wrk(&["-t2", "-c20", "-d3s"], &scene.url("/files/large"));
}

#[test]
fn a_backend_killed_under_load_is_not_noticed_and_gets_its_share_when_it_returns() {
    let _turn = alone();
    let mut scene = three_nginx("kill");
    let mut command = with_descriptors(&tool("wrk", "wrk"));
    command.args(["--timeout", "20s", "-t2", "-c50", "-d10s", &scene.url("/")]);
    let load = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("wrk");
    until("it has load", || scene.servers[1].requests() > 500);
    scene.servers[1].kill();
    thread::sleep(Duration::from_secs(2)); // the others carry the load
    scene.servers[1].start_again();
    until("its traffic returns", || scene.servers[1].requests() > 500);
    let output = load.wait_with_output().unwrap();
    assert_no_failure(&String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_server_that_closes_after_each_answer_loses_no_request() {
    let _turn = alone();
    let files = Folder::new("python");
    fs::write(files.path().join("small"), "hello").unwrap();
    fs::write(files.path().join("large"), noise(1_000_000, 1)).unwrap();
    let server = PythonServer::start(files.path());
    let entry = json!({ "ip": "127.0.0.1", "port": server.address.port() });
    let program = Program::with(json!({ "backend_servers": [entry] }));
    let url = |path: &str| format!("http://{}{path}", program.address);
    ab(&["-n", "300", "-c", "4", "-k"], &url("/small"));
    ab(&["-n", "100", "-c", "4"], &url("/small"));
    let out = Folder::new("python-out");
    let mut command = Command::new(tool("curl", "curl"));
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--parallel",
        "--parallel-max",
        "4",
        "--http1.1",
    ]);
    command.arg("-o").arg(out.path().join("file#1")).arg(url("/large?[1-20]"));
    output(&mut command);
    for number in 1..=20 {
        let got = fs::read(out.path().join(format!("file{number}"))).expect("a file");
        assert_same_bytes(&got, &noise(1_000_000, 1), &format!("file {number}"));
    }
    let mut client = program.client();
    let all: String = (0..10).map(|_| "GET /small HTTP/1.1\r\nHost: a\r\n\r\n").collect();
    client.send(all);
    for _ in 0..10 {
        assert_eq!(client.response().text(), "hello");
    }
}

/// A curl that asks for a target many times over one connection, and what it gets.
fn curls(program: &Program, user: &str, target: &str, times: usize) -> Child {
    let mut command = Command::new(tool("curl", "curl"));
    command.args(["--silent", "--show-error", "--fail-with-body", "--http1.1"]);
    if user != "nobody" {
        command.arg("--ntlm").arg("--user").arg(format!("{user}:secret"));
    }
    command.arg(format!("http://{}{target}?[1-{times}]", program.address));
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("curl")
}

/// Who asks where: users who log in, and others who do not, at the same time.
const WHO: [(&str, &str); 7] = [
    ("alice", "/"),
    ("bob", "/"),
    ("nobody", "/open"),
    ("carol", "/"),
    ("nobody", "/open"),
    ("dave", "/"),
    ("nobody", "/open"),
];

/// Each is answered as who it is.
fn assert_own_names(curls: Vec<(&str, Child)>, times: usize) {
    for (user, curl) in curls {
        let output = curl.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{user}: {text}{:?}", String::from_utf8(output.stderr));
        assert!(text == format!("{user}\n").repeat(times), "{user}: {text}");
    }
}

fn start_curls(program: &Program, times: usize) -> Vec<(&'static str, Child)> {
    WHO.map(|(user, target)| (user, curls(program, user, target, times))).into()
}

#[test]
fn users_who_log_in_their_connections_do_so_once_and_are_answered_as_themselves() {
    let _turn = alone();
    let servers = [(); 2].map(|()| ntlm::server(usize::MAX));
    let program = Program::over(&servers.each_ref());
    assert_own_names(start_curls(&program, 50), 50);
    assert_eq!(servers.iter().map(ntlm::logins).sum::<usize>(), 4);
}

#[test]
fn users_are_answered_as_themselves_where_connections_end_and_the_service_is_reloaded() {
    let _turn = alone();
    let servers = [5, 7, 50].map(ntlm::server);
    let program = Program::over(&servers.each_ref());
    let curls = start_curls(&program, 500);
    until("they are at it", || servers.iter().map(Backend::request_count).sum::<usize>() > 500);
    program.reload();
    assert_own_names(curls, 500);
}
