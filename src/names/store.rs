//! What is known of names, kept for the next start: a file of the state directory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::shared::name_report::FamilyReport;
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Tried, state_folder};

const FILE: &str = "names.json";
/// A file that is longer is none of ours.
const LONGEST: u64 = 16 << 20;

/// What was found of each name, by its [`Lookup`](crate::config::Lookup) as a line.
pub type StoredNames = BTreeMap<String, [FamilyReport; 2]>;

#[derive(Default, Serialize, Deserialize)]
struct Content {
    names: StoredNames,
}

/// The file. It is opened as whoever may write the directory, and then written in place: whoever writes
/// it need not be allowed to make another one.
pub struct NameStore {
    file: File,
    path: PathBuf,
    names: StoredNames,
    /// That it cannot be written was told.
    is_broken: bool,
}

impl NameStore {
    /// Opens the file in the state directory, and makes it where there is none. `None` without a state
    /// directory.
    pub fn open() -> Option<Result<NameStore, String>> {
        state_folder().map(|directory| NameStore::at(&directory.join(FILE)))
    }

    fn at(path: &Path) -> Result<NameStore, String> {
        let open = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = file.open(path)?;
            let mut text = Vec::new();
            (&file).take(LONGEST).read_to_end(&mut text)?;
            Ok((file, text))
        };
        let (file, text) = open().map_err(|error| told(path, error))?;
        // One that was cut while it was written tells nothing.
        let content: Content = serde_json::from_slice(&text).unwrap_or_else(|error| {
            if !text.is_empty() {
                let what = "what names had when the service ran last is not known";
                log::write(Level::Warning, format_args!("{}: {error}; {what}", path.display()));
            }
            Content::default()
        });
        Ok(NameStore { file, path: path.to_owned(), names: content.names, is_broken: false })
    }

    /// What it has.
    pub fn names(&self) -> StoredNames {
        self.names.clone()
    }

    /// Replaces what it has, if that is another. An error that was told already is told no more until it
    /// is over.
    pub fn write(&mut self, names: StoredNames) -> Result<(), String> {
        if names == self.names {
            return Ok(());
        }
        let content = Content { names };
        let text = serde_json::to_vec(&content).map_err(|error| error.to_string())?;
        let written = self.file.write_all_at(&text, 0);
        let written = written.and_then(|()| self.file.set_len(text.len() as u64));
        match written {
            Ok(()) => {
                (self.names, self.is_broken) = (content.names, false);
                Ok(())
            }
            Err(_) if self.is_broken => Ok(()),
            Err(error) => {
                self.is_broken = true;
                Err(told(&self.path, error))
            }
        }
    }
}

fn told(path: &Path, error: io::Error) -> String {
    let why = IoError::from(error).when(Tried::File);
    format!("{}: {why}; a start without a name server will know no addresses", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::world::{self, Faults};

    fn names(address: &str) -> StoredNames {
        let found = FamilyReport::Found(vec![(address.parse().unwrap(), 1, 0)]);
        [(String::from("a:80"), [found, FamilyReport::Nothing(String::new())])].into()
    }

    #[test]
    fn what_was_written_is_known_the_next_time_and_what_is_cut_is_not() {
        world::reset(1, Faults::default());
        let directory = std::env::temp_dir().join(format!("httplb-store-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join(FILE);
        let mut store = NameStore::at(&path).unwrap();
        assert!(store.names().is_empty());
        store.write(names("[fd00::1234:5678]:80")).unwrap();
        store.write(names("10.0.0.7:80")).unwrap();
        assert_eq!(NameStore::at(&path).unwrap().names(), names("10.0.0.7:80"));
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert!(NameStore::at(&path).unwrap().names().is_empty());
        let (_, told) = world::messages().pop().unwrap();
        assert!(told.contains("names.json: EOF") && told.contains("is not known"), "{told}");
        std::fs::remove_dir_all(&directory).unwrap();
        let why = NameStore::at(&path).err().unwrap();
        assert!(why.contains("names.json: ") && why.contains("will know no addresses"), "{why}");
    }
}
