//! Whether clients are to be sent here: for those who spread them over several services, such as
//! keepalived, a BGP daemon or a cloud's balancer.

use crate::config::is_pool_name;
use crate::config::text::quote;
use crate::config::units;
use crate::policy::health::Availability;
use crate::shared::snapshot::Snapshot;

use super::answer::ApiResponse;
use super::query::{decoded, parameters, unknown, wrong};

/// Backends of a pool that must be up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The pool's name. There need not be such a pool: then none of it is up.
    pub pool: String,
    /// How many, at least 1.
    pub count: usize,
}

/// What `up=POOL:N`, any number of times, asks for.
pub fn needed(query: &str) -> Result<Vec<Needed>, ApiResponse> {
    let mut all = Vec::new();
    for (name, value) in parameters(query) {
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name != "up" {
            return Err(unknown(&name, &["up"]));
        }
        let one = value.rsplit_once(':').and_then(|(pool, count)| {
            let count = units::whole(count).filter(|count| (1..=1024).contains(count))?;
            Some(Needed { pool: pool.to_owned(), count: count as usize })
        });
        let remedy = "write up=POOL:N, where POOL may be a pool's name and N is 1 to 1024";
        let malformed = || wrong(format!("up: {} is not right ({remedy})", quote(&value)));
        all.push(one.filter(|one| is_pool_name(&one.pool)).ok_or_else(malformed)?);
    }
    Ok(all)
}

/// 200 if clients are to be sent here, and else why not.
pub fn answer(snapshot: &Snapshot<()>, needed: &[Needed]) -> ApiResponse {
    if snapshot.service.is_draining {
        return ApiResponse::line(503, "draining");
    }
    if snapshot.service.is_withdrawn {
        return ApiResponse::line(503, "withdrawn");
    }
    let lacking = needed.iter().filter_map(|Needed { pool, count }| {
        let up = snapshot.pool(pool).map_or(0, |pool| pool.count(Availability::Up));
        (up < *count).then(|| format!("{pool}: {up} of {count} up"))
    });
    let lacking: Vec<String> = lacking.collect();
    if lacking.is_empty() {
        ApiResponse::line(200, "ok")
    } else {
        ApiResponse::line(503, &lacking.join(", "))
    }
}
