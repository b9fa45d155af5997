//! The real binary on real sockets: a module for each thing that it does. One crate, so that what they share is
//! compiled and linked once; `cargo test --test it -- reload::` runs one module.

mod common;

mod access_log;
mod admin;
mod balancing;
mod bodies;
mod cache;
mod cache_survival;
mod cache_waiting;
mod command_line;
mod documents;
mod endurance;
mod explained;
mod failover;
mod framing;
mod groups;
mod health_checks;
mod held_up;
mod identity;
mod leaving;
mod limits;
mod messages;
mod metrics;
mod multiplex;
mod pipelining;
mod processes;
mod proxy_protocol;
mod real_peers;
mod registration;
mod reload;
mod reload_faults;
mod reload_limits;
mod service_manager;
mod sharing;
mod signals;
mod slow_start;
mod start;
mod status;
mod sticky;
mod strictness;
mod strictness_answers;
mod strictness_passing;
mod tolerated;
mod tunnels;
mod unix;
mod unix_listeners;
#[path = "../costs/watched.rs"]
mod watched;
