//! The keys that there are, by the objects that have them.

/// The keys of the top level that are not pool keys.
pub const PROCESS: [&str; 23] = [
    "listen",
    "workers",
    "max_connections",
    "max_fields",
    "buffer_size",
    "pipeline",
    "client_requests",
    "trusted_proxies",
    "forward",
    "request_id",
    "via",
    "access_log",
    "access_log_headers",
    "error_pages",
    "status_listen",
    "admin",
    "cache",
    "names",
    "registry",
    "pools",
    "routes",
    "pool_header",
    "timeouts",
];

/// The keys of a pool.
pub const POOL: [&str; 13] = [
    "backend_servers",
    "balance",
    "sticky",
    "health_check",
    "max_fails",
    "fail_timeout",
    "fail_status",
    "tolerate",
    "retries",
    "max_body",
    "upgrades",
    "slow_start",
    "multiplex",
];

/// The keys of `timeouts`.
pub const TIMEOUTS: [&str; 14] = [
    "withdraw",
    "header",
    "client",
    "idle",
    "fin",
    "client_age",
    "keepalive",
    "connect",
    "response",
    "backend_idle",
    "tunnel",
    "queue",
    "drain",
    "retire",
];

/// Those of an entry of `backend_servers`.
pub const BACKEND: [&str; 10] =
    ["ip", "port", "unix", "name", "srv", "family", "max", "weight", "max_connections", "backup"];

/// Those of `health_check`.
pub const CHECK: [&str; 7] = ["path", "interval", "timeout", "rise", "fall", "status", "host"];

/// Those of an entry of `listen`.
pub const LISTEN: [&str; 6] = ["addr", "proxy_protocol", "https", "freebind", "mode", "group"];

/// Those of an entry of `routes`.
pub const ROUTE: [&str; 6] = ["host", "path", "header", "pool", "redirect", "status"];

/// Those of `sticky`.
pub const STICKY: [&str; 2] = ["cookie", "max_age"];

/// Those of `cache`.
pub const CACHE: [&str; 4] = ["dir", "max_size", "max_object", "default_ttl"];

/// Those of `admin`.
pub const ADMIN: [&str; 3] = ["socket", "listen", "token_file"];

/// Those of `names`.
pub const NAMES: [&str; 2] = ["interval", "hold"];

/// Where keys belong that stand elsewhere, the likeliest first, and how to say so.
const HOMES: [(&str, &[&str]); 8] = [
    ("\"timeouts\" of the top level", &TIMEOUTS),
    ("a pool, or the top level", &POOL),
    ("the top level", &PROCESS),
    ("an entry of \"backend_servers\"", &BACKEND),
    ("\"health_check\"", &CHECK),
    ("\"sticky\"", &STICKY),
    ("an entry of \"listen\"", &LISTEN),
    ("\"cache\"", &CACHE),
];

/// Where a key belongs.
pub fn home(key: &str) -> Option<&'static str> {
    HOMES.iter().find(|(_, keys)| keys.contains(&key)).map(|(home, _)| *home)
}
