//! What one generation tells the next of names.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::mem::time::{Clocks, Micros};
use crate::policy::naming::NameStatus;

use super::backends::NameId;
use super::name_cells::NameStanding;
use super::segment::Segment;

/// A name as the next image of the program is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The name of its pool.
    pool: String,
    /// The [`Lookup`](crate::config::Lookup), as a line.
    lookup: String,
    /// The place of its [`NameStatus`] among the results.
    status: usize,
    since: Micros,
    /// By the monotonic clock, and since the epoch.
    found: Option<(Micros, Micros)>,
    lookups: [u64; NameStatus::RESULTS.len()],
}

impl NameRecord {
    fn standing(&self) -> Option<NameStanding> {
        Some(NameStanding {
            status: *NameStatus::RESULTS.get(self.status)?,
            since: self.since,
            found: self.found.map(|(clock, wall)| Clocks { clock, wall }),
        })
    }
}

impl Segment {
    /// All names that were looked up, for the next image of the program.
    pub fn collect_names(&self, config: &Config) -> Vec<NameRecord> {
        let names = config.named().enumerate().filter_map(|(place, (pool, named))| {
            let cells = self.name(NameId(place));
            let standing = cells.standing()?;
            Some(NameRecord {
                pool: config.pools[pool].name.clone(),
                lookup: named.lookup.to_string(),
                status: NameStatus::RESULTS.iter().position(|one| *one == standing.status)?,
                since: standing.since,
                found: standing.found.map(|found| (found.clock, found.wall)),
                lookups: cells.lookups(),
            })
        });
        names.collect()
    }

    /// Takes over what was counted of the names that are still in `config`, and how those stand that were
    /// not looked up here yet.
    pub fn restore_names(&self, config: &Config, records: &[NameRecord]) {
        for (place, (pool, named)) in config.named().enumerate() {
            let (pool, lookup) = (&config.pools[pool].name, named.lookup.to_string());
            let is_it = |one: &&NameRecord| one.pool == *pool && one.lookup == lookup;
            let Some(record) = records.iter().find(is_it) else { continue };
            let cells = self.name(NameId(place));
            if let (None, Some(standing)) = (cells.standing(), record.standing()) {
                cells.stand(standing);
            }
            cells.set_before(record.lookups);
        }
    }
}
