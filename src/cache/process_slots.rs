//! The numbers of processes, when those of several generations share the cells.
//!
//! Who is replaced goes on for a while beside those in its place, and stores and waits as they do. So
//! each generation has a *group* of numbers: one for each of its workers, then one for its control
//! process. To a process its own generation's numbers begin at 0, a worker's is its index, and those of
//! the other groups follow; in the cells a number means the same for all.

use crate::config::Cache;

use super::layout::{MOST_WAITING, Sizes};

/// Generations that can share the cells, as many as the master keeps, with the one that serves and one
/// that starts; a further one has cells of its own.
const MOST_GROUPS: usize = 10;

/// How the numbers of a process are those in the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessSlots {
    /// The number in the cells of the one that is 0 here.
    first: usize,
    /// How many numbers there are.
    count: usize,
}

impl ProcessSlots {
    pub(super) fn new(first: usize, count: usize) -> ProcessSlots {
        assert!(first < count);
        ProcessSlots { first, count }
    }

    /// These processes, as one knows them whose number 0 is `first` in the cells.
    pub(super) fn from(self, first: usize) -> ProcessSlots {
        ProcessSlots::new(first, self.count)
    }

    /// The number in the cells.
    pub(super) fn in_cells(self, number: usize) -> usize {
        debug_assert!(number < self.count, "there is no process {number}");
        (self.first + number) % self.count
    }

    /// The number that this process knows it by.
    pub(super) fn here(self, in_cells: usize) -> usize {
        (in_cells + self.count - self.first) % self.count
    }
}

/// How many numbers a generation of so many workers has.
pub fn group_len(workers: usize) -> usize {
    workers + 1
}

/// How many generations of so many workers can share the cells.
pub fn groups(workers: usize) -> usize {
    (MOST_WAITING / group_len(workers)).clamp(1, MOST_GROUPS)
}

/// The sizes of the cells for generations of so many workers.
pub fn sizes(cache: &Cache, workers: usize) -> Sizes {
    Sizes { workers: groups(workers) * group_len(workers), max_size: cache.max_size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_begins_at_0_and_all_mean_the_same() {
        let (one, other) = (ProcessSlots::new(0, 12), ProcessSlots::new(8, 12));
        assert_eq!((one.in_cells(3), other.in_cells(3)), (3, 11));
        // The first of the one is to the other beyond its own.
        assert_eq!(other.here(one.in_cells(0)), 4);
        assert_eq!(one.here(other.in_cells(0)), 8);
        for number in 0..12 {
            assert_eq!(other.here(other.in_cells(number)), number);
        }
    }

    #[test]
    fn the_largest_service_has_one_group() {
        assert_eq!((groups(1), groups(43), groups(100), groups(200)), (10, 10, 4, 2));
        assert_eq!(groups(256), 1);
        for workers in 1..=256 {
            assert!(groups(workers) * group_len(workers) <= MOST_WAITING);
        }
    }
}
