//! The process that starts the others, watches them and replaces them. It carries no traffic.

mod admin_sockets;
mod backend_state;
mod cache_shm;
mod child_init;
pub mod cpus;
mod environment;
#[cfg(test)]
mod forged_tests;
mod generation;
mod handover;
mod helpers;
mod image;
pub mod inherited;
pub mod listeners;
mod log_files;
mod memory_limit;
pub mod notify;
pub mod preflight;
pub mod record;
pub mod reload;
mod restart_limit;
mod saved;
mod shutdown;
mod start;
mod state;
mod supervisor;
mod takeover;
mod unit;
pub mod warnings;

pub use start::{resume, start};
