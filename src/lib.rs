//! httplb: an HTTP/1.1 load balancer.
pub mod config;
pub mod http;
pub mod mem;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod sys;
pub mod worker;
