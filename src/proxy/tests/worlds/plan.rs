//! What a world is to be like, and the book that is kept of its requests.

use super::cached::{Shelf, Wish};
use crate::mem::time::{Micros, Millis};
use crate::mem::xorshift::Xorshift;
use crate::proxy::tests::message::Message;
use crate::sys::clock;
use crate::sys::world::Faults;

/// What goes wrong in a world: mostly little, so that little is an excuse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub kernel: Faults,
    /// All clients want the same few resources, which are stored.
    pub shares: bool,
    /// Requests of several clients go over one connection.
    pub multiplexes: bool,
    /// Connections are few, and so are those that may wait to be accepted.
    pub crowds: bool,
    /// Backends that echo answer in another order now and then.
    pub swaps: bool,
    /// Backends close or reset within an answer, or instead of one.
    pub cuts: bool,
    /// Backends close connections that are idle.
    pub idle_cuts: bool,
    pub refuses: bool,
    /// Some backends close their listener for good, and serve the connections they have.
    pub shuts_doors: bool,
    pub ignores: bool,
    pub hangs: bool,
    /// Backends send what is no HTTP.
    pub garbage: bool,
    /// Some backends forget a request that comes before they have answered the one ahead of it.
    pub forgets: bool,
    /// Some backends close after each response and do not say so.
    pub closes_unsaid: bool,
    /// Some backends send a body with the response to HEAD.
    pub adds_bodies: bool,
    /// Backends give another request's answer, or speak unasked.
    pub mix_ups: bool,
    /// Backends that echo send responses a second time, a while later.
    pub surplus: bool,
    /// Clients log in the connections that their requests go over, and servers ask them to.
    pub logins: bool,
    /// Clients go away.
    pub aborts: bool,
    /// Clients fall silent, or do not read, for longer than they may.
    pub stalls: bool,
    /// Clients read little at a time, with pauses.
    pub slow_readers: bool,
    /// Clients send what is to be refused.
    pub nonsense: bool,
    /// Few descriptors.
    pub scarcity: bool,
    /// The process begins to drain at some time.
    pub drains: bool,
    /// Backends are taken out, or found to be down, while they have something in work, and come back.
    pub evacuates: bool,
    /// Its drain ends before its clients do.
    pub cuts_off: bool,
}

impl Weather {
    /// Whether nothing goes wrong but how and when bytes move.
    pub fn is_fair(&self) -> bool {
        !(self.is_rough() || self.cuts || self.idle_cuts || self.refuses || self.garbage)
            && !(self.mix_ups || self.nonsense || self.aborts || self.cuts_off)
            && !(self.closes_unsaid || self.adds_bodies || self.shuts_doors)
            && !self.spoils_disks()
    }

    pub fn spoils_disks(&self) -> bool {
        self.kernel.disk_errors > 0
    }

    /// Whether only timers end some of it.
    pub fn is_rough(&self) -> bool {
        self.ignores || self.hangs || self.stalls || self.scarcity
    }

    pub fn roll(dice: &mut Dice) -> Weather {
        let fair = dice.one_in(3);
        let mut often = |chances: usize| !fair && dice.one_in(chances);
        let mut weather = Weather {
            cuts: often(3),
            idle_cuts: often(4),
            refuses: often(6),
            ignores: often(8),
            hangs: often(8),
            garbage: often(6),
            closes_unsaid: often(6),
            adds_bodies: often(8),
            mix_ups: often(6),
            aborts: often(4),
            stalls: often(8),
            slow_readers: dice.one_in(4),
            nonsense: !fair && dice.one_in(6),
            scarcity: !fair && dice.one_in(10),
            drains: dice.one_in(8),
            ..Weather::default()
        };
        weather.cuts_off = !fair && weather.drains && dice.one_in(2);
        weather.surplus = !weather.mix_ups && dice.one_in(4);
        weather.evacuates = dice.one_in(3);
        weather.forgets = dice.one_in(3);
        weather.logins = dice.one_in(3);
        weather.shuts_doors = !fair && dice.one_in(5);
        weather.kernel = Faults {
            buffer: *dice.choose(&[1000, 4096, 16 * 1024, 64 * 1024]),
            pipes: *dice.choose(&[0, 1, 100, 100]),
            pipe_capacity: *dice.choose(&[4096, 8192, 64 * 1024]),
            refuses_fill: *dice.choose(&[0, 0, 0, 1, 5]),
            refuses_drain: *dice.choose(&[0, 0, 0, 1, 5]),
            fragments: dice.one_in(2),
            short_writes: dice.one_in(3),
            slow_connects: dice.one_in(2),
            spurious_events: dice.one_in(2),
            defers_accept: dice.one_in(2),
            reset_erases: dice.one_in(3),
            // The service itself takes seven or eight, of which two are free again once it is there.
            descriptors: if weather.scarcity { dice.between(8, 12) } else { 1000 },
            supports_peek_offset: dice.one_in(2),
            backlog: *dice.choose(&[0, 1, usize::MAX]),
            ..Faults::default()
        };
        weather
    }
}

impl Weather {
    /// Where requests of several clients go over one connection.
    pub fn roll_multiplexed(dice: &mut Dice) -> Weather {
        let rolled = Weather::roll(dice);
        let swaps = !rolled.is_fair() && dice.one_in(2);
        // There, an identifier that is not the right one proves nothing.
        Weather { multiplexes: true, swaps, mix_ups: false, ..rolled }
    }
}

impl Weather {
    /// Where they wait for connections, and for backends at Unix sockets to accept them.
    pub fn roll_crowded(dice: &mut Dice) -> Weather {
        let mut weather = Weather::roll_multiplexed(dice);
        weather.crowds = true;
        weather.multiplexes = dice.one_in(2);
        weather.kernel.backlog = dice.below(2);
        weather
    }
}

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    #[default]
    None,
    Length,
    Chunked,
}

/// One request, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub client: usize,
    pub method: &'static str,
    /// What it wants of what is stored. Otherwise it is for what nobody else wants.
    pub wish: Option<Wish>,
    /// It is sent so much later than it could be.
    pub delay: Micros,
    pub upload: Upload,
    pub upload_len: usize,
    /// An `X-Request-ID` of the client's own.
    pub id: Option<String>,
    pub has_idempotency_key: bool,
    /// It makes its client the user of the connection that it goes over.
    pub logs_in: bool,
    pub expects_continue: bool,
    pub is_http10: bool,
    pub closes: bool,
    /// Bytes of a field that fills the head.
    pub filler: usize,
    /// The answer is 400, and no backend sees a whole request.
    pub is_nonsense: bool,
    /// Backends saw its head so often.
    pub seen: u32,
    /// A backend gave a whole answer.
    pub served: bool,
    /// One answered before it had the whole body.
    pub answered_early: bool,
    /// The identifier that a backend returned last, if it was another.
    pub returned: Option<String>,
    /// A backend has the whole request.
    pub came_whole: bool,
    /// A backend ended its connection with the answer.
    pub was_left: bool,
    /// One did though what it answered to HEAD did not say so.
    pub was_left_unsaid: bool,
    /// The client has its answer.
    pub answered: bool,
}

impl Plan {
    pub fn roll(dice: &mut Dice, client: usize, weather: &Weather, is_last: bool) -> Plan {
        let methods =
            ["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"];
        let is_shared = weather.multiplexes && dice.below(8) > 0;
        let method = *dice.choose(if is_shared { &methods[..1] } else { &methods });
        let may_upload = matches!(method, "POST" | "PUT") || dice.one_in(20);
        let upload = match may_upload {
            true => *dice.choose(&[Upload::None, Upload::Length, Upload::Chunked]),
            false => Upload::None,
        };
        let is_http10 = is_last && dice.one_in(6) && upload != Upload::Chunked;
        Plan {
            client,
            method,
            upload,
            upload_len: if upload == Upload::None { 0 } else { dice.size() },
            // Whose a response is to an identifier of the client's own is not known.
            id: (dice.one_in(3) && !weather.surplus && !is_shared)
                .then(|| format!("own-{}", dice.below(1000))),
            has_idempotency_key: dice.one_in(8),
            logs_in: weather.logins && dice.one_in(if is_shared { 20 } else { 4 }),
            expects_continue: upload != Upload::None && !is_http10 && dice.one_in(3),
            is_http10,
            closes: is_last && dice.one_in(3),
            filler: if dice.one_in(10) { dice.below(2600) } else { 0 },
            // Whether the answer to a HEAD has a body depends on how far the HEAD was understood.
            is_nonsense: weather.nonsense
                && dice.one_in(5)
                && (method != "HEAD" || upload == Upload::None),
            ..Plan::default()
        }
    }

    pub fn is_pipelinable(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
            && self.upload_len == 0
            && self.upload != Upload::Chunked
    }

    /// Whether it may stand on a connection with those of other clients.
    pub fn may_share(&self) -> bool {
        self.is_pipelinable() && self.method != "HEAD" && self.id.is_none() && !self.logs_in
    }

    pub fn is_idempotent(&self) -> bool {
        self.method != "POST" || self.has_idempotency_key
    }

    /// Whether a backend gets all of its upload where nothing goes wrong, also what comes after the
    /// answer.
    pub fn is_owed_whole(&self) -> bool {
        let may_be_withheld = self.expects_continue || self.is_http10 || self.was_left;
        self.upload != Upload::None && self.answered && !may_be_withheld
    }

    /// The request as the client sends it: the head, and the body.
    pub fn wire(&self, number: usize, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        let version = if self.is_http10 { "1.0" } else { "1.1" };
        if let Some(wish) = &self.wish {
            return (wish.head(self.method, version).into_bytes(), Vec::new());
        }
        let mut head = format!("{} /{number} HTTP/{version}\r\nHost: a\r\n", self.method);
        if let Some(id) = &self.id {
            head += &format!("X-Request-ID: {id}\r\n");
        }
        if self.has_idempotency_key {
            head += "Idempotency-Key: 1\r\n";
        }
        if self.logs_in {
            head += &format!("Authorization: NTLM {}\r\n", self.client);
        }
        if self.expects_continue {
            head += "Expect: 100-continue\r\n";
        }
        if self.closes {
            head += "Connection: close\r\n";
        }
        if self.filler > 0 {
            head += &format!("X-Filler: {}\r\n", "f".repeat(self.filler));
        }
        let bad_head = self.is_nonsense && (self.upload != Upload::Chunked || dice.one_in(2));
        if bad_head {
            head += "Bad : field\r\n";
        }
        let body = pattern(number, self.upload_len);
        let body = match self.upload {
            Upload::None => Vec::new(),
            Upload::Length => {
                head += &format!("Content-Length: {}\r\n", body.len());
                body
            }
            Upload::Chunked => {
                head += "Transfer-Encoding: chunked\r\n";
                let spoiled = self.is_nonsense && !bad_head;
                chunked(&body, dice, if spoiled { Spoiled::Yes } else { Spoiled::No })
            }
        };
        head += "\r\n";
        (head.into_bytes(), body)
    }

    /// A request as it came to a backend must be this one, as far as it has come.
    pub fn check_request(&self, number: usize, request: &Message) {
        assert_eq!(request.head.method(), self.method);
        assert_eq!(request.head.get("host"), Some("a"));
        let id = request.head.get("x-request-id").expect("each request has an id");
        assert!(self.id.as_deref().is_none_or(|own| own == id));
        assert_eq!(request.head.get("authorization").is_some(), self.logs_in);
        let filler = request.head.get("x-filler").unwrap_or_default();
        assert_eq!(filler.len(), self.filler);
        let body = pattern(number, self.upload_len);
        assert!(body.starts_with(&request.body), "the body of {number} came changed");
        if request.is_whole() {
            assert_eq!(body.len(), request.body.len(), "the body of {number} came short");
            assert!(!self.is_nonsense, "a request that was to be refused came whole");
        }
    }
}

/// Whether chunks are to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    No,
    Yes,
}

/// A body in chunks of any size, now and then with an extension or a trailer.
pub fn chunked(body: &[u8], dice: &mut Dice, spoiled: Spoiled) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = body;
    let bad = dice.below(3);
    while !rest.is_empty() {
        let small = dice.one_in(3);
        let size = 1 + dice.below(if small { rest.len().min(20) } else { rest.len() });
        if spoiled == Spoiled::Yes && bad == 0 {
            wire.extend(b"zz\r\n");
        }
        let extension = if dice.one_in(8) { ";a=\"b\"" } else { "" };
        let zeros = if dice.one_in(8) { "000" } else { "" };
        wire.extend(format!("{zeros}{size:X}{extension}\r\n").bytes());
        wire.extend(&rest[..size]);
        wire.extend(b"\r\n");
        rest = &rest[size..];
    }
    if spoiled == Spoiled::Yes {
        wire.extend(b"5x\r\n");
    }
    wire.extend(b"0\r\n");
    if dice.one_in(6) {
        wire.extend(b"X-Trailer: t\r\n");
    }
    wire.extend(b"\r\n");
    wire
}

/// The body that belongs to request `number`: no two have a stretch in common.
pub fn pattern(number: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17)) as u8;
    (0..len).map(|at| byte(at) ^ (number as u8).wrapping_mul(113)).collect()
}

/// All that is known of a world, and its dice.
pub struct Book {
    pub dice: Dice,
    pub weather: Weather,
    pub plans: Vec<Plan>,
    pub shelf: Shelf,
    /// Requests that were sent behind those of others.
    pub shared: u64,
    /// Requests that left a backend that went down.
    pub evacuated: u64,
    pub trace: Trace,
}

impl Book {
    /// How long an actor pauses.
    pub fn pause(&mut self) -> Micros {
        if self.dice.one_in(4) { Micros(self.dice.below(20_000) as u64) } else { Micros(0) }
    }

    /// The first byte of a request is about to be sent.
    pub fn note_sending(&mut self, number: usize) {
        if let Some(wish) = &mut self.plans[number].wish {
            wish.note_sending(&self.shelf);
        }
    }

    /// A backend has given so many bytes of what is stored, from the one in this place on.
    pub fn note_sent(&mut self, number: usize, first: usize, count: usize) {
        self.shelf.given[number].sent[first..first + count].fill(true);
    }

    /// A backend has given a whole answer, by the number that it has for who makes it.
    pub fn note_given(&mut self, number: usize) {
        if self.weather.shares {
            self.shelf.given[number].was_whole = true;
        } else {
            self.plans[number].served = true;
        }
    }

    /// The time in a while.
    pub fn later(&mut self) -> Micros {
        clock::now() + self.pause()
    }
}

/// What happened, kept if somebody wants to read it.
pub struct Trace {
    pub is_wanted: bool,
}

impl Trace {
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.is_wanted {
            let Micros(now) = clock::now();
            eprintln!("{:>6}.{:03} ms  {}", now / 1000 - 1_000_000, now % 1000, what());
        }
    }
}

/// Random numbers of a world.
pub struct Dice(Xorshift);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        let mut numbers = Xorshift::new(seed);
        (0..8).for_each(|_| assert!(numbers.below(2) < 2));
        Dice(numbers)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// The size of a body: nothing, little, about a ring, or much.
    pub fn size(&mut self) -> usize {
        match self.below(8) {
            0 => 0,
            1..=3 => self.below(100),
            4 | 5 => self.between(3000, 5000),
            6 => self.below(20_000),
            _ => self.below(80_000),
        }
    }

    pub fn millis(&mut self, bound: usize) -> Micros {
        Micros::from(Millis(self.below(bound) as u64))
    }
}
