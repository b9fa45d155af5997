//! The read-only address: the page, and whether clients are accepted.

use crate::common::{Backend, Client, Program, Response, Value, json, servers};
use rustix::process::Signal;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

fn get(address: SocketAddr, target: &str) -> Response {
    Client::connect(address).get(target)
}

fn two_pools(backends: &[&Backend]) -> Program {
    Program::operated(json!({
        "backend_servers": servers(backends),
        "health_check": {"interval": "200ms", "timeout": "200ms"},
        "pools": {"waiting": {"backend_servers": []}},
    }))
}

#[test]
fn the_page_shows_pools_and_backends_and_cannot_be_anything_but_shown() {
    let backend = Backend::named("a");
    let program = two_pools(&[&backend]);
    program.get("/");
    let page = get(program.status_address(), "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("Cache-Control"), Some("no-store"));
    assert!(page.field("Content-Security-Policy").unwrap().starts_with("default-src 'none'"));
    let text = String::from_utf8(page.body).unwrap();
    for part in [
        "<meta http-equiv=\"refresh\" content=\"2\">",
        "<h2>default</h2>",
        "<h2>waiting</h2>",
        &backend.address.to_string(),
        "<span class=\"tag\">up</span>",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("<script"));
}

#[test]
fn nothing_can_be_changed_there() {
    let backend = Backend::named("a");
    let program = two_pools(&[&backend]);
    let mut client = Client::connect(program.status_address());
    for target in ["/v1/status", "/v1/pools", "/favicon.ico"] {
        assert_eq!(client.get(target).status, 404);
    }
    for target in ["/", "/metrics", "/healthz"] {
        client.send(format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.field("Allow")), (405, Some("GET, HEAD")));
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.response_to("HEAD").status, 200);
    }
}

#[test]
fn health_says_whether_clients_are_accepted() {
    let gate = crate::common::Gate::new();
    let backend = Backend::gated(&gate, |_| crate::common::Answer::text("late"));
    let mut program = Program::operated(json!({"backend_servers": servers(&[&backend])}));
    let status = program.status_address();
    let healthy = get(status, "/healthz");
    assert_eq!((healthy.status, healthy.text()), (200, String::from("ok\n")));
    let mut client = program.client_at(&backend, "/");
    program.signal(Signal::TERM);
    crate::common::until("it says that it drains", || {
        let health = get(status, "/healthz");
        (health.status, health.text()) == (503, String::from("draining\n"))
    });
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert!(program.wait_for_exit().success());
}

#[test]
fn health_says_whether_so_many_backends_of_a_pool_are_up() {
    let mut backends = [Backend::named("a"), Backend::named("b")];
    let program = two_pools(&backends.each_ref());
    let status = program.status_address();
    let ask = |query: &str| {
        let response = get(status, &format!("/healthz?{query}"));
        (response.status, response.text().trim_end().to_owned())
    };
    let ok = || (200, String::from("ok"));
    assert_eq!((ask("up=default:2"), ask("up=default:1&up=default:2")), (ok(), ok()));
    assert_eq!(ask("up=default%3A2&up=waiting:1"), (503, String::from("waiting: 0 of 1 up")));
    backends[1].stop();
    crate::common::until("one is down", || {
        ask("up=default:2") == (503, String::from("default: 1 of 2 up"))
    });
    assert_eq!((ask("up=default:1"), ask("")), (ok(), ok()));
    let both = "default: 1 of 2 up, none: 0 of 3 up";
    assert_eq!(ask("up=default:2&up=none:3"), (503, String::from(both)));
    for query in [
        "up",
        "up=",
        "up=default",
        "up=default:0",
        "up=default:+1",
        "up=default:01",
        "up=:1",
        "down=a:1",
    ] {
        assert_eq!(ask(query).0, 400, "{query}");
    }
}

#[test]
fn a_browser_shows_that_a_backend_was_killed() {
    if Command::new("chromium").arg("--version").output().is_err() {
        println!("chromium is not installed: not asked");
        return;
    }
    let (first, mut second) = (Backend::named("a"), Backend::named("b"));
    let program = two_pools(&[&first, &second]);
    program.wait_for_state("default", second.address, "up");
    let show = || {
        let profile = program.folder.join("profile");
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://{}/", program.status_address()))
            .output()
            .expect("chromium");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(show().contains("<title>httplb: 2 of 2 up</title>"));
    second.stop();
    program.wait_for_state("default", second.address, "down");
    let page = show();
    assert!(page.contains("<title>httplb: 1 of 2 up</title>"), "{page}");
    let row = page.split("<tr").find(|row| row.contains(&second.address.to_string()));
    assert!(row.is_some_and(|row| row.contains("class=\"down\"")), "{page}");
}

#[test]
fn slow_and_greedy_clients_hold_up_neither_others_nor_the_admin_socket() {
    let backend = Backend::named("a");
    let program = two_pools(&[&backend]);
    let put = |number: usize| {
        let (high, low) = (number / 250, number % 250 + 1);
        format!("PUT /v1/pools/many/backends/127.1.{high}.{low}:9?lease=60s")
    };
    for number in 0..200 {
        assert_eq!(program.ask(&put(number), "").status, 201);
    }
    let connect = || TcpStream::connect(program.status_address()).unwrap();
    let half: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect();
            // Some were put out for others.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
            stream
        })
        .collect();
    assert_eq!(get(program.status_address(), "/healthz").text(), "ok\n");
    let mut deaf: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
    for stream in &mut deaf {
        let _ = stream.write_all("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50).as_bytes());
    }
    for number in 0..200 {
        // Some were taken out by their checks meanwhile, and are back.
        let status = program.ask(&put(number), "").status;
        assert!([200, 201].contains(&status), "{number}: {status}");
    }
    assert_eq!(get(program.status_address(), "/healthz").text(), "ok\n");
    assert!(get(program.status_address(), "/metrics").text().contains("httplb_"));
    drop((half, deaf));
}

/// Asks for a listing again and again, reads slowly, and comes back when it is put out.
fn read_greedily(address: SocketAddr, stop: &AtomicBool) {
    let mut piece = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
        let _ = stream.write_all(ask.as_bytes());
        while !stop.load(Ordering::Relaxed) {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Stops those who read, also where the test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn greedy_readers_of_large_listings_hold_up_neither_health_nor_registrations() {
    let backend = Backend::named("a");
    let mut config = json!({ "backend_servers": servers(&[&backend]) });
    let idle: Vec<Value> = (0..1000)
        .map(|number| format!("127.2.{}.{}", number / 200, number % 200 + 1))
        .map(|address| json!({ "ip": address, "port": 9 }))
        .collect();
    config["pools"] = json!({ "many": { "backend_servers": idle } });
    let program = Program::operated(config);
    let address = program.status_address();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _until = Until(&stop);
        for _ in 0..40 {
            scope.spawn(|| read_greedily(address, &stop));
        }
        let begun = Instant::now();
        for round in 0..40 {
            assert_eq!(get(address, "/healthz").text(), "ok\n");
            let line = "PUT /v1/pools/new/backends/127.3.0.1:9?lease=60s";
            assert_eq!(program.ask(line, "").status, if round == 0 { 201 } else { 200 });
            // Were each text made anew, this would take more than a minute.
            assert!(begun.elapsed() < crate::common::DEADLINE, "{round} rounds");
        }
    });
}
