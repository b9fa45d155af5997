//! Freshens an entry that a backend confirmed by a 304: RFC 9111 §3.2, §4.3.4.
//!
//! The fields change, the body stays. A small entry is written anew at once; the body of a large one
//! is copied by the disk itself, a piece now and then, while the one at hand answers already.

use crate::http::cache_fields::ResponseCacheFields;
use crate::http::fields::Fields;
use crate::mem::Append;
use crate::mem::buffer::{Buffer, Fitting, Span};
use crate::mem::time::Micros;
use crate::policy::conditional::{self, Stored};
use crate::policy::freshness::{Freshness, ResponseTiming, WhenStale};
use crate::policy::ranges::Part;
use crate::policy::storable;
use crate::policy::vary;

use super::entry::{Entry, FIXED};
use super::front::validators;
use super::open_entries::{Body, EntryId, OpenEntry, PIECE};
use super::store::{FreshenCopy, JoinedEntry, LookupToken, Store};

/// A copy goes on by so many bytes at a time.
const COPIED_AT_ONCE: usize = 1 << 20;

impl Store {
    /// Changes an entry that was found at `token` as the 304 `fresh` says, which confirmed it. Returns
    /// the entry as it is now, pinned instead of the one before, and whether it is stored still.
    ///
    /// `None` if it cannot be changed: it is pinned as it was, and gone for others.
    pub fn freshen(
        &mut self,
        id: EntryId,
        token: LookupToken,
        (fresh, timing): (&ResponseCacheFields, ResponseTiming),
        now: Micros,
    ) -> Option<(EntryId, bool)> {
        let freshened = self.freshened(id, fresh, timing);
        let was_of_use = is_of_use(&self.open_entries.get(id).entry.freshness);
        let Some((mut open_entry, is_storable)) = freshened else {
            self.open_entries.unlist(id);
            let hash = self.open_entries.get(id).hash;
            self.directory.drop_entry(hash);
            return None;
        };
        // What others have at hand must not stay good when it is so no more.
        let is_storable = is_storable && (is_of_use(&open_entry.entry.freshness) || !was_of_use);
        if is_storable {
            self.write_anew(&mut open_entry, token, now);
        } else {
            self.directory.drop_entry(open_entry.hash);
        }
        let new = if is_storable {
            self.open_entries.insert(open_entry)
        } else {
            self.open_entries.insert_unlisted(open_entry)
        };
        self.open_entries.pin(new);
        self.open_entries.unpin(id);
        Some((new, is_storable))
    }

    /// Makes an entry stale, which was found at `token` and is pinned, for there is another answer by
    /// now: RFC 9111 §4.3.5. It stays for when a backend fails; a large one goes, which would have to be
    /// copied for that.
    pub fn outdate(&mut self, id: EntryId, token: LookupToken, now: Micros) {
        let open_entry = self.open_entries.get(id);
        let (hash, primary, stamps) = (open_entry.hash, open_entry.primary, open_entry.stamps);
        if stamps != self.directory.stamps(hash, primary) {
            return; // It is another by now, or none.
        }
        let is_small = open_entry.file.is_none();
        let is_written = is_small && self.write_outdated(id, now).is_some();
        self.open_entries.unlist(id);
        if !is_written || self.directory.cells.voided(primary) != token.voided {
            self.directory.drop_entry(hash);
        }
    }

    fn write_outdated(&mut self, id: EntryId, now: Micros) -> Option<u64> {
        let mut bytes = self.open_entries.take_buffer()?;
        let open_entry = self.open_entries.get(id);
        bytes.append(open_entry.front());
        let before = open_entry.entry.freshness;
        let freshness = Freshness { lifetime: 0, stale_while_revalidate: 0, ..before };
        let hash = open_entry.hash;
        Entry { freshness, ..open_entry.entry }.write_fixed(bytes.as_mut_slice());
        let published = self.publish_whole(bytes.as_slice(), hash, now);
        self.open_entries.put_buffer(bytes);
        published
    }

    /// An entry as the 206 `fresh` says that gives the rest of it: it is pinned instead of the one before,
    /// and nobody finds it. Also whether the two together may be stored. `None` if it cannot be changed:
    /// it is pinned as it was.
    pub fn renew(
        &mut self,
        id: EntryId,
        fresh: &ResponseCacheFields,
        timing: ResponseTiming,
    ) -> Option<(EntryId, bool)> {
        let (open_entry, is_storable) = self.freshened(id, fresh, timing)?;
        let new = self.open_entries.insert_unlisted(open_entry);
        self.open_entries.pin(new);
        self.open_entries.unpin(id);
        Some((new, is_storable))
    }

    /// The entry as it is now, and whether it may be stored as such.
    fn freshened(
        &mut self,
        id: EntryId,
        fresh: &ResponseCacheFields,
        timing: ResponseTiming,
    ) -> Option<(OpenEntry, bool)> {
        if !self.open_entries.make_room() {
            return None;
        }
        let mut bytes = self.open_entries.take_buffer()?;
        let old = self.open_entries.get(id);
        let written = write_front(old, fresh, timing.at, &mut bytes);
        let body_at = bytes.len() as u64;
        let file = match old.body() {
            Body::Memory(body) => written.filter(|_| body.len() <= bytes.room()).map(|_| {
                bytes.append(body);
                None
            }),
            Body::File(_, at) => {
                let changed = old.file.as_ref().map_or(0, |(_, _, changed)| *changed);
                let file = self.directory.files.entry(old.hash).ok();
                let file =
                    file.filter(|file| file.metadata().is_ok_and(|now| now.changed == changed));
                written.and(file).map(|file| Some((file, at, changed)))
            }
        };
        let Some((file, (head, segments))) = file.zip(written) else {
            self.open_entries.put_buffer(bytes);
            return None;
        };
        let head_bytes = &bytes.as_slice()[head.range()];
        let line_len = memchr::memchr(b'\n', head_bytes).map_or(0, |end| end + 1);
        let response_fields = ResponseCacheFields {
            age: fresh.age,
            ..ResponseCacheFields::new(Fields::stored(&head_bytes[line_len..]))
        };
        let status = old.entry.status;
        let judged =
            storable::judge_again(status, &response_fields, timing, self.settings.default_ttl);
        // It may vary by more than it is found by: RFC 9111 §4.1.
        let selection = &bytes.as_slice()[old.entry.selection.range()];
        let is_told_apart = vary::covers(selection, &response_fields);
        let stored = Stored::of(status, &response_fields, old.entry.body_len, timing.at);
        let (date, last_modified) = (stored.date, stored.last_modified);
        let (etag, last_modified_text) = validators(bytes.as_slice(), head);
        let mut entry = Entry {
            date,
            last_modified,
            head,
            segments,
            etag,
            last_modified_text,
            body_at,
            ..old.entry
        };
        if let Ok(plan) = &judged {
            entry.freshness = plan.freshness;
            entry.for_authorized = plan.for_authorized;
        }
        entry.write_fixed(bytes.as_mut_slice());
        let mut new = OpenEntry::new(entry, (old.hash, old.primary), old.stamps, bytes, file);
        new.verified = old.verified.clone();
        Some((new, judged.is_ok() && is_told_apart))
    }

    /// Writes an entry to the disk as it is at hand, if it is of use there: one that is asked about
    /// each time would be written each time.
    fn write_anew(&mut self, open_entry: &mut OpenEntry, token: LookupToken, now: Micros) {
        if !is_of_use(&open_entry.entry.freshness) {
            return;
        }
        match open_entry.file {
            None => {
                if open_entry.stamps != self.directory.stamps(open_entry.hash, open_entry.primary) {
                    return; // It is another by now, or none.
                }
                let Some(stamp) =
                    self.publish_whole(open_entry.bytes.as_slice(), open_entry.hash, now)
                else {
                    return;
                };
                open_entry.stamps[0] = stamp;
                if open_entry.hash == open_entry.primary.own_entry() {
                    open_entry.stamps[1] = stamp;
                }
                if self.directory.cells.voided(open_entry.primary) != token.voided {
                    self.directory.drop_entry(open_entry.hash);
                }
            }
            Some(_) if self.copying.is_none() && self.storing.may_use(now) => {
                self.copying = self.begin_copy(open_entry, token)
            }
            Some(_) => (), // The next one that is confirmed may have its turn.
        }
    }

    fn begin_copy(&mut self, open_entry: &OpenEntry, token: LookupToken) -> Option<FreshenCopy> {
        let Body::File(_, from) = open_entry.body() else { return None };
        let source = self.directory.files.entry(open_entry.hash).ok()?;
        let reserved = open_entry.entry.room(open_entry.front());
        if !self.directory.reserve(reserved) {
            return None;
        }
        let made = self.directory.files.make().ok().and_then(|temp| {
            match self.open_entries.take_buffer() {
                Some(front) => Some((temp, front)),
                None => {
                    self.directory.files.discard(temp);
                    None
                }
            }
        });
        let Some((temp, mut front)) = made else {
            self.directory.cells.settle(self.directory.worker, reserved, 0);
            return None;
        };
        front.append(open_entry.front());
        Some(FreshenCopy {
            temp,
            source,
            from,
            copied: 0,
            front,
            entry: open_entry.entry,
            names: (open_entry.hash, open_entry.primary),
            reserved,
            voided: token.voided,
            joined: None,
        })
    }

    /// Goes on with what is done now and then.
    pub fn work(&mut self, now: Micros) {
        self.timed(|store| store.copy_on(now));
    }

    fn copy_on(&mut self, now: Micros) {
        let Some(mut copying) = self.copying.take() else { return };
        let (entry, front) = match &copying.joined {
            Some(JoinedEntry { entry, front, .. }) => (entry, front),
            None => (&copying.entry, &copying.front),
        };
        let next = match entry.segments(front.as_slice()) {
            Some(segments) => segments.next_from(copying.copied),
            None => {
                let (first, end) = (copying.copied, entry.body_len);
                (first < end).then(|| Part { first, last: end - 1 })
            }
        };
        if let Some(part) = next {
            let limit = usize::try_from(part.len()).unwrap_or(COPIED_AT_ONCE).min(COPIED_AT_ONCE);
            let (from, to) = (copying.from + part.first, copying.entry.body_at + part.first);
            match copying.temp.file.copy_from(&copying.source, from, to, limit) {
                Ok(count) if count > 0 => {
                    copying.copied = part.first + count as u64;
                    self.copying = Some(copying);
                }
                Ok(_) | Err(_) => self.end_copy(copying, None),
            }
            return;
        }
        let written = copying.temp.file.write_at(copying.front.as_slice(), 0);
        let is_void = self.directory.cells.voided(copying.names.1) != copying.voided;
        let is_another = copying
            .joined
            .as_ref()
            .is_some_and(|joined| joined.stamp != self.directory.cells.stamp(copying.names.0));
        let publishes = written.is_ok() && !is_void && !is_another;
        self.end_copy(copying, publishes.then_some(now));
    }

    /// Publishes the copy, if it is whole; gives all back.
    fn end_copy(&mut self, copying: FreshenCopy, whole: Option<Micros>) {
        let FreshenCopy { temp, front, entry, names, reserved, voided, joined, .. } = copying;
        let room = entry.room(front.as_slice());
        self.open_entries.put_buffer(front);
        if let Some(joined) = joined {
            self.open_entries.put_buffer(joined.front);
        }
        let (hash, primary) = names;
        let Some(now) = whole else {
            self.directory.files.discard(temp);
            self.directory.cells.settle(self.directory.worker, reserved, 0);
            return;
        };
        let published = self.directory.publish(temp, hash, room, reserved, now);
        if published.is_some() && self.directory.cells.voided(primary) != voided {
            self.directory.drop_entry(hash);
        }
    }
}

/// Whether it is fresh for any time at all without the backend being asked.
fn is_of_use(freshness: &Freshness) -> bool {
    freshness.lifetime > freshness.initial_age && freshness.when_stale != WhenStale::Validate
}

/// Writes what lies before the body of an entry, with its fields as `fresh` changes them. Returns where its
/// head and its segments are. `None` if it does not fit.
fn write_front(
    open_entry: &OpenEntry,
    fresh: &ResponseCacheFields,
    received_at: u64,
    bytes: &mut Buffer,
) -> Option<(Span, Span)> {
    let entry = &open_entry.entry;
    let mut out = Fitting::new(bytes);
    out.put(&[0; FIXED]);
    out.put(&open_entry.front()[entry.key.range()]);
    out.put(&open_entry.front()[entry.selection.range()]);
    let head = open_entry.head();
    let line_len = memchr::memchr(b'\n', head).map_or(0, |end| end + 1);
    out.put(&head[..line_len]);
    let stored = Fields::stored(&head[line_len..]);
    let head_at = entry.selection.range().end;
    conditional::write_updated(&stored, fresh, received_at, &mut out)?;
    let head = Span::new(head_at, out.len().max(head_at));
    let list = &open_entry.front()[entry.segments.range()];
    out.put(list);
    let segments =
        if list.is_empty() { Span::default() } else { Span::new(head.end as usize, out.len()) };
    (out.fits() && out.len() <= PIECE).then_some((head, segments))
}

#[cfg(test)]
#[path = "freshen_tests.rs"]
mod tests;
