//! SipHash-2-4: a hash that says nothing of what it was made from to who lacks the key.
//!
//! By J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", 2012. The numbers in
//! comments are those of its sections.

/// Hashes `message` with `key`.
pub fn hash(key: &[u8; 16], message: &[u8]) -> u64 {
    let (low, high) = key.split_at(8);
    let mut state = State::new(word(low), word(high));
    let mut words = message.chunks_exact(8);
    for bytes in &mut words {
        state.take_in(word(bytes));
    }
    // 2.2: the last word has the length, modulo 256, in its highest byte.
    state.take_in(word(words.remainder()) | (message.len() as u64) << 56);
    state.finish()
}

/// Up to eight bytes, the lowest first.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

struct State([u64; 4]);

impl State {
    /// 2.1: initialization.
    fn new(low: u64, high: u64) -> State {
        State([
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ])
    }

    /// 2.2: compression, of two rounds.
    fn take_in(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    /// 2.3: finalization, of four rounds.
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.0.into_iter().fold(0, |hash, part| hash ^ part)
    }

    /// 2.4: additions, rotations, exclusive ors.
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// The hashes of no byte, of 0, of 0 1, and so on, with the key 0 1 ... 15: vectors.h of the
    /// reference implementation, read as numbers.
    const VECTORS: [u64; 64] = [
        0x726f_db47_dd0e_0e31,
        0x74f8_39c5_93dc_67fd,
        0x0d6c_8009_d9a9_4f5a,
        0x8567_6696_d7fb_7e2d,
        0xcf27_94e0_2771_87b7,
        0x1876_5564_cd99_a68d,
        0xcbc9_466e_58fe_e3ce,
        0xab02_00f5_8b01_d137,
        0x93f5_f579_9a93_2462,
        0x9e00_82df_0ba9_e4b0,
        0x7a5d_bbc5_94dd_b9f3,
        0xf4b3_2f46_226b_ada7,
        0x751e_8fbc_860e_e5fb,
        0x14ea_5627_c084_3d90,
        0xf723_ca90_8e7a_f2ee,
        0xa129_ca61_49be_45e5,
        0x3f2a_cc7f_57c2_9bdb,
        0x699a_e9f5_2cbe_4794,
        0x4bc1_b3f0_968d_d39c,
        0xbb6d_c91d_a779_61bd,
        0xbed6_5cf2_1aa2_ee98,
        0xd0f2_cbb0_2e3b_67c7,
        0x9353_6795_e3a3_3e88,
        0xa80c_038c_cd5c_cec8,
        0xb8ad_50c6_f649_af94,
        0xbce1_92de_8a85_b8ea,
        0x17d8_35b8_5bbb_15f3,
        0x2f2e_6163_076b_cfad,
        0xde4d_aaac_a71d_c9a5,
        0xa6a2_5066_8795_6571,
        0xad87_a353_5c49_ef28,
        0x32d8_92fa_d841_c342,
        0x7127_512f_72f2_7cce,
        0xa7f3_2346_f959_78e3,
        0x12e0_b01a_bb05_1238,
        0x15e0_34d4_0fa1_97ae,
        0x314d_ffbe_0815_a3b4,
        0x0279_90f0_2962_3981,
        0xcadc_d4e5_9ef4_0c4d,
        0x9abf_d876_6a33_735c,
        0x0e3e_a96b_5304_a7d0,
        0xad0c_42d6_fc58_5992,
        0x1873_06c8_9bc2_15a9,
        0xd4a6_0abc_f379_2b95,
        0xf935_451d_e4f2_1df2,
        0xa953_8f04_1975_5787,
        0xdb9a_cddf_f56c_a510,
        0xd06c_98cd_5c09_75eb,
        0xe612_a3cb_9ecb_a951,
        0xc766_e62c_fcad_af96,
        0xee64_435a_9752_fe72,
        0xa192_d576_b245_165a,
        0x0a87_87bf_8ecb_74b2,
        0x81b3_e73d_20b4_9b6f,
        0x7fa8_220b_a3b2_ecea,
        0x2457_31c1_3ca4_2499,
        0xb78d_bfaf_3a8d_83bd,
        0xea1a_d565_322a_1a0b,
        0x60e6_1c23_a379_5013,
        0x6606_d7e4_4628_2b93,
        0x6ca4_ecb1_5c5f_91e1,
        0x9f62_6da1_5c96_25f3,
        0xe51b_3860_8ef2_5f57,
        0x958a_324c_eb06_4572,
    ];

    fn counting<const LEN: usize>() -> [u8; LEN] {
        std::array::from_fn(|place| place as u8)
    }

    #[test]
    fn the_vectors_of_the_reference_implementation_hold() {
        let message = counting::<64>();
        for (len, expected) in VECTORS.into_iter().enumerate() {
            assert_eq!(hash(&counting(), &message[..len]), expected, "{len} bytes");
        }
    }

    #[test]
    #[expect(deprecated, reason = "it is what it is to be compared with")]
    fn the_standard_library_finds_the_same() {
        let mut random = crate::mem::xorshift::Xorshift::new(11);
        for len in 0..600 {
            let message: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            let key: [u8; 16] = std::array::from_fn(|_| random.below(256) as u8);
            let (low, high) = (word(&key[..8]), word(&key[8..]));
            let mut other = std::hash::SipHasher::new_with_keys(low, high);
            other.write(&message);
            assert_eq!(hash(&key, &message), other.finish());
        }
    }
}
