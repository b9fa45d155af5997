//! How many requests a backend may have at once, as JSON has it: a number, or "auto".

use serde::{Deserialize, Serialize};

/// In place of the requests that a backend may have at once: as many as it turns out to bear.
pub const AUTO_CAP: u32 = u32::MAX;

/// The most that can be said.
pub const MOST_REQUESTS: u32 = 1_000_000;

const AUTO: &str = "auto";

/// `max_connections` of a backend, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ShownCap {
    /// So many, 0 for any.
    Number(u32),
    /// "auto".
    Word(&'static str),
}

impl From<u32> for ShownCap {
    fn from(max_connections: u32) -> ShownCap {
        match max_connections {
            AUTO_CAP => ShownCap::Word(AUTO),
            number => ShownCap::Number(number),
        }
    }
}

/// The same, as somebody has written it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum WrittenCap {
    /// So many, perhaps more than may be.
    Number(u64),
    /// A word, which may be any.
    Word(String),
}

impl WrittenCap {
    /// What is meant: 0 is no limit, [`AUTO_CAP`] one that finds itself. `None`: it is neither a right
    /// number nor "auto".
    pub fn read(&self) -> Option<u32> {
        match self {
            WrittenCap::Word(word) => (word == AUTO).then_some(AUTO_CAP),
            WrittenCap::Number(number) => {
                u32::try_from(*number).ok().filter(|number| *number <= MOST_REQUESTS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_shown() {
        for limit in [0, 1, MOST_REQUESTS, AUTO_CAP] {
            let shown = serde_json::to_string(&ShownCap::from(limit)).unwrap();
            assert_eq!(serde_json::from_str::<WrittenCap>(&shown).unwrap().read(), Some(limit));
        }
        for wrong in ["1000001", "4294967295", "18446744073709551615", "\"Auto\"", "\"7\""] {
            assert_eq!(serde_json::from_str::<WrittenCap>(wrong).unwrap().read(), None, "{wrong}");
        }
        for wrong in ["-1", "1.5", "null", "[7]"] {
            assert!(serde_json::from_str::<WrittenCap>(wrong).is_err(), "{wrong}");
        }
    }
}
