//! `Upgrade` (RFC 9110 §7.8): what a client offers to switch to, and what of it goes on.

use super::fields::list_members;
use super::message::Framing;
use super::method::Method;
use super::request::RequestHead;

/// The protocol that is meant by `websocket`, in whatever case.
pub const WEBSOCKET: &str = "websocket";
/// Of those that are allowed so many go on.
const MOST_OFFERED: usize = 16;

/// The protocols that a request offers and `allowed` names, in the client's order. None where the
/// connection may not be switched.
pub fn offered<'a>(
    head: &RequestHead<'a>,
    allowed: &'a [String],
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let may_be_websocket = may_be_websocket(head);
    // Most requests offer nothing, and their fields are not walked through once more.
    let values = head.upgrade.then(|| head.fields.values("upgrade")).into_iter().flatten();
    let allowed_ones = values.flat_map(list_members).filter_map(move |protocol| {
        let is_allowed = allowed.iter().any(|allowed| is_named(protocol, allowed));
        let is_websocket = protocol.eq_ignore_ascii_case(WEBSOCKET.as_bytes());
        (is_allowed && (!is_websocket || may_be_websocket)).then_some(normal(protocol))
    });
    allowed_ones.take(MOST_OFFERED)
}

/// Whether there is any such protocol.
pub fn is_offered(head: &RequestHead, allowed: &[String]) -> bool {
    offered(head, allowed).next().is_some()
}

/// Whether `protocol` is a member of `list`, the value of an `Upgrade` field.
pub fn is_listed(protocol: &[u8], list: &[u8]) -> bool {
    list_members(list).any(|member| member.eq_ignore_ascii_case(protocol))
}

/// A protocol as it is written: as it came, but for the one whose name has a usual case.
pub fn normal(protocol: &[u8]) -> &[u8] {
    let is_websocket = protocol.eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    if is_websocket { WEBSOCKET.as_bytes() } else { protocol }
}

/// RFC 6455 §4.1: its handshake is a GET, and has no body.
fn may_be_websocket(head: &RequestHead) -> bool {
    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    head.method == Method::Get && !has_body
}

/// Whether `protocol` is what `allowed` names: that very one, or any version of that name.
fn is_named(protocol: &[u8], allowed: &str) -> bool {
    let name_len = memchr::memchr(b'/', protocol).unwrap_or(protocol.len());
    let candidates = [protocol, &protocol[..name_len]];
    candidates.iter().any(|candidate| candidate.eq_ignore_ascii_case(allowed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;

    fn offers(head: &str, allowed: &[&str]) -> String {
        let head = request::parse(head.as_bytes()).expect("a valid head");
        let allowed: Vec<String> = allowed.iter().map(|word| (*word).to_owned()).collect();
        let words = offered(&head, &allowed).map(String::from_utf8_lossy);
        words.collect::<Vec<_>>().join(", ")
    }

    fn post(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn what_is_allowed_of_what_is_offered_goes_on_in_its_order() {
        let both = post("Connection: Upgrade\r\nUpgrade: h2c, Tcp\r\nUpgrade: ,SPDY/3.1 , x\r\n");
        for (allowed, wanted) in [
            (&["tcp", "spdy/3.1"][..], "Tcp, SPDY/3.1"),
            (&["spdy"], "SPDY/3.1"),
            (&["SPDY/3.0", "spd", "tcp/1", "h2"], ""),
            (&["x"], "x"),
            (&[], ""),
        ] {
            assert_eq!(offers(&both, allowed), wanted, "{allowed:?}");
        }
    }

    #[test]
    fn nothing_is_offered_without_its_connection_option_or_in_http_1_0() {
        for head in [
            post("Upgrade: tcp\r\n"),
            post("Connection: upgrade\r\n"),
            post("Connection: upgrade\r\nUpgrade: \r\n"),
            "POST / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n".to_owned(),
        ] {
            assert_eq!(offers(&head, &["tcp"]), "", "{head}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_by_a_get_without_a_body() {
        let allowed = ["websocket", "tcp"];
        for (line, more, wanted) in [
            ("GET", "", "websocket, tcp"),
            ("GET", "Content-Length: 0\r\n", "websocket, tcp"),
            ("GET", "Content-Length: 1\r\n", "tcp"),
            ("GET", "Transfer-Encoding: chunked\r\n", "tcp"),
            ("POST", "", "tcp"),
            ("HEAD", "", "tcp"),
        ] {
            let upgrade = "Connection: upgrade\r\nUpgrade: WebSocket, tcp\r\n";
            let head = format!("{line} / HTTP/1.1\r\nHost: a\r\n{upgrade}{more}\r\n");
            assert_eq!(offers(&head, &allowed), wanted, "{line} {more}");
        }
    }
}
