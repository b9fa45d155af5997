//! What this version cannot do yet. Such keys are read and checked like all others, and then
//! refused here: a key that is accepted has its effect.

use super::read::Mistakes;
use super::{Config, Wrong};

/// What is wrong with a feature of a later version.
pub const LATER: &str = "not in this version";

/// Refuses each feature that is switched on but not built yet, unless its keys have mistakes of
/// their own. When one has been built, its line goes.
pub fn refuse(config: &Config, mistakes: &mut Mistakes) {
    let mut refused: Vec<(String, &str)> = Vec::new();
    let mut refuse = |on: bool, place: String, remedy: &'static str| {
        if on {
            refused.push((place, remedy));
        }
    };
    let remove = "remove it";
    refuse(config.cache.is_some(), "cache".into(), remove);
    refused.retain(|(place, _)| !mistakes.lie_within(place));
    for (place, remedy) in refused {
        mistakes.add_at(place, Wrong::new(LATER, remedy));
    }
}
