//! A disk that is full or broken whenever the test wants it. See `linux::disk`.
//!
//! There is one directory tree; paths are taken as they are written. What a process that was killed
//! had written to files without a name is gone, as soon as its descriptors are dropped.
use super::Socket;
use super::clock;
use super::descriptor::Descriptor;
use super::dice::Dice;
use super::kernel::{self, Kernel};
use super::process::User;
use crate::sys::IoError;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::Path;

pub use crate::sys::linux::FileMetadata;

/// Input and output error: the disk itself fails.
const EIO: i32 = 5;
/// A name is that of a directory, or is none where one is wanted.
const EISDIR: i32 = 21;

/// What is on the disk. The rest of the world of a test may look at it and change it.
#[derive(Default)]
pub struct Disk {
    /// By their paths, without slashes at either end.
    names: BTreeMap<String, Node>,
    contents: BTreeMap<u64, Content>,
    made: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(u64),
}

struct Content {
    bytes: Vec<u8>,
    /// The bytes that it takes at least.
    reserved: usize,
    changed: u64,
    links: usize,
    opened: usize,
}

impl Content {
    fn room(&self) -> usize {
        self.bytes.len().max(self.reserved)
    }
}

impl Disk {
    /// The bytes of all files, those without a name as well.
    pub fn used(&self) -> u64 {
        self.contents.values().map(|content| content.room() as u64).sum()
    }

    /// The paths of all files that have a name.
    pub fn files(&self) -> Vec<String> {
        let files = self.names.iter().filter(|(_, node)| **node != Node::Folder);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Changes the content of a file behind the program's back.
    pub fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(Node::File(number)) = self.names.get(path) else { panic!("no file {path}") };
        let content = self.contents.get_mut(number).expect("it has a name");
        content.changed += 1;
        change(&mut content.bytes);
    }

    /// Takes a name away, or all below it, behind the program's back.
    pub fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        let is_gone = |name: &String| name == path || name.starts_with(&below);
        let gone: Vec<String> = self.names.keys().filter(|name| is_gone(name)).cloned().collect();
        for name in gone {
            if let Some(Node::File(number)) = self.names.remove(&name) {
                self.unlink(number);
            }
        }
    }

    fn unlink(&mut self, number: u64) {
        self.contents.get_mut(&number).expect("it had a name").links -= 1;
        self.forget(number);
    }

    fn forget(&mut self, number: u64) {
        let content = &self.contents[&number];
        if content.links == 0 && content.opened == 0 {
            self.contents.remove(&number);
        }
    }

    fn add(&mut self) -> u64 {
        self.made += 1;
        let content = Content { bytes: Vec::new(), reserved: 0, changed: 0, links: 0, opened: 0 };
        self.contents.insert(self.made, content);
        self.made
    }

    /// `NotFound` if the folder that `path` would lie in is missing.
    fn check_parent(&self, path: &str) -> Result<(), IoError> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match self.names.get(parent) {
            _ if parent.is_empty() => Ok(()),
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) | None => Err(IoError::NotFound),
        }
    }

    fn put(&mut self, path: String, node: Node) -> Result<(), IoError> {
        self.check_parent(&path)?;
        if self.names.contains_key(&path) {
            return Err(IoError::Exists);
        }
        if let Node::File(number) = node {
            self.contents.get_mut(&number).expect("it is open").links += 1;
        }
        self.names.insert(path, node);
        Ok(())
    }
}

/// The disk fails by chance, if there are such faults.
fn falter(kernel: &mut Kernel) -> Result<(), IoError> {
    kernel.calls.disk += 1;
    let chances = kernel.faults.disk_errors;
    let fails = |dice: &mut Dice| chances > 0 && dice.one_in(chances);
    if fails(&mut kernel.dice) { Err(IoError::Other(EIO)) } else { Ok(()) }
}

fn writable(kernel: &Kernel) -> Result<(), IoError> {
    if kernel.faults.disk_is_read_only { Err(IoError::Denied) } else { Ok(()) }
}

/// A directory that is open.
pub struct Directory {
    path: String,
    _descriptor: Descriptor,
}

/// See `linux::disk_size`.
pub fn disk_size(_: &Path) -> Result<u64, IoError> {
    kernel::with(|kernel| Ok(kernel.faults.disk_room))
}

#[expect(missing_docs, reason = "as in linux::Directory")]
impl Directory {
    pub fn open(path: &Path) -> Result<Directory, IoError> {
        let path = path.to_string_lossy().trim_matches('/').to_owned();
        kernel::with(|kernel| -> Result<(), IoError> {
            falter(kernel)?;
            if !kernel.disk.names.contains_key(&path) {
                writable(kernel)?;
                kernel.disk.put(path.clone(), Node::Folder)?;
            }
            Ok(())
        })?;
        Ok(Directory { path, _descriptor: Descriptor::take()? })
    }

    pub fn open_for(path: &Path, _: &User) -> Result<Directory, IoError> {
        Directory::open(path)
    }

    fn path(&self, name: &CStr) -> String {
        let name = name.to_string_lossy();
        if name == "." { self.path.clone() } else { format!("{}/{name}", self.path) }
    }

    fn file(&self, number: u64) -> Result<File, IoError> {
        let descriptor = Descriptor::take();
        kernel::with(|kernel| match descriptor {
            Ok(descriptor) => {
                kernel.disk.contents.get_mut(&number).expect("found just now").opened += 1;
                Ok(File { number, epoch: kernel.epoch, _descriptor: descriptor })
            }
            Err(error) => {
                kernel.disk.forget(number);
                Err(error)
            }
        })
    }

    pub fn has_name(&self) -> Result<bool, IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            Ok(kernel.disk.names.get(&self.path) == Some(&Node::Folder))
        })
    }

    pub fn open_below(&self, name: &CStr) -> Result<Directory, IoError> {
        let path = self.path(name);
        kernel::with(|kernel| -> Result<(), IoError> {
            falter(kernel)?;
            let is_folder = kernel.disk.names.get(&path) == Some(&Node::Folder);
            if is_folder { Ok(()) } else { Err(IoError::NotFound) }
        })?;
        Ok(Directory { path, _descriptor: Descriptor::take()? })
    }

    pub fn make_below(&self, name: &CStr) -> Result<(), IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            writable(kernel)?;
            kernel.disk.put(self.path(name), Node::Folder)
        })
    }

    pub fn open_file(&self, name: &CStr) -> Result<File, IoError> {
        let number = kernel::with(|kernel| -> Result<u64, IoError> {
            falter(kernel)?;
            match kernel.disk.names.get(&self.path(name)) {
                Some(Node::File(number)) => Ok(*number),
                Some(Node::Folder) => Err(IoError::Other(EISDIR)),
                None => Err(IoError::NotFound),
            }
        })?;
        self.file(number)
    }

    pub fn unnamed_file(&self, below: &CStr) -> Result<File, IoError> {
        let number = kernel::with(|kernel| -> Result<u64, IoError> {
            falter(kernel)?;
            writable(kernel)?;
            if kernel.faults.disk_wants_names {
                return Err(IoError::Unsupported);
            }
            if kernel.disk.names.get(&self.path(below)) != Some(&Node::Folder) {
                return Err(IoError::NotFound);
            }
            Ok(kernel.disk.add())
        })?;
        self.file(number)
    }

    pub fn new_file(&self, name: &CStr) -> Result<File, IoError> {
        let number = kernel::with(|kernel| -> Result<u64, IoError> {
            falter(kernel)?;
            writable(kernel)?;
            let number = kernel.disk.add();
            let put = kernel.disk.put(self.path(name), Node::File(number));
            kernel.disk.forget(number);
            put.map(|()| number)
        })?;
        self.file(number)
    }

    pub fn link(&self, file: &File, name: &CStr) -> Result<(), IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            writable(kernel)?;
            kernel.disk.put(self.path(name), Node::File(file.number))
        })
    }

    pub fn rename(&self, from: &CStr, to: &CStr) -> Result<(), IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            writable(kernel)?;
            let to = self.path(to);
            kernel.disk.check_parent(&to)?;
            let node = kernel.disk.names.remove(&self.path(from)).ok_or(IoError::NotFound)?;
            if let Some(Node::File(replaced)) = kernel.disk.names.insert(to, node) {
                kernel.disk.unlink(replaced);
            }
            Ok(())
        })
    }

    pub fn remove(&self, name: &CStr) -> Result<(), IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            let path = self.path(name);
            match kernel.disk.names.get(&path) {
                Some(Node::File(_)) => (),
                Some(Node::Folder) => return Err(IoError::Other(EISDIR)),
                None => return Err(IoError::NotFound),
            }
            writable(kernel)?;
            kernel.disk.remove(&path);
            Ok(())
        })
    }

    pub fn list(&self, mut each: impl FnMut(&CStr)) -> Result<(), IoError> {
        let names = kernel::with(|kernel| -> Result<Vec<CString>, IoError> {
            falter(kernel)?;
            let below = format!("{}/", self.path);
            let names = kernel.disk.names.keys().filter_map(|path| path.strip_prefix(&below));
            let direct = names.filter(|name| !name.contains('/'));
            Ok(direct.filter_map(|name| CString::new(name).ok()).collect())
        })?;
        names.iter().for_each(|name| each(name));
        Ok(())
    }
}

/// An open file.
pub struct File {
    number: u64,
    /// It may outlive its world.
    epoch: u64,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::File")]
impl File {
    fn with<T>(
        &self,
        call: impl FnOnce(&mut Kernel, u64) -> Result<T, IoError>,
    ) -> Result<T, IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            assert!(kernel.epoch == self.epoch, "a file of another world");
            call(kernel, self.number)
        })
    }

    pub fn metadata(&self) -> Result<FileMetadata, IoError> {
        self.with(|kernel, number| {
            let content = &kernel.disk.contents[&number];
            let (len, changed) = (content.bytes.len() as u64, content.changed);
            Ok(FileMetadata { len, changed, is_plain: true })
        })
    }

    pub fn read_at(&self, room: &mut [u8], at: u64) -> Result<usize, IoError> {
        self.with(|kernel, number| {
            let bytes = &kernel.disk.contents[&number].bytes;
            let from = bytes.len().min(at as usize);
            let count = room.len().min(bytes.len() - from);
            room[..count].copy_from_slice(&bytes[from..from + count]);
            Ok(count)
        })
    }

    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), IoError> {
        self.with(|kernel, number| {
            let left = kernel.faults.disk_room.saturating_sub(kernel.disk.used());
            let changed = (clock::EPOCH + kernel.now).0 * 1000;
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            let end = at as usize + bytes.len();
            if end.saturating_sub(content.room()) as u64 > left {
                return Err(IoError::Full);
            }
            content.bytes.resize(content.bytes.len().max(end), 0);
            content.bytes[at as usize..end].copy_from_slice(bytes);
            content.changed = (content.changed + 1).max(changed);
            Ok(())
        })
    }

    pub fn reserve(&self, len: u64) -> Result<(), IoError> {
        self.with(|kernel, number| {
            let left = kernel.faults.disk_room.saturating_sub(kernel.disk.used());
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            if len.saturating_sub(content.room() as u64) > left {
                return Err(IoError::Full);
            }
            content.reserved = content.reserved.max(len as usize);
            Ok(())
        })
    }

    pub fn trim(&self, len: u64) -> Result<(), IoError> {
        self.with(|kernel, number| {
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            content.bytes.resize(len as usize, 0);
            content.reserved = len as usize;
            Ok(())
        })
    }

    pub fn copy_from(
        &self,
        source: &File,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<usize, IoError> {
        // A part at a time, as real disks may do.
        let most = kernel::with(|kernel| kernel.dice.part(limit));
        let mut room = vec![0; most];
        let count = source.read_at(&mut room, from)?;
        self.write_at(&room[..count], to)?;
        Ok(count)
    }

    pub fn send(&self, socket: &Socket, at: u64, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0, "to send nothing would look like the end");
        let is_refused = kernel::with(|kernel| {
            let one_in = kernel.faults.refuses_sendfile;
            one_in > 0 && kernel.dice.one_in(one_in)
        });
        if is_refused {
            return Err(IoError::Unsupported);
        }
        let mut room = vec![0; limit.min(1 << 20)];
        let count = self.read_at(&mut room, at)?;
        if count == 0 {
            return Ok(0);
        }
        kernel::with(|kernel| kernel.calls.sendfile += 1);
        socket.send_from_file(&room[..count])
    }

    pub fn read_ahead(&self, _at: u64, _len: u64) {}
}

impl Drop for File {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| {
            if kernel.epoch == self.epoch {
                kernel.disk.contents.get_mut(&self.number).expect("it is open").opened -= 1;
                kernel.disk.forget(self.number);
            }
        });
    }
}
