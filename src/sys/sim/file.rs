//! Log files. See `linux::LogFile`.
use super::descriptor::Descriptor;
use super::kernel;
use crate::sys::IoError;
use crate::sys::linux::process::User;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NO_DESCRIPTOR: &str = "a simulated log cannot be handed over";

/// A log that ends in a vector: `world::log`.
pub struct LogFile {
    path: PathBuf,
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::LogFile")]
impl LogFile {
    pub fn open(path: &Path) -> Result<LogFile, IoError> {
        Ok(LogFile { path: path.to_owned(), _descriptor: Descriptor::take()? })
    }

    pub fn stdout() -> Result<LogFile, IoError> {
        LogFile::open("/dev/stdout".as_ref())
    }

    pub fn open_for(path: &Path, _user: &User) -> Result<LogFile, IoError> {
        LogFile::open(path)
    }

    pub fn from_fd(_: OwnedFd) -> LogFile {
        panic!("{NO_DESCRIPTOR}")
    }

    pub fn write(&self, bytes: &[u8]) -> Result<usize, IoError> {
        kernel::with(|kernel| {
            kernel.calls.log += 1;
            let log = kernel.logs.entry(self.path.clone()).or_default();
            let count = bytes.len().min(kernel.faults.log_room.saturating_sub(log.len()));
            log.extend(&bytes[..count]);
            if count == 0 && !bytes.is_empty() { Err(IoError::WouldBlock) } else { Ok(count) }
        })
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        panic!("{NO_DESCRIPTOR}")
    }
}
