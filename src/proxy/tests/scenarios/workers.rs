//! Several workers of one service: what they share.

use crate::config::{Balance, Config, Route, RouteTarget};
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Fault, HealthEvent, Rules};
use crate::proxy::tests::scene::Scene;
use crate::shared::{
    BackendCounter, BackendId, Counter, PoolCounter, PoolId, Registration, WaitFor,
};
use crate::sys::clock;
use crate::sys::world::{self, End};

const POOL: PoolId = PoolId(0);
/// Beside two workers, one that the test plays.
const THIRD: usize = 2;

fn two_workers(backends: usize, configure: impl FnOnce(&mut Config)) -> Scene {
    Scene::of_workers(2, backends, configure, |_| ())
}

/// A cap of so many requests at each backend.
fn cap(config: &mut Config, cap: u32) {
    config.pools[0].backends.iter_mut().for_each(|backend| backend.max_connections = cap);
}

fn messages(needle: &str) -> usize {
    world::messages().iter().filter(|(_, text)| text.contains(needle)).count()
}

#[test]
fn the_rotation_is_exact_over_all_workers() {
    let mut scene = Scene::of_workers(3, 3, |_| (), |_| ());
    let clients = [0, 1, 2, 0].map(|worker| scene.client_of(worker));
    let mut row = Vec::new();
    for round in 0..24 {
        let path = format!("/{round}");
        scene.warm_up(clients[[0, 1, 1, 2, 3, 0, 3][round % 7]], &path);
        row.push(scene.place_of(&path).0);
    }
    for window in row.windows(3) {
        let mut named = window.to_vec();
        named.sort_unstable();
        assert_eq!(named, [0, 1, 2], "{row:?}");
    }
}

#[test]
fn least_connections_counts_the_requests_of_all_workers() {
    let least = |config: &mut Config| config.pools[0].balance = Balance::LeastConnections;
    let mut scene = two_workers(2, least);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/slow"]);
    let busy = scene.place_of("/slow").0;
    for path in ["/0", "/1", "/2"] {
        scene.warm_up(other, path);
        assert_ne!(scene.place_of(path).0, busy);
    }
    scene.answer("/slow", "");
}

#[test]
fn a_cap_holds_over_all_workers_and_who_waits_in_one_is_rung_by_another() {
    let mut scene = two_workers(1, |config| cap(config, 1));
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/0"]);
    scene.get(other, &["/1"]);
    assert_eq!(scene.asked(), ["/0"]);
    assert_eq!(scene.seats.segment.backend(BackendId(0)).load(), 1);
    assert!(scene.seats.segment.waits(1, WaitFor::Pool(POOL)));
    scene.answer("/0", "0");
    assert_eq!(scene.asked(), ["/0", "/1"], "at once, not at the next tick");
    assert!(!scene.seats.segment.waits(1, WaitFor::Pool(POOL)));
    scene.answer("/1", "1");
    assert_eq!((scene.bodies(one), scene.bodies(other)), (vec!["0".into()], vec!["1".into()]));
}

#[test]
fn workers_that_wait_have_their_turns() {
    let mut scene = two_workers(1, |config| {
        cap(config, 1);
        config.max_connections = 20;
    });
    let first = scene.client_of(0);
    scene.get(first, &["/first"]);
    let waiting = [0, 0, 0, 1, 1, 1].map(|worker| (worker, scene.client_of(worker)));
    for (place, (worker, client)) in waiting.iter().enumerate() {
        scene.get(*client, &[&format!("/{worker}/{place}")]);
    }
    let mut workers = Vec::new();
    for _ in 0..6 {
        let path = scene.asked().pop().expect("a request is with the backend");
        scene.answer(&path, "");
        workers.push(scene.asked().pop().expect("the next")[1..2].parse::<usize>().unwrap());
    }
    assert_eq!(workers, [1, 0, 1, 0, 1, 0]);
    let last = scene.asked().pop().unwrap();
    scene.answer(&last, "");
}

#[test]
fn who_comes_later_does_not_overtake_one_that_waits_in_another_worker() {
    let mut scene = two_workers(1, |config| cap(config, 1));
    let (early, late) = (scene.client_of(1), scene.client_of(0));
    let segment = scene.seats.segment;
    assert!(segment.claim(THIRD, BackendId(0), 1));
    scene.get(early, &["/early"]);
    // The place is free, and nobody was rung yet.
    segment.release(THIRD, BackendId(0));
    scene.get(late, &["/late"]);
    assert_eq!(scene.asked(), ["/early"]);
    scene.answer("/early", "");
    scene.answer("/late", "late");
    assert_eq!(scene.bodies(late), ["late"]);
}

#[test]
fn who_waits_and_leaves_passes_the_ring_on() {
    let mut scene = Scene::of_workers(3, 1, |config| cap(config, 1), |_| ());
    let [one, gone, other] = [0, 1, 2].map(|worker| scene.client_of(worker));
    scene.get(one, &["/0"]);
    scene.get(gone, &["/gone"]);
    scene.get(other, &["/1"]);
    // Worker 1 is rung, and its client leaves before it looks.
    scene.respond_unheard("/0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    scene.service.settle();
    scene.leave(gone);
    assert_eq!(scene.asked(), ["/0", "/1"]);
    scene.answer("/1", "");
}

/// Requests for `/b` go to a pool of their own, and each pool has one backend with a cap of one.
fn two_pools(config: &mut Config) {
    cap(config, 1);
    let mut other = config.pools[0].clone();
    other.name = String::from("b");
    other.backends.remove(0);
    config.pools[0].backends.truncate(1);
    config.pools.push(other);
    let path = Some(String::from("/b"));
    config.routes.push(Route {
        host: None,
        path,
        headers: Vec::new(),
        target: RouteTarget::Pool(1),
    });
}

#[test]
fn while_a_first_exchange_waits_for_a_place_those_behind_it_hold_none() {
    let mut scene = two_workers(2, two_pools);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    let segment = scene.seats.segment;
    assert!(segment.claim(THIRD, BackendId(0), 1));
    scene.get(one, &["/a/1", "/b/1"]);
    assert_eq!(scene.asked(), [""; 0]);
    scene.warm_up(other, "/b/2");
    segment.release(THIRD, BackendId(0));
    scene.seats.wakers.wake_waiting(&segment);
    scene.settle();
    assert_eq!(scene.asked(), ["/b/2", "/a/1", "/b/1"]);
    scene.answer("/a/1", "a");
    scene.answer("/b/1", "b");
    assert_eq!(scene.bodies(one), ["a", "b"]);
}

#[test]
fn a_first_exchange_that_begins_to_wait_gives_up_the_places_of_those_behind_it() {
    let mut scene = two_workers(2, two_pools);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.get(one, &["/a/1", "/b/1"]);
    scene.get(other, &["/a/2"]);
    assert_eq!(scene.asked(), ["/a/1", "/b/1"]);
    scene.reset("/a/1");
    assert_eq!(scene.asked()[2..], ["/a/2"], "the other has waited for longer");
    assert_eq!(scene.seats.segment.backend(BackendId(1)).load(), 0);
    scene.answer("/a/2", "");
    scene.answer("/a/1", "a");
    scene.answer("/b/1", "b");
    assert_eq!(scene.bodies(one), ["a", "b"]);
}

#[test]
fn a_mark_by_one_worker_is_seen_by_the_others_and_told_once() {
    let mut scene = two_workers(2, |config| config.pools[0].max_fails = 2);
    scene.refuse(0, true);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    for path in ["/0", "/1", "/2", "/3"] {
        scene.warm_up(one, path);
    }
    let segment = scene.seats.segment;
    assert_eq!(segment.count_up(POOL), (1, 2));
    assert_eq!(messages("is down"), 1);
    let failed = || {
        let row = segment.worker(1).backend(BackendId(0));
        row.get(BackendCounter::Requests)
    };
    for path in ["/4", "/5"] {
        scene.warm_up(other, path);
    }
    assert_eq!(failed(), 0, "the other worker never asked it");
    scene.refuse(0, false);
    let rules = Rules { max_fails: 2, fail_timeout: Millis(1) };
    let now = clock::now().millis();
    assert!(segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, now, &rules).is_some());
    for path in ["/6", "/7"] {
        scene.warm_up(other, path);
    }
    assert_eq!(failed(), 1, "and then it did, at its next pick");
}

#[test]
fn failures_are_counted_together_over_the_workers() {
    let mut scene = two_workers(3, |config| config.pools[0].max_fails = 2);
    scene.refuse(0, true);
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.warm_up(one, "/0");
    assert_eq!(scene.seats.segment.count_up(POOL).0, 3);
    for path in ["/1", "/2", "/3"] {
        scene.warm_up(other, path);
    }
    assert_eq!(scene.seats.segment.count_up(POOL).0, 2);
    assert_eq!(scene.seats.segment.pool_total(POOL, PoolCounter::Retries), 2);
}

#[test]
fn idle_connections_to_a_backend_that_went_down_are_closed_by_all() {
    let mut scene = two_workers(2, |_| ());
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    for (client, path) in [(one, "/0"), (one, "/1"), (other, "/2"), (other, "/3")] {
        scene.warm_up(client, path);
    }
    assert_eq!(scene.backend_conns(), 4);
    let rules = Rules { max_fails: 1, fail_timeout: Millis(1) };
    let segment = scene.seats.segment;
    let now = clock::now().millis();
    assert!(
        segment.observe(BackendId(0), HealthEvent::Failed(Fault::Refused), now, &rules).is_some()
    );
    scene.warm_up(one, "/4");
    assert_eq!(scene.backend_conns(), 3, "at the next pick of the one");
    scene.advance(600);
    assert_eq!(scene.backend_conns(), 2, "at the next tick of the other");
    assert_eq!(segment.idle_connections(BackendId(0)), 0);
}

#[test]
fn clients_are_limited_over_all_workers_and_a_door_that_waits_is_rung() {
    let mut scene = two_workers(1, |config| config.max_connections = 2);
    let (one, two) = (scene.client_of(0), scene.client_of(0));
    let waiting = scene.client_of(1);
    scene.get(waiting, &["/waits"]);
    assert_eq!(scene.asked(), [""; 0]);
    assert_eq!(scene.seats.segment.clients(), 2);
    assert!(scene.seats.segment.waits(1, WaitFor::Client));
    scene.leave(one);
    assert_eq!(scene.asked(), ["/waits"], "at once");
    scene.answer("/waits", "");
    scene.leave(two);
    assert!(!scene.seats.segment.waits(1, WaitFor::Client), "there is room again");
}

/// Its last answer closes the connection, which then waits for what it may be sending yet.
fn linger(scene: &mut Scene, client: usize) {
    scene.send(client, "no request\r\n\r\n");
    assert_eq!(scene.last_error(client).0, 400);
    assert_eq!(scene.end_of(client), End::Fin);
}

#[test]
fn who_lingers_behind_the_last_answer_makes_room_before_who_is_idle() {
    let mut scene = two_workers(1, |config| config.max_connections = 4);
    let idle = scene.client_of(0);
    scene.warm_up(idle, "/1");
    scene.advance(1000);
    let (first, second) = (scene.client_of(0), scene.client_of(0));
    linger(&mut scene, first);
    scene.advance(1);
    linger(&mut scene, second);
    // It sends on: that is no request, and no reason to reset what it has not read yet.
    scene.get_unheard(first, "/never");
    let clients = |scene: &Scene| scene.seats.segment.clients();
    scene.advance(300);
    let proxy = &mut scene.service.proxy;
    assert!(proxy.recycle() && proxy.recycle());
    scene.settle();
    assert_eq!((clients(&scene), scene.service.proxy.row.get(Counter::Recycled)), (1, 0));
    scene.warm_up(idle, "/2");
    scene.advance(1);
    assert!(scene.service.proxy.recycle());
    scene.settle();
    assert_eq!((clients(&scene), scene.service.proxy.row.get(Counter::Recycled)), (0, 1));
    assert_eq!(scene.asked(), ["/1", "/2"]);
    // Nobody's answer was taken back by a reset.
    for client in [first, second, idle] {
        assert_eq!(scene.end_of(client), End::Fin);
    }
}

#[test]
fn who_lingers_makes_room_for_who_waits_wherever_once_what_it_sent_has_come() {
    let mut scene = two_workers(1, |config| config.max_connections = 2);
    let (one, two) = (scene.client_of(0), scene.client_of(0));
    let waiting = scene.client_of(1);
    scene.get(waiting, &["/waits"]);
    assert_eq!(scene.asked(), [""; 0]);
    linger(&mut scene, one);
    // As at the end of each of a worker's turns.
    let make_room = |scene: &mut Scene| {
        scene.service.proxy.make_room_for_who_waits();
        scene.settle();
    };
    make_room(&mut scene);
    assert_eq!(scene.asked(), [""; 0], "it may be sending yet");
    scene.advance(300);
    make_room(&mut scene);
    assert_eq!(scene.asked(), ["/waits"], "long before it would have been closed");
    scene.answer("/waits", "");
    assert_eq!(scene.end_of(two), End::Open);
}

#[test]
fn a_door_that_has_nobody_left_passes_the_room_on() {
    let mut scene = Scene::of_workers(3, 1, |config| config.max_connections = 1, |_| ());
    let one = scene.client_of(0);
    let (gone, other) = (scene.client_of(1), scene.client_of(2));
    scene.get(other, &["/2"]);
    assert!(scene.seats.segment.waits(1, WaitFor::Client));
    scene.get(one, &["/0"]);
    scene.answer("/0", "");
    scene.worker(1).close_door();
    scene.leave(one);
    assert_eq!(scene.asked(), ["/0", "/2"]);
    scene.answer("/2", "");
    scene.forget(gone);
}

#[test]
fn a_backend_that_registers_is_asked_at_the_next_pick_and_one_that_leaves_is_not() {
    let mut scene = two_workers(3, |config| config.pools[0].backends.truncate(2));
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.warm_up(one, "/0");
    let segment = scene.seats.segment;
    let address = ([10, 0, 1, 2], 80).into();
    let entry = Registration::at(address);
    let slot = segment.register(POOL, entry).expect("a free slot");
    for (place, path) in ["/1", "/2", "/3"].into_iter().enumerate() {
        scene.warm_up([one, other][place % 2], path);
    }
    let mut hosts = ["/1", "/2", "/3"].map(|path| scene.place_of(path).0);
    hosts.sort_unstable();
    assert_eq!(hosts, [0, 1, 2]);

    scene.get(other, &["/long", "/behind", "/last"]);
    segment.set_admin(slot, AdminState::Leaving, clock::now().millis());
    assert!(!segment.forget_if_unused(slot), "a request is there, or a connection");
    for path in ["/4", "/5", "/6"] {
        scene.warm_up(one, path);
        assert_ne!(scene.place_of(path).0, 2);
    }
    for path in ["/long", "/behind", "/last"] {
        scene.answer(path, "");
    }
    scene.advance(600);
    assert!(segment.forget_if_unused(slot), "after the next tick nobody has anything there");
    scene.warm_up(other, "/7");
    assert_ne!(scene.place_of("/7").0, 2);
}

#[test]
fn a_claim_on_a_backend_that_began_to_leave_is_given_back() {
    let mut scene = two_workers(2, |_| ());
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    scene.warm_up(one, "/0");
    scene.warm_up(other, "/1");
    // As the control process does it, before it has bumped the epoch.
    let segment = scene.seats.segment;
    let epoch = segment.pool(POOL).epoch();
    segment.backend(BackendId(0)).set_standing_quietly(AdminState::Leaving);
    for path in ["/2", "/3", "/4"] {
        scene.warm_up(one, path);
        assert_eq!(scene.place_of(path).0, 1);
    }
    assert_eq!(segment.pool(POOL).epoch(), epoch);
    assert_eq!(segment.backend(BackendId(0)).load(), 0);
}

#[test]
fn a_pool_that_is_added_is_found_by_its_name() {
    let mut scene = two_workers(2, |config| {
        config.pool_header = Some(String::from("x-pool"));
        config.pools[0].backends.pop();
    });
    let client = scene.client_of(1);
    let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Pool: new\r\n\r\n");
    scene.send(client, ask("/0"));
    assert_eq!(scene.last_error(client).0, 503);
    let segment = scene.seats.segment;
    let pool = segment.add_pool("new").expect("a spare pool");
    scene.send(client, ask("/1"));
    assert_eq!(scene.last_error(client).0, 503, "it has no backend yet");
    let address = ([10, 0, 1, 1], 80).into();
    let entry = Registration::at(address);
    segment.register(pool, entry).expect("a free slot");
    scene.send(client, ask("/2"));
    assert_eq!(scene.place_of("/2").0, 1);
    scene.answer("/2", "");
}

/// The place of a pool that emptied may be another's when a request of its own has its turn.
#[test]
fn a_request_of_a_pool_that_is_gone_goes_to_no_other_that_has_its_place() {
    let mut scene = two_workers(2, |config| {
        config.pool_header = Some(String::from("x-pool"));
        config.pools[0].backends.pop();
    });
    let segment = scene.seats.segment;
    let address = ([10, 0, 1, 1], 80).into();
    let entry = Registration::at(address);
    let old = segment.add_pool("old").expect("a spare pool");
    let slot = segment.register(old, entry).expect("a free slot");
    let client = scene.client_of(1);
    let lines = "Host: a\r\nContent-Length: 0\r\nX-Pool: old";
    scene.send(
        client,
        format!("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nPOST /old HTTP/1.1\r\n{lines}\r\n\r\n"),
    );
    assert_eq!(scene.asked(), ["/slow"]);
    segment.set_admin(slot, AdminState::Leaving, Millis(1));
    assert!(segment.forget_if_unused(slot));
    while segment.add_pool("new") != Some(old) {}

    segment.register(old, entry).expect("a free slot");
    scene.answer("/slow", "");
    assert_eq!(scene.asked(), ["/slow"]);
    assert_eq!(scene.last_error(client).0, 503);
    scene.send(client, "GET /new HTTP/1.1\r\nHost: a\r\nX-Pool: new\r\n\r\n");
    assert_eq!(scene.place_of("/new").0, 1);
    scene.answer("/new", "");
}

#[test]
fn a_worker_that_dies_leaves_its_places_to_the_others() {
    let mut scene = two_workers(1, |config| {
        cap(config, 1);
        config.max_connections = 2;
    });
    let (one, other) = (scene.client_of(0), scene.client_of(1));
    let segment = scene.seats.segment;
    scene.get(other, &["/dies"]);
    scene.get(one, &["/lives"]);
    assert_eq!(scene.asked(), ["/dies"]);
    scene.others.clear();
    segment.reap(1);
    scene.seats.wakers.wake_waiting(&segment);
    scene.settle();
    assert_eq!(scene.asked(), ["/dies", "/lives"]);
    assert_eq!(segment.clients(), 1);
    scene.answer("/lives", "");
    scene.forget(other);
}
