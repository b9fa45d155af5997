//! Memory straight from the kernel: for this process alone, shared with others, or kept for the
//! program that is executed next.
use crate::sys::IoError;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect,
};
use std::sync::atomic::AtomicU64;
use std::{ptr::null_mut, slice};

const CELL_BYTES: usize = size_of::<AtomicU64>();

/// Reserves `size` bytes of zeroed memory for the life of the process. A page costs real
/// memory only once it is written.
pub fn reserve(size: usize) -> Result<&'static mut [u8], IoError> {
    assert!(size > 0);
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint lets the kernel choose a free range, so nothing is overwritten.
    let start = unsafe { mmap_anonymous(null_mut(), size, protection, flags)? };
    // SAFETY: the range was mapped just now: `size` bytes, zeroed, readable and writable. This
    // is the only reference to it, and it is never unmapped, so it may be `'static`.
    Ok(unsafe { slice::from_raw_parts_mut(start.cast(), size) })
}

/// Gives back the pages that lie wholly within `bytes`, a part of what `reserve` gave. They cost
/// nothing until they are written again. What the bytes are afterwards is not said.
pub fn give_back(bytes: &mut [u8]) {
    let page = rustix::param::page_size();
    let before = bytes.as_ptr().align_offset(page);
    let Some(within) = bytes.len().checked_sub(before) else { return };
    let size = within - within % page;
    if size == 0 {
        return;
    }
    let start = bytes[before..].as_mut_ptr();
    // SAFETY: `size` bytes from `start` on are whole pages within `bytes`, so no other object
    // lies on them, and no one else may look at them meanwhile. The kernel replaces them by
    // zeros (or, were they no part of what `reserve` gave, by the file's bytes): any bytes are
    // valid as `u8`.
    let given = unsafe { madvise(start.cast(), size, Advice::LinuxDontNeed) };
    // It fails only for pages that are locked. They stay, and all is well.
    let _ = given;
}

/// Makes `cells` cells that this process and all that it forks from now on share, all zero. The
/// program that is executed next has them not.
pub fn share_with_children(cells: usize) -> Result<&'static [AtomicU64], IoError> {
    assert!(cells > 0);
    let size = cells.checked_mul(CELL_BYTES).ok_or(IoError::Exhausted)?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint lets the kernel choose a free range, so nothing is overwritten.
    let start = unsafe { mmap_anonymous(null_mut(), size, protection, MapFlags::SHARED)? };
    // SAFETY: the range was mapped just now: `size` bytes, zeroed, readable and writable, aligned to
    // a page. It is never unmapped, so it may be `'static`. Who else writes it, in another process,
    // does so by atomic operations too.
    Ok(unsafe { slice::from_raw_parts(start.cast(), cells) })
}

/// Cells that several processes see: those forked after it was made, and those that are handed
/// its descriptor. Dropping it closes the descriptor; the cells stay mapped.
pub struct Shared {
    descriptor: OwnedFd,
    cells: &'static [AtomicU64],
}

/// Makes `cells` cells for several processes, all zero. A page costs real memory only once it is
/// written.
pub fn share(cells: usize) -> Result<Shared, IoError> {
    assert!(cells > 0);
    let descriptor = memory_file("httplb-cells")?;
    let size = cells.checked_mul(CELL_BYTES).ok_or(IoError::Exhausted)?;
    ftruncate(&descriptor, size as u64)?;
    fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    map_cells(descriptor)
}

/// Maps cells that `share` made, perhaps in another process, as they are now. Fails for any other
/// descriptor.
pub fn from_fd(descriptor: OwnedFd) -> Result<Shared, IoError> {
    // A file without seals says so by INVAL.
    if !fcntl_get_seals(&descriptor)?.contains(SealFlags::SHRINK) {
        return Err(Errno::INVAL.into());
    }
    map_cells(descriptor)
}

fn map_cells(descriptor: OwnedFd) -> Result<Shared, IoError> {
    let size = usize::try_from(fstat(&descriptor)?.st_size).map_err(|_| Errno::INVAL)?;
    if size == 0 || size % CELL_BYTES != 0 {
        return Err(Errno::INVAL.into());
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint lets the kernel choose a free range, so nothing is overwritten.
    let start = unsafe { mmap(null_mut(), size, protection, MapFlags::SHARED, &descriptor, 0)? };
    // SAFETY: the range was mapped just now, readable and writable, at the start of a page and so
    // aligned for cells. It lies within the file, which is sealed: nobody can shorten it. It is
    // never unmapped, so it may be `'static`. Any bytes are a valid number, and whoever else
    // writes them meanwhile, in this process or another, does so by atomic operations too.
    let cells = unsafe { slice::from_raw_parts(start.cast(), size / CELL_BYTES) };
    Ok(Shared { descriptor, cells })
}

impl Shared {
    /// The cells. Memory is always aligned to a page.
    pub fn cells(&self) -> &'static [AtomicU64] {
        self.cells
    }

    /// Takes from this process the right to write the first `count` cells, whole pages, for good: they
    /// are mapped anew by a descriptor that cannot write, so that no later call gives it back. To write
    /// one afterwards ends the process.
    ///
    /// Without /proc there is no such descriptor. Then the pages are protected alone, which the process
    /// could take back.
    pub fn protect(&self, count: usize) -> Result<(), IoError> {
        let size = count * CELL_BYTES;
        assert!(count <= self.cells.len() && size % rustix::param::page_size() == 0);
        let start = self.cells.as_ptr().cast_mut().cast();
        let path = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(reader) => {
                let flags = MapFlags::SHARED | MapFlags::FIXED;
                // SAFETY: the range is the beginning of what `map_cells` mapped, and is replaced by the
                // same bytes of the same file, which is sealed against getting shorter. References to
                // the cells stay valid: whoever only loads them sees no difference.
                unsafe { mmap(start, size, ProtFlags::READ, flags, &reader, 0)? };
            }
            Err(_) => {
                // SAFETY: the range is the beginning of what `map_cells` mapped. Its bytes stay; that
                // it is not written any more is the caller's to see to.
                unsafe { mprotect(start, size, MprotectFlags::READ)? };
            }
        }
        Ok(())
    }

    /// The same cells once more, for another who hands them over.
    pub fn try_clone(&self) -> Result<Shared, IoError> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 0)?;
        Ok(Shared { descriptor, cells: self.cells })
    }

    /// Whether both have the same cells, wherever these are mapped.
    pub fn is_same(&self, other: &Shared) -> bool {
        let file =
            |shared: &Shared| fstat(&shared.descriptor).map(|file| (file.st_dev, file.st_ino));
        file(self).is_ok_and(|own| file(other) == Ok(own))
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Keeps `bytes` in a file that has no name, for whoever is handed its descriptor: `recall` reads
/// them back.
pub fn keep(bytes: &[u8]) -> Result<OwnedFd, IoError> {
    let descriptor = memory_file("httplb-kept")?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::write(&descriptor, &bytes[written..])?;
    }
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&descriptor, all)?;
    Ok(descriptor)
}

/// A file that has no name, for another program to write into: `recall` reads what it wrote.
pub fn scratch() -> Result<OwnedFd, IoError> {
    Ok(memory_file("httplb-scratch")?)
}

/// The bytes of a file, such as `keep` kept, as often as they are wanted.
pub fn recall(descriptor: BorrowedFd<'_>) -> Result<Vec<u8>, IoError> {
    let size = usize::try_from(fstat(descriptor)?.st_size).map_err(|_| Errno::INVAL)?;
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        match rustix::io::pread(descriptor, &mut bytes[read..], read as u64)? {
            // It became shorter meanwhile, so it is none that `keep` made.
            0 => return Err(Errno::INVAL.into()),
            count => read += count,
        }
    }
    Ok(bytes)
}

/// Opens a file in memory that nobody can ever execute, and that may be sealed.
fn memory_file(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 know nothing of execution here.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::{from_fd, give_back, keep, recall, reserve, share};
    use crate::sys::IoError;
    use rustix::fd::AsFd;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn reserved_memory_is_zeroed_and_may_be_written() {
        let memory = reserve(100_000).unwrap();
        assert!(memory.iter().all(|byte| *byte == 0));
        memory.fill(7);
        assert!(memory.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn only_whole_pages_are_given_back() {
        let page = rustix::param::page_size();
        let memory = reserve(4 * page).unwrap();
        memory.fill(7);
        give_back(&mut memory[1..3 * page - 1]);
        assert!(memory[..page].iter().all(|byte| *byte == 7));
        assert!(memory[page..2 * page].iter().all(|byte| *byte == 0));
        assert!(memory[2 * page..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn less_than_a_page_is_not_given_back() {
        let memory = reserve(rustix::param::page_size()).unwrap();
        memory.fill(7);
        give_back(&mut memory[1..]);
        give_back(&mut memory[..0]);
        assert!(memory.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn more_than_there_is_cannot_be_reserved() {
        assert!(reserve(1 << 60).is_err());
    }

    #[test]
    fn who_has_the_descriptor_of_shared_cells_sees_what_others_write() {
        let shared = share(100_000).unwrap();
        let cells = shared.cells();
        assert_eq!(cells.len(), 100_000);
        assert!(cells.iter().all(|cell| cell.load(Relaxed) == 0));
        cells[99_999].store(7, Relaxed);
        let again = from_fd(shared.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(again.cells().len(), 100_000);
        assert_eq!(again.cells()[99_999].load(Relaxed), 7);
        again.cells()[1].fetch_add(3, Relaxed);
        drop((shared, again));
        assert_eq!(cells[1].load(Relaxed), 3);
    }

    #[test]
    fn cells_that_are_protected_are_seen_and_cannot_be_made_writable_again() {
        use rustix::mm::{MprotectFlags, mprotect};
        let (shared, page) = (share(3 * 8192).unwrap(), 8192 * 8);
        let writer = from_fd(shared.as_fd().try_clone_to_owned().unwrap()).unwrap();
        shared.protect(8192).unwrap();
        writer.cells()[8191].store(7, Relaxed);
        assert_eq!(shared.cells()[8191].load(Relaxed), 7);
        shared.cells()[8192].store(8, Relaxed);
        assert_eq!(writer.cells()[8192].load(Relaxed), 8);
        let start = shared.cells().as_ptr().cast_mut().cast();
        let both = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the pages are those of the cells; it fails, and changes nothing.
        assert_eq!(unsafe { mprotect(start, page, both) }, Err(rustix::io::Errno::ACCESS));
    }

    #[test]
    fn shared_cells_keep_their_number() {
        let shared = share(10).unwrap();
        assert!(rustix::fs::ftruncate(&shared, 8).is_err());
        assert!(rustix::fs::ftruncate(&shared, 8000).is_err());
    }

    #[test]
    fn only_the_descriptor_of_shared_cells_makes_some() {
        let (pipe, _write_end) = rustix::pipe::pipe().unwrap();
        assert!(from_fd(pipe).is_err());
        let program = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(from_fd(program.into()).is_err());
        assert_eq!(from_fd(keep(b"").unwrap()).err(), Some(IoError::Other(libc::EINVAL)));
        assert_eq!(from_fd(keep(b"seven..").unwrap()).err(), Some(IoError::Other(libc::EINVAL)));
    }

    #[test]
    fn more_than_there_is_cannot_be_shared() {
        assert!(share(1 << 59).is_err());
        assert_eq!(share(usize::MAX).err(), Some(IoError::Exhausted));
    }

    #[test]
    fn what_is_kept_can_be_recalled_again_and_again_and_not_changed() {
        let text: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let kept = keep(&text).unwrap();
        assert!(recall(kept.as_fd()).unwrap() == text);
        assert!(recall(kept.as_fd()).unwrap() == text);
        assert!(rustix::io::pwrite(&kept, b"other", 0).is_err());
        assert_eq!(recall(keep(b"").unwrap().as_fd()), Ok(Vec::new()));
    }
}
