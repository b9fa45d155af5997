//! Bytes on their way from socket to socket that never pass through this process: splice(2).
use super::Socket;
use crate::sys::IoError;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::io::IoSliceMut;

/// The least that a pipe must hold to be worth it: with less, splicing costs more than copying.
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

/// What a user without privileges may have in pipes, in bytes: pipe(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeQuota {
    /// In all of the user's pipes together, whatever programs have them.
    pub all: usize,
    /// In one.
    pub one: usize,
}

impl PipeQuota {
    /// That of this kernel; its usual one where there is no /proc.
    pub fn read() -> PipeQuota {
        let number = |name: &str| -> Option<usize> {
            let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).ok()?;
            text.trim_end().parse().ok()
        };
        let pages = |name: &str, usual: usize| match number(name).unwrap_or(usual) {
            0 => usize::MAX, // no limit
            pages => pages.saturating_mul(rustix::param::page_size()),
        };
        PipeQuota {
            all: pages("pipe-user-pages-soft", 16 * 1024).min(pages("pipe-user-pages-hard", 0)),
            one: number("pipe-max-size").unwrap_or(1 << 20),
        }
    }
}

impl Pipe {
    /// Opens a pipe for about `capacity` bytes. It may get less, as an unprivileged user may
    /// have but so much in pipes, so look at `capacity()`. `Exhausted` if there is none, or only one
    /// of a page or two, as the kernel gives them to a user who has too much in pipes already.
    /// `Unsupported` if pipes are refused.
    pub fn open(capacity: usize) -> Result<Pipe, IoError> {
        let (read_end, write_end) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(refusal)?;
        // It may not be allowed to grow so much. Then it is as large as it is, and asked just below.
        let _ = rustix::pipe::fcntl_setpipe_size(&write_end, capacity)
            .or_else(|_| rustix::pipe::fcntl_setpipe_size(&write_end, capacity / 4));
        let asked = capacity;
        let capacity = rustix::pipe::fcntl_getpipe_size(&write_end).map_err(refusal)?;
        if capacity < asked.min(USEFUL) {
            return Err(IoError::Exhausted);
        }
        Ok(Pipe { read_end, write_end, len: 0, capacity })
    }

    /// Tries all that splicing needs, from socket to pipe to socket. Fails where a kernel or a filter
    /// does not allow one of the calls.
    pub fn try_out() -> Result<(), IoError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let (from, source) = pair()?;
        let (sink, to) = pair()?;
        let (source, sink) = (Socket::of(source), Socket::of(sink));
        let mut pipe = match Pipe::open(USEFUL) {
            Err(IoError::Exhausted) => return Ok(()), // That is another matter, and may pass.
            opened => opened?,
        };
        send(&from, b"!", SendFlags::NOSIGNAL)?;
        pipe.fill(&source, 1)?;
        pipe.drain(&sink)?;
        let arrived = rustix::io::read(&to, &mut [0; 1])?;
        if arrived == 1 { Ok(()) } else { Err(IoError::Unsupported) }
    }

    /// Moves up to `limit` bytes from `socket` into the pipe without a copy through user space.
    /// `Ok(0)` is the end of the stream. `WouldBlock` means that the socket has nothing now.
    /// `Unsupported`: a kernel, or a filter of system calls, does not do this; nothing has moved, and
    /// the socket is as it was.
    ///
    /// The pipe must be empty, for the kernel does not tell a full pipe from an empty socket,
    /// and a pipe is full not only when it holds `capacity` bytes: it holds a number of pieces,
    /// and a small segment is a piece as well. For the same reason fewer bytes than `limit` do
    /// not mean that the socket has no more: only `WouldBlock` does.
    pub fn fill(&mut self, socket: &Socket, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0 && self.is_empty());
        let limit = limit.min(self.capacity);
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(socket, None, &self.write_end, None, limit, flags)
            .map_err(refusal)?;
        self.len += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe, which must not be empty, into `socket`, and says how many. If
    /// some are left, or it would block, an event tells when the socket has room. `Unsupported` as in
    /// `fill`: the bytes are still in the pipe, and `read` gets them out.
    pub fn drain(&mut self, socket: &Socket) -> Result<usize, IoError> {
        assert!(!self.is_empty(), "an empty pipe would look like a full socket");
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(&self.read_end, None, socket, None, self.len, flags)
            .map_err(refusal)?;
        self.len -= moved;
        Ok(moved)
    }

    /// Copies bytes from the pipe, which must not be empty, into `room`, the first slice before the
    /// second, and says how many.
    pub fn read(&mut self, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
        let [first, second] = room;
        assert!(!self.is_empty() && first.len() + second.len() > 0);
        let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
        let count = rustix::io::readv(&self.read_end, &mut slices)?;
        self.len -= count;
        Ok(count)
    }

    /// The bytes in the pipe.
    #[cfg(test)]
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
}

/// An error that says that the call is not done here, told apart from those of a connection.
pub(super) fn refusal(error: Errno) -> IoError {
    match error {
        Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP => {
            IoError::Unsupported
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pipe, PipeQuota};
    use crate::sys::linux::{Listener, Socket};

    fn connection() -> (Socket, Socket) {
        let listener = Listener::bind(([127, 0, 0, 1], 0), 1).unwrap();
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
        assert_eq!(pipe.len(), 0);
        // More than may be had.
        assert!(Pipe::open(1 << 31).unwrap().capacity() < 1 << 31);
    }

    #[test]
    fn splicing_is_tried_out_and_the_quota_is_read() {
        assert_eq!(Pipe::try_out(), Ok(()));
        let quota = PipeQuota::read();
        assert!(quota.one >= 4096 && quota.all >= 4096, "{quota:?}");
    }

    #[test]
    fn what_is_in_a_pipe_can_be_read_as_well() {
        let (near, far) = connection();
        let mut pipe = Pipe::open(4096).unwrap();
        near.send([b"hello", &[]]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(pipe.fill(&far, 4096), Ok(5));
        let (mut first, mut second) = ([0; 2], [0; 2]);
        assert_eq!(pipe.read([&mut first, &mut second]), Ok(4));
        assert_eq!((&first, &second, pipe.len()), (b"he", b"ll", 1));
        assert_eq!(pipe.read([&mut first, &mut []]), Ok(1));
        assert!(pipe.is_empty());
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
