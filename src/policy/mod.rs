//! Decisions, which touch nothing: what they are made from comes in, and a word comes out.
pub mod admit;
pub mod balance;
pub mod cache_key;
pub mod conditional;
pub mod freshness;
pub mod health;
pub mod identity;
pub mod invalidation;
pub mod order;
pub mod ranges;
pub mod retry;
pub mod reuse;
pub mod route;
pub mod siphash;
pub mod storable;
pub mod vary;
