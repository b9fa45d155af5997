//! A body from one connection to another, in either direction.
//!
//! Bytes go from the source's input ring to the sink's output ring: framing is read, checked and
//! written anew. Where a whole ring may pass as it is, the two rings change places instead. Long
//! stretches that need no change bypass both rings by `splice(2)` through a pipe: those without
//! framing, and chunks whose framing was checked where the kernel has it, and is as we write it.

use crate::http::body::Body;
use crate::http::chunked::Chunks;
use crate::net::{Conn, End};
use crate::sys::{IoError, Pipe};

use super::buffers::RelayBuffers;
use super::chunked_relay::{Ahead, ChunkCopy, FRAMING_MAX};
use super::downstream::sink::Sink;
use crate::proxy::ids::RecorderId;
use crate::proxy::step::{ChunkPlace, Frame, Progress, RelayError};

/// A splice that moves less than this would have been cheaper by the rings.
const SMALL: usize = 16 * 1024;

/// Whether a body goes by splice where that pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpliceMode {
    /// By splice, as far as there are pipes.
    Splice,
    /// By splice, but a pipe was missing once, which was counted.
    SpliceAgain,
    /// By the rings: the kernel refuses to splice these sockets. What is still in the pipe goes by the rings,
    /// too.
    Rings,
}

/// Whether the bytes that went on are still there, for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayCopy {
    /// None are kept: the body can be sent again only while nothing of it went on.
    Off,
    /// All are kept, at the front of the source's ring.
    Kept,
    /// Some were kept and are gone: the body cannot be sent again.
    Lost,
}

/// One direction of an exchange.
pub struct Relay {
    /// How the source frames the body, as it was at first.
    whole: Body,
    /// `whole`, less what was moved.
    body: Body,
    /// How the sink is told.
    frame: Frame,
    /// Bytes of the body proper that were moved.
    payload: u64,
    /// Bytes at the front of the source's ring that went on already and are kept for a retry.
    kept: usize,
    /// Whether they are kept.
    replay: ReplayCopy,
    /// Whether splicing is possible.
    splice_mode: SpliceMode,
    /// The pipe of a splice that is under way.
    pipe: Option<Pipe>,
    /// For a body whose end is not known: whether the last read brought so much that splicing pays.
    flows: bool,
    /// Chunks at the source that may be spliced.
    ahead: Ahead,
    /// Whether the data of a chunk went out by splice, and its line end is due.
    line_end_due: bool,
    /// The recorder of the body, if it is being stored.
    recorder: Option<RecorderId>,
}

impl Relay {
    /// No body.
    pub fn nothing() -> Relay {
        Relay::new(Body::Empty, Frame::Raw)
    }

    /// A body framed as `body` at its source and by `frame` for its sink.
    pub fn new(body: Body, frame: Frame) -> Relay {
        Relay {
            whole: body,
            body,
            frame,
            payload: 0,
            kept: 0,
            replay: ReplayCopy::Off,
            splice_mode: SpliceMode::Splice,
            pipe: None,
            flows: false,
            ahead: Ahead::default(),
            line_end_due: false,
            recorder: None,
        }
    }

    /// A body framed as in [`Relay::new`]. What was moved stays at the front of the source's ring, as long as
    /// that has room, so that `restart` can send it again.
    pub fn keeping(body: Body, frame: Frame) -> Relay {
        let replay = if body.is_done() { ReplayCopy::Off } else { ReplayCopy::Kept };
        Relay { replay, ..Relay::new(body, frame) }
    }

    /// Whether the body went whole to the sink's ring or socket.
    pub fn is_done(&self) -> bool {
        self.body.is_done() && self.pipe.is_none() && !self.line_end_due
    }

    /// Has all that passes from here on recorded.
    pub(super) fn be_recorded(&mut self, recorder: RecorderId) {
        self.recorder = Some(recorder);
    }

    /// The recorder of the body; none any more once that has failed.
    pub(super) fn recorder(&self) -> Option<RecorderId> {
        self.recorder
    }

    /// Stops recording, and returns the recorder.
    pub(super) fn take_recorder(&mut self) -> Option<RecorderId> {
        self.recorder.take()
    }

    /// Whether nothing has been moved, or all that was is still there.
    pub fn is_replayable(&self) -> bool {
        match self.replay {
            ReplayCopy::Off => self.payload == 0 && self.ahead.cleared() == 0,
            ReplayCopy::Kept => true,
            ReplayCopy::Lost => false,
        }
    }

    /// Whether a pipe holds bytes that the sink has not taken.
    pub fn is_stuck_in_pipe(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty())
    }

    /// Bytes of the body proper that were moved so far. While chunks are spliced, it is told late
    /// of some.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Begins again: all that was moved is still there.
    pub fn restart(&mut self) {
        assert!(self.is_replayable());
        *self = Relay::keeping(self.whole, self.frame);
    }

    /// Bytes at the front of the source's ring that belong to this relay's past.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Undoes a `restart`: the whole body had gone. So many bytes are still kept in the ring, and so much of it
    /// was payload.
    pub fn had_gone(&mut self, kept: usize, payload: u64) {
        (self.body, self.kept, self.payload) = (Body::Empty, kept, payload);
    }

    /// How long the body is, if that was known beforehand.
    pub fn length(&self) -> Option<u64> {
        match self.whole {
            Body::Empty => Some(0),
            Body::Length(length) => Some(length),
            Body::Chunked(_) | Body::UntilClose => None,
        }
    }

    /// How the sink is told.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// Where the sink stands in its chunks, of a body that was only copied.
    pub(super) fn chunk_place(&self) -> ChunkPlace {
        match &self.body {
            Body::Chunked(chunks) if chunks.in_trailers() => ChunkPlace::Behind,
            Body::Chunked(chunks) if chunks.in_chunk() => ChunkPlace::Within(chunks.data_left()),
            Body::Chunked(_) | Body::UntilClose | Body::Empty | Body::Length(_) => {
                ChunkPlace::Between
            }
        }
    }

    /// Throws the body away where all of it is in the source's ring already.
    pub fn skip(&mut self, source: &mut Conn) {
        self.let_go(source);
        if let Body::Length(left) = self.body
            && left <= source.input.len() as u64
        {
            source.input.consume(left as usize);
            self.body = Body::Empty;
        }
    }

    /// Stops keeping, for nothing will be sent again, and frees what was kept.
    pub fn let_go(&mut self, source: &mut Conn) {
        source.input.consume(self.kept);
        self.replay = match self.replay {
            _ if self.kept > 0 => ReplayCopy::Lost,
            ReplayCopy::Off | ReplayCopy::Kept => ReplayCopy::Off,
            ReplayCopy::Lost => ReplayCopy::Lost,
        };
        self.kept = 0;
    }

    /// Gives the pipe back, at the end or when the exchange is given up.
    pub fn release(&mut self, buffers: &mut RelayBuffers) {
        if let Some(pipe) = self.pipe.take() {
            buffers.pipes.put(pipe);
        }
    }

    /// Moves what can be moved now. The caller flushes the sink.
    pub fn step(
        &mut self,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        if self.is_done() {
            return Ok(Progress::None);
        }
        if self.pipe.is_some() {
            return self.splice(source, sink, buffers);
        }
        if sink.takes_pipes() && self.may_splice(source, buffers) {
            if !sink.is_flushed() {
                return Ok(Progress::None); // What is in the ring goes first, and then the pipe.
            }
            if self.look_ahead(source, buffers) {
                return self.splice(source, sink, buffers);
            }
        }
        let mut moved = 0;
        let mut received = 0;
        if source.input.len() > self.kept {
            moved = self.copy(source, sink, buffers)?;
            if moved == 0 && self.flows && self.replay != ReplayCopy::Kept && !sink.is_flushed() {
                return Ok(Progress::None); // With more behind it, the ring would not empty for a pipe.
            }
        }
        if moved == 0 {
            self.make_room(source, sink);
            // A broken source is found by `is_ended`; what it sent before comes first.
            received = source.fill(&mut buffers.rings).unwrap_or(0);
            if received > 0 {
                // A ring full, but for what was left in it.
                self.flows = source.input.is_full() && received > buffers.ring_size / 2;
                moved = self.copy(source, sink, buffers)?;
            }
        }
        if moved == 0 && !self.body.is_done() && source.is_ended() {
            return self.end(source, sink, buffers);
        }
        Ok(if moved > 0 || received > 0 { Progress::Made } else { Progress::None })
    }

    /// A full ring whose bytes all went on is emptied: the retry is given up for the room. What is
    /// left in it may only wait for room at the sink.
    fn make_room(&mut self, source: &mut Conn, sink: &Sink<&mut Conn>) {
        let is_used = self.kept == source.input.len() || sink.is_flushed();
        if self.kept > 0 && source.input.is_full() && is_used {
            self.let_go(source);
        }
    }

    /// Copies from ring to ring. Returns how many bytes of the source were used.
    fn copy(
        &mut self,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<usize, RelayError> {
        let keeping = self.replay == ReplayCopy::Kept;
        let Relay { body, frame, kept, payload, ahead, recorder, .. } = self;
        match (body, *frame) {
            (Body::Empty, _) => Ok(0),
            (Body::Length(left), _) => {
                let limit = usize::try_from(*left).unwrap_or(usize::MAX);
                record(source, sink, buffers, limit, recorder);
                let moved = copy_raw(source, sink, buffers, limit, keeping, kept);
                *left -= moved as u64;
                *payload += moved as u64;
                Ok(moved)
            }
            (Body::UntilClose, Frame::Raw) => {
                record(source, sink, buffers, usize::MAX, recorder);
                let moved = copy_raw(source, sink, buffers, usize::MAX, keeping, kept);
                *payload += moved as u64;
                Ok(moved)
            }
            (Body::UntilClose, Frame::Chunked) => {
                let room = sink.room(buffers.ring_size).saturating_sub(FRAMING_MAX);
                let size = source.input.len().min(room);
                if size == 0 {
                    return Ok(0);
                }
                record(source, sink, buffers, size, recorder);
                let rings = &mut buffers.rings;
                sink.write(Chunks::size_line(size as u64, &mut [0; 20]), rings);
                sink.pour(&mut source.input, size, rings);
                sink.write(b"\r\n", rings);
                *payload += size as u64;
                Ok(size)
            }
            (Body::Chunked(_), _) if ahead.cleared() > 0 => {
                let limit = usize::try_from(ahead.cleared()).unwrap_or(usize::MAX);
                let moved = copy_raw(source, sink, buffers, limit, keeping, kept);
                *payload += ahead.advance(moved as u64);
                Ok(moved)
            }
            (Body::Chunked(chunks), _) => {
                let mut copy =
                    ChunkCopy { chunks, frame: *frame, keeping, kept, payload, recorder };
                copy.run(&mut source.input, sink, buffers)
            }
        }
    }

    /// The source has nothing more: the proper end of a body that lasts until then, else a cut.
    fn end(
        &mut self,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        if source.input.len() > self.kept && !sink.is_flushed() {
            return Ok(Progress::None); // The sink has no room for the rest yet.
        }
        if !matches!(self.body, Body::UntilClose) || source.end == End::Broken {
            return Err(RelayError::Ended);
        }
        if self.frame == Frame::Chunked {
            if sink.room(buffers.ring_size) < FRAMING_MAX {
                return Ok(Progress::None);
            }
            sink.write(b"0\r\n\r\n", &mut buffers.rings);
        }
        self.body = Body::Empty;
        Ok(Progress::Made)
    }

    /// Bytes that are sure to follow and may go as they are.
    fn raw_left(&self) -> u64 {
        match &self.body {
            Body::Empty => 0,
            Body::Length(left) => *left,
            Body::Chunked(chunks) => self.ahead.cleared() + chunks.data_left(),
            Body::UntilClose => u64::MAX,
        }
    }

    fn may_splice(&mut self, source: &Conn, buffers: &mut RelayBuffers) -> bool {
        let pays = match &self.body {
            Body::UntilClose => self.flows,
            Body::Chunked(chunks) if self.flows && self.may_look_ahead(chunks) => true,
            Body::Empty | Body::Length(_) | Body::Chunked(_) => {
                self.raw_left() >= buffers.splice_min
            }
        };
        let may = pays
            && source.input.is_empty()
            && source.readable
            && self.replay != ReplayCopy::Kept
            && self.recorder.is_none()
            && self.splice_mode != SpliceMode::Rings;
        if may && !buffers.pipes.has_spare() {
            self.lacks_pipe(buffers);
            return false;
        }
        may
    }

    /// No pipe is to be had: the rings take over, for now.
    fn lacks_pipe(&mut self, buffers: &mut RelayBuffers) {
        if self.splice_mode == SpliceMode::Splice {
            self.splice_mode = SpliceMode::SpliceAgain;
            buffers.splice_fallbacks += 1;
        }
    }

    /// The kernel, or a filter of system calls, does not splice these sockets.
    fn give_up_splicing(&mut self, buffers: &mut RelayBuffers) {
        buffers.pipes.complain(IoError::Unsupported);
        buffers.splice_fallbacks += u64::from(self.splice_mode == SpliceMode::Splice);
        self.splice_mode = SpliceMode::Rings;
    }

    fn may_look_ahead(&self, chunks: &Chunks) -> bool {
        self.frame == Frame::Chunked && self.ahead.may_look(chunks)
    }

    /// Finds out how far chunks may go as they are. Says whether splicing pays.
    fn look_ahead(&mut self, source: &mut Conn, buffers: &mut RelayBuffers) -> bool {
        let Body::Chunked(mut chunks) = self.body else { return true };
        let is_enough = self.raw_left() >= buffers.pipes.sight.bytes.len() as u64 / 2;
        if is_enough || !self.may_look_ahead(&chunks) {
            return true;
        }
        let pays = self.ahead.look(&mut chunks, source, buffers);
        self.body = Body::Chunked(chunks);
        // Where nothing has come yet, as much as before may follow.
        self.flows &= pays || !source.readable;
        pays
    }

    /// Moves bytes through the pipe: into it while it is empty, out of it while it is not.
    fn splice(
        &mut self,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        let Some(mut pipe) = self.pipe.take().or_else(|| buffers.pipes.take()) else {
            self.lacks_pipe(buffers);
            return self.step_without_pipe(source, sink, buffers);
        };
        let outcome = self.splice_through(&mut pipe, source, sink, buffers);
        if outcome.is_ok() && (!pipe.is_empty() || self.line_end_due) {
            self.pipe = Some(pipe);
        } else {
            buffers.pipes.put(pipe);
        }
        match outcome {
            // The end was found just now, and no event will tell of it again.
            Ok(Progress::None) if self.pipe.is_none() && source.is_ended() => Ok(Progress::Made),
            outcome => outcome,
        }
    }

    /// One filling or one emptying of the pipe, or both.
    fn splice_through(
        &mut self,
        pipe: &mut Pipe,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        let mut moved = Progress::None;
        let may_fill =
            pipe.is_empty() && !self.line_end_due && self.splice_mode != SpliceMode::Rings;
        if may_fill && source.readable && sink.is_flushed() {
            let filled = self.fill_pipe(pipe, source, buffers)?;
            if filled > 0 {
                moved = Progress::Made;
                buffers.spliced += filled as u64;
                self.announce(filled, sink, buffers);
            } else if source.is_ended() || self.splice_mode == SpliceMode::Rings {
                moved = Progress::Made;
            }
        }
        if !pipe.is_empty() && self.empty_pipe(pipe, sink, buffers)? == Progress::Made {
            moved = Progress::Made;
        }
        if pipe.is_empty() && self.line_end_due && sink.room(buffers.ring_size) >= 2 {
            sink.write(b"\r\n", &mut buffers.rings);
            self.line_end_due = false;
            moved = Progress::Made;
        }
        Ok(moved)
    }

    /// Moves bytes out of the pipe: to the sink, or into its ring where that is refused.
    fn empty_pipe(
        &mut self,
        pipe: &mut Pipe,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        if self.splice_mode == SpliceMode::Rings {
            if sink.room(buffers.ring_size) == 0 {
                return Ok(Progress::None);
            }
            let outcome = sink.drain_copying(pipe, &mut buffers.rings);
            return outcome.map(|()| Progress::Made).map_err(|_| RelayError::SinkBroken);
        }
        if !sink.is_writable() || !sink.is_flushed() {
            return Ok(Progress::None);
        }
        match sink.drain(pipe) {
            Ok(()) => Ok(Progress::Made),
            Err(IoError::WouldBlock) => Ok(Progress::None),
            Err(IoError::Unsupported) => {
                self.give_up_splicing(buffers);
                Ok(Progress::Made)
            }
            Err(_) => Err(RelayError::SinkBroken),
        }
    }

    fn fill_pipe(
        &mut self,
        pipe: &mut Pipe,
        source: &mut Conn,
        buffers: &mut RelayBuffers,
    ) -> Result<usize, RelayError> {
        let left = usize::try_from(self.raw_left()).unwrap_or(usize::MAX);
        match source.fill_pipe(pipe, left.min(pipe.capacity())) {
            Ok(0) => {
                source.mark_eof();
                Ok(0)
            }
            Ok(count) => {
                source.traffic.received += count as u64;
                self.flows = count >= SMALL;
                self.take_off(count as u64);
                Ok(count)
            }
            Err(IoError::WouldBlock) => {
                source.readable = false;
                Ok(0)
            }
            Err(IoError::Unsupported) => {
                self.give_up_splicing(buffers);
                Ok(0)
            }
            Err(_) => {
                source.readable = false;
                source.end = End::Broken;
                Err(RelayError::Ended)
            }
        }
    }

    /// Notes that so many bytes went into the pipe.
    fn take_off(&mut self, count: u64) {
        match &mut self.body {
            Body::Length(left) => *left -= count,
            Body::Chunked(chunks) => {
                let cleared = count.min(self.ahead.cleared());
                chunks.advance(count - cleared);
                self.payload += self.ahead.advance(cleared) + count - cleared;
                return;
            }
            Body::Empty | Body::UntilClose => (),
        }
        self.payload += count;
    }

    /// A body without a length is cut into chunks of what the pipe holds.
    fn announce(&mut self, filled: usize, sink: &mut Sink<&mut Conn>, buffers: &mut RelayBuffers) {
        if matches!(self.body, Body::UntilClose) && self.frame == Frame::Chunked {
            sink.write(Chunks::size_line(filled as u64, &mut [0; 20]), &mut buffers.rings);
            self.line_end_due = true;
        }
    }

    /// No pipe is to be had: the rings do it.
    fn step_without_pipe(
        &mut self,
        source: &mut Conn,
        sink: &mut Sink<&mut Conn>,
        buffers: &mut RelayBuffers,
    ) -> Result<Progress, RelayError> {
        let received = source.fill(&mut buffers.rings).unwrap_or(0);
        if received > 0 {
            self.copy(source, sink, buffers)?;
            return Ok(Progress::Made);
        }
        if source.is_ended() { self.end(source, sink, buffers) } else { Ok(Progress::None) }
    }
}

/// Records what `copy_raw` is about to move: as many bytes as the sink has room for.
#[inline]
fn record(
    source: &Conn,
    sink: &Sink<&mut Conn>,
    buffers: &mut RelayBuffers,
    limit: usize,
    recorder: &mut Option<RecorderId>,
) {
    if recorder.is_some() {
        let count = limit.min(sink.room(buffers.ring_size));
        buffers.record(recorder, source.input.slices(), count);
    }
}

/// Moves up to `limit` bytes as they are. Returns how many.
#[inline]
fn copy_raw(
    source: &mut Conn,
    sink: &mut Sink<&mut Conn>,
    buffers: &mut RelayBuffers,
    limit: usize,
    keeping: bool,
    kept: &mut usize,
) -> usize {
    if keeping {
        let moved = sink.copy(&source.input, *kept, limit, &mut buffers.rings);
        *kept += moved;
        return moved;
    }
    if sink.is_flushed() && source.input.len() <= limit {
        return sink.take_all(&mut source.input);
    }
    sink.pour(&mut source.input, limit, &mut buffers.rings)
}
