//! Equal pieces of one arena, lent and returned: the memory of rings and buffers.
use std::mem;

/// The piece returned last is lent first, so that few are in use and those are in the cache. One
/// that was never lent was never touched.
pub struct FreeList {
    /// What was never lent yet.
    uncarved: &'static mut [u8],
    spare: Vec<&'static mut [u8]>,
    piece: usize,
    lent: usize,
    /// So many at the bottom of `spare` were given out by `cold` and not lent since.
    cooled: usize,
    /// So many at the bottom of `spare` were not lent since the last call of `cold`.
    unlent: usize,
}

impl FreeList {
    /// Makes pieces of `piece` bytes of the arena, whose size is a multiple of that.
    pub fn new(arena: &'static mut [u8], piece: usize) -> FreeList {
        assert!(piece > 0 && arena.len() % piece == 0);
        let spare = Vec::with_capacity(arena.len() / piece);
        FreeList { uncarved: arena, spare, piece, lent: 0, cooled: 0, unlent: 0 }
    }

    /// A piece, with whatever content it was returned with. `None` when all are lent.
    #[inline]
    pub fn lend(&mut self) -> Option<&'static mut [u8]> {
        let piece = match self.spare.pop() {
            Some(piece) => piece,
            None => self.carve()?,
        };
        self.cooled = self.cooled.min(self.spare.len());
        self.unlent = self.unlent.min(self.spare.len());
        self.lent += 1;
        Some(piece)
    }

    fn carve(&mut self) -> Option<&'static mut [u8]> {
        let (piece, rest) = mem::take(&mut self.uncarved).split_at_mut_checked(self.piece)?;
        self.uncarved = rest;
        Some(piece)
    }

    /// Takes back a piece that was lent.
    #[inline]
    pub fn give_back(&mut self, piece: &'static mut [u8]) {
        assert!(piece.len() == self.piece && self.lent > 0, "a piece of another stock");
        self.lent -= 1;
        self.spare.push(piece);
    }

    /// How many pieces are lent.
    #[cfg(test)]
    #[inline]
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// How many more pieces can be lent.
    #[inline]
    pub fn spare(&self) -> usize {
        self.spare.len() + self.uncarved.len() / self.piece
    }

    /// How many pieces there are.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.lent + self.spare()
    }

    /// Whether pieces lie here that may hold pages, so that further calls of `cold` will find some.
    pub fn is_warm(&self) -> bool {
        self.cooled < self.spare.len()
    }

    /// The pieces that lay here since the last call and may hold pages, so that those can be given
    /// back. Each comes once until it is lent again; those that the caller leaves in the iterator
    /// come at the next call.
    pub fn cold(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let unlent = mem::replace(&mut self.unlent, self.spare.len());
        let cooled = &mut self.cooled;
        self.spare[*cooled..unlent].iter_mut().map(move |piece| {
            *cooled += 1;
            &mut **piece
        })
    }
}

#[cfg(test)]
#[path = "free_list_tests.rs"]
mod tests;
