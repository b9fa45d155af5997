//! The cache in the data plane.

mod cold;
mod collapsing;
mod hits;
mod parts;
mod recording;
mod stale;
mod streaming;
mod validation;

use crate::config::{Cache, Config};
use crate::http::cache_status::CacheResult;
use crate::mem::time::Millis;
use crate::proxy::tests::scene::Scene;
use crate::shared::Counter;

/// Stores answers up to a MiB.
fn with_cache(config: &mut Config) {
    config.cache = Some(Cache {
        dir: "/cache".into(),
        max_size: 64 << 20,
        max_object: 1 << 20,
        default_ttl: Millis(0),
    });
}

fn scene() -> Scene {
    Scene::with(1, with_cache, |_| ())
}

/// So many workers, and two backends.
fn workers(count: usize) -> Scene {
    workers_with_room(count, 64 << 20)
}

/// The same with so much room for all that is stored.
fn workers_with_room(count: usize, max_size: u64) -> Scene {
    let configure = |config: &mut Config| {
        with_cache(config);
        config.cache.as_mut().expect("a cache").max_size = max_size;
        config.max_connections = 40;
    };
    Scene::of_workers(count, 2, configure, |_| ())
}

/// A whole answer. `fields` are parted by ` | `.
fn answer(fields: &str, body: &str) -> String {
    let lines: String = fields.split(" | ").map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

const FRESH: &str = "Cache-Control: max-age=60";

/// A client asks for `path`, and gets what is stored from here on.
fn store(scene: &mut Scene, client: usize, path: &str, fields: &str, body: &str) {
    scene.get(client, &[path]);
    scene.respond(path, answer(fields, body));
}

/// A client asks for `path` with these fields.
fn ask(scene: &mut Scene, client: usize, path: &str, fields: &str) {
    let lines: String = fields.split(" | ").map(|line| format!("{line}\r\n")).collect();
    scene.send(client, format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
}

/// Status, `Cache-Status` without its first member, and body of the last answer to a client.
fn last(scene: &mut Scene, client: usize) -> (u16, String, String) {
    let message = scene.messages(client).pop().expect("an answer");
    let status = message.head.get("cache-status").unwrap_or_default().replace("httplb; ", "");
    (message.head.status(), status, String::from_utf8_lossy(&message.body).into_owned())
}

/// A field of the last answer to a client.
fn last_field(scene: &mut Scene, client: usize, name: &str) -> Option<String> {
    let message = scene.messages(client).pop().expect("an answer");
    message.head.get(name).map(str::to_owned)
}

/// As `last` has it.
fn is(status: u16, cache: &str, body: &str) -> (u16, String, String) {
    (status, cache.to_owned(), body.to_owned())
}

/// Hits, misses, stale and revalidated answers, those past the cache, and those with a stored part.
fn counted(scene: &Scene) -> [u64; 6] {
    CacheResult::ALL.map(|result| scene.seats.segment.total(Counter::Cache(result)))
}

/// A body whose bytes tell their place.
fn long_body(len: usize) -> String {
    (0..len).map(|at| char::from(b'a' + (at * 7 + at / 251) as u8 % 26)).collect()
}
