//! One check of one backend: a new connection, and perhaps one request over it.
//!
//! ```text
//! Connecting → Asking → Awaiting → Draining → done      with a path: a request and its response
//! Connecting → done                                      without: that it connects is all
//! ```
//!
//! The head of the response decides, at once. Its body is read all the same, so that the connection
//! ends without a reset, which servers log as a failure of theirs.

use crate::config::{Endpoint, Statuses, Tolerance, Tolerances, UnixPath};
use crate::http::body::{self, Body};
use crate::http::method::Method;
use crate::http::{BadResponse, line_ends};
use crate::http::{HeadScan, Scan, response};
use crate::policy::health::CheckFault;
use crate::sys::{Event, IoError, Poller, Socket};

/// The longest response head that is read, in bytes.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// Bytes of a response that are read in all, head and body; what is longer ends with a reset.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// The target of the `GET`.
    pub path: String,
    /// The value of `Host`; without it the backend's name, or its address if it has none.
    pub host: Option<String>,
    /// The statuses that are healthy.
    pub healthy: Statuses,
    /// What is tolerated of the response.
    pub tolerate: Tolerances,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It connected, and that was the check.
    Connected,
    /// It gave a status that is healthy.
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

impl ProbeOutcome {
    /// Whether the backend is healthy by it.
    pub fn passed(self) -> bool {
        self.fault().is_none()
    }

    /// Why it is not.
    pub fn fault(self) -> Option<CheckFault> {
        match self {
            ProbeOutcome::Connected | ProbeOutcome::Answered(_) => None,
            ProbeOutcome::WrongStatus(status) => Some(CheckFault::Status(status)),
            ProbeOutcome::NoConnection => Some(CheckFault::NoConnection),
            ProbeOutcome::TimedOut => Some(CheckFault::TimedOut),
            ProbeOutcome::Ended => Some(CheckFault::Ended),
            ProbeOutcome::BadResponse => Some(CheckFault::Malformed),
        }
    }

    /// The status of the answer, 0 if there was none.
    pub fn status(self) -> u16 {
        match self {
            ProbeOutcome::Answered(status) | ProbeOutcome::WrongStatus(status) => status,
            ProbeOutcome::Connected
            | ProbeOutcome::NoConnection
            | ProbeOutcome::TimedOut
            | ProbeOutcome::Ended
            | ProbeOutcome::BadResponse => 0,
        }
    }
}

impl std::fmt::Display for ProbeOutcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.fault()) {
            (_, Some(fault)) => fault.fmt(out),
            (ProbeOutcome::Answered(status), None) => {
                write!(out, "its check was answered {status}")
            }
            (_, None) => out.write_str("it takes connections"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum ProbeState {
    Connecting,
    Asking,
    Awaiting,
    /// The head has come.
    Draining(Rest),
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// What is still to come.
    body: Body,
    /// Bytes that were read.
    taken: usize,
}

/// A check under way.
pub struct Probe {
    socket: Socket,
    address: Endpoint,
    /// What it is called in `Host` if nothing else is said.
    name: Option<String>,
    state: ProbeState,
    /// Bytes of the request that are sent.
    sent: usize,
    /// What came of the response, where it did not come whole at once.
    received: Vec<u8>,
}

/// Buffers that all checks share, each for as long as a call lasts.
pub struct ProbeBuffer {
    request: Vec<u8>,
    response: Box<[u8]>,
}

impl Default for ProbeBuffer {
    fn default() -> ProbeBuffer {
        ProbeBuffer {
            request: Vec::with_capacity(1024),
            response: vec![0; HEAD_LIMIT + 1].into_boxed_slice(),
        }
    }
}

impl Probe {
    /// Begins to connect. `Exhausted` if this process has no descriptor left, which says nothing of
    /// the backend; nor does `WouldBlock`: its own queue is full, and no event will tell when it is not.
    pub fn begin(
        address: Endpoint,
        name: Option<&str>,
        poller: &Poller,
        token: u64,
    ) -> Result<Probe, IoError> {
        let socket = Socket::connect(address)?;
        poller.watch_socket(&socket, token)?;
        let state = match address {
            Endpoint::Tcp(_) => ProbeState::Connecting,
            Endpoint::Unix(_) => ProbeState::Asking, // It is connected.
        };
        let name = name.map(str::to_owned);
        Ok(Probe { socket, address, name, state, sent: 0, received: Vec::new() })
    }

    /// Goes on after an event. `None`: it is not done.
    pub fn event(
        &mut self,
        event: Event,
        question: Option<&ProbeRequest>,
        scratch: &mut ProbeBuffer,
    ) -> Option<ProbeOutcome> {
        if matches!(self.state, ProbeState::Connecting) {
            // What was refused is writable too.
            if event.failed {
                return Some(ProbeOutcome::NoConnection);
            }
            if !event.writable {
                return None;
            }
            self.state = ProbeState::Asking;
        }
        let Some(question) = question else { return Some(ProbeOutcome::Connected) };
        if matches!(self.state, ProbeState::Asking)
            && let Err(outcome) = self.ask(question, scratch)
        {
            return Some(outcome);
        }
        self.listen(question, scratch)
    }

    /// Whether more of a response is read, so that the connection stays open for now.
    pub fn has_more(&self) -> bool {
        match self.state {
            ProbeState::Draining(rest) => !rest.is_over(),
            ProbeState::Connecting | ProbeState::Asking | ProbeState::Awaiting => false,
        }
    }

    /// Reads what there is of the body, after an event.
    pub fn drain(&mut self, scratch: &mut ProbeBuffer) {
        let ProbeState::Draining(rest) = &mut self.state else { return };
        while !rest.is_over() {
            match self.socket.receive([&mut scratch.response, &mut []]) {
                Ok(count) if count > 0 => rest.take(&scratch.response[..count]),
                Err(IoError::WouldBlock) => return,
                Ok(_) | Err(_) => rest.body = Body::Empty,
            }
        }
    }

    fn ask(
        &mut self,
        question: &ProbeRequest,
        scratch: &mut ProbeBuffer,
    ) -> Result<(), ProbeOutcome> {
        write_request(&mut scratch.request, question, self.name.as_deref(), self.address);
        while let Some(rest @ [_, ..]) = scratch.request.get(self.sent..) {
            match self.socket.send([rest, &[]]) {
                Ok(count) => self.sent += count,
                Err(IoError::WouldBlock) => return Ok(()),
                Err(_) => return Err(ProbeOutcome::Ended),
            }
        }
        self.state = ProbeState::Awaiting;
        Ok(())
    }

    /// Reads what there is of the response.
    fn listen(
        &mut self,
        question: &ProbeRequest,
        scratch: &mut ProbeBuffer,
    ) -> Option<ProbeOutcome> {
        let room = &mut scratch.response;
        let mut len = self.received.len();
        room[..len].copy_from_slice(&self.received);
        loop {
            match self.socket.receive([&mut room[len..], &mut []]) {
                Ok(0) => return Some(ProbeOutcome::Ended),
                Ok(count) => len += count,
                Err(IoError::WouldBlock) => break,
                Err(_) => return Some(ProbeOutcome::Ended),
            }
            let mut judged = judge(&room[..len], &question.healthy, question.tolerate);
            while let Some(Judged::Malformed { at }) = judged
                && question.tolerate.has(Tolerance::BareLf)
                && let Some(mended) = line_ends::mend_in(room, len, at)
            {
                len = mended;
                judged = judge(&room[..len], &question.healthy, question.tolerate);
            }
            match judged {
                Some(Judged::Head { outcome, len: head_len, mut rest }) => {
                    rest.take(&room[head_len..len]);
                    self.state = ProbeState::Draining(rest);
                    self.drain(scratch);
                    return Some(outcome);
                }
                Some(Judged::Malformed { .. }) => return Some(ProbeOutcome::BadResponse),
                None if len > HEAD_LIMIT => return Some(ProbeOutcome::BadResponse),
                None => (),
            }
        }
        self.received.clear();
        self.received.extend_from_slice(&room[..len]);
        None
    }
}

impl Rest {
    fn is_over(&self) -> bool {
        self.body.is_done() || self.taken >= RESPONSE_LIMIT
    }

    /// Takes in bytes of the body. What is not framed as it should be has ended: its end cannot be
    /// known.
    fn take(&mut self, bytes: &[u8]) {
        self.taken += bytes.len();
        match &mut self.body {
            Body::Empty | Body::UntilClose => (),
            Body::Length(left) => *left = left.saturating_sub(bytes.len() as u64),
            Body::Chunked(chunks) => {
                let mut rest = bytes;
                while !rest.is_empty() && !chunks.is_done() {
                    let data = chunks.data_left().min(rest.len() as u64);
                    chunks.advance(data);
                    rest = &rest[data as usize..];
                    if chunks.data_left() > 0 {
                        return;
                    }
                    match chunks.read(rest) {
                        Ok((0, _)) if !chunks.is_done() => return,
                        Ok((count, _)) => rest = &rest[count..],
                        Err(_) => {
                            self.body = Body::Empty;
                            return;
                        }
                    }
                }
            }
        }
    }
}

fn write_request(
    out: &mut Vec<u8>,
    question: &ProbeRequest,
    name: Option<&str>,
    address: Endpoint,
) {
    use std::io::Write as _;
    out.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "GET {} HTTP/1.1\r\nHost: ", question.path);
    let _ = match (question.host.as_deref().or(name), address) {
        (Some(host), _) => write!(out, "{host}"),
        (None, Endpoint::Tcp(address)) => write!(out, "{address}"),
        (None, Endpoint::Unix(_)) => write!(out, "{}", UnixPath::HOST),
    };
    let _ = write!(out, "\r\nUser-Agent: httplb-check\r\nConnection: close\r\n\r\n");
}

/// What the bytes at the front of a response are, once its head is whole.
#[derive(Debug)]
enum Judged {
    /// A head.
    Head {
        outcome: ProbeOutcome,
        /// Bytes of it and of interim ones before it.
        len: usize,
        rest: Rest,
    },
    /// No response: what is here cannot stand there.
    Malformed { at: usize },
}

/// Judges the bytes that came. Interim heads are passed over. `None`: the head is not whole yet.
fn judge(bytes: &[u8], healthy: &Statuses, tolerate: Tolerances) -> Option<Judged> {
    let mut rest = bytes;
    loop {
        let len = match HeadScan::response().advance(rest) {
            Scan::Partial => return None,
            Scan::Malformed(at) => {
                return Some(Judged::Malformed { at: bytes.len() - rest.len() + at });
            }
            Scan::Whole(len) => len,
        };
        let (head, behind) = rest.split_at(len);
        let read = match response::parse(head) {
            Err(BadResponse::RepeatedChunked) if tolerate.has(Tolerance::RepeatedChunked) => {
                response::parse_repeats(head, response::MAX_FIELDS)
            }
            read => read,
        };
        rest = behind;
        let Ok(head) = read else { return Some(Judged::Malformed { at: bytes.len() }) };
        if head.status == 101 || head.status >= 200 {
            let outcome = match healthy.contain(head.status) {
                true => ProbeOutcome::Answered(head.status),
                false => ProbeOutcome::WrongStatus(head.status),
            };
            let rest = Rest { body: body::of_response(Method::Get, &head), taken: 0 };
            return Some(Judged::Head { outcome, len: bytes.len() - behind.len(), rest });
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
