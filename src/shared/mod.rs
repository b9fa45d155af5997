//! What the processes share: one array of atomic cells, mapped before they are forked.
//!
//! ```text
//! settings, which master and control alone write; workers cannot
//!   header   what lies where; the service's own numbers; clients of other generations
//!   pools    name, members of the file, who waits in other generations
//!   backends address, weight, cap, what the operator wants, lease, checks, load of other generations
//! live cells, which all write
//!   header   clients, and who waits to take one
//!   pools    rotation, epoch, and which workers wait for a backend below its limit
//!   backends marks, since when, load
//!   rows     one for each worker: what it holds, and its counters; two more for those before it
//! ```
//!
//! There are no locks. A row is written by its worker alone, with plain loads and stores, and lies
//! in cache lines of its own. Settings are written by one process at a time. Rotation, loads, marks
//! and waiting belong to all and change by compare and exchange.
//!
//! **A worker may have been taken over** by whom it serves. So settings are mapped read-only in workers
//! ([`Shared::protect`](crate::sys::memory::Shared::protect)), and what is in live cells is judged like
//! what comes by a network: whoever reads it copes with any number.
//!
//! **Epochs.** Whoever changes which backends of a pool may be asked, or how, bumps the pool's epoch
//! afterwards. A worker that sees another epoch than it knows, before a pick or at a tick, reads the
//! members anew. So each change is seen at the next pick.
//!
//! **Waiting.** Who finds no place (no client slot, no backend below its cap) sets its worker's bit
//! and looks once more before it sleeps; who frees a place does so before it looks for bits. Bits and
//! loads are changed and read sequentially consistent, so of two that do this at once at least one
//! sees the other, and no wake-up is lost. See [`wakers`].
//!
//! **A slot is used again** only when nobody can mean the backend that was there. It is marked as
//! leaving first. A worker raises the load, and only then looks whether the backend is leaving, or
//! another one, and if so gives its place back; the control process marks first, and only then looks
//! whether the load is zero: again one of them sees the other. Connections count as long as
//! they are idle, in each worker's row, and are covered by the load while they are in use: a worker
//! counts one as idle before it lowers the load, and raises the load before it takes one. So a load
//! that is read as zero, and after it no idle connection in any row, means that none is left.

pub mod backends;
mod claims;
pub mod counters;
pub mod diary;
mod elsewhere;
pub mod fleet;
mod health;
mod histogram;
pub mod history;
pub mod ipc;
mod layout;
mod name_cells;
mod name_records;
pub mod name_report;
mod place_times;
mod pools;
mod registry;
mod reload_report;
pub mod report;
mod rotations;
mod segment;
pub mod snapshot;
mod snapshot_reader;
mod states;
pub mod tally;
mod totals;
pub mod wakers;
mod wishes;
mod withdrawal;

pub use backends::{BackendCells, LastCheck, NameId, Registration, Source};
pub use claims::WaitFor;
pub use counters::{
    BackendCounter, BackendGauge, Class, Counter, PoolCounter, PoolGauge, WorkerCells,
};
pub use elsewhere::{Holdings, Most};
pub use histogram::Histogram;
pub use layout::{BackendId, Layout, PoolId};
pub use name_cells::NameStanding;
pub use name_records::NameRecord;
pub use place_times::PlaceTimes;
pub use reload_report::ReloadReport;
pub use rotations::Rotations;
pub use segment::{Segment, ServiceCell};
pub use snapshot_reader::SnapshotReader;
pub use wishes::{Held, LeftBackend, RegistryProgress, Wish};
pub use withdrawal::Withdrawal;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod threads_tests;
