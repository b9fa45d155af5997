//! Where things stand in the file: each key and each entry of a list by its path.

use std::collections::HashMap;

use super::error::{ConfigError, Position, Wrong};
use super::text::quote;

/// The positions of all that a file says, by path. It is empty for what is in no file.
#[derive(Debug, Default)]
pub struct Lines {
    positions: HashMap<String, Position>,
    /// Keys that count as the command line says them.
    overridden: Vec<&'static str>,
    /// Which entries of a list of backends, by its path, have addresses. Others have names.
    addresses: HashMap<String, Vec<usize>>,
}

impl Lines {
    /// Notes where `place` is, of several the first.
    pub fn add(&mut self, place: String, position: Position) {
        self.positions.entry(place).or_insert(position);
    }

    /// What the file says of `key` does not count: the command line says it anew.
    pub fn override_key(&mut self, key: &'static str) {
        self.overridden.push(key);
    }

    /// Notes which entries of the list at `place` are backends with addresses.
    pub fn add_addresses(&mut self, place: String, entries: Vec<usize>) {
        self.addresses.insert(place, entries);
    }

    /// The path of the backend that is at this place among those with addresses.
    pub fn place_of_backend(&self, list: &str, backend: usize) -> String {
        let entries = self.addresses.get(list);
        place_of_item(list, entries.and_then(|all| all.get(backend)).copied().unwrap_or(backend))
    }

    /// Whether the file says something at `place`.
    pub fn have(&self, place: &str) -> bool {
        self.positions.contains_key(place)
    }

    /// Where `place` is, or the nearest around it: of a key that is missing, the object that it is
    /// missing in.
    pub fn position(&self, place: &str) -> Option<Position> {
        if self.overridden.iter().any(|key| is_within(place, key)) {
            return None;
        }
        let mut around = place;
        loop {
            if let Some(position) = self.positions.get(around) {
                return Some(*position);
            }
            if around.is_empty() {
                return None;
            }
            around = &around[..around.rfind(['.', '[']).unwrap_or(0)];
        }
    }

    /// What is wrong at `place`, with its position.
    pub fn locate(&self, place: &str, wrong: Wrong) -> ConfigError {
        let shown = if place.is_empty() { "the file" } else { place };
        ConfigError {
            position: self.position(place),
            place: shown.to_owned(),
            fault: wrong.fault,
            remedy: wrong.remedy,
        }
    }
}

/// Whether a path is `around`, or leads into it.
pub fn is_within(place: &str, around: &str) -> bool {
    let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    place.strip_prefix(around).is_some_and(within)
}

/// The path of a key of the object at `parent`.
pub fn place_of_key(parent: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let dot = if parent.is_empty() { "" } else { "." };
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(plain) {
        format!("{parent}{dot}{key}")
    } else {
        format!("{parent}{dot}{}", quote(key))
    }
}

/// The path of an entry of the list at `parent`.
pub fn place_of_item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_where_it_is_missing() {
        let mut lines = Lines::default();
        for (line, place) in ["", "pools", "pools.a", "pools.a.listen[0]"].iter().enumerate() {
            lines.add(String::from(*place), Position { line: line + 1, column: 1 });
        }
        let line = |place| lines.position(place).map(|at| at.line);
        assert_eq!(line("pools.a.listen[0]"), Some(4));
        assert_eq!(line("pools.a.retries"), Some(3));
        assert_eq!(line("pools.b[7].c"), Some(2));
        assert_eq!(line("cache.dir"), Some(1));
        assert_eq!(line(""), Some(1));
        lines.override_key("pools");
        assert_eq!(lines.position("pools.a"), None);
        assert_eq!(Lines::default().position("a.b"), None);
    }

    #[test]
    fn keys_that_are_no_words_are_quoted_in_paths() {
        assert_eq!(place_of_key("", "a_b-c"), "a_b-c");
        assert_eq!(place_of_key("pools", "v1.0"), "pools.\"v1.0\"");
        assert_eq!(place_of_key("a", ""), "a.\"\"");
    }
}
