//! SipHash-2-4, a keyed hash: who does not know the key can neither guess nor collide what it gives.
//! J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", and its variant of 128 bits.

use crate::mem::Append;

/// The secret of a hash.
pub type SipKey = [u8; 16];

/// A hash that is being fed. Where the bytes were cut makes no difference.
#[derive(Clone, Debug)]
pub struct SipHasher {
    v: [u64; 4],
    /// The bytes that do not fill a word yet, the first one lowest.
    tail: u64,
    len: u64,
}

impl SipHasher {
    /// For [`SipHasher::finish_64`].
    pub fn new_64(key: &SipKey) -> SipHasher {
        let word = |at: usize| {
            let bytes = key[at..at + 8].iter().rev();
            bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
        };
        let (k0, k1) = (word(0), word(8));
        SipHasher {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            len: 0,
        }
    }

    /// For [`SipHasher::finish_128`].
    pub fn new_128(key: &SipKey) -> SipHasher {
        let mut hasher = SipHasher::new_64(key);
        hasher.v[1] ^= 0xee;
        hasher
    }

    /// Takes in `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.len % 8 != 0 {
            let missing = 8 - (self.len % 8) as usize;
            let (front, behind) = rest.split_at(missing.min(rest.len()));
            self.add_to_tail(front);
            rest = behind;
        }
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            self.compress(u64::from_le_bytes(*word));
            self.len += 8;
            rest = behind;
        }
        self.add_to_tail(rest);
    }

    fn add_to_tail(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.tail |= u64::from(byte) << (8 * (self.len % 8));
            self.len += 1;
            if self.len % 8 == 0 {
                let word = std::mem::take(&mut self.tail);
                self.compress(word);
            }
        }
    }

    fn compress(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds(2);
        self.v[0] ^= word;
    }

    fn rounds(&mut self, count: u32) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        for _ in 0..count {
            v0 = v0.wrapping_add(v1);
            v1 = v1.rotate_left(13) ^ v0;
            v0 = v0.rotate_left(32);
            v2 = v2.wrapping_add(v3);
            v3 = v3.rotate_left(16) ^ v2;
            v0 = v0.wrapping_add(v3);
            v3 = v3.rotate_left(21) ^ v0;
            v2 = v2.wrapping_add(v1);
            v1 = v1.rotate_left(17) ^ v2;
            v2 = v2.rotate_left(32);
        }
        self.v = [v0, v1, v2, v3];
    }

    fn fold(&self) -> u64 {
        self.v.iter().fold(0, |folded, word| folded ^ word)
    }

    fn end(&mut self, mark: u64) -> u64 {
        self.compress(self.tail | self.len << 56);
        self.v[2] ^= mark;
        self.rounds(4);
        self.fold()
    }

    /// The hash of a hasher that [`SipHasher::new_64`] made.
    pub fn finish_64(mut self) -> u64 {
        self.end(0xff)
    }

    /// The hash of a hasher that [`SipHasher::new_128`] made; its bytes, the lowest first, are those
    /// of the reference.
    pub fn finish_128(mut self) -> u128 {
        let low = self.end(0xee);
        self.v[1] ^= 0xdd;
        self.rounds(4);
        u128::from(self.fold()) << 64 | u128::from(low)
    }
}

impl Append for SipHasher {
    fn append(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the messages of the reference: 0, 1, 2 and so on.
    const KEY: SipKey = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn message(len: u8) -> Vec<u8> {
        (0..len).collect()
    }

    fn hash_64(message: &[u8]) -> [u8; 8] {
        let mut hasher = SipHasher::new_64(&KEY);
        hasher.write(message);
        hasher.finish_64().to_le_bytes()
    }

    fn hash_128(message: &[u8]) -> u128 {
        let mut hasher = SipHasher::new_128(&KEY);
        hasher.write(message);
        hasher.finish_128()
    }

    #[test]
    fn the_vectors_of_the_paper_and_the_reference_hold() {
        let vectors_64: [(u8, [u8; 8]); 5] = [
            (0, [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]),
            (1, [0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74]),
            (2, [0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d]),
            (3, [0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85]),
            (15, 0xa129_ca61_49be_45e5_u64.to_le_bytes()), // appendix A of the paper
        ];
        for (len, expected) in vectors_64 {
            assert_eq!(hash_64(&message(len)), expected, "{len}");
        }
        let vectors_128: [(u8, [u8; 16]); 4] = [
            (0, 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128.to_be_bytes()),
            (1, 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45_u128.to_be_bytes()),
            (2, 0x8177_228d_a4a4_5dc7_fca3_8bde_f60a_ffe4_u128.to_be_bytes()),
            (63, 0x5150_d177_2f50_834a_503e_069a_973f_bd7c_u128.to_be_bytes()),
        ];
        for (len, expected) in vectors_128 {
            assert_eq!(hash_128(&message(len)).to_le_bytes(), expected, "{len}");
        }
    }

    #[test]
    fn the_cuts_make_no_difference() {
        let message = message(41);
        for first in 0..message.len() {
            for second in first..message.len() {
                let mut hasher = SipHasher::new_128(&KEY);
                hasher.write(&message[..first]);
                hasher.write(&message[first..second]);
                hasher.write(&message[second..]);
                assert_eq!(hasher.finish_128(), hash_128(&message), "{first} {second}");
            }
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        let mut other = KEY;
        other[15] ^= 1;
        let mut hasher = SipHasher::new_64(&other);
        hasher.write(b"a");
        assert_ne!(hasher.finish_64().to_le_bytes(), hash_64(b"a"));
    }
}
