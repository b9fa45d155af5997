//! How long places at a backend were held: what its cap is found by, where it finds itself.

/// Places at a backend that were given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceTimes {
    /// How many.
    pub count: u64,
    /// How long they were held, in microseconds.
    pub sum: u64,
    /// The squares of these times, each in so many microseconds as [`PlaceTimes::UNIT`] says.
    pub squares: u64,
}

impl PlaceTimes {
    /// So that a place held for hours has a square.
    pub const UNIT: u64 = 32;

    /// Together with those of another worker.
    pub fn and(self, other: PlaceTimes) -> PlaceTimes {
        PlaceTimes {
            count: self.count.wrapping_add(other.count),
            sum: self.sum.wrapping_add(other.sum),
            squares: self.squares.wrapping_add(other.squares),
        }
    }

    /// Those since `before`.
    pub fn since(self, before: PlaceTimes) -> PlaceTimes {
        PlaceTimes {
            count: self.count.wrapping_sub(before.count),
            sum: self.sum.wrapping_sub(before.sum),
            squares: self.squares.wrapping_sub(before.squares),
        }
    }
}
