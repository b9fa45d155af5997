//! Entries at hand: what a worker has opened and verified, so that a hit needs neither.
//!
//! A small entry lies here whole. Of a large one there is what lies before the body, and the open
//! file. Who answers from one pins it: it stays as it is until it is given back, even if it was
//! replaced on the disk by then. Without pins, what was not used since the last look at it goes when
//! room is needed.

use crate::mem::buffer::Buffer;
use crate::mem::free_list::FreeList;
use crate::mem::slab::{Id, Slab};
use crate::policy::ranges::Part;
use crate::policy::segments::Segment;
use crate::sys::File;

use super::checksum::Checksum;
use super::collapse::FetchTicket;
use super::entry::Entry;
use super::in_memory::InMemory;
use super::keys::{EntryKey, UrlKey};

pub use super::layout::PIECE;

/// Entries that the same few bits of a hash lead to.
const WAYS: usize = 4;

/// Names an entry at hand.
pub type EntryId = Id<OpenEntry>;

/// How far a body was verified.
#[derive(Clone, Debug)]
pub enum Verified {
    /// The whole body is right.
    Whole,
    /// The body is right up to this segment; so many bytes of that were read, and have this checksum.
    UpTo(usize, u64, Checksum),
}

/// How much of a body is there.
#[derive(Clone, Copy, Debug)]
pub enum Growth {
    /// The whole body.
    Whole,
    /// So many bytes are there, and more come as this is fetched, up to the length that the head says.
    UpTo(u64, FetchTicket),
    /// So many bytes are there, and more come as this is fetched, up to an end that is not known before it is
    /// there.
    Open(u64, FetchTicket),
}

/// Where a body is.
pub enum Body<'a> {
    /// Here.
    Memory(&'a [u8]),
    /// In the file, from this byte on.
    File(&'a File, u64),
}

/// An entry at hand.
pub struct OpenEntry {
    /// What is known of it.
    pub entry: Entry,
    /// Its name.
    pub hash: EntryKey,
    /// The name of its URL.
    pub primary: UrlKey,
    /// How often the two had changed when it was opened.
    pub stamps: [u64; 2],
    /// What lies before the body, and the body of a small one.
    pub bytes: Buffer,
    /// The file of a large one, where the body begins in it, and when it was changed last.
    pub file: Option<(File, u64, u64)>,
    /// How far the body is known to be right.
    pub verified: Verified,
    /// How much of it is there.
    pub growth: Growth,
    /// What of it is in memory.
    pub(super) in_memory: InMemory,
    pins: u32,
    used: bool,
    listed: bool,
}

impl OpenEntry {
    /// An open entry that nobody has pinned.
    pub fn new(
        entry: Entry,
        names: (EntryKey, UrlKey),
        stamps: [u64; 2],
        bytes: Buffer,
        file: Option<(File, u64, u64)>,
    ) -> OpenEntry {
        let verified = match file {
            Some(_) => Verified::UpTo(0, 0, Checksum::new()),
            None => Verified::Whole,
        };
        let (hash, primary) = names;
        OpenEntry {
            entry,
            hash,
            primary,
            stamps,
            bytes,
            file,
            verified,
            growth: Growth::Whole,
            in_memory: InMemory::default(),
            pins: 0,
            used: true,
            listed: false,
        }
    }

    /// All that lies before the body.
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The body.
    pub fn body(&self) -> Body<'_> {
        match &self.file {
            Some((file, at, _)) => Body::File(file, *at),
            None => {
                let start = self.entry.body_at as usize;
                Body::Memory(&self.bytes.as_slice()[start..start + self.entry.body_end as usize])
            }
        }
    }

    /// The segments of its body, one after the other: of one that came together it is the whole.
    pub fn segment(&self, number: usize) -> Option<Segment> {
        let Entry { body_len, body_sum, .. } = self.entry;
        match self.entry.segments(self.front()) {
            Some(segments) => segments.iter().nth(number),
            None => {
                let last = body_len.checked_sub(1).filter(|_| number == 0)?;
                Some(Segment { part: Part { first: 0, last }, sum: body_sum })
            }
        }
    }

    /// The response's head, without the empty line.
    pub fn head(&self) -> &[u8] {
        &self.front()[self.entry.head.range()]
    }
}

/// The entries at hand.
pub struct OpenEntries {
    open_entry: Slab<OpenEntry>,
    sets: Vec<[Option<EntryId>; WAYS]>,
    pieces: FreeList,
    hand: usize,
}

impl OpenEntries {
    /// For as many entries as `pieces` has pieces, less `others` that are taken elsewhere.
    pub fn new(pieces: FreeList, others: usize) -> OpenEntries {
        let capacity = pieces.capacity() - others;
        let sets = (capacity / 2).next_power_of_two().max(1);
        OpenEntries {
            open_entry: Slab::with_capacity(capacity),
            sets: vec![[None; WAYS]; sets],
            pieces,
            hand: 0,
        }
    }

    fn set(&mut self, hash: EntryKey) -> &mut [Option<EntryId>; WAYS] {
        let index = hash.0 as usize & (self.sets.len() - 1);
        &mut self.sets[index]
    }

    /// The entry of that name.
    pub fn find(&mut self, hash: EntryKey) -> Option<EntryId> {
        let set = *self.set(hash);
        let found = set.into_iter().flatten().find(|id| self.open_entry[*id].hash == hash)?;
        self.open_entry[found].used = true;
        Some(found)
    }

    /// An entry that was found or pinned just now.
    pub fn get(&self, id: EntryId) -> &OpenEntry {
        &self.open_entry[id]
    }

    /// An entry that was found or pinned just now, to be changed.
    pub fn get_mut(&mut self, id: EntryId) -> &mut OpenEntry {
        &mut self.open_entry[id]
    }

    /// An empty buffer for an entry. `None` if all are taken.
    pub fn take_buffer(&mut self) -> Option<Buffer> {
        self.pieces.take().map(Buffer::new)
    }

    /// Takes a buffer back.
    pub fn put_buffer(&mut self, mut buffer: Buffer) {
        self.pieces.put(buffer.take_bytes());
    }

    /// Makes sure that there is a place for one more. False if all are pinned.
    pub fn make_room(&mut self) -> bool {
        // Twice round: the first time only says who is not used again.
        for _ in 0..2 * self.open_entry.capacity() {
            if !self.open_entry.is_full() {
                return true;
            }
            self.hand = (self.hand + 1) % self.open_entry.capacity();
            let Some(id) = self.open_entry.id_at(self.hand) else { continue };
            let open_entry = &mut self.open_entry[id];
            if open_entry.pins == 0 && !std::mem::take(&mut open_entry.used) {
                self.unlist(id);
            }
        }
        !self.open_entry.is_full()
    }

    /// Puts an entry in, in place of the one of its name. Room was made for it.
    pub fn insert(&mut self, open_entry: OpenEntry) -> EntryId {
        let hash = open_entry.hash;
        if let Some(before) = self.find(hash) {
            self.unlist(before);
        }
        let id = self.open_entry.insert(open_entry).expect("room was made for it");
        let place = match self.set(hash).iter().position(Option::is_none) {
            Some(free) => free,
            None => self.clear_a_way(hash),
        };
        self.set(hash)[place] = Some(id);
        self.open_entry[id].listed = true;
        id
    }

    /// Puts in one that nobody finds, for who holds it alone. It must be pinned.
    pub fn insert_unlisted(&mut self, open_entry: OpenEntry) -> EntryId {
        self.open_entry.insert(open_entry).expect("room was made for it")
    }

    /// Frees a place in the set of a hash: that of an entry that is not pinned, if there is one; else an entry
    /// is unlisted, and nobody finds it any more.
    fn clear_a_way(&mut self, hash: EntryKey) -> usize {
        let set = *self.set(hash);
        let is_free = |id: &Option<EntryId>| id.is_some_and(|id| self.open_entry[id].pins == 0);
        let place = set.iter().position(is_free).unwrap_or(0);
        if let Some(id) = set[place] {
            self.unlist(id);
        }
        place
    }

    /// Lets nobody find an entry any more. It is gone at once unless it is pinned.
    pub fn unlist(&mut self, id: EntryId) {
        let open_entry = &mut self.open_entry[id];
        if std::mem::take(&mut open_entry.listed) {
            let hash = open_entry.hash;
            for way in self.set(hash) {
                if *way == Some(id) {
                    *way = None;
                }
            }
        }
        if self.open_entry[id].pins == 0 {
            let open_entry = self.open_entry.remove(id);
            self.put_buffer(open_entry.bytes);
        }
    }

    /// Keeps an entry as it is until [`OpenEntries::unpin`].
    pub fn pin(&mut self, id: EntryId) {
        self.open_entry[id].pins += 1;
    }

    /// Gives back what was pinned.
    pub fn unpin(&mut self, id: EntryId) {
        let open_entry = &mut self.open_entry[id];
        open_entry.pins -= 1;
        if open_entry.pins == 0 && !open_entry.listed {
            self.unlist(id);
        }
    }

    /// How often entries are pinned.
    #[cfg(test)]
    pub fn pinned(&self) -> u32 {
        self.open_entry.ids().map(|id| self.open_entry[id].pins).sum()
    }

    /// How many entries are at hand.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.open_entry.len()
    }

    /// How many buffers are taken, those of the entries and others.
    #[cfg(test)]
    pub fn buffers_taken(&self) -> usize {
        self.pieces.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::tests::example;

    fn open_entries(pieces: usize) -> OpenEntries {
        OpenEntries::new(FreeList::new(vec![0; pieces * PIECE].leak(), PIECE), 1)
    }

    fn put(open_entries: &mut OpenEntries, hash: u128) -> Option<EntryId> {
        if !open_entries.make_room() {
            return None;
        }
        let bytes = open_entries.take_buffer().expect("a piece for each entry");
        let (_, entry) = example();
        Some(open_entries.insert(OpenEntry::new(
            entry,
            (EntryKey(hash), UrlKey(hash)),
            [0; 2],
            bytes,
            None,
        )))
    }

    #[test]
    fn what_is_pinned_stays_and_what_is_not_used_goes() {
        let mut open_entries = open_entries(5);
        let ids: Vec<_> = (0..4).map(|hash| put(&mut open_entries, hash).expect("room")).collect();
        open_entries.pin(ids[0]);
        put(&mut open_entries, 10).expect("room");
        assert!(open_entries.find(EntryKey(0)).is_some() && open_entries.len() == 4);
        // All have been looked at: those that are found again are spared.
        let spared =
            (1..4).find(|hash| open_entries.find(EntryKey(*hash)).is_some()).expect("one is left");
        put(&mut open_entries, 11).expect("room");
        assert!(
            open_entries.find(EntryKey(spared)).is_some()
                && open_entries.find(EntryKey(0)).is_some()
        );
        open_entries.unpin(ids[0]);
        assert_eq!(open_entries.buffers_taken(), 4);
    }

    #[test]
    fn with_all_pinned_there_is_no_room() {
        let mut open_entries = open_entries(4);
        for hash in 0..3 {
            let id = put(&mut open_entries, hash).expect("room");
            open_entries.pin(id);
        }
        assert_eq!(put(&mut open_entries, 3), None);
        let id = open_entries.find(EntryKey(1)).expect("it is there");
        open_entries.unpin(id);
        assert!(put(&mut open_entries, 3).is_some() && open_entries.find(EntryKey(1)).is_none());
    }

    #[test]
    fn a_replaced_entry_is_kept_for_who_has_it() {
        let mut open_entries = open_entries(6);
        let old = put(&mut open_entries, 7).expect("room");
        open_entries.pin(old);
        let new = put(&mut open_entries, 7).expect("room");
        assert_eq!(
            (open_entries.find(EntryKey(7)), open_entries.get(old).hash),
            (Some(new), EntryKey(7))
        );
        assert_eq!(open_entries.len(), 2);
        open_entries.unpin(old);
        assert_eq!((open_entries.len(), open_entries.buffers_taken()), (1, 1));
        open_entries.unlist(new);
        assert_eq!(
            (open_entries.len(), open_entries.buffers_taken(), open_entries.find(EntryKey(7))),
            (0, 0, None)
        );
    }

    #[test]
    fn a_full_set_gives_one_up() {
        let mut open_entries = open_entries(17);
        let sets = open_entries.sets.len() as u128;
        for index in 0..WAYS as u128 + 2 {
            put(&mut open_entries, index * sets).expect("room");
        }
        assert_eq!(open_entries.len(), WAYS);
        let last = (WAYS as u128 + 1) * sets;
        assert!(open_entries.find(EntryKey(last)).is_some());
    }
}
