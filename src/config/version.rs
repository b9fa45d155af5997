//! What this version cannot do yet. Such keys are read and checked like all others, and then
//! refused here: a key that is accepted has its effect.

use super::read::{Mistakes, place_of_key};
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
    refuse(config.status_listen.is_some(), "status_listen".into(), "write null");
    refuse(config.admin.socket.is_some(), "admin.socket".into(), "write null");
    refuse(config.admin.listen.is_some(), "admin.listen".into(), "write null");
    refuse(config.admin.token_file.is_some(), "admin.token_file".into(), "write null");
    refuse(config.cache.is_some(), "cache".into(), remove);
    let default = &config.pools[0];
    for (index, pool) in config.pools.iter().enumerate() {
        let place = |key: &str| match index {
            0 => String::from(key),
            _ => place_of_key(&place_of_key("pools", &pool.name), key),
        };
        // What is inherited was refused where it is written.
        let own = |inherited: bool| index == 0 || !inherited;
        let sticky = pool.sticky.is_some() && own(pool.sticky == default.sticky);
        refuse(sticky, place("sticky"), "write false");
        let check = pool.health_check.is_some() && own(pool.health_check == default.health_check);
        refuse(check, place("health_check"), "write false");
        let slow = pool.slow_start.0 > 0 && own(pool.slow_start == default.slow_start);
        refuse(slow, place("slow_start"), "write \"0s\"");
    }
    refused.retain(|(place, _)| !mistakes.lie_within(place));
    for (place, remedy) in refused {
        mistakes.add_at(place, Wrong::new(LATER, remedy));
    }
}
