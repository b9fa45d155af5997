//! How long something took, counted in buckets that are narrow enough to tell a second from two.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::mem::time::Micros;

/// How long something took, counted in buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How many took at most the bound of each bucket, and more than that of the one before. The
    /// last has no bound.
    pub buckets: [u64; Histogram::BUCKETS],
    /// All of them together.
    pub sum: Micros,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; Histogram::BUCKETS], sum: Micros(0) }
    }
}

/// Ten to a power of ten, so that a quantile is right to within a quarter.
const STEPS: [u64; 10] = [100, 125, 160, 200, 250, 320, 400, 500, 640, 800];

impl Histogram {
    /// The bounds of the buckets, each of which is within: from 0.1 ms to a minute.
    pub const BOUNDS: [Micros; 59] = bounds();
    /// How many buckets there are.
    pub const BUCKETS: usize = Histogram::BOUNDS.len() + 1;
    /// The bounds that the metrics have, which are some of those.
    pub const EXPORTED: [Micros; 15] = [
        Micros(1_000),
        Micros(2_500),
        Micros(5_000),
        Micros(10_000),
        Micros(25_000),
        Micros(50_000),
        Micros(100_000),
        Micros(250_000),
        Micros(500_000),
        Micros(1_000_000),
        Micros(2_500_000),
        Micros(5_000_000),
        Micros(10_000_000),
        Micros(30_000_000),
        Micros(60_000_000),
    ];
    pub(super) const CELLS: usize = Histogram::BUCKETS + 1;

    /// How many there were in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::wrapping_add)
    }

    /// How many took no longer than one of the bounds.
    pub fn within(&self, bound: Micros) -> u64 {
        let inside = Histogram::BOUNDS.iter().zip(self.buckets).take_while(|(to, _)| **to <= bound);
        inside.fold(0, |sum, (_, count)| sum.wrapping_add(count))
    }

    /// The time that `share` of all (0.5 is the median) did not exceed, as if they were spread
    /// evenly within a bucket. Beyond the last bound it is that bound. `None` if there was none.
    pub fn quantile(&self, share: f64) -> Option<Micros> {
        let count = self.count();
        let wanted = share * count as f64;
        let mut below = 0.0;
        let mut lower = Micros(0);
        for (upper, inside) in Histogram::BOUNDS.into_iter().zip(self.buckets) {
            if inside > 0 && below + inside as f64 >= wanted {
                let part = (wanted - below) / inside as f64;
                let within = part * (upper - lower).0 as f64;
                return Some(Micros(lower.0 + within as u64));
            }
            below += inside as f64;
            lower = upper;
        }
        (count > 0).then_some(lower)
    }

    pub(super) fn add_cells(&mut self, cells: &[AtomicU64]) {
        for (bucket, cell) in self.buckets.iter_mut().zip(cells) {
            *bucket = bucket.wrapping_add(cell.load(Relaxed));
        }
        self.sum = self.sum + Micros(cells[Histogram::CELLS - 1].load(Relaxed));
    }
}

const fn bounds() -> [Micros; 59] {
    // Those of the last, unfinished power of ten.
    let last = [12_500_000, 16_000_000, 20_000_000, 25_000_000, 30_000_000, 40_000_000, 50_000_000];
    let mut bounds = [Micros(60_000_000); 59];
    let (mut place, mut power) = (0, 1);
    while place < 51 {
        bounds[place] = Micros(STEPS[place % STEPS.len()] * power);
        place += 1;
        if place % STEPS.len() == 0 {
            power *= 10;
        }
    }
    while place < 58 {
        bounds[place] = Micros(last[place - 51]);
        place += 1;
    }
    bounds
}

/// For each number of bits, the first bound that is no less than the least number of so many bits.
const FIRST: [u8; 65] = first();

const fn first() -> [u8; 65] {
    let mut first = [0; 65];
    let (mut bits, mut place) = (1, 0);
    while bits <= 64 {
        while place < Histogram::BOUNDS.len() && Histogram::BOUNDS[place].0 < 1 << (bits - 1) {
            place += 1;
        }
        first[bits] = place as u8;
        bits += 1;
    }
    first
}

/// Only the worker whose row it is writes it, so that nothing is lost between load and store.
pub(super) fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
}

/// In which bucket a time is counted.
#[inline]
fn bucket_of(took: Micros) -> usize {
    let bits = u64::BITS - took.0.leading_zeros();
    let mut bucket = usize::from(FIRST[bits as usize]);
    while Histogram::BOUNDS.get(bucket).is_some_and(|bound| *bound < took) {
        bucket += 1;
    }
    bucket
}

/// Counts one more, in the cells of a histogram.
#[inline]
pub(super) fn observe(cells: &[AtomicU64], took: Micros) {
    add(&cells[bucket_of(took)], 1);
    add(&cells[Histogram::CELLS - 1], took.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> Histogram {
        let cells: Vec<AtomicU64> = (0..Histogram::CELLS).map(|_| AtomicU64::new(0)).collect();
        times.iter().for_each(|took| observe(&cells, Micros(*took)));
        let mut histogram = Histogram::default();
        histogram.add_cells(&cells);
        histogram
    }

    #[test]
    fn bounds_rise_and_the_metrics_have_some_of_them() {
        assert!(Histogram::BOUNDS.is_sorted_by(|one, next| one < next));
        for bound in Histogram::EXPORTED {
            assert!(Histogram::BOUNDS.contains(&bound), "{bound:?}");
        }
    }

    #[test]
    fn each_time_falls_into_the_first_bucket_that_it_does_not_exceed() {
        let edges = Histogram::BOUNDS.iter().flat_map(|bound| [bound.0 - 1, bound.0, bound.0 + 1]);
        for took in edges.chain([0, 1, 2, u64::MAX]) {
            let found = of(&[took]).buckets.iter().position(|count| *count == 1);
            let wanted = Histogram::BOUNDS.iter().take_while(|bound| bound.0 < took).count();
            assert_eq!(found, Some(wanted), "{took}");
        }
    }

    #[test]
    fn a_quantile_is_right_to_within_a_quarter() {
        for took in [150, 1_001, 47_000, 1_003_000, 2_900_000, 14_000_000] {
            let histogram = of(&[took; 100]);
            for share in [0.5, 0.99] {
                let found = histogram.quantile(share).unwrap().0 as f64;
                assert!((found / took as f64 - 1.0).abs() < 0.27, "{took}: {found}");
            }
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(of(&[60_000_001]).quantile(0.5), Some(Micros(60_000_000)));
    }

    #[test]
    fn how_many_took_no_longer_than_a_bound_is_told() {
        let histogram = of(&[0, 1_000, 1_001, 2_500, 60_000_000, 60_000_001]);
        assert_eq!((histogram.count(), histogram.sum), (6, Micros(120_004_502)));
        let within = Histogram::EXPORTED.map(|bound| histogram.within(bound));
        assert_eq!((within[0], within[1], within[13], within[14]), (2, 4, 4, 5));
    }
}
