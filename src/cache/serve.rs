//! Writes the head of an answer from an entry. All but a few lines lie ready in it.

use crate::http::Fields;
use crate::http::cache_status::{self, CacheStatus};
use crate::http::date;
use crate::http::rewrite::{self, Answering};
use crate::mem::{Append, append_decimal};
use crate::policy::caching::Candidate;
use crate::policy::conditional::{ConditionalOutcome, is_in_not_modified};
use crate::policy::ranges::Part;
use crate::policy::storable::is_of_content;

use super::open_entries::OpenEntry;

/// What is added to what is stored takes less, in bytes: status line, `Age`, `Content-Range`, `Date`,
/// `Transfer-Encoding`.
const GROWTH: usize = 256 + cache_status::MAX_LEN;

/// How an entry answers.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    /// With all of it, or not. `Forward` is no answer of an entry.
    pub reply: ConditionalOutcome,
    /// What the cache had to do with it.
    pub status: CacheStatus,
    /// What the head is given on its way.
    pub answering: Answering<'a>,
    /// Now, in seconds since the epoch.
    pub now: u64,
}

/// How much room [`write_head`] needs at most.
pub fn head_len_bound(open_entry: &OpenEntry) -> usize {
    rewrite::response_len_bound(open_entry.entry.head.len()) + GROWTH
}

/// What of an entry decides how it answers. `room` is how many bytes there are for its head.
pub fn candidate(open_entry: &OpenEntry, room: usize) -> Candidate<'_> {
    let entry = &open_entry.entry;
    Candidate {
        stored: entry.stored(open_entry.front()),
        freshness: entry.freshness,
        has_validator: !(entry.etag.is_empty() && entry.last_modified_text.is_empty()),
        is_sendable: head_len_bound(open_entry) <= room,
    }
}

/// The status that an answer has.
pub fn status_of(open_entry: &OpenEntry, reply: ConditionalOutcome) -> u16 {
    match reply {
        ConditionalOutcome::Whole | ConditionalOutcome::Forward => open_entry.entry.status,
        ConditionalOutcome::NotModified => 304,
        ConditionalOutcome::Part(_) => 206,
        ConditionalOutcome::NoSuchPart => 416,
    }
}

/// Writes the head of the answer. Returns which bytes of the body follow, unless the request is HEAD;
/// `None`: none. Of a body of unknown length they end as far away as can be.
pub fn write_head(
    open_entry: &OpenEntry,
    serving: &Serving,
    out: &mut impl Append,
) -> Option<Part> {
    let length = open_entry.entry.body_len;
    let body = match serving.reply {
        ConditionalOutcome::Whole | ConditionalOutcome::Forward => {
            out.append(open_entry.head());
            length.checked_sub(1).map(|last| Part { first: 0, last })
        }
        ConditionalOutcome::NotModified => {
            rewrite::put_status_line(304, b"Not Modified", out);
            put_lines(open_entry, is_in_not_modified, out);
            None
        }
        ConditionalOutcome::Part(part) => {
            rewrite::put_status_line(206, b"Partial Content", out);
            put_lines(open_entry, |name| !is_of_content(name), out);
            out.append(b"Content-Range: bytes ");
            append_decimal(part.first, out);
            out.append(b"-");
            append_decimal(part.last, out);
            put_length_of_whole(length, out);
            out.append(b"Content-Length: ");
            append_decimal(part.len(), out);
            out.append(b"\r\n");
            Some(part)
        }
        ConditionalOutcome::NoSuchPart => {
            rewrite::put_status_line(416, b"Range Not Satisfiable", out);
            out.append(b"Date: ");
            out.append(&date::imf_fixdate(serving.now));
            out.append(b"\r\nContent-Range: bytes *");
            put_length_of_whole(length, out);
            out.append(b"Content-Length: 0\r\n");
            None
        }
    };
    if serving.reply != ConditionalOutcome::NoSuchPart {
        out.append(b"Age: ");
        append_decimal(u64::from(open_entry.entry.freshness.age(serving.now)), out);
        out.append(b"\r\n");
    }
    cache_status::write(serving.status, out);
    rewrite::end_of_stored(&serving.answering, out);
    body
}

fn put_length_of_whole(length: u64, out: &mut impl Append) {
    out.append(b"/");
    append_decimal(length, out);
    out.append(b"\r\n");
}

fn put_lines(open_entry: &OpenEntry, is_wanted: impl Fn(&[u8]) -> bool, out: &mut impl Append) {
    let head = open_entry.head();
    let line_len = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    for field in Fields::stored(&head[line_len..]).iter().filter(|field| is_wanted(field.name)) {
        out.append(field.line);
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
