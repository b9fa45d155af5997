//! The body of an error of our own as an operator wrote it: HTML, in which `@STATUS@`, `@REASON@` and `@ID@`
//! are filled in.

use std::ops::Range;

use super::message::status_digits;
use super::reply::reason_phrase;
use crate::mem::Append;

/// A page, taken apart once.
#[derive(Clone, Debug)]
pub struct ErrorPage {
    status: u16,
    html: String,
    pieces: Vec<Piece>,
}

/// What a page is put together from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// This part of the HTML.
    Text(Range<usize>),
    /// The number of the status.
    Status,
    /// What the status is called.
    Reason,
    /// The request's `X-Request-ID`.
    Id,
}

const MARKS: [(&str, Piece); 3] =
    [("@STATUS@", Piece::Status), ("@REASON@", Piece::Reason), ("@ID@", Piece::Id)];

impl ErrorPage {
    /// The page for this status.
    pub fn new(status: u16, html: String) -> ErrorPage {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(found) = html[at..].find('@') {
            at += found;
            let mark = MARKS.iter().find(|(mark, _)| html[at..].starts_with(mark));
            let Some((mark, piece)) = mark else {
                at += 1;
                continue;
            };
            if start < at {
                pieces.push(Piece::Text(start..at));
            }
            pieces.push(piece.clone());
            at += mark.len();
            start = at;
        }
        if start < html.len() {
            pieces.push(Piece::Text(start..html.len()));
        }
        ErrorPage { status, html, pieces }
    }

    /// The status that it is for.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Bytes that it takes, for the memory bound.
    pub fn memory(&self) -> usize {
        self.html.len() + self.pieces.len() * size_of::<Piece>()
    }

    /// How many bytes it has for the request of this identifier.
    pub fn len(&self, id: &[u8]) -> u64 {
        let mut length = 0;
        self.each_part(id, |part| length += part.len() as u64);
        length
    }

    /// Writes up to `room` bytes of it, beginning behind the first `from`. Returns how many.
    pub fn write(&self, id: &[u8], from: u64, room: usize, out: &mut impl Append) -> usize {
        let (mut before, mut left) = (from, room);
        self.each_part(id, |part| {
            let skipped = before.min(part.len() as u64);
            before -= skipped;
            let part = &part[skipped as usize..];
            let part = &part[..part.len().min(left)];
            if !part.is_empty() {
                out.append(part);
                left -= part.len();
            }
        });
        room - left
    }

    fn each_part(&self, id: &[u8], mut take: impl FnMut(&[u8])) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(range) => take(&self.html.as_bytes()[range.clone()]),
                Piece::Status => take(&status_digits(self.status)),
                Piece::Reason => take(reason_phrase(self.status).as_bytes()),
                Piece::Id => escape(id, &mut take),
            }
        }
    }
}

/// Gives the bytes of a text as HTML wants them, in an attribute too.
fn escape(text: &[u8], take: &mut impl FnMut(&[u8])) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| entity(*byte).is_some()) {
        take(&rest[..at]);
        take(entity(rest[at]).unwrap_or_default());
        rest = &rest[at + 1..];
    }
    take(rest);
}

/// How a byte that would be markup is written.
const fn entity(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'"' => Some(b"&quot;"),
        b'\'' => Some(b"&#39;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(html: &str, id: &[u8]) -> String {
        let page = ErrorPage::new(502, html.to_owned());
        let mut out = Vec::new();
        let written = page.write(id, 0, usize::MAX, &mut out);
        assert_eq!((written, page.len(id)), (out.len(), out.len() as u64));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn status_reason_and_identifier_are_filled_in_wherever_they_stand() {
        for (html, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("@STATUS@", "502"),
            ("<h1>@STATUS@ @REASON@</h1>@ID@", "<h1>502 Bad Gateway</h1>a-1"),
            ("@ID@@ID@", "a-1a-1"),
            ("me@STATUS@example", "me502example"),
            ("@@STATUS@@", "@502@"),
            ("@OTHER@ @STATUS @id@ a@b.example", "@OTHER@ @STATUS @id@ a@b.example"),
            ("\u{fc}@ID@\u{fc}@", "\u{fc}a-1\u{fc}@"),
        ] {
            assert_eq!(filled(html, b"a-1"), expected, "{html}");
        }
    }

    #[test]
    fn nothing_that_is_filled_in_is_markup() {
        assert_eq!(filled("<p id='@ID@'>", b"<a&b>\"'"), "<p id='&lt;a&amp;b&gt;&quot;&#39;'>");
    }

    #[test]
    fn a_page_that_is_written_by_and_by_is_the_same() {
        let page = ErrorPage::new(503, "a@ID@b@STATUS@@REASON@c".repeat(3));
        let id = b"<1-2>";
        let mut whole = Vec::new();
        page.write(id, 0, usize::MAX, &mut whole);
        for room in 1..whole.len() + 2 {
            let mut out = Vec::new();
            while (out.len() as u64) < page.len(id) {
                let written = page.write(id, out.len() as u64, room, &mut out);
                assert!((1..=room).contains(&written));
            }
            assert_eq!(out, whole, "{room}");
        }
    }
}
