//! How a worker fares with a slow disk: it does without for a while.

use crate::sys::clock;

use super::in_memory::DiskRead;
use super::recorder::NotRecorded;
use super::store::{Look, Store};

impl Store {
    /// Whether anything may be stored now.
    pub(super) fn check_pace(&mut self) -> Result<(), NotRecorded> {
        if self.storing.may_use(clock::now()) {
            return Ok(());
        }
        self.left_out += 1;
        Err(NotRecorded::SlowDisk)
    }

    /// Does what is done to store something, which counts as long as it takes.
    pub(super) fn timed<T>(&mut self, act: impl FnOnce(&mut Store) -> T) -> T {
        let begun = clock::now();
        let done = act(self);
        self.storing.took(begun, clock::now(), || self.cpu_queue.waited());
        done
    }

    /// Whether what is not at hand may be looked for now. Who waits for that anyhow always may.
    pub(super) fn may_look(&mut self, look: Look) -> bool {
        let may = look.disk == DiskRead::Waits || self.finding.may_use(look.now);
        self.left_out += u64::from(!may);
        may
    }

    /// Whether the disk was slow when it was used last.
    pub fn is_disk_slow(&self) -> bool {
        self.storing.is_slow() || self.finding.is_slow()
    }

    /// How often it was left alone for that since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}
