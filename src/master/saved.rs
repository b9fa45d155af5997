//! The backends that have registered, in a file of the state directory: so they are there again after a
//! restart, each with what is left of its lease. Those of the registry that many instances share are in
//! another one, which serves a start at which no engine can be reached.
//!
//! The files are written by the master, at most five times a second while backends come and go, and every ten
//! seconds while leases are renewed. It is JSON, which a later version of the program reads too; a whole one
//! takes the place of the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::shared::{LeftBackend, RegistryProgress, Segment, Wish};
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Tried, state_folder};

use super::backend_state::{self, BackendRecord, Registered};

const FILE: &str = "registered.json";
const REGISTRY_FILE: &str = "registry.json";
/// The format that is written, and the newest that is understood.
const FORMAT: u32 = 1;
/// The least time that a backend in the file has to renew its lease after a restart.
const LEAST_LEASE: Millis = Millis::from_secs(10);
/// Two changes are written at least so long after each other.
const PAUSE: Micros = Micros(200_000);
/// Renewed leases are written so often: who is read has that time in any case.
const RENEWAL_PAUSE: Micros = Micros::from_secs(10);
/// No file of ours is longer.
const LONGEST: u64 = 64 << 20;

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SavedFile {
    format: u32,
    /// When it was written, in milliseconds since the epoch: by then leases are judged.
    saved_ms: u64,
    backends: Vec<SavedBackend>,
    /// What operators have set of backends that have left.
    #[serde(default)]
    left: Vec<SavedLeft>,
    /// How far the registry was known.
    #[serde(default, skip_serializing_if = "RegistryProgress::is_none")]
    registry: RegistryProgress,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedBackend {
    pool: String,
    backend: Endpoint,
    weight: u32,
    max_connections: u32,
    #[serde(default)]
    backup: bool,
    state: String,
    /// What is left of its lease. None: it stays.
    lease_ms: Option<u64>,
    /// What operators have set of it.
    #[serde(default, skip_serializing_if = "Wish::is_none")]
    set: Wish,
    /// Only what operators have set of it is known: it is the file's, or a name's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    only_set: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedLeft {
    /// The hash of its pool's name.
    pool: u64,
    backend: Endpoint,
    set: Wish,
    /// For how long that is remembered.
    left_ms: u64,
}

/// What is known, and when leases end on the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    backends: Vec<BackendRecord>,
    left: Vec<LeftBackend>,
}

/// What a file has.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Those that are there.
    pub backends: Vec<BackendRecord>,
    /// What is remembered of others.
    pub left: Vec<LeftBackend>,
    /// How far the registry was known.
    pub registry: RegistryProgress,
}

/// The file, and what was written there last.
#[derive(Debug)]
pub struct SavedBackends {
    /// Whether it is that of the registry.
    is_shared: bool,
    path: Option<PathBuf>,
    /// None: nothing is known of what is in it.
    written: Option<Known>,
    written_at: Micros,
    /// When it was looked at last whether there is something to write.
    looked_at: Micros,
    /// Whether it could not be written, and that was told.
    has_failed: bool,
}

impl SavedBackends {
    /// The file of the backends that have registered here, if there is a state directory.
    pub fn of_api() -> SavedBackends {
        SavedBackends::at(state_folder().map(|folder| folder.join(FILE)), false)
    }

    /// The file of the backends that the registry has.
    pub fn of_registry() -> SavedBackends {
        SavedBackends::at(state_folder().map(|folder| folder.join(REGISTRY_FILE)), true)
    }

    /// Whether it is that of the registry.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn at(path: Option<PathBuf>, is_shared: bool) -> SavedBackends {
        SavedBackends {
            is_shared,
            path,
            written: None,
            written_at: Micros(0),
            looked_at: Micros(0),
            has_failed: false,
        }
    }

    /// What the file has, for this moment on both clocks. A file that cannot be used is told of, and has
    /// nothing.
    pub fn read(&self, now: Millis, wall: Micros) -> Saved {
        let Some(path) = &self.path else { return Default::default() };
        let saved = match read(path) {
            Ok(saved) => saved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
            Err(error) => {
                let kept = keep_aside(path, &error);
                log::write(
                    Level::Error,
                    format_args!(
                        "{}: {}{kept}; backends that had registered are not known until they do so again",
                        path.display(),
                        why(error)
                    ),
                );
                return Default::default();
            }
        };
        // A clock that was set back has told nothing.
        let passed = Millis((wall.0 / 1000).saturating_sub(saved.saved_ms));
        let left = |left: u64| Millis(left.saturating_sub(passed.0));
        let is_shared = self.is_shared;
        let backends = saved.backends.into_iter().map(|one| record(one, is_shared, now, left));
        let remembered = saved.left.into_iter().map(|one| LeftBackend {
            pool: one.pool,
            address: one.backend,
            wish: one.set,
            until: if is_shared { LeftBackend::FOR_EVER } else { now + left(one.left_ms) },
        });
        let left = remembered.filter(|one| one.until > now).collect();
        Saved { backends: backends.collect(), left, registry: saved.registry }
    }

    /// When `write` is to be called next, whatever happens.
    pub fn next_deadline(&self) -> Option<Micros> {
        let has_leases = |known: &Known| known.backends.iter().any(|one| lease(one).is_some());
        let is_due = self.path.is_some() && self.written.as_ref().is_some_and(has_leases);
        is_due.then(|| self.looked_at + RENEWAL_PAUSE)
    }

    /// Writes who has registered, if that has changed. Whether there was more to be done than may be now: it
    /// is to be called once more, after [`SavedBackends::PAUSE`].
    pub fn write(
        &mut self,
        (segment, config): (Segment, &Config),
        now: Micros,
        wall: Micros,
        is_last: bool,
    ) -> bool {
        let Some(path) = &self.path else { return false };
        self.looked_at = now;
        let mut backends = backend_state::collect(segment, config);
        backends.retain(|backend| match backend.registered {
            Some(registered) => registered.shared == self.is_shared,
            None => self.is_shared && config.registry.is_some() && !backend.wish.is_empty(),
        });
        let mut left: Vec<LeftBackend> = segment.all_left(now.millis()).collect();
        left.retain(|one| (one.until == LeftBackend::FOR_EVER) == self.is_shared);
        let known = Known { backends, left };
        let pause = match &self.written {
            // An empty file is no use to anybody, and perhaps the folder is.
            None if known == Known::default() && !path.exists() => return false,
            None => Micros(0),
            Some(written) if *written == known => return false,
            Some(written) if without_leases(written) == without_leases(&known) => RENEWAL_PAUSE,
            Some(_) => PAUSE,
        };
        if !is_last && self.written.is_some() && self.written_at + pause > now {
            return pause == PAUSE;
        }
        let progress = segment.registry_progress();
        let registry = if self.is_shared { progress } else { RegistryProgress::default() };
        let text = SavedFile::text(&known, registry, now.millis(), wall);
        let written = text.and_then(|text| replace(path, text.as_bytes()));
        (self.written, self.written_at) = (Some(known), now);
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    log::write(
                        Level::Warning,
                        format_args!(
                            "{}: {}; backends that have registered are forgotten by a restart",
                            path.display(),
                            why(error)
                        ),
                    );
                }
            }
        }
        false
    }

    /// See [`SavedBackends::write`].
    pub const PAUSE: Micros = PAUSE;
}

impl SavedFile {
    fn text(
        known: &Known,
        registry: RegistryProgress,
        now: Millis,
        wall: Micros,
    ) -> io::Result<String> {
        let until = |end: Millis| (end - now).0;
        let backends = known.backends.iter().map(|one| {
            let registered = one.registered;
            SavedBackend {
                pool: one.pool.clone(),
                backend: one.address,
                weight: registered.map_or(1, |registered| registered.weight),
                max_connections: registered.map_or(0, |registered| registered.max_connections),
                backup: registered.is_some_and(|registered| registered.backup),
                state: one.admin.clone(),
                lease_ms: registered.and_then(|registered| registered.lease).map(until),
                set: one.wish,
                only_set: registered.is_none(),
            }
        });
        let left = known.left.iter().map(|one| SavedLeft {
            pool: one.pool,
            backend: one.address,
            set: one.wish,
            left_ms: until(one.until),
        });
        let file = SavedFile {
            format: FORMAT,
            saved_ms: wall.0 / 1000,
            backends: backends.collect(),
            left: left.collect(),
            registry,
        };
        Ok(serde_json::to_string_pretty(&file)? + "\n")
    }
}

fn lease(backend: &BackendRecord) -> Option<Millis> {
    backend.registered.and_then(|registered| registered.lease)
}

/// What of it is written at once when it changes: not how backends fare, nor when leases end.
fn without_leases(known: &Known) -> Vec<(&str, Endpoint, &str, Option<Registered>, Wish)> {
    let shown = known.backends.iter().map(|one| {
        let registered = one
            .registered
            .map(|known| Registered { lease: known.lease.map(|_| Millis(0)), ..known });
        (one.pool.as_str(), one.address, one.admin.as_str(), registered, one.wish)
    });
    let left = known.left.iter().map(|one| ("", one.address, "", None, one.wish));
    shown.chain(left).collect()
}

fn record(
    saved: SavedBackend,
    shared: bool,
    now: Millis,
    left: impl Fn(u64) -> Millis,
) -> BackendRecord {
    let lease = saved.lease_ms.map(|lease| now + left(lease).max(LEAST_LEASE));
    BackendRecord {
        admin: saved.state,
        wish: saved.set,
        registered: (!saved.only_set).then_some(Registered {
            weight: saved.weight.clamp(1, 256),
            max_connections: saved.max_connections,
            lease,
            backup: saved.backup,
            shared,
        }),
        ..BackendRecord::new(saved.pool, saved.backend)
    }
}

/// Keeps a file that cannot be read, perhaps because a newer version has written it: another is written soon.
/// Where it is kept, for people.
fn keep_aside(path: &Path, error: &io::Error) -> String {
    let aside = path.with_extension("json.bad");
    let is_kept = error.kind() == io::ErrorKind::InvalidData && fs::rename(path, &aside).is_ok();
    if is_kept { format!(" (it is kept as {})", aside.display()) } else { String::new() }
}

fn read(path: &Path) -> io::Result<SavedFile> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let saved: SavedFile =
        serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    if saved.format > FORMAT {
        return Err(invalid(format!("format {} is not known, only {FORMAT}", saved.format)));
    }
    let is_name = |saved: &&SavedBackend| !crate::config::is_pool_name(&saved.pool);
    if let Some(wrong) = saved.backends.iter().find(is_name) {
        return Err(invalid(format!("{:?} is not a name for a pool", wrong.pool)));
    }
    Ok(saved)
}

/// Makes a file with these contents, which takes the place of the one before at once. It is not waited for
/// until it is on the disk: a machine that loses its power may have the one before.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let other = path.with_extension("json.new");
    let _ = fs::remove_file(&other); // of a process that died here
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&other)?;
    file.write_all(bytes)?;
    fs::rename(&other, path)
}

/// What is wrong with its text is said by us, and all else by the kernel.
fn why(error: io::Error) -> String {
    match error.raw_os_error() {
        None => error.to_string(),
        Some(_) => IoError::from(error).when(Tried::File).to_string(),
    }
}

#[cfg(test)]
#[path = "saved_tests.rs"]
mod tests;
