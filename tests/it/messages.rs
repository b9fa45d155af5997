//! What the operator reads on standard error: how grave it is, how often it comes, and that nobody
//! waits for the reader.

use crate::common::{
    Answer, Backend, Client, Program, Value, eventually, json, process, program::binary,
    program::plain, servers, stored::Shelf, until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{ErrorKind, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Stdio},
};

/// One that always answers another request, and refuses no connection.
fn mixed_up() -> Backend {
    Backend::answering(|_| Answer::text("WRONG").with("X-Request-ID", "somebody-elses"))
}

/// The program with a standard error that is not read, whose end is `errors`.
struct Unread {
    child: Child,
    folder: PathBuf,
    address: std::net::SocketAddr,
    status: std::net::SocketAddr,
}

impl Unread {
    fn start(name: &str, errors: impl Into<Stdio>, backends: &[&Backend]) -> Unread {
        let folder = std::env::temp_dir().join(format!("httplb-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (address, status) = (Backend::absent().address, Backend::absent().address);
        let config = json!({
            "listen": [address.to_string()],
            "status_listen": status.to_string(),
            "workers": 2,
            "request_id": "require",
            "health_check": { "interval": "100ms" },
            "backend_servers": servers(backends),
        });
        fs::write(folder.join("servers.conf"), config.to_string()).unwrap();
        let mut command = plain(binary());
        command.arg(folder.join("servers.conf")).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(errors).spawn().unwrap();
        let unread = Unread { child, folder, address, status };
        until("it listens", || std::net::TcpStream::connect(unread.address).is_ok());
        until("its status page", || std::net::TcpStream::connect(unread.status).is_ok());
        unread
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn dropped(&self) -> u64 {
        let metrics = Client::connect(self.status).get("/metrics").text();
        let mut lines = metrics.lines();
        let number = lines.find_map(|line| line.strip_prefix("httplb_dropped_messages_total "));
        number.expect("a metric").parse().unwrap()
    }

    /// Has master, control and workers say something, each of which must go on after that.
    fn have_all_speak(&mut self, gone: Backend) {
        // The control process: a backend is down.
        let address = gone.address.to_string();
        drop(gone);
        let is_down = || {
            let page = Client::connect(self.status).get("/metrics").text();
            page.lines().any(|line| {
                line.contains(&address)
                    && line.starts_with("httplb_backend_up")
                    && line.ends_with(" 0")
            })
        };
        until("a backend is down", is_down);
        // A worker: the answer is another's.
        for _ in 0..8 {
            assert_eq!(Client::connect(self.address).get("/").status, 502);
        }
        // The master: a worker died, and a reload.
        let is_worker = |pid: &Pid| process::name(*pid).is_some_and(|name| name == "httplb-w0");
        let worker = || process::children(self.pid()).into_iter().find(is_worker);
        let killed = eventually("a worker", worker);
        process::kill(killed);
        until("another worker", || worker().is_some_and(|other| other != killed));
        let control = |pid: &Pid| process::name(*pid).is_some_and(|name| name == "httplb-control");
        let control = || process::children(self.pid()).into_iter().find(control);
        let before = control();
        kill_process(self.pid(), Signal::HUP).unwrap();
        until("a new generation", || control().is_some_and(|other| Some(other) != before));
        until("it answers", || self.dropped() > 0);
        assert_eq!(Client::connect(self.address).get("/").status, 502);
        kill_process(self.pid(), Signal::TERM).unwrap();
        let status = eventually("it ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended, as a rule
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder); // only a temporary folder
    }
}

#[test]
fn a_full_pipe_that_nobody_reads_holds_no_process_up() {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (gone, other) = (Backend::named("gone"), mixed_up());
    let filled = fs::File::from(writer.try_clone().unwrap());
    fill(&filled, 1 << 16);
    let mut program = Unread::start("pipe", writer, &[&gone, &other]);
    program.have_all_speak(gone);
    drop((reader, filled));
}

#[test]
fn what_others_write_to_the_same_file_comes_in_its_turn() {
    let path = std::env::temp_dir().join(format!("httplb-shared-{}.log", std::process::id()));
    // As a shell has it for `{ echo before; httplb FILE; echo after; } >path 2>&1`.
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let backend = Backend::named("a");
    let mut program = Unread::start("shared", file.try_clone().unwrap(), &[&backend]);
    until("it is ready", || fs::read_to_string(&path).unwrap().contains(": ready\n"));
    kill_process(program.pid(), Signal::TERM).unwrap();
    let status = eventually("it ends", || program.child.try_wait().unwrap());
    file.write_all(b"after\n").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(status.success() && text.starts_with("before\nhttplb"), "{text}");
    let is_whole = text.lines().skip(1).all(|line| line.starts_with("httplb") || line == "after");
    assert!(is_whole && text.contains(": ready\n") && text.ends_with("\nafter\n"), "{text}");
}

/// Fills a pipe without waiting: it takes so many bytes.
fn fill(mut pipe: &fs::File, size: usize) {
    pipe.write_all(&vec![b'x'; size]).unwrap();
}

#[test]
fn a_full_socket_that_nobody_reads_holds_no_process_up() {
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while match (&writer).write(&[b'x'; 100]) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    } {}
    writer.set_nonblocking(false).unwrap();
    let (gone, other) = (Backend::named("gone"), mixed_up());
    let mut program = Unread::start("socket", OwnedFd::from(writer), &[&gone, &other]);
    program.have_all_speak(gone);
    drop(reader);
}

#[test]
fn what_all_workers_notice_is_told_once_a_minute() {
    let backend = mixed_up();
    let program = Program::with(json!({
        "workers": 2,
        "request_id": "require",
        "access_log": "/dev/full",
        "backend_servers": servers(&[&backend]),
    }));
    for _ in 0..40 {
        assert_eq!(program.get("/").status, 502);
    }
    program.wait_for_message("lines were dropped");
    // The log is written, and fails to be, each second.
    for _ in 0..15 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        program.get("/");
    }
    assert_eq!(program.count_messages("answered another request"), 1, "{}", program.stderr());
    assert_eq!(program.count_messages("lines were dropped"), 1, "{}", program.stderr());
}

#[test]
fn a_line_that_a_full_disk_has_cut_gets_its_end_when_there_is_room_again() {
    let Some(shelf) = Shelf::small(1) else { return };
    let folder = shelf.path().parent().unwrap().to_owned();
    let (filler, log) = (folder.join("filler"), folder.join("access.log"));
    fs::write(&filler, vec![b'x'; (1 << 20) - (16 << 10)]).unwrap();
    let backend = Backend::named("a");
    let program = Program::with(json!({
        "workers": 1,
        "access_log": log,
        "backend_servers": servers(&[&backend]),
    }));
    (0..200).for_each(|_| assert_eq!(program.get("/before").status, 200));
    program.wait_for_message("lines were dropped");
    fs::remove_file(filler).unwrap();
    assert_eq!(program.get("/after").status, 200);
    let text = eventually("there is a line again", || {
        fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("/after\"") && text.ends_with('\n'))
    });
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

fn in_journal(config: Value) -> Program {
    Program::by(config, |_| {
        let mut command = plain(binary());
        command.env("JOURNAL_STREAM", "1:1");
        command
    })
}

#[test]
fn the_journal_has_one_level_for_a_message_and_the_worst_for_a_pool_without_backends() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let program = in_journal(json!({
        "health_check": { "interval": "100ms" },
        "backend_servers": servers(&[&backends[0], &backends[1]]),
    }));
    program.write_config(r#"{ "timeouts": { "connect": "5" }, "nonsense": 1 }"#);
    let why = program.fail_to_reload();
    program.wait_for_message("exited with status 78\n");
    let stderr = program.stderr();
    let message = stderr.split("<3>httplb: not reloaded: ").nth(1).expect(&stderr);
    assert!(message.lines().skip(1).all(|line| line.starts_with("<3>  ")), "{why}");
    for backend in backends {
        let address = backend.address;
        drop(backend);
        program.wait_for_message(&format!("backend {address} is down"));
    }
    let stderr = program.stderr();
    let levels: Vec<&str> =
        stderr.lines().filter(|line| line.contains(" is down")).map(|line| &line[..3]).collect();
    assert_eq!(levels, ["<4>", "<3>"], "{stderr}");
}
