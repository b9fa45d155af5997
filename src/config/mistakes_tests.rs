//! Bad files, with the exact messages; and mutations of good ones.

use super::tests::{EVERYTHING, MORE, messages};
use crate::config::{Overrides, load};
use crate::mem::xorshift::Xorshift;

/// A file of one mistake, and what is said of it.
const ONE_MISTAKE: &[(&str, &str)] = &[
    ("[]", "the file: a list is not an object (write {...})"),
    ("7", "the file: 7 is not an object (write {...})"),
    (
        r#"{"tolerate": ["bare-lf"]}"#,
        r#"tolerate[0]: "bare-lf" is not one of the words (did you mean "bare_lf"?)"#,
    ),
    (
        r#"{"tolerate": ["raw_target", "raw_target"]}"#,
        r#"tolerate[1]: "raw_target" stands twice in the list (remove one)"#,
    ),
    (r#"{"tolerate": "bare_lf"}"#, r#"tolerate: "bare_lf" is not a list (write ["bare_lf"])"#),
    // Keys.
    (
        r#"{"retries": 1, "retries": 1}"#,
        "retries: duplicate key: line 1 has it already (set it only once)",
    ),
    (
        r#"{"retries": 1, "retries": 1, "retries": 1}"#,
        "retries: duplicate key: line 1 has it already (set it only once)",
    ),
    (
        r#"{"timeouts": {"idle": "1s", "idle": "2s"}}"#,
        "timeouts.idle: duplicate key: line 1 has it already (set it only once)",
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "port": 2}]}"#,
        "backend_servers[0].port: duplicate key: line 1 has it already (set it only once)",
    ),
    (r#"{"listne": []}"#, r#"listne: unknown key (did you mean "listen"?)"#),
    (r#"{"backends": []}"#, r#"backends: unknown key (did you mean "backend_servers"?)"#),
    (r#"{"connect": "5s"}"#, r#"connect: unknown key (did you mean "timeouts.connect"?)"#),
    (
        r#"{"xyzzy": {}}"#,
        r##"xyzzy: unknown key (see servers.conf(5); a key that starts with "#" is a comment)"##,
    ),
    (
        r#"{"a b.c\u001b": 1}"#,
        r##""a b.c\u001b": unknown key (see servers.conf(5); a key that starts with "#" is a comment)"##,
    ),
    (
        r#"{"": 1}"#,
        r##""": unknown key (see servers.conf(5); a key that starts with "#" is a comment)"##,
    ),
    (
        r#"{"timeouts": {"xyz": "1s"}}"#,
        r##"timeouts.xyz: unknown key (see servers.conf(5); a key that starts with "#" is a comment)"##,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "wieght": 2}]}"#,
        r#"backend_servers[0].wieght: unknown key (did you mean "weight"?)"#,
    ),
    // The process.
    (
        r#"{"client_requests": 1000001}"#,
        "client_requests: 1000001 is out of range (write 0 to 1000000)",
    ),
    (
        r#"{"timeouts": {"keepalive": "10h"}}"#,
        r#"timeouts.keepalive: "10h" is out of range (write "0s" to "9h")"#,
    ),
    (
        r#"{"timeouts": {"fin": "0s"}}"#,
        r#"timeouts.fin: "0s" is out of range (write "1ms" to "168h")"#,
    ),
    (
        r#"{"fail_status": ["5xx", 700]}"#,
        r#"fail_status[1]: 700 is out of range (write 200 to 599)"#,
    ),
    (
        r#"{"fail_status": ["50x"]}"#,
        r#"fail_status[0]: "50x" is not a status (write a status of 200 to 599 or a class of "2xx" to "5xx")"#,
    ),
    (
        r#"{"upgrades": ["websocket", "H2C"]}"#,
        r#"upgrades[1]: "H2C" would let requests past every route and limit (remove it: httplb speaks HTTP/1.1)"#,
    ),
    (
        r#"{"upgrades": ["websocket", "WebSocket"]}"#,
        r#"upgrades[1]: "WebSocket" stands twice in the list (remove one)"#,
    ),
    (
        r#"{"pools": {"api": {"upgrades": ["a b"]}}}"#,
        r#"pools.api.upgrades[0]: "a b" is not a protocol (write "websocket" or "SPDY/3.1")"#,
    ),
    (r#"{"listen": []}"#, "listen: the list is empty (write 1 to 64 of them)"),
    (r#"{"listen": ":80"}"#, r#"listen: ":80" is not a list (write [":80"])"#),
    (r#"{"listen": [80]}"#, r#"listen[0]: 80 is not an address (write ":80" or "10.0.0.7:80")"#),
    (
        r#"{"listen": [":80", ":80"]}"#,
        r#"listen[1]: "[::]:80" stands twice in the list (remove one)"#,
    ),
    (
        r#"{"listen": [":80", "0.0.0.0:80"]}"#,
        r#"listen[1]: "0.0.0.0:80" overlaps "[::]:80" (remove one: "[::]" takes IPv4 as well)"#,
    ),
    (
        r#"{"listen": [{"proxy_protocol": false}]}"#,
        r#"listen[0]: there is no "addr" (add "addr": ":80")"#,
    ),
    (
        r#"{"listen": [{"addr": "10.0.0.7", "proxy_protocol": true}]}"#,
        r#"listen[0].addr: "10.0.0.7" has no port (write "10.0.0.7:80")"#,
    ),
    (
        r#"{"listen": [{"addr": ":80", "proxy_protocol": "yes"}]}"#,
        r#"listen[0].proxy_protocol: "yes" is not true or false (write true, without quotes)"#,
    ),
    (
        r#"{"listen": [{"addr": ":80", "port": 80}]}"#,
        r#"listen[0].port: unknown key (write "addr": ":80")"#,
    ),
    (
        r#"{"listen": ["/run/a.sock"]}"#,
        r#"listen[0]: "/run/a.sock" is not an address (write "unix:/run/a.sock" for a Unix socket)"#,
    ),
    (
        r#"{"listen": ["unix:/run/a.sock", {"addr": "unix:/run/a.sock", "mode": "0666"}]}"#,
        r#"listen[1]: "unix:/run/a.sock" stands twice in the list (remove one)"#,
    ),
    (
        r#"{"listen": [{"addr": ":80", "mode": "0660"}]}"#,
        r#"listen[0].mode: "0660" is for Unix sockets alone (remove it)"#,
    ),
    (
        r#"{"listen": [{"addr": ":80", "group": "www-data"}]}"#,
        r#"listen[0].group: "www-data" is for Unix sockets alone (remove it)"#,
    ),
    (
        r#"{"listen": [{"addr": "unix:@a", "group": "www-data"}]}"#,
        r#"listen[0].group: "www-data" is not for abstract names, which have no file (remove it)"#,
    ),
    (
        r#"{"listen": [{"addr": "unix:/run/a.sock", "freebind": true}]}"#,
        "listen[0].freebind: true is for addresses of TCP alone (remove it)",
    ),
    (
        r#"{"listen": [{"addr": "unix:/run/a.sock", "mode": 660}]}"#,
        r#"listen[0].mode: 660 is not the mode of a file (write "0660" for the owner and the group, "0666" for all)"#,
    ),
    (
        r#"{"listen": [{"addr": "unix:/run/a.sock", "mode": "0680"}]}"#,
        r#"listen[0].mode: "0680" is not the mode of a file (write "0660" for the owner and the group, "0666" for all)"#,
    ),
    (
        r#"{"listen": [{"addr": "unix:/run/a.sock", "mode": "4660"}]}"#,
        r#"listen[0].mode: "4660" is not the mode of a file (write "0660" for the owner and the group, "0666" for all)"#,
    ),
    (
        r#"{"listen": [{"addr": "unix:/run/a.sock", "group": "a b"}]}"#,
        r#"listen[0].group: "a b" is not the name of a group (write "www-data")"#,
    ),
    (
        r#"{"admin": {"socket": "/run/a.sock"}, "listen": ["unix:/run/a.sock"]}"#,
        r#"admin.socket: "/run/a.sock" is in "listen" too (choose another path for one of them)"#,
    ),
    (
        r#"{"forward": ["x-forward"]}"#,
        r#"forward[0]: "x-forward" is not one of the words (did you mean "x-forwarded"?)"#,
    ),
    (
        r#"{"forward": ["forwarded", "forwarded"]}"#,
        r#"forward[1]: "forwarded" stands twice in the list (remove one)"#,
    ),
    (r#"{"max_fields": 9}"#, r#"max_fields: 9 is out of range (write 10 to 1000)"#),
    (
        r#"{"health_check": {"status": [200, "6xx"]}}"#,
        r#"health_check.status[1]: "6xx" is not a status (write a status of 200 to 599 or a class of "2xx" to "5xx")"#,
    ),
    (
        r#"{"health_check": {"status": []}}"#,
        r#"health_check.status: the list is empty (write 1 to 16 of them)"#,
    ),
    (r#"{"workers": 0}"#, r#"workers: 0 is out of range (write 1 to 256 or "auto")"#),
    (r#"{"workers": 257}"#, r#"workers: 257 is out of range (write 1 to 256 or "auto")"#),
    (r#"{"workers": "4"}"#, r#"workers: "4" is not a number of workers (write 4, without quotes)"#),
    (r#"{"workers": null}"#, r#"workers: null is not a whole number (write 1 to 256 or "auto")"#),
    (r#"{"max_connections": 0}"#, "max_connections: 0 is out of range (write 1 to 1000000)"),
    (
        r#"{"max_connections": 1000001}"#,
        "max_connections: 1000001 is out of range (write 1 to 1000000)",
    ),
    (
        r#"{"max_connections": 18446744073709551616}"#,
        "max_connections: 18446744073709551616 is not a whole number (write 1 to 1000000)",
    ),
    (
        r#"{"max_connections": "8"}"#,
        r#"max_connections: "8" is not a whole number (write 8, without quotes)"#,
    ),
    (r#"{"buffer_size": 4095}"#, r#"buffer_size: 4095 is out of range (write "4KiB" to "1MiB")"#),
    (
        r#"{"buffer_size": "1025KiB"}"#,
        r#"buffer_size: "1025KiB" is out of range (write "4KiB" to "1MiB")"#,
    ),
    (
        r#"{"buffer_size": true}"#,
        r#"buffer_size: true is not a size (write "64KiB", "8MiB" or a number of bytes)"#,
    ),
    (r#"{"pipeline": 33}"#, "pipeline: 33 is out of range (write 1 to 32)"),
    (r#"{"pipeline": -1}"#, "pipeline: -1 is not a whole number (write 1 to 32)"),
    (r#"{"pipeline": 1.5}"#, "pipeline: 1.5 is not a whole number (write 1 to 32)"),
    (
        r#"{"trusted_proxies": ["10.0.0.7/8"]}"#,
        r#"trusted_proxies[0]: "10.0.0.7/8" has bits behind its prefix (write "10.0.0.0/8")"#,
    ),
    (
        r#"{"request_id": "on"}"#,
        r#"request_id: "on" is not one of the words (write "auto", "require" or "off")"#,
    ),
    (
        r#"{"request_id": "requier"}"#,
        r#"request_id: "requier" is not one of the words (did you mean "require"?)"#,
    ),
    (
        r#"{"request_id": false}"#,
        r#"request_id: false is not one of the words (write "auto", "require" or "off")"#,
    ),
    (r#"{"via": "a b"}"#, r#"via: "a b" is not a token or null (write "httplb")"#),
    (
        r#"{"via": "01234567890123456789012345678901234567890123456789012345678901234"}"#,
        r#"via: "012345678901234567890123456789012345678901234567890123456789..." is too long (write at most 64 characters)"#,
    ),
    (r#"{"access_log": "stdut"}"#, r#"access_log: "stdut" is not a path (did you mean "stdout"?)"#),
    (
        r#"{"access_log": "syslog"}"#,
        r#"access_log: "syslog" is not a path (write "off", "stdout" or a path such as "/var/log/httplb/access.log")"#,
    ),
    (
        r#"{"access_log": "/a\u0000b"}"#,
        r#"access_log: "/a\u0000b" is not a path (write "off", "stdout" or a path such as "/var/log/httplb/access.log")"#,
    ),
    (r#"{"timeouts": {"idle": 5}}"#, r#"timeouts.idle: 5 has no unit (write "5s" or "250ms")"#),
    (
        r#"{"timeouts": {"idle": null}}"#,
        r#"timeouts.idle: null is not a duration (write "5s" or "250ms")"#,
    ),
    (
        r#"{"timeouts": {"idle": "0s"}}"#,
        r#"timeouts.idle: "0s" is out of range (write "1ms" to "168h")"#,
    ),
    (
        r#"{"timeouts": {"idle": "169h"}}"#,
        r#"timeouts.idle: "169h" is out of range (write "1ms" to "168h")"#,
    ),
    (r#"{"timeouts": "5s"}"#, r#"timeouts: "5s" is not an object (write {"connect": "2s"})"#),
    (
        r#"{"status_listen": 9001}"#,
        r#"status_listen: 9001 is not an address (write "127.0.0.1:9001")"#,
    ),
    (
        r#"{"admin": {"socket": "admin.sock"}}"#,
        r#"admin.socket: "admin.sock" is not an absolute path (write a path that starts with "/")"#,
    ),
    (
        r#"{"admin": {"socket": "@admin"}}"#,
        r#"admin.socket: "@admin" is not an absolute path (write a path that starts with "/")"#,
    ),
    (
        r#"{"admin": {"listen": ":9002"}}"#,
        r#"admin.listen: ":9002" needs a token (add "token_file": "/etc/httplb/token")"#,
    ),
    (
        r#"{"admin": null}"#,
        r#"admin: null is not an object (write {"socket": "/run/httplb/admin.sock"})"#,
    ),
    (r#"{"cache": {}}"#, r#"cache: there is no "dir" (add "dir": "/var/cache/httplb")"#),
    (
        r#"{"cache": {"dir": "/c", "max_size": "1MiB", "max_object": "2MiB"}}"#,
        r#"cache: "max_object" is larger than "max_size" (make it at most as large)"#,
    ),
    (
        r#"{"cache": {"dir": "/c", "ttl": "1s"}}"#,
        r#"cache.ttl: unknown key (write "default_ttl": "10s")"#,
    ),
    (r#"{"pool_header": ""}"#, r#"pool_header: "" is not a header name or null (write "X-Pool")"#),
    // Pools.
    (r#"{"backend_servers": {}}"#, "backend_servers: an object is not a list (write [{...}])"),
    (
        r#"{"backend_servers": ["127.0.0.1:8001"]}"#,
        r#"backend_servers[0]: "127.0.0.1:8001" is not an object (write {"ip": "127.0.0.1", "port": 8001})"#,
    ),
    (
        r#"{"backend_servers": [{"port": 1}]}"#,
        r#"backend_servers[0]: there is no "ip" (add "ip": "127.0.0.1")"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1"}]}"#,
        r#"backend_servers[0]: there is no "port" (add "port": 8001)"#,
    ),
    (
        r#"{"backend_servers": [{"unix": "/run/a.sock", "port": 1}]}"#,
        r#"backend_servers[0]: "port" and "unix" are two ways to say where it is (remove one of them)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "app.internal"}]}"#,
        r#"backend_servers[0]: there is no "port" (add "port": 8001)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "10.0.0.7", "port": 1}]}"#,
        r#"backend_servers[0].name: "10.0.0.7" is not a name (write "ip" in place of "name" for an address)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "a b", "port": 1}]}"#,
        r#"backend_servers[0].name: "a b" is not a name (write "app.internal")"#,
    ),
    (
        r#"{"backend_servers": [{"name": "a", "ip": "10.0.0.7", "port": 1}]}"#,
        r#"backend_servers[0]: "ip" and "name" are two ways to say where it is (remove one of them)"#,
    ),
    (
        r#"{"backend_servers": [{"srv": "_http._tcp.a", "port": 1}]}"#,
        r#"backend_servers[0]: "port" and "srv" are two ways to say where it is (remove one of them)"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "10.0.0.7", "port": 1, "max": 4}]}"#,
        r#"backend_servers[0]: "ip" and "max" are two ways to say where it is (remove one of them)"#,
    ),
    (
        r#"{"backend_servers": [{"srv": "_http._tcp.a", "weight": 2}]}"#,
        r#"backend_servers[0]: "weight" stands in the records of a service (remove it here)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "a", "port": 1, "max": 257}]}"#,
        r#"backend_servers[0].max: 257 is out of range (write 1 to 256)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "a", "port": 1, "family": "ip6"}]}"#,
        r#"backend_servers[0].family: "ip6" is not one of the words (did you mean "ipv6"?)"#,
    ),
    (
        r#"{"backend_servers": [{"name": "a", "port": 1}, {"name": "a", "port": 1, "weight": 2}]}"#,
        r#"backend_servers[1]: "a:1" is backend_servers[0] again (remove one, and give the other a weight)"#,
    ),
    (
        r#"{"names": {"interval": "10ms"}}"#,
        r#"names.interval: "10ms" is out of range (write "100ms" to "1h")"#,
    ),
    (r#"{"names": {"hld": "1s"}}"#, r#"names.hld: unknown key (did you mean "hold"?)"#),
    (
        r#"{"backend_servers": [{"unix": "a.sock"}]}"#,
        r#"backend_servers[0].unix: "a.sock" is not the path of a Unix socket (write "/run/app.sock", or "@app" for an abstract name)"#,
    ),
    (
        r#"{"backend_servers": [{"unix": 7}]}"#,
        r#"backend_servers[0].unix: 7 is not a path (write "/run/app.sock")"#,
    ),
    (
        r#"{"backend_servers": [{"unix": "@a"}, {"unix": "@a", "backup": true}]}"#,
        r#"backend_servers[1]: "unix:@a" is backend_servers[0] again (remove one, and give the other a weight)"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "/run/a.sock", "port": 1}]}"#,
        r#"backend_servers[0].ip: "/run/a.sock" is not an IP address (write "unix": "/run/a.sock" in place of "ip" and "port")"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": "80"}]}"#,
        r#"backend_servers[0].port: "80" is not a whole number (write 80, without quotes)"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 65536}]}"#,
        "backend_servers[0].port: 65536 is out of range (write 1 to 65535)",
    ),
    (
        r#"{"backend_servers": [{"ip": "a.example", "port": 1}]}"#,
        r#"backend_servers[0].ip: "a.example" is not an IP address (write "name": "a.example" in place of "ip")"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "weight": 0}]}"#,
        "backend_servers[0].weight: 0 is out of range (write 1 to 256)",
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "weight": 257}]}"#,
        "backend_servers[0].weight: 257 is out of range (write 1 to 256)",
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "max_connections": 1000001}]}"#,
        r#"backend_servers[0].max_connections: 1000001 is out of range (write 0 to 1000000 or "auto")"#,
    ),
    (
        r#"{"backend_servers": [{"ip": "::1", "port": 1, "backup": 1}]}"#,
        "backend_servers[0].backup: 1 is not true or false (write true or false)",
    ),
    (
        r#"{"backend_servers": [{"ip": "127.0.0.1", "port": 1}, {"ip": "::1", "port": 1}, {"ip": "::ffff:127.0.0.1", "port": 1}]}"#,
        r#"backend_servers[2]: "127.0.0.1:1" is backend_servers[0] again (remove one, and give the other a weight)"#,
    ),
    (
        r#"{"balance": "roundrobin"}"#,
        r#"balance: "roundrobin" is not one of the words (did you mean "round_robin"?)"#,
    ),
    (
        r#"{"balance": "ip_hash"}"#,
        r#"balance: "ip_hash" is not one of the words (write "sticky": true: it keeps a client at its backend)"#,
    ),
    (
        r#"{"sticky": "yes"}"#,
        r#"sticky: "yes" is not true or false (write true, false or {"cookie": NAME, "max_age": "1h"})"#,
    ),
    (
        r#"{"sticky": {"cookie": "a;b"}}"#,
        r#"sticky.cookie: "a;b" is not a cookie name (write "sticky")"#,
    ),
    (
        r#"{"sticky": {"max_age": "1500ms"}}"#,
        r#"sticky.max_age: "1500ms" is not in whole seconds (write "1s" or more)"#,
    ),
    (
        r#"{"health_check": true}"#,
        "health_check: true is not a health check (write false, or {} for a check with every default)",
    ),
    (
        r#"{"health_check": {"status": 99}}"#,
        "health_check.status: 99 is out of range (write 200 to 599)",
    ),
    (
        r#"{"health_check": {"path": "health"}}"#,
        r#"health_check.path: "health" is not a path (write "/health", or null for a TCP connect)"#,
    ),
    (
        r#"{"health_check": {"host": "a/b"}}"#,
        r#"health_check.host: "a/b" is not a host (write "shop.example", or null for the backend's address)"#,
    ),
    (
        r#"{"health_check": {"interval": "500"}}"#,
        r#"health_check.interval: "500" has no unit (write "5s" or "250ms")"#,
    ),
    (r#"{"max_fails": 0}"#, "max_fails: 0 is out of range (write 1 to 100)"),
    (
        r#"{"fail_timeout": "0ms"}"#,
        r#"fail_timeout: "0ms" is out of range (write "1ms" to "168h")"#,
    ),
    (r#"{"retries": 11}"#, "retries: 11 is out of range (write 0 to 10)"),
    (
        r#"{"max_body": "8MB"}"#,
        r#"max_body: "8MB" has an unknown unit (write "8MiB": units are B, KiB, MiB, GiB and TiB)"#,
    ),
    (
        r#"{"max_body": "16777216TiB"}"#,
        r#"max_body: "16777216TiB" is too large (write "64KiB", "8MiB" or a number of bytes)"#,
    ),
    (
        r#"{"multiplex": "on"}"#,
        r#"multiplex: "on" is not one of the words (write "off" or "verified")"#,
    ),
    (r#"{"slow_start": "11m"}"#, r#"slow_start: "11m" is out of range (write "0s" to "10m")"#),
    (
        r#"{"pools": {"default": {}}}"#,
        r#"pools.default: the name "default" is taken (its keys stand at the top level)"#,
    ),
    (
        r#"{"pools": {"a b": {}}}"#,
        r#"pools."a b": not a name for a pool (write 1 to 64 letters, digits, ".", "_" or "-", the first of them no ".")"#,
    ),
    (
        r#"{"pools": {"api": {"listen": []}}}"#,
        "pools.api.listen: not a key of a pool (move it to the top level)",
    ),
    (
        r#"{"pools": {"api": {"retries": 11}}}"#,
        "pools.api.retries: 11 is out of range (write 0 to 10)",
    ),
    (
        r#"{"pools": {"api": []}}"#,
        r#"pools.api: a list is not an object (write {"backend_servers": [{"ip": "10.0.0.1", "port": 8001}]})"#,
    ),
    // Routes.
    (
        r#"{"routes": [{"pool": "apl"}]}"#,
        r#"routes[0].pool: there is no pool "apl" (there is "default")"#,
    ),
    (
        r#"{"routes": [{"path": "/a"}]}"#,
        r#"routes[0]: there is no "pool" (add "pool": NAME, or "redirect": "https")"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "host": "a:80"}]}"#,
        r#"routes[0].host: "a:80" is not a host (write "shop.example" or "*.example", without a port)"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "host": "*.[::1]"}]}"#,
        r#"routes[0].host: "*.[::1]" is not a host (write "shop.example" or "*.example", without a port)"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "host": "*..example"}]}"#,
        r#"routes[0].host: "*..example" is not a host (write "shop.example" or "*.example", without a port)"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "host": "."}]}"#,
        r#"routes[0].host: "." is not a host (write "shop.example" or "*.example", without a port)"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "path": "a"}]}"#,
        r#"routes[0].path: "a" is not a path (write "/api")"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "header": {"a b": "1"}}]}"#,
        r#"routes[0].header."a b": not a header name (write "X-Policy")"#,
    ),
    (
        r#"{"routes": [{"pool": "default", "header": {"A": 2}}]}"#,
        "routes[0].header.A: 2 is not a header value (write text in double quotes)",
    ),
    (
        r#"{"routes": [{"pool": "default", "header": {"A": "1", "a": "1"}}]}"#,
        "routes[0].header.a: the same header in another case (set it only once)",
    ),
];

#[test]
fn each_mistake_is_named_with_its_place_and_its_remedy() {
    for (text, message) in ONE_MISTAKE {
        assert_eq!(messages(text), [format!("line 1: {message}")], "{text}");
    }
}

#[test]
fn more_than_1024_backends_are_too_many() {
    let backends = |count: usize| {
        let each = (1..=count).map(|port| format!("{{\"ip\": \"127.0.0.1\", \"port\": {port}}}"));
        format!("{{\"backend_servers\": [{}]}}", each.collect::<Vec<_>>().join(","))
    };
    assert!(messages(&backends(1024)).is_empty());
    let expected = "line 1: backend_servers: the list has 1025 entries (write 0 to 1024 of them)";
    assert_eq!(messages(&backends(1025)), [expected]);
}

#[test]
fn duplicate_keys_are_found_where_nothing_else_looks() {
    let text = r#"{"tls": {"a": [{"b": 1, "b": 2}]}, "workers": {"c": 1, "c": 2}}"#;
    let found = messages(text).join("\n");
    assert!(found.contains("tls.a[0].b: duplicate key"), "{found}");
    assert!(found.contains("workers.c: duplicate key"), "{found}");
}

/// Ends, doubles, swaps and breaks pieces of a good file. Whatever comes of it is read or
/// refused with a message, and what is read survives its own dump.
#[test]
fn no_file_makes_it_panic() {
    let pieces: Vec<&str> = "\" { } [ ] , : 0 -1 1e9 null true \"\" \"5\" # \\u0000 \\ \n é \u{0}"
        .split(' ')
        .chain(["\"retries\": 1,", "18446744073709551616", "\"h\": {", "\"9h\"", ":::"])
        .collect();
    let mut valid = 0;
    for seed in 1..=6_000 {
        let mut random = Xorshift::new(seed);
        let source = if seed % 2 == 0 { EVERYTHING } else { MORE };
        let mut characters: Vec<char> = source.chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(characters.len());
            let end = at + random.below((characters.len() - at).min(12));
            let piece = pieces[random.below(pieces.len())].chars();
            match random.below(5) {
                0 => drop(characters.drain(at..end)),
                1 => drop(characters.splice(at..end, piece)),
                2 => drop(characters.splice(at..at, piece)),
                3 => {
                    let copy = characters[at..end].to_vec();
                    let to = random.below(characters.len());
                    drop(characters.splice(to..to, copy));
                }
                _ => characters.truncate(at.max(1)),
            }
        }
        let text: String = characters.into_iter().collect();
        match load(&text, &Overrides::default()) {
            Ok(config) => {
                valid += 1;
                assert_eq!(
                    load(&config.dump(), &Overrides::default()),
                    Ok(config),
                    "seed {seed}: {text}"
                );
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "seed {seed}");
                for error in errors {
                    let line = error.to_string();
                    assert!(!line.chars().any(char::is_control), "seed {seed}: {line}");
                    assert!(!error.fault.is_empty() && !error.remedy.is_empty(), "seed {seed}");
                }
            }
        }
    }
    assert!(valid > 100, "only {valid} mutations were valid");
}
