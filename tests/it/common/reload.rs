//! Reloading the program under test: another configuration, another binary, and how that went.

use super::{Program, Value, until};
use rustix::process::Signal;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// What the log says of a reload that is done.
pub const DONE: &str = "reloaded: generation ";
/// What it says of one that is not.
pub const REFUSED: &str = "not reloaded: ";

impl Program {
    /// Changes the configuration file.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        self.write_config(&serde_json::to_string_pretty(&self.config).unwrap());
    }

    /// Replaces the configuration file at once.
    pub fn write_config(&self, text: &str) {
        let new = self.folder.join("servers.conf.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join("servers.conf")).unwrap();
    }

    /// Reloads, and returns when that is done.
    pub fn reload(&self) {
        let (done, refused) = (self.count_messages(DONE), self.count_messages(REFUSED));
        self.signal(Signal::HUP);
        until("the service is reloaded", || {
            assert_eq!(self.count_messages(REFUSED), refused, "{}", self.stderr());
            self.count_messages(DONE) > done
        });
    }

    /// Reloads, which must be refused, and returns why it was.
    pub fn fail_to_reload(&self) -> String {
        let refused = self.count_messages(REFUSED);
        let done = self.count_messages(DONE);
        self.signal(Signal::HUP);
        until("the reload is refused", || {
            assert_eq!(self.count_messages(DONE), done, "{}", self.stderr());
            self.count_messages(REFUSED) > refused
        });
        let stderr = self.stderr();
        stderr.rsplit(REFUSED).next().unwrap_or_default().to_owned()
    }

    /// The file that it was started from, if that is its own.
    pub fn own_binary(&self) -> PathBuf {
        self.folder.join("httplb")
    }

    /// Replaces its own binary at once, as a package manager does.
    pub fn replace_binary(&self, bytes: impl AsRef<[u8]>) {
        let new = self.folder.join("httplb.new");
        fs::write(&new, bytes).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.own_binary()).unwrap();
    }
}

/// The program of another version: the same, but for its number, which has as many digits.
pub fn another_version(program: &[u8]) -> Vec<u8> {
    let (own, other) = (env!("CARGO_PKG_VERSION").as_bytes(), b"9.9.9");
    assert_eq!(own.len(), other.len());
    let mut bytes = program.to_vec();
    let mut at = 0;
    while let Some(found) = memchr_of(&bytes[at..], own) {
        at += found;
        bytes[at..at + own.len()].copy_from_slice(other);
    }
    bytes
}

fn memchr_of(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == part[0]) {
        at += found;
        if bytes[at..].starts_with(part) {
            return Some(at);
        }
        at += 1;
    }
    None
}
