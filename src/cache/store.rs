//! Finding entries, taking them away, and what else a worker does with them.

use crate::http::cache_status::FwdReason;
use crate::mem::Append;
use crate::mem::buffer::Buffer;
use crate::mem::free_list::FreeList;
use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::vary::{self, Chosen, Names};
use crate::sys::{File, IoError, memory};

use super::checksum::Checksum;
use super::directory::{CacheDirectory, Opened};
use super::entry::{Entry, Kind, NoEntry};
use super::files::TempFile;
use super::index::Used;
use super::keys::{EntryKey, UrlKey};
use super::open_entries::{EntryId, OpenEntries, OpenEntry, PIECE, Verified};
use super::shared_cells::{SharedCells, on_disk};

/// Entries at hand, in each worker.
pub const HELD: usize = 512;
/// Answers that a worker records at once; those beyond pass unstored.
pub const RECORDINGS: usize = 128;
/// Pieces of memory beside those of the entries at hand: one for each recording, one for what is made
/// beside a recording, one for a copy.
const OTHER_PIECES: usize = RECORDINGS + 2;
/// Pieces of memory of a worker: see [`PIECE`].
pub const PIECES: usize = HELD + OTHER_PIECES;

/// What the operator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes of a body.
    pub max_object: u64,
    /// Seconds for which a 200 is fresh that says nothing of it.
    pub default_ttl: u32,
}

/// The stored answers, as a worker sees them.
pub struct Store {
    pub(super) directory: CacheDirectory,
    pub(super) settings: Settings,
    pub(super) open_entries: OpenEntries,
    /// Recordings that are under way.
    pub(super) recordings: usize,
    pub(super) copying: Option<FreshenCopy>,
}

/// A large entry that is being written anew.
pub struct FreshenCopy {
    pub(super) temp: TempFile,
    pub(super) source: File,
    /// Where the body begins in the source.
    pub(super) from: u64,
    pub(super) copied: u64,
    /// What lies before the body.
    pub(super) front: Buffer,
    pub(super) entry: Entry,
    pub(super) names: (EntryKey, UrlKey),
    pub(super) reserved: u64,
    pub(super) voided: u64,
}

/// A request, as far as it matters which answer it may have.
#[derive(Clone, Copy, Debug)]
pub struct CacheQuery<'a> {
    /// Its URL.
    pub url: Url<'a>,
    /// What else the answer depends on.
    pub chosen: Chosen<'a>,
}

/// What is stored for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This, which is pinned: [`Store::release`] is due.
    Answer(EntryId),
    /// Nothing that it may have, and why.
    Nothing(FwdReason),
}

/// What was seen when an answer was looked for, for what a backend may answer later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct LookupToken {
    /// The name of the URL.
    pub primary: UrlKey,
    /// What those who want the same wait for.
    pub fetch_key: EntryKey,
    /// How often the URL's answers had been made void: what was asked for before one of these times is
    /// not stored after it.
    pub(super) voided: u64,
}

/// How far an entry was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is right.
    Right,
    /// There is more to look at.
    Pending,
    /// It was damaged, and is gone.
    Damaged,
}

impl Store {
    /// For a worker of that number. Its memory, [`PIECES`] pieces, costs nothing until it is used.
    pub fn new(
        opened: Opened,
        cells: SharedCells,
        worker: usize,
        settings: Settings,
    ) -> Result<Store, IoError> {
        let arena = memory::reserve(PIECES * PIECE)?;
        Ok(Store {
            directory: CacheDirectory::new(opened, cells, worker),
            settings,
            open_entries: OpenEntries::new(FreeList::new(arena, PIECE), OTHER_PIECES),
            recordings: 0,
            copying: None,
        })
    }

    /// What is stored for a request. Whether it is fresh is for the caller to see.
    pub fn find(&mut self, query: &CacheQuery, now: Micros) -> (Found, LookupToken) {
        let primary = self.directory.primary(&query.url);
        let own = primary.own_entry();
        let voided = self.directory.cells.voided(primary);
        let token = |fetch_key: EntryKey| LookupToken { primary, fetch_key, voided };
        let Some(first) = self.hold(own, primary, query, now) else {
            return (Found::Nothing(FwdReason::UriMiss), token(own));
        };
        let open_entry = self.open_entries.get(first);
        let (hash, found) = match open_entry.entry.kind {
            Kind::Answer => (own, vary::is_plain(&query.chosen).then_some(first)),
            Kind::VaryMarker => {
                let names = Names(&open_entry.front()[open_entry.entry.selection.range()]);
                let hash = self.directory.name_below(primary, open_entry.entry.nonce, |hasher| {
                    vary::write_selection(names, &query.chosen, hasher);
                });
                (hash, self.hold(hash, primary, query, now))
            }
        };
        match found {
            Some(id) if self.may_have(id, query) => {
                self.open_entries.pin(id);
                (Found::Answer(id), token(hash))
            }
            Some(_) | None => (Found::Nothing(FwdReason::VaryMiss), token(hash)),
        }
    }

    /// One without credentials may have anything, one with them only what is for all.
    fn may_have(&self, id: EntryId, query: &CacheQuery) -> bool {
        let entry = &self.open_entries.get(id).entry;
        entry.for_authorized || !query.chosen.request_fields.authorization
    }

    /// The entry of a name, at hand or opened for that.
    pub(super) fn hold(
        &mut self,
        hash: EntryKey,
        primary: UrlKey,
        query: &CacheQuery,
        now: Micros,
    ) -> Option<EntryId> {
        let found = match self.at_hand(hash) {
            Some(id) => id,
            None => self.open(hash, primary, query, now)?,
        };
        self.directory.cells.index.touch(hash, Used::at(now));
        Some(found)
    }

    /// The entry of a name, if it is at hand and no other by now.
    pub(super) fn at_hand(&mut self, hash: EntryKey) -> Option<EntryId> {
        let id = self.open_entries.find(hash)?;
        let open_entry = self.open_entries.get(id);
        let is_same = match &open_entry.file {
            None => true,
            Some((file, _, changed)) => {
                file.metadata().is_ok_and(|metadata| metadata.changed == *changed)
            }
        };
        if !is_same || open_entry.stamps != self.directory.stamps(hash, open_entry.primary) {
            self.open_entries.unlist(id);
            return None;
        }
        Some(id)
    }

    /// Opens an entry and verifies all that is read of it.
    fn open(
        &mut self,
        hash: EntryKey,
        primary: UrlKey,
        query: &CacheQuery,
        now: Micros,
    ) -> Option<EntryId> {
        // Most of what is not stored is asked for again and again, and costs no look at the disk.
        if self.directory.cells.unscanned() == 0 && !self.directory.cells.index.contains(hash) {
            return None;
        }
        // What changes from here on is seen the next time.
        let stamps = self.directory.stamps(hash, primary);
        let file = match self.directory.files.entry(hash) {
            Ok(file) => file,
            Err(IoError::NotFound) => {
                self.directory.forget(hash);
                return None;
            }
            Err(_) => return None,
        };
        let metadata = file.metadata().ok()?;
        if !self.open_entries.make_room() {
            return None;
        }
        let mut bytes = self.open_entries.lend()?;
        let count = file.read_at(bytes.free(), 0);
        bytes.filled(count.unwrap_or(0));
        let read = Entry::read(bytes.as_slice(), metadata.len);
        let is_right = |entry: &Entry| {
            metadata.is_plain && self.is_named(entry, bytes.as_slice(), (hash, primary), query)
        };
        let entry = match (count, read) {
            (Ok(_), Ok(entry)) if is_right(&entry) => entry,
            (Ok(_), Ok(_) | Err(NoEntry::Damaged | NoEntry::TooLong)) => {
                self.open_entries.give_back(bytes);
                self.directory.drop_entry(hash);
                return None;
            }
            (Err(_), _) => {
                self.open_entries.give_back(bytes);
                return None;
            }
        };
        let body_at = entry.body_at as usize;
        let is_whole = metadata.len <= bytes.len() as u64;
        if is_whole && Checksum::of(&bytes.as_slice()[body_at..]) != entry.body_sum {
            self.open_entries.give_back(bytes);
            self.directory.drop_entry(hash);
            return None;
        }
        if !is_whole {
            bytes.truncate(body_at);
        }
        self.directory.note(hash, on_disk(metadata.len), now);
        let file = (!is_whole).then_some((file, entry.body_at, metadata.changed));
        Some(self.open_entries.insert(OpenEntry::new(entry, (hash, primary), stamps, bytes, file)))
    }

    /// Whether an entry is the one that its name says, and the one that is wanted.
    fn is_named(
        &self,
        entry: &Entry,
        bytes: &[u8],
        (hash, primary): (EntryKey, UrlKey),
        query: &CacheQuery,
    ) -> bool {
        let mut key = Same::to(&bytes[entry.key.range()]);
        query.url.write(&mut key);
        let selection = &bytes[entry.selection.range()];
        let is_own_name = hash == primary.own_entry();
        let fits = match entry.kind {
            Kind::VaryMarker => is_own_name && !selection.is_empty(),
            Kind::Answer if is_own_name => entry.nonce == 0 && selection.is_empty(),
            Kind::Answer => {
                let name = self
                    .directory
                    .name_below(primary, entry.nonce, |hasher| hasher.write(selection));
                name == hash
            }
        };
        fits && key.is_same()
    }

    /// Reads up to `limit` bytes of a body that was not verified yet.
    pub fn verify(&mut self, id: EntryId, limit: usize) -> Verdict {
        let open_entry = self.open_entries.get(id);
        let (Some((file, body_at, _)), Verified::UpTo(done, sum)) =
            (&open_entry.file, &open_entry.verified)
        else {
            return Verdict::Right;
        };
        let (mut done, mut sum, hash) = (*done, sum.clone(), open_entry.hash);
        let Entry { body_len, body_sum, .. } = open_entry.entry;
        let mut room = [0; PIECE];
        let end = body_len.min(done + limit as u64);
        while done < end {
            let most = usize::try_from(end - done).unwrap_or(PIECE).min(PIECE);
            match file.read_at(&mut room[..most], body_at + done) {
                Ok(count) if count > 0 => {
                    sum.write(&room[..count]);
                    done += count as u64;
                }
                Ok(_) | Err(_) => return self.is_damaged(id, hash),
            }
        }
        if done == body_len && sum.finish() != body_sum {
            return self.is_damaged(id, hash);
        }
        let open_entry = self.open_entries.get_mut(id);
        if done == body_len {
            open_entry.verified = Verified::Whole;
            return Verdict::Right;
        }
        open_entry.verified = Verified::UpTo(done, sum);
        Verdict::Pending
    }

    fn is_damaged(&mut self, id: EntryId, hash: EntryKey) -> Verdict {
        self.open_entries.unlist(id);
        self.directory.drop_entry(hash);
        Verdict::Damaged
    }

    /// An entry that is pinned.
    pub fn entry(&self, id: EntryId) -> &OpenEntry {
        self.open_entries.get(id)
    }

    /// Pins an entry once more that is pinned.
    pub fn keep(&mut self, id: EntryId) {
        self.open_entries.pin(id);
    }

    /// Gives an entry back.
    pub fn release(&mut self, id: EntryId) {
        self.open_entries.unpin(id);
    }

    /// How often entries are pinned.
    #[cfg(test)]
    pub fn pinned(&self) -> u32 {
        self.open_entries.pinned()
    }

    /// Whether some work is left that may be done now and then.
    pub fn has_work(&self) -> bool {
        self.copying.is_some()
    }

    /// What it has in common with other processes.
    pub fn directory(&self) -> &CacheDirectory {
        &self.directory
    }

    /// Entries at hand and pieces lent: what is left over when nothing goes on is a leak.
    #[cfg(test)]
    pub fn in_use(&self) -> (usize, usize) {
        (self.open_entries.len(), self.open_entries.lent())
    }
}

/// Compares what is written to it with what is there.
pub(super) struct Same<'a> {
    rest: &'a [u8],
    same: bool,
}

impl<'a> Same<'a> {
    pub fn to(bytes: &'a [u8]) -> Same<'a> {
        Same { rest: bytes, same: true }
    }

    pub fn is_same(&self) -> bool {
        self.same && self.rest.is_empty()
    }
}

impl Append for Same<'_> {
    fn append(&mut self, bytes: &[u8]) {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => self.rest = rest,
            None => self.same = false,
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
