//! Why a system call failed: only what callers tell apart.
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
    /// The disk cannot do this.
    Unsupported,
    /// Anything else, by its number. See errno(3).
    Other(i32),
}

impl fmt::Display for IoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            IoError::WouldBlock => "not possible at this moment (try again later)",
            IoError::Reset => "the peer broke the connection",
            IoError::Refused => {
                "the connection was refused, or the address cannot be reached \
                 (is the server running, and the address right?)"
            }
            IoError::TimedOut => "the peer does not answer (is a firewall in the way?)",
            IoError::Exhausted => {
                "no descriptor, port, pipe or kernel memory is left \
                 (raise LimitNOFILE, or lower max_connections)"
            }
            IoError::InUse => "the address is in use (stop the other program, or choose another)",
            IoError::NotLocal => {
                "this is not an address of this host \
                 (add \"freebind\": true if it may come later, which only \"listen\" takes)"
            }
            IoError::Denied => {
                "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE, \
                 and files must be writable)"
            }
            IoError::NotFound => "there is no such file or directory",
            IoError::Exists => "there is such a file already",
            IoError::Full => "the disk is full, or what this user may have of it",
            IoError::Unsupported => "this file system cannot do that",
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
    /// What was tried.
    pub what: String,
    /// What the kernel said.
    pub error: IoError,
}

impl StartError {
    /// Makes one of what the kernel said when `what` was tried.
    pub fn at(what: impl Into<String>) -> impl FnOnce(IoError) -> StartError {
        // Not before it is wanted: this stands in event loops too.
        move |error| StartError { what: what.into(), error }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::IoError;

    #[test]
    fn an_unforeseen_error_is_named_by_the_system() {
        assert_eq!(IoError::Other(2).to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn what_ran_out_comes_with_what_to_do() {
        assert!(
            IoError::Exhausted
                .to_string()
                .ends_with("(raise LimitNOFILE, or lower max_connections)")
        );
    }
}
