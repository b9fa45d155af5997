//! Writes a passing response into an entry.
//!
//! A small response is gathered in memory and written at once when it is whole. A large one goes to
//! a file as it comes, and what lies before the body follows at the end. Room is reserved before the
//! first byte, of the budget and on the disk, so that what the client is told will be stored can be;
//! where the length is not known, for a part, and of the budget ahead of what comes. Nothing of this ever holds up or
//! breaks the response that passes: what cannot be stored is not stored.

use crate::http::cache_fields::ResponseCacheFields;
use crate::http::date;
use crate::http::fields::Fields;
use crate::http::message::Single;
use crate::http::method::Method;
use crate::http::response::ResponseHead;
use crate::http::rewrite::put_status_line;
use crate::mem::buffer::{Buffer, Fitting, Scratch, Span};
use crate::mem::time::Micros;
use crate::mem::{Append, append_decimal};
use crate::policy::conditional::Stored;
use crate::policy::freshness::ResponseTiming;
use crate::policy::storable::{self, KeptFields, StorabilityInput, StorePlan, Unstorable};
use crate::policy::vary::{self, Names};
use crate::sys::random;

use super::checksum::Checksum;
use super::entry::{Entry, FIXED, Kind};
use super::files::TempFile;
use super::keys::{EntryKey, UrlKey};
use super::shared_cells::on_disk;
use super::store::{CacheQuery, LookupToken, RECORDINGS, Store};

/// So much is reserved at first for a body whose length is not known, and as much again as there is
/// whenever that is used up.
const FIRST_RESERVATION: u64 = 64 * 1024;
/// What `Content-Length: ` and its line end take with a number of 20 digits.
const LENGTH_ROOM: usize = 38;
/// More names than this has room for are not varied by: such answers are not stored.
pub(super) const NAMES_ROOM: usize = 1024;

/// A response that is being recorded. [`Recorder::finish`] or [`Recorder::abandon`] is due.
pub struct Recorder {
    /// What lies before the body, room for it where its length is not known, and bytes of the body
    /// that are not in the file.
    bytes: Buffer,
    entry: Entry,
    /// The file, until it is published.
    temp: Option<TempFile>,
    /// Bytes that were reserved in it.
    on_disk: u64,
    /// The body did not fit into memory: a part of it was written.
    has_spilled: bool,
    /// Bytes of the body so far.
    len: u64,
    sum: Checksum,
    /// How long the body is to be.
    expected: Option<u64>,
    reserved: u64,
    names: NewNames,
    /// How often the URL's answers had been made void before it was asked for.
    voided: u64,
}

/// The name of an answer that is being recorded.
#[derive(Clone, Copy)]
struct NewNames {
    primary: UrlKey,
    hash: EntryKey,
    /// It lies below a vary marker that is not there yet.
    needs_vary_marker: bool,
}

/// Why a response is not recorded, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// It may not be stored.
    Unstorable(Unstorable),
    /// It is longer than the operator allows, or its head is longer than fits.
    TooLong,
    /// All room is in use, or the worker records as much as it can.
    NoRoom,
    /// The disk failed, or is full.
    Disk,
    /// It did not end where it should have.
    Incomplete,
    /// It was made void meanwhile.
    Void,
}

/// A response that may be recorded.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// Its head.
    pub head: &'a ResponseHead<'a>,
    /// What it offers: of the fields of the head.
    pub response_fields: &'a ResponseCacheFields<'a>,
    /// How long its body is, if that is known. 0 if it has none by its nature.
    pub length: Option<u64>,
    /// How it is to be stored.
    pub plan: StorePlan,
}

impl Store {
    /// Whether, and how, the response to a request may be stored.
    pub fn judge(
        &self,
        query: &CacheQuery,
        (method, has_body): (Method, bool),
        (status, response_fields): (u16, &ResponseCacheFields),
        timing: ResponseTiming,
    ) -> Result<StorePlan, Unstorable> {
        storable::judge(&StorabilityInput {
            method,
            has_body,
            request_fields: query.chosen.request_fields,
            status,
            response_fields,
            timing,
            default_ttl: self.settings.default_ttl,
        })
    }

    /// Begins to record a response to a request that came of `token`.
    pub fn record(
        &mut self,
        query: &CacheQuery,
        token: LookupToken,
        response: &Response,
        now: Micros,
    ) -> Result<Recorder, NotRecorded> {
        if response.plan.part.is_some() {
            // Parts are served from wholes alone: one would have to be found beside the whole.
            return Err(NotRecorded::Unstorable(Unstorable::Conditional));
        }
        if response.length.is_some_and(|length| length > self.settings.max_object) {
            return Err(NotRecorded::TooLong);
        }
        if self.recordings == RECORDINGS {
            return Err(NotRecorded::NoRoom);
        }
        let mut bytes = self.open_entries.lend().ok_or(NotRecorded::NoRoom)?;
        let begun = self.begin(query, response, &mut bytes, now).ok_or(NotRecorded::TooLong);
        let reserved = begun.and_then(|(entry, names)| {
            let first = FIRST_RESERVATION.min(self.settings.max_object);
            let len = entry.body_at + response.length.unwrap_or(first);
            let temp = self.make_with_room(len)?;
            Ok((entry, names, temp, len))
        });
        match reserved {
            Ok((entry, names, temp, len)) => {
                self.recordings += 1;
                Ok(Recorder {
                    bytes,
                    entry,
                    temp: Some(temp),
                    on_disk: len,
                    has_spilled: false,
                    len: 0,
                    sum: Checksum::new(),
                    expected: response.length,
                    reserved: on_disk(len),
                    names,
                    voided: token.voided,
                })
            }
            Err(lost) => {
                self.open_entries.give_back(bytes);
                Err(lost)
            }
        }
    }

    /// Makes a file, with room for so many bytes of the budget and on the disk.
    fn make_with_room(&mut self, len: u64) -> Result<TempFile, NotRecorded> {
        let bytes = on_disk(len);
        if !self.directory.reserve(bytes) {
            return Err(NotRecorded::NoRoom);
        }
        let made = self.directory.files.make().and_then(|temp| match temp.file.reserve(len) {
            Ok(()) => Ok(temp),
            Err(error) => {
                self.directory.files.discard(temp);
                Err(error)
            }
        });
        made.map_err(|_| {
            self.directory.cells.settle(self.directory.worker, bytes, 0);
            NotRecorded::Disk
        })
    }

    /// Writes what lies before the body, but for the fixed part. `None` if it does not fit.
    fn begin(
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
        put_status_line(head.status, head.reason, &mut out);
        let kept = KeptFields::new(response_fields);
        for field in head.fields.iter().filter(|field| kept.keeps(field.name)) {
            out.put(field.line);
        }
        if response_fields.date == Single::Absent || !kept.keeps(b"date") {
            date::put_field(plan.freshness.received_at, &mut out); // RFC 9110 §6.6.1
        }
        // Of a 204 the length is never said: RFC 9110 §8.6.
        if let Some(length) = response.length.filter(|_| head.status != 204) {
            put_length(length, &mut out);
        }
        let head_span = Span::new(head_at, out.len());
        let room = if response.length.is_some() { 0 } else { LENGTH_ROOM };
        out.put(&[0; LENGTH_ROOM][..room]);
        if !out.fits() {
            return None;
        }
        let stored = Stored::of(head.status, response_fields, 0, plan.freshness.received_at);
        let body_at = out.len() as u64;
        let (etag, last_modified_text) = validators(bytes.as_slice(), head_span);
        let entry = Entry {
            kind: Kind::Answer,
            status: head.status,
            for_authorized: plan.for_authorized,
            freshness: plan.freshness,
            date: stored.date,
            last_modified: stored.last_modified,
            part: None,
            nonce,
            key,
            selection,
            head: head_span,
            etag,
            last_modified_text,
            body_at,
            body_len: 0,
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

    /// Makes the vary marker that an answer with this front lies below.
    fn make_vary_marker(
        &mut self,
        entry: &Entry,
        front: &[u8],
        primary: UrlKey,
        now: Micros,
    ) -> bool {
        let Some(mut bytes) = self.open_entries.lend() else { return false };
        let mut out = Fitting::new(&mut bytes);
        out.put(&[0; FIXED]);
        out.put(&front[entry.key.range()]);
        let names_at = out.len();
        vary::write_names_of(&front[entry.selection.range()], &mut out);
        let names_len = out.len() - names_at;
        let fits = out.fits();
        let vary_marker = Entry::vary_marker(entry.key.len(), names_len, entry.nonce);
        let made = fits && {
            vary_marker.write_fixed(bytes.as_mut_slice());
            self.publish_whole(bytes.as_slice(), primary.own_entry(), now).is_some()
        };
        self.open_entries.give_back(bytes);
        made
    }

    /// Makes an entry of all its bytes. Returns the count of its changes by then.
    pub(super) fn publish_whole(
        &mut self,
        bytes: &[u8],
        hash: EntryKey,
        now: Micros,
    ) -> Option<u64> {
        let len = bytes.len() as u64;
        let reserved = on_disk(len);
        if !self.directory.reserve(reserved) {
            return None;
        }
        let written =
            self.directory.files.make().and_then(|temp| match temp.file.write_at(bytes, 0) {
                Ok(()) => Ok(temp),
                Err(error) => {
                    self.directory.files.discard(temp);
                    Err(error)
                }
            });
        match written {
            Ok(temp) => self.directory.publish(temp, hash, len, reserved, now),
            Err(_) => {
                self.directory.cells.settle(self.directory.worker, reserved, 0);
                None
            }
        }
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

impl Recorder {
    /// What others wait for who want the same.
    pub fn hash(&self) -> EntryKey {
        self.names.hash
    }

    /// Takes in the next bytes of the body, without chunks.
    ///
    /// If it fails, the recording is to be given up.
    pub fn take(&mut self, store: &mut Store, bytes: &[u8]) -> Result<(), NotRecorded> {
        self.len += bytes.len() as u64;
        match self.expected {
            Some(expected) if self.len > expected => return Err(NotRecorded::Incomplete),
            Some(_) => (),
            None => self.reserve_more(store)?,
        }
        self.sum.write(bytes);
        if bytes.len() <= self.bytes.room() {
            self.bytes.append(bytes);
            return Ok(());
        }
        self.flush(self.len - bytes.len() as u64)?;
        if bytes.len() <= self.bytes.room() {
            self.bytes.append(bytes);
            return Ok(());
        }
        let at = self.entry.body_at + self.len - bytes.len() as u64;
        self.write(bytes, at)
    }

    fn reserve_more(&mut self, store: &Store) -> Result<(), NotRecorded> {
        if self.len > store.settings.max_object {
            return Err(NotRecorded::TooLong);
        }
        let needed = on_disk(self.entry.body_at + self.len);
        if needed > self.reserved {
            let most = on_disk(self.entry.body_at + store.settings.max_object);
            let more = (2 * self.reserved).min(most).max(needed) - self.reserved;
            if !store.directory.reserve(more) {
                return Err(NotRecorded::NoRoom);
            }
            self.reserved += more;
        }
        Ok(())
    }

    /// Writes the bytes of the body in memory to the file: they end at `end` of the body.
    fn flush(&mut self, end: u64) -> Result<(), NotRecorded> {
        let front = self.entry.body_at as usize;
        let pending = &self.bytes.as_slice()[front..];
        let at = self.entry.body_at + end - pending.len() as u64;
        self.write(pending, at)?;
        self.has_spilled = true;
        self.bytes.truncate(front);
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), NotRecorded> {
        let temp = self.temp.as_ref().ok_or(NotRecorded::Disk)?;
        temp.file.write_at(bytes, at).map_err(|_| NotRecorded::Disk)
    }

    /// The body has ended, and its framing proved it: the entry is published.
    pub fn finish(mut self, store: &mut Store, now: Micros) -> Result<(), NotRecorded> {
        let published = self.publish(store, now);
        self.abandon(store);
        published
    }

    fn publish(&mut self, store: &mut Store, now: Micros) -> Result<(), NotRecorded> {
        if self.expected.is_some_and(|expected| expected != self.len) {
            return Err(NotRecorded::Incomplete);
        }
        let NewNames { primary, hash, needs_vary_marker } = self.names;
        if store.directory.cells.voided(primary) != self.voided {
            return Err(NotRecorded::Void);
        }
        self.complete();
        let front = self.entry.body_at as usize;
        if self.has_spilled {
            self.flush(self.len)?;
            self.write(&self.bytes.as_slice()[..front], 0)?;
        } else {
            self.write(self.bytes.as_slice(), 0)?;
        }
        let temp = self.temp.take().ok_or(NotRecorded::Disk)?;
        let reserved = std::mem::take(&mut self.reserved);
        let len = self.entry.file_len();
        if len < self.on_disk {
            // What cannot be given back now is when the entry goes.
            let _ = temp.file.trim(len);
        }
        store.directory.publish(temp, hash, len, reserved, now).ok_or(NotRecorded::Disk)?;
        let front = &self.bytes.as_slice()[..front];
        if needs_vary_marker && !store.make_vary_marker(&self.entry, front, primary, now) {
            store.directory.drop_entry(hash);
            return Err(NotRecorded::Disk);
        }
        // It may have been made void just before it had its name.
        if store.directory.cells.voided(primary) != self.voided {
            store.directory.drop_entry(hash);
            return Err(NotRecorded::Void);
        }
        Ok(())
    }

    /// Writes what is known only at the end.
    fn complete(&mut self) {
        if self.expected.is_none() {
            let mut line = Scratch::<LENGTH_ROOM>::new();
            line.append(b"Content-Length: ");
            append_decimal(self.len, &mut line);
            line.append(b"\r\n");
            let line = line.as_slice().expect("a number has 20 digits at most");
            let start = self.entry.head.range().end;
            self.bytes.as_mut_slice()[start..start + line.len()].copy_from_slice(line);
            self.entry.head = Span::new(self.entry.head.start as usize, start + line.len());
        }
        self.entry.body_len = self.len;
        self.entry.body_sum = self.sum.finish();
        self.entry.write_fixed(self.bytes.as_mut_slice());
    }

    /// Gives the recording up, and all that it took.
    pub fn abandon(mut self, store: &mut Store) {
        if let Some(temp) = self.temp.take() {
            store.directory.files.discard(temp);
        }
        store.directory.cells.settle(store.directory.worker, self.reserved, 0);
        store.recordings -= 1;
        store.open_entries.give_back(std::mem::replace(&mut self.bytes, Buffer::detached()));
    }
}
