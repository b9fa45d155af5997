//! An operator's requests: bytes in, whole requests out. Pure, and within fixed bounds.

use crate::http::body::{self, Body};
use crate::http::chunked::Chunk;
use crate::http::request;
use crate::http::{HeadScan, Method, Refusal, RequestHead, Scan, Version};

/// Bytes that one request may have, head and body with its framing together.
pub const LIMIT: usize = 64 * 1024;

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// What is to be done.
    pub method: Method,
    /// As it came: `/`, or a path with a query perhaps.
    pub target: String,
    /// The only `Authorization` field; none if there are several.
    pub authorization: Option<Vec<u8>>,
    /// The body, its framing taken off.
    pub body: Vec<u8>,
    /// How the connection goes on behind the answer.
    pub after: After,
}

/// How a connection goes on behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays open, as it does in HTTP/1.1 as a rule.
    Keep,
    /// It stays open, and a client of HTTP/1.0 must be told.
    KeepAndSay,
    /// It closes.
    Close,
}

/// What the bytes that came so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not a whole request.
    More,
    /// No more either, and the client waits for a 100 before it sends the body.
    Continue,
    /// A whole request, which is taken out.
    Whole(ApiRequest),
    /// Nothing that can be answered in any other way. The connection closes behind the answer.
    Refused(Refusal),
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct RequestParser {
    /// What came.
    bytes: Vec<u8>,
    /// So much of it at the front is used. Only while a request is read, else 0.
    start: usize,
    stage: ParseStage,
    /// Bytes of the current request that were used.
    used: usize,
}

#[derive(Debug)]
enum ParseStage {
    Head(HeadScan),
    Body { request: ApiRequest, body: Body },
}

impl Default for ParseStage {
    fn default() -> ParseStage {
        ParseStage::Head(HeadScan::request())
    }
}

impl RequestParser {
    /// How many more bytes it will take now. 0 only when a whole request waits to be taken, or one
    /// that is too large waits to be refused.
    pub fn room(&self) -> usize {
        (LIMIT + 1).saturating_sub(self.bytes.len())
    }

    /// Takes in what was received, not more than [`RequestParser::room`].
    pub fn add(&mut self, received: &[u8]) {
        assert!(received.len() <= self.room(), "more was received than there was room for");
        self.bytes.extend_from_slice(received);
    }

    /// Whether a part of a request is here.
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty() || matches!(self.stage, ParseStage::Body { .. })
    }

    /// Gives back the memory, where nothing is to be kept.
    pub fn rest(&mut self) {
        if !self.has_begun() {
            self.bytes = Vec::new();
        }
    }

    /// The next request, if it is here whole. After `Refused` nothing more may be asked.
    pub fn take(&mut self) -> Taken {
        let taken = self.read();
        self.bytes.drain(..self.start);
        self.start = 0;
        taken
    }

    fn read(&mut self) -> Taken {
        let mut wants_continue = false;
        if let ParseStage::Head(scan) = &mut self.stage {
            match scan.advance(&self.bytes) {
                Scan::Partial if self.bytes.len() > LIMIT && scan.in_first_line() => {
                    return Taken::Refused(Refusal::TargetTooLong);
                }
                Scan::Partial if self.bytes.len() > LIMIT => {
                    return Taken::Refused(Refusal::HeadTooLong);
                }
                Scan::Partial => return Taken::More,
                Scan::Whole(len) if len > LIMIT => return Taken::Refused(Refusal::HeadTooLong),
                Scan::Whole(len) | Scan::Malformed(len) => match self.begin(len) {
                    Ok(expects) => wants_continue = expects,
                    Err(refusal) => return Taken::Refused(refusal),
                },
            }
        }
        match self.read_body() {
            Ok(true) => self.finish(),
            Ok(false) if wants_continue && self.start == self.bytes.len() => Taken::Continue,
            Ok(false) => Taken::More,
            Err(refusal) => Taken::Refused(refusal),
        }
    }

    /// Reads the head. Whether its client waits for a 100.
    fn begin(&mut self, len: usize) -> Result<bool, Refusal> {
        let head = request::parse(&self.bytes[..len])?;
        if head.expect_other {
            return Err(Refusal::Expectation);
        }
        let body = body::of_request(&head);
        if let Body::Length(length) = body
            && length > (LIMIT - len) as u64
        {
            return Err(Refusal::BodyTooLarge);
        }
        let wants_continue = head.expect_continue;
        let request = ApiRequest::new(&head)?;
        self.stage = ParseStage::Body { request, body };
        self.used = 0;
        self.consume(len);
        Ok(wants_continue)
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.used += count;
    }

    /// Whether the body is complete.
    fn read_body(&mut self) -> Result<bool, Refusal> {
        loop {
            let ParseStage::Body { request, body } = &mut self.stage else { return Ok(false) };
            let bytes = &self.bytes[self.start..];
            let (used, go_on) = match body {
                Body::Empty => return Ok(true),
                Body::UntilClose => unreachable!("no request is framed so"),
                Body::Length(left) => {
                    let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    request.body.extend_from_slice(&bytes[..here]);
                    *left -= here as u64;
                    (here, false)
                }
                Body::Chunked(chunks) if chunks.data_left() > 0 => {
                    let left = usize::try_from(chunks.data_left()).unwrap_or(usize::MAX);
                    let here = bytes.len().min(left);
                    request.body.extend_from_slice(&bytes[..here]);
                    chunks.advance(here as u64);
                    (here, here == left)
                }
                Body::Chunked(chunks) => {
                    let (used, chunk) = chunks.read(bytes).map_err(|_| Refusal::Framing)?;
                    (used, !matches!(chunk, Chunk::More | Chunk::End))
                }
            };
            let is_done = body.is_done();
            self.consume(used);
            if self.used > LIMIT {
                return Err(Refusal::BodyTooLarge);
            }
            if is_done {
                return Ok(true);
            }
            if !go_on {
                // A trailer line that does not end, say, is never used but fills the room.
                let too_large = self.used + self.bytes.len() - self.start > LIMIT;
                return if too_large { Err(Refusal::BodyTooLarge) } else { Ok(false) };
            }
        }
    }

    fn finish(&mut self) -> Taken {
        match std::mem::take(&mut self.stage) {
            ParseStage::Body { request, .. } => Taken::Whole(request),
            ParseStage::Head(_) => unreachable!("a body was read behind its head"),
        }
    }
}

impl ApiRequest {
    fn new(head: &RequestHead) -> Result<ApiRequest, Refusal> {
        // Targets are visible characters of ASCII.
        let target = std::str::from_utf8(head.target).map_err(|_| Refusal::Malformed)?;
        let mut fields = head.fields.values("authorization");
        let authorization = fields.next().map(<[u8]>::to_vec).filter(|_| fields.next().is_none());
        Ok(ApiRequest {
            method: head.method,
            target: target.to_owned(),
            authorization,
            body: Vec::new(),
            after: match (head.keep_alive, head.version) {
                (false, _) => After::Close,
                (true, Version::Http10) => After::KeepAndSay,
                (true, Version::Http11) => After::Keep,
            },
        })
    }
}

#[cfg(test)]
#[path = "request_parser_tests.rs"]
mod tests;
