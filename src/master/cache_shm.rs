//! What generations share of the stored answers: the cells, the wakers of those who wait, and which
//! numbers in them are whose.
//!
//! A generation takes over the cells of the one before if it stores in the same directory within the
//! same sizes. Else it makes its own, and what lies in the directory is found again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::directory::Reached;
use crate::cache::process_slots::{group_len, groups, sizes};
use crate::cache::shared_cells::SharedCells;
use crate::cache::store::{Settings, Store};
use crate::cache::sweeper::Sweeper;
use crate::config::units::write_size;
use crate::config::{Cache, Config, Warning, Wrong};
use crate::control::cache::CacheAdmin;
use crate::mem::time::{Micros, Millis};
use crate::shared::wakers::Wakers;
use crate::sys::log::{self, Level};
use crate::sys::process::User;
use crate::sys::{Directory, DirectoryLock, IoError, Waker, clock, disk_size, memory};

use super::handover::{ExportedFds, FdNumber};

/// The directory is looked through for so long before the service is ready.
const FIRST_LOOK: Millis = Millis(100);

/// What the processes of a generation have in common about stored answers.
pub struct SharedCache {
    /// The cells, in which this generation's numbers begin at 0.
    pub cells: SharedCells,
    memory: memory::Shared,
    /// The directory.
    dir: PathBuf,
    /// How many workers a group has numbers for.
    workers: usize,
    /// Which numbers are this generation's.
    group: usize,
    /// All wakers by their numbers in the cells: of each group the workers', then that of the
    /// control process.
    wakers: Vec<Waker>,
    /// What keeps other services out of the directory.
    lock: Option<DirectoryLock>,
}

/// A [`SharedCache`] as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The memory of the cells.
    pub cells: FdNumber,
    /// Which numbers in them are this generation's.
    pub group: usize,
    /// All wakers, by their numbers in the cells.
    pub wakers: Vec<FdNumber>,
    /// What keeps other services out of the directory.
    #[serde(default)]
    pub lock: Option<FdNumber>,
}

impl SharedCache {
    /// What a new generation has in common, with the cells of the last of those `before` if they fit.
    pub fn new(
        config: &Cache,
        workers: usize,
        before: &[&SharedCache],
    ) -> Result<SharedCache, IoError> {
        match SharedCache::after(config, workers, before) {
            Some(common) => common,
            None => SharedCache::alone(config, workers),
        }
    }

    fn alone(config: &Cache, workers: usize) -> Result<SharedCache, IoError> {
        let sizes = sizes(config, workers);
        let memory = memory::share(sizes.cells())?;
        let cells = SharedCells::create(memory.cells(), sizes);
        let wakers = (0..sizes.workers).map(|_| Waker::new()).collect::<Result<_, _>>()?;
        let dir = config.dir.clone();
        Ok(SharedCache { cells, memory, dir, workers, group: 0, wakers, lock: None })
    }

    /// With the cells of the last of those before, if it stores in the same directory, they fit, and
    /// there are numbers that nobody has.
    fn after(
        config: &Cache,
        workers: usize,
        before: &[&SharedCache],
    ) -> Option<Result<SharedCache, IoError>> {
        let last =
            before.last().filter(|last| last.dir == config.dir && last.workers == workers)?;
        let taken = |group: &usize| {
            let mut all = before.iter().filter(|one| one.memory.is_same(&last.memory));
            all.any(|one| one.group == *group)
        };
        let group = (0..groups(workers)).find(|group| !taken(group))?;
        let cells = SharedCells::open(last.memory.cells(), sizes(config, workers))?;
        Some(last.for_group(cells, group))
    }

    fn for_group(&self, cells: SharedCells, group: usize) -> Result<SharedCache, IoError> {
        Ok(SharedCache {
            cells: cells.numbered_from(group * group_len(self.workers)),
            memory: self.memory.try_clone()?,
            dir: self.dir.clone(),
            workers: self.workers,
            group,
            wakers: self.wakers.iter().map(Waker::try_clone).collect::<Result<_, _>>()?,
            lock: None,
        })
    }

    /// This, with the lock that keeps other services out.
    pub fn locked_by(self, lock: Option<DirectoryLock>) -> SharedCache {
        SharedCache { lock, ..self }
    }

    /// The generation's wakers, and behind them those of the others.
    pub fn wakers(&self) -> Result<Wakers, IoError> {
        let first = self.group * group_len(self.workers);
        let in_order = self.wakers.iter().cycle().skip(first).take(self.wakers.len());
        let mut wakers = in_order.map(Waker::try_clone).collect::<Result<Vec<_>, _>>()?;
        let neighbours = wakers.split_off(group_len(self.workers));
        let control = wakers.pop().ok_or(IoError::NotFound)?;
        Ok(Wakers { wakers, control, neighbours })
    }

    /// What is handed over of it.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<CacheRecord, IoError> {
        Ok(CacheRecord {
            cells: exported.keep(&self.memory)?,
            group: self.group,
            wakers: self
                .wakers
                .iter()
                .map(|waker| exported.keep(waker))
                .collect::<Result<_, _>>()?,
            lock: self.lock.as_ref().map(|lock| exported.keep(lock)).transpose()?,
        })
    }

    /// Takes what was handed over. Nothing if it is not understood: then the next generation has cells
    /// of its own.
    pub fn import(record: &CacheRecord, config: &Cache, workers: usize) -> Option<SharedCache> {
        let memory = memory::from_fd(record.cells.take().ok()?).ok()?;
        let sizes = sizes(config, workers);
        let cells = SharedCells::open(memory.cells(), sizes)?;
        let wakers = record.wakers.iter().map(|waker| waker.take().map(Waker::from_fd));
        let wakers: Vec<Waker> = wakers.collect::<Result<_, _>>().ok()?;
        if wakers.len() != sizes.workers || record.group >= groups(workers) {
            return None;
        }
        let cells = cells.numbered_from(record.group * group_len(workers));
        let lock = record.lock.and_then(|lock| lock.take().ok()).map(DirectoryLock::from_fd);
        let (dir, group) = (config.dir.clone(), record.group);
        Some(SharedCache { cells, memory, dir, workers, group, wakers, lock })
    }

    /// Makes up for a process of this number that has ended, and rings those who wait for it.
    pub fn reap(&self, number: usize, wakers: &Wakers) {
        for waiting in self.cells.reap(number).workers() {
            wakers.wake(waiting);
        }
    }
}

/// How long the lock of a service that is ending is waited for, and how often it is tried.
const LOCK_TIMEOUT: Millis = Millis(2_000);
const LOCK_PAUSE: Millis = Millis(50);

/// Keeps other services out of the directory: goes on with the lock that one of those `before` has, or
/// takes it. If another service has it, this is said, and `config` goes on without a cache: what two
/// store in one place, neither can keep within its limit. At a start there may be the end of another
/// service to wait for.
pub fn lock(config: &mut Config, before: &[&SharedCache], is_start: bool) -> Option<DirectoryLock> {
    let cache = config.cache.as_ref()?;
    let same = before.iter().rev().filter(|one| is_same_place(&one.dir, &cache.dir));
    if let Some(lock) = same.filter_map(|one| one.lock.as_ref()).next() {
        return lock.try_clone().ok();
    }
    match take_lock(&cache.dir, is_start) {
        Ok(lock) => Some(lock),
        Err(IoError::InUse) => {
            log::write(
                Level::Warning,
                format_args!(
                    "{}: another service stores its responses there; this one goes on without a \
                     cache (name another directory, then reload)",
                    name(cache)
                ),
            );
            config.cache = None;
            None
        }
        // The control process says why it cannot be used; or its disk knows no locks.
        Err(_) => None,
    }
}

/// Takes the lock of a directory. At a start, that of a service which has just been killed is waited
/// for: its processes end one after another.
fn take_lock(dir: &Path, is_start: bool) -> Result<DirectoryLock, IoError> {
    let pauses = if is_start { LOCK_TIMEOUT.0 / LOCK_PAUSE.0 } else { 0 };
    for _ in 0..pauses {
        match DirectoryLock::take(dir) {
            Err(IoError::InUse) => clock::pause(LOCK_PAUSE),
            taken => return taken,
        }
    }
    DirectoryLock::take(dir)
}

fn is_same_place(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

/// The directory for one process: opened in the rights of the master, entered in its own.
pub struct CacheDirHandle {
    cells: SharedCells,
    reached: Result<Reached, IoError>,
}

impl CacheDirHandle {
    /// Opens the directory, and gives it to `owner`. The descriptors of `common` are closed.
    pub fn open(common: SharedCache, config: &Cache, owner: Option<&User>) -> CacheDirHandle {
        CacheDirHandle { cells: common.cells, reached: Reached::reach(&config.dir, owner) }
    }

    /// The directory, for a process that is to be confined to it.
    pub fn directory(&self) -> Option<Directory> {
        self.reached.as_ref().ok()?.directory().ok()
    }

    /// What a worker has of it. Nothing where the directory cannot be used: the control process says
    /// so, and requests go to backends.
    pub fn store(self, config: &Config, worker: usize) -> Option<Store> {
        let opened = self.reached.and_then(Reached::enter).ok()?;
        Store::new(opened, self.cells, worker, settings(config.cache.as_ref()?)).ok()
    }

    /// What the control process has of it.
    pub fn cache_admin(self, config: &Config, number: usize) -> Option<CacheAdmin> {
        let cache = config.cache.as_ref()?;
        let cells = self.cells;
        let open = || -> Result<CacheAdmin, IoError> {
            let reached = self.reached?;
            let store = Store::new(reached.again()?.enter()?, cells, number, settings(cache))?;
            let mut sweeper = Sweeper::new(reached.enter()?, cells, number);
            look_through(&mut sweeper);
            Ok(CacheAdmin::new(sweeper, store, config.buffer_size, cache.dir.clone()))
        };
        let opened = open();
        let failed = |error: &IoError| {
            let why =
                no_directory(cache).map_or_else(|| error.to_string(), |wrong| wrong.to_string());
            let name = name(cache);
            log::write(
                Level::Warning,
                format_args!("{name}: {why}; responses are not stored (repair that, then reload)"),
            );
        };
        opened.inspect_err(failed).ok()
    }
}

/// Looks through a directory that nobody knows yet, so that from the first request on there is room for
/// answers. A large one is known later, by and by: the start does not wait for it.
fn look_through(sweeper: &mut Sweeper) {
    let until = clock::now() + Micros::from(FIRST_LOOK);
    let is_known = |sweeper: &Sweeper| sweeper.directory().cells.unscanned() == 0;
    while !is_known(sweeper) && clock::now() < until {
        sweeper.step(clock::now(), clock::wall());
    }
}

/// The directory, as messages call it.
pub fn name(cache: &Cache) -> String {
    format!("cache.dir {}", cache.dir.display())
}

/// What about the directory will not work as the operator means it, as far as anybody can see who
/// perhaps may not enter it. It is never a reason not to serve.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let Some(cache) = &config.cache else { return Vec::new() };
    let none = no_directory(cache).map(|wrong| {
        let fault =
            format!("{}: {}; responses would not be stored", cache.dir.display(), wrong.fault);
        Warning::of("cache.dir", fault, wrong.remedy)
    });
    none.or_else(|| small_disk(cache)).into_iter().collect()
}

/// Why there can be no directory of that name.
fn no_directory(cache: &Cache) -> Option<Wrong> {
    let found = |path: &Path| match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Found::Folder,
        Ok(_) => Found::Other,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
        Err(_) => Found::Unknown,
    };
    let above = cache.dir.parent().unwrap_or(&cache.dir);
    match (found(&cache.dir), found(above)) {
        (Found::Other, _) => Some(Wrong::new("it is no directory", "name another")),
        (Found::Nothing, Found::Nothing | Found::Other) => {
            let fault = format!("there is no directory {} to make it in", above.display());
            Some(Wrong::new(fault, "make that"))
        }
        (Found::Nothing, Found::Folder | Found::Unknown) | (Found::Folder | Found::Unknown, _) => {
            None
        }
    }
}

/// What a path leads to.
enum Found {
    Folder,
    Other,
    Nothing,
    Unknown,
}

/// Warns that the disk is smaller than what is to be stored there.
fn small_disk(cache: &Cache) -> Option<Warning> {
    let above = cache.dir.parent().unwrap_or(&cache.dir);
    let size = disk_size(&cache.dir).or_else(|_| disk_size(above)).ok()?;
    let is_small = size < cache.max_size && size > 0;
    is_small.then(|| {
        let (size, most) = (write_size(size), write_size(cache.max_size));
        let fault = format!("{most} is more than the {size} of the disk");
        Warning::of("cache.max_size", fault, "lower it")
    })
}

fn settings(cache: &Cache) -> Settings {
    // Lifetimes are whole seconds, and a part of one is more than none.
    let seconds = cache.default_ttl.0.div_ceil(1000);
    Settings {
        max_object: cache.max_object,
        default_ttl: u32::try_from(seconds).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
#[path = "cache_shm_tests.rs"]
mod tests;
