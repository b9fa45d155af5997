//! The PROXY header, versions 1 and 2: the lines or bytes before the first request by which a proxy
//! tells whom it speaks for. By haproxy's doc/proxy-protocol.txt; § are its sections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header of version 1, with its CRLF (§2.1).
const LONGEST_LINE: usize = 107;
const V1_START: &[u8] = b"PROXY ";
/// How version 2 begins (§2.2): no HTTP, and no line.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 before its addresses.
const V2_FIXED: usize = 16;

/// The type of the field that tells of TLS (§2.2.6), and the bit in its first byte that says that
/// the client speaks it.
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;
/// Bytes of that field before its own fields: the bits, and the result of the verification.
const SSL_FIXED: usize = 5;

/// What the bytes at the front of a connection are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderReading {
    /// The header has not ended yet.
    Partial,
    /// A whole header.
    Whole(ProxyHeader),
    /// No bytes that may follow would make a header. The connection must close: to guess would
    /// let anybody be anybody (§2).
    Malformed,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes.
    pub len: usize,
    /// The client; without it the proxy speaks for itself (a health check), or does not know, and
    /// the peer's own address counts.
    pub client: Option<SocketAddr>,
    /// The port of the proxy that it connected to, where there is a client.
    pub port: Option<u16>,
    /// Whether the client speaks TLS with the proxy. Version 1 cannot tell.
    pub tls: bool,
}

/// Reads the header at the front of `bytes`, which is at most `most` bytes long. The answer does not
/// depend on how the bytes were cut.
pub fn read(bytes: &[u8], most: usize) -> HeaderReading {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(given, wanted)| given == wanted);
    if begins(V2_START) {
        read_v2(bytes, most)
    } else if begins(V1_START) {
        read_v1(bytes, most)
    } else {
        HeaderReading::Malformed
    }
}

fn read_v1(bytes: &[u8], most: usize) -> HeaderReading {
    let within = &bytes[..bytes.len().min(LONGEST_LINE).min(most)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        let is_whole = within.len() < bytes.len() || within.len() == LONGEST_LINE.min(most);
        return if is_whole { HeaderReading::Malformed } else { HeaderReading::Partial };
    };
    let line = within[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(V1_START));
    match line.and_then(addresses_of_line) {
        Some((client, port)) => {
            HeaderReading::Whole(ProxyHeader { len: end + 1, client, port, tls: false })
        }
        None => HeaderReading::Malformed,
    }
}

/// What stands behind `PROXY `: the client and the port that it connected to, or that neither is
/// known. `None` if it is malformed.
fn addresses_of_line(line: &[u8]) -> Option<(Option<SocketAddr>, Option<u16>)> {
    let mut words = line.split(|byte| *byte == b' ');
    let family = words.next()?;
    if family == b"UNKNOWN" {
        return Some((None, None)); // whatever follows
    }
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let [source, destination, source_port, destination_port] = [word()?, word()?, word()?, word()?];
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            b"TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            b"TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    address(destination)?;
    let connected_to = port(destination_port)?;
    let client = SocketAddr::new(address(source)?, port(source_port)?);
    Some((Some(client), Some(connected_to)))
}

/// A decimal number without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical && digits { text.parse().ok() } else { None }
}

fn read_v2(bytes: &[u8], most: usize) -> HeaderReading {
    // Each byte is judged when it comes: what is no header is not waited for.
    let command = match bytes.get(12) {
        None => return HeaderReading::Partial,
        Some(0x20) => ProxyCommand::Local,
        Some(0x21) => ProxyCommand::Proxy,
        Some(_) => return HeaderReading::Malformed,
    };
    let (Some(&family), Some(&[high, low])) = (bytes.get(13), bytes.get(14..V2_FIXED)) else {
        return HeaderReading::Partial;
    };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > most {
        return HeaderReading::Malformed;
    }
    let Some(block) = bytes.get(V2_FIXED..len) else { return HeaderReading::Partial };
    match told_by(command, family, block) {
        Some((client, port, tls)) => HeaderReading::Whole(ProxyHeader { len, client, port, tls }),
        None => HeaderReading::Malformed,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProxyCommand {
    /// The proxy speaks for itself. All that follows is to be skipped.
    Local,
    /// It speaks for a client.
    Proxy,
}

/// The client, the port that it connected to, and whether it speaks TLS; `None` if the block is malformed. A family that is not
/// TCP over IPv4 or IPv6 tells nothing of use here.
fn told_by(
    command: ProxyCommand,
    family: u8,
    block: &[u8],
) -> Option<(Option<SocketAddr>, Option<u16>, bool)> {
    if command == ProxyCommand::Local {
        return Some((None, None, false));
    }
    match family {
        0x11 => {
            let (addresses, fields) = block.split_at_checked(12)?;
            let address: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
            let client = SocketAddr::new(IpAddr::from(address), port_at(addresses, 8)?);
            Some((Some(client), port_at(addresses, 10), speaks_tls(fields)?))
        }
        0x21 => {
            let (addresses, fields) = block.split_at_checked(36)?;
            let address: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
            let client = SocketAddr::new(IpAddr::from(address), port_at(addresses, 32)?);
            Some((Some(client), port_at(addresses, 34), speaks_tls(fields)?))
        }
        _ => Some((None, None, false)),
    }
}

fn port_at(addresses: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_be_bytes(addresses.get(place..place + 2)?.try_into().ok()?))
}

/// Whether one of the fields behind the addresses says that the client speaks TLS; others are
/// skipped. `None` where a field is longer than what is left.
fn speaks_tls(fields: &[u8]) -> Option<bool> {
    let mut rest = fields;
    let mut tls = false;
    while !rest.is_empty() {
        let (&[kind, high, low], behind) = rest.split_first_chunk()?;
        let (value, next) = behind.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        if kind == TYPE_SSL {
            tls |= value.get(..SSL_FIXED)?[0] & CLIENT_SSL != 0;
        }
        rest = next;
    }
    Some(tls)
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
