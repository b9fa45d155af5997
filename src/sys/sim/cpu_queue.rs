//! How long the program has waited for a processor: as the test says (`Faults::cpu_slow`).
use super::kernel;
use crate::mem::time::Micros;

/// See `linux::CpuQueue`.
pub struct CpuQueue;

impl CpuQueue {
    /// See `linux::CpuQueue`.
    pub fn open() -> CpuQueue {
        CpuQueue
    }

    /// See `linux::CpuQueue`.
    pub fn waited(&self) -> Micros {
        kernel::with(|kernel| kernel.queued)
    }
}
