use super::super::testing::{Dice, scan_however_cut, scan_in_pieces};
use super::*;

fn request(bytes: &[u8]) -> Scan {
    scan_however_cut(HeadScan::request(), bytes, &mut Dice::new(7))
}

fn response(bytes: &[u8]) -> Scan {
    scan_however_cut(HeadScan::response(), bytes, &mut Dice::new(7))
}

#[test]
fn a_head_ends_at_its_empty_line_and_not_before() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for cut in 0..head.len() {
        assert_eq!(request(&head[..cut]), Scan::Partial, "{cut}");
    }
    assert_eq!(request(head), Scan::Whole(head.len()));
    assert_eq!(request(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Scan::Whole(18));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\nbody"), Scan::Whole(19));
    assert_eq!(response(b"HTTP/1.1 200\r\nA: b\r\n\r\n"), Scan::Whole(22));
}

#[test]
fn one_empty_line_may_come_before_a_request() {
    assert_eq!(request(b"\r\nGET / HTTP/1.1\r\n\r\n"), Scan::Whole(20));
    assert_eq!(request(b"\r"), Scan::Partial);
    assert_eq!(request(b"\r\n"), Scan::Partial);
    assert_eq!(request(b"\r\n\r"), Scan::Malformed(2));
    assert_eq!(request(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Scan::Malformed(2));
    assert_eq!(request(b"\r\rGET / HTTP/1.1\r\n\r\n"), Scan::Malformed(1));
}

#[test]
fn a_hopeless_request_is_known_by_its_first_bytes() {
    assert_eq!(request(b"\x16\x03\x01\x02\x00"), Scan::Malformed(0)); // a TLS ClientHello
    assert_eq!(request(b"\0"), Scan::Malformed(0));
    assert_eq!(request(b"\n"), Scan::Malformed(0));
    assert_eq!(request(b" GET / HTTP/1.1\r\n"), Scan::Malformed(0));
    assert_eq!(request(b"\r\n GET / HTTP/1.1\r\n"), Scan::Malformed(2));
    assert_eq!(request(b"\x80"), Scan::Malformed(0));
    assert_eq!(request(b"GET /\r\n"), Scan::Malformed(6));
    assert_eq!(request(b"EHLO mail.test\r\n"), Scan::Malformed(15));
    assert_eq!(request(b"GET / HTTP/1.10\r\n"), Scan::Malformed(16));
    assert_eq!(request(b"A\r\n"), Scan::Malformed(2));
}

#[test]
fn a_hopeless_response_is_known_by_its_first_bytes() {
    assert_eq!(response(b"\r\nHTTP/1.1 200 OK\r\n\r\n"), Scan::Malformed(0));
    assert_eq!(response(b" HTTP/1.1 200 OK\r\n\r\n"), Scan::Malformed(0));
    assert_eq!(response(b"HTTP/2 200\r\n"), Scan::Malformed(5));
    assert_eq!(response(b"http/1.1 200\r\n"), Scan::Malformed(0));
    assert_eq!(response(b"ICY 200 OK\r\n"), Scan::Malformed(0));
    assert_eq!(response(b"<html>"), Scan::Malformed(0));
    assert_eq!(response(b"HTTP/"), Scan::Partial);
}

#[test]
fn a_line_feed_alone_ends_no_line() {
    assert_eq!(request(b"GET / HTTP/1.1\n"), Scan::Malformed(14));
    assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\n"), Scan::Malformed(20));
    assert_eq!(request(b"GET / HTTP/1.1\r\n\n"), Scan::Malformed(16));
    assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\r\n\n"), Scan::Malformed(22));
    assert_eq!(response(b"HTTP/1.1 200 OK\n\n"), Scan::Malformed(15));
}

#[test]
fn a_cr_too_many_ends_no_line() {
    assert_eq!(request(b"GET / HTTP/1.1\r\r\n"), Scan::Malformed(15));
    assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\r\n\r\r\n"), Scan::Malformed(23));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\nA: b\r\r\n"), Scan::Malformed(22));
}

#[test]
fn each_byte_is_searched_once() {
    let mut bytes = b"GET / HTTP/1.1\r\nA: ".to_vec();
    let mut scan = HeadScan::request();
    assert_eq!(scan.advance(&bytes), Scan::Partial);
    // Were the bytes before searched again, this would be found.
    bytes[3] = b'\n';
    bytes.extend_from_slice(b"b\r\n\r\n");
    assert_eq!(scan.advance(&bytes), Scan::Whole(bytes.len()));
}

#[test]
fn a_target_too_long_is_told_from_a_head_too_long() {
    let mut scan = HeadScan::request();
    assert!(scan.in_first_line());
    scan.advance(b"\r\nGET / HTTP/1.1\r");
    assert!(scan.in_first_line());
    scan.advance(b"\r\nGET / HTTP/1.1\r\n");
    assert!(!scan.in_first_line());
}

#[test]
fn a_scan_is_small() {
    assert_eq!(size_of::<HeadScan>(), 8);
    let scan = HeadScan::default();
    assert_eq!(scan_in_pieces(scan, b"A / HTTP/1.1\r\n\r\n", [3]), Scan::Whole(16));
}

/// Checks `len` of every byte value at every place of runs of all lengths that are looked at in another
/// way: by sixteen, by eight and what is left of them.
fn assert_runs_end(len: fn(&[u8]) -> usize, is_allowed: fn(u8) -> bool) {
    for run in [3, 8, 13, 16, 23, 24, 31, 39] {
        for place in 0..run {
            for byte in 0..=255 {
                let mut bytes = vec![b'a'; run];
                bytes[place] = byte;
                let expected = if is_allowed(byte) { run } else { place };
                assert_eq!(len(&bytes), expected, "{byte:#x} at {place} of {run}");
                // One that is wrong further on hides none before it.
                bytes[run - 1] = 0;
                let expected = if is_allowed(byte) { run - 1 } else { place }.min(run - 1);
                assert_eq!(len(&bytes), expected, "{byte:#x} at {place} of {run}, NUL at the end");
            }
        }
    }
    assert_eq!(len(b""), 0);
}

#[test]
fn runs_end_at_the_first_byte_that_is_not_allowed() {
    assert_runs_end(token_len, |byte| {
        byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
    });
    assert_runs_end(value_len, |byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    assert_runs_end(target_len, |byte| matches!(byte, b'!'..=b'~') && byte != b'#');
    assert_runs_end(raw_target_len, |byte| matches!(byte, b'!'..=b'~' | 0x80..) && byte != b'#');
}

#[test]
fn a_scan_goes_on_where_a_missing_return_was_put_in() {
    let mut scan = HeadScan::response();
    assert_eq!(scan.advance(b"HTTP/1.1 200 OK\nA: b\r\n"), Scan::Malformed(15));
    assert_eq!(scan.advance(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Scan::Partial);
    assert_eq!(scan.advance(b"HTTP/1.1 200 OK\r\nA: b\r\n\n"), Scan::Malformed(23));
    assert_eq!(scan.advance(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nx"), Scan::Whole(25));
}

#[test]
fn values_may_be_full_of_tabs() {
    assert_eq!(value_len(b"\t\t\ta\tbcdefgh\tijklmnopq\t\r\n"), 23);
    assert_eq!(value_len(b"\t\t\t\t\t\t\t\t\t\0"), 9);
}
