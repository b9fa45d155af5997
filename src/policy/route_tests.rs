use super::*;
use crate::http::request;

fn with_head<T>(target: &str, lines: &str, look: impl FnOnce(&RequestHead) -> T) -> T {
    let text = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
    look(&request::parse(text.as_bytes()).expect(&text))
}

fn route(host: &str, path: &str, headers: &[(&str, &str)], pool: usize) -> config::Route {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    config::Route {
        host: given(host),
        path: given(path),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        target: RouteTarget::Pool(pool),
    }
}

const POOLS: [&str; 3] = ["default", "api", "2"];

fn chosen(routing: &Routing, target: &str, lines: &str) -> Choice {
    let find = |name: &[u8]| POOLS.iter().position(|pool| pool.as_bytes() == name);
    with_head(target, lines, |head| routing.choose(head, || false, find))
}

fn matches_host(wanted: &str, host: &str) -> bool {
    let lines = format!("Host: {host}\r\n");
    with_head("/", &lines, |head| mismatch(&route(wanted, "", &[], 1), head, || false).is_none())
}

fn matches_path(wanted: &str, target: &str) -> bool {
    with_head(target, "Host: a\r\n", |head| {
        mismatch(&route("", wanted, &[], 1), head, || false).is_none()
    })
}

#[test]
fn a_host_is_compared_in_any_case_and_without_port() {
    for (wanted, host, expected) in [
        ("shop.example", "shop.example", true),
        ("shop.example", "SHOP.Example", true),
        ("shop.example", "shop.example:8080", true),
        ("shop.example", "shop.example:", true),
        ("shop.example", "shop.example.", true),
        ("shop.example", "shop.example.:80", true),
        ("shop.example", "shop.example..", false),
        ("shop.example", "shop.example.evil", false),
        ("shop.example", "evilshop.example", false),
        ("shop.example", "a.shop.example", false),
        ("shop.example", "sh%6fp.example", false),
        ("shop.example", "", false),
        ("10.0.0.7", "10.0.0.7:80", true),
        ("10.0.0.7", "10.0.0.70", false),
    ] {
        assert_eq!(matches_host(wanted, host), expected, "{wanted} {host}");
    }
}

#[test]
fn a_star_stands_for_one_label_or_more() {
    for (host, expected) in [
        ("a.example", true),
        ("a.b.example", true),
        ("A.EXAMPLE:80", true),
        ("a.example.", true),
        ("example", false),
        (".example", false),
        ("aexample", false),
        ("a.example.evil", false),
        ("a.examples", false),
    ] {
        assert_eq!(matches_host("*.example", host), expected, "{host}");
    }
}

#[test]
fn an_ipv6_address_is_compared_as_an_address() {
    for (wanted, host, expected) in [
        ("[fd00::7]", "[fd00::7]", true),
        ("[fd00::7]", "[FD00:0:0::0007]:80", true),
        ("[::ffff:10.0.0.7]", "[::ffff:a00:7]", true),
        ("[fd00::7]", "[fd00::8]", false),
        ("fd00", "[fd00::7]", false),
        ("[fd00::7]", "fd00", false),
        ("*.example", "[fd00::7]", false),
    ] {
        assert_eq!(matches_host(wanted, host), expected, "{wanted} {host}");
    }
}

#[test]
fn a_path_is_a_prefix_that_ends_where_a_segment_does() {
    for (wanted, target, expected) in [
        ("/api", "/api", true),
        ("/api", "/api/", true),
        ("/api", "/api/x", true),
        ("/api", "/api?x", true),
        ("/api", "/api/?x", true),
        ("/api", "/apis", false),
        ("/api", "/ap", false),
        ("/api", "/API", false),
        ("/api", "/api;v=1", false),
        ("/api", "/x?/api", false),
        ("/api", "/%61pi", false),
        ("/api", "//api", false),
        ("/api", "/x/../api", false),
        ("/api", "/api/../x", true),
        ("/api/", "/api/", true),
        ("/api/", "/api/x", true),
        ("/api/", "/api", false),
        ("/api/", "/api?/", false),
        ("/", "/", true),
        ("/", "/x", true),
        ("/", "/?x", true),
        ("/%61pi", "/%61pi/x", true),
    ] {
        assert_eq!(matches_path(wanted, target), expected, "{wanted} {target}");
    }
}

#[test]
fn of_an_absolute_target_host_and_path_count() {
    let routing = Routing {
        routes: vec![route("b.example", "/api", &[], 1), route("b.example", "/", &[], 2)],
        pool_header: None,
    };
    let choice = |target: &str| chosen(&routing, target, "Host: a.example\r\n");
    assert_eq!(choice("http://b.example:80/api/x"), Choice::Routed { route: 0, pool: 1 });
    assert_eq!(choice("HTTP://B.example"), Choice::Routed { route: 1, pool: 2 });
    assert_eq!(choice("http://b.example?/api"), Choice::Routed { route: 1, pool: 2 });
    assert_eq!(choice("http://c.example/api"), Choice::Default);
    assert_eq!(choice("/api"), Choice::Default);
}

#[test]
fn a_request_for_the_whole_server_is_below_no_path() {
    let text = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request::parse(text.as_bytes()).unwrap();
    assert_eq!(mismatch(&route("", "/", &[], 1), &head, || false), Some(Condition::Path));
    assert_eq!(mismatch(&route("a", "", &[], 1), &head, || false), None);
}

#[test]
fn a_header_has_exactly_this_value_on_exactly_one_line() {
    let wanted = route("", "", &[("X-Policy", "2")], 1);
    for (lines, expected) in [
        ("X-Policy: 2\r\n", true),
        ("x-policy:2 \t\r\n", true),
        ("X-Policy: 22\r\n", false),
        ("X-Policy: 2, 3\r\n", false),
        ("X-Policy: 2\r\nX-Policy: 2\r\n", false),
        ("X-Policy: 3\r\nX-Policy: 2\r\n", false),
        ("X-Policy:\r\n", false),
        ("X_Policy: 2\r\n", false),
        ("", false),
    ] {
        let lines = format!("Host: a\r\n{lines}");
        let found = with_head("/", &lines, |head| mismatch(&wanted, head, || false).is_none());
        assert_eq!(found, expected, "{lines}");
    }
    let of_host = route("", "", &[("host", "b:80")], 1);
    for (target, expected) in [("http://b:80/", true), ("http://b/", false), ("/", false)] {
        let found =
            with_head(target, "Host: a\r\n", |head| mismatch(&of_host, head, || false).is_none());
        assert_eq!(found, expected, "{target}");
    }
}

#[test]
fn all_conditions_must_hold_and_the_first_route_wins() {
    let routing = Routing {
        routes: vec![
            route("a", "/api", &[("X-A", "1"), ("X-B", "2")], 1),
            route("a", "/api", &[], 2),
            route("", "/api", &[], 0),
        ],
        pool_header: None,
    };
    let all = "Host: a\r\nX-A: 1\r\nX-B: 2\r\n";
    assert_eq!(chosen(&routing, "/api", all), Choice::Routed { route: 0, pool: 1 });
    assert_eq!(chosen(&routing, "/api/y", all), Choice::Routed { route: 0, pool: 1 });
    assert_eq!(chosen(&routing, "/", all), Choice::Default);
    let fewer = "Host: a\r\nX-A: 1\r\n";
    assert_eq!(chosen(&routing, "/api", fewer), Choice::Routed { route: 1, pool: 2 });
    let elsewhere = "Host: b\r\nX-A: 1\r\nX-B: 2\r\n";
    assert_eq!(chosen(&routing, "/api", elsewhere), Choice::Routed { route: 2, pool: 0 });
    let third = with_head("/api", fewer, |head| mismatch(&routing.routes()[0], head, || false))
        .expect("a mismatch");
    assert_eq!(third, Condition::Header(1));
}

#[test]
fn the_field_that_names_a_pool_goes_before_the_routes() {
    let routing =
        Routing { routes: vec![route("", "/", &[], 1)], pool_header: Some("X-Pool".into()) };
    for (lines, expected) in [
        ("X-Pool: 2\r\n", Choice::Named(2)),
        ("x-pool: default\r\n", Choice::Named(0)),
        ("X-Pool: Api\r\n", Choice::Unknown),
        ("X-Pool: nope\r\n", Choice::Unknown),
        ("X-Pool:\r\n", Choice::Unknown),
        ("X-Pool: 2\r\nX-Pool: 2\r\n", Choice::Unknown),
        ("", Choice::Routed { route: 0, pool: 1 }),
    ] {
        let lines = format!("Host: a\r\n{lines}");
        assert_eq!(chosen(&routing, "/", &lines), expected, "{lines}");
    }
    assert_eq!(Choice::Unknown.pool(), None);
    assert_eq!(Choice::Default.pool(), Some(0));
}

#[test]
fn a_route_without_conditions_matches_all() {
    let routing = Routing { routes: vec![route("", "", &[], 2)], pool_header: None };
    assert_eq!(chosen(&routing, "/", "Host:\r\n").pool(), Some(2));
    let head = request::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(routing.choose(&head, || false, |_| None).pool(), Some(2));
}
