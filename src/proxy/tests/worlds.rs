//! Random worlds: clients, servers and all that can go wrong between them, from a seed.
//!
//! Each answer must be the right one to the byte, or an error that the world explains, or a cut
//! that can be seen; what may have been acted on is never sent twice; nothing stalls; and at the end
//! nothing is left.
//!
//! `HTTPLB_SEED=n cargo test worlds` plays one world and tells what happens in it;
//! `HTTPLB_WORLDS=n` plays so many.

mod cached;
mod client;
mod habits;
mod operator;
mod plan;
mod server;

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use crate::config::{
    AUTO_CAP, AccessLog, Balance, Cache, Config, ErrorPageFile, Multiplex, RequestId,
};
use crate::mem::time::{Micros, Millis};
use crate::policy::concurrency::FoundCap;
use crate::policy::identity::EchoSupport;
use crate::proxy::Service as State;
use crate::proxy::upstream::pools::Backend;
use crate::shared::{PoolId, WaitFor};
use crate::sys::world::Faults;
use crate::sys::{clock, world};

use super::invariants;
use super::service::{Service, Team};
use cached::{Offer, Shelf};
use client::Client;
use operator::Operator;
use plan::{Book, Dice, Plan, Trace, Weather};
use server::Server;

/// So many worlds are played, and so many with a cache, and where many follow what another fetches, and where
/// clients share connections.
const WORLDS: u64 = 6000;
const CACHED_WORLDS: u64 = 1500;
const STREAMED_WORLDS: u64 = 600;
const MULTIPLEXED_WORLDS: u64 = 3000;
const CROWDED_WORLDS: u64 = 400;
/// Where requests are logged.
const LOG: &str = "/log";
/// A world that turns so often runs in a circle.
const TURNS: usize = 300_000;

#[test]
fn in_any_world_answers_are_right_or_honest_and_nothing_is_left_1() {
    play_every_other(0);
}

#[test]
fn in_any_world_answers_are_right_or_honest_and_nothing_is_left_2() {
    play_every_other(1);
}

fn play_every_other(first: u64) {
    let (mut evacuated, mut worlds) = (0, 0);
    play_many(
        WORLDS,
        |seed| seed % 2 == first,
        |seed, trace| {
            evacuated += play(seed, Kind::Plain, trace).evacuated;
            worlds += 1;
        },
    );
    let is_one = number("HTTPLB_SEED").is_some();
    assert!(
        evacuated > worlds / 20 || is_one,
        "{evacuated} requests that left a backend in {worlds} worlds are too few to prove anything"
    );
}

#[test]
fn in_any_world_nobody_gets_a_strangers_answer_over_a_connection_that_clients_share() {
    let (mut shared, mut worlds) = (0, 0);
    play_many(
        MULTIPLEXED_WORLDS,
        |_| true,
        |seed, trace| {
            shared += play(seed, Kind::Multiplexed, trace).shared;
            worlds += 1;
        },
    );
    let is_one = number("HTTPLB_SEED").is_some();
    assert!(
        shared > worlds / 2 || is_one,
        "{shared} requests behind others in {worlds} worlds are too few to prove anything"
    );
}

#[test]
fn in_any_world_nobody_waits_for_ever_where_backends_and_connections_are_few() {
    play_many(CROWDED_WORLDS, |_| true, |seed, trace| drop(play(seed, Kind::Crowded, trace)));
}

/// What a world is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// What is stored.
    Cached,
    /// The same, of unknown length, for many at once.
    Streamed,
    /// Connections that clients share.
    Multiplexed,
    /// The same, to Unix sockets whose queues are small, with few connections: they wait in both ways.
    Crowded,
}

#[test]
fn in_any_world_what_is_stored_is_what_a_backend_gave() {
    let (mut served, mut hits, mut parts, mut joined, mut worlds) = (0, 0, 0, 0, 0);
    play_many(
        CACHED_WORLDS,
        |_| true,
        |seed, trace| {
            let shelf = play(seed, Kind::Cached, trace).shelf;
            (served, hits) = (served + shelf.served, hits + shelf.hits);
            (parts, joined) = (parts + shelf.parts, joined + shelf.joined);
            worlds += 1;
        },
    );
    let is_one = number("HTTPLB_SEED").is_some();
    assert!(hits * 6 > served || is_one, "{hits} hits of {served} are too few to prove anything");
    let are_enough = parts > worlds / 10 && joined > worlds / 20;
    assert!(are_enough || is_one, "{parts} parts, {joined} joined in {worlds} worlds are too few");
}

#[test]
fn in_any_world_who_follows_what_has_not_said_its_length_gets_all_of_it_or_sees_that_it_was_cut() {
    let (mut whole, mut cut, mut to_close, mut worlds) = (0, 0, 0, 0);
    play_many(
        STREAMED_WORLDS,
        |_| true,
        |seed, trace| {
            let shelf = play(seed, Kind::Streamed, trace).shelf;
            (whole, cut) = (whole + shelf.followed, cut + shelf.followed_cut);
            (to_close, worlds) = (to_close + shelf.followed_to_close, worlds + 1);
        },
    );
    let counts = format!("{whole} whole, {cut} cut, {to_close} of them to the end of a connection");
    eprintln!("{counts}, in {worlds} worlds");
    let are_enough = whole > worlds / 4 && cut > worlds / 40 && to_close > worlds / 100;
    let is_one = number("HTTPLB_SEED").is_some();
    assert!(are_enough || is_one, "{counts}, in {worlds} worlds: too few to prove anything");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays `count` worlds, or as many or the one that the environment names: those of a test.
fn play_many(count: u64, is_mine: impl Fn(u64) -> bool, mut play: impl FnMut(u64, Trace)) {
    if let Some(seed) = number("HTTPLB_SEED") {
        if is_mine(seed) {
            play(seed, Trace { is_wanted: true });
        }
        return;
    }
    let begun = Instant::now();
    for seed in (0..number("HTTPLB_WORLDS").unwrap_or(count)).filter(|seed| is_mine(*seed)) {
        let quiet = || play(seed, Trace { is_wanted: false });
        if panic::catch_unwind(AssertUnwindSafe(quiet)).is_err() {
            eprintln!("world {seed} failed; the same with a trace (HTTPLB_SEED={seed}):");
            play(seed, Trace { is_wanted: true });
            panic!("world {seed} failed once, and not again");
        }
    }
    eprintln!("played in {:?}", begun.elapsed());
}

/// Plays the world of `seed` to its end. What is known of it then.
fn play(seed: u64, kind: Kind, trace: Trace) -> Book {
    let (salt, roll): (u64, fn(&mut Dice) -> Weather) = match kind {
        Kind::Plain => (0, Weather::roll),
        Kind::Cached => (0x00ca_c4ed, cached::weather),
        Kind::Streamed => (0x0057_4ea3, cached::weather),
        Kind::Multiplexed => (0x0005_4a3e, Weather::roll_multiplexed),
        Kind::Crowded => (0x0c20_3ded, Weather::roll_crowded),
    };
    let is_cached = matches!(kind, Kind::Cached | Kind::Streamed);
    let mut dice = Dice::new(seed ^ salt);
    let weather = roll(&mut dice);
    // It starts well.
    world::reset(seed, Faults { disk_errors: 0, ..weather.kernel });
    trace.note(|| format!("{weather:?}"));
    let offer = match kind {
        Kind::Cached if dice.one_in(2) => Offer::Steady,
        Kind::Streamed => Offer::Streamed,
        Kind::Cached | Kind::Plain | Kind::Multiplexed | Kind::Crowded => Offer::Anything,
    };
    let (plans, shelf) = (Vec::new(), Shelf { offer, ..Shelf::default() });
    let mut book = Book { dice, weather, plans, shelf, shared: 0, evacuated: 0, trace };
    let (clients, servers) = match kind {
        Kind::Plain => (1..=4, 3),
        Kind::Cached => (2..=6, 2),
        Kind::Streamed => (3..=8, 2),
        Kind::Multiplexed => (3..=9, 2),
        Kind::Crowded => (3..=9, 3),
    };
    let clients = book.dice.between(*clients.start(), *clients.end());
    let servers = book.dice.between(1, servers);
    let addresses: Vec<_> =
        (0..servers).map(|place| ([10, 0, 1, place as u8], 80).into()).collect();
    let mut config = Config::for_backends(&addresses);
    for (place, backend) in config.pools[0].backends.iter_mut().enumerate() {
        if book.dice.one_in(if kind == Kind::Crowded { 1 } else { 4 }) {
            backend.address = format!("unix:/run/{place}.sock").parse().expect("a path");
        }
    }
    let configure = if is_cached { cached::configure } else { configure };
    let config = configure(config, clients, &mut book);
    let mut team =
        if is_cached { cached::start(&config, &mut book) } else { start(&config, &mut book) };
    world::change_faults(|faults| faults.disk_errors = weather.kernel.disk_errors);
    let servers = config.pools[0].backends.iter().enumerate();
    let mut servers: Vec<Server> =
        servers.map(|(place, backend)| Server::new(place, backend.address, &mut book)).collect();
    let mut clients: Vec<Client> =
        (0..clients).map(|name| new_client(name, &team, &mut book)).collect();
    for (number, plan) in book.plans.iter().enumerate() {
        book.trace.note(|| format!("{number}: {plan:?}"));
    }
    play_out(&mut team, &mut clients, &mut servers, &mut book);
    finish(team, servers, clients, &mut book);
    for (number, plan) in book.plans.iter().enumerate() {
        let is_cut = plan.is_owed_whole() && !plan.came_whole;
        assert!(!is_cut || !weather.is_fair(), "the upload of {number} was cut");
    }
    book
}

/// Until all clients are gone.
fn play_out(team: &mut Team, clients: &mut [Client], servers: &mut [Server], book: &mut Book) {
    let weather = book.weather;
    let takes_long = weather.is_rough() || weather.shares;
    let end = clock::now() + Micros::from_secs(if takes_long { 900 } else { 30 });
    let drain_at = clock::now() + book.dice.millis(300);
    let cut_at = drain_at + book.dice.millis(100);
    let (mut drains, mut cuts_off) = (weather.drains, weather.cuts_off);
    let mut turns = 0;
    let mut operator = Operator::new(book);
    while !clients.iter().all(Client::is_done) {
        turns += 1;
        let shown = || team.shown();
        assert!(turns < TURNS, "it turns in a circle\n{}", shown());
        assert!(clock::now() < end, "it stalls\n{}", shown());
        if drains && clock::now() >= drain_at {
            drains = false;
            book.trace.note(|| "the proxy drains".to_owned());
            let service = *book.dice.choose(&[State::Replaced, State::Draining]);
            team.workers.iter_mut().for_each(|worker| worker.proxy.become_service(service));
        }
        if cuts_off && clock::now() >= cut_at {
            cuts_off = false;
            book.trace.note(|| "the drain is over".to_owned());
            team.workers.iter_mut().for_each(Service::cut_off_clients);
        }
        find_caps(team, book);
        let wish = operator.act(team, book).into_iter().chain(act(clients, servers, book));
        let wish = wish.chain(drains.then_some(drain_at)).chain(cuts_off.then_some(cut_at)).min();
        team.turn(until(wish, end));
    }
}

/// Now and then another cap is found, in place of the control process. In the end there is room.
fn find_caps(team: &Team, book: &mut Book) {
    for slot in team.segment.members(PoolId(0)) {
        let cells = team.segment.backend(slot);
        if cells.max_connections() == AUTO_CAP && book.dice.one_in(20) {
            let cap = *book.dice.choose(&[1, 1, 2, 3, 30]);
            cells.set_found_cap(FoundCap { cap, is_saturated: book.dice.one_in(2) });
            team.wakers.wake_all(&team.segment, WaitFor::Pool(PoolId(0)));
        }
    }
}

/// Lets everybody act, in any order. When somebody wants to act again.
fn act(clients: &mut [Client], servers: &mut [Server], book: &mut Book) -> Option<Micros> {
    let servers_first = book.dice.one_in(2);
    let mut wishes = Vec::new();
    if servers_first {
        wishes.extend(servers.iter_mut().map(|server| server.act(book)));
    }
    wishes.extend(clients.iter_mut().map(|client| client.act(book)));
    if !servers_first {
        wishes.extend(servers.iter_mut().map(|server| server.act(book)));
    }
    wishes.into_iter().flatten().min()
}

/// From now to `wish`, or else to `end`.
fn until(wish: Option<Micros>, end: Micros) -> Millis {
    let time = wish.unwrap_or(end) - clock::now();
    Millis(time.0.div_ceil(1000))
}

/// All clients are gone: whatever is left ends, by itself or with the servers.
fn finish(mut team: Team, mut servers: Vec<Server>, clients: Vec<Client>, book: &mut Book) {
    drop(clients);
    let end = clock::now() + Micros::from_secs(60);
    // Clients may still come out of the backlog.
    let mut quiet = clock::now() + Micros::from_secs(3);
    while clock::now() < quiet {
        let shown = || team.shown();
        assert!(clock::now() < end, "clients are gone, and not for the proxy\n{}", shown());
        let wish = act(&mut [], &mut servers, book);
        team.turn(until(wish, quiet));
        if !team.is_empty() {
            quiet = clock::now() + Micros::from_secs(3);
        }
    }
    if book.dice.one_in(2) {
        servers.iter_mut().for_each(Server::close);
    }
    team.advance(Millis(6000));
    world::change_faults(|faults| faults.disk_errors = 0);
    team.workers.iter().for_each(|worker| invariants::is_over(&worker.proxy));
    invariants::is_unclaimed(team.segment);
    invariants::is_counted(team.segment);
    book.shared = invariants::shared(team.segment);
    book.evacuated = operator::evacuated(team.segment);
    team.workers.iter_mut().for_each(|worker| worker.proxy.flush_log());
    invariants::is_logged(team.segment, &world::take_log(LOG));
    if book.weather.shares {
        cached::is_over(&team, &book.weather);
    }
}

fn new_client(name: usize, team: &Team, book: &mut Book) -> Client {
    let first = book.plans.len();
    let count = book.dice.between(1, 8);
    let weather = book.weather;
    for place in 0..count {
        let mut plan = match weather.shares {
            true => cached::plan(&mut book.dice, name, book.shelf.offer, place + 1 == count),
            false => Plan::roll(&mut book.dice, name, &weather, place + 1 == count),
        };
        let before = book.plans[first..].last();
        // What follows nonsense is not read any more.
        if before.is_some_and(|before| before.is_nonsense || before.closes) {
            break;
        }
        plan.closes |= plan.is_nonsense;
        book.plans.push(plan);
    }
    let row = (first..book.plans.len()).collect();
    let worker = book.dice.choose(&team.workers);
    Client::new(name, worker.address(), row, book)
}

fn configure(mut config: Config, clients: usize, book: &mut Book) -> Config {
    let weather = &book.weather;
    let dice = &mut book.dice;
    config.buffer_size = 4096;
    config.max_connections = dice.between(1, clients + 1);
    config.pipeline = dice.between(1, 6);
    config.access_log = AccessLog::Path(LOG.into());
    config.request_id = if weather.mix_ups { RequestId::Require } else { RequestId::Auto };
    // What nobody may store passes all the same.
    config.cache = (!weather.scarcity && dice.one_in(4)).then(|| Cache {
        dir: "/cache".into(),
        max_size: 1 << 20,
        max_object: 1 << 20,
        default_ttl: Millis(0),
    });
    // Some have pages of their own, that fit a ring and that do not.
    let length = [0, 10, 3000, 30_000][config.max_connections % 4];
    let statuses = [400, 408, 502, 503, 504].into_iter().filter(|_| length > 0);
    let page = |status| ErrorPageFile { status, path: "/page".into(), html: "x".repeat(length) };
    config.error_pages.extend(statuses.map(page));
    let pool = &mut config.pools[0];
    pool.multiplex = if weather.multiplexes { Multiplex::Verified } else { Multiplex::Off };
    pool.balance = *dice.choose(&[Balance::RoundRobin, Balance::LeastConnections]);
    pool.retries = dice.between(0, 3) as u32;
    for backend in &mut pool.backends {
        backend.weight = dice.between(1, 3) as u32;
        backend.max_connections = match dice.one_in(4).then(|| dice.between(1, 3)) {
            None => 0,
            Some(3) => AUTO_CAP,
            Some(cap) => cap as u32,
        };
        backend.backup = dice.one_in(10);
    }
    let timeouts = &mut config.timeouts;
    if weather.is_rough() {
        timeouts.client = Millis(3000);
        timeouts.header = Millis(4000);
        timeouts.response = Millis(2000);
        timeouts.fin = Millis(dice.between(1, 3) as u64 * 1000);
        timeouts.connect = Millis(500);
    } else {
        timeouts.client = Millis(200_000);
        timeouts.header = Millis(200_000);
        timeouts.response = Millis(200_000);
        timeouts.fin = Millis(200_000);
        timeouts.connect = Millis(200_000);
        timeouts.queue = Millis(200_000);
    }
    config
}

fn start(config: &Config, book: &mut Book) -> Team {
    let dice = &mut book.dice;
    let conns = dice.between(1, if book.weather.crowds { 2 } else { config.max_connections + 3 });
    let spare = dice.between(0, 8);
    let splice_min = *dice.choose(&[1, 500, 5000, 32 * 1024]);
    let reach = *dice.choose(&[100, 5000, 1 << 20]);
    let workers = *dice.choose(&[1, 1, 2, 3]);
    if workers > 1 {
        // The simulated kernel has one limit, and real ones have one for each process.
        world::change_faults(|faults| faults.descriptors = 100_000);
    }
    let multiplexes = book.weather.multiplexes;
    let knows_backends = multiplexes || dice.one_in(2);
    let mut team = Team::start(workers, config, |settings| {
        settings.backend_conns = conns;
        settings.spare_exchanges = spare;
        settings.splice_min = splice_min;
    });
    let echoes_after = dice.between(1, 6) as u32;
    let echo = match book.weather.shuts_doors || multiplexes {
        true => EchoSupport::known(),
        false => EchoSupport::quick(echoes_after),
    };
    for service in &mut team.workers {
        for backend in service.proxy.upstream.backends_mut() {
            backend.echo = echo;
        }
        service.proxy.buffers.pipes.sight.bytes.truncate(reach);
        if knows_backends {
            service.proxy.upstream.backends_mut().iter_mut().for_each(Backend::be_trusted);
        }
    }
    team
}
