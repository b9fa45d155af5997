//! What must hold of every input, a module per fuzz target. Each compares the program with a
//! reading of the same bytes so naive that its judgement needs no test: whole strings, no state.

pub mod cache_entry;
pub mod chunked;
pub mod config;
pub mod cookie;
pub mod dns;
pub mod handover;
pub mod naive;
pub mod proxy_header;
pub mod registry;
pub mod request;
pub mod response;
pub mod scan;
pub mod structured;

/// Numbers that depend on the input alone, so that a finding comes again.
pub struct Dice(u64);

impl Dice {
    pub fn of(bytes: &[u8]) -> Dice {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Dice(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1)
    }

    /// A number up to, and with, `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % (most + 1)
    }
}
