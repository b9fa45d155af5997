//! The service and its pools as JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::config::ShownCap;
use crate::mem::time::{Micros, Millis};
use crate::policy::health::AdminState;
use crate::policy::multiplexing;
use crate::policy::reason::Reason;
use crate::shared::history::{Lately, Window};

use super::verdict::{self, Finding, Severity};
use super::view::{BackendStatus, PoolStatus, ServiceStatus};

/// Of all that is wrong so much is told.
const TROUBLES: usize = 10;

#[derive(serde::Serialize)]
struct StatusJson<'a> {
    version: &'static str,
    pid: u32,
    uptime_s: u64,
    workers: u64,
    draining: bool,
    withdrawn: bool,
    connections: ConnectionsJson,
    requests_total: u64,
    memory_bound_bytes: u64,
    errors_total: u64,
    errors: ReasonsJson<'a>,
    troubles: Vec<TroubleJson<'a>>,
    now: NowJson,
}

/// One thing that is wrong.
#[derive(serde::Serialize)]
struct TroubleJson<'a> {
    severity: &'static str,
    text: &'a str,
}

#[derive(serde::Serialize)]
struct ConnectionsJson {
    current: u64,
    max: u64,
}

#[derive(serde::Serialize)]
struct PoolsJson<'a> {
    pools: Vec<PoolJson<'a>>,
}

#[derive(serde::Serialize)]
struct PoolJson<'a> {
    name: &'a str,
    balance: &'static str,
    queue: u64,
    retries_total: u64,
    requests_total: u64,
    errors_total: u64,
    errors: ReasonsJson<'a>,
    severity: &'static str,
    now: NowJson,
    backends: Vec<BackendJson<'a>>,
}

#[derive(serde::Serialize)]
struct BackendJson<'a> {
    backend: String,
    state: &'static str,
    admin: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    weight: u32,
    connections: u32,
    max_connections: ShownCap,
    cap: Option<u32>,
    queue: u64,
    requests_total: u64,
    errors_total: u64,
    errors: ReasonsJson<'a>,
    last_check: Option<CheckJson>,
    state_since_s: u64,
    why: Option<String>,
    idle_limit_ms: u64,
    echoes_id: bool,
    multiplex: Option<String>,
    lease_s: Option<u64>,
    now: NowJson,
}

/// How often something failed for each reason for which it did.
struct ReasonsJson<'a>(&'a [(&'static str, u64)]);

impl Serialize for ReasonsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (reason, count) in self.0.iter().filter(|(_, count)| *count > 0) {
            map.serialize_entry(reason, count)?;
        }
        map.end()
    }
}

/// What was counted of late.
#[derive(serde::Serialize)]
struct NowJson {
    #[serde(rename = "10s")]
    ten_seconds: WindowJson,
    #[serde(rename = "1m")]
    minute: WindowJson,
    #[serde(rename = "5m")]
    five_minutes: WindowJson,
}

#[derive(serde::Serialize)]
struct WindowJson {
    requests_per_s: f64,
    errors_per_s: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(serde::Serialize)]
struct CheckJson {
    ok: bool,
    status: Option<u16>,
    ms: f64,
    age_s: u64,
}

#[derive(serde::Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    errors: &'a [String],
}

/// The answer to `GET /v1/status`, where all this is wrong.
pub fn status(service: &ServiceStatus, troubles: &[Finding]) -> String {
    let troubles = troubles.iter().take(TROUBLES);
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
        errors_total: total(&service.totals.request_errors),
        errors: ReasonsJson(&service.totals.request_errors),
        troubles: troubles
            .map(|found| TroubleJson { severity: found.severity.as_str(), text: &found.text })
            .collect(),
        now: now(&service.lately),
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
    let findings = verdict::of_pool(pool);
    let severity = verdict::worst(findings.iter()).map_or(Severity::Fine, |worst| worst.severity);
    PoolJson {
        name: &pool.name,
        balance: pool.balance.as_str(),
        queue: pool.queue,
        retries_total: pool.retries,
        requests_total: pool.totals.requests(),
        errors_total: total(&pool.errors),
        errors: ReasonsJson(&pool.errors),
        severity: severity.as_str(),
        now: now(&pool.lately),
        backends,
    }
}

fn backend_json(backend: &BackendStatus) -> BackendJson<'_> {
    BackendJson {
        backend: backend.server().to_string(),
        state: backend.state.as_str(),
        admin: admin(backend.admin),
        source: backend.source.as_str(),
        name: backend.name.clone(),
        weight: backend.weight,
        connections: backend.active,
        max_connections: backend.max_connections.into(),
        cap: (backend.cap > 0).then_some(backend.cap),
        queue: backend.queue,
        requests_total: backend.totals.requests,
        errors_total: backend.totals.errors_total(),
        errors: ReasonsJson(&backend.totals.errors),
        last_check: backend.last_check.map(|check| CheckJson {
            ok: check.is_ok,
            status: check.status,
            ms: tenths(check.time),
            age_s: seconds(check.age),
        }),
        state_since_s: seconds(backend.state_since),
        why: backend.why.clone(),
        idle_limit_ms: backend.totals.idle_limit.0,
        echoes_id: backend.totals.echoes_id,
        multiplex: backend.shares.map(multiplexing::described),
        lease_s: backend.lease.map(seconds),
        now: now(&backend.totals.lately),
    }
}

fn now(lately: &Lately) -> NowJson {
    let window = |window| {
        let growth = lately.of(window);
        let rate = |count| (growth.per_second(count) * 100.0).round() / 100.0;
        let times = growth.counts.times();
        WindowJson {
            requests_per_s: rate(growth.counts.requests()),
            errors_per_s: rate(growth.counts.failures()),
            p50_ms: times.quantile(0.5).map(tenths),
            p99_ms: times.quantile(0.99).map(tenths),
        }
    };
    NowJson {
        ten_seconds: window(Window::TenSeconds),
        minute: window(Window::Minute),
        five_minutes: window(Window::FiveMinutes),
    }
}

/// All but the requests of clients that went away, for which nobody else is to blame.
fn total(errors: &[(&'static str, u64)]) -> u64 {
    let blamed = errors.iter().filter(|(reason, _)| *reason != Reason::ClientAbort.as_str());
    blamed.fold(0, |sum, (_, count)| sum.wrapping_add(*count))
}

/// As PATCH writes it; `leaving` cannot be written.
pub fn admin(admin: AdminState) -> &'static str {
    admin.as_str()
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

    const NOW: &str = concat!(
        r#""now":{"10s":{"requests_per_s":123.0,"errors_per_s":1.0,"p50_ms":0.9,"p99_ms":90.0},"#,
        r#""1m":{"requests_per_s":123.0,"errors_per_s":1.0,"p50_ms":0.9,"p99_ms":90.0},"#,
        r#""5m":{"requests_per_s":123.0,"errors_per_s":1.0,"p50_ms":0.9,"p99_ms":90.0}}"#,
    );

    #[test]
    fn the_status_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            status(&views::view().service, &[]),
            String::from(
                "{\"version\":\"0.2.0\",\"pid\":4711,\"uptime_s\":90061,\"workers\":2,\
             \"draining\":false,\"withdrawn\":false,\"connections\":{\"current\":17,\"max\":8192},\
             \"requests_total\":50000,\"memory_bound_bytes\":1107296256,\"errors_total\":23,\
                 \"errors\":{\"http_request_error\":11,\"destination_unavailable\":12},\
                 \"troubles\":[],"
            ) + NOW
                + "}\n"
        );
    }

    #[test]
    fn the_status_says_what_is_wrong_but_not_without_end() {
        let found = |text: &str| Finding { severity: Severity::Bad, text: text.into() };
        let mut troubles = vec![found("a: no backend is up")];
        troubles.extend(std::iter::repeat_n(found("more"), 20));
        let text = status(&views::view().service, &troubles);
        assert!(text.contains(
            r#""troubles":[{"severity":"bad","text":"a: no backend is up"},{"severity":"bad","#
        ));
        assert_eq!(text.matches("more").count(), TROUBLES - 1);
    }

    #[test]
    fn a_backend_has_the_keys_of_the_contract_in_their_order() {
        assert_eq!(
            backend(&views::backend()),
            String::from(
                "{\"backend\":\"127.0.0.1:8001\",\"state\":\"up\",\"admin\":\"ready\",\
             \"source\":\"file\",\"weight\":5,\"connections\":3,\"max_connections\":50,\"cap\":50,\
             \"queue\":0,\"requests_total\":40010,\"errors_total\":3,\
             \"errors\":{\"connection_refused\":2,\"http_response_timeout\":1},\
             \"last_check\":{\"ok\":true,\"status\":200,\"ms\":1.2,\"age_s\":3},\
             \"state_since_s\":86,\"why\":null,\"idle_limit_ms\":4000,\"echoes_id\":true,\"multiplex\":null,\"lease_s\":null,"
            ) + NOW
                + "}\n"
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
        assert!(text.contains("\"lease_s\":9,\"now\":{"));
        unknown.last_check = None;
        assert!(backend(&unknown).contains("\"last_check\":null,"));
    }

    #[test]
    fn one_pool_is_an_element_of_the_list_of_all() {
        let view = views::view();
        let one = pool(&view.pools[0]);
        let severity = verdict::of_pool(&view.pools[0]).iter().map(|found| found.severity).max();
        let severity = severity.unwrap().as_str();
        assert!(one.starts_with(
            &(String::from(
                "{\"name\":\"default\",\"balance\":\"round_robin\",\"queue\":2,\
                     \"retries_total\":21,\"requests_total\":246,\"errors_total\":12,\
                     \"errors\":{\"destination_unavailable\":12,\"client_abort\":4},\
                     \"severity\":\""
            ) + severity
                + "\","
                + NOW
                + ",\"backends\":[")
        ));
        assert_eq!(pools(&view.pools), format!("{{\"pools\":[{}]}}\n", one.trim_end()));
    }

    #[test]
    fn an_error_has_its_details_only_if_there_are_some() {
        assert_eq!(error("no \"x\"", &[]), "{\"error\":\"no \\\"x\\\"\"}\n");
        let details = [String::from("a"), String::from("b")];
        assert_eq!(error("no", &details), "{\"error\":\"no\",\"errors\":[\"a\",\"b\"]}\n");
    }
}
