//! From the tree to a [`Config`]: the keys of the top level, and what concerns several of them.

use crate::mem::time::Millis;

use super::endpoint::Endpoint;
use super::error::Wrong;
use super::file::Value;
use super::model::{Backend, Config, Listen, Pool, Workers};
use super::named::{Lookup, NamedServer};
use super::read::{Mistakes, Node};
use super::text::quote;
use super::{keys, pool, process, route};

/// What the command line says in the file's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Replaces `listen` unless empty.
    pub listen: Vec<Listen>,
    /// Replaces `backend_servers`, with `names`, unless both are empty.
    pub backends: Vec<Endpoint>,
    /// Names whose addresses are backends.
    pub names: Vec<Lookup>,
    /// Replaces `workers`.
    pub workers: Option<Workers>,
    /// Replaces `health_check.path`, and `health_check.host` if there is one.
    pub health_url: Option<(Option<String>, String)>,
    /// Replaces `health_check.interval`.
    pub health_interval: Option<Millis>,
}

impl Overrides {
    /// Whether the backends stand on the command line.
    pub fn name_backends(&self) -> bool {
        !self.backends.is_empty() || !self.names.is_empty()
    }

    /// The keys that they replace.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let interval = self.health_interval.is_some();
        let path = self.health_url.as_ref().map(|(host, _)| host.is_some());
        [
            ("listen", !self.listen.is_empty()),
            ("backend_servers", self.name_backends()),
            ("workers", self.workers.is_some()),
            ("health_check.path", path.is_some()),
            ("health_check.host", path.unwrap_or_default()),
            ("health_check.interval", interval),
        ]
        .into_iter()
        .filter_map(|(key, is_replaced)| is_replaced.then_some(key))
    }
}

/// Reads the whole tree, with `overrides` in place of what it says. Where there are mistakes
/// the defaults stand in the result.
pub fn config(root: &Value, overrides: &Overrides, mistakes: &mut Mistakes) -> Config {
    let root = Node::root(root);
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
    if overrides.name_backends() {
        config.pools[0].backends = overrides.backends.iter().copied().map(Backend::at).collect();
        config.pools[0].names = overrides.names.iter().cloned().map(NamedServer::of).collect();
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
    let mut known = keys::PROCESS.to_vec();
    known.extend(keys::POOL);
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
            if keys::PROCESS.contains(&key) {
                let wrong = Wrong::new("not a key of a pool", "move it to the top level");
                mistakes.add(&node, wrong);
            } else {
                mistakes.add_unknown(&node, key, &keys::POOL);
            }
        }
        config.pools.push(pool);
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "mistakes_tests.rs"]
mod mistakes_tests;

#[cfg(test)]
#[path = "line_tests.rs"]
mod line_tests;
