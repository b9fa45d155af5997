//! Order, pipelining, sharing and rotation.

use crate::config::Balance;
use crate::proxy::tests::scene::Scene;
use crate::sys::world::{self, Faults};

#[test]
fn an_answer_that_comes_early_waits_for_its_turn() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.get(client, &["/slow", "/fast"]);

    scene.answer("/fast", "fast");
    assert_eq!(scene.received(client), "");

    scene.answer("/slow", "slow");
    assert_eq!(scene.bodies(client), ["slow", "fast"]);
}

#[test]
fn pipelined_requests_are_asked_of_all_backends_at_once() {
    let mut scene = Scene::with_backends(3);
    let client = scene.client();
    scene.get(client, &["/0", "/1", "/2"]);
    let mut hosts = ["/0", "/1", "/2"].map(|path| scene.place_of(path).0);
    hosts.sort_unstable();
    assert_eq!(hosts, [0, 1, 2]);
    for path in ["/2", "/0", "/1"] {
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client), ["/0", "/1", "/2"]);
}

#[test]
fn no_more_than_pipeline_requests_of_a_client_are_in_work() {
    let mut scene = Scene::with(2, |config| config.pipeline = 2, |_| ());
    let client = scene.client();
    scene.get(client, &["/0", "/1", "/2", "/3"]);
    assert_eq!(scene.asked(), ["/0", "/1"]);
    scene.answer("/0", "");
    assert_eq!(scene.asked(), ["/0", "/1", "/2"]);
}

#[test]
fn a_post_waits_for_all_answers_before_it_and_holds_back_all_requests_behind_it() {
    let mut scene = Scene::with_backends(3);
    let client = scene.client();
    let post = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    scene.send(client, format!("{}{post}{}", get("/0"), get("/1")));
    assert_eq!(scene.asked(), ["/0"]);
    scene.answer("/0", "");
    assert_eq!(scene.asked(), ["/0", "/post"]);
    assert_eq!(scene.request("/post").body, b"hi");
    scene.answer("/post", "");
    assert_eq!(scene.asked(), ["/0", "/post", "/1"]);
    scene.answer("/1", "");
    assert_eq!(scene.messages(client).len(), 3);
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn rotation_is_exact_also_over_pipelines_and_clients() {
    let mut scene = Scene::with_backends(3);
    let clients = [scene.client(), scene.client()];
    let mut hosts = Vec::new();
    for round in 0..8 {
        let paths = [0, 1, 2].map(|place| format!("/{round}.{place}"));
        let paths = paths.each_ref().map(String::as_str);
        scene.get(clients[round % 2], &paths);
        hosts.extend(paths.map(|path| scene.place_of(path).0));
        for path in paths {
            scene.answer(path, "");
        }
    }
    for picks in hosts.windows(3) {
        let mut picks = picks.to_vec();
        picks.sort_unstable();
        assert_eq!(picks, [0, 1, 2]);
    }
}

#[test]
fn the_least_busy_backend_is_asked() {
    let least = |config: &mut crate::config::Config| {
        config.pools[0].balance = Balance::LeastConnections;
    };
    let mut scene = Scene::with(2, least, |_| ());
    let (one, other) = (scene.client(), scene.client());
    scene.get(one, &["/held"]);
    let held = scene.place_of("/held").0;
    for round in 0..5 {
        let path = format!("/{round}");
        scene.get(other, &[&path]);
        assert_ne!(scene.place_of(&path).0, held);
        scene.answer(&path, "");
    }
}

#[test]
fn an_early_hint_waits_for_its_turn_and_its_backend_has_no_timer_meanwhile() {
    let mut scene = Scene::with(2, |config| config.timeouts.response.0 = 5000, |_| ());
    let client = scene.client();
    scene.get(client, &["/slow", "/hinted"]);
    scene.advance(3000);
    scene.respond("/hinted", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    scene.respond("/hinted", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhinted");
    assert_eq!(scene.received(client), "");
    scene.respond("/slow", "HTTP/1.1 102 Processing\r\n\r\n");
    for _ in 0..3 {
        scene.advance(3000);
        scene.respond("/slow", "HTTP/1.1 102 Processing\r\n\r\n");
    }
    scene.answer("/slow", "slow");
    let statuses: Vec<u16> = scene.messages(client).iter().map(|m| m.head.status()).collect();
    assert_eq!(statuses, [102, 102, 102, 102, 200, 103, 200]);
    assert_eq!(scene.bodies(client)[6], "hinted");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let play = || {
        let mut scene = Scene::with_backends(2);
        world::change_faults(|faults| *faults = Faults::harmless());
        let client = scene.client();
        scene.get(client, &["/0", "/1"]);
        scene.advance(2000);
        scene.answer("/1", "1");
        scene.answer("/0", "0");
        scene.advance(100);
        scene.received(client)
    };
    assert_eq!(play(), play());
}
