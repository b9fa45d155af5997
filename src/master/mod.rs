//! The process that starts the others, watches them and replaces them. It carries no traffic.

mod birth;
pub mod cpus;
mod doors;
mod facts;
mod files;
#[cfg(test)]
mod forged_tests;
mod generation;
pub mod handover;
mod ledger;
pub mod listeners;
pub mod notify;
pub mod reload;
mod service;
mod start;
mod stop;
mod stored;
mod succession;
pub mod trial;

use crate::sys::StartError;
pub use start::{go_on, start};

/// What of a valid configuration is hardly meant, each with its place and remedy.
pub fn doubts(config: &crate::config::Config) -> Vec<String> {
    crate::net::own::doubts(config).into_iter().chain(stored::doubts(config)).collect()
}
