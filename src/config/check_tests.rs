//! Whole files: what is read from them, and what is refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::file::Value;
use crate::config::read::Mistakes;
use crate::config::{
    AUTO_CAP, AccessLog, Backend, Balance, Config, ConfigError, Listen, Overrides, RequestId,
    RouteTarget, Sticky, TrustedProxy, Workers, check, json, keys, load, pool,
};
use crate::mem::time::Millis;

pub(in crate::config) fn messages(text: &str) -> Vec<String> {
    match load(text, &Overrides::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ConfigError::to_string).collect(),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Every key of this version, none with its default.
pub(in crate::config) const EVERYTHING: &str = r##"{
    "# a comment": {"#": 1, "#": 2},
    "listen": [":8080", {"addr": "127.0.0.1:8081", "proxy_protocol": true, "#": ""}, "[::1]:0"],
    "workers": 4,
    "max_connections": 1000000,
    "buffer_size": 5000,
    "pipeline": 32,
    "trusted_proxies": [],
    "request_id": "require",
    "via": "lb-1",
    "access_log": "/var/log/httplb/access.log",
    "status_listen": null,
    "admin": {"socket": null, "listen": null, "token_file": null},
    "cache": null,
    "pools": {"api": {"backend_servers": [], "retries": 5, "sticky": true}, "v1.0": {}},
    "routes": [
        {"host": "*.Example", "path": "/api", "header": {"X-Policy": "2"}, "pool": "api"},
        {"host": "Shop.example.", "pool": "default"}
    ],
    "pool_header": "X-Pool",
    "timeouts": {"header": "1ms", "client": "2s", "idle": "3m", "connect": "4h", "response": "168h",
        "backend_idle": "6s", "tunnel": "7s", "queue": "8s", "drain": "9s", "fin": "11s",
        "client_age": "12s", "keepalive": "13s", "withdraw": "0s", "retire": "2h", "# note": "10"},
    "backend_servers": [
        {"ip": "127.0.0.1", "port": 65535, "weight": 256, "max_connections": 9, "backup": true},
        {"#": "a note", "ip": "fd00::7", "port": 1}
    ],
    "balance": "least_connections",
    "sticky": {"cookie": "home", "max_age": "1h"},
    "health_check": false,
    "max_fails": 100,
    "fail_timeout": "1h",
    "tolerate": ["raw_target", "bare_lf"],
    "retries": 0,
    "max_body": "8MiB",
    "slow_start": "10m"
}"##;

/// Still more keys.
pub(in crate::config) const MORE: &str = r##"{
    "trusted_proxies": ["10.0.0.0/8", "192.0.2.1", "unix"],
    "access_log": "stdout",
    "access_log_headers": ["Referer", "x-a"],
    "error_pages": {"502": "/etc/httplb/502.html", "503": "/etc/httplb/503.html"},
    "status_listen": ":9001",
    "admin": {"socket": "/run/httplb/admin.sock", "listen": "127.0.0.1:9002", "token_file": "/t"},
    "cache": {"dir": "/var/cache/httplb", "max_size": "1GiB", "max_object": 1000, "default_ttl": "1m"},
    "sticky": true,
    "health_check": {},
    "slow_start": "30s",
    "multiplex": "verified",
    "upgrades": ["tcp", "SPDY/3.1"],
    "backend_servers": [{"ip": "127.0.0.1", "port": 8001}],
    "names": {"interval": "1s", "hold": "0s"},
    "pools": {
        "api": {"backend_servers": [], "sticky": {"cookie": "c", "max_age": "1h"},
            "health_check": {"path": null, "interval": "1s", "timeout": "1s", "rise": 1, "fall": 1,
                "status": 204, "host": "shop.example:80"}},
        "v1.0": {"retries": 5, "fail_status": [500, "4xx"], "upgrades": [], "tolerate": ["repeated_chunked"], "sticky": false, "health_check": false, "slow_start": "1m"},
        "named": {"backend_servers": [
            {"name": "app.internal", "port": 8080, "family": "ipv4", "max": 7, "weight": 2, "max_connections": 9},
            {"srv": "_http._tcp.app.internal", "max": 256, "backup": true}, {"name": "b", "port": 1}]}
    },
    "routes": [{"host": "a", "redirect": "https", "status": 307}]
}"##;

#[test]
fn the_smallest_file_works_as_it_stands() {
    let text = r#"{ "backend_servers": [ { "ip": "127.0.0.1", "port": 8001 }, { "ip": "127.0.0.1", "port": 8002 } ] }"#;
    let backends = [address("127.0.0.1:8001"), address("127.0.0.1:8002")];
    assert_eq!(load(text, &Overrides::default()), Ok(Config::for_backends(&backends)));
    assert_eq!(load("{}", &Overrides::default()), Ok(Config::for_backends(&[])));
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let expected = r#"{
  "listen": ["[::]:9000"],
  "workers": "auto",
  "max_connections": 8192,
  "max_fields": 100,
  "buffer_size": "32KiB",
  "pipeline": 8,
  "client_requests": 0,
  "trusted_proxies": [],
  "forward": ["x-forwarded"],
  "request_id": "auto",
  "via": null,
  "access_log": "off",
  "access_log_headers": [],
  "error_pages": {},
  "status_listen": null,
  "admin": {"socket": null, "listen": null, "token_file": null},
  "cache": null,
  "registry": null,
  "timeouts": {
    "withdraw": "0s",
    "header": "10s",
    "client": "30s",
    "idle": "1m",
    "fin": "10s",
    "client_age": "0s",
    "keepalive": "1m",
    "connect": "2s",
    "response": "1m",
    "backend_idle": "4s",
    "tunnel": "1h",
    "queue": "1s",
    "drain": "30s",
    "retire": "1h"
  },
  "names": {"interval": "5s", "hold": "30s"},
  "backend_servers": [
    {"ip": "127.0.0.1", "port": 8001, "weight": 1, "max_connections": 0, "backup": false}
  ],
  "balance": "round_robin",
  "sticky": false,
  "health_check": false,
  "max_fails": 3,
  "fail_timeout": "10s",
  "fail_status": [],
  "tolerate": [],
  "retries": 2,
  "max_body": 0,
  "upgrades": ["websocket"],
  "slow_start": "0s",
  "multiplex": "off",
  "pools": {},
  "routes": [],
  "pool_header": null
}"#;
    assert_eq!(Config::for_backends(&[address("127.0.0.1:8001")]).dump(), expected);
}

#[test]
fn every_key_has_its_effect() {
    let config = load(EVERYTHING, &Overrides::default()).unwrap();
    let listen = ["[::]:8080", "127.0.0.1:8081", "[::1]:0"];
    let proxied = [false, true, false].into_iter().zip(listen);
    let wanted = proxied
        .map(|(proxy_protocol, text)| Listen { proxy_protocol, ..Listen::on(address(text)) });
    assert_eq!(config.listen, wanted.collect::<Vec<_>>());
    assert_eq!(config.workers, Workers::Count(4));
    assert_eq!(config.max_connections, 1_000_000);
    assert_eq!(config.buffer_size, 8192);
    assert_eq!(config.pipeline, 32);
    assert_eq!(config.request_id, RequestId::Require);
    assert_eq!(config.access_log, AccessLog::Path(PathBuf::from("/var/log/httplb/access.log")));
    assert_eq!(config.via.as_deref(), Some("lb-1"));
    let timeouts = config.timeouts;
    assert_eq!(timeouts.header, Millis(1));
    assert_eq!(timeouts.client, Millis::from_secs(2));
    assert_eq!(timeouts.idle, Millis::from_secs(180));
    assert_eq!(timeouts.connect, Millis::from_secs(4 * 3600));
    assert_eq!(timeouts.response, Millis::from_secs(168 * 3600));
    assert_eq!(timeouts.backend_idle, Millis::from_secs(6));
    assert_eq!(timeouts.tunnel, Millis::from_secs(7));
    assert_eq!(timeouts.queue, Millis::from_secs(8));
    assert_eq!(timeouts.drain, Millis::from_secs(9));
    let added = [timeouts.fin, timeouts.client_age, timeouts.keepalive];
    assert_eq!(added, [11, 12, 13].map(Millis::from_secs));
    assert_eq!((timeouts.withdraw, timeouts.retire), (Millis(0), Millis::from_secs(7200)));
    let [pool, api, _] = &config.pools[..] else { panic!("{:?}", config.pools) };
    assert_eq!(
        (&api.name[..], api.backends.len(), api.retries, api.max_body),
        ("api", 0, 5, 8 << 20)
    );
    let hosts: Vec<_> = config.routes.iter().map(|route| route.host.as_deref()).collect();
    assert_eq!(hosts, [Some("*.example"), Some("shop.example")]);
    let targets = config.routes.iter().map(|route| route.target);
    assert!(targets.eq([RouteTarget::Pool(1), RouteTarget::Pool(0)]));
    assert_eq!(config.pool_header.as_deref(), Some("X-Pool"));
    let first = Backend {
        address: address("127.0.0.1:65535").into(),
        weight: 256,
        max_connections: 9,
        backup: true,
    };
    assert_eq!(pool.backends, [first, Backend::at(address("[fd00::7]:1"))]);
    assert_eq!(pool.name, "default");
    let sticky = Sticky { cookie: "home".into(), max_age: Some(Millis::from_secs(3600)) };
    assert_eq!(
        (&pool.sticky, &api.sticky),
        (&Some(sticky), &Some(Sticky::named("sticky_backend")))
    );
    assert_eq!(pool.balance, Balance::LeastConnections);
    assert_eq!((pool.max_fails, pool.retries, pool.max_body), (100, 0, 8 << 20));
    assert_eq!(pool.fail_timeout, Millis::from_secs(3600));
    assert_eq!(pool.slow_start, Millis::from_secs(600));
    let tolerated = |pool: &crate::config::Pool| {
        pool.tolerate.iter().map(crate::config::Tolerance::as_str).collect::<Vec<_>>()
    };
    assert_eq!(tolerated(pool), ["bare_lf", "raw_target"]);
    assert_eq!(tolerated(api), ["bare_lf", "raw_target"], "inherited");
}

#[test]
fn backend_connections_may_be_kept_for_no_time_and_no_other_timeout_is_nothing() {
    let config = load(r#"{"timeouts": {"backend_idle": "0s"}}"#, &Overrides::default()).unwrap();
    assert_eq!(config.timeouts.backend_idle, Millis(0));
    assert_eq!(load(&config.dump(), &Overrides::default()), Ok(config));
    for key in ["header", "client", "idle", "connect", "response", "tunnel", "queue", "drain"] {
        let text = format!(r#"{{"timeouts": {{"{key}": "0s"}}}}"#);
        assert!(load(&text, &Overrides::default()).is_err(), "{key}");
    }
}

#[test]
fn the_keys_of_later_versions_are_read() {
    let config = load(MORE, &Overrides::default()).unwrap();
    let networks =
        ["10.0.0.0/8", "192.0.2.1/32", "unix"].map(|text| TrustedProxy::parse(text).unwrap());
    assert_eq!(config.trusted_proxies, networks);
    let names: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["default", "api", "v1.0", "named"]);
    let (api, v1) = (&config.pools[1], &config.pools[2]);
    assert!(api.backends.is_empty());
    assert_eq!(api.sticky.as_ref().unwrap().cookie, "c");
    assert_eq!(api.slow_start, Millis::from_secs(30));
    assert_eq!(api.upgrades, ["tcp", "SPDY/3.1"]);
    assert_eq!(v1.backends, [Backend::at(address("127.0.0.1:8001"))]);
    assert_eq!((v1.retries, &v1.sticky, &v1.health_check), (5, &None, &None));
    let failing = v1.fail_status.as_ref().unwrap();
    let fails = [500, 404, 200, 501].map(|status| failing.contain(status));
    assert_eq!((fails, &api.fail_status), ([true, true, false, false], &None));
}

#[test]
fn a_limit_may_find_itself() {
    let text = r#"{"backend_servers": [{"ip": "::1", "port": 80, "max_connections": "auto"}]}"#;
    let config = load(text, &Overrides::default()).unwrap();
    assert_eq!(config.pools[0].backends[0].max_connections, AUTO_CAP);
    let dump = config.dump();
    assert!(dump.contains("\"max_connections\": \"auto\""), "{dump}");
    assert_eq!(load(&dump, &Overrides::default()).unwrap(), config);
    let wrong = r#"{"backend_servers": [{"ip": "::1", "port": 80, "max_connections": "Auto"}]}"#;
    let errors = load(wrong, &Overrides::default()).unwrap_err();
    assert!(errors[0].to_string().ends_with("(write 0 to 1000000 or \"auto\")"), "{errors:?}");
}

#[test]
fn unix_sockets_are_read_and_written_back() {
    let text = r##"{
        "listen": [
            "unix:/run/httplb/http.sock",
            {"addr": "unix:/run/a b", "mode": "666", "group": "www-data", "proxy_protocol": true},
            "unix:@http"
        ],
        "backend_servers": [
            {"unix": "/run/app.sock", "weight": 3},
            {"unix": "@app", "max_connections": 4, "backup": true},
            {"ip": "::1", "port": 80}
        ]
    }"##;
    let config = load(text, &Overrides::default()).unwrap();
    let listen: Vec<(String, u32, Option<&str>, bool)> = config
        .listen
        .iter()
        .map(|each| {
            let access = &each.access;
            (each.address.to_string(), access.mode, access.group.as_deref(), each.proxy_protocol)
        })
        .collect();
    assert_eq!(
        listen,
        [
            (String::from("unix:/run/httplb/http.sock"), 0o660, None, false),
            (String::from("unix:/run/a b"), 0o666, Some("www-data"), true),
            (String::from("unix:@http"), 0o660, None, false),
        ]
    );
    let backends: Vec<String> =
        config.pools[0].backends.iter().map(|backend| backend.address.to_string()).collect();
    assert_eq!(backends, ["unix:/run/app.sock", "unix:@app", "[::1]:80"]);
    assert_eq!((config.pools[0].backends[0].weight, config.pools[0].backends[1].backup), (3, true));
    assert_eq!(load(&config.dump(), &Overrides::default()), Ok(config));
}

#[test]
fn the_parts_of_a_small_cache_are_small() {
    for (keys, max_size, max_object) in [
        ("", 256 << 20, 16 << 20),
        (r#", "max_size": "8MiB""#, 8 << 20, 8 << 20),
        (r#", "max_size": "8MiB", "max_object": "1MiB""#, 8 << 20, 1 << 20),
        (r#", "max_object": "32MiB""#, 256 << 20, 32 << 20),
    ] {
        let text = format!(r#"{{"cache": {{"dir": "/c"{keys}}}}}"#);
        let cache = load(&text, &Overrides::default()).unwrap().cache.unwrap();
        assert_eq!((cache.max_size, cache.max_object), (max_size, max_object), "{text}");
    }
}

#[test]
fn the_dump_is_read_as_the_same_configuration() {
    for text in ["{}", EVERYTHING, MORE] {
        let config = load(text, &Overrides::default()).unwrap();
        let dump = config.dump();
        assert_eq!(load(&dump, &Overrides::default()), Ok(config), "{dump}");
    }
}

#[test]
fn the_dump_has_every_key_and_every_key_is_known() {
    let Value::Object(entries) = json::read(&Config::default().dump()).tree else { panic!() };
    let mut dumped: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    let mut known = [&keys::PROCESS[..], &keys::POOL].concat();
    dumped.sort_unstable();
    known.sort_unstable();
    assert_eq!(dumped, known);
    for key in known {
        let found = messages(&format!("{{\"{key}\": -1}}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].contains("unknown key"), "{found:?}");
    }
    for key in keys::TIMEOUTS {
        let found = messages(&format!("{{\"timeouts\": {{\"{key}\": \"5\"}}}}"));
        assert_eq!(
            found,
            [format!("line 1: timeouts.{key}: \"5\" has no unit (write \"5s\" or \"250ms\")")]
        );
    }
}

#[test]
fn the_command_line_goes_before_the_file() {
    let overrides = Overrides {
        listen: vec![Listen::on(address("127.0.0.1:1"))],
        backends: vec![address("127.0.0.1:2").into(), address("127.0.0.1:3").into()],
        workers: Some(Workers::Auto),
        ..Overrides::default()
    };
    let text = r#"{"listen": [{"addr": ":80", "proxy_protocol": true}], "workers": 3, "retries": 7,
        "backend_servers": [{"ip": "127.0.0.1", "port": 8001, "weight": 5}]}"#;
    let config = load(text, &overrides).unwrap();
    assert_eq!(config.listen, overrides.listen);
    assert_eq!(config.workers, Workers::Auto);
    assert_eq!(
        config.pools[0].backends,
        overrides.backends.iter().map(|at| Backend::at(*at)).collect::<Vec<_>>()
    );
    assert_eq!(config.pools[0].retries, 7);
}

#[test]
fn the_kernel_may_choose_several_ports() {
    let text = r#"{"listen": ["127.0.0.1:0", "127.0.0.1:0"]}"#;
    assert_eq!(load(text, &Overrides::default()).unwrap().listen.len(), 2);
}

#[test]
fn a_head_may_have_a_ring_less_a_kibibyte_and_at_most_64() {
    let cases = [(4, 3 << 10), (32, 31 << 10), (64, 63 << 10), (128, 64 << 10), (1024, 64 << 10)];
    for (kibibytes, limit) in cases {
        let text = format!("{{\"buffer_size\": \"{kibibytes}KiB\"}}");
        assert_eq!(load(&text, &Overrides::default()).unwrap().head_limit(), limit);
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run_in_the_order_of_the_file() {
    let text = r#"{
        "backend_servers": [{"ip": "127.0.0.1", "port": 0}],
        "pools": {"api": {"helth_check": {}}},
        "timeouts": {"connect": "5"},
        "workers": "many",
        "cache": {"dir": "d"}
    }"#;
    let expected = [
        "line 2: backend_servers[0].port: 0 is out of range (write 1 to 65535)",
        "line 3: pools.api.helth_check: unknown key (did you mean \"health_check\"?)",
        "line 4: timeouts.connect: \"5\" has no unit (write \"5s\" or \"250ms\")",
        "line 5: workers: \"many\" is not a number of workers (write 1 to 256 or \"auto\")",
        "line 6: cache.dir: \"d\" is not an absolute path (write a path that starts with \"/\")",
    ];
    assert_eq!(messages(text), expected);
}

#[test]
fn a_check_on_the_command_line_replaces_that_of_the_file_and_others_inherit_it() {
    let tree = |text: &str, overrides: &Overrides| {
        let tree = json::read(text).tree;
        check::config(&tree, overrides, &mut Mistakes::default())
    };
    let text = r#"{"health_check": {"path": "/a", "host": "a", "rise": 5}, "pools": {"b": {}}}"#;
    let overrides = Overrides {
        health_url: Some(pool::check_url("/up").unwrap()),
        health_interval: Some(pool::check_interval("250ms").unwrap()),
        ..Overrides::default()
    };
    for pool in tree(text, &overrides).pools {
        let check = pool.health_check.unwrap();
        assert_eq!((check.path.as_deref(), check.host.as_deref()), (Some("/up"), Some("a")));
        assert_eq!((check.interval, check.rise), (Millis(250), 5));
    }
    let overrides = Overrides {
        health_url: Some(pool::check_url("http://shop.example:81").unwrap()),
        ..Overrides::default()
    };
    let check = tree("{}", &overrides).pools[0].health_check.clone().unwrap();
    assert_eq!(check.path.as_deref(), Some("/"));
    assert_eq!(check.host.as_deref(), Some("shop.example:81"));
    for wrong in ["", "up", "http://", "http://a b/", "https://a/", "/a b", "/a#b"] {
        assert!(pool::check_url(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn mistakes_in_what_httplb_answers_itself_are_named() {
    for (text, message) in [
        (
            r#"{"routes": [{"path": "/a", "pool": "default", "redirect": "https"}]}"#,
            r#"routes[0].redirect: stands beside "pool" (remove one of them)"#,
        ),
        (
            r#"{"routes": [{"path": "/a", "redirect": "http"}]}"#,
            r#"routes[0].redirect: "http" is not one of the words (did you mean "https"?)"#,
        ),
        (
            r#"{"routes": [{"redirect": "https", "status": 303}]}"#,
            "routes[0].status: 303 is no status of such a redirect (write 308 or 301 for good, 307 or 302 for the time being)",
        ),
        (
            r#"{"routes": [{"pool": "default", "status": 302}]}"#,
            r#"routes[0].status: is for a redirect alone (remove it, or add "redirect": "https")"#,
        ),
        (
            r#"{"access_log_headers": ["Referer", "referer"]}"#,
            r#"access_log_headers[1]: "referer" stands twice in the list (remove one)"#,
        ),
        (
            r#"{"access_log_headers": ["User Agent"]}"#,
            r#"access_log_headers[0]: "User Agent" is not a header name (write "Referer")"#,
        ),
        (
            r#"{"error_pages": {"404": "/a"}}"#,
            r#"error_pages.404: not the status of an error that httplb makes (there are "400", "408", "413", "414", "417", "431", "501", "502", "503", "504" and "505")"#,
        ),
        (
            r#"{"error_pages": {"502": "502.html"}}"#,
            r#"error_pages.502: "502.html" is not an absolute path (write a path that starts with "/")"#,
        ),
    ] {
        assert_eq!(messages(text), [format!("line 1: {message}")], "{text}");
    }
}
