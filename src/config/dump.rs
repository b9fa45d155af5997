//! A configuration written back as JSON: every default filled in, and again a valid file.

use std::fmt::Display;
use std::path::Path;

use crate::mem::time::Millis;

use super::endpoint::Endpoint;
use super::file::Value;
use super::model::{
    AccessLog, Backend, Cache, Config, ForwardFields, HealthCheck, Listen, Multiplex, Pool,
    RequestId, Route, RouteTarget, Sticky, Timeouts, Workers,
};
use super::named::{Lookup, NamedServer};
use super::registry;
use super::request_limit::AUTO_CAP;
use super::statuses::{StatusEntry, Statuses};
use super::tolerance::Tolerance;
use super::units::{write_duration, write_size};

impl Config {
    /// The configuration as JSON, every default filled in: again a valid file.
    pub fn dump(&self) -> String {
        config(self).to_string()
    }
}

/// The whole configuration, its keys in the order of `servers.conf(5)`.
pub fn config(config: &Config) -> Value {
    let (default, further) = match config.pools.split_first() {
        Some((default, further)) => (pool(default), further),
        None => (Vec::new(), &[][..]),
    };
    let further = further.iter().map(|each| (each.name.clone(), Value::Object(pool(each))));
    let admin = &config.admin;
    let error_pages = config.error_pages.iter();
    let error_pages = error_pages.map(|page| (page.status.to_string(), path(&page.path)));
    let mut entries = vec![
        entry("listen", list(&config.listen, listen)),
        entry("workers", workers(config.workers)),
        entry("max_connections", number(config.max_connections)),
        entry("max_fields", number(config.max_fields)),
        entry("buffer_size", size(config.buffer_size as u64)),
        entry("pipeline", number(config.pipeline)),
        entry("client_requests", number(config.client_requests)),
        entry("trusted_proxies", list(&config.trusted_proxies, text)),
        entry("forward", forward_fields(config.forward)),
        entry("request_id", text(request_id(config.request_id))),
        entry("via", optional(&config.via, text)),
        entry("access_log", access_log(&config.access_log)),
        entry("access_log_headers", list(&config.access_log_headers, text)),
        entry("error_pages", Value::Object(error_pages.collect())),
        entry("status_listen", optional(&config.status_listen, text)),
        entry(
            "admin",
            Value::Object(vec![
                entry("socket", optional(&admin.socket, text)),
                entry("listen", optional(&admin.listen, text)),
                entry("token_file", optional(&admin.token_file, |file| path(file))),
            ]),
        ),
        entry("cache", optional(&config.cache, cache)),
        entry("registry", optional(&config.registry, registry::dump)),
        entry("timeouts", timeouts(&config.timeouts)),
        entry(
            "names",
            Value::Object(vec![
                entry("interval", duration(config.names.interval)),
                entry("hold", duration(config.names.hold)),
            ]),
        ),
    ];
    entries.extend(default);
    entries.push(entry("pools", Value::Object(further.collect())));
    entries.push(entry("routes", list(&config.routes, |each| route(each, &config.pools))));
    entries.push(entry("pool_header", optional(&config.pool_header, text)));
    Value::Object(entries)
}

fn entry(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

fn text(value: &(impl Display + ?Sized)) -> Value {
    Value::Text(value.to_string())
}

fn number(value: usize) -> Value {
    Value::Natural(value as u64)
}

fn list<T>(items: &[T], write: impl Fn(&T) -> Value) -> Value {
    Value::List(items.iter().map(write).collect())
}

fn optional<T>(value: &Option<T>, write: impl Fn(&T) -> Value) -> Value {
    value.as_ref().map_or(Value::Null, write)
}

fn size(bytes: u64) -> Value {
    if bytes == 0 { Value::Natural(0) } else { Value::Text(write_size(bytes)) }
}

fn duration(duration: Millis) -> Value {
    Value::Text(write_duration(duration))
}

/// Paths came from JSON, so they are text.
fn path(path: &Path) -> Value {
    text(&path.display())
}

fn listen(listen: &Listen) -> Value {
    let flags = [
        ("proxy_protocol", listen.proxy_protocol),
        ("https", listen.https),
        ("freebind", listen.freebind),
    ];
    let set = flags.iter().filter(|(_, is_set)| *is_set);
    let mut entries = vec![entry("addr", text(&listen.address))];
    entries.extend(set.map(|(key, _)| entry(key, Value::Bool(true))));
    if let Endpoint::Unix(path) = listen.address
        && path.abstract_name().is_none()
    {
        entries.push(entry("mode", text(&format_args!("{:04o}", listen.access.mode))));
        entries.extend(listen.access.group.as_ref().map(|group| entry("group", text(group))));
    }
    if entries.len() == 1 { text(&listen.address) } else { Value::Object(entries) }
}

fn forward_fields(mut fields: ForwardFields) -> Value {
    let named = fields.named();
    Value::List(named.iter().filter(|(_, is_set)| **is_set).map(|(name, _)| text(name)).collect())
}

fn workers(workers: Workers) -> Value {
    match workers {
        Workers::Auto => text("auto"),
        Workers::Count(count) => Value::Natural(u64::from(count)),
    }
}

fn request_id(mode: RequestId) -> &'static str {
    match mode {
        RequestId::Auto => "auto",
        RequestId::Require => "require",
        RequestId::Off => "off",
    }
}

fn access_log(log: &AccessLog) -> Value {
    match log {
        AccessLog::Off => text("off"),
        AccessLog::Stdout => text("stdout"),
        AccessLog::Path(file) => path(file),
    }
}

fn timeouts(timeouts: &Timeouts) -> Value {
    let Timeouts { withdraw, header, client, idle, fin, client_age, keepalive, .. } = *timeouts;
    let Timeouts { connect, response, backend_idle, tunnel, queue, drain, retire, .. } = *timeouts;
    Value::Object(vec![
        entry("withdraw", duration(withdraw)),
        entry("header", duration(header)),
        entry("client", duration(client)),
        entry("idle", duration(idle)),
        entry("fin", duration(fin)),
        entry("client_age", duration(client_age)),
        entry("keepalive", duration(keepalive)),
        entry("connect", duration(connect)),
        entry("response", duration(response)),
        entry("backend_idle", duration(backend_idle)),
        entry("tunnel", duration(tunnel)),
        entry("queue", duration(queue)),
        entry("drain", duration(drain)),
        entry("retire", duration(retire)),
    ])
}

fn cache(cache: &Cache) -> Value {
    Value::Object(vec![
        entry("dir", path(&cache.dir)),
        entry("max_size", size(cache.max_size)),
        entry("max_object", size(cache.max_object)),
        entry("default_ttl", duration(cache.default_ttl)),
    ])
}

fn pool(pool: &Pool) -> Vec<(String, Value)> {
    let multiplex = match pool.multiplex {
        Multiplex::Off => "off",
        Multiplex::Verified => "verified",
    };
    let off = || Value::Bool(false);
    let fail_status = pool.fail_status.as_ref().map_or(&[][..], Statuses::entries);
    let tolerate: Vec<Tolerance> = pool.tolerate.iter().collect();
    let servers = pool.backends.iter().map(backend).chain(pool.names.iter().map(named));
    vec![
        entry("backend_servers", Value::List(servers.collect())),
        entry("balance", text(pool.balance.as_str())),
        entry("sticky", pool.sticky.as_ref().map_or_else(off, sticky)),
        entry("health_check", pool.health_check.as_ref().map_or_else(off, health_check)),
        entry("max_fails", Value::Natural(u64::from(pool.max_fails))),
        entry("fail_timeout", duration(pool.fail_timeout)),
        entry("fail_status", list(fail_status, status_entry)),
        entry("tolerate", list(&tolerate, |tolerance| text(tolerance.as_str()))),
        entry("retries", Value::Natural(u64::from(pool.retries))),
        entry("max_body", size(pool.max_body)),
        entry("upgrades", list(&pool.upgrades, text)),
        entry("slow_start", duration(pool.slow_start)),
        entry("multiplex", text(multiplex)),
    ]
}

fn backend(backend: &Backend) -> Value {
    let mut entries = match &backend.address {
        Endpoint::Tcp(address) => vec![
            entry("ip", text(&address.ip())),
            entry("port", Value::Natural(u64::from(address.port()))),
        ],
        Endpoint::Unix(path) => vec![entry("unix", text(path.as_str()))],
    };
    entries.extend([
        entry("weight", Value::Natural(u64::from(backend.weight))),
        entry("max_connections", cap(backend.max_connections)),
        entry("backup", Value::Bool(backend.backup)),
    ]);
    Value::Object(entries)
}

fn cap(max_connections: u32) -> Value {
    match max_connections {
        AUTO_CAP => text("auto"),
        cap => Value::Natural(u64::from(cap)),
    }
}

fn named(named: &NamedServer) -> Value {
    let (max, weight) = (number(named.max), Value::Natural(u64::from(named.weight)));
    let mut entries = match &named.lookup {
        Lookup::Host { name, port, family } => vec![
            entry("name", text(name)),
            entry("port", Value::Natural(u64::from(*port))),
            entry("family", text(family.as_str())),
            entry("max", max),
            entry("weight", weight),
        ],
        Lookup::Service(name) => vec![entry("srv", text(name)), entry("max", max)],
    };
    entries.extend([
        entry("max_connections", cap(named.max_connections)),
        entry("backup", Value::Bool(named.backup)),
    ]);
    Value::Object(entries)
}

fn sticky(sticky: &Sticky) -> Value {
    Value::Object(vec![
        entry("cookie", text(&sticky.cookie)),
        entry("max_age", optional(&sticky.max_age, |age| duration(*age))),
    ])
}

fn health_check(check: &HealthCheck) -> Value {
    Value::Object(vec![
        entry("path", optional(&check.path, text)),
        entry("interval", duration(check.interval)),
        entry("timeout", duration(check.timeout)),
        entry("rise", Value::Natural(u64::from(check.rise))),
        entry("fall", Value::Natural(u64::from(check.fall))),
        entry("status", statuses(&check.status)),
        entry("host", optional(&check.host, text)),
    ])
}

fn statuses(statuses: &Statuses) -> Value {
    match statuses.entries() {
        [StatusEntry::One(status)] => Value::Natural(u64::from(*status)),
        entries => Value::List(entries.iter().map(status_entry).collect()),
    }
}

fn status_entry(entry: &StatusEntry) -> Value {
    match entry {
        StatusEntry::One(status) => Value::Natural(u64::from(*status)),
        StatusEntry::Class(_) => text(entry),
    }
}

fn route(route: &Route, pools: &[Pool]) -> Value {
    let headers = route.headers.iter().map(|(name, value)| (name.clone(), text(value)));
    let mut entries = Vec::new();
    entries.extend(route.host.as_ref().map(|host| entry("host", text(host))));
    entries.extend(route.path.as_ref().map(|path| entry("path", text(path))));
    if !route.headers.is_empty() {
        entries.push(entry("header", Value::Object(headers.collect())));
    }
    match route.target {
        RouteTarget::Pool(pool) => entries.push(entry("pool", text(&pools[pool].name))),
        RouteTarget::Https { status } => {
            entries.push(entry("redirect", text("https")));
            entries.push(entry("status", Value::Natural(u64::from(status))));
        }
    }
    Value::Object(entries)
}
