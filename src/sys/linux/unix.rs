//! Sockets that have a path, for connections within the machine: unix(7).
use super::place::PathHandle;
use crate::config::UnixPath;
use crate::sys::{IoError, SocketFile};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};
use std::path::Path;

/// Binds a socket to `path`: see [`Listener::bind`](super::Listener::bind).
pub(super) fn bind(path: &UnixPath, wanted: &SocketFile) -> Result<OwnedFd, IoError> {
    let address = address(path)?;
    let descriptor = open()?;
    if path.abstract_name().is_some() {
        net::bind(&descriptor, &address)?;
        return Ok(descriptor);
    }
    let place = PathHandle::new(Path::new(path.as_str()))?;
    if is_abandoned(&place, &address)? {
        rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty())?;
    }
    // The file gets what the socket has: so at no moment may anyone connect who may not.
    rustix::fs::fchmod(&descriptor, Mode::from_raw_mode(wanted.mode))?;
    bind_whatever_the_umask(&descriptor, &address)?;
    let file = place.open(OFlags::PATH, Mode::empty())?;
    let metadata = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(metadata.st_mode) != FileType::Socket || metadata.st_nlink != 1 {
        return Err(Errno::LOOP.into()); // Somebody has put something else there.
    }
    if let Err(error) = place.give_to(file.as_fd(), wanted.owner, wanted.group) {
        let _ = rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty()); // It is ours.
        return Err(error.into());
    }
    Ok(descriptor)
}

/// Removes the file of the socket at `path`: see
/// [`Listener::remove_file`](super::Listener::remove_file).
pub(super) fn remove_file(path: &UnixPath) -> Result<(), IoError> {
    if path.abstract_name().is_some() {
        return Err(IoError::NotFound);
    }
    let place = PathHandle::new(Path::new(path.as_str()))?;
    let found = rustix::fs::statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(IoError::NotFound);
    }
    Ok(rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty())?)
}

/// What the file of a socket is like: see [`Listener::file`](super::Listener::file).
pub(super) fn file(path: &UnixPath) -> Result<SocketFile, IoError> {
    if path.abstract_name().is_some() {
        return Err(IoError::NotFound);
    }
    let found = rustix::fs::stat(path.as_str())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(IoError::Exists);
    }
    let mode = found.st_mode & 0o7777;
    Ok(SocketFile { mode, owner: Some(found.st_uid), group: Some(found.st_gid) })
}

/// Which file stands at `path`: see [`Listener::file_identity`](super::Listener::file_identity).
pub(super) fn file_identity(path: &UnixPath) -> Option<(u64, u64)> {
    if path.abstract_name().is_some() {
        return None;
    }
    let found = rustix::fs::stat(path.as_str()).ok()?;
    Some((found.st_dev, found.st_ino))
}

/// The path, or the abstract name, of a socket whose address this is, if it has one.
pub(super) fn path_of(address: &SocketAddrAny) -> Option<UnixPath> {
    let address = SocketAddrUnix::try_from(address.clone()).ok()?;
    let text = match (address.path_bytes(), address.abstract_name()) {
        (Some(path), _) => str_of(path)?.to_owned(),
        (None, Some(name)) => format!("@{}", str_of(name)?),
        (None, None) => return None,
    };
    UnixPath::parse(&text).ok()
}

fn str_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn address(path: &UnixPath) -> Result<SocketAddrUnix, Errno> {
    match path.abstract_name() {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(path.as_str()),
    }
}

/// Connects to whoever listens at `path`: see `Socket::connect`.
pub(super) fn connect(path: &UnixPath) -> Result<OwnedFd, IoError> {
    let (address, descriptor) = (address(path)?, open()?);
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
    use crate::config::UnixPath;
    use crate::mem::time::Millis;
    use crate::sys::linux::testing::alone;
    use crate::sys::linux::{Listener, Poller};
    use crate::sys::{Binding, IoError, SocketFile};
    use rustix::fs::Mode;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{self, UnixStream};
    use std::path::{Path, PathBuf};

    /// A path where nothing is.
    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()))
    }

    fn bind(path: &Path, mode: u32) -> Result<Listener, IoError> {
        let path = UnixPath::parse(path.to_str().unwrap()).unwrap();
        let file = SocketFile { mode, ..SocketFile::PLAIN };
        Listener::bind(Binding { file, ..Binding::from(path) }, 16)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn an_accepted_connection_is_a_socket_as_any_other() {
        let path = path("accept");
        let listener = bind(&path, 0o600).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.watch_listener(&listener, 3).unwrap();
        assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
        let mut client = UnixStream::connect(&path).unwrap();
        poller.wait(Some(Millis(1000))).unwrap();
        assert!(poller.events()[0].token == 3 && poller.events()[0].readable);
        poller.unwatch_listener(&listener).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        assert_eq!(peer, None);
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
            let listener = bind(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            drop(listener);
            assert_eq!(rustix::process::umask(UMASK), UMASK);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn only_an_abandoned_socket_is_replaced() {
        let path = path("replace");
        let first = bind(&path, 0o600).unwrap();
        assert_eq!(bind(&path, 0o600).err(), Some(IoError::InUse));
        drop(first);
        let second = bind(&path, 0o600).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path, 0o600).err(), Some(IoError::InUse));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error() {
        let bound = bind(Path::new("/nonexistent/socket"), 0o600);
        assert_eq!(bound.err(), Some(IoError::NotFound));
    }

    #[test]
    fn a_listener_from_a_descriptor_knows_its_path_and_does_not_block() {
        let path = path("from-fd");
        let other = net::UnixListener::bind(&path).unwrap();
        let listener = Listener::from_fd(other.into()).unwrap();
        assert_eq!(listener.address().to_string(), format!("unix:{}", path.display()));
        assert_eq!(listener.accept().err(), Some(IoError::WouldBlock));
        assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::remove_file(&path).unwrap();
    }
}
