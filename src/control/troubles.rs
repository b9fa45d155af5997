//! Tells the operator when what is asked of a backend, or of a pool, begins to fail, and when that ends:
//! a line for each change, none for each request.

use std::collections::HashMap;

use crate::policy::reason::Reason;
use crate::policy::trouble::{Outcomes, Trouble};
use crate::shared::history::{HistoryKey, Window};
use crate::shared::tally::Tally;
use crate::shared::{Class, Segment};
use crate::sys::log::{self, Level};

use super::sampler::{Sampler, key_of_backend};
use crate::mem::time::Micros;

/// Failures of which no backend is to blame, for none was asked.
const OF_POOLS: [Reason; 2] = [Reason::DestinationUnavailable, Reason::ConnectionLimit];

/// What is in trouble.
#[derive(Default)]
pub struct Troubles {
    failing: HashMap<HistoryKey, Trouble>,
}

impl Troubles {
    /// Looks at all pools and backends, about once a second.
    pub fn check(&mut self, segment: Segment, sampler: &Sampler, now: Micros) {
        let before = std::mem::take(&mut self.failing);
        let mut look = |key: HistoryKey, who: &str, read: fn(&Tally) -> Failing| {
            let was = before.get(&key).copied().unwrap_or_default();
            if was == Trouble::None && !sampler.has_failed(key, now) {
                return;
            }
            let lately = sampler.lately(key, now);
            let of = |window| read(&lately.of(window).counts);
            let (ten_seconds, minute) = (of(Window::TenSeconds), of(Window::Minute));
            let is = was.after(ten_seconds.outcomes, minute.outcomes);
            match (was, is) {
                // What it was judged by: a minute of which most was well would hide it.
                (Trouble::None, Trouble::Failing) if ten_seconds.outcomes.are_enough() => {
                    ten_seconds.tell(who);
                }
                (Trouble::None, Trouble::Failing) => minute.tell(who),
                (Trouble::Failing, Trouble::None) => {
                    log::write(Level::Notice, format_args!("{who}: its requests succeed again"));
                }
                (Trouble::None, Trouble::None) | (Trouble::Failing, Trouble::Failing) => (),
            }
            if is != Trouble::None {
                self.failing.insert(key, is);
            }
        };
        for pool in segment.pools() {
            let name = segment.pool(pool).name();
            look(HistoryKey::of_pool(name.as_str()), &format!("pool {name}"), of_pool);
            for slot in segment.members(pool) {
                let server = segment.backend(slot).address().canonical();
                let key = key_of_backend(name.as_str(), server);
                look(key, &format!("backend {server} of pool {name}"), of_backend);
            }
        }
    }
}

/// What failed in some time, and why most of it did.
struct Failing {
    outcomes: Outcomes,
    why: &'static str,
}

impl Failing {
    fn tell(&self, who: &str) {
        let Outcomes { ended, failed } = self.outcomes;
        log::write_about(
            Level::Warning,
            &format!("{who}: "),
            format_args!("{failed} of its last {ended} requests failed: {}", self.why),
        );
    }
}

fn of_backend(counts: &Tally) -> Failing {
    let responses = counts.responses();
    let errors = counts.errors_total();
    let cut = counts.errors(Reason::ResponseIncomplete);
    let ended = responses.iter().sum::<u64>() + errors - cut;
    let failed = counts.failures().min(ended);
    let reasons = Reason::ALL.map(|reason| (counts.errors(reason), reason.in_words()));
    let refused =
        (responses[Class::ServerError as usize], "responses with a status of 500 or above");
    let most = reasons.into_iter().chain([refused]).max_by_key(|(count, _)| *count);
    Failing { outcomes: Outcomes { ended, failed }, why: most.map_or("", |(_, why)| why) }
}

fn of_pool(counts: &Tally) -> Failing {
    let ended = counts.responses().iter().sum::<u64>();
    let reasons = OF_POOLS.map(|reason| (counts.errors(reason), reason.in_words()));
    let failed = reasons.iter().map(|(count, _)| count).sum::<u64>().min(ended);
    let most = reasons.into_iter().max_by_key(|(count, _)| *count);
    Failing { outcomes: Outcomes { ended, failed }, why: most.map_or("", |(_, why)| why) }
}
