//! Listeners that demand a PROXY header: who the client is then, and what is refused. With hitch
//! before the program, by TLS.

use crate::common::{
    Backend, Client, Program, Value, json,
    peers::{Hitch, output, tool},
    servers,
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn program(backend: &Backend, mut more: Value) -> Program {
    more["backend_servers"] = servers(&[backend]);
    more["listen"] = json!([{"addr": "127.0.0.1:0", "proxy_protocol": true}]);
    Program::logging(more)
}

/// Version 2, as `PROXY` for a client over TCP.
fn v2(client: SocketAddr, fields: &[u8]) -> Vec<u8> {
    let (family, addresses) = match client {
        SocketAddr::V4(client) => {
            (0x11, [client.ip().octets(), Ipv4Addr::LOCALHOST.octets()].concat())
        }
        SocketAddr::V6(client) => {
            (0x21, [client.ip().octets(), Ipv6Addr::LOCALHOST.octets()].concat())
        }
    };
    let block = [&addresses[..], &client.port().to_be_bytes(), &[1, 187], fields].concat();
    let length = (block.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &length, &block].concat()
}

/// The type-length-value that says that the client speaks TLS.
const TLS: &[u8] = &[0x20, 0, 5, 1, 0, 0, 0, 0];

fn ask(program: &Program, header: impl AsRef<[u8]>, lines: &str) -> Client {
    let mut client = program.client();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    client.send([header.as_ref(), request.as_bytes()].concat());
    assert_eq!(client.response().status, 200);
    client
}

#[test]
fn the_address_of_the_header_is_the_clients() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({}));
    let peer = "127.0.0.1";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x0c\x01\x02\x03\x04\x01\x02\x03\x04\0\0\0\0";
    let skipped = [&[4, 0, 200], &[0; 200][..]].concat();
    let cases = [
        (HEADER.to_vec(), "203.0.113.9", "203.0.113.9:51234"),
        (b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".to_vec(), "2001:db8::9", "[2001:db8::9]:1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), peer, ""),
        (v2("203.0.113.7:5".parse().unwrap(), b""), "203.0.113.7", "203.0.113.7:5"),
        (v2("203.0.113.7:5".parse().unwrap(), &skipped), "203.0.113.7", "203.0.113.7:5"),
        (v2("[2001:db8::7]:5".parse().unwrap(), b""), "2001:db8::7", "[2001:db8::7]:5"),
        (v2("[::ffff:203.0.113.7]:5".parse().unwrap(), b""), "203.0.113.7", "203.0.113.7:5"),
        (local.to_vec(), peer, ""),
    ];
    let mut logged = Vec::new();
    for (header, forwarded, client_logged) in &cases {
        let client = ask(&program, header, "X-Forwarded-For: 1.2.3.4\r\n");
        let request = backend.last_request();
        assert_eq!(request.field("X-Forwarded-For"), Some(*forwarded));
        assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
        let own = client.address().to_string();
        logged.push(if client_logged.is_empty() { own } else { client_logged.to_string() });
    }
    let lines = program.log_lines(cases.len());
    let found: Vec<&str> = lines.iter().map(|line| line["client"].as_str().unwrap()).collect();
    assert_eq!(found, logged);
}

#[test]
fn the_header_stands_once_before_all_requests_however_it_is_cut() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({}));
    let header = v2("203.0.113.7:5".parse().unwrap(), TLS);
    let all = [&header, REQUEST].concat();
    for cut in [1, 12, 15, 16, 30, header.len() - 1, header.len(), header.len() + 1] {
        let mut client = program.client();
        client.wire.send_pieces([&all[..cut], &all[cut..]]);
        assert_eq!(client.response().status, 200, "{cut}");
        client.send(REQUEST);
        assert_eq!(client.response().status, 200, "{cut}");
        for request in backend.requests() {
            assert_eq!(request.field("X-Forwarded-For"), Some("203.0.113.7"), "{cut}");
        }
    }
}

#[test]
fn https_is_what_the_header_says_and_what_a_trusted_proxy_before_it_says() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({"trusted_proxies": ["203.0.113.0/24"]}));
    let trusted: SocketAddr = "203.0.113.7:5".parse().unwrap();
    let other: SocketAddr = "192.0.2.7:5".parse().unwrap();
    for (client, fields, line, proto) in [
        (other, &b""[..], "", "http"),
        (other, TLS, "", "https"),
        (other, &[0x20, 0, 5, 0, 0, 0, 0, 0], "", "http"),
        (other, b"", "X-Forwarded-Proto: https\r\n", "http"),
        (other, TLS, "X-Forwarded-Proto: http\r\n", "https"),
        (trusted, b"", "X-Forwarded-Proto: https\r\n", "https"),
        (trusted, TLS, "X-Forwarded-Proto: http\r\n", "http"),
        (trusted, TLS, "", "https"),
    ] {
        ask(&program, v2(client, fields), line);
        let request = backend.last_request();
        assert_eq!(request.field("X-Forwarded-Proto"), Some(proto), "{client} {fields:?} {line}");
    }
    // Who is trusted is the client of the header, not the one who sent it.
    ask(&program, v2(trusted, b""), "X-Forwarded-For: 1.2.3.4\r\n");
    assert_eq!(backend.last_request().field("X-Forwarded-For"), Some("1.2.3.4, 203.0.113.7"));
}

#[test]
fn who_begins_without_a_valid_header_is_cut_off_and_told_of() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({}));
    let too_long = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &[0; 100][..]].concat();
    for start in [
        REQUEST,
        b"PROXY TCP4 203.0.113.9 10.0.0.1 51234\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.999 10.0.0.1 51234 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00",
        &too_long,
    ] {
        let mut client = program.client();
        client.send(start);
        client.expect_end();
    }
    let mut client = program.client();
    client.send("PROXY TCP4 203");
    client.finish_sending();
    client.expect_end();
    assert_eq!(backend.connection_count(), 0);
    program.wait_for_message("did not begin with a valid PROXY header and was closed");
    let messages = program.stderr().matches("PROXY header").count();
    assert_eq!(messages, 1, "one message for all that come within seconds");
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({"timeouts": {"header": "300ms"}}));
    for start in ["", "PROXY TCP4 203.0.113.9 "] {
        let mut client = program.client();
        client.send(start);
        client.expect_end();
    }
    program.wait_for_message("did not begin with a valid PROXY header");
    assert!(program.stderr().contains("(1 since"), "a silent one is none of them");
}

#[test]
fn behind_an_https_listener_clients_speak_https() {
    let backend = Backend::named("one");
    let told = |listen: Value, header: &[u8]| {
        let program = Program::with(json!({
            "backend_servers": servers(&[&backend]),
            "listen": [listen],
            "sticky": true,
            "forward": ["x-forwarded", "forwarded", "x-real-ip", "x-forwarded-port"],
        }));
        let mut client = program.client();
        client.send([header, REQUEST].concat());
        let cookie = client.response().field("Set-Cookie").expect("a sticky one").to_owned();
        let seen = backend.last_request();
        let own_port = program.address.port().to_string();
        let port = seen.field("X-Forwarded-Port").expect("a port");
        let port = if port == own_port { String::from("own") } else { port.to_owned() };
        let fields = ["X-Forwarded-Proto", "X-Real-IP", "Forwarded"];
        let fields = fields.map(|name| seen.field(name).unwrap_or_default().to_owned());
        (fields.join(" "), port, cookie.contains("; Secure"))
    };
    let plain = json!({"addr": "127.0.0.1:0"});
    let expected = "http 127.0.0.1 for=127.0.0.1;host=\"a\";proto=http";
    assert_eq!(told(plain, b""), (expected.to_owned(), String::from("own"), false));
    let https = json!({"addr": "127.0.0.1:0", "https": true});
    let expected = "https 127.0.0.1 for=127.0.0.1;host=\"a\";proto=https";
    assert_eq!(told(https, b""), (expected.to_owned(), String::from("443"), true));
    let https = json!({"addr": "127.0.0.1:0", "https": true, "proxy_protocol": true});
    let header = b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8443\r\n";
    let expected = "https 203.0.113.9 for=203.0.113.9;host=\"a\";proto=https";
    assert_eq!(told(https, header), (expected.to_owned(), String::from("8443"), true));
    // One that names nobody leaves what is known of the listener.
    let listen = json!({"addr": "127.0.0.1:0", "proxy_protocol": true});
    let expected = "http 127.0.0.1 for=127.0.0.1;host=\"a\";proto=http";
    let unknown = told(listen, b"PROXY UNKNOWN\r\n");
    assert_eq!(unknown, (expected.to_owned(), String::from("own"), false));
}

#[test]
fn trusted_networks_may_be_written_as_mapped_ones() {
    let backend = Backend::named("one");
    for (network, expected) in
        [("::ffff:127.0.0.0/104", "203.0.113.9, 127.0.0.1"), ("::ffff:10.0.0.0/104", "127.0.0.1")]
    {
        let program = Program::with(json!({
            "backend_servers": servers(&[&backend]),
            "trusted_proxies": [network],
        }));
        ask(&program, "", "X-Forwarded-For: 203.0.113.9\r\n");
        assert_eq!(backend.last_request().field("X-Forwarded-For"), Some(expected), "{network}");
    }
}

#[test]
fn other_listeners_take_no_header() {
    let backend = Backend::named("one");
    let program = Program::with(json!({
        "backend_servers": servers(&[&backend]),
        "listen": ["127.0.0.1:0", {"addr": "127.0.0.1:0", "proxy_protocol": true}],
    }));
    assert_eq!(program.get("/").text(), "one");
    let mut client = program.client();
    client.send([HEADER, REQUEST].concat());
    assert_eq!(client.response().status, 400);
    client.expect_end();
    let errors = program.stderr();
    let (_, listening) = errors.split_once("listening on ").expect("where it listens");
    let second = listening.split(", ").nth(1).expect("two addresses").to_owned();
    let mut client = Client::connect(second.parse().expect(&second));
    client.send([HEADER, REQUEST].concat());
    assert_eq!(client.response().status, 200);
    let seen = backend.last_request();
    assert_eq!(seen.field("X-Forwarded-For"), Some("203.0.113.9"));
}

#[test]
fn behind_hitch_clients_of_tls_are_known_by_their_address() {
    let backend = Backend::named("one");
    let program = program(&backend, json!({}));
    for (option, proto) in [("--write-proxy-v1", "http"), ("--write-proxy-v2", "https")] {
        let hitch = Hitch::start(program.address, option);
        let before = backend.request_count();
        let url = format!("https://{}/path", hitch.address);
        let curl = || {
            let mut command = Command::new(tool("curl", "curl"));
            command.args(["--silent", "--show-error", "--fail", "-k", "--http1.1"]);
            command
        };
        // From an address of its own, so that it cannot be mixed up with hitch's.
        let source = ["--interface", "127.0.0.77", "-H", "X-Forwarded-Proto: gopher"];
        assert_eq!(output(curl().args(source).arg(&url).arg(&url)), "oneone");
        assert_eq!(output(curl().args(source).args(["--data", "0123456789"]).arg(&url)), "one");
        let requests = backend.requests();
        assert_eq!(requests.len(), before + 3);
        for request in &requests[before..] {
            assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.77"), "{option}");
            assert_eq!(request.field("X-Forwarded-Proto"), Some(proto), "{option}");
            assert_eq!(request.field("X-Forwarded-Host"), Some(&*hitch.address.to_string()));
        }
    }
    for line in program.log_lines(6) {
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0.77:"), "{line}");
    }
    assert!(!program.stderr().contains("PROXY header"), "{}", program.stderr());
}
