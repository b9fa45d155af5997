use super::super::scan::{HeadScan, Scan};
use super::super::testing::{
    Dice, framing_naively, keep_alive_naively, mutant, read_naively, scan_however_cut, values_of,
};
use super::*;

/// A request for `a` with these further field lines.
fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// What is wrong with a GET of these further field lines.
fn fault(fields: &str) -> Option<Refusal> {
    parse(&get(fields)).err()
}

/// What is wrong with a request line, if the rest is right.
fn line_fault(line: &str) -> Option<Refusal> {
    parse(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).err()
}

#[test]
fn a_whole_request_is_understood() {
    let bytes = b"POST /x?y=1 HTTP/1.1\r\nHost: shop.example:8080\r\nContent-Length: 12\r\n\
        User-Agent: curl/8\r\nX-Request-ID: abc\r\nIdempotency-Key: k\r\nExpect: 100-Continue\r\n\r\n";
    let head = parse(bytes).expect("the head is valid");
    assert_eq!((head.method, head.method_name), (Method::Post, &b"POST"[..]));
    assert_eq!((head.target, head.authority), (&b"/x?y=1"[..], &b"shop.example:8080"[..]));
    assert_eq!((head.version, head.framing), (Version::Http11, Framing::Length(12)));
    assert!(head.keep_alive && head.expect_continue && head.idempotency_key && !head.upgrade);
    assert_eq!(head.request_id, Some(&b"abc"[..]));
    assert_eq!(head.fields.iter().count(), 6);
}

#[test]
fn request_lines_that_are_accepted() {
    for line in [
        "GET / HTTP/1.1",
        "get / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.2",
        "GET / HTTP/1.9",
        "M-SEARCH / HTTP/1.1",
        "!#$%&'*+-.^_`|~ / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET //x//y HTTP/1.1",
        "GET /%0d%0aX:%20y HTTP/1.1",
        "GET /a?b=\"<>|{}[]^`\\ HTTP/1.1",
        "GET /http://x HTTP/1.1",
        "GET /x@y:z HTTP/1.1",
    ] {
        assert_eq!(line_fault(line), None, "{line}");
    }
    let versions = ["1.0", "1.1", "1.2", "1.9"].map(|version| {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        parse(bytes.as_bytes()).map(|head| head.version)
    });
    assert_eq!(versions[0], Ok(Version::Http10));
    assert_eq!(versions[1..], [Ok(Version::Http11); 3]);
}

#[test]
fn request_lines_that_are_malformed() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET / ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET  HTTP/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/0.9",
        "GET / HTTP/1.1x",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1,1",
        "GET / HTTP/a.1",
        "GET / HTTP/2.x",
        "GET /a b HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\rb HTTP/1.1",
        "GET /a\x7fb HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET # HTTP/1.1",
        "GET /é HTTP/1.1",
        "G\0T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GÉT / HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ** HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http:a HTTP/1.1",
        "GET http//a/ HTTP/1.1",
        "GET / HTTP/1.1\0",
        "GET / HTTP/1.\0",
        "GET : HTTP/1.1",
        "GET / HTTP/1.1\r",
    ] {
        assert_eq!(line_fault(line), Some(Refusal::Malformed), "{line:?}");
    }
}

#[test]
fn what_is_not_served_is_told_from_what_is_malformed() {
    assert_eq!(line_fault("CONNECT a:443 HTTP/1.1"), Some(Refusal::Connect));
    assert_eq!(line_fault("CONNECT / HTTP/1.0"), Some(Refusal::Connect));
    assert_eq!(line_fault("GET / HTTP/2.0"), Some(Refusal::Version));
    assert_eq!(line_fault("GET / HTTP/9.9"), Some(Refusal::Version));
    assert_eq!(line_fault("CONNECT a:443 HTTP/2.0"), Some(Refusal::Version));
    assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\n").err(), Some(Refusal::Version));
}

#[test]
fn field_lines_that_are_malformed() {
    for fields in [
        "A : b\r\n",
        "A\t: b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        "A\r\n",
        ": b\r\n",
        "A: b\0\r\n",
        "A\0: b\r\n",
        "A: b\rc\r\n",
        "A: b\r\r\n",
        "A: b\n",
        "A: b\nC: d\r\n",
        "A: \x01\r\n",
        "A: \x7f\r\n",
        "A B: c\r\n",
        "\u{e9}: a\r\n",
        "(A): b\r\n",
        "A: \x0b\r\n",
        "\r\n",
        "A: b\r\n\r\nC: d\r\n",
    ] {
        assert_eq!(fault(fields), Some(Refusal::Malformed), "{fields:?}");
    }
    assert_eq!(parse(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n").err(), Some(Refusal::Malformed));
    for fields in [
        "A:\r\n",
        "A:b\r\n",
        "A: \tb\t \r\n",
        "A: \u{e9}\r\n",
        "a_b: c\r\n",
        "Content_Length: 5\r\n",
    ] {
        assert_eq!(fault(fields), None, "{fields:?}");
    }
}

/// The authority of a GET of `target` with these `Host` lines.
fn authority(target: &str, version: &str, fields: &str) -> Result<String, Refusal> {
    let bytes = format!("GET {target} HTTP/{version}\r\n{fields}\r\n");
    parse(bytes.as_bytes()).map(|head| head.authority.escape_ascii().to_string())
}

#[test]
fn hosts_that_are_valid() {
    for host in [
        "a",
        "a.test",
        "A-b_c~d",
        "a.test:80",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "127.0.0.1",
        "127.0.0.1:8001",
        "[::1]",
        "[::1]:80",
        "[2001:db8::1]:",
        "[::ffff:1.2.3.4]",
        "a%2fb",
        "x!$&'()*+,;=y",
        "a.",
        "999.1.1.1",
    ] {
        let valid = Ok(host.to_owned().replace('\'', "\\'"));
        assert_eq!(authority("/", "1.1", &format!("Host: {host}\r\n")), valid);
        assert_eq!(authority(&format!("http://{host}/"), "1.1", "Host: z\r\n"), valid);
    }
    assert_eq!(authority("/", "1.1", "HOST:\t a \t\r\n"), Ok("a".to_owned()));
}

#[test]
fn addresses_of_later_versions_are_valid() {
    let read = |host: &str| authority("/", "1.1", &format!("Host: {host}\r\n"));
    for host in ["[v1.a:b]", "[VfF.~a!b:]:80"] {
        assert_eq!(read(host), Ok(host.to_owned()));
    }
    for host in ["[v1]", "[v1.]", "[v.a]", "[vg.a]", "[v1.[a]", "[v1.a%41]", "[v1.a]b"] {
        assert_eq!(read(host), Err(Refusal::Host), "{host}");
    }
}

#[test]
fn hosts_that_are_not() {
    for host in [
        "u:p@a",
        "a/x",
        "a:80:90",
        "a:8x",
        "a:-1",
        "a:+1",
        "a:65536",
        "a:000080",
        "a:99999999999",
        ":80",
        ":",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]80",
        "[::1]:x",
        "[]",
        "[",
        "]",
        "[a]",
        "[127.0.0.1]",
        "[fe80::1%25a]",
        "[::1]]",
        "[[::1]]",
        "a?b",
        "a\\b",
        "a%2",
        "a%zz",
        "a%",
        "a\"b",
        "a<b",
        "a|b",
        "a^b",
        "a[b",
        "a]b",
    ] {
        assert_eq!(
            authority("/", "1.1", &format!("Host: {host}\r\n")),
            Err(Refusal::Host),
            "{host}"
        );
        assert_eq!(
            authority("/", "1.0", &format!("Host: {host}\r\n")),
            Err(Refusal::Host),
            "{host}"
        );
        assert_eq!(
            authority("http://z/", "1.1", &format!("Host: {host}\r\n")),
            Err(Refusal::Host),
            "{host}"
        );
        if !host.contains(['/', '?']) {
            assert_eq!(
                authority(&format!("http://{host}/"), "1.1", "Host: z\r\n"),
                Err(Refusal::Host),
                "{host}"
            );
        }
    }
    for host in ["a b", "a\tb", "a, b", "\u{e9}", "a#b c"] {
        assert_eq!(
            authority("/", "1.1", &format!("Host: {host}\r\n")),
            Err(Refusal::Host),
            "{host}"
        );
    }
}

#[test]
fn there_is_one_host_unless_the_client_speaks_1_0() {
    for target in ["/", "http://b/"] {
        assert_eq!(authority(target, "1.1", ""), Err(Refusal::Host));
        assert_eq!(authority(target, "1.2", ""), Err(Refusal::Host));
        for version in ["1.0", "1.1"] {
            let twice = authority(target, version, "Host: a\r\nA: b\r\nhost: a\r\n");
            assert_eq!(twice, Err(Refusal::Host));
            let empty_twice = authority(target, version, "Host:\r\nHost: a\r\n");
            assert_eq!(empty_twice, Err(Refusal::Host));
        }
    }
    assert_eq!(authority("/", "1.0", ""), Ok(String::new()));
    assert_eq!(authority("http://b/", "1.0", ""), Ok("b".to_owned()));
    assert_eq!(authority("/", "1.1", "Host:\r\n"), Ok(String::new()));
    assert_eq!(authority("/", "1.1", "Host: \t\r\n"), Ok(String::new()));
    assert_eq!(authority("http://b/", "1.1", "Host:\r\n"), Err(Refusal::Host));
}

#[test]
fn an_absolute_target_is_reduced_and_its_authority_wins() {
    for (method, target, reduced) in [
        ("GET", "http://b.test/x?y", "/x?y"),
        ("GET", "HTTP://b.test", "/"),
        ("GET", "https://b.test/", "/"),
        ("GET", "hTTpS://b.test//x", "//x"),
        ("OPTIONS", "http://b.test", "*"),
        ("OPTIONS", "http://b.test/", "/"),
        ("GET", "http://b.test/@http://c", "/@http://c"),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let head = parse(bytes.as_bytes()).expect(target);
        assert_eq!((head.authority, head.target), (&b"b.test"[..], reduced.as_bytes()), "{target}");
    }
    for target in ["http://", "http:///x", "https://?x", "http://u@b/", "http://b\\c/"] {
        assert_eq!(line_fault(&format!("GET {target} HTTP/1.1")), Some(Refusal::Host), "{target}");
    }
}

#[test]
fn doubtful_framing_is_refused() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n",
    ] {
        assert_eq!(fault(fields), Some(Refusal::Framing), "{fields:?}");
    }
    assert_eq!(fault("Transfer-Encoding: gzip, chunked\r\n"), Some(Refusal::Coding));
    assert_eq!(fault("Transfer-Encoding: chunked\x0b\r\n"), Some(Refusal::Malformed));
    assert_eq!(fault(chunked), None);
    let old = format!("POST / HTTP/1.0\r\nConnection: keep-alive\r\n{chunked}\r\n");
    assert_eq!(parse(old.as_bytes()).err(), Some(Refusal::Framing));
    let framing = |fields| parse(&get(fields)).map(|head| head.framing);
    assert_eq!(framing("Content-Length: \t5 \t\r\n"), Ok(Framing::Length(5)));
    assert_eq!(framing("transfer-ENCODING:\tChunked \r\n"), Ok(Framing::Chunked));
    assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(framing("Content_Length: 7\r\n"), Ok(Framing::None));
}

#[test]
fn connection_options_are_a_list_over_all_lines() {
    for (version, fields, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, Close ,y\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: x-close\r\n", true),
        ("1.1", "Connection: close-x\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.2", "", true),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let read = parse(bytes.as_bytes()).map(|head| head.keep_alive);
        assert_eq!(read, Ok(keep_alive), "{version} {fields}");
    }
}

#[test]
fn an_unknown_expectation_is_told_apart() {
    let others = |fields: &str| parse(&get(fields)).map(|head| head.expect_other);
    for value in
        ["200-ok", "100-continue, 100-continue", "100-continue;a", "100", "\"100-continue\""]
    {
        assert_eq!(others(&format!("Expect: {value}\r\n")), Ok(true), "{value}");
    }
    assert_eq!(others("Expect: x\r\nExpect: 100-continue\r\n"), Ok(true));
    assert_eq!(others("Expect: 100-continue\r\nExpect: x\r\n"), Ok(true));
    assert_eq!(others("Expect: x\r\nContent-Length: 5\r\n"), Ok(true));
    for nothing in ["", ",", " , \t,"] {
        assert_eq!(others(&format!("Expect: {nothing}\r\n")), Ok(false), "{nothing:?}");
        let both = get(&format!("Expect: {nothing}\r\nExpect: 100-continue\r\n"));
        assert_eq!(parse(&both).map(|head| head.expect_continue), Ok(true), "{nothing:?}");
    }
    assert_eq!(others("Expect: 100-continue\r\n"), Ok(false));
    assert_eq!(others(""), Ok(false));
    assert_eq!(fault("Expect: x\r\nContent-Length: y\r\n"), Some(Refusal::Framing));
    assert!(!Refusal::Expectation.closes() && Refusal::Malformed.closes());
    let expects = |bytes: &[u8]| parse(bytes).map(|head| head.expect_continue);
    assert_eq!(expects(&get("Expect: 100-CONTINUE\r\n")), Ok(true));
    assert_eq!(expects(&get("")), Ok(false));
    assert_eq!(expects(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), Ok(false));
    assert_eq!(expects(b"POST / HTTP/1.0\r\nExpect: x\r\n\r\n"), Ok(false));
}

#[test]
fn to_switch_protocols_is_offered_in_two_fields_of_http_1_1() {
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    for (line, fields, offers) in [
        ("GET / HTTP/1.1", upgrade, true),
        ("POST / HTTP/1.1", "Connection: upgrade\r\nUpgrade: h2c, x\r\n", true),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
        ("GET / HTTP/1.1", "Connection: upgrade\r\n", false),
        ("GET / HTTP/1.0", upgrade, false),
    ] {
        let bytes = format!("{line}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(parse(bytes.as_bytes()).map(|head| head.upgrade), Ok(offers), "{bytes}");
    }
}

#[test]
fn a_request_id_is_kept_if_it_is_one() {
    let longest = "x".repeat(128);
    for id in ["a", "a_b", "A-Za-z0-9._:/+=-", &longest] {
        let bytes = get(&format!("x-request-ID: {id}\r\n"));
        assert_eq!(parse(&bytes).map(|head| head.request_id), Ok(Some(id.as_bytes())), "{id}");
    }
    let too_long = "x".repeat(129);
    for id in ["", "a b", "a,b", "\"a\"", "a;b", "\u{e9}", &too_long, "a\r\nX-Request-ID: a"] {
        let bytes = get(&format!("X-Request-ID: {id}\r\n"));
        assert_eq!(parse(&bytes).map(|head| head.request_id), Ok(None), "{id}");
    }
}

#[test]
fn a_hundred_fields_are_allowed_and_no_more() {
    assert_eq!(fault(&"A: b\r\n".repeat(99)), None);
    assert_eq!(fault(&"A: b\r\n".repeat(100)), Some(Refusal::TooManyFields));
    assert_eq!(fault(&"A: b\r\n".repeat(5000)), Some(Refusal::TooManyFields));
    let within = |count| parse_within(&get(&"A: b\r\n".repeat(count)), 10).err();
    assert_eq!((within(9), within(10)), (None, Some(Refusal::TooManyFields)));
}

#[test]
fn connection_has_64_names_at_most() {
    for (count, refusal) in [(64, None), (65, Some(Refusal::TooManyFields))] {
        let (few, many) = ("x, ".repeat(10), "close,,".repeat(count - 10));
        assert_eq!(fault(&format!("Connection: {few}\r\nconnection:{many}\r\n")), refusal);
    }
}

#[test]
fn refusals_are_answered_as_documented() {
    for (refusal, status, error) in [
        (Refusal::Malformed, 400, "http_request_error"),
        (Refusal::Host, 400, "http_request_error"),
        (Refusal::Framing, 400, "http_request_error"),
        (Refusal::TimedOut, 408, "http_request_error"),
        (Refusal::BodyTooLarge, 413, "http_request_denied"),
        (Refusal::TargetTooLong, 414, "http_request_error"),
        (Refusal::Expectation, 417, "http_request_error"),
        (Refusal::HeadTooLong, 431, "http_request_error"),
        (Refusal::TooManyFields, 431, "http_request_error"),
        (Refusal::Coding, 501, "http_request_error"),
        (Refusal::Connect, 501, "http_request_error"),
        (Refusal::Version, 505, "http_request_error"),
    ] {
        assert_eq!((refusal.status(), refusal.error()), (status, error), "{refusal:?}");
    }
}

#[test]
fn a_head_cut_short_or_run_on_is_refused() {
    let bytes = get("Content-Length: 5\r\nA: b\r\n");
    for cut in 0..bytes.len() {
        assert!(parse(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(parse(&[&bytes[..], b"x"].concat()).is_err());
    assert!(parse(&[&bytes[..], b"\r\n"].concat()).is_err());
    assert!(parse(&[b"\r\n", &bytes[..]].concat()).is_ok());
    assert!(parse(&[b"\r\n\r\n", &bytes[..]].concat()).is_err());
}

#[test]
fn a_head_is_small() {
    assert!(size_of::<RequestHead>() <= 224, "{}", size_of::<RequestHead>());
}

const SEEDS: [&[u8]; 8] = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n",
    b"POST /p?q HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"\r\nPUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x-y\r\n\r\n",
    b"GET http://b.test:8080/x HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: 1-2\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"DELETE /%0d%0a HTTP/1.2\r\nHost: u\r\nCookie: a=b; c=d\r\nIdempotency-Key: 9\r\n\r\n",
];

/// Whether a text is a host with a port, by what must not be there.
fn check_authority(authority: &str) {
    let host_and_port = "[]:.%-_~!$&'()*+,;=";
    assert!(
        authority.chars().all(|c| c.is_ascii_alphanumeric() || host_and_port.contains(c)),
        "{authority:?}"
    );
    let port = match authority.split_once(']') {
        Some((_, port)) => port,
        None => &authority[authority.find(':').unwrap_or(authority.len())..],
    };
    let number = port.strip_prefix(':').unwrap_or(port);
    assert!(number.is_empty() || number.parse::<u16>().is_ok(), "{authority:?}");
    assert!(!number.starts_with('+') && !authority.starts_with(':'), "{authority:?}");
}

/// Everything that was accepted, judged again in the plainest way.
fn check_naively(bytes: &[u8], head: &RequestHead) {
    let (line, fields) = read_naively(bytes.strip_prefix(b"\r\n").unwrap_or(bytes));
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { panic!("{line:?}") };
    assert!(target.chars().all(|c| ('!'..='~').contains(&c) && c != '#'), "{target:?}");
    assert!(version.len() == 8 && version.starts_with("HTTP/1."), "{version:?}");
    let is_http10 = version.ends_with('0');
    assert_eq!(head.version == Version::Http10, is_http10);
    assert_eq!(method.as_bytes(), head.method_name);
    assert_ne!(method, "CONNECT");
    assert!(
        target.ends_with(std::str::from_utf8(head.target).expect("ASCII"))
            || !target.starts_with('/')
    );
    let is_absolute = !target.starts_with('/');
    match head.target {
        [b'/', ..] => (),
        [b'?', ..] => assert!(is_absolute),
        other => assert!(other == b"*" && method == "OPTIONS"),
    }
    let hosts = values_of(&fields, "host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && is_http10), "{hosts:?}");
    hosts.iter().for_each(|host| check_authority(host));
    let authority = std::str::from_utf8(head.authority).expect("ASCII");
    match target.split_once("://").filter(|_| !target.starts_with('/')) {
        Some((_, rest)) => assert_eq!(rest.split(['/', '?']).next(), Some(authority)),
        None => assert_eq!(hosts.first().map_or("", |host| host), authority),
    }
    check_authority(authority);
    assert_eq!(format!("{:?}", head.framing), framing_naively(&fields, is_http10));
    assert_eq!(head.keep_alive, keep_alive_naively(&fields, is_http10));
    let mut expectations = values_of(&fields, "expect");
    expectations.retain(|value| !value.replace([',', ' ', '\t'], "").is_empty());
    let known = expectations.iter().all(|value| value.eq_ignore_ascii_case("100-continue"));
    assert_eq!(head.expect_other, !is_http10 && !known);
    assert_eq!(head.expect_continue, !is_http10 && known && !expectations.is_empty());
    assert_eq!(head.idempotency_key, !values_of(&fields, "idempotency-key").is_empty());
    assert!(fields.len() <= 100 && head.fields.iter().count() == fields.len());
    for (field, (name, value)) in head.fields.iter().zip(&fields) {
        assert!(field.name.eq_ignore_ascii_case(name.as_bytes()));
        assert_eq!(field.value.iter().map(|&byte| char::from(byte)).collect::<String>(), *value);
    }
}

#[test]
fn whatever_is_accepted_of_sixty_thousand_mutants_is_sound() {
    let mut dice = Dice::new(0x5eed_0001);
    let mut accepted = 0;
    for round in 0..60_000 {
        let bytes = mutant(SEEDS[round % SEEDS.len()], &mut dice);
        let _ = parse(&bytes); // Must not panic, whether it is a whole head or not.
        let found = scan_however_cut(HeadScan::request(), &bytes, &mut dice);
        let whole = match found {
            Scan::Whole(end) => parse(&bytes[..end]).ok().map(|head| (format!("{head:?}"), end)),
            Scan::Partial | Scan::Malformed(_) => None,
        };
        let at_front = parse_front(&bytes, MAX_FIELDS);
        let at_front = at_front.ok().map(|head| (format!("{head:?}"), head.whole_len()));
        assert_eq!(at_front, whole, "{}", bytes.escape_ascii());
        match found {
            Scan::Partial => (),
            Scan::Whole(end) => {
                if let Ok(head) = parse(&bytes[..end]) {
                    accepted += 1;
                    check_naively(&bytes[..end], &head);
                }
            }
            Scan::Malformed(at) => {
                let finished = [&bytes[..=at], b"\r\n\r\n"].concat();
                for refused in [&bytes, &finished] {
                    let refusal = parse(refused).err().map(Refusal::status);
                    assert!(refusal.is_some(), "{}", bytes.escape_ascii());
                }
            }
        }
    }
    assert!(accepted > 6_000, "only {accepted} were accepted, the mutants are too wild");
}
