//! One connection of an operator: bytes in, requests out, answers back, each phase within its time.
//!
//! ```text
//! Reading → Writing → Reading … → Lingering → closed
//!    └→ Waiting ─↑      (for the outcome of a reload, or the end of a purge)
//! ```

use crate::http::Refusal;
use crate::mem::time::Micros;
use crate::sys::{Event, IoError, Socket, clock};

use super::answer::ApiResponse;
use super::cache::PurgeId;
use super::fleet::ChangeId;
use super::request_parser::{After, ApiRequest, RequestParser, Taken};

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
/// That the registry has a change: longer than that is waited for.
const CHANGE_TIME: Micros = Micros::from_secs(10);
/// The other side may take so long to end after our end.
const LINGER_TIME: Micros = Micros::from_secs(2);
/// So many bytes are read to nobody's use, at most, before a connection is broken off.
const LINGER_BYTES: usize = 256 * 1024;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// The outcome of a reload.
    Reload,
    /// The end of a purge.
    Purge(PurgeId),
    /// That the registry has a change.
    Change(ChangeId),
}

impl Pending {
    /// How long at most.
    fn patience(self) -> Micros {
        match self {
            Pending::Reload => RELOAD_TIME,
            Pending::Purge(_) => PURGE_TIME,
            Pending::Change(_) => CHANGE_TIME,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    Reading,
    /// It is not known yet what comes of the request.
    Waiting(After, Pending),
    Writing(After),
    /// Our side is ended; so many bytes were read since.
    Lingering(usize),
}

/// One connection.
pub(super) struct Connection {
    socket: Socket,
    parser: RequestParser,
    /// What is not sent yet.
    pub(super) output: Output,
    readable: bool,
    writable: bool,
    pub(super) phase: ConnectionPhase,
    /// When what it does now began: the wait for a request, the request, the answer.
    pub(super) since: Micros,
    /// When it is given up, unless something happens.
    pub(super) until: Micros,
    /// Whether it has had a request: who has just come is about to send one.
    pub(super) has_asked: bool,
}

/// What is to be sent: a head, and a body behind it.
#[derive(Default)]
pub(super) struct Output {
    head: Vec<u8>,
    body: String,
    sent: usize,
}

impl Output {
    /// What is not sent yet.
    fn rest(&self) -> [&[u8]; 2] {
        let body = self.body.as_bytes();
        match self.head.get(self.sent..) {
            Some(head) => [head, body],
            None => [&body[self.sent - self.head.len()..], &[]],
        }
    }

    /// How many bytes that is.
    pub(super) fn len(&self) -> usize {
        self.rest().into_iter().map(<[u8]>::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a step of a connection ended.
pub(super) enum Step {
    /// It waits for an event.
    Blocked,
    /// It is over.
    Over,
    /// There is a request to answer.
    Asked(ApiRequest),
}

/// Who makes room first for another when all slots are taken: of these, the one that has been so for
/// longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has had its answers, and asks for nothing now.
    Idle,
    /// A request of which the rest is missing, perhaps all of it, or an answer that is not read.
    Unfinished,
    /// It waits for us.
    Waiting,
}

impl Connection {
    /// One that has just come.
    pub(super) fn new(socket: Socket, now: Micros) -> Connection {
        Connection {
            socket,
            parser: RequestParser::default(),
            output: Output::default(),
            readable: true,
            writable: true,
            phase: ConnectionPhase::Reading,
            since: now,
            until: now + REQUEST_TIME,
            has_asked: false,
        }
    }

    /// Notes an event of its socket.
    pub(super) fn event(&mut self, event: Event) {
        self.readable |= event.readable || event.closed || event.failed;
        self.writable |= event.writable || event.failed;
    }

    /// Looks anew whether something has come.
    pub(super) fn look_again(&mut self) {
        self.readable = true;
    }

    /// Whether no request is here, not even a part.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == ConnectionPhase::Reading && !self.parser.has_begun() && !self.readable
    }

    /// How readily it makes room. `None`: not before its next turn, for a request may have come whole,
    /// or an answer was not sent yet.
    pub(super) fn rank(&self) -> Option<Rank> {
        match self.phase {
            ConnectionPhase::Reading if self.readable => None,
            ConnectionPhase::Writing(_) if self.writable => None,
            ConnectionPhase::Reading if self.has_asked && self.is_idle() => Some(Rank::Idle),
            ConnectionPhase::Lingering(_) => Some(Rank::Idle),
            ConnectionPhase::Reading | ConnectionPhase::Writing(_) => Some(Rank::Unfinished),
            ConnectionPhase::Waiting(..) => Some(Rank::Waiting),
        }
    }

    /// Whether its time is up in the middle of a request.
    pub(super) fn is_late_request(&self) -> bool {
        self.phase == ConnectionPhase::Reading && self.parser.has_begun()
    }

    /// It waits for what comes of its request.
    pub(super) fn wait(&mut self, after: After, awaited: Pending, now: Micros) {
        self.phase = ConnectionPhase::Waiting(after, awaited);
        self.since = now;
        self.until = now + awaited.patience();
    }

    /// Goes on until it blocks or a request is whole.
    pub(super) fn step(&mut self, now: Micros) -> Step {
        loop {
            if !self.flush(now) {
                return Step::Over;
            }
            let is_flushed = self.output.is_empty();
            match self.phase {
                ConnectionPhase::Waiting(..) => return Step::Blocked,
                ConnectionPhase::Writing(_) if !is_flushed => return Step::Blocked,
                ConnectionPhase::Writing(After::Close) => {
                    if self.socket.shutdown_write().is_err() {
                        return Step::Over;
                    }
                    self.phase = ConnectionPhase::Lingering(0);
                    self.until = now + LINGER_TIME;
                }
                ConnectionPhase::Writing(After::Keep | After::KeepAndSay) => {
                    self.phase = ConnectionPhase::Reading;
                    let patience = if self.parser.has_begun() { REQUEST_TIME } else { IDLE_TIME };
                    self.since = now;
                    self.until = now + patience;
                    self.parser.rest();
                }
                ConnectionPhase::Lingering(read) => match self.receive_to_nobody(read) {
                    Some(step) => return step,
                    None => continue,
                },
                ConnectionPhase::Reading => match self.parser.take() {
                    Taken::Whole(request) => return Step::Asked(request),
                    Taken::Refused(refusal) => self.refuse(refusal, now),
                    // A client that sends nothing until it hears this reads it too.
                    Taken::Continue if is_flushed => {
                        self.output.head.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
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
        let room = self.parser.room().min(bytes.len());
        match self.socket.receive([&mut bytes[..room], &mut []]) {
            // Half a request is nobody's.
            Ok(0) => Some(Step::Over),
            Ok(count) => {
                if !self.parser.has_begun() {
                    self.since = now;
                    self.until = now + REQUEST_TIME;
                }
                self.parser.add(&bytes[..count]);
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
                self.phase = ConnectionPhase::Lingering(read + count);
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
        while self.writable && !self.output.is_empty() {
            match self.socket.send(self.output.rest()) {
                Ok(count) => {
                    self.output.sent += count;
                    if matches!(self.phase, ConnectionPhase::Writing(_)) {
                        self.until = now + SEND_TIME;
                    }
                }
                Err(IoError::WouldBlock) => self.writable = false,
                Err(_) => return false,
            }
        }
        if self.output.is_empty() {
            self.output = Output::default();
        }
        true
    }

    /// Answers what cannot be answered in any other way.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Micros) {
        self.say(ApiResponse::refusal(refusal), After::Close, false, now);
    }

    /// Answers its request. To HEAD, `head_only`, without the body.
    pub(super) fn say(&mut self, answer: ApiResponse, after: After, head_only: bool, now: Micros) {
        self.output.head.extend_from_slice(answer.head(after, clock::wall()).as_bytes());
        if !head_only {
            self.output.body = answer.body;
        }
        self.phase = ConnectionPhase::Writing(after);
        self.since = now;
        self.until = now + SEND_TIME;
        // A short one is not to be broken off because others do not read long ones. What fails here
        // fails once more with the next step, which ends it.
        self.flush(now);
    }
}
