//! Unix sockets, of backends and for clients.

use super::{Client, wire::Wire};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs, io,
    net::TcpStream,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::fs::PermissionsExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::PathBuf,
};

/// A Unix socket of a backend.
#[derive(Clone, Debug)]
pub struct UnixPlace {
    /// Its path, or with `@` its abstract name.
    pub path: PathBuf,
    /// So many connections may wait there, and one more.
    pub backlog: i32,
}

impl UnixPlace {
    pub fn at(path: impl Into<PathBuf>) -> UnixPlace {
        UnixPlace { path: path.into(), backlog: 128 }
    }

    pub fn with_backlog(self, backlog: i32) -> UnixPlace {
        UnixPlace { backlog, ..self }
    }

    /// As `-b`, the log and the labels have it.
    pub fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn address(&self) -> SockAddr {
        let text = self.path.to_str().expect("UTF-8");
        match text.strip_prefix('@') {
            Some(name) => SockAddr::unix(format!("\0{name}")).expect("a name"),
            None => SockAddr::unix(text).expect("a path"),
        }
    }

    /// Listens there, where another may have been.
    pub fn listen(&self) -> UnixListener {
        let _ = fs::remove_file(&self.path); // there may be none
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&self.address()).unwrap();
        socket.listen(self.backlog).unwrap();
        if self.path.is_absolute() {
            // The program's processes may be another user's.
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        UnixListener::from(OwnedFd::from(socket))
    }

    /// Connects, unless the queue is full.
    pub fn connect(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.address())?;
        Ok(socket)
    }
}

/// What is done with a connection here is the same for both kinds.
pub fn as_stream(stream: UnixStream) -> TcpStream {
    TcpStream::from(OwnedFd::from(stream))
}

impl Client {
    /// One that connects by a Unix socket; `@` begins an abstract name.
    pub fn at_unix(path: impl Into<PathBuf>) -> Client {
        let path = path.into();
        let address = match path.to_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let stream = UnixStream::connect_addr(&address.expect("a path")).expect("who listens");
        Client { wire: Wire::new(as_stream(stream)) }
    }
}
