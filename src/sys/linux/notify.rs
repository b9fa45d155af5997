//! Words to the service manager: sd_notify(3).
use crate::sys::IoError;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

/// Most descriptors in one message: the kernel takes 253.
pub const MOST_DESCRIPTORS: usize = 64;

/// Where the service manager listens. Never blocks.
pub struct NotifySocket {
    descriptor: OwnedFd,
    address: SocketAddrUnix,
}

impl NotifySocket {
    /// The one that `name` names, which is the value of `$NOTIFY_SOCKET`: a path, or `@` and a
    /// name that stands in no file system.
    pub fn open(name: &OsStr) -> Result<NotifySocket, IoError> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(NotifySocket { descriptor, address })
    }

    /// Says `words`, assignments in lines of their own, and hands `descriptors` along: at most
    /// [`MOST_DESCRIPTORS`].
    pub fn send(&self, words: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), IoError> {
        assert!(descriptors.len() <= MOST_DESCRIPTORS);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = along.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(fits, "there is space for as many");
        }
        let words = [IoSlice::new(words.as_bytes())];
        net::sendmsg_addr(
            &self.descriptor,
            &self.address,
            &words,
            &mut along,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::NotifySocket;
    use rustix::fd::AsFd;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// What came, and how many descriptors with it.
    fn receive(socket: &UnixDatagram) -> (String, usize) {
        let mut bytes = [0; 200];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg(socket, &mut slices, &mut along, RecvFlags::CMSG_CLOEXEC).unwrap();
        let mut count = 0;
        for part in along.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                count += descriptors.count();
            }
        }
        (String::from_utf8_lossy(&bytes[..message.bytes]).into_owned(), count)
    }

    #[test]
    fn words_and_descriptors_arrive_at_a_path() {
        let path = std::env::temp_dir().join(format!("httplb-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = NotifySocket::open(path.as_os_str()).unwrap();
        notify.send("READY=1\nSTATUS=fine", &[]).unwrap();
        assert_eq!(receive(&manager), (String::from("READY=1\nSTATUS=fine"), 0));
        let two = [manager.as_fd(), notify.descriptor.as_fd()];
        notify.send("FDSTORE=1", &two).unwrap();
        assert_eq!(receive(&manager), (String::from("FDSTORE=1"), 2));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn words_arrive_at_a_name_that_is_no_file() {
        let name = format!("httplb-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notify = NotifySocket::open(format!("@{name}").as_ref()).unwrap();
        notify.send("WATCHDOG=1", &[]).unwrap();
        assert_eq!(receive(&manager), (String::from("WATCHDOG=1"), 0));
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error() {
        let notify = NotifySocket::open("/nonexistent/notify".as_ref()).unwrap();
        assert!(notify.send("READY=1", &[]).is_err());
    }
}
