//! Answers that are stored and not in memory: nobody waits for the disk with the whole worker.

use super::*;
use crate::mem::time::Micros;
use crate::sys::{clock, world};

/// From now on nothing of what is stored is in memory, and to read it takes so long.
fn chill(delay: Millis) {
    world::disk(|disk| disk.chill());
    world::change_faults(|faults| faults.disk_delay = Micros::from(delay));
}

fn waits() -> u64 {
    world::calls().disk_wait
}

#[test]
fn others_are_served_while_it_is_read() {
    for len in [10, 16_000, 17_000, 900_000] {
        let mut scene = scene();
        let (client, other) = (scene.client(), scene.client());
        let body = long_body(len);
        store(&mut scene, client, "/hot", FRESH, "hot");
        scene.get(other, &["/hot"]);
        store(&mut scene, client, "/cold", FRESH, &body);
        chill(Millis(30));
        scene.get(client, &["/cold"]);
        assert_eq!(scene.messages(client).len(), 2, "{len}");
        scene.get(other, &["/hot"]);
        assert_eq!(last(&mut scene, other), is(200, "hit; ttl=60", "hot"), "{len}");
        scene.advance(200);
        assert!(last(&mut scene, client) == is(200, "hit; ttl=60", &body), "{len}");
        assert_eq!((waits(), scene.times_asked("/cold")), (0, 1), "{len}");
    }
}

#[test]
fn what_went_out_of_memory_while_it_was_sent_is_read_again() {
    let mut scene = scene();
    let client = scene.client();
    let body = long_body(900_000);
    store(&mut scene, client, "/a", FRESH, &body);
    scene.get(client, &["/a"]);
    let slow = scene.client();
    scene.set_reading(slow, false);
    scene.get(slow, &["/a"]);
    scene.advance(5000);
    chill(Millis(30));
    scene.set_reading(slow, true);
    (0..20).for_each(|_| scene.advance(100));
    assert!(scene.bodies(slow) == [body]);
    assert_eq!(waits(), 0);
}

/// Each waits until it is first, and its own answer then.
#[test]
fn pipelined_requests_for_it_are_answered_in_their_order() {
    let mut scene = scene();
    let client = scene.client();
    let bodies = ["/a", "/b", "/c"].map(|path| format!("{path}{}", long_body(50_000)));
    for (path, body) in ["/a", "/b", "/c"].iter().zip(&bodies) {
        store(&mut scene, client, path, FRESH, body);
    }
    chill(Millis(30));
    let other = scene.client();
    scene.get(other, &["/c", "/a", "/b"]);
    (0..10).for_each(|_| scene.advance(100));
    let [a, b, c] = bodies;
    assert!(scene.bodies(other) == [c, a, b]);
    assert_eq!(waits(), 0);
}

#[test]
fn variants_are_found_that_are_not_in_memory() {
    let mut scene = scene();
    let client = scene.client();
    let fields = "Cache-Control: max-age=60 | Vary: Accept-Language";
    ask(&mut scene, client, "/a", "Accept-Language: de");
    scene.respond("/a", answer(fields, "deutsch"));
    chill(Millis(30));
    let other = scene.client();
    ask(&mut scene, other, "/a", "Accept-Language: de");
    scene.advance(200);
    assert_eq!(last(&mut scene, other), is(200, "hit; ttl=60", "deutsch"));
    assert_eq!((waits(), scene.times_asked("/a")), (0, 1));
}

#[test]
fn a_disk_that_reads_nothing_ahead_is_waited_for_after_a_second() {
    let mut scene = scene();
    let client = scene.client();
    let bodies = [1, 2].map(|number| format!("{number}{}", long_body(900_000)));
    store(&mut scene, client, "/1", FRESH, &bodies[0]);
    store(&mut scene, client, "/2", FRESH, &bodies[1]);
    chill(Millis(1 << 40));
    let other = scene.client();
    scene.get(other, &["/1"]);
    scene.advance(900);
    assert_eq!((waits(), scene.messages(other).len()), (0, 0));
    scene.advance(200);
    assert!(waits() > 0 && scene.bodies(other) == [bodies[0].clone()]);
    // It is known by now that there is no use in asking.
    scene.get(other, &["/2"]);
    assert!(scene.bodies(other) == bodies);
    scene.advance(20_000);
    chill(Millis(30));
    let before = waits();
    scene.get(other, &["/1"]);
    scene.advance(200);
    assert!(scene.bodies(other).len() == 3 && waits() == before);
}

/// Nobody has the memory filled with what others read ahead.
#[test]
fn the_disk_reads_for_so_many_at_once_and_then_for_the_next() {
    let mut scene = Scene::with(
        1,
        |config| {
            with_cache(config);
            config.max_connections = 200;
        },
        |_| (),
    );
    let client = scene.client();
    let body = long_body(20_000);
    for number in 0..100 {
        store(&mut scene, client, &format!("/{number}"), FRESH, &body);
    }
    chill(Millis(50));
    let clients: Vec<usize> = (0..100).map(|_| scene.client()).collect();
    for (number, client) in clients.iter().enumerate() {
        scene.get(*client, &[&format!("/{number}")]);
    }
    assert_eq!(world::disk(|disk| disk.asked_for()), 64);
    scene.advance(1000);
    assert!(clients.iter().all(|client| scene.bodies(*client) == [body.clone()]));
    assert_eq!(waits(), 0);
}

#[test]
fn a_client_that_leaves_meanwhile_leaves_nothing() {
    for len in [10, 900_000] {
        let mut scene = scene();
        let client = scene.client();
        store(&mut scene, client, "/a", FRESH, &long_body(len));
        chill(Millis(30));
        let other = scene.client();
        scene.get(other, &["/a"]);
        scene.leave(other);
        scene.advance(100);
        let caching = scene.worker(0).proxy.buffers.caching.as_ref().expect("a cache");
        assert_eq!((caching.cold().len(), caching.store().pinned()), (0, 0));
    }
}

/// A machine with much to do is no slow disk.
#[test]
fn who_waits_for_a_processor_stores_all_the_same() {
    let mut scene = scene();
    let client = scene.client();
    world::change_faults(|faults| faults.cpu_slow = Micros(10_000));
    for number in 0..200 {
        store(&mut scene, client, &format!("/{number}"), FRESH, "stored");
        scene.get(client, &[&format!("/{number}")]);
        assert_eq!(last(&mut scene, client).2, "stored");
        assert_eq!(scene.times_asked(&format!("/{number}")), 1);
    }
    assert_eq!(scene.seats.segment.total(Counter::SlowDisk), 0);
}

/// What takes its time is done without, and what is at hand is given all the same.
#[test]
fn a_slow_disk_holds_nobody_up_for_long() {
    let mut scene = scene();
    let client = scene.client();
    store(&mut scene, client, "/hot", FRESH, "hot");
    store(&mut scene, client, "/other", FRESH, "other");
    scene.get(client, &["/hot"]);
    world::change_faults(|faults| faults.disk_slow = Micros(10_000));
    let begun = clock::now();
    for number in 0..200 {
        store(&mut scene, client, &format!("/{number}"), FRESH, "cold");
        scene.get(client, &["/hot"]);
        assert_eq!(last(&mut scene, client), is(200, "hit; ttl=60", "hot"));
    }
    assert!(clock::now() - begun < Micros(500_000), "{:?}", clock::now() - begun);
    // A backend has what is not at hand.
    let slow = world::messages().len();
    store(&mut scene, client, "/other", FRESH, "other");
    scene.advance(600);
    let total = |scene: &Scene| scene.seats.segment.total(Counter::SlowDisk);
    let messages = world::messages();
    assert!(messages.len() > slow && messages[slow].1.contains("cache.dir is slow"));
    assert!(total(&scene) >= 190, "{}", total(&scene));

    world::change_faults(|faults| faults.disk_slow = Micros(0));
    scene.advance(3000);
    for number in 300..303 {
        store(&mut scene, client, &format!("/{number}"), FRESH, "stored");
        scene.get(client, &[&format!("/{number}")]);
        assert_eq!(last(&mut scene, client).2, "stored");
        assert_eq!(scene.times_asked(&format!("/{number}")), 1);
        scene.advance(1500);
    }
    assert!(world::messages().last().expect("some").1.contains("fast enough again"));
}
