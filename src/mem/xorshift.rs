//! Random numbers for tests: the same on every run of one seed.

/// Marsaglia's xorshift of 64 bits, with a product to whiten it.
pub struct Xorshift(u64);

impl Xorshift {
    /// Each seed gives another row of numbers.
    pub fn new(seed: u64) -> Xorshift {
        Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64) as usize
    }
}
