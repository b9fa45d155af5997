//! The directory of the entries: `a/bc/abc…`, named by 32 digits of a keyed hash.
//!
//! A new entry is a file without a name until it is whole, and then gets one at once; where one of its
//! name is there already, it takes its place, so that whoever looks finds one of the two. Whoever is killed at
//! whatever moment leaves nothing that is not whole, and nothing beside the entries but what lies in `new/`, which
//! is emptied when a process has died: one that others follow as it grows has a name there for so long, one that
//! takes another's place for a moment; where the disk has no files without a name, they are made there.

use std::ffi::CStr;

use crate::policy::siphash::SipKey;
use crate::sys::{Directory, File, IoError, random};

use super::checksum::Checksum;
use super::keys::{EntryKey, FOLDER_BITS};

/// Digits of a hash, and of a name.
const DIGITS: usize = 32;
/// Where the files lie that have a name before they are whole.
const NEW: &CStr = c"new";
/// The secret of the hash, and its checksum.
const SECRET: &CStr = c"secret";
/// Folders that the entries lie in: 16, each with 256.
pub const FOLDERS: usize = 1 << FOLDER_BITS;

/// The path of something below the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; DIGITS + 8],
    len: usize,
}

impl Name {
    fn of(parts: &[&[u8]]) -> Name {
        let mut name = Name { bytes: [0; DIGITS + 8], len: 0 };
        for part in parts {
            name.bytes[name.len..name.len + part.len()].copy_from_slice(part);
            name.len += part.len();
        }
        name
    }

    fn path(&self) -> &CStr {
        // The last byte is never used but as the zero at the end.
        CStr::from_bytes_until_nul(&self.bytes).expect("there is a zero")
    }

    /// Where the entry of a hash lies.
    fn of_entry(hash: EntryKey) -> Name {
        let digits = digits(hash.0);
        Name::of(&[&digits[..1], b"/", &digits[1..3], b"/", &digits])
    }

    /// Where the file lies that is fetched for a hash, as long as it grows.
    fn of_shown(hash: EntryKey) -> Name {
        Name::of(&[NEW.to_bytes(), b"/", &digits(hash.0)])
    }

    /// A random name, which no other file has, for a file that is no entry yet.
    fn of_new() -> Name {
        let mut number = [0; 16];
        random::fill(&mut number);
        Name::of_shown(EntryKey(u128::from_le_bytes(number)))
    }

    /// The two folders of an entry, the upper one first.
    fn folders_of(hash: EntryKey) -> [Name; 2] {
        let digits = digits(hash.0);
        [Name::of(&[&digits[..1]]), Name::of(&[&digits[..1], b"/", &digits[1..3]])]
    }

    /// The folder of that number, below [`FOLDERS`].
    fn of_folder(number: usize) -> Name {
        let hash = EntryKey((number as u128) << (u128::BITS - FOLDER_BITS));
        Name::folders_of(hash)[1]
    }
}

fn digits(hash: u128) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (index, digit) in digits.iter_mut().enumerate() {
        let value = (hash >> (4 * (DIGITS - 1 - index))) as usize & 15;
        *digit = b"0123456789abcdef"[value];
    }
    digits
}

fn hash_of(digits: &[u8]) -> Option<EntryKey> {
    if digits.len() != DIGITS {
        return None;
    }
    let hash = digits.iter().try_fold(0, |hash, digit| match digit {
        b'0'..=b'9' => Some(hash << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(hash << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    });
    hash.map(EntryKey)
}

/// A file that is being made.
pub struct TempFile {
    /// To be written to.
    pub file: File,
    /// Its name until it is whole, if it must have one.
    name: Option<Name>,
}

/// A folder that is listed, some entries at a time: there may be any number, all of one URL.
pub struct EntryFolder {
    directory: Directory,
    number: usize,
}

impl EntryFolder {
    /// Hands over the hashes of some more entries. Says whether there may be more.
    pub fn list_more(&mut self, mut each: impl FnMut(EntryKey)) -> Result<bool, IoError> {
        let number = self.number;
        self.directory.list_more(|name| {
            let hash = hash_of(name.to_bytes());
            if let Some(hash) = hash.filter(|hash| hash.folder() == number) {
                each(hash);
            }
        })
    }
}

/// The directory.
pub struct Files {
    root: Directory,
    /// Files without a name are not to be had.
    wants_names: bool,
}

impl Files {
    /// Finds the secret in the directory, made if need be.
    pub fn enter(root: Directory) -> Result<(Files, SipKey), IoError> {
        let mut files = Files { root, wants_names: false };
        let secret = files.secret()?;
        Ok((files, secret))
    }

    /// Without it, or with another one, no entry would be found again.
    fn secret(&mut self) -> Result<SipKey, IoError> {
        for _ in 0..3 {
            match self.root.open_file(SECRET) {
                Ok(file) => {
                    if let Some(key) = read_secret(&file)? {
                        return Ok(key);
                    }
                    self.root.remove(SECRET)?;
                }
                Err(IoError::NotFound) => (),
                Err(error) => return Err(error),
            }
            let mut key = SipKey::default();
            random::fill(&mut key);
            let temp = self.make()?;
            temp.file.write_at(&key, 0)?;
            temp.file.write_at(&Checksum::of(&key).to_le_bytes(), key.len() as u64)?;
            match self.name(&temp, SECRET) {
                // Another process may have been faster: its secret counts.
                Ok(()) | Err(IoError::Exists) => (),
                Err(error) => return Err(error),
            }
        }
        Err(IoError::Unsupported)
    }

    /// Opens an entry. `NotFound` if there is none.
    pub fn entry(&self, hash: EntryKey) -> Result<File, IoError> {
        self.root.open_file(Name::of_entry(hash).path())
    }

    /// Begins a new file.
    pub fn make(&mut self) -> Result<TempFile, IoError> {
        if !self.wants_names {
            match self.root.unnamed_file(c".") {
                Ok(file) => return Ok(TempFile { file, name: None }),
                Err(IoError::Unsupported) => self.wants_names = true,
                Err(error) => return Err(error),
            }
        }
        let name = Name::of_new();
        let made = match self.root.new_file(name.path()) {
            Err(IoError::NotFound) => {
                made_or_there(self.root.make_below(NEW))?;
                self.root.new_file(name.path())
            }
            made => made,
        };
        Ok(TempFile { file: made?, name: Some(name) })
    }

    /// Makes a whole file the entry of a hash, in place of what that was.
    pub fn publish(&self, temp: &TempFile, hash: EntryKey) -> Result<(), IoError> {
        let name = Name::of_entry(hash);
        for _ in 0..3 {
            let named = match self.name(temp, name.path()) {
                Err(IoError::Exists) => self.replace(temp, name.path()),
                named => named,
            };
            match named {
                Err(IoError::NotFound) => {
                    for folder in Name::folders_of(hash) {
                        made_or_there(self.root.make_below(folder.path()))?;
                    }
                }
                named => return named,
            }
        }
        // What is in the making is swept away, faster than this one makes it.
        Err(IoError::NotFound)
    }

    /// Has a file without a name take the place of the one of this name, which is there until then.
    fn replace(&self, temp: &TempFile, name: &CStr) -> Result<(), IoError> {
        let beside = Name::of_new();
        self.link_in_new(temp, &beside)?;
        let replaced = self.root.rename(beside.path(), name);
        if replaced.is_err() {
            // What cannot be removed now is when the folder is emptied.
            let _ = self.root.remove(beside.path());
        }
        replaced
    }

    /// Gives a file a name as well in the folder of what is in the making, which is made if need be.
    fn link_in_new(&self, temp: &TempFile, name: &Name) -> Result<(), IoError> {
        match self.root.link(&temp.file, name.path()) {
            Err(IoError::NotFound) => {
                made_or_there(self.root.make_below(NEW))?;
                self.root.link(&temp.file, name.path())
            }
            linked => linked,
        }
    }

    fn name(&self, temp: &TempFile, name: &CStr) -> Result<(), IoError> {
        match temp.name {
            None => self.root.link(&temp.file, name),
            Some(from) => self.root.rename(from.path(), name),
        }
    }

    /// Gives a file that is not whole yet a name as well, by which other processes find it.
    pub fn show(&self, temp: &TempFile, hash: EntryKey) -> Result<(), IoError> {
        let name = Name::of_shown(hash);
        for _ in 0..3 {
            match self.link_in_new(temp, &name) {
                // One who died has left it there.
                Err(IoError::Exists) => gone_or_removed(self.root.remove(name.path()))?,
                shown => return shown,
            }
        }
        Err(IoError::Exists)
    }

    /// Opens a file that is shown as it grows. `NotFound` if there is none.
    pub fn shown(&self, hash: EntryKey) -> Result<File, IoError> {
        self.root.open_file(Name::of_shown(hash).path())
    }

    /// Takes the name away again. Who has opened it goes on.
    pub fn hide(&self, hash: EntryKey) {
        // What cannot be removed now is when the folder is emptied.
        let _ = self.root.remove(Name::of_shown(hash).path());
    }

    /// Finds out whether something could be stored, without storing it.
    pub fn try_out(&mut self) -> Result<(), IoError> {
        if !self.root.has_name()? {
            return Err(IoError::NotFound);
        }
        let temp = self.make()?;
        let written = temp.file.write_at(&[0], 0);
        self.discard(temp);
        written
    }

    /// Throws away a file that was not published.
    pub fn discard(&self, temp: TempFile) {
        if let Some(name) = temp.name {
            // What cannot be removed now is when the folder is emptied.
            let _ = self.root.remove(name.path());
        }
    }

    /// Removes an entry. `Ok` as well if there was none.
    pub fn remove(&self, hash: EntryKey) -> Result<(), IoError> {
        gone_or_removed(self.root.remove(Name::of_entry(hash).path()))
    }

    /// Opens the folder of that number, below [`FOLDERS`], to list the entries in it. `NotFound` if there
    /// is none.
    pub fn folder(&self, number: usize) -> Result<EntryFolder, IoError> {
        let directory = self.root.open_below(Name::of_folder(number).path())?;
        Ok(EntryFolder { directory, number })
    }

    /// Removes what was never finished, but for what is to be kept. Who still makes one of these fails to
    /// publish it, and no more.
    pub fn sweep_new(&self, keeps: impl Fn(EntryKey) -> bool) -> Result<(), IoError> {
        let directory = match self.root.open_below(NEW) {
            Err(IoError::NotFound) => return Ok(()),
            opened => opened?,
        };
        let mut removed = Ok(());
        directory.list(|name| {
            if hash_of(name.to_bytes()).is_some_and(|hash| !keeps(hash)) {
                removed = removed.and(gone_or_removed(directory.remove(name)));
            }
        })?;
        removed
    }
}

fn read_secret(file: &File) -> Result<Option<SipKey>, IoError> {
    let mut bytes = [0; 25];
    let count = file.read_at(&mut bytes, 0)?;
    let (key, sum) = bytes.split_at(16);
    let is_whole = count == 24 && sum[..8] == Checksum::of(key).to_le_bytes();
    Ok(is_whole.then(|| SipKey::try_from(key).ok()).flatten())
}

fn made_or_there(made: Result<(), IoError>) -> Result<(), IoError> {
    if made == Err(IoError::Exists) { Ok(()) } else { made }
}

fn gone_or_removed(removed: Result<(), IoError>) -> Result<(), IoError> {
    if removed == Err(IoError::NotFound) { Ok(()) } else { removed }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
