//! Where a head ends does not depend on how it was cut, and is where a naive search finds it.

use crate::Dice;
use httplb::http::{HeadScan, Scan};

const END: &[u8] = b"\r\n\r\n";

fn in_pieces(mut scan: HeadScan, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Scan {
    for cut in cuts {
        match scan.advance(&bytes[..cut]) {
            Scan::Partial => (),
            decided => return decided,
        }
    }
    scan.advance(bytes)
}

fn end_of(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    Some(from + rest.windows(END.len()).position(|window| window == END)? + END.len())
}

/// `may_begin_empty`: one empty line before the head is no end of it. `accepts` is whether some
/// bytes are a head as a whole.
pub fn check(
    scan: HeadScan,
    bytes: &[u8],
    may_begin_empty: bool,
    accepts: fn(&[u8]) -> bool,
) -> Scan {
    let place = bytes.escape_ascii().to_string();
    let found = in_pieces(scan, bytes, []);
    assert_eq!(in_pieces(scan, bytes, 0..bytes.len()), found, "byte by byte: {place}");
    let mut dice = Dice::of(bytes);
    for _ in 0..4 {
        let mut cuts = [dice.up_to(bytes.len()), dice.up_to(bytes.len()), dice.up_to(bytes.len())];
        cuts.sort_unstable();
        assert_eq!(in_pieces(scan, bytes, cuts), found, "cut at {cuts:?}: {place}");
    }

    let start = if may_begin_empty && bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let end = end_of(bytes, start);
    match found {
        Scan::Whole(len) => assert_eq!(end, Some(len), "{place}"),
        Scan::Partial => assert_eq!(end, None, "{place}"),
        Scan::Malformed(at) => {
            assert!(end.is_none_or(|end| !accepts(&bytes[..end])), "not malformed: {place}");
            let before = &bytes[..=at];
            for more in [&b""[..], b"\r\n\r\n", b"\n\r\n", b" / HTTP/1.1\r\nHost: a\r\n\r\n"] {
                assert!(!accepts(&[before, more].concat()), "not malformed at {at}: {place}");
            }
        }
    }
    if accepts(bytes) {
        assert_eq!(found, Scan::Whole(bytes.len()), "accepted: {place}");
    }
    found
}
