//! `Cache-Status`: RFC 9211, by which an answer tells what the cache had to do with it.

use super::message::status_digits;
use crate::mem::{Append, append_decimal};

/// No line is longer than this, in bytes.
pub const MAX_LEN: usize = 128;

/// Why a request went to a backend: RFC 9211 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FwdReason {
    /// The cache was not to be asked, for the request is of a kind that it does not serve.
    Bypass,
    /// The method is not one that the cache answers.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// What is stored for the URL is for other requests, by `Vary`.
    VaryMiss,
    /// The request's own directives forbade to use what is stored.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored is only a part of what is asked for.
    Partial,
}

impl FwdReason {
    fn token(self) -> &'static [u8] {
        match self {
            FwdReason::Bypass => b"bypass",
            FwdReason::Method => b"method",
            FwdReason::UriMiss => b"uri-miss",
            FwdReason::VaryMiss => b"vary-miss",
            FwdReason::Request => b"request",
            FwdReason::Stale => b"stale",
            FwdReason::Partial => b"partial",
        }
    }
}

/// What the cache had to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// It is a stored one, and no backend was asked for it.
    Hit {
        /// Seconds for which it is still fresh; below 0: since when it is stale.
        ttl: i64,
    },
    /// Nothing that is stored fits, and the client wanted no backend to be asked.
    OnlyIfCached,
    /// A backend was asked.
    Forwarded {
        /// Why.
        why: FwdReason,
        /// What the backend answered, where the answer is a stored one all the same.
        status: Option<u16>,
        /// Whether the answer is being stored.
        stored: bool,
        /// Whether it is one that was asked for by another request at the same time.
        collapsed: bool,
    },
}

/// What came of a request to the cache: as the log and the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// A stored answer, which was fresh.
    Hit,
    /// A backend's answer.
    Miss,
    /// A stored answer, which was stale.
    Stale,
    /// A stored answer, which a backend has confirmed.
    Revalidated,
    /// A backend's answer to a request that is none of the cache's.
    Bypass,
    /// A stored part, and the rest of a backend.
    Part,
}

impl CacheResult {
    /// All there are, in the order of their numbers.
    pub const ALL: [CacheResult; 6] = [
        CacheResult::Hit,
        CacheResult::Miss,
        CacheResult::Stale,
        CacheResult::Revalidated,
        CacheResult::Bypass,
        CacheResult::Part,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Miss => "miss",
            CacheResult::Stale => "stale",
            CacheResult::Revalidated => "revalidated",
            CacheResult::Bypass => "bypass",
            CacheResult::Part => "part",
        }
    }
}

/// Writes the line. `out` must have room for [`MAX_LEN`] bytes.
pub fn write(status: CacheStatus, out: &mut impl Append) {
    out.append(b"Cache-Status: httplb; ");
    match status {
        CacheStatus::Hit { ttl } => {
            out.append(b"hit; ttl=");
            if ttl < 0 {
                out.append(b"-");
            }
            // An integer of structured fields has 15 digits at most: RFC 9651 §3.3.1.
            append_decimal(ttl.unsigned_abs().min(999_999_999_999_999), out);
        }
        CacheStatus::OnlyIfCached => out.append(b"detail=only-if-cached"),
        CacheStatus::Forwarded { why, status, stored, collapsed } => {
            out.append(b"fwd=");
            out.append(why.token());
            if let Some(status) = status {
                out.append(b"; fwd-status=");
                out.append(&status_digits(status));
            }
            if stored {
                out.append(b"; stored");
            }
            if collapsed {
                out.append(b"; collapsed");
            }
        }
    }
    out.append(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: CacheStatus) -> String {
        let mut out = Vec::new();
        write(status, &mut out);
        assert!(out.len() <= MAX_LEN);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_hit_tells_how_long_it_is_fresh() {
        let hit = |ttl| written(CacheStatus::Hit { ttl });
        assert_eq!(hit(376), "Cache-Status: httplb; hit; ttl=376\r\n");
        assert_eq!(hit(-412), "Cache-Status: httplb; hit; ttl=-412\r\n");
        assert_eq!(hit(i64::MIN), "Cache-Status: httplb; hit; ttl=-999999999999999\r\n");
    }

    #[test]
    fn what_was_forwarded_tells_why() {
        let miss = CacheStatus::Forwarded {
            why: FwdReason::UriMiss,
            status: None,
            stored: true,
            collapsed: false,
        };
        assert_eq!(written(miss), "Cache-Status: httplb; fwd=uri-miss; stored\r\n");
        let validated = CacheStatus::Forwarded {
            why: FwdReason::Stale,
            status: Some(304),
            stored: false,
            collapsed: true,
        };
        assert_eq!(
            written(validated),
            "Cache-Status: httplb; fwd=stale; fwd-status=304; collapsed\r\n"
        );
    }

    #[test]
    fn every_line_is_a_structured_list_member() {
        for why in [
            FwdReason::Bypass,
            FwdReason::Method,
            FwdReason::UriMiss,
            FwdReason::VaryMiss,
            FwdReason::Request,
            FwdReason::Stale,
            FwdReason::Partial,
        ] {
            let line = written(CacheStatus::Forwarded {
                why,
                status: Some(599),
                stored: true,
                collapsed: true,
            });
            let value = line.trim_start_matches("Cache-Status: ").trim_end();
            // A member of a list with parameters is written as one of a dictionary is.
            let read = crate::http::structured::read_dictionary(value.as_bytes(), &mut |_, _| ());
            assert_eq!(read, Ok(()), "{line}");
        }
    }
}
