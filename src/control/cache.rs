//! What the control process does for the stored answers: a step of the sweeper's now and then, what
//! operators want removed, and a look whether anything can be stored at all.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::cache::in_memory::DiskRead;
use crate::cache::serve;
use crate::cache::store::{self, Found, Store};
use crate::cache::sweeper::{Next, Purge, PurgeOf, Sweeper};
use crate::http::Method;
use crate::http::cache_status::FwdReason;
use crate::mem::time::{Clocks, Micros};
use crate::policy::cache_key::Url;
use crate::policy::caching::{self, Asking, Decision};
use crate::policy::vary::Chosen;
use crate::sys::log::{self, Level};
use crate::sys::{IoError, clock};

/// Whether the disk takes what is stored is looked at so often.
const TRIAL_INTERVAL: Micros = Micros::from_secs(5);
/// Purges at once; a further one is refused.
const MOST_PURGES: usize = 64;

/// Names a purge for the one who waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeId(u64);

/// What is to be removed, as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// All answers of this URL.
    Url(String),
    /// All answers of URLs that begin so.
    Prefix(String),
}

/// What came of the wish for a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It goes on, and nobody is given any of it any more.
    Under(PurgeId),
    /// It names no URL.
    NoUrl,
    /// Too many others go on.
    TooMany,
}

/// The stored answers, as the control process has them.
pub struct CacheAdmin {
    sweeper: Sweeper,
    /// As a worker has them: to say what would be found.
    store: Store,
    /// Bytes that a worker has for the head of an answer.
    ring_size: usize,
    directory: PathBuf,
    /// When the sweeper's next step is due.
    due: Micros,
    /// Those of single URLs before all others, else in the order of their beginning; the first is worked at.
    purges: VecDeque<(PurgeId, Purge)>,
    next_ticket: u64,
    /// When the next step of a purge is due: it takes about half of the time, lest it slow others down.
    purge_due: Micros,
    /// When to try the disk, and what kept answers from being stored the last time.
    trial: (Micros, Result<(), IoError>),
    /// How many workers had died when their leftovers were removed.
    deaths: u64,
}

impl CacheAdmin {
    /// For the directory of that name, and workers with rings of so many bytes.
    pub fn new(sweeper: Sweeper, store: Store, ring_size: usize, directory: PathBuf) -> CacheAdmin {
        CacheAdmin {
            sweeper,
            store,
            ring_size,
            directory,
            due: Micros(0),
            purges: VecDeque::new(),
            next_ticket: 0,
            purge_due: Micros(0),
            trial: (Micros(0), Ok(())),
            deaths: 0,
        }
    }

    /// Does a little of what is due. `deaths` is how many workers have died so far.
    pub fn work(&mut self, now: Clocks, deaths: u64) {
        if self.deaths != deaths {
            self.deaths = deaths;
            self.sweeper.sweep_new();
        }
        if self.due <= now.clock {
            self.due = match self.sweeper.step(now.clock, now.wall) {
                Next::Soon => now.clock,
                Next::After(pause) => now.clock + Micros::from(pause),
            };
        }
        if self.trial.0 <= now.clock {
            self.try_out(now.clock);
        }
    }

    /// Says it when answers cannot be stored any more, and when they can again.
    fn try_out(&mut self, now: Micros) {
        let tried = self.sweeper.try_out();
        let name = format!("cache.dir {}", self.directory.display());
        match (tried, self.trial.1) {
            (Err(error), before) if before != Err(error) => {
                log::write(Level::Warning, format_args!("{name}: {error}; {}", remedy(error)))
            }
            (Ok(()), Err(_)) => {
                log::write(Level::Notice, format_args!("{name}: responses are stored again"));
            }
            (Ok(()), Ok(())) | (Err(_), _) => (),
        }
        self.trial = (now + TRIAL_INTERVAL, tried);
    }

    /// When `work` is to be called next.
    pub fn next_deadline(&self) -> Micros {
        self.due.min(self.trial.0)
    }

    /// When `step_purges` is to be called next, if a purge is under way.
    pub fn next_purge_step(&self) -> Option<Micros> {
        (!self.purges.is_empty()).then_some(self.purge_due)
    }

    /// Begins a purge. From now on no worker gives any of it, and what it is fetching of it is not
    /// stored.
    pub fn begin_purge(&mut self, wanted: &PurgeTarget) -> Begun {
        if self.purges.len() >= MOST_PURGES {
            return Begun::TooMany;
        }
        let what = match wanted {
            PurgeTarget::Url(url) => PurgeOf::Url(url.as_bytes()),
            PurgeTarget::Prefix(prefix) => PurgeOf::Prefix(prefix.as_bytes()),
        };
        let Some(purge) = self.sweeper.begin_purge(what) else { return Begun::NoUrl };
        let ticket = PurgeId(self.next_ticket);
        self.next_ticket += 1;
        // What takes long does not keep from its end what takes no time.
        let is_long = |(_, purge): &(PurgeId, Purge)| !purge.is_of_url();
        let before = self.purges.iter().position(is_long).filter(|_| purge.is_of_url());
        self.purges.insert(before.unwrap_or(self.purges.len()), (ticket, purge));
        Begun::Under(ticket)
    }

    /// Goes on with purges, a little. Says which one has come to its end, and how many answers it
    /// has removed.
    pub fn step_purges(&mut self) -> Option<(PurgeId, u64)> {
        let begun = clock::now();
        let (ticket, purge) = self.purges.front_mut().filter(|_| self.purge_due <= begun)?;
        let is_done = self.sweeper.step_purge(purge);
        let ended = clock::now();
        self.purge_due = ended + (ended - begun);
        if !is_done {
            return None;
        }
        let done = (*ticket, purge.purged());
        self.purges.pop_front();
        Some(done)
    }

    /// What becomes of a request that the cache has a part in, by what is stored now.
    pub fn decision(&mut self, url: &Url, chosen: &Chosen, method: Method) -> Decision {
        let query = store::CacheQuery { url: *url, chosen: *chosen };
        let without = |why| Decision::Ask(Asking::without(method, chosen.request_fields, why));
        let entry = match self.store.find(&query, clock::now(), DiskRead::Waits).0 {
            Found::Answer(entry) => entry,
            // What the disk does not give even to who waits for it is not there.
            Found::Cold => return without(FwdReason::UriMiss),
            Found::Nothing(why) => return without(why),
        };
        let candidate = serve::candidate(self.store.entry(entry), self.ring_size);
        let now = clock::wall().0 / 1_000_000;
        let decision = caching::decide(method, chosen.request_fields, &candidate, now);
        self.store.release(entry);
        decision
    }

    /// Bytes of all stored answers, and of those that are being stored.
    pub fn bytes(&self) -> u64 {
        self.sweeper.directory().cells.used()
    }
}

/// What to do where answers cannot be stored.
fn remedy(error: IoError) -> &'static str {
    match error {
        IoError::NotFound => {
            "it was removed; responses pass without being stored (make it again, then reload)"
        }
        IoError::Full => {
            "responses pass without being stored until there is room (lower cache.max_size, or make \
             room)"
        }
        IoError::WouldBlock
        | IoError::Reset
        | IoError::Refused
        | IoError::TimedOut
        | IoError::Exhausted
        | IoError::InUse
        | IoError::NotLocal
        | IoError::Denied
        | IoError::Exists
        | IoError::TooLarge
        | IoError::Linked
        | IoError::Unsupported
        | IoError::Other(_) => "responses pass without being stored until that is over",
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
