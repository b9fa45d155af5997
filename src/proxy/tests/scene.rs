//! A scene: a proxy, clients and backends that do what the scenario says, step by step.

use std::net::SocketAddr;

use crate::config::{Config, Endpoint};
use crate::mem::time::{Micros, Millis};
use crate::proxy::settings::Settings;
use crate::shared::{PoolId, Registration};
use crate::sys::clock;
use crate::sys::world::{self, End, Faults, Peer};

use super::invariants;
use super::message::{Kind, Message, Reader};
use super::service::{Seats, Service};

/// A proxy with everybody around it. When it is dropped, all leave, and nothing may be left.
pub struct Scene {
    /// The first worker.
    pub service: Service,
    /// Other workers of the same service.
    pub others: Vec<Service>,
    /// So many there were.
    started_others: usize,
    /// What they share.
    pub seats: Seats,
    hosts: Vec<Host>,
    visitors: Vec<Visitor>,
}

/// A backend.
struct Host {
    server: world::Server,
    conns: Vec<HostConn>,
    asked: Vec<Asked>,
    reads: bool,
}

struct HostConn {
    peer: Option<Peer>,
    reader: Reader,
    /// The request that is coming in is listed.
    is_listed: bool,
}

/// A request that came to a backend.
struct Asked {
    /// Of all requests in the scene, this was so late.
    order: usize,
    conn: usize,
    message: Message,
}

/// A client.
struct Visitor {
    peer: Option<Peer>,
    received: Vec<u8>,
    reads: bool,
    end: End,
}

impl Scene {
    /// With the default configuration, and rings of 4 KiB.
    pub fn with_backends(count: usize) -> Scene {
        Scene::with(count, |_| (), |_| ())
    }

    /// With a configuration and limits of the test's own.
    pub fn with(
        count: usize,
        configure: impl FnOnce(&mut Config),
        limit: impl FnOnce(&mut Settings),
    ) -> Scene {
        Scene::of_workers(1, count, configure, limit)
    }

    /// Backends at Unix sockets, `/run/0.sock` and so on.
    pub fn at_unix_sockets(count: usize, configure: impl FnOnce(&mut Config)) -> Scene {
        let at_sockets = |config: &mut Config| {
            for (place, backend) in config.pools[0].backends.iter_mut().enumerate() {
                backend.address = format!("unix:/run/{place}.sock").parse().expect("a path");
            }
            configure(config);
        };
        Scene::with(count, at_sockets, |_| ())
    }

    /// Several workers of one service; `limit` concerns the first.
    pub fn of_workers(
        workers: usize,
        count: usize,
        configure: impl FnOnce(&mut Config),
        limit: impl FnOnce(&mut Settings),
    ) -> Scene {
        world::reset(1, Faults::default());
        let addresses: Vec<SocketAddr> =
            (0..count).map(|place| ([10, 0, 1, place as u8], 80).into()).collect();
        let mut config = Config::for_backends(&addresses);
        config.buffer_size = 4096;
        config.max_connections = 8;
        configure(&mut config);
        // Where the test has put them at Unix sockets, they are there.
        let backends = config.pools[0].backends.iter().map(|backend| backend.address);
        let unix = backends.map(|address| Some(address).filter(|it| it.port().is_none()));
        let moved = unix.chain(std::iter::repeat(None));
        let moved = addresses.iter().zip(moved).map(|(tcp, unix)| unix.unwrap_or((*tcp).into()));
        let host = |address: Endpoint| Host {
            server: world::listen(address),
            conns: Vec::new(),
            asked: Vec::new(),
            reads: true,
        };
        let hosts = moved.map(host).collect();
        // Where there are several, the test may play one more.
        let seats = Seats::new(&config, if workers > 1 { workers + 1 } else { 1 });
        let service = Service::start_in(&seats.seat(0), &config, limit);
        let others = (1..workers).map(|worker| seats.seat(worker));
        let others = others.map(|seat| Service::start_in(&seat, &config, |_| ())).collect();
        let started_others = workers - 1;
        Scene { service, others, started_others, seats, hosts, visitors: Vec::new() }
    }

    /// A client connects.
    pub fn client(&mut self) -> usize {
        self.client_of(0)
    }

    /// A client connects to this worker.
    pub fn client_of(&mut self, worker: usize) -> usize {
        let peer = Some(world::connect(self.worker(worker).address()));
        let visitor = Visitor { peer, received: Vec::new(), reads: true, end: End::Open };
        self.visitors.push(visitor);
        self.settle();
        self.visitors.len() - 1
    }

    /// A client sends, as much as is taken.
    pub fn send(&mut self, client: usize, text: impl AsRef<[u8]>) -> usize {
        let bytes = text.as_ref();
        let mut sent = 0;
        loop {
            let peer = self.visitors[client].peer.as_ref().expect("a client that is here");
            let count = peer.send(&bytes[sent..]);
            sent += count;
            self.settle();
            if count == 0 || sent == bytes.len() {
                return sent;
            }
        }
    }

    /// A client asks for all these paths in one send.
    pub fn get(&mut self, client: usize, paths: &[&str]) {
        let request = |path: &&str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let text: String = paths.iter().map(request).collect();
        self.send(client, text);
    }

    /// A client that comes, asks for one path, gets `body` and is known to have it.
    pub fn warm_up(&mut self, client: usize, path: &str) {
        self.get(client, &[path]);
        self.answer(path, "");
    }

    /// From now on a client reads, or does not.
    pub fn set_reading(&mut self, client: usize, reads: bool) {
        self.visitors[client].reads = reads;
        self.settle();
    }

    /// A client sends no more.
    pub fn half_close(&mut self, client: usize) {
        self.visitors[client].peer.as_ref().expect("a client that is here").shutdown_write();
        self.settle();
    }

    /// A client is no longer looked at.
    pub fn forget(&mut self, client: usize) {
        self.visitors[client].peer = None;
        self.settle();
    }

    /// A client goes away.
    pub fn leave(&mut self, client: usize) {
        self.visitors[client].peer.take().expect("a client that is here").reset();
        self.settle();
    }

    /// All that a client has received.
    pub fn received(&mut self, client: usize) -> String {
        String::from_utf8_lossy(&self.visitors[client].received).into_owned()
    }

    /// The same, as messages; the last may not be whole.
    pub fn messages(&mut self, client: usize) -> Vec<Message> {
        let mut reader = Reader::default();
        reader.feed(&self.visitors[client].received);
        let mut messages = Vec::new();
        while let Some(message) = reader.next(Kind::Response) {
            messages.push(message);
        }
        messages.extend(reader.current().cloned());
        messages
    }

    /// The bodies that a client has received.
    pub fn bodies(&mut self, client: usize) -> Vec<String> {
        let text = |message: Message| String::from_utf8_lossy(&message.body).into_owned();
        self.messages(client).into_iter().map(text).collect()
    }

    /// Status and `Proxy-Status` of the last answer to a client.
    pub fn last_error(&mut self, client: usize) -> (u16, String) {
        let message = self.messages(client).pop().expect("an answer");
        let said = message.head.get("proxy-status").unwrap_or_default();
        (message.head.status(), said.replace("httplb; error=", ""))
    }

    /// How a client sees its connection.
    pub fn end_of(&self, client: usize) -> End {
        self.visitors[client].end
    }

    /// Another backend registers itself.
    pub fn join(&mut self, address: SocketAddr) {
        let entry = Registration::at(address.into());
        let segment = self.service.proxy.segment();
        segment.register(PoolId(0), entry).expect("a free slot");
        let server = world::listen(address);
        self.hosts.push(Host { server, conns: Vec::new(), asked: Vec::new(), reads: true });
    }

    /// Backend `host` refuses connections from now on, or takes them again.
    pub fn refuse(&mut self, host: usize, refuses: bool) {
        self.hosts[host].server.refuse(refuses);
    }

    /// Backend `host` leaves those who connect without an answer from now on.
    pub fn ignore(&mut self, host: usize) {
        self.hosts[host].server.ignore(true);
    }

    /// The server of backend `host`.
    pub fn server(&self, host: usize) -> &world::Server {
        &self.hosts[host].server
    }

    /// The paths that backends were asked for, in the order in which they came.
    pub fn asked(&self) -> Vec<String> {
        let mut all: Vec<&Asked> = self.hosts.iter().flat_map(|host| &host.asked).collect();
        all.sort_by_key(|asked| asked.order);
        all.iter().map(|asked| asked.message.head.word().to_owned()).collect()
    }

    /// How often backends were asked for `path`.
    pub fn times_asked(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == path).count()
    }

    /// The backend that was asked for `path` last, and its connection.
    pub fn place_of(&self, path: &str) -> (usize, usize) {
        let (host, asked) = self.find(path);
        (host, asked.conn)
    }

    /// The backend that was asked for `path` with this value in a field, and its connection.
    pub fn place_with(&self, path: &str, (name, value): (&str, &str)) -> (usize, usize) {
        let found =
            self.asked_for(path).find(|(_, asked)| asked.message.head.get(name) == Some(value));
        let (host, asked) = found.unwrap_or_else(|| panic!("nobody has {path} with {value}"));
        (host, asked.conn)
    }

    /// Whether the connection that `path` came over last is open.
    pub fn place_is_open(&self, path: &str) -> bool {
        let (host, conn) = self.place_of(path);
        self.hosts[host].conns[conn].is_open()
    }

    /// The request for `path` as it came to a backend.
    pub fn request(&self, path: &str) -> &Message {
        &self.find(path).1.message
    }

    fn find(&self, path: &str) -> (usize, &Asked) {
        let found = self.asked_for(path).max_by_key(|(_, asked)| asked.order);
        found.unwrap_or_else(|| panic!("nobody has {path}"))
    }

    fn asked_for(&self, path: &str) -> impl Iterator<Item = (usize, &Asked)> {
        let hosts = self.hosts.iter().enumerate();
        let all =
            hosts.flat_map(|(place, host)| host.asked.iter().map(move |asked| (place, asked)));
        all.filter(move |(_, asked)| asked.message.head.word() == path)
    }

    /// The backend that was asked for `path` says this on its connection.
    pub fn respond(&mut self, path: &str, text: impl AsRef<[u8]>) -> usize {
        self.respond_at(self.place_of(path), text)
    }

    /// This backend says something on this connection.
    pub fn respond_at(&mut self, place: (usize, usize), text: impl AsRef<[u8]>) -> usize {
        let (host, conn) = place;
        let bytes = text.as_ref();
        let mut sent = 0;
        loop {
            let peer = self.hosts[host].conns[conn].peer.as_ref().expect("an open connection");
            let count = peer.send(&bytes[sent..]);
            sent += count;
            self.settle();
            if count == 0 || sent == bytes.len() {
                return sent;
            }
        }
    }

    /// The same, but nobody has its turn.
    pub fn respond_unheard(&mut self, path: &str, text: &str) {
        let (host, conn) = self.place_of(path);
        let peer = self.hosts[host].conns[conn].peer.as_ref().expect("an open connection");
        assert_eq!(peer.send(text.as_bytes()), text.len());
    }

    /// The backend that was asked for `path` answers with `body`.
    pub fn answer(&mut self, path: &str, body: &str) {
        let length = body.len();
        self.respond(path, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"));
    }

    /// The backend that was asked for `path` ends its side of the connection.
    pub fn hang_up(&mut self, path: &str) {
        self.hang_up_at(self.place_of(path));
    }

    /// A backend ends its side of this connection.
    pub fn hang_up_at(&mut self, (host, conn): (usize, usize)) {
        let peer = self.hosts[host].conns[conn].peer.as_ref();
        peer.expect("an open connection").shutdown_write();
        self.settle();
    }

    /// The same, with what it says last: the proxy hears of both at once.
    pub fn respond_and_hang_up(&mut self, path: &str, text: &str) {
        let (host, conn) = self.place_of(path);
        let peer = self.hosts[host].conns[conn].peer.as_ref().expect("an open connection");
        assert_eq!(peer.send(text.as_bytes()), text.len());
        peer.shutdown_write();
        self.settle();
    }

    /// A client asks for `path`, but nobody has its turn.
    pub fn get_unheard(&mut self, client: usize, path: &str) {
        let peer = self.visitors[client].peer.as_ref().expect("a client that is here");
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }

    /// A client sends its last: the proxy hears of both at once.
    pub fn send_and_half_close(&mut self, client: usize, text: &str) {
        let peer = self.visitors[client].peer.as_ref().expect("a client that is here");
        assert_eq!(peer.send(text.as_bytes()), text.len());
        peer.shutdown_write();
        self.settle();
    }

    /// A client sends, and the backend that was asked for `path` breaks off, in one moment.
    pub fn break_off_unheard(&mut self, path: &str, client: usize, bytes: &[u8]) {
        let peer = self.visitors[client].peer.as_ref().expect("a client that is here");
        assert_eq!(peer.send(bytes), bytes.len());
        self.reset(path);
    }

    /// What came over the connection of `path` behind its head.
    pub fn said(&self, path: &str) -> String {
        let (host, conn) = self.place_of(path);
        String::from_utf8_lossy(self.hosts[host].conns[conn].reader.rest()).into_owned()
    }

    /// Backends read nothing from now on, or read again.
    pub fn stop_backends_reading(&mut self, stopped: bool) {
        self.hosts.iter_mut().for_each(|host| host.reads = !stopped);
        self.settle();
    }

    /// The backend that was asked for `path` breaks the connection off.
    pub fn reset(&mut self, path: &str) {
        self.reset_at(self.place_of(path));
    }

    /// A backend breaks this connection off.
    pub fn reset_at(&mut self, (host, conn): (usize, usize)) {
        self.hosts[host].conns[conn].peer.take().expect("an open connection").reset();
        self.settle();
    }

    /// Connections that backends have open.
    pub fn backend_conns(&self) -> usize {
        let conns = self.hosts.iter().flat_map(|host| &host.conns);
        conns.filter(|conn| conn.is_open()).count()
    }

    /// One of the workers.
    pub fn worker(&mut self, worker: usize) -> &mut Service {
        if worker == 0 { &mut self.service } else { &mut self.others[worker - 1] }
    }

    /// Lets time pass.
    pub fn advance(&mut self, millis: u64) {
        let until = clock::now() + Micros::from(Millis(millis));
        while !self.others.is_empty() && clock::now() < until {
            for worker in 0..=self.others.len() {
                self.worker(worker).turn(Millis(1));
            }
        }
        self.service.advance((until - clock::now()).millis());
        self.settle();
    }

    /// Lets everything come to rest.
    pub fn settle(&mut self) {
        self.settle_workers();
        while self.listen() {
            self.settle_workers();
        }
    }

    fn settle_workers(&mut self) {
        self.service.settle();
        while self.others.iter_mut().any(|worker| !worker.is_settled()) {
            self.service.settle();
        }
    }

    /// Takes what came to clients and backends. Whether anything did.
    fn listen(&mut self) -> bool {
        let mut any = false;
        for visitor in &mut self.visitors {
            any |= visitor.listen();
        }
        let mut order = self.asked().len();
        for host in &mut self.hosts {
            any |= host.listen(&mut order);
        }
        any
    }
}

impl Visitor {
    fn listen(&mut self) -> bool {
        let Some(peer) = self.peer.as_ref().filter(|_| self.reads) else { return false };
        let bytes = peer.receive();
        self.received.extend(&bytes);
        self.end = peer.seen_end();
        !bytes.is_empty()
    }
}

impl HostConn {
    /// Whether neither side has ended it, as far as the backend knows.
    fn is_open(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.seen_end() == End::Open)
    }
}

impl Host {
    fn listen(&mut self, order: &mut usize) -> bool {
        while let Some(peer) = self.server.accept() {
            let reader = Reader::default();
            self.conns.push(HostConn { peer: Some(peer), reader, is_listed: false });
        }
        let mut any = false;
        for (place, conn) in self.conns.iter_mut().enumerate() {
            let Some(peer) = &conn.peer else { continue };
            let bytes = if self.reads { peer.receive() } else { Vec::new() };
            any |= !bytes.is_empty();
            conn.reader.feed(&bytes);
            loop {
                let whole = conn.reader.next(Kind::Request);
                let Some(message) = whole.as_ref().or(conn.reader.current()) else { break };
                if conn.is_listed {
                    let listed = self.asked.iter_mut().rfind(|asked| asked.conn == place);
                    listed.expect("it is listed").message = message.clone();
                } else {
                    let message = message.clone();
                    self.asked.push(Asked { order: *order, conn: place, message });
                    *order += 1;
                }
                conn.is_listed = whole.is_none();
                if whole.is_none() {
                    break;
                }
            }
        }
        any
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.visitors.clear();
        self.settle_workers();
        self.hosts.clear();
        self.settle_workers();
        self.advance(6000);
        for worker in 0..=self.others.len() {
            invariants::is_over(&self.worker(worker).proxy);
        }
        invariants::is_unclaimed(self.seats.segment);
        if self.others.len() == self.started_others {
            invariants::is_counted(self.seats.segment); // What a worker had that died is lost.
        }
    }
}
