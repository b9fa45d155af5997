use std::net::SocketAddr;

use super::*;
use crate::config::model::HealthCheck;
use crate::policy::health::{Availability, Fault};
use crate::shared::{Layout, PoolId, Registration};
use crate::sys::world::{self, Faults, Peer, Server};
use crate::sys::{Poller, clock, memory};

/// What a backend does about a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Answers(&'static str),
    /// In pieces of a few bytes.
    Dribbles(&'static str),
    Hangs,
    Ends,
    Refuses,
}

const FINE: Manner = Manner::Answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
const BROKEN: Manner = Manner::Answers("HTTP/1.1 500 No\r\n\r\n");

struct Host {
    server: Server,
    manner: Manner,
    peers: Vec<(Peer, usize)>,
    /// When each check came, and what it asked.
    asked: Vec<(Micros, String)>,
}

struct Scene {
    segment: Segment,
    checks: Checks,
    poller: Poller,
    wakers: Wakers,
    hosts: Vec<Host>,
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, host as u8], 80))
}

impl Scene {
    /// Backends in pool "default", checked each second unless `configure` says otherwise.
    fn with(count: usize, configure: impl FnOnce(&mut config::Pool)) -> Scene {
        world::reset(3, Faults::default());
        let addresses: Vec<SocketAddr> = (0..count).map(address).collect();
        let mut config = Config::for_backends(&addresses);
        let check =
            HealthCheck { interval: Millis(1000), timeout: Millis(300), ..HealthCheck::default() };
        config.pools[0].health_check = Some(check);
        configure(&mut config.pools[0]);
        let layout = Layout::new(&config, 2);
        let mut segment = Segment::create(memory::share(layout.cells()).unwrap().cells(), layout);
        segment.load_config(&config);
        let mut scene = Scene {
            checks: Checks::new(segment, &config),
            segment,
            poller: Poller::new().unwrap(),
            wakers: Wakers::new(2).unwrap(),
            hosts: Vec::new(),
        };
        config.pools[0].backends.iter().for_each(|backend| scene.add_host_at(backend.address));
        scene
    }

    /// Backends at Unix sockets, `/run/0.sock` and so on.
    fn at_unix_sockets(count: usize, configure: impl FnOnce(&mut config::Pool)) -> Scene {
        Scene::with(count, |pool| {
            for (host, backend) in pool.backends.iter_mut().enumerate() {
                backend.address = format!("unix:/run/{host}.sock").parse().unwrap();
            }
            configure(pool);
        })
    }

    fn add_host(&mut self, host: usize) {
        self.add_host_at(address(host).into());
    }

    fn add_host_at(&mut self, address: config::Endpoint) {
        let server = world::listen(address);
        self.hosts.push(Host { server, manner: FINE, peers: Vec::new(), asked: Vec::new() });
    }

    fn set(&mut self, host: usize, manner: Manner) {
        self.hosts[host].server.refuse(manner == Manner::Refuses);
        self.hosts[host].manner = manner;
    }

    /// Lets time pass, and whatever happens in it.
    fn advance(&mut self, millis: u64) {
        let until = clock::now() + Micros::from(Millis(millis));
        loop {
            self.turn(until);
            if clock::now() >= until && self.poller.events().is_empty() {
                return;
            }
        }
    }

    /// Looks around, and then takes in what happens next, by that time at the latest.
    fn turn(&mut self, until: Micros) {
        let now = clock::now();
        self.checks.look_around(now);
        self.checks.run(&self.poller, 100, &self.wakers, now);
        let next = self.checks.next_deadline().unwrap_or(until).min(until);
        let pause = (next - clock::now()).millis();
        let pause = if pause == Millis(0) && next > now { Millis(1) } else { pause };
        self.poller.wait(Some(pause)).unwrap();
        for event in self.poller.events().to_vec() {
            self.checks.event(event.token - 100, event, &self.wakers, clock::now());
        }
        self.hosts.iter_mut().for_each(Host::turn);
    }

    /// Requests mark one that is down as soon as it is up, before the next look around.
    fn mark_as_soon_as_it_is_up(&mut self, host: usize, event: Seen) {
        let until = clock::now() + Micros::from_secs(20);
        while !self.is_up(host) {
            self.turn(until);
            assert!(clock::now() < until, "never");
        }
        mark(self, host, event);
    }

    fn is_up(&self, host: usize) -> bool {
        self.segment.backend(BackendId(host)).is_up()
    }

    /// How long it takes until the backend is up or not, in milliseconds.
    fn time_until(&mut self, host: usize, up: bool) -> u64 {
        let start = clock::now();
        while self.is_up(host) != up {
            self.advance(10);
            assert!(clock::now() - start < Micros::from_secs(60), "never");
        }
        (clock::now() - start).millis().0
    }

    fn times(&self, host: usize) -> Vec<u64> {
        self.hosts[host].asked.iter().map(|(time, _)| time.millis().0).collect()
    }
}

impl Host {
    fn turn(&mut self) {
        while let Some(peer) = self.server.accept() {
            self.asked.push((clock::now(), String::new()));
            self.peers.push((peer, self.asked.len() - 1));
        }
        let (manner, asked) = (self.manner, &mut self.asked);
        self.peers.retain_mut(|(peer, number)| {
            let text = &mut asked[*number].1;
            let had = text.len();
            text.push_str(&String::from_utf8(peer.receive()).unwrap());
            if peer.seen_end() != world::End::Open {
                return false;
            }
            match manner {
                Manner::Answers(answer) if text.ends_with("\r\n\r\n") && had < text.len() => {
                    peer.send(answer.as_bytes());
                    true
                }
                Manner::Dribbles(answer) if text.contains("\r\n\r\n") => {
                    // What was sent is counted behind the request.
                    let done = text.split("\r\n\r\n").nth(1).unwrap().len();
                    let next = &answer[done..(done + 5).min(answer.len())];
                    peer.send(next.as_bytes());
                    text.push_str(&"x".repeat(next.len()));
                    true
                }
                Manner::Ends => false,
                _ => true,
            }
        });
    }
}

#[test]
fn a_check_is_a_get_over_a_connection_of_its_own() {
    let mut scene = Scene::with(1, |pool| {
        let check = pool.health_check.as_mut().unwrap();
        check.path = Some(String::from("/up"));
        check.host = Some(String::from("shop.example"));
    });
    scene.advance(3_500);
    assert_eq!(scene.times(0).len(), 4);
    for (_, text) in &scene.hosts[0].asked {
        assert_eq!(
            text,
            "GET /up HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: httplb-check\r\n\
             Connection: close\r\n\r\n"
        );
    }
    assert_eq!(world::open_sockets(), 0);
    let last = scene.segment.backend(BackendId(0)).last_check().unwrap();
    assert_eq!((last.passed, last.status), (true, 200));
    assert!(world::messages().is_empty());
}

#[test]
fn each_backend_has_one_check_an_interval_and_they_are_spread_over_it() {
    let mut scene = Scene::with(10, |_| ());
    scene.advance(20_000);
    let mut starts = Vec::new();
    for host in 0..10 {
        let times = scene.times(host);
        assert!(times[0] - scene.times(0)[0] < 10, "a new one is checked at once");
        assert!((20..=22).contains(&times.len()), "{times:?}");
        for pair in times[1..].windows(2) {
            assert!((999..=1010).contains(&(pair[1] - pair[0])), "{times:?}");
        }
        starts.push(times[5] % 1000);
    }
    starts.sort();
    let gaps = starts.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().all(|gap| (90..=110).contains(&gap)), "{starts:?}");
}

#[test]
fn a_backend_is_out_in_time_however_it_fails_and_back_in_time() {
    let timeout = 300;
    for (failure, grace) in
        [(Manner::Refuses, 0), (BROKEN, 0), (Manner::Ends, 0), (Manner::Hangs, 3 * timeout)]
    {
        let mut scene = Scene::with(2, |_| ());
        scene.advance(5_300);
        scene.set(1, failure);
        let out = scene.time_until(1, false);
        assert!(out <= 2_000 + grace + 50, "{failure:?}: out after {out} ms");
        assert!(scene.is_up(0));
        scene.advance(10_000);
        assert!(!scene.is_up(1));
        scene.set(1, FINE);
        let back = scene.time_until(1, true);
        assert!(back <= 1_500 + 50, "{failure:?}: back after {back} ms");
        let messages: Vec<String> = world::messages().into_iter().map(|(_, text)| text).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].contains("backend 10.0.1.1:80 is down: "), "{messages:?}");
        assert!(messages[0].ends_with("; 1/2 backends up"), "{messages:?}");
        assert!(messages[1].contains("is up: its check was answered 200; 2/2"), "{messages:?}");
    }
}

#[test]
fn fewer_failures_than_fall_change_nothing() {
    let mut scene = Scene::with(1, |_| ());
    for _ in 0..20 {
        scene.advance(1_000);
        scene.set(0, BROKEN);
        let before = scene.hosts[0].asked.len();
        while scene.hosts[0].asked.len() < before + 2 {
            scene.advance(10);
        }
        scene.set(0, FINE);
    }
    assert!(scene.is_up(0));
    assert!(world::messages().is_empty());
}

#[test]
fn an_answer_may_come_in_pieces() {
    let mut scene = Scene::with(1, |_| ());
    scene.set(0, Manner::Dribbles("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n"));
    scene.advance(5_000);
    let cells = scene.segment.backend(BackendId(0));
    assert_eq!(cells.check_failures(), 0);
    assert!(cells.last_check().unwrap().passed);
}

#[test]
fn without_a_path_a_connection_is_enough() {
    let mut scene = Scene::with(1, |pool| pool.health_check.as_mut().unwrap().path = None);
    scene.set(0, Manner::Hangs);
    scene.advance(5_000);
    assert!(scene.is_up(0));
    assert!(scene.hosts[0].asked.iter().all(|(_, text)| text.is_empty()));
    scene.set(0, Manner::Refuses);
    assert!(scene.time_until(0, false) <= 2_050);
}

fn mark(scene: &Scene, host: usize, event: Seen) {
    let rules = Rules { max_fails: 1, fail_timeout: Millis(10_000) };
    let change = scene.segment.observe(BackendId(host), event, clock::now().millis(), &rules);
    assert_eq!(change, Some(Change::Down));
}

#[test]
fn a_mark_by_requests_brings_a_check_at_once() {
    let mut scene = Scene::with(2, |_| ());
    scene.advance(5_300);
    let before = scene.hosts[0].asked.len();
    mark(&scene, 0, Seen::Failed(Fault::Refused));
    assert!(!scene.is_up(0));
    scene.advance(20);
    assert_eq!(scene.hosts[0].asked.len(), before + 1);
    assert!(scene.is_up(0), "it passed, so the mark is refuted");
    scene.advance(10_000);
    let checks = scene.hosts[0].asked.len() - before - 1;
    assert!((9..=11).contains(&checks), "{checks}");
}

#[test]
fn without_checks_only_those_that_are_out_are_probed_each_second() {
    let mut scene = Scene::with(3, |pool| pool.health_check = None);
    scene.advance(5_000);
    assert!(scene.hosts.iter().all(|host| host.asked.is_empty()));
    scene.set(1, Manner::Refuses);
    mark(&scene, 1, Seen::Failed(Fault::Refused));
    mark(&scene, 2, Seen::Failed(Fault::ResponseTimedOut));
    scene.advance(5_000);
    assert!(!scene.is_up(1) && !scene.is_up(2), "one refuses, the other is out for its time");
    let probes = scene.hosts[2].asked.len();
    assert!((5..=6).contains(&probes), "{probes}");
    scene.set(1, Manner::Hangs);
    assert!(scene.time_until(1, true) <= 1_050);
    assert!(scene.time_until(2, true) <= 6_050);
    let (_, text) = &world::messages()[0];
    assert!(text.contains("is up: it takes connections; 2/3 backends up"), "{text}");
}

#[test]
fn one_that_is_marked_again_before_anybody_looks_is_probed_again() {
    let mut scene = Scene::with(2, |pool| pool.health_check = None);
    mark(&scene, 0, Seen::Failed(Fault::Reset));
    scene.mark_as_soon_as_it_is_up(0, Seen::Failed(Fault::Reset));
    let probes = scene.hosts[0].asked.len();
    scene.advance(5_000);
    assert!(scene.hosts[0].asked.len() >= probes + 5);
    assert!(scene.time_until(0, true) <= 20_050);
}

#[test]
fn one_that_is_marked_again_is_checked_at_once_also_before_anybody_looks() {
    let mut scene = Scene::with(2, |_| ());
    scene.advance(1_300);
    mark(&scene, 0, Seen::Failed(Fault::Refused));
    scene.mark_as_soon_as_it_is_up(0, Seen::Failed(Fault::Refused));
    assert!(scene.time_until(0, true) <= 20);
}

#[test]
fn of_one_that_fails_its_checks_on_trial_the_trial_is_not_told() {
    let mut scene = Scene::with(2, |_| ());
    mark(&scene, 0, Seen::Failed(Fault::Reset));
    assert!(scene.time_until(0, true) <= 11_050);
    scene.set(0, Manner::Refuses);
    assert!(scene.time_until(0, false) <= 5_000);
    let messages = world::messages();
    let (_, text) = messages.last().unwrap();
    assert!(text.ends_with("is down: it cannot be connected to; 1/2 backends up"), "{text}");
}

#[test]
fn that_one_on_trial_has_a_tenth_is_said_where_others_are_up() {
    for (others_are_up, told) in [
        (true, ", and is on trial with a tenth of its share; 2/2"),
        (false, ", and is on trial; 1/2"),
    ] {
        let mut scene = Scene::with(2, |pool| pool.health_check = None);
        mark(&scene, 0, Seen::Failed(Fault::Reset));
        if !others_are_up {
            scene.segment.set_admin(BackendId(1), AdminState::Maint, clock::now().millis());
        }
        assert!(scene.time_until(0, true) <= 11_050);
        let (_, text) = &world::messages()[0];
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn who_registers_is_checked_at_once_and_removed_when_its_checks_fail() {
    let mut scene = Scene::with(1, |_| ());
    scene.advance(5_000);
    scene.add_host(1);
    let entry = Registration::at(address(1).into());
    let slot = scene.segment.register(PoolId(0), entry).unwrap();
    scene.advance(20);
    assert_eq!(scene.hosts[1].asked.len(), 1);
    scene.set(1, Manner::Refuses);
    scene.advance(2_100);
    assert_eq!(scene.segment.backend(slot).admin(), AdminState::Leaving);
    let messages = world::messages();
    assert!(messages[1].1.contains("10.0.1.1:80 is removed: it cannot be"), "{messages:?}");
    let before = scene.hosts[1].asked.len();
    scene.advance(5_000);
    assert_eq!(scene.hosts[1].asked.len(), before);
}

#[test]
fn who_registers_again_while_it_is_leaving_is_checked_again() {
    let mut scene = Scene::with(1, |_| ());
    scene.add_host(1);
    let entry = Registration::at(address(1).into());
    let slot = scene.segment.register(PoolId(0), entry).unwrap();
    scene.advance(20);
    scene.set(1, Manner::Refuses);
    while scene.segment.backend(slot).admin() != AdminState::Leaving {
        scene.advance(1);
    }
    // At once, before anybody has looked around.
    assert_eq!(scene.segment.register(PoolId(0), entry), Some(slot));
    scene.set(1, FINE);
    let before = scene.hosts[1].asked.len();
    scene.advance(3_500);
    assert!(scene.hosts[1].asked.len() >= before + 3, "{}", scene.hosts[1].asked.len());
    assert!(scene.is_up(1));
}

#[test]
fn a_backend_under_maintenance_is_not_checked_and_afterwards_at_once() {
    let mut scene = Scene::with(1, |_| ());
    scene.advance(1_500);
    scene.segment.set_admin(BackendId(0), AdminState::Maint, clock::now().millis());
    scene.advance(20);
    let before = scene.hosts[0].asked.len();
    scene.advance(5_000);
    assert_eq!(scene.hosts[0].asked.len(), before);
    scene.segment.set_admin(BackendId(0), AdminState::Ready, clock::now().millis());
    scene.advance(20);
    assert_eq!(scene.hosts[0].asked.len(), before + 1);
    scene.segment.set_admin(BackendId(0), AdminState::Drain, clock::now().millis());
    scene.advance(3_020);
    assert_eq!(scene.hosts[0].asked.len(), before + 4);
    assert_eq!(scene.segment.may_pick(BackendId(0)), Availability::Drain);
}

#[test]
fn after_a_reload_checks_go_on_in_their_rhythm() {
    let mut scene = Scene::with(1, |_| ());
    scene.advance(1_400);
    let mut config = Config::for_backends(&[address(0)]);
    config.pools[0].health_check =
        Some(HealthCheck { interval: Millis(1000), ..HealthCheck::default() });
    scene.checks = Checks::new(scene.segment, &config);
    scene.advance(500);
    assert_eq!(scene.hosts[0].asked.len(), 2);
    scene.advance(200);
    assert_eq!(scene.hosts[0].asked.len(), 3);
}

#[test]
fn after_a_reload_a_state_that_was_changing_goes_on_to_change() {
    let mut scene = Scene::with(1, |_| ());
    scene.advance(1_400);
    scene.set(0, BROKEN);
    while !scene.segment.backend(BackendId(0)).check().is_changing() {
        scene.advance(10);
    }
    let mut config = Config::for_backends(&[address(0)]);
    config.pools[0].health_check =
        Some(HealthCheck { interval: Millis(60_000), ..HealthCheck::default() });
    scene.checks = Checks::new(scene.segment, &config);
    assert!(scene.time_until(0, false) <= 1_050);
}

#[test]
fn many_backends_that_hang_are_checked_as_well() {
    let mut scene = Scene::with(200, |_| ());
    for host in 0..200 {
        scene.set(host, Manner::Hangs);
    }
    scene.advance(2_500);
    assert!((0..200).all(|host| !scene.is_up(host)));
    for host in 0..200 {
        scene.set(host, FINE);
    }
    scene.advance(1_600);
    assert!((0..200).all(|host| scene.is_up(host)));
}

#[test]
fn a_process_without_descriptors_speaks_against_nobody() {
    let mut scene = Scene::with(5, |_| ());
    scene.advance(3_000);
    let open = world::open_descriptors();
    world::change_faults(|faults| faults.descriptors = open);
    scene.advance(10_000);
    assert!((0..5).all(|host| scene.is_up(host)));
    let before = scene.hosts[0].asked.len();
    world::change_faults(|faults| faults.descriptors = open + 100);
    scene.advance(1_000);
    assert!(scene.hosts[0].asked.len() > before);
}

#[test]
fn a_backend_at_a_unix_socket_is_checked_by_the_name_localhost() {
    let mut scene = Scene::at_unix_sockets(1, |_| ());
    scene.advance(1500);
    let (_, asked) = &scene.hosts[0].asked[0];
    assert!(asked.starts_with("GET / HTTP/1.1\r\nHost: localhost\r\n"), "{asked}");
    assert!(scene.is_up(0));
    scene.set(0, BROKEN);
    assert!(scene.time_until(0, false) <= 2_550);
    scene.set(0, FINE);
    scene.time_until(0, true);
    scene.set(0, Manner::Refuses);
    scene.time_until(0, false);
}

#[test]
fn a_connection_by_a_unix_socket_is_enough_however_soon_it_ends() {
    let mut scene = Scene::at_unix_sockets(1, |pool| {
        pool.health_check.as_mut().unwrap().path = None;
    });
    scene.set(0, Manner::Ends);
    scene.advance(5_000);
    assert!(scene.is_up(0));
    world::remove_file("/run/0.sock");
    scene.time_until(0, false);
}

#[test]
fn a_check_waits_for_room_in_a_full_queue_as_long_as_it_may_take() {
    let mut scene = Scene::at_unix_sockets(1, |_| ());
    scene.advance(1100);
    let cells = scene.segment.backend(BackendId(0));
    let before = cells.last_check().unwrap().at;
    scene.hosts[0].server.ignore(true);
    scene.advance(1000);
    assert_eq!(cells.last_check().unwrap().at, before, "it waits");
    scene.hosts[0].server.ignore(false);
    scene.advance(100);
    let last = cells.last_check().unwrap();
    assert!(last.at > before && last.passed && last.took < Micros(300_000), "{last:?}");
    scene.hosts[0].server.ignore(true);
    assert!(scene.time_until(0, false) > 1000, "three checks, of 300 ms each");
    let last = cells.last_check().unwrap();
    assert!(!last.passed && last.took >= Micros(300_000), "{last:?}");
}

#[test]
fn that_a_check_may_not_connect_is_told_once_until_it_may() {
    let mut scene = Scene::at_unix_sockets(1, |_| ());
    let count = || {
        let all = world::messages().into_iter().map(|(_, message)| message);
        all.filter(|message| message.contains("may not connect: its mode is 0600")).count()
    };
    scene.hosts[0].server.deny(true);
    scene.advance(10_000);
    assert_eq!((scene.is_up(0), count()), (false, 1));
    scene.hosts[0].server.deny(false);
    scene.time_until(0, true);
    scene.hosts[0].server.deny(true);
    scene.advance(3_000);
    assert_eq!(count(), 2);
}
