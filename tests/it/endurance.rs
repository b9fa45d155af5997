//! Processes that are killed at random moments, for as long as `HTTPLB_ENDURANCE_SECONDS` says, in the
//! order that `HTTPLB_ENDURANCE_SEED` gives. Whoever is killed is back, and in the end nothing is left.

use crate::common::{
    Backend, Client, Program, Value, assert_same_bytes, json, noise, process, servers,
    traffic::mirror, until,
};
use rustix::process::Pid;
use std::{
    env, iter,
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const WORKERS: usize = 2;
/// Of five within ten seconds the service gives up, as it should.
const MOST_DEATHS: usize = 4;
const WITHIN: Duration = Duration::from_secs(11);

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// Numbers below `below`, the same for a seed.
fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut bytes =
        iter::successors(Some(seed), |seed| Some(seed + 1)).flat_map(|seed| noise(4096, seed));
    move |below| {
        let four: [u8; 4] = std::array::from_fn(|_| bytes.next().unwrap());
        u32::from_le_bytes(four) as usize % below
    }
}

/// Asks until it is told to end. A connection may break, but no answer may be wrong.
fn ask(address: SocketAddr, stops: &AtomicBool, answered: &AtomicUsize) {
    let expected = noise(3000, 3000);
    while !stops.load(Ordering::Relaxed) {
        // Nobody may listen while there is no master.
        if std::net::TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let connected = std::panic::catch_unwind(|| Client::connect(address));
        let Ok(mut client) = connected else { continue };
        for _ in 0..20 {
            client.ask("/?3000");
            let Ok(response) = client.receive("GET") else { break };
            assert_eq!(response.status, 200);
            assert_same_bytes(&response.body, &expected, "an answer");
            answered.fetch_add(1, Ordering::Relaxed);
            if response.closes() {
                break;
            }
        }
    }
}

/// The service, and how often each kind of its processes was killed.
struct Scene {
    program: Program,
    config: Value,
    all: Vec<Pid>,
    deaths: Vec<Instant>,
    killed: [usize; 3],
}

impl Scene {
    fn new(mut config: Value) -> Scene {
        let program = Program::operated(config.clone());
        config["listen"] = json!([program.address.to_string()]);
        config["status_listen"] = json!(program.status_address().to_string());
        let mut scene = Scene { program, config, all: vec![], deaths: vec![], killed: [0; 3] };
        scene.wait_for_all();
        scene
    }

    fn wait_for_all(&mut self) {
        until("all processes are there", || {
            process::children(self.program.pid()).len() == WORKERS + 1
        });
        self.all.extend(self.program.processes());
    }

    fn kill_a_worker(&mut self, seat: usize) {
        self.deaths.retain(|death| death.elapsed() < WITHIN);
        if self.deaths.len() == MOST_DEATHS {
            return self.kill_control();
        }
        self.deaths.push(Instant::now());
        let victim = self.program.worker(seat);
        self.killed[0] += 1;
        process::kill(victim);
        until("another worker", || self.program.worker(seat) != victim);
    }

    fn kill_control(&mut self) {
        let victim = self.program.control();
        self.killed[1] += 1;
        process::kill(victim);
        until("another control process", || self.program.control() != victim);
    }

    /// Plays the service manager too, which starts it again.
    fn kill_the_master(&mut self) {
        self.killed[2] += 1;
        self.deaths.clear();
        process::kill(self.program.pid());
        let addresses = [self.program.address, self.program.status_address()];
        until("nobody listens", || addresses.iter().all(|one| TcpListener::bind(one).is_ok()));
        self.program = Program::operated(self.config.clone());
    }
}

#[test]
fn whoever_is_killed_at_any_moment_is_back_and_nothing_is_left() {
    let time = Duration::from_secs(number("HTTPLB_ENDURANCE_SECONDS", 15));
    let seed = number("HTTPLB_ENDURANCE_SEED", 1);
    let mut dice = dice(seed);
    let backends: [Backend; 2] = [mirror(), mirror()];
    let config = json!({
        "workers": WORKERS,
        "backend_servers": servers(&backends.each_ref()),
        "timeouts": { "drain": "2s" },
    });
    let mut scene = Scene::new(config);
    let address = scene.program.address;
    let before: Vec<usize> =
        scene.program.processes().into_iter().map(process::descriptor_count).collect();
    let (stops, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(address, &stops, &answered));
        }
        let start = Instant::now();
        while start.elapsed() < time {
            thread::sleep(Duration::from_millis(dice(150) as u64));
            match dice(12) {
                0..6 => scene.kill_a_worker(dice(WORKERS)),
                6..10 => scene.kill_control(),
                _ => scene.kill_the_master(),
            }
            let so_far = answered.load(Ordering::Relaxed);
            until("clients are answered again", || answered.load(Ordering::Relaxed) > so_far + 4);
            scene.wait_for_all();
        }
        stops.store(true, Ordering::Relaxed);
    });
    println!(
        "seed {seed}: {} answers; workers, control, master killed: {:?}",
        answered.load(Ordering::Relaxed),
        scene.killed
    );
    assert!(scene.killed.iter().all(|killed| *killed > 0), "{:?}", scene.killed);
    let now = scene.program.processes();
    until("no descriptor is left over", || {
        let counts: Vec<usize> = now.iter().copied().map(process::descriptor_count).collect();
        // Workers have connections to backends, more or fewer.
        counts[0] <= before[0]
            && counts[1..].iter().zip(&before[1..]).all(|(now, before)| *now <= before + 8)
    });
    let Scene { mut program, all, .. } = scene;
    let status = program.status_address();
    let socket = program.admin_path();
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait_for_exit().success());
    let is_ours = |pid: &Pid| {
        process::lives(*pid) && process::name(*pid).is_some_and(|name| name.starts_with("httplb"))
    };
    until("no process is left", || !all.iter().any(is_ours));
    for address in [address, status] {
        assert!(TcpListener::bind(address).is_ok(), "{address} is free");
    }
    assert!(!socket.exists(), "the admin socket is removed");
}
