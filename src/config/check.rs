//! From the tree to a [`Config`]: the keys of the top level, and what concerns several of them.

use crate::mem::time::Millis;

use super::endpoint::Endpoint;
use super::error::Wrong;
use super::file::Value;
use super::model::{Backend, Config, Listen, Pool, Workers};
use super::read::{Mistakes, Node};
use super::text::quote;
use super::{pool, process, route};

/// The keys of the top level that are not pool keys.
pub const PROCESS_KEYS: [&str; 19] = [
    "listen",
    "workers",
    "max_connections",
    "max_fields",
    "buffer_size",
    "pipeline",
    "client_requests",
    "trusted_proxies",
    "forward",
    "request_id",
    "via",
    "access_log",
    "status_listen",
    "admin",
    "cache",
    "pools",
    "routes",
    "pool_header",
    "timeouts",
];

/// What the command line says in the file's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Replaces `listen` unless empty.
    pub listen: Vec<Listen>,
    /// Replaces `backend_servers` unless empty.
    pub backends: Vec<Endpoint>,
    /// Replaces `workers`.
    pub workers: Option<Workers>,
    /// Replaces `health_check.path`, and `health_check.host` if there is one.
    pub health_url: Option<(Option<String>, String)>,
    /// Replaces `health_check.interval`.
    pub health_interval: Option<Millis>,
}

/// Reads the whole tree, with `overrides` in place of what it says. Where there are mistakes
/// the defaults stand in the result.
pub fn config(root: &Value, overrides: &Overrides, mistakes: &mut Mistakes) -> Config {
    let root = Node::root(root);
    root.find_duplicates(mistakes);
    let mut config = Config::default();
    let (mut pools, mut routes) = (None, None);
    for (key, node) in root.entries(mistakes) {
        match key {
            "pools" => pools = Some(node),
            "routes" => routes = Some(node),
            "timeouts" => process::timeouts(&mut config.timeouts, &node, mistakes),
            _ if process::set(&mut config, key, &node, mistakes) => (),
            _ if pool::set(&mut config.pools[0], key, &node, mistakes) => (),
            _ => add_unknown(key, &node, mistakes),
        }
    }
    apply(overrides, &mut config);
    // Pools inherit from the finished default, and routes name pools: hence the order.
    if let Some(node) = pools {
        further_pools(&mut config, &node, mistakes);
    }
    if let Some(node) = routes {
        let names: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        config.routes = route::routes(&node, &names, mistakes);
    }
    if let Some(socket) = config.admin.socket
        && config.listen.iter().any(|listen| listen.address == socket.into())
    {
        let fault = format!("{} is in \"listen\" too", quote(socket.as_str()));
        let wrong = Wrong::new(fault, "choose another path for one of them");
        mistakes.add_at(String::from("admin.socket"), wrong);
    }
    config
}

fn apply(overrides: &Overrides, config: &mut Config) {
    if !overrides.listen.is_empty() {
        config.listen = overrides.listen.clone();
    }
    if !overrides.backends.is_empty() {
        config.pools[0].backends = overrides.backends.iter().copied().map(Backend::at).collect();
    }
    if let Some(workers) = overrides.workers {
        config.workers = workers;
    }
    // Who asks for a check has one, whatever the file says.
    if let Some((host, path)) = &overrides.health_url {
        let check = config.pools[0].health_check.get_or_insert_default();
        check.path = Some(path.clone());
        if host.is_some() {
            check.host = host.clone();
        }
    }
    if let Some(interval) = overrides.health_interval {
        config.pools[0].health_check.get_or_insert_default().interval = interval;
    }
}

fn add_unknown(key: &str, node: &Node, mistakes: &mut Mistakes) {
    if process::TIMEOUT_KEYS.contains(&key) {
        let wrong = Wrong::new("unknown key", format!("did you mean \"timeouts.{key}\"?"));
        return mistakes.add(node, wrong);
    }
    let mut known = PROCESS_KEYS.to_vec();
    known.extend(pool::KEYS);
    mistakes.add_unknown(node, key, &known);
}

fn further_pools(config: &mut Config, node: &Node, mistakes: &mut Mistakes) {
    for (name, node) in node.entries(mistakes) {
        if name == "default" {
            let remedy = "its keys stand at the top level";
            mistakes.add(&node, Wrong::new("the name \"default\" is taken", remedy));
        } else if !pool::is_name(name) {
            mistakes.add(&node, Wrong::new("not a name for a pool", pool::NAME_REMEDY));
        }
        let mut pool = Pool { name: name.to_owned(), ..config.pools[0].clone() };
        for (key, node) in node.entries(mistakes) {
            if pool::set(&mut pool, key, &node, mistakes) {
                continue;
            }
            if PROCESS_KEYS.contains(&key) {
                let wrong = Wrong::new("not a key of a pool", "move it to the top level");
                mistakes.add(&node, wrong);
            } else {
                mistakes.add_unknown(&node, key, &pool::KEYS);
            }
        }
        config.pools.push(pool);
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "mistakes_tests.rs"]
mod mistakes_tests;
