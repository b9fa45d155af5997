//! The process that starts the others, watches them and replaces them. It carries no traffic.

mod birth;
pub mod cpus;
mod facts;
mod files;
mod generation;
pub mod handover;
mod ledger;
pub mod listeners;
pub mod notify;
pub mod reload;
mod service;
mod start;
pub mod trial;

use crate::sys::StartError;
pub use start::{go_on, start};
