//! What names the stored: hashes that nobody can guess who has not the directory's secret.

/// Names a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct UrlKey(pub u128);

/// Names an entry, and its file; and what those who want the same wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default, Hash, PartialOrd, Ord))]
pub struct EntryKey(pub u128);

/// The first bits of a name say in which folder it lies.
pub const FOLDER_BITS: u32 = 12;
/// First bits that the names of all entries of a URL have in common: the entries lie in one folder, and these
/// bits tell most other entries there apart from them.
const SHARED_BITS: u32 = 24;
const SHARED: u128 = !0 << (u128::BITS - SHARED_BITS);

impl EntryKey {
    /// The number of the folder that it lies in.
    pub fn folder(self) -> usize {
        (self.0 >> (u128::BITS - FOLDER_BITS)) as usize
    }

    /// What those who want the entry wait for, once the answers of its URL were made void so often: what was
    /// asked for before is not for them, and they wait for each other.
    pub(super) fn fetched_after(self, voided: u64) -> EntryKey {
        // The bits by which a fetch has its places and is told from others. By the others it is remembered
        // what an answer was like, whenever it was.
        let count = u128::from(voided & 0x7fff_ffff);
        EntryKey(self.0 ^ count << 65 ^ (count & 0xfff) << 20 ^ count & 0xfff)
    }
}

impl UrlKey {
    /// The entry that a hash names among those of the URL.
    pub fn entry_below(self, hash: u128) -> EntryKey {
        EntryKey(self.0 & SHARED | hash & !SHARED)
    }

    /// Whether an entry may be one of the URL's.
    pub fn may_have(self, entry: EntryKey) -> bool {
        (self.0 ^ entry.0) & SHARED == 0
    }

    /// The entry that lies under the URL's own name: its answer, or the vary marker.
    pub fn own_entry(self) -> EntryKey {
        EntryKey(self.0)
    }
}
