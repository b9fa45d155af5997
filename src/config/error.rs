//! Mistakes in what an operator wrote: each says where it is, what is wrong, and how it would be right.

use std::fmt;

/// A place in the file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column: of a syntax error in characters, as editors count, else in bytes.
    pub column: usize,
}

/// One mistake in the configuration: where it is, what is wrong, and how it would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands in the file, unless it stands on the command line.
    pub position: Option<Position>,
    /// The path of the key, such as `timeouts.connect` or `backend_servers[1].ip`; empty for a
    /// syntax error.
    pub place: String,
    /// What is wrong, the value quoted.
    pub fault: String,
    /// How it would be right.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) if self.place.is_empty() => {
                write!(formatter, "line {line}, column {column}: ")?;
            }
            Some(Position { line, .. }) => write!(formatter, "line {line}: {}: ", self.place)?,
            None => write!(formatter, "{}: ", self.place)?,
        }
        write!(formatter, "{} ({})", self.fault, self.remedy)
    }
}

/// A mistake whose place its finder does not know: what is wrong, and how it would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong, the value quoted.
    pub fault: String,
    /// How it would be right.
    pub remedy: String,
}

impl Wrong {
    /// From both its parts.
    pub fn new(fault: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong { fault: fault.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.fault, self.remedy)
    }
}

/// Something that is valid, and hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub subject: Subject,
    /// What is odd, and how it would be right.
    pub wrong: Wrong,
}

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key, by its path.
    Key(String),
    /// A backend, by its place among those that have an address.
    Backend {
        /// The place of its pool.
        pool: usize,
        /// Its place in that.
        backend: usize,
    },
}

impl Warning {
    /// About the key of this path.
    pub fn of(
        path: impl Into<String>,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Warning {
        Warning { subject: Subject::Key(path.into()), wrong: Wrong::new(fault, remedy) }
    }
}
