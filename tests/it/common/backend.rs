//! Backends that do as they are told and remember what reached them.

use super::{
    DEADLINE, Gate, eventually,
    message::{self, Framing, Request},
    unix::{self, UnixPlace},
    until,
    wire::{End, Wire},
};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

type Handler = dyn Fn(&mut Connection) + Send + Sync;

pub struct Backend {
    pub address: SocketAddr,
    /// Where it listens instead, if it does, and how many connections may wait there.
    unix: Option<UnixPlace>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    log: Mutex<Log>,
    is_stopping: AtomicBool,
    /// Sockets that only have to stay open.
    held: Mutex<Vec<Socket>>,
}

impl Shared {
    fn new(handler: impl Fn(&mut Connection) + Send + Sync + 'static) -> Shared {
        Shared {
            handler: Box::new(handler),
            log: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    /// All bytes of each connection, in the order of their opening.
    received: Vec<Arc<Mutex<Vec<u8>>>>,
    streams: Vec<Option<TcpStream>>,
}

/// The pool key `backend_servers` for these.
pub fn servers(backends: &[&Backend]) -> Value {
    backends.iter().map(|backend| backend.server()).collect()
}

/// A port below the kernel's range for outgoing connections, so that nothing takes it while a
/// test has left it unbound. Different processes begin at different places.
fn bind_somewhere() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let start = nanos / 1000 + process::id() * 97;
    let _ = NEXT.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
    loop {
        let port = 11_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16)) {
            return listener;
        }
    }
}

impl Backend {
    /// One whose `handler` has each connection for itself, on a thread of its own. The
    /// connection is closed in an orderly way when it returns.
    pub fn talking(handler: impl Fn(&mut Connection) + Send + Sync + 'static) -> Backend {
        let listener = bind_somewhere();
        let mut backend = Backend {
            address: listener.local_addr().unwrap(),
            unix: None,
            shared: Arc::new(Shared::new(handler)),
            acceptor: None,
        };
        backend.listen(move || Ok(listener.accept()?.0));
        backend
    }

    /// One that reads whole requests and answers each, at an address of the test's choice.
    pub fn answering_on(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Backend {
        let shared = Arc::new(Shared::new(answer_each(answer)));
        let mut backend = Backend { address, unix: None, shared, acceptor: None };
        backend.start_again();
        backend
    }

    /// The same at a Unix socket.
    pub fn talking_at(
        unix: UnixPlace,
        handler: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Backend {
        let mut backend = Backend {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            unix: Some(unix),
            shared: Arc::new(Shared::new(handler)),
            acceptor: None,
        };
        backend.start_again();
        backend
    }

    /// One at a Unix socket that reads whole requests and answers each.
    pub fn answering_at(
        unix: UnixPlace,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Backend {
        Backend::talking_at(unix, answer_each(answer))
    }

    /// One that reads whole requests and answers each.
    pub fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Backend {
        Backend::talking(answer_each(answer))
    }

    /// One that answers with its name, requests for `/hold` once the gate is open.
    pub fn holding(name: &'static str, gate: &Gate) -> Backend {
        let gate = gate.clone();
        Backend::answering(move |request| {
            if request.target == "/hold" {
                gate.wait();
            }
            Answer::text(name)
        })
    }

    /// One that answers each request once the gate is open.
    pub fn gated(
        gate: &Gate,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Backend {
        let gate = gate.clone();
        Backend::answering(move |request| {
            gate.wait();
            answer(request)
        })
    }

    /// One that answers with its name.
    pub fn named(name: &'static str) -> Backend {
        Backend::answering(move |_| Answer::text(name))
    }

    /// One that does the same to each request, once its head and body came.
    pub fn always(answer: Answer) -> Backend {
        Backend::answering(move |_| answer.clone())
    }

    /// An address where nobody listens.
    pub fn absent() -> Backend {
        let mut backend = Backend::named("absent");
        backend.stop();
        backend
    }

    /// An address that takes no more connections: its handshakes never end.
    pub fn full() -> Backend {
        let backend = Backend::absent();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&backend.address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut held = vec![listener];
        for _ in 0..8 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&backend.address.into()); // in progress, most of them for ever
            held.push(socket);
        }
        *backend.shared.held.lock().unwrap() = held;
        backend
    }

    fn listen(&mut self, next: impl Fn() -> io::Result<TcpStream> + Send + 'static) {
        self.shared.is_stopping.store(false, Ordering::SeqCst);
        let shared = self.shared.clone();
        self.acceptor = Some(thread::spawn(move || accept(next, &shared)));
    }

    /// Listens no longer and closes all its connections, as a process that is killed.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        // That wakes the acceptor. Its queue may be full, and then it is awake.
        match &self.unix {
            None => drop(TcpStream::connect(self.address)),
            Some(place) => drop(place.connect()),
        }
        acceptor.join().unwrap();
        self.close_connections();
    }

    /// Listens again, on the same port, or at a new socket of the same path.
    pub fn start_again(&mut self) {
        if let Some(place) = &self.unix {
            let listener = place.listen();
            return self.listen(move || Ok(unix::as_stream(listener.accept()?.0)));
        }
        let address = self.address;
        let listener = eventually("the port is free", || TcpListener::bind(address).ok());
        self.listen(move || Ok(listener.accept()?.0));
    }

    /// Closes all connections that are open now.
    pub fn close_connections(&self) {
        for stream in self.shared.log.lock().unwrap().streams.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed already
        }
    }

    pub fn server(&self) -> Value {
        match &self.unix {
            None => json!({ "ip": self.address.ip().to_string(), "port": self.address.port() }),
            Some(place) => json!({ "unix": place.path }),
        }
    }

    /// Its entry of `backend_servers`, with further keys.
    pub fn server_with(&self, more: Value) -> Value {
        let mut server = self.server();
        let keys = more.as_object().expect("an object").clone();
        server.as_object_mut().unwrap().extend(keys);
        server
    }

    /// The requests that came so far: whole ones, and heads that a handler asked for alone.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().requests.clone()
    }

    pub fn request_count(&self) -> usize {
        self.shared.log.lock().unwrap().requests.len()
    }

    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        until(&format!("{count} requests at a backend"), || self.request_count() >= count);
        self.requests()
    }

    pub fn last_request(&self) -> Request {
        self.requests().pop().expect("a request")
    }

    /// How many connections were opened to it so far.
    pub fn connection_count(&self) -> usize {
        self.shared.log.lock().unwrap().received.len()
    }

    pub fn open_connection_count(&self) -> usize {
        self.shared.log.lock().unwrap().streams.iter().flatten().count()
    }

    /// All bytes that each connection brought so far.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let log = self.shared.log.lock().unwrap();
        log.received.iter().map(|bytes| bytes.lock().unwrap().clone()).collect()
    }

    /// Waits until all connections have ended, then tells all that they brought. The program
    /// must be stopped before, or the backend's handlers end by themselves.
    pub fn received_in_all(&self) -> Vec<Vec<u8>> {
        until("all connections of a backend ended", || self.open_connection_count() == 0);
        self.received()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answer_each(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while let Some(request) = connection.request() {
            if !connection.give(&answer(&request), &request) {
                return;
            }
        }
    }
}

fn accept(next: impl Fn() -> io::Result<TcpStream>, shared: &Arc<Shared>) {
    loop {
        let accepted = next();
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = accepted else { continue };
        let mut wire = Wire::new(stream);
        let record = Arc::new(Mutex::new(Vec::new()));
        wire.record = Some(record.clone());
        let mut log = shared.log.lock().unwrap();
        let number = log.received.len();
        log.received.push(record);
        log.streams.push(wire.stream.try_clone().ok());
        drop(log);
        let mut connection = Connection { wire: Some(wire), number, shared: shared.clone() };
        thread::spawn(move || {
            let shared = connection.shared.clone();
            (shared.handler)(&mut connection);
        });
    }
}

/// The backend's side of one connection.
pub struct Connection {
    /// Gone after a reset.
    wire: Option<Wire>,
    /// From 0, in the order of opening.
    pub number: usize,
    shared: Arc<Shared>,
}

impl Connection {
    pub fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("a connection that was not reset")
    }

    /// The next whole request. `None` when the connection ends before it, or when it is not in
    /// canonical form; it is not counted then.
    pub fn request(&mut self) -> Option<Request> {
        let mut request = self.unlogged_head()?;
        self.read_body(&mut request)?;
        self.shared.log.lock().unwrap().requests.push(request.clone());
        Some(request)
    }

    /// The next request's head alone, which counts as a request.
    pub fn head(&mut self) -> Option<Request> {
        let request = self.unlogged_head()?;
        self.shared.log.lock().unwrap().requests.push(request.clone());
        Some(request)
    }

    /// Counts a request whose body was read piece by piece.
    pub fn log(&self, request: Request) {
        self.shared.log.lock().unwrap().requests.push(request);
    }

    fn unlogged_head(&mut self) -> Option<Request> {
        let mut request =
            message::read_head(self.wire()).and_then(message::parse_request_line).ok()?;
        request.connection = self.number;
        Some(request)
    }

    /// Reads the body of a request whose head came. `None` when it does not come whole; what
    /// came of it is in the request even then.
    pub fn read_body(&mut self, request: &mut Request) -> Option<()> {
        let framing = message::request_framing(&request.head).ok()?;
        assert_ne!(framing, Framing::UntilClose);
        message::read_body(self.wire(), framing, &mut request.body, &mut request.trailers).ok()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire().send(bytes.as_ref())
    }

    /// Whether the connection goes on.
    pub fn give(&mut self, answer: &Answer, request: &Request) -> bool {
        match &answer.head {
            Some(head) if request.method == "HEAD" => self.send(head),
            _ => self.send(answer.bytes()),
        };
        match answer.then {
            Then::Keep => true,
            Then::Close => false,
            Then::Reset => {
                self.reset();
                false
            }
            Then::Hang => {
                self.wait_for_end();
                false
            }
        }
    }

    pub fn reset(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.forget_stream();
            wire.reset();
        }
    }

    pub fn wait_for_end(&mut self) -> End {
        self.wire().read_to_end()
    }

    /// The copy of the stream for `close_connections` would keep it open.
    fn forget_stream(&self) {
        self.shared.log.lock().unwrap().streams[self.number] = None;
    }
}

impl Drop for Connection {
    /// Ends its side, and reads on until the other side ended too: else the kernel would make
    /// a reset of it when something unread is left.
    fn drop(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        wire.finish_sending();
        let _ = wire.stream.set_read_timeout(Some(DEADLINE / 4)); // a broken socket cannot take it
        if !thread::panicking() {
            wire.read_to_end();
        }
        self.wire = None;
        self.forget_stream();
    }
}

/// What a backend does about a request.
#[derive(Clone)]
pub struct Answer {
    /// Status line and fields, when they are told apart from the body.
    head: Option<Vec<u8>>,
    body: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Keep,
    Close,
    Reset,
    Hang,
}

impl Answer {
    pub fn status(status: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref().to_vec();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        Answer { head: Some(head.into_bytes()), body, then: Then::Keep }
    }

    pub fn text(body: impl AsRef<[u8]>) -> Answer {
        Answer::status("200 OK", body)
    }

    /// These bytes just as they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Answer {
        Answer { head: None, body: bytes.as_ref().to_vec(), then: Then::Keep }
    }

    pub fn nothing() -> Answer {
        Answer::raw("")
    }

    /// With a further field line.
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        let head = self.head.as_mut().expect("an answer with a head");
        head.truncate(head.len() - 2);
        head.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
        self
    }

    /// Returns `request`'s `X-Request-ID`.
    pub fn echoing(self, request: &Request) -> Answer {
        self.with("X-Request-ID", request.id())
    }

    /// In pieces of `size` as chunks.
    pub fn chunked(body: &[u8], size: usize) -> Answer {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        Answer::raw(bytes)
    }

    pub fn then_close(mut self) -> Answer {
        self.then = Then::Close;
        self
    }

    pub fn then_reset(mut self) -> Answer {
        self.then = Then::Reset;
        self
    }

    pub fn then_hang(mut self) -> Answer {
        self.then = Then::Hang;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_deref().unwrap_or_default(), &self.body].concat()
    }
}

/// Lets the other side's bytes arrive, where a test wants them to come apart. Nothing is
/// decided by it.
pub fn pause() {
    thread::sleep(Duration::from_millis(20));
}
