//! Those who follow what another request fetches, where that has not said how long it is.

use super::*;
use crate::proxy::tests::message::Message;
use crate::sys::world::End;

/// How a backend gives a body of unknown length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// In chunks of so many bytes.
    Chunks(usize),
    /// Until it closes.
    ToClose,
}

const WIRES: [Wire; 4] =
    [Wire::Chunks(5), Wire::Chunks(3000), Wire::Chunks(usize::MAX), Wire::ToClose];

impl Wire {
    fn head(self, fields: &str) -> String {
        let coding = match self {
            Wire::Chunks(_) => "Transfer-Encoding: chunked\r\n",
            Wire::ToClose => "",
        };
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n{coding}\r\n")
    }

    /// All of a body, but for its end.
    fn body(self, body: &str) -> String {
        match self {
            Wire::ToClose => body.to_owned(),
            Wire::Chunks(size) => {
                let chunks = body.as_bytes().chunks(size);
                let text = |chunk: &[u8]| String::from_utf8_lossy(chunk).into_owned();
                chunks.map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), text(chunk))).collect()
            }
        }
    }

    fn end(self, scene: &mut Scene, place: (usize, usize)) {
        match self {
            Wire::Chunks(_) => drop(scene.respond_at(place, "0\r\nX-Trailer: t\r\n\r\n")),
            Wire::ToClose => scene.hang_up_at(place),
        }
    }
}

/// Clients of two workers, each of which asks for `/a`; the last one speaks HTTP/1.0.
fn crowd(scene: &mut Scene, count: usize) -> Vec<usize> {
    let clients: Vec<usize> = (0..count).map(|place| scene.client_of(place % 2)).collect();
    for client in &clients[..count - 1] {
        scene.get(*client, &["/a"]);
    }
    scene.send(clients[count - 1], "GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
    clients
}

fn message(scene: &mut Scene, client: usize) -> Message {
    scene.messages(client).pop().expect("an answer, or a part of it")
}

/// What a client has of the body.
fn so_far(scene: &mut Scene, client: usize) -> String {
    String::from_utf8_lossy(&message(scene, client).body).into_owned()
}

/// Sends all of `text`, of which a backend that is held up takes more when time has passed.
fn respond_all(scene: &mut Scene, place: (usize, usize), text: &str) {
    let mut sent = 0;
    while sent < text.len() {
        let count = scene.respond_at(place, &text[sent..]);
        assert!(count > 0, "the backend is held up still");
        sent += count;
    }
}

/// These have all of it, and know: those of HTTP/1.0 by the end of their connection.
#[track_caller]
fn assert_whole(scene: &mut Scene, clients: &[usize], body: &str) {
    for client in clients {
        let message = message(scene, *client);
        assert!(message.body == body.as_bytes(), "{client}: {} bytes", message.body.len());
        match message.head.get("transfer-encoding") {
            Some(_) => assert!(message.is_whole(), "{client}"),
            None => {
                assert!(message.lasts_until_close() && message.head.closes(), "{client}");
                assert_eq!(scene.end_of(*client), End::Fin, "{client}");
            }
        }
    }
}

/// docs/CACHE.md, rule 15.
#[test]
fn what_does_not_say_its_length_comes_as_it_is_written() {
    for (wire, length) in WIRES.into_iter().flat_map(|wire| [(wire, 8), (wire, 400_000)]) {
        let body = long_body(length);
        let (first, rest) = body.split_at(length / 2);
        let (second, third) = rest.split_at(length / 4);
        let mut scene = workers(2);
        let mut clients = crowd(&mut scene, 6);
        let place = scene.place_of("/a");
        scene.respond("/a", wire.head(FRESH) + &wire.body(first));
        for client in &clients {
            assert!(so_far(&mut scene, *client) == first, "{wire:?}");
        }
        // Who comes now has what there is at once, also while the backend pauses.
        scene.advance(1700);
        let late = scene.client_of(1);
        scene.get(late, &["/a"]);
        assert!(so_far(&mut scene, late) == first, "{wire:?}");
        clients.insert(0, late);
        scene.respond_at(place, wire.body(second));
        scene.respond_at(place, wire.body(third));
        for client in &clients {
            let message = message(&mut scene, *client);
            assert!(message.body == body.as_bytes() && !message.is_whole(), "{wire:?}");
        }
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients, &body);
        assert_eq!(last(&mut scene, late).1, "fwd=uri-miss; collapsed");
        // One that speaks HTTP/1.1 goes on over its connection.
        scene.get(late, &["/a"]);
        let (_, cache, got) = last(&mut scene, late);
        assert!(cache.starts_with("hit") && got == body, "{cache}");
        assert_eq!(last_field(&mut scene, late, "content-length"), Some(length.to_string()));
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

#[test]
fn an_empty_body_of_unknown_length_ends_for_all() {
    for wire in WIRES {
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        scene.respond("/a", wire.head(FRESH));
        let late = scene.client_of(1);
        scene.get(late, &["/a"]);
        assert!(!message(&mut scene, late).is_whole(), "{wire:?}");
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients, "");
        assert_whole(&mut scene, &[late], "");
        assert_eq!(scene.times_asked("/a"), 1);
    }
}

/// docs/CACHE.md, rule 17.
#[test]
fn what_breaks_off_before_its_end_looks_whole_to_nobody() {
    for wire in WIRES {
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 5);
        let other = scene.client_of(1);
        // This one wants it fresher than it comes: it waits for what is stored.
        ask(&mut scene, other, "/a", "Cache-Control: min-fresh=3600");
        scene.respond("/a", wire.head(FRESH) + &wire.body("hal"));
        scene.reset("/a");
        assert_eq!(scene.times_asked("/a"), 2, "{wire:?}");
        scene.respond("/a", answer(FRESH, "hello"));
        assert_eq!(last(&mut scene, other).2, "hello");
        for (place, client) in clients.iter().enumerate() {
            let message = message(&mut scene, *client);
            assert!(message.body == b"hal" && !message.is_whole(), "{wire:?}");
            let end = scene.end_of(*client);
            let expected = if place == 4 { End::Reset } else { End::Fin };
            assert_eq!(end, expected, "{wire:?}: what {client} has must not look whole");
        }
    }
}

#[test]
fn what_a_dead_worker_has_left_unfinished_looks_whole_to_nobody() {
    for wire in WIRES {
        let mut scene = workers(2);
        let dies = scene.client_of(1);
        scene.get(dies, &["/a"]);
        let clients = [0, 0].map(|worker| scene.client_of(worker));
        scene.get(clients[0], &["/a"]);
        scene.send(clients[1], "GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
        scene.respond("/a", wire.head(FRESH) + &wire.body("hal"));
        assert!(clients.iter().all(|client| so_far(&mut scene, *client) == "hal"));
        scene.others.clear();
        scene.seats.segment.reap(1);
        let cache = scene.service.proxy.buffers.caching.as_ref().expect("a cache");
        let waiting = cache.store().directory().cells.reap(1);
        waiting.workers().for_each(|worker| scene.seats.wakers.wake(worker));
        scene.settle();
        assert!(!message(&mut scene, clients[0]).is_whole(), "{wire:?}");
        assert_ne!(scene.end_of(clients[0]), End::Open, "{wire:?}");
        assert_eq!(scene.end_of(clients[1]), End::Reset, "{wire:?}");
        scene.forget(dies);
    }
}

#[test]
fn a_fetch_without_a_length_goes_on_without_the_one_who_asked() {
    for wire in WIRES {
        let body = long_body(300_000);
        let (first, rest) = body.split_at(100_000);
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 5);
        let place = scene.place_of("/a");
        scene.respond("/a", wire.head(FRESH) + &wire.body(first));
        scene.leave(clients[0]);
        scene.respond_at(place, wire.body(rest));
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients[1..], &body);
        assert_eq!(scene.times_asked("/a"), 1, "{wire:?}");
    }
}

/// The one who asked first has a part of a chunk when it becomes a follower of its own fetch.
#[test]
fn a_slow_reader_is_waited_for_by_nobody_and_goes_on_where_it_was() {
    for (wire, version) in WIRES.into_iter().flat_map(|wire| [(wire, "1.1"), (wire, "1.0")]) {
        let body = long_body(900_000);
        let mut scene = workers(2);
        let slow = scene.client_of(0);
        scene.set_reading(slow, false);
        scene.send(slow, format!("GET /a HTTP/{version}\r\nHost: a\r\n\r\n"));
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        let text = wire.head(FRESH) + &wire.body(&body);
        let sent = scene.respond("/a", &text);
        assert!(sent < text.len(), "the backend is held up");
        scene.advance(1700);
        respond_all(&mut scene, place, &text[sent..]);
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients, &body);
        scene.set_reading(slow, true);
        scene.settle();
        assert_whole(&mut scene, &[slow], &body);
        assert_eq!(last(&mut scene, slow).1, "fwd=uri-miss; stored");
        assert_eq!(scene.times_asked("/a"), 1, "{wire:?}");
    }
}

/// One that takes its time is cut as well if what it began breaks off.
#[test]
fn a_slow_reader_of_what_breaks_off_does_not_take_it_for_the_end() {
    for (wire, version) in WIRES.into_iter().flat_map(|wire| [(wire, "1.1"), (wire, "1.0")]) {
        let body = long_body(900_000);
        let mut scene = workers(2);
        let slow = scene.client_of(0);
        scene.set_reading(slow, false);
        scene.send(slow, format!("GET /a HTTP/{version}\r\nHost: a\r\n\r\n"));
        crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        let text = wire.head(FRESH) + &wire.body(&body);
        let sent = scene.respond("/a", &text);
        scene.advance(1700);
        respond_all(&mut scene, place, &text[sent..]);
        scene.reset_at(place);
        scene.set_reading(slow, true);
        scene.settle();
        if version == "1.0" {
            assert_eq!(scene.end_of(slow), End::Reset, "{wire:?}");
        } else {
            assert!(!message(&mut scene, slow).is_whole(), "{wire:?}");
            assert_ne!(scene.end_of(slow), End::Open, "{wire:?}");
        }
    }
}

/// It is not stored, but whoever follows it gets all of it.
#[test]
fn what_turns_out_to_be_longer_than_what_is_stored_comes_whole() {
    for wire in WIRES {
        let body = long_body((1 << 20) + 300_000);
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        let text = wire.head(FRESH) + &wire.body(&body);
        let sent = scene.respond("/a", &text);
        respond_all(&mut scene, place, &text[sent..]);
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients, &body);
        for worker in [0, 1] {
            let late = scene.client_of(worker);
            scene.get(late, &["/a"]);
        }
        assert_eq!(scene.times_asked("/a"), 3, "{wire:?}: nobody waits for it now");
    }
}

/// The one who asked gets all of it, those who follow are cut, and whoever comes then asks for itself.
#[test]
fn what_turns_out_to_be_too_long_for_all_room_looks_whole_to_nobody_who_has_a_part() {
    for wire in WIRES {
        let body = long_body((1 << 20) + 50_000);
        let mut scene = workers_with_room(2, 2 << 20);
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        let text = wire.head(FRESH) + &wire.body(&body);
        let sent = scene.respond("/a", &text);
        respond_all(&mut scene, place, &text[sent..]);
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients[..1], &body);
        for client in &clients[1..] {
            let message = message(&mut scene, *client);
            let is_beginning = body.as_bytes().starts_with(&message.body);
            assert!(is_beginning && message.body.len() <= 1 << 20 && !message.is_whole());
            assert_ne!(scene.end_of(*client), End::Open, "{wire:?}");
        }
        assert_eq!(scene.end_of(clients[3]), End::Reset, "{wire:?}");
        for worker in [0, 1] {
            let late = scene.client_of(worker);
            scene.get(late, &["/a"]);
        }
        assert_eq!(scene.times_asked("/a"), 3, "{wire:?}");
        scene.advance(40_000);
        let later = [0, 1].map(|worker| scene.client_of(worker));
        later.iter().for_each(|client| scene.get(*client, &["/a"]));
        assert_eq!(scene.times_asked("/a"), 5, "{wire:?}: that is known for longer");
    }
}

#[test]
fn who_follows_what_is_made_void_meanwhile_gets_all_of_it_and_who_comes_then_something_new() {
    for wire in WIRES {
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        scene.respond("/a", wire.head(FRESH) + &wire.body("hel"));
        let other = scene.client_of(1);
        scene.send(other, "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n");
        scene.respond("/a", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        scene.respond_at(place, wire.body("lo"));
        wire.end(&mut scene, place);
        assert_whole(&mut scene, &clients, "hello");
        scene.get(other, &["/a"]);
        scene.respond("/a", answer(FRESH, "new"));
        assert_eq!(last(&mut scene, other).2, "new", "{wire:?}");
    }
}

/// docs/CACHE.md, rule 15.
#[test]
fn who_comes_after_a_purge_waits_for_those_who_came_after_it() {
    for shows in [false, true] {
        let mut scene = workers(2);
        let clients = crowd(&mut scene, 4);
        let place = scene.place_of("/a");
        let head = Wire::Chunks(5).head(FRESH);
        if shows {
            scene.respond("/a", head.clone() + &Wire::Chunks(5).body("hel"));
        }
        let other = scene.client_of(1);
        scene.send(other, "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n");
        scene.respond("/a", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let later: Vec<usize> = [0, 1, 0, 1].map(|worker| scene.client_of(worker)).to_vec();
        later.iter().for_each(|client| scene.get(*client, &["/a"]));
        // One fetches what is new, at once, though what is void goes on.
        let fetches = scene.times_asked("/a") - 1;
        assert_eq!(fetches, 2, "{shows}");
        scene.respond("/a", head.clone() + &Wire::Chunks(5).body("ne"));
        for client in &later {
            assert_eq!(so_far(&mut scene, *client), "ne", "{shows}");
        }
        scene.respond("/a", "1\r\nw\r\n0\r\n\r\n");
        assert_whole(&mut scene, &later, "new");
        if shows {
            scene.respond_at(place, Wire::Chunks(5).body("lo") + "0\r\n\r\n");
            assert_whole(&mut scene, &clients, "hello");
        }
        let last_one = scene.client_of(0);
        scene.get(last_one, &["/a"]);
        assert_eq!(last(&mut scene, last_one).2, "new", "{shows}");
    }
}

/// What the client has is a whole answer to it, also where it has ended its side.
#[test]
fn one_who_has_ended_its_side_gets_all_of_it_or_a_reset() {
    for breaks in [false, true] {
        let mut scene = workers(2);
        let first = scene.client_of(0);
        scene.get(first, &["/a"]);
        let place = scene.place_of("/a");
        let follows = scene.client_of(1);
        scene.send_and_half_close(follows, "GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
        scene.respond_at(place, Wire::ToClose.head(FRESH) + "hel");
        assert_eq!(so_far(&mut scene, follows), "hel");
        if breaks {
            // What it waits for does not come in `timeouts.fin`.
            scene.advance(600_000);
            assert_eq!(scene.end_of(follows), End::Reset);
        } else {
            scene.respond_at(place, "lo");
            scene.hang_up("/a");
            assert_whole(&mut scene, &[follows], "hello");
        }
    }
}
