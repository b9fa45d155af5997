//! The header of a proxy before a connection: as somebody reads it who has all of it before him,
//! however it is cut, and never waited for when it cannot come any more.

use crate::{Dice, naive};
use httplb::http::proxy_header::{HeaderReading, ProxyHeader, read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

pub fn check(bytes: &[u8]) {
    let place = bytes.escape_ascii().to_string();
    let mut dice = Dice::of(bytes);
    for most in [4096, 16 + dice.up_to(bytes.len())] {
        let found = read(bytes, most);
        match (found, whole(bytes, most)) {
            (HeaderReading::Whole(header), Some(wanted)) => assert_eq!(header, wanted, "{place}"),
            (HeaderReading::Partial, None) => {
                let most = if bytes.starts_with(b"P") { most.min(107) } else { most };
                assert!(bytes.len() < most, "waits for ever: {place}");
            }
            (HeaderReading::Malformed, None) => check_malformed(bytes, most, &place),
            (found, wanted) => panic!("{found:?}, but {wanted:?} within {most}: {place}"),
        }
        let cuts = [dice.up_to(bytes.len()), dice.up_to(bytes.len()), bytes.len().min(1)];
        for cut in cuts {
            match (read(&bytes[..cut], most), found) {
                (HeaderReading::Partial, HeaderReading::Whole(header)) => {
                    assert!(cut < header.len, "{place}")
                }
                (HeaderReading::Partial, HeaderReading::Partial | HeaderReading::Malformed) => (),
                (decided, found) => assert_eq!(decided, found, "cut at {cut}: {place}"),
            }
        }
    }
}

/// Nothing that may follow makes a header of it.
fn check_malformed(bytes: &[u8], most: usize, place: &str) {
    for more in ["\n", "\r\n", " 1\r\n", " 1.2.3.4 1.2.3.4 1 1\r\n", "UNKNOWN\r\n"] {
        let longer = [bytes, more.as_bytes()].concat();
        assert_eq!(whole(&longer, most), None, "not malformed: {place}");
    }
    let zeros = [bytes, &[0; 300]].concat();
    assert_eq!(whole(&zeros, most), None, "not malformed: {place}");
}

/// The header at the front, if it is there whole and right.
fn whole(bytes: &[u8], most: usize) -> Option<ProxyHeader> {
    let header = line(bytes).or_else(|| block(bytes))?;
    (header.len <= most).then_some(header)
}

/// Version 1.
fn line(bytes: &[u8]) -> Option<ProxyHeader> {
    let text = naive::latin1(bytes);
    let (line, _) = text.split_once('\n')?;
    let words: Vec<&str> = line.strip_suffix('\r')?.split(' ').collect();
    let (client, port) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => (None, None),
        ["PROXY", family, from, to, from_port, to_port] => {
            let address = |text: &str| -> Option<IpAddr> {
                match family {
                    "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                    "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                    _ => None,
                }
            };
            address(to)?;
            (Some(SocketAddr::new(address(from)?, number(from_port)?)), Some(number(to_port)?))
        }
        _ => return None,
    };
    let len = line.chars().count() + 1;
    (len <= 107).then_some(ProxyHeader { len, client, port, tls: false })
}

/// As it would be written.
fn number(text: &str) -> Option<u16> {
    let number: u16 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Version 2.
fn block(bytes: &[u8]) -> Option<ProxyHeader> {
    let rest = bytes.strip_prefix(V2_START)?;
    let [command, family, high, low, rest @ ..] = rest else { return None };
    let len = usize::from(*high) * 256 + usize::from(*low);
    let told = rest.get(..len)?;
    let of_none = ProxyHeader { len: 16 + len, client: None, port: None, tls: false };
    let size = match (command, family) {
        (0x20, _) => return Some(of_none),
        (0x21, 0x11) => 4,
        (0x21, 0x21) => 16,
        (0x21, _) => return Some(of_none),
        _ => return None,
    };
    let number = |at: usize| told.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let digits: String = told.get(..size)?.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = u128::from_str_radix(&digits, 16).ok()?;
    let address = match size {
        4 => IpAddr::V4(Ipv4Addr::from_bits(digits as u32)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(digits)),
    };
    let client = Some(SocketAddr::new(address, number(2 * size)?));
    let port = Some(number(2 * size + 2)?);
    let fields = fields(&told[2 * size + 4..])?;
    let tls: Vec<_> = fields.iter().filter(|(kind, _)| *kind == 0x20).collect();
    if tls.iter().any(|(_, value)| value.len() < 5) {
        return None;
    }
    let tls = tls.iter().any(|(_, value)| value[0] % 2 == 1);
    Some(ProxyHeader { client, port, tls, ..of_none })
}

/// What stands behind the addresses, to its end: kinds and values.
fn fields(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let [kind, high, low, rest @ ..] = bytes else {
        return bytes.is_empty().then(Vec::new);
    };
    let len = usize::from(*high) * 256 + usize::from(*low);
    let others = fields(rest.get(len..)?)?;
    Some([vec![(*kind, &rest[..len])], others].concat())
}
