//! Statuses and classes of them, as an operator lists them: `[204, "3xx"]`.

use std::fmt;

use super::error::Wrong;
use super::read::{Mistakes, Node};
use super::units;

/// One entry of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusEntry {
    /// This one, 200 to 599.
    One(u16),
    /// All that begin with this digit, 2 to 5.
    Class(u8),
}

/// A list of statuses and classes, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<StatusEntry>);

const REMEDY: &str = "write a status of 200 to 599 or a class of \"2xx\" to \"5xx\"";

impl Statuses {
    /// This one alone.
    pub fn only(status: u16) -> Statuses {
        Statuses(vec![StatusEntry::One(status)])
    }

    /// The entries in their order.
    pub fn entries(&self) -> &[StatusEntry] {
        &self.0
    }

    /// Whether `status` is one of them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|entry| match *entry {
            StatusEntry::One(one) => one == status,
            StatusEntry::Class(class) => u16::from(class) == status / 100,
        })
    }

    /// Reads one entry, or a list of 1 to 16. `None` where there is a mistake.
    pub(super) fn read(node: &Node, mistakes: &mut Mistakes) -> Option<Statuses> {
        if !node.is_list() {
            return mistakes.keep(node, StatusEntry::read(node)).map(|entry| Statuses(vec![entry]));
        }
        let nodes = node.items(1..=16, mistakes);
        let read = |node: &Node| mistakes.keep(node, StatusEntry::read(node));
        let entries: Vec<_> = nodes.iter().filter_map(read).collect();
        (!entries.is_empty()).then_some(Statuses(entries))
    }
}

impl Statuses {
    /// Reads one entry, or a list of 0 to 16. `None` for an empty one, or where there is a mistake.
    pub(super) fn read_any(node: &Node, mistakes: &mut Mistakes) -> Option<Statuses> {
        let is_empty = node.is_list() && node.items(0..=16, mistakes).is_empty();
        if is_empty { None } else { Statuses::read(node, mistakes) }
    }
}

impl StatusEntry {
    fn read(node: &Node) -> Result<StatusEntry, Wrong> {
        match node.text("a status", REMEDY) {
            Ok(text) => match text.as_bytes() {
                [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                    Ok(StatusEntry::Class(class - b'0'))
                }
                _ => {
                    let number = units::whole(text).filter(|number| (200..600).contains(number));
                    let meant = number.map(|number| format!("write {number}, without quotes"));
                    let remedy = meant.unwrap_or_else(|| String::from(REMEDY));
                    Err(node.wrong("is not a status", remedy))
                }
            },
            Err(_) => node.whole(200, 599).map(StatusEntry::One),
        }
    }
}

impl fmt::Display for StatusEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusEntry::One(status) => write!(formatter, "{status}"),
            StatusEntry::Class(class) => write!(formatter, "{class}xx"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_contained_by_itself_or_by_its_class() {
        let statuses = Statuses(vec![StatusEntry::One(204), StatusEntry::Class(3)]);
        for (status, expected) in
            [(204, true), (200, false), (300, true), (399, true), (400, false), (999, false)]
        {
            assert_eq!(statuses.contain(status), expected, "{status}");
        }
    }
}
