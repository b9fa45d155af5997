//! XXH64: a checksum that finds what a disk or a program has damaged. It is no protection against those
//! who damage on purpose, for whoever may write to the directory may write whole entries.
//!
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// Bytes that are mixed in at once.
const STRIPE: usize = 32;

/// A checksum that is being fed. Where the bytes were cut makes no difference.
#[derive(Clone, Debug)]
pub struct Checksum {
    lanes: [u64; 4],
    /// What does not fill a stripe yet.
    tail: [u8; STRIPE],
    len: u64,
}

impl Checksum {
    /// Of nothing so far.
    pub fn new() -> Checksum {
        let [first, second, ..] = PRIMES;
        let lanes = [first.wrapping_add(second), second, 0, 0_u64.wrapping_sub(first)];
        Checksum { lanes, tail: [0; STRIPE], len: 0 }
    }

    /// Of `bytes` alone.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut checksum = Checksum::new();
        checksum.write(bytes);
        checksum.finish()
    }

    /// Takes in `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        let waiting = (self.len % STRIPE as u64) as usize;
        self.len += bytes.len() as u64;
        if waiting > 0 {
            let (front, behind) = rest.split_at(rest.len().min(STRIPE - waiting));
            self.tail[waiting..waiting + front.len()].copy_from_slice(front);
            if waiting + front.len() < STRIPE {
                return;
            }
            let stripe = self.tail;
            self.mix(&stripe);
            rest = behind;
        }
        while let Some((stripe, behind)) = rest.split_first_chunk::<STRIPE>() {
            self.mix(stripe);
            rest = behind;
        }
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    fn mix(&mut self, stripe: &[u8; STRIPE]) {
        let mut rest = &stripe[..];
        for lane in &mut self.lanes {
            let Some((word, behind)) = rest.split_first_chunk::<8>() else { return };
            *lane = round(*lane, u64::from_le_bytes(*word));
            rest = behind;
        }
    }

    /// The checksum of all that was taken in.
    pub fn finish(&self) -> u64 {
        let [prime_1, prime_2, prime_3, prime_4, prime_5] = PRIMES;
        let mut sum = if self.len < STRIPE as u64 {
            prime_5
        } else {
            let rotations = [1, 7, 12, 18];
            let rotated = self.lanes.iter().zip(rotations).map(|(lane, by)| lane.rotate_left(by));
            let mut sum = rotated.fold(0, u64::wrapping_add);
            for lane in self.lanes {
                sum = (sum ^ round(0, lane)).wrapping_mul(prime_1).wrapping_add(prime_4);
            }
            sum
        };
        sum = sum.wrapping_add(self.len);
        let mut rest = &self.tail[..(self.len % STRIPE as u64) as usize];
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            let mixed = sum ^ round(0, u64::from_le_bytes(*word));
            sum = mixed.rotate_left(27).wrapping_mul(prime_1).wrapping_add(prime_4);
            rest = behind;
        }
        if let Some((word, behind)) = rest.split_first_chunk::<4>() {
            let mixed = sum ^ u64::from(u32::from_le_bytes(*word)).wrapping_mul(prime_1);
            sum = mixed.rotate_left(23).wrapping_mul(prime_2).wrapping_add(prime_3);
            rest = behind;
        }
        for byte in rest {
            let mixed = sum ^ u64::from(*byte).wrapping_mul(prime_5);
            sum = mixed.rotate_left(11).wrapping_mul(prime_1);
        }
        sum = (sum ^ (sum >> 33)).wrapping_mul(prime_2);
        sum = (sum ^ (sum >> 29)).wrapping_mul(prime_3);
        sum ^ (sum >> 32)
    }
}

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum::new()
    }
}

fn round(lane: u64, word: u64) -> u64 {
    let [prime_1, prime_2, ..] = PRIMES;
    lane.wrapping_add(word.wrapping_mul(prime_2)).rotate_left(31).wrapping_mul(prime_1)
}

#[cfg(test)]
mod tests {
    use super::Checksum;

    #[test]
    fn the_known_sums_come_out() {
        for (text, sum) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("abc", 0x44bc_2cf5_ad77_0999),
            ("Nobody inspects the spammish repetition", 0xfbce_a83c_8a37_8bf1),
        ] {
            assert_eq!(Checksum::of(text.as_bytes()), sum, "{text}");
        }
    }

    #[test]
    fn the_cuts_make_no_difference() {
        let bytes: Vec<u8> = (0..150_u8).map(|byte| byte.wrapping_mul(37)).collect();
        for first in 0..bytes.len() {
            for second in (first..bytes.len()).step_by(3) {
                let mut checksum = Checksum::new();
                checksum.write(&bytes[..first]);
                checksum.write(&bytes[first..second]);
                checksum.write(&bytes[second..]);
                assert_eq!(checksum.finish(), Checksum::of(&bytes), "{first} {second}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_or_a_missing_byte_is_seen() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = Checksum::of(&bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_ne!(Checksum::of(&flipped), whole);
            }
            assert_ne!(Checksum::of(&bytes[..at]), whole);
        }
    }
}
