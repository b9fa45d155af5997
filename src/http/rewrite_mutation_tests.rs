//! Heads damaged at random: whatever is accepted must go on in a form that a naive reader
//! understands as we did.
use super::tests::{ANSWERING, FORWARD, buffer, text};
use super::*;
use crate::http::{request, response, upgrade};
use crate::mem::xorshift::Xorshift;

/// A head as somebody reads it who knows nothing of ours: the first line, and names in lower case
/// with their values.
fn read_naively(head: &[u8]) -> (String, Vec<(String, String)>) {
    let head: String = head.iter().map(|&byte| char::from(byte)).collect();
    let mut lines = head.strip_suffix("\r\n\r\n").expect(&head).split("\r\n");
    let first = lines.next().unwrap().to_owned();
    assert!(first.chars().all(|letter| letter == '\t' || !letter.is_ascii_control()), "{head:?}");
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').expect(&head);
        assert!(
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_graphic()),
            "{head:?}"
        );
        assert!(
            value.chars().all(|letter| letter == '\t' || !letter.is_ascii_control()),
            "{head:?}"
        );
        (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
    });
    (first, fields.collect())
}

fn values<'a>(fields: &'a [(String, String)], wanted: &str) -> Vec<&'a str> {
    fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &value[..]).collect()
}

/// One to four changes at random places: another byte, one more, one less, a line that is there.
fn mutate(head: &str, lines: &[&str], random: &mut Xorshift) -> Vec<u8> {
    const TELLING: &[u8] = b"\r\n\0\t :,;_-0159aAx/*?#%\x7f\x80\xff";
    let mut bytes = head.as_bytes().to_vec();
    for _ in 0..1 + random.below(4) {
        let place = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[place] = TELLING[random.below(TELLING.len())],
            1 => bytes.insert(place, TELLING[random.below(TELLING.len())]),
            2 => drop(bytes.remove(place)),
            3 => bytes[place] ^= 0x20,
            _ => {
                let line_ends = bytes.windows(2).enumerate().filter(|(_, two)| two == b"\r\n");
                let ends: Vec<usize> = line_ends.map(|(start, _)| start + 2).collect();
                if !ends.is_empty() {
                    let place = ends[random.below(ends.len())];
                    let line = lines[random.below(lines.len())].bytes().chain(*b"\r\n");
                    bytes.splice(place..place, line);
                }
            }
        }
    }
    bytes
}

const CONNECTION_ONLY: [&str; 3] = ["keep-alive", "proxy-connection", "proxy"];

/// What ends at this connection is only there where it was made anew.
fn check_connection(head: &request::RequestHead, fields: &[(String, String)], place: &str) {
    let connection: &[&str] =
        match (upgrade::is_offered(head, &[upgrade::WEBSOCKET.to_owned()]), head.te_trailers) {
            (false, false) => &[],
            (true, false) => &["upgrade"],
            (false, true) => &["TE"],
            (true, true) => &["upgrade, TE"],
        };
    assert_eq!(values(fields, "connection"), connection, "{place}");
    let te: &[&str] = if head.te_trailers { &["trailers"] } else { &[] };
    assert_eq!(values(fields, "te"), te, "{place}");
    for name in &CONNECTION_ONLY {
        assert!(values(fields, name).is_empty(), "{place}");
    }
}

#[test]
fn whatever_request_is_accepted_goes_on_readable_in_one_way_only() {
    let lines = [
        "Content-Length: 5",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Connection: close, X-A",
        "Connection: Host, Content-Length, Transfer-Encoding, X-Request-ID, X-Forwarded-For",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Host: other",
        "X-Forwarded-For: 1.1.1.1",
        "X_Forwarded_For: 1.1.1.1",
        "Content_Length: 7",
        "X-Request-ID: theirs",
        "TE: trailers",
        "TE: gzip, trailers",
        "Proxy: evil",
        "Keep-Alive: 5",
        "X-A: b",
        "User-Agent: x",
        "Expect: 100-continue",
    ];
    let upgrades = [upgrade::WEBSOCKET.to_owned()];
    let forward = Forward { upgrades: &upgrades, ..FORWARD };
    let mut random = Xorshift::new(2);
    let mut out = buffer(4096);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let start =
            ["GET /x?y HTTP/1.1", "POST http://b/z HTTP/1.1", "PUT / HTTP/1.0"][random.below(3)];
        let head = format!("{start}\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\n\r\n");
        let came = mutate(&head, &lines, &mut random);
        let Ok(head) = request::parse(&came) else { continue };
        accepted += 1;
        let place = came.escape_ascii().to_string();
        out.clear();
        let spans = super::request(&head, &forward, &mut out).expect(&place);
        let (first, fields) = read_naively(out.as_slice());
        let slash: &[u8] = if head.target.starts_with(b"?") { b"/" } else { b"" };
        let target = [slash, head.target].concat();
        let line = [head.method_name, b" ", &target, b" HTTP/1.1"].concat();
        assert_eq!(first.as_bytes(), line, "{place}");
        assert_eq!(values(&fields, "host"), [text(head.authority)], "{place}");
        let (lengths, codings): (Vec<String>, &[&str]) = match head.framing {
            Framing::None => (vec![], &[]),
            Framing::Length(length) => (vec![length.to_string()], &[]),
            Framing::Chunked => (vec![], &["chunked"]),
        };
        assert_eq!(values(&fields, "content-length"), lengths, "{place}");
        assert_eq!(values(&fields, "transfer-encoding"), codings, "{place}");
        assert_eq!(values(&fields, "x-forwarded-for"), ["192.0.2.7"], "{place}");
        assert_eq!(values(&fields, "x-request-id"), ["an-id"], "{place}");
        check_connection(&head, &fields, &place);
        for name in ["content_length", "x_forwarded_for", "forwarded"] {
            assert!(values(&fields, name).is_empty(), "{place}");
        }

        let (_, before) = read_naively(came.strip_prefix(b"\r\n").unwrap_or(&came));
        let names = values(&before, "connection").join(",").to_ascii_lowercase();
        for name in ["x-a", "x-b"] {
            let goes = !names.split(',').any(|option| option.trim_matches([' ', '\t']) == name);
            let wanted = if goes { values(&before, name) } else { vec![] };
            assert_eq!(values(&fields, name), wanted, "{place}");
        }
        let again = request::parse(out.as_slice()).expect(&place);
        assert_eq!((again.framing, again.target), (head.framing, &target[..]), "{place}");
        assert_eq!(&out[spans.user_agent], again.fields.values("user-agent").next().unwrap_or(b""));
    }
    assert!(accepted > 10_000, "only {accepted} were accepted");
}

#[test]
fn whatever_response_is_accepted_goes_on_readable_in_one_way_only() {
    use ResponseFraming::*;
    let lines = [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Connection: close, X-A",
        "Connection: Set-Cookie, Content-Length, Transfer-Encoding, X-Request-ID",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Content_Length: 7",
        "X-Request-ID: theirs",
        "Keep-Alive: timeout=5",
        "Proxy: evil",
        "Trailer: x",
        "X-A: b",
        "Set-Cookie: a=b",
    ];
    let mut random = Xorshift::new(3);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let start = ["HTTP/1.1 200 OK", "HTTP/1.0 404", "HTTP/1.1 204 No"][random.below(3)];
        let head = format!("{start}\r\nX-A: 1\r\nSet-Cookie: 2\r\nset-cookie: 3\r\n\r\n");
        let came = mutate(&head, &lines, &mut random);
        let Ok(head) = response::parse(&came) else { continue };
        accepted += 1;
        let place = format!("{}", came.escape_ascii());
        let framing = [AsIs, Chunked, Close][random.below(3)];
        let mut out = Vec::new();
        super::response(&head, &Answering { framing, ..ANSWERING }, &mut out);
        assert!(out.len() <= response_len_bound(came.len()), "{place}");
        let (first, fields) = read_naively(&out);

        assert!(first.starts_with(&format!("HTTP/1.1 {} ", head.status)), "{place}");
        let (_, before) = read_naively(&came);
        let has_body = head.status >= 200 && head.status != 204;
        let lengths = match framing {
            AsIs if has_body => values(&before, "content-length"),
            AsIs | Chunked | Close => vec![],
        };
        assert_eq!(values(&fields, "content-length"), lengths, "{place}");
        let codings: &[&str] = if framing == Chunked && has_body { &["chunked"] } else { &[] };
        assert_eq!(values(&fields, "transfer-encoding"), codings, "{place}");
        let ids = values(&before, "x-request-id");
        let ids = if ids.is_empty() { vec!["an-id"] } else { ids };
        assert_eq!(values(&fields, "x-request-id"), ids, "{place}");
        assert!(values(&fields, "content_length").is_empty(), "{place}");
        for name in &CONNECTION_ONLY {
            assert!(values(&fields, name).is_empty(), "{place}");
        }
        let names = values(&before, "connection").join(",").to_ascii_lowercase();
        for name in ["x-a", "set-cookie"] {
            let goes = !names.split(',').any(|option| option.trim_matches([' ', '\t']) == name);
            let wanted = if goes { values(&before, name) } else { vec![] };
            assert_eq!(values(&fields, name), wanted, "{place}");
        }
    }
    assert!(accepted > 10_000, "only {accepted} were accepted");
}
