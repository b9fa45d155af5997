//! The keys of a pool.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::mem::time::Millis;

use super::endpoint::UnixPath;
use super::error::Wrong;
use super::model::{Backend, Balance, HealthCheck, MOST_RETRIES, Multiplex, Pool, Sticky};
use super::named::{Family, HostName, LARGEST_MAX, Lookup, NamedServer};
use super::read::{INSTANT, Mistakes, Node, WEEK, is_token};
use super::request_limit::{AUTO_CAP, MOST_REQUESTS};
use super::statuses::Statuses;
use super::text::quote;
use super::tolerance::{Tolerance, Tolerances};
use super::{address, dictionary, keys, units};

/// What a pool may be called.
pub const NAME_REMEDY: &str =
    "write 1 to 64 letters, digits, \".\", \"_\" or \"-\", the first of them no \".\"";

/// Whether a pool may be called so. No name is one that a path could mean something else by.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

/// Checks follow each other at most so closely.
const LEAST_INTERVAL: Millis = Millis(100);
/// Bytes of a protocol's name and version.
const LONGEST_PROTOCOL: usize = 64;
/// The protocols of these names carry HTTP.
const HTTP_BY_UPGRADE: [&str; 3] = ["h2c", "h2", "http"];
const HOUR: Millis = Millis::from_secs(3600);

/// The ways to say where a backend is: the key of each, and those that belong to it. A port, where it
/// belongs to one, must be there.
const LOCATIONS: [(&str, &[&str]); 4] =
    [("ip", &["port"]), ("unix", &[]), ("name", &["port", "family", "max"]), ("srv", &["max"])];

/// Reads one key of a pool. False if it is none.
pub fn set(pool: &mut Pool, key: &str, node: &Node, mistakes: &mut Mistakes) -> bool {
    match key {
        "backend_servers" => (pool.backends, pool.names) = backends(node, mistakes),
        "balance" => mistakes.set(&mut pool.balance, node, balance(node)),
        "sticky" => pool.sticky = sticky(node, mistakes),
        "health_check" => pool.health_check = health_check(node, mistakes),
        "max_fails" => mistakes.set(&mut pool.max_fails, node, node.whole(1, 100)),
        "fail_timeout" => {
            mistakes.set(&mut pool.fail_timeout, node, node.duration(INSTANT, WEEK));
        }
        "fail_status" => pool.fail_status = Statuses::read_any(node, mistakes),
        "tolerate" => pool.tolerate = tolerate(node, mistakes),
        "retries" => mistakes.set(&mut pool.retries, node, node.whole(0, MOST_RETRIES)),
        "max_body" => mistakes.set(&mut pool.max_body, node, node.size(0, u64::MAX)),
        "upgrades" => pool.upgrades = upgrades(node, mistakes),
        "slow_start" => {
            let most = Millis::from_secs(600);
            mistakes.set(&mut pool.slow_start, node, node.duration(Millis(0), most));
        }
        "multiplex" => mistakes.set(
            &mut pool.multiplex,
            node,
            node.word(&[("off", Multiplex::Off), ("verified", Multiplex::Verified)]),
        ),
        _ => return false,
    }
    true
}

fn balance(node: &Node) -> Result<Balance, Wrong> {
    let balance = node.word(&Balance::ALL.map(|balance| (balance.as_str(), balance)));
    let elsewhere = node.as_text().and_then(dictionary::balance);
    balance.map_err(|wrong| match elsewhere {
        Some(remedy) => Wrong::new(wrong.fault, remedy),
        None => wrong,
    })
}

fn upgrades(node: &Node, mistakes: &mut Mistakes) -> Vec<String> {
    let mut protocols: Vec<String> = Vec::new();
    for node in node.items(0..=16, mistakes) {
        let Some(protocol) = mistakes.keep(&node, protocol(&node)) else { continue };
        if protocols.iter().any(|earlier| earlier.eq_ignore_ascii_case(&protocol)) {
            mistakes.add(&node, node.wrong("stands twice in the list", "remove one"));
        }
        protocols.push(protocol);
    }
    protocols
}

/// The name of a protocol, perhaps with its version (RFC 9110 §7.8). HTTP itself is none: requests
/// in a switched connection would go past all rules.
fn protocol(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"websocket\" or \"SPDY/3.1\"";
    let text = node.text("a protocol", remedy)?;
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    if text.len() > LONGEST_PROTOCOL || !is_token(name) || !is_token(version) {
        return Err(node.wrong("is not a protocol", remedy));
    }
    if HTTP_BY_UPGRADE.iter().any(|http| name.eq_ignore_ascii_case(http)) {
        let fault = "would let requests past every route and limit";
        return Err(node.wrong(fault, "remove it: httplb speaks HTTP/1.1"));
    }
    Ok(text.to_owned())
}

fn tolerate(node: &Node, mistakes: &mut Mistakes) -> Tolerances {
    let words = Tolerance::ALL.map(|tolerance| (tolerance.as_str(), tolerance));
    let mut tolerances = Tolerances::default();
    for node in node.items(0..=words.len(), mistakes) {
        let Some(tolerance) = mistakes.keep(&node, node.word(&words)) else { continue };
        if tolerances.has(tolerance) {
            mistakes.add(&node, node.wrong("stands twice in the list", "remove one"));
        }
        tolerances.add(tolerance);
    }
    tolerances
}

/// An entry of `backend_servers`.
enum ServerEntry {
    Backend(Backend),
    Named(NamedServer),
}

fn backends(node: &Node, mistakes: &mut Mistakes) -> (Vec<Backend>, Vec<NamedServer>) {
    let (mut backends, mut names) = (Vec::new(), Vec::new());
    // By the addresses, and by the names that are looked up.
    let mut places: HashMap<String, String> = HashMap::new();
    let mut entries = Vec::new();
    let list = node;
    for (entry, node) in node.items(0..=1024, mistakes).into_iter().enumerate() {
        let Some(server) = server(&node, mistakes) else { continue };
        let shown = match &server {
            ServerEntry::Backend(backend) => backend.address.to_string(),
            ServerEntry::Named(named) => named.lookup.to_string(),
        };
        if let Some(place) = places.get(&shown) {
            let fault = format!("\"{shown}\" is {place} again");
            mistakes.add(&node, Wrong::new(fault, "remove one, and give the other a weight"));
            continue;
        }
        places.insert(shown, node.place().to_owned());
        match server {
            ServerEntry::Backend(backend) => {
                backends.push(backend);
                entries.push(entry);
            }
            ServerEntry::Named(named) => names.push(named),
        }
    }
    mistakes.note_addresses(list, entries);
    (backends, names)
}

/// What an entry says of where its backends are.
#[derive(Default)]
struct Location {
    ip: Option<IpAddr>,
    port: Option<u16>,
    unix: Option<UnixPath>,
    name: Option<HostName>,
    service: Option<HostName>,
    family: Option<Family>,
    max: Option<usize>,
}

impl Location {
    /// Reads one of its keys. False if it is none.
    fn set(&mut self, key: &str, node: &Node, mistakes: &mut Mistakes) -> bool {
        match key {
            "ip" => {
                let text = node.text("an IP address", "write \"10.0.0.7\" or \"fd00::7\"");
                self.ip = mistakes.keep(node, text.and_then(address::server));
            }
            "port" => self.port = mistakes.keep(node, node.whole(1, 65535)),
            "unix" => {
                let text = node.text("a path", "write \"/run/app.sock\"");
                self.unix = mistakes.keep(node, text.and_then(UnixPath::parse));
            }
            "name" => {
                let text = node.text("a name", "write \"app.internal\"");
                self.name = mistakes.keep(node, text.and_then(HostName::parse));
            }
            "srv" => {
                let text = node.text("a name", "write \"_http._tcp.app.internal\"");
                self.service = mistakes.keep(node, text.and_then(HostName::parse));
            }
            "family" => {
                let words = Family::ALL.map(|family| (family.as_str(), family));
                self.family = mistakes.keep(node, node.word(&words));
            }
            "max" => self.max = mistakes.keep(node, node.whole(1, LARGEST_MAX as u64)),
            _ => return false,
        }
        true
    }

    /// The server that is meant, with the other keys of `keys`. `None` where something is wrong.
    fn server(self, keys: Backend) -> Option<ServerEntry> {
        let lookup = match (self.name, self.service) {
            (Some(name), _) => {
                let family = self.family.unwrap_or(Family::Any);
                Lookup::Host { name, port: self.port?, family }
            }
            (None, Some(name)) => Lookup::Service(name),
            (None, None) => {
                let address = match self.unix {
                    Some(path) => path.into(),
                    None => (self.ip?, self.port?).into(),
                };
                return Some(ServerEntry::Backend(Backend { address, ..keys }));
            }
        };
        let Backend { weight, max_connections, backup, .. } = keys;
        let named = NamedServer { weight, max_connections, backup, ..NamedServer::of(lookup) };
        Some(ServerEntry::Named(NamedServer { max: self.max.unwrap_or(named.max), ..named }))
    }
}

fn server(node: &Node, mistakes: &mut Mistakes) -> Option<ServerEntry> {
    let mut location = Location::default();
    let mut backend = Backend::at(([0, 0, 0, 0], 0));
    let entries = node.entries(mistakes);
    let is_clear = !node.is_object() || check_location(node, &entries, mistakes);
    for (key, node) in entries {
        match key {
            "weight" => mistakes.set(&mut backend.weight, &node, node.whole(1, 256)),
            "max_connections" => mistakes.set(&mut backend.max_connections, &node, cap(&node)),
            "backup" => mistakes.set(&mut backend.backup, &node, node.boolean()),
            _ if location.set(key, &node, mistakes) => (),
            _ => mistakes.add_unknown(&node, key, &keys::BACKEND),
        }
    }
    if is_clear { location.server(backend) } else { None }
}

/// How many requests a backend may have at once.
fn cap(node: &Node) -> Result<u32, Wrong> {
    let remedy = "write 0 to 1000000 or \"auto\"";
    match node.text("a number", remedy) {
        Ok("auto") => Ok(AUTO_CAP),
        Ok(_) => Err(node.wrong("is not a number of requests", remedy)),
        Err(_) => {
            node.whole(0, MOST_REQUESTS.into()).map_err(|wrong| Wrong::new(wrong.fault, remedy))
        }
    }
}

/// Whether it is said where the backend is, and in one way.
fn check_location(node: &Node, entries: &[(&str, Node)], mistakes: &mut Mistakes) -> bool {
    let has = |key: &str| entries.iter().any(|(given, _)| *given == key);
    let mut ways = LOCATIONS.iter().filter(|(key, _)| has(key));
    let (way, parts) = ways.next().unwrap_or(&LOCATIONS[0]);
    let others = LOCATIONS.iter().flat_map(|(key, parts)| parts.iter().chain([key]));
    let mut others = others.filter(|key| has(key) && *key != way && !parts.contains(key));
    if let Some(other) = others.next().filter(|_| has(way)) {
        let (one, other) = if *other == "port" { (other, way) } else { (way, other) };
        let fault = format!("{} and {} are two ways to say where it is", quote(one), quote(other));
        mistakes.add(node, Wrong::new(fault, "remove one of them"));
        return false;
    }
    if *way == "srv" && has("weight") {
        let fault = "\"weight\" stands in the records of a service";
        mistakes.add(node, Wrong::new(fault, "remove it here"));
    }
    let needed = [way].into_iter().chain(parts.iter().filter(|part| **part == "port"));
    let missing = needed.filter(|key| !has(key));
    for key in missing {
        let example = if *key == "ip" { "\"127.0.0.1\"" } else { "8001" };
        let remedy = format!("add \"{key}\": {example}");
        mistakes.add(node, Wrong::new(format!("there is no \"{key}\""), remedy));
    }
    true
}

fn sticky(node: &Node, mistakes: &mut Mistakes) -> Option<Sticky> {
    let mut sticky = Sticky::named("sticky_backend");
    if !node.is_object() {
        let wanted = node.boolean().map_err(|wrong| {
            Wrong::new(wrong.fault, "write true, false or {\"cookie\": NAME, \"max_age\": \"1h\"}")
        });
        return mistakes.keep(node, wanted)?.then_some(sticky);
    }
    for (key, node) in node.entries(mistakes) {
        match key {
            "cookie" => {
                mistakes.set(&mut sticky.cookie, &node, node.token("a cookie name", "sticky"));
            }
            "max_age" => {
                let whole_seconds = node.or_null(|node| {
                    let year = Millis::from_secs(365 * 24 * 3600);
                    let age = node.duration(Millis::from_secs(1), year)?;
                    if age.0 % 1000 == 0 {
                        Ok(age)
                    } else {
                        Err(node.wrong("is not in whole seconds", "write \"1s\" or more"))
                    }
                });
                mistakes.set(&mut sticky.max_age, &node, whole_seconds);
            }
            _ => mistakes.add_unknown(&node, key, &keys::STICKY),
        }
    }
    Some(sticky)
}

fn health_check(node: &Node, mistakes: &mut Mistakes) -> Option<HealthCheck> {
    let mut check = HealthCheck::default();
    if !node.is_object() {
        let path = node.as_text().filter(|text| is_target(text));
        let remedy = match path {
            Some(path) => format!("write {{\"path\": {}}}", quote(path)),
            None => String::from("write false, or {} for a check with every default"),
        };
        if node.boolean() != Ok(false) {
            mistakes.add(node, node.wrong("is not a health check", remedy));
        }
        return None;
    }
    for (key, node) in node.entries(mistakes) {
        match key {
            "path" => mistakes.set(&mut check.path, &node, node.or_null(target)),
            "interval" => {
                mistakes.set(&mut check.interval, &node, node.duration(LEAST_INTERVAL, HOUR));
            }
            "timeout" => mistakes.set(&mut check.timeout, &node, node.duration(INSTANT, HOUR)),
            "rise" => mistakes.set(&mut check.rise, &node, node.whole(1, 100)),
            "fall" => mistakes.set(&mut check.fall, &node, node.whole(1, 100)),
            "status" => {
                if let Some(statuses) = Statuses::read(&node, mistakes) {
                    check.status = statuses;
                }
            }
            "host" => mistakes.set(&mut check.host, &node, node.or_null(host)),
            _ => mistakes.add_unknown(&node, key, &keys::CHECK),
        }
    }
    Some(check)
}

/// The target of a check: a path, perhaps with a query.
fn target(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"/health\", or null for a TCP connect";
    let text = node.text("a path", remedy)?;
    if is_target(text) { Ok(text.to_owned()) } else { Err(node.wrong("is not a path", remedy)) }
}

fn is_target(text: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    text.starts_with('/') && text.bytes().all(visible)
}

/// The value of a `Host` field: a name or an address, perhaps with a port.
fn host(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"shop.example\", or null for the backend's address";
    let text = node.text("a host", remedy)?;
    if is_host(text) { Ok(text.to_owned()) } else { Err(node.wrong("is not a host", remedy)) }
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// What a check asks for, as the command line writes it: `/path`, or `http://host/path`, which sets
/// the host too.
pub fn check_url(text: &str) -> Result<(Option<String>, String), Wrong> {
    let (host, path) = match text.strip_prefix("http://") {
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            let path = &rest[host.len()..];
            (Some(host), if path.is_empty() { "/" } else { path })
        }
        None => (None, text),
    };
    if host.is_none_or(is_host) && is_target(path) {
        return Ok((host.map(str::to_owned), path.to_owned()));
    }
    let remedy = "write \"/health\" or \"http://shop.example/health\"";
    Err(Wrong::new(format!("{} is not a path", quote(text)), remedy))
}

/// How often backends are checked, as the command line writes it.
pub fn check_interval(text: &str) -> Result<Millis, Wrong> {
    let interval = units::duration(text)?;
    if (LEAST_INTERVAL..=HOUR).contains(&interval) {
        return Ok(interval);
    }
    Err(Wrong::new(format!("{} is out of range", quote(text)), "write \"100ms\" to \"1h\""))
}
