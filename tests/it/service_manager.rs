//! What systemd is told, played by a socket; and the sockets that it passes.
//!
//! All in one test: a socket that is passed is, for a moment, one that any child of this process has.

use crate::common::{Backend, Program, json, process, program::plain, servers, until};
use rustix::{
    fd::AsRawFd,
    io::{FdFlags, fcntl_setfd},
    process::Signal,
};
use socket2::{Domain, Socket, Type};
use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    path::Path,
};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn hears(&mut self) -> &[String] {
        let mut message = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut message) {
            self.heard.push(String::from_utf8_lossy(&message[..len]).into_owned());
        }
        &self.heard
    }

    /// Waits until it has heard this, and returns what came before.
    fn wait_for(&mut self, text: &str) -> Vec<String> {
        until(&format!("{text:?} is told"), || self.hears().iter().any(|heard| heard == text));
        let place = self.heard.iter().position(|heard| heard == text).unwrap();
        let mut before: Vec<String> = self.heard.drain(..=place).collect();
        before.pop();
        before
    }
}

fn managed(workers: usize, listen: &[SocketAddr], backends: &[&Backend]) -> (Program, Manager) {
    managed_by(workers, listen, backends, |_| ())
}

/// With a manager at whose socket something is done before the start.
fn managed_by(
    workers: usize,
    listen: &[SocketAddr],
    backends: &[&Backend],
    prepare: impl FnOnce(&Path),
) -> (Program, Manager) {
    let listen: Vec<String> = listen.iter().map(SocketAddr::to_string).collect();
    let config = json!({
        "workers": workers,
        "listen": listen,
        "backend_servers": servers(backends),
        "timeouts": { "connect": "500ms" },
    });
    let mut manager = None;
    let program = Program::by(config, |folder| {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        prepare(&path);
        manager = Some(Manager { socket, heard: Vec::new() });
        let mut command = plain(crate::common::program::binary());
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "400000");
        command
    });
    (program, manager.unwrap())
}

fn tells_the_service_manager_how_it_goes() {
    let mut backends = [Backend::named("a"), Backend::named("b"), Backend::named("c")];
    let address = Backend::absent().address;
    let (mut program, mut manager) = managed(2, &[address], &backends.each_ref());
    let before = manager.wait_for("READY=1");
    for seat in 0..2 {
        let stored = format!("FDSTORE=1\nFDNAME=127.0.0.1_{}.{seat}", address.port());
        assert!(before.contains(&stored), "{before:?}");
    }
    manager.wait_for("STATUS=2 workers, 3/3 backends up");
    // It is heard of twice in each interval.
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");

    backends[1].stop();
    for _ in 0..12 {
        assert_eq!(program.get("/").status, 200);
    }
    manager.wait_for("STATUS=2 workers, 2/3 backends up");
    backends[1].start_again();
    manager.wait_for("STATUS=2 workers, 3/3 backends up");

    let other = Backend::absent().address;
    program.configure(|config| config["listen"] = json!([other.to_string()]));
    program.signal(Signal::HUP);
    let before = manager.wait_for("READY=1");
    let reloading = before.iter().find(|heard| heard.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(reloading.is_some(), "{before:?}");
    let gone = format!("FDSTOREREMOVE=1\nFDNAME=127.0.0.1_{}.1", address.port());
    assert!(before.contains(&gone), "{before:?}");
    assert!(before.contains(&format!("FDSTORE=1\nFDNAME=127.0.0.1_{}.0", other.port())));

    program.write_config("{");
    program.signal(Signal::HUP);
    let before = manager.wait_for("READY=1");
    assert!(before.iter().any(|heard| heard.starts_with("RELOADING=1")), "{before:?}");
    program.configure(|config| config["timeouts"]["withdraw"] = json!("2s"));
    program.reload();
    manager.wait_for("READY=1");
    program.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    manager.wait_for("EXTEND_TIMEOUT_USEC=15000000");
    manager.wait_for("STATUS=withdrawn, 2 workers, 3/3 backends up");
    assert!(program.wait_for_exit().success());
}

/// Tells the manager so much that it has no room for more.
fn fill(path: &Path) {
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"X_NOISE=1", path).is_ok() {}
}

fn tells_a_service_manager_that_was_busy_when_it_is_not() {
    let backend = Backend::named("a");
    let listen: Vec<SocketAddr> = (0..8).map(|_| Backend::absent().address).collect();
    let (program, mut manager) = managed_by(4, &listen, &[&backend], fill);
    let before = manager.wait_for("READY=1");
    for (address, seat) in listen.iter().flat_map(|address| (0..4).map(move |seat| (address, seat)))
    {
        let stored = format!("FDSTORE=1\nFDNAME=127.0.0.1_{}.{seat}", address.port());
        assert!(before.contains(&stored), "{stored} in {before:?}");
    }
    // What this image cannot tell, the next one does.
    fill(&program.folder.join("notify"));
    program.reload();
    let before = manager.wait_for("READY=1");
    assert!(before.iter().any(|heard| heard.starts_with("RELOADING=1")), "{before:?}");
}

/// A socket that listens in a group.
fn shared(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket
}

/// The program, started by a shell that passes these sockets under the numbers from 3 on.
fn activated(config: crate::common::Value, sockets: &[&dyn AsRawFd], names: &str) -> Program {
    activated_with(config, sockets, sockets.len(), names)
}

/// The same, and it is told that there are `count`.
fn activated_with(
    config: crate::common::Value,
    sockets: &[&dyn AsRawFd],
    count: usize,
    names: &str,
) -> Program {
    let mut script = String::from("exec ");
    for (place, socket) in sockets.iter().enumerate() {
        let number = socket.as_raw_fd();
        assert!(number > 2 + sockets.len() as i32, "{number}");
        script.push_str(&format!("{}<&{number} {number}<&- ", place + 3));
    }
    script.push_str("\nexport LISTEN_PID=$$\nexec \"$@\"");
    Program::by(config, |_| {
        let mut command = plain("bash"); // sh knows no numbers of two digits
        command.arg("-c").arg(script).arg("bash").arg(crate::common::program::binary());
        command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
        command
    })
}

fn pass_on<S: std::os::fd::AsFd>(socket: &S) {
    fcntl_setfd(socket, FdFlags::empty()).unwrap();
}

fn takes_one_socket_that_all_workers_share() {
    let backend = Backend::named("a");
    // Far from the numbers that are to be theirs.
    let _fill: Vec<TcpListener> =
        (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let [wanted, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, unwanted] = [&wanted, &other].map(|socket| socket.local_addr().unwrap());
    pass_on(&wanted);
    pass_on(&other);
    // Who connects before there is a service waits for it.
    let mut early = crate::common::Client::connect(address);
    early.ask("/");
    let config = json!({
        "workers": 2,
        "listen": [address.to_string()],
        "backend_servers": servers(&[&backend]),
    });
    let program = activated(config, &[&wanted, &other], "httplb.socket:httplb.socket");
    drop((wanted, other));
    assert_eq!(early.response().text(), "a");
    program.wait_for_message(&format!("the passed socket {unwanted} is closed"));
    assert!(TcpStream::connect(unwanted).is_err());
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "a");
    }
    program.reload();
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "a");
    }
}

fn takes_a_unix_socket_whose_file_stays_the_managers() {
    let backend = Backend::named("a");
    let _fill: Vec<TcpListener> =
        (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let folder = crate::common::peers::Folder::new("activated");
    let [wanted, other] = ["http.sock", "other.sock"].map(|name| folder.path().join(name));
    let sockets = [&wanted, &other].map(|path| UnixListener::bind(path).unwrap());
    sockets.iter().for_each(pass_on);
    let mut early = crate::common::Client::at_unix(&wanted);
    early.ask("/");
    let config = json!({
        "workers": 2,
        "listen": ["127.0.0.1:0", format!("unix:{}", wanted.display())],
        "backend_servers": servers(&[&backend]),
    });
    let names = "httplb.socket:httplb.socket";
    let mut program = activated(config, &[&sockets[0], &sockets[1]], names);
    drop(sockets);
    assert_eq!(early.response().text(), "a");
    let closed = format!("the passed socket unix:{} is closed", other.display());
    program.wait_for_message(&closed);
    // What another test started meanwhile may have been given it too.
    until("nobody listens there", || UnixStream::connect(&other).is_err());
    let get = || crate::common::Client::at_unix(&wanted).get("/").text();
    assert_eq!(get(), "a");
    program.reload();
    assert_eq!(get(), "a");
    program.signal(Signal::TERM);
    assert!(program.wait_for_exit().success());
    assert!(wanted.exists() && other.exists());
}

fn closes_what_is_passed_and_of_no_use() {
    let backend = Backend::named("a");
    let _fill: Vec<TcpListener> =
        (0..12).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let wanted = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = wanted.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    let connected = TcpStream::connect(address).unwrap();
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (unix, _other_end) = UnixDatagram::pair().unwrap();
    let file = std::fs::File::open("/dev/zero").unwrap();
    let passed: [&dyn AsRawFd; 6] = [&datagrams, &connected, &silent, &unix, &file, &wanted];
    pass_on(&datagrams);
    pass_on(&connected);
    pass_on(&silent);
    pass_on(&unix);
    pass_on(&file);
    pass_on(&wanted);
    let config = json!({
        "workers": 2,
        "listen": [address.to_string()],
        "backend_servers": servers(&[&backend]),
    });
    // There are fewer than it is told, and more names.
    let program = activated_with(config, &passed, 9, "a:b:c:d:e:f:g:h:i:j:k");
    drop((wanted, connected));
    for name in ["a", "b", "c", "d", "e"] {
        program.wait_for_message(&format!("the passed descriptor \"{name}\" is closed: "));
    }
    let is_kept = |pid| process::open_files(pid).iter().any(|file| file == "/dev/zero");
    assert!(!program.processes().into_iter().any(is_kept));
    assert_eq!(program.get("/").text(), "a");
    program.reload();
    assert_eq!(program.get("/").text(), "a");
}

fn takes_stored_sockets_back_after_a_crash() {
    let backend = Backend::named("a");
    let _fill: Vec<TcpListener> =
        (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let address = Backend::absent().address;
    let sockets = [shared(address), shared(address), shared(address)];
    sockets.iter().for_each(pass_on);
    let port = address.port();
    let names = format!("127.0.0.1_{port}.2:127.0.0.1_{port}.0:127.0.0.1_{port}.1");
    let config = json!({
        "workers": 2,
        "listen": [address.to_string()],
        "backend_servers": servers(&[&backend]),
    });
    let mut waiting: Vec<crate::common::Client> =
        (0..30).map(|_| crate::common::Client::connect(address)).collect();
    waiting.iter_mut().for_each(|client| client.ask("/"));
    let program = activated(config, &[&sockets[2], &sockets[0], &sockets[1]], &names);
    drop(sockets);
    for client in &mut waiting {
        assert_eq!(client.response().text(), "a");
    }
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "a");
    }
    let processes = program.processes();
    drop(program);
    assert!(!processes.into_iter().any(process::lives));
    until("the port is free", || TcpListener::bind(address).is_ok());
}

#[test]
fn it_is_managed_as_sd_notify_and_sd_listen_fds_have_it() {
    tells_the_service_manager_how_it_goes();
    tells_a_service_manager_that_was_busy_when_it_is_not();
    closes_what_is_passed_and_of_no_use();
    takes_one_socket_that_all_workers_share();
    takes_a_unix_socket_whose_file_stays_the_managers();
    takes_stored_sockets_back_after_a_crash();
}
