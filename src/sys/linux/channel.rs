//! Messages between a process and its child, each with a descriptor if wanted: unix(7).
use crate::sys::IoError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// One end of a line between two processes. A message arrives whole, or not at all. Dropping it
/// closes it.
pub struct Channel {
    descriptor: OwnedFd,
}

/// What came through a channel.
#[derive(Debug)]
pub struct Message {
    /// The text.
    pub text: String,
    /// What was sent along with it.
    pub descriptor: Option<OwnedFd>,
}

impl Channel {
    /// Bytes of the longest message.
    pub const LONGEST: usize = 16 * 1024;

    /// Both ends: one for this process, one for the child that is forked next.
    pub fn pair() -> Result<(Channel, Channel), IoError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel { descriptor: one }, Channel { descriptor: other }))
    }

    /// Takes an end that was handed over.
    pub fn from_fd(descriptor: OwnedFd) -> Channel {
        Channel { descriptor }
    }

    /// The same end once more.
    pub fn try_clone(&self) -> Result<Channel, IoError> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 0)?;
        Ok(Channel { descriptor })
    }

    /// Sends `text`, of at most 16 KiB, and a copy of `descriptor`. Never blocks: `WouldBlock` if
    /// the other end has not read for long, `Reset` if it is closed.
    pub fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<(), IoError> {
        assert!(text.len() <= Channel::LONGEST);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            let pushed =
                along.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
            assert!(pushed, "there is room for one");
        }
        let slices = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.descriptor, &slices, &mut along, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message that has come, if any.
    pub fn receive(&self) -> Option<Message> {
        let mut bytes = [0; Channel::LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let count = loop {
            match recvmsg(&self.descriptor, &mut slices, &mut along, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => (),
                Err(_) => return None,
            }
        };
        let descriptor = along.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None, // Nothing else is ever sent along.
        });
        if count == 0 && descriptor.is_none() {
            return None; // The other end is closed.
        }
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        Some(Message { text, descriptor })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::Channel;
    use crate::sys::IoError;
    use crate::sys::linux::memory::{keep, recall};
    use rustix::fd::AsFd;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (one, other) = Channel::pair().unwrap();
        assert!(other.receive().is_none());
        one.send("first", None).unwrap();
        one.send("second", None).unwrap();
        other.send("answer", None).unwrap();
        assert_eq!(other.receive().unwrap().text, "first");
        assert_eq!(other.receive().unwrap().text, "second");
        assert_eq!(one.receive().unwrap().text, "answer");
        assert!(one.receive().is_none());
    }

    #[test]
    fn a_descriptor_comes_along() {
        let (one, other) = Channel::pair().unwrap();
        let kept = keep(b"content").unwrap();
        one.send("file", Some(kept.as_fd())).unwrap();
        drop(kept);
        let message = other.receive().unwrap();
        let descriptor = message.descriptor.expect("what was sent");
        assert_eq!(recall(descriptor.as_fd()).unwrap(), b"content");
        let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn who_does_not_read_blocks_nobody() {
        let (one, _other) = Channel::pair().unwrap();
        let error = loop {
            if let Err(error) = one.send("again", None) {
                break error;
            }
        };
        assert_eq!(error, IoError::WouldBlock);
    }

    #[test]
    fn an_end_that_is_closed_is_told() {
        let (one, other) = Channel::pair().unwrap();
        drop(other);
        assert!(one.receive().is_none());
        assert_eq!(one.send("text", None), Err(IoError::Reset));
    }
}
