//! What the tests of the parsers share: seeded mutants, and a reader so simple that its judgement
//! needs no test.

use super::scan::{HeadScan, Scan};

/// A xorshift generator: the same numbers for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len())]
    }
}

/// What mutants are made with: bytes and constructs that have fooled parsers before.
const SPLINTERS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b"#",
    b"%0d%0a",
    b"_",
    b"/",
    b"*",
    b"@",
    b"[::1]",
    b"99999",
    b"5, 5",
    b"18446744073709551621",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"http://b.test",
    b"https://c.test:1/x",
    b"chunked",
    b"gzip, chunked",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 6\r\n",
    b"Content_Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Connection: close, x\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Request-ID: 1\r\n",
    b" folded\r\n",
];

/// `original` with one to three changes.
pub fn mutant(original: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(12)).min(bytes.len());
        match dice.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, dice.pick(&SPLINTERS).iter().copied())),
            2 => drop(bytes.splice(at..end, dice.pick(&SPLINTERS).iter().copied())),
            3 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            4 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ => {
                let piece = bytes[at..end].to_vec();
                let target = dice.below(bytes.len() + 1);
                drop(bytes.splice(target..target, piece));
            }
        }
    }
    bytes
}

/// What a scan says of `bytes` that come in pieces ending at `cuts`, which rise.
pub fn scan_in_pieces(
    mut scan: HeadScan,
    bytes: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> Scan {
    for cut in cuts {
        match scan.advance(&bytes[..cut]) {
            Scan::Partial => (),
            decided => return decided,
        }
    }
    scan.advance(bytes)
}

/// Checks that `bytes` get the same answer however they are cut, and returns it.
pub fn scan_however_cut(scan: HeadScan, bytes: &[u8], dice: &mut Dice) -> Scan {
    let whole = scan_in_pieces(scan, bytes, []);
    assert_eq!(scan_in_pieces(scan, bytes, 0..bytes.len()), whole, "{}", bytes.escape_ascii());
    for _ in 0..4 {
        let mut cuts = [dice.below(bytes.len() + 1), dice.below(bytes.len() + 1)];
        cuts.sort_unstable();
        assert_eq!(scan_in_pieces(scan, bytes, cuts), whole, "{} {cuts:?}", bytes.escape_ascii());
    }
    whole
}

/// The lines of a head that must be flawless: its first line, and names in lower case with their
/// values. Panics at the first flaw. Knows nothing of the parser's tables.
pub fn read_naively(head: &[u8]) -> (String, Vec<(String, String)>) {
    let latin: String = head.iter().map(|&byte| char::from(byte)).collect();
    let inner = latin.strip_suffix("\r\n\r\n").expect("the head ends with an empty line");
    let mut lines = inner.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let control = |c: char| (c < ' ' && c != '\t') || c == '\x7f';
    assert!(!first.contains(control), "control in {first:?}");
    let fields = lines.map(|line| {
        assert!(!line.contains(control), "control in {line:?}");
        let (name, value) = line.split_once(':').expect("every line has a colon");
        assert!(!name.is_empty(), "empty name in {line:?}");
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        assert!(name.chars().all(is_token), "no token: {name:?}");
        (name.to_lowercase(), value.trim_matches([' ', '\t']).to_owned())
    });
    (first, fields.collect())
}

/// The values of all fields of that name.
pub fn values_of(fields: &[(String, String)], name: &str) -> Vec<String> {
    fields.iter().filter(|field| field.0 == name).map(|field| field.1.clone()).collect()
}

/// The framing that the fields allow, in words of their own; panics if they allow none.
pub fn framing_naively(fields: &[(String, String)], is_http10: bool) -> String {
    let lengths = values_of(fields, "content-length");
    let codings = values_of(fields, "transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}");
    if let [length] = &lengths[..] {
        assert!(length.chars().all(|c| c.is_ascii_digit()), "{length:?}");
        let number: u128 = length.trim_start_matches('0').parse().unwrap_or(0);
        assert!(number < 1 << 63 && !length.is_empty(), "{length:?}");
        return format!("Length({number})");
    }
    if let [coding] = &codings[..] {
        assert!(coding.eq_ignore_ascii_case("chunked") && !is_http10, "{coding:?}");
        return "Chunked".to_owned();
    }
    "None".to_owned()
}

/// Whether the connection goes on, by what the fields say.
pub fn keep_alive_naively(fields: &[(String, String)], is_http10: bool) -> bool {
    let all = values_of(fields, "connection").join(",").to_ascii_lowercase();
    let options: Vec<&str> =
        all.split(',').map(|option| option.trim_matches([' ', '\t'])).collect();
    !options.contains(&"close") && (!is_http10 || options.contains(&"keep-alive"))
}
