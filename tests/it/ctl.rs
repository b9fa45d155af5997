//! `httplb ctl`: every command against a service that runs, and against servers that mean no good.

use crate::common::{Answer, Backend, Program, UnixPlace, Value, json, servers, until};
use crate::common::{program::Scratch, program::binary, program::plain, stored, stored::Shelf};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

fn operated(config: Value) -> Program {
    Program::operated(config)
}

/// The command with these words, which asks the service at `socket`.
fn ctl_at(socket: &Path, words: &[&str]) -> Command {
    let mut command = plain(binary());
    command.args(["ctl", "--socket"]).arg(socket).args(words);
    command
}

fn ended(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// What a command prints that succeeds.
fn ctl(program: &Program, words: &[&str]) -> String {
    let (status, output, errors) = ended(ctl_at(&program.admin_path(), words));
    assert_eq!((status, errors.as_str()), (0, ""), "{words:?}: {output}");
    output
}

/// What a command says that is refused.
fn refused(program: &Program, words: &[&str]) -> String {
    let (status, output, errors) = ended(ctl_at(&program.admin_path(), words));
    assert_eq!((status, output.as_str()), (1, ""), "{words:?}: {errors}");
    errors
}

/// Answers every request at `fake.sock` with what `answer` says: a status and a body.
fn fake(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Scratch {
    let folder = Scratch::new();
    let listener = UnixListener::bind(folder.join(FAKE)).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            while !head.ends_with("\r\n\r\n")
                && reader.read_line(&mut head).is_ok_and(|len| len > 0)
            {}
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = answer(&target);
            let length = body.len();
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
        }
    });
    folder
}

const FAKE: &str = "fake.sock";

#[test]
fn a_service_is_looked_at_in_words_and_as_json() {
    let (first, second) = (Backend::named("a"), Backend::named("b"));
    let program = operated(json!({"backend_servers": servers(&[&first]),
        "pools": {"api": {"backend_servers": servers(&[&second])}}}));
    program.get("/");
    let status = ctl(&program, &["status"]);
    assert!(status.starts_with(&format!("httplb {}", env!("CARGO_PKG_VERSION"))), "{status}");
    assert!(
        status.contains(&format!("process       {}, up ", program.pid().as_raw_nonzero())),
        "{status}"
    );
    let pools = ctl(&program, &["pools"]);
    for part in ["default: 1 of 1 up", "api: 1 of 1 up", &first.address.to_string(), "up "] {
        assert!(pools.contains(part), "{part} in {pools}");
    }
    let one = ctl(&program, &["pools", "api"]);
    assert!(one.starts_with("api: 1 of 1 up, round robin") && !one.contains("default"), "{one}");
    assert!(refused(&program, &["pools", "none"]).contains("there is no pool \"none\""));

    let parsed: Value = serde_json::from_str(&ctl(&program, &["--json", "pools"])).expect("JSON");
    assert_eq!(parsed["pools"][0]["backends"][0]["backend"], json!(first.address.to_string()));
    assert_eq!(parsed["pools"].as_array().unwrap().len(), 2);
    let (status, output, _) = ended(ctl_at(&program.admin_path(), &["--json", "pools", "none"]));
    let parsed: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((status, &parsed["error"]), (1, &json!("there is no pool \"none\"")));
}

#[test]
fn a_backend_is_steered_by_its_name_and_its_pool_may_be_left_out() {
    let (first, second) = (Backend::named("a"), Backend::named("b"));
    let program = operated(json!({"backend_servers": servers(&[&first, &second]),
        "pools": {"api": {"backend_servers": servers(&[&second])}}}));
    let name = first.address.to_string();
    for (command, state) in [("drain", "drain"), ("maint", "maint"), ("ready", "up")] {
        let text = ctl(&program, &[command, &name]);
        assert_eq!(text, format!("default/{name}: {state}, weight 1, 0 requests in work\n"));
        assert_eq!(program.state("default", &name), state);
    }
    assert!(ctl(&program, &["weight", &name, "7"]).contains("weight 7"));
    assert_eq!(program.backend("default", &name).unwrap()["weight"], json!(7));

    let name = second.address.to_string();
    let errors = refused(&program, &["drain", &name]);
    assert!(errors.contains("is in the pools \"default\" and \"api\""), "{errors}");
    ctl(&program, &["maint", &format!("api/{name}")]);
    assert_eq!(
        (program.state("api", &name), program.state("default", &name)),
        ("maint".into(), "up".into())
    );
    assert!(refused(&program, &["drain", "10.0.0.7:80"]).contains("no pool has a backend"));
    assert!(refused(&program, &["drain", "none/10.0.0.7:80"]).contains("no pool \"none\""));
    assert!(refused(&program, &["remove", &format!("api/{name}")]).contains("configuration"));
}

#[test]
fn unix_sockets_and_ipv6_are_names_too() {
    let folder = Scratch::new();
    let place = UnixPlace::at(folder.join("app.sock"));
    let program = operated(json!({"backend_servers": [
        {"unix": folder.join("app.sock")}, {"ip": "::1", "port": 9}]}));
    for (given, name) in [
        (place.name(), place.name()),
        (format!("default/{}", place.name()), place.name()),
        ("[::1]:9".into(), "[::1]:9".into()),
        ("default/[0:0::1]:9".into(), "[::1]:9".into()),
    ] {
        let text = ctl(&program, &["maint", &given]);
        assert!(text.starts_with(&format!("default/{name}: maint")), "{text}");
        ctl(&program, &["ready", &given]);
    }
}

#[test]
fn a_backend_that_has_registered_is_removed() {
    let backend = Backend::named("a");
    let program = operated(json!({"backend_servers": servers(&[&backend])}));
    assert_eq!(program.ask("PUT /v1/pools/api/backends/10.0.0.7:80", "").status, 201);
    let pools = ctl(&program, &["pools", "api"]);
    assert!(pools.contains("by api"), "{pools}");
    assert!(ctl(&program, &["remove", "10.0.0.7:80"]).starts_with("api/10.0.0.7:80: goes"));
    program.wait_for_state("api", "10.0.0.7:80", "gone");
}

#[test]
fn a_reload_waits_and_fails_with_its_reasons() {
    let backend = Backend::named("a");
    let mut program = operated(json!({"backend_servers": servers(&[&backend])}));
    assert_eq!(ctl(&program, &["reload"]), "reloaded\n");
    let config = program.config.clone();
    program.configure(|config| config["helth_check"] = json!(1));
    let errors = refused(&program, &["reload"]);
    assert!(
        errors.starts_with("httplb: not reloaded: ") && errors.contains("helth_check"),
        "{errors}"
    );
    // By the file with the mistake the service is still found, and says what is wrong with it.
    let mut by_file = plain(binary());
    by_file.args(["ctl", "-c"]).arg(program.folder.join("servers.conf")).arg("reload");
    let (status, _, errors) = ended(by_file);
    assert!(status == 1 && errors.contains("helth_check"), "{errors}");
    let (status, output, _) = ended(ctl_at(&program.admin_path(), &["--json", "reload"]));
    let parsed: Value = serde_json::from_str(&output).expect("JSON");
    assert!(status == 1 && parsed["errors"].is_array(), "{output}");
    program.write_config(&config.to_string());
    assert_eq!(ctl(&program, &["reload"]), "reloaded\n");
}

#[test]
fn the_service_is_withdrawn_and_restored() {
    let backend = Backend::named("a");
    let program = operated(json!({"backend_servers": servers(&[&backend])}));
    assert!(ctl(&program, &["withdraw"]).starts_with("withdrawn"));
    assert_eq!(program.look("/v1/status")["withdrawn"], json!(true));
    assert!(ctl(&program, &["status"]).lines().next().unwrap().ends_with("withdrawn"));
    assert!(ctl(&program, &["restore"]).starts_with("restored"));
    assert_eq!(program.look("/v1/status")["withdrawn"], json!(false));
}

#[test]
fn a_request_is_explained_and_stored_responses_are_purged() {
    let backend = Backend::always(stored::fresh("x"));
    let shelf = Shelf::new();
    let program = operated(shelf.config(&[&backend]));
    let text = ctl(&program, &["explain", "GET http://a/x", "-H", "X-A: b c"]);
    assert!(text.starts_with("request: GET http://a/x\n"), "{text}");
    assert!(
        text.contains("name: default") && text.contains(&backend.address.to_string()),
        "{text}"
    );
    program.get("/one");
    program.get("/two");
    until("both are stored", || shelf.files().len() >= 2);
    assert_eq!(ctl(&program, &["purge", "http://test/one"]), "1 stored response purged\n");
    assert_eq!(ctl(&program, &["purge", "--prefix", "http://test/"]), "1 stored response purged\n");
    assert!(refused(&program, &["purge", "one"]).contains("not a URL"));
}

#[test]
fn the_api_over_tcp_wants_a_token() {
    let backend = Backend::named("a");
    let folder = Scratch::new();
    let token = folder.join("token");
    fs::write(&token, "secret\n").unwrap();
    let program = operated(json!({"backend_servers": servers(&[&backend]),
        "admin": {"listen": "127.0.0.1:0", "token_file": token}}));
    let stderr = program.stderr();
    let address = stderr.split("admin API on ").nth(1).expect("where the API is");
    let address = address.split([',', '\n']).next().unwrap_or_default();
    let by_url = |token: &Path| {
        let mut command = plain(binary());
        command
            .args(["ctl", "--url", &format!("http://{address}"), "--token-file"])
            .arg(token)
            .arg("pools");
        ended(command)
    };
    let (status, output, _) = by_url(&token);
    assert!(status == 0 && output.contains(&backend.address.to_string()), "{output}");
    let wrong = folder.join("wrong");
    fs::write(&wrong, "other").unwrap();
    let (status, _, errors) = by_url(&wrong);
    assert!(status == 1 && errors.contains("token is missing or wrong"), "{errors}");
    fs::write(&wrong, "a\r\nX: b").unwrap();
    assert!(by_url(&wrong).2.contains("has no token"));
}

#[test]
fn who_is_not_there_and_what_is_no_command_is_told() {
    let folder = Scratch::new();
    let nowhere = folder.join("none.sock");
    let (status, _, errors) = ended(ctl_at(&nowhere, &["status"]));
    assert!(status == 1 && errors.contains("is the service running"), "{errors}");
    drop(UnixListener::bind(&nowhere).unwrap());
    let (status, _, errors) = ended(ctl_at(&nowhere, &["status"]));
    assert!(status == 1 && errors.contains("is the service running"), "{errors}");
    let (status, _, errors) = ended(ctl_at(&nowhere, &["drian", "x"]));
    assert_eq!(status, 2);
    assert_eq!(errors, "httplb: ctl: unknown command \"drian\" (did you mean \"drain\"?)\n");
    for words in [&["drain"][..], &[], &["status", "--jsn"], &["weight", "a", "0"]] {
        assert_eq!(ended(ctl_at(&nowhere, words)).0, 2, "{words:?}");
    }
    let mut by_url = plain(binary());
    by_url.args(["ctl", "--url", "https://127.0.0.1:1", "--token-file", "none", "status"]);
    let (status, _, errors) = ended(by_url);
    assert!(status == 2 && errors.contains("TLS is not spoken"), "{errors}");
    let (status, output, _) = ended(ctl_at(&nowhere, &["--help"]));
    assert!(status == 0 && output.starts_with("Usage: httplb ctl"));
}

#[test]
fn what_an_older_service_does_not_have_is_told() {
    let folder = fake(|target| {
        let path = target.split('?').next().unwrap_or_default();
        (404, json!({"error": format!("there is no \"{path}\" (see httplb(8))")}).to_string())
    });
    for command in ["names", "registry", "events", "errors", "slow"] {
        let (status, _, errors) = ended(ctl_at(&folder.join(FAKE), &[command]));
        assert_eq!(status, 1);
        assert!(
            errors.contains(&format!("has no /v1/{command}: its version does not tell that")),
            "{errors}"
        );
    }
}

#[test]
fn nothing_that_is_told_steers_the_terminal() {
    let evil = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{7f}";
    let body = json!({"version": evil, "pools": [{"name": evil, "balance": evil, "backends": [
        {"backend": evil, "state": evil, "why": evil, "source": evil}]}], "errors": [
        {"ts": evil, "target": evil, "reason": evil}], "error": evil, "instances": [evil], evil: evil});
    let body = body.to_string();
    for status in [200, 500] {
        let body = body.clone();
        let folder = fake(move |_| (status, body.clone()));
        for words in [
            &["status"][..],
            &["pools"],
            &["names"],
            &["registry"],
            &["events"],
            &["errors"],
            &["slow"],
            &["explain", "http://a/"],
            &["drain", "a/b"],
            &["reload"],
            &["--json", "pools"],
            &["--json", "errors"],
        ] {
            let (_, output, errors) = ended(ctl_at(&folder.join(FAKE), words));
            let is_bad = |character: char| {
                character != '\n' && character.is_control() || character == '\u{202e}'
            };
            assert!(
                !output.contains(is_bad) && !errors.contains(is_bad),
                "{words:?}: {output:?} {errors:?}"
            );
        }
    }
}

#[test]
fn a_server_that_means_no_good_ends_in_an_error() {
    for bytes in [
        "",
        "SSH-2.0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\n\r\n[",
    ] {
        let folder = Scratch::new();
        let path = folder.join("bad.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes.as_bytes());
        });
        let (status, output, errors) = ended(ctl_at(&path, &["pools"]));
        assert_eq!((status, output.as_str()), (1, ""), "{bytes:?}: {errors}");
        answer.join().unwrap();
    }
}

#[test]
fn events_are_followed() {
    let told = Arc::new(Mutex::new(vec![json!({"ts": "T1", "level": "info", "text": "first"})]));
    let events = told.clone();
    let folder = fake(move |_| (200, json!({ "events": *events.lock().unwrap() }).to_string()));
    let mut command = ctl_at(&folder.join(FAKE), &["events", "-f"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "T1  info     first");
    told.lock().unwrap().insert(0, json!({"ts": "T2", "level": "error", "text": "second"}));
    assert_eq!(lines.next().unwrap(), "T2  error    second");
    told.lock().unwrap().insert(0, json!({"ts": "T2", "level": "error", "text": "second"}));
    assert_eq!(lines.next().unwrap(), "T2  error    second");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// As a command of a unit that has no admin socket is run.
fn by_unit(program: &Program) -> (i32, String, String) {
    let mut command = plain(binary());
    command.args(["ctl", "reload"]).env("MAINPID", program.pid().as_raw_nonzero().to_string());
    command.env("RUNTIME_DIRECTORY", program.folder.join("run"));
    ended(command)
}

#[test]
fn a_unit_reloads_without_an_admin_socket_and_hears_why_not() {
    let backend = Backend::named("a");
    let config = json!({"backend_servers": servers(&[&backend])});
    let mut program = Program::by(config, |folder| {
        fs::create_dir(folder.join("run")).unwrap();
        let mut command = plain(binary());
        command.env("RUNTIME_DIRECTORY", folder.join("run"));
        command
    });
    let done = (0, String::new(), String::new());
    for turn in 1..=3 {
        assert_eq!(by_unit(&program), done);
        assert_eq!(program.count_messages("reloaded: generation"), turn);
    }
    let config = program.config.clone();
    program.configure(|config| {
        config["helth_check"] = json!(1);
        config["listne"] = json!(1);
    });
    let (status, output, errors) = by_unit(&program);
    assert_eq!((status, output.as_str()), (1, ""), "{errors}");
    assert!(
        errors.starts_with("httplb: not reloaded: ") && errors.lines().count() == 1,
        "{errors}"
    );
    assert!(errors.contains("helth_check") && errors.contains("listne"), "{errors}");
    // What the operator mends takes effect, and is told so.
    program.config = config;
    program.configure(|_| ());
    assert_eq!(by_unit(&program), done);
    // An address that is taken is found out by the program on disk; it is the same.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    program.configure(|config| config["status_listen"] = json!(taken.to_string()));
    let (status, _, errors) = by_unit(&program);
    assert!(status == 1 && errors.contains(&taken.to_string()), "{errors}");
    drop(holder);
    assert_eq!(by_unit(&program), done);
    program.kill();
    let (status, _, errors) = by_unit(&program);
    assert!(status == 1 && errors.contains("not reloaded: the service"), "{errors}");
}

#[test]
fn what_has_gone_wrong_is_told() {
    let backend = Backend::always(Answer::raw("garbage\r\n\r\n"));
    let program = operated(json!({"backend_servers": servers(&[&backend]), "max_fails": 100}));
    assert_eq!(program.get("/broken").status, 502);
    until("the failure is told", || {
        ctl(&program, &["errors"]).contains("GET test/broken <- garbage")
    });
    let errors = ctl(&program, &["errors", "-n", "1"]);
    assert!(errors.contains("http_protocol_error") && errors.lines().count() == 2, "{errors}");
    until("the request is told", || ctl(&program, &["slow"]).contains("GET test/broken"));
    assert!(ctl(&program, &["events"]).contains("ready"));
    let status = ctl(&program, &["status"]);
    assert!(status.contains("http_protocol_error 1") && status.contains("\nLAST "), "{status}");
}
