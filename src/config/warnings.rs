//! What of a valid file is hardly meant, as far as the file alone tells.

use std::net::SocketAddr;

use super::endpoint::Endpoint;
use super::error::Warning;
use super::lines::{Lines, place_of_item};
use super::model::{Config, Pool, Route, RouteTarget};
use super::text::quote;

/// All of it.
pub fn all(config: &Config, lines: &Lines) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = no_backend(config).into_iter().collect();
    for (index, route) in config.routes.iter().enumerate() {
        let place = place_of_item("routes", index);
        let hidden = || behind(&config.routes, index, lines);
        warnings.extend(odd_path(&place, route).or_else(hidden));
    }
    warnings.extend(taken_twice(config, "status_listen", config.status_listen));
    warnings.extend(taken_twice(config, "admin.listen", config.admin.listen));
    warnings
}

/// Backends may register, but who has written none and no registry has probably forgotten them.
fn no_backend(config: &Config) -> Option<Warning> {
    let has_some = |pool: &Pool| !pool.backends.is_empty() || !pool.names.is_empty();
    if config.registry.is_some() || config.pools.iter().any(has_some) {
        return None;
    }
    let fault = "there is no backend: every request gets 503 until one registers";
    Some(Warning::of("backend_servers", fault, r#"add {"ip": "127.0.0.1", "port": 8001}"#))
}

/// A path is a beginning, and has no query.
fn odd_path(place: &str, route: &Route) -> Option<Warning> {
    let path = route.path.as_deref()?;
    let end = path.find(['*', '?'])?;
    let place = format!("{place}.path");
    // Up to the last whole segment: what was meant by it.
    let upto = path[..end].trim_end_matches('/');
    let meant = quote(if upto.is_empty() { "/" } else { upto });
    if path[end..].starts_with('?') {
        let fault = format!(
            "{} has a query, and paths are compared without: it never matches",
            quote(path)
        );
        return Some(Warning::of(place, fault, format!("write {meant}")));
    }
    let fault = format!("{} has a \"*\", which stands for nothing but itself", quote(path));
    Some(Warning::of(place, fault, format!("write {meant}: it matches all below it as well")))
}

/// That a route before this one takes all that it would.
fn behind(routes: &[Route], index: usize, lines: &Lines) -> Option<Warning> {
    let earlier = routes[..index].iter().position(|earlier| takes_all(earlier, &routes[index]))?;
    let wider = place_of_item("routes", earlier);
    let line = lines.position(&wider).map_or(String::new(), |at| format!(" of line {}", at.line));
    let fault = format!("it never matches: {wider}{line} takes all that it would");
    let remedy = "move it before that one, or remove it";
    Some(Warning::of(place_of_item("routes", index), fault, remedy))
}

/// Whether every request that matches `later` matches `earlier`.
fn takes_all(earlier: &Route, later: &Route) -> bool {
    let host = match (&earlier.host, &later.host) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            let below = |suffix: &str| narrow.len() > suffix.len() && narrow.ends_with(suffix);
            wide == narrow || wide.strip_prefix('*').is_some_and(below)
        }
    };
    let path = match (&earlier.path, &later.path) {
        (None, _) => true,
        // Only `OPTIONS *` has no path that begins so.
        (Some(wide), None) => wide == "/",
        (Some(wide), Some(narrow)) => narrow
            .strip_prefix(wide.as_str())
            .is_some_and(|rest| wide.ends_with('/') || rest.is_empty() || rest.starts_with('/')),
    };
    let headers = earlier.headers.iter().all(|(name, value)| {
        let same = |(other, wanted): &(String, String)| {
            other.eq_ignore_ascii_case(name) && wanted == value
        };
        later.headers.iter().any(same)
    });
    // A redirect to https takes no request that came by it.
    let target = match (earlier.target, later.target) {
        (RouteTarget::Https { .. }, RouteTarget::Pool(_)) => false,
        (RouteTarget::Https { .. } | RouteTarget::Pool(_), _) => true,
    };
    host && path && headers && target
}

/// That operators and clients are to come by the same address.
fn taken_twice(config: &Config, key: &str, address: Option<SocketAddr>) -> Option<Warning> {
    let address = address?;
    let own = Endpoint::Tcp(address);
    let listen = config.listen.iter().find(|listen| {
        let other = listen.address;
        let is_same = other == own && address.port() != 0;
        is_same || other.covers(own) || own.covers(other)
    })?;
    let fault =
        format!("{address} is taken by {} of \"listen\"", quote(&listen.address.to_string()));
    Some(Warning::of(key, fault, "choose another port"))
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, load_with};

    /// The warnings of a file, one a line.
    fn warnings(text: &str) -> String {
        let file = load_with(text, &Overrides::default(), &|_, _| Ok(String::new()));
        let file = file.expect("a valid file");
        let all = file.warnings(Vec::new());
        all.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// A file that has one backend, and this line besides.
    fn with(line: &str) -> String {
        let backend = r#""backend_servers": [{"ip": "10.0.0.1", "port": 80}], "pools": {"a": {}}"#;
        warnings(&format!("{{{backend},\n{line}}}"))
    }

    #[test]
    fn a_service_without_backends_is_hardly_meant() {
        let told = "line 1: backend_servers: there is no backend: every request gets 503 until one registers \
                    (add {\"ip\": \"127.0.0.1\", \"port\": 8001})";
        assert_eq!(warnings("{}"), told);
        assert_eq!(warnings("{\"pools\": {\"a\": {}}}"), told);
        assert_eq!(
            warnings("{\n\"retries\": 1,\n\"backend_servers\": []}"),
            told.replace("line 1", "line 3")
        );
        for text in [
            r#"{"backend_servers": [{"name": "a", "port": 1}]}"#,
            r#"{"pools": {"a": {"backend_servers": [{"ip": "::1", "port": 1}]}}}"#,
        ] {
            assert_eq!(warnings(text), "");
        }
    }

    #[test]
    fn a_route_that_never_matches_is_told_with_the_one_before_it() {
        let routes = |earlier: &str, later: &str| {
            with(&format!(
                "\"routes\": [{{\"pool\": \"a\"{earlier}}},\n{{\"pool\": \"a\"{later}}}]"
            ))
        };
        let told = "line 3: routes[1]: it never matches: routes[0] of line 2 takes all that it would \
                    (move it before that one, or remove it)";
        for (earlier, later) in [
            ("", ""),
            ("", r#", "host": "a.b""#),
            (r#", "host": "*.b""#, r#", "host": "a.b""#),
            (r#", "host": "*.b""#, r#", "host": "*.a.b""#),
            (r#", "host": "A.b""#, r#", "host": "a.B", "path": "/x""#),
            (r#", "path": "/api""#, r#", "path": "/api/x""#),
            (r#", "path": "/api""#, r#", "path": "/api/""#),
            (r#", "path": "/""#, r#", "host": "a""#),
            (r#", "header": {"X-A": "1"}"#, r#", "header": {"X-B": "1", "x-a": "1"}"#),
        ] {
            assert_eq!(routes(earlier, later), told, "{earlier} {later}");
        }
        for (earlier, later) in [
            (r#", "host": "a.b""#, ""),
            (r#", "host": "*.b""#, r#", "host": "b""#),
            (r#", "host": "*.b""#, r#", "host": "a.xb""#),
            (r#", "path": "/api/""#, r#", "path": "/api""#),
            (r#", "path": "/api""#, r#", "path": "/apis""#),
            (r#", "header": {"X-A": "1"}"#, r#", "header": {"X-A": "2"}"#),
        ] {
            assert_eq!(routes(earlier, later), "", "{earlier} {later}");
        }
        let redirect = r#""routes": [{"redirect": "https"}, {"pool": "a"}]"#;
        assert_eq!(with(redirect), "");
        let twice =
            with(r#""routes": [{"redirect": "https"}, {"path": "/a", "redirect": "https"}]"#);
        assert!(twice.contains("routes[1]: it never matches"), "{twice}");
    }

    #[test]
    fn a_path_of_a_route_has_no_wildcards_and_no_query() {
        for (path, told) in [
            (
                "/api/*",
                "\"/api/*\" has a \"*\", which stands for nothing but itself (write \"/api\": it matches all \
                 below it as well)",
            ),
            (
                "/*",
                "\"/*\" has a \"*\", which stands for nothing but itself (write \"/\": it matches all below it \
                 as well)",
            ),
            (
                "/a?b=*",
                "\"/a?b=*\" has a query, and paths are compared without: it never matches (write \"/a\")",
            ),
        ] {
            let found = with(&format!(r#""routes": [{{"path": "{path}", "pool": "a"}}]"#));
            assert_eq!(found, format!("line 2: routes[0].path: {told}"));
        }
    }

    #[test]
    fn operators_do_not_come_where_clients_do() {
        let told = "line 2: status_listen: 0.0.0.0:9000 is taken by \"[::]:9000\" of \"listen\" (choose another port)";
        assert_eq!(with(r#""status_listen": "0.0.0.0:9000""#), told);
        let admin = with("\"admin\":\n{\"listen\": \"[::]:9000\", \"token_file\": \"/t\"}");
        assert!(admin.starts_with("line 3: admin.listen: [::]:9000 is taken"), "{admin}");
        let told = "line 2: status_listen: 127.0.0.1:9000 is taken by \"[::]:9000\" of \"listen\" (choose another port)";
        assert_eq!(with(r#""status_listen": "127.0.0.1:9000""#), told);
        let wide = with(r#""listen": ["127.0.0.1:9000"], "status_listen": ":9000""#);
        assert!(wide.contains("[::]:9000 is taken by \"127.0.0.1:9000\""), "{wide}");
        let apart = with(r#""listen": ["0.0.0.0:9000"], "status_listen": "[::1]:9000""#);
        assert_eq!(apart, "");
        assert_eq!(with(r#""status_listen": "127.0.0.1:9001""#), "");
        assert_eq!(with(r#""listen": [":0"], "status_listen": "127.0.0.1:0""#), "");
    }
}
