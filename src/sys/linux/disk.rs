//! Files below a directory. All of them are named from there, so that a process may give up the
//! rights that the way to it needs.
//!
//! Unlike sockets, files make whoever reads or writes them wait, if the disk is slow.
use super::{Socket, pipe::refusal, place::PathHandle, process::User};
use crate::sys::IoError;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::fs::{RawDir, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::ffi::CStr;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::path::Path;

const FOR_OWNER_ALONE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_FOR_OWNER_ALONE: Mode = Mode::from_raw_mode(0o700);

/// A directory that is open.
pub struct Directory {
    descriptor: OwnedFd,
}

impl Directory {
    /// Opens the directory at `path`, made if need be, for its owner alone. `NotFound` if the one
    /// above is missing as well. `Linked` if this process is root and somebody else may have put a
    /// link on the way.
    pub fn open(path: &Path) -> Result<Directory, IoError> {
        Directory::open_at(&PathHandle::new(path)?)
    }

    /// The same for root, on behalf of `user`, whose directory it is from then on, as far as the disk
    /// can be written.
    pub fn open_for(path: &Path, user: &User) -> Result<Directory, IoError> {
        let place = PathHandle::new(path)?;
        let directory = Directory::open_at(&place)?;
        match place.give(directory.as_fd(), user) {
            // The user perhaps may read it.
            Ok(()) | Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(directory),
            Err(error) => Err(error.into()),
        }
    }

    fn open_at(place: &PathHandle) -> Result<Directory, IoError> {
        match fs::mkdirat(&place.folder, &place.name, FOLDER_FOR_OWNER_ALONE) {
            Ok(()) | Err(Errno::EXIST) => (),
            // It may be there, where nothing may be made.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => (),
            Err(error) => return Err(error.into()),
        }
        let descriptor = place.open(OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        Ok(Directory { descriptor })
    }

    /// Whether it still has a name: it may have been removed since it was opened.
    pub fn has_name(&self) -> Result<bool, IoError> {
        Ok(fs::fstat(&self.descriptor)?.st_nlink > 0)
    }

    /// Opens a directory below this one. What happens to their names later makes no difference.
    pub fn open_below(&self, name: &CStr) -> Result<Directory, IoError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = fs::openat(&self.descriptor, name, flags, Mode::empty())?;
        Ok(Directory { descriptor })
    }

    /// Makes a directory below this one, for its owner alone. `Exists` if there is one.
    pub fn make_below(&self, name: &CStr) -> Result<(), IoError> {
        Ok(fs::mkdirat(&self.descriptor, name, FOLDER_FOR_OWNER_ALONE)?)
    }

    /// Opens a file to read it. Never waits, even if it turns out to be something else:
    /// [`File::metadata`] tells.
    pub fn open_file(&self, name: &CStr) -> Result<File, IoError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = fs::openat(&self.descriptor, name, flags, Mode::empty())?;
        Ok(File { descriptor })
    }

    /// Makes a file without a name, to be written and read. Unless [`Directory::link`] gives it one,
    /// it is gone with its last descriptor, however that comes about. `below` names the directory
    /// on whose disk it is to lie.
    ///
    /// `Unsupported` if files of this disk need a name.
    pub fn unnamed_file(&self, below: &CStr) -> Result<File, IoError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match fs::openat(&self.descriptor, below, flags, FOR_OWNER_ALONE) {
            Ok(descriptor) => Ok(File { descriptor }),
            Err(Errno::ISDIR | Errno::OPNOTSUPP | Errno::INVAL) => Err(IoError::Unsupported),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file with a name, to be written and read. `Exists` if there is one.
    pub fn new_file(&self, name: &CStr) -> Result<File, IoError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let descriptor = fs::openat(&self.descriptor, name, flags, FOR_OWNER_ALONE)?;
        Ok(File { descriptor })
    }

    /// Gives a file that was made without a name this one. `Exists` if it is taken.
    pub fn link(&self, file: &File, name: &CStr) -> Result<(), IoError> {
        // By its descriptor alone it could be linked only since Linux 6.10.
        let mut path = [0; 32];
        let mut rest = &mut path[..];
        let written = write!(rest, "/proc/self/fd/{}\0", file.descriptor.as_raw_fd());
        written.expect("a number has ten digits at most");
        let path = CStr::from_bytes_until_nul(&path).expect("a zero was written");
        let follow = AtFlags::SYMLINK_FOLLOW;
        match fs::linkat(CWD, path, &self.descriptor, name, follow) {
            // There is no /proc; or the directory that `name` is in is missing.
            Err(Errno::NOENT) => {
                let itself = AtFlags::EMPTY_PATH;
                Ok(fs::linkat(&file.descriptor, c"", &self.descriptor, name, itself)?)
            }
            linked => Ok(linked?),
        }
    }

    /// Renames a file, which takes the place of what has the name already.
    pub fn rename(&self, from: &CStr, to: &CStr) -> Result<(), IoError> {
        Ok(fs::renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    /// Takes a file's name away. It stays there for those who have it open.
    pub fn remove(&self, name: &CStr) -> Result<(), IoError> {
        Ok(fs::unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    /// Hands over the names of all that is in it, in no order.
    pub fn list(&self, mut each: impl FnMut(&CStr)) -> Result<(), IoError> {
        fs::seek(&self.descriptor, SeekFrom::Start(0))?;
        while read_some(self.as_fd(), &mut each)? {}
        Ok(())
    }

    /// Hands over some more of the names, in no order: what stays meanwhile comes once. Says whether there
    /// may be more.
    pub fn list_more(&mut self, mut each: impl FnMut(&CStr)) -> Result<bool, IoError> {
        read_some(self.as_fd(), &mut each)
    }
}

/// Reads as many names as one call gives, from where the last one has ended.
fn read_some(directory: BorrowedFd<'_>, each: &mut impl FnMut(&CStr)) -> Result<bool, IoError> {
    let mut room = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(directory, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(name);
        }
        if entries.is_buffer_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Keeps other services out of a directory, for as long as a copy of it is open in any process: so it
/// can be handed over, and ends with whoever has it.
pub struct DirectoryLock {
    descriptor: OwnedFd,
}

impl DirectoryLock {
    /// Takes that of the directory at `path`, made if need be. `InUse` if another has it.
    pub fn take(path: &Path) -> Result<DirectoryLock, IoError> {
        let Directory { descriptor } = Directory::open(path)?;
        match fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryLock { descriptor }),
            Err(Errno::WOULDBLOCK) => Err(IoError::InUse),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one that was handed over.
    pub fn from_fd(descriptor: OwnedFd) -> DirectoryLock {
        DirectoryLock { descriptor }
    }

    /// A copy, of the same lock.
    pub fn try_clone(&self) -> Result<DirectoryLock, IoError> {
        let descriptor = self.descriptor.try_clone().map_err(|_| IoError::Exhausted)?;
        Ok(DirectoryLock { descriptor })
    }
}

impl AsFd for DirectoryLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// How many bytes the disk has on which `path` lies, free or not.
pub fn disk_size(path: &Path) -> Result<u64, IoError> {
    let disk = fs::statvfs(path)?;
    Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMetadata {
    /// How many bytes it has.
    pub len: u64,
    /// How many bytes of the disk it takes: fewer where it has holes.
    pub allocated: u64,
    /// Another one after each change of its content or its names, as a rule.
    pub changed: u64,
    /// Whether it is a plain file at all.
    pub is_plain: bool,
}

/// An open file. Dropping it closes it.
pub struct File {
    descriptor: OwnedFd,
}

impl File {
    /// What is known of it.
    pub fn metadata(&self) -> Result<FileMetadata, IoError> {
        let stat = fs::fstat(&self.descriptor)?;
        let seconds = u64::try_from(stat.st_ctime).unwrap_or(0);
        Ok(FileMetadata {
            len: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            changed: seconds.wrapping_mul(1_000_000_000).wrapping_add(stat.st_ctime_nsec as u64),
            is_plain: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        })
    }

    /// Reads bytes from `at` on, and says how many: fewer than there is room for only at the end.
    pub fn read_at(&self, room: &mut [u8], at: u64) -> Result<usize, IoError> {
        let mut count = 0;
        while count < room.len() {
            match rustix::io::pread(&self.descriptor, &mut room[count..], at + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }

    /// The same without waiting for the disk: what is in memory already, up to the first byte that is not.
    /// `WouldBlock` if that is the first of all; the kernel may have begun to read it then. Where this
    /// disk or kernel cannot tell, it waits as `read_at` does.
    pub fn read_now(&self, room: &mut [u8], at: u64) -> Result<usize, IoError> {
        let mut pieces = [IoSliceMut::new(room)];
        match preadv2(&self.descriptor, &mut pieces, at, ReadWriteFlags::NOWAIT) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN) => Err(IoError::WouldBlock),
            Err(Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                self.read_at(room, at)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of `bytes` from `at` on. `Full` if the disk, or what this user may have of it, is.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), IoError> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(&self.descriptor, &bytes[written..], at + written as u64) {
                Ok(0) => return Err(IoError::Full),
                Ok(more) => written += more,
                Err(Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reserves room on the disk for `len` bytes from `at` on, which need not be written yet. `Full` if
    /// there is not so much. On a disk that cannot reserve anything, nothing happens.
    pub fn reserve(&self, at: u64, len: u64) -> Result<(), IoError> {
        loop {
            match fs::fallocate(&self.descriptor, FallocateFlags::KEEP_SIZE, at, len) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                    return Ok(());
                }
                Err(Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives back what was reserved behind its first `len` bytes, which are all there are.
    pub fn trim(&self, len: u64) -> Result<(), IoError> {
        Ok(fs::ftruncate(&self.descriptor, len)?)
    }

    /// Copies up to `limit` bytes of `source` from `from` on to `to` in this file, without their
    /// passing through this process where the kernel can do that; on some disks they are not even
    /// copied. Says how many: 0 only at the end of `source`.
    pub fn copy_from(
        &self,
        source: &File,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<usize, IoError> {
        let (mut start, mut end) = (from, to);
        let copied = fs::copy_file_range(
            &source.descriptor,
            Some(&mut start),
            &self.descriptor,
            Some(&mut end),
            limit,
        );
        match copied.map_err(|error| (refusal(error), error)) {
            Ok(count) => Ok(count),
            Err((IoError::Unsupported, _) | (_, Errno::XDEV)) => {
                let mut piece = [0; 16 * 1024];
                let most = limit.min(piece.len());
                let count = source.read_at(&mut piece[..most], from)?;
                self.write_at(&piece[..count], to)?;
                Ok(count)
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Sends up to `limit` bytes from `at` on, without their passing through this process. Says how
    /// many: 0 only at the end of the file.
    ///
    /// If it is not all, an event tells when the socket has room again. It waits for the disk where
    /// the bytes are not in memory. `Unsupported` where a kernel, or a filter of system calls, does
    /// not do this.
    pub fn send(&self, socket: &Socket, at: u64, limit: usize) -> Result<usize, IoError> {
        assert!(limit > 0, "to send nothing would look like the end");
        let mut at = at;
        fs::sendfile(socket, &self.descriptor, Some(&mut at), limit).map_err(refusal)
    }

    /// Has the disk read `len` bytes from `at` on, without waiting for them.
    pub fn read_ahead(&self, at: u64, len: u64) {
        let advice = fs::Advice::WillNeed;
        // It is a hint. Without it the bytes come when they are asked for.
        let _ = fs::fadvise(&self.descriptor, at, std::num::NonZeroU64::new(len), advice);
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
