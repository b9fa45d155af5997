//! Words of other programs that mean something else in some objects, or as values; and what to write for
//! them.

/// A word as it stands in a configuration of others, and what is to be written in its place. Words are in
/// lower case, with `_` for blanks, hyphens and dots.
pub type Words = &'static [(&'static str, &'static str)];

/// What is said of all that changes URLs.
pub const REWRITES: &str = "httplb changes no URLs: let the backends do that";

/// Words that mean something else in some objects, by the key of the object.
pub const BY_PLACE: [(&str, Words); 7] = [
    (
        "cache",
        &[
            ("path", r#"write "dir": "/var/cache/httplb""#),
            ("directory", r#"write "dir": "/var/cache/httplb""#),
            ("folder", r#"write "dir": "/var/cache/httplb""#),
            ("size", r#"write "max_size": "256MiB""#),
            ("ttl", r#"write "default_ttl": "10s""#),
        ],
    ),
    (
        "names",
        &[
            ("servers", "the nameservers are those of /etc/resolv.conf"),
            ("nameserver", "the nameservers are those of /etc/resolv.conf"),
            ("nameservers", "the nameservers are those of /etc/resolv.conf"),
            ("resolver", "the nameservers are those of /etc/resolv.conf"),
            ("resolvers", "the nameservers are those of /etc/resolv.conf"),
            ("ttl", r#"write "interval": "30s": how often each name is looked up"#),
            ("valid", r#"write "interval": "30s": how often each name is looked up"#),
        ],
    ),
    (
        "backend_servers",
        &[
            ("address", r#"write "ip": "10.0.0.1" and "port": 8001"#),
            ("addr", r#"write "ip": "10.0.0.1" and "port": 8001"#),
            ("host", r#"write "ip" for an address or "name" for a name, and "port""#),
            ("hostname", r#"write "name": "app.internal" and "port": 8080"#),
            ("server", r#"write "ip": "10.0.0.1" and "port": 8001"#),
            ("url", r#"write "ip": "10.0.0.1" and "port": 8001: backends are asked by plain HTTP"#),
            ("socket", r#"write "unix": "/run/app.sock""#),
            ("path", r#"write "unix": "/run/app.sock" for a socket; a path of URLs is not added"#),
            ("maxconn", r#"write "max_connections": 100"#),
            ("max_conns", r#"write "max_connections": 100"#),
            ("max_conn", r#"write "max_connections": 100"#),
            ("inter", r#"write "health_check": {"interval": "5s"} beside "backend_servers""#),
            ("rise", r#"write "health_check": {"rise": 2} beside "backend_servers""#),
            ("fall", r#"write "health_check": {"fall": 3} beside "backend_servers""#),
            ("check", r#"write "health_check": {"path": "/health"} beside "backend_servers""#),
            ("max_fails", r#"write "max_fails": 3 beside "backend_servers": it is the pool's"#),
            (
                "fail_timeout",
                r#"write "fail_timeout": "10s" beside "backend_servers": it is the pool's"#,
            ),
            (
                "slow_start",
                r#"write "slow_start": "30s" beside "backend_servers": it is the pool's"#,
            ),
            (
                "slowstart",
                r#"write "slow_start": "30s" beside "backend_servers": it is the pool's"#,
            ),
            ("down", "remove the entry, or: httplb ctl maint POOL/BACKEND"),
            ("disabled", "remove the entry, or: httplb ctl maint POOL/BACKEND"),
            ("id", r##"write "# id": a key that starts with # is a comment"##),
            (
                "cookie",
                r#"write "sticky": true beside "backend_servers": the cookie's value is made"#,
            ),
        ],
    ),
    (
        "health_check",
        &[
            ("uri", r#"write "path": "/health""#),
            ("url", r#"write "path": "/health""#),
            ("inter", r#"write "interval": "5s""#),
            ("every", r#"write "interval": "5s""#),
            ("period", r#"write "interval": "5s""#),
            ("passes", r#"write "rise": 2"#),
            ("healthy_threshold", r#"write "rise": 2"#),
            ("fails", r#"write "fall": 3"#),
            ("unhealthy_threshold", r#"write "fall": 3"#),
            ("expect", r#"write "status": ["2xx"]"#),
            ("expected_status", r#"write "status": ["2xx"]"#),
            ("match", r#"write "status": ["2xx"]: bodies are not looked at"#),
            ("port", "a check goes where requests go"),
            ("method", "a check is a GET"),
            ("type", r#"write "path": "/health", or "path": null for a TCP connect"#),
            ("tcp", r#"write "path": null for a TCP connect"#),
            (
                "enabled",
                "remove it: who has the object has the check; without one, write false in its place",
            ),
            ("headers", r#"write "host": "shop.example": no other field can be set"#),
            ("hostname", r#"write "host": "shop.example""#),
        ],
    ),
    (
        "timeouts",
        &[
            ("server", r#"write "response": "60s""#),
            ("read", r#"write "response": "60s""#),
            ("write", r#"write "client": "30s""#),
            ("send", r#"write "client": "30s""#),
            ("request", r#"write "header": "10s" for its head, "client": "30s" for its body"#),
            ("http_request", r#"write "header": "10s""#),
            ("keep_alive", r#"write "idle": "60s" for clients, "backend_idle": "4s" for backends"#),
            ("http_keep_alive", r#"write "idle": "60s""#),
            ("check", r#"write "health_check": {"timeout": "2s"} at the top level"#),
            ("backend", r#"write "connect": "2s" and "response": "60s""#),
            ("shutdown", r#"write "drain": "30s""#),
            ("stop", r#"write "drain": "30s""#),
            ("websocket", r#"write "tunnel": "1h""#),
        ],
    ),
    (
        "listen",
        &[
            ("address", r#"write "addr": ":80""#),
            ("ip", r#"write "addr": "10.0.0.7:80""#),
            ("port", r#"write "addr": ":80""#),
            ("bind", r#"write "addr": ":80""#),
            ("unix", r#"write "addr": "unix:/run/httplb/http.sock""#),
            ("accept_proxy", r#"write "proxy_protocol": true"#),
            ("owner", r#"write "group": "www-data": the owner is the user of the service"#),
        ],
    ),
    (
        "routes",
        &[
            ("backend", r#"write "pool": "api""#),
            ("upstream", r#"write "pool": "api""#),
            ("target", r#"write "pool": "api""#),
            ("server_name", r#"write "host": "shop.example""#),
            ("domain", r#"write "host": "shop.example""#),
            ("location", r#"write "path": "/api""#),
            ("prefix", r#"write "path": "/api""#),
            ("url", r#"write "host": "shop.example" and "path": "/api""#),
            ("headers", r#"write "header": {"X-Policy": "2"}"#),
            ("method", "methods do not choose: httplb routes by host, path and header"),
            ("rewrite", REWRITES),
            ("strip_prefix", REWRITES),
            ("regex", r#"write "path": "/api": a path matches all below it"#),
            ("weight", r#"write "weight" in the entries of "backend_servers""#),
            ("return", r#"write "redirect": "https""#),
        ],
    ),
];

/// An example of each object, by its key; of those that are entries of a list, by the key of that.
pub const OBJECTS: Words = &[
    ("backend_servers", r#"write {"ip": "10.0.0.1", "port": 8001}"#),
    ("routes", r#"write {"path": "/api", "pool": "api"}"#),
    ("header", r#"write {"X-Policy": "2"}"#),
    ("timeouts", r#"write {"connect": "2s"}"#),
    ("pools", r#"write {"api": {"backend_servers": [{"ip": "10.0.0.1", "port": 8001}]}}"#),
    ("pool", r#"write {"backend_servers": [{"ip": "10.0.0.1", "port": 8001}]}"#),
    ("admin", r#"write {"socket": "/run/httplb/admin.sock"}"#),
    ("cache", r#"write {"dir": "/var/cache/httplb"}"#),
    ("error_pages", r#"write {"502": "/etc/httplb/502.html"}"#),
    ("registry", r#"write {"etcd": ["10.0.0.1:2379"]}"#),
];

/// Values of `balance` elsewhere.
pub const BALANCE: Words = &[
    ("leastconn", r#"write "least_connections""#),
    ("least_conn", r#"write "least_connections""#),
    ("least_time", r#"write "least_connections""#),
    ("least_request", r#"write "least_connections""#),
    ("bybusyness", r#"write "least_connections""#),
    ("p2c", r#"write "least_connections""#),
    ("rr", r#"write "round_robin""#),
    ("wrr", r#"write "round_robin""#),
    ("static_rr", r#"write "round_robin""#),
    ("byrequests", r#"write "round_robin""#),
    ("random", r#"write "round_robin""#),
    ("first", r#"write "round_robin", and "backup": true for those that are to wait"#),
    ("source", r#"write "sticky": true: it keeps a client at its backend"#),
    ("ip_hash", r#"write "sticky": true: it keeps a client at its backend"#),
    ("client_ip", r#"write "sticky": true: it keeps a client at its backend"#),
    ("hash", r#"write "sticky": true: it keeps a client at its backend"#),
    ("uri", r#"write "sticky": true: it keeps a client at its backend"#),
    ("url_param", r#"write "sticky": true: it keeps a client at its backend"#),
    ("cookie", r#"write "sticky": true: it keeps a client at its backend"#),
    ("sticky", r#"write "sticky": true: it keeps a client at its backend"#),
];
