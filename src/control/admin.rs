//! The operators' server: their connections, none of which can hold up the others or the loop, nor
//! take more memory than a small, fixed amount.
//!
//! ```text
//! Reading → Writing → Reading … → Lingering → closed
//!    └→ Waiting ─↑      (for the outcome of a reload, or the end of a purge)
//! ```

use crate::http::{Method, Refusal};
use crate::mem::time::Micros;
use crate::sys::{Event, IoError, Listener, Poller, Socket, UnixListener, clock};

use super::answer::{Answer, is_same_secret};
use super::asked::{self, Command, Door};
use super::cache::Ticket;
use super::intake::{After, Intake, Request, Taken};

/// Connections of one door. A further one takes the place of one that has nothing to do.
pub const SEATS: usize = 32;
/// From the first byte of a request to its last.
const REQUEST_TIME: Micros = Micros::from_secs(10);
/// A connection without a request.
const IDLE_TIME: Micros = Micros::from_secs(60);
/// Without progress in sending an answer.
const SEND_TIME: Micros = Micros::from_secs(10);
/// The outcome of a reload: longer than the master waits for the program that it asks.
const RELOAD_TIME: Micros = Micros::from_secs(60);
/// The end of a purge: longer than it takes to open a million files.
const PURGE_TIME: Micros = Micros::from_secs(600);
/// The other side may take so long to end after our end.
const LINGER_TIME: Micros = Micros::from_secs(2);
/// So many bytes are read to nobody's use, at most, before a connection is broken off.
const LINGER_BYTES: usize = 256 * 1024;
/// Requests that are answered before others have their turn.
const BUDGET: usize = 8;
/// Bytes of answers that are not sent yet, over all connections; beyond it a request gets 503.
const PENDING_LIMIT: usize = 16 << 20;
/// Connections that are taken from one listener before others have their turn.
const ACCEPTS: usize = 16;

/// A listening socket of either kind.
pub enum Listening {
    /// With a path.
    Unix(UnixListener),
    /// With an address.
    Tcp(Listener),
}

impl Listening {
    fn accept(&self) -> Result<Socket, IoError> {
        match self {
            Listening::Unix(listener) => listener.accept(),
            Listening::Tcp(listener) => listener.accept().map(|(socket, _)| socket),
        }
    }

    fn watch(&self, poller: &Poller, token: u64) -> Result<(), IoError> {
        match self {
            Listening::Unix(listener) => poller.watch_unix_listener(listener, token),
            Listening::Tcp(listener) => poller.watch_listener(listener, token),
        }
    }

    fn unwatch(&self, poller: &Poller) -> Result<(), IoError> {
        match self {
            Listening::Unix(listener) => poller.unwatch_unix_listener(listener),
            Listening::Tcp(listener) => poller.unwatch_listener(listener),
        }
    }
}

/// Carries out commands.
pub trait Commander {
    /// Does what is asked for.
    fn carry_out(&mut self, command: Command) -> Outcome;
}

/// What comes of a command.
pub enum Outcome {
    /// It is done, or not.
    Done(Answer),
    /// That is not known yet: [`Admin::settle`] will say.
    Later(Pending),
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// The outcome of a reload.
    Reload,
    /// The end of a purge.
    Purge(Ticket),
}

impl Pending {
    /// How long at most.
    fn patience(self) -> Micros {
        match self {
            Pending::Reload => RELOAD_TIME,
            Pending::Purge(_) => PURGE_TIME,
        }
    }
}

/// A way in.
struct Entrance {
    door: Door,
    listening: Listening,
    /// Whether those who connect are noticed.
    is_watched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// It is not known yet what comes of the request.
    Waiting(After, Pending),
    Writing(After),
    /// Our side is ended; so many bytes were read since.
    Lingering(usize),
}

struct Connection {
    socket: Socket,
    intake: Intake,
    output: Vec<u8>,
    sent: usize,
    readable: bool,
    writable: bool,
    phase: Phase,
    /// When it is given up, unless something happens.
    until: Micros,
    /// Whether it has had a request: who has just come is about to send one.
    has_asked: bool,
}

/// All doors and connections.
pub struct Admin {
    entrances: Vec<Entrance>,
    connections: Vec<Option<Connection>>,
    /// What a request over TCP must carry.
    token: Option<Vec<u8>>,
    /// Where the next turn begins, so that each connection has its own.
    next: usize,
    /// Whether some connection could go on at once.
    is_ready: bool,
    is_closing: bool,
    /// The token of the first entrance, behind which those of the connections follow.
    first: u64,
}

/// How a step of a connection ended.
enum Step {
    /// It waits for an event.
    Blocked,
    /// It is over.
    Over,
    /// There is a request to answer.
    Asked(Request),
}

impl Admin {
    /// Serves whoever comes in by these doors. Events have tokens from `first` on.
    pub fn new(doors: Vec<(Door, Listening)>, token: Option<Vec<u8>>, first: u64) -> Admin {
        let entrances: Vec<Entrance> = doors
            .into_iter()
            .map(|(door, listening)| Entrance { door, listening, is_watched: false })
            .collect();
        let connections = (0..SEATS * entrances.len()).map(|_| None).collect();
        Admin { entrances, connections, token, next: 0, is_ready: false, is_closing: false, first }
    }

    /// Asks for events.
    pub fn watch(&mut self, poller: &Poller) -> Result<(), IoError> {
        (0..self.entrances.len()).try_for_each(|place| self.open(poller, place))
    }

    fn open(&mut self, poller: &Poller, place: usize) -> Result<(), IoError> {
        let entrance = &mut self.entrances[place];
        if !entrance.is_watched && !self.is_closing {
            entrance.listening.watch(poller, self.first + place as u64)?;
            entrance.is_watched = true;
        }
        Ok(())
    }

    fn shut(&mut self, poller: &Poller, place: usize) {
        let entrance = &mut self.entrances[place];
        // One that cannot be unwatched is watched still: `accept` returns at once.
        if entrance.is_watched && entrance.listening.unwatch(poller).is_ok() {
            entrance.is_watched = false;
        }
    }

    /// Takes nobody in any more; who is connected is answered once more. Who has nothing to ask now,
    /// and had before, is closed with the next turn: a request that is here already may not have
    /// been noticed yet.
    pub fn close(&mut self, poller: &Poller) {
        self.is_closing = true;
        (0..self.entrances.len()).for_each(|place| self.shut(poller, place));
        for connection in self.connections.iter_mut().flatten() {
            connection.readable = true;
        }
        self.is_ready = true;
    }

    /// Whether nobody who is connected may ask for something before the connection closes.
    pub fn is_quiet(&self) -> bool {
        self.connections.iter().flatten().all(|connection| match connection.phase {
            Phase::Waiting(_, _) | Phase::Writing(After::Close) | Phase::Lingering(_) => true,
            Phase::Reading | Phase::Writing(After::Keep | After::KeepAndSay) => false,
        })
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.iter().all(Option::is_none)
    }

    /// Whether somebody waits for what comes of their request.
    pub fn is_awaited(&self) -> bool {
        let mut all = self.connections.iter().flatten();
        all.any(|connection| matches!(connection.phase, Phase::Waiting(..)))
    }

    /// Whether `turn` has something to do without any event.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Notes an event whose token is `place` above the first.
    pub fn event(&mut self, poller: &Poller, place: u64, event: Event, now: Micros) {
        let place = place as usize;
        if place < self.entrances.len() {
            return self.accept(poller, place, now);
        }
        let seat = place - self.entrances.len();
        if let Some(Some(connection)) = self.connections.get_mut(seat) {
            // A new owner of the seat may be meant by mistake: it then finds that there is nothing.
            connection.readable |= event.readable || event.closed || event.failed;
            connection.writable |= event.writable || event.failed;
            self.is_ready = true;
        }
    }

    fn accept(&mut self, poller: &Poller, place: usize, now: Micros) {
        for _ in 0..ACCEPTS {
            let Some(seat) = self.seat_for(place) else { return self.shut(poller, place) };
            let Ok(socket) = self.entrances[place].listening.accept() else { return };
            let token = self.first + (self.entrances.len() + seat) as u64;
            if poller.watch_socket(&socket, token).is_ok() {
                self.connections[seat] = Some(Connection {
                    socket,
                    intake: Intake::default(),
                    output: Vec::new(),
                    sent: 0,
                    readable: true,
                    writable: true,
                    phase: Phase::Reading,
                    until: now + REQUEST_TIME,
                    has_asked: false,
                });
                self.is_ready = true;
            }
        }
    }

    /// A seat for one more at that entrance: a free one, or that of the one who has had nothing to
    /// do for longest.
    fn seat_for(&self, entrance: usize) -> Option<usize> {
        let seats = entrance * SEATS..(entrance + 1) * SEATS;
        if let Some(free) = seats.clone().find(|seat| self.connections[*seat].is_none()) {
            return Some(free);
        }
        let idle = seats.filter_map(|seat| {
            let connection = self.connections[seat].as_ref()?;
            connection.is_idle().then_some((connection.until, seat))
        });
        idle.min().map(|(_, seat)| seat)
    }

    /// Lets connections go on, as far as they can, and answers a few requests.
    pub fn turn(&mut self, poller: &Poller, commander: &mut dyn Commander, now: Micros) {
        self.is_ready = false;
        let count = self.connections.len();
        let mut budget = BUDGET;
        for distance in 0..count {
            let seat = (self.next + distance) % count;
            if self.connections[seat].is_none() {
                continue;
            }
            if budget == 0 {
                self.next = seat;
                self.is_ready = true;
                return;
            }
            if self.drive(seat, commander, now) {
                budget -= 1;
            }
            let entrance = seat / SEATS;
            if self.connections[seat].is_none() && !self.entrances[entrance].is_watched {
                // If it cannot be watched now, it is at the next end of a connection.
                let _ = self.open(poller, entrance);
            }
        }
    }

    /// Lets one connection go on. Whether a request was answered.
    fn drive(&mut self, seat: usize, commander: &mut dyn Commander, now: Micros) -> bool {
        let Some(connection) = &mut self.connections[seat] else { return false };
        let request = match connection.step(now) {
            Step::Blocked if self.is_closing && connection.has_asked && connection.is_idle() => {
                self.connections[seat] = None;
                return false;
            }
            Step::Blocked => return false,
            Step::Over => {
                self.connections[seat] = None;
                return false;
            }
            Step::Asked(request) => request,
        };
        connection.has_asked = true;
        let head_only = request.method == Method::Head;
        let after = if self.is_closing { After::Close } else { request.after };
        let outcome = self.answer(seat, &request, commander);
        let Some(connection) = &mut self.connections[seat] else { return true };
        match outcome {
            Outcome::Done(answer) => connection.say(&answer, after, head_only, now),
            Outcome::Later(awaited) => {
                connection.phase = Phase::Waiting(after, awaited);
                connection.until = now + awaited.patience();
            }
        }
        // What can be sent, and what was sent behind the request, has its next turn at once.
        self.is_ready = true;
        true
    }

    fn answer(&self, seat: usize, request: &Request, commander: &mut dyn Commander) -> Outcome {
        let door = self.entrances[seat / SEATS].door;
        if door == Door::Token && !self.is_known(request) {
            let answer = Answer::error(401, "the token is missing or wrong")
                .with("WWW-Authenticate: Bearer realm=\"httplb\"\r\n");
            return Outcome::Done(answer);
        }
        let pending = self.connections.iter().flatten().map(|connection| connection.output.len());
        if pending.sum::<usize>() > PENDING_LIMIT {
            return Outcome::Done(Answer::error(503, "too many answers wait to be read"));
        }
        match asked::read(door, request) {
            Ok(command) => commander.carry_out(command),
            Err(answer) => Outcome::Done(answer),
        }
    }

    /// Whether the request carries the token.
    fn is_known(&self, request: &Request) -> bool {
        let given = request.authorization.as_deref().and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        let secret = self.token.as_deref().unwrap_or_default();
        given.is_some_and(|given| is_same_secret(given.trim_ascii(), secret))
    }

    /// Answers those who wait for this.
    pub fn settle(&mut self, settled: Pending, answer: &Answer, now: Micros) {
        for connection in self.connections.iter_mut().flatten() {
            match connection.phase {
                Phase::Waiting(after, awaited) if awaited == settled => {
                    connection.say(answer, after, false, now);
                    self.is_ready = true;
                }
                Phase::Waiting(..) | Phase::Reading | Phase::Writing(_) | Phase::Lingering(_) => (),
            }
        }
    }

    /// Closes connections that took too long.
    pub fn expire(&mut self, poller: &Poller, now: Micros) {
        for seat in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[seat] else { continue };
            if connection.until > now {
                continue;
            }
            let late_request = connection.phase == Phase::Reading && connection.intake.has_begun();
            if late_request {
                connection.refuse(Refusal::TimedOut, now);
                self.is_ready = true;
            } else {
                self.connections[seat] = None;
                let _ = self.open(poller, seat / SEATS);
            }
        }
    }

    /// When `expire` is to be called next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.connections.iter().flatten().map(|connection| connection.until).min()
    }
}

impl Connection {
    /// Whether no request is here, not even a part.
    fn is_idle(&self) -> bool {
        self.phase == Phase::Reading && !self.intake.has_begun() && !self.readable
    }

    /// Goes on until it blocks or a request is whole.
    fn step(&mut self, now: Micros) -> Step {
        loop {
            if !self.flush(now) {
                return Step::Over;
            }
            let is_flushed = self.output.is_empty();
            match self.phase {
                Phase::Waiting(..) => return Step::Blocked,
                Phase::Writing(_) if !is_flushed => return Step::Blocked,
                Phase::Writing(After::Close) => {
                    if self.socket.shutdown_write().is_err() {
                        return Step::Over;
                    }
                    self.phase = Phase::Lingering(0);
                    self.until = now + LINGER_TIME;
                }
                Phase::Writing(After::Keep | After::KeepAndSay) => {
                    self.phase = Phase::Reading;
                    let patience = if self.intake.has_begun() { REQUEST_TIME } else { IDLE_TIME };
                    self.until = now + patience;
                    self.intake.rest();
                }
                Phase::Lingering(read) => match self.receive_to_nobody(read) {
                    Some(step) => return step,
                    None => continue,
                },
                Phase::Reading => match self.intake.take() {
                    Taken::Whole(request) => return Step::Asked(request),
                    Taken::Refused(refusal) => self.refuse(refusal, now),
                    // A client that sends nothing until it hears this reads it too.
                    Taken::Continue if is_flushed => {
                        self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    Taken::Continue | Taken::More => {
                        if let Some(step) = self.fill(now) {
                            return step;
                        }
                    }
                },
            }
        }
    }

    /// Receives once. `None`: something came.
    fn fill(&mut self, now: Micros) -> Option<Step> {
        if !self.readable {
            return Some(Step::Blocked);
        }
        let mut bytes = [0; 16 * 1024];
        let room = self.intake.room().min(bytes.len());
        match self.socket.receive([&mut bytes[..room], &mut []]) {
            // Half a request is nobody's.
            Ok(0) => Some(Step::Over),
            Ok(count) => {
                if !self.intake.has_begun() {
                    self.until = now + REQUEST_TIME;
                }
                self.intake.add(&bytes[..count]);
                None
            }
            Err(IoError::WouldBlock) => {
                self.readable = false;
                Some(Step::Blocked)
            }
            Err(_) => Some(Step::Over),
        }
    }

    /// Reads on behind our end, so that what was sent is not lost by a reset. `None`: there may be
    /// more.
    fn receive_to_nobody(&mut self, read: usize) -> Option<Step> {
        if !self.readable {
            return Some(Step::Blocked);
        }
        let mut bytes = [0; 16 * 1024];
        match self.socket.receive([&mut bytes, &mut []]) {
            Ok(count) if count > 0 && read + count < LINGER_BYTES => {
                self.phase = Phase::Lingering(read + count);
                None
            }
            Err(IoError::WouldBlock) => {
                self.readable = false;
                Some(Step::Blocked)
            }
            Ok(_) | Err(_) => Some(Step::Over),
        }
    }

    /// Sends what there is. False if that cannot be.
    fn flush(&mut self, now: Micros) -> bool {
        while self.writable && self.sent < self.output.len() {
            match self.socket.send([&self.output[self.sent..], &[]]) {
                Ok(count) => {
                    self.sent += count;
                    if matches!(self.phase, Phase::Writing(_)) {
                        self.until = now + SEND_TIME;
                    }
                }
                Err(IoError::WouldBlock) => self.writable = false,
                Err(_) => return false,
            }
        }
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        true
    }

    fn refuse(&mut self, refusal: Refusal, now: Micros) {
        self.say(&Answer::refusal(refusal), After::Close, false, now);
    }

    fn say(&mut self, answer: &Answer, after: After, head_only: bool, now: Micros) {
        self.output.extend_from_slice(&answer.bytes(after, head_only, clock::wall()));
        self.phase = Phase::Writing(after);
        self.until = now + SEND_TIME;
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
