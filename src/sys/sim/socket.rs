//! Connections. See `linux::Socket`.
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Owner};
use crate::config::Endpoint;
use crate::sys::{IoError, KeepAlive};
use std::net::{Ipv4Addr, SocketAddr};

/// The kernel has no such option here.
const EOPNOTSUPP: i32 = 95;

/// A TCP connection of the program, or the attempt at one.
pub struct Socket {
    id: Id,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::Socket")]
impl Socket {
    pub fn connect(endpoint: impl Into<Endpoint>) -> Result<Socket, IoError> {
        let endpoint = endpoint.into();
        kernel::with(|kernel| kernel.calls.connect += 1);
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| match endpoint {
            Endpoint::Tcp(address) => {
                let local = SocketAddr::from((Ipv4Addr::LOCALHOST, kernel.port()));
                Ok::<_, IoError>(kernel.begin(Owner::Program, local, address))
            }
            Endpoint::Unix(path) => {
                let door = kernel.unix_door(&path)?;
                Ok(kernel.enter(door, Owner::Program))
            }
        })?;
        Ok(Socket { id, _descriptor: descriptor })
    }

    pub(super) fn of(id: Id, descriptor: Descriptor) -> Socket {
        Socket { id, _descriptor: descriptor }
    }

    pub fn receive(&self, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
        let [first, second] = room;
        assert!(first.len() + second.len() > 0, "no room would look like the end");
        let bytes = kernel::with(|kernel| {
            kernel.calls.receive += 1;
            kernel.read(self.id, first.len() + second.len())
        })?;
        let (head, tail) = bytes.split_at(bytes.len().min(first.len()));
        first[..head.len()].copy_from_slice(head);
        second[..tail.len()].copy_from_slice(tail);
        Ok(bytes.len())
    }

    pub fn peek(&self, room: &mut [u8]) -> Result<usize, IoError> {
        assert!(!room.is_empty(), "no room would look like the end");
        let bytes = kernel::with(|kernel| {
            kernel.calls.receive += 1;
            kernel.peek(self.id, room.len())
        })?;
        room[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    pub fn set_peek_offset(&self, offset: usize) -> Result<(), IoError> {
        kernel::with(|kernel| {
            if !kernel.faults.supports_peek_offset {
                return Err(IoError::Other(EOPNOTSUPP));
            }
            kernel.end(self.id).looks_from = Some(offset);
            Ok(())
        })
    }

    pub fn supports_peek_offset() -> bool {
        kernel::with(|kernel| kernel.faults.supports_peek_offset)
    }

    pub fn send(&self, bytes: [&[u8]; 2]) -> Result<usize, IoError> {
        kernel::with(|kernel| {
            kernel.calls.send += 1;
            kernel.write(self.id, &bytes.concat())
        })
    }

    /// Sends what `sendfile` takes from a file.
    pub(super) fn send_from_file(&self, bytes: &[u8]) -> Result<usize, IoError> {
        kernel::with(|kernel| kernel.write(self.id, bytes))
    }

    pub fn keep_alive(&self, _: KeepAlive) -> Result<(), IoError> {
        Ok(())
    }

    pub fn shutdown_write(&self) -> Result<(), IoError> {
        kernel::with(|kernel| {
            kernel.calls.shutdown += 1;
            kernel.shut(self.id)
        })
    }

    pub fn reset(self) {
        kernel::with(|kernel| {
            let is_tcp = !kernel::is_unix(kernel.end(self.id).local);
            kernel.close(self.id, is_tcp);
        });
    }

    pub fn local_address(&self) -> Result<SocketAddr, IoError> {
        internet(kernel::with(|kernel| kernel.end(self.id).local))
    }

    pub fn peer_address(&self) -> Result<SocketAddr, IoError> {
        internet(kernel::with(|kernel| kernel.end(self.id).remote))
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            kernel.calls.close += 1;
            kernel.close(self.id, false);
        });
    }
}

/// errno(3): EAFNOSUPPORT.
const OTHER_FAMILY: i32 = 97;

/// A Unix socket has no address of this kind, only a name in the simulation.
fn internet(address: SocketAddr) -> Result<SocketAddr, IoError> {
    if kernel::is_unix(address) { Err(IoError::Other(OTHER_FAMILY)) } else { Ok(address) }
}
