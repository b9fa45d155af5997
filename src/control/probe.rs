//! One check of one backend: a new connection, and perhaps one request over it.
//!
//! ```text
//! Connecting → Asking → Awaiting → done      with a path: a request, and the head of its response
//! Connecting → done                          without: that it connects is all
//! ```

use std::net::SocketAddr;

use crate::http::{HeadScan, Scan, response};
use crate::sys::{Event, IoError, Poller, Socket};

/// The longest response head that is read, in bytes.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The target of the `GET`.
    pub path: String,
    /// The value of `Host`; without it the backend's address.
    pub host: Option<String>,
    /// The only status that is healthy.
    pub status: u16,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It connected, and that was the check.
    Connected,
    /// It gave the status that it should.
    Answered(u16),
    /// It gave another one.
    WrongStatus(u16),
    /// The connection was refused, or broke while it was opened.
    NoConnection,
    /// It was not done in time.
    TimedOut,
    /// The connection ended before a whole response head.
    Ended,
    /// What it sent is no response head, or a longer one than is read.
    BadResponse,
}

impl Outcome {
    /// Whether the backend is healthy by it.
    pub fn passed(self) -> bool {
        match self {
            Outcome::Connected | Outcome::Answered(_) => true,
            Outcome::WrongStatus(_)
            | Outcome::NoConnection
            | Outcome::TimedOut
            | Outcome::Ended
            | Outcome::BadResponse => false,
        }
    }

    /// The status of the answer, 0 if there was none.
    pub fn status(self) -> u16 {
        match self {
            Outcome::Answered(status) | Outcome::WrongStatus(status) => status,
            Outcome::Connected
            | Outcome::NoConnection
            | Outcome::TimedOut
            | Outcome::Ended
            | Outcome::BadResponse => 0,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Connected => out.write_str("it takes connections"),
            Outcome::Answered(status) => write!(out, "its check was answered {status}"),
            Outcome::WrongStatus(status) => write!(out, "its check was answered {status}"),
            Outcome::NoConnection => out.write_str("it cannot be connected to"),
            Outcome::TimedOut => out.write_str("its check was not answered in time"),
            Outcome::Ended => out.write_str("its check was not answered"),
            Outcome::BadResponse => out.write_str("its check was not answered by valid HTTP"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Asking,
    Awaiting,
}

/// A check under way.
pub struct Probe {
    socket: Socket,
    address: SocketAddr,
    state: State,
    /// Bytes of the request that are sent.
    sent: usize,
    /// What came of the response, where it did not come whole at once.
    received: Vec<u8>,
}

/// Buffers that all checks share, each for as long as a call lasts.
pub struct Scratch {
    request: Vec<u8>,
    response: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            request: Vec::with_capacity(1024),
            response: vec![0; HEAD_LIMIT + 1].into_boxed_slice(),
        }
    }
}

impl Probe {
    /// Begins to connect. `Exhausted` if this process has no descriptor left, which says nothing of
    /// the backend.
    pub fn begin(address: SocketAddr, poller: &Poller, token: u64) -> Result<Probe, IoError> {
        let socket = Socket::connect(address)?;
        poller.watch_socket(&socket, token)?;
        Ok(Probe { socket, address, state: State::Connecting, sent: 0, received: Vec::new() })
    }

    /// Goes on after an event. `None`: it is not done.
    pub fn event(
        &mut self,
        event: Event,
        question: Option<&Question>,
        scratch: &mut Scratch,
    ) -> Option<Outcome> {
        if self.state == State::Connecting {
            // What was refused is writable too.
            if event.failed {
                return Some(Outcome::NoConnection);
            }
            if !event.writable {
                return None;
            }
            self.state = State::Asking;
        }
        let Some(question) = question else { return Some(Outcome::Connected) };
        if self.state == State::Asking
            && let Err(outcome) = self.ask(question, scratch)
        {
            return Some(outcome);
        }
        self.listen(question, scratch)
    }

    fn ask(&mut self, question: &Question, scratch: &mut Scratch) -> Result<(), Outcome> {
        write_request(&mut scratch.request, question, self.address);
        while let Some(rest @ [_, ..]) = scratch.request.get(self.sent..) {
            match self.socket.send([rest, &[]]) {
                Ok(count) => self.sent += count,
                Err(IoError::WouldBlock) => return Ok(()),
                Err(_) => return Err(Outcome::Ended),
            }
        }
        self.state = State::Awaiting;
        Ok(())
    }

    /// Reads what there is of the response.
    fn listen(&mut self, question: &Question, scratch: &mut Scratch) -> Option<Outcome> {
        let room = &mut scratch.response;
        let mut len = self.received.len();
        room[..len].copy_from_slice(&self.received);
        loop {
            match self.socket.receive([&mut room[len..], &mut []]) {
                Ok(0) => return Some(Outcome::Ended),
                Ok(count) => len += count,
                Err(IoError::WouldBlock) => break,
                Err(_) => return Some(Outcome::Ended),
            }
            match judge(&room[..len], question.status) {
                Some(outcome) => return Some(outcome),
                None if len > HEAD_LIMIT => return Some(Outcome::BadResponse),
                None => (),
            }
        }
        self.received.clear();
        self.received.extend_from_slice(&room[..len]);
        None
    }
}

fn write_request(out: &mut Vec<u8>, question: &Question, address: SocketAddr) {
    use std::io::Write as _;
    out.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "GET {} HTTP/1.1\r\nHost: ", question.path);
    let _ = match &question.host {
        Some(host) => write!(out, "{host}"),
        None => write!(out, "{address}"),
    };
    let _ = write!(out, "\r\nUser-Agent: httplb-check\r\nConnection: close\r\n\r\n");
}

/// What the bytes at the front say, once a head is whole. Interim ones are passed over.
fn judge(bytes: &[u8], wanted: u16) -> Option<Outcome> {
    let mut rest = bytes;
    loop {
        let len = match HeadScan::response().advance(rest) {
            Scan::Partial => return None,
            Scan::Malformed(_) => return Some(Outcome::BadResponse),
            Scan::Whole(len) => len,
        };
        let (head, behind) = rest.split_at(len);
        match response::parse(head) {
            Ok(head) if (100..=199).contains(&head.status) && head.status != 101 => rest = behind,
            Ok(head) if head.status == wanted => return Some(Outcome::Answered(head.status)),
            Ok(head) => return Some(Outcome::WrongStatus(head.status)),
            Err(_) => return Some(Outcome::BadResponse),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_backend_or_the_host_that_is_configured() {
        let address = "10.0.0.7:8080".parse().unwrap();
        let mut out = Vec::new();
        let mut question = Question { path: String::from("/up?x"), host: None, status: 200 };
        write_request(&mut out, &question, address);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "GET /up?x HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nUser-Agent: httplb-check\r\n\
             Connection: close\r\n\r\n"
        );
        question.host = Some(String::from("shop.example"));
        write_request(&mut out, &question, address);
        assert!(out.starts_with(b"GET /up?x HTTP/1.1\r\nHost: shop.example\r\nUser"));
    }

    #[test]
    fn only_the_very_status_is_healthy() {
        let of = |text: &str| judge(text.as_bytes(), 204);
        assert_eq!(of("HTTP/1.1 204 No Content\r\n\r\n"), Some(Outcome::Answered(204)));
        assert_eq!(of("HTTP/1.0 204\r\nA: b\r\n\r\nbody"), Some(Outcome::Answered(204)));
        assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n"), Some(Outcome::WrongStatus(200)));
        assert_eq!(of("HTTP/1.1 500 No\r\n\r\n"), Some(Outcome::WrongStatus(500)));
    }

    #[test]
    fn interim_responses_are_passed_over() {
        let text = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(judge(text, 200), Some(Outcome::Answered(200)));
        assert_eq!(judge(&text[..40], 200), None);
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        assert_eq!(judge(b"HTTP/1.1 2", 200), None);
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 099 x\r\n\r\n"] {
            assert_eq!(judge(text.as_bytes(), 200), Some(Outcome::BadResponse), "{text}");
        }
    }
}
