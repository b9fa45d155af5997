//! What an operator asks for: a request to a command, or to the answer that says why it is none.

use serde::Deserialize;
use serde_json::Value;

use crate::config::{self, AUTO_CAP, Endpoint, MOST_REQUESTS, WrittenCap, address, text, units};
use crate::http::Method;
use crate::mem::time::Millis;
use crate::policy::explain::{Question, SOMEBODY};
use crate::policy::health::AdminState;
use crate::shared::Wish;

use super::answer::ApiResponse;
use super::cache::PurgeTarget;
use super::diary::DiaryPart;
use super::health::{self, Needed};
use super::page_window::PageWindow;
use super::query::{decoded, parameters, unknown, wrong};
use super::request_parser::ApiRequest;

/// So many entries of the diary are told if nobody says how many,
const ENTRIES: u32 = 50;
/// and so many at most.
const MOST_ENTRIES: u32 = 256;

/// Where a request came in, which decides what may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLevel {
    /// The Unix socket: whoever may open it may do everything.
    Socket,
    /// TCP, with a token.
    Token,
    /// The address of the status page, where nothing is changed and no secret told.
    Status,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The status page, with numbers of that time; that of this name has been shown before.
    Page(PageWindow, Option<String>),
    /// Somebody has clicked into the page of this name.
    Hold(String),
    /// The metrics.
    Metrics,
    /// Whether clients are accepted, and so many backends are up.
    Health(Vec<Needed>),
    /// The service in numbers.
    Status,
    /// What went wrong, took long or was said, so many entries.
    Diary(DiaryPart, usize),
    /// All pools.
    Pools,
    /// One pool.
    Pool(String),
    /// The names that bring backends.
    Names,
    /// A backend is there, or still is.
    Register(BackendRef, RegistrationRequest),
    /// A registered backend goes.
    Remove(BackendRef),
    /// The operator wants something of a backend.
    Adjust(BackendRef, Wish),
    /// The registry.
    Registry,
    /// The configuration is to be read anew.
    Reload,
    /// The service is to be withdrawn, or that taken back.
    Withdraw(bool),
    /// Stored answers are to be forgotten: what [`purge`] reads. Where there are none, nothing of it
    /// counts.
    Purge(Vec<u8>),
    /// How one request would be handled.
    Explain(Question),
}

/// Which backend of which pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The pool's name, which is a valid one.
    pub pool: String,
    /// The backend.
    pub address: Endpoint,
}

/// How a backend registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistrationRequest {
    /// It is removed after this time unless it registers again; `None`: it stays.
    pub lease: Option<Millis>,
    /// Its share, 1 to 256, if that was said.
    pub weight: Option<u32>,
    /// Requests at once, 0 for any, [`AUTO_CAP`] for as many as it bears, if that was said.
    pub max_connections: Option<u32>,
    /// Whether it stands in only for primaries that are out, if that was said.
    pub backup: Option<bool>,
    /// What is to be done with it, if that was said. Never [`AdminState::Leaving`].
    pub state: Option<AdminState>,
}

/// The command that a request asks for. `Err` is the answer to one that asks for none.
pub fn read(access: AccessLevel, request: &ApiRequest) -> Result<Command, ApiResponse> {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (request.target.as_str(), ""),
    };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (segments.as_slice(), access) {
        ([""], _) => page(query, request),
        (["held"], _) => {
            only_get(request)?;
            Ok(Command::Hold(parameter("page", query)?.unwrap_or_default()))
        }
        (["metrics"], _) => only_get(request).map(|()| Command::Metrics),
        (["healthz"], _) => {
            only_get(request)?;
            health::needed(query).map(Command::Health)
        }
        (["v1", rest @ ..], AccessLevel::Socket | AccessLevel::Token) => {
            command(rest, path, query, request)
        }
        (_, AccessLevel::Socket | AccessLevel::Token | AccessLevel::Status) => Err(nothing(path)),
    }
}

/// A command of the first version of the API.
fn command(
    segments: &[&str],
    path: &str,
    query: &str,
    request: &ApiRequest,
) -> Result<Command, ApiResponse> {
    match segments {
        ["status"] => only_get(request).map(|()| Command::Status),
        ["errors"] => diary(DiaryPart::Errors, query, request),
        ["slow"] => diary(DiaryPart::Slow, query, request),
        ["events"] => diary(DiaryPart::Events, query, request),
        ["names"] => only_get(request).map(|()| Command::Names),
        ["pools"] => only_get(request).map(|()| Command::Pools),
        ["pools", name] => {
            only_get(request)?;
            Ok(Command::Pool(decoded(name)?.into_owned()))
        }
        ["pools", name, "backends", backend] => {
            let method = request.method;
            if !matches!(method, Method::Put | Method::Delete | Method::Patch) {
                return Err(not_allowed("Allow: PUT, DELETE, PATCH\r\n"));
            }
            let place = place(name, backend)?;
            Ok(match method {
                Method::Put => Command::Register(place, registration(query)?),
                Method::Delete => Command::Remove(place),
                _ => Command::Adjust(place, adjustment(&request.body)?),
            })
        }
        ["pools", name, "backends", "unix:", rest @ ..] => {
            let right = format!("/v1/pools/{name}/backends/unix:%2F{}", rest.join("%2F"));
            let fault = "the path of a Unix socket must be percent-encoded";
            Err(wrong(format!("{fault} (write {})", text::quote(&right))))
        }
        ["registry"] => only_get(request).map(|()| Command::Registry),
        ["reload"] => only_post(request).map(|()| Command::Reload),
        ["withdrawn"] => {
            if request.method != Method::Put {
                return Err(not_allowed("Allow: PUT\r\n"));
            }
            withdrawal(&request.body).map(Command::Withdraw)
        }
        ["cache", "purge"] => {
            only_post(request)?;
            Ok(Command::Purge(request.body.clone()))
        }
        ["explain"] => {
            only_get(request)?;
            question(query).map(Command::Explain)
        }
        _ => Err(nothing(path)),
    }
}

/// `window=1m&page=0123456789abcdef`.
fn page(query: &str, request: &ApiRequest) -> Result<Command, ApiResponse> {
    only_get(request)?;
    let (mut window, mut name) = (PageWindow::ALL[0], None);
    for (key, value) in parameters(query) {
        match key {
            "window" => {
                let known = PageWindow::ALL.into_iter().find(|known| known.as_str() == value);
                window = known.ok_or_else(|| {
                    let value = text::quote(value);
                    wrong(format!("window: {value} is not right (write 10s, 1m, 5m or all)"))
                })?;
            }
            "page" => name = Some(value.to_owned()),
            _ => return Err(unknown(key, &["window", "page"])),
        }
    }
    Ok(Command::Page(window, name))
}

/// The only parameter that there is, if it is given.
fn parameter(name: &str, query: &str) -> Result<Option<String>, ApiResponse> {
    let mut found = None;
    for (key, value) in parameters(query) {
        if key != name {
            return Err(unknown(key, &[name]));
        }
        found = Some(decoded(value)?.into_owned());
    }
    Ok(found)
}

/// `n=50`.
fn diary(part: DiaryPart, query: &str, request: &ApiRequest) -> Result<Command, ApiResponse> {
    only_get(request)?;
    let count = match parameter("n", query)? {
        Some(count) => number("n", &count, 1, MOST_ENTRIES)?,
        None => ENTRIES,
    };
    Ok(Command::Diary(part, count as usize))
}

fn nothing(path: &str) -> ApiResponse {
    ApiResponse::error(404, &format!("there is no {} (see httplb(8))", text::quote(path)))
}

fn not_allowed(allow: &'static str) -> ApiResponse {
    ApiResponse::error(405, "this cannot be done there").with(allow)
}

fn only_get(request: &ApiRequest) -> Result<(), ApiResponse> {
    match request.method {
        Method::Get | Method::Head => Ok(()),
        Method::Options
        | Method::Trace
        | Method::Put
        | Method::Delete
        | Method::Post
        | Method::Patch
        | Method::Connect
        | Method::Other => Err(not_allowed("Allow: GET, HEAD\r\n")),
    }
}

fn only_post(request: &ApiRequest) -> Result<(), ApiResponse> {
    if request.method == Method::Post { Ok(()) } else { Err(not_allowed("Allow: POST\r\n")) }
}

fn place(name: &str, backend: &str) -> Result<BackendRef, ApiResponse> {
    let pool = decoded(name)?.into_owned();
    if !config::is_pool_name(&pool) {
        let name = text::quote(&pool);
        return Err(wrong(format!("{name} is not a name for a pool ({})", config::NAME_REMEDY)));
    }
    let text = decoded(backend)?;
    let address = address::backend(&text).map_err(|fault| wrong(fault.to_string()))?;
    Ok(BackendRef { pool, address })
}

/// `lease=10s&weight=1&max_connections=0&backup=false&state=ready`, each at most once.
fn registration(query: &str) -> Result<RegistrationRequest, ApiResponse> {
    let mut registration = RegistrationRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in parameters(query) {
        let (name, value) = (decoded(name)?, decoded(value)?);
        if seen.iter().any(|earlier| *earlier == name) {
            return Err(wrong(format!("{name} is given twice")));
        }
        match &*name {
            "lease" => registration.lease = Some(lease(&value)?),
            "weight" => registration.weight = Some(number("weight", &value, 1, 256)?),
            "max_connections" => {
                registration.max_connections = Some(cap(&value)?);
            }
            "backup" => registration.backup = Some(truth("backup", &value)?),
            "state" => registration.state = Some(state("state", &value)?),
            _ => {
                let known = ["lease", "weight", "max_connections", "backup", "state"];
                return Err(unknown(&name, &known));
            }
        }
        seen.push(name.into_owned());
    }
    Ok(registration)
}

fn cap(value: &str) -> Result<u32, ApiResponse> {
    if value == "auto" {
        return Ok(AUTO_CAP);
    }
    number("max_connections", value, 0, MOST_REQUESTS).map_err(|_| {
        let value = text::quote(value);
        wrong(format!("max_connections: {value} is not right (write 0 to 1000000, or auto)"))
    })
}

fn lease(value: &str) -> Result<Millis, ApiResponse> {
    let day = Millis::from_secs(24 * 3600);
    match units::duration(value) {
        Ok(_) if units::is_padded(value) => {
            let value = text::quote(value);
            Err(wrong(format!("lease: {value} begins with a zero (write 5s or 250ms)")))
        }
        Ok(lease) if lease >= Millis(100) && lease <= day => Ok(lease),
        Ok(_) => {
            let value = text::quote(value);
            Err(wrong(format!("lease: {value} is out of range (write 100ms to 24h)")))
        }
        Err(fault) => Err(wrong(format!("lease: {fault}"))),
    }
}

fn truth(name: &str, value: &str) -> Result<bool, ApiResponse> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => {
            Err(wrong(format!("{name}: {} is not right (write true or false)", text::quote(other))))
        }
    }
}

/// A state that may be asked for.
fn state(name: &str, value: &str) -> Result<AdminState, ApiResponse> {
    AdminState::parse(value).ok_or_else(|| {
        let remedy = "write \"ready\", \"drain\" or \"maint\"";
        wrong(format!("{name}: {} is not a state ({remedy})", text::quote(value)))
    })
}

fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, ApiResponse> {
    match units::whole(value) {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        Some(_) | None => {
            let value = text::quote(value);
            Err(wrong(format!("{name}: {value} is not right (write {least} to {most})")))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdjustmentJson {
    state: Option<String>,
    weight: Option<Value>,
    max_connections: Option<Value>,
}

/// `{"state": "drain", "weight": 5, "max_connections": "auto"}`, at least one of them.
fn adjustment(body: &[u8]) -> Result<Wish, ApiResponse> {
    let example = "write {\"state\": \"drain\"} or {\"weight\": 5}";
    // A list of both values would be taken for the object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong(format!("the body is no JSON object ({example})")));
    }
    let json: AdjustmentJson =
        serde_json::from_slice(body).map_err(|error| wrong(format!("{error} ({example})")))?;
    let state = json.state.as_deref().map(|value| state("state", value)).transpose()?;
    let weight = json.weight.map(|written| {
        let number = written.as_u64().filter(|weight| (1..=256).contains(weight));
        let refused = || wrong(format!("weight: {written} is not right (write 1 to 256)"));
        number.map(|weight| weight as u32).ok_or_else(refused)
    });
    let max_connections = json.max_connections.map(|written| {
        let cap = WrittenCap::deserialize(&written).ok().and_then(|written| written.read());
        let remedy = "write 0 to 1000000, or \"auto\"";
        cap.ok_or_else(|| wrong(format!("max_connections: {written} is not right ({remedy})")))
    });
    let (weight, max_connections) = (weight.transpose()?, max_connections.transpose()?);
    if state.is_none() && weight.is_none() && max_connections.is_none() {
        return Err(wrong(format!("nothing is to be changed ({example})")));
    }
    Ok(Wish { state, weight, max_connections })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawalJson {
    withdrawn: bool,
}

/// `{"withdrawn": true}`.
fn withdrawal(body: &[u8]) -> Result<bool, ApiResponse> {
    let example = "write {\"withdrawn\": true} or {\"withdrawn\": false}";
    // A list of the value would be taken for the object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong(format!("the body is no JSON object ({example})")));
    }
    let json: WithdrawalJson =
        serde_json::from_slice(body).map_err(|error| wrong(format!("{error} ({example})")))?;
    Ok(json.withdrawn)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeJson {
    url: Option<String>,
    prefix: Option<String>,
}

/// `{"url": "http://host/path"}` or `{"prefix": "http://host/pa"}`.
pub fn purge(body: &[u8]) -> Result<PurgeTarget, ApiResponse> {
    let example = "write {\"url\": \"http://host/path\"} or {\"prefix\": \"http://host/\"}";
    // A list of both values would be taken for the object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong(format!("the body is no JSON object ({example})")));
    }
    let json: PurgeJson =
        serde_json::from_slice(body).map_err(|error| wrong(format!("{error} ({example})")))?;
    match (json.url, json.prefix) {
        (Some(url), None) => Ok(PurgeTarget::Url(url)),
        (None, Some(prefix)) => Ok(PurgeTarget::Prefix(prefix)),
        (Some(_), Some(_)) => {
            Err(wrong(format!("either \"url\" or \"prefix\" must be given ({example})")))
        }
        (None, None) => Err(wrong(format!("nothing is to be purged ({example})"))),
    }
}

/// `method=GET&url=…&h=Name:value`, of which `h` may come several times.
fn question(query: &str) -> Result<Question, ApiResponse> {
    let (mut method, mut url, mut fields) = (None, None, Vec::new());
    for (name, value) in parameters(query) {
        let value = decoded(value)?.into_owned();
        match name {
            "method" => method = Some(value),
            "url" => url = Some(value),
            "h" if value.contains(':') => fields.push(value),
            "h" => {
                let found = text::quote(&value);
                return Err(wrong(format!(
                    "h={found} is not a header line (write h=Name:%20value)"
                )));
            }
            _ => return Err(unknown(name, &["method", "url", "h"])),
        }
    }
    let Some(url) = url else {
        return Err(wrong("there is no url (write ?method=GET&url=http://host/path)"));
    };
    let method = method.unwrap_or_else(|| String::from("GET"));
    Ok(Question { method, url, fields, client: SOMEBODY })
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
