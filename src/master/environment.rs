//! The variables of the environment that are for one image of the program alone, and the environment for
//! what it executes.

use std::ffi::{OsStr, OsString};

/// Names the file of the handover by its descriptor. Each image consumes it.
pub const HANDOVER: &str = "HTTPLB_HANDOVER";
/// Asks `-t` to say whether it could take over: see `preflight`.
pub const TRIAL: &str = "HTTPLB_TRIAL";
/// Sockets that systemd passes: sd_listen_fds(3).
pub const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Whether a variable is for this image alone, and not for what it executes.
pub fn is_consumed(name: &OsStr) -> bool {
    LISTEN.iter().chain(&[HANDOVER, TRIAL]).any(|consumed| name == *consumed)
}

/// The environment for what this process executes.
pub fn for_others() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !is_consumed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_this_image_alone_is_not_passed_on() {
        for name in ["HTTPLB_HANDOVER", "HTTPLB_TRIAL", "LISTEN_FDS", "LISTEN_PID"] {
            assert!(is_consumed(name.as_ref()), "{name}");
        }
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "PATH"] {
            assert!(!is_consumed(name.as_ref()), "{name}");
        }
    }
}
