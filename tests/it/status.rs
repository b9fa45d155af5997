//! The read-only address: the page, and whether clients are accepted.

use crate::common::{Backend, Client, Program, Response, Value, eventually, json, servers};
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
        "<meta http-equiv=\"refresh\" content=\"2; url=/?window=10s&amp;page=",
        "<h2>default</h2>",
        "<h2>waiting</h2>",
        &backend.address.to_string(),
        "<span class=\"tag\">up</span>",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("<script"));
}

/// The text of the page, with numbers of this time.
fn page(program: &Program, window: &str) -> String {
    get(program.status_address(), &format!("/?window={window}")).text()
}

#[test]
fn the_header_says_what_is_worst_and_the_worst_pool_comes_first() {
    let backend = Backend::named("a");
    let program = Program::operated(json!({
        "backend_servers": servers(&[&backend]),
        "max_connections": 50,
        "pools": { "api": { "backend_servers": [] } },
        "routes": [{ "path": "/api", "pool": "api" }],
    }));
    program.get("/");
    let fine = page(&program, "10s");
    assert!(fine.contains("<header class=\"up\"><h1>serving</h1>"), "{fine}");
    for _ in 0..41 {
        program.get("/api");
    }
    let header = "<header class=\"down\"><h1>api: no backend is up, ";
    crate::common::until("the header says so", || page(&program, "10s").contains(header));
    let bad = page(&program, "10s");
    assert!(bad.contains(" requests a second get 503</h1>"), "{bad}");
    let place = |part: &str| bad.find(part).unwrap_or_else(|| panic!("no {part}"));
    assert!(place("id=\"pool-api\" class=\"down\"") < place("id=\"pool-default\" class=\"up\""));
    // Totals and all windows; of each pool and of the service an hour in three lines.
    for window in ["10s", "1m", "5m", "all"] {
        let text = page(&program, window);
        let chosen = format!("<a href=\"/?window={window}\" aria-current=\"true\">");
        assert!(text.contains(&chosen), "{window}");
        assert_eq!(text.matches("<svg ").count(), 9, "{window}");
        assert!(text.contains("<small>41 destination unavailable</small>"), "{window}: {text}");
    }
    assert!(page(&program, "all").contains("<dt>requests</dt><dd>42</dd>"));
    assert_eq!(get(program.status_address(), "/?window=2m").status, 400);
    let clients: Vec<Client> = (0..60).map(|_| program.client()).collect();
    let full = "<h1>all 50 connections are taken (raise max_connections)</h1>";
    let full_page = eventually("all are taken", || {
        Some(page(&program, "10s")).filter(|page| page.contains(full))
    });
    assert!(full_page.contains("<span class=\"bad\">50 all taken</span>"), "{full_page}");
    drop(clients);
}

#[test]
fn a_reload_that_failed_is_shown_until_the_next_good_one() {
    let backend = Backend::named("a");
    let program = two_pools(&[&backend]);
    let good = std::fs::read_to_string(program.folder.join("servers.conf")).unwrap();
    let success = |program: &Program| {
        let metrics = get(program.status_address(), "/metrics").text();
        metrics
            .lines()
            .find(|line| line.starts_with("httplb_last_reload_success "))
            .map(str::to_owned)
    };
    assert_eq!(success(&program).as_deref(), Some("httplb_last_reload_success 1"));
    program.write_config("{ \"nonsense\": \"<b>\" }");
    program.fail_to_reload();
    let text = page(&program, "10s");
    assert!(text.contains("The last reload was refused, and changed nothing:"), "{text}");
    assert!(text.contains("nonsense: unknown key"), "{text}");
    assert!(text.contains("<h1>the last reload was refused</h1>"), "{text}");
    // The last messages tell it too.
    assert!(text.contains("<li class=\"error\"><time>"), "{text}");
    assert_eq!(success(&program).as_deref(), Some("httplb_last_reload_success 0"));
    program.write_config(&good);
    program.reload();
    crate::common::until("it is forgotten", || {
        !page(&program, "10s").contains("The last reload was refused")
    });
    assert_eq!(success(&program).as_deref(), Some("httplb_last_reload_success 1"));
}

#[test]
fn a_page_that_somebody_has_clicked_into_stays_and_others_are_refreshed() {
    let backend = Backend::named("a");
    let program = two_pools(&[&backend]);
    let status = program.status_address();
    let names = [page(&program, "1m"), page(&program, "1m")]
        .map(|text| text.split("&amp;page=").nth(1).expect("a name")[..16].to_owned());
    assert_ne!(names[0], names[1]);
    let mut client = Client::connect(status);
    assert_eq!(client.get(&format!("/held?page={}", names[0])).status, 200);
    for (name, expected) in [(&names[0], 204), (&names[1], 200)] {
        let answer = client.get(&format!("/?window=1m&page={name}"));
        assert_eq!(answer.status, expected);
        assert_eq!(answer.body.is_empty(), expected == 204);
    }
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
        "up=default:1:1",
        "up=../default:1",
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
            assert!(begun.elapsed() < 2 * crate::common::DEADLINE, "{round} rounds");
        }
    });
}
