//! Random worlds with a cache: a few resources that everybody wants, backends that change them, cut,
//! reset and stall, disks that fail.
//!
//! Whatever a client gets must be, to the byte, one that a backend gave for what it asked for: whole,
//! storable and fresh enough if it came out of the store, and not older than a change that was over
//! before it asked.

pub mod origin;
mod wish;

use super::LOG;
use super::plan::{Book, Dice, Plan, Weather};
use crate::cache::entry::Entry;
use crate::cache::testing::entry_files;
use crate::config::{AccessLog, Cache, Config};
use crate::mem::time::{Micros, Millis};
use crate::proxy::tests::service::Team;
use crate::sys::world::{self, Faults};
pub use wish::Wish;

/// One representation of a resource, as a backend gives it.
#[derive(Clone, Debug)]
pub struct Given {
    key: usize,
    /// It is for requests of this variant alone.
    variant: Option<usize>,
    len: usize,
    /// The lines that it has beside the framing.
    lines: String,
    max_age: u64,
    while_revalidate: u64,
    if_error: u64,
    is_storable: bool,
    must_validate: bool,
    no_cache: bool,
    is_public: bool,
    /// Some request with credentials got it, and no other.
    was_private: bool,
    /// A backend has given all of it once.
    pub was_whole: bool,
    /// Which of its bytes have been given by any.
    pub sent: Vec<bool>,
    /// When it was given or confirmed last.
    at: Micros,
}

/// What backends have to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    #[default]
    Anything,
    /// It changes seldom, and has what parts are joined by.
    Steady,
    /// It seldom says how long it is, and many want it at once.
    Streamed,
}

/// What backends have given of what is stored.
#[derive(Debug, Default)]
pub struct Shelf {
    pub given: Vec<Given>,
    pub offer: Offer,
    /// The representation that a backend would give now, by resource and variant.
    pub(super) current: [[Option<usize>; 3]; 4],
    /// Whoever asks from now on for a resource gets none below this number.
    pub(super) first_valid: [usize; 4],
    pub served: usize,
    pub hits: usize,
    /// Answers out of what was never given whole.
    pub parts: usize,
    /// Answers that a stored part and the rest made.
    pub joined: usize,
    /// Answers of unknown length that came as another request fetched them, whole; cut; and those among them
    /// that the end of the connection ends, or was to end.
    pub followed: usize,
    pub followed_cut: usize,
    pub followed_to_close: usize,
    /// The longest body that is stored for certain where nothing goes wrong.
    pub certain: usize,
}

/// What goes wrong.
pub fn weather(dice: &mut Dice) -> Weather {
    let fair = dice.one_in(3);
    let mut often = |chances: usize| !fair && dice.one_in(chances);
    let mut weather = Weather {
        shares: true,
        cuts: often(2),
        hangs: often(6),
        refuses: often(4),
        aborts: often(3),
        slow_readers: often(3),
        ..Weather::default()
    };
    weather.evacuates = dice.one_in(3);
    weather.kernel = Faults {
        buffer: *dice.choose(&[1000, 4096, 64 * 1024]),
        fragments: dice.one_in(2),
        short_writes: dice.one_in(3),
        slow_connects: dice.one_in(2),
        spurious_events: dice.one_in(2),
        disk_errors: if !fair && dice.one_in(4) { dice.between(5, 300) } else { 0 },
        disk_room: if !fair && dice.one_in(6) { 150_000 } else { u64::MAX },
        disk_cold: *dice.choose(&[0, 0, 1, 3]),
        disk_delay: *dice.choose(&[Micros(0), Micros(3000), Micros(2_000_000)]),
        disk_wants_names: dice.one_in(4),
        refuses_sendfile: *dice.choose(&[0, 0, 1, 3]),
        descriptors: 100_000,
        ..Faults::default()
    };
    weather
}

/// The plan of a request for what others want as well.
pub fn plan(dice: &mut Dice, client: usize, offer: Offer, is_last: bool) -> Plan {
    let methods = ["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"];
    let is_any = offer == Offer::Anything || dice.one_in(4);
    let method = if is_any { *dice.choose(&methods) } else { "GET" };
    let longest = if offer == Offer::Streamed { 100 } else { 1500 };
    Plan {
        client,
        method,
        wish: Some(Wish::roll(dice, offer)),
        is_http10: is_last && dice.one_in(3),
        delay: if dice.one_in(3) { dice.millis(longest) } else { Micros(0) },
        ..Plan::default()
    }
}

pub fn configure(mut config: Config, clients: usize, book: &mut Book) -> Config {
    let dice = &mut book.dice;
    let max_object = *dice.choose(&[10_000, 60_000, 200_000]);
    let max_size = *dice.choose(&[100_000, 4 << 20]);
    config.buffer_size = 4096;
    config.max_connections = clients + dice.between(1, 6);
    config.access_log = AccessLog::Path(LOG.into());
    config.pipeline = dice.between(1, 6);
    config.pools[0].retries = dice.between(0, 2) as u32;
    config.pools[0].backends[0].max_connections = if dice.one_in(4) { 2 } else { 0 };
    config.timeouts.response = Millis(3000);
    config.timeouts.connect = Millis(1000);
    config.timeouts.queue = Millis(20_000);
    config.cache = Some(Cache {
        dir: "/cache".into(),
        max_size,
        max_object: max_object as u64,
        default_ttl: Millis(0),
    });
    book.shelf.certain = if max_size == 100_000 { 0 } else { max_object };
    config
}

pub fn start(config: &Config, book: &mut Book) -> Team {
    let splice_min = *book.dice.choose(&[1, 5000]);
    let workers = book.dice.between(1, 3);
    Team::start(workers, config, |settings| settings.splice_min = splice_min)
}

/// Nothing is left of what was fetched, and what is stored is what is counted.
pub fn is_over(team: &Team, weather: &Weather) {
    let cache = team.workers[0].proxy.buffers.caching.as_ref().expect("a cache");
    let cells = cache.store().directory().cells;
    assert_eq!(cells.fetches.count(), 0, "fetches go on");
    assert!(cells.used() <= cells.max_size());
    if !weather.spoils_disks() {
        let bytes = entry_files().into_iter().map(|path| {
            world::disk(|disk| {
                let mut room = 0;
                disk.change(&path, |bytes| {
                    let entry = Entry::read(bytes, bytes.len() as u64).expect("an entry");
                    room = entry.room(bytes);
                });
                room
            })
        });
        assert_eq!(bytes.sum::<u64>(), cells.used(), "the bytes of all entries");
    }
}
