//! What requests and responses have in common: the version, how a body is framed, fields that stand once.

/// The field lines that a head may have by default.
pub const MAX_FIELDS: usize = crate::config::DEFAULT_MAX_FIELDS;

/// A version of the protocol. HTTP/1.2 to 1.9 are read as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the versions")]
pub enum Version {
    Http10,
    Http11,
}

/// What a head says of the body's length. It is never doubtful here: `parse` fails then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither `Content-Length` nor `Transfer-Encoding`.
    None,
    /// So many bytes, below 2⁶³. A length of 0 is told apart from none, for it is passed on.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A field of which one line at most makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Single<'a> {
    /// There is none.
    #[default]
    Absent,
    /// One, with that value.
    Once(&'a [u8]),
    /// More than one, so that nobody knows which counts.
    Several,
}

impl<'a> Single<'a> {
    /// Takes in the value of one more line.
    pub fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Single::Absent => Single::Once(value),
            Single::Once(_) | Single::Several => Single::Several,
        };
    }

    /// The value, if there is exactly one.
    pub fn only(self) -> Option<&'a [u8]> {
        match self {
            Single::Once(value) => Some(value),
            Single::Absent | Single::Several => None,
        }
    }
}

/// The three digits of a status.
pub(super) fn status_digits(status: u16) -> [u8; 3] {
    [status / 100, status / 10, status].map(|digit| b'0' + (digit % 10) as u8)
}
