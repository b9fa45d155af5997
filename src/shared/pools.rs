//! The cells of a pool: its name, its rotation, its epoch.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::policy::balance::Tier;

use super::backends::Source;
use super::layout::LINE;
use super::rotations::Rotations;

/// Cells of a pool's settings.
pub(super) const SETTINGS: usize = 2 * LINE;
/// Live cells of a pool. Those that each pick writes have a line of their own.
pub(super) const LIVE: usize = 2 * LINE;

const STATE: usize = 0;
const NAME: usize = 1;
const NAME_CELLS: usize = 8;
const FIRST: usize = NAME + NAME_CELLS;
const COUNT: usize = FIRST + 1;
/// Where its rotation is among those that generations share, and one; 0: among its live cells.
const SHARED_TURNS: usize = COUNT + 1;
/// Requests that wait in other generations.
pub(super) const QUEUE_ELSEWHERE: usize = SHARED_TURNS + 1;

// The live cells.
const EPOCH: usize = 0;
pub(super) const WAITING: usize = EPOCH + 1;
const TURNS: usize = LINE;

const SOURCE_BITS: u64 = 3;
const LENGTH_AT: u32 = 8;

/// The longest name, as the configuration has it.
const NAME_BYTES: usize = NAME_CELLS * size_of::<u64>();

/// The name of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolName {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl PoolName {
    /// As text.
    pub fn as_str(&self) -> &str {
        // Names are ASCII; what is none was written by nobody.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The cells of one pool.
#[derive(Clone, Copy)]
pub struct PoolCells {
    pub(super) settings: &'static [AtomicU64],
    pub(super) live: &'static [AtomicU64],
    pub(super) rotations: Rotations,
}

impl PoolCells {
    /// Who named it. `None`: there is no pool here.
    pub fn source(&self) -> Option<Source> {
        Source::from_bits(self.settings[STATE].load(SeqCst) & SOURCE_BITS)
    }

    /// Its name.
    pub fn name(&self) -> PoolName {
        let len = (self.settings[STATE].load(SeqCst) >> LENGTH_AT) as usize;
        let mut bytes = [0; NAME_BYTES];
        for (piece, cell) in bytes.chunks_exact_mut(8).zip(&self.settings[NAME..]) {
            piece.copy_from_slice(&cell.load(Relaxed).to_le_bytes());
        }
        PoolName { bytes, len: len.min(NAME_BYTES) }
    }

    /// The slots that the file gives it: the first, and how many.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.settings[FIRST].load(Relaxed) as usize, self.settings[COUNT].load(Relaxed) as usize)
    }

    pub(super) fn load(&self, name: &str, first: usize, count: usize) {
        self.settings[FIRST].store(first as u64, Relaxed);
        self.settings[COUNT].store(count as u64, Relaxed);
        self.write(name, Source::File);
    }

    pub(super) fn write(&self, name: &str, source: Source) {
        assert!(name.len() <= NAME_BYTES, "the configuration has no longer names");
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        for (piece, cell) in bytes.chunks_exact(8).zip(&self.settings[NAME..]) {
            let piece: [u8; 8] = piece.try_into().expect("a piece of eight");
            cell.store(u64::from_le_bytes(piece), Relaxed);
        }
        let shared = self.rotations.place(name).map_or(0, |place| place as u64 + 1);
        self.settings[SHARED_TURNS].store(shared, Relaxed);
        self.settings[STATE].store(source.to_bits() | (name.len() as u64) << LENGTH_AT, SeqCst);
        self.bump();
    }

    /// Changes whenever a member comes or goes, or may be asked or not, or differently. Never 0 in
    /// a pool that there is.
    pub fn epoch(&self) -> u64 {
        self.live[EPOCH].load(SeqCst)
    }

    /// Tells the workers to read the members anew. After the change.
    pub fn bump(&self) {
        self.live[EPOCH].fetch_add(1, SeqCst);
    }

    /// How many turns of the rotation were taken.
    pub fn rotation(&self, tier: Tier) -> u64 {
        self.turns(tier).load(SeqCst)
    }

    fn turns(&self, tier: Tier) -> &'static AtomicU64 {
        let shared = (self.settings[SHARED_TURNS].load(Relaxed) as usize).checked_sub(1);
        let shared = shared.and_then(|place| self.rotations.turns(place, tier));
        shared.unwrap_or(&self.live[TURNS + tier as usize])
    }

    /// Goes on where another generation of the same pool is, unless they share their rotation.
    pub(super) fn continue_rotation(&self, older: &PoolCells) {
        for tier in [Tier::Primaries, Tier::Backups] {
            let (own, before) = (self.turns(tier), older.turns(tier));
            if !std::ptr::eq(own, before) {
                own.store(before.load(SeqCst), SeqCst);
            }
        }
    }

    /// Takes the turns from `old` to `new`, unless somebody else has taken one.
    pub fn try_turn(&self, tier: Tier, old: u64, new: u64) -> bool {
        self.turns(tier).compare_exchange(old, new, SeqCst, Relaxed).is_ok()
    }
}
