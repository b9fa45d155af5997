//! This worker's part in the diary: what it writes there, and what it must remember until then.

use crate::mem::time::Micros;
use crate::proxy::ids::ExchangeId;
use crate::shared::diary::Diary;

/// Failures that are kept in a second: in a storm of failures the rest would cost time and tell no more.
const A_SECOND: u32 = 1000;
/// Bytes that are kept of a malformed response.
const ANSWER: usize = 64;
/// Malformed responses that are kept at once, until their requests are over.
const ANSWERS: usize = 8;

/// This worker's part in the diary.
pub struct DiaryWriter {
    pub diary: Diary,
    /// The line that is being written.
    pub line: Vec<u8>,
    /// A request that took longer than this may be one of the slowest.
    pub slow_from: Micros,
    /// A second, and how many failures were kept in it.
    second: (u64, u32),
    /// What came for requests instead of a response, the oldest at `next`.
    answers: [MalformedAnswer; ANSWERS],
    next: usize,
}

/// The first bytes of what came for a request.
#[derive(Clone, Copy)]
struct MalformedAnswer {
    /// The request.
    of: Option<ExchangeId>,
    bytes: [u8; ANSWER],
    len: usize,
}

impl DiaryWriter {
    /// Writes into this one.
    pub fn new(diary: Diary) -> DiaryWriter {
        let none = MalformedAnswer { of: None, bytes: [0; ANSWER], len: 0 };
        DiaryWriter {
            diary,
            line: Vec::with_capacity(2 * diary.capacity()),
            slow_from: Micros(0),
            second: (0, 0),
            answers: [none; ANSWERS],
            next: 0,
        }
    }

    /// The first bytes of what came for a request, if it was no response.
    pub fn answer(&self, id: ExchangeId) -> &[u8] {
        let found = self.answers.iter().find(|answer| answer.of == Some(id));
        found.map_or(&[], |answer| &answer.bytes[..answer.len])
    }

    /// Remembers the first bytes of what came for a request.
    pub fn note_answer<'a>(&mut self, id: ExchangeId, bytes: impl Iterator<Item = &'a u8>) {
        let answer = &mut self.answers[self.next];
        answer.of = Some(id);
        answer.len = 0;
        for (place, byte) in answer.bytes.iter_mut().zip(bytes) {
            *place = *byte;
            answer.len += 1;
        }
        self.next = (self.next + 1) % ANSWERS;
    }

    /// Whether one more failure may be kept in this second.
    pub fn may_keep(&mut self, now: Micros) -> bool {
        let second = now.0 / 1_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.second.1 <= A_SECOND
    }
}
