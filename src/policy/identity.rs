//! Whether a response is the answer to the request it came for: the backend's `X-Request-ID`.
//!
//! A response that belongs to another request is the worst that a proxy can deliver. Many backends
//! return the identifier that they were sent. Where one that does returns another, the response is
//! in doubt, and no more than that: a cache returns the identifier of the request that filled it, and
//! not every route returns one. So nothing of it is delivered yet, but the request is sent once more or
//! the connection is read on; where that does not bear the doubt out the response is delivered, and the
//! backend is doubted less from then on.
//!
//! Only identifiers that httplb made are verified: backends clean those of clients, which can
//! also be guessed.

use crate::config::RequestId;
use crate::mem::time::{Micros, Millis};

/// Identifiers that must come back unchanged in a row before a backend is known to echo them.
const ECHOES_AFTER: u32 = 100;
/// By how much that number grows each time that the backend turned out not to echo.
const LESS_TRUST: u32 = 10;
/// The number grows no further than this.
const ECHOES_AFTER_AT_MOST: u32 = 100_000;
/// A connection is read on for so many times the backend's usual time.
const USUAL_TIMES: u64 = 3;
const READ_ON_AT_LEAST: Micros = Micros(100_000);
const READ_ON_AT_MOST: Micros = Micros(1_000_000);

/// The time between two messages about one backend.
const MESSAGES: Millis = Millis(60_000);

/// What is known of one backend's habit of returning identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoSupport {
    habit: Habit,
    /// Identifiers that must come back in a row.
    needed: u32,
    /// Whether an identifier that was sent over a connection before proves whose response it is. Not
    /// with backends that were seen to return old ones.
    old_ids_prove: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// So many identifiers in a row came back, over these connections.
    Learning { in_a_row: u32, over: Over },
    /// The backend echoes.
    Echoes,
}

/// The connections over which identifiers came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    None,
    /// This one.
    One(u64),
    Several,
}

/// The `X-Request-ID` of a response, against the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The field is not there.
    Absent,
    /// It has the value that was sent.
    Same,
    /// It has another value, or several.
    Other,
    /// It has a value that httplb made for another request over the same connection.
    Earlier,
}

/// What of a response tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Names its connection.
    pub connection: u64,
    /// It is the first response of its connection.
    pub fresh: bool,
    /// The identifier that was sent is one that httplb made.
    pub made_here: bool,
    /// Its `X-Request-ID`.
    pub id: Seen,
    /// Its status.
    pub status: u16,
}

/// What [`EchoSupport::judge`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing speaks against the response.
    Match,
    /// It may be another request's: nothing of it may be delivered yet.
    Doubt(Doubt),
    /// It is not to be delivered, and its connection must close.
    Mismatch,
}

/// How much speaks against a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The backend echoes, and did not here.
    Suspect,
    /// It bears the identifier of another request that its connection carried.
    Proof,
}

/// What became of a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response was another request's.
    Proved,
    /// It was the right one.
    Unfounded,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Outcome; 2] = [Outcome::Proved, Outcome::Unfounded];

    /// As the metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Proved => "proved",
            Outcome::Unfounded => "unfounded",
        }
    }
}

impl Default for EchoSupport {
    fn default() -> EchoSupport {
        EchoSupport::after(ECHOES_AFTER)
    }
}

impl EchoSupport {
    /// A backend of which nothing is known; so many identifiers must come back in a row.
    const fn after(needed: u32) -> EchoSupport {
        EchoSupport { habit: Habit::NOTHING, needed, old_ids_prove: true }
    }

    /// As [`EchoSupport::after`], for tests with few requests.
    #[cfg(test)]
    pub const fn quick(needed: u32) -> EchoSupport {
        EchoSupport::after(needed)
    }

    /// A backend that has shown that it echoes.
    #[cfg(test)]
    pub const fn known() -> EchoSupport {
        EchoSupport { habit: Habit::Echoes, ..EchoSupport::after(1) }
    }

    /// Whether the backend returns what it is sent.
    pub const fn echoes(&self) -> bool {
        matches!(self.habit, Habit::Echoes)
    }

    /// Judges a final response, and remembers what it says of its backend.
    ///
    /// What is learned does not depend on `mode`, so that a look at the backend shows it; but without a
    /// doubt none turns out to be unfounded.
    pub fn judge(&mut self, mode: RequestId, observed: Observed) -> Identity {
        match (mode, observed.id) {
            (_, Seen::Same) => {
                self.echoed(observed);
                Identity::Match
            }
            (RequestId::Require, Seen::Absent | Seen::Other | Seen::Earlier) => Identity::Mismatch,
            (RequestId::Auto, Seen::Earlier) if self.old_ids_prove => Identity::Doubt(Doubt::Proof),
            (_, _) if !observed.made_here => Identity::Match,
            (_, _) if observed.fresh => {
                self.did_not_echo();
                Identity::Match
            }
            (RequestId::Auto, Seen::Other | Seen::Earlier) if self.echoes() => {
                Identity::Doubt(Doubt::Suspect)
            }
            (RequestId::Auto, Seen::Absent) if self.echoes() && observed.status < 400 => {
                Identity::Doubt(Doubt::Suspect)
            }
            (RequestId::Auto | RequestId::Off, Seen::Absent | Seen::Other | Seen::Earlier) => {
                self.begin_anew();
                Identity::Match
            }
        }
    }

    /// What became of a doubt now that the same request was answered over a fresh connection, where
    /// nothing can be mixed up.
    pub fn resolve(&mut self, doubt: Doubt, again: Observed) -> Outcome {
        match (doubt, again.id) {
            (_, Seen::Same) => {
                self.echoed(again);
                Outcome::Proved
            }
            // A client's own may have been cleaned, and an error page often bears none.
            (Doubt::Proof, Seen::Absent) => Outcome::Proved,
            (Doubt::Proof, Seen::Other | Seen::Earlier) if !again.made_here => Outcome::Proved,
            (Doubt::Proof, Seen::Other | Seen::Earlier) => {
                self.unfounded();
                self.old_ids_prove = false;
                Outcome::Unfounded
            }
            (Doubt::Suspect, Seen::Absent | Seen::Other | Seen::Earlier) => {
                self.unfounded();
                Outcome::Unfounded
            }
        }
    }

    /// A doubt was unfounded: the backend does not echo always.
    pub fn unfounded(&mut self) {
        self.needed = self.needed.saturating_mul(LESS_TRUST).min(ECHOES_AFTER_AT_MOST);
        self.habit = Habit::NOTHING;
    }

    fn echoed(&mut self, observed: Observed) {
        let Habit::Learning { in_a_row, over } = self.habit else { return };
        if !observed.made_here {
            return;
        }
        let in_a_row = in_a_row.saturating_add(1);
        let over = match over {
            Over::None => Over::One(observed.connection),
            Over::One(connection) if connection == observed.connection => over,
            Over::One(_) | Over::Several => Over::Several,
        };
        if in_a_row >= self.needed && over == Over::Several {
            self.habit = Habit::Echoes;
            self.old_ids_prove = true;
        } else {
            self.habit = Habit::Learning { in_a_row, over };
        }
    }

    fn did_not_echo(&mut self) {
        if self.echoes() { self.unfounded() } else { self.begin_anew() }
    }

    /// The row starts again where it is broken. One that echoes by what is known goes on to.
    fn begin_anew(&mut self) {
        match self.habit {
            Habit::Learning { .. } => self.habit = Habit::NOTHING,
            Habit::Echoes => (),
        }
    }
}

impl Habit {
    const NOTHING: Habit = Habit::Learning { in_a_row: 0, over: Over::None };
}

/// How long a connection is read on for the right response, of a backend with this usual time.
pub fn read_on_for(usual: Micros) -> Micros {
    Micros(usual.0.saturating_mul(USUAL_TIMES)).clamp(READ_ON_AT_LEAST, READ_ON_AT_MOST)
}

/// The identifiers that httplb made for the last requests of one connection, so much of each as tells
/// them apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentIds {
    marks: [u64; SentIds::KEPT],
    digests: [u64; SentIds::KEPT],
    next: u8,
}

/// What is known of a request by its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whether the request was a HEAD: the response to that has no body.
    pub is_head: bool,
    /// The client, and what it asked for.
    pub digest: RequestDigest,
}

/// A keyed hash of a client and what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDigest(pub u64);

impl RequestDigest {
    /// Nobody needs to know: such a request is asked again where its response is in doubt.
    pub const UNKNOWN: RequestDigest = RequestDigest(0);

    /// Whether both are the same, as far as that is known.
    pub fn is_that_of(self, other: RequestDigest) -> bool {
        self != RequestDigest::UNKNOWN && self == other
    }
}

impl SentIds {
    const KEPT: usize = 16;

    /// Notes one more.
    pub fn add(&mut self, id: &[u8], sent: Sent) {
        self.marks[usize::from(self.next)] = mark(id) | u64::from(sent.is_head);
        self.digests[usize::from(self.next)] = sent.digest.0;
        self.next = (self.next + 1) % SentIds::KEPT as u8;
    }

    /// What is known of the request with `id`, if it is among them.
    pub fn find(&self, id: &[u8]) -> Option<Sent> {
        let wanted = mark(id);
        let is_it = |known: &u64| wanted != 0 && known & !1 == wanted;
        let at = self.marks.iter().position(is_it)?;
        Some(Sent { is_head: self.marks[at] & 1 == 1, digest: RequestDigest(self.digests[at]) })
    }
}

/// Identifiers of requests that were sent over a connection and given up since.
#[derive(Clone, Copy, Debug, Default)]
pub struct AbandonedIds {
    marks: [u64; AbandonedIds::KEPT],
    count: u8,
}

impl AbandonedIds {
    const KEPT: usize = 16;

    /// Notes one more. `false`: there is no room for it, or httplb has not made it.
    pub fn add(&mut self, id: &[u8]) -> bool {
        let mark = mark(id);
        let free = self.marks.iter_mut().find(|known| **known == 0 && mark != 0);
        let Some(free) = free else { return false };
        *free = mark;
        self.count += 1;
        true
    }

    /// Whether `id` is among them.
    pub fn has(&self, id: &[u8]) -> bool {
        let mark = mark(id);
        mark != 0 && self.marks.contains(&mark)
    }

    /// Whether `id` is among them; it is not any more then.
    pub fn remove(&mut self, id: &[u8]) -> bool {
        let mark = mark(id);
        let known = self.marks.iter_mut().find(|known| **known == mark && mark != 0);
        let Some(known) = known else { return false };
        *known = 0;
        self.count -= 1;
        true
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Nearly 64 of the 122 random bits of a UUID: the digits at its front, and those at its end. 0 for
/// anything that has not its length. The lowest bit is free.
fn mark(id: &[u8]) -> u64 {
    let (Some(front), Some(back)) = (id.first_chunk::<8>(), id.last_chunk::<8>()) else { return 0 };
    if id.len() != 36 {
        return 0;
    }
    let (front, back) = (u64::from_ne_bytes(*front), u64::from_ne_bytes(*back));
    // Odd factors, so that nothing of either is lost.
    let back = back.wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(32);
    (front.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ back) & !1
}

/// When the operator is told of the responses of one backend that were another request's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    last: Option<Millis>,
    unreported: u64,
}

impl Telling {
    /// Counts one more such response. Returns how many the operator is to be told of now, those before this one
    /// included.
    pub fn add(&mut self, now: Millis) -> Option<u64> {
        self.unreported += 1;
        if self.last.is_some_and(|last| now < last + MESSAGES) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
