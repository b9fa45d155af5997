//! The operators' server: their connections, none of which can hold up the others or the loop, nor
//! take more memory than a small, fixed amount. Each way in has slots, turns and bytes of its own, so
//! that whatever happens at one is not noticed at another. Nobody is kept out: when the slots are
//! taken, or too many bytes wait to be read, the oldest that is unfinished makes room.

use crate::http::{Method, Refusal};
use crate::mem::time::Micros;
use crate::sys::{Event, IoError, Listener, Poller};

use super::answer::{ApiResponse, is_same_secret};
use super::api::{self, AccessLevel, Command};
pub use super::connection::Pending;
use super::connection::{Connection, ConnectionPhase, Step};
use super::request_parser::{After, ApiRequest};

/// Connections of one listener. A further one takes the place of another.
pub const SLOTS: usize = 64;
/// Requests of one listener that are answered before others have their turn.
const BUDGET: usize = 4;
/// Bytes of answers that are not sent yet, over all connections of a listener. Where one answer more
/// would be too many, those that have not been read for longest are broken off.
const PENDING_LIMIT: usize = 16 << 20;
/// After an answer of so many bytes others have their turn at once.
const LARGE: usize = 64 << 10;
/// Connections that are taken from one listener before others have their turn.
const ACCEPTS: usize = 16;

/// Carries out commands.
pub trait ApiHandler {
    /// Does what is asked for.
    fn handle(&mut self, command: Command) -> CommandOutcome;
}

/// What comes of a command.
pub enum CommandOutcome {
    /// It is done, or not.
    Done(ApiResponse),
    /// That is not known yet: [`AdminServer::settle`] will say.
    Later(Pending),
}

/// A listener, and what is to be done there.
struct AdminListener {
    access: AccessLevel,
    listener: Listener,
    /// Whether those who connect are noticed.
    is_watched: bool,
    /// Whether somebody may wait to come in.
    is_asked_for: bool,
    /// Where its next turn begins, so that each connection has its own.
    next: usize,
}

/// All listeners and connections.
pub struct AdminServer {
    listeners: Vec<AdminListener>,
    connections: Vec<Option<Connection>>,
    /// What a request over TCP must carry.
    token: Option<Vec<u8>>,
    /// Whether some connection could go on at once.
    is_ready: bool,
    is_closing: bool,
    /// The token of the first listener, behind which those of the connections follow.
    first: u64,
}

impl AdminServer {
    /// Serves whoever comes in by these. Events have tokens from `first` on.
    pub fn new(
        sockets: Vec<(AccessLevel, Listener)>,
        token: Option<Vec<u8>>,
        first: u64,
    ) -> AdminServer {
        let listeners: Vec<AdminListener> = sockets
            .into_iter()
            .map(|(access, listener)| AdminListener {
                access,
                listener,
                is_watched: false,
                is_asked_for: false,
                next: 0,
            })
            .collect();
        let connections = (0..SLOTS * listeners.len()).map(|_| None).collect();
        AdminServer { listeners, connections, token, is_ready: false, is_closing: false, first }
    }

    /// Asks for events.
    pub fn watch(&mut self, poller: &Poller) -> Result<(), IoError> {
        for (place, listener) in (0..).zip(&mut self.listeners) {
            if !listener.is_watched && !self.is_closing {
                poller.watch_listener(&listener.listener, self.first + place)?;
                listener.is_watched = true;
            }
        }
        Ok(())
    }

    /// Takes nobody in any more; who is connected is answered once more. Who has nothing to ask now,
    /// and had before, is closed with the next turn: a request that is here already may not have
    /// been noticed yet.
    pub fn close(&mut self, poller: &Poller) {
        self.is_closing = true;
        for listener in &mut self.listeners {
            // One that cannot be unwatched is watched still: nobody is let in by it.
            if listener.is_watched && poller.unwatch_listener(&listener.listener).is_ok() {
                listener.is_watched = false;
            }
        }
        self.connections.iter_mut().flatten().for_each(Connection::look_again);
        self.is_ready = true;
    }

    /// Whether nobody who is connected may ask for something before the connection closes.
    pub fn is_quiet(&self) -> bool {
        self.connections.iter().flatten().all(|connection| match connection.phase {
            ConnectionPhase::Waiting(_, _)
            | ConnectionPhase::Writing(After::Close)
            | ConnectionPhase::Lingering(_) => true,
            ConnectionPhase::Reading
            | ConnectionPhase::Writing(After::Keep | After::KeepAndSay) => false,
        })
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.iter().all(Option::is_none)
    }

    /// Whether somebody waits for what comes of their request.
    #[cfg(test)]
    pub fn is_awaited(&self) -> bool {
        let mut all = self.connections.iter().flatten();
        all.any(|connection| matches!(connection.phase, ConnectionPhase::Waiting(..)))
    }

    /// Whether `turn` has something to do without any event.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Notes an event whose token is `place` above the first.
    pub fn event(&mut self, place: u64, event: Event) {
        let place = place as usize;
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.is_asked_for = true;
            self.is_ready = true;
            return;
        }
        let slot = place - self.listeners.len();
        if let Some(Some(connection)) = self.connections.get_mut(slot) {
            // A new owner of the slot may be meant by mistake: it then finds that there is nothing.
            connection.event(event);
            self.is_ready = true;
        }
    }

    /// Lets in who waits at a listener. Who is inside had a turn before.
    fn accept(&mut self, poller: &Poller, place: usize, now: Micros) {
        for _ in 0..ACCEPTS {
            // The event comes again while somebody waits.
            let Some(slot) = self.slot_for(place) else { return };
            let Ok((socket, _)) = self.listeners[place].listener.accept() else { return };
            let token = self.first + (self.listeners.len() + slot) as u64;
            // Who had the slot is gone before its token means another.
            self.connections[slot] = None;
            if poller.watch_socket(&socket, token).is_ok() {
                self.connections[slot] = Some(Connection::new(socket, now));
                self.is_ready = true;
            }
        }
    }

    /// A slot for one more at that listener: a free one, or that of the one who makes room most readily.
    fn slot_for(&self, listener: usize) -> Option<usize> {
        let slots = slots_of(listener);
        if let Some(free) = slots.clone().find(|slot| self.connections[*slot].is_none()) {
            return Some(free);
        }
        let order = |slot: &usize| {
            let connection = self.connections[*slot].as_ref()?;
            connection.rank().map(|rank| (rank, connection.since))
        };
        slots.filter(|slot| order(slot).is_some()).min_by_key(order)
    }

    /// Lets connections go on, as far as they can, answers a few requests of each listener, and lets in who
    /// waits before it.
    pub fn turn(&mut self, poller: &Poller, handler: &mut dyn ApiHandler, now: Micros) {
        self.is_ready = false;
        for listener in 0..self.listeners.len() {
            self.turn_at(listener, handler, now);
            if std::mem::take(&mut self.listeners[listener].is_asked_for) && !self.is_closing {
                self.accept(poller, listener, now);
            }
        }
    }

    fn turn_at(&mut self, listener: usize, handler: &mut dyn ApiHandler, now: Micros) {
        let begin = self.listeners[listener].next;
        let mut budget = BUDGET;
        for distance in 0..SLOTS {
            let place = (begin + distance) % SLOTS;
            let slot = listener * SLOTS + place;
            if self.connections[slot].is_none() {
                continue;
            }
            if budget == 0 {
                self.listeners[listener].next = place;
                self.is_ready = true;
                return;
            }
            if self.drive(slot, handler, now) {
                let len = self.connections[slot].as_ref().map_or(0, |one| one.output.len());
                budget = if len > LARGE { 0 } else { budget - 1 };
            }
        }
    }

    /// Lets one connection go on. Whether a request was answered.
    fn drive(&mut self, slot: usize, handler: &mut dyn ApiHandler, now: Micros) -> bool {
        let Some(connection) = &mut self.connections[slot] else { return false };
        let request = match connection.step(now) {
            Step::Blocked if self.is_closing && connection.has_asked && connection.is_idle() => {
                self.connections[slot] = None;
                return false;
            }
            Step::Blocked => return false,
            Step::Over => {
                self.connections[slot] = None;
                return false;
            }
            Step::Asked(request) => request,
        };
        connection.has_asked = true;
        let head_only = request.method == Method::Head;
        let after = if self.is_closing { After::Close } else { request.after };
        let outcome = self.answer(slot, &request, handler);
        let Some(connection) = &mut self.connections[slot] else { return true };
        match outcome {
            CommandOutcome::Done(answer) => connection.say(answer, after, head_only, now),
            CommandOutcome::Later(awaited) => connection.wait(after, awaited, now),
        }
        self.limit_pending(slot);
        // What can be sent, and what was sent behind the request, has its next turn at once.
        self.is_ready = true;
        true
    }

    fn answer(
        &self,
        slot: usize,
        request: &ApiRequest,
        handler: &mut dyn ApiHandler,
    ) -> CommandOutcome {
        let access = self.listeners[slot / SLOTS].access;
        if access == AccessLevel::Token && !self.is_known(request) {
            let answer = ApiResponse::error(401, "the token is missing or wrong")
                .with("WWW-Authenticate: Bearer realm=\"httplb\"\r\n");
            return CommandOutcome::Done(answer);
        }
        match api::read(access, request) {
            Ok(command) => handler.handle(command),
            Err(answer) => CommandOutcome::Done(answer),
        }
    }

    /// Breaks off answers of a listener, first that which has not been read for longest, until those that
    /// are left, with the new one in `slot`, are not too many bytes.
    fn limit_pending(&mut self, slot: usize) {
        let slots = slots_of(slot / SLOTS);
        let unread = |connection: &Option<Connection>| {
            connection.as_ref().map_or(0, |connection| connection.output.len())
        };
        while self.connections[slots.clone()].iter().map(unread).sum::<usize>() > PENDING_LIMIT {
            // Each time some of an answer is read it has the same time again.
            let age = |slot: &usize| self.connections[*slot].as_ref().map(|one| one.until);
            let others = slots.clone().filter(|one| *one != slot);
            let oldest = others.filter(|one| unread(&self.connections[*one]) > 0).min_by_key(age);
            let Some(oldest) = oldest else { return };
            self.connections[oldest] = None;
        }
    }

    /// Whether the request carries the token.
    fn is_known(&self, request: &ApiRequest) -> bool {
        let given = request.authorization.as_deref().and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        let secret = self.token.as_deref().unwrap_or_default();
        given.is_some_and(|given| is_same_secret(given.trim_ascii(), secret))
    }

    /// Answers those who wait for this.
    pub fn settle(&mut self, settled: Pending, answer: &ApiResponse, now: Micros) {
        for connection in self.connections.iter_mut().flatten() {
            match connection.phase {
                ConnectionPhase::Waiting(after, awaited) if awaited == settled => {
                    connection.say(answer.clone(), after, false, now);
                    self.is_ready = true;
                }
                ConnectionPhase::Waiting(..)
                | ConnectionPhase::Reading
                | ConnectionPhase::Writing(_)
                | ConnectionPhase::Lingering(_) => (),
            }
        }
    }

    /// Closes connections that took too long.
    pub fn expire(&mut self, now: Micros) {
        for place in &mut self.connections {
            let Some(connection) = place.as_mut().filter(|one| one.until <= now) else { continue };
            if connection.is_late_request() {
                connection.refuse(Refusal::TimedOut, now);
                self.is_ready = true;
            } else {
                *place = None;
            }
        }
    }

    /// When `expire` is to be called next.
    pub fn next_deadline(&self) -> Option<Micros> {
        self.connections.iter().flatten().map(|connection| connection.until).min()
    }
}

/// The slots of a listener.
fn slots_of(listener: usize) -> std::ops::Range<usize> {
    listener * SLOTS..(listener + 1) * SLOTS
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
