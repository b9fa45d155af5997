//! Connections, as the two ends see them: what tcp(7) and unix(7) promise, and what Linux does.
use super::kernel::{Id, Kernel, Manners, NAMELESS, Owner, is_unix};
use crate::mem::time::Micros;
use crate::sys::IoError;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Linux gives up connecting when six repeated SYNs were not answered.
const CONNECT_GIVES_UP: Micros = Micros::from_secs(127);
/// How long `Listener::bind` has the kernel wait for a client's first bytes.
const DEFERRED: Micros = Micros::from_secs(1);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet made.
    Connecting { to: SocketAddr, gives_up: Micros },
    /// It was made, and carries bytes in the directions that were not ended.
    Open,
    /// Refused, given up or reset.
    Broken,
}

/// One end of a connection.
pub struct StreamEnd {
    pub owner: Owner,
    pub phase: Phase,
    /// The other end; none before it is made and after it is closed.
    pub other: Option<Id>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Came, and was not read.
    pub inbox: VecDeque<u8>,
    /// On the way here, and whether the end follows.
    flight: VecDeque<u8>,
    flight_ends: bool,
    /// The other side sends no more than is in the inbox.
    pub ended: bool,
    /// This side sends no more.
    shut: bool,
    /// How far behind the first byte the program looks next at what it leaves here, if it has said.
    pub looks_from: Option<usize>,
    /// What the next call reports, once.
    error: Option<IoError>,
    /// The other side broke it off.
    pub was_reset: bool,
    /// A write found no room, or `mask` did: an event is due when there is some.
    wants_room: bool,
    /// The kernel has no memory for it just now, and takes nothing.
    pub squeezed: bool,
    /// The door behind which it is held back until its client sends something, or this moment.
    pub deferred: Option<(Id, Micros)>,
}

/// What is possible at an endpoint, as poll(2) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    pub readable: bool,
    pub writable: bool,
    pub closed: bool,
    pub failed: bool,
    pub reset: bool,
}

impl StreamEnd {
    fn new(owner: Owner, phase: Phase, local: SocketAddr, remote: SocketAddr) -> StreamEnd {
        StreamEnd {
            owner,
            phase,
            other: None,
            local,
            remote,
            inbox: VecDeque::new(),
            flight: VecDeque::new(),
            flight_ends: false,
            ended: false,
            shut: false,
            looks_from: None,
            error: None,
            was_reset: false,
            wants_room: false,
            squeezed: false,
            deferred: None,
        }
    }

    pub fn is_something_coming(&self) -> bool {
        !self.flight.is_empty() || self.flight_ends
    }

    /// The moment when something happens to it by itself, if nothing else does before.
    pub fn due(&self) -> Option<Micros> {
        match (self.phase, self.deferred) {
            (Phase::Connecting { gives_up, .. }, _) => Some(gives_up),
            (Phase::Open | Phase::Broken, Some((_, until))) => Some(until),
            (Phase::Open | Phase::Broken, None) => None,
        }
    }
}

impl Kernel {
    /// An endpoint, by a name that is held by someone and so cannot be stale.
    pub fn end(&mut self, id: Id) -> &mut StreamEnd {
        self.ends.get_mut(&id).expect("no end of this world")
    }

    /// Begins a connection to `to`.
    pub fn begin(&mut self, owner: Owner, local: SocketAddr, to: SocketAddr) -> Id {
        let id = self.name();
        let phase = Phase::Connecting { to, gives_up: self.now + CONNECT_GIVES_UP };
        self.ends.insert(id, StreamEnd::new(owner, phase, local, to));
        id
    }

    /// Makes a connection by a Unix socket, which is made at once.
    pub fn enter(&mut self, door: Id, owner: Owner) -> Id {
        let to = self.doors[&door].address;
        let id = self.begin(owner, NAMELESS, to);
        self.join(id, door);
        id
    }

    /// Decides what becomes of a connection that was begun. Says whether anything did.
    pub fn try_connecting(&mut self, id: Id) -> bool {
        let Phase::Connecting { to, gives_up } = self.end(id).phase else { return false };
        let door = self.door_at(to).map(|door| (door, self.doors[&door].manners));
        match door {
            Some((door, Manners::Accepting)) => self.join(id, door),
            Some((_, Manners::Refusing | Manners::Denying)) | None => {
                self.break_off(id, IoError::Refused)
            }
            Some((_, Manners::Silent)) if self.now >= gives_up => {
                self.break_off(id, IoError::TimedOut);
            }
            Some((_, Manners::Silent)) => return false,
        }
        true
    }

    fn join(&mut self, client: Id, door: Id) {
        let server = self.name();
        let caller = self.end(client);
        caller.phase = Phase::Open;
        caller.other = Some(server);
        let (remote, local) = (caller.local, caller.remote);
        let owner = self.doors[&door].owner;
        let mut end = StreamEnd::new(owner, Phase::Open, local, remote);
        end.other = Some(client);
        end.deferred = Some((door, self.now + DEFERRED));
        self.ends.insert(server, end);
        if owner == Owner::Test || !self.faults.defers_accept || is_unix(local) {
            self.present(server);
        }
        self.changed(client);
    }

    /// Lets a connection be accepted, if it was held back.
    pub fn present(&mut self, id: Id) {
        if let Some((door, _)) = self.end(id).deferred.take() {
            self.doors.get_mut(&door).expect("it takes these along").queue.push_back(id);
            self.changed(door);
        }
    }

    /// Reads up to `limit` bytes; none is the end. Linux gives first the bytes, then an orderly
    /// end (even if a reset followed it), then an error, once, and then the end.
    pub fn read(&mut self, id: Id, limit: usize) -> Result<Vec<u8>, IoError> {
        let end = self.end(id);
        if let Phase::Connecting { .. } = end.phase {
            return Err(IoError::WouldBlock);
        }
        if !end.inbox.is_empty() {
            let count = limit.min(end.inbox.len());
            let bytes = end.inbox.drain(..count).collect();
            // By a Unix socket the sender is told of each message that was read to its end.
            let is_told = is_unix(end.local) && end.inbox.is_empty();
            if let Some(other) = end.other {
                self.tell_of_room(other);
                if is_told {
                    self.changed(other);
                }
            }
            return Ok(bytes);
        }
        self.why_nothing(id)
    }

    /// Looks at up to `limit` bytes, from where the endpoint was told to look, and leaves them. If none
    /// are there, it is as if nothing were before either.
    pub fn peek(&mut self, id: Id, limit: usize) -> Result<Vec<u8>, IoError> {
        let end = self.end(id);
        let from = end.looks_from.unwrap_or(0);
        let bytes: Vec<u8> = end.inbox.iter().skip(from).take(limit).copied().collect();
        end.looks_from = end.looks_from.map(|from| from + bytes.len());
        if bytes.is_empty() { self.why_nothing(id) } else { Ok(bytes) }
    }

    fn why_nothing(&mut self, id: Id) -> Result<Vec<u8>, IoError> {
        let end = self.end(id);
        if end.ended {
            return Ok(Vec::new());
        }
        if let Some(error) = end.error.take() {
            return Err(error);
        }
        if end.phase == Phase::Broken { Ok(Vec::new()) } else { Err(IoError::WouldBlock) }
    }

    /// Writes as many of `bytes` as there is room for.
    pub fn write(&mut self, id: Id, bytes: &[u8]) -> Result<usize, IoError> {
        let short_writes = self.faults.short_writes;
        let end = self.end(id);
        let (other, owner) = (end.other, end.owner);
        if let Phase::Connecting { .. } = end.phase {
            return Err(IoError::WouldBlock);
        }
        if let Some(error) = end.error.take() {
            return Err(error);
        }
        if end.phase == Phase::Broken || end.shut {
            return Err(IoError::Reset);
        }
        let Some(other) = other else {
            // The other side has closed. It takes the bytes, and answers with a reset.
            self.break_off(id, IoError::Reset);
            return Ok(bytes.len());
        };
        let mut count = if end.squeezed { 0 } else { bytes.len().min(self.room(other)) };
        if short_writes && owner == Owner::Program && count > 0 {
            let part = self.dice.part(count);
            self.end(id).squeezed = part < count;
            count = part;
        }
        if count < bytes.len() {
            self.end(id).wants_room = true;
            if count == 0 {
                return Err(IoError::WouldBlock);
            }
        }
        self.end(other).flight.extend(&bytes[..count]);
        self.arrive(other);
        Ok(count)
    }

    /// How many more bytes may be sent to an endpoint.
    fn room(&mut self, receiver: Id) -> usize {
        let buffer = self.faults.buffer;
        let end = self.end(receiver);
        buffer.saturating_sub(end.inbox.len() + end.flight.len())
    }

    /// Poll(2) says so from a third of the buffer on, lest bytes go one by one.
    fn is_there_room(&mut self, sender: Id) -> bool {
        let end = self.end(sender);
        match (end.squeezed, end.other) {
            (true, _) => false,
            (false, Some(other)) => self.room(other) >= self.faults.buffer.div_ceil(3),
            (false, None) => true,
        }
    }

    /// Makes an event of room that was waited for.
    pub fn tell_of_room(&mut self, sender: Id) {
        if self.end(sender).wants_room && self.is_there_room(sender) {
            self.end(sender).wants_room = false;
            self.changed(sender);
        }
    }

    /// Lets bytes that are on the way arrive, or if so told by the faults a part of them; then
    /// the end.
    pub fn arrive(&mut self, id: Id) {
        let pieces = self.faults.fragments && self.end(id).owner == Owner::Program;
        let coming = self.end(id).flight.len();
        let count = if pieces && coming > 0 { self.dice.part(coming) } else { coming };
        let end = self.end(id);
        end.inbox.extend(end.flight.drain(..count));
        let ends = end.flight_ends && end.flight.is_empty();
        if ends {
            (end.ended, end.flight_ends) = (true, false);
        }
        if count > 0 || ends {
            self.present(id);
            self.changed(id);
        }
    }

    /// Sends no more.
    pub fn shut(&mut self, id: Id) -> Result<(), IoError> {
        let end = self.end(id);
        assert!(!matches!(end.phase, Phase::Connecting { .. }), "not simulated");
        let is_tcp = !is_unix(end.local);
        let over = is_tcp && (end.phase == Phase::Broken || end.shut && end.ended);
        self.send_end(id);
        // Linux wakes those who wait for this very socket.
        self.changed(id);
        if over { Err(IoError::Reset) } else { Ok(()) }
    }

    fn send_end(&mut self, id: Id) {
        let end = self.end(id);
        if end.shut {
            return;
        }
        end.shut = true;
        if let Some(other) = end.other {
            self.end(other).flight_ends = true;
            self.arrive(other);
        }
    }

    /// Closes an endpoint. The other end sees a reset if so wanted, or if something came that
    /// was not read; else an orderly end.
    pub fn close(&mut self, id: Id, by_reset: bool) {
        let Some(end) = self.ends.get(&id) else { return };
        let unread = !end.inbox.is_empty() || !end.flight.is_empty();
        if let Some(other) = end.other {
            if by_reset || unread {
                self.break_off(other, IoError::Reset);
            } else {
                self.send_end(id);
                let end = self.end(other);
                (end.other, end.squeezed) = (None, false);
                if is_unix(end.local) {
                    // It learns that nobody is left to read, not only that nobody writes.
                    end.shut = true;
                    self.changed(other);
                }
            }
        }
        self.ends.remove(&id);
        self.forget(id);
    }

    /// A connection ends in an error, for the endpoint `id`.
    fn break_off(&mut self, id: Id, error: IoError) {
        let erases = self.faults.reset_erases;
        if self.end(id).deferred.is_some() {
            // It was not accepted, and will not be.
            self.ends.remove(&id);
            return;
        }
        let end = self.end(id);
        end.phase = Phase::Broken;
        end.error = Some(error);
        end.was_reset = true;
        (end.other, end.squeezed, end.flight_ends) = (None, false, false);
        end.flight.clear();
        if erases && end.owner == Owner::Test {
            end.inbox.clear();
        }
        self.changed(id);
    }

    /// What is possible at an endpoint now.
    pub fn mask(&mut self, id: Id) -> Mask {
        let room = self.is_there_room(id);
        let end = self.end(id);
        if let Phase::Connecting { .. } = end.phase {
            let (readable, writable, closed, failed) = (false, false, false, false);
            return Mask { readable, writable, closed, failed, reset: false };
        }
        let broken = end.phase == Phase::Broken;
        let writable = room || end.shut || broken;
        end.wants_room |= !writable;
        let closed = end.ended || broken;
        Mask {
            readable: closed || !end.inbox.is_empty(),
            writable,
            closed,
            failed: broken || end.error.is_some() || end.shut && end.ended,
            reset: end.error.is_some(),
        }
    }
}
