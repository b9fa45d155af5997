//! Where chunks end: RFC 9112 §7.1.
//!
//! [`Chunks`] follows a chunked body without holding any of it. Two ways lead through the same
//! states: [`Chunks::read`] goes byte by byte through framing and says what it meant, so that it can
//! be written anew; [`Chunks::pass`] skips over data and over framing that may go on as it came.
//!
//! ```text
//! Start → Digits → Blanks → Extension ⇄ Quoted ⇄ Escaped     a line: size, blanks, extensions
//!           └────────┴─────────┴→ LineFeed                   its CR was read
//! LineFeed → Data → DataReturn → DataFeed → Start            a chunk
//! LineFeed → Trailers → Done                                 after the size 0
//! ```

use super::fields::Field;
use super::message::MAX_FIELDS;
use super::scan;

/// What of one message's framing may go beyond the digits it needs: further zeros, blanks after
/// the size, and extensions. In bytes.
pub const MAX_PADDING: u16 = 4096;

/// The most trailer lines of one message, unless [`Chunks::limit_trailers`] says otherwise.
pub const MAX_TRAILERS: u16 = MAX_FIELDS as u16;

/// The most bytes of trailer lines of one message: as many as a head may have.
pub const MAX_TRAILER_BYTES: u32 = 65_536;

/// Sizes from here on are refused: 2⁶³.
const SIZE_LIMIT: u64 = 1 << 63;

/// The most digits of a size that [`Chunks::pass`] reads; longer ones are left to the slow way.
const CANONICAL_DIGITS: usize = 15;

/// What [`Chunks::read`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Nothing is complete. With nothing consumed, a trailer line is only partly here: it must lie
    /// in one slice, from its first byte on.
    More,
    /// A chunk's line ended: so many bytes of data follow, never 0.
    Size(u64),
    /// The CRLF behind a chunk's data was right.
    DataEnd,
    /// The line of the last chunk ended. Trailer lines follow, or the end.
    Last,
    /// A trailer line that is valid as a field: `bytes[start..end]` of what was given, with its
    /// CRLF. Which names may be passed on is for `http::fields` to say.
    Trailer {
        /// Where the line starts.
        start: usize,
        /// One past its LF.
        end: usize,
    },
    /// The message is complete.
    End,
}

/// What makes a chunked body unreadable, after which nothing of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChunk {
    /// No hex digit where a size must start, or something else behind it than `;` or the line's end.
    Size,
    /// 2⁶³ or more.
    TooLarge,
    /// A CR without LF in a chunk's line, or an LF without CR.
    LineEnd,
    /// A control byte in an extension, or a quoted string that does not end.
    Extension,
    /// More than [`MAX_PADDING`] bytes that say nothing.
    Padding,
    /// Data is not followed by CRLF.
    DataEnd,
    /// A trailer line that is no valid field.
    Trailer,
    /// More lines than the message may have, or more than [`MAX_TRAILER_BYTES`].
    TrailersTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    Start,
    Digits,
    /// Behind the size.
    Blanks,
    Extension,
    /// In a quoted string of an extension.
    Quoted,
    /// Behind a backslash in one.
    Escaped,
    /// A chunk's line has had its CR.
    LineFeed,
    Data,
    /// The data is over, its CR must follow.
    DataReturn,
    DataFeed,
    Trailers,
    Done,
}

/// The place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// In a chunk's line what its digits said so far, in data how much of it is left.
    size: u64,
    total: u64,
    trailer_bytes: u32,
    /// How many bytes of the trailer line that is partly here were found to be good.
    searched: u32,
    padding: u16,
    /// How many trailer lines may still come.
    trailers_left: u16,
    /// Whether trailer lines may be passed on at all.
    passes_trailers: bool,
    state: ChunkState,
}

impl Chunks {
    /// At the start of a body.
    pub const fn new() -> Chunks {
        Chunks {
            size: 0,
            total: 0,
            trailer_bytes: 0,
            searched: 0,
            padding: 0,
            trailers_left: MAX_TRAILERS,
            passes_trailers: true,
            state: ChunkState::Start,
        }
    }

    /// Allows `most` trailer lines, and to pass them on or not.
    pub fn limit_trailers(&mut self, most: usize, passes: bool) {
        self.trailers_left = u16::try_from(most).unwrap_or(u16::MAX);
        self.passes_trailers = passes;
    }

    /// Whether trailer lines may be passed on at all. Which names may is for `http::fields` to say.
    pub const fn passes_trailers(&self) -> bool {
        self.passes_trailers
    }

    /// How many bytes of data are to be moved before [`Chunks::read`] may be called again.
    pub const fn data_left(&self) -> u64 {
        match self.state {
            ChunkState::Data => self.size,
            ChunkState::Start
            | ChunkState::Digits
            | ChunkState::Blanks
            | ChunkState::Extension
            | ChunkState::Quoted
            | ChunkState::Escaped
            | ChunkState::LineFeed
            | ChunkState::DataReturn
            | ChunkState::DataFeed
            | ChunkState::Trailers
            | ChunkState::Done => 0,
        }
    }

    /// How much data the chunks have announced so far, in bytes: what a body's limit is held against.
    pub const fn data_total(&self) -> u64 {
        self.total
    }

    /// Whether a chunk's line was read, and not yet all of the line end behind its data.
    pub const fn in_chunk(&self) -> bool {
        matches!(self.state, ChunkState::Data | ChunkState::DataReturn | ChunkState::DataFeed)
    }

    /// Whether the next bytes are trailer lines, which are read whole.
    pub const fn in_trailers(&self) -> bool {
        matches!(self.state, ChunkState::Trailers)
    }

    /// Whether [`Chunks::pass`] may go on from here: not from within framing of which a part was read.
    pub const fn may_pass(&self) -> bool {
        matches!(self.state, ChunkState::Start | ChunkState::Data | ChunkState::DataReturn)
    }

    /// Whether the message is complete.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, ChunkState::Done)
    }

    /// `moved` bytes of data were taken. Not more than [`Chunks::data_left`].
    pub fn advance(&mut self, moved: u64) {
        assert!(moved <= self.data_left(), "more data was moved than the chunk has");
        if moved > 0 {
            self.size -= moved;
            if self.size == 0 {
                self.state = ChunkState::DataReturn;
            }
        }
    }

    /// Reads framing at the front of `bytes` up to the next thing worth telling, and says how many
    /// bytes that took. Data is never among them.
    ///
    /// Only to be called while no data is left. Bytes that were not consumed must be there again at
    /// the next call, in the same order. After a failure nothing more may be read.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, Chunk), BadChunk> {
        assert!(self.data_left() == 0, "framing was read where data is");
        // The last chunk's line ended a call, and so did each trailer line: none starts further in.
        match self.state {
            ChunkState::Trailers => return self.read_trailer(bytes),
            ChunkState::Done => return Ok((0, Chunk::End)),
            ChunkState::Start
            | ChunkState::Digits
            | ChunkState::Blanks
            | ChunkState::Extension
            | ChunkState::Quoted
            | ChunkState::Escaped
            | ChunkState::LineFeed
            | ChunkState::Data
            | ChunkState::DataReturn
            | ChunkState::DataFeed => (),
        }
        for (index, &byte) in bytes.iter().enumerate() {
            if let Some(chunk) = self.step(byte)? {
                return Ok((index + 1, chunk));
            }
        }
        Ok((bytes.len(), Chunk::More))
    }

    fn step(&mut self, byte: u8) -> Result<Option<Chunk>, BadChunk> {
        match self.state {
            ChunkState::Start => {
                self.size = hex_value(byte).ok_or(BadChunk::Size)?;
                self.state = ChunkState::Digits;
            }
            ChunkState::Digits => match hex_value(byte) {
                Some(digit) => self.add_digit(digit)?,
                None => self.behind_size(byte)?,
            },
            ChunkState::Blanks => self.behind_size(byte)?,
            ChunkState::Extension => self.in_extension(byte)?,
            ChunkState::Quoted => match byte {
                b'"' => self.pad(ChunkState::Extension)?,
                b'\\' => self.pad(ChunkState::Escaped)?,
                _ => self.text(byte, ChunkState::Quoted)?,
            },
            ChunkState::Escaped => self.text(byte, ChunkState::Quoted)?,
            ChunkState::LineFeed if byte == b'\n' => return Ok(Some(self.line_ended())),
            ChunkState::LineFeed => return Err(BadChunk::LineEnd),
            ChunkState::DataReturn if byte == b'\r' => self.state = ChunkState::DataFeed,
            ChunkState::DataFeed if byte == b'\n' => {
                self.state = ChunkState::Start;
                return Ok(Some(Chunk::DataEnd));
            }
            ChunkState::DataReturn | ChunkState::DataFeed => return Err(BadChunk::DataEnd),
            ChunkState::Data | ChunkState::Trailers | ChunkState::Done => {
                unreachable!("read does not go through these byte by byte")
            }
        }
        Ok(None)
    }

    fn add_digit(&mut self, digit: u64) -> Result<(), BadChunk> {
        if self.size == 0 {
            self.pad(ChunkState::Digits)?; // the digit before was a zero that said nothing
        }
        if self.size >= SIZE_LIMIT >> 4 {
            return Err(BadChunk::TooLarge);
        }
        self.size = self.size << 4 | digit;
        Ok(())
    }

    fn behind_size(&mut self, byte: u8) -> Result<(), BadChunk> {
        match byte {
            b'\r' => self.state = ChunkState::LineFeed,
            b' ' | b'\t' => self.pad(ChunkState::Blanks)?,
            b';' => self.pad(ChunkState::Extension)?,
            b'\n' => return Err(BadChunk::LineEnd),
            _ => return Err(BadChunk::Size),
        }
        Ok(())
    }

    /// The inside of an extension is not looked at but for where it ends: it goes nowhere. A line
    /// that ends within quotes does not end for everybody, and is refused.
    fn in_extension(&mut self, byte: u8) -> Result<(), BadChunk> {
        match byte {
            b'\r' => self.state = ChunkState::LineFeed,
            b'\n' => return Err(BadChunk::LineEnd),
            b'"' => self.pad(ChunkState::Quoted)?,
            _ => self.text(byte, ChunkState::Extension)?,
        }
        Ok(())
    }

    fn text(&mut self, byte: u8, next: ChunkState) -> Result<(), BadChunk> {
        if is_field_text(byte) { self.pad(next) } else { Err(BadChunk::Extension) }
    }

    /// One more byte that is not passed on.
    fn pad(&mut self, next: ChunkState) -> Result<(), BadChunk> {
        if self.padding == MAX_PADDING {
            return Err(BadChunk::Padding);
        }
        self.padding += 1;
        self.state = next;
        Ok(())
    }

    fn line_ended(&mut self) -> Chunk {
        if self.size == 0 {
            self.state = ChunkState::Trailers;
            return Chunk::Last;
        }
        self.state = ChunkState::Data;
        self.total = self.total.saturating_add(self.size);
        Chunk::Size(self.size)
    }

    #[inline(never)] // few messages have any, and all others are read by the same function
    fn read_trailer(&mut self, bytes: &[u8]) -> Result<(usize, Chunk), BadChunk> {
        let searched = (self.searched as usize).min(bytes.len());
        let rest = &bytes[searched..];
        let line_end = searched + scan::value_len(rest);
        if line_end as u64 + u64::from(self.trailer_bytes) > u64::from(MAX_TRAILER_BYTES) {
            return Err(BadChunk::TrailersTooLong);
        }
        match bytes[line_end..] {
            [] | [b'\r'] => {
                self.searched = line_end as u32; // below MAX_TRAILER_BYTES
                return Ok((0, Chunk::More));
            }
            [b'\r', b'\n', ..] => (),
            _ => return Err(BadChunk::Trailer),
        }
        let end = line_end + 2;
        self.searched = 0;
        if line_end == 0 {
            self.state = ChunkState::Done;
            return Ok((end, Chunk::End));
        }
        Field::read(&bytes[..end]).ok_or(BadChunk::Trailer)?;
        self.trailers_left = self.trailers_left.checked_sub(1).ok_or(BadChunk::TrailersTooLong)?;
        self.trailer_bytes += end as u32; // both below twice MAX_TRAILER_BYTES
        Ok((end, Chunk::Trailer { start: 0, end }))
    }

    /// How many bytes at the front of `bytes`, and not above `limit`, may go on just as they came:
    /// data, the CRLF behind it, and lines of chunks that say nothing but their size in the fewest
    /// digits. Advances over them.
    ///
    /// Stops before anything else: what is not here whole, the last chunk, what is to be written
    /// anew and what is wrong. [`Chunks::read`] goes on from there. May be 0.
    pub fn pass(&mut self, bytes: &[u8], limit: usize) -> usize {
        let bytes = &bytes[..limit.min(bytes.len())];
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            match self.state {
                ChunkState::Data => {
                    let here = self.size.min(rest.len() as u64);
                    self.advance(here);
                    passed += here as usize; // not above rest.len()
                    if self.state == ChunkState::Data {
                        return passed;
                    }
                }
                ChunkState::DataReturn => {
                    if !rest.starts_with(b"\r\n") {
                        return passed;
                    }
                    self.state = ChunkState::Start;
                    passed += 2;
                }
                ChunkState::Start => {
                    let Some((length, size)) = canonical_line(rest) else { return passed };
                    self.size = size;
                    let _ = self.line_ended(); // data: the size is not 0
                    passed += length;
                }
                // Framing of which `read` has consumed a part is written anew as a whole.
                ChunkState::Digits
                | ChunkState::Blanks
                | ChunkState::Extension
                | ChunkState::Quoted
                | ChunkState::Escaped
                | ChunkState::LineFeed
                | ChunkState::DataFeed
                | ChunkState::Trailers
                | ChunkState::Done => return passed,
            }
        }
    }

    /// The line of a chunk of `size` bytes of data: `1f` and CRLF. With 0 it is the line of the last
    /// chunk.
    pub fn size_line(size: u64, out: &mut [u8; 20]) -> &[u8] {
        let mut start = out.len() - 2;
        out[start..].copy_from_slice(b"\r\n");
        let mut rest = size;
        loop {
            start -= 1;
            out[start] = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
            if rest == 0 {
                return &out[start..];
            }
        }
    }
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks::new()
    }
}

/// The length of a whole chunk's line at the front, and the size it says, if it can be passed on:
/// digits of which the first is not 0, and CRLF.
fn canonical_line(bytes: &[u8]) -> Option<(usize, u64)> {
    let mut size = 0;
    for (index, &byte) in bytes.iter().enumerate().take(CANONICAL_DIGITS + 1) {
        match hex_value(byte) {
            Some(0) if index == 0 => return None,
            Some(digit) => size = size << 4 | digit,
            None if index > 0 && bytes[index..].starts_with(b"\r\n") => {
                return Some((index + 2, size));
            }
            None => return None,
        }
    }
    None
}

/// RFC 9110 §5.5: what may stand in a field's value, and in an extension.
const fn is_field_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn hex_value(byte: u8) -> Option<u64> {
    match HEX_VALUES[byte as usize] {
        NO_DIGIT => None,
        value => Some(u64::from(value)),
    }
}

const NO_DIGIT: u8 = 0xff;

static HEX_VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let digits = *b"0123456789abcdef";
    let mut value = 0;
    while value < 16 {
        values[digits[value] as usize] = value as u8;
        values[digits[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
