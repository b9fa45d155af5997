//! One request to the admin API, and its response: over a connection of its own, within a time, and
//! never more of it than this process has room for. Whoever answers may be anybody.

use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use crate::config::{Endpoint, UnixPath};
use crate::http::body::{self, Body};
use crate::http::chunked::{Chunk, Chunks};
use crate::http::{Method, response};
use crate::mem::time::{Micros, Millis};
use crate::sys::{IoError, Poller, Socket, clock};

/// Bytes of the largest response that is taken: pools of thousands of backends have a tenth of it.
const LARGEST: usize = 64 << 20;
/// Bytes of the largest head of one.
const LARGEST_HEAD: usize = 64 << 10;
/// Bytes of the largest file of a token.
const LARGEST_TOKEN: u64 = 64 << 10;
/// A connection is there within this time.
const CONNECT: Millis = Millis(5_000);
/// Where as many wait to be let in as may, it is tried again so often.
const FULL_PAUSE: Millis = Millis(50);
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A service that can be asked.
pub struct Server {
    endpoint: Endpoint,
    /// What a request over TCP must carry.
    token: Option<String>,
}

/// What is asked.
pub struct Call<'a> {
    /// The method.
    pub method: &'static str,
    /// Path and query, encoded.
    pub target: &'a str,
    /// JSON, or nothing.
    pub body: &'a str,
    /// How long the answer may take.
    pub patience: Millis,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body; what is not UTF-8 in it is replaced.
    pub body: String,
}

impl Server {
    /// The one whose admin socket is at `path`.
    pub fn at_socket(path: UnixPath) -> Server {
        Server { endpoint: Endpoint::Unix(path), token: None }
    }

    /// The one whose admin API is at an address, where the token in this file is asked for.
    pub fn at_address(address: SocketAddr, token_file: &Path) -> Result<Server, String> {
        let token = token(token_file)?;
        Ok(Server { endpoint: Endpoint::Tcp(address), token: Some(token) })
    }

    /// Asks, and waits for the answer. The error is for people.
    pub fn ask(&self, call: &Call) -> Result<Reply, String> {
        let failed = |(error, begun): (IoError, bool)| self.explained(error, begun);
        let mut wire = Wire::connect(self.endpoint).map_err(|error| failed((error, false)))?;
        let authorization = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "{} {} HTTP/1.1\r\nHost: httplb\r\nUser-Agent: httplb-ctl\r\nConnection: close\r\n\
             {authorization}Content-Length: {}\r\n\r\n{}",
            call.method,
            call.target,
            call.body.len(),
            call.body
        );
        wire.until = clock::now() + Micros::from(call.patience);
        wire.send(request.as_bytes()).map_err(|error| failed((error, true)))?;
        let bytes = wire.receive().map_err(|error| failed((error, true)))?;
        let reply = bytes.and_then(|bytes| read_reply(&bytes));
        reply.ok_or_else(|| {
            format!("{}: what answers there does not speak HTTP as httplb does", self.endpoint)
        })
    }

    /// Why nobody answered, and what can be done.
    fn explained(&self, error: IoError, begun: bool) -> String {
        let place = self.endpoint;
        let remedy = match (error, place) {
            (IoError::NotFound, Endpoint::Unix(_)) => {
                "is the service running, with \"admin\" in its configuration? --socket names another"
            }
            (IoError::Denied, Endpoint::Unix(_)) => "be root, or join the group of the socket",
            (IoError::Refused, _) => "is the service running? \"systemctl status httplb\" tells",
            (IoError::TimedOut, _) if begun => "it may be overloaded or stopped: ask again",
            _ => "ask again",
        };
        match (error, begun) {
            (IoError::TimedOut, true) => format!("{place}: no answer in time ({remedy})"),
            (IoError::Reset, true) => format!("{place}: the connection broke ({remedy})"),
            (_, _) => format!("{place}: {error} ({remedy})"),
        }
    }
}

/// The token in a file, which is one line.
fn token(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(LARGEST_TOKEN).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {}: {}", file.display(), IoError::from(error)))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let token = text.trim_ascii();
    // Anything else could not stand in a header line.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} has no token (one line without spaces)", file.display()));
    }
    Ok(token.to_owned())
}

/// The address that `http://host:port` means.
pub fn address_of(url: &str) -> Result<SocketAddr, String> {
    let shown = crate::config::text::quote(url);
    if url.starts_with("https:") {
        let way = "by ssh -L, say: ssh -L 9002:127.0.0.1:9002 HOST";
        return Err(format!(
            "--url: {shown}: TLS is not spoken here (write http://, and go {way})"
        ));
    }
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let wrong = || format!("--url: {shown} is not right (write \"http://127.0.0.1:9002\")");
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return Err(wrong());
    }
    let mut found = authority.to_socket_addrs().map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => wrong(),
        _ => format!("--url: {shown} cannot be looked up (write an address, or mend the name)"),
    })?;
    found.next().ok_or_else(wrong)
}

/// A connection, and until when it is waited for.
struct Wire {
    socket: Socket,
    poller: Poller,
    until: Micros,
}

impl Wire {
    fn connect(endpoint: Endpoint) -> Result<Wire, IoError> {
        let until = clock::now() + Micros::from(CONNECT);
        let socket = loop {
            match Socket::connect(endpoint) {
                Err(IoError::WouldBlock) if clock::now() < until => clock::pause(FULL_PAUSE),
                Err(IoError::WouldBlock) => return Err(IoError::TimedOut),
                connected => break connected?,
            }
        };
        let poller = Poller::new()?;
        poller.watch_socket(&socket, 0)?;
        let mut wire = Wire { socket, poller, until };
        // An event tells that it is there; a Unix socket is at once.
        if endpoint.port().is_some() {
            wire.wait()?;
        }
        Ok(wire)
    }

    /// Waits for an event, within the time that is left.
    fn wait(&mut self) -> Result<(), IoError> {
        loop {
            let now = clock::now();
            if now >= self.until {
                return Err(IoError::TimedOut);
            }
            self.poller.wait(Some((self.until - now).millis() + Millis(1)))?;
            if !self.poller.events().is_empty() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), IoError> {
        while !bytes.is_empty() {
            match self.socket.send([bytes, &[]]) {
                Ok(count) => bytes = &bytes[count..],
                Err(IoError::WouldBlock) => self.wait()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads to the end. `None`: it is longer than may be.
    fn receive(&mut self) -> Result<Option<Vec<u8>>, IoError> {
        let mut bytes = Vec::new();
        let mut piece = vec![0; PIECE];
        loop {
            match self.socket.receive([&mut piece, &mut []]) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(IoError::WouldBlock) => self.wait()?,
                Err(error) => return Err(error),
            }
            if bytes.len() > LARGEST {
                return Ok(None);
            }
        }
    }
}

/// What bytes up to the end of a connection say. `None` if they are no whole response.
fn read_reply(mut bytes: &[u8]) -> Option<Reply> {
    loop {
        let window = &bytes[..bytes.len().min(LARGEST_HEAD)];
        let end = window.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = response::parse(&bytes[..end]).ok()?;
        bytes = &bytes[end..];
        if head.status < 200 {
            continue;
        }
        let body = match body::of_response(Method::Get, &head) {
            Body::Empty => Vec::new(),
            Body::UntilClose => bytes.to_vec(),
            Body::Length(length) => bytes.get(..usize::try_from(length).ok()?)?.to_vec(),
            Body::Chunked(chunks) => read_chunks(chunks, bytes)?,
        };
        return Some(Reply {
            status: head.status,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
}

/// The data of chunks, if they are whole.
fn read_chunks(mut chunks: Chunks, mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let (used, chunk) = chunks.read(bytes).ok()?;
        bytes = &bytes[used..];
        match chunk {
            Chunk::Size(size) => {
                let (piece, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
                data.extend_from_slice(piece);
                chunks.advance(size);
                bytes = rest;
            }
            Chunk::DataEnd | Chunk::Last | Chunk::Trailer { .. } => (),
            Chunk::More => return None,
            Chunk::End => return Some(data),
        }
    }
}

/// `text` as one segment of a path or one value of a query: RFC 3986 §2.1.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(bytes: &str) -> Option<(u16, String)> {
        read_reply(bytes.as_bytes()).map(|reply| (reply.status, reply.body))
    }

    #[test]
    fn a_response_is_read_however_it_is_framed() {
        let ok = |body: &str| Some((200, body.to_owned()));
        assert_eq!(body_of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), ok("ab"));
        assert_eq!(body_of("HTTP/1.1 200 OK\r\n\r\nabc"), ok("abc"));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(body_of(&format!("{chunked}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")), ok("abc"));
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(body_of(early), Some((204, String::new())));
        let raw = read_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff");
        assert_eq!(raw.unwrap().body, "\u{fffd}");
    }

    #[test]
    fn what_is_cut_or_no_response_is_none() {
        for text in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffff\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n",
        ] {
            assert_eq!(body_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_encoded_for_a_path() {
        assert_eq!(encoded("unix:/run/a.sock"), "unix:%2Frun%2Fa.sock");
        assert_eq!(encoded("[::1]:80"), "%5B::1%5D:80");
        assert_eq!(encoded("a b?&%ä"), "a%20b%3F%26%25%C3%A4");
    }

    #[test]
    fn a_url_is_an_address() {
        assert_eq!(address_of("http://127.0.0.1:80/"), Ok(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert_eq!(address_of("[::1]:80").unwrap().to_string(), "[::1]:80");
        for (url, part) in [
            ("https://a:1", "TLS is not spoken"),
            ("http://127.0.0.1", "is not right"),
            ("http://", "is not right"),
            ("http://127.0.0.1:1/x", "is not right"),
        ] {
            assert!(address_of(url).unwrap_err().contains(part), "{url}");
        }
    }
}
