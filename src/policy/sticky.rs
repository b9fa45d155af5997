//! The cookie that keeps a client at its backend.
//!
//! Its value, a [`BackendTag`], is a keyed hash of pool and address. It shows no address, and it can
//! only name a backend that the pool has: a value counts if it is equal to the tag of one, and
//! else it is as good as none. Whoever has the key (the same file) gives the same tags.

use std::net::IpAddr;

use super::health::{AdminState, Availability};
use super::siphash::SipHasher;
use crate::config::Endpoint;
use crate::http::cookie;
use crate::http::request::RequestHead;

/// Bytes of a key.
pub const KEY_LEN: usize = 16;

/// What tags are made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; KEY_LEN]);

/// The name of one backend of one pool, as the cookie has it: 16 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTag([u8; 16]);

/// How a request came to its backend, in a pool that keeps clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyCookie {
    /// It brought the backend's tag.
    Hit,
    /// It brought no tag of this pool, and is given one.
    New,
    /// It brought another backend's tag, which could not be had, and is given a new one.
    Moved,
    /// It brought another backend's tag, which could not be had just now: it keeps that.
    Lent,
}

impl Key {
    /// A key of random bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Key {
        Key(bytes)
    }

    /// The random bytes.
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The tag of the backend at `address` in the pool of this name.
    ///
    /// It is made from the name, a zero byte, the address as one of IPv6 (an IPv4 one mapped into
    /// it), and the port, both with the highest byte first; for a Unix socket from the name, a zero
    /// byte, and `unix:` with its path.
    pub fn tag(&self, pool: &str, address: Endpoint) -> BackendTag {
        let message = match address {
            Endpoint::Tcp(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let port = address.port().to_be_bytes();
                [pool.as_bytes(), &[0], &ip.octets(), &port].concat()
            }
            Endpoint::Unix(_) => [pool, "\0", &address.to_string()].concat().into_bytes(),
        };
        let mut hasher = SipHasher::new_64(&self.0);
        hasher.write(&message);
        BackendTag::from_hash(hasher.finish_64())
    }
}

impl BackendTag {
    fn from_hash(hash: u64) -> BackendTag {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        BackendTag(std::array::from_fn(|place| DIGITS[(hash >> (60 - 4 * place) & 15) as usize]))
    }

    /// Its digits.
    pub const fn digits(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What binds a request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyTarget {
    /// Nothing: it brings no tag of its pool.
    None,
    /// It brings this one.
    To(BackendTag),
    /// It brings this one, whose backend works, but has as many requests as it may: another one may
    /// have this request.
    Lent(BackendTag),
}

impl StickyTarget {
    /// The tag that the request brings.
    pub const fn tag(self) -> Option<BackendTag> {
        match self {
            StickyTarget::None => None,
            StickyTarget::To(tag) | StickyTarget::Lent(tag) => Some(tag),
        }
    }
}

/// What the request brings in the cookie `name`: the first value that `find` knows as a tag of its
/// pool. Others, forged, cut, of other pools or of backends that are gone, are passed over.
pub fn brought(
    head: &RequestHead,
    name: &str,
    find: impl Fn(&[u8]) -> Option<BackendTag>,
) -> StickyTarget {
    let fields = head.fields.values("cookie");
    let tag = fields.flat_map(|field| cookie::values(field, name.as_bytes())).find_map(find);
    tag.map_or(StickyTarget::None, StickyTarget::To)
}

/// Whether a backend may be asked by the clients that are bound to it: also while it is drained, but
/// not when it is to be forgotten.
pub const fn may_keep(availability: Availability, admin: AdminState) -> bool {
    match (availability, admin) {
        (Availability::Up, _) => true,
        (Availability::Drain, AdminState::Leaving) => false,
        (Availability::Drain, AdminState::Ready | AdminState::Drain | AdminState::Maint) => true,
        (Availability::Down | Availability::Maint, _) => false,
    }
}

/// How a request with `target` came to the backend with the tag `chosen`, which has answered it.
pub fn verdict(target: StickyTarget, chosen: BackendTag) -> StickyCookie {
    match target {
        StickyTarget::None => StickyCookie::New,
        StickyTarget::To(tag) | StickyTarget::Lent(tag) if tag == chosen => StickyCookie::Hit,
        StickyTarget::To(_) => StickyCookie::Moved,
        StickyTarget::Lent(_) => StickyCookie::Lent,
    }
}

impl StickyCookie {
    /// As the log calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            StickyCookie::Hit => "hit",
            StickyCookie::New => "new",
            StickyCookie::Moved | StickyCookie::Lent => "moved",
        }
    }

    /// Whether the answer sets the cookie.
    pub const fn sets_cookie(self) -> bool {
        match self {
            StickyCookie::Hit | StickyCookie::Lent => false,
            StickyCookie::New | StickyCookie::Moved => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;

    const KEY: Key = Key::new(*b"0123456789abcdef");

    fn tag(pool: &str, address: &str) -> String {
        let address = address.parse().unwrap();
        String::from_utf8(KEY.tag(pool, address).digits().to_vec()).unwrap()
    }

    #[test]
    fn a_tag_is_16_digits_of_pool_address_and_key_and_never_changes() {
        // Made once by `openssl mac -macopt size:8 SipHash`, and never to change: clients keep them.
        assert_eq!(tag("default", "127.0.0.1:8001"), "39996877e37b121e");
        assert_eq!(tag("default", "unix:/run/app.sock"), "a43f422939ba2fe1");
        assert_eq!(tag("default", "[::ffff:127.0.0.1]:8001"), tag("default", "127.0.0.1:8001"));
        let all = [
            tag("default", "127.0.0.1:8001"),
            tag("default", "127.0.0.1:8002"),
            tag("default", "127.0.0.2:8001"),
            tag("api", "127.0.0.1:8001"),
            tag("default", "[fd00::1]:8001"),
            tag("default", "unix:/run/app.sock"),
            tag("default", "unix:@app"),
        ];
        let distinct: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        for tag in &all {
            assert!(tag.len() == 16 && tag.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
        }
        let other = Key::new([0; 16]).tag("default", "127.0.0.1:8001".parse().unwrap());
        assert_ne!(other.digits().as_slice(), all[0].as_bytes());
    }

    #[test]
    fn digits_are_written_from_the_highest_on() {
        assert_eq!(BackendTag::from_hash(0x0123_4567_89ab_cdef).digits(), b"0123456789abcdef");
        assert_eq!(BackendTag::from_hash(15).digits(), b"000000000000000f");
    }

    fn found(lines: &str) -> Option<usize> {
        let tags = [BackendTag(*b"00000000000000aa"), BackendTag(*b"00000000000000bb")];
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let head = request::parse(text.as_bytes()).unwrap();
        let find = |value: &[u8]| tags.into_iter().find(|tag| tag.digits() == value);
        let tag = brought(&head, "s", find).tag()?;
        tags.iter().position(|other| *other == tag)
    }

    #[test]
    fn the_first_value_that_is_a_tag_of_the_pool_counts_and_all_others_are_none() {
        let long = format!("Cookie: s={}\r\n", "a".repeat(5000));
        for (lines, expected) in [
            ("Cookie: s=00000000000000aa\r\n", Some(0)),
            ("cookie: a=b; s=00000000000000bb; c=d\r\n", Some(1)),
            ("Cookie: a=b\r\nCookie: s=00000000000000bb\r\n", Some(1)),
            ("Cookie: s=00000000000000aa; s=00000000000000bb\r\n", Some(0)),
            ("Cookie: s=forged; s=00000000000000bb\r\n", Some(1)),
            ("Cookie: s=00000000000000cc\r\n", None),
            ("Cookie: s=00000000000000AA\r\n", None),
            ("Cookie: s=00000000000000a\r\n", None),
            ("Cookie: s=00000000000000aaa\r\n", None),
            ("Cookie: s=\"00000000000000aa\"\r\n", None),
            ("Cookie: s=00000000000000aa=\r\n", None),
            ("Cookie: S=00000000000000aa\r\n", None),
            ("Cookie: ss=00000000000000aa\r\n", None),
            ("Cookie: s\r\n", None),
            ("Cookie: s=\r\n", None),
            ("Cookie:\r\n", None),
            ("Cookie2: s=00000000000000aa\r\n", None),
            (&long, None),
            ("", None),
        ] {
            assert_eq!(found(lines), expected, "{lines}");
        }
    }

    #[test]
    fn the_cookie_is_set_unless_the_backend_is_the_one_that_was_asked_for() {
        let [one, other] = [1, 2].map(BackendTag::from_hash);
        for (target, chosen, expected, word, sets) in [
            (StickyTarget::To(one), one, StickyCookie::Hit, "hit", false),
            (StickyTarget::Lent(one), one, StickyCookie::Hit, "hit", false),
            (StickyTarget::To(one), other, StickyCookie::Moved, "moved", true),
            (StickyTarget::Lent(one), other, StickyCookie::Lent, "moved", false),
            (StickyTarget::None, other, StickyCookie::New, "new", true),
        ] {
            let found = verdict(target, chosen);
            assert_eq!((found, found.as_str(), found.sets_cookie()), (expected, word, sets));
        }
    }

    #[test]
    fn a_drained_backend_keeps_its_clients_and_one_that_leaves_does_not() {
        for (availability, admin, expected) in [
            (Availability::Up, AdminState::Ready, true),
            (Availability::Drain, AdminState::Drain, true),
            (Availability::Drain, AdminState::Leaving, false),
            (Availability::Down, AdminState::Drain, false),
            (Availability::Down, AdminState::Ready, false),
            (Availability::Maint, AdminState::Maint, false),
        ] {
            assert_eq!(may_keep(availability, admin), expected, "{availability:?} {admin:?}");
        }
    }
}
