//! The metrics as Prometheus reads them: the text format, version 0.0.4.
//!
//! A family is one metric of all pools and backends; all its samples stand together, behind its
//! HELP and TYPE.

use std::fmt::Write as _;

use crate::mem::time::{Micros, Millis};

use super::view::{BackendStatus, PoolStatus, ServiceStatus, View};
use crate::policy::health::Availability;
use crate::shared::{Class, Histogram};

/// The media type of what `render` writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of metric a family is.
#[derive(Clone, Copy)]
enum MetricKind {
    /// It only grows.
    Counter,
    /// It is as it is now.
    Gauge,
    Histogram,
}

impl MetricKind {
    const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// All metrics of the service.
pub fn render(view: &View) -> String {
    let backends: usize = view.pools.iter().map(|pool| pool.backends.len()).sum();
    let mut page = MetricsText { text: String::with_capacity(8192 + 4608 * backends) };
    page.process(&view.service);
    page.clients(&view.service);
    page.pools(&view.pools);
    page.pool_outcomes(&view.pools);
    let backends = named(&view.pools);
    page.backends(&backends);
    page.backend_outcomes(&backends);
    page.backend_times(&backends);
    page.text
}

/// The text so far.
struct MetricsText {
    text: String,
}

/// A backend with the labels that name it, as they are written.
type Named<'a> = (String, &'a BackendStatus);

/// All backends. Their labels are written once, for there are dozens of samples of each.
fn named(pools: &[PoolStatus]) -> Vec<Named<'_>> {
    let mut all = Vec::new();
    for pool in pools {
        let of_pool = label("pool", &pool.name);
        for backend in &pool.backends {
            let own = label("backend", &backend.server().to_string());
            all.push((format!("{of_pool},{own}"), backend));
        }
    }
    all
}

/// `name="value"`.
pub fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    escape(value, &mut text);
    text.push('"');
    text
}

impl MetricsText {
    fn process(&mut self, service: &ServiceStatus) {
        self.family("httplb_build_info", MetricKind::Gauge, "1, with the version that runs.");
        self.sample("httplb_build_info", &label("version", service.version), 1);
        let start = service.snapshot.started.0 as f64 / 1e6;
        let help = "When the service started, in seconds since the epoch.";
        self.family("httplb_start_time_seconds", MetricKind::Gauge, help);
        self.sample("httplb_start_time_seconds", "", start);
        self.gauge("httplb_workers", "Worker processes.", service.snapshot.workers);
        let help = "Workers started in the place of one that died.";
        self.counter("httplb_worker_restarts_total", help, service.snapshot.worker_restarts);
        let reloads =
            [("ok", service.snapshot.reloads_done), ("failed", service.snapshot.reloads_refused)];
        let help = "Reloads: those that took effect, and those that changed nothing.";
        self.by("httplb_reloads_total", help, "result", &reloads);
        let help = "The most memory that connections can take.";
        self.gauge("httplb_memory_bound_bytes", help, service.memory_bound);
        let help = "1 unless the last reload was refused.";
        let is_refused = service.snapshot.last_reload_failed;
        self.gauge("httplb_last_reload_success", help, u64::from(!is_refused));
        let last = service.snapshot.last_reload.unwrap_or(service.snapshot.started);
        self.family(
            "httplb_last_reload_time_seconds",
            MetricKind::Gauge,
            "When the last reload was over, or the service started, since 1970.",
        );
        self.sample("httplb_last_reload_time_seconds", "", micro_seconds(last));
        let help = "1 while the service is stopping.";
        self.gauge("httplb_draining", help, u64::from(service.snapshot.is_draining));
        let help = "1 while clients are to be sent elsewhere.";
        self.gauge("httplb_withdrawn", help, u64::from(service.snapshot.is_withdrawn));
    }

    fn clients(&mut self, service: &ServiceStatus) {
        let totals = &service.totals;
        self.gauge(
            "httplb_client_connections",
            "Client connections now.",
            service.snapshot.clients,
        );
        let help = "Client connections allowed.";
        self.gauge("httplb_client_connections_max", help, service.clients_max);
        let help = "Idle clients closed for new ones, as all connections were taken.";
        self.counter("httplb_clients_recycled_total", help, totals.clients_recycled);
        let help = "Seconds in which all client connections were taken.";
        let seconds = service.clients_full.millis().0 / 1000;
        self.counter("httplb_connections_full_seconds_total", help, seconds);
        let help = "Client connections accepted.";
        self.counter("httplb_client_connections_total", help, totals.clients);
        self.counter("httplb_requests_total", "Requests that came.", totals.requests);
        let help = "Requests that came before the response to the one before them.";
        self.counter("httplb_pipelined_requests_total", help, totals.pipelined);
        let codes = Class::ALL.map(Class::as_str);
        let codes: Vec<(&str, u64)> = codes.into_iter().zip(totals.responses).collect();
        let help = "Responses to clients by class of status.";
        self.by("httplb_responses_total", help, "code", &codes);
        let help = "Responses that httplb made itself, by reason.";
        self.by("httplb_request_errors_total", help, "reason", &totals.request_errors);
        self.counter("httplb_received_bytes_total", "Bytes from clients.", totals.received);
        self.counter("httplb_sent_bytes_total", "Bytes to clients.", totals.sent);
        let help = "Bytes that were moved by splice, past the buffers.";
        self.counter("httplb_spliced_bytes_total", help, totals.spliced);
        let help = "Bodies that were copied, as splice is refused or no pipe was to be had.";
        self.counter("httplb_splice_fallbacks_total", help, totals.splice_fallbacks);
        let help = "From a request's head to the end of its response.";
        self.family("httplb_request_duration_seconds", MetricKind::Histogram, help);
        self.histogram("httplb_request_duration_seconds", "", &totals.durations);
        let help = "Lines of the access log that found no room.";
        self.counter("httplb_dropped_log_lines_total", help, totals.dropped_log_lines);
        let help = "Lines of messages that standard error had no room for.";
        self.counter("httplb_dropped_messages_total", help, totals.dropped_messages);
        let help = "Requests by what the cache did for them.";
        self.by("httplb_cache_requests_total", help, "result", &totals.cache_requests);
        let help = "Bytes of all stored responses.";
        self.gauge("httplb_cache_bytes", help, service.cache_bytes);
        let help = "Responses that were not stored or not looked for, as cache.dir was slow.";
        self.counter("httplb_cache_slow_disk_total", help, totals.cache_slow_disk);
    }

    fn pools(&mut self, pools: &[PoolStatus]) {
        let up = |pool: &PoolStatus| pool.count(Availability::Up) as u64;
        self.of_pools(
            pools,
            "httplb_pool_backends_up",
            MetricKind::Gauge,
            "Backends that are up.",
            up,
        );
        let help = "Requests that wait for a backend below its limit.";
        self.of_pools(pools, "httplb_pool_queue", MetricKind::Gauge, help, |pool| pool.queue);
        let help = "Requests sent to a further backend.";
        self.of_pools(pools, "httplb_retries_total", MetricKind::Counter, help, |pool| {
            pool.retries
        });
    }

    fn pool_outcomes(&mut self, pools: &[PoolStatus]) {
        let name = "httplb_pool_requests_total";
        self.of_pools(
            pools,
            name,
            MetricKind::Counter,
            "Requests that were routed there.",
            |pool| pool.totals.requests(),
        );
        let name = "httplb_pool_responses_total";
        self.family(name, MetricKind::Counter, "Responses to clients by class of status.");
        for pool in pools {
            let labels = label("pool", &pool.name);
            for (class, count) in Class::ALL.into_iter().zip(pool.totals.responses()) {
                self.sample_of(name, &labels, "code", class.as_str(), count);
            }
        }
        let name = "httplb_pool_errors_total";
        self.family(name, MetricKind::Counter, "Responses that httplb made itself, by reason.");
        for pool in pools {
            let labels = label("pool", &pool.name);
            for (reason, count) in &pool.errors {
                self.sample_of(name, &labels, "reason", reason, *count);
            }
        }
    }

    fn of_pools(
        &mut self,
        pools: &[PoolStatus],
        name: &str,
        kind: MetricKind,
        help: &str,
        read: impl Fn(&PoolStatus) -> u64,
    ) {
        self.family(name, kind, help);
        for pool in pools {
            self.sample(name, &label("pool", &pool.name), read(pool));
        }
    }

    fn backends(&mut self, backends: &[Named]) {
        use MetricKind::{Counter, Gauge};
        let mut one = |name, kind, help, read: fn(&BackendStatus) -> f64| {
            self.family(name, kind, help);
            for (labels, backend) in backends {
                self.sample(name, labels, read(backend));
            }
        };
        one("httplb_backend_up", Gauge, "1 while requests may go there.", |backend| {
            f64::from(u8::from(backend.state == Availability::Up))
        });
        let help = "Its share of requests.";
        one("httplb_backend_weight", Gauge, help, |backend| f64::from(backend.weight));
        let help = "Requests that it works on.";
        one("httplb_backend_requests_active", Gauge, help, |backend| f64::from(backend.active));
        let help = "Requests that it may have at once; 0 is any number.";
        one("httplb_backend_cap", Gauge, help, |backend| f64::from(backend.cap));
        let help = "Requests sent to it.";
        one("httplb_backend_requests_total", Counter, help, |backend| {
            backend.totals.requests as f64
        });
        let help = "Connections opened to it.";
        one("httplb_backend_connects_total", Counter, help, |backend| {
            backend.totals.connects as f64
        });
        let help = "Requests over a connection that was there already.";
        one("httplb_backend_reuses_total", Counter, help, |backend| backend.totals.reuses as f64);
        let help = "Idle connections that turned out closed when they were used.";
        one("httplb_backend_stale_connections_total", Counter, help, |backend| {
            backend.totals.stale_connections as f64
        });
        let help = "Responses that belonged to another request.";
        one("httplb_backend_identity_mismatches_total", Counter, help, |backend| {
            backend.totals.identity_mismatches as f64
        });
        let help = "Requests behind those of other clients on a connection.";
        one("httplb_backend_shared_requests_total", Counter, help, |backend| {
            backend.totals.shared_requests as f64
        });
        let help = "Requests that left it for another backend when it went down.";
        one("httplb_backend_evacuated_requests_total", Counter, help, |backend| {
            backend.totals.evacuated_requests as f64
        });
        let help = "Whether clients share its connections now.";
        one("httplb_backend_multiplex", Gauge, help, |backend| {
            f64::from(u8::from(matches!(backend.shares, Some(Ok(_)))))
        });
        let help = "Idle connections.";
        one("httplb_backend_idle_connections", Gauge, help, |backend| {
            backend.totals.idle_connections as f64
        });
        let help = "Checks of its health that failed.";
        one("httplb_backend_check_failures_total", Counter, help, |backend| {
            backend.check_failures as f64
        });
        let help = "How long it was down.";
        one("httplb_backend_downtime_seconds_total", Counter, help, |backend| {
            seconds(backend.downtime)
        });
    }

    fn backend_outcomes(&mut self, backends: &[Named]) {
        let name = "httplb_backend_state";
        self.family(name, MetricKind::Gauge, "1 for the state that it is in.");
        for (labels, backend) in backends {
            for state in Availability::ALL {
                let value = u64::from(backend.state == state);
                self.sample_of(name, labels, "state", state.as_str(), value);
            }
        }
        let name = "httplb_backend_responses_total";
        self.family(name, MetricKind::Counter, "Its responses by class of status.");
        for (labels, backend) in backends {
            for (class, count) in Class::ALL.into_iter().zip(backend.totals.responses) {
                self.sample_of(name, labels, "code", class.as_str(), count);
            }
        }
        let name = "httplb_backend_doubts_total";
        self.family(
            name,
            MetricKind::Counter,
            "Responses that seemed to belong to another request.",
        );
        for (labels, backend) in backends {
            for (outcome, count) in backend.totals.doubts {
                self.sample_of(name, labels, "outcome", outcome, count);
            }
        }
        let name = "httplb_backend_errors_total";
        self.family(name, MetricKind::Counter, "Requests that failed there, by reason.");
        for (labels, backend) in backends {
            for (reason, count) in &backend.totals.errors {
                self.sample_of(name, labels, "reason", reason, *count);
            }
        }
    }

    fn backend_times(&mut self, backends: &[Named]) {
        let name = "httplb_backend_response_seconds";
        self.family(
            name,
            MetricKind::Histogram,
            "From a request's dispatch to the end of its response.",
        );
        for (labels, backend) in backends {
            self.histogram(name, labels, &backend.totals.response_times);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, MetricKind::Counter, help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, MetricKind::Gauge, help);
        self.sample(name, "", value);
    }

    /// A counter with a sample for each value of one label.
    fn by(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, MetricKind::Counter, help);
        for (value, count) in values {
            self.sample_of(name, "", label, value, *count);
        }
    }

    fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    /// A sample with these labels, which are fit to be written.
    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        let _ = writeln!(self.text, "{name}{open}{labels}{close} {value}");
    }

    /// A sample with one more label, whose value needs no escaping.
    fn sample_of(&mut self, name: &str, labels: &str, last: &str, value: &str, count: u64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{name}{{{labels}{comma}{last}=\"{value}\"}} {count}");
    }

    /// Buckets as the format has them: each counts all that took no longer.
    fn histogram(&mut self, name: &str, labels: &str, times: &Histogram) {
        let bucket = format!("{name}_bucket");
        for bound in Histogram::EXPORTED {
            let le = micro_seconds(bound).to_string();
            self.sample_of(&bucket, labels, "le", &le, times.within(bound));
        }
        let count = times.count();
        self.sample_of(&bucket, labels, "le", "+Inf", count);
        self.sample(&format!("{name}_sum"), labels, micro_seconds(times.sum));
        self.sample(&format!("{name}_count"), labels, count);
    }
}

fn seconds(time: Millis) -> f64 {
    time.0 as f64 / 1e3
}

fn micro_seconds(time: Micros) -> f64 {
    time.0 as f64 / 1e6
}

/// The three characters that would end a label's value or its line.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
