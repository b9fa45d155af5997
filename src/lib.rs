//! httplb: an HTTP/1.1 load balancer.
pub mod cli;

pub mod worker;
pub mod proxy;
pub mod net;
pub mod sys;
pub mod policy;
pub mod http;
pub mod config;
pub mod mem;
