//! Errors with a body that the operator wrote, and redirects: what httplb answers itself, whatever its size.

use crate::config::{Config, ErrorPageFile, Route, RouteTarget};
use crate::proxy::tests::scene::Scene;
use crate::sys::world::{self, End};

/// Pages of so many bytes for 503 and 400. A ring has 4096.
fn pages(length: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        let html = format!("@STATUS@ @REASON@ @ID@ {}", "x".repeat(length));
        for status in [503, 400] {
            config.error_pages.push(ErrorPageFile {
                status,
                path: "/page".into(),
                html: html.clone(),
            });
        }
    }
}

/// A service without a backend that gives everybody 503, and what one client gets for `requests`, which reads
/// only once all were sent.
fn answers(length: usize, requests: &str) -> String {
    let mut scene = Scene::with(0, pages(length), |_| ());
    world::change_faults(|faults| faults.buffer = 1000);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.send(client, requests);
    assert!(scene.service.proxy.buffers.rings.taken() <= 2);
    scene.set_reading(client, true);
    assert_eq!(scene.end_of(client), End::Fin);
    scene.received(client)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: id-1\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: id-1\r\nConnection: close\r\n\r\n";

#[test]
fn a_page_of_any_size_comes_whole_however_slowly_the_client_reads() {
    for length in [0, 1, 3000, 4096, 60_000] {
        let text = answers(length, &[GET, LAST].concat());
        let body = format!("503 Service Unavailable id-1 {}", "x".repeat(length));
        let head = format!("\r\nContent-Length: {}\r\n", body.len());
        assert_eq!(text.matches(&head).count(), 2, "{length}");
        assert_eq!(text.matches(&format!("\r\n\r\n{body}")).count(), 2, "{length}");
        assert!(text.ends_with(&body), "{length}");
    }
}

#[test]
fn to_head_the_page_is_only_counted() {
    let head = LAST.replace("GET", "HEAD");
    let text = answers(60_000, &head);
    let length = "503 Service Unavailable id-1 ".len() + 60_000;
    assert!(text.contains(&format!("\r\nContent-Length: {length}\r\n")), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_head_that_is_refused_gets_its_page_too() {
    let text = answers(10, "GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    assert!(text.contains("\r\n\r\n400 Bad Request "), "{text}");
    assert!(text.ends_with("xxxxxxxxxx"), "{text}");
}

#[test]
fn a_client_that_leaves_within_a_page_leaves_nothing_behind() {
    let mut scene = Scene::with(0, pages(60_000), |_| ());
    world::change_faults(|faults| faults.buffer = 1000);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.get(client, &["/", "/"]);
    scene.leave(client);
    let proxy = &scene.service.proxy;
    assert_eq!((proxy.clients(), proxy.exchanges.len(), proxy.buffers.rings.taken()), (0, 0, 0));
}

#[test]
fn a_client_that_takes_no_more_of_a_page_is_cut_off_after_its_timeout() {
    let mut scene = Scene::with(0, pages(60_000), |_| ());
    world::change_faults(|faults| faults.buffer = 1000);
    let client = scene.client();
    scene.set_reading(client, false);
    scene.get(client, &["/"]);
    scene.advance(31_000);
    scene.set_reading(client, true);
    assert_eq!(scene.service.proxy.exchanges.len(), 0);
    assert_ne!(scene.end_of(client), End::Open);
}

#[test]
fn a_redirect_asks_no_backend_and_lets_the_pipeline_go_on() {
    let to_https = |config: &mut Config| {
        config.routes.push(Route {
            host: None,
            path: Some(String::from("/old")),
            headers: Vec::new(),
            target: RouteTarget::Https { status: 308 },
        });
    };
    let mut scene = Scene::with(1, to_https, |_| ());
    let client = scene.client();
    scene.get(client, &["/new", "/old/a?b"]);
    let body = "POST /old HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nbody";
    scene.send(client, body);
    scene.answer("/new", "new");
    scene.get(client, &["/new2"]);
    scene.answer("/new2", "new2");
    let text = scene.received(client);
    let locations: Vec<&str> = text.lines().filter(|line| line.starts_with("Location")).collect();
    assert_eq!(locations, ["Location: https://a/old/a?b", "Location: https://a/old"]);
    assert_eq!(scene.asked(), ["/new", "/new2"]);
    assert!(text.ends_with("new2"), "{text}");
}
