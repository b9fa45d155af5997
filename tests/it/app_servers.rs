//! Application servers at Unix sockets, as Debian has them: gunicorn, uvicorn and puma, each with a short
//! queue, with bodies both ways and with a restart that makes the socket anew.

use crate::common::{
    Client, Program, UnixPlace, assert_same_bytes, json, noise,
    peers::{Folder, tool},
    until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// It answers a GET with as many bytes as its path says, and a request with a body with that body.
const WSGI: &str = "\
def app(environ, start_response):
    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
    if environ['REQUEST_METHOD'] == 'GET':
        body = b'x' * int(environ['PATH_INFO'].strip('/'))
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

const ASGI: &str = "\
async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    body, more = b'', True
    while more:
        part = await receive()
        body, more = body + part.get('body', b''), part.get('more_body', False)
    if scope['method'] == 'GET':
        body = b'x' * int(scope['path'].strip('/'))
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', str(len(body)).encode())]})
    await send({'type': 'http.response.body', 'body': body})
";

const RACK: &str = "\
run ->(env) {
  body = env['REQUEST_METHOD'] == 'GET' ? 'x' * env['PATH_INFO'].delete('/').to_i : env['rack.input'].read
  [200, { 'content-length' => body.bytesize.to_s }, [body]]
}
";

const CLIENTS: usize = 40;
const EACH: usize = 3;

struct AppServer {
    command: Command,
    process: Child,
    at: UnixPlace,
}

impl AppServer {
    /// It listens at `at` when this returns.
    fn start(mut command: Command, at: UnixPlace) -> AppServer {
        let process = AppServer::run(&mut command, &at);
        AppServer { command, process, at }
    }

    fn run(command: &mut Command, at: &UnixPlace) -> Child {
        let log = at.path.with_extension("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut process = command.spawn().expect("an application server");
        until("the application server listens", || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("it ended, {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            UnixStream::connect(&at.path).is_ok()
        });
        process
    }

    fn restart(&mut self) {
        self.stop();
        let _ = fs::remove_file(&self.at.path); // most have removed it themselves
        self.process = AppServer::run(&mut self.command, &self.at);
    }

    /// As an operator stops it: with what it has begun answered.
    fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM); // it may have ended
        let _ = self.process.wait(); // it was seen to run
    }
}

impl Drop for AppServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What holds for each of them.
fn assert_is_served(
    folder: &Folder,
    application: (&str, &str),
    command: impl Fn(&Path) -> Command,
) {
    fs::write(folder.path().join(application.0), application.1).unwrap();
    let at = UnixPlace::at(folder.path().join("app.sock"));
    let mut command = command(&at.path);
    command.current_dir(folder.path());
    let mut server = AppServer::start(command, at);
    let program = Program::operated(json!({
        "workers": 2,
        "backend_servers": [{ "unix": server.at.path }],
        "timeouts": { "connect": "60s" },
    }));
    let address = program.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                for size in [5, 50_000, 500] {
                    let response = client.get(&format!("/{size}"));
                    assert_eq!((response.status, response.body.len()), (200, size));
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("all answers"));
    let shown = program.backend("default", server.at.name()).unwrap();
    let counts = (&shown["requests_total"], &shown["errors_total"]);
    assert_eq!(counts, (&json!(CLIENTS * EACH), &json!(0)), "{}", program.stderr());

    let mut client = program.client();
    let body = noise(3_000_000, 3);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_same_bytes(&client.response().body, &body, "a body up and down");

    server.restart();
    assert_eq!(client.get("/7").body, b"xxxxxxx", "the socket that was made anew is found");
    assert_eq!(program.count_messages(" is down"), 0);
}

#[test]
fn gunicorn_that_serves_one_at_a_time() {
    let folder = Folder::new("gunicorn-sync");
    assert_is_served(&folder, ("app.py", WSGI), |socket| gunicorn(socket, &["-k", "sync"]));
}

#[test]
fn gunicorn_with_threads_and_kept_connections() {
    let folder = Folder::new("gunicorn-gthread");
    assert_is_served(&folder, ("app.py", WSGI), |socket| {
        gunicorn(socket, &["-k", "gthread", "--threads", "4", "--keep-alive", "5"])
    });
}

fn gunicorn(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("gunicorn", "gunicorn"));
    command.arg("-b").arg(format!("unix:{}", socket.display())).args(["--backlog", "8"]);
    command.args(arguments).arg("app:app");
    command
}

#[test]
fn uvicorn_with_a_short_queue() {
    let folder = Folder::new("uvicorn");
    assert_is_served(&folder, ("app.py", ASGI), |socket| {
        let mut command = Command::new(tool("uvicorn", "uvicorn"));
        command.arg("--uds").arg(socket).args(["--backlog", "8", "--app-dir", ".", "app:app"]);
        command
    });
}

#[test]
fn puma_with_a_short_queue() {
    let folder = Folder::new("puma");
    assert_is_served(&folder, ("config.ru", RACK), |socket| {
        let mut command = Command::new(tool("puma", "puma"));
        command.arg("-b").arg(format!("unix://{}?backlog=8", socket.display()));
        command.args(["-t", "1:4", "config.ru"]);
        command
    });
}
