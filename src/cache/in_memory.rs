//! Which bytes of a body are in memory, as far as that is known, and which the disk was asked for.

use crate::mem::time::Micros;
use crate::sys::{File, IoError};

/// Bytes that the disk is asked to read ahead at once. If very many exchanges ask for more than that, the
/// asking itself makes the process wait.
pub const WINDOW: u64 = 256 * 1024;
/// How long bytes that were seen in memory are taken to be there still.
const STAYS: Micros = Micros::from_secs(1);

/// The disk is asked again for bytes that have not come this long after it was asked first.
const ASKED_AGAIN: Micros = Micros(100_000);

/// Whether what is not in memory is waited for, with the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRead {
    /// The process waits, for as long as the disk takes.
    Waits,
    /// The process does not wait: the disk is asked to read ahead.
    Ahead,
}

impl DiskRead {
    /// Reads what a body has from `at` on, as far as there is room.
    pub fn read(
        self,
        (file, body_at): (&File, u64),
        room: &mut [u8],
        at: u64,
    ) -> Result<usize, IoError> {
        match self {
            DiskRead::Waits => file.read_at(room, body_at + at),
            DiskRead::Ahead => file.read_now(room, body_at + at),
        }
    }
}

/// What is known of the pages of a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct InMemory {
    /// The first byte of the range that was seen in memory.
    from: u64,
    /// The byte behind that range.
    to: u64,
    /// When the range was seen there.
    seen: Micros,
    /// The first byte that the disk was asked to read ahead, if it was asked at all.
    asked_from: u64,
    /// The byte behind the last one that the disk was asked for.
    asked_to: u64,
    /// When the disk was asked, for `asked_from` on.
    asked_at: Micros,
}

impl InMemory {
    /// Whether the bytes `from..to` were seen in memory less than [`STAYS`] ago.
    pub fn is_known(&self, from: u64, to: u64, now: Micros) -> bool {
        self.from <= from && to <= self.to && now.0.saturating_sub(self.seen.0) < STAYS.0
    }

    /// Notes that the bytes `from..to` are in memory.
    pub fn note(&mut self, from: u64, to: u64, now: Micros) {
        let is_old = now.0.saturating_sub(self.seen.0) >= STAYS.0;
        if is_old || from > self.to || to < self.from {
            (self.from, self.to, self.seen) = (from, to, now);
        } else {
            (self.from, self.to) = (self.from.min(from), self.to.max(to));
        }
    }

    /// Asks the disk for what a body has from `from` on, unless that was done just now.
    pub fn ask(&mut self, (file, body_at): (&File, u64), from: u64, now: Micros) {
        let is_old = now.0.saturating_sub(self.asked_at.0) >= ASKED_AGAIN.0;
        if is_old || !(self.asked_from..self.asked_to).contains(&from) {
            file.read_ahead(body_at + from, WINDOW);
            (self.asked_from, self.asked_to, self.asked_at) = (from, from + WINDOW, now);
        }
    }

    /// Has a body read on of which the bytes up to `needed` are there, if the disk was asked for those: so
    /// that it is not waited for window by window.
    pub fn read_on(&mut self, (file, body_at, body_len): (&File, u64, u64), needed: u64) {
        let is_near = (self.asked_from..=self.asked_to).contains(&needed);
        if is_near && needed + WINDOW / 2 > self.asked_to && self.asked_to < body_len {
            file.read_ahead(body_at + self.asked_to, WINDOW);
            self.asked_to += WINDOW;
        }
    }
}

/// Reads what a file of that length begins with, as much as there is room for. `WouldBlock`: not all of that is
/// in memory, and it is read ahead.
pub fn read_front(
    file: &File,
    len: u64,
    room: &mut [u8],
    reading: DiskRead,
) -> Result<usize, IoError> {
    if reading == DiskRead::Waits {
        return file.read_at(room, 0);
    }
    let most = usize::try_from(len).unwrap_or(usize::MAX).min(room.len());
    match file.read_now(&mut room[..most], 0) {
        Ok(count) if count == most => Ok(count),
        Ok(_) | Err(IoError::WouldBlock) => {
            file.read_ahead(0, most as u64);
            Err(IoError::WouldBlock)
        }
        Err(error) => Err(error),
    }
}
