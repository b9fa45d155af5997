//! The cookie that keeps a client at its backend.

use crate::common::{
    Answer, Backend, Client, Gate, Program, Response, Value, json, peers::Folder, servers,
};
use std::{fs, os::unix::fs::PermissionsExt};

fn three() -> [Backend; 3] {
    ["one", "two", "three"].map(Backend::named)
}

fn program(backends: &[&Backend], mut more: Value) -> Program {
    more["backend_servers"] = servers(backends);
    if more["sticky"].is_null() {
        more["sticky"] = json!(true);
    }
    Program::logging(more)
}

fn ask(client: &mut Client, lines: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    client.response()
}

/// The value that a response sets the cookie `sticky_backend` to. Checks all the rest of the line.
fn value_of(response: &Response) -> String {
    let line = response.field("Set-Cookie").expect("a cookie");
    let value = line.strip_prefix("sticky_backend=").expect(line);
    let value = value.strip_suffix("; Path=/; HttpOnly; SameSite=Lax").expect(line);
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(value.len() == 16 && value.bytes().all(is_digit), "{line}");
    value.to_owned()
}

fn cookie(value: &str) -> String {
    format!("Cookie: sticky_backend={value}\r\n")
}

/// What the log says of all requests.
fn logged(program: &Program, count: usize) -> Vec<String> {
    let word = |line: Value| line["sticky"].as_str().unwrap_or("-").to_owned();
    program.log_lines(count).into_iter().map(word).collect()
}

#[test]
fn the_first_answer_sets_a_cookie_that_leads_to_the_same_backend_ever_after() {
    let backends = three();
    let program = program(&backends.each_ref(), json!({}));
    for _ in 0..3 {
        let mut client = program.client();
        let first = ask(&mut client, "");
        let value = value_of(&first);
        for _ in 0..5 {
            // Over the same connection, and as another one of the same browser.
            for response in [ask(&mut client, &cookie(&value)), {
                let mut other = program.client();
                ask(&mut other, &cookie(&value))
            }] {
                assert_eq!(response.text(), first.text());
                assert_eq!(response.field("Set-Cookie"), None);
            }
        }
    }
    assert_eq!(backends.each_ref().map(Backend::request_count), [11, 11, 11]);
    let words = logged(&program, 33);
    assert_eq!(words.iter().filter(|word| *word == "new").count(), 3);
    assert_eq!(words.iter().filter(|word| *word == "hit").count(), 30);
}

#[test]
fn the_backend_sees_nothing_of_the_cookie_and_all_others_as_they_are() {
    let backend = Backend::named("one");
    let program = program(&[&backend], json!({}));
    let mut client = program.client();
    let own = format!("sticky_backend={}", value_of(&ask(&mut client, "")));
    for (sent, arrived) in [
        (format!("a=b; {own}; c=\"d e\";  =f;g"), vec!["a=b; c=\"d e\";  =f;g"]),
        (format!("{own}; a=b"), vec!["a=b"]),
        (format!("a=b; {own}"), vec!["a=b"]),
        (own.clone(), vec![]),
        (format!("sticky_backend=forged; a=b; {own}"), vec!["a=b"]),
        (
            format!("xsticky_backend=1; {own}; sticky_backend_x=2"),
            vec!["xsticky_backend=1; sticky_backend_x=2"],
        ),
        (format!("a=b\r\nCookie: {own}\r\nCookie: c=d"), vec!["a=b", "c=d"]),
        ("a=b;c=d ;e".into(), vec!["a=b;c=d ;e"]),
    ] {
        assert_eq!(ask(&mut client, &format!("Cookie: {sent}\r\n")).status, 200);
        assert_eq!(backend.last_request().head.all("Cookie"), arrived, "{sent}");
    }
}

#[test]
fn a_value_that_names_no_backend_of_the_pool_is_as_good_as_none() {
    let backends = three();
    let [one, two, other] = &backends;
    let program = program(
        &[one, two],
        json!({
            "pools": {"other": {"backend_servers": servers(&[one, other])}},
            "routes": [{"path": "/other", "pool": "other"}],
        }),
    );
    let mut client = program.client();
    let value = value_of(&ask(&mut client, ""));
    let foreign = value_of(&client.get("/other"));
    let foreign_too = value_of(&client.get("/other"));
    let bad = [
        String::new(),
        value[..15].to_owned(),
        format!("{value}0"),
        value.to_uppercase(),
        format!("\"{value}\""),
        format!("{value}={value}"),
        "0".repeat(16),
        one.address.to_string(),
        "../../etc/passwd".into(),
        "%00\u{ff}\u{e9}".into(),
        "x".repeat(10_000),
        foreign,
        foreign_too,
    ];
    // A digit of another case is the same where there is no letter.
    let bad = bad.iter().filter(|bad| **bad != value);
    let mut names = Vec::new();
    for bad in bad.clone() {
        let response = ask(&mut client, &cookie(bad));
        names.push(response.text());
        value_of(&response);
        let twice = format!("Cookie: sticky_backend={bad}; sticky_backend={bad}\r\n");
        let response = ask(&mut client, &twice);
        names.push(response.text());
        value_of(&response);
    }
    // All were balanced, one after the other, within the pool.
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
        assert_ne!(pair[0], "three");
    }
    let words = logged(&program, 3 + names.len());
    assert!(words.iter().all(|word| word == "new"), "{words:?}");
    // The first that is valid counts, whatever stands beside it.
    let mut client = program.client();
    let first = ask(&mut client, &cookie(&value));
    assert_eq!(first.field("Set-Cookie"), None);
    for lines in [
        format!("Cookie: sticky_backend=; sticky_backend={value}\r\n"),
        format!("Cookie: sticky_backend={}\r\nCookie: sticky_backend={value}\r\n", &value[1..]),
    ] {
        let response = ask(&mut client, &lines);
        assert_eq!((response.text(), response.field("Set-Cookie")), (first.text(), None));
    }
}

#[test]
fn who_has_no_cookie_is_balanced_as_if_the_others_were_not_there() {
    let backends = three();
    let program = program(&backends.each_ref(), json!({}));
    let mut client = program.client();
    let mut first = None;
    let mut names = Vec::new();
    for _ in 0..9 {
        let response = ask(&mut client, "");
        let value = first.get_or_insert_with(|| value_of(&response)).clone();
        names.push(response.text());
        for _ in 0..2 {
            assert_eq!(ask(&mut client, &cookie(&value)).text(), names[0]);
        }
    }
    for three in names.chunks(3) {
        let mut sorted = three.to_vec();
        sorted.sort();
        assert_eq!(sorted, ["one", "three", "two"]);
    }
}

#[test]
fn a_client_whose_backend_is_gone_is_moved_and_stays_where_it_was_moved_to() {
    let mut backends = three();
    let program = program(&backends.each_ref(), json!({"max_fails": 1}));
    let mut client = program.client();
    let response = ask(&mut client, "");
    let (home, value) = (response.text(), value_of(&response));
    let place = ["one", "two", "three"].iter().position(|name| *name == home).unwrap();
    backends[place].stop();
    // The first one finds it refusing and is sent on, the others find it down.
    let mut moved = Vec::new();
    for _ in 0..4 {
        let response = ask(&mut client, &cookie(&value));
        assert_ne!(response.text(), home);
        moved.push((response.text(), value_of(&response)));
    }
    assert_ne!(moved[0].1, value);
    let (name, new_value) = &moved[0];
    for _ in 0..4 {
        let response = ask(&mut client, &cookie(new_value));
        assert_eq!((&response.text(), response.field("Set-Cookie")), (name, None));
    }
    backends[place].start_again();
    program.wait_for_message("is up");
    let response = ask(&mut client, &cookie(&value));
    assert_eq!((response.text(), response.field("Set-Cookie")), (home, None));
    let words = logged(&program, 10);
    let wanted = ["new", "moved", "moved", "moved", "moved", "hit", "hit", "hit", "hit", "hit"];
    assert_eq!(words, wanted);
}

#[test]
fn where_nobody_answers_no_cookie_is_set() {
    let backend = Backend::absent();
    let program = program(&[&backend], json!({}));
    let mut client = program.client();
    for _ in 0..3 {
        let response = ask(&mut client, "");
        assert!([502, 503].contains(&response.status));
        assert_eq!(response.field("Set-Cookie"), None);
    }
    assert_eq!(logged(&program, 3), ["-", "-", "-"]);
}

#[test]
fn a_client_whose_backend_is_full_is_served_by_another_and_keeps_its_cookie() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let slow = Backend::answering(move |request| {
        if request.target == "/slow" {
            waiting.wait();
        }
        Answer::text("slow")
    });
    let other = Backend::named("other");
    let program = Program::logging(json!({
        "backend_servers": [slow.server_with(json!({"max_connections": 1})), other.server()],
        "sticky": true,
    }));
    let mut client = program.client();
    let (first, second) = (ask(&mut client, ""), ask(&mut client, ""));
    let home = if first.text() == "slow" { first } else { second };
    let value = value_of(&home);
    let mut busy = program.client();
    busy.send(format!("GET /slow HTTP/1.1\r\nHost: a\r\n{}\r\n", cookie(&value)));
    slow.wait_for_requests(2);
    for _ in 0..2 {
        let response = ask(&mut client, &cookie(&value));
        assert_eq!((&*response.text(), response.field("Set-Cookie")), ("other", None));
    }
    gate.open();
    assert_eq!(busy.response().text(), "slow");
    let response = ask(&mut client, &cookie(&value));
    assert_eq!((&*response.text(), response.field("Set-Cookie")), ("slow", None));
    assert_eq!(logged(&program, 6), ["new", "new", "moved", "moved", "hit", "hit"]);
}

#[test]
fn the_cookie_has_the_name_and_the_age_that_are_wanted() {
    let backend = Backend::named("one");
    let sticky = json!({"cookie": "home", "max_age": "2h"});
    let program = program(&[&backend], json!({"sticky": sticky}));
    let mut client = program.client();
    let line = ask(&mut client, "").field("Set-Cookie").expect("a cookie").to_owned();
    assert!(line.starts_with("home=") && line.ends_with("; SameSite=Lax; Max-Age=7200"), "{line}");
}

#[test]
fn the_cookie_is_secure_where_a_trusted_proxy_says_https() {
    let backend = Backend::named("one");
    let secure = |more: Value, lines: &str, header: &str| {
        let program = program(&[&backend], more);
        let mut client = program.client();
        client.send(header);
        let line = ask(&mut client, lines).field("Set-Cookie").expect("a cookie").to_owned();
        line.ends_with("; SameSite=Lax; Secure")
    };
    let https = "X-Forwarded-Proto: https\r\n";
    let trusting = json!({"trusted_proxies": ["127.0.0.0/8"]});
    assert!(secure(trusting.clone(), https, ""));
    assert!(!secure(trusting.clone(), "X-Forwarded-Proto: http\r\n", ""));
    assert!(!secure(trusting, "", ""));
    assert!(!secure(json!({}), https, ""));
    let proxied = json!({"listen": [{"addr": "127.0.0.1:0", "proxy_protocol": true}]});
    let tls = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02\x20\0\x05\x01\0\0\0\0";
    assert!(secure(proxied.clone(), "", tls));
    assert!(!secure(proxied, https, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"));
}

#[test]
fn cookies_outlive_a_restart_where_there_is_a_folder_for_the_key() {
    let backends = three();
    let state = Folder::new("sticky-state");
    let config = || json!({"backend_servers": servers(&backends.each_ref()), "sticky": true});
    let program = Program::with_state(config(), state.path());
    let first = ask(&mut program.client(), "");
    let value = value_of(&first);
    drop(program);
    let key = state.path().join("sticky.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    // Another host with the same file, and the same one again.
    let other = Folder::new("sticky-other");
    fs::copy(&key, other.path().join("sticky.key")).unwrap();
    for folder in [state.path(), other.path()] {
        let program = Program::with_state(config(), folder);
        for _ in 0..3 {
            let response = ask(&mut program.client(), &cookie(&value));
            assert_eq!((response.text(), response.field("Set-Cookie")), (first.text(), None));
        }
    }
    let program = Program::with(config());
    value_of(&ask(&mut program.client(), &cookie(&value)));
    fs::write(&key, "not a key").unwrap();
    let program = Program::with_state(config(), state.path());
    value_of(&ask(&mut program.client(), &cookie(&value)));
    let told = "it is not 32 hexadecimal digits (remove it, and another is made)";
    assert!(program.stderr().contains(told), "{}", program.stderr());
}

#[test]
fn without_a_sticky_pool_no_key_is_made_and_no_cookie_is_touched() {
    let backend = Backend::named("one");
    let state = Folder::new("sticky-none");
    let program =
        Program::with_state(json!({"backend_servers": servers(&[&backend])}), state.path());
    let response = ask(&mut program.client(), "Cookie: sticky_backend=1; a=b\r\n");
    assert_eq!(response.field("Set-Cookie"), None);
    assert_eq!(backend.last_request().field("Cookie"), Some("sticky_backend=1; a=b"));
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    assert_eq!(logged(&program, 1), ["-"]);
}

#[test]
fn pipelined_requests_of_one_client_stay_at_its_backend_in_order() {
    let backends = three();
    let program = program(&backends.each_ref(), json!({}));
    let mut client = program.client();
    let response = ask(&mut client, "");
    let (home, value) = (response.text(), value_of(&response));
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", cookie(&value));
    for _ in 0..10 {
        client.send(request.repeat(8));
        for _ in 0..8 {
            let response = client.response();
            assert_eq!((&response.text(), response.field("Set-Cookie")), (&home, None));
        }
    }
}

#[test]
fn a_websocket_gets_the_cookie_with_its_101() {
    let backend = Backend::talking(|connection| {
        connection.head();
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        );
        connection.wait_for_end();
    });
    let program = program(&[&backend], json!({}));
    let mut client = program.client();
    let response = ask(&mut client, "Upgrade: websocket\r\nConnection: upgrade\r\n");
    assert_eq!(response.status, 101);
    value_of(&response);
}
