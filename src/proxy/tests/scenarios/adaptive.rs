//! Backends whose cap finds itself: the cap is set here by the test, as the control process does.

use crate::config::{AUTO_CAP, Config};
use crate::policy::concurrency::FoundCap;
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendId, PoolId, WaitFor};

fn auto(config: &mut Config) {
    config.pools[0].backends.iter_mut().for_each(|backend| backend.max_connections = AUTO_CAP);
}

/// The control process has found it.
fn find(scene: &mut Scene, cap: u32, is_saturated: bool) {
    let backend = scene.seats.segment.backend(BackendId(0));
    backend.set_found_cap(FoundCap { cap, is_saturated });
    let segment = scene.seats.segment;
    scene.seats.wakers.wake_all(&segment, WaitFor::Pool(PoolId(0)));
    scene.settle();
}

/// A backend that was found to bear one request at a time, and the client that has it.
fn busy() -> (Scene, usize) {
    let mut scene = Scene::with(
        1,
        |config| {
            auto(config);
            config.max_connections = 100;
        },
        |_| (),
    );
    find(&mut scene, 1, true);
    let holder = scene.client();
    scene.get(holder, &["/held"]);
    (scene, holder)
}

/// So many ask one after the other, in so many milliseconds each.
fn queue_up(scene: &mut Scene, count: usize, millis: u64) -> Vec<usize> {
    let ask = |number: usize| {
        let client = scene.client();
        scene.get(client, &[&format!("/{number}")]);
        scene.advance(millis);
        client
    };
    (0..count).map(ask).collect()
}

#[test]
fn a_cap_that_was_found_holds_and_a_higher_one_wakes_who_waits() {
    let (mut scene, _) = busy();
    let waiting = queue_up(&mut scene, 2, 0);
    assert_eq!(scene.asked(), ["/held"]);
    find(&mut scene, 2, true);
    assert_eq!(scene.asked(), ["/held", "/0"]);
    find(&mut scene, 3, true);
    scene.answer("/1", "1");
    assert_eq!(scene.bodies(waiting[1]), ["1"]);
}

#[test]
fn a_lower_cap_takes_nothing_from_those_who_have_a_place() {
    let (mut scene, _) = busy();
    find(&mut scene, 3, true);
    queue_up(&mut scene, 2, 0);
    find(&mut scene, 1, true);
    let waiting = scene.client();
    scene.get(waiting, &["/waits"]);
    for path in ["/held", "/0"] {
        scene.answer(path, "");
        assert_eq!(scene.times_asked("/waits"), 0);
    }
    scene.answer("/1", "");
    assert_eq!(scene.times_asked("/waits"), 1);
}

#[test]
fn who_came_first_is_served_first_while_the_queue_is_short() {
    let (mut scene, _) = busy();
    queue_up(&mut scene, 3, 20);
    scene.answer("/held", "");
    scene.answer("/0", "");
    assert_eq!(scene.asked(), ["/held", "/0", "/1"]);
}

#[test]
fn the_newest_is_served_first_once_the_oldest_has_waited_for_half_the_time() {
    let (mut scene, _) = busy();
    find(&mut scene, 1, false);
    let waiting = queue_up(&mut scene, 8, 20);
    scene.advance(500);
    scene.answer("/held", "");
    assert_eq!(scene.asked(), ["/held", "/7"]);
    // Who comes now is newer yet.
    let newest = scene.client();
    scene.get(newest, &["/newest"]);
    scene.answer("/7", "7");
    assert_eq!(scene.asked(), ["/held", "/7", "/newest"]);
    scene.answer("/newest", "");
    assert_eq!(scene.asked().last().map(String::as_str), Some("/6"));
    scene.advance(500);
    assert_eq!(scene.last_error(waiting[0]), (503, "connection_limit_reached".to_owned()));
    assert_eq!(scene.bodies(waiting[7]), ["7"]);
}

#[test]
fn who_came_first_is_served_first_after_half_the_time_too_where_all_are_served_in_time() {
    let (mut scene, _) = busy();
    find(&mut scene, 1, false);
    let waiting = queue_up(&mut scene, 6, 40);
    scene.answer("/held", "");
    // Two wait by the time that the older one has waited for more than half of a second.
    for (number, client) in waiting.into_iter().enumerate() {
        let path = format!("/{number}");
        assert_eq!(scene.asked().last(), Some(&path));
        scene.advance(120);
        scene.answer(&path, "served");
        assert_eq!(scene.bodies(client), ["served"]);
    }
}

#[test]
fn who_would_not_be_served_in_time_knows_at_once() {
    let (mut scene, _) = busy();
    // Nobody gets a place for a while.
    let waiting = queue_up(&mut scene, 4, 150);
    let (first, last) = (waiting[0], waiting[3]);
    assert_eq!(scene.received(first), "");
    assert_eq!(scene.last_error(last), (503, "connection_limit_reached".to_owned()));
    assert!(scene.received(last).contains("Retry-After: 1\r\n"));
    assert_eq!(scene.times_asked("/3"), 0);
}

#[test]
fn as_long_as_a_backend_may_bear_more_everybody_waits() {
    let (mut scene, _) = busy();
    find(&mut scene, 1, false);
    let waiting = queue_up(&mut scene, 4, 100);
    find(&mut scene, 100, false);
    for (number, client) in waiting.into_iter().enumerate() {
        scene.answer(&format!("/{number}"), "served");
        assert_eq!(scene.bodies(client), ["served"]);
    }
}

#[test]
fn those_who_have_waited_for_longest_make_room_for_newer_ones_once_it_is_in_vain() {
    let (mut scene, _) = busy();
    let oldest = scene.client();
    scene.get(oldest, &["/oldest"]);
    scene.advance(950);
    find(&mut scene, 1, false);
    let second = scene.client();
    scene.get(second, &["/second"]);
    assert_eq!(scene.received(oldest), "", "there may be more places");
    find(&mut scene, 1, true);
    // As the oldest has 50 ms left, and one place was given in 950 ms.
    scene.answer("/held", "");
    scene.get(second, &["/third"]);
    assert_eq!(scene.times_asked("/second"), 1);
    scene.answer("/second", "");
    scene.advance(200);
    assert_eq!(scene.last_error(oldest), (503, "connection_limit_reached".to_owned()));
}

#[test]
fn the_second_of_a_client_does_not_wait_in_the_queue_but_for_its_turn() {
    let (mut scene, _) = busy();
    let client = scene.client();
    scene.get(client, &["/first", "/second"]);
    scene.advance(600);
    scene.answer("/held", "");
    scene.answer("/first", "1");
    scene.answer("/second", "2");
    assert_eq!(scene.bodies(client), ["1", "2"]);
}
