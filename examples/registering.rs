//! A backend that registers itself: it tells httplb where it is, renews its lease for as long as
//! it lives, and takes its leave when it ends. Nobody writes its address into a file.
//!
//! ```text
//! cargo run --example registering -- [OPTIONS]
//!   --pool NAME            the pool that it joins, which is made if there is none (default)
//!   --listen IP:PORT       where it serves (127.0.0.1:0: a port that the kernel chooses)
//!   --admin PATH|IP:PORT   the socket or address of httplb's admin API (/run/httplb/admin.sock)
//!   --token TOKEN          for an address
//!   --lease SECONDS        it is removed after that time without a sign of life (10)
//!   --weight N             its share (1)
//! ```
//!
//! It answers every request with its name. Ctrl-C or TERM ends it: it is removed first, and serves
//! until httplb has sent its last request.

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the command line says.
#[derive(Clone)]
struct Options {
    pool: String,
    listen: SocketAddr,
    admin: String,
    token: Option<String>,
    lease: u64,
    weight: u32,
}

impl Options {
    fn parse() -> Result<Options, Box<dyn Error>> {
        let mut options = Options {
            pool: String::from("default"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: String::from("/run/httplb/admin.sock"),
            token: None,
            lease: 10,
            weight: 1,
        };
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--pool" => options.pool = value,
                "--listen" => options.listen = value.parse()?,
                "--admin" => options.admin = value,
                "--token" => options.token = Some(value),
                "--lease" => options.lease = value.parse()?,
                "--weight" => options.weight = value.parse()?,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }
}

/// The admin API, as far as a backend needs it.
struct Registry {
    options: Options,
    /// Where this backend serves.
    own: SocketAddr,
}

impl Registry {
    /// Registers, or renews the lease: the same request does both.
    fn register(&self) -> io::Result<u16> {
        let (lease, weight) = (self.options.lease, self.options.weight);
        self.ask("PUT", &format!("?lease={lease}s&weight={weight}"))
    }

    /// Asks to be removed. Requests that are under way go on.
    fn leave(&self) -> io::Result<u16> {
        self.ask("DELETE", "")
    }

    /// Sends a request about this backend, and returns the status of the answer.
    fn ask(&self, method: &str, query: &str) -> io::Result<u16> {
        let token = match &self.options.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let path = format!("/v1/pools/{}/backends/{}", self.options.pool, self.own);
        let request = format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: httplb\r\n{token}Connection: close\r\n\r\n"
        );
        let answer = self.exchange(&request)?;
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
        let status: u16 = status.ok_or(io::Error::other("not an answer of httplb"))?;
        if status >= 400 {
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim();
            eprintln!("{method} {path}: {status} {body}");
        }
        Ok(status)
    }

    fn exchange(&self, request: &str) -> io::Result<String> {
        let patience = Some(Duration::from_secs(5));
        let mut answer = String::new();
        if self.options.admin.starts_with('/') {
            let mut socket = UnixStream::connect(&self.options.admin)?;
            socket.set_read_timeout(patience)?;
            socket.write_all(request.as_bytes())?;
            socket.read_to_string(&mut answer)?;
        } else {
            let mut socket = TcpStream::connect(&self.options.admin)?;
            socket.set_read_timeout(patience)?;
            socket.write_all(request.as_bytes())?;
            socket.read_to_string(&mut answer)?;
        }
        Ok(answer)
    }
}

/// Serves one connection until either side ends it.
fn serve(stream: TcpStream, name: &str, working: &AtomicUsize) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        working.fetch_add(1, Ordering::SeqCst);
        let mut id = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(digits) = lower.strip_prefix("content-length:") {
                length = digits.trim().parse().unwrap_or(0);
            } else if lower.starts_with("x-request-id:") {
                id.clone_from(&line); // returned as it came: httplb verifies it
            }
        }
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let body = format!("{name}\n");
        let answered = write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{id}\r\n{body}",
            body.len()
        );
        working.fetch_sub(1, Ordering::SeqCst);
        answered?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let listener = TcpListener::bind(options.listen)?;
    let own = listener.local_addr()?;
    let name = format!("backend {own} of pool {}", options.pool);
    println!("{name}");
    let working = Arc::new(AtomicUsize::new(0));
    let counter = working.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (name, counter) = (name.clone(), counter.clone());
            thread::spawn(move || serve(stream, &name, &counter));
        }
    });

    let lease = Duration::from_secs(options.lease);
    let registry = Arc::new(Registry { options, own });
    let is_leaving = Arc::new(AtomicBool::new(false));
    let (renewing, leaves) = (registry.clone(), is_leaving.clone());
    thread::spawn(move || {
        while !leaves.load(Ordering::SeqCst) {
            // Three tries within each lease: one may fail while httplb is restarted.
            if let Err(error) = renewing.register() {
                eprintln!("httplb cannot be told: {error} (tried again)");
            }
            thread::sleep(lease / 3);
        }
    });

    Signals::new([SIGINT, SIGTERM])?.forever().next();
    is_leaving.store(true, Ordering::SeqCst);
    if let Err(error) = registry.leave() {
        eprintln!("httplb cannot be told: {error}");
    }
    // What httplb had sent before is answered.
    thread::sleep(Duration::from_millis(200));
    let deadline = Instant::now() + Duration::from_secs(10);
    while working.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    process::exit(0);
}
