//! The service and its pools as JSON.

use serde::Serialize;

use crate::mem::time::{Micros, Millis};
use crate::policy::health::AdminState;
use crate::policy::multiplexing;

use super::view::{BackendStatus, PoolStatus, ServiceStatus};

#[derive(Serialize)]
struct StatusJson {
    version: &'static str,
    pid: u32,
    uptime_s: u64,
    workers: u64,
    draining: bool,
    withdrawn: bool,
    connections: ConnectionsJson,
    requests_total: u64,
    memory_bound_bytes: u64,
}

#[derive(Serialize)]
struct ConnectionsJson {
    current: u64,
    max: u64,
}

#[derive(Serialize)]
struct PoolsJson<'a> {
    pools: Vec<PoolJson<'a>>,
}

#[derive(Serialize)]
struct PoolJson<'a> {
    name: &'a str,
    balance: &'static str,
    backends: Vec<BackendJson>,
}

#[derive(Serialize)]
struct BackendJson {
    backend: String,
    state: &'static str,
    admin: &'static str,
    source: &'static str,
    weight: u32,
    connections: u32,
    max_connections: u32,
    queue: u64,
    requests_total: u64,
    errors_total: u64,
    last_check: Option<CheckJson>,
    state_since_s: u64,
    idle_limit_ms: u64,
    echoes_id: bool,
    multiplex: Option<String>,
    lease_s: Option<u64>,
}

#[derive(Serialize)]
struct CheckJson {
    ok: bool,
    status: Option<u16>,
    ms: f64,
    age_s: u64,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    errors: &'a [String],
}

/// The answer to `GET /v1/status`.
pub fn status(service: &ServiceStatus) -> String {
    json(&StatusJson {
        version: service.version,
        pid: service.pid,
        uptime_s: seconds(service.snapshot.uptime),
        workers: service.snapshot.workers,
        draining: service.snapshot.is_draining,
        withdrawn: service.snapshot.is_withdrawn,
        connections: ConnectionsJson {
            current: service.snapshot.clients,
            max: service.clients_max,
        },
        requests_total: service.totals.requests,
        memory_bound_bytes: service.memory_bound,
    })
}

/// The answer to `GET /v1/pools`, all of them.
pub fn pools(pools: &[PoolStatus]) -> String {
    json(&PoolsJson { pools: pools.iter().map(pool_json).collect() })
}

/// The answer to `GET /v1/pools/NAME`.
pub fn pool(pool: &PoolStatus) -> String {
    json(&pool_json(pool))
}

/// The answer to what concerns one backend.
pub fn backend(backend: &BackendStatus) -> String {
    json(&backend_json(backend))
}

/// An answer that says what went wrong, and in detail.
pub fn error(message: &str, errors: &[String]) -> String {
    json(&ErrorJson { error: message, errors })
}

fn pool_json(pool: &PoolStatus) -> PoolJson<'_> {
    let backends = pool.backends.iter().map(backend_json).collect();
    PoolJson { name: &pool.name, balance: pool.balance.as_str(), backends }
}

fn backend_json(backend: &BackendStatus) -> BackendJson {
    BackendJson {
        backend: backend.server().to_string(),
        state: backend.state.as_str(),
        admin: admin(backend.admin),
        source: backend.source.as_str(),
        weight: backend.weight,
        connections: backend.active,
        max_connections: backend.max_connections,
        queue: backend.queue,
        requests_total: backend.totals.requests,
        errors_total: backend.totals.errors_total(),
        last_check: backend.last_check.map(|check| CheckJson {
            ok: check.is_ok,
            status: check.status,
            ms: tenths(check.time),
            age_s: seconds(check.age),
        }),
        state_since_s: seconds(backend.state_since),
        idle_limit_ms: backend.totals.idle_limit.0,
        echoes_id: backend.totals.echoes_id,
        multiplex: backend.shares.map(multiplexing::described),
        lease_s: backend.lease.map(seconds),
    }
}

/// As PATCH writes it; `leaving` cannot be written.
pub fn admin(admin: AdminState) -> &'static str {
    match admin {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
        AdminState::Leaving => "leaving",
    }
}

/// Milliseconds with one digit behind the point.
fn tenths(time: Micros) -> f64 {
    (time.0.saturating_add(50) / 100) as f64 / 10.0
}

/// Whole seconds, rounded down.
fn seconds(time: Millis) -> u64 {
    time.0 / 1000
}

fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_else(|error| {
        unreachable!("texts, numbers and lists are always written: {error}")
    });
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::view::tests as views;
    use super::*;
    use crate::policy::health::Availability;
    use crate::shared::Source;
    use crate::shared::snapshot::CheckSnapshot;

    #[test]
    fn the_status_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            status(&views::view().service),
            "{\"version\":\"0.2.0\",\"pid\":4711,\"uptime_s\":90061,\"workers\":2,\
             \"draining\":false,\"withdrawn\":false,\"connections\":{\"current\":17,\"max\":8192},\
             \"requests_total\":50000,\"memory_bound_bytes\":1107296256}\n"
        );
    }

    #[test]
    fn a_backend_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            backend(&views::backend()),
            "{\"backend\":\"127.0.0.1:8001\",\"state\":\"up\",\"admin\":\"ready\",\
             \"source\":\"file\",\"weight\":5,\"connections\":3,\"max_connections\":50,\
             \"queue\":0,\"requests_total\":40010,\"errors_total\":3,\
             \"last_check\":{\"ok\":true,\"status\":200,\"ms\":1.2,\"age_s\":3},\
             \"state_since_s\":86,\"idle_limit_ms\":4000,\"echoes_id\":true,\"multiplex\":null,\"lease_s\":null}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let check =
            CheckSnapshot { is_ok: false, status: None, time: Micros(50), age: Millis(999) };
        let mut unknown = BackendStatus {
            state: Availability::Down,
            admin: AdminState::Leaving,
            source: Source::Api,
            lease: Some(Millis(9_999)),
            last_check: Some(check),
            ..views::backend()
        };
        let text = backend(&unknown);
        assert!(text.contains("\"state\":\"down\",\"admin\":\"leaving\",\"source\":\"api\""));
        assert!(text.contains("{\"ok\":false,\"status\":null,\"ms\":0.1,\"age_s\":0}"));
        assert!(text.contains("\"lease_s\":9}"));
        unknown.last_check = None;
        assert!(backend(&unknown).contains("\"last_check\":null,"));
    }

    #[test]
    fn one_pool_is_an_element_of_the_list_of_all() {
        let view = views::view();
        let one = pool(&view.pools[0]);
        assert!(
            one.starts_with("{\"name\":\"default\",\"balance\":\"round_robin\",\"backends\":[")
        );
        assert_eq!(pools(&view.pools), format!("{{\"pools\":[{}]}}\n", one.trim_end()));
    }

    #[test]
    fn an_error_has_its_details_only_if_there_are_some() {
        assert_eq!(error("no \"x\"", &[]), "{\"error\":\"no \\\"x\\\"\"}\n");
        let details = [String::from("a"), String::from("b")];
        assert_eq!(error("no", &details), "{\"error\":\"no\",\"errors\":[\"a\",\"b\"]}\n");
    }
}
