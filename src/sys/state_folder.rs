//! Where the service keeps what outlives it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The folder that the service manager has made for it, if any: the first of `STATE_DIRECTORY`, in which
/// systemd separates several by colons.
pub fn state_folder() -> Option<PathBuf> {
    let folders = std::env::var_os("STATE_DIRECTORY")?;
    let first = folders.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    let folder = PathBuf::from(OsStr::from_bytes(first));
    folder.is_absolute().then_some(folder)
}
