//! What a listener is bound to.

use crate::config::Endpoint;

/// Where to listen, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where; with port 0 the kernel chooses one.
    pub endpoint: Endpoint,
    /// Whether it may be an address that this host does not have yet, and perhaps never will.
    pub freebind: bool,
    /// What the file of a Unix socket is to be like.
    pub file: SocketFile,
}

/// Whose the file of a Unix socket is: who may write to it may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Its permissions, whatever the umask.
    pub mode: u32,
    /// The number of the user whose it is; `None`: the one who makes it.
    pub owner: Option<u32>,
    /// The same of the group.
    pub group: Option<u32>,
}

impl SocketFile {
    /// Its user's and its group's, who are those of who makes it.
    pub const PLAIN: SocketFile = SocketFile { mode: 0o660, owner: None, group: None };
}

impl<E: Into<Endpoint>> From<E> for Binding {
    /// An address of this host, or a plain file.
    fn from(endpoint: E) -> Binding {
        Binding { endpoint: endpoint.into(), freebind: false, file: SocketFile::PLAIN }
    }
}
