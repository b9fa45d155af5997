//! What names the stored: hashes that nobody can guess who has not the directory's secret.

/// Names a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct UrlKey(pub u128);

/// Names an entry, and its file; and what those who want the same wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default, Hash, PartialOrd, Ord))]
pub struct EntryKey(pub u128);

impl UrlKey {
    /// The entry that lies under the URL's own name: its answer, or the vary marker.
    pub fn own_entry(self) -> EntryKey {
        EntryKey(self.0)
    }
}
