//! Renews an entry that a backend confirmed by a 304: RFC 9111 §3.2, §4.3.4.
//!
//! The fields change, the body stays. A small entry is written anew at once; the body of a large one
//! is copied by the disk itself, a piece now and then, while the one at hand answers already.

use crate::http::caching::Offered;
use crate::http::fields::Fields;
use crate::mem::Append;
use crate::mem::buffer::{Buffer, Fitting, Span};
use crate::mem::time::Micros;
use crate::policy::conditional::{self, Stored};
use crate::policy::freshness::{Freshness, Receipt, WhenStale};
use crate::policy::storable;
use crate::policy::vary;
use crate::sys::File;

use super::cells::on_disk;
use super::entry::{Entry, FIXED};
use super::files::Making;
use super::recorder::validators;
use super::shelf::{Body, EntryId, Held, PIECE};
use super::store::{Sight, Store};

/// A copy goes on by so many bytes at a time.
const COPIED_AT_ONCE: usize = 1 << 20;

/// A large entry that is being written anew.
pub struct Copying {
    making: Making,
    source: File,
    /// Where the body begins in the source.
    from: u64,
    copied: u64,
    /// What lies before the body.
    front: Buffer,
    entry: Entry,
    names: (u128, u128),
    reserved: u64,
    voided: u64,
}

impl Store {
    /// Changes an entry that was found at `sight` as the 304 `fresh` says, which confirmed it. Returns
    /// the entry as it is now, pinned instead of the one before, and whether it is stored still.
    ///
    /// `None` if it cannot be changed: it is pinned as it was, and gone for others.
    pub fn renew(
        &mut self,
        id: EntryId,
        sight: Sight,
        (fresh, receipt): (&Offered, Receipt),
        now: Micros,
    ) -> Option<(EntryId, bool)> {
        let renewed = self.renewed(id, fresh, receipt);
        let was_of_use = is_of_use(&self.shelf.get(id).entry.freshness);
        let Some((mut held, is_storable)) = renewed else {
            self.shelf.unlist(id);
            let hash = self.shelf.get(id).hash;
            self.keeper.drop_entry(hash);
            return None;
        };
        // What others have at hand must not stay good when it is so no more.
        let is_storable = is_storable && (is_of_use(&held.entry.freshness) || !was_of_use);
        if is_storable {
            self.write_anew(&mut held, sight, now);
        } else {
            self.keeper.drop_entry(held.hash);
        }
        let new =
            if is_storable { self.shelf.insert(held) } else { self.shelf.insert_unlisted(held) };
        self.shelf.pin(new);
        self.shelf.unpin(id);
        Some((new, is_storable))
    }

    /// The entry as it is now, and whether it may be stored as such.
    fn renewed(&mut self, id: EntryId, fresh: &Offered, receipt: Receipt) -> Option<(Held, bool)> {
        if !self.shelf.make_room() {
            return None;
        }
        let mut bytes = self.shelf.lend()?;
        let held = self.shelf.get(id);
        let written = write_front(held, fresh, receipt.at, &mut bytes);
        let file = match held.body() {
            Body::Memory(body) => written.filter(|_| body.len() <= bytes.room()).map(|()| {
                bytes.append(body);
                None
            }),
            Body::File(_, at) => {
                let changed = held.file.as_ref().map_or(0, |(_, _, changed)| *changed);
                let file = self.keeper.files.entry(held.hash).ok();
                let file =
                    file.filter(|file| file.facts().is_ok_and(|facts| facts.changed == changed));
                written.and(file).map(|file| Some((file, at, changed)))
            }
        };
        let Some(file) = file else {
            self.shelf.give_back(bytes);
            return None;
        };
        let head = Span::new(
            held.entry.selection.range().end,
            bytes.len()
                - match &file {
                    Some(_) => 0,
                    None => held.entry.body_len as usize,
                },
        );
        let head_bytes = &bytes.as_slice()[head.range()];
        let line_len = memchr::memchr(b'\n', head_bytes).map_or(0, |end| end + 1);
        let offered =
            Offered { age: fresh.age, ..Offered::of(Fields::stored(&head_bytes[line_len..])) };
        let status = held.entry.status;
        let judged = storable::judge_again(status, &offered, receipt, self.settings.default_ttl);
        // It may vary by more than it is found by: RFC 9111 §4.1.
        let selection = &bytes.as_slice()[held.entry.selection.range()];
        let is_told_apart = vary::covers(selection, &offered);
        let stored = Stored::of(status, &offered, held.entry.body_len, receipt.at);
        let (date, last_modified) = (stored.date, stored.last_modified);
        let (etag, last_modified_text) = validators(bytes.as_slice(), head);
        let mut entry = Entry {
            date,
            last_modified,
            head,
            etag,
            last_modified_text,
            body_at: u64::from(head.end),
            ..held.entry
        };
        if let Ok(recipe) = &judged {
            entry.freshness = recipe.freshness;
            entry.for_authorized = recipe.for_authorized;
        }
        entry.write_fixed(bytes.as_mut_slice());
        let mut new = Held::new(entry, (held.hash, held.primary), held.stamps, bytes, file);
        new.verified = held.verified.clone();
        Some((new, judged.is_ok() && is_told_apart))
    }

    /// Writes an entry to the disk as it is at hand, if it is of use there: one that is asked about
    /// each time would be written each time.
    fn write_anew(&mut self, held: &mut Held, sight: Sight, now: Micros) {
        if !is_of_use(&held.entry.freshness) {
            return;
        }
        match held.file {
            None => {
                if held.stamps != self.keeper.stamps(held.hash, held.primary) {
                    return; // It is another by now, or none.
                }
                let Some(stamp) = self.publish_whole(held.bytes.as_slice(), held.hash, now) else {
                    return;
                };
                held.stamps[0] = stamp;
                if held.hash == held.primary {
                    held.stamps[1] = stamp;
                }
                if self.keeper.cells.voided(held.primary) != sight.voided {
                    self.keeper.drop_entry(held.hash);
                }
            }
            Some(_) if self.copying.is_none() => self.copying = self.begin_copy(held, sight),
            Some(_) => (), // The next one that is confirmed may have its turn.
        }
    }

    fn begin_copy(&mut self, held: &Held, sight: Sight) -> Option<Copying> {
        let Body::File(_, from) = held.body() else { return None };
        let source = self.keeper.files.entry(held.hash).ok()?;
        let reserved = on_disk(held.entry.file_len());
        if !self.keeper.reserve(reserved) {
            return None;
        }
        let making = self.keeper.files.make().ok();
        let (Some(making), Some(mut front)) = (making, self.shelf.lend()) else {
            self.keeper.cells.settle(self.keeper.worker, reserved, 0);
            return None;
        };
        front.append(held.front());
        Some(Copying {
            making,
            source,
            from,
            copied: 0,
            front,
            entry: held.entry,
            names: (held.hash, held.primary),
            reserved,
            voided: sight.voided,
        })
    }

    /// Goes on with what is done now and then.
    pub fn work(&mut self, now: Micros) {
        let Some(mut copying) = self.copying.take() else { return };
        let left = copying.entry.body_len - copying.copied;
        if left > 0 {
            let limit = usize::try_from(left).unwrap_or(COPIED_AT_ONCE).min(COPIED_AT_ONCE);
            let (from, to) =
                (copying.from + copying.copied, copying.entry.body_at + copying.copied);
            match copying.making.file.copy_from(&copying.source, from, to, limit) {
                Ok(count) if count > 0 => {
                    copying.copied += count as u64;
                    self.copying = Some(copying);
                }
                Ok(_) | Err(_) => self.end_copy(copying, None),
            }
            return;
        }
        let written = copying.making.file.write_at(copying.front.as_slice(), 0);
        let is_void = self.keeper.cells.voided(copying.names.1) != copying.voided;
        let publishes = written.is_ok() && !is_void;
        self.end_copy(copying, publishes.then_some(now));
    }

    /// Publishes the copy, if it is whole; gives all back.
    fn end_copy(&mut self, copying: Copying, whole: Option<Micros>) {
        let Copying { making, front, entry, names, reserved, voided, .. } = copying;
        self.shelf.give_back(front);
        let (hash, primary) = names;
        let Some(now) = whole else {
            self.keeper.files.discard(making);
            self.keeper.cells.settle(self.keeper.worker, reserved, 0);
            return;
        };
        let published = self.keeper.publish(making, hash, entry.file_len(), reserved, now);
        if published.is_some() && self.keeper.cells.voided(primary) != voided {
            self.keeper.drop_entry(hash);
        }
    }
}

/// Whether it is fresh for any time at all without the backend being asked.
fn is_of_use(freshness: &Freshness) -> bool {
    freshness.lifetime > freshness.initial_age && freshness.when_stale != WhenStale::Validate
}

/// Writes what lies before the body of an entry, with its fields as `fresh` changes them. `None` if it
/// does not fit.
fn write_front(held: &Held, fresh: &Offered, received_at: u64, bytes: &mut Buffer) -> Option<()> {
    let entry = &held.entry;
    let mut out = Fitting::new(bytes);
    out.put(&[0; FIXED]);
    out.put(&held.front()[entry.key.range()]);
    out.put(&held.front()[entry.selection.range()]);
    let head = held.head();
    let line_len = memchr::memchr(b'\n', head).map_or(0, |end| end + 1);
    out.put(&head[..line_len]);
    let stored = Fields::stored(&head[line_len..]);
    conditional::write_updated(&stored, fresh, received_at, &mut out)?;
    (out.fits() && out.len() <= PIECE).then_some(())
}

#[cfg(test)]
#[path = "renew_tests.rs"]
mod tests;
