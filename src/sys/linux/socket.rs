//! Connections. None of them ever blocks.
use super::{last_error, unix};
use crate::config::Endpoint;
use crate::sys::{IoError, KeepAlive};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::ptr;
use std::time::Duration;

/// Where a peek begins: asm-generic/socket.h. The libc crate leaves it out.
const SO_PEEK_OFF: libc::c_int = 42;

/// A connection by TCP or a Unix socket, or the attempt at one. Dropping it closes it.
pub struct Socket {
    descriptor: OwnedFd,
}

impl Socket {
    /// Starts to connect to `endpoint`. An event tells when that is done: a plain one that it
    /// may be written, or one that has failed, of which `send` and `receive` tell the reason.
    /// Until then both of them would block. `Exhausted` if no descriptor or port is left.
    ///
    /// A Unix socket is connected at once or not at all: `NotFound` without its file, `Refused` if
    /// nobody listens there, `Denied` if this process may not. `WouldBlock` if as many wait to be
    /// accepted as may, and no event tells when it is fewer.
    pub fn connect(endpoint: impl Into<Endpoint>) -> Result<Socket, IoError> {
        match endpoint.into() {
            Endpoint::Tcp(address) => Socket::connect_tcp(address),
            Endpoint::Unix(path) => unix::connect(&path).map(Socket::of),
        }
    }

    fn connect_tcp(address: SocketAddr) -> Result<Socket, IoError> {
        let descriptor = open(address)?;
        sockopt::set_tcp_nodelay(&descriptor, true)?;
        match net::connect(&descriptor, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Socket { descriptor }),
            // All local ports are taken by connections to this address.
            Err(Errno::ADDRNOTAVAIL | Errno::AGAIN) => Err(IoError::Exhausted),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn of(descriptor: OwnedFd) -> Socket {
        Socket { descriptor }
    }

    /// Reads what has come into `room`, the first slice before the second. `Ok(0)` is the end
    /// of the stream: the peer sends no more.
    ///
    /// If less came than there was room for, then nothing more is there, and the next byte
    /// comes with an event. Only the end may be there too: whoever was told that the peer has
    /// closed must read on until it comes.
    pub fn receive(&self, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
        let [first, second] = room;
        assert!(first.len() + second.len() > 0, "no room would look like the end");
        if second.is_empty() {
            let (_, count) = net::recv(&self.descriptor, first, RecvFlags::empty())?;
            Ok(count)
        } else {
            let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
            Ok(rustix::io::readv(&self.descriptor, &mut slices)?)
        }
    }

    /// Looks at what has come, and leaves it there. `Ok(0)` is the end of the stream, which comes
    /// behind what can be seen. An error is told once: a read gives what came before it, and then
    /// what looks like an end.
    pub fn peek(&self, room: &mut [u8]) -> Result<usize, IoError> {
        assert!(!room.is_empty(), "no room would look like the end");
        let (_, count) = net::recv(&self.descriptor, room, RecvFlags::PEEK)?;
        Ok(count)
    }

    /// Has the next `peek` begin `offset` bytes behind the next one to be read. Where that is has to
    /// be said before each from now on. Not every kernel can do it: see `supports_peek_offset`.
    pub fn set_peek_offset(&self, offset: usize) -> Result<(), IoError> {
        let offset = libc::c_int::try_from(offset).expect("farther ahead than a socket can hold");
        // SAFETY: this option has an int for its value.
        unsafe { set_option(self.as_fd(), libc::SOL_SOCKET, SO_PEEK_OFF, &offset) }
    }

    /// Whether this kernel can look ahead in TCP connections, as Linux does from 6.9 on.
    pub fn supports_peek_offset() -> bool {
        let any = SocketAddr::from(([0; 4], 0));
        let Ok(descriptor) = open(any) else { return false };
        Socket { descriptor }.set_peek_offset(0).is_ok()
    }

    /// Writes `bytes`, the first slice before the second, as many as there is room for: the
    /// count says how many. If it is not all, an event tells when there is room again.
    pub fn send(&self, bytes: [&[u8]; 2]) -> Result<usize, IoError> {
        let [first, second] = bytes;
        let flags = SendFlags::NOSIGNAL;
        if second.is_empty() {
            Ok(net::send(&self.descriptor, first, flags)?)
        } else {
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let mut nothing = net::SendAncillaryBuffer::default();
            Ok(net::sendmsg(&self.descriptor, &slices, &mut nothing, flags)?)
        }
    }

    /// Has the kernel look for a peer that says nothing: see [`KeepAlive`].
    pub fn keep_alive(&self, wanted: KeepAlive) -> Result<(), IoError> {
        set_keep_alive(self.as_fd(), Some(wanted))
    }

    /// Tells the peer that no more will be sent. What it sends can be read on.
    pub fn shutdown_write(&self) -> Result<(), IoError> {
        Ok(net::shutdown(&self.descriptor, net::Shutdown::Write)?)
    }

    /// Breaks the connection off: the peer sees a reset, where a plain close looks like an end.
    pub fn reset(self) {
        // If the option cannot be set, the connection is broken already.
        let _ = sockopt::set_socket_linger(&self.descriptor, Some(Duration::ZERO));
    }

    /// The address of this end. That of a Unix socket is none.
    pub fn local_address(&self) -> Result<SocketAddr, IoError> {
        internet(net::getsockname(&self.descriptor)?)
    }

    /// The address of the other end. `Reset` once there is no other end. That of a Unix socket is
    /// none.
    pub fn peer_address(&self) -> Result<SocketAddr, IoError> {
        net::getpeername(&self.descriptor)?.map_or(Err(IoError::Reset), internet)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

pub(super) fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(family, SocketType::STREAM, flags, Some(net::ipproto::TCP))
}

/// Sets an option that rustix does not know.
///
/// # Safety
///
/// The option must have a value of type `T`, and if pointers are in it, they must be as the option
/// says.
pub(super) unsafe fn set_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> Result<(), IoError> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed. `value` is a reference to as
    // many bytes as is told, which are what the option demands: so our caller promises.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), size)
    };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// Sets what `Socket::keep_alive` and `Listener::keep_alive` promise.
pub(super) fn set_keep_alive(
    socket: BorrowedFd<'_>,
    wanted: Option<KeepAlive>,
) -> Result<(), IoError> {
    if let Some(KeepAlive { idle_secs }) = wanted {
        sockopt::set_tcp_keepidle(socket, Duration::from_secs(idle_secs))?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(KeepAlive::BETWEEN_PROBES_SECS))?;
        sockopt::set_tcp_keepcnt(socket, KeepAlive::PROBES)?;
    }
    Ok(sockopt::set_socket_keepalive(socket, wanted.is_some())?)
}

/// The address of a TCP socket. Others have none of this kind.
pub(super) fn internet(address: net::SocketAddrAny) -> Result<SocketAddr, IoError> {
    Ok(SocketAddr::try_from(address)?)
}
