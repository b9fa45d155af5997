use super::*;
use crate::mem::xorshift::Xorshift;

/// What became of a body on its way through.
#[derive(Debug, Default, PartialEq, Eq)]
struct Relayed {
    sent: Vec<u8>,
    data: Vec<u8>,
    trailers: Vec<u8>,
    left_over: Vec<u8>,
}

/// Relays `input`, which comes in pieces that end at `cuts`, as the proxy does it: pass what can be
/// passed, never above `limit` at once, and write anew what was read.
fn relay(input: &[u8], cuts: &[usize], limit: usize) -> Result<(Relayed, Chunks), BadChunk> {
    let mut chunks = Chunks::new();
    let mut relayed = Relayed::default();
    let mut waiting: Vec<u8> = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        waiting.extend(&input[start..cut]);
        start = cut;
        relay_waiting(&mut chunks, &mut waiting, limit, &mut relayed)?;
    }
    relayed.left_over = waiting;
    Ok((relayed, chunks))
}

fn relay_waiting(
    chunks: &mut Chunks,
    waiting: &mut Vec<u8>,
    limit: usize,
    relayed: &mut Relayed,
) -> Result<(), BadChunk> {
    while !waiting.is_empty() && !chunks.is_done() {
        let passed = if limit > 0 { chunks.pass(waiting, limit) } else { 0 };
        relayed.sent.extend(waiting.drain(..passed));
        if chunks.data_left() > 0 {
            let moved = chunks.data_left().min(waiting.len() as u64).min(3);
            chunks.advance(moved);
            relayed.sent.extend(waiting.drain(..moved as usize));
            continue;
        }
        let (consumed, chunk) = chunks.read(waiting)?;
        match chunk {
            Chunk::More if consumed == 0 => return Ok(()),
            Chunk::More => (),
            Chunk::Size(size) => relayed.sent.extend(Chunks::size_line(size, &mut [0; 20])),
            Chunk::DataEnd => relayed.sent.extend(b"\r\n"),
            Chunk::Last => relayed.sent.extend(Chunks::size_line(0, &mut [0; 20])),
            Chunk::Trailer { start, end } => {
                relayed.sent.extend(&waiting[start..end]);
                relayed.trailers.extend(&waiting[start..end]);
            }
            Chunk::End => relayed.sent.extend(b"\r\n"),
        }
        waiting.drain(..consumed);
    }
    Ok(())
}

/// Another way to read what was sent: as the strictest of peers, which knows neither extensions nor
/// zeros in front. Gives the data and the trailers, or nothing if it does not read.
fn decode_strictly(mut bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut data = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let digits = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        if digits.to_ascii_lowercase() != format!("{size:x}") {
            return None;
        }
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        if bytes.get(size..size + 2)? != b"\r\n" {
            return None;
        }
        data.extend(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
    let mut trailers = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        trailers.extend(&bytes[..end + 2]);
        bytes = &bytes[end + 2..];
        if end == 0 {
            trailers.truncate(trailers.len() - 2);
            return bytes.is_empty().then_some((data, trailers));
        }
    }
}

/// The data alone, read with the most forgiving idea of where it lies: digits up to whatever is no
/// digit, and everything up to the next CRLF skipped.
fn decode_carelessly(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let digits = line.split(|letter: char| !letter.is_ascii_hexdigit()).next()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            return Some(data);
        }
        data.extend(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}

const GOOD: [(&str, &str, &str); 17] = [
    ("0\r\n\r\n", "", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ""),
    ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
    ("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", "abcdefghijklmnopqrstuvwxyz", ""),
    ("0005\r\nhello\r\n000\r\n\r\n", "hello", ""),
    ("5 \r\nhello\r\n0 \t\r\n\r\n", "hello", ""),
    ("5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello", ""),
    ("5 ; a = b ;c\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5;a=\"x;\\\"y \\\\\"\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5;\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", ""),
    ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", ""),
    ("0\r\nA: b\r\n\r\n", "", "A: b\r\n"),
    ("1\r\nx\r\n0\r\nA: b\r\nc:\r\n\r\n", "x", "A: b\r\nc:\r\n"),
    ("0\r\nChecksum:\tä\r\n\r\n", "", "Checksum:\tä\r\n"),
];

#[test]
fn what_is_right_goes_on_in_canonical_form_wherever_it_is_cut() {
    for (input, data, trailers) in GOOD {
        let whole = format!("{input}GET / HTTP/1.1");
        let bytes = whole.as_bytes();
        let every_byte: Vec<usize> = (1..bytes.len()).collect();
        let cuts = (0..bytes.len()).map(|cut| vec![cut]).chain([every_byte]);
        let pairs = (0..bytes.len()).flat_map(|a| (a..bytes.len()).map(move |b| vec![a, b]));
        for cuts in cuts.chain(pairs) {
            for limit in [0, 1, 2, 7, usize::MAX] {
                let (relayed, chunks) = relay(bytes, &cuts, limit).unwrap();
                let place = format!("{input:?} cut at {cuts:?}, limit {limit}");
                assert!(chunks.is_done(), "{place}");
                assert_eq!(relayed.left_over, b"GET / HTTP/1.1", "{place}");
                let decoded = decode_strictly(&relayed.sent);
                assert_eq!(decoded, Some((data.into(), trailers.into())), "{place}");
                assert_eq!(relayed.trailers, trailers.as_bytes(), "{place}");
                assert_eq!(chunks.data_total(), data.len() as u64, "{place}");
            }
        }
    }
}

const BAD: [(&str, BadChunk); 52] = [
    ("\r\n", BadChunk::Size),
    ("x", BadChunk::Size),
    ("-5\r\nhello\r\n", BadChunk::Size),
    ("+5\r\nhello\r\n", BadChunk::Size),
    ("0x5\r\nhello\r\n", BadChunk::Size),
    (" 5\r\nhello\r\n", BadChunk::Size),
    ("\t5\r\nhello\r\n", BadChunk::Size),
    ("5 5\r\nhello\r\n", BadChunk::Size),
    ("5_0\r\nhello\r\n", BadChunk::Size),
    ("5,5\r\nhello\r\n", BadChunk::Size),
    ("5.\r\nhello\r\n", BadChunk::Size),
    ("5h\r\nhello\r\n", BadChunk::Size),
    (";a\r\nhello\r\n", BadChunk::Size),
    ("5\0\r\nhello\r\n", BadChunk::Size),
    ("5\x0b\r\nhello\r\n", BadChunk::Size),
    ("\u{ff15}\r\nhello\r\n", BadChunk::Size),
    ("8000000000000000\r\n", BadChunk::TooLarge),
    ("ffffffffffffffff\r\n", BadChunk::TooLarge),
    ("10000000000000005\r\nhello\r\n", BadChunk::TooLarge),
    ("00010000000000000005\r\nhello\r\n", BadChunk::TooLarge),
    ("100000000000000000000000000000005\r\n", BadChunk::TooLarge),
    ("5\nhello\r\n", BadChunk::LineEnd),
    ("5 \nhello\r\n", BadChunk::LineEnd),
    ("5\rhello\r\n", BadChunk::LineEnd),
    ("5\r\rhello\r\n", BadChunk::LineEnd),
    ("5\r \nhello\r\n", BadChunk::LineEnd),
    ("5;\nhello\r\n", BadChunk::LineEnd),
    ("5;a\nhello\r\n", BadChunk::LineEnd),
    ("5;a\r;\r\nhello\r\n", BadChunk::LineEnd),
    ("5;a=\"\n\"\r\nhello\r\n", BadChunk::Extension),
    ("5;a=\"\r\n\"\r\nhello\r\n", BadChunk::Extension),
    ("5;a=\"\\\n\"\r\nhello\r\n", BadChunk::Extension),
    ("5;a=\"b\r\nhello\r\n", BadChunk::Extension),
    ("5;a=\"b\\\"\r\nhello\r\n", BadChunk::Extension),
    ("5;a\0\r\nhello\r\n", BadChunk::Extension),
    ("5;a=\"\0\"\r\nhello\r\n", BadChunk::Extension),
    ("5;a\x7f\r\nhello\r\n", BadChunk::Extension),
    ("5\r\nhelloXX0\r\n\r\n", BadChunk::DataEnd),
    ("5\r\nhello\n0\r\n\r\n", BadChunk::DataEnd),
    ("5\r\nhello\r0\r\n\r\n", BadChunk::DataEnd),
    ("5\r\nhello0\r\n\r\n", BadChunk::DataEnd),
    ("4\r\nhello\r\n0\r\n\r\n", BadChunk::DataEnd),
    ("0\r\n\n", BadChunk::Trailer),
    ("0\r\n\rX", BadChunk::Trailer),
    ("0\r\nA: b\n\r\n", BadChunk::Trailer),
    ("0\r\nA: b\rc\r\n\r\n", BadChunk::Trailer),
    ("0\r\nA : b\r\n\r\n", BadChunk::Trailer),
    ("0\r\n A: b\r\n\r\n", BadChunk::Trailer),
    ("0\r\nA: b\r\n c\r\n\r\n", BadChunk::Trailer),
    ("0\r\n: b\r\n\r\n", BadChunk::Trailer),
    ("0\r\nA\r\n\r\n", BadChunk::Trailer),
    ("0\r\nA: \0\r\n\r\n", BadChunk::Trailer),
];

#[test]
fn what_is_wrong_is_broken_off_for_the_same_reason_wherever_it_is_cut() {
    for (input, reason) in BAD {
        for prefix in ["", "3\r\nabc\r\n", "3;x\r\nabc\r\n"] {
            let whole = format!("{prefix}{input}");
            let every_byte: Vec<usize> = (1..whole.len()).collect();
            for cuts in (0..whole.len()).map(|cut| vec![cut]).chain([every_byte]) {
                for limit in [0, 1, 5, usize::MAX] {
                    let result = relay(whole.as_bytes(), &cuts, limit).map(|_| ());
                    assert_eq!(result, Err(reason), "{whole:?} cut at {cuts:?}, limit {limit}");
                }
            }
        }
    }
}

#[test]
fn the_largest_size_is_one_below_two_to_the_63() {
    for limit in [0, usize::MAX] {
        let (_, chunks) = relay(b"7fffffffffffffff\r\n", &[], limit).unwrap();
        assert_eq!(chunks.data_left(), (1 << 63) - 1);
        let (relayed, chunks) = relay(b"fffffffffffffff\r\n", &[], limit).unwrap();
        assert_eq!(chunks.data_left(), (1 << 60) - 1);
        assert_eq!(relayed.sent, b"fffffffffffffff\r\n");
        let mut chunks = Chunks::new();
        for digits in ["1000000000000000\r\n", "10000000000000000\r\n", "ffffffffffffffffffff\r\n"]
        {
            assert_eq!(chunks.pass(digits.as_bytes(), 100), 0, "left to read: {digits}");
        }
    }
}

#[test]
fn a_message_may_say_nothing_in_4096_bytes_and_not_in_one_more() {
    let zeros = |count| format!("{}5\r\nhello\r\n", "0".repeat(count));
    let blanks = |count| format!("5{}\r\nhello\r\n", " ".repeat(count));
    let extension = |count: usize| format!("5;{}\r\nhello\r\n", "x".repeat(count - 1));
    let quoted = |count: usize| format!("5;\"{}\"\r\nhello\r\n", "x".repeat(count - 3));
    let spread = |count: usize| {
        let chunks = "5;x\r\nhello\r\n".repeat(count / 2);
        format!("{chunks}5{}\r\nhello\r\n", " ".repeat(count % 2))
    };
    for count in [4095, 4096, 4097] {
        for input in [zeros(count), blanks(count), extension(count), quoted(count), spread(count)] {
            for limit in [0, usize::MAX] {
                let result = relay(input.as_bytes(), &[], limit).map(|_| ());
                let wanted = if count > 4096 { Err(BadChunk::Padding) } else { Ok(()) };
                assert_eq!(result, wanted);
            }
        }
    }
}

#[test]
fn a_hundred_trailers_pass_and_one_more_does_not() {
    for (count, wanted) in [(100, Ok(())), (101, Err(BadChunk::TrailersTooLong))] {
        let input = format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(relay(input.as_bytes(), &[], 0).map(|_| ()), wanted);
    }
}

#[test]
fn trailers_without_end_are_broken_off_within_64_kib() {
    let long = format!("0\r\nA: {}", "b".repeat(65_533));
    assert_eq!(relay(long.as_bytes(), &[], 0).map(|_| ()), Ok(()));
    let longer = format!("{long}b");
    assert_eq!(relay(longer.as_bytes(), &[], 0).map(|_| ()), Err(BadChunk::TrailersTooLong));
    let several = format!("0\r\n{}", format!("A: {}\r\n", "b".repeat(1019)).repeat(65));
    assert_eq!(relay(several.as_bytes(), &[], 0).map(|_| ()), Err(BadChunk::TrailersTooLong));
}

#[test]
fn many_chunks_pass_at_once_up_to_the_limit_and_to_the_last_one() {
    let input = format!("{}0\r\n\r\n", "5\r\nhello\r\n".repeat(50));
    let mut chunks = Chunks::new();
    assert_eq!(chunks.pass(input.as_bytes(), usize::MAX), 500);
    assert_eq!(chunks.read(&input.as_bytes()[500..]), Ok((3, Chunk::Last)));

    let mut chunks = Chunks::new();
    assert_eq!(chunks.pass(input.as_bytes(), 17), 17); // the second chunk but for its last byte
    assert_eq!((chunks.data_left(), chunks.data_total()), (1, 10));
    assert_eq!(chunks.pass(b"o\r\n", 2), 1); // half a CRLF is not passed
    assert_eq!(chunks.read(b"\r\n"), Ok((2, Chunk::DataEnd)));
}

#[test]
fn nothing_passes_while_a_line_is_partly_read() {
    for input in ["1", "1 ", "1;", "1;\"", "1;\"\\", "1\r", "1\r\nx\r", "0\r\n", "0\r\n\r\n"] {
        let (_, mut chunks) = relay(input.as_bytes(), &[], 0).unwrap();
        assert_eq!(chunks.pass(b"5\r\nhello\r\n", 100), 0, "{input:?}");
    }
}

#[test]
fn behind_the_end_nothing_is_consumed() {
    let (_, mut chunks) = relay(b"0\r\n\r\n", &[], 0).unwrap();
    assert!(chunks.is_done());
    assert_eq!(chunks.read(b"5\r\n"), Ok((0, Chunk::End)));
    assert_eq!(chunks.read(b""), Ok((0, Chunk::End)));
}

#[test]
fn a_size_is_written_in_the_fewest_digits() {
    for size in [0, 1, 15, 16, 31, 255, 4096, 0xdead_beef, u64::MAX] {
        let wanted = format!("{size:x}\r\n");
        assert_eq!(Chunks::size_line(size, &mut [0; 20]), wanted.as_bytes());
    }
}

#[test]
fn whatever_comes_is_refused_or_read_by_all_peers_alike() {
    const TELLING: &[u8] = b"\r\n\0\t \";:\\0159afAFxX+-_,=\x7f\x80\xff";
    let mut seeded = Xorshift::new(1);
    let mut accepted = 0;
    for round in 0..60_000 {
        let mut input = GOOD[seeded.below(GOOD.len())].0.as_bytes().to_vec();
        for _ in 0..seeded.below(4) {
            let place = seeded.below(input.len());
            match seeded.below(4) {
                0 => input[place] = TELLING[seeded.below(TELLING.len())],
                1 => input.insert(place, TELLING[seeded.below(TELLING.len())]),
                2 if input.len() > 1 => drop(input.remove(place)),
                _ => input[place] ^= 1 << seeded.below(8),
            }
        }
        let mut cuts: Vec<usize> =
            (0..seeded.below(4)).map(|_| seeded.below(input.len())).collect();
        cuts.sort_unstable();
        let limit = [0, 1, 3, 8, usize::MAX][seeded.below(5)];

        let at_once = relay(&input, &[], 0);
        let in_pieces = relay(&input, &cuts, limit);
        let place = format!("round {round}: {:?}", input.escape_ascii().to_string());
        match (at_once, in_pieces) {
            (Err(one), Err(other)) => assert_eq!(one, other, "{place}"),
            (Ok((one, chunks)), Ok((other, in_pieces))) => {
                assert_eq!(chunks.is_done(), in_pieces.is_done(), "{place}");
                assert_eq!(one.left_over, other.left_over, "{place}");
                assert_eq!(chunks.data_total(), in_pieces.data_total(), "{place}");
                if chunks.is_done() {
                    accepted += 1;
                    let (data, _) = decode_strictly(&one.sent).expect(&place);
                    let (also, trailers) = decode_strictly(&other.sent).expect(&place);
                    assert_eq!((&data, &one.trailers), (&also, &trailers), "{place}");
                    assert_eq!(Some(data), decode_carelessly(&input), "{place}");
                }
            }
            (one, other) => panic!("{place}: {one:?} but in pieces {other:?}"),
        }
    }
    assert!(accepted > 10_000, "only {accepted} rounds had anything to compare");
}
