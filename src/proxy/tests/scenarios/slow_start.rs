//! The share of a backend that came up a while ago.

use crate::mem::time::Millis;
use crate::policy::health::AdminState;
use crate::proxy::tests::scene::Scene;
use crate::shared::BackendId;
use crate::sys::clock;

fn scene(backends: usize) -> Scene {
    Scene::with(backends, |config| config.pools[0].slow_start = Millis(9000), |_| ())
}

fn set_admin(scene: &Scene, host: usize, admin: AdminState) {
    scene.service.proxy.segment().set_admin(BackendId(host), admin, clock::now().millis());
}

/// How many of `count` requests come to backend 0.
fn share_of_first(scene: &mut Scene, count: usize) -> usize {
    let client = scene.client();
    let mut share = 0;
    for number in 0..count {
        let path = format!("/{number}");
        scene.get(client, &[&path]);
        share += usize::from(scene.place_of(&path).0 == 0);
        scene.answer(&path, "");
    }
    scene.leave(client);
    share
}

#[test]
fn a_backend_that_comes_back_gets_a_tenth_of_its_share_and_then_more_and_more() {
    let mut scene = scene(2);
    scene.advance(20_000);
    assert_eq!(share_of_first(&mut scene, 20), 10);
    set_admin(&scene, 0, AdminState::Maint);
    assert_eq!(share_of_first(&mut scene, 20), 0);
    set_admin(&scene, 0, AdminState::Ready);
    assert_eq!(share_of_first(&mut scene, 22), 2);
    scene.advance(990);
    assert_eq!(share_of_first(&mut scene, 22), 2);
    scene.advance(20);
    assert_eq!(share_of_first(&mut scene, 24), 4, "two tenths");
    scene.advance(3000);
    assert_eq!(share_of_first(&mut scene, 30), 10, "five tenths");
    scene.advance(5000);
    assert_eq!(share_of_first(&mut scene, 20), 10);
}

#[test]
fn backends_that_come_up_together_have_equal_shares() {
    let mut scene = scene(2);
    assert_eq!(share_of_first(&mut scene, 20), 10, "at the start");
    scene.advance(20_000);
    for host in [0, 1] {
        set_admin(&scene, host, AdminState::Maint);
        set_admin(&scene, host, AdminState::Ready);
    }
    assert_eq!(share_of_first(&mut scene, 20), 10);
}

#[test]
fn one_that_registers_itself_starts_slowly_beside_those_that_are_there() {
    let mut scene = scene(1);
    scene.advance(20_000);
    scene.join(([10, 0, 1, 9], 80).into());
    assert_eq!(share_of_first(&mut scene, 22), 20);
    scene.advance(9_000);
    assert_eq!(share_of_first(&mut scene, 22), 11);
}
