use super::*;

fn parsed(arguments: &[&str]) -> Result<Invocation, String> {
    parse(lexopt::Parser::from_args(arguments))
}

fn command(arguments: &[&str]) -> CtlCommand {
    parsed(arguments).unwrap().command
}

#[test]
fn every_command_is_read() {
    let view = |lines, follow| DiaryView { lines, follow };
    for (arguments, expected) in [
        (&["status"][..], CtlCommand::Status),
        (&["pools"], CtlCommand::Pools(None)),
        (&["pools", "api"], CtlCommand::Pools(Some("api".into()))),
        (&["drain", "a/1.2.3.4:5"], CtlCommand::State("a/1.2.3.4:5".into(), "drain")),
        (&["ready", "[::1]:5"], CtlCommand::State("[::1]:5".into(), "ready")),
        (&["maint", "unix:/a"], CtlCommand::State("unix:/a".into(), "maint")),
        (&["weight", "b", "7"], CtlCommand::Weight("b".into(), 7)),
        (&["remove", "b"], CtlCommand::Remove("b".into())),
        (&["names"], CtlCommand::Names),
        (&["registry"], CtlCommand::Registry),
        (&["events"], CtlCommand::Diary(Diary::Events, view(50, false))),
        (&["events", "-f"], CtlCommand::Diary(Diary::Events, view(50, true))),
        (&["-n", "5", "errors", "-f"], CtlCommand::Diary(Diary::Errors, view(5, true))),
        (&["slow", "-n9"], CtlCommand::Diary(Diary::Slow, view(9, false))),
        (&["purge", "http://a/"], CtlCommand::PurgeUrl("http://a/".into())),
        (&["purge", "--prefix", "http://a/"], CtlCommand::PurgePrefix("http://a/".into())),
        (&["withdraw"], CtlCommand::Withdraw(true)),
        (&["restore"], CtlCommand::Withdraw(false)),
        (&["reload"], CtlCommand::Reload),
        (&["--help"], CtlCommand::Help),
    ] {
        assert_eq!(command(arguments), expected, "{arguments:?}");
    }
    let explained = command(&["explain", "PUT http://a/x", "-H", "A: b"]);
    let (method, url) = ("PUT".into(), "http://a/x".into());
    assert_eq!(explained, CtlCommand::Explain { method, url, fields: vec!["A: b".into()] });
}

#[test]
fn the_service_is_named_in_three_ways() {
    let server = |arguments: &[&str]| parsed(arguments).unwrap().server;
    assert_eq!(server(&["status"]), ServerOption::Config(None));
    assert_eq!(server(&["-c", "a", "status"]), ServerOption::Config(Some("a".into())));
    assert_eq!(server(&["status", "--socket", "/a"]), ServerOption::Socket("/a".into()));
    let by_url = server(&["--url", "http://a:1", "--token-file=t", "status"]);
    assert_eq!(by_url, ServerOption::Url("http://a:1".into(), "t".into()));
}

#[test]
fn what_is_wrong_says_how_it_would_be_right() {
    for (arguments, part) in [
        (&["drian", "x"][..], "unknown command \"drian\" (did you mean \"drain\"?)"),
        (&["enable", "x"], "did you mean \"ready\"?"),
        (&["relaod"], "did you mean \"reload\"?"),
        (&["xyzzy"], "the nearest is"),
        (&[], "no command"),
        (&["drain"], "POOL/BACKEND is missing"),
        (&["weight", "b"], "the weight is missing"),
        (&["weight", "b", "257"], "write 1 to 256"),
        (&["status", "x"], "\"x\" is too much"),
        (&["status", "-f"], "-f is not for \"status\""),
        (&["slow", "-f"], "-f is not for \"slow\""),
        (&["pools", "-n", "3"], "-n is not for \"pools\""),
        (&["events", "-n", "257"], "write 1 to 256"),
        (&["explain", "-H", "ab", "x"], "is not a header line"),
        (&["explain", ""], "names no URL"),
        (&["purge"], "URL, or --prefix URL, is missing"),
        (&["--url", "http://a:1", "status"], "--token-file"),
        (&["--token-file", "a", "status"], "--url"),
        (&["--socket", "/a", "-c", "b", "status"], "both name the service"),
        (&["--sokcet", "/a", "status"], "did you mean \"--socket\"?"),
        (&["--json", "--json=1", "status"], "--json"),
        (&["-x", "status"], "unknown option \"-x\""),
    ] {
        let error = parsed(arguments).unwrap_err();
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn top_has_no_command() {
    let parsed = |arguments: &[&str]| parse_top(lexopt::Parser::from_args(arguments));
    assert_eq!(parsed(&["--socket", "/a"]), Ok(Some(ServerOption::Socket("/a".into()))));
    assert_eq!(parsed(&["--help"]), Ok(None));
    assert!(parsed(&["status"]).unwrap_err().contains("no command"));
    assert!(parsed(&["--json"]).is_err());
    assert!(parsed(&["-f"]).unwrap_err().contains("not for \"top\""));
}

#[test]
fn help_names_every_command_within_a_terminal() {
    let left = HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    let words = left.flat_map(|column| column.split([' ', ',', '|']));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    for name in COMMANDS {
        assert!(words.contains(&name), "{name}");
    }
    assert!(HELP.lines().all(|line| line.len() <= 100));
}
