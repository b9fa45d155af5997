//! What the service manager is told: sd_notify(3), without its library.
use crate::sys::IoError;
use rustix::cmsg_space;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

/// The way to the service manager.
pub struct NotifySocket {
    descriptor: OwnedFd,
    manager: SocketAddrUnix,
}

impl NotifySocket {
    /// The most descriptors that one message takes along.
    pub const MOST_DESCRIPTORS: usize = 253;

    /// The way that the environment names in NOTIFY_SOCKET. `None` if there is no service manager
    /// that wants to be told anything, or only by a kind of socket that we do not have.
    pub fn from_env() -> Option<NotifySocket> {
        NotifySocket::to(&std::env::var_os("NOTIFY_SOCKET")?)
    }

    /// The way to a path, or to an abstract name if it starts with "@".
    fn to(name: &OsStr) -> Option<NotifySocket> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name).ok()?,
            [b'/', ..] => SocketAddrUnix::new(name).ok()?,
            _ => return None,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let descriptor =
            net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
        Some(NotifySocket { descriptor, manager })
    }

    /// Sends `text`, assignments as "READY=1" that are separated by newlines, and with it
    /// copies of `descriptors`, at most [`NotifySocket::MOST_DESCRIPTORS`] of them: the first such message that
    /// says "FDSTORE=1" hands them over for the next start.
    ///
    /// Never blocks: `WouldBlock` if the service manager does not keep up. `Refused` if it is
    /// gone.
    pub fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), IoError> {
        assert!(descriptors.len() <= NotifySocket::MOST_DESCRIPTORS, "too many for one message");
        let mut space =
            [MaybeUninit::uninit(); cmsg_space!(ScmRights(NotifySocket::MOST_DESCRIPTORS))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let pushed = along.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(pushed, "there is space for as many");
        }
        let text = [IoSlice::new(text.as_bytes())];
        let flags = SendFlags::NOSIGNAL;
        net::sendmsg_addr(&self.descriptor, &self.manager, &text, &mut along, flags)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::NotifySocket;
    use crate::sys::IoError;
    use crate::sys::linux::memory::{keep, recall};
    use rustix::cmsg_space;
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::ffi::OsStr;
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    const MOST: usize = NotifySocket::MOST_DESCRIPTORS;

    fn name(name: &str) -> String {
        format!("httplb-notify-{name}-{}", std::process::id())
    }

    /// A service manager that listens at an abstract name.
    fn manager(number: &str) -> (UnixDatagram, NotifySocket) {
        let name = name(number);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        (manager, NotifySocket::to(OsStr::new(&format!("@{name}"))).unwrap())
    }

    fn received(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 1000];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let room = &mut [IoSliceMut::new(&mut text)];
        let count = recvmsg(manager, room, &mut along, flags).unwrap().bytes;
        let mut descriptors = Vec::new();
        for message in along.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        (String::from_utf8(text[..count].to_vec()).unwrap(), descriptors)
    }

    #[test]
    fn the_service_manager_hears_what_is_sent() {
        let (manager, socket) = manager("text");
        socket.send("READY=1\nSTATUS=2 workers", &[]).unwrap();
        socket.send("STOPPING=1", &[]).unwrap();
        let (text, descriptors) = received(&manager);
        assert!(text == "READY=1\nSTATUS=2 workers" && descriptors.is_empty());
        assert_eq!(received(&manager).0, "STOPPING=1");
    }

    #[test]
    fn a_path_is_as_good_as_a_name() {
        let path = std::env::temp_dir().join(name("path"));
        let manager = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::to(path.as_os_str()).unwrap();
        socket.send("WATCHDOG=1", &[]).unwrap();
        assert_eq!(received(&manager).0, "WATCHDOG=1");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn descriptors_go_along() {
        let (manager, socket) = manager("descriptors");
        let kept = [keep(b"one").unwrap(), keep(b"two").unwrap()];
        socket.send("FDSTORE=1\nFDNAME=some", &kept.each_ref().map(AsFd::as_fd)).unwrap();
        let (text, descriptors) = received(&manager);
        assert_eq!(text, "FDSTORE=1\nFDNAME=some");
        let texts: Vec<_> = descriptors.iter().map(|kept| recall(kept.as_fd()).unwrap()).collect();
        assert_eq!(texts, [b"one", b"two"]);
        let many = vec![kept[0].as_fd(); MOST];
        socket.send("FDSTORE=1", &many).unwrap();
        assert_eq!(received(&manager).1.len(), MOST);
    }

    #[test]
    fn a_service_manager_that_is_slow_or_gone_does_not_stop_us() {
        let (manager, socket) = manager("slow");
        let full = (0..100_000).find_map(|_| socket.send("WATCHDOG=1", &[]).err());
        assert_eq!(full, Some(IoError::WouldBlock));
        assert_eq!(received(&manager).0, "WATCHDOG=1");
        drop(manager);
        assert_eq!(socket.send("STOPPING=1", &[]), Err(IoError::Refused));
    }

    #[test]
    fn other_kinds_of_sockets_are_left_alone() {
        let long = format!("/{}", "a".repeat(200));
        for name in ["", "relative", "vsock:2:1234", &long] {
            assert!(NotifySocket::to(OsStr::new(name)).is_none(), "{name}");
        }
    }
}
