//! The image of the program that this process executes, and that a reload executes anew.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the kernel adds to the path of a program whose file is gone.
const GONE: &[u8] = b" (deleted)";

/// What is executed in a reload.
pub struct ImageIdentity {
    /// The file of the program.
    pub binary: PathBuf,
    /// The name that it was called by, and its arguments.
    pub arguments: Vec<OsString>,
    /// The configuration came from standard input, which can be read once.
    pub is_standard_input: bool,
}

impl ImageIdentity {
    /// What this process would execute.
    pub fn new(is_standard_input: bool, known: Option<String>) -> ImageIdentity {
        // Without /proc, the path that it was called by has to do.
        let called = || {
            let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
            if name.components().count() > 1 {
                std::path::absolute(name)
            } else {
                Ok(PathBuf::new())
            }
        };
        let own = std::fs::read_link("/proc/self/exe").or_else(|_| called()).unwrap_or_default();
        ImageIdentity {
            binary: known.map_or_else(|| without_mark(own, Path::exists), PathBuf::from),
            arguments: std::env::args_os().collect(),
            is_standard_input,
        }
    }
}

/// The path of a program whose file may have been replaced since it was executed.
fn without_mark(path: PathBuf, exists: impl Fn(&Path) -> bool) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(GONE) {
        Some(before) if !exists(&path) => PathBuf::from(OsString::from_vec(before.to_vec())),
        Some(_) | None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found_where_it_was() {
        let path = |text: &str, exists: bool| without_mark(PathBuf::from(text), |_| exists);
        assert_eq!(path("/usr/bin/httplb (deleted)", false), Path::new("/usr/bin/httplb"));
        assert_eq!(path("/usr/bin/httplb (deleted)", true), Path::new("/usr/bin/httplb (deleted)"));
        assert_eq!(path("/usr/bin/httplb", false), Path::new("/usr/bin/httplb"));
    }
}
