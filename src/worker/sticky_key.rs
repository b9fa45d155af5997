//! The key of the sticky cookies: a file of the state directory, so that cookies outlive a restart.
//! Hosts that have the same file make and know the same cookies.
//!
//! It is 32 hexadecimal digits on one line, readable for its owner alone. Where there is none it
//! is made; whoever is second of two that make it takes the first one's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::policy::sticky::{KEY_LEN, Key};
use crate::sys::log::{self, Level};
use crate::sys::{IoError, Tried, random, state_folder};

const FILE: &str = "sticky.key";
/// Digits of a key.
const DIGITS: usize = 2 * KEY_LEN;

/// The key for all pools of `config`. To be called at the start, as whoever may write the state
/// directory.
///
/// Without a state directory, or where its file cannot be used, which is told, it is that `before`
/// the reload, or at the start a new one. Nothing is read or made if no pool is sticky.
pub fn load(config: &Config, before: Option<Key>) -> Key {
    let without_file = || before.unwrap_or_else(|| Key::new(random_bytes()));
    let Some(path) = path(config) else { return without_file() };
    read_or_make(&path).unwrap_or_else(|error| {
        // What is wrong with its text is said by us, and all else by the kernel.
        let why = match error.raw_os_error() {
            None => error.to_string(),
            Some(_) => IoError::from(error).when(Tried::File).to_string(),
        };
        log::write(
            Level::Error,
            format_args!(
                "{}: {why}; until the next start sticky cookies are made with another key",
                path.display()
            ),
        );
        without_file()
    })
}

/// The key of the service, as far as it is known here: where there is a file that may be read.
pub fn look(config: &Config) -> Option<Key> {
    read(&path(config)?).ok()
}

/// Where the key is, if there is a state directory and any pool is sticky.
fn path(config: &Config) -> Option<PathBuf> {
    let is_sticky = config.pools.iter().any(|pool| pool.sticky.is_some());
    let folder = state_folder().filter(|_| is_sticky)?;
    Some(folder.join(FILE))
}

fn random_bytes() -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    random::fill(&mut bytes);
    bytes
}

fn read_or_make(path: &Path) -> io::Result<Key> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        read => read,
    }
}

fn read(path: &Path) -> io::Result<Key> {
    let mut text = Vec::new();
    File::open(path)?.take(2 * DIGITS as u64).read_to_end(&mut text)?;
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    let key = parse(digits).map(Key::new);
    let fault = format!("it is not {DIGITS} hexadecimal digits (remove it, and another is made)");
    key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, fault))
}

/// A key as the file has it.
pub fn to_text(key: &Key) -> String {
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that `to_text` wrote.
pub fn from_text(text: &str) -> Option<Key> {
    parse(text.as_bytes()).map(Key::new)
}

fn parse(digits: &[u8]) -> Option<[u8; KEY_LEN]> {
    let mut key = [0; KEY_LEN];
    if digits.len() != DIGITS {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(key)
}

/// Makes the file at once and whole: under another name first, which is then linked to its own,
/// unless somebody else has that by now.
fn make(path: &Path) -> io::Result<Key> {
    let other = path.with_extension(format!("key.{}", std::process::id()));
    let _ = fs::remove_file(&other); // of a process that died here and had the same id
    let made = write(&other).and_then(|()| fs::hard_link(&other, path));
    let _ = fs::remove_file(&other); // else it stays, and does no harm
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => read(path),
    }
}

fn write(path: &Path) -> io::Result<()> {
    let digits: String = random_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{digits}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            Folder(folder)
        }

        fn key(&self) -> PathBuf {
            self.0.join(FILE)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mark(key: &Key) -> [u8; 16] {
        *key.tag("default", ([127, 0, 0, 1], 80).into()).digits()
    }

    #[test]
    fn a_key_that_is_missing_is_made_for_its_owner_alone_and_then_stays() {
        let folder = Folder::new("key-made");
        let made = read_or_make(&folder.key()).unwrap();
        let mode = fs::metadata(folder.key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let text = fs::read_to_string(folder.key()).unwrap();
        assert_eq!(text.len(), DIGITS + 1);
        assert_eq!(mark(&read_or_make(&folder.key()).unwrap()), mark(&made));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn who_is_second_takes_the_firsts() {
        let folder = Folder::new("key-second");
        let first = make(&folder.key()).unwrap();
        assert_eq!(mark(&make(&folder.key()).unwrap()), mark(&first));
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let folder = Folder::new("key-read");
        for text in ["000102030405060708090a0b0c0d0e0f\n", "000102030405060708090A0B0C0D0E0F"] {
            fs::write(folder.key(), text).unwrap();
            let key = read(&folder.key()).unwrap();
            assert_eq!(mark(&key), mark(&Key::new(std::array::from_fn(|place| place as u8))));
        }
        for text in ["", "\n", "00", "000102030405060708090a0b0c0d0e0g\n"] {
            fs::write(folder.key(), text).unwrap();
            assert!(read_or_make(&folder.key()).is_err(), "{text}");
        }
        fs::write(folder.key(), "0".repeat(DIGITS + 1)).unwrap();
        let error = read_or_make(&folder.key()).err().unwrap().to_string();
        let wanted = "it is not 32 hexadecimal digits (remove it, and another is made)";
        assert_eq!(error, wanted);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(read_or_make("/nonexistent/sticky.key".as_ref()).is_err());
    }
}
