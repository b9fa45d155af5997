//! Connections: a socket with its two rings and what is known of its readiness.

pub mod conn;
pub mod own;
pub mod unix;

pub use conn::{Conn, End};
