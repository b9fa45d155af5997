//! The keys of a pool.

use std::collections::HashMap;

use crate::mem::time::Millis;

use super::endpoint::{Endpoint, UnixPath};
use super::error::Wrong;
use super::model::{Backend, Balance, HealthCheck, MOST_RETRIES, Multiplex, Pool, Sticky};
use super::read::{INSTANT, Mistakes, Node, WEEK, is_token};
use super::statuses::Statuses;
use super::text::quote;
use super::tolerance::{Tolerance, Tolerances};
use super::{address, units};

/// The keys of a pool.
pub const KEYS: [&str; 12] = [
    "backend_servers",
    "balance",
    "sticky",
    "health_check",
    "max_fails",
    "fail_timeout",
    "tolerate",
    "retries",
    "max_body",
    "upgrades",
    "slow_start",
    "multiplex",
];

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

const BACKEND_KEYS: [&str; 6] = ["ip", "port", "unix", "weight", "max_connections", "backup"];
/// The keys that say where a backend is: those of one row, and all of these.
const LOCATIONS: [&[&str]; 2] = [&["ip", "port"], &["unix"]];
const CHECK_KEYS: [&str; 7] = ["path", "interval", "timeout", "rise", "fall", "status", "host"];

/// Reads one key of a pool. False if it is none.
pub fn set(pool: &mut Pool, key: &str, node: &Node, mistakes: &mut Mistakes) -> bool {
    match key {
        "backend_servers" => pool.backends = backends(node, mistakes),
        "balance" => mistakes.set(
            &mut pool.balance,
            node,
            node.word(&Balance::ALL.map(|balance| (balance.as_str(), balance))),
        ),
        "sticky" => pool.sticky = sticky(node, mistakes),
        "health_check" => pool.health_check = health_check(node, mistakes),
        "max_fails" => mistakes.set(&mut pool.max_fails, node, node.whole(1, 100)),
        "fail_timeout" => {
            mistakes.set(&mut pool.fail_timeout, node, node.duration(INSTANT, WEEK));
        }
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

fn backends(node: &Node, mistakes: &mut Mistakes) -> Vec<Backend> {
    let mut backends = Vec::new();
    let mut places: HashMap<Endpoint, String> = HashMap::new();
    for node in node.items(0..=1024, mistakes) {
        let Some(backend) = backend(&node, mistakes) else { continue };
        match places.get(&backend.address) {
            Some(place) => {
                let fault = format!("\"{}\" is {place} again", backend.address);
                mistakes.add(&node, Wrong::new(fault, "remove one, and give the other a weight"));
            }
            None => {
                places.insert(backend.address, node.place().to_owned());
                backends.push(backend);
            }
        }
    }
    backends
}

fn backend(node: &Node, mistakes: &mut Mistakes) -> Option<Backend> {
    let (mut ip, mut port, mut unix) = (None, None, None);
    let mut backend = Backend::at(([0, 0, 0, 0], 0));
    let entries = node.entries(mistakes);
    if node.is_object() {
        check_location(node, &entries, mistakes);
    }
    for (key, node) in entries {
        match key {
            "ip" => {
                let text = node.text("an IP address", "write \"10.0.0.7\" or \"fd00::7\"");
                ip = mistakes.keep(&node, text.and_then(address::server));
            }
            "port" => port = mistakes.keep(&node, node.whole(1, 65535)),
            "unix" => {
                let text = node.text("a path", "write \"/run/app.sock\"");
                unix = mistakes.keep(&node, text.and_then(UnixPath::parse));
            }
            "weight" => mistakes.set(&mut backend.weight, &node, node.whole(1, 256)),
            "max_connections" => {
                let cap = node.whole(0, 1_000_000);
                mistakes.set(&mut backend.max_connections, &node, cap);
            }
            "backup" => mistakes.set(&mut backend.backup, &node, node.boolean()),
            _ => mistakes.add_unknown(&node, key, &BACKEND_KEYS),
        }
    }
    backend.address = match unix {
        Some(path) => path.into(),
        None => (ip?, port?).into(),
    };
    Some(backend)
}

/// That it is said where the backend is, and in one way.
fn check_location(node: &Node, entries: &[(&str, Node)], mistakes: &mut Mistakes) {
    let has = |key: &str| entries.iter().any(|(given, _)| *given == key);
    let mut rows = LOCATIONS.iter().filter(|row| row.iter().any(|key| has(key)));
    let row = rows.next().unwrap_or(&LOCATIONS[0]);
    if let Some(other) = rows.next() {
        let given =
            |row: &[&str]| row.iter().find(|key| has(key)).map_or(String::new(), |key| quote(key));
        let fault = format!("{} and {} are two ways to say where it is", given(row), given(other));
        mistakes.add(node, Wrong::new(fault, "remove one of them"));
        return;
    }
    for key in row.iter().filter(|key| !has(key)) {
        let example = if *key == "ip" { "\"127.0.0.1\"" } else { "8001" };
        let remedy = format!("add \"{key}\": {example}");
        mistakes.add(node, Wrong::new(format!("there is no \"{key}\""), remedy));
    }
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
            _ => mistakes.add_unknown(&node, key, &["cookie", "max_age"]),
        }
    }
    Some(sticky)
}

fn health_check(node: &Node, mistakes: &mut Mistakes) -> Option<HealthCheck> {
    let mut check = HealthCheck::default();
    if !node.is_object() {
        let remedy = "write false, or {} for a check with every default";
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
            _ => mistakes.add_unknown(&node, key, &CHECK_KEYS),
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
