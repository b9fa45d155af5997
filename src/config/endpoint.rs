//! Where something listens: an address of TCP, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Wrong;
use super::text::quote;

/// What stands before the path of a Unix socket where an address could stand.
pub(super) const UNIX: &str = "unix:";

/// Where something listens. Small enough to be copied wherever an address is: a path stands in it,
/// so that nothing has to outlive it, neither a table nor an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Endpoint {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket of this host.
    Unix(UnixPath),
}

/// The path of a Unix socket, or with `@` at its front its name in the abstract namespace: unix(7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UnixPath {
    /// Zeros behind the path.
    bytes: [u8; UnixPath::ROOM],
    len: u8,
}

impl UnixPath {
    /// What a server at a Unix socket is called in `Host`.
    pub const HOST: &str = "localhost";

    /// Bytes of `sun_path`. A path has one less, for the zero that ends it; of a name, `@` is a zero.
    const ROOM: usize = 108;

    /// Reads an absolute path of at most 107 bytes, or `@` and at most as many bytes of a name. No
    /// byte of them is a control character, which would end a line wherever it is written.
    pub fn parse(text: &str) -> Result<UnixPath, Wrong> {
        let wrong = |fault: &str, remedy| Wrong::new(format!("{} {fault}", quote(text)), remedy);
        let room = match text.as_bytes() {
            [b'/', _, ..] => UnixPath::ROOM - 1,
            [b'@', _, ..] => UnixPath::ROOM,
            _ => {
                let remedy = "write \"/run/app.sock\", or \"@app\" for an abstract name";
                return Err(wrong("is not the path of a Unix socket", remedy));
            }
        };
        if text.len() > room {
            return Err(wrong("is too long for a Unix socket", "write at most 107 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("has control characters", "choose a path without them"));
        }
        let mut bytes = [0; UnixPath::ROOM];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(UnixPath { bytes, len: text.len() as u8 })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        // It was read from text; what is none was written by nobody.
        self.bytes
            .get(..self.len.into())
            .and_then(|path| std::str::from_utf8(path).ok())
            .unwrap_or("")
    }

    /// Its name, if it is in the abstract namespace and has no file.
    pub fn abstract_name(&self) -> Option<&str> {
        self.as_str().strip_prefix('@')
    }
}

impl fmt::Debug for UnixPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Endpoint {
    /// Cells that hold one, of which the first says how to read the others.
    pub const WORDS: usize = 1 + UnixPath::ROOM.div_ceil(size_of::<u64>());

    /// Its port, if it has one.
    pub fn port(self) -> Option<u16> {
        match self {
            Endpoint::Tcp(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        }
    }

    /// The one among those that lead to the same server by which it is known: IPv4 addresses mapped
    /// into IPv6 are those that they mean.
    pub fn canonical(self) -> Endpoint {
        match self {
            Endpoint::Tcp(address) => {
                Endpoint::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            Endpoint::Unix(_) => self,
        }
    }

    /// Whether all that comes to `narrow` would come here, were there no socket for that one: an unspecified
    /// address takes all of its family, and `[::]` takes IPv4 as well. Of port 0 each is another.
    pub fn covers(self, narrow: Endpoint) -> bool {
        let (Endpoint::Tcp(wide), Endpoint::Tcp(narrow)) = (self, narrow) else { return false };
        let is_of_family = wide.is_ipv6() || narrow.is_ipv4();
        wide.ip().is_unspecified()
            && wide.port() != 0
            && wide.port() == narrow.port()
            && is_of_family
    }

    /// As cells that other processes read, whatever version of the program they run.
    pub fn to_words(self) -> [u64; Endpoint::WORDS] {
        let mut words = [0; Endpoint::WORDS];
        let (kind, count, bytes) = match &self {
            Endpoint::Tcp(address) => {
                let bits = match address.ip() {
                    IpAddr::V4(ip) => ip.to_bits().into(),
                    IpAddr::V6(ip) => ip.to_bits(),
                };
                (words[1], words[2]) = ((bits >> 64) as u64, bits as u64);
                let kind = if address.is_ipv4() { Kind::V4 } else { Kind::V6 };
                (kind, address.port(), &[][..])
            }
            Endpoint::Unix(path) => (Kind::Unix, path.len.into(), &path.bytes[..]),
        };
        for (word, piece) in words[1..].iter_mut().zip(bytes.chunks(size_of::<u64>())) {
            let mut room = [0; size_of::<u64>()];
            room[..piece.len()].copy_from_slice(piece);
            *word = u64::from_le_bytes(room);
        }
        words[0] = u64::from(count) << KIND_BITS | kind as u64;
        words
    }

    /// What such cells hold. Those that hold none are an address that is nobody's.
    pub fn from_words(words: &[u64; Endpoint::WORDS]) -> Endpoint {
        let (kind, count) = (words[0] & ((1 << KIND_BITS) - 1), (words[0] >> KIND_BITS) as u16);
        let bits = u128::from(words[1]) << 64 | u128::from(words[2]);
        if kind == Kind::Unix as u64 {
            let mut bytes = [0; UnixPath::ROOM];
            for (piece, word) in bytes.chunks_mut(size_of::<u64>()).zip(&words[1..]) {
                piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
            }
            let len = usize::from(count).min(UnixPath::ROOM) as u8;
            Endpoint::Unix(UnixPath { bytes, len })
        } else if kind == Kind::V6 as u64 {
            (IpAddr::V6(bits.into()), count).into()
        } else {
            (IpAddr::V4((bits as u32).into()), count).into()
        }
    }
}

/// How many bits of the first cell say which kind it is.
const KIND_BITS: u32 = 8;

/// What the cells hold.
#[derive(Clone, Copy)]
enum Kind {
    V4 = 0,
    V6 = 1,
    Unix = 2,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Tcp(address)
    }
}

impl<Ip: Into<IpAddr>> From<(Ip, u16)> for Endpoint {
    fn from(address: (Ip, u16)) -> Endpoint {
        Endpoint::Tcp(address.into())
    }
}

impl From<UnixPath> for Endpoint {
    fn from(path: UnixPath) -> Endpoint {
        Endpoint::Unix(path)
    }
}

/// `10.0.0.7:80`, `[fd00::7]:80`, `unix:/run/app.sock` or `unix:@app`.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(out),
            Endpoint::Unix(path) => write!(out, "{UNIX}{path}"),
        }
    }
}

/// Reads what `Display` writes. What people write is read by [`address`](super::address).
impl FromStr for Endpoint {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Endpoint, Wrong> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return UnixPath::parse(path).map(Endpoint::Unix);
        }
        let no_address = |_| Wrong::new(format!("{} is not an address", quote(text)), "");
        text.parse().map(Endpoint::Tcp).map_err(no_address)
    }
}

impl From<UnixPath> for String {
    fn from(path: UnixPath) -> String {
        path.as_str().to_owned()
    }
}

impl TryFrom<String> for UnixPath {
    type Error = Wrong;

    fn try_from(text: String) -> Result<UnixPath, Wrong> {
        UnixPath::parse(&text)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Endpoint, Wrong> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<UnixPath, String> {
        UnixPath::parse(text).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn an_endpoint_survives_text_json_and_cells() {
        let long = format!("unix:/{}", "x".repeat(106));
        let name = format!("unix:@{}", "x".repeat(107));
        for text in [
            "10.0.0.7:80",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[fd00::7]:80",
            "[::ffff:10.0.0.7]:80",
            "unix:/run/app.sock",
            "unix:@app",
            "unix:/a",
            "unix:/tmp/ä \"b\" \\c/<d>",
            &long,
            &name,
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(Endpoint::from_words(&endpoint.to_words()), endpoint, "{text}");
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        }
        assert_eq!(
            serde_json::to_string(&Endpoint::from(([10, 0, 0, 7], 80))).unwrap(),
            "\"10.0.0.7:80\""
        );
        for text in ["", "10.0.0.7", "unix:", "/run/app.sock", "app:80"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn cells_that_hold_nothing_are_read_as_nobodys_address() {
        assert_eq!(Endpoint::from_words(&[0; Endpoint::WORDS]).to_string(), "0.0.0.0:0");
        for word in [u64::MAX, 0x0102_0304_0506_0708] {
            let _ = Endpoint::from_words(&[word; Endpoint::WORDS]).to_string();
            let mut words = [word; Endpoint::WORDS];
            words[0] = 0xffff_ff02;
            assert!(Endpoint::from_words(&words).to_string().starts_with("unix:"));
        }
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_known_by_what_it_means() {
        let canonical = |text: &str| text.parse::<Endpoint>().unwrap().canonical().to_string();
        assert_eq!(canonical("[::ffff:10.0.0.7]:80"), "10.0.0.7:80");
        assert_eq!(canonical("[fd00::7]:80"), "[fd00::7]:80");
        assert_eq!(canonical("unix:/run/app.sock"), "unix:/run/app.sock");
    }

    #[test]
    fn a_path_is_absolute_or_an_abstract_name_and_fits_into_an_address() {
        assert_eq!(path("@app").unwrap().abstract_name(), Some("app"));
        assert_eq!(path("/run/@app").unwrap().abstract_name(), None);
        let remedy = "write \"/run/app.sock\", or \"@app\" for an abstract name";
        for text in ["", "/", "@", "app.sock", "./app.sock", "unix:/run/app.sock"] {
            let fault = format!("{} is not the path of a Unix socket ({remedy})", quote(text));
            assert_eq!(path(text), Err(fault));
        }
        for (text, fits) in [
            (format!("/{}", "x".repeat(106)), true),
            (format!("/{}", "x".repeat(107)), false),
            (format!("@{}", "x".repeat(107)), true),
            (format!("@{}", "x".repeat(108)), false),
        ] {
            assert_eq!(path(&text).is_ok(), fits, "{}", text.len());
        }
        for text in ["/a\0", "/a\nb", "@\u{7f}", "/\u{85}"] {
            assert!(path(text).unwrap_err().contains("has control characters"), "{text:?}");
        }
    }
}
