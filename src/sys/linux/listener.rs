//! Sockets that connections come to; of TCP also several at one address.
use super::socket::{internet, open, set_keep_alive, set_option};
use super::{Socket, statement, unix};
use crate::config::{Endpoint, UnixPath};
use crate::sys::{Binding, IoError, KeepAlive, SocketFile};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags, SocketType, sockopt};
use std::net::{Ipv4Addr, SocketAddr};

/// A socket that connections come to. Dropping it closes it, and resets those not accepted. The file
/// of a Unix socket stays: it may be another process's too.
pub struct Listener {
    descriptor: OwnedFd,
    address: Endpoint,
}

/// Whether others may listen at the same address already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    None,
    Shared,
}

impl Listener {
    /// Listens at `address`, where nobody else listens: else `InUse`. From then on others of the
    /// same user may join by `bind_shared`. Port 0 lets the kernel choose one. Up to `backlog`
    /// connections wait to be accepted, though the kernel may be set to allow fewer
    /// (net.core.somaxconn).
    ///
    /// `NotLocal` if this host does not have the address, unless it is bound freely: then
    /// connections come once it has it.
    ///
    /// `[::]` takes IPv4 as well. A connection of TCP whose client sends nothing at first may come
    /// up to about a second late.
    ///
    /// A Unix socket that is there is replaced if nobody listens at it; `InUse` if somebody does, or
    /// if it is no socket. `Linked` if this process is root, and somebody else may have put a link on
    /// the way.
    pub fn bind(binding: impl Into<Binding>, backlog: i32) -> Result<Listener, IoError> {
        let binding = binding.into();
        match binding.endpoint {
            Endpoint::Tcp(address) => Listener::open(address, &binding, backlog, Company::None),
            Endpoint::Unix(path) => {
                let descriptor = unix::bind(&path, &binding.file)?;
                net::listen(&descriptor, backlog)?;
                Ok(Listener { descriptor, address: path.into() })
            }
        }
    }

    /// Listens as `bind` does, but also where listeners of this user are: each new connection
    /// comes to one of them, by chance. `InUse` if one is there that does not share. Unix sockets
    /// cannot: `Unsupported`.
    pub fn bind_shared(binding: impl Into<Binding>, backlog: i32) -> Result<Listener, IoError> {
        let binding = binding.into();
        match binding.endpoint {
            Endpoint::Tcp(address) => Listener::open(address, &binding, backlog, Company::Shared),
            Endpoint::Unix(_) => Err(IoError::Unsupported),
        }
    }

    fn open(
        address: SocketAddr,
        binding: &Binding,
        backlog: i32,
        company: Company,
    ) -> Result<Listener, IoError> {
        let (descriptor, address) = open_for_listening(address)?;
        sockopt::set_socket_reuseaddr(&descriptor, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&descriptor, false)?;
        }
        set_options_of_connections(descriptor.as_fd())?;
        // Whether there is company is found out by binding as one who shares nothing. Who joins
        // later looks at what the socket says then.
        sockopt::set_socket_reuseport(&descriptor, company == Company::Shared)?;
        if binding.freebind {
            // Of IPv6 sockets too: ip(7), ipv6(7).
            sockopt::set_ip_freebind(&descriptor, true)?;
        }
        net::bind(&descriptor, &address).map_err(|error| match error {
            Errno::ADDRNOTAVAIL => IoError::NotLocal,
            other => other.into(),
        })?;
        sockopt::set_socket_reuseport(&descriptor, true)?;
        net::listen(&descriptor, backlog)?;
        let address = internet(net::getsockname(&descriptor)?)?.into();
        Ok(Listener { descriptor, address })
    }

    /// Takes a listener that was handed over: by the service manager, or by the program that this
    /// process executed before. Fails if it is none, or none of TCP or of a Unix socket with a name.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Listener, IoError> {
        let name = net::getsockname(&descriptor)?;
        let address = match unix::path_of(&name) {
            Some(path) => Endpoint::Unix(path),
            None => Endpoint::Tcp(internet(name)?),
        };
        let is_stream = sockopt::socket_type(&descriptor)? == SocketType::STREAM;
        if !is_stream || !sockopt::socket_acceptconn(&descriptor)? {
            return Err(Errno::INVAL.into());
        }
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
        if let Endpoint::Tcp(_) = address {
            if sockopt::socket_protocol(&descriptor)? != Some(net::ipproto::TCP) {
                return Err(Errno::INVAL.into());
            }
            set_options_of_connections(descriptor.as_fd())?;
        }
        Ok(Listener { descriptor, address })
    }

    /// Removes the file of the Unix socket at `path`. Not what a link leads to that somebody else has
    /// put on the way.
    pub fn remove_file(path: &UnixPath) -> Result<(), IoError> {
        unix::remove_file(path)
    }

    /// What the file of the Unix socket at `path` is like, whoever listens there. `Denied` if this
    /// process may not even look, `NotFound` if there is none, and `Exists` if something else is there.
    pub fn file(path: &UnixPath) -> Result<SocketFile, IoError> {
        unix::file(path)
    }

    /// Which file stands at `path`, whosever: its device and its number there. Another file has others for as
    /// long as this one is there.
    pub fn file_identity(path: &UnixPath) -> Option<(u64, u64)> {
        unix::file_identity(path)
    }

    /// Has the connections that are made from now on begin with `Socket::keep_alive`, or without:
    /// they inherit it, so that it costs no call. Those by a Unix socket need none: the kernel knows
    /// when a peer has gone.
    pub fn keep_alive(&self, wanted: Option<KeepAlive>) -> Result<(), IoError> {
        match self.address {
            Endpoint::Tcp(_) => set_keep_alive(self.as_fd(), wanted),
            Endpoint::Unix(_) => Ok(()),
        }
    }

    /// Whether others of the same user may listen at its address too. A listener that was handed
    /// over by the service manager often does not share.
    pub fn is_shared(&self) -> bool {
        // To ask a socket for what every socket has does not fail.
        sockopt::socket_reuseport(&self.descriptor).unwrap_or(false)
    }

    /// The same listener once more: both take from one queue.
    pub fn try_clone(&self) -> Result<Listener, IoError> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 0)?;
        Ok(Listener { descriptor, address: self.address })
    }

    /// Lets new connections come only to the first `count` of the listeners that share the address
    /// with this one, each as likely. They stand in the order in which they began to listen; when
    /// one is closed, the last takes its place. With fewer than `count` of them, some connections
    /// go to any.
    ///
    /// Fails if it does not share.
    pub fn spread_over(&self, count: u32) -> Result<(), IoError> {
        assert!(count > 0, "they must come to someone");
        let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
        let mut program = [
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, random),
            statement(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count),
            statement(libc::BPF_RET | libc::BPF_A, 0),
        ];
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the option's value is a program, which points to as many instructions as it
        // says. They live until the end of this function, and the kernel makes a copy.
        unsafe {
            set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> Endpoint {
        self.address
    }

    /// Takes the next connection, and says who made it: nobody in particular by a Unix socket. An
    /// IPv4 client of a `[::]` listener is named by a mapped address, `::ffff:192.0.2.1`.
    pub fn accept(&self) -> Result<(Socket, Option<SocketAddr>), IoError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match net::acceptfrom_with(&self.descriptor, flags) {
                Ok((descriptor, peer)) => {
                    let peer = match self.address {
                        Endpoint::Tcp(_) => Some(peer.map_or(Err(IoError::Reset), internet)?),
                        Endpoint::Unix(_) => None,
                    };
                    return Ok((Socket::of(descriptor), peer));
                }
                Err(error) if is_of_one_connection(error) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> OwnedFd {
        listener.descriptor
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The error is that of a connection which broke while it waited: accept(2) says to go on.
pub(super) fn is_of_one_connection(error: Errno) -> bool {
    matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::NOPROTOOPT)
        || matches!(error, Errno::NETDOWN | Errno::HOSTDOWN | Errno::NONET | Errno::OPNOTSUPP)
        || matches!(error, Errno::HOSTUNREACH | Errno::NETUNREACH)
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

/// Sets what the connections that a listener accepts shall be like.
///
/// The kernel holds a new connection back until its client has sent something, but for a second
/// at most: mostly the request is there when the connection is accepted.
fn set_options_of_connections(listener: BorrowedFd<'_>) -> Result<(), IoError> {
    sockopt::set_tcp_nodelay(listener, true)?;
    let seconds: libc::c_int = 1;
    // SAFETY: the option's value is an int.
    unsafe { set_option(listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds) }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
