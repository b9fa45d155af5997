//! What a listener is bound to.

use std::net::SocketAddr;

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where; with port 0 the kernel chooses one.
    pub address: SocketAddr,
    /// Whether it may be an address that this host does not have yet, and perhaps never will.
    pub freebind: bool,
}

impl From<SocketAddr> for Binding {
    /// An address of this host.
    fn from(address: SocketAddr) -> Binding {
        Binding { address, freebind: false }
    }
}
