//! The messages of etcd's JSON gateway: requests as text, and what the responses mean.
//!
//! Keys and values are base64, and 64-bit numbers are texts, as protobuf has them in JSON. What is not named
//! here is passed over: later versions of etcd say more.

use serde::Deserialize;
use serde_json::{Value, json};

use super::base64;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The lease that it ends with; 0 is none.
    pub lease: u64,
}

/// What is said in the answer to each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which cluster it is.
    pub cluster: u64,
    /// How many changes it has had.
    pub revision: u64,
}

/// All that there is behind a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// When that was.
    pub header: Header,
    /// The keys.
    pub keys: Vec<KeyValue>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The key is new, or has another value or lease.
    Put(KeyValue),
    /// It is there no more.
    Delete(Vec<u8>),
}

/// A line of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchLine {
    /// From now on it tells of changes.
    Created,
    /// These were made; none if it only says how far it is.
    Changes(u64, Vec<KeyChange>),
    /// It tells of no more, as the changes that were asked for are not known any more.
    Compacted,
    /// It tells of no more.
    Cancelled(String),
}

/// Why a request was not answered with what it wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineRefusal {
    /// The member cannot say now. Another one perhaps can.
    Unavailable(String),
    /// The cluster is about to choose a leader, as it does now and then.
    Electing,
    /// The request is not allowed, or wrong, whoever is asked.
    Refused(String),
}

impl EngineRefusal {
    /// What is to be told of it.
    pub fn reason(&self) -> &str {
        match self {
            EngineRefusal::Unavailable(why) | EngineRefusal::Refused(why) => why,
            EngineRefusal::Electing => "no leader",
        }
    }
}

/// The path of each kind of request, behind `/v3/`.
pub mod paths {
    #![allow(missing_docs, reason = "the names are etcd's")]
    pub const AUTHENTICATE: &str = "auth/authenticate";
    pub const RANGE: &str = "kv/range";
    pub const PUT: &str = "kv/put";
    pub const DELETE: &str = "kv/deleterange";
    pub const WATCH: &str = "watch";
    pub const GRANT: &str = "lease/grant";
    pub const KEEP_ALIVE: &str = "lease/keepalive";
}

/// What comes behind all keys that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0] // All keys.
}

/// Asks for a token.
pub fn authenticate(user: &str, password: &str) -> Value {
    json!({"name": user, "password": password})
}

/// Asks for all keys behind a prefix, as a majority of the cluster has them.
pub fn range(prefix: &[u8]) -> Value {
    json!({"key": base64::encode(prefix), "range_end": base64::encode(&end_of(prefix))})
}

/// Asks only how many these are: to see whether the member still knows what the others do.
pub fn count(prefix: &[u8]) -> Value {
    let mut range = range(prefix);
    range["count_only"] = json!(true);
    range
}

/// Asks to be told of all changes behind a prefix, those of this revision first.
pub fn watch(prefix: &[u8], revision: u64) -> Value {
    let mut request = range(prefix);
    request["start_revision"] = json!(revision.to_string());
    request["progress_notify"] = json!(true);
    json!({"create_request": request})
}

/// Sets a key, which ends with a lease unless that is 0.
pub fn put(key: &[u8], value: &str, lease: u64) -> Value {
    let (key, value) = (base64::encode(key), base64::encode(value.as_bytes()));
    json!({"key": key, "value": value, "lease": lease.to_string()})
}

/// Removes a key.
pub fn delete(key: &[u8]) -> Value {
    json!({"key": base64::encode(key)})
}

/// Asks for a lease of so many seconds.
pub fn grant(seconds: u64) -> Value {
    json!({"TTL": seconds.to_string()})
}

/// Renews a lease, or ends it.
pub fn lease(id: u64) -> Value {
    json!({"ID": id.to_string()})
}

/// A number of 64 bits, which JSON has as a text.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Value")]
struct Number(u64);

impl From<Value> for Number {
    fn from(value: Value) -> Number {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        Number(number.unwrap_or(0))
    }
}

#[derive(Debug, Default, Deserialize)]
struct HeaderJson {
    #[serde(default)]
    cluster_id: Number,
    #[serde(default)]
    revision: Number,
}

#[derive(Debug, Deserialize)]
struct KeyJson {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    lease: Number,
}

#[derive(Debug, Deserialize)]
struct RangeJson {
    header: HeaderJson,
    #[serde(default)]
    kvs: Vec<KeyJson>,
}

#[derive(Debug, Deserialize)]
struct EventJson {
    #[serde(default, rename = "type")]
    kind: String,
    kv: KeyJson,
}

#[derive(Debug, Default, Deserialize)]
struct EngineErrorJson {
    #[serde(default, alias = "grpc_code")]
    code: u64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Default, Deserialize)]
struct ResultJson {
    #[serde(default)]
    header: HeaderJson,
    #[serde(default)]
    created: bool,
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    compact_revision: Number,
    #[serde(default)]
    cancel_reason: String,
    #[serde(default)]
    events: Vec<EventJson>,
    #[serde(default, rename = "ID")]
    id: Number,
    #[serde(default, rename = "TTL")]
    seconds: Number,
}

#[derive(Debug, Deserialize)]
struct LineJson {
    result: Option<ResultJson>,
    error: Option<EngineErrorJson>,
}

fn key_value(json: &KeyJson) -> Option<KeyValue> {
    let (key, value) = (base64::decode(&json.key)?, base64::decode(&json.value)?);
    Some(KeyValue { key, value, lease: json.lease.0 })
}

impl From<HeaderJson> for Header {
    fn from(json: HeaderJson) -> Header {
        Header { cluster: json.cluster_id.0, revision: json.revision.0 }
    }
}

/// What is said of a response that is none of those that were expected.
const NOT_UNDERSTOOD: &str = "its response is not understood";

fn not_understood() -> EngineRefusal {
    EngineRefusal::Unavailable(NOT_UNDERSTOOD.to_owned())
}

/// The answer to a request for keys.
pub fn read_range(status: u16, body: &[u8]) -> Result<Range, EngineRefusal> {
    judge(status, body)?;
    let json: RangeJson = serde_json::from_slice(body).map_err(|_| not_understood())?;
    let keys: Option<Vec<KeyValue>> = json.kvs.iter().map(key_value).collect();
    Ok(Range { header: json.header.into(), keys: keys.ok_or_else(not_understood)? })
}

/// The answer to a change, of which only the revision is of interest.
pub fn read_change(status: u16, body: &[u8]) -> Result<Header, EngineRefusal> {
    judge(status, body)?;
    let json: RangeJson = serde_json::from_slice(body).map_err(|_| not_understood())?;
    Ok(json.header.into())
}

/// The token for a user.
pub fn read_token(status: u16, body: &[u8]) -> Result<String, EngineRefusal> {
    #[derive(Deserialize)]
    struct TokenJson {
        token: String,
    }
    judge(status, body)?;
    let json: TokenJson = serde_json::from_slice(body).map_err(|_| not_understood())?;
    // It stands in a field of each request.
    let is_plain = json.token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { Ok(json.token) } else { Err(not_understood()) }
}

/// A lease, and for how many seconds it was granted.
pub fn read_grant(status: u16, body: &[u8]) -> Result<(u64, u64), EngineRefusal> {
    judge(status, body)?;
    let json: ResultJson = serde_json::from_slice(body).map_err(|_| not_understood())?;
    if json.id.0 == 0 { Err(not_understood()) } else { Ok((json.id.0, json.seconds.0)) }
}

/// For how many seconds a lease goes on; 0: it has ended.
pub fn read_keep_alive(status: u16, body: &[u8]) -> Result<u64, EngineRefusal> {
    judge(status, body)?;
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let json: LineJson = serde_json::from_slice(first).map_err(|_| not_understood())?;
    match (json.result, json.error) {
        (Some(result), None) => Ok(result.seconds.0),
        (_, Some(error)) => Err(refusal(status, &error)),
        (None, None) => Err(not_understood()),
    }
}

/// A line of a watch.
pub fn read_watch(line: &[u8]) -> Result<WatchLine, EngineRefusal> {
    let json: LineJson = serde_json::from_slice(line).map_err(|_| not_understood())?;
    let result = match (json.result, json.error) {
        (Some(result), None) => result,
        (_, Some(error)) => return Err(refusal(200, &error)),
        (None, None) => return Err(not_understood()),
    };
    if result.canceled && result.compact_revision.0 > 0 {
        return Ok(WatchLine::Compacted);
    }
    if result.canceled {
        return Ok(WatchLine::Cancelled(result.cancel_reason));
    }
    if result.created {
        return Ok(WatchLine::Created);
    }
    let changes: Option<Vec<KeyChange>> = result.events.iter().map(change).collect();
    Ok(WatchLine::Changes(result.header.revision.0, changes.ok_or_else(not_understood)?))
}

fn change(event: &EventJson) -> Option<KeyChange> {
    match event.kind.as_str() {
        "DELETE" => Some(KeyChange::Delete(base64::decode(&event.kv.key)?)),
        "" | "PUT" => Some(KeyChange::Put(key_value(&event.kv)?)),
        _ => None,
    }
}

/// Whether a response is what was asked for, as its status says.
pub fn judge(status: u16, body: &[u8]) -> Result<(), EngineRefusal> {
    if status == 200 {
        return Ok(());
    }
    let error: EngineErrorJson = serde_json::from_slice(body).unwrap_or_default();
    Err(refusal(status, &error))
}

/// The codes of gRPC that say nothing of the request.
const DEADLINE_EXCEEDED: u64 = 4;
const UNAVAILABLE: u64 = 14;
const UNAUTHENTICATED: u64 = 16;

fn refusal(status: u16, error: &EngineErrorJson) -> EngineRefusal {
    let text = if error.message.is_empty() { &error.error } else { &error.message };
    let text = text.strip_prefix("etcdserver: ").unwrap_or(text);
    // What somebody else wrote stands in a line of the journal.
    let text: String = text.chars().filter(|one| !one.is_control()).take(200).collect();
    let text = if text.is_empty() { format!("it answers {status}") } else { text };
    if text == "leader changed" {
        return EngineRefusal::Electing;
    }
    let says_nothing = matches!(error.code, DEADLINE_EXCEEDED | UNAVAILABLE | UNAUTHENTICATED);
    // A token ends when its member is started anew.
    if says_nothing || status >= 500 && error.code == 0 || text.contains("invalid auth token") {
        EngineRefusal::Unavailable(text)
    } else {
        EngineRefusal::Refused(text)
    }
}

#[cfg(test)]
#[path = "etcd_tests.rs"]
mod tests;
