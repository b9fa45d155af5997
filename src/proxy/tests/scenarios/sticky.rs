//! Clients that are kept at their backends by a cookie.

use std::net::SocketAddr;

use crate::config::Sticky;
use crate::mem::time::Millis;
use crate::policy::health::{AdminState, Fault, HealthEvent, Rules};
use crate::proxy::tests::scene::Scene;
use crate::shared::BackendId;
use crate::sys::clock;

fn scene(backends: usize) -> Scene {
    Scene::with(backends, |config| config.pools[0].sticky = Some(Sticky::named("s")), |_| ())
}

/// A client asks for `path` with the tag of backend `host`, or another value.
fn ask(scene: &mut Scene, client: usize, path: &str, value: &str) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: s={value}; a=b\r\n\r\n");
    scene.send(client, text);
}

fn tag(scene: &Scene, host: usize) -> String {
    let tag = scene.service.proxy.upstream.backends()[host].tag;
    String::from_utf8(tag.digits().to_vec()).unwrap()
}

/// The backend that a request with the tag of backend `host` comes to, and the cookie that its
/// answer sets, if any.
fn asked_with(scene: &mut Scene, path: &str, host: usize) -> (usize, Option<String>) {
    let value = tag(scene, host);
    let client = scene.client();
    ask(scene, client, path, &value);
    let place = scene.place_of(path).0;
    assert_eq!(scene.request(path).head.get("cookie"), Some("a=b"));
    scene.answer(path, "");
    let message = scene.messages(client).pop().expect("an answer");
    (place, message.head.get("set-cookie").map(|line| line[2..18].to_owned()))
}

fn set_admin(scene: &Scene, host: usize, admin: AdminState) {
    scene.service.proxy.segment().set_admin(BackendId(host), admin, clock::now().millis());
}

#[test]
fn a_drained_backend_keeps_its_sticky_clients_and_gets_no_others() {
    let mut scene = scene(2);
    set_admin(&scene, 0, AdminState::Drain);
    for round in 0..3 {
        assert_eq!(asked_with(&mut scene, &format!("/{round}"), 0), (0, None));
        let client = scene.client();
        let path = format!("/new{round}");
        scene.get(client, &[&path]);
        assert_eq!(scene.place_of(&path).0, 1);
        scene.answer(&path, "");
    }
    set_admin(&scene, 0, AdminState::Ready);
    assert_eq!(asked_with(&mut scene, "/ready", 0), (0, None));
}

#[test]
fn a_backend_that_the_operator_took_out_or_that_leaves_keeps_nobody() {
    for admin in [AdminState::Maint, AdminState::Leaving] {
        let mut scene = scene(2);
        set_admin(&scene, 0, admin);
        let other = tag(&scene, 1);
        assert_eq!(asked_with(&mut scene, "/", 0), (1, Some(other)), "{admin:?}");
    }
}

#[test]
fn a_drained_backend_that_is_down_keeps_nobody() {
    let mut scene = Scene::with(
        2,
        |config| {
            config.pools[0].sticky = Some(Sticky::named("s"));
            config.pools[0].max_fails = 1;
        },
        |_| (),
    );
    set_admin(&scene, 0, AdminState::Drain);
    scene.refuse(0, true);
    let other = tag(&scene, 1);
    for path in ["/first", "/second"] {
        assert_eq!(asked_with(&mut scene, path, 0), (1, Some(other.clone())));
    }
}

#[test]
fn a_sticky_request_that_its_backend_fails_is_repeated_elsewhere_and_moved() {
    let mut scene = scene(2);
    let (value, other) = (tag(&scene, 0), tag(&scene, 1));
    let client = scene.client();
    ask(&mut scene, client, "/", &value);
    assert_eq!(scene.place_of("/").0, 0);
    scene.hang_up("/");
    assert_eq!(scene.place_of("/").0, 1);
    scene.answer("/", "");
    let message = scene.messages(client).pop().expect("an answer");
    assert!(message.head.get("set-cookie").expect("a cookie").contains(&other));
}

#[test]
fn who_waits_for_any_backend_goes_before_who_wants_one_of_them() {
    let mut scene = Scene::with(
        1,
        |config| {
            config.pools[0].sticky = Some(Sticky::named("s"));
            config.pools[0].backends[0].max_connections = 1;
        },
        |_| (),
    );
    let value = tag(&scene, 0);
    let [busy, early, late] = [scene.client(), scene.client(), scene.client()];
    scene.get(busy, &["/busy"]);
    scene.get(early, &["/early"]);
    ask(&mut scene, late, "/late", &value);
    for path in ["/busy", "/early", "/late"] {
        assert_eq!(scene.asked().last().map(String::as_str), Some(path));
        scene.answer(path, "");
    }
    let message = scene.messages(late).pop().expect("an answer");
    assert_eq!(message.head.get("set-cookie"), None);
}

#[test]
fn a_drained_backends_own_client_does_not_stand_in_line_behind_others() {
    let mut scene = Scene::with(
        2,
        |config| {
            config.pools[0].sticky = Some(Sticky::named("s"));
            config.pools[0].backends[1].max_connections = 1;
        },
        |_| (),
    );
    set_admin(&scene, 0, AdminState::Drain);
    let value = tag(&scene, 0);
    let [busy, waiting, own] = [scene.client(), scene.client(), scene.client()];
    scene.get(busy, &["/busy"]);
    scene.get(waiting, &["/waiting"]);
    ask(&mut scene, own, "/own", &value);
    assert_eq!(scene.asked(), ["/busy", "/own"]);
    assert_eq!(scene.place_of("/own").0, 0);
    for path in ["/own", "/busy", "/waiting"] {
        scene.answer(path, "");
    }
}

#[test]
fn a_backend_that_came_a_moment_ago_is_known_by_its_cookie() {
    let mut scene = scene(2);
    let address = SocketAddr::from(([10, 0, 1, 9], 80));
    let tag = scene.service.proxy.settings.sticky_key.tag("default", address.into());
    let value = String::from_utf8(tag.digits().to_vec()).unwrap();
    let client = scene.client();
    ask(&mut scene, client, "/before", &value);
    scene.answer("/before", "");
    let sets = |scene: &mut Scene| {
        scene.messages(client).pop().expect("an answer").head.get("set-cookie").is_some()
    };
    assert!(sets(&mut scene));
    scene.join(address);
    ask(&mut scene, client, "/after", &value);
    assert_eq!(scene.place_of("/after").0, 2);
    scene.answer("/after", "");
    assert!(!sets(&mut scene));
}

#[test]
fn a_backend_on_trial_has_one_request_of_its_sticky_clients_at_a_time() {
    let mut scene = scene(2);
    let value = tag(&scene, 0);
    let segment = scene.service.proxy.segment();
    let rules = Rules { max_fails: 1, fail_timeout: Millis(0) };
    let now = clock::now().millis();
    for event in [HealthEvent::Failed(Fault::Reset), HealthEvent::ProbeSucceeded] {
        segment.observe(BackendId(0), event, now, &rules);
    }
    let clients: Vec<usize> = (0..6).map(|_| scene.client()).collect();
    for (number, client) in clients.iter().enumerate() {
        ask(&mut scene, *client, &format!("/{number}"), &value);
    }
    assert_eq!(scene.place_of("/0").0, 0);
    let elsewhere = |number: &usize| scene.place_of(&format!("/{number}")).0 == 1;
    let elsewhere: Vec<usize> = (1..6).filter(elsewhere).collect();
    assert!(elsewhere.len() >= 4, "but for one whose turn it was: {elsewhere:?}");
    for number in elsewhere {
        scene.answer(&format!("/{number}"), "");
        let message = scene.messages(clients[number]).pop().expect("an answer");
        assert_eq!(message.head.get("set-cookie"), None, "it keeps its cookie");
    }
    scene.answer("/0", "");
    for path in ["/well", "/too"] {
        assert_eq!(asked_with(&mut scene, path, 0), (0, None));
    }
}
