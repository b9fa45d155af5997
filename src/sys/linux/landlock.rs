//! Leaves a process no files by path but those below one directory: landlock(7).
//!
//! Whoever takes over a process by a mistake in it finds that it can open, make and remove nothing
//! by a path, in /etc or in /proc or anywhere, and that it cannot look into processes that are not
//! confined so. What is open already goes on.
use super::{Directory, last_error};
use crate::sys::IoError;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;

/// Before this version no file can be linked from one directory into another, as a cache does. Linux
/// 5.19 has it.
const OLDEST: i64 = 2;

// LANDLOCK_ACCESS_FS_* of linux/landlock.h.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
/// To link or rename from one directory into another.
const REFER: u64 = 1 << 13;
/// Since version 3.
const TRUNCATE: u64 = 1 << 14;

/// What changes something.
const CHANGES: u64 = WRITE_FILE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_CHAR
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_BLOCK
    | MAKE_SYM
    | REFER;
/// What a cache does in its directory.
const OF_CACHE: u64 =
    READ_FILE | WRITE_FILE | READ_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE;

/// What is left of the files that do not lie below the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// None.
    Nothing,
    /// They may be read.
    Read,
}

/// Confines this process, which must have called `no_new_privileges`, to what lies below
/// `directory`, for good: all other paths fail with EACCES, so as `Denied`, but for what is left
/// `elsewhere`.
///
/// `Unsupported` where the kernel has no such confinement, or one of before Linux 5.19.
pub fn confine(directory: Option<&Directory>, elsewhere: Elsewhere) -> Result<(), IoError> {
    /// LANDLOCK_CREATE_RULESET_VERSION.
    const ASK_VERSION: u32 = 1;
    // SAFETY: to ask for the version takes no rules, so null and no bytes of it.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, null::<u64>(), 0_usize, ASK_VERSION)
    };
    if version < OLDEST {
        return Err(IoError::Unsupported);
    }
    let since_third = if version >= 3 { TRUNCATE } else { 0 };
    let handled = since_third
        | match elsewhere {
            Elsewhere::Nothing => CHANGES | EXECUTE | READ_FILE | READ_DIR,
            Elsewhere::Read => CHANGES | EXECUTE,
        };
    let rules = new_rules(handled)?;
    if let Some(directory) = directory {
        allow(&rules, directory, OF_CACHE & handled)?;
    }
    // SAFETY: it takes the rules' descriptor, which is open, and concerns no memory.
    let set = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if set == 0 { Ok(()) } else { Err(last_error()) }
}

/// Rules that forbid all that is `handled`.
fn new_rules(handled: u64) -> Result<OwnedFd, IoError> {
    // SAFETY: the first version of `landlock_ruleset_attr` is this one number, and its size is told.
    // The kernel only reads it.
    let opened = unsafe {
        let size = size_of_val(&handled);
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0)
    };
    let number = i32::try_from(opened).ok().filter(|number| *number >= 0).ok_or_else(last_error)?;
    // SAFETY: it was opened just now, with the flag that closes it at an execution, and is nobody
    // else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Allows `access` below the directory.
fn allow(rules: &OwnedFd, directory: &Directory, access: u64) -> Result<(), IoError> {
    /// LANDLOCK_RULE_PATH_BENEATH.
    const PATH_BENEATH: u32 = 1;
    /// `landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Below {
        access: u64,
        directory: i32,
    }
    let below = Below { access, directory: directory.as_fd().as_raw_fd() };
    // SAFETY: the attribute is laid out as the kernel's, which only reads it; both descriptors are
    // open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const below,
            0,
        )
    };
    if added == 0 { Ok(()) } else { Err(last_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::process::{Ended, no_new_privileges};
    use crate::sys::linux::testing::{alone, in_child};
    use std::fs;

    /// A folder with a directory for the cache in it.
    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("cache")).unwrap();
        fs::write(path.join("precious"), "text").unwrap();
        path
    }

    #[test]
    fn nothing_is_left_by_path_but_what_lies_in_the_directory() {
        if !alone(nothing_is_left_by_path_but_what_lies_in_the_directory) {
            return;
        }
        let folder = folder("landlock-worker");
        let directory = Directory::open(&folder.join("cache")).unwrap();
        let ended = in_child(|| {
            no_new_privileges().unwrap();
            if confine(Some(&directory), Elsewhere::Nothing).is_err() {
                return 100;
            }
            let in_cache = || -> Result<(), IoError> {
                directory.make_below(c"ab")?;
                match directory.unnamed_file(c".") {
                    Ok(file) => {
                        file.write_at(b"entry", 0)?;
                        directory.link(&file, c"ab/one")?;
                    }
                    Err(_) => drop(directory.new_file(c"ab/one")?),
                }
                directory.new_file(c"two")?;
                directory.rename(c"two", c"ab/two")?;
                directory.open_file(c"ab/one")?;
                directory.list(|_| ())?;
                directory.remove(c"ab/one")
            };
            let denied = [
                fs::read(folder.join("precious")).is_err(),
                fs::write(folder.join("precious"), "").is_err(),
                fs::write(folder.join("new"), "").is_err(),
                fs::remove_file(folder.join("precious")).is_err(),
                fs::read("/etc/passwd").is_err(),
                fs::File::open("/proc/self/mem").is_err(),
                fs::read_dir("/").is_err(),
                in_cache().is_ok(),
            ];
            denied.iter().position(|denied| !denied).map_or(0, |place| place as i32 + 1)
        });
        assert_eq!(ended, Ended::Exited(0));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_may_be_read_elsewhere_cannot_be_changed() {
        if !alone(what_may_be_read_elsewhere_cannot_be_changed) {
            return;
        }
        let folder = folder("landlock-control");
        let ended = in_child(|| {
            no_new_privileges().unwrap();
            if confine(None, Elsewhere::Read).is_err() {
                return 100;
            }
            let all = [
                fs::read(folder.join("precious")).is_ok(),
                fs::write(folder.join("precious"), "").is_err(),
                fs::remove_file(folder.join("precious")).is_err(),
                fs::write(folder.join("cache/new"), "").is_err(),
            ];
            all.iter().position(|is| !is).map_or(0, |place| place as i32 + 1)
        });
        assert_eq!(ended, Ended::Exited(0));
        fs::remove_dir_all(folder).unwrap();
    }
}
