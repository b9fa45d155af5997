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

/// The bytes of an identifier as 32 digits with hyphens between 8, 4, 4, 4 and 12 of them.
fn format_uuid(uuid: [u8; UUID_BYTES]) -> [u8; 36] {
    let [high, low] =
        [0, 8].map(|from| digits(u64::from_be_bytes(std::array::from_fn(|at| uuid[from + at]))));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&high[..8]);
    text[9..13].copy_from_slice(&high[8..12]);
    text[14..18].copy_from_slice(&high[12..]);
    text[19..23].copy_from_slice(&low[..4]);
    text[24..].copy_from_slice(&low[4..]);
    text
}

/// Every other group of so many bits, the lowest one among them.
const fn every_other(bits: u32) -> u128 {
    u128::MAX / ((1 << bits) + 1)
}

/// Groups that are halved one after the other, and which of them stay where they are.
const HALVINGS: [(u32, u128); 4] =
    [(32, every_other(32)), (16, every_other(16)), (8, every_other(8)), (4, every_other(4))];

/// The sixteen digits of a number in base 16, all at once: each digit in a byte of its own, and then the
/// letters lifted above the numerals.
fn digits(number: u64) -> [u8; 16] {
    const SIX: u128 = u128::from_ne_bytes([6; 16]);
    const ONE: u128 = u128::from_ne_bytes([1; 16]);
    const ZERO: u128 = u128::from_ne_bytes([b'0'; 16]);
    let mut digits = u128::from(number);
    for (bits, kept) in HALVINGS {
        digits = (digits | digits << bits) & kept;
    }
    let letters = (digits + SIX) >> 4 & ONE;
    (digits + ZERO + letters * u128::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_base_16() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0x9a00_a9f0] {
            assert_eq!(digits(number), *format!("{number:016x}").as_bytes());
        }
    }

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
