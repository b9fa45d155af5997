//! Mistakes in what an operator wrote: each says where it is, what is wrong, and how it would be right.

use std::fmt;

/// One mistake in the configuration: where it is, what is wrong, and how it would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The path of the key, such as `timeouts.connect` or `backend_servers[1].ip`; of a syntax
    /// error its line and column.
    pub place: String,
    /// What is wrong, the value quoted.
    pub fault: String,
    /// How it would be right.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} ({})", self.place, self.fault, self.remedy)
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
    pub(super) fn new(fault: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong { fault: fault.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.fault, self.remedy)
    }
}
