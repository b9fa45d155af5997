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
mod image;
pub mod inherited;
pub mod listeners;
mod log_files;
pub mod notify;
pub mod preflight;
pub mod record;
pub mod reload;
mod restart_limit;
mod shutdown;
mod start;
mod state;
mod supervisor;
mod takeover;

use crate::net;
pub use start::{resume, start};

/// What of a valid configuration is hardly meant, each with its place and remedy.
pub fn doubts(config: &crate::config::Config) -> Vec<String> {
    let net = net::own::doubts(config).into_iter().chain(net::unix::doubts(config));
    net.chain(cache_shm::doubts(config)).collect()
}
