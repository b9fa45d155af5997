//! Bytes on their way from socket to socket that never pass through this process: splice(2).
use super::Socket;
use crate::sys::IoError;
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// What a pipe holds at first, if the user has not too many. One of less would slow a body down.
const USEFUL: usize = 64 * 1024;

/// A pipe and how much it holds.
///
/// A call that fails because the peer is gone raises SIGPIPE, which Rust programs ignore.
pub struct Pipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    len: usize,
    capacity: usize,
}

impl Pipe {
    /// Opens a pipe for about `capacity` bytes. It may get less, as an unprivileged user may
    /// have but so much in pipes, so look at `capacity()`. `Exhausted` if there is none, or one of a
    /// page or two, as the kernel gives them to a user who has too much in pipes already.
    pub fn open(capacity: usize) -> Result<Pipe, IoError> {
        let (read_end, write_end) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // It may not be allowed to grow so much. Then it is as large as it is, and asked just below.
        let _ = rustix::pipe::fcntl_setpipe_size(&write_end, capacity)
            .or_else(|_| rustix::pipe::fcntl_setpipe_size(&write_end, capacity / 4));
        let asked = capacity;
        let capacity = rustix::pipe::fcntl_getpipe_size(&write_end)?;
        if capacity < asked.min(USEFUL) {
            return Err(IoError::Exhausted);
        }
        Ok(Pipe { read_end, write_end, len: 0, capacity })
    }

    /// Moves up to `limit` bytes from `socket` into the pipe without a copy through user space.
    /// `Ok(0)` is the end of the stream. `WouldBlock` means that the socket has nothing now.
    ///
    /// The pipe must be empty, for the kernel does not tell a full pipe from an empty socket,
    /// and a pipe is full not only when it holds `capacity` bytes: it holds a number of pieces,
    /// and a small segment is a piece as well. For the same reason fewer bytes than `limit` do
    /// not mean that the socket has no more: only `WouldBlock` does.
    pub fn fill(&mut self, socket: &Socket, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0 && self.is_empty());
        let limit = limit.min(self.capacity);
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(socket, None, &self.write_end, None, limit, flags)?;
        self.len += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe, which must not be empty, into `socket`, and says how many. If
    /// some are left, or it would block, an event tells when the socket has room.
    pub fn drain(&mut self, socket: &Socket) -> Result<usize, IoError> {
        assert!(!self.is_empty(), "an empty pipe would look like a full socket");
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(&self.read_end, None, socket, None, self.len, flags)?;
        self.len -= moved;
        Ok(moved)
    }

    /// The bytes in the pipe.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing is in the pipe.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most bytes that may ever be in the pipe.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes that `fill` may move now: none unless the pipe is empty, as it says there.
    pub fn room(&self) -> usize {
        if self.is_empty() { self.capacity } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Pipe;
    use crate::sys::linux::{Listener, Socket};

    fn connection() -> (Socket, Socket) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let near = Socket::connect(listener.address()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        near.send([b"!", &[]]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let far = listener.accept().unwrap().0;
        assert_eq!(far.receive([&mut [0; 2], &mut []]), Ok(1));
        (near, far)
    }

    #[test]
    fn a_pipe_says_how_large_it_really_is() {
        let pipe = Pipe::open(256 * 1024).unwrap();
        assert!(pipe.capacity() > 0 && pipe.capacity() <= 256 * 1024);
        assert_eq!((pipe.len(), pipe.room()), (0, pipe.capacity()));
        // More than may be had.
        assert!(Pipe::open(1 << 31).unwrap().capacity() < 1 << 31);
    }

    #[test]
    fn a_pipe_may_be_full_of_less_than_its_capacity() {
        let (near, far) = connection();
        let (other, _other_end) = connection();
        let mut pipe = Pipe::open(4096).unwrap();
        for _ in 0..10 {
            // What goes elsewhere in between keeps the segments apart in memory.
            near.send([b"a small segment", &[]]).unwrap();
            other.send([b"a small segment", &[]]).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut filled = Vec::new();
        while let Ok(count) = pipe.fill(&far, 4096) {
            filled.push(count);
            pipe.drain(&far).unwrap();
        }
        assert!(filled.len() > 1 && filled.iter().sum::<usize>() == 150, "{filled:?}");
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_pipe_is_not_filled_twice() {
        let (near, far) = connection();
        let mut pipe = Pipe::open(4096).unwrap();
        near.send([b"one", &[]]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        pipe.fill(&far, 100).unwrap();
        let _ = pipe.fill(&far, 100);
    }
}
