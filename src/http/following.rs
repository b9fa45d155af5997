//! What follows a response on its connection: whether that is the one that was awaited.

use super::body::{self, Body};
use super::method::Method;
use super::response::{self, ResponseHead};
use super::scan::{HeadScan, Scan};

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// The head of the right response, behind so many bytes.
    Right(usize),
    /// Nothing yet that is whole.
    NotYet,
    /// Nothing that could be read.
    Nothing,
}

/// Looks for a final response that `is_right` behind one whose `body` begins at the front of `bytes`.
/// Those between them are stepped over, as responses to `method`.
pub fn find(
    bytes: &[u8],
    mut body: Body,
    method: Method,
    max_fields: usize,
    is_right: impl Fn(&ResponseHead<'_>) -> bool,
) -> Following {
    let mut at = 0;
    loop {
        let Ok(count) = body.step_over(&bytes[at..]) else { return Following::Nothing };
        at += count;
        match body {
            Body::UntilClose => return Following::Nothing,
            Body::Empty | Body::Length(_) | Body::Chunked(_) if !body.is_done() => {
                return Following::NotYet;
            }
            Body::Empty | Body::Length(_) | Body::Chunked(_) => (),
        }
        let end = match HeadScan::response().advance(&bytes[at..]) {
            Scan::Whole(end) => at + end,
            Scan::Partial => return Following::NotYet,
            Scan::Malformed(_) => return Following::Nothing,
        };
        let Ok(head) = response::parse_within(&bytes[at..end], max_fields) else {
            return Following::Nothing;
        };
        let is_interim = head.status < 200;
        if !is_interim && is_right(&head) {
            return Following::Right(at);
        }
        body = body::of_response(method, &head);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::chunked::Chunks;

    fn look(bytes: &str, body: Body) -> Following {
        find(bytes.as_bytes(), body, Method::Post, 100, |head| head.request_id == Some(b"own"))
    }

    fn own(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nX-Request-ID: own\r\nContent-Length: 2\r\n\r\n{body}")
    }

    const OTHER: &str = "HTTP/1.1 200 OK\r\nX-Request-ID: other\r\nContent-Length: 3\r\n\r\n";

    #[test]
    fn the_right_response_is_found_behind_any_others() {
        let cut = own("h");
        for (before, body) in [
            (String::new(), Body::Empty),
            ("abc".to_owned(), Body::Length(3)),
            ("3\r\nabc\r\n0\r\nX: y\r\n\r\n".to_owned(), Body::Chunked(Chunks::new())),
            (format!("abc{OTHER}def"), Body::Length(3)),
            ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), Body::Empty),
            ("HTTP/1.1 204 No Content\r\nX-Request-ID: a\r\n\r\n".to_owned(), Body::Empty),
        ] {
            let all = before.clone() + &cut;
            assert_eq!(look(&all, body), Following::Right(before.len()), "{before}");
            let head = all.len() - 1;
            for end in 0..head {
                assert_eq!(look(&all[..end], body), Following::NotYet, "{}", &all[..end]);
            }
        }
    }

    #[test]
    fn nothing_follows_what_cannot_be_read() {
        let own = own("");
        for (before, body) in [
            ("abc".to_owned(), Body::UntilClose),
            ("abc".to_owned(), Body::Length(2)),
            ("x".to_owned(), Body::Chunked(Chunks::new())),
            ("HTTP/1.1 200 OK\r\nX-Request-ID: other\r\n\r\n".to_owned(), Body::Empty),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n".to_owned(), Body::Empty),
        ] {
            assert_eq!(look(&(before.clone() + &own), body), Following::Nothing, "{before}");
        }
    }
}
