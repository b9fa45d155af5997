//! How an image of the program leaves the service to the next one, which takes its place in the same
//! process: a record in a file in memory, which [`HANDOVER`](super::environment::HANDOVER) names, and
//! descriptors, which the record names by their numbers.
//!
//! Here are numbers and bytes only. What is in the record, `record.rs` knows, and of each part its owner.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::sys::log::{self, Level};
use crate::sys::process::{keep_over_exec, take_inherited};
use crate::sys::{IoError, StartError, Tried, memory};

/// A descriptor in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FdNumber(i32);

impl FdNumber {
    /// In place of one that there is not.
    pub const NONE: FdNumber = FdNumber(-1);

    /// Takes the descriptor, once. Fails, saying so, where it was not handed over.
    pub fn take(self) -> Result<OwnedFd, String> {
        let missing = || format!("descriptor {} was not handed over", self.0);
        take_inherited(self.0).ok_or_else(missing)
    }
}

/// Copies of descriptors that the next image has too. As copies, they are gone if there is none.
#[derive(Debug, Default)]
pub struct ExportedFds {
    copies: Vec<OwnedFd>,
}

impl ExportedFds {
    /// Lets the next image have a descriptor, and says under which number.
    pub fn keep(&mut self, descriptor: impl AsFd) -> Result<FdNumber, IoError> {
        let copy = descriptor.as_fd().try_clone_to_owned().map_err(|_| IoError::Exhausted)?;
        keep_over_exec(copy.as_fd())?;
        let number = FdNumber(copy.as_raw_fd());
        self.copies.push(copy);
        Ok(number)
    }

    /// Lets the next image have a record, in a file. The number of its descriptor, for the environment.
    pub fn keep_record(&mut self, bytes: &[u8]) -> Result<i32, IoError> {
        let file = memory::keep(bytes)?;
        self.keep(file).map(|number| number.0)
    }
}

/// The record in a file.
pub fn read(file: &OwnedFd) -> Result<Vec<u8>, String> {
    memory::recall(file.as_fd()).map_err(|error| error.to_string())
}

/// The image before has told something wrong: says what, and gives the error to end with.
pub fn broken(why: String) -> StartError {
    log::write(Level::Error, format_args!("handover: {why}"));
    StartError::at("handover", Tried::Talk)(IoError::Reset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_is_kept_is_taken_once() {
        let mut exported = ExportedFds::default();
        let number = exported.keep(File::open("/dev/null").unwrap()).unwrap();
        let record = exported.keep_record(b"text").unwrap();
        // The next image does not own the copies.
        std::mem::forget(exported);
        assert!(number.take().is_ok());
        let error = number.take().unwrap_err();
        assert_eq!(error, format!("descriptor {} was not handed over", number.0));
        assert_eq!(read(&FdNumber(record).take().unwrap()).unwrap(), b"text");
    }

    #[test]
    fn what_is_no_descriptor_or_not_handed_over_cannot_be_taken() {
        let own = File::open("/dev/null").unwrap();
        for number in [FdNumber(own.as_raw_fd()), FdNumber::NONE, FdNumber(1), FdNumber(i32::MAX)] {
            assert!(number.take().is_err(), "{number:?}");
        }
    }
}
