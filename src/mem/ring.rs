//! Bytes in a circle, for what comes from a socket and goes to one.
//!
//! The circle begins at 0 again whenever it empties, so that its content nearly always lies flat.
use super::Append;
use std::fmt;
use std::mem;

/// A queue of bytes in borrowed memory, whose size is a power of two.
///
/// A connection that holds no memory now has a ring that is *detached*: of capacity 0.
pub struct Ring {
    bytes: &'static mut [u8],
    start: u32,
    len: u32,
}

impl Ring {
    /// A ring without memory: nothing fits.
    #[inline]
    pub fn detached() -> Ring {
        Ring { bytes: &mut [], start: 0, len: 0 }
    }

    /// An empty ring in `bytes`, whose length is a power of two up to 2 GiB.
    #[inline]
    pub fn new(bytes: &'static mut [u8]) -> Ring {
        assert!(bytes.len().is_power_of_two() && bytes.len() <= 1 << 31);
        Ring { bytes, start: 0, len: 0 }
    }

    /// Whether it has memory.
    #[inline]
    pub fn is_attached(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes the memory out, which leaves the ring detached. The ring must be empty.
    #[inline]
    pub fn take_bytes(&mut self) -> &'static mut [u8] {
        assert!(self.len == 0, "a ring with content gave up its memory");
        mem::take(&mut self.bytes)
    }

    /// How many bytes fit in all.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds nothing; so also when detached.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more bytes fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len as usize
    }

    /// Whether nothing more fits; so also when detached.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// The content in its order. The second slice is empty when it lies flat.
    #[inline]
    pub fn slices(&self) -> [&[u8]; 2] {
        self.content(0, self.len())
    }

    /// The content up to where it wraps: all of it, nearly always.
    #[inline]
    pub fn front(&self) -> &[u8] {
        self.slices()[0]
    }

    /// All of the content in one slice. It is moved for that only if it wraps.
    pub fn flatten(&mut self) -> &[u8] {
        let start = self.start as usize;
        if start + self.len() > self.capacity() {
            self.bytes.rotate_left(start);
            self.start = 0;
        }
        self.front()
    }

    /// Adds `n` bytes of whatever value at the end, for which there must be room. Returns all of the
    /// content in one slice.
    pub fn extend_flat(&mut self, n: usize) -> &mut [u8] {
        self.filled(n);
        let mut start = self.start as usize;
        if start + self.len() > self.capacity() {
            self.bytes.rotate_left(start);
            (start, self.start) = (0, 0);
        }
        &mut self.bytes[start..start + self.len as usize]
    }

    /// The first `limit` bytes of the room in its order, to be written to; `filled` then says how much
    /// was.
    #[inline]
    pub fn free_up_to(&mut self, limit: usize) -> [&mut [u8]; 2] {
        let [first, second] = self.free();
        let here = limit.min(first.len());
        let there = (limit - here).min(second.len());
        [&mut first[..here], &mut second[..there]]
    }

    /// The room in its order, to be written to; `filled` then says how much was.
    #[inline]
    pub fn free(&mut self) -> [&mut [u8]; 2] {
        let (start, capacity) = (self.start as usize, self.capacity());
        let end = start + self.len();
        if end < capacity {
            let (before, after) = self.bytes.split_at_mut(end);
            [after, &mut before[..start]]
        } else {
            [&mut self.bytes[end - capacity..start], &mut []]
        }
    }

    /// Takes in `n` bytes that were written to the front of `free()`.
    #[inline]
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.room(), "more was filled than there was room");
        self.len += n as u32;
    }

    /// Drops `n` bytes at the front.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "more was consumed than there was");
        self.len -= n as u32;
        self.start = if self.len == 0 {
            0
        } else {
            ((self.start as usize + n) & (self.capacity() - 1)) as u32
        };
    }

    /// Moves up to `limit` bytes to the end of `sink`, as many as there are and it has room for,
    /// and tells how many.
    ///
    /// If all goes into an empty ring of the same size, the rings just change their memory.
    #[inline(always)]
    pub fn pour_into(&mut self, sink: &mut Ring, limit: usize) -> usize {
        let n = self.len().min(limit).min(sink.room());
        if n > 0 && n == self.len() && sink.is_empty() && sink.capacity() == self.capacity() {
            mem::swap(self, sink);
        } else {
            self.copy_into(0, sink, n);
            self.consume(n);
        }
        n
    }

    /// Copies up to `limit` bytes of the content from `offset` on to the end of `sink`, as many as
    /// there are and it has room for, and tells how many.
    #[inline(always)]
    pub fn copy_into(&self, offset: usize, sink: &mut Ring, limit: usize) -> usize {
        assert!(offset <= self.len(), "an offset beyond the content");
        let n = (self.len() - offset).min(limit).min(sink.room());
        let [first, second] = self.content(offset, n);
        sink.append(first);
        if !second.is_empty() {
            sink.append(second);
        }
        n
    }

    /// Writes behind the content what may not lie flat there.
    #[cold]
    fn copy_around_the_end(&mut self, bytes: &[u8]) {
        let [first, second] = self.free();
        let (head, tail) = bytes.split_at(first.len().min(bytes.len()));
        first[..head.len()].copy_from_slice(head);
        second[..tail.len()].copy_from_slice(tail);
    }

    /// `n` bytes of the content from `offset` on, in order.
    #[inline]
    fn content(&self, offset: usize, n: usize) -> [&[u8]; 2] {
        let capacity = self.capacity();
        let mut start = self.start as usize + offset;
        if start >= capacity {
            start -= capacity;
        }
        let end = start + n;
        if end <= capacity {
            [&self.bytes[start..end], &[]]
        } else {
            [&self.bytes[start..], &self.bytes[..end - capacity]]
        }
    }
}

impl Append for Ring {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "no room in the ring");
        let end = (self.start + self.len) as usize;
        match self.bytes.get_mut(end..).and_then(|behind| behind.get_mut(..bytes.len())) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.copy_around_the_end(bytes),
        }
        self.len += bytes.len() as u32;
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} of {} bytes from {})", self.len, self.capacity(), self.start)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
