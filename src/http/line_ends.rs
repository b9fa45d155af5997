//! Lines that end by LF alone: where a pool tolerates them of its backends, the CR is put before each
//! while the head lies in its ring. So all else reads heads as they should be.

use crate::mem::ring::Ring;

/// What putting CRs into a head came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Each line that is there ends by CRLF.
    Well,
    /// It is something else that is wrong.
    Not,
    /// The ring has no room for as many CRs.
    NoRoom,
}

/// Puts a CR before each LF that lacks one, of the response head at the front of `ring`, as far as it
/// is there: up to the empty line, behind which nothing changes. `at` is the first of them.
///
/// Each byte of the head is looked at and moved once, however it comes.
pub fn mend(ring: &mut Ring, at: usize) -> Mended {
    let Some(missing) = missing(ring.flatten(), at) else { return Mended::Not };
    if missing.count > ring.room() {
        return Mended::NoRoom;
    }
    let len = ring.len();
    put(ring.extend_flat(missing.count), len, at, &missing);
    Mended::Well
}

/// The same with the first `len` bytes of `room`, which may hold heads before it. How long they are then;
/// `None` if they are as they were.
pub fn mend_in(room: &mut [u8], len: usize, at: usize) -> Option<usize> {
    let missing = missing(&room[..len], at)?;
    let mended = len + missing.count;
    put(room.get_mut(..mended)?, len, at, &missing);
    Some(mended)
}

/// LFs without CR, in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    count: usize,
    /// One past the last LF of the head that is there.
    end: usize,
}

/// Counts them from `at` on. `None` if there is none at `at`.
fn missing(bytes: &[u8], at: usize) -> Option<Missing> {
    let lacks_return = |feed: usize| feed == 0 || bytes[feed - 1] != b'\r';
    if bytes.get(at) != Some(&b'\n') || !lacks_return(at) {
        return None;
    }
    let mut line = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |feed| feed + 1);
    let mut found = Missing { count: 0, end: at };
    for feed in memchr::memchr_iter(b'\n', &bytes[at..]).map(|feed| at + feed) {
        let lacks = lacks_return(feed);
        found.count += usize::from(lacks);
        found.end = feed + 1;
        let line_end = if lacks { feed } else { feed - 1 };
        if line_end == line {
            break;
        }
        line = feed + 1;
    }
    Some(found)
}

/// Puts them in, from behind. The first `len` of `bytes` are the content, the others room.
fn put(bytes: &mut [u8], len: usize, at: usize, missing: &Missing) {
    bytes.copy_within(missing.end..len, missing.end + missing.count);
    let (mut from, mut to) = (missing.end, missing.end + missing.count);
    while from > at && from < to {
        from -= 1;
        to -= 1;
        bytes[to] = bytes[from];
        if bytes[from] == b'\n' && (from == 0 || bytes[from - 1] != b'\r') {
            to -= 1;
            bytes[to] = b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response;
    use crate::http::scan::{HeadScan, Scan};
    use crate::mem::Append;
    use crate::mem::xorshift::Xorshift;

    fn ring(size: usize, shift: usize, content: &[u8]) -> Ring {
        let mut ring = Ring::new(vec![0; size].leak());
        ring.append(&vec![b'x'; shift + 1]);
        ring.consume(shift);
        ring.append(content);
        ring.consume(1);
        ring
    }

    fn mended(head: &str, at: usize) -> (Mended, String) {
        let mut ring = ring(256, 200, head.as_bytes());
        let outcome = mend(&mut ring, at);
        (outcome, String::from_utf8(ring.flatten().to_vec()).unwrap())
    }

    #[test]
    fn each_line_of_the_head_gets_its_return_and_nothing_behind_it() {
        for (came, at, wanted) in [
            ("H\n\n", 1, "H\r\n\r\n"),
            ("H\r\nA: b\n\r\nbo\ndy\n\n", 7, "H\r\nA: b\r\n\r\nbo\ndy\n\n"),
            ("H\nA: b\r\nC: d\n\nx\n", 1, "H\r\nA: b\r\nC: d\r\n\r\nx\n"),
            ("H\r\nA: b\r\n\n\n", 9, "H\r\nA: b\r\n\r\n\n"),
            ("H\nA", 1, "H\r\nA"),
            ("H\nA: b\r", 1, "H\r\nA: b\r"),
            ("H\r\n\nx", 3, "H\r\n\r\nx"),
        ] {
            assert_eq!(mended(came, at), (Mended::Well, wanted.to_owned()), "{came:?}");
        }
    }

    #[test]
    fn what_is_no_line_end_is_left() {
        for (came, at) in [("H\r\n", 2), ("HT", 1), ("H\rA", 2), ("H", 1), ("", 0)] {
            assert_eq!(mended(came, at), (Mended::Not, came.to_owned()), "{came:?}");
        }
    }

    #[test]
    fn without_room_nothing_changes() {
        let head = b"H\nA: b\n\n";
        for (size, outcome) in [(8, Mended::NoRoom), (16, Mended::Well)] {
            let mut ring = Ring::new(vec![0; size].leak());
            ring.append(head);
            assert_eq!(mend(&mut ring, 1), outcome);
            assert_eq!(ring.flatten() == head, outcome == Mended::NoRoom);
            let mut room = vec![0; size];
            room[..8].copy_from_slice(head);
            let mended = mend_in(&mut room, 8, 1);
            assert_eq!(mended, (outcome == Mended::Well).then_some(11));
            assert_eq!(&room[..mended.unwrap_or(8)], ring.flatten());
        }
    }

    /// What a backend means that ends lines as it likes, read without a thought of speed.
    fn naively(bytes: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        let mut line = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            if byte == b'\n' && out.last() != Some(&b'\r') {
                out.push(b'\r');
            }
            out.push(byte);
            if byte == b'\n' {
                if out.len() == line + 2 {
                    out.extend_from_slice(&bytes[index + 1..]);
                    return out;
                }
                line = out.len();
            }
        }
        out
    }

    /// Scans as whoever receives does, mending on the way. The head that is whole in the end.
    fn receive(bytes: &[u8], cuts: &[usize]) -> Option<Vec<u8>> {
        let mut ring = Ring::new(vec![0; 1024].leak());
        let mut scan = HeadScan::response();
        let mut sent = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            ring.append(&bytes[sent..cut]);
            sent = cut;
            loop {
                match scan.advance(ring.flatten()) {
                    Scan::Partial => break,
                    Scan::Whole(end) => {
                        ring.append(&bytes[sent..]);
                        let all = ring.flatten().to_vec();
                        assert!(all[..end].ends_with(b"\r\n\r\n"));
                        return Some(all);
                    }
                    Scan::Malformed(at) if mend(&mut ring, at) == Mended::Well => (),
                    Scan::Malformed(_) => return None,
                }
            }
        }
        None
    }

    #[test]
    fn however_a_head_is_damaged_and_cut_it_is_read_as_its_naive_mending_is() {
        let heads = [
            "HTTP/1.1 200 OK\nContent-Type: text/plain\n\nbody\n\n",
            "HTTP/1.0 200 Script output follows\r\nServer: x\r\nA: b\nC:d\n\n\nbo\ndy",
        ];
        let mut random = Xorshift::new(11);
        let mut accepted = 0;
        for round in 0..20_000 {
            let mut bytes = heads[round % 2].as_bytes().to_vec();
            for _ in 0..random.below(4) {
                let place = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[place] = b"\r\n :"[random.below(4)],
                    1 => bytes.insert(place, b"\r\n :"[random.below(4)]),
                    _ => drop(bytes.remove(place)),
                }
            }
            let mut cuts = [random.below(bytes.len()), random.below(bytes.len())];
            cuts.sort_unstable();
            let place = format!("{} {cuts:?}", bytes.escape_ascii());
            let wanted = naively(&bytes);
            let found = receive(&bytes, &cuts);
            let mut scan = HeadScan::response();
            match scan.advance(&wanted) {
                Scan::Whole(end) => {
                    let found = found.unwrap_or_else(|| panic!("not received: {place}"));
                    assert!(found == wanted, "{}: {place}", found.escape_ascii());
                    accepted += usize::from(response::parse(&wanted[..end]).is_ok());
                }
                Scan::Partial | Scan::Malformed(_) => assert_eq!(found, None, "{place}"),
            }
        }
        assert!(accepted > 5_000, "only {accepted} were accepted");
    }
}
