//! What the keys mean: who is in which pool, what operators want, and which instances there are.
//!
//! ```text
//! PREFIX v1/pools/POOL/backends/ADDR   {"weight":1,"max_connections":0,"backup":false}
//! PREFIX v1/pools/POOL/set/ADDR        {"state":"drain","weight":5,"max_connections":"auto"}
//! PREFIX v1/instances/NAME             {"version":"0.2.0","since":1700000000}
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Endpoint, MOST_REQUESTS, ShownCap, WrittenCap, address, is_pool_name};
use crate::policy::health::AdminState;
use crate::shared::Wish;
use crate::shared::fleet::{BackendValue, ServerKey};

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKey {
    /// What operators want of a backend. These come first, so that a state is known before its backend.
    Set(ServerKey),
    /// A backend that has registered.
    Backend(ServerKey),
    /// An instance that watches.
    Instance(String),
}

/// The keys of a service.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Those behind a prefix, which ends with a slash.
    pub fn new(prefix: &str) -> Keys {
        Keys { prefix: format!("{prefix}v1/") }
    }

    /// What all of them begin with.
    pub fn prefix(&self) -> &[u8] {
        self.prefix.as_bytes()
    }

    /// As etcd has it.
    pub fn write(&self, key: &EngineKey) -> Vec<u8> {
        let prefix = &self.prefix;
        let text = match key {
            EngineKey::Set(place) => format!("{prefix}pools/{}/set/{}", place.pool, place.address),
            EngineKey::Backend(place) => {
                format!("{prefix}pools/{}/backends/{}", place.pool, place.address)
            }
            EngineKey::Instance(name) => format!("{prefix}instances/{name}"),
        };
        text.into_bytes()
    }

    /// What a key names. `None` for those of others.
    pub fn read(&self, key: &[u8]) -> Option<EngineKey> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        if let Some(name) = text.strip_prefix("instances/") {
            let is_plain = !name.is_empty() && !name.chars().any(char::is_control);
            return is_plain.then(|| EngineKey::Instance(name.to_owned()));
        }
        let (pool, rest) = text.strip_prefix("pools/")?.split_once('/')?;
        let (kind, written) = rest.split_once('/')?;
        let address: Endpoint = address::backend(written).ok()?;
        let place = ServerKey { pool: pool.to_owned(), address: address.canonical() };
        match kind {
            _ if !is_pool_name(pool) => None,
            "backends" => Some(EngineKey::Backend(place)),
            "set" => Some(EngineKey::Set(place)),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct WrittenValue {
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    max_connections: Option<WrittenCap>,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    state: Option<String>,
}

#[derive(Serialize)]
struct ShownValue {
    weight: u32,
    max_connections: ShownCap,
    backup: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
struct WrittenSet {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    weight: Option<u32>,
    #[serde(default)]
    max_connections: Option<WrittenCap>,
}

#[derive(Serialize)]
struct ShownSet {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<ShownCap>,
}

/// A list of the values would be taken for the object.
fn read_object<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    if value.trim_ascii_start().first() != Some(&b'{') {
        return Err(String::from("it is no JSON object"));
    }
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// A state of the JSON. `Err` if it is none.
fn state(word: Option<&str>) -> Result<Option<AdminState>, String> {
    let parse =
        |word: &str| AdminState::parse(word).ok_or_else(|| format!("there is no state {word:?}"));
    word.map(parse).transpose()
}

fn weight(weight: u32) -> Result<u32, String> {
    let is_right = (1..=256).contains(&weight);
    if is_right { Ok(weight) } else { Err(format!("weight {weight} is not 1 to 256")) }
}

/// How many requests a backend may have at once. More than may be said is as good as the most of that.
fn limit(written: Option<WrittenCap>) -> Result<Option<u32>, String> {
    match written {
        None => Ok(None),
        Some(WrittenCap::Number(number)) if number > u64::from(MOST_REQUESTS) => {
            Ok(Some(MOST_REQUESTS))
        }
        Some(written) => {
            let wrong = || format!("max_connections {written:?} is no number and not \"auto\"");
            written.read().map(Some).ok_or_else(wrong)
        }
    }
}

/// A backend as its value says. What it does not name has its default.
pub fn read_backend(value: &[u8]) -> Result<BackendValue, String> {
    let json: WrittenValue = read_object(value)?;
    Ok(BackendValue {
        weight: weight(json.weight)?,
        max_connections: limit(json.max_connections)?.unwrap_or(0),
        backup: json.backup,
        state: state(json.state.as_deref())?.unwrap_or(AdminState::Ready),
    })
}

/// The value of a backend.
pub fn write_backend(value: &BackendValue) -> String {
    let state = (value.state != AdminState::Ready).then(|| value.state.as_str());
    let json = ShownValue {
        weight: value.weight,
        max_connections: value.max_connections.into(),
        backup: value.backup,
        state,
    };
    serde_json::to_string(&json).unwrap_or_default() // numbers and texts can always be written
}

/// What operators want, as the value says.
pub fn read_set(value: &[u8]) -> Result<Wish, String> {
    let json: WrittenSet = read_object(value)?;
    Ok(Wish {
        state: state(json.state.as_deref())?,
        weight: json.weight.map(weight).transpose()?,
        max_connections: limit(json.max_connections)?,
    })
}

/// The value for what operators want.
pub fn write_set(wish: Wish) -> String {
    let json = ShownSet {
        state: wish.state.map(AdminState::as_str),
        weight: wish.weight,
        max_connections: wish.max_connections.map(ShownCap::from),
    };
    serde_json::to_string(&json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AUTO_CAP;

    fn keys() -> Keys {
        Keys::new("/httplb/")
    }

    fn place(address: &str) -> ServerKey {
        ServerKey { pool: String::from("api"), address: address.parse().unwrap() }
    }

    #[test]
    fn every_key_is_read_as_it_was_written() {
        for (key, text) in [
            (EngineKey::Backend(place("10.0.0.7:80")), "/httplb/v1/pools/api/backends/10.0.0.7:80"),
            (
                EngineKey::Backend(place("[fd00::7]:80")),
                "/httplb/v1/pools/api/backends/[fd00::7]:80",
            ),
            (EngineKey::Set(place("10.0.0.7:80")), "/httplb/v1/pools/api/set/10.0.0.7:80"),
            (
                EngineKey::Set(place("unix:/run/a.sock")),
                "/httplb/v1/pools/api/set/unix:/run/a.sock",
            ),
            (EngineKey::Instance(String::from("lb1")), "/httplb/v1/instances/lb1"),
        ] {
            assert_eq!(keys().write(&key), text.as_bytes());
            assert_eq!(keys().read(text.as_bytes()), Some(key));
        }
        let mapped = b"/httplb/v1/pools/api/set/[::ffff:10.0.0.7]:80";
        assert_eq!(keys().read(mapped), Some(EngineKey::Set(place("10.0.0.7:80"))));
    }

    #[test]
    fn keys_of_others_mean_nothing() {
        for text in [
            "/httplb/v2/pools/api/backends/10.0.0.7:80",
            "/httplb/v1/pools/../backends/10.0.0.7:80",
            "/httplb/v1/pools/api/backends/10.0.0.7",
            "/httplb/v1/pools/api/backends/10.0.0.7:0",
            "/httplb/v1/pools/api/other/10.0.0.7:80",
            "/httplb/v1/pools/api/backends",
            "/httplb/v1/instances/",
            "/httplb/v1/instances/a\nb",
            "/httplb/v1/",
            "/other/v1/instances/lb1",
        ] {
            assert_eq!(keys().read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(keys().read(b"/httplb/v1/instances/\xff"), None);
    }

    #[test]
    fn values_have_defaults_and_what_is_wrong_is_told() {
        let plain = BackendValue::default();
        assert_eq!(read_backend(b"{}"), Ok(plain));
        assert_eq!(write_backend(&plain), "{\"weight\":1,\"max_connections\":0,\"backup\":false}");
        let full = b"{\"weight\":256,\"max_connections\":9,\"backup\":true,\"state\":\"maint\",\"zone\":1}";
        let value = read_backend(full).unwrap();
        assert_eq!(
            value,
            BackendValue {
                weight: 256,
                max_connections: 9,
                backup: true,
                state: AdminState::Maint
            }
        );
        assert_eq!(read_backend(write_backend(&value).as_bytes()), Ok(value));
        let text = "{\"state\":\"drain\",\"weight\":5,\"max_connections\":\"auto\"}";
        let drained = Wish {
            state: Some(AdminState::Drain),
            weight: Some(5),
            max_connections: Some(AUTO_CAP),
        };
        assert_eq!(read_set(text.as_bytes()), Ok(drained));
        assert_eq!(write_set(drained), text);
        let auto = read_backend(b"{\"max_connections\":\"auto\"}").unwrap();
        assert_eq!(auto.max_connections, AUTO_CAP);
        assert_eq!(read_backend(write_backend(&auto).as_bytes()), Ok(auto));
        let most = read_backend(b"{\"max_connections\":4294967295}").unwrap();
        assert_eq!(most.max_connections, MOST_REQUESTS);
        assert_eq!(write_set(Wish::default()), "{}");
        for wrong in [
            "",
            "[]",
            "{\"weight\":0}",
            "{\"weight\":257}",
            "{\"state\":\"up\"}",
            "{\"weight\":\"1\"}",
            "{\"max_connections\":\"some\"}",
        ] {
            assert!(read_backend(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(read_set(b"{\"state\":\"leaving\"}").is_err());
    }

    #[test]
    fn a_state_is_known_before_its_backend() {
        let mut all =
            [EngineKey::Backend(place("10.0.0.1:80")), EngineKey::Set(place("10.0.0.9:80"))];
        all.sort();
        assert!(matches!(all[0], EngineKey::Set(_)));
    }
}
