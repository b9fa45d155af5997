//! Random bytes.
use super::log::{self, Level};
use crate::sys::IoError;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;

/// /dev/urandom, once it was needed: a process that is confined could not open it any more.
static DEVICE: OnceLock<File> = OnceLock::new();

/// Finds out where random bytes come from. To be called before this process, or one that it forks, is
/// confined.
pub fn prepare() {
    fill(&mut [0]);
}

/// Fills `bytes` with random bytes that nobody can guess.
///
/// Where a filter refuses getrandom(2) they come from /dev/urandom. Without either the process ends
/// with a message and status 1: what others can guess must not be used instead.
pub fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return fill_from_device(&mut bytes[filled..], error.into()),
        }
    }
}

fn fill_from_device(bytes: &mut [u8], refused: IoError) {
    let opened = match DEVICE.get() {
        Some(device) => Ok(device),
        None => File::open("/dev/urandom").map(|device| DEVICE.get_or_init(|| device)),
    };
    if opened.and_then(|mut device| device.read_exact(bytes)).is_err() {
        log::write(
            Level::Error,
            format_args!(
                "there are no random bytes: getrandom: {refused}, and /dev/urandom cannot be read (allow \
                 getrandom in the seccomp profile)"
            ),
        );
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_of_a_long_slice_is_filled() {
        let mut bytes = [0; 1024];
        super::fill(&mut bytes);
        assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
}
