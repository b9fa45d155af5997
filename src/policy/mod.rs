//! Decisions, which touch nothing.
pub mod balance;
pub mod health;
pub mod identity;
pub mod order;
pub mod retry;
pub mod reuse;
