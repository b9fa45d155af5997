//! Signals. See `linux::Signals`.
use super::descriptor::Descriptor;
use super::{Signal, kernel};
use crate::sys::IoError;

/// The signals that the test sends: `world::signal`.
pub struct Signals {
    _descriptor: Descriptor,
}

#[expect(missing_docs, reason = "as in linux::Signals")]
impl Signals {
    pub fn block_and_open() -> Result<Signals, IoError> {
        Ok(Signals { _descriptor: Descriptor::take()? })
    }

    pub fn next(&self) -> Option<Signal> {
        kernel::with(|kernel| {
            let some = !kernel.signals.is_empty();
            some.then(|| kernel.signals.remove(0))
        })
    }
}
