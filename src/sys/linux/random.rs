//! Random bytes.
use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes` with random bytes that nobody can guess.
///
/// Panics if the kernel has none to give, which it always has once it has booted.
pub fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => panic!("the kernel gives no random bytes: {error}"),
        }
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
