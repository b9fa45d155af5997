//! What the operator wrote.
pub mod check;
pub mod file;
pub mod units;
