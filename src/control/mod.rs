//! The process that checks health and answers operators.

pub mod listing;
pub mod metrics;
pub mod page;
pub mod view;
