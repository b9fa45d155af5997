//! What the operator wrote: `servers.conf` and the options that override it, as a [`Config`] that
//! is valid by construction.
//!
//! The way of a file: [`json`] reads its text into a tree that keeps order and duplicates, and knows
//! the line of each value; [`check`] makes a [`Config`] of the tree and collects every mistake with its
//! place. [`dump`] writes a configuration back.

use std::path::Path;

pub mod address;
pub mod check;
mod dictionary;
pub mod dump;
pub mod endpoint;
mod error;
pub mod file;
pub mod json;
mod keys;
mod lines;
mod listen;
pub mod model;
pub mod named;
mod other_formats;
mod pool;
mod process;
mod read;
mod registry;
mod request_limit;
mod route;
mod scalars;
pub mod statuses;
pub mod text;
mod tolerance;
pub mod units;
mod warnings;
mod words_by_place;

pub use address::TrustedProxy;
pub use check::Overrides;
pub use endpoint::{Endpoint, UnixPath};
pub use error::{ConfigError, Subject, Warning, Wrong};
pub use lines::Lines;
pub use listen::{overlap, overlapping};
pub use model::{
    AccessLog, Backend, Balance, Cache, Config, DEFAULT_MAX_FIELDS, ErrorPageFile, ForwardFields,
    Listen, MAX_HEAD_LIMIT, MOST_RETRIES, Multiplex, Pool, RequestId, Route, RouteTarget, Sticky,
    Timeouts, Workers,
};
pub use named::{Family, Lookup, NameTimes, NamedServer};
pub use pool::{NAME_REMEDY, check_interval, check_url, is_name as is_pool_name};
pub use registry::Registry;
pub use request_limit::{AUTO_CAP, MOST_REQUESTS, ShownCap, WrittenCap};
pub use statuses::Statuses;
pub use tolerance::{Tolerance, Tolerances};

/// Where the configuration is unless another file is named.
pub const DEFAULT_FILE: &str = "/etc/httplb/servers.conf";

/// Bytes of the largest error page.
const LARGEST_ERROR_PAGE: u64 = 64 << 10;

/// A file that was read.
#[derive(Debug)]
pub struct ConfigFile {
    /// What it configures, with what the command line says in its place.
    pub config: Config,
    /// Where it says what.
    pub lines: Lines,
}

impl ConfigFile {
    /// What of it is valid and hardly meant, as far as the file alone tells, and what `others` have found;
    /// in the order of its lines.
    pub fn warnings(&self, others: Vec<Warning>) -> Vec<ConfigError> {
        let mut warnings = warnings::all(&self.config, &self.lines);
        warnings.extend(others);
        let mut located: Vec<ConfigError> =
            warnings.into_iter().filter_map(|warning| self.locate(warning)).collect();
        located.sort_by_key(|warning| warning.position);
        located
    }

    /// With its position; none if the same is told elsewhere.
    fn locate(&self, warning: Warning) -> Option<ConfigError> {
        let place = match warning.subject {
            Subject::Key(place) => place,
            Subject::Backend { pool: 0, backend } => {
                self.lines.place_of_backend("backend_servers", backend)
            }
            Subject::Backend { pool, backend } => {
                let pool = lines::place_of_key("pools", &self.config.pools.get(pool)?.name);
                let list = lines::place_of_key(&pool, "backend_servers");
                // Those that a pool inherits are the same that "default" has.
                self.lines.have(&list).then(|| self.lines.place_of_backend(&list, backend))?
            }
        };
        Some(self.lines.locate(&place, warning.wrong))
    }
}

/// Reads a whole configuration file, with `overrides` in place of what the file says.
///
/// Fails with every mistake of the file at once, in the order of its lines; where it cannot be read to
/// its end, with what is wrong until there. The files that it names are not read.
pub fn load(text: &str, overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    load_with(text, overrides, &|_, _| Ok(String::new())).map(|file| file.config)
}

/// The same with the files that it names, each of at most so many bytes, as `read_file` reads them.
pub fn load_with(
    text: &str,
    overrides: &Overrides,
    read_file: &dyn Fn(&Path, u64) -> Result<String, Wrong>,
) -> Result<ConfigFile, Vec<ConfigError>> {
    let mut source = json::read(text);
    if !source.is_whole {
        source.mistakes.sort_by_key(|mistake| mistake.position);
        return Err(source.mistakes);
    }
    let mut mistakes = read::Mistakes::default();
    let mut config = check::config(&source.tree, overrides, &mut mistakes);
    for page in &mut config.error_pages {
        match read_file(&page.path, LARGEST_ERROR_PAGE) {
            Ok(html) => page.html = html,
            Err(wrong) => mistakes.add_at(format!("error_pages.{}", page.status), wrong),
        }
    }
    let errors = mistakes.in_order(&mut source);
    for key in overrides.keys() {
        source.lines.override_key(key);
    }
    let lines = source.lines;
    if errors.is_empty() { Ok(ConfigFile { config, lines }) } else { Err(errors) }
}
