//! A chunked body from ring to ring: framing is checked, and written anew in one form or taken off.

use crate::http::chunked::{Chunk, Chunks};
use crate::http::fields::may_trail;
use crate::mem::ring::Ring;
use crate::net::Conn;

use super::buffers::{RelayBuffers, Sight};
use super::downstream::sink::Sink;
use crate::proxy::ids::RecorderId;
use crate::proxy::step::{Frame, RelayError};

/// The longest line of framing that is written at once, with the line end before it.
pub(super) const FRAMING_MAX: usize = 32;

/// The longest line of framing that may pass as it came, with the line end before it, and a byte
/// more: where so much does not pass, nothing will.
const LINE_MAX: usize = 20;

/// Chunks read from one ring and written to another.
pub(super) struct ChunkCopy<'a> {
    pub chunks: &'a mut Chunks,
    pub frame: Frame,
    pub keeping: bool,
    pub kept: &'a mut usize,
    pub payload: &'a mut u64,
    pub recorder: &'a mut Option<RecorderId>,
}

impl ChunkCopy<'_> {
    /// Goes on until the source has nothing or the sink no room. Returns the source bytes used.
    pub fn run(
        &mut self,
        input: &mut Ring,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<usize, RelayError> {
        let mut used = 0;
        while !self.chunks.is_done() && input.len() > *self.kept {
            let count = match self.pass(input, sink, buffers) {
                0 => self.read(input, sink, buffers)?,
                count => count,
            };
            if count == 0 {
                break;
            }
            used += count;
        }
        Ok(used)
    }

    /// Bytes that may go as they are: data, and for a chunked sink canonical framing too.
    fn pass(
        &mut self,
        input: &mut Ring,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> usize {
        let room = sink.room(buffers.ring_size);
        let bytes = view(input, *self.kept);
        let count = match self.frame {
            Frame::Chunked if self.recorder.is_none() => {
                let before = data_passed(self.chunks);
                let count = self.chunks.pass(bytes, room);
                *self.payload += data_passed(self.chunks) - before;
                count
            }
            // What is recorded is data alone.
            Frame::Chunked | Frame::Raw => {
                let left = usize::try_from(self.chunks.data_left()).unwrap_or(usize::MAX);
                let count = bytes.len().min(room).min(left);
                self.chunks.advance(count as u64);
                *self.payload += count as u64;
                buffers.record(self.recorder, [bytes, &[]], count);
                count
            }
        };
        if count > 0 && count == input.len() && !self.keeping && sink.is_flushed() {
            sink.take_all(input);
        } else if count > 0 {
            sink.write(&view(input, *self.kept)[..count], &mut buffers.rings);
            self.used(input, count);
        }
        count
    }

    /// A piece of framing. Returns the source bytes used, 0 where more are needed, or room.
    fn read(
        &mut self,
        input: &mut Ring,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<usize, RelayError> {
        let room = sink.room(buffers.ring_size);
        // A trailer line may be as long as what was received.
        if self.chunks.data_left() > 0 || room < FRAMING_MAX.max(self.trailer_bound(input)) {
            return Ok(0);
        }
        if view(input, *self.kept).len() < input.len() - *self.kept {
            input.flatten();
        }
        let bytes = view(input, *self.kept);
        let (count, chunk) = self.chunks.read(bytes).map_err(|_| RelayError::Malformed)?;
        if self.frame == Frame::Chunked {
            let rings = &mut buffers.rings;
            match chunk {
                Chunk::More => (),
                Chunk::Size(size) => sink.write(Chunks::size_line(size, &mut [0; 20]), rings),
                Chunk::DataEnd | Chunk::End => sink.write(b"\r\n", rings),
                Chunk::Last => sink.write(b"0\r\n", rings),
                Chunk::Trailer { start, end } => {
                    let line = &bytes[start..end];
                    let name = line.split(|byte| *byte == b':').next().unwrap_or(line);
                    if self.chunks.passes_trailers() && may_trail(name) {
                        sink.write(line, rings);
                    }
                }
            }
        }
        if count == 0 && input.is_full() && *self.kept == 0 {
            return Err(RelayError::Malformed); // A trailer line longer than a ring.
        }
        self.used(input, count);
        Ok(count)
    }

    fn trailer_bound(&self, input: &Ring) -> usize {
        if self.chunks.in_trailers() { input.len() - *self.kept } else { 0 }
    }

    fn used(&mut self, input: &mut Ring, count: usize) {
        if self.keeping {
            *self.kept += count;
        } else {
            input.consume(count);
        }
    }
}

/// Chunks that go by splice, data and framing alike: what is known of the bytes that come next from
/// the source's socket. They are looked at there, and left.
///
/// The [`Chunks`] of the body stand behind what is cleared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// Bytes that may go as they are: framing that was checked, and data. Not all of the data need have come
    /// yet.
    cleared: u64,
    /// Bytes of data among them.
    data: u64,
    /// Framing was found that must be written anew. The rest of the body is for the rings.
    is_odd: bool,
}

impl Ahead {
    /// Bytes that may go as they are, by splice or by the rings.
    pub fn cleared(&self) -> u64 {
        self.cleared
    }

    /// Whether to look on may bring anything.
    pub fn may_look(&self, chunks: &Chunks) -> bool {
        !self.is_odd && chunks.may_pass()
    }

    /// Notes that `moved` of the cleared bytes went on. Returns how many of them are surely data; once all are
    /// moved, all the data was returned.
    pub fn advance(&mut self, moved: u64) -> u64 {
        self.cleared -= moved;
        let counted = self.data.saturating_sub(self.cleared);
        self.data -= counted;
        counted
    }

    /// Looks on, as far as a pipe reaches. Says whether so much may go as it is that splicing pays:
    /// if not, nothing has changed.
    pub fn look(
        &mut self,
        chunks: &mut Chunks,
        source: &mut Conn,
        buffers: &mut RelayBuffers,
    ) -> bool {
        let (mut after, mut place) = (*self, *chunks);
        after.clear(&mut place, source, buffers);
        self.is_odd = after.is_odd;
        if self.cleared == 0 && after.cleared + place.data_left() < buffers.splice_min {
            return false;
        }
        after.data += data_passed(&place) - data_passed(chunks);
        (*self, *chunks) = (after, place);
        true
    }

    fn clear(&mut self, chunks: &mut Chunks, source: &mut Conn, buffers: &mut RelayBuffers) {
        let Sight { bytes, is_far } = &mut buffers.pipes.sight;
        // To look at data costs about as much as to look away from so much of it.
        let near = buffers.splice_min / 4;
        let mut width = if *is_far { LINE_MAX } else { bytes.len() };
        while self.cleared + chunks.data_left() < bytes.len() as u64 {
            if *is_far {
                self.cleared += chunks.data_left();
                chunks.advance(chunks.data_left());
            } else if self.cleared > 0 {
                return;
            }
            let offset = self.cleared as usize; // below the length of `bytes`
            let reach = width.min(bytes.len() - offset);
            let sight = &mut bytes[..reach];
            let seen = source.peek(is_far.then_some(offset), sight);
            let passed = chunks.pass(&sight[..seen], seen);
            self.cleared += passed as u64;
            self.is_odd = seen - passed >= LINE_MAX;
            if self.is_odd || passed == 0 || seen < sight.len() {
                return;
            }
            width = if chunks.data_left() < near { bytes.len() } else { LINE_MAX };
        }
    }
}

fn data_passed(chunks: &Chunks) -> u64 {
    chunks.data_total() - chunks.data_left()
}

/// The flat run of `ring`'s content that begins at `offset`.
fn view(ring: &Ring, offset: usize) -> &[u8] {
    let [first, second] = ring.slices();
    if offset < first.len() { &first[offset..] } else { &second[offset - first.len()..] }
}
