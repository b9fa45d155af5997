//! A backend hangs under load: what waits there goes elsewhere as soon as it is found to be down, and no
//! GET fails.
//!
//! The rate is 120 requests a second, so that it is kept on a machine that does much else; the times are
//! counted over all requests, none is measured by itself.

use crate::common::{Client, Program, Value, json, until};
use socket2::{SockFilter, Socket};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Each asks once a second, unless it waits for longer.
const CLIENTS: usize = 120;
/// What all wait for at most.
const LIMIT: Duration = Duration::from_secs(2);

/// A server that answers at once, until it hangs or its packets are lost.
struct Origin {
    address: SocketAddr,
    hangs: Arc<AtomicBool>,
    /// The listening socket and all that came from it.
    sockets: Arc<Mutex<Vec<Socket>>>,
}

impl Origin {
    fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let hangs = Arc::<AtomicBool>::default();
        let sockets = Arc::<Mutex<Vec<Socket>>>::default();
        sockets.lock().unwrap().push(listener.try_clone().expect("a descriptor").into());
        let (hangs_too, all) = (hangs.clone(), sockets.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                all.lock().unwrap().push(stream.try_clone().expect("a descriptor").into());
                let hangs = hangs_too.clone();
                thread::spawn(move || serve(stream, &hangs));
            }
        });
        Origin { address, hangs, sockets }
    }

    /// It takes connections and requests from now on, and says nothing, as a process that is stopped.
    fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// No packet comes to it any more, as behind a cable that was cut. Nobody is told.
    fn fall_into_a_hole(&self) {
        // A program of one instruction: of each packet, nothing is let through.
        let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
        for socket in self.sockets.lock().unwrap().iter() {
            // A connection that has ended takes no filter.
            let _ = socket.attach_filter(&drop_all);
        }
    }

    fn server(&self) -> Value {
        json!({"ip": self.address.ip().to_string(), "port": self.address.port()})
    }
}

fn serve(mut stream: TcpStream, hangs: &AtomicBool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => return,
        }
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            while hangs.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(50));
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

/// What clients saw: the statuses, and how long each request took.
struct Seen {
    failed: Vec<u16>,
    times: Vec<Duration>,
}

impl Seen {
    fn slower_than(&self, time: Duration) -> usize {
        self.times.iter().filter(|took| **took > time).count()
    }
}

/// Many clients ask while `act` happens, each once a second, spread over it.
fn ask_while(program: &Program, act: impl FnOnce()) -> Seen {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|place| {
                let over = &over;
                let mut client = program.client();
                scope.spawn(move || {
                    thread::sleep(Duration::from_secs(1) * place as u32 / CLIENTS as u32);
                    ask_each_second(&mut client, over)
                })
            })
            .collect();
        act();
        over.store(true, Ordering::SeqCst);
        let mut seen = Seen { failed: Vec::new(), times: Vec::new() };
        for client in clients {
            for (status, took) in client.join().expect("a client") {
                seen.times.push(took);
                seen.failed.extend((status != 200).then_some(status));
            }
        }
        seen
    })
}

fn ask_each_second(client: &mut Client, over: &AtomicBool) -> Vec<(u16, Duration)> {
    let (mut seen, mut next) = (Vec::new(), Instant::now());
    while !over.load(Ordering::SeqCst) {
        let asked = Instant::now();
        let status = client.get("/").status;
        seen.push((status, asked.elapsed()));
        next = Instant::now().max(next + Duration::from_secs(1));
        thread::sleep(next - Instant::now());
    }
    seen
}

/// One of three backends does `what`, while clients ask. With health checks each second, or without.
fn play(is_checked: bool, what: impl FnOnce(&Origin)) -> (Program, Seen) {
    let origins = [(); 3].map(|()| Origin::start());
    let servers: Vec<Value> = origins.iter().map(Origin::server).collect();
    let mut config = json!({
        "workers": 2,
        "backend_servers": servers,
        "timeouts": {"response": "2s", "connect": "2s"},
    });
    if is_checked {
        config["health_check"] = json!({"path": "/", "interval": "1s", "timeout": "2s"});
    }
    let program = Program::operated(config);
    let bad = &origins[1];
    let seen = ask_while(&program, || {
        thread::sleep(Duration::from_secs(3));
        what(bad);
        program.wait_for_state("default", bad.address, "down");
        thread::sleep(Duration::from_secs(2));
    });
    (program, seen)
}

/// Whoever was asked in the second before is slower than a second when the backend is found to be down by
/// requests that have waited for two: a third of all. Some more for those that found it, and for
/// a machine that is busy.
fn assert_nobody_paid(program: &Program, seen: &Seen) {
    assert!(seen.times.len() > 4 * CLIENTS, "{} requests", seen.times.len());
    assert_eq!(seen.failed, [0; 0], "no GET fails\n{}", program.stderr());
    let slow = seen.slower_than(Duration::from_secs(1));
    assert!(slow < CLIENTS * 150 / 400, "{slow} of {} were slow", seen.times.len());
    let lost = seen.slower_than(2 * LIMIT);
    assert_eq!(lost, 0, "nobody waits for more than two limits");
}

fn evacuated(program: &Program) -> u64 {
    let reply = program.ask("GET /metrics", "").body;
    let lines = reply.lines().filter(|line| line.starts_with("httplb_backend_evacuated_requests"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_backend_that_hangs_under_load_costs_no_get() {
    let (program, seen) = play(true, Origin::hang);
    assert_nobody_paid(&program, &seen);
    assert!(evacuated(&program) > 10, "{}", evacuated(&program));
}

#[test]
fn a_backend_that_hangs_costs_no_get_without_checks_either() {
    let (program, seen) = play(false, Origin::hang);
    assert_nobody_paid(&program, &seen);
    assert!(evacuated(&program) > 10, "{}", evacuated(&program));
}

#[test]
fn a_backend_whose_packets_are_lost_costs_no_get() {
    let (program, seen) = play(true, Origin::fall_into_a_hole);
    assert_nobody_paid(&program, &seen);
}

#[test]
fn what_waits_at_a_backend_that_is_set_to_maint_leaves_and_drained_it_stays() {
    let origins = [(); 2].map(|()| Origin::start());
    let servers: Vec<Value> = origins.iter().map(Origin::server).collect();
    let program = Program::operated(json!({"workers": 2, "backend_servers": servers}));
    origins[0].hang();
    let address = origins[0].address;
    let load = || program.backend("default", address).expect("it is there")["connections"].clone();
    let mut clients: Vec<Client> = (0..8).map(|_| program.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    until("half of them wait there", || load() == 4);
    let set = |state: &str| {
        let line = format!("PATCH /v1/pools/default/backends/{address}");
        assert_eq!(program.ask(&line, &json!({ "state": state }).to_string()).status, 200);
    };
    set("drain");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(load(), 4, "they are finished there");
    set("maint");
    for client in &mut clients {
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!((load(), evacuated(&program)), (json!(0), 4));
}
