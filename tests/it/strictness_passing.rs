//! What passes, and in which form: the fields that go, come or stay, and what is written anew.

use crate::common::{Answer, Backend, Client, Program, Request, json, servers, until};

fn echo() -> (Backend, Program) {
    let backend = Backend::named("a");
    let program = Program::over(&[&backend]);
    (backend, program)
}

/// What the backend got of a request that the client sent.
fn forwarded(head: &str) -> Request {
    let (backend, program) = echo();
    let mut client = program.client();
    client.send(head);
    assert_eq!(client.response().status, 200, "{head}");
    backend.last_request()
}

#[test]
fn an_empty_line_before_the_request_is_ignored() {
    assert_eq!(forwarded("\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n").line(), "GET /x HTTP/1.1");
}

#[test]
fn the_authority_of_an_absolute_target_becomes_the_host() {
    let request = forwarded("GET http://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(request.line(), "GET /x?y HTTP/1.1");
    assert_eq!(request.field("Host"), Some("b.test"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("b.test"));
    let request = forwarded("GET http://b.test:81 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(request.line(), "GET / HTTP/1.1");
    assert_eq!(request.field("Host"), Some("b.test:81"));
    let request = forwarded("GET http://b.test?q HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(request.line(), "GET /?q HTTP/1.1");
    let request = forwarded("OPTIONS http://b.test HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(request.line(), "OPTIONS * HTTP/1.1");
}

#[test]
fn targets_go_as_they_came() {
    for target in ["/a%0d%0ab", "/a/../b//c", "/?a=b&c={d}|\"'<>", "/a;b=c", "/%", "/a?b?c", "*"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let request = forwarded(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(request.target, target);
    }
}

#[test]
fn later_minor_versions_are_served_as_1_1() {
    for version in ["1.2", "1.9"] {
        let request = forwarded(&format!("GET /x HTTP/{version}\r\nHost: a\r\n\r\n"));
        assert_eq!(request.version, "HTTP/1.1");
    }
}

#[test]
fn any_token_is_a_method() {
    for method in ["PATCH", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09", "TRACE"] {
        assert_eq!(forwarded(&format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).method, method);
    }
}

#[test]
fn a_request_line_of_8000_octets_works() {
    let target = format!("/{}", "x".repeat(8000));
    assert_eq!(forwarded(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).target, target);
}

#[test]
fn valid_hosts_of_every_form_pass() {
    for host in [
        "a",
        "a.test:8080",
        "[v1.a:b]",
        "[::1]",
        "[::1]:80",
        "127.0.0.1:9",
        "a_b-c.test",
        "a%20b",
        "a:",
    ] {
        assert_eq!(
            forwarded(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).field("Host"),
            Some(host)
        );
    }
}

#[test]
fn fields_keep_their_order_and_values_both_ways() {
    let backend = Backend::always(
        Answer::text("a")
            .with("Set-Cookie", "a=1; Path=/")
            .with("X-Other", "\u{e9}?")
            .with("Set-Cookie", "b=2")
            .with("X-Empty", "")
            .with("Set-Cookie", "c=3"),
    );
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a=b\r\nx-a:  2\t\r\nX_Y: z\r\nX-Empty:\r\nX-A: 3, 4\r\n\r\n");
    let response = client.response();
    assert_eq!(response.head.all("Set-Cookie"), ["a=1; Path=/", "b=2", "c=3"]);
    assert_eq!(response.head.all("X-Empty"), [""]);
    let request = backend.last_request();
    assert_eq!(request.head.all("X-A"), ["1", "2", "3, 4"]);
    assert_eq!(request.field("Cookie"), Some("a=b"));
    assert_eq!(request.field("X_Y"), Some("z"));
    assert_eq!(request.field("X-Empty"), Some(""));
}

#[test]
fn framing_names_with_underscores_are_dropped() {
    let request = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n",
    );
    assert!(!request.head.has("Content_Length") && !request.head.has("Transfer_Encoding"));
}

#[test]
fn blanks_around_a_length_and_a_coding_are_accepted() {
    let request = forwarded("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 5 \t\r\n\r\nhello");
    assert_eq!((request.field("Content-Length"), &request.body[..]), (Some("5"), &b"hello"[..]));
    let request = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChunkeD \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(
        (request.field("Transfer-Encoding"), &request.body[..]),
        (Some("chunked"), &b"hello"[..])
    );
}

#[test]
fn a_body_on_any_method_is_a_body() {
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH"] {
        let (backend, program) = echo();
        let mut client = program.client();
        let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!(
            "{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(client.response().status, 200);
        assert_eq!(client.get("/next").status, 200);
        let requests = backend.requests();
        assert_eq!(requests.len(), 2, "{method}");
        assert_eq!(requests[0].body, body.as_bytes());
        assert_eq!(requests[1].target, "/next");
    }
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_go() {
    let request = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nConnection: x-other\r\nX-Secret: 1\r\n\
         X-Other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\nProxy: evil\r\nUpgrade: h2c\r\nX-Stays: 3\r\n\r\n",
    );
    for name in ["X-Secret", "X-Other", "Keep-Alive", "Proxy-Connection", "Proxy", "TE", "Upgrade"]
    {
        assert!(!request.head.has(name), "{name}");
    }
    assert_eq!(request.field("X-Stays"), Some("3"));
}

#[test]
fn hop_by_hop_fields_of_an_answer_go() {
    let backend = Backend::always(
        Answer::text("a")
            .with("Connection", "X-Secret")
            .with("X-Secret", "1")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Connection", "keep-alive")
            .with("Upgrade", "h2c")
            .with("Proxy", "evil")
            .with("X-Stays", "2"),
    );
    let program = Program::over(&[&backend]);
    let response = program.client().get("/");
    for name in ["X-Secret", "Keep-Alive", "Proxy-Connection", "Proxy", "Upgrade"] {
        assert!(!response.head.has(name), "{name}");
    }
    assert_eq!(response.field("X-Stays"), Some("2"));
}

#[test]
fn te_is_made_anew_for_a_client_that_takes_trailers() {
    for line in ["TE: trailers", "te: gzip;q=0.5, Trailers\r\nConnection: TE, keep-alive"] {
        let request = forwarded(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        assert_eq!(request.head.all("TE"), ["trailers"], "{line}");
        assert_eq!(request.head.all("Connection"), ["TE"], "{line}");
    }
    let old = forwarded("GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert!(!old.head.has("TE") && !old.head.has("Connection"));
}

/// RFC 9110 §15.5.22.
#[test]
fn a_426_keeps_its_upgrade() {
    let backend = Backend::answering(|request| {
        let status = if request.target == "/426" { "426 Upgrade Required" } else { "400 No" };
        Answer::status(status, "x").with("Upgrade", "websocket").with("Connection", "Upgrade")
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    let response = client.get("/426");
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(response.field("Connection"), Some("upgrade"));
    client.send("GET /426 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(response.field("Connection"), Some("close, upgrade"));
    client.expect_end();
    assert!(!program.client().get("/400").head.has("Upgrade"));
}

/// RFC 9110 §6.6.1.
#[test]
fn a_date_is_added_where_the_backend_sent_none() {
    let theirs = "Sun, 06 Nov 1994 08:49:37 GMT";
    let backend = Backend::answering(move |request| match &request.target[..] {
        "/dated" => Answer::text("a").with("Date", theirs),
        "/nominated" => Answer::text("a").with("Date", theirs).with("Connection", "date"),
        "/304" => Answer::raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
        "/500" => Answer::status("500 Failed", "a"),
        _ => Answer::text("a"),
    });
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/dated").head.all("Date"), [theirs]);
    for target in ["/", "/304", "/500", "/nominated"] {
        let response = client.get(target);
        let dates = response.head.all("Date");
        let year = |date: &str| date.split(' ').nth(3).and_then(|year| year.parse::<u32>().ok());
        assert!(matches!(dates[..], [date] if year(date) >= Some(2024)), "{target}: {dates:?}");
        assert!(dates[0].len() == theirs.len() && dates[0].ends_with(" GMT"), "{dates:?}");
    }
}

/// RFC 9110 §7.6.2, §9.3.7, §9.3.8.
#[test]
fn trace_and_options_that_may_take_no_further_hop_are_answered_here() {
    let (backend, program) = echo();
    let mut client = program.client();
    let lines = "Host: a.test\r\nMax-Forwards: 0\r\nX-Odd:  as it is\r\n";
    let secrets = "Authorization: Basic x\r\nCookie: a=b\r\nProxy-Authorization: Basic x\r\n";
    client.send(format!("TRACE /x?y HTTP/1.1\r\n{secrets}{lines}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200);
    assert_eq!(response.field("Content-Type"), Some("message/http"));
    assert_eq!(response.text(), format!("TRACE /x?y HTTP/1.1\r\n{lines}\r\n"));
    assert!(response.head.has("Date") && response.head.has("X-Request-ID"));
    for target in ["*", "/x"] {
        client.send(format!("OPTIONS {target} HTTP/1.1\r\n{lines}\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.field("Content-Length")), (200, Some("0")));
        let allowed = response.field("Allow").unwrap_or_default();
        assert!(allowed.contains("GET, HEAD, OPTIONS, TRACE"), "{allowed}");
        assert!(!response.head.has("Proxy-Status"));
    }
    assert_eq!(backend.request_count(), 0);

    let counted = |method: &str, hops: &str| {
        let head = format!("{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n");
        forwarded(&head).head.all("Max-Forwards").join("|")
    };
    assert_eq!((counted("TRACE", "1"), counted("OPTIONS", "10")), ("0".into(), "9".into()));
    assert_eq!((counted("GET", "0"), counted("POST", "x")), ("0".into(), "x".into()));
    for odd in ["-1", "x", "1, 1", "1\r\nMax-Forwards: 0"] {
        let sent = odd.replace("\r\nMax-Forwards: ", "|");
        assert_eq!(counted("OPTIONS", odd), sent, "what is no number passes as it is");
    }
}

#[test]
fn a_reflection_is_in_its_turn_and_its_body_is_no_request() {
    let (backend, program) = echo();
    let mut client = program.client();
    let trace = "TRACE /1 HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n{trace}GET /"));
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.response().text(), trace);
    client.ask("/2");
    assert_eq!(client.response().text(), "a");
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn an_expectation_of_nothing_is_none() {
    for line in ["Expect:", "Expect: , ,"] {
        let request = forwarded(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        assert!(!request.head.has("Expect"), "{line}");
    }
}

#[test]
fn connection_cannot_name_the_framing_or_the_host_away() {
    for name in ["Content-Length", "Host", "content-length, host"] {
        let request = forwarded(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        assert_eq!(
            (request.field("Host"), &request.body[..]),
            (Some("a"), &b"hello"[..]),
            "{name}"
        );
    }
    let request = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(request.body, b"hello");
    let backend = Backend::always(Answer::text("hello").with("Connection", "Content-Length"));
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn forwarding_fields_of_an_untrusted_client_are_replaced() {
    let request = forwarded(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=1.2.3.4\r\n\r\n",
    );
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("a.test"));
    assert!(!request.head.has("Forwarded"));
}

fn is_uuid_version_4(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    let lens: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    lens == [8, 4, 4, 4, 12]
        && id.replace('-', "").chars().all(is_hex)
        && groups[2].starts_with('4')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

#[test]
fn each_request_gets_a_uuid_that_both_sides_see() {
    let (backend, program) = echo();
    let mut client = program.client();
    let first = client.get("/1").field("X-Request-ID").unwrap().to_string();
    let second = client.get("/2").field("X-Request-ID").unwrap().to_string();
    assert!(is_uuid_version_4(&first) && is_uuid_version_4(&second), "{first} {second}");
    assert_ne!(first, second);
    let requests = backend.requests();
    assert_eq!([requests[0].id(), requests[1].id()], [first.as_str(), &second]);
}

#[test]
fn an_id_of_the_clients_is_kept_if_it_is_valid_and_replaced_if_not() {
    let (backend, program) = echo();
    let mut client = program.client();
    let id_for = |client: &mut Client, fields: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        let id = client.response().field("X-Request-ID").unwrap().to_string();
        assert_eq!(backend.last_request().id(), id);
        id
    };
    let longest = "x".repeat(128);
    for id in ["a", "A-z.0_:/+=", &longest] {
        assert_eq!(id_for(&mut client, &format!("X-Request-ID: {id}")), id);
    }
    for value in ["", "a b", "a,b", "a\"", "\u{e9}", &format!("{longest}x")] {
        assert!(
            is_uuid_version_4(&id_for(&mut client, &format!("X-Request-ID: {value}"))),
            "{value}"
        );
    }
    assert!(is_uuid_version_4(&id_for(&mut client, "X-Request-ID: a\r\nX-Request-ID: b")));
}

#[test]
fn a_417_is_an_answer_to_its_request() {
    let backend = Backend::named("a");
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nX-Request-ID: mine\r\n\r\n");
    client.ask("/behind");
    let response = client.response_to("HEAD");
    assert_eq!((response.status, response.field("x-request-id")), (417, Some("mine")));
    assert_eq!(client.response().text(), "a");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc");
    client.ask("/behind");
    let response = client.response();
    assert_eq!((response.status, response.closes()), (417, false));
    assert_eq!(client.response().text(), "a");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nConnection: close\r\n\r\n");
    client.ask("/behind");
    assert!(client.response().closes());
    client.expect_end();
    assert_eq!(backend.request_count(), 2);
}

#[test]
fn an_expectation_that_is_unknown_gets_417_and_the_connection_goes_on() {
    let (backend, program) = echo();
    let mut client = program.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.closes()), (417, false));
    assert_eq!(client.get("/next").status, 200);
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn chunk_extensions_and_odd_sizes_are_written_anew() {
    // the backend reads canonical chunks only
    let request = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0005;a=b;c=\"d;e\"\r\nhello\r\n\
         A \t\r\n0123456789\r\n1;x\r\n!\r\n000;last\r\n\r\n",
    );
    assert_eq!(request.body, b"hello0123456789!");
}

#[test]
fn trailers_pass_but_for_those_that_frame_route_or_authorize() {
    let trailers = "X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic x\r\n\
        Cookie: a=b\r\nSet-Cookie: a=b\r\nContent-Type: x\r\nContent-Digest: 2\r\nContent-MD5: 3\r\nRepr-Digest: 4\r\nX-More: 5\r\n";
    let chunks = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
    let names = ["X-Sum", "Content-Digest", "Content-MD5", "Repr-Digest", "X-More"];
    let passed = [1, 2, 3, 4, 5].map(|number| (names[number - 1].to_string(), number.to_string()));

    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let backend = Backend::always(Answer::raw(answer));
    let program = Program::over(&[&backend]);
    let mut client = program.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
    ));
    let response = client.response();
    assert_eq!((response.text().as_str(), &response.trailers[..]), ("hello", &passed[..]));
    let request = backend.last_request();
    assert_eq!((&request.body[..], &request.trailers[..]), (&b"hello"[..], &passed[..]));
    until("both connections live", || backend.open_connection_count() == 1);
}

#[test]
fn a_client_that_closes_its_side_after_its_requests_gets_every_answer() {
    let (_backend, program) = echo();
    let mut client = program.client();
    for target in ["/1", "/2", "/3"] {
        client.ask(target);
    }
    client.finish_sending();
    for _ in 0..3 {
        assert_eq!(client.response().text(), "a");
    }
    client.expect_end();
}

#[test]
fn via_is_added_both_ways() {
    let backend = Backend::answering(|request| match &request.target[..] {
        "/hints" => Answer::raw(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        _ => Answer::text("one").with("Via", "1.0 behind"),
    });
    let program = Program::with(json!({"backend_servers": servers(&[&backend]), "via": "lb-1"}));
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 before\r\n\r\n");
    let response = client.response();
    assert_eq!(response.head.all("Via"), ["1.0 behind", "1.1 lb-1"]);
    assert_eq!(backend.last_request().head.all("Via"), ["1.1 before", "1.1 lb-1"]);
    client.ask("/hints");
    for status in [103, 200] {
        let response = client.response();
        assert_eq!((response.status, response.field("Via")), (status, Some("1.1 lb-1")));
    }
    let mut client = program.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().head.all("Via"), ["1.0 behind", "1.1 lb-1"]);
    assert_eq!(backend.last_request().field("Via"), Some("1.0 lb-1"));
}
