//! Sockets that connections come to. See `linux::Listener`. How many connections may wait is simulated
//! of Unix sockets alone, and the host has all addresses.
use super::Socket;
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Owner, is_unix};
use crate::config::{Endpoint, UnixPath};
use crate::sys::{Binding, IoError, KeepAlive, SocketFile};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const NO_DESCRIPTOR: &str = "a simulated listener cannot be handed over";

/// A socket of the program that connections come to.
pub struct Listener {
    id: Id,
    address: Endpoint,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::Listener")]
impl Listener {
    pub fn bind(binding: impl Into<Binding>, backlog: i32) -> Result<Listener, IoError> {
        Listener::open(binding.into().endpoint, (false, backlog as usize))
    }

    pub fn bind_shared(binding: impl Into<Binding>, backlog: i32) -> Result<Listener, IoError> {
        match binding.into().endpoint {
            endpoint @ Endpoint::Tcp(_) => Listener::open(endpoint, (true, backlog as usize)),
            Endpoint::Unix(_) => Err(IoError::Unsupported),
        }
    }

    fn open(endpoint: Endpoint, manner: (bool, usize)) -> Result<Listener, IoError> {
        let descriptor = Descriptor::take()?;
        let (id, address) = kernel::with(|kernel| {
            let mut address = kernel.address_of(endpoint);
            if address.port() == 0 {
                address.set_port(kernel.port());
            }
            let id = kernel.open_door(address, Owner::Program, manner)?;
            let bound = if is_unix(address) { endpoint } else { address.into() };
            Ok::<_, IoError>((id, bound))
        })?;
        Ok(Listener { id, address, _descriptor: descriptor })
    }

    pub fn from_fd(_: OwnedFd) -> Result<Listener, IoError> {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn remove_file(path: &UnixPath) -> Result<(), IoError> {
        kernel::with(|kernel| kernel.remove_file(path.as_str().as_ref()));
        Ok(())
    }

    /// It is another user's.
    pub fn file(_: &UnixPath) -> Result<SocketFile, IoError> {
        Ok(SocketFile { mode: 0o600, owner: Some(1001), group: Some(1002) })
    }

    /// There are no files.
    pub fn file_identity(_: &UnixPath) -> Option<(u64, u64)> {
        None
    }

    pub fn keep_alive(&self, _: Option<KeepAlive>) -> Result<(), IoError> {
        Ok(())
    }

    pub fn is_shared(&self) -> bool {
        matches!(self.address, Endpoint::Tcp(_))
    }

    pub fn try_clone(&self) -> Result<Listener, IoError> {
        let descriptor = Descriptor::take()?;
        kernel::with(|kernel| kernel.door(self.id).holders += 1);
        Ok(Listener { id: self.id, address: self.address, _descriptor: descriptor })
    }

    pub fn spread_over(&self, count: u32) -> Result<(), IoError> {
        assert!(count > 0, "they must come to someone");
        kernel::with(|kernel| {
            let address = kernel.address_of(self.address);
            kernel.spread(address, count as usize);
        });
        Ok(())
    }

    pub fn address(&self) -> Endpoint {
        self.address
    }

    pub fn accept(&self) -> Result<(Socket, Option<SocketAddr>), IoError> {
        accept(self.id)
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }
}

impl From<Listener> for OwnedFd {
    fn from(_: Listener) -> OwnedFd {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| kernel.leave_door(self.id));
    }
}

fn accept(door: Id) -> Result<(Socket, Option<SocketAddr>), IoError> {
    kernel::with(|kernel| kernel.calls.accept += 1);
    // Linux looks for a descriptor first, and the connection stays in the queue.
    let descriptor = Descriptor::take()?;
    let id = kernel::with(|kernel| kernel.door(door).queue.pop_front());
    let id = id.ok_or(IoError::WouldBlock)?;
    let remote = kernel::with(|kernel| kernel.end(id).remote);
    Ok((Socket::of(id, descriptor), Some(remote).filter(|remote| !is_unix(*remote))))
}
