//! The processes beside the control process, each of which does for it one thing that could hold it up.
//! They carry no traffic, write no cells, and nothing waits for them: one that dies or hangs is replaced.
//!
//! Another one is a row of [`HELPERS`], its first moments in `child_init.rs`, and what the control
//! process does with what it says.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::sys::{Channel, IoError, StartError, Tried};

use super::handover::{ExportedFds, FdNumber};

/// What such a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HelperRole {
    /// It looks up the names of backends.
    Names,
    /// It holds the watch of the registry.
    Registry,
}

/// What is to be known of such a process.
struct Helper {
    role: HelperRole,
    /// What it is called in messages of the control process to the master.
    word: &'static str,
    /// As the log calls it.
    title: &'static str,
    /// Whether there is anything for it to do.
    is_wanted: fn(&Config) -> bool,
}

const HELPERS: [Helper; 2] = [
    Helper {
        role: HelperRole::Names,
        word: "names",
        title: "the names process",
        is_wanted: |config| config.named().next().is_some(),
    },
    Helper {
        role: HelperRole::Registry,
        word: "registry",
        title: "the registry process",
        is_wanted: |config| config.registry.is_some(),
    },
];

impl HelperRole {
    fn row(self) -> &'static Helper {
        let row = HELPERS.iter().find(|row| row.role == self);
        row.expect("each role has a row")
    }

    /// As the log calls it.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// The role that the control process calls by `word`.
    pub fn of_word(word: &str) -> Option<HelperRole> {
        HELPERS.iter().find(|row| row.word == word).map(|row| row.role)
    }

    /// The roles that a service with this configuration needs.
    pub fn wanted(config: &Config) -> impl Iterator<Item = HelperRole> {
        HELPERS.iter().filter(|row| (row.is_wanted)(config)).map(|row| row.role)
    }
}

/// The line between the control process of a generation and one of its helpers. The master keeps both
/// ends, so that whoever takes the place of either hears what was said meanwhile.
pub struct HelperLine {
    /// The helper at one end.
    pub role: HelperRole,
    /// The end of the control process.
    pub of_control: Channel,
    /// The end of the helper.
    pub of_helper: Channel,
}

/// A line as it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRecord {
    role: HelperRole,
    of_control: FdNumber,
    of_helper: FdNumber,
}

impl HelperLine {
    fn new(role: HelperRole) -> Result<HelperLine, IoError> {
        let (of_control, of_helper) = Channel::pair()?;
        Ok(HelperLine { role, of_control, of_helper })
    }

    /// A line for each helper that the configuration needs.
    pub fn all(config: &Config) -> Result<Vec<HelperLine>, IoError> {
        HelperRole::wanted(config).map(HelperLine::new).collect()
    }

    /// What is handed over of it.
    pub fn export(&self, exported: &mut ExportedFds) -> Result<LineRecord, IoError> {
        let of_control = exported.keep(&self.of_control)?;
        Ok(LineRecord { role: self.role, of_control, of_helper: exported.keep(&self.of_helper)? })
    }

    /// Takes a line that was handed over.
    pub fn import(record: &LineRecord) -> Result<HelperLine, String> {
        Ok(HelperLine {
            role: record.role,
            of_control: Channel::from_fd(record.of_control.take()?),
            of_helper: Channel::from_fd(record.of_helper.take()?),
        })
    }
}

/// Takes the end of one role out of all lines. The others close.
pub fn own_end(
    lines: Vec<HelperLine>,
    role: HelperRole,
    end: fn(HelperLine) -> Channel,
) -> Option<Channel> {
    lines.into_iter().find(|line| line.role == role).map(end)
}

/// The password of the registry's user, if it has one. Fails where it cannot be read.
pub fn registry_password(config: &Config) -> Result<Option<String>, StartError> {
    let file = config.registry.as_ref().and_then(|registry| registry.password_file.as_ref());
    let Some(path) = file else { return Ok(None) };
    let what = format!("registry.password_file {}", path.display());
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| StartError::at(&what, Tried::File)(error.into()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
