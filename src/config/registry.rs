//! The key `registry`: where backends of many instances are known.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::address;
use super::endpoint::Endpoint;
use super::error::Wrong;
use super::file::Value;
use super::read::{Mistakes, Node};

/// What all keys begin with, if nothing else is said.
const PREFIX: &str = "/httplb/";
/// The longest name and prefix.
const LONGEST: usize = 64;

/// A registry that many instances share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// The members of an etcd cluster, 1 to 16.
    pub etcd: Vec<SocketAddr>,
    /// What all keys begin with: it begins and ends with a slash.
    pub prefix: String,
    /// Under which name others see this instance; without it that of the host.
    pub instance: Option<String>,
    /// A user of etcd, if it wants one.
    pub user: Option<String>,
    /// The file that has the user's password.
    pub password_file: Option<PathBuf>,
}

const KEYS: [&str; 5] = ["etcd", "prefix", "instance", "user", "password_file"];

/// Reads the object, or null.
pub fn registry(node: &Node, mistakes: &mut Mistakes) -> Option<Registry> {
    if let Ok(None) = node.or_null(|_| Ok(())) {
        return None;
    }
    let mut registry = Registry {
        etcd: Vec::new(),
        prefix: PREFIX.to_owned(),
        instance: None,
        user: None,
        password_file: None,
    };
    let mut has_etcd = false;
    for (key, node) in node.entries(mistakes) {
        match key {
            "etcd" => {
                has_etcd = true;
                registry.etcd = members(&node, mistakes);
            }
            "prefix" => mistakes.set(&mut registry.prefix, &node, prefix(&node)),
            "instance" => {
                let name = node.or_null(|node| name(node, "lb1"));
                mistakes.set(&mut registry.instance, &node, name);
            }
            "user" => {
                let user = node.or_null(|node| name(node, "httplb"));
                mistakes.set(&mut registry.user, &node, user);
            }
            "password_file" => {
                let file = node.or_null(Node::absolute_path);
                mistakes.set(&mut registry.password_file, &node, file);
            }
            _ => mistakes.add_unknown(&node, key, &KEYS),
        }
    }
    if !has_etcd && node.is_object() {
        let remedy = "add \"etcd\": [\"10.0.0.1:2379\"]";
        mistakes.add(node, Wrong::new("there is no \"etcd\"", remedy));
    }
    let wants = |key: &str| mistakes.lie_within(&format!("{}.{key}", node.place()));
    let (has_user, has_password) = (
        registry.user.is_some() || wants("user"),
        registry.password_file.is_some() || wants("password_file"),
    );
    match (has_user, has_password) {
        (true, false) => {
            let remedy = "add \"password_file\": \"/etc/httplb/etcd.password\"";
            mistakes.add(node, Wrong::new("\"user\" needs a password", remedy));
        }
        (false, true) => {
            let remedy = "add \"user\": \"httplb\"";
            mistakes.add(node, Wrong::new("\"password_file\" needs a user", remedy));
        }
        (true, true) | (false, false) => (),
    }
    Some(registry)
}

fn members(node: &Node, mistakes: &mut Mistakes) -> Vec<SocketAddr> {
    let mut members: Vec<SocketAddr> = Vec::new();
    for node in node.items(1..=16, mistakes) {
        let Some(member) = mistakes.keep(&node, member(&node)) else { continue };
        if members.contains(&member) {
            mistakes.add(&node, node.wrong("stands twice in the list", "remove one"));
        } else {
            members.push(member);
        }
    }
    members
}

/// Requests go by plain HTTP: what wants TLS stands behind something that speaks it.
fn member(node: &Node) -> Result<SocketAddr, Wrong> {
    let remedy = "10.0.0.1:2379";
    let text = node.text("an address", remedy)?;
    if text.starts_with("https://") {
        let remedy = "put stunnel before etcd and write its address, see servers.conf(5)";
        return Err(node.wrong("cannot be spoken to: there is no TLS here", remedy));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let remedy = format!("write \"{}\"", SocketAddr::from((ip, 2379)));
        return Err(node.wrong("has no port", remedy));
    }
    match address::backend(text.strip_prefix("http://").unwrap_or(text))? {
        Endpoint::Tcp(address) => Ok(address),
        Endpoint::Unix(_) => Err(node.wrong("is not an address of TCP", remedy)),
    }
}

fn prefix(node: &Node) -> Result<String, Wrong> {
    let remedy = "write \"/httplb/\"";
    let text = node.text("a text", remedy)?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_slashes = text.starts_with('/') && text.ends_with('/');
    if is_plain && has_slashes && text.len() <= LONGEST {
        Ok(text.to_owned())
    } else {
        Err(node.wrong("is not a prefix that begins and ends with a slash", remedy))
    }
}

/// A word that may stand in a key, and in a line of the journal.
fn name(node: &Node, example: &str) -> Result<String, Wrong> {
    let remedy = format!("write \"{example}\"");
    let text = node.text("a name", &remedy)?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if is_plain && (1..=LONGEST).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(node.wrong("is not a name of 1 to 64 characters without slashes", remedy))
    }
}

/// As the effective configuration has it.
pub fn dump(registry: &Registry) -> Value {
    let text = |text: &String| Value::Text(text.clone());
    let optional = |value: &Option<String>| value.as_ref().map_or(Value::Null, text);
    let password_file = registry.password_file.as_ref().map(|file| file.display().to_string());
    let etcd = registry.etcd.iter().map(|member| Value::Text(member.to_string())).collect();
    let entries = [
        ("etcd", Value::List(etcd)),
        ("prefix", text(&registry.prefix)),
        ("instance", optional(&registry.instance)),
        ("user", optional(&registry.user)),
        ("password_file", optional(&password_file)),
    ];
    Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).to_vec())
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Overrides};

    fn registry(text: &str) -> Result<super::Registry, String> {
        let text = format!("{{\"registry\": {text}}}");
        let loaded = config::load(&text, &Overrides::default());
        let config = loaded.map_err(|errors| format!("{errors:?}"))?;
        let again = config::load(&config.dump(), &Overrides::default()).unwrap();
        assert_eq!(again.registry, config.registry);
        Ok(config.registry.unwrap())
    }

    #[test]
    fn a_registry_has_members_and_defaults() {
        let plain = registry("{\"etcd\": [\"10.0.0.1:2379\", \"http://[fd00::1]:2379\"]}").unwrap();
        assert_eq!(
            plain.etcd,
            ["10.0.0.1:2379", "[fd00::1]:2379"].map(|text| text.parse().unwrap())
        );
        assert_eq!((plain.prefix.as_str(), plain.instance), ("/httplb/", None));
        let full = registry(
            "{\"etcd\": [\"10.0.0.1:2379\"], \"prefix\": \"/x/\", \"instance\": \"lb1\",
              \"user\": \"u\", \"password_file\": \"/etc/p\"}",
        );
        let full = full.unwrap();
        assert_eq!((full.prefix.as_str(), full.instance.as_deref()), ("/x/", Some("lb1")));
        assert_eq!(full.user.as_deref(), Some("u"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_remedy() {
        for (text, part) in [
            ("{}", "there is no"),
            ("{\"etcd\": []}", "etcd"),
            ("{\"etcd\": [\"10.0.0.1\"]}", "10.0.0.1:2379"),
            ("{\"etcd\": [\"https://10.0.0.1:2379\"]}", "stunnel"),
            ("{\"etcd\": [\"unix:/run/etcd\"]}", "address of TCP"),
            ("{\"etcd\": [\"10.0.0.1:1\", \"10.0.0.1:1\"]}", "twice"),
            ("{\"etcd\": [\"10.0.0.1:1\"], \"prefix\": \"x\"}", "slash"),
            ("{\"etcd\": [\"10.0.0.1:1\"], \"instance\": \"a/b\"}", "without slashes"),
            ("{\"etcd\": [\"10.0.0.1:1\"], \"user\": \"u\"}", "needs a password"),
            ("{\"etcd\": [\"10.0.0.1:1\"], \"password_file\": \"/p\"}", "needs a user"),
            ("{\"etdc\": [\"10.0.0.1:1\"]}", "did you mean"),
            ("7", "registry"),
        ] {
            let error = registry(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
