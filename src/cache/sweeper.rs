//! What the control process does for the stored answers, a small step at a time: it looks through the
//! directory for what is not known yet, keeps below the limit, and removes what an operator names.

use crate::mem::time::{Micros, Millis};
use crate::policy::cache_key::Url;
use crate::sys::{IoError, clock};

use super::directory::{CacheDirectory, Opened};
use super::entry::{Entry, Kind};
use super::files::{EntryFolder, FOLDERS};
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
/// A step ends once about so many files were opened,
const OPENED_IN_A_STEP: usize = 256;
/// or so many names were read.
const LISTED_IN_A_STEP: usize = 4096;
/// or it has taken so long.
const STEP_TIME: Micros = Micros(5_000);
/// How long it is until the next step, when nothing is urgent.
const PAUSE: Millis = Millis(1000);

/// Looks through the directory, round and round.
pub struct Sweeper {
    directory: CacheDirectory,
    walk: FolderWalk,
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
        let _ = directory.files.sweep_new(|hash| cells.fetches.shows(hash));
        Sweeper {
            directory,
            walk: FolderWalk::through(0, FOLDERS),
            has_been_round: knows_all(&cells),
        }
    }

    /// Does a little. `wall` is the time since the epoch, `now` that by the clock that is never set.
    pub fn step(&mut self, now: Micros, wall: Micros) -> Next {
        let cells = self.directory.cells;
        let limit = cells.max_size() - cells.max_size() / SPARE_SHARE;
        let mut evicted = 0;
        while cells.used() > limit && evicted < EVICTED_IN_A_STEP && self.directory.evict_one() {
            evicted += 1;
        }
        if evicted < EVICTED_IN_A_STEP {
            self.look_through(now, wall);
        }
        let is_urgent = evicted > 0 || !self.has_been_round;
        if is_urgent { Next::Soon } else { Next::After(PAUSE) }
    }

    /// Puts what is in the next folders and not in the index there.
    fn look_through(&mut self, now: Micros, wall: Micros) {
        let Sweeper { directory, walk, has_been_round } = self;
        let end = if *has_been_round { 1 } else { FOLDERS_IN_A_STEP } + walk.folder;
        let mut step = SweepStep::begin(end);
        while step.goes_on(walk) {
            let Some(hash) = walk.next(directory) else { continue };
            if directory.cells.index.contains(hash) {
                continue;
            }
            step.opened += 1;
            let metadata = directory.files.entry(hash).and_then(|file| file.metadata());
            if let Ok(metadata) = metadata {
                let changed = metadata.changed / 1_000_000_000;
                let seconds = (wall.0 / 1_000_000).saturating_sub(changed);
                let used = Used::at(now).before(seconds);
                let len = metadata.len.min(metadata.allocated.max(1));
                directory.note_found(hash, on_disk(len), used);
            }
        }
        if walk.is_over() {
            *walk = FolderWalk::through(0, FOLDERS);
            *has_been_round = true;
        }
        if !*has_been_round {
            let left = (FOLDERS - walk.folder) as u64;
            let share = directory.cells.max_size() / FOLDERS as u64 * left;
            directory.cells.set_unscanned(share);
        } else if directory.cells.unscanned() > 0 {
            directory.cells.set_unscanned(0);
        }
    }

    /// Finds out whether answers can be stored: the directory may have vanished, the disk be full.
    pub fn try_out(&mut self) -> Result<(), IoError> {
        self.directory.files.try_out()
    }

    /// What the process has in common with others.
    pub fn directory(&self) -> &CacheDirectory {
        &self.directory
    }

    /// Removes what was left unfinished, by a worker that died and was reaped. What others follow stays.
    pub fn sweep_new(&self) {
        // What cannot be removed now is removed the next time.
        let fetches = &self.directory.cells.fetches;
        let _ = self.directory.files.sweep_new(|hash| fetches.shows(hash));
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
        let primary = self.directory.primary(&url);
        let (of, walk) = if is_exact {
            self.directory.cells.void(primary);
            let folder = primary.own_entry().folder();
            (Purged::Url(primary, PurgeStage::Findable), FolderWalk::through(folder, folder + 1))
        } else {
            self.directory.cells.void_all();
            (Purged::Prefix, FolderWalk::through(0, FOLDERS))
        };
        Some(Purge { key, of, walk, purged: 0, room: vec![0; PIECE] })
    }

    /// Goes on with a purge. True once it is done.
    pub fn step_purge(&self, purge: &mut Purge) -> bool {
        let directory = &self.directory;
        let Purge { of, walk, .. } = purge;
        let primary = match *of {
            Purged::Url(primary, PurgeStage::Findable) => {
                // From now on nobody finds any of it; the rest is only room.
                *of = Purged::Url(primary, PurgeStage::Hidden);
                purge.remove_if_meant(directory, primary.own_entry());
                return false;
            }
            Purged::Url(primary, PurgeStage::Hidden) => Some(primary),
            Purged::Prefix => None,
        };
        let mut step = SweepStep::begin(walk.folder + FOLDERS_IN_A_STEP);
        while step.goes_on(&purge.walk) {
            let Some(hash) = purge.walk.next(directory) else { continue };
            if primary.is_none_or(|primary| primary.may_have(hash)) {
                step.opened += 1;
                purge.remove_if_meant(directory, hash);
            }
        }
        purge.walk.is_over()
    }
}

/// A step of what takes long. Others wait for its end: so it has one, whatever there is.
struct SweepStep {
    begun: Micros,
    /// The folder at which the step ends at the latest.
    end: usize,
    looked_at: usize,
    opened: usize,
}

impl SweepStep {
    fn begin(end: usize) -> SweepStep {
        SweepStep { begun: clock::now(), end, looked_at: 0, opened: 0 }
    }

    fn goes_on(&mut self, walk: &FolderWalk) -> bool {
        self.looked_at += 1;
        !walk.is_over()
            && walk.folder < self.end
            && self.opened < OPENED_IN_A_STEP
            && self.looked_at <= LISTED_IN_A_STEP
            // To look at the clock costs little beside opening a file.
            && (self.opened == 0 || clock::now() - self.begun < STEP_TIME)
    }
}

/// A way through some folders, in which one may stop anywhere: one folder may have all entries.
struct FolderWalk {
    folder: usize,
    end: usize,
    listing: FolderListing,
    /// What was listed and is still to be given.
    listed: Vec<EntryKey>,
}

/// How far the present folder was listed.
enum FolderListing {
    NotBegun,
    UnderWay(EntryFolder),
    Over,
}

impl FolderWalk {
    fn through(folder: usize, end: usize) -> FolderWalk {
        FolderWalk { folder, end, listing: FolderListing::NotBegun, listed: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.folder == self.end
    }

    /// The next entry; `None` on the way to another folder, or to more of this one. It must not be over.
    fn next(&mut self, directory: &CacheDirectory) -> Option<EntryKey> {
        if let Some(hash) = self.listed.pop() {
            return Some(hash);
        }
        match &mut self.listing {
            FolderListing::NotBegun => {
                // A folder that cannot be read has nothing that could be served.
                let opened = directory.files.folder(self.folder);
                self.listing = opened.map_or(FolderListing::Over, FolderListing::UnderWay);
            }
            FolderListing::UnderWay(folder) => {
                let listed = &mut self.listed;
                if folder.list_more(|hash| listed.push(hash)) != Ok(true) {
                    self.listing = FolderListing::Over;
                }
            }
            FolderListing::Over => {
                self.folder += 1;
                self.listing = FolderListing::NotBegun;
            }
        }
        None
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
    of: Purged,
    walk: FolderWalk,
    purged: u64,
    room: Vec<u8>,
}

/// What a purge removes.
#[derive(Clone, Copy)]
enum Purged {
    Url(UrlKey, PurgeStage),
    Prefix,
}

/// How far the purge of a URL is.
#[derive(Clone, Copy)]
enum PurgeStage {
    /// Requests still find the entry of the URL.
    Findable,
    /// No request finds it, but its variants still take room.
    Hidden,
}

impl Purge {
    /// How many answers are gone.
    pub fn purged(&self) -> u64 {
        self.purged
    }

    /// Whether it removes one URL, and so takes no time.
    pub fn is_of_url(&self) -> bool {
        matches!(self.of, Purged::Url(..))
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
        let is_meant = match self.of {
            Purged::Url(..) => key == self.key,
            Purged::Prefix => key.starts_with(&self.key),
        };
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
