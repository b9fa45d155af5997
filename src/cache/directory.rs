//! What every process that has to do with the directory does: names, the index, room.

use std::path::Path;

use crate::mem::time::Micros;
use crate::policy::cache_key::Url;
use crate::policy::siphash::{SipHasher, SipKey};
use crate::sys::process::User;
use crate::sys::{Directory, IoError};

use super::files::{Files, TempFile};
use super::index::{Put, Used};
use super::keys::{EntryKey, UrlKey};
use super::shared_cells::{BLOCK, SharedCells};

/// Old entries that are removed at once for the room of a new one.
const EVICTED_AT_ONCE: usize = 8;

/// The directory, opened while the rights for the way to it are still there.
pub struct Reached(Directory);

impl Reached {
    /// Opens the directory at `path`, made if need be, and gives it to `owner`.
    pub fn reach(path: &Path, owner: Option<&User>) -> Result<Reached, IoError> {
        Ok(Reached(match owner {
            Some(owner) => Directory::open_for(path, owner)?,
            None => Directory::open(path)?,
        }))
    }

    /// Another handle of the same directory.
    pub fn again(&self) -> Result<Reached, IoError> {
        Ok(Reached(self.0.open_below(c".")?))
    }

    /// A descriptor of it, to be confined to what lies in it.
    pub fn directory(&self) -> Result<Directory, IoError> {
        self.0.open_below(c".")
    }

    /// Finds the secret in it, made if need be: as the one who will use it, so that it stays readable.
    pub fn enter(self) -> Result<Opened, IoError> {
        let (files, secret) = Files::enter(self.0)?;
        Ok(Opened { files, secret })
    }
}

/// The directory, with all that is needed to find entries in it.
pub struct Opened {
    files: Files,
    secret: SipKey,
}

impl Opened {
    /// Opens the directory at `path`, made if need be, and gives it to `owner`.
    #[cfg(any(test, feature = "internals"))]
    pub fn open(path: &Path, owner: Option<&User>) -> Result<Opened, IoError> {
        Reached::reach(path, owner)?.enter()
    }
}

/// The directory and the cells about it, as one process has them.
pub struct CacheDirectory {
    pub(super) files: Files,
    pub(super) secret: SipKey,
    /// The shared cells.
    pub cells: SharedCells,
    /// The number of the process.
    pub worker: usize,
}

impl CacheDirectory {
    /// For a process of that number.
    pub fn new(opened: Opened, cells: SharedCells, worker: usize) -> CacheDirectory {
        let Opened { files, secret } = opened;
        CacheDirectory { files, secret, cells, worker }
    }

    /// The name of a URL.
    pub fn primary(&self, url: &Url) -> UrlKey {
        let mut hasher = self.primary_hasher();
        url.write(&mut hasher);
        UrlKey(hasher.finish_128())
    }

    /// The name of an answer below a vary marker, near that of its URL: so a purge of that need not look
    /// through all folders.
    pub(super) fn name_below(
        &self,
        primary: UrlKey,
        nonce: u64,
        write_selection: impl FnOnce(&mut SipHasher),
    ) -> EntryKey {
        let mut hasher = SipHasher::new_128(&self.secret);
        hasher.write(&primary.0.to_le_bytes());
        hasher.write(&nonce.to_le_bytes());
        write_selection(&mut hasher);
        primary.entry_below(hasher.finish_128())
    }

    pub(super) fn stamps(&self, hash: EntryKey, primary: UrlKey) -> [u64; 2] {
        [self.cells.stamp(hash), self.cells.stamp(primary.own_entry())]
    }

    /// Notes an entry that others have stored, or a program before.
    pub(super) fn note(&self, hash: EntryKey, bytes: u64, now: Micros) {
        if !self.cells.index.contains(hash) {
            self.put_into_index(hash, bytes, now);
        }
    }

    /// Notes an entry that was found on the disk, used last at that time.
    pub(super) fn note_found(&self, hash: EntryKey, bytes: u64, used: Used) {
        if !self.put(hash, bytes, used) {
            self.remove_file(hash);
        }
    }

    /// Puts an entry into the index, and counts its bytes. False if it has no place there, so that
    /// it must not stay.
    pub(super) fn put_into_index(&self, hash: EntryKey, bytes: u64, now: Micros) -> bool {
        self.put(hash, bytes, Used::at(now))
    }

    fn put(&self, hash: EntryKey, bytes: u64, used: Used) -> bool {
        let blocks = u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX);
        self.cells.add(bytes);
        let number = self.cells.number_of(self.worker);
        match self.cells.index.put(number, hash, blocks, used) {
            Put::New => true,
            Put::Again(before) => {
                self.cells.release(u64::from(before) * BLOCK);
                true
            }
            Put::Instead(removed) => {
                self.remove_file(removed.hash);
                self.cells.release(u64::from(removed.blocks) * BLOCK);
                true
            }
            Put::Nowhere => {
                self.cells.release(bytes);
                false
            }
        }
    }

    fn remove_file(&self, hash: EntryKey) {
        // What cannot be removed stays, and is found again when the directory is next looked through.
        let _ = self.files.remove(hash);
        self.cells.bump_stamp(hash);
    }

    /// An entry is not there any more, whoever took it away.
    pub(super) fn forget(&self, hash: EntryKey) {
        if let Some(blocks) = self.cells.index.remove(hash) {
            self.cells.release(u64::from(blocks) * BLOCK);
            self.cells.bump_stamp(hash);
        }
    }

    /// Takes an entry away.
    pub(super) fn drop_entry(&self, hash: EntryKey) {
        self.remove_file(hash);
        self.forget(hash);
    }

    /// Makes all answers of a URL void, and those that are being recorded.
    pub fn invalidate(&self, primary: UrlKey) {
        self.cells.void(primary);
        let own = primary.own_entry();
        // Mostly nothing is stored, and no look at the disk is due. Whoever puts an answer into the
        // index after this look sees before it is done that it was made void.
        if self.cells.unscanned() == 0 && !self.cells.index.contains(own) {
            self.cells.bump_stamp(own);
            return;
        }
        self.drop_entry(own);
    }

    /// The name of a URL whose key is written to it.
    pub fn primary_hasher(&self) -> SipHasher {
        SipHasher::new_128(&self.secret)
    }

    /// Reserves room for `bytes` of a recording; removes what was used long ago for that.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        for _ in 0..EVICTED_AT_ONCE {
            if self.cells.reserve(self.worker, bytes) {
                return true;
            }
            if !self.evict_one() {
                return false;
            }
        }
        self.cells.reserve(self.worker, bytes)
    }

    /// Removes an entry that was used long ago.
    pub(super) fn evict_one(&self) -> bool {
        let number = self.cells.number_of(self.worker);
        let Some(victim) = self.cells.index.take_old(number) else { return false };
        self.remove_file(victim.entry.hash);
        self.cells.release(u64::from(victim.entry.blocks) * BLOCK);
        self.cells.index.free(&victim);
        true
    }

    /// Makes a whole file, which takes `room` bytes of the disk, the entry of a name. `reserved` bytes were
    /// reserved for it: what it takes of them stays in use, the rest is free.
    ///
    /// Returns the count of its changes by then; `None` if it could not be published.
    pub(super) fn publish(
        &self,
        temp: TempFile,
        hash: EntryKey,
        room: u64,
        reserved: u64,
        now: Micros,
    ) -> Option<u64> {
        let published = self.files.publish(&temp, hash);
        if published.is_err() {
            self.files.discard(temp);
        }
        // The index counts the bytes before the reservation is given back, so that never too few are.
        let is_listed = published.is_ok() && self.put_into_index(hash, room, now);
        self.cells.settle(self.worker, reserved, 0);
        if published.is_ok() && !is_listed {
            self.remove_file(hash);
        }
        is_listed.then(|| self.cells.bump_stamp(hash))
    }
}
