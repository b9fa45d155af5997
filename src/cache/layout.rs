//! How much the cells have room for.

/// Cells in a cache line: what different processes write often lies in different lines.
pub(super) const LINE: usize = 8;
/// Cells with bits of processes that wait for a fetch: the rest of the line that it has.
pub(super) const MASKS: usize = LINE - 1;
/// Processes that can wait for a fetch, each with a number below this.
pub const MOST_WAITING: usize = MASKS * 64;

/// Bytes of an entry that lie in memory at most: all of a small one, and what lies before the body of a
/// large one.
pub const PIECE: usize = 16 * 1024;

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Processes that may record or wait, 1 to [`MOST_WAITING`]; each has a number below this.
    pub workers: usize,
    /// The most bytes on disk.
    pub max_size: u64,
}
