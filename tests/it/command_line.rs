//! The real program, wherever it ends without serving: what it prints, and its exit status.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the program left behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: i32,
    output: String,
    errors: String,
}

fn run(arguments: &[&str]) -> Outcome {
    run_with_input(arguments, b"")
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_httplb"))
        .args(arguments)
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end without reading its input; then the pipe breaks, which is no fault.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let ended = child.wait_with_output().expect("the program ends");
    Outcome {
        status: ended.status.code().expect("an exit status, no signal"),
        output: String::from_utf8(ended.stdout).expect("UTF-8"),
        errors: String::from_utf8(ended.stderr).expect("UTF-8"),
    }
}

fn refused(status: i32, errors: &str) -> Outcome {
    Outcome { status, output: String::new(), errors: String::from(errors) }
}

/// A file of this text in the folder for temporary files.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a file can be written");
    path
}

fn in_repository(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

const SMALLEST: &str = r#"{ "backend_servers": [ { "ip": "127.0.0.1", "port": 8001 }, { "ip": "127.0.0.1", "port": 8002 } ] }"#;

#[test]
fn the_version_is_shown_with_seven_digits_of_the_commit_or_none() {
    for option in ["-V", "--version"] {
        let shown = run(&[option]);
        assert_eq!((shown.status, shown.errors.as_str()), (0, ""));
        let version = concat!("httplb ", env!("CARGO_PKG_VERSION"));
        let rest = shown.output.strip_prefix(version).expect("name and version");
        if rest != "\n" {
            let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(")\n"));
            let commit = commit.expect("a commit in brackets");
            assert_eq!(commit.len(), 7);
            assert!(commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        }
    }
}

#[test]
fn help_goes_to_standard_output() {
    for option in ["-h", "--help"] {
        let shown = run(&[option]);
        assert_eq!((shown.status, shown.errors.as_str()), (0, ""));
        assert!(shown.output.starts_with("Usage: httplb [-c FILE]"), "{}", shown.output);
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid_with_the_memory_bound() {
    let path = file("valid.conf", SMALLEST);
    let path = path.to_str().expect("UTF-8");
    for arguments in [&["-t", path][..], &["-t", "-c", path], &["--test", "--config", path]] {
        let tested = run(arguments);
        assert_eq!((tested.status, tested.output.as_str()), (0, ""), "{tested:?}");
        let mut lines = tested.errors.lines();
        assert_eq!(lines.next(), Some(format!("httplb: {path} is valid").as_str()));
        let bound = lines.next().expect("a second line");
        assert!(bound.starts_with("httplb: memory bound "), "{bound}");
        assert_eq!(lines.next(), None);
    }
}

#[test]
fn standard_input_and_the_command_line_do_instead_of_a_file() {
    for arguments in [["-t", "-c", "-"], ["-t", "--", "-"]] {
        let tested = run_with_input(&arguments, SMALLEST.as_bytes());
        assert_eq!(tested.status, 0, "{tested:?}");
        assert!(tested.errors.starts_with("httplb: standard input is valid\n"), "{tested:?}");
    }
    let tested = run(&["-t", "-b", "127.0.0.1:8001", "-l", "127.0.0.1:8080"]);
    assert_eq!(tested.status, 0, "{tested:?}");
    assert!(tested.errors.starts_with("httplb: the command line is valid\n"), "{tested:?}");
}

#[test]
fn a_dump_is_read_as_the_same_configuration() {
    let first = run(&["-T", "-b", "127.0.0.1:8001", "-b", "[::1]:8002", "-l", ":80", "-w", "3"]);
    assert_eq!(first.status, 0, "{first:?}");
    for part in [
        r#""listen": ["[::]:80"]"#,
        r#""workers": 3"#,
        r#""buffer_size": "32KiB""#,
        r#"{"ip": "::1", "port": 8002, "weight": 1, "max_connections": 0, "backup": false}"#,
    ] {
        assert!(first.output.contains(part), "{part} in {}", first.output);
    }
    let second = run_with_input(&["-T", "-"], first.output.as_bytes());
    assert_eq!(second.output, first.output);
}

#[test]
fn the_dump_shows_the_size_of_a_buffer_that_is_used() {
    let dumped = run_with_input(&["-T", "-"], br#"{"buffer_size": 33000}"#);
    assert!(dumped.output.contains(r#""buffer_size": "64KiB""#), "{}", dumped.output);
}

#[test]
fn all_mistakes_are_reported_at_once_and_exit_with_78() {
    let text = r#"{
        "pools": {"api": {"helth_check": {}}},
        // why so short?
        "timeouts": {"connect": "5"},
        "proxy_pass": "http://10.0.0.1"
    }"#;
    let path = file("mistakes.conf", text);
    let path = path.to_str().expect("UTF-8");
    let expected = format!(
        r##"httplb: {path} has 4 errors; nothing was changed
  line 2: pools.api.helth_check: unknown key (did you mean "health_check"?)
  line 3, column 9: JSON has no comments that start with // (write it as a key that starts with #, such as "# why": "")
  line 4: timeouts.connect: "5" has no unit (write "5s" or "250ms")
  line 5: proxy_pass: unknown key, as nginx has it (write "backend_servers": [{{"ip": "10.0.0.1", "port": 8001}}])
"##
    );
    for arguments in [&["-t", path][..], &["-T", path], &["-c", path], &[path]] {
        assert_eq!(run(arguments), refused(78, &expected), "{arguments:?}");
    }
}

#[test]
fn what_is_not_json_is_named_by_line_and_column() {
    let errors = "httplb: standard input has 1 error; nothing was changed
  line 2, column 13: a comma is missing here (add it: what follows is another value)
";
    let found = run_with_input(&["-t", "-"], b"{\n\"retries\": 1 \"workers\": 2}");
    assert_eq!(found, refused(78, errors));
    let errors = "httplb: standard input has 1 error; nothing was changed
  line 2, column 3: a byte that is not UTF-8 (save the file as UTF-8)
";
    assert_eq!(run_with_input(&["-t", "-"], b"{\n\"#\xff\": 1}"), refused(78, errors));
}

#[test]
fn a_request_is_explained_without_being_sent() {
    let config = r#"{
        "backend_servers": [{"ip": "127.0.0.1", "port": 1}],
        "pools": {"api": {"retries": 0, "max_body": 10}},
        "routes": [{"path": "/api", "pool": "api"}]
    }"#;
    let arguments = ["--explain", "POST http://a/api/x", "-H", "Content-Length: 11", "-c", "-"];
    let found = run_with_input(&arguments, config.as_bytes());
    assert_eq!((found.status, &*found.errors), (0, ""));
    for line in [
        "request:     POST http://a/api/x from 192.0.2.1",
        "route:       routes[0]",
        "answered:    413 at once: the body is larger than max_body (body_too_large)",
        "pool:        api, round_robin; it waits for all requests before it on its connection",
        "backends:    127.0.0.1:1 state unknown, weight 1: candidate",
        "retried:     on no other backend; it is not idempotent",
        "added:       X-Forwarded-For: 192.0.2.1",
        "             body: 10B, then 413",
    ] {
        assert!(found.output.lines().any(|found| found == line), "{line}\n{}", found.output);
    }
    let found = run(&["--explain", "http://a/", "-b", "127.0.0.1:1"]);
    // Nobody listens there: without the service that is not known, nor said.
    assert!(found.output.contains("127.0.0.1:1 state unknown, weight 1: candidate"), "{found:?}");
    assert!(found.output.starts_with("request:     GET http://a/ from 192.0.2.1\n"), "{found:?}");
    let found = run_with_input(&["--explain", "http://a/", "-"], b"{");
    assert_eq!(found.status, 78);
    let errors = "httplb: -H: there is no --explain (add it)\n";
    assert_eq!(run(&["-H", "A: b", "-b", "127.0.0.1:1"]), refused(2, errors));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_cause() {
    let missing = in_repository("no/such/file");
    let remedy = "(name a file with -c, or each backend with -b); nothing was changed";
    let errors = format!("httplb: cannot read {missing}: No such file or directory {remedy}\n");
    for arguments in [&["-t", missing.as_str()][..], &["-T", &missing], &["-c", &missing]] {
        assert_eq!(run(arguments), refused(78, &errors));
    }
    let folder = env!("CARGO_TARGET_TMPDIR");
    let errors = format!("httplb: cannot read {folder}: Is a directory; nothing was changed\n");
    assert_eq!(run(&["-t", folder]), refused(78, &errors));
    let errors = "httplb: cannot read /dev/zero: larger than 16 MiB; nothing was changed\n";
    assert_eq!(run(&["-t", "/dev/zero"]), refused(78, errors));
}

#[test]
fn a_wrong_command_line_is_one_line_and_exits_with_2() {
    let cases: [(&[&str], &str); 6] = [
        (&["--lisen", ":80"], r#"unknown option "--lisen" (did you mean "--listen"?)"#),
        (&["-C", "a"], r#"unknown option "-C" (did you mean "-c"?)"#),
        (&["-c", "a", "b"], "more than one configuration file (name it once)"),
        (&["-w", "0"], r#"--workers: "0" is out of range (write 1 to 256)"#),
        (&["-b", "10.0.0.7"], r#"--backend: "10.0.0.7" has no port (write "10.0.0.7:80")"#),
        (&["-l"], r#"missing argument for option '-l' (see "httplb --help")"#),
    ];
    for (arguments, message) in cases {
        assert_eq!(run(arguments), refused(2, &format!("httplb: {message}\n")), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for arguments in [&["-V"][..], &["-h"], &["-T", "-b", "127.0.0.1:1"]] {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = Command::new(env!("CARGO_BIN_EXE_httplb"));
        let child = command.args(arguments).stdout(full).stderr(Stdio::piped()).spawn();
        let ended = child.expect("it starts").wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(1));
        let errors = String::from_utf8(ended.stderr).expect("UTF-8");
        assert!(errors.contains("cannot write to standard output"), "{errors}");
    }
}

#[test]
fn a_standard_error_that_is_full_changes_no_exit_status() {
    for (arguments, status) in [(&["--frobnicate"][..], 2), (&["-t", "-b", "127.0.0.1:1"], 0)] {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = Command::new(env!("CARGO_BIN_EXE_httplb"));
        let ended = command.args(arguments).stderr(full).status().expect("the program runs");
        assert_eq!(ended.code(), Some(status));
    }
}

#[test]
fn the_example_in_the_repository_is_valid() {
    let dumped = run(&["-T", &in_repository("servers.conf")]);
    assert_eq!(dumped.status, 0, "{dumped:?}");
    assert!(dumped.output.contains(r#""listen": ["[::]:9000"]"#), "{}", dumped.output);
    for port in 8001..=8003 {
        let backend = format!(r#"{{"ip": "127.0.0.1", "port": {port},"#);
        assert!(dumped.output.contains(&backend), "{}", dumped.output);
    }
}

#[test]
fn the_manual_names_every_key_and_its_examples_are_valid() {
    let manual = fs::read_to_string(in_repository("man/servers.conf.5")).expect("the manual");
    let dumped = run(&["-T", "-b", "127.0.0.1:8001"]);
    let mut keys = 0;
    for part in dumped.output.split("\": ") {
        let key = part.rsplit('"').next().unwrap_or_default();
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            let named = |line: &str| line.starts_with(".It Ic ") && line.contains(key);
            let nested = ["socket", "token_file"].contains(&key);
            assert!(nested || manual.lines().any(named), "{key} is not in the manual");
            keys += 1;
        }
    }
    assert!(keys >= 40, "only {keys} keys were found in the dump");
    let mut examples = 0;
    for block in manual.split(".Bd -literal -offset indent\n").skip(1) {
        let example = block.split(".Ed\n").next().unwrap_or_default();
        if example.starts_with("httplb:") {
            continue;
        }
        let text = if example.starts_with('{') { example.into() } else { format!("{{{example}}}") };
        let tested = run_with_input(&["-t", "-"], text.as_bytes());
        assert_eq!(tested.status, 0, "{text}\n{}", tested.errors);
        examples += 1;
    }
    assert_eq!(examples, 9);
}

#[test]
fn a_backend_that_is_the_service_itself_is_warned_of() {
    let config = r#"{
        "listen": ["[::]:9000"],
        "backend_servers": [{"ip": "10.0.0.1", "port": 9000}],
        "pools": {"api": {"backend_servers": [{"ip": "127.0.0.1", "port": 9000}]}}
    }"#;
    let found = run_with_input(&["-t", "-c", "-"], config.as_bytes());
    assert_eq!(found.status, 0, "{found:?}");
    let warning = "warning: line 4: pools.api.backend_servers[0]: 127.0.0.1:9000 is a listen address of \
                   this service";
    assert!(found.errors.contains(warning), "{found:?}");
    assert!(!found.errors.contains("10.0.0.1"), "{found:?}");
}

#[test]
fn what_is_valid_and_hardly_meant_is_warned_of_in_the_order_of_the_file() {
    let config = r#"{
        "listen": ["127.0.0.1:9000"],
        "max_connections": 1000000,
        "buffer_size": "1MiB",
        "access_log": "/httplb-missing/log/access.log",
        "admin": {
            "socket": "/httplb-missing/run/admin.sock"
        },
        "cache": {"dir": "/httplb-missing/cache/a"},
        "status_listen": "127.0.0.1:9000",
        "pools": {"a": {}},
        "routes": [
            {"path": "/api", "pool": "a"},
            {"path": "/api/v1", "pool": "default"},
            {"path": "/b/*", "pool": "a"}
        ]
    }"#;
    for option in ["-t", "-T"] {
        let found = run_with_input(&[option, "-"], config.as_bytes());
        assert_eq!(found.status, 0, "{found:?}");
        let warnings =
            found.errors.lines().filter_map(|line| line.strip_prefix("httplb: warning: "));
        let mut places =
            warnings.map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "));
        for expected in [
            "line 1: backend_servers",
            "line 3: max_connections",
            "line 5: access_log",
            "line 7: admin.socket",
            "line 9: cache.dir",
            "line 10: status_listen",
            "line 14: routes[1]",
            "line 15: routes[2].path",
        ] {
            assert_eq!(places.next().as_deref(), Some(expected), "{found:?}");
        }
        assert_eq!(places.next(), None, "{found:?}");
        assert_eq!(found.output.is_empty(), option == "-t", "{found:?}");
    }
}

#[test]
fn a_file_of_another_program_is_known_as_such() {
    let found = run_with_input(&["-t", "-"], b"# mine\nupstream app {\n  server 10.0.0.1:80;\n}\n");
    assert_eq!(found.status, 78);
    let told =
        "  line 2, column 1: this is a configuration of nginx (httplb reads JSON: the least is ";
    assert!(found.errors.contains(told), "{found:?}");
}
