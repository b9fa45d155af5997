//! Why a system call failed: only what callers tell apart; and what an operator can do, which depends
//! on what was tried as much as on what the kernel said.
use std::fmt;

/// Why a system call failed. The end of a stream is no failure: a read of 0 bytes says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// Nothing to read, or no room to write, at this moment. An event will tell when there is.
    WouldBlock,
    /// The peer broke the connection, or no longer takes what is sent.
    Reset,
    /// The connection was refused, or the address cannot be reached.
    Refused,
    /// The peer's kernel did not answer for minutes.
    TimedOut,
    /// No descriptor, port, pipe or kernel memory is left.
    Exhausted,
    /// The address is taken by another socket.
    InUse,
    /// To be listened at, the address would have to be this host's.
    NotLocal,
    /// The process may not do this.
    Denied,
    /// There is no such file.
    NotFound,
    /// There is such a file already.
    Exists,
    /// The disk is full, or what the user may have of it.
    Full,
    /// A file would be larger than this process may make one.
    TooLarge,
    /// Links lead in a circle; or this is root, and another user may have put there a link, or a further
    /// name of a file.
    Linked,
    /// The kernel, a filter of system calls or the disk does not do this.
    Unsupported,
    /// Anything else, by its number. See errno(3).
    Other(i32),
}

/// What was tried when a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// To listen at a port. 0 is any.
    Listen(u16),
    /// To make a Unix socket that has a path.
    ListenUnix,
    /// To find the group that a Unix socket is to have.
    Group,
    /// To open, make or write a file.
    File,
    /// To read a file.
    ReadFile,
    /// To reserve or share memory.
    Memory,
    /// To open what the kernel keeps for a process: epoll, events, signals, sockets between
    /// processes, copies of descriptors.
    Descriptor,
    /// To take a client.
    Accept,
    /// To make a process.
    Fork,
    /// To become another user.
    ChangeUser,
    /// To give up system calls for good.
    Confine,
    /// To execute a program.
    Execute,
    /// To speak with another process of the service.
    Talk,
}

impl IoError {
    /// What the operator can do about this where it came of what was tried. Empty: nothing that is
    /// known.
    fn remedy(self, tried: Tried) -> &'static str {
        use IoError::{Denied, Exhausted, Exists, Full, InUse, Linked, NotFound};
        use IoError::{TooLarge, Unsupported};
        use Tried::{Accept, ChangeUser, Confine, Descriptor, Execute, File, Fork, Listen};
        use Tried::{ListenUnix, Memory, ReadFile};
        match (tried, self) {
            (Listen(_), InUse) => "stop the other program, or choose another",
            (Listen(_), IoError::NotLocal) => {
                "add \"freebind\": true if it may come later, which only \"listen\" takes"
            }
            (Listen(1..=1023), Denied) => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
            (Listen(_), Denied | Unsupported) => {
                "a seccomp profile or a security module forbids it: allow socket, bind and listen"
            }
            (ListenUnix, NotFound) => {
                "its directory is missing: make it, as RuntimeDirectory= of the unit does"
            }
            (ListenUnix, Denied) => {
                "the user who starts httplb must be allowed to write its directory, and be in its group"
            }
            (ListenUnix, InUse | Exists) => {
                "stop the other program, or remove what is there if it is no socket; or choose another path"
            }
            (File, NotFound) => "is the path right? A missing directory is not made",
            (File, Denied) => {
                "its user must be allowed to write the file, and to enter each directory above it"
            }
            (File | ListenUnix, Linked) => {
                "root follows no link, and opens no file of two names, that others may have put \
                 there: remove it, or choose a directory that only root may write"
            }
            (ReadFile, NotFound | Linked) => "is the path right?",
            (ReadFile, Denied) => "the user who starts httplb must be allowed to read it",
            (File | ListenUnix, Full) => "free some space",
            (File, TooLarge) => "raise ulimit -f, or LimitFSIZE in the unit",
            (File, Unsupported) => "choose another file system, or read-write mount this one",
            (Memory, TooLarge) => {
                "shared memory counts as a file: raise ulimit -f, or LimitFSIZE in the unit"
            }
            (Memory, Exhausted) => {
                "lower max_connections or buffer_size; or raise what memory it may have: ulimit -v, \
                 LimitAS and MemoryMax in the unit"
            }
            (Memory, Denied | Unsupported) => {
                "a seccomp profile or this kernel refuses it: allow memfd_create and mmap"
            }
            (Descriptor | Listen(_) | ListenUnix | File, Exhausted) => {
                "raise ulimit -n, or LimitNOFILE in the unit"
            }
            (Descriptor, Denied | Unsupported) => {
                "a seccomp profile or this kernel refuses it: allow epoll_create1, eventfd2, \
                 signalfd4, socketpair and fcntl"
            }
            (Accept, Exhausted) => "raise LimitNOFILE, or lower max_connections",
            (Fork, Exhausted) => "raise ulimit -u, or TasksMax in the unit",
            (Fork, Denied | Unsupported) => {
                "a seccomp profile or this kernel refuses it: allow clone"
            }
            (ChangeUser, _) => {
                "give it CAP_SETUID and CAP_SETGID, or start it as another user than root"
            }
            (Confine, _) => "a seccomp profile or this kernel refuses it: allow seccomp and prctl",
            (Execute, Denied) => "it must be executable, and its file system not noexec",
            (Execute, NotFound) => "install it again",
            // Where nothing is known to help, nothing is made up.
            (_, _) => "",
        }
    }

    /// The error, and the remedy where it came of what was tried.
    pub fn when(self, tried: Tried) -> Failure {
        Failure { error: self, tried }
    }
}

/// An error, and what was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    error: IoError,
    tried: Tried,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.tried, self.error) == (Tried::Group, IoError::NotFound) {
            let remedy = "name one of /etc/group, or add it with groupadd";
            return write!(out, "there is no such group ({remedy})");
        }
        match self.error.remedy(self.tried) {
            "" => self.error.fmt(out),
            remedy => write!(out, "{} ({remedy})", self.error),
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            IoError::WouldBlock => "not possible at this moment",
            IoError::Reset => "the peer broke the connection",
            IoError::Refused => "the connection was refused, or the address cannot be reached",
            IoError::TimedOut => "the peer does not answer",
            IoError::Exhausted => "no descriptor, port, pipe or kernel memory is left",
            IoError::InUse => "the address is in use",
            IoError::NotLocal => "this is not an address of this host",
            IoError::Denied => "permission denied",
            IoError::NotFound => "there is no such file or directory",
            IoError::Exists => "there is such a file already",
            IoError::Full => "the disk is full, or what this user may have of it",
            IoError::TooLarge => "the file would be larger than this process may make one",
            IoError::Linked => "it leads through links that are not followed",
            IoError::Unsupported => "not supported here",
            IoError::Other(number) => {
                return write!(out, "{}", std::io::Error::from_raw_os_error(*number));
            }
        };
        out.write_str(text)
    }
}

impl std::error::Error for IoError {}

impl From<std::io::Error> for IoError {
    fn from(error: std::io::Error) -> IoError {
        super::linux::translate(&error)
    }
}

/// Why a process could not start, or not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// What it was about, as the operator knows it.
    pub what: String,
    /// What the kernel said, and to what.
    pub failure: Failure,
}

impl StartError {
    /// Makes one of what the kernel said when something was tried for `what`.
    pub fn at(what: impl Into<String>, tried: Tried) -> impl FnOnce(IoError) -> StartError {
        // Not before it is wanted: this stands in event loops too.
        move |error| StartError { what: what.into(), failure: error.when(tried) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::{IoError, StartError, Tried};

    #[test]
    fn an_unforeseen_error_is_named_by_the_system() {
        assert_eq!(IoError::Other(2).to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn the_remedy_is_for_what_was_tried() {
        let cases = [
            (Tried::Listen(80), IoError::Denied, "CAP_NET_BIND_SERVICE"),
            (Tried::Listen(8080), IoError::Denied, "seccomp profile"),
            (Tried::Confine, IoError::Denied, "allow seccomp"),
            (Tried::ChangeUser, IoError::Denied, "CAP_SETUID"),
            (Tried::File, IoError::Denied, "write the file"),
            (Tried::Memory, IoError::Exhausted, "ulimit -v"),
            (Tried::Memory, IoError::TooLarge, "ulimit -f"),
            (Tried::Descriptor, IoError::Exhausted, "LimitNOFILE"),
            (Tried::Accept, IoError::Exhausted, "max_connections"),
            (Tried::Fork, IoError::Exhausted, "TasksMax"),
            (Tried::ListenUnix, IoError::NotFound, "its directory is missing"),
            (Tried::ListenUnix, IoError::Linked, "remove it"),
            (Tried::File, IoError::Linked, "only root may write"),
        ];
        for (tried, error, part) in cases {
            let text = StartError::at("it", tried)(error).to_string();
            assert!(text.starts_with(&format!("it: {error} (")) && text.contains(part), "{text}");
        }
        // There are no ports to be had more of, nor files.
        let text = IoError::Unsupported.when(Tried::Memory).to_string();
        assert!(!text.contains("file system"), "{text}");
    }

    #[test]
    fn where_no_remedy_is_known_none_is_made_up() {
        assert_eq!(IoError::Reset.when(Tried::Talk).to_string(), IoError::Reset.to_string());
    }
}
