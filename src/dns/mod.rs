//! Answers of name servers: RFC 1035, and of a service RFC 2782. Only what tells of services is read; the
//! addresses of their hosts are the resolver's to find.
//!
//! An answer comes by a network from whoever has given it: whatever bytes are here, it is read or refused.

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// Those with the least are asked first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// The name of its host, in lower case. Empty: the service is decidedly not available there.
    pub target: String,
}

/// All servers of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// In the order of the answer.
    pub records: Vec<SrvRecord>,
    /// For how many seconds that is so: the least of all records.
    pub lifetime: Option<u32>,
}

/// Records that are read of an answer; it cannot have many more.
const MOST_RECORDS: usize = 4096;
/// Bytes of a name as text.
const LONGEST_NAME: usize = 253;
/// Bytes of a message's header.
const HEADER: usize = 12;
/// The type of a service's record.
const SRV: u16 = 33;
/// The class of the Internet.
const IN: u16 = 1;

/// Reads the servers of a service in the answer section of a message. `None`: it is malformed.
pub fn services(message: &[u8]) -> Option<Services> {
    let (questions, answers) = (number(message, 4)?, usize::from(number(message, 6)?));
    let mut at = HEADER;
    for _ in 0..questions {
        at = skip_name(message, at)?.checked_add(4)?;
    }
    let mut services = Services::default();
    for _ in 0..answers.min(MOST_RECORDS) {
        let fixed = skip_name(message, at)?;
        let (kind, class) = (number(message, fixed)?, number(message, fixed + 2)?);
        let lifetime =
            u32::from(number(message, fixed + 4)?) << 16 | u32::from(number(message, fixed + 6)?);
        let (data, len) = (fixed + 10, usize::from(number(message, fixed + 8)?));
        at = data.checked_add(len).filter(|end| *end <= message.len())?;
        if kind != SRV || class != IN {
            continue; // An alias that leads there, a signature.
        }
        let (target, end) = read_name(message, data + 6)?;
        if end != at {
            return None;
        }
        services.records.push(SrvRecord {
            priority: number(message, data)?,
            weight: number(message, data + 2)?,
            port: number(message, data + 4)?,
            target,
        });
        // RFC 2181 §8: one with the highest bit set is taken for zero.
        let lifetime = i32::try_from(lifetime).map_or(0, i32::unsigned_abs);
        services.lifetime = Some(services.lifetime.map_or(lifetime, |least| least.min(lifetime)));
    }
    Some(services)
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// What a label begins with.
enum Label {
    /// So many bytes of text.
    Text(usize),
    /// The rest of the name stands there.
    Pointer(usize),
    End,
}

fn label(message: &[u8], at: usize) -> Option<Label> {
    let first = usize::from(*message.get(at)?);
    match first >> 6 {
        0 if first == 0 => Some(Label::End),
        0 => Some(Label::Text(first)),
        3 => Some(Label::Pointer((first & 0x3f) << 8 | usize::from(*message.get(at + 1)?))),
        _ => None,
    }
}

/// Where a name ends that begins at `at`.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match label(message, at)? {
            Label::End => return Some(at + 1),
            Label::Pointer(_) => return Some(at + 2),
            Label::Text(len) => at += 1 + len,
        }
    }
}

/// A name that begins at `at`, and where it ends there. Pointers lead backwards only, so that it has an
/// end, and not into the header, where no name is; its labels have no characters that mean something to
/// whoever reads it as text.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut end) = (String::new(), None);
    loop {
        match label(message, at)? {
            Label::End => return Some((name, end.unwrap_or(at + 1))),
            Label::Pointer(to) => {
                end = end.or(Some(at + 2));
                at = Some(to).filter(|to| (HEADER..at).contains(to))?;
            }
            Label::Text(len) => {
                let text = message.get(at + 1..at + 1 + len)?;
                if !name.is_empty() {
                    name.push('.');
                }
                for byte in text {
                    let allowed = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                    name.push(allowed.then_some(byte.to_ascii_lowercase() as char)?);
                }
                at += 1 + len;
                // Before the next: a pointer could have led to within this one again and again.
                if name.len() > LONGEST_NAME {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
