//! Decisions, which touch nothing: what they are made from comes in, and a word comes out.
pub mod balance;
pub mod freshness;
pub mod health;
pub mod identity;
pub mod order;
pub mod retry;
pub mod reuse;
