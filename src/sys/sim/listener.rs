//! Sockets that connections come to. See `linux::Listener` and `linux::UnixListener`. How many
//! connections may wait is not simulated, and the host has all addresses.
use super::Socket;
use super::descriptor::Descriptor;
use super::kernel::{self, Id, Owner};
use crate::sys::linux::process::User;
use crate::sys::{Binding, IoError, KeepAlive};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NO_DESCRIPTOR: &str = "a simulated listener cannot be handed over";

/// A TCP socket of the program that connections come to.
pub struct Listener {
    id: Id,
    address: SocketAddr,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::Listener")]
impl Listener {
    pub fn bind(address: SocketAddr, _backlog: i32) -> Result<Listener, IoError> {
        Listener::open(address, false)
    }

    pub fn bind_at(binding: Binding, _backlog: i32) -> Result<Listener, IoError> {
        Listener::open(binding.address, false)
    }

    pub fn bind_shared(address: SocketAddr, _backlog: i32) -> Result<Listener, IoError> {
        Listener::open(address, true)
    }

    pub fn bind_shared_at(binding: Binding, _backlog: i32) -> Result<Listener, IoError> {
        Listener::open(binding.address, true)
    }

    fn open(mut address: SocketAddr, shares: bool) -> Result<Listener, IoError> {
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| {
            if address.port() == 0 {
                address.set_port(kernel.port());
            }
            kernel.open_door(address, Owner::Program, shares)
        })?;
        Ok(Listener { id, address, _descriptor: descriptor })
    }

    pub fn adopt(_: OwnedFd) -> Result<Listener, IoError> {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn keep_alive(&self, _: Option<KeepAlive>) -> Result<(), IoError> {
        Ok(())
    }

    pub fn is_shared(&self) -> bool {
        true
    }

    pub fn try_clone(&self) -> Result<Listener, IoError> {
        let descriptor = Descriptor::take()?;
        kernel::with(|kernel| kernel.door(self.id).holders += 1);
        Ok(Listener { id: self.id, address: self.address, _descriptor: descriptor })
    }

    pub fn spread_over(&self, count: u32) -> Result<(), IoError> {
        assert!(count > 0, "they must come to someone");
        kernel::with(|kernel| kernel.spread(self.address, count as usize));
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn accept(&self) -> Result<(Socket, SocketAddr), IoError> {
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

/// A Unix socket of the program that connections come to.
pub struct UnixListener {
    id: Id,
    path: PathBuf,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::UnixListener")]
impl UnixListener {
    pub fn bind(path: &Path, _: u32, _: Option<&User>) -> Result<UnixListener, IoError> {
        let descriptor = Descriptor::take()?;
        let id = kernel::with(|kernel| {
            let address = kernel.address_of_path(path);
            kernel.open_door(address, Owner::Program, false)
        })?;
        Ok(UnixListener { id, path: path.to_owned(), _descriptor: descriptor })
    }

    pub fn adopt(_: OwnedFd) -> Result<UnixListener, IoError> {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn remove_file(_: &Path) -> Result<(), IoError> {
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn accept(&self) -> Result<Socket, IoError> {
        accept(self.id).map(|(socket, _)| socket)
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }
}

impl From<UnixListener> for OwnedFd {
    fn from(_: UnixListener) -> OwnedFd {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("{NO_DESCRIPTOR}")
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| kernel.leave_door(self.id));
    }
}

fn accept(door: Id) -> Result<(Socket, SocketAddr), IoError> {
    kernel::with(|kernel| kernel.calls.accept += 1);
    // Linux looks for a descriptor first, and the connection stays in the queue.
    let descriptor = Descriptor::take()?;
    let id = kernel::with(|kernel| kernel.door(door).queue.pop_front());
    let id = id.ok_or(IoError::WouldBlock)?;
    let remote = kernel::with(|kernel| kernel.end(id).remote);
    Ok((Socket::of(id, descriptor), remote))
}
