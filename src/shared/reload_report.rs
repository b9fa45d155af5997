//! What becomes of reloads, for whoever asked by a signal: the unit does. A file in the directory that
//! the service manager makes for the service while it runs, so that it needs no configuration, which
//! may be what is wrong.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Its name in that directory.
const NAME: &str = "reload";
/// Under this name it is written before it is there as a whole.
const UNFINISHED: &str = ".reload";

/// How it stands with reloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Those that have ended since the start, one way or the other.
    pub ended: u64,
    /// One more is under way, or is to follow.
    pub under_way: bool,
    /// Why the last one that ended changed nothing; `None` if it took effect, or none has ended.
    pub refused: Option<String>,
}

impl ReloadReport {
    /// The file; `None` where there is no such directory. `directories` is `RUNTIME_DIRECTORY`: systemd.exec(5).
    pub fn place(directories: &str) -> Option<PathBuf> {
        let first = Path::new(directories.split(':').next().unwrap_or_default());
        first.is_absolute().then(|| first.join(NAME))
    }

    /// What the file at `place` says; `None` if there is none that can be understood.
    pub fn read(place: &Path) -> Option<ReloadReport> {
        serde_json::from_slice(&std::fs::read(place).ok()?).ok()
    }

    /// Puts it in the place of what was there, at once.
    pub fn write(&self, place: &Path) -> std::io::Result<()> {
        let unfinished = place.with_file_name(UNFINISHED);
        std::fs::write(&unfinished, serde_json::to_vec(self)?)?;
        std::fs::rename(&unfinished, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_the_first_directory() {
        let place = |text| ReloadReport::place(text);
        assert_eq!(place("/run/httplb"), Some("/run/httplb/reload".into()));
        assert_eq!(place("/run/a:/run/b"), Some("/run/a/reload".into()));
        assert_eq!((place(""), place("run")), (None, None));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("httplb-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = ReloadReport::place(folder.to_str().unwrap()).unwrap();
        assert_eq!(ReloadReport::read(&place), None);
        let mut report = ReloadReport { ended: 3, under_way: true, refused: Some("a\nb".into()) };
        report.write(&place).unwrap();
        assert_eq!(ReloadReport::read(&place), Some(report.clone()));
        (report.ended, report.refused) = (4, None);
        report.write(&place).unwrap();
        assert_eq!(ReloadReport::read(&place), Some(report));
        std::fs::write(&place, "{").unwrap();
        assert_eq!(ReloadReport::read(&place), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
