//! Log files.
use crate::sys::IoError;
use crate::sys::linux::place::PathHandle;
use crate::sys::linux::process::User;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::SendFlags;
use std::path::Path;

/// Its group may read it.
const LOG_MODE: Mode = Mode::from_raw_mode(0o640);
/// A wait of no time at all.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// When poll(2) says that a pipe has room, then there is at least so much: pipe(7).
const SURE_ROOM: usize = 4096;

/// Where lines go. Writing there never blocks, whoever reads at the other end.
pub struct LogFile {
    descriptor: OwnedFd,
    manner: WriteMode,
}

/// How it is written without ever blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteMode {
    /// The descriptor says so itself; or it is a file, where it makes no difference.
    Plain,
    /// A socket: each call says so.
    Socket,
    /// A pipe or terminal that was opened by others, whose waiting we must not change.
    AskFirst,
}

impl LogFile {
    /// Opens the file at `path`, created if need be (readable for its group), to append to it.
    pub fn open(path: &Path) -> Result<LogFile, IoError> {
        let descriptor = rustix::fs::open(path, OFlags::CREATE | writing(), LOG_MODE)?;
        Ok(LogFile { descriptor, manner: WriteMode::Plain })
    }

    /// The same for root, on behalf of `user`, whose file it is from then on.
    ///
    /// Where somebody else may have put a link on the way, or another name of a file of the system, to have
    /// root give them that file: `Linked`.
    pub fn open_for(path: &Path, user: &User) -> Result<LogFile, IoError> {
        let place = PathHandle::new(path)?;
        let descriptor = place.open(OFlags::CREATE | writing(), LOG_MODE)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) == FileType::RegularFile
        {
            match place.give(descriptor.as_fd(), user) {
                // Root without CAP_CHOWN. The children are given the open file.
                Ok(()) | Err(rustix::io::Errno::PERM) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(LogFile { descriptor, manner: WriteMode::Plain })
    }

    /// Takes one that another process has opened by `open` or `open_for`.
    pub fn from_fd(descriptor: OwnedFd) -> LogFile {
        LogFile { descriptor, manner: WriteMode::Plain }
    }

    /// Standard output, whatever that is.
    pub fn stdout() -> Result<LogFile, IoError> {
        LogFile::of(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 0)?)
    }

    fn of(inherited: OwnedFd) -> Result<LogFile, IoError> {
        Ok(match reopened(inherited.as_fd())? {
            (Some(descriptor), manner) => LogFile { descriptor, manner },
            (None, manner) => LogFile { descriptor: inherited, manner },
        })
    }

    /// Writes `bytes`, or as many as can be taken now: the count says how many. `WouldBlock` if
    /// the reader does not keep up, `Reset` if there is none any more.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, IoError> {
        write(self.descriptor.as_fd(), self.manner, bytes)
    }
}

/// How a descriptor that others have opened is written without waiting, and what it leads to, opened
/// once more where that helps.
pub(super) fn reopened(inherited: BorrowedFd<'_>) -> Result<(Option<OwnedFd>, WriteMode), IoError> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(inherited)?.st_mode);
    match kind {
        FileType::Socket => return Ok((None, WriteMode::Socket)),
        // Calls do not wait there. And others that write to the same open file, as the shell that started
        // us, go on where it ends only if what we write moves the place that it has.
        FileType::RegularFile => return Ok((None, WriteMode::Plain)),
        _ => (),
    }
    // Whether calls block is a matter of the open file, which the other processes that have
    // it share. So open it once more, for us alone.
    let again = format!("/proc/self/fd/{}", inherited.as_raw_fd());
    match rustix::fs::open(again, writing(), Mode::empty()) {
        Ok(descriptor) => Ok((Some(descriptor), WriteMode::Plain)),
        // It may belong to someone else: the output of a container often does.
        Err(_) => Ok((None, WriteMode::AskFirst)),
    }
}

/// Writes as [`LogFile::write`] does.
pub(super) fn write(
    descriptor: BorrowedFd<'_>,
    manner: WriteMode,
    bytes: &[u8],
) -> Result<usize, IoError> {
    match manner {
        WriteMode::Plain => Ok(rustix::io::write(descriptor, bytes)?),
        WriteMode::Socket => {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(rustix::net::send(descriptor, bytes, flags)?)
        }
        WriteMode::AskFirst => {
            let mut asked = [PollFd::new(&descriptor, PollFlags::OUT)];
            if poll(&mut asked, Some(&AT_ONCE))? == 0 {
                return Err(IoError::WouldBlock);
            }
            let some = &bytes[..bytes.len().min(SURE_ROOM)];
            Ok(rustix::io::write(descriptor, some)?)
        }
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn writing() -> OFlags {
    OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
}

#[cfg(test)]
mod tests {
    use super::{LogFile, WriteMode};
    use crate::sys::IoError;
    use rustix::pipe::PipeFlags;
    use std::io::Write;

    fn write_until_full(log: &LogFile) -> usize {
        let mut written = 0;
        loop {
            match log.write(&[b'a'; 3000]) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error, IoError::WouldBlock);
                    return written;
                }
            }
        }
    }

    #[test]
    fn lines_are_appended_to_a_file() {
        let path = std::env::temp_dir().join(format!("httplb-log-{}", std::process::id()));
        std::fs::write(&path, "one\n").unwrap();
        let log = LogFile::open(&path).unwrap();
        assert_eq!(log.write(b"two\n"), Ok(4));
        assert_eq!(LogFile::open(&path).unwrap().write(b"three\n"), Ok(6));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_inherited_file_is_written_where_the_others_that_have_it_are() {
        let path = std::env::temp_dir().join(format!("httplb-inherited-{}", std::process::id()));
        let mut starter = std::fs::File::create(&path).unwrap();
        starter.write_all(b"one\n").unwrap();
        let log = LogFile::of(starter.try_clone().unwrap().into()).unwrap();
        assert_eq!((log.write(b"two\n"), log.manner), (Ok(4), WriteMode::Plain));
        starter.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_directory_that_does_not_exist_is_an_error() {
        assert!(LogFile::open("/nonexistent/log".as_ref()).is_err());
    }

    #[test]
    fn a_pipe_that_nobody_reads_does_not_block() {
        let (_read_end, write_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let log = LogFile::of(write_end).unwrap();
        assert_eq!(log.manner, WriteMode::Plain);
        assert!(write_until_full(&log) >= 4096);
    }

    #[test]
    fn a_pipe_of_someone_else_does_not_block_either() {
        let (_read_end, write_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let log = LogFile { descriptor: write_end, manner: WriteMode::AskFirst };
        assert!(write_until_full(&log) >= 4096);
    }

    #[test]
    fn a_socket_that_nobody_reads_does_not_block() {
        let (_other, ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let log = LogFile::of(ours.into()).unwrap();
        assert_eq!(log.manner, WriteMode::Socket);
        assert!(write_until_full(&log) >= 4096);
    }
}
