//! TCP sockets and listeners. None of them ever blocks.
use crate::sys::IoError;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A TCP connection, or the attempt at one. Dropping it closes it.
pub struct Socket {
    descriptor: OwnedFd,
}

impl Socket {
    /// Starts to connect to `address`. An event tells when that is done: a plain one that it
    /// may be written, or one that has failed, of which `send` and `receive` tell the reason.
    /// Until then both of them would block. `Exhausted` if no descriptor or port is left.
    pub fn connect(address: SocketAddr) -> Result<Socket, IoError> {
        let descriptor = open(address)?;
        sockopt::set_tcp_nodelay(&descriptor, true)?;
        match net::connect(&descriptor, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Socket { descriptor }),
            // All local ports are taken by connections to this address.
            Err(Errno::ADDRNOTAVAIL | Errno::AGAIN) => Err(IoError::Exhausted),
            Err(error) => Err(error.into()),
        }
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

    /// Tells the peer that no more will be sent. What it sends can be read on.
    pub fn shutdown_write(&self) -> Result<(), IoError> {
        Ok(net::shutdown(&self.descriptor, net::Shutdown::Write)?)
    }

    /// Breaks the connection off: the peer sees a reset, where a plain close looks like an end.
    pub fn reset(self) {
        // If the option cannot be set, the connection is broken already.
        let _ = sockopt::set_socket_linger(&self.descriptor, Some(Duration::ZERO));
    }

    /// The address of this end.
    pub fn local_address(&self) -> Result<SocketAddr, IoError> {
        internet(net::getsockname(&self.descriptor)?)
    }

    /// The address of the other end. `Reset` once there is no other end.
    pub fn peer_address(&self) -> Result<SocketAddr, IoError> {
        net::getpeername(&self.descriptor)?.map_or(Err(IoError::Reset), internet)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A socket that connections come to. Dropping it closes it, and resets those not accepted.
pub struct Listener {
    descriptor: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    /// Listens at `address`; port 0 lets the kernel choose. Up to `backlog` connections wait to
    /// be accepted, though the kernel may be set to allow fewer (net.core.somaxconn).
    ///
    /// `[::]` takes IPv4 as well. A connection whose client sends nothing at first may come up to
    /// about a second late.
    pub fn bind(address: SocketAddr, backlog: i32) -> Result<Listener, IoError> {
        let (descriptor, address) = open_for_listening(address)?;
        sockopt::set_socket_reuseaddr(&descriptor, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&descriptor, false)?;
        }
        // The connections inherit this.
        sockopt::set_tcp_nodelay(&descriptor, true)?;
        defer_accept(descriptor.as_fd())?;
        net::bind(&descriptor, &address)?;
        net::listen(&descriptor, backlog)?;
        let address = internet(net::getsockname(&descriptor)?)?;
        Ok(Listener { descriptor, address })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the next connection, and says who made it. An IPv4 client of a `[::]` listener is
    /// named by a mapped address, `::ffff:192.0.2.1`.
    pub fn accept(&self) -> Result<(Socket, SocketAddr), IoError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match net::acceptfrom_with(&self.descriptor, flags) {
                Ok((descriptor, peer)) => {
                    let peer = peer.map_or(Err(IoError::Reset), internet)?;
                    return Ok((Socket { descriptor }, peer));
                }
                Err(error) if is_of_one_connection(error) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The error is that of a connection which broke while it waited: accept(2) says to go on.
fn is_of_one_connection(error: Errno) -> bool {
    matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::NOPROTOOPT)
        || matches!(error, Errno::NETDOWN | Errno::HOSTDOWN | Errno::NONET | Errno::OPNOTSUPP)
        || matches!(error, Errno::HOSTUNREACH | Errno::NETUNREACH)
}

fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(family, SocketType::STREAM, flags, Some(net::ipproto::TCP))
}

/// Opens a socket for `address`, and says what to bind it to: where the kernel has no IPv6, "all
/// addresses" are all of IPv4.
fn open_for_listening(address: SocketAddr) -> Result<(OwnedFd, SocketAddr), Errno> {
    match open(address) {
        Err(Errno::AFNOSUPPORT) if address.ip().is_unspecified() => {
            let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            Ok((open(all)?, all))
        }
        opened => Ok((opened?, address)),
    }
}

/// Has the kernel hold a new connection back until its client has sent something, but for a
/// second at most: mostly the request is there when the connection is accepted.
fn defer_accept(listener: BorrowedFd<'_>) -> Result<(), IoError> {
    let seconds: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the option's value is
    // an int that lives here, of the size that is told.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "TCP_DEFER_ACCEPT takes any number, at any TCP socket");
    Ok(())
}

/// Only TCP sockets are opened here, and theirs are internet addresses.
fn internet(address: net::SocketAddrAny) -> Result<SocketAddr, IoError> {
    Ok(SocketAddr::try_from(address)?)
}
