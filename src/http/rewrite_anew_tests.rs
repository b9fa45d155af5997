//! Fields that are made anew where they were taken away, or were not there.

use super::tests::{
    ADDED, ANSWERING, FORWARD, answered_by, buffer, forwarded, forwarded_by, kept_of_request, text,
};
use super::*;
use crate::http::{request, response};

#[test]
fn a_client_takes_trailers_if_te_lists_them() {
    for (version, lines, takes) in [
        ("1.1", "TE: trailers", true),
        ("1.1", "te: gzip;q=0.5 , Trailers\r\nTE: deflate", true),
        ("1.1", "TE: deflate\r\nTE:,trailers,", true),
        ("1.1", "TE: trailers;q=1", false),
        ("1.1", "TE: x-trailers, gzip", false),
        ("1.1", "TE:", false),
        ("1.1", "Trailer: trailers", false),
        ("1.0", "TE: trailers", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n");
        assert_eq!(
            request::parse(bytes.as_bytes()).map(|head| head.te_trailers),
            Ok(takes),
            "{bytes}"
        );
    }
}

#[test]
fn hops_are_counted_for_trace_and_options_only() {
    let hops = |method: &str, lines: &str| {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        request::parse(bytes.as_bytes()).map(|head| (head.max_forwards, head.ends_here()))
    };
    for method in ["TRACE", "OPTIONS"] {
        for (value, count) in [("0", 0), ("00", 0), ("7", 7), ("010", 10)] {
            let line = format!("max-FORWARDS: {value}\r\n");
            assert_eq!(hops(method, &line), Ok((Some(count), count == 0)), "{value}");
        }
        let beyond = hops(method, "Max-Forwards: 99999999999999999999999\r\n");
        assert_eq!(beyond, Ok((Some(u64::MAX), false)));
        assert_eq!(hops(method, ""), Ok((None, false)));
        for doubtful in ["", "-1", "+1", "1, 1", "0x1", "1\r\nMax-Forwards: 1", "1 0"] {
            let line = format!("Max-Forwards: {doubtful}\r\n");
            assert_eq!(hops(method, &line), Ok((None, false)), "{doubtful}");
        }
    }
    for method in ["GET", "POST", "trace", "HEAD"] {
        assert_eq!(hops(method, "Max-Forwards: 0\r\n"), Ok((None, false)), "{method}");
        assert_eq!(hops(method, "Max-Forwards: x\r\n"), Ok((None, false)), "{method}");
    }
}

/// So that the backend's own can be put there.
#[test]
fn where_no_host_is_named_its_place_is_known_and_room_is_kept() {
    for host in ["", "Host:\r\n"] {
        let text = format!("GET / HTTP/1.0\r\n{host}X-A: b\r\n\r\n");
        let head = request::parse(text.as_bytes()).unwrap();
        let mut out = buffer(1024);
        let spans = super::request(&head, &FORWARD, &mut out).unwrap();
        let at = "GET / HTTP/1.1\r\nHost: ".len();
        assert_eq!(spans.host, Span::new(at, at));
        let len = out.len();
        for (size, fits) in [(len + HOST_ROOM, true), (len + HOST_ROOM - 1, false)] {
            let written = super::request(&head, &FORWARD, &mut buffer(size));
            assert_eq!(written.is_some(), fits, "{size}");
        }
    }
}

#[test]
fn te_is_made_anew_for_the_backend() {
    for (lines, added) in [
        ("TE: trailers\r\n", "Connection: TE\r\nTE: trailers\r\n"),
        ("Connection: te, close\r\nte: gzip, trailers\r\n", "Connection: TE\r\nTE: trailers\r\n"),
        (
            "TE: trailers\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
            "Connection: upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n",
        ),
        ("TE: gzip\r\nConnection: TE\r\n", ""),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let before = ADDED.strip_suffix("\r\n").unwrap();
        let wanted = format!("GET / HTTP/1.1\r\nHost: a\r\n{before}{added}\r\n");
        let by = Forward { upgrades: &[String::from("websocket")], ..FORWARD };
        assert_eq!(forwarded_by(&by, &head), wanted);
    }
}

#[test]
fn hops_are_counted_down() {
    for (method, hops, left) in [
        ("OPTIONS", "7", "7 - 1 = 6"),
        ("TRACE", "010", "10 - 1 = 9"),
        ("TRACE", "99999999999999999999999", "18446744073709551614"),
    ] {
        let lines = format!("X-A: 1\r\nMax-Forwards: {hops}\r\nX-B: 2\r\n");
        let left = left.rsplit(' ').next().unwrap();
        let wanted = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nMax-Forwards: {left}\r\n"
        );
        assert_eq!(forwarded(&format!("{method} / HTTP/1.1"), &lines), wanted);
    }
    let lines = "Max-Forwards: 0\r\nmax-forwards: x\r\n";
    assert_eq!(kept_of_request(lines), lines);
}

#[test]
fn a_reflection_is_the_request_as_it_came_without_what_only_the_server_may_see() {
    let start = "TRACE http://a.test/x?y HTTP/1.0\r\n";
    let secrets = "Authorization: Basic x\r\ncookie: a=b\r\nProxy-Authorization: Basic y\r\n";
    let lines = "Host: b\r\nX-Odd:  as it is \r\nMax-Forwards: 0\r\nConnection: close\r\n";
    for before in ["", "\r\n"] {
        let came = format!("{before}{start}{lines}{secrets}Via: 1.0 c\r\n\r\n");
        let head = request::parse(came.as_bytes()).unwrap();
        let mut out = buffer(1024);
        let spans = reflection(came.as_bytes(), &head, b"an-id", &mut out).unwrap();
        let reflected = &out.as_slice()[..spans.id.start as usize];
        assert_eq!(text(reflected), format!("{start}{lines}Via: 1.0 c\r\n\r\n"));
        assert_eq!(
            (&out[spans.method], &out[spans.target]),
            (&b"TRACE"[..], &b"http://a.test/x?y"[..])
        );
        assert_eq!((&out[spans.id], &out[spans.host]), (&b"an-id"[..], &b"a.test"[..]));
        for size in 0..out.len() {
            let mut small = buffer(size);
            assert_eq!(reflection(came.as_bytes(), &head, b"an-id", &mut small), None);
            assert!(small.is_empty());
        }
    }
}

/// RFC 9110 §15.5.22.
#[test]
fn a_426_says_which_protocol_it_wants() {
    let head =
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c, websocket\r\nConnection: upgrade\r\n\r\n";
    for (close, keep_alive_10, connection) in [
        (false, false, "upgrade"),
        (true, false, "close, upgrade"),
        (false, true, "keep-alive, upgrade"),
    ] {
        let answering = Answering { close, keep_alive_10, ..ANSWERING };
        assert_eq!(
            answered_by(&answering, head),
            format!(
                "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c, websocket\r\nTransfer-Encoding: chunked\r\n\
                 X-Request-ID: an-id\r\nConnection: {connection}\r\n\r\n"
            )
        );
    }
    let silent = answered_by(&ANSWERING, "HTTP/1.1 426 Upgrade Required\r\n\r\n");
    assert!(!silent.contains("pgrade:") && !silent.contains("Connection"), "{silent}");
}

/// RFC 9110 §6.6.1.
#[test]
fn a_date_is_added_where_the_backend_sent_none_that_goes_on() {
    for (lines, has_date) in [
        ("", false),
        ("Dates: x\r\n", false),
        ("date: now\r\n", true),
        ("Date: now\r\nConnection: Date\r\n", false),
        ("Connection: x\r\nDate:\r\n", true),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let head = response::parse(text.as_bytes()).unwrap();
        assert_eq!(head.has_date, has_date, "{lines}");
        let noted = response::Reading::new(&head);
        assert_eq!((noted.has_date(), noted.open(text.as_bytes()).has_date), (has_date, has_date));
    }
    let mut last = date::LastDate::default();
    let answering = Answering { date: Some(last.at(784_111_777)), ..ANSWERING };
    assert_eq!(
        answered_by(&answering, "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         X-Request-ID: an-id\r\n\r\n"
    );
}
