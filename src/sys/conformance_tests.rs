//! The simulated kernel held against the real one: the same script, played on both, must give
//! the same notes. What the tests of the layers above rest on is true as far as this goes.
use super::sim::world::{self, Faults};
use super::{IoError, linux, sim};
use crate::config::Endpoint;
use crate::mem::time::Millis;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Any free port of this machine.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A Unix socket that nobody has: one without a file, so that nothing is left.
fn unused_name() -> Endpoint {
    static USED: AtomicU64 = AtomicU64::new(0);
    let number = USED.fetch_add(1, Relaxed);
    format!("unix:@httplb-conformance-{}-{number}", std::process::id()).parse().unwrap()
}

/// Connections that may wait at a listener, and one more.
const BACKLOG: i32 = 16;

mod disk;
mod scripts;

/// The calls that the scripts make, of one kernel.
trait System: Sized {
    type Socket;
    type Listener;
    type Poller;
    type Pipe;
    /// Waits until all that was sent has come.
    fn settle();
    /// Where nobody listens.
    fn unused() -> Endpoint;
    fn bind(address: Endpoint) -> Result<Self::Listener, IoError>;
    fn bind_shared(address: Endpoint) -> Result<Self::Listener, IoError>;
    fn address(listener: &Self::Listener) -> Endpoint;
    fn accept(listener: &Self::Listener) -> Result<(Self::Socket, Option<SocketAddr>), IoError>;
    fn connect(address: Endpoint) -> Result<Self::Socket, IoError>;
    fn local_address(socket: &Self::Socket) -> Result<SocketAddr, IoError>;
    fn receive(socket: &Self::Socket, room: [&mut [u8]; 2]) -> Result<usize, IoError>;
    fn peek(socket: &Self::Socket, room: &mut [u8]) -> Result<usize, IoError>;
    fn set_peek_offset(socket: &Self::Socket, offset: usize) -> Result<(), IoError>;
    fn send(socket: &Self::Socket, bytes: [&[u8]; 2]) -> Result<usize, IoError>;
    fn shutdown_write(socket: &Self::Socket) -> Result<(), IoError>;
    fn reset(socket: Self::Socket);
    fn poller() -> Self::Poller;
    fn watch(poller: &Self::Poller, socket: &Self::Socket, token: u64);
    fn watch_listener(poller: &Self::Poller, listener: &Self::Listener, token: u64);
    fn unwatch_listener(poller: &Self::Poller, listener: &Self::Listener);
    fn wait(poller: &mut Self::Poller) -> Vec<linux::Event>;
    fn pipe() -> Self::Pipe;
    fn fill(pipe: &mut Self::Pipe, socket: &Self::Socket) -> Result<usize, IoError>;
    fn drain(pipe: &mut Self::Pipe, socket: &Self::Socket) -> Result<usize, IoError>;
    fn read(pipe: &mut Self::Pipe, room: [&mut [u8]; 2]) -> Result<usize, IoError>;
}

macro_rules! system {
    ($name:ident, $kernel:ident, $settle:expr, $unused:expr) => {
        struct $name;
        impl System for $name {
            type Socket = $kernel::Socket;
            type Listener = $kernel::Listener;
            type Poller = $kernel::Poller;
            type Pipe = $kernel::Pipe;
            fn settle() {
                $settle
            }
            fn unused() -> Endpoint {
                $unused
            }
            fn bind(address: Endpoint) -> Result<Self::Listener, IoError> {
                $kernel::Listener::bind(address, BACKLOG)
            }
            fn bind_shared(address: Endpoint) -> Result<Self::Listener, IoError> {
                $kernel::Listener::bind_shared(address, BACKLOG)
            }
            fn address(listener: &Self::Listener) -> Endpoint {
                listener.address()
            }
            fn accept(
                listener: &Self::Listener,
            ) -> Result<(Self::Socket, Option<SocketAddr>), IoError> {
                listener.accept()
            }
            fn connect(address: Endpoint) -> Result<Self::Socket, IoError> {
                $kernel::Socket::connect(address)
            }
            fn local_address(socket: &Self::Socket) -> Result<SocketAddr, IoError> {
                socket.local_address()
            }
            fn receive(socket: &Self::Socket, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
                socket.receive(room)
            }
            fn peek(socket: &Self::Socket, room: &mut [u8]) -> Result<usize, IoError> {
                socket.peek(room)
            }
            fn set_peek_offset(socket: &Self::Socket, offset: usize) -> Result<(), IoError> {
                socket.set_peek_offset(offset)
            }
            fn send(socket: &Self::Socket, bytes: [&[u8]; 2]) -> Result<usize, IoError> {
                socket.send(bytes)
            }
            fn shutdown_write(socket: &Self::Socket) -> Result<(), IoError> {
                socket.shutdown_write()
            }
            fn reset(socket: Self::Socket) {
                socket.reset();
            }
            fn poller() -> Self::Poller {
                $kernel::Poller::new().unwrap()
            }
            fn watch(poller: &Self::Poller, socket: &Self::Socket, token: u64) {
                poller.watch_socket(socket, token).unwrap();
            }
            fn watch_listener(poller: &Self::Poller, listener: &Self::Listener, token: u64) {
                poller.watch_listener(listener, token).unwrap();
            }
            fn unwatch_listener(poller: &Self::Poller, listener: &Self::Listener) {
                poller.unwatch_listener(listener).unwrap();
            }
            fn wait(poller: &mut Self::Poller) -> Vec<linux::Event> {
                poller.wait(Some(Millis(0))).unwrap();
                poller.events().to_vec()
            }
            fn pipe() -> Self::Pipe {
                $kernel::Pipe::open(64 * 1024).unwrap()
            }
            fn fill(pipe: &mut Self::Pipe, socket: &Self::Socket) -> Result<usize, IoError> {
                let room = if pipe.is_empty() { pipe.capacity() } else { 0 };
                pipe.fill(socket, room)
            }
            fn drain(pipe: &mut Self::Pipe, socket: &Self::Socket) -> Result<usize, IoError> {
                pipe.drain(socket)
            }
            fn read(pipe: &mut Self::Pipe, room: [&mut [u8]; 2]) -> Result<usize, IoError> {
                pipe.read(room)
            }
        }
    };
}

// Loopback delivers at once; the sleep is for what the kernel puts off, as on a busy machine.
system!(Real, linux, std::thread::sleep(Duration::from_millis(10)), LOOPBACK.into());
system!(Simulated, sim, (), LOOPBACK.into());
// The same, by Unix sockets.
system!(RealUnix, linux, std::thread::sleep(Duration::from_millis(10)), unused_name());
system!(SimulatedUnix, sim, (), unused_name());

/// A connection whose two ends are both ours, watched by one poller, and what was noted of it.
struct Scene<S: System> {
    notes: Vec<String>,
    poller: S::Poller,
    listener: S::Listener,
    near: Option<S::Socket>,
    far: Option<S::Socket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Near,
    Far,
}

/// The tokens of the listener, the near socket and the far one.
const NAMES: [&str; 3] = ["listener", "near", "far"];

impl<S: System> Scene<S> {
    /// A listener, and nothing connected.
    fn empty() -> Scene<S> {
        let poller = S::poller();
        let listener = S::bind(S::unused()).unwrap();
        S::watch_listener(&poller, &listener, 0);
        Scene { notes: Vec::new(), poller, listener, near: None, far: None }
    }

    /// A connection through which a byte has gone, and nothing left to be seen.
    fn connected() -> Scene<S> {
        let mut scene = Scene::empty();
        scene.connect(S::address(&scene.listener));
        scene.look();
        scene.send(Side::Near, "!");
        scene.look();
        scene.accept();
        scene.look();
        scene.receive(Side::Far, 10);
        scene.look();
        scene.notes.clear();
        scene
    }

    fn note(&mut self, what: &str, seen: impl std::fmt::Debug) {
        self.notes.push(format!("{what}: {seen:?}"));
    }

    fn connect(&mut self, address: Endpoint) {
        let near = S::connect(address).unwrap();
        S::watch(&self.poller, &near, 1);
        self.near = Some(near);
    }

    fn accept(&mut self) {
        match S::accept(&self.listener) {
            Ok((far, remote)) => {
                let local = S::local_address(self.socket(Side::Near)).ok();
                self.note("accept: from the near end", local == remote);
                S::watch(&self.poller, &far, 2);
                self.far = Some(far);
            }
            Err(error) => self.note("accept", error),
        }
    }

    fn socket(&self, side: Side) -> &S::Socket {
        let socket = match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        };
        socket.as_ref().expect("open")
    }

    /// Notes the events that have come, in the order of the names.
    fn look(&mut self) {
        S::settle();
        let mut events = S::wait(&mut self.poller);
        events.sort_by_key(|event| event.token);
        let mut seen = String::new();
        for event in events {
            seen += NAMES[event.token as usize];
            seen += if event.readable { " readable" } else { "" };
            seen += if event.writable { " writable" } else { "" };
            seen += if event.closed { " closed" } else { "" };
            seen += if event.failed { " failed" } else { "" };
            seen += if event.reset { " reset, " } else { ", " };
        }
        self.note("look", seen);
    }

    fn send(&mut self, side: Side, text: &str) {
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        let sent = S::send(self.socket(side), [first, second]);
        self.note(&format!("{side:?} sends"), sent);
    }

    fn receive(&mut self, side: Side, limit: usize) {
        let mut room = vec![b'?'; limit];
        let (first, second) = room.split_at_mut(limit / 2);
        let count = S::receive(self.socket(side), [first, second]);
        let text = count.map(|count| String::from_utf8_lossy(&room[..count]).into_owned());
        self.note(&format!("{side:?} receives"), text);
    }

    /// Looks at what has come, and leaves it there.
    fn peek(&mut self, side: Side, from: Option<usize>, limit: usize) {
        if let Some(from) = from {
            S::set_peek_offset(self.socket(side), from).unwrap();
        }
        let mut room = vec![b'?'; limit];
        let count = S::peek(self.socket(side), &mut room);
        let text = count.map(|count| String::from_utf8_lossy(&room[..count]).into_owned());
        self.note(&format!("{side:?} sees from {from:?}"), text);
    }

    /// Sends until there is no room, and then receives it all: the same bytes in the same order.
    fn send_much(&mut self, from: Side, to: Side) -> bool {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|number| number.to_be_bytes()).collect();
        let mut sent = 0;
        while let Ok(count) = S::send(self.socket(from), [&text[sent % text.len()..], &[]]) {
            sent += count;
        }
        self.look();
        let mut room = vec![0; 1 << 20];
        let (mut received, mut right) = (0, true);
        loop {
            match S::receive(self.socket(to), [&mut room, &mut []]) {
                Ok(count) => {
                    let expected = text.iter().cycle().skip(received % text.len());
                    right &= room[..count].iter().zip(expected).all(|(came, sent)| came == sent);
                    received += count;
                }
                // What the sender's kernel still holds follows when there is room.
                Err(_) if received < sent => S::settle(),
                Err(_) => return right && received == sent,
            }
        }
    }

    fn shutdown_write(&mut self, side: Side) {
        let shut = S::shutdown_write(self.socket(side));
        self.note(&format!("{side:?} ends"), shut);
    }

    fn take(&mut self, side: Side) -> S::Socket {
        let socket = match side {
            Side::Near => self.near.take(),
            Side::Far => self.far.take(),
        };
        socket.expect("open")
    }

    fn close(&mut self, side: Side) {
        drop(self.take(side));
    }

    fn reset(&mut self, side: Side) {
        S::reset(self.take(side));
    }
}

/// Plays a script in both kernels, and demands the same notes.
macro_rules! same {
    ($real:ident $simulated:ident: $($name:ident)*) => {$(
        #[test]
        fn $name() {
            let faults = Faults { defers_accept: true, ..Faults::default() };
            world::reset(1, faults);
            let real = scripts::$name::<$real>();
            let simulated = scripts::$name::<$simulated>();
            assert!(!real.is_empty());
            assert_eq!(simulated, real, "left: the simulated kernel; right: the real one");
        }
    )*};
}

mod by_unix_sockets {
    use super::*;

    same! { RealUnix SimulatedUnix:
        connecting
        nobody_listens
        a_full_queue
        edges_come_with_news_only
        short_reads
        an_end_after_bytes
        half_closed
        both_ended
        ended_and_written_on
        closed_and_written_to
        closed_with_bytes_unread
        reset
        reset_after_bytes
        reset_after_the_end
        reset_before_it_was_accepted
        room_after_a_full_buffer
        a_listener_is_level_triggered
        looking_at_what_stays
        looking_ahead
        looking_ahead_of_a_reset
        splicing
        splicing_the_end
        splicing_a_reset
        splicing_into_a_broken_connection
        splicing_into_a_full_connection
    }
}

same! { Real Simulated:
    connecting
    a_refused_connection_fails_at_the_first_call
    a_refused_connection_fails_at_the_first_write
    addresses_in_use
    edges_come_with_news_only
    short_reads
    an_end_after_bytes
    half_closed
    both_ended
    ended_and_written_on
    closed_and_written_to
    closed_with_bytes_unread
    reset
    reset_after_bytes
    reset_after_the_end
    reset_before_it_was_accepted
    room_after_a_full_buffer
    a_listener_is_level_triggered
    looking_at_what_stays
    looking_ahead
    looking_ahead_of_a_reset
    splicing
    reading_a_pipe
    splicing_the_end
    splicing_a_reset
    splicing_into_a_broken_connection
    splicing_into_a_full_connection
}
