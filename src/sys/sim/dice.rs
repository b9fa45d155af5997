//! Random numbers that follow from a seed.

/// SplitMix64: small, and good enough to choose faults by.
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Each seed gives another row of numbers.
    pub fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("smaller than a usize")
    }

    /// Yes, in one of `chances` cases.
    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A part of `whole`, which is not 0: at least 1, often all.
    pub fn part(&mut self, whole: usize) -> usize {
        if self.one_in(2) { whole } else { 1 + self.below(whole) }
    }
}
