//! What the operator wrote: `servers.conf` and the options that override it, as a [`Config`] that
//! is valid by construction.
//!
//! The way of a file: [`mod@file`] reads JSON into a tree that keeps order and duplicates, [`check`]
//! makes a [`Config`] of it and collects every mistake with its place. [`dump`] writes a configuration
//! back.

pub mod address;
pub mod check;
pub mod dump;
pub mod endpoint;
mod error;
pub mod file;
mod listen;
pub mod model;
mod pool;
mod process;
mod read;
mod route;
pub mod statuses;
pub mod text;
mod tolerance;
pub mod units;

pub use address::TrustedProxy;
pub use check::Overrides;
pub use endpoint::{Endpoint, UnixPath};
pub use error::{ConfigError, Wrong};
pub use listen::{overlap, overlapping};
pub use model::{
    AccessLog, Backend, Balance, Cache, Config, DEFAULT_MAX_FIELDS, ForwardFields, Listen,
    MAX_HEAD_LIMIT, MOST_RETRIES, Multiplex, Pool, RequestId, Route, Sticky, Timeouts, Workers,
};
pub use pool::{NAME_REMEDY, check_interval, check_url, is_name as is_pool_name};
pub use statuses::Statuses;
pub use tolerance::{Tolerance, Tolerances};

/// Reads a whole configuration file, with `overrides` in place of what the file says.
///
/// Fails with every mistake of the file at once, in the file's order; a syntax error comes alone.
pub fn load(text: &str, overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    let tree = file::parse(text).map_err(|error| vec![error])?;
    let mut mistakes = read::Mistakes::default();
    let config = check::config(&tree, overrides, &mut mistakes);
    let errors = mistakes.in_order(&tree);
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}
