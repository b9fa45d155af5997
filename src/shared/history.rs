//! What was counted of late, in cells that outlive a reload: of the service, each pool and each backend
//! what it was ten seconds, a minute and five minutes ago, and of the service and each pool an hour in
//! steps of ten seconds.
//!
//! The control process that is in place writes them, about once a second; workers cannot. Numbers come
//! from cells that workers write, so one that goes back, or leaps further than is possible, is no growth.
//!
//! ```text
//! header   what the cells mean; how many tracks and lines were ever used
//! keys     whose each track is, then whose each line is; 0 is nobody's
//! tracks   one for each thing: the counts as they were read last, their growth since it is known,
//!          and for each window the growth as it was at earlier moments
//! lines    the growth at the last step, and a point for each step
//! ```

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::mem::time::Micros;
use crate::policy::siphash::SipHasher;

use super::tally::Tally;

/// Another number for every other meaning of the cells.
const VERSION: u64 = u64::from_be_bytes(*b"httplb\0\x01");
const HEADER: usize = 8;
const TRACKS_USED: usize = 1;
const LINES_USED: usize = 2;

/// Things whose counts are kept: the service, its pools and backends.
const TRACKS: usize = 8192;
/// Things of which there is an hour: the service and its pools.
const LINES: usize = 1024;

/// Two counts fit a cell: they are no longer than is needed to tell what they grew by in five minutes.
const PACKED: usize = Tally::LEN.div_ceil(2);
/// A moment, and the growth until then.
const MARK: usize = 1 + PACKED;

// A track.
const STALLS: usize = 0;
const READ: usize = 1;
const GROWN: usize = READ + Tally::LEN;
const FIRST_MARKS: usize = GROWN + PACKED;
const TRACK: usize = Window::FiveMinutes.start() + Window::FiveMinutes.cells();

// A line.
const STEP: usize = 0;
const AT_STEP: usize = 1;
const POINTS: usize = AT_STEP + PACKED;
const POINT: usize = 2;
const LINE: usize = POINTS + POINT * History::STEPS;

/// More than a service can do in a second: cells that say so were forged.
const MOST_PER_SECOND: u64 = 20_000_000;
/// Counts that are less than before are waited for so many times: those of the processes that a reload
/// has replaced come in again within a second. Then they are believed.
const PATIENCE: u64 = 5;

/// What numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last ten seconds.
    TenSeconds,
    /// The last minute.
    Minute,
    /// The last five minutes.
    FiveMinutes,
}

impl Window {
    /// All there are.
    pub const ALL: [Window; 3] = [Window::TenSeconds, Window::Minute, Window::FiveMinutes];

    /// As operators write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Window::TenSeconds => "10s",
            Window::Minute => "1m",
            Window::FiveMinutes => "5m",
        }
    }

    const fn length(self) -> Micros {
        match self {
            Window::TenSeconds => Micros::from_secs(10),
            Window::Minute => Micros::from_secs(60),
            Window::FiveMinutes => Micros::from_secs(300),
        }
    }

    /// Between two marks, less what a turn may come too early.
    const fn step(self) -> Micros {
        match self {
            Window::TenSeconds => Micros(950_000),
            Window::Minute => Micros(4_900_000),
            Window::FiveMinutes => Micros(29_900_000),
        }
    }

    /// So many marks that one of them is always older than the window.
    const fn marks(self) -> usize {
        (self.length().0 / self.step().0) as usize + 3
    }

    const fn cells(self) -> usize {
        1 + self.marks() * MARK
    }

    /// Where its marks begin in a track: first the place of the newest.
    const fn start(self) -> usize {
        match self {
            Window::TenSeconds => FIRST_MARKS,
            Window::Minute => FIRST_MARKS + Window::TenSeconds.cells(),
            Window::FiveMinutes => Window::Minute.start() + Window::Minute.cells(),
        }
    }
}

/// What was counted in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// How long that took: the window, or less after a start.
    pub span: Micros,
    /// What it grew by.
    pub counts: Tally,
}

impl Growth {
    /// So many in a second. A shorter time than one would make much of little.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1e6 / self.span.0.max(1_000_000) as f64
    }
}

/// What was counted in each window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lately([Growth; Window::ALL.len()]);

impl Lately {
    /// What was counted in one of them.
    pub fn of(&self, window: Window) -> &Growth {
        &self.0[window as usize]
    }

    /// For tests of what shows it.
    #[cfg(test)]
    pub fn of_each(each: [Growth; Window::ALL.len()]) -> Lately {
        Lately(each)
    }

    /// The same.
    #[cfg(test)]
    pub fn always(growth: Growth) -> Lately {
        Lately([growth; Window::ALL.len()])
    }
}

/// Ten seconds of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Requests that came.
    pub requests: u32,
    /// What failed: see [`Tally::failures`].
    pub failures: u32,
    /// What 99 of 100 requests did not exceed; 0 if there was none.
    pub p99: Micros,
}

/// The cells. A handle: copies mean the same cells.
#[derive(Clone, Copy)]
pub struct History {
    cells: &'static [AtomicU64],
    /// How many there can be.
    tracks: usize,
    /// The same.
    lines: usize,
}

/// Names a track, and where it has one a line, by the thing whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryKey(u64);

impl HistoryKey {
    /// The service.
    pub const SERVICE: HistoryKey = HistoryKey(1);

    /// A pool.
    pub fn of_pool(name: &str) -> HistoryKey {
        HistoryKey::new(name, "")
    }

    /// A backend, by its name for operators.
    pub fn of_backend(pool: &str, server: &str) -> HistoryKey {
        HistoryKey::new(pool, server)
    }

    fn new(pool: &str, server: &str) -> HistoryKey {
        let mut hasher = SipHasher::new_64(&[0; 16]);
        for part in [pool.as_bytes(), b"\n", server.as_bytes()] {
            hasher.write(part);
        }
        HistoryKey(hasher.finish_64().max(2))
    }
}

impl History {
    /// How many cells it takes. Their pages cost memory once they are used.
    pub const CELLS: usize = cells(TRACKS, LINES);
    /// Points of a line.
    pub const STEPS: usize = 360;
    /// Between two of them.
    pub const STEP: Micros = Micros::from_secs(10);

    /// In cells that were zero at first, or come from an earlier generation. If they are too few,
    /// nothing is kept.
    pub fn over(cells: &'static [AtomicU64]) -> History {
        History::of(cells, TRACKS, LINES)
    }

    /// Of so many things, with cells of its own.
    #[cfg(test)]
    pub fn small(tracks: usize, lines: usize) -> History {
        let cells = (0..cells(tracks, lines)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        History::of(cells.leak(), tracks, lines)
    }

    fn of(all: &'static [AtomicU64], tracks: usize, lines: usize) -> History {
        let cells = all.get(..cells(tracks, lines)).unwrap_or_default();
        if let Some(version) = cells.first().filter(|cell| cell.load(Relaxed) != VERSION) {
            version.store(VERSION, Relaxed);
            cells[TRACKS_USED].store(0, Relaxed);
            cells[LINES_USED].store(0, Relaxed);
        }
        History { cells, tracks, lines }
    }

    /// Bytes that it takes at most for so many pools and backends.
    pub fn bytes(pools: usize, backends: usize) -> usize {
        let (tracks, lines) = ((1 + pools + backends).min(TRACKS), (1 + pools).min(LINES));
        cells(tracks, lines) * size_of::<AtomicU64>()
    }

    /// Whether nothing was kept yet.
    pub fn is_new(&self) -> bool {
        self.cells.get(TRACKS_USED).is_none_or(|used| used.load(Relaxed) == 0)
    }

    fn keys(&self, first: usize, used: usize, most: usize) -> &'static [AtomicU64] {
        let Some(count) = self.cells.get(used) else { return &[] };
        let count = usize::try_from(count.load(Relaxed)).unwrap_or(most).min(most);
        &self.cells[first..first + count]
    }

    /// The tracks that are somebody's.
    pub fn tracks(&self) -> impl Iterator<Item = (HistoryKey, Track)> + use<> {
        let (history, keys) =
            (*self, self.keys(HEADER, TRACKS_USED, self.tracks).iter().enumerate());
        keys.map(move |(place, key)| (HistoryKey(key.load(Relaxed)), history.track(place)))
            .filter(|(key, _)| key.0 != 0)
    }

    /// The lines that are somebody's.
    pub fn lines(&self) -> impl Iterator<Item = (HistoryKey, HistoryLine)> + use<> {
        let keys = self.keys(HEADER + self.tracks, LINES_USED, self.lines).iter().enumerate();
        let history = *self;
        keys.map(move |(place, key)| (HistoryKey(key.load(Relaxed)), history.line(place)))
            .filter(|(key, _)| key.0 != 0)
    }

    fn track(&self, place: usize) -> Track {
        let start = HEADER + self.tracks + self.lines + place * TRACK;
        Track { key: &self.cells[HEADER + place], cells: &self.cells[start..start + TRACK] }
    }

    fn line(&self, place: usize) -> HistoryLine {
        let start = cells(self.tracks, 0) + self.lines + place * LINE;
        let key = &self.cells[HEADER + self.tracks + place];
        HistoryLine { key, cells: &self.cells[start..start + LINE] }
    }

    /// A track that was nobody's, for a thing whose counts were `before` at the time `since`. `None`: all
    /// are taken.
    pub fn add_track(&self, key: HistoryKey, before: &Tally, since: Micros) -> Option<Track> {
        let place = self.free(HEADER, TRACKS_USED, self.tracks)?;
        let track = self.track(place);
        track.cells.iter().for_each(|cell| cell.store(0, Relaxed));
        track.set_read(before);
        Window::ALL.into_iter().for_each(|window| track.mark(window, since, &[0_u32; Tally::LEN]));
        track.key.store(key.0, Relaxed);
        Some(track)
    }

    /// A line that was nobody's, for a thing that has this track. `None`: all are taken.
    pub fn add_line(&self, key: HistoryKey, track: &Track, now: Micros) -> Option<HistoryLine> {
        let place = self.free(HEADER + self.tracks, LINES_USED, self.lines)?;
        let line = self.line(place);
        line.cells.iter().for_each(|cell| cell.store(0, Relaxed));
        line.begin_step(step_of(now), &track.grown());
        line.key.store(key.0, Relaxed);
        Some(line)
    }

    fn free(&self, first: usize, used: usize, most: usize) -> Option<usize> {
        let keys = self.keys(first, used, most);
        if let Some(place) = keys.iter().position(|key| key.load(Relaxed) == 0) {
            return Some(place);
        }
        let place = keys.len();
        let is_room = place < most && !self.cells.is_empty();
        is_room.then(|| {
            self.cells[used].store(place as u64 + 1, Relaxed);
            place
        })
    }
}

const fn cells(tracks: usize, lines: usize) -> usize {
    HEADER + tracks + lines + tracks * TRACK + lines * LINE
}

fn step_of(now: Micros) -> u64 {
    now.0 / History::STEP.0
}

/// What is kept of one thing.
#[derive(Clone, Copy)]
pub struct Track {
    key: &'static AtomicU64,
    cells: &'static [AtomicU64],
}

impl Track {
    /// Nobody asks for it any more.
    pub fn free(&self) {
        self.key.store(0, Relaxed);
    }

    fn read(&self, place: usize) -> u64 {
        self.cells[READ + place].load(Relaxed)
    }

    fn set_read(&self, counts: &Tally) {
        for (cell, count) in self.cells[READ..].iter().zip(counts.0) {
            cell.store(count, Relaxed);
        }
    }

    fn grown(&self) -> [u32; Tally::LEN] {
        unpacked(&self.cells[GROWN..GROWN + PACKED])
    }

    /// Takes in what the counts are now.
    pub fn add(&self, counts: &Tally, now: Micros) {
        let newest = self.cells[self.newest(Window::TenSeconds)].load(Relaxed);
        let elapsed = now.0.saturating_sub(newest).max(1_000_000);
        let most = MOST_PER_SECOND.saturating_mul(elapsed.div_ceil(1_000_000));
        let mut grown = self.grown();
        let stalls = self.cells[STALLS].load(Relaxed);
        let mut goes_back = false;
        for (place, count) in counts.0.into_iter().enumerate() {
            let more = count.wrapping_sub(self.read(place));
            let is_back = more > u64::MAX / 2;
            goes_back |= is_back;
            if is_back && stalls < PATIENCE {
                continue;
            }
            self.cells[READ + place].store(count, Relaxed);
            if more <= most {
                grown[place] = grown[place].wrapping_add(more as u32);
            }
        }
        let stalls = if goes_back && stalls < PATIENCE { stalls + 1 } else { 0 };
        self.cells[STALLS].store(stalls, Relaxed);
        pack(&grown, &self.cells[GROWN..GROWN + PACKED]);
        for window in Window::ALL {
            let newest = self.cells[self.newest(window)].load(Relaxed);
            if now.0.saturating_sub(newest) >= window.step().0 {
                self.mark(window, now, &grown);
            }
        }
    }

    /// What it grew by in a window, up to what was taken in last, at the time `now`.
    pub fn growth(&self, window: Window, now: Micros) -> Growth {
        let marks = &self.cells[window.start() + 1..window.start() + 1 + window.marks() * MARK];
        let known = marks.chunks_exact(MARK).filter(|mark| mark[0].load(Relaxed) != 0);
        let age = |mark: &[AtomicU64]| now.0.saturating_sub(mark[0].load(Relaxed));
        let is_past = |mark: &&[AtomicU64]| age(mark) >= window.length().0;
        let since = known.clone().filter(is_past).min_by_key(|mark| age(mark));
        let Some(mark) = since.or_else(|| known.max_by_key(|mark| age(mark))) else {
            return Growth::default();
        };
        let counts = difference(&self.grown(), &unpacked(&mark[1..]));
        Growth { span: Micros(age(mark)), counts }
    }

    /// The same in each window.
    pub fn lately(&self, now: Micros) -> Lately {
        Lately(Window::ALL.map(|window| self.growth(window, now)))
    }

    /// The cell of the newest mark's moment.
    fn newest(&self, window: Window) -> usize {
        let place = self.cells[window.start()].load(Relaxed) as usize % window.marks();
        window.start() + 1 + place * MARK
    }

    fn mark(&self, window: Window, now: Micros, grown: &[u32; Tally::LEN]) {
        let place = &self.cells[window.start()];
        let next = (place.load(Relaxed) as usize % window.marks() + 1) % window.marks();
        place.store(next as u64, Relaxed);
        let mark = self.newest(window);
        pack(grown, &self.cells[mark + 1..mark + MARK]);
        self.cells[mark].store(now.0.max(1), Relaxed);
    }
}

/// An hour of one thing.
#[derive(Clone, Copy)]
pub struct HistoryLine {
    key: &'static AtomicU64,
    cells: &'static [AtomicU64],
}

impl HistoryLine {
    /// Nobody asks for it any more.
    pub fn free(&self) {
        self.key.store(0, Relaxed);
    }

    /// Adds a point, if a step is over.
    pub fn add(&self, track: &Track, now: Micros) {
        let (step, last) = (step_of(now), self.cells[STEP].load(Relaxed));
        if step == last {
            return;
        }
        let grown = track.grown();
        let base = unpacked(&self.cells[AT_STEP..AT_STEP + PACKED]);
        let counts = difference(&grown, &base);
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let (requests, failures) = (short(counts.requests()), short(counts.failures()));
        let p99 = counts.times().quantile(0.99).map_or(0, |time| short(time.0));
        let (first, second) = self.point(step.wrapping_sub(1));
        first.store(step << 32 | u64::from(requests), Relaxed);
        second.store(u64::from(failures) << 32 | u64::from(p99), Relaxed);
        self.begin_step(step, &grown);
    }

    fn begin_step(&self, step: u64, grown: &[u32; Tally::LEN]) {
        pack(grown, &self.cells[AT_STEP..AT_STEP + PACKED]);
        self.cells[STEP].store(step, Relaxed);
    }

    /// The cells for the point of a step: the number of the next one and the requests, and the rest.
    fn point(&self, step: u64) -> (&'static AtomicU64, &'static AtomicU64) {
        let place = POINTS + POINT * (step % History::STEPS as u64) as usize;
        (&self.cells[place], &self.cells[place + 1])
    }

    /// The points of the hour until now, the oldest first; those of which nothing is known are none.
    pub fn points(&self, now: Micros) -> Vec<Option<Point>> {
        let end = step_of(now);
        let steps = (0..History::STEPS as u64).rev();
        let point = |back: u64| {
            let step = end.checked_sub(back + 1)?;
            let (first, second) = self.point(step);
            let (first, second) = (first.load(Relaxed), second.load(Relaxed));
            let is_it = first >> 32 == (step + 1) & u64::from(u32::MAX) && first != 0;
            is_it.then_some(Point {
                requests: first as u32,
                failures: (second >> 32) as u32,
                p99: Micros(second & u64::from(u32::MAX)),
            })
        };
        steps.map(point).collect()
    }
}

fn pack(counts: &[u32; Tally::LEN], cells: &[AtomicU64]) {
    for (cell, pair) in cells.iter().zip(counts.chunks(2)) {
        let high = pair.get(1).copied().unwrap_or(0);
        cell.store(u64::from(high) << 32 | u64::from(pair[0]), Relaxed);
    }
}

fn unpacked(cells: &[AtomicU64]) -> [u32; Tally::LEN] {
    let mut counts = [0; Tally::LEN];
    for (pair, cell) in counts.chunks_mut(2).zip(cells) {
        let both = cell.load(Relaxed);
        pair[0] = both as u32;
        if let Some(high) = pair.get_mut(1) {
            *high = (both >> 32) as u32;
        }
    }
    counts
}

fn difference(now: &[u32; Tally::LEN], before: &[u32; Tally::LEN]) -> Tally {
    let mut counts = Tally::default();
    for (place, count) in counts.0.iter_mut().enumerate() {
        *count = u64::from(now[place].wrapping_sub(before[place]));
    }
    counts
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
