//! Finding entries, taking them away, and what else a worker does with them.

use crate::http::cache_status::FwdReason;
use crate::mem::Append;
use crate::mem::buffer::Buffer;
use crate::mem::free_list::FreeList;
use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::disk_pace::DiskPace;
use crate::policy::segments::Segment;
use crate::policy::vary::{self, Chosen, Names};
use crate::sys::{CpuQueue, File, IoError, clock, memory};

use super::checksum::Checksum;
use super::directory::{CacheDirectory, Opened};
use super::entry::{Entry, Kind, NoEntry};
use super::files::TempFile;
use super::in_memory::{self, DiskRead};
use super::index::Used;
use super::keys::{EntryKey, UrlKey};
use super::open_entries::{EntryId, OpenEntries, OpenEntry, PIECE};
use super::shared_cells::SharedCells;

/// Entries at hand, in each worker.
pub const HELD: usize = 512;
/// Answers that a worker records at once; those beyond pass unstored.
pub const RECORDINGS: usize = 128;
/// Pieces of memory beside those of the entries at hand: one for each recording, one for what is made
/// beside a recording, two for a copy.
const OTHER_PIECES: usize = RECORDINGS + 3;
/// Bytes of an entry that are copied at once for another part of it: meanwhile the worker does nothing else.
/// More are copied piece by piece.
const JOINED_AT_ONCE: u64 = 16 << 20;
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
    /// The disk's pace in storing.
    pub(super) storing: DiskPace,
    /// The disk's pace in finding what is stored.
    pub(super) finding: DiskPace,
    /// How long this process waits for a processor: that is no time of the disk.
    pub(super) cpu_queue: CpuQueue,
    /// How often storing or finding was left undone, as the disk was slow.
    pub(super) left_out: u64,
    pub(super) joined_at_once: u64,
}

/// A large entry that is being written anew.
pub struct FreshenCopy {
    pub(super) temp: TempFile,
    pub(super) source: File,
    /// Where the body begins in the source.
    pub(super) from: u64,
    /// All of the body that there is before this byte was copied.
    pub(super) copied: u64,
    /// What lies before the body.
    pub(super) front: Buffer,
    pub(super) entry: Entry,
    pub(super) names: (EntryKey, UrlKey),
    pub(super) reserved: u64,
    pub(super) voided: u64,
    /// What is copied, if it is joined to what is in the copy already: another entry, with its front.
    pub(super) joined: Option<JoinedEntry>,
}

/// A large entry to which another part is joined.
pub struct JoinedEntry {
    pub(super) entry: Entry,
    pub(super) front: Buffer,
    /// The count of its changes: where another has taken its place, that stays.
    pub(super) stamp: u64,
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
    /// Nothing is known yet: what would tell is not in memory, and is read ahead.
    Cold,
}

/// A look at what is stored: when, and whether it may wait for the disk.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub now: Micros,
    pub disk: DiskRead,
}

/// Why there is no entry of a name.
enum NotHeld {
    NotThere,
    NotInMemory,
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
    /// The next of it is not in memory, and is read ahead.
    Cold,
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
            storing: DiskPace::default(),
            finding: DiskPace::default(),
            cpu_queue: CpuQueue::open(),
            left_out: 0,
            joined_at_once: JOINED_AT_ONCE,
        })
    }

    /// What is stored for a request. Whether it is fresh is for the caller to see.
    pub fn find(
        &mut self,
        query: &CacheQuery,
        now: Micros,
        reading: DiskRead,
    ) -> (Found, LookupToken) {
        let look = Look { now, disk: reading };
        let primary = self.directory.primary(&query.url);
        let own = primary.own_entry();
        let voided = self.directory.cells.voided(primary);
        let token = |entry: EntryKey| LookupToken {
            primary,
            fetch_key: entry.fetched_after(voided),
            voided,
        };
        let first = match self.hold_by(own, primary, query, look) {
            Ok(first) => first,
            Err(NotHeld::NotThere) => return (Found::Nothing(FwdReason::UriMiss), token(own)),
            Err(NotHeld::NotInMemory) => return (Found::Cold, token(own)),
        };
        let open_entry = self.open_entries.get(first);
        let (hash, found) = match open_entry.entry.kind {
            Kind::Answer => (own, vary::is_plain(&query.chosen).then_some(first)),
            Kind::VaryMarker => {
                let names = Names(&open_entry.front()[open_entry.entry.selection.range()]);
                let tells_apart = vary::tells_apart(names, &query.chosen);
                let hash = self.directory.name_below(primary, open_entry.entry.nonce, |hasher| {
                    vary::write_selection(names, &query.chosen, hasher);
                });
                match self.hold_by(hash, primary, query, look) {
                    Err(NotHeld::NotInMemory) => return (Found::Cold, token(hash)),
                    held => (hash, held.ok().filter(|_| tells_apart)),
                }
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

    /// Whether a request may have an entry: one without credentials may have any, one with credentials only an
    /// entry that is for all.
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
        self.hold_by(hash, primary, query, Look { now, disk: DiskRead::Waits }).ok()
    }

    fn hold_by(
        &mut self,
        hash: EntryKey,
        primary: UrlKey,
        query: &CacheQuery,
        look: Look,
    ) -> Result<EntryId, NotHeld> {
        let found = match self.at_hand(hash) {
            Some(id) => id,
            None if !self.may_be_stored(hash) => return Err(NotHeld::NotThere),
            None if !self.may_look(look) => return Err(NotHeld::NotThere),
            None => {
                let begun = clock::now();
                let opened = self.open(hash, primary, query, look);
                self.finding.took(begun, clock::now(), || self.cpu_queue.waited());
                opened?
            }
        };
        self.directory.cells.index.touch(hash, Used::at(look.now));
        Ok(found)
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

    /// Most of what is not stored is asked for again and again, and costs no look at the disk.
    fn may_be_stored(&self, hash: EntryKey) -> bool {
        self.directory.cells.unscanned() > 0 || self.directory.cells.index.contains(hash)
    }

    /// Opens an entry and verifies all that is read of it.
    fn open(
        &mut self,
        hash: EntryKey,
        primary: UrlKey,
        query: &CacheQuery,
        look: Look,
    ) -> Result<EntryId, NotHeld> {
        // What changes from here on is seen the next time.
        let stamps = self.directory.stamps(hash, primary);
        let file = match self.directory.files.entry(hash) {
            Ok(file) => file,
            Err(IoError::NotFound) => {
                self.directory.forget(hash);
                return Err(NotHeld::NotThere);
            }
            Err(_) => return Err(NotHeld::NotThere),
        };
        let metadata = file.metadata().map_err(|_| NotHeld::NotThere)?;
        if !self.open_entries.make_room() {
            return Err(NotHeld::NotThere);
        }
        let mut bytes = self.open_entries.take_buffer().ok_or(NotHeld::NotThere)?;
        let count = in_memory::read_front(&file, metadata.len, bytes.free(), look.disk);
        if count == Err(IoError::WouldBlock) {
            self.open_entries.put_buffer(bytes);
            return Err(NotHeld::NotInMemory);
        }
        bytes.filled(count.unwrap_or(0));
        let read = Entry::read(bytes.as_slice(), metadata.len);
        let is_right = |entry: &Entry| {
            metadata.is_plain && self.is_named(entry, bytes.as_slice(), (hash, primary), query)
        };
        let entry = match (count, read) {
            (Ok(_), Ok(entry)) if is_right(&entry) => entry,
            (Ok(_), Ok(_) | Err(NoEntry::Damaged | NoEntry::TooLong)) => {
                self.open_entries.put_buffer(bytes);
                self.directory.drop_entry(hash);
                return Err(NotHeld::NotThere);
            }
            (Err(_), _) => {
                self.open_entries.put_buffer(bytes);
                return Err(NotHeld::NotThere);
            }
        };
        let body_at = entry.body_at as usize;
        let is_whole = metadata.len <= bytes.len() as u64;
        if is_whole && !Store::is_body_right(&entry, bytes.as_slice()) {
            self.open_entries.put_buffer(bytes);
            self.directory.drop_entry(hash);
            return Err(NotHeld::NotThere);
        }
        if !is_whole {
            bytes.truncate(body_at);
        }
        self.directory.note(hash, entry.room(bytes.as_slice()), look.now);
        let file = (!is_whole).then_some((file, entry.body_at, metadata.changed));
        Ok(self.open_entries.insert(OpenEntry::new(entry, (hash, primary), stamps, bytes, file)))
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

    /// Whether the body in memory is the one that its entry tells of.
    fn is_body_right(entry: &Entry, bytes: &[u8]) -> bool {
        let body = &bytes[entry.body_at as usize..];
        let Some(segments) = entry.segments(bytes) else {
            return Checksum::of(body) == entry.body_sum;
        };
        segments.iter().all(|Segment { part, sum }| {
            let segment = body.get(part.first as usize..=part.last as usize);
            segment.is_some_and(|segment| Checksum::of(segment) == sum)
        })
    }

    pub(super) fn is_damaged(&mut self, id: EntryId) -> Verdict {
        let hash = self.open_entries.get(id).hash;
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

    /// Pieces that a copy has.
    #[cfg(test)]
    pub fn copies(&self) -> usize {
        self.copying.as_ref().map_or(0, |copying| 1 + usize::from(copying.joined.is_some()))
    }

    /// Entries at hand and buffers taken: what is left over when nothing goes on is a leak.
    #[cfg(test)]
    pub fn in_use(&self) -> (usize, usize) {
        (self.open_entries.len(), self.open_entries.buffers_taken())
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
