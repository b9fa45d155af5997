//! The test's side of the simulated kernel: clients, servers, the operator, the time, and what
//! goes wrong.
//!
//! ```text
//! world::reset(7, Faults::default());
//! let server = world::listen("10.0.0.1:80".parse().unwrap());
//! let client = world::connect(listener.address());     // a listener of the program
//! client.send(b"GET / HTTP/1.1\r\n\r\n");
//! ... the program runs ...
//! let backend = server.accept().expect("the program connects to the server");
//! assert_eq!(backend.receive(), b"GET / HTTP/1.1\r\n\r\n");
//! ```
use super::disk::Disk;
use super::kernel::{self, Id, Manners, Owner};
use super::log::Level;
use super::stream::StreamEnd;
use super::{Signal, clock};
use crate::config::Endpoint;
use crate::mem::time::{Micros, Millis};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// What the world does to the program. By default nothing: bytes come at once and whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The bytes that may be under way in one direction of a connection.
    pub buffer: usize,
    /// The descriptors that the program may have open.
    pub descriptors: usize,
    /// The pipes that it may have open.
    pub pipes: usize,
    /// The most that a pipe holds, whatever was asked for.
    pub pipe_capacity: usize,
    /// What the pipes of a user may hold in all.
    pub pipe_quota: usize,
    /// One in so many calls from socket to pipe is not done at all, as by a filter; 0: none.
    pub refuses_fill: usize,
    /// The same from pipe to socket.
    pub refuses_drain: usize,
    /// The same from file to socket.
    pub refuses_sendfile: usize,
    /// The bytes that a log takes until the test takes them out.
    pub log_room: usize,
    /// The bytes that the disk has room for.
    pub disk_room: u64,
    /// One in so many calls to the disk fails; 0: none.
    pub disk_errors: usize,
    /// One in so many files that are opened has nothing in memory; 0: none.
    pub disk_cold: usize,
    /// How long it takes until what is to be read ahead is in memory.
    pub disk_delay: Micros,
    /// How long each call to the disk takes.
    pub disk_slow: Micros,
    /// How long each call to the disk waits for a processor.
    pub cpu_slow: Micros,
    /// Nothing on the disk can be changed.
    pub disk_is_read_only: bool,
    /// The disk has no files without a name.
    pub disk_wants_names: bool,
    /// What is sent to the program arrives in pieces: a part at once, more with each wait.
    pub fragments: bool,
    /// Writes of the program may be cut short, and succeed again after an event.
    pub short_writes: bool,
    /// Connections of the program may take several waits to be made.
    pub slow_connects: bool,
    /// Events come in any order, and sometimes without cause.
    pub spurious_events: bool,
    /// Listeners hold a connection back until its client sends something, for a second at most.
    /// They really do: it is no fault, but most tests are simpler without.
    pub defers_accept: bool,
    /// A reset takes from the test's side what it has not read yet, as some systems do (RFC 9112
    /// §9.6). Linux does not.
    pub reset_erases: bool,
    /// Connections that may wait at a server by a Unix socket, less one. Who comes to a full queue is
    /// to come again.
    pub backlog: usize,
    /// The program can look behind bytes that it leaves where they are. It is no fault; kernels
    /// differ.
    pub supports_peek_offset: bool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            buffer: 64 * 1024,
            descriptors: 100_000,
            pipes: 100_000,
            pipe_capacity: 1 << 20,
            pipe_quota: 64 << 20,
            refuses_fill: 0,
            refuses_drain: 0,
            refuses_sendfile: 0,
            log_room: usize::MAX,
            disk_room: u64::MAX,
            disk_errors: 0,
            disk_cold: 0,
            disk_delay: Micros(0),
            disk_slow: Micros(0),
            cpu_slow: Micros(0),
            disk_is_read_only: false,
            disk_wants_names: false,
            fragments: false,
            short_writes: false,
            slow_connects: false,
            spurious_events: false,
            defers_accept: false,
            reset_erases: false,
            backlog: usize::MAX,
            supports_peek_offset: true,
        }
    }
}

impl Faults {
    /// All that a program must bear without being seen to: only how and when bytes move.
    pub fn harmless() -> Faults {
        Faults {
            buffer: 4096,
            pipe_capacity: 8192,
            fragments: true,
            short_writes: true,
            slow_connects: true,
            spurious_events: true,
            defers_accept: true,
            backlog: 1,
            ..Faults::default()
        }
    }
}

/// How many system calls the program has made, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the calls")]
pub struct Calls {
    pub accept: u64,
    pub connect: u64,
    pub receive: u64,
    pub send: u64,
    pub splice: u64,
    pub shutdown: u64,
    /// Of sockets; with `reset` as well.
    pub close: u64,
    pub wait: u64,
    pub watch: u64,
    pub log: u64,
    /// To files and directories of any kind.
    pub disk: u64,
    /// Those of them that waited for the disk.
    pub disk_wait: u64,
    pub sendfile: u64,
}

/// Begins a new world, whose course follows from `seed`. What is left of the old one is dead.
pub fn reset(seed: u64, faults: Faults) {
    kernel::reset(seed, faults);
}

/// Changes what goes wrong from now on.
pub fn change_faults(change: impl FnOnce(&mut Faults)) {
    kernel::with(|kernel| change(&mut kernel.faults));
}

/// Lets time pass. Nothing else moves but what has a time: a connection that is given up.
pub fn advance(time: Millis) {
    let until = clock::now() + Micros(time.0.saturating_mul(1000));
    while kernel::with(|kernel| kernel.pass_time(until)) {}
}

/// The sockets that the program has open: those that it connected or accepted.
pub fn open_sockets() -> usize {
    kernel::with(|kernel| {
        let queued = |id: &Id| kernel.doors.values().any(|door| door.queue.contains(id));
        let has = |id: &Id, end: &StreamEnd| {
            end.owner == Owner::Program && end.deferred.is_none() && !queued(id)
        };
        kernel.ends.iter().filter(|(id, end)| has(id, end)).count()
    })
}

/// All descriptors that the program has open.
pub fn open_descriptors() -> usize {
    kernel::with(|kernel| kernel.descriptors)
}

/// The pipes that the program has open.
pub fn open_pipes() -> usize {
    kernel::with(|kernel| kernel.pipes)
}

/// The system calls so far.
pub fn calls() -> Calls {
    kernel::with(|kernel| kernel.calls)
}

/// Sends the program a signal. One that it has not taken yet is not sent twice.
pub fn signal(signal: Signal) {
    kernel::with(|kernel| {
        if !kernel.signals.contains(&signal) {
            kernel.signals.push(signal);
        }
        kernel.signalled();
    });
}

/// What the program said to the operator so far.
pub fn messages() -> Vec<(Level, String)> {
    kernel::with(|kernel| kernel.messages.clone())
}

/// Takes out what was written to the log at `path`; "/dev/stdout" is standard output.
pub fn take_log(path: impl AsRef<Path>) -> Vec<u8> {
    kernel::with(|kernel| kernel.logs.remove(path.as_ref()).unwrap_or_default())
}

/// Looks at the disk, or changes it behind the program's back.
pub fn disk<T>(look: impl FnOnce(&mut Disk) -> T) -> T {
    kernel::with(|kernel| look(&mut kernel.disk))
}

/// A client connects to a listener of the program, which must exist.
pub fn connect(listener: impl Into<Endpoint>) -> Peer {
    match listener.into() {
        Endpoint::Tcp(address) => {
            let port = kernel::with(|kernel| kernel.port());
            connect_from(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port)), address)
        }
        Endpoint::Unix(path) => kernel::with(|kernel| {
            let door = kernel.unix_door(&path).expect("somebody listens there");
            Peer { id: kernel.enter(door, Owner::Test) }
        }),
    }
}

/// A client with the address `client` connects to a listener of the program, which must exist.
pub fn connect_from(client: SocketAddr, listener: SocketAddr) -> Peer {
    kernel::with(|kernel| {
        assert!(kernel.door_at(listener).is_some(), "nobody listens at {listener}");
        let id = kernel.begin(Owner::Test, client, listener);
        kernel.try_connecting(id);
        Peer { id }
    })
}

/// Somebody listens at `listener`: a client could connect.
pub fn is_listening(listener: SocketAddr) -> bool {
    kernel::with(|kernel| kernel.door_at(listener).is_some())
}

/// Starts a server, for the program to connect to.
pub fn listen(endpoint: impl Into<Endpoint>) -> Server {
    let endpoint = endpoint.into();
    let door = kernel::with(|kernel| {
        let (address, backlog) = (kernel.address_of(endpoint), kernel.faults.backlog);
        kernel.open_door(address, Owner::Test, (false, backlog))
    });
    Server { id: door.expect("two servers at one address"), endpoint }
}

/// Somebody removes the file of a Unix socket. Whoever listens there goes on, and cannot be found.
pub fn remove_file(path: impl AsRef<Path>) {
    kernel::with(|kernel| kernel.remove_file(path.as_ref()));
}

/// A server of the test. Dropping it makes its address refuse connections.
pub struct Server {
    id: Id,
    endpoint: Endpoint,
}

impl Server {
    /// Where it is.
    pub fn address(&self) -> Endpoint {
        self.endpoint
    }

    /// The next connection of the program that is made, if any. Those that are not accepted are
    /// made all the same, as far as the program can see.
    pub fn accept(&self) -> Option<Peer> {
        kernel::with(|kernel| {
            let door = kernel.doors.get_mut(&self.id).expect("no server of this world");
            door.queue.pop_front().map(|id| Peer { id })
        })
    }

    /// Whether it refuses connections from now on.
    pub fn refuse(&self, refuses: bool) {
        self.behave(if refuses { Manners::Refusing } else { Manners::Accepting });
    }

    /// Whether those who connect from now on are told that they may not. At a Unix socket.
    pub fn deny(&self, denies: bool) {
        self.behave(if denies { Manners::Denying } else { Manners::Accepting });
    }

    /// Whether it does not answer those who connect from now on. They wait.
    pub fn ignore(&self, ignores: bool) {
        self.behave(if ignores { Manners::Silent } else { Manners::Accepting });
    }

    fn behave(&self, manners: Manners) {
        kernel::with(|kernel| {
            kernel.doors.get_mut(&self.id).expect("no server of this world").manners = manners;
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| kernel.close_door(self.id));
    }
}

/// How the program's side of a connection looks from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It may send more.
    Open,
    /// It has ended in order: it sends no more than there is to receive.
    Fin,
    /// It has broken off.
    Reset,
}

/// The test's end of a connection with the program. Dropping it closes it.
pub struct Peer {
    id: Id,
}

impl Peer {
    /// Sends bytes to the program, as many as there is room for, and says how many. None can be
    /// sent once it is over.
    pub fn send(&self, bytes: &[u8]) -> usize {
        kernel::with(|kernel| kernel.write(self.id, bytes)).unwrap_or(0)
    }

    /// Receives all that the program has sent.
    pub fn receive(&self) -> Vec<u8> {
        self.receive_at_most(usize::MAX)
    }

    /// Receives at most `limit` bytes.
    pub fn receive_at_most(&self, limit: usize) -> Vec<u8> {
        kernel::with(|kernel| match kernel.end(self.id).inbox.is_empty() {
            true => Vec::new(),
            false => kernel.read(self.id, limit).expect("there are bytes"),
        })
    }

    /// How many bytes there are to receive.
    pub fn unread(&self) -> usize {
        kernel::with(|kernel| kernel.end(self.id).inbox.len())
    }

    /// Sends no more; the program sees the end.
    pub fn shutdown_write(&self) {
        // Once it is over, there is nothing to say.
        let _ = kernel::with(|kernel| kernel.shut(self.id));
    }

    /// Closes: the program sees the end, and a reset if it sends more. If something was not
    /// received, it sees a reset at once, as TCP has it.
    pub fn close(self) {}

    /// Breaks the connection off.
    pub fn reset(self) {
        kernel::with(|kernel| kernel.close(self.id, true));
    }

    /// How the program's side has ended so far.
    pub fn seen_end(&self) -> End {
        kernel::with(|kernel| {
            let end = kernel.end(self.id);
            match (end.was_reset, end.ended) {
                (true, _) => End::Reset,
                (false, true) => End::Fin,
                (false, false) => End::Open,
            }
        })
    }

    /// Its address, as the program sees it.
    pub fn address(&self) -> SocketAddr {
        kernel::with(|kernel| kernel.end(self.id).local)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        kernel::on_drop(|kernel| kernel.close(self.id, false));
    }
}
