//! Takes in what was counted, about once a second, and says what it was of late: of the service, each
//! pool and each backend.

use std::collections::HashMap;

use crate::config::Endpoint;
use crate::mem::time::{Clocks, Micros};
use crate::shared::history::{History, HistoryKey, HistoryLine, Lately, Point, Track};
use crate::shared::tally::Tally;
use crate::shared::{Segment, ServiceCell};
use crate::sys::clock;

/// A sample that takes less is taken whenever somebody asks: it costs no more than to answer.
const QUICK: Micros = Micros(10_000);
/// Others are no closer to each other than so many times what one takes.
const TIMES: u64 = 20;
/// What was counted before this process came belongs to a service that started no longer ago.
const JUST_STARTED: Micros = Micros::from_secs(10);

/// Samples the counts of a service.
pub struct Sampler {
    segment: Segment,
    history: History,
    tracks: HashMap<HistoryKey, Sampled>,
    lines: HashMap<HistoryKey, HistoryLine>,
    state: SamplerState,
    samples: u64,
    /// None is taken before.
    next: Micros,
}

/// What is known of one thing.
struct Sampled {
    track: Track,
    /// The number of the sample in which it was last met.
    met: u64,
    /// What had failed then, and when that was last another number.
    failures: (u64, Micros),
}

/// Whether samples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SamplerState {
    /// None was taken yet.
    New,
    Sampling,
    /// Another process does it.
    Ended,
}

impl Sampled {
    fn new(track: Track) -> Sampled {
        Sampled { track, met: 0, failures: (0, Micros(0)) }
    }
}

impl Sampler {
    /// Goes on with what is kept in `history`, once the first sample is taken.
    pub fn new(segment: Segment, history: History) -> Sampler {
        Sampler {
            segment,
            history,
            tracks: HashMap::new(),
            lines: HashMap::new(),
            state: SamplerState::New,
            samples: 0,
            next: Micros(0),
        }
    }

    /// Another process takes samples from now on.
    pub fn end(&mut self) {
        self.state = SamplerState::Ended;
    }

    /// Takes a sample, unless one was taken just now.
    pub fn take(&mut self, now: Clocks) {
        let first = match self.state {
            SamplerState::Ended => return,
            SamplerState::Sampling if now.clock < self.next => return,
            SamplerState::Sampling => false,
            SamplerState::New => true,
        };
        let begun = clock::now();
        self.samples += 1;
        // What is new began at nothing, and now, unless all is new.
        let mut since = Some(now.clock);
        if first {
            self.state = SamplerState::Sampling;
            if self.history.is_new() {
                let start = Micros(self.segment.service(ServiceCell::StartTime));
                let uptime = now.wall.0.saturating_sub(start.0).max(1);
                let start = now.clock.0.saturating_sub(uptime);
                since = (uptime < JUST_STARTED.0).then_some(Micros(start));
            }
            let known = self.history.tracks().map(|(key, track)| (key, Sampled::new(track)));
            self.tracks = known.collect();
            self.lines = self.history.lines().collect();
        }
        self.take_all(since, now.clock);
        let took = clock::now() - begun;
        self.next = now.clock + if took < QUICK { Micros(0) } else { Micros(took.0 * TIMES) };
    }

    fn take_all(&mut self, since: Option<Micros>, now: Micros) {
        let segment = self.segment;
        self.take_one(HistoryKey::SERVICE, &segment.tally(), since, now);
        self.extend_line(HistoryKey::SERVICE, now);
        for pool in segment.pools() {
            let name = segment.pool(pool).name();
            let key = HistoryKey::of_pool(name.as_str());
            self.take_one(key, &segment.pool_tally(pool), since, now);
            self.extend_line(key, now);
            for slot in segment.members(pool) {
                let server = segment.backend(slot).address().canonical();
                let key = key_of_backend(name.as_str(), server);
                self.take_one(key, &segment.backend_tally(slot), since, now);
            }
        }
        let newest = self.samples;
        self.tracks.retain(|_, sampled| {
            let is_there = sampled.met == newest;
            if !is_there {
                sampled.track.free();
            }
            is_there
        });
        let tracks = &self.tracks;
        self.lines.retain(|key, line| {
            let is_there = tracks.contains_key(key);
            if !is_there {
                line.free();
            }
            is_there
        });
    }

    fn take_one(&mut self, key: HistoryKey, counts: &Tally, since: Option<Micros>, now: Micros) {
        if !self.tracks.contains_key(&key) {
            let nothing = Tally::default();
            let before = if since.is_some() { &nothing } else { counts };
            let Some(track) = self.history.add_track(key, before, since.unwrap_or(now)) else {
                return; // So many are kept, and no more.
            };
            self.tracks.insert(key, Sampled::new(track));
        }
        if let Some(sampled) = self.tracks.get_mut(&key) {
            sampled.met = self.samples;
            sampled.track.add(counts, now);
            let failures = counts.failures();
            if sampled.failures.0 != failures {
                sampled.failures = (failures, now);
            }
        }
    }

    fn extend_line(&mut self, key: HistoryKey, now: Micros) {
        let Some(Sampled { track, .. }) = self.tracks.get(&key) else { return };
        match self.lines.get(&key) {
            Some(line) => line.add(track, now),
            None => {
                let line = self.history.add_line(key, track, now);
                self.lines.extend(line.map(|line| (key, line)));
            }
        }
    }

    /// What was counted of the service of late.
    pub fn service(&self, now: Micros) -> Lately {
        self.lately(HistoryKey::SERVICE, now)
    }

    /// The same of a pool.
    pub fn pool(&self, name: &str, now: Micros) -> Lately {
        self.lately(HistoryKey::of_pool(name), now)
    }

    /// The same of a backend.
    pub fn backend(&self, pool: &str, server: Endpoint, now: Micros) -> Lately {
        self.lately(key_of_backend(pool, server), now)
    }

    /// The same of whatever has this key.
    pub fn lately(&self, key: HistoryKey, now: Micros) -> Lately {
        self.tracks.get(&key).map_or_else(Lately::default, |sampled| sampled.track.lately(now))
    }

    /// Whether anything of it has failed in the last minute: to find that out costs nothing.
    pub fn has_failed(&self, key: HistoryKey, now: Micros) -> bool {
        let sampled = self.tracks.get(&key);
        sampled.is_some_and(|sampled| now.0.saturating_sub(sampled.failures.1.0) <= 70_000_000)
    }

    /// An hour of the service.
    pub fn line(&self, now: Micros) -> Vec<Option<Point>> {
        self.points(HistoryKey::SERVICE, now)
    }

    /// An hour of a pool.
    pub fn pool_line(&self, name: &str, now: Micros) -> Vec<Option<Point>> {
        self.points(HistoryKey::of_pool(name), now)
    }

    fn points(&self, key: HistoryKey, now: Micros) -> Vec<Option<Point>> {
        self.lines.get(&key).map_or(Vec::new(), |line| line.points(now))
    }
}

/// The key of a backend.
pub fn key_of_backend(pool: &str, server: Endpoint) -> HistoryKey {
    HistoryKey::of_backend(pool, &server.to_string())
}
