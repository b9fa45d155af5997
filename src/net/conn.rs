//! A connection: socket, rings, readiness.
//!
//! Sockets are watched edge-triggered, once and both ways. `readable` and `writable` remember what
//! the kernel said last: events set them, `WouldBlock` clears them, and so does a short read or
//! write, which saves the call that would only say `WouldBlock`.

use crate::mem::free_list::FreeList;
use crate::mem::ring::Ring;
use crate::sys::{Event, File, IoError, Pipe, Poller, Socket};

/// How far the peer's side of a connection has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer may send more.
    Open,
    /// An event said that the peer has ended its side; bytes may be left to read before it.
    Announced,
    /// A call told of an error; bytes may be left to read. Behind them comes no proper end, though it looks
    /// like one: the kernel tells of a reset only once.
    Reset,
    /// Everything was read.
    Reached,
    /// The connection was reset or broke: nothing more can be read or written.
    Broken,
}

/// A connection with its rings. A ring is taken while it holds bytes, and goes back to the free list
/// when it is empty: an idle connection holds no buffer at all, and those in use are few and hot.
pub struct Conn {
    socket: Socket,
    /// Bytes received and not yet used.
    pub input: Ring,
    /// Bytes to be sent.
    pub output: Ring,
    /// The kernel may have bytes, or the end, to read.
    pub readable: bool,
    /// The kernel may have room to write.
    pub writable: bool,
    /// Whether the peer has ended its side.
    pub end: End,
    /// Whether we have ended ours.
    pub has_said_end: bool,
    /// An event said that the connection is broken. What came before can be read, but nothing follows.
    pub was_reset: bool,
    /// What passed and was not counted yet; splicing adds to it.
    pub traffic: Traffic,
}

/// Bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the peer.
    pub received: u64,
    /// To the peer.
    pub sent: u64,
}

impl Conn {
    /// A connection on `socket` that may be readable or writable at once, as the caller knows.
    pub fn new(socket: Socket, readable: bool, writable: bool) -> Conn {
        Conn {
            socket,
            input: Ring::detached(),
            output: Ring::detached(),
            readable,
            writable,
            end: End::Open,
            has_said_end: false,
            was_reset: false,
            traffic: Traffic::default(),
        }
    }

    /// Asks for the events of the socket.
    pub fn watch(&self, poller: &Poller, token: u64) -> Result<(), IoError> {
        poller.watch_socket(&self.socket, token)
    }

    /// Moves up to `limit` bytes from the kernel to an empty pipe.
    pub fn fill_pipe(&self, pipe: &mut Pipe, limit: usize) -> Result<usize, IoError> {
        pipe.fill(&self.socket, limit)
    }

    /// Moves what a pipe holds to the kernel.
    pub fn drain_pipe(&self, pipe: &mut Pipe) -> Result<usize, IoError> {
        pipe.drain(&self.socket)
    }

    /// Sends up to `limit` bytes of a file from `at` on.
    pub fn send_file(&self, file: &File, at: u64, limit: usize) -> Result<usize, IoError> {
        file.send(&self.socket, at, limit)
    }

    /// Looks at what the kernel has, which stays there. With an offset that is said each time, it
    /// begins behind so many bytes, if the kernel can do that. Returns how many bytes were seen. With
    /// 0 a read tells why, unless the connection is no longer readable.
    pub fn peek(&mut self, offset: Option<usize>, room: &mut [u8]) -> usize {
        if offset.is_some_and(|offset| self.socket.set_peek_offset(offset).is_err()) {
            return 0;
        }
        match self.socket.peek(room) {
            Ok(count) => count,
            Err(IoError::WouldBlock) => {
                self.readable = offset.is_some_and(|offset| offset > 0);
                0
            }
            Err(_) => {
                // The kernel will not say so again, and has still what came before.
                self.mark_reset();
                0
            }
        }
    }

    /// Notes what an event says. A peer that closed is read until its end is found.
    pub fn mark(&mut self, event: Event) {
        self.writable |= event.writable || event.failed;
        self.readable |= event.readable || event.closed || event.failed;
        self.was_reset |= event.reset;
        if (event.closed || event.failed) && self.end == End::Open {
            self.end = End::Announced;
        }
    }

    /// Receives once into the input ring, if there may be something and there is room.
    ///
    /// Returns the number of bytes; 0 means nothing now, no room, or the end (see `end`).
    /// A reset is an error and also marks the connection `Broken`.
    #[inline]
    pub fn fill(&mut self, rings: &mut FreeList) -> Result<usize, IoError> {
        if self.readable { self.receive(rings, 0) } else { Ok(0) }
    }

    /// The same, but `spare` bytes of the ring stay free, which are fewer than it has.
    #[inline]
    pub fn fill_sparing(&mut self, rings: &mut FreeList, spare: usize) -> Result<usize, IoError> {
        if self.readable { self.receive(rings, spare) } else { Ok(0) }
    }

    fn receive(&mut self, rings: &mut FreeList, spare: usize) -> Result<usize, IoError> {
        let has_room = !self.input.is_attached() || self.input.room() > spare;
        if self.end == End::Broken || !has_room {
            return Ok(0);
        }
        borrow(&mut self.input, rings);
        let room = self.input.room() - spare;
        let free = if spare == 0 { self.input.free() } else { self.input.free_up_to(room) };
        let received = match self.socket.receive(free) {
            Ok(0) => {
                self.mark_eof();
                0
            }
            Ok(count) => {
                self.input.filled(count);
                self.traffic.received += count as u64;
                // A short read has drained the socket, unless its end is still to be read.
                self.readable = count == room || self.end != End::Open;
                count
            }
            Err(IoError::WouldBlock) => {
                self.readable = false;
                0
            }
            Err(error) => {
                self.readable = false;
                self.end = End::Broken;
                give_back_if_empty(&mut self.input, rings);
                return Err(error);
            }
        };
        give_back_if_empty(&mut self.input, rings);
        Ok(received)
    }

    /// A read has come to the end.
    pub fn mark_eof(&mut self) {
        self.readable = false;
        self.end = if self.end == End::Reset { End::Broken } else { End::Reached };
    }

    /// A send has failed. What the peer said before it closed can still be read.
    pub fn send_failed(&mut self) {
        self.mark_reset();
    }

    fn mark_reset(&mut self) {
        self.readable = true;
        if matches!(self.end, End::Open | End::Announced) {
            self.end = End::Reset;
        }
    }

    /// Sends what the output ring holds, as much as the kernel takes. Returns the bytes sent.
    /// After an error the output is thrown away; what was received can still be read.
    #[inline]
    pub fn flush(&mut self, rings: &mut FreeList) -> Result<usize, IoError> {
        if self.writable && !self.output.is_empty() { self.send(rings) } else { Ok(0) }
    }

    fn send(&mut self, rings: &mut FreeList) -> Result<usize, IoError> {
        let waiting = self.output.len();
        let sent = match self.socket.send(self.output.slices()) {
            Ok(count) => {
                self.output.consume(count);
                self.traffic.sent += count as u64;
                self.writable = count == waiting;
                count
            }
            Err(IoError::WouldBlock) => {
                self.writable = false;
                0
            }
            Err(error) => {
                self.discard_output(rings);
                self.writable = false;
                return Err(error);
            }
        };
        give_back_if_empty(&mut self.output, rings);
        Ok(sent)
    }

    /// What passed since the last time that it was asked for.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// Ends our side: the peer will read an end behind what was sent. Fails where the connection is
    /// broken, which the next read tells too.
    pub fn shutdown_write(&mut self) -> Result<(), IoError> {
        self.has_said_end = true;
        self.socket.shutdown_write()
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(self) {
        self.socket.reset();
    }

    /// Makes sure that the output ring has memory.
    pub fn prepare_output(&mut self, rings: &mut FreeList) -> &mut Ring {
        borrow(&mut self.output, rings);
        &mut self.output
    }

    /// Room in the output ring, which is taken only when it is used.
    pub fn output_room(&self, ring_size: usize) -> usize {
        if self.output.is_attached() { self.output.room() } else { ring_size }
    }

    /// Throws away what was to be sent.
    pub fn discard_output(&mut self, rings: &mut FreeList) {
        let waiting = self.output.len();
        self.output.consume(waiting);
        give_back_if_empty(&mut self.output, rings);
    }

    /// Throws away what was received.
    pub fn discard_input(&mut self, rings: &mut FreeList) {
        let waiting = self.input.len();
        self.input.consume(waiting);
        give_back_if_empty(&mut self.input, rings);
    }

    /// Puts the rings that are empty back into the free list.
    #[inline]
    pub fn release_idle_buffers(&mut self, rings: &mut FreeList) {
        give_back_if_empty(&mut self.input, rings);
        give_back_if_empty(&mut self.output, rings);
    }

    /// Gives both rings back, whatever they hold, before the connection is closed.
    pub fn release(&mut self, rings: &mut FreeList) {
        self.discard_input(rings);
        self.discard_output(rings);
    }

    /// Whether there is nothing to receive, nothing received, nothing to send, and no end in sight.
    pub fn is_quiet(&self) -> bool {
        !self.readable && self.end == End::Open && self.input.is_empty() && self.output.is_empty()
    }

    /// Whether everything that the peer will ever send has been received.
    pub fn is_ended(&self) -> bool {
        matches!(self.end, End::Reached | End::Broken)
    }
}

/// The free list holds two rings for each connection that there can be, so it cannot run dry.
fn borrow(ring: &mut Ring, rings: &mut FreeList) {
    if !ring.is_attached() {
        *ring = Ring::new(rings.take().expect("there are two rings for each connection"));
    }
}

#[inline]
fn give_back_if_empty(ring: &mut Ring, rings: &mut FreeList) {
    if ring.is_attached() && ring.is_empty() {
        rings.put(ring.take_bytes());
    }
}
