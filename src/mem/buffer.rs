//! Bytes in a line, for a head that is built once and then read in parts.
use super::Append;
use std::fmt;
use std::mem;
use std::ops::{Index, Range};

/// Where a part of a buffer's content lies: from `start` up to, without, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The part from `start` up to, without, `end`.
    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        assert!(start <= end && end <= u32::MAX as usize);
        Span { start: start as u32, end: end as u32 }
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same as a range, to index any slice by.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A growing line of bytes in borrowed memory. One that holds no memory now is *detached*.
pub struct Buffer {
    bytes: &'static mut [u8],
    len: u32,
}

impl Buffer {
    /// A buffer without memory: nothing fits.
    #[inline]
    pub fn detached() -> Buffer {
        Buffer { bytes: &mut [], len: 0 }
    }

    /// An empty buffer in `bytes`, at most 4 GiB less one byte.
    #[inline]
    pub fn new(bytes: &'static mut [u8]) -> Buffer {
        assert!(bytes.len() <= u32::MAX as usize);
        Buffer { bytes, len: 0 }
    }

    /// Whether it has memory.
    #[cfg(test)]
    #[inline]
    pub fn is_attached(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes the memory out, which leaves the buffer detached. The content is dropped.
    #[inline]
    pub fn take_bytes(&mut self) -> &'static mut [u8] {
        self.len = 0;
        mem::take(&mut self.bytes)
    }

    /// The content.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// The content, to be changed where it lies.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len as usize]
    }

    /// The room behind the content, to be written to; `filled` then says how much was.
    #[inline]
    pub fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len as usize..]
    }

    /// Takes in `n` bytes that were written to the front of `free()`.
    #[inline]
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.room(), "more was filled than there was room");
        self.len += n as u32;
    }

    /// Drops what lies behind the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u32);
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

    /// How many bytes fit in all.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// How many more bytes fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len as usize
    }

    /// Drops the content, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Append for Buffer {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "no room in the buffer");
        let start = self.len();
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u32;
    }
}

impl Index<Span> for Buffer {
    type Output = [u8];
    #[inline]
    fn index(&self, span: Span) -> &[u8] {
        &self.as_slice()[span.range()]
    }
}

/// Writes to a buffer as long as all fits.
pub struct Fitting<'a> {
    out: &'a mut Buffer,
    fits: bool,
}

impl<'a> Fitting<'a> {
    /// Writes behind what is there.
    pub fn new(out: &'a mut Buffer) -> Fitting<'a> {
        Fitting { out, fits: true }
    }

    /// Whether all that was written did fit.
    pub fn fits(&self) -> bool {
        self.fits
    }

    /// How much the buffer holds.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.out.room()
    }

    /// What the buffer holds.
    pub fn as_slice(&self) -> &[u8] {
        self.out.as_slice()
    }

    /// Appends `bytes` and says where they lie; that is nowhere once something did not fit.
    #[inline(always)] // so that what is constant becomes a few stores
    pub fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.out.len;
        let room =
            self.out.bytes.get_mut(start as usize..).and_then(|room| room.get_mut(..bytes.len()));
        match room.filter(|_| self.fits) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.out.len += bytes.len() as u32;
                Span { start, end: self.out.len }
            }
            None => {
                self.fits = false;
                Span::default()
            }
        }
    }
}

impl Append for Fitting<'_> {
    #[inline(always)]
    fn append(&mut self, bytes: &[u8]) {
        self.put(bytes);
    }
}

impl fmt::Write for Fitting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// Room for a few bytes that are needed for a moment only.
pub struct Scratch<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
    fits: bool,
}

impl<const SIZE: usize> Scratch<SIZE> {
    /// Empty.
    pub fn new() -> Scratch<SIZE> {
        Scratch { bytes: [0; SIZE], len: 0, fits: true }
    }

    /// What was written, if all of it did fit.
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.fits.then_some(&self.bytes[..self.len])
    }
}

impl<const SIZE: usize> Default for Scratch<SIZE> {
    fn default() -> Scratch<SIZE> {
        Scratch::new()
    }
}

impl<const SIZE: usize> Append for Scratch<SIZE> {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.fits = false,
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(size: usize) -> Buffer {
        Buffer::new(vec![0; size].leak())
    }

    #[test]
    fn what_was_appended_is_found_by_its_span() {
        let mut buffer = buffer(10);
        buffer.append(b"GET ");
        let start = buffer.len();
        buffer.append(b"/path");
        let target = Span::new(start, buffer.len());
        assert_eq!(&buffer[target], b"/path");
        assert_eq!(target.len(), 5);
        assert_eq!(buffer.as_slice(), b"GET /path");
        assert_eq!((buffer.len(), buffer.room(), buffer.capacity()), (9, 1, 10));
        assert_eq!(&buffer[Span::default()], b"");
    }

    #[test]
    fn memory_goes_out_without_its_content() {
        let mut buffer = buffer(4);
        buffer.append(b"abcd");
        assert_eq!(buffer.room(), 0);
        assert_eq!(buffer.take_bytes().len(), 4);
        assert!(!buffer.is_attached() && buffer.is_empty() && buffer.room() == 0);
        buffer.append(b"");
    }

    #[test]
    fn a_cleared_buffer_is_filled_anew() {
        let mut buffer = buffer(4);
        buffer.append(b"abcd");
        buffer.clear();
        buffer.append(b"xy");
        assert_eq!(buffer.as_slice(), b"xy");
    }

    #[test]
    #[should_panic(expected = "no room")]
    fn one_byte_too_many_panics() {
        buffer(4).append(b"abcde");
    }

    #[test]
    #[should_panic]
    fn a_span_beyond_the_content_panics() {
        let mut buffer = buffer(4);
        buffer.append(b"ab");
        let _ = &buffer[Span::new(1, 3)];
    }

    #[test]
    fn what_does_not_fit_is_known() {
        let mut room = buffer(4);
        let mut out = Fitting::new(&mut room);
        assert_eq!((out.put(b"abc"), out.fits()), (Span::new(0, 3), true));
        assert_eq!((out.put(b"de"), out.fits()), (Span::default(), false));
        assert_eq!((out.put(b"f"), out.len()), (Span::default(), 3));
        let mut scratch = Scratch::<4>::new();
        scratch.append(b"abcd");
        assert_eq!(scratch.as_slice(), Some(&b"abcd"[..]));
        scratch.append(b"e");
        assert_eq!(scratch.as_slice(), None);
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Buffer>() <= 24);
    }
}
