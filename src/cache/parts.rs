//! Parts of a response: they are recorded as wholes are, each byte where it belongs, and joined at the
//! end with what there is of the same representation by then (RFC 9111 §3.4).
//!
//! JoinedEntry are segments under one strong validator and one length of the whole: what is there already is
//! copied into the new file, by the disk itself, before that takes its place. So there is never more than
//! one entry of a name, and none is changed that somebody reads. A response that was cut is a part as well.

use crate::http::cache_fields::is_strong;
use crate::mem::Append;
use crate::mem::buffer::{Buffer, Fitting, Scratch, Span};
use crate::mem::time::Micros;
use crate::policy::ranges::Part;
use crate::policy::segments::{MAX_SEGMENTS, Segment, SegmentList, Segments};
use crate::sys::File;

use super::entry::{Entry, FIXED, Kind};
use super::front::LIST_ROOM;
use super::open_entries::EntryId;
use super::recorder::{How, NewNames, NotRecorded, Recorder};
use super::shared_cells::{BLOCK, on_disk};
use super::store::{FreshenCopy, JoinedEntry, LookupToken, Store};

/// Bytes that are copied for a part of any length.
const JOINED_FOR_ANY: u64 = 1 << 20;
/// Bytes that are copied beyond that for each byte of the part, unless the two are the whole: small ranges must
/// not cost more than they are worth, however many a client asks for.
const JOINED_FOR_EACH: u64 = 64;

/// How a part is joined with what lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joining {
    /// Not at all: it takes its place.
    Replaces,
    /// Now.
    AtOnce,
    /// Piece by piece, by the store.
    Behind,
}

/// An entry that lies where a part is to lie.
struct There {
    entry: Entry,
    front: Buffer,
    file: File,
}

impl There {
    fn segments(&self) -> Option<Segments<'_>> {
        self.entry.segments(self.front.as_slice())
    }

    /// How many bytes of its body are there.
    fn held(&self) -> u64 {
        self.segments().map_or(self.entry.body_len, Segments::held)
    }

    fn is_whole(&self) -> bool {
        self.segments().is_none_or(|segments| segments.are_all(self.entry.body_len))
    }

    /// What of its body is there, one after the other.
    fn each(&self, mut each: impl FnMut(Segment)) {
        let Entry { body_len, body_sum, .. } = self.entry;
        match self.segments() {
            Some(segments) => segments.iter().for_each(each),
            None if body_len > 0 => {
                each(Segment { part: Part { first: 0, last: body_len - 1 }, sum: body_sum });
            }
            None => (),
        }
    }
}

impl Store {
    /// Begins to record what is missing of an entry that was found at `token`: its head, as it is now,
    /// becomes that of the two together.
    pub fn record_rest(
        &mut self,
        id: EntryId,
        token: LookupToken,
        missing: Part,
    ) -> Result<Recorder, NotRecorded> {
        self.begin_recorder((missing.first, Some(missing.len())), token, |store, bytes| {
            let open_entry = store.open_entries.get(id);
            let old = open_entry.entry;
            let mut out = Fitting::new(bytes);
            out.put(&[0; FIXED]);
            // The fixed part differs; key, selection and head stay where they are.
            out.put(&open_entry.front()[FIXED..old.head.range().end]);
            out.put(&[0; LIST_ROOM]);
            let entry = Entry {
                segments: Span::default(),
                body_at: out.len() as u64,
                body_end: 0,
                body_sum: 0,
                ..old
            };
            let (primary, hash) = (open_entry.primary, open_entry.hash);
            let names = NewNames { primary, hash, needs_vary_marker: false };
            out.fits().then_some((entry, names))
        })
    }
}

impl Recorder {
    /// The body has ended before it should have: what has come is a part, if it may be one.
    pub fn cut(mut self, store: &mut Store, now: Micros) {
        // What is not kept is not: it would be fetched again.
        let _ = store.timed(|store| self.publish_part(store, How::Cut, now));
        self.abandon(store);
    }

    fn etag(&self) -> &[u8] {
        &self.bytes.as_slice()[self.entry.etag.range()]
    }

    /// What has come, if others can be joined to it.
    fn segment(&self) -> Option<Segment> {
        let last = (self.first + self.len).checked_sub(1).filter(|_| self.len > 0)?;
        let is_part =
            self.entry.status == 200 && last < self.entry.body_len && is_strong(self.etag());
        is_part.then(|| Segment { part: Part { first: self.first, last }, sum: self.sum.finish() })
    }

    /// Publishes what has come of a body, joined with what there is of it already.
    pub(super) fn publish_part(
        &mut self,
        store: &mut Store,
        how: How,
        now: Micros,
    ) -> Result<(), NotRecorded> {
        let segment = self.segment().ok_or(NotRecorded::Incomplete)?;
        self.check_void(store)?;
        let mut list = SegmentList::new(segment);
        if let Some(there) = self.open_there(store) {
            match self.judge(store, &there, how) {
                Ok(Joining::Replaces) => store.open_entries.put_buffer(there.front),
                Ok(Joining::AtOnce) => {
                    let joined = self.join(&there, &mut list);
                    store.open_entries.put_buffer(there.front);
                    joined?;
                }
                Ok(Joining::Behind) => return self.join_behind(store, there, list),
                Err(lost) => {
                    store.open_entries.put_buffer(there.front);
                    return Err(lost);
                }
            }
        }
        self.complete_part(&list)?;
        self.put_in_place(store, now)
    }

    /// The answer that has the name now.
    fn open_there(&self, store: &mut Store) -> Option<There> {
        let file = store.directory.files.entry(self.names.hash).ok()?;
        let len = file.metadata().ok()?.len;
        let mut front = store.open_entries.take_buffer()?;
        let count = file.read_at(front.free(), 0).unwrap_or(0);
        front.filled(count);
        let read = Entry::read(front.as_slice(), len).ok();
        // Key and selection: what lies there is what its name says.
        let before_head = |entry: &Entry| FIXED..entry.head.range().start;
        let is_same = |entry: &Entry| {
            let own = &self.bytes.as_slice()[before_head(&self.entry)];
            entry.kind == Kind::Answer && &front.as_slice()[before_head(entry)] == own
        };
        match read.filter(is_same) {
            Some(entry) => Some(There { entry, front, file }),
            None => {
                store.open_entries.put_buffer(front);
                None
            }
        }
    }

    /// What becomes of what lies there; room for it is reserved. Fails where that is to stay.
    fn judge(
        &mut self,
        store: &mut Store,
        there: &There,
        how: How,
    ) -> Result<Joining, NotRecorded> {
        let is_same = there.entry.status == self.entry.status
            && there.entry.body_len == self.entry.body_len
            && &there.front.as_slice()[there.entry.etag.range()] == self.etag();
        if !is_same {
            // One that was cut is worth less than a whole, if only where no backend can be reached.
            let stays = how == How::Cut && there.is_whole();
            return if stays { Err(NotRecorded::NoRoom) } else { Ok(Joining::Replaces) };
        }
        let (held, most) = (there.held(), store.settings.max_object);
        let has_room = self.entry.body_at as usize - self.entry.head.range().end >= LIST_ROOM;
        // Who follows it takes what lies behind its end for what has come.
        let may_grow = has_room && !self.is_shown();
        let together = held.saturating_add(self.len);
        let is_worth_it = held <= JOINED_FOR_ANY.max(self.len.saturating_mul(JOINED_FOR_EACH))
            || together >= self.entry.body_len;
        let joining = match held <= store.joined_at_once {
            true => Some(Joining::AtOnce),
            false => store.copying.is_none().then_some(Joining::Behind),
        };
        let joining = joining.filter(|_| may_grow && is_worth_it && together <= most);
        let room = on_disk(held) + 2 * BLOCK * MAX_SEGMENTS as u64;
        let Some(joining) = joining.filter(|_| store.directory.reserve(room)) else {
            let stays = held >= self.len;
            return if stays { Err(NotRecorded::NoRoom) } else { Ok(Joining::Replaces) };
        };
        self.reserved += room;
        if how == How::Cut {
            self.give_back_rest()?;
        }
        Ok(joining)
    }

    /// Takes in what lies there.
    fn join(&self, there: &There, list: &mut SegmentList) -> Result<(), NotRecorded> {
        let end = self.first + self.len;
        let mut copied = Ok(());
        there.each(|Segment { part, sum }| {
            let has_come = self.first <= part.first && part.last < end;
            // What has no place in the list is fetched again.
            let segment = Segment { part, sum };
            if !has_come && copied.is_ok() && list.add(segment) {
                copied = self.copy(there, segment.part);
            }
        });
        copied
    }

    /// Of what was reserved for a body that was cut, the rest is not to lie between what others have
    /// brought.
    fn give_back_rest(&self) -> Result<(), NotRecorded> {
        let temp = self.temp.as_ref().ok_or(NotRecorded::Disk)?;
        let end = self.entry.body_at + self.first + self.len;
        temp.file.trim(end).map_err(|_| NotRecorded::Disk)
    }

    /// Takes in what lies there, if that is much: the store goes on with copying, and publishes the whole in
    /// the end.
    fn join_behind(
        &mut self,
        store: &mut Store,
        there: There,
        mut list: SegmentList,
    ) -> Result<(), NotRecorded> {
        let mut has_room = true;
        there.each(|segment| has_room &= list.add(segment));
        let stamp = store.directory.cells.stamp(self.names.hash);
        let begun = self.complete_part(&list).and_then(|()| self.flush(self.first + self.len));
        let There { entry, front: joined, file } = there;
        if begun.is_err() || !has_room {
            store.open_entries.put_buffer(joined);
            return Err(NotRecorded::Disk);
        }
        let Some(mut front) = store.open_entries.take_buffer() else {
            store.open_entries.put_buffer(joined);
            return Err(NotRecorded::NoRoom);
        };
        let Some(temp) = self.temp.take() else {
            store.open_entries.put_buffer(front);
            store.open_entries.put_buffer(joined);
            return Err(NotRecorded::Disk);
        };
        front.append(self.bytes.as_slice());
        store.copying = Some(FreshenCopy {
            temp,
            source: file,
            from: entry.body_at,
            copied: 0,
            front,
            entry: self.entry,
            names: (self.names.hash, self.names.primary),
            reserved: std::mem::take(&mut self.reserved),
            voided: self.voided,
            joined: Some(JoinedEntry { entry, front: joined, stamp }),
        });
        Ok(())
    }

    fn copy(&self, there: &There, part: Part) -> Result<(), NotRecorded> {
        let temp = self.temp.as_ref().ok_or(NotRecorded::Disk)?;
        let mut at = part.first;
        while at <= part.last {
            let limit = usize::try_from(part.last - at + 1).unwrap_or(usize::MAX);
            let (from, to) = (there.entry.body_at + at, self.entry.body_at + at);
            match temp.file.copy_from(&there.file, from, to, limit) {
                Ok(count) if count > 0 => at += count as u64,
                Ok(_) | Err(_) => return Err(NotRecorded::Disk),
            }
        }
        Ok(())
    }

    /// Writes what is known only at the end.
    fn complete_part(&mut self, list: &SegmentList) -> Result<(), NotRecorded> {
        let last = self.entry.body_len - 1;
        match list.only() {
            Some(Segment { part: Part { first: 0, last: end }, sum }) if end == last => {
                self.entry.segments = Span::default();
                (self.entry.body_end, self.entry.body_sum) = (self.entry.body_len, sum);
            }
            Some(_) | None => {
                let mut written = Scratch::<LIST_ROOM>::new();
                list.write(&mut written);
                let written = written.as_slice().ok_or(NotRecorded::TooLong)?;
                let start = self.entry.head.range().end;
                let span = Span::new(start, start + written.len());
                if span.end as u64 > self.entry.body_at {
                    return Err(NotRecorded::TooLong);
                }
                self.bytes.as_mut_slice()[span.range()].copy_from_slice(written);
                self.entry.segments = span;
                let end = Segments::read(written, self.entry.body_len).map(Segments::end);
                (self.entry.body_end, self.entry.body_sum) = (end.unwrap_or(0), 0);
            }
        }
        self.entry.write_fixed(self.bytes.as_mut_slice());
        Ok(())
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
