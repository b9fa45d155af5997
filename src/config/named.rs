//! Servers by their names: which name stands for backends, and how it is looked up.

use std::fmt;

use crate::mem::time::Millis;

use super::error::Wrong;
use super::text::quote;
use super::units;

/// Addresses that a name may bring where nothing else is said, and the most that may be said.
pub const DEFAULT_MAX: usize = 64;
/// See [`DEFAULT_MAX`].
pub const LARGEST_MAX: usize = 256;

/// Bytes of a name, and of one of its labels: RFC 1035 §2.3.4.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A name each of whose addresses is a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedServer {
    /// What is looked up.
    pub lookup: Lookup,
    /// Addresses of it that are used at once, 1 to 256: the lowest.
    pub max: usize,
    /// The share of each address, 1 to 256. That of a service stands in its records.
    pub weight: u32,
    /// Requests at once at each address; 0 is no cap.
    pub max_connections: u32,
    /// Its addresses take requests only while no primary is up.
    pub backup: bool,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// The addresses of a host.
    Host {
        /// Its name.
        name: HostName,
        /// Where its servers listen.
        port: u16,
        /// Which of its addresses are meant.
        family: Family,
    },
    /// The records of a service: SRV, RFC 2782.
    Service(HostName),
}

/// The name of a host or a service, as the resolver takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// Which addresses of a name are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// All.
    Any,
    /// Those of IPv4.
    Ipv4,
    /// Those of IPv6.
    Ipv6,
}

/// When names are looked up again, and how long an address stays that is named no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameTimes {
    /// From one look-up of a name to the next.
    pub interval: Millis,
    /// How long an address that is named no more serves on.
    pub hold: Millis,
}

impl Default for NameTimes {
    fn default() -> NameTimes {
        NameTimes { interval: Millis::from_secs(5), hold: Millis::from_secs(30) }
    }
}

impl Family {
    /// All there are.
    pub const ALL: [Family; 3] = [Family::Any, Family::Ipv4, Family::Ipv6];

    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Family::Any => "any",
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }
}

impl HostName {
    /// Reads labels of letters, digits, hyphens and underscores, with dots between them and perhaps one
    /// at the end. What could be meant as an address is none.
    pub fn parse(text: &str) -> Result<HostName, Wrong> {
        let wrong = |fault, remedy| Err(Wrong::new(format!("{} {fault}", quote(text)), remedy));
        let labels = text.strip_suffix('.').unwrap_or(text);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label =
            |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(allowed);
        if labels.len() > LONGEST_NAME || !labels.split('.').all(is_label) {
            return wrong("is not a name", "write \"app.internal\"");
        }
        // inet_aton(3) would take "10.1" for an address.
        let last = labels.rsplit('.').next().unwrap_or_default();
        let is_hex = last.starts_with("0x") || last.starts_with("0X");
        if is_hex || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong("is not a name", "write \"ip\" in place of \"name\" for an address");
        }
        Ok(HostName(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Lookup {
    /// The name that is looked up.
    pub fn name(&self) -> &HostName {
        match self {
            Lookup::Host { name, .. } | Lookup::Service(name) => name,
        }
    }

    /// The port of its servers, where the name does not tell it.
    pub fn port(&self) -> Option<u16> {
        match self {
            Lookup::Host { port, .. } => Some(*port),
            Lookup::Service(_) => None,
        }
    }
}

/// All that makes it another one, in a line: by this what is known of a name is found again, by the next
/// process or image of the program.
impl fmt::Display for Lookup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookup::Host { name, port, family: Family::Any } => write!(out, "{name}:{port}"),
            Lookup::Host { name, port, family } => write!(out, "{name}:{port}/{}", family.as_str()),
            Lookup::Service(name) => write!(out, "srv:{name}"),
        }
    }
}

impl NamedServer {
    /// Primaries of weight 1 without a cap.
    pub fn of(lookup: Lookup) -> NamedServer {
        NamedServer { lookup, max: DEFAULT_MAX, weight: 1, max_connections: 0, backup: false }
    }
}

/// Reads a name and a port, `app.internal:8080`, as the command line writes them. `None`: it is meant to
/// be something else.
pub fn host_and_port(text: &str) -> Option<Lookup> {
    let (name, port) = text.rsplit_once(':')?;
    let port = units::whole(port)?.try_into().ok().filter(|port| *port > 0)?;
    let name = HostName::parse(name).ok()?;
    Some(Lookup::Host { name, port, family: Family::Any })
}

/// What is wrong with what is meant as a name and a port, and is none. `None`: it is meant to be something
/// else.
pub fn what_is_wrong(text: &str) -> Option<Wrong> {
    let (name, port) = text.rsplit_once(':')?;
    let is_letter = |byte: u8| byte.is_ascii_alphabetic();
    if !name.bytes().any(is_letter) || name.contains([':', '[']) || text.contains(['/', '@']) {
        return None;
    }
    if let Err(wrong) = HostName::parse(name) {
        return Some(wrong);
    }
    let is_port = |port| (1..=65_535_u32).contains(&port);
    let fault = || format!("{} has no valid port", quote(text));
    let is_right = units::whole(port).is_some_and(is_port);
    (!is_right).then(|| Wrong::new(fault(), "write a port of 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_resolver_takes_and_no_address() {
        let long = format!("{}.a", "a".repeat(63));
        for text in ["localhost", "app-1.internal", "_http._tcp.app.internal", "a.b.", "1a", &long]
        {
            assert_eq!(HostName::parse(text).unwrap().as_str(), text);
        }
        let long = ["a".repeat(64), vec!["abc"; 64].join(".")];
        let odd =
            ["", ".", "a..b", "a b", "ä", "a/b", "a:1", "10.0.0.7", "10.1", "7", "a.0x7", "::1"];
        for text in long.iter().map(String::as_str).chain(odd) {
            assert!(HostName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_is_another_for_each_other_lookup() {
        let host = |port, family| {
            let name = HostName::parse("a").unwrap();
            Lookup::Host { name, port, family }.to_string()
        };
        assert_eq!(host(80, Family::Any), "a:80");
        assert_eq!(host(80, Family::Ipv4), "a:80/ipv4");
        assert_eq!(Lookup::Service(HostName::parse("a").unwrap()).to_string(), "srv:a");
    }

    #[test]
    fn what_is_nearly_a_name_and_a_port_is_told_as_that() {
        let told = |text: &str| what_is_wrong(text).map(|wrong| wrong.fault);
        assert_eq!(told("x..y:80").unwrap(), "\"x..y\" is not a name");
        assert_eq!(told("0x7f.1:80").unwrap(), "\"0x7f.1\" is not a name");
        assert_eq!(told("app:0").unwrap(), "\"app:0\" has no valid port");
        assert_eq!(told("app:99999").unwrap(), "\"app:99999\" has no valid port");
        for other in ["app:80", "10.0.0.7:0", "[fd00::x]:80", "unix:/run/a", "app"] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn the_command_line_writes_name_and_port() {
        assert_eq!(host_and_port("app.internal:8080").unwrap().to_string(), "app.internal:8080");
        for text in ["app.internal", "app:0", "app:70000", ":80", "10.0.0.7:80", "[::1]:80", "a:x"]
        {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }
}
