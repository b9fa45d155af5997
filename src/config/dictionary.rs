//! Words of nginx, haproxy and others, and what does here what they do there.

use super::text::quote;
use super::units;
use super::words_by_place::{BALANCE, BY_PLACE, OBJECTS, REWRITES, Words};

const BACKENDS: &str = r#"write "backend_servers": [{"ip": "10.0.0.1", "port": 8001}]"#;
const POOLS: &str =
    r#"write "pools": {"api": {"backend_servers": [{"ip": "10.0.0.1", "port": 8001}]}}"#;
const ROUTES: &str = r#"write "routes": [{"host": "shop.example", "path": "/api", "pool": "api"}]"#;
const LISTEN: &str = r#"write "listen": [":80"]"#;
const CHECK: &str =
    r#"write "health_check": {"path": "/health", "interval": "5s", "rise": 2, "fall": 3}"#;
const TLS: &str = r#"TLS ends before httplb, at hitch, stunnel or haproxy: write "listen": [{"addr": "127.0.0.1:9000", "proxy_protocol": true}]"#;
const BACKEND_TLS: &str =
    "backends are asked by plain HTTP: let one there, such as stunnel, speak TLS";
const HTTPS: &str = r#"write "routes": [{"redirect": "https"}]"#;
const FORWARDED: &str =
    r#"write "forward": ["x-forwarded"], and "trusted_proxies" for those before httplb"#;
const FIELDS: &str =
    r#"httplb adds X-Forwarded-* and X-Request-ID by itself ("forward"), and changes no others"#;
const FILES: &str = "httplb serves no files: let a backend do that";
const COMPRESSION: &str = "httplb does not compress: let the backends do that";
const LOGIN: &str = "httplb asks for no passwords: let the backends do that";
const RATES: &str =
    r#"httplb has no rate limits; "max_connections" of a backend holds what it cannot bear"#;
const MAX_CONNECTIONS: &str =
    r#"write "max_connections": 8192, or for a backend {"ip": ..., "max_connections": 100}"#;
const WORKERS: &str = r#"write "workers": "auto""#;
const BUFFERS: &str = r#"write "buffer_size": "32KiB""#;
const CLIENT: &str = r#"write "timeouts": {"client": "30s"}"#;
const HEADER: &str = r#"write "timeouts": {"header": "10s"}"#;
const IDLE: &str = r#"write "timeouts": {"idle": "60s"}"#;
const CONNECT: &str = r#"write "timeouts": {"connect": "2s"}"#;
const RESPONSE: &str = r#"write "timeouts": {"response": "60s"}"#;
const BACKEND_IDLE: &str =
    r#"connections to backends are kept by themselves: write "timeouts": {"backend_idle": "4s"}"#;
const QUEUE: &str = r#"write "timeouts": {"queue": "1s"}"#;
const TUNNEL: &str = r#"write "timeouts": {"tunnel": "1h"}"#;
const DRAIN: &str = r#"write "timeouts": {"drain": "30s"}"#;
const TCP_KEEPALIVE: &str = r#"write "timeouts": {"keepalive": "60s"}"#;
const RETRIES: &str = r#"write "retries": 2"#;
const MAX_BODY: &str = r#"write "max_body": "8MiB""#;
const STICKY: &str = r#"write "sticky": true, or "sticky": {"cookie": "name"}"#;
const LEAST: &str = r#"write "balance": "least_connections""#;
const LOG: &str = r#"write "access_log": "/var/log/httplb/access.log""#;
const MESSAGES: &str =
    "messages go to standard error, and so to the journal; there is nothing to set";
const USER: &str = "the unit of systemd names the user; who starts it as root gets the user httplb";
const NO_DAEMON: &str = "httplb stays in the foreground, and systemd knows its process";
const ERROR_PAGES: &str = r#"write "error_pages": {"502": "/etc/httplb/502.html"}"#;
const CACHE: &str = r#"write "cache": {"dir": "/var/cache/httplb", "max_size": "256MiB"}"#;
const STATUS: &str = r#"write "status_listen": "127.0.0.1:9001""#;
const ADMIN: &str = r#"write "admin": {"socket": "/run/httplb/admin.sock"}"#;
const NAMES: &str = r#"write {"name": "app.internal", "port": 8080} in "backend_servers""#;
const PASSIVE: &str = r#"write "max_fails": 3 and "fail_timeout": "10s""#;
const PROXY_PROTOCOL: &str = r#"write "listen": [{"addr": ":80", "proxy_protocol": true}]"#;
const HTTP2: &str = "httplb speaks HTTP/1.1: let what ends TLS before it speak HTTP/2";
const TCP_ONLY: &str = "httplb is for HTTP alone, and there is nothing to set";
const INCLUDE: &str = "there is one file, without includes: httplb -T prints it with every default";
const AUTOMATIC: &str = "httplb does that by itself, and there is nothing to set";

/// nginx, its modules and its ingress.
const NGINX: Words = &[
    ("proxy_pass", BACKENDS),
    ("upstream", POOLS),
    ("upstreams", POOLS),
    (
        "server",
        r#"write "backend_servers": [{"ip": "10.0.0.1", "port": 8001}]; where clients come in is "listen""#,
    ),
    ("server_name", ROUTES),
    ("location", ROUTES),
    ("map", ROUTES),
    ("split_clients", r#"write a "weight" for each backend"#),
    ("http", "its keys stand at the top level"),
    ("events", "its keys stand at the top level"),
    ("stream", TCP_ONLY),
    ("worker_processes", WORKERS),
    ("worker_connections", r#"write "max_connections": 8192, for all workers together"#),
    (
        "worker_rlimit_nofile",
        "the unit of systemd has LimitNOFILE=; httplb takes what it needs of it",
    ),
    ("worker_cpu_affinity", WORKERS),
    ("worker_shutdown_timeout", DRAIN),
    ("multi_accept", AUTOMATIC),
    ("use", AUTOMATIC),
    ("accept_mutex", AUTOMATIC),
    (
        "keepalive",
        r#"connections to backends are kept by themselves: write "timeouts": {"backend_idle": "4s"}; probes of TCP are "timeouts": {"keepalive": "60s"}"#,
    ),
    ("keepalive_timeout", IDLE),
    ("keepalive_requests", r#"write "client_requests": 1000"#),
    ("keepalive_time", r#"write "timeouts": {"client_age": "1h"}"#),
    ("proxy_http_version", AUTOMATIC),
    ("proxy_socket_keepalive", TCP_KEEPALIVE),
    ("so_keepalive", TCP_KEEPALIVE),
    ("client_max_body_size", MAX_BODY),
    ("client_body_buffer_size", BUFFERS),
    ("client_header_buffer_size", BUFFERS),
    ("large_client_header_buffers", BUFFERS),
    ("client_header_timeout", HEADER),
    ("client_body_timeout", CLIENT),
    ("send_timeout", CLIENT),
    ("lingering_timeout", AUTOMATIC),
    ("lingering_close", AUTOMATIC),
    ("proxy_read_timeout", RESPONSE),
    ("proxy_send_timeout", RESPONSE),
    ("proxy_connect_timeout", CONNECT),
    ("proxy_next_upstream", RETRIES),
    ("proxy_next_upstream_tries", RETRIES),
    ("proxy_next_upstream_timeout", RETRIES),
    ("proxy_set_header", FIELDS),
    ("proxy_hide_header", FIELDS),
    ("proxy_pass_header", FIELDS),
    ("add_header", FIELDS),
    ("proxy_buffering", r#"bodies pass as they come, through "buffer_size""#),
    ("proxy_request_buffering", r#"bodies pass as they come, through "buffer_size""#),
    ("proxy_buffers", BUFFERS),
    ("proxy_buffer_size", BUFFERS),
    ("proxy_busy_buffers_size", BUFFERS),
    ("proxy_redirect", REWRITES),
    ("proxy_intercept_errors", ERROR_PAGES),
    ("proxy_cache", CACHE),
    ("proxy_cache_path", CACHE),
    ("proxy_cache_valid", r#"write "cache": {"dir": "/var/cache/httplb", "default_ttl": "10s"}"#),
    ("proxy_cache_key", AUTOMATIC),
    ("proxy_cache_lock", AUTOMATIC),
    ("proxy_cache_use_stale", AUTOMATIC),
    ("proxy_cache_bypass", AUTOMATIC),
    ("proxy_no_cache", AUTOMATIC),
    ("proxy_protocol", PROXY_PROTOCOL),
    ("proxy_bind", AUTOMATIC),
    ("proxy_ssl_verify", BACKEND_TLS),
    ("proxy_ssl_server_name", BACKEND_TLS),
    ("grpc_pass", HTTP2),
    (
        "fastcgi_pass",
        "backends speak HTTP: let nginx or the application's own server stand before FastCGI",
    ),
    ("uwsgi_pass", "backends speak HTTP: start uwsgi with http-socket"),
    ("ip_hash", STICKY),
    ("hash", STICKY),
    ("sticky_cookie", STICKY),
    ("least_conn", LEAST),
    ("least_time", LEAST),
    ("random", r#"write "balance": "round_robin""#),
    ("zone", "all workers share what they know by themselves"),
    (
        "resolver",
        r#"write {"name": "app.internal", "port": 8080} in "backend_servers": the servers are those of resolv.conf(5)"#,
    ),
    ("resolve", NAMES),
    ("set_real_ip_from", r#"write "trusted_proxies": ["10.0.0.0/8"]"#),
    (
        "real_ip_header",
        r#"write "trusted_proxies": ["10.0.0.0/8"]: X-Forwarded-For is believed of them"#,
    ),
    ("real_ip_recursive", r#"write "trusted_proxies": ["10.0.0.0/8"]"#),
    ("error_page", ERROR_PAGES),
    ("error_log", MESSAGES),
    ("log_format", r#"write "access_log_headers": ["Referer"] for what the log lacks"#),
    ("log_not_found", MESSAGES),
    ("pid", NO_DAEMON),
    ("daemon", NO_DAEMON),
    ("user", USER),
    ("include", INCLUDE),
    ("load_module", "there are no modules"),
    ("root", FILES),
    ("index", FILES),
    ("alias", FILES),
    ("try_files", FILES),
    ("sendfile", AUTOMATIC),
    ("tcp_nodelay", AUTOMATIC),
    ("tcp_nopush", AUTOMATIC),
    ("reuseport", AUTOMATIC),
    ("backlog", AUTOMATIC),
    ("gzip", COMPRESSION),
    ("gzip_types", COMPRESSION),
    ("brotli", COMPRESSION),
    ("rewrite", REWRITES),
    ("return", HTTPS),
    ("ssl", TLS),
    ("ssl_certificate", TLS),
    ("ssl_certificate_key", TLS),
    ("ssl_protocols", TLS),
    ("ssl_ciphers", TLS),
    ("http2", HTTP2),
    ("limit_req", RATES),
    ("limit_req_zone", RATES),
    ("limit_conn", RATES),
    ("limit_rate", RATES),
    (
        "allow",
        r#"httplb lets all in: let the firewall choose, or listen on an inner address: "listen": ["10.0.0.1:80"]"#,
    ),
    (
        "deny",
        r#"httplb lets all in: let the firewall choose, or listen on an inner address: "listen": ["10.0.0.1:80"]"#,
    ),
    ("auth_basic", LOGIN),
    ("auth_request", LOGIN),
    ("stub_status", STATUS),
    ("server_tokens", AUTOMATIC),
    ("underscores_in_headers", AUTOMATIC),
    ("ignore_invalid_headers", AUTOMATIC),
    ("default_type", AUTOMATIC),
    ("types_hash_max_size", AUTOMATIC),
    ("reset_timedout_connection", AUTOMATIC),
];

/// haproxy.
const HAPROXY: Words = &[
    ("global", "its keys stand at the top level"),
    ("defaults", "its keys stand at the top level: pools inherit them"),
    ("frontend", r#"write "listen": [":80"], and "routes" to "pools""#),
    ("backend", POOLS),
    ("use_backend", ROUTES),
    ("default_backend", r#"the pool "default" has the "backend_servers" of the top level"#),
    ("bind", LISTEN),
    ("acl", ROUTES),
    ("maxconn", MAX_CONNECTIONS),
    ("fullconn", MAX_CONNECTIONS),
    ("minconn", r#"write "max_connections": "auto" for a backend: the cap finds itself"#),
    ("maxqueue", QUEUE),
    ("nbproc", WORKERS),
    ("nbthread", WORKERS),
    ("cpu_map", WORKERS),
    ("mode", TCP_ONLY),
    ("timeout", r#"write "timeouts": {"connect": "2s", "client": "30s", "response": "60s"}"#),
    ("timeout_connect", CONNECT),
    ("timeout_server", RESPONSE),
    ("timeout_client", CLIENT),
    ("timeout_client_fin", r#"write "timeouts": {"fin": "10s"}"#),
    ("timeout_server_fin", r#"write "timeouts": {"fin": "10s"}"#),
    ("timeout_http_request", HEADER),
    ("timeout_http_keep_alive", IDLE),
    ("timeout_queue", QUEUE),
    ("timeout_tunnel", TUNNEL),
    ("timeout_check", r#"write "health_check": {"timeout": "2s"}"#),
    ("hard_stop_after", DRAIN),
    ("grace", r#"write "timeouts": {"withdraw": "5s"}"#),
    ("check", CHECK),
    ("inter", r#"write "health_check": {"interval": "5s"}"#),
    ("fastinter", "a backend whose state changes is checked twice a second by itself"),
    ("downinter", r#"write "health_check": {"interval": "5s"}"#),
    ("rise", r#"write "health_check": {"rise": 2}"#),
    ("fall", r#"write "health_check": {"fall": 3}"#),
    ("httpchk", CHECK),
    ("http_check", CHECK),
    ("http_check_expect", r#"write "health_check": {"status": ["2xx"]}"#),
    ("option_httpchk", CHECK),
    ("option_forwardfor", FORWARDED),
    ("forwardfor", FORWARDED),
    ("option_redispatch", RETRIES),
    ("redispatch", RETRIES),
    ("option_httplog", LOG),
    ("option_tcplog", LOG),
    ("option_dontlognull", AUTOMATIC),
    ("option_httpclose", r#"write "timeouts": {"backend_idle": "0s"}"#),
    ("option_forceclose", r#"write "timeouts": {"backend_idle": "0s"}"#),
    ("option_http_server_close", r#"write "timeouts": {"backend_idle": "0s"}"#),
    ("option_http_keep_alive", AUTOMATIC),
    ("option_abortonclose", AUTOMATIC),
    ("option_splice_auto", AUTOMATIC),
    ("option_allbackups", r#"write "backup": true for each: all of them serve then"#),
    ("option_prefer_last_server", STICKY),
    (
        "option",
        r#"write the key itself, such as "health_check" for httpchk and "forward" for forwardfor"#,
    ),
    ("retry_on", RETRIES),
    ("http_reuse", BACKEND_IDLE),
    ("pool_max_conn", BACKEND_IDLE),
    ("pool_purge_delay", BACKEND_IDLE),
    ("slowstart", r#"write "slow_start": "30s""#),
    ("observe", PASSIVE),
    ("error_limit", PASSIVE),
    ("on_error", PASSIVE),
    ("default_server", "its keys stand beside \"backend_servers\", as those of the pool"),
    ("server_template", NAMES),
    (
        "resolvers",
        r#"write {"name": "app.internal", "port": 8080} in "backend_servers", and "names": {"hold": "30s"}"#,
    ),
    ("init_addr", NAMES),
    ("send_proxy", "backends get X-Forwarded-For, and no PROXY header"),
    ("send_proxy_v2", "backends get X-Forwarded-For, and no PROXY header"),
    ("accept_proxy", PROXY_PROTOCOL),
    ("stick_table", RATES),
    ("stick", STICKY),
    ("stick_on", STICKY),
    ("appsession", STICKY),
    ("cookie", r#"write "sticky": {"cookie": "name"}"#),
    ("persist", STICKY),
    ("errorfile", ERROR_PAGES),
    ("errorfiles", ERROR_PAGES),
    ("errorloc", ERROR_PAGES),
    ("redirect", HTTPS),
    ("redirect_scheme", HTTPS),
    ("redirect_scheme_https", HTTPS),
    ("http_request", FIELDS),
    ("http_response", FIELDS),
    ("http_request_set_header", FIELDS),
    ("reqadd", FIELDS),
    ("rspadd", FIELDS),
    ("monitor_uri", r#"write "status_listen": "127.0.0.1:9001", and ask it for /healthz"#),
    ("stats", STATUS),
    ("stats_uri", STATUS),
    ("stats_socket", ADMIN),
    ("log", LOG),
    ("capture", r#"write "access_log_headers": ["Referer"]"#),
    ("unique_id_format", AUTOMATIC),
    ("unique_id_header", r#"write "request_id": "auto": X-Request-ID is always there"#),
    ("tune_bufsize", BUFFERS),
    ("tune_maxrewrite", BUFFERS),
    ("tune_http_maxhdr", r#"write "max_fields": 100"#),
    ("maxrewrite", BUFFERS),
    ("chroot", "the unit of systemd confines it"),
    ("group", USER),
    ("uid", USER),
    ("gid", USER),
    ("nosplice", AUTOMATIC),
    ("ulimit_n", AUTOMATIC),
    ("spread_checks", AUTOMATIC),
    ("compression", COMPRESSION),
    ("crt", TLS),
    ("bind_process", AUTOMATIC),
    ("peers", r#"write "registry": {...}: instances share backends and sticky keys"#),
    ("userlist", LOGIN),
    ("disabled", r#"remove the entry, or: httplb ctl maint POOL/BACKEND"#),
    ("enabled", "remove it: each entry is enabled"),
    ("track", CHECK),
    ("agent_check", CHECK),
];

/// Apache, Traefik, Caddy, Envoy and others.
const OTHERS: Words = &[
    ("proxypass", BACKENDS),
    ("proxypassreverse", AUTOMATIC),
    ("balancermember", BACKENDS),
    ("virtualhost", ROUTES),
    ("servername", ROUTES),
    ("serverlimit", WORKERS),
    ("maxrequestworkers", r#"write "max_connections": 8192"#),
    ("proxytimeout", RESPONSE),
    ("proxyset", STICKY),
    ("stickysession", STICKY),
    ("lbmethod", LEAST),
    ("customlog", LOG),
    ("errorlog", MESSAGES),
    ("errordocument", ERROR_PAGES),
    ("limitrequestbody", MAX_BODY),
    ("limitrequestfields", r#"write "max_fields": 100"#),
    ("requestheader", FIELDS),
    ("sslengine", TLS),
    ("entrypoints", LISTEN),
    ("routers", ROUTES),
    ("rule", ROUTES),
    ("services", POOLS),
    ("loadbalancer", BACKENDS),
    ("middlewares", "httplb has none: let the backends do that"),
    ("providers", r#"write "registry": {...}, or let backends register by the admin API"#),
    ("certificatesresolvers", TLS),
    ("passhostheader", AUTOMATIC),
    ("forwardedheaders", FORWARDED),
    ("responseforwarding", AUTOMATIC),
    ("serverstransport", BACKEND_IDLE),
    ("maxidleconnsperhost", BACKEND_IDLE),
    ("idleconntimeout", BACKEND_IDLE),
    ("dialtimeout", CONNECT),
    ("dial_timeout", CONNECT),
    ("responseheadertimeout", RESPONSE),
    ("accesslog", LOG),
    ("reverse_proxy", BACKENDS),
    ("lb_policy", LEAST),
    ("lb_try_duration", QUEUE),
    ("lb_retries", RETRIES),
    ("health_uri", r#"write "health_check": {"path": "/health"}"#),
    ("health_path", r#"write "health_check": {"path": "/health"}"#),
    ("health_interval", r#"write "health_check": {"interval": "5s"}"#),
    ("health_timeout", r#"write "health_check": {"timeout": "2s"}"#),
    ("health_status", r#"write "health_check": {"status": ["2xx"]}"#),
    ("handle", ROUTES),
    ("file_server", FILES),
    ("encode", COMPRESSION),
    ("basicauth", LOGIN),
    ("tls", TLS),
    ("https", TLS),
    ("certificate", TLS),
    ("letsencrypt", TLS),
    ("acme", TLS),
    ("clusters", POOLS),
    ("listeners", LISTEN),
    ("lb_endpoints", BACKENDS),
    ("outlier_detection", PASSIVE),
    ("circuit_breakers", PASSIVE),
    ("servers", BACKENDS),
    ("targets", BACKENDS),
    ("nodes", BACKENDS),
    ("members", BACKENDS),
    ("hosts", BACKENDS),
    ("threads", WORKERS),
    ("processes", WORKERS),
    ("algorithm", LEAST),
    ("strategy", LEAST),
    ("method", LEAST),
    ("max_conns", MAX_CONNECTIONS),
    ("max_requests", r#"write "client_requests": 1000"#),
    ("metrics", r#"write "status_listen": "127.0.0.1:9001": it has /metrics"#),
    ("prometheus", r#"write "status_listen": "127.0.0.1:9001": it has /metrics"#),
    ("cors", FIELDS),
    ("headers", FIELDS),
    ("websocket", r#"write "upgrades": ["websocket"], which is the default"#),
    ("websockets", r#"write "upgrades": ["websocket"], which is the default"#),
    ("rate_limit", RATES),
    ("log_level", MESSAGES),
    ("loglevel", MESSAGES),
    ("debug", MESSAGES),
    ("comment", r##"write "# comment": a key that starts with # is one"##),
    ("description", r##"write "# description": a key that starts with # is a comment"##),
    ("_comment", r##"write "# comment": a key that starts with # is one"##),
];

/// The words of each program, and how to say whose they are.
const BY_PROGRAM: [(&str, Words); 3] =
    [("as nginx has it", NGINX), ("as haproxy has it", HAPROXY), ("as others have it", OTHERS)];

/// Who has the word as a key, if that is to be said, and what to write here; `object` is the key of the object
/// where it stands.
pub fn key(word: &str, object: &str) -> Option<(Option<&'static str>, &'static str)> {
    let word = normal(word);
    let here = BY_PLACE.iter().find(|(place, _)| *place == object);
    let here = here.and_then(|(_, words)| find(words, &word)).map(|remedy| (None, remedy));
    here.or_else(|| {
        let known = |(program, words): &(&'static str, Words)| {
            find(words, &word).map(|remedy| (Some(*program), remedy))
        };
        BY_PROGRAM.iter().find_map(known)
    })
}

/// What to write where something else stands than the object of this key; `text`, if it is that.
pub fn object(key: &str, text: Option<&str>) -> String {
    let backend = text.filter(|_| key == "backend_servers").map(backend);
    let known = OBJECTS.iter().find(|(known, _)| *known == key);
    let of_text = |name: &str, text: &str| format!("write {{\"{name}\": {}}}", quote(text));
    match (backend, key, text.filter(|text| text.starts_with('/'))) {
        (Some(backend), ..) => backend,
        (None, "cache", Some(path)) => of_text("dir", path),
        (None, "admin", Some(path)) => of_text("socket", path),
        (None, ..) => known.map_or("write {...}", |(_, remedy)| remedy).to_owned(),
    }
}

/// A backend that is written as `10.0.0.1:80`, as most programs have it.
fn backend(text: &str) -> String {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest.trim_end_matches('/'));
    if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
        return format!("write {{\"unix\": {}}}", quote(path));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let port = units::whole(port).filter(|port| (1..65_536).contains(port));
    let (host, port) = (if port.is_some() { host } else { text }, port.unwrap_or(8001));
    let host = host.trim_matches(['[', ']']);
    let key = if host.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "name" };
    format!("write {{\"{key}\": {}, \"port\": {port}}}", quote(host))
}

/// What to write for a value that `balance` has elsewhere.
pub fn balance(word: &str) -> Option<&'static str> {
    find(BALANCE, &normal(word))
}

fn find(words: Words, word: &str) -> Option<&'static str> {
    words.iter().find(|(known, _)| *known == word).map(|(_, remedy)| *remedy)
}

fn normal(word: &str) -> String {
    let blank = |character: char| " -.".contains(character);
    word.trim()
        .to_ascii_lowercase()
        .split(blank)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}
