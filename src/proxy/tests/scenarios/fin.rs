//! Who has ended its side, or broken the connection: how long it is served.

use serde_json::{Value, json};

use super::super::scene::Scene;
use crate::config::{AccessLog, Config};
use crate::shared::{BackendCounter, BackendId, Class, Counter};
use crate::sys::world::{self, End};

const LOG: &str = "/log";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// A minute for backends, ten seconds for who has ended its side.
fn scene(backends: usize, configure: impl FnOnce(&mut Config)) -> Scene {
    let all = |config: &mut Config| {
        config.access_log = AccessLog::Path(LOG.into());
        configure(config);
    };
    Scene::with(backends, all, |_| ())
}

/// Target, status and reason of the lines in the log.
fn logged(scene: &mut Scene) -> Vec<[Value; 3]> {
    scene.service.proxy.flush_log();
    let log = world::take_log(LOG);
    let lines = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let told = |line: &[u8]| {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        ["target", "status", "reason"].map(|key| line[key].clone())
    };
    lines.map(told).collect()
}

fn left(target: &str) -> [Value; 3] {
    [json!(target), json!(499), json!("client_abort")]
}

fn tunnel(scene: &mut Scene) -> usize {
    let client = scene.client();
    scene.send(client, format!("GET / HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"));
    scene.respond("/", format!("HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}\r\n"));
    client
}

#[test]
fn who_has_ended_its_side_gets_what_comes_in_time() {
    let mut scene = scene(1, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.half_close(client);
    scene.advance(9900);
    scene.answer("/", "late");
    assert_eq!((scene.bodies(client), scene.end_of(client)), (vec!["late".to_owned()], End::Fin));
    assert_eq!(logged(&mut scene), [[json!("/"), json!(200), json!(null)]]);
}

#[test]
fn what_does_not_come_in_time_is_given_up_and_its_place_is_free() {
    let mut scene = scene(1, |config| {
        config.pools[0].backends[0].max_connections = 1;
        config.timeouts.queue.0 = 20_000;
    });
    let (gone, waits) = (scene.client(), scene.client());
    scene.get(gone, &["/gone"]);
    scene.half_close(gone);
    scene.get(waits, &["/waits"]);
    scene.advance(9900);
    assert_eq!((scene.asked(), scene.place_is_open("/gone")), (vec!["/gone".to_owned()], true));
    scene.advance(200);
    assert_eq!((scene.end_of(gone), scene.received(gone)), (End::Fin, String::new()));
    assert!(!scene.place_is_open("/gone"), "the backend is told");
    scene.answer("/waits", "served");
    assert_eq!(scene.bodies(waits), ["served"]);
    assert_eq!(logged(&mut scene)[0], left("/gone"));
    let segment = scene.seats.segment;
    let failed = |reason| segment.backend_total(BackendId(0), BackendCounter::Errors(reason));
    let failures: u64 = crate::policy::reason::Reason::ALL.into_iter().map(failed).sum();
    assert_eq!(failures, 0, "it is not the backend's fault");
    assert_eq!(segment.total(Counter::Responses(Class::ServerError)), 0);
}

#[test]
fn a_stream_to_a_client_that_has_left_is_given_up_while_its_backend_is_silent() {
    for (head, end) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", End::Fin),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst", End::Fin),
        ("HTTP/1.1 200 OK\r\n\r\nfirst", End::Reset),
    ] {
        let version = if end == End::Reset { "1.0" } else { "1.1" };
        let mut scene = scene(1, |_| ());
        let client = scene.client();
        scene.send(client, format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        scene.respond("/", head);
        scene.half_close(client);
        scene.advance(9900);
        assert_eq!(scene.end_of(client), End::Open);
        scene.advance(300);
        assert_eq!((scene.end_of(client), scene.place_is_open("/")), (end, false), "{head}");
        assert!(!scene.messages(client)[0].is_whole());
        assert_eq!(logged(&mut scene), [left("/")], "{head}");
    }
}

#[test]
fn who_has_left_is_told_as_such_also_where_a_backend_may_be_silent_for_less() {
    let mut scene = scene(1, |config| config.timeouts.response.0 = 5000);
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst");
    scene.half_close(client);
    scene.advance(5100);
    assert_eq!((scene.end_of(client), scene.place_is_open("/")), (End::Fin, false));
    assert_eq!(logged(&mut scene), [left("/")]);
}

#[test]
fn a_response_that_goes_on_goes_on_for_who_has_ended_its_side() {
    let mut scene = scene(1, |_| ());
    let client = scene.client();
    scene.get(client, &["/"]);
    scene.half_close(client);
    scene.respond("/", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for piece in ["a", "b", "c", "d", "e"] {
        scene.advance(9000);
        scene.respond("/", piece);
    }
    assert_eq!(scene.bodies(client), ["abcde"]);
    assert_eq!(logged(&mut scene), [[json!("/"), json!(200), json!(null)]]);
}

#[test]
fn a_pipelined_request_is_given_up_though_the_response_before_it_goes_on() {
    let mut scene = scene(2, |_| ());
    let client = scene.client();
    scene.get(client, &["/long", "/silent", "/behind"]);
    scene.half_close(client);
    scene.respond("/long", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    scene.advance(6000);
    scene.respond("/long", "a");
    scene.advance(4200);
    assert!(scene.place_is_open("/long") && !scene.place_is_open("/silent"));
    scene.respond("/long", "b");
    assert_eq!((scene.bodies(client), scene.end_of(client)), (vec!["ab".to_owned()], End::Fin));
    let lines = [[json!("/long"), json!(200), json!(null)], left("/silent"), left("/behind")];
    assert_eq!(logged(&mut scene), lines);
}

#[test]
fn a_tunnel_of_which_one_side_has_ended_may_be_silent_for_the_time_of_an_end() {
    for client_ends in [true, false] {
        let mut scene = scene(1, |_| ());
        let client = tunnel(&mut scene);
        scene.advance(60_000);
        if client_ends {
            scene.half_close(client);
        } else {
            scene.hang_up("/");
        }
        for _ in 0..3 {
            scene.advance(9000);
            if client_ends {
                scene.respond("/", "x");
            } else {
                scene.send(client, "x");
            }
        }
        assert!(scene.seats.segment.clients() == 1 && logged(&mut scene).is_empty());
        scene.advance(10_100);
        assert_eq!(scene.seats.segment.clients(), 0);
        assert_eq!(logged(&mut scene), [[json!("/"), json!(101), json!(null)]]);
    }
}

#[test]
fn a_tunnel_whose_client_was_reset_ends_though_its_backend_does_not_read() {
    for backend_ends in [false, true] {
        let mut scene = scene(1, |_| ());
        world::change_faults(|faults| faults.buffer = 4096);
        let client = tunnel(&mut scene);
        scene.stop_backends_reading(true);
        if backend_ends {
            scene.hang_up("/");
        }
        while scene.send(client, [b'x'; 4000]) > 0 {}
        scene.leave(client);
        assert_eq!(scene.seats.segment.clients(), 0, "{backend_ends}");
        assert_eq!(logged(&mut scene), [[json!("/"), json!(101), json!("client_abort")]]);
        scene.stop_backends_reading(false);
    }
}

#[test]
fn a_tunnel_whose_backend_was_reset_ends_though_its_client_does_not_read() {
    let mut scene = scene(1, |_| ());
    world::change_faults(|faults| faults.buffer = 4096);
    let client = tunnel(&mut scene);
    let head = scene.received(client).len();
    scene.set_reading(client, false);
    while scene.respond("/", [b'x'; 4000]) > 0 {}
    scene.reset("/");
    assert_eq!(logged(&mut scene), [[json!("/"), json!(101), json!("http_response_incomplete")]]);
    scene.set_reading(client, true);
    assert_eq!(scene.end_of(client), End::Fin);
    assert!(scene.received(client).len() > head + 4096, "what had come is passed on");
}

#[test]
fn the_last_bytes_before_a_reset_go_to_a_client_that_takes_them() {
    let mut scene = scene(1, |_| ());
    let client = tunnel(&mut scene);
    scene.respond_unheard("/", "last words");
    scene.reset("/");
    assert!(scene.received(client).ends_with("last words"));
    assert_eq!(scene.end_of(client), End::Fin);
}
