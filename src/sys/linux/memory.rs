//! Memory straight from the kernel.
use crate::sys::IoError;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use std::{ptr::null_mut, slice};

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

#[cfg(test)]
mod tests {
    use super::{give_back, reserve};

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
}
