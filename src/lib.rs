//! httplb: an HTTP/1.1 load balancer on raw system calls, one event loop in one process.
//!
//! This is the map: every module in layer order. A module imports only from layers below its own;
//! `tests/tidy.rs` checks it.

pub mod cli;

pub mod worker;

pub mod proxy;

pub mod net;

pub mod sys;

pub mod policy;

pub mod http;

pub mod config;

pub mod mem;
