//! Decisions, which touch nothing: what they are made from comes in, and a word comes out.
pub mod admit;
pub mod balance;
pub mod explain;
pub mod health;
pub mod identity;
pub mod order;
pub mod reason;
pub mod retry;
pub mod reuse;
pub mod route;
mod siphash;
pub mod slow_start;
pub mod sticky;
