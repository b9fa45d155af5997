//! Addresses: of sockets, of networks. A name is none; where one may stand, its reader says so.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::endpoint::{self, Endpoint, UnixPath};
use super::error::Wrong;
use super::text::quote;
use super::units;

/// Reads where clients are to connect: an address, or `unix:/run/httplb/http.sock`.
pub fn listen(text: &str) -> Result<Endpoint, Wrong> {
    match text.strip_prefix(endpoint::UNIX) {
        Some(path) => UnixPath::parse(path).map(Endpoint::Unix),
        None => listen_tcp(text).map(Endpoint::Tcp),
    }
}

/// Reads an address to listen on: `10.0.0.7:80`, `[fd00::7]:80`, or `:80` for all addresses of
/// IPv6 and IPv4. Port 0 lets the kernel choose.
pub fn listen_tcp(text: &str) -> Result<SocketAddr, Wrong> {
    if let Some(port) = text.strip_prefix(':').and_then(port) {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if !has_odd_port(text) => Ok(address),
        Ok(_) | Err(_) => Err(diagnose(text, AddressUse::Listen)),
    }
}

/// Reads where one backend listens: `10.0.0.7:80`, `[fd00::7]:80`, `unix:/run/app.sock` or `unix:@app`.
pub fn backend(text: &str) -> Result<Endpoint, Wrong> {
    match text.strip_prefix(endpoint::UNIX) {
        Some(path) => UnixPath::parse(path).map(Endpoint::Unix),
        None => backend_tcp(text).map(Endpoint::Tcp),
    }
}

fn backend_tcp(text: &str) -> Result<SocketAddr, Wrong> {
    let wrong = |fault, remedy| Err(Wrong::new(format!("{} {fault}", quote(text)), remedy));
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            wrong("has port 0", String::from("write a port of 1 to 65535"))
        }
        Ok(SocketAddr::V6(address)) if address.scope_id() != 0 => {
            wrong("has a zone", format!("write \"[{}]:{}\"", address.ip(), address.port()))
        }
        Ok(_) if has_odd_port(text) => {
            wrong("has no valid port", String::from("write a port of 1 to 65535"))
        }
        Ok(address) => Ok(SocketAddr::new(of_a_server(address.ip())?, address.port())),
        Err(_) => Err(diagnose(text, AddressUse::Backend)),
    }
}

/// Reads the IPv4 or IPv6 address of a backend, without a port.
pub fn server(text: &str) -> Result<IpAddr, Wrong> {
    of_a_server(ip(text)?)
}

/// The address of one server, if that can be meant. An IPv4 address mapped into IPv6 leads to the same
/// server and is written as IPv4.
pub fn of_a_server(address: IpAddr) -> Result<IpAddr, Wrong> {
    let canonical = address.to_canonical();
    let (what, remedy) = match canonical {
        _ if canonical.is_unspecified() => ("names no server", "write \"127.0.0.1\" for this host"),
        _ if canonical.is_multicast() => ("is a multicast address", "write that of one server"),
        IpAddr::V4(address) if address.is_broadcast() => {
            ("is a broadcast address", "write that of one server")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(canonical),
    };
    Err(Wrong::new(format!("{} {what}", quote(&address.to_string())), remedy))
}

/// Whether a port is written with zeros before it, which nobody means.
fn has_odd_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| units::is_padded(port))
}

/// Reads an IPv4 or IPv6 address without a port.
pub fn ip(text: &str) -> Result<IpAddr, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address);
    }
    if let Ok(path) = UnixPath::parse(text.strip_prefix(endpoint::UNIX).unwrap_or(text)) {
        let remedy =
            format!("write \"unix\": {} in place of \"ip\" and \"port\"", quote(path.as_str()));
        return Err(Wrong::new(format!("{} is not an IP address", quote(text)), remedy));
    }
    let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = unbracketed.filter(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
        let remedy = format!("write {} without brackets", quote(inner));
        return Err(Wrong::new(format!("{} is not an IP address", quote(text)), remedy));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let remedy = format!("write \"ip\": \"{}\", \"port\": {}", address.ip(), address.port());
        return Err(Wrong::new(format!("{} has a port", quote(text)), remedy));
    }
    if looks_like_a_name(text) {
        let remedy = format!("write \"name\": {} in place of \"ip\"", quote(text));
        return Err(Wrong::new(format!("{} is not an IP address", quote(text)), remedy));
    }
    let remedy = "write \"10.0.0.7\" or \"fd00::7\"";
    Err(Wrong::new(format!("{} is not an IP address", quote(text)), remedy))
}

#[derive(Clone, Copy)]
enum AddressUse {
    Listen,
    Backend,
}

/// Why `text` is no socket address.
fn diagnose(text: &str, role: AddressUse) -> Wrong {
    let shown = quote(text);
    if let Ok(path) = UnixPath::parse(text) {
        let remedy =
            format!("write {} for a Unix socket", quote(&Endpoint::Unix(path).to_string()));
        return Wrong::new(format!("{shown} is not an address"), remedy);
    }
    let no_port = |remedy: String| Wrong::new(format!("{shown} has no port"), remedy);
    // With a port behind it, it is rarely an address whose last group has nothing but digits.
    if let Some((host, digits)) = text.rsplit_once(':')
        && let (Ok(address), Some(port)) = (host.trim_matches(['[', ']']).parse(), port(digits))
        && (text.starts_with('[') || digits.len() > 1)
    {
        return no_port(format!("write \"{}\"", SocketAddr::from((IpAddr::V6(address), port))));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return no_port(format!("write \"{}\"", SocketAddr::from((address, 80))));
    }
    match (role, port(text)) {
        (AddressUse::Listen, Some(port)) => {
            return Wrong::new(format!("{shown} has no address"), format!("write \":{port}\""));
        }
        (AddressUse::Listen, None) | (AddressUse::Backend, _) => (),
    }
    let Some((host, port_text)) = text.rsplit_once(':') else {
        match role {
            AddressUse::Listen if looks_like_a_name(text) => return name(text, 80),
            AddressUse::Backend if looks_like_a_name(text) => {
                return no_port(format!("write {}", quote(&format!("{text}:80"))));
            }
            AddressUse::Listen | AddressUse::Backend => (),
        }
        return no_port(String::from("write \"10.0.0.7:80\" or \"[fd00::7]:80\""));
    };
    let Some(port) = port(port_text) else {
        return Wrong::new(format!("{shown} has no valid port"), "write a port of 1 to 65535");
    };
    match (role, host) {
        (AddressUse::Listen, "*") => {
            Wrong::new(format!("{shown} is not an address"), format!("write \":{port}\""))
        }
        (AddressUse::Backend, "" | "*") => Wrong::new(
            format!("{shown} names no server"),
            format!("write \"127.0.0.1:{port}\" for this host"),
        ),
        _ if looks_like_a_name(host) => name(text, port),
        _ => Wrong::new(
            format!("{shown} is not an address"),
            "write \"10.0.0.7:80\" or \"[fd00::7]:80\"",
        ),
    }
}

/// A name where only an address makes sense.
fn name(text: &str, port: u16) -> Wrong {
    let address = if text.starts_with("localhost") { "127.0.0.1" } else { "10.0.0.7" };
    let remedy =
        format!("names are not looked up here: write an address such as \"{address}:{port}\"");
    Wrong::new(format!("{} is not an IP address", quote(text)), remedy)
}

fn looks_like_a_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.bytes().all(allowed) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn port(text: &str) -> Option<u16> {
    units::whole(text)?.try_into().ok()
}

/// A network, such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address. Bits behind the prefix must be zero:
    /// who writes `10.0.0.7/8` may mean either the one host or the whole network.
    pub fn parse(text: &str) -> Result<Cidr, Wrong> {
        let wrong =
            |fault: &str, remedy: &str| Wrong::new(format!("{} {fault}", quote(text)), remedy);
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let Ok(address) = address.parse::<IpAddr>() else {
            let remedy = "write \"10.0.0.0/8\", \"fd00::/8\" or \"unix\"";
            return Err(wrong("is not a network", remedy));
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let whole = units::whole(prefix).and_then(|prefix| u8::try_from(prefix).ok());
        let prefix = match (whole, text.contains('/')) {
            (_, false) => bits,
            (Some(prefix), true) if prefix <= bits => prefix,
            (Some(_) | None, true) => {
                let remedy = format!("write /0 to /{bits} behind the address");
                return Err(wrong("has no valid prefix length", &remedy));
            }
        };
        let network = Cidr { address: masked(address, prefix), prefix };
        if network.address != address {
            return Err(wrong("has bits behind its prefix", &format!("write \"{network}\"")));
        }
        Ok(network.canonical())
    }

    /// An IPv4 network mapped into IPv6 is the IPv4 one: peers are held against it as such.
    fn canonical(self) -> Cidr {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (IpAddr::V4(address), Some(prefix)) if self.address.is_ipv6() => {
                Cidr { address: address.into(), prefix }
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => self,
        }
    }

    /// Whether `address` lies in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// Whom to believe what it says of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Peers with an address in this network.
    Network(Cidr),
    /// Peers that come by a Unix socket, which have none.
    Unix,
}

impl TrustedProxy {
    /// Reads a network, or `unix`.
    pub fn parse(text: &str) -> Result<TrustedProxy, Wrong> {
        if text == "unix" { Ok(TrustedProxy::Unix) } else { Cidr::parse(text).map(Self::Network) }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedProxy::Network(network) => network.fmt(formatter),
            TrustedProxy::Unix => formatter.write_str("unix"),
        }
    }
}

/// Whether one of `proxies` is the peer with this address; `None`: it has come by a Unix socket.
pub fn is_trusted(proxies: &[TrustedProxy], peer: Option<IpAddr>) -> bool {
    proxies.iter().any(|proxy| match (proxy, peer) {
        (TrustedProxy::Network(network), Some(address)) => network.contains(address),
        (TrustedProxy::Unix, None) => true,
        (TrustedProxy::Network(_), None) | (TrustedProxy::Unix, Some(_)) => false,
    })
}

/// `address` with all bits behind the first `prefix` cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
