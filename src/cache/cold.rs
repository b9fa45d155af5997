//! What of a file is in memory, and what is to be read first.
//!
//! A file makes the process that reads or sends it wait where its pages are not in memory, and with it all
//! its clients. So only what is there is read and sent; the rest the disk is asked for, and the exchange
//! that wants it looks again a little later. Asking does not wait.

use crate::mem::time::Micros;
use crate::sys::IoError;

use super::checksum::Checksum;
use super::in_memory::{DiskRead, InMemory, WINDOW};
use super::open_entries::{EntryId, PIECE, Verified};
use super::store::{Store, Verdict};

/// Bytes of a body whose pages are looked for at once, before they are sent.
const SENT_AT_ONCE: u64 = 1 << 20;

impl Store {
    /// Reads up to `limit` bytes of a body that was not verified yet.
    pub fn verify(&mut self, id: EntryId, limit: usize, now: Micros, reading: DiskRead) -> Verdict {
        let open_entry = self.open_entries.get(id);
        let (Some((file, body_at, _)), Verified::UpTo(number, done, sum)) =
            (&open_entry.file, &open_entry.verified)
        else {
            return Verdict::Right;
        };
        let (mut number, mut done, mut sum) = (*number, *done, sum.clone());
        let (mut in_memory, mut left) = (open_entry.in_memory, limit as u64);
        let mut room = [0; PIECE];
        while let Some(segment) = open_entry.segment(number) {
            while done < segment.part.len() && left > 0 {
                let at = segment.part.first + done;
                in_memory.read_on((file, *body_at, open_entry.entry.body_len), at);
                let most = (segment.part.len() - done).min(left).min(PIECE as u64) as usize;
                match reading.read((file, *body_at), &mut room[..most], at) {
                    Ok(count) if count > 0 => {
                        sum.write(&room[..count]);
                        (done, left) = (done + count as u64, left - count as u64);
                    }
                    Err(IoError::WouldBlock) => {
                        in_memory.ask((file, *body_at), at, now);
                        let has_moved = left < limit as u64;
                        self.verified(id, Verified::UpTo(number, done, sum), in_memory);
                        return if has_moved { Verdict::Pending } else { Verdict::Cold };
                    }
                    Ok(_) | Err(_) => return self.is_damaged(id),
                }
            }
            if done < segment.part.len() {
                self.verified(id, Verified::UpTo(number, done, sum), in_memory);
                return Verdict::Pending;
            }
            if sum.finish() != segment.sum {
                return self.is_damaged(id);
            }
            in_memory.note(segment.part.first, segment.part.first + done, now);
            (number, done, sum) = (number + 1, 0, Checksum::new());
        }
        self.verified(id, Verified::Whole, in_memory);
        Verdict::Right
    }

    fn verified(&mut self, id: EntryId, verified: Verified, in_memory: InMemory) {
        let open_entry = self.open_entries.get_mut(id);
        (open_entry.verified, open_entry.in_memory) = (verified, in_memory);
    }

    /// How many bytes of a body in a file can be sent from `at` on without waiting for the disk, of the next
    /// `len`; `None` if that is none, and they are read ahead.
    pub fn at_once(&mut self, id: EntryId, at: u64, len: u64, now: Micros) -> Option<u64> {
        let open_entry = self.open_entries.get_mut(id);
        let body_len = open_entry.entry.body_len;
        let Some((file, body_at, _)) = &open_entry.file else { return Some(len) };
        let (in_memory, body_at) = (&mut open_entry.in_memory, *body_at);
        let wanted = len.min(SENT_AT_ONCE);
        if in_memory.is_known(at, at + wanted, now) {
            return Some(wanted);
        }
        let is_there = |at: u64| file.read_now(&mut [0], body_at + at) != Err(IoError::WouldBlock);
        // Pages come and go in the order in which they lie there: those at both ends tell of the others.
        let is_between = |len: u64| is_there(at + len - 1) && is_there(at);
        let found = [wanted, wanted.min(WINDOW)].into_iter().find(|len| is_between(*len));
        let Some(found) = found else {
            in_memory.ask((file, body_at), at, now);
            return None;
        };
        in_memory.note(at, at + found, now);
        in_memory.read_on((file, body_at, body_len), at + found);
        Some(found)
    }
}

impl Store {
    /// Has the next bytes of a body in memory, and waits for that. Returns how many of the next `len` they are.
    pub fn read_in(&mut self, id: EntryId, at: u64, len: u64) -> u64 {
        let open_entry = self.open_entries.get(id);
        let Some((file, body_at, _)) = &open_entry.file else { return len };
        let least = len.min(WINDOW);
        let (mut room, mut done) = ([0; PIECE], 0);
        while done < least {
            match file.read_at(&mut room, body_at + at + done) {
                Ok(count) if count > 0 => done += count as u64,
                Ok(_) | Err(_) => break, // Who sends it is told so, too.
            }
        }
        least
    }
}

#[cfg(test)]
#[path = "cold_tests.rs"]
mod tests;
