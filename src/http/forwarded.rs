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
#[path = "forwarded_tests.rs"]
mod tests;
