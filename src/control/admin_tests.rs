use super::*;
use crate::config::Endpoint;
use crate::mem::time::Millis;
use crate::sys::clock;
use crate::sys::world::{self, End, Faults, Peer};

/// Answers each command with its name, but for a reload, whose outcome comes later, and the
/// metrics, which are long.
#[derive(Default)]
struct Echo {
    commands: Vec<Command>,
}

impl ApiHandler for Echo {
    fn handle(&mut self, command: Command) -> CommandOutcome {
        self.commands.push(command.clone());
        match command {
            Command::Reload => CommandOutcome::Later(Pending::Reload),
            Command::Metrics => CommandOutcome::Done(ApiResponse::json(200, "m".repeat(1 << 20))),
            other => CommandOutcome::Done(ApiResponse::json(200, format!("{other:?}"))),
        }
    }
}

const STATUS: &str = "10.0.0.100:9001";
const TOKEN: &str = "10.0.0.100:9002";
const FIRST: u64 = 50;

struct Scene {
    poller: Poller,
    admin: AdminServer,
    echo: Echo,
}

impl Scene {
    fn new() -> Scene {
        world::reset(5, Faults::default());
        let tcp = |address: &str| Listener::bind(address.parse::<Endpoint>().unwrap(), 64).unwrap();
        let socket =
            Listener::bind("unix:/run/admin.sock".parse::<Endpoint>().unwrap(), 1000).unwrap();
        let sockets = vec![
            (AccessLevel::Socket, socket),
            (AccessLevel::Token, tcp(TOKEN)),
            (AccessLevel::Status, tcp(STATUS)),
        ];
        let mut scene = Scene {
            poller: Poller::new().unwrap(),
            admin: AdminServer::new(sockets, Some(b"secret".to_vec()), FIRST),
            echo: Echo::default(),
        };
        scene.admin.watch(&scene.poller).unwrap();
        scene
    }

    fn turn(&mut self, limit: Millis) -> bool {
        let timeout = if self.admin.is_ready() { Millis(0) } else { limit };
        self.poller.wait(Some(timeout)).unwrap();
        let now = clock::now();
        let events = self.poller.events().to_vec();
        for event in &events {
            self.admin.event(event.token - FIRST, *event);
        }
        self.admin.turn(&self.poller, &mut self.echo, now);
        self.admin.expire(now);
        !events.is_empty() || self.admin.is_ready()
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.turn(Millis(0)) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn advance(&mut self, millis: u64) {
        let until = clock::now() + Micros::from(Millis(millis));
        while clock::now() < until {
            self.turn(Millis(50).min((until - clock::now()).millis()).max(Millis(1)));
        }
        self.settle();
    }

    fn ask(&mut self, peer: &Peer, text: &str) -> String {
        peer.send(text.as_bytes());
        self.settle();
        String::from_utf8(peer.receive()).unwrap()
    }
}

fn unix() -> Peer {
    world::connect("unix:/run/admin.sock".parse::<Endpoint>().unwrap())
}

fn tcp(address: &str) -> Peer {
    world::connect(address.parse::<Endpoint>().unwrap())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn requests_are_answered_in_order_on_a_connection_that_stays() {
    let mut scene = Scene::new();
    let peer = unix();
    let text = scene.ask(&peer, &[get("/v1/status"), get("/v1/pools"), get("/v9")].concat());
    let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).collect();
    assert!(
        bodies[0].starts_with("StatusHTTP/1.1 200") && bodies[1].starts_with("PoolsHTTP/1.1 404")
    );
    assert_eq!(peer.seen_end(), End::Open);
    let text = scene.ask(&peer, "HEAD /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
    assert_eq!(peer.seen_end(), End::Fin);
    peer.close();
    scene.settle();
    assert!(scene.admin.is_empty());
}

#[test]
fn what_is_not_http_is_refused_and_the_connection_ends() {
    let mut scene = Scene::new();
    let peer = unix();
    let text = scene.ask(&peer, "GET / HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(peer.seen_end(), End::Fin);
    // What it goes on sending is read for a while, so that it can read the answer.
    for _ in 0..200 {
        peer.send(&[b'x'; 2000]);
        scene.settle();
    }
    assert!(scene.admin.is_empty());
}

#[test]
fn over_tcp_the_token_is_demanded() {
    let mut scene = Scene::new();
    let ask = |scene: &mut Scene, field: &str| {
        let peer = tcp(TOKEN);
        scene.ask(&peer, &format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{field}\r\n"))
    };
    for field in [
        "",
        "Authorization: Bearer secreu\r\n",
        "Authorization: Basic secret\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer secret1\r\n",
    ] {
        let text = ask(&mut scene, field);
        assert!(text.starts_with("HTTP/1.1 401 "), "{field} {text}");
        assert!(text.contains("\r\nWWW-Authenticate: Bearer realm=\"httplb\"\r\n"));
    }
    assert!(scene.echo.commands.is_empty());
    for field in ["Authorization: Bearer secret\r\n", "authorization: bearer secret\r\n"] {
        assert!(ask(&mut scene, field).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn the_outcome_of_a_reload_comes_when_it_is_known_and_others_go_on_meanwhile() {
    let mut scene = Scene::new();
    let (peer, other) = (unix(), unix());
    let text = scene.ask(&peer, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(text, "");
    assert!(scene.admin.is_awaited());
    assert!(scene.ask(&other, &get("/v1/status")).contains("Status"));
    scene.admin.settle(Pending::Reload, &ApiResponse::json(200, String::from("{}")), clock::now());
    assert!(scene.ask(&peer, "").ends_with("\r\n\r\n{}"));
    assert!(!scene.admin.is_awaited());
}

#[test]
fn who_waits_for_a_100_gets_it() {
    let mut scene = Scene::new();
    let peer = unix();
    let head = "PATCH /v1/pools/a/backends/10.0.0.7:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\
                Expect: 100-continue\r\n\r\n";
    assert_eq!(scene.ask(&peer, head), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(scene.ask(&peer, "{\"weight\": 3}").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_slow_request_ends_with_408_and_a_silent_connection_without_a_word() {
    let mut scene = Scene::new();
    let (slow, silent, used) = (unix(), unix(), unix());
    scene.ask(&used, &get("/"));
    assert_eq!(scene.ask(&slow, "GET / HT"), "");
    for _ in 0..9 {
        scene.advance(1_000);
        slow.send(b"T");
    }
    scene.advance(1_100);
    let text = String::from_utf8(slow.receive()).unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert_eq!(silent.seen_end(), End::Fin);
    assert!(silent.receive().is_empty());
    assert_eq!(used.seen_end(), End::Open);
    scene.advance(60_000);
    assert_eq!(used.seen_end(), End::Fin);
    assert!(scene.admin.is_empty());
}

#[test]
fn half_requests_at_one_door_make_room_for_whole_ones_there_and_are_not_noticed_elsewhere() {
    for text in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut scene = Scene::new();
        let hostile: Vec<Peer> = (0..SLOTS)
            .map(|_| {
                let peer = tcp(STATUS);
                scene.ask(&peer, text);
                scene.advance(1);
                peer
            })
            .collect();
        assert!(scene.ask(&tcp(STATUS), &get("/healthz")).contains("Health"));
        assert!(scene.ask(&unix(), &get("/healthz")).contains("Health"));
        assert!(hostile[0].seen_end() != End::Open, "the oldest makes room");
        assert!(hostile[1..].iter().all(|peer| peer.seen_end() == End::Open));
    }
}

#[test]
fn however_many_come_at_once_each_whole_request_is_answered() {
    let mut scene = Scene::new();
    for address in [None, Some(STATUS)] {
        let peers: Vec<Peer> = (0..SLOTS + 40)
            .map(|_| {
                let peer = address.map_or_else(unix, tcp);
                peer.send(get("/healthz").as_bytes());
                peer
            })
            .collect();
        scene.settle();
        for peer in peers {
            assert!(String::from_utf8(peer.receive()).unwrap().contains("Health"));
        }
    }
}

#[test]
fn who_waits_for_a_reload_makes_room_last() {
    let mut scene = Scene::new();
    let waiting = unix();
    scene.ask(&waiting, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let _slow: Vec<Peer> = (0..SLOTS)
        .map(|_| {
            let peer = unix();
            scene.ask(&peer, "GET /");
            peer
        })
        .collect();
    assert!(scene.admin.is_awaited());
    scene.admin.settle(Pending::Reload, &ApiResponse::json(200, String::from("{}")), clock::now());
    assert!(scene.ask(&waiting, "").ends_with("{}"));
}

#[test]
fn one_more_takes_the_place_of_one_that_has_nothing_to_do() {
    let mut scene = Scene::new();
    let first: Vec<Peer> = (0..SLOTS)
        .map(|_| {
            let peer = unix();
            scene.ask(&peer, &get("/healthz"));
            scene.advance(10);
            peer
        })
        .collect();
    let late = unix();
    assert!(scene.ask(&late, &get("/healthz")).contains("Health"));
    assert_eq!(first[0].seen_end(), End::Fin);
    assert_eq!(first[1].seen_end(), End::Open);
}

#[test]
fn clients_that_do_not_read_hold_so_many_bytes_of_their_door_and_nothing_of_others() {
    let mut scene = Scene::new();
    let deaf: Vec<Peer> = (0..SLOTS)
        .map(|_| {
            let peer = tcp(STATUS);
            peer.send(get("/metrics").repeat(100).as_bytes());
            peer
        })
        .collect();
    scene.settle();
    let pending = |scene: &Scene| -> usize {
        scene.admin.connections.iter().flatten().map(|one| one.output.len()).sum()
    };
    assert!(pending(&scene) <= PENDING_LIMIT, "{}", pending(&scene));
    assert!(scene.ask(&unix(), &get("/healthz")).contains("Health"));
    let reader = tcp(STATUS);
    let mut text = scene.ask(&reader, &get("/metrics"));
    while text.len() < 1 << 20 {
        let more = scene.ask(&reader, "");
        assert!(!more.is_empty(), "the youngest is not broken off");
        text.push_str(&more);
    }
    scene.advance(11_000);
    assert_eq!(pending(&scene), 0);
    drop(deaf);
}

#[test]
fn a_door_that_closes_lets_those_inside_finish() {
    let mut scene = Scene::new();
    let (idle, busy, unnoticed, new) = (unix(), unix(), unix(), unix());
    scene.ask(&idle, &get("/healthz"));
    scene.ask(&busy, "GET /healthz HTTP/1.1\r\n");
    scene.ask(&unnoticed, &get("/healthz"));
    scene.settle(); // The new one is inside.
    unnoticed.send(get("/healthz").as_bytes());
    scene.admin.close(&scene.poller);
    scene.settle();
    assert_eq!(idle.seen_end(), End::Fin);
    assert!(String::from_utf8(unnoticed.receive()).unwrap().contains("Health"));
    assert_eq!(new.seen_end(), End::Open);
    let text = scene.ask(&busy, "Host: x\r\n\r\n");
    assert!(text.contains("Connection: close") && text.contains("Health"));
    assert!(!scene.admin.is_quiet(), "one has come and is about to ask");
    let text = scene.ask(&new, &get("/healthz"));
    assert!(text.contains("Connection: close") && text.contains("Health"));
    assert!(scene.admin.is_quiet());
    let _unheard = unix();
    for peer in [busy, unnoticed, new] {
        peer.close();
    }
    scene.settle();
    assert!(scene.admin.is_empty());
}

#[test]
fn bytes_may_come_and_go_in_any_pieces() {
    for seed in 0..20 {
        let mut scene = Scene::new();
        world::change_faults(|faults| *faults = Faults { buffer: 512, ..Faults::harmless() });
        let peers: Vec<Peer> = (0..10).map(|_| unix()).collect();
        let texts = get("/v1/pools/x").repeat(20 + seed);
        let mut received = vec![String::new(); 10];
        let mut sent = [0; 10];
        let whole = |text: &String| text.matches("Pool(\"x\")").count() == 20 + seed;
        for round in 0..20_000 {
            if round % 500 == 0 && received.iter().all(whole) {
                break;
            }
            for (peer, (received, sent)) in peers.iter().zip(received.iter_mut().zip(&mut sent)) {
                *sent += peer.send(&texts.as_bytes()[*sent..]);
                received.push_str(&String::from_utf8(peer.receive()).unwrap());
            }
            scene.turn(Millis(0));
        }
        assert!(received.iter().all(whole));
    }
}
