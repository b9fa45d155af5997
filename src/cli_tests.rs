use super::*;

fn parsed(arguments: &str) -> Result<CliCommand, String> {
    parse(lexopt::Parser::from_args(arguments.split_whitespace()))
}

fn source(input: Input) -> ConfigSource {
    ConfigSource { input, overrides: Overrides::default() }
}

fn file(path: &str) -> Input {
    Input::File(PathBuf::from(path))
}

#[test]
fn without_options_it_serves_what_the_default_file_says() {
    assert_eq!(parsed(""), Ok(CliCommand::Serve(source(file(DEFAULT_FILE)))));
}

#[test]
fn a_file_is_named_by_option_or_as_operand() {
    for arguments in ["-c a.conf", "-ca.conf", "--config a.conf", "--config=a.conf", "a.conf"] {
        assert_eq!(parsed(arguments), Ok(CliCommand::Serve(source(file("a.conf")))));
    }
    for arguments in ["-c -", "-", "-t -", "-Tc-"] {
        let (CliCommand::Serve(found) | CliCommand::Test(found) | CliCommand::Dump(found)) =
            parsed(arguments).unwrap()
        else {
            panic!("{arguments}")
        };
        assert_eq!(found, source(Input::Standard));
    }
    assert_eq!(parsed("-- -x"), Ok(CliCommand::Serve(source(file("-x")))));
}

#[test]
fn with_backends_no_file_is_needed() {
    let Ok(CliCommand::Serve(found)) = parsed("-b 127.0.0.1:1 -b [::1]:1 -l :80 -w 2") else {
        panic!()
    };
    assert_eq!(found.input, Input::Nothing);
    assert_eq!(found.overrides.backends.len(), 2);
    assert_eq!(found.overrides.listen[0].address.to_string(), "[::]:80");
    assert_eq!(found.overrides.workers, Some(Workers::Count(2)));
    let Ok(CliCommand::Serve(found)) = parsed("-b app.internal:8080") else { panic!() };
    assert_eq!(found.input, Input::Nothing);
    assert_eq!(found.overrides.names[0].to_string(), "app.internal:8080");
    let Ok(CliCommand::Test(found)) = parsed("-t -b 127.0.0.1:1 -c a") else { panic!() };
    assert_eq!(found.input, file("a"));
}

#[test]
fn a_request_to_be_explained_is_a_method_and_an_url_with_headers() {
    let question = |arguments: &[&str]| match parse(lexopt::Parser::from_args(arguments)) {
        Ok(CliCommand::Explain(_, question)) => question,
        other => panic!("{other:?}"),
    };
    let found = question(&["--explain", "PUT http://a/x", "-H", "A: b", "-HC: d", "file"]);
    assert_eq!((&*found.method, &*found.url), ("PUT", "http://a/x"));
    assert_eq!(found.fields, ["A: b", "C: d"]);
    let found = question(&["-T", "--explain=http://a/"]);
    assert_eq!((&*found.method, &*found.url), ("GET", "http://a/"));
    assert!(found.fields.is_empty());
}

#[test]
fn dumping_includes_testing() {
    assert_eq!(parsed("-t -T a"), Ok(CliCommand::Dump(source(file("a")))));
    assert_eq!(parsed("-T -t a"), Ok(CliCommand::Dump(source(file("a")))));
    assert_eq!(parsed("-t a"), Ok(CliCommand::Test(source(file("a")))));
}

#[test]
fn wrong_options_say_how_they_would_be_right() {
    let cases = [
        ("--lisen :80", r#"unknown option "--lisen" (did you mean "--listen"?)"#),
        ("--backends x", r#"unknown option "--backends" (did you mean "--backend"?)"#),
        ("--frobnicate", r#"unknown option "--frobnicate" ("--help" lists all)"#),
        ("-C a", r#"unknown option "-C" (did you mean "-c"?)"#),
        ("-x", r#"unknown option "-x" ("-h" lists all)"#),
        ("-c", r#"missing argument for option '-c' (see "httplb --help")"#),
        ("-c a b", "more than one configuration file (name it once)"),
        ("-c a -c b", "more than one configuration file (name it once)"),
        ("a b", "more than one configuration file (name it once)"),
        ("-l 80", r#"--listen: "80" has no address (write ":80")"#),
        ("-l :80 -l :80", r#"--listen: "[::]:80" stands twice in the list (remove one)"#),
        ("-b 10.0.0.7", r#"--backend: "10.0.0.7" has no port (write "10.0.0.7:80")"#),
        ("-b 10.0.0.7:1 -b 10.0.0.7:1", r#"--backend: "10.0.0.7:1" is named twice (remove one)"#),
        ("-b app.sock", r#"--backend: "app.sock" has no port (write "app.sock:80")"#),
        (
            "-b /run/app.sock",
            r#"--backend: "/run/app.sock" is not an address (write "unix:/run/app.sock" for a Unix socket)"#,
        ),
        ("-b unix:@a -b unix:@a", r#"--backend: "unix:@a" is named twice (remove one)"#),
        ("-l unix:/a -l unix:/a", r#"--listen: "unix:/a" stands twice in the list (remove one)"#),
        ("-w 0", r#"--workers: "0" is out of range (write 1 to 256)"#),
        ("-w 257", r#"--workers: "257" is out of range (write 1 to 256)"#),
        (
            "--health-path up",
            "--health-path: \"up\" is not a path (write \"/health\" or \
             \"http://shop.example/health\")",
        ),
        ("--health-interval 1", "--health-interval: \"1\" has no unit (write \"5s\" or \"250ms\")"),
        (
            "--health-interval=99ms",
            "--health-interval: \"99ms\" is out of range (write \"100ms\" to \"1h\")",
        ),
        ("-w x", r#"--workers: "x" is not a number of workers (write 1 to 256 or "auto")"#),
        ("-H a:b", "-H: there is no --explain (add it)"),
        ("-H ab", r#"-H: "ab" is not a header line (write "Name: value")"#),
        ("--explain=", r#"--explain: "" names no URL (write "GET http://host/path")"#),
        ("--explain a --explain b", "more than one --explain (ask for one request at a time)"),
    ];
    for (arguments, message) in cases {
        assert_eq!(parsed(arguments), Err(String::from(message)), "{arguments}");
    }
}

#[test]
fn help_names_every_option() {
    for name in LONG_OPTIONS {
        assert!(HELP.contains(&format!("--{name}")), "{name}");
    }
    assert!(HELP.lines().all(|line| line.len() <= 100));
}
