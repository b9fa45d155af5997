//! What lies before the body of a response that is recorded, and by what name others find it.

use crate::http::cache_fields::ResponseCacheFields;
use crate::http::date;
use crate::http::fields::{Field, Fields};
use crate::http::message::Single;
use crate::http::rewrite::put_status_line;
use crate::mem::append_decimal;
use crate::mem::buffer::{Buffer, Fitting, Scratch, Span};
use crate::mem::time::Micros;
use crate::policy::conditional::Stored;
use crate::policy::segments::{MAX_SEGMENTS, SEGMENT_LEN};
use crate::policy::storable::{KeptFields, is_of_content};
use crate::policy::vary::{self, Names};
use crate::sys::random;

use super::entry::{Entry, FIXED, Kind};
use super::keys::UrlKey;
use super::recorder::{LENGTH_ROOM, NewNames, Response};
use super::store::{CacheQuery, Store};

/// What the list of the segments of a part takes at most.
pub(super) const LIST_ROOM: usize = MAX_SEGMENTS * SEGMENT_LEN;
/// More names than this has room for are not varied by: such answers are not stored.
pub(super) const NAMES_ROOM: usize = 1024;

impl Store {
    /// Writes what lies before the body, but for the fixed part. `None` if it does not fit.
    pub(super) fn write_front(
        &mut self,
        query: &CacheQuery,
        response: &Response,
        bytes: &mut Buffer,
        now: Micros,
    ) -> Option<(Entry, NewNames)> {
        let Response { head, response_fields, plan, .. } = response;
        let primary = self.directory.primary(&query.url);
        let mut out = Fitting::new(bytes);
        out.put(&[0; FIXED]);
        query.url.write(&mut out);
        let key = Span::new(FIXED, out.len());
        let (nonce, needs_vary_marker) =
            self.write_selection(query, response_fields, (primary, now), &mut out)?;
        let selection = Span::new(key.end as usize, out.len());
        let hash = match nonce {
            0 => primary.own_entry(),
            _ => {
                let selection = out.as_slice().get(selection.range())?;
                self.directory.name_below(primary, nonce, |hasher| hasher.write(selection))
            }
        };
        let head_at = out.len();
        // What a part belongs to is a 200, which it becomes one day.
        let status = plan.part.map_or(head.status, |_| 200);
        put_head(status, response, &mut out);
        let length = plan.part.map(|range| range.whole).or(response.length);
        let head_span = Span::new(head_at, out.len());
        let room = match (length, plan.part) {
            (None, _) => LENGTH_ROOM,
            (Some(_), None) => SEGMENT_LEN, // It may be cut.
            (Some(_), Some(_)) => LIST_ROOM,
        };
        out.put(&[0; LIST_ROOM][..room]);
        if !out.fits() {
            return None;
        }
        let stored = Stored::of(head.status, response_fields, 0, plan.freshness.received_at);
        let body_at = out.len() as u64;
        let (etag, last_modified_text) = validators(bytes.as_slice(), head_span);
        let entry = Entry {
            kind: Kind::Answer,
            status,
            for_authorized: plan.for_authorized,
            freshness: plan.freshness,
            date: stored.date,
            last_modified: stored.last_modified,
            segments: Span::default(),
            nonce,
            key,
            selection,
            head: head_span,
            etag,
            last_modified_text,
            body_at,
            body_len: length.unwrap_or(0),
            body_end: 0,
            body_sum: 0,
        };
        Some((entry, NewNames { primary, hash, needs_vary_marker }))
    }

    /// Writes the selection of a request for all that its URL's answers vary by: what the vary marker
    /// says, if there is one, and what this answer adds to it. Returns the vary marker's number, 0 if
    /// none is needed, and whether it is still to be made. `None` if there are too many names.
    fn write_selection(
        &mut self,
        query: &CacheQuery,
        response_fields: &ResponseCacheFields,
        (primary, now): (UrlKey, Micros),
        out: &mut Fitting,
    ) -> Option<(u64, bool)> {
        let id = self.hold(primary.own_entry(), primary, query, now);
        let open_entry = id
            .map(|id| self.open_entries.get(id))
            .filter(|open_entry| open_entry.entry.kind == Kind::VaryMarker);
        let (names, nonce) = match open_entry {
            Some(open_entry) => (
                Names(&open_entry.front()[open_entry.entry.selection.range()]),
                open_entry.entry.nonce,
            ),
            None => (Names(b""), 0),
        };
        if names.cover(response_fields, &query.chosen) {
            vary::write_selection(names, &query.chosen, out);
            return Some((nonce, false));
        }
        let mut all = Scratch::<NAMES_ROOM>::new();
        vary::write_names(names, response_fields, &query.chosen, &mut all);
        vary::write_selection(Names(all.as_slice()?), &query.chosen, out);
        let mut number = [0; 8];
        random::fill(&mut number);
        Some((u64::from_le_bytes(number).max(1), true))
    }
}

/// Writes status line and fields as they are stored.
fn put_head(status: u16, response: &Response, out: &mut Fitting) {
    let Response { head, response_fields, plan, .. } = response;
    let reason = if status == head.status { head.reason } else { b"OK" };
    put_status_line(status, reason, out);
    let kept = KeptFields::new(response_fields);
    let is_of_part = |field: &Field| plan.part.is_some() && is_of_content(field.name);
    for field in head.fields.iter() {
        if kept.keeps(field.name) && !is_of_part(&field) {
            out.put(field.line);
        }
    }
    if response_fields.date == Single::Absent || !kept.keeps(b"date") {
        date::put_field(plan.freshness.received_at, out); // RFC 9110 §6.6.1
    }
    // Of a 204 the length is never said: RFC 9110 §8.6.
    let length = plan.part.map(|range| range.whole).or(response.length);
    if let Some(length) = length.filter(|_| head.status != 204) {
        put_length(length, out);
    }
}

fn put_length(length: u64, out: &mut Fitting) {
    out.put(b"Content-Length: ");
    append_decimal(length, out);
    out.put(b"\r\n");
}

/// Where the values of `ETag` and `Last-Modified` lie in the head of an entry; nowhere if there are
/// several.
pub(super) fn validators(bytes: &[u8], head: Span) -> (Span, Span) {
    let head_bytes = &bytes[head.range()];
    let line_len = memchr::memchr(b'\n', head_bytes).map_or(head_bytes.len(), |end| end + 1);
    let mut at = head.start as usize + line_len;
    let mut found = [(Span::default(), 0); 2];
    for field in Fields::stored(&head_bytes[line_len..]).iter() {
        for (name, (span, count)) in ["etag", "last-modified"].iter().zip(&mut found) {
            if field.is(name) {
                let behind_name = field.line.iter().skip(field.name.len() + 1);
                let blanks = behind_name.take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let start = at + field.name.len() + 1 + blanks;
                *span = Span::new(start, start + field.value.len());
                *count += 1;
            }
        }
        at += field.line.len();
    }
    let [etag, last_modified] = found
        .map(|(span, count)| if count == 1 && !span.is_empty() { span } else { Span::default() });
    (etag, last_modified)
}
