//! What `Content-Length` and `Transfer-Encoding` say together: RFC 9112 §6.

use super::fields::{list_members, trim_blanks};
use super::message::{Framing, Version};

/// Why it is doubtful where a message ends. The connection it came on must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFraming {
    /// A `Content-Length` that is no number below 2⁶³, or more than one of them, even if equal.
    Length,
    /// `Transfer-Encoding` with other codings than chunked, each of them known and in an order
    /// that has a meaning.
    UnknownCoding,
    /// Any other `Transfer-Encoding` than chunked, or more than one such line.
    Coding,
    /// Chunked more than once, and nothing else: mostly by two who did not know of each other.
    RepeatedChunked,
    /// Both a length and a coding: the construct that request smuggling is made of.
    Both,
    /// HTTP/1.0 knows no `Transfer-Encoding`, so somebody on the way may not have read it.
    CodingInHttp10,
}

/// Lengths end below this, so that sums of two of them and signed readers are safe.
const LENGTH_LIMIT: u64 = 1 << 63;

/// What the `Content-Length` fields of a head say together.
#[derive(Clone, Copy, Debug, Default)]
enum Length {
    #[default]
    Absent,
    One(u64),
    Bad,
}

/// What the `Transfer-Encoding` fields of a head say together.
#[derive(Clone, Copy, Debug, Default)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    Repeated,
    Unknown,
    Bad,
}

/// Collects the framing fields of a head as they are met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingFields {
    length: Length,
    coding: Coding,
}

impl FramingFields {
    /// Takes in the value of a `Content-Length` field.
    pub fn add_length(&mut self, value: &[u8]) {
        self.length = match (self.length, decimal(value)) {
            (Length::Absent, Some(length)) if length < LENGTH_LIMIT => Length::One(length),
            (Length::Absent | Length::One(_) | Length::Bad, _) => Length::Bad,
        };
    }

    /// Takes in the value of a `Transfer-Encoding` field.
    pub fn add_coding(&mut self, value: &[u8]) {
        self.coding = match self.coding {
            Coding::Absent if value.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
            Coding::Absent if has_known_codings(value) => Coding::Unknown,
            Coding::Absent | Coding::Chunked | Coding::Repeated if is_all_chunked(value) => {
                Coding::Repeated
            }
            Coding::Absent | Coding::Chunked | Coding::Repeated | Coding::Unknown | Coding::Bad => {
                Coding::Bad
            }
        };
    }

    /// The same where chunked more than once is chunked.
    pub fn judge_repeats(&self, version: Version) -> Result<Framing, BadFraming> {
        match self.judge(version) {
            Err(BadFraming::RepeatedChunked) => Ok(Framing::Chunked),
            judged => judged,
        }
    }

    /// The one way to read them all, if there is one.
    pub fn judge(&self, version: Version) -> Result<Framing, BadFraming> {
        match (self.coding, self.length, version) {
            (Coding::Absent, Length::Absent, _) => Ok(Framing::None),
            (Coding::Absent, Length::One(length), _) => Ok(Framing::Length(length)),
            (Coding::Absent, Length::Bad, _) => Err(BadFraming::Length),
            (_, Length::One(_) | Length::Bad, _) => Err(BadFraming::Both),
            (_, Length::Absent, Version::Http10) => Err(BadFraming::CodingInHttp10),
            (Coding::Chunked, Length::Absent, Version::Http11) => Ok(Framing::Chunked),
            (Coding::Repeated, Length::Absent, Version::Http11) => Err(BadFraming::RepeatedChunked),
            (Coding::Unknown, Length::Absent, Version::Http11) => Err(BadFraming::UnknownCoding),
            (Coding::Bad, Length::Absent, Version::Http11) => Err(BadFraming::Coding),
        }
    }
}

/// Whether `value` lists chunked alone, and nothing empty.
fn is_all_chunked(value: &[u8]) -> bool {
    let members = value.split(|&byte| byte == b',').map(trim_blanks);
    members.into_iter().all(|member| member.eq_ignore_ascii_case(b"chunked"))
}

/// Whether `value` lists codings of RFC 9112 §7, nothing empty among them, and chunked, if at
/// all, once and last.
fn has_known_codings(value: &[u8]) -> bool {
    const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let members = value.split(|&byte| byte == b',').count();
    let is_known = |(position, member): (usize, &[u8])| {
        KNOWN.iter().any(|known| member.eq_ignore_ascii_case(known))
            || (position + 1 == members && member.eq_ignore_ascii_case(b"chunked"))
    };
    list_members(value).count() == members && list_members(value).enumerate().all(is_known)
}

/// A number of decimal digits and nothing else. `None` from 2⁶⁴ on.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    // So many nines are below 2⁶⁴.
    let (sure, rest) = digits.split_at_checked(19).unwrap_or((digits, &[]));
    let mut number = 0;
    for digit in sure {
        number = number * 10 + value_of(*digit)?;
    }
    let all = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(value_of(*digit)?);
    if digits.is_empty() { None } else { rest.iter().try_fold(number, all) }
}

fn value_of(digit: u8) -> Option<u64> {
    digit.is_ascii_digit().then(|| u64::from(digit - b'0'))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
