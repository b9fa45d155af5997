//! What the control process does for the stored answers, a small step at a time: it looks through the
//! directory for what is not known yet, keeps below the limit, and removes what an operator names.

use crate::mem::time::{Micros, Millis};
use crate::policy::cache_key::Url;
use crate::sys::IoError;

use super::directory::{CacheDirectory, Opened};
use super::entry::{Entry, Kind};
use super::files::FOLDERS;
use super::index::Used;
use super::keys::{EntryKey, UrlKey};
use super::open_entries::PIECE;
use super::shared_cells::{SharedCells, on_disk};

/// Of the limit, this share is kept free, so that recordings need not make room themselves.
const SPARE_SHARE: u64 = 32;
/// Entries that are removed in a step.
const EVICTED_IN_A_STEP: usize = 32;
/// Folders that are looked through in a step at most; after the first round it is one.
const FOLDERS_IN_A_STEP: usize = 64;
/// A step ends with the folder in which so many files were opened.
const OPENED_IN_A_STEP: usize = 256;
/// How long it is until the next step, when nothing is urgent.
const PAUSE: Millis = Millis(1000);

/// Looks through the directory, round and round.
pub struct Sweeper {
    directory: CacheDirectory,
    /// The next folder.
    folder: usize,
    /// All folders have been looked through once.
    has_been_round: bool,
}

/// When the next step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As soon as others had their turn.
    Soon,
    /// After that time.
    After(Millis),
}

impl Sweeper {
    /// For the process of that number, after the one that had it before is gone. What was left
    /// unfinished is removed.
    pub fn new(opened: Opened, cells: SharedCells, worker: usize) -> Sweeper {
        let directory = CacheDirectory::new(opened, cells, worker);
        // What cannot be removed now is removed by the next one.
        let _ = directory.files.sweep_new();
        Sweeper { directory, folder: 0, has_been_round: knows_all(&cells) }
    }

    /// Does a little. `wall` is the time since the epoch, `now` that by the clock that is never set.
    pub fn step(&mut self, now: Micros, wall: Micros) -> Next {
        let cells = self.directory.cells;
        let limit = cells.max_size() - cells.max_size() / SPARE_SHARE;
        let mut evicted = 0;
        while cells.used() > limit && evicted < EVICTED_IN_A_STEP && self.directory.evict_one() {
            evicted += 1;
        }
        let folders = if self.has_been_round { 1 } else { FOLDERS_IN_A_STEP };
        if evicted < EVICTED_IN_A_STEP {
            let mut opened = 0;
            for _ in 0..folders {
                opened += self.look_through(now, wall);
                if opened >= OPENED_IN_A_STEP {
                    break;
                }
            }
        }
        let is_urgent = evicted > 0 || !self.has_been_round;
        if is_urgent { Next::Soon } else { Next::After(PAUSE) }
    }

    /// Puts what is in the next folder and not in the index there. Says how many files that were.
    fn look_through(&mut self, now: Micros, wall: Micros) -> usize {
        let directory = &self.directory;
        let mut opened = 0;
        // A folder that cannot be read has nothing that could be served.
        let _ = directory.files.list(self.folder, |hash| {
            if directory.cells.index.contains(hash) {
                return;
            }
            opened += 1;
            let metadata = directory.files.entry(hash).and_then(|file| file.metadata());
            if let Ok(metadata) = metadata {
                let seconds = (wall.0 / 1_000_000).saturating_sub(metadata.changed / 1_000_000_000);
                let used = Used::at(now).before(seconds);
                directory.note_found(hash, on_disk(metadata.len), used);
            }
        });
        self.folder += 1;
        if self.folder == FOLDERS {
            self.folder = 0;
            self.has_been_round = true;
        }
        if !self.has_been_round {
            let left = (FOLDERS - self.folder) as u64;
            let share = directory.cells.max_size() / FOLDERS as u64 * left;
            directory.cells.set_unscanned(share);
        } else if directory.cells.unscanned() > 0 {
            directory.cells.set_unscanned(0);
        }
        opened
    }

    /// Finds out whether answers can be stored: the directory may have vanished, the disk be full.
    pub fn try_out(&mut self) -> Result<(), IoError> {
        self.directory.files.try_out()
    }

    /// What the process has in common with others.
    pub fn directory(&self) -> &CacheDirectory {
        &self.directory
    }

    /// Removes what was left unfinished, by a worker that died.
    pub fn sweep_new(&self) {
        // What cannot be removed now is removed the next time.
        let _ = self.directory.files.sweep_new();
    }

    /// Begins to remove what the operator names. `None` if it is no URL: `http://host/path`.
    pub fn begin_purge(&self, what: PurgeOf<'_>) -> Option<Purge> {
        let (text, is_exact) = match what {
            PurgeOf::Url(text) => (text, true),
            PurgeOf::Prefix(text) => (text, false),
        };
        let url = Url::parse(text)?;
        let mut key = Vec::new();
        url.write(&mut key);
        let purge = Purge { key, is_exact, folder: 0, purged: 0, room: vec![0; PIECE] };
        if is_exact {
            self.directory.cells.void(self.directory.primary(&url));
        } else {
            self.directory.cells.void_all();
        }
        Some(purge)
    }

    /// Goes on with a purge. True once it is done.
    pub fn step_purge(&self, purge: &mut Purge) -> bool {
        let directory = &self.directory;
        if purge.is_exact && purge.folder == 0 {
            // From now on nobody finds any of it; the rest is only room.
            let mut hasher = directory.primary_hasher();
            hasher.write(&purge.key);
            purge.remove_if_meant(directory, UrlKey(hasher.finish_128()).own_entry());
        }
        let mut opened = 0;
        for _ in 0..FOLDERS_IN_A_STEP {
            let folder = purge.folder;
            // A folder that cannot be read has nothing that could be served.
            let _ = directory.files.list(folder, |hash| {
                purge.remove_if_meant(directory, hash);
                opened += 1;
            });
            purge.folder += 1;
            if purge.folder == FOLDERS || opened >= OPENED_IN_A_STEP {
                break;
            }
        }
        purge.folder == FOLDERS
    }
}

/// A program before this one has looked through the directory, and left its cells.
fn knows_all(cells: &SharedCells) -> bool {
    cells.unscanned() == 0
}

/// What an operator wants removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeOf<'a> {
    /// All answers of this URL.
    Url(&'a [u8]),
    /// All answers of URLs that begin so.
    Prefix(&'a [u8]),
}

/// A purge that is under way.
pub struct Purge {
    key: Vec<u8>,
    is_exact: bool,
    folder: usize,
    purged: u64,
    room: Vec<u8>,
}

impl Purge {
    /// How many answers are gone.
    pub fn purged(&self) -> u64 {
        self.purged
    }

    /// Removes an entry if its URL is meant; or if it is none.
    fn remove_if_meant(&mut self, directory: &CacheDirectory, hash: EntryKey) {
        let Ok(file) = directory.files.entry(hash) else { return };
        let (Ok(metadata), Ok(count)) = (file.metadata(), file.read_at(&mut self.room, 0)) else {
            return;
        };
        let Ok(entry) = Entry::read(&self.room[..count], metadata.len) else {
            directory.drop_entry(hash);
            return;
        };
        let key = &self.room[entry.key.range()];
        let is_meant = if self.is_exact { key == self.key } else { key.starts_with(&self.key) };
        if is_meant {
            directory.drop_entry(hash);
            let mut hasher = directory.primary_hasher();
            hasher.write(key);
            // Who has it at hand has it by its URL's name, too.
            directory.cells.bump_stamp(UrlKey(hasher.finish_128()).own_entry());
            self.purged += u64::from(entry.kind == Kind::Answer);
        }
    }
}

#[cfg(test)]
#[path = "sweeper_tests.rs"]
mod tests;
