//! Field names that mean something to an intermediary, told from all others at a glance: by the first
//! sixteen bytes, as two words, from a table in which each has a slot of its own.

use super::scan::{self, first_mark, lower, lowest, not_in_plain_name, word};

/// What a field name means to whoever reads a head or writes it anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Name {
    /// Nothing.
    #[default]
    Other,
    Authorization,
    CdnLoop,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    IdempotencyKey,
    KeepAlive,
    MaxForwards,
    Proxy,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    WwwAuthenticate,
    /// `X-Forwarded-` and whatever follows.
    XForwarded,
    XRealIp,
    XRequestId,
    /// Read as one of [`MIMICKED`], or as `X-Forwarded-`, by servers to which underscores are hyphens.
    Shadow,
}

/// Those that are meant by all their letters, at most sixteen.
const KNOWN: [(&str, Name); 21] = [
    ("authorization", Name::Authorization),
    ("cdn-loop", Name::CdnLoop),
    ("connection", Name::Connection),
    ("content-length", Name::ContentLength),
    ("cookie", Name::Cookie),
    ("date", Name::Date),
    ("expect", Name::Expect),
    ("forwarded", Name::Forwarded),
    ("host", Name::Host),
    ("idempotency-key", Name::IdempotencyKey),
    ("keep-alive", Name::KeepAlive),
    ("max-forwards", Name::MaxForwards),
    ("proxy", Name::Proxy),
    ("proxy-connection", Name::ProxyConnection),
    ("te", Name::Te),
    ("trailer", Name::Trailer),
    ("upgrade", Name::Upgrade),
    ("user-agent", Name::UserAgent),
    ("www-authenticate", Name::WwwAuthenticate),
    ("x-real-ip", Name::XRealIp),
    ("x-request-id", Name::XRequestId),
];

/// Those that are dangerous with underscores too.
const MIMICKED: [&[u8]; 4] =
    [b"content-length", b"transfer-encoding", b"x-real-ip", b"x-request-id"];

const X_FORWARDED: &[u8] = b"x-forwarded-";

/// The first sixteen bytes of a name in lower case, with NULs behind one that is shorter.
type Key = [u64; 2];

const fn key_of(name: &str) -> Key {
    let mut key = [0; 2];
    let mut index = 0;
    while index < name.len() && index < 16 {
        key[index / 8] |= (name.as_bytes()[index] as u64) << (8 * (index % 8));
        index += 1;
    }
    key
}

/// Where a key stands in the table. The factor was found by trying: with it no two share a slot.
const fn slot_of(key: Key) -> usize {
    ((key[0] ^ key[1]).wrapping_mul(0x68c5_0d38_5edc_0277) >> 59) as usize
}

const SLOTS: [(Key, Name); 32] = {
    let mut slots = [([0; 2], Name::Other); 32];
    let mut index = 0;
    while index < KNOWN.len() {
        let (name, meaning) = KNOWN[index];
        let slot = slot_of(key_of(name));
        assert!(name.len() <= 16 && matches!(slots[slot].1, Name::Other), "a slot for each");
        slots[slot] = (key_of(name), meaning);
        index += 1;
    }
    slots
};

/// How long the name is that stands before a colon at the front of a line, a token (RFC 9110 §5.6.2),
/// and what it means. `None` where there is none.
///
/// Nearly all names have letters and hyphens alone, and are looked at eight bytes at a time.
#[inline(always)]
pub(super) fn read(line: &[u8]) -> Option<(usize, Name)> {
    let first = word(line);
    let marks = not_in_plain_name(first);
    if marks != 0 {
        let key = [lower(first) & lowest(marks), 0];
        return end_of_short(line, first_mark(marks), key);
    }
    let second = word(line.get(8..)?);
    let marks = not_in_plain_name(second);
    let key = [lower(first), lower(second)];
    if marks != 0 {
        let key = [key[0], key[1] & lowest(marks)];
        return end_of_short(line, 8 + first_mark(marks), key);
    }
    let len = 16 + scan::token_len(line.get(16..)?);
    (line.get(len) == Some(&b':')).then(|| (len, long(key, &line[..len])))
}

/// A name that begins with `len` letters and hyphens, fewer than sixteen. Mostly that is all of it.
#[inline(always)]
fn end_of_short(line: &[u8], len: usize, key: Key) -> Option<(usize, Name)> {
    if line.get(len) == Some(&b':') && len > 0 { Some((len, short(key))) } else { odd(line) }
}

/// What a name of at least sixteen bytes means.
fn long(key: Key, name: &[u8]) -> Name {
    const TRANSFER_ENCODING: Key = key_of("transfer-encoding");
    match name.len() {
        16 => short(key),
        17 if key == TRANSFER_ENCODING && matches!(name[16], b'g' | b'G') => Name::TransferEncoding,
        _ => begins_known(key),
    }
}

#[inline(always)]
fn short(key: Key) -> Name {
    let (known, name) = SLOTS[slot_of(key)];
    if known == key { name } else { begins_known(key) }
}

/// What a name means by how it begins.
#[inline(always)]
fn begins_known(key: Key) -> Name {
    const BEGIN: Key = key_of("x-forwarded-");
    if key[0] == BEGIN[0] && key[1] as u32 == BEGIN[1] as u32 {
        Name::XForwarded
    } else {
        Name::Other
    }
}

/// A name that has other bytes than letters and hyphens.
#[cold]
fn odd(line: &[u8]) -> Option<(usize, Name)> {
    let (name, behind) = line.split_at_checked(scan::token_len(line))?;
    if name.is_empty() || behind.first() != Some(&b':') {
        return None;
    }
    let is_shadow = is_x_forwarded(name) || MIMICKED.iter().any(|known| is_read_as(name, known));
    Some((name.len(), if is_shadow { Name::Shadow } else { Name::Other }))
}

/// Whether some server reads the name as `wanted`: in any case, and with underscores for hyphens,
/// which are one where fields become CGI variables.
pub(super) fn is_read_as(name: &[u8], wanted: &[u8]) -> bool {
    let alike = |(&given, &wanted): (&u8, &u8)| {
        given.eq_ignore_ascii_case(&wanted) || (given == b'_' && wanted == b'-')
    };
    name.len() == wanted.len() && name.iter().zip(wanted).all(alike)
}

/// Whether some server reads the name as one that begins with `X-Forwarded-`.
pub(super) fn is_x_forwarded(name: &[u8]) -> bool {
    name.get(..X_FORWARDED.len()).is_some_and(|start| is_read_as(start, X_FORWARDED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::xorshift::Xorshift;

    /// The same by comparing with one after the other.
    fn read_naively(line: &[u8]) -> Option<(usize, Name)> {
        let is_token =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let len = line.iter().take_while(|byte| is_token(byte)).count();
        if len == 0 || line.get(len) != Some(&b':') {
            return None;
        }
        let name = String::from_utf8(line[..len].to_ascii_lowercase()).unwrap();
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
        let with_hyphens = name.replace('_', "-");
        let meaning = known.unwrap_or(match &with_hyphens[..] {
            "transfer-encoding" if name == with_hyphens => Name::TransferEncoding,
            "content-length" | "transfer-encoding" | "x-real-ip" | "x-request-id" => Name::Shadow,
            _ if !with_hyphens.starts_with("x-forwarded-") => Name::Other,
            // Here both are right: they are looked at by all their letters.
            _ if name.starts_with("x-forwarded-") => read(line).unwrap().1,
            _ => Name::Shadow,
        });
        Some((len, meaning))
    }

    #[test]
    fn a_name_is_known_by_all_its_letters_in_any_case() {
        let more = ["transfer-encoding", "x-forwarded-", "x-forwarded-for", "x-forwarded-a-b-c-d"];
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).chain(more).collect();
        let mut random = Xorshift::new(9);
        for round in 0..200_000 {
            let mut line = names[random.below(names.len())].as_bytes().to_vec();
            for _ in 0..round % 3 {
                let at = random.below(line.len());
                const BYTES: &[u8] = b"_-aZ:0.\x0d\x0e@[`{ \x00\xe1\xad";
                match random.below(5) {
                    0 => line[at] = BYTES[random.below(BYTES.len())],
                    1 => line.insert(at, BYTES[random.below(BYTES.len())]),
                    2 if line.len() > 1 => drop(line.remove(at)),
                    3 => line[at] = line[at].to_ascii_uppercase(),
                    _ => line[at] = if line[at] == b'-' { b'_' } else { line[at] ^ 0x20 },
                }
            }
            for end in [&b""[..], b":", b": some value\r\n"] {
                let line = [&line, end].concat();
                assert_eq!(read(&line), read_naively(&line), "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn what_begins_like_x_forwarded_is_never_taken_for_an_ordinary_field() {
        for name in
            ["X-Forwarded-For:", "x_forwarded_a:", "X-Forwarded-2:", "x-forwarded-0123456_:"]
        {
            let (_, name) = read(name.as_bytes()).unwrap();
            assert!(matches!(name, Name::XForwarded | Name::Shadow));
        }
    }
}
