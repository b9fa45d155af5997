//! How long this process has waited for a processor.
use crate::mem::time::Micros;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// What the scheduler tells of the thread that asks first, the only one outside of tests: `/proc/PID/schedstat` of proc(5).
pub struct CpuQueue {
    file: Option<OwnedFd>,
}

impl CpuQueue {
    /// For the process that asks, before it is confined.
    pub fn open() -> CpuQueue {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        CpuQueue { file: openat(CWD, "/proc/thread-self/schedstat", flags, Mode::empty()).ok() }
    }

    /// How long it has been ready to run without running, since it began. 0 where the kernel does not tell.
    pub fn waited(&self) -> Micros {
        self.read().unwrap_or(Micros(0))
    }

    /// Nanoseconds on a processor, nanoseconds in the queue for one, and how often it ran.
    fn read(&self) -> Option<Micros> {
        let mut room = [0; 64];
        let read = rustix::io::pread(self.file.as_ref()?, &mut room, 0).ok()?;
        let text = std::str::from_utf8(&room[..read]).ok()?;
        let nanos: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Micros(nanos / 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::CpuQueue;
    use crate::mem::time::Micros;

    #[test]
    fn the_kernel_tells_and_it_does_not_go_back() {
        let queue = CpuQueue::open();
        let before = queue.read().expect("told");
        assert!(queue.waited() >= before);
    }

    #[test]
    fn where_nothing_is_told_nothing_was_waited() {
        assert_eq!(CpuQueue { file: None }.waited(), Micros(0));
    }
}
