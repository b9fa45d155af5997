//! Responses of our own: where no backend gave one, or none was asked.

use super::cache_status::{self, CacheStatus};
use super::message::status_digits;
use crate::mem::{Append, append_decimal};

/// No reply is longer than this, in bytes, with an id of up to 128.
pub const MAX_LEN: usize = 640 + cache_status::MAX_LEN;

/// What of a response of our own differs from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// 400 or above; 200 where the request ends here by its own wish; 301 to 308 where it is to come again.
    pub status: u16,
    /// What went wrong, as `Proxy-Status` calls it: RFC 9209 §2.3. Empty: nothing did.
    pub error: &'static str,
    /// Whether the client may come again in a second.
    pub retry_after: bool,
    /// Whether the connection closes after it.
    pub close: bool,
    /// Whether it stays open for a client of HTTP/1.0, which must be told.
    pub keep_alive_10: bool,
    /// The request's `X-Request-ID`, at most 128 bytes; empty: none.
    pub id: &'a [u8],
    /// To HEAD: all but the body.
    pub head_only: bool,
    /// What the cache had to do with it, if it took part.
    pub cache: Option<CacheStatus>,
    /// Now.
    pub date: &'a [u8; 29],
}

/// Writes a whole response. `out` must have room for [`MAX_LEN`] bytes.
pub fn write(reply: &Reply, out: &mut impl Append) {
    write_html(reply, |out| out.append(HTML), out);
}

/// Writes the head of a response whose body, so many bytes of HTML, is another's to write. `out` must have
/// room for [`MAX_LEN`] bytes.
pub fn write_head(reply: &Reply, length: u64, out: &mut impl Append) {
    write_fields(reply, |out| out.append(HTML), length, out);
}

/// Writes the response to a request for `target` of `host` that is to come again by https. `out` must have
/// room for [`redirect_len_bound`] bytes.
pub fn write_redirect(reply: &Reply, host: &[u8], target: &[u8], out: &mut impl Append) {
    let put_location = |out: &mut _| put_location(host, target, out);
    write_html(reply, put_location, out);
}

/// No redirect to `target` of `host` is longer than this, in bytes.
pub fn redirect_len_bound(host: &[u8], target: &[u8]) -> usize {
    let escapes = target.iter().filter(|byte| !byte.is_ascii()).count() * b"%XX".len();
    MAX_LEN + b"\r\nLocation: https://".len() + host.len() + target.len() + escapes
}

/// The port goes, for that of https is another. Bytes that no URI has are escaped (RFC 3986 §2.1).
fn put_location<A: Append>(host: &[u8], target: &[u8], out: &mut A) {
    append_all(out, &[HTML, b"\r\nLocation: https://", without_port(host)]);
    if target == b"*" {
        return; // OPTIONS for the server as a whole: RFC 9112 §3.2.4.
    }
    for part in target.chunk_by(|one, other| one.is_ascii() && other.is_ascii()) {
        match part {
            [raw] if !raw.is_ascii() => {
                let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
                out.append(&[b'%', digit(raw >> 4), digit(raw & 15)]);
            }
            _ => out.append(part),
        }
    }
}

/// The host of an authority, which is valid.
fn without_port(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map(|end| end + 1),
        _ => memchr::memchr(b':', authority),
    };
    &authority[..end.unwrap_or(authority.len())]
}

const HTML: &[u8] = b"Content-Type: text/html; charset=UTF-8";

/// Writes a response that says its status as HTML.
fn write_html<A: Append>(reply: &Reply, put_fields: impl FnOnce(&mut A), out: &mut A) {
    let digits = status_digits(reply.status);
    let reason = reason_phrase(reply.status).as_bytes();
    let body: [&[u8]; 5] = [b"<html><body><h1>", &digits, b" ", reason, b"</h1></body></html>"];
    write_with(reply, put_fields, &body, out);
}

/// Writes the response to an OPTIONS that ends here (RFC 9110 §9.3.7): what may be asked for.
pub fn write_methods(reply: &Reply, out: &mut impl Append) {
    let allow = b"Allow: GET, HEAD, OPTIONS, TRACE, PUT, DELETE, POST, PATCH";
    write_with(reply, |out| out.append(allow), &[], out);
}

/// Writes the response to a TRACE that ends here (RFC 9110 §9.3.8): the request. `out` must have room
/// for [`MAX_LEN`] bytes and for that.
pub fn write_reflection(reply: &Reply, request: &[u8], out: &mut impl Append) {
    write_with(reply, |out| out.append(b"Content-Type: message/http"), &[request], out);
}

fn write_with<A: Append>(
    reply: &Reply,
    put_fields: impl FnOnce(&mut A),
    body: &[&[u8]],
    out: &mut A,
) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    write_fields(reply, put_fields, length as u64, out);
    if !reply.head_only {
        append_all(out, body);
    }
}

fn write_fields<A: Append>(
    reply: &Reply,
    put_fields: impl FnOnce(&mut A),
    length: u64,
    out: &mut A,
) {
    let reason = reason_phrase(reply.status).as_bytes();
    append_all(out, &[b"HTTP/1.1 ", &status_digits(reply.status), b" ", reason]);
    append_all(out, &[b"\r\nDate: ", reply.date, b"\r\n"]);
    put_fields(out);
    out.append(b"\r\nContent-Length: ");
    append_decimal(length, out);
    if !reply.id.is_empty() {
        append_all(out, &[b"\r\nX-Request-ID: ", reply.id]);
    }
    if !reply.error.is_empty() {
        append_all(out, &[b"\r\nProxy-Status: httplb; error=", reply.error.as_bytes()]);
    }
    if reply.retry_after {
        out.append(b"\r\nRetry-After: 1");
    }
    if reply.close {
        out.append(b"\r\nConnection: close");
    } else if reply.keep_alive_10 {
        out.append(b"\r\nConnection: keep-alive");
    }
    out.append(b"\r\n");
    if let Some(status) = reply.cache {
        cache_status::write(status, out);
    }
    out.append(b"\r\n");
}

fn append_all(out: &mut impl Append, parts: &[&[u8]]) {
    for part in parts {
        out.append(part);
    }
}

/// What a status that we give is called: RFC 9110 §15, RFC 6585.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    const PLAIN: Reply = Reply {
        status: 502,
        error: "connection_refused",
        retry_after: false,
        close: false,
        keep_alive_10: false,
        id: b"1-2",
        head_only: false,
        cache: None,
        date: DATE,
    };

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        write(reply, &mut out);
        assert!(out.len() <= MAX_LEN);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_says_what_section_4_wants() {
        assert_eq!(
            written(&PLAIN),
            "HTTP/1.1 502 Bad Gateway\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/html; charset=UTF-8\r\n\
             Content-Length: 50\r\n\
             X-Request-ID: 1-2\r\n\
             Proxy-Status: httplb; error=connection_refused\r\n\r\n\
             <html><body><h1>502 Bad Gateway</h1></body></html>"
        );
    }

    /// RFC 9211.
    #[test]
    fn what_the_cache_had_to_do_with_it_is_told() {
        for (status, line) in [
            (CacheStatus::OnlyIfCached, "detail=only-if-cached"),
            (CacheStatus::Hit { ttl: 1 }, "hit; ttl=1"),
        ] {
            let reply = written(&Reply { cache: Some(status), close: true, ..PLAIN });
            let lines = format!("\r\nConnection: close\r\nCache-Status: httplb; {line}\r\n\r\n<");
            assert!(reply.contains(&lines), "{reply}");
        }
    }

    #[test]
    fn the_connection_is_spoken_of_where_the_client_must_know() {
        let close = written(&Reply { close: true, keep_alive_10: true, ..PLAIN });
        assert!(close.contains("\r\nConnection: close\r\n"));
        assert!(!close.contains("keep-alive"));
        let keep = written(&Reply { keep_alive_10: true, ..PLAIN });
        assert!(keep.contains("\r\nConnection: keep-alive\r\n"));
        assert!(!written(&PLAIN).contains("Connection:"));
    }

    #[test]
    fn a_503_says_when_to_come_again() {
        let reply = written(&Reply { status: 503, retry_after: true, ..PLAIN });
        assert!(reply.contains("\r\nRetry-After: 1\r\n"));
        assert!(!written(&PLAIN).contains("Retry-After"));
    }

    #[test]
    fn to_head_all_but_the_body_is_said() {
        let whole = written(&PLAIN);
        let head = written(&Reply { head_only: true, ..PLAIN });
        assert!(head.ends_with("\r\n\r\n"));
        assert!(whole.starts_with(&head) && whole.len() > head.len());
    }

    #[test]
    fn what_ends_here_is_answered_by_the_methods_or_by_itself() {
        let plain = Reply { status: 200, error: "", close: true, ..PLAIN };
        let (mut methods, mut reflection) = (Vec::new(), Vec::new());
        write_methods(&plain, &mut methods);
        write_reflection(&plain, b"TRACE / HTTP/1.1\r\n\r\n", &mut reflection);
        assert!(methods.len() <= MAX_LEN);
        let start = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let end = "X-Request-ID: 1-2\r\nConnection: close\r\n\r\n";
        assert_eq!(
            String::from_utf8(methods).unwrap(),
            format!(
                "{start}Allow: GET, HEAD, OPTIONS, TRACE, PUT, DELETE, POST, PATCH\r\n\
                 Content-Length: 0\r\n{end}"
            )
        );
        assert_eq!(
            String::from_utf8(reflection).unwrap(),
            format!(
                "{start}Content-Type: message/http\r\nContent-Length: 20\r\n{end}\
                 TRACE / HTTP/1.1\r\n\r\n"
            )
        );
    }

    #[test]
    fn a_redirect_names_the_host_without_port_and_the_target_as_it_came() {
        for (host, target, location) in [
            ("shop.example", "/a?b=c", "https://shop.example/a?b=c"),
            ("shop.example:8080", "/", "https://shop.example/"),
            ("shop.example.:", "/", "https://shop.example./"),
            ("[2001:db8::1]:80", "/x", "https://[2001:db8::1]/x"),
            ("[2001:db8::1]", "/x", "https://[2001:db8::1]/x"),
            ("a", "*", "https://a"),
            ("a", "/%c3%a4?//", "https://a/%c3%a4?//"),
            ("a", "/\u{e4}x\u{e4}\u{f6}", "https://a/%C3%A4x%C3%A4%C3%B6"),
        ] {
            let reply = Reply { status: 308, error: "", id: &[b'x'; 128], ..PLAIN };
            let mut out = Vec::new();
            write_redirect(&reply, host.as_bytes(), target.as_bytes(), &mut out);
            assert!(out.len() <= redirect_len_bound(host.as_bytes(), target.as_bytes()));
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nLocation: {location}\r\n")), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        }
    }

    #[test]
    fn what_there_is_not_is_not_said() {
        let reply = written(&Reply { id: b"", error: "", ..PLAIN });
        assert!(!reply.contains("X-Request-ID") && !reply.contains("Proxy-Status"));
    }

    #[test]
    fn the_length_is_that_of_the_body_for_every_status() {
        for status in 100..=599 {
            let reply = written(&Reply {
                status,
                error: "http_response_header_section_size",
                retry_after: true,
                keep_alive_10: true,
                id: &[b'x'; 128],
                ..PLAIN
            });
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            let length =
                head.split_once("Content-Length: ").unwrap().1.split("\r\n").next().unwrap();
            assert_eq!(length.parse(), Ok(body.len()), "{status}");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")));
        }
    }
}
