//! What requests find out about a backend: what counts as a failure, what takes it out, and how it
//! comes back.

use crate::config::{self, Config, Overrides, Statuses};
use crate::mem::time::Millis;
use crate::policy::health::{HealthEvent, Rules};
use crate::proxy::tests::scene::Scene;
use crate::shared::{BackendId, PoolId};
use crate::sys::clock;
use crate::sys::world;

fn up(scene: &Scene) -> usize {
    scene.seats.segment.count_up(PoolId(0)).0
}

fn is_up(scene: &Scene, host: usize) -> bool {
    scene.seats.segment.backend(BackendId(host)).is_up()
}

fn why(scene: &Scene, host: usize) -> String {
    scene.seats.segment.backend(BackendId(host)).why().unwrap_or_default()
}

/// How backend 0 answers; the other does so well.
#[derive(Clone, Copy, Debug)]
enum Does {
    Resets,
    Closes,
    Garbles,
    TalksTooLong,
    Cuts,
    Says(u16),
    Well,
}

/// A client of its own asks, so that a cut is nobody else's. Whether backend 0 was asked first.
fn ask(scene: &mut Scene, path: &str, does: Does) -> bool {
    let client = scene.client();
    scene.get(client, &[path]);
    let is_first = scene.place_of(path).0 == 0;
    if is_first {
        answer(scene, path, does);
    }
    // It is repeated where it may be.
    if scene.place_of(path).0 == 1 {
        scene.answer(path, "");
    }
    scene.leave(client);
    is_first
}

fn answer(scene: &mut Scene, path: &str, does: Does) {
    let place = scene.place_of(path);
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(3100));
    match does {
        Does::Resets => scene.reset(path),
        Does::Closes => scene.hang_up(path),
        Does::Garbles => drop(scene.respond(path, "SSH-2.0-x\r\n\r\n")),
        Does::TalksTooLong => drop(scene.respond(path, long)),
        Does::Cuts => {
            scene.respond(path, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha");
            scene.reset_at(place);
        }
        Does::Says(status) => {
            scene.respond(path, format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nno"));
        }
        Does::Well => scene.answer(path, "well"),
    }
}

/// Asks until backend 0 was asked so often, each time a while after the last.
fn fail(scene: &mut Scene, round: &str, times: usize, does: Does) {
    let (mut asked, mut number) = (0, 0);
    while asked < times {
        number += 1;
        assert!(number < 1000, "backend 0 is asked no more");
        asked += usize::from(ask(scene, &format!("/{round}{number}"), does));
        scene.advance(1);
    }
}

fn failing_status(config: &mut Config) {
    let text = r#"{"backend_servers": [], "fail_status": [500, "4xx"]}"#;
    let read = config::load(text, &Overrides::default()).expect("a configuration");
    let statuses: Option<Statuses> = read.pools[0].fail_status.clone();
    config.pools[0].fail_status = statuses;
}

/// No connection is used again: a stale one is no failure.
fn scene() -> Scene {
    let configure = |config: &mut Config| {
        failing_status(config);
        config.timeouts.backend_idle = Millis(0);
    };
    Scene::with(2, configure, |_| ())
}

const ALL: [(Does, &str); 6] = [
    (Does::Resets, "3 connections in a row were reset"),
    (Does::Closes, "3 connections in a row were closed without a response"),
    (Does::Garbles, "3 responses in a row were malformed"),
    (Does::TalksTooLong, "3 responses in a row had a head above the limit"),
    (Does::Cuts, "3 responses in a row were cut short"),
    (Does::Says(500), "3 responses in a row had a status of fail_status"),
];

#[test]
fn three_failures_in_a_row_of_each_kind_take_it_out_and_the_journal_says_why() {
    for (does, reason) in ALL {
        let mut scene = scene();
        fail(&mut scene, "", 2, does);
        assert_eq!(up(&scene), 2, "{does:?}");
        fail(&mut scene, "third", 1, does);
        assert!(!is_up(&scene, 0) && is_up(&scene, 1), "{does:?}");
        assert_eq!(why(&scene, 0), reason);
        let told =
            format!("backend 10.0.1.0:80 is down: {reason}, and it is out for 10s at least; 1/2");
        let messages = world::messages();
        assert!(messages.iter().any(|(_, text)| text.contains(&told)), "{told}\n{messages:?}");
        for number in 0..6 {
            assert!(!ask(&mut scene, &format!("/out{number}"), does), "it is asked no more");
        }
    }
}

#[test]
fn a_good_response_in_between_begins_the_row_anew() {
    for (does, _) in ALL {
        let mut scene = scene();
        for round in 0..6 {
            fail(&mut scene, &format!("bad{round}-"), 2, does);
            fail(&mut scene, &format!("good{round}-"), 1, Does::Well);
        }
        assert_eq!(up(&scene), 2, "{does:?}");
        fail(&mut scene, "last", 3, does);
        assert_eq!(up(&scene), 1, "{does:?}");
    }
}

#[test]
fn other_statuses_are_no_failures_and_those_that_are_pass_all_the_same() {
    let mut scene = scene();
    fail(&mut scene, "", 20, Does::Says(503));
    assert_eq!(up(&scene), 2);
    let client = scene.client();
    for number in 0..12 {
        let path = format!("/x{number}");
        scene.get(client, &[&path]);
        let host = scene.place_of(&path).0;
        answer(&mut scene, &path, if host == 0 { Does::Says(404) } else { Does::Well });
        let expected = if host == 0 { 404 } else { 200 };
        assert_eq!(scene.last_error(client).0, expected);
        assert_eq!(scene.times_asked(&path), 1);
        scene.advance(1);
    }
    assert_eq!(up(&scene), 1);
}

#[test]
fn of_a_backend_that_fails_every_second_request_those_under_way_together_count_once() {
    let mut scene = Scene::with(2, |config| config.max_connections = 40, |_| ());
    let clients: Vec<usize> = (0..20).map(|_| scene.client()).collect();
    let path = |number: usize| format!("/{number}");
    clients.iter().enumerate().for_each(|(number, client)| scene.get(*client, &[&path(number)]));
    let at_first: Vec<usize> =
        (0..20).filter(|number| scene.place_of(&path(*number)).0 == 0).collect();
    assert_eq!(at_first.len(), 10);
    scene.advance(5);
    // It is quick to reset, and its good responses come later.
    at_first.iter().step_by(2).for_each(|number| scene.reset(&path(*number)));
    assert_eq!(up(&scene), 2);
    (0..20).for_each(|number| scene.answer(&path(number), ""));
    assert_eq!(up(&scene), 2);
}

#[test]
fn failures_that_all_workers_see_add_up() {
    let mut scene = Scene::of_workers(3, 2, |_| (), |_| ());
    for number in 0.. {
        let client = scene.client_of(number % 3);
        let path = format!("/{number}");
        scene.get(client, &[&path]);
        if scene.place_of(&path).0 == 0 {
            scene.reset(&path);
        }
        scene.answer(&path, "");
        scene.leave(client);
        scene.advance(5);
        if up(&scene) == 1 {
            break;
        }
        assert!(number < 6, "three failures are enough");
    }
    assert_eq!(why(&scene, 0), "3 connections in a row were reset");
}

#[test]
fn a_stale_connection_is_no_failure() {
    let mut scene = Scene::with(2, |config| config.pools[0].max_fails = 1, |_| ());
    let client = scene.client();
    for number in 0..6 {
        ["a", "b"].iter().for_each(|name| scene.warm_up(client, &format!("/{name}{number}")));
        let path = format!("/x{number}");
        scene.get(client, &[&path]);
        scene.reset(&path);
        scene.answer(&path, "");
        assert_eq!(scene.times_asked(&path), 2, "it was repeated");
    }
    assert_eq!(up(&scene), 2);
}

#[test]
fn the_last_one_that_is_up_stays_whatever_it_does() {
    for (does, _) in ALL {
        let mut scene = Scene::with(1, failing_status, |_| ());
        for number in 0..8 {
            assert!(ask(&mut scene, &format!("/{number}"), does));
            scene.advance(1);
        }
        assert_eq!(up(&scene), 1, "{does:?}");
    }
}

/// The control process can connect to backend 0. Whether it is up then.
fn probe(scene: &Scene) -> bool {
    let rules = Rules { max_fails: 3, fail_timeout: Millis(10_000) };
    let now = clock::now().millis();
    scene.seats.segment.observe(BackendId(0), HealthEvent::ProbeSucceeded, now, &rules);
    is_up(scene, 0)
}

#[test]
fn it_comes_back_on_trial_with_a_tenth_of_its_share_which_grows_once_it_has_answered() {
    let mut scene = scene();
    fail(&mut scene, "", 3, Does::Resets);
    scene.advance(9_900);
    assert!(!probe(&scene), "not before fail_timeout");
    scene.advance(200);
    assert!(probe(&scene));
    let share = |scene: &mut Scene, round: &str, count: usize| {
        (0..count).filter(|number| ask(scene, &format!("/{round}{number}"), Does::Well)).count()
    };
    let asked = share(&mut scene, "trial", 22);
    assert!((1..=3).contains(&asked), "{asked} of 22, and not half of them");
    scene.advance(2_600);
    let asked = share(&mut scene, "growing", 150);
    assert!((40..=60).contains(&asked), "{asked} of 150: half of its share");
    scene.advance(5_000);
    assert_eq!(share(&mut scene, "all", 20), 10);
}

#[test]
fn the_only_primary_has_a_tenth_beside_the_backups_while_it_is_on_trial() {
    let configure = |config: &mut Config| {
        config.pools[0].backends[1].backup = true;
        config.max_connections = 100;
        config.timeouts.backend_idle = Millis(0);
    };
    let mut scene = Scene::with(2, configure, |_| ());
    fail(&mut scene, "", 3, Does::Resets);
    scene.advance(10_000);
    assert!(probe(&scene));
    // It takes them, and says nothing.
    let asked = |scene: &mut Scene, round: &str| {
        let paths: Vec<String> = (0..22).map(|number| format!("/{round}{number}")).collect();
        for path in &paths {
            let client = scene.client();
            scene.get(client, &[path]);
        }
        paths.into_iter().filter(|path| scene.place_of(path).0 == 0).collect::<Vec<String>>()
    };
    let trial = asked(&mut scene, "trial");
    assert!((1..=3).contains(&trial.len()), "{trial:?}");
    scene.answer(&trial[0], "well");
    assert_eq!(asked(&mut scene, "proven").len(), 22, "it is a primary, and works");
}

#[test]
fn on_trial_the_first_failure_takes_it_out_for_twice_as_long() {
    for (does, _) in ALL {
        let mut scene = scene();
        fail(&mut scene, "", 3, does);
        scene.advance(10_000);
        assert!(probe(&scene));
        fail(&mut scene, "again", 1, does);
        assert!(
            !is_up(&scene, 0) && why(&scene, 0).ends_with("as soon as it was back"),
            "{does:?}"
        );
        scene.advance(19_900);
        assert!(!probe(&scene));
        scene.advance(200);
        assert!(probe(&scene));
        fail(&mut scene, "well", 1, Does::Well);
        fail(&mut scene, "bad", 2, does);
        assert!(is_up(&scene, 0), "it has shown that it is well: {does:?}");
    }
}

#[test]
fn a_response_that_was_begun_before_the_trial_does_not_end_it() {
    let mut scene = Scene::with_backends(2);
    let client = scene.client();
    scene.send(client, "POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    if scene.place_of("/old").0 == 1 {
        scene.answer("/old", "");
        scene.send(client, "POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    }
    assert_eq!(scene.place_of("/old").0, 0);
    fail(&mut scene, "", 3, Does::Resets);
    scene.advance(10_000);
    assert!(probe(&scene));
    scene.answer("/old", "");
    assert!(scene.seats.segment.backend(BackendId(0)).passive().is_on_trial());
}
