//! Writes a passing response into an entry.
//!
//! A small response is gathered in memory and written at once when it is whole. A large one goes to
//! a file as it comes, and what lies before the body follows at the end. Room is reserved before the
//! first byte, of the budget and on the disk, so that what the client is told will be stored can be;
//! where the length is not known, for a part, and of the budget ahead of what comes. Nothing of this ever holds up or
//! breaks the response that passes: what cannot be stored is not stored.

use crate::http::cache_fields::ResponseCacheFields;
use crate::http::method::Method;
use crate::http::response::ResponseHead;
use crate::mem::buffer::{Buffer, Fitting, Scratch, Span};
use crate::mem::time::Micros;
use crate::mem::{Append, append_decimal};
use crate::policy::freshness::{Basis, ResponseTiming};
use crate::policy::storable::{self, StorabilityInput, StorePlan, Unstorable};
use crate::policy::vary;

use super::checksum::Checksum;
use super::collapse::FetchTicket;
use super::entry::{Entry, FIXED, UNKNOWN_LENGTH};
use super::files::TempFile;
use super::keys::{EntryKey, UrlKey};
use super::shared_cells::{BLOCK, on_disk};
use super::store::{CacheQuery, LookupToken, RECORDINGS, Store};

/// Bytes that are reserved at first for a body whose length is not known. Whenever they are used up, as much
/// again as there is already is reserved.
const FIRST_RESERVATION: u64 = 64 * 1024;
/// A response that others follow, and that turns out to be longer than what is stored, goes on for them up to
/// this part of all room.
const FOLLOWED_SHARE: u64 = 4;
/// What `Content-Length: ` and its line end take with a number of 20 digits.
pub(super) const LENGTH_ROOM: usize = 38;

/// A response that is being recorded. [`Recorder::finish`] or [`Recorder::abandon`] is due.
pub struct Recorder {
    /// What lies before the body, room for it where its length is not known, and bytes of the body
    /// that are not in the file.
    pub(super) bytes: Buffer,
    pub(super) entry: Entry,
    /// The file, until it is published.
    pub(super) temp: Option<TempFile>,
    /// Where what was reserved in it ends.
    on_disk: u64,
    /// The body did not fit into memory: a part of it was written.
    has_spilled: bool,
    /// Where in the body the first byte that comes belongs: 0 but for a part.
    pub(super) first: u64,
    /// Bytes so far.
    pub(super) len: u64,
    pub(super) sum: Checksum,
    /// How many are to come.
    expected: Option<u64>,
    pub(super) reserved: u64,
    pub(super) names: NewNames,
    shown: Shown,
    /// How often the URL's answers had been made void before it was asked for.
    pub(super) voided: u64,
}

/// Whether others see the file as it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Nobody has asked for it.
    Not,
    /// Under the name of this fetch, so many bytes of the body.
    As(EntryKey, u64),
    /// The disk does not do that, or it may go on for ever.
    Never,
}

/// The name of an answer that is being recorded.
#[derive(Clone, Copy)]
pub(super) struct NewNames {
    pub primary: UrlKey,
    pub hash: EntryKey,
    /// Whether the response lies below a vary marker that is not there yet.
    pub needs_vary_marker: bool,
}

/// How a recording came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As its framing said.
    Ended,
    /// Before that.
    Cut,
}

/// Why a response is not recorded, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// The response may not be stored.
    Unstorable(Unstorable),
    /// The response is longer than the operator allows, or its head is longer than fits.
    TooLong,
    /// All room is in use, or the worker records as much as it can.
    NoRoom,
    /// The disk failed, or is full.
    Disk,
    /// The disk takes too long.
    SlowDisk,
    /// The response did not end where it should have.
    Incomplete,
    /// The response was made void meanwhile.
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

    /// Whether a body of so many bytes is longer than the operator allows.
    pub fn is_too_long(&self, length: u64) -> bool {
        length > self.settings.max_object
    }

    /// Begins to record a response to a request that came of `token`.
    pub fn record(
        &mut self,
        query: &CacheQuery,
        token: LookupToken,
        response: &Response,
        now: Micros,
    ) -> Result<Recorder, NotRecorded> {
        let part = response.plan.part;
        if part.is_some_and(|range| response.length != Some(range.part.len())) {
            return Err(NotRecorded::Unstorable(Unstorable::Conditional));
        }
        let first = part.map_or(0, |range| range.part.first);
        let begun = self.begin_recorder((first, response.length), token, |store, bytes| {
            store.write_front(query, response, bytes, now)
        });
        let mut recorder = begun?;
        if response.length.is_none() && response.plan.basis == Basis::Configured {
            // Nobody but the operator says that others may have it: it may be a stream for one alone.
            recorder.shown = Shown::Never;
        }
        Ok(recorder)
    }

    /// Begins to record `length` bytes of a body from its byte `first` on; `begin` writes what lies before the
    /// body.
    pub(super) fn begin_recorder(
        &mut self,
        (first, length): (u64, Option<u64>),
        token: LookupToken,
        begin: impl FnOnce(&mut Store, &mut Buffer) -> Option<(Entry, NewNames)>,
    ) -> Result<Recorder, NotRecorded> {
        if length.is_some_and(|length| self.is_too_long(length)) {
            return Err(NotRecorded::TooLong);
        }
        if self.recordings == RECORDINGS {
            return Err(NotRecorded::NoRoom);
        }
        self.check_pace()?;
        let mut bytes = self.open_entries.take_buffer().ok_or(NotRecorded::NoRoom)?;
        let begun = begin(self, &mut bytes).ok_or(NotRecorded::TooLong);
        let reserved = begun.and_then(|(entry, names)| {
            let unknown = FIRST_RESERVATION.min(self.settings.max_object);
            let len = length.unwrap_or(unknown);
            let (temp, reserved) = self.make_with_room(entry.body_at, first, len)?;
            Ok((entry, names, temp, (entry.body_at + first + len, reserved)))
        });
        match reserved {
            Ok((entry, names, temp, (on_disk, reserved))) => {
                self.recordings += 1;
                Ok(Recorder {
                    bytes,
                    entry,
                    temp: Some(temp),
                    on_disk,
                    has_spilled: false,
                    first,
                    len: 0,
                    sum: Checksum::new(),
                    expected: length,
                    reserved,
                    names,
                    shown: Shown::Not,
                    voided: token.voided,
                })
            }
            Err(lost) => {
                self.open_entries.put_buffer(bytes);
                Err(lost)
            }
        }
    }

    /// Makes a file, with room of the budget and on the disk for what lies before the body, and for `len`
    /// bytes of that from its byte `first` on. Says how much of the budget that is.
    fn make_with_room(
        &mut self,
        body_at: u64,
        first: u64,
        len: u64,
    ) -> Result<(TempFile, u64), NotRecorded> {
        self.timed(|store| store.reserve_and_make(body_at, first, len))
    }

    fn reserve_and_make(
        &mut self,
        body_at: u64,
        first: u64,
        len: u64,
    ) -> Result<(TempFile, u64), NotRecorded> {
        // A part begins and ends within blocks.
        let bytes = on_disk(body_at + len) + if first > 0 { 2 * BLOCK } else { 0 };
        if !self.directory.reserve(bytes) {
            return Err(NotRecorded::NoRoom);
        }
        let (at, reserved) = if first > 0 { (body_at + first, len) } else { (0, body_at + len) };
        let made =
            self.directory.files.make().and_then(|temp| match temp.file.reserve(at, reserved) {
                Ok(()) => Ok((temp, bytes)),
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

    /// Makes the vary marker that an answer with this front lies below.
    fn make_vary_marker(
        &mut self,
        entry: &Entry,
        front: &[u8],
        primary: UrlKey,
        now: Micros,
    ) -> bool {
        let Some(mut bytes) = self.open_entries.take_buffer() else { return false };
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
        self.open_entries.put_buffer(bytes);
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
            Ok(temp) => self.directory.publish(temp, hash, reserved, reserved, now),
            Err(_) => {
                self.directory.cells.settle(self.directory.worker, reserved, 0);
                None
            }
        }
    }
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
        store.timed(|_| self.write_out(bytes))
    }

    /// Writes what is in memory to the file, and these bytes if they do not fit there.
    fn write_out(&mut self, bytes: &[u8]) -> Result<(), NotRecorded> {
        let end = self.first + self.len;
        self.flush(end - bytes.len() as u64)?;
        if bytes.len() <= self.bytes.room() {
            self.bytes.append(bytes);
            return Ok(());
        }
        let at = self.entry.body_at + end - bytes.len() as u64;
        self.write(bytes, at)
    }

    fn reserve_more(&mut self, store: &Store) -> Result<(), NotRecorded> {
        if store.is_too_long(self.len) && !self.goes_on_for_followers(store) {
            return Err(NotRecorded::TooLong);
        }
        let needed = on_disk(self.entry.body_at + self.len);
        if needed > self.reserved {
            let most = on_disk(self.entry.body_at + store.settings.max_object);
            let most = most.max(needed + FIRST_RESERVATION);
            let ahead = (2 * self.reserved).min(most).max(needed) - self.reserved;
            let least = needed - self.reserved;
            let more = [ahead, least].into_iter().find(|more| store.directory.reserve(*more));
            self.reserved += more.ok_or(NotRecorded::NoRoom)?;
        }
        Ok(())
    }

    fn goes_on_for_followers(&self, store: &Store) -> bool {
        self.is_shown() && self.len <= store.directory.cells.max_size() / FOLLOWED_SHARE
    }

    /// Writes the bytes of the body in memory to the file: they end at `end` of the body.
    pub(super) fn flush(&mut self, end: u64) -> Result<(), NotRecorded> {
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

    /// Whether others see it as it comes.
    pub fn is_shown(&self) -> bool {
        matches!(self.shown, Shown::As(..))
    }

    /// Whether others may see it as it comes. Who follows a part would want what comes before as well.
    pub fn may_be_shown(&self) -> bool {
        match self.shown {
            Shown::Not => !self.is_of_part(),
            Shown::As(..) => true,
            Shown::Never => false,
        }
    }

    /// Shows what has come to those who wait for the fetch of that name: see [`Store::follow`]. Whether
    /// there is something that they have not seen.
    ///
    /// If it fails, the recording is to be given up.
    pub fn show(&mut self, store: &Store, fetch: FetchTicket) -> Result<bool, NotRecorded> {
        match self.shown {
            _ if !self.may_be_shown() => return Ok(false),
            Shown::As(_, len) if len == self.len => return Ok(false),
            Shown::Not | Shown::As(..) | Shown::Never => self.flush(self.len)?,
        }
        if self.shown == Shown::Not {
            let length = self.expected.unwrap_or(UNKNOWN_LENGTH);
            let entry = Entry { body_len: length, body_end: length, ..self.entry };
            entry.write_growing(self.voided, self.bytes.as_mut_slice());
            self.write(self.bytes.as_slice(), 0)?;
            let temp = self.temp.as_ref().ok_or(NotRecorded::Disk)?;
            if store.directory.files.show(temp, fetch.hash()).is_err() {
                self.shown = Shown::Never;
                return Ok(false);
            }
            store.directory.cells.fetches.mark_shown(fetch);
        }
        self.shown = Shown::As(fetch.hash(), self.len);
        Ok(true)
    }

    /// The body has ended, and its framing proved it: the entry is published.
    pub fn finish(mut self, store: &mut Store, now: Micros) -> Result<(), NotRecorded> {
        let published = store.timed(|store| self.publish(store, now));
        self.leave(store, How::Ended);
        published
    }

    fn publish(&mut self, store: &mut Store, now: Micros) -> Result<(), NotRecorded> {
        if self.expected.is_some_and(|expected| expected != self.len) {
            return Err(NotRecorded::Incomplete);
        }
        if self.is_of_part() {
            return self.publish_part(store, How::Ended, now);
        }
        if store.is_too_long(self.len) {
            return Err(NotRecorded::TooLong);
        }
        self.check_void(store)?;
        self.complete();
        self.put_in_place(store, now)
    }

    /// Whether it was made void since it was asked for.
    pub(super) fn check_void(&self, store: &Store) -> Result<(), NotRecorded> {
        let is_void = store.directory.cells.voided(self.names.primary) != self.voided;
        if is_void { Err(NotRecorded::Void) } else { Ok(()) }
    }

    /// Makes it the entry of its name, once its fixed part is written to what is in memory.
    pub(super) fn put_in_place(
        &mut self,
        store: &mut Store,
        now: Micros,
    ) -> Result<(), NotRecorded> {
        let NewNames { primary, hash, needs_vary_marker } = self.names;
        let front = self.entry.body_at as usize;
        if self.has_spilled || self.first > 0 {
            self.flush(self.first + self.len)?;
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
        let front = &self.bytes.as_slice()[..front];
        let room = self.entry.room(front);
        store.directory.publish(temp, hash, room, reserved, now).ok_or(NotRecorded::Disk)?;
        if needs_vary_marker && !store.make_vary_marker(&self.entry, front, primary, now) {
            store.directory.drop_entry(hash);
            return Err(NotRecorded::Disk);
        }
        // It may have been made void just before it had its name.
        let is_void = self.check_void(store);
        if is_void.is_err() {
            store.directory.drop_entry(hash);
        }
        is_void
    }

    /// Whether it is not the whole that comes.
    pub(super) fn is_of_part(&self) -> bool {
        self.expected.is_some_and(|expected| expected != self.entry.body_len)
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
            self.expected = Some(self.len);
        }
        (self.entry.body_len, self.entry.body_end) = (self.len, self.len);
        self.entry.body_sum = self.sum.finish();
        self.entry.write_fixed(self.bytes.as_mut_slice());
    }

    /// Gives the recording up, and all that it took.
    pub fn abandon(self, store: &mut Store) {
        self.leave(store, How::Cut);
    }

    /// Gives back all that it took and that was not published. Who follows sees how it ended.
    fn leave(mut self, store: &mut Store, how: How) {
        if let Shown::As(fetch, _) = self.shown {
            store.directory.files.hide(fetch);
            if self.temp.is_some() && !self.is_seen_whole(how) {
                // Who has opened it sees that there will be no more.
                let _ = self.temp.as_ref().map(|temp| temp.file.trim(0));
            }
        }
        if let Some(temp) = self.temp.take() {
            store.directory.files.discard(temp);
        }
        store.directory.cells.settle(store.directory.worker, self.reserved, 0);
        store.recordings -= 1;
        store.open_entries.put_buffer(std::mem::replace(&mut self.bytes, Buffer::detached()));
    }

    /// Whether those who follow what is not published, though all of it has come, see that they have all.
    fn is_seen_whole(&mut self, how: How) -> bool {
        let is_whole = match self.expected {
            Some(expected) => expected == self.len,
            None => how == How::Ended,
        };
        is_whole && self.flush(self.first + self.len).is_ok() && self.tell_end().is_ok()
    }

    /// Where no length was said, the front says now where the body ends.
    fn tell_end(&mut self) -> Result<(), NotRecorded> {
        if self.expected.is_none() {
            self.complete();
        }
        self.write(&self.bytes.as_slice()[..self.entry.body_at as usize], 0)
    }
}
