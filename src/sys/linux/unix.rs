//! Sockets that have a path, for connections within the machine: unix(7).
use super::Socket;
use super::listener::is_of_one_connection;
use super::place::PathHandle;
use super::process::User;
use crate::config::UnixPath;
use crate::sys::IoError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted: few, as those who ask here are operators.
const BACKLOG: i32 = 128;

/// A Unix socket that connections come to. Dropping it closes it, but its file stays: it may be
/// another process's too.
pub struct UnixListener {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl UnixListener {
    /// Listens at `path`, with the permissions `mode`, whatever the umask: who may write to the
    /// file may connect. It is `owner`'s, if one is named.
    ///
    /// A socket that is there is replaced if nobody listens at it. `InUse` if somebody does, or if
    /// it is no socket. `Linked` if this process is root, and somebody else may have put a link on the
    /// way.
    pub fn bind(path: &Path, mode: u32, owner: Option<&User>) -> Result<UnixListener, IoError> {
        let address = SocketAddrUnix::new(path)?;
        let place = PathHandle::new(path)?;
        if is_abandoned(&place, &address)? {
            rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty())?;
        }
        let descriptor = open()?;
        // The file gets what the socket has: so at no moment may anyone connect who may not.
        rustix::fs::fchmod(&descriptor, Mode::from_raw_mode(mode))?;
        bind_whatever_the_umask(&descriptor, &address)?;
        let file = place.open(OFlags::PATH, Mode::empty())?;
        let facts = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::Socket || facts.st_nlink != 1 {
            return Err(Errno::LOOP.into()); // Somebody has put something else there.
        }
        if let Some(owner) = owner {
            place.give(file.as_fd(), owner)?;
        }
        net::listen(&descriptor, BACKLOG)?;
        Ok(UnixListener { descriptor, path: path.to_owned() })
    }

    /// Takes a listener that was handed over. Fails if it is none, or has no path.
    pub fn adopt(descriptor: OwnedFd) -> Result<UnixListener, IoError> {
        let address = SocketAddrUnix::try_from(net::getsockname(&descriptor)?)?;
        let is_stream = sockopt::socket_type(&descriptor)? == SocketType::STREAM;
        let is_listener = is_stream && sockopt::socket_acceptconn(&descriptor)?;
        let path = address.path_bytes().filter(|_| is_listener).ok_or(Errno::INVAL)?;
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
        let path = PathBuf::from(OsStr::from_bytes(path));
        Ok(UnixListener { descriptor, path })
    }

    /// Removes the socket at `path`. Not what a link leads to that somebody else has put on the way.
    pub fn remove_file(path: &Path) -> Result<(), IoError> {
        let place = PathHandle::new(path)?;
        let found = rustix::fs::statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return Err(IoError::NotFound);
        }
        Ok(rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty())?)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next connection.
    pub fn accept(&self) -> Result<Socket, IoError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match net::accept_with(&self.descriptor, flags) {
                Ok(descriptor) => return Ok(Socket::of(descriptor)),
                Err(error) if is_of_one_connection(error) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<UnixListener> for OwnedFd {
    fn from(listener: UnixListener) -> OwnedFd {
        listener.descriptor
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Connects to whoever listens at `path`: see [`Socket::connect`].
pub(super) fn connect(path: &UnixPath) -> Result<OwnedFd, IoError> {
    let address = match path.abstract_name() {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path.as_str())?,
    };
    let descriptor = open()?;
    net::connect(&descriptor, &address)?;
    Ok(descriptor)
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Binds, and the umask takes nothing from what the socket's file has. To change the file afterwards
/// would take /proc: chmod(2) follows links. The umask is the process's, which has no other thread.
fn bind_whatever_the_umask(socket: &OwnedFd, address: &SocketAddrUnix) -> Result<(), Errno> {
    let umask = rustix::process::umask(Mode::empty());
    let bound = net::bind(socket, address);
    rustix::process::umask(umask);
    bound
}

/// A socket is at `place` that nobody listens at, as a process leaves it that was killed.
fn is_abandoned(place: &PathHandle, address: &SocketAddrUnix) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let kind = match rustix::fs::statat(&place.folder, &place.name, flags) {
        Ok(found) => FileType::from_raw_mode(found.st_mode),
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(kind == FileType::Socket && net::connect(open()?, address) == Err(Errno::CONNREFUSED))
}

#[cfg(test)]
mod tests {
    use super::UnixListener;
    use crate::mem::time::Millis;
    use crate::sys::IoError;
    use crate::sys::linux::testing::alone;
    use crate::sys::linux::{Listener, Poller};
    use rustix::fd::OwnedFd;
    use rustix::fs::Mode;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{self, UnixDatagram, UnixStream};
    use std::path::{Path, PathBuf};

    /// A path where nothing is.
    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()))
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn an_accepted_connection_is_a_socket_as_any_other() {
        let path = path("accept");
        let listener = UnixListener::bind(&path, 0o600, None).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.watch_unix_listener(&listener, 3).unwrap();
        assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
        let mut client = UnixStream::connect(&path).unwrap();
        poller.wait(Some(Millis(1000))).unwrap();
        assert!(poller.events()[0].token == 3 && poller.events()[0].readable);
        poller.unwatch_unix_listener(&listener).unwrap();
        let socket = listener.accept().unwrap();
        poller.watch_socket(&socket, 4).unwrap();
        client.write_all(b"drain").unwrap();
        let mut room = [0; 10];
        assert_eq!(socket.receive([&mut room, &mut []]), Ok(5));
        assert_eq!(socket.receive([&mut room, &mut []]), Err(IoError::WouldBlock));
        assert_eq!(socket.send([b"do", b"ne"]), Ok(4));
        assert!(socket.peer_address().is_err() && socket.local_address().is_err());
        socket.reset();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_permissions_are_those_that_were_asked_for() {
        // The umask is the tests' beside it too.
        if !alone(the_permissions_are_those_that_were_asked_for) {
            return;
        }
        const UMASK: Mode = Mode::from_raw_mode(0o077);
        rustix::process::umask(UMASK);
        for wanted in [0o600, 0o660, 0o666] {
            let path = path(&format!("mode-{wanted:o}"));
            let listener = UnixListener::bind(&path, wanted, None).unwrap();
            assert_eq!(mode(listener.path()), wanted);
            assert_eq!(rustix::process::umask(UMASK), UMASK);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn only_an_abandoned_socket_is_replaced() {
        let path = path("replace");
        let first = UnixListener::bind(&path, 0o600, None).unwrap();
        assert_eq!(UnixListener::bind(&path, 0o600, None).err(), Some(IoError::InUse));
        drop(first);
        let second = UnixListener::bind(&path, 0o600, None).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(UnixListener::bind(&path, 0o600, None).err(), Some(IoError::InUse));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error() {
        assert!(UnixListener::bind(Path::new("/nonexistent/socket"), 0o600, None).is_err());
        let long = format!("/tmp/{}", "a".repeat(200));
        let error = UnixListener::bind(Path::new(&long), 0o600, None).err();
        assert_eq!(error, Some(IoError::Other(libc::ENAMETOOLONG)));
    }

    #[test]
    fn an_adopted_listener_knows_its_path_and_does_not_block() {
        let path = path("adopted");
        let other = net::UnixListener::bind(&path).unwrap();
        let listener = UnixListener::adopt(other.into()).unwrap();
        assert_eq!(listener.path(), path);
        assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
        assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_unix_listeners_are_adopted() {
        let tcp = Listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
        let connection = UnixStream::pair().unwrap().0;
        let others: [OwnedFd; 3] = [tcp.into(), datagrams.into(), connection.into()];
        assert!(others.map(|other| UnixListener::adopt(other).is_ok()) == [false; 3]);
        std::fs::remove_file(path("datagrams")).unwrap();
    }
}
