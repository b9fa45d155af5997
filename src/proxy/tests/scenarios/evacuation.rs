//! Evacuation: what waits at a backend that goes down leaves for another one.

use crate::config::{Config, Multiplex};
use crate::mem::time::{Micros, Millis};
use crate::policy::health::{AdminState, CheckRules, Fault, HealthEvent, Rules};
use crate::policy::identity::EchoSupport;
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendCounter, BackendId, LastCheck, PoolCounter, PoolId};
use crate::sys::clock;

const RULES: Rules = Rules { max_fails: 1, fail_timeout: Millis(10_000) };

/// Requests of one failure mark a backend, in another process.
fn mark(scene: &mut Scene, host: usize) {
    let (event, now) = (HealthEvent::Failed(Fault::ResponseTimedOut), clock::now().millis());
    let change = scene.seats.segment.observe(BackendId(host), event, now, &RULES);
    assert!(change.is_some(), "it is down from now on");
    scene.seats.wakers.wake_workers();
    scene.settle();
}

/// The operator sets a backend to this, by way of another process.
fn set(scene: &mut Scene, host: usize, state: AdminState) {
    scene.seats.segment.set_admin(BackendId(host), state, clock::now().millis());
    scene.seats.wakers.wake_workers();
    scene.settle();
}

fn evacuated(scene: &Scene, host: usize) -> u64 {
    scene.seats.segment.backend_total(BackendId(host), BackendCounter::Evacuated)
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Asks for a path, and says which backend has it.
fn ask(scene: &mut Scene, client: usize, path: &str) -> usize {
    scene.get(client, &[path]);
    scene.place_of(path).0
}

#[test]
fn a_request_that_waits_at_a_backend_that_is_marked_goes_to_another_at_once() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    let first = ask(&mut scene, client, "/");
    let place = scene.place_of("/");
    mark(&mut scene, first);
    assert_eq!((scene.times_asked("/"), scene.place_of("/").0), (2, 1 - first));
    assert_eq!(
        scene.backend_conns(),
        1,
        "the first one's late response comes to nobody: {place:?}"
    );
    scene.answer("/", "other");
    assert_eq!(scene.bodies(client), ["other"]);
    assert_eq!((evacuated(&scene, first), evacuated(&scene, 1 - first)), (1, 0));
    let retries = scene.seats.segment.pool_total(PoolId(0), PoolCounter::Retries);
    assert_eq!(retries, 1);
}

#[test]
fn requests_of_all_workers_leave_whoever_found_it() {
    let mut scene = Scene::of_workers(3, 2, |_| (), |_| ());
    let clients: Vec<usize> = (0..6).map(|place| scene.client_of(place % 3)).collect();
    let paths: Vec<String> = (0..6).map(|place| format!("/{place}")).collect();
    for (client, path) in clients.iter().zip(&paths) {
        ask(&mut scene, *client, path);
    }
    let down = scene.place_of("/0").0;
    let there = paths.iter().filter(|path| scene.place_of(path).0 == down).count() as u64;
    assert!(there >= 2);
    mark(&mut scene, down);
    assert_eq!(evacuated(&scene, down), there);
    for (client, path) in clients.iter().zip(&paths) {
        assert_eq!(scene.place_of(path).0, 1 - down);
        scene.answer(path, path);
        assert_eq!(scene.bodies(*client).concat(), *path);
    }
}

#[test]
fn a_worker_that_finds_it_by_its_own_requests_moves_the_others_at_once() {
    let timed = |config: &mut Config| {
        config.timeouts.response = Millis(2000);
        config.pools[0].max_fails = 2;
    };
    let mut scene = Scene::of_workers(2, 2, timed, |_| ());
    let clients: Vec<usize> = (0..8).map(|place| scene.client_of(place % 2)).collect();
    let mut hanging = Vec::new();
    for (place, client) in clients.iter().enumerate() {
        let path = format!("/{place}");
        match ask(&mut scene, *client, &path) {
            0 => hanging.push((*client, path)),
            _ => scene.answer(&path, ""),
        }
        scene.advance(200);
    }
    assert_eq!(hanging.len(), 4);
    // Both that count as failures are over their time, and none of the others is.
    scene.advance(1000);
    for (client, path) in &hanging {
        assert_eq!((scene.place_of(path).0, scene.times_asked(path)), (1, 2), "{path}");
        scene.answer(path, path);
        assert_eq!(scene.bodies(*client).last(), Some(path));
    }
    assert_eq!(evacuated(&scene, 0), 2);
}

#[test]
fn a_worker_that_marks_a_backend_wakes_the_others_at_once() {
    let mut scene = Scene::of_workers(2, 2, |config| config.pools[0].max_fails = 1, |_| ());
    let waiting = [scene.client_of(1), scene.client_of(1)];
    let down = ask(&mut scene, waiting[0], "/0");
    ask(&mut scene, waiting[1], "/1");
    let finder = scene.client_of(0);
    while ask(&mut scene, finder, "/found") != down {
        scene.answer("/found", "");
    }
    scene.reset("/found");
    // No time has passed, and nothing else has come to the other worker.
    assert_eq!((scene.times_asked("/0"), scene.place_of("/0").0), (2, 1 - down));
    ["/0", "/1", "/found"].iter().for_each(|path| scene.answer(path, path));
    assert_eq!(scene.bodies(waiting[0]), ["/0"]);
}

#[test]
fn checks_and_maintenance_move_them_and_a_drain_does_not() {
    let mut scene = Scene::with_backends(3);
    let client = scene.client();
    let drained = ask(&mut scene, client, "/");
    set(&mut scene, drained, AdminState::Drain);
    assert_eq!(scene.times_asked("/"), 1, "it is finished there");
    set(&mut scene, drained, AdminState::Maint);
    assert_eq!(scene.times_asked("/"), 2);
    let checked = scene.place_of("/").0;
    let failed = LastCheck {
        passed: false,
        status: 500,
        took: Micros(1),
        at: clock::now().millis().max(Millis(1)),
    };
    let rules = CheckRules { rise: 1, fall: 1 };
    let change = scene.seats.segment.note_check(BackendId(checked), failed, &rules);
    assert!(change.is_some());
    scene.seats.wakers.wake_workers();
    scene.settle();
    assert_eq!(scene.times_asked("/"), 3);
    let last = scene.place_of("/").0;
    assert!(last != drained && last != checked);
    scene.answer("/", "third");
    assert_eq!(scene.bodies(client), ["third"]);
}

#[test]
fn what_may_have_been_acted_on_stays_unless_it_is_idempotent() {
    for (method, fields, moves) in [
        ("GET", "", true),
        ("HEAD", "", true),
        ("OPTIONS", "", true),
        ("TRACE", "", true),
        ("DELETE", "", true),
        ("PUT", "Content-Length: 0\r\n", true),
        ("POST", "Content-Length: 0\r\nIdempotency-Key: 1\r\n", true),
        ("POST", "Content-Length: 0\r\n", false),
        ("PATCH", "Content-Length: 0\r\n", false),
    ] {
        let mut scene = Scene::with_backends(2);
        let client = scene.client();
        scene.send(client, request(method, "/", fields));
        let first = scene.place_of("/").0;
        mark(&mut scene, first);
        assert_eq!(scene.times_asked("/"), 1 + usize::from(moves), "{method} {fields}");
        scene.answer("/", "");
        assert_eq!(scene.last_error(client).0, 200);
    }
}

#[test]
fn a_post_that_waits_for_its_connection_leaves_for_nothing_was_sent() {
    let mut scene = Scene::with_backends(2);
    scene.ignore(0);
    scene.ignore(1);
    let client = scene.client();
    scene.send(client, request("POST", "/", "Content-Length: 0\r\n"));
    scene.advance(500);
    let loads =
        |scene: &Scene| [0, 1].map(|host| scene.seats.segment.backend(BackendId(host)).load());
    let first = loads(&scene).iter().position(|load| *load == 1).expect("it has a place");
    mark(&mut scene, first);
    let mut expected = [1, 1];
    expected[first] = 0;
    assert_eq!(loads(&scene), expected);
}

#[test]
fn a_response_that_has_begun_is_awaited_where_it_is() {
    let mut scene = Scene::with_backends(2);
    let (one, other, third) = (scene.client(), scene.client(), scene.client());
    let first = ask(&mut scene, one, "/begun");
    scene.respond("/begun", "HTTP/1.1 200 OK\r\nContent-");
    ask(&mut scene, other, "/elsewhere");
    assert_eq!(ask(&mut scene, third, "/early"), first);
    scene.respond("/early", "HTTP/1.1 103 Early Hints\r\n\r\n");
    mark(&mut scene, first);
    scene.respond("/begun", "Length: 2\r\n\r\nhi");
    assert_eq!((scene.bodies(one), scene.times_asked("/begun")), (vec!["hi".to_owned()], 1));
    scene.answer("/early", "hints");
    assert_eq!((scene.bodies(third)[1].as_str(), scene.times_asked("/early")), ("hints", 1));
    scene.answer("/elsewhere", "");
    assert_eq!(evacuated(&scene, first), 0);
}

#[test]
fn it_counts_as_a_try_and_needs_no_budget() {
    let mut scene = Scene::with(3, |config| config.pools[0].retries = 1, |_| ());
    let client = scene.client();
    let pool = &mut scene.service.proxy.upstream[PoolId(0)];
    while pool.budget.try_retry(clock::now().millis()) {}
    let first = ask(&mut scene, client, "/");
    mark(&mut scene, first);
    assert_eq!(scene.times_asked("/"), 2, "whatever the storms of repeats");
    let second = scene.place_of("/").0;
    mark(&mut scene, second);
    assert_eq!(scene.times_asked("/"), 2, "it had one try");
    scene.answer("/", "late");
    assert_eq!(scene.bodies(client), ["late"]);
}

#[test]
fn where_no_other_backend_is_up_they_wait_on() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    let first = ask(&mut scene, client, "/");
    set(&mut scene, 1 - first, AdminState::Maint);
    set(&mut scene, first, AdminState::Maint);
    scene.answer("/", "after all");
    assert_eq!((scene.bodies(client), scene.times_asked("/")), (vec!["after all".to_owned()], 1));
}

#[test]
fn pipelined_requests_leave_together_and_are_answered_in_their_order() {
    let mut scene = Scene::with_backends(2);
    set(&mut scene, 1, AdminState::Maint);
    let client = scene.client();
    scene.warm_up(client, "/warm");
    for backend in scene.service.proxy.upstream.backends_mut() {
        backend.be_trusted();
    }
    scene.get(client, &["/0", "/1", "/2"]);
    assert_eq!(scene.place_of("/0"), scene.place_of("/2"), "they share a connection");
    set(&mut scene, 1, AdminState::Ready);
    mark(&mut scene, 0);
    for path in ["/2", "/1", "/0"] {
        assert_eq!((scene.place_of(path).0, scene.times_asked(path)), (1, 2));
        scene.answer(path, path);
    }
    assert_eq!(scene.bodies(client), ["", "/0", "/1", "/2"]);
    assert_eq!(evacuated(&scene, 0), 3);
}

/// So many clients whose requests share a connection of backend 0, while 1 is out.
fn sharing(clients: usize) -> (Scene, String) {
    let multiplexed = |config: &mut Config| {
        config.max_connections = clients;
        config.pools[0].multiplex = Multiplex::Verified;
    };
    let mut scene = Scene::with(2, multiplexed, |_| ());
    set(&mut scene, 1, AdminState::Maint);
    (0..clients).for_each(|_| _ = scene.client());
    scene.warm_up(0, "/warm");
    for backend in scene.service.proxy.upstream.backends_mut() {
        backend.echo = EchoSupport::known();
        backend.be_trusted();
        (0..100).for_each(|_| backend.pace.observe(Micros(10), true));
        (0..200).for_each(|_| backend.multiplexing.passed(300, true));
    }
    (0..clients).for_each(|client| scene.get_unheard(client, &format!("/{client}")));
    scene.settle();
    (0..clients).for_each(|client| {
        assert_eq!(scene.place_of(&format!("/{client}")), scene.place_of("/0"));
    });
    scene.seats.segment.set_admin(BackendId(1), AdminState::Ready, clock::now().millis());
    let id = scene.request("/0").head.get("x-request-id").expect("an identifier").to_owned();
    (scene, id)
}

#[test]
fn requests_of_several_clients_on_one_connection_all_leave() {
    let (mut scene, _) = sharing(4);
    mark(&mut scene, 0);
    assert_eq!(evacuated(&scene, 0), 4);
    for client in 0..4 {
        let path = format!("/{client}");
        assert_eq!((scene.place_of(&path).0, scene.times_asked(&path)), (1, 2));
        let id = scene.request(&path).head.get("x-request-id").expect("an identifier").to_owned();
        let head = format!("HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Length: 2\r\n\r\n");
        scene.respond(&path, head + &path);
        assert_eq!(scene.bodies(client).last(), Some(&path));
    }
}

#[test]
fn those_behind_a_response_that_has_begun_leave_and_it_goes_on() {
    let (mut scene, id) = sharing(3);
    let head = format!("HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Length: 5\r\n\r\nbe");
    scene.respond("/0", head);
    mark(&mut scene, 0);
    assert_eq!(evacuated(&scene, 0), 2);
    for client in 1..3 {
        let path = format!("/{client}");
        assert_eq!((scene.place_of(&path).0, scene.times_asked(&path)), (1, 2));
    }
    scene.respond("/0", "gun");
    assert_eq!(scene.bodies(0).last().map(String::as_str), Some("begun"));
    for client in 1..3 {
        let path = format!("/{client}");
        let id = scene.request(&path).head.get("x-request-id").expect("an identifier").to_owned();
        scene.respond(&path, format!("HTTP/1.1 204 No\r\nX-Request-ID: {id}\r\n\r\n"));
        assert_eq!(scene.last_error(client).0, 204);
    }
}

#[test]
fn who_waits_for_room_in_the_queue_of_a_unix_socket_leaves_too() {
    let mut scene = Scene::at_unix_sockets(2, |_| ());
    [0, 1].iter().for_each(|host| scene.server(*host).ignore(true));
    let client = scene.client();
    scene.get(client, &["/"]);
    assert_eq!(scene.asked(), [""; 0]);
    let load = |scene: &Scene, host| scene.seats.segment.backend(BackendId(host)).load();
    let first = if load(&scene, 0) == 1 { 0 } else { 1 };
    mark(&mut scene, first);
    assert_eq!((load(&scene, first), load(&scene, 1 - first)), (0, 1));
    assert_eq!(evacuated(&scene, first), 0, "nothing was asked of it");
}
