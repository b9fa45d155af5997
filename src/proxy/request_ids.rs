//! Request identifiers: UUIDs of version 4 (RFC 9562 §5.4), their randomness fetched in bulk.

use crate::sys::random;

/// Bytes of randomness fetched at once: one system call for 256 requests.
const BULK: usize = 4096;
const UUID_BYTES: usize = 16;

/// Makes identifiers.
pub struct RequestIds {
    random: [u8; BULK],
    used: usize,
}

impl RequestIds {
    /// A source that fetches its first randomness when it is first asked.
    pub fn new() -> RequestIds {
        RequestIds { random: [0; BULK], used: BULK }
    }

    /// The next identifier, in the usual 36 characters.
    pub fn make(&mut self) -> [u8; 36] {
        if self.used == BULK {
            random::fill(&mut self.random);
            self.used = 0;
        }
        let mut uuid = [0; UUID_BYTES];
        uuid.copy_from_slice(&self.random[self.used..self.used + UUID_BYTES]);
        self.used += UUID_BYTES;
        uuid[6] = uuid[6] & 0x0f | 0x40; // version 4
        uuid[8] = uuid[8] & 0x3f | 0x80; // variant 10
        format_uuid(uuid)
    }
}

impl Default for RequestIds {
    fn default() -> RequestIds {
        RequestIds::new()
    }
}

fn format_uuid(uuid: [u8; UUID_BYTES]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut place = 0;
    for (index, byte) in uuid.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            place += 1;
        }
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 15)];
        place += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_uuids_of_version_4_and_differ() {
        let mut ids = RequestIds::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = ids.make();
            assert_eq!([8, 13, 18, 23].map(|place| id[place]), *b"----");
            assert_eq!(id[14], b'4');
            assert!(b"89ab".contains(&id[19]));
            assert!(seen.insert(id), "the same identifier twice");
        }
    }
}
