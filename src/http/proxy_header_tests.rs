use super::*;
use crate::http::testing::Dice;

const MOST: usize = 4096;

/// A whole header that names this client, who connected to the port behind `>`, else to 443.
fn whole(len: usize, client: &str, tls: bool) -> HeaderReading {
    let (client, port) = client.split_once('>').unwrap_or((client, "443"));
    let port = (!client.is_empty()).then(|| port.parse().unwrap());
    let client = (!client.is_empty()).then(|| client.parse().unwrap());
    HeaderReading::Whole(ProxyHeader { len, client, port, tls })
}

/// A header of version 2 with its length filled in.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [V2_START, &[command, family], &length, block].concat()
}

const IPV4: &[u8] = &[203, 0, 113, 9, 10, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb];

fn ipv6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let destination: Ipv6Addr = "2001:db8::1".parse().unwrap();
    [&source.octets()[..], &destination.octets(), &[0xc8, 0x22, 0x01, 0xbb]].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// Reads `bytes` as they come one by one: all but the last answer must be Partial.
fn read_bytewise(bytes: &[u8], most: usize) -> HeaderReading {
    let answers = (0..=bytes.len()).map(|len| read(&bytes[..len], most));
    answers
        .into_iter()
        .find(|answer| *answer != HeaderReading::Partial)
        .unwrap_or(HeaderReading::Partial)
}

/// The answer, which must not depend on how the bytes came, nor on what follows the header.
fn answer(bytes: &[u8], most: usize) -> HeaderReading {
    let answer = read(bytes, most);
    assert_eq!(read_bytewise(bytes, most), answer, "{}", bytes.escape_ascii());
    if let HeaderReading::Whole(header) = answer {
        assert!(header.len <= bytes.len().min(most));
        assert_eq!(read(&bytes[..header.len], most), answer);
        assert_eq!(read(&bytes[..header.len - 1], most), HeaderReading::Partial);
    }
    if answer != HeaderReading::Partial {
        assert_eq!(read(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat(), most), answer);
    }
    answer
}

#[test]
fn a_line_of_version_1_names_the_client() {
    for (line, client) in [
        ("PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\r\n", "203.0.113.9:51234"),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535>65535",
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0>0"),
        ("PROXY TCP6 2001:db8::9 2001:db8::1 51234 443\r\n", "[2001:db8::9]:51234"),
        ("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "[::ffff:203.0.113.9]:1>2"),
        ("PROXY UNKNOWN\r\n", ""),
        ("PROXY UNKNOWN \r\n", ""),
        ("PROXY UNKNOWN ffff:f...f:ffff any thing  at all\r\n", ""),
    ] {
        assert_eq!(answer(line.as_bytes(), MOST), whole(line.len(), client, false), "{line}");
    }
    let longest =
        format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(longest.len(), LONGEST_LINE);
    assert_eq!(answer(longest.as_bytes(), MOST), whole(LONGEST_LINE, "", false));
}

#[test]
fn a_malformed_line_of_version_1_is_known_at_its_end_or_before() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 203.0.113.9 10.0.0.1 51234 443\r\n",
        "PROXY\tTCP4 203.0.113.9 10.0.0.1 51234 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\r\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 51234\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 51234 443 \r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 51234 443 1\r\n",
        "PROXY TCP4  203.0.113.9 10.0.0.1 51234 443\r\n",
        "PROXY TCP4 203.0.113.009 10.0.0.1 51234 443\r\n",
        "PROXY TCP4 203.0.113 10.0.0.1 51234 443\r\n",
        "PROXY TCP4 203.0.113.256 10.0.0.1 51234 443\r\n",
        "PROXY TCP4 203.0.113.9 localhost 51234 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 051234 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 203.0.113.9 10.0.0.1 1 00\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::1 51234 443\r\n",
        "PROXY TCP6 203.0.113.9 10.0.0.1 51234 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 51234 443\r\n",
        "PROXY TCP6 [::1] ::1 51234 443\r\n",
        "PROXY UDP4 203.0.113.9 10.0.0.1 51234 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "\r\nPROXY UNKNOWN\r\n",
    ] {
        assert_eq!(answer(line.as_bytes(), MOST), HeaderReading::Malformed, "{line}");
    }
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 15));
    assert_eq!(too_long.len(), LONGEST_LINE + 1);
    assert_eq!(answer(too_long.as_bytes(), MOST), HeaderReading::Malformed);
    assert_eq!(
        answer(&[b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat(), MOST),
        HeaderReading::Malformed
    );
}

#[test]
fn what_has_not_come_whole_is_waited_for() {
    for start in ["", "P", "PROXY", "PROXY ", "PROXY TCP4 203.0.113.9", "PROXY UNKNOWN\r"] {
        assert_eq!(answer(start.as_bytes(), MOST), HeaderReading::Partial, "{start}");
    }
    let header = v2(0x21, 0x11, IPV4);
    for len in 0..header.len() {
        assert_eq!(answer(&header[..len], MOST), HeaderReading::Partial, "{len}");
    }
}

#[test]
fn a_header_of_version_2_names_the_client() {
    let header = v2(0x21, 0x11, IPV4);
    assert_eq!(answer(&header, MOST), whole(28, "203.0.113.9:51234", false));
    let header = v2(0x21, 0x21, &ipv6());
    assert_eq!(answer(&header, MOST), whole(52, "[2001:db8::9]:51234", false));
}

#[test]
fn a_header_of_version_2_that_names_nobody_keeps_the_peers_address() {
    for (command, family, block) in [
        (0x20, 0x00, &[][..]),
        (0x20, 0x11, IPV4),
        (0x20, 0x11, &[1, 2, 3]),
        (0x20, 0xff, &[0; 300]),
        (0x21, 0x00, &[]),
        (0x21, 0x00, &[0xff; 40]),
        (0x21, 0x12, IPV4),
        (0x21, 0x22, &[0; 36]),
        (0x21, 0x31, &[0; 216]),
        (0x21, 0x32, &[0; 216]),
    ] {
        let header = v2(command, family, block);
        let wanted = whole(16 + block.len(), "", false);
        assert_eq!(answer(&header, MOST), wanted, "{command:x} {family:x}");
    }
}

#[test]
fn a_malformed_header_of_version_2_is_refused() {
    for (command, family, block) in [
        (0x22, 0x11, IPV4),
        (0x11, 0x11, IPV4),
        (0x31, 0x11, IPV4),
        (0x01, 0x11, IPV4),
        (0x21, 0x11, &IPV4[..11]),
        (0x21, 0x21, &[0; 35]),
    ] {
        let header = v2(command, family, block);
        assert_eq!(answer(&header, MOST), HeaderReading::Malformed, "{command:x} {family:x}");
    }
    let mut signature = v2(0x21, 0x11, IPV4);
    for place in 0..12 {
        signature[place] ^= 0x20;
        assert_eq!(answer(&signature, MOST), HeaderReading::Malformed, "{place}");
        signature[place] ^= 0x20;
    }
}

#[test]
fn a_header_that_no_buffer_holds_is_refused_before_it_comes() {
    let fields = field(0x04, &[0; MOST - 16 - 12 - 3]);
    let header = v2(0x21, 0x11, &[IPV4, &fields].concat());
    assert_eq!(answer(&header, MOST), whole(MOST, "203.0.113.9:51234", false));
    assert_eq!(read(&header[..15], MOST - 1), HeaderReading::Partial);
    assert_eq!(read(&header[..16], MOST - 1), HeaderReading::Malformed);
}

#[test]
fn fields_are_skipped_but_for_the_one_that_tells_of_tls() {
    let version = field(0x21, b"TLSv1.3");
    let tls = |bits: u8| field(0x20, &[&[bits, 0, 0, 0, 0], &version[..]].concat());
    for (fields, expected) in [
        (vec![], false),
        (vec![field(0x01, b"h2"), field(0x04, b"")], false),
        (vec![tls(0x01)], true),
        (vec![tls(0x07)], true),
        (vec![tls(0x00)], false),
        (vec![tls(0x06)], false),
        (vec![field(0x01, b"http/1.1"), tls(0x01), field(0x03, &[1, 2, 3, 4])], true),
        (vec![tls(0x00), tls(0x01)], true),
        (vec![field(0x20, &[1, 0, 0, 0, 0])], true),
        (vec![field(0xee, &tls(0x01))], false),
    ] {
        let header = v2(0x21, 0x11, &[IPV4, &fields.concat()].concat());
        let wanted = whole(header.len(), "203.0.113.9:51234", expected);
        assert_eq!(answer(&header, MOST), wanted, "{fields:x?}");
        let header = v2(0x20, 0x11, &[IPV4, &fields.concat()].concat());
        assert_eq!(answer(&header, MOST), whole(header.len(), "", false), "{fields:x?}");
    }
}

#[test]
fn a_field_that_runs_past_the_end_makes_it_malformed() {
    for fields in [&[0x01][..], &[0x01, 0], &[0x01, 0, 1], &[0x01, 0, 2, 1], &[0x20, 0, 1, 1]] {
        let header = v2(0x21, 0x11, &[IPV4, fields].concat());
        assert_eq!(answer(&header, MOST), HeaderReading::Malformed, "{fields:x?}");
    }
}

/// The client that a line names, found with whole strings; the outer `None` is for a malformed one.
fn naive_v1(bytes: &[u8]) -> Option<Option<SocketAddr>> {
    let text: String = bytes.iter().take(LONGEST_LINE).map(|byte| char::from(*byte)).collect();
    let (line, _) = text.split_once('\n')?;
    let rest = line.strip_suffix('\r')?.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let [family, source, destination, port, other] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    let ip =
        |text: &str| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (family == "TCP4"));
    (family == "TCP4" || family == "TCP6").then_some(())?;
    ip(destination)?;
    number(other)?;
    Some(Some(SocketAddr::new(ip(source)?, number(port)?)))
}

#[test]
fn mutants_get_one_answer_however_they_are_cut() {
    let tls = field(0x20, &[1, 0, 0, 0, 0]);
    let originals = [
        b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::9 2001:db8::1 51234 443\r\n".to_vec(),
        b"PROXY UNKNOWN ::1 x\r\n".to_vec(),
        v2(0x21, 0x11, &[IPV4, &tls].concat()),
        v2(0x21, 0x21, &[&ipv6()[..], &field(0x01, b"h2"), &tls].concat()),
        v2(0x20, 0x00, &[]),
    ];
    const SPLINTERS: [&[u8]; 12] = [
        b"\r\n", b"\n", b" ", b"0", b"65536", b"TCP6", b"UNKNOWN", b"::", b".", b"\x20", b"\0",
        b"\xff",
    ];
    let mut dice = Dice::new(7);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..60_000 {
        let mut bytes = originals[round % originals.len()].clone();
        for _ in 0..=dice.below(2) {
            let at = dice.below(bytes.len());
            match dice.below(4) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => drop(bytes.splice(at..at, dice.pick(&SPLINTERS).iter().copied())),
                2 => drop(bytes.drain(at..(at + dice.below(6)).min(bytes.len()))),
                _ => bytes[at] = dice.below(256) as u8,
            }
            if bytes.is_empty() {
                bytes.push(b'P');
            }
        }
        let most = [MOST, 40, 16, 107][dice.below(4)];
        let found = answer(&bytes, most);
        match found {
            HeaderReading::Whole(_) => accepted += 1,
            HeaderReading::Partial | HeaderReading::Malformed => refused += 1,
        }
        if most >= LONGEST_LINE && bytes.starts_with(V1_START) && bytes.contains(&b'\n') {
            let found = match found {
                HeaderReading::Whole(header) => Some(header.client),
                HeaderReading::Partial | HeaderReading::Malformed => None,
            };
            assert_eq!(found, naive_v1(&bytes), "{}", bytes.escape_ascii());
        }
    }
    assert!(accepted > 5000 && refused > 20_000, "{accepted} {refused}");
}
