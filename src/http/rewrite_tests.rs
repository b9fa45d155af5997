use super::*;
use crate::http::{request, response};

pub(super) const FORWARD: Forward =
    Forward::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), b"an-id");

/// What is written behind a request's own fields, for the host `a`.
pub(super) const ADDED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
                     X-Request-ID: an-id\r\n\r\n";

pub(super) fn buffer(size: usize) -> Buffer {
    Buffer::new(vec![0; size].leak())
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) fn forwarded_by(forward: &Forward, head: &str) -> String {
    let mut out = buffer(16 * 1024);
    let head = request::parse(head.as_bytes()).expect(head);
    super::request(&head, forward, &mut out).unwrap();
    text(out.as_slice())
}

/// A request with these lines as it goes on, without what is added to every one.
pub(super) fn forwarded(start: &str, lines: &str) -> String {
    let written = forwarded_by(&FORWARD, &format!("{start}\r\nHost: a\r\n{lines}\r\n"));
    written.strip_suffix(ADDED).expect(&written).to_owned()
}

/// The lines of a GET request that go on.
pub(super) fn kept_of_request(lines: &str) -> String {
    let written = forwarded("GET / HTTP/1.1", lines);
    written.strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n").expect(&written).to_owned()
}

#[test]
fn a_plain_request_goes_on_line_by_line() {
    let head = "GET /path?query HTTP/1.1\r\nAccept: */*\r\nHost: a\r\nX-Odd:   as it is  \r\ncookie: a=b\r\n\r\n";
    let wanted = "GET /path?query HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Odd:   as it is  \r\ncookie: a=b\r\n";
    assert_eq!(forwarded_by(&FORWARD, head), format!("{wanted}{ADDED}"));
}

#[test]
fn lines_of_one_name_keep_their_order_and_stay_apart() {
    let lines = "X-A: 1\r\nX-B: 2\r\nX-A: 3\r\nx-a: 4\r\n";
    assert_eq!(kept_of_request(lines), lines);
}

#[test]
fn what_concerns_one_connection_only_does_not_go_on() {
    for line in [
        "Connection: keep-alive",
        "Connection: close",
        "Connection: x-close",
        "CONNECTION: Upgrade",
        "Connection:",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "te: gzip",
        "Upgrade: h2c",
        "Upgrade: websocket",
        "Proxy: evil.test",
        "proxy: evil.test",
        "Expect:",
        "Expect: , ,",
        "Trailer: X-Sum",
        "Forwarded: for=1.2.3.4",
        "X-Forwarded-For: 1.2.3.4",
        "X-FORWARDED-PROTO: https",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Port: 443",
        "X-Forwarded-: x",
        "X-Request-ID: another",
        "X_Request_ID: another",
        "X_Forwarded_For: 1.2.3.4",
        "X-Forwarded_Proto: https",
        "Content_Length: 5",
        "Content_length: 5",
        "Transfer_Encoding: chunked",
    ] {
        let lines = format!("X-A: b\r\n{line}\r\nX-C: d\r\n");
        assert_eq!(kept_of_request(&lines), "X-A: b\r\nX-C: d\r\n", "{line}");
    }
}

#[test]
fn what_only_looks_like_it_goes_on() {
    for line in [
        "Connections: 5",
        "X-Forwarded: x",
        "Keep_Alive: 5",
        "X_Custom: 1",
        "Hosts: b",
        "Forwarder: x",
        "Expect: 100-continue",
        "Via: 1.0 c",
        "Proxy-Authorization: Basic eA==",
        "Authorization: Basic eA==",
        "Content-Lengthy: 7",
        "TEA: x",
        "Upgrade-Insecure-Requests: 1",
        "Sec-WebSocket-Key: x",
        "User-Agent: curl",
    ] {
        let lines = format!("X-A: b\r\n{line}\r\nX-C: d\r\n");
        assert_eq!(kept_of_request(&lines), lines, "{line}");
    }
}

#[test]
fn what_connection_nominates_does_not_go_on() {
    let lines = "X-A: 1\r\nConnection: x-a,, X-B ,\r\nX-B: 2\r\nX-C: 3\r\nx-a: 4\r\nconnection: Cookie\r\nCookie: a\r\n";
    assert_eq!(kept_of_request(lines), "X-C: 3\r\n");
    assert_eq!(kept_of_request("Connection: Trailer\r\nX-T: 3\r\n"), "X-T: 3\r\n");
}

#[test]
fn a_nomination_takes_away_nothing_of_ours() {
    let nominations = "Connection: close, Host, Content-Length, Transfer-Encoding, X-Forwarded-For, \
                       X-Forwarded-Proto, X-Forwarded-Host, X-Request-ID, Expect\r\n";
    for (framing, wanted) in [
        ("Content-Length: 5\r\n", "Content-Length: 5\r\n"),
        ("Transfer-Encoding: Chunked\r\n", "Transfer-Encoding: chunked\r\n"),
    ] {
        let lines = format!("{nominations}{framing}Expect: 100-continue\r\n");
        let written = forwarded("POST / HTTP/1.1", &lines);
        assert_eq!(
            written,
            format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{wanted}")
        );
    }
}

#[test]
fn a_request_is_framed_in_exactly_one_way() {
    for (lines, wanted) in [
        ("", ""),
        ("Content-Length: 0\r\n", "Content-Length: 0\r\n"),
        ("Content-Length:   007 \r\n", "Content-Length: 7\r\n"),
        ("Content-Length: 9223372036854775807\r\n", "Content-Length: 9223372036854775807\r\n"),
        ("Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"),
        ("transfer-encoding:\tCHUNKED \r\n", "Transfer-Encoding: chunked\r\n"),
        (
            "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
            "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("Trailer: X-Sum\r\nContent-Length: 4\r\n", "Content-Length: 4\r\n"),
    ] {
        assert_eq!(kept_of_request(lines), wanted, "{lines:?}");
    }
}

#[test]
fn a_request_of_http_1_0_goes_on_as_1_1() {
    let head = "GET / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(
        forwarded_by(&FORWARD, head),
        "GET / HTTP/1.1\r\nHost: \r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
         X-Request-ID: an-id\r\n\r\n"
    );
}

#[test]
fn a_websocket_may_switch() {
    let lines = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n";
    let by = Forward { upgrades: &[String::from("websocket")], ..FORWARD };
    let written = forwarded_by(&by, &format!("GET /chat HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    let added = ADDED.strip_suffix("\r\n").unwrap();
    assert_eq!(
        written,
        format!(
            "GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: x\r\n{added}\
             Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
    );
}

#[test]
fn the_client_is_named_by_its_address() {
    for (address, wanted) in [
        ("192.0.2.7", "192.0.2.7"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.100.99.10", "255.100.99.10"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
    ] {
        let forward = Forward { client: address.parse().ok(), ..FORWARD };
        let written = forwarded_by(&forward, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(written.contains(&format!("\r\nX-Forwarded-For: {wanted}\r\n")), "{written}");
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let forward = Forward { trusted: true, ..FORWARD };
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Port: 443\r\nx-forwarded-for: 3.3.3.3\r\nX-Forwarded-For:\r\nForwarded: x\r\n\
                X_Forwarded_For: 4.4.4.4\r\nConnection: X-Forwarded-Proto\r\n\r\n";
    assert_eq!(
        forwarded_by(&forward, head),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\nX-Forwarded-Host: a\r\n\
         X-Request-ID: an-id\r\n\r\n"
    );
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: shop\r\n\r\n";
    assert_eq!(
        forwarded_by(&forward, head),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: shop\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Request-ID: an-id\r\n\r\n"
    );
}

#[test]
fn the_spans_name_the_parts() {
    for (line, agent) in [
        ("User-Agent: curl/8 (x)\r\n", "curl/8 (x)"),
        ("user-agent:curl\r\n", "curl"),
        ("USER-AGENT: \t curl  \r\n", "curl"),
        ("User-Agent: one\r\nUser-Agent: two\r\n", "one"),
        ("User-Agent:\r\n", ""),
        ("Connection: user-agent\r\nUser-Agent: x\r\n", ""),
        ("", ""),
    ] {
        let head =
            format!("DELETE /x?y HTTP/1.1\r\nX-A: b\r\nHost: a.test:80\r\n{line}X-C: d\r\n\r\n");
        let head = request::parse(head.as_bytes()).unwrap();
        let mut out = buffer(1024);
        let spans = super::request(&head, &FORWARD, &mut out).unwrap();
        assert_eq!(&out[spans.method], b"DELETE");
        assert_eq!(&out[spans.target], b"/x?y");
        assert_eq!(&out[spans.host], b"a.test:80");
        assert_eq!(&out[spans.id], b"an-id");
        assert_eq!(text(&out[spans.user_agent]), agent, "{line}");
    }
}

#[test]
fn a_head_that_does_not_fit_is_refused_whatever_is_the_first_to_lack_room() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nContent-Length: 12345\r\n\r\n";
    let head = request::parse(head.as_bytes()).unwrap();
    let forward = Forward { client: "2001:db8::7".parse().ok(), ..FORWARD };
    let mut out = buffer(1024);
    super::request(&head, &forward, &mut out).unwrap();
    for size in 0..out.len() {
        let mut small = buffer(size);
        assert_eq!(super::request(&head, &forward, &mut small), None);
        assert!(small.is_empty());
    }
    let mut exact = buffer(out.len());
    assert!(super::request(&head, &forward, &mut exact).is_some());
    assert_eq!(exact.as_slice(), out.as_slice());
}

pub(super) const ANSWERING: Answering = Answering::new(b"an-id", ResponseFraming::Chunked);

pub(super) fn answered_by(answering: &Answering, head: &str) -> String {
    let parsed = response::parse(head.as_bytes()).expect(head);
    let mut out = Vec::new();
    super::response(&parsed, answering, &mut out);
    assert!(out.len() <= response_len_bound(head.len()), "{head}");
    text(&out)
}

#[test]
fn a_plain_response_goes_on_line_by_line() {
    let head = "HTTP/1.1 200 All is well\r\nServer: x\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nX-A:1\r\nSet-Cookie: c=d\r\n\r\n";
    assert_eq!(
        answered_by(&ANSWERING, head),
        "HTTP/1.1 200 All is well\r\nServer: x\r\nSet-Cookie: a=b\r\nX-A:1\r\nSet-Cookie: c=d\r\n\
         Transfer-Encoding: chunked\r\nX-Request-ID: an-id\r\n\r\n"
    );
}

/// The lines of a response with these lines that go on, as a GET's with a body of 5 bytes.
fn kept_of_response(lines: &str) -> String {
    let written = answered_by(&ANSWERING, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
    let lines = written.strip_prefix("HTTP/1.1 200 OK\r\n").expect(&written);
    lines
        .strip_suffix("Transfer-Encoding: chunked\r\nX-Request-ID: an-id\r\n\r\n")
        .expect(&written)
        .to_owned()
}

#[test]
fn what_concerns_the_backends_connection_only_does_not_go_on() {
    for line in [
        "Connection: keep-alive",
        "Connection: close",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: h2,h2c",
        "Proxy: evil.test",
        "Content_Length: 7",
        "Transfer_Encoding: chunked",
        "Connection: X-Gone, Trailer\r\nX-Gone: x",
        "X-Gone: x\r\nConnection: close, x-gone",
    ] {
        let lines = format!("X-A: b\r\n{line}\r\nX-C: d\r\n");
        assert_eq!(kept_of_response(&lines), "X-A: b\r\nX-C: d\r\n", "{line}");
    }
}

#[test]
fn all_else_of_a_response_goes_on() {
    for line in [
        "Proxy-Authenticate: Basic",
        "WWW-Authenticate: Basic",
        "X-Forwarded-For: x",
        "Via: 1.1 x",
        "Date: now",
        "Alt-Svc: h2=\":443\"",
        "X_A: b",
    ] {
        let lines = format!("X-A: b\r\n{line}\r\nX-C: d\r\n");
        assert_eq!(kept_of_response(&lines), lines, "{line}");
    }
}

#[test]
fn a_response_is_framed_as_its_body_goes_on() {
    use ResponseFraming::*;
    let lengthy = "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n";
    for (head, framing, wanted) in [
        (lengthy, AsIs, "Content-Length: 005\r\nX-Request-ID: an-id\r\n"),
        (chunked, AsIs, "Trailer: x\r\nX-Request-ID: an-id\r\n"),
        (chunked, Chunked, "Trailer: x\r\nTransfer-Encoding: chunked\r\nX-Request-ID: an-id\r\n"),
        (chunked, Close, "X-Request-ID: an-id\r\nConnection: close\r\n"),
        (lengthy, Close, "X-Request-ID: an-id\r\nConnection: close\r\n"),
    ] {
        let written = answered_by(&Answering { framing, ..ANSWERING }, head);
        assert_eq!(written, format!("HTTP/1.1 200 OK\r\n{wanted}\r\n"), "{head:?} {framing:?}");
    }
}

#[test]
fn a_status_without_a_body_is_given_no_framing() {
    use ResponseFraming::*;
    for framing in [AsIs, Chunked] {
        let answering = Answering { framing, ..ANSWERING };
        let written =
            answered_by(&answering, "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(written, "HTTP/1.1 204 No Content\r\nX-Request-ID: an-id\r\n\r\n");
    }
    let as_is = Answering { framing: AsIs, ..ANSWERING };
    let written = answered_by(&as_is, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n");
    assert!(written.contains("Content-Length: 3\r\n"));
}

#[test]
fn a_nomination_takes_nothing_of_ours_from_a_response() {
    let head = "HTTP/1.1 200 OK\r\nConnection: Content-Length, Transfer-Encoding, X-Request-ID\r\n\
                X-Request-ID: theirs\r\nContent-Length: 5\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nContent-Length: 5\r\n\r\n";
    let as_is = Answering { framing: ResponseFraming::AsIs, ..ANSWERING };
    assert_eq!(answered_by(&as_is, head), wanted);
}

#[test]
fn the_id_is_added_where_the_backend_gave_none() {
    let none = Answering { id: b"", ..ANSWERING };
    let given = "HTTP/1.1 200 OK\r\nx-request-id:  theirs\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nx-request-id:  theirs\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(answered_by(&ANSWERING, given), wanted);
    let absent = answered_by(&none, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(absent, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

#[test]
fn the_status_line_is_of_http_1_1_with_the_backends_words() {
    for (line, wanted) in [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.0 404 Nicht gefunden", "HTTP/1.1 404 Nicht gefunden"),
        ("HTTP/1.1 599 ", "HTTP/1.1 599 "),
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.0 200", "HTTP/1.1 200 "),
    ] {
        let written = answered_by(&ANSWERING, &format!("{line}\r\n\r\n"));
        assert_eq!(written.split("\r\n").next(), Some(wanted), "{line}");
    }
}

#[test]
fn the_client_is_told_of_its_connection_where_it_must_know() {
    let head = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n";
    let close = answered_by(&Answering { close: true, keep_alive_10: true, ..ANSWERING }, head);
    assert!(close.ends_with("X-Request-ID: an-id\r\nConnection: close\r\n\r\n"));
    let keep = answered_by(&Answering { keep_alive_10: true, ..ANSWERING }, head);
    assert!(keep.ends_with("X-Request-ID: an-id\r\nConnection: keep-alive\r\n\r\n"));
    assert!(!answered_by(&ANSWERING, head).contains("Connection"));
}

#[test]
fn a_101_stays_one() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Content-Length: 0\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let answering = Answering { close: true, framing: ResponseFraming::AsIs, ..ANSWERING };
    assert_eq!(
        answered_by(&answering, head),
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nX-Request-ID: an-id\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn an_interim_response_goes_on_with_nothing_added() {
    let head = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: keep-alive, X-B\r\nX-B: c\r\nContent-Length: 0\r\n\r\n";
    let parsed = response::parse(head.as_bytes()).unwrap();
    let mut out = Vec::new();
    interim(&parsed, None, &mut out);
    assert_eq!(text(&out), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
}

#[test]
fn via_is_added_behind_those_before_with_the_version_of_the_message() {
    let by = Forward { via: Some("lb-1"), ..FORWARD };
    for (version, wanted) in [("1.1", "Via: 1.1 lb-1\r\n"), ("1.0", "Via: 1.0 lb-1\r\n")] {
        let written = forwarded_by(
            &by,
            &format!("GET / HTTP/{version}\r\nHost: a\r\nVia: 1.0 c, 1.1 d\r\n\r\n"),
        );
        let vias: Vec<&str> =
            written.matches("Via: 1.0 c, 1.1 d\r\n").chain(written.matches(wanted)).collect();
        assert_eq!(vias.len(), 2, "{written}");
        assert!(written.find("1.1 d") < written.find("lb-1"), "{written}");
        let by = Answering { via: Some("lb-1"), ..ANSWERING };
        let head = format!("HTTP/{version} 200 OK\r\nVia: 1.1 e\r\n\r\n");
        let expected = format!(
            "HTTP/1.1 200 OK\r\nVia: 1.1 e\r\nTransfer-Encoding: chunked\r\nX-Request-ID: an-id\r\n{wanted}\r\n"
        );
        assert_eq!(answered_by(&by, &head), expected);
    }
    let mut out = Vec::new();
    interim(&response::parse(b"HTTP/1.1 100 Go on\r\n\r\n").unwrap(), Some("x"), &mut out);
    assert_eq!(text(&out), "HTTP/1.1 100 Go on\r\nVia: 1.1 x\r\n\r\n");
}

#[test]
fn our_own_cookie_goes_no_further_and_all_others_do_as_they_are() {
    let own = Forward { own_cookie: Some("s"), ..FORWARD };
    let kept = |forward: &Forward, lines: &str| {
        let written = forwarded_by(forward, &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let rest = written.strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n").expect(&written);
        rest.strip_suffix(ADDED).expect(rest).to_owned()
    };
    for (lines, expected) in [
        ("X-A: 1\r\nCookie: s=1\r\nX-B: 2\r\n", "X-A: 1\r\nX-B: 2\r\n"),
        ("cOOkie:  a=b;s=1 ;  c=d  \r\nX-B: 2\r\n", "cOOkie: a=b;  c=d\r\nX-B: 2\r\n"),
        (
            "Cookie:a=b; c=d\r\nCookie: s=1\r\nCookie: s=2; e\r\n",
            "Cookie:a=b; c=d\r\nCookie: e\r\n",
        ),
        ("Set-Cookie: s=1\r\nX-Cookie: s=1\r\n", "Set-Cookie: s=1\r\nX-Cookie: s=1\r\n"),
        ("Cookie:\r\n", "Cookie:\r\n"),
    ] {
        assert_eq!(kept(&own, lines), expected);
        assert_eq!(kept(&FORWARD, lines), lines);
        assert_eq!(kept(&Forward { own_cookie: Some("t"), ..FORWARD }, lines), lines);
    }
    let nominated = "Connection: cookie\r\nCookie: s=1; a=b\r\n";
    assert_eq!(kept(&own, nominated), "");
    let agent = "Cookie: s=1\r\nUser-Agent: me\r\nCookie: s=2; a=b\r\n";
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{agent}\r\n");
    let mut out = buffer(4096);
    let head = request::parse(text.as_bytes()).unwrap();
    let spans = super::request(&head, &own, &mut out).unwrap();
    assert_eq!(&out[spans.user_agent], b"me");
}

#[test]
fn a_cookie_is_set_beside_those_of_the_backend() {
    let cookie = Some(SetCookie { name: "s", value: b"0f", max_age_secs: None, secure: false });
    let written = answered_by(
        &Answering { cookie, ..ANSWERING },
        "HTTP/1.1 200 OK\r\nSet-Cookie: s=theirs\r\n\r\n",
    );
    assert_eq!(
        written,
        "HTTP/1.1 200 OK\r\nSet-Cookie: s=theirs\r\nTransfer-Encoding: chunked\r\nX-Request-ID: an-id\r\n\
         Set-Cookie: s=0f; Path=/; HttpOnly; SameSite=Lax\r\n\r\n"
    );
}

#[test]
fn who_came_by_https_is_said_by_a_trusted_proxy_or_known_of_the_connection() {
    for (trusted, tls, lines, expected) in [
        (false, false, "", false),
        (false, true, "", true),
        (false, false, "X-Forwarded-Proto: https\r\n", false),
        (false, true, "X-Forwarded-Proto: http\r\n", true),
        (true, false, "X-Forwarded-Proto: HTTPS\r\n", true),
        (true, true, "X-Forwarded-Proto: http\r\n", false),
        (true, true, "", true),
        (true, true, "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", false),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let head = request::parse(text.as_bytes()).unwrap();
        let forward = Forward { trusted, tls, ..FORWARD };
        assert_eq!(forward.is_https(&head), expected, "{trusted} {tls} {lines}");
    }
}

#[test]
fn a_client_that_speaks_tls_is_said_to_unless_a_trusted_proxy_says_otherwise() {
    let proto = |forward: &Forward, line: &str| {
        let written = forwarded_by(forward, &format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n"));
        let lines = written.split("\r\n").filter(|line| line.starts_with("X-Forwarded-Proto"));
        lines.collect::<Vec<_>>().join("|")
    };
    let given = "X-Forwarded-Proto: http\r\n";
    let tls = Forward { tls: true, ..FORWARD };
    assert_eq!(proto(&tls, ""), "X-Forwarded-Proto: https");
    assert_eq!(proto(&tls, given), "X-Forwarded-Proto: https");
    assert_eq!(proto(&Forward { trusted: true, ..tls }, given), "X-Forwarded-Proto: http");
    assert_eq!(proto(&Forward { trusted: true, ..tls }, ""), "X-Forwarded-Proto: https");
}

const LONGEST_NAME: &str = "0123456789012345678901234567890123456789012345678901234567890123";

#[test]
fn the_room_asked_for_is_enough_for_the_longest() {
    use crate::http::cache_status::{CacheStatus, FwdReason};
    use ResponseFraming::*;
    for framing in [AsIs, Chunked, Close] {
        for (close, keep_alive_10) in [(true, false), (false, true)] {
            for head in ["HTTP/1.1 426\r\nUpgrade:\r\n\r\n", "HTTP/1.1 101\r\n\r\n"] {
                let id = &[b'x'; 128];
                let via = Some(LONGEST_NAME);
                let (name, value, max_age_secs) = (LONGEST_NAME, &[b'f'; 16], Some(31_536_000));
                let cookie = Some(SetCookie { name, value, max_age_secs, secure: true });
                let (why, status) = (FwdReason::UriMiss, Some(304));
                let (stored, collapsed) = (true, true);
                let cache = Some(CacheStatus::Forwarded { why, status, stored, collapsed });
                let rest = Answering { close, keep_alive_10, ..Answering::new(id, framing) };
                let date = Some(b"Fri, 31 Dec 9999 23:59:59 GMT");
                answered_by(&Answering { date, via, cookie, cache, ..rest }, head);
            }
        }
    }
}

/// docs/CACHE.md, rule 19.
#[test]
fn a_host_that_answers_are_stored_by_goes_on_in_its_normal_form() {
    let long = format!("{}.test", "A".repeat(200));
    for (host, https, wanted) in [
        ("A.Test", false, "a.test"),
        ("a.test:80", false, "a.test"),
        ("a.test:", false, "a.test"),
        ("a.test:443", false, "a.test:443"),
        ("A.test:443", true, "a.test"),
        ("a.test:80", true, "a.test:80"),
        ("[FE80::1]:80", false, "[fe80::1]"),
        ("[::80]", false, "[::80]"),
        (&long, false, &long.to_lowercase()),
    ] {
        let forward = Forward { normal_host: true, tls: https, ..FORWARD };
        for head in [
            format!("GET /A HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("GET http://{host}/A HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            let written = forwarded_by(&forward, &head);
            for line in
                [format!("\r\nHost: {wanted}\r\n"), format!("X-Forwarded-Host: {wanted}\r\n")]
            {
                assert!(written.contains(&line), "{host}: {written}");
            }
            assert!(written.starts_with("GET /A HTTP/1.1\r\n"));
        }
        let as_it_came = forwarded_by(&FORWARD, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(as_it_came.contains(&format!("\r\nHost: {host}\r\n")));
    }
}
