//! Follows an answer that another request is fetching, perhaps in another process, as it is written.
//!
//! Who fetches gives the file a name while others wait ([`Recorder::show`]), writes through what it had
//! in memory, and rings. Who follows opens it: its front says all that an entry's does, and how long
//! the body will be, if that is known; how long the file is says how much of it is there. One that breaks
//! off is cut to nothing, so that whoever has it open sees that no more will come; where the one who fetched
//! has died, the fetch is over and the file is short, or its front still that of one which grows: where no
//! length was said, only the front of an entry, which is written when all has come, says that this is the
//! end. So nobody takes a part for the whole.
//!
//! [`Recorder::show`]: super::recorder::Recorder::show

use crate::mem::buffer::Scratch;
use crate::policy::siphash::SipHasher;
use crate::policy::vary::{self, Names};
use crate::sys::File;

use super::collapse::FetchTicket;
use super::entry::{Entry, FIXED, Kind, UNKNOWN_LENGTH};
use super::front::NAMES_ROOM;
use super::keys::EntryKey;
use super::open_entries::{EntryId, Growth, OpenEntry, Verified};
use super::store::{CacheQuery, Same, Store};

/// What is shown of a fetch, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A response that the request may have, pinned: [`Store::release`] is due.
    Answer(EntryId),
    /// A response for requests of another selection (RFC 9111 §4.1). Requests of this one's selection may wait
    /// for each other, by this key.
    ForOthers(EntryKey),
    /// Nothing that the request may have, so far.
    Nothing,
}

/// Whether a request may have an answer.
enum Fit {
    Right,
    OtherSelection(EntryKey),
    Wrong,
}

/// No vary marker has it: [`Store::write_selection`] draws from 1 on.
const NO_NUMBER: u64 = 0;

impl Store {
    /// The answer that is fetched under `ticket`, if it is shown.
    pub fn follow(&mut self, ticket: FetchTicket, query: &CacheQuery) -> Shown {
        let is_wanted = |store: &Store, voided| {
            store.directory.cells.voided(store.directory.primary(&query.url)) == voided
        };
        self.open_shown(ticket, query, is_wanted)
    }

    /// The response that is fetched under `ticket`, for the request that fetches it. It may have it even if the
    /// URL was made void meanwhile: it was sent before that.
    pub fn follow_own(&mut self, ticket: FetchTicket, query: &CacheQuery) -> Option<EntryId> {
        match self.open_shown(ticket, query, |_, _| true) {
            Shown::Answer(id) => Some(id),
            Shown::ForOthers(_) | Shown::Nothing => None,
        }
    }

    fn open_shown(
        &mut self,
        ticket: FetchTicket,
        query: &CacheQuery,
        is_wanted: impl Fn(&Store, u64) -> bool,
    ) -> Shown {
        // One who died may have left another file there.
        if !self.directory.cells.fetches.is_shown(ticket) {
            return Shown::Nothing;
        }
        let Ok(file) = self.directory.files.shown(ticket.hash()) else { return Shown::Nothing };
        if !self.open_entries.make_room() {
            return Shown::Nothing;
        }
        let Some(mut bytes) = self.open_entries.take_buffer() else { return Shown::Nothing };
        let count = file.read_at(bytes.free(), 0).unwrap_or(0);
        bytes.filled(count);
        let read = Entry::read_growing(bytes.as_mut_slice()).ok();
        let wanted = read.filter(|(_, voided)| is_wanted(self, *voided));
        let entry =
            match wanted.map(|(entry, _)| (entry, self.fit(&entry, bytes.as_slice(), query))) {
                Some((entry, Fit::Right)) => entry,
                unfit => {
                    self.open_entries.put_buffer(bytes);
                    return match unfit {
                        Some((_, Fit::OtherSelection(key))) => Shown::ForOthers(key),
                        _ => Shown::Nothing,
                    };
                }
            };
        bytes.truncate(entry.body_at as usize);
        let names = (ticket.hash(), self.directory.primary(&query.url));
        let file = Some((file, entry.body_at, 0));
        let mut open_entry = OpenEntry::new(entry, names, [0; 2], bytes, file);
        open_entry.verified = Verified::Whole; // What was written just now.
        open_entry.growth = match entry.body_len {
            UNKNOWN_LENGTH => Growth::Open(0, ticket),
            _ => Growth::UpTo(0, ticket),
        };
        let id = self.open_entries.insert_unlisted(open_entry);
        self.open_entries.pin(id);
        Shown::Answer(id)
    }

    /// Whether it is an answer for this request: of its URL, and of its selection.
    fn fit(&self, entry: &Entry, front: &[u8], query: &CacheQuery) -> Fit {
        let mut key = Same::to(&front[entry.key.range()]);
        query.url.write(&mut key);
        let selection = &front[entry.selection.range()];
        let mut names = Scratch::<NAMES_ROOM>::new();
        vary::write_names_of(selection, &mut names);
        let Some(names) = names.as_slice().map(Names) else { return Fit::Wrong };
        if entry.kind != Kind::Answer || !key.is_same() || !vary::tells_apart(names, &query.chosen)
        {
            return Fit::Wrong;
        }
        let mut same = Same::to(selection);
        vary::write_selection(names, &query.chosen, &mut same);
        if !same.is_same() {
            return Fit::OtherSelection(self.fetch_key_by(names, query));
        }
        let may_have = entry.for_authorized || !query.chosen.request_fields.authorization;
        if entry.segments.is_empty() && may_have { Fit::Right } else { Fit::Wrong }
    }

    /// What requests of one selection wait for, before it is known by what number their answers are stored.
    fn fetch_key_by(&self, names: Names, query: &CacheQuery) -> EntryKey {
        let primary = self.directory.primary(&query.url);
        let write = |hasher: &mut SipHasher| vary::write_selection(names, &query.chosen, hasher);
        let key = self.directory.name_below(primary, NO_NUMBER, write);
        key.fetched_after(self.directory.cells.voided(primary))
    }

    /// How many bytes of a body are there by now. `None`: it has broken off.
    pub fn grown(&mut self, id: EntryId) -> Option<u64> {
        let open_entry = self.open_entries.get_mut(id);
        let (Growth::UpTo(_, ticket) | Growth::Open(_, ticket)) = &mut open_entry.growth else {
            return Some(open_entry.entry.body_len);
        };
        // In this order: what was written before the fetch was over is seen.
        let goes_on = self.directory.cells.fetches.look(self.directory.worker, ticket);
        let (file, body_at, _) = open_entry.file.as_ref()?;
        let file_len = file.metadata().ok()?.len;
        let there = file_len.checked_sub(*body_at)?;
        let end = match open_entry.growth {
            Growth::Whole | Growth::UpTo(..) => Some(open_entry.entry.body_len),
            Growth::Open(known, _) if goes_on && there > known => None,
            // Also while it seems to go on: that may be the next one, by the same worker.
            Growth::Open(..) => end_of_grown(file, file_len),
        };
        if let Some(end) = end.filter(|end| there >= *end) {
            (open_entry.entry.body_len, open_entry.entry.body_end) = (end, end);
            open_entry.growth = Growth::Whole;
            return Some(end);
        }
        match &mut open_entry.growth {
            Growth::Whole => (),
            Growth::UpTo(known, _) | Growth::Open(known, _) => *known = there,
        }
        goes_on.then_some(there)
    }

    /// Whether there may be more of a body that grows than was seen.
    pub fn may_have_grown(&self, id: EntryId) -> bool {
        match self.open_entries.get(id).growth {
            Growth::Whole => false,
            Growth::UpTo(_, ticket) | Growth::Open(_, ticket) => {
                self.directory.cells.fetches.has_news(ticket)
            }
        }
    }
}

/// How long the body of a file is that grew, once all of it is there.
fn end_of_grown(file: &File, file_len: u64) -> Option<u64> {
    let mut fixed = [0; FIXED];
    let count = file.read_at(&mut fixed, 0).ok()?;
    Entry::read_grown(&fixed, file_len).filter(|_| count == FIXED)
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
