//! How a client comes in: what all connections of a listener have in common.

use crate::config::Listen;

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
    /// What they begin with.
    pub preamble: ProxyProtocol,
    /// Whether clients speak TLS with what stands before it.
    pub https: bool,
    /// The port that clients connected to; none where what stands before it has another.
    pub port: Option<u16>,
}

impl Arrival {
    /// Of clients that begin with a request, at this port.
    pub fn plain(port: u16) -> Arrival {
        Arrival { preamble: ProxyProtocol::None, https: false, port: Some(port) }
    }

    /// At a listener with this port.
    pub fn at(listen: &Listen, port: u16) -> Arrival {
        let preamble = match listen.proxy_protocol {
            true => ProxyProtocol::ProxyHeader,
            false => ProxyProtocol::None,
        };
        let is_own = !listen.https && !listen.proxy_protocol;
        Arrival { preamble, https: listen.https, port: is_own.then_some(port) }
    }
}
