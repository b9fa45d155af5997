//! How a client comes in: where from, and what all connections of a listener have in common.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::config::Listen;

/// The peer at the other end of a client's connection, or the one that a PROXY header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A host, by its address. An IPv4 address mapped into IPv6 is the IPv4 one.
    Tcp(SocketAddr),
    /// A process of this host, which has none.
    Unix,
}

impl Peer {
    /// The peer with this address, or one without.
    pub fn at(address: Option<SocketAddr>) -> Peer {
        match address {
            Some(address) => {
                Peer::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            None => Peer::Unix,
        }
    }

    /// Its address without the port.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

/// As the log has it.
impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(out),
            Peer::Unix => out.write_str("unix"),
        }
    }
}

/// What a listener's connections begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A request; also once the header has come.
    None,
    /// A PROXY header.
    ProxyHeader,
}

/// What all connections of a listener have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What connections begin with.
    pub preamble: ProxyProtocol,
    /// Whether clients speak TLS with what stands before it.
    pub https: bool,
    /// The port that clients connected to, unless a PROXY header says another; none where what stands before
    /// it has one of its own.
    pub port: Option<u16>,
}

impl Arrival {
    /// Of clients that begin with a request, at this port.
    pub fn plain(port: u16) -> Arrival {
        Arrival { preamble: ProxyProtocol::None, https: false, port: Some(port) }
    }

    /// At a listener with this port; that of a Unix socket has none.
    pub fn at(listen: &Listen, port: Option<u16>) -> Arrival {
        let preamble = match listen.proxy_protocol {
            true => ProxyProtocol::ProxyHeader,
            false => ProxyProtocol::None,
        };
        Arrival { preamble, https: listen.https, port: port.filter(|_| !listen.https) }
    }
}
