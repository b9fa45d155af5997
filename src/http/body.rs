//! Where a message ends: RFC 9112 §6.

use super::chunked::{BadChunk, Chunks};
use super::fields::Fields;
use super::message::Framing;
use super::method::Method;
use super::request::RequestHead;
use super::response::ResponseHead;

/// What is still to come of a message's body.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, of which these have been seen.
    Chunked(Chunks),
    /// Everything until the sender closes. Only a response can be framed so.
    UntilClose,
}

impl Body {
    /// Whether nothing more is to come. A body that ends with its connection never says so.
    #[inline]
    pub fn is_done(&self) -> bool {
        // First what most requests have: it is asked many times.
        matches!(self, Body::Empty) || self.is_at_end()
    }

    #[inline(never)] // so that the question above stays short
    fn is_at_end(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) => chunks.is_done(),
            Body::UntilClose => false,
        }
    }

    /// The same body, whose trailer section has at most `max_fields` lines. None of them passes where
    /// `Connection` names fields that may be among them (RFC 9110 §7.6.1): the names are gone with the head.
    #[inline]
    pub fn with_trailers(mut self, max_fields: usize, head: &Fields) -> Body {
        if let Body::Chunked(chunks) = &mut self {
            chunks.limit_trailers(max_fields, !head.nominates_trailers());
        }
        self
    }

    /// Steps over what of the body lies at the front of `bytes`, and returns how much that is. Where it
    /// is less than there is and the body is not done, the rest is a line that is not whole.
    ///
    /// Fails where chunks are malformed.
    pub fn step_over(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut used = 0;
        while !self.is_done() {
            let rest = &bytes[used..];
            let count = match self {
                Body::Empty => 0,
                Body::UntilClose => rest.len(),
                Body::Length(left) => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    count
                }
                Body::Chunked(chunks) if chunks.data_left() > 0 => {
                    let left = usize::try_from(chunks.data_left()).unwrap_or(usize::MAX);
                    let count = rest.len().min(left);
                    chunks.advance(count as u64);
                    count
                }
                Body::Chunked(chunks) => chunks.read(rest)?.0,
            };
            if count == 0 {
                break;
            }
            used += count;
        }
        Ok(used)
    }
}

/// The body of a request: RFC 9112 §6.3, rules 4, 6 and 7. The method does not matter, a body on
/// GET is a body. Rules 3 and 5, where the end is doubtful, were judged when the head was parsed.
pub fn of_request(head: &RequestHead) -> Body {
    match head.framing {
        Framing::None => Body::Empty,
        Framing::Length(length) => Body::Length(length),
        Framing::Chunked => Body::Chunked(Chunks::new()),
    }
}

/// The body of the response to a `method` request: RFC 9112 §6.3, rules 1, 4, 6 and 8. Rule 2
/// (CONNECT) cannot apply, such requests are not sent on; rules 3 and 5 were judged when the head
/// was parsed.
pub fn of_response(method: Method, head: &ResponseHead) -> Body {
    if method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
        return Body::Empty; // 1
    }
    match head.framing {
        Framing::None => Body::UntilClose,                // 8
        Framing::Length(length) => Body::Length(length),  // 6
        Framing::Chunked => Body::Chunked(Chunks::new()), // 4
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
