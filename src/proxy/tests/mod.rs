//! The data plane on the simulated kernel: scenarios, whose names are sentences about the program,
//! and random worlds, each from a seed.

mod invariants;
mod message;
mod scenarios;
mod scene;
mod service;
mod worlds;
