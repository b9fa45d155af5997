//! The process that checks health and answers operators.

pub mod admin;
pub mod answer;
pub mod asked;
pub mod checks;
pub mod commands;
pub mod intake;
pub mod listing;
pub mod look;
pub mod metrics;
pub mod page;
pub mod probe;
pub mod view;
