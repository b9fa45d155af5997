//! A response of the engine, read piece by piece: its head, and what its body says without its framing.

use crate::http::body::{self, Body};
use crate::http::{HeadScan, Method, Scan, response};

/// The longest head.
const HEAD_LIMIT: usize = 16 << 10;
/// So much of a body is held at once; a whole snapshot must fit.
const BODY_LIMIT: usize = 64 << 20;

/// Why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no HTTP.
    Malformed,
    /// It is longer than any that is expected.
    TooLong,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Unreadable::Malformed => "its response is no valid HTTP",
            Unreadable::TooLong => "its response is too long",
        })
    }
}

/// A response as far as it has come.
#[derive(Debug)]
pub struct Reader {
    /// What came and was not read yet.
    input: Vec<u8>,
    scan: HeadScan,
    head: Option<(u16, Body)>,
    /// What the body said and nobody has taken.
    text: Vec<u8>,
}

impl Default for Reader {
    /// Before its first byte.
    fn default() -> Reader {
        Reader { input: Vec::new(), scan: HeadScan::response(), head: None, text: Vec::new() }
    }
}

impl Reader {
    /// Takes in what came.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        self.input.extend_from_slice(bytes);
        while self.head.is_none() {
            match self.scan.advance(&self.input) {
                Scan::Partial if self.input.len() > HEAD_LIMIT => return Err(Unreadable::TooLong),
                Scan::Partial => return Ok(()),
                Scan::Malformed(_) => return Err(Unreadable::Malformed),
                Scan::Whole(len) => self.read_head(len)?,
            }
        }
        self.read_body()
    }

    fn read_head(&mut self, len: usize) -> Result<(), Unreadable> {
        let head = response::parse(&self.input[..len]).map_err(|_| Unreadable::Malformed)?;
        if head.status >= 200 {
            let body = body::of_response(Method::Post, &head);
            self.head = Some((head.status, body));
        }
        self.input.drain(..len);
        self.scan = HeadScan::response();
        Ok(())
    }

    fn read_body(&mut self) -> Result<(), Unreadable> {
        let Some((_, body)) = &mut self.head else { return Ok(()) };
        let mut used = 0;
        while used < self.input.len() && !body.is_done() {
            let rest = &self.input[used..];
            let is_data = match body {
                Body::Chunked(chunks) => chunks.data_left() > 0,
                Body::Empty | Body::Length(_) | Body::UntilClose => true,
            };
            // One chunk's data, or its framing, at a time.
            let piece = match body {
                Body::Chunked(chunks) if is_data => {
                    &rest[..rest
                        .len()
                        .min(usize::try_from(chunks.data_left()).unwrap_or(usize::MAX))]
                }
                Body::Chunked(_) => rest,
                Body::Empty | Body::Length(_) | Body::UntilClose => rest,
            };
            let count = match body {
                Body::Chunked(chunks) if !is_data => {
                    chunks.read(piece).map_err(|_| Unreadable::Malformed)?.0
                }
                Body::Chunked(_) | Body::Empty | Body::Length(_) | Body::UntilClose => {
                    let count = body.step_over(piece).map_err(|_| Unreadable::Malformed)?;
                    self.text.extend_from_slice(&piece[..count]);
                    count
                }
            };
            if count == 0 {
                break;
            }
            used += count;
        }
        self.input.drain(..used);
        if self.text.len() + self.input.len() > BODY_LIMIT {
            return Err(Unreadable::TooLong);
        }
        Ok(())
    }

    /// The status, once the head is here.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|(status, _)| *status)
    }

    /// Whether all of it is here.
    pub fn is_done(&self) -> bool {
        self.head.as_ref().is_some_and(|(_, body)| body.is_done())
    }

    /// What the body has said so far.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The next whole line that the body has said.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.text)?;
        let mut line: Vec<u8> = self.text.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::xorshift::Xorshift;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n4\r\nab\nc\r\n6;x=y\r\nd\n\nef\n\r\n0\r\nGrpc-Trailer: 1\r\n\r\n";

    /// Everything that is told of a response whose bytes come in these pieces.
    fn read(pieces: &[&[u8]]) -> Result<(Option<u16>, Vec<String>, bool), Unreadable> {
        let (mut reader, mut lines) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.add(piece)?;
            while let Some(line) = reader.next_line() {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
        Ok((reader.status(), lines, reader.is_done()))
    }

    #[test]
    fn lines_are_the_same_wherever_the_bytes_are_cut() {
        let expected = Ok((Some(200), ["ab", "cd", "", "ef"].map(String::from).to_vec(), true));
        let bytes = STREAM.as_bytes();
        assert_eq!(read(&[bytes]), expected);
        for cut in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected);
    }

    #[test]
    fn a_body_with_a_length_is_whole_with_its_last_byte() {
        let mut reader = Reader::default();
        let head =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n{\"a\"";
        reader.add(head).unwrap();
        assert_eq!(
            (reader.status(), reader.is_done(), reader.text()),
            (Some(503), false, &b"{\"a\""[..])
        );
        reader.add(b"}").unwrap();
        assert!(reader.is_done());
    }

    #[test]
    fn what_is_no_response_is_refused_and_what_ends_with_its_connection_never_is_done() {
        assert_eq!(read(&[b"220 mail\r\n\r\n"]), Err(Unreadable::Malformed));
        assert_eq!(read(&[&[b'a'; HEAD_LIMIT + 10]]), Err(Unreadable::Malformed));
        let mut long = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        long.resize(HEAD_LIMIT + 10, b'a');
        assert_eq!(read(&[&long]), Err(Unreadable::TooLong));
        let bad = STREAM.replace("6;x=y", "zz");
        assert_eq!(read(&[bad.as_bytes()]), Err(Unreadable::Malformed));
        let (_, _, is_done) = read(&[b"HTTP/1.1 200 OK\r\n\r\nabc"]).unwrap();
        assert!(!is_done);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut random = Xorshift::new(11);
        for _ in 0..5_000 {
            let mut bytes = STREAM.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            let cut = random.below(bytes.len());
            let _ = read(&[&bytes[..cut], &bytes[cut..]]);
        }
    }
}
