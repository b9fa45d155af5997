//! A look at httplb in a minute: three small backends that say who they are, and httplb before
//! them on port 9000, with the `servers.conf` of this repository and `"multiplex": "verified"`.
//!
//! `cargo run --release --example demo`, and follow what it prints. Ctrl-C ends it.

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

const PORTS: [u16; 3] = [8001, 8002, 8003];

const WHAT_TO_TRY: &str = r#"
Try in another terminal:

  three requests, each answered by the next backend:
      curl localhost:9000 localhost:9000 localhost:9000

  three slow requests sent at once over one connection: 0.5 s for all of them, not 1.5 s,
  and the responses in order:
      slow='GET /slow HTTP/1.1\r\nHost: demo\r\n'
      time printf "$slow\r\n$slow\r\n${slow}Connection: close\r\n\r\n" | curl -s telnet://localhost:9000

  many clients at once over one connection to each backend: they return X-Request-ID, which tells
  whose each response is; how many shared a connection:
      curl -sZ --parallel-max 200 'localhost:9000/[1-5000]' >/dev/null
      curl -s localhost:9001/metrics | grep ^httplb_backend_shared_requests_total

  what the backends do, in a browser:
      http://localhost:9001/

  kill whichever backend answers; no client sees an error, and httplb says here what it found:
      curl localhost:9000/quit
      for i in 1 2 3 4 5 6; do curl localhost:9000; done

Or here: a number and Enter kills that backend, or starts it again. Ctrl-C ends the demo.
"#;

/// A backend that can be killed and started again.
struct Backend {
    port: u16,
    is_running: AtomicBool,
    count: AtomicUsize,
    /// Its open connections, to end them when it is killed.
    streams: Mutex<Vec<TcpStream>>,
}

impl Backend {
    fn start(self: &Arc<Backend>) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        self.is_running.store(true, Ordering::SeqCst);
        let backend = self.clone();
        thread::spawn(move || backend.accept(&listener));
        Ok(())
    }

    fn accept(self: &Arc<Backend>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if !self.is_running.load(Ordering::SeqCst) {
                return; // which closes the port
            }
            self.streams.lock().unwrap().extend(stream.try_clone());
            let backend = self.clone();
            thread::spawn(move || {
                let _ = backend.serve(&stream); // a connection that breaks is at its end
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    }

    fn kill(&self) {
        self.is_running.store(false, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes the one that accepts
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed already
        }
        say(&format!("backend {} is killed", self.port));
    }

    /// Answers request after request until the connection ends.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut input = BufReader::new(stream);
        while let Some((target, id)) = read_request(&mut input)? {
            let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if target == "/slow" {
                thread::sleep(Duration::from_millis(500));
            }
            let body = match target.as_str() {
                "/quit" => format!("backend {} says goodbye\n", self.port),
                _ => format!("backend {} says hello, for the {number}. time\n", self.port),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            { stream }.write_all((head + &body).as_bytes())?;
            if target == "/quit" {
                self.kill();
            }
        }
        Ok(())
    }
}

/// The target of the next request and its X-Request-ID, after its body is read too. `None` at the end.
fn read_request(input: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let (mut target, mut id, mut length) = (None, String::new(), 0);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        let Some(target) = &mut target else {
            target = line.split(' ').nth(1).map(str::to_string);
            continue;
        };
        match line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())) {
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap_or(0),
            Some((name, value)) if name == "x-request-id" => id = value.to_string(),
            None if line.is_empty() => {
                io::copy(&mut input.take(length), &mut io::sink())?;
                return Ok(Some((std::mem::take(target), id)));
            }
            _ => (),
        }
    }
}

fn say(text: &str) {
    println!("demo: {text}");
}

/// Says why the demo cannot go on, and ends it.
fn give_up(why: &str) -> ! {
    eprintln!("demo: {why}");
    process::exit(1);
}

fn explain_taken(error: &io::Error, port: u16) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("port {port} is taken (`ss -ltnp 'sport = :{port}'` tells by whom)")
        }
        _ => format!("port {port}: {error}"),
    }
}

/// The program beside this example, built anew where cargo is at hand.
fn build_program() -> PathBuf {
    let example = env::current_exe().unwrap_or_default(); // target/PROFILE/examples/demo
    let folder = example.parent().and_then(|examples| examples.parent());
    let program = folder.map(|folder| folder.join("httplb")).unwrap_or_default();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", "httplb"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let is_built = build.status().is_ok_and(|status| status.success());
    if !is_built && !program.exists() {
        give_up("httplb could not be built; `cargo build --release` tells why");
    }
    program
}

/// The `servers.conf` of this repository, where clients share connections to backends.
fn write_configuration(path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/servers.conf"))?;
    fs::write(path, text.replacen('{', "{ \"multiplex\": \"verified\",", 1))
}

/// Starts httplb and returns once it takes connections.
fn start_program() -> Child {
    if let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000)) {
        give_up(&explain_taken(&error, 9000));
    }
    let configuration = env::current_exe().unwrap_or_default().with_file_name("demo.conf");
    if let Err(error) = write_configuration(&configuration) {
        give_up(&format!("{}: {error}", configuration.display()));
    }
    let mut command = Command::new(build_program());
    let mut child = match command.arg("-c").arg(&configuration).spawn() {
        Ok(child) => child,
        Err(error) => give_up(&format!("{:?}: {error}", command.get_program())),
    };
    while TcpStream::connect((Ipv4Addr::LOCALHOST, 9000)).is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            give_up(&format!("httplb ended at its start, {status}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child
}

fn start_backends() -> Vec<Arc<Backend>> {
    let start = |port| {
        let backend = Arc::new(Backend {
            port,
            is_running: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            streams: Mutex::default(),
        });
        if let Err(error) = backend.start() {
            give_up(&explain_taken(&error, port));
        }
        backend
    };
    PORTS.map(start).to_vec()
}

/// Kills backends and starts them again, as numbers on standard input say.
fn obey(backends: &[Arc<Backend>]) {
    for line in io::stdin().lines().map_while(Result::ok) {
        let Some(number) =
            line.trim().parse::<usize>().ok().filter(|number| (1..=3).contains(number))
        else {
            say("type 1, 2 or 3 and Enter");
            continue;
        };
        let backend = &backends[number - 1];
        if backend.is_running.load(Ordering::SeqCst) {
            backend.kill();
        } else {
            match backend.start() {
                Ok(()) => say(&format!("backend {} is back", backend.port)),
                Err(error) => say(&explain_taken(&error, backend.port)),
            }
        }
    }
}

fn main() {
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => give_up(&format!("signals: {error}")),
    };
    let backends = start_backends();
    let mut program = start_program();
    println!("{WHAT_TO_TRY}");
    thread::spawn(move || obey(&backends));
    loop {
        if signals.pending().next().is_some() {
            let _ = program.kill(); // it has had the Ctrl-C, too, and may have ended
            let _ = program.wait();
            println!();
            say("ended");
            return;
        }
        if let Ok(Some(status)) = program.try_wait() {
            thread::sleep(Duration::from_millis(100)); // for a Ctrl-C that both of us get
            if signals.pending().next().is_none() {
                give_up(&format!("httplb ended, {status}"));
            }
            println!();
            say("ended");
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
