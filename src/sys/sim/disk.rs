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
use crate::mem::time::Micros;
use crate::sys::IoError;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::path::Path;

pub use crate::sys::linux::FileMetadata;

/// Bytes that are written and freed together.
const BLOCK: usize = 4096;
/// Input and output error: the disk itself fails.
const EIO: i32 = 5;
/// So many names are listed by a call.
const LISTED_AT_ONCE: usize = 16;
/// Bytes that are in memory or not.
const PAGE: u64 = 4096;
/// Nobody has asked for it.
const NEVER: Micros = Micros(u64::MAX);
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
    /// The blocks that were written: the others are holes.
    blocks: BTreeSet<usize>,
    changed: u64,
    links: usize,
    opened: usize,
    /// Its pages that are not in memory, and when they will be.
    cold: BTreeMap<u64, Micros>,
}

impl Content {
    fn read(&self, room: &mut [u8], at: u64) -> usize {
        let from = self.bytes.len().min(at as usize);
        let count = room.len().min(self.bytes.len() - from);
        room[..count].copy_from_slice(&self.bytes[from..from + count]);
        count
    }

    fn chill(&mut self) {
        let pages = (self.bytes.len() as u64).div_ceil(PAGE);
        self.cold = (0..pages).map(|page| (page, NEVER)).collect();
    }

    /// Has some bytes in memory. Whether that takes waiting for the disk.
    fn warm(&mut self, at: u64, len: u64, now: Micros) -> bool {
        let pages = pages(at, len);
        let is_cold = self.cold.range(pages.clone()).any(|(_, time)| *time > now);
        self.cold.retain(|page, _| !pages.contains(page));
        is_cold
    }
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
        content.blocks.extend(0..content.bytes.len().div_ceil(BLOCK));
    }

    /// Nothing of any file is in memory any more.
    pub fn chill(&mut self) {
        self.contents.values_mut().for_each(Content::chill);
    }

    /// Files of which something is to be read ahead.
    pub fn asked_for(&self) -> usize {
        let is_asked = |content: &&Content| content.cold.values().any(|time| *time != NEVER);
        self.contents.values().filter(is_asked).count()
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
        let content = Content {
            bytes: Vec::new(),
            reserved: 0,
            blocks: BTreeSet::new(),
            changed: 0,
            links: 0,
            opened: 0,
            cold: BTreeMap::new(),
        };
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

/// The pages in which these bytes lie.
fn pages(at: u64, len: u64) -> std::ops::Range<u64> {
    at / PAGE..(at + len).div_ceil(PAGE)
}

/// The disk fails by chance, if there are such faults.
fn falter(kernel: &mut Kernel) -> Result<(), IoError> {
    kernel.calls.disk += 1;
    kernel.now = kernel.now + kernel.faults.disk_slow + kernel.faults.cpu_slow;
    kernel.queued = kernel.queued + kernel.faults.cpu_slow;
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
    /// The last name that `list_more` has given.
    listed: CString,
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
        Ok(Directory { path, listed: CString::default(), _descriptor: Descriptor::take()? })
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
                let is_cold =
                    kernel.faults.disk_cold > 0 && kernel.dice.one_in(kernel.faults.disk_cold);
                let content = kernel.disk.contents.get_mut(&number).expect("found just now");
                content.opened += 1;
                if is_cold {
                    content.chill();
                }
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
        Ok(Directory { path, listed: CString::default(), _descriptor: Descriptor::take()? })
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
        self.names()?.iter().for_each(|name| each(name));
        Ok(())
    }

    pub fn list_more(&mut self, mut each: impl FnMut(&CStr)) -> Result<bool, IoError> {
        let names = self.names()?;
        let more = names.into_iter().filter(|name| *name > self.listed).take(LISTED_AT_ONCE);
        let more: Vec<CString> = more.collect();
        more.iter().for_each(|name| each(name));
        self.listed = more.last().cloned().unwrap_or_default();
        Ok(!more.is_empty())
    }

    fn names(&self) -> Result<Vec<CString>, IoError> {
        kernel::with(|kernel| {
            falter(kernel)?;
            let below = format!("{}/", self.path);
            let names = kernel.disk.names.keys().filter_map(|path| path.strip_prefix(&below));
            let direct = names.filter(|name| !name.contains('/'));
            Ok(direct.filter_map(|name| CString::new(name).ok()).collect())
        })
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
            let allocated = (content.blocks.len() * BLOCK) as u64;
            Ok(FileMetadata { len, allocated, changed, is_plain: true })
        })
    }

    pub fn read_at(&self, room: &mut [u8], at: u64) -> Result<usize, IoError> {
        self.with(|kernel, number| {
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            kernel.calls.disk_wait += u64::from(content.warm(at, room.len() as u64, kernel.now));
            Ok(content.read(room, at))
        })
    }

    pub fn read_now(&self, room: &mut [u8], at: u64) -> Result<usize, IoError> {
        let len = room.len() as u64;
        self.with(|kernel, number| {
            let content = &kernel.disk.contents[&number];
            let mut cold = content.cold.range(pages(at, len));
            let first = cold.find(|(_, time)| **time > kernel.now);
            let there = first.map_or(len, |(page, _)| (page * PAGE).saturating_sub(at));
            if there == 0 && len > 0 {
                return Err(IoError::WouldBlock);
            }
            Ok(content.read(&mut room[..there as usize], at))
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
            content.blocks.extend(at as usize / BLOCK..end.div_ceil(BLOCK));
            content.changed = (content.changed + 1).max(changed);
            Ok(())
        })
    }

    pub fn reserve(&self, at: u64, len: u64) -> Result<(), IoError> {
        self.with(|kernel, number| {
            let left = kernel.faults.disk_room.saturating_sub(kernel.disk.used());
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            let end = at.saturating_add(len);
            if end.saturating_sub(content.room() as u64) > left {
                return Err(IoError::Full);
            }
            content.reserved = content.reserved.max(end as usize);
            Ok(())
        })
    }

    pub fn trim(&self, len: u64) -> Result<(), IoError> {
        self.with(|kernel, number| {
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            content.bytes.resize(len as usize, 0);
            content.reserved = len as usize;
            content.blocks.retain(|block| block * BLOCK < len as usize);
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

    pub fn read_ahead(&self, at: u64, len: u64) {
        let asked = self.with(|kernel, number| {
            let there = kernel.now + kernel.faults.disk_delay;
            let content = kernel.disk.contents.get_mut(&number).expect("it is open");
            for (_, time) in content.cold.range_mut(pages(at, len)) {
                *time = (*time).min(there);
            }
            Ok(())
        });
        // It is a hint.
        let _ = asked;
    }
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
