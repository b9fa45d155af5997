//! Equal pieces of one arena, taken and put back: the memory of rings and buffers.
use std::mem;

/// The piece that was put back last is taken first, so that few are in use and those are in the cache. One
/// that was never taken was never touched.
pub struct FreeList {
    /// The part of the arena from which no piece was taken yet.
    uncarved: &'static mut [u8],
    spare: Vec<&'static mut [u8]>,
    piece: usize,
    taken: usize,
    /// How many at the bottom of `spare` were given out by `cold` and not taken since.
    cooled: usize,
    /// How many at the bottom of `spare` were not taken since the last call of `cold`.
    untouched: usize,
}

impl FreeList {
    /// Makes pieces of `piece` bytes of the arena, whose size is a multiple of that.
    pub fn new(arena: &'static mut [u8], piece: usize) -> FreeList {
        assert!(piece > 0 && arena.len() % piece == 0);
        let spare = Vec::with_capacity(arena.len() / piece);
        FreeList { uncarved: arena, spare, piece, taken: 0, cooled: 0, untouched: 0 }
    }

    /// A piece, with whatever content it was put back with. `None` when all are taken.
    #[inline]
    pub fn take(&mut self) -> Option<&'static mut [u8]> {
        let piece = match self.spare.pop() {
            Some(piece) => piece,
            None => self.carve()?,
        };
        self.cooled = self.cooled.min(self.spare.len());
        self.untouched = self.untouched.min(self.spare.len());
        self.taken += 1;
        Some(piece)
    }

    fn carve(&mut self) -> Option<&'static mut [u8]> {
        let (piece, rest) = mem::take(&mut self.uncarved).split_at_mut_checked(self.piece)?;
        self.uncarved = rest;
        Some(piece)
    }

    /// Puts a piece back that was taken.
    #[inline]
    pub fn put(&mut self, piece: &'static mut [u8]) {
        assert!(piece.len() == self.piece && self.taken > 0, "a piece of another free list");
        self.taken -= 1;
        self.spare.push(piece);
    }

    /// How many pieces are taken.
    #[cfg(test)]
    #[inline]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many more pieces can be taken.
    #[inline]
    pub fn spare(&self) -> usize {
        self.spare.len() + self.uncarved.len() / self.piece
    }

    /// How many pieces there are.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.taken + self.spare()
    }

    /// Whether pieces lie here that may hold pages, so that further calls of `cold` will find some.
    pub fn is_warm(&self) -> bool {
        self.cooled < self.spare.len()
    }

    /// The pieces that lay here since the last call and may hold pages, so that those can be given
    /// back. Each comes once until it is taken again; those that the caller leaves in the iterator
    /// come at the next call.
    pub fn cold(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let untouched = mem::replace(&mut self.untouched, self.spare.len());
        let cooled = &mut self.cooled;
        self.spare[*cooled..untouched].iter_mut().map(move |piece| {
            *cooled += 1;
            &mut **piece
        })
    }
}

#[cfg(test)]
#[path = "free_list_tests.rs"]
mod tests;
