//! What tells a backend of the client before it: `X-Forwarded-*`, `Forwarded` (RFC 7239),
//! `X-Real-IP`.
//!
//! What a client says of this itself is worth nothing, and goes no further, unless it is a trusted
//! proxy.

use super::fields::{Field, list_members};
use super::names::Name;
use super::request::RequestHead;
use crate::config::ForwardFields;
use crate::mem::append_decimal;
use crate::mem::buffer::{Fitting, Span};
use std::fmt::Write as _;
use std::net::IpAddr;

/// What a request's head is given on its way.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The client's address. `None`: it has come by a Unix socket.
    pub client: Option<IpAddr>,
    /// The request's `X-Request-ID`.
    pub id: &'a [u8],
    /// Whether the client is a trusted proxy: its `X-Forwarded-*` are kept, and `-For` extended.
    pub trusted: bool,
    /// Whether the client speaks TLS, with whoever stands before us.
    pub tls: bool,
    /// Which fields tell of it.
    pub fields: ForwardFields,
    /// The port that it connected to, if that is known.
    pub port: Option<u16>,
    /// Whether the request notes that it passed here (RFC 8586), for it may come back.
    pub counts_passes: bool,
    /// The name that `Via` is given, at most 64 bytes; without one none is added.
    pub via: Option<&'a str>,
    /// The cookie of this name is ours and goes no further.
    pub own_cookie: Option<&'a str>,
    /// The protocols to which the connection may be switched.
    pub upgrades: &'a [String],
    /// Whether the host is written in its normal form, because responses may be stored by it: what one
    /// client's spelling of the name brings about (a redirect to the canonical name) would be stored
    /// for all others.
    pub normal_host: bool,
}

impl<'a> Forward<'a> {
    /// For a client that speaks for itself alone, without `Via`, cookie and upgrades.
    pub const fn new(client: IpAddr, id: &'a [u8]) -> Forward<'a> {
        Forward {
            client: Some(client),
            id,
            trusted: false,
            tls: false,
            fields: ForwardFields::USUAL,
            port: None,
            counts_passes: false,
            via: None,
            own_cookie: None,
            upgrades: &[],
            normal_host: false,
        }
    }

    /// Whether the client came by https, as `X-Forwarded-Proto` will say: a trusted proxy's own,
    /// else what is known of its connection.
    pub fn is_https(&self, head: &RequestHead) -> bool {
        is_https(head, self.trusted, self.tls)
    }
}

/// The same of a client that is a trusted proxy or not, and speaks TLS or not.
pub fn is_https(head: &RequestHead, trusted: bool, tls: bool) -> bool {
    if !trusted {
        return tls;
    }
    let mut said = head.fields.values("x-forwarded-proto");
    match (said.next(), said.next()) {
        (None, _) => tls,
        (Some(scheme), None) => scheme.eq_ignore_ascii_case(b"https"),
        (Some(_), Some(_)) => false,
    }
}

/// How often a request says that it passed here: `CDN-Loop`, RFC 8586 §2, with [`Forward::counts_passes`].
pub fn passes(head: &RequestHead) -> usize {
    let members = head.fields.values_of(Name::CdnLoop).flat_map(list_members);
    members.filter(|member| *member == b"httplb").count()
}

/// Which fields of a trusted proxy, that we would write otherwise, were kept.
#[derive(Clone, Copy, Default)]
pub(super) struct KeptForwarded {
    proto: bool,
    host: bool,
    port: bool,
    real_ip: bool,
}

impl KeptForwarded {
    /// Whether a field whose name begins like `X-Forwarded-` is copied, notes that it is.
    pub(super) fn keeps_forwarded(&mut self, field: &Field, forward: &Forward) -> bool {
        // With underscores it would be one only for servers that read it as a variable.
        if !forward.trusted || field.name.contains(&b'_') {
            return false;
        }
        self.proto |= field.is("x-forwarded-proto");
        self.host |= field.is("x-forwarded-host");
        self.port |= field.is("x-forwarded-port");
        !(forward.fields.x_forwarded && field.is("x-forwarded-for"))
    }

    /// The same for one that is read as `X-Real-IP`. It is a field like others unless it is written.
    pub(super) fn keeps_real_ip(&mut self, field: &Field, forward: &Forward) -> bool {
        if !forward.fields.x_real_ip {
            return true;
        }
        let keeps = forward.trusted && field.is("x-real-ip");
        self.real_ip |= keeps;
        keeps
    }
}

/// Writes the fields that are wanted, less those that were kept.
pub(super) fn put(head: &RequestHead, forward: &Forward, kept: KeptForwarded, out: &mut Fitting) {
    let ForwardFields { x_forwarded, forwarded, x_real_ip, x_forwarded_port } = forward.fields;
    if x_forwarded {
        put_x_forwarded(head, forward, kept, out);
    }
    if x_forwarded_port && !kept.port {
        out.put(b"X-Forwarded-Port: ");
        append_decimal(u64::from(port(head, forward)), out);
        out.put(b"\r\n");
    }
    if forwarded {
        put_forwarded(head, forward, out);
    }
    if let Some(client) = forward.client.filter(|_| x_real_ip && !kept.real_ip) {
        out.put(b"X-Real-IP: ");
        put_address(client, out);
        out.put(b"\r\n");
    }
}

fn put_x_forwarded(head: &RequestHead, forward: &Forward, kept: KeptForwarded, out: &mut Fitting) {
    let mut separator: &[u8] = b"X-Forwarded-For: ";
    for value in earlier(head, forward, "x-forwarded-for") {
        out.put(separator);
        out.put(value);
        separator = b", ";
    }
    if let Some(client) = forward.client {
        out.put(separator);
        put_address(client, out);
        separator = b", ";
    }
    if separator == b", " {
        out.put(b"\r\n");
    }
    if !kept.proto {
        out.put(if forward.tls { PROTO_HTTPS } else { PROTO_HTTP });
    }
    // Where the client named none, the backend is told its own name.
    if !kept.host && !head.authority.is_empty() {
        out.put(b"X-Forwarded-Host: ");
        put_host(head, forward, out);
        out.put(b"\r\n");
    }
}

const PROTO_HTTP: &[u8] = b"X-Forwarded-Proto: http\r\n";
const PROTO_HTTPS: &[u8] = b"X-Forwarded-Proto: https\r\n";

/// `Forwarded` with an element for this hop: RFC 7239 §4. The address of IPv6 stands in brackets and
/// quotes (§6), and so does what may have a port; who has none is unknown (§6.2).
fn put_forwarded(head: &RequestHead, forward: &Forward, out: &mut Fitting) {
    out.put(b"Forwarded: ");
    for value in earlier(head, forward, "forwarded") {
        out.put(value);
        out.put(b", ");
    }
    match forward.client.map(|client| client.to_canonical()) {
        Some(client @ IpAddr::V6(_)) => {
            out.put(b"for=\"[");
            put_address(client, out);
            out.put(b"]\"");
        }
        Some(client @ IpAddr::V4(_)) => {
            out.put(b"for=");
            put_address(client, out);
        }
        None => {
            out.put(b"for=unknown");
        }
    }
    if !head.authority.is_empty() {
        // No host has a quote or a backslash in it.
        out.put(b";host=\"");
        put_host(head, forward, out);
        out.put(b"\"");
    }
    out.put(if forward.tls { b";proto=https\r\n" } else { b";proto=http\r\n" });
}

/// What a trusted proxy says of those before it.
fn earlier<'a>(
    head: &'a RequestHead,
    forward: &Forward,
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    let said = forward.trusted.then(|| head.fields.values(name));
    said.into_iter().flatten().filter(|value| !value.is_empty())
}

/// The port that the client connected to. Where that is not known it is what it says in `Host`, or
/// the usual one.
fn port(head: &RequestHead, forward: &Forward) -> u16 {
    let said = || {
        let at = memchr::memrchr(b':', head.authority)?;
        std::str::from_utf8(&head.authority[at + 1..]).ok()?.parse().ok()
    };
    forward.port.or_else(said).unwrap_or(if forward.tls { 443 } else { 80 })
}

/// The request's authority; in its normal form where that is wanted.
#[inline]
pub(super) fn put_host(head: &RequestHead, forward: &Forward, out: &mut Fitting) -> Span {
    if forward.normal_host { put_normal_host(head, forward, out) } else { out.put(head.authority) }
}

/// In lower case, without an empty port or the one that its scheme implies (RFC 9110 §4.2.3).
fn put_normal_host(head: &RequestHead, forward: &Forward, out: &mut Fitting) -> Span {
    let mut written = out.put(b"");
    for part in without_implied_port(head.authority, forward.is_https(head)).chunks(64) {
        let mut lower = [0; 64];
        let lower = &mut lower[..part.len()];
        lower.copy_from_slice(part);
        lower.make_ascii_lowercase();
        written.end = out.put(lower).end;
    }
    written
}

/// `host` without an empty port, or the one that its scheme implies: RFC 9110 §4.2.3.
pub fn without_implied_port(host: &[u8], is_https: bool) -> &[u8] {
    let implied: [&[u8]; 2] = [b":", if is_https { b":443" } else { b":80" }];
    implied.iter().find_map(|port| host.strip_suffix(*port)).unwrap_or(host)
}

/// Each octet in decimal digits with a dot behind them, and how many bytes that are.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut from = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        while from < 3 {
            octets[octet].0[octets[octet].1 as usize] = b'0' + digits[from] as u8;
            octets[octet].1 += 1;
            from += 1;
        }
        octets[octet].1 += 1;
        octet += 1;
    }
    octets
};

/// An address of IPv4 is written as one even where it came in by IPv6.
fn put_address(address: IpAddr, out: &mut Fitting) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (mut text, mut len) = ([0; 16], 0);
            for octet in address.octets() {
                let (digits, count) = OCTETS[usize::from(octet)];
                text[len..len + 4].copy_from_slice(&digits);
                len += usize::from(count);
            }
            out.put(&text[..len - 1]);
        }
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}"); // never fails: what does not fit is noted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;
    use crate::http::rewrite;
    use crate::mem::buffer::Buffer;

    const ALL: ForwardFields = ForwardFields {
        x_forwarded: true,
        forwarded: true,
        x_real_ip: true,
        x_forwarded_port: true,
    };

    /// The lines of a request with these further lines that speak of the client.
    fn written(lines: &str, change: impl FnOnce(&mut Forward)) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: shop.example:8443\r\n{lines}\r\n");
        let head = request::parse(head.as_bytes()).expect(lines);
        let mut forward = Forward::new("192.0.2.7".parse().unwrap(), b"id");
        forward.fields = ALL;
        change(&mut forward);
        let mut out = Buffer::new(vec![0; 4096].leak());
        rewrite::request(&head, &forward, &mut out).expect("it fits");
        let text = String::from_utf8(out.as_slice().to_vec()).unwrap();
        let speaks = |line: &&str| {
            let line = line.to_ascii_lowercase();
            line.starts_with("x-f")
                || line.starts_with("x_")
                || line.contains("orwarded: ")
                || line.starts_with("x-real")
        };
        text.split("\r\n").filter(speaks).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_backend_is_told_of_the_client_in_the_ways_that_are_wanted() {
        assert_eq!(
            written("", |_| ()),
            "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\n\
             X-Forwarded-Host: shop.example:8443\nX-Forwarded-Port: 8443\n\
             Forwarded: for=192.0.2.7;host=\"shop.example:8443\";proto=http\nX-Real-IP: 192.0.2.7\n"
        );
        let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
        assert_eq!(written("", |forward| forward.fields = none), "");
        let only = ForwardFields { forwarded: true, ..none };
        assert_eq!(
            written("", |forward| {
                forward.fields = only;
                forward.client = "2001:db8::7".parse().ok();
                forward.tls = true;
            }),
            "Forwarded: for=\"[2001:db8::7]\";host=\"shop.example:8443\";proto=https\n"
        );
    }

    #[test]
    fn what_a_client_says_of_itself_goes_no_further() {
        let forged = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
            X_Real_IP: 1.1.1.1\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Proto: https\r\n\
            X_Forwarded_For: 1.1.1.1\r\n";
        assert_eq!(written(forged, |_| ()), written("", |_| ()));
        let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
        let kept = written(forged, |forward| forward.fields = none);
        assert_eq!(kept, "X-Real-IP: 1.1.1.1\nX_Real_IP: 1.1.1.1\n", "it is a field like others");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_extended() {
        let lines = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\
            X-Real-IP: 203.0.113.9\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n\
            X-Forwarded-Host: a\r\n";
        assert_eq!(
            written(lines, |forward| forward.trusted = true),
            "X-Real-IP: 203.0.113.9\nX-Forwarded-Port: 443\nX-Forwarded-Proto: https\n\
             X-Forwarded-Host: a\nX-Forwarded-For: 203.0.113.9, 192.0.2.7\n\
             Forwarded: for=203.0.113.9, for=192.0.2.7;host=\"shop.example:8443\";proto=http\n"
        );
        let none = ForwardFields { x_forwarded: false, ..ForwardFields::USUAL };
        let kept = written("X-Forwarded-For: 203.0.113.9\r\n", |forward| {
            (forward.trusted, forward.fields) = (true, none);
        });
        assert_eq!(kept, "X-Forwarded-For: 203.0.113.9\n");
    }

    #[test]
    fn who_comes_by_a_unix_socket_has_no_address_and_only_what_it_says_is_told_if_it_is_trusted() {
        let of = |lines: &str, trusted| {
            written(lines, |forward| (forward.client, forward.trusted) = (None, trusted))
        };
        let own = "X-Forwarded-Proto: http\nX-Forwarded-Host: shop.example:8443\n\
                   X-Forwarded-Port: 8443\nForwarded: for=unknown;host=\"shop.example:8443\";\
                   proto=http\n";
        let said = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n\
                    X-Real-IP: 203.0.113.9\r\n";
        assert_eq!(of("", false), own);
        assert_eq!(of(said, false), own);
        assert_eq!(of("X-Forwarded-For:\r\n", true), own);
        let kept = "X-Real-IP: 203.0.113.9\nX-Forwarded-For: 203.0.113.9, 10.0.0.1\n";
        assert_eq!(of(said, true), format!("{kept}{own}"));
    }

    #[test]
    fn the_port_is_that_of_the_connection_else_of_the_host_else_the_usual_one() {
        let port_with = |lines: &str, port, tls| {
            let head = format!("GET / HTTP/1.1\r\nHost: {lines}\r\n\r\n");
            let head = request::parse(head.as_bytes()).expect(lines);
            let forward =
                Forward { port, tls, ..Forward::new("192.0.2.7".parse().unwrap(), b"id") };
            super::port(&head, &forward)
        };
        assert_eq!(port_with("a:8443", Some(9000), true), 9000);
        assert_eq!(port_with("a:8443", None, true), 8443);
        assert_eq!((port_with("a", None, true), port_with("a", None, false)), (443, 80));
        assert_eq!((port_with("[::1]", None, false), port_with("[::1]:81", None, false)), (80, 81));
    }

    #[test]
    fn passes_are_counted_over_all_lines_and_cases_however_many_fields_there_are() {
        let passes_of = |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            passes(&request::parse(head.as_bytes()).expect(lines))
        };
        assert_eq!(passes_of(""), 0);
        assert_eq!(passes_of("CDN-Loops: httplb\r\nX-CDN-Loop: httplb\r\nCDN-Loop:\r\n"), 0);
        assert_eq!(passes_of("cdn-loop: httplb\r\nCDN-LOOP: other, httplb ,httplb\r\n"), 3);
        let many = "Cookie: a=b\r\n".repeat(20);
        assert_eq!(passes_of(&format!("{many}CDN-Loop: httplb\r\n{many}CDN-Loop: httplb\r\n")), 2);
        let nominated = "Connection: cdn-loop\r\nCDN-Loop: httplb\r\n";
        assert_eq!(passes_of(nominated), 1);
    }
}
