//! Whether a valid request may go to its pool at all.

use crate::http::message::Framing;
use crate::http::request::{Refusal, RequestHead};

/// Why a request is answered at once, if it is. `max_body` is that of its pool, in bytes; 0 is no
/// limit.
///
/// A chunked body shows how large it is only as it passes.
pub fn refusal(head: &RequestHead, max_body: u64) -> Option<Refusal> {
    let length = match head.framing {
        Framing::Length(length) => length,
        Framing::None | Framing::Chunked => 0,
    };
    if is_too_large(length, max_body) {
        Some(Refusal::BodyTooLarge)
    } else if head.expect_other {
        Some(Refusal::Expectation)
    } else {
        None
    }
}

/// Whether a body of `length` bytes is more than `max_body` allows, where 0 allows any.
pub const fn is_too_large(length: u64, max_body: u64) -> bool {
    max_body > 0 && length > max_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;

    fn refused(lines: &str, max_body: u64) -> Option<Refusal> {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        refusal(&request::parse(text.as_bytes()).unwrap(), max_body)
    }

    #[test]
    fn a_body_of_one_byte_too_many_is_refused_by_its_length() {
        assert_eq!(refused("Content-Length: 1024\r\n", 1024), None);
        assert_eq!(refused("Content-Length: 1025\r\n", 1024), Some(Refusal::BodyTooLarge));
        assert_eq!(refused("Content-Length: 1025\r\n", 0), None);
        assert_eq!(refused("Transfer-Encoding: chunked\r\n", 1), None);
        assert_eq!(refused("", 1), None);
    }

    #[test]
    fn an_expectation_that_nobody_meets_is_refused() {
        assert_eq!(refused("Expect: 100-continue\r\n", 0), None);
        assert_eq!(refused("Expect: wonders\r\n", 0), Some(Refusal::Expectation));
        let both = "Expect: wonders\r\nContent-Length: 2\r\n";
        assert_eq!(refused(both, 1), Some(Refusal::BodyTooLarge));
    }
}
